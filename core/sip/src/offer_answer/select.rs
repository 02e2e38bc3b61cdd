//! Choosing: which stream, which codecs, which payload types, which direction.

use std::net::SocketAddr;

use super::security::is_secure;
use super::{Agreed, AgreedCodec, Capabilities, CodecCapability, OfferAnswerError, Preference};
use crate::sdp::{Connection, Direction, Media, MediaKind, RtpMap, SessionDescription};

/// The events of RFC 4733 that we understand: digits and flash.
pub(super) const DTMF_EVENTS: &str = "0-16";
const DTMF_NAME: &str = "telephone-event";

/// Whether a stream is one that we could take: audio over RTP, not refused.
pub(super) fn is_usable(media: &Media) -> bool {
    is_audio(media) && media.port != 0
}

/// Audio over RTP, plain or with keys in the description, refused or not.
pub(super) fn is_audio(media: &Media) -> bool {
    media.kind == MediaKind::Audio
        && (is_secure(media)
            || ["RTP/AVP", "RTP/AVPF"]
                .iter()
                .any(|proto| media.proto.eq_ignore_ascii_case(proto)))
}

fn same_codec(capability: &CodecCapability, map: &RtpMap) -> bool {
    capability.name.eq_ignore_ascii_case(&map.name)
        && capability.clock_rate == map.clock_rate
        && capability.channels.max(1) == map.channels.unwrap_or(1).max(1)
}

/// The codecs of an offer that we speak, with the offer's payload types for both ways (RFC 3264 §6.1).
pub(super) fn common(
    media: &Media,
    capabilities: &Capabilities,
) -> Result<Vec<AgreedCodec>, OfferAnswerError> {
    let offered: Vec<RtpMap> = media
        .payload_types()
        .filter_map(|pt| media.rtpmap(pt))
        .collect();
    let agreed = |capability: &CodecCapability, map: &RtpMap| AgreedCodec {
        name: capability.name.clone(),
        clock_rate: capability.clock_rate,
        channels: capability.channels.max(1),
        our_pt: map.payload_type,
        remote_pt: map.payload_type,
        remote_fmtp: media.fmtp(map.payload_type).unwrap_or_default().to_owned(),
    };
    let ours = &capabilities.codecs;
    let mut codecs: Vec<AgreedCodec> = Vec::new();
    match capabilities.preference {
        Preference::Local => {
            for capability in ours {
                if let Some(map) = offered.iter().find(|map| same_codec(capability, map)) {
                    codecs.push(agreed(capability, map));
                }
            }
        }
        Preference::Remote => {
            for map in &offered {
                let Some(capability) = ours.iter().find(|c| same_codec(c, map)) else {
                    continue;
                };
                // One codec may stand in the offer under two numbers: the first counts.
                let known = |codec: &AgreedCodec| {
                    codec.name == capability.name && codec.clock_rate == capability.clock_rate
                };
                if !codecs.iter().any(known) {
                    codecs.push(agreed(capability, map));
                }
            }
        }
    }
    if capabilities.single_codec {
        codecs.truncate(1);
    }
    if codecs.is_empty() {
        return Err(OfferAnswerError::NoCommonCodec {
            offered: describe(media, &offered),
        });
    }
    Ok(codecs)
}

/// The formats of a stream, for a log line of bounded length.
fn describe(media: &Media, maps: &[RtpMap]) -> String {
    let names: Vec<String> = media
        .formats
        .iter()
        .take(16)
        .map(|format| {
            let pt: Option<u8> = format.parse().ok();
            let map = maps.iter().find(|map| Some(map.payload_type) == pt);
            map.map_or_else(
                || format.clone(),
                |map| format!("{}/{}", map.name, map.clock_rate),
            )
        })
        .collect();
    names.join(", ")
}

/// The payload type for DTMF in a stream: with the clock of the chosen codec, or with 8000 Hz as nearly everybody sends.
pub(super) fn dtmf_payload_type(media: &Media, clock_rate: u32) -> Option<u8> {
    dtmf_with_clock(media, clock_rate).or_else(|| dtmf_with_clock(media, 8000))
}

/// The payload type for DTMF with this clock.
pub(super) fn dtmf_with_clock(media: &Media, wanted: u32) -> Option<u8> {
    media.payload_types().find(|pt| {
        media
            .rtpmap(*pt)
            .is_some_and(|map| map.name.eq_ignore_ascii_case(DTMF_NAME) && map.clock_rate == wanted)
    })
}

/// The clock of the events under this payload type of ours, Hz.
pub(super) fn dtmf_clock(media: &Media, dtmf: Option<(u8, u8)>) -> u32 {
    dtmf.and_then(|(ours, _)| media.rtpmap(ours))
        .map_or(8000, |map| map.clock_rate)
}

