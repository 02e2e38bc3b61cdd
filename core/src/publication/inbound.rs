//! PUBLISH that comes (RFC 3903 §6): the publications that live here, what each says, and when it is over.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use strowger_sip::headers::Event;
use strowger_sip::transaction::ServerId;
use strowger_sip::{Builder, Flow, HeaderName, Message};
use strowger_store::Endpoint;

use super::message::{self, JSON, Said};
use super::settings::{PACKAGES, Package};
use crate::shard::Shard;
use crate::shared::Shared;

/// A publication lives so long where its PUBLISH does not say, and at most.
const EXPIRES_S: u32 = 3600;
/// Publications at once; of these, of one endpoint.
const PUBLICATIONS_MAX: usize = 10_000;
const OF_ENDPOINT_MAX: usize = 100;
/// Exchanges that one publication speaks for.
const ENTITIES_MAX: usize = 32;
/// What is said of devices, and of mailboxes: each thing counts once for each exchange that speaks of it.
pub(super) const VOICES_MAX: usize = 100_000;
/// The longest body, bytes: it says one thing.
const BODY_MAX: usize = 4096;

/// What somebody publishes here.
#[derive(Debug)]
struct Publication {
    endpoint: String,
    resource: String,
    package: Package,
    until: Instant,
    /// Who is said to say it.
    entities: BTreeSet<Arc<str>>,
}

/// The publications by entity tag.
#[derive(Debug, Default)]
pub(super) struct Publications {
    by_tag: FxHashMap<String, Publication>,
    /// How many publications speak for an exchange, and how many an endpoint has.
    speakers: FxHashMap<(Package, Arc<str>), usize>,
    of_endpoint: FxHashMap<String, usize>,
}

impl Publications {
    pub(super) fn len(&self) -> usize {
        self.by_tag.len()
    }

    fn is_full_for(&self, endpoint: &str) -> bool {
        let own = self.of_endpoint.get(endpoint).copied().unwrap_or(0);
        self.by_tag.len() >= PUBLICATIONS_MAX || own >= OF_ENDPOINT_MAX
    }

    fn add(&mut self, tag: String, publication: Publication) {
        let own = self.of_endpoint.entry(publication.endpoint.clone());
        *own.or_default() += 1;
        self.by_tag.insert(tag, publication);
    }

    /// The publication of a tag speaks for this exchange as well.
    fn speak(&mut self, tag: &str, entity: &Arc<str>) {
        if let Some(publication) = self.by_tag.get_mut(tag)
            && publication.entities.insert(Arc::clone(entity))
        {
            let speaker = (publication.package, Arc::clone(entity));
            *self.speakers.entry(speaker).or_default() += 1;
        }
    }

    /// It is over: exchanges for which nobody speaks any more.
    fn end(&mut self, tag: &str) -> Option<(Package, Vec<Arc<str>>)> {
        let gone = self.by_tag.remove(tag)?;
        take_one(&mut self.of_endpoint, &gone.endpoint);
        let orphans = gone.entities.into_iter().filter(|entity| {
            let speaker = (gone.package, Arc::clone(entity));
            take_one(&mut self.speakers, &speaker)
        });
        Some((gone.package, orphans.collect()))
    }
}

/// Counts down; true if it was the last.
fn take_one<K: Eq + std::hash::Hash>(counts: &mut FxHashMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else {
        return false;
    };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(key);
    }
    last
}

/// A refusal: status, reason and headers.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(u16, &'static str, Vec<(HeaderName, String)>);

impl Refusal {
    const fn plain(status: u16, reason: &'static str) -> Self {
        Self(status, reason, Vec::new())
    }

    fn bad_event() -> Self {
        let events = vec![(HeaderName::AllowEvents, PACKAGES.to_owned())];
        Self(489, "Bad Event", events)
    }
}

/// What is answered to a PUBLISH that is taken: the new tag, its life, and which publication of ours is to tell everything.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    tag: String,
    expires_s: u32,
    refresh: Option<String>,
}

