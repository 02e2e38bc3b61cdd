//! Another sample rate for a steady stream, 20 ms at a time: a filter in the frequency domain (rubato), with the lower of
//! both bands kept and nothing folded into it.

use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

/// Frames a second.
const FRAMES: u32 = 50;

/// Rates between which nothing can be converted in frames of 20 ms.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no resampling from {from_hz} to {to_hz} Hz in frames of 20 ms")]
pub struct RateError {
    pub from_hz: u32,
    pub to_hz: u32,
}

/// Converts one stream from one rate to another. It takes and gives frames of exactly 20 ms (packets of another length are
/// cut from or put together of them), delays by 10 ms, and allocates only when it is made. Equal rates cost a copy.
pub struct Resampler {
    from_samples: usize,
    to_samples: usize,
    /// `None`: the rates are equal.
    fft: Option<Box<Conversion>>,
}

struct Conversion {
    fft: Fft<f32>,
    input: Box<[f32]>,
    output: Box<[f32]>,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler")
            .field("from_samples", &self.from_samples)
            .field("to_samples", &self.to_samples)
            .finish_non_exhaustive()
    }
}

impl Resampler {
    /// By how much what comes out is behind what went in, where the rates differ.
    pub const DELAY: Duration = Duration::from_millis(10);

    /// Between two rates in Hz, each 8000..=48000 with whole samples in 20 ms (all rates of the codecs are such).
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, RateError> {
        let error = RateError { from_hz, to_hz };
        let usable = |hz: u32| (8000..=48_000).contains(&hz) && hz.is_multiple_of(FRAMES);
        if !usable(from_hz) || !usable(to_hz) {
            return Err(error);
        }
        let (from_samples, to_samples) = ((from_hz / FRAMES) as usize, (to_hz / FRAMES) as usize);
        let fft = if from_hz == to_hz {
            None
        } else {
            let fft = Fft::new(
                from_hz as usize,
                to_hz as usize,
                from_samples,
                1,
                FixedSync::Both,
            )
            .map_err(|_| error)?;
            if fft.input_frames_next() != from_samples || fft.output_frames_next() != to_samples {
                return Err(error);
            }
            Some(Box::new(Conversion {
                fft,
                input: vec![0.0; from_samples].into(),
                output: vec![0.0; to_samples].into(),
            }))
        };
        Ok(Self {
            from_samples,
            to_samples,
            fft,
        })
    }

    /// Samples that go in at a time.
    pub fn from_samples(&self) -> usize {
        self.from_samples
    }

    /// Samples that come out at a time.
    pub fn to_samples(&self) -> usize {
        self.to_samples
    }

    /// Converts 20 ms. What is missing of `input` is silence; what does not fit into `output` is lost.
    pub fn run(&mut self, input: &[i16], output: &mut [i16]) {
        let Some(conversion) = &mut self.fft else {
            let count = input.len().min(output.len());
            output[..count].copy_from_slice(&input[..count]);
            output[count..].fill(0);
            return;
        };
        let given = input.len().min(self.from_samples);
        for (float, &sample) in conversion.input.iter_mut().zip(input) {
            *float = f32::from(sample);
        }
        conversion.input[given..].fill(0.0);
        let converted = convert(conversion, self.from_samples, self.to_samples);
        if !converted {
            output.fill(0);
            return;
        }
        for (sample, &float) in output.iter_mut().zip(&conversion.output) {
            *sample = float.round_ties_even().clamp(-32_768.0, 32_767.0) as i16;
        }
    }
}

