//! The regular pulses of GSM 06.10: what is left of 5 ms after both predictors, as 13 pulses on one of four grids with
//! a common maximum (§5.2.13 to 5.2.17, §5.3.1).

use super::frame::Subframe;
use super::math::{abs, add, mult, mult_r};

/// Samples of a quarter frame.
pub(super) const SUBFRAME_SAMPLES: usize = 40;

/// The weighting filter (table 5.4), the first half; the other mirrors it.
const WEIGHTS: [i32; 11] = [-134, -374, 0, 2054, 5741, 8192, 5741, 2054, 0, -374, -134];
/// Normalised inverse mantissas and mantissas of the block maximum (tables 5.5 and 5.6).
const INVERSE_MANTISSA: [i16; 8] = [
    29_128, 26_215, 23_832, 21_846, 20_165, 18_725, 17_476, 16_384,
];
const MANTISSA: [i16; 8] = [
    18_431, 20_479, 22_527, 24_575, 26_623, 28_671, 30_719, 32_767,
];

/// §5.2.15: a coded maximum as exponent, -4..=6, and mantissa, 0..=7.
fn exponent_and_mantissa(maximum: u8) -> (i16, i16) {
    let coded = i16::from(maximum);
    let mut exponent = if coded > 15 { (coded >> 3) - 1 } else { 0 };
    let mut mantissa = coded - (exponent << 3);
    if mantissa == 0 {
        return (-4, 7);
    }
    while mantissa <= 7 {
        mantissa = mantissa << 1 | 1;
        exponent -= 1;
    }
    (exponent, mantissa - 8)
}

/// Codes what is left: grid, maximum and pulses of `sub` are set.
pub(super) fn encode(rest: &[i16; SUBFRAME_SAMPLES], sub: &mut Subframe) {
    // §5.2.13: the weighting filter, over silence on both sides.
    let mut padded = [0i32; SUBFRAME_SAMPLES + 10];
    for (padded, &sample) in padded[5..].iter_mut().zip(rest) {
        *padded = i32::from(sample);
    }
    let mut weighted = [0i16; SUBFRAME_SAMPLES];
    for (out, window) in weighted.iter_mut().zip(padded.windows(WEIGHTS.len())) {
        let sum: i32 = window.iter().zip(WEIGHTS).map(|(&x, w)| x * w).sum();
        *out = ((sum + 4096) >> 13).clamp(-32_768, 32_767) as i16;
    }

    // §5.2.14: the grid with most energy, the first of equals.
    let energy = |grid: usize| -> i32 {
        let pulses = weighted[grid..].iter().step_by(3).take(13);
        pulses.map(|&x| i32::from(x >> 2).pow(2)).sum()
    };
    let mut best = (0, energy(0));
    for grid in 1..4 {
        let energy = energy(grid);
        if energy > best.1 {
            best = (grid, energy);
        }
    }
    sub.grid = best.0 as u8;
    let pulses: [i16; 13] = std::array::from_fn(|i| weighted[best.0 + 3 * i]);

    // §5.2.15: the block maximum, logarithmic.
    let largest = pulses.iter().map(|&x| abs(x)).max().unwrap_or(0);
    let mut exponent = 0;
    let mut rest = largest >> 9;
    while rest > 0 && exponent < 6 {
        exponent += 1;
        rest >>= 1;
    }
    sub.maximum = add(largest >> (exponent + 5), exponent << 3) as u8;

    let (exponent, mantissa) = exponent_and_mantissa(sub.maximum);
    for (code, pulse) in sub.pulses.iter_mut().zip(pulses) {
        let normal = pulse.wrapping_shl((6 - exponent) as u32);
        let value = mult(normal, INVERSE_MANTISSA[mantissa as usize]) >> 12;
        *code = (value + 4) as u8 & 7;
    }
}

/// The pulses on their grid.
pub(super) fn decode(sub: &Subframe) -> [i16; SUBFRAME_SAMPLES] {
    // §5.2.16 and §5.2.17.
    let (exponent, mantissa) = exponent_and_mantissa(sub.maximum);
    let mantissa = MANTISSA[mantissa as usize];
    let shift = 6 - exponent;
    let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
    let mut out = [0; SUBFRAME_SAMPLES];
    let grid = usize::from(sub.grid & 3);
    for (out, &code) in out[grid..].iter_mut().step_by(3).zip(&sub.pulses) {
        let value = (i16::from(code & 7) * 2 - 7) << 12;
        *out = add(mult_r(mantissa, value), half) >> shift;
    }
    out
}
