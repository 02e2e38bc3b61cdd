//! Clients that others wrote, each with its session in `tests/clients/`, and what a session tells: a JSON object a line. They
//! are installed by `make setup-test`, in the versions that stand there.

use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::manager::Block;

/// Where they are installed.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
    assert!(
        folder.join("installed").exists(),
        "{} is missing: `make setup-test` installs the clients",
        folder.display()
    );
    folder
}

/// A session of a client in Python, or a module of one with `-m`.
pub fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(installed().join("python/bin/python"));
    command
        .args(arguments)
        .current_dir(sessions())
        // Nothing of it is left beside the sources.
        .env("PYTHONPYCACHEPREFIX", installed().join("compiled"));
    command
}

/// A session of a client for Node.js.
pub fn node(arguments: &[&str]) -> Command {
    let mut command = Command::new(installed().join("node/node"));
    command
        .args(arguments)
        .current_dir(sessions())
        .env("NODE_PATH", installed().join("node/node_modules"));
    command
}

fn sessions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// A client that runs. Dropping it ends the process.
#[derive(Debug)]
pub struct Client {
    process: Child,
    output: std::fs::File,
    errors: std::fs::File,
}

impl Client {
    /// Starts one.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let file = || tempfile::tempfile().expect("a temporary file");
        let (output, errors) = (file(), file());
        let clone = |file: &std::fs::File| file.try_clone().expect("the file twice");
        let process = command
            .stdin(Stdio::null())
            .stdout(clone(&output))
            .stderr(clone(&errors))
            .spawn();
        Self {
            process: process.expect("the client can be started"),
            output,
            errors,
        }
    }

    /// Waits for its end: how it ended, what it wrote, and what it complained of.
    #[track_caller]
    pub fn end(mut self, limit: Duration) -> (ExitStatus, String, String) {
        let ended = crate::wait_until(limit, || self.process.try_wait().ok().flatten());
        let (output, errors) = (text_of(&mut self.output), text_of(&mut self.errors));
        let Some(status) = ended else {
            panic!("the client has not ended within {limit:?}\n{output}\n{errors}");
        };
        (status, output, errors)
    }

    /// Waits until its session is over, which has to go well.
    #[track_caller]
    pub fn finish(self, limit: Duration) -> Told {
        let (status, output, errors) = self.end(limit);
        assert!(
            status.success(),
            "the client ended with {status}\n{output}\n{errors}"
        );
        let lines = output.lines().map(|line| match serde_json::from_str(line) {
            Ok(line) => line,
            Err(error) => panic!("no JSON ({error}): {line}"),
        });
        Told(lines.collect())
    }
}

fn text_of(file: &mut std::fs::File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    read.expect("what the client wrote");
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a client told of its session.
#[derive(Debug)]
pub struct Told(Vec<Value>);

impl Told {
    /// What came of a step.
    #[track_caller]
    pub fn step(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|line| line["step"] == name);
        found.map_or_else(
            || panic!("there was no step {name}: {:#?}", self.0),
            |line| &line["answer"],
        )
    }

    /// A field of what came of a step; empty if there is none.
    #[track_caller]
    pub fn field(&self, step: &str, name: &str) -> String {
        field(self.step(step), name)
    }

    /// The events, in the order in which the client gave them, with those of their fields that are `wanted`.
    pub fn events(&self, wanted: &[&str]) -> Vec<Block> {
        let events = self.0.iter().filter_map(|line| line.get("event"));
        let block = |event: &Value| {
            let fields = wanted
                .iter()
                .map(|name| ((*name).to_owned(), field(event, name)));
            Block(fields.collect())
        };
        events.map(block).collect()
    }
}

/// A field, however the client writes its name; the last, where it came several times. Empty if there is none.
pub fn field(of: &Value, name: &str) -> String {
    let found = of.as_object().and_then(|fields| {
        let mut fields = fields.iter();
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name))
    });
    let value = found.map(|(_, value)| match value.as_array() {
        Some(values) => values.last().unwrap_or(&Value::Null),
        None => value,
    });
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
