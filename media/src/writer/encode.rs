//! Samples into the bytes of a file.
//!
//! Linear samples and G.711 at the recorder's own rate are made on the writer thread, a block at a time ([`direct`]).
//! Everything else has state and costs time: [`Pipeline`] runs on a helper thread, in the order of the samples, and makes
//! a stream of bytes.

use super::mp3::Mp3Encoder;
use super::opus::OpusFile;
use super::rate::Rate;
use crate::codec::{g711, g722, gsm};
use crate::recording::{FileFormat, FileSetup};

/// Rates that Opus takes.
const OPUS_RATES: [u32; 5] = [8000, 12_000, 16_000, 24_000, 48_000];
/// Silence is put in pieces of this many values.
const SILENCE: usize = 8000;

/// Is this file made by a [`Pipeline`]?
pub(super) fn is_stream(setup: &FileSetup) -> bool {
    match setup.format {
        FileFormat::Wav | FileFormat::Wav16 | FileFormat::Sln(_) => {
            setup.format.rate() != Some(setup.rate)
        }
        FileFormat::Ulaw | FileFormat::Alaw => false,
        FileFormat::Wav49
        | FileFormat::Gsm
        | FileFormat::G722
        | FileFormat::Ogg
        | FileFormat::Mp3 => true,
    }
}

/// Encodes a block for a file that is no stream.
pub(super) fn direct(format: FileFormat, samples: &[i16], bytes: &mut Vec<u8>) {
    bytes.clear();
    match format {
        FileFormat::Ulaw => bytes.extend(samples.iter().map(|&s| g711::ulaw_encode(s))),
        FileFormat::Alaw => bytes.extend(samples.iter().map(|&s| g711::alaw_encode(s))),
        _ => linear(samples, bytes),
    }
}

fn linear(samples: &[i16], bytes: &mut Vec<u8>) {
    bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
}

enum Encoder {
    Linear,
    Gsm(Box<gsm::Encoder>, Vec<i16>),
    Wav49(Box<gsm::Encoder>, Vec<i16>),
    G722(Box<g722::Encoder>, Vec<i16>),
    Opus(Box<OpusFile>),
    Mp3(Box<Mp3Encoder>),
}

impl Encoder {
    fn new(setup: &FileSetup) -> Result<Self, String> {
        Ok(match setup.format {
            FileFormat::Gsm => Self::Gsm(Box::default(), Vec::new()),
            FileFormat::Wav49 => Self::Wav49(Box::default(), Vec::new()),
            FileFormat::G722 => Self::G722(Box::default(), Vec::new()),
            FileFormat::Ogg => {
                // The streams of a file that is continued need different numbers.
                let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
                let serial = now.subsec_nanos() ^ (now.as_secs() as u32).rotate_left(16);
                Self::Opus(Box::new(OpusFile::new(file_rate(setup), serial)?))
            }
            // Behind other sound the frame with the length would name the wrong one.
            FileFormat::Mp3 => Self::Mp3(Box::new(Mp3Encoder::new(
                file_rate(setup),
                setup.channels,
                !setup.append,
            )?)),
            _ => Self::Linear,
        })
    }

    fn samples(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Linear => linear(samples, out),
            Self::Gsm(gsm, rest) => {
                whole(rest, samples, gsm::FRAME_SAMPLES, |frame| {
                    let mut bytes = [0; gsm::FRAME_BYTES];
                    let count = gsm.encode(frame, &mut bytes);
                    out.extend_from_slice(&bytes[..count]);
                });
            }
            Self::Wav49(gsm, rest) => {
                whole(rest, samples, 2 * gsm::FRAME_SAMPLES, |block| {
                    if let Ok(block) = block.try_into() {
                        out.extend_from_slice(&gsm.encode_wav49(block));
                    }
                });
            }
            Self::G722(g722, rest) => {
                whole(rest, samples, 320, |frame| {
                    let mut bytes = [0; 160];
                    let count = g722.encode(frame, &mut bytes);
                    out.extend_from_slice(&bytes[..count]);
                });
            }
            Self::Opus(opus) => opus.samples(samples, out)?,
            Self::Mp3(mp3) => mp3.encode(samples, out)?,
        }
        Ok(())
    }

    /// The last bytes, and what replaces the first ones of the stream, if anything.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
        let frame = match self {
            Self::Linear => None,
            Self::Gsm(_, rest) => Some((rest.len(), gsm::FRAME_SAMPLES)),
            Self::Wav49(_, rest) => Some((rest.len(), 2 * gsm::FRAME_SAMPLES)),
            Self::G722(_, rest) => Some((rest.len(), 320)),
            Self::Opus(opus) => {
                opus.finish(out)?;
                None
            }
            Self::Mp3(mp3) => return mp3.finish(out),
        };
        // Formats of whole frames end with one that is filled up.
        if let Some((rest, frame)) = frame
            && rest > 0
        {
            self.samples(&vec![0; frame - rest], out)?;
        }
        Ok(None)
    }
}

