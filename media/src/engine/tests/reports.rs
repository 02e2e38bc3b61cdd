//! Control packets and timeouts.

use super::*;
use crate::ControlReport;
use crate::rtp::rtcp::{self, Ntp, Part};

fn parts(bytes: &[u8]) -> Vec<Part> {
    let mut all = Vec::new();
    rtcp::parse(bytes, |part| all.push(part)).expect("ours are valid");
    all
}

#[test]
fn reports_go_out_now_and_then_and_say_what_was_sent_and_lost() {
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
    for reports in [&to_a, &to_b] {
        assert!((3..=8).contains(&reports.len()), "{}", reports.len());
        let times: Vec<f64> = reports.iter().map(|s| s.at.as_secs_f64()).collect();
        assert!(
            (1.0..3.5).contains(&times[0]),
            "the first one sooner: {times:?}"
        );
        for pair in times.windows(2) {
            // The leg's turn comes every 200 ms.
            assert!((2.0..6.5).contains(&(pair[1] - pair[0])), "{times:?}");
        }
    }
    assert_ne!(to_a[0].at, to_b[0].at, "legs do not report together");
    let (to_a, to_b) = (&to_a, to_b.last().expect("reports"));
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
    let Part::Sender { info, .. } = parts(&to_b.bytes)[0].clone() else {
        panic!("who sends makes sender reports");
    };
    let sent = u64::from(info.packets);
    let expected = (to_b.at.as_millis() / 25) as u64;
    assert!(sent.abs_diff(expected) <= 6, "{sent} of {expected}");
    assert_eq!(u64::from(info.bytes), sent * 160);
    let seconds = to_b.at.as_secs_f64();
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
        extended: None,
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
        extended: None,
        goodbye: false,
    };
    let mut bytes = [0; rtcp::PACKET_MAX];
    let length = rtcp::build(&report, &mut bytes).unwrap();
    assert!(rig.receive(a, &bytes[..length]).is_none());
    assert_eq!(rig.stats(A).rtcp_received, 1);
    assert_eq!(rig.stats(A).drops.invalid, 0);
}

#[test]
fn reports_share_the_port_of_media_where_that_was_agreed() {
    let (mut rig, a, _) = Rig::bridged();
    rig.configure(A, |n| n.rtcp_mux = true);
    let mut phone = Phone::new(7);
    for _ in 0..400 {
        rig.receive(a, &phone.say(1));
        rig.pass(20);
    }
    let (shared, own): (Vec<Sent>, Vec<Sent>) = std::mem::take(&mut rig.sent)
        .into_iter()
        .partition(|s| s.transmit.slot == a);
    assert!(!shared.is_empty() && !own.is_empty());
    assert!(
        shared
            .iter()
            .all(|s| !s.transmit.rtcp && s.transmit.dest == remote(A))
    );
    assert!(own.iter().all(|s| s.transmit.rtcp));
}

#[test]
fn extended_reports_go_to_who_wants_them() {
    let (mut rig, a, _) = Rig::bridged();
    rig.configure(A, |n| n.rtcp_xr = true);
    let mut phone = Phone::new(7);
    for n in 0..500 {
        let packet = phone.say(1);
        if n % 10 != 9 {
            rig.receive(a, &packet);
        }
        rig.pass(20);
    }
    let of = |slot: Slot| -> Vec<Part> {
        rig.sent
            .iter()
            .filter(|s| s.transmit.slot == slot)
            .flat_map(|s| parts(&s.bytes))
            .collect()
    };
    let metrics = of(a)
        .into_iter()
        .rev()
        .find_map(|part| match part {
            Part::Voip { metrics, .. } => Some(metrics),
            _ => None,
        })
        .expect("it wants them");
    assert_eq!(metrics.ssrc, 7);
    assert!((24..=27).contains(&metrics.loss_rate), "{metrics:?}");
    // Every tenth is lost: never sixteen in a row, so all is one burst.
    assert!((24..=30).contains(&metrics.burst_density), "{metrics:?}");
    assert_eq!(metrics.gmin, 16);
    assert!((10..=25).contains(&metrics.mos_cq), "{metrics:?}");
    // We send A nothing, so only our own clock gives it the round trip.
    assert!(
        of(a)
            .iter()
            .any(|part| matches!(part, Part::Reference { .. }))
    );
    assert!(
        !of(Slot(1))
            .iter()
            .any(|part| matches!(part, Part::Voip { .. }))
    );
}