/// Takes a PUBLISH of an endpoint that has been admitted.
pub(crate) fn receive(
    shard: &Rc<Shard>,
    id: ServerId,
    request: &Message,
    flow: &Flow,
    endpoint: &Endpoint,
) {
    let shared = shard.shared();
    let snapshot = shared.snapshot();
    let proved = shared
        .gatekeeper
        .has_proved(&snapshot, endpoint, request, flow);
    let taken = if proved {
        take(shared, request, endpoint, crate::clock::now())
    } else {
        let why = "Forbidden (neither a password nor an address says who publishes)";
        Err(Refusal::plain(403, why))
    };
    let (status, reason, headers) = match taken {
        Ok(taken) => {
            if let Some(name) = &taken.refresh {
                shared.publish_all(name);
            }
            let headers = vec![
                (HeaderName::SipEtag, taken.tag),
                (HeaderName::Expires, taken.expires_s.to_string()),
            ];
            (200, "OK", headers)
        }
        Err(Refusal(status, reason, headers)) => {
            shared.published.refused.fetch_add(1, Ordering::Relaxed);
            (status, reason, headers)
        }
    };
    let mut response = Builder::response_to(request, status, reason)
        .to_tag(&shard.tag())
        .header(HeaderName::Server, shared.user_agent());
    for (name, value) in headers {
        response.push(name, value);
    }
    shard.respond(id, response.finish());
}

fn new_tag() -> String {
    format!("{:016x}", crate::random_u64())
}

fn package_of(request: &Message) -> Result<Package, Refusal> {
    let event = request.header(&HeaderName::Event);
    let event = event.and_then(|text| Event::parse(text).ok());
    event
        .and_then(|event| Package::read(&event.package))
        .ok_or_else(Refusal::bad_event)
}

/// The body, where there is one.
fn said(request: &Message) -> Result<Option<(Arc<str>, Said)>, Refusal> {
    if request.body().is_empty() {
        return Ok(None);
    }
    if request.body().len() > BODY_MAX {
        return Err(Refusal::plain(413, "Request Entity Too Large"));
    }
    if !request.has_content(JSON) {
        let accept = vec![(HeaderName::Accept, JSON.to_owned())];
        return Err(Refusal(415, "Unsupported Media Type", accept));
    }
    let (entity, said) = message::read(request.body()).map_err(|why| {
        let warning = vec![(HeaderName::Warning, format!("399 strowger \"{why}\""))];
        Refusal(400, "Bad Request", warning)
    })?;
    Ok(Some((entity.into(), said)))
}

