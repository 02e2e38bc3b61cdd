//! The calling side: making a leg towards an endpoint, its INVITE, and what comes back.

use std::rc::Rc;
use std::sync::Arc;

use strowger_media::codec::Codec;
use strowger_sip::body::{Body, SDP};
use strowger_sip::dialog::{Dialog, DialogId, Fork, Forks};
use strowger_sip::reliable::{OPTION as REL100, Receipt};
use strowger_sip::transaction::ClientId;
use strowger_sip::{Builder, Flow, HeaderName, Message, Method, NameAddr, Transport, Uri};
use strowger_store::{Endpoint, Rel100};

use super::destination::{Destination, To};
use super::dial::DialRequest;
use super::local;
use super::media::MediaSession;
use super::session::{Outgoing, Session, new_via, routed};
use super::target::{Target, find_target};
use super::timing::{self, Timing};
use super::video::VideoOffer;
use super::{diversion, extensions, identity, redirect, renegotiate};
use crate::channel::{
    Cause, Channel, Data, LegEnd, Location, Party, Redirecting, State, Variables,
};
use crate::shard::{ALLOW, ClientUser, DialogKey, Shard};

/// What an outgoing channel gets from whoever makes it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// None begins a call of its own.
    pub(crate) linkedid: Option<String>,
    pub(crate) variables: Variables,
    /// Who is shown to the device.
    pub(crate) shown: Party,
    /// Who the device is; None is what was dialled.
    pub(crate) own: Option<Party>,
    /// Who sent the call on before.
    pub(crate) redirecting: Redirecting,
    /// Where in the dialplan who dials is.
    pub(crate) place: Option<Location>,
    pub(crate) max_forwards: u8,
    pub(crate) dial_depth: u8,
    pub(crate) language: String,
    pub(crate) accountcode: String,
    /// What the other side speaks.
    pub(crate) codecs: Vec<Codec>,
    /// What it wants to show.
    pub(crate) video: Option<VideoOffer>,
    /// Unique ids that somebody chose, of the channel and of the other half of a Local channel.
    pub(crate) uniqueids: [Option<String>; 2],
}

impl Origin {
    /// Of a channel that dials.
    pub(super) fn of(caller: &Channel, request: &DialRequest) -> Self {
        let codecs = caller.codecs();
        let video = caller.video_offer();
        let data = caller.data();
        let mut redirecting = data.redirecting.clone();
        redirecting.from.number.clone_from(&data.rdnis);
        Self {
            redirecting,
            linkedid: Some(data.linkedid.clone()),
            variables: data.variables.inherited(),
            shown: request
                .caller
                .clone()
                .unwrap_or_else(|| data.caller.clone()),
            own: None,
            place: Some(data.location.clone()),
            max_forwards: data.max_forwards,
            dial_depth: data.dial_depth + 1,
            language: data.language.clone(),
            accountcode: data.accountcode.clone(),
            codecs,
            video,
            uniqueids: [None, None],
        }
    }
}

/// Makes the channel of a destination, ready for [`Channel::place_call`].
pub(crate) async fn create_leg(
    shard: &Rc<Shard>,
    destination: &Destination,
    origin: &Origin,
) -> Result<Channel, Cause> {
    if shard.call_limit_reached() {
        shard.counters().calls_refused_overload.add(1);
        return Err(Cause::NORMAL_CIRCUIT_CONGESTION);
    }
    match &destination.to {
        To::Local {
            exten,
            context,
            stays,
        } => local::create(shard, (exten, context, *stays), origin),
        To::Device {
            endpoint,
            user,
            uri,
        } => {
            let target = find_target(shard, endpoint, user.as_deref(), uri.as_deref())
                .await
                .ok_or(Cause::SUBSCRIBER_ABSENT)?;
            Channel::create_device(shard, endpoint, user.as_deref(), target, origin)
        }
    }
}

