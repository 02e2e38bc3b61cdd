//! The media thread as signalling sees it: real sockets on the loopback address, a real ring, real files.

mod util;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strowger_media::{
    Command, Event, FileFormat, LegId, PlayId, RecorderId, RecorderSetup, Repeat, Route, Sound,
    TapMode,
};
use util::{Exchange, Phone, level, packet, read_wav, tone_ulaw};

#[test]
fn two_bridged_legs_relay_packets_both_ways() {
    let mut exchange = Exchange::new();
    let (mut a, mut b) = (exchange.phone(1), exchange.phone(2));
    exchange.send(Command::Bridge(LegId(1), LegId(2)));
    exchange.settle();
    // The first packets find unconnected sockets, the later ones connected ones.
    for i in 0..100_u8 {
        a.send(&[i; 160]);
        b.send(&[!i; 160]);
        let at_b = b.receive().expect("a packet");
        let at_a = a.receive().expect("a packet");
        assert_eq!((&at_b.payload[..], at_b.payload_type), (&[i; 160][..], 0));
        assert_eq!(at_a.payload[..], [!i; 160]);
        assert_eq!((at_b.ssrc, at_a.ssrc), (1002, 1001), "each leg has its own");
        assert_eq!(at_b.sequence, b.first_sequence.wrapping_add(u16::from(i)));
        assert_eq!(at_b.source, b.leg, "from the port that was offered");
    }
    exchange.settle();
    let counters = exchange.counters();
    assert_eq!(counters["relayed"], 200);
    assert_eq!(counters["send_failures"], 0);
}

#[test]
fn an_echo_comes_back_to_its_sender() {
    let mut exchange = Exchange::new();
    let mut phone = exchange.phone(1);
    exchange.send(Command::Route(LegId(1), Route::Echo));
    exchange.settle();
    for i in 0..50_u8 {
        phone.send(&[i; 160]);
        assert_eq!(phone.receive().expect("a packet").payload[..], [i; 160]);
    }
}

#[test]
fn a_sound_is_played_in_time_and_heard_as_it_is() {
    let mut exchange = Exchange::new();
    let mut phone = exchange.phone(1);
    let samples: Vec<i16> = (0..4000)
        .map(|i| (8000.0 * (std::f64::consts::TAU * 440.0 * f64::from(i) / 8000.0).sin()) as i16)
        .collect();
    let sound = Arc::new(Sound::from_samples(samples));
    let started = std::time::Instant::now();
    exchange.send(Command::Play {
        leg: LegId(1),
        play: PlayId(5),
        sounds: vec![sound],
        repeat: Repeat::Once,
    });
    let mut heard = Vec::new();
    while heard.len() < 4000 {
        let packet = phone.receive().expect("a packet");
        assert_eq!(packet.payload.len(), 160);
        heard.extend(packet.payload.iter().map(|&b| util::ulaw(b)));
    }
    let took = started.elapsed();
    // Never faster than it is heard; how late this test sees it is the machine's matter.
    assert!(
        took >= Duration::from_millis(450),
        "half a second of sound took {took:?}"
    );
    assert!(level(&heard, 440.0) > 0.8 * 8000.0, "the tone is there");
    assert!(level(&heard, 1000.0) < 400.0, "and no other");
    let event = exchange.event(|e| matches!(e, Event::PlayEnded { .. }));
    assert!(
        matches!(
            event,
            Event::PlayEnded {
                play: PlayId(5),
                completed: true,
                samples: 4000,
                ..
            }
        ),
        "{event:?}"
    );
}

#[test]
fn a_symmetric_leg_latches_onto_the_real_source_and_stays_there() {
    let mut exchange = Exchange::new();
    let announced = Phone::unbound();
    let mut real = Phone::unbound();
    let mut intruder = Phone::unbound();
    let leg = exchange.open(1);
    exchange.configure(1, announced.address(), true);
    exchange.send(Command::Route(LegId(1), Route::Echo));
    exchange.settle();
    real.leg = leg;
    intruder.leg = leg;
    for i in 0..20_u8 {
        real.send(&[i; 160]);
        assert_eq!(real.receive().expect("a packet").payload[..], [i; 160]);
    }
    let first = exchange.event(|e| matches!(e, Event::FirstRtp { .. }));
    assert!(
        matches!(first, Event::FirstRtp { leg: LegId(1), source } if source == real.address()),
        "{first:?}"
    );
    intruder.try_send(&[99; 160]);
    intruder.try_send(&[99; 160]);
    assert!(
        intruder
            .receive_within(Duration::from_millis(100))
            .is_none()
    );
    real.send(&[7; 160]);
    assert_eq!(real.receive().expect("a packet").payload[..], [7; 160]);
    // A new offer from elsewhere: the leg listens to everybody again, and follows.
    let mut moved = Phone::unbound();
    moved.leg = leg;
    exchange.configure(1, moved.address(), true);
    exchange.settle();
    let mut echoes = 0;
    for i in 0..600_u16 {
        moved.send(&[i as u8; 160]);
        if moved.receive_within(Duration::from_millis(100)).is_some() {
            echoes += 1;
        }
        if echoes == 30 {
            break;
        }
    }
    assert_eq!(echoes, 30, "echoes after the move");
}

