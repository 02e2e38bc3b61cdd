//! How long a sound file is, told from its size and its head.

use std::io::{Read, Seek, SeekFrom};

use super::{SAMPLE_RATE, SoundFormat, WIDE_RATE, wav};
use crate::codec::gsm;

impl SoundFormat {
    /// Milliseconds of a file of this kind, rounded down. `None`: it cannot be told without decoding it (MP3, Ogg), or is damaged.
    pub fn duration_ms(self, file: &mut (impl Read + Seek)) -> Option<u64> {
        let bytes = file.seek(SeekFrom::End(0)).ok()?;
        let at_rate =
            |samples: u64, rate: u32| samples.checked_mul(1000).map(|n| n / u64::from(rate));
        match self {
            Self::Wav => {
                file.seek(SeekFrom::Start(0)).ok()?;
                wav::duration_ms(file, bytes)
            }
            Self::Linear(rate) => at_rate(bytes / 2, rate),
            Self::Ulaw | Self::Alaw => at_rate(bytes, SAMPLE_RATE),
            Self::Gsm => {
                let frames = bytes / gsm::FRAME_BYTES as u64;
                at_rate(frames * gsm::FRAME_SAMPLES as u64, SAMPLE_RATE)
            }
            Self::G722 => at_rate(bytes * 2, WIDE_RATE),
            Self::Mp3 | Self::Ogg => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn wav(tag: u16, channels: u16, rate: u32, bits: u16, claimed: u32, sound: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend(tag.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend([0; 6]);
        file.extend(bits.to_le_bytes());
        file.extend(b"data");
        file.extend(claimed.to_le_bytes());
        file.resize(file.len() + sound, 0);
        file
    }

    #[test]
    fn a_head_and_a_size_tell_how_long_it_is() {
        for (format, file, wanted) in [
            (
                SoundFormat::Wav,
                wav(1, 1, 8000, 16, 16_000, 16_000),
                Some(1000),
            ),
            (
                SoundFormat::Wav,
                wav(1, 2, 48_000, 24, 288_000, 288_000),
                Some(1000),
            ),
            (SoundFormat::Wav, wav(7, 1, 8000, 8, 4000, 4000), Some(500)),
            (
                SoundFormat::Wav,
                wav(0x31, 1, 8000, 0, 6500, 6500),
                Some(4000),
            ),
            // A recording that runs, and one that was cut off.
            (
                SoundFormat::Wav,
                wav(1, 1, 8000, 16, u32::MAX, 8000),
                Some(500),
            ),
            (SoundFormat::Wav, wav(1, 1, 8000, 16, 4000, 8000), Some(250)),
            (SoundFormat::Wav, wav(1, 1, 0, 16, 4000, 4000), None),
            (SoundFormat::Wav, b"RIFF".to_vec(), None),
            (SoundFormat::Linear(16_000), vec![0; 16_000], Some(500)),
            (SoundFormat::Alaw, vec![0; 800], Some(100)),
            (SoundFormat::Gsm, vec![0; 3300], Some(2000)),
            (SoundFormat::G722, vec![0; 8000], Some(1000)),
            (SoundFormat::Mp3, vec![0; 800], None),
        ] {
            let told = format.duration_ms(&mut Cursor::new(file));
            assert_eq!(told, wanted, "{format:?}");
        }
    }
}