fn take(
    shared: &Shared,
    request: &Message,
    endpoint: &Endpoint,
    now: Instant,
) -> Result<Taken, Refusal> {
    let package = package_of(request)?;
    let unknown: Vec<&str> = request.values(&HeaderName::Require).collect();
    if !unknown.is_empty() {
        let named = vec![(HeaderName::Unsupported, unknown.join(", "))];
        return Err(Refusal(420, "Bad Extension", named));
    }
    let uri = request.request_uri();
    let resource = uri.and_then(|uri| strowger_sip::Uri::parse(uri).ok());
    let resource = resource.as_ref().and_then(strowger_sip::Uri::user_decoded);
    let resource = resource.unwrap_or_default().into_owned();
    let expires_s = request.expires().unwrap_or(EXPIRES_S).min(EXPIRES_S);
    let said = said(request)?;
    let rules = shared.published.rules(&shared.snapshot());
    let inbound = rules.inbound(&resource);
    let inbound = inbound.ok_or(Refusal::plain(404, "Not Found"))?;
    if !inbound.endpoint.is_empty() && inbound.endpoint != endpoint.id {
        return Err(Refusal::plain(403, "Forbidden"));
    }
    let publication = inbound.publication(package);
    let accepted = publication.and_then(|name| rules.accepted(name, package));
    let accepted = accepted.ok_or(Refusal::plain(404, "Not Found"))?;
    let if_match = request.header(&HeaderName::SipIfMatch).map(str::trim);
    let is_new = if_match.is_none();
    if is_new && said.is_none() {
        return Err(Refusal::plain(
            400,
            "Bad Request (there is nothing to publish)",
        ));
    }
    let is_strange = matches!(
        (&said, package),
        (Some((_, Said::Device { .. })), Package::Mwi)
            | (Some((_, Said::Mailbox { .. })), Package::DeviceState)
    );
    if is_strange {
        return Err(Refusal::plain(
            400,
            "Bad Request (type belongs to another event)",
        ));
    }
    // Our own words, by way of others, are nothing new.
    let said = said.filter(|(entity, _)| **entity != *shared.entity());
    let asked = matches!(said, Some((_, Said::Refresh)));
    // As in Asterisk states that are not taken are no fault of who tells them: they mean nothing, as what the filter keeps out.
    let said = said.filter(|(_, said)| accepted.taken || matches!(said, Said::Refresh));
    let said = said.filter(|(_, said)| said.passes(&accepted.filter));
    let tag = new_tag();
    // Held until all of it has taken effect, so that what one publication takes back, another says after it and not before.
    let mut all = shared.published.publications.lock();
    let known = match if_match {
        None => None,
        Some(tag) => {
            let known = all.by_tag.get(tag).filter(|known| {
                known.endpoint == endpoint.id
                    && known.resource == resource
                    && known.package == package
                    && known.until > now
            });
            let gone = Refusal::plain(412, "Conditional Request Failed");
            Some((tag, known.ok_or(gone)?))
        }
    };
    let full = || {
        let later = vec![(HeaderName::RetryAfter, "60".to_owned())];
        Refusal(503, "Service Unavailable", later)
    };
    match known {
        None if all.is_full_for(&endpoint.id) => return Err(full()),
        Some((_, known))
            if said.as_ref().is_some_and(|(entity, _)| {
                known.entities.len() >= ENTITIES_MAX && !known.entities.contains(entity)
            }) =>
        {
            return Err(full());
        }
        _ => {}
    }
    if expires_s == 0 {
        if let Some((tag, _)) = known
            && let Some((package, orphans)) = all.end(tag)
        {
            forget(shared, package, &orphans.into_iter().collect());
        }
    } else {
        // Refused, it has changed nothing.
        if let Some((entity, said)) = &said
            && !apply(shared, entity, said)
        {
            return Err(full());
        }
        let until = now + Duration::from_secs(expires_s.into());
        if let Some((former, _)) = known {
            if let Some(publication) = all.by_tag.remove(former) {
                let publication = Publication {
                    until,
                    ..publication
                };
                all.by_tag.insert(tag.clone(), publication);
            }
        } else {
            let publication = Publication {
                endpoint: endpoint.id.clone(),
                resource,
                package,
                until,
                entities: BTreeSet::new(),
            };
            all.add(tag.clone(), publication);
        }
        if let Some((entity, _)) = &said {
            all.speak(&tag, entity);
        }
    }
    drop(all);
    let publish = asked.then(|| accepted.publish.clone());
    Ok(Taken {
        tag,
        expires_s,
        refresh: publish.filter(|name| !name.is_empty()),
    })
}

/// What is said takes effect. False: too much is said already.
fn apply(shared: &Shared, entity: &Arc<str>, said: &Said) -> bool {
    match said {
        Said::Device { device, state } => {
            let taken = shared.published.set_device(device, entity, *state);
            if taken {
                shared.devices.touch(device);
            }
            taken
        }
        Said::Mailbox { mailbox, counts } => {
            let counts = shared.published.set_mailbox(mailbox, entity, *counts);
            if let Some(counts) = counts {
                shared.take_mailbox(mailbox, Some(counts));
            }
            counts.is_some()
        }
        Said::Refresh => true,
    }
}

/// Nobody speaks for these exchanges any more.
fn forget(shared: &Shared, package: Package, orphans: &FxHashSet<Arc<str>>) {
    if orphans.is_empty() {
        return;
    }
    match package {
        Package::DeviceState => {
            for device in shared.published.forget_devices(orphans) {
                shared.devices.touch(&device);
            }
        }
        Package::Mwi => {
            for (mailbox, counts) in shared.published.forget_mailboxes(orphans) {
                shared.take_mailbox(&mailbox, counts);
            }
        }
    }
}

/// Ends publications whose time is over.
pub(super) fn sweep(shared: &Shared, now: Instant) {
    let mut all = shared.published.publications.lock();
    let over: Vec<String> = all
        .by_tag
        .iter()
        .filter(|(_, publication)| publication.until <= now)
        .map(|(tag, publication)| {
            tracing::info!(
                endpoint = publication.endpoint,
                resource = publication.resource,
                event = publication.package.as_str(),
                "publication expired"
            );
            tag.clone()
        })
        .collect();
    let mut orphans: [FxHashSet<Arc<str>>; 2] = Default::default();
    for (package, silent) in over.iter().filter_map(|tag| all.end(tag)) {
        orphans[usize::from(package == Package::Mwi)].extend(silent);
    }
    // Together, so that what others say is gone through once.
    let [devices, mailboxes] = orphans;
    forget(shared, Package::DeviceState, &devices);
    forget(shared, Package::Mwi, &mailboxes);
}
