//! The ear of one leg: whether what came is what the other end of this very call said, each packet once and in order, and
//! how long it was on its way.

use super::rtp::{self, Packet};
use super::signature::{NUMBERS_MAX, Reading, Signature};
use super::tone;
use super::wav::Recording;
use super::{FRAME, Side, g711};
use crate::scenario::Codec;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Packets between two looks at tones.
const LOOK_EVERY: u32 = 50;
/// Turns that a stream may need to begin and to end.
const TURNS_SLACK: u64 = 50;
/// Events that are remembered.
const DIGITS_MAX: usize = 64;

/// What came to a leg, counted.
#[derive(Copy, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Packets of RTP with audio.
    pub packets: u64,
    /// Of these, those that were expected, each counted once.
    pub right: u64,
    /// Came a second time.
    pub duplicate: u64,
    /// Came after one that was sent later.
    pub disordered: u64,
    /// Belong to another call, or to the own voice of this side.
    pub crossed: u64,
    /// Belong to a call that used this port before, or to an earlier run.
    pub stale: u64,
    /// Changed on the way.
    pub damaged: u64,
    /// Somebody else's audio while the other end spoke: prompts, music, silence.
    pub foreign: u64,
    /// Looks at tones: all, those without the tone of the other end, those with a tone that does not belong there.
    pub looks: u64,
    pub looks_missing: u64,
    pub looks_crossed: u64,
    /// Reports of RTCP.
    pub rtcp: u64,
    /// Datagrams that are no RTP.
    pub junk: u64,
}

impl Counts {
    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.right += other.right;
        self.duplicate += other.duplicate;
        self.disordered += other.disordered;
        self.crossed += other.crossed;
        self.stale += other.stale;
        self.damaged += other.damaged;
        self.foreign += other.foreign;
        self.looks += other.looks;
        self.looks_missing += other.looks_missing;
        self.looks_crossed += other.looks_crossed;
        self.rtcp += other.rtcp;
        self.junk += other.junk;
    }
}

/// Whose voice is expected.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Expected {
    pub run: u32,
    pub call: u32,
    pub side: Side,
}

/// Numbers that have been seen, one bit for each.
#[derive(Clone, Debug, Default)]
struct Seen {
    bits: Vec<u64>,
    highest: Option<u32>,
}

