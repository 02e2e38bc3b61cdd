//! Legs that speak different codecs.

use super::*;
use crate::codec::{Decoder, Encoder, EncoderOptions, L16Rate};
use crate::dsp::Goertzel;
use crate::rtp::dtmf::Payload;

pub(super) const G722: Format = Format {
    payload_type: 9,
    codec: Codec::G722,
};
pub(super) const PCMA: Format = Format {
    payload_type: 8,
    codec: Codec::Pcma,
};
pub(super) const PCMU: Format = Format {
    payload_type: 0,
    codec: Codec::Pcmu,
};
pub(super) const OPUS: Format = Format {
    payload_type: 107,
    codec: Codec::Opus,
};
pub(super) const GSM: Format = Format {
    payload_type: 3,
    codec: Codec::Gsm,
};
pub(super) const WIDE: Format = Format {
    payload_type: 118,
    codec: Codec::L16(L16Rate::Hz16000),
};

/// Somebody who says a tone.
pub(super) struct Speaker {
    pub(super) phone: Phone,
    format: Format,
    encoder: Encoder,
    at: usize,
    pub(super) hz: f64,
    /// At the peak.
    pub(super) level: f64,
    pub(super) ptime_ms: usize,
}

impl Speaker {
    pub(super) fn new(ssrc: u32, format: Format) -> Self {
        let options = EncoderOptions {
            fec: true,
            ..EncoderOptions::default()
        };
        let rate = format.codec.sample_rate().min(16_000);
        Self {
            phone: Phone {
                payload_type: format.payload_type,
                ..Phone::new(ssrc)
            },
            format,
            encoder: Encoder::new(format.codec, rate, &options).expect("it can be encoded"),
            at: 0,
            hz: 440.0,
            level: 8000.0,
            ptime_ms: 20,
        }
    }

    pub(super) fn say(&mut self) -> Vec<u8> {
        let rate = self.encoder.rate() as usize;
        let samples: Vec<i16> = (self.at..self.at + rate * self.ptime_ms / 1000)
            .map(|n| {
                let turns = n as f64 * self.hz / rate as f64;
                ((turns * std::f64::consts::TAU).sin() * self.level) as i16
            })
            .collect();
        self.at += samples.len();
        let mut payload = [0; 1400];
        let length = self
            .encoder
            .encode(&samples, &mut payload)
            .expect("a frame it takes");
        let packet = self.phone.packet(&payload[..length]);
        let units = self.format.codec.clock_rate() as usize * self.ptime_ms / 1000;
        self.phone.timestamp = self.phone.timestamp.wrapping_add(units as u32);
        packet
    }
}

/// Somebody who hears what a leg sends.
pub(super) struct Hearer {
    decoder: Decoder,
    format: Format,
    pub(super) heard: Vec<i16>,
    pub(super) packets: Vec<Sent>,
}

