//! `Record`: what the caller says, into a file.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use strowger_core::channel::{Interrupt, RecorderResult, RecorderSpec};
use strowger_core::record::FORMATS;
use strowger_dialplan::args::Options;
use strowger_media::{FileFormat, TapMode};
use tokio::sync::oneshot;

use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app, files};

pub(super) const APPS: &[App] = &[app!(
    "Record",
    "Record(file.format[,silence[,max[,anoqstuxky]]])",
    "records what the caller says into a file",
    record
)];

/// Numbers tried for `%d`.
const NUMBERS_MAX: u32 = 100_000;
/// What the digit that ends a recording leaves of itself in it.
pub(super) const DTMF_MS: u32 = 250;
/// Silence kept at the end of a recording that silence ended.
pub(super) const SILENCE_KEPT_MS: u32 = 1000;
/// How long to wait for the file to be opened, and to be complete.
pub(super) const OPEN_WAIT: Duration = Duration::from_secs(5);
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// What was recorded.
pub(crate) struct Recording {
    /// Without the silence that ended it. Zero: nothing.
    pub(crate) length: Duration,
    /// Comes when the file is complete, if it is not yet.
    pub(crate) pending: Option<oneshot::Receiver<RecorderResult>>,
}

/// The name of a recording without its format, and the format.
fn split_format(name: &str) -> Option<(&str, &str)> {
    let at = name.rfind(['.', ':'])?;
    let (stem, format) = (name.get(..at)?, name.get(at + 1..)?);
    (!stem.is_empty() && !format.is_empty() && !format.contains('/')).then_some((stem, format))
}

/// Which digit ends the recording, and with which status.
fn ends(options: &Options, digit: char) -> Option<&'static str> {
    if options.has('o') && digit == '0' {
        return Some("OPERATOR");
    }
    if options.has('x') {
        return None;
    }
    let terminator = if options.has('t') { '*' } else { '#' };
    (options.has('y') || digit == terminator).then_some("DTMF")
}

