//! The SIP session of a channel: its dialog, what is open in it, and how it ends. Both directions share this; what
//! only the called or only the calling side does is in `incoming` and `outgoing`.

use std::rc::Rc;
use std::time::SystemTime;

use strowger_media::Command;
use strowger_sip::accepted::{Accepted, AcceptedInvite};
use strowger_sip::dialog::{Dialog, DialogId, Forks};
use strowger_sip::headers::{Reason, Via};
use strowger_sip::message::reason_phrase;
use strowger_sip::reliable::ReliableResponses;
use strowger_sip::session_timer::{Policy, Wish};
use strowger_sip::transaction::{ClientId, ServerId};
use strowger_sip::{Builder, Flow, HeaderName, Host, Message, Method, Transport};

use super::media::MediaSession;
use super::renegotiate::Requests;
use super::timing::Timing;
use crate::cdr::PartyA;
use crate::channel::{Cause, Channel, LegEnd, State};
use crate::dns::Hop;
use crate::protect::Talk;
use crate::shard::{DialogKey, Shard};

/// What SIP keeps of a channel.
pub(crate) struct Session {
    pub(crate) flow: Flow,
    _talk: Talk,
    /// Our Contact, `<sip:...>`.
    pub(crate) contact: String,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) key: Option<DialogKey>,
    pub(crate) media: Option<MediaSession>,
    pub(crate) incoming: Option<Incoming>,
    /// The INVITE that began an incoming call, for the dialplan to read.
    pub(crate) received: Option<Message>,
    pub(crate) outgoing: Option<Outgoing>,
    /// A 2xx of ours that waits for its ACK.
    pub(crate) accepted: Option<AcceptedInvite>,
    /// We made an offer in a 2xx: its answer comes in the ACK (RFC 3264 §4, RFC 3261 §13.2.1).
    pub(crate) answer_in_ack: bool,
    /// The 2xx that waits, or waited, for its ACK answered a re-INVITE.
    pub(crate) reinvited: bool,
    /// Where the INVITE of an outgoing channel will go, until it is sent.
    pub(crate) prepared: Option<super::target::Target>,
    /// Other ways for the INVITE of an outgoing channel.
    pub(crate) alternatives: super::target::Alternatives,
    /// The call ended before the ACK came: the BYE waits for it (RFC 3261 §15).
    pub(crate) bye_after_ack: bool,
    /// Our provisional responses to the INVITE, where they are acknowledged (RFC 3262).
    pub(crate) reliable: Option<ReliableResponses>,
    /// We made an offer in one of them: its answer comes in the PRACK.
    pub(crate) answer_in_prack: bool,
    pub(crate) timing: Timing,
    /// Requests of ours in the dialog that have no final response.
    pub(crate) requests: Requests,
    /// Direct media has left its first time to the other exchange, where it has to.
    pub(crate) glare_mitigated: bool,
    /// Passes fax on, while this call and its partner speak T.38.
    pub(crate) fax: Option<Rc<super::fax::Relay>>,
    /// Passes video on, while this channel is bridged with one that has it too.
    pub(crate) video: Option<Rc<super::video::Relay>>,
    /// The far end takes UPDATE.
    pub(crate) peer_updates: bool,
    /// A transfer that the far end asked for and is told of.
    pub(crate) referral: Option<super::refer::Referral>,
    /// It has asked for one before.
    pub(crate) referred: bool,
}

/// An INVITE we received and have not given a final response.
pub(crate) struct Incoming {
    pub(crate) id: ServerId,
    pub(crate) request: Message,
    pub(crate) tag: String,
    /// Our answer to its offer, once made; the same in every response.
    pub(crate) answer: Option<String>,
    pub(crate) ringing: bool,
    pub(crate) early_media: bool,
    /// Offer and answer were exchanged reliably before the 2xx, which then describes nothing.
    pub(crate) settled: bool,
    /// A 2xx that waits for the PRACK of a description (RFC 3262 §3).
    pub(crate) accepted: Option<Message>,
}

