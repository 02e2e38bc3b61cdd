//! Media that flows between two telephones without us (`direct_media`): while they are bridged and nobody here needs their
//! packets, each is told by re-INVITE or UPDATE where the other hears. What begins to need them, brings them back.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use strowger_sip::Method;
use strowger_sip::offer_answer::{Agreed, AgreedCodec};
use strowger_store::{DirectMediaMethod, Endpoint};

use super::media::MediaSession;
use super::renegotiate::Wanted;
use crate::channel::Channel;
use crate::shard::Shard;

/// How often the media of one call goes direct in one bridge: a telephone that describes itself anew each time that it is
/// told where the other hears would never come to rest.
const ATTEMPTS_MAX: u8 = 4;
/// How often a telephone is told again to send its packets here after it has refused that, and how long is waited first;
/// each time twice as long.
const HOME_AGAIN_MAX: u8 = 5;
const HOME_AGAIN: Duration = Duration::from_secs(2);

/// Where the other telephone hears, and what both speak under the same numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    rtp: SocketAddr,
    rtcp_port: u16,
    codecs: Vec<AgreedCodec>,
}

impl Elsewhere {
    pub(super) fn rtp(&self) -> SocketAddr {
        self.rtp
    }

    pub(super) fn rtcp_port(&self) -> u16 {
        self.rtcp_port
    }

    /// The other telephone, which agreed `other` by now, does not hear there, or not all that `own` was told.
    fn is_outdated(&self, own: &Agreed, other: &Agreed) -> bool {
        let same = |one: &AgreedCodec, two: &AgreedCodec| {
            one.name == two.name && one.clock_rate == two.clock_rate
        };
        let lost = |codec: &&AgreedCodec| {
            own.codecs.iter().any(|own| same(own, codec))
                && !other.codecs.iter().any(|other| same(other, codec))
        };
        other.remote_rtp != Some(self.rtp)
            || rtcp_port(other, self.rtp) != self.rtcp_port
            || self.codecs.iter().any(|codec| lost(&codec))
    }

    pub(super) fn speaks(&self, name: &str, clock_rate: u32) -> bool {
        let mut codecs = self.codecs.iter();
        codecs.any(|codec| codec.name == name && codec.clock_rate == clock_rate)
    }

    /// Where `other` hears, for one that agreed `own`; `None` where they cannot talk without us.
    fn of(own: &Agreed, other: &Agreed) -> Option<Self> {
        let (rtp, here) = (other.remote_rtp?, own.remote_rtp?);
        // What is encrypted has other keys on each side.
        let plain = own.crypto.is_none() && other.crypto.is_none();
        let both_ways = own.direction.sends()
            && own.direction.receives()
            && other.direction.sends()
            && other.direction.receives();
        let alike = rtp.is_ipv4() == here.is_ipv4()
            && own.ptime_ms == other.ptime_ms
            && own.rtcp_mux == other.rtcp_mux
            // Digits would come under a number that the other knows nothing of.
            && own.dtmf == other.dtmf
            && own.dtmf.is_none_or(|(ours, theirs)| ours == theirs)
            && own.dtmf_clock == other.dtmf_clock;
        let codecs: Vec<AgreedCodec> = own
            .codecs
            .iter()
            .filter(|codec| {
                let same = |other: &&AgreedCodec| {
                    other.name == codec.name
                        && other.clock_rate == codec.clock_rate
                        && other.channels == codec.channels
                        && other.our_pt == codec.our_pt
                        && other.remote_pt == codec.remote_pt
                };
                codec.our_pt == codec.remote_pt && other.codecs.iter().any(|other| same(&other))
            })
            .cloned()
            .collect();
        let first = |agreed: &Agreed| {
            let codec = agreed.codecs.first()?;
            Some((codec.name.clone(), codec.clock_rate))
        };
        let shared = !codecs.is_empty() && first(own) == first(other);
        (plain && both_ways && alike && shared).then(|| Self {
            rtp,
            rtcp_port: rtcp_port(other, rtp),
            codecs,
        })
    }
}

