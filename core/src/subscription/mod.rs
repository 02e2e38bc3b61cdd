//! Subscriptions of phones (RFC 6665): lamps (`dialog`), presence, message waiting, and lists of them.
//!
//! A subscription lives on the shard that its Call-ID leads to, as a call does. When it may be told and what its
//! Subscription-State says is decided by [`strowger_sip::notifier`]; here lives what it is about, the table of those that
//! there are, and the way of its messages. Never here: device states, mailboxes and hints themselves.

mod body;
mod feed;
mod incoming;
mod lists;
mod mwi;
mod notify;
mod package;
mod persist;
mod resource;
mod subscribe;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use strowger_sip::dialog::Dialog;
use strowger_sip::headers::Event;
use strowger_sip::notifier::Notifier;
use strowger_sip::{Flow, Message};
use strowger_store::Endpoint;
use tokio::sync::{Notify, watch};

use crate::shard::DialogKey;
use crate::voicemail::Counts;
use package::Format;
use resource::{Resource, View};

pub(crate) use body::of_extension;
pub(crate) use feed::{end_all, run};
pub(crate) use incoming::told;
pub(crate) use mwi::{bindings, registered};
pub(crate) use notify::{answered, failed};
pub(crate) use package::ALLOW_EVENTS;
pub(crate) use subscribe::{again, begin, watched};

/// What the shards know together of their subscriptions.
#[derive(Debug, Default)]
pub struct Registry {
    count: Arc<AtomicUsize>,
    /// What they are about: each resource of a list.
    resources: Arc<AtomicUsize>,
    /// How many resources each endpoint follows.
    by_endpoint: PerEndpoint,
    /// Endpoints that are told of their mailboxes because they asked, and how often they did.
    watching_mail: PerEndpoint,
    /// Shards that have still to let subscriptions of before go on.
    restoring: watch::Sender<usize>,
}

type PerEndpoint = Arc<Mutex<FxHashMap<String, usize>>>;

impl Registry {
    /// Subscriptions of all shards.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Places for one more of this endpoint that is about so many resources; `None`: there would be more than `max`, or the
    /// endpoint would have more than `max_each` (0: no limit).
    fn enter(
        &self,
        endpoint: &str,
        resources: usize,
        (max, max_each): (usize, usize),
    ) -> Option<Held> {
        let own = Counted::some(&self.by_endpoint, endpoint, resources, max_each)?;
        let entered = self
            .resources
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count + resources <= max).then_some(count + resources)
            });
        entered.ok()?;
        self.count.fetch_add(1, Ordering::AcqRel);
        Some(Held {
            all: [Arc::clone(&self.count), Arc::clone(&self.resources)],
            resources,
            _own: own,
        })
    }

    /// So many shards will let subscriptions of before go on ([`Self::restored`]); to be said before they run.
    pub fn expect(&self, shards: usize) {
        self.restoring.send_replace(shards);
    }

    /// One of them has, or will not.
    fn one_restored(&self) {
        self.restoring
            .send_modify(|left| *left = left.saturating_sub(1));
    }

    /// Waits until all subscriptions of before are there.
    async fn restored(&self) {
        // An error would mean that the registry is gone, and it is here.
        let _ = self.restoring.subscribe().wait_for(|left| *left == 0).await;
    }

    fn watch_mail(&self, endpoint: &str) -> Option<Counted> {
        Counted::some(&self.watching_mail, endpoint, 1, 0)
    }

    fn watches_mail(&self, endpoint: &str) -> bool {
        self.watching_mail.lock().contains_key(endpoint)
    }
}

/// Places among the subscriptions.
struct Held {
    /// Subscriptions and resources.
    all: [Arc<AtomicUsize>; 2],
    resources: usize,
    _own: Counted,
}

impl Drop for Held {
    fn drop(&mut self) {
        let [count, resources] = &self.all;
        count.fetch_sub(1, Ordering::AcqRel);
        resources.fetch_sub(self.resources, Ordering::AcqRel);
    }
}

/// Some of what an endpoint has.
struct Counted {
    all: PerEndpoint,
    endpoint: String,
    number: usize,
}