#[test]
fn a_hundred_legs_open_relay_and_close_again_and_again() {
    let mut exchange = Exchange::new();
    for round in 0..4_u64 {
        let base = round * 1000;
        let mut phones: Vec<Phone> = (0..100).map(|i| exchange.phone(base + i)).collect();
        for i in (0..100).step_by(2) {
            exchange.send(Command::Bridge(LegId(base + i), LegId(base + i + 1)));
        }
        exchange.settle();
        for n in 0..5_u8 {
            for phone in &mut phones {
                phone.send(&[n; 160]);
            }
            for (i, phone) in phones.iter_mut().enumerate() {
                let packet = phone
                    .receive()
                    .unwrap_or_else(|| panic!("round {round} packet {n} of leg {i}"));
                assert_eq!(packet.payload[..], [n; 160]);
            }
        }
        let ports: Vec<SocketAddr> = phones.iter().map(|p| p.leg).collect();
        for i in 0..100 {
            exchange.send(Command::Close(LegId(base + i)));
        }
        for _ in 0..100 {
            let event = exchange.event(|e| matches!(e, Event::Closed { .. }));
            let Event::Closed { stats, .. } = event else {
                unreachable!("the event asked for");
            };
            assert_eq!((stats.packets_received, stats.packets_sent), (5, 5));
        }
        exchange.settle();
        for port in ports {
            util::expect_free(port);
        }
    }
    let counters = exchange.counters();
    assert_eq!(counters["legs"], 0);
    assert_eq!(counters["relayed"], 2000);
}

#[test]
fn a_recording_plays_while_it_is_made_and_ends_exact() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("day/call.wav");
    let mut exchange = Exchange::new();
    let mut phone = exchange.phone(1);
    exchange.send(Command::StartRecorder(
        recorder(&path, TapMode::Receive).into(),
    ));
    exchange.settle();
    let mut clock = util::Pace::new();
    let mut seen_early = false;
    let mut frames = 0;
    // Two seconds, or longer if the disk takes longer.
    while frames < 100 || (!seen_early && frames < 3000) {
        let i = frames;
        frames += 1;
        phone.send(&tone_ulaw(1000.0, 8000.0, i * 160));
        clock.tick();
        // What a kill would leave at this moment.
        if !seen_early && std::fs::metadata(&path).is_ok_and(|m| m.len() > 44) {
            let early = read_wav(&path);
            seen_early = !early.is_empty();
        }
    }
    assert!(seen_early, "nothing was on disk before the end");
    exchange.send(Command::StopRecorder {
        recorder: RecorderId(1),
        leg: LegId(1),
        drop_last_ms: 0,
    });
    let event = exchange.event(|e| matches!(e, Event::RecorderClosed { .. }));
    let Event::RecorderClosed {
        samples,
        lost_samples,
        error,
        path: closed,
        ..
    } = event
    else {
        unreachable!("the event asked for");
    };
    assert_eq!((lost_samples, error, &closed), (0, None, &path));
    let audio = read_wav(&path);
    assert_eq!(audio.len() as u64, samples);
    // Late commands make it shorter or longer.
    assert!(
        (14_000..160 * (frames as usize + 500)).contains(&audio.len()),
        "{frames} frames became {} samples",
        audio.len()
    );
    let middle = &audio[4000..12_000];
    assert!(
        audio
            .windows(8000)
            .step_by(800)
            .any(|part| util::share_with(part, 1000.0) > 0.5),
        "the tone is there"
    );
    assert!(util::share_with(middle, 440.0) < 0.1, "and no other");
}

