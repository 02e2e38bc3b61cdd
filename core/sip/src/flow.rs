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
    /// WebSocket (RFC 7118): one message a frame.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// True where the transport delivers or reports failure itself, so that transactions do not retransmit.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// True where nobody on the way can read along.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// True where only the peer can open the connection, so that it is reached by that one or not at all.
    #[must_use]
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The word used in a Via header: `UDP`, `TCP`, `TLS`, `WS` or `WSS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The word used in a `transport` URI parameter: `udp`, `tcp`, `tls`, or `ws` for both kinds of WebSocket (RFC 7118 §5.2.3).
    #[must_use]
    pub const fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "ws",
        }
    }

    /// The port used where none is written: 5060, 5061 for TLS (RFC 3261 §19.1.2), 80 and 443 for WebSocket (RFC 7118 §5).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Reads the word of a Via header or a `transport` parameter, in any case. `None` for a transport not spoken here.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
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
        assert_eq!(Transport::parse("wss"), Some(Transport::Wss));
        assert_eq!(Transport::parse("SCTP"), None);
        assert!(!Transport::Udp.is_reliable() && Transport::Tcp.is_reliable());
    }
}
