//! Requests that belong to nobody and prove nothing: how many come from one address in a short time, so that one is told of which
//! never answers a challenge (`unidentified_request_*` of `ps_globals`). Nobody is kept out here.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use strowger_store::Globals;

use super::generations::Generations;

/// Addresses that are counted, in each of two generations.
const SOURCES: usize = 8192;
/// Counts are kept so long at first; then as the globals say.
const KEEP: Duration = Duration::from_secs(30);

/// Requests of each address, and when the first of them came.
#[derive(Debug)]
pub(super) struct Strangers(Generations<IpAddr, (Instant, u32)>);

impl Default for Strangers {
    fn default() -> Self {
        Self(Generations::new(SOURCES, KEEP))
    }
}

impl Strangers {
    /// One more came from there; true if these are as many within the time as are worth a word.
    pub(super) fn came(&mut self, from: IpAddr, globals: &Globals, now: Instant) -> bool {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let period = seconds(globals.unidentified_request_period);
        let keep = seconds(globals.unidentified_request_prune_interval);
        self.0.keep_for(keep.max(period));
        let ((since, count), _) = self.0.entry(from, now, || (now, 0));
        if now.saturating_duration_since(*since) >= period {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count >= globals.unidentified_request_count
    }

    /// Somebody there has proved who he is.
    pub(super) fn proved(&mut self, from: IpAddr) {
        self.0.remove(&from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_often_without_a_proof_is_told_of() {
        let mut strangers = Strangers::default();
        let globals = Globals {
            unidentified_request_count: 3,
            unidentified_request_period: 5,
            ..Globals::default()
        };
        let start = Instant::now();
        let (one, two): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let mut came = |from, ms| strangers.came(from, &globals, start + Duration::from_millis(ms));
        assert_eq!(
            [0, 10, 20, 30].map(|ms| came(one, ms)),
            [false, false, true, true]
        );
        assert!(!came(two, 40), "each address for itself");
        // Slowly enough nobody is told of.
        assert_eq!(
            [5010, 7600, 10_100, 12_700].map(|ms| came(one, ms)),
            [false, false, false, false]
        );
        assert!(came(one, 12_800));
        strangers.proved(one);
        let later = start + Duration::from_millis(12_900);
        assert!(!strangers.came(one, &globals, later));
    }

    #[test]
    fn many_addresses_take_no_more_memory_than_there_is_for_them() {
        let mut strangers = Strangers::default();
        let now = Instant::now();
        for number in 0..100_000_u32 {
            strangers.came(number.to_be_bytes().into(), &Globals::default(), now);
        }
        assert!(strangers.0.len() <= 2 * SOURCES);
    }
}
