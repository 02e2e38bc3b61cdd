//! What a listener hears of a speaker, and of whoever comes in between.

use super::*;

/// Sequence numbers without holes, timestamps that follow the clock (to within a packet).
fn assert_seamless(heard: &[Sent]) {
    for pair in heard.windows(2) {
        let (before, after) = (pair[0].header(), pair[1].header());
        assert_eq!(before.ssrc, after.ssrc);
        assert_eq!(
            after.sequence,
            before.sequence.wrapping_add(1),
            "at {:?}",
            pair[1].at
        );
        let units = after.timestamp.wrapping_sub(before.timestamp);
        let clock = (pair[1].at - pair[0].at).as_millis() as u32 * 8;
        assert!(
            (160..=clock + 160).contains(&units) && units + 160 >= clock,
            "{units} units for {clock} of the clock at {:?}",
            pair[1].at
        );
    }
}

#[test]
fn a_relayed_packet_has_our_numbers_and_their_payload() {
    let (mut rig, a, b) = Rig::bridged();
    let mut phone = Phone::new(7);
    let packet = phone.say(0x55);
    let heard = rig.receive(a, &packet).expect("it is relayed");
    assert_eq!(heard.transmit.slot, b);
    assert_eq!(heard.transmit.dest, remote(B));
    let header = heard.header();
    assert_eq!(
        (header.ssrc, header.sequence, header.timestamp),
        (0x1000_0002, 1000, 50_000)
    );
    assert!(header.marker, "a listener is told that speech begins");
    assert_eq!(heard.payload(), &[0x55; 160]);
    rig.pass(20);
    let next = rig.receive(a, &phone.say(1)).expect("it is relayed");
    assert!(!next.header().marker);
    assert_seamless(&[heard, next]);
    assert_eq!(rig.counters.relayed.get(), 2);
    assert_eq!(rig.stats(B).bytes_sent, 320);
}

#[test]
fn extensions_and_padding_of_the_speaker_are_not_passed_on() {
    let (mut rig, a, _) = Rig::bridged();
    let mut packet = Phone::new(7).packet(&[]);
    packet[0] |= 0x31;
    packet.extend_from_slice(&[9; 4]);
    packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, 1, 1, 1, 1]);
    packet.extend_from_slice(&[0x42; 160]);
    packet.extend_from_slice(&[0, 0, 0, 4]);
    let heard = rig.receive(a, &packet).expect("it is relayed");
    assert_eq!(heard.bytes.len(), 172);
    assert_eq!(heard.bytes[0], 0x80);
    assert_eq!(heard.payload(), &[0x42; 160]);
}

#[test]
fn codecs_that_differ_are_transcoded() {
    let (mut rig, a, _) = Rig::bridged();
    rig.configure(B, |n| {
        n.send = Format {
            payload_type: 8,
            codec: Codec::Pcma,
        };
    });
    let heard = rig.receive(a, &Phone::new(7).say(0x80)).expect("relayed");
    assert_eq!(heard.header().payload_type, 8);
    assert_eq!(
        heard.payload(),
        &[0xAA; 160],
        "loudest u-law, loudest A-law"
    );
}

#[test]
fn a_codec_with_state_passes_untouched_and_is_muted_by_its_own_silence() {
    let opus = Format {
        payload_type: 96,
        codec: Codec::Opus,
    };
    let (mut rig, a, _) = Rig::bridged();
    for leg in [A, B] {
        rig.configure(leg, |n| {
            n.formats = vec![opus];
            n.send = opus;
        });
    }
    let mut phone = Phone::new(7);
    let mut packet = phone.packet(&[0x48; 70]);
    packet[1] = 96;
    let heard = rig.receive(a, &packet).expect("relayed");
    assert_eq!(heard.payload(), &[0x48; 70]);
    rig.command(Command::Mute {
        leg: B,
        receive: false,
        transmit: true,
    });
    rig.pass(20);
    let mut packet = phone.packet(&[0x48; 70]);
    packet[1] = 96;
    let heard = rig.receive(a, &packet).expect("relayed");
    assert_eq!(heard.payload(), &[0xF8, 0xFF, 0xFE]);
    assert_eq!(heard.bytes.len(), 15);
}

