//! The command line of the built binary. (The calls it carries are tested in the package beside this file.)

use std::process::{Command, Output};

fn strowger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strowger"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

#[test]
fn version_says_the_version() {
    let output = strowger(&["version"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_names_every_command() {
    let output = strowger(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for command in ["serve", "check", "dialplan", "db", "version"] {
        assert!(text.contains(command), "{command} is missing in:\n{text}");
    }
}

#[test]
fn an_unknown_command_is_refused() {
    assert!(!strowger(&["sevre"]).status.success());
}

#[test]
fn a_missing_configuration_file_is_named() {
    let output = strowger(&["--config", "/nonexistent/strowger.toml", "check"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/strowger.toml"));
}
