//! What a leg heard, as a file: 8000 Hz, 16 bit, mono, each packet at the place that its timestamp says.

use std::io::{self, Write as _};
use std::path::Path;

/// Samples of the longest recording: ten minutes.
const SAMPLES_MAX: usize = 8000 * 600;

/// A recording that grows.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    first: Option<u32>,
    samples: Vec<i16>,
}

impl Recording {
    /// Puts samples to their place. What lies before the first packet or after the end is left out.
    pub fn put(&mut self, timestamp: u32, samples: &[i16]) {
        let first = *self.first.get_or_insert(timestamp);
        let at = timestamp.wrapping_sub(first) as usize;
        let end = at.saturating_add(samples.len());
        if end > SAMPLES_MAX {
            return;
        }
        if self.samples.len() < end {
            self.samples.resize(end, 0);
        }
        if let Some(place) = self.samples.get_mut(at..end) {
            place.copy_from_slice(samples);
        }
    }

    /// Writes it.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let bytes = (self.samples.len() * 2) as u32;
        let mut file = io::BufWriter::new(std::fs::File::create(path)?);
        file.write_all(b"RIFF")?;
        file.write_all(&(36 + bytes).to_le_bytes())?;
        file.write_all(b"WAVEfmt ")?;
        file.write_all(&16_u32.to_le_bytes())?;
        for (value, width) in [(1, 2), (1, 2), (8000, 4), (16_000, 4), (2, 2), (16, 2)] {
            file.write_all(&u32::to_le_bytes(value)[..width])?;
        }
        file.write_all(b"data")?;
        file.write_all(&bytes.to_le_bytes())?;
        for sample in &self.samples {
            file.write_all(&sample.to_le_bytes())?;
        }
        file.flush()
    }
}

/// Samples of each channel of a file of 16 bit, and its rate.
pub fn load(path: &Path) -> io::Result<(u32, Vec<Vec<i16>>)> {
    let bytes = std::fs::read(path)?;
    let bad = |what: &str| io::Error::other(format!("{}: {what}", path.display()));
    if !(bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE")) {
        return Err(bad("no WAV file"));
    }
    let mut rest = &bytes[12..];
    let (mut channels, mut rate) = (0, 0);
    while let Some((head, body)) = rest.split_at_checked(8) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let chunk = body.get(..len.min(body.len())).unwrap_or_default();
        match &head[..4] {
            b"fmt " if chunk.len() >= 16 => {
                channels = usize::from(u16::from_le_bytes([chunk[2], chunk[3]]));
                rate = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
                if chunk[14] != 16 {
                    return Err(bad("not 16 bit"));
                }
            }
            b"data" if channels > 0 => {
                let samples: Vec<i16> = chunk
                    .chunks_exact(2)
                    .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
                    .collect();
                let of = |n: usize| samples.iter().skip(n).step_by(channels).copied().collect();
                return Ok((rate, (0..channels).map(of).collect()));
            }
            _ => {}
        }
        rest = body.get(len + len % 2..).unwrap_or_default();
    }
    Err(bad("no samples"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_lie_where_their_timestamps_say() {
        let mut recording = Recording::default();
        recording.put(u32::MAX - 1, &[1, 2]);
        recording.put(2, &[5, 6]);
        recording.put(0, &[3, 4]);
        recording.put(u32::MAX - 5, &[9, 9]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.wav");
        recording.save(&path).expect("written");
        let (rate, channels) = load(&path).expect("read");
        assert_eq!((rate, channels), (8000, vec![vec![1, 2, 3, 4, 5, 6]]));
        std::fs::write(&path, b"RIFF....WAVE").expect("written");
        assert!(load(&path).is_err());
    }
}
