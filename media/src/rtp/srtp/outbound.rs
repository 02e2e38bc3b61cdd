//! What we send: encrypted and tagged.

use super::keys::MasterKey;
use super::transform::Transform;
use super::window::Window;
use super::{Refused, control_ssrc, rtp_header};

/// The index of RTCP packets has 31 bits.
const CONTROL_INDEX_MAX: u32 = (1 << 31) - 1;

/// The sending direction under one master key: one RTP stream at a time, as a leg sends it.
pub struct Outbound {
    key: MasterKey,
    rtp: Transform,
    rtcp: Transform,
    /// The stream and the indexes sent in it.
    stream: Option<(u32, Window)>,
    packets: u64,
    control_packets: u64,
    /// The index of the next RTCP packet.
    control_index: u32,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("key", &self.key)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    /// Nothing sent yet.
    pub fn new(key: MasterKey) -> Self {
        Self::going_on(key, 0)
    }

    /// A new key in a session that sent RTCP before: its index goes on (RFC 3711 §3.4: after a change of keys it must not
    /// be reset). So no index is used twice with a key that returns.
    #[must_use]
    pub fn going_on(key: MasterKey, control_index: u32) -> Self {
        Self {
            rtp: Transform::rtp(&key),
            rtcp: Transform::rtcp(&key),
            stream: None,
            packets: 0,
            control_packets: 0,
            control_index,
            key,
        }
    }

    /// The index of the next RTCP packet.
    pub fn control_index(&self) -> u32 {
        self.control_index
    }

    /// The key.
    pub fn key(&self) -> &MasterKey {
        &self.key
    }

    /// The sequence numbers have wrapped: a receiver that joins now cannot know how often.
    pub fn has_wrapped(&self) -> bool {
        self.stream
            .is_some_and(|(_, window)| window.newest() >> 16 != 0)
    }

    /// Protects the packet `buffer[..end]` where it lies and says where it ends then. There has to be room behind it:
    /// [`super::OVERHEAD_MAX`] bytes always suffice. A new SSRC begins with roll-over counter zero.
    ///
    /// # Errors
    /// No room; the key is used up; a packet with this number was sent already (the same number must never protect two
    /// packets, RFC 3711 §9.1), or is too old to know.
    #[inline]
    pub fn protect(&mut self, buffer: &mut [u8], end: usize) -> Result<usize, Refused> {
        let packet = buffer.get(..end).ok_or(Refused::NotSent)?;
        let (ssrc, sequence, payload) = rtp_header(packet).ok_or(Refused::NotSent)?;
        if self.packets >= self.key.lifetimes().0 {
            return Err(Refused::Expired);
        }
        let stream = self.stream.filter(|(known, _)| *known == ssrc);
        let index = match stream {
            Some((_, window)) => window
                .estimate(sequence)
                .filter(|index| window.is_fresh(*index))
                .ok_or(Refused::NotSent)?,
            None => u64::from(sequence),
        };
        let length = self.rtp.protect(buffer, payload, end, ssrc, index)?;
        match &mut self.stream {
            Some((known, window)) if *known == ssrc => window.mark(index),
            stream => *stream = Some((ssrc, Window::new(index))),
        }
        self.packets += 1;
        Ok(length)
    }

    /// The same for the RTCP packet `buffer[..end]`; [`super::CONTROL_OVERHEAD_MAX`] bytes of room always suffice.
    ///
    /// # Errors
    /// No room, or the key is used up.
    pub fn protect_control(&mut self, buffer: &mut [u8], end: usize) -> Result<usize, Refused> {
        let packet = buffer.get(..end).ok_or(Refused::NotSent)?;
        let ssrc = control_ssrc(packet).ok_or(Refused::NotSent)?;
        let index = self.control_index;
        if self.control_packets >= self.key.lifetimes().1 || index > CONTROL_INDEX_MAX {
            return Err(Refused::Expired);
        }
        let length = self.rtcp.protect_control(buffer, end, ssrc, index)?;
        self.control_packets += 1;
        self.control_index = index + 1;
        Ok(length)
    }
}
