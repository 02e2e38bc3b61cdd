//! Concealment of lost audio for codecs that have none of their own, after the idea of ITU-T G.711 Appendix I: the last
//! pitch period goes on, longer and longer stretches of it as time passes, fading after 10 ms and gone after 60; where
//! audio comes back, it is faded in over what was made up.
//!
//! Other than there, nothing is delayed to smooth the beginning: the step between the last sample heard and the first
//! made up is taken away over a quarter of a period.

/// Pitch periods searched, microseconds: 200 to 66 Hz.
const PERIOD_US: std::ops::RangeInclusive<u64> = 5000..=15_000;
/// Audio that two periods are compared over.
const WINDOW_US: u64 = 20_000;
/// Longest made-up audio that is cross-faded with what follows.
const FADE_IN_US: u64 = 10_000;
/// Made-up audio is as loud as what it continues for so long,
const STEADY_US: u64 = 10_000;
/// and silent after so long.
const SILENT_US: u64 = 60_000;
/// After so long two periods are repeated instead of one, after twice that three.
const LENGTHEN_US: u64 = 10_000;

/// How to go on with what was heard. It keeps no audio while nothing is lost: whoever asks has it anyway.
#[derive(Clone, Debug)]
pub struct Concealer {
    rate: u64,
    /// What was heard before the loss.
    history: Box<[i16]>,
    /// What is repeated: the last three periods, the end of each fit to the beginning of the first.
    cycle: Box<[i16]>,
    /// Samples of a period; 0: nothing is being concealed.
    period: usize,
    /// Where in the cycle the next sample is.
    at: usize,
    /// Samples made up since audio was heard.
    made: u64,
    /// The step at the beginning.
    step: f32,
    /// For the cross-fade.
    scratch: Box<[i16]>,
}

impl Concealer {
    /// For audio of so many samples a second, 8000..=48000.
    pub fn new(rate_hz: u32) -> Self {
        let rate = u64::from(rate_hz);
        let samples = |us: u64| (us * rate / 1_000_000) as usize;
        let longest = samples(*PERIOD_US.end());
        Self {
            rate,
            history: vec![0; Self::past(rate_hz)].into(),
            cycle: vec![0; 3 * longest].into(),
            period: 0,
            at: 0,
            made: 0,
            step: 0.0,
            scratch: vec![0; samples(FADE_IN_US)].into(),
        }
    }

    /// Samples that are looked at of what was heard before a loss: three periods and a quarter, or what the search compares.
    pub fn past(rate_hz: u32) -> usize {
        let samples = |us: u64| (us * u64::from(rate_hz) / 1_000_000) as usize;
        let longest = samples(*PERIOD_US.end());
        (3 * longest + longest / 4).max(longest + samples(WINDOW_US)) + 2
    }

    fn samples(&self, us: u64) -> usize {
        (us * self.rate / 1_000_000) as usize
    }

    /// Audio is there again: its beginning is faded in over what would have been made up.
    pub fn resume(&mut self, frame: &mut [i16]) {
        if self.period == 0 {
            return;
        }
        // A quarter period, and 4 ms more for each 10 ms made up (Appendix I, §I.2.7).
        let made_us = self.made * 1_000_000 / self.rate;
        let fade = self.period / 4 + self.samples(made_us * 4 / 10);
        let fade = fade.min(self.scratch.len()).min(frame.len());
        let mut scratch = std::mem::take(&mut self.scratch);
        self.make(&mut scratch[..fade]);
        for (i, (new, &old)) in frame.iter_mut().zip(&scratch[..fade]).enumerate() {
            let weight = (i + 1) as f32 / (fade + 1) as f32;
            *new = (f32::from(old) + (f32::from(*new) - f32::from(old)) * weight) as i16;
        }
        self.scratch = scratch;
        self.reset();
    }

    /// Makes up what was lost, all of `out`. `past` is what was heard before it, [`Concealer::past`] samples if there are as
    /// many; only the first call after audio looks at it.
    pub fn fill(&mut self, past: &[i16], out: &mut [i16]) {
        if self.period == 0 {
            self.begin(past);
        }
        self.make(out);
    }

    /// Another source speaks: there is nothing to go on with.
    pub fn reset(&mut self) {
        self.period = 0;
        self.made = 0;
    }

    /// Finds the pitch and lays the periods out that will be repeated.
    fn begin(&mut self, past: &[i16]) {
        let known = past.len().min(self.history.len());
        let (unknown, history) = self.history.split_at_mut(self.history.len() - known);
        unknown.fill(0);
        history.copy_from_slice(&past[past.len() - known..]);
        self.period = self.find_period();
        let period = self.period;
        let quarter = (period / 4).max(1);
        let heard = self.history.len();
        self.at = 2 * period;
        self.made = 0;
        // The cycle is what was last heard. Over a quarter period its end turns into what is before its last period, so that
        // the jump back of one period is smooth; that of two or three is as smooth as the sound is periodic.
        let cycle = &mut self.cycle[..3 * period];
        cycle.copy_from_slice(&self.history[heard - 3 * period..]);
        let step = f32::from(self.history[heard - 1]) - f32::from(self.history[heard - 1 - period]);
        self.step = step;
        for i in 0..quarter {
            let weight = (i + 1) as f32 / (quarter + 1) as f32;
            let end = 3 * period - quarter + i;
            let before = f32::from(self.history[heard - period - quarter + i]);
            let own = f32::from(cycle[end]);
            cycle[end] = (own + (before - own) * weight) as i16;
        }
    }

