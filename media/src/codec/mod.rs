//! Codecs: bytes of a packet to linear samples and back, a packet at a time, without state or allocation where the
//! codec allows it. Which codec a call uses is decided elsewhere (offer and answer).

pub mod g711;

use crate::sound::SAMPLE_RATE;

/// A codec for audio. Telephone-events and comfort noise are payloads, but no codecs.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum Codec {
    /// G.711 u-law, 8000 Hz.
    Pcmu,
    /// G.711 A-law, 8000 Hz.
    Pcma,
}

impl Codec {
    /// RTP clock rate in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => SAMPLE_RATE,
        }
    }

    /// Encoding name in SDP (RFC 3551 §6).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// By its SDP encoding name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pcmu, Self::Pcma]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The static payload type of RFC 3551 §6, where there is one.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
        }
    }

    /// The byte that stands for silence.
    pub(crate) const fn silence(self) -> u8 {
        match self {
            Self::Pcmu => 0xFF,
            Self::Pcma => 0xD5,
        }
    }

    /// Decodes as many bytes as fit and says how many samples came out.
    pub(crate) fn decode(self, payload: &[u8], samples: &mut [i16]) -> usize {
        let table = match self {
            Self::Pcmu => &g711::ULAW_TO_LINEAR,
            Self::Pcma => &g711::ALAW_TO_LINEAR,
        };
        for (sample, &byte) in samples.iter_mut().zip(payload) {
            *sample = table[usize::from(byte)];
        }
        payload.len().min(samples.len())
    }

    /// Encodes as many samples as fit and says how many bytes came out.
    pub(crate) fn encode(self, samples: &[i16], payload: &mut [u8]) -> usize {
        match self {
            Self::Pcmu => {
                for (byte, &sample) in payload.iter_mut().zip(samples) {
                    *byte = g711::ulaw_encode(sample);
                }
            }
            Self::Pcma => {
                for (byte, &sample) in payload.iter_mut().zip(samples) {
                    *byte = g711::alaw_encode(sample);
                }
            }
        }
        samples.len().min(payload.len())
    }

    /// Rewrites a payload of this codec into another of the same length.
    pub(crate) fn transcode(self, to: Self, payload: &mut [u8]) {
        let table = match (self, to) {
            (Self::Pcmu, Self::Pcma) => &g711::ULAW_TO_ALAW,
            (Self::Pcma, Self::Pcmu) => &g711::ALAW_TO_ULAW,
            (Self::Pcmu, Self::Pcmu) | (Self::Pcma, Self::Pcma) => return,
        };
        for byte in payload {
            *byte = table[usize::from(*byte)];
        }
    }

    /// Samples of 8000 Hz in a payload of so many bytes.
    pub(crate) const fn samples_in(self, payload_bytes: usize) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => payload_bytes as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_found_by_its_name_in_any_case() {
        assert_eq!(Codec::from_name("pcmu"), Some(Codec::Pcmu));
        assert_eq!(Codec::from_name("PCMA"), Some(Codec::Pcma));
        assert_eq!(Codec::from_name("telephone-event"), None);
    }

    #[test]
    fn the_silence_byte_of_a_codec_decodes_to_almost_nothing() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let mut out = [99i16; 1];
            codec.decode(&[codec.silence()], &mut out);
            assert!(out[0].abs() <= 8, "{codec:?} {}", out[0]);
        }
    }

    #[test]
    fn a_transcoded_payload_sounds_as_decoded_and_encoded_again() {
        for (from, to) in [(Codec::Pcmu, Codec::Pcma), (Codec::Pcma, Codec::Pcmu)] {
            let mut payload: Vec<u8> = (0..=255).collect();
            let mut samples = [0i16; 256];
            from.decode(&payload, &mut samples);
            let mut expected = [0u8; 256];
            to.encode(&samples, &mut expected);
            from.transcode(to, &mut payload);
            assert_eq!(payload, expected);
        }
    }

    #[test]
    fn short_outputs_take_what_fits() {
        let mut samples = [0i16; 3];
        assert_eq!(Codec::Pcmu.decode(&[0xFF; 10], &mut samples), 3);
        let mut bytes = [0u8; 2];
        assert_eq!(Codec::Pcma.encode(&[0; 10], &mut bytes), 2);
    }
}
