//! A seeded network in virtual time, and what has to hold whatever it does.

use std::collections::BTreeMap;

use super::*;

const RATE: u32 = 8000;
const FRAME: usize = 160;
const TONE_HZ: f64 = 200.0;

/// xorshift64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// Payloads carry their number and length; the audio is a tone that is continuous over packets.
#[derive(Default)]
struct Listener {
    decoded: Vec<u32>,
    concealed: usize,
    copies: usize,
    noise: usize,
    resets: usize,
    last: i16,
}

fn tone(n: u64) -> i16 {
    let turn = n as f64 * TONE_HZ / f64::from(RATE);
    ((turn * std::f64::consts::TAU).sin() * 8000.0) as i16
}

impl Decode for Listener {
    fn decode(&mut self, _: u8, payload: &[u8], out: &mut [i16]) -> Decoded {
        let Some(&[a, b, c, d, e, f, g, h, high, low]) = payload.first_chunk::<10>() else {
            return Decoded::default();
        };
        let number = u32::from_be_bytes([a, b, c, d]);
        let first = u64::from(u32::from_be_bytes([e, f, g, h]));
        let samples = usize::from(u16::from_be_bytes([high, low]));
        self.decoded.push(number);
        for (n, s) in out.iter_mut().take(samples).enumerate() {
            *s = tone(first + n as u64);
            self.last = *s;
        }
        Decoded {
            samples,
            pause: false,
        }
    }

    fn conceal(&mut self, next: Option<(u8, &[u8])>, _: &[i16], out: &mut [i16]) {
        self.concealed += out.len();
        self.copies += usize::from(next.is_some());
        out.fill(0);
    }

    fn describe_noise(&mut self, _: &[u8]) {}

    fn noise(&mut self, _: &[i16], out: &mut [i16]) {
        self.noise += out.len();
        out.fill(1);
    }

    fn reset(&mut self) {
        self.resets += 1;
    }
}

/// A sender, a network and a listener.
struct Rig {
    start: Instant,
    buffer: JitterBuffer,
    listener: Listener,
    /// What is on its way: arrival in microseconds, then in the order of sending.
    on_way: BTreeMap<(u64, u32), Packet>,
    chance: Chance,
    sent: u32,
    heard: Vec<i16>,
    frames: u64,
    /// Sender's time over ours, parts in a million more.
    drift_ppm: i64,
    ptime_ms: u64,
    sequence: u16,
    timestamp: u32,
    /// When the sender speaks next, microseconds.
    speaks: u64,
    samples: u64,
    delays: Vec<u32>,
}

#[derive(Clone)]
struct Packet {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    restart: bool,
    kind: Option<u8>,
    units: u32,
    payload: Vec<u8>,
}

/// What the network does to a packet: `None` loses it, else its delays in microseconds (two: a duplicate).
type Fate = Option<Vec<u64>>;

impl Rig {
    fn new(seed: u64) -> Self {
        let start = Instant::now();
        let setup = Setup {
            clock_rate: RATE,
            rate: RATE,
            min_ms: 20,
            max_ms: 300,
            bytes: 16_384,
        };
        Self {
            start,
            buffer: JitterBuffer::new(start, setup),
            listener: Listener::default(),
            on_way: BTreeMap::new(),
            chance: Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            sent: 0,
            heard: Vec::new(),
            frames: 0,
            drift_ppm: 0,
            ptime_ms: 20,
            sequence: 65_000,
            timestamp: u32::MAX - 30_000,
            speaks: 3000,
            samples: 0,
            delays: Vec::new(),
        }
    }

    fn speak(&mut self, fate: &mut dyn FnMut(&mut Chance, u64) -> Fate, restart: bool) {
        let samples = self.ptime_ms * 8;
        let mut payload = self.sent.to_be_bytes().to_vec();
        payload.extend((self.samples as u32).to_be_bytes());
        payload.extend((samples as u16).to_be_bytes());
        payload.resize(samples as usize, 0);
        let packet = Packet {
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: restart,
            restart,
            kind: Some(0),
            units: samples as u32,
            payload,
        };
        let at = self.speaks;
        for delay in fate(&mut self.chance, at / 1000).into_iter().flatten() {
            let mut key = (at + delay, self.sent);
            while self.on_way.contains_key(&key) {
                key.0 += 1;
            }
            self.on_way.insert(key, packet.clone());
        }
        self.sent += 1;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(samples as u32);
        self.samples += samples;
        self.pass_speaking_time();
    }

    fn pass_speaking_time(&mut self) {
        let nominal = self.ptime_ms as i64 * 1000;
        // A part of a microsecond a packet matters at 300 ppm: 6 us of 20 ms.
        self.speaks += (nominal - nominal * self.drift_ppm / 1_000_000) as u64;
    }