impl Counted {
    /// So many more; `None`: there would be more than `max` (0: no limit).
    fn some(all: &PerEndpoint, endpoint: &str, number: usize, max: usize) -> Option<Self> {
        let mut counts = all.lock();
        let there = counts.get(endpoint).copied().unwrap_or_default();
        if max > 0 && there + number > max {
            return None;
        }
        counts.insert(endpoint.to_owned(), there + number);
        Some(Self {
            all: Arc::clone(all),
            endpoint: endpoint.to_owned(),
            number,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.endpoint) {
            *count -= self.number;
            if *count == 0 {
                all.remove(&self.endpoint);
            }
        }
    }
}

/// A NOTIFY that waits for its answer.
struct Sent {
    request: Message,
    /// A challenge has been answered already.
    authenticated: bool,
}

/// A subscription as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub endpoint: String,
    pub call_id: String,
    /// The subscriber's URI.
    pub watcher: String,
    /// `presence`, `dialog`, `message-summary`.
    pub package: String,
    /// The extension, mailbox or list that it is about.
    pub resource: String,
    /// Its last NOTIFY is on its way.
    pub is_ending: bool,
}

/// One subscription.
struct Subscription {
    notifier: Notifier,
    dialog: Dialog,
    key: DialogKey,
    flow: Flow,
    /// Where the first SUBSCRIBE came from.
    source: IpAddr,
    event: Event,
    format: Format,
    endpoint: Arc<Endpoint>,
    resource: Resource,
    /// Host in URIs of what it is about.
    host: String,
    /// The subscriber's URI.
    watcher: String,
    /// The mailboxes are counted: it can be told of them.
    ready: bool,
    sent: Option<Sent>,
    /// When the table looks at it again.
    wake: Option<Instant>,
    /// Its row, where it is to outlive the exchange.
    kept: Option<persist::Kept>,
    _held: Held,
    _watches_mail: Option<Counted>,
}

impl Subscription {
    fn view<'a>(
        &'a self,
        shared: &'a crate::Shared,
        counts: &'a FxHashMap<String, Counts>,
    ) -> View<'a> {
        View {
            shared,
            counts,
            format: self.format,
            host: &self.host,
            watcher: &self.watcher,
            early_in_use: self.endpoint.notify_early_inuse_ringing,
        }
    }
}

/// The subscriptions of a shard.
#[derive(Default)]
pub(crate) struct Subscriptions {
    by_id: FxHashMap<u64, Subscription>,
    by_dialog: FxHashMap<DialogKey, u64>,
    by_device: FxHashMap<String, FxHashSet<u64>>,
    by_mailbox: FxHashMap<String, FxHashSet<u64>>,
    timers: BTreeSet<(Instant, u64)>,
    /// Messages in the mailboxes that somebody here is told of.
    counts: FxHashMap<String, Counts>,
    /// Grows whenever `counts` is forgotten: what is on its way from the disk then is out of date.
    counts_age: u64,
    unsolicited: mwi::Unsolicited,
    last: u64,
    /// The exchange stops.
    closed: bool,
    /// Rung when a timer is earlier than it was.
    bell: Rc<Notify>,
}

impl Subscriptions {
    fn add(&mut self, subscription: Subscription) -> u64 {
        self.last += 1;
        let id = self.last;
        self.by_dialog.insert(subscription.key.clone(), id);
        self.index(id, &subscription.resource);
        self.by_id.insert(id, subscription);
        id
    }

    fn index(&mut self, id: u64, resource: &Resource) {
        let (mut devices, mut boxes) = (FxHashSet::default(), FxHashSet::default());
        resource.devices(&mut devices);
        resource.boxes(&mut boxes);
        for device in devices {
            self.by_device.entry(device).or_default().insert(id);
        }
        for mailbox in boxes {
            self.by_mailbox.entry(mailbox).or_default().insert(id);
        }
    }

