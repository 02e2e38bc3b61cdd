//! A real telephone: baresip with a folder, ports and an account of its own, fed with a tone and writing what it hears.
//!
//! Control goes through its TCP interface (`ctrl_tcp`): commands and events as JSON in netstrings.

use crate::audio;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A running baresip. Dropping it ends the process.
#[derive(Debug)]
pub struct Baresip {
    folder: tempfile::TempDir,
    process: Child,
    control: TcpStream,
    events: Arc<Mutex<Vec<Value>>>,
    exchange: SocketAddr,
}

impl Baresip {
    /// Starts one with an account at the exchange; it registers by itself. `tone_hz` is what it says in calls.
    /// With `answers`, it answers incoming calls at once.
    #[track_caller]
    pub fn start(
        user: &str,
        password: &str,
        exchange: SocketAddr,
        tone_hz: f64,
        answers: bool,
    ) -> Self {
        Self::start_with(user, password, exchange, tone_hz, answers, "")
    }

    /// One that speaks G.722 and nothing else.
    #[track_caller]
    pub fn start_wide(
        user: &str,
        password: &str,
        exchange: SocketAddr,
        tone_hz: f64,
        answers: bool,
    ) -> Self {
        // Played at twice the rate a tone has twice the frequency.
        let tone = (tone_hz / 2.0, 16_000);
        let parameters = ";audio_codecs=g722/16000/1";
        Self::launch(user, password, exchange, tone, answers, parameters)
    }

    /// The same with more account parameters: `;mediaenc=srtp-mand` for media that must be encrypted.
    #[track_caller]
    pub fn start_with(
        user: &str,
        password: &str,
        exchange: SocketAddr,
        tone_hz: f64,
        answers: bool,
        parameters: &str,
    ) -> Self {
        let parameters = format!(";audio_codecs=pcma/8000/1,pcmu/8000/1{parameters}");
        let tone = (tone_hz, 8000);
        Self::launch(user, password, exchange, tone, answers, &parameters)
    }

