//! Sounds to be played: decoded once, at 8000 or 16000 Hz, and shared by all legs that play them. Here are the readers
//! of every kind of sound file; which file is read, when, and for how long it is kept is the business of others.

mod collect;
mod compressed;
mod format;
mod length;
mod live;
mod wav;

use std::fs::File;
use std::sync::Arc;

use crate::codec::{g711, g722, gsm};
use collect::Collector;
pub use format::SoundFormat;
pub(crate) use live::{LiveSound, Place};
pub use live::{LiveWriter, live_sound};

/// Samples a second of telephone audio.
pub const SAMPLE_RATE: u32 = 8000;

/// Samples a second of wideband audio.
pub const WIDE_RATE: u32 = 16000;

/// Longest sound that is decoded, in seconds: an hour, which is 58 MB at 8000 Hz.
const SECONDS_MAX: u32 = 3600;

/// Bytes of G.722 decoded at a time.
const G722_BLOCK: usize = 160;

/// A sound: mono, 16 bit linear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    pub samples: Arc<[i16]>,
    /// Samples a second: [`SAMPLE_RATE`] or [`WIDE_RATE`].
    pub rate: u32,
    /// It is still being made: there are no samples, and no end.
    pub(crate) live: Option<LiveSound>,
}

/// Why a file is not a sound.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SoundError {
    /// The file does not begin as a WAV file does.
    #[error("not a WAV file (no RIFF/WAVE header)")]
    NotWav,
    /// It has no `fmt ` chunk before its data, or a short one.
    #[error("a WAV file without a usable fmt chunk")]
    NoFormat,
    /// It has no `data` chunk.
    #[error("a WAV file without a data chunk")]
    NoData,
    /// WAV, but not one of ours.
    #[error(
        "WAV format {tag} with {channels} channels, {rate} Hz, {bits} bit; wanted: 8, 16, 24 or 32 bit linear, \
         u-law, A-law or GSM, 1 to 8 channels, 4000 to 192000 Hz"
    )]
    Unsupported {
        tag: u16,
        channels: u16,
        rate: u32,
        bits: u16,
    },
    /// MP3 or Ogg that cannot be understood.
    #[error("{kind}: {why}")]
    Damaged { kind: &'static str, why: String },
    /// Longer than [`SECONDS_MAX`].
    #[error("longer than an hour")]
    TooLong,
}

impl Sound {
    /// A sound of these samples (8000 Hz).
    pub fn from_samples(samples: impl Into<Arc<[i16]>>) -> Self {
        Self {
            samples: samples.into(),
            rate: SAMPLE_RATE,
            live: None,
        }
    }

    /// A sound of these samples (16000 Hz).
    pub fn from_wide_samples(samples: impl Into<Arc<[i16]>>) -> Self {
        Self {
            samples: samples.into(),
            rate: WIDE_RATE,
            live: None,
        }
    }

    /// Decodes a file to mono at `rate` samples a second ([`SAMPLE_RATE`] or [`WIDE_RATE`]; anything else is taken as
    /// the former). Channels are averaged, other rates are resampled. A file that was cut off gives what is there.
    ///
    /// The memory used is that of the file and of the result; nothing in between grows with the length.
    ///
    /// # Errors
    /// [`SoundError`], which says what was found and what would be right.
    pub fn decode(format: SoundFormat, file: Vec<u8>, rate: u32) -> Result<Self, SoundError> {
        let rate = if rate == WIDE_RATE {
            WIDE_RATE
        } else {
            SAMPLE_RATE
        };
        let mut out = Collector::new(rate);
        match format {
            SoundFormat::Wav => wav::decode(&file, &mut out)?,
            SoundFormat::Linear(from) => {
                out.source(from, 1)?;
                out.push(file.chunks_exact(2).map(linear))?;
            }
            SoundFormat::Ulaw => {
                out.source(SAMPLE_RATE, 1)?;
                out.push(file.iter().map(|&b| g711::ulaw_decode(b)))?;
            }
            SoundFormat::Alaw => {
                out.source(SAMPLE_RATE, 1)?;
                out.push(file.iter().map(|&b| g711::alaw_decode(b)))?;
            }
            SoundFormat::Gsm => {
                out.source(SAMPLE_RATE, 1)?;
                let mut decoder = gsm::Decoder::default();
                let mut samples = [0; gsm::FRAME_SAMPLES];
                for frame in file.chunks_exact(gsm::FRAME_BYTES) {
                    // What is no frame is a gap of 20 ms.
                    if decoder.decode(frame, &mut samples) == 0 {
                        samples.fill(0);
                    }
                    out.push(samples)?;
                }
            }
            SoundFormat::G722 => {
                out.source(WIDE_RATE, 1)?;
                let mut decoder = g722::Decoder::default();
                let mut samples = [0; 2 * G722_BLOCK];
                for block in file.chunks(G722_BLOCK) {
                    let made = decoder.decode(block, &mut samples);
                    out.push(samples.iter().copied().take(made))?;
                }
            }
            SoundFormat::Mp3 => compressed::mp3(file, &mut out)?,
            SoundFormat::Ogg => compressed::ogg(file, &mut out)?,
        }
        out.finish()
    }

    /// Decodes an MP3 file of any length to mono at [`SAMPLE_RATE`], and gives the samples in pieces of some milliseconds. `take`
    /// says whether it wants more. Memory does not grow with the length.
    ///
    /// # Errors
    /// As [`Self::decode`]; what was given before stays good.
    pub fn stream_mp3(file: File, mut take: impl FnMut(&[i16]) -> bool) -> Result<(), SoundError> {
        let mut out = Collector::new(SAMPLE_RATE);
        let mut wanted = true;
        compressed::mp3_stream(file, &mut out, &mut |out| {
            wanted = take(&out.take());
            wanted
        })?;
        if wanted {
            take(&out.finish()?.samples);
        }
        Ok(())
    }

    /// Its length in milliseconds, rounded down.
    pub fn duration_ms(&self) -> u64 {
        self.samples.len() as u64 * 1000 / u64::from(self.rate.max(1))
    }

    /// The same at another rate: for the rare sound that was decoded for one listener and goes to another. One that is still
    /// being made stays as it is.
    pub fn at_rate(&self, rate: u32) -> Self {
        if rate == self.rate || self.live.is_some() || (rate != SAMPLE_RATE && rate != WIDE_RATE) {
            return self.clone();
        }
        let mut out = Collector::new(rate);
        // An hour of one of our two rates is an hour of the other: nothing here can be too long or unknown.
        let _ = out
            .source(self.rate, 1)
            .and_then(|()| out.push(self.samples.iter().copied()));
        out.finish().unwrap_or_else(|_| self.clone())
    }
}

fn linear(bytes: &[u8]) -> i16 {
    match bytes {
        [low, high, ..] => i16::from_le_bytes([*low, *high]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
