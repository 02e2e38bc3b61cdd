//! Louder, softer, and how long audio may wait.

use super::*;
use crate::codec::G711;
use crate::dsp::Gain;

/// The mean magnitude of what is heard of a payload of one byte.
fn level(payload: &[u8]) -> u32 {
    let mut samples = [0; 400];
    let count = G711::Ulaw.decode(payload, &mut samples);
    let sum: u32 = samples[..count]
        .iter()
        .map(|s| u32::from(s.unsigned_abs()))
        .sum();
    sum / count as u32
}

fn set(rig: &mut Rig, leg: LegId, receive: f32, transmit: f32) {
    rig.command(Command::Gain {
        leg,
        receive: Gain::times(receive),
        transmit: Gain::times(transmit),
    });
}

#[test]
fn packets_of_g711_are_made_louder_and_softer_on_their_way() {
    let (mut rig, a, b) = Rig::bridged();
    let mut phone = Phone::new(7);
    let mut other = Phone::new(8);
    let plain = level(&[0x9F; 160]);
    set(&mut rig, A, 0.5, 4.0);
    let heard = rig.receive(a, &phone.say(0x9F)).expect("relayed");
    let half = level(heard.payload());
    assert!(half.abs_diff(plain / 2) <= plain / 30, "{half} of {plain}");
    let heard = rig.receive(b, &other.say(0xBF)).expect("relayed");
    let (loud, soft) = (level(heard.payload()), level(&[0xBF; 160]));
    assert!(loud.abs_diff(soft * 4) <= soft / 5, "{loud} of {soft}");
    assert_eq!(rig.counters.frames_translated.get(), 0);
    set(&mut rig, A, 1.0, 1.0);
    let heard = rig.receive(a, &phone.say(0x9F)).expect("relayed");
    assert_eq!(heard.payload(), &[0x9F; 160]);
}

#[test]
fn what_is_played_is_made_softer_too() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    set(&mut rig, A, 1.0, 0.25);
    rig.play(A, 1, &[1600], Repeat::Once);
    rig.pass(200);
    let sent = rig.take_sent(a);
    let loud = level(sent[3].payload());
    assert!((960..=1040).contains(&loud), "{loud} of 4000");
}

#[test]
fn audio_of_a_codec_with_state_is_decoded_for_it_and_passed_again_afterwards() {
    let (mut rig, a, _) = Rig::bridged();
    for leg in [A, B] {
        rig.configure(leg, |n| {
            n.formats = vec![Format {
                payload_type: 9,
                codec: Codec::G722,
            }];
            n.send = n.formats[0];
        });
    }
    let mut phone = Phone::new(7);
    phone.payload_type = 9;
    assert!(rig.receive(a, &phone.say(0x33)).is_some(), "it passes");
    set(&mut rig, B, 1.0, 2.0);
    for _ in 0..20 {
        assert!(rig.receive(a, &phone.say(0x33)).is_none());
        rig.pass(20);
    }
    assert!(rig.counters.frames_translated.get() >= 15);
    set(&mut rig, B, 1.0, 1.0);
    assert!(
        rig.receive(a, &phone.say(0x33)).is_some(),
        "it passes again"
    );
}

/// The longest wait in the jitter buffer of a leg of whose packets each fifth comes 180 ms late.
fn longest_wait(limit_ms: Option<u32>) -> u32 {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.configure(A, |n| n.detect_inband = false);
    rig.leg(B);
    rig.configure(B, |n| {
        n.send = Format {
            payload_type: 9,
            codec: Codec::G722,
        };
        n.formats = vec![n.send];
    });
    rig.command(Command::Bridge(A, B));
    if let Some(ms) = limit_ms {
        rig.command(Command::JitterMax { leg: A, ms });
    }
    let mut phone = Phone::new(7);
    let mut late = VecDeque::new();
    for number in 0..600 {
        let packet = phone.say(0x33);
        if number % 5 == 0 {
            late.push_back((number + 9, packet));
        } else {
            rig.receive(a, &packet);
        }
        while late.front().is_some_and(|(due, _)| *due <= number) {
            if let Some((_, packet)) = late.pop_front() {
                rig.receive(a, &packet);
            }
        }
        rig.pass(20);
    }
    rig.stats(A).heard.delay_ms_max
}

#[test]
fn the_wait_of_the_jitter_buffer_can_be_limited() {
    let free = longest_wait(None);
    assert!(free >= 160, "{free} ms for packets that are 180 ms late");
    let limited = longest_wait(Some(60));
    assert!(limited <= 80, "{limited} ms");
}
