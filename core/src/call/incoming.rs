//! The called side: an INVITE becomes a channel that runs the dialplan; ringing, early media, the answer, CANCEL.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use strowger_sip::accepted::AcceptedInvite;
use strowger_sip::body::{Body, SDP};
use strowger_sip::dialog::Dialog;
use strowger_sip::session_timer::{Policy, Refusal as TimerRefusal};
use strowger_sip::transaction::ServerId;
use strowger_sip::{Builder, Flow, HeaderName, Message};
use strowger_store::Endpoint;

use super::media::MediaSession;
use super::outgoing::{apply_set_var, contact};
use super::session::{Incoming, Session};
use super::timing::{self, Timing};
use super::{diversion, extensions, identity, provisional};
use crate::channel::{Cause, Channel, Data, LegEnd, Location, State, Yank};
use crate::dialplan::{Exists, LocalFuture, Reach};
use crate::shard::{ALLOW, DialogKey, Shard};

/// A refusal of an INVITE before a channel exists.
struct Refusal {
    status: u16,
    reason: &'static str,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    fn new(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Takes the INVITE of an identified and authenticated endpoint.
pub(crate) fn invite(
    shard: &Rc<Shard>,
    id: ServerId,
    request: &Message,
    flow: Flow,
    endpoint: &Arc<Endpoint>,
) {
    if let Err(refusal) = take(shard, id, request, flow, endpoint) {
        let mut response = Builder::response_to(request, refusal.status, refusal.reason)
            .to_tag(&shard.tag())
            .header(HeaderName::Server, shard.shared().user_agent());
        for (name, value) in refusal.headers {
            response.push(name, value);
        }
        shard.respond(id, response.finish());
    }
}

fn take(
    shard: &Rc<Shard>,
    id: ServerId,
    request: &Message,
    flow: Flow,
    endpoint: &Arc<Endpoint>,
) -> Result<(), Refusal> {
    let bad = |what: &str| {
        Refusal::new(400, "Bad Request")
            .with(HeaderName::Warning, format!("399 strowger \"{what}\""))
    };
    if let Some(unknown) = extensions::unsupported(request, Some(endpoint)) {
        return Err(Refusal::new(420, "Bad Extension").with(HeaderName::Unsupported, unknown));
    }
    let extension_required =
        |tag: &str| Refusal::new(421, "Extension Required").with(HeaderName::Require, tag);
    let reliable = provisional::is_reliable(endpoint, request)
        .map_err(|()| extension_required(strowger_sip::reliable::OPTION))?;
    let mut timing = Timing::new(timing::policy(endpoint));
    timing.terms = timing
        .policy
        .judge(request, None)
        .map_err(|refusal| match refusal {
            TimerRefusal::Unsupported => extension_required(strowger_sip::session_timer::OPTION),
            TimerRefusal::TooSmall(least) => Refusal::new(422, "Session Interval Too Small")
                .with(HeaderName::MinSe, least.to_string()),
        })?;
    let body = Body::of(request);
    if body == Body::Unsupported {
        return Err(Refusal::new(415, "Unsupported Media Type").with(HeaderName::Accept, SDP));
    }
    let replaces = super::replaced::of(request)
        .map_err(|()| bad("Replaces cannot be read, or there are several"))?;
    let uri = request
        .uri()
        .and_then(Result::ok)
        .ok_or_else(|| bad("the Request-URI cannot be read"))?;
    let from = request.from().map_err(|_| bad("From cannot be read"))?;
    let dialled = uri
        .user_decoded()
        .map(|user| user.into_owned())
        .unwrap_or_default();
    let exten = if dialled.is_empty() {
        "s".to_owned()
    } else {
        dialled.clone()
    };
    let snapshot = shard.shared().snapshot();
    let exten = identity::number_of(&exten, &snapshot.globals).to_owned();
    let caller = identity::caller_of(endpoint, &snapshot.globals, request, from);
    let context = endpoint.context.as_str();
    match shard.dialplan().exists(context, &exten, &caller.number) {
        _ if replaces.is_some() => {}
        Exists::Yes => {}
        incomplete @ (Exists::Incomplete | Exists::No)
            if endpoint.allow_overlap && {
                let overlap = endpoint.overlap_context.as_deref();
                match overlap.filter(|context| !context.is_empty()) {
                    None => incomplete == Exists::Incomplete,
                    Some(context) => {
                        let more = shard.dialplan().exists(context, &exten, &caller.number);
                        more == Exists::Incomplete
                    }
                }
            } =>
        {
            return Err(Refusal::new(484, "Address Incomplete"));
        }
        Exists::Incomplete | Exists::No => {
            tracing::info!(
                endpoint = endpoint.id,
                exten,
                context,
                "number not found in the dialplan"
            );
            return Err(Refusal::new(404, "Not Found").with(
                HeaderName::Reason,
                super::session::reason(Cause::UNALLOCATED),
            ));
        }
    }
    let tag = shard.tag();
    let mut our_contact = contact(shard, &flow, endpoint.contact_user.as_deref());
    // RFC 3261 §12.1.1: who calls by sips is answered by it.
    if uri.scheme == strowger_sip::uri::Scheme::Sips {
        our_contact = super::target::as_sips(&our_contact);
    }
    let mut dialog =
        Dialog::uas(request, &tag, &our_contact).map_err(|error| bad(&error.to_string()))?;
    if endpoint.rewrite_contact {
        rewrite_target(&mut dialog, &flow);
    }
    // A B2BUA passes on what is left of Max-Forwards, so that a loop through trunks ends (RFC 3261 §16.6).
    let forwards = request.max_forwards().ok().flatten().unwrap_or(70);
    if forwards == 0 {
        return Err(Refusal::new(483, "Too Many Hops"));
    }
    let shared = shard.shared();
    let uniqueid = shared.next_uniqueid();
    let mut data = Data::new(
        State::Ring,
        Location::new(context, &exten, 1),
        uniqueid.clone(),
    );
    data.ani.clone_from(&caller.number);
    data.caller = caller;
    data.max_forwards = forwards - 1;
    data.invited_at = Some(shard.parsed_at.get());
    data.dnid = dialled;
    if let Some(redirecting) = diversion::read(request, &snapshot.globals) {
        data.rdnis.clone_from(&redirecting.from.number);
        data.redirecting = redirecting;
    }
    data.accountcode = endpoint.accountcode.clone().unwrap_or_default();
    data.language = endpoint.language.clone().unwrap_or_else(|| "en".to_owned());
    data.tonezone = endpoint.tone_zone.clone().unwrap_or_default();
    data.cdr
        .begin(SystemTime::now(), crate::shared::next_cdr_sequence);
    data.variables.set("SIPDOMAIN", &uri.host.to_string());
    let name = format!(
        "PJSIP/{}-{:08x}",
        endpoint.id,
        shared.next_channel_sequence()
    );
    let channel = Channel::new(shard, name, uniqueid, Some(Arc::clone(endpoint)), data);
    let refused = |error: super::media::MediaError| {
        tracing::info!(endpoint = endpoint.id, %error, "INVITE refused");
        let (status, reason) = error.status();
        let refusal = Refusal::new(status, reason).with(HeaderName::Warning, error.warning());
        if status == 503 {
            refusal.with(HeaderName::RetryAfter, "5")
        } else {
            refusal
        }
    };
    let mut media = MediaSession::open(shard, channel.id(), endpoint, &flow).map_err(refused)?;
    channel.set_leg(Some(media.leg()));
    let answer = match body.description() {
        None => None,
        Some(offer) => match media.answer(shard, offer) {
            Ok((answer, _)) => Some(answer),
            Err(error) => {
                channel.close_media();
                return Err(refused(error));
            }
        },
    };
    let key = DialogKey {
        call_id: dialog.id().call_id.to_string(),
        local_tag: tag.clone(),
    };
    let mut session = Session::new(shard, flow, our_contact);
    session.media = Some(media);
    session.dialog = Some(dialog);
    if !endpoint.rewrite_contact {
        session.route(shard);
    }
    session.key = Some(key.clone());
    session.received = Some(request.clone());
    session.reliable = reliable.then(|| provisional::responses(shard, id, request));
    session.timing = timing;
    session.peer_updates = extensions::takes_update(request).unwrap_or(false);
    session.incoming = Some(Incoming {
        id,
        request: request.clone(),
        tag,
        answer,
        ringing: false,
        early_media: false,
        settled: false,
        accepted: None,
    });
    *channel.session() = Some(session);
    apply_set_var(&channel, endpoint.set_var.as_deref());
    shared.tracer.named(&key.call_id, &channel);
    shard.map_dialog(key, channel.id());
    shard.map_server(id, channel.id());
    shard.add_channel(&channel, true);
    shard.counters().calls_incoming.add(1);
    match replaces {
        None => run(channel.clone()),
        Some(replaces) => run_as(channel.clone(), (), |channel| {
            Box::pin(super::replaced::take_over(channel.clone(), replaces))
        }),
    }
    // Behind the first steps of the dialplan, in the order of tasks.
    Shard::spawn(async move { channel.tell_use() });
    Ok(())
}

/// Runs the dialplan of a channel and forgets the channel afterwards. A panic ends this call only.
pub(super) fn run(channel: Channel) {
    run_holding(channel, ());
}

/// The same; `held` is dropped when nothing of the channel runs any more.
pub(super) fn run_holding(channel: Channel, held: impl Sized + 'static) {
    run_as(channel, held, |channel| {
        channel.shard().dialplan().run(channel.clone())
    });
}

fn run_as(
    channel: Channel,
    held: impl Sized + 'static,
    make: impl FnOnce(&Channel) -> LocalFuture<()>,
) {
    if channel.is_over() || std::mem::replace(&mut channel.data_mut().runs_dialplan, true) {
        return;
    }
    let task = tokio::task::spawn_local(make(&channel));
    Shard::spawn(async move {
        if let Err(error) = task.await
            && error.is_panic()
        {
            channel.shard().counters().calls_failed_panic.add(1);
            tracing::error!(channel = %channel.name(), "the call is ended because of a fault in its dialplan's execution");
        }
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            channel.hangup(Cause::NORMAL_TEMPORARY_FAILURE)
        }));
        log_end(&channel);
        channel.finish();
        drop(held);
    });
}

