//! Sockets under SIP. UDP goes through the media crate's ring (multishot receive, batched sends), TCP, TLS and WebSocket
//! through tokio. Nothing here looks into a message beyond its framing; who owns it is the shard's business.

pub mod bind;
pub(crate) mod connections;
pub mod lodger;
pub mod settings;
pub(crate) mod stream;
pub mod table;
pub mod tls;
pub(crate) mod udp;
mod websocket;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use settings::Settings;
use strowger_store::Endpoint;

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

/// Assured forwarding 41 in the bits of the header.
const AF41: u32 = 34 << 2;

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

/// Marks the audio that an endpoint is sent, as its `tos_audio` and `cos_audio` want. What they cannot mean is left out.
pub(crate) fn mark_audio(socket: &UdpSocket, endpoint: &Endpoint) {
    let tos = settings::tos(&endpoint.tos_audio).unwrap_or(0);
    mark_media(socket, tos, endpoint.cos_audio);
}

/// Marks video as `tos_video` and `cos_video` want; AF41 (RFC 4594 §4.4) where they want nothing, because its sockets come
/// marked as voice.
pub(crate) fn mark_video(socket: &UdpSocket, endpoint: &Endpoint) {
    let tos = settings::tos(&endpoint.tos_video).filter(|tos| *tos != 0);
    mark_media(socket, tos.unwrap_or(AF41), endpoint.cos_video);
}

fn mark_media(socket: &UdpSocket, tos: u32, cos: u32) {
    let socket = socket2::SockRef::from(socket);
    if tos != 0 {
        // One of the two fits the family of the socket.
        let _ = socket.set_tos_v4(tos);
        let _ = socket.set_tclass_v6(tos);
    }
    if (1..=7).contains(&cos) {
        let _ = socket.set_priority(cos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_is_marked_as_the_endpoint_wants() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let marks = |tos: &str, cos| {
            let endpoint = Endpoint {
                tos_audio: tos.into(),
                cos_audio: cos,
                ..Endpoint::default()
            };
            mark_audio(&socket, &endpoint);
            let socket = socket2::SockRef::from(&socket);
            (socket.tos_v4().ok(), socket.priority().ok())
        };
        assert_eq!(marks("0", 0), (Some(0), Some(0)));
        assert_eq!(marks("ef", 5), (Some(46 << 2), Some(5)));
        assert_eq!(marks("none", 9), (Some(46 << 2), Some(5)), "left out");
    }

    #[test]
    fn video_is_marked_as_the_endpoint_wants() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let marks = |tos: &str, cos| {
            let endpoint = Endpoint {
                tos_audio: "ef".into(),
                tos_video: tos.into(),
                cos_video: cos,
                ..Endpoint::default()
            };
            mark_video(&socket, &endpoint);
            let socket = socket2::SockRef::from(&socket);
            (socket.tos_v4().ok(), socket.priority().ok())
        };
        // The kernel derives a priority of its own from the marks, until one is wanted.
        assert_eq!(marks("0", 0).0, Some(34 << 2), "never as voice");
        assert_eq!(marks("cs4", 4), (Some(32 << 2), Some(4)));
        assert_eq!(marks("none", 9).0, Some(34 << 2), "left out");
    }
}