/// Where one that hears at `rtp` takes RTCP.
fn rtcp_port(agreed: &Agreed, rtp: SocketAddr) -> u16 {
    let own = agreed.remote_rtcp.filter(|rtcp| rtcp.ip() == rtp.ip());
    own.map_or_else(|| rtp.port().saturating_add(1), |rtcp| rtcp.port())
}

fn method(endpoint: &Endpoint) -> Method {
    match endpoint.direct_media_method {
        DirectMediaMethod::Invite => Method::Invite,
        DirectMediaMethod::Update => Method::Update,
    }
}

impl Channel {
    /// Somebody plays to this channel, records it or listens to it: its packets have to come here, until its bridge ends.
    pub(crate) fn need_media(&self) {
        let bridged = {
            let mut data = self.data_mut();
            data.media_here = true;
            data.bridged.is_some()
        };
        if bridged {
            self.touch();
        }
    }

    /// A bridge begins: it may try.
    pub(super) fn forget_direct_attempts(&self) {
        let mut data = self.data_mut();
        data.media_here = false;
        data.direct_attempts = 0;
    }

    fn is_direct(&self) -> bool {
        let session = self.session();
        let media = session.as_ref().and_then(|session| session.media.as_ref());
        media.is_some_and(MediaSession::is_elsewhere)
    }

    /// This side needs nothing of its media. Its own end of what has to be true of both.
    fn may_be_direct(&self) -> bool {
        let Some(endpoint) = self.endpoint().cloned() else {
            return false;
        };
        if !endpoint.direct_media || self.is_local() || !self.is_up() || self.is_over() {
            return false;
        }
        {
            let data = self.data();
            let heard = data.media_here
                || data.taps > 0
                || data.recordings.is_running()
                || !data.guests.is_empty()
                || data.talk.is_some()
                || !data.loudness.is_plain();
            if heard
                || data.held
                || data.hold_music.is_some()
                || data.direct_attempts >= ATTEMPTS_MAX
            {
                return false;
            }
        }
        let session = self.session();
        let Some(session) = session.as_ref() else {
            return false;
        };
        let Some(media) = session.media.as_ref() else {
            return false;
        };
        let nat = || {
            let at = media.addresses().1;
            at.is_none_or(|at| at.ip() != session.flow.remote.ip())
        };
        // Packets of video come here in any case.
        !(media.is_held_by_us()
            || media.has_video()
            || endpoint.disable_direct_media_on_nat && nat())
    }

    fn agreed(&self) -> Option<Agreed> {
        self.session().as_ref()?.media.as_ref()?.agreed().cloned()
    }

    /// Brings the media of a bridge to where it belongs now: to the two telephones, or here.
    pub(super) fn keep_direct(&self, peer: &Self, plain: bool) {
        let wanted = plain && self.may_be_direct() && peer.may_be_direct();
        let is = (self.is_direct(), peer.is_direct());
        if !wanted {
            if is != (false, false) {
                self.bring_home();
                peer.bring_home();
            }
            return;
        }
        let (Some(own), Some(other)) = (self.agreed(), peer.agreed()) else {
            return;
        };
        let both = (Elsewhere::of(&own, &other), Elsewhere::of(&other, &own));
        if is != (true, true) {
            if let (Some(there), Some(here)) = both {
                self.send_away(there, peer);
                peer.send_away(here, self);
            }
            return;
        }
        // Each answered with where it hears from now on, which may be elsewhere than the other was told.
        let stale = (
            self.is_told_outdated(&own, &other),
            peer.is_told_outdated(&other, &own),
        );
        let settled = !self.is_changing() && !peer.is_changing();
        match both {
            _ if !settled || stale == (false, false) => {}
            (Some(there), Some(here)) => {
                if stale.0 {
                    self.send_away(there, peer);
                }
                if stale.1 {
                    peer.send_away(here, self);
                }
            }
            _ => {
                self.data_mut().direct_attempts = ATTEMPTS_MAX;
                self.bring_home();
                peer.bring_home();
            }
        }
    }

