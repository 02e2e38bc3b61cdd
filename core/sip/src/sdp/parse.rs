//! Reading a description line by line. The order of lines is RFC 8866 §5's as far as it changes meaning: `v=` first, media
//! last; within a section real devices are not trusted to keep it.

use super::{Attribute, Connection, Media, MediaKind, Origin, SessionDescription, Time};

/// The longest description accepted, in bytes.
pub const SDP_LENGTH_MAX: usize = 32 * 1024;
/// The most lines accepted.
pub const SDP_LINES_MAX: usize = 1000;

/// Why a description cannot be read.
#[derive(Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("SDP line {line}: {what}")]
pub struct SdpError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

fn connection(value: &str) -> Result<Connection, &'static str> {
    let mut words = value.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(network), Some(address_type), Some(address)) => Ok(Connection {
            network: network.to_owned(),
            address_type: address_type.to_owned(),
            address: address.to_owned(),
        }),
        _ => Err("network, address type and address expected"),
    }
}

fn origin(value: &str) -> Result<Origin, &'static str> {
    let what = "o= needs user, session, version, network, address type and address";
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    // The user name may not hold spaces, and does: the last five words count.
    let Some((user, [session_id, version, network, address_type, address])) =
        words.split_last_chunk::<5>()
    else {
        return Err(what);
    };
    if !session_id.bytes().all(|b| b.is_ascii_digit()) {
        return Err("session id of o= is not a number");
    }
    let digits = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err("version of o= is not a number");
    }
    Ok(Origin {
        username: if user.is_empty() {
            "-".to_owned()
        } else {
            user.join(" ")
        },
        session_id: (*session_id).to_owned(),
        // Versions above 64 bits exist on paper; the largest number stands for them.
        version: version.parse().unwrap_or(u64::MAX),
        address: Connection {
            network: (*network).to_owned(),
            address_type: (*address_type).to_owned(),
            address: (*address).to_owned(),
        },
    })
}

fn time(value: &str) -> Result<Time, &'static str> {
    let mut words = value.split_ascii_whitespace();
    let mut number = || -> Option<u64> {
        let word = words.next()?;
        word.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| word.parse().unwrap_or(u64::MAX))
    };
    match (number(), number()) {
        (Some(start), Some(stop)) => Ok(Time {
            start,
            stop,
            repeats: Vec::new(),
        }),
        _ => Err("t= needs two numbers"),
    }
}

fn media(value: &str) -> Result<Media, &'static str> {
    let mut words = value.split_ascii_whitespace();
    let (Some(kind), Some(port), Some(proto)) = (words.next(), words.next(), words.next()) else {
        return Err("m= needs media, port, protocol and formats");
    };
    let (port, count) = match port.split_once('/') {
        Some((port, count)) => (
            port,
            Some(count.parse().map_err(|_| "bad number of ports in m=")?),
        ),
        None => (port, None),
    };
    let mut media = Media::new(
        MediaKind::parse(kind),
        port.parse().map_err(|_| "port of m= is not a port")?,
        proto,
    );
    media.port_count = count;
    media.formats = words.map(str::to_owned).collect();
    if media.formats.is_empty() {
        return Err("m= without formats");
    }
    Ok(media)
}

fn attribute(value: &str) -> Attribute {
    match value.split_once(':') {
        Some((name, value)) => Attribute::new(name, value),
        None => Attribute::flag(value.trim_end()),
    }
}

impl SessionDescription {
    /// Reads a description. Lines may end in CRLF or LF; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// The first line that cannot be read; a missing `v=`, `o=`; a media without any `c=`.
    pub fn parse(bytes: &[u8]) -> Result<Self, SdpError> {
        if bytes.len() > SDP_LENGTH_MAX {
            return Err(SdpError {
                line: 1,
                what: "description too long",
            });
        }
        let text = String::from_utf8_lossy(bytes);
        let mut version = false;
        let mut has_origin = false;
        let mut sdp = Self::new("-", 0, 0, std::net::Ipv4Addr::UNSPECIFIED.into());
        sdp.connection = None;
        sdp.times.clear();
        let mut last = 0;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            last = number;
            let fail = |what| SdpError { line: number, what };
            if number > SDP_LINES_MAX {
                return Err(fail("too many lines"));
            }
            if line.trim().is_empty() {
                continue;
            }
            if line.contains(['\r', '\0']) {
                return Err(fail("CR or NUL inside a line"));
            }
            let bytes = line.as_bytes();
            let (Some(kind), Some(b'=')) = (bytes.first(), bytes.get(1)) else {
                return Err(fail("expected a letter and '='"));
            };
            let value = line.get(2..).unwrap_or("");
            if !version {
                if *kind != b'v' {
                    return Err(fail("expected v=0 first"));
                }
                if value.trim() != "0" {
                    return Err(fail("version is not 0"));
                }
                version = true;
                continue;
            }
            let owned = || value.to_owned();
            match (kind, sdp.media.last_mut()) {
                (b'm', _) => sdp.media.push(media(value).map_err(fail)?),
                (b'a', Some(m)) => m.attributes.push(attribute(value)),
                (b'a', None) => sdp.attributes.push(attribute(value)),
                (b'c', Some(m)) => {
                    let c = connection(value).map_err(fail)?;
                    m.connection.get_or_insert(c);
                }
                (b'c', None) => sdp.connection = Some(connection(value).map_err(fail)?),
                (b'b', Some(m)) => m.bandwidths.push(owned()),
                (b'b', None) => sdp.bandwidths.push(owned()),
                (b'i', Some(m)) => m.info = Some(owned()),
                (b'i', None) => sdp.info = Some(owned()),
                (b'k', Some(m)) => m.key = Some(owned()),
                (b'k', None) => sdp.key = Some(owned()),
                (b'o', None) => {
                    if has_origin {
                        return Err(fail("second o="));
                    }
                    has_origin = true;
                    sdp.origin = origin(value).map_err(fail)?;
                }
                (b's', None) => sdp.name = owned(),
                (b'u', None) => sdp.uri = Some(owned()),
                (b'e', None) => sdp.emails.push(owned()),
                (b'p', None) => sdp.phones.push(owned()),
                (b't', None) => sdp.times.push(time(value).map_err(fail)?),
                (b'r', None) => match sdp.times.last_mut() {
                    Some(time) => time.repeats.push(owned()),
                    None => return Err(fail("r= before t=")),
                },
                (b'z', None) => sdp.zones = Some(owned()),
                (b'v', _) => return Err(fail("second v=")),
                (b'o' | b's' | b'u' | b'e' | b'p' | b't' | b'r' | b'z', Some(_)) => {
                    return Err(fail("session line after m="));
                }
                // RFC 8866 §5: a description with an unknown type letter is ignored as a whole.
                _ => return Err(fail("unknown line type")),
            }
        }
        let fail = |what| SdpError {
            line: last.max(1),
            what,
        };
        if !version {
            return Err(fail("expected v=0 first"));
        }
        if !has_origin {
            return Err(fail("o= is missing"));
        }
        if sdp
            .media
            .iter()
            .any(|m| m.port != 0 && sdp.connection_of(m).is_none())
        {
            return Err(fail("c= is missing"));
        }
        Ok(sdp)
    }
}

impl std::str::FromStr for SessionDescription {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, SdpError> {
        Self::parse(text.as_bytes())
    }
}
