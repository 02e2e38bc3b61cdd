//! The program as the exchange starts it: arguments, files that are not there, and an input that ends.

use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strowger-fax"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program can be started")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_arguments_are_told_with_the_right_ones() {
    for wrong in [
        &[][..],
        &["send"],
        &["copy", "x.tiff"],
        &["send", "x.tiff", "ecm=2"],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(
            said(&output).starts_with("usage: "),
            "{wrong:?}: {}",
            said(&output)
        );
    }
}

#[test]
fn an_input_that_ends_at_once_is_no_success_and_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("page.tiff");
    let output = run(&["receive", &file.display().to_string()]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let code = said.lines().find_map(|line| line.strip_prefix("code="));
    assert!(code.is_some_and(|code| code != "0"), "{said}");
}
