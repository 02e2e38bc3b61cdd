//! Recordings: length, alignment, losses, limits.

use super::*;
use crate::codec::g711::{ulaw_decode, ulaw_encode};

/// A tenth of a second is enough to be heard, 20 ms the alignment that is promised.
const SLACK: usize = 160;

fn length(rig: &Rig, id: u64) -> usize {
    rig.files[&RecorderId(id)].samples.len()
}

fn samples(rig: &Rig, id: u64) -> &[i16] {
    &rig.files[&RecorderId(id)].samples
}

fn mean(samples: &[i16]) -> i32 {
    samples.iter().map(|&s| i32::from(s)).sum::<i32>() / samples.len() as i32
}

fn loud(sample: i16) -> (u8, i32) {
    let byte = ulaw_encode(sample);
    (byte, i32::from(ulaw_decode(byte)))
}

#[test]
fn both_directions_are_summed_where_they_belong_in_time() {
    let (mut rig, a, b) = Rig::bridged();
    rig.record(1, A, TapMode::Mix, |_| ());
    let (mut alice, mut bob) = (Phone::new(7), Phone::new(8));
    let ((one, one_level), (two, two_level)) = (loud(1000), loud(4000));
    // Alice speaks in the first and third second, Bob in the second and third.
    for n in 0..150 {
        let (says_a, says_b) = (n / 50 != 1, n / 50 != 0);
        let (packet_a, packet_b) = (alice.say(one), bob.say(two));
        if says_a {
            rig.receive(a, &packet_a);
        }
        if says_b {
            rig.receive(b, &packet_b);
        }
        rig.pass(20);
    }
    rig.stop_record(1, A, 0);
    assert_eq!(length(&rig, 1), 24_000, "three seconds are three seconds");
    let all = samples(&rig, 1);
    for (from, level) in [
        (0, one_level),
        (8000, two_level),
        (16_000, one_level + two_level),
    ] {
        let part = &all[from + SLACK..from + 8000 - SLACK];
        assert!(part.iter().all(|&s| i32::from(s) == level), "from {from}");
    }
    let closed = rig.take_events();
    assert!(closed.iter().any(|e| matches!(
        e,
        Event::RecorderClosed {
            samples: 24_000,
            lost_samples: 0,
            error: None,
            ..
        }
    )));
}

#[test]
fn two_recorders_of_a_leg_are_equally_long_and_hear_one_side_each() {
    let (mut rig, a, b) = Rig::bridged();
    rig.record(1, A, TapMode::Receive, |_| ());
    rig.now += Duration::from_micros(1300);
    rig.record(2, A, TapMode::Transmit, |_| ());
    let (mut alice, mut bob) = (Phone::new(7), Phone::new(8));
    let ((one, one_level), (two, two_level)) = (loud(1000), loud(-4000));
    for _ in 0..500 {
        rig.receive(a, &alice.say(one));
        rig.pass(7);
        rig.receive(b, &bob.say(two));
        rig.pass(13);
    }
    rig.stop_record(1, A, 0);
    rig.now += Duration::from_micros(2700);
    rig.stop_record(2, A, 0);
    assert_eq!(length(&rig, 1), length(&rig, 2));
    assert!((80_000..80_100).contains(&length(&rig, 1)));
    let middle = 1000..79_000;
    assert!(
        samples(&rig, 1)[middle.clone()]
            .iter()
            .all(|&s| i32::from(s) == one_level)
    );
    assert!(
        samples(&rig, 2)[middle]
            .iter()
            .all(|&s| i32::from(s) == two_level)
    );
}

#[test]
fn lost_packets_leave_silence_and_late_ones_find_their_place() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.record(1, A, TapMode::Receive, |_| ());
    let mut phone = Phone::new(7);
    let (byte, level) = loud(2000);
    let mut delayed = None;
    for n in 0..100 {
        let packet = phone.say(byte);
        match n {
            20..30 => {}
            60 => delayed = Some(packet),
            _ => {
                rig.receive(a, &packet);
            }
        }
        if n == 66 {
            rig.receive(a, &delayed.take().expect("kept back"));
        }
        rig.pass(20);
    }
    rig.stop_record(1, A, 0);
    let all = samples(&rig, 1);
    assert_eq!(all.len(), 16_000);
    assert!(
        all[3200..4800].iter().all(|&s| s == 0),
        "the loss is silent"
    );
    assert!(all[..3200].iter().all(|&s| i32::from(s) == level));
    assert!(
        all[4800..].iter().all(|&s| i32::from(s) == level),
        "120 ms late is in time"
    );
}