/// False: the sizes do not fit, which [`Resampler::new`] has ruled out.
fn convert(conversion: &mut Conversion, from: usize, to: usize) -> bool {
    let Ok(input) = InterleavedSlice::new(&conversion.input[..], 1, from) else {
        return false;
    };
    let Ok(mut output) = InterleavedSlice::new_mut(&mut conversion.output[..], 1, to) else {
        return false;
    };
    conversion
        .fft
        .process_into_buffer(&input, &mut output, None)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [u32; 7] = [8000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000];

    fn tone(rate: u32, hz: f64, samples: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        (0..samples)
            .map(|i| ((i as f64 * step).sin() * 16_000.0).round() as i16)
            .collect()
    }

    /// A second of a tone, converted; the first 100 ms, in which it begins, are left out.
    fn converted(from: u32, to: u32, hz: f64) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut out = Vec::new();
        for frame in tone(from, hz, from as usize).chunks(resampler.from_samples()) {
            let mut converted = vec![0; resampler.to_samples()];
            resampler.run(frame, &mut converted);
            out.extend(converted);
        }
        out.split_off(to as usize / 10)
    }

    /// Amplitude of one frequency, and the effective value of everything else.
    fn measure(samples: &[i16], rate: u32, hz: f64) -> (f64, f64) {
        let n = samples.len() as f64;
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
        for (i, &s) in samples.iter().enumerate() {
            let s = f64::from(s);
            re += s * (i as f64 * step).cos();
            im += s * (i as f64 * step).sin();
            power += s * s;
        }
        let amplitude = 2.0 * re.hypot(im) / n;
        let rest = (power / n - amplitude * amplitude / 2.0).max(0.0).sqrt();
        (amplitude, rest)
    }

    #[test]
    fn tones_keep_their_level_and_nothing_else_is_heard() {
        for from in RATES {
            for to in RATES {
                let top = f64::from(from.min(to)) / 2.0;
                for share in [0.05, 0.25, 0.5, 0.8] {
                    let hz = (top * share / 10.0).round() * 10.0;
                    let out = converted(from, to, hz);
                    let (amplitude, rest) = measure(&out, to, hz);
                    let gain_db = 20.0 * (amplitude / 16_000.0).log10();
                    assert!(gain_db.abs() < 0.5, "{from} to {to}, {hz} Hz: {gain_db} dB");
                    let rest_db = 20.0 * (rest / 16_000.0 + 1e-9).log10();
                    assert!(rest_db < -40.0, "{from} to {to}, {hz} Hz: {rest_db} dB");
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_not_folded_down() {
        for from in RATES {
            for to in RATES.into_iter().filter(|&to| to < from) {
                let (low, high) = (f64::from(to) / 2.0, f64::from(from) / 2.0);
                for share in [0.2, 0.6, 0.95] {
                    let hz = low * 1.05 + (high - low * 1.05) * share;
                    let (_, rest) = measure(&converted(from, to, hz), to, 0.0);
                    let db = 20.0 * (rest / 16_000.0 + 1e-9).log10();
                    assert!(db < -40.0, "{from} to {to}, {hz} Hz: {db} dB");
                }
            }
        }
    }

    #[test]
    fn equal_rates_copy_and_odd_rates_are_refused() {
        let mut same = Resampler::new(8000, 8000).unwrap();
        let mut out = [9i16; 160];
        same.run(&[5; 100], &mut out);
        assert_eq!((out[99], out[100]), (5, 0));
        for (from, to) in [(0, 8000), (8000, 96_000), (11_025, 8000), (4000, 8000)] {
            assert!(Resampler::new(from, to).is_err(), "{from} to {to}");
        }
    }

    #[test]
    fn loud_input_saturates_and_short_input_is_completed_by_silence() {
        let mut up = Resampler::new(8000, 16_000).unwrap();
        let loud: Vec<i16> = (0..160)
            .map(|i| if i / 20 % 2 == 0 { 32_767 } else { -32_768 })
            .collect();
        let mut out = [0i16; 320];
        for _ in 0..5 {
            up.run(&loud, &mut out);
        }
        assert_eq!(out.iter().max(), Some(&32_767), "overshoot is clipped");
        for _ in 0..3 {
            up.run(&[], &mut out);
        }
        assert!(out.iter().all(|&s| s == 0));
    }
}
