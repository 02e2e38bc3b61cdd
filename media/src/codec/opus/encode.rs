//! Samples to packets of Opus.

use ::opus::{Application, Bandwidth, Bitrate, Channels, Signal};

use crate::codec::{CodecError, EncoderOptions, PAYLOAD_MAX};

/// An encoder with one channel.
#[derive(Debug)]
pub(in crate::codec) struct Encoder {
    inner: ::opus::Encoder,
    rate: u32,
    dtx: bool,
}

impl Encoder {
    pub(in crate::codec) fn new(
        wanted_hz: u32,
        options: &EncoderOptions,
    ) -> Result<Self, CodecError> {
        let rate = super::rate_for(wanted_hz);
        let mut inner = ::opus::Encoder::new(rate, Channels::Mono, Application::Voip)?;
        inner.set_signal(Signal::Voice)?;
        inner.set_complexity(i32::from(options.complexity.min(10)))?;
        let bitrate = options.bitrate.clamp(6000, 510_000);
        inner.set_bitrate(Bitrate::Bits(bitrate as i32))?;
        inner.set_vbr(!options.cbr)?;
        inner.set_inband_fec(options.fec)?;
        inner.set_packet_loss_perc(i32::from(options.expected_loss_percent.min(100)))?;
        inner.set_dtx(options.dtx)?;
        inner.set_max_bandwidth(match options.playback_rate {
            // RFC 7587 §6.1: nothing is gained by more than the receiver can play.
            0..=8000 => Bandwidth::Narrowband,
            8001..=12_000 => Bandwidth::Mediumband,
            12_001..=16_000 => Bandwidth::Wideband,
            16_001..=24_000 => Bandwidth::Superwideband,
            _ => Bandwidth::Fullband,
        })?;
        Ok(Self {
            inner,
            rate,
            dtx: options.dtx,
        })
    }

    pub(in crate::codec) fn rate(&self) -> u32 {
        self.rate
    }

    /// One packet; 0: nothing is to be sent (DTX).
    pub(in crate::codec) fn encode(
        &mut self,
        samples: &[i16],
        payload: &mut [u8],
    ) -> Result<usize, CodecError> {
        // Up to 60 ms: what has a packet time.
        if samples.is_empty() || samples.len() > self.rate as usize * 60 / 1000 {
            return Err(CodecError::FrameSize(samples.len()));
        }
        let room = payload.len().min(PAYLOAD_MAX);
        let bytes = self.inner.encode(samples, &mut payload[..room])?;
        // A packet of one or two bytes says that nothing changed.
        Ok(if self.dtx && bytes <= 2 { 0 } else { bytes })
    }

    /// The loss that the receiver reports, percent: how much is spent on forward error correction.
    pub(in crate::codec) fn set_expected_loss(&mut self, percent: u8) -> Result<(), CodecError> {
        Ok(self
            .inner
            .set_packet_loss_perc(i32::from(percent.min(100)))?)
    }

    pub(in crate::codec) fn reset(&mut self) {
        // Cannot fail: the request has no argument.
        let _ = self.inner.reset_state();
    }
}
