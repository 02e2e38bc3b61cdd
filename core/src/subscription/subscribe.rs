//! SUBSCRIBE: what it may have, and the subscription that it begins, prolongs or ends.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use strowger_sip::dialog::{Dialog, DialogId};
use strowger_sip::headers::Event;
use strowger_sip::notifier::{Notifier, TooBrief, accepted, grant};
use strowger_sip::transaction::ServerId;
use strowger_sip::uri::Scheme;
use strowger_sip::{Builder, Flow, HeaderName, Message, Transport};
use strowger_store::Endpoint;

use super::package::{ALLOW_EVENTS, Format, Package};
use super::resource::{Nothing, Source};
use super::{Subscription, notify, persist};
use crate::call::outgoing::contact;
use crate::shard::{DialogKey, Shard};

/// How long a subscription lasts whose SUBSCRIBE does not say, and at most.
const EXPIRES_S: u32 = 3600;
/// Option tag of lists (RFC 4662).
pub(super) const EVENTLIST: &str = "eventlist";

/// A refusal: status, reason and headers.
struct Refusal(u16, &'static str, Vec<(HeaderName, String)>);

impl Refusal {
    fn plain(status: u16, reason: &'static str) -> Self {
        Self(status, reason, Vec::new())
    }

    fn bad_event() -> Self {
        let events = vec![(HeaderName::AllowEvents, ALLOW_EVENTS.to_owned())];
        Self(489, "Bad Event", events)
    }

    fn too_brief(brief: TooBrief) -> Self {
        let least = vec![(HeaderName::MinExpires, brief.min_s.to_string())];
        Self(423, "Interval Too Brief", least)
    }
}

fn event_of(request: &Message) -> Result<Event, Refusal> {
    match request.header(&HeaderName::Event) {
        None => Err(Refusal::bad_event()),
        Some(text) => Event::parse(text).map_err(|_| Refusal::plain(400, "Bad Event Header")),
    }
}

fn no_extensions_but_lists(request: &Message) -> Result<(), Refusal> {
    let unknown: Vec<&str> = request
        .values(&HeaderName::Require)
        .filter(|tag| !tag.eq_ignore_ascii_case(EVENTLIST))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let named = vec![(HeaderName::Unsupported, unknown.join(", "))];
    Err(Refusal(420, "Bad Extension", named))
}

fn refuse(shard: &Rc<Shard>, id: ServerId, request: &Message, tag: &str, refusal: Refusal) {
    let Refusal(status, reason, headers) = refusal;
    let mut response = Builder::response_to(request, status, reason)
        .to_tag(tag)
        .header(HeaderName::Server, shard.shared().user_agent());
    for (name, value) in headers {
        response.push(name, value);
    }
    shard.respond(id, response.finish());
}

fn accept(
    shard: &Rc<Shard>,
    id: ServerId,
    request: &Message,
    tag: &str,
    contact: &str,
    expires_s: u32,
    is_list: bool,
) {
    let mut response = Builder::response_to(request, 200, "OK")
        .to_tag(tag)
        .header(HeaderName::Expires, expires_s.to_string())
        .header(HeaderName::Contact, contact)
        .header(HeaderName::AllowEvents, ALLOW_EVENTS)
        .header(HeaderName::Server, shard.shared().user_agent());
    if is_list {
        response.push(HeaderName::Require, EVENTLIST);
    }
    shard.respond(id, response.finish());
}

/// A SUBSCRIBE outside of dialogs, of an endpoint that has been admitted.
pub(crate) fn begin(
    shard: &Rc<Shard>,
    id: ServerId,
    request: &Message,
    flow: Flow,
    endpoint: &Arc<Endpoint>,
) {
    let tag = shard.tag();
    let created = if shard.shared().draining() || shard.subscriptions().borrow().closed {
        let later = vec![(HeaderName::RetryAfter, "30".to_owned())];
        Err(Refusal(503, "Service Unavailable", later))
    } else {
        create(shard, request, flow, endpoint, &tag)
    };
    match created {
        Ok((subscription, expires_s)) => {
            let contact = contact(shard, &subscription.flow, None);
            let is_list = subscription.resource.is_list();
            accept(shard, id, request, &tag, &contact, expires_s, is_list);
            shard.counters().subscriptions_created.add(1);
            persist::keep(shard, &subscription);
            let number = shard.subscriptions().borrow_mut().add(subscription);
            notify::count_then_pump(shard, number);
        }
        Err(refusal) => {
            tracing::debug!(
                endpoint = endpoint.id,
                status = refusal.0,
                reason = refusal.1,
                "SUBSCRIBE refused"
            );
            if refusal.0 == 503 {
                shard.counters().subscriptions_refused.add(1);
            }
            refuse(shard, id, request, &tag, refusal);
        }
    }
}

/// The subscription that this SUBSCRIBE began before the exchange was started anew.
pub(super) fn anew(
    shard: &Rc<Shard>,
    request: &Message,
    flow: Flow,
    endpoint: &Arc<Endpoint>,
    tag: &str,
) -> Option<Subscription> {
    let created = create(shard, request, flow, endpoint, tag);
    created.ok().map(|(subscription, _)| subscription)
}

fn create(
    shard: &Rc<Shard>,
    request: &Message,
    flow: Flow,
    endpoint: &Arc<Endpoint>,
    tag: &str,
) -> Result<(Subscription, u32), Refusal> {
    let bad = |_| Refusal::plain(400, "Bad Request");
    if !endpoint.allow_subscribe {
        return Err(Refusal::plain(603, "Decline"));
    }
    let event = event_of(request)?;
    let package = Package::of(&event.package).ok_or_else(Refusal::bad_event)?;
    no_extensions_but_lists(request)?;
    let expires_s =
        grant(request.expires(), endpoint.sub_min_expiry, EXPIRES_S).map_err(Refusal::too_brief)?;
    let Some(Ok(uri)) = request.uri() else {
        return Err(Refusal::plain(400, "Bad Request"));
    };
    if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
        return Err(Refusal::plain(416, "Unsupported URI Scheme"));
    }
    let name = uri.user_decoded().unwrap_or_default();
    let host = request.to().map_err(bad)?.uri.host.to_string();
    let mut watcher = request.from().map_err(bad)?.uri.clone();
    watcher.params = strowger_sip::uri::Params::default();
    watcher.headers.clear();
    let shared = shard.shared();
    let snapshot = shared.snapshot();
    let dialplan = shard.dialplan();
    let source = Source {
        snapshot: &snapshot,
        dialplan: &*dialplan,
        endpoint,
        package,
        host: &host,
        lists: request.lists(&HeaderName::Supported, EVENTLIST)
            || request.lists(&HeaderName::Require, EVENTLIST),
        names: std::cell::OnceCell::new(),
    };
    let (resource, batch) = source.find(&name).map_err(|nothing| match nothing {
        Nothing::NotFound => Refusal::plain(404, "Not Found"),
        Nothing::NeedsLists => {
            let needed = vec![(HeaderName::Require, EVENTLIST.to_owned())];
            Refusal(421, "Extension Required", needed)
        }
        Nothing::Unsolicited => {
            tracing::info!(
                endpoint = endpoint.id,
                resource = %name,
                "SUBSCRIBE for mailboxes that the endpoint is told of without asking (mailboxes)"
            );
            Refusal::plain(500, "Server Internal Error")
        }
    })?;
    let kinds = package.media_types();
    let kind = match accepted(request, kinds) {
        // Who lists only what lists are made of takes the usual body within.
        None if resource.is_list() => kinds.first().copied(),
        kind => kind,
    };
    let Some(format) = kind.and_then(Format::of) else {
        let known = vec![(HeaderName::Accept, kinds.join(", "))];
        return Err(Refusal(406, "Not Acceptable", known));
    };
    let mut dialog = Dialog::uas(request, tag, "").map_err(|_| {
        Refusal::plain(
            400,
            "Bad Request (a SUBSCRIBE needs a Contact that can be read)",
        )
    })?;
    let source = flow.remote.ip();
    let kept = (expires_s > 0).then(|| persist::Kept::of(request, &flow, endpoint));
    let flow = settle(shard, &mut dialog, flow, endpoint);
    dialog.set_local_contact(&contact(shard, &flow, None));
    let call_id = request.call_id().map_err(bad)?.to_owned();
    // Last, so that nothing refused takes a place.
    let limits = &shared.config.limits;
    let (all, each) = (limits.subscriptions, limits.subscriptions_per_endpoint);
    let resources = resource.count();
    let held = shared
        .subscriptions
        .enter(&endpoint.id, resources, (all, each));
    let Some(held) = held else {
        let later = vec![(HeaderName::RetryAfter, "30".to_owned())];
        return Err(Refusal(503, "Service Unavailable", later));
    };
    let watches_mail = (package == Package::MessageSummary && expires_s > 0)
        .then(|| shared.subscriptions.watch_mail(&endpoint.id))
        .flatten();
    let subscription = Subscription {
        notifier: Notifier::new(crate::clock::now(), expires_s, batch),
        dialog,
        key: DialogKey {
            call_id,
            local_tag: tag.to_owned(),
        },
        flow,
        source,
        event,
        format,
        endpoint: Arc::clone(endpoint),
        resource,
        host,
        watcher: watcher.to_string(),
        ready: false,
        sent: None,
        wake: None,
        kept: kept.flatten(),
        _held: held,
        _watches_mail: watches_mail,
    };
    Ok((subscription, expires_s))
}

