//! Sockets under SIP. UDP goes through the media crate's ring (multishot receive, batched sends), TCP, TLS and WebSocket
//! through tokio. Nothing here looks into a message beyond its framing; who owns it is the shard's business.

pub mod bind;
pub(crate) mod connections;
pub mod settings;
pub(crate) mod stream;
pub mod table;
pub mod tls;
pub(crate) mod udp;
mod websocket;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use settings::Settings;

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

/// Marks what a socket sends, as `tos` and `cos` of its transport want. A system that refuses it carries the messages all
/// the same.
pub(crate) fn mark(socket: &socket2::SockRef<'_>, settings: &Settings) {
    if settings.tos != 0 {
        let _ = if settings.bind.is_ipv4() {
            socket.set_tos_v4(settings.tos)
        } else {
            socket.set_tclass_v6(settings.tos)
        };
    }
    if settings.cos != 0 {
        let _ = socket.set_priority(settings.cos);
    }
}
