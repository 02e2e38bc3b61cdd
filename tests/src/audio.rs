//! Listening, for tests: which tones are in a signal and when, how much silence, how like two signals are; G.711; WAV.
//!
//! Written apart from the exchange's own signal processing, so that both cannot be wrong in the same way.

use anyhow::{Context as _, Result, bail};
use std::path::Path;

/// All samples here are 8000 Hz.
pub const RATE: f64 = 8000.0;

/// The power of one frequency in `samples` by the Goertzel algorithm, as the amplitude that a sine of it would have.
pub fn level_of(samples: &[i16], frequency_hz: f64) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let step = 2.0 * std::f64::consts::PI * frequency_hz / RATE;
    let coefficient = 2.0 * step.cos();
    let (mut before, mut last) = (0.0_f64, 0.0_f64);
    for (index, &sample) in samples.iter().enumerate() {
        // A Hann window keeps a strong neighbour from leaking into this bin.
        let window = 1.0 - (2.0 * std::f64::consts::PI * index as f64 / samples.len() as f64).cos();
        let next = f64::from(sample) * window + coefficient * last - before;
        before = last;
        last = next;
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

/// Root mean square of the samples.
pub fn rms(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let sum: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    (sum / samples.len() as f64).sqrt()
}

/// Share (0.0 to 1.0) of the 100 ms windows in which the tone is there: at least 300 of amplitude, and at least a tenth
/// of everything heard in that window.
pub fn share_with_tone(samples: &[i16], frequency_hz: f64) -> f64 {
    let windows: Vec<&[i16]> = samples.chunks_exact(800).collect();
    if windows.is_empty() {
        return 0.0;
    }
    let with = windows.iter().filter(|w| has_tone(w, frequency_hz)).count();
    with as f64 / windows.len() as f64
}

/// Whether the tone is in this stretch of samples.
pub fn has_tone(samples: &[i16], frequency_hz: f64) -> bool {
    let level = level_of(samples, frequency_hz);
    level >= 300.0 && level / std::f64::consts::SQRT_2 >= 0.1 * rms(samples)
}

/// Start and length in milliseconds of every stretch of at least `at_least_ms` whose samples stay within ±64.
pub fn silences(samples: &[i16], at_least_ms: u64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut start = 0;
    for (index, &sample) in samples.iter().chain([&i16::MAX]).enumerate() {
        if sample.unsigned_abs() > 64 {
            let length_ms = (index - start) as u64 / 8;
            if length_ms >= at_least_ms && index > start {
                found.push((start as u64 / 8, length_ms));
            }
            start = index + 1;
        }
    }
    found
}

/// The last so many milliseconds of a signal.
pub fn last_ms(samples: &[i16], milliseconds: usize) -> &[i16] {
    &samples[samples.len().saturating_sub(milliseconds * 8)..]
}

/// A sine wave.
pub fn sine(frequency_hz: f64, amplitude: f64, milliseconds: u64) -> Vec<i16> {
    (0..milliseconds * 8)
        .map(|n| {
            let phase = 2.0 * std::f64::consts::PI * frequency_hz * n as f64 / RATE;
            (amplitude * phase.sin()) as i16
        })
        .collect()
}

/// Where `part` is found in `whole` (offset in samples) and how like it is there: 1.0 is the same but for loudness.
pub fn find(whole: &[i16], part: &[i16], offsets: std::ops::Range<usize>) -> (usize, f64) {
    let energy = |samples: &[i16]| -> f64 {
        samples
            .iter()
            .map(|&s| f64::from(s).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let part_energy = energy(part);
    let mut best = (0, 0.0);
    for offset in offsets {
        let Some(window) = whole.get(offset..offset + part.len()) else {
            break;
        };
        let product: f64 = window
            .iter()
            .zip(part)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum();
        let both = part_energy * energy(window);
        if both > 0.0 && product / both > best.1 {
            best = (offset, product / both);
        }
    }
    best
}

/// The two laws of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// PCMU, payload type 0.
    Mu,
    /// PCMA, payload type 8.
    A,
}

impl Law {
    /// The law of a static payload type.
    pub fn of_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Mu),
            8 => Some(Self::A),
            _ => None,
        }
    }

    /// The static payload type of this law.
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Mu => 0,
            Self::A => 8,
        }
    }

    /// One byte as a linear sample (ITU-T G.711).
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Self::Mu => {
                let byte = !byte;
                let magnitude = ((i16::from(byte & 0x0f) << 3) + 0x84) << ((byte & 0x70) >> 4);
                if byte & 0x80 == 0 {
                    magnitude - 0x84
                } else {
                    0x84 - magnitude
                }
            }
            Self::A => {
                let byte = byte ^ 0x55;
                let segment = (byte & 0x70) >> 4;
                let mantissa = i16::from(byte & 0x0f) << 4;
                let magnitude = match segment {
                    0 => mantissa + 8,
                    _ => (mantissa + 0x108) << (segment - 1),
                };
                if byte & 0x80 == 0 {
                    -magnitude
                } else {
                    magnitude
                }
            }
        }
    }

    /// A linear sample as the nearest byte.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => {
                let sign = if sample < 0 { 0x80 } else { 0 };
                let magnitude = (i32::from(sample).abs().min(32635) + 0x84) as u32;
                let segment = (31 - magnitude.leading_zeros()).saturating_sub(7);
                let mantissa = (magnitude >> (segment + 3)) & 0x0f;
                !(sign | (segment << 4) as u8 | mantissa as u8)
            }
            Self::A => {
                let sign = if sample < 0 { 0 } else { 0x80 };
                let magnitude = if sample < 0 {
                    !i32::from(sample)
                } else {
                    i32::from(sample)
                } as u32;
                let segment = (32 - (magnitude >> 8).leading_zeros()).min(7);
                let shift = if segment == 0 { 4 } else { segment + 3 };
                let mantissa = (magnitude >> shift) & 0x0f;
                (sign | (segment << 4) as u8 | mantissa as u8) ^ 0x55
            }
        }
    }
}

