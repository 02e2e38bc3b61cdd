//! The media half of a SIP session: ports, offer and answer, and what the media thread is told about them.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use strowger_media::codec::{EncoderOptions, OpusFmtp};
use strowger_media::rtp::srtp::KeyError;
use strowger_media::{Codec, Command, Format, LegId, LegSetup, Negotiated};
use strowger_sip::Flow;
use strowger_sip::dialog::DialogId;
use strowger_sip::offer_answer::{
    self, Agreed, AgreedCodec, Capabilities, FaxStream, LocalMedia, OfferAnswerError, Preference,
};
use strowger_sip::sdp::{Direction, SdpError, SessionDescription};
use strowger_store::{DtmfMode, Endpoint};

use super::codecs;
use super::direct::Elsewhere;
use super::encryption;
use super::fax::Fax;
use super::video::VideoPorts;
use crate::channel::ChannelId;
use crate::shard::Shard;

/// Why media cannot be set up or described.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    #[error("no RTP port is free: {0}")]
    NoPorts(std::io::Error),
    #[error("the media thread is overloaded")]
    Overloaded,
    #[error("the media thread has ended")]
    Ended,
    #[error(
        "endpoint {0} allows no codec spoken here (alaw, ulaw, g722, opus, gsm, slin, slin16 and others)"
    )]
    NoCodecs(String),
    #[error(
        "endpoint {0} has media_encryption=dtls or webrtc=yes, and DTLS-SRTP is not spoken here: its calls are refused (media_encryption=sdes is)"
    )]
    Dtls(String),
    #[error("media key: {0}")]
    Key(#[from] KeyError),
    #[error("session description: {0}")]
    Description(#[from] SdpError),
    #[error("{0}")]
    OfferAnswer(#[from] OfferAnswerError),
}

impl MediaError {
    /// The Warning that explains a refusal (RFC 3261 §20.43).
    pub(crate) fn warning(&self) -> String {
        let (code, text) = match self {
            Self::OfferAnswer(error) => match error.warning() {
                Some((code, text)) => (code, text.to_owned()),
                None => (399, self.to_string()),
            },
            _ => (399, self.to_string()),
        };
        format!("{code} strowger \"{}\"", text.replace(['"', '\\'], "'"))
    }

    /// The response to a request with this fault.
    pub(crate) fn status(&self) -> (u16, &'static str) {
        match self {
            Self::NoPorts(_) | Self::Overloaded | Self::Ended => (503, "Service Unavailable"),
            Self::NoCodecs(_) | Self::Dtls(_) => (488, "Not Acceptable Here"),
            Self::Key(_) => (500, "Server Internal Error"),
            Self::Description(_) => (488, "Not Acceptable Here"),
            Self::OfferAnswer(error) => match error.status() {
                491 => (491, "Request Pending"),
                500 => (500, "Server Internal Error"),
                _ => (488, "Not Acceptable Here"),
            },
        }
    }
}

/// How a digit is sent to the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DigitWay {
    /// As telephone-event or tone: the media engine knows which.
    Media,
    /// By SIP INFO.
    Info,
    /// Not at all.
    None,
}

/// What `dtmf_mode` means for sending, once it is known whether telephone-events were agreed.
trait Way {
    fn way(self, events: bool) -> DigitWay;
}

impl Way for DtmfMode {
    fn way(self, events: bool) -> DigitWay {
        match self {
            Self::Rfc4733 | Self::Inband | Self::Auto => DigitWay::Media,
            Self::AutoInfo if events => DigitWay::Media,
            Self::AutoInfo | Self::Info => DigitWay::Info,
            Self::None => DigitWay::None,
        }
    }
}

/// Ports and negotiation of one leg.
pub(crate) struct MediaSession {
    leg: LegId,
    local: LocalMedia,
    /// The address that its sockets are bound to.
    pub(super) bound: IpAddr,
    pub(super) negotiation: offer_answer::Session,
    capabilities: Capabilities,
    symmetric: bool,
    dtmf_mode: DtmfMode,
    rtp_timeout_ms: u32,
    rtp_timeout_hold_ms: u32,
    rtp_keepalive_s: u16,
    /// What was agreed last, and whether the call is answered: silence while it rings is no fault.
    agreed: Option<Agreed>,
    up: bool,
    forks: Forked,
    /// The far end's fax, which has taken the place of the audio.
    fax: Option<FaxStream>,
    /// Our offer that waits is one of fax.
    fax_offered: bool,
    pub(super) video: VideoPorts,
    /// Where the far end is to be told that it is heard, instead of here.
    elsewhere: Option<Elsewhere>,
    /// What our offer that waits says of that.
    telling: Option<Elsewhere>,
    /// What the far end has taken last: where its packets go.
    told: Option<Elsewhere>,
}

/// What the early dialogs of one INVITE agreed: each answers the same offer by itself (RFC 3264 §5, RFC 3261 §13.2.2.4).
#[derive(Default)]
struct Forked {
    /// Whose description counts now.
    current: Option<DialogId>,
    /// As it was when our offer had no answer.
    offered: Option<offer_answer::Session>,
    others: Vec<(DialogId, offer_answer::Session, Option<Agreed>)>,
}

impl MediaSession {
    /// Takes ports and opens a leg in the media thread.
    pub(crate) fn open(
        shard: &Rc<Shard>,
        channel: ChannelId,
        endpoint: &Endpoint,
        flow: &Flow,
    ) -> Result<Self, MediaError> {
        let capabilities = codecs::capabilities(endpoint)
            .ok_or_else(|| MediaError::NoCodecs(endpoint.id.clone()))?;
        let security =
            encryption::security(endpoint).ok_or_else(|| MediaError::Dtls(endpoint.id.clone()))?;
        let reached = family(shard, endpoint, shard.advertised(flow).ip());
        let fixed = endpoint
            .media_address
            .as_deref()
            .and_then(|text| text.parse::<IpAddr>().ok())
            .or_else(|| shard.external_media(flow))
            .or_else(|| shard.shared().config.rtp.fixed_address().ok().flatten());
        // An address of the other family cannot stand for these sockets.
        let fixed = fixed.filter(|ip| ip.is_ipv4() == reached.is_ipv4());
        let offered = fixed.unwrap_or(reached);
        if !shard.media_runs() {
            shard.counters().calls_refused_no_media.add(1);
            return Err(MediaError::Ended);
        }
        if shard.legs_exhausted() {
            shard.counters().calls_refused_no_ports.add(1);
            return Err(MediaError::NoPorts(std::io::Error::other(
                "as many legs are open as ports and descriptors allow",
            )));
        }
        let (rtp, rtcp) = shard.ports().allocate(reached).map_err(|error| {
            shard.counters().calls_refused_no_ports.add(1);
            MediaError::NoPorts(error)
        })?;
        let refill = Rc::clone(shard);
        Shard::spawn(async move {
            // After this call has got what it waits for.
            tokio::task::yield_now().await;
            refill.ports().refill(reached);
        });
        let port = |socket: &std::net::UdpSocket| {
            socket
                .local_addr()
                .map(|at| at.port())
                .map_err(MediaError::NoPorts)
        };
        crate::transport::mark_audio(&rtp, endpoint);
        crate::transport::mark_audio(&rtcp, endpoint);
        let mut local = LocalMedia::new(SocketAddr::new(offered, port(&rtp)?));
        local.rtcp_port = port(&rtcp)?;
        let leg = shard.next_leg_id();
        let random = crate::random_u64();
        let setup = LegSetup {
            leg,
            rtp,
            rtcp,
            ssrc: random as u32,
            // RFC 3711 §3.3.1: with a low beginning no receiver misses the first wrap.
            sequence: (random >> 32) as u16 & 0x7fff,
            timestamp: crate::random_u64() as u32,
            cname: format!("{:016x}", crate::random_u64()),
        };
        if !shard.media_send(Command::Open(Box::new(setup))) {
            return Err(MediaError::Overloaded);
        }
        shard.map_leg(leg, channel);
        let negotiation = offer_answer::Session::new(&endpoint.sdp_owner, random & 0x7fff_ffff)
            .with_name(&endpoint.sdp_session)
            .with_security(security);
        Ok(Self {
            leg,
            local,
            bound: reached,
            negotiation,
            capabilities,
            symmetric: endpoint.rtp_symmetric,
            dtmf_mode: endpoint.dtmf_mode,
            rtp_timeout_ms: endpoint.rtp_timeout.saturating_mul(1000),
            rtp_timeout_hold_ms: endpoint.rtp_timeout_hold.saturating_mul(1000),
            rtp_keepalive_s: u16::try_from(endpoint.rtp_keepalive).unwrap_or(u16::MAX),
            agreed: None,
            up: false,
            forks: Forked::default(),
            fax: None,
            fax_offered: false,
            video: VideoPorts::default(),
            elsewhere: None,
            telling: None,
            told: None,
        })
    }

    /// What was agreed last.
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// What is described from now on leads to somebody else, or here again. True where that is another place than before.
    pub(super) fn go_elsewhere(&mut self, at: Option<Elsewhere>) -> bool {
        let changed = self.elsewhere != at;
        self.elsewhere = at;
        changed
    }

    /// Where the far end is told that it is heard.
    pub(super) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.elsewhere.as_ref()
    }

    /// The far end sends its packets to somebody else, or may be about to, and is to send them here.
    pub(super) fn is_missed(&self) -> bool {
        let asked = self.telling.is_some() && self.is_pending();
        self.elsewhere.is_none() && (self.told.is_some() || asked)
    }

    /// The far end's fax, while there is one instead of audio.
    pub(super) fn fax(&self) -> Option<&FaxStream> {
        self.fax.as_ref()
    }

    /// Our offer that waits is one of fax.
    pub(super) fn offers_fax(&self) -> bool {
        self.fax_offered
    }

    /// Offers fax in the place of the audio.
    pub(super) fn offer_fax(&mut self, fax: &Fax) -> Result<String, MediaError> {
        let offer = self
            .negotiation
            .offer_fax(&self.local, fax.at, &fax.attributes)?;
        self.fax_offered = true;
        Ok(offer.to_string())
    }

    /// Takes the answer to that; false where it is no fax.
    pub(super) fn apply_fax(&mut self, shard: &Shard, answer: &[u8]) -> bool {
        self.fax_offered = false;
        let answer = SessionDescription::parse(answer).ok();
        self.fax = match answer {
            Some(answer) => self.negotiation.apply_fax_answer(&answer),
            None => None,
        };
        self.withdraw();
        self.watch_no_audio(shard);
        self.fax.is_some()
    }

    /// Answers an offer of fax, whose stream is `fax`.
    pub(super) fn answer_fax(
        &mut self,
        shard: &Shard,
        offer: &SessionDescription,
        own: &Fax,
        fax: &FaxStream,
    ) -> Result<String, MediaError> {
        let answer = self
            .negotiation
            .answer_fax(offer, &self.local, own.at, &own.attributes)?;
        self.fax = Some(fax.clone());
        self.watch_no_audio(shard);
        Ok(answer.to_string())
    }

    /// While there is fax, silence is no fault.
    fn watch_no_audio(&self, shard: &Shard) {
        if let Some(agreed) = &self.agreed
            && let Err(error) = self.configure(shard, agreed)
        {
            tracing::error!(%error, "the audio of a fax call");
        }
    }

    /// `rtp_symmetric`: the far end is where its packets come from.
    pub(super) fn is_symmetric(&self) -> bool {
        self.symmetric
    }

    /// The far end sends something.
    pub(super) fn receives(&self) -> bool {
        let agreed = self.agreed.as_ref();
        agreed.is_some_and(|agreed| agreed.direction.receives())
    }

    /// We hold the far end: it is told that nothing of it is heard.
    pub(super) fn is_held_by_us(&self) -> bool {
        self.local.direction != Direction::SendRecv
    }

    /// Holds the far end by what is described from now on, or no longer. True where that changes something.
    pub(crate) fn hold(&mut self, held: bool) -> bool {
        let direction = match held {
            true => Direction::SendOnly,
            false => Direction::SendRecv,
        };
        std::mem::replace(&mut self.local.direction, direction) != direction
    }

    /// Our end as it is described.
    fn described(&self) -> (LocalMedia, Capabilities) {
        let (mut local, mut capabilities) = (self.local, self.capabilities.clone());
        if let Some(elsewhere) = &self.elsewhere {
            local.rtp = elsewhere.rtp();
            local.rtcp_port = elsewhere.rtcp_port();
            capabilities
                .codecs
                .retain(|codec| elsewhere.speaks(&codec.name, codec.clock_rate));
        }
        (local, capabilities)
    }

    /// From now on the descriptions are those of this early dialog. What the leg does changes with the next of them.
    pub(crate) fn follow(&mut self, fork: &DialogId) {
        let forks = &mut self.forks;
        let Some(current) = &forks.current else {
            forks.offered = Some(self.negotiation.clone());
            forks.current = Some(fork.clone());
            return;
        };
        if current == fork {
            return;
        }
        let known = forks.others.iter().position(|(id, ..)| id == fork);
        let (negotiation, agreed) = match (known, &forks.offered) {
            (Some(index), _) => {
                let (_, negotiation, agreed) = forks.others.swap_remove(index);
                (negotiation, agreed)
            }
            (None, Some(offered)) => (offered.clone(), None),
            (None, None) => return,
        };
        let before = std::mem::replace(&mut self.negotiation, negotiation);
        let agreed = std::mem::replace(&mut self.agreed, agreed);
        forks.others.push((current.clone(), before, agreed));
        forks.current = Some(fork.clone());
    }

    /// The early dialog whose descriptions count.
    pub(crate) fn followed(&self) -> Option<&DialogId> {
        self.forks.current.as_ref()
    }

    /// This early dialog is the call's: the leg does what it agreed.
    pub(crate) fn settle(&mut self, shard: &Shard, fork: &DialogId) {
        self.follow(fork);
        self.forks = Forked {
            current: Some(fork.clone()),
            ..Forked::default()
        };
        if let Some(agreed) = &self.agreed
            && let Err(error) = self.configure(shard, agreed)
        {
            tracing::error!(%error, "a leg cannot be set to the telephone that answered");
        }
    }

    /// Takes an answer to our offer without letting the leg follow it.
    pub(crate) fn note(&mut self, answer: &[u8]) -> Result<(), MediaError> {
        let answer = SessionDescription::parse(answer)?;
        self.agreed = Some(self.negotiation.apply_answer(&answer)?);
        Ok(())
    }

    /// Our offer was refused: what was agreed before stays.
    pub(crate) fn withdraw(&mut self) {
        self.fax_offered = false;
        if self.negotiation.is_pending() {
            self.negotiation.withdraw_offer();
        }
    }

    pub(crate) fn leg(&self) -> LegId {
        self.leg
    }

    /// Hz of the audio that is sent; None before anything is agreed.
    pub(crate) fn sample_rate(&self) -> Option<u32> {
        let agreed = self.agreed.iter().flat_map(|agreed| &agreed.codecs);
        agreed.filter_map(codec_of).next().map(Codec::sample_rate)
    }

    /// Length of packets; 20 before anything is agreed.
    pub(crate) fn ptime_ms(&self) -> u8 {
        self.agreed.as_ref().map_or(20, |agreed| agreed.ptime_ms)
    }

    /// How digits of ours reach the remote.
    pub(crate) fn digit_way(&self) -> DigitWay {
        let events = self.agreed.as_ref().is_some_and(|a| a.dtmf.is_some());
        self.dtmf_mode.way(events)
    }

    /// Where we receive RTP, and where the remote does as far as it said.
    pub(crate) fn addresses(&self) -> (SocketAddr, Option<SocketAddr>) {
        let remote = self.agreed.as_ref().and_then(|agreed| agreed.remote_rtp);
        (self.local.rtp, remote)
    }

    /// Orders the codecs of the first offer by those that the calling side speaks, as `outgoing_call_offer_pref` says.
    pub(crate) fn prefer(&mut self, pref: &str, caller: &[Codec]) {
        codecs::order_for_offer(pref, &mut self.capabilities.codecs, caller);
    }

    /// The codecs agreed with the remote, the one that is sent first.
    pub(crate) fn agreed_codecs(&self) -> Vec<Codec> {
        self.agreed.as_ref().map(codecs::agreed).unwrap_or_default()
    }

    /// Sends `codec` from now on, if it was agreed; the remote may go on sending any that was.
    pub(crate) fn send_as(&mut self, shard: &Shard, codec: Codec) {
        let Some(agreed) = self.agreed.as_mut() else {
            return;
        };
        let is_wanted = |agreed: &AgreedCodec| codec_of(agreed) == Some(codec);
        match agreed.codecs.iter().position(is_wanted) {
            None | Some(0) => return,
            Some(place) => agreed.codecs[..=place].rotate_right(1),
        }
        if let Some(agreed) = &self.agreed {
            // Keys that were taken before are taken again.
            let _ = self.configure(shard, agreed);
        }
    }

    /// Answers an offer anew, as nobody has been told the first answer: with `codec` as the most wanted.
    pub(crate) fn answer_with(
        &mut self,
        shard: &Shard,
        offer: &[u8],
        codec: Codec,
    ) -> Result<String, MediaError> {
        let before = self.capabilities.clone();
        codecs::order_for_offer("remote_merge", &mut self.capabilities.codecs, &[codec]);
        self.capabilities.preference = Preference::Local;
        let answer = self.answer(shard, offer);
        self.capabilities = before;
        answer.map(|(answer, _)| answer)
    }

    /// An offer of ours.
    pub(crate) fn offer(&mut self) -> Result<String, MediaError> {
        let (local, capabilities) = self.described();
        let offer = self.negotiation.make_offer(&capabilities, &local)?;
        self.telling.clone_from(&self.elsewhere);
        Ok(offer.to_string())
    }

    /// Answers an offer that only says again what is agreed (RFC 4028 §7.4), while the far end sends its packets to somebody
    /// else: that goes on. `None` where it is another offer, or the packets come here.
    pub(crate) fn answer_unchanged(&mut self, offer: &[u8]) -> Option<(String, &Agreed)> {
        let before = self.agreed.as_ref()?;
        if self.elsewhere.is_none() || self.told != self.elsewhere {
            return None;
        }
        let offer = SessionDescription::parse(offer).ok()?;
        let (local, capabilities) = self.described();
        let mut negotiation = self.negotiation.clone();
        let (answer, agreed) = negotiation.answer(&offer, &capabilities, &local).ok()?;
        let ordered = |agreed: &Agreed| {
            let mut agreed = agreed.clone();
            agreed.codecs.sort_by_key(|codec| codec.our_pt);
            agreed
        };
        if ordered(&agreed) != ordered(before) {
            return None;
        }
        self.negotiation = negotiation;
        Some((answer.to_string(), before))
    }

    /// Answers an offer and sets the leg accordingly.
    pub(crate) fn answer(
        &mut self,
        shard: &Shard,
        offer: &[u8],
    ) -> Result<(String, Agreed), MediaError> {
        let offer = SessionDescription::parse(offer)?;
        let (answer, mut agreed) =
            self.negotiation
                .answer(&offer, &self.capabilities, &self.local)?;
        self.fax = None;
        // Once the call is up, what was sent goes on being sent where it still may be: the other leg sends the same.
        let before = self.agreed.as_ref().filter(|_| self.up);
        let before = before.and_then(|agreed| agreed.codecs.iter().find_map(codec_of));
        let place = |codec| {
            let same = |agreed: &AgreedCodec| codec_of(agreed) == Some(codec);
            agreed.codecs.iter().position(same)
        };
        if let Some(place) = before.and_then(place) {
            agreed.codecs[..=place].rotate_right(1);
        }
        self.configure(shard, &agreed)?;
        self.agreed = Some(agreed.clone());
        self.told = None;
        Ok((answer.to_string(), agreed))
    }

    /// Applies the answer to our offer and sets the leg accordingly.
    pub(crate) fn apply(&mut self, shard: &Shard, answer: &[u8]) -> Result<Agreed, MediaError> {
        let answer = SessionDescription::parse(answer)?;
        let agreed = self.negotiation.apply_answer(&answer)?;
        self.fax = None;
        self.configure(shard, &agreed)?;
        self.agreed = Some(agreed.clone());
        self.told = self.telling.take();
        Ok(agreed)
    }

    /// The call is answered: from now on missing RTP counts.
    pub(crate) fn set_up(&mut self, shard: &Shard) {
        let watched = self.rtp_timeout_ms > 0 || self.rtp_timeout_hold_ms > 0;
        if std::mem::replace(&mut self.up, true) || !watched {
            return;
        }
        if let Some(agreed) = &self.agreed
            && let Err(error) = self.configure(shard, agreed)
        {
            tracing::error!(%error, "a leg goes without its RTP timeout");
        }
    }

    /// Is the media encrypted?
    pub(crate) fn is_secure(&self) -> bool {
        self.agreed
            .as_ref()
            .is_some_and(|agreed| agreed.crypto.is_some())
    }

    /// An offer of ours waits for its answer.
    pub(crate) fn is_pending(&self) -> bool {
        self.negotiation.is_pending()
    }

    fn configure(&self, shard: &Shard, agreed: &Agreed) -> Result<(), MediaError> {
        let known: Vec<_> = agreed
            .codecs
            .iter()
            .filter_map(|agreed| Some((agreed, codec_of(agreed)?)))
            .collect();
        let Some((first, codec)) = known.first() else {
            return Ok(());
        };
        let negotiated = Negotiated {
            remote_rtp: agreed.remote_rtp,
            remote_rtcp: agreed.remote_rtcp,
            formats: known
                .iter()
                .map(|(agreed, codec)| Format {
                    payload_type: agreed.our_pt,
                    codec: *codec,
                })
                .collect(),
            send: Format {
                payload_type: first.remote_pt,
                codec: *codec,
            },
            ptime_ms: codec.ptime(agreed.ptime_ms.into()),
            encoder: match codec {
                Codec::Opus => OpusFmtp::parse(&first.remote_fmtp).encoder_options(),
                _ => EncoderOptions::default(),
            },
            // We never offer it, and so have no number for it.
            comfort_noise: false,
            dtmf_receive: agreed.dtmf.map(|(ours, _)| ours),
            dtmf_send: agreed.dtmf.map(|(_, remote)| remote),
            sending: agreed.direction.sends(),
            receiving: agreed.direction.receives(),
            symmetric: self.symmetric,
            srtp: agreed.crypto.as_ref().map(encryption::keys).transpose()?,
            rtp_timeout_ms: if !self.up || self.elsewhere.is_some() || self.fax.is_some() {
                0
            } else if agreed.on_hold {
                self.rtp_timeout_hold_ms
            } else {
                self.rtp_timeout_ms
            },
            keepalive_s: if self.elsewhere.is_some() || self.fax.is_some() {
                0
            } else {
                self.rtp_keepalive_s
            },
            dtmf_clock: agreed.dtmf_clock,
            dtmf_tones: self.dtmf_mode.way(agreed.dtmf.is_some()) == DigitWay::Media,
            detect_inband: match self.dtmf_mode {
                DtmfMode::Inband => true,
                DtmfMode::Auto => agreed.dtmf.is_none(),
                _ => false,
            },
            rtcp_mux: agreed.rtcp_mux,
            rtcp_xr: agreed.rtcp_xr,
        };
        shard.media_send(Command::Configure(self.leg, Box::new(negotiated)));
        Ok(())
    }
}

/// The address to receive media at: that of signalling; with `rtp_ipv6` one of IPv6, if this machine has one that leads
/// anywhere; with `bind_rtp_to_media_address` that one.
fn family(shard: &Shard, endpoint: &Endpoint, reached: IpAddr) -> IpAddr {
    if endpoint.bind_rtp_to_media_address
        && let Some(ip) = endpoint
            .media_address
            .as_deref()
            .and_then(|text| text.parse::<IpAddr>().ok())
    {
        return ip;
    }
    if !endpoint.rtp_ipv6 || reached.is_ipv6() {
        return reached;
    }
    let all = shard.shared().transports.all();
    let mut binds = all.iter().map(|active| active.settings.bind.ip());
    let bound = binds.find(|ip| ip.is_ipv6() && !ip.is_unspecified());
    // An address of the documentation: the kernel only says by which of ours it would be reached.
    let anywhere = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9));
    bound
        .or_else(|| crate::transport::source_address(anywhere))
        .unwrap_or(reached)
}

fn codec_of(agreed: &AgreedCodec) -> Option<Codec> {
    Codec::from_name(&agreed.name, agreed.clock_rate)
}
