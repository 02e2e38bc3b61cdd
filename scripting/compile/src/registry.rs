//! What the compiler asks about applications and functions: do they exist, and how do they take their data.

use crate::subst::Template;

/// How an application takes its data, so that constant data can be split when it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentStyle {
    /// It parses its data itself (`Set`, `GotoIf`, `System`).
    Raw,
    /// Standard splitting at every comma.
    Split,
    /// Standard splitting; the last of so many arguments keeps its commas as written.
    AtMost(usize),
}

/// The applications and functions a dialplan may name.
pub trait Registry {
    /// The canonical spelling of an application, which may be written in any case; `None` when there is no such application.
    fn application(&self, name: &str) -> Option<&str>;

    /// Is there a function of exactly this name?
    fn function(&self, name: &str) -> bool;

    /// All application names, to suggest the nearest to a wrong one.
    fn applications(&self) -> Vec<&str> {
        Vec::new()
    }

    /// All function names, to suggest the nearest to a wrong one.
    fn functions(&self) -> Vec<&str> {
        Vec::new()
    }

    /// How `canonical` takes its data. The default knows the applications of the reference.
    fn arguments(&self, canonical: &str) -> ArgumentStyle {
        standard_style(canonical)
    }

    /// Does a step with this application and data never wait, so that it can run at once, outside of the machine?
    fn immediate(&self, _canonical: &str, _data: &Template) -> bool {
        false
    }

    /// Can this data be written out at once, because no function in it waits? Only asked for known applications.
    fn ready(&self, _data: &Template) -> bool {
        false
    }

    /// Changes when an answer of this registry changes; contexts compiled against another generation are not reused.
    fn generation(&self) -> u64 {
        0
    }
}

/// The argument style of the applications that Asterisk has, by canonical name; [`ArgumentStyle::Split`] for others.
#[must_use]
pub fn standard_style(canonical: &str) -> ArgumentStyle {
    use ArgumentStyle::{AtMost, Raw, Split};
    match canonical.to_ascii_lowercase().as_str() {
        "set" | "mset" | "goto" | "gotoif" | "gotoiftime" | "gosub" | "gosubif" | "return"
        | "execif" | "execiftime" | "exec" | "tryexec" | "while" | "if" | "elseif" | "system"
        | "trysystem" | "noop" | "macro" | "macroif" | "macroexclusive" | "wait" | "hangup"
        | "sendtext" | "raiseexception" | "userevent" | "waitexten" | "verbose" | "log"
        | "exitwhile" | "forkcdr" | "resetcdr" | "busy" | "congestion" => Raw,
        "mixmonitor" => AtMost(3),
        "dial" | "record" | "background" | "authenticate" | "senddtmf" => AtMost(4),
        "playback" | "answer" | "confkick" | "musiconhold" | "voicemail" | "voicemailmain"
        | "chanspy" | "extenspy" => AtMost(2),
        "read" => AtMost(6),
        "page" | "directory" => AtMost(3),
        "queuelog" => AtMost(5),
        "queue" => AtMost(10),
        _ => Split,
    }
}

/// The known name nearest to `wrong`, when it is near enough to be a slip of the finger.
#[must_use]
pub fn nearest<'n>(wrong: &str, known: &[&'n str]) -> Option<&'n str> {
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    let wrong = wrong.to_lowercase();
    known
        .iter()
        .map(|name| (distance(&wrong, &name.to_lowercase(), limit), *name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words; gives up beyond `limit`.
fn distance(left: &str, right: &str, limit: usize) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    if left.len().abs_diff(right.len()) > limit {
        return limit + 1;
    }
    let width = right.len() + 1;
    let mut table = vec![0; (left.len() + 1) * width];
    for row in 0..=left.len() {
        for column in 0..width {
            let cost = if row == 0 || column == 0 {
                row + column
            } else {
                let same = usize::from(left[row - 1] != right[column - 1]);
                let mut best = (table[(row - 1) * width + column] + 1)
                    .min(table[row * width + column - 1] + 1)
                    .min(table[(row - 1) * width + column - 1] + same);
                if row > 1
                    && column > 1
                    && left[row - 1] == right[column - 2]
                    && left[row - 2] == right[column - 1]
                {
                    best = best.min(table[(row - 2) * width + column - 2] + 1);
                }
                best
            };
            table[row * width + column] = cost;
        }
    }
    table[left.len() * width + right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_application_meant() {
        let known = ["Dial", "Playback", "Background", "NoOp", "Goto", "GotoIf"];
        for (wrong, right) in [
            ("Dail", "Dial"),
            ("playbak", "Playback"),
            ("Backgroud", "Background"),
            ("NoOpp", "NoOp"),
            ("GotoIff", "GotoIf"),
        ] {
            assert_eq!(nearest(wrong, &known), Some(right), "{wrong}");
        }
        assert_eq!(nearest("Frobnicate", &known), None);
    }

    #[test]
    fn raw_applications_are_not_split() {
        assert_eq!(standard_style("Set"), ArgumentStyle::Raw);
        assert_eq!(standard_style("MixMonitor"), ArgumentStyle::AtMost(3));
        assert_eq!(standard_style("AGI"), ArgumentStyle::Split);
    }
}
