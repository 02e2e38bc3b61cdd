//! What our side can do: the input of offers and answers.

use std::net::{IpAddr, SocketAddr};

use crate::sdp::Direction;

/// A codec that we can receive and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecCapability {
    /// Encoding name of RFC 3551 or its registration: `PCMU`, `opus`. Compared without case.
    pub name: String,
    /// RTP clock rate, Hz (8000 for G722, RFC 3551 §4.5.2).
    pub clock_rate: u32,
    /// Channels; 1 is not written.
    pub channels: u8,
    /// The payload type: static (0-95), or the preferred dynamic one (96-127). `None`: the first free dynamic one.
    pub payload_type: Option<u8>,
    /// Format parameters that we write (`a=fmtp`), empty for none.
    pub fmtp: String,
}

impl CodecCapability {
    /// A codec of one channel without format parameters.
    #[must_use]
    pub fn new(name: &str, clock_rate: u32, payload_type: Option<u8>) -> Self {
        Self {
            name: name.to_owned(),
            clock_rate,
            channels: 1,
            payload_type,
            fmtp: String::new(),
        }
    }

    /// G.711 mu-law, payload type 0.
    #[must_use]
    pub fn pcmu() -> Self {
        Self::new("PCMU", 8000, Some(0))
    }

    /// G.711 A-law, payload type 8.
    #[must_use]
    pub fn pcma() -> Self {
        Self::new("PCMA", 8000, Some(8))
    }
}

/// Whose order of codecs counts in an answer.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// Ours, as the endpoint's `allow` lists them (the default of `incoming_call_offer_pref`).
    #[default]
    Local,
    /// The offer's.
    Remote,
}

/// What our side can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Codecs, most wanted first.
    pub codecs: Vec<CodecCapability>,
    /// DTMF by RFC 4733.
    pub dtmf: bool,
    /// The payload type we offer for it.
    pub dtmf_payload_type: u8,
    /// Packet time that we ask for and use unless asked otherwise, ms.
    pub ptime_ms: u8,
    /// Whether the remote's wish (`a=ptime`) counts; its limit (`a=maxptime`) always does.
    pub use_ptime: bool,
    /// Longest packet that we take, ms; not written where `None`.
    pub maxptime_ms: Option<u8>,
    /// RTCP may share the port of RTP (RFC 5761): offered, and accepted where offered.
    pub rtcp_mux: bool,
    /// Whose order counts in answers.
    pub preference: Preference,
    /// Answer with the first common codec alone (`preferred_codec_only`).
    pub single_codec: bool,
}

impl Default for Capabilities {
    /// PCMU and PCMA with telephone-event 101, 20 ms.
    fn default() -> Self {
        Self {
            codecs: vec![CodecCapability::pcmu(), CodecCapability::pcma()],
            dtmf: true,
            dtmf_payload_type: 101,
            ptime_ms: 20,
            use_ptime: true,
            maxptime_ms: None,
            rtcp_mux: false,
            preference: Preference::Local,
            single_codec: false,
        }
    }
}

/// Our end of the stream.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// Where we receive RTP, as the remote has to know it.
    pub rtp: SocketAddr,
    /// The port where we receive RTCP; written as `a=rtcp` unless it is the one after RTP (RFC 3605).
    pub rtcp_port: u16,
    /// What we want: `SendRecv`, or `SendOnly`/`Inactive` to put the remote on hold.
    pub direction: Direction,
}

impl LocalMedia {
    /// Both directions, RTCP on the next port.
    #[must_use]
    pub const fn new(rtp: SocketAddr) -> Self {
        Self {
            rtp,
            rtcp_port: rtp.port().saturating_add(1),
            direction: Direction::SendRecv,
        }
    }

    /// The same with another direction.
    #[must_use]
    pub const fn with_direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    pub(super) const fn ip(&self) -> IpAddr {
        self.rtp.ip()
    }
}
