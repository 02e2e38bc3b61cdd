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

#[test]
fn a_file_that_cannot_be_sent_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("text.tif"), "no picture").expect("a file");
    for arguments in [
        vec!["send".to_owned(), path("text.tif")],
        vec![
            "send".to_owned(),
            path("text.tif"),
            format!("file={}", path("more.tif")),
        ],
    ] {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = run(&words);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("fault=file\n"), "{said}");
        let named = format!("text=file \"{}\": it is no TIFF file", path("text.tif"));
        assert!(said.contains(&named), "{said}");
    }
}
