//! Sounds to be played: decoded once, shared by all legs that play them.

use std::sync::Arc;

use crate::codec::g711;

/// Samples a second of everything that is played and recorded.
pub const SAMPLE_RATE: u32 = 8000;

/// Longest sound that is loaded, in samples: an hour.
const SAMPLES_MAX: usize = 3600 * SAMPLE_RATE as usize;

/// A sound: 8000 Hz mono, 16 bit linear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    pub samples: Arc<[i16]>,
}

/// Headerless files.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum RawFormat {
    /// 16 bit little-endian linear, 8000 Hz (`.sln`).
    Sln,
    /// 16 bit little-endian linear, 16000 Hz (`.sln16`), brought to 8000 Hz.
    Sln16,
    /// G.711 u-law, 8000 Hz.
    Ulaw,
    /// G.711 A-law, 8000 Hz.
    Alaw,
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
        "WAV format {tag} with {channels} channels, {rate} Hz, {bits} bit; wanted: mono or stereo, 8000 or 16000 Hz, \
         16 bit linear, u-law or A-law"
    )]
    Unsupported {
        tag: u16,
        channels: u16,
        rate: u32,
        bits: u16,
    },
    /// Longer than an hour.
    #[error("longer than an hour ({0} samples)")]
    TooLong(usize),
}

impl Sound {
    /// A sound of these samples (8000 Hz).
    pub fn from_samples(samples: impl Into<Arc<[i16]>>) -> Self {
        Self {
            samples: samples.into(),
        }
    }

    /// Reads a WAV file: 16 bit linear, u-law or A-law; 8000 or 16000 Hz; stereo is averaged. A data chunk that claims
    /// more than the file has (a recording that was cut off) gives what is there.
    ///
    /// # Errors
    /// [`SoundError`], which says what was found and what would be right.
    pub fn from_wav(file: &[u8]) -> Result<Self, SoundError> {
        if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
            return Err(SoundError::NotWav);
        }
        let mut rest = file.get(12..).unwrap_or_default();
        let mut format = None;
        while let Some((header, after)) = rest.split_first_chunk::<8>() {
            let [a, b, c, d, length @ ..] = *header;
            let length = u32::from_le_bytes(length) as usize;
            let body = after.get(..length).unwrap_or(after);
            match &[a, b, c, d] {
                b"fmt " => format = Some(WavFormat::parse(body).ok_or(SoundError::NoFormat)?),
                b"data" => return format.ok_or(SoundError::NoFormat)?.decode(body),
                _ => {}
            }
            // Chunks are padded to even length.
            rest = after
                .get(length.saturating_add(length & 1)..)
                .unwrap_or_default();
        }
        Err(SoundError::NoData)
    }

    /// Reads a headerless file.
    ///
    /// # Errors
    /// [`SoundError::TooLong`].
    pub fn from_raw(format: RawFormat, file: &[u8]) -> Result<Self, SoundError> {
        let samples = match format {
            RawFormat::Sln => linear(file),
            RawFormat::Sln16 => halve_rate(&linear(file)),
            RawFormat::Ulaw => file.iter().map(|&b| g711::ulaw_decode(b)).collect(),
            RawFormat::Alaw => file.iter().map(|&b| g711::alaw_decode(b)).collect(),
        };
        Self::limited(samples)
    }

    /// Its length in milliseconds, rounded down.
    pub fn duration_ms(&self) -> u64 {
        self.samples.len() as u64 * 1000 / u64::from(SAMPLE_RATE)
    }

    fn limited(samples: Vec<i16>) -> Result<Self, SoundError> {
        if samples.len() > SAMPLES_MAX {
            return Err(SoundError::TooLong(samples.len()));
        }
        Ok(Self::from_samples(samples))
    }
}

struct WavFormat {
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

impl WavFormat {
    fn parse(chunk: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| {
            let bytes = chunk.get(at..at + 2)?;
            Some(u16::from_le_bytes(bytes.try_into().ok()?))
        };
        let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
        let mut tag = u16_at(0)?;
        if tag == 0xFFFE {
            // WAVE_FORMAT_EXTENSIBLE: the real tag begins the sub-format GUID.
            tag = u16_at(24)?;
        }
        Some(Self {
            tag,
            channels: u16_at(2)?,
            rate,
            bits: u16_at(14)?,
        })
    }

    fn decode(&self, data: &[u8]) -> Result<Sound, SoundError> {
        let samples: Vec<i16> = match (self.tag, self.bits) {
            (1, 16) => linear(data),
            (6, 8) => data.iter().map(|&b| g711::alaw_decode(b)).collect(),
            (7, 8) => data.iter().map(|&b| g711::ulaw_decode(b)).collect(),
            _ => return Err(self.unsupported()),
        };
        let mono = match self.channels {
            1 => samples,
            2 => samples
                .chunks_exact(2)
                .map(|pair| {
                    let sum: i32 = pair.iter().map(|&s| i32::from(s)).sum();
                    (sum / 2) as i16
                })
                .collect(),
            _ => return Err(self.unsupported()),
        };
        Sound::limited(match self.rate {
            8000 => mono,
            16000 => halve_rate(&mono),
            _ => return Err(self.unsupported()),
        })
    }