impl Hearer {
    pub(super) fn new(format: Format) -> Self {
        Self {
            decoder: Decoder::new(format.codec, 16_000).expect("it can be decoded"),
            format,
            heard: Vec::new(),
            packets: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, sent: Vec<Sent>) {
        for packet in sent {
            assert_eq!(packet.header().payload_type, self.format.payload_type);
            let mut samples = [0; 5760];
            let count = self
                .decoder
                .decode(packet.payload(), &mut samples)
                .expect("it is of that codec");
            self.heard.extend(&samples[..count]);
            self.packets.push(packet);
        }
    }

    /// Frequency by the crossings of zero, and effective value, from a sample on.
    pub(super) fn tone(&self, from: usize) -> (f64, f64) {
        let part = &self.heard[from..];
        let crossings = part.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
        let seconds = part.len() as f64 / f64::from(self.decoder.rate());
        let power: f64 = part.iter().map(|&s| f64::from(s).powi(2)).sum();
        (
            crossings as f64 / seconds,
            (power / part.len() as f64).sqrt(),
        )
    }

    /// Samples a second of what is heard.
    pub(super) fn rate(&self) -> u32 {
        self.decoder.rate()
    }

    /// No hole in the sequence, timestamps without a jump.
    pub(super) fn assert_seamless(&self) {
        for pair in self.packets.windows(2) {
            let (before, after) = (pair[0].header(), pair[1].header());
            assert_eq!(after.sequence, before.sequence.wrapping_add(1));
            let units = self.format.codec.samples_in(pair[0].payload());
            assert_eq!(after.timestamp.wrapping_sub(before.timestamp), units);
        }
    }
}

pub(super) fn speak(rig: &mut Rig, leg: LegId, format: Format) {
    rig.configure(leg, |n| {
        n.formats = vec![format];
        n.send = format;
    });
}

/// Two legs that speak differently, bridged.
fn bridged(one: Format, two: Format) -> (Rig, Slot, Slot) {
    let (mut rig, a, b) = Rig::bridged();
    speak(&mut rig, A, one);
    speak(&mut rig, B, two);
    (rig, a, b)
}

/// Alice speaks for so many packets, Bob hears.
fn talk(rig: &mut Rig, a: Slot, b: Slot, alice: &mut Speaker, bob: &mut Hearer, packets: usize) {
    for _ in 0..packets {
        let packet = alice.say();
        assert!(rig.receive(a, &packet).is_none(), "it cannot pass as it is");
        rig.pass(alice.ptime_ms as u64);
        bob.hear(rig.take_sent(b));
    }
}

#[test]
fn a_tone_is_the_same_tone_in_every_codec() {
    for (one, two) in [
        (PCMA, G722),
        (G722, PCMA),
        (PCMU, OPUS),
        (OPUS, PCMU),
        (G722, OPUS),
        (OPUS, G722),
        (GSM, PCMA),
        (PCMA, GSM),
        (WIDE, PCMU),
        (PCMU, WIDE),
        (OPUS, GSM),
    ] {
        let what = format!("{:?} to {:?}", one.codec, two.codec);
        let (mut rig, a, b) = bridged(one, two);
        let (mut alice, mut bob) = (Speaker::new(7, one), Hearer::new(two));
        talk(&mut rig, a, b, &mut alice, &mut bob, 150);
        bob.assert_seamless();
        assert!(
            (145..=150).contains(&bob.packets.len()),
            "{what}: {}",
            bob.packets.len()
        );
        let (hz, level) = bob.tone(bob.heard.len() / 3);
        assert!((hz - 440.0).abs() < 6.0, "{what}: {hz} Hz");
        // 8000 at the peak are 5657; a decibel and a half for the coarse ones.
        assert!((4750.0..6750.0).contains(&level), "{what}: {level}");
        let heard = rig.stats(A).heard;
        assert_eq!((heard.late, heard.concealed), (0, 0), "{what}: {heard:?}");
        assert!(heard.delay_ms_max <= 60, "{what}: {heard:?}");
        assert_eq!(rig.counters.drop_transcode.get(), 0, "{what}");
    }
}

#[test]
fn the_way_is_chosen_anew_when_either_side_changes_its_codec() {
    let (mut rig, a, b) = bridged(PCMA, G722);
    let (mut alice, mut bob) = (Speaker::new(7, PCMA), Hearer::new(G722));
    talk(&mut rig, a, b, &mut alice, &mut bob, 20);
    // Bob goes to u-law: the packets pass, in the other law.
    speak(&mut rig, B, PCMU);
    rig.take_sent(b);
    let relayed = rig.receive(a, &alice.say()).expect("it is relayed");
    assert_eq!(relayed.header().payload_type, 0);
    let last = bob.packets.last().expect("heard before").header();
    assert_eq!(relayed.header().sequence, last.sequence.wrapping_add(1));
    rig.pass(20);
    assert!(rig.take_sent(b).is_empty());
    assert_eq!(
        rig.engine.next_deadline(rig.now).map(|due| due >= rig.now),
        Some(true)
    );
    // Alice goes to Opus: translated again.
    speak(&mut rig, A, OPUS);
    let mut alice = Speaker::new(8, OPUS);
    let mut bob = Hearer::new(PCMU);
    talk(&mut rig, a, b, &mut alice, &mut bob, 100);
    bob.assert_seamless();
    let (hz, _) = bob.tone(bob.heard.len() / 2);
    assert!((hz - 440.0).abs() < 6.0, "{hz} Hz");
    assert_eq!(
        rig.counters.carrier_changes.get(),
        6,
        "both ways, both ways back, and both ways again"
    );
}

#[test]
fn a_codec_that_comes_unannounced_is_translated_soon() {
    let (mut rig, a, b) = bridged(PCMA, PCMA);
    rig.configure(A, |n| {
        n.formats = vec![PCMA, G722];
        n.send = PCMA;
    });
    assert!(rig.receive(a, &Speaker::new(7, PCMA).say()).is_some());
    rig.pass(20);
    let (mut alice, mut bob) = (Speaker::new(7, G722), Hearer::new(PCMA));
    alice.phone.sequence = 65_501;
    talk(&mut rig, a, b, &mut alice, &mut bob, 100);
    assert!(bob.packets.len() >= 85, "{}", bob.packets.len());
    let lost = rig.stats(B).drops.transcode;
    assert!((1..=11).contains(&lost), "{lost}");
    // And back: the packets pass again.
    let mut alice = Speaker::new(7, PCMA);
    alice.phone.sequence = 65;
    for _ in 0..15 {
        rig.receive(a, &alice.say());
        rig.pass(20);
    }
    assert!(rig.receive(a, &alice.say()).is_some());
}

#[test]
fn a_hold_and_another_stream_leave_no_hole() {
    let (mut rig, a, b) = bridged(PCMA, OPUS);
    let (mut alice, mut bob) = (Speaker::new(7, PCMA), Hearer::new(OPUS));
    talk(&mut rig, a, b, &mut alice, &mut bob, 50);
    // Bob is on hold: nothing may be sent to him.
    rig.configure(B, |n| {
        n.formats = vec![OPUS];
        n.send = OPUS;
        n.sending = false;
    });
    let before = bob.packets.len();
    talk(&mut rig, a, b, &mut alice, &mut bob, 50);
    assert_eq!(bob.packets.len(), before);
    speak(&mut rig, B, OPUS);
    let held = bob.packets.last().expect("heard before").clone();
    // Alice comes back from another device: another SSRC, other numbers.
    let mut alice = Speaker::new(99, PCMA);
    alice.phone.timestamp = 5;
    let mut after = Hearer::new(OPUS);
    talk(&mut rig, a, b, &mut alice, &mut after, 100);
    after.assert_seamless();
    let first = after.packets[0].header();
    assert_eq!(first.sequence, held.header().sequence.wrapping_add(1));
    assert!(first.marker);
    let units = first.timestamp.wrapping_sub(held.header().timestamp);
    assert!(
        (48_000..=52_000).contains(&units),
        "the hold is in the timestamps: {units}"
    );
    let (hz, _) = after.tone(after.heard.len() / 2);
    assert!((hz - 440.0).abs() < 6.0, "{hz} Hz");
    assert!(rig.stats(A).heard.delay_ms <= 60);
}

#[test]
fn packets_are_as_long_as_the_listener_wants_whatever_the_speaker_sends() {
    for (from_ms, to_ms) in [(20, 60), (60, 20), (30, 40), (10, 20), (40, 10)] {
        let (mut rig, a, b) = Rig::bridged();
        speak(&mut rig, A, PCMA);
        rig.configure(B, |n| {
            n.formats = vec![G722];
            n.send = G722;
            n.ptime_ms = to_ms;
        });
        let (mut alice, mut bob) = (Speaker::new(7, PCMA), Hearer::new(G722));
        alice.ptime_ms = from_ms;
        talk(&mut rig, a, b, &mut alice, &mut bob, 3000 / from_ms);
        bob.assert_seamless();
        assert!(
            bob.packets
                .iter()
                .all(|p| p.payload().len() == usize::from(to_ms) * 8)
        );
        let (hz, level) = bob.tone(bob.heard.len() / 3);
        assert!((hz - 440.0).abs() < 6.0, "{from_ms} to {to_ms}: {hz} Hz");
        assert!(
            (5000.0..6500.0).contains(&level),
            "{from_ms} to {to_ms}: {level}"
        );
        assert_eq!(rig.stats(A).heard.concealed, 0, "{from_ms} to {to_ms}");
    }
}

/// Two legs of these codecs, the first with 30 ms in a packet.
fn bridged_at_30_and_20(one: Format, two: Format) -> (Rig, Slot, Slot) {
    let (mut rig, a, b) = bridged(one, two);
    rig.configure(A, |n| {
        n.formats = vec![one];
        n.send = one;
        n.ptime_ms = 30;
    });
    (rig, a, b)
}

#[test]
fn legs_of_one_codec_each_get_packets_of_their_own_length() {
    for (one, two) in [(PCMU, PCMU), (PCMA, PCMU), (G722, G722), (WIDE, WIDE)] {
        for back in [false, true] {
            let what = format!("{:?} to {:?}, back: {back}", one.codec, two.codec);
            let (mut rig, a, b) = bridged_at_30_and_20(one, two);
            let (from, to, said, heard, from_ms, to_ms) = match back {
                false => (a, b, one, two, 30, 20),
                true => (b, a, two, one, 20, 30),
            };
            let (mut alice, mut bob) = (Speaker::new(7, said), Hearer::new(heard));
            alice.ptime_ms = from_ms;
            talk(&mut rig, from, to, &mut alice, &mut bob, 3000 / from_ms);
            bob.assert_seamless();
            let units = heard.codec.clock_rate() * to_ms / 1000;
            let length = |p: &Sent| heard.codec.samples_in(p.payload());
            assert!(bob.packets.iter().all(|p| length(p) == units), "{what}");
            let (hz, level) = bob.tone(bob.heard.len() / 3);
            assert!((hz - 440.0).abs() < 6.0, "{what}: {hz} Hz");
            assert!((5000.0..6500.0).contains(&level), "{what}: {level}");
            assert_eq!(rig.counters.drop_transcode.get(), 0, "{what}");
        }
    }
}

#[test]
fn packets_that_say_their_own_length_pass_whatever_was_agreed() {
    for format in [OPUS, GSM] {
        let (mut rig, a, _) = bridged_at_30_and_20(format, format);
        let mut alice = Speaker::new(7, format);
        let packet = alice.say();
        let passed = rig.receive(a, &packet).expect("it is relayed");
        assert_eq!(passed.payload(), &packet[12..], "{:?}", format.codec);
    }
    // And with packets of one length nothing is decoded.
    let (mut rig, a, _) = bridged(PCMU, PCMU);
    assert!(rig.receive(a, &Speaker::new(7, PCMU).say()).is_some());
    assert_eq!(rig.counters.carrier_changes.get(), 0);
}

#[test]
fn a_digit_between_legs_of_different_packet_times_is_pressed_once() {
    let (mut rig, a, b) = Rig::bridged();
    rig.configure(A, |n| n.ptime_ms = 30);
    let mut phone = Phone::new(7);
    phone.payload_type = 101;
    for (duration, end) in [(240, false), (480, false), (800, true), (800, true)] {
        let payload = Payload {
            event: 5,
            end,
            volume: 10,
            duration,
        };
        assert!(rig.receive(a, &phone.packet(&payload.bytes())).is_none());
        rig.pass(30);
    }
    rig.pass(300);
    let sent = rig.take_sent(b);
    let events: Vec<_> = sent
        .iter()
        .filter(|s| s.header().payload_type == 96)
        .collect();
    let begins = events.iter().filter(|s| s.header().marker).count();
    assert_eq!(begins, 1);
    let last = events.last().and_then(|s| Payload::parse(s.payload()));
    assert_eq!(
        last.map(|p| (p.event, p.end, p.duration)),
        Some((5, true, 800))
    );
    for pair in sent.windows(2) {
        let (before, after) = (pair[0].header(), pair[1].header());
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    }
}

#[test]
fn a_prompt_is_heard_in_the_codec_of_the_leg() {
    for format in [G722, OPUS, GSM, WIDE, PCMA] {
        let mut rig = Rig::new();
        let b = rig.leg(B);
        speak(&mut rig, B, format);
        rig.command(Command::Play {
            leg: B,
            play: PlayId(1),
            sounds: vec![Arc::new(Sound::from_samples(
                (0..16_000)
                    .map(|n| {
                        let turns = f64::from(n) * 440.0 / 8000.0;
                        ((turns * std::f64::consts::TAU).sin() * 8000.0) as i16
                    })
                    .collect::<Vec<_>>(),
            ))],
            repeat: Repeat::Once,
        });
        rig.pass(2100);
        let mut bob = Hearer::new(format);
        bob.hear(rig.take_sent(b));
        bob.assert_seamless();
        let (hz, level) = bob.tone(bob.heard.len() / 3);
        assert!((hz - 440.0).abs() < 6.0, "{format:?}: {hz} Hz");
        assert!((4750.0..6750.0).contains(&level), "{format:?}: {level}");
    }
}

#[test]
fn a_prompt_of_another_rate_keeps_its_pitch_through_a_change_of_codec() {
    let mut rig = Rig::new();
    let b = rig.leg(B);
    speak(&mut rig, B, G722);
    let tone = (0..64_000).map(|n| {
        let turns = f64::from(n) * 440.0 / 16_000.0;
        ((turns * std::f64::consts::TAU).sin() * 8000.0) as i16
    });
    let mut sound = Sound::from_samples(tone.collect::<Vec<_>>());
    sound.rate = 16_000;
    rig.command(Command::Play {
        leg: B,
        play: PlayId(1),
        sounds: vec![Arc::new(sound)],
        repeat: Repeat::Once,
    });
    for format in [G722, PCMA] {
        speak(&mut rig, B, format);
        rig.take_sent(b);
        rig.pass(2000);
        let mut bob = Hearer::new(format);
        bob.hear(rig.take_sent(b));
        assert!(
            (99..=101).contains(&bob.packets.len()),
            "{}",
            bob.packets.len()
        );
        let (hz, level) = bob.tone(bob.heard.len() / 3);
        assert!((hz - 440.0).abs() < 6.0, "{format:?}: {hz} Hz");
        assert!((4750.0..6750.0).contains(&level), "{format:?}: {level}");
    }
    assert!(rig.take_events().iter().any(|event| matches!(
        event,
        Event::PlayEnded {
            completed: true,
            samples: 64_000,
            ..
        }
    )));
}

#[test]
fn a_stall_is_made_up_for_in_order() {
    let (mut rig, a, b) = bridged(PCMA, G722);
    let (mut alice, mut bob) = (Speaker::new(7, PCMA), Hearer::new(G722));
    talk(&mut rig, a, b, &mut alice, &mut bob, 50);
    let before = rig.stats(A).heard;
    // Our loop stands still for 80 ms, then takes what has come, and then its turns.
    rig.now += Duration::from_millis(80);
    for _ in 0..4 {
        rig.receive(a, &alice.say());
    }
    rig.tick();
    bob.hear(rig.take_sent(b));
    talk(&mut rig, a, b, &mut alice, &mut bob, 50);
    bob.assert_seamless();
    let after = rig.stats(A).heard;
    assert_eq!(
        (after.late, after.concealed),
        (before.late, before.concealed),
        "{after:?}"
    );
    assert!(
        (103..=104).contains(&bob.packets.len()),
        "{}",
        bob.packets.len()
    );
    let (hz, _) = bob.tone(bob.heard.len() / 3);
    assert!((hz - 440.0).abs() < 4.0, "{hz} Hz");
}

#[test]
fn a_digit_for_a_leg_without_events_is_a_tone_in_its_codec() {
    let mut rig = Rig::new();
    let b = rig.leg(B);
    rig.configure(B, |n| {
        n.formats = vec![G722];
        n.send = G722;
        n.dtmf_send = None;
    });
    rig.command(Command::SendDtmf {
        leg: B,
        digit: '5',
        duration_ms: 200,
    });
    rig.pass(400);
    let mut bob = Hearer::new(G722);
    bob.hear(rig.take_sent(b));
    let narrow: Vec<i16> = bob.heard.iter().step_by(2).copied().collect();
    let power = |hz| Goertzel::new(hz).amplitude(&narrow[400..1400]);
    assert!(power(770.0) > 7.0 * power(852.0));
    assert!(power(1336.0) > 7.0 * power(1209.0));
}

#[test]
fn a_pause_of_the_speaker_is_noise_to_the_listener() {
    let (mut rig, a, b) = bridged(PCMA, G722);
    let (mut alice, mut bob) = (Speaker::new(7, PCMA), Hearer::new(G722));
    talk(&mut rig, a, b, &mut alice, &mut bob, 50);
    // RFC 3389: 45 dB below overload, then nothing for a second.
    alice.phone.payload_type = 13;
    let noise = alice.phone.packet(&[45]);
    alice.phone.payload_type = 8;
    assert!(rig.receive(a, &noise).is_none());
    let from = bob.heard.len();
    rig.pass(1000);
    bob.hear(rig.take_sent(b));
    bob.assert_seamless();
    let pause = &bob.heard[from + 4000..];
    let level = pause.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pause.len() as f64;
    let db = 10.0 * (level / 32_768f64.powi(2)).log10();
    assert!((-49.0..-41.0).contains(&db), "{db} dB");
    alice.phone.timestamp = alice.phone.timestamp.wrapping_add(8000);
    talk(&mut rig, a, b, &mut alice, &mut bob, 50);
    let heard = rig.stats(A).heard;
    assert_eq!((heard.concealed, heard.late), (0, 0), "{heard:?}");
    bob.assert_seamless();
}

#[test]
fn noise_passes_to_a_leg_that_takes_it() {
    let (mut rig, a, _) = Rig::bridged();
    rig.configure(B, |n| n.comfort_noise = true);
    let mut alice = Phone::new(7);
    rig.receive(a, &alice.say(1)).expect("relayed");
    alice.payload_type = 13;
    let passed = rig.receive(a, &alice.packet(&[45])).expect("relayed");
    assert_eq!(
        (passed.header().payload_type, passed.payload()),
        (13, &[45u8][..])
    );
    rig.configure(B, |_| ());
    assert!(rig.receive(a, &alice.packet(&[45])).is_none());
    assert_eq!(rig.counters.drop_comfort_noise.get(), 1);
}

#[test]
fn a_muted_speaker_is_silent_in_another_codec_too() {
    for (receive, transmit) in [(true, false), (false, true)] {
        let (mut rig, a, b) = bridged(G722, OPUS);
        let (mut alice, mut bob) = (Speaker::new(7, G722), Hearer::new(OPUS));
        let (leg, other) = if receive { (A, B) } else { (B, A) };
        rig.command(Command::Mute {
            leg,
            receive,
            transmit,
        });
        rig.command(Command::Mute {
            leg: other,
            receive: false,
            transmit: false,
        });
        talk(&mut rig, a, b, &mut alice, &mut bob, 100);
        let (_, level) = bob.tone(16_000);
        assert!(level < 10.0, "{level}");
    }
}

#[test]
fn both_sides_of_a_translated_call_are_recorded_in_step() {
    for (one, two) in [(PCMA, G722), (G722, PCMA), (OPUS, OPUS), (G722, OPUS)] {
        let (mut rig, a, b) = bridged(one, two);
        rig.record(1, A, TapMode::Receive, |_| ());
        rig.record(2, A, TapMode::Transmit, |_| ());
        rig.record(3, B, TapMode::Receive, |_| ());
        rig.record(4, B, TapMode::Transmit, |_| ());
        let (mut alice, mut bob) = (Speaker::new(7, one), Speaker::new(8, two));
        for n in 0..250 {
            // Both begin a second in, at once.
            if n >= 50 {
                rig.receive(a, &alice.say());
                rig.receive(b, &bob.say());
            }
            rig.pass(20);
        }
        for (id, leg) in [(1, A), (2, A), (3, B), (4, B)] {
            rig.stop_record(id, leg, 0);
        }
        let begin = |id| {
            let file: &File = &rig.files[&RecorderId(id)];
            assert_eq!(file.samples.len(), 40_000);
            let loud = |&s: &i16| s.unsigned_abs() > 1500;
            let first = file.samples.iter().position(loud).expect("it is heard");
            let part = &file.samples[16_000..38_000];
            let power: f64 = part.iter().map(|&s| f64::from(s).powi(2)).sum();
            let level = (power / part.len() as f64).sqrt();
            assert!(
                (4500.0..6800.0).contains(&level),
                "{one:?} {two:?} {id}: {level}"
            );
            first as i64
        };
        let begins = [1, 2, 3, 4].map(begin);
        // What is received stands where it came; what is sent stands where it left, a jitter buffer later.
        for (id, at) in begins.into_iter().enumerate() {
            assert!(
                (8000 - 160..8000 + 1000).contains(&at),
                "{one:?} {two:?}: {id} at {at}"
            );
        }
        assert!(
            (begins[0] - begins[2]).abs() <= 160,
            "{one:?} {two:?}: {begins:?}"
        );
    }
}
