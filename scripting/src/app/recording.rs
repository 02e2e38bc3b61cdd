//! `MixMonitor` and `StopMixMonitor`: recording a call while it goes on.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strowger_core::Shared;
use strowger_core::channel::{RecorderResult, RecorderSpec};
use strowger_core::sounds::Tone;
use strowger_dialplan::{args, subst};
use strowger_media::{FileFormat, RecorderId, Repeat, TapMode};
use tokio::sync::Notify;

use super::{App, AppResult, Call, Next, Stop, app, files};

/// Recordings one channel may run at once.
const RECORDINGS_MAX: usize = 16;
/// How long `StopMixMonitor` waits for the file to be complete.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

pub(super) const APPS: &[App] = &[
    app!(
        "MixMonitor",
        "MixMonitor(file.extension[,options[,command]])",
        "records the call",
        mix_monitor
    ),
    app!(
        "StopMixMonitor",
        "StopMixMonitor([id])",
        "ends recording",
        stop_mix_monitor
    ),
];

/// A recording that runs.
pub(crate) struct Recording {
    pub(crate) id: String,
    recorders: Vec<RecorderId>,
    beep_at_end: bool,
    job: Rc<Job>,
}

/// What happens after the files of a recording are closed.
struct Job {
    open: Cell<usize>,
    closed: Notify,
    command: Option<String>,
    delete: bool,
    files: RefCell<Vec<PathBuf>>,
    shared: Arc<Shared>,
}

impl Job {
    fn file_closed(&self, result: RecorderResult) {
        // What went wrong was logged by the shard.
        self.files.borrow_mut().push(result.path);
        self.finish_one();
    }

    /// One file fewer to wait for; after the last one the command runs.
    fn finish_one(&self) {
        let left = self.open.get().saturating_sub(1);
        self.open.set(left);
        if left > 0 {
            return;
        }
        self.closed.notify_waiters();
        let command = self
            .command
            .clone()
            .filter(|command| !command.trim().is_empty());
        let files = if self.delete {
            self.files.take()
        } else {
            Vec::new()
        };
        if command.is_none() && files.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.shared.control.spawn(async move {
            if let Some(command) = command {
                match shared.shell(command.clone()).await {
                    Ok(status) if status.success() => {
                        tracing::debug!(command, "command after recording done")
                    }
                    Ok(status) => {
                        tracing::warn!(command, %status, "command after recording failed")
                    }
                    Err(error) => {
                        tracing::warn!(command, %error, "command after recording cannot be run")
                    }
                }
            }
            for file in files {
                if let Err(error) = tokio::fs::remove_file(&file).await {
                    tracing::warn!(file = %file.display(), %error, "recording not deleted");
                }
            }
        });
    }
}

/// The format that a file name's extension means; None for formats that cannot be written.
pub(crate) fn format_of(extension: &str) -> Option<FileFormat> {
    match extension.to_ascii_lowercase().as_str() {
        "wav" => Some(FileFormat::Wav),
        "sln" | "slin" | "raw" => Some(FileFormat::Sln),
        "ulaw" | "ul" | "mu" | "ulw" | "pcm" => Some(FileFormat::Ulaw),
        "alaw" | "al" | "alw" => Some(FileFormat::Alaw),
        _ => None,
    }
}

/// The formats that can be written, for messages.
pub(crate) const FORMATS: &str = "wav, sln, ulaw, alaw";

/// A file of a recording: its whole path and format.
#[derive(Debug, PartialEq, Eq)]
struct File {
    path: PathBuf,
    format: FileFormat,
}

fn file(name: &str, monitor: &Path) -> Result<File, String> {
    let name = name.trim();
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    if extension.is_empty() {
        return Err(format!(
            "file \"{name}\" has no extension that says its format; known are {FORMATS}"
        ));
    }
    let format = format_of(extension).ok_or_else(|| {
        format!("file \"{name}\": recordings in format {extension} are not available; known are {FORMATS}")
    })?;
    Ok(File {
        path: monitor.join(name),
        format,
    })
}

/// -4 to 4, as options `v`, `V` and `W` have it.
fn volume(call: &Call, options: &args::Options, letter: char) -> i8 {
    let Some(text) = options.argument(letter) else {
        return 0;
    };
    match text.trim().parse() {
        Ok(gain @ -4..=4) => gain,
        _ => {
            call.warn(&format!(
                "MixMonitor: option {letter}({text}): the volume is a number from -4 to 4"
            ));
            0
        }
    }
}

const KNOWN: &str = "abBcdDimnpPrstvVWS";