#[test]
fn a_receivers_clock_is_answered_and_its_answer_gives_the_round_trip() {
    let mut rig = Rig::new();
    let a = rig.leg(A);
    rig.configure(A, |n| n.rtcp_xr = true);
    let mut phone = Phone::new(7);
    rig.receive(a, &phone.say(1));
    let their_clock = Ntp(0xE123_0000_8000_0000);
    let report = |extended: rtcp::Extended| rtcp::Report {
        ssrc: 7,
        sender: None,
        block: None,
        cname: "them",
        extended: Some(extended),
        goodbye: false,
    };
    let mut bytes = [0; rtcp::PACKET_MAX];
    let question = report(rtcp::Extended {
        reference: Some(their_clock),
        ..rtcp::Extended::default()
    });
    let length = rtcp::build(&question, &mut bytes).unwrap();
    let source = Some(SocketAddr::new(remote(A).ip(), 4001));
    rig.engine.rtcp(rig.now, a, source, &bytes[..length]);
    let asked = rig.now;
    rig.pass(4000);
    let sent = rig.sent.iter().find(|s| s.transmit.rtcp).expect("a report");
    let at = sent.at;
    let (mut ours, mut answered) = (None, None);
    for part in parts(&sent.bytes) {
        match part {
            Part::Reference { ntp, .. } => ours = Some(ntp),
            Part::Answer(answer) => answered = Some(answer),
            _ => {}
        }
    }
    let (ours, answered) = (
        ours.expect("our clock"),
        answered.expect("their clock answered"),
    );
    assert_eq!((answered.ssrc, answered.last), (7, their_clock.middle()));
    let kept = at - (asked - rig.start);
    let delay = (kept.as_micros() * 65536 / 1_000_000) as u32;
    assert!(answered.delay.abs_diff(delay) <= 1);
    // Their answer comes 90 ms later; they kept our clock for 30 ms.
    rig.pass(0);
    rig.now = rig.start + at + Duration::from_millis(90);
    let answer = report(rtcp::Extended {
        answer: Some(rtcp::Dlrr {
            ssrc: 0x1000_0001,
            last: ours.middle(),
            delay: 30 * 65536 / 1000,
        }),
        ..rtcp::Extended::default()
    });
    let length = rtcp::build(&answer, &mut bytes).unwrap();
    rig.engine.rtcp(rig.now, a, source, &bytes[..length]);
    let round_trip = rig.stats(A).round_trip_us.expect("measured");
    assert!((59_900..=60_100).contains(&round_trip), "{round_trip}");
}

#[test]
fn reports_are_told_and_sum_up_how_the_call_sounded() {
    let (mut rig, a, _) = Rig::bridged();
    let mut phone = Phone::new(7);
    for n in 0..1000 {
        let packet = phone.say(1);
        // The second ten seconds are bad.
        if n < 500 || n % 4 != 0 {
            rig.receive(a, &packet);
        }
        rig.pass(20);
    }
    let told: Vec<ControlReport> = rig
        .reports
        .iter()
        .filter(|(leg, _)| *leg == A)
        .map(|(_, report)| *report)
        .collect();
    assert!((3..=10).contains(&told.len()), "{}", told.len());
    assert!(
        told.iter()
            .all(|r| r.sent && r.ssrc == 0x1000_0001 && r.sender.is_none())
    );
    assert!(told.iter().all(|r| r.block.is_some_and(|b| b.ssrc == 7)));
    let quality = rig.stats(A).quality;
    assert_eq!(quality.loss.count() as usize, told.len());
    assert_eq!(quality.loss.min(), 0.0);
    assert!(quality.loss.max() >= 20.0, "{quality:?}");
    assert!(
        quality.mos.max() > 4.2 && quality.mos.min() < 2.0,
        "{quality:?}"
    );
    assert!(quality.mos.deviation() > 0.1);
}
