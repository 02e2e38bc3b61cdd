//! Where a message travels: the transport, and the pair of addresses (and connection) it uses.

use std::fmt;
use std::net::SocketAddr;

/// A transport that SIP messages travel over (RFC 3261 §18).
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub enum Transport {
    /// Datagrams; requests and responses are retransmitted by the transactions.
    Udp,
    /// A stream framed by Content-Length.
    Tcp,
    /// TCP below TLS.
    Tls,
}

impl Transport {
    /// True where the transport delivers or reports failure itself, so that transactions do not retransmit.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// The word used in a Via header: `UDP`, `TCP` or `TLS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The word used in a `transport` URI parameter: `udp`, `tcp` or `tls`.
    #[must_use]
    pub const fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The port used where none is written: 5060, or 5061 for TLS (RFC 3261 §19.1.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// Reads the word of a Via header or a `transport` parameter, in any case. `None` for a transport not spoken here.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|t| t.as_str().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One way between us and a peer. Two messages of the same flow use the same socket or connection.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address: the source of what was received, the destination of what is sent.
    pub remote: SocketAddr,
    /// The number of the connection; 0 for UDP.
    pub connection: u64,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} <-> {}", self.transport, self.local, self.remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_read_in_any_case_and_unknown_ones_refused() {
        assert_eq!(Transport::parse("udp"), Some(Transport::Udp));
        assert_eq!(Transport::parse("TLS"), Some(Transport::Tls));
        assert_eq!(Transport::parse("SCTP"), None);
        assert!(!Transport::Udp.is_reliable() && Transport::Tcp.is_reliable());
    }
}
