//! The turns of a call's steps: other calls of the shard run between them, and a loop without a pause is slowed down.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::task::Task;

/// Steps run without giving others a turn.
const STEPS_PER_TURN: u32 = 256;
/// Time that steps run without giving others a turn.
const TURN: Duration = Duration::from_millis(1);
/// Steps without a pause after which a call is slowed down: it is a loop, and would burn its core until its end.
const STEPS_UNPAUSED_MAX: u32 = 10_000;
/// Steps of such a call in a turn.
const STEPS_SLOWED: u32 = 16;
/// What it waits for each turn. A step that takes as long by itself is a pause.
const PAUSE: Duration = Duration::from_millis(1);

/// Lets other calls of the shard run between steps that never wait.
pub(crate) struct Turns {
    steps: u32,
    since: Instant,
    unpaused: u32,
    told: bool,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            steps: 0,
            since: Instant::now(),
            unpaused: 0,
            told: false,
        }
    }
}

impl Turns {
    /// The turn has lasted long enough.
    pub(crate) fn is_over(&self) -> bool {
        self.since.elapsed() >= TURN
    }

    /// Steps left in this turn.
    pub(crate) fn left(&self) -> u32 {
        let most = if self.unpaused < STEPS_UNPAUSED_MAX {
            STEPS_PER_TURN
        } else {
            STEPS_SLOWED
        };
        most.saturating_sub(self.steps)
    }

    /// So many steps were run that never wait.
    pub(crate) fn ran(&mut self, steps: u32) {
        self.steps = self.steps.saturating_add(steps);
        self.unpaused = self.unpaused.saturating_add(steps);
    }

    /// Before each step.
    pub(crate) async fn take(&mut self, task: &Task) {
        if self.left() > 0 && !self.is_over() {
            return;
        }
        if self.unpaused < STEPS_UNPAUSED_MAX {
            tokio::task::yield_now().await;
        } else {
            if !self.told {
                self.told = true;
                let place = task.channel.location();
                tracing::warn!(
                    channel = %task.channel.name(),
                    context = place.context,
                    exten = place.exten,
                    priority = place.priority,
                    "{STEPS_UNPAUSED_MAX} steps without a pause: the call is slowed down (is there an endless loop? Wait is missing)"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.steps = 0;
        self.since = Instant::now();
    }

    /// Runs a step and sees whether it waits for something.
    pub(crate) async fn run<F: Future>(&mut self, step: F) -> F::Output {
        let started = Instant::now();
        let mut waited = false;
        let mut step = pin!(step);
        let output = poll_fn(|cx| {
            let polled = step.as_mut().poll(cx);
            waited |= polled.is_pending();
            polled
        })
        .await;
        if waited && started.elapsed() >= PAUSE {
            self.steps = 0;
            self.since = Instant::now();
            self.unpaused = 0;
        } else {
            self.steps += 1;
            self.unpaused = self.unpaused.saturating_add(1);
        }
        output
    }
}
