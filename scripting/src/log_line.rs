//! What a call brings along (numbers, names, texts of rows with variables in them) may hold anything. In the log it must
//! not look like a line of its own, colour the terminal, or come without end.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Lines that one channel's dialplan may write within [`WINDOW`].
pub(crate) const LINES_MAX: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// True for characters that change how what follows is shown: controls, line separators, directions of writing.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with such characters escaped (`\n`, `\u{1b}`).
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Counts the lines of one channel.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    since: Cell<Option<Instant>>,
    written: Cell<u32>,
    left_out: Cell<u64>,
}

/// Whether a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Write,
    /// After telling how many were left out.
    WriteAfter(u64),
    LeaveOut,
}

impl Lines {
    pub(crate) fn next(&self, now: Instant) -> Verdict {
        let fresh = self
            .since
            .get()
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW);
        if fresh {
            self.since.set(Some(now));
            self.written.set(1);
            return match self.left_out.take() {
                0 => Verdict::Write,
                left_out => Verdict::WriteAfter(left_out),
            };
        }
        if self.written.get() < LINES_MAX {
            self.written.set(self.written.get() + 1);
            Verdict::Write
        } else {
            self.left_out.set(self.left_out.get() + 1);
            Verdict::LeaveOut
        }
    }

    /// Lines left out that nobody was told of yet.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_stays_one_line_and_moves_no_cursor() {
        for (text, wanted) in [
            ("plain text, Привет", "plain text, Привет"),
            ("a\nERROR forged", "a\\nERROR forged"),
            ("a\r\nb", "a\\r\\nb"),
            ("\u{1b}[2Jx\0\u{7f}", "\\u{1b}[2Jx\\u{0}\\u{7f}"),
            (
                "a\u{85}b\u{2028}c\u{202e}d",
                "a\\u{85}b\\u{2028}c\\u{202e}d",
            ),
        ] {
            assert_eq!(escape(text), wanted);
        }
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_once() {
        let (lines, start) = (Lines::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(lines.next(start), Verdict::Write);
        }
        for _ in 0..7 {
            assert_eq!(lines.next(start), Verdict::LeaveOut);
        }
        assert_eq!(lines.left_out(), 7);
        assert_eq!(lines.next(start + WINDOW), Verdict::WriteAfter(7));
        assert_eq!(lines.next(start + WINDOW), Verdict::Write);
        assert_eq!(lines.left_out(), 0);
    }
}
