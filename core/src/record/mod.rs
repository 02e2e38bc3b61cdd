//! The life of a recording: what it is named, which files it has, how it is stopped and silenced, and what happens to its
//! files afterwards. `MixMonitor` of the dialplan and of the Manager both end here.
//!
//! What never lives here: samples and files that are being written (the media crate), the text of applications and their
//! options (the scripting crate). [`jobs`] makes MP3 of finished files, [`journal`] keeps what is to be made over a crash,
//! [`convert`] makes it. [`retention`] deletes what was kept long enough, except files that are [`in_use`].

mod convert;
mod in_use;
pub mod jobs;
mod journal;
mod product;
pub mod retention;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_media::{FileFormat, RecorderId, Repeat, TapMode};
use tokio::sync::Notify;

pub use convert::stream_mp3;

use crate::channel::{Channel, RecorderResult, RecorderSpec};
use crate::shard::Shard;
use crate::shared::Shared;
use crate::voicemail::{self, Mailbox, Message};
use in_use::Held;
use jobs::JobId;

/// Recordings one channel may run at once.
pub const RECORDINGS_MAX: usize = 16;

/// How soon the beeps of a recording notice that it is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The formats that can be written, for messages.
pub const FORMATS: &str =
    "wav, wav16, wav49, sln (12, 16, 24, 32, 44, 48, 96, 192), ulaw, alaw, g722, gsm, ogg, mp3";

/// A file of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The whole path.
    pub path: PathBuf,
    pub format: FileFormat,
}

/// Finds out where a file of this name lies and how it is written. Names that are not absolute belong to `monitor`. A name
/// without an extension is written as raw samples, as by Asterisk; `wav49` becomes `WAV`.
pub fn target(name: &str, monitor: &Path) -> Result<Target, String> {
    let name = name.trim();
    let (stem, extension) = match Path::new(name).extension().and_then(|e| e.to_str()) {
        Some(extension) => (&name[..name.len() - extension.len()], extension),
        None => (name, ""),
    };
    if extension.is_empty() {
        return Ok(Target {
            path: monitor.join(name),
            format: FileFormat::Sln(8000),
        });
    }
    let format = FileFormat::from_extension(extension).ok_or_else(|| {
        format!("file \"{name}\": there is no format {extension}; known are {FORMATS}")
    })?;
    let path = if extension.eq_ignore_ascii_case("wav49") {
        monitor.join(format!("{stem}WAV"))
    } else {
        monitor.join(name)
    };
    Ok(Target { path, format })
}

/// What is to be recorded of a channel.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Both sides in one file: mixed, or as two channels where `stereo` is set.
    pub mix: Option<Target>,
    /// What the channel receives.
    pub receive: Option<Target>,
    /// What is sent to the channel.
    pub transmit: Option<Target>,
    pub stereo: bool,
    pub append: bool,
    pub only_bridged: bool,
    pub unpadded: bool,
    pub skip: Duration,
    /// Gains, -4..=4.
    pub volume_receive: i8,
    pub volume_transmit: i8,
    pub beep_at_start: bool,
    pub beep_at_end: bool,
    /// Beep so often while the channel is bridged.
    pub beep_every: Option<Duration>,
    /// Delete the files when everything is done.
    pub delete: bool,
    /// Runs by the shell when the files are closed.
    pub command: Option<String>,
    /// Mailboxes that get a copy.
    pub mailboxes: Vec<Mailbox>,
}

/// The recordings of a channel.
#[derive(Default)]
pub struct Recordings {
    running: Vec<Rc<Running>>,
    made: u32,
}

impl Recordings {
    /// Something is recorded.
    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }
}

impl std::fmt::Debug for Recordings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recordings")
            .field("running", &self.running.len())
            .field("made", &self.made)
            .finish()
    }
}

impl Recordings {
    /// Does one run?
    pub(crate) fn any(&self) -> bool {
        self.running.iter().any(|running| !running.over.get())
    }
}

/// A recording that runs.
struct Running {
    id: String,
    recorders: Vec<RecorderId>,
    muted: Cell<(bool, bool)>,
    beep_at_end: bool,
    over: Cell<bool>,
    end: Rc<End>,
}

