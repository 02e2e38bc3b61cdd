//! Which codecs a session may use, and in which order: the columns `allow`, `disallow`, `incoming_call_offer_pref` and
//! `outgoing_call_offer_pref`, and how two legs of a call settle on one codec, so that nothing has to be transcoded.
//!
//! Never here: descriptions themselves (offer and answer) and codecs' sound (the media engine).

use strowger_media::Codec;
use strowger_media::codec::OpusFmtp;
use strowger_sip::body::Body;
use strowger_sip::offer_answer::{Agreed, Capabilities, CodecCapability, Preference};
use strowger_store::{DtmfMode, Endpoint};

use super::media::MediaSession;
use super::session::Session;
use crate::channel::Channel;

/// What `all` stands for, most wanted first. G.729 only goes through from one device to another, unheard by the exchange:
/// who wants it names it.
const ALL: [Codec; 5] = [
    Codec::Pcma,
    Codec::Pcmu,
    Codec::G722,
    Codec::Opus,
    Codec::Gsm,
];
/// What an endpoint may use whose row says nothing.
const UNSAID: [Codec; 2] = [Codec::Pcma, Codec::Pcmu];
/// Packet times that an `allow` word may ask for (`ulaw:30`), ms.
const FRAMING_MS: std::ops::RangeInclusive<u8> = 10..=60;

/// One word of `allow`: codecs, and the packet time it asks for.
fn word(text: &str) -> (Vec<Codec>, Option<u8>) {
    let (name, framing) = match text.trim().split_once(':') {
        Some((name, framing)) => (name, framing.trim().parse().ok()),
        None => (text.trim(), None),
    };
    let framing = framing
        .filter(|ms| FRAMING_MS.contains(ms))
        .map(|ms: u8| ms / 10 * 10);
    let codecs = match name.to_ascii_lowercase().as_str() {
        "all" => ALL.to_vec(),
        "pcmu" | "g711u" => vec![Codec::Pcmu],
        "pcma" | "g711a" => vec![Codec::Pcma],
        known => Codec::from_asterisk_name(known).into_iter().collect(),
    };
    (codecs, framing)
}

/// The codecs that a word of `allow` names.
pub(crate) fn named(text: &str) -> Vec<Codec> {
    word(text).0
}

/// The codecs an endpoint may use, in its order, and the packet time of the first. `disallow` first, then `allow`, where
/// `!x` removes; words that name no codec spoken here are passed over.
fn allowed(endpoint: &Endpoint) -> (Vec<Codec>, Option<u8>) {
    if endpoint.allow.is_empty() && endpoint.disallow.is_empty() {
        return (UNSAID.to_vec(), None);
    }
    let mut codecs: Vec<(Codec, Option<u8>)> = Vec::new();
    for text in &endpoint.allow {
        if let Some(removed) = text.trim().strip_prefix('!') {
            // Without all means without those too that `all` does not add.
            let all = removed.trim().eq_ignore_ascii_case("all");
            let (removed, _) = word(removed);
            codecs.retain(|(codec, _)| !all && !removed.contains(codec));
        } else {
            let (named, framing) = word(text);
            for codec in named {
                if !codecs.iter().any(|(known, _)| *known == codec) {
                    codecs.push((codec, framing));
                }
            }
        }
    }
    let framing = codecs.first().and_then(|(_, framing)| *framing);
    (
        codecs.into_iter().map(|(codec, _)| codec).collect(),
        framing,
    )
}

/// Codecs of video, which are passed on unread: names of Asterisk and those of RTP.
const VIDEO: [(&str, &[&str]); 8] = [
    ("h261", &["H261"]),
    ("h263", &["H263"]),
    ("h263p", &["H263-1998", "H263-2000"]),
    ("h264", &["H264"]),
    ("h265", &["H265"]),
    ("vp8", &["VP8"]),
    ("vp9", &["VP9"]),
    ("av1", &["AV1"]),
];

