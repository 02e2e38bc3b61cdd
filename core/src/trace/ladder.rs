//! Calls as a person reads them: a column for us and one for each address we spoke with, an arrow for each message.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::SystemTime;

use chrono::{DateTime, Local};

use super::Line;
use super::kept::Call;

/// Characters of a column.
const WIDTH: usize = 30;
/// Columns besides ours; what goes to further addresses stands in the last.
const COLUMNS_MAX: usize = 8;
/// Calls, arrows, and bytes of whole messages of one picture.
const CALLS_MAX: usize = 200;
const ARROWS_MAX: usize = 5000;
const BYTES_MAX: usize = 4 << 20;

fn time(at: SystemTime) -> String {
    let local: DateTime<Local> = at.into();
    local.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// The ladder of calls that belong together; with `whole` every message follows as it was.
pub(super) fn text(calls: &[Call], whole: bool) -> String {
    let mut text = String::new();
    let all = calls.len();
    let calls = &calls[..all.min(CALLS_MAX)];
    for (number, call) in calls.iter().enumerate() {
        let named = &call.named;
        let _ = write!(
            text,
            "[{}] {} -> {}, {}",
            number + 1,
            call.from,
            call.to,
            call.standing.text()
        );
        if !named.channel.is_empty() {
            let _ = write!(text, ", {} ({})", named.channel, named.uniqueid);
        }
        let _ = writeln!(text, "\n    Call-ID {}", shown(named.call_id.as_bytes()));
        if call.cut > 0 {
            let _ = writeln!(
                text,
                "    {} messages in its middle were not kept",
                call.cut
            );
        }
    }
    let mut lines: Vec<(usize, &Line)> = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        lines.extend(call.lines.iter().map(|line| (number + 1, line)));
    }
    lines.sort_by_key(|(_, line)| line.at);
    if all > CALLS_MAX {
        let _ = writeln!(
            text,
            "{} more calls belong to these: ask for one of them, or for a capture file",
            all - CALLS_MAX
        );
    }
    if lines.len() > ARROWS_MAX {
        let more = lines.len() - ARROWS_MAX;
        let _ = writeln!(
            text,
            "the last {more} messages are left out: ask for a capture file"
        );
        lines.truncate(ARROWS_MAX);
    }
    let Some((_, first)) = lines.first() else {
        return text;
    };
    let began = first.at;
    let mut columns: Vec<SocketAddr> = Vec::new();
    for (_, line) in &lines {
        if !columns.contains(&line.remote) && columns.len() < COLUMNS_MAX {
            columns.push(line.remote);
        }
    }
    let _ = write!(
        text,
        "\nfrom {}\n{:>10}     {:<WIDTH$}",
        time(began),
        "",
        "Strowger"
    );
    for address in &columns {
        let _ = write!(text, "{:<WIDTH$}", address.to_string());
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    for (number, line) in &lines {
        let since = line.at.duration_since(began).unwrap_or_default();
        let _ = write!(text, "{:>+10.3} [{number}] ", since.as_secs_f64());
        let column = columns.iter().position(|address| *address == line.remote);
        arrow(
            &mut text,
            line,
            column.unwrap_or(columns.len().saturating_sub(1)),
            columns.len(),
        );
    }
    if whole {
        let mut room = BYTES_MAX;
        for (at, (number, line)) in lines.iter().enumerate() {
            let Some(left) = room.checked_sub(line.bytes.len()) else {
                let _ = writeln!(
                    text,
                    "\n{} messages are left out: ask for a capture file",
                    lines.len() - at
                );
                break;
            };
            room = left;
            let (source, destination) = line.ends();
            let _ = write!(
                text,
                "\n[{number}] {} {} {source} -> {destination}\n{}\n",
                time(line.at),
                line.transport,
                shown(&line.bytes).replace('\r', "")
            );
        }
    }
    text
}

/// The arrow of a message from or to a column, with the lines of those between and behind.
fn arrow(text: &mut String, line: &Line, column: usize, columns: usize) {
    let room = WIDTH * (column + 1) - 1;
    let label: String = label(line).chars().take(room - 6).collect();
    let dashes = room - 3 - label.chars().count();
    let (before, after) = (dashes / 2, dashes - dashes / 2);
    let (start, end) = if line.sent { ("-", ">") } else { ("<", "-") };
    let _ = write!(
        text,
        "|{start}{} {label} {}{end}|",
        "-".repeat(before.saturating_sub(1)),
        "-".repeat(after.saturating_sub(1))
    );
    for _ in column + 1..columns {
        let _ = write!(text, "{:>WIDTH$}", "|");
    }
    let _ = writeln!(text, "  {}", line.transport);
}

/// The first line of a message, without the version, and whether it describes media.
fn label(line: &Line) -> String {
    let bytes = &line.bytes;
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let first = shown(&bytes[..end.unwrap_or(bytes.len())]);
    let first = first.strip_prefix("SIP/2.0 ").unwrap_or(&first);
    let first = first.strip_suffix(" SIP/2.0").unwrap_or(first);
    let body = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let body = body.map_or(&[][..], |at| &bytes[at + 4..]);
    if body.starts_with(b"v=0") {
        format!("{first} (SDP)")
    } else {
        first.to_owned()
    }
}

/// Text from outside: what would move the cursor of a terminal is shown as a question mark.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
    text.chars()
        .map(|char| if plain(char) { char } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::kept::Kept;
    use super::super::kept::tests::line;
    use super::*;

    #[test]
    fn arrows_lead_where_messages_went() {
        let mut kept = Kept::new(10, 1 << 20);
        let mut other = line(true, 20, "a", "INVITE sip:101@b SIP/2.0", "INVITE");
        other.remote = SocketAddr::from(([203, 0, 113, 9], 5060));
        kept.message(line(false, 0, "a", "INVITE sip:101@a SIP/2.0", "INVITE"));
        kept.message(line(true, 1, "a", "SIP/2.0 100 Trying", "INVITE"));
        kept.message(other);
        kept.message(line(true, 1500, "a", "SIP/2.0 486 Busy Here", "INVITE"));
        let text = text(&kept.belonging("a"), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "[1] 100 -> 101, failed: 486 Busy Here");
        assert_eq!(lines[1], "    Call-ID a");
        assert!(lines[3].starts_with("from 20"), "{text}");
        assert!(
            lines[4].contains("Strowger") && lines[4].ends_with("203.0.113.9:5060"),
            "{text}"
        );
        assert!(lines[5].starts_with("    +0.000 [1] |<--"), "{text}");
        assert!(
            lines[5].contains("- INVITE sip:101@a -") && !lines[5].contains(">|"),
            "{text}"
        );
        assert!(
            lines[6].starts_with("    +0.001 [1] |--") && lines[6].contains(" 100 Trying "),
            "{text}"
        );
        assert!(
            lines[6].contains(">|") && lines[6].ends_with("|  UDP"),
            "{text}"
        );
        assert!(
            lines[7].contains("INVITE sip:101@b") && lines[7].contains(">|"),
            "{text}"
        );
        assert!(lines[8].starts_with("    +1.500 [1]"), "{text}");
        assert_eq!(shown(b"\x1b[2Ja\r\n"), "?[2Ja\r\n");
        // Ends of arrows stand below each other.
        let width = |line: &str| line.chars().count();
        assert!(
            lines[5..9]
                .windows(2)
                .all(|pair| width(pair[0]) == width(pair[1])),
            "{text}"
        );
    }

    #[test]
    fn a_picture_has_its_limits_and_says_so() {
        let mut kept = Kept::new(10_000, 64 << 20);
        for number in 0..CALLS_MAX + 5 {
            let call_id = format!("call-{number}");
            kept.named(super::super::Named {
                call_id: call_id.clone(),
                channel: format!("PJSIP/{number}-00000001"),
                uniqueid: format!("1.{number}"),
                linkedid: "1.0".to_owned(),
            });
            kept.message(line(
                false,
                0,
                &call_id,
                "INVITE sip:101@a SIP/2.0",
                "INVITE",
            ));
            for at in 0..30 {
                kept.message(line(true, at, &call_id, "INFO sip:101@a SIP/2.0", "INFO"));
            }
        }
        let text = text(&kept.belonging("1.0"), true);
        assert!(text.contains("5 more calls belong"), "{}", &text[..200]);
        let more = CALLS_MAX * 31 - ARROWS_MAX;
        assert!(text.contains(&format!("the last {more} messages are left out")));
        assert_eq!(
            text.matches("- INFO sip").count() + text.matches("- INVITE sip").count(),
            ARROWS_MAX
        );
        assert!(text.len() < BYTES_MAX + (ARROWS_MAX + CALLS_MAX) * 600);
    }
}
