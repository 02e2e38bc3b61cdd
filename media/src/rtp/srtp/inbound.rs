//! What the remote sends: authenticated, checked against repetition, decrypted.

use super::keys::MasterKey;
use super::transform::Transform;
use super::window::{Window, estimate};
use super::{Refused, control_ssrc, rtp_header};

/// Streams (SSRCs) of one master key that are told apart at a time. One more takes the place of the one that was silent
/// longest: only who has the key can bring one up.
const STREAMS: usize = 16;

/// One SSRC under one key.
#[derive(Copy, Clone, Debug)]
struct Stream {
    ssrc: u32,
    /// `None`: nothing accepted under this key yet.
    window: Option<Window>,
    /// Its newest index under the key before.
    before: u64,
    /// When a packet of it was accepted last, in packets of all streams.
    used: u64,
}

/// The streams of a key, the most recent first to be found.
#[derive(Debug)]
struct Streams {
    list: [Option<Stream>; STREAMS],
    recent: usize,
}

impl Streams {
    const fn new() -> Self {
        Self {
            list: [None; STREAMS],
            recent: 0,
        }
    }

    #[inline]
    fn find(&mut self, ssrc: u32) -> Option<&mut Stream> {
        let is_it = |stream: &Option<Stream>| stream.as_ref().is_some_and(|s| s.ssrc == ssrc);
        let at = if self.list.get(self.recent).is_some_and(is_it) {
            self.recent
        } else {
            self.list.iter().position(is_it)?
        };
        self.recent = at;
        self.list.get_mut(at)?.as_mut()
    }

    #[cold]
    fn insert(&mut self, stream: Stream) {
        let oldest = self
            .list
            .iter_mut()
            .min_by_key(|slot| slot.as_ref().map(|stream| stream.used));
        if let Some(slot) = oldest {
            *slot = Some(stream);
        }
    }

    /// Notes an accepted packet.
    #[inline]
    fn accept(&mut self, ssrc: u32, index: u64, used: u64) {
        if let Some(stream) = self.find(ssrc) {
            stream.used = used;
            match &mut stream.window {
                Some(window) => window.mark(index),
                None => stream.window = Some(Window::new(index)),
            }
        } else {
            self.insert(Stream {
                ssrc,
                window: Some(Window::new(index)),
                before: 0,
                used,
            });
        }
    }
}

/// The receiving direction under one master key.
pub struct Inbound {
    key: MasterKey,
    rtp: Transform,
    rtcp: Transform,
    streams: Streams,
    control: Streams,
    packets: u64,
    control_packets: u64,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("key", &self.key)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

impl Inbound {
    /// Nothing received yet.
    pub fn new(key: MasterKey) -> Self {
        Self {
            rtp: Transform::rtp(&key),
            rtcp: Transform::rtcp(&key),
            streams: Streams::new(),
            control: Streams::new(),
            packets: 0,
            control_packets: 0,
            key,
        }
    }

    /// A new key after this one. By RFC 3711 §3.3.1 the roll-over counters of its streams go on; by RFC 4568 §7.1.4 and in
    /// most telephones they begin at zero again. The first packet of each stream shows which.
    #[must_use]
    pub fn succeeded_by(&self, key: MasterKey) -> Self {
        let mut next = Self::new(key);
        for (slot, stream) in next.streams.list.iter_mut().zip(&self.streams.list) {
            *slot = stream.map(|stream| Stream {
                window: None,
                before: stream
                    .window
                    .map_or(stream.before, |window| window.newest()),
                used: 0,
                ..stream
            });
        }
        next
    }

    /// The key.
    pub fn key(&self) -> &MasterKey {
        &self.key
    }

    /// Makes a packet plain where it lies and says how long it is then. On `Err` its bytes are unchanged and nothing is
    /// noted.
    ///
    /// # Errors
    /// The packet is not authentic, comes again, or the key is used up.
    #[inline]
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let (ssrc, sequence, payload) = rtp_header(packet).ok_or(Refused::Unprotected)?;
        if self.packets >= self.key.lifetimes().0 {
            return Err(Refused::Expired);
        }
        let mki = self.key.identifier();
        let (index, length) = match self.streams.find(ssrc) {
            Some(Stream {
                window: Some(window),
                ..
            }) => {
                let index = window.estimate(sequence).ok_or(Refused::Replay)?;
                // §3.3 step 3: before the tag is computed.
                if !window.is_fresh(index) {
                    return Err(Refused::Replay);
                }
                let length = self.rtp.unprotect(packet, payload, ssrc, index, mki)?;
                (index, length)
            }
            known => {
                let before = known.map_or(0, |stream| stream.before);
                Self::first(&self.rtp, packet, payload, ssrc, sequence, before, mki)?
            }
        };
        self.packets += 1;
        self.streams.accept(ssrc, index, self.packets);
        Ok(length)
    }