/// The codecs of video that an endpoint may use, by their names in RTP; none where its row names none. `all` names every one,
/// as it does for Asterisk.
pub(super) fn video(endpoint: &Endpoint) -> Vec<&'static str> {
    let mut allowed: Vec<&str> = Vec::new();
    for text in &endpoint.allow {
        let text = text.trim();
        let removed = text.strip_prefix('!');
        let name = removed
            .unwrap_or(text)
            .split(':')
            .next()
            .unwrap_or_default();
        let is_named =
            |known: &str| name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case(known);
        let named = VIDEO.iter().filter(|(known, _)| is_named(known));
        for encoding in named.flat_map(|(_, encodings)| *encodings) {
            allowed.retain(|known| known != encoding);
            if removed.is_none() {
                allowed.push(encoding);
            }
        }
    }
    allowed
}

/// A codec as SDP describes it.
fn capability(codec: Codec) -> CodecCapability {
    let mut capability = CodecCapability::new(
        codec.name(),
        codec.clock_rate(),
        codec.static_payload_type(),
    );
    capability.channels = codec.sdp_channels().unwrap_or(1);
    match codec {
        Codec::Opus => capability.fmtp = OpusFmtp::ours().to_string(),
        // Silence compression (annex B) is nothing that goes through unread.
        Codec::G729 => "annexb=no".clone_into(&mut capability.fmtp),
        _ => {}
    }
    capability
}

/// What an endpoint's sessions can do; `None`: it allows no codec spoken here.
pub(crate) fn capabilities(endpoint: &Endpoint) -> Option<Capabilities> {
    let (codecs, framing) = allowed(endpoint);
    if codecs.is_empty() {
        return None;
    }
    let defaults = Capabilities::default();
    let pref = endpoint.incoming_call_offer_pref.as_str();
    Some(Capabilities {
        codecs: codecs.into_iter().map(capability).collect(),
        dtmf: matches!(
            endpoint.dtmf_mode,
            DtmfMode::Rfc4733 | DtmfMode::Auto | DtmfMode::AutoInfo
        ),
        ptime_ms: framing.unwrap_or(defaults.ptime_ms),
        use_ptime: endpoint.use_ptime,
        preference: match pref {
            "remote" | "remote_first" => Preference::Remote,
            _ => Preference::Local,
        },
        single_codec: endpoint.preferred_codec_only || pref.ends_with("_first"),
        rtcp_mux: endpoint.rtcp_mux || endpoint.webrtc,
        ..defaults
    })
}

/// The codecs that were agreed, in their order.
pub(crate) fn agreed(agreed: &Agreed) -> Vec<Codec> {
    agreed
        .codecs
        .iter()
        .filter_map(|codec| Codec::from_name(&codec.name, codec.clock_rate))
        .collect()
}

/// The order of codecs in an offer to a device that is called, by its `outgoing_call_offer_pref`: `own` are those the
/// device may use, `caller`'s those the calling side speaks. An empty result of an intersection leaves the device's own:
/// then audio is transcoded.
pub(crate) fn order_for_offer(pref: &str, own: &mut Vec<CodecCapability>, caller: &[Codec]) {
    let rank = |capability: &CodecCapability| {
        let codec = Codec::from_name(&capability.name, capability.clock_rate);
        codec.and_then(|codec| caller.iter().position(|c| *c == codec))
    };
    let any = own.iter().any(|capability| rank(capability).is_some());
    if !any {
        return;
    }
    let (by_caller, only_common, first) = match pref {
        "local" => (false, true, false),
        "local_merge" => (false, false, false),
        "local_first" => (false, true, true),
        "remote" => (true, true, false),
        "remote_first" => (true, true, true),
        // The default, remote_merge.
        _ => (true, false, false),
    };
    if only_common {
        own.retain(|capability| rank(capability).is_some());
    }
    if by_caller {
        // Stable: what the caller does not speak stays behind, in the device's order.
        own.sort_by_key(|capability| rank(capability).unwrap_or(usize::MAX));
    }
    if first {
        own.truncate(1);
    }
}

