//! A media thread with phones around it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use strowger_media::ports::PortRange;
use strowger_media::worker::{self, Worker, WorkerConfig};
use strowger_media::writer::{self, Writer, WriterConfig};
use strowger_media::{Codec, Command, Event, Format, LegId, LegSetup, Negotiated};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What a busy machine may take for anything a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One range for all tests of the process, so that they do not take ports from each other.
static PORTS: Mutex<Option<PortRange>> = Mutex::new(None);

/// A media thread, its writer, and the events that were not asked for yet.
pub(crate) struct Exchange {
    pub(crate) worker: Worker,
    writer: Writer,
    events: Vec<Event>,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        let (handle, writer) = writer::spawn(WriterConfig::default()).expect("a writer");
        let config = WorkerConfig {
            name: "media-test".to_owned(),
            core: None,
            realtime: false,
            max_legs: 200,
        };
        let worker = worker::spawn(config, handle).expect("a media thread");
        Self {
            worker,
            writer,
            events: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, command: Command) {
        self.worker
            .handle
            .send(command)
            .expect("room for a command");
    }

    /// Opens a leg and returns its address.
    pub(crate) fn open(&mut self, leg: u64) -> SocketAddr {
        let (rtp, rtcp) = PORTS
            .lock()
            .expect("no test dies holding it")
            .get_or_insert_with(|| PortRange::new(20_000, 31_999))
            .allocate(LOOPBACK)
            .expect("a free pair");
        let address = rtp.local_addr().expect("an address");
        self.send(Command::Open(Box::new(LegSetup {
            leg: LegId(leg),
            rtp,
            rtcp,
            ssrc: 1000 + leg as u32,
            sequence: 7,
            timestamp: 77,
            cname: format!("leg {leg}"),
        })));
        address
    }

    pub(crate) fn configure(&mut self, leg: u64, remote: SocketAddr, symmetric: bool) {
        let format = Format {
            payload_type: 0,
            codec: Codec::Pcmu,
        };
        let negotiated = Negotiated {
            remote_rtp: Some(remote),
            remote_rtcp: None,
            formats: vec![format],
            send: format,
            ptime_ms: 20,
            dtmf_receive: None,
            dtmf_send: None,
            sending: true,
            receiving: true,
            symmetric,
            rtp_timeout_ms: 0,
            ..Negotiated::default()
        };
        self.send(Command::Configure(LegId(leg), Box::new(negotiated)));
    }

    /// A leg and the phone at its other end.
    pub(crate) fn phone(&mut self, leg: u64) -> Phone {
        let mut phone = Phone::unbound();
        phone.leg = self.open(leg);
        self.configure(leg, phone.address(), true);
        phone
    }

    /// Waits until all commands sent so far have been executed.
    pub(crate) fn settle(&mut self) {
        let before = self.worker.counters.loops.get();
        let until = Instant::now() + PATIENCE;
        // A command for a leg that does not exist only wakes the thread; two turns later all before it are done.
        while self.worker.counters.loops.get() < before + 3 {
            assert!(Instant::now() < until, "the media thread does not turn");
            self.send(Command::Snapshot(LegId(u64::MAX)));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The first event that `wanted` says yes to; others are kept.
    pub(crate) fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.worker.handle.poll_event() {
                self.events.push(event);
            }
            if let Some(at) = self.events.iter().position(&wanted) {
                return self.events.remove(at);
            }
            assert!(
                Instant::now() < until,
                "the event did not come; there were {:?}",
                self.events
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn counters(&self) -> HashMap<&'static str, u64> {
        self.worker.counters.snapshot().into_iter().collect()
    }

    /// Ends the media thread, then the writer.
    pub(crate) fn stop(self) {
        self.worker.stop();
        self.writer.stop();
    }
}

/// An RTP packet as it was received.
pub(crate) struct Received {
    pub(crate) source: SocketAddr,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) ssrc: u32,
    pub(crate) payload: Vec<u8>,
}

/// A telephone's RTP socket.
pub(crate) struct Phone {
    socket: UdpSocket,
    /// Where the leg receives.
    pub(crate) leg: SocketAddr,
    /// Sequence number of the first packet received.
    pub(crate) first_sequence: u16,
    received: u32,
    sent: u16,
}

impl Phone {
    /// A phone whose leg is not known yet.
    pub(crate) fn unbound() -> Self {
        Self {
            socket: UdpSocket::bind((LOOPBACK, 0)).expect("bind"),
            leg: SocketAddr::from((LOOPBACK, 9)),
            first_sequence: 0,
            received: 0,
            sent: 0,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// Sends 20 ms of G.711.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        let sequence = self.sent;
        self.sent += 1;
        let ssrc = u32::from(self.address().port());
        self.raw(&packet(
            0,
            sequence,
            u32::from(sequence) * 160,
            ssrc,
            payload,
        ));
    }

    /// The same for a phone that nobody listens to: a refusal by the kernel is expected.
    pub(crate) fn try_send(&mut self, payload: &[u8]) {
        let ssrc = u32::from(self.address().port());
        let bytes = packet(0, self.sent, u32::from(self.sent) * 160, ssrc, payload);
        self.sent += 1;
        let _ = self.socket.send_to(&bytes, self.leg);
    }

    pub(crate) fn raw(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.leg).expect("send");
    }

