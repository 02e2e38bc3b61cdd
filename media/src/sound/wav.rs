//! RIFF/WAVE files.

use super::collect::Collector;
use super::{SoundError, linear};
use crate::codec::{g711, gsm};

const PCM: u16 = 1;
const ALAW: u16 = 6;
const ULAW: u16 = 7;
/// GSM 06.10: blocks of 65 bytes, 40 ms each.
const GSM: u16 = 0x31;
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
