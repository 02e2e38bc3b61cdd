//! Both directions of a leg, and how keys change in mid-call.

use std::time::{Duration, Instant};

use super::{Inbound, Outbound, Refused, SrtpKeys};

/// After a change of keys, packets that were still on the way are accepted under the old one for so long (RFC 3264 §8.3.1:
/// media may arrive under the old description while the new one is answered).
const OVERLAP: Duration = Duration::from_secs(2);

/// What protects one leg.
#[derive(Debug, Default)]
pub struct Session {
    outbound: Option<Outbound>,
    /// Where the index of RTCP packets stood under the key before, should the leg have become plain.
    control_index: u32,
    inbound: Option<Inbound>,
    /// The key before. It stays here when its time is over, until the next change: packets free no memory.
    before: Option<Box<Before>>,
}

#[derive(Debug)]
struct Before {
    inbound: Inbound,
    until: Instant,
}

impl Session {
    /// Takes what was negotiated; `None`: the leg is plain from now on. A direction whose key is the same goes on as it
    /// was. True when the stream that is sent needs a new SSRC: under a new key a receiver cannot tell whether its
    /// roll-over counter goes on (RFC 3711 §3.3.1) or began anew (RFC 4568 §7.1.4); in a new stream it is zero for
    /// everybody.
    pub fn update(&mut self, now: Instant, keys: Option<SrtpKeys>) -> bool {
        let (send, receive) = match keys {
            Some(keys) => (Some(keys.send), Some(keys.receive)),
            None => (None, None),
        };
        let mut renew = false;
        if self.outbound.as_ref().map(Outbound::key) != send.as_ref() {
            if let Some(old) = &self.outbound {
                renew = old.has_wrapped();
                self.control_index = old.control_index();
            }
            self.outbound = send.map(|key| Outbound::going_on(key, self.control_index));
        }
        if self.inbound.as_ref().map(Inbound::key) != receive.as_ref() {
            let old = self.inbound.take();
            self.inbound = receive.map(|key| match &old {
                Some(old) => old.succeeded_by(key),
                None => Inbound::new(key),
            });
            let until = now + OVERLAP;
            self.before = old.map(|inbound| Box::new(Before { inbound, until }));
        }
        renew
    }

    /// Makes a received RTP packet plain where it lies and says how long it is then.
    ///
    /// # Errors
    /// As [`Inbound::unprotect`]. Never while the leg is plain.
    #[inline]
    pub fn unprotect(&mut self, now: Instant, packet: &mut [u8]) -> Result<usize, Refused> {
        if self.before.is_none()
            && let Some(inbound) = &mut self.inbound
        {
            return inbound.unprotect(packet);
        }
        self.in_change(now, packet, Inbound::unprotect)
    }

    /// The same for an RTCP packet.
    ///
    /// # Errors
    /// As [`Inbound::unprotect_control`]. Never while the leg is plain.
    pub fn unprotect_control(&mut self, now: Instant, packet: &mut [u8]) -> Result<usize, Refused> {
        self.in_change(now, packet, Inbound::unprotect_control)
    }

    fn in_change(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        unprotect: impl Fn(&mut Inbound, &mut [u8]) -> Result<usize, Refused>,
    ) -> Result<usize, Refused> {
        let refused = match &mut self.inbound {
            Some(inbound) => match unprotect(inbound, packet) {
                Ok(length) => return Ok(length),
                Err(why) => Some(why),
            },
            None => None,
        };
        if let Some(before) = &mut self.before
            && now < before.until
            && let Ok(length) = unprotect(&mut before.inbound, packet)
        {
            return Ok(length);
        }
        refused.map_or(Ok(packet.len()), Err)
    }

    /// Protects the RTP packet `buffer[..end]` where it lies and says where it ends then.
    ///
    /// # Errors
    /// As [`Outbound::protect`]. Never while the leg is plain.
    #[inline]
    pub fn protect(&mut self, buffer: &mut [u8], end: usize) -> Result<usize, Refused> {
        match &mut self.outbound {
            Some(outbound) => outbound.protect(buffer, end),
            None => Ok(end),
        }
    }

    /// The same for an RTCP packet.
    ///
    /// # Errors
    /// As [`Outbound::protect_control`]. Never while the leg is plain.
    pub fn protect_control(&mut self, buffer: &mut [u8], end: usize) -> Result<usize, Refused> {
        match &mut self.outbound {
            Some(outbound) => outbound.protect_control(buffer, end),
            None => Ok(end),
        }
    }
}
