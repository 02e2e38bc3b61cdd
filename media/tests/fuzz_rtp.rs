//! Mutated packets against everything that reads the network: RTP, RTCP, telephone-events, and the engine as
//! a whole. `STROWGER_FUZZ_ITERATIONS` raises the number of mutations; a failure prints its seed.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_media::engine::{Clock, Engine, Limits, Slot};
use strowger_media::rtp::dtmf::{EventPacket, Listener, Payload};
use strowger_media::rtp::packet::Header;
use strowger_media::rtp::receive::Receiver;
use strowger_media::rtp::rtcp;
use strowger_media::{
    Codec, Command, Counters, FileFormat, Format, LegId, LegStart, Negotiated, RecorderId,
    RecorderSetup, Route, TapMode,
};

const ITERATIONS: u64 = 500_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => bytes.insert(at.min(bytes.len()), self.next() as u8),
                4 if !bytes.is_empty() => bytes[at] = [0, 0xFF, 0x7F, 0x80][self.below(4)],
                5 => {
                    let other = &corpus[self.below(corpus.len())];
                    bytes.extend_from_slice(&other[self.below(other.len())..]);
                }
                _ => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at.min(end)..end);
                }
            }
        }
        bytes.truncate(1472);
        bytes
    }
}

fn fuzz(corpus: &[Vec<u8>], mut target: impl FnMut(&[u8])) {
    let iterations = std::env::var("STROWGER_FUZZ_ITERATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(ITERATIONS);
    for seed in 1..=iterations {
        let bytes = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)).mutate(corpus);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            eprintln!("seed {seed}: {bytes:02x?}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn rtp(payload_type: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        marker: sequence == 0,
        payload_type,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 7,
        payload: 12..12 + payload.len(),
    };
    [&header.bytes()[..], payload].concat()
}

