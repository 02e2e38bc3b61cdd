//! End-to-end tests: the built exchange, and telephones that call through it.
//!
//! Here live the harness ([`Exchange`]), the peers ([`phone`], [`Baresip`], [`Sipp`]) and the ears ([`audio`]). The tests
//! themselves are in `tests/`, a file for each behaviour. Nothing here depends on the exchange's crates: a peer that
//! shares its parser or its codecs cannot hear its faults. What passes is decided by what arrived at the other end,
//! never by an exit code alone.

pub mod audio;
mod baresip;
mod database;
mod exchange;
pub mod phone;
mod sipp;
mod tap;
pub mod wire;

pub use baresip::Baresip;
pub use database::{Database, Engine};
pub use exchange::{Exchange, Settings, binary, text_of};
pub use phone::{Bank, Call, Challenge, Ending, Heard, Manner, Phone, Source, Stage};
pub use sipp::{Sipp, SippResult};
pub use tap::{Tap, Tapped};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Asks again and again until there is a value or the time is over.
pub fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ask() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Held by tests that measure time or load, so that those of one file run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