    /// Lets so many turns pass.
    fn run(&mut self, turns: u64, fate: &mut dyn FnMut(&mut Chance, u64) -> Fate) {
        for _ in 0..turns {
            self.frames += 1;
            let now_us = self.frames * 20_000;
            while self.speaks <= now_us {
                self.speak(fate, false);
            }
            self.hear(now_us);
        }
    }

    fn hear(&mut self, now_us: u64) {
        while let Some(entry) = self.on_way.first_entry()
            && entry.key().0 <= now_us
        {
            let ((at, _), packet) = entry.remove_entry();
            self.insert(at, &packet);
        }
        let at = self.start + Duration::from_micros(now_us);
        self.buffer.turn(at, &mut self.listener);
        let frame = self.buffer.frame();
        assert_eq!(frame.len(), FRAME, "the frame is full");
        self.heard.extend_from_slice(frame);
        self.delays.push(self.buffer.report().delay_ms);
    }

    fn insert(&mut self, at_us: u64, packet: &Packet) {
        let incoming = Incoming {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            restart: packet.restart,
            kind: packet.kind,
            units: packet.units,
            payload: &packet.payload,
        };
        self.buffer
            .insert(self.start + Duration::from_micros(at_us), &incoming);
    }

    fn in_order(&self) {
        for pair in self.listener.decoded.windows(2) {
            assert!(pair[0] < pair[1], "{} after {}", pair[1], pair[0]);
        }
    }

    fn delay_ms(&self) -> u32 {
        self.buffer.report().delay_ms
    }

    /// The tone's largest step is 1 256; a seam must not make one that is much larger.
    fn seamless(&self, from: usize) {
        let steepest = self.heard[from..]
            .windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
            .max();
        assert!(steepest < Some(1900), "{steepest:?}");
    }
}

fn calm(_: &mut Chance, _: u64) -> Fate {
    Some(vec![30_000])
}

#[test]
fn a_calm_network_is_heard_whole_with_little_delay() {
    for ptime in [10, 20, 30, 40, 50, 60] {
        let mut rig = Rig::new(1);
        rig.ptime_ms = ptime;
        rig.run(500, &mut calm);
        let report = rig.buffer.report();
        rig.in_order();
        assert_eq!(
            (
                report.late,
                report.concealed,
                report.underruns,
                report.shortened
            ),
            (0, 0, 0, 0),
            "{ptime} ms"
        );
        assert!(report.delay_ms_max <= 60, "{ptime} ms: {report:?}");
        assert!(
            rig.listener.decoded.len() as u64 + 6 > 500 * 20 / ptime,
            "{ptime} ms"
        );
        rig.seamless(10 * FRAME);
    }
}

#[test]
fn no_loss_when_the_network_loses_nothing_and_jitters_less_than_the_maximum() {
    for seed in 1..=12 {
        for jitter_ms in [5, 20, 60, 120, 200] {
            let mut rig = Rig::new(seed);
            let mut fate =
                |chance: &mut Chance, _| Some(vec![20_000 + chance.below(jitter_ms * 1000)]);
            rig.run(1000, &mut fate);
            let before = rig.buffer.report();
            rig.run(3000, &mut fate);
            let after = rig.buffer.report();
            rig.in_order();
            let what = format!("seed {seed}, {jitter_ms} ms: {before:?} {after:?}");
            assert_eq!(after.late, before.late, "{what}");
            assert_eq!(after.concealed, before.concealed, "{what}");
            assert_eq!(after.overflowed, 0, "{what}");
            assert!(u64::from(after.delay_ms) <= jitter_ms + 65, "{what}");
        }
    }
}

#[test]
fn a_sender_whose_clock_drifts_never_starves_nor_grows_the_delay() {
    for ppm in [-300, -100, 100, 300] {
        let mut rig = Rig::new(7);
        rig.drift_ppm = ppm;
        // Twenty minutes.
        rig.run(60_000, &mut |chance, _| {
            Some(vec![20_000 + chance.below(8000)])
        });
        rig.in_order();
        let report = rig.buffer.report();
        assert_eq!(
            (report.late, report.concealed),
            (0, 0),
            "{ppm} ppm: {report:?}"
        );
        assert!(report.delay_ms_max <= 70, "{ppm} ppm: {report:?}");
        // 300 ppm of 20 minutes are 2880 samples; corrections go mostly one way.
        let expected = (1200 * 8 * ppm / 1000).unsigned_abs();
        let corrected = report.stretched.abs_diff(report.shortened);
        assert!(corrected.abs_diff(expected) <= 400, "{ppm} ppm: {report:?}");
        assert!(
            report.stretched.min(report.shortened) <= 400,
            "{ppm} ppm: {report:?}"
        );
        rig.seamless(10 * FRAME);
    }
}

