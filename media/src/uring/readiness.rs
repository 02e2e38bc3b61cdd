//! Waiting for one of our descriptors inside a tokio runtime.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Tells a task when a descriptor is readable: that of a `UdpSocketRing` or a `MediaHandle` (their `event_source`).
///
/// Edge-triggered: after [`Readiness::readable`] empty the queue behind the descriptor, then call `clear_ready` on the
/// guard. What arrives in between makes it ready again.
#[derive(Debug)]
pub struct Readiness {
    source: AsyncFd<OwnedFd>,
}

impl Readiness {
    /// Registers the descriptor with the runtime of the calling task.
    ///
    /// # Errors
    /// A descriptor that cannot be polled. Panics outside a tokio runtime with I/O enabled.
    pub fn new(source: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is owned by the AsyncFd, so it stays open and the same as long as it is registered.
        let source = unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }?;
        Ok(Self { source })
    }

    /// Waits until the descriptor is readable. May be dropped without losing anything.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.source.readable().await
    }
}
