//! Messages from the network: matched to a transaction, or the beginning of one (RFC 3261 §17.1.3, §17.2.3, §18).

use std::net::SocketAddr;
use std::time::Instant;

use super::build;
use super::effects::Effects;
use super::key::OldRequest;
use super::layer::{ClientMachine, Layer, Owner, Sent, ServerMachine, ServerTransaction};
use super::server::Server;
use super::server_invite::ServerInvite;
use super::{Event, ServerId, Transmit};
use crate::flow::{Flow, Transport};
use crate::headers::Via;
use crate::message::{HeaderName, Message, Method};

impl Layer {
    /// Takes a message from the network.
    pub fn receive(&mut self, now: Instant, message: Message, flow: Flow) {
        if message.is_request() {
            self.receive_request(now, message, flow);
        } else {
            self.receive_response(now, message, flow);
        }
    }

    /// Whether a request belongs to a server transaction that is here: a repetition, an ACK or a CANCEL.
    pub fn has_transaction_of(&mut self, request: &Message) -> bool {
        let (Ok(via), Some(method), Some(fields)) =
            (request.via(), request.method(), Fields::of(request))
        else {
            return false;
        };
        let method = match method {
            Method::Ack | Method::Cancel => Method::Invite,
            other => other,
        };
        self.server_key(request, &via, &fields, method.as_str());
        self.server_keys.contains_key(self.scratch.as_slice())
    }

    fn receive_response(&mut self, now: Instant, message: Message, flow: Flow) {
        // §8.1.3.3: a response with more than one Via was meant for somebody else.
        let (Ok(via), Ok(cseq), Some(status)) = (message.via(), message.cseq(), message.status())
        else {
            self.counters.responses_foreign += 1;
            return;
        };
        if message.values(&HeaderName::Via).nth(1).is_some() {
            self.counters.responses_foreign += 1;
            return;
        }
        let found = via.branch().and_then(|branch| {
            self.scratch.client(branch, cseq.method.as_str());
            self.client_keys.get(self.scratch.as_slice()).copied()
        });
        let Some((id, transaction)) = found.and_then(|id| Some((id, self.clients.get_mut(id)?)))
        else {
            self.counters.responses_unmatched += 1;
            return;
        };
        // §18.1.2: the sent-by must be the one we put there.
        if build::sent_by(&via) != transaction.sent_by {
            self.counters.responses_foreign += 1;
            return;
        }
        self.counters.responses_received += 1;
        let effects = match &mut transaction.machine {
            ClientMachine::Invite(machine) => machine.response(now, &self.timers, status),
            ClientMachine::Other(machine) => machine.response(now, &self.timers, status),
        };
        self.apply_client(now, id, effects, Some((message, flow)));
    }

    fn receive_request(&mut self, now: Instant, message: Message, flow: Flow) {
        let (Ok(via), Some(method)) = (message.via(), message.method()) else {
            // Without a Via there is nowhere to send a 400 to.
            self.counters.requests_malformed += 1;
            return;
        };
        let reply = reply_flow(flow, &via);
        let Some(fields) = Fields::of(&message) else {
            self.counters.requests_malformed += 1;
            if method != Method::Ack {
                let message = message.received_from(flow.remote, false);
                self.scratch
                    .merged(via.branch().unwrap_or_default(), "", 0, "");
                self.refuse(&message, reply, 400, "Bad Request", &[]);
            }
            return;
        };
        self.server_key(&message, &via, &fields, method.as_str());
        match method {
            Method::Ack => {
                self.server_key(&message, &via, &fields, Method::Invite.as_str());
                self.receive_ack(now, message, flow);
            }
            Method::Cancel => {
                if !self.absorb(now) {
                    self.receive_cancel(now, message, &via, &fields, flow, reply);
                }
            }
            method => {
                if !self.absorb(now) {
                    self.new_request(now, message, &method, &fields, flow, reply);
                }
            }
        }
    }

