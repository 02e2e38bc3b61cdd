//! Presses out of packets and packets out of presses, alone and over a network that loses and mixes them.

use super::*;
use crate::rtp::packet::Header;
use crate::rtp::receive::{Arrival, Receiver};
use proptest::prelude::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn hear(listener: &mut Listener, now: Instant, packet: EventPacket) -> Vec<Press> {
    let mut all = Vec::new();
    listener.packet(now, packet, |press| all.push(press));
    all
}

fn presses(listener: &mut Listener, now: Instant, timestamp: u32, payload: Payload) -> Vec<Press> {
    let packet = EventPacket {
        timestamp,
        marker: false,
        payload,
    };
    hear(listener, now, packet)
}

fn expired(listener: &mut Listener, now: Instant) -> Vec<Press> {
    let mut all = Vec::new();
    listener.expire(now, |press| all.push(press));
    all
}

fn event(event: u8, duration: u16, end: bool) -> Payload {
    Payload {
        event,
        end,
        volume: 10,
        duration,
    }
}

/// All packets of the waiting digits.
fn packets(keypad: &mut Keypad) -> Vec<(Payload, Place)> {
    let mut all = Vec::new();
    loop {
        match keypad.step() {
            Key::Event { payload, place } => all.push((payload, place)),
            Key::Pause => {}
            Key::Idle => return all,
        }
    }
}

#[test]
fn a_digit_is_sent_with_growing_duration_and_three_ends() {
    let mut keypad = Keypad::default();
    assert!(keypad.press('#', 90));
    let sent = packets(&mut keypad);
    let expected: Vec<(Payload, Place)> = [
        (160, false, Place::First),
        (320, false, Place::Next),
        (480, false, Place::Next),
        (640, false, Place::Next),
        (800, true, Place::Next),
        (800, true, Place::Next),
        (800, true, Place::Next),
    ]
    .map(|(duration, end, place)| (event(11, duration, end), place))
    .to_vec();
    assert_eq!(sent, expected);
    assert!(!keypad.is_busy());
    assert!(!keypad.press('x', 100));
}

#[test]
fn waiting_digits_follow_after_a_gap_and_only_so_many_wait() {
    let mut keypad = Keypad::default();
    for _ in 0..QUEUE_MAX {
        assert!(keypad.press('5', 40));
    }
    assert!(!keypad.press('5', 40));
    assert!(!keypad.hold('5'));
    let firsts = packets(&mut keypad)
        .iter()
        .filter(|(_, place)| *place == Place::First)
        .count();
    assert_eq!(firsts, QUEUE_MAX);
}

#[test]
fn a_held_key_lasts_as_long_as_it_is_told_when_released() {
    let mut keypad = Keypad::default();
    assert!(keypad.hold('4'));
    for _ in 0..3 {
        assert!(matches!(keypad.step(), Key::Event { payload, .. } if !payload.end));
    }
    keypad.release(100);
    let rest = packets(&mut keypad);
    assert_eq!(rest.len(), 4);
    assert_eq!(rest.last().map(|(p, _)| *p), Some(event(4, 800, true)));
    // Released before its turn came, and later than it lasts.
    assert!(keypad.hold('1'));
    keypad.release(40);
    assert_eq!(packets(&mut keypad).len(), 4);
    assert!(keypad.hold('2'));
    for _ in 0..10 {
        keypad.step();
    }
    keypad.release(40);
    assert!(
        matches!(keypad.step(), Key::Event { payload, .. } if payload.end && payload.duration == 11 * 160)
    );
    // Nobody releases it.
    packets(&mut keypad);
    assert!(keypad.hold('3'));
    assert_eq!(packets(&mut keypad).len(), 60_000 / 20 + 2);
}

#[test]
fn a_press_is_told_once_whatever_is_repeated_or_reordered() {
    let now = Instant::now();
    let mut listener = Listener::default();
    assert_eq!(
        presses(&mut listener, now, 1000, event(5, 160, false)),
        [Press::Begin('5')]
    );
    assert!(presses(&mut listener, now, 1000, event(5, 480, false)).is_empty());
    assert!(presses(&mut listener, now, 1000, event(5, 320, false)).is_empty());
    assert_eq!(
        presses(&mut listener, now, 1000, event(5, 800, true)),
        [Press::End('5', 100)]
    );
    assert!(presses(&mut listener, now, 1000, event(5, 800, true)).is_empty());
    assert!(presses(&mut listener, now, 1000, event(5, 640, false)).is_empty());
    assert_eq!(
        presses(&mut listener, now, 3000, event(5, 160, false)),
        [Press::Begin('5')]
    );
    assert!(presses(&mut listener, now, 1000, event(5, 800, true)).is_empty());
}

