//! Volume: in the steps that MixMonitor knows, and as a factor.

/// A volume: -4..=4, each step a factor of two (about 6 dB).
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Volume(i8);

impl Volume {
    /// Steps outside -4..=4 are brought into that range.
    pub fn new(steps: i8) -> Self {
        Self(steps.clamp(-4, 4))
    }

    /// Applies it, clamped to 16 bits; negative steps divide, rounding towards zero.
    #[inline]
    pub fn apply(self, samples: &mut [i16]) {
        match self.0 {
            0 => {}
            up @ 1.. => {
                for s in samples {
                    *s = s.saturating_mul(1 << up);
                }
            }
            down => {
                for s in samples {
                    *s /= 1 << -down;
                }
            }
        }
    }
}

/// How many times louder a [`Gain`] makes audio at most.
pub const GAIN_MAX: f32 = 15.0;

/// A factor, in 1/4096.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Gain(i32);

impl Default for Gain {
    fn default() -> Self {
        Self::NONE
    }
}

impl Gain {
    /// Audio stays as it is.
    pub const NONE: Self = Self(1 << 12);

    /// A factor of 0 to [`GAIN_MAX`]; others are brought into that range.
    pub fn times(factor: f32) -> Self {
        Self((factor.clamp(0.0, GAIN_MAX) * 4096.0).round() as i32)
    }

    /// Does audio stay as it is?
    #[inline]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Applies it, clamped to 16 bits.
    #[inline]
    pub fn apply(self, samples: &mut [i16]) {
        if self.is_none() {
            return;
        }
        for sample in samples {
            // 32768 by 15 * 4096 fits into 31 bits.
            let louder = (i32::from(*sample) * self.0) >> 12;
            *sample = louder.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_makes_louder_or_softer_and_clamps() {
        for (factor, input, output) in [
            (1.0, 1234, 1234),
            (2.0, 1000, 2000),
            (0.5, -1000, -500),
            (15.0, 30_000, i16::MAX),
            (15.0, i16::MIN, i16::MIN),
            (99.0, 100, 1500),
            (-1.0, 100, 0),
        ] {
            let mut samples = [input];
            Gain::times(factor).apply(&mut samples);
            assert_eq!(samples, [output], "{factor} {input}");
        }
        assert!(Gain::times(1.0).is_none() && Gain::default().is_none());
    }

    #[test]
    fn a_step_doubles_or_halves_and_clamps() {
        for (steps, input, output) in [
            (0, 1000, 1000),
            (1, 1000, 2000),
            (4, 1000, 16000),
            (4, 3000, i16::MAX),
            (4, -3000, i16::MIN),
            (-1, -3, -1),
            (-4, 1600, 100),
            (-100, 1600, 100),
        ] {
            let mut samples = [input];
            Volume::new(steps).apply(&mut samples);
            assert_eq!(samples, [output], "{steps} {input}");
        }
    }
}
