//! Control packets and timeouts.

use super::*;
use crate::rtp::rtcp::{self, Part};

fn parts(bytes: &[u8]) -> Vec<Part> {
    let mut all = Vec::new();
    rtcp::parse(bytes, |part| all.push(part)).expect("ours are valid");
    all
}

#[test]
fn reports_go_out_every_five_seconds_and_say_what_was_sent_and_lost() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    for n in 0..760 {
        let packet = phone.say(1);
        if n % 5 != 4 {
            rig.receive(a, &packet);
        }
        rig.pass(20);
    }
    let of = |slot: u32| -> Vec<Sent> {
        rig.sent
            .iter()
            .filter(|s| s.transmit.rtcp && s.transmit.slot == Slot(slot))
            .cloned()
            .collect()
    };
    let (to_a, to_b) = (of(0), of(1));
    assert_eq!((to_a.len(), to_b.len()), (3, 3));
    assert_eq!(to_a[0].transmit.dest, SocketAddr::new(remote(A).ip(), 4001));
    let Part::Block { block, .. } = &parts(&to_a[1].bytes)[1] else {
        panic!("a receiver report has a block");
    };
    assert!(matches!(
        parts(&to_a[1].bytes)[0],
        Part::Receiver { ssrc: 0x1000_0001 }
    ));
    assert_eq!(block.ssrc, 7);
    assert!(
        (48..=54).contains(&block.reception.fraction_lost),
        "a fifth of 256"
    );
    let Part::Sender { info, .. } = parts(&to_b[2].bytes)[0].clone() else {
        panic!("who sends makes sender reports");
    };
    let sent = u64::from(info.packets);
    assert!((590..=602).contains(&sent), "{sent}");
    assert_eq!(u64::from(info.bytes), sent * 160);
    let seconds = to_b[2].at.as_secs_f64();
    assert_eq!(info.ntp.0 >> 32, 0xE000_0000 + seconds as u64);
    let units = info.timestamp.wrapping_sub(50_000);
    assert!(
        (f64::from(units) - seconds * 8000.0).abs() < 400.0,
        "{units}"
    );
}

#[test]
fn the_round_trip_comes_from_the_remotes_report() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.receive(a, &Phone::new(7).say(1));
    rig.play(A, 1, &[80_000], Repeat::Once);
    rig.pass(6000);
    let report = rig.sent.iter().find(|s| s.transmit.rtcp).expect("a report");
    let Part::Sender { ssrc, info } = parts(&report.bytes)[0].clone() else {
        panic!("a sender report");
    };
    let since = rig.now - rig.start - report.at;
    // The remote kept it for 500 ms less than it took to come back to us; the rest was the way.
    let kept = since - Duration::from_millis(500);
    let answer = rtcp::Report {
        ssrc: 7,
        sender: None,
        block: Some(rtcp::Block {
            ssrc,
            reception: crate::rtp::receive::Reception {
                fraction_lost: 0,
                cumulative_lost: 12,
                highest_sequence: 0,
                jitter: 80,
            },
            last_report: info.ntp.middle(),
            delay: (kept.as_micros() * 65536 / 1_000_000) as u32,
        }),
        cname: "them",
        goodbye: false,
    };
    let mut bytes = [0; rtcp::PACKET_MAX];
    let length = rtcp::build(&answer, &mut bytes).unwrap();
    rig.engine.rtcp(
        rig.now,
        a,
        Some(SocketAddr::new(remote(A).ip(), 4001)),
        &bytes[..length],
    );
    let stranger = SocketAddr::from(([1, 1, 1, 1], 4001));
    rig.engine
        .rtcp(rig.now, a, Some(stranger), &bytes[..length]);
    rig.engine.rtcp(rig.now, a, None, &bytes[..length - 1]);
    let stats = rig.stats(A);
    let round_trip = stats.round_trip_us.expect("measured");
    assert!((499_900..=500_100).contains(&round_trip), "{round_trip}");
    assert_eq!(
        (stats.remote_lost, stats.remote_jitter_us),
        (Some(12), Some(10_000))
    );
    assert_eq!((stats.rtcp_received, stats.drops.wrong_source), (1, 1));
    assert_eq!(rig.counters.rtcp_invalid.get(), 1);
}

#[test]
fn a_leg_that_is_closed_says_goodbye_if_it_ever_spoke() {
    let (mut rig, a, _) = Rig::bridged();
    rig.receive(a, &Phone::new(7).say(1));
    rig.sent.clear();
    rig.command(Command::Close(B));
    assert_eq!(
        parts(&rig.sent[0].bytes).last(),
        Some(&Part::Goodbye { ssrc: 0x1000_0002 })
    );
    rig.leg(C);
    rig.sent.clear();
    rig.command(Command::Close(C));
    assert!(rig.sent.is_empty());
}

#[test]
fn silence_of_the_remote_is_told_once_and_its_return_too() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.configure(A, |n| n.rtp_timeout_ms = 1000);
    let mut phone = Phone::new(7);
    for _ in 0..100 {
        rig.receive(a, &phone.say(1));
        rig.pass(20);
    }
    assert!(matches!(rig.take_events()[..], [Event::FirstRtp { .. }]));
    rig.pass(5000);
    let events = rig.take_events();
    let [Event::RtpTimeout { leg: A, silent_ms }] = events[..] else {
        panic!("{events:?}");
    };
    assert!((1000..=1220).contains(&silent_ms), "{silent_ms}");
    rig.receive(a, &phone.say(1));
    assert!(matches!(
        rig.take_events()[..],
        [Event::RtpResumed { leg: A }]
    ));
    rig.pass(2000);
    assert!(matches!(rig.take_events()[..], [Event::RtpTimeout { .. }]));
}

#[test]
fn control_packets_on_the_media_port_are_understood() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    let report = rtcp::Report {
        ssrc: 7,
        sender: None,
        block: None,
        cname: "x",
        goodbye: false,
    };
    let mut bytes = [0; rtcp::PACKET_MAX];
    let length = rtcp::build(&report, &mut bytes).unwrap();
    assert!(rig.receive(a, &bytes[..length]).is_none());
    assert_eq!(rig.stats(A).rtcp_received, 1);
    assert_eq!(rig.stats(A).drops.invalid, 0);
}
