//! Where an outgoing request goes: the contact or URI of its destination, the proxies on the way, and the addresses that
//! its name leads to, one after the other until one of them takes it (RFC 3263 §4.3).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use strowger_sip::uri::Scheme;
use strowger_sip::{Builder, Flow, HeaderName, Message, NameAddr, Transport, Uri};
use strowger_store::Endpoint;

use super::session::new_via;
use crate::channel::Channel;
use crate::dns::{self, Hop};
use crate::endpoint::contacts::Contact;
use crate::shard::Shard;
use crate::shared::Shared;

/// A request of this size may not fit into a datagram on its way (RFC 3261 §18.1.1).
const DATAGRAM_MAX: usize = 1300;
/// Targets tried after the first for one request.
const MORE_MAX: usize = 8;

/// Where a request goes.
pub(crate) struct Target {
    pub(crate) uri: Uri,
    /// Routes to visit, nearest first.
    pub(crate) routes: Vec<NameAddr>,
    /// The connection that the contact registered over.
    connection: Option<Flow>,
    hops: VecDeque<Hop>,
    /// The transport that the endpoint names.
    named: Option<String>,
}

impl Target {
    /// The next flow to try; `None` when none is left.
    pub(crate) fn next_flow(&mut self, shard: &Rc<Shard>) -> Option<Flow> {
        if let Some(flow) = self.connection.take() {
            return Some(flow);
        }
        while let Some(hop) = self.hops.pop_front() {
            if let Some(flow) = shard.flow_by(&hop, self.named.as_deref()) {
                return Some(flow);
            }
        }
        None
    }

    /// Whether every hop has to be secure, our own Contact included (RFC 3261 §12.1.1).
    pub(super) fn is_sips(&self) -> bool {
        self.uri.scheme == Scheme::Sips
    }

    /// What is left to try when the flow chosen first fails.
    pub(super) fn rest(&mut self) -> Alternatives {
        self.hops.truncate(MORE_MAX);
        Alternatives::new(std::mem::take(&mut self.hops), self.named.clone())
    }
}

/// Other ways for a request that is under way.
#[derive(Debug, Default)]
pub(crate) struct Alternatives {
    hops: VecDeque<Hop>,
    named: Option<String>,
}

impl Alternatives {
    /// These hops, by the transport of this name where it fits.
    pub(crate) fn new(mut hops: VecDeque<Hop>, named: Option<String>) -> Self {
        // The first of them is taken at once where nothing has been tried.
        hops.truncate(MORE_MAX + 1);
        Self { hops, named }
    }

    /// How many are left.
    pub(crate) fn len(&self) -> usize {
        self.hops.len()
    }

    pub(crate) fn next_flow(&mut self, shard: &Rc<Shard>) -> Option<Flow> {
        while let Some(hop) = self.hops.pop_front() {
            if let Some(flow) = shard.flow_by(&hop, self.named.as_deref()) {
                return Some(flow);
            }
        }
        None
    }
}

/// Finds where `endpoint` is reached: at `uri`, or at the best contact of its AORs, by its outbound proxy.
pub(crate) async fn find_target(
    shard: &Rc<Shard>,
    endpoint: &Endpoint,
    user: Option<&str>,
    uri: Option<&str>,
) -> Option<Target> {
    let shared = shard.shared();
    let mut path = Vec::new();
    let mut connection = None;
    let mut registered_by = None;
    let mut uri = match uri {
        Some(text) => {
            let uri = Uri::parse(text).ok()?;
            if let Some(contact) = registered(shared, endpoint, &uri) {
                path.clone_from(&contact.path);
                connection = shared.connections.by_number(contact.connection);
                registered_by.clone_from(&contact.transport);
            }
            uri
        }
        None => {
            let snapshot = shared.snapshot();
            let contact = endpoint
                .aors
                .iter()
                .find_map(|aor| shared.contacts.first(&snapshot, aor))?;
            path.clone_from(&contact.path);
            connection = shared.connections.by_number(contact.connection);
            registered_by.clone_from(&contact.transport);
            contact.uri.clone()
        }
    };
    if let Some(user) = user {
        uri.user = Some(strowger_sip::uri::escape_user(user).into_owned());
    }
    uri.headers.clear();
    let mut routes: Vec<NameAddr> = Vec::new();
    if let Some(proxy) = &endpoint.outbound_proxy {
        routes.extend(NameAddr::parse_list(&loose(proxy)).ok()?);
        connection = None;
    }
    for value in path {
        routes.extend(NameAddr::parse_list(&value).ok()?);
    }
    let named = endpoint
        .transport
        .as_deref()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .or(registered_by.as_deref());
    let hop = routes.first().map_or(&uri, |route| &route.uri);
    let bound = connection.is_some_and(|flow: Flow| flow.transport.is_websocket());
    // Who came by WebSocket cannot be connected to: his address is only a name for his connection.
    let hops = if bound {
        Vec::new()
    } else {
        dns::locate(shared, hop, named).await
    };
    if hops.is_empty() && connection.is_none() {
        return None;
    }
    Some(Target {
        routes,
        connection,
        hops: hops.into(),
        named: named.map(str::to_owned),
        uri,
    })
}

