//! Behaviours of the engine, each on a rig of virtual time: no socket, no file, no sleep.

mod attend;
mod drift;
mod dtmf;
mod gain;
mod hostile;
mod latching;
mod meeting;
mod network;
mod play;
mod record;
mod relay;
mod reports;
mod room;
mod secured;
mod translate;
mod wide;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::codec::Codec;
use crate::recording::{FileSetup, RecorderSetup};
use crate::rtp::packet::Header;
use crate::rtp::srtp::OVERHEAD_MAX;
use crate::sound::Sound;
use crate::types::{
    Command, Format, LegStart, Negotiated, PlayId, Repeat, RoomCommand, RoomId, Route,
};
use crate::{ControlReport, FileFormat, LegStats, TapMode};

pub(super) const A: LegId = LegId(1);
pub(super) const B: LegId = LegId(2);
pub(super) const C: LegId = LegId(3);

/// A file as the file thread would have made it.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) setup: Option<FileSetup>,
    pub(super) samples: Vec<i16>,
    pub(super) lost: u64,
    pub(super) closed: bool,
}

impl File {
    fn channels(&self) -> u64 {
        self.setup.as_ref().map_or(1, |s| u64::from(s.channels))
    }
}

/// A generated packet.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) transmit: Transmit,
    pub(super) bytes: Vec<u8>,
}

impl Sent {
    pub(super) fn header(&self) -> Header {
        Header::parse(&self.bytes).expect("what the engine sends is RTP")
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.header().payload]
    }
}

