//! A paced RTP generator: every leg sends 50 packets a second in its phase of a 20 ms frame, and every packet that comes
//! out of a leg is given to the [`Traffic`], which says whether it is right and when it was sent. Delays are taken from
//! the kernel's receive timestamps, so that the generator's own pace is not in them.

use crate::cpu;
use crate::delay::{self, Delays};
use crate::subject::Subject;
use crate::traffic::{Arrived, PACKET_MAX, Traffic};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use strowger_media::uring::schedule;

const FRAME_SLOTS: usize = 20;
const SLOT: Duration = Duration::from_millis(1);
/// Time for the subject to settle before its CPU time counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time for the last packets to come back.
const DRAIN: Duration = Duration::from_millis(300);

/// What a run is to be.
#[derive(Copy, Clone, Debug)]
pub struct Load {
    /// Calls of two legs each.
    pub calls: usize,
    /// Measured time, after the warm-up.
    pub seconds: u64,
    /// The core of the generator.
    pub core: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Packets sent over the whole run, warm-up included.
    pub sent: u64,
    /// Of these, how many came out of the right leg, unchanged.
    pub received: u64,
    /// Packets with a wrong payload, from a wrong leg, or twice.
    pub wrong: u64,
    /// Outgoing sequence numbers that do not follow the one before.
    pub sequence_breaks: u64,
    /// CPU time of the subject in the measured time.
    pub cpu: Duration,
    /// The same by the names of its threads.
    pub threads: BTreeMap<String, Duration>,
    /// Packets relayed in the measured time.
    pub relayed: u64,
    /// Length of the measured time.
    pub measured: Duration,
    /// Largest lateness of the generator itself.
    pub late_max: Duration,
    /// From the sending of a packet to its arrival, in the measured time.
    pub delays: Delays,
    /// Resident memory of the subject at the end, and before its legs were made where it can tell; bytes.
    pub memory: (u64, Option<u64>),
}

impl Outcome {
    /// Packets that were sent and never came back.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// CPU time of the subject for each relayed packet, in microseconds.
    pub fn us_per_packet(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.relayed.max(1) as f64
    }

    /// The part of one core that the subject used, in percent.
    pub fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.measured.as_secs_f64().max(1e-9)
    }
}

struct Leg {
    socket: UdpSocket,
    number: u32,
}

/// What the sending loop works with.
struct Driver<'a> {
    legs: Vec<Leg>,
    traffic: &'a mut dyn Traffic,
    outcome: Outcome,
    /// Delays count from here on.
    measuring: bool,
}

/// Runs `subject` under `load`.
pub fn run(subject: &dyn Subject, load: Load, traffic: &mut dyn Traffic) -> Result<Outcome> {
    let count = load.calls * 2;
    ensure!(count > 0, "at least one call is needed");
    let frames = (WARM_UP + Duration::from_secs(load.seconds)).as_millis() as usize / FRAME_SLOTS;
    traffic.begin(count, frames);
    let legs = (0..count)
        .map(|_| bind())
        .collect::<Result<Vec<_>>>()
        .context("cannot make the generator's sockets")?;
    let peers = legs
        .iter()
        .map(|leg| leg.socket.local_addr())
        .collect::<io::Result<Vec<SocketAddr>>>()?;
    let running = subject.start(&peers)?;
    ensure!(
        running.legs.len() == count,
        "{} made {} legs for {count} peers",
        subject.name(),
        running.legs.len()
    );
    for (leg, address) in legs.iter().zip(&running.legs) {
        leg.socket.connect(address)?;
    }
    let mut driver = Driver {
        legs,
        traffic,
        outcome: Outcome::default(),
        measuring: false,
    };
    // A thread of its own: the subject must not inherit where and how urgently the generator runs.
    let done = std::thread::scope(|scope| {
        let generator = scope.spawn(|| {
            // Wishes: with fewer cores or rights the numbers are rougher, not wrong.
            let _ = schedule::pin_to_core(load.core);
            let _ = schedule::make_realtime();
            let _ = schedule::tighten_timers();
            driver.drive(running.pid, frames)
        });
        generator
            .join()
            .map_err(|_| anyhow::anyhow!("the generator panicked"))?
    });
    driver.outcome.memory.1 = running.idle_memory;
    drop(running);
    done.map(|()| driver.outcome)
}