impl Channel {
    fn create_device(
        shard: &Rc<Shard>,
        endpoint: &Arc<Endpoint>,
        user: Option<&str>,
        mut target: Target,
        origin: &Origin,
    ) -> Result<Self, Cause> {
        let flow = target
            .next_flow(shard)
            .ok_or(Cause::NORMAL_CIRCUIT_CONGESTION)?;
        let shared = shard.shared();
        let name = format!(
            "PJSIP/{}-{:08x}",
            endpoint.id,
            shared.next_channel_sequence()
        );
        let chosen = origin.uniqueids[0].clone();
        let uniqueid = chosen.unwrap_or_else(|| shared.next_uniqueid());
        let mut data = Data::new(
            State::Down,
            origin
                .place
                .clone()
                .unwrap_or_else(|| Location::new(&endpoint.context, "", 1)),
            origin.linkedid.clone().unwrap_or_else(|| uniqueid.clone()),
        );
        data.variables = origin.variables.clone();
        // On the callee's channel its own number is the caller id, and the caller is the connected line.
        let dialled = data.location.exten.clone();
        let own = identity::configured(endpoint).filter(|party| !party.number.is_empty());
        let own = origin.own.clone().or(own);
        data.caller = own.unwrap_or_else(|| Party {
            number: user.map_or(dialled, str::to_owned),
            ..Party::default()
        });
        data.rdnis.clone_from(&origin.redirecting.from.number);
        data.redirecting = origin.redirecting.clone();
        data.connected = origin.shown.clone();
        data.max_forwards = origin.max_forwards;
        data.dial_depth = origin.dial_depth;
        data.language = endpoint
            .language
            .clone()
            .unwrap_or_else(|| origin.language.clone());
        data.accountcode = endpoint.accountcode.clone().unwrap_or_default();
        data.music_class = String::new();
        data.tonezone = endpoint.tone_zone.clone().unwrap_or_default();
        "AppDial".clone_into(&mut data.application);
        "(Outgoing Line)".clone_into(&mut data.application_data);
        let channel = Self::new(shard, name, uniqueid, Some(endpoint.clone()), data);
        apply_set_var(&channel, endpoint.set_var.as_deref());
        let mut media =
            MediaSession::open(shard, channel.id(), endpoint, &flow).map_err(|error| {
                tracing::warn!(endpoint = endpoint.id, %error, "cannot call");
                Cause(if error.status().0 == 488 { 58 } else { 34 })
            })?;
        channel.set_leg(Some(media.leg()));
        media.prefer(&endpoint.outgoing_call_offer_pref, &origin.codecs);
        if let Some(video) = &origin.video {
            media.offer_video(shard, endpoint, video);
        }
        let globals = &shared.snapshot().globals;
        let contact_user = identity::contact_user(endpoint, globals, &origin.shown);
        let mut own = contact(shard, &flow, contact_user.as_deref());
        if target.is_sips() {
            own = super::target::as_sips(&own);
        }
        let mut session = Session::new(shard, flow, own);
        session.media = Some(media);
        session.timing = Timing::new(timing::policy(endpoint));
        session.alternatives = target.rest();
        session.prepared = Some(target);
        *channel.session() = Some(session);
        shard.add_channel(&channel, false);
        shard.counters().calls_outgoing.add(1);
        Ok(channel)
    }

