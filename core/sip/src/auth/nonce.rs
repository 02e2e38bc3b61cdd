//! Server nonces: made from time, the asker's address and a secret, so that none is stored until its owner has proved a
//! password with it; then its counts are remembered, so that nothing can be replayed.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::algorithm::hex;

/// What a nonce is worth.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum NonceState {
    /// Ours, and young enough.
    Fresh,
    /// Ours, but too old: challenge again with `stale=true`.
    Stale,
    /// Never issued here, or not to that address.
    Foreign,
}

/// Counts seen for one nonce: the highest, and a window of 64 below it for requests that overtook each other.
#[derive(Copy, Clone, Debug)]
struct Seen {
    highest: u32,
    window: u64,
    /// From then on the nonce is too old to be used, and needs no memory.
    until_ms: u64,
}

/// Makes and judges nonces. Stores that shall accept each other's nonces need one secret and one epoch, but each counts
/// alone: keep one store, or give each its own secret.
pub struct NonceStore {
    secret: [u8; 32],
    epoch: Instant,
    serial: u64,
    lifetime_max: Duration,
    capacity: usize,
    seen: HashMap<u64, Seen>,
    /// Serials in the order in which they become too old.
    ends: BTreeSet<(u64, u64)>,
    /// Serials in the order in which they were issued.
    issued: BTreeSet<u64>,
    /// Nonces up to this one whose counts are not remembered may have been used: their owners are asked again.
    floor: u64,
    forgotten_early: u64,
}

const TIME_DIGITS: usize = 16;
const SERIAL_DIGITS: usize = 16;
const MAC_DIGITS: usize = 32;
/// How many old nonces are forgotten for a new one at most.
const SWEEP: usize = 4;

/// What a nonce is bound to: an IPv4 address, or the IPv6 network of 64 bits, within which telephones change theirs.
fn network_of(from: IpAddr) -> u128 {
    match from.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

impl NonceStore {
    /// `secret` is random; `lifetime_max` bounds every nonce's life; counts of at most `capacity` nonces are remembered.
    #[must_use]
    pub fn new(secret: [u8; 32], epoch: Instant, lifetime_max: Duration, capacity: usize) -> Self {
        Self {
            secret,
            epoch,
            serial: 0,
            lifetime_max,
            capacity: capacity.max(1),
            seen: HashMap::new(),
            ends: BTreeSet::new(),
            issued: BTreeSet::new(),
            floor: 0,
            forgotten_early: 0,
        }
    }

    fn now_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    fn mac(&self, time: u64, serial: u64, from: IpAddr) -> String {
        let mut digest = Sha256::new();
        digest.update(self.secret);
        digest.update(time.to_be_bytes());
        digest.update(serial.to_be_bytes());
        digest.update(network_of(from).to_be_bytes());
        let mut text = hex(&digest.finalize());
        text.truncate(MAC_DIGITS);
        text
    }

    /// A new nonce for who asks from that address, of 64 hexadecimal digits.
    pub fn issue(&mut self, from: IpAddr, now: Instant) -> String {
        self.serial = self.serial.wrapping_add(1);
        let (time, serial) = (self.now_ms(now), self.serial);
        format!("{time:016x}{serial:016x}{}", self.mac(time, serial, from))
    }

    fn open(&self, nonce: &str, from: IpAddr) -> Option<(u64, u64)> {
        if nonce.len() != TIME_DIGITS + SERIAL_DIGITS + MAC_DIGITS || !nonce.is_ascii() {
            return None;
        }
        let (head, mac) = nonce.split_at_checked(TIME_DIGITS + SERIAL_DIGITS)?;
        let (time, serial) = head.split_at_checked(TIME_DIGITS)?;
        let time = u64::from_str_radix(time, 16).ok()?;
        let serial = u64::from_str_radix(serial, 16).ok()?;
        let ours = self.mac(time, serial, from);
        bool::from(ours.as_bytes().ct_eq(mac.as_bytes())).then_some((time, serial))
    }

    /// Judges a nonce that may live for `lifetime` and came from that address.
    #[must_use]
    pub fn state(&self, nonce: &str, from: IpAddr, lifetime: Duration, now: Instant) -> NonceState {
        let Some((time, _)) = self.open(nonce, from) else {
            return NonceState::Foreign;
        };
        let age = Duration::from_millis(self.now_ms(now).saturating_sub(time));
        if age <= lifetime.min(self.lifetime_max) {
            NonceState::Fresh
        } else {
            NonceState::Stale
        }
    }

    /// Notes one use of a nonce that lives for `lifetime`, after the response has been verified. False: this count was
    /// used already (or lies too far behind), or the nonce is not ours or so old that its counts were forgotten;
    /// challenge again with `stale=true`. Without a count (`nc` is `None`, no qop) a nonce serves once. A nonce issued
    /// just now is never refused, however many are in use.
    pub fn use_count(
        &mut self,
        nonce: &str,
        from: IpAddr,
        nc: Option<u32>,
        lifetime: Duration,
        now: Instant,
    ) -> bool {
        let Some((issued_ms, serial)) = self.open(nonce, from) else {
            return false;
        };
        let count = nc.unwrap_or(u32::MAX);
        if count == 0 {
            return false;
        }
        let life = lifetime.min(self.lifetime_max).as_millis();
        let until_ms = issued_ms.saturating_add(u64::try_from(life).unwrap_or(u64::MAX));
        if let Some(seen) = self.seen.get_mut(&serial) {
            if until_ms > seen.until_ms {
                // The same nonce answers for two lifetimes: the longer one counts.
                self.ends.remove(&(seen.until_ms, serial));
                self.ends.insert((until_ms, serial));
                seen.until_ms = until_ms;
            }
            return seen.note(count);
        }
        let now_ms = self.now_ms(now);
        if serial <= self.floor || until_ms < now_ms {
            return false;
        }
        self.sweep(now_ms);
        if self.seen.len() >= self.capacity
            && let Some(oldest) = self.issued.pop_first()
        {
            // The one issued first goes. Whoever still has it, or an older one, is challenged once more.
            self.floor = self.floor.max(oldest);
            if let Some(seen) = self.seen.remove(&oldest) {
                self.ends.remove(&(seen.until_ms, oldest));
            }
            self.forgotten_early += 1;
            if serial <= self.floor {
                return false;
            }
        }
        let seen = Seen {
            highest: count,
            window: 1,
            until_ms,
        };
        self.seen.insert(serial, seen);
        self.ends.insert((until_ms, serial));
        self.issued.insert(serial);
        true
    }

    /// Forgets the counts of some nonces that are too old to be used again: more than are added.
    fn sweep(&mut self, now_ms: u64) {
        for _ in 0..SWEEP {
            let Some(&(until_ms, serial)) = self.ends.first() else {
                return;
            };
            if until_ms >= now_ms {
                return;
            }
            self.ends.pop_first();
            self.issued.remove(&serial);
            self.seen.remove(&serial);
        }
    }

    /// Nonces whose counts are remembered.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.seen.len()
    }

    /// How often a nonce was forgotten before its time because the table was full.
    #[must_use]
    pub const fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }
}

impl std::fmt::Debug for NonceStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NonceStore")
            .field("in_use", &self.seen.len())
            .finish_non_exhaustive()
    }
}

impl Seen {
    fn note(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.window = if ahead < 64 {
                (self.window << ahead) | 1
            } else {
                1
            };
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= 64 || self.window & (1 << behind) != 0 {
            return false;
        }
        self.window |= 1 << behind;
        true
    }
}
