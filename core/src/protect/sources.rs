//! What each source address did lately: a bounded table in parts, each with a lock that is held for one look-up.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Offence;
use crate::counters::Counter;

const PARTS: usize = 32;
/// Addresses in a part; 64 thousand in all, about 6 MiB.
const PART_MAX: usize = 2048;
/// How many records are looked at to find the one that goes for a new address.
const LOOK: usize = 8;

#[derive(Debug)]
struct Record {
    /// When the counts began.
    since: Instant,
    failures: u32,
    challenged: u32,
    junk: u32,
    known_until: Option<Instant>,
}

/// How much of something an address did in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) number: u32,
    /// Somebody there proved a password lately.
    pub(super) known: bool,
}

#[derive(Debug)]
pub(super) struct Sources {
    parts: [Mutex<HashMap<IpAddr, Record>>; PARTS],
    /// Seeded: nobody can choose addresses that fall together.
    hasher: RandomState,
    forgotten: Counter,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            forgotten: Counter::default(),
        }
    }
}

impl Sources {
    fn with<R>(&self, address: IpAddr, now: Instant, change: impl FnOnce(&mut Record) -> R) -> R {
        let hash = self.hasher.hash_one(address) as usize;
        let mut part = self.parts[hash % PARTS].lock();
        if part.len() >= PART_MAX && !part.contains_key(&address) {
            // The one that was quiet longest goes, those that are known last.
            let victim = part
                .iter()
                .take(LOOK)
                .min_by_key(|(_, record)| {
                    (
                        record.known_until.is_some_and(|until| until > now),
                        record.since,
                    )
                })
                .map(|(address, _)| *address);
            if let Some(victim) = victim {
                part.remove(&victim);
                self.forgotten.add(1);
            }
        }
        let record = part.entry(address).or_insert(Record {
            since: now,
            failures: 0,
            challenged: 0,
            junk: 0,
            known_until: None,
        });
        change(record)
    }

    /// Counts one more; how many there are in the window.
    pub(super) fn count(
        &self,
        address: IpAddr,
        what: Offence,
        window: Duration,
        now: Instant,
    ) -> Count {
        self.with(address, now, |record| {
            if now.saturating_duration_since(record.since) >= window {
                record.since = now;
                (record.failures, record.challenged, record.junk) = (0, 0, 0);
            }
            let number = match what {
                Offence::Challenged => &mut record.challenged,
                Offence::Junk => &mut record.junk,
                _ => &mut record.failures,
            };
            *number = number.saturating_add(1);
            Count {
                number: *number,
                known: record.known_until.is_some_and(|until| until > now),
            }
        })
    }

    /// A challenge was answered well.
    pub(super) fn proved(&self, address: IpAddr, known_until: Instant, now: Instant) {
        self.with(address, now, |record| {
            record.challenged = record.challenged.saturating_sub(1);
            record.known_until = Some(known_until);
        });
    }

    pub(super) fn forget(&self, address: IpAddr) {
        let hash = self.hasher.hash_one(address) as usize;
        self.parts[hash % PARTS].lock().remove(&address);
    }

    /// Addresses that went because others needed their place.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.get()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }
}
