//! Scripts for tests, and what they left behind.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::exchange::{Exchange, wait_until};

/// The beginning of every script: it keeps the first block in `<script>.env` and the answers in `<script>.out`.
const PRELUDE: &str = r#"#!/bin/sh
out="$0.out"; : > "$out"; : > "$0.env"
while IFS= read -r line && [ -n "$line" ]; do printf '%s\n' "$line" >> "$0.env"; done
say() { printf '%s\n' "$1"; IFS= read -r reply || return 1; printf '%s\n' "$reply" >> "$out"; }
"#;

/// Puts a script into the folder of scripts.
pub(crate) fn script(exchange: &Exchange, name: &str, text: &str) -> PathBuf {
    let path = exchange.data.path().join("agi-bin").join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of scripts");
    // Another test's process may be made at any moment, and would hold a file open that is written in place.
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("the script");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    std::fs::rename(&new, &path).expect("the script in its place");
    path
}

pub(crate) fn with_prelude(text: &str) -> String {
    format!("{PRELUDE}{text}")
}

pub(crate) fn beside(path: &std::path::Path, ending: &str) -> String {
    let name = format!("{}{ending}", path.display());
    std::fs::read_to_string(&name).unwrap_or_default()
}

/// What the script got as answers.
pub(crate) fn answers(path: &std::path::Path) -> Vec<String> {
    beside(path, ".out").lines().map(str::to_owned).collect()
}

pub(crate) fn number(exchange: &Exchange, name: &str) -> u64 {
    let counters = exchange.plans.agi().counters();
    let found = counters.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} is counted")).1
}

/// No script runs any more and nothing is left of one.
pub(crate) fn wait_for_quiet(exchange: &Exchange) {
    wait_until("all scripts are over", || {
        number(exchange, "processes_running") == 0 && number(exchange, "connections_running") == 0
    });
}