/// What happens when the files are closed.
struct End {
    open: Cell<usize>,
    closed: Notify,
    after: After,
    delete: bool,
    /// Who gets a copy of the first file, and what is said of it.
    copy: RefCell<Option<Delivery>>,
    files: RefCell<Vec<PathBuf>>,
    /// Until all is done with them.
    held: RefCell<Option<Held>>,
    shared: Arc<Shared>,
}

/// A copy for mailboxes.
struct Delivery {
    file: PathBuf,
    mailboxes: Vec<Mailbox>,
    message: Message,
    began: Instant,
}

enum After {
    Nothing,
    Shell(String),
    /// MP3 files are made of it, unless the script of that name is installed.
    Product {
        job: JobId,
        script: PathBuf,
        command: String,
    },
}

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{RECORDINGS_MAX} recordings of this channel run already")]
    TooMany,
    #[error("no file could be recorded: {0}")]
    Failed(String),
}

/// Starts a recording. Its number is returned, and what could not be started of it.
pub fn start(channel: &Channel, request: Request) -> Result<(String, Vec<String>), StartError> {
    if channel.data().recordings.running.len() >= RECORDINGS_MAX {
        return Err(StartError::TooMany);
    }
    let mode = if request.stereo {
        TapMode::Stereo
    } else {
        TapMode::Mix
    };
    let wanted: Vec<(&Target, TapMode)> = [
        (&request.mix, mode),
        (&request.receive, TapMode::Receive),
        (&request.transmit, TapMode::Transmit),
    ]
    .into_iter()
    .filter_map(|(target, mode)| Some((target.as_ref()?, mode)))
    .collect();
    let files = wanted.iter().map(|(target, _)| target.path.clone());
    let held = channel.shard().shared().mp3.in_use().hold(files);
    let end = Rc::new(End {
        // One more than files, so that nothing can follow before all of them were started.
        open: Cell::new(wanted.len() + 1),
        closed: Notify::new(),
        after: after(channel.shard().shared(), &request),
        delete: request.delete,
        copy: RefCell::new(copy(channel, &request)),
        files: RefCell::default(),
        held: RefCell::new(Some(held)),
        shared: Arc::clone(channel.shard().shared()),
    });
    let mut recorders = Vec::new();
    let mut problems = Vec::new();
    for (target, mode) in wanted {
        let mut spec = RecorderSpec::new(target.path.clone(), target.format, mode);
        spec.append = request.append;
        spec.only_bridged = request.only_bridged;
        spec.unpadded = request.unpadded;
        spec.skip_ms = u32::try_from(request.skip.as_millis()).unwrap_or(u32::MAX);
        spec.volume_receive = request.volume_receive;
        spec.volume_transmit = request.volume_transmit;
        let closing = Rc::clone(&end);
        match channel.record(spec, move |result| closing.file_closed(result)) {
            Ok(recorder) => recorders.push(recorder),
            Err(error) => {
                problems.push(format!("{}: {error}", target.path.display()));
                end.open.set(end.open.get() - 1);
            }
        }
    }
    if recorders.is_empty() {
        if let After::Product { job, .. } = &end.after {
            end.shared.mp3.forget(*job);
        }
        return Err(StartError::Failed(problems.join("; ")));
    }
    let running = {
        let mut data = channel.data_mut();
        data.recordings.made += 1;
        let running = Rc::new(Running {
            id: format!("{:#010x}", data.recordings.made),
            recorders,
            muted: Cell::default(),
            beep_at_end: request.beep_at_end,
            over: Cell::new(false),
            end: Rc::clone(&end),
        });
        data.recordings.running.push(Rc::clone(&running));
        running
    };
    if request.beep_at_start {
        beep(channel);
    }
    if let Some(every) = request.beep_every {
        Shard::spawn(beep_again(channel.clone(), Rc::clone(&running), every));
    }
    end.finish_one();
    channel.tell_recording("MixMonitorStart");
    Ok((running.id.clone(), problems))
}

/// What mailboxes are told of a recording.
fn copy(channel: &Channel, request: &Request) -> Option<Delivery> {
    if request.mailboxes.is_empty() {
        return None;
    }
    let targets = [&request.mix, &request.receive, &request.transmit];
    let file = targets.into_iter().flatten().next()?.path.clone();
    let data = channel.data();
    Some(Delivery {
        file,
        mailboxes: request.mailboxes.clone(),
        message: Message {
            number: 0,
            caller_id: format!("\"{}\" <{}>", data.caller.name, data.caller.number),
            caller_channel: channel.name().to_string(),
            context: data.location.context.clone(),
            exten: data.location.exten.clone(),
            priority: data.location.priority,
            time: voicemail::now(),
            duration: 0,
            id: format!("{}-{}", voicemail::now(), channel.uniqueid()),
        },
        began: crate::clock::now(),
    })
}

