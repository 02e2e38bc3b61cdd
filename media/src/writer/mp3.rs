//! MPEG layer III by LAME.

use mp3lame_encoder::{
    Bitrate, Builder, Encoder, FlushGap, InterleavedPcm, Mode, MonoPcm, Quality,
};

/// Samples of one channel that are given to LAME at a time.
const CHUNK: usize = 8192;
/// What LAME may need for the end, and for its tag frame (its own figures).
const FLUSH_BYTES: usize = 7200;
const TAG_BYTES: usize = 4096;

/// Encodes 16 bit samples of one or two channels into an MP3 stream of constant bit rate: 24 kbit/s for a channel of 8000
/// Hz, 32 up to 24 kHz, 64 above. The first frame names the length and the encoder's delay, so that a player can cut
/// both ends: [`Mp3Encoder::finish`] gives it.
pub struct Mp3Encoder {
    lame: Encoder,
    channels: usize,
}

impl std::fmt::Debug for Mp3Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mp3Encoder")
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

impl Mp3Encoder {
    /// For samples of `rate` Hz (one that MPEG knows: 8000, 16,000, 48,000 and those between) in 1 or 2 channels.
    /// `tag`: begin with a frame that is to be replaced by what [`Mp3Encoder::finish`] gives.
    pub fn new(rate: u32, channels: u16, tag: bool) -> Result<Self, String> {
        let mut builder = Builder::new().ok_or("LAME has no memory")?;
        let stereo = channels == 2;
        let bitrate = match (rate, stereo) {
            (..=12_000, false) => Bitrate::Kbps24,
            (..=12_000, true) => Bitrate::Kbps48,
            (..=24_000, false) => Bitrate::Kbps32,
            (..=24_000, true) => Bitrate::Kbps64,
            (_, false) => Bitrate::Kbps64,
            (_, true) => Bitrate::Kbps128,
        };
        let text = |error: mp3lame_encoder::BuildError| error.to_string();
        let rate_out = std::num::NonZeroU32::new(rate);
        builder
            .set_num_channels(if stereo { 2 } else { 1 })
            .map_err(text)?;
        builder.set_sample_rate(rate).map_err(text)?;
        builder.set_output_sample_rate(rate_out).map_err(text)?;
        builder.set_brate(bitrate).map_err(text)?;
        // Two people speak on the two channels: nothing for a joint coding to win.
        builder
            .set_mode(if stereo { Mode::Stereo } else { Mode::Mono })
            .map_err(text)?;
        builder.set_quality(Quality::Good).map_err(text)?;
        builder.set_to_write_vbr_tag(tag).map_err(text)?;
        Ok(Self {
            lame: builder.build().map_err(text)?,
            channels: if stereo { 2 } else { 1 },
        })
    }

    /// Adds what can be made of these (interleaved) samples to `out`.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), String> {
        for part in samples.chunks(CHUNK * self.channels) {
            let count = part.len() / self.channels;
            out.reserve(mp3lame_encoder::max_required_buffer_size(count));
            let result = if self.channels == 2 {
                let whole = part.get(..2 * count).unwrap_or_default();
                self.lame.encode_to_vec(InterleavedPcm(whole), out)
            } else {
                self.lame.encode_to_vec(MonoPcm(part), out)
            };
            result.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Adds the last frames to `out`, and gives what replaces the first bytes of the stream (nothing if no tag was asked
    /// for).
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
        out.reserve(FLUSH_BYTES);
        self.lame
            .flush_to_vec::<FlushGap>(out)
            .map_err(|error| error.to_string())?;
        if !self.lame.is_lame_tag_written() {
            return Ok(None);
        }
        let mut tag = Vec::with_capacity(TAG_BYTES);
        let written = self.lame.lame_tag_encode_to_vec(&mut tag);
        Ok(written.map(|_| tag))
    }
}
