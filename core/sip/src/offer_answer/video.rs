//! Streams of video beside the audio, which two telephones send each other through here: what one describes is told the
//! other as it is, but for codecs that it may not use, so that payload types mean the same on both sides. Never here: the
//! packets, and which codecs a telephone may use.

use std::net::SocketAddr;

use super::select::{remote_addresses, remote_direction};
use super::session::Session;
use super::{Capabilities, LocalMedia};
use crate::sdp::{Attribute, Direction, Media, MediaKind, SessionDescription};

/// Attributes of one payload type, which go with it. The number, or `*` for all, stands first.
const OF_A_FORMAT: [&str; 4] = ["rtpmap", "fmtp", "rtcp-fb", "imageattr"];
/// Attributes of a stream that the other telephone is to know. Those of its transport (`rtcp`, `rtcp-mux`, `crypto`,
/// `candidate` ...) lead here and are not for it.
const OF_A_STREAM: [&str; 7] = [
    "framerate",
    "quality",
    "extmap",
    "content",
    "label",
    "ssrc",
    "ssrc-group",
];

/// A stream of video as the other side describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoStream {
    /// Its place among the streams of the description, from 0.
    pub place: usize,
    /// Profile, formats and what is said of them, without port and direction.
    described: Media,
    /// What the other side does: `SendOnly` means that it sends.
    pub direction: Direction,
    /// Where it wants RTP; `None`: nowhere.
    pub remote_rtp: Option<SocketAddr>,
    /// Where it wants RTCP: `a=rtcp`, or the port after that of RTP.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTCP goes through the port of RTP (RFC 5761), as far as it is concerned.
    pub rtcp_mux: bool,
}

impl VideoStream {
    /// The streams of a description that may be passed on: over plain RTP, not refused, with a codec of `names` (encoding
    /// names as in `a=rtpmap`), `most` at the most. `local` is of the family of addresses that is used.
    #[must_use]
    pub fn all_in(
        description: &SessionDescription,
        names: &[&str],
        most: usize,
        local: SocketAddr,
    ) -> Vec<Self> {
        let all = description.media.iter().enumerate();
        all.filter_map(|(place, media)| Self::read(description, media, place, local))
            .filter_map(|stream| stream.with_only(names))
            .take(most)
            .collect()
    }

    fn read(
        description: &SessionDescription,
        media: &Media,
        place: usize,
        local: SocketAddr,
    ) -> Option<Self> {
        if !is_video(media) || media.port == 0 {
            return None;
        }
        let (remote_rtp, remote_rtcp) = remote_addresses(description, media, local).ok()?;
        Some(Self {
            place,
            described: passed_on(media, |_| true),
            direction: remote_direction(description, media),
            remote_rtp,
            remote_rtcp,
            rtcp_mux: media.rtcp_mux(),
        })
    }

    /// The same with these codecs alone; `None` where it has none of them.
    #[must_use]
    pub fn with_only(&self, names: &[&str]) -> Option<Self> {
        let media = &self.described;
        let is_wanted = |pt: u8| {
            let map = media.rtpmap(pt);
            map.is_some_and(|map| names.iter().any(|name| map.name.eq_ignore_ascii_case(name)))
        };
        self.keeping(is_wanted)
    }

    fn keeping(&self, is_kept: impl Fn(u8) -> bool) -> Option<Self> {
        let described = passed_on(&self.described, is_kept);
        (!described.formats.is_empty()).then(|| Self {
            described,
            ..self.clone()
        })
    }

    /// Payload types and what they stand for, in small letters.
    #[must_use]
    pub fn formats(&self) -> Vec<(u8, String)> {
        let media = &self.described;
        let known = |pt| Some((pt, media.rtpmap(pt)?.name.to_ascii_lowercase()));
        media.payload_types().filter_map(known).collect()
    }

    /// It takes packets.
    #[must_use]
    pub fn receives(&self) -> bool {
        self.direction.receives() && self.remote_rtp.is_some()
    }
}

/// Video over plain RTP, refused or not.
fn is_video(media: &Media) -> bool {
    let plain = ["RTP/AVP", "RTP/AVPF"];
    media.kind == MediaKind::Video && plain.iter().any(|p| media.proto.eq_ignore_ascii_case(p))
}

/// What the other telephone is told of a stream, with these of its payload types.
fn passed_on(media: &Media, is_kept: impl Fn(u8) -> bool) -> Media {
    let mut told = Media::new(MediaKind::Video, 0, &media.proto);
    told.formats = media
        .formats
        .iter()
        .filter(|format| format.parse().is_ok_and(|pt| pt < 128 && is_kept(pt)))
        .cloned()
        .collect();
    told.bandwidths.clone_from(&media.bandwidths);
    let goes_along = |attribute: &&Attribute| {
        let value = attribute.value.as_deref().unwrap_or_default();
        let format = value.split([' ', '\t']).next().unwrap_or_default();
        let of_kept = || format == "*" || told.formats.iter().any(|kept| kept == format);
        let name = attribute.name.as_str();
        OF_A_STREAM.contains(&name) || OF_A_FORMAT.contains(&name) && of_kept()
    };
    let attributes = media.attributes.iter().filter(goes_along).cloned();
    told.attributes = attributes.collect();
    told
}

