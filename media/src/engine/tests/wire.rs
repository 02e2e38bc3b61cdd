//! Legs without sockets, between legs that have some.

use super::*;

/// A phone A, the wire B = C, a phone D: A is bridged with B, C with D.
fn rig() -> (Rig, Slot, Slot) {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    let start = |leg: LegId| LegStart {
        leg,
        ssrc: 0x2000_0000 + leg.0 as u32,
        sequence: 7,
        timestamp: 9,
        cname: String::new(),
    };
    rig.command(Command::OpenWire(Box::new([start(B), start(C)])));
    for leg in [B, C] {
        rig.configure(leg, |n| {
            n.remote_rtp = None;
            n.symmetric = false;
            n.dtmf_send = Some(101);
        });
    }
    let d = rig.leg(D);
    rig.command(Command::Bridge(A, B));
    rig.command(Command::Bridge(C, D));
    (rig, a, d)
}

const D: LegId = LegId(4);

#[test]
fn what_is_said_on_one_side_is_heard_on_the_other() {
    let (mut rig, a, d) = rig();
    let mut phones = [Phone::new(7), Phone::new(8)];
    for (from, to, phone) in [(a, d, 0), (d, a, 1)] {
        for _ in 0..3 {
            let packet = phones[phone].say(0x55);
            let heard = rig.receive(from, &packet).expect("it is relayed");
            assert_eq!(heard.transmit.slot, to);
            assert_eq!(heard.payload(), &[0x55; 160]);
        }
    }
    // No socket is asked for, and nothing is reported into the wire.
    rig.pass(10_000);
    let wired = |effect: &Effect| matches!(effect, Effect::Opened { .. });
    assert!(!rig.effects.iter().any(wired));
    for slot in [Slot(1), Slot(2)] {
        assert!(rig.take_sent(slot).is_empty());
    }
}

#[test]
fn what_is_played_into_a_wire_comes_out_of_it() {
    let (mut rig, _, d) = rig();
    rig.play(B, 1, &[1600], Repeat::Once);
    rig.pass(300);
    let heard = rig.take_sent(d);
    let audio: Vec<_> = heard.iter().filter(|sent| !sent.transmit.rtcp).collect();
    assert_eq!(audio.len(), 10, "200 ms");
    assert!(rig.take_events().iter().any(|event| matches!(
        event,
        Event::PlayEnded {
            completed: true,
            ..
        }
    )));
    assert_eq!(rig.counters.drop_wire.get(), 0);
}

#[test]
fn a_digit_sent_into_a_wire_is_pressed_at_its_other_end() {
    let (mut rig, _, d) = rig();
    rig.command(Command::SendDtmf {
        leg: B,
        digit: '5',
        duration_ms: 100,
    });
    rig.pass(400);
    let told = rig.take_events();
    assert!(
        told.iter().any(|event| matches!(
            event,
            Event::DtmfEnd {
                leg: C,
                digit: '5',
                ..
            }
        )),
        "{told:?}"
    );
    assert!(
        rig.take_sent(d)
            .iter()
            .any(|sent| !sent.transmit.rtcp && sent.header().payload_type == 96),
        "and passed on as an event"
    );
}

#[test]
fn a_wire_whose_other_end_is_gone_leads_nowhere() {
    let (mut rig, a, d) = rig();
    rig.command(Command::Close(C));
    assert!(rig.receive(a, &Phone::new(7).say(1)).is_none());
    rig.play(B, 1, &[800], Repeat::Once);
    rig.configure(B, |n| n.remote_rtp = None);
    rig.pass(200);
    assert!(rig.take_sent(Slot(1)).is_empty());
    assert!(rig.take_sent(d).is_empty());
    rig.command(Command::Close(B));
}

#[test]
fn a_ring_of_wires_ends() {
    let (mut rig, a, _) = rig();
    // What comes out of C goes into C's own other end, B, and from there to C again.
    rig.command(Command::Route(B, Route::Relay(B)));
    rig.command(Command::Route(C, Route::Relay(C)));
    assert!(rig.receive(a, &Phone::new(7).say(1)).is_none());
    assert_eq!(rig.counters.drop_wire.get(), 1);
}

/// Two engines as two threads have them, with a wire between: A is bridged with B here, C with D there.
fn two_rigs() -> ([Rig; 2], Slot, Slot) {
    let (mut here, mut there) = (Rig::new(), Rig::new());
    let (near, far) = far_wire();
    let start = |leg: LegId| LegStart {
        leg,
        ssrc: 0x2000_0000 + leg.0 as u32,
        sequence: 7,
        timestamp: 9,
        cname: String::new(),
    };
    let a = here.leg(A);
    here.command(Command::OpenFar(Box::new((start(B), near))));
    let d = there.leg(D);
    there.command(Command::OpenFar(Box::new((start(C), far))));
    for (rig, leg) in [(&mut here, B), (&mut there, C)] {
        rig.configure(leg, |n| {
            n.remote_rtp = None;
            n.symmetric = false;
        });
    }
    here.command(Command::Bridge(A, B));
    there.command(Command::Bridge(C, D));
    ([here, there], a, d)
}

#[test]
fn a_wire_between_threads_is_cut_when_its_other_end_is_gone() {
    let ([mut here, mut there], a, d) = two_rigs();
    let mut phone = Phone::new(7);
    for _ in 0..3 {
        assert!(here.receive(a, &phone.say(0x55)).is_none());
    }
    there.pass(40);
    let heard = there.take_sent(d);
    assert_eq!(heard.iter().filter(|sent| !sent.transmit.rtcp).count(), 3);
    // The packets of the network are those of the telephones.
    assert_eq!(
        (
            here.counters.packets_in.get(),
            here.counters.packets_out.get()
        ),
        (3, 0)
    );
    assert_eq!(
        (
            there.counters.packets_in.get(),
            there.counters.packets_out.get()
        ),
        (0, 3)
    );
    drop(there);
    here.pass(40);
    let dropped = here.counters.drop_wire.get();
    for _ in 0..100 {
        assert!(here.receive(a, &phone.say(0x55)).is_none());
    }
    // Nothing is put into a ring that nobody empties: the leg has nowhere to send to.
    assert_eq!(here.counters.drop_wire.get(), dropped);
}

#[test]
fn packets_that_go_in_a_circle_of_threads_come_to_an_end() {
    let ([mut here, mut there], a, _) = two_rigs();
    // A second wire leads back: what comes to C goes to F, whose other end E is bridged with B again.
    let (near, far) = far_wire();
    let start = |leg: LegId| LegStart {
        leg,
        ssrc: 0x2000_0000 + leg.0 as u32,
        sequence: 7,
        timestamp: 9,
        cname: String::new(),
    };
    let (e, f) = (LegId(5), LegId(6));
    here.command(Command::OpenFar(Box::new((start(e), near))));
    there.command(Command::OpenFar(Box::new((start(f), far))));
    for (rig, leg) in [(&mut here, e), (&mut there, f)] {
        rig.configure(leg, |n| {
            n.remote_rtp = None;
            n.symmetric = false;
        });
    }
    assert!(here.receive(a, &Phone::new(7).say(0x55)).is_none());
    here.command(Command::Bridge(e, B));
    there.command(Command::Bridge(C, f));
    for _ in 0..100 {
        here.pass(20);
        there.pass(20);
    }
    let dropped = [&here, &there].map(|rig| rig.counters.drop_wire.get());
    assert_eq!(dropped.iter().sum::<u64>(), 1, "{dropped:?}");
}