    /// Builds in `scratch` the key by which a request of `method` with this Via is known (§17.2.3).
    fn server_key(&mut self, message: &Message, via: &Via, fields: &Fields, method: &str) {
        match via.rfc3261_branch() {
            Some(branch) => {
                let (host, port) = build::sent_by(via);
                self.scratch
                    .server(branch, &host, port.unwrap_or(0), method);
            }
            None => self.scratch.server_2543(
                &OldRequest {
                    request_uri: message.request_uri().unwrap_or_default(),
                    from_tag: &fields.from_tag,
                    call_id: &fields.call_id,
                    cseq: fields.cseq,
                    via: message.values(&HeaderName::Via).next().unwrap_or_default(),
                },
                method,
            ),
        }
    }

    /// Deals with a retransmission of the request whose key is in `scratch`.
    fn absorb(&mut self, now: Instant) -> bool {
        let Some(&id) = self.server_keys.get(self.scratch.as_slice()) else {
            return false;
        };
        let Some(transaction) = self.servers.get_mut(id) else {
            return false;
        };
        self.counters.retransmissions_received += 1;
        let effects = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.retransmission(),
            ServerMachine::Other(machine) => machine.retransmission(),
        };
        if effects.send {
            self.counters.retransmissions_sent += 1;
        }
        self.apply_server(now, id, effects);
        true
    }

    fn receive_ack(&mut self, now: Instant, message: Message, flow: Flow) {
        let found = self.server_keys.get(self.scratch.as_slice()).copied();
        let Some((id, transaction)) = found.and_then(|id| Some((id, self.servers.get_mut(id)?)))
        else {
            self.events.push_back(Event::Ack {
                invite: None,
                message,
                flow,
            });
            return;
        };
        let effects = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.ack(now, &self.timers),
            ServerMachine::Other(_) => Effects::NONE,
        };
        if effects.deliver {
            // The 2xx has arrived: nobody asks for it again.
            transaction.response = None;
            self.events.push_back(Event::Ack {
                invite: Some(ServerId(id)),
                message,
                flow,
            });
        } else {
            self.counters.acks_absorbed += 1;
        }
        self.apply_server(now, id, effects);
    }

    /// §9.2. A CANCEL is answered here: 200 if its INVITE is known (whatever its state), else 481.
    fn receive_cancel(
        &mut self,
        now: Instant,
        message: Message,
        via: &Via,
        fields: &Fields,
        flow: Flow,
        reply: Flow,
    ) {
        self.counters.cancels_received += 1;
        let key = self.scratch.to_key();
        let message = message.received_from(flow.remote, false);
        let mut tag = None;
        let mut told = None;
        self.server_key(&message, via, fields, Method::Invite.as_str());
        let invite = self.server_keys.get(self.scratch.as_slice()).copied();
        if let Some(id) = invite
            && let Some(transaction) = self.servers.get_mut(id)
        {
            // §9.2: the To tag of this 200 and of the INVITE's responses should be the same.
            tag = transaction.response.as_ref().and_then(Sent::to_tag);
            if let ServerMachine::Invite(machine) = &transaction.machine
                && machine.is_pending()
                && !transaction.cancelled
            {
                transaction.cancelled = true;
                told = Some(ServerId(id));
            }
        }
        let tag = tag.unwrap_or_else(|| self.tags.stateless_tag(self.scratch.as_slice()));
        let response = if invite.is_some() {
            build::reply(&message, 200, "OK", &tag, &[])
        } else {
            build::reply(&message, 481, "Call/Transaction Does Not Exist", &tag, &[])
        };
        if invite.is_none() {
            self.counters.cancels_unmatched += 1;
        }
        if invite.is_none() || self.working() >= self.server_limit(true) {
            // The answer is the same each time, so it needs no memory.
            self.transmits.push_back(Transmit {
                flow: reply,
                bytes: response.raw().clone(),
            });
        } else {
            let id = self.servers.insert(ServerTransaction {
                machine: ServerMachine::Other(Server::start(
                    now,
                    &self.timers,
                    flow.transport.is_reliable(),
                )),
                request: Some(message.clone()),
                flow,
                reply,
                key: key.clone(),
                merge_key: None,
                response: None,
                cancelled: false,
                internal: true,
                scheduled: None,
                absorbing: false,
            });
            self.server_keys.insert(key, id);
            self.note_connection(&flow, Owner::Server(id));
            self.respond_inner(now, id, response);
        }
        if let Some(invite) = told {
            self.events.push_back(Event::Cancel { invite, message });
        }
    }

    fn new_request(
        &mut self,
        now: Instant,
        message: Message,
        method: &Method,
        fields: &Fields,
        flow: Flow,
        reply: Flow,
    ) {
        let key = self.scratch.to_key();
        let message = message.received_from(flow.remote, false);
        if self.working() >= self.server_limit(fields.in_dialog) {
            self.counters.requests_refused += 1;
            let seconds = self.limits.retry_after_s.to_string();
            let headers = [(HeaderName::RetryAfter, seconds.as_str())];
            self.refuse(&message, reply, 503, "Service Unavailable", &headers);
            return;
        }
        let mut merge_key = None;
        if !fields.in_dialog {
            self.scratch.merged(
                &fields.call_id,
                &fields.from_tag,
                fields.cseq,
                method.as_str(),
            );
            if self.merge_keys.contains_key(self.scratch.as_slice()) {
                self.counters.requests_merged += 1;
            } else {
                merge_key = Some(self.scratch.to_key());
            }
        }
        let merged = !fields.in_dialog && merge_key.is_none();
        let reliable = flow.transport.is_reliable();
        let machine = if *method == Method::Invite {
            ServerMachine::Invite(ServerInvite::start(now, &self.timers, reliable))
        } else {
            ServerMachine::Other(Server::start(now, &self.timers, reliable))
        };
        let id = self.servers.insert(ServerTransaction {
            machine,
            request: Some(message.clone()),
            flow,
            reply,
            key: key.clone(),
            merge_key: merge_key.clone(),
            response: None,
            cancelled: false,
            internal: merged,
            scheduled: None,
            absorbing: false,
        });
        self.server_keys.insert(key, id);
        self.note_connection(&flow, Owner::Server(id));
        if let Some(key) = merge_key {
            self.merge_keys.insert(key, id);
        }
        if merged {
            // §8.2.2.2. In a transaction of its own, so that the ACK for it is absorbed.
            let tag = self.tags.stateless_tag(self.scratch.as_slice());
            let response = build::reply(&message, 482, "Loop Detected", &tag, &[]);
            self.respond_inner(now, id, response);
            return;
        }
        self.counters.requests_received += 1;
        self.schedule(Owner::Server(id));
        let id = ServerId(id);
        self.events.push_back(Event::Request { id, message, flow });
    }

    /// How many server transactions there may be for a request to get one.
    fn server_limit(&self, in_dialog: bool) -> usize {
        let limit = self.limits.server;
        if in_dialog { limit + limit / 4 } else { limit }
    }

    /// A response without a transaction (§8.2.7); its tag comes from the key in `scratch`.
    fn refuse(
        &mut self,
        request: &Message,
        reply: Flow,
        status: u16,
        reason: &str,
        headers: &[(HeaderName, &str)],
    ) {
        let tag = self.tags.stateless_tag(self.scratch.as_slice());
        let response = build::reply(request, status, reason, &tag, headers);
        self.transmits.push_back(Transmit {
            flow: reply,
            bytes: response.raw().clone(),
        });
    }
}

