//! Programs that the exchange starts. None of them sees its settings, which may hold passwords.

use tokio::process::Command;

/// What the names of settings in the environment begin with.
pub const SETTINGS: &str = "STROWGER_";

/// Takes the exchange's settings out of what the program will see.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(SETTINGS.as_bytes()) {
            command.env_remove(name);
        }
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
