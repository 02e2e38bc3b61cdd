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

#[test]
fn dialplans_in_lua_are_shown_and_their_faults_told_with_file_and_line() {
    let data = std::env::temp_dir().join(format!("strowger-command-line-{}", std::process::id()));
    let folder = data.join("dialplan");
    std::fs::create_dir_all(&folder).expect("a folder");
    let text = "extensions.office = {\n    ['_1XX'] = function() call:answer() end,\n    include = { 'services' },\n}\n\
                extensions.services = {}\nhints.office = { [100] = 'PJSIP/100' }\n";
    std::fs::write(folder.join("office.lua"), text).expect("written");
    let path = data.to_string_lossy().into_owned();
    let run = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--data", &path]);
        let output = strowger(&all);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.success(), text)
    };
    let (_, migrated) = run(&["db", "migrate"]);
    let (good, shown) = run(&["dialplan", "show", "office"]);
    assert!(good, "{migrated}{shown}");
    for line in [
        "include services  ; office.lua",
        "_1XX,1,Lua(office.lua:2)  ; office.lua:2",
        "100,-1,PJSIP/100()  ; office.lua",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let (good, told) = run(&["dialplan", "lint"]);
    assert!(good, "{told}");
    std::fs::write(folder.join("broken.lua"), "local x =\n= 5").expect("written");
    let (good, told) = run(&["dialplan", "lint"]);
    assert!(!good && told.contains("error: broken.lua:2"), "{told}");
    let _ = std::fs::remove_dir_all(&data);
}
