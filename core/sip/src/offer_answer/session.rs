//! The offers and answers of one dialog, one after the other.

use super::fax::is_fax;
use super::security::{AgreedCrypto, Security};
use super::select::{
    DTMF_EVENTS, common, dtmf_clock, dtmf_map, dtmf_payload_type, is_audio, is_usable, kept,
    nothing_agreed, packet_time_ms, remote_addresses, remote_direction, wants_extended_reports,
};
use super::video::Video;
use super::{Agreed, Capabilities, LocalMedia, OfferAnswerError};
use crate::sdp::{Attribute, Direction, Media, MediaKind, RtpMap, SessionDescription};

/// An offer of ours and what it was made from.
#[derive(Clone, Debug)]
struct Offer {
    description: SessionDescription,
    local: LocalMedia,
    ptime_ms: u8,
    use_ptime: bool,
}

/// What was described in one dialog.
#[derive(Clone, Debug)]
pub struct Session {
    username: String,
    name: String,
    session_id: u64,
    /// What we sent last, offer or answer: its version is repeated while nothing changes (RFC 3264 §8).
    sent: Option<SessionDescription>,
    /// What both sides described last, complete: the ground for our next offer.
    settled: Option<SessionDescription>,
    /// Our newest offer. Kept after its answer, because another answer may follow: a 200 after early media.
    offer: Option<Offer>,
    /// `offer` has no answer yet.
    pending: bool,
    agreed: Option<Agreed>,
    security: Security,
    /// The keys that were agreed last; they outlive a time in which the stream is switched off.
    crypto: Option<AgreedCrypto>,
    /// Streams of video that are passed on between this dialog and another.
    pub(super) video: Vec<Video>,
}

impl Session {
    /// Nothing described yet. `username` and `session_id` make the `o=` line; the id should be new for each dialog.
    #[must_use]
    pub fn new(username: &str, session_id: u64) -> Self {
        Self {
            username: username.to_owned(),
            name: "-".to_owned(),
            session_id,
            sent: None,
            settled: None,
            offer: None,
            pending: false,
            agreed: None,
            security: Security::Plain,
            crypto: None,
            video: Vec::new(),
        }
    }

    /// The same with this name of the session (`s=`).
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same with encrypted media as wanted.
    #[must_use]
    pub fn with_security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// Our offer is waiting for its answer.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// What was agreed last.
    #[must_use]
    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// What we sent last.
    #[must_use]
    pub fn local(&self) -> Option<&SessionDescription> {
        self.sent.as_ref()
    }

    /// Makes an offer (RFC 3264 §5), or with something settled already a new one that keeps its streams in their places
    /// and its payload types (§8). Its version rises only if something differs from what we sent last.
    pub fn make_offer(
        &mut self,
        capabilities: &Capabilities,
        local: &LocalMedia,
    ) -> Result<SessionDescription, OfferAnswerError> {
        if self.pending {
            return Err(OfferAnswerError::OfferPending);
        }
        let before = self.settled.as_ref();
        let streams = before.map_or(&[][..], |settled| settled.media.as_slice());
        let place = streams.iter().position(is_usable);
        let place = place.or_else(|| streams.iter().position(|m| is_audio(m) || is_fax(m)));
        // Where nothing of ours stands yet, behind what there is.
        let place = place.unwrap_or(streams.len());
        // What carried a fax carries audio again.
        let previous = streams.get(place).filter(|media| is_audio(media));
        let mut audio = Media::new(MediaKind::Audio, local.rtp.port(), self.security.profile());
        if let Some(previous) = previous {
            audio.proto.clone_from(&previous.proto);
        }
        for map in offered_formats(capabilities, previous) {
            let fmtp = capabilities
                .codecs
                .iter()
                .find(|codec| codec.name == map.name && codec.clock_rate == map.clock_rate)
                .map_or("", |codec| codec.fmtp.as_str());
            audio.push_format(&map, fmtp);
        }
        if capabilities.dtmf {
            // As before, or the wanted number, or the next that is free.
            let pt = previous
                .and_then(|media| dtmf_payload_type(media, 8000))
                .filter(|pt| !is_taken(&audio, *pt))
                .or_else(|| free_payload_type(&audio, previous, capabilities.dtmf_payload_type));
            if let Some(pt) = pt {
                audio.push_format(&dtmf_map(pt, 8000), DTMF_EVENTS);
            }
        }
        self.security
            .write_offer(&mut audio, self.crypto.as_ref(), previous.is_some())?;
        finish_audio(&mut audio, capabilities, local, local.direction);
        if capabilities.rtcp_mux {
            audio.attributes.push(Attribute::flag("rtcp-mux"));
        }
        let mut media: Vec<Media> = streams.iter().map(refused).collect();
        match media.get_mut(place) {
            Some(slot) => *slot = audio,
            None => media.push(audio),
        }
        self.write_video_offer(&mut media, capabilities.rtcp_mux);
        let description = self.describe(local, media, None);
        self.offer = Some(Offer {
            description: description.clone(),
            local: *local,
            ptime_ms: capabilities.ptime_ms,
            use_ptime: capabilities.use_ptime,
        });
        self.pending = true;
        Ok(description)
    }

