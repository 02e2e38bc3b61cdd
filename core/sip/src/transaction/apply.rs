//! Doing what a state machine asks for: messages out, events up, the transaction removed or its timer set.

use std::time::Instant;

use super::build;
use super::effects::{Effects, Failure};
use super::layer::{Cancel, Layer, Owner, Sent};
use super::{ClientId, Event, ServerId, Transmit};
use crate::flow::Flow;
use crate::message::Message;

impl Layer {
    pub(super) fn apply_client(
        &mut self,
        now: Instant,
        id: u64,
        effects: Effects,
        response: Option<(Message, Flow)>,
    ) {
        let Some(transaction) = self.clients.get_mut(id) else {
            return;
        };
        let internal = transaction.internal;
        if effects.send {
            self.counters.retransmissions_sent += 1;
            self.transmits.push_back(Transmit {
                flow: transaction.flow,
                bytes: transaction.request.raw().clone(),
            });
        }
        if effects.acknowledge {
            if transaction.ack.is_none()
                && let Some((response, _)) = &response
            {
                transaction.ack = Some(build::ack(&transaction.request, response));
            }
            if let Some(ack) = &transaction.ack {
                self.transmits.push_back(Transmit {
                    flow: transaction.flow,
                    bytes: ack.raw().clone(),
                });
            }
        }
        if effects.deliver
            && !internal
            && let Some((message, flow)) = response
        {
            let id = ClientId(id);
            self.events.push_back(Event::Response { id, message, flow });
        }
        if let Some(failure) = effects.failure {
            self.client_failed(ClientId(id), failure, internal);
        }
        if effects.ended {
            if let Some(transaction) = self.clients.remove(id) {
                self.client_keys.remove(&transaction.key);
            }
            if !internal {
                let id = ClientId(id);
                self.events.push_back(Event::ClientTerminated { id });
            }
            return;
        }
        if effects.cancel
            && let Some(transaction) = self.clients.get_mut(id)
            && transaction.cancel == Cancel::No
        {
            transaction.cancel = Cancel::Wanted(None);
        }
        self.cancel_if_possible(now, id);
        self.schedule(Owner::Client(id));
    }

    fn client_failed(&mut self, id: ClientId, failure: Failure, internal: bool) {
        let event = match failure {
            Failure::Transport => {
                self.counters.transport_errors += 1;
                Event::TransportError { id }
            }
            _ => {
                self.counters.timeouts += 1;
                Event::Timeout { id }
            }
        };
        if !internal {
            self.events.push_back(event);
        }
    }

    pub(super) fn apply_server(&mut self, now: Instant, id: u64, effects: Effects) {
        let Some(transaction) = self.servers.get_mut(id) else {
            return;
        };
        if effects.trying
            && let Some(request) = &transaction.request
        {
            self.counters.trying_sent += 1;
            transaction.response = Some(Sent::Whole(build::trying(request)));
        }
        if (effects.send || effects.trying)
            && let Some(response) = &transaction.response
        {
            self.transmits.push_back(Transmit {
                flow: transaction.reply,
                bytes: response.bytes().clone(),
            });
        }
        if let Some(failure) = effects.failure {
            self.server_failed(now, id, failure, effects.ended);
        }
        if effects.ended {
            self.remove_server(id);
        } else {
            self.schedule(Owner::Server(id));
        }
    }

    fn server_failed(&mut self, now: Instant, id: u64, failure: Failure, ended: bool) {
        let Some(transaction) = self.servers.get_mut(id) else {
            return;
        };
        let internal = transaction.internal;
        let request = transaction.request.clone();
        let tag = transaction.response.as_ref().and_then(Sent::to_tag);
        let key = transaction.key.clone();
        let id = ServerId(id);
        let event = match failure {
            Failure::NoAck => {
                self.counters.acks_missing += 1;
                Event::NoAck { id }
            }
            Failure::Abandoned => {
                self.counters.abandoned += 1;
                Event::Abandoned { id }
            }
            Failure::Transport | Failure::Timeout => {
                self.counters.transport_errors += 1;
                Event::ResponseFailed { id }
            }
        };
        if !internal {
            self.events.push_back(event);
        }
        if !ended
            && failure == Failure::Abandoned
            && let Some(request) = request
        {
            let tag = tag.unwrap_or_else(|| self.tags.stateless_tag(&key));
            let response = build::reply(&request, 408, "Request Timeout", &tag, &[]);
            self.respond_inner(now, id.0, response);
        }
    }

    pub(super) fn remove_server(&mut self, id: u64) {
        let Some(transaction) = self.servers.remove(id) else {
            return;
        };
        self.server_keys.remove(&transaction.key);
        if let Some(key) = &transaction.merge_key {
            self.merge_keys.remove(key);
        }
        if !transaction.internal {
            let id = ServerId(id);
            self.events.push_back(Event::ServerTerminated { id });
        }
        self.absorbed();
    }
}