    #[track_caller]
    fn launch(
        user: &str,
        password: &str,
        exchange: SocketAddr,
        (tone_hz, rate_hz): (f64, u32),
        answers: bool,
        parameters: &str,
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("strowger-baresip-")
            .tempdir()
            .expect("a temporary folder");
        let path = folder.path();
        audio::write_wav_at(
            &path.join("tone.wav"),
            &audio::sine(tone_hz, 8000.0, 60_000),
            rate_hz,
        )
        .expect("the tone's file");
        let (sip, control) = (crate::free_port(), crate::free_port());
        let first_rtp = 20_000 + sip % 10_000 / 2 * 2;
        let modules = ["g711", "g722", "aufile", "aubridge", "sndfile", "srtp"]
            .map(|m| format!("module {m}.so\n"))
            .concat();
        let configuration = format!(
            "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nnet_interface 127.0.0.1\nrtp_ports {first_rtp}-{}\n\
             audio_source aufile,{}\naudio_player aubridge,nothing\naudio_alert aubridge,nothing\nsnd_path {}\n\
             module_path {}\n{modules}module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\n\
             module_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{control}\n",
            first_rtp + 100,
            path.join("tone.wav").display(),
            path.display(),
            module_folder().display(),
        );
        let mode = if answers { "auto" } else { "manual" };
        let account = format!(
            "<sip:{user}@{exchange}>;auth_user={user};auth_pass={password};regint=600;answermode={mode}{parameters}\n"
        );
        std::fs::write(path.join("config"), configuration).expect("baresip's configuration");
        std::fs::write(path.join("accounts"), account).expect("baresip's account");
        std::fs::write(path.join("contacts"), "").expect("baresip's contacts");
        let log = std::fs::File::create(path.join("log")).expect("baresip's log");
        let process = Command::new("baresip")
            .arg("-f")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log)
            .spawn()
            .expect("baresip is installed (`make setup-test`)");
        let connected = crate::wait_until(crate::SOON, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, control)).ok()
        });
        let control = connected
            .unwrap_or_else(|| panic!("baresip's control port; its log:\n{}", log_of(path)));
        let events = Arc::new(Mutex::new(Vec::new()));
        let reader = control.try_clone().expect("the control connection twice");
        let sink = Arc::clone(&events);
        std::thread::spawn(move || read_events(reader, &sink));
        Self {
            folder,
            process,
            control,
            events,
            exchange,
        }
    }

    /// Waits until it has registered. It does so before anyone can have asked for its events, so its log is read.
    #[track_caller]
    pub fn expect_registered(&self, limit: Duration) {
        let done = crate::wait_until(limit, || {
            let log = log_of(self.folder.path());
            log.lines()
                .any(|line| line.contains("200 OK") && line.contains("binding"))
                .then_some(())
        });
        assert!(
            done.is_some(),
            "not registered within {limit:?}; baresip's log:\n{}",
            log_of(self.folder.path())
        );
    }

    /// Waits for an event of that type (`CALL_INCOMING`, `CALL_ESTABLISHED`, `CALL_CLOSED` ...).
    #[track_caller]
    pub fn expect_event(&self, kind: &str, limit: Duration) -> Value {
        let found = crate::wait_until(limit, || {
            let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.iter().find(|e| e["type"] == kind).cloned()
        });
        found.unwrap_or_else(|| {
            panic!(
                "no {kind} within {limit:?}; baresip's log:\n{}",
                log_of(self.folder.path())
            )
        })
    }

    /// Calls that number at the exchange.
    pub fn dial(&mut self, number: &str) {
        let uri = format!("sip:{number}@{}", self.exchange);
        self.command("dial", &uri);
    }

    /// Hangs up.
    pub fn hang_up(&mut self) {
        self.command("hangup", "");
    }

    /// Gives any command of its menu.
    pub fn command(&mut self, command: &str, parameters: &str) {
        let text = serde_json::json!({ "command": command, "params": parameters }).to_string();
        write!(self.control, "{}:{text},", text.len()).expect("baresip's control connection");
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        log_of(self.folder.path())
    }

    /// What it has heard in its last call; complete once the call is over.
    #[track_caller]
    pub fn heard(&self) -> Vec<i16> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.folder.path())
            .expect("baresip's folder")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .collect();
        files.sort();
        let last = files.last().unwrap_or_else(|| {
            panic!(
                "baresip wrote no audio; its log:\n{}",
                log_of(self.folder.path())
            )
        });
        // It says that a call is closed before it closes the file.
        let complete = || {
            let samples = audio::read_wav(last).ok()?;
            (!samples.is_empty()).then_some(samples)
        };
        crate::wait_until(crate::SOON, complete).expect("baresip's recording")
    }

    /// In its last call it has heard the other side's tone, for more than so many seconds in all, and not its own.
    #[track_caller]
    pub fn assert_heard(&self, seconds: usize, theirs_hz: f64, own_hz: f64) {
        let heard = self.heard();
        assert!(
            heard.len() > 8000 * seconds,
            "only {} samples were heard",
            heard.len()
        );
        assert!(
            audio::share_with_tone(&heard, theirs_hz) > 0.7,
            "{theirs_hz} Hz of the other side is not heard"
        );
        assert!(
            audio::share_with_tone(&heard, own_hz) < 0.1,
            "its own {own_hz} Hz comes back"
        );
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn read_events(mut stream: TcpStream, sink: &Mutex<Vec<Value>>) {
    let mut buffer = Vec::new();
    let mut piece = [0_u8; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        buffer.extend_from_slice(&piece[..count]);
        while let Some(colon) = buffer.iter().position(|&b| b == b':') {
            let length = std::str::from_utf8(&buffer[..colon])
                .ok()
                .and_then(|t| t.parse::<usize>().ok());
            let Some(length) = length else { return };
            let end = colon + 1 + length;
            if buffer.len() <= end {
                break;
            }
            if let Ok(value) = serde_json::from_slice(&buffer[colon + 1..end]) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(value);
            }
            buffer.drain(..=end);
        }
    }
}

/// Where Debian keeps baresip's modules: one folder, or one for each architecture.
fn module_folder() -> PathBuf {
    let candidates = [
        "/usr/lib/baresip/modules",
        "/usr/lib/x86_64-linux-gnu/baresip/modules",
        "/usr/lib/aarch64-linux-gnu/baresip/modules",
    ];
    candidates
        .iter()
        .map(PathBuf::from)
        .find(|path| path.join("ctrl_tcp.so").exists())
        .unwrap_or_else(|| panic!("baresip's modules are in none of {candidates:?} (`make setup-test` installs baresip)"))
}
