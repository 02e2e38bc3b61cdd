//! Programs that the exchange starts. None of them sees its settings, which may hold passwords.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use tokio::process::Command;

/// Variables that the dialplan may set, at most.
pub const VARIABLES_MAX: usize = 256;

/// Variables of the environment that the dialplan set: programs get them, the process itself stays as it is, since other
/// threads read its environment at any time. None: taken out.
static CHANGED: RwLock<BTreeMap<String, Option<String>>> = RwLock::new(BTreeMap::new());

/// Sets a variable for programs that begin from now on; None takes it out. False: there are too many.
pub fn set_variable(name: &str, value: Option<&str>) -> bool {
    let mut changed = CHANGED.write();
    if value.is_none() && std::env::var_os(name).is_none() {
        // Nothing is left of it to take out.
        changed.remove(name);
        return true;
    }
    if changed.len() >= VARIABLES_MAX && !changed.contains_key(name) {
        return false;
    }
    changed.insert(name.to_owned(), value.map(str::to_owned));
    true
}

/// The value of a variable as programs see it.
pub fn variable(name: &str) -> Option<String> {
    match CHANGED.read().get(name) {
        Some(changed) => changed.clone(),
        None => std::env::var(name).ok(),
    }
}

/// What the names of settings in the environment begin with.
pub const SETTINGS: &str = "STROWGER_";

/// Takes the exchange's settings out of what the program will see.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(SETTINGS.as_bytes()) {
            command.env_remove(name);
        }
    }
    for (name, value) in &*CHANGED.read() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// `/bin/sh -c text`, with nothing to read.
pub fn shell(text: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(text)
        .stdin(std::process::Stdio::null());
    without_settings(&mut command);
    command
}
