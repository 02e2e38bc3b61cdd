//! Another real telephone: linphone on the command line, with a home and a port of its own, fed with a tone and writing what
//! it hears. Control goes through its standard input, what it says is read from its standard output.

use crate::audio;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A running linphone. Dropping it ends the process.
#[derive(Debug)]
pub struct Linphone {
    folder: tempfile::TempDir,
    process: Child,
    commands: ChildStdin,
    exchange: SocketAddr,
}

impl Linphone {
    /// Starts one that registers as `user`; `tone_hz` is what it says in calls. With `answers`, it answers at once.
    #[track_caller]
    pub fn start(
        user: &str,
        password: &str,
        exchange: SocketAddr,
        tone_hz: f64,
        answers: bool,
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("strowger-linphone-")
            .tempdir()
            .expect("a temporary folder");
        let path = folder.path();
        let tone = audio::sine(tone_hz, 8000.0, 60_000);
        audio::write_wav(&path.join("tone.wav"), &tone).expect("the tone's file");
        std::fs::create_dir_all(path.join(".local/share/linphone")).expect("its home");
        let sip = crate::free_port();
        let rtp = 20_000 + sip % 10_000 / 2 * 2;
        // Without TCP, which it would bind on every address of this machine.
        let configuration = format!(
            "[sip]\nsip_port={sip}\nsip_tcp_port=0\nsip_tls_port=0\nmedia_encryption=none\n[rtp]\naudio_rtp_port={rtp}\n"
        );
        std::fs::write(path.join("rc"), configuration).expect("linphone's configuration");
        let said = std::fs::File::create(path.join("said")).expect("a file for what it says");
        let mut command = Command::new("linphonec");
        if answers {
            command.arg("-a");
        }
        let mut process = command
            .arg("-c")
            .arg(path.join("rc"))
            .args(["-d", "6", "-l"])
            .arg(path.join("log"))
            .env("HOME", path)
            .stdin(Stdio::piped())
            .stdout(said.try_clone().expect("the file twice"))
            .stderr(said)
            .spawn()
            .expect("linphone is installed (`make setup-test`)");
        let commands = process.stdin.take().expect("its standard input");
        let mut phone = Self {
            folder,
            process,
            commands,
            exchange,
        };
        // Before its network is up it refuses what it is told.
        let up = crate::wait_until(crate::SOON, || {
            phone
                .log()
                .contains("Creating listening point")
                .then_some(())
        });
        assert!(up.is_some(), "linphone has no socket:\n{}", phone.said());
        let at = |name: &str| phone.folder.path().join(name).display().to_string();
        let (tone, heard) = (at("tone.wav"), at("heard.wav"));
        let domain = exchange.ip();
        for command in [
            "soundcard use files".to_owned(),
            format!("play {tone}"),
            format!("record {heard}"),
            format!("register sip:{user}@{domain} sip:{domain} {password}"),
        ] {
            phone.command(&command);
        }
        phone
    }

    /// Waits until it has registered.
    #[track_caller]
    pub fn expect_registered(&self, limit: Duration) {
        let done = crate::wait_until(limit, || {
            self.log()
                .contains("to [LinphoneRegistrationOk]")
                .then_some(())
        });
        assert!(
            done.is_some(),
            "linphone has not registered within {limit:?}:\n{}",
            self.said()
        );
    }

    /// Gives a command of its menu.
    pub fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("linphone takes commands");
        self.commands.flush().expect("linphone takes commands");
    }

    /// Calls that number at the exchange.
    pub fn dial(&mut self, number: &str) {
        let domain = self.exchange.ip();
        self.command(&format!("call sip:{number}@{domain}"));
    }

    /// Waits until it has said that text so many times.
    #[track_caller]
    pub fn expect(&self, text: &str, times: usize, limit: Duration) {
        let done = crate::wait_until(limit, || {
            (self.said().matches(text).count() >= times).then_some(())
        });
        assert!(
            done.is_some(),
            "linphone has not said {text:?} {times} times within {limit:?}:\n{}",
            self.said()
        );
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        read(&self.folder.path().join("said"))
    }

    fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    /// What it has heard in its call so far, or in all of it once that is over.
    pub fn heard(&self) -> Vec<i16> {
        // The length in the file's head is written at its end.
        let bytes = std::fs::read(self.folder.path().join("heard.wav")).unwrap_or_default();
        let samples = bytes.get(44..).unwrap_or_default().chunks_exact(2);
        samples
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect()
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
