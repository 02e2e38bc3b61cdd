//! [`Layer`]: the transactions of one shard, what its user asks of them, and their timers. Messages from the network
//! come in through `inbound`; what the state machines ask for is done in `apply`.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::build;
use super::client::Client;
use super::client_invite::ClientInvite;
use super::key::{Branches, Key, KeyBuffer};
use super::server::Server;
use super::server_invite::ServerInvite;
use super::table::Table;
use super::timers::{Queue, Timers};
use super::{ClientId, Counters, Event, Limits, RequestError, ServerId, Transmit};
use crate::flow::Flow;
use crate::message::{Message, Method};

/// Timers that fire in one call of [`Layer::handle_timeout`]; the rest are due at once again. Keeps the output queues
/// and the time of one call bounded.
const TIMERS_PER_CALL: usize = 1024;

/// Connections without transactions that are kept in mind.
const CONNECTIONS_KEPT: usize = 1024;

#[derive(Debug)]
pub(super) enum ClientMachine {
    Invite(ClientInvite),
    Other(Client),
}

impl ClientMachine {
    fn next_timeout(&self) -> Instant {
        match self {
            Self::Invite(machine) => machine.next_timeout(),
            Self::Other(machine) => machine.next_timeout(),
        }
    }
}

/// Whether the user wants an INVITE cancelled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// As soon as a provisional response comes (§9.1); with this Reason.
    Wanted(Option<String>),
    Sent,
}

#[derive(Debug)]
pub(super) struct ClientTransaction {
    pub(super) machine: ClientMachine,
    pub(super) request: Message,
    pub(super) flow: Flow,
    pub(super) key: Key,
    /// Host (lower case) and port of the Via we sent.
    pub(super) sent_by: (String, Option<u16>),
    pub(super) ack: Option<Message>,
    pub(super) cancel: Cancel,
    /// A CANCEL of the layer: nobody outside knows of it.
    pub(super) internal: bool,
    /// The moment of the newest entry in the timer queue.
    scheduled: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum ServerMachine {
    Invite(ServerInvite),
    Other(Server),
}

impl ServerMachine {
    fn next_timeout(&self) -> Instant {
        match self {
            Self::Invite(machine) => machine.next_timeout(),
            Self::Other(machine) => machine.next_timeout(),
        }
    }
}

/// The last response, as long as it may be sent again.
#[derive(Debug)]
pub(super) enum Sent {
    Whole(Message),
    /// Of a transaction that only waits for repetitions: most of them, for most of their time.
    Bytes(Bytes),
}

impl Sent {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Whole(message) => message.raw(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(super) fn to_tag(&self) -> Option<String> {
        match self {
            Self::Whole(message) => build::to_tag(message),
            Self::Bytes(bytes) => build::to_tag(&Message::parse(bytes.clone()).ok()?),
        }
    }
}

#[derive(Debug)]
pub(super) struct ServerTransaction {
    pub(super) machine: ServerMachine,
    /// Kept for responses of the layer's own; none once the user has answered for good.
    pub(super) request: Option<Message>,
    /// Where the request came from, and where responses go (§18.2.2).
    pub(super) flow: Flow,
    pub(super) reply: Flow,
    pub(super) key: Key,
    pub(super) merge_key: Option<Key>,
    pub(super) response: Option<Sent>,
    /// The user has been told of a CANCEL.
    pub(super) cancelled: bool,
    /// A CANCEL answered by the layer: nobody outside knows of it.
    pub(super) internal: bool,
    pub(super) scheduled: Option<Instant>,
    /// It is one of [`Layer::absorbing`].
    pub(super) absorbing: bool,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(u64),
    Server(u64),
}

/// All transactions of one shard. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Layer {
    pub(super) timers: Timers,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) clients: Table<ClientTransaction>,
    pub(super) servers: Table<ServerTransaction>,
    pub(super) client_keys: HashMap<Key, u64>,
    pub(super) server_keys: HashMap<Key, u64>,
    pub(super) merge_keys: HashMap<Key, u64>,
    /// Answered requests, of INVITEs those with a 2xx, the oldest first: they only absorb repetitions. Those that are over
    /// leave with the ones before them.
    absorbing: VecDeque<u64>,
    /// What began on each connection, some of which may be over.
    on_connection: HashMap<u64, Vec<Owner>>,
    queue: Queue<Owner>,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<Event>,
    pub(super) tags: Branches,
    pub(super) scratch: KeyBuffer,
}

