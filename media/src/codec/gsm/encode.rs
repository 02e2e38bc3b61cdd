//! GSM 06.10, encoder: a frame of 160 samples to its 76 parameters (§5.2).

use super::frame::{FRAME_SAMPLES, Frame, Subframe};
use super::long_term::{GAIN_LEVELS, HISTORY};
use super::math::{abs, add, div, mult, mult_r, norm, sub};
use super::pulses::{self, SUBFRAME_SAMPLES};
use super::short_term::{LAR_B, LAR_MIN, Lattice};

/// Quantisation of the log area ratios (table 5.1): step and largest code.
const LAR_A: [i16; 8] = [20_480, 20_480, 20_480, 20_480, 13_964, 15_360, 8534, 9036];
const LAR_MAX: [i16; 8] = [31, 31, 15, 15, 7, 7, 3, 3];
/// Decision levels of the long term gain (table 5.3).
const GAIN_DECISIONS: [i16; 3] = [6554, 16_384, 26_214];

/// State of an encoder.
#[derive(Clone, Debug)]
pub(super) struct Analysis {
    /// Memory of the offset compensation and the pre-emphasis (§5.2.2, §5.2.3).
    last_input: i16,
    offset: i32,
    emphasis: i16,
    lattice: Lattice,
    /// Reconstructed residual of the last 120 samples, then of the frame at work.
    residual: [i16; HISTORY + FRAME_SAMPLES],
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            last_input: 0,
            offset: 0,
            emphasis: 0,
            lattice: Lattice::default(),
            residual: [0; HISTORY + FRAME_SAMPLES],
        }
    }
}

impl Analysis {
    pub(super) fn encode(&mut self, samples: &[i16; FRAME_SAMPLES]) -> Frame {
        let mut signal = self.preprocess(samples);
        let mut frame = Frame {
            lars: code_lars(&mut signal),
            ..Frame::default()
        };
        self.lattice.analyse(&frame.lars, &mut signal);
        for (number, sub) in frame.subframes.iter_mut().enumerate() {
            let at = number * SUBFRAME_SAMPLES;
            let (past, now) = self.residual.split_at_mut(HISTORY + at);
            let (past, now) = (&past[at..], &mut now[..SUBFRAME_SAMPLES]);
            *sub = code_subframe(&signal[at..at + SUBFRAME_SAMPLES], past, now);
        }
        self.residual.copy_within(FRAME_SAMPLES.., 0);
        frame
    }

    /// §5.2.1 to §5.2.3: scaling, offset compensation, pre-emphasis.
    fn preprocess(&mut self, samples: &[i16; FRAME_SAMPLES]) -> [i16; FRAME_SAMPLES] {
        samples.map(|sample| {
            let input = (sample >> 3) << 2;
            let step = input.wrapping_sub(self.last_input);
            self.last_input = input;
            // A recursive filter with a state of 31 bits: its high and its low half are multiplied apart.
            let high = (self.offset >> 15) as i16;
            let low = self.offset.wrapping_sub(i32::from(high) << 15) as i16;
            let fed = (i32::from(step) << 15) + i32::from(mult_r(low, 32_735));
            self.offset = (i32::from(high) * 32_735).saturating_add(fed);
            let rounded = (self.offset.saturating_add(16_384) >> 15) as i16;
            let emphasis = mult_r(self.emphasis, -28_180);
            self.emphasis = rounded;
            add(rounded, emphasis)
        })
    }
}

/// §5.2.4 to §5.2.7: the coded log area ratios. The signal loses the bits that scaling costs.
fn code_lars(signal: &mut [i16; FRAME_SAMPLES]) -> [u8; 8] {
    let reflections = reflection_coefficients(&autocorrelation(signal));
    std::array::from_fn(|i| {
        let r = reflections[i];
        let magnitude = abs(r);
        let magnitude = if magnitude < 22_118 {
            magnitude >> 1
        } else if magnitude < 31_130 {
            magnitude - 11_059
        } else {
            (magnitude - 26_112) << 2
        };
        let lar = if r < 0 { -magnitude } else { magnitude };
        let scaled = add(add(mult(LAR_A[i], lar), LAR_B[i]), 256) >> 9;
        (scaled.clamp(LAR_MIN[i], LAR_MAX[i]) - LAR_MIN[i]) as u8
    })
}

