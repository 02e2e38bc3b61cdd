//! What a run counts, and the histograms of its times.

use crate::talk::heard::Counts;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Reasons that are told apart; further ones are counted together.
const REASONS_MAX: usize = 50;
/// The longest time that a histogram tells, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// Everything that is counted, from the beginning of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Totals {
    /// Calls (or registrations) begun.
    pub begun: u64,
    /// Answered, with both sides connected.
    pub answered: u64,
    /// Ended as planned.
    pub completed: u64,
    /// Not answered, cut off, or ended in disorder.
    pub failed: u64,
    /// The same by their reasons.
    pub reasons: BTreeMap<String, u64>,
    /// Not begun since there were as many as allowed.
    pub held_back: u64,
    /// Registrations done.
    pub registered: u64,
    /// REGISTER requests sent, repetitions not counted.
    pub register_requests: u64,
    /// Requests and answers that were sent again.
    pub repeated: u64,
    /// SIP messages sent and received.
    pub messages_sent: u64,
    pub messages_received: u64,
    /// SIP messages that could not be read, that belong to nothing, and INVITEs for numbers that nobody dialled.
    pub unreadable: u64,
    pub strays: u64,
    pub unexpected_calls: u64,
    /// Packets of audio sent.
    pub sent: u64,
    /// Packets that the other end said and that never came.
    pub lost: u64,
    /// Legs that heard nothing of what the other end said.
    pub deaf_legs: u64,
    /// Legs to which something crossed over from elsewhere.
    pub crossed_legs: u64,
    /// Calls whose digits came otherwise than they were sent.
    pub digits_wrong: u64,
    /// Packets that came for legs that were over.
    pub after_end: u64,
    /// Packets from another address than the server's description named.
    pub elsewhere: u64,
    /// Packets that the kernel did not take from the generator.
    pub send_errors: u64,
    /// What was heard.
    pub heard: Counts,
}

impl Totals {
    /// Counts a failure.
    pub fn fail(&mut self, reason: &str) {
        self.failed += 1;
        let known = self.reasons.contains_key(reason) || self.reasons.len() < REASONS_MAX;
        let reason = if known { reason } else { "other reasons" };
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }
}

/// Percentiles of times in milliseconds.
#[derive(Copy, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// Times, with three digits.
#[derive(Clone, Debug)]
pub struct Times {
    /// `None`: the histogram could not be made, which its constant bounds rule out.
    histogram: Option<Histogram<u64>>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, LONGEST_US, 3).ok(),
        }
    }
}

impl Times {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.histogram {
            let us = u64::try_from(time.as_micros()).unwrap_or(LONGEST_US);
            histogram.saturating_record(us);
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        if let (Some(own), Some(other)) = (&mut self.histogram, &other.histogram) {
            // Both have the same bounds.
            let _ = own.add(other);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if let Some(histogram) = &mut self.histogram {
            histogram.reset();
        }
    }

    /// What 50, 99 and 99.9 percent do not exceed, and the longest.
    pub fn percentiles(&self) -> Percentiles {
        let Some(histogram) = &self.histogram else {
            return Percentiles::default();
        };
        let ms = |us: u64| us as f64 / 1000.0;
        if histogram.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            count: histogram.len(),
            p50_ms: ms(histogram.value_at_quantile(0.5)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            p999_ms: ms(histogram.value_at_quantile(0.999)),
            max_ms: ms(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut times = Times::default();
        assert_eq!(times.percentiles(), Percentiles::default());
        for ms in 1..=1000 {
            times.add(Duration::from_millis(ms));
        }
        let told = times.percentiles();
        assert_eq!(told.count, 1000);
        for (told, wanted) in [
            (told.p50_ms, 500.0),
            (told.p99_ms, 990.0),
            (told.p999_ms, 999.0),
            (told.max_ms, 1000.0),
        ] {
            assert!(
                (told / wanted - 1.0).abs() < 0.002,
                "{told} is not {wanted}"
            );
        }
        let mut both = Times::default();
        both.merge(&times);
        both.add(Duration::from_secs(1000));
        assert_eq!(both.percentiles().count, 1001);
        assert!(both.percentiles().max_ms > 59_000.0);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut totals = Totals::default();
        for n in 0..100 {
            totals.fail(&format!("reason {n}"));
        }
        assert_eq!(totals.failed, 100);
        assert_eq!(totals.reasons.len(), REASONS_MAX + 1);
        assert_eq!(totals.reasons["other reasons"], 50);
    }
}
