//! Message waiting without being asked: NOTIFYs outside of subscriptions to the contacts of endpoints that have mailboxes
//! (`ps_endpoints.mailboxes`), when they register and when their messages change.

use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use strowger_sip::{Builder, Flow, HeaderName, Host, Method, NameAddr, Transport, Uri};
use strowger_store::{Endpoint, Snapshot};

use super::body::message_summary;
use super::resource::{account, mailbox_names, sum};
use super::{ALLOW_EVENTS, notify};
use crate::call::session::new_via;
use crate::call::target::Alternatives;
use crate::endpoint::contacts::{Contact, Contacts, Status};
use crate::shard::Shard;

/// At the start so many endpoints are told at a time, and the pause until the next.
const START_BATCH: usize = 50;
const START_PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether transports are open.
const START_LOOK: Duration = Duration::from_millis(20);

/// Which endpoints of this shard are told of which mailboxes.
#[derive(Default)]
pub(super) struct Unsolicited {
    version: Option<u64>,
    by_mailbox: FxHashMap<String, Vec<String>>,
    /// Endpoints about to be told: what changes until then is told with it.
    pending: FxHashSet<String>,
}

impl Unsolicited {
    /// Follows the table of endpoints.
    pub(super) fn follow(&mut self, shard: &Shard, version: u64) {
        if self.version == Some(version) {
            return;
        }
        self.version = Some(version);
        self.by_mailbox.clear();
        let snapshot = shard.shared().snapshot();
        for endpoint in snapshot.endpoints.values() {
            if endpoint.mailboxes.is_empty() || !is_ours(shard, &endpoint.id) {
                continue;
            }
            for name in mailbox_names(&endpoint.mailboxes) {
                let endpoints = self.by_mailbox.entry(name).or_default();
                endpoints.push(endpoint.id.clone());
            }
        }
    }

    /// Somebody is told of this mailbox.
    pub(super) fn tells_of(&self, mailbox: &str) -> bool {
        self.by_mailbox.contains_key(mailbox)
    }
}

/// Each endpoint is told by one shard.
fn is_ours(shard: &Shard, endpoint: &str) -> bool {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(endpoint.as_bytes());
    (hasher.finish() >> 16) as usize % shard.shared().inboxes().len().max(1) == shard.index()
}

/// The contacts of an address of record, and the calls that registered them.
pub(crate) type Bindings = FxHashSet<(String, String)>;

/// The contacts of the endpoint's addresses of record; empty where it is told of no mailboxes.
pub(crate) fn bindings(contacts: &Contacts, endpoint: &Endpoint) -> Bindings {
    if endpoint.mailboxes.is_empty() {
        return Bindings::default();
    }
    let all = endpoint.aors.iter().map(|aor| contacts.of(aor));
    all.flat_map(|list| list.iter().map(Arc::clone).collect::<Vec<_>>())
        .map(|contact| binding(&contact))
        .collect()
}

fn binding(contact: &Contact) -> (String, String) {
    let call = contact.row.call_id.clone().unwrap_or_default();
    (contact.row.id.clone(), call)
}

/// An endpoint has registered: contacts that were not there before are told of its mailboxes.
pub(crate) fn registered(shard: &Rc<Shard>, endpoint: &Arc<Endpoint>, before: &Bindings) {
    if endpoint.mailboxes.is_empty() {
        return;
    }
    let snapshot = shard.shared().snapshot();
    let mut contacts = contacts_of(shard, &snapshot, endpoint);
    contacts.retain(|contact| !contact.is_static && !before.contains(&binding(contact)));
    if !contacts.is_empty() {
        tell(shard, endpoint, Some(contacts));
    }
}

/// A mailbox has other messages: endpoints of this shard that are told of it are.
pub(super) fn mailbox_changed(shard: &Rc<Shard>, mailbox: &str) {
    let endpoints = {
        let table = shard.subscriptions().borrow();
        let known = table.unsolicited.by_mailbox.get(mailbox);
        known.cloned().unwrap_or_default()
    };
    let snapshot = shard.shared().snapshot();
    for id in endpoints {
        if let Some(endpoint) = snapshot.endpoints.get(&id) {
            tell(shard, endpoint, None);
        }
    }
}