/// Forgets a channel that runs no dialplan, when what was pushed for its end has run.
pub(super) fn finish_after_handlers(channel: Channel) {
    if channel.data().hangup_handlers.is_empty() {
        channel.finish();
        return;
    }
    channel.data_mut().runs_dialplan = true;
    let dialplan = channel.shard().dialplan();
    let task = tokio::task::spawn_local(dialplan.hangup_handlers(channel.clone()));
    Shard::spawn(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            channel.shard().counters().calls_failed_panic.add(1);
            tracing::error!(channel = %channel.name(), "a hang-up handler of the call had a fault in its execution");
        }
        channel.finish();
    });
}

/// One line for each call.
fn log_end(channel: &Channel) {
    let data = channel.data();
    let seconds = crate::clock::since(data.created_at).as_secs_f64();
    tracing::info!(
        channel = %channel.name(),
        uniqueid = %channel.uniqueid(),
        caller = data.caller.number,
        dialled = data.dnid,
        cause = data.cause.0,
        answered = data.answered.is_some(),
        seconds = (seconds * 10.0).round() / 10.0,
        "call ended"
    );
}

/// RFC 3262 §5: a caller without an offer gets ours in the first reliable response.
fn late_offer(session: &mut Session) -> Option<String> {
    let incoming = session.incoming.as_ref()?;
    let described = incoming.answer.is_some() || incoming.settled || session.answer_in_prack;
    let media = session.media.as_mut()?;
    if described || session.reliable.is_none() {
        return None;
    }
    let offer = media.offer().ok()?;
    session.answer_in_prack = true;
    Some(offer)
}

