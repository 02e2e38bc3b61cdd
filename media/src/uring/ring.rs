//! One io_uring in the shape all our rings have: a single thread issues, completions are worked off only inside
//! `enter`, and one system call per loop both submits and waits.

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};
use std::io;
use std::time::Duration;

/// A ring made by, and usable only on, the thread that called [`Ring::new`].
pub(crate) struct Ring {
    io: IoUring,
}

/// How [`Ring::enter`] waits.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Wait {
    /// Completions are gathered for at least this long, even when some are there already.
    pub(crate) gather: Duration,
    /// Nothing came for this long: return all the same.
    pub(crate) timeout: Duration,
}

impl Ring {
    /// `SINGLE_ISSUER | DEFER_TASKRUN | NO_SQARRAY | SUBMIT_ALL`. Deferred task work halves the cost of a packet
    /// against any other mode, because the thread is not woken for each completion. Both sizes are rounded up to a
    /// power of two by the kernel.
    pub(crate) fn new(submissions: u32, completions: u32) -> io::Result<Self> {
        let io = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_no_sqarray()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(completions.max(submissions))
            .build(submissions)?;
        let p = io.params();
        if !p.is_feature_ext_arg()
            || !p.is_feature_min_timeout()
            || !p.is_feature_submit_stable()
            || !p.is_feature_skip_cqe_on_success()
        {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "io_uring of this kernel is too old: Linux 6.12 or later is needed",
            ));
        }
        Ok(Self { io })
    }

    /// Entries that still fit before the next submit.
    pub(crate) fn space(&mut self) -> usize {
        let queue = self.io.submission();
        queue.capacity() - queue.len()
    }

    /// Whether every pushed entry has been taken (and, for sends with `MSG_DONTWAIT`, executed) by the kernel.
    pub(crate) fn all_submitted(&mut self) -> bool {
        self.io.submission().is_empty()
    }

    /// Most completions that one harvest can return.
    pub(crate) fn completion_capacity(&self) -> usize {
        self.io.params().cq_entries() as usize
    }

    /// Queues one entry; submits first when the queue is full.
    ///
    /// # Safety
    /// Memory the entry points to must stay valid until the operation has ended: until [`Ring::all_submitted`] for
    /// addresses, message headers and the data of sends with `MSG_DONTWAIT`; until the completion for all else.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..4 {
            // SAFETY: the caller keeps what the entry points to alive.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.submit()?;
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Submits what is queued, waits for nothing and runs no deferred work.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        settle(self.io.submitter().submit_and_wait(0))
    }

    /// Submits what is queued and works off the deferred completions there are, without waiting.
    pub(crate) fn poll(&mut self) -> io::Result<()> {
        let queued = self.io.submission().len() as u32;
        let get_events = io_uring::EnterFlags::GETEVENTS.bits();
        // SAFETY: no argument structure is passed; the count is that of the queue.
        settle(unsafe {
            self.io
                .submitter()
                .enter::<libc::sigset_t>(queued, 0, get_events, None)
        })
    }

    /// The one system call of a loop: submits what is queued, then waits.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let timeout = Timespec::from(wait.timeout);
        let mut arguments = SubmitArgs::new().timespec(&timeout);
        let gather = u32::try_from(wait.gather.as_micros()).unwrap_or(u32::MAX);
        // Wanting the whole completion queue keeps the kernel from waking us for single packets: it wakes at the end of
        // the gathering time if there is anything, at the first completion after it, or at the timeout.
        let want = if gather > 0 {
            arguments = arguments.min_wait_usec(gather);
            self.completion_capacity()
        } else {
            1
        };
        settle(self.io.submitter().submit_with_args(want, &arguments))
    }

    /// Appends all completions to `out`, which allocates only when it has less room than the completion queue.
    pub(crate) fn harvest(&mut self, out: &mut Vec<cqueue::Entry>) {
        out.extend(self.io.completion());
    }

    /// The io_uring object for registrations.
    pub(crate) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.io.submitter()
    }
}

/// Time over, a signal, or a full completion queue are the normal life of a ring.
fn settle(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
