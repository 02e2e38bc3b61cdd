//! Socket addresses in the kernel's form (`sockaddr_in`, `sockaddr_in6`), written and read as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Length of `sockaddr_in6`, the longest address we exchange, in bytes.
pub(crate) const NAME_LEN: usize = 28;
const NAME_LEN_V4: usize = 16;

/// A socket address as the kernel reads it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct RawName {
    pub(crate) bytes: [u8; NAME_LEN],
    pub(crate) len: u32,
}

impl RawName {
    /// `AF_UNSPEC`: what `connect` takes to make a datagram socket unconnected again.
    pub(crate) const UNSPECIFIED: Self = Self {
        bytes: [0; NAME_LEN],
        len: NAME_LEN_V4 as u32,
    };

    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; NAME_LEN];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                Self {
                    bytes,
                    len: NAME_LEN_V4 as u32,
                }
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                Self {
                    bytes,
                    len: NAME_LEN as u32,
                }
            }
        }
    }
}

/// Reads the address the kernel put into `name`. `None` for another family or a cut-off address.
pub(crate) fn parse(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(field(name, 0)?);
    let port = u16::from_be_bytes(field(name, 2)?);
    if family == libc::AF_INET as u16 {
        let ip = Ipv4Addr::from(field::<4>(name, 4)?);
        Some(SocketAddr::new(IpAddr::V4(ip), port))
    } else if family == libc::AF_INET6 as u16 {
        let flow = u32::from_be_bytes(field(name, 4)?);
        let ip = Ipv6Addr::from(field::<16>(name, 8)?);
        let scope = u32::from_ne_bytes(field(name, 24)?);
        Some(SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)))
    } else {
        None
    }
}

/// `N` bytes of `bytes` from `at`.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_through_the_kernels_form() {
        for text in [
            "127.0.0.1:5060",
            "255.1.2.3:1",
            "[::1]:65535",
            "[fe80::1%3]:9",
        ] {
            let address: SocketAddr = text.parse().expect("a literal address");
            let raw = RawName::new(address);
            assert_eq!(parse(&raw.bytes[..raw.len as usize]), Some(address));
        }
    }

    #[test]
    fn cut_off_or_foreign_addresses_are_refused() {
        let raw = RawName::new("[::1]:9".parse().expect("a literal address"));
        for len in 0..NAME_LEN {
            assert_eq!(parse(&raw.bytes[..len]), None, "{len} bytes");
        }
        assert_eq!(parse(&RawName::UNSPECIFIED.bytes), None);
    }
}
