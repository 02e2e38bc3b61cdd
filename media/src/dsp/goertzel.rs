//! How much of one frequency is in a block of samples.

use crate::sound::SAMPLE_RATE;

/// A detector for one frequency, after Goertzel.
#[derive(Copy, Clone, Debug)]
pub struct Goertzel {
    coefficient: f32,
}

impl Goertzel {
    /// For a frequency in Hz below 4000.
    pub fn new(hz: f32) -> Self {
        Self {
            coefficient: 2.0 * (std::f32::consts::TAU * hz / SAMPLE_RATE as f32).cos(),
        }
    }

    /// The amplitude (peak, in sample units) of a sine of this frequency in the block. Blocks of whole periods are exact,
    /// others leak: take at least 100 samples.
    pub fn amplitude(&self, samples: &[i16]) -> f32 {
        if samples.is_empty() {
            return 0.0;
        }
        let (mut s1, mut s2) = (0.0f32, 0.0f32);
        for &sample in samples {
            let s0 = f32::from(sample) + self.coefficient * s1 - s2;
            s2 = s1;
            s1 = s0;
        }
        let power = s1 * s1 + s2 * s2 - self.coefficient * s1 * s2;
        2.0 * power.max(0.0).sqrt() / samples.len() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_shows_its_amplitude_at_its_frequency_only() {
        let tone: Vec<i16> = (0..800)
            .map(|n| ((n as f32 * std::f32::consts::TAU * 440.0 / 8000.0).sin() * 8000.0) as i16)
            .collect();
        let at = Goertzel::new(440.0).amplitude(&tone);
        assert!((at - 8000.0).abs() < 80.0, "{at}");
        let beside = Goertzel::new(1000.0).amplitude(&tone);
        assert!(beside < 80.0, "{beside}");
        assert_eq!(Goertzel::new(440.0).amplitude(&[]), 0.0);
    }
}
