//! Packets of Opus to samples, at the rate that is wanted: libopus brings its bands there more cheaply than a resampler.

use ::opus::Channels;

use super::packet;
use crate::codec::{CodecError, Concealed};

/// A decoder with one channel; stereo is mixed down (RFC 7587 §3.4).
#[derive(Debug)]
pub(in crate::codec) struct Decoder {
    inner: ::opus::Decoder,
    rate: u32,
}

impl Decoder {
    pub(in crate::codec) fn new(wanted_hz: u32) -> Result<Self, CodecError> {
        let rate = super::rate_for(wanted_hz);
        let inner = ::opus::Decoder::new(rate, Channels::Mono)?;
        Ok(Self { inner, rate })
    }

    pub(in crate::codec) fn rate(&self) -> u32 {
        self.rate
    }

    pub(in crate::codec) fn decode(
        &mut self,
        payload: &[u8],
        out: &mut [i16],
    ) -> Result<usize, CodecError> {
        // An empty packet would be taken for a lost one.
        let samples = packet::samples(payload).ok_or(CodecError::Broken)?;
        let needed = u64::from(samples) * u64::from(self.rate) / 48_000;
        if needed > out.len() as u64 {
            return Err(CodecError::TooLong);
        }
        Ok(self.inner.decode(payload, out, false)?)
    }

    /// Fills all of `out`, by what `next` carries of the packet before it, else by extrapolation.
    pub(in crate::codec) fn conceal(&mut self, next: Option<&[u8]>, out: &mut [i16]) -> Concealed {
        let fec = next.filter(|next| packet::carries_fec(next));
        let how = if fec.is_some() {
            Concealed::Fec
        } else {
            Concealed::Estimated
        };
        // libopus takes multiples of 2.5 ms, up to 120 ms.
        let grain = self.rate as usize / 400;
        let whole = out.len() - out.len() % grain;
        let longest = 48 * grain;
        let (early, last) = out[..whole].split_at_mut(whole.saturating_sub(longest));
        let mut done = true;
        for part in early.chunks_mut(longest) {
            done &= self.inner.decode(&[], part, false).is_ok();
        }
        if !last.is_empty() {
            done &= match fec {
                Some(next) => self.inner.decode(next, last, true).is_ok(),
                None => self.inner.decode(&[], last, false).is_ok(),
            };
        }
        out[whole..].fill(0);
        if !done {
            out.fill(0);
            return Concealed::Estimated;
        }
        how
    }

    pub(in crate::codec) fn reset(&mut self) {
        // Cannot fail: the request has no argument.
        let _ = self.inner.reset_state();
    }
}