#[test]
fn a_recording_onto_a_full_disk_reports_and_the_call_goes_on() {
    let mut exchange = Exchange::new();
    let mut phone = exchange.phone(1);
    exchange.send(Command::Route(LegId(1), Route::Echo));
    exchange.send(Command::StartRecorder(
        recorder(std::path::Path::new("/dev/full"), TapMode::Mix).into(),
    ));
    exchange.settle();
    let mut clock = util::Pace::new();
    for i in 0..75_u8 {
        phone.send(&[i; 160]);
        assert_eq!(phone.receive().expect("a packet").payload[..], [i; 160]);
        clock.tick();
    }
    exchange.send(Command::StopRecorder {
        recorder: RecorderId(1),
        leg: LegId(1),
        drop_last_ms: 0,
    });
    let event = exchange.event(|e| matches!(e, Event::RecorderClosed { .. }));
    let Event::RecorderClosed {
        lost_samples,
        error,
        ..
    } = event
    else {
        unreachable!("the event asked for");
    };
    assert!(lost_samples >= 8000, "{lost_samples} samples lost");
    assert!(error.is_some_and(|e| e.contains("/dev/full")));
}

#[test]
fn stopping_the_thread_ends_recordings_in_full_and_frees_the_ports() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("call.wav");
    let mut exchange = Exchange::new();
    let mut phone = exchange.phone(1);
    exchange.send(Command::StartRecorder(
        recorder(&path, TapMode::Receive).into(),
    ));
    exchange.settle();
    let mut clock = util::Pace::new();
    for i in 0..25 {
        phone.send(&tone_ulaw(1000.0, 8000.0, i * 160));
        clock.tick();
    }
    exchange.stop();
    util::expect_free(phone.leg);
    let audio = read_wav(&path);
    assert!(
        (3000..80_000).contains(&audio.len()),
        "half a second became {} samples",
        audio.len()
    );
}

#[test]
fn the_event_descriptor_is_readable_only_while_events_wait() {
    use strowger_media::uring::schedule::wait_readable;
    let mut exchange = Exchange::new();
    let _phone = exchange.phone(1);
    exchange.settle();
    exchange.worker.handle.ack_events();
    while exchange.worker.handle.poll_event().is_some() {}
    let fd = exchange.worker.handle.event_fd();
    assert!(!wait_readable(fd, Duration::from_millis(20)).expect("poll"));
    exchange.send(Command::Snapshot(LegId(1)));
    assert!(wait_readable(fd, util::PATIENCE).expect("poll"));
    exchange.worker.handle.ack_events();
    assert!(matches!(
        exchange.worker.handle.poll_event(),
        Some(Event::Stats { leg: LegId(1), .. })
    ));
    assert!(!wait_readable(fd, Duration::from_millis(20)).expect("poll"));
}

#[test]
fn an_idle_thread_sleeps() {
    let mut exchange = Exchange::new();
    let _phone = exchange.phone(1);
    exchange.settle();
    let before = exchange.counters()["loops"];
    let started = std::time::Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    let loops = exchange.counters()["loops"] - before;
    let rate = loops as f64 / started.elapsed().as_secs_f64();
    assert!(rate < 200.0, "{rate} turns a second of nothing");
}

#[test]
fn noise_from_the_network_is_dropped_and_the_leg_lives_on() {
    let mut exchange = Exchange::new();
    let mut phone = exchange.phone(1);
    exchange.send(Command::Route(LegId(1), Route::Echo));
    exchange.settle();
    for len in [0, 1, 11, 12, 13, 200, 1400, 1471, 1473, 4000, 60_000] {
        phone.raw(&vec![0x80; len]);
        phone.raw(&vec![0xff; len]);
    }
    let mut heard = false;
    for i in 0..500_u16 {
        let payload = [i as u8; 160];
        phone.raw(&packet(0, 1000 + i, u32::from(i) * 160, 5, &payload));
        // Some of the noise comes back too, but in other lengths.
        while let Some(back) = phone.receive_within(Duration::from_millis(20)) {
            heard |= back.payload.len() == 160;
        }
        if heard && i >= 50 {
            break;
        }
    }
    assert!(heard, "the echo works after the noise");
}

fn recorder(path: &std::path::Path, mode: TapMode) -> strowger_media::Recorder {
    RecorderSetup::new(
        RecorderId(1),
        LegId(1),
        path.to_owned(),
        FileFormat::Wav,
        mode,
    )
    .prepare()
}
