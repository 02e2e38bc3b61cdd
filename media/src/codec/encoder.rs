//! Encoders: samples to packets of any codec.

use super::{Codec, CodecError, G711, g722, gsm, opus};

/// What an encoder is to do; only Opus has a choice.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct EncoderOptions {
    /// Bits a second on average, 6000..=510000.
    pub bitrate: u32,
    /// Adds a coarse copy of each packet to the next, when loss is expected (in-band FEC).
    pub fec: bool,
    /// Pauses in silence, but for a packet now and then.
    pub dtx: bool,
    /// All packets of one length.
    pub cbr: bool,
    /// How hard it tries, 0..=10; CPU rises threefold from 0 to 10.
    pub complexity: u8,
    /// Highest sample rate that the receiver plays, Hz: nothing above half of it is sent.
    pub playback_rate: u32,
    /// Packets that are likely to be lost, percent: how much is spent on [`EncoderOptions::fec`].
    pub expected_loss_percent: u8,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self {
            bitrate: 24_000,
            fec: false,
            dtx: false,
            cbr: false,
            complexity: 5,
            playback_rate: 48_000,
            expected_loss_percent: 5,
        }
    }
}

/// An encoder with its state: one for each stream. It allocates when it is made, never when it works.
#[derive(Debug)]
pub struct Encoder {
    codec: Codec,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    G711(G711),
    G722(Box<g722::Encoder>),
    Gsm(Box<gsm::Encoder>),
    L16,
    Opus(opus::Encoder),
}

impl Encoder {
    /// An encoder for a codec. `rate_hz` is wanted of Opus, as in [`super::Decoder::new`]; `options` too.
    pub fn new(codec: Codec, rate_hz: u32, options: &EncoderOptions) -> Result<Self, CodecError> {
        let kind = match codec {
            Codec::Pcmu => Kind::G711(G711::Ulaw),
            Codec::Pcma => Kind::G711(G711::Alaw),
            Codec::G722 => Kind::G722(Box::default()),
            Codec::Gsm => Kind::Gsm(Box::default()),
            Codec::L16(_) => Kind::L16,
            Codec::Opus => Kind::Opus(opus::Encoder::new(rate_hz, options)?),
            Codec::G729 => return Err(CodecError::NotSpoken(codec)),
        };
        Ok(Self { codec, kind })
    }

    /// What it encodes to.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Samples a second of what goes in.
    pub fn rate(&self) -> u32 {
        match &self.kind {
            Kind::Opus(opus) => opus.rate(),
            _ => self.codec.sample_rate(),
        }
    }

    /// Encodes a packet; its bytes are counted in the answer, 0: nothing is to be sent (DTX). The samples have to be one
    /// of [`Codec::ptimes`]; [`super::PAYLOAD_MAX`] bytes are always enough for them.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> Result<usize, CodecError> {
        let (bytes, whole) = match &self.kind {
            Kind::Opus(_) => (0, true),
            Kind::G711(_) => (samples.len(), true),
            Kind::L16 => (2 * samples.len(), true),
            Kind::G722(_) => (samples.len() / 2, samples.len().is_multiple_of(2)),
            Kind::Gsm(_) => {
                let frames = samples.len() / gsm::FRAME_SAMPLES;
                let whole = samples.len().is_multiple_of(gsm::FRAME_SAMPLES);
                (frames * gsm::FRAME_BYTES, whole)
            }
        };
        if !whole || samples.is_empty() {
            return Err(CodecError::FrameSize(samples.len()));
        }
        if payload.len() < bytes {
            return Err(CodecError::TooLong);
        }
        Ok(match &mut self.kind {
            Kind::G711(law) => law.encode(samples, payload),
            Kind::G722(encoder) => encoder.encode(samples, payload),
            Kind::Gsm(encoder) => encoder.encode(samples, payload),
            Kind::Opus(encoder) => encoder.encode(samples, payload)?,
            Kind::L16 => {
                let (pairs, _) = payload.as_chunks_mut();
                for (pair, sample) in pairs.iter_mut().zip(samples) {
                    *pair = sample.to_be_bytes();
                }
                bytes
            }
        })
    }

    /// Tells what the receiver reports as lost, percent; only Opus with FEC has a use for it.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), CodecError> {
        match &mut self.kind {
            Kind::Opus(opus) => opus.set_expected_loss(percent),
            _ => Ok(()),
        }
    }

    /// Another stream begins.
    pub fn reset(&mut self) {
        match &mut self.kind {
            Kind::G722(encoder) => **encoder = g722::Encoder::default(),
            Kind::Gsm(encoder) => **encoder = gsm::Encoder::default(),
            Kind::Opus(encoder) => encoder.reset(),
            Kind::G711(_) | Kind::L16 => {}
        }
    }
}
