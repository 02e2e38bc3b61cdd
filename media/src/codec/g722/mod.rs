//! ITU-T G.722 at 64 kbit/s (mode 1): 16000 Hz in two bands of adaptive differential code, six bits of the lower and two
//! of the upper band in each byte. Bit exact, in the arithmetic of the recommendation.

mod band;

use band::{Band, sat};

/// The quadrature mirror filter (table 11), the half of its 24 taps that the other half mirrors; its phases take turns.
const FILTER: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Both phases of the filter over the last 24 samples, oldest first.
#[inline]
fn filter(window: &[i32; 24]) -> (i32, i32) {
    let mut phases = (0, 0);
    for (i, pair) in window.chunks_exact(2).enumerate() {
        phases.0 += pair[1] * FILTER[11 - i];
        phases.1 += pair[0] * FILTER[i];
    }
    phases
}

/// Samples of 16000 Hz to bytes.
#[derive(Clone, Debug)]
pub struct Encoder {
    window: [i32; 24],
    low: Band,
    high: Band,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            window: [0; 24],
            low: Band::low(),
            high: Band::high(),
        }
    }
}

impl Encoder {
    /// Encodes pairs of samples to a byte each, as many as there are and fit; the number of bytes is returned.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let pairs = samples.chunks_exact(2);
        let count = pairs.len().min(payload.len());
        for (pair, byte) in pairs.zip(payload) {
            self.window.copy_within(2.., 0);
            self.window[22] = i32::from(pair[0]);
            self.window[23] = i32::from(pair[1]);
            let (even, odd) = filter(&self.window);
            let low = self.low.quantise((even + odd) >> 14);
            let high = self.high.quantise((even - odd) >> 14);
            self.low.reconstruct(low);
            self.high.reconstruct(high);
            *byte = high << 6 | low;
        }
        count
    }
}

/// Bytes to samples of 16000 Hz.
#[derive(Clone, Debug)]
pub struct Decoder {
    window: [i32; 24],
    low: Band,
    high: Band,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            window: [0; 24],
            low: Band::low(),
            high: Band::high(),
        }
    }
}

impl Decoder {
    /// Decodes bytes to two samples each, as many as fit; the number of samples is returned.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let pairs = samples.chunks_exact_mut(2);
        let count = pairs.len().min(payload.len());
        for (&byte, pair) in payload.iter().zip(pairs) {
            let low = self.low.reconstruct(byte & 0x3F);
            let high = self.high.reconstruct(byte >> 6);
            self.window.copy_within(2.., 0);
            self.window[22] = low + high;
            self.window[23] = low - high;
            let (even, odd) = filter(&self.window);
            pair[0] = sat(even >> 11) as i16;
            pair[1] = sat(odd >> 11) as i16;
        }
        2 * count
    }
}
