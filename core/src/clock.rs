//! The time that signalling goes by. It is the monotonic clock of the system; tests of this crate may stop it and set it on
//! (`tokio::time::pause`), so that minutes of calls pass in no time. Never here: wall time, which only records and names use.

use std::time::{Duration, Instant};

/// The time now.
#[cfg(not(test))]
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time now: of the runtime's clock, which is that of the system unless it was stopped.
#[cfg(test)]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago that was; nothing if it is yet to come.
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}
