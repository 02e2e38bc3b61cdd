//! GSM 06.10, decoder: the 76 parameters of a frame to 160 samples (§5.3).

use super::frame::{FRAME_SAMPLES, Frame};
use super::long_term::{GAIN_LEVELS, HISTORY};
use super::math::{add, mult_r};
use super::pulses::{self, SUBFRAME_SAMPLES};
use super::short_term::Lattice;

/// State of a decoder.
#[derive(Clone, Debug)]
pub(super) struct Synthesis {
    lattice: Lattice,
    /// Lag of the last quarter frame, for those that are out of range.
    lag: usize,
    /// Reconstructed residual of the last 120 samples, then of the frame at work.
    residual: [i16; HISTORY + FRAME_SAMPLES],
    emphasis: i16,
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            lattice: Lattice::default(),
            lag: 40,
            residual: [0; HISTORY + FRAME_SAMPLES],
            emphasis: 0,
        }
    }
}

impl Synthesis {
    pub(super) fn decode(&mut self, frame: &Frame) -> [i16; FRAME_SAMPLES] {
        for (number, sub) in frame.subframes.iter().enumerate() {
            // §5.3.2: the long term filter.
            let lag = usize::from(sub.lag);
            if (SUBFRAME_SAMPLES..=HISTORY).contains(&lag) {
                self.lag = lag;
            }
            let gain = GAIN_LEVELS[usize::from(sub.gain & 3)];
            let at = HISTORY + number * SUBFRAME_SAMPLES;
            for (k, pulse) in pulses::decode(sub).into_iter().enumerate() {
                let past = self.residual[at + k - self.lag];
                self.residual[at + k] = add(pulse, mult_r(gain, past));
            }
        }
        let mut samples = [0; FRAME_SAMPLES];
        samples.copy_from_slice(&self.residual[HISTORY..]);
        self.residual.copy_within(FRAME_SAMPLES.., 0);
        self.lattice.synthesise(&frame.lars, &mut samples);
        // §5.3.5 to §5.3.7: de-emphasis, scaling up, 13 bits.
        samples.map(|sample| {
            self.emphasis = add(sample, mult_r(self.emphasis, 28_180));
            add(self.emphasis, self.emphasis) & !7
        })
    }
}
