//! Registrations with other servers: sends the REGISTER that `endpoint::registration` says are due, tells it what came
//! back, and tells the world when one changed.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use strowger_sip::transaction::ClientId;
use strowger_sip::{Flow, Message, Transport, Uri};
use tokio::sync::Notify;

use super::{ClientUser, Shard};
use crate::call::session::new_via;
use crate::call::target::Alternatives;
use crate::endpoint::registration::{Attempt, Place, Registrations, StateChange, Ticket, unspoken};
use crate::events::Event;
use crate::shared::Shared;

/// The table is looked at at least so often, to notice rows that changed.
const LOOK: Duration = Duration::from_millis(500);

/// A REGISTER under way.
struct Asked {
    ticket: Ticket,
    /// Where else its registrar may be (RFC 3263 §4.3).
    others: Alternatives,
}

/// The registrations of this shard and their requests under way.
pub(super) struct Registering {
    schedule: Registrations,
    waiting: FxHashMap<ClientId, Asked>,
    /// Something is to be done earlier than was planned.
    hurry: Rc<Notify>,
}

impl Registering {
    pub(super) fn new(index: usize, count: usize, shared: &Shared) -> Self {
        let (table, lines) = (&shared.registrations, shared.gatekeeper.lines());
        Self {
            schedule: Registrations::new(index, count, Arc::clone(table), Arc::clone(lines)),
            waiting: FxHashMap::default(),
            hurry: Rc::default(),
        }
    }
}

impl Shard {
    pub(super) async fn run_registrations(self: Rc<Self>) {
        let hurry = Rc::clone(&self.registering.borrow().hurry);
        loop {
            self.send_due_registrations();
            self.flush();
            let now = crate::clock::now();
            let next = self.registering.borrow().schedule.next_timeout();
            let at = next
                .map_or(now + LOOK, |at| at.min(now + LOOK))
                .max(now + Duration::from_millis(5));
            let _ = tokio::time::timeout_at(at.into(), hurry.notified()).await;
        }
    }

    fn send_due_registrations(self: &Rc<Self>) {
        // Shards run before the first transports are open, and without one no server can be found.
        if self.shared.transports.all().is_empty() {
            return;
        }
        let snapshot = self.shared.snapshot();
        let due = self
            .registering
            .borrow_mut()
            .schedule
            .due(&snapshot, crate::clock::now());
        for attempt in due {
            self.guarded("registration", |shard| shard.attempt(attempt));
        }
        self.tell_registrations();
    }

    fn attempt(self: &Rc<Self>, attempt: Attempt) {
        let named = attempt.transport.as_deref();
        let open = named.is_some_and(|name| self.shared.transports.protocol_of(name).is_some());
        if let Some(why) = unspoken(&self.shared.snapshot(), &attempt.hop, named, open) {
            return self.not_sent(&attempt.ticket, why);
        }
        let shard = Rc::clone(self);
        Self::spawn(async move {
            let named = attempt.transport.as_deref();
            let hops = crate::dns::locate(&shard.shared, &attempt.hop, named).await;
            let found = !hops.is_empty();
            let mut others = Alternatives::new(hops.into(), attempt.transport.clone());
            let first = others.next_flow(&shard);
            let ticket = attempt.ticket;
            match first {
                Some(flow) => shard.send_register(Asked { ticket, others }, flow),
                None if !found => shard.not_sent(&ticket, "no address is found for its server"),
                None => shard.not_sent(&ticket, "no way there from here"),
            }
            shard.tell_registrations();
            shard.flush();
        });
    }

    fn not_sent(&self, ticket: &Ticket, why: &str) {
        self.counters.outbound_registers_failed.add(1);
        let mut registering = self.registering.borrow_mut();
        let now = crate::clock::now();
        registering.schedule.failed(ticket, 503, why, now);
        registering.hurry.notify_one();
    }

    /// The registrar did not take it at one place (no connection, no answer, 503): asks at the next. False when none is left.
    fn next_registrar(self: &Rc<Self>, asked: &mut Asked) -> bool {
        let Some(flow) = asked.others.next_flow(self) else {
            return false;
        };
        self.counters.targets_failed_over.add(1);
        let ticket = asked.ticket.clone();
        tracing::info!(registration = %ticket.id(), remote = %flow.remote, "the next target is tried");
        self.registering
            .borrow_mut()
            .schedule
            .goes_on(&ticket, crate::clock::now());
        let others = std::mem::take(&mut asked.others);
        self.send_register(Asked { ticket, others }, flow);
        true
    }

    fn send_register(self: &Rc<Self>, asked: Asked, flow: Flow) {
        let (host, port) = self.told(&flow);
        let mut contact = Uri::sip(None, host, Some(port));
        if flow.transport != Transport::Udp {
            contact
                .params
                .set("transport", Some(flow.transport.uri_param()));
        }
        let place = Place {
            via: new_via(self, &flow).to_string(),
            contact,
            call_id: self.call_id(),
            tag: self.tag(),
            user_agent: self.shared.user_agent(),
        };
        let request = self.registering.borrow_mut().schedule.request(
            &self.shared.snapshot(),
            &asked.ticket,
            &place,
            flow.connection,
        );
        if let Some(request) = request {
            self.ask_registrar(asked, request, flow);
        }
    }

