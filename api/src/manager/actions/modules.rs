//! Modules: there are none to load, only what those of Asterisk bring; so they can be asked for and read anew.

use super::super::answer::Answer;
use super::{Context, system};

pub(super) fn check(on: Context<'_>) -> String {
    let name = on.request.get("Module");
    if name.is_empty() || !strowger_scripting::has_module(name) {
        return on.error("Module not loaded");
    }
    let mut text = Answer::to(on.request);
    text.response("Success").line("Version", "").end();
    text.into_text()
}

pub(super) async fn load(on: Context<'_>) -> String {
    let module = on.request.given("Module");
    let kind = on.request.get("LoadType").to_ascii_lowercase();
    match (kind.as_str(), module) {
        ("reload", None) => {
            if system::reload(on.manager, true).await {
                on.success("All modules reloaded")
            } else {
                on.error("An unknown error occurred")
            }
        }
        ("reload", Some(name)) if strowger_scripting::has_module(name) => {
            if system::reload(on.manager, system::reads_dialplan(name)).await {
                on.success("Module reloaded.")
            } else {
                on.error("An unknown error occurred")
            }
        }
        ("reload", Some(_)) => on.error("No such module."),
        ("load" | "unload" | "refresh", None) => on.error("Need module name"),
        // What is there is loaded already, and there is nothing else.
        ("load", Some(_)) => on.error("Could not load module."),
        // What is built in stays.
        ("unload" | "refresh", Some(_)) => on.error("Could not unload module."),
        _ => on.error("Incomplete ModuleLoad action."),
    }
}
