//! Commands whose output the dialplan waits for (`SHELL`): so many at a time, each for so long, and none without its call;
//! and those whose end it waits for (`System`), which have the same places and outlast their call.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use strowger_core::child;
use tokio::io::AsyncReadExt;
use tokio::process::Child;

use super::gate::Agi;

/// Ends a command with all it started, unless it ended by itself.
struct Running<'a> {
    agi: &'a Agi,
    child: Child,
    over: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if !self.over
            && let Some(group) = id.and_then(Pid::from_raw)
        {
            self.agi.counters.shells_killed();
            if let Err(error) = kill_process_group(group, Signal::KILL) {
                tracing::debug!(%error, "SHELL: the command is not ended");
            }
        }
    }
}

/// Runs a command to its end, which it reaches within the time for `System` or is brought to. To be called on the control
/// runtime.
pub(crate) async fn system(agi: &Agi, command: &str) -> Result<ExitStatus, String> {
    let wait = agi.shell_time();
    let Ok(place) = tokio::time::timeout(wait, agi.shells.acquire()).await else {
        agi.counters.shells_refused();
        return Err(format!(
            "no place became free within {} s ([agi] shells_max, shell_s)",
            wait.as_secs()
        ));
    };
    // It is never closed.
    let _place = place.map_err(|error| error.to_string())?;
    let child = child::shell(command)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("/bin/sh: {error}"))?;
    let mut running = Running {
        agi,
        child,
        over: false,
    };
    let time = agi.system_time();
    let Ok(ended) = tokio::time::timeout(time, running.child.wait()).await else {
        return Err(format!(
            "the command took longer than {} s ([agi] system_s) and was ended",
            time.as_secs()
        ));
    };
    running.over = true;
    ended.map_err(|error| error.to_string())
}

/// What a command writes, up to `most` bytes. To be called on the control runtime; dropping it ends the command.
pub(crate) async fn shell(agi: &Agi, command: &str, most: usize) -> Result<String, String> {
    let time = agi.shell_time();
    let until = tokio::time::Instant::now() + time;
    let Ok(place) = tokio::time::timeout_at(until, agi.shells.acquire()).await else {
        agi.counters.shells_refused();
        return Err(format!(
            "SHELL: no place became free within {} s ([agi] shells_max, shell_s)",
            time.as_secs()
        ));
    };
    // It is never closed.
    let _place = place.map_err(|error| error.to_string())?;
    let child = child::shell(command)
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("/bin/sh: {error}"))?;
    let mut running = Running {
        agi,
        child,
        over: false,
    };
    let mut out = Vec::new();
    let work = async {
        if let Some(stdout) = running.child.stdout.take() {
            // What is beyond the longest result nobody reads; the command learns that by SIGPIPE.
            let _ = stdout.take(most as u64).read_to_end(&mut out).await;
        }
        let _ = running.child.wait().await;
    };
    if tokio::time::timeout_at(until, work).await.is_err() {
        return Err(format!(
            "SHELL: the command took longer than {} s ([agi] shell_s) and was ended",
            time.as_secs()
        ));
    }
    running.over = true;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
