//! Secure RTP on the paths of the engine: the few lines that a leg with keys takes and a plain one does not.

use std::net::SocketAddr;
use std::time::Instant;

use super::leg::{Drop, Leg};
use crate::counters::Counters;
use crate::rtp::srtp::{Refused, Session, SrtpKeys};

/// Longest RTCP packet that is made plain; it is copied for that.
const CONTROL_MAX: usize = 1500;

impl Leg {
    /// Takes the keys that were negotiated. A leg that never had any keeps nothing.
    pub(super) fn set_keys(&mut self, now: Instant, keys: Option<SrtpKeys>) {
        if keys.is_none() && self.srtp.is_none() {
            return;
        }
        if self.srtp.get_or_insert_default().update(now, keys) {
            self.sender.renew();
        }
    }

    /// Makes a received RTP packet plain in place and says how long it is then.
    #[inline(never)]
    pub(super) fn unprotect(
        &mut self,
        now: Instant,
        source: Option<SocketAddr>,
        packet: &mut [u8],
    ) -> Result<usize, Drop> {
        let config = self.config.as_ref().ok_or(Drop::Unconfigured)?;
        // Strangers get no work out of us.
        if !self.admits(now, config, source) {
            return Err(Drop::WrongSource);
        }
        match &mut self.srtp {
            Some(srtp) => srtp.unprotect(now, packet).map_err(reason),
            None => Ok(packet.len()),
        }
    }

    /// Protects the RTP packet `buffer[..end]` in place, with what room is behind it, and says where it ends then.
    #[inline]
    pub(super) fn protect(&mut self, buffer: &mut [u8], end: usize) -> Result<usize, Drop> {
        match &mut self.srtp {
            Some(srtp) => srtp.protect(buffer, end).map_err(reason),
            None => Ok(end),
        }
    }

    /// The same for an RTCP packet; what cannot be protected is counted and not sent.
    pub(super) fn protect_control(
        &mut self,
        counters: &Counters,
        buffer: &mut [u8],
        end: usize,
    ) -> Option<usize> {
        let protected = match &mut self.srtp {
            Some(srtp) => srtp.protect_control(buffer, end).map_err(reason),
            None => return Some(end),
        };
        protected
            .inspect_err(|why| self.drop_packet(counters, *why))
            .ok()
    }
}

/// A received RTCP packet of a leg, plain.
pub(super) struct PlainControl {
    bytes: [u8; CONTROL_MAX],
}

impl PlainControl {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; CONTROL_MAX],
        }
    }

    pub(super) fn of<'a>(
        &'a mut self,
        now: Instant,
        srtp: &mut Session,
        packet: &[u8],
    ) -> Result<&'a [u8], Drop> {
        let plain = self.bytes.get_mut(..packet.len()).ok_or(Drop::Invalid)?;
        plain.copy_from_slice(packet);
        let length = srtp.unprotect_control(now, plain).map_err(reason)?;
        self.bytes.get(..length).ok_or(Drop::Invalid)
    }
}

fn reason(refused: Refused) -> Drop {
    match refused {
        Refused::Auth => Drop::SrtpAuth,
        Refused::Replay => Drop::SrtpReplay,
        Refused::Unprotected => Drop::SrtpUnprotected,
        Refused::Expired => Drop::SrtpExpired,
        Refused::NotSent => Drop::SrtpNotSent,
    }
}
