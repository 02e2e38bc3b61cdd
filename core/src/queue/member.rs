//! Members of queues: devices that take calls.

use std::time::{Duration, Instant};

use super::settings::{SECONDS_MAX, yes};
use crate::device::device_key;

/// A device that takes calls of a queue.
#[derive(Clone, Debug)]
pub struct Member {
    /// What is dialled: `PJSIP/100`.
    pub interface: String,
    /// Its name in logs and variables; the interface if it has no other.
    pub name: String,
    /// The device that says whether it is free.
    pub state_interface: String,
    pub penalty: u32,
    pub paused: bool,
    pub reason: String,
    /// Added by the dialplan or the Manager.
    pub dynamic: bool,
    /// From `queue_members`, with this unique id.
    pub realtime: Option<String>,
    pub ring_in_use: Option<bool>,
    pub wrapup: Option<Duration>,
    /// Calls taken.
    pub calls: u64,
    /// When its last call ended.
    pub last_call: Option<Instant>,
    /// Calls of queues that it is talking in.
    pub talking: u32,
    /// Since when it is a member.
    pub logged_in: Option<Instant>,
    /// When it was paused last.
    pub last_pause: Option<Instant>,
    /// The device it watches, by the one name that all spellings have.
    pub(super) watched: String,
    /// The device it is rung at, likewise.
    pub(super) dialled: String,
    /// What the tables said of it when they were read last; nothing of a dynamic member.
    said: Option<Said>,
}

/// What the tables say of a member and calls may change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    paused: bool,
    reason: String,
    penalty: u32,
    ring_in_use: Option<bool>,
}

/// A rest of its own after a call. None at all and nothing readable mean that of the queue.
fn rest(text: &str) -> Option<Duration> {
    let seconds: u64 = text.trim().parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds.min(SECONDS_MAX)))
}

