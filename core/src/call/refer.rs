//! REFER from telephones (RFC 3515): a party of a call is sent to another number (blind), or connected with the other call of
//! who transfers (attended: Refer-To with Replaces, RFC 3891).
//!
//! Who transfers is out at once; his dialog stays, until he has been told what came of it or hangs up himself.

use std::rc::Rc;
use std::time::{Duration, Instant};

use strowger_sip::headers::Replaces;
use strowger_sip::message::reason_phrase;
use strowger_sip::transaction::ServerId;
use strowger_sip::uri::{Scheme, unescape};
use strowger_sip::{Builder, HeaderName, Message, Method, Uri};
use tokio::sync::mpsc;

use super::replaced;
use crate::channel::{Cause, Channel, Location, Talk};
use crate::dialplan::Exists;
use crate::shard::Shard;

/// How long who transferred may be told what becomes of it.
const TOLD_MAX: Duration = Duration::from_secs(300);
/// How long two calls may take to be put together.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// Signs of progress that wait to be told.
const SIGNS_MAX: usize = 8;

/// A transfer that who asked for it is told of.
#[derive(Debug)]
pub(crate) struct Referral {
    /// CSeq number of the REFER.
    cseq: u32,
    /// It is not the first of its dialog: its NOTIFYs have to say which it is (RFC 3515 §2.4.6).
    later: bool,
    /// NOTIFYs are wanted (RFC 4488).
    notifies: bool,
    since: Instant,
    /// The call of who transferred is over: BYE follows the last NOTIFY.
    pub(crate) bye: Option<Cause>,
}

/// Where a party of the call is to go.
enum Wanted {
    Blind(Location),
    /// To the other party of this dialog.
    Attended(Replaces, Uri),
}

type Refused = (u16, &'static str);

/// Why a transfer was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error("the channel talks with nobody")]
    Alone,
    #[error("there is no such number")]
    NoSuchNumber,
}

impl Channel {
    /// A REFER in our dialog.
    pub(super) fn on_refer(&self, id: ServerId, request: &Message) {
        let refuse = |(status, reason): Refused| {
            let response = Builder::response_to(request, status, reason).finish();
            self.shard().respond(id, response);
        };
        let wanted = match self.wanted(request) {
            Ok(wanted) => wanted,
            Err(refused) => {
                self.tell_refused(request, refused.0);
                return refuse(refused);
            }
        };
        match wanted {
            Wanted::Blind(place) => {
                let Some(peer) = self.transferee() else {
                    return refuse((500, "Nobody To Transfer"));
                };
                self.accept_referral(id, request);
                self.blind(request, &peer, place);
            }
            Wanted::Attended(replaces, uri) => {
                let (channel, request) = (self.clone(), request.clone());
                Shard::spawn(async move { channel.attended(id, &request, &replaces, &uri).await });
            }
        }
    }

    /// Programs that watch hear of a transfer that is not made.
    fn tell_refused(&self, request: &Message, status: u16) {
        let result = match status {
            603 => "Not Permitted",
            404 => "Invalid",
            _ => "Fail",
        };
        let targets = request.addresses(HeaderName::ReferTo);
        let exten = match targets.as_deref() {
            Ok([target]) => exten_of(&target.uri),
            _ => String::new(),
        };
        let context = self.transfer_context();
        let peer = self.transferee();
        self.tell_blind_transfer(result, peer.as_ref(), true, (&context, &exten));
    }

