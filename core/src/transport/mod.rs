//! Sockets under SIP. UDP goes through the media crate's ring (multishot receive, batched sends), TCP through tokio.
//! Nothing here looks into a message beyond its framing; who owns it is the shard's business.

pub mod bind;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The local address the kernel would use to reach `remote`; None when there is no route. Connecting a UDP socket
/// sends nothing.
pub(crate) fn source_address(remote: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if remote.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Which of our bound addresses to use towards `remote`.
pub(crate) fn local_for(locals: &[SocketAddr], remote: SocketAddr) -> Option<SocketAddr> {
    let mut family = locals
        .iter()
        .copied()
        .filter(|local| local.is_ipv4() == remote.is_ipv4());
    let first = family.next()?;
    if family.next().is_none() {
        return Some(first);
    }
    let routed = source_address(remote);
    locals
        .iter()
        .copied()
        .find(|local| Some(local.ip()) == routed)
        .or(Some(first))
}
