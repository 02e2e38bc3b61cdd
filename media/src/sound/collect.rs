//! Gathers decoded audio: channels averaged, brought to the wanted rate block by block, bounded in length.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler};

use super::{SECONDS_MAX, Sound, SoundError};

/// Rates are rounded to a multiple of this, in hertz: a rate such as 44101 would otherwise need filters of its own length.
const RATE_STEP: u32 = 25;
/// Samples resampled at a time, about.
const BLOCK: usize = 1024;
/// Channels of a source, at most.
const CHANNELS_MAX: usize = 8;

/// What is decoded so far.
pub(super) struct Collector {
    rate: u32,
    channels: usize,
    out: Vec<i16>,
    /// Samples of a frame whose other channels have not come yet.
    frame: (i32, usize),
    resampler: Option<Resampling>,
}

struct Resampling {
    from: u32,
    filter: Fft<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Samples of the filter's delay that are still to be left out.
    skip: usize,
    taken: u64,
    given: u64,
}

impl Collector {
    /// For a sound of `rate` hertz.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate,
            channels: 1,
            out: Vec::new(),
            frame: (0, 0),
            resampler: None,
        }
    }

    /// What is pushed from now on has this rate and so many channels, interleaved. May change in mid-file.
    pub(super) fn source(&mut self, rate: u32, channels: usize) -> Result<(), SoundError> {
        let unsupported = || SoundError::Unsupported {
            tag: 0,
            channels: u16::try_from(channels).unwrap_or(u16::MAX),
            rate,
            bits: 0,
        };
        if !(4000..=192_000).contains(&rate) || !(1..=CHANNELS_MAX).contains(&channels) {
            return Err(unsupported());
        }
        let from = (rate + RATE_STEP / 2) / RATE_STEP * RATE_STEP;
        self.frame = (0, 0);
        self.channels = channels;
        if self.resampler.as_ref().map_or(self.rate, |r| r.from) == from {
            return Ok(());
        }
        self.flush()?;
        self.resampler = None;
        if from != self.rate {
            let filter =
                Fft::<f32>::new(from as usize, self.rate as usize, BLOCK, 1, FixedSync::Both)
                    .map_err(|_| unsupported())?;
            self.resampler = Some(Resampling {
                from,
                input: Vec::with_capacity(filter.input_frames_max()),
                output: vec![0.0; filter.output_frames_max()],
                skip: filter.output_delay(),
                taken: 0,
                given: 0,
                filter,
            });
        }
        Ok(())
    }

    /// More samples.
    pub(super) fn push(
        &mut self,
        samples: impl IntoIterator<Item = i16>,
    ) -> Result<(), SoundError> {
        let limit = self.limit();
        for sample in samples {
            let (sum, count) = (self.frame.0 + i32::from(sample), self.frame.1 + 1);
            if count < self.channels {
                self.frame = (sum, count);
                continue;
            }
            self.frame = (0, 0);
            let mono = (sum / i32::try_from(self.channels).unwrap_or(1)) as i16;
            match &mut self.resampler {
                None => self.out.push(mono),
                Some(resampling) => {
                    resampling.input.push(f32::from(mono));
                    if resampling.input.len() >= resampling.filter.input_frames_next() {
                        resampling.run(&mut self.out);
                    }
                }
            }
            if self.out.len() > limit {
                return Err(SoundError::TooLong);
            }
        }
        Ok(())
    }

    /// What was decoded since the last time, for who wants it in pieces: the limit of the length then holds for a piece.
    pub(super) fn take(&mut self) -> Vec<i16> {
        std::mem::take(&mut self.out)
    }

    /// The sound.
    pub(super) fn finish(mut self) -> Result<Sound, SoundError> {
        self.flush()?;
        Ok(Sound {
            samples: self.out.into(),
            rate: self.rate,
            live: None,
        })
    }

    fn limit(&self) -> usize {
        SECONDS_MAX as usize * self.rate as usize
    }

    /// Brings out what the filter still holds: as much audio comes out as went in.
    fn flush(&mut self) -> Result<(), SoundError> {
        let Some(resampling) = &mut self.resampler else {
            return Ok(());
        };
        let taken = resampling.taken + resampling.input.len() as u64;
        let wanted = taken * u64::from(self.rate) / u64::from(resampling.from);
        while resampling.given < wanted {
            let before = resampling.given + resampling.skip as u64;
            resampling
                .input
                .resize(resampling.filter.input_frames_next(), 0.0);
            resampling.run(&mut self.out);
            if resampling.given + resampling.skip as u64 == before && resampling.skip == 0 {
                break;
            }
        }
        let extra = resampling.given.saturating_sub(wanted) as usize;
        self.out.truncate(self.out.len().saturating_sub(extra));
        resampling.given = wanted;
        if self.out.len() > self.limit() {
            return Err(SoundError::TooLong);
        }
        Ok(())
    }
}

impl Resampling {
    /// Resamples the full input block.
    fn run(&mut self, out: &mut Vec<i16>) {
        let frames = self.input.len();
        self.taken += frames as u64;
        let room = self.output.len();
        let (Ok(input), Ok(mut output)) = (
            InterleavedSlice::new(&self.input, 1, frames),
            InterleavedSlice::new_mut(&mut self.output, 1, room),
        ) else {
            self.input.clear();
            return;
        };
        let made = self
            .filter
            .process_into_buffer(&input, &mut output, Some(&Indexing::new()))
            .map_or(0, |(_, made)| made);
        self.input.clear();
        let late = self.skip.min(made);
        self.skip -= late;
        let fresh = self.output.get(late..made).unwrap_or_default();
        self.given += fresh.len() as u64;
        out.extend(fresh.iter().map(|sample| {
            sample
                .round()
                .clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
        }));
    }
}
