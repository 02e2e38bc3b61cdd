//! A paced RTP generator: every leg sends 50 packets a second in its phase of a 20 ms frame, and every packet that comes
//! out of the other leg is checked byte by byte.

use crate::cpu;
use crate::subject::Subject;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use strowger_media::uring::schedule;

/// RTP header and 20 ms of G.711.
pub const PACKET_LEN: usize = 172;
const HEADER_LEN: usize = 12;
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
    /// Which packets of the other leg have come, by number.
    seen: Vec<bool>,
    last_sequence: Option<u16>,
}

/// Runs `subject` under `load`.
pub fn run(subject: &dyn Subject, load: Load) -> Result<Outcome> {
    let count = load.calls * 2;
    ensure!(count > 0, "at least one call is needed");
    let frames = (WARM_UP + Duration::from_secs(load.seconds)).as_millis() as usize / FRAME_SLOTS;
    let mut legs = (0..count)
        .map(|_| bind(frames))
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
    // A thread of its own: the subject must not inherit where and how urgently the generator runs.
    let outcome = std::thread::scope(|scope| {
        let generator = scope.spawn(|| {
            // Wishes: with fewer cores or rights the numbers are rougher, not wrong.
            let _ = schedule::pin_to_core(load.core);
            let _ = schedule::make_realtime();
            let _ = schedule::tighten_timers();
            drive(&mut legs, running.pid, frames)
        });
        generator
            .join()
            .map_err(|_| anyhow::anyhow!("the generator panicked"))?
    });
    drop(running);
    outcome
}

/// Sends `frames` packets on each leg and checks what comes back; measures process `pid` after the warm-up.
fn drive(legs: &mut [Leg], pid: u32, frames: usize) -> Result<Outcome> {
    let count = legs.len();
    let mut outcome = Outcome::default();
    let start = Instant::now() + Duration::from_millis(20);
    let warm_slots = WARM_UP.as_millis() as usize;
    let mut from = (Duration::ZERO, BTreeMap::new(), 0, start);
    let mut packet = [0; PACKET_LEN];
    for slot in 0..frames * FRAME_SLOTS {
        if slot == warm_slots {
            from = (
                cpu::of_process(pid)?,
                cpu::by_thread(pid)?,
                outcome.received,
                Instant::now(),
            );
        }
        let due = start + SLOT * slot as u32;
        let now = Instant::now();
        if now < due {
            std::thread::sleep(due - now);
        } else {
            outcome.late_max = outcome.late_max.max(now - due);
        }
        for index in (slot % FRAME_SLOTS..count).step_by(FRAME_SLOTS) {
            receive(legs, index, &mut outcome)?;
            let leg = &mut legs[index];
            fill(&mut packet, index, leg.number);
            leg.number += 1;
            send(&leg.socket, &packet)?;
            outcome.sent += 1;
        }
    }
    outcome.cpu = cpu::of_process(pid)?.saturating_sub(from.0);
    outcome.measured = from.3.elapsed();
    outcome.relayed = outcome.received - from.2;
    outcome.threads = cpu::by_thread(pid)?;
    for (name, time) in &mut outcome.threads {
        *time = time.saturating_sub(from.1.get(name).copied().unwrap_or_default());
    }
    let end = Instant::now() + DRAIN;
    while Instant::now() < end && outcome.received < outcome.sent {
        for index in 0..count {
            receive(legs, index, &mut outcome)?;
        }
        std::thread::sleep(SLOT);
    }
    Ok(outcome)
}

fn bind(frames: usize) -> Result<Leg> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    Ok(Leg {
        socket,
        number: 0,
        seen: vec![false; frames],
        last_sequence: None,
    })
}

/// The packet `number` of leg `leg`: an RTP header (RFC 3550 §5.1, payload type 0), who sent it, and a pattern.
fn fill(packet: &mut [u8; PACKET_LEN], leg: usize, number: u32) {
    let id = leg as u32;
    packet[0] = 0x80;
    packet[1] = 0;
    packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&number.wrapping_mul(160).to_be_bytes());
    packet[8..12].copy_from_slice(&(0x5151_0000 ^ id).to_be_bytes());
    packet[12..16].copy_from_slice(&id.to_be_bytes());
    packet[16..20].copy_from_slice(&number.to_be_bytes());
    for (i, byte) in packet[20..].iter_mut().enumerate() {
        *byte = pattern(leg, number, i);
    }
}

fn pattern(leg: usize, number: u32, i: usize) -> u8 {
    (leg as u32)
        .wrapping_mul(31)
        .wrapping_add(number.wrapping_mul(7))
        .wrapping_add(i as u32) as u8
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

fn receive(legs: &mut [Leg], index: usize, outcome: &mut Outcome) -> Result<()> {
    let Some(leg) = legs.get_mut(index) else {
        return Ok(());
    };
    let mut packet = [0; PACKET_LEN + 1];
    loop {
        match leg.socket.recv(&mut packet) {
            Ok(len) => check(leg, index, packet.get(..len).unwrap_or_default(), outcome),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(e) => return Err(e).context("cannot receive"),
        }
    }
}

/// Checks a packet that leg `index` received: it must be one of the other leg's, whole, once, next in sequence.
fn check(leg: &mut Leg, index: usize, packet: &[u8], outcome: &mut Outcome) {
    let other = index ^ 1;
    let Ok(packet) = <&[u8; PACKET_LEN]>::try_from(packet) else {
        outcome.wrong += 1;
        return;
    };
    let word = |at: usize| {
        u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
    };
    let number = word(16);
    let intact = packet[0] == 0x80
        && packet[1] & 0x7f == 0
        && word(HEADER_LEN) == other as u32
        && packet[20..]
            .iter()
            .enumerate()
            .all(|(i, &byte)| byte == pattern(other, number, i));
    match leg.seen.get_mut(number as usize) {
        Some(seen) if intact && !*seen => *seen = true,
        _ => {
            outcome.wrong += 1;
            return;
        }
    }
    outcome.received += 1;
    let sequence = u16::from_be_bytes([packet[2], packet[3]]);
    if leg
        .last_sequence
        .is_some_and(|last| sequence != last.wrapping_add(1))
    {
        outcome.sequence_breaks += 1;
    }
    leg.last_sequence = Some(sequence);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_counts_once_and_only_whole_from_the_right_leg() {
        let mut leg = bind(10).expect("a socket");
        let mut outcome = Outcome::default();
        let mut packet = [0; PACKET_LEN];
        fill(&mut packet, 7, 3);
        check(&mut leg, 6, &packet, &mut outcome);
        assert_eq!((outcome.received, outcome.wrong), (1, 0));
        check(&mut leg, 6, &packet, &mut outcome);
        assert_eq!((outcome.received, outcome.wrong), (1, 1), "twice");
        fill(&mut packet, 7, 4);
        packet[100] ^= 1;
        check(&mut leg, 6, &packet, &mut outcome);
        assert_eq!((outcome.received, outcome.wrong), (1, 2), "changed");
        fill(&mut packet, 5, 4);
        check(&mut leg, 6, &packet, &mut outcome);
        assert_eq!((outcome.received, outcome.wrong), (1, 3), "a foreign leg's");
        check(&mut leg, 6, &packet[..171], &mut outcome);
        assert_eq!((outcome.received, outcome.wrong), (1, 4), "cut off");
        assert_eq!(outcome.sequence_breaks, 0);
        fill(&mut packet, 7, 6);
        check(&mut leg, 6, &packet, &mut outcome);
        assert_eq!((outcome.received, outcome.sequence_breaks), (2, 1));
    }
}