impl Delivery {
    /// Puts the file into the mailboxes; it stays itself. False: one of them does not have it.
    async fn deliver(self, shared: &Arc<Shared>) -> bool {
        let bare = self.file.extension().is_none();
        let (draft, format) = match self.file.extension() {
            Some(extension) => {
                let format = extension.to_string_lossy().into_owned();
                (self.file.with_extension(""), format)
            }
            // The format of such a file; messages are found by their extension.
            None => {
                let mut draft = self.file.clone().into_os_string();
                draft.push(format!("-{}", self.message.id));
                let draft = PathBuf::from(draft);
                let copy = voicemail::with_extension(&draft, "sln");
                if let Err(error) = tokio::fs::copy(&self.file, &copy).await {
                    tracing::error!(file = %self.file.display(), %error, "a recording is not in its mailboxes");
                    return false;
                }
                (draft, "sln".to_owned())
            }
        };
        let wanted = self.mailboxes.len();
        let mailboxes: Vec<Mailbox> = self
            .mailboxes
            .into_iter()
            .map(|mailbox| Mailbox {
                format: format.clone(),
                ..mailbox
            })
            .collect();
        let message = Message {
            duration: self.began.elapsed().as_secs(),
            ..self.message
        };
        shared.deliver(&mailboxes, &message, &draft, !bare).await == wanted
    }
}

fn after(shared: &Arc<Shared>, request: &Request) -> After {
    let Some(command) = request
        .command
        .as_ref()
        .filter(|command| !command.trim().is_empty())
    else {
        return After::Nothing;
    };
    match product::recognise(command, request) {
        Some((script, plan)) => After::Product {
            job: shared.mp3.plan(plan),
            script,
            command: command.clone(),
        },
        None => After::Shell(command.clone()),
    }
}

/// Stops recordings of a channel: the one with this number, or all. `None`: there is none of this number.
pub fn stop(channel: &Channel, id: Option<&str>) -> Option<Stopped> {
    let stopped: Vec<Rc<Running>> = channel
        .data_mut()
        .recordings
        .running
        .extract_if(.., |running| id.is_none_or(|id| running.id == id))
        .collect();
    if stopped.is_empty() && id.is_some() {
        return None;
    }
    for running in &stopped {
        running.over.set(true);
        for recorder in &running.recorders {
            channel.stop_record(*recorder, 0);
        }
        channel.tell_recording("MixMonitorStop");
    }
    if stopped.iter().any(|running| running.beep_at_end) && !channel.is_over() {
        beep(channel);
    }
    Some(Stopped(stopped))
}

/// Recordings that were stopped and whose files are being completed.
pub struct Stopped(Vec<Rc<Running>>);