#[test]
fn losses_are_concealed_as_long_as_they_last_and_no_longer() {
    for seed in 1..=8 {
        let mut rig = Rig::new(seed);
        let mut lost = 0u64;
        let mut burst = 0u64;
        rig.run(3000, &mut |chance, _| {
            if burst > 0 {
                burst -= 1;
                lost += 1;
                return None;
            }
            if chance.below(100) < 3 {
                burst = chance.below(4);
                lost += 1;
                return None;
            }
            Some(vec![20_000 + chance.below(10_000)])
        });
        rig.in_order();
        let report = rig.buffer.report();
        assert_eq!(report.late, 0, "seed {seed}: {report:?}");
        let missing = lost * 160;
        assert!(
            report.concealed.abs_diff(missing) <= missing / 20 + 320,
            "seed {seed}: {missing} samples lost, {report:?}"
        );
        assert!(
            rig.listener.copies > 0,
            "the packet after a loss is offered for its copy"
        );
        assert!(report.delay_ms_max <= 80, "seed {seed}: {report:?}");
    }
}

#[test]
fn a_spike_of_delay_passes_and_the_delay_returns() {
    for seed in 1..=6 {
        let mut rig = Rig::new(seed);
        // The network stops for 180 ms now and then and delivers what it held at once.
        rig.run(500, &mut calm);
        let before = rig.delay_ms();
        rig.run(150, &mut |_, ms| {
            let into = ms % 1500;
            Some(vec![30_000 + 1000 * 180u64.saturating_sub(into)])
        });
        assert!(rig.delay_ms() >= 100, "it learns: {}", rig.delay_ms());
        rig.run(3000, &mut calm);
        assert!(
            rig.delay_ms() <= before + 25,
            "{} after {before}",
            rig.delay_ms()
        );
        rig.in_order();
    }
}

#[test]
fn another_route_is_followed_up_and_down() {
    let mut rig = Rig::new(3);
    let level = |rig: &mut Rig, ms: u64| {
        rig.run(1500, &mut |chance, _| {
            Some(vec![ms * 1000 + chance.below(5000)])
        });
        let late = rig.buffer.report();
        rig.run(500, &mut |chance, _| {
            Some(vec![ms * 1000 + chance.below(5000)])
        });
        let now = rig.buffer.report();
        assert_eq!(
            (now.late, now.concealed),
            (late.late, late.concealed),
            "at {ms} ms"
        );
        assert!(now.delay_ms <= 65, "at {ms} ms: {now:?}");
        rig.in_order();
    };
    for ms in [20, 140, 30, 250, 10, 600, 20] {
        level(&mut rig, ms);
    }
}

#[test]
fn duplicates_and_reordering_are_put_right() {
    let mut rig = Rig::new(5);
    rig.run(2000, &mut |chance, _| {
        let delay = if chance.below(10) == 0 {
            45_000
        } else {
            20_000
        };
        let mut fate = vec![delay];
        if chance.below(5) == 0 {
            fate.push(delay + chance.below(30_000));
        }
        Some(fate)
    });
    rig.in_order();
    let report = rig.buffer.report();
    let distinct = rig.listener.decoded.len() as u32;
    assert!(
        distinct + 5 >= rig.sent,
        "{distinct} of {}: {report:?}",
        rig.sent
    );
}

#[test]
fn a_pause_is_filled_with_noise_and_ends_in_time() {
    let mut rig = Rig::new(9);
    for _ in 0..20 {
        rig.run(50, &mut |chance, _| {
            Some(vec![20_000 + chance.below(10_000)])
        });
        // Comfort noise is described, then nothing comes for 700 ms.
        let noise = Packet {
            sequence: rig.sequence,
            timestamp: rig.timestamp,
            marker: false,
            restart: false,
            kind: None,
            units: 0,
            payload: vec![40],
        };
        rig.sequence = rig.sequence.wrapping_add(1);
        rig.on_way.insert((rig.speaks + 20_000, rig.sent), noise);
        rig.timestamp = rig.timestamp.wrapping_add(35 * 160);
        rig.speaks += 700_000;
        rig.sent += 1;
    }
    rig.run(40, &mut calm);
    rig.in_order();
    let report = rig.buffer.report();
    assert_eq!(
        (report.concealed, report.late, report.resyncs),
        (0, 0, 0),
        "{report:?}"
    );
    let expected = 20 * 35 * FRAME;
    assert!(
        rig.listener.noise.abs_diff(expected) <= expected / 10,
        "{} of {expected}",
        rig.listener.noise
    );
    assert!(report.delay_ms_max <= 70, "{report:?}");
}