#[test]
fn a_first_packet_that_came_late_costs_no_sample_of_those_behind_it() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.record(1, A, TapMode::Receive, |_| ());
    let mut phone = Phone::new(7);
    // Every sample of the stream is told from its neighbours.
    let byte = |n: usize| (n % 251) as u8;
    for n in 0..300 {
        let payload: Vec<u8> = (n * 160..(n + 1) * 160).map(byte).collect();
        let packet = phone.packet(&payload);
        phone.timestamp = phone.timestamp.wrapping_add(160);
        if n == 0 {
            rig.pass(10);
            rig.receive(a, &packet);
            rig.pass(10);
        } else {
            rig.receive(a, &packet);
            rig.pass(20);
        }
    }
    rig.stop_record(1, A, 0);
    let all = samples(&rig, 1);
    for (n, sample) in all[80..].iter().enumerate() {
        assert_eq!(*sample, ulaw_decode(byte(n)), "sample {n}");
    }
    assert!(all.len() >= 299 * 160, "{} samples", all.len());
}

#[test]
fn prompts_are_recorded_as_what_the_leg_hears() {
    let mut rig = Rig::new();
    rig.leg(A);
    rig.record(1, A, TapMode::Transmit, |_| ());
    rig.pass(500);
    rig.play(A, 1, &[8000], Repeat::Once);
    rig.pass(1500);
    rig.stop_record(1, A, 0);
    let all = samples(&rig, 1);
    assert_eq!(all.len(), 16_000);
    assert_eq!(mean(&all[..4000]), 0);
    assert_eq!(mean(&all[4000 + SLACK..12_000]), 4000);
    assert_eq!(mean(&all[12_000 + SLACK..]), 0);
}

#[test]
fn the_last_milliseconds_can_be_cut_off() {
    let mut rig = Rig::new();
    rig.leg(A);
    for (id, cut, left) in [(1, 300, 5600), (2, 5000, 0)] {
        rig.record(id, A, TapMode::Mix, |_| ());
        rig.pass(1000);
        rig.stop_record(id, A, cut);
        assert_eq!(length(&rig, id), left);
        rig.pass(1000);
    }
}

#[test]
fn time_stands_still_while_a_leg_is_not_bridged() {
    let (mut rig, a, _) = Rig::bridged();
    rig.command(Command::Route(A, Route::Silence));
    rig.record(1, A, TapMode::Receive, |s| s.only_bridged = true);
    let mut phone = Phone::new(7);
    let (byte, level) = loud(2000);
    for bridged in [false, true, false, true, false] {
        rig.command(Command::Route(
            A,
            if bridged {
                Route::Relay(B)
            } else {
                Route::Silence
            },
        ));
        for _ in 0..50 {
            rig.receive(a, &phone.say(byte));
            rig.pass(20);
        }
    }
    rig.stop_record(1, A, 0);
    let all = samples(&rig, 1);
    assert_eq!(all.len(), 16_000);
    assert!(mean(all) > level - 100, "{}", mean(all));
}

#[test]
fn a_peer_that_is_closed_ends_a_bridge_for_recorders_too() {
    let (mut rig, _, _) = Rig::bridged();
    rig.record(1, A, TapMode::Mix, |s| s.only_bridged = true);
    rig.pass(1000);
    rig.command(Command::Close(B));
    rig.pass(1000);
    rig.command(Command::Close(A));
    assert_eq!(length(&rig, 1), 8000);
    assert!(rig.files[&RecorderId(1)].closed);
}

#[test]
fn volumes_apply_to_their_side() {
    let (mut rig, a, b) = Rig::bridged();
    rig.record(1, A, TapMode::Mix, |s| {
        s.volume_receive = 1;
        s.volume_transmit = -2;
    });
    let (mut alice, mut bob) = (Phone::new(7), Phone::new(8));
    let ((one, one_level), (two, two_level)) = (loud(1000), loud(4000));
    for _ in 0..50 {
        rig.receive(a, &alice.say(one));
        rig.receive(b, &bob.say(two));
        rig.pass(20);
    }
    rig.stop_record(1, A, 0);
    assert_eq!(
        mean(&samples(&rig, 1)[SLACK..7000]),
        2 * one_level + two_level / 4
    );
}