impl Member {
    /// A member with nothing special about it.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        let interface = interface.trim();
        Self {
            interface: interface.to_owned(),
            name: interface.to_owned(),
            state_interface: interface.to_owned(),
            penalty: 0,
            paused: false,
            reason: String::new(),
            dynamic: false,
            realtime: None,
            ring_in_use: None,
            wrapup: None,
            calls: 0,
            last_call: None,
            talking: 0,
            logged_in: None,
            last_pause: None,
            watched: device_key(interface),
            dialled: device_key(interface),
            said: None,
        }
    }

    /// Gives it a name and a device to watch; empty texts mean the interface.
    #[must_use]
    pub fn named(mut self, name: &str, state_interface: &str) -> Self {
        let (name, state_interface) = (name.trim(), state_interface.trim());
        if !name.is_empty() {
            name.clone_into(&mut self.name);
        }
        if !state_interface.is_empty() {
            state_interface.clone_into(&mut self.state_interface);
            self.watched = device_key(state_interface);
        }
        self
    }

    /// Gives it a rest of its own after calls, in seconds; 0 and what is no number mean that of the queue.
    #[must_use]
    pub fn resting(mut self, seconds: &str) -> Self {
        self.wrapup = rest(seconds);
        self
    }

    /// Remembers that the tables say so.
    fn said(mut self) -> Self {
        self.said = Some(Said {
            paused: self.paused,
            reason: self.reason.clone(),
            penalty: self.penalty,
            ring_in_use: self.ring_in_use,
        });
        self
    }

    /// A row of `queue_members`.
    pub(super) fn from_row(row: &strowger_store::OptionsRow) -> Self {
        let number = |name: &str| row.get(name).trim().parse().ok();
        let mut member = Self::new(row.get("interface"))
            .named(row.get("membername"), row.get("state_interface"));
        member.penalty = number("penalty").unwrap_or(0);
        let paused = row.get("paused").trim();
        member.paused = yes(paused).unwrap_or_else(|| paused.parse().is_ok_and(|n: i64| n != 0));
        row.get("reason_paused").clone_into(&mut member.reason);
        member.realtime = Some(row.get("uniqueid").to_owned());
        member.ring_in_use = yes(row.get("ringinuse"));
        member.wrapup = rest(row.get("wrapuptime"));
        member.said()
    }

    /// A line `member => interface[,penalty[,name[,state interface[,ringinuse[,wrapuptime[,paused]]]]]]`.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let parts: Vec<&str> = line.split(',').map(str::trim).collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default();
        if part(0).is_empty() {
            return None;
        }
        let mut member = Self::new(part(0)).named(part(2), part(3));
        member.penalty = part(1).parse().unwrap_or(0);
        member.ring_in_use = yes(part(4));
        member.wrapup = rest(part(5));
        member.paused = yes(part(6)).unwrap_or(false);
        Some(member.said())
    }

    /// What is kept of a dynamic member over restarts, as Asterisk writes it.
    pub(super) fn kept(&self) -> String {
        let wrapup = self
            .wrapup
            .map_or_else(String::new, |time| time.as_secs().to_string());
        format!(
            "{};{};{};{};{};{};{wrapup}",
            self.interface,
            self.penalty,
            u8::from(self.paused),
            self.name,
            self.state_interface,
            self.reason
        )
    }

    /// Reads what [`Self::kept`] wrote.
    pub(super) fn from_kept(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(';').collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default();
        if part(0).is_empty() {
            return None;
        }
        let mut member = Self::new(part(0)).named(part(3), part(4));
        member.dynamic = true;
        member.penalty = part(1).parse().unwrap_or(0);
        member.paused = part(2) == "1";
        part(5).clone_into(&mut member.reason);
        member.wrapup = rest(part(6));
        Some(member)
    }

    /// Takes over what happened to it before its row was read anew. What a call changed stays until the tables say something
    /// else than they did: their columns may not be ours to write, and are written behind.
    pub(super) fn continues(&mut self, before: &Self) {
        if let (Some(now), Some(then)) = (&self.said, &before.said) {
            if now.paused == then.paused && now.reason == then.reason {
                self.paused = before.paused;
                self.reason.clone_from(&before.reason);
            }
            if now.penalty == then.penalty {
                self.penalty = before.penalty;
            }
            if now.ring_in_use == then.ring_in_use {
                self.ring_in_use = before.ring_in_use;
            }
        }
        self.calls = before.calls;
        self.last_call = before.last_call;
        self.talking = before.talking;
        self.logged_in = before.logged_in.or(self.logged_in);
        self.last_pause = before.last_pause;
    }

    /// Does it rest after a call?
    pub(super) fn wraps_up(&self, of_queue: Duration, now: Instant) -> bool {
        let rest = self.wrapup.unwrap_or(of_queue);
        self.last_call
            .is_some_and(|at| now.saturating_duration_since(at) < rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_members_are_kept_as_asterisk_keeps_them() {
        let mut member = Member::new("PJSIP/100").named("Anna", "Custom:anna");
        member.penalty = 3;
        member.paused = true;
        "lunch".clone_into(&mut member.reason);
        member.wrapup = Some(Duration::from_secs(7));
        assert_eq!(member.kept(), "PJSIP/100;3;1;Anna;Custom:anna;lunch;7");
        let read = Member::from_kept(&member.kept()).unwrap();
        assert!(read.dynamic && read.kept() == member.kept());
        assert!(Member::from_kept("").is_none());
        // Older versions wrote less.
        let old = Member::from_kept("PJSIP/1;0;0;Boris;").unwrap();
        assert_eq!(
            (old.name.as_str(), old.state_interface.as_str()),
            ("Boris", "PJSIP/1")
        );
    }

    #[test]
    fn a_line_of_a_file_makes_a_member() {
        let member = Member::from_line("PJSIP/1,2,Anna,Custom:a,no,9,yes").unwrap();
        assert_eq!((member.penalty, member.paused), (2, true));
        assert_eq!(member.ring_in_use, Some(false));
        assert_eq!(member.wrapup, Some(Duration::from_secs(9)));
        assert!(Member::from_line(" ").is_none());
    }

    #[test]
    fn a_rest_of_no_seconds_is_that_of_the_queue_and_a_huge_one_is_no_fault() {
        let now = Instant::now();
        for text in ["0", "", "soon"] {
            let lines = format!("PJSIP/1,0,,,,{text}");
            assert_eq!(Member::from_line(&lines).unwrap().wrapup, None, "{text}");
            assert_eq!(Member::new("PJSIP/1").resting(text).wrapup, None, "{text}");
            let kept = format!("PJSIP/1;0;0;;;;{text}");
            assert_eq!(Member::from_kept(&kept).unwrap().wrapup, None, "{text}");
        }
        let mut member = Member::new("PJSIP/1").resting("18446744073709551615");
        member.last_call = Some(now);
        assert!(member.wraps_up(Duration::ZERO, now));
        assert_eq!(member.wrapup, Some(Duration::from_secs(SECONDS_MAX)));
        member.wrapup = None;
        assert!(!member.wraps_up(Duration::ZERO, now));
        assert!(member.wraps_up(Duration::from_secs(1), now));
    }
}
