//! Members of every codec in one room: each hears all others, and nobody himself.

use super::translate::{G722, GSM, Hearer, OPUS, PCMA, PCMU, Speaker, WIDE, speak};
use super::*;
use crate::dsp::Goertzel;
use crate::room::MemberOptions;
use crate::types::{RoomCommand, RoomId};

const ROOM: RoomId = RoomId(3);
/// A format and the tone that its member says, in Hz.
const MEMBERS: [(Format, f64); 6] = [
    (PCMU, 350.0),
    (PCMA, 440.0),
    (G722, 620.0),
    (GSM, 800.0),
    (OPUS, 1000.0),
    (WIDE, 1300.0),
];

/// How strong a tone is, at whatever rate.
fn strength(samples: &[i16], rate: u32, hz: f64) -> f32 {
    // The detector counts by 8000 a second.
    Goertzel::new((hz * 8000.0 / f64::from(rate)) as f32).amplitude(samples)
}

#[test]
fn members_of_every_codec_hear_each_other_and_not_themselves() {
    for rate in [8000, 16_000] {
        let mut rig = Rig::sized(MEMBERS.len());
        rig.command(Command::Room(ROOM, RoomCommand::Open { rate }));
        let mut members = Vec::new();
        for (id, (format, hz)) in (1..).map(LegId).zip(MEMBERS) {
            let slot = rig.leg(id);
            speak(&mut rig, id, format);
            let join = RoomCommand::Join {
                leg: id,
                options: MemberOptions::default(),
            };
            rig.command(Command::Room(ROOM, join));
            let mut speaker = Speaker::new(id.0 as u32, format);
            speaker.hz = hz;
            speaker.level = 2000.0;
            members.push((slot, speaker, Hearer::new(format)));
        }
        for _ in 0..200 {
            for (slot, speaker, _) in &mut members {
                assert!(rig.receive(*slot, &speaker.say()).is_none());
            }
            rig.pass(20);
        }
        for (slot, _, hearer) in &mut members {
            hearer.hear(rig.take_sent(*slot));
            hearer.assert_seamless();
        }
        for (own, (_, _, hearer)) in members.iter().enumerate() {
            let (format, _) = MEMBERS[own];
            let from = hearer.heard.len() / 2;
            let heard = &hearer.heard[from..];
            for (other, (_, hz)) in MEMBERS.iter().enumerate() {
                let level = strength(heard, hearer.rate(), *hz);
                let what = format!("{rate}: {:?} hears {hz} Hz: {level}", format.codec);
                if own == other {
                    // What GSM and Opus make of six tones is not free of others.
                    assert!(level < 300.0, "{what}");
                } else {
                    assert!((1000.0..3000.0).contains(&level), "{what}");
                }
            }
        }
        assert_eq!(rig.counters.drop_transcode.get(), 0);
    }
}