/// An INVITE we sent.
pub(crate) struct Outgoing {
    pub(crate) client: Option<ClientId>,
    pub(crate) forks: Forks,
    pub(crate) invite: Message,
    pub(crate) authentications: u8,
    /// How often it was sent again for a longer session (422).
    pub(crate) lengthened: u8,
    /// The final response is here, or there will be none.
    pub(crate) settled: bool,
    /// The early dialogs in which an UPDATE changed the media: what was answered before is out of date.
    pub(crate) updated: Vec<DialogId>,
}

impl Session {
    pub(crate) fn new(shard: &Shard, flow: Flow, contact: String) -> Self {
        Self {
            _talk: shard.shared().protection.talks_with(flow.remote.ip()),
            flow,
            contact,
            dialog: None,
            key: None,
            media: None,
            incoming: None,
            received: None,
            outgoing: None,
            accepted: None,
            answer_in_ack: false,
            reinvited: false,
            prepared: None,
            alternatives: super::target::Alternatives::default(),
            bye_after_ack: false,
            reliable: None,
            answer_in_prack: false,
            timing: Timing::new(Policy::new(Wish::Never, 0, 0)),
            requests: Requests::default(),
            glare_mitigated: false,
            fax: None,
            video: None,
            peer_updates: false,
            referral: None,
            referred: false,
        }
    }
}

impl Session {
    /// True if a request bears the tags of our dialog.
    pub(super) fn is_ours(&self, request: &Message) -> bool {
        self.dialog.as_ref().is_some_and(|dialog| {
            DialogId::of_request(request).is_some_and(|id| id == *dialog.id())
        })
    }

    /// The dialog that a request belongs to: that of the call or, while our INVITE has no answer, that of one of its forks.
    pub(super) fn dialog_of(&mut self, request: &Message) -> Option<&mut Dialog> {
        let id = DialogId::of_request(request)?;
        if let Some(dialog) = &mut self.dialog {
            return Some(dialog).filter(|dialog| *dialog.id() == id);
        }
        let outgoing = self.outgoing.as_mut();
        let outgoing = outgoing.filter(|outgoing| !outgoing.settled)?;
        outgoing.forks.early_mut(&id)
    }

    /// The dialog that a request of ours was made in.
    pub(super) fn dialog_of_own(&mut self, request: &Message) -> Option<&mut Dialog> {
        let id = DialogId {
            call_id: request.call_id().ok()?.into(),
            local_tag: request.from().ok()?.tag()?.into(),
            remote_tag: request.to().ok()?.tag().unwrap_or_default().into(),
        };
        if let Some(dialog) = &mut self.dialog {
            return Some(dialog).filter(|dialog| *dialog.id() == id);
        }
        self.outgoing.as_mut()?.forks.early_mut(&id)
    }

    /// Sends the next requests of the dialog to its next hop: the first route, or the peer's newest Contact (RFC 3261
    /// §12.2.1.1). A connection that is open keeps being used.
    pub(crate) fn route(&mut self, shard: &Rc<Shard>) {
        if let Some(dialog) = self.dialog.as_ref() {
            self.flow = routed(shard, self.flow, dialog);
        }
    }

    /// The flow for a request within the dialog. Where its connection is gone, another takes its place (RFC 3261 §18.1.1).
    pub(crate) fn live_flow(&mut self, shard: &Rc<Shard>) -> Flow {
        if let Some(dialog) = self.dialog.as_ref()
            && self.flow.transport.is_reliable()
        {
            self.flow = live(shard, self.flow, dialog);
        }
        self.flow
    }
}

/// The way to the next hop of a dialog, from that of the message before.
pub(crate) fn routed(shard: &Rc<Shard>, mut flow: Flow, dialog: &Dialog) -> Flow {
    let hop = dialog.next_hop();
    let transport = match hop.wanted_transport() {
        None => Transport::Udp,
        Some(Some(transport)) => transport,
        Some(None) => return flow,
    };
    if flow.transport.is_reliable() {
        return live(shard, flow, dialog);
    }
    let Some(remote) = hop.socket_addr(transport) else {
        return flow;
    };
    if (transport, remote) == (flow.transport, flow.remote) {
        return flow;
    }
    if transport == flow.transport && remote.is_ipv4() == flow.remote.is_ipv4() {
        // From the address the other side knows us by.
        flow.remote = remote;
        flow
    } else {
        shard.flow_to(transport, remote).unwrap_or(flow)
    }
}

