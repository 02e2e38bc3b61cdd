//! The packet path of the media engine works without the allocator: proved by one that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_media::codec::{Decoder, Encoder, EncoderOptions, PAYLOAD_MAX};
use strowger_media::dsp::{ComfortNoise, Resampler};
use strowger_media::engine::{Clock, Engine, Limits, Slot};
use strowger_media::room::{MemberOptions, link};
use strowger_media::rtp::packet::Header;
use strowger_media::rtp::srtp::{Inbound, MasterKey, OVERHEAD_MAX, Outbound, SrtpKeys, Suite};
use strowger_media::{
    Codec, Command, Counters, FileFormat, Format, LegId, LegStart, Negotiated, Order, PlayId,
    RecorderId, RecorderSetup, Repeat, Reply, RoomCommand, RoomId, Sound, TapMode,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // During the end of a thread the cell is gone; nothing is measured then.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is passed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const PCMU: Format = Format {
    payload_type: 0,
    codec: Codec::Pcmu,
};

fn remote(leg: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, leg as u8], 4000))
}

fn configure(leg: u64, send: Format) -> Command {
    configure_secured(leg, send, None)
}

fn configure_secured(leg: u64, send: Format, srtp: Option<SrtpKeys>) -> Command {
    Command::Configure(
        LegId(leg),
        Box::new(Negotiated {
            remote_rtp: Some(remote(leg)),
            remote_rtcp: None,
            formats: vec![Format {
                payload_type: 0,
                codec: Codec::Pcmu,
            }],
            send,
            ptime_ms: 20,
            dtmf_receive: Some(101),
            dtmf_send: Some(101),
            sending: true,
            receiving: true,
            symmetric: true,
            srtp,
            rtp_timeout_ms: 30_000,
            ..Negotiated::default()
        }),
    )
}

fn rig() -> (Engine, Instant, Slot, Slot) {
    let clock = Clock::read();
    let now = clock.now;
    let mut engine = Engine::new(Limits::default(), clock, Arc::new(Counters::default()));
    let mut slots = [Slot(0); 2];
    for (leg, payload_type, codec) in [(1, 0, Codec::Pcmu), (2, 8, Codec::Pcma)] {
        let start = LegStart {
            leg: LegId(leg),
            ssrc: leg as u32,
            sequence: 65_000,
            timestamp: u32::MAX - 5000,
            cname: "test".to_owned(),
        };
        slots[leg as usize - 1] = engine.open(now, start).expect("there is room");
        let send = Format {
            payload_type,
            codec,
        };
        engine.command(now, configure(leg, send), &mut |_, _| ());
    }
    engine.command(now, Command::Bridge(LegId(1), LegId(2)), &mut |_, _| ());
    (engine, now, slots[0], slots[1])
}

fn write(packet: &mut [u8; 172], n: u32, ssrc: u32, payload_type: u8) {
    let header = Header {
        marker: false,
        payload_type,
        sequence: n as u16,
        timestamp: n.wrapping_mul(160),
        ssrc,
        payload: 12..172,
    };
    packet[..12].copy_from_slice(&header.bytes());
    packet[12..].fill(n as u8);
}

#[test]
fn relaying_transcoding_latching_losses_and_digits_do_not_allocate() {
    let (mut engine, start, a, b) = rig();
    let mut relayed = 0u32;
    let count = allocations(|| {
        let mut packet = [0u8; 172];
        for n in 0..20_000u32 {
            let now = start + Duration::from_millis(u64::from(n) * 10);
            let slot = if n % 2 == 0 { a } else { b };
            let leg = if n % 2 == 0 { 1 } else { 2 };
            if n % 101 == 0 {
                continue;
            }
            // A new stream now and then, a digit now and then, and something that nobody wants.
            let payload_type = match n % 1000 {
                500..510 => 101,
                600 => 77,
                _ => 0,
            };
            write(&mut packet, n / 2, n / 5000, payload_type);
            if payload_type == 101 {
                packet[12..16].copy_from_slice(&[5, 0x80, 3, 0x20]);
            }
            let source = if n % 3 == 0 { None } else { Some(remote(leg)) };
            relayed += u32::from(engine.rtp(now, slot, source, &mut packet).is_some());
            engine.tick(now, &mut |_, _| ());
            while engine.poll_event().is_some() {}
            while engine.poll_effect().is_some() {}
        }
    });
    assert!(relayed > 19_000, "{relayed}");
    assert_eq!(count, 0);
}