    fn unsupported(&self) -> SoundError {
        SoundError::Unsupported {
            tag: self.tag,
            channels: self.channels,
            rate: self.rate,
            bits: self.bits,
        }
    }
}

fn linear(bytes: &[u8]) -> Vec<i16> {
    bytes
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

/// 16 kHz to 8 kHz: a 31-tap half-band low-pass (Hamming window) at every second sample. Runs when a file is loaded,
/// so clarity wins over speed.
fn halve_rate(input: &[i16]) -> Vec<i16> {
    const HALF: i64 = 15;
    let taps: Vec<f64> = (-HALF..=HALF)
        .map(|n| {
            let x = n as f64;
            let sinc = if n == 0 {
                0.5
            } else {
                (std::f64::consts::PI * x / 2.0).sin() / (std::f64::consts::PI * x)
            };
            sinc * (0.54 + 0.46 * (std::f64::consts::PI * x / (HALF as f64 + 1.0)).cos())
        })
        .collect();
    let gain: f64 = taps.iter().sum();
    (0..input.len().div_ceil(2))
        .map(|out| {
            let centre = 2 * out as i64;
            let sum: f64 = taps
                .iter()
                .zip(-HALF..=HALF)
                .map(|(tap, offset)| {
                    let sample = usize::try_from(centre + offset)
                        .ok()
                        .and_then(|at| input.get(at))
                        .copied()
                        .unwrap_or(0);
                    tap * f64::from(sample)
                })
                .sum();
            (sum / gain)
                .round()
                .clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        // An odd chunk of an unknown kind comes first: it has to be skipped with its padding.
        file.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        file.extend_from_slice(b"fmt \x10\0\0\0");
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&channels.to_le_bytes());
        file.extend_from_slice(&rate.to_le_bytes());
        let block = channels * bits / 8;
        file.extend_from_slice(&(rate * u32::from(block)).to_le_bytes());
        file.extend_from_slice(&block.to_le_bytes());
        file.extend_from_slice(&bits.to_le_bytes());
        file.extend_from_slice(b"data");
        file.extend_from_slice(&(data.len() as u32).to_le_bytes());
        file.extend_from_slice(data);
        file
    }

    fn bytes(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|s| s.to_le_bytes()).collect()
    }

    #[test]
    fn a_plain_wav_gives_its_samples() {
        let samples = [0i16, 1, -1, i16::MAX, i16::MIN];
        let sound = Sound::from_wav(&wav(1, 1, 8000, 16, &bytes(&samples))).unwrap();
        assert_eq!(&*sound.samples, &samples);
        assert_eq!(sound.duration_ms(), 0);
    }

    #[test]
    fn stereo_is_averaged() {
        let sound = Sound::from_wav(&wav(1, 2, 8000, 16, &bytes(&[100, 200, -5, 5]))).unwrap();
        assert_eq!(&*sound.samples, &[150, 0]);
    }

    #[test]
    fn a_truncated_data_chunk_gives_what_is_there() {
        let mut file = wav(1, 1, 8000, 16, &bytes(&[7; 100]));
        file.truncate(file.len() - 51);
        assert_eq!(Sound::from_wav(&file).unwrap().samples.len(), 74);
    }

    #[test]
    fn sixteen_kilohertz_is_halved_and_keeps_a_tone_but_not_what_would_alias() {
        let tone = |hz: f64| -> Vec<i16> {
            (0..16000)
                .map(|n| {
                    ((f64::from(n) * hz * std::f64::consts::TAU / 16000.0).sin() * 10000.0) as i16
                })
                .collect()
        };
        let power = |samples: &[i16]| -> f64 {
            let middle = &samples[100..samples.len() - 100];
            middle.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / middle.len() as f64
        };
        let kept = Sound::from_wav(&wav(1, 1, 16000, 16, &bytes(&tone(1000.0)))).unwrap();
        assert_eq!(kept.samples.len(), 8000);
        assert!((power(&kept.samples) / 5e7 - 1.0).abs() < 0.05);
        let gone = Sound::from_raw(RawFormat::Sln16, &bytes(&tone(6000.0))).unwrap();
        assert!(power(&gone.samples) < 5e7 / 1000.0);
    }

    #[test]
    fn g711_files_are_decoded() {
        let raw = Sound::from_raw(RawFormat::Ulaw, &[0xFF, 0x80]).unwrap();
        assert_eq!(&*raw.samples, &[0, 32124]);
        let in_wav = Sound::from_wav(&wav(6, 1, 8000, 8, &[0xD5])).unwrap();
        assert_eq!(&*in_wav.samples, &[8]);
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_the_reason() {
        assert_eq!(Sound::from_wav(b"ID3"), Err(SoundError::NotWav));
        assert_eq!(
            Sound::from_wav(b"RIFF\0\0\0\0WAVE"),
            Err(SoundError::NoData)
        );
        assert_eq!(
            Sound::from_wav(b"RIFF\0\0\0\0WAVEdata\0\0\0\0"),
            Err(SoundError::NoFormat)
        );
        let odd = wav(1, 1, 44100, 16, &[0, 0]);
        assert!(matches!(
            Sound::from_wav(&odd),
            Err(SoundError::Unsupported { rate: 44100, .. })
        ));
    }

    #[test]
    fn no_prefix_of_a_file_panics() {
        let file = wav(1, 1, 8000, 16, &bytes(&[1, 2, 3]));
        for end in 0..file.len() {
            let _ = Sound::from_wav(&file[..end]);
        }
    }
}