/// `rewrite_contact`: requests in the dialog go to where the INVITE came from.
pub(crate) fn rewrite_target(dialog: &mut Dialog, flow: &Flow) {
    // Behind proxies that stay in the path the source is the proxy, and the contact is reached through it.
    if !dialog.route_set().is_empty() {
        return;
    }
    let mut target = dialog.remote_target().clone();
    target.host = flow.remote.ip().into();
    target.port = Some(flow.remote.port());
    dialog.set_remote_target(target);
}

impl Channel {
    /// Lets a dialled channel go through the dialplan by itself, from its location (Dial options `F` and `G`).
    pub fn continue_in_dialplan(&self) {
        if self.data().cdr.is_closed() {
            self.begin_records(SystemTime::now());
        }
        run(self.clone());
    }

    /// Sends the channel to a place in the dialplan: out of what it does where it runs one, by itself where it was only dialled.
    pub fn go_to(&self, place: Location) {
        if self.data().runs_dialplan {
            self.redirect(place);
            return self.end_yank();
        }
        self.set_location(place);
        self.continue_in_dialplan();
    }

    /// The dialplan of a channel that was taken out of it has something else to do than to wait.
    fn end_yank(&self) {
        let mut data = self.data_mut();
        if data.yank == Some(Yank::Given) {
            data.yank = None;
            drop(data);
            self.touch();
        }
    }

    /// Runs an application: instead of what it does on a channel that runs the dialplan, which goes on behind that; on a
    /// dialled channel by itself, and the channel ends with it.
    pub fn run_application(&self, name: &str, data: &str) {
        self.run_application_within(Reach::Exchange, name, data);
    }

