//! How many scripts run at a time, how many wait for their turn, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use strowger_core::config;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::remote::{Command, Led, NotTaken, Remote};

/// What a script lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Process,
    Connection,
}

/// Why a script may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} scripts wait already ([agi] queue_max)")]
    QueueFull(usize),
    #[error("no place became free within {0} s ([agi] queue_wait_s)")]
    TooLate(u64),
}

macro_rules! counters {
    ($($field:ident,)*) => {
        /// What became of scripts.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($field: AtomicU64,)*
            audio_samples_lost: AtomicU64,
        }

        impl Counters {
            $(pub(crate) fn $field(&self) {
                self.$field.fetch_add(1, Ordering::Relaxed);
            })*

            /// Samples of the caller's audio that a script did not read in time.
            pub(crate) fn audio_lost(&self, samples: u64) {
                self.audio_samples_lost.fetch_add(samples, Ordering::Relaxed);
            }

            fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![
                    $((stringify!($field), self.$field.load(Ordering::Relaxed)),)*
                    ("audio_samples_lost", self.audio_samples_lost.load(Ordering::Relaxed)),
                ]
            }
        }
    };
}

counters! {
    scripts_started,
    scripts_succeeded,
    scripts_failed,
    scripts_hung_up,
    scripts_not_found,
    scripts_refused,
    scripts_killed,
    commands,
    commands_refused,
    lines_too_long,
    shells_killed,
    shells_refused,
    remote_commands_refused,
}

/// Limits and counters of the scripts of all shards.
#[derive(Debug)]
pub struct Agi {
    limits: config::Agi,
    processes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    pub(crate) shells: Semaphore,
    waiting: AtomicUsize,
    remote: Remote,
    pub(crate) counters: Counters,
}

impl Default for Agi {
    fn default() -> Self {
        Self::new(&config::Agi::default())
    }
}

/// Counts who waits, however the waiting ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Agi {
    pub(crate) fn new(limits: &config::Agi) -> Self {
        Self {
            processes: Arc::new(Semaphore::new(limits.processes_max)),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            shells: Semaphore::new(limits.shells_max),
            limits: limits.clone(),
            waiting: AtomicUsize::new(0),
            remote: Remote::default(),
            counters: Counters::default(),
        }
    }

    /// How long a script may go on after its call.
    pub(crate) fn after_hangup(&self) -> Duration {
        Duration::from_secs(self.limits.after_hangup_s)
    }

    /// How long a command of `SHELL` may take.
    /// How long a command of `System` may take.
    pub(crate) fn system_time(&self) -> Duration {
        Duration::from_secs(self.limits.system_s)
    }

    pub(crate) fn shell_time(&self) -> Duration {
        Duration::from_secs(self.limits.shell_s)
    }

    /// From now on, as long as the result lives, commands for this channel are taken.
    pub(crate) fn led(&self, channel: &str) -> Led {
        self.remote.enter(channel)
    }

    /// Gives a command to a channel that is in `AGI(agi:async)`; its answer is told as an event with this id.
    ///
    /// # Errors
    /// The channel is not led so, or 128 commands wait for it.
    pub fn command(&self, channel: &str, line: &str, id: &str) -> Result<(), NotTaken> {
        let command = Command {
            line: line.to_owned(),
            id: id.to_owned(),
        };
        let given = self.remote.give(channel, command);
        if given == Err(NotTaken::QueueFull) {
            self.counters.remote_commands_refused();
        }
        given
    }

    /// Waits for a place. It is free again when the permit is dropped.
    pub(crate) async fn enter(&self, kind: Kind) -> Result<OwnedSemaphorePermit, Refusal> {
        let places = match kind {
            Kind::Process => &self.processes,
            Kind::Connection => &self.connections,
        };
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.limits.queue_max {
            return Err(Refusal::QueueFull(self.limits.queue_max));
        }
        let limit = Duration::from_secs(self.limits.queue_wait_s);
        match tokio::time::timeout(limit, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Refusal::TooLate(self.limits.queue_wait_s)),
        }
    }

    /// Every number with its name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let taken = |most: usize, free: &Semaphore| most.saturating_sub(free.available_permits());
        let mut all = vec![
            (
                "processes_running",
                taken(self.limits.processes_max, &self.processes) as u64,
            ),
            (
                "connections_running",
                taken(self.limits.connections_max, &self.connections) as u64,
            ),
            (
                "shells_running",
                taken(self.limits.shells_max, &self.shells) as u64,
            ),
            ("async_running", self.remote.count() as u64),
            (
                "scripts_waiting",
                self.waiting.load(Ordering::Relaxed) as u64,
            ),
        ];
        all.extend(self.counters.snapshot());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(agi: &Agi, name: &str) -> u64 {
        let counters = agi.counters();
        let found = counters.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{name} is counted")).1
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_and_the_queue_has_an_end() {
        let agi = Arc::new(Agi::new(&config::Agi {
            processes_max: 1,
            queue_max: 1,
            queue_wait_s: 60,
            ..config::Agi::default()
        }));
        let first = agi.enter(Kind::Process).await.expect("the first place");
        let waiter = {
            let agi = Arc::clone(&agi);
            tokio::spawn(async move { agi.enter(Kind::Process).await })
        };
        while number(&agi, "scripts_waiting") < 1 {
            tokio::task::yield_now().await;
        }
        let refused = agi.enter(Kind::Process).await.err();
        assert_eq!(refused, Some(Refusal::QueueFull(1)));
        assert!(agi.enter(Kind::Connection).await.is_ok());
        assert_eq!(number(&agi, "processes_running"), 1);
        drop(first);
        let second = waiter.await.expect("it does not fail");
        assert!(second.is_ok());
        drop(second);
        assert_eq!(number(&agi, "processes_running"), 0);
        assert_eq!(number(&agi, "scripts_waiting"), 0);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_waits_no_longer() {
        let agi = Agi::new(&config::Agi {
            processes_max: 1,
            queue_wait_s: 0,
            ..config::Agi::default()
        });
        let _first = agi.enter(Kind::Process).await.expect("the first place");
        let refused = agi.enter(Kind::Process).await.err();
        assert_eq!(refused, Some(Refusal::TooLate(0)));
        assert_eq!(number(&agi, "scripts_waiting"), 0);
    }
}