    /// Dials with a channel made by [`create_leg`], unless it ended meanwhile. What the dialplan set on the channel before
    /// (option `b`) is in its INVITE.
    pub(crate) fn place_call(&self) {
        if self.is_over() || self.start_local() {
            return;
        }
        let shard = Rc::clone(self.shard());
        let built = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let Some(target) = session.prepared.take() else {
                return;
            };
            let flow = session.flow;
            let built = build_invite(&shard, self, &target, session, &flow);
            if let Ok(invite) = &built {
                if let Ok(call_id) = invite.call_id() {
                    shard.shared().tracer.named(call_id, self);
                }
                session.outgoing = Some(Outgoing {
                    client: None,
                    forks: Forks::new(invite.clone()),
                    invite: invite.clone(),
                    authentications: 0,
                    lengthened: 0,
                    settled: false,
                    updated: Vec::new(),
                });
            }
            built.map(|invite| (invite, flow))
        };
        match built {
            Err(error) => {
                tracing::error!(channel = %self.name(), error, "cannot make an offer");
                self.hangup(Cause::BEARERCAPABILITY_NOTAVAIL);
            }
            Ok((invite, flow)) => {
                let (invite, flow) = self.fitted(invite, flow);
                if !self.send_invite_again(invite, flow) && !self.try_next_target() {
                    self.fail(Cause::NORMAL_CIRCUIT_CONGESTION, Some(503));
                }
            }
        }
    }

    /// Sends this INVITE in place of the one before; false if it could not even leave.
    pub(super) fn send_invite_again(&self, invite: Message, flow: Flow) -> bool {
        let shard = Rc::clone(self.shard());
        self.with_outgoing(|outgoing| {
            outgoing.forks = Forks::new(invite.clone());
            outgoing.invite = invite.clone();
            outgoing.client = None;
        });
        let Some(client) = shard.request(invite, flow, ClientUser::Invite(self.id())) else {
            return false;
        };
        self.with_outgoing(|outgoing| outgoing.client = Some(client));
        // Sending may have failed already, with its end told before we knew its id.
        shard.is_client_open(client)
    }

    pub(super) fn with_outgoing(&self, change: impl FnOnce(&mut Outgoing)) {
        if let Some(outgoing) = self
            .session()
            .as_mut()
            .and_then(|session| session.outgoing.as_mut())
        {
            change(outgoing);
        }
    }

    fn fail(&self, cause: Cause, status: Option<u16>) {
        self.with_outgoing(|outgoing| outgoing.settled = true);
        self.end(LegEnd {
            cause,
            status,
            by_peer: true,
        });
    }

    /// No answer in time (408), or the transport failed (503): RFC 3261 §8.1.3.1.
    pub(crate) fn on_invite_failed(&self, id: ClientId, status: u16) {
        if self.is_current(id) && !self.try_next_target() {
            self.fail(Cause::from_status(status), Some(status));
        }
    }

    fn is_current(&self, id: ClientId) -> bool {
        self.session()
            .as_ref()
            .and_then(|session| session.outgoing.as_ref())
            .is_some_and(|outgoing| outgoing.client == Some(id))
    }

    /// A response to our INVITE.
    pub(crate) fn on_invite_response(&self, id: ClientId, response: &Message, flow: Flow) {
        if !self.is_current(id) {
            return;
        }
        let status = response.status().unwrap_or(0);
        if (101..300).contains(&status) {
            self.learn_identity(response);
        }
        match status {
            100 => {}
            101..=199 => self.on_provisional(status, response),
            200..=299 => self.on_accepted(response, flow),
            401 | 407 if self.authenticate(response) => {}
            422 if self.ask_longer(response) => {}
            // RFC 3263 §4.3: this one cannot, the next may.
            503 if self.try_other_target() => {}
            300.. => {
                self.with_outgoing(|outgoing| {
                    let _ = outgoing.forks.receive(response);
                });
                if (300..400).contains(&status) {
                    let uri = self.endpoint().is_some_and(|e| redirect::follows_uri(e));
                    let mut data = self.data_mut();
                    if uri {
                        data.redirected_to = redirect::address(response);
                    } else {
                        data.forwarded_to = forwarded_to(response);
                    }
                }
                // The peer's own cause says more than its status; a cancelled leg keeps the cause it was ended with.
                let cause = cause_of_failure(status, response);
                self.fail(cause, Some(status));
            }
            _ => {}
        }
    }

    fn on_provisional(&self, status: u16, response: &Message) {
        let shard = Rc::clone(self.shard());
        let mut early = false;
        let mut failed = None;
        let mut prack = None;
        let mut early_dialog = false;
        let over = self.is_over();
        let (rewrite, follows) = self.endpoint().map_or((false, true), |endpoint| {
            (endpoint.rewrite_contact, endpoint.follow_early_media_fork)
        });
        let follows = follows && shard.shared().snapshot().system.follow_early_media_fork;
        let passes_progress = self
            .endpoint()
            .is_some_and(|endpoint| !endpoint.ignore_183_without_sdp);
        {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let Some(outgoing) = session.outgoing.as_mut() else {
                return;
            };
            match outgoing.forks.receive(response) {
                Ok(Fork::Early(dialog)) if !over => {
                    early_dialog = true;
                    if session.key.is_none() {
                        // Requests may come in the early dialog.
                        let key = key_of(dialog);
                        shard.map_dialog(key.clone(), self.id());
                        session.key = Some(key);
                    }
                    match dialog.receive_provisional(response) {
                        Receipt::Plain => {}
                        Receipt::Ignore => return,
                        Receipt::Acknowledge(rack) => {
                            let flow = match rewrite {
                                true => session.flow,
                                false => routed(&shard, session.flow, dialog),
                            };
                            let agent = shard.shared().user_agent();
                            let request = dialog
                                .prack(&rack, &new_via(&shard, &flow))
                                .header(HeaderName::UserAgent, agent);
                            prack = Some((request.finish(), flow));
                        }
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(channel = %self.name(), %error, "provisional response");
                }
            }
            if let Some(updates) = extensions::takes_update(response) {
                session.peer_updates = updates;
            }
            let fork = DialogId::of_response(response);
            if let Some(answer) = Body::of(response).description()
                // One of more telephones than are followed describes nothing here.
                && early_dialog
                && !outgoing.is_outdated(response)
                && let Some(media) = session.media.as_mut()
            {
                let before = media.followed().cloned();
                if let Some(fork) = &fork {
                    media.follow(fork);
                }
                let elsewhere = before.filter(|before| !follows && Some(before) != fork.as_ref());
                let applied = match elsewhere {
                    None => media.apply(&shard, answer).map(|_| early = true),
                    Some(before) => {
                        let noted = media.note(answer);
                        media.follow(&before);
                        noted
                    }
                };
                failed = applied.err().map(|error| error.to_string());
            }
        }
        if let Some((request, flow)) = prack {
            self.send_prack(request, flow);
        }
        if let Some(error) = failed {
            tracing::info!(channel = %self.name(), error, "early media ignored");
        }
        if self.is_over() {
            return;
        }
        let now = crate::clock::now();
        let before = self.data().progress;
        let after = {
            let mut data = self.data_mut();
            if status == 180 {
                data.progress.ringing.get_or_insert(now);
                data.state = State::Ringing;
            }
            if early {
                data.progress.early_media.get_or_insert(now);
            } else if status == 183 && passes_progress {
                data.progress.progress.get_or_insert(now);
            }
            data.progress
        };
        self.touch();
        if before.ringing.is_none() && after.ringing.is_some() {
            self.tell_dial_state("RINGING");
        }
        let progresses =
            |all: crate::channel::DialProgress| all.early_media.is_some() || all.progress.is_some();
        if !progresses(before) && progresses(after) {
            self.tell_dial_state("PROGRESS");
        }
    }

    fn on_accepted(&self, response: &Message, flow: Flow) {
        let shard = Rc::clone(self.shard());
        let over = self.is_over();
        let mut unwanted = None;
        let mut media_error = None;
        let mut won = false;
        let mut terms = None;
        {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let taken = session.dialog.is_some();
            let Some(outgoing) = session.outgoing.as_mut() else {
                return;
            };
            let accepted = match outgoing.forks.receive(response) {
                Ok(Fork::Accepted(dialog)) => Some(dialog.id().clone()),
                Ok(Fork::Repeated(id)) => {
                    let kept = session
                        .dialog
                        .as_ref()
                        .filter(|dialog| *dialog.id() == id)
                        .or_else(|| {
                            outgoing
                                .forks
                                .dialogs()
                                .iter()
                                .find(|dialog| *dialog.id() == id)
                        })
                        .and_then(|dialog| dialog.kept_ack(response).cloned());
                    if let Some(ack) = kept {
                        let flow = session.flow;
                        drop(guard);
                        shard.send_plain(&ack, flow);
                    }
                    return;
                }
                Ok(_) => None,
                Err(error) => {
                    tracing::info!(channel = %self.name(), %error, "unusable answer");
                    None
                }
            };
            outgoing.settled = true;
            if taken && accepted.is_none() {
                return;
            }
            let Some(mut dialog) = accepted.and_then(|id| outgoing.forks.take(&id)) else {
                drop(guard);
                self.fail(Cause::INTERWORKING, Some(500));
                return;
            };
            let answer = Body::of(response)
                .description()
                .filter(|_| !outgoing.is_outdated(response));
            let invite = outgoing.invite.clone();
            let rewrite = self
                .endpoint()
                .is_some_and(|endpoint| endpoint.rewrite_contact);
            if !(taken || over || rewrite) {
                session.dialog = Some(dialog);
                session.route(&shard);
                let Some(routed) = session.dialog.take() else {
                    return;
                };
                dialog = routed;
            }
            let via = new_via(&shard, &session.flow);
            let ack = dialog.ack(&invite, &via).finish();
            dialog.keep_ack(ack.clone());
            if taken || over {
                unwanted = Some((dialog, ack));
            } else {
                won = true;
                let key = key_of(&dialog);
                shard.map_dialog(key.clone(), self.id());
                session.key = Some(key);
                if let Some(media) = session.media.as_mut() {
                    media.settle(&shard, dialog.id());
                    let result = match answer {
                        Some(answer) => media
                            .apply(&shard, answer)
                            .map(|_| ())
                            .map_err(|error| error.to_string()),
                        None if media.is_pending() => {
                            Err("the answer has no session description".to_owned())
                        }
                        // The answer came with early media already.
                        None => Ok(()),
                    };
                    media_error = result.err();
                }
                session.dialog = Some(dialog);
                if let Some(updates) = extensions::takes_update(response) {
                    session.peer_updates = updates;
                }
                terms = session.timing.policy.read(response);
                let flow = session.flow;
                drop(guard);
                shard.send_plain(&ack, flow);
            }
        }
        if let Some((dialog, ack)) = unwanted {
            end_dialog(&shard, dialog, &ack, flow);
            return;
        }
        if let Some(error) = media_error {
            tracing::info!(channel = %self.name(), error, "answer unusable: the leg is ended");
            self.hangup(Cause::BEARERCAPABILITY_NOTAVAIL);
            return;
        }
        if won {
            self.data_mut().progress.answered = Some(crate::clock::now());
            self.became_up();
            self.keep_time(terms);
        }
    }
}