/// Does the remote ask for extended reports that we can make (RFC 3611 §5.1)?
pub(super) fn wants_extended_reports(session: &SessionDescription, media: &Media) -> bool {
    let value = media.value("rtcp-xr").or_else(|| {
        crate::sdp::find(&session.attributes, "rtcp-xr")?
            .value
            .as_deref()
    });
    value.is_some_and(|formats| {
        formats.split_ascii_whitespace().any(|format| {
            let name = format.split('=').next().unwrap_or_default();
            ["rcvr-rtt", "voip-metrics"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        })
    })
}

/// The codecs of our offer that the answer kept, in the order of the answer. Numbers may differ (RFC 3264 §6.1): each side
/// receives by its own.
pub(super) fn kept(offer: &Media, answer: &Media) -> (Vec<AgreedCodec>, Option<(u8, u8)>) {
    let ours: Vec<RtpMap> = offer
        .payload_types()
        .filter_map(|pt| offer.rtpmap(pt))
        .collect();
    let mut codecs: Vec<AgreedCodec> = Vec::new();
    for pt in answer.payload_types() {
        // An answer that names a dynamic number without saying what it is means ours.
        let theirs = answer
            .rtpmap(pt)
            .or_else(|| ours.iter().find(|map| map.payload_type == pt).cloned());
        let Some(theirs) = theirs.filter(|map| !map.name.eq_ignore_ascii_case(DTMF_NAME)) else {
            continue;
        };
        let same = |map: &&RtpMap| {
            map.name.eq_ignore_ascii_case(&theirs.name)
                && map.clock_rate == theirs.clock_rate
                && map.channels.unwrap_or(1) == theirs.channels.unwrap_or(1)
        };
        let found = ours
            .iter()
            .filter(|map| map.payload_type == pt)
            .find(same)
            .or_else(|| ours.iter().find(same));
        let Some(map) = found else {
            continue;
        };
        if codecs.iter().any(|codec| codec.our_pt == map.payload_type) {
            continue;
        }
        codecs.push(AgreedCodec {
            name: map.name.clone(),
            clock_rate: map.clock_rate,
            channels: map.channels.unwrap_or(1),
            our_pt: map.payload_type,
            remote_pt: pt,
            remote_fmtp: answer.fmtp(pt).unwrap_or_default().to_owned(),
        });
    }
    let clock_rate = codecs.first().map_or(8000, |codec| codec.clock_rate);
    let dtmf = [clock_rate, 8000].into_iter().find_map(|clock| {
        let our_pt = dtmf_with_clock(offer, clock)?;
        let named = dtmf_with_clock(answer, clock);
        let bare = || {
            answer
                .payload_types()
                .find(|pt| *pt == our_pt && answer.rtpmap(*pt).is_none())
        };
        Some((our_pt, named.or_else(bare)?))
    });
    (codecs, dtmf)
}

/// Where the remote wants its RTP and RTCP. `None` for the address: hold by `0.0.0.0`.
pub(super) fn remote_addresses(
    session: &SessionDescription,
    media: &Media,
    local: SocketAddr,
) -> Result<(Option<SocketAddr>, Option<SocketAddr>), OfferAnswerError> {
    let connection = session
        .connection_of(media)
        .ok_or(OfferAnswerError::Address)?;
    if connection.is_hold() || media.port == 0 {
        return Ok((None, None));
    }
    let ip = connection.ip().ok_or(OfferAnswerError::Address)?;
    if ip.is_ipv4() != local.is_ipv4() || ip.is_multicast() {
        return Err(OfferAnswerError::Address);
    }
    let rtcp = match media.rtcp() {
        Some(rtcp) => (rtcp.port != 0)
            .then(|| SocketAddr::new(rtcp.address.unwrap_or(ip), rtcp.port))
            .filter(|rtcp| rtcp.is_ipv4() == local.is_ipv4()),
        None => media
            .port
            .checked_add(1)
            .map(|port| SocketAddr::new(ip, port)),
    };
    Ok((Some(SocketAddr::new(ip, media.port)), rtcp))
}

/// What the remote may do by its description, where `0.0.0.0` means that it receives nothing.
pub(super) fn remote_direction(session: &SessionDescription, media: &Media) -> Direction {
    let direction = session.direction_of(media);
    let hold = session
        .connection_of(media)
        .is_some_and(Connection::is_hold);
    Direction::from_flags(direction.sends(), direction.receives() && !hold)
}

/// How long our packets are: as the remote asks (where that counts), else as we like, never longer than it takes.
pub(super) fn packet_time_ms(media: &Media, ours: u8, asked: bool) -> u8 {
    let wanted = media.ptime().filter(|_| asked).unwrap_or(u32::from(ours));
    let longest = media.maxptime().unwrap_or(60).clamp(10, 60);
    // Frames are 10 ms long at least, and packets hold whole ones.
    (wanted.clamp(10, 60).min(longest) / 10 * 10) as u8
}

/// What was agreed about a stream that is refused or switched off.
pub(super) fn nothing_agreed(ptime_ms: u8) -> Agreed {
    Agreed {
        remote_rtp: None,
        remote_rtcp: None,
        codecs: Vec::new(),
        dtmf: None,
        dtmf_clock: 8000,
        rtcp_mux: false,
        rtcp_xr: false,
        direction: Direction::Inactive,
        ptime_ms,
        crypto: None,
        on_hold: true,
    }
}

pub(super) fn dtmf_map(payload_type: u8, clock_rate: u32) -> RtpMap {
    RtpMap {
        payload_type,
        name: DTMF_NAME.to_owned(),
        clock_rate,
        channels: None,
    }
}
