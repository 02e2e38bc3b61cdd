//! Whole calls over a seeded network: loss, delay, reordering, duplicates, wraps, restarts. Every seed is a call.

use super::*;
use crate::codec::g711::{ulaw_decode, ulaw_encode};
use std::collections::BTreeMap;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Faults {
    loss: u64,
    duplicates: u64,
    jitter_ms: u64,
    restarts: u64,
}

/// Packets with the millisecond at which they arrive, and how many were lost.
fn transmit(
    random: &mut Random,
    faults: &Faults,
    seconds: u64,
) -> (BTreeMap<(u64, u64), Vec<u8>>, u64) {
    let mut phone = Phone::new(random.next() as u32);
    phone.sequence = random.next() as u16;
    phone.timestamp = random.next() as u32;
    let mut wire = BTreeMap::new();
    let mut lost = 0;
    let mut order = 0;
    for n in 0..seconds * 50 {
        if n > 0 && n % 50 == 0 && random.chance(faults.restarts) {
            phone.ssrc = random.next() as u32;
            phone.sequence = random.next() as u16;
            phone.timestamp = random.next() as u32;
        }
        // Four bytes of each packet say which one it is.
        let mut payload = [ulaw_encode(3000); 160];
        payload[..4].copy_from_slice(&(n as u32).to_be_bytes());
        let packet = phone.packet(&payload);
        phone.timestamp = phone.timestamp.wrapping_add(160);
        // The last packet always comes, or nobody could know what was lost before it.
        if n % 50 != 49 && n % 50 != 0 && random.chance(faults.loss) {
            lost += 1;
            continue;
        }
        let copies = if random.chance(faults.duplicates) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            // A restart does not overtake what was before it.
            let spread = if faults.restarts > 0 {
                1
            } else {
                faults.jitter_ms + 1
            };
            let at = n * 20 + random.below(spread);
            wire.insert((at, order), packet.clone());
            order += 1;
        }
    }
    (wire, lost)
}

fn faults(seed: u64) -> Faults {
    match seed % 4 {
        0 => Faults {
            loss: 0,
            duplicates: 0,
            jitter_ms: 0,
            restarts: 0,
        },
        1 => Faults {
            loss: 10,
            duplicates: 5,
            jitter_ms: 60,
            restarts: 0,
        },
        2 => Faults {
            loss: 30,
            duplicates: 20,
            jitter_ms: 150,
            restarts: 0,
        },
        _ => Faults {
            loss: 5,
            duplicates: 5,
            jitter_ms: 0,
            restarts: 50,
        },
    }
}

#[test]
fn whatever_the_network_does_the_listener_has_one_stream_and_the_counts_are_right() {
    for seed in 1..60u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let faults = faults(seed);
        let (wire, lost) = transmit(&mut random, &faults, 20);
        let (mut rig, a, _) = Rig::bridged();
        let mut heard: BTreeMap<u16, (u32, u32)> = BTreeMap::new();
        let mut first = None;
        for ((at, _), packet) in &wire {
            let due = rig.start + Duration::from_millis(*at);
            if due > rig.now {
                let wait = (due - rig.now).as_millis() as u64;
                rig.pass(wait);
            }
            let Some(sent) = rig.receive(a, packet) else {
                continue;
            };
            let header = sent.header();
            let number = u32::from_be_bytes(sent.payload()[..4].try_into().unwrap());
            first.get_or_insert((header.timestamp, number));
            assert_eq!(header.ssrc, 0x1000_0002);
            let before = heard.insert(
                header.sequence.wrapping_sub(1000),
                (header.timestamp, number),
            );
            assert_eq!(before, None, "seed {seed}: sequence number sent twice");
        }
        let stats = rig.stats(A);
        // Nothing is out of order to who sorts by sequence number, and time runs as it did at the speaker.
        let sorted: Vec<(u32, u32)> = {
            // Packets that overtook the first one come before it.
            let (head, tail): (Vec<_>, Vec<_>) = heard.iter().partition(|(s, _)| **s > 32_768);
            head.into_iter().chain(tail).map(|(_, v)| *v).collect()
        };
        for pair in sorted.windows(2) {
            let ((t0, n0), (t1, n1)) = (pair[0], pair[1]);
            assert!(n1 > n0, "seed {seed}: {n0} then {n1}");
            let units = t1.wrapping_sub(t0);
            let expected = (n1 - n0) * 160;
            assert!(
                units == expected || (faults.restarts > 0 && units.abs_diff(expected) <= 320),
                "seed {seed}: {units} units between packets {n0} and {n1}"
            );
        }
        let unique = wire
            .values()
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        // What overtook the first packet of all cannot be put before it any more.
        let accepted = heard.len() as u64 + stats.drops.late + rig.stats(B).drops.late;
        assert!(
            accepted >= unique as u64,
            "seed {seed}: {accepted} of {unique}"
        );
        assert_eq!(
            stats.duplicates + stats.late,
            (wire.len() - unique) as u64 + stats.late,
            "seed {seed}"
        );
        assert_eq!(stats.lost, lost, "seed {seed}");
        assert_eq!(stats.packets_received, wire.len() as u64);
    }
}

