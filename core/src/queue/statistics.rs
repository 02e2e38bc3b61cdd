//! What is counted of queues: their calls, and their members.

use std::time::Duration;

/// What happened in a queue since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub completed: u64,
    pub abandoned: u64,
    pub completed_in_level: u64,
    pub abandoned_in_level: u64,
    /// Averages over the last calls, in seconds.
    pub hold_time: u64,
    pub talk_time: u64,
}

impl Statistics {
    /// Calls answered within the service level, in percent of those completed.
    #[must_use]
    pub fn level_percent(self) -> f64 {
        if self.completed == 0 {
            return 0.0;
        }
        100.0 * self.completed_in_level as f64 / self.completed as f64
    }

    /// Calls that waited no longer than the service level, in percent of all, given up ones included.
    #[must_use]
    pub fn all_in_level_percent(self) -> f64 {
        let all = self.completed + self.abandoned;
        if all == 0 {
            return 0.0;
        }
        100.0 * (self.completed_in_level + self.abandoned_in_level) as f64 / all as f64
    }
}

/// A running average, in which the last value counts for a quarter.
pub(super) fn average(before: u64, new: Duration) -> u64 {
    (before * 3 + new.as_secs()) / 4
}

/// Members of a queue, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub count: usize,
    /// Whose device can be reached.
    pub logged: usize,
    /// Who could take a call at once.
    pub free: usize,
    /// Who is there and not paused, on a call or not.
    pub ready: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_level_counts_those_who_gave_up_too() {
        let statistics = Statistics {
            completed: 3,
            abandoned: 1,
            completed_in_level: 1,
            abandoned_in_level: 1,
            ..Statistics::default()
        };
        assert!((statistics.all_in_level_percent() - 50.0).abs() < 0.01);
        assert!((statistics.level_percent() - 33.33).abs() < 0.01);
        assert!(Statistics::default().all_in_level_percent() < 0.01);
    }
}