#[test]
fn prompts_and_recordings_in_progress_do_not_allocate() {
    let (mut engine, start, a, b) = rig();
    for id in 0..3 {
        let mut setup = RecorderSetup::new(
            RecorderId(id),
            LegId(1 + id % 2),
            "a.wav".into(),
            FileFormat::Wav,
            TapMode::Mix,
        );
        setup.silence_ms = if id == 0 { 100 } else { 0 };
        setup.volume_receive = 1;
        setup.volume_transmit = -1;
        let command = Command::StartRecorder(Box::new(setup.prepare()));
        engine.command(start, command, &mut |_, _| ());
    }
    while engine.poll_file().is_some() {}
    let play = Command::Play {
        leg: LegId(2),
        play: PlayId(1),
        sounds: vec![Arc::new(Sound::from_samples(vec![1000; 300]))],
        repeat: Repeat::Forever,
    };
    engine.command(start, play, &mut |_, _| ());
    let (mut blocks, mut sent) = (0, 0);
    let count = allocations(|| {
        let mut packet = [0u8; 172];
        for n in 0..2000u32 {
            let now = start + Duration::from_millis(u64::from(n) * 20);
            for (slot, ssrc) in [(a, 7), (b, 8)] {
                write(&mut packet, n, ssrc, 0);
                engine.rtp(now, slot, Some(remote(u64::from(ssrc - 6))), &mut packet);
            }
            engine.tick(now, &mut |_, _| sent += 1);
            while let Some(order) = engine.poll_file() {
                if let Order::Samples {
                    recorder, samples, ..
                } = order
                {
                    blocks += 1;
                    engine.file_reply(Reply::Buffer { recorder, samples });
                }
            }
            while engine.poll_event().is_some() {}
        }
    });
    assert!(blocks >= 3 * 38, "{blocks}");
    assert!(sent > 1900, "{sent}");
    assert_eq!(count, 0);
}

#[test]
fn translating_between_codecs_does_not_allocate() {
    let (mut engine, start, a, _) = rig();
    let opus = Format {
        payload_type: 107,
        codec: Codec::Opus,
    };
    for (leg, payload_type, codec) in [(1, 0, Codec::Pcmu), (2, 107, Codec::Opus)] {
        let format = Format {
            payload_type,
            codec,
        };
        let negotiated = Negotiated {
            remote_rtp: Some(remote(leg)),
            formats: vec![format],
            send: format,
            ..Negotiated::default()
        };
        let command = Command::Configure(LegId(leg), Box::new(negotiated));
        engine.command(start, command, &mut |_, _| ());
    }
    let mut translated = 0;
    let mut packet = [0u8; 172];
    let mut step = |engine: &mut Engine, n: u32| {
        let now = start + Duration::from_millis(u64::from(n) * 20);
        // Losses, another stream and comfort noise are among them.
        if n % 50 != 7 {
            write(&mut packet, n, n / 500, if n % 90 == 3 { 13 } else { 0 });
            engine.rtp(now, a, Some(remote(1)), &mut packet);
        }
        engine.tick(now, &mut |_, bytes| {
            translated += u32::from(bytes.get(1).is_some_and(|b| b & 0x7F == opus.payload_type));
        });
        while engine.poll_event().is_some() {}
        while engine.poll_effect().is_some() {}
    };
    step(&mut engine, 0);
    let count = allocations(|| {
        for n in 1..1500 {
            step(&mut engine, n);
        }
    });
    assert!(translated > 1400, "{translated}");
    assert_eq!(count, 0);
}

#[test]
fn relaying_between_secured_legs_does_not_allocate() {
    let (mut engine, start, a, b) = rig();
    let key = |suite: Suite, fill| {
        let bytes = vec![fill; suite.key_len() + suite.salt_len()];
        MasterKey::new(suite, &bytes).expect("the suite's length")
    };
    let suites = [Suite::AesCm128Sha1Tag80, Suite::AeadAes256Gcm];
    let mut remotes = Vec::new();
    for (leg, suite) in (1..).zip(suites) {
        let srtp = SrtpKeys {
            send: key(suite, 1),
            receive: key(suite, 2),
        };
        remotes.push((Outbound::new(key(suite, 2)), Inbound::new(key(suite, 1))));
        let command = configure_secured(leg, PCMU, Some(srtp));
        engine.command(start, command, &mut |_, _| ());
    }
    let (mut relayed, mut reports) = (0u32, 0u32);
    let count = allocations(|| {
        for n in 0..20_000u32 {
            let now = start + Duration::from_millis(u64::from(n) * 10);
            let (from, to) = if n % 2 == 0 { (0, 1) } else { (1, 0) };
            let mut buffer = [0u8; 172 + OVERHEAD_MAX];
            let plain = buffer.first_chunk_mut::<172>().expect("room");
            write(plain, n / 2, 7, 0);
            let length = remotes[from]
                .0
                .protect(&mut buffer, 172)
                .expect("protected");
            // Some are forged.
            buffer[100] ^= u8::from(n % 1000 == 0);
            let source = Some(remote(from as u64 + 1));
            let slot = [a, b][from];
            let Some(forward) = engine.rtp_in_buffer(now, slot, source, &mut buffer, length) else {
                continue;
            };
            let at = usize::from(forward.start);
            let packet = &mut buffer[at..at + usize::from(forward.len)];
            assert_eq!(remotes[to].1.unprotect(packet), Ok(172));
            relayed += 1;
            engine.tick(now, &mut |_, _| reports += 1);
            while engine.poll_event().is_some() {}
            while engine.poll_effect().is_some() {}
        }
    });
    assert_eq!((relayed, count), (19_980, 0));
    assert!(reports >= 60, "{reports}");
}

