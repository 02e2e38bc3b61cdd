//! SIP messages for Homer: HEP version 3, a datagram for each message.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

/// The largest datagram that UDP carries.
const DATAGRAM_MAX: usize = 65_507;
/// What is said of each message besides its addresses, in chunks of vendor 0 (generic).
mod chunk {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const IPV4_SOURCE: u16 = 3;
    pub(super) const IPV4_DESTINATION: u16 = 4;
    pub(super) const IPV6_SOURCE: u16 = 5;
    pub(super) const IPV6_DESTINATION: u16 = 6;
    pub(super) const SOURCE_PORT: u16 = 7;
    pub(super) const DESTINATION_PORT: u16 = 8;
    pub(super) const SECONDS: u16 = 9;
    pub(super) const MICROSECONDS: u16 = 10;
    pub(super) const KIND: u16 = 11;
    pub(super) const AGENT: u16 = 12;
    pub(super) const KEY: u16 = 14;
    pub(super) const PAYLOAD: u16 = 15;
}
/// The kind of payload: SIP.
const SIP: u8 = 1;

/// A message and what is known of it.
pub(crate) struct Packet<'p> {
    pub(crate) at: SystemTime,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// UDP, or else TCP under whatever is on top.
    pub(crate) is_udp: bool,
    pub(crate) payload: &'p [u8],
}

/// Writes a message as HEP into `out`; false if it is too large for a datagram.
pub(crate) fn write(out: &mut Vec<u8>, packet: &Packet<'_>, agent: u32, key: &str) -> bool {
    out.clear();
    out.extend_from_slice(b"HEP3\0\0");
    let mut chunk = |kind: u16, value: &[u8]| -> bool {
        let Ok(length) = u16::try_from(value.len() + 6) else {
            return false;
        };
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
        true
    };
    let since = packet.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Seconds since 1970 are 32 bits in this protocol.
    let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
    match (packet.source.ip(), packet.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            chunk(chunk::FAMILY, &[2]);
            chunk(chunk::IPV4_SOURCE, &source.octets());
            chunk(chunk::IPV4_DESTINATION, &destination.octets());
        }
        (source, destination) => {
            chunk(chunk::FAMILY, &[10]);
            chunk(chunk::IPV6_SOURCE, &v6(source));
            chunk(chunk::IPV6_DESTINATION, &v6(destination));
        }
    }
    chunk(chunk::PROTOCOL, &[if packet.is_udp { 17 } else { 6 }]);
    chunk(chunk::SOURCE_PORT, &packet.source.port().to_be_bytes());
    chunk(
        chunk::DESTINATION_PORT,
        &packet.destination.port().to_be_bytes(),
    );
    chunk(chunk::SECONDS, &seconds.to_be_bytes());
    chunk(chunk::MICROSECONDS, &since.subsec_micros().to_be_bytes());
    chunk(chunk::KIND, &[SIP]);
    chunk(chunk::AGENT, &agent.to_be_bytes());
    if !key.is_empty() {
        chunk(chunk::KEY, key.as_bytes());
    }
    let whole = chunk(chunk::PAYLOAD, packet.payload) && out.len() <= DATAGRAM_MAX;
    let Ok(length) = u16::try_from(out.len()) else {
        return false;
    };
    out[4..6].copy_from_slice(&length.to_be_bytes());
    whole
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The chunks of a packet: vendor, type, value.
    fn chunks(packet: &[u8]) -> Vec<(u16, u16, Vec<u8>)> {
        let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        assert_eq!(&packet[..4], b"HEP3");
        assert_eq!(usize::from(number(4)), packet.len());
        let (mut at, mut found) = (6, Vec::new());
        while at < packet.len() {
            let length = usize::from(number(at + 4));
            found.push((
                number(at),
                number(at + 2),
                packet[at + 6..at + length].to_vec(),
            ));
            at += length;
        }
        found
    }

    fn packet<'p>(source: &str, destination: &str, payload: &'p [u8]) -> Packet<'p> {
        let address = |text: &str| text.parse().unwrap_or_else(|error| panic!("{error}"));
        Packet {
            at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            source: address(source),
            destination: address(destination),
            is_udp: true,
            payload,
        }
    }

    #[test]
    fn each_chunk_is_as_the_protocol_says() {
        let mut out = Vec::new();
        let ipv4 = packet(
            "192.0.2.1:5060",
            "198.51.100.7:5062",
            b"OPTIONS sip:a SIP/2.0\r\n\r\n",
        );
        assert!(write(&mut out, &ipv4, 2001, "secret"));
        assert_eq!(
            chunks(&out),
            [
                (0, 1, vec![2]),
                (0, 3, vec![192, 0, 2, 1]),
                (0, 4, vec![198, 51, 100, 7]),
                (0, 2, vec![17]),
                (0, 7, vec![0x13, 0xc4]),
                (0, 8, vec![0x13, 0xc6]),
                (0, 9, 1_700_000_000_u32.to_be_bytes().to_vec()),
                (0, 10, 123_456_u32.to_be_bytes().to_vec()),
                (0, 11, vec![1]),
                (0, 12, vec![0, 0, 7, 0xd1]),
                (0, 14, b"secret".to_vec()),
                (0, 15, b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec()),
            ]
        );
    }

    #[test]
    fn ipv6_and_connections_are_told_apart_and_no_key_is_no_chunk() {
        let mut out = Vec::new();
        let mut ipv6 = packet("[2001:db8::1]:5061", "[2001:db8::2]:40000", b"x");
        ipv6.is_udp = false;
        assert!(write(&mut out, &ipv6, 1, ""));
        let all = chunks(&out);
        let value = |kind: u16| {
            let mut all = all.iter();
            all.find(|(_, of, _)| *of == kind)
                .map(|(.., value)| value.clone())
        };
        assert_eq!(value(1), Some(vec![10]));
        assert_eq!(value(2), Some(vec![6]));
        assert_eq!(value(5).map(|ip| ip.len()), Some(16));
        assert_eq!(value(6).and_then(|ip| ip.last().copied()), Some(2));
        assert_eq!((value(3), value(14)), (None, None));
    }

    #[test]
    fn what_no_datagram_carries_is_refused() {
        let mut out = Vec::new();
        for (length, fits) in [
            (60_000, true),
            (65_400, true),
            (65_507, false),
            (70_000, false),
        ] {
            let payload = vec![b'x'; length];
            let large = packet("192.0.2.1:1", "192.0.2.2:2", &payload);
            assert_eq!(write(&mut out, &large, 1, ""), fits, "{length}");
        }
    }
}