impl Layer {
    /// An empty layer.
    pub fn new(timers: Timers, limits: Limits) -> Self {
        Self {
            timers,
            limits,
            counters: Counters::default(),
            clients: Table::new(),
            servers: Table::new(),
            client_keys: HashMap::new(),
            server_keys: HashMap::new(),
            merge_keys: HashMap::new(),
            absorbing: VecDeque::new(),
            on_connection: HashMap::new(),
            queue: Queue::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            tags: Branches::new(),
            scratch: KeyBuffer::default(),
        }
    }

    /// The same with tags of responses that follow from these: for simulations.
    #[must_use]
    pub fn with_tags(mut self, tags: Branches) -> Self {
        self.tags = tags;
        self
    }

    /// Sends a request (not ACK) over `flow` in a transaction of its own. Its top Via must carry a branch that begins
    /// with the magic cookie and was never used before; [`Branches`] makes them, [`Via::new`](crate::headers::Via::new)
    /// the header.
    pub fn request(
        &mut self,
        now: Instant,
        message: Message,
        flow: Flow,
    ) -> Result<ClientId, RequestError> {
        if self.clients.len() >= self.limits.client {
            return Err(RequestError::Full);
        }
        self.start_client(now, message, flow, false)
    }

    fn start_client(
        &mut self,
        now: Instant,
        message: Message,
        flow: Flow,
        internal: bool,
    ) -> Result<ClientId, RequestError> {
        let method = match message.method() {
            Some(Method::Ack) | None => return Err(RequestError::NotARequest),
            Some(method) => method,
        };
        let via = message.via().map_err(|_| RequestError::NoBranch)?;
        let branch = via.rfc3261_branch().ok_or(RequestError::NoBranch)?;
        if message.cseq().is_err() {
            return Err(RequestError::NoBranch);
        }
        self.scratch.client(branch, method.as_str());
        if self.client_keys.contains_key(self.scratch.as_slice()) {
            return Err(RequestError::BranchInUse);
        }
        let reliable = flow.transport.is_reliable();
        let machine = if method == Method::Invite {
            ClientMachine::Invite(ClientInvite::start(now, &self.timers, reliable))
        } else {
            ClientMachine::Other(Client::start(now, &self.timers, reliable))
        };
        self.transmits.push_back(Transmit {
            flow,
            bytes: message.raw().clone(),
        });
        let key = self.scratch.to_key();
        let sent_by = build::sent_by(&via);
        let id = self.clients.insert(ClientTransaction {
            machine,
            request: message,
            flow,
            key: key.clone(),
            sent_by,
            ack: None,
            cancel: Cancel::No,
            internal,
            scheduled: None,
        });
        self.client_keys.insert(key, id);
        self.note_connection(&flow, Owner::Client(id));
        if !internal {
            self.counters.requests_sent += 1;
        }
        self.schedule(Owner::Client(id));
        Ok(ClientId(id))
    }

    /// Sends a message outside any transaction: the ACK for a 2xx (again for each [`Event::Response`] that repeats the
    /// 2xx), keep-alives.
    pub fn send(&mut self, message: &Message, flow: Flow) {
        self.transmits.push_back(Transmit {
            flow,
            bytes: message.raw().clone(),
        });
    }

    /// Gives up an INVITE of ours. The CANCEL goes out at once, or when the first provisional response comes (§9.1),
    /// with `reason` as its Reason header (RFC 3326, for example `SIP;cause=200;text="Call completed elsewhere"`). The
    /// INVITE still ends by itself: with a final response (487, or a 200 that was quicker: ACK it and send BYE) or, when
    /// none comes within 64*T1, with [`Event::Timeout`]. Returns false if there is nothing to cancel: unknown, not an
    /// INVITE, or answered already.
    pub fn cancel(&mut self, now: Instant, id: ClientId, reason: Option<&str>) -> bool {
        let Some(transaction) = self.clients.get_mut(id.0) else {
            return false;
        };
        let ClientMachine::Invite(machine) = &transaction.machine else {
            return false;
        };
        if !machine.is_pending() {
            return false;
        }
        if transaction.cancel == Cancel::No {
            transaction.cancel = Cancel::Wanted(reason.map(str::to_owned));
            self.cancel_if_possible(now, id.0);
        }
        true
    }