/// What the layer needs of a request besides its Via.
struct Fields {
    call_id: String,
    from_tag: String,
    cseq: u32,
    /// Has a To tag.
    in_dialog: bool,
}

impl Fields {
    /// `None` if something mandatory is missing or contradictory (§8.1.1, §8.1.1.5).
    fn of(message: &Message) -> Option<Self> {
        let cseq = message.cseq().ok()?;
        if cseq.method.as_str() != message.method_str() {
            return None;
        }
        Some(Self {
            call_id: message.call_id().ok()?.to_owned(),
            // Absent from peers of RFC 2543.
            from_tag: message.from().ok()?.tag().unwrap_or_default().to_owned(),
            cseq: cseq.number,
            in_dialog: message.to().ok()?.tag().is_some(),
        })
    }
}

/// Where the responses to a request go. §18.2.2: over the same connection; over UDP to the source address, at the port of
/// the Via, or with `rport` the source port (RFC 3581 §4). `maddr` is not obeyed: it would let anyone aim our responses
/// at anyone.
fn reply_flow(flow: Flow, via: &Via) -> Flow {
    if flow.transport != Transport::Udp || via.rport().is_some() {
        return flow;
    }
    Flow {
        remote: SocketAddr::new(flow.remote.ip(), via.port.unwrap_or(5060)),
        ..flow
    }
}