    /// Our offer was refused (a failure of its request): what was agreed before stays.
    pub fn withdraw_offer(&mut self) {
        self.pending = false;
        self.offer = None;
    }

    /// Applies the answer to our offer (RFC 3264 §7). May be called again with another answer to the same offer, as when
    /// the 200 describes another end than the 183 before it. On `Err` what was agreed before stays.
    pub fn apply_answer(
        &mut self,
        answer: &SessionDescription,
    ) -> Result<Agreed, OfferAnswerError> {
        let offer = self.offer.as_ref().ok_or(OfferAnswerError::NoOffer)?;
        let streams = &offer.description.media;
        if streams.len() != answer.media.len() {
            return Err(OfferAnswerError::StreamCount {
                offered: streams.len(),
                answered: answer.media.len(),
            });
        }
        let (ours, theirs) = streams
            .iter()
            .zip(&answer.media)
            .find(|(ours, _)| is_usable(ours))
            .ok_or(OfferAnswerError::NoAudio)?;
        if !is_usable(theirs) {
            return Err(OfferAnswerError::NoAudio);
        }
        let (codecs, dtmf) = kept(ours, theirs);
        if codecs.is_empty() {
            return Err(OfferAnswerError::NoCommonCodec {
                offered: theirs.formats.join(", "),
            });
        }
        let crypto = self.security.apply(ours, theirs)?;
        let (remote_rtp, remote_rtcp) = remote_addresses(answer, theirs, offer.local.rtp)?;
        let remote = remote_direction(answer, theirs);
        let wanted = offer.local.direction;
        let agreed = Agreed {
            remote_rtp,
            remote_rtcp,
            codecs,
            dtmf,
            dtmf_clock: dtmf_clock(ours, dtmf),
            rtcp_mux: ours.rtcp_mux() && theirs.rtcp_mux(),
            rtcp_xr: wants_extended_reports(answer, theirs),
            direction: Direction::from_flags(
                wanted.sends() && remote.receives(),
                wanted.receives() && remote.sends(),
            ),
            ptime_ms: packet_time_ms(theirs, offer.ptime_ms, offer.use_ptime),
            crypto,
            on_hold: wanted.sends() && !remote.receives(),
        };
        let (offered, local) = (offer.description.clone(), offer.local.rtp);
        self.take_video_answer(&offered.media, answer, local);
        self.settled = Some(offered);
        self.crypto.clone_from(&agreed.crypto);
        self.pending = false;
        self.agreed = Some(agreed.clone());
        Ok(agreed)
    }

