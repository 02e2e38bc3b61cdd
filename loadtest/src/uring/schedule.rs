//! Where and how urgently the generator's thread runs. Each is a wish: what the machine does not allow makes the numbers
//! rougher, not wrong.

use std::io;

/// Low among real-time threads, so that the kernel's own stay above.
const FIFO_PRIORITY: i32 = 10;

/// Gives the calling thread `SCHED_FIFO`. Needs CAP_SYS_NICE or an `RLIMIT_RTPRIO`.
pub(crate) fn make_realtime() -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: FIFO_PRIORITY,
    };
    // SAFETY: the parameters outlive the call; 0 means the calling thread.
    check(unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const parameters,
        )
    })
}

/// Timers of the calling thread fire without slack (50 us by default).
pub(crate) fn tighten_timers() -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
