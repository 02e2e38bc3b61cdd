//! Rules of the house that a compiler does not know.

use std::path::{Path, PathBuf};

/// Files that may say `unsafe`: the rings, the calls they need, and the benches that measure them.
const UNSAFE_ALLOWED: &[&str] = &[
    "media/src/uring/",
    "benches/src/",
    "media/tests/hot_path_does_not_allocate.rs",
];
/// Past this a file has a second subject.
const LINES_MAX: usize = 800;

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != "var" && !name.to_string_lossy().starts_with(".git") {
                files(&path, ending, found);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
}

fn rust_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(root, "rs", &mut found);
    assert!(found.len() > 100, "the source is found");
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(root)
                .map_or_else(|_| path.clone(), Path::to_path_buf);
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            (name.to_string_lossy().into_owned(), text)
        })
        .collect()
}

#[test]
fn unsafe_code_lives_with_the_rings_only() {
    let wrong: Vec<_> = rust_files()
        .into_iter()
        .filter(|(name, _)| {
            name != "tests/tidy.rs"
                && !UNSAFE_ALLOWED
                    .iter()
                    .any(|allowed| name.starts_with(allowed))
        })
        .filter(|(_, text)| {
            text.lines().any(|line| {
                line.contains("unsafe {")
                    || line.contains("unsafe fn")
                    || line.contains("unsafe impl")
            })
        })
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_module_says_what_lives_there_and_none_is_too_long() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//!") && !name.ends_with("/tests.rs") {
            wrong.push(format!("{name}: does not open with //!"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_test_is_switched_off() {
    let mark = concat!("#[ign", "ore");
    let wrong: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| text.contains(mark))
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_source_folder_of_a_crate_is_in_the_code_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let members = manifest
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("members");
    for member in members
        .split(',')
        .map(|word| word.trim().trim_matches('"'))
        .filter(|word| !word.is_empty())
    {
        assert!(
            map.contains(&format!("`{member}/`")),
            "{member} is missing in the code map"
        );
    }
}
