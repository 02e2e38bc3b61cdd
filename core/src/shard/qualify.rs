//! Probing contacts: sends the OPTIONS that `endpoint::qualify` says are due, and tells it what came back. The sweep of
//! expired contacts is done here too, by the first shard.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use strowger_sip::transaction::ClientId;
use strowger_sip::{Builder, Flow, HeaderName, Message, Method, NameAddr, Transport, Uri};

use super::{ClientUser, Shard};
use crate::call::session::new_via;
use crate::call::target::Alternatives;
use crate::endpoint::contacts::{Became, Contact, Status, epoch_now};
use crate::endpoint::qualify::{Probe, Qualifier, StatusChange};
use crate::events::Event;
use crate::shared::Shared;

/// The schedule is looked at at least so often, to notice new contacts.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether transports are open.
const START_LOOK: Duration = Duration::from_millis(20);

/// How long a contact has to answer that is asked only once.
const ONCE: Duration = Duration::from_secs(3);

/// A probe under way.
struct Sent {
    key: Arc<str>,
    /// Credentials may be asked for once (`authenticate_qualify`).
    retry: Option<(Message, Vec<String>)>,
    /// Where else the contact may be (RFC 3263 §4.3), and what to ask there.
    others: Option<(Rc<Asked>, Alternatives)>,
    /// It is asked elsewhere meanwhile: only an answer counts.
    superseded: bool,
}

/// What is asked, to be asked again elsewhere.
struct Asked {
    probe: Probe,
    routes: Vec<NameAddr>,
    /// How long an answer is waited for at one place.
    share: Duration,
}

/// The schedule of this shard and its probes under way.
pub(super) struct Qualification {
    schedule: Qualifier,
    waiting: FxHashMap<ClientId, Sent>,
}

impl Qualification {
    pub(super) fn new(index: usize, count: usize) -> Self {
        Self {
            schedule: Qualifier::new(index, count),
            waiting: FxHashMap::default(),
        }
    }
}

/// The routes of a probe, and its first hop.
fn way(probe: &Probe) -> Option<(Vec<NameAddr>, Uri)> {
    let mut routes: Vec<NameAddr> = Vec::new();
    if let Some(proxy) = &probe.outbound_proxy {
        let value = if proxy.contains('<') {
            proxy.clone()
        } else {
            format!("<{proxy}>")
        };
        routes.extend(NameAddr::parse_list(&value).ok()?);
    }
    for value in &probe.contact.path {
        routes.extend(NameAddr::parse_list(value).ok()?);
    }
    let hop = routes
        .first()
        .map_or(&probe.contact.uri, |route| &route.uri)
        .clone();
    Some((routes, hop))
}

/// The event that watchers of telephones know.
fn event(contact: &Contact, status: &str, round_trip_us: Option<u64>) -> Event {
    let event = Event::new("ContactStatus")
        .with("URI", contact.uri.to_string())
        .with("ContactStatus", status)
        .with("AOR", &contact.aor)
        .with(
            "EndpointName",
            contact.row.endpoint.as_deref().unwrap_or_default(),
        );
    match round_trip_us {
        Some(time) => event.with("RoundtripUsec", time.to_string()),
        None => event,
    }
}

fn contact_status(change: &StatusChange) -> Event {
    let time = change.round_trip.map(|time| time.as_micros() as u64);
    event(&change.contact, change.to.as_str(), time)
}

/// Tells watchers what became of a contact. Of one that is asked whether it is there they hear when that is known; that one was
/// registered again they hear where `send_contact_status_on_update_registration` says so.
pub(crate) fn tell_binding(shared: &Shared, contact: &Contact, became: Became) {
    let (status, time) = contact.status();
    let told = match became {
        Became::Created => status == Status::NonQualified,
        Became::Refreshed => {
            let snapshot = shared.snapshot();
            snapshot.globals.send_contact_status_on_update_registration
        }
        Became::Removed => true,
    };
    if !told {
        return;
    }
    let word = match became {
        Became::Removed => "Removed",
        Became::Created | Became::Refreshed => status.as_str(),
    };
    shared.events.tell(|| event(contact, word, time));
}

impl Shard {
    /// Asks the contacts of an address of record now, where that is this shard's business: those that are asked from time to
    /// time are asked next, the others once.
    pub fn qualify_now(self: &Rc<Self>, aor: &str) {
        let now = crate::clock::now();
        {
            let mut qualification = self.qualification.borrow_mut();
            if !qualification.schedule.owns(aor) {
                return;
            }
            qualification.schedule.hasten(aor, now);
        }
        let snapshot = self.shared.snapshot();
        let Some(row) = snapshot
            .aors
            .get(aor)
            .filter(|aor| aor.qualify_frequency == 0)
        else {
            return;
        };
        for contact in self.shared.contacts.all(&snapshot, aor) {
            self.probe(&Probe {
                key: contact.row.id.as_str().into(),
                endpoint: contact.row.endpoint.clone(),
                outbound_proxy: row.outbound_proxy.clone(),
                timeout: ONCE,
                authenticate: false,
                contact,
            });
        }
        self.flush();
    }