async fn record(call: Call) -> AppResult {
    call.task.recording.take();
    let Some((stem, format)) = split_format(call.arg(0)) else {
        call.set("RECORD_STATUS", "ERROR");
        return Err(Stop::Failed(format!(
            "Record: \"{}\" says no format; write for example /tmp/${{UNIQUEID}}.wav",
            call.arg(0)
        )));
    };
    if let Some(why) = files::not_written(&call.task, call.arg(0)) {
        call.set("RECORD_STATUS", "ERROR");
        call.warn(&format!(
            "Record: \"{}\" is not recorded: {why}",
            call.arg(0)
        ));
        return Ok(Next::Continue);
    }
    let silence = call.seconds(1).unwrap_or_default();
    let max = call.seconds(2).filter(|max| !max.is_zero());
    let options = call.options("Record", 3);
    call.warn_unknown("Record", &options, "anoqstuxky");
    let folder = call.shared().paths().sounds.clone();
    // GSM in RIFF is named so, as by Asterisk.
    let extension = if format.eq_ignore_ascii_case("wav49") {
        "WAV".to_owned()
    } else {
        format.to_owned()
    };
    let stem = stem.to_owned();
    let stem = if stem.contains("%d") {
        let (folder, extension) = (folder.clone(), extension.clone());
        let numbered = call
            .shared()
            .control
            .spawn_blocking(move || number(&stem, &folder, &extension));
        match numbered.await {
            Ok(Some(stem)) => stem,
            _ => {
                call.set("RECORD_STATUS", "ERROR");
                call.warn(&format!(
                    "Record: {NUMBERS_MAX} recordings of this name exist already"
                ));
                return Ok(Next::Continue);
            }
        }
    } else {
        stem
    };
    call.set("RECORDED_FILE", &stem);
    let Some(format) = FileFormat::from_extension(&extension) else {
        call.set("RECORD_STATUS", "ERROR");
        call.warn(&format!(
            "Record: recordings in format {extension} are not available; known are {FORMATS}"
        ));
        return Ok(Next::Continue);
    };
    let channel = call.channel();
    if !channel.is_up() && options.has('s') {
        call.set("RECORD_STATUS", "SKIP");
        return Ok(Next::Continue);
    }
    let path = with_extension(&folder.join(&stem), &extension);
    // Whoever is asked to speak after the beep has to be recorded: a file that cannot be written is noticed before.
    let tried = {
        let path = path.clone();
        call.shared()
            .control
            .spawn_blocking(move || try_open(&path))
    };
    let made = match tokio::time::timeout(OPEN_WAIT, tried).await {
        Ok(Ok(Ok(made))) => made,
        failed => {
            let why = match failed {
                Ok(Ok(Err(error))) => error.to_string(),
                _ => "the disk does not answer".to_owned(),
            };
            call.set("RECORD_STATUS", "ERROR");
            call.warn(&format!(
                "Record: {} cannot be written: {why}",
                path.display()
            ));
            return Ok(Next::Continue);
        }
    };
    if let Err(interrupt) = begin(&call, &options).await {
        call.set("RECORD_STATUS", "HANGUP");
        if made {
            remove(&call, path);
        }
        return Err(interrupt.into());
    }
    let silence_ms = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    let mut spec = RecorderSpec::new(path.clone(), format, TapMode::Receive);
    spec.append = options.has('a');
    spec.silence_ms = silence_ms;
    spec.drop_last_ms_max = silence_ms.saturating_sub(SILENCE_KEPT_MS).max(DTMF_MS);
    let (closed, mut closing) = oneshot::channel::<RecorderResult>();
    let closed = Rc::new(RefCell::new(Some(closed)));
    let recorder = match channel.record(spec, move |result| {
        if let Some(closed) = closed.borrow_mut().take() {
            // The application may be gone already.
            let _ = closed.send(result);
        }
    }) {
        Ok(recorder) => recorder,
        Err(error) => {
            call.set("RECORD_STATUS", "ERROR");
            call.warn(&format!(
                "Record: {} cannot be recorded: {error}",
                path.display()
            ));
            if made {
                remove(&call, path);
            }
            return Ok(Next::Continue);
        }
    };
    let began = Instant::now();
    let until = max.map(|max| began + max);
    // A recording that ends by itself cannot go on: too many on this call, no disk.
    let mut ended = None;
    let result: Result<(&str, u32), Interrupt> = loop {
        if let Some(digit) = channel.take_digit() {
            match ends(&options, digit) {
                Some(status) => break Ok((status, DTMF_MS)),
                None => continue,
            }
        }
        if silence_ms > 0 && channel.recorder_silent(recorder) {
            let drop = if options.has('u') {
                0
            } else {
                silence_ms.saturating_sub(SILENCE_KEPT_MS)
            };
            break Ok(("SILENCE", drop));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            break Ok(("TIMEOUT", 0));
        }
        tokio::select! {
            biased;
            result = &mut closing => {
                ended = result.ok();
                break Ok(("ERROR", 0));
            }
            changed = channel.wait_change(until) => {
                if let Err(interrupt) = changed {
                    break Err(interrupt);
                }
            }
        }
    };
    let mut status = result.map_or("HANGUP", |(status, _)| status);
    let silence_at_end = match status {
        "SILENCE" => silence,
        _ => Duration::ZERO,
    };
    let mut length = began.elapsed().saturating_sub(silence_at_end);
    let mut pending = None;
    if status != "ERROR" {
        channel.stop_record(recorder, result.map_or(0, |(_, drop)| drop));
        match tokio::time::timeout(CLOSE_WAIT, &mut closing).await {
            Ok(closed) => ended = closed.ok(),
            Err(_) => pending = Some(closing),
        }
        if ended.is_none() {
            call.warn(&format!(
                "Record: {} is not complete yet: the disk is slow",
                path.display()
            ));
        }
    }
    if ended.as_ref().is_some_and(|ended| ended.samples == 0) {
        length = Duration::ZERO;
    }
    *call.task.recording.borrow_mut() = Some(Recording { length, pending });
    // What was wrong was logged by the shard.
    if ended.is_some_and(|ended| ended.error.is_some()) {
        status = "ERROR";
    }
    call.set("RECORD_STATUS", status);
    match result {
        Ok(_) => Ok(Next::Continue),
        Err(interrupt) => {
            if interrupt == Interrupt::Hangup && !options.has('k') {
                remove(&call, path);
            }
            Err(interrupt.into())
        }
    }
}

