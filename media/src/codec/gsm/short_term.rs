//! The short term filter of GSM 06.10: the lattice that encoder and decoder share, with its coefficients interpolated
//! over the beginning of a frame (§5.2.8 to 5.2.10, §5.3.4).

use super::frame::FRAME_SAMPLES;
use super::math::{add, mult_r, sub};

/// Quantisation of the log area ratios (tables 5.1 and 5.2): offset, smallest and largest code.
pub(super) const LAR_B: [i16; 8] = [0, 0, 2048, -2560, 94, -1792, -341, -1144];
pub(super) const LAR_MIN: [i16; 8] = [-32, -32, -16, -16, -8, -8, -4, -4];
/// Reciprocal of the steps.
const LAR_INVERSE_A: [i16; 8] = [
    13_107, 13_107, 13_107, 13_107, 19_223, 17_476, 31_454, 29_708,
];

/// Where the interpolated coefficients change within a frame.
const PARTS: [std::ops::Range<usize>; 4] = [0..13, 13..27, 27..40, 40..FRAME_SAMPLES];

/// Coefficients and memory of a lattice.
#[derive(Clone, Debug, Default)]
pub(super) struct Lattice {
    /// Log area ratios of the frame before.
    before: [i16; 8],
    memory: [i16; 9],
}

/// §5.2.8: codes to log area ratios.
fn decode_lars(codes: &[u8; 8]) -> [i16; 8] {
    std::array::from_fn(|i| {
        let coded = add(i16::from(codes[i]), LAR_MIN[i]) << 10;
        let value = mult_r(LAR_INVERSE_A[i], sub(coded, LAR_B[i] << 1));
        add(value, value)
    })
}

/// §5.2.9.2: a log area ratio to a reflection coefficient.
fn reflection(lar: i16) -> i16 {
    let magnitude = lar.saturating_abs();
    let magnitude = if magnitude < 11_059 {
        magnitude << 1
    } else if magnitude < 20_070 {
        magnitude + 11_059
    } else {
        add(magnitude >> 2, 26_112)
    };
    if lar < 0 { -magnitude } else { magnitude }
}

impl Lattice {
    /// The reflection coefficients of each part of a frame.
    fn coefficients(&mut self, codes: &[u8; 8]) -> [[i16; 8]; 4] {
        let now = decode_lars(codes);
        let before = std::mem::replace(&mut self.before, now);
        std::array::from_fn(|part| {
            std::array::from_fn(|i| {
                let (old, new) = (before[i], now[i]);
                reflection(match part {
                    0 => add(add(old >> 2, new >> 2), old >> 1),
                    1 => add(old >> 1, new >> 1),
                    2 => add(add(old >> 2, new >> 2), new >> 1),
                    _ => new,
                })
            })
        })
    }

    /// Takes the short term correlation out of a frame (§5.2.10).
    pub(super) fn analyse(&mut self, codes: &[u8; 8], samples: &mut [i16; FRAME_SAMPLES]) {
        let coefficients = self.coefficients(codes);
        for (part, reflections) in PARTS.into_iter().zip(coefficients) {
            for sample in &mut samples[part] {
                let mut direct = *sample;
                let mut saved = direct;
                for (memory, r) in self.memory.iter_mut().zip(reflections) {
                    let old = std::mem::replace(memory, saved);
                    saved = add(old, mult_r(r, direct));
                    direct = add(direct, mult_r(r, old));
                }
                *sample = direct;
            }
        }
    }

    /// Puts it back in (§5.3.4).
    pub(super) fn synthesise(&mut self, codes: &[u8; 8], samples: &mut [i16; FRAME_SAMPLES]) {
        let coefficients = self.coefficients(codes);
        for (part, reflections) in PARTS.into_iter().zip(coefficients) {
            for sample in &mut samples[part] {
                let mut value = *sample;
                for i in (0..8).rev() {
                    value = sub(value, mult_r(reflections[i], self.memory[i]));
                    self.memory[i + 1] = add(self.memory[i], mult_r(reflections[i], value));
                }
                self.memory[0] = value;
                *sample = value;
            }
        }
    }
}
