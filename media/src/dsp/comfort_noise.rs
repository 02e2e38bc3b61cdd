//! Comfort noise (RFC 3389): what is heard in the pauses of a speaker who sends only how his silence sounds.

use super::level_dbov;

/// Reflection coefficients that are used; a payload with more is cut (RFC 3389 §3 lets the receiver).
const ORDER_MAX: usize = 12;
/// The filter stays stable in the arithmetic of floats.
const REFLECTION_MAX: f32 = 0.998;

/// A generator of noise with the level and spectrum that a payload tells. The same seed gives the same noise.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    /// Effective value now, and the one it goes to during the next frame.
    level: f32,
    target: f32,
    reflections: [f32; ORDER_MAX],
    order: usize,
    /// Loudness that the filter adds, inverted.
    gain: f32,
    /// What is on its way back in the lattice.
    memory: [f32; ORDER_MAX + 1],
    seed: u32,
}

impl ComfortNoise {
    /// Silence, until [`ComfortNoise::set`] says more.
    pub fn new(seed: u32) -> Self {
        Self {
            level: 0.0,
            target: 0.0,
            reflections: [0.0; ORDER_MAX],
            order: 0,
            gain: 1.0,
            memory: [0.0; ORDER_MAX + 1],
            // Zero is the one state that xorshift never leaves.
            seed: seed | 1,
        }
    }

    /// Noise as a payload describes it, at once at its level; `None`: the payload is empty.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let mut noise = Self::new(0x9E37_79B9);
        if !noise.set(payload) {
            return None;
        }
        noise.level = noise.target;
        Some(noise)
    }

    /// Takes a new payload: a byte of level, 0 to -127 dB of overload (§3.1), and any number of quantised reflection
    /// coefficients (§3.2). False: it is empty, and nothing changes.
    pub fn set(&mut self, payload: &[u8]) -> bool {
        let Some((&level, spectrum)) = payload.split_first() else {
            return false;
        };
        self.set_level(level & 0x7F);
        self.order = spectrum.len().min(ORDER_MAX);
        let mut power = 1.0;
        for (k, &code) in self.reflections.iter_mut().zip(spectrum) {
            // §3.2: k = 258 * (N - 127) / 32768.
            let value = 258.0 * (f32::from(code) - 127.0) / 32_768.0;
            *k = value.clamp(-REFLECTION_MAX, REFLECTION_MAX);
            power *= 1.0 - *k * *k;
        }
        self.gain = power.sqrt();
        true
    }

    /// White noise of a level, dB below overload, 0..=127.
    pub fn set_level(&mut self, level: u8) {
        self.order = 0;
        self.gain = 1.0;
        self.target = 32_768.0 * 10f32.powf(-f32::from(level.min(127)) / 20.0);
    }

    /// The next samples. A new level is reached at their end.
    pub fn fill(&mut self, out: &mut [i16]) {
        let step = (self.target - self.level) / out.len().max(1) as f32;
        for sample in out {
            self.level += step;
            let excitation = self.white() * self.gain;
            let value = self.shape(excitation) * self.level;
            *sample = value.clamp(-32_768.0, 32_767.0) as i16;
        }
        self.level = self.target;
    }

    /// White noise of effective value 1.
    fn white(&mut self) -> f32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        // Uniform over -1..1 has an effective value of 1/sqrt(3).
        (self.seed as i32) as f32 * (1.732_050_8 / 2_147_483_648.0)
    }

    /// The all-pole lattice of the reflection coefficients.
    fn shape(&mut self, excitation: f32) -> f32 {
        let mut forward = excitation;
        for i in (0..self.order).rev() {
            let k = self.reflections[i];
            forward -= k * self.memory[i];
            self.memory[i + 1] = self.memory[i] + k * forward;
        }
        self.memory[0] = forward;
        forward
    }
}

/// A payload that describes audio by its level alone (RFC 3389 §3.1 needs no more).
pub fn comfort_noise_payload(samples: &[i16]) -> [u8; 1] {
    [level_dbov(samples)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(payload: &[u8]) -> Vec<i16> {
        let mut noise = ComfortNoise::from_payload(payload).unwrap();
        let mut out = vec![0; 8000];
        for frame in out.chunks_mut(160) {
            noise.fill(frame);
        }
        out
    }

    /// How much neighbours are alike, -1..=1.
    fn tilt(samples: &[i16]) -> f32 {
        let product = |a: &[i16], b: &[i16]| -> f32 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f32::from(a) * f32::from(b))
                .sum()
        };
        product(samples, &samples[1..]) / product(samples, samples)
    }

    #[test]
    fn noise_has_the_level_it_was_told() {
        for level in [10, 30, 50, 60] {
            for spectrum in [&[][..], &[40], &[30, 200, 100, 140]] {
                let payload: Vec<u8> = [&[level], spectrum].concat();
                let heard = level_dbov(&second(&payload));
                assert!(heard.abs_diff(level) <= 1, "{level} {spectrum:?}: {heard}");
            }
        }
    }

    #[test]
    fn noise_has_the_colour_it_was_told() {
        assert!(tilt(&second(&[30])).abs() < 0.05, "white");
        // The first coefficient is that of the one-tap predictor with the opposite sign.
        let k = |code: u8| 258.0 * (f32::from(code) - 127.0) / 32_768.0;
        for code in [20, 90, 200] {
            let heard = tilt(&second(&[30, code]));
            assert!((heard + k(code)).abs() < 0.05, "{code}: {heard}");
        }
    }

    #[test]
    fn any_payload_gives_bounded_noise_and_the_same_seed_the_same() {
        assert!(ComfortNoise::from_payload(&[]).is_none());
        let mut random = ComfortNoise::new(77);
        for length in 1..40 {
            let mut bytes = [0i16; 40];
            random.set_level(20);
            random.fill(&mut bytes);
            let payload: Vec<u8> = bytes[..length].iter().map(|&b| b as u8).collect();
            assert_eq!(second(&payload), second(&payload));
        }
        let mut extreme = ComfortNoise::from_payload(&[0, 255, 0, 255, 0, 255]).unwrap();
        let mut out = [0; 8000];
        extreme.fill(&mut out);
        extreme.set(&[127]);
        extreme.fill(&mut out);
        extreme.fill(&mut out);
        assert!(out.iter().all(|&s| s == 0));
    }

    #[test]
    fn the_level_of_audio_is_measured_and_comes_back() {
        let noise = second(&[42]);
        let again = second(&comfort_noise_payload(&noise));
        assert!(level_dbov(&again).abs_diff(42) <= 1);
        assert_eq!(comfort_noise_payload(&[0; 160]), [127]);
        assert_eq!(comfort_noise_payload(&[-32_768; 160]), [0]);
    }
}
