//! Fax machines: programs of their own, one for each fax, that are given what the far end says and give what it is to hear.
//! Modems and pictures are C code that strangers talk to; whatever becomes of it there, the exchange only sees a program end.
//! How many run, how long, and the queues of samples both ways live here; channels do not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use strowger_core::{child, config};
use strowger_media::LiveWriter;
use strowger_media::attention::TapReader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{MissedTickBehavior, interval};

pub use crate::func::fax::{RATE_MAX, RATE_MIN};
use crate::log_line;

/// How often samples are moved.
const EVERY: Duration = Duration::from_millis(10);
/// Samples that wait for the program: a second.
pub(crate) const SAMPLES_MAX: usize = 8000;
/// What the far end hears is so much later than it is made.
pub(crate) const LEAD_MS: u32 = 60;
/// How long a program may take to write what came of it when its audio has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// One that reads nothing for so long hangs.
const STALLED: Duration = Duration::from_secs(10);
/// Of what a program says so many bytes are kept, the last ones: its report comes behind the complaints of its libraries.
const REPORT_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a line by which a program tells how far it is.
const LINE_BYTES_MAX: usize = 256;

/// Which way a document goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Send,
    Receive,
}

/// What a fax machine is to do.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The channel that it is for, and the names of files as the dialplan wrote them.
    pub(crate) channel: String,
    pub(crate) names: Vec<String>,
    pub(crate) direction: Direction,
    /// The TIFF file that is sent, or written.
    pub(crate) file: PathBuf,
    /// Files whose pages are sent behind those of the first.
    pub(crate) more: Vec<PathBuf>,
    /// Errors are corrected (T.30 Annex A).
    pub(crate) ecm: bool,
    /// Modems that may be used: `v17`, `v29`, `v27`.
    pub(crate) modems: Vec<&'static str>,
}

/// How far a fax is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub pages: u32,
    /// Bits a second; 0: it is not agreed upon yet.
    pub rate: u32,
    /// Pixels for each meter, across and down.
    pub resolution: (u32, u32),
    pub ecm: bool,
    /// Rows that came damaged.
    pub bad_rows: u32,
}

impl Progress {
    /// Reads `now=pages,rate,x,y,ecm,rows`; any other line is none.
    fn read(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line)
            .ok()?
            .trim()
            .strip_prefix("now=")?;
        let mut numbers = text.split(',').map(|number| number.parse::<u32>().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            pages: next()?,
            rate: next()?,
            resolution: (next()?, next()?),
            ecm: next()? != 0,
            bad_rows: next()?,
        })
    }
}

/// A fax that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number among those of this process, from 1.
    pub number: u64,
    pub channel: String,
    pub direction: Direction,
    /// Names of files, as the dialplan wrote them.
    pub files: Vec<String>,
    /// The machine hears the line; before, it was made only.
    pub active: bool,
    pub progress: Progress,
}

/// What came of faxes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub running: u64,
    pub send_attempts: u64,
    pub receive_attempts: u64,
    pub completed: u64,
    pub failed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The number by which the machine tells how it ended; 0: well. None: it did not come to an end.
    pub(crate) code: Option<i32>,
    /// The same in words.
    pub(crate) text: String,
    pub(crate) pages: u32,
    /// Bits a second.
    pub(crate) rate: u32,
    /// Pixels for each meter, across and down.
    pub(crate) resolution: (u32, u32),
    pub(crate) ecm: bool,
    /// A file cannot be sent; the text names it.
    pub(crate) bad_file: bool,
}

impl Report {
    /// Reads lines `name=value`; what is not known is passed over.
    fn read(text: &str) -> Self {
        let mut report = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let number = || value.trim().parse().unwrap_or_default();
            match name.trim() {
                "code" => report.code = value.trim().parse().ok(),
                "text" => value.trim().clone_into(&mut report.text),
                "pages" => report.pages = number(),
                "rate" => report.rate = number(),
                "x" => report.resolution.0 = number(),
                "y" => report.resolution.1 = number(),
                "ecm" => report.ecm = value.trim() == "1",
                "fault" => report.bad_file = value.trim() == "file",
                _ => {}
            }
        }
        report
    }
}

