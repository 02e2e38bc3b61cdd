//! The rules of the run loop that need no call: which special extension follows what, and how an extension ends.

use strowger_dialplan::{Plan, Query};

use crate::task::Task;

/// What happened that a special extension may handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// The number does not exist.
    Invalid,
    /// Nothing was dialled in time.
    ResponseTimeout,
    /// `TIMEOUT(absolute)` is reached.
    AbsoluteTimeout,
    /// A step failed.
    Error,
}

impl Special {
    /// The extension made for it.
    fn exten(self) -> Option<&'static str> {
        match self {
            Self::Invalid => Some("i"),
            Self::ResponseTimeout => Some("t"),
            Self::AbsoluteTimeout => Some("T"),
            Self::Error => None,
        }
    }

    /// `EXCEPTION(reason)` when extension `e` handles it instead.
    fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::ResponseTimeout => "RESPONSETIMEOUT",
            Self::AbsoluteTimeout => "ABSOLUTETIMEOUT",
            Self::Error => "ERROR",
        }
    }

    /// For the log, when nothing handles it.
    pub(crate) fn missing(self) -> &'static str {
        match self {
            Self::Invalid => {
                "the number does not exist here, and the context has neither i nor e: the call ends"
            }
            Self::ResponseTimeout => {
                "nothing was dialled, and the context has neither t nor e: the call ends"
            }
            Self::AbsoluteTimeout => "the call's time is over",
            Self::Error => "a step failed, and the context has no e: the call ends",
        }
    }
}

/// The extension that handles it, and the reason to note if it is `e`.
pub(crate) fn special(task: &Task, which: Special) -> Option<(&'static str, Option<&'static str>)> {
    let context = task.channel.location().context;
    let caller = task.caller();
    choose(which, |exten| {
        exists(&task.plan(), &context, exten, &caller)
    })
}

fn exists(plan: &Plan, context: &str, exten: &str, caller: &str) -> bool {
    plan.exists(&Query::new(context, exten, 1).caller(Some(caller)))
}

fn choose(
    which: Special,
    exists: impl Fn(&str) -> bool,
) -> Option<(&'static str, Option<&'static str>)> {
    match which.exten() {
        Some(exten) if exists(exten) => Some((exten, None)),
        _ if exists("e") => Some(("e", Some(which.reason()))),
        _ => None,
    }
}

/// What follows the last priority of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// Wait for digits.
    Digits,
    HangUp,
    /// A busy tone, then the end.
    Busy,
    /// A congestion tone, then the end.
    Congestion,
}

/// `auto`: the setting autofallthrough; `status`: `DIALSTATUS`, if it is set.
pub(crate) fn at_end(auto: bool, status: Option<&str>) -> AtEnd {
    if !auto {
        return AtEnd::Digits;
    }
    match status.unwrap_or("UNKNOWN").to_ascii_uppercase().as_str() {
        "BUSY" => AtEnd::Busy,
        "CONGESTION" | "CHANUNAVAIL" => AtEnd::Congestion,
        _ => AtEnd::HangUp,
    }
}

#[cfg(test)]
mod tests {
    use strowger_dialplan::Row;

    use super::*;
    use crate::registry::Applications;

    fn plan(extens: &[&str]) -> Plan {
        let rows: Vec<Row<'_>> = (1..)
            .zip(extens)
            .map(|(id, exten)| Row {
                id,
                context: "c",
                exten,
                priority: 1,
                app: "NoOp",
                appdata: "",
            })
            .collect();
        strowger_dialplan::compile(&rows, &[], &Applications, None)
    }

    #[test]
    fn special_extensions_follow_their_cause_and_e_stands_in_for_them() {
        for (extens, which, wanted) in [
            (&["i", "e"][..], Special::Invalid, Some(("i", None))),
            (&["e"], Special::Invalid, Some(("e", Some("INVALID")))),
            (&["t", "i"], Special::Invalid, Some(("i", None))),
            (&["t"], Special::Invalid, None),
            (&["t", "e"], Special::ResponseTimeout, Some(("t", None))),
            (
                &["e"],
                Special::ResponseTimeout,
                Some(("e", Some("RESPONSETIMEOUT"))),
            ),
            (&["T", "t"], Special::AbsoluteTimeout, Some(("T", None))),
            (&["t"], Special::AbsoluteTimeout, None),
            (
                &["e"],
                Special::AbsoluteTimeout,
                Some(("e", Some("ABSOLUTETIMEOUT"))),
            ),
            (&["i", "e"], Special::Error, Some(("e", Some("ERROR")))),
            (&["i", "t", "T"], Special::Error, None),
        ] {
            let plan = plan(extens);
            assert_eq!(
                choose(which, |exten| exists(&plan, "c", exten, "100")),
                wanted,
                "{extens:?} {which:?}"
            );
        }
    }

    #[test]
    fn an_extension_ends_as_the_last_dial_did() {
        for (auto, status, wanted) in [
            (true, None, AtEnd::HangUp),
            (true, Some(""), AtEnd::HangUp),
            (true, Some("ANSWER"), AtEnd::HangUp),
            (true, Some("NOANSWER"), AtEnd::HangUp),
            (true, Some("BUSY"), AtEnd::Busy),
            (true, Some("CONGESTION"), AtEnd::Congestion),
            (true, Some("CHANUNAVAIL"), AtEnd::Congestion),
            (false, Some("BUSY"), AtEnd::Digits),
            (false, None, AtEnd::Digits),
        ] {
            assert_eq!(at_end(auto, status), wanted, "{auto} {status:?}");
        }
    }
}
