//! The audio of one scripted call: sends 20 ms of G.711 at a time, keeps account of what comes back.

use crate::audio::Law;
use crate::wire::AudioLine;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a call sends.
#[derive(Clone, Debug)]
pub enum Source {
    /// No packets at all.
    Nothing,
    /// Packets of silence.
    Silence,
    /// A sine of that frequency (Hz), amplitude 8000.
    Tone(f64),
    /// These samples once, then silence.
    Samples(Arc<[i16]>),
}

/// What has been heard on a call so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Packets received, of every payload type.
    pub packets: u64,
    /// Sequence numbers never seen between the first and the highest one, over all SSRCs.
    pub lost: u64,
    /// Packets whose sequence number came twice.
    pub duplicates: u64,
    /// Packets that came after a higher sequence number.
    pub reordered: u64,
    /// Every SSRC seen, in order of appearance.
    pub ssrcs: Vec<u32>,
    /// Packets per payload type.
    pub payload_types: BTreeMap<u8, u64>,
    /// Audio by RTP time since the first packet, silence where nothing came; empty when only counting.
    pub samples: Vec<i16>,
    /// Audio of the packets one after the other, each with a sequence number above all before, whatever their timestamps say: what
    /// was said, without the pauses of a sender whose machine stood still.
    pub said: Vec<i16>,
    /// Digits heard as RFC 4733 events, each once.
    pub digits: String,
    /// The longest time between two packets.
    pub longest_gap: Duration,
    /// RTCP packets received.
    pub rtcp: u64,
    /// When the first packet came.
    pub first: Option<Instant>,
    /// When the last packet came.
    pub last: Option<Instant>,
    /// Where the last packet came from.
    pub from: Option<SocketAddr>,
}

/// Sequence numbers of the SSRC that is being received.
#[derive(Debug)]
struct Sequence {
    ssrc: u32,
    highest: u16,
    /// Which of the last 1024 numbers up to `highest` have been seen.
    seen: [bool; 1024],
    /// RTP timestamp that stands at `samples[base_offset]`.
    base_timestamp: u32,
    base_offset: usize,
}

/// An event (digit) that is being sent.
#[derive(Debug)]
struct Event {
    code: u8,
    timestamp: u32,
    duration: u16,
    ends_sent: u8,
}

/// RTP and RTCP socket of one call, with both directions' state.
#[derive(Debug)]
pub(super) struct RtpLeg {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    pub(super) address: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    law: Law,
    dtmf: Option<u8>,
    sending: bool,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    source: Source,
    played: usize,
    pub(super) digits: VecDeque<char>,
    event: Option<Event>,
    pause_packets: u32,
    next: Option<Instant>,
    pub(super) sent: u64,
    keep_samples: bool,
    receiving: Option<Sequence>,
    last_event_timestamp: Option<u32>,
    pub(super) heard: Heard,
}

const PACKET: Duration = Duration::from_millis(20);
const SAMPLES_MAX: usize = 8000 * 600;

impl RtpLeg {
    /// Opens an even RTP port and the odd RTCP port above it.
    pub(super) fn open(
        ip: IpAddr,
        ssrc: u32,
        source: Source,
        keep_samples: bool,
    ) -> std::io::Result<Self> {
        let (rtp, rtcp) = loop {
            let rtp = UdpSocket::bind((ip, 0))?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 0
                && port < u16::MAX
                && let Ok(rtcp) = UdpSocket::bind((ip, port + 1))
            {
                break (rtp, rtcp);
            }
        };
        rtp.set_nonblocking(true)?;
        rtcp.set_nonblocking(true)?;
        let address = rtp.local_addr()?;
        Ok(Self {
            rtp,
            rtcp,
            address,
            remote: None,
            law: Law::A,
            dtmf: None,
            sending: true,
            ssrc,
            sequence: (ssrc >> 8) as u16,
            timestamp: ssrc.rotate_left(7),
            source,
            played: 0,
            digits: VecDeque::new(),
            event: None,
            pause_packets: 0,
            next: None,
            sent: 0,
            keep_samples,
            receiving: None,
            last_event_timestamp: None,
            heard: Heard::default(),
        })
    }

