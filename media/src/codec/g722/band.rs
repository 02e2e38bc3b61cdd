//! One band of G.722: the inverse quantisers, the adaptation of their step size, and the predictor, in the 16 bit
//! arithmetic of ITU-T G.722 §3 and §4 (the names of its blocks stand beside the code).

/// Which of the two bands.
#[derive(Copy, Clone, Debug)]
enum Width {
    Low,
    High,
}

/// Largest logarithmic step size of the lower and of the upper band (blocks LOGSCL, LOGSCH).
const LOG_STEP_MAX: [i32; 2] = [18_432, 22_528];

/// How the logarithmic step size of the lower band moves, by the four bit code (W(I) of table 12, through RL42).
const LOW_LOG_STEP: [i32; 16] = [
    -60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60,
];
/// The same of the upper band, by its two bit code.
const HIGH_LOG_STEP: [i32; 4] = [798, -214, 798, -214];

/// Antilogarithm of the step size, one octave (ILB).
const ANTILOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Levels of the lower band with four bits, by which both sides adapt (QM4).
const LOW_LEVELS_4: [i32; 16] = [
    0, -20_456, -12_896, -8968, -6288, -4240, -2584, -1200, 20_456, 12_896, 8968, 6288, 4240, 2584,
    1200, 0,
];
/// Levels of the lower band with six bits, which are heard (QM6).
const LOW_LEVELS_6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192,
    -10_232, -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168,
    -2776, -2400, -2032, -1688, -1360, -1040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512,
    12_280, 11_192, 10_232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168,
    2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// Levels of the upper band (QM2).
const HIGH_LEVELS: [i32; 4] = [-7408, -1616, 7408, 1616];

/// Decision levels of the lower band for six bits (Q6).
const LOW_DECISIONS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Decision level of the upper band.
const HIGH_DECISION: i32 = 564;

/// Saturates to 16 bits.
#[inline]
pub(super) fn sat(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// The state of a band; encoder and decoder keep the same.
#[derive(Clone, Debug)]
pub(super) struct Band {
    width: Width,
    /// What the predictor expects.
    expected: i32,
    expected_zeros: i32,
    /// Reconstructed signals, newest first.
    reconstructed: [i32; 2],
    /// Partially reconstructed signals, newest first: their signs are wanted.
    partial: [i32; 2],
    /// The poles.
    a: [i32; 2],
    /// The zeros, and the quantised differences they work on, newest first.
    b: [i32; 6],
    differences: [i32; 6],
    log_step: i32,
    /// Step size (DET).
    step: i32,
}

impl Band {
    pub(super) fn low() -> Self {
        Self::new(Width::Low, 32)
    }

    pub(super) fn high() -> Self {
        Self::new(Width::High, 8)
    }

    fn new(width: Width, step: i32) -> Self {
        Self {
            width,
            expected: 0,
            expected_zeros: 0,
            reconstructed: [0; 2],
            partial: [0; 2],
            a: [0; 2],
            b: [0; 6],
            differences: [0; 6],
            log_step: 0,
            step,
        }
    }

    /// The code for a sample of this band, 6 or 2 bits (blocks SUBTRA, QUANTL, QUANTH).
    #[inline]
    pub(super) fn quantise(&self, sample: i32) -> u8 {
        let error = sat(sample - self.expected);
        let magnitude = if error >= 0 { error } else { !error };
        match self.width {
            Width::Low => {
                let above = |&&level: &&i32| magnitude >= (level * self.step) >> 12;
                let passed = LOW_DECISIONS.iter().take_while(above).count() as u8;
                // Codes fall as magnitudes grow: 61..=32 for what is positive, 63, 62, 31..=4 for what is negative.
                match (error >= 0, passed) {
                    (true, _) => 61 - passed,
                    (false, 0 | 1) => 63 - passed,
                    (false, _) => 33 - passed,
                }
            }
            Width::High => {
                let large = magnitude >= (HIGH_DECISION * self.step) >> 12;
                match (error >= 0, large) {
                    (true, false) => 3,
                    (true, true) => 2,
                    (false, false) => 1,
                    (false, true) => 0,
                }
            }
        }
    }

    /// Takes a code: adapts, and gives the sample it stands for, -16384..=16383.
    #[inline]
    pub(super) fn reconstruct(&mut self, code: u8) -> i32 {
        let (heard, difference, log_change) = match self.width {
            Width::Low => {
                let four = usize::from(code >> 2 & 15);
                let heard = (self.step * LOW_LEVELS_6[usize::from(code & 63)]) >> 15;
                let difference = (self.step * LOW_LEVELS_4[four]) >> 15;
                (heard, difference, LOW_LOG_STEP[four])
            }
            Width::High => {
                let two = usize::from(code & 3);
                let difference = (self.step * HIGH_LEVELS[two]) >> 15;
                (difference, difference, HIGH_LOG_STEP[two])
            }
        };
        let sample = (self.expected + heard).clamp(-16_384, 16_383);
        self.adapt_step(log_change);
        self.predict(difference);
        sample
    }

    /// Blocks LOGSCL and SCALEL, LOGSCH and SCALEH.
    #[inline]
    fn adapt_step(&mut self, change: i32) {
        let (log_step_max, octaves) = match self.width {
            Width::Low => (LOG_STEP_MAX[0], 8),
            Width::High => (LOG_STEP_MAX[1], 10),
        };
        self.log_step = (((self.log_step * 127) >> 7) + change).clamp(0, log_step_max);
        let antilog = ANTILOG[(self.log_step >> 6 & 31) as usize];
        let down = octaves - (self.log_step >> 11);
        self.step = if down < 0 {
            antilog << -down
        } else {
            antilog >> down
        } << 2;
    }

    /// Block 4: adapts the predictor by the quantised difference and predicts the next sample.
    #[inline]
    fn predict(&mut self, difference: i32) {
        // RECONS, PARREC.
        let reconstructed = sat(self.expected + difference);
        let partial = sat(self.expected_zeros + difference);
        let same = [
            (partial < 0) == (self.partial[0] < 0),
            (partial < 0) == (self.partial[1] < 0),
        ];

        // UPPOL2: the second pole.
        let four = sat(self.a[0] << 2);
        let term = if same[0] { sat(-four) } else { four };
        let step = (term >> 7) + if same[1] { 128 } else { -128 };
        let a1 = (step + ((self.a[1] * 32_512) >> 15)).clamp(-12_288, 12_288);

        // UPPOL1: the first, held where the filter is stable.
        let step = if same[0] { 192 } else { -192 };
        let limit = sat(15_360 - a1);
        let a0 = sat(step + ((self.a[0] * 32_640) >> 15)).clamp(-limit, limit);

        // UPZERO.
        let step = if difference == 0 { 0 } else { 128 };
        for (b, &old) in self.b.iter_mut().zip(&self.differences) {
            let step = if (old < 0) == (difference < 0) {
                step
            } else {
                -step
            };
            *b = sat(step + ((*b * 32_640) >> 15));
        }

        // DELAYA.
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partial = [partial, self.partial[0]];
        self.a = [a0, a1];

        // FILTEP, FILTEZ, PREDIC.
        let tap = |coefficient: i32, value: i32| (coefficient * sat(value + value)) >> 15;
        let poles =
            sat(tap(self.a[0], self.reconstructed[0]) + tap(self.a[1], self.reconstructed[1]));
        let zeros = self
            .b
            .iter()
            .zip(&self.differences)
            .map(|(&b, &d)| tap(b, d))
            .sum();
        self.expected_zeros = sat(zeros);
        self.expected = sat(poles + self.expected_zeros);
    }
}