    /// The same for an application that may not reach further than that.
    pub(crate) fn run_application_within(&self, reach: Reach, name: &str, data: &str) {
        if self.data().runs_dialplan {
            if reach != Reach::Exchange {
                // What runs already has its own reach; nobody asks for this of a channel that was only called.
                return self.hangup(Cause::INTERWORKING);
            }
            self.data_mut().errand = Some((name.to_owned(), data.to_owned()));
            self.touch();
            return self.end_yank();
        }
        if self.data().cdr.is_closed() {
            self.begin_records(SystemTime::now());
        }
        let (name, data) = (name.to_owned(), data.to_owned());
        run_as(self.clone(), (), |channel| {
            let dialplan = channel.shard().dialplan();
            dialplan.application(channel.clone(), name, data, reach)
        });
    }

    /// Its call records begin: it is no longer only somebody's far end.
    pub(crate) fn begin_records(&self, start: SystemTime) {
        let mut data = self.data_mut();
        data.cdr.begin(start, crate::shared::next_cdr_sequence);
    }

    /// A response to our open INVITE, with what every response of the dialog has.
    fn invite_response(&self, status: u16, reason: &str) -> Option<(ServerId, Builder)> {
        let guard = self.session();
        let session = guard.as_ref()?;
        let incoming = session.incoming.as_ref()?;
        let mut builder = Builder::response_to(&incoming.request, status, reason)
            .to_tag(&incoming.tag)
            .header(HeaderName::Contact, &session.contact)
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Server, self.shard().shared().user_agent());
        if let Some(endpoint) = self.endpoint().filter(|_| status < 300) {
            let at = self.shard().advertised(&session.flow);
            for (name, value) in identity::connected_headers(endpoint, &self.data().connected, at) {
                builder.push(name, value);
            }
        }
        Some((incoming.id, builder))
    }

    /// Has the far end call `destination`, a number or a URI, instead: by 302 where the call is not answered, which ends it,
    /// by REFER where it is (RFC 3515). Whether it was sent, and the status.
    pub async fn transfer_away(&self, destination: &str) -> (bool, u16) {
        if self.is_over() {
            return (false, 0);
        }
        let uri = {
            let guard = self.session();
            let Some(session) = guard.as_ref() else {
                return (false, 0);
            };
            if destination.contains(':') {
                destination.to_owned()
            } else if destination.contains('@') {
                format!("sip:{destination}")
            } else {
                let (host, port) = self.shard().told(&session.flow);
                let user = strowger_sip::uri::escape_user(destination);
                format!("sip:{user}@{host}:{port}")
            }
        };
        if strowger_sip::Uri::parse(&uri).is_err() {
            tracing::warn!(channel = %self.name(), uri, "Transfer: this is no address");
            return (false, 0);
        }
        let redirect = {
            let guard = self.session();
            let incoming = guard.as_ref().and_then(|session| session.incoming.as_ref());
            incoming.map(|incoming| {
                let response = Builder::response_to(&incoming.request, 302, "Moved Temporarily")
                    .to_tag(&incoming.tag)
                    .header(HeaderName::Contact, format!("<{uri}>"))
                    .header(HeaderName::Server, self.shard().shared().user_agent());
                (incoming.id, response.finish())
            })
        };
        if let Some((id, response)) = redirect {
            self.shard().respond(id, response);
            // The far end has its answer: nothing more is said to it.
            self.end(LegEnd {
                cause: Cause(23),
                status: None,
                by_peer: true,
            });
            return (true, 302);
        }
        (self.send_refer(&uri), 202)
    }

    pub(crate) fn send_ringing(&self) {
        self.tell_transfer(180);
        if self.ring_local() {
            return;
        }
        let later = self
            .shard()
            .shared()
            .snapshot()
            .globals
            .allow_sending_180_after_183;
        let first = self.session().as_mut().and_then(|session| {
            let incoming = session.incoming.as_mut()?;
            // After early media a 180 would make some phones cut it off.
            let first =
                (later || !incoming.early_media) && !std::mem::replace(&mut incoming.ringing, true);
            first.then(|| late_offer(session))
        });
        if let Some(offer) = first
            && let Some((id, response)) = self.invite_response(180, "Ringing")
        {
            let response = match offer {
                Some(offer) => response.body(SDP, offer),
                None => response,
            };
            self.send_provisional(id, response);
        }
    }

    pub(crate) fn send_progress(&self) {
        self.tell_transfer(183);
        if self.progress_local() {
            return;
        }
        let said = self.session().as_mut().and_then(|session| {
            let offer = late_offer(session);
            let incoming = session.incoming.as_mut()?;
            // Our offer went with the 180 where it rang before.
            let described = incoming.settled || session.answer_in_prack;
            let body = incoming.answer.clone().or(offer);
            let known = described || body.is_some();
            let again = std::mem::replace(&mut incoming.early_media, known);
            (!again).then_some((known, body))
        });
        let body = match said {
            None => return,
            // Otherwise it comes in the 200: until then the caller can only be told that it rings.
            Some((false, _)) => return self.send_ringing(),
            Some((true, body)) => body,
        };
        if let Some((id, response)) = self.invite_response(183, "Session Progress") {
            let response = match body {
                Some(body) => response.body(SDP, body),
                None => response,
            };
            self.send_provisional(id, response);
        }
    }

    /// Answers the open INVITE (200).
    pub(crate) fn accept(&self) {
        if self.accept_local() {
            return;
        }
        let Some((_, response)) = self.invite_response(200, "OK") else {
            return;
        };
        let supported = extensions::supported(self.endpoint().map(|endpoint| &**endpoint));
        let response = super::renegotiate::with_supported(response, &supported);
        let description = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let Some(incoming) = session.incoming.as_ref() else {
                return;
            };
            if incoming.accepted.is_some() {
                return;
            }
            // What is described in a reliable response is not said twice: it may have changed since.
            let described = incoming.settled
                || session.answer_in_prack
                || incoming.early_media && session.reliable.is_some();
            match (&incoming.answer, session.media.as_mut()) {
                _ if described => Ok(None),
                (Some(answer), _) => Ok(Some(answer.clone())),
                (None, Some(media)) => {
                    session.answer_in_ack = true;
                    media.offer().map(Some).map_err(|error| error.to_string())
                }
                (None, None) => Err("no media".to_owned()),
            }
        };
        let description = match description {
            Ok(description) => description,
            Err(error) => {
                tracing::warn!(channel = %self.name(), error, "cannot answer");
                return self.hangup(Cause::BEARERCAPABILITY_NOTAVAIL);
            }
        };
        if let Some(session) = self.session().as_mut()
            && let Some(incoming) = session.incoming.as_mut()
        {
            let mut response = Policy::tell(&incoming.request, response, session.timing.terms);
            if let Some(description) = description {
                response = response.body(SDP, description);
            }
            incoming.accepted = Some(response.finish());
        }
        self.deliver_answer();
    }

    /// Our 2xx waits for a PRACK.
    pub(crate) fn is_answer_held(&self) -> bool {
        let session = self.session();
        let incoming = session
            .as_ref()
            .and_then(|session| session.incoming.as_ref());
        !self.is_over() && incoming.is_some_and(|incoming| incoming.accepted.is_some())
    }

    /// Sends our 2xx, unless a description of ours waits for its PRACK (RFC 3262 §3). Only then the call is up: until it is
    /// sent, the caller may still be refused.
    pub(super) fn deliver_answer(&self) {
        let (id, response, terms) = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let held = session
                .reliable
                .as_ref()
                .is_some_and(|reliable| reliable.holds_answer());
            let answered = session
                .incoming
                .take_if(|incoming| !held && incoming.accepted.is_some());
            let Some((id, response)) =
                answered.and_then(|incoming| Some((incoming.id, incoming.accepted?)))
            else {
                return;
            };
            if let Some(reliable) = session.reliable.as_mut() {
                reliable.finish();
            }
            if let Some(dialog) = session.dialog.as_mut() {
                dialog.responded(&response);
            }
            session.accepted = Some(AcceptedInvite::new(
                crate::clock::now(),
                &self.shard().timers(),
                id,
                response.clone(),
            ));
            (id, response, session.timing.terms)
        };
        self.shard().respond(id, response);
        self.watch_accepted();
        self.keep_time(terms);
        self.became_up();
    }

    /// Answers the INVITE that is still open with 487; false if none is.
    pub(crate) fn terminate_open_invite(&self) -> bool {
        match self.invite_response(487, "Request Terminated") {
            None => false,
            Some((id, response)) => self.shard().respond(id, response.finish()),
        }
    }

    /// The caller gave up before the answer.
    pub(crate) fn on_cancel(&self, cancel: &Message) {
        let cause = super::session::cause_in(cancel).unwrap_or(Cause::NORMAL_CLEARING);
        if self.terminate_open_invite() {
            self.end(LegEnd {
                cause,
                status: None,
                by_peer: true,
            });
        }
    }
}
