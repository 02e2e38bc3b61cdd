//! What the generator says and hears in each kind of work.

use super::legs::OPUS_TYPE;
use super::{alone, keys};
use crate::traffic::{Arrived, PACKET_MAX, Relayed, Sequence, Traffic, header};
use anyhow::Result;
use std::time::Duration;
use strowger_media::Codec;
use strowger_media::rtp::srtp::{Inbound, Outbound, Suite};

/// Packets of speech that repeat.
const SPEECH: usize = 250;
/// What follows from the room's or codec's own sampling cannot be judged packet by packet: it has to be there, in
/// sequence, of the right kind.
fn judge(
    packet: &[u8],
    payload_type: u8,
    length: Option<usize>,
    sequence: &mut Sequence,
) -> Arrived {
    let (Some(kind), Some(number)) = (packet.get(1), packet.get(2..4)) else {
        return Arrived::Wrong;
    };
    if kind & 0x7f != payload_type || length.is_some_and(|length| packet.len() != 12 + length) {
        return Arrived::Wrong;
    }
    Arrived::Right {
        sent: None,
        in_sequence: sequence.follows(u16::from_be_bytes([number[0], number[1]])),
    }
}

/// G.711 speech into rooms: of every leg, or of the first three.
pub struct Mixed {
    all_talk: bool,
    speech: Vec<Vec<u8>>,
    sequences: Vec<Sequence>,
}

impl Mixed {
    /// `all_talk`: every leg says something all the time; else the first three, and the others send silence.
    pub fn new(all_talk: bool) -> Result<Self> {
        Ok(Self {
            all_talk,
            speech: alone::encoded(Codec::Pcmu, 8000, SPEECH)?,
            sequences: Vec::new(),
        })
    }
}

impl Traffic for Mixed {
    fn begin(&mut self, legs: usize, _: usize) {
        self.sequences = vec![Sequence::default(); legs];
    }

    fn fill(
        &mut self,
        leg: usize,
        number: u32,
        _: Duration,
        packet: &mut [u8; PACKET_MAX],
    ) -> usize {
        header(
            packet,
            0,
            number as u16,
            number.wrapping_mul(160),
            0x5151_0000 ^ leg as u32,
        );
        let (_, payload) = packet.split_at_mut(12);
        let payload = &mut payload[..160];
        if self.all_talk || leg < 3 {
            // Everybody at another place of the text.
            payload.copy_from_slice(&self.speech[(number as usize + leg * 7) % SPEECH]);
        } else {
            payload.fill(0xff);
        }
        172
    }

    fn check(&mut self, leg: usize, packet: &[u8]) -> Arrived {
        judge(packet, 0, Some(160), &mut self.sequences[leg])
    }
}

/// G.711 on even legs, Opus on odd ones.
pub struct Transcoded {
    g711: Vec<Vec<u8>>,
    opus: Vec<Vec<u8>>,
    sequences: Vec<Sequence>,
}

impl Transcoded {
    /// Encodes the speech beforehand.
    pub fn new() -> Result<Self> {
        Ok(Self {
            g711: alone::encoded(Codec::Pcmu, 8000, SPEECH)?,
            opus: alone::encoded(Codec::Opus, 8000, SPEECH)?,
            sequences: Vec::new(),
        })
    }
}

impl Traffic for Transcoded {
    fn begin(&mut self, legs: usize, _: usize) {
        self.sequences = vec![Sequence::default(); legs];
    }

    fn fill(
        &mut self,
        leg: usize,
        number: u32,
        _: Duration,
        packet: &mut [u8; PACKET_MAX],
    ) -> usize {
        let (payload_type, step, speech) = if leg % 2 == 1 {
            (OPUS_TYPE, 960, &self.opus)
        } else {
            (0, 160, &self.g711)
        };
        header(
            packet,
            payload_type,
            number as u16,
            number.wrapping_mul(step),
            0x5151_0000 ^ leg as u32,
        );
        let payload = &speech[(number as usize + leg * 7) % SPEECH];
        packet[12..12 + payload.len()].copy_from_slice(payload);
        12 + payload.len()
    }

    fn check(&mut self, leg: usize, packet: &[u8]) -> Arrived {
        let sequence = &mut self.sequences[leg];
        if leg % 2 == 1 {
            judge(packet, OPUS_TYPE, None, sequence)
        } else {
            judge(packet, 0, Some(160), sequence)
        }
    }
}

/// Relayed packets under SRTP.
pub struct Protected {
    suite: Suite,
    inner: Relayed,
    /// For each leg, what the telephone there sends and receives with.
    sessions: Vec<(Outbound, Inbound)>,
}

impl Protected {
    /// Every leg with keys of its own.
    pub fn new(suite: Suite) -> Self {
        Self {
            suite,
            inner: Relayed::default(),
            sessions: Vec::new(),
        }
    }
}

impl Traffic for Protected {
    fn begin(&mut self, legs: usize, frames: usize) {
        self.inner.begin(legs, frames);
        // The exchange receives with what the telephone sends with. Keys of the right length are always taken.
        self.sessions = (0..legs)
            .filter_map(|leg| keys(self.suite, leg).ok())
            .map(|keys| (Outbound::new(keys.receive), Inbound::new(keys.send)))
            .collect();
    }

    fn fill(
        &mut self,
        leg: usize,
        number: u32,
        now: Duration,
        packet: &mut [u8; PACKET_MAX],
    ) -> usize {
        let length = self.inner.fill(leg, number, now, packet);
        let session = self.sessions.get_mut(leg);
        session.map_or(0, |(send, _)| send.protect(packet, length).unwrap_or(0))
    }

    fn check(&mut self, leg: usize, packet: &[u8]) -> Arrived {
        let mut plain = [0; PACKET_MAX];
        let Some(plain) = plain.get_mut(..packet.len()) else {
            return Arrived::Wrong;
        };
        plain.copy_from_slice(packet);
        let session = self.sessions.get_mut(leg);
        match session.map(|(_, receive)| receive.unprotect(plain)) {
            Some(Ok(length)) => self
                .inner
                .check(leg, plain.get(..length).unwrap_or_default()),
            _ => Arrived::Wrong,
        }
    }
}