    pub(crate) fn receive(&mut self) -> Option<Received> {
        self.receive_within(PATIENCE)
    }

    pub(crate) fn receive_within(&mut self, time: Duration) -> Option<Received> {
        self.socket.set_read_timeout(Some(time)).expect("a timeout");
        let mut bytes = [0; 2048];
        loop {
            let (len, source) = match self.socket.recv_from(&mut bytes) {
                Ok(got) => got,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => continue,
                Err(_) => return None,
            };
            let packet = &bytes[..len];
            assert!(len >= 12 && packet[0] >> 6 == 2, "RTP version 2");
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            if self.received == 0 {
                self.first_sequence = sequence;
            }
            self.received += 1;
            return Some(Received {
                source,
                payload_type: packet[1] & 0x7f,
                sequence,
                ssrc: u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]),
                payload: packet[12..].to_vec(),
            });
        }
    }
}

/// An RTP packet (RFC 3550 §5.1).
pub(crate) fn packet(
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Sleeps from one 20 ms frame to the next, without drift.
pub(crate) struct Pace {
    next: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            next: Instant::now(),
        }
    }

    pub(crate) fn tick(&mut self) {
        self.next += Duration::from_millis(20);
        std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
    }
}

/// The linear value of a u-law byte (ITU-T G.711).
pub(crate) fn ulaw(byte: u8) -> i16 {
    strowger_media::codec::g711::ulaw_decode(byte)
}

/// 20 ms of a tone in u-law, from sample `start` on.
pub(crate) fn tone_ulaw(frequency: f64, amplitude: f64, start: u32) -> [u8; 160] {
    std::array::from_fn(|i| {
        let t = f64::from(start + i as u32) / 8000.0;
        let value = amplitude * (std::f64::consts::TAU * frequency * t).sin();
        strowger_media::codec::g711::ulaw_encode(value as i16)
    })
}

/// Amplitude of one frequency in the samples, by correlation.
pub(crate) fn level(samples: &[i16], frequency: f64) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (i, &sample) in samples.iter().enumerate() {
        let angle = std::f64::consts::TAU * frequency * i as f64 / 8000.0;
        real += f64::from(sample) * angle.cos();
        imaginary += f64::from(sample) * angle.sin();
    }
    2.0 * f64::hypot(real, imaginary) / samples.len() as f64
}

/// Share of the whole 100 ms of the samples in which that tone of amplitude 8000 is heard. A sender that had to wait for
/// its processor leaves a gap, after which the phase is another.
pub(crate) fn share_with(samples: &[i16], frequency: f64) -> f64 {
    let pieces = samples.chunks_exact(800);
    let count = pieces.len().max(1);
    let with = pieces.filter(|piece| level(piece, frequency) > 0.8 * 8000.0);
    with.count() as f64 / count as f64
}

/// Waits until nobody has that port any more.
pub(crate) fn expect_free(port: SocketAddr) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = UdpSocket::bind(port) {
        assert!(Instant::now() < until, "port {port} is not free: {error}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The samples of a WAV file, whose header must not promise more than there is; one that is not finished says that its
/// sound reaches to the end of the file.
pub(crate) fn read_wav(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).expect("a recording");
    assert!(bytes.len() >= 44 && &bytes[..4] == b"RIFF", "a WAV file");
    let size = u32::from_le_bytes([bytes[40], bytes[41], bytes[42], bytes[43]]) as usize;
    let end = if size == u32::MAX as usize {
        bytes.len()
    } else {
        44 + size
    };
    assert!(end <= bytes.len(), "a header that promises too much");
    bytes[44..end]
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect()
}