#[test]
fn what_nobody_can_translate_is_dropped_and_counted() {
    let (mut rig, a, _) = Rig::bridged();
    rig.configure(B, |n| {
        n.send = Format {
            payload_type: 18,
            codec: Codec::G729,
        };
    });
    assert!(rig.receive(a, &Phone::new(7).say(0x80)).is_none());
    assert_eq!(rig.stats(B).drops.transcode, 1);
    assert_eq!(rig.counters.drop_transcode.get(), 1);
}

#[test]
fn a_prompt_a_hold_and_another_peer_are_one_stream_to_the_listener() {
    let (mut rig, a, b) = Rig::bridged();
    let c = rig.leg(C);
    let mut heard = Vec::new();
    let mut alice = Phone::new(7);
    let mut carol = Phone::new(8);
    carol.sequence = 3;
    let talk = |rig: &mut Rig, slot, phone: &mut Phone, heard: &mut Vec<Sent>| {
        for _ in 0..10 {
            heard.extend(rig.receive(slot, &phone.say(1)));
            rig.pass(20);
        }
    };
    talk(&mut rig, a, &mut alice, &mut heard);
    rig.play(B, 1, &[800], Repeat::Once);
    for _ in 0..5 {
        assert!(
            rig.receive(a, &alice.say(1)).is_none(),
            "the prompt replaces"
        );
        rig.pass(20);
    }
    heard.append(&mut rig.take_sent(b));
    assert_eq!(heard.len(), 15);
    talk(&mut rig, a, &mut alice, &mut heard);
    rig.configure(B, |n| n.sending = false);
    for _ in 0..50 {
        assert!(rig.receive(a, &alice.say(1)).is_none());
        rig.pass(20);
    }
    rig.configure(B, |_| ());
    talk(&mut rig, a, &mut alice, &mut heard);
    rig.command(Command::Bridge(B, C));
    talk(&mut rig, c, &mut carol, &mut heard);
    // The same peer with another stream.
    carol.ssrc = 99;
    carol.sequence = 40_000;
    carol.timestamp = 5;
    talk(&mut rig, c, &mut carol, &mut heard);
    assert_eq!(heard.len(), 55);
    assert_seamless(&heard);
    let markers: Vec<usize> = (0..heard.len())
        .filter(|&n| heard[n].header().marker)
        .collect();
    assert_eq!(markers, [0, 10, 15, 25, 35, 45]);
    let drops = rig.stats(B).drops;
    assert_eq!((drops.replaced, drops.not_sending), (5, 50));
}

#[test]
fn losses_before_us_stay_losses_but_what_we_leave_out_does_not() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    let first = rig.receive(a, &phone.say(1)).unwrap().header();
    let _lost = phone.say(1);
    let after_loss = rig.receive(a, &phone.say(1)).unwrap().header();
    assert_eq!(after_loss.sequence.wrapping_sub(first.sequence), 2);
    phone.payload_type = 13;
    assert!(rig.receive(a, &phone.say(1)).is_none(), "comfort noise");
    phone.payload_type = 0;
    let after_noise = rig.receive(a, &phone.say(1)).unwrap().header();
    assert_eq!(after_noise.sequence.wrapping_sub(first.sequence), 3);
    assert_eq!(after_noise.timestamp.wrapping_sub(first.timestamp), 640);
    assert_eq!(rig.stats(B).drops.comfort_noise, 1);
}

#[test]
fn duplicates_and_late_packets_are_not_passed_on_but_reordered_ones_are() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    let packets: Vec<Vec<u8>> = (0..200).map(|n| phone.say(n)).collect();
    assert!(rig.receive(a, &packets[0]).is_some());
    assert!(rig.receive(a, &packets[2]).is_some());
    let reordered = rig.receive(a, &packets[1]).expect("still of use");
    assert_eq!(reordered.header().sequence, 1001);
    assert!(rig.receive(a, &packets[2]).is_none());
    assert!(rig.receive(a, &packets[150]).is_some());
    assert!(rig.receive(a, &packets[3]).is_none());
    let stats = rig.stats(A);
    assert_eq!((stats.duplicates, stats.reordered, stats.late), (1, 1, 1));
    assert_eq!((stats.drops.duplicate, stats.drops.late), (1, 1));
    assert_eq!(stats.lost, 151 - 4);
}

