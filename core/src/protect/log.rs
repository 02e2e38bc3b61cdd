//! The log of security events, in the words and the form of Asterisk's: one line each, for fail2ban and its like. A thread
//! writes it; when the disk does not keep up, lines are lost and counted.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use strowger_sip::{Flow, Transport};
use tokio::sync::oneshot;

use crate::counters::Counter;
use crate::events::Event;

/// Lines that wait for the disk.
const WAITING_MAX: usize = 8192;
/// Files that are put aside because somebody asked for it.
const PUT_ASIDE_MAX: u32 = 1000;
/// Above this a file becomes `security.old.log`.
const BYTES_MAX: u64 = 64 << 20;
/// Characters of a value; who asks chooses them.
const VALUE_MAX: usize = 200;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A password was proved.
    SuccessfulAuth,
    /// Somebody was asked for one.
    ChallengeSent,
    /// It was wrong.
    InvalidPassword,
    /// Nobody has that name.
    InvalidAccountId,
    /// An access list says no.
    FailedAcl,
}

impl Heard {
    const fn name(self) -> &'static str {
        match self {
            Self::SuccessfulAuth => "SuccessfulAuth",
            Self::ChallengeSent => "ChallengeSent",
            Self::InvalidPassword => "InvalidPassword",
            Self::InvalidAccountId => "InvalidAccountID",
            Self::FailedAcl => "FailedACL",
        }
    }

    const fn is_failure(self) -> bool {
        !matches!(self, Self::SuccessfulAuth | Self::ChallengeSent)
    }
}

/// Whom an event is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What was asked for: `PJSIP`, `AMI`.
    pub service: &'static str,
    /// The endpoint, or the name that was tried.
    pub account: &'a str,
    /// The Call-ID; of the Manager what tells its sessions apart.
    pub session: &'a str,
    /// The way the request came.
    pub flow: Flow,
}

impl<'a> Subject<'a> {
    /// Somebody who wants to log in to the Manager, over TCP or HTTP.
    #[must_use]
    pub const fn of_manager(
        account: &'a str,
        session: &'a str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Self {
        Self {
            service: "AMI",
            account,
            session,
            flow: Flow {
                transport: Transport::Tcp,
                local,
                remote,
                connection: 0,
            },
        }
    }
}

/// What the thread that writes is told.
#[derive(Debug)]
enum Line {
    Text(String),
    /// Begin a new file; tell whether there is one.
    Rotate(oneshot::Sender<bool>),
}

/// Writes lines to a file, in the background.
#[derive(Debug, Default)]
pub struct SecurityLog {
    sender: OnceLock<SyncSender<Line>>,
    everything: bool,
    lost: Counter,
}