/// The contact of the endpoint that this URI is, but for the user: `PJSIP_DIAL_CONTACTS` names it so, and it may be reached
/// by its connection or Path only.
fn registered(shared: &Shared, endpoint: &Endpoint, uri: &Uri) -> Option<Arc<Contact>> {
    let snapshot = shared.snapshot();
    let contacts: Vec<_> = endpoint
        .aors
        .iter()
        .flat_map(|aor| shared.contacts.all(&snapshot, aor))
        .collect();
    let bare = |uri: &Uri| {
        let mut bare = uri.clone();
        bare.user = None;
        bare.headers.clear();
        bare
    };
    let wanted = bare(uri);
    let of_user = |contact: &&Arc<Contact>| contact.uri.user == uri.user;
    let mut same = contacts
        .iter()
        .filter(|contact| bare(&contact.uri) == wanted);
    let found = same.clone().find(of_user).or_else(|| same.next());
    found.cloned()
}

/// An `outbound_proxy` is a URI, with or without angle brackets.
fn loose(proxy: &str) -> String {
    if proxy.contains('<') {
        proxy.to_owned()
    } else {
        format!("<{proxy}>")
    }
}

/// A Contact as one that is reached securely only.
pub(super) fn as_sips(contact: &str) -> String {
    contact.replacen("<sip:", "<sips:", 1)
}

/// The same request for another flow: a Via of its own, and the Contact that is reached over it.
pub(crate) fn redirected(
    shard: &Shard,
    request: &Message,
    flow: &Flow,
    contact: Option<&str>,
) -> Message {
    let mut builder = Builder::from_message(request)
        .remove(HeaderName::Via)
        .header_first(HeaderName::Via, new_via(shard, flow).to_string());
    if let Some(contact) = contact {
        builder = builder.set(HeaderName::Contact, contact);
    }
    builder.finish()
}

/// Whether a request is to go by TCP because of its size.
pub(crate) fn is_too_large(shard: &Shard, request: &Message, flow: &Flow) -> bool {
    flow.transport == Transport::Udp
        && request.raw().len() > DATAGRAM_MAX
        && !shard.shared().snapshot().system.disable_tcp_switch
}

impl Channel {
    /// The INVITE as it is to be sent: one too large for a datagram goes by TCP where that is wanted, and comes back to UDP
    /// if nobody listens there.
    pub(super) fn fitted(&self, invite: Message, flow: Flow) -> (Message, Flow) {
        let shard = Rc::clone(self.shard());
        if !is_too_large(&shard, &invite, &flow) {
            return (invite, flow);
        }
        let Some(by_tcp) = shard.flow_to(Transport::Tcp, flow.remote) else {
            return (invite, flow);
        };
        shard.counters().requests_switched_to_tcp.add(1);
        let back = Hop {
            transport: Transport::Udp,
            remote: flow.remote,
            name: None,
        };
        if let Some(session) = self.session().as_mut() {
            session.alternatives.hops.push_front(back);
        }
        (self.moved(&invite, by_tcp), by_tcp)
    }

    /// Moves the session to another flow, and its INVITE with it.
    fn moved(&self, invite: &Message, flow: Flow) -> Message {
        let shard = Rc::clone(self.shard());
        let user = invite
            .contacts()
            .ok()
            .and_then(|list| list.first().and_then(|c| c.uri.user.clone()));
        let mut contact = super::outgoing::contact(&shard, &flow, user.as_deref());
        if invite
            .request_uri()
            .is_some_and(|uri| uri.starts_with("sips:"))
        {
            contact = as_sips(&contact);
        }
        let moved = redirected(&shard, invite, &flow, Some(&contact));
        if let Some(session) = self.session().as_mut() {
            session.flow = flow;
            session.contact = contact;
        }
        moved
    }

    /// The target answered that it cannot (503): the next that is not the same by another transport.
    pub(super) fn try_other_target(&self) -> bool {
        if let Some(session) = self.session().as_mut() {
            let here = session.flow.remote;
            session.alternatives.hops.retain(|hop| hop.remote != here);
        }
        self.try_next_target()
    }

    /// The target did not take the INVITE (no connection, 503, no answer at all): sends it to the next one. False when none is
    /// left, or nobody wants it any more.
    pub(super) fn try_next_target(&self) -> bool {
        if self.is_over() {
            return false;
        }
        let shard = Rc::clone(self.shard());
        let next = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return false;
            };
            let Some(outgoing) = session.outgoing.as_ref() else {
                return false;
            };
            // Where somebody has rung already, another must not ring too.
            if outgoing.settled || session.key.is_some() {
                return false;
            }
            let invite = outgoing.invite.clone();
            session
                .alternatives
                .next_flow(&shard)
                .map(|flow| (invite, flow))
        };
        let Some((invite, flow)) = next else {
            return false;
        };
        tracing::info!(channel = %self.name(), transport = %flow.transport, remote = %flow.remote, "the next target is tried");
        shard.counters().targets_failed_over.add(1);
        let invite = self.moved(&invite, flow);
        self.send_invite_again(invite, flow)
    }
}