/// A stream of video in a dialog: one telephone's, told the other.
#[derive(Clone, Debug)]
pub(super) struct Video {
    /// Its place among the streams of this dialog.
    place: usize,
    /// Its place in the description of who is spoken for.
    of: usize,
    /// Where we receive.
    port: u16,
    /// What we say of it: what the other telephone said.
    said: VideoStream,
    /// What the far end said last; `None`: it has not answered, or refused.
    remote: Option<VideoStream>,
    /// RTCP goes through the port of RTP.
    rtcp_mux: bool,
}

/// A stream of video that both sides of a dialog take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedVideo {
    /// Where we receive.
    pub port: u16,
    /// Its place in the description of whom we speak for.
    pub of: usize,
    /// What the far end says of it.
    pub remote: VideoStream,
    /// RTCP goes through the port of RTP.
    pub rtcp_mux: bool,
}

impl Video {
    fn new(place: usize, of: usize, port: u16, said: VideoStream) -> Self {
        Self {
            place,
            of,
            port,
            said,
            remote: None,
            rtcp_mux: false,
        }
    }

    fn write(&self, direction: Direction, rtcp_mux: bool) -> Media {
        let mut media = self.said.described.clone();
        media.port = self.port;
        media.set_direction(direction);
        if rtcp_mux {
            media.attributes.push(Attribute::flag("rtcp-mux"));
        }
        media
    }

    /// The stream of an offer that stands in the place of this one, if it can go on with it.
    fn offered_again(&self, offer: &SessionDescription, local: SocketAddr) -> Option<VideoStream> {
        let media = offer.media.get(self.place)?;
        let stream = VideoStream::read(offer, media, self.place, local)?;
        let ours = self.said.formats();
        let theirs = stream.formats();
        stream.keeping(|pt| theirs.iter().any(|map| map.0 == pt && ours.contains(map)))
    }
}

impl Session {
    /// The next offer, which is the first, has these streams of another telephone behind the audio, each with the port where
    /// we receive it.
    pub fn offer_video(&mut self, streams: Vec<(VideoStream, u16)>) {
        let places = 1..;
        self.video = places
            .zip(streams)
            .map(|(place, (said, port))| Video::new(place, said.place, port, said))
            .collect();
    }

    /// The next answer takes these streams of its offer, by their places there, as another telephone answered them.
    pub fn accept_video(&mut self, streams: Vec<(usize, VideoStream, u16)>) {
        self.video = streams
            .into_iter()
            .map(|(place, said, port)| Video::new(place, said.place, port, said))
            .collect();
    }

    /// The streams of video that both sides take, in their order.
    #[must_use]
    pub fn video(&self) -> Vec<AgreedVideo> {
        let agreed = |video: &Video| {
            Some(AgreedVideo {
                port: video.port,
                of: video.of,
                remote: video.remote.clone()?,
                rtcp_mux: video.rtcp_mux,
            })
        };
        self.video.iter().filter_map(agreed).collect()
    }

    /// Writes the streams of video into an offer, each in its place.
    pub(super) fn write_video_offer(&mut self, media: &mut Vec<Media>, rtcp_mux: bool) {
        if self.has_settled() {
            // What was refused stays so: its place is taken.
            self.video.retain(|video| video.remote.is_some());
        }
        for video in &self.video {
            let stream = video.write(video.said.direction, rtcp_mux);
            match media.get_mut(video.place) {
                Some(slot) => *slot = stream,
                None => media.push(stream),
            }
        }
    }

    /// Takes what an answer says of the streams that we offered.
    pub(super) fn take_video_answer(
        &mut self,
        offered: &[Media],
        answer: &SessionDescription,
        local: SocketAddr,
    ) {
        for video in &mut self.video {
            let (ours, theirs) = (offered.get(video.place), answer.media.get(video.place));
            let names: Vec<String> = video.said.formats().into_iter().map(|map| map.1).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            video.remote = theirs
                .and_then(|media| VideoStream::read(answer, media, video.place, local))
                .and_then(|stream| stream.with_only(&names));
            let both = |remote: &VideoStream| remote.rtcp_mux && ours.is_some_and(Media::rtcp_mux);
            video.rtcp_mux = video.remote.as_ref().is_some_and(both);
        }
    }

    /// Answers the streams of video that are known, in their places; what the offer does not have any more is forgotten.
    pub(super) fn answer_video(
        &mut self,
        offer: &SessionDescription,
        streams: &mut [Media],
        capabilities: &Capabilities,
        local: &LocalMedia,
    ) {
        self.video.retain_mut(|video| {
            let (Some(remote), Some(slot)) = (
                video.offered_again(offer, local.rtp),
                streams.get_mut(video.place),
            ) else {
                return false;
            };
            let kept = remote.formats();
            let ours = video.said.formats();
            let is_kept = |pt| ours.iter().any(|map| map.0 == pt && kept.contains(map));
            let Some(said) = video.said.keeping(is_kept) else {
                return false;
            };
            video.said = said;
            // An answer has the profile of its offer (RFC 3264 §6.1).
            video.said.described.proto.clone_from(&slot.proto);
            let base = video.said.direction;
            let direction = Direction::from_flags(
                base.sends() && remote.direction.receives(),
                base.receives() && remote.direction.sends(),
            );
            video.rtcp_mux = capabilities.rtcp_mux && remote.rtcp_mux;
            *slot = video.write(direction, video.rtcp_mux);
            video.remote = Some(remote);
            true
        });
    }

    /// Nothing but what stands in the place of the audio goes on.
    pub(super) fn end_video(&mut self) {
        self.video.clear();
    }
}
