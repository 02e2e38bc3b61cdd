//! Wideband recordings: files of a higher rate hold what telephones of that rate say, whatever else happens to the call.

use super::translate::{G722, PCMU, Speaker, WIDE, speak};
use super::*;
use crate::dsp::Goertzel;

/// Hz that no telephone of 8000 Hz can say.
const HIGH: f64 = 5000.0;

/// A recording at 16,000 Hz.
fn record_wide(rig: &mut Rig, id: u64, leg: LegId, mode: TapMode) {
    rig.record(id, leg, mode, |setup| {
        setup.format = FileFormat::Wav16;
        setup.rate = 16_000;
    });
}

/// How loud a tone is between two seconds of a recording at 16,000 Hz: at the peak, on the average of pieces of 20 ms.
fn level(rig: &Rig, id: u64, hz: f64, from: f64, to: f64) -> f32 {
    let file = &rig.files[&RecorderId(id)];
    let at = |seconds: f64| (seconds * 16_000.0) as usize;
    let part = &file.samples[at(from)..at(to)];
    // The detector is made for 8000 Hz: at twice the rate a tone has half its frequency.
    let detector = Goertzel::new((hz / 2.0) as f32);
    let pieces = part.chunks_exact(320);
    let count = pieces.len() as f32;
    pieces.map(|piece| detector.amplitude(piece)).sum::<f32>() / count
}

fn length(rig: &Rig, id: u64) -> usize {
    rig.files[&RecorderId(id)].samples.len()
}

fn talk(rig: &mut Rig, slot: Slot, who: &mut Speaker, seconds: usize) {
    for _ in 0..seconds * 50 {
        let packet = who.say();
        rig.receive(slot, &packet);
        rig.pass(20);
    }
}

#[test]
fn a_relayed_wideband_call_is_recorded_whole_on_both_sides() {
    for format in [G722, WIDE] {
        let (mut rig, a, _) = Rig::bridged();
        speak(&mut rig, A, format);
        speak(&mut rig, B, format);
        record_wide(&mut rig, 1, A, TapMode::Receive);
        record_wide(&mut rig, 2, B, TapMode::Transmit);
        rig.record(3, A, TapMode::Receive, |_| ());
        let mut alice = Speaker::new(7, format);
        alice.hz = HIGH;
        talk(&mut rig, a, &mut alice, 3);
        for (id, leg) in [(1, A), (2, B), (3, A)] {
            rig.stop_record(id, leg, 0);
        }
        assert_eq!((length(&rig, 1), length(&rig, 2)), (48_000, 48_000));
        assert_eq!(length(&rig, 3), 24_000, "another rate, the same time");
        for id in [1, 2] {
            let heard = level(&rig, id, HIGH, 0.5, 2.9);
            assert!(
                (6500.0..9500.0).contains(&heard),
                "{format:?} {id}: {heard}"
            );
        }
        let narrow = &rig.files[&RecorderId(3)].samples[4000..];
        let loudest = narrow.iter().map(|s| s.unsigned_abs()).max();
        assert!(loudest < Some(400), "nothing is folded down: {loudest:?}");
    }
}

#[test]
fn a_wide_recording_goes_on_in_time_where_the_call_becomes_narrow_and_wide_again() {
    let (mut rig, a, _) = Rig::bridged();
    for leg in [A, B] {
        speak(&mut rig, leg, G722);
    }
    record_wide(&mut rig, 1, A, TapMode::Receive);
    record_wide(&mut rig, 2, B, TapMode::Transmit);
    for (turn, format) in [G722, PCMU, G722].into_iter().enumerate() {
        for leg in [A, B] {
            speak(&mut rig, leg, format);
        }
        let mut alice = Speaker::new(7 + turn as u32, format);
        alice.hz = 1000.0;
        talk(&mut rig, a, &mut alice, 2);
    }
    rig.stop_record(1, A, 0);
    rig.stop_record(2, B, 0);
    for id in [1, 2] {
        assert_eq!(length(&rig, id), 96_000, "six seconds are six seconds");
        for second in 0..6 {
            let second = f64::from(second);
            let heard = level(&rig, id, 1000.0, second + 0.4, second + 0.9);
            assert!(
                (7000.0..9000.0).contains(&heard),
                "{id} at {second} s: {heard}"
            );
        }
    }
}

#[test]
fn what_a_wideband_leg_is_played_is_in_its_wide_recording() {
    let mut rig = Rig::new();
    rig.leg(A);
    speak(&mut rig, A, G722);
    record_wide(&mut rig, 1, A, TapMode::Transmit);
    let tone = |rate: f64, hz: f64| {
        let turns = move |n: usize| n as f64 * hz / rate * std::f64::consts::TAU;
        (0..rate as usize)
            .map(|n| (turns(n).sin() * 8000.0) as i16)
            .collect::<Vec<_>>()
    };
    let wide = Sound {
        rate: 16_000,
        ..Sound::from_samples(tone(16_000.0, HIGH))
    };
    let narrow = Sound::from_samples(tone(8000.0, 1000.0));
    for sound in [wide, narrow] {
        rig.command(Command::Play {
            leg: A,
            play: PlayId(1),
            sounds: vec![Arc::new(sound)],
            repeat: Repeat::Once,
        });
        rig.pass(1000);
    }
    rig.stop_record(1, A, 0);
    assert_eq!(length(&rig, 1), 32_000);
    let heard = level(&rig, 1, HIGH, 0.1, 0.9);
    assert!((6500.0..9500.0).contains(&heard), "{heard}");
    let heard = level(&rig, 1, 1000.0, 1.1, 1.9);
    assert!((6500.0..9500.0).contains(&heard), "{heard}");
}

#[test]
fn both_sides_of_a_wide_recording_of_a_translated_call_stay_in_step() {
    let (mut rig, a, b) = Rig::bridged();
    speak(&mut rig, A, G722);
    speak(&mut rig, B, PCMU);
    record_wide(&mut rig, 1, A, TapMode::Mix);
    let (mut alice, mut bob) = (Speaker::new(7, G722), Speaker::new(8, PCMU));
    alice.hz = HIGH;
    bob.hz = 1000.0;
    for _ in 0..150 {
        rig.receive(a, &alice.say());
        rig.receive(b, &bob.say());
        rig.pass(20);
    }
    rig.stop_record(1, A, 0);
    assert_eq!(length(&rig, 1), 48_000);
    for hz in [HIGH, 1000.0] {
        let heard = level(&rig, 1, hz, 0.5, 2.9);
        assert!((6500.0..9500.0).contains(&heard), "{hz} Hz: {heard}");
    }
    assert_eq!(rig.counters.recorder_samples_lost.get(), 0);
}
