//! Packets that nobody should send, to legs that decode: nothing panics, and every packet is accounted for.

use super::translate::{G722, GSM, OPUS, PCMA, PCMU, WIDE};
use super::*;
use crate::attention::{VoiceWatch, Watch, WatchId};
use crate::dsp::Gain;
use crate::room::MemberOptions;
use crate::types::{RoomCommand, RoomId};

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A packet of anything: mostly RTP, with jumps, any payload type and any bytes.
fn packet(random: &mut Random, phone: &mut Phone, payload_types: &[u8]) -> Vec<u8> {
    phone.payload_type = match random.next(10) {
        0 => random.next(128) as u8,
        1 => 13,
        2 => 101,
        _ => payload_types[random.next(payload_types.len() as u64) as usize],
    };
    phone.marker = random.next(20) == 0;
    match random.next(40) {
        0 => phone.ssrc = random.next(3) as u32,
        1 => phone.sequence = random.next(65_536) as u16,
        2 => phone.timestamp = random.next(1 << 32) as u32,
        _ => {}
    }
    let lengths = [0, 1, 2, 20, 33, 80, 160, 240, 640, 1400];
    let length = match random.next(4) {
        0 => random.next(1460),
        _ => lengths[random.next(10) as usize],
    };
    let payload: Vec<u8> = (0..length).map(|_| random.next(256) as u8).collect();
    let mut packet = phone.packet(&payload);
    phone.timestamp = phone.timestamp.wrapping_add(random.next(1000) as u32);
    if random.next(30) == 0 {
        let at = random.next(packet.len() as u64) as usize;
        packet[at] = random.next(256) as u8;
    }
    if random.next(30) == 0 {
        packet.truncate(random.next(packet.len() as u64 + 1) as usize);
    }
    packet
}

/// One of the commands that change what happens to packets.
fn command(random: &mut Random, rig: &mut Rig, formats: &[Format]) {
    let leg = LegId(1 + random.next(4));
    let format = formats[random.next(formats.len() as u64) as usize];
    match random.next(12) {
        0 => rig.configure(leg, |n| {
            n.formats = vec![format, PCMU];
            n.send = format;
            n.ptime_ms = [10, 20, 30, 40, 60][random.next(5) as usize];
            n.detect_inband = random.next(2) == 0;
            n.comfort_noise = random.next(2) == 0;
        }),
        1 => rig.command(Command::Route(leg, Route::Relay(LegId(1 + random.next(4))))),
        2 => rig.command(Command::Route(leg, Route::Echo)),
        3 => rig.command(Command::Bridge(LegId(1), LegId(2))),
        4 => rig.play(leg, 1, &[1600, 700], Repeat::Once),
        5 => rig.command(Command::SendDtmf {
            leg,
            digit: '7',
            duration_ms: 100,
        }),
        6 => rig.command(Command::Mute {
            leg,
            receive: random.next(2) == 0,
            transmit: random.next(2) == 0,
        }),
        7 => rig.command(Command::Gain {
            leg,
            receive: Gain::times(random.next(4) as f32),
            transmit: Gain::times(random.next(4) as f32),
        }),
        8 => rig.command(Command::JitterMax {
            leg,
            ms: random.next(400) as u32,
        }),
        9 => rig.command(Command::Watch {
            leg,
            watch: WatchId(random.next(20)),
            what: Box::new(Watch::Voice(VoiceWatch::new(100, 20, 60))),
        }),
        10 => rig.command(Command::EndWatch {
            leg,
            watch: WatchId(random.next(20)),
        }),
        _ => rig.command(Command::Room(
            RoomId(1),
            RoomCommand::Join {
                leg,
                options: MemberOptions {
                    mark: random.next(3) as u8,
                    whispers_to: random.next(3) as u8,
                    hears_only: random.next(3) as u8,
                    ..MemberOptions::default()
                },
            },
        )),
    }
}

#[test]
fn random_packets_into_translating_legs_panic_nowhere_and_are_all_accounted_for() {
    let formats = [PCMU, PCMA, G722, GSM, OPUS, WIDE];
    let payload_types: Vec<u8> = formats.iter().map(|format| format.payload_type).collect();
    for seed in 1..=12u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut rig = Rig::new();
        let mut slots = Vec::new();
        let mut phones = Vec::new();
        for id in 1..=4 {
            slots.push(rig.leg(LegId(id)));
            phones.push(Phone::new(id as u32));
        }
        rig.command(Command::Room(RoomId(1), RoomCommand::Open { rate: 16_000 }));
        rig.record(1, A, TapMode::Mix, |_| ());
        let (mut given, mut control, mut forwarded) = (0, 0, 0);
        for _ in 0..3000 {
            if random.next(60) == 0 {
                command(&mut random, &mut rig, &formats);
            }
            let at = random.next(4) as usize;
            let packet = packet(&mut random, &mut phones[at], &payload_types);
            match crate::rtp::packet::is_rtcp(&packet) {
                true => control += 1,
                false => given += 1,
            }
            if rig.receive(slots[at], &packet).is_some() {
                forwarded += 1;
            }
            if random.next(3) == 0 {
                rig.pass(random.next(40));
            }
            rig.take_events();
        }
        assert_eq!(rig.counters.packets_in.get(), given, "seed {seed}");
        assert!(control < given / 10);
        assert_eq!(rig.counters.relayed.get(), forwarded, "seed {seed}");
        let made = rig.sent.iter().filter(|sent| !sent.transmit.rtcp).count() as u64;
        assert_eq!(rig.counters.generated.get(), made, "seed {seed}");
        assert_eq!(
            rig.counters.packets_out.get(),
            forwarded + made,
            "seed {seed}"
        );
        assert!(rig.counters.frames_translated.get() > 100, "seed {seed}");
        // What a leg received and sent is what all of them did.
        let legs: Vec<LegStats> = (1..=4).map(|id| rig.stats(LegId(id))).collect();
        let sum = |of: fn(&LegStats) -> u64| legs.iter().map(of).sum::<u64>();
        assert_eq!(sum(|leg| leg.packets_sent), forwarded + made, "seed {seed}");
        let refused = [
            rig.counters.drop_invalid.get(),
            rig.counters.drop_unknown_payload.get(),
        ];
        // What is no RTP at all, of no known payload or relayed into nothing is counted where it was dropped.
        let received = sum(|leg| leg.packets_received);
        let not_counted = given - received;
        assert!(
            not_counted <= refused.iter().sum(),
            "seed {seed}: {not_counted} {refused:?}"
        );
        for (n, sent) in rig
            .sent
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.transmit.rtcp)
        {
            assert!(
                Header::parse(&sent.bytes).is_ok(),
                "seed {seed}: packet {n}"
            );
            assert!(sent.bytes.len() <= 1472, "seed {seed}: packet {n}");
        }
    }
}
