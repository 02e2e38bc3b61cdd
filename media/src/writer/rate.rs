//! Samples of one rate into samples of another, for files: any amount at a time, without the delay of the filter, and
//! exactly as long as the time asks for.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

/// See the module's text. Interleaved samples of one or two channels.
pub(super) struct Rate {
    fft: Fft<f32>,
    from: u64,
    to: u64,
    channels: usize,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Output of the filter's delay that is still to be left out, in samples of one channel.
    skip: usize,
    taken: u64,
    given: u64,
}

impl Rate {
    /// From and to these rates, in Hz.
    pub(super) fn new(from: u32, to: u32, channels: u16) -> Result<Self, String> {
        let channels = usize::from(channels);
        let chunk = from as usize / 50;
        let fft = Fft::new(from as usize, to as usize, chunk, channels, FixedSync::Both)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            from: u64::from(from),
            to: u64::from(to),
            channels,
            input: Vec::with_capacity(fft.input_frames_max() * channels),
            output: vec![0.0; fft.output_frames_max() * channels],
            skip: fft.output_delay(),
            taken: 0,
            given: 0,
            fft,
        })
    }

    /// Takes samples and adds what can be made of them to `out`.
    pub(super) fn run(&mut self, samples: &[i16], out: &mut Vec<i16>) -> Result<(), String> {
        self.taken += (samples.len() / self.channels) as u64;
        self.feed(samples, out)
    }

    /// Adds what is left.
    pub(super) fn finish(&mut self, out: &mut Vec<i16>) -> Result<(), String> {
        let wanted = self.taken * self.to / self.from;
        let silence = vec![0; self.fft.input_frames_next() * self.channels];
        while self.given < wanted {
            self.feed(&silence, out)?;
        }
        let beyond = (self.given - wanted) as usize * self.channels;
        out.truncate(out.len().saturating_sub(beyond));
        Ok(())
    }

    fn feed(&mut self, mut samples: &[i16], out: &mut Vec<i16>) -> Result<(), String> {
        while !samples.is_empty() {
            let chunk = self.fft.input_frames_next() * self.channels;
            let count = samples.len().min(chunk - self.input.len());
            let (now, later) = samples.split_at(count);
            self.input.extend(now.iter().map(|&s| f32::from(s)));
            samples = later;
            if self.input.len() < chunk {
                return Ok(());
            }
            let frames = self.fft.output_frames_next();
            let input = InterleavedSlice::new(&self.input, self.channels, chunk / self.channels)
                .map_err(|error| error.to_string())?;
            let mut output = InterleavedSlice::new_mut(&mut self.output, self.channels, frames)
                .map_err(|error| error.to_string())?;
            self.fft
                .process_into_buffer(&input, &mut output, None)
                .map_err(|error| error.to_string())?;
            self.input.clear();
            let skipped = self.skip.min(frames);
            self.skip -= skipped;
            self.given += (frames - skipped) as u64;
            let values = self
                .output
                .get(skipped * self.channels..frames * self.channels);
            // `as` is right: it clamps.
            out.extend(values.unwrap_or_default().iter().map(|s| s.round() as i16));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hz: f64, count: usize) -> Vec<i16> {
        (0..count)
            .map(|n| {
                let phase = n as f64 * hz / f64::from(rate) * std::f64::consts::TAU;
                (phase.sin() * 8000.0) as i16
            })
            .collect()
    }

    #[test]
    fn a_tone_stays_where_it_is_in_time_and_as_long_as_it_was() {
        for (from, to) in [
            (8000, 16_000),
            (8000, 44_100),
            (16_000, 8000),
            (8000, 48_000),
        ] {
            let input = tone(from, 440.0, 3 * from as usize + 77);
            let mut rate = Rate::new(from, to, 1).expect("a resampler");
            let mut output = Vec::new();
            for part in input.chunks(333) {
                rate.run(part, &mut output).expect("samples");
            }
            rate.finish(&mut output).expect("samples");
            let wanted = input.len() as u64 * u64::from(to) / u64::from(from);
            assert_eq!(output.len() as u64, wanted, "{from} {to}");
            let clean = tone(to, 440.0, output.len());
            let edge = to as usize / 20;
            let worst = output[edge..output.len() - edge]
                .iter()
                .zip(&clean[edge..])
                .map(|(a, b)| i32::from(*a - *b).abs())
                .max();
            assert!(worst < Some(120), "{from} {to}: {worst:?}");
        }
    }

    #[test]
    fn channels_do_not_mix() {
        let mut rate = Rate::new(8000, 16_000, 2).expect("a resampler");
        let input: Vec<i16> = tone(8000, 300.0, 8000)
            .into_iter()
            .flat_map(|s| [s, 0])
            .collect();
        let mut output = Vec::new();
        rate.run(&input, &mut output).expect("samples");
        rate.finish(&mut output).expect("samples");
        assert_eq!(output.len(), 32_000);
        assert!(output.iter().skip(1).step_by(2).all(|&s| s == 0));
        assert!(output.iter().step_by(2).any(|&s| s > 7000));
    }
}
