//! Digits, both ways.

use super::*;
use crate::codec::G711;
use crate::dsp::Goertzel;
use crate::dsp::{DtmfDetector, dtmf_tone};
use crate::rtp::dtmf::{Payload, Press};

fn digits(events: &[Event]) -> Vec<(char, Option<u32>)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::DtmfBegin { digit, .. } => Some((*digit, None)),
            Event::DtmfEnd {
                digit, duration_ms, ..
            } => Some((*digit, Some(*duration_ms))),
            _ => None,
        })
        .collect()
}

/// Packets of a 100 ms press, as phones send them.
fn press(phone: &mut Phone, event: u8) -> Vec<Vec<u8>> {
    let audio = phone.payload_type;
    phone.payload_type = 101;
    phone.marker = true;
    let packets = [160, 320, 480, 640, 800, 800, 800]
        .iter()
        .enumerate()
        .map(|(n, &duration)| {
            let payload = Payload {
                event,
                end: n >= 4,
                volume: 10,
                duration,
            };
            phone.packet(&payload.bytes())
        })
        .collect();
    phone.timestamp = phone.timestamp.wrapping_add(1120);
    phone.payload_type = audio;
    packets
}

#[test]
fn a_press_is_told_once_and_relayed_under_the_payload_type_of_the_other_side() {
    let (mut rig, a, b) = Rig::bridged();
    let mut phone = Phone::new(7);
    let mut heard = vec![rig.receive(a, &phone.say(1)).unwrap()];
    for packet in press(&mut phone, 5) {
        rig.pass(20);
        heard.push(rig.receive(a, &packet).expect("relayed"));
    }
    rig.pass(20);
    heard.push(rig.receive(a, &phone.say(1)).unwrap());
    assert_eq!(digits(&rig.take_events()), [('5', None), ('5', Some(100))]);
    let event = &heard[1..8];
    assert!(
        event
            .iter()
            .all(|s| s.header().payload_type == 96 && s.transmit.slot == b)
    );
    assert!(event[0].header().marker && !event[1].header().marker);
    assert!(
        event
            .iter()
            .all(|s| s.header().timestamp == event[0].header().timestamp)
    );
    assert_eq!(Payload::parse(event[6].payload()).unwrap().duration, 800);
    for pair in heard.windows(2) {
        assert_eq!(
            pair[1]
                .header()
                .sequence
                .wrapping_sub(pair[0].header().sequence),
            1
        );
    }
    assert_eq!(rig.stats(A).dtmf_received, 1);
}

#[test]
fn a_digit_towards_a_leg_without_telephone_events_is_dropped_and_leaves_no_hole() {
    let (mut rig, a, _) = Rig::bridged();
    rig.configure(B, |n| {
        n.dtmf_send = None;
        n.dtmf_tones = false;
    });
    let mut phone = Phone::new(7);
    let before = rig.receive(a, &phone.say(1)).unwrap().header();
    for packet in press(&mut phone, 1) {
        assert!(rig.receive(a, &packet).is_none());
    }
    let after = rig.receive(a, &phone.say(1)).unwrap().header();
    assert_eq!(after.sequence.wrapping_sub(before.sequence), 1);
    assert_eq!(rig.stats(B).drops.dtmf_unwanted, 7);
    assert_eq!(
        digits(&rig.take_events()).len(),
        2,
        "we heard it all the same"
    );
}

#[test]
fn a_press_whose_end_is_lost_is_over_by_time() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    let mut phone = Phone::new(7);
    rig.receive(a, &press(&mut phone, 11)[2]);
    rig.pass(1000);
    assert_eq!(digits(&rig.take_events()), [('#', None), ('#', Some(60))]);
}

#[test]
fn digits_are_sent_as_events_with_the_clock_running_on() {
    let (mut rig, a, b) = Rig::bridged();
    let mut bob = Phone::new(8);
    let before = rig.receive(b, &bob.say(1)).unwrap();
    for digit in ['1', 'D', 'x'] {
        rig.command(Command::SendDtmf {
            leg: A,
            digit,
            duration_ms: 100,
        });
    }
    assert_eq!(rig.counters.commands_ignored.get(), 1, "x is no digit");
    assert!(rig.receive(b, &bob.say(1)).is_none(), "audio is replaced");
    rig.pass(400);
    let sent = rig.take_sent(a);
    assert_eq!(sent.len(), 14);
    for (n, digit) in sent.chunks(7).enumerate() {
        let first = digit[0].header();
        assert!(first.marker && first.payload_type == 96);
        assert!(
            digit
                .iter()
                .all(|s| s.header().timestamp == first.timestamp)
        );
        let payloads: Vec<Payload> = digit
            .iter()
            .map(|s| Payload::parse(s.payload()).unwrap())
            .collect();
        assert!(payloads.iter().all(|p| p.event == [1, 15][n]));
        assert_eq!(payloads.iter().filter(|p| p.end).count(), 3);
        assert_eq!(payloads[6].duration, 800);
    }
    let gap = sent[7]
        .header()
        .timestamp
        .wrapping_sub(sent[0].header().timestamp);
    assert_eq!(gap, 160 * 8, "eight turns later");
    let after = rig.receive(b, &bob.say(1)).expect("audio is back");
    let mut all = vec![before];
    all.extend(sent);
    all.push(after);
    for pair in all.windows(2) {
        assert_eq!(
            pair[1]
                .header()
                .sequence
                .wrapping_sub(pair[0].header().sequence),
            1
        );
        assert!(
            (pair[1]
                .header()
                .timestamp
                .wrapping_sub(pair[0].header().timestamp) as i32)
                >= 0
        );
    }
}