/// Reads a WAV file of 16-bit PCM at 8000 Hz; of several channels the first is taken.
pub fn read_wav(path: &Path) -> Result<Vec<i16>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (rate, channels) = wav_channels(&bytes).with_context(|| format!("{}", path.display()))?;
    if rate != 8000 {
        bail!("{}: {rate} Hz, wanted 8000", path.display());
    }
    channels.into_iter().next().context("no channel")
}

/// Sample rate and the samples of each channel of a WAV file. What the sizes in its headers promise has to be there.
pub fn wav_channels(bytes: &[u8]) -> Result<(u32, Vec<Vec<i16>>)> {
    let word = |at: usize| -> Result<u32> {
        let four = bytes.get(at..at + 4).context("file ends early")?;
        Ok(u32::from_le_bytes(four.try_into()?))
    };
    if bytes.get(0..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        bail!("no WAV file");
    }
    let (mut at, mut format) = (12, None);
    while at + 8 <= bytes.len() {
        let (name, size) = (&bytes[at..at + 4], word(at + 4)? as usize);
        // A recording that is not finished says that its sound reaches to the end of the file.
        let size = match name {
            b"data" => size.min(bytes.len() - at - 8),
            _ => size,
        };
        let body = bytes.get(at + 8..at + 8 + size).with_context(|| {
            format!(
                "chunk of {size} bytes at {at} runs past the end ({} bytes)",
                bytes.len()
            )
        })?;
        match name {
            b"fmt " => {
                let channels = u16::from_le_bytes([body[2], body[3]]);
                let bits = u16::from_le_bytes([body[14], body[15]]);
                if body[0] != 1 || bits != 16 {
                    bail!("format {} with {bits} bits, wanted 16-bit PCM", body[0]);
                }
                format = Some((word(at + 12)?, usize::from(channels)));
            }
            b"data" => {
                let (rate, count) = format.context("data before fmt")?;
                let mut channels = vec![Vec::new(); count];
                for (index, pair) in body.chunks_exact(2).enumerate() {
                    channels[index % count].push(i16::from_le_bytes([pair[0], pair[1]]));
                }
                return Ok((rate, channels));
            }
            _ => {}
        }
        at += 8 + size + size % 2;
    }
    bail!("no data chunk")
}

/// Writes a mono WAV file, 16-bit PCM, 8000 Hz.
pub fn write_wav(path: &Path, samples: &[i16]) -> Result<()> {
    write_wav_at(path, samples, 8000)
}

/// The same for samples that are meant to be played at another rate.
pub fn write_wav_at(path: &Path, samples: &[i16], rate_hz: u32) -> Result<()> {
    let size = samples.len() as u32 * 2;
    let mut bytes = Vec::with_capacity(44 + samples.len() * 2);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + size).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend_from_slice(&rate_hz.to_le_bytes());
    bytes.extend_from_slice(&(2 * rate_hz).to_le_bytes());
    bytes.extend_from_slice(b"\x02\0\x10\0data");
    bytes.extend_from_slice(&size.to_le_bytes());
    for sample in samples {
        bytes.extend_from_slice(&sample.to_le_bytes());
    }
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_and_its_neighbour_is_not() {
        let signal = sine(440.0, 8000.0, 1000);
        assert!((level_of(&signal, 440.0) - 8000.0).abs() < 200.0);
        assert!(level_of(&signal, 620.0) < 50.0);
        assert!(share_with_tone(&signal, 440.0) > 0.99);
        assert!(share_with_tone(&signal, 620.0) < 0.01);
    }

    #[test]
    fn two_mixed_tones_are_both_found() {
        let mixed: Vec<i16> = sine(440.0, 6000.0, 500)
            .iter()
            .zip(sine(900.0, 6000.0, 500))
            .map(|(a, b)| a + b)
            .collect();
        assert!(share_with_tone(&mixed, 440.0) > 0.99 && share_with_tone(&mixed, 900.0) > 0.99);
    }

    #[test]
    fn each_g711_code_decodes_and_encodes_to_itself() {
        for law in [Law::Mu, Law::A] {
            for byte in 0..=255_u8 {
                let sample = law.decode(byte);
                let again = law.decode(law.encode(sample));
                assert_eq!(sample, again, "{law:?} {byte:#x}");
            }
            let signal = sine(700.0, 10000.0, 200);
            let coded: Vec<i16> = signal.iter().map(|&s| law.decode(law.encode(s))).collect();
            assert!(find(&coded, &signal, 0..1).1 > 0.999, "{law:?}");
        }
    }

    #[test]
    fn silence_is_found_where_it_is() {
        let mut signal = sine(400.0, 8000.0, 300);
        signal.extend(vec![0; 1600]);
        signal.extend(sine(400.0, 8000.0, 300));
        let found = silences(&signal, 100);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            (299..=301).contains(&found[0].0) && (199..=202).contains(&found[0].1),
            "{found:?}"
        );
    }

    #[test]
    fn a_wav_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.wav");
        let signal = sine(500.0, 3000.0, 100);
        write_wav(&path, &signal).expect("written");
        assert_eq!(read_wav(&path).expect("read"), signal);
    }
}