#[test]
fn lost_beginnings_and_ends_are_made_up_for() {
    let now = Instant::now();
    let mut listener = Listener::default();
    assert_eq!(
        presses(&mut listener, now, 10, event(1, 800, true)),
        [Press::Begin('1'), Press::End('1', 100)]
    );
    presses(&mut listener, now, 2000, event(2, 400, false));
    assert_eq!(
        presses(&mut listener, now, 4000, event(3, 160, false)),
        [Press::End('2', 50), Press::Begin('3')]
    );
    assert!(expired(&mut listener, now + ms(100)).is_empty());
    assert_eq!(expired(&mut listener, now + ms(300)), [Press::End('3', 20)]);
    assert!(expired(&mut listener, now + ms(300)).is_empty());
    let late = presses(&mut listener, now + ms(310), 4000, event(3, 4000, true));
    assert!(late.is_empty(), "its end has been told");
}

#[test]
fn a_sender_that_is_back_at_audio_has_let_the_key_go() {
    let now = Instant::now();
    let mut listener = Listener::default();
    presses(&mut listener, now, 10, event(6, 400, false));
    let mut told = Vec::new();
    listener.audio(now + ms(60), |press| told.push(press));
    assert!(told.is_empty(), "audio may be sent beside events");
    listener.audio(now + ms(160), |press| told.push(press));
    assert_eq!(told, [Press::End('6', 50)]);
    assert!(!listener.is_down());
}

#[test]
fn a_long_press_in_segments_is_one_press() {
    let now = Instant::now();
    for before in [u16::MAX, 65_000] {
        let mut listener = Listener::default();
        // The last packet of the first segment may be lost.
        presses(&mut listener, now, 0, event(9, before, false));
        assert!(presses(&mut listener, now, 65535, event(9, 160, false)).is_empty());
        assert!(presses(&mut listener, now, 0, event(9, 64_000, false)).is_empty());
        assert_eq!(
            presses(&mut listener, now, 65535, event(9, 8000, true)),
            [Press::End('9', (65535 + 8000) / 8)]
        );
    }
}

#[test]
fn a_long_press_is_sent_in_segments_that_are_heard_as_one() {
    for (clock, held_ms) in [(8000, 30_000), (48_000, 5_000), (16_000, 12_340)] {
        let now = Instant::now();
        let mut keypad = Keypad::default();
        keypad.set_clock(clock);
        let mut listener = Listener::default();
        listener.set_clock(clock);
        keypad.press('8', held_ms);
        let mut timestamp = 77u32;
        let mut told = Vec::new();
        let mut segments = 0;
        for (n, (payload, place)) in packets(&mut keypad).into_iter().enumerate() {
            if place == Place::Segment {
                segments += 1;
                timestamp = timestamp.wrapping_add(65535);
            }
            let packet = EventPacket {
                timestamp,
                marker: place == Place::First,
                payload,
            };
            listener.packet(now + ms(20 * n as u64), packet, |press| told.push(press));
        }
        assert_eq!(told, [Press::Begin('8'), Press::End('8', held_ms)]);
        assert_eq!(segments, held_ms * (clock / 1000) / 65535, "{clock}");
    }
}

#[test]
fn keys_that_overlap_are_told_once_each() {
    let now = Instant::now();
    let mut listener = Listener::default();
    let mut told = Vec::new();
    for n in 1..=10u16 {
        for (timestamp, key) in [(1000, 1), (1400, 2), (1000, 3)] {
            let payload = event(key, n * 160, n == 10);
            told.extend(presses(
                &mut listener,
                now + ms(20 * u64::from(n)),
                timestamp,
                payload,
            ));
        }
    }
    let begun: Vec<char> = told
        .iter()
        .filter_map(|press| match press {
            Press::Begin(digit) => Some(*digit),
            Press::End(..) => None,
        })
        .collect();
    assert_eq!(begun, ['1', '2', '3']);
    assert_eq!(told.len(), 6);
}