    pub(super) fn cancel_if_possible(&mut self, now: Instant, id: u64) {
        let Some(transaction) = self.clients.get_mut(id) else {
            return;
        };
        let ClientMachine::Invite(machine) = &mut transaction.machine else {
            return;
        };
        if !machine.may_send_cancel() {
            return;
        }
        let Cancel::Wanted(reason) = &mut transaction.cancel else {
            return;
        };
        let reason = reason.take();
        transaction.cancel = Cancel::Sent;
        machine.cancelled(now, &self.timers);
        let cancel = build::cancel(&transaction.request, reason.as_deref());
        let flow = transaction.flow;
        // It has the branch of the INVITE, whose CANCEL is sent only once: there is no other such key.
        if self.start_client(now, cancel, flow, true).is_ok() {
            self.counters.cancels_sent += 1;
        }
        self.schedule(Owner::Client(id));
    }

    /// The timer settings.
    #[must_use]
    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Forgets a client transaction at once and without an event, for requests whose user waits for less than timer F.
    /// A response that comes later matches nothing. Not for INVITEs: cancel those.
    pub fn forget(&mut self, id: ClientId) {
        if let Some(transaction) = self.clients.remove(id.0) {
            self.client_keys.remove(&transaction.key);
        }
    }

    /// Sends a response in a server transaction. In an INVITE transaction a 2xx may be repeated until 64*T1 after the
    /// first (see [`AcceptedInvite`](crate::accepted::AcceptedInvite)). Returns false, and counts, if the transaction
    /// is gone or has its final response.
    pub fn respond(&mut self, now: Instant, id: ServerId, response: Message) -> bool {
        let taken = self.respond_inner(now, id.0, response);
        if taken {
            self.counters.responses_sent += 1;
        } else {
            self.counters.responses_late += 1;
        }
        taken
    }