#[test]
fn what_may_not_pass_is_dropped_for_its_reason() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    let mut phone = Phone::new(7);
    assert!(rig.receive(a, &[0x80; 5]).is_none());
    phone.payload_type = 77;
    assert!(rig.receive(a, &phone.say(1)).is_none());
    phone.payload_type = 0;
    assert!(rig.receive(a, &phone.packet(&[])).is_none());
    rig.configure(A, |n| n.receiving = false);
    assert!(rig.receive(a, &phone.say(1)).is_none());
    let drops = rig.stats(A).drops;
    assert_eq!(
        (
            drops.invalid,
            drops.unknown_payload,
            drops.empty,
            drops.not_receiving
        ),
        (1, 1, 1, 1)
    );
    assert!(rig.receive(Slot(5), &phone.say(1)).is_none());
    assert!(rig.receive(Slot(5000), &phone.say(1)).is_none());
    assert_eq!(rig.counters.drop_no_leg.get(), 2);
}

#[test]
fn an_echo_comes_back_on_the_same_leg() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.command(Command::Route(A, Route::Echo));
    let heard = rig.receive(a, &Phone::new(7).say(0x33)).expect("echoed");
    assert_eq!((heard.transmit.slot, heard.transmit.dest), (a, remote(A)));
    assert_eq!(heard.payload(), &[0x33; 160]);
    rig.command(Command::Route(A, Route::Silence));
    assert!(rig.receive(a, &Phone::new(7).say(0x33)).is_none());
}

#[test]
fn a_route_ends_with_its_peer_even_when_the_slot_is_used_again() {
    let (mut rig, a, b) = Rig::bridged();
    let mut phone = Phone::new(7);
    assert!(rig.receive(a, &phone.say(1)).is_some());
    rig.command(Command::Close(B));
    assert!(rig.receive(a, &phone.say(1)).is_none());
    assert!(matches!(
        rig.take_events().last(),
        Some(Event::Closed { leg: B, stats }) if stats.packets_sent == 1
    ));
    assert!(matches!(rig.effects.last(), Some(Effect::Closed { slot }) if *slot == b));
    rig.engine.release(b);
    rig.engine.release(b);
    let c = rig.leg(C);
    assert_eq!(c, b, "a released slot is used again, once");
    assert!(rig.receive(a, &phone.say(1)).is_none());
    let d = rig.leg(LegId(4));
    assert_ne!(d, b);
}

#[test]
fn a_muted_side_is_silent_and_its_stream_goes_on() {
    let (mut rig, a, b) = Rig::bridged();
    let mut alice = Phone::new(7);
    let mut bob = Phone::new(8);
    rig.command(Command::Mute {
        leg: A,
        receive: true,
        transmit: false,
    });
    assert_eq!(
        rig.receive(a, &alice.say(1)).unwrap().payload(),
        [0xFF; 160]
    );
    assert_eq!(rig.receive(b, &bob.say(1)).unwrap().payload(), [1; 160]);
    rig.command(Command::Mute {
        leg: A,
        receive: false,
        transmit: true,
    });
    assert_eq!(rig.receive(a, &alice.say(1)).unwrap().payload(), [1; 160]);
    assert_eq!(rig.receive(b, &bob.say(1)).unwrap().payload(), [0xFF; 160]);
}

#[test]
fn a_table_has_its_limit_and_an_id_is_used_once() {
    let mut rig = Rig::new();
    let start = |leg| LegStart {
        leg: LegId(leg),
        ssrc: 0,
        sequence: 0,
        timestamp: 0,
        cname: String::new(),
    };
    for leg in 0..8 {
        assert!(rig.engine.open(rig.now, start(leg)).is_some());
    }
    assert_eq!(rig.engine.open(rig.now, start(8)), None);
    assert_eq!(rig.engine.open(rig.now, start(3)), None);
    assert_eq!(rig.counters.legs_refused.get(), 2);
    rig.command(Command::Snapshot(LegId(77)));
    assert_eq!(rig.counters.commands_ignored.get(), 1);
}
