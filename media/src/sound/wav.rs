//! RIFF/WAVE files.

use std::io::{Read, Seek, SeekFrom};

use super::collect::Collector;
use super::{SoundError, linear};
use crate::codec::{g711, gsm};

const PCM: u16 = 1;
const ALAW: u16 = 6;
const ULAW: u16 = 7;
/// GSM 06.10: blocks of 65 bytes, 40 ms each.
const GSM: u16 = 0x31;
/// Chunks that are looked at for the data, and bytes of the one that tells the format.
const CHUNKS_MAX: usize = 64;
const FMT_MAX: u64 = 64;
/// The real format begins the GUID of the sub-format.
const EXTENSIBLE: u16 = 0xFFFE;

/// Decodes the first data chunk. One that claims more than the file has (a recording that was cut off) gives what is
/// there.
pub(super) fn decode(file: &[u8], out: &mut Collector) -> Result<(), SoundError> {
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
            b"fmt " => format = Some(Format::parse(body).ok_or(SoundError::NoFormat)?),
            b"data" => return format.ok_or(SoundError::NoFormat)?.decode(body, out),
            _ => {}
        }
        // Chunks are padded to even length.
        rest = after
            .get(length.saturating_add(length & 1)..)
            .unwrap_or_default();
    }
    Err(SoundError::NoData)
}

/// Milliseconds of the first data chunk of a file of so many bytes; only heads are read.
pub(super) fn duration_ms(file: &mut (impl Read + Seek), bytes: u64) -> Option<u64> {
    let mut head = [0; 12];
    file.read_exact(&mut head).ok()?;
    if &head[..4] != b"RIFF" || &head[8..] != b"WAVE" {
        return None;
    }
    let mut format = None;
    for _ in 0..CHUNKS_MAX {
        let mut header = [0; 8];
        file.read_exact(&mut header).ok()?;
        let [a, b, c, d, length @ ..] = header;
        let length = u64::from(u32::from_le_bytes(length));
        match &[a, b, c, d] {
            b"fmt " => {
                let mut chunk = Vec::new();
                let read = length.min(FMT_MAX);
                file.by_ref().take(read).read_to_end(&mut chunk).ok()?;
                format = Some(Format::parse(&chunk)?);
                file.seek_relative(i64::try_from(length + (length & 1) - read).ok()?)
                    .ok()?;
            }
            b"data" => {
                let at = file.stream_position().ok()?;
                return format?.duration_ms(length.min(bytes.saturating_sub(at)));
            }
            _ => {
                file.seek(SeekFrom::Current(
                    i64::try_from(length + (length & 1)).ok()?,
                ))
                .ok()?;
            }
        }
    }
    None
}

struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

impl Format {
    fn parse(chunk: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| {
            let bytes = chunk.get(at..at + 2)?;
            Some(u16::from_le_bytes(bytes.try_into().ok()?))
        };
        let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
        let mut tag = u16_at(0)?;
        if tag == EXTENSIBLE {
            tag = u16_at(24)?;
        }
        Some(Self {
            tag,
            channels: u16_at(2)?,
            rate,
            // GSM files may end before this field.
            bits: u16_at(14).unwrap_or(0),
        })
    }

    fn duration_ms(&self, bytes: u64) -> Option<u64> {
        let samples = match self.tag {
            // Blocks of 40 ms.
            GSM => bytes / gsm::WAV49_BYTES as u64 * 320,
            _ => {
                bytes
                    / u64::from(self.channels)
                        .checked_mul(u64::from(self.bits / 8))
                        .filter(|n| *n > 0)?
            }
        };
        (samples * 1000).checked_div(u64::from(self.rate))
    }

    fn decode(&self, data: &[u8], out: &mut Collector) -> Result<(), SoundError> {
        out.source(self.rate, usize::from(self.channels))
            .map_err(|_| self.unsupported())?;
        match (self.tag, self.bits) {
            (PCM, 8) => out.push(data.iter().map(|&b| (i16::from(b) - 128) << 8)),
            (PCM, 16) => out.push(data.chunks_exact(2).map(linear)),
            // The two high bytes.
            (PCM, 24) => out.push(data.chunks_exact(3).map(|s| linear(&s[1..]))),
            (PCM, 32) => out.push(data.chunks_exact(4).map(|s| linear(&s[2..]))),
            (GSM, _) if self.channels == 1 => {
                let mut decoder = gsm::Decoder::default();
                let (blocks, _) = data.as_chunks::<{ gsm::WAV49_BYTES }>();
                for block in blocks {
                    out.push(decoder.decode_wav49(block))?;
                }
                Ok(())
            }
            (ALAW, 8) => out.push(data.iter().map(|&b| g711::alaw_decode(b))),
            (ULAW, 8) => out.push(data.iter().map(|&b| g711::ulaw_decode(b))),
            _ => Err(self.unsupported()),
        }
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
