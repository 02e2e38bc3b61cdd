//! Programs that relay packets between pairs of legs and can be measured doing so.

use crate::cpu;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Something that relays between leg `2n` and leg `2n + 1`.
pub trait Subject {
    /// How it is called in the results.
    fn name(&self) -> &str;

    /// Starts it with one leg for each peer: the leg sends to the peer and receives from it.
    fn start(&self, peers: &[SocketAddr]) -> Result<Running>;
}

/// A started subject; dropping it ends it.
pub struct Running {
    /// The process whose CPU time counts.
    pub pid: u32,
    /// Where the legs receive, in the order of the peers.
    pub legs: Vec<SocketAddr>,
    /// Its resident memory before the legs were made, where it can tell; bytes.
    pub idle_memory: Option<u64>,
    /// Ends the subject when dropped.
    pub guard: Box<dyn Send>,
}

/// A subject that is a program of its own: it prints `ready`, reads the peers' ports from its input, one line, and prints
/// its legs' ports, one line; all on the loopback address. It ends when its input ends.
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    /// `path` with `arguments`.
    pub fn new(name: &str, path: PathBuf, arguments: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            path,
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
        }
    }
}

impl Subject for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self, peers: &[SocketAddr]) -> Result<Running> {
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        let output = child.stdout.take().context("the program has an output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line.trim() == "ready", "{} said {line:?}", self.name);
        let pid = child.id();
        let idle_memory = cpu::resident(pid)?;
        let ports: Vec<String> = peers.iter().map(|p| p.port().to_string()).collect();
        let input = child.stdin.as_mut().context("the program has an input")?;
        writeln!(input, "{}", ports.join(" "))?;
        input.flush()?;
        line.clear();
        output.read_line(&mut line)?;
        let guard = Box::new(Guard(child));
        let legs = parse_ports(&line).with_context(|| format!("{} said {line:?}", self.name))?;
        ensure!(
            legs.len() == peers.len(),
            "{} made {} legs for {} peers",
            self.name,
            legs.len(),
            peers.len()
        );
        Ok(Running {
            pid,
            legs,
            idle_memory: Some(idle_memory),
            guard,
        })
    }
}

/// The addresses of a line of ports on the loopback address.
pub fn parse_ports(line: &str) -> Result<Vec<SocketAddr>> {
    line.split_whitespace()
        .map(|word| {
            let port: u16 = word
                .parse()
                .with_context(|| format!("{word:?} is no port"))?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        })
        .collect()
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of its input asks it to end.
        drop(self.0.stdin.take());
        for _ in 0..300 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
