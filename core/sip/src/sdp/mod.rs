//! Session descriptions (RFC 8866): read, and written back with every line in its place.
//!
//! Attributes are kept as written, in order, and read when asked for. Which codec to choose and whether an answer fits an
//! offer is decided elsewhere.

mod crypto;
mod media;
mod parse;
mod write;

use std::net::IpAddr;

pub use crypto::{CRYPTO_LENGTH_MAX, CryptoAttribute, CryptoError, CryptoKey, CryptoSuite};
pub use media::{Media, MediaKind, RtcpAttribute, RtpMap};
pub use parse::{SDP_LENGTH_MAX, SDP_LINES_MAX, SdpError};

/// A whole description.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct SessionDescription {
    /// `o=`
    pub origin: Origin,
    /// `s=`
    pub name: String,
    /// `i=`
    pub info: Option<String>,
    /// `u=`
    pub uri: Option<String>,
    /// `e=`
    pub emails: Vec<String>,
    /// `p=`
    pub phones: Vec<String>,
    /// `c=` for every media that has none of its own.
    pub connection: Option<Connection>,
    /// `b=`, as written: `AS:64`.
    pub bandwidths: Vec<String>,
    /// `t=` with its `r=`; written as `0 0` when empty.
    pub times: Vec<Time>,
    /// `z=`
    pub zones: Option<String>,
    /// `k=`
    pub key: Option<String>,
    /// `a=` before the first media.
    pub attributes: Vec<Attribute>,
    /// `m=` with what belongs to each.
    pub media: Vec<Media>,
}

/// `o=`: who made the description, and which version of it this is.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Origin {
    /// User name, `-` for none.
    pub username: String,
    /// Session id, digits as written.
    pub session_id: String,
    /// Version; one more for each change (RFC 3264 §8).
    pub version: u64,
    /// Network, address type and address.
    pub address: Connection,
}

/// `c=`: network, address type, address.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Connection {
    /// `IN`
    pub network: String,
    /// `IP4` or `IP6`
    pub address_type: String,
    /// Address or name, with `/ttl` where written.
    pub address: String,
}

impl Connection {
    /// The internet address.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address
            .split('/')
            .next()
            .and_then(|text| text.parse().ok())
    }

    /// True for `0.0.0.0` and `::`, which ask for silence (RFC 3264 §8.4, RFC 2543).
    #[must_use]
    pub fn is_hold(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }
}

impl From<IpAddr> for Connection {
    fn from(ip: IpAddr) -> Self {
        Self {
            network: "IN".to_owned(),
            address_type: if ip.is_ipv4() { "IP4" } else { "IP6" }.to_owned(),
            address: ip.to_string(),
        }
    }
}

/// `t=` and its repetitions.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Time {
    /// Seconds since 1900; 0: no start.
    pub start: u64,
    /// Seconds since 1900; 0: no end.
    pub stop: u64,
    /// `r=`, as written.
    pub repeats: Vec<String>,
}

/// `a=name` or `a=name:value`.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Attribute {
    /// The name, as written.
    pub name: String,
    /// What follows the colon.
    pub value: Option<String>,
}

impl Attribute {
    /// `a=name`
    #[must_use]
    pub fn flag(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: None,
        }
    }

    /// `a=name:value`
    #[must_use]
    pub fn new(name: &str, value: impl std::fmt::Display) -> Self {
        Self {
            name: name.to_owned(),
            value: Some(value.to_string()),
        }
    }
}

/// Which way media flows, seen by who writes it (RFC 3264 §5.1).
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Default)]
pub enum Direction {
    /// Both ways; the default.
    #[default]
    SendRecv,
    /// Only from the writer.
    SendOnly,
    /// Only to the writer.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction that an attribute names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ]
        .into_iter()
        .find(|d| d.as_str() == name)
    }

    /// From flags: the writer sends, the writer receives.
    #[must_use]
    pub const fn from_flags(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The writer sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The writer receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same seen from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::from_flags(self.receives(), self.sends())
    }
}

pub(crate) fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|a| a.name == name)
}

impl SessionDescription {
    /// An empty description made at this address: `t=0 0`, `c=` at session level, no media.
    #[must_use]
    pub fn new(username: &str, session_id: u64, version: u64, address: IpAddr) -> Self {
        Self {
            origin: Origin {
                username: username.to_owned(),
                session_id: session_id.to_string(),
                version,
                address: address.into(),
            },
            name: "-".to_owned(),
            info: None,
            uri: None,
            emails: Vec::new(),
            phones: Vec::new(),
            connection: Some(address.into()),
            bandwidths: Vec::new(),
            times: vec![Time::default()],
            zones: None,
            key: None,
            attributes: Vec::new(),
            media: Vec::new(),
        }
    }

    /// The first session attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        find(&self.attributes, name)
    }

    /// The direction at session level.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.attributes
            .iter()
            .find_map(|a| Direction::parse(&a.name))
    }

    /// The connection that counts for this media: its own, or that of the session.
    #[must_use]
    pub fn connection_of<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connection.as_ref().or(self.connection.as_ref())
    }

    /// The direction that counts for this media: its own, that of the session, `sendrecv` (RFC 8866 §6.7).
    #[must_use]
    pub fn direction_of(&self, media: &Media) -> Direction {
        media
            .direction()
            .or_else(|| self.direction())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