    /// This telephone, which agreed `own`, was told where the other does not hear any more, which agreed `other` since.
    fn is_told_outdated(&self, own: &Agreed, other: &Agreed) -> bool {
        let session = self.session();
        let media = session.as_ref().and_then(|session| session.media.as_ref());
        let told = media.and_then(MediaSession::elsewhere);
        told.is_some_and(|told| told.is_outdated(own, other))
    }

    fn send_away(&self, there: Elsewhere, peer: &Self) {
        let Some(endpoint) = self.endpoint().cloned() else {
            return;
        };
        self.data_mut().direct_attempts += 1;
        let skipped = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            // Two exchanges that both go direct would cross: one leaves the first time to the other.
            let caller = session.outgoing.is_some();
            let skipped = !std::mem::replace(&mut session.glare_mitigated, true)
                && match endpoint.direct_media_glare_mitigation.as_str() {
                    "outgoing" => caller,
                    "incoming" => !caller,
                    _ => false,
                };
            if let Some(media) = session.media.as_mut() {
                media.go_elsewhere(Some(there));
            }
            skipped
        };
        if skipped {
            return;
        }
        let (wanted, told) = Wanted::media(method(&endpoint)).told();
        self.renegotiate(wanted);
        let shard = Rc::clone(self.shard());
        let (id, peer) = (self.id(), peer.id());
        Shard::spawn(async move {
            let Ok(Err(status)) = told.await else { return };
            for (id, other) in [(id, peer), (peer, id)] {
                // In another bridge by now it says nothing.
                let still =
                    |channel: &Self| !channel.is_over() && channel.data().bridged == Some(other);
                if let Some(channel) = shard.channel(id).filter(still) {
                    tracing::debug!(channel = %channel.name(), status, "no direct media: refused");
                    channel.data_mut().direct_attempts = ATTEMPTS_MAX;
                    channel.touch();
                }
            }
        });
    }

    /// The media comes here again. Nothing is said to who hangs up at this very moment.
    pub(super) fn bring_home(&self) {
        let was = self
            .session()
            .as_mut()
            .and_then(|session| session.media.as_mut())
            .is_some_and(|media| media.go_elsewhere(None) && media.is_missed());
        if was {
            self.ask_home();
        }
    }

    fn is_missed(&self) -> bool {
        let session = self.session();
        let media = session.as_ref().and_then(|session| session.media.as_ref());
        !self.is_over() && media.is_some_and(MediaSession::is_missed)
    }

    /// Tells the telephone to send its packets here, again and again where it does not take that: while it sends them to
    /// somebody else, nothing of it is heard.
    pub(super) fn ask_home(&self) {
        let Some(endpoint) = self.endpoint().cloned() else {
            return;
        };
        let shard = Rc::clone(self.shard());
        let id = self.id();
        Shard::spawn(async move {
            tokio::task::yield_now().await;
            let missed = || shard.channel(id).filter(Self::is_missed);
            let mut delay = HOME_AGAIN;
            for tried in 0..=HOME_AGAIN_MAX {
                let Some(channel) = missed() else { return };
                // Who refuses an UPDATE may take an INVITE.
                let by = match tried {
                    0 => method(&endpoint),
                    _ => Method::Invite,
                };
                let (wanted, told) = Wanted::media(by).told();
                channel.renegotiate(wanted);
                drop(channel);
                if matches!(told.await, Ok(Ok(()))) {
                    return;
                }
                tokio::time::sleep(delay).await;
                delay *= 2;
            }
            if let Some(channel) = missed() {
                tracing::warn!(channel = %channel.name(), "the telephone refuses to send its audio here again: nothing of it is heard");
            }
        });
    }

    /// The far end describes itself anew: our answer speaks for ourselves, and so does what its partner is told.
    pub(super) fn come_home_for_offer(&self) {
        let was = self
            .session()
            .as_mut()
            .and_then(|session| session.media.as_mut())
            .is_some_and(|media| media.go_elsewhere(None));
        if was && let Some(peer) = self.bridge_peer() {
            peer.bring_home();
        }
    }
}