    fn ask_registrar(self: &Rc<Self>, mut asked: Asked, request: Message, flow: Flow) {
        self.counters.outbound_registers_sent.add(1);
        match self.request(request, flow, ClientUser::Register) {
            // Its end may have been told before we knew its id.
            Some(id) if self.is_client_open(id) => {
                self.registering.borrow_mut().waiting.insert(id, asked);
            }
            _ if self.next_registrar(&mut asked) => {}
            _ => self.not_sent(&asked.ticket, "the request could not be sent"),
        }
    }

    pub(super) fn register_response(self: &Rc<Self>, id: ClientId, response: &Message, flow: Flow) {
        if response.status().is_none_or(|status| status < 200) {
            return;
        }
        let Some(mut asked) = self.registering.borrow_mut().waiting.remove(&id) else {
            return;
        };
        if response.status() == Some(503) && self.next_registrar(&mut asked) {
            return;
        }
        if response.status().is_some_and(|status| status < 300) {
            self.shared.protection.registered_at(flow.remote.ip());
        }
        let via = new_via(self, &flow).to_string();
        let snapshot = self.shared.snapshot();
        let again = {
            let mut registering = self.registering.borrow_mut();
            let now = crate::clock::now();
            registering.hurry.notify_one();
            registering
                .schedule
                .answered(&snapshot, &asked.ticket, response, &via, now)
        };
        if let Some(again) = again {
            self.ask_registrar(asked, again, flow);
        } else if response.status().is_some_and(|status| status >= 300) {
            self.counters.outbound_registers_failed.add(1);
        }
        self.tell_registrations();
    }

    pub(super) fn register_failed(self: &Rc<Self>, id: ClientId, status: u16) {
        let Some(mut asked) = self.registering.borrow_mut().waiting.remove(&id) else {
            return;
        };
        if self.next_registrar(&mut asked) {
            return;
        }
        let ticket = asked.ticket;
        self.counters.outbound_registers_failed.add(1);
        {
            let mut registering = self.registering.borrow_mut();
            let why = match status {
                408 => "no answer",
                _ => "the transport failed",
            };
            let now = crate::clock::now();
            registering.schedule.failed(&ticket, status, why, now);
            registering.hurry.notify_one();
        }
        self.tell_registrations();
    }

    pub(super) fn registrar_connection_lost(&self, flow: &Flow) {
        if flow.connection == 0 {
            return;
        }
        // In the middle of an answer of its own nothing is lost: that attempt fails by itself.
        if let Ok(mut registering) = self.registering.try_borrow_mut() {
            let now = crate::clock::now();
            registering.schedule.connection_lost(flow.connection, now);
            registering.hurry.notify_one();
        }
    }

    /// See [`Shared::register_now`].
    pub(crate) fn register_now(self: &Rc<Self>, id: &str) {
        let now = crate::clock::now();
        self.registering.borrow_mut().schedule.register_now(id, now);
        self.send_due_registrations();
    }

    /// See [`Shared::unregister`].
    pub(crate) fn unregister(self: &Rc<Self>, id: &str) {
        let now = crate::clock::now();
        self.registering.borrow_mut().schedule.unregister(id, now);
        self.send_due_registrations();
    }

    /// The exchange ends: registrars are told, so that they send us no more calls.
    pub(super) fn leave_registrars(self: &Rc<Self>) {
        self.registering
            .borrow_mut()
            .schedule
            .stop(crate::clock::now());
        self.send_due_registrations();
    }

    /// True while a registrar has not answered that we leave.
    pub(super) fn is_leaving_registrars(&self) -> bool {
        self.registering.borrow().schedule.is_leaving()
    }

    fn tell_registrations(&self) {
        let changes = self.registering.borrow_mut().schedule.take_changes();
        for StateChange { status, from } in changes {
            tracing::info!(
                registration = status.id,
                server_uri = status.server_uri,
                client_uri = status.client_uri,
                from = ?from,
                to = ?status.state,
                answer = ?status.last_answer,
                "registration with another server"
            );
            if from.word() != status.state.word() {
                self.shared.events.tell(|| registry(&status));
            }
        }
    }
}

/// The event that watchers of trunks know.
fn registry(status: &crate::endpoint::registration::Status) -> Event {
    let event = Event::new("Registry")
        .with("ChannelType", "PJSIP")
        .with("Username", &status.client_uri)
        .with("Domain", &status.server_uri)
        .with("Status", status.state.word());
    match &status.last_answer {
        Some((code, reason)) if status.state.word() == "Rejected" => {
            event.with("Cause", format!("{code} {reason}"))
        }
        _ => event,
    }
}
