//! Opus in Ogg (RFC 7845), one channel.

use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, Channels, Encoder};

/// Opus counts samples of this rate, whatever it is given (RFC 7845 §4).
const RATE: u32 = 48_000;
const BITRATE: i32 = 24_000;
/// Of 0..=10: speech gains nothing worth hearing from more, at this rate.
const COMPLEXITY: i32 = 5;
/// More than a packet of 20 ms at this rate takes.
const PACKET_MAX: usize = 1500;

/// One logical stream. Each call of [`OpusFile::samples`] ends a page, so that a file that is cut off there plays up to it.
pub(super) struct OpusFile {
    encoder: Encoder,
    pages: PacketWriter<'static, Vec<u8>>,
    serial: u32,
    /// Samples of 20 ms.
    frame: usize,
    /// Of how many samples of [`RATE`] one of ours is worth.
    ratio: u64,
    pre_skip: u64,
    lookahead: usize,
    pending: Vec<i16>,
    taken: u64,
    coded: u64,
}

impl OpusFile {
    /// For samples of `rate` Hz: 8000, 12,000, 16,000, 24,000 or 48,000. `serial` tells the streams of one file apart.
    pub(super) fn new(rate: u32, serial: u32) -> Result<Self, String> {
        let text = |error: opus::Error| error.to_string();
        let mut encoder = Encoder::new(rate, Channels::Mono, Application::Voip).map_err(text)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE)).map_err(text)?;
        encoder.set_complexity(COMPLEXITY).map_err(text)?;
        let lookahead = usize::try_from(encoder.get_lookahead().map_err(text)?).unwrap_or(0);
        let ratio = u64::from(RATE / rate);
        let pre_skip = lookahead as u64 * ratio;
        let mut this = Self {
            encoder,
            pages: PacketWriter::new(Vec::new()),
            serial,
            frame: rate as usize / 50,
            ratio,
            pre_skip,
            lookahead,
            pending: Vec::new(),
            taken: 0,
            coded: 0,
        };
        this.headers(rate)?;
        Ok(this)
    }

    /// RFC 7845 §5.1 and §5.2.
    fn headers(&mut self, rate: u32) -> Result<(), String> {
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend_from_slice(&(self.pre_skip as u16).to_le_bytes());
        head.extend_from_slice(&rate.to_le_bytes());
        // No gain; mapping family 0: one stream.
        head.extend_from_slice(&[0, 0, 0]);
        let vendor = b"strowger";
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
        tags.extend_from_slice(vendor);
        tags.extend_from_slice(&0_u32.to_le_bytes());
        for packet in [head, tags] {
            self.page(packet, PacketWriteEndInfo::EndPage, 0)?;
        }
        Ok(())
    }

    /// Adds what can be made of these samples to `out`.
    pub(super) fn samples(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), String> {
        self.taken += samples.len() as u64;
        self.pending.extend_from_slice(samples);
        let whole = self.pending.len() / self.frame;
        for number in 1..=whole {
            let end = if number == whole {
                PacketWriteEndInfo::EndPage
            } else {
                PacketWriteEndInfo::NormalPacket
            };
            self.frame(end, None)?;
        }
        out.append(self.pages.inner_mut());
        Ok(())
    }

    /// Adds the end to `out`.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        // What the encoder has not given back yet is pushed out by silence; the last page says where the sound ends
        // (RFC 7845 §4.4).
        let rest = self.pending.len() + self.lookahead;
        let frames = rest.div_ceil(self.frame).max(1);
        self.pending.resize(frames * self.frame, 0);
        let end = self.pre_skip + self.taken * self.ratio;
        for number in 1..=frames {
            if number == frames {
                self.frame(PacketWriteEndInfo::EndStream, Some(end))?;
            } else {
                self.frame(PacketWriteEndInfo::NormalPacket, None)?;
            }
        }
        out.append(self.pages.inner_mut());
        Ok(())
    }

    fn frame(&mut self, end: PacketWriteEndInfo, position: Option<u64>) -> Result<(), String> {
        let Some(frame) = self.pending.get(..self.frame) else {
            return Ok(());
        };
        let packet = self
            .encoder
            .encode_vec(frame, PACKET_MAX)
            .map_err(|error| error.to_string())?;
        self.pending.drain(..self.frame);
        self.coded += self.frame as u64;
        let position = position.unwrap_or(self.coded * self.ratio);
        self.page(packet, end, position)
    }

    fn page(
        &mut self,
        packet: Vec<u8>,
        end: PacketWriteEndInfo,
        position: u64,
    ) -> Result<(), String> {
        self.pages
            .write_packet(packet, self.serial, end, position)
            .map_err(|error| error.to_string())
    }
}
