//! Volume in the steps that MixMonitor knows.

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

#[cfg(test)]
mod tests {
    use super::*;

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
