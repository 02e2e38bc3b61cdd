//! Codecs: bytes of a packet to linear samples and back, without allocation once a decoder or encoder is made. Which
//! codec a call uses is decided elsewhere (offer and answer).
//!
//! [`Codec`] names what can be negotiated and tells its numbers. G.711 needs no state: [`Codec::g711`] gives the table
//! driven functions that work on any packet by itself. Everything else is a stream: a [`Decoder`] or [`Encoder`] for each
//! direction of a leg, made only where samples are wanted.

mod decoder;
mod encoder;
mod error;
pub mod g711;
pub mod g722;
pub mod gsm;
mod opus;
mod silence;

pub use decoder::{Concealed, Decoder};
pub use encoder::{Encoder, EncoderOptions};
pub use error::CodecError;
pub use g711::G711;
pub use opus::fmtp::OpusFmtp;

/// Longest payload that is made, bytes: it leaves room for IP, UDP, RTP and SRTP on an Ethernet.
pub const PAYLOAD_MAX: usize = 1400;

/// A codec for audio. Telephone-events and comfort noise are payloads, but no codecs.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum Codec {
    /// G.711 u-law, 8000 Hz.
    Pcmu,
    /// G.711 A-law, 8000 Hz.
    Pcma,
    /// G.722 at 64 kbit/s: 16000 Hz audio, but an RTP clock of 8000 Hz (RFC 3551 §4.5.2).
    G722,
    /// GSM 06.10 full rate, 8000 Hz, frames of 20 ms in 33 bytes (RFC 3551 §4.5.8).
    Gsm,
    /// Opus (RFC 6716, RFC 7587), mono.
    Opus,
    /// G.729 at 8 kbit/s, frames of 10 ms in 10 bytes (RFC 3551 §4.5.6). Only relayed: see [`Codec::is_spoken`].
    G729,
    /// Linear 16 bit samples in network byte order (RFC 3551 §4.5.11), mono.
    L16(L16Rate),
}

/// Sample rates of [`Codec::L16`]: those of Asterisk's `slin` formats up to 48 kHz.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum L16Rate {
    Hz8000,
    Hz12000,
    Hz16000,
    Hz24000,
    Hz32000,
    Hz44100,
    Hz48000,
}

impl L16Rate {
    /// All of them, lowest first.
    pub const ALL: [Self; 7] = [
        Self::Hz8000,
        Self::Hz12000,
        Self::Hz16000,
        Self::Hz24000,
        Self::Hz32000,
        Self::Hz44100,
        Self::Hz48000,
    ];

    /// Samples a second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8000,
            Self::Hz12000 => 12_000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz32000 => 32_000,
            Self::Hz44100 => 44_100,
            Self::Hz48000 => 48_000,
        }
    }

    /// The rate with so many samples a second.
    pub fn from_hz(hz: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|rate| rate.hz() == hz)
    }
}

impl Codec {
    /// Everything that can be negotiated.
    pub const ALL: [Self; 13] = [
        Self::Pcma,
        Self::Pcmu,
        Self::G722,
        Self::Opus,
        Self::G729,
        Self::Gsm,
        Self::L16(L16Rate::Hz8000),
        Self::L16(L16Rate::Hz12000),
        Self::L16(L16Rate::Hz16000),
        Self::L16(L16Rate::Hz24000),
        Self::L16(L16Rate::Hz32000),
        Self::L16(L16Rate::Hz44100),
        Self::L16(L16Rate::Hz48000),
    ];