    pub(super) async fn run_qualify(self: Rc<Self>) {
        // Shards run before transports are open, and a probe that found none would call its contact unreachable.
        while !self.shared.transports.are_settled() {
            tokio::time::sleep(START_LOOK).await;
        }
        loop {
            let now = crate::clock::now();
            let snapshot = self.shared.snapshot();
            let due =
                self.qualification
                    .borrow_mut()
                    .schedule
                    .due(&snapshot, &self.shared.contacts, now);
            for probe in due {
                self.guarded("probe", |shard| shard.probe(&probe));
            }
            self.report_changes();
            self.counters
                .publish(self.layer.borrow().counters().snapshot());
            if self.index == 0 {
                for contact in self.shared.contacts.sweep(epoch_now()) {
                    tracing::info!(aor = contact.aor, uri = %contact.uri, "registration expired");
                }
            }
            self.flush();
            let next = self.qualification.borrow().schedule.next_timeout();
            let at = next
                .map_or(now + LOOK, |at| at.min(now + LOOK))
                .max(now + Duration::from_millis(20));
            tokio::time::sleep_until(at.into()).await;
        }
    }

    fn probe(self: &Rc<Self>, probe: &Probe) {
        let Some((routes, hop)) = way(probe) else {
            return self.probe_failed(&probe.key);
        };
        // A contact that came by a connection is asked over it.
        let connection = (probe.outbound_proxy.is_none())
            .then(|| self.shared.connections.by_number(probe.contact.connection))
            .flatten();
        let named = probe.endpoint.as_ref().and_then(|name| {
            let endpoint = self.shared.snapshot().endpoints.get(name).cloned()?;
            endpoint.transport.clone()
        });
        let named = named.or_else(|| probe.contact.transport.clone());
        let by_udp = hop.wanted_transport().is_none() && named.is_none();
        let plain = connection.or_else(|| {
            let remote = hop.socket_addr(Transport::Udp).filter(|_| by_udp)?;
            self.flow_to(Transport::Udp, remote)
        });
        if let Some(flow) = plain {
            if self.send_probe(probe, &routes, flow, None).is_none() {
                self.probe_failed(&probe.key);
            }
            return;
        }
        // A name has to be looked up first; the schedule's own timeout covers that too.
        let (shard, probe) = (Rc::clone(self), probe.clone());
        Self::spawn(async move {
            let hops = crate::dns::locate(&shard.shared, &hop, named.as_deref()).await;
            let others = Alternatives::new(hops.into(), named);
            let share = probe.timeout / u32::try_from(others.len().max(1)).unwrap_or(1);
            let asked = Asked {
                probe,
                routes,
                share,
            };
            shard.probe_at_next(&Rc::new(asked), others);
        });
    }

    /// Asks at the next place; when none is left, the contact is not to be reached.
    fn probe_at_next(self: &Rc<Self>, asked: &Rc<Asked>, mut others: Alternatives) {
        let Some(flow) = others.next_flow(self) else {
            self.probe_failed(&asked.probe.key);
            return self.report_changes();
        };
        let more = others.len() > 0;
        let next = Some((Rc::clone(asked), others));
        let Some(id) = self.send_probe(&asked.probe, &asked.routes, flow, next) else {
            return;
        };
        if !more {
            return;
        }
        let (shard, share) = (Rc::clone(self), asked.share);
        Self::spawn(async move {
            tokio::time::sleep(share).await;
            let next = {
                let mut qualification = shard.qualification.borrow_mut();
                let sent = qualification.waiting.get_mut(&id);
                sent.and_then(|sent| {
                    sent.superseded = true;
                    sent.others.take()
                })
            };
            if let Some((asked, others)) = next {
                shard.counters.targets_failed_over.add(1);
                shard.probe_at_next(&asked, others);
                shard.flush();
            }
        });
    }

    fn probe_failed(&self, key: &str) {
        self.qualification.borrow_mut().schedule.failed(
            &self.shared.contacts,
            key,
            crate::clock::now(),
        );
    }