#[test]
fn a_digit_is_sent_as_a_tone_where_events_are_not_understood() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.configure(A, |n| n.dtmf_send = None);
    rig.command(Command::SendDtmf {
        leg: A,
        digit: '7',
        duration_ms: 100,
    });
    rig.pass(300);
    let sent = rig.take_sent(a);
    let mut samples = Vec::new();
    for packet in &sent {
        let mut frame = [0; 160];
        G711::Ulaw.decode(packet.payload(), &mut frame);
        samples.extend(frame);
    }
    let amplitude = |hz, from: usize, to: usize| Goertzel::new(hz).amplitude(&samples[from..to]);
    assert!(amplitude(852.0, 0, 800) > 3000.0 && amplitude(1209.0, 0, 800) > 3000.0);
    assert!(amplitude(770.0, 0, 800) < 500.0);
    assert!(amplitude(852.0, 800, 1120) < 10.0, "silence after it");
}

#[test]
fn a_prompt_waits_for_a_digit_to_be_over() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.play(A, 1, &[1600], Repeat::Once);
    rig.pass(60);
    rig.command(Command::SendDtmf {
        leg: A,
        digit: '1',
        duration_ms: 100,
    });
    rig.pass(600);
    let sent = rig.take_sent(a);
    assert_eq!(
        sent.iter().filter(|s| s.header().payload_type == 0).count(),
        10
    );
    assert_eq!(
        sent.iter()
            .filter(|s| s.header().payload_type == 96)
            .count(),
        7
    );
    for pair in sent.windows(2) {
        assert_eq!(
            pair[1]
                .header()
                .sequence
                .wrapping_sub(pair[0].header().sequence),
            1
        );
    }
}

#[test]
fn a_flood_of_digits_does_not_crowd_out_other_events() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    let mut phone = Phone::new(7);
    for _ in 0..500 {
        for packet in press(&mut phone, 3) {
            let mut packet = packet;
            rig.engine.rtp(rig.now, a, Some(remote(A)), &mut packet);
        }
    }
    assert!(rig.counters.events_dropped.get() > 900);
    rig.command(Command::Snapshot(A));
    assert!(matches!(
        rig.take_events().last(),
        Some(Event::Stats { .. })
    ));
}

/// A second of silence with the tone of a digit in its middle, in packets of 20 ms.
fn tone_packets(phone: &mut Phone, digit: char) -> Vec<Vec<u8>> {
    let mut samples = vec![0i16; 8000];
    dtmf_tone(digit)
        .expect("a digit")
        .fill(&mut samples[2400..3360]);
    samples
        .chunks(160)
        .map(|frame| {
            let mut payload = [0; 160];
            G711::Ulaw.encode(frame, &mut payload);
            let packet = phone.packet(&payload);
            phone.timestamp = phone.timestamp.wrapping_add(160);
            packet
        })
        .collect()
}

fn events_sent(sent: &[Sent]) -> Vec<Payload> {
    sent.iter()
        .filter(|s| s.header().payload_type == 96)
        .map(|s| Payload::parse(s.payload()).expect("an event"))
        .collect()
}

#[test]
fn a_tone_is_told_once_and_becomes_events_for_a_leg_that_takes_them() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(A, |n| {
        n.dtmf_receive = None;
        n.dtmf_send = None;
        n.detect_inband = true;
    });
    let mut phone = Phone::new(7);
    for packet in tone_packets(&mut phone, '9') {
        rig.receive(a, &packet);
        rig.pass(20);
    }
    let told = digits(&rig.take_events());
    let [('9', None), ('9', Some(length))] = told[..] else {
        panic!("{told:?}");
    };
    assert!((110..=130).contains(&length), "{length}");
    let events = events_sent(&rig.take_sent(b));
    assert!(events.iter().all(|p| p.event == 9));
    assert_eq!(events.iter().filter(|p| p.end).count(), 3);
    let last = events.last().expect("sent").duration;
    assert!((110 * 8..=160 * 8).contains(&last), "{last}");
}

#[test]
fn a_tone_passes_unchanged_to_a_leg_that_wants_tones() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(A, |n| n.detect_inband = true);
    rig.configure(B, |n| n.dtmf_send = None);
    let mut phone = Phone::new(7);
    for packet in tone_packets(&mut phone, '9') {
        assert!(rig.receive(a, &packet).is_some());
        rig.pass(20);
    }
    assert_eq!(digits(&rig.take_events()).len(), 2);
    assert!(rig.take_sent(b).is_empty(), "nothing is made anew");
}