    /// Hz of its RTP timestamps. Not always that of its samples: G.722 counts 8000 (RFC 3551 §4.5.2), Opus always 48000
    /// (RFC 7587 §4.1).
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::Gsm | Self::G729 | Self::G722 => 8000,
            Self::Opus => 48_000,
            Self::L16(rate) => rate.hz(),
        }
    }

    /// Hz of the audio it carries at its best. An Opus decoder or encoder may be opened at a lower rate.
    pub const fn sample_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::Gsm | Self::G729 => 8000,
            Self::G722 => 16_000,
            Self::Opus => 48_000,
            Self::L16(rate) => rate.hz(),
        }
    }

    /// Encoding name in SDP (RFC 3551 §6, RFC 7587 §7).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Gsm => "GSM",
            Self::Opus => "opus",
            Self::G729 => "G729",
            Self::L16(_) => "L16",
        }
    }

    /// Channels as `a=rtpmap` has to name them: Opus always says 2, whatever it carries (RFC 7587 §7); `None`: nothing
    /// is said, which means one.
    pub const fn sdp_channels(self) -> Option<u8> {
        match self {
            Self::Opus => Some(2),
            _ => None,
        }
    }

    /// By its SDP encoding name, in any case, and RTP clock rate.
    pub fn from_name(name: &str, clock_rate: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|c| c.clock_rate() == clock_rate && c.name().eq_ignore_ascii_case(name))
    }

    /// The name that `allow` and `disallow` of Asterisk's tables use.
    pub const fn asterisk_name(self) -> &'static str {
        match self {
            Self::Pcmu => "ulaw",
            Self::Pcma => "alaw",
            Self::G722 => "g722",
            Self::Gsm => "gsm",
            Self::Opus => "opus",
            Self::G729 => "g729",
            Self::L16(rate) => match rate {
                L16Rate::Hz8000 => "slin",
                L16Rate::Hz12000 => "slin12",
                L16Rate::Hz16000 => "slin16",
                L16Rate::Hz24000 => "slin24",
                L16Rate::Hz32000 => "slin32",
                L16Rate::Hz44100 => "slin44",
                L16Rate::Hz48000 => "slin48",
            },
        }
    }

    /// By the name of Asterisk's tables, in any case.
    pub fn from_asterisk_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.asterisk_name().eq_ignore_ascii_case(name))
    }

    /// The static payload type of RFC 3551 §6, where there is one. Of L16 only 44.1 kHz has.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Gsm => Some(3),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::G729 => Some(18),
            Self::L16(L16Rate::Hz44100) => Some(11),
            Self::Opus | Self::L16(_) => None,
        }
    }

    /// G.711's functions, which need no state; `None` for every other codec.
    #[inline]
    pub const fn g711(self) -> Option<G711> {
        match self {
            Self::Pcmu => Some(G711::Ulaw),
            Self::Pcma => Some(G711::Alaw),
            _ => None,
        }
    }

    /// Is it one of the two laws of G.711?
    #[inline]
    pub const fn is_g711(self) -> bool {
        self.g711().is_some()
    }

    /// Can it be decoded and encoded here? Where not, a leg can be relayed to another of the same codec, and nothing more:
    /// no prompts, recordings or rooms.
    pub const fn is_spoken(self) -> bool {
        !matches!(self, Self::G729)
    }

    /// Milliseconds of audio that one packet can hold, shortest to longest packet, as far as we send: 10..=60, within
    /// [`PAYLOAD_MAX`].
    pub const fn ptimes(self) -> &'static [u8] {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::G729 => &[10, 20, 30, 40, 50, 60],
            // Whole frames only.
            Self::Gsm => &[20, 40, 60],
            // The sizes an encoder takes in one piece.
            Self::Opus => &[10, 20, 40, 60],
            Self::L16(L16Rate::Hz8000) => &[10, 20, 30, 40, 50, 60],
            Self::L16(L16Rate::Hz12000) => &[10, 20, 30, 40, 50],
            Self::L16(L16Rate::Hz16000) => &[10, 20, 30, 40],
            Self::L16(L16Rate::Hz24000 | L16Rate::Hz32000) => &[10, 20],
            Self::L16(L16Rate::Hz44100 | L16Rate::Hz48000) => &[10],
        }
    }

    /// The longest packet time of [`Codec::ptimes`] that is not above what is wanted, else the shortest, milliseconds.
    pub fn ptime(self, wanted_ms: u32) -> u8 {
        let ptimes = self.ptimes();
        let fits = |&&ms: &&u8| u32::from(ms) <= wanted_ms;
        ptimes.iter().rev().find(fits).copied().unwrap_or(ptimes[0])
    }

    /// How far a payload moves the RTP timestamp, units of [`Codec::clock_rate`]. Part frames and what Opus does not
    /// allow (RFC 6716 §3.4) count 0.
    #[inline]
    pub fn samples_in(self, payload: &[u8]) -> u32 {
        match self {
            // G.722 has a byte for two samples, and half as many clock units.
            Self::Pcmu | Self::Pcma | Self::G722 => payload.len() as u32,
            // A comfort noise frame of 2 bytes may end a packet (RFC 3551 §4.5.6).
            Self::G729 => (payload.len() / 10 + usize::from(payload.len() % 10 >= 2)) as u32 * 80,
            Self::Gsm => (payload.len() / gsm::FRAME_BYTES) as u32 * 160,
            Self::L16(_) => (payload.len() / 2) as u32,
            Self::Opus => opus::packet::samples(payload).unwrap_or(0),
        }
    }

    /// Replaces what is in a payload by silence of the same duration that any decoder can take next, whatever it heard
    /// before. The new length is returned; it is never more than the old.
    pub(crate) fn hush(self, payload: &mut [u8]) -> usize {
        silence::hush(self, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_found_by_its_names_in_any_case() {
        assert_eq!(Codec::from_name("pcmu", 8000), Some(Codec::Pcmu));
        assert_eq!(Codec::from_name("PCMA", 8000), Some(Codec::Pcma));
        assert_eq!(Codec::from_name("OPUS", 48_000), Some(Codec::Opus));
        assert_eq!(Codec::from_name("opus", 8000), None);
        assert_eq!(
            Codec::from_name("L16", 16_000),
            Some(Codec::L16(L16Rate::Hz16000))
        );
        assert_eq!(Codec::from_name("telephone-event", 8000), None);
        assert_eq!(
            Codec::from_asterisk_name("Slin"),
            Some(Codec::L16(L16Rate::Hz8000))
        );
        assert_eq!(Codec::from_asterisk_name("slin192"), None);
        for codec in Codec::ALL {
            let named = Codec::from_name(codec.name(), codec.clock_rate());
            assert_eq!(named, Some(codec));
            assert_eq!(
                Codec::from_asterisk_name(codec.asterisk_name()),
                Some(codec)
            );
        }
    }

    #[test]
    fn g722_counts_half_its_samples_and_opus_counts_48_khz() {
        assert_eq!(Codec::G722.clock_rate(), 8000);
        assert_eq!(Codec::G722.sample_rate(), 16_000);
        assert_eq!(Codec::G722.samples_in(&[0; 160]), 160);
        assert_eq!(Codec::Gsm.samples_in(&[0xD0; 66]), 320);
        assert_eq!(
            Codec::L16(L16Rate::Hz16000).samples_in(&[0; 640]),
            320,
            "20 ms at 16 kHz"
        );
        assert_eq!(Codec::Opus.samples_in(&[0xF8, 0xFF, 0xFE]), 960);
        assert_eq!(Codec::Opus.samples_in(&[]), 0);
    }

    #[test]
    fn a_packet_time_is_one_that_the_codec_can_have() {
        assert_eq!(Codec::Pcmu.ptime(35), 30);
        assert_eq!(Codec::Pcmu.ptime(5), 10);
        assert_eq!(Codec::Pcmu.ptime(200), 60);
        assert_eq!(Codec::Gsm.ptime(30), 20);
        assert_eq!(Codec::Opus.ptime(50), 40);
        assert_eq!(Codec::L16(L16Rate::Hz48000).ptime(20), 10);
        for codec in Codec::ALL {
            for &ms in codec.ptimes() {
                let bytes = match codec {
                    Codec::L16(rate) => rate.hz() as usize * usize::from(ms) / 500,
                    _ => 8 * usize::from(ms),
                };
                assert!(bytes <= PAYLOAD_MAX, "{codec:?} {ms} ms");
            }
        }
    }
}