    /// The first packet of a stream under this key: its roll-over counter is not known for sure. It is zero, or what it
    /// was under the key before, or one when the first packets got lost just at the wrap.
    #[cold]
    fn first(
        rtp: &Transform,
        packet: &mut [u8],
        payload: usize,
        ssrc: u32,
        sequence: u16,
        before: u64,
        mki: &[u8],
    ) -> Result<(u64, usize), Refused> {
        let low = u64::from(sequence);
        let wrapped = (sequence < 0x8000).then_some((1 << 16) | low);
        let continued = estimate(before, sequence).filter(|index| before > 0 && *index >> 16 != 0);
        let mut refused = Refused::Auth;
        for index in [continued, Some(low), wrapped].into_iter().flatten() {
            match rtp.unprotect(packet, payload, ssrc, index, mki) {
                Ok(length) => return Ok((index, length)),
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    /// The same for an RTCP packet.
    ///
    /// # Errors
    /// As [`Self::unprotect`].
    pub fn unprotect_control(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let ssrc = control_ssrc(packet).ok_or(Refused::Unprotected)?;
        if self.control_packets >= self.key.lifetimes().1 {
            return Err(Refused::Expired);
        }
        let mki = self.key.identifier();
        let word = self
            .rtcp
            .control_index(packet, mki.len())
            .ok_or(Refused::Unprotected)?;
        let index = u64::from(word & 0x7FFF_FFFF);
        let window = self.control.find(ssrc).and_then(|stream| stream.window);
        if window.is_some_and(|window| !window.is_fresh(index)) {
            return Err(Refused::Replay);
        }
        let length = self.rtcp.unprotect_control(packet, ssrc, word, mki)?;
        self.control_packets += 1;
        self.control.accept(ssrc, index, self.control_packets);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outbound, Suite};
    use super::*;

    fn key(fill: u8) -> MasterKey {
        let suite = Suite::AesCm128Sha1Tag80;
        MasterKey::new(suite, &[fill; 30]).expect("30 bytes")
    }

    fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend([7; 160 + 16]);
        packet
    }

    fn protected(outbound: &mut Outbound, ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut packet = packet(ssrc, sequence);
        let length = outbound.protect(&mut packet, 172).expect("protected");
        packet.truncate(length);
        packet
    }

    #[test]
    fn a_stream_whose_first_packets_got_lost_at_the_wrap_is_heard() {
        let mut outbound = Outbound::new(key(1));
        protected(&mut outbound, 5, 65_535);
        let mut first = protected(&mut outbound, 5, 0);
        let mut inbound = Inbound::new(key(1));
        assert_eq!(inbound.unprotect(&mut first), Ok(172));
        assert_eq!(
            inbound.unprotect(&mut protected(&mut outbound, 5, 1)),
            Ok(172)
        );
    }

    #[test]
    fn streams_of_one_key_are_told_apart_and_bounded() {
        let mut inbound = Inbound::new(key(1));
        for round in 0..3 {
            for ssrc in 0..40 {
                let mut outbound = Outbound::new(key(1));
                let mut bytes = protected(&mut outbound, ssrc, 100 + round);
                assert_eq!(inbound.unprotect(&mut bytes.clone()), Ok(172));
                assert_eq!(inbound.unprotect(&mut bytes), Err(Refused::Replay));
            }
        }
    }

    #[test]
    fn a_forged_stream_displaces_nobody() {
        let mut inbound = Inbound::new(key(1));
        let mut outbound = Outbound::new(key(1));
        let first = protected(&mut outbound, 9, 1);
        assert!(inbound.unprotect(&mut first.clone()).is_ok());
        for ssrc in 1000..1100 {
            let mut forged = first.clone();
            forged[8..12].copy_from_slice(&u32::to_be_bytes(ssrc));
            assert_eq!(inbound.unprotect(&mut forged), Err(Refused::Auth));
        }
        assert_eq!(inbound.unprotect(&mut first.clone()), Err(Refused::Replay));
    }

    #[test]
    fn after_a_change_of_key_the_roll_over_counter_may_go_on_or_begin_anew() {
        let mut old = Outbound::new(key(1));
        let mut inbound = Inbound::new(key(1));
        for sequence in (0..=65_500u16).step_by(100) {
            let mut bytes = protected(&mut old, 3, sequence);
            assert!(inbound.unprotect(&mut bytes).is_ok());
        }
        assert!(inbound.unprotect(&mut protected(&mut old, 3, 20)).is_ok());
        // It goes on: the other side has wrapped once under the new key's context as well.
        let mut goes_on = Outbound::new(key(2));
        protected(&mut goes_on, 3, 65_500);
        let mut next = inbound.succeeded_by(key(2));
        assert!(next.unprotect(&mut protected(&mut goes_on, 3, 25)).is_ok());
        // It begins anew.
        let mut anew = Outbound::new(key(2));
        let mut next = inbound.succeeded_by(key(2));
        assert!(next.unprotect(&mut protected(&mut anew, 3, 25)).is_ok());
        assert!(next.unprotect(&mut protected(&mut anew, 3, 26)).is_ok());
    }

    #[test]
    fn a_key_is_good_for_its_lifetime_and_no_packet_more() {
        let mut outbound = Outbound::new(key(1));
        let mut inbound = Inbound::new(key(1).with_lifetime(2));
        for (sequence, expected) in [(1, Ok(172)), (2, Ok(172)), (3, Err(Refused::Expired))] {
            let mut bytes = protected(&mut outbound, 3, sequence);
            assert_eq!(inbound.unprotect(&mut bytes), expected);
        }
        let mut outbound = Outbound::new(key(1).with_lifetime(2));
        protected(&mut outbound, 3, 1);
        protected(&mut outbound, 3, 2);
        assert_eq!(
            outbound.protect(&mut packet(3, 3), 172),
            Err(Refused::Expired)
        );
    }
}