    /// Answers an offer (RFC 3264 §6): the first usable audio stream is taken, all others are refused with port 0 in
    /// their places. On `Err` (answer 488) what was agreed before stays. Within a dialog an offer may also switch the
    /// audio off (port 0): that is answered, with nothing agreed.
    pub fn answer(
        &mut self,
        offer: &SessionDescription,
        capabilities: &Capabilities,
        local: &LocalMedia,
    ) -> Result<(SessionDescription, Agreed), OfferAnswerError> {
        if self.pending {
            return Err(OfferAnswerError::OfferPending);
        }
        // A stream that shares no codec with us may stand before one that does.
        let mut first_error = None;
        let mut chosen = None;
        for (index, media) in offer.media.iter().enumerate() {
            if !is_usable(media) {
                continue;
            }
            let common = common(media, capabilities).and_then(|codecs| {
                let crypto = self.security.answer(media, self.crypto.as_ref())?;
                Ok((codecs, crypto))
            });
            match common {
                Ok((codecs, crypto)) => {
                    chosen = Some((index, media, codecs, crypto));
                    break;
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let Some((index, media, codecs, crypto)) = chosen else {
            let switched_off = self.settled.is_some() && offer.media.iter().any(is_audio);
            if first_error.is_none() && switched_off {
                return Ok(self.answer_off(offer, capabilities, local));
            }
            return Err(first_error.unwrap_or(OfferAnswerError::NoAudio));
        };
        let (remote_rtp, remote_rtcp) = remote_addresses(offer, media, local.rtp)?;
        let remote = remote_direction(offer, media);
        let wanted = local.direction;
        let direction = Direction::from_flags(
            wanted.sends() && remote.receives(),
            wanted.receives() && remote.sends(),
        );
        let clock_rate = codecs.first().map_or(8000, |codec| codec.clock_rate);
        let dtmf = dtmf_payload_type(media, clock_rate).filter(|_| capabilities.dtmf);
        let mut audio = Media::new(MediaKind::Audio, local.rtp.port(), &media.proto);
        for codec in &codecs {
            let capability = capabilities
                .codecs
                .iter()
                .find(|c| c.name == codec.name && c.clock_rate == codec.clock_rate);
            audio.push_format(
                &RtpMap {
                    payload_type: codec.our_pt,
                    name: codec.name.clone(),
                    clock_rate: codec.clock_rate,
                    channels: Some(codec.channels),
                },
                capability.map_or("", |c| c.fmtp.as_str()),
            );
        }
        if let Some(map) = dtmf.and_then(|pt| media.rtpmap(pt)) {
            audio.push_format(&map, DTMF_EVENTS);
        }
        if let Some(crypto) = &crypto {
            audio
                .attributes
                .push(Attribute::new("crypto", &crypto.ours));
        }
        finish_audio(&mut audio, capabilities, local, direction);
        let rtcp_mux = capabilities.rtcp_mux && media.rtcp_mux();
        if rtcp_mux {
            audio.attributes.push(Attribute::flag("rtcp-mux"));
        }
        let mut streams: Vec<Media> = offer.media.iter().map(refused).collect();
        if let Some(slot) = streams.get_mut(index) {
            *slot = audio;
        }
        self.answer_video(offer, &mut streams, capabilities, local);
        let answer = self.describe(local, streams, Some(offer));
        let agreed = Agreed {
            remote_rtp,
            remote_rtcp,
            codecs,
            dtmf: dtmf.map(|pt| (pt, pt)),
            dtmf_clock: dtmf_clock(media, dtmf.map(|pt| (pt, pt))),
            rtcp_mux,
            rtcp_xr: wants_extended_reports(offer, media),
            direction,
            ptime_ms: packet_time_ms(media, capabilities.ptime_ms, capabilities.use_ptime),
            crypto,
            on_hold: wanted.sends() && !remote.receives(),
        };
        self.crypto.clone_from(&agreed.crypto);
        self.settle(&answer, &agreed);
        Ok((answer, agreed))
    }

    fn answer_off(
        &mut self,
        offer: &SessionDescription,
        capabilities: &Capabilities,
        local: &LocalMedia,
    ) -> (SessionDescription, Agreed) {
        self.end_video();
        let streams = offer.media.iter().map(refused).collect();
        let answer = self.describe(local, streams, Some(offer));
        let agreed = nothing_agreed(capabilities.ptime_ms);
        self.settle(&answer, &agreed);
        (answer, agreed)
    }

    fn settle(&mut self, answer: &SessionDescription, agreed: &Agreed) {
        self.settled = Some(answer.clone());
        self.offer = None;
        self.agreed = Some(agreed.clone());
    }

    /// Both sides have described something.
    pub(super) fn has_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// The streams that both sides described last, in their places.
    pub(super) fn settled_streams(&self) -> Vec<Media> {
        self.settled
            .as_ref()
            .map(|settled| settled.media.clone())
            .unwrap_or_default()
    }

    /// An offer of these streams, none of which is ours to negotiate.
    pub(super) fn offered(&mut self, local: &LocalMedia, media: Vec<Media>) -> SessionDescription {
        let description = self.describe(local, media, None);
        self.offer = Some(Offer {
            description: description.clone(),
            local: *local,
            ptime_ms: 0,
            use_ptime: false,
        });
        self.pending = true;
        description
    }

    /// That offer has its answer.
    pub(super) fn end_offer(&mut self, accepted: bool) {
        let offer = self.offer.take();
        self.pending = false;
        if accepted {
            self.end_video();
            self.settled = offer.map(|offer| offer.description);
        }
    }

    /// An answer of these streams.
    pub(super) fn answered(
        &mut self,
        local: &LocalMedia,
        media: Vec<Media>,
        offer: &SessionDescription,
    ) -> SessionDescription {
        self.end_video();
        let answer = self.describe(local, media, Some(offer));
        self.settled = Some(answer.clone());
        self.offer = None;
        answer
    }

    /// The description of these streams, with the right version.
    fn describe(
        &mut self,
        local: &LocalMedia,
        media: Vec<Media>,
        offer: Option<&SessionDescription>,
    ) -> SessionDescription {
        let version = self
            .sent
            .as_ref()
            .map_or(self.session_id, |sent| sent.origin.version);
        let mut description =
            SessionDescription::new(&self.username, self.session_id, version, local.ip());
        description.name.clone_from(&self.name);
        description.media = media;
        if let Some(offer) = offer.filter(|offer| !offer.times.is_empty()) {
            // RFC 3264 §6: the time of the answer is that of the offer.
            description.times.clone_from(&offer.times);
        }
        if self.sent.as_ref().is_some_and(|sent| *sent != description) {
            description.origin.version = version.wrapping_add(1);
        }
        self.sent = Some(description.clone());
        description
    }
}

/// A stream in its place, refused: one format must stand there (RFC 3264 §6).
pub(super) fn refused(media: &Media) -> Media {
    let mut refused = Media::new(media.kind.clone(), 0, &media.proto);
    refused.formats.extend(media.formats.first().cloned());
    refused
}

fn finish_audio(
    audio: &mut Media,
    capabilities: &Capabilities,
    local: &LocalMedia,
    direction: Direction,
) {
    audio
        .attributes
        .push(Attribute::new("ptime", capabilities.ptime_ms));
    if let Some(longest) = capabilities.maxptime_ms {
        audio.attributes.push(Attribute::new("maxptime", longest));
    }
    if local.rtp.port().checked_add(1) != Some(local.rtcp_port) {
        audio
            .attributes
            .push(Attribute::new("rtcp", local.rtcp_port));
    }
    audio.set_direction(direction);
}

fn is_taken(audio: &Media, payload_type: u8) -> bool {
    audio.payload_types().any(|taken| taken == payload_type)
}

/// The formats to offer, with a payload type each: the one it had before in this session (a number must not change its
/// meaning, RFC 3264 §8.3.2), its static or wanted one, or the first free dynamic one.
fn offered_formats(capabilities: &Capabilities, previous: Option<&Media>) -> Vec<RtpMap> {
    let mut maps: Vec<RtpMap> = Vec::new();
    let mut scratch = Media::new(MediaKind::Audio, 0, "RTP/AVP");
    for codec in &capabilities.codecs {
        let before = previous.and_then(|media| {
            media.payload_types().find(|pt| {
                media.rtpmap(*pt).is_some_and(|map| {
                    map.name.eq_ignore_ascii_case(&codec.name)
                        && map.clock_rate == codec.clock_rate
                        && map.channels.unwrap_or(1) == codec.channels.max(1)
                })
            })
        });
        let payload_type =
            before
                .filter(|pt| !is_taken(&scratch, *pt))
                .or_else(|| match codec.payload_type {
                    Some(fixed @ 0..=95) => (!is_taken(&scratch, fixed)).then_some(fixed),
                    wanted => free_payload_type(&scratch, previous, wanted.unwrap_or(96)),
                });
        let Some(payload_type) = payload_type else {
            continue;
        };
        let map = RtpMap {
            payload_type,
            name: codec.name.clone(),
            clock_rate: codec.clock_rate,
            channels: Some(codec.channels.max(1)),
        };
        scratch.push_format(&map, "");
        maps.push(map);
    }
    maps
}

/// `wanted`, or the first dynamic payload type that has no meaning here and had none before.
fn free_payload_type(audio: &Media, previous: Option<&Media>, wanted: u8) -> Option<u8> {
    let free =
        |pt: &u8| !is_taken(audio, *pt) && !previous.is_some_and(|media| is_taken(media, *pt));
    std::iter::once(wanted).chain(96..=127).find(free)
}