#[test]
fn a_tone_that_is_listened_to_no_more_ends_everywhere() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(A, |n| n.detect_inband = true);
    let mut phone = Phone::new(7);
    // In the middle of the tone the far end turns out to send events.
    for packet in tone_packets(&mut phone, '4').into_iter().take(18) {
        rig.receive(a, &packet);
        rig.pass(20);
    }
    assert_eq!(digits(&rig.take_events()), [('4', None)]);
    rig.configure(A, |_| ());
    rig.pass(400);
    let told = digits(&rig.take_events());
    assert!(matches!(told[..], [('4', Some(20..=60))]), "{told:?}");
    let events = events_sent(&rig.take_sent(b));
    assert_eq!(events.iter().filter(|p| p.end).count(), 3);
    assert!(rig.receive(a, &phone.say(1)).is_some(), "audio goes on");
}

#[test]
fn a_tone_whose_sender_falls_silent_ends() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.configure(A, |n| n.detect_inband = true);
    let mut phone = Phone::new(7);
    for packet in tone_packets(&mut phone, '1').into_iter().take(18) {
        rig.receive(a, &packet);
        rig.pass(20);
    }
    rig.pass(300);
    assert_eq!(digits(&rig.take_events()).len(), 2);
}

#[test]
fn an_event_becomes_a_tone_for_a_leg_that_takes_no_events() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(B, |n| n.dtmf_send = None);
    let mut phone = Phone::new(7);
    rig.receive(a, &phone.say(1));
    for packet in press(&mut phone, 5) {
        rig.pass(20);
        assert!(rig.receive(a, &packet).is_none());
    }
    rig.pass(400);
    let mut detector = DtmfDetector::default();
    let mut heard = Vec::new();
    let sent = rig.take_sent(b);
    for packet in &sent {
        let mut frame = [0; 160];
        G711::Ulaw.decode(packet.payload(), &mut frame);
        detector.feed(&frame, |press| heard.push(press));
    }
    assert!(
        matches!(heard[..], [Press::Begin('5'), Press::End('5', 80..=130)]),
        "{heard:?}"
    );
    assert_eq!(rig.stats(B).drops.dtmf_unwanted, 0);
}

#[test]
fn an_event_keeps_its_duration_in_the_clock_of_the_other_leg() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(B, |n| n.dtmf_clock = 48_000);
    let mut phone = Phone::new(7);
    for packet in press(&mut phone, 5) {
        rig.receive(a, &packet);
        rig.pass(20);
    }
    rig.pass(200);
    let events = events_sent(&rig.take_sent(b));
    assert_eq!(events.iter().filter(|p| p.end).count(), 3);
    assert_eq!(events.last().map(|p| p.duration), Some(4800));
    assert_eq!(digits(&rig.take_events()), [('5', None), ('5', Some(100))]);
    let mut bob = Phone::new(8);
    rig.receive(b, &bob.say(1));
    bob.payload_type = 101;
    for (duration, end) in [(960, false), (1920, false), (3840, true)] {
        let payload = Payload {
            event: 3,
            end,
            volume: 10,
            duration,
        };
        rig.receive(b, &bob.packet(&payload.bytes()));
        rig.pass(20);
    }
    rig.pass(300);
    assert_eq!(digits(&rig.take_events()), [('3', None), ('3', Some(80))]);
    assert_eq!(
        events_sent(&rig.take_sent(a)).last().map(|p| p.duration),
        Some(640)
    );
}

#[test]
fn a_key_that_is_down_when_its_leg_goes_is_let_go_everywhere() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(B, |n| n.dtmf_clock = 48_000);
    let mut phone = Phone::new(7);
    rig.receive(a, &press(&mut phone, 5)[1]);
    rig.pass(100);
    rig.command(Command::Close(A));
    rig.pass(400);
    assert_eq!(digits(&rig.take_events()), [('5', None), ('5', Some(40))]);
    let events = events_sent(&rig.take_sent(b));
    assert_eq!(events.iter().filter(|p| p.end).count(), 3);
    assert!(
        !rig.engine.legs[b.0 as usize]
            .as_ref()
            .expect("open")
            .keypad
            .is_busy()
    );
}

#[test]
fn a_changed_source_hides_no_digit() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    for (ssrc, event) in [(7, 1), (8, 2), (9, 3)] {
        let mut phone = Phone::new(ssrc);
        // Each source's timestamps are behind those of the one before.
        phone.timestamp = 1_000_000 / ssrc;
        for packet in press(&mut phone, event) {
            rig.receive(a, &packet);
            rig.pass(20);
        }
        rig.pass(100);
    }
    let begun: Vec<char> = digits(&rig.take_events())
        .iter()
        .filter(|(_, length)| length.is_none())
        .map(|(digit, _)| *digit)
        .collect();
    assert_eq!(begun, ['1', '2', '3']);
}
