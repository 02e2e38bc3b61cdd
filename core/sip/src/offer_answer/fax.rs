//! A stream of T.38 fax over UDPTL in the place of the audio (ITU-T T.38 annex D): what is offered and answered is passed on
//! between two sides as it is, because whoever sends the fax is not here.

use std::net::SocketAddr;

use super::select::{is_audio, is_usable};
use super::session::{Session, refused};
use super::{LocalMedia, OfferAnswerError};
use crate::sdp::{Attribute, Media, MediaKind, SessionDescription};

/// A fax stream of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaxStream {
    /// Where it wants its packets.
    pub remote: SocketAddr,
    /// What it says of itself (`T38FaxVersion`, `T38MaxBitRate` ...), in order.
    pub attributes: Vec<Attribute>,
}

impl FaxStream {
    /// Of a description that wants fax and no audio.
    #[must_use]
    pub fn of(description: &SessionDescription) -> Option<Self> {
        if description.media.iter().any(is_usable) {
            return None;
        }
        let media = description.media.iter().find(|media| is_offered(media))?;
        let ip = description.connection_of(media)?.ip()?;
        let usable = !ip.is_unspecified() && !ip.is_multicast();
        usable.then(|| Self {
            remote: SocketAddr::new(ip, media.port),
            attributes: media
                .attributes
                .iter()
                .filter(|attribute| attribute.name.starts_with("T38"))
                .cloned()
                .collect(),
        })
    }
}

/// T.38 over UDPTL.
pub(super) fn is_fax(media: &Media) -> bool {
    media.kind == MediaKind::Image && media.proto.eq_ignore_ascii_case("udptl")
}

fn is_offered(media: &Media) -> bool {
    let t38 = |format: &String| format.eq_ignore_ascii_case("t38");
    is_fax(media) && media.port != 0 && media.formats.iter().any(t38)
}

fn stream(at: SocketAddr, attributes: &[Attribute]) -> Media {
    let mut media = Media::new(MediaKind::Image, at.port(), "udptl");
    media.formats.push("t38".to_owned());
    media.attributes.extend_from_slice(attributes);
    media
}

impl Session {
    /// Offers fax at `at` in the place of the audio (RFC 3264 §8.3.3: a stream may change what it carries).
    pub fn offer_fax(
        &mut self,
        local: &LocalMedia,
        at: SocketAddr,
        attributes: &[Attribute],
    ) -> Result<SessionDescription, OfferAnswerError> {
        if self.is_pending() {
            return Err(OfferAnswerError::OfferPending);
        }
        let mut streams = self.settled_streams();
        let place = streams.iter().position(is_usable);
        let place = place.or_else(|| streams.iter().position(|m| is_audio(m) || is_fax(m)));
        let mut media: Vec<Media> = streams.drain(..).map(|media| refused(&media)).collect();
        let fax = stream(at, attributes);
        match place.and_then(|place| media.get_mut(place)) {
            Some(slot) => *slot = fax,
            None => media.push(fax),
        }
        Ok(self.offered(local, media))
    }

    /// Takes the answer to [`Session::offer_fax`]: the other side's stream, or none where it took something else.
    pub fn apply_fax_answer(&mut self, answer: &SessionDescription) -> Option<FaxStream> {
        let fax = FaxStream::of(answer);
        self.end_offer(fax.is_some());
        fax
    }

    /// Answers an offer of fax with a stream at `at`; all other streams are refused.
    pub fn answer_fax(
        &mut self,
        offer: &SessionDescription,
        local: &LocalMedia,
        at: SocketAddr,
        attributes: &[Attribute],
    ) -> Result<SessionDescription, OfferAnswerError> {
        if self.is_pending() {
            return Err(OfferAnswerError::OfferPending);
        }
        let place = offer.media.iter().position(is_offered);
        let mut media: Vec<Media> = offer.media.iter().map(refused).collect();
        match place.and_then(|place| media.get_mut(place)) {
            Some(slot) => *slot = stream(at, attributes),
            None => return Err(OfferAnswerError::NoAudio),
        }
        Ok(self.answered(local, media, offer))
    }
}
