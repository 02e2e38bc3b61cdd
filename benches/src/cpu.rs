//! CPU time of a process, exact to the nanosecond: the sum of `sum_exec_runtime` of its threads.

use anyhow::{Context, Result};
use std::time::Duration;

/// CPU time that all present threads of process `pid` have used. Threads that have ended are not in it.
pub fn of_process(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut total = 0;
    for entry in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        let path = entry?.path().join("schedstat");
        // A thread may end between the listing and the reading.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let ns: u64 = text
            .split_whitespace()
            .next()
            .and_then(|field| field.parse().ok())
            .with_context(|| format!("{} has no run time", path.display()))?;
        total += ns;
    }
    Ok(Duration::from_nanos(total))
}
