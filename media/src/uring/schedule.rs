//! Where and how urgently the calling thread runs, and the descriptor limit. Each of these is a wish: what the machine
//! does not allow is reported as an error that the caller may ignore.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Priority of media threads among real-time threads: low, so that the kernel's own threads stay above.
const FIFO_PRIORITY: i32 = 20;

/// Binds the calling thread to one core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: cpu_set_t is plain bits, for which all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the core number is below CPU_SETSIZE, so the bit is inside the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set outlives the call and its true size is passed.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
}

/// Gives the calling thread `SCHED_FIFO`. Needs CAP_SYS_NICE or an `RLIMIT_RTPRIO`. Threads made by it (those of the
/// kernel too) start with normal priority.
pub fn make_realtime() -> io::Result<()> {
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

/// Lowers the priority of the calling thread, and of those it starts, to this nice value (0..=19).
pub fn make_nice(nice: i32) -> io::Result<()> {
    // SAFETY: no pointers; on Linux 0 means the calling thread.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.clamp(0, 19)) })
}

/// Timers of the calling thread fire without slack (the default of a normal thread is 50 us).
pub fn tighten_timers() -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) })
}

/// Raises the soft limit of descriptors to the hard one and returns it.
pub(crate) fn descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: the structure outlives the call.
        if check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) }).is_ok() {
            return Ok(raised.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// Waits until `fd` is readable. `false` when the time is over first.
pub fn wait_readable(fd: RawFd, timeout: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok(false)
        } else {
            Err(error)
        };
    }
    Ok(ready > 0)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