/// The number that a redirection leads to (RFC 3261 §8.1.3.4): the first Contact with one.
fn forwarded_to(response: &Message) -> Option<String> {
    let values = response.headers(&HeaderName::Contact);
    let mut contacts = values
        .filter_map(|value| NameAddr::parse_list(value).ok())
        .flatten();
    let number = contacts.find_map(|contact| Some(contact.uri.user_decoded()?.into_owned()))?;
    // It becomes part of a dial string.
    let plain = |c: char| c.is_ascii_alphanumeric() || "+*#-_.".contains(c);
    (!number.is_empty() && number.chars().all(plain)).then_some(number)
}

fn cause_of_failure(status: u16, response: &Message) -> Cause {
    super::session::cause_in(response)
        .filter(|cause| cause.0 != 0)
        .unwrap_or_else(|| Cause::from_status(status))
}

/// What requests of the peer are found by, whichever fork they come from.
fn key_of(dialog: &Dialog) -> DialogKey {
    DialogKey {
        call_id: dialog.id().call_id.to_string(),
        local_tag: dialog.id().local_tag.to_string(),
    }
}

impl Outgoing {
    /// Repeats this response a description that an UPDATE in its dialog has replaced?
    fn is_outdated(&self, response: &Message) -> bool {
        DialogId::of_response(response).is_some_and(|id| self.updated.contains(&id))
    }
}

