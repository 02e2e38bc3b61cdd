//! New requests outside dialogs: who is asking, and which part of the exchange answers.

use std::rc::Rc;
use std::time::Duration;

use strowger_sip::transaction::ServerId;
use strowger_sip::{Builder, Flow, HeaderName, Message, Method};

use super::Shard;
use super::dispatch::{ALLOW, is_known};
use crate::channel::Channel;
use crate::endpoint::{self, Admission};
use crate::protect::Offence;

impl Shard {
    pub(super) fn on_request(
        self: &Rc<Self>,
        id: ServerId,
        message: Message,
        flow: Flow,
        channel: Option<Channel>,
    ) {
        if let Some(channel) = channel {
            if channel
                .endpoint()
                .is_some_and(|endpoint| endpoint.force_rport)
            {
                self.reply_to_source(id);
            }
            channel.on_dialog_request(id, &message, flow);
            return;
        }
        if self.is_scanner(id, &message, flow) {
            return;
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        let watched = (in_dialog && message.is_method(&Method::Subscribe))
            .then(|| crate::subscription::watched(self, &message));
        if let Some(None) = watched {
            self.counters.requests_subscribe.add(1);
            self.outlived(flow);
            let response = Builder::response_to(&message, 481, "Subscription Does Not Exist")
                .header(HeaderName::Server, self.shared.user_agent())
                .finish();
            return self.respond_stateless(id, &response);
        }
        let watched = watched.flatten();
        if in_dialog && watched.is_none() {
            self.counters.requests_other.add(1);
            self.outlived(flow);
            self.turn_away(id, &message, 481, "Call/Transaction Does Not Exist", &[]);
            return;
        }
        if let Err(error) = message.check() {
            self.counters.sip_malformed.add(1);
            self.offended(flow, Offence::Junk);
            match error.response() {
                Some(response) => self.respond_stateless(id, &response),
                None => self.turn_away(id, &message, 400, "Bad Request", &[]),
            }
            return;
        }
        match message.method() {
            Some(Method::Options) => {
                self.counters.requests_options.add(1);
                if self.admit(id, &message, flow).is_none() {
                    return;
                }
                self.reply(
                    id,
                    &message,
                    200,
                    "OK",
                    &[
                        (HeaderName::Allow, ALLOW),
                        (HeaderName::Accept, "application/sdp"),
                        (HeaderName::AcceptLanguage, "en, ru"),
                    ],
                );
            }
            Some(Method::Register) => {
                self.counters.requests_register.add(1);
                self.register(id, &message, flow);
            }
            Some(Method::Invite) => {
                self.counters.requests_invite.add(1);
                self.new_invite(id, &message, flow);
            }
            Some(Method::Message) => {
                self.counters.requests_message.add(1);
                self.new_message(id, &message, flow);
            }
            Some(Method::Subscribe) => {
                self.counters.requests_subscribe.add(1);
                if let Some((endpoint, source)) = watched {
                    let from_before = source == flow.remote.ip();
                    let admitted = self.admit_again(id, &message, flow, &endpoint, from_before);
                    if let Some(endpoint) = admitted {
                        crate::subscription::again(self, id, &message, flow, &endpoint);
                    }
                } else if let Some(endpoint) = self.admit(id, &message, flow) {
                    crate::subscription::begin(self, id, &message, flow, &endpoint);
                }
            }
            Some(Method::Notify) => {
                self.counters.requests_notify.add(1);
                if let Some(endpoint) = self.admit(id, &message, flow) {
                    let (status, reason) = crate::subscription::told(self, &message, &endpoint);
                    let events = [(HeaderName::AllowEvents, crate::subscription::ALLOW_EVENTS)];
                    let headers = if status == 489 { &events[..] } else { &[] };
                    self.reply(id, &message, status, reason, headers);
                }
            }
            Some(Method::Publish) => {
                self.counters.requests_other.add(1);
                if let Some(endpoint) = self.admit(id, &message, flow) {
                    crate::publication::receive(self, id, &message, &flow, &endpoint);
                }
            }
            Some(method) if is_known(&method) => {
                // BYE, INFO and UPDATE live in dialogs only (RFC 3261 §15.1.2).
                self.counters.requests_other.add(1);
                self.offended(flow, Offence::Junk);
                self.turn_away(id, &message, 481, "Call/Transaction Does Not Exist", &[]);
            }
            Some(Method::Other(_)) => {
                self.counters.requests_other.add(1);
                self.offended(flow, Offence::Junk);
                self.turn_away(
                    id,
                    &message,
                    501,
                    "Not Implemented",
                    &[(HeaderName::Allow, ALLOW)],
                );
            }
            _ => {
                self.counters.requests_other.add(1);
                self.offended(flow, Offence::Junk);
                self.turn_away(
                    id,
                    &message,
                    405,
                    "Method Not Allowed",
                    &[(HeaderName::Allow, ALLOW)],
                );
            }
        }
    }

    /// Answers who has not been admitted, and keeps nothing of it.
    fn turn_away(
        self: &Rc<Self>,
        id: ServerId,
        request: &Message,
        status: u16,
        reason: &str,
        headers: &[(HeaderName, &str)],
    ) {
        let tag = self.layer.borrow().stateless_tag(id);
        let response = self.response(request, status, reason, &tag, headers);
        self.respond_stateless(id, &response);
    }

    fn reply(
        self: &Rc<Self>,
        id: ServerId,
        request: &Message,
        status: u16,
        reason: &str,
        headers: &[(HeaderName, &str)],
    ) {
        let response = self.response(request, status, reason, &self.tag(), headers);
        self.respond(id, response);
    }

    fn response(
        &self,
        request: &Message,
        status: u16,
        reason: &str,
        tag: &str,
        headers: &[(HeaderName, &str)],
    ) -> Message {
        let mut response = Builder::response_to(request, status, reason)
            .to_tag(tag)
            .header(HeaderName::Server, self.shared.user_agent());
        for (name, value) in headers {
            response.push(name.clone(), value);
        }
        response.finish()
    }

    /// Identifies and authenticates; None when the request has been answered.
    fn admit(
        self: &Rc<Self>,
        id: ServerId,
        message: &Message,
        flow: Flow,
    ) -> Option<std::sync::Arc<strowger_store::Endpoint>> {
        let snapshot = self.shared.snapshot();
        let tag = self.layer.borrow().stateless_tag(id);
        let admission = endpoint::admit(&self.shared.gatekeeper, &snapshot, message, &flow, &tag);
        self.enforce(id, message, flow, admission)
    }

    /// The same for a request within what this endpoint has begun.
    fn admit_again(
        self: &Rc<Self>,
        id: ServerId,
        message: &Message,
        flow: Flow,
        endpoint: &strowger_store::Endpoint,
        from_before: bool,
    ) -> Option<std::sync::Arc<strowger_store::Endpoint>> {
        let snapshot = self.shared.snapshot();
        let tag = self.layer.borrow().stateless_tag(id);
        let admission = self.shared.gatekeeper.admit_again(
            &snapshot,
            endpoint,
            from_before,
            message,
            &flow,
            crate::clock::now(),
            &tag,
        );
        self.enforce(id, message, flow, admission)
    }

    fn enforce(
        self: &Rc<Self>,
        id: ServerId,
        message: &Message,
        flow: Flow,
        admission: Admission,
    ) -> Option<std::sync::Arc<strowger_store::Endpoint>> {
        self.judge(message, flow, &admission);
        match admission {
            Admission::Admitted(endpoint) => {
                if flow.transport.is_reliable() {
                    self.shared.connections.trust(flow.connection);
                }
                if endpoint.force_rport {
                    self.reply_to_source(id);
                }
                Some(endpoint)
            }
            Admission::Challenge(response)
            | Admission::Stranger(response)
            | Admission::Refused(response, _) => {
                self.respond_stateless(id, &response);
                None
            }
        }
    }

    fn register(self: &Rc<Self>, id: ServerId, message: &Message, flow: Flow) {
        let Some(endpoint) = self.admit(id, message, flow) else {
            return;
        };
        let snapshot = self.shared.snapshot();
        let before = crate::subscription::bindings(&self.shared.contacts, &endpoint);
        let outcome = endpoint::registrar::register(
            &snapshot,
            &self.shared.contacts,
            &endpoint,
            message,
            &flow,
        );
        self.counters.registrations.add(outcome.registered);
        self.counters.unregistrations.add(outcome.removed);
        if outcome.refused {
            self.counters.registrations_refused.add(1);
        }
        let registered = outcome.registered > 0;
        self.respond(id, outcome.response);
        if registered {
            let now = endpoint::contacts::epoch_now();
            let bound = endpoint.aors.iter().filter_map(|aor| {
                let bindings = self.shared.contacts.of(aor);
                bindings
                    .iter()
                    .map(|contact| contact.row.expiration_time)
                    .max()
            });
            let life = bound.max().map_or(0, |until| until.saturating_sub(now));
            let life = Duration::from_secs(u64::try_from(life).unwrap_or_default());
            self.shared.protection.bound(flow.remote.ip(), life);
            crate::subscription::registered(self, &endpoint, &before);
        }
    }

    /// A text outside of calls. It costs a run of the dialplan, and so counts as calls do.
    fn new_message(self: &Rc<Self>, id: ServerId, message: &Message, flow: Flow) {
        let overloaded = self.shared.draining() || self.call_limit_reached();
        if overloaded {
            self.counters.messages_refused.add(1);
            let wait = [(HeaderName::RetryAfter, "5")];
            self.turn_away(id, message, 503, "Service Unavailable", &wait);
            return;
        }
        let Some(endpoint) = self.admit(id, message, flow) else {
            return;
        };
        let (status, reason) = if self.take_call_token() {
            crate::call::message::receive(self, message, &flow, &endpoint)
        } else {
            (503, "Service Unavailable")
        };
        if status >= 300 {
            self.counters.messages_refused.add(1);
        }
        let headers: &[(HeaderName, &str)] = match status {
            415 => &[(HeaderName::Accept, "text/plain")],
            503 => &[(HeaderName::RetryAfter, "5")],
            _ => &[],
        };
        self.reply(id, message, status, reason, headers);
    }

    fn new_invite(self: &Rc<Self>, id: ServerId, message: &Message, flow: Flow) {
        // Before anything is looked up: an overloaded exchange says so cheaply.
        if self.shared.draining() {
            self.counters.calls_refused_draining.add(1);
            self.turn_away(
                id,
                message,
                503,
                "Service Unavailable",
                &[(HeaderName::RetryAfter, "30")],
            );
            return;
        }
        if self.call_limit_reached() {
            self.counters.calls_refused_overload.add(1);
            self.turn_away(
                id,
                message,
                503,
                "Service Unavailable",
                &[(HeaderName::RetryAfter, "5")],
            );
            return;
        }
        let Some(endpoint) = self.admit(id, message, flow) else {
            return;
        };
        if !self.take_call_token() {
            self.counters.calls_refused_overload.add(1);
            self.reply(
                id,
                message,
                503,
                "Service Unavailable",
                &[(HeaderName::RetryAfter, "1")],
            );
            return;
        }
        let Some(permit) = self.take_call_permit(flow, &endpoint.id) else {
            let wait = [(HeaderName::RetryAfter, "5")];
            return self.reply(id, message, 503, "Service Unavailable", &wait);
        };
        crate::call::incoming::invite(self, id, message, flow, &endpoint);
        self.keep_call_permit(id, permit);
    }

    /// True when `limits.calls` channels exist.
    pub(crate) fn call_limit_reached(&self) -> bool {
        let limit = self.shared.config.limits.calls;
        limit > 0 && self.shared.channels() >= limit
    }
}
