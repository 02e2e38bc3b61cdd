//! One `m=` line and what belongs to it.

use std::net::IpAddr;

use super::{Attribute, Connection, Direction, find};

/// What is carried.
#[derive(Clone, Eq, PartialEq, Hash, Debug)]
pub enum MediaKind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `image` (T.38)
    Image,
    /// `application`
    Application,
    /// `text`
    Text,
    /// `message`
    Message,
    /// Any other.
    Other(Box<str>),
}

impl MediaKind {
    /// As written in `m=`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Image => "image",
            Self::Application => "application",
            Self::Text => "text",
            Self::Message => "message",
            Self::Other(name) => name,
        }
    }

    /// From the word in `m=`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "audio" => Self::Audio,
            "video" => Self::Video,
            "image" => Self::Image,
            "application" => Self::Application,
            "text" => Self::Text,
            "message" => Self::Message,
            other => Self::Other(other.into()),
        }
    }
}

/// `a=rtpmap`: what a payload type stands for.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct RtpMap {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding, as written; compare it without case.
    pub name: String,
    /// Hz.
    pub clock_rate: u32,
    /// Channels, where written.
    pub channels: Option<u8>,
}

/// `a=rtcp` (RFC 3605).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct RtcpAttribute {
    /// The port.
    pub port: u16,
    /// The address, where it is another than that of RTP.
    pub address: Option<IpAddr>,
}

/// One `m=` line and what belongs to it.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Media {
    /// What is carried.
    pub kind: MediaKind,
    /// The port; 0 refuses the media.
    pub port: u16,
    /// `/number` of ports.
    pub port_count: Option<u16>,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl` ...
    pub proto: String,
    /// Payload types, or other format words, in order of preference.
    pub formats: Vec<String>,
    /// `i=`
    pub info: Option<String>,
    /// `c=`; further ones of a multicast session are dropped.
    pub connection: Option<Connection>,
    /// `b=`, as written.
    pub bandwidths: Vec<String>,
    /// `k=`
    pub key: Option<String>,
    /// `a=`, in order.
    pub attributes: Vec<Attribute>,
}

impl Media {
    /// An `m=` line without formats and attributes.
    #[must_use]
    pub fn new(kind: MediaKind, port: u16, proto: &str) -> Self {
        Self {
            kind,
            port,
            port_count: None,
            proto: proto.to_owned(),
            formats: Vec::new(),
            info: None,
            connection: None,
            bandwidths: Vec::new(),
            key: None,
            attributes: Vec::new(),
        }
    }

    /// The first attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        find(&self.attributes, name)
    }

    /// The value of the first attribute of this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.attribute(name)?.value.as_deref()
    }

    /// The values of all attributes of this name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |a| a.name == name)
            .filter_map(|a| a.value.as_deref())
    }

    /// The direction written here; see [`super::SessionDescription::direction_of`].
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.attributes
            .iter()
            .find_map(|a| Direction::parse(&a.name))
    }

    /// Replaces the direction.
    pub fn set_direction(&mut self, direction: Direction) {
        self.attributes
            .retain(|a| Direction::parse(&a.name).is_none());
        self.attributes.push(Attribute::flag(direction.as_str()));
    }

    /// The formats that are payload types.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats
            .iter()
            .filter_map(|f| f.parse().ok())
            .filter(|pt| *pt < 128)
    }

    /// All readable `a=rtpmap`.
    #[must_use]
    pub fn rtpmaps(&self) -> Vec<RtpMap> {
        self.values("rtpmap").filter_map(parse_rtpmap).collect()
    }

    /// What this payload type stands for: its `a=rtpmap`, or the static assignment of RFC 3551 §6.
    #[must_use]
    pub fn rtpmap(&self, payload_type: u8) -> Option<RtpMap> {
        self.values("rtpmap")
            .filter_map(parse_rtpmap)
            .find(|m| m.payload_type == payload_type)
            .or_else(|| static_rtpmap(payload_type))
    }

    /// The parameters of `a=fmtp` for this payload type.
    #[must_use]
    pub fn fmtp(&self, payload_type: u8) -> Option<&str> {
        self.values("fmtp").find_map(|value| {
            let (pt, params) = value.trim_start().split_once(' ')?;
            (pt.parse() == Ok(payload_type)).then(|| params.trim())
        })
    }

    /// `a=ptime` in ms; fractions are dropped.
    #[must_use]
    pub fn ptime(&self) -> Option<u32> {
        milliseconds(self.value("ptime")?)
    }

    /// `a=maxptime` in ms.
    #[must_use]
    pub fn maxptime(&self) -> Option<u32> {
        milliseconds(self.value("maxptime")?)
    }

    /// `a=rtcp`
    #[must_use]
    pub fn rtcp(&self) -> Option<RtcpAttribute> {
        let mut words = self.value("rtcp")?.split_ascii_whitespace();
        let port = words.next()?.parse().ok()?;
        let address = words.nth(2).and_then(|a| a.parse().ok());
        Some(RtcpAttribute { port, address })
    }

    /// Whether RTCP may share the port of RTP (RFC 5761).
    #[must_use]
    pub fn rtcp_mux(&self) -> bool {
        self.attribute("rtcp-mux").is_some()
    }

    /// Appends a payload type with its `a=rtpmap` and, where not empty, `a=fmtp`.
    pub fn push_format(&mut self, map: &RtpMap, fmtp: &str) {
        self.formats.push(map.payload_type.to_string());
        let channels = match map.channels {
            Some(n) if n > 1 => format!("/{n}"),
            _ => String::new(),
        };
        self.attributes.push(Attribute::new(
            "rtpmap",
            format_args!(
                "{} {}/{}{channels}",
                map.payload_type, map.name, map.clock_rate
            ),
        ));
        if !fmtp.is_empty() {
            self.attributes.push(Attribute::new(
                "fmtp",
                format_args!("{} {fmtp}", map.payload_type),
            ));
        }
    }
}

fn milliseconds(text: &str) -> Option<u32> {
    text.trim().split('.').next()?.parse().ok()
}

fn parse_rtpmap(value: &str) -> Option<RtpMap> {
    let (payload_type, encoding) = value.trim().split_once([' ', '\t'])?;
    let mut parts = encoding.trim().split('/');
    let name = parts.next()?;
    let clock_rate = parts.next()?.trim().parse().ok()?;
    if name.is_empty() {
        return None;
    }
    Some(RtpMap {
        payload_type: payload_type.parse().ok().filter(|pt| *pt < 128)?,
        name: name.to_owned(),
        clock_rate,
        channels: parts.next().and_then(|c| c.trim().parse().ok()),
    })
}

fn static_rtpmap(payload_type: u8) -> Option<RtpMap> {
    let (name, clock_rate) = match payload_type {
        0 => ("PCMU", 8000),
        3 => ("GSM", 8000),
        4 => ("G723", 8000),
        5 => ("DVI4", 8000),
        6 => ("DVI4", 16000),
        7 => ("LPC", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        10 | 11 => ("L16", 44100),
        12 => ("QCELP", 8000),
        13 => ("CN", 8000),
        14 => ("MPA", 90000),
        15 => ("G728", 8000),
        16 => ("DVI4", 11025),
        17 => ("DVI4", 22050),
        18 => ("G729", 8000),
        26 => ("JPEG", 90000),
        31 => ("H261", 90000),
        32 => ("MPV", 90000),
        34 => ("H263", 90000),
        _ => return None,
    };
    Some(RtpMap {
        payload_type,
        name: name.to_owned(),
        clock_rate,
        channels: (payload_type == 10).then_some(2),
    })
}
