//! The interfaces for programs under load: the built exchange in a process of its own, with one shard, and beside it programs
//! that make calls, ask for lists, follow events and fetch recordings. What never lives here: code that the exchange uses.

mod caller;
mod crowd;
mod house;
mod web;
mod works;

pub use caller::{Caller, Paced};
pub use crowd::{Crowd, Doors, Heard, Interest, Size};
pub use house::House;
pub use web::{Manager, Web};
pub use works::{Settings, fan_out, lists, originating, overhead, recording};

/// The context that all calls are in.
pub const CONTEXT: &str = "bench";

/// The value below which this many of a hundred lie; 0 of nothing.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * percent / 100.0).round() as usize;
    sorted.get(at.min(last)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 50.0), 50.0);
        assert_eq!(percentile(&values, 99.0), 99.0);
        assert_eq!(percentile(&values, 100.0), 100.0);
        assert_eq!(percentile(&[3.0], 99.0), 3.0);
        assert_eq!(percentile(&[], 50.0), 0.0);
    }
}