#[test]
fn recordings_of_a_bad_network_are_as_long_as_the_call_and_keep_time() {
    for seed in 1..40u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let faults = faults(seed);
        let (wire, lost) = transmit(&mut random, &faults, 20);
        let (mut rig, a, _) = Rig::bridged();
        rig.record(1, A, TapMode::Receive, |_| ());
        rig.record(2, B, TapMode::Transmit, |_| ());
        for ((at, _), packet) in &wire {
            let due = rig.start + Duration::from_millis(*at);
            if due > rig.now {
                let wait = (due - rig.now).as_millis() as u64;
                rig.pass(wait);
            }
            rig.receive(a, packet);
        }
        let end = rig.start + Duration::from_millis(20_200);
        let wait = (end - rig.now).as_millis() as u64;
        rig.pass(wait);
        rig.stop_record(1, A, 0);
        rig.stop_record(2, B, 0);
        let level = i32::from(ulaw_decode(ulaw_encode(3000)));
        for id in [1, 2] {
            let samples = &rig.files[&RecorderId(id)].samples;
            assert_eq!(samples.len(), 161_600, "seed {seed}");
            let full = samples.iter().filter(|&&s| i32::from(s) == level).count() as i64;
            let expected = (1000 - lost as i64) * 156;
            // Not every packet is in time, and where the anchor moves a few samples overlap.
            let missing = expected - full;
            let allowed = if faults.jitter_ms > 0 {
                expected / 50
            } else {
                1600
            };
            assert!(
                (-800..=allowed).contains(&missing),
                "seed {seed}, recorder {id}: {missing} of {expected} samples are missing"
            );
            // The last packets of the call are at its end, not before and not behind.
            let last = samples
                .iter()
                .rposition(|&s| i32::from(s) == level)
                .unwrap();
            assert!(
                (160_000 - 160..=160_000 + 8 * (faults.jitter_ms as usize + 20)).contains(&last),
                "seed {seed}: speech ends at {last}"
            );
        }
    }
}

#[test]
fn a_way_that_nothing_else_uses_is_kept_open() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.pass(3000);
    assert!(rig.take_sent(a).is_empty(), "nothing is wanted");
    rig.configure(A, |negotiated| {
        negotiated.keepalive_s = 2;
        negotiated.sending = false;
    });
    let began = rig.now - rig.start;
    rig.pass(5000);
    let sent = rig.take_sent(a);
    let times: Vec<_> = sent
        .iter()
        .map(|sent| (sent.at - began).as_millis() / 1000)
        .collect();
    assert_eq!(times, [0, 2, 4], "at once, and when two seconds have gone");
    for pair in sent.windows(2) {
        let [first, second] = pair else {
            unreachable!()
        };
        let (first, second) = (first.header(), second.header());
        assert_eq!(second.sequence, first.sequence.wrapping_add(1));
        let step = second.timestamp.wrapping_sub(first.timestamp);
        assert!((16_000..=17_700).contains(&step), "time goes on: {step}");
    }
    for sent in &sent {
        assert_eq!(sent.transmit.dest, remote(A));
        assert_eq!(
            (sent.header().payload_type, sent.header().marker),
            (13, false)
        );
        assert_eq!(sent.payload(), [127]);
    }
}

#[test]
fn what_is_spoken_keeps_the_way_open_by_itself() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(B, |negotiated| negotiated.keepalive_s = 1);
    let mut phone = Phone::new(7);
    for _ in 0..150 {
        rig.receive(a, &phone.say(1));
        rig.pass(20);
    }
    assert!(
        rig.take_sent(b).is_empty(),
        "packets of the other side are enough"
    );
    rig.pass(1500);
    assert_eq!(rig.take_sent(b).len(), 1);
    let next = rig.receive(a, &phone.say(1)).expect("relayed");
    assert!(next.header().marker, "the voice begins anew");
}
