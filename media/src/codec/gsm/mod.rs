//! GSM 06.10 full rate (ETS 300 961): 20 ms of 8000 Hz in 33 bytes. Bit exact, in the arithmetic of the standard.

mod decode;
mod encode;
mod frame;
mod long_term;
mod math;
mod pulses;
mod short_term;

use decode::Synthesis;
use encode::Analysis;
use frame::Frame;
pub use frame::{FRAME_BYTES, FRAME_SAMPLES, WAV49_BYTES};

/// Whole frames at the beginning of a payload, up to the first that is none.
pub fn frames(payload: &[u8]) -> usize {
    let (frames, _) = payload.as_chunks::<FRAME_BYTES>();
    let signed = |frame: &&[u8; FRAME_BYTES]| Frame::is_signed(frame);
    frames.iter().take_while(signed).count()
}

/// Samples of 8000 Hz to frames.
#[derive(Clone, Debug, Default)]
pub struct Encoder(Analysis);

impl Encoder {
    /// Encodes whole frames of 160 samples to 33 bytes each, as many as there are and fit; the number of bytes is returned.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let (frames, _) = samples.as_chunks();
        let (places, _) = payload.as_chunks_mut();
        let count = frames.len().min(places.len());
        for (frame, place) in frames.iter().zip(places) {
            *place = self.0.encode(frame).bytes();
        }
        count * FRAME_BYTES
    }

    /// Encodes 40 ms for a WAV file of format 49.
    pub fn encode_wav49(&mut self, samples: &[i16; 2 * FRAME_SAMPLES]) -> [u8; WAV49_BYTES] {
        let (frames, _) = samples.as_chunks();
        Frame::bytes_wav49(std::array::from_fn(|i| self.0.encode(&frames[i])))
    }
}

/// Frames to samples of 8000 Hz.
#[derive(Clone, Debug, Default)]
pub struct Decoder(Synthesis);

impl Decoder {
    /// Decodes frames of 33 bytes to 160 samples each, as many as there are and fit, up to the first that is none (each
    /// begins with the bits 1101). The number of samples is returned.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let (frames, _) = payload.as_chunks();
        let (places, _) = samples.as_chunks_mut();
        let mut count = 0;
        for (frame, place) in frames.iter().zip(places) {
            let Some(frame) = Frame::parse(frame) else {
                break;
            };
            *place = self.0.decode(&frame);
            count += FRAME_SAMPLES;
        }
        count
    }

    /// Decodes the two frames of a block in a WAV file of format 49.
    pub fn decode_wav49(&mut self, block: &[u8; WAV49_BYTES]) -> [i16; 2 * FRAME_SAMPLES] {
        let mut samples = [0; 2 * FRAME_SAMPLES];
        let (places, _) = samples.as_chunks_mut();
        for (place, frame) in places.iter_mut().zip(Frame::parse_wav49(block)) {
            *place = self.0.decode(&frame);
        }
        samples
    }
}
