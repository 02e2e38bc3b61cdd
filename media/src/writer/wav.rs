//! The RIFF/WAVE container of linear samples and of GSM 06.10: its header, and finding the end of the sound in a file that
//! is to be continued.

use crate::recording::FileFormat;

/// RIFF sizes count from here.
const RIFF_OFFSET: u64 = 8;
/// Format tags of the "fmt " chunk.
const PCM: u16 = 1;
const GSM: u16 = 0x31;
/// GSM in WAVE: two frames of 160 samples in 65 bytes.
const GSM_BLOCK: u16 = 65;
const GSM_BLOCK_SAMPLES: u16 = 320;

/// What a WAV file holds.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// 16 bit linear.
    Pcm { rate: u32, channels: u16 },
    /// GSM 06.10 at 8000 Hz.
    Gsm,
}

/// Where the samples of an existing file lie.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Layout {
    /// Byte offset of the first sample.
    pub(super) start: u64,
    /// Bytes of samples.
    pub(super) len: u64,
}

impl Kind {
    /// The container of a format, if it has this one.
    pub(super) fn of(format: FileFormat, channels: u16) -> Option<Self> {
        match format {
            FileFormat::Wav | FileFormat::Wav16 => Some(Self::Pcm {
                rate: format.rate()?,
                channels,
            }),
            FileFormat::Wav49 => Some(Self::Gsm),
            _ => None,
        }
    }

    /// Length of the header we write, in bytes.
    pub(super) fn header_len(self) -> u64 {
        match self {
            Self::Pcm { .. } => 44,
            Self::Gsm => 60,
        }
    }

    /// The smallest piece of sound, in bytes: half of it would turn all that follows into noise.
    fn unit(self) -> u64 {
        match self {
            Self::Pcm { channels, .. } => 2 * u64::from(channels),
            Self::Gsm => u64::from(GSM_BLOCK),
        }
    }

    /// A header for `data_len` bytes of sound that begin right after it. Sizes beyond 4 GiB stay at the largest value,
    /// which players take for "until the end of the file".
    pub(super) fn header(self, data_len: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(self.header_len() as usize);
        header.extend_from_slice(b"RIFF");
        let all = data_len.saturating_add(self.header_len() - RIFF_OFFSET);
        header.extend_from_slice(&size(all));
        header.extend_from_slice(b"WAVEfmt ");
        header.extend_from_slice(&self.format());
        if self == Self::Gsm {
            header.extend_from_slice(b"fact");
            header.extend_from_slice(&4_u32.to_le_bytes());
            let samples = if data_len == u64::MAX {
                data_len
            } else {
                data_len / u64::from(GSM_BLOCK) * u64::from(GSM_BLOCK_SAMPLES)
            };
            header.extend_from_slice(&size(samples));
        }
        header.extend_from_slice(b"data");
        header.extend_from_slice(&size(data_len));
        header
    }

    /// The "fmt " chunk from its size on.
    fn format(self) -> Vec<u8> {
        let (tag, channels, rate, bytes_per_second, block, bits) = match self {
            Self::Pcm { rate, channels } => {
                let block = 2 * channels;
                (PCM, channels, rate, rate * u32::from(block), block, 16_u16)
            }
            Self::Gsm => (GSM, 1, 8000, 1625, GSM_BLOCK, 0),
        };
        let mut chunk = Vec::with_capacity(24);
        chunk.extend_from_slice(&tag.to_le_bytes());
        chunk.extend_from_slice(&channels.to_le_bytes());
        chunk.extend_from_slice(&rate.to_le_bytes());
        chunk.extend_from_slice(&bytes_per_second.to_le_bytes());
        chunk.extend_from_slice(&block.to_le_bytes());
        chunk.extend_from_slice(&bits.to_le_bytes());
        if self == Self::Gsm {
            chunk.extend_from_slice(&2_u16.to_le_bytes());
            chunk.extend_from_slice(&GSM_BLOCK_SAMPLES.to_le_bytes());
        }
        let mut sized = (chunk.len() as u32).to_le_bytes().to_vec();
        sized.append(&mut chunk);
        sized
    }

    /// Reads the head of a file of `file_len` bytes. A data size that is larger than the file, as an unfinished recording
    /// has it, or zero, means "until the end".
    pub(super) fn parse(self, head: &[u8], file_len: u64) -> Result<Layout, &'static str> {
        if head.get(..4) != Some(b"RIFF") || head.get(8..12) != Some(b"WAVE") {
            return Err("it is not a WAV file");
        }
        let mut at = 12;
        let mut known_format = false;
        loop {
            let chunk = head
                .get(at..at + 8)
                .ok_or("its WAV header has no sound, or sound too far behind")?;
            let len = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
            let body = at + 8;
            match &chunk[..4] {
                b"fmt " => {
                    let ours = self.format();
                    let ours = ours.get(4..20).unwrap_or_default();
                    let format = head
                        .get(body..body + 16)
                        .ok_or("its WAV header is cut off")?;
                    if format != ours {
                        return Err("its coding, rate or channels are not ours");
                    }
                    known_format = true;
                }
                b"data" if known_format => {
                    let start = body as u64;
                    let there = file_len.saturating_sub(start);
                    let len = match u64::from(len) {
                        0 => there,
                        len => len.min(there),
                    };
                    return Ok(Layout {
                        start,
                        len: len - len % self.unit(),
                    });
                }
                _ => {}
            }
            at = usize::try_from(len)
                .ok()
                .and_then(|len| body.checked_add(len)?.checked_add(len & 1))
                .ok_or("its WAV header is broken")?;
        }
    }
}

/// A size field.
fn size(bytes: u64) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONO: Kind = Kind::Pcm {
        rate: 8000,
        channels: 1,
    };

    #[test]
    fn our_own_headers_are_understood() {
        let wide = Kind::Pcm {
            rate: 16_000,
            channels: 2,
        };
        for (kind, len) in [
            (MONO, 0),
            (MONO, 2),
            (MONO, 16000),
            (wide, 64),
            (Kind::Gsm, 650),
        ] {
            let header = kind.header(len);
            let start = kind.header_len();
            assert_eq!(header.len() as u64, start);
            assert_eq!(
                kind.parse(&header, len + start),
                Ok(Layout { start, len }),
                "{kind:?} {len}"
            );
        }
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_means_until_the_end() {
        for promised in [16000, 0, u64::MAX] {
            assert_eq!(
                MONO.parse(&MONO.header(promised), 44 + 8001),
                Ok(Layout {
                    start: 44,
                    len: 8000
                }),
                "{promised}"
            );
        }
        assert_eq!(
            Kind::Gsm.parse(&Kind::Gsm.header(u64::MAX), 60 + 200),
            Ok(Layout {
                start: 60,
                len: 195
            })
        );
    }

    #[test]
    fn chunks_before_the_sound_are_skipped() {
        let plain = MONO.header(100);
        let mut file = plain[..36].to_vec();
        file.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        file.extend_from_slice(&plain[36..]);
        assert_eq!(
            MONO.parse(&file, 156),
            Ok(Layout {
                start: 56,
                len: 100
            })
        );
    }

    #[test]
    fn other_files_are_refused() {
        assert!(MONO.parse(b"", 0).is_err());
        assert!(MONO.parse(b"RIFF\0\0\0\0WAVE", 12).is_err());
        let mut stereo = MONO.header(4);
        stereo[22] = 2;
        assert!(MONO.parse(&stereo, 48).is_err());
        assert!(MONO.parse(&Kind::Gsm.header(65), 125).is_err());
        let mut endless = MONO.header(4);
        endless[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(MONO.parse(&endless, 48).is_err());
    }
}