impl Stopped {
    /// Waits until the files are closed. False: the disk takes longer than `limit`.
    pub async fn closed(self, limit: Duration) -> bool {
        for running in self.0 {
            let closed = running.end.closed.notified();
            if running.end.open.get() > 0 && tokio::time::timeout(limit, closed).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Which side of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What the channel receives.
    Read,
    /// What is sent to the channel.
    Write,
    Both,
}

/// Puts silence in the place of a side, or ends that: in the recording with this number, or in all. False: there is none.
pub fn mute(channel: &Channel, id: Option<&str>, side: Side, on: bool) -> bool {
    let running: Vec<Rc<Running>> = channel
        .data()
        .recordings
        .running
        .iter()
        .filter(|running| id.is_none_or(|id| running.id == id))
        .cloned()
        .collect();
    for recording in &running {
        let (mut receive, mut transmit) = recording.muted.get();
        if side != Side::Write {
            receive = on;
        }
        if side != Side::Read {
            transmit = on;
        }
        recording.muted.set((receive, transmit));
        for recorder in &recording.recorders {
            channel.mute_record(*recorder, receive, transmit);
        }
    }
    if !running.is_empty() {
        let direction = match side {
            Side::Read => "read",
            Side::Write => "write",
            Side::Both => "both",
        };
        channel.tell_recording_muted(direction, on);
    }
    !running.is_empty()
}

fn beep(channel: &Channel) {
    let beep = channel.shard().shared().sounds.beep();
    channel.start_play(vec![beep], Repeat::Once);
}

/// Beeps while the channel talks to another; what is played to it otherwise is not disturbed.
async fn beep_again(channel: Channel, running: Rc<Running>, every: Duration) {
    loop {
        let due = crate::clock::now() + every;
        while crate::clock::now() < due {
            // In small steps, so that a channel that is over is soon let go.
            let rest = due.saturating_duration_since(crate::clock::now());
            tokio::time::sleep(rest.min(LOOK_EVERY)).await;
            if running.over.get() || channel.is_over() {
                return;
            }
        }
        let talks = {
            let data = channel.data();
            data.bridged.is_some() && data.hold_music.is_none()
        };
        if talks {
            beep(&channel);
        }
    }
}

impl End {
    fn file_closed(&self, result: RecorderResult) {
        // What went wrong was logged by the shard.
        self.files.borrow_mut().push(result.path);
        self.finish_one();
    }

    /// One file fewer to wait for; after the last one comes what is to be done with them.
    fn finish_one(&self) {
        let left = self.open.get().saturating_sub(1);
        self.open.set(left);
        if left > 0 {
            return;
        }
        self.closed.notify_waiters();
        let delete = if self.delete {
            self.files.take()
        } else {
            Vec::new()
        };
        let shared = Arc::clone(&self.shared);
        let copy = self.copy.take();
        let held = self.held.take();
        let command = match &self.after {
            After::Nothing if delete.is_empty() && copy.is_none() => return,
            After::Nothing => None,
            After::Shell(command) => Some((command.clone(), None)),
            After::Product {
                job,
                script,
                command,
            } => Some((command.clone(), Some((*job, script.clone())))),
        };
        self.shared.control.spawn(async move {
            let _held = held;
            // First of all, as long as the file is there.
            let delivered = match copy {
                Some(copy) => copy.deliver(&shared).await,
                None => true,
            };
            match command {
                Some((_, Some((job, script))))
                    if !tokio::fs::try_exists(&script).await.unwrap_or(false) =>
                {
                    // Deletes the files itself, when it no longer needs them.
                    shared.mp3.ready(job);
                    return;
                }
                Some((command, product)) => {
                    if let Some((job, _)) = product {
                        shared.mp3.forget(job);
                    }
                    run(&shared, command).await;
                }
                None => {}
            }
            if !delivered && !delete.is_empty() {
                tracing::warn!(files = ?delete, "recording kept, because a mailbox does not have it");
                return;
            }
            for file in delete {
                if let Err(error) = tokio::fs::remove_file(&file).await {
                    tracing::warn!(file = %file.display(), %error, "recording not deleted");
                }
            }
        });
    }
}

async fn run(shared: &Shared, command: String) {
    match shared.shell(command.clone()).await {
        Ok(status) if status.success() => {
            tracing::debug!(command, "command after recording done");
        }
        Ok(status) => tracing::warn!(command, %status, "command after recording failed"),
        Err(error) => tracing::warn!(command, %error, "command after recording cannot be run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_under_the_monitor_folder_unless_absolute() {
        let monitor = Path::new("/var/spool/monitor");
        for (name, path, format) in [
            (
                "1700000000.1.wav",
                "/var/spool/monitor/1700000000.1.wav",
                FileFormat::Wav,
            ),
            (
                "a/b.sln",
                "/var/spool/monitor/a/b.sln",
                FileFormat::Sln(8000),
            ),
            (" /tmp/x.WAV ", "/tmp/x.WAV", FileFormat::Wav49),
            ("/tmp/x.wav49", "/tmp/x.WAV", FileFormat::Wav49),
            ("x.ulaw", "/var/spool/monitor/x.ulaw", FileFormat::Ulaw),
            ("x.mp3", "/var/spool/monitor/x.mp3", FileFormat::Mp3),
            ("call", "/var/spool/monitor/call", FileFormat::Sln(8000)),
        ] {
            let found = target(name, monitor).unwrap();
            assert_eq!(
                found,
                Target {
                    path: path.into(),
                    format
                },
                "{name}"
            );
        }
        for wrong in ["call.txt", "call.h264"] {
            assert!(target(wrong, monitor).is_err(), "{wrong}");
        }
    }
}