/// Contacts that were there before the exchange started.
pub(super) async fn tell_all_at_start(shard: Rc<Shard>) {
    let snapshot = shard.shared().snapshot();
    if snapshot.globals.mwi_disable_initial_unsolicited {
        return;
    }
    let endpoints: Vec<Arc<Endpoint>> = snapshot
        .endpoints
        .values()
        .filter(|endpoint| !endpoint.mailboxes.is_empty() && is_ours(&shard, &endpoint.id))
        .filter(|endpoint| !contacts_of(&shard, &snapshot, endpoint).is_empty())
        .cloned()
        .collect();
    // Shards run before transports are open. Who registers meanwhile is told then, and not once more.
    while !shard.shared().transports.are_settled() {
        tokio::time::sleep(START_LOOK).await;
    }
    for group in endpoints.chunks(START_BATCH) {
        for endpoint in group {
            tell(&shard, endpoint, None);
        }
        tokio::time::sleep(START_PAUSE).await;
    }
}

fn contacts_of(shard: &Shard, snapshot: &Snapshot, endpoint: &Endpoint) -> Vec<Arc<Contact>> {
    let contacts = &shard.shared().contacts;
    let lists = endpoint.aors.iter().map(|aor| contacts.all(snapshot, aor));
    lists.flatten().collect()
}

/// Tells contacts of an endpoint (all of them, unless they are named) how many messages wait.
fn tell(shard: &Rc<Shard>, endpoint: &Arc<Endpoint>, contacts: Option<Vec<Arc<Contact>>>) {
    let asked = |shard: &Shard, endpoint: &Endpoint| {
        endpoint.mwi_subscribe_replaces_unsolicited
            && shard.shared().subscriptions.watches_mail(&endpoint.id)
    };
    if asked(shard, endpoint) {
        return;
    }
    let to_all = contacts.is_none();
    {
        let mut table = shard.subscriptions().borrow_mut();
        if to_all && !table.unsolicited.pending.insert(endpoint.id.clone()) {
            return;
        }
    }
    let (shard, endpoint) = (Rc::clone(shard), Arc::clone(endpoint));
    Shard::spawn(async move {
        // Its subscription may be one of before that goes on in a moment.
        shard.shared().subscriptions.restored().await;
        let boxes = mailbox_names(&endpoint.mailboxes);
        let missing: Vec<String> = {
            let table = shard.subscriptions().borrow();
            let unknown = boxes
                .iter()
                .filter(|name| !table.counts.contains_key(*name));
            unknown.cloned().collect()
        };
        let counted = notify::count(&shard, missing).await;
        if to_all {
            let mut table = shard.subscriptions().borrow_mut();
            table.unsolicited.pending.remove(&endpoint.id);
        }
        if asked(&shard, &endpoint) {
            return;
        }
        if !counted {
            return shard.counters().notifies_failed.add(1);
        }
        shard.guarded("message waiting", |shard| {
            let snapshot = shard.shared().snapshot();
            let contacts = contacts.unwrap_or_else(|| contacts_of(shard, &snapshot, &endpoint));
            let reachable = contacts
                .iter()
                .filter(|contact| contact.status().0 != Status::Unreachable);
            for contact in reachable {
                if endpoint.aggregate_mwi {
                    send(shard, &snapshot, &endpoint, contact, &boxes);
                } else {
                    for name in &boxes {
                        send(
                            shard,
                            &snapshot,
                            &endpoint,
                            contact,
                            std::slice::from_ref(name),
                        );
                    }
                }
            }
        });
        shard.flush();
    });
}

/// The routes to a contact and its first hop.
fn way(endpoint: &Endpoint, contact: &Contact) -> Option<(Vec<NameAddr>, Uri, Transport)> {
    let mut routes = Vec::new();
    if let Some(proxy) = &endpoint.outbound_proxy {
        let value = if proxy.contains('<') {
            proxy.clone()
        } else {
            format!("<{proxy}>")
        };
        routes.extend(NameAddr::parse_list(&value).ok()?);
    }
    for value in &contact.path {
        routes.extend(NameAddr::parse_list(value).ok()?);
    }
    let hop = routes.first().map_or(&contact.uri, |route| &route.uri);
    let hop = hop.clone();
    let transport = hop.transport().unwrap_or(Some(Transport::Udp))?;
    Some((routes, hop, transport))
}