/// Without what could end a value or a line.
fn clean(text: &str) -> String {
    text.chars()
        .take(VALUE_MAX)
        .map(|c| match c {
            '"' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

/// `IPV4/UDP/192.0.2.7/5060`.
fn address(flow: &Flow, address: SocketAddr) -> String {
    let ip = address.ip().to_canonical();
    let family = if ip.is_ipv4() { "IPV4" } else { "IPV6" };
    format!("{family}/{}/{ip}/{}", flow.transport, address.port())
}

impl SecurityLog {
    /// A log that goes nowhere until [`Self::start`]; `everything`: successes and challenges too.
    #[must_use]
    pub fn new(everything: bool) -> Self {
        Self {
            everything,
            ..Self::default()
        }
    }

    /// Appends to the file from now on.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub fn start(&self, path: &Path) -> std::io::Result<()> {
        let file = open(path)?;
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("security-log".to_owned())
            .spawn(move || write(&receiver, file, &path))?;
        let _ = self.sender.set(sender);
        Ok(())
    }

    /// The fields of an event behind its name, in Asterisk's order.
    fn fields(heard: Heard, subject: &Subject<'_>) -> Vec<(&'static str, String)> {
        let severity = if heard.is_failure() {
            "Error"
        } else {
            "Informational"
        };
        let now = chrono::Local::now();
        vec![
            ("EventTV", now.format("%Y-%m-%dT%H:%M:%S%.3f%z").to_string()),
            ("Severity", severity.to_owned()),
            ("Service", subject.service.to_owned()),
            ("EventVersion", "1".to_owned()),
            ("AccountID", clean(subject.account)),
            ("SessionID", clean(subject.session)),
            ("LocalAddress", address(&subject.flow, subject.flow.local)),
            ("RemoteAddress", address(&subject.flow, subject.flow.remote)),
        ]
    }

    /// The same for programs that listen to events.
    #[must_use]
    pub fn event(heard: Heard, subject: &Subject<'_>) -> Event {
        let fields = Self::fields(heard, subject).into_iter();
        fields.fold(Event::new(heard.name()), |event, (name, value)| {
            event.with(name, value)
        })
    }

    /// Is this kind written at all?
    pub(crate) fn writes(&self, heard: Heard) -> bool {
        self.sender.get().is_some() && (self.everything || heard.is_failure())
    }

    /// Writes a line, if this kind is written at all.
    pub fn write(&self, heard: Heard, subject: &Subject<'_>) {
        let Some(sender) = self.sender.get().filter(|_| self.writes(heard)) else {
            return;
        };
        if sender.try_send(Line::Text(line(heard, subject))).is_err() {
            self.lost.add(1);
        }
    }

    /// Begins a new file; the old one becomes `security.1.log`, or the next number that is free, and is never written over. True where nothing is written to a file, too; false: the file
    /// stays as it is.
    pub async fn rotate(&self) -> bool {
        let Some(sender) = self.sender.get() else {
            return true;
        };
        let (tell, told) = oneshot::channel();
        sender.try_send(Line::Rotate(tell)).is_ok() && told.await.unwrap_or(false)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }
}

fn line(heard: Heard, subject: &Subject<'_>) -> String {
    let mut line = format!(
        "[{}] SECURITY[{}] res_security_log.c: SecurityEvent=\"{}\"",
        chrono::Local::now().format("%Y-%m-%d %H:%M:%S%.3f"),
        std::process::id(),
        heard.name()
    );
    for (name, value) in SecurityLog::fields(heard, subject) {
        let _ = write!(line, ",{name}=\"{value}\"");
    }
    line.push('\n');
    line
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::File::options()
        .create(true)
        .append(true)
        // Watchers run as others; names and addresses are no secrets to the machine's owner.
        .mode(0o640)
        .open(path)
}

/// Where a file that was asked to be put aside goes.
fn free_name(path: &Path) -> std::io::Result<std::path::PathBuf> {
    (1..=PUT_ASIDE_MAX)
        .map(|number| path.with_extension(format!("{number}.log")))
        .find(|free| !free.exists())
        .ok_or_else(|| {
            let why = format!("{PUT_ASIDE_MAX} files were put aside already: move them away");
            std::io::Error::new(std::io::ErrorKind::AlreadyExists, why)
        })
}

fn write(lines: &Receiver<Line>, mut file: std::fs::File, path: &Path) {
    let mut size = file.metadata().map_or(0, |data| data.len());
    let begin_anew = || {
        std::fs::rename(path, path.with_extension("old.log"))?;
        open(path)
    };
    while let Ok(line) = lines.recv() {
        let line = match line {
            Line::Text(line) => line,
            Line::Rotate(done) => {
                if size == 0 {
                    let _ = done.send(true);
                    continue;
                }
                // Whoever asks for it must not make what was written go away.
                let free = free_name(path);
                let new = free.and_then(|free| {
                    std::fs::rename(path, free)?;
                    open(path)
                });
                let _ = done.send(new.is_ok());
                match new {
                    Ok(new) => (file, size) = (new, 0),
                    Err(error) => {
                        tracing::error!(path = %path.display(), %error, "the security log cannot begin anew");
                    }
                }
                continue;
            }
        };
        if size > BYTES_MAX {
            // What cannot be renamed goes on growing: better than no log.
            if let Ok(new) = begin_anew() {
                file = new;
            }
            size = 0;
        }
        size += line.len() as u64;
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::error!(path = %path.display(), %error, "the security log cannot be written");
        }
        // Others may have moved the file away.
        if !path.exists()
            && let Ok(new) = open(path)
        {
            file = new;
            size = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn subject(account: &'static str) -> Subject<'static> {
        Subject {
            service: "PJSIP",
            account,
            session: "a84b4c76e66710@pc33.example.com",
            flow: Flow {
                transport: Transport::Udp,
                local: ([192, 0, 2, 1], 5060).into(),
                remote: ([203, 0, 113, 7], 40000).into(),
                connection: 0,
            },
        }
    }

    /// What fail2ban 1.0 makes of `filter.d/asterisk.conf`, for lines in files: the prefix, then the event. Lookaheads, which
    /// this library does not have, only say that there is one RemoteAddress.
    fn matched(line: &str) -> Option<String> {
        let dated = Regex::new(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]").unwrap();
        let rest = dated.replace(line, "");
        let prefix = Regex::new(
            r"^\s*(?:NOTICE|SECURITY|WARNING)(?:\s*\[\d+\]):?(?:\[C-[\da-f]*\])?:? [^:]+:\d*(?:(?: in)? [^:]+:)? (?P<content>.+)$",
        )
        .unwrap();
        let content = prefix.captures(rest.trim_end())?["content"].to_owned();
        let event = Regex::new(concat!(
            r#"^SecurityEvent="(?:FailedACL|InvalidAccountID|ChallengeResponseFailed|InvalidPassword)""#,
            r#"(?:,\w+="[^"]*")*?,RemoteAddress="IPV[46]/[^/"]+/(?P<host>[^/"]+)/\d+"(?:,\w+="[^"]*")*$"#
        ))
        .unwrap();
        assert!(content.matches("RemoteAddress=").count() <= 1);
        Some(event.captures(&content)?["host"].to_owned())
    }

    #[test]
    fn log_watchers_find_the_address_of_every_failure_and_of_nothing_else() {
        for (heard, found) in [
            (Heard::InvalidPassword, true),
            (Heard::InvalidAccountId, true),
            (Heard::FailedAcl, true),
            (Heard::SuccessfulAuth, false),
            (Heard::ChallengeSent, false),
        ] {
            let host = matched(&line(heard, &subject("100")));
            assert_eq!(host.as_deref(), found.then_some("203.0.113.7"), "{heard:?}");
        }
        let mut six = subject("100");
        six.flow.remote = "[2001:db8::7]:5060".parse().unwrap();
        six.flow.transport = Transport::Tcp;
        let host = matched(&line(Heard::InvalidPassword, &six));
        assert_eq!(host.as_deref(), Some("2001:db8::7"));
        six.flow.remote = "[::ffff:203.0.113.7]:5060".parse().unwrap();
        let host = matched(&line(Heard::InvalidPassword, &six));
        assert_eq!(host.as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn a_failed_login_to_the_manager_is_found_too() {
        let (local, remote) = (
            ([192, 0, 2, 1], 5038).into(),
            ([203, 0, 113, 9], 4000).into(),
        );
        let subject = Subject::of_manager("admin", "1", local, remote);
        let written = line(Heard::InvalidPassword, &subject);
        assert!(written.contains(",Service=\"AMI\","), "{written}");
        assert_eq!(matched(&written).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn nobody_writes_another_address_into_the_log() {
        let forged = "x\",RemoteAddress=\"IPV4/UDP/198.51.100.1/5060\"\r\n[2026-01-01 00:00:00.000] SECURITY[1] a.c: ";
        let written = line(Heard::InvalidAccountId, &subject(forged));
        assert_eq!(written.matches('\n').count(), 1);
        assert_eq!(written.matches("RemoteAddress=\"").count(), 1);
        assert!(written.contains("RemoteAddress=\"IPV4/UDP/203.0.113.7/40000\""));
    }

    #[test]
    fn lines_reach_the_file_though_it_is_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("security.log");
        let log = SecurityLog::new(false);
        log.write(Heard::InvalidPassword, &subject("nobody listens yet"));
        log.start(&path).unwrap();
        let lines =
            |path: &Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
        let wait = |path: &Path, count| {
            for _ in 0..2000 {
                if lines(path) == count {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            panic!("{} lines instead of {count}", lines(path));
        };
        log.write(Heard::InvalidPassword, &subject("100"));
        log.write(Heard::SuccessfulAuth, &subject("100"));
        wait(&path, 1);
        let moved = folder.path().join("moved");
        std::fs::rename(&path, &moved).unwrap();
        log.write(Heard::InvalidPassword, &subject("100"));
        wait(&moved, 2);
        log.write(Heard::FailedAcl, &subject("100"));
        wait(&path, 1);
    }

    #[tokio::test]
    async fn a_new_file_is_begun_when_somebody_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("security.log");
        let log = SecurityLog::new(false);
        assert!(log.rotate().await, "nothing is to be done");
        log.start(&path).unwrap();
        log.write(Heard::InvalidPassword, &subject("first"));
        assert!(log.rotate().await);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        assert!(log.rotate().await, "there is nothing to put aside");
        log.write(Heard::InvalidPassword, &subject("second"));
        assert!(log.rotate().await);
        for (name, account) in [("1.log", "first"), ("2.log", "second")] {
            let old = std::fs::read_to_string(path.with_extension(name)).unwrap();
            assert!(old.contains(&format!("AccountID=\"{account}\"")), "{old}");
        }
        log.write(Heard::InvalidPassword, &subject("third"));
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert!(!log.rotate().await, "the folder is gone");
    }
}
