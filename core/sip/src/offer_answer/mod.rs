//! Offer and answer: RFC 3264, for one audio stream, and what two telephones send each other beside it.
//!
//! A [`Session`] remembers what was described in one dialog: it makes offers and answers from [`Capabilities`], applies
//! the other side's, and says what was [`Agreed`]. Streams that we do not speak are refused in their place. Never here:
//! sockets and ports (the caller passes them), codecs themselves, messages that carry the descriptions.

mod capability;
mod fax;
mod security;
mod select;
mod session;
mod video;

use std::net::SocketAddr;

pub use capability::{Capabilities, CodecCapability, LocalMedia, Preference};
pub use fax::FaxStream;
pub use security::{AgreedCrypto, Sdes, Security};
pub use session::Session;
pub use video::{AgreedVideo, VideoStream};

use crate::sdp::Direction;

/// A codec that both sides speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedCodec {
    /// The encoding name as in our capabilities (`PCMU`).
    pub name: String,
    /// RTP clock rate, Hz.
    pub clock_rate: u32,
    /// Channels, 1 where not written.
    pub channels: u8,
    /// The payload type that we receive.
    pub our_pt: u8,
    /// The payload type that we send.
    pub remote_pt: u8,
    /// The remote's format parameters (`a=fmtp`), empty where absent.
    pub remote_fmtp: String,
}

/// What offer and answer settled, seen from our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Where to send RTP; `None`: the remote wants nothing (`0.0.0.0`, port 0).
    pub remote_rtp: Option<SocketAddr>,
    /// Where to send RTCP: `a=rtcp`, or the port after that of RTP.
    pub remote_rtcp: Option<SocketAddr>,
    /// At least one unless the stream is refused; send with the first, be ready to receive all.
    pub codecs: Vec<AgreedCodec>,
    /// RFC 4733 payload types: ours (receive) and the remote's (send).
    pub dtmf: Option<(u8, u8)>,
    /// Clock rate of these events, Hz.
    pub dtmf_clock: u32,
    /// What we may do: `SendOnly` means that we send and the remote listens.
    pub direction: Direction,
    /// How much audio to put in a packet, ms, 10 to 60.
    pub ptime_ms: u8,
    /// The keys of both sides; `None`: plain RTP.
    pub crypto: Option<AgreedCrypto>,
    /// RTCP goes through the port of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// The remote wants extended reports about a voice call (RFC 3611 §5.1: `rcvr-rtt` or `voip-metrics`).
    pub rtcp_xr: bool,
    /// The remote does not want to hear us although we would send: it put us on hold.
    pub on_hold: bool,
}

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferAnswerError {
    /// No audio stream over RTP.
    #[error("no usable audio stream")]
    NoAudio,
    /// An audio stream, but no codec in common.
    #[error("no common codec: the other side offers {offered}")]
    NoCommonCodec {
        /// What it offers, for the log.
        offered: String,
    },
    /// Encrypted media is wanted by one side and impossible with the other; the text says why.
    #[error("{0}")]
    Encryption(String),
    /// No key could be made.
    #[error("the system gives no random numbers for a key")]
    NoRandomness,
    /// No address, a host name, or of another family than ours.
    #[error("no usable connection address")]
    Address,
    /// The answer has not as many streams as the offer (RFC 3264 §6).
    #[error("the answer has {answered} streams, the offer had {offered}")]
    StreamCount {
        /// In our offer.
        offered: usize,
        /// In the answer.
        answered: usize,
    },
    /// An offer came while ours has no answer (RFC 3261 §14.2), or we wanted to make another.
    #[error("an offer is waiting for its answer")]
    OfferPending,
    /// An answer came, but we made no offer.
    #[error("an answer without an offer")]
    NoOffer,
}

impl OfferAnswerError {
    /// The status for the request that brought the description.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::OfferPending => 491,
            Self::NoRandomness => 500,
            Self::NoOffer | Self::StreamCount { .. } => 400,
            Self::NoAudio | Self::NoCommonCodec { .. } | Self::Encryption(_) | Self::Address => 488,
        }
    }

    /// The Warning code that explains a 488 (RFC 3261 §20.43).
    #[must_use]
    pub fn warning(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::NoAudio => Some((304, "Media type not available")),
            Self::NoCommonCodec { .. } => Some((305, "Incompatible media format")),
            Self::Address => Some((301, "Incompatible network address formats")),
            _ => None,
        }
    }
}