#[test]
fn timestamps_that_jump_back_hide_no_press() {
    let now = Instant::now();
    let mut listener = Listener::default();
    presses(&mut listener, now, 900_000, event(1, 800, true));
    assert_eq!(
        presses(&mut listener, now + ms(500), 400, event(2, 800, true)),
        [Press::Begin('2'), Press::End('2', 100)]
    );
}

#[test]
fn a_timestamp_that_moves_with_the_duration_is_one_press() {
    let now = Instant::now();
    let mut listener = Listener::default();
    let mut told = Vec::new();
    for n in 1..=6u16 {
        let payload = event(7, n * 160, n == 6);
        told.extend(presses(
            &mut listener,
            now,
            5000 + u32::from(n) * 160,
            payload,
        ));
    }
    assert_eq!(told, [Press::Begin('7'), Press::End('7', 120)]);
}

#[test]
fn a_press_goes_on_across_a_change_of_source_and_its_ends_count_once() {
    let now = Instant::now();
    let mut listener = Listener::default();
    presses(&mut listener, now, 1000, event(5, 320, false));
    listener.new_source();
    assert!(presses(&mut listener, now + ms(20), 77, event(5, 480, false)).is_empty());
    assert_eq!(
        presses(&mut listener, now + ms(40), 77, event(5, 640, true)),
        [Press::End('5', 80)]
    );
    listener.new_source();
    assert!(presses(&mut listener, now + ms(60), 90_000, event(5, 640, true)).is_empty());
    assert!(presses(&mut listener, now + ms(80), 90_000, event(5, 640, true)).is_empty());
    // Another press of the new source, with a timestamp that looks older.
    assert_eq!(
        presses(&mut listener, now + ms(400), 50, event(5, 160, false)),
        [Press::Begin('5')]
    );
    listener.new_source();
    assert_eq!(
        presses(&mut listener, now + ms(420), 10, event(6, 160, false)),
        [Press::End('5', 20), Press::Begin('6')]
    );
}

#[test]
fn durations_are_in_the_clock_of_the_events() {
    let now = Instant::now();
    let mut listener = Listener::default();
    listener.set_clock(48_000);
    assert_eq!(
        presses(&mut listener, now, 10, event(1, 4800, true)),
        [Press::Begin('1'), Press::End('1', 100)]
    );
    let mut keypad = Keypad::default();
    keypad.set_clock(48_000);
    keypad.press('1', 100);
    let last = packets(&mut keypad).last().map(|(payload, _)| *payload);
    assert_eq!(last, Some(event(1, 4800, true)));
}

#[test]
fn flash_and_other_events_are_no_digits() {
    let mut listener = Listener::default();
    for code in [16, 17, 32, 70, 255] {
        assert!(presses(&mut listener, Instant::now(), 10, event(code, 800, true)).is_empty());
    }
}

#[test]
fn every_digit_has_an_event_and_back() {
    for digit in "0123456789*#ABCD".chars() {
        assert_eq!(event_of(digit).and_then(digit_of), Some(digit));
    }
    assert_eq!(event_of('d'), Some(15));
    assert_eq!(digit_of(16), None);
}

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
}

/// A packet on its way: when it arrives, and its header and payload.
type Flying = (u64, u16, u32, u32, bool, Option<Payload>);

/// A phone that speaks and presses these digits; what arrives, in the order of arrival. One packet in seven is lost, one
/// in ten comes twice, delays vary by 60 ms, and the stream changes its source in the middle.
fn over_a_bad_network(random: &mut Random, digits: &[(char, u32)], clock: u32) -> Vec<Flying> {
    let mut keypad = Keypad::default();
    keypad.set_clock(clock);
    let step = clock / 50;
    let mut flying = Vec::new();
    let mut sequence = random.next() as u16;
    let mut now_units = random.next() as u32;
    let mut at = 1000u64;
    let mut ssrc = 1;
    let mut began = 0u32;
    let mut send =
        |random: &mut Random, at: u64, packet: (u16, u32, u32, bool, Option<Payload>)| {
            let copies = match random.below(70) {
                0..10 => 0,
                10..17 => 2,
                _ => 1,
            };
            for _ in 0..copies {
                let (sequence, ssrc, timestamp, marker, payload) = packet;
                flying.push((
                    at + random.below(60),
                    sequence,
                    ssrc,
                    timestamp,
                    marker,
                    payload,
                ));
            }
        };
    for (index, &(digit, length)) in digits.iter().enumerate() {
        if index == digits.len() / 2 {
            // All packets of the source before have arrived by then.
            at += 1200;
            ssrc += 1;
            sequence = random.next() as u16;
            now_units = random.next() as u32;
        }
        for _ in 0..random.below(10) {
            send(random, at, (sequence, ssrc, now_units, false, None));
            sequence = sequence.wrapping_add(1);
            now_units = now_units.wrapping_add(step);
            at += 20;
        }
        keypad.press(digit, length);
        loop {
            match keypad.step() {
                Key::Event { payload, place } => {
                    match place {
                        Place::First => began = now_units,
                        Place::Segment => began = began.wrapping_add(65535),
                        Place::Next => {}
                    }
                    let marker = place == Place::First;
                    send(random, at, (sequence, ssrc, began, marker, Some(payload)));
                    sequence = sequence.wrapping_add(1);
                }
                Key::Pause => {}
                Key::Idle => break,
            }
            now_units = now_units.wrapping_add(step);
            at += 20;
        }
    }
    flying.sort_by_key(|(at, ..)| *at);
    flying
}