    /// Takes a subscription out of the indexes that its resource put it in.
    fn unindex(&mut self, id: u64, resource: &Resource) {
        let (mut devices, mut boxes) = (FxHashSet::default(), FxHashSet::default());
        resource.devices(&mut devices);
        resource.boxes(&mut boxes);
        for (table, names) in [
            (&mut self.by_device, devices),
            (&mut self.by_mailbox, boxes),
        ] {
            for name in names {
                if let Some(ids) = table.get_mut(&name) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        table.remove(&name);
                    }
                }
            }
        }
    }

    fn remove(&mut self, id: u64) -> Option<Subscription> {
        let gone = self.by_id.remove(&id)?;
        self.by_dialog.remove(&gone.key);
        self.unindex(id, &gone.resource);
        if let Some(wake) = gone.wake {
            self.timers.remove(&(wake, id));
        }
        Some(gone)
    }

    /// Has the table look at a subscription when its time comes.
    fn arm(&mut self, id: u64) {
        let first = self.timers.first().map(|(at, _)| *at);
        let Some(subscription) = self.by_id.get_mut(&id) else {
            return;
        };
        // Until its mailboxes are counted nothing can be told: a time that has come would come again and again.
        let next = subscription
            .ready
            .then(|| subscription.notifier.next_timeout())
            .flatten();
        let before = std::mem::replace(&mut subscription.wake, next);
        if before == next {
            return;
        }
        if let Some(before) = before {
            self.timers.remove(&(before, id));
        }
        if let Some(next) = next {
            self.timers.insert((next, id));
            if first.is_none_or(|first| next < first) {
                self.bell.notify_one();
            }
        }
    }

    /// Whether somebody is told by this connection.
    pub(crate) fn uses(&self, connection: u64) -> bool {
        let mut all = self.by_id.values();
        all.any(|subscription| subscription.flow.connection == connection)
    }

    /// Whether a request belongs to a subscription.
    pub(crate) fn knows(&self, request: &Message) -> bool {
        self.of_request(request).is_some()
    }

    fn of_request(&self, request: &Message) -> Option<u64> {
        let key = DialogKey {
            call_id: request.call_id().ok()?.to_owned(),
            local_tag: request.to().ok()?.tag()?.to_owned(),
        };
        self.by_dialog.get(&key).copied()
    }

    /// Their numbers, the oldest first.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.by_id.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Those of these numbers that are there still, for people.
    pub(crate) fn listed(&self, numbers: &[u64]) -> Vec<Listed> {
        let found = numbers.iter().filter_map(|number| self.by_id.get(number));
        let all = found.map(|subscription| Listed {
            endpoint: subscription.endpoint.id.clone(),
            call_id: subscription.key.call_id.clone(),
            watcher: subscription.watcher.clone(),
            package: subscription.event.package.clone(),
            resource: subscription.resource.name().to_owned(),
            is_ending: subscription.notifier.is_ending(),
        });
        all.collect()
    }

    /// What the tables hold: subscriptions, dialogs, devices, mailboxes and timers.
    pub(crate) fn sizes(&self) -> [usize; 5] {
        [
            self.by_id.len(),
            self.by_dialog.len(),
            self.by_device.len(),
            self.by_mailbox.len(),
            self.timers.len(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let registry = Registry::default();
        let enter = |endpoint| registry.enter(endpoint, 1, (3, 2));
        assert!(
            registry.enter("100", 3, (3, 2)).is_none(),
            "a list counts as what it is about"
        );
        assert_eq!(registry.count(), 0);
        let (first, second) = (enter("100"), enter("100"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("100").is_none(), "two for each endpoint");
        let third = enter("101");
        assert!(third.is_some());
        assert!(enter("102").is_none(), "three for all");
        drop(first);
        assert_eq!(registry.count(), 2);
        assert!(enter("100").is_some());
        drop((second, third));
        assert_eq!(registry.count(), 0);
        assert!(registry.by_endpoint.lock().is_empty());
    }

    #[test]
    fn an_endpoint_watches_its_mail_until_its_last_subscription_ends() {
        let registry = Registry::default();
        let (first, second) = (registry.watch_mail("100"), registry.watch_mail("100"));
        assert!(registry.watches_mail("100") && !registry.watches_mail("101"));
        drop(first);
        assert!(registry.watches_mail("100"));
        drop(second);
        assert!(!registry.watches_mail("100"));
    }
}