    /// What a REFER asks for.
    fn wanted(&self, request: &Message) -> Result<Wanted, Refused> {
        let endpoint = self.endpoint();
        if endpoint.is_some_and(|endpoint| !endpoint.allow_transfer) {
            return Err((603, "Decline"));
        }
        let pending = self
            .session()
            .as_ref()
            .is_some_and(|session| session.referral.is_some());
        if pending {
            return Err((491, "Request Pending"));
        }
        let targets = request.addresses(HeaderName::ReferTo);
        let target = match targets.as_deref() {
            Ok([target]) => &target.uri,
            _ => return Err((400, "Bad Request (one Refer-To that can be read is needed)")),
        };
        if !matches!(target.scheme, Scheme::Sip | Scheme::Sips) {
            return Err((416, "Unsupported URI Scheme"));
        }
        let replaces = target
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("replaces"));
        if let Some((_, value)) = replaces {
            let replaces = Replaces::parse(&unescape(value))
                .map_err(|_| (400, "Bad Request (Replaces cannot be read)"))?;
            let mut uri = target.clone();
            uri.headers.clear();
            return Ok(Wanted::Attended(replaces, uri));
        }
        let exten = exten_of(target);
        let context = self.transfer_context();
        self.existing(&context, &exten).map(Wanted::Blind)
    }

    /// The context in which numbers of a transfer are looked for.
    fn transfer_context(&self) -> String {
        let set = self.variable("TRANSFER_CONTEXT");
        let own = || self.endpoint().map(|endpoint| endpoint.context.clone());
        set.filter(|context| !context.is_empty())
            .or_else(own)
            .unwrap_or_else(|| self.data().location.context.clone())
    }

    fn existing(&self, context: &str, exten: &str) -> Result<Location, Refused> {
        let caller = self.data().caller.number.clone();
        match self.shard().dialplan().exists(context, exten, &caller) {
            Exists::Yes => Ok(Location::new(context, exten, 1)),
            Exists::Incomplete | Exists::No => Err((404, "Not Found")),
        }
    }

    /// Whom this channel talks with.
    fn transferee(&self) -> Option<Self> {
        self.bridge_peer().filter(|peer| !peer.is_over())
    }

    /// 202, and the first NOTIFY.
    fn accept_referral(&self, id: ServerId, request: &Message) {
        let wants = |value: &str| !value.trim().eq_ignore_ascii_case("false");
        let notifies = request.header(&HeaderName::ReferSub).is_none_or(wants);
        let mut response = Builder::response_to(request, 202, "Accepted");
        if let Some(session) = self.session().as_mut() {
            let cseq = request.cseq().map_or(0, |cseq| cseq.number);
            session.referral = Some(Referral {
                cseq,
                later: std::mem::replace(&mut session.referred, true),
                notifies,
                since: crate::clock::now(),
                bye: None,
            });
            response.push(HeaderName::Contact, &session.contact);
        }
        if !notifies {
            response.push(HeaderName::ReferSub, "false");
        }
        let server = self.shard().shared().user_agent();
        response.push(HeaderName::Server, server);
        self.shard().respond(id, response.finish());
        self.notify_referral(100, false);
    }

    /// Tells who transferred how far it is.
    fn notify_referral(&self, status: u16, last: bool) {
        let shard = Rc::clone(self.shard());
        let request = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let Some(referral) = session.referral.as_ref().filter(|known| known.notifies) else {
                return;
            };
            let event = if referral.later {
                format!("refer;id={}", referral.cseq)
            } else {
                "refer".to_owned()
            };
            let left = TOLD_MAX
                .saturating_sub(crate::clock::since(referral.since))
                .as_secs();
            let state = if last {
                "terminated;reason=noresource".to_owned()
            } else {
                format!("active;expires={}", left.max(1))
            };
            let flow = session.live_flow(&shard);
            let via = super::session::new_via(&shard, &flow);
            let body = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
            session.dialog.as_mut().map(|dialog| {
                let request = dialog
                    .request(Method::Notify, &via)
                    .header(HeaderName::Event, event)
                    .header(HeaderName::SubscriptionState, state)
                    .header(HeaderName::AllowEvents, crate::subscription::ALLOW_EVENTS)
                    .header(HeaderName::UserAgent, shard.shared().user_agent())
                    .body("message/sipfrag;version=2.0", body)
                    .finish();
                (request, flow)
            })
        };
        if let Some((request, flow)) = request {
            let endpoint = self.endpoint();
            let auths = endpoint.map(|endpoint| endpoint.outbound_auth.clone());
            shard.counters().notifies_sent.add(1);
            shard.request_in_dialog(request, flow, auths.unwrap_or_default());
        }
    }

    /// The last NOTIFY, and the BYE that waited for it.
    fn end_referral(&self, status: u16) {
        self.notify_referral(status, true);
        let bye = {
            let mut guard = self.session();
            let referral = guard.as_mut().and_then(|session| session.referral.take());
            referral.and_then(|referral| referral.bye)
        };
        if let Some(cause) = bye {
            self.send_bye(cause);
        }
        if self.is_over() && !self.has_open_transactions() {
            self.shard().forget_lingering(self.id());
        }
    }

    /// Sends whom this channel talks with to a number, in this context or where its transfers lead; the channel itself ends.
    ///
    /// # Errors
    /// [`TransferError`]; nothing has changed then.
    pub fn transfer_peer(&self, context: Option<&str>, exten: &str) -> Result<(), TransferError> {
        let peer = self.transferee().ok_or(TransferError::Alone)?;
        let context = context.map_or_else(|| self.transfer_context(), str::to_owned);
        let place = self.existing(&context, exten);
        let place = place.map_err(|_| TransferError::NoSuchNumber)?;
        let name = self.name();
        self.tell_blind_transfer(
            "Success",
            Some(&peer),
            false,
            (&place.context, &place.exten),
        );
        peer.set_variable("BLINDTRANSFER", &name);
        peer.set_variable("TRANSFERERNAME", &name);
        peer.leave_for(Leaving::Place(place));
        self.hangup(Cause::NORMAL_CLEARING);
        Ok(())
    }

    /// Sends `peer` to a place in the dialplan.
    fn blind(&self, request: &Message, peer: &Self, place: Location) {
        let name = self.name();
        self.tell_blind_transfer("Success", Some(peer), true, (&place.context, &place.exten));
        for (variable, value) in [
            ("BLINDTRANSFER", &*name),
            ("TRANSFERERNAME", &*name),
            ("SIPTRANSFER", "yes"),
            ("SIPREFERRINGCONTEXT", &place.context),
        ] {
            peer.set_variable(variable, value);
        }
        for (variable, header) in [
            ("__SIPREFERREDBYHDR", HeaderName::ReferredBy),
            ("SIPREFERTOHDR", HeaderName::ReferTo),
        ] {
            if let Some(value) = request.header(&header) {
                peer.set_variable(variable, value);
            }
        }
        let follows = self
            .endpoint()
            .is_none_or(|endpoint| endpoint.refer_blind_progress);
        let (tell, told) = mpsc::channel(SIGNS_MAX);
        if follows {
            peer.data_mut().transferred = Some(tell);
        }
        peer.leave_for(Leaving::Place(place));
        self.hangup(Cause::NORMAL_CLEARING);
        let who = self.clone();
        Shard::spawn(async move { who.follow_transfer(told, follows).await });
    }

    /// Tells who transferred what becomes of the other's new call.
    async fn follow_transfer(&self, mut told: mpsc::Receiver<u16>, follows: bool) {
        if !follows {
            return self.end_referral(200);
        }
        let until = crate::clock::now() + TOLD_MAX;
        let mut last = 100;
        let status = loop {
            match tokio::time::timeout_at(until.into(), told.recv()).await {
                Ok(Some(status)) if status < 200 => {
                    if std::mem::replace(&mut last, status) != status {
                        self.notify_referral(status, false);
                    }
                }
                Ok(Some(status)) => break status,
                Ok(None) => break 603,
                Err(_) => break 408,
            }
        };
        self.end_referral(status);
    }

    /// How far the call of who was transferred is.
    pub(crate) fn tell_transfer(&self, status: u16) {
        let mut data = self.data_mut();
        // Who asked has a queue of signs; its last place is for the outcome, and where only that is left, an older sign says
        // enough.
        if status >= 200 {
            if let Some(tell) = data.transferred.take() {
                let _ = tell.try_send(status);
            }
        } else if let Some(tell) = &data.transferred
            && tell.capacity() > 1
        {
            let _ = tell.try_send(status);
        }
    }

    /// The same at the end of this channel.
    pub(crate) fn tell_transfer_ended(&self, cause: Cause) {
        let status = match cause {
            Cause(0) | Cause::NORMAL_CLEARING => 603,
            cause => cause.to_status().0,
        };
        self.tell_transfer(status);
    }

    /// Leaves what it does for something else: an application, a bridge that another keeps up, or one without a dialplan.
    pub(crate) fn leave_for(&self, what: Leaving) {
        let runs = self.data().runs_dialplan;
        if !runs && !self.take_from_bridge() && self.data().bridge.is_some() {
            // Its own bridge lets it go as soon as the other is gone.
            let mut data = self.data_mut();
            match what {
                Leaving::Place(place) => data.after_bridge = Some(place),
                Leaving::Bridge(name) => data.errand = Some(bridge_with(&name)),
            }
            return;
        }
        match what {
            Leaving::Place(place) => self.go_to(place),
            Leaving::Bridge(name) => {
                let (application, arguments) = bridge_with(&name);
                self.run_application(&application, &arguments);
            }
        }
    }

    /// A channel without a dialplan goes where it was transferred to, or told before to go, when its bridge is over. False:
    /// there is no such place.
    pub(super) fn go_after_bridge(&self) -> bool {
        let (place, errand) = {
            let mut data = self.data_mut();
            (data.after_bridge.take(), data.errand.take())
        };
        match (place, errand) {
            (Some(place), _) if !self.is_over() => self.go_to(place),
            (None, Some((name, data))) if !self.is_over() => self.run_application(&name, &data),
            _ => return false,
        }
        true
    }

    async fn attended(&self, id: ServerId, request: &Message, replaces: &Replaces, uri: &Uri) {
        let refuse = |status: u16, reason: &str| {
            let response = Builder::response_to(request, status, reason).finish();
            self.shard().respond(id, response);
        };
        let shard = Rc::clone(self.shard());
        let found = replaced::find(&shard, replaces).await;
        let Some(peer) = self.transferee() else {
            return refuse(500, "Nobody To Transfer");
        };
        let Some(found) = found.filter(|found| !found.over) else {
            // It is no call of ours: the dialplan may know how to get there.
            let context = self.transfer_context();
            return match self.existing(&context, "external_replaces") {
                Ok(place) => {
                    peer.set_variable("SIPREPLACESHDR", &replaces.to_string());
                    self.accept_referral(id, request);
                    self.blind(request, &peer, place);
                }
                Err(_) => {
                    tracing::info!(channel = %self.name(), %uri, "attended transfer to a call that is not here");
                    refuse(404, "Not Found");
                }
            };
        };
        if found.name == *self.name() {
            return refuse(400, "Bad Request (a call cannot be transferred to itself)");
        }
        self.accept_referral(id, request);
        peer.set_variable("ATTENDEDTRANSFER", &found.name);
        if let Some(by) = request.header(&HeaderName::ReferredBy) {
            peer.set_variable("__SIPREFERREDBYHDR", by);
        }
        let before = peer.data().bridged;
        let bridges = found.partner.is_some();
        peer.tell_attended_transfer(&Talk::of(self, Some(&peer)), &found.talk, true);
        match &found.partner {
            Some(partner) => peer.leave_for(Leaving::Bridge(partner.clone())),
            // The other call has reached no telephone yet, or an application: the party goes there itself.
            None => {
                peer.leave_for(Leaving::Place(found.place.clone()));
                found.end(shard.shared());
            }
        }
        self.hangup(Cause::NORMAL_CLEARING);
        let until = crate::clock::now() + JOIN_MAX;
        let joined = !bridges || replaced::joined(&peer, before, until).await;
        // The other call is left alone where nobody came into it, and who was to be connected goes on in his dialplan.
        if bridges && joined {
            let runs = peer.data().runs_dialplan;
            peer.data_mut().last_errand = runs;
            found.end(shard.shared());
        }
        self.end_referral(if joined { 200 } else { 503 });
    }
}

/// What a channel leaves its call for.
pub(crate) enum Leaving {
    Place(Location),
    /// A talk with the channel of this name.
    Bridge(String),
}

/// Bridges until one of the two ends, which ends both.
fn bridge_with(name: &str) -> (String, String) {
    ("Bridge".to_owned(), format!("{name},x"))
}

/// The number that a Refer-To names.
fn exten_of(uri: &Uri) -> String {
    match uri.user_decoded() {
        Some(user) if !user.is_empty() => user.into_owned(),
        _ => "s".to_owned(),
    }
}
