//! `DialplanExtensionAdd` and `DialplanExtensionRemove`: steps beside the rows, until the exchange ends or its dialplan is read anew.

use strowger_dialplan::plan::HINT;
use strowger_dialplan::{Added, NotEdited, Spot};
use strowger_scripting::EditError;

use super::Context;

/// Characters of a context or an extension.
const NAME_MAX: usize = 79;

/// A priority as a number from 1, or `hint`.
pub(super) fn written_priority(text: &str) -> Option<i32> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("hint") {
        return Some(HINT);
    }
    text.parse().ok().filter(|number| *number > 0)
}

/// `exten` or `exten/caller`.
pub(super) fn spot(exten: &str, priority: i32) -> Spot {
    let (name, caller) = match exten.split_once('/') {
        Some((name, caller)) => (name, Some(caller.to_owned())),
        None => (exten, None),
    };
    Spot {
        exten: name.to_owned(),
        caller,
        priority,
    }
}

pub(super) async fn add(on: Context<'_>) -> String {
    let given = |name: &str| on.request.given(name).map(str::trim);
    let (Some(context), Some(exten), Some(priority), Some(app)) = (
        given("Context"),
        given("Extension"),
        given("Priority"),
        given("Application"),
    ) else {
        return on.error(
            "Context, Extension, Priority, and Application must be defined for action DialplanExtensionAdd.",
        );
    };
    if [context, exten].iter().any(|name| name.len() > NAME_MAX) {
        return on.error("Context and Extension have 79 characters at most");
    }
    let Some(priority) = written_priority(priority) else {
        return on.error("The priority specified was invalid.");
    };
    let step = Added {
        app: app.to_owned(),
        appdata: on.request.get("ApplicationData").to_owned(),
    };
    let replace = on.request.is_true("Replace");
    let plans = &on.manager.plans;
    let added = plans.add_step(context, spot(exten, priority), step, replace);
    match added.await {
        Ok(()) => on.success("Added requested extension"),
        Err(EditError::Refused(NotEdited::Exists)) => {
            on.error("That extension and priority already exist at that context")
        }
        Err(EditError::Refused(_)) => on.error(&format!(
            "Too many extensions are added or removed: {} are the most",
            strowger_dialplan::edits::EDITS_MAX
        )),
        Err(EditError::Late) => on.error("An internal error occurred."),
    }
}

pub(super) async fn remove(on: Context<'_>) -> String {
    let (Some(context), Some(exten)) = (on.request.given("Context"), on.request.given("Extension"))
    else {
        return on
            .error("Context and Extension must be provided for action DialplanExtensionRemove");
    };
    let priority = match on.request.given("Priority") {
        None => None,
        Some(text) => match written_priority(text) {
            Some(priority) => Some(priority),
            None => return on.error("Invalid priority provided"),
        },
    };
    let (name, caller) = match exten.split_once('/') {
        Some((name, caller)) => (name, Some(caller)),
        None => (exten, None),
    };
    let plans = &on.manager.plans;
    let removed = plans.remove_steps(context, name, caller, priority);
    match (removed.await, priority) {
        (Ok(()), None) => on.success("Removed the requested extension"),
        (Ok(()), Some(_)) => on.success("Removed the requested priority from the extension"),
        (Err(_), _) => on.error("Failed to remove requested extension"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_numbers_from_1_or_a_hint() {
        for (text, wanted) in [
            ("1", Some(1)),
            (" 20 ", Some(20)),
            ("Hint", Some(HINT)),
            ("0", None),
            ("-1", None),
            ("n", None),
            ("", None),
        ] {
            assert_eq!(written_priority(text), wanted, "{text}");
        }
    }
}
