//! The caller's audio for a script (EAGI): from the media thread through a queue that never makes it wait, and a socket, to
//! file descriptor 3 of the process. A script that reads too slowly loses what comes then; it is counted.
//!
//! A process is started with three descriptors. The third, standard error, is only written by scripts; so it is made a pair
//! of sockets whose other direction carries the audio, and a shell gives it to the script under both numbers.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use strowger_media::attention::TapReader;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{MissedTickBehavior, interval};

use super::gate::Agi;
use crate::log_line;

/// What the shell does: `$0` is the script.
pub(super) const WITH_AUDIO: &str = "exec 3<&2; exec \"$0\" \"$@\"";
/// Samples that wait for the socket: a second.
pub(crate) const AUDIO_SAMPLES_MAX: usize = 8000;
/// How often the queue is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// The end for the process; what we read of it, and where the audio goes. To be called on the control runtime.
pub(super) fn line_to_process() -> io::Result<(OwnedFd, OwnedReadHalf, OwnedWriteHalf)> {
    let (theirs, ours) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (errors, audio) = tokio::net::UnixStream::from_std(ours)?.into_split();
    Ok((theirs.into(), errors, audio))
}

/// Moves the audio until the call is over or the process takes no more.
pub(super) async fn feed(
    mut audio: TapReader,
    mut to: OwnedWriteHalf,
    agi: Arc<Agi>,
    script: String,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bytes = Vec::new();
    let mut lost = 0;
    loop {
        ticks.tick().await;
        // Asked first, so that what came last is still read.
        let over = audio.is_over();
        audio.read(&mut bytes);
        let lost_now = audio.lost();
        if lost == 0 && lost_now > 0 {
            tracing::warn!(script = %log_line::escape(&script), "EAGI: the script reads the audio too slowly; some of it is lost");
        }
        agi.counters.audio_lost(lost_now - lost);
        lost = lost_now;
        if to.write_all(&bytes).await.is_err() || over {
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use strowger_media::attention::{FRAME, Watch, audio_tap};

    use super::*;

    fn lost(agi: &Agi) -> u64 {
        let counters = agi.counters();
        let found = counters
            .iter()
            .find(|(name, _)| *name == "audio_samples_lost");
        found.expect("it is counted").1
    }

    #[tokio::test]
    async fn a_script_that_does_not_read_loses_audio_and_everything_is_accounted_for() {
        let agi = Arc::new(Agi::default());
        let (tap, reader) = audio_tap(AUDIO_SAMPLES_MAX);
        let mut tap = Watch::Tap(tap);
        let (theirs, _errors, ours) = line_to_process().expect("a pair of sockets");
        let feeding = tokio::spawn(feed(reader, ours, Arc::clone(&agi), "test".to_owned()));
        let mut said = 0;
        while lost(&agi) == 0 {
            assert!(said < 8000 * 60, "a minute fits into no socket");
            for _ in 0..10 {
                tap.frame(Some(&[7; FRAME]));
                said += FRAME as u64;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            if feeding.is_finished() {
                break;
            }
            // Who waits for the socket counts when it is over.
            if said > 8000 * 10 {
                break;
            }
        }
        drop(tap);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            std::fs::File::from(theirs)
                .read_to_end(&mut bytes)
                .map(|_| bytes)
        });
        let bytes = read.await.expect("no panic").expect("everything was read");
        feeding.await.expect("it ends with the call");
        assert!(lost(&agi) > 0);
        assert_eq!(bytes.len() as u64 / 2 + lost(&agi), said);
        assert!(bytes.as_chunks::<2>().0.iter().all(|pair| *pair == [7, 0]));
    }

    #[tokio::test]
    async fn feeding_ends_when_the_process_has() {
        let agi = Arc::new(Agi::default());
        let (tap, reader) = audio_tap(AUDIO_SAMPLES_MAX);
        let mut tap = Watch::Tap(tap);
        let (theirs, _errors, ours) = line_to_process().expect("a pair of sockets");
        drop(theirs);
        tap.frame(Some(&[7; FRAME]));
        feed(reader, ours, agi, "test".to_owned()).await;
        assert!(tap.is_over(), "nobody is listened to any longer");
    }
}