/// Hands on what there is in pieces of `size`.
fn whole(rest: &mut Vec<i16>, samples: &[i16], size: usize, mut take: impl FnMut(&[i16])) {
    rest.extend_from_slice(samples);
    let mut pieces = rest.chunks_exact(size);
    for piece in &mut pieces {
        take(piece);
    }
    let used = rest.len() - pieces.remainder().len();
    rest.drain(..used);
}

/// The rate of a file in Hz.
fn file_rate(setup: &FileSetup) -> u32 {
    match setup.format {
        FileFormat::Ogg if !OPUS_RATES.contains(&setup.rate) => 48_000,
        format => format.rate().unwrap_or(setup.rate),
    }
}

/// The samples of one recording on their way into a stream: gaps become silence, the rate becomes that of the file, and
/// what may still be cut off at the end is held back.
pub(super) struct Pipeline {
    encoder: Encoder,
    rate: Option<Rate>,
    channels: usize,
    /// Values that are held back.
    hold: usize,
    held: Vec<i16>,
    resampled: Vec<i16>,
    /// Samples of one channel that were taken, gaps included.
    position: u64,
    /// Of these, how many went to the encoder.
    encoded: u64,
}

impl Pipeline {
    pub(super) fn new(setup: &FileSetup) -> Result<Self, String> {
        let to = file_rate(setup);
        let rate = if to == setup.rate {
            None
        } else {
            Some(Rate::new(setup.rate, to, setup.channels)?)
        };
        let channels = usize::from(setup.channels);
        Ok(Self {
            encoder: Encoder::new(setup)?,
            rate,
            channels,
            hold: setup.drop_last_max as usize * channels,
            held: Vec::new(),
            resampled: Vec::new(),
            position: 0,
            encoded: 0,
        })
    }

    /// Takes a block that begins `position` samples after the start; what was missing before it becomes silence.
    pub(super) fn samples(
        &mut self,
        position: u64,
        samples: &[i16],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        self.silence_until(position, out)?;
        self.position += (samples.len() / self.channels) as u64;
        self.put(samples, out)
    }

    /// Ends the stream at this length; `None`: where it stands. Gives what replaces the first bytes, if anything.
    pub(super) fn finish(
        &mut self,
        length: Option<u64>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>, String> {
        if let Some(length) = length {
            self.silence_until(length, out)?;
            let beyond = self.position.saturating_sub(length) as usize * self.channels;
            self.held.truncate(self.held.len().saturating_sub(beyond));
        }
        let held = std::mem::take(&mut self.held);
        self.feed(&held, out)?;
        if let Some(rate) = &mut self.rate {
            self.resampled.clear();
            rate.finish(&mut self.resampled)?;
            self.encoder.samples(&self.resampled, out)?;
        }
        self.encoder.finish(out)
    }

    /// Samples of one channel that the stream holds.
    pub(super) fn encoded(&self) -> u64 {
        self.encoded
    }

    fn silence_until(&mut self, position: u64, out: &mut Vec<u8>) -> Result<(), String> {
        while self.position < position {
            let count = (position - self.position).min((SILENCE / self.channels) as u64);
            self.position += count;
            self.put(&vec![0; count as usize * self.channels], out)?;
        }
        Ok(())
    }

    fn put(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), String> {
        if self.hold == 0 {
            return self.feed(samples, out);
        }
        self.held.extend_from_slice(samples);
        let ready = self.held.len().saturating_sub(self.hold);
        let later = self.held.split_off(ready);
        let now = std::mem::replace(&mut self.held, later);
        self.feed(&now, out)
    }

    fn feed(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), String> {
        self.encoded += (samples.len() / self.channels) as u64;
        match &mut self.rate {
            None => self.encoder.samples(samples, out),
            Some(rate) => {
                self.resampled.clear();
                rate.run(samples, &mut self.resampled)?;
                self.encoder.samples(&self.resampled, out)
            }
        }
    }
}