/// Why a fax machine did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FaxError {
    #[error("{0} others run ([fax] sessions_max)")]
    Full(usize),
    #[error("{program}: {why} (is it built, and does [fax] program name it?)")]
    NotStarted { program: String, why: String },
}

#[derive(Debug, Default)]
struct Counters {
    send_attempts: AtomicU64,
    receive_attempts: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    samples_lost: AtomicU64,
}

/// The fax machines of this process.
#[derive(Debug)]
pub struct Fax {
    settings: config::Fax,
    places: Arc<Semaphore>,
    counters: Counters,
    /// Faxes begun.
    sessions: AtomicU64,
    /// Those that are under way, by number.
    under_way: Mutex<BTreeMap<u64, Session>>,
}

impl Default for Fax {
    fn default() -> Self {
        Self::new(&config::Fax::default())
    }
}

impl Fax {
    pub(crate) fn new(settings: &config::Fax) -> Self {
        Self {
            places: Arc::new(Semaphore::new(settings.sessions_max)),
            settings: settings.clone(),
            counters: Counters::default(),
            sessions: AtomicU64::new(0),
            under_way: Mutex::default(),
        }
    }

    /// What is counted, with its names.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let taken = self.settings.sessions_max - self.places.available_permits();
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        vec![
            ("sessions_running", taken as u64),
            ("sent", number(&counters.sent)),
            ("received", number(&counters.received)),
            ("failed", number(&counters.failed)),
            ("refused", number(&counters.refused)),
            ("samples_lost", number(&counters.samples_lost)),
        ]
    }

    /// The faxes that are under way, in the order in which they began.
    pub fn under_way(&self) -> Vec<Session> {
        self.under_way.lock().values().cloned().collect()
    }

    /// What came of faxes since the start.
    pub fn totals(&self) -> Totals {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Totals {
            running: self.under_way.lock().len() as u64,
            send_attempts: number(&counters.send_attempts),
            receive_attempts: number(&counters.receive_attempts),
            completed: number(&counters.sent) + number(&counters.received),
            failed: number(&counters.failed),
        }
    }

    /// The program: as configured, else the one beside our own.
    fn program(&self) -> PathBuf {
        let configured = &self.settings.program;
        if !configured.as_os_str().is_empty() {
            return configured.clone();
        }
        let own = std::env::current_exe().unwrap_or_default();
        own.with_file_name("strowger-fax")
    }

    /// Starts a fax machine. To be called on the control runtime.
    pub(crate) fn start(self: &Arc<Self>, job: &Job) -> Result<Machine, FaxError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(FaxError::Full(self.settings.sessions_max));
        };
        let attempts = match job.direction {
            Direction::Send => &self.counters.send_attempts,
            Direction::Receive => &self.counters.receive_attempts,
        };
        attempts.fetch_add(1, Ordering::Relaxed);
        let program = self.program();
        let not_started = |why: String| FaxError::NotStarted {
            program: program.display().to_string(),
            why,
        };
        let mut command = Command::new(&program);
        command
            .arg(match job.direction {
                Direction::Send => "send",
                Direction::Receive => "receive",
            })
            .arg(&job.file)
            .arg(format!("ecm={}", u8::from(job.ecm)))
            .arg(format!("modems={}", job.modems.join(",")))
            .args(job.more.iter().map(|file| {
                let mut argument = OsString::from("file=");
                argument.push(file);
                argument
            }))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        child::without_settings(&mut command);
        let child = command.spawn().map_err(|error| {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            not_started(error.to_string())
        })?;
        let number = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Session {
            number,
            channel: job.channel.clone(),
            direction: job.direction,
            files: job.names.clone(),
            active: false,
            progress: Progress {
                ecm: job.ecm,
                ..Progress::default()
            },
        };
        self.under_way.lock().insert(number, session);
        Ok(Machine {
            session: number,
            direction: job.direction,
            child,
            entry: Entry {
                fax: Arc::clone(self),
                number,
            },
            _place: place,
        })
    }
}

/// A fax machine that runs.
pub(crate) struct Machine {
    /// Its number among those of this process, from 1.
    pub(crate) session: u64,
    direction: Direction,
    child: Child,
    entry: Entry,
    _place: OwnedSemaphorePermit,
}