impl Seen {
    /// Notes a number. `false`: it was seen before.
    fn note(&mut self, number: u32) -> bool {
        let (at, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        let word = &mut self.bits[at];
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// What is known of a stream whose packets carry no signature.
#[derive(Clone, Debug)]
struct Stream {
    ssrc: u32,
    first: u16,
    highest: u32,
    seen: Seen,
    unique: u64,
}

/// The looks at tones.
#[derive(Debug, Default)]
struct Looks {
    /// Frequencies that have to be there, and those that must not; nothing is looked for while both are 0.
    there: u32,
    absent: u32,
    packets: u32,
    samples: Vec<i16>,
    opus: Option<opus::Decoder>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Ear {
    codec: Codec,
    expected: Expected,
    counts: Counts,
    seen: Seen,
    stream: Option<Stream>,
    /// Packets missing in streams that have ended.
    lost_before: u64,
    transit_us: Option<i64>,
    jitter_us: f64,
    jitter_max_us: f64,
    digits: String,
    event_at: Option<u32>,
    looks: Looks,
    /// Turns of 20 ms in which a tone had to be there.
    turns: u64,
    recording: Option<(Recording, Option<opus::Decoder>)>,
    /// The other end speaks: foreign audio counts.
    pub attentive: bool,
}

impl Ear {
    /// An ear for one leg.
    pub fn new(codec: Codec, expected: Expected) -> Self {
        Self {
            codec,
            expected,
            counts: Counts::default(),
            seen: Seen::default(),
            stream: None,
            lost_before: 0,
            transit_us: None,
            jitter_us: 0.0,
            jitter_max_us: 0.0,
            digits: String::new(),
            event_at: None,
            looks: Looks::default(),
            turns: 0,
            recording: None,
            attentive: false,
        }
    }

    /// Keeps what is heard.
    pub fn record(&mut self) {
        self.recording = Some((Recording::default(), None));
    }

    /// What was kept.
    pub fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref().map(|(recording, _)| recording)
    }

    /// From now on these tones have to be there, and those must not be.
    pub fn look_for(&mut self, there: u32, absent: u32) {
        self.looks.there = there;
        self.looks.absent = absent;
        self.looks.packets = 0;
        self.looks.samples.clear();
    }

    /// 20 ms have gone by.
    pub fn turn(&mut self) {
        self.turns += u64::from(self.looks.there != 0);
    }

    /// Looks at tones that were not possible since too little came.
    pub fn looks_short(&self) -> u64 {
        (self.turns / u64::from(LOOK_EVERY)).saturating_sub(self.counts.looks + 1)
    }

    /// Hears a datagram that came at `at` (wall clock). Returns the delay of a packet that says when it was sent.
    pub fn hear(&mut self, bytes: &[u8], at: Option<Duration>) -> Option<Duration> {
        let packet = match rtp::read(bytes) {
            rtp::Read::Rtp(packet) => packet,
            rtp::Read::Rtcp => {
                self.counts.rtcp += 1;
                return None;
            }
            rtp::Read::Junk => {
                self.counts.junk += 1;
                return None;
            }
        };
        if packet.payload_type == rtp::EVENTS {
            self.hear_event(&packet);
            return None;
        }
        self.counts.packets += 1;
        if let Some(at) = at {
            self.hear_jitter(&packet, at);
        }
        self.keep(&packet);
        self.look(&packet);
        let reading = match self.codec {
            Codec::Opus => Reading::Foreign,
            Codec::Pcmu | Codec::Pcma => Signature::read(packet.payload),
        };
        match reading {
            Reading::Signed(signature) => {
                self.hear_signature(&signature).then_some(())?;
                at?.checked_sub(Duration::from_nanos(signature.sent_ns))
            }
            Reading::Damaged => {
                self.counts.damaged += 1;
                None
            }
            Reading::Foreign => {
                self.counts.foreign += u64::from(self.attentive);
                self.follow(&packet);
                None
            }
        }
    }

    fn hear_signature(&mut self, signature: &Signature) -> bool {
        let Expected { run, call, side } = self.expected;
        if signature.run != run || (signature.call != call && !self.attentive) {
            self.counts.stale += 1;
            return false;
        }
        if signature.call != call || signature.side != side || signature.number >= NUMBERS_MAX {
            self.counts.crossed += 1;
            return false;
        }
        if !self.seen.note(signature.number) {
            self.counts.duplicate += 1;
            return false;
        }
        match self.seen.highest {
            Some(highest) if signature.number < highest => self.counts.disordered += 1,
            _ => self.seen.highest = Some(signature.number),
        }
        self.counts.right += 1;
        true
    }

    /// Follows the sequence numbers of a stream without signatures.
    fn follow(&mut self, packet: &Packet<'_>) {
        if self.looks.there == 0 {
            return;
        }
        if self.stream.as_ref().is_none_or(|s| s.ssrc != packet.ssrc) {
            self.lost_before += self.lost_in_stream();
            self.stream = Some(Stream {
                ssrc: packet.ssrc,
                first: packet.sequence,
                highest: 0,
                seen: Seen::default(),
                unique: 0,
            });
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        let near = packet.sequence.wrapping_sub(stream.first) as i16;
        let ahead = packet
            .sequence
            .wrapping_sub(stream.first)
            .wrapping_sub(stream.highest as u16) as i16;
        if stream.highest == 0 && near < 0 {
            self.counts.disordered += 1;
            return;
        }
        let Some(number) = stream.highest.checked_add_signed(i32::from(ahead)) else {
            self.counts.disordered += 1;
            return;
        };
        if number >= NUMBERS_MAX {
            return;
        }
        if !stream.seen.note(number) {
            self.counts.duplicate += 1;
            return;
        }
        if number < stream.highest {
            self.counts.disordered += 1;
        }
        stream.highest = stream.highest.max(number);
        stream.unique += 1;
        self.counts.right += 1;
    }

    fn lost_in_stream(&self) -> u64 {
        self.stream.as_ref().map_or(0, |stream| {
            (u64::from(stream.highest) + 1).saturating_sub(stream.unique)
        })
    }

    /// Interarrival jitter (RFC 3550 §6.4.1), in microseconds.
    fn hear_jitter(&mut self, packet: &Packet<'_>, at: Duration) {
        let rate = if self.codec == Codec::Opus { 48 } else { 8 };
        let transit = at.as_micros() as i64 - i64::from(packet.timestamp) * 1000 / rate;
        if let Some(before) = self.transit_us.replace(transit) {
            let difference = (transit - before).abs();
            // A new stream begins with other timestamps.
            if difference < 1_000_000 {
                self.jitter_us += (difference as f64 - self.jitter_us) / 16.0;
                self.jitter_max_us = self.jitter_max_us.max(self.jitter_us);
            }
        }
    }

    fn hear_event(&mut self, packet: &Packet<'_>) {
        if self.event_at.replace(packet.timestamp) != Some(packet.timestamp)
            && let Some(&event) = packet.payload.first()
            && let Some(digit) = rtp::digit_of(event)
            && self.digits.len() < DIGITS_MAX
        {
            self.digits.push(digit);
        }
    }

    fn keep(&mut self, packet: &Packet<'_>) {
        let Some((recording, opus)) = &mut self.recording else {
            return;
        };
        let mut samples = Vec::with_capacity(FRAME);
        decode(self.codec, opus, packet.payload, &mut samples);
        let timestamp = match self.codec {
            Codec::Opus => packet.timestamp / 6,
            Codec::Pcmu | Codec::Pcma => packet.timestamp,
        };
        recording.put(timestamp, &samples);
    }

    fn look(&mut self, packet: &Packet<'_>) {
        let looks = &mut self.looks;
        if looks.there == 0 && looks.absent == 0 {
            return;
        }
        looks.packets += 1;
        let turn = looks.packets % LOOK_EVERY;
        if turn < LOOK_EVERY - tone::OPUS_FRAMES as u32 {
            return;
        }
        decode(
            self.codec,
            &mut looks.opus,
            packet.payload,
            &mut looks.samples,
        );
        if turn == LOOK_EVERY - 1 {
            let start = looks.samples.len().saturating_sub(tone::WINDOW);
            let heard = tone::heard(looks.samples.get(start..).unwrap_or_default());
            self.counts.looks += 1;
            self.counts.looks_missing += u64::from(heard & looks.there != looks.there);
            self.counts.looks_crossed += u64::from(heard & looks.absent != 0);
            looks.samples.clear();
        }
    }

    /// What came.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Of `sent` packets of the other end, how many never came. For tones: how many are missing within what came, or how
    /// much less came than one for each turn.
    pub fn lost(&self, sent: u64, signed: bool) -> u64 {
        if signed {
            sent.saturating_sub(self.counts.right)
        } else {
            let short = self.turns.saturating_sub(self.counts.right + TURNS_SLACK);
            short.max(self.lost_before + self.lost_in_stream())
        }
    }

    /// Largest jitter so far, in microseconds.
    pub fn jitter_max_us(&self) -> f64 {
        self.jitter_max_us
    }

    /// Digits that came as events.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// Forgets where the stream was: it may stop for a while.
    pub fn pause(&mut self) {
        self.transit_us = None;
        self.lost_before += self.lost_in_stream();
        self.stream = None;
    }
}

fn decode(codec: Codec, opus: &mut Option<opus::Decoder>, payload: &[u8], samples: &mut Vec<i16>) {
    match codec {
        Codec::Pcmu => samples.extend(payload.iter().map(|&byte| g711::from_ulaw(byte))),
        Codec::Pcma => samples.extend(payload.iter().map(|&byte| g711::from_alaw(byte))),
        Codec::Opus => {
            if opus.is_none() {
                *opus = opus::Decoder::new(8000, opus::Channels::Mono).ok();
            }
            let mut frame = [0; 6 * FRAME];
            if let Some(decoder) = opus
                && let Ok(count) = decoder.decode(payload, &mut frame, false)
            {
                samples.extend_from_slice(&frame[..count]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tone::Loops;
    use super::*;

    const EXPECTED: Expected = Expected {
        run: 5,
        call: 10,
        side: Side::Callee,
    };

    fn packet(sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; rtp::HEADER];
        rtp::write_header(&mut bytes, 0, false, sequence, u32::from(sequence) * 160, 1);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn signed(call: u32, side: Side, number: u32) -> Vec<u8> {
        let mut payload = [0; FRAME];
        let sent_ns = 1_000_000 * u64::from(number);
        Signature {
            run: 5,
            call,
            side,
            number,
            sent_ns,
        }
        .write(&mut payload);
        packet(number as u16, &payload)
    }

    #[test]
    fn loss_doubles_order_and_strangers_are_told_apart() {
        let mut ear = Ear::new(Codec::Pcmu, EXPECTED);
        ear.attentive = true;
        for number in [0, 1, 3, 2, 3, 6] {
            ear.hear(&signed(10, Side::Callee, number), None);
        }
        ear.hear(&signed(11, Side::Callee, 4), None);
        ear.hear(&signed(10, Side::Caller, 4), None);
        let mut damaged = signed(10, Side::Callee, 4);
        damaged[100] ^= 4;
        ear.hear(&damaged, None);
        ear.hear(&packet(9, &[0xff; FRAME]), None);
        let counts = ear.counts();
        assert_eq!((counts.packets, counts.right), (10, 5));
        assert_eq!((counts.duplicate, counts.disordered), (1, 1));
        assert_eq!((counts.crossed, counts.damaged, counts.foreign), (2, 1, 1));
        assert_eq!(ear.lost(7, true), 2, "4 and 5");
        let mut early = Ear::new(Codec::Pcmu, EXPECTED);
        early.hear(&signed(9, Side::Callee, 4), None);
        assert_eq!((early.counts().stale, early.counts().crossed), (1, 0));
    }

    #[test]
    fn delay_is_arrival_less_sending_and_jitter_is_that_of_the_rfc() {
        let mut ear = Ear::new(Codec::Pcmu, EXPECTED);
        let at = |ms: u64| Some(Duration::from_millis(ms));
        let delay = ear.hear(&signed(10, Side::Callee, 4), at(6));
        assert_eq!(delay, at(2));
        assert!(ear.jitter_max_us() < 1e-9);
        // 20 ms apart by their timestamps, 36 ms by the clock: 16 ms of difference, a sixteenth of which counts.
        ear.hear(&signed(10, Side::Callee, 5), at(42));
        assert!((ear.jitter_max_us() - 1000.0).abs() < 1.0);
    }

    #[test]
    fn tones_are_looked_for_and_their_packets_counted() {
        let loops = Loops::new(Codec::Pcmu).expect("tones");
        let hear = |speaker: u32, skip: u32| {
            let mut ear = Ear::new(Codec::Pcmu, EXPECTED);
            ear.look_for(1 << 4, 1 << 5);
            for number in (0..200).filter(|number| number % 50 != skip) {
                // The sequence number turns over on the way.
                let sequence = (number as u16).wrapping_sub(100);
                ear.hear(&packet(sequence, loops.payload(speaker, number)), None);
            }
            let counts = ear.counts();
            (
                ear.lost(0, false),
                counts.looks,
                counts.looks_missing,
                counts.looks_crossed,
            )
        };
        assert_eq!(hear(4, 99), (0, 4, 0, 0));
        assert_eq!(hear(5, 99), (0, 4, 4, 4));
        assert_eq!(hear(4, 10).0, 4);
    }

    #[test]
    fn a_stream_of_tones_that_stops_is_lost_and_not_looked_at() {
        let loops = Loops::new(Codec::Pcmu).expect("tones");
        let mut ear = Ear::new(Codec::Pcmu, EXPECTED);
        ear.look_for(1 << 4, !(1 << 4));
        for number in 0..400 {
            ear.turn();
            if number < 120 {
                ear.hear(&packet(number as u16, loops.payload(4, number)), None);
            }
        }
        assert_eq!((ear.counts().looks, ear.looks_short()), (2, 5));
        assert_eq!(ear.lost(0, false), 400 - 120 - TURNS_SLACK);
    }

    #[test]
    fn a_digit_is_one_event_however_many_packets_it_has() {
        let mut ear = Ear::new(Codec::Pcmu, EXPECTED);
        for (timestamp, event) in [(0, 1), (0, 1), (0, 1), (800, 1), (1600, 10), (1600, 10)] {
            let mut bytes = vec![0; rtp::HEADER];
            rtp::write_header(&mut bytes, rtp::EVENTS, false, 1, timestamp, 1);
            bytes.extend_from_slice(&rtp::event_payload(event, false, 160));
            ear.hear(&bytes, None);
        }
        assert_eq!(ear.digits(), "11*");
    }
}
