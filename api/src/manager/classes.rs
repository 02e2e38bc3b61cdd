//! Classes of events and actions: who may see and do what.

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Classes(pub(crate) u32);

/// In the order in which they are printed.
const NAMES: [&str; 19] = [
    "system",
    "call",
    "log",
    "verbose",
    "command",
    "agent",
    "user",
    "config",
    "dtmf",
    "reporting",
    "cdr",
    "dialplan",
    "originate",
    "agi",
    "cc",
    "aoc",
    "test",
    "security",
    "message",
];

impl Classes {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self((1 << NAMES.len()) - 1);
    pub(crate) const SYSTEM: Self = Self(1);
    pub(crate) const CALL: Self = Self(1 << 1);
    pub(crate) const COMMAND: Self = Self(1 << 4);
    pub(crate) const AGENT: Self = Self(1 << 5);
    pub(crate) const USER: Self = Self(1 << 6);
    pub(crate) const CONFIG: Self = Self(1 << 7);
    pub(crate) const DTMF: Self = Self(1 << 8);
    pub(crate) const REPORTING: Self = Self(1 << 9);
    pub(crate) const CDR: Self = Self(1 << 10);
    pub(crate) const DIALPLAN: Self = Self(1 << 11);
    pub(crate) const ORIGINATE: Self = Self(1 << 12);
    pub(crate) const AGI: Self = Self(1 << 13);
    pub(crate) const SECURITY: Self = Self(1 << 17);
    pub(crate) const MESSAGE: Self = Self(1 << 18);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that both have.
    pub(crate) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Are all classes of `other` among these?
    pub(crate) const fn include(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// `call,all`.
    pub(crate) fn printed(self) -> String {
        if self.is_none() {
            return "<none>".to_owned();
        }
        let mut text = String::new();
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                text.push_str(name);
                text.push(',');
            }
        }
        text.push_str("all");
        text
    }

    /// Reads `call,system`; `all` is all, `none` and what is no class count for nothing.
    pub(crate) fn parse(text: &str) -> Self {
        text.split(',')
            .map(str::trim)
            .fold(Self::NONE, |sum, word| {
                if word.eq_ignore_ascii_case("all") {
                    return Self::ALL;
                }
                let bit = NAMES
                    .iter()
                    .position(|name| name.eq_ignore_ascii_case(word));
                sum.and(bit.map_or(Self::NONE, |bit| Self(1 << bit)))
            })
    }

    /// What `Events` and `EventMask` ask for; `None` where it cannot be understood.
    pub(crate) fn mask(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "" => None,
            "on" | "yes" | "true" | "all" => Some(Self::ALL),
            "off" | "no" | "false" | "none" => Some(Self::NONE),
            word => match word.parse::<u32>() {
                Ok(bits) => Some(Self(bits).both(Self::ALL)),
                Err(_) => Some(Self::parse(text)).filter(|classes| !classes.is_none()),
            },
        }
    }
}

/// The classes of an event.
pub(crate) fn of_event(name: &str) -> Classes {
    match name {
        "FullyBooted" | "Shutdown" | "Reload" | "PeerStatus" | "ContactStatus" | "Registry" => {
            Classes::SYSTEM
        }
        "Newexten" | "VarSet" | "HangupHandlerRun" | "HangupHandlerPush" | "HangupHandlerPop" => {
            Classes::DIALPLAN
        }
        "DTMFBegin" | "DTMFEnd" => Classes::DTMF,
        "UserEvent" => Classes::USER,
        "Cdr" => Classes::CDR,
        "AsyncAGIStart" | "AsyncAGIExec" | "AsyncAGIEnd" | "AGIExecStart" | "AGIExecEnd" => {
            Classes::AGI
        }
        "SuccessfulAuth" | "ChallengeSent" | "InvalidPassword" | "InvalidAccountID"
        | "FailedACL" => Classes::SECURITY,
        name if name.starts_with("Queue") || name.starts_with("Agent") => Classes::AGENT,
        _ => Classes::CALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_printed_in_their_order_with_all_behind() {
        let classes = Classes::parse("reporting, System,nothing");
        assert_eq!(classes.printed(), "system,reporting,all");
        assert_eq!(Classes::NONE.printed(), "<none>");
        assert!(Classes::ALL.include(Classes::AGI.and(Classes::SECURITY)));
        assert_eq!(Classes::parse("all"), Classes::ALL);
        assert!(!classes.include(Classes::CALL.and(Classes::SYSTEM)));
    }

    #[test]
    fn masks_are_words_lists_and_numbers() {
        for (text, wanted) in [
            ("on", Some(Classes::ALL)),
            ("OFF", Some(Classes::NONE)),
            ("call,user", Some(Classes::CALL.and(Classes::USER))),
            ("2", Some(Classes::CALL)),
            ("whatever", None),
            ("", None),
        ] {
            assert_eq!(Classes::mask(text), wanted, "{text}");
        }
    }
}
