//! What a server process and the machine use, from `/proc`: no connection to the server, nothing it would have to do for it.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What a process has used so far, and has now.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Process {
    /// CPU seconds of all threads, to the nanosecond where the kernel tells; user and system to the tick (10 ms).
    pub cpu_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    /// CPU seconds by the names of threads that live.
    pub threads: BTreeMap<String, f64>,
    /// Memory that is resident and not backed by a file, bytes; and the most of all resident memory so far.
    pub memory: u64,
    pub memory_peak: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Context switches: threads that waited, and threads that were interrupted.
    pub switches: u64,
    pub switches_forced: u64,
}

/// What the cores of the machine did so far, in seconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Core {
    pub user_s: f64,
    pub system_s: f64,
    /// Interrupts, hard and soft.
    pub interrupts_s: f64,
    pub idle_s: f64,
    /// Taken by the host.
    pub steal_s: f64,
}

/// Where a run took place.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    /// The version of the load generator.
    pub generator: String,
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Ticks of `/proc` in a second, the same on every Linux.
const TICKS: f64 = 100.0;

/// Looks at process `pid`.
pub fn process(pid: u32) -> Result<Process> {
    let folder = Path::new("/proc").join(pid.to_string());
    let stat = text(&folder.join("stat"))?;
    // The name in parentheses may have spaces: the fields are counted behind it, from the third on.
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let ticks = |n: usize| -> f64 {
        fields
            .get(n - 3)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
            / TICKS
    };
    let (user_s, system_s) = (ticks(14), ticks(15));
    let status = text(&folder.join("status"))?;
    let kib = |name: &str| -> u64 { number(&status, name) * 1024 };
    let mut process = Process {
        user_s,
        system_s,
        memory: kib("RssAnon:"),
        memory_peak: kib("VmHWM:"),
        descriptors: std::fs::read_dir(folder.join("fd")).map_or(0, |list| list.count() as u64),
        ..Process::default()
    };
    let tasks = folder.join("task");
    for entry in
        std::fs::read_dir(&tasks).with_context(|| format!("cannot read {}", tasks.display()))?
    {
        let task = entry?.path();
        // A thread may end between the listing and the reading.
        let (Ok(name), Ok(times), Ok(status)) = (
            text(&task.join("comm")),
            text(&task.join("schedstat")),
            text(&task.join("status")),
        ) else {
            continue;
        };
        let ns = times
            .split_whitespace()
            .next()
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0);
        *process.threads.entry(name.trim().to_owned()).or_default() += ns / 1e9;
        process.cpu_s += ns / 1e9;
        process.switches += number(&status, "voluntary_ctxt_switches:");
        process.switches_forced += number(&status, "nonvoluntary_ctxt_switches:");
    }
    // Threads that have ended are in the ticks only.
    process.cpu_s = process.cpu_s.max(user_s + system_s - 2.0 / TICKS);
    Ok(process)
}

fn number(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Looks at the cores.
pub fn cores() -> Vec<Core> {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines()
        .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
        .map(|line| {
            let fields: Vec<f64> = line
                .split_whitespace()
                .skip(1)
                .filter_map(|field| field.parse().ok())
                .collect();
            let at = |n: usize| fields.get(n).copied().unwrap_or(0.0) / TICKS;
            Core {
                user_s: at(0) + at(1),
                system_s: at(2),
                idle_s: at(3) + at(4),
                interrupts_s: at(5) + at(6),
                steal_s: at(7),
            }
        })
        .collect()
}

/// Describes this machine.
pub fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            Some(
                line.strip_prefix("model name")?
                    .split_once(':')?
                    .1
                    .trim()
                    .to_owned(),
            )
        })
        .unwrap_or_default();
    Machine {
        processor,
        cores: cores().len(),
        memory_mib: number(&read("/proc/meminfo"), "MemTotal:") / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        generator: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The process that listens on that UDP address of this machine, if it can be found out.
pub fn listener(address: std::net::SocketAddr) -> Option<u32> {
    let std::net::IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    // Whoever listens on all addresses here does not listen on one of another machine.
    std::net::UdpSocket::bind((ip, 0)).ok()?;
    let own = |ip: u32| format!("{:08X}:{:04X}", ip, address.port());
    let wanted = [own(u32::from_le_bytes(ip.octets())), own(0)];
    let table = std::fs::read_to_string("/proc/net/udp").ok()?;
    let inode = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?;
        wanted
            .iter()
            .any(|wanted| wanted == local)
            .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })?;
    let link = format!("socket:[{inode}]");
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let has = std::fs::read_dir(entry.path().join("fd"))
                .ok()?
                .flatten()
                .any(|fd| {
                    std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link.as_str())
                });
            has.then_some(pid)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_process_uses_what_its_threads_use() {
        let own = std::process::id();
        let before = process(own).expect("this process");
        // However busy the machine is: until this thread has had its share.
        let end = Instant::now() + Duration::from_secs(30);
        let used = || process(own).map_or(0.0, |now| now.cpu_s - before.cpu_s);
        while used() < 0.03 && Instant::now() < end {
            std::hint::black_box(own);
        }
        let files: Vec<_> = (0..10)
            .map(|_| std::fs::File::open("/proc/self/stat").expect("a file"))
            .collect();
        let after = process(own).expect("this process");
        assert!(after.cpu_s - before.cpu_s > 0.02, "{before:?} {after:?}");
        assert!(after.descriptors >= before.descriptors.saturating_sub(5) + 5);
        assert!(after.memory > 0 && after.memory_peak >= after.memory);
        drop(files);
        assert!(process(u32::MAX).is_err());
        assert!(machine().cores > 0 && !machine().kernel.is_empty());
    }

    #[test]
    fn the_owner_of_a_socket_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        assert_eq!(listener(address), Some(std::process::id()));
        drop(socket);
        assert_eq!(listener(address), None);
    }
}