async fn mix_monitor(call: Call) -> AppResult {
    let options = call.options("MixMonitor", 1);
    call.warn_unknown("MixMonitor", &options, KNOWN);
    for (letter, what) in [
        ('B', "a beep again and again is not played"),
        (
            'D',
            "two tracks in one raw file are not written; use r() and t()",
        ),
        ('m', "no copy goes to a voice mailbox"),
    ] {
        if options.has(letter) {
            call.warn(&format!(
                "MixMonitor: option {letter} is not available: {what}"
            ));
        }
    }
    let name = call.arg(0);
    let separate = [
        (options.argument('r'), TapMode::Receive),
        (options.argument('t'), TapMode::Transmit),
    ];
    if name.is_empty()
        && separate
            .iter()
            .all(|(name, _)| name.is_none_or(str::is_empty))
    {
        return Err(Stop::Failed(
            "MixMonitor needs the name of a file, for example ${UNIQUEID}.wav".to_owned(),
        ));
    }
    if call.task.recordings.borrow().len() >= RECORDINGS_MAX {
        call.warn(&format!(
            "MixMonitor: {RECORDINGS_MAX} recordings of this channel run already"
        ));
        return Ok(Next::Continue);
    }
    let monitor = call.shared().monitor().to_owned();
    let mut wanted = Vec::new();
    let named = std::iter::once((Some(name), TapMode::Mix)).chain(separate);
    for (name, mode) in named {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            continue;
        };
        if let Some(why) = files::not_written(&call.task, name.trim()) {
            call.warn(&format!(
                "MixMonitor: the call is not recorded: \"{name}\": {why}"
            ));
            return Ok(Next::Continue);
        }
        match file(name, &monitor) {
            Ok(file) => wanted.push((file, mode)),
            Err(error) => call.warn(&format!("MixMonitor: {error}")),
        }
    }
    if wanted.is_empty() {
        return Ok(Next::Continue);
    }
    // Before the command is substituted, which may name the file.
    if let Some((file, _)) = wanted.first() {
        call.set("MIXMONITOR_FILENAME", &file.path.display().to_string());
    }
    let both = volume(&call, &options, 'W');
    let (receive, transmit) = match both {
        0 => (volume(&call, &options, 'v'), volume(&call, &options, 'V')),
        both => (both, both),
    };
    let command = call.args.get(2).map(|command| {
        subst::substitute(
            &args::unquote(command.trim()).replace("^{", "${"),
            &*call.task,
        )
    });
    let job = Rc::new(Job {
        // One more than files, so that the command cannot run before all of them were started.
        open: Cell::new(wanted.len() + 1),
        closed: Notify::new(),
        command,
        delete: options.has('d'),
        files: RefCell::default(),
        shared: Arc::clone(call.task.shared()),
    });
    let mut recorders = Vec::new();
    for (file, mode) in wanted {
        let spec = RecorderSpec {
            path: file.path.clone(),
            format: file.format,
            mode,
            append: options.has('a'),
            only_bridged: options.has('b'),
            silence_ms: 0,
            volume_receive: receive,
            volume_transmit: transmit,
        };
        let closing = Rc::clone(&job);
        match call
            .channel()
            .record(spec, move |result| closing.file_closed(result))
        {
            Ok(recorder) => recorders.push(recorder),
            Err(error) => {
                call.warn(&format!(
                    "MixMonitor: {} is not recorded: {error}",
                    file.path.display()
                ));
                job.open.set(job.open.get() - 1);
            }
        }
    }
    if recorders.is_empty() {
        // Nothing was recorded, so there is nothing for the command to work on.
        return Ok(Next::Continue);
    }
    let number = call.task.recordings_made.get() + 1;
    call.task.recordings_made.set(number);
    let id = format!("{number:#010x}");
    if let Some(variable) = options
        .argument('i')
        .filter(|variable| !variable.is_empty())
    {
        call.set(variable, &id);
    }
    if options.has('p') {
        let beep = call.shared().sounds.tone(Tone::Beep);
        call.channel().start_play(vec![beep], Repeat::Once);
    }
    call.task.recordings.borrow_mut().push(Recording {
        id,
        recorders,
        beep_at_end: options.has('P'),
        job: Rc::clone(&job),
    });
    job.finish_one();
    Ok(Next::Continue)
}

async fn stop_mix_monitor(call: Call) -> AppResult {
    let id = call.arg(0).to_owned();
    let stopped: Vec<Recording> = {
        let mut running = call.task.recordings.borrow_mut();
        let (stopped, left) = running
            .drain(..)
            .partition(|recording| id.is_empty() || recording.id == id);
        *running = left;
        stopped
    };
    if stopped.is_empty() && !id.is_empty() {
        call.warn(&format!("StopMixMonitor: there is no recording {id}"));
    }
    for recording in &stopped {
        for recorder in &recording.recorders {
            call.channel().stop_record(*recorder, 0);
        }
    }
    if stopped.iter().any(|recording| recording.beep_at_end) && !call.channel().is_over() {
        let beep = call.shared().sounds.tone(Tone::Beep);
        call.channel().start_play(vec![beep], Repeat::Once);
    }
    for recording in stopped {
        let closed = recording.job.closed.notified();
        if recording.job.open.get() > 0 && tokio::time::timeout(CLOSE_WAIT, closed).await.is_err() {
            call.warn("StopMixMonitor: the file is not complete yet: the disk is slow");
        }
    }
    Ok(Next::Continue)
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
            ("a/b.sln", "/var/spool/monitor/a/b.sln", FileFormat::Sln),
            (" /tmp/x.WAV ", "/tmp/x.WAV", FileFormat::Wav),
            ("x.ulaw", "/var/spool/monitor/x.ulaw", FileFormat::Ulaw),
            ("x.al", "/var/spool/monitor/x.al", FileFormat::Alaw),
        ] {
            let found = file(name, monitor).unwrap();
            assert_eq!(found.path, Path::new(path), "{name}");
            assert!(
                std::mem::discriminant(&found.format) == std::mem::discriminant(&format),
                "{name}"
            );
        }
        for wrong in ["call", "call.gsm", "call.wav49", ""] {
            assert!(file(wrong, monitor).is_err(), "{wrong}");
        }
    }
}