#[test]
fn another_stream_goes_on_where_the_last_one_ended() {
    let mut rig = Rig::new(11);
    let mut total = 0;
    for n in 0..10u32 {
        rig.run(100, &mut calm);
        rig.timestamp = rig.timestamp.wrapping_mul(2_654_435_761).wrapping_add(n);
        rig.sequence = rig.sequence.wrapping_mul(40_503).wrapping_add(7);
        rig.speak(&mut calm, true);
        total = rig.sent;
    }
    rig.run(100, &mut calm);
    rig.in_order();
    let report = rig.buffer.report();
    assert_eq!(rig.listener.resets, 10);
    assert_eq!(report.resyncs, 10);
    assert_eq!((report.late, report.overflowed), (0, 0), "{report:?}");
    assert!(
        rig.listener.decoded.len() as u32 >= total,
        "nothing of either is lost"
    );
    assert!(rig.delay_ms() <= 65, "{report:?}");
}

#[test]
fn timestamps_that_jump_within_a_stream_are_followed() {
    for jump in [160_000u32, 4_000_000_000, 5000, u32::MAX - 8000] {
        let mut rig = Rig::new(13);
        rig.run(200, &mut calm);
        rig.timestamp = rig.timestamp.wrapping_add(jump);
        rig.run(300, &mut calm);
        rig.in_order();
        let report = rig.buffer.report();
        assert!(report.resyncs >= 1, "{jump}: {report:?}");
        assert!(report.late <= 2, "{jump}: {report:?}");
        assert!(rig.delay_ms() <= 65, "{jump}: {report:?}");
        assert!(rig.listener.decoded.len() >= 490, "{jump}");
    }
}

#[test]
fn timestamps_that_stand_still_are_placed_by_the_clock() {
    let mut rig = Rig::new(15);
    for _ in 0..500 {
        rig.run(1, &mut calm);
        rig.timestamp = 77;
    }
    rig.in_order();
    assert!(
        rig.listener.decoded.len() >= 480,
        "{}",
        rig.listener.decoded.len()
    );
    assert!(rig.delay_ms() <= 65);
}

#[test]
fn a_stall_of_ours_costs_no_packet_and_a_long_one_no_delay() {
    let mut rig = Rig::new(17);
    rig.run(200, &mut calm);
    let before = rig.buffer.report();
    // Packets of 80 ms are fetched together, then the missed turns are made up for.
    let stall = |rig: &mut Rig, turns: u64, made_up: u64| {
        let end = (rig.frames + turns) * 20_000;
        while rig.speaks <= end {
            rig.speak(&mut calm, false);
        }
        while let Some(entry) = rig.on_way.first_entry()
            && entry.key().0 <= end
        {
            let packet = entry.remove();
            rig.insert(end, &packet);
        }
        rig.frames += turns - made_up;
        for _ in 0..made_up {
            rig.frames += 1;
            rig.hear(rig.frames * 20_000);
        }
    };
    stall(&mut rig, 4, 4);
    rig.run(300, &mut calm);
    let after = rig.buffer.report();
    assert_eq!(
        (after.late, after.concealed),
        (before.late, before.concealed),
        "{after:?}"
    );
    assert_eq!(
        after.stretched, before.stretched,
        "it was not the network: {after:?}"
    );
    // A second: five turns are made up for, the rest is given up.
    stall(&mut rig, 50, 5);
    rig.run(50, &mut calm);
    let long = rig.buffer.report();
    assert_eq!(long.resyncs, after.resyncs + 1, "{long:?}");
    assert!(rig.delay_ms() <= before.delay_ms + 25, "{long:?}");
    rig.in_order();
}

#[test]
fn whatever_the_network_does_frames_come_and_the_delay_is_bounded() {
    for seed in 1..=40 {
        let mut rig = Rig::new(seed);
        rig.drift_ppm = rig.chance.below(600) as i64 - 300;
        for _ in 0..30 {
            let (loss, jitter, base) = (
                rig.chance.below(30),
                rig.chance.below(400_000),
                rig.chance.below(800_000),
            );
            rig.ptime_ms = 10 * (1 + rig.chance.below(6));
            match rig.chance.below(6) {
                0 => rig.timestamp = rig.chance.next() as u32,
                1 => rig.sequence = rig.chance.next() as u16,
                2 => rig.speaks += rig.chance.below(3_000_000),
                _ => {}
            }
            rig.run(100, &mut |chance, _| {
                let late = base + chance.below(jitter);
                (chance.below(100) >= loss).then(|| vec![late; 1 + chance.below(8) as usize / 7])
            });
        }
        rig.run(2000, &mut calm);
        let end = rig.buffer.report();
        assert!(end.delay_ms <= 120, "seed {seed}: {end:?}");
        assert!(end.delay_ms_max <= 300 + 230, "seed {seed}: {end:?}");
        let decoded = rig.listener.decoded.len();
        rig.run(500, &mut calm);
        let after = rig.buffer.report();
        assert_eq!(after.concealed, end.concealed, "seed {seed}: {after:?}");
        assert!(rig.listener.decoded.len() > decoded, "seed {seed}");
    }
}