#[test]
fn codecs_resamplers_and_noise_work_without_the_allocator() {
    let options = EncoderOptions {
        fec: true,
        ..EncoderOptions::default()
    };
    let samples: Vec<i16> = (0..2880).map(|i| (i * 37 % 9000) as i16).collect();
    let mut payload = [0; PAYLOAD_MAX];
    let mut out = [0; 2880];
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_spoken()) {
        let mut encoder = Encoder::new(codec, 16_000, &options).expect("it is spoken");
        let mut decoder = Decoder::new(codec, 16_000).expect("it is spoken");
        let mut there = Resampler::new(encoder.rate(), 8000).expect("a rate of a codec");
        let mut back = Resampler::new(8000, encoder.rate()).expect("a rate of a codec");
        let ptime = usize::from(codec.ptime(20));
        let frame = encoder.rate() as usize * ptime / 1000;
        let mut low = [0; 160];
        let used = allocations(|| {
            for round in 0..20 {
                there.run(&samples[..frame], &mut low);
                back.run(&low, &mut out);
                let bytes = encoder.encode(&samples[..frame], &mut payload);
                let bytes = bytes.expect("a whole frame");
                if round % 5 == 3 {
                    decoder.conceal(Some(&payload[..bytes]), &samples, &mut out[..frame]);
                }
                let heard = decoder.decode(&payload[..bytes], &mut out);
                assert_eq!(heard, Ok(frame));
            }
            decoder.reset();
            encoder.reset();
        });
        assert_eq!(used, 0, "{codec:?}");
    }
    let mut noise = ComfortNoise::new(1);
    let used = allocations(|| {
        noise.set(&[40, 60, 200]);
        noise.fill(&mut out);
    });
    assert_eq!(used, 0);
}

#[test]
fn a_room_over_two_engines_with_an_announcement_does_not_allocate() {
    let mut engines = [rig(), rig()];
    let (here, there) = link();
    let mut ends = [Some(Box::new(here)), Some(Box::new(there))];
    for ((engine, start, _, _), end) in engines.iter_mut().zip(&mut ends) {
        let sounds = vec![Arc::new(Sound::from_samples(vec![1000; 300]))];
        let mut commands = vec![RoomCommand::Open { rate: 8000 }];
        commands.extend(end.take().map(RoomCommand::Link));
        for leg in [LegId(1), LegId(2)] {
            let options = MemberOptions {
                talk_events: true,
                ..MemberOptions::default()
            };
            commands.push(RoomCommand::Join { leg, options });
        }
        commands.push(RoomCommand::Play {
            play: PlayId(1),
            sounds,
            repeat: Repeat::Forever,
        });
        for command in commands {
            engine.command(*start, Command::Room(RoomId(1), command), &mut |_, _| ());
        }
    }
    let (mut sent, mut packet) = (0, [0u8; 172]);
    let count = allocations(|| {
        for n in 0..2000u32 {
            for (engine, start, a, b) in &mut engines {
                let now = *start + Duration::from_millis(u64::from(n) * 20);
                for (slot, ssrc) in [(*a, 7), (*b, 8)] {
                    // Now and then both are silent for a while.
                    if n % 500 < 400 {
                        write(&mut packet, n, ssrc, 0);
                        engine.rtp(now, slot, Some(remote(u64::from(ssrc - 6))), &mut packet);
                    }
                }
                engine.tick(now, &mut |_, _| sent += 1);
                while engine.poll_event().is_some() {}
            }
        }
    });
    assert!(sent > 4 * 1900, "{sent}");
    assert_eq!(count, 0);
}
