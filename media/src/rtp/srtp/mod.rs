//! Secure RTP and RTCP (RFC 3711) with the suites of RFC 3711, RFC 6188 and RFC 7714. Sans-IO: keys and packets go in,
//! the packets are changed where they lie.
//!
//! What lives here: key derivation, ciphers and tags, packet indexes with their roll-over counters, replay windows, the
//! change of keys. What never does: how keys are exchanged (SDES is signalling's affair, DTLS would be a handshake beside
//! this). A [`Session`] is what one leg has; [`Inbound`] and [`Outbound`] are its two directions.

mod derive;
mod inbound;
mod keys;
mod outbound;
mod session;
mod transform;
mod window;

#[cfg(test)]
mod network;
#[cfg(test)]
mod vectors;

pub use inbound::Inbound;
pub use keys::{KeyError, MasterKey, SrtpKeys, Suite};
pub use outbound::Outbound;
pub use session::Session;

/// Most bytes that protection adds to an RTP packet: the tag. We never send a master key identifier.
pub const OVERHEAD_MAX: usize = 16;
/// Most bytes that protection adds to an RTCP packet: tag and index.
pub const CONTROL_OVERHEAD_MAX: usize = OVERHEAD_MAX + 4;

/// Why a packet was not accepted, or cannot be sent.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("the authentication tag is wrong")]
    Auth,
    #[error("a packet with this index was accepted before, or it is older than the replay window")]
    Replay,
    #[error("the packet is too short to be a protected one")]
    Unprotected,
    #[error("the master key has protected as many packets as it may")]
    Expired,
    #[error("the packet has a number that was sent already, or there is no room for its tag")]
    NotSent,
}

/// SSRC and sequence number of an RTP packet, and where its payload begins, as far as they can be read before the packet
/// is authenticated (RFC 3711 §3.1: header, contributing sources and extension are not encrypted).
fn rtp_header(packet: &[u8]) -> Option<(u32, u16, usize)> {
    let &[first, _, s0, s1, _, _, _, _, i0, i1, i2, i3] = packet.first_chunk::<12>()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut start = 12 + 4 * usize::from(first & 15);
    if first & 0x10 != 0 {
        let &[high, low] = packet.get(start + 2..)?.first_chunk::<2>()?;
        start += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    }
    (start <= packet.len()).then_some((
        u32::from_be_bytes([i0, i1, i2, i3]),
        u16::from_be_bytes([s0, s1]),
        start,
    ))
}

/// Bytes of an RTCP packet that are never encrypted: the first header with the sender's SSRC (RFC 3711 §3.4).
const CONTROL_HEADER: usize = 8;

/// The SSRC of an RTCP packet's sender.
fn control_ssrc(packet: &[u8]) -> Option<u32> {
    let &[first, _, _, _, i0, i1, i2, i3] = packet.first_chunk::<CONTROL_HEADER>()?;
    (first >> 6 == 2).then_some(u32::from_be_bytes([i0, i1, i2, i3]))
}
