//! Session descriptions (RFC 8866): one stream of audio in one codec with telephone events.

use crate::scenario::Codec;
use crate::talk::rtp::{EVENTS, OPUS};
use std::net::{IpAddr, SocketAddr};

/// Content-Type.
pub(crate) const TYPE: &str = "application/sdp";

/// Payload type of a codec in our descriptions.
pub(crate) const fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
        Codec::Opus => OPUS,
    }
}

/// A description of media at `media`, with RTCP at port `rtcp` of the same address (RFC 3605).
pub(crate) fn write(
    codec: Codec,
    media: SocketAddr,
    rtcp: u16,
    version: u32,
    direction: &str,
) -> String {
    let (ip, port) = (media.ip(), media.port());
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let payload = payload_type(codec);
    let map = match codec {
        Codec::Pcmu => "PCMU/8000",
        Codec::Pcma => "PCMA/8000",
        Codec::Opus => "opus/48000/2",
    };
    format!(
        "v=0\r\no=- 1 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {payload} {EVENTS}\r\na=rtpmap:{payload} {map}\r\n\
         a=rtpmap:{EVENTS} telephone-event/8000\r\na=fmtp:{EVENTS} 0-15\r\na=ptime:20\r\na=rtcp:{rtcp}\r\na={direction}\r\n"
    )
}

/// What the other end's description says.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Described {
    /// Where it receives.
    pub(crate) media: SocketAddr,
    /// Payload type of the codec that was looked for.
    pub(crate) payload: u8,
    /// Payload type of telephone events.
    pub(crate) events: Option<u8>,
}

/// Reads a description and looks for `codec` in it.
pub(crate) fn read(body: &[u8], codec: Codec) -> Option<Described> {
    let text = std::str::from_utf8(body).ok()?;
    let lines = || text.lines().map(str::trim_end);
    let value = |start: &str| lines().find_map(|line| line.strip_prefix(start));
    let ip: IpAddr = value("c=IN IP4 ")
        .or_else(|| value("c=IN IP6 "))?
        .split('/')
        .next()?
        .parse()
        .ok()?;
    let mut words = value("m=audio ")?.split_whitespace();
    let port: u16 = words.next()?.parse().ok().filter(|&port| port > 0)?;
    let offered: Vec<u8> = words.skip(1).filter_map(|word| word.parse().ok()).collect();
    let mapped = |name: &str| {
        lines().find_map(|line| {
            let (payload, what) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            what.to_ascii_lowercase()
                .starts_with(name)
                .then(|| payload.parse::<u8>().ok())?
        })
    };
    let payload = match codec {
        Codec::Pcmu => Some(0),
        Codec::Pcma => Some(8),
        Codec::Opus => mapped("opus/48000"),
    }?;
    offered.contains(&payload).then_some(Described {
        media: SocketAddr::new(ip, port),
        payload,
        events: mapped("telephone-event/8000"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_as_it_was_written() {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::Opus] {
            let media: SocketAddr = "127.0.0.9:4000".parse().expect("an address");
            let text = write(codec, media, 4001, 1, "sendrecv");
            let described = read(text.as_bytes(), codec).expect("described");
            assert_eq!((described.media, described.events), (media, Some(EVENTS)));
            assert_eq!(described.payload, payload_type(codec));
        }
        let text = write(
            Codec::Pcmu,
            "[::1]:4".parse().expect("an address"),
            5,
            1,
            "inactive",
        );
        assert!(text.contains("c=IN IP6 ::1\r\n"));
        assert_eq!(read(text.as_bytes(), Codec::Pcma), None, "another codec");
        assert_eq!(read(b"v=0\r\nm=audio 0 RTP/AVP 0\r\n", Codec::Pcmu), None);
    }
}
