//! CPU time of a process, exact to the nanosecond (the sum of `sum_exec_runtime` of its threads), and its memory.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::time::Duration;

/// CPU time that all threads of process `pid` have used, those that have ended (and io_uring's kernel workers) included.
pub fn of_process(pid: u32) -> Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the clock's number is written to a variable that outlives the call.
    let result = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid)?, &raw mut clock) };
    ensure!(result == 0, "process {pid} has no clock (error {result})");
    self::clock(clock)
}

/// CPU time that the calling thread has used.
pub fn of_thread() -> Result<Duration> {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is written to a variable that outlives the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    ensure!(result == 0, std::io::Error::last_os_error());
    Ok(Duration::new(
        u64::try_from(time.tv_sec)?,
        u32::try_from(time.tv_nsec)?,
    ))
}

/// CPU time of the present threads of process `pid` by name; threads of one name together.
pub fn by_thread(pid: u32) -> Result<BTreeMap<String, Duration>> {
    let tasks = format!("/proc/{pid}/task");
    let mut times = BTreeMap::new();
    for entry in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        let path = entry?.path();
        // A thread may end between the listing and the reading.
        let (Ok(name), Ok(text)) = (
            std::fs::read_to_string(path.join("comm")),
            std::fs::read_to_string(path.join("schedstat")),
        ) else {
            continue;
        };
        let ns: u64 = text
            .split_whitespace()
            .next()
            .and_then(|field| field.parse().ok())
            .with_context(|| format!("{} has no run time", path.display()))?;
        *times.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(ns);
    }
    Ok(times)
}

/// Memory of process `pid` that is resident and not backed by a file (heap, stacks), in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .with_context(|| format!("{path} tells no RssAnon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_what_its_threads_have_used_even_when_they_have_ended() {
        let own = std::process::id();
        let before = of_process(own).expect("this process has a clock");
        std::thread::spawn(|| {
            while of_thread().expect("a thread has a clock") < Duration::from_millis(20) {}
        })
        .join()
        .expect("the thread ends well");
        let after = of_process(own).expect("this process has a clock");
        assert!(after - before >= Duration::from_millis(10));
        assert!(!by_thread(own).expect("this process has threads").is_empty());
    }
}
