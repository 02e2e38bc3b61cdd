//! Rules of the house that a compiler does not know.

use std::path::{Path, PathBuf};

/// Files that may say `unsafe`: the rings, the calls they need, and the benches that measure them.
const UNSAFE_ALLOWED: &[&str] = &[
    "media/src/uring/",
    "loadtest/src/uring/",
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

/// Columns of a table of the migrations.
fn columns_of(sql: &str, table: &str) -> Vec<String> {
    let begin = format!("CREATE TABLE IF NOT EXISTS {table} (");
    let body = sql.split(&begin).nth(1).expect("the table is made");
    body.lines()
        .take_while(|line| !line.starts_with(");"))
        .filter_map(|line| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned()))
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_column_of_a_sip_object_is_explained_and_shown_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("a file of text");
    let docs = read("docs/columns.md");
    let sql = ["0001_realtime", "0005_publications"]
        .map(|name| read(&format!("migrations/sqlite/{name}.sql")))
        .concat();
    let sources = rust_files();
    let exists = |test: &str| {
        let head = format!("fn {test}(");
        sources.iter().any(|(_, text)| text.contains(&head))
    };
    let mut wrong = Vec::new();
    for section in docs.split("\n## ").skip(1) {
        let (table, rows) = section.split_once('\n').expect("a title and rows");
        let mut columns = columns_of(&sql, table);
        for row in rows.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
            let [names, what, shown] = cells[..] else {
                wrong.push(format!("{table}: three cells are wanted in {row}"));
                continue;
            };
            for name in quoted(names) {
                match columns.iter().position(|column| *column == name) {
                    Some(place) => drop(columns.swap_remove(place)),
                    None => wrong.push(format!("{table}.{name}: no such column, or twice")),
                }
            }
            let tests = quoted(shown);
            let idle = what.trim().starts_with("without effect");
            if idle != (tests.is_empty() && shown.trim() != "no test yet") {
                wrong.push(format!(
                    "{table}: a test belongs to what has an effect: {row}"
                ));
            }
            let missing = tests.iter().filter(|test| !exists(test));
            wrong.extend(missing.map(|test| format!("{table}: there is no test {test}")));
        }
        wrong.extend(
            columns
                .iter()
                .map(|name| format!("{table}.{name} is not explained")),
        );
    }
    let tables = docs.matches("\n## ps_").count();
    assert!(tables >= 11, "the tables are found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
