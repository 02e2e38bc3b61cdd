//! What scripts of all shards counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the scripting layer, shared by all shards.
#[derive(Debug, Default)]
pub struct Counters {
    /// Steps of the dialplan that were run.
    pub steps: AtomicU64,
    /// Steps that failed (each was logged with its place).
    pub steps_failed: AtomicU64,
    /// Turns of scripts that were cut off so that other calls could run.
    pub scripts_preempted: AtomicU64,
    /// Scripts that were ended because they would not stop computing.
    pub scripts_overrun: AtomicU64,
    /// Bytes the machines of all shards hold.
    pub memory_bytes: AtomicU64,
    /// The longest turn of a script since the start, microseconds: so long others of its shard waited.
    pub longest_turn_us: AtomicU64,
}

impl Counters {
    /// Every counter with its name.
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        [
            ("steps", &self.steps),
            ("steps_failed", &self.steps_failed),
            ("scripts_preempted", &self.scripts_preempted),
            ("scripts_overrun", &self.scripts_overrun),
            ("memory_bytes", &self.memory_bytes),
            ("longest_turn_us", &self.longest_turn_us),
        ]
        .into_iter()
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
        .collect()
    }
}
