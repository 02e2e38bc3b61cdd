//! The lines that a script and the exchange say to each other: no I/O, no channel.

use std::fmt::Write as _;

/// Longest line of a script, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 8192;
/// Words of one command, the command's own included.
const WORDS_MAX: usize = 128;

/// What a script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its end of line.
    Text(String),
    /// It was longer than [`LINE_BYTES_MAX`] and is gone.
    TooLong,
}

/// Makes lines of what arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were looked at and hold no end of line.
    seen: usize,
    /// The rest of a line that was too long is passed over.
    skipping: bool,
}

impl LineReader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line that is complete.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let rest = self.buffer.get(self.seen..).unwrap_or_default();
            let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
                self.seen = self.buffer.len();
                if self.buffer.len() > LINE_BYTES_MAX {
                    self.buffer.clear();
                    self.seen = 0;
                    if !std::mem::replace(&mut self.skipping, true) {
                        return Some(Line::TooLong);
                    }
                }
                return None;
            };
            let line: Vec<u8> = self.buffer.drain(..=self.seen + at).collect();
            self.seen = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Some(read(&line));
        }
    }

    /// What stands at the end without an end of line.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        let line = std::mem::take(&mut self.buffer);
        self.seen = 0;
        (!std::mem::take(&mut self.skipping) && !line.is_empty()).then(|| read(&line))
    }
}

fn read(line: &[u8]) -> Line {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LINE_BYTES_MAX {
        return Line::TooLong;
    }
    // A NUL would end the text for whoever reads it in C.
    Line::Text(String::from_utf8_lossy(line).replace('\0', ""))
}

/// Splits a command into words: blanks separate, `"..."` holds blanks together and may be empty, `\` makes the next
/// character ordinary.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quoted, mut escaped, mut between) = (false, false, true);
    for c in line.chars() {
        let blank = matches!(c, ' ' | '\t') && !quoted && !escaped;
        if blank {
            between = true;
            continue;
        }
        let starts = std::mem::take(&mut between);
        if starts {
            if words.len() >= WORDS_MAX {
                return words;
            }
            words.push(String::new());
        }
        match c {
            '"' if !escaped => quoted = !quoted,
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
        escaped = false;
    }
    words
}

/// A text as part of one line: what a caller or a database put into a value must not look like a line of its own.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\0') {
                ' '
            } else {
                c
            }
        })
        .collect()
}

/// An answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply(String);

impl Reply {
    /// `200 result=n`.
    pub(crate) fn result(value: impl std::fmt::Display) -> Self {
        Self(format!("200 result={}", one_line(&value.to_string())))
    }

    /// `200 result=1 (value)`.
    pub(crate) fn value(value: &str) -> Self {
        Self::result(1).text(value)
    }

    /// With ` (text)` behind it.
    pub(crate) fn text(mut self, text: &str) -> Self {
        let _ = write!(self.0, " ({})", one_line(text));
        self
    }

    /// With ` endpos=n` behind it.
    pub(crate) fn endpos(mut self, position: u64) -> Self {
        let _ = write!(self.0, " endpos={position}");
        self
    }

    /// With words behind it that are in no parentheses.
    pub(crate) fn plain(mut self, text: &str) -> Self {
        let _ = write!(self.0, " {text}");
        self
    }

    /// There is no such command.
    pub(crate) fn unknown() -> Self {
        Self("510 Invalid or unknown command".to_owned())
    }

    /// The command needs a call that is not over.
    pub(crate) fn dead() -> Self {
        Self("511 Command Not Permitted on a dead channel or intercept routine".to_owned())
    }

    /// The arguments are wrong.
    pub(crate) fn usage(usage: &str) -> Self {
        Self(format!(
            "520-Invalid command syntax.  Proper usage follows:\n{usage}\n520 End of proper usage."
        ))
    }

    /// The subroutine begins; another answer follows.
    pub(crate) fn trying() -> Self {
        Self("100 result=0 Trying...".to_owned())
    }

    /// The number and the word by which `AGIExecEnd` tells of it.
    pub(crate) fn outcome(&self) -> (&'static str, &'static str) {
        match self.0.get(..3) {
            Some("510") => ("510", "Invalid or unknown command"),
            Some("511") => (
                "511",
                "Command not permitted on a dead channel or intercept routine",
            ),
            Some("520") => ("520", "Usage"),
            _ if self.0.starts_with("200 result=-1") => ("-1", "Failure"),
            _ => ("200", "Success"),
        }
    }

    /// The line (or lines) as sent.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut text = self.0;
        text.push('\n');
        text.into_bytes()
    }
}