/// The flow on which the subscriber is told: his connection, where his messages come from, or where his Contact is.
pub(super) fn settle(
    shard: &Rc<Shard>,
    dialog: &mut Dialog,
    flow: Flow,
    endpoint: &Endpoint,
) -> Flow {
    if flow.transport.is_reliable() {
        return flow;
    }
    if endpoint.rewrite_contact {
        crate::call::incoming::rewrite_target(dialog, &flow);
        return flow;
    }
    let hop = dialog.next_hop();
    let transport = match hop.transport() {
        None => Transport::Udp,
        Some(Some(transport)) => transport,
        Some(None) => return flow,
    };
    let Some(remote) = hop.socket_addr(transport) else {
        return flow;
    };
    if transport == flow.transport && remote.is_ipv4() == flow.remote.is_ipv4() {
        return Flow { remote, ..flow };
    }
    shard.flow_to(transport, remote).unwrap_or(flow)
}

/// Whose subscription a SUBSCRIBE within a dialog belongs to, and where its first SUBSCRIBE came from.
pub(crate) fn watched(shard: &Shard, request: &Message) -> Option<(Arc<Endpoint>, IpAddr)> {
    let table = shard.subscriptions().borrow();
    let subscription = table.by_id.get(&table.of_request(request)?)?;
    Some((Arc::clone(&subscription.endpoint), subscription.source))
}

