//! Is anybody speaking?

/// Mean magnitude below which a frame counts as silent (as Asterisk's `silencethreshold`).
pub const THRESHOLD: u32 = 256;

/// Measures how long it has been silent.
#[derive(Copy, Clone, Debug, Default)]
pub struct SilenceDetector {
    silent_samples: u64,
}

impl SilenceDetector {
    /// Takes the next frame (about 20 ms) and says for how many samples it has been silent without a break.
    pub fn push(&mut self, frame: &[i16]) -> u64 {
        let sum: u64 = frame.iter().map(|s| u64::from(s.unsigned_abs())).sum();
        if sum < u64::from(THRESHOLD) * frame.len() as u64 {
            self.silent_samples += frame.len() as u64;
        } else if !frame.is_empty() {
            self.silent_samples = 0;
        }
        self.silent_samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_adds_up_until_somebody_speaks() {
        let mut detector = SilenceDetector::default();
        assert_eq!(detector.push(&[10; 160]), 160);
        assert_eq!(detector.push(&[-255; 160]), 320);
        assert_eq!(detector.push(&[]), 320);
        assert_eq!(detector.push(&[-300; 160]), 0);
        assert_eq!(detector.push(&[0; 160]), 160);
    }
}