    fn send_probe(
        self: &Rc<Self>,
        probe: &Probe,
        routes: &[NameAddr],
        flow: Flow,
        others: Option<(Rc<Asked>, Alternatives)>,
    ) -> Option<ClientId> {
        let contact = &probe.contact;
        let (host, port) = self.told(&flow);
        let mut ours = Uri::sip(Some("asterisk"), host, Some(port));
        if flow.transport != Transport::Udp {
            ours.params
                .set("transport", Some(flow.transport.uri_param()));
        }
        let mut options = Builder::request(Method::Options, &contact.uri)
            .header(HeaderName::Via, new_via(self, &flow).to_string());
        for route in routes {
            options.push(HeaderName::Route, route.to_string());
        }
        let options = options
            .header(HeaderName::MaxForwards, "70")
            .header(
                HeaderName::From,
                NameAddr::new(ours.clone())
                    .with_tag(&self.tag())
                    .to_string(),
            )
            .header(HeaderName::To, format!("<{}>", contact.uri))
            .header(HeaderName::CallId, self.call_id())
            .header(HeaderName::CSeq, "1 OPTIONS")
            .header(HeaderName::Contact, format!("<{ours}>"))
            .header(HeaderName::UserAgent, self.shared.user_agent())
            .finish();
        let credentials = probe
            .endpoint
            .as_ref()
            .filter(|_| probe.authenticate)
            .and_then(|name| {
                let endpoint = self.shared.snapshot().endpoints.get(name).cloned()?;
                (!endpoint.outbound_auth.is_empty())
                    .then(|| (options.clone(), endpoint.outbound_auth.clone()))
            });
        let sent = self.request(options, flow, ClientUser::Qualify);
        self.counters.qualify_sent.add(1);
        // Its end may have been told before we knew its id.
        let Some(id) = sent.filter(|id| self.is_client_open(*id)) else {
            if let Some((asked, others)) = others {
                self.probe_at_next(&asked, others);
            }
            return None;
        };
        self.qualification.borrow_mut().waiting.insert(
            id,
            Sent {
                key: Arc::clone(&probe.key),
                retry: credentials,
                others,
                superseded: false,
            },
        );
        Some(id)
    }

    pub(super) fn qualify_response(self: &Rc<Self>, id: ClientId, response: &Message, flow: Flow) {
        let status = response.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        let Some(mut sent) = self.qualification.borrow_mut().waiting.remove(&id) else {
            return;
        };
        // Where it was asked first it may refuse: what counts is what the next place says.
        if sent.superseded && status >= 300 {
            return;
        }
        if status == 503
            && let Some((asked, others)) = sent.others.take_if(|(_, others)| others.len() > 0)
        {
            self.counters.targets_failed_over.add(1);
            return self.probe_at_next(&asked, others);
        }
        if matches!(status, 401 | 407)
            && let Some((options, auths)) = sent.retry
        {
            let via = new_via(self, &flow).to_string();
            let again = crate::endpoint::answer_challenge(
                &self.shared.snapshot(),
                &auths,
                &options,
                response,
                &via,
            );
            if let Some(id) = again.and_then(|again| self.request(again, flow, ClientUser::Qualify))
            {
                self.qualification.borrow_mut().waiting.insert(
                    id,
                    Sent {
                        key: sent.key,
                        retry: None,
                        others: None,
                        superseded: sent.superseded,
                    },
                );
                return;
            }
        }
        self.qualification.borrow_mut().schedule.answered(
            &self.shared.contacts,
            &sent.key,
            status,
            crate::clock::now(),
        );
        self.report_changes();
    }

    pub(super) fn qualify_failed(self: &Rc<Self>, id: ClientId) {
        let Some(sent) = self.qualification.borrow_mut().waiting.remove(&id) else {
            return;
        };
        self.counters.qualify_failed.add(1);
        if sent.superseded {
            return;
        }
        if let Some((asked, others)) = sent.others
            && others.len() > 0
        {
            self.counters.targets_failed_over.add(1);
            return self.probe_at_next(&asked, others);
        }
        self.qualification.borrow_mut().schedule.failed(
            &self.shared.contacts,
            &sent.key,
            crate::clock::now(),
        );
        self.report_changes();
    }

    fn report_changes(&self) {
        let changes = self.qualification.borrow_mut().schedule.take_changes();
        for mut change in changes {
            let told = change.settle(&self.shared.contacts, |change| {
                self.shared.contacts.tell_change(&change.contact.aor);
                self.shared.events.tell(|| contact_status(change));
            });
            if !told {
                continue;
            }
            tracing::info!(
                aor = change.contact.aor,
                uri = %change.contact.uri,
                from = ?change.from,
                to = ?change.to,
                round_trip_us = change.round_trip.map(|time| time.as_micros() as u64),
                "contact status"
            );
        }
    }
}
