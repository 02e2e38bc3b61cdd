//! SIPp: runs a scenario of `loadtest/sipp/` and reads its own account of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A SIPp process to be.
#[derive(Debug)]
pub struct Sipp {
    scenario: String,
    target: SocketAddr,
    port: u16,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

/// How a scenario went.
#[derive(Debug)]
pub struct SippResult {
    /// Exit code; 0: every call passed.
    pub code: Option<i32>,
    /// Calls that went through the scenario to its end.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Retransmissions sent.
    pub retransmissions: u64,
    /// All last values of SIPp's statistics, by its column names.
    pub statistics: HashMap<String, String>,
    /// What it complained of.
    pub errors: String,
    /// All messages sent and received, as SIPp logs them.
    pub messages: String,
}

impl Sipp {
    /// A scenario file of `loadtest/sipp/` against that address, one call unless `calls` says otherwise.
    pub fn new(scenario: &str, target: SocketAddr) -> Self {
        let port = crate::free_port();
        Self {
            scenario: scenario.to_owned(),
            target,
            port,
            arguments: Vec::new(),
            folder: tempfile::Builder::new()
                .prefix("strowger-sipp-")
                .tempdir()
                .expect("a temporary folder"),
            process: None,
        }
    }

    /// Its SIP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its SIP address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The number to dial (`-s`).
    pub fn service(self, number: &str) -> Self {
        self.with(&["-s", number])
    }

    /// User and password for digest; the scenarios take the user from the key `user`.
    pub fn account(self, user: &str, password: &str) -> Self {
        self.with(&["-au", user, "-ap", password, "-key", "user", user])
    }

    /// So many calls, at most so many at once, so many begun each second.
    pub fn calls(self, total: u32, at_once: u32, per_second: u32) -> Self {
        self.with(&[
            "-m",
            &total.to_string(),
            "-l",
            &at_once.to_string(),
            "-r",
            &per_second.to_string(),
        ])
    }

    /// More arguments, as they are.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&a| a.to_owned()));
        self
    }

    /// SIPp's working folder: files that it logs are written here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Self {
        let scenario = scenarios().join(&self.scenario);
        assert!(scenario.exists(), "{} is missing", scenario.display());
        let port = self.port.to_string();
        let mut command = Command::new("sipp");
        command
            .current_dir(self.folder.path())
            .arg("-sf")
            .arg(scenario)
            .args([
                "-i",
                "127.0.0.1",
                "-mi",
                "127.0.0.1",
                "-p",
                &port,
                "-nostdin",
            ])
            .args([
                "-trace_err",
                "-error_file",
                "errors",
                "-trace_stat",
                "-stf",
                "statistics",
                "-fd",
                "1",
            ])
            .args(["-trace_msg", "-message_file", "messages"]);
        if !self.arguments.iter().any(|a| a == "-m") {
            command.args(["-m", "1"]);
        }
        let output = std::fs::File::create(self.folder.path().join("screen"))
            .expect("a file for SIPp's screen");
        let process = command
            .args(&self.arguments)
            .arg(self.target.to_string())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the file twice"))
            .stderr(output)
            .spawn()
            .expect("SIPp is installed (`make setup-test`)");
        self.process = Some(process);
        // A server has to have its socket before anyone calls it. Binding its port to find out would take it away from it.
        let stream = self.arguments.iter().any(|a| a == "-t");
        let table = if stream {
            "/proc/net/tcp"
        } else {
            "/proc/net/udp"
        };
        let own = format!(" 0100007F:{:04X} ", self.port);
        let mut ended = None;
        let begun = crate::wait_until(crate::SOON, || {
            let sockets = std::fs::read_to_string(table).unwrap_or_default();
            let process = self.process.as_mut();
            ended = process.and_then(|process| process.try_wait().ok().flatten());
            // A short run may be over before it is seen.
            (sockets.contains(&own) || ended.is_some()).then_some(())
        });
        // What a run that ended found out is judged at the end.
        if begun.is_none() || ended.is_some_and(|status| status.code().is_none()) {
            panic!("SIPp did not start:\n{}", self.file("screen"));
        }
        self
    }

    /// Waits for its end and reads the result; fails the test when it has not ended in time.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> SippResult {
        let mut process = self.process.take().expect("start() comes first");
        let deadline = Instant::now() + limit;
        let code = loop {
            if let Ok(Some(status)) = process.try_wait() {
                break status.code();
            }
            if Instant::now() >= deadline {
                let _ = process.kill();
                let _ = process.wait();
                panic!(
                    "{} not done within {limit:?}\n{}\n{}",
                    self.scenario,
                    self.file("errors"),
                    self.tail("messages")
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let statistics = last_line(&self.file("statistics"));
        let number = |name: &str| {
            statistics
                .get(name)
                .and_then(|v| v.parse().ok())
                .unwrap_or(0)
        };
        SippResult {
            code,
            successful: number("SuccessfulCall(C)"),
            failed: number("FailedCall(C)"),
            retransmissions: number("Retransmissions(C)"),
            errors: format!("{}\n{}", self.file("errors"), self.tail("messages")),
            messages: self.messages(),
            statistics,
        }
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub fn run(self, limit: Duration) -> SippResult {
        self.start().finish(limit)
    }

    /// The messages sent and received so far, as SIPp logs them.
    pub fn messages(&self) -> String {
        self.file("messages")
    }

    fn file(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join(name)).unwrap_or_default())
            .into_owned()
    }

    fn tail(&self, name: &str) -> String {
        let text = self.file(name);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(120)..].join("\n")
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl SippResult {
    /// Fails the test unless every one of `calls` passed.
    #[track_caller]
    pub fn expect_all(&self, calls: u64) -> &Self {
        assert!(
            self.code == Some(0) && self.successful == calls && self.failed == 0,
            "SIPp: exit {:?}, {} of {calls} calls passed, {} failed\n{}",
            self.code,
            self.successful,
            self.failed,
            self.errors
        );
        self
    }
}

/// The folder of the scenarios.
pub(crate) fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadtest/sipp")
}

fn last_line(csv: &str) -> HashMap<String, String> {
    let mut lines = csv.lines();
    let names = lines.next().unwrap_or("").split(';');
    let values = lines.last().unwrap_or("").split(';');
    names
        .zip(values)
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}