/// What a script is told when it begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// The path of a network script.
    pub(crate) network_script: Option<String>,
    pub(crate) request: String,
    pub(crate) channel: String,
    pub(crate) language: String,
    pub(crate) kind: String,
    pub(crate) uniqueid: String,
    pub(crate) callerid: String,
    pub(crate) calleridname: String,
    pub(crate) callingpres: u8,
    pub(crate) dnid: String,
    pub(crate) rdnis: String,
    pub(crate) context: String,
    pub(crate) extension: String,
    pub(crate) priority: i32,
    pub(crate) accountcode: String,
    pub(crate) threadid: u64,
    pub(crate) arguments: Vec<String>,
    /// The script has the caller's audio.
    pub(crate) enhanced: bool,
}

/// What `agi_version` says first is what scripts compare with 1.6 to choose their separator.
const VERSION: &str = concat!("20.0.0 (Strowger ", env!("CARGO_PKG_VERSION"), ")");

impl Environment {
    /// The block with its empty line.
    pub(crate) fn block(&self) -> String {
        let mut block = String::with_capacity(1024);
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(block, "agi_{name}: {}", one_line(value));
        };
        let known = |text: &str| {
            if text.is_empty() {
                "unknown".to_owned()
            } else {
                text.to_owned()
            }
        };
        if let Some(script) = &self.network_script {
            line("network", "yes");
            line("network_script", script);
        }
        line("request", &self.request);
        line("channel", &self.channel);
        line("language", &self.language);
        line("type", &self.kind);
        line("uniqueid", &self.uniqueid);
        line("version", VERSION);
        line("callerid", &known(&self.callerid));
        line("calleridname", &known(&self.calleridname));
        line("callingpres", &self.callingpres.to_string());
        line("callingani2", "0");
        line("callington", "0");
        line("callingtns", "0");
        line("dnid", &known(&self.dnid));
        line("rdnis", &known(&self.rdnis));
        line("context", &self.context);
        line("extension", &self.extension);
        line("priority", &self.priority.to_string());
        line("enhanced", if self.enhanced { "1.0" } else { "0.0" });
        line("accountcode", &self.accountcode);
        line("threadid", &self.threadid.to_string());
        for (number, argument) in (1..).zip(&self.arguments) {
            line(&format!("arg_{number}"), argument);
        }
        block.push('\n');
        block
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Line {
        Line::Text(text.to_owned())
    }