    pub(super) fn respond_inner(&mut self, now: Instant, id: u64, response: Message) -> bool {
        let (Some(status), Some(transaction)) = (response.status(), self.servers.get_mut(id))
        else {
            return false;
        };
        let effects = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.respond(now, &self.timers, status),
            ServerMachine::Other(machine) => machine.respond(now, &self.timers, status),
        };
        let Some(effects) = effects else {
            return false;
        };
        transaction.response = Some(Sent::Whole(response));
        self.apply_server(now, id, effects);
        if status >= 200 {
            self.answered(id, status);
        }
        true
    }

    /// What the transaction will not need any more goes.
    fn answered(&mut self, id: u64, status: u16) {
        let Some(transaction) = self.servers.get_mut(id) else {
            return;
        };
        transaction.request = None;
        // The failure of an INVITE is repeated and acknowledged here; its 2xx is the user's affair.
        if matches!(transaction.machine, ServerMachine::Invite(_)) && status >= 300 {
            return;
        }
        if let Some(sent) = &mut transaction.response {
            *sent = Sent::Bytes(sent.bytes().clone());
        }
        self.only_absorbs(id);
    }

    /// Nothing is left to do for this transaction but to absorb repetitions until its end. If there are too many of these the
    /// oldest goes: a repetition after that is a new request.
    pub(super) fn only_absorbs(&mut self, id: u64) {
        let Some(transaction) = self.servers.get_mut(id).filter(|t| !t.absorbing) else {
            return;
        };
        transaction.absorbing = true;
        self.absorbing.push_back(id);
        while self.absorbing.len() > self.limits.absorbing {
            if let Some(oldest) = self.absorbing.pop_front()
                && self.servers.get(oldest).is_some()
            {
                self.counters.absorbing_forgotten += 1;
                self.remove_server(oldest);
            }
        }
    }

    /// A server transaction is over.
    pub(super) fn absorbed(&mut self) {
        while let Some(oldest) = self.absorbing.front()
            && self.servers.get(*oldest).is_none()
        {
            self.absorbing.pop_front();
        }
    }

    /// Server transactions that somebody may still do something with.
    pub(super) fn working(&self) -> usize {
        self.servers.len().saturating_sub(self.absorbing.len())
    }

    /// Sends a response and forgets the request (§8.2.7): a stranger who never comes back leaves nothing behind. A
    /// repetition of the request is a new one, the ACK for this response belongs to nobody. Use [`Layer::stateless_tag`]
    /// as tag. False, and counted, if the transaction is gone or was answered.
    pub fn respond_stateless(&mut self, id: ServerId, response: &Message) -> bool {
        let Some(transaction) = self.servers.get_mut(id.0).filter(|t| t.response.is_none()) else {
            self.counters.responses_late += 1;
            return false;
        };
        let transmit = Transmit {
            flow: transaction.reply,
            bytes: response.raw().clone(),
        };
        self.transmits.push_back(transmit);
        self.counters.responses_sent += 1;
        self.forget_request(id);
        true
    }

    /// The tag of responses without a transaction: the same for each repetition of a request (§8.2.7).
    #[must_use]
    pub fn stateless_tag(&self, id: ServerId) -> String {
        let key = self.servers.get(id.0).map(|transaction| &transaction.key);
        key.map_or_else(String::new, |key| self.tags.stateless_tag(key))
    }

    /// Forgets a request without an answer and without an event.
    pub fn forget_request(&mut self, id: ServerId) {
        if let Some(transaction) = self.servers.get_mut(id.0) {
            transaction.internal = true;
            self.remove_server(id.0);
        }
    }

    /// Sends the responses of a transaction to the source of the request even if its Via did not ask for that with
    /// `rport` (`force_rport` of an endpoint).
    pub fn reply_to_source(&mut self, id: ServerId) {
        if let Some(transaction) = self.servers.get_mut(id.0) {
            transaction.reply = transaction.flow;
        }
    }

    /// The transport cannot send over `flow` any more (connection closed or refused, ICMP error): ends what depends on
    /// it. Of a connection only what began on it is looked at; for a datagram's flow all transactions are walked over.
    pub fn transport_failed(&mut self, now: Instant, flow: &Flow) {
        let (clients, servers) = self.on_flow(flow);
        for id in clients {
            self.request_failed(now, ClientId(id));
        }
        for id in servers {
            let Some(transaction) = self.servers.get_mut(id) else {
                continue;
            };
            let effects = match &mut transaction.machine {
                ServerMachine::Invite(machine) => machine.transport_failed(),
                ServerMachine::Other(machine) => machine.transport_failed(),
            };
            self.apply_server(now, id, effects);
        }
    }

    /// The client and server transactions on this flow.
    fn on_flow(&mut self, flow: &Flow) -> (Vec<u64>, Vec<u64>) {
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        if flow.connection == 0 {
            let failed = self.clients.iter().filter(|(_, t)| t.flow == *flow);
            clients.extend(failed.map(|(id, _)| id));
            let all = self.servers.iter();
            let failed = all.filter(|(_, t)| t.reply == *flow || t.flow == *flow);
            servers.extend(failed.map(|(id, _)| id));
            return (clients, servers);
        }
        let began = self.on_connection.remove(&flow.connection);
        for owner in began.unwrap_or_default() {
            match owner {
                Owner::Client(id) => clients.extend(self.clients.get(id).map(|_| id)),
                Owner::Server(id) => servers.extend(self.servers.get(id).map(|_| id)),
            }
        }
        (clients, servers)
    }

    /// A transaction began on this flow.
    pub(super) fn note_connection(&mut self, flow: &Flow, owner: Owner) {
        if flow.connection == 0 {
            return;
        }
        let (clients, servers) = (&self.clients, &self.servers);
        let lives = |owner: &Owner| match owner {
            Owner::Client(id) => clients.get(*id).is_some(),
            Owner::Server(id) => servers.get(*id).is_some(),
        };
        // What is over goes whenever a list would grow, so that each is looked at a few times at most; so do connections.
        let most = CONNECTIONS_KEPT + 2 * (clients.len() + servers.len());
        if self.on_connection.len() > most {
            self.on_connection
                .retain(|_, began| began.iter().any(lives));
        }
        let began = self.on_connection.entry(flow.connection).or_default();
        if began.len() == began.capacity() {
            began.retain(lives);
            began.reserve(began.len().max(4));
        }
        began.push(owner);
    }

    /// Transactions kept in mind for the ends of their connections.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        let lists = self.on_connection.values();
        lists.map(|began| 1 + began.len()).sum()
    }

    /// Messages that were refused or dropped here because they belong to nothing or cannot be understood.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counters.requests_malformed + self.counters.cancels_unmatched
    }

    /// One request could not be sent (no connection, no address).
    pub fn request_failed(&mut self, now: Instant, id: ClientId) {
        let Some(transaction) = self.clients.get_mut(id.0) else {
            return;
        };
        let effects = match &mut transaction.machine {
            ClientMachine::Invite(machine) => machine.transport_failed(),
            ClientMachine::Other(machine) => machine.transport_failed(),
        };
        self.apply_client(now, id.0, effects, None);
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Layer::handle_timeout`]; may be earlier than anything happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.queue.peek().map(|(when, _)| when)
    }

    /// Fires the timers that are due, at most a thousand a call (then the next timeout is due already).
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut fired = 0;
        while let Some((when, owner)) = self.queue.peek() {
            let alive = self.scheduled(owner) == Some(when);
            if alive && (when > now || fired >= TIMERS_PER_CALL) {
                break;
            }
            self.queue.pop();
            if alive {
                fired += 1;
                self.fire(now, owner);
            }
        }
    }

    fn fire(&mut self, now: Instant, owner: Owner) {
        match owner {
            Owner::Client(id) => {
                let Some(transaction) = self.clients.get_mut(id) else {
                    return;
                };
                transaction.scheduled = None;
                let effects = match &mut transaction.machine {
                    ClientMachine::Invite(machine) => machine.timeout(now, &self.timers),
                    ClientMachine::Other(machine) => machine.timeout(now, &self.timers),
                };
                self.apply_client(now, id, effects, None);
            }
            Owner::Server(id) => {
                let Some(transaction) = self.servers.get_mut(id) else {
                    return;
                };
                transaction.scheduled = None;
                let effects = match &mut transaction.machine {
                    ServerMachine::Invite(machine) => machine.timeout(now, &self.timers),
                    ServerMachine::Other(machine) => machine.timeout(now),
                };
                self.apply_server(now, id, effects);
            }
        }
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Living client transactions, CANCELs of the layer included.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Living server transactions, received CANCELs included.
    pub fn server_count(&self) -> usize {
        self.servers.len()
    }

    #[cfg(test)]
    pub(super) fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing at all is held: no transaction, no key, no timer, no output.
    pub fn is_empty(&self) -> bool {
        self.clients.len() == 0
            && self.servers.len() == 0
            && self.client_keys.is_empty()
            && self.server_keys.is_empty()
            && self.merge_keys.is_empty()
            && self.absorbing.is_empty()
            && self.queue.len() == 0
            && self.transmits.is_empty()
            && self.events.is_empty()
    }

    fn scheduled(&self, owner: Owner) -> Option<Instant> {
        match owner {
            Owner::Client(id) => self.clients.get(id)?.scheduled,
            Owner::Server(id) => self.servers.get(id)?.scheduled,
        }
    }

    /// Puts the transaction into the timer queue unless it is there already for this or an earlier moment; a deadline
    /// that moved away is found out when the old one comes.
    pub(super) fn schedule(&mut self, owner: Owner) {
        let (next, scheduled) = match owner {
            Owner::Client(id) => match self.clients.get_mut(id) {
                Some(t) => (t.machine.next_timeout(), &mut t.scheduled),
                None => return,
            },
            Owner::Server(id) => match self.servers.get_mut(id) {
                Some(t) => (t.machine.next_timeout(), &mut t.scheduled),
                None => return,
            },
        };
        if scheduled.is_some_and(|at| at <= next) {
            return;
        }
        *scheduled = Some(next);
        self.queue.push(next, owner);
        let living = self.clients.len() + self.servers.len();
        let (clients, servers) = (&self.clients, &self.servers);
        self.queue.sweep(living, |when, owner| {
            let scheduled = match owner {
                Owner::Client(id) => clients.get(id).and_then(|t| t.scheduled),
                Owner::Server(id) => servers.get(id).and_then(|t| t.scheduled),
            };
            scheduled == Some(when)
        });
    }
}
