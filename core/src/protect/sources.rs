//! What each source address did lately: a bounded table in parts, each with a lock that is held for one look-up.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::generations::Generations;
use crate::counters::Counter;

const PARTS: usize = 32;
/// Addresses in each of the two generations of a part; 64 thousand in all, about 6 MiB.
const GENERATION: usize = 1024;

/// Addresses with registrations are known for so long at least after they registered.
const BOUND_MAX: Duration = Duration::from_secs(86_400);

/// Which limit something counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Failure,
    Challenged,
    Junk,
}

#[derive(Debug)]
struct Record {
    /// When the counts began.
    since: Instant,
    failures: u32,
    challenged: u32,
    junk: u32,
}

/// How much of something an address did in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) number: u32,
    /// Somebody there proved a password lately.
    pub(super) known: bool,
}

#[derive(Debug)]
struct Part {
    records: Generations<IpAddr, Record>,
    /// Until when an address counts as known. Apart, so that strangers cannot push them out.
    known: Generations<IpAddr, Instant>,
}

#[derive(Debug)]
pub(super) struct Sources {
    parts: [Mutex<Part>; PARTS],
    /// Seeded: nobody can choose addresses that fall together.
    hasher: RandomState,
    window: Duration,
    known: Duration,
    forgotten: Counter,
}

impl Sources {
    /// Counts begin anew after `window`; who proved a password is known for `known`.
    pub(super) fn new(window: Duration, known: Duration) -> Self {
        Self {
            parts: std::array::from_fn(|_| {
                Mutex::new(Part {
                    records: Generations::new(GENERATION, window),
                    // Registrations may be longer than what a right password is good for.
                    known: Generations::new(GENERATION, known.max(BOUND_MAX)),
                })
            }),
            hasher: RandomState::new(),
            window,
            known,
            forgotten: Counter::default(),
        }
    }

    fn part(&self, address: IpAddr) -> &Mutex<Part> {
        &self.parts[self.hasher.hash_one(address) as usize % PARTS]
    }

    /// Counts one more; how many there are in the window.
    pub(super) fn count(&self, address: IpAddr, what: Class, now: Instant) -> Count {
        let mut part = self.part(address).lock();
        let known = part.known.get(&address).is_some_and(|until| *until > now);
        let (record, early) = part.records.entry(address, now, || Record {
            since: now,
            failures: 0,
            challenged: 0,
            junk: 0,
        });
        if early > 0 {
            self.forgotten.add(early as u64);
        }
        if now.saturating_duration_since(record.since) >= self.window {
            record.since = now;
            (record.failures, record.challenged, record.junk) = (0, 0, 0);
        }
        let number = match what {
            Class::Failure => &mut record.failures,
            Class::Challenged => &mut record.challenged,
            Class::Junk => &mut record.junk,
        };
        *number = number.saturating_add(1);
        Count {
            number: *number,
            known,
        }
    }

    /// A challenge was answered well.
    pub(super) fn proved(&self, address: IpAddr, now: Instant) {
        let mut part = self.part(address).lock();
        if let Some(record) = part.records.get_mut(&address) {
            record.challenged = record.challenged.saturating_sub(1);
        }
        drop(part);
        self.known_until(address, now + self.known, now);
    }

    /// The address counts as known until then, or longer if it does already.
    pub(super) fn known_until(&self, address: IpAddr, until: Instant, now: Instant) {
        let mut part = self.part(address).lock();
        let (known, early) = part.known.entry(address, now, || until);
        *known = until.max(*known);
        if early > 0 {
            self.forgotten.add(early as u64);
        }
    }

    pub(super) fn forget(&self, address: IpAddr) {
        let mut part = self.part(address).lock();
        part.records.remove(&address);
        part.known.remove(&address);
    }

    /// Addresses that went because others needed their place.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.get()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.lock().records.len())
            .sum()
    }
}