/// ACK and BYE for an answer nobody wants any more (a fork that lost, a call given up).
fn end_dialog(shard: &Rc<Shard>, mut dialog: Dialog, ack: &Message, flow: Flow) {
    shard.send_plain(ack, flow);
    let via = new_via(shard, &flow);
    let bye = dialog.request(Method::Bye, &via).finish();
    shard.request_in_dialog(bye, flow, Vec::new());
}

/// Our Contact on this flow, `<sip:user@address>`.
pub(crate) fn contact(shard: &Shard, flow: &Flow, user: Option<&str>) -> String {
    let (host, port) = shard.told(flow);
    let mut uri = Uri::sip(user.filter(|user| !user.is_empty()), host, Some(port));
    if flow.transport != Transport::Udp {
        uri.params
            .set("transport", Some(flow.transport.uri_param()));
    }
    format!("<{uri}>")
}

/// `NAME=value` pairs of `set_var`, separated by commas or semicolons.
pub(crate) fn apply_set_var(channel: &Channel, text: Option<&str>) {
    for pair in text.unwrap_or_default().split([',', ';']) {
        if let Some((name, value)) = pair.split_once('=') {
            channel.set_variable(name.trim(), value.trim());
        }
    }
}

fn build_invite(
    shard: &Rc<Shard>,
    channel: &Channel,
    target: &Target,
    session: &mut Session,
    flow: &Flow,
) -> Result<Message, String> {
    let media = session.media.as_mut().ok_or("no media")?;
    let offer = media.offer().map_err(|error| error.to_string())?;
    let endpoint = channel.endpoint().cloned().ok_or("no endpoint")?;
    let at = shard.advertised(flow);
    let snapshot = shard.shared().snapshot();
    let shown = channel.data().connected.clone();
    let port = flow.transport.default_port();
    let shown = identity::shown_to(&endpoint, &snapshot.globals, &shown, at, port);
    let from = shown.from.with_tag(&shard.tag());
    let mut target_uri = target.uri.clone();
    identity::phone(&endpoint, &mut target_uri);
    let mut to_uri = target_uri.clone();
    to_uri.params = strowger_sip::uri::Params::default();
    identity::phone(&endpoint, &mut to_uri);
    let mut invite = Builder::request(Method::Invite, &target_uri)
        .header(HeaderName::Via, new_via(shard, flow).to_string());
    for route in &target.routes {
        invite.push(HeaderName::Route, route.to_string());
    }
    invite = invite
        .header(
            HeaderName::MaxForwards,
            channel.data().max_forwards.to_string(),
        )
        .header(HeaderName::From, from.to_string())
        .header(HeaderName::To, format!("<{to_uri}>"))
        .header(HeaderName::CallId, shard.call_id())
        .header(HeaderName::CSeq, "1 INVITE")
        .header(HeaderName::Contact, &session.contact)
        .header(HeaderName::Allow, ALLOW)
        .header(HeaderName::UserAgent, shard.shared().user_agent());
    invite = renegotiate::with_supported(invite, &extensions::supported(Some(&endpoint)));
    if endpoint.rel100 == Rel100::Required {
        invite.push(HeaderName::Require, REL100);
    }
    invite = session.timing.policy.ask(invite, None);
    let redirecting = {
        let data = channel.data();
        let mut redirecting = data.redirecting.clone();
        redirecting.from.number.clone_from(&data.rdnis);
        redirecting
    };
    let told = diversion::headers(&endpoint, &redirecting, &target_uri, at);
    for (name, value) in shown.headers.into_iter().chain(told) {
        invite.push(name, value);
    }
    for (name, value) in channel.data().request_headers.iter() {
        invite.push(HeaderName::from(name.as_str()), value);
    }
    Ok(invite.body(SDP, offer).finish())
}