/// Its line among the faxes that are under way; taken away with this.
struct Entry {
    fax: Arc<Fax>,
    number: u64,
}

impl Entry {
    fn note(&self, note: impl FnOnce(&mut Session)) {
        if let Some(session) = self.fax.under_way.lock().get_mut(&self.number) {
            note(session);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.fax.under_way.lock().remove(&self.number);
    }
}

/// How long it may run.
pub(crate) fn limit(fax: &Fax) -> Duration {
    Duration::from_secs(fax.settings.minutes_max * 60)
}

impl Machine {
    /// Has it send and receive until it is done, the call is over (`heard` ends then), nobody holds the other end of `ended` any more,
    /// or it takes too long.
    pub(crate) async fn run(
        mut self,
        heard: TapReader,
        said: LiveWriter,
        ended: oneshot::Receiver<()>,
    ) -> Report {
        let fax = Arc::clone(&self.entry.fax);
        let time = limit(&fax);
        self.entry.note(|session| session.active = true);
        let (notes, number) = (Arc::clone(&fax), self.entry.number);
        let note = move |progress: Progress| {
            if let Some(session) = notes.under_way.lock().get_mut(&number) {
                session.progress = progress;
            }
        };
        let (input, output) = (self.child.stdin.take(), self.child.stdout.take());
        let errors = self.child.stderr.take();
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        let group = group.and_then(Pid::from_raw);
        let mut listening = tokio::spawn(async move {
            match errors {
                Some(errors) => last_of(errors, note).await,
                None => String::new(),
            }
        });
        let lost = if let (Some(input), Some(output)) = (input, output) {
            let moving = pass_on(heard, said, (input, output), ended);
            tokio::time::timeout(time, moving).await.ok()
        } else {
            None
        };
        let mut text = tokio::time::timeout(LAST_WORDS, &mut listening).await;
        if text.is_err()
            && let Some(group) = group
        {
            // What it said before is read nevertheless.
            let _ = kill_process_group(group, Signal::KILL);
            text = tokio::time::timeout(LAST_WORDS, listening).await;
        }
        let text = text.ok().and_then(Result::ok).unwrap_or_default();
        for line in text.lines().filter(|line| !line.contains('=')) {
            tracing::debug!(line = %log_line::escape(line), "fax");
        }
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        let mut report = Report::read(&text);
        if lost.is_none() && report.code != Some(0) {
            // What it says of the end of its input is our doing.
            report.code = None;
            report.text = format!("it took longer than {} min", fax.settings.minutes_max);
        }
        let counters = &fax.counters;
        let lost = lost.unwrap_or_default();
        counters.samples_lost.fetch_add(lost, Ordering::Relaxed);
        let done = match (report.code, self.direction) {
            (Some(0), Direction::Send) => &counters.sent,
            (Some(0), Direction::Receive) => &counters.received,
            _ => &counters.failed,
        };
        done.fetch_add(1, Ordering::Relaxed);
        report
    }
}

/// The last that a program says, which is read to its end: nobody is to wait for a reader. How far it is, is noted at once.
async fn last_of(mut errors: impl AsyncRead + Unpin, note: impl Fn(Progress)) -> String {
    let (mut kept, mut part) = (Vec::new(), [0; 4096]);
    let mut line = Vec::new();
    while let Ok(count @ 1..) = errors.read(&mut part).await {
        let fresh = part.get(..count).unwrap_or_default();
        for byte in fresh {
            if *byte == b'\n' {
                Progress::read(&line).into_iter().for_each(&note);
                line.clear();
            } else if line.len() < LINE_BYTES_MAX {
                line.push(*byte);
            }
        }
        kept.extend_from_slice(fresh);
        let over = kept.len().saturating_sub(REPORT_BYTES_MAX);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Moves samples both ways until either end is done; how many the program did not read in time.
async fn pass_on(
    mut heard: TapReader,
    mut said: LiveWriter,
    (mut input, mut output): (ChildStdin, ChildStdout),
    mut ended: oneshot::Receiver<()>,
) -> u64 {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    // A sample may arrive in two pieces.
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        tokio::select! {
            read = output.read(&mut part) => {
                let count = read.unwrap_or(0);
                if count == 0 {
                    return heard.lost();
                }
                waiting.extend_from_slice(part.get(..count).unwrap_or_default());
                let (pairs, rest) = waiting.as_chunks::<2>();
                let samples: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
                let rest = rest.to_vec();
                said.write(&samples);
                waiting = rest;
            }
            _ = &mut ended => return heard.lost(),
            _ = ticks.tick() => {
                // Asked first, so that what came last is still read.
                let over = heard.is_over();
                heard.read(&mut bytes);
                if !bytes.is_empty() {
                    // One that hangs must not keep a call that is over.
                    let written = tokio::time::timeout(STALLED, input.write_all(&bytes)).await;
                    if !matches!(written, Ok(Ok(()))) {
                        return heard.lost();
                    }
                }
                bytes.clear();
                if over {
                    // Its input ends with this, and it says what came of it.
                    return heard.lost();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use strowger_media::attention::{FRAME, Watch, audio_tap};
    use strowger_media::live_sound;

    use super::*;

    fn fax(folder: &tempfile::TempDir, script: &str) -> Arc<Fax> {
        let program = folder.path().join("machine");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .expect("its mode");
        Arc::new(Fax::new(&config::Fax {
            program,
            sessions_max: 1,
            ..config::Fax::default()
        }))
    }

    fn job() -> Job {
        Job {
            channel: "PJSIP/a-1".to_owned(),
            names: vec!["a page.tiff".to_owned(), "b=c.tiff".to_owned()],
            direction: Direction::Send,
            file: "/tmp/a page.tiff".into(),
            more: vec!["/tmp/b=c.tiff".into()],
            ecm: true,
            modems: vec!["v17", "v27"],
        }
    }

    fn number(fax: &Fax, name: &str) -> u64 {
        let all = fax.counters();
        let found = all.iter().find(|(known, _)| *known == name);
        found.expect("it is counted").1
    }

    #[test]
    fn reports_are_lines_of_names_and_values() {
        let report = Report::read(
            "noise\ncode=0\nfault=file\npages=3\nrate=14400\nx=8031\ny=7700\necm=1\ntext= OK \nnew=1",
        );
        assert_eq!(
            report,
            Report {
                code: Some(0),
                text: "OK".to_owned(),
                pages: 3,
                rate: 14_400,
                resolution: (8031, 7700),
                ecm: true,
                bad_file: true,
            }
        );
        assert_eq!(Report::read("code=x\npages=-1"), Report::default());
    }

    #[tokio::test]
    async fn what_is_heard_goes_in_what_comes_out_is_said_and_the_end_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        // It gives back the first half second and says what it was asked for.
        let fax = fax(
            &folder,
            "head -c 8000; printf 'code=0\\ntext=%s %s %s %s %s\\npages=2\\n' \"$1\" \"$2\" \"$3\" \"$4\" \"$5\" >&2",
        );
        let (tap, heard) = audio_tap(SAMPLES_MAX);
        let mut tap = Watch::Tap(tap);
        let (_, said) = live_sound(LEAD_MS);
        for _ in 0..30 {
            tap.frame(Some(&[5; FRAME]));
        }
        let machine = fax.start(&job()).expect("it starts");
        assert_eq!(machine.session, 1);
        assert_eq!(number(&fax, "sessions_running"), 1);
        assert!(matches!(fax.start(&job()), Err(FaxError::Full(1))));
        let (_held, ended) = oneshot::channel();
        let report = machine.run(heard, said, ended).await;
        assert_eq!((report.code, report.pages), (Some(0), 2));
        assert_eq!(
            report.text,
            "send /tmp/a page.tiff ecm=1 modems=v17,v27 file=/tmp/b=c.tiff"
        );
        assert!(tap.is_over(), "nobody is listened to any longer");
        assert_eq!(number(&fax, "sessions_running"), 0);
        assert_eq!((number(&fax, "sent"), number(&fax, "refused")), (1, 1));
    }

    #[tokio::test]
    async fn a_fax_that_is_under_way_says_how_far_it_is_until_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let fax = fax(
            &folder,
            "echo now=x >&2; echo now=2,9600,8031,7700,1,3 >&2; head -c 320 > /dev/null; echo code=0 >&2",
        );
        let (tap, heard) = audio_tap(SAMPLES_MAX);
        let mut tap = Watch::Tap(tap);
        let (_, said) = live_sound(LEAD_MS);
        let machine = fax.start(&job()).expect("it starts");
        let before = fax.under_way();
        assert_eq!((before.len(), before[0].active), (1, false));
        assert_eq!(before[0].files, ["a page.tiff", "b=c.tiff"]);
        assert!(before[0].progress.ecm && before[0].progress.rate == 0);
        let (_held, ended) = oneshot::channel();
        let running = tokio::spawn(machine.run(heard, said, ended));
        let wanted = Progress {
            pages: 2,
            rate: 9600,
            resolution: (8031, 7700),
            ecm: true,
            bad_rows: 3,
        };
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while fax.under_way()[0].progress != wanted {
            assert!(tokio::time::Instant::now() < until, "it is noted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let session = fax.under_way().remove(0);
        assert!(session.active && session.channel == "PJSIP/a-1");
        assert_eq!(fax.totals().running, 1);
        for _ in 0..5 {
            tap.frame(Some(&[5; FRAME]));
        }
        let report = running.await.expect("it ends");
        assert_eq!(report.code, Some(0));
        assert!(fax.under_way().is_empty());
        let wanted = Totals {
            send_attempts: 1,
            completed: 1,
            ..Totals::default()
        };
        assert_eq!(fax.totals(), wanted);
    }

    #[tokio::test]
    async fn a_call_that_ends_ends_the_machine_which_still_tells_what_it_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let fax = fax(
            &folder,
            "cat > /dev/null; echo pages=1 >&2; echo code=49 >&2; sleep 100",
        );
        let (tap, heard) = audio_tap(SAMPLES_MAX);
        let (_, said) = live_sound(LEAD_MS);
        drop(tap);
        let machine = fax.start(&job()).expect("it starts");
        let (_held, ended) = oneshot::channel();
        let report = machine.run(heard, said, ended).await;
        assert_eq!((report.code, report.pages), (Some(49), 1));
        assert_eq!(number(&fax, "failed"), 1);
    }

    #[tokio::test]
    async fn one_that_is_not_wanted_any_more_ends_and_tells_what_it_has_though_the_call_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let fax = fax(
            &folder,
            "cat > /dev/null; printf 'pages=3\\ncode=49\\n' >&2",
        );
        let (tap, heard) = audio_tap(SAMPLES_MAX);
        let (_, said) = live_sound(LEAD_MS);
        let machine = fax.start(&job()).expect("it starts");
        let (held, ended) = oneshot::channel();
        drop(held);
        let report = machine.run(heard, said, ended).await;
        assert_eq!((report.code, report.pages), (Some(49), 3));
        assert_eq!(number(&fax, "failed"), 1);
        drop(tap);
    }

    #[tokio::test]
    async fn a_library_that_complains_at_length_does_not_hide_the_report() {
        let folder = tempfile::tempdir().expect("a folder");
        let fax = fax(
            &folder,
            "head -c 1000000 /dev/zero | tr '\\0' '\\351' >&2; printf '\\ncode=0\\npages=12\\n' >&2",
        );
        let (tap, heard) = audio_tap(SAMPLES_MAX);
        let (_, said) = live_sound(LEAD_MS);
        drop(tap);
        let machine = fax.start(&job()).expect("it starts");
        let (_held, ended) = oneshot::channel();
        let report = machine.run(heard, said, ended).await;
        assert_eq!((report.code, report.pages), (Some(0), 12));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let fax = Arc::new(Fax::new(&config::Fax {
            program: "/nonexistent/strowger-fax".into(),
            ..config::Fax::default()
        }));
        let why = fax
            .start(&job())
            .err()
            .expect("it cannot start")
            .to_string();
        assert!(why.contains("/nonexistent/strowger-fax"), "{why}");
        assert_eq!(number(&fax, "failed"), 1);
    }
}
