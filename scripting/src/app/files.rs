//! Names of files in the data of applications. A row may name any place; what a caller sent may not choose one.

use strowger_dialplan::subst::Node;
use strowger_dialplan::{Query, Vars};

use crate::task::Task;

/// Why a file or sound of this name is never touched, if so. Names may be absolute.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    if name.contains(char::is_control) {
        Some("the name has control characters")
    } else if name.split('/').any(|part| part == "..") {
        Some("the name may not lead elsewhere by \"..\"")
    } else {
        None
    }
}

/// Why a file of this name is not written, if so: besides [`refused`], a name that is absolute only because the caller
/// sent a `/` at its beginning.
pub(crate) fn not_written(task: &Task, name: &str) -> Option<&'static str> {
    refused(name).or_else(|| {
        (name.starts_with('/') && begins_with_what_the_caller_sent(task, name)).then_some(
            "the caller chose its beginning; put it behind a name of your own, or through FILTER",
        )
    })
}

/// Variables and functions that hold what the caller sent.
const FROM_CALLER: &[&str] = &["EXTEN", "INVALID_EXTEN", "CALLERID"];

fn begins_with_what_the_caller_sent(task: &Task, name: &str) -> bool {
    let place = task.channel.location();
    let (plan, caller) = (task.plan(), task.caller());
    let query = Query::new(&place.context, &place.exten, place.priority)
        .caller(Some(&caller))
        .vars(task);
    let Some(found) = plan.find(&query) else {
        return false;
    };
    let mut before = "";
    found.step().template.nodes().iter().any(|node| {
        // Where an argument, an option's argument or a branch begins, a file name may.
        let begins = before
            .trim_end()
            .chars()
            .next_back()
            .is_none_or(|c| matches!(c, '(' | ',' | '?' | ':' | '"' | '='));
        before = "";
        let value = match node {
            Node::Literal(text) => {
                before = text;
                return false;
            }
            Node::Variable { name, cut } if FROM_CALLER.contains(&&**name) => {
                cut.apply(&task.get(name).unwrap_or_default()).to_owned()
            }
            Node::Function {
                name,
                arguments,
                cut,
            } if FROM_CALLER.contains(&&**name) => {
                let value = task.call(name, &arguments.evaluate(task));
                cut.apply(&value.unwrap_or_default()).to_owned()
            }
            _ => {
                before = "x";
                return false;
            }
        };
        before = "x";
        begins && value.trim_start().starts_with('/') && name.starts_with(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "a.wav",
            "a/b.wav",
            "/tmp/x.wav",
            "a..b",
            "...",
            "a/..b/c",
            "",
        ] {
            assert_eq!(refused(name), None, "{name}");
        }
        for name in [
            "../a",
            "a/../../b",
            "..",
            "/tmp/../etc/x",
            "a/..",
            "a\0b",
            "a\nb",
        ] {
            assert!(refused(name).is_some(), "{name}");
        }
    }
}