fn send(
    shard: &Rc<Shard>,
    snapshot: &Arc<Snapshot>,
    endpoint: &Arc<Endpoint>,
    contact: &Arc<Contact>,
    boxes: &[String],
) {
    let Some((routes, hop, transport)) = way(endpoint, contact) else {
        return shard.counters().notifies_failed.add(1);
    };
    // Who came by a connection is told over it; others by the transport that their endpoint names.
    let connection = endpoint.outbound_proxy.is_none().then(|| {
        let connections = &shard.shared().connections;
        connections.by_number(contact.connection)
    });
    let named = endpoint
        .transport
        .as_deref()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .or(contact.transport.as_deref())
        .map(str::to_owned);
    let by_address = || {
        let remote = hop.socket_addr(transport).filter(|_| named.is_none())?;
        Some(shard.flow_to(transport, remote))
    };
    let known = connection.flatten().map(Some).or_else(by_address);
    if let Some(flow) = known {
        return send_by(shard, snapshot, endpoint, contact, boxes, (&routes, flow));
    }
    // A name has to be looked up first.
    let (shard, snapshot) = (Rc::clone(shard), Arc::clone(snapshot));
    let (endpoint, contact, boxes) = (Arc::clone(endpoint), Arc::clone(contact), boxes.to_vec());
    Shard::spawn(async move {
        let hops = crate::dns::locate(shard.shared(), &hop, named.as_deref()).await;
        let flow = Alternatives::new(hops.into(), named).next_flow(&shard);
        send_by(
            &shard,
            &snapshot,
            &endpoint,
            &contact,
            &boxes,
            (&routes, flow),
        );
        shard.flush();
    });
}

fn send_by(
    shard: &Rc<Shard>,
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    contact: &Contact,
    boxes: &[String],
    (routes, flow): (&[NameAddr], Option<Flow>),
) {
    let Some(flow) = flow else {
        return shard.counters().notifies_failed.add(1);
    };
    let globals = &snapshot.globals;
    let (host, port) = shard.told(&flow);
    let own = |user: &str| {
        let mut uri = Uri::sip(Some(user), host.clone(), Some(port));
        if flow.transport != Transport::Udp {
            uri.params
                .set("transport", Some(flow.transport.uri_param()));
        }
        uri
    };
    let user = endpoint
        .mwi_from_user
        .as_deref()
        .filter(|user| !user.is_empty())
        .unwrap_or(&globals.default_from_user);
    let mut from = own(user);
    from.params = strowger_sip::uri::Params::default();
    if let Some(domain) = &endpoint.from_domain {
        from.host = Host::Name(domain.clone());
        from.port = None;
    }
    let number = endpoint
        .voicemail_extension
        .as_deref()
        .or(globals.default_voicemail_extension.as_deref())
        .filter(|number| !number.is_empty());
    let account = number.map(|number| account(number, &from.host.to_string()));
    let counts = sum(&shard.subscriptions().borrow().counts, boxes);
    let mut request = Builder::request(Method::Notify, &contact.uri)
        .header(HeaderName::Via, new_via(shard, &flow).to_string());
    for route in routes {
        request.push(HeaderName::Route, route.to_string());
    }
    let request = request
        .header(HeaderName::MaxForwards, "70")
        .header(
            HeaderName::From,
            NameAddr::new(from).with_tag(&shard.tag()).to_string(),
        )
        .header(HeaderName::To, format!("<{}>", contact.uri))
        .header(HeaderName::CallId, shard.call_id())
        .header(HeaderName::CSeq, "1 NOTIFY")
        .header(HeaderName::Contact, format!("<{}>", own(user)))
        .header(HeaderName::Event, "message-summary")
        .header(HeaderName::SubscriptionState, "terminated")
        .header(HeaderName::AllowEvents, ALLOW_EVENTS)
        .header(HeaderName::UserAgent, shard.shared().user_agent())
        .body(
            "application/simple-message-summary",
            message_summary::write(counts, account.as_deref()),
        )
        .finish();
    shard.counters().notifies_sent.add(1);
    shard.request_in_dialog(request, flow, endpoint.outbound_auth.clone());
}
