//! An hour of a call in virtual time: loss, reordering, and two telephones whose clocks run differently. Both sides of the
//! recording stay in step with the time of the call from beginning to end.

use super::*;
use crate::codec::g711::{ulaw_decode, ulaw_encode};

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

const SECONDS: u64 = 3600;
/// Every ten seconds there is a click of one packet, in both directions.
const CLICK_EVERY: u64 = 10;
const LEVEL: i16 = 8000;
/// The recordings of each side stay within this of each other.
const IN_STEP: i64 = 20 * 8;

/// When by the true clock, in microseconds, where and what.
type Arrival = (u64, Slot, Vec<u8>);

/// One telephone: what arrives, and when its clicks were sent.
fn telephone(random: &mut Random, ppm: i64, slot: Slot) -> (Vec<Arrival>, Vec<i64>) {
    let mut phone = Phone::new(slot.0 + 7);
    let (mut wire, mut clicks) = (Vec::new(), Vec::new());
    let quiet = [ulaw_encode(0); 160];
    let loud = [ulaw_encode(LEVEL); 160];
    let mut next = 0;
    for n in 0..SECONDS * 50 {
        // A fast clock makes its 20 ms too short.
        let sent = (n as i64 * 20_000 * 1_000_000 / (1_000_000 + ppm)) as u64;
        // The click is at a true time: the first packet from there on.
        let click = sent >= next;
        if click {
            next += CLICK_EVERY * 1_000_000;
            clicks.push(sent as i64 * 8 / 1000);
        }
        let packet = phone.packet(if click { &loud } else { &quiet });
        phone.timestamp = phone.timestamp.wrapping_add(160);
        // Two in a hundred are lost, but no click is.
        if !click && random.below(100) < 2 {
            continue;
        }
        // Up to 15 ms late; one in fifty takes 60 ms and is overtaken.
        let late = if !click && random.below(50) == 0 {
            60_000
        } else {
            random.below(15_000)
        };
        wire.push((sent + late, slot, packet));
    }
    wire.retain(|(at, ..)| *at < SECONDS * 1_000_000);
    clicks.truncate((SECONDS / CLICK_EVERY) as usize);
    (wire, clicks)
}

/// Where each click begins.
fn clicks(samples: &[i16]) -> Vec<i64> {
    let level = ulaw_decode(ulaw_encode(LEVEL));
    let mut found: Vec<i64> = Vec::new();
    for (at, _) in samples.iter().enumerate().filter(|(_, s)| **s == level) {
        let at = at as i64;
        if found.last().is_none_or(|last| at - last > 8000) {
            found.push(at);
        }
    }
    found
}

#[test]
fn an_hour_of_loss_reordering_and_drift_leaves_both_sides_in_step() {
    for (seed, ppm) in [(1, (200, -200)), (2, (-200, 200)), (3, (0, 137))] {
        let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let (mut rig, a, b) = Rig::bridged();
        rig.record(1, A, TapMode::Receive, |_| ());
        rig.record(2, A, TapMode::Transmit, |_| ());
        let (mut wire, spoken) = telephone(&mut random, ppm.0, a);
        let (other, answered) = telephone(&mut random, ppm.1, b);
        wire.extend(other);
        wire.sort_by_key(|(at, ..)| *at);
        let mut turn = 0;
        for (at, slot, packet) in &wire {
            // Turns of the clock only as often as the recorders need them.
            while turn + 20_000 <= *at {
                turn += 20_000;
                rig.now = rig.start + Duration::from_micros(turn);
                rig.tick();
            }
            rig.now = rig.start + Duration::from_micros(*at);
            rig.receive(*slot, packet);
        }
        rig.now = rig.start + Duration::from_secs(SECONDS);
        rig.stop_record(1, A, 0);
        rig.stop_record(2, A, 0);
        let [received, transmitted] = [1, 2].map(|id| &rig.files[&RecorderId(id)].samples);
        assert_eq!(received.len() as u64, SECONDS * 8000, "seed {seed}");
        assert_eq!(received.len(), transmitted.len(), "seed {seed}");
        let (heard, said) = (clicks(received), clicks(transmitted));
        assert_eq!(heard.len() as u64, SECONDS / CLICK_EVERY, "seed {seed}");
        assert_eq!(heard.len(), said.len(), "seed {seed}");
        for n in 0..heard.len() {
            let (late_a, late_b) = (heard[n] - spoken[n], said[n] - answered[n]);
            assert!(
                (late_a - late_b).abs() <= IN_STEP,
                "seed {seed}: click {n} is {late_a} samples late on one side and {late_b} on the other"
            );
            assert!(
                late_a.abs() <= IN_STEP && late_b.abs() <= IN_STEP,
                "seed {seed}: click {n} is {late_a} and {late_b} samples late"
            );
        }
    }
}