fn rtp_corpus() -> Vec<Vec<u8>> {
    let mut extended = rtp(0, 3, &[]);
    extended[0] |= 0x33;
    extended.extend_from_slice(&[1; 12]);
    extended.extend_from_slice(&[0xBE, 0xDE, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
    extended.extend_from_slice(&[0x55; 80]);
    extended.extend_from_slice(&[0, 0, 0, 4]);
    vec![
        rtp(0, 0, &[0x7F; 160]),
        rtp(8, 1, &[0xD5; 160]),
        rtp(0, 2, &[0; 240]),
        rtp(0, 65_535, &[0; 1]),
        rtp(101, 4, &[5, 10, 0, 160]),
        rtp(101, 5, &[5, 0x8A, 3, 0x20]),
        rtp(13, 6, &[40]),
        extended,
    ]
}

fn rtcp_corpus() -> Vec<Vec<u8>> {
    let reception = strowger_media::rtp::receive::Reception {
        fraction_lost: 3,
        cumulative_lost: -1,
        highest_sequence: 70_000,
        jitter: 9,
    };
    let mut all = Vec::new();
    for (is_sender, has_block, goodbye) in [
        (true, true, true),
        (false, true, false),
        (true, false, false),
        (false, false, true),
    ] {
        let report = rtcp::Report {
            ssrc: 7,
            sender: is_sender.then_some(rtcp::SenderInfo {
                ntp: rtcp::Ntp(0xE000_0000_1234_5678),
                timestamp: 1,
                packets: 2,
                bytes: 3,
            }),
            block: has_block.then_some(rtcp::Block {
                ssrc: 1,
                reception,
                last_report: 0x1234,
                delay: 5,
            }),
            cname: "a@b",
            extended: has_block.then_some(rtcp::Extended {
                reference: Some(rtcp::Ntp(0xE000_0000_1234_5678)),
                answer: Some(rtcp::Dlrr {
                    ssrc: 1,
                    last: 0x1234,
                    delay: 5,
                }),
                voip: Some(rtcp::VoipMetrics::default()),
            }),
            goodbye,
        };
        let mut bytes = vec![0; rtcp::PACKET_MAX];
        let length = rtcp::build(&report, &mut bytes).expect("it fits");
        bytes.truncate(length);
        all.push(bytes);
    }
    all
}

#[test]
fn rtp_packets_of_any_shape_are_read_or_refused() {
    let now = Instant::now();
    let mut receiver = Receiver::new(now);
    let mut read = 0u64;
    fuzz(&rtp_corpus(), |bytes| {
        if let Ok(header) = Header::parse(bytes) {
            assert!(header.payload.start >= 12 && header.payload.end <= bytes.len());
            receiver.packet(now, &header, Some(8000));
            receiver.reception();
            let mut copy = bytes.to_vec();
            let start = header
                .write_before_payload(&mut copy)
                .expect("there is room");
            let again = Header::parse(&copy[start..header.payload.end]).expect("ours is valid");
            assert_eq!(again.payload.len(), header.payload.len());
            read += 1;
        }
    });
    assert!(read > 1000);
}

#[test]
fn control_packets_of_any_shape_are_read_or_refused() {
    let mut parts = 0u64;
    fuzz(&rtcp_corpus(), |bytes| {
        let _ = rtcp::parse(bytes, |_| parts += 1);
    });
    assert!(parts > 1000);
}

#[test]
fn telephone_events_of_any_shape_leave_no_key_down_twice() {
    let now = Instant::now();
    let mut listener = Listener::default();
    let mut down = false;
    let corpus = [
        vec![5, 10, 0, 160, 0, 0, 0, 1],
        vec![5, 0x8A, 3, 0x20, 0, 0, 0, 1],
    ];
    fuzz(&corpus, |bytes| {
        let Some(payload) = Payload::parse(bytes) else {
            return;
        };
        let timestamp = bytes
            .get(4..8)
            .map_or(0, |b| u32::from_be_bytes(b.try_into().expect("four bytes")));
        let event = EventPacket {
            timestamp,
            marker: bytes.len().is_multiple_of(2),
            payload,
        };
        if bytes.len().is_multiple_of(7) {
            listener.new_source();
        }
        listener.packet(now, event, |press| {
            let begins = matches!(press, strowger_media::rtp::dtmf::Press::Begin(_));
            assert_ne!(begins, down);
            down = begins;
        });
    });
}

#[test]
fn an_engine_under_any_packets_stays_whole() {
    let clock = Clock::read();
    let start = clock.now;
    let mut now = start;
    let remote = SocketAddr::from(([10, 0, 0, 1], 4000));
    let counters = Arc::new(Counters::default());
    let mut engine = Engine::new(Limits::default(), clock, counters.clone());
    for leg in 1..=2 {
        let setup = LegStart {
            leg: LegId(leg),
            ssrc: leg as u32,
            sequence: 0,
            timestamp: 0,
            cname: "x".to_owned(),
        };
        engine.open(now, setup).expect("there is room");
        let negotiated = Negotiated {
            remote_rtp: Some(remote),
            remote_rtcp: None,
            formats: vec![
                Format {
                    payload_type: 0,
                    codec: Codec::Pcmu,
                },
                Format {
                    payload_type: 8,
                    codec: Codec::Pcma,
                },
            ],
            send: Format {
                payload_type: 8,
                codec: Codec::Pcma,
            },
            ptime_ms: 20,
            dtmf_receive: Some(101),
            dtmf_send: Some(101),
            sending: true,
            receiving: true,
            symmetric: leg == 1,
            rtp_timeout_ms: 1000,
            rtcp_xr: true,
            detect_inband: leg == 2,
            ..Negotiated::default()
        };
        let configure = Command::Configure(LegId(leg), Box::new(negotiated));
        engine.command(now, configure, &mut |_, _| ());
        let recorder = RecorderSetup::new(
            RecorderId(leg),
            LegId(leg),
            "a".into(),
            FileFormat::Wav,
            TapMode::Mix,
        );
        let record = Command::StartRecorder(Box::new(recorder.prepare()));
        engine.command(now, record, &mut |_, _| ());
    }
    let bridge = Command::Bridge(LegId(1), LegId(2));
    engine.command(now, bridge, &mut |_, _| ());
    let mut corpus = rtp_corpus();
    corpus.extend(rtcp_corpus());
    let mut n = 0u64;
    let mut relayed = 0u64;
    let mut length = 0u64;
    fuzz(&corpus, |bytes| {
        n += 1;
        now += Duration::from_micros(n % 2500);
        if n.is_multiple_of(5000) {
            let route = Command::Route(
                LegId(1),
                [Route::Echo, Route::Relay(LegId(2))][n as usize / 5000 % 2],
            );
            engine.command(now, route, &mut |_, _| ());
        }
        let mut packet = bytes.to_vec();
        let slot = Slot((n % 2) as u32);
        if let Some(forward) = engine.rtp(now, slot, Some(remote), &mut packet) {
            relayed += 1;
            let (start, len) = (usize::from(forward.start), usize::from(forward.len));
            Header::parse(&packet[start..start + len]).expect("what goes out is RTP");
        }
        engine.rtcp(now, slot, None, bytes);
        engine.tick(now, &mut |_, packet| assert!(packet.len() <= 1472));
        while engine.poll_event().is_some() {}
        while let Some(order) = engine.poll_file() {
            if let strowger_media::Order::Samples {
                recorder,
                position,
                samples,
            } = order
            {
                length = length.max(position + samples.len() as u64);
                engine.file_reply(strowger_media::Reply::Buffer { recorder, samples });
            }
        }
    });
    assert!(relayed > 500, "{relayed}");
    let elapsed = (now - start).as_millis() as u64 * 8;
    assert!(length.abs_diff(elapsed) < 12_000, "{length} of {elapsed}");
}