/// A connection to the next hop in place of one that is gone. Who came by WebSocket cannot be connected to.
fn live(shard: &Rc<Shard>, flow: Flow, dialog: &Dialog) -> Flow {
    let open = |number| shard.shared().connections.by_number(number).is_some();
    if flow.transport.is_websocket() || open(flow.connection) {
        return flow;
    }
    let hop = dialog.next_hop();
    let transport = match hop.wanted_transport() {
        Some(Some(wanted)) if wanted.is_websocket() => return flow,
        // What was secret stays so.
        Some(Some(wanted)) if wanted.is_secure() || !flow.transport.is_secure() => wanted,
        _ => flow.transport,
    };
    let name = match &hop.host {
        Host::Name(name) => Some(name.as_str().into()),
        _ => None,
    };
    let next = Hop {
        transport,
        remote: hop.socket_addr(transport).unwrap_or(flow.remote),
        name,
    };
    shard.flow_by(&next, None).unwrap_or(flow)
}

/// The Via of a new request on `flow`.
pub(crate) fn new_via(shard: &Shard, flow: &Flow) -> Via {
    let (host, port) = shard.told(flow);
    let mut via = Via::at(flow.transport, host, port, &shard.branch());
    // RFC 3581 §3: with `rport` the response comes back the way the request went.
    if shard.shared().snapshot().system.disable_rport {
        via.params.remove("rport");
    }
    via
}

/// A Reason header for a Q.850 cause (RFC 3326).
pub(crate) fn reason(cause: Cause) -> String {
    Reason::q850(u16::from(cause.0), cause.text()).to_string()
}

/// The cause in a message's Reason header, if it has one.
pub(crate) fn cause_in(message: &Message) -> Option<Cause> {
    message
        .headers(&HeaderName::Reason)
        .flat_map(Reason::parse_list)
        .find_map(|reason| {
            let number = reason.cause?;
            if reason.is_q850() {
                u8::try_from(number)
                    .ok()
                    .filter(|cause| *cause <= 127)
                    .map(Cause)
            } else if number == 200 {
                Some(Cause::ANSWERED_ELSEWHERE)
            } else {
                None
            }
        })
}

impl Channel {
    /// Party A of the call records as it stands now.
    pub(crate) fn party_a(&self) -> PartyA {
        let data = self.data();
        PartyA {
            channel: self.name().to_string(),
            uniqueid: self.uniqueid().to_string(),
            linkedid: data.linkedid.clone(),
            src: data.caller.number.clone(),
            clid: data.caller.all(),
            dst: data.location.exten.clone(),
            dcontext: data.location.context.clone(),
            accountcode: data.accountcode.clone(),
            amaflags: data.amaflags.clone(),
        }
    }

    /// `CDR(name)`; `raw` gives times as epoch seconds, `float` lengths with fractions.
    pub fn cdr_field(&self, name: &str, raw: bool, float: bool) -> Option<String> {
        let party = self.party_a();
        self.data().cdr.field(name, &party, raw, float)
    }

    /// `Set(CDR(name)=value)`.
    pub fn set_cdr_field(&self, name: &str, value: &str) -> Result<(), String> {
        let mut data = self.data_mut();
        match name.to_ascii_lowercase().as_str() {
            "accountcode" => value.clone_into(&mut data.accountcode),
            "amaflags" => value.clone_into(&mut data.amaflags),
            _ => return data.cdr.set_field(name, value),
        }
        Ok(())
    }

    /// `ForkCDR`: see [`crate::cdr::CallRecords::fork`].
    pub fn fork_records(&self, answered_then: bool, ends: bool, keeps: bool) {
        let party = self.party_a();
        let how = (answered_then, ends, keeps);
        self.data_mut().cdr.fork(SystemTime::now(), &party, how);
    }