/// Answers and beeps, as far as the options want it.
async fn begin(call: &Call, options: &Options) -> Result<(), Interrupt> {
    let channel = call.channel();
    if !channel.is_up() && !options.has('n') {
        channel.answer(ANSWER_MEDIA_WAIT).await?;
    }
    if !options.has('q') {
        let beep = call.shared().sounds.beep();
        channel.play(vec![beep], false, &|_| false).await?;
    }
    Ok(())
}

/// Opens the file as the recording will. True if it was made by this.
pub(super) fn try_open(path: &Path) -> std::io::Result<bool> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.append(true);
    match options.create_new(true).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            options.create_new(false).open(path).map(|_| false)
        }
        Err(error) => Err(error),
    }
}

fn remove(call: &Call, path: PathBuf) {
    call.shared().control.spawn(async move {
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::warn!(file = %path.display(), %error, "recording not deleted");
        }
    });
}

/// The first number whose file does not exist in place of `%d`.
fn number(stem: &str, folder: &Path, extension: &str) -> Option<String> {
    (0..NUMBERS_MAX)
        .map(|number| stem.replacen("%d", &number.to_string(), 1))
        .find(|stem| !with_extension(&folder.join(stem), extension).exists())
}

/// Adds an extension (a name may have dots of its own, as unique ids have).
pub(super) fn with_extension(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_the_last_dot_or_colon() {
        for (name, wanted) in [
            ("/tmp/1700000000.1.wav", Some(("/tmp/1700000000.1", "wav"))),
            ("greeting:ulaw", Some(("greeting", "ulaw"))),
            ("a.b/c", None),
            ("greeting", None),
            (".wav", None),
            ("x.", None),
            ("", None),
        ] {
            assert_eq!(split_format(name), wanted, "{name}");
        }
    }

    #[test]
    fn digits_end_a_recording_as_the_options_say() {
        for (options, digit, wanted) in [
            ("", '#', Some("DTMF")),
            ("", '*', None),
            ("", '1', None),
            ("t", '*', Some("DTMF")),
            ("t", '#', None),
            ("x", '#', None),
            ("y", '5', Some("DTMF")),
            ("o", '0', Some("OPERATOR")),
            ("ok", '#', Some("DTMF")),
            ("", '0', None),
        ] {
            let parsed = Options::parse(options).unwrap();
            assert_eq!(ends(&parsed, digit), wanted, "{options} {digit}");
        }
    }

    #[test]
    fn a_file_is_tried_before_the_beep_and_kept_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/message.wav");
        assert!(try_open(&path).unwrap());
        std::fs::write(&path, b"before").unwrap();
        assert!(!try_open(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        assert!(try_open(folder.path()).is_err());
        assert!(try_open(&path.join("below-a-file.wav")).is_err());
    }

    #[test]
    fn numbered_recordings_take_the_first_free_number() {
        let folder = tempfile::tempdir().unwrap();
        for taken in ["msg0.wav", "msg1.wav", "msg3.wav"] {
            std::fs::write(folder.path().join(taken), b"").unwrap();
        }
        assert_eq!(
            number("msg%d", folder.path(), "wav").as_deref(),
            Some("msg2")
        );
        assert_eq!(
            number("other%d", folder.path(), "wav").as_deref(),
            Some("other0")
        );
    }
}