/// The one codec for both legs of a call, if they share any. `caller_described`: the caller has been told our codecs, so
/// that its order counts; else the callee's, because the caller can still be told.
pub(crate) fn shared(caller: &[Codec], callee: &[Codec], caller_described: bool) -> Option<Codec> {
    let (first, other) = if caller_described {
        (caller, callee)
    } else {
        (callee, caller)
    };
    first.iter().copied().find(|codec| other.contains(codec))
}

impl Channel {
    /// The codecs agreed with its device, the one that is sent first; none before an answer.
    pub(crate) fn codecs(&self) -> Vec<Codec> {
        if let Some(far) = self.far_codecs() {
            return far;
        }
        self.session()
            .as_ref()
            .and_then(|session| session.media.as_ref())
            .map(MediaSession::agreed_codecs)
            .unwrap_or_default()
    }

    /// The same by the names that Asterisk has for them.
    pub fn codec_names(&self) -> Vec<&'static str> {
        let codecs = self.codecs().into_iter();
        codecs.map(Codec::asterisk_name).collect()
    }

    /// Length of the packets that are agreed on; 20 before anything is.
    fn ptime_ms(&self) -> u8 {
        if let Some(ptime_ms) = self.wire_ptime_ms() {
            return ptime_ms;
        }
        let session = self.session();
        let media = session.as_ref().and_then(|session| session.media.as_ref());
        media.map_or(20, MediaSession::ptime_ms)
    }

    /// Makes this caller and a callee with media use one codec, where both speak one. While the caller has not been told
    /// our answer to its offer, that answer is made anew.
    pub(crate) fn share_codec(&self, callee: &Self) {
        self.agree_on_codec(callee);
        self.share_video(callee);
        // What is said into a Local channel comes out of it as it is.
        for (half, at) in [(self, callee), (callee, self)] {
            let all = at.codecs();
            if let Some(first) = all.first().filter(|_| half.is_local()) {
                half.settle_wire(*first, at.ptime_ms(), &all);
            }
        }
    }

    fn agree_on_codec(&self, callee: &Self) {
        let (own, others) = (self.codecs(), callee.codecs());
        let untold = |session: &Session| {
            session
                .incoming
                .as_ref()
                .is_some_and(|incoming| !incoming.early_media && incoming.answer.is_some())
        };
        let described = !self.session().as_ref().is_some_and(untold);
        let Some(codec) = shared(&own, &others, described) else {
            return;
        };
        if let Some(media) = callee.session().as_mut().and_then(|s| s.media.as_mut()) {
            media.send_as(self.shard(), codec);
        }
        let mut guard = self.session();
        let Some(session) = guard.as_mut() else {
            return;
        };
        let Some(media) = session.media.as_mut() else {
            return;
        };
        if own.first() == Some(&codec) {
            return;
        }
        match session.incoming.as_mut().filter(|_| !described) {
            Some(incoming) => {
                // The offer was understood before, so that an answer in another order cannot fail.
                let again = Body::of(&incoming.request)
                    .description()
                    .map(|offer| media.answer_with(self.shard(), offer, codec));
                if let Some(Ok(answer)) = again {
                    incoming.answer = Some(answer);
                }
            }
            None => media.send_as(self.shard(), codec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(capabilities: &[CodecCapability]) -> String {
        let names: Vec<_> = capabilities.iter().map(|c| c.name.as_str()).collect();
        names.join(",")
    }

    fn endpoint(disallow: &[&str], allow: &[&str]) -> Endpoint {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        Endpoint {
            disallow: words(disallow),
            allow: words(allow),
            ..Endpoint::default()
        }
    }

    fn allowed(disallow: &[&str], allow: &[&str]) -> Option<String> {
        capabilities(&endpoint(disallow, allow)).map(|c| names(&c.codecs))
    }

    #[test]
    fn allow_is_read_in_its_order() {
        assert_eq!(
            allowed(&["all"], &["ulaw", "alaw"]).as_deref(),
            Some("PCMU,PCMA")
        );
        assert_eq!(
            allowed(&["all"], &["opus", "G722", "alaw", "speex"]).as_deref(),
            Some("opus,G722,PCMA")
        );
        assert_eq!(
            allowed(&[], &["all", "!alaw"]).as_deref(),
            Some("PCMU,G722,opus,GSM")
        );
        assert_eq!(
            allowed(
                &[],
                &[
                    "alaw:20", "g729", "!all", "gsm", "!g722", "alaw", "!alaw:30"
                ]
            )
            .as_deref(),
            Some("GSM")
        );
        assert_eq!(allowed(&["all"], &["slin16"]).as_deref(), Some("L16"));
        assert_eq!(allowed(&[], &[]).as_deref(), Some("PCMA,PCMU"));
        assert_eq!(allowed(&["all"], &["speex"]), None);
    }

    #[test]
    fn codecs_of_video_are_allowed_beside_those_of_audio() {
        let names = |allow: &[&str]| video(&endpoint(&["all"], allow)).join(",");
        assert_eq!(names(&["ulaw", "H264", "vp8"]), "H264,VP8");
        assert_eq!(names(&["ulaw", "h263p"]), "H263-1998,H263-2000");
        assert_eq!(
            names(&["all", "!h264", "!h263p", "!h265"]),
            "H261,H263,VP8,VP9,AV1"
        );
        assert_eq!(names(&["ulaw", "opus", "g722", "h2644", ""]), "");
        assert_eq!(names(&[]), "");
        let audio = allowed(&["all"], &["ulaw", "h264", "vp8"]);
        assert_eq!(audio.as_deref(), Some("PCMU"), "no audio of that name");
    }

    #[test]
    fn a_codec_may_ask_for_its_packet_time() {
        let ptime =
            |allow: &str| capabilities(&endpoint(&["all"], &[allow, "alaw"])).map(|c| c.ptime_ms);
        assert_eq!(ptime("ulaw:30"), Some(30));
        assert_eq!(ptime("ulaw:35"), Some(30), "whole frames of 10 ms");
        assert_eq!(ptime("ulaw:200"), Some(20), "no packet is so long");
        assert_eq!(ptime("ulaw"), Some(20));
    }

    #[test]
    fn opus_is_described_as_its_rfc_wants() {
        let capabilities = capabilities(&endpoint(&["all"], &["opus"])).expect("spoken here");
        let opus = &capabilities.codecs[0];
        assert_eq!(
            (opus.clock_rate, opus.channels, opus.payload_type),
            (48_000, 2, None)
        );
    }

    #[test]
    fn an_offer_to_the_called_device_follows_its_preference() {
        let caller = [Codec::G722, Codec::Pcmu];
        let order = |pref| {
            let mut own: Vec<_> = [Codec::Pcma, Codec::Pcmu, Codec::G722]
                .map(capability)
                .to_vec();
            order_for_offer(pref, &mut own, &caller);
            names(&own)
        };
        assert_eq!(order("remote_merge"), "G722,PCMU,PCMA");
        assert_eq!(order("remote"), "G722,PCMU");
        assert_eq!(order("remote_first"), "G722");
        assert_eq!(order("local"), "PCMU,G722");
        assert_eq!(order("local_merge"), "PCMA,PCMU,G722");
        assert_eq!(order("local_first"), "PCMU");
        let mut own = vec![capability(Codec::Gsm)];
        order_for_offer("remote", &mut own, &caller);
        assert_eq!(names(&own), "GSM", "nothing in common: transcoded");
    }

    #[test]
    fn two_legs_settle_on_one_codec_if_they_share_one() {
        use Codec::{G722, Gsm, Pcma, Pcmu};
        assert_eq!(shared(&[Pcma, G722], &[G722, Pcma], false), Some(G722));
        assert_eq!(shared(&[Pcma, G722], &[G722, Pcma], true), Some(Pcma));
        assert_eq!(shared(&[Pcma, Pcmu], &[Gsm], false), None);
    }
}