    /// Takes over what the other side's session description says. Its direction is from its own view (RFC 3264 §6.1).
    pub(super) fn apply(&mut self, audio: &AudioLine, now: Instant) {
        let reachable = audio.address.port() != 0 && !audio.address.ip().is_unspecified();
        self.remote = reachable.then_some(audio.address);
        self.sending = matches!(audio.direction.as_str(), "sendrecv" | "recvonly");
        if let Some(law) = audio.formats.iter().find_map(|&f| Law::of_payload_type(f)) {
            self.law = law;
        }
        self.dtmf = audio.dtmf;
        if self.next.is_none() {
            self.next = Some(now);
        }
    }

    pub(super) fn set_source(&mut self, source: Source) {
        self.source = source;
        self.played = 0;
    }

    /// Sends what is due and takes what has come. Returns whether anything came.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        // After a stall of this process the missed packets are sent at once, as a telephone's would be, up to a limit.
        let mut burst = 0;
        while let Some(next) = self.next.filter(|&next| next <= now) {
            self.next = Some(next + PACKET);
            burst += 1;
            if burst > 50 {
                self.next = Some(now + PACKET);
            }
            self.send_packet();
        }
        self.take_in(now)
    }

    /// Takes what has come. Returns whether anything came.
    pub(super) fn take_in(&mut self, now: Instant) -> bool {
        let mut buffer = [0_u8; 2048];
        let mut came = false;
        while let Ok((length, from)) = self.rtp.recv_from(&mut buffer) {
            came = true;
            self.receive(&buffer[..length], from, now);
        }
        came
    }

    /// Takes RTCP packets; they come seldom, so this is called seldom.
    pub(super) fn sweep_rtcp(&mut self) {
        let mut buffer = [0_u8; 2048];
        while self.rtcp.recv_from(&mut buffer).is_ok() {
            self.heard.rtcp += 1;
        }
    }

    fn send_packet(&mut self) {
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(160);
        let frame = self.frame();
        let Some(remote) = self.remote.filter(|_| self.sending) else {
            return;
        };
        if self.send_event(timestamp, remote) {
            return;
        }
        let Some(frame) = frame else { return };
        let mut packet = [0_u8; 172];
        self.header(&mut packet, self.law.payload_type(), timestamp);
        for (byte, &sample) in packet[12..].iter_mut().zip(&frame) {
            *byte = self.law.encode(sample);
        }
        self.transmit(&packet, remote);
    }

    /// The next 160 samples, or `None` when nothing is to be sent.
    fn frame(&mut self) -> Option<[i16; 160]> {
        let mut frame = [0_i16; 160];
        match &self.source {
            Source::Nothing => return None,
            Source::Silence => {}
            Source::Tone(frequency) => {
                for (index, sample) in frame.iter_mut().enumerate() {
                    let time = (self.played + index) as f64 / crate::audio::RATE;
                    *sample =
                        (8000.0 * (2.0 * std::f64::consts::PI * frequency * time).sin()) as i16;
                }
            }
            Source::Samples(all) => {
                for (index, sample) in frame.iter_mut().enumerate() {
                    *sample = all.get(self.played + index).copied().unwrap_or(0);
                }
            }
        }
        self.played += 160;
        Some(frame)
    }

    /// RFC 4733: an event takes the place of audio; 100 ms long, its end sent three times, then 60 ms of pause.
    fn send_event(&mut self, timestamp: u32, remote: SocketAddr) -> bool {
        let Some(payload_type) = self.dtmf else {
            return false;
        };
        if self.event.is_none() {
            if self.pause_packets > 0 {
                self.pause_packets -= 1;
                return false;
            }
            let Some(digit) = self.digits.pop_front() else {
                return false;
            };
            self.event = Some(Event {
                code: EVENTS.find(digit).unwrap_or(0) as u8,
                timestamp,
                duration: 0,
                ends_sent: 0,
            });
        }
        let Some(event) = &mut self.event else {
            return false;
        };
        let ending = event.duration >= 800;
        if ending {
            event.ends_sent += 1;
        } else {
            event.duration += 160;
        }
        let (code, duration, start) = (event.code, event.duration, event.timestamp);
        let first = duration == 160 && !ending;
        let done = event.ends_sent == 3;
        let mut packet = [0_u8; 16];
        self.header(&mut packet, payload_type, start);
        if first {
            packet[1] |= 0x80;
        }
        packet[12] = code;
        packet[13] = if ending { 0x80 | 10 } else { 10 };
        packet[14..].copy_from_slice(&duration.to_be_bytes());
        self.transmit(&packet, remote);
        if done {
            self.event = None;
            self.pause_packets = 3;
        }
        true
    }

    fn header(&mut self, packet: &mut [u8], payload_type: u8, timestamp: u32) {
        packet[0] = 0x80;
        packet[1] = payload_type;
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn transmit(&mut self, packet: &[u8], remote: SocketAddr) {
        // An ICMP error of an earlier packet comes back here; a telephone goes on sending.
        if self.rtp.send_to(packet, remote).is_ok() {
            self.sent += 1;
        }
    }

    fn receive(&mut self, packet: &[u8], from: SocketAddr, now: Instant) {
        if packet.len() < 12 || packet[0] >> 6 != 2 {
            return;
        }
        let header = 12 + usize::from(packet[0] & 0x0f) * 4;
        let Some(payload) = packet.get(header..) else {
            return;
        };
        let payload_type = packet[1] & 0x7f;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
        let heard = &mut self.heard;
        heard.packets += 1;
        *heard.payload_types.entry(payload_type).or_default() += 1;
        if let Some(last) = heard.last {
            heard.longest_gap = heard.longest_gap.max(now - last);
        }
        heard.first.get_or_insert(now);
        heard.last = Some(now);
        heard.from = Some(from);
        let newest = self.account(ssrc, sequence, timestamp);
        if Some(payload_type) == self.dtmf && payload.len() >= 4 {
            let ended = payload[1] & 0x80 != 0;
            if ended && self.last_event_timestamp != Some(timestamp) {
                self.last_event_timestamp = Some(timestamp);
                let digit = EVENTS.chars().nth(usize::from(payload[0])).unwrap_or('?');
                self.heard.digits.push(digit);
            }
        } else if let Some(law) = Law::of_payload_type(payload_type).filter(|_| self.keep_samples) {
            self.place(law, payload, timestamp);
            if newest && self.heard.said.len() < SAMPLES_MAX {
                let said = payload.iter().map(|&byte| law.decode(byte));
                self.heard.said.extend(said);
            }
        }
    }

    /// Loss, duplicates and order by sequence number. True: it is the newest packet.
    fn account(&mut self, ssrc: u32, sequence: u16, timestamp: u32) -> bool {
        let state = match &mut self.receiving {
            Some(state) if state.ssrc == ssrc => state,
            _ => {
                if !self.heard.ssrcs.contains(&ssrc) {
                    self.heard.ssrcs.push(ssrc);
                }
                let mut seen = [false; 1024];
                seen[usize::from(sequence) % 1024] = true;
                self.receiving = Some(Sequence {
                    ssrc,
                    highest: sequence,
                    seen,
                    base_timestamp: timestamp,
                    base_offset: self.heard.samples.len(),
                });
                return true;
            }
        };
        let ahead = sequence.wrapping_sub(state.highest);
        if ahead == 0 {
            self.heard.duplicates += 1;
        } else if ahead < 0x8000 {
            for step in 1..=ahead.min(1024) {
                state.seen[usize::from(state.highest.wrapping_add(step)) % 1024] = false;
            }
            state.seen[usize::from(sequence) % 1024] = true;
            state.highest = sequence;
            self.heard.lost += u64::from(ahead) - 1;
            return true;
        } else if state.seen[usize::from(sequence) % 1024] {
            self.heard.duplicates += 1;
        } else {
            state.seen[usize::from(sequence) % 1024] = true;
            self.heard.reordered += 1;
            self.heard.lost = self.heard.lost.saturating_sub(1);
        }
        false
    }

    /// Puts decoded audio where its timestamp says; a jump of more than 10 s goes on where the audio ended.
    fn place(&mut self, law: Law, payload: &[u8], timestamp: u32) {
        let Some(state) = &mut self.receiving else {
            return;
        };
        let samples = &mut self.heard.samples;
        let distance = i64::from(timestamp.wrapping_sub(state.base_timestamp) as i32);
        let mut at = state.base_offset as i64 + distance;
        if at < 0 || at > samples.len() as i64 + 80_000 {
            state.base_timestamp = timestamp;
            state.base_offset = samples.len();
            at = samples.len() as i64;
        }
        let (start, end) = (at as usize, at as usize + payload.len());
        if end > SAMPLES_MAX {
            return;
        }
        if samples.len() < end {
            samples.resize(end, 0);
        }
        for (sample, &byte) in samples[start..end].iter_mut().zip(payload) {
            *sample = law.decode(byte);
        }
    }
}

/// Digits by event code (RFC 4733 §3.2).
const EVENTS: &str = "0123456789*#ABCD";