/// §5.2.4: scaled so that nothing overflows.
fn autocorrelation(signal: &mut [i16; FRAME_SAMPLES]) -> [i32; 9] {
    let largest = signal.iter().map(|&s| abs(s)).max().unwrap_or(0);
    let scale = if largest == 0 {
        0
    } else {
        4 - norm(i32::from(largest) << 16) as i32
    };
    if scale > 0 {
        let factor = 16_384 >> (scale - 1);
        for sample in signal.iter_mut() {
            *sample = mult_r(*sample, factor);
        }
    }
    let sums = std::array::from_fn(|lag| {
        let pairs = signal[lag..].iter().zip(signal.iter());
        let sum: i32 = pairs.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        sum << 1
    });
    if scale > 0 {
        for sample in signal.iter_mut() {
            *sample <<= scale;
        }
    }
    sums
}

/// §5.2.5: the Schur recursion.
fn reflection_coefficients(sums: &[i32; 9]) -> [i16; 8] {
    let mut r = [0; 8];
    if sums[0] == 0 {
        return r;
    }
    let shift = norm(sums[0]);
    let mut p = sums.map(|sum| ((sum << shift) >> 16) as i16);
    let mut k = p;
    for n in 0..8 {
        let magnitude = abs(p[1]);
        if p[0] < magnitude {
            return r;
        }
        let quotient = div(magnitude, p[0]);
        r[n] = if p[1] > 0 { -quotient } else { quotient };
        if n == 7 {
            break;
        }
        p[0] = add(p[0], mult_r(p[1], r[n]));
        for m in 1..8 - n {
            let next = p[m + 1];
            p[m] = add(next, mult_r(k[m], r[n]));
            k[m] = add(k[m], mult_r(next, r[n]));
        }
    }
    r
}

/// §5.2.11 to §5.2.18: long term prediction of 5 ms from the 120 samples before, and the pulses of the rest. `now` is
/// set to what a decoder will make of it.
fn code_subframe(signal: &[i16], past: &[i16], now: &mut [i16]) -> Subframe {
    let (lag, gain) = long_term(signal, past);
    let mut sub_frame = Subframe {
        lag: lag as u8,
        gain,
        ..Subframe::default()
    };
    let level = GAIN_LEVELS[usize::from(gain)];
    let predicted: [i16; SUBFRAME_SAMPLES] =
        std::array::from_fn(|k| mult_r(level, past[HISTORY + k - lag]));
    let rest = std::array::from_fn(|k| sub(signal[k], predicted[k]));
    pulses::encode(&rest, &mut sub_frame);
    let pulses = pulses::decode(&sub_frame);
    for (out, (pulse, predicted)) in now.iter_mut().zip(pulses.into_iter().zip(predicted)) {
        *out = add(pulse, predicted);
    }
    sub_frame
}

/// §5.2.11: lag and coded gain of the long term predictor.
fn long_term(signal: &[i16], past: &[i16]) -> (usize, u8) {
    let largest = signal.iter().map(|&d| abs(d)).max().unwrap_or(0);
    let headroom = if largest == 0 {
        0
    } else {
        norm(i32::from(largest) << 16)
    };
    let scale = 6u32.saturating_sub(headroom);
    let working: [i32; SUBFRAME_SAMPLES] = std::array::from_fn(|k| i32::from(signal[k] >> scale));
    let mut best = (40, 0);
    for lag in 40..=HISTORY {
        let from = &past[HISTORY - lag..];
        let pairs = working.iter().zip(from);
        let correlation: i32 = pairs.map(|(&a, &b)| a * i32::from(b)).sum();
        if correlation > best.1 {
            best = (lag, correlation);
        }
    }
    let (lag, correlation) = best;
    let correlation = (correlation << 1) >> (6 - scale);
    let power: i32 = past[HISTORY - lag..]
        .iter()
        .take(SUBFRAME_SAMPLES)
        .map(|&d| i32::from(d >> 3).pow(2))
        .sum();
    let power = power << 1;
    if correlation <= 0 {
        return (lag, 0);
    }
    if correlation >= power {
        return (lag, 3);
    }
    let shift = norm(power);
    let r = ((correlation << shift) >> 16) as i16;
    let s = ((power << shift) >> 16) as i16;
    let below = |&level: &i16| r <= mult(s, level);
    let gain = GAIN_DECISIONS.iter().position(below).unwrap_or(3);
    (lag, gain as u8)
}
