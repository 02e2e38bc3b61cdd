//! The exchange's calls: shards, transports, endpoints, channels, and what legs do together.
//!
//! Here lives everything that makes a SIP message a call: one signalling thread for each core ([`shard`]), sockets
//! ([`transport`]), who is calling ([`endpoint`]), one leg ([`channel`]) and several ([`call`]). What never does: packets
//! and samples (the media crate), Lua and dialplan text (the scripting crate), HTTP (the api crate).

pub mod call;
pub mod cdr;
pub mod channel;
pub mod child;
pub(crate) mod clock;
pub mod conference;
pub mod config;
pub mod counters;
pub mod device;
pub mod dialplan;
pub mod dns;
pub mod ending;
pub mod endpoint;
pub mod events;
pub mod mail;
pub mod parking;
pub mod protect;
pub mod publication;
pub mod queue;
pub mod record;
pub mod shard;
pub mod shared;
pub mod sounds;
pub mod subscription;
pub mod trace;
pub mod transport;
pub mod voicemail;

pub use config::Config;
pub use shared::{Paths, Shared};

/// A number nobody can guess: tags, SSRCs, first sequence numbers.
pub(crate) fn random_u64() -> u64 {
    /// Numbers that were asked for together: a call needs several, and a system call costs as much as all of them.
    const AT_ONCE: usize = 32;
    thread_local! {
        static READY: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    #[cfg(test)]
    if let Some(number) = chance::next() {
        return number;
    }
    READY.with_borrow_mut(|ready| {
        if let Some(number) = ready.pop() {
            return number;
        }
        let mut bytes = [0u8; 8 * AT_ONCE];
        if getrandom::fill(&mut bytes).is_err() {
            // The kernel's source cannot fail after boot; the hasher's own seed is the next best.
            use std::hash::{BuildHasher, Hasher};
            return std::hash::RandomState::new().build_hasher().finish();
        }
        let (numbers, _) = bytes.as_chunks::<8>();
        ready.extend(numbers.iter().copied().map(u64::from_ne_bytes));
        ready.pop().unwrap_or_default()
    })
}

/// Random numbers that come again, for simulations.
#[cfg(test)]
pub(crate) mod chance {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Has [`super::random_u64`] of this thread follow from `seed`; None gives it back to the kernel.
    pub(crate) fn follow(seed: Option<u64>) {
        STATE.set(seed.map(|seed| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
    }

    /// xorshift64*.
    pub(super) fn next() -> Option<u64> {
        let mut state = STATE.get()?;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        STATE.set(Some(state));
        Some(state.wrapping_mul(0x2545_F491_4F6C_DD1D))
    }
}
