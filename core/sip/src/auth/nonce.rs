//! Server nonces: made from time and a secret, so that none is stored until its owner has proved a password with it;
//! then its counts are remembered, so that nothing can be replayed.

use std::collections::HashMap;
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
    /// Never issued here.
    Foreign,
}

/// Counts seen for one nonce: the highest, and a window of 64 below it for requests that overtook each other.
#[derive(Copy, Clone, Debug)]
struct Seen {
    highest: u32,
    window: u64,
    issued_ms: u64,
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
    swept_ms: u64,
    refused_full: u64,
}

const TIME_DIGITS: usize = 16;
const SERIAL_DIGITS: usize = 16;
const MAC_DIGITS: usize = 32;

impl NonceStore {
    /// `secret` is random; `lifetime_max` bounds every nonce's life; counts of at most `capacity` nonces are remembered.
    #[must_use]
    pub fn new(secret: [u8; 32], epoch: Instant, lifetime_max: Duration, capacity: usize) -> Self {
        Self {
            secret,
            epoch,
            serial: 0,
            lifetime_max,
            capacity,
            seen: HashMap::new(),
            swept_ms: 0,
            refused_full: 0,
        }
    }

    fn now_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    fn mac(&self, time: u64, serial: u64) -> String {
        let mut digest = Sha256::new();
        digest.update(self.secret);
        digest.update(time.to_be_bytes());
        digest.update(serial.to_be_bytes());
        let mut text = hex(&digest.finalize());
        text.truncate(MAC_DIGITS);
        text
    }

    /// A new nonce, of 64 hexadecimal digits.
    pub fn issue(&mut self, now: Instant) -> String {
        self.serial = self.serial.wrapping_add(1);
        let (time, serial) = (self.now_ms(now), self.serial);
        format!("{time:016x}{serial:016x}{}", self.mac(time, serial))
    }

    fn open(&self, nonce: &str) -> Option<(u64, u64)> {
        if nonce.len() != TIME_DIGITS + SERIAL_DIGITS + MAC_DIGITS || !nonce.is_ascii() {
            return None;
        }
        let (head, mac) = nonce.split_at_checked(TIME_DIGITS + SERIAL_DIGITS)?;
        let (time, serial) = head.split_at_checked(TIME_DIGITS)?;
        let time = u64::from_str_radix(time, 16).ok()?;
        let serial = u64::from_str_radix(serial, 16).ok()?;
        bool::from(self.mac(time, serial).as_bytes().ct_eq(mac.as_bytes()))
            .then_some((time, serial))
    }

    /// Judges a nonce that may live for `lifetime`.
    #[must_use]
    pub fn state(&self, nonce: &str, lifetime: Duration, now: Instant) -> NonceState {
        let Some((time, _)) = self.open(nonce) else {
            return NonceState::Foreign;
        };
        let age = Duration::from_millis(self.now_ms(now).saturating_sub(time));
        if age <= lifetime.min(self.lifetime_max) {
            NonceState::Fresh
        } else {
            NonceState::Stale
        }
    }

    /// Notes one use, after the response has been verified. False: this count was used already (or lies too far behind),
    /// the nonce is not ours, or too many nonces are in use; challenge again with `stale=true`. Without a count
    /// (`nc` is `None`, no qop) a nonce serves once.
    pub fn use_count(&mut self, nonce: &str, nc: Option<u32>, now: Instant) -> bool {
        let Some((issued_ms, serial)) = self.open(nonce) else {
            return false;
        };
        let count = nc.unwrap_or(u32::MAX);
        if count == 0 {
            return false;
        }
        if let Some(seen) = self.seen.get_mut(&serial) {
            return seen.note(count);
        }
        if self.seen.len() >= self.capacity {
            self.sweep(now);
            if self.seen.len() >= self.capacity {
                self.refused_full += 1;
                return false;
            }
        }
        let seen = Seen {
            highest: count,
            window: 1,
            issued_ms,
        };
        self.seen.insert(serial, seen);
        true
    }

    /// Forgets the counts of nonces that are too old to be used again. At most once a second, so that a full table
    /// costs little.
    fn sweep(&mut self, now: Instant) {
        let now = self.now_ms(now);
        if now.saturating_sub(self.swept_ms) < 1000 {
            return;
        }
        self.swept_ms = now;
        let life = u64::try_from(self.lifetime_max.as_millis()).unwrap_or(u64::MAX);
        self.seen
            .retain(|_, seen| now.saturating_sub(seen.issued_ms) <= life);
    }

    /// Nonces whose counts are remembered.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.seen.len()
    }

    /// How often a nonce was refused because the table was full.
    #[must_use]
    pub const fn refused_full(&self) -> u64 {
        self.refused_full
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
