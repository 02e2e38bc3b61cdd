//! Wake-ups between threads: an eventfd that is written at most once until it is looked at.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One end wakes, the other waits on [`Wake::fd`] and calls [`Wake::clear`] before it looks at the queue.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: File,
    raised: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it is taken as a descriptor.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            shared: Arc::new(Shared {
                file: File::from(owned),
                raised: AtomicBool::new(false),
            }),
        })
    }

    /// Makes the descriptor readable, unless it already is: a burst of items costs one system call.
    pub(crate) fn raise(&self) {
        if !self.shared.raised.swap(true, Ordering::AcqRel) {
            // An eventfd refuses a write only when its counter is at its maximum: then it is readable anyway.
            let _ = (&self.shared.file).write(&1_u64.to_ne_bytes());
        }
    }

    /// To be called before the queue is drained, so that what is put into it afterwards raises again.
    /// The descriptor itself stays readable; with [`Wake::clear`] it does not.
    pub(crate) fn lower(&self) {
        self.shared.raised.store(false, Ordering::SeqCst);
    }

    /// Resets the descriptor and allows the next raise. To be called before the queue is drained.
    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        let _ = (&self.shared.file).read(&mut count);
        self.shared.raised.store(false, Ordering::SeqCst);
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.shared.file.as_raw_fd()
    }

    pub(crate) fn borrow_fd(&self) -> BorrowedFd<'_> {
        self.shared.file.as_fd()
    }

    /// The descriptor again, as an owned one.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.shared.file.try_clone()?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn readable(wake: &Wake) -> bool {
        crate::uring::schedule::wait_readable(wake.fd(), Duration::ZERO).expect("poll")
    }

    #[test]
    fn a_raised_wake_is_readable_until_it_is_cleared() {
        let wake = Wake::new().expect("eventfd");
        assert!(!readable(&wake));
        wake.raise();
        wake.raise();
        assert!(readable(&wake));
        wake.clear();
        assert!(!readable(&wake));
        wake.raise();
        assert!(readable(&wake));
    }
}