/// An engine with its surroundings.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) counters: Arc<Counters>,
    pub(super) sent: Vec<Sent>,
    pub(super) events: Vec<Event>,
    /// Control reports, which come among the events at any time.
    pub(super) reports: Vec<(LegId, ControlReport)>,
    pub(super) effects: Vec<Effect>,
    pub(super) files: HashMap<RecorderId, File>,
    /// Does the file thread give buffers back?
    pub(super) disk_works: bool,
    held_back: Vec<Reply>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::sized(8)
    }

    /// With room for so many legs.
    pub(super) fn sized(max_legs: usize) -> Self {
        let start = Instant::now();
        let counters = Arc::new(Counters::default());
        let clock = Clock {
            now: start,
            ntp: 0xE000_0000_0000_0000,
        };
        let limits = Limits {
            max_legs,
            max_recorders: 3,
            max_events: 64.max(2 * max_legs),
        };
        Self {
            engine: Engine::new(limits, clock, counters.clone()),
            start,
            now: start,
            counters,
            sent: Vec::new(),
            events: Vec::new(),
            reports: Vec::new(),
            effects: Vec::new(),
            files: HashMap::new(),
            disk_works: true,
            held_back: Vec::new(),
        }
    }

    /// Two legs bridged, PCMU, symmetric.
    pub(super) fn bridged() -> (Self, Slot, Slot) {
        let mut rig = Self::new();
        let a = rig.leg(A);
        let b = rig.leg(B);
        rig.command(Command::Bridge(A, B));
        (rig, a, b)
    }

    /// A configured leg.
    pub(super) fn leg(&mut self, leg: LegId) -> Slot {
        let slot = self
            .engine
            .open(
                self.now,
                LegStart {
                    leg,
                    ssrc: 0x1000_0000 + leg.0 as u32,
                    sequence: 1000,
                    timestamp: 50_000,
                    cname: format!("leg{}@test", leg.0),
                },
            )
            .expect("there is room for a leg");
        self.configure(leg, |_| ());
        slot
    }

    pub(super) fn configure(&mut self, leg: LegId, change: impl FnOnce(&mut Negotiated)) {
        let mut negotiated = Negotiated {
            remote_rtp: Some(remote(leg)),
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
                payload_type: 0,
                codec: Codec::Pcmu,
            },
            ptime_ms: 20,
            dtmf_receive: Some(101),
            dtmf_send: Some(96),
            sending: true,
            receiving: true,
            symmetric: true,
            rtp_timeout_ms: 0,
            ..Negotiated::default()
        };
        change(&mut negotiated);
        self.command(Command::Configure(leg, Box::new(negotiated)));
    }

    pub(super) fn command(&mut self, command: Command) {
        let at = self.now - self.start;
        let sent = &mut self.sent;
        self.engine
            .command(self.now, command, &mut |transmit, bytes| {
                sent.push(Sent {
                    at,
                    transmit,
                    bytes: bytes.to_vec(),
                });
            });
        self.drain();
    }

    /// Lets time pass, with turns when the engine wants them.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.engine.next_deadline(self.now) {
            if due > end {
                break;
            }
            self.now = due;
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    pub(super) fn tick(&mut self) {
        let at = self.now - self.start;
        let sent = &mut self.sent;
        self.engine.tick(self.now, &mut |transmit, bytes| {
            sent.push(Sent {
                at,
                transmit,
                bytes: bytes.to_vec(),
            });
        });
        self.drain();
    }

    /// A packet from the leg's usual remote; what is forwarded.
    pub(super) fn receive(&mut self, slot: Slot, packet: &[u8]) -> Option<Sent> {
        let leg = LegId(u64::from(slot.0) + 1);
        self.receive_from(slot, Some(remote(leg)), packet)
    }

    pub(super) fn receive_from(
        &mut self,
        slot: Slot,
        source: Option<SocketAddr>,
        packet: &[u8],
    ) -> Option<Sent> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + OVERHEAD_MAX, 0xEE);
        let forward = self
            .engine
            .rtp_in_buffer(self.now, slot, source, &mut buffer, packet.len());
        self.drain();
        forward.map(|f| Sent {
            at: self.now - self.start,
            transmit: Transmit {
                slot: f.slot,
                rtcp: false,
                dest: f.dest,
            },
            bytes: buffer[usize::from(f.start)..usize::from(f.start + f.len)].to_vec(),
        })
    }

    fn drain(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            self.effects.push(effect);
        }
        while let Some(order) = self.engine.poll_file() {
            self.file(order);
        }
        if self.disk_works {
            for reply in std::mem::take(&mut self.held_back) {
                self.engine.file_reply(reply);
            }
        }
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Report { leg, report } => self.reports.push((leg, report)),
                event => self.events.push(event),
            }
        }
    }

    fn file(&mut self, order: Order) {
        match order {
            Order::Open(setup) => {
                let file = self.files.entry(setup.recorder).or_default();
                assert!(file.setup.is_none(), "opened twice");
                file.setup = Some(*setup);
            }
            Order::Samples {
                recorder,
                position,
                mut samples,
            } => {
                let file = self.files.get_mut(&recorder).expect("opened before");
                // A block, and at the end half a second more.
                let rate = file.setup.as_ref().map_or(8000, |setup| setup.rate);
                let most = 8000 + rate as usize / 2 * file.channels() as usize;
                assert!(!file.closed && !samples.is_empty() && samples.len() <= most);
                let position = position * file.channels();
                assert!(position >= file.samples.len() as u64, "positions grow");
                file.samples.resize(position as usize, 0);
                file.samples.append(&mut samples);
                self.held_back.push(Reply::Buffer { recorder, samples });
            }
            Order::Close {
                recorder,
                leg,
                samples,
                drop_last_samples,
                lost_samples,
            } => {
                let file = self.files.get_mut(&recorder).expect("opened before");
                let channels = file.channels();
                assert!(samples * channels >= file.samples.len() as u64);
                let length = samples - u64::from(drop_last_samples);
                file.samples.resize((length * channels) as usize, 0);
                file.lost = lost_samples;
                file.closed = true;
                self.held_back.push(Reply::Closed {
                    recorder,
                    leg,
                    path: file.setup.as_ref().expect("opened").path.clone(),
                    samples: length,
                    lost_samples,
                    error: None,
                });
            }
        }
    }

    /// What happened since the last call.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What was generated for a slot since the last call, control packets left out.
    pub(super) fn take_sent(&mut self, slot: Slot) -> Vec<Sent> {
        let (wanted, rest) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|s| s.transmit.slot == slot && !s.transmit.rtcp);
        self.sent = rest;
        wanted
    }

    pub(super) fn stats(&mut self, leg: LegId) -> LegStats {
        self.command(Command::Snapshot(leg));
        match self.events.pop() {
            Some(Event::Stats { stats, .. }) => *stats,
            other => panic!("no statistics but {other:?}"),
        }
    }

    pub(super) fn play(&mut self, leg: LegId, play: u64, samples: &[usize], repeat: Repeat) {
        let sounds = samples
            .iter()
            .map(|&n| Arc::new(Sound::from_samples(vec![4000i16; n])))
            .collect();
        self.command(Command::Play {
            leg,
            play: PlayId(play),
            sounds,
            repeat,
        });
    }

    pub(super) fn record(
        &mut self,
        id: u64,
        leg: LegId,
        mode: TapMode,
        change: impl FnOnce(&mut RecorderSetup),
    ) {
        let mut setup = RecorderSetup::new(
            RecorderId(id),
            leg,
            format!("{id}.wav").into(),
            FileFormat::Wav,
            mode,
        );
        change(&mut setup);
        self.command(Command::StartRecorder(Box::new(setup.prepare())));
    }

    pub(super) fn stop_record(&mut self, id: u64, leg: LegId, drop_last_ms: u32) {
        self.command(Command::StopRecorder {
            recorder: RecorderId(id),
            leg,
            drop_last_ms,
        });
    }
}

/// The usual remote of a leg.
pub(super) fn remote(leg: LegId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, leg.0 as u8], 4000))
}

/// Somebody who speaks RTP.
#[derive(Clone, Debug)]
pub(super) struct Phone {
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) payload_type: u8,
    pub(super) marker: bool,
}

impl Phone {
    pub(super) fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            sequence: 65_500,
            timestamp: u32::MAX - 2000,
            payload_type: 0,
            marker: false,
        }
    }

    /// The next packet, of a byte 160 times.
    pub(super) fn say(&mut self, byte: u8) -> Vec<u8> {
        let packet = self.packet(&[byte; 160]);
        self.timestamp = self.timestamp.wrapping_add(160);
        packet
    }

    /// A packet; the sequence goes on, the timestamp does not.
    pub(super) fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            marker: std::mem::take(&mut self.marker),
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload: 12..12 + payload.len(),
        };
        self.sequence = self.sequence.wrapping_add(1);
        [&header.bytes()[..], payload].concat()
    }
}