    #[test]
    fn a_command_is_split_as_scripts_write_it() {
        for (line, wanted) in [
            ("ANSWER", vec!["ANSWER"]),
            ("  GET \t VARIABLE   X  ", vec!["GET", "VARIABLE", "X"]),
            (
                r#"SET VARIABLE X "a b""#,
                vec!["SET", "VARIABLE", "X", "a b"],
            ),
            (r#"STREAM FILE beep """#, vec!["STREAM", "FILE", "beep", ""]),
            (r#"NOOP a\ b\"c"#, vec!["NOOP", "a b\"c"]),
            (r#"NOOP "a\"b" \\"#, vec!["NOOP", "a\"b", "\\"]),
            (r#"NOOP a"b c"d"#, vec!["NOOP", "ab cd"]),
            (
                r#"VERBOSE "Привет, мир" 1"#,
                vec!["VERBOSE", "Привет, мир", "1"],
            ),
            (r#"NOOP "open to the end"#, vec!["NOOP", "open to the end"]),
            ("", vec![]),
            ("   ", vec![]),
        ] {
            assert_eq!(words(line), wanted, "{line}");
        }
        assert_eq!(words(&"x ".repeat(1000)).len(), WORDS_MAX);
    }

    #[test]
    fn lines_come_out_of_pieces_of_any_size() {
        let mut reader = LineReader::default();
        reader.push(b"ANS");
        assert_eq!(reader.next(), None);
        reader.push(b"WER\r\nNOOP\n\nlast");
        assert_eq!(reader.next(), Some(text("ANSWER")));
        assert_eq!(reader.next(), Some(text("NOOP")));
        assert_eq!(reader.next(), Some(text("")));
        assert_eq!(reader.next(), None);
        assert_eq!(reader.finish(), Some(text("last")));
        assert_eq!(reader.finish(), None);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_the_next_one_counts() {
        let mut reader = LineReader::default();
        let mut told = 0;
        for _ in 0..100 {
            reader.push(&[b'x'; 1000]);
            while let Some(line) = reader.next() {
                assert_eq!(line, Line::TooLong);
                told += 1;
            }
        }
        assert_eq!(told, 1);
        assert!(reader.buffer.len() <= LINE_BYTES_MAX + 1000);
        reader.push(b"\nANSWER\n");
        assert_eq!(reader.next(), Some(text("ANSWER")));
        assert_eq!(reader.next(), None);
        // One that is complete at once, and too long, too.
        reader.push(&[b'y'; LINE_BYTES_MAX + 1]);
        reader.push(b"\nNOOP\n");
        assert_eq!(reader.next(), Some(Line::TooLong));
        assert_eq!(reader.next(), Some(text("NOOP")));
    }

    #[test]
    fn answers_have_the_form_that_scripts_read() {
        for (reply, wanted) in [
            (Reply::result(0), "200 result=0\n"),
            (Reply::value("a b"), "200 result=1 (a b)\n"),
            (
                Reply::value("a\n200 result=1 (forged)"),
                "200 result=1 (a 200 result=1 (forged))\n",
            ),
            (Reply::result(49).endpos(800), "200 result=49 endpos=800\n"),
            (
                Reply::result(0).text("timeout").endpos(0),
                "200 result=0 (timeout) endpos=0\n",
            ),
            (Reply::unknown(), "510 Invalid or unknown command\n"),
            (
                Reply::dead(),
                "511 Command Not Permitted on a dead channel or intercept routine\n",
            ),
            (
                Reply::usage("Usage: X"),
                "520-Invalid command syntax.  Proper usage follows:\nUsage: X\n520 End of proper usage.\n",
            ),
        ] {
            assert_eq!(String::from_utf8(reply.into_bytes()).unwrap(), wanted);
        }
    }

    #[test]
    fn watchers_are_told_how_a_command_ended() {
        for (reply, wanted) in [
            (Reply::result(0), ("200", "Success")),
            (Reply::value("-1"), ("200", "Success")),
            (Reply::result(-1).endpos(8), ("-1", "Failure")),
            (Reply::result(-2), ("200", "Success")),
            (Reply::unknown(), ("510", "Invalid or unknown command")),
            (Reply::usage("X"), ("520", "Usage")),
        ] {
            assert_eq!(reply.outcome(), wanted, "{reply:?}");
        }
        assert_eq!(Reply::dead().outcome().0, "511");
    }

    #[test]
    fn the_first_block_is_what_the_protocol_says_line_by_line() {
        let mut environment = Environment {
            request: "email/attachment.php".to_owned(),
            channel: "PJSIP/100-00000000".to_owned(),
            language: "ru".to_owned(),
            kind: "PJSIP".to_owned(),
            uniqueid: "1700000000.1".to_owned(),
            callerid: "100".to_owned(),
            calleridname: "Evil\nagi_callerid: 1".to_owned(),
            context: "message-office".to_owned(),
            extension: "h".to_owned(),
            priority: 2,
            threadid: 7,
            arguments: vec!["--a=b c".to_owned(), String::new()],
            ..Environment::default()
        };
        let lines = format!(
            "agi_request: email/attachment.php\nagi_channel: PJSIP/100-00000000\nagi_language: ru\nagi_type: PJSIP\n\
             agi_uniqueid: 1700000000.1\nagi_version: {VERSION}\nagi_callerid: 100\nagi_calleridname: Evil agi_callerid: 1\n\
             agi_callingpres: 0\nagi_callingani2: 0\nagi_callington: 0\nagi_callingtns: 0\nagi_dnid: unknown\n\
             agi_rdnis: unknown\nagi_context: message-office\nagi_extension: h\nagi_priority: 2\nagi_enhanced: 0.0\n\
             agi_accountcode: \nagi_threadid: 7\nagi_arg_1: --a=b c\nagi_arg_2: \n\n"
        );
        assert_eq!(environment.block(), lines);
        environment.network_script = Some("path?x=1".to_owned());
        assert_eq!(
            environment.block(),
            format!("agi_network: yes\nagi_network_script: path?x=1\n{lines}")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_short_lines(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            cuts in proptest::collection::vec(1usize..50, 0..40),
        ) {
            let mut whole = LineReader::default();
            whole.push(&bytes);
            let mut expected: Vec<Line> = std::iter::from_fn(|| whole.next()).collect();
            expected.extend(whole.finish());
            let mut pieces = LineReader::default();
            let (mut got, mut rest) = (Vec::new(), bytes.as_slice());
            for cut in cuts.into_iter().chain(std::iter::repeat(7)) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                got.extend(std::iter::from_fn(|| pieces.next()));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            got.extend(pieces.finish());
            prop_assert_eq!(&got, &expected);
            for line in got {
                let Line::Text(line) = line else { continue };
                prop_assert!(!line.contains(['\n', '\0']));
            }
        }

        #[test]
        fn what_is_quoted_comes_back_as_it_was(parts in proptest::collection::vec("[^\\n\\r\\x00]{0,20}", 1..20)) {
            let line: Vec<String> = parts
                .iter()
                .map(|part| format!("\"{}\"", part.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            prop_assert_eq!(words(&line.join(" ")), parts);
        }

        #[test]
        fn no_line_makes_more_words_than_allowed_or_an_answer_of_two_lines(line in ".{0,400}") {
            let words = words(&line);
            prop_assert!(words.len() <= WORDS_MAX);
            for word in words {
                let reply = Reply::value(&word).into_bytes();
                prop_assert_eq!(reply.iter().filter(|byte| **byte == b'\n').count(), 1);
            }
        }
    }
}