/// A SUBSCRIBE within a dialog, of the endpoint that subscribed, as it is now: it prolongs or ends the subscription.
pub(crate) fn again(
    shard: &Rc<Shard>,
    id: ServerId,
    request: &Message,
    flow: Flow,
    endpoint: &Arc<Endpoint>,
) {
    let table = shard.subscriptions();
    let number = table.borrow().of_request(request);
    let result = number
        .ok_or_else(|| Refusal::plain(481, "Subscription Does Not Exist"))
        .and_then(|number| {
            let mut table = table.borrow_mut();
            let found = table.by_id.get_mut(&number);
            let subscription =
                found.ok_or_else(|| Refusal::plain(481, "Subscription Does Not Exist"))?;
            prolong(shard, subscription, request, flow, endpoint).map(|expires_s| {
                let contact = contact(shard, &subscription.flow, None);
                (number, expires_s, contact, subscription.resource.is_list())
            })
        });
    match result {
        Ok((number, expires_s, contact, is_list)) => {
            accept(shard, id, request, "", &contact, expires_s, is_list);
            notify::pump(shard, number);
        }
        Err(refusal) => refuse(shard, id, request, "", refusal),
    }
}

fn prolong(
    shard: &Rc<Shard>,
    subscription: &mut Subscription,
    request: &Message,
    flow: Flow,
    endpoint: &Arc<Endpoint>,
) -> Result<u32, Refusal> {
    let missing = || Refusal::plain(481, "Subscription Does Not Exist");
    if DialogId::of_request(request).is_none_or(|id| id != *subscription.dialog.id()) {
        return Err(missing());
    }
    if let Err(rejection) = subscription.dialog.receive_request(request) {
        return Err(Refusal::plain(rejection.status(), ""));
    }
    if event_of(request)? != subscription.event {
        return Err(Refusal::bad_event());
    }
    no_extensions_but_lists(request)?;
    let expires_s =
        grant(request.expires(), endpoint.sub_min_expiry, EXPIRES_S).map_err(Refusal::too_brief)?;
    // Who may not subscribe any more may still end it.
    if !endpoint.allow_subscribe && expires_s > 0 {
        return Err(Refusal::plain(603, "Decline"));
    }
    if !subscription
        .notifier
        .refresh(crate::clock::now(), expires_s)
    {
        return Err(missing());
    }
    subscription.endpoint = Arc::clone(endpoint);
    subscription.flow = settle(shard, &mut subscription.dialog, flow, endpoint);
    let contact = contact(shard, &subscription.flow, None);
    subscription.dialog.set_local_contact(&contact);
    persist::keep(shard, subscription);
    Ok(expires_s)
}

/// Mailboxes of a subscription that nobody on this shard has counted yet.
pub(super) fn uncounted(shard: &Rc<Shard>, number: u64) -> Vec<String> {
    let table = shard.subscriptions().borrow();
    let mut boxes = FxHashSet::default();
    if let Some(subscription) = table.by_id.get(&number) {
        subscription.resource.boxes(&mut boxes);
    }
    boxes.retain(|name| !table.counts.contains_key(name));
    boxes.into_iter().collect()
}
