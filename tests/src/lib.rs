//! End-to-end tests: the built exchange, and telephones that call through it.
//!
//! Here live the harness ([`Exchange`]), the peers ([`phone`], [`Baresip`], [`Linphone`], [`Sipp`], [`Kamailio`],
//! [`clients`]) and the ears ([`audio`]). The tests
//! themselves are in `tests/`, a file for each behaviour. Nothing here depends on the exchange's crates: a peer that
//! shares its parser or its codecs cannot hear its faults. What passes is decided by what arrived at the other end,
//! never by an exit code alone.

pub mod audio;
mod baresip;
mod certificates;
pub mod clients;
mod database;
mod exchange;
mod kamailio;
mod line;
mod linphone;
pub mod manager;
mod names;
pub mod peer;
pub mod phone;
mod sipp;
mod tap;
mod watcher;
pub mod web;
pub mod wire;

pub use baresip::Baresip;
pub use certificates::Authority;
pub use database::{Database, Engine};
pub use exchange::{Exchange, Settings, binary, text_of};
pub use kamailio::Kamailio;
pub use line::{Frame, Line, description};
pub use linphone::Linphone;
pub use names::Names;
pub use phone::{Bank, Call, Challenge, Ending, Heard, Manner, Phone, Source, Stage};
pub use sipp::{Sipp, SippResult};
pub use tap::{Tap, Tapped};
pub use watcher::{Watched, Watcher};

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a busy machine may take for anything a test waits for; on an idle one nothing takes so long.
pub const SOON: Duration = Duration::from_secs(60);

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

/// A port on 127.0.0.1 that is free for UDP and TCP, as the next one is. It lies below those that the kernel gives to
/// whoever asks for any port, so that nobody takes it before its owner does.
fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 10_000..16_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(2, Ordering::Relaxed) + std::process::id() * 64;
        let port = (PORTS.start + number % PORTS.len() as u32) as u16;
        let free = |port| {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
                && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        };
        if free(port) && free(port + 1) {
            return port;
        }
    }
}

/// Held by tests that measure time or load, so that those of one program run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