    /// Runs a future on the channel's shard.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        Shard::spawn(future);
    }

    /// The call is over for this channel: SIP is told, media closes, the records are complete. The first call wins.
    pub(crate) fn end(&self, end: LegEnd) {
        {
            let mut data = self.data_mut();
            if data.ended.is_some() {
                return;
            }
            data.ended = Some(end);
            data.cause = end.cause;
            if end.by_peer {
                data.hangup_source = self.name().to_string();
            }
        }
        self.tell_end(&end);
        self.end_signalling(&end);
        self.end_other_half(end.cause);
        self.close_media();
        self.tell_transfer_ended(end.cause);
        let party = self.party_a();
        let records = self.data_mut().cdr.close(SystemTime::now(), &party);
        for record in records {
            self.note_record(&record);
            self.shard().shared().cdr.push(record);
        }
        tracing::debug!(channel = %self.name(), cause = end.cause.0, by_peer = end.by_peer, "channel ended");
        self.touch();
        if !self.data().runs_dialplan {
            super::incoming::finish_after_handlers(self.clone());
        }
    }

    pub(crate) fn close_media(&self) {
        let Some(leg) = self.leg() else { return };
        if !self.shard().media_runs() {
            // Nobody is left to close it or to tell of it.
            self.shard().unmap_leg(leg);
            self.set_leg(None);
            return;
        }
        self.shard().closes(leg);
        self.data_mut().last_legs[0] = Some(leg);
        // Recorders end with the leg; their owners hear of it when the files are closed.
        if !self.shard().media_send(Command::Close(leg)) {
            let shard = Rc::clone(self.shard());
            Shard::spawn(async move {
                // A full queue empties within milliseconds; the leg must not stay.
                while shard.media_runs() && !shard.media_send(Command::Close(leg)) {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            });
        }
        self.set_leg(None);
    }

    fn end_signalling(&self, end: &LegEnd) {
        let shard = Rc::clone(self.shard());
        let mut guard = self.session();
        let Some(session) = guard.as_mut() else {
            return;
        };
        session.timing.stop();
        session.fax = None;
        if let Some(relay) = session.video.take() {
            relay.stop();
        }
        if let Some(media) = session.media.as_mut() {
            media.close_video();
        }
        if let Some(reliable) = session.reliable.as_mut() {
            reliable.finish();
        }
        if let Some(incoming) = session.incoming.take() {
            let key = session.key.take();
            drop(guard);
            if let Some(key) = key {
                shard.unmap_dialog(&key);
            }
            if !end.by_peer {
                let (status, text) = match end.status {
                    Some(status) => (status, reason_phrase(status)),
                    None => end.cause.to_status(),
                };
                let response = Builder::response_to(&incoming.request, status, text)
                    .to_tag(&incoming.tag)
                    .header(HeaderName::Server, shard.shared().user_agent());
                shard.respond(incoming.id, self.with_reason(response, end.cause).finish());
            }
            return;
        }
        let pending = session
            .outgoing
            .as_ref()
            .filter(|outgoing| !outgoing.settled)
            .and_then(|outgoing| outgoing.client);
        if let Some(client) = pending {
            let key = session.key.take();
            drop(guard);
            if let Some(key) = key {
                shard.unmap_dialog(&key);
            }
            let text = (end.cause == Cause::ANSWERED_ELSEWHERE)
                .then(|| Reason::sip(200, "Call completed elsewhere").to_string());
            shard.cancel(client, text.as_deref());
            return;
        }
        if end.by_peer {
            if let Some(accepted) = session.accepted.as_mut() {
                accepted.stop();
            }
            session.referral = None;
            let key = session.key.take();
            drop(guard);
            if let Some(key) = key {
                shard.unmap_dialog(&key);
            }
            return;
        }
        if session
            .accepted
            .as_ref()
            .is_some_and(|accepted| !accepted.is_over())
        {
            session.bye_after_ack = true;
            return;
        }
        if let Some(referral) = session.referral.as_mut() {
            referral.bye = Some(end.cause);
            return;
        }
        drop(guard);
        self.send_bye(end.cause);
    }

    /// Why the call ends, unless the endpoint is to hear no Q.850 causes (`suppress_q850_reason_headers`).
    fn with_reason(&self, message: Builder, cause: Cause) -> Builder {
        let suppressed = self
            .endpoint()
            .is_some_and(|endpoint| endpoint.suppress_q850_reason_headers);
        if suppressed {
            message
        } else {
            message.header(HeaderName::Reason, reason(cause))
        }
    }

    pub(super) fn send_bye(&self, cause: Cause) {
        let shard = Rc::clone(self.shard());
        let mut guard = self.session();
        let Some(session) = guard.as_mut() else {
            return;
        };
        let flow = session.live_flow(&shard);
        let via = new_via(&shard, &flow);
        let bye = session.dialog.as_mut().map(|dialog| {
            let bye = dialog
                .request(Method::Bye, &via)
                .header(HeaderName::UserAgent, shard.shared().user_agent());
            self.with_reason(bye, cause).finish()
        });
        let key = session.key.take();
        drop(guard);
        if let Some(key) = key {
            shard.unmap_dialog(&key);
        }
        if let Some(bye) = bye {
            let auths = self
                .endpoint()
                .map(|endpoint| endpoint.outbound_auth.clone())
                .unwrap_or_default();
            shard.request_in_dialog(bye, flow, auths);
        }
    }

    /// Repeats our 2xx until its ACK comes.
    pub(crate) fn watch_accepted(&self) {
        let channel = self.clone();
        Shard::spawn(async move {
            loop {
                let next = channel
                    .session()
                    .as_ref()
                    .and_then(|session| session.accepted.as_ref()?.next_timeout());
                let Some(at) = next else { break };
                // An ACK, or the end, wakes us earlier.
                let changed = Rc::clone(channel.changed());
                let _ = tokio::time::timeout_at(at.into(), changed.notified()).await;
                let due = {
                    let mut guard = channel.session();
                    let accepted = guard.as_mut().and_then(|session| session.accepted.as_mut());
                    accepted.and_then(|accepted| {
                        Some((accepted.id(), accepted.handle_timeout(crate::clock::now())?))
                    })
                };
                match due {
                    None => {}
                    Some((id, Accepted::Repeat(response))) => {
                        channel.shard().respond(id, response);
                    }
                    Some((_, Accepted::GiveUp)) => {
                        tracing::info!(channel = %channel.name(), "no ACK: the call is ended");
                        channel.after_ack();
                        channel.hangup(Cause::RECOVERY_ON_TIMER_EXPIRE);
                        break;
                    }
                }
            }
            if channel.is_over() && !channel.has_open_transactions() {
                channel.shard().forget_lingering(channel.id());
            }
        });
    }

    pub(super) fn after_ack(&self) {
        let cause = self.data().cause;
        let bye = self.session().as_mut().is_some_and(|session| {
            let bye = std::mem::take(&mut session.bye_after_ack);
            match session.referral.as_mut() {
                // Its dialog stays until who transferred has been told the outcome.
                Some(referral) if bye => {
                    referral.bye = Some(cause);
                    false
                }
                _ => bye,
            }
        });
        if bye {
            self.send_bye(cause);
        }
    }

    /// SIP may still bring something for this channel although it is over: a 2xx to acknowledge, an ACK.
    pub(crate) fn has_open_transactions(&self) -> bool {
        self.session().as_ref().is_some_and(|session| {
            let client = session
                .outgoing
                .as_ref()
                .and_then(|outgoing| outgoing.client);
            session.referral.is_some()
                || client.is_some_and(|client| self.shard().is_client_open(client))
                || session
                    .requests
                    .is_open(|client| self.shard().is_client_open(client))
                || session
                    .accepted
                    .as_ref()
                    .is_some_and(|accepted| !accepted.is_over())
        })
    }

    /// The connection of our open INVITE is gone: nobody can be answered.
    pub(crate) fn on_connection_lost(&self) {
        self.end(LegEnd {
            cause: Cause::NETWORK_OUT_OF_ORDER,
            status: None,
            by_peer: true,
        });
    }

    /// A channel is up: state, records, counters.
    pub(crate) fn became_up(&self) {
        let now = SystemTime::now();
        {
            let mut data = self.data_mut();
            data.answered.get_or_insert(now);
            data.cdr.set_answered(now);
        }
        self.shard().counters().calls_answered.add(1);
        if let Some(media) = self
            .session()
            .as_mut()
            .and_then(|session| session.media.as_mut())
        {
            media.set_up(self.shard());
        }
        self.set_state(State::Up);
        self.detect_fax();
    }

    /// The dialplan of this channel is done, or it was a dialled leg that is over: forget it when SIP has too.
    pub(crate) fn finish(&self) {
        self.shard().remove_channel(self);
    }
}
