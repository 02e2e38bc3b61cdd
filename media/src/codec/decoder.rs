//! Decoders: packets of any codec to samples, with what stands in for lost ones.

use super::{Codec, CodecError, G711, g722, gsm, opus};
use crate::dsp::Concealer;

/// How lost audio was replaced.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Concealed {
    /// By the coarse copy that the next packet carried (Opus).
    Fec,
    /// By going on with what was heard before, fading.
    Estimated,
}

/// A decoder with its state: one for each stream. It allocates when it is made, never when it works.
#[derive(Debug)]
pub struct Decoder {
    codec: Codec,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Own {
        own: Own,
        /// Something was made up since the last packet.
        gap: bool,
        /// Boxed: nothing looks at it while nothing is lost.
        concealer: Box<Concealer>,
    },
    Opus(opus::Decoder),
}

#[derive(Debug)]
enum Own {
    G711(G711),
    G722(Box<g722::Decoder>),
    Gsm(Box<gsm::Decoder>),
    L16,
}

impl Decoder {
    /// A decoder for a codec. `rate_hz` is wanted of Opus, which takes the next of 8000, 12000, 16000, 24000 and 48000;
    /// all others have a rate of their own. [`Decoder::rate`] tells.
    pub fn new(codec: Codec, rate_hz: u32) -> Result<Self, CodecError> {
        let own = match codec {
            Codec::Pcmu => Own::G711(G711::Ulaw),
            Codec::Pcma => Own::G711(G711::Alaw),
            Codec::G722 => Own::G722(Box::default()),
            Codec::Gsm => Own::Gsm(Box::default()),
            Codec::L16(_) => Own::L16,
            Codec::G729 => return Err(CodecError::NotSpoken(codec)),
            Codec::Opus => {
                let kind = Kind::Opus(opus::Decoder::new(rate_hz)?);
                return Ok(Self { codec, kind });
            }
        };
        let concealer = Box::new(Concealer::new(codec.sample_rate()));
        Ok(Self {
            codec,
            kind: Kind::Own {
                own,
                gap: false,
                concealer,
            },
        })
    }

    /// What it decodes.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Samples a second of what comes out.
    pub fn rate(&self) -> u32 {
        match &self.kind {
            Kind::Own { .. } => self.codec.sample_rate(),
            Kind::Opus(opus) => opus.rate(),
        }
    }

    /// Decodes a packet, which has to follow the last one decoded or concealed; the number of samples is returned, never 0.
    /// Errors leave `out` and the state as they were, but for damaged Opus.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let (own, gap, concealer) = match &mut self.kind {
            Kind::Opus(opus) => return opus.decode(payload, out),
            Kind::Own {
                own,
                gap,
                concealer,
            } => (own, gap, concealer),
        };
        let samples = match own {
            Own::G711(_) => payload.len(),
            Own::G722(_) => 2 * payload.len(),
            Own::Gsm(_) => gsm::frames(payload) * gsm::FRAME_SAMPLES,
            Own::L16 => payload.len() / 2,
        };
        if samples == 0 {
            return Err(CodecError::Broken);
        }
        let out = out.get_mut(..samples).ok_or(CodecError::TooLong)?;
        match own {
            Own::G711(law) => {
                law.decode(payload, out);
            }
            Own::G722(decoder) => {
                decoder.decode(payload, out);
            }
            Own::Gsm(decoder) => {
                decoder.decode(payload, out);
            }
            Own::L16 => {
                let (pairs, _) = payload.as_chunks();
                for (sample, &pair) in out.iter_mut().zip(pairs) {
                    *sample = i16::from_be_bytes(pair);
                }
            }
        }
        if std::mem::take(gap) {
            concealer.resume(out);
        }
        Ok(samples)
    }

    /// Replaces audio that was lost: all of `out` is filled, whole milliseconds of it (Opus: multiples of 2.5 ms, what is
    /// left over is silence). `next` is the packet behind the gap if it is there already: with Opus it may tell the end of
    /// the gap (up to its own duration), and is to be decoded afterwards as usual. `past` is what was heard before the gap,
    /// 50 ms of it if there is as much; Opus knows it itself.
    pub fn conceal(&mut self, next: Option<&[u8]>, past: &[i16], out: &mut [i16]) -> Concealed {
        match &mut self.kind {
            Kind::Opus(opus) => opus.conceal(next, out),
            Kind::Own { gap, concealer, .. } => {
                *gap = true;
                concealer.fill(past, out);
                Concealed::Estimated
            }
        }
    }

    /// Another stream begins.
    pub fn reset(&mut self) {
        match &mut self.kind {
            Kind::Opus(opus) => opus.reset(),
            Kind::Own {
                own,
                gap,
                concealer,
            } => {
                *gap = false;
                match own {
                    Own::G722(decoder) => **decoder = g722::Decoder::default(),
                    Own::Gsm(decoder) => **decoder = gsm::Decoder::default(),
                    Own::G711(_) | Own::L16 => {}
                }
                concealer.reset();
            }
        }
    }
}