    /// The period at which the last audio is most like what was before it: normalised correlation, first over every
    /// second or so sample, then exactly.
    fn find_period(&self) -> usize {
        let shortest = self.samples(*PERIOD_US.start());
        let longest = self.samples(*PERIOD_US.end());
        let window = self.samples(WINDOW_US);
        let coarse = (self.rate as usize / 4000).max(1);
        let lags = (shortest..=longest).step_by(coarse);
        let rough = self.best(lags, window, coarse).unwrap_or(longest);
        let near = rough.saturating_sub(coarse).max(shortest)..=(rough + coarse).min(longest);
        self.best(near, window, coarse.div_ceil(2)).unwrap_or(rough)
    }

    fn best(
        &self,
        lags: impl Iterator<Item = usize>,
        window: usize,
        stride: usize,
    ) -> Option<usize> {
        let end = self.history.len();
        let now = &self.history[end - window..];
        let score = |lag: usize| {
            let past = &self.history[end - window - lag..end - lag];
            let (mut product, mut energy) = (0.0f32, 1.0f32);
            for (&a, &b) in now.iter().zip(past).step_by(stride) {
                product += f32::from(a) * f32::from(b);
                energy += f32::from(b) * f32::from(b);
            }
            product / energy.sqrt()
        };
        lags.map(|lag| (lag, score(lag)))
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
            .map(|(lag, _)| lag)
    }

    /// The next made-up samples.
    fn make(&mut self, out: &mut [i16]) {
        let quarter = (self.period / 4).max(1) as u64;
        let steady = self.samples(STEADY_US) as u64;
        let silent = self.samples(SILENT_US) as u64;
        let lengthen = self.samples(LENGTHEN_US).max(1) as u64;
        for sample in out {
            if self.made >= silent {
                *sample = 0;
                continue;
            }
            let mut value = f32::from(self.cycle[self.at]);
            if self.made < quarter {
                value += self.step * (1.0 - (self.made + 1) as f32 / (quarter + 1) as f32);
            }
            if self.made > steady {
                value *= (silent - self.made) as f32 / (silent - steady) as f32;
            }
            *sample = value as i16;
            self.made += 1;
            self.at += 1;
            if self.at >= 3 * self.period {
                // One period again, later two, then three.
                let back = (1 + self.made / lengthen).min(3) as usize;
                self.at = (3 - back) * self.period;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hz: f32, samples: usize) -> Vec<i16> {
        let step = std::f32::consts::TAU * hz / rate as f32;
        (0..samples)
            .map(|i| ((i as f32 * step).sin() * 10_000.0) as i16)
            .collect()
    }

    fn rms(samples: &[i16]) -> f32 {
        let sum: f32 = samples.iter().map(|&s| f32::from(s).powi(2)).sum();
        (sum / samples.len() as f32).sqrt()
    }

    fn largest_step(samples: &[i16]) -> i32 {
        samples
            .windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_voiced_sound_goes_on_without_a_click() {
        for rate in [8000, 16_000, 48_000] {
            let frame = rate as usize / 50;
            for hz in [80.0, 117.0, 190.0] {
                let audio = tone(rate, hz, frame * 8);
                let mut concealer = Concealer::new(rate);
                let mut heard: Vec<i16> = Vec::new();
                for (number, chunk) in audio.chunks(frame).enumerate() {
                    let mut chunk = chunk.to_vec();
                    if number == 5 {
                        concealer.fill(&heard, &mut chunk);
                    } else {
                        concealer.resume(&mut chunk);
                    }
                    heard.extend(chunk);
                }
                let usual = largest_step(&audio);
                assert!(
                    largest_step(&heard) <= usual * 2,
                    "{rate} {hz}: {} against {usual}",
                    largest_step(&heard)
                );
                let gap = frame * 5..frame * 6;
                let error: Vec<i16> = heard[gap.clone()]
                    .iter()
                    .zip(&audio[gap.clone()])
                    .take(frame / 2)
                    .map(|(a, b)| a.saturating_sub(*b))
                    .collect();
                assert!(
                    rms(&error) < 0.25 * rms(&audio),
                    "{rate} {hz}: {}",
                    rms(&error)
                );
                let level = rms(&heard[gap]) / rms(&audio);
                assert!((0.8..1.1).contains(&level), "{rate} {hz}: {level}");
            }
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence_within_60_ms() {
        let mut concealer = Concealer::new(8000);
        let audio = tone(8000, 150.0, 1600);
        let mut gap = [1i16; 800];
        for frame in gap.chunks_mut(160) {
            concealer.fill(&audio, frame);
        }
        assert!(rms(&gap[..80]) > 6000.0);
        assert!(rms(&gap[160..320]) < rms(&gap[..160]));
        assert!(gap[480..].iter().all(|&s| s == 0));
        // What comes back is faded in, and untouched after 10 ms.
        let fresh = tone(8000, 150.0, 160);
        let mut back = fresh.clone();
        concealer.resume(&mut back);
        assert!(back[0].abs() <= fresh[0].abs() / 2 + 1);
        assert_eq!(back[80..], fresh[80..]);
    }

    #[test]
    fn before_anything_was_heard_there_is_silence() {
        for rate in [8000, 12_000, 44_100] {
            let mut concealer = Concealer::new(rate);
            let mut out = [7i16; 4000];
            concealer.fill(&[], &mut out);
            assert!(out.iter().all(|&s| s == 0));
            concealer.reset();
            concealer.fill(&[5; 9000], &mut out[..1]);
            concealer.reset();
            concealer.fill(&[0; 9000], &mut out);
            assert!(out.iter().all(|&s| s == 0));
        }
    }
}