#[test]
fn each_press_counts_once_over_a_bad_network() {
    let seeds = std::env::var("STROWGER_FUZZ_ITERATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300);
    for seed in 1..=seeds {
        let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let clock = [8000, 16_000, 48_000][seed as usize % 3];
        let digits: Vec<(char, u32)> = (0..16)
            .map(|_| {
                let digit = digit_of(random.below(16) as u8).expect("below 16");
                let length = if random.below(12) == 0 {
                    3000
                } else {
                    80 + random.below(200)
                };
                (digit, length as u32)
            })
            .collect();
        let start = Instant::now();
        let mut receiver = Receiver::new(start);
        let mut listener = Listener::default();
        listener.set_clock(clock);
        let mut told = Vec::new();
        let mut clock_ms = 0;
        for (at, sequence, ssrc, timestamp, marker, payload) in
            over_a_bad_network(&mut random, &digits, clock)
        {
            while clock_ms + 200 < at {
                clock_ms += 200;
                listener.expire(start + ms(clock_ms), |press| told.push(press));
            }
            let now = start + ms(at);
            let header = Header {
                marker,
                payload_type: 101,
                sequence,
                timestamp,
                ssrc,
                payload: 12..16,
            };
            let arrival = receiver.packet(now, &header, None);
            if !arrival.is_usable() {
                continue;
            }
            if arrival == Arrival::NewSource {
                listener.new_source();
            }
            match payload {
                Some(payload) => {
                    let packet = EventPacket {
                        timestamp,
                        marker,
                        payload,
                    };
                    listener.packet(now, packet, |press| told.push(press));
                }
                None => listener.audio(now, |press| told.push(press)),
            }
        }
        listener.finish(|press| told.push(press));
        let begun: String = told
            .iter()
            .filter_map(|press| match press {
                Press::Begin(digit) => Some(*digit),
                Press::End(..) => None,
            })
            .collect();
        let pressed: String = digits.iter().map(|(digit, _)| digit).collect();
        assert_eq!(begun, pressed, "seed {seed}");
        assert_eq!(
            told.len(),
            2 * digits.len(),
            "seed {seed}: every press ends"
        );
    }
}

proptest! {
    #[test]
    fn a_written_event_reads_the_same(event: u8, end: bool, volume in 0u8..64, duration: u16) {
        let payload = Payload { event, end, volume, duration };
        prop_assert_eq!(Payload::parse(&payload.bytes()), Some(payload));
    }

    #[test]
    fn ends_and_begins_alternate_for_any_packets(
        input in proptest::collection::vec(
            (0u8..20, any::<bool>(), any::<bool>(), any::<u16>(), 0u32..2000, 0u8..20), 0..200,
        ),
    ) {
        let now = Instant::now();
        let mut listener = Listener::default();
        let mut down = None;
        for (event, end, marker, duration, timestamp, other) in input {
            let payload = Payload { event, end, volume: 0, duration };
            if other == 0 {
                listener.new_source();
            }
            let mut told = Vec::new();
            listener.packet(now, EventPacket { timestamp, marker, payload }, |press| told.push(press));
            for press in told {
                match press {
                    Press::Begin(digit) => prop_assert_eq!(down.replace(digit), None),
                    Press::End(digit, _) => prop_assert_eq!(down.take(), Some(digit)),
                }
            }
        }
    }
}
