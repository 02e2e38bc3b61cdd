//! What signalling is told of what a leg hears.

use super::*;
use crate::attention::{
    Cause, Machine, MachineSetup, Nature, Noticed, Verdict, VoiceWatch, Watch, WatchId, audio_tap,
};
use crate::codec::g711::ulaw_encode;

/// 20 ms of a loud tone, and of silence, as the telephone sends them.
fn loud() -> Vec<u8> {
    (0..160)
        .map(|n| ulaw_encode(((f64::from(n) * 0.4).sin() * 8000.0) as i16))
        .collect()
}

const QUIET: [u8; 160] = [0xFF; 160];

fn watch(rig: &mut Rig, leg: LegId, id: u64, what: Watch) {
    rig.command(Command::Watch {
        leg,
        watch: WatchId(id),
        what: Box::new(what),
    });
}

fn voice(threshold: u16, voice_ms: u32, silence_ms: u32) -> Watch {
    Watch::Voice(VoiceWatch::new(threshold, voice_ms, silence_ms))
}

/// The leg says this for so many milliseconds.
fn say(rig: &mut Rig, slot: Slot, phone: &mut Phone, payload: &[u8], ms: u64) {
    for _ in 0..ms / 20 {
        let packet = phone.packet(payload);
        phone.timestamp = phone.timestamp.wrapping_add(160);
        rig.receive(slot, &packet);
        rig.pass(20);
    }
}

fn noticed(rig: &mut Rig) -> Vec<(WatchId, Noticed)> {
    rig.take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Noticed { watch, noticed, .. } => Some((watch, noticed)),
            _ => None,
        })
        .collect()
}

#[test]
fn voice_and_silence_of_a_leg_are_told_while_its_packets_pass_as_before() {
    let (mut rig, a, b) = Rig::bridged();
    let mut phone = Phone::new(7);
    watch(&mut rig, A, 1, voice(256, 60, 400));
    say(&mut rig, a, &mut phone, &QUIET, 200);
    say(&mut rig, a, &mut phone, &loud(), 400);
    say(&mut rig, a, &mut phone, &QUIET, 800);
    let told = noticed(&mut rig);
    let [
        (_, Noticed::Voice { at_ms: began }),
        (id, Noticed::Silence { at_ms: ended }),
    ] = told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(id, WatchId(1));
    // The jitter buffer's wait comes on top.
    assert!((240..=320).contains(&began), "{began}");
    assert!((720..=820).contains(&(ended - began)), "{began} {ended}");
    assert_eq!(rig.counters.relayed.get(), 70, "the bridge goes on");
    assert_eq!(rig.counters.frames_translated.get(), 0);
    let _ = b;
}

#[test]
fn a_leg_that_nobody_listens_to_is_not_decoded() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    say(&mut rig, a, &mut phone, &loud(), 200);
    assert_eq!(rig.counters.frames_heard.get(), 0);
    watch(&mut rig, A, 1, voice(256, 20, 20));
    say(&mut rig, a, &mut phone, &loud(), 200);
    let heard = rig.counters.frames_heard.get();
    assert!((9..=11).contains(&heard), "{heard}");
    let told = noticed(&mut rig);
    assert!(
        matches!(told[..], [.., (WatchId(1), Noticed::Voice { .. })]),
        "{told:?}"
    );
    rig.command(Command::EndWatch {
        leg: A,
        watch: WatchId(1),
    });
    say(&mut rig, a, &mut phone, &loud(), 200);
    assert_eq!(rig.counters.frames_heard.get(), heard);
    assert_eq!(noticed(&mut rig), []);
}

#[test]
fn a_leg_that_is_muted_or_silent_is_silent() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    watch(&mut rig, A, 1, voice(256, 20, 100));
    rig.pass(200);
    assert_eq!(
        noticed(&mut rig),
        [(WatchId(1), Noticed::Silence { at_ms: 100 })]
    );
    rig.command(Command::Mute {
        leg: A,
        receive: true,
        transmit: false,
    });
    say(&mut rig, a, &mut Phone::new(7), &loud(), 300);
    assert_eq!(noticed(&mut rig), []);
}

#[test]
fn a_verdict_is_told_once_and_ends_the_watch() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    let mut phone = Phone::new(7);
    watch(
        &mut rig,
        A,
        4,
        Watch::Machine(Machine::new(MachineSetup::default())),
    );
    say(&mut rig, a, &mut phone, &QUIET, 300);
    say(&mut rig, a, &mut phone, &loud(), 400);
    say(&mut rig, a, &mut phone, &QUIET, 1200);
    let told = noticed(&mut rig);
    assert_eq!(
        told,
        [(
            WatchId(4),
            Noticed::Verdict(Verdict {
                nature: Nature::Human,
                cause: Cause::Human(800, 800),
            })
        )]
    );
    let heard = rig.counters.frames_watched.get();
    rig.pass(400);
    assert_eq!(rig.counters.frames_watched.get(), heard);
}

#[test]
fn a_tap_gives_every_sample_and_a_reader_that_stops_costs_nothing() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.configure(A, |n| {
        n.formats = vec![Format {
            payload_type: 9,
            codec: Codec::G722,
        }];
        n.send = n.formats[0];
    });
    let (tap, mut reader) = audio_tap(8000);
    watch(&mut rig, A, 1, Watch::Tap(tap));
    let mut phone = Phone::new(7);
    phone.payload_type = 9;
    say(&mut rig, a, &mut phone, &[0x5A; 160], 400);
    let mut bytes = Vec::new();
    reader.read(&mut bytes);
    let frames = bytes.len() / 320;
    assert!((19..=21).contains(&frames), "{frames} frames of 8 kHz");
    assert_eq!(reader.lost(), 0);
    rig.pass(3000);
    assert!(reader.lost() > 0, "nobody read for three seconds");
    drop(reader);
    let before = rig.counters.frames_watched.get();
    rig.pass(1000);
    assert!(rig.counters.frames_watched.get() <= before + 1);
}

#[test]
fn too_many_listeners_are_refused_and_told() {
    let mut rig = Rig::new();
    rig.leg(A);
    for id in 1..=9 {
        watch(&mut rig, A, id, voice(256, 20, 60_000));
    }
    assert_eq!(noticed(&mut rig), [(WatchId(9), Noticed::Refused)]);
    assert_eq!(rig.counters.watches_refused.get(), 1);
}

#[test]
fn members_of_a_room_are_listened_to_as_well() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.leg(B);
    let room = RoomId(1);
    rig.command(Command::Room(room, RoomCommand::Open { rate: 8000 }));
    for leg in [A, B] {
        let options = crate::room::MemberOptions::default();
        rig.command(Command::Room(room, RoomCommand::Join { leg, options }));
    }
    watch(&mut rig, A, 1, voice(256, 40, 60_000));
    say(&mut rig, a, &mut Phone::new(7), &loud(), 300);
    let told = noticed(&mut rig);
    assert!(
        matches!(told[..], [(WatchId(1), Noticed::Voice { .. })]),
        "{told:?}"
    );
    let heard = rig.counters.frames_watched.get();
    assert!((14..=17).contains(&heard), "each frame once: {heard}");
}
