//! Scripts that are processes: started with pipes, watched until they are over, ended when they do not end by themselves.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use strowger_core::child;
use strowger_media::attention::TapReader;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::audio::{WITH_AUDIO, feed, line_to_process};
use super::gate::Agi;
use super::link::{
    Ending, Far, LEFT_OVER_WAIT, Link, Order, StartError, read_lines, write_replies,
};
use crate::log_line::{self, Lines, Verdict};

/// From SIGTERM to SIGKILL.
const TERM_TO_KILL: Duration = Duration::from_secs(5);
/// Longest piece of a line that a script writes to its standard error and that goes to the log as one, in bytes.
const ERROR_LINE_BYTES_MAX: u64 = 1024;
/// A file that somebody is still writing cannot be run; it is tried again so often, each after [`BUSY_WAIT`].
const BUSY_TRIES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_millis(10);

/// What to run.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// As the dialplan wrote it.
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
    /// What it is told first.
    pub(crate) block: String,
    /// What the caller says, for its third descriptor (EAGI).
    pub(crate) audio: Option<TapReader>,
}

/// Starts a process. To be called on the control runtime.
pub(crate) async fn start(
    agi: Arc<Agi>,
    program: Program,
    permit: OwnedSemaphorePermit,
) -> Result<Link, StartError> {
    let path = program.path.display();
    match tokio::fs::metadata(&program.path).await {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(StartError::NotFound(format!("{path} is no file"))),
        Err(error) => {
            use std::io::ErrorKind::{NotADirectory, NotFound};
            let text = format!("{path}: {error}");
            return Err(match error.kind() {
                NotFound | NotADirectory => StartError::NotFound(text),
                _ => StartError::Failed(text),
            });
        }
    }
    let mut audio = None;
    let mut command = match program.audio {
        None => {
            let mut command = Command::new(&program.path);
            command.arg0(&program.name).stderr(Stdio::piped());
            command
        }
        Some(tap) => {
            let (theirs, errors, ours) = line_to_process()
                .map_err(|error| StartError::Failed(format!("{path} gets no audio: {error}")))?;
            audio = Some((tap, errors, ours));
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", WITH_AUDIO])
                .arg(&program.path)
                .stderr(theirs);
            command
        }
    };
    command
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(name, path)| (name, path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A group of its own: what it starts can be ended with it, and a ^C at our terminal is not for it.
        .process_group(0)
        .kill_on_drop(true);
    child::without_settings(&mut command);
    let mut tries = 0;
    let child = loop {
        match command.spawn() {
            Ok(child) => break child,
            Err(error)
                if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(BUSY_WAIT).await;
            }
            Err(error) => {
                return Err(StartError::Failed(format!(
                    "{path} cannot be run: {error} (is it executable, and does the program in its first line exist?)"
                )));
            }
        }
    };
    // Our copy of its end would hide that it is gone.
    drop(command);
    agi.counters.scripts_started();
    let (link, far) = Link::pair(false);
    let _ = link.say(program.block.into_bytes()).await;
    let name = program.name;
    tokio::spawn(async move {
        let Some((tap, errors, ours)) = audio else {
            return watch(agi, name, child, far, permit, None).await;
        };
        let feeding = tokio::spawn(feed(tap, ours, Arc::clone(&agi), name.clone()));
        watch(agi, name, child, far, permit, Some(errors)).await;
        feeding.abort();
    });
    Ok(link)
}

async fn watch(
    agi: Arc<Agi>,
    name: String,
    mut child: Child,
    far: Far,
    permit: OwnedSemaphorePermit,
    errors: Option<OwnedReadHalf>,
) {
    // Remembered: what the process leaves behind belongs to its group.
    let group = pid(&child);
    let over = Arc::new(Notify::new());
    // Ends when the session does, or when the process no longer reads.
    let writer = child
        .stdin
        .take()
        .map(|stdin| tokio::spawn(write_replies(stdin, far.replies)));
    // With audio they come through the socket that takes it.
    let errors = match (errors, child.stderr.take()) {
        (Some(errors), _) => Some(tokio::spawn(log_errors(errors, name.clone()))),
        (None, Some(errors)) => Some(tokio::spawn(log_errors(errors, name.clone()))),
        (None, None) => None,
    };
    let reader = child
        .stdout
        .take()
        .map(|stdout| tokio::spawn(read_lines(stdout, far.lines, Arc::clone(&over))));
    let mut orders = far.orders;
    let mut left = false;
    let mut deadline: Option<Instant> = None;
    let mut killing = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            order = orders.recv(), if !left => match order {
                Some(Order::HangUp) => signal(&child, Signal::HUP, false),
                Some(Order::End) => deadline = Some(Instant::now()),
                None => {
                    left = true;
                    deadline.get_or_insert(Instant::now() + agi.after_hangup());
                }
            },
            () = until(deadline), if deadline.is_some() => {
                if killing {
                    signal(&child, Signal::KILL, true);
                    deadline = None;
                } else {
                    killing = true;
                    agi.counters.scripts_killed();
                    tracing::warn!(script = %log_line::escape(&name), "AGI: the script goes on long after its call and is ended");
                    signal(&child, Signal::TERM, true);
                    deadline = Some(Instant::now() + TERM_TO_KILL);
                }
            }
        }
    };
    let ending = match status {
        Ok(status) => ending_of(status),
        Err(error) => Ending::Failure(error.to_string()),
    };
    // What it started did not end with it, and had as much time.
    if killing && let Some(group) = group {
        send(Signal::KILL, group, true);
    }
    drop(permit);
    let _ = far.ended.send(ending);
    // Whoever still holds the pipe reads no answers that are meant for him.
    if let Some(writer) = writer {
        writer.abort();
    }
    // What it said last is still in the pipe; what it started may hold the pipe open for ever.
    over.notify_one();
    if let Some(reader) = reader {
        let _ = reader.await;
    }
    if let Some(mut errors) = errors
        && tokio::time::timeout(LEFT_OVER_WAIT, &mut errors)
            .await
            .is_err()
    {
        errors.abort();
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn ending_of(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ending::Success,
        (Some(code), _) => Ending::Failure(format!("it ended with status {code}")),
        (None, Some(signal)) => Ending::Failure(format!("signal {signal} ended it")),
        (None, None) => Ending::Failure(format!("it ended with {status}")),
    }
}

/// The number of a child is its own until it was waited for, and then `id` is None: no stranger gets the signal.
fn signal(child: &Child, signal: Signal, group: bool) {
    if let Some(pid) = pid(child) {
        send(signal, pid, group);
    }
}

fn pid(child: &Child) -> Option<Pid> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.and_then(Pid::from_raw)
}

fn send(signal: Signal, pid: Pid, group: bool) {
    let sent = if group {
        kill_process_group(pid, signal)
    } else {
        kill_process(pid, signal)
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "AGI: signal not sent");
    }
}

/// What a script writes to its standard error goes to the log, line by line, as much as a call may write.
async fn log_errors(from: impl AsyncRead + Unpin, name: String) {
    let mut from = BufReader::new(from);
    let lines = Lines::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut piece = (&mut from).take(ERROR_LINE_BYTES_MAX);
        match piece.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = log_line::escape(text.trim_end());
        let script = log_line::escape(&name);
        match lines.next(Instant::now()) {
            Verdict::Write => tracing::info!(%script, "AGI: {text}"),
            Verdict::WriteAfter(left_out) => {
                tracing::info!(%script, left_out, "AGI: {text}");
            }
            Verdict::LeaveOut => {}
        }
    }
}