#[test]
fn a_slow_disk_costs_samples_but_not_length_and_is_counted() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.record(1, A, TapMode::Receive, |_| ());
    let mut phone = Phone::new(7);
    let (byte, level) = loud(2000);
    for n in 0..500 {
        // The disk stands still for five of ten seconds.
        rig.disk_works = !(125..375).contains(&n);
        rig.receive(a, &phone.say(byte));
        rig.pass(20);
    }
    rig.stop_record(1, A, 0);
    let all = samples(&rig, 1);
    assert_eq!(all.len(), 80_000);
    let lost = all.iter().filter(|&&s| s == 0).count() as u64;
    assert!((16_000..48_000).contains(&lost), "{lost}");
    assert_eq!(rig.files[&RecorderId(1)].lost, lost);
    assert_eq!(rig.counters.recorder_samples_lost.get(), lost);
    assert!(
        all[64_000..].iter().all(|&s| i32::from(s) == level),
        "it recovers"
    );
}

#[test]
fn a_refused_block_is_lost_and_its_buffer_used_again() {
    let mut rig = Rig::new();
    rig.leg(A);
    let mut setup = RecorderSetup::new(
        RecorderId(1),
        A,
        "x".into(),
        FileFormat::Sln(8000),
        TapMode::Mix,
    );
    setup.append = true;
    let command = Command::StartRecorder(Box::new(setup.prepare()));
    rig.engine.command(rig.now, command, &mut |_, _| ());
    assert!(matches!(rig.engine.poll_file(), Some(Order::Open(file)) if file.append));
    let mut refused = 0;
    for _ in 0..100 {
        rig.now += Duration::from_millis(100);
        rig.engine.tick(rig.now, &mut |_, _| ());
        if let Some(Order::Samples {
            recorder, samples, ..
        }) = rig.engine.poll_file()
        {
            refused += samples.len() as u64;
            rig.engine.file_reply(Reply::Refused { recorder, samples });
        }
    }
    assert_eq!(refused, 72_000, "nine blocks, each with a buffer");
    rig.engine
        .command(rig.now, Command::Close(A), &mut |_, _| ());
    let orders: Vec<Order> = std::iter::from_fn(|| rig.engine.poll_file()).collect();
    assert!(
        matches!(
            orders[..],
            [
                Order::Samples {
                    position: 72_000,
                    ..
                },
                Order::Close {
                    samples: 80_000,
                    lost_samples: 72_000,
                    ..
                }
            ]
        ),
        "{orders:?}"
    );
}

#[test]
fn received_silence_is_told_once_until_somebody_speaks() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.record(1, A, TapMode::Receive, |s| s.silence_ms = 1000);
    let mut phone = Phone::new(7);
    let told = |rig: &mut Rig| {
        rig.take_events()
            .iter()
            .filter(|e| {
                matches!(
                    e,
                    Event::RecorderSilence {
                        leg: A,
                        recorder: RecorderId(1)
                    }
                )
            })
            .count()
    };
    rig.pass(1100);
    assert_eq!(told(&mut rig), 0);
    rig.pass(3000);
    assert_eq!(told(&mut rig), 1);
    for _ in 0..50 {
        rig.receive(a, &phone.say(0x80));
        rig.pass(20);
    }
    assert_eq!(told(&mut rig), 0);
    for _ in 0..100 {
        rig.receive(a, &phone.say(0xFF));
        rig.pass(20);
    }
    assert_eq!(told(&mut rig), 1);
}

#[test]
fn a_recorder_that_cannot_start_ends_at_once_with_the_reason() {
    let mut rig = Rig::new();
    rig.leg(A);
    rig.record(1, B, TapMode::Mix, |_| ());
    for id in 2..6 {
        rig.record(id, A, TapMode::Mix, |_| ());
    }
    let refused: Vec<u64> = rig
        .take_events()
        .iter()
        .filter_map(|e| match e {
            Event::RecorderClosed {
                recorder,
                error: Some(_),
                ..
            } => Some(recorder.0),
            _ => None,
        })
        .collect();
    assert_eq!(
        refused,
        [1, 5],
        "no such leg; three recorders are the limit here"
    );
    assert_eq!(rig.counters.recorders.get(), 3);
}

#[test]
fn a_leg_that_is_closed_closes_its_recordings_in_full() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.record(1, A, TapMode::Receive, |_| ());
    let mut phone = Phone::new(7);
    let (byte, level) = loud(2000);
    for _ in 0..75 {
        rig.receive(a, &phone.say(byte));
        rig.pass(20);
    }
    rig.command(Command::Close(A));
    let all = samples(&rig, 1);
    assert_eq!(all.len(), 12_000);
    assert!(
        all.iter().all(|&s| i32::from(s) == level),
        "to the last sample"
    );
    assert_eq!(rig.counters.recorders.get(), 0);
}

