//! The exchange's calls: shards, transports, endpoints, channels, and what legs do together.
//!
//! Here lives everything that makes a SIP message a call: one signalling thread for each core ([`shard`]), sockets
//! ([`transport`]), who is calling ([`endpoint`]), one leg ([`channel`]) and several ([`call`]). What never does: packets
//! and samples (the media crate), Lua and dialplan text (the scripting crate), HTTP (the api crate).

pub mod call;
pub mod cdr;
pub mod channel;
pub mod child;
pub mod conference;
pub mod config;
pub mod counters;
pub mod device;
pub mod dialplan;
pub mod endpoint;
pub mod events;
pub mod mail;
pub mod parking;
pub mod queue;
pub mod record;
pub mod shard;
pub mod shared;
pub mod sounds;
pub mod transport;
pub mod voicemail;

pub use config::Config;
pub use shared::{Paths, Shared};

/// A number nobody can guess: tags, SSRCs, first sequence numbers.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // The kernel's source cannot fail after boot; the hasher's own seed is the next best.
        Err(_) => {
            use std::hash::{BuildHasher, Hasher};
            std::hash::RandomState::new().build_hasher().finish()
        }
    }
}