impl Driver<'_> {
    /// Sends `frames` packets on each leg and checks what comes back; measures process `pid` after the warm-up.
    fn drive(&mut self, pid: u32, frames: usize) -> Result<()> {
        let count = self.legs.len();
        let start = Instant::now() + Duration::from_millis(20);
        let warm_slots = WARM_UP.as_millis() as usize;
        let mut from = (Duration::ZERO, BTreeMap::new(), 0, start);
        let mut packet = [0; PACKET_MAX];
        for slot in 0..frames * FRAME_SLOTS {
            if slot == warm_slots {
                from = (
                    cpu::of_process(pid)?,
                    cpu::by_thread(pid)?,
                    self.outcome.received,
                    Instant::now(),
                );
                self.measuring = true;
            }
            let due = start + SLOT * slot as u32;
            let now = Instant::now();
            if now < due {
                std::thread::sleep(due - now);
            } else {
                self.outcome.late_max = self.outcome.late_max.max(now - due);
            }
            for index in (slot % FRAME_SLOTS..count).step_by(FRAME_SLOTS) {
                self.receive(index)?;
                let Some(leg) = self.legs.get_mut(index) else {
                    continue;
                };
                let length = self
                    .traffic
                    .fill(index, leg.number, delay::now(), &mut packet);
                leg.number += 1;
                if length > 0 {
                    send(&leg.socket, packet.get(..length).unwrap_or_default())?;
                    self.outcome.sent += 1;
                }
            }
        }
        let outcome = &mut self.outcome;
        outcome.cpu = cpu::of_process(pid)?.saturating_sub(from.0);
        outcome.measured = from.3.elapsed();
        outcome.relayed = outcome.received - from.2;
        outcome.threads = cpu::by_thread(pid)?;
        outcome.memory.0 = cpu::resident(pid)?;
        for (name, time) in &mut outcome.threads {
            *time = time.saturating_sub(from.1.get(name).copied().unwrap_or_default());
        }
        self.measuring = false;
        let end = Instant::now() + DRAIN;
        while Instant::now() < end && self.outcome.received < self.outcome.sent {
            for index in 0..count {
                self.receive(index)?;
            }
            std::thread::sleep(SLOT);
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let Some(leg) = self.legs.get_mut(index) else {
            return Ok(());
        };
        let mut packet = [0; PACKET_MAX + 1];
        loop {
            let (length, arrived) = match delay::receive(&leg.socket, &mut packet) {
                Ok(received) => received,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(e) => return Err(e).context("cannot receive"),
            };
            let outcome = &mut self.outcome;
            match self
                .traffic
                .check(index, packet.get(..length).unwrap_or_default())
            {
                Arrived::Right { sent, in_sequence } => {
                    outcome.received += 1;
                    outcome.sequence_breaks += u64::from(!in_sequence);
                    if self.measuring
                        && let (Some(sent), Some(arrived)) = (sent, arrived)
                    {
                        outcome.delays.add(arrived.saturating_sub(sent));
                    }
                }
                Arrived::Wrong => outcome.wrong += 1,
                Arrived::Expected => {}
            }
        }
    }
}

fn bind() -> Result<Leg> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    delay::stamp(&socket)?;
    Ok(Leg { socket, number: 0 })
}

fn send(socket: &UdpSocket, packet: &[u8]) -> Result<()> {
    match socket.send(packet) {
        Ok(_) => Ok(()),
        // An answer to an earlier packet while the subject was not ready; this packet was not sent: once more.
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            socket.send(packet).map(drop).context("cannot send")
        }
        Err(e) => Err(e).context("cannot send"),
    }
}