#[test]
fn transcoded_and_muted_calls_are_recorded_as_heard() {
    let (mut rig, a, _) = Rig::bridged();
    rig.configure(B, |n| {
        n.send = Format {
            payload_type: 8,
            codec: Codec::Pcma,
        };
    });
    rig.record(1, B, TapMode::Transmit, |_| ());
    let mut alice = Phone::new(7);
    for n in 0..100 {
        if n == 50 {
            rig.command(Command::Mute {
                leg: B,
                receive: false,
                transmit: true,
            });
        }
        rig.receive(a, &alice.say(ulaw_encode(3000)));
        rig.pass(20);
    }
    rig.stop_record(1, B, 0);
    let all = samples(&rig, 1);
    assert!((mean(&all[SLACK..7800]) - 3000).abs() < 100);
    assert!(mean(&all[8200..]).abs() <= 8);
}

#[test]
fn a_muted_recording_is_silent_while_the_call_goes_on() {
    let (mut rig, a, _) = Rig::bridged();
    rig.record(1, A, TapMode::Receive, |_| ());
    rig.record(2, A, TapMode::Receive, |_| ());
    let mut alice = Phone::new(7);
    let (byte, level) = loud(2000);
    for second in 0..3 {
        rig.command(Command::MuteRecorder {
            recorder: RecorderId(1),
            receive: second == 1,
            transmit: false,
        });
        for _ in 0..50 {
            assert!(rig.receive(a, &alice.say(byte)).is_some(), "it is relayed");
            rig.pass(20);
        }
    }
    rig.stop_record(1, A, 0);
    rig.stop_record(2, A, 0);
    let spoken = |id, second: usize| mean(&samples(&rig, id)[second * 8000 + 200..][..7600]);
    for second in 0..3 {
        let expected = if second == 1 { 0 } else { level };
        assert_eq!(spoken(1, second), expected, "second {second}");
        assert_eq!(spoken(2, second), level, "the other recording hears all");
    }
}

#[test]
fn the_start_can_be_left_out_and_what_nobody_filled_too() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.record(1, A, TapMode::Receive, |s| s.skip_ms = 1500);
    rig.record(2, A, TapMode::Receive, |s| s.unpadded = true);
    let mut phone = Phone::new(7);
    let (byte, level) = loud(2000);
    rig.pass(1000);
    for n in 0..150 {
        let packet = phone.say(byte);
        if !(50..100).contains(&n) {
            rig.receive(a, &packet);
        }
        rig.pass(20);
    }
    rig.pass(1000);
    rig.stop_record(1, A, 0);
    rig.stop_record(2, A, 0);
    assert_eq!(length(&rig, 1), 8 * 3500);
    assert_eq!(mean(&samples(&rig, 1)[..3900]), level);
    let unpadded = samples(&rig, 2);
    assert!(
        (16_000..16_400).contains(&unpadded.len()),
        "two seconds were heard: {}",
        unpadded.len()
    );
    assert!(mean(unpadded) > level - 50);
}

#[test]
fn two_channels_hold_a_side_each() {
    let (mut rig, a, b) = Rig::bridged();
    rig.record(1, A, TapMode::Stereo, |s| s.format = FileFormat::Sln(8000));
    rig.record(2, A, TapMode::Stereo, |s| s.format = FileFormat::Gsm);
    let (mut alice, mut bob) = (Phone::new(7), Phone::new(8));
    let ((one, one_level), (two, two_level)) = (loud(1000), loud(-4000));
    for _ in 0..50 {
        rig.receive(a, &alice.say(one));
        rig.receive(b, &bob.say(two));
        rig.pass(20);
    }
    let channels = |rig: &Rig, id| rig.files[&RecorderId(id)].setup.as_ref().unwrap().channels;
    assert_eq!((channels(&rig, 1), channels(&rig, 2)), (2, 1));
    rig.stop_record(1, A, 0);
    let all = samples(&rig, 1);
    assert_eq!(all.len(), 16_000);
    for pair in all[400..15_000].chunks_exact(2) {
        assert_eq!(
            (i32::from(pair[0]), i32::from(pair[1])),
            (one_level, two_level)
        );
    }
}
