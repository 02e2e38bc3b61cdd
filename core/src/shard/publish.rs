//! What we publish at other exchanges: follows devices, mailboxes and extensions for the publications of this shard, sends the PUBLISH that
//! [`Publisher`] says are due, and tells it what came back.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use strowger_sip::transaction::ClientId;
use strowger_sip::{Flow, Message, Uri};
use strowger_store::{Snapshot, Table};
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{ClientUser, Shard};
use crate::call::session::new_via;
use crate::call::target::Alternatives;
use crate::device::{DeviceState, ExtensionChange, Hints, Place, device_key};
use crate::endpoint::registration::{owner, unspoken};
use crate::publication::publisher::{Publisher, Sender};
use crate::publication::{Extensions, Outbound, Package, Places, Said, Topic, outbound};
use crate::voicemail::{Counts, MailboxChange};

/// The tables are looked at at least so often, to notice rows that changed.
const LOOK: Duration = Duration::from_millis(500);
/// Requests begun before other tasks get their turn, and requests under way.
const BATCH: usize = 32;
const UNDER_WAY_MAX: usize = 128;
/// All publications are gone through after this at the earliest; the longer where they are more than so many.
const PAUSE: Duration = Duration::from_millis(2);
const LONG_PAUSE: Duration = Duration::from_millis(50);
const MANY: usize = 100;
/// Extensions of one row that have a publication each.
const EXTENSIONS_MAX: usize = 10_000;

/// Names one request: the answer to an older one counts for nothing.
#[derive(Clone, Copy)]
struct Ticket {
    number: u64,
    attempt: u64,
}

/// A PUBLISH under way.
struct Asked {
    ticket: Ticket,
    /// Where else the other exchange may be (RFC 3263 §4.3).
    others: Alternatives,
}

/// A row about extensions, and which of them.
struct Followed {
    row: Outbound,
    multi_user: bool,
    places: Places,
}

/// The publications of this shard.
#[derive(Default)]
pub(super) struct Publishing {
    /// By numbers that no other ever had; those whose rows are others now among them, until they are taken back.
    publishers: BTreeMap<u64, Publisher>,
    /// The publication of each row.
    numbers: FxHashMap<String, u64>,
    next: u64,
    waiting: FxHashMap<ClientId, Asked>,
    /// Messages in our mailboxes, as last heard.
    counts: FxHashMap<String, Counts>,
    seen: Option<[u64; 3]>,
    /// All rows about extensions, and the hints that they were matched with.
    followed: Vec<Followed>,
    hints: Arc<Hints>,
    hurry: Rc<Notify>,
    stopping: bool,
}

/// What changed, for those who follow it.
struct Feed {
    devices: broadcast::Receiver<Arc<str>>,
    mailboxes: broadcast::Receiver<MailboxChange>,
    extensions: broadcast::Receiver<ExtensionChange>,
}

impl Feed {
    fn new(shard: &Shard) -> Self {
        Self {
            devices: shard.shared.devices.subscribe_own(),
            mailboxes: shard.shared.voicemail.subscribe(),
            extensions: shard.shared.devices.subscribe_extensions(),
        }
    }
}

/// Something that may have to be published.
enum Heard {
    Device(Arc<str>),
    Mailbox(MailboxChange),
    Extension(ExtensionChange),
    /// Something was missed.
    Lagged,
}

async fn hear(feed: &mut Option<Feed>) -> Heard {
    let Some(feed) = feed else {
        return std::future::pending().await;
    };
    tokio::select! {
        change = feed.devices.recv() => match change {
            Ok(device) => Heard::Device(device),
            Err(RecvError::Lagged(_)) => Heard::Lagged,
            Err(RecvError::Closed) => std::future::pending().await,
        },
        change = feed.mailboxes.recv() => match change {
            Ok(change) => Heard::Mailbox(change),
            Err(RecvError::Lagged(_)) => Heard::Lagged,
            Err(RecvError::Closed) => std::future::pending().await,
        },
        change = feed.extensions.recv() => match change {
            Ok(change) => Heard::Extension(change),
            Err(RecvError::Lagged(_)) => Heard::Lagged,
            Err(RecvError::Closed) => std::future::pending().await,
        },
    }
}

/// The name under which a publisher knows an extension.
fn name_of((context, exten): &Place) -> String {
    format!("{exten}@{context}")
}

impl Shard {
    /// Publishes, for as long as the shard runs.
    pub(super) async fn run_publications(self: Rc<Self>) {
        let hurry = Rc::clone(&self.publishing.borrow().hurry);
        let mut feed = None;
        loop {
            let new = self.renew_publications();
            if self.publishing.borrow().publishers.is_empty() {
                feed = None;
            } else if feed.is_none() {
                feed = Some(Feed::new(&self));
            }
            for number in new {
                self.note_all(number);
            }
            self.send_due_publications();
            self.flush();
            let now = crate::clock::now();
            let (next, pause) = {
                let publishing = self.publishing.borrow();
                let all = publishing.publishers.values();
                let next = all
                    .filter_map(|publisher| publisher.next_timeout(now))
                    .min();
                let many = publishing.publishers.len() > MANY;
                (next, if many { LONG_PAUSE } else { PAUSE })
            };
            let soon = now + pause;
            let mut at = next.map_or(now + LOOK, |at| at.min(now + LOOK)).max(soon);
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => break,
                    () = hurry.notified() => {}
                    heard = hear(&mut feed) => self.heard(heard),
                }
                at = at.min(soon);
            }
        }
    }

    fn heard(self: &Rc<Self>, heard: Heard) {
        match heard {
            Heard::Device(device) => {
                self.note(Package::DeviceState, &device_key(&device));
            }
            Heard::Mailbox(change) => {
                // Those of others are theirs to tell.
                if self.shared.mailbox(&change.mailbox).is_some() {
                    let name = change.mailbox.to_string();
                    let mut publishing = self.publishing.borrow_mut();
                    publishing.counts.insert(name.clone(), change.counts);
                    drop(publishing);
                    self.note(Package::Mwi, &name);
                }
            }
            Heard::Extension(change) => {
                let place = (change.context.to_string(), change.exten.to_string());
                self.note_extension(&place);
            }
            Heard::Lagged => {
                let all = self.publishing.borrow();
                let numbers: Vec<u64> = all.numbers.values().copied().collect();
                drop(all);
                for number in numbers {
                    self.note_all(number);
                }
            }
        }
    }

    fn note(&self, package: Package, name: &str) {
        let mut publishing = self.publishing.borrow_mut();
        for publisher in publishing.publishers.values_mut() {
            if publisher.row().topic == Topic::Of(package) && !publisher.note(name) {
                self.shared.published.count_dropped();
            }
        }
    }

    fn note_extension(&self, place: &Place) {
        let mut publishing = self.publishing.borrow_mut();
        let Publishing {
            followed,
            numbers,
            publishers,
            ..
        } = &mut *publishing;
        for Followed {
            row,
            multi_user,
            places,
        } in followed
        {
            if !places.fit(&place.0, &place.1) {
                continue;
            }
            let number = if *multi_user {
                numbers.get(&row.id_of(place))
            } else {
                numbers.get(&row.id)
            };
            let publisher = number.and_then(|number| publishers.get_mut(number));
            if publisher.is_some_and(|publisher| !publisher.note(&name_of(place))) {
                self.shared.published.count_dropped();
            }
        }
    }

    /// The rows of this shard by name; of extensions with a publication each one for each.
    fn wanted_publications(&self, publishing: &mut Publishing) -> BTreeMap<String, Outbound> {
        publishing.followed.clear();
        let mut wanted = BTreeMap::new();
        let mut want = |row: Outbound| {
            if owner(&row.id, self.count) == self.index {
                wanted.insert(row.id.clone(), row);
            }
        };
        for row in outbound(&self.shared.snapshot()) {
            let Topic::Extensions(extensions) = &row.topic else {
                want(row);
                continue;
            };
            let (multi_user, places) = (extensions.multi_user, extensions.filter());
            if multi_user {
                let all = publishing.hints.iter().map(|(place, _)| place);
                let mut all: Vec<&Place> = all
                    .filter(|(context, exten)| places.fit(context, exten))
                    .collect();
                if all.len() > EXTENSIONS_MAX {
                    tracing::warn!(
                        publication = row.id,
                        extensions = all.len(),
                        "outbound-publish: {EXTENSIONS_MAX} extensions are published, the first by context and number"
                    );
                    all.sort();
                    all.truncate(EXTENSIONS_MAX);
                }
                all.into_iter()
                    .for_each(|place| want(row.of_extension(place)));
            } else {
                want(row.clone());
            }
            publishing.followed.push(Followed {
                row,
                multi_user,
                places,
            });
        }
        wanted
    }

    /// Takes over rows that came, changed or went: the publications that are new.
    fn renew_publications(&self) -> Vec<u64> {
        let snapshot = self.shared.snapshot();
        let version = |table| snapshot.version_of(table);
        let seen = Some([
            version(Table::OutboundPublishes),
            version(Table::AsteriskPublications),
            // The static tables are loaded as one.
            version(Table::StaticExtensions).wrapping_add(version(Table::StaticPjsip)),
        ]);
        let mut publishing = self.publishing.borrow_mut();
        let publishing = &mut *publishing;
        publishing
            .publishers
            .retain(|_, publisher| !publisher.is_gone());
        let hints = self.shared.devices.hints();
        let same = publishing.seen == seen && Arc::ptr_eq(&publishing.hints, &hints);
        if publishing.stopping || same {
            return Vec::new();
        }
        publishing.seen = seen;
        publishing.hints = hints;
        let mut wanted = self.wanted_publications(publishing);
        let publishers = &mut publishing.publishers;
        publishing.numbers.retain(|id, number| {
            let Some(publisher) = publishers.get_mut(number) else {
                return false;
            };
            let same = wanted.get(id) == Some(publisher.row());
            if same {
                wanted.remove(id);
            } else {
                publisher.leave();
            }
            same
        });
        let entity = self.shared.entity();
        let mut new = Vec::new();
        for (id, row) in wanted {
            let number = publishing.next;
            publishing.next += 1;
            publishing
                .publishers
                .insert(number, Publisher::new(row, entity));
            publishing.numbers.insert(id, number);
            new.push(number);
        }
        new
    }

    /// Has a publication tell everything anew that there is to tell.
    fn note_all(self: &Rc<Self>, number: u64) {
        let topic = {
            let publishing = self.publishing.borrow();
            let publisher = publishing.publishers.get(&number);
            publisher.map(|publisher| publisher.row().topic.clone())
        };
        let snapshot = self.shared.snapshot();
        match topic {
            None => {}
            Some(Topic::Extensions(extensions)) => {
                let hints = self.shared.devices.hints();
                let mut publishing = self.publishing.borrow_mut();
                let Some(publisher) = publishing.publishers.get_mut(&number) else {
                    return;
                };
                let mut note = |place: &Place| {
                    if !publisher.note(&name_of(place)) {
                        self.shared.published.count_dropped();
                    }
                };
                match &extensions.place {
                    Some(own) => note(own),
                    None => {
                        let places = extensions.filter();
                        let all = hints.iter().map(|(place, _)| place);
                        all.filter(|(context, exten)| places.fit(context, exten))
                            .for_each(note);
                    }
                }
            }
            Some(Topic::Of(Package::DeviceState)) => {
                let hints = self.shared.devices.hints();
                let mut publishing = self.publishing.borrow_mut();
                let Some(publisher) = publishing.publishers.get_mut(&number) else {
                    return;
                };
                let mut note = |device: &str| {
                    if !publisher.note(device) {
                        self.shared.published.count_dropped();
                    }
                };
                for endpoint in snapshot.endpoints.keys() {
                    note(&format!("PJSIP/{endpoint}"));
                }
                hints.devices().for_each(|device| note(&device_key(device)));
            }
            Some(Topic::Of(Package::Mwi)) => {
                let shard = Rc::clone(self);
                Self::spawn(async move { shard.count_mailboxes(&snapshot, number).await });
            }
        }
    }

    /// Counts all of our mailboxes for a publication. What the disk does not say is told when it changes.
    async fn count_mailboxes(self: &Rc<Self>, snapshot: &Snapshot, number: u64) {
        for mailbox in crate::voicemail::all(snapshot, None) {
            let name = mailbox.name();
            let Ok(counts) = self.shared.mailbox_counts(&name).await else {
                continue;
            };
            let mut publishing = self.publishing.borrow_mut();
            publishing.counts.insert(name.clone(), counts);
            let Some(publisher) = publishing.publishers.get_mut(&number) else {
                return;
            };
            if !publisher.note(&name) {
                self.shared.published.count_dropped();
            }
            publishing.hurry.notify_one();
        }
    }

    /// See [`Shared::publish_all`](crate::Shared).
    pub(crate) fn publish_all(self: &Rc<Self>, name: &str) {
        let number = {
            let mut publishing = self.publishing.borrow_mut();
            let Some(number) = publishing.numbers.get(name).copied() else {
                return;
            };
            if let Some(publisher) = publishing.publishers.get_mut(&number) {
                publisher.forget_told();
            }
            number
        };
        self.note_all(number);
        self.publishing.borrow().hurry.notify_one();
    }

    /// The body that says what is so of a thing of ours now. Of devices that cannot be reached, or are none, nothing is said unless
    /// it was before.
    fn said(
        &self,
        counts: &FxHashMap<String, Counts>,
        name: &str,
        before: bool,
        row: &Outbound,
    ) -> Option<String> {
        let said = match &row.topic {
            Topic::Extensions(extensions) => return self.said_of_extension(name, row, extensions),
            Topic::Of(Package::DeviceState) => {
                let state = self.shared.own_device_state(name);
                let silent = matches!(
                    state,
                    DeviceState::Unknown | DeviceState::Invalid | DeviceState::Unavailable
                );
                (before || !silent).then(|| Said::Device {
                    device: name.to_owned(),
                    state,
                })?
            }
            Topic::Of(Package::Mwi) => {
                // Those of others are theirs to tell.
                self.shared.mailbox(name)?;
                Said::Mailbox {
                    mailbox: name.to_owned(),
                    counts: *counts.get(name)?,
                }
            }
        };
        Some(said.write(self.shared.entity()))
    }

    fn said_of_extension(
        &self,
        name: &str,
        row: &Outbound,
        extensions: &Extensions,
    ) -> Option<String> {
        let (exten, context) = name.rsplit_once('@')?;
        let hints = self.shared.devices.hints();
        let hint = hints.get(context, exten)?;
        let (from, to) = row.ends()?;
        let ends = (from.uri.to_string(), to.uri.to_string());
        crate::subscription::of_extension(
            &self.shared,
            extensions.body,
            (hint, exten),
            (&ends.0, &ends.1),
            &from.uri.host.to_string(),
        )
    }

    fn send_due_publications(self: &Rc<Self>) {
        // Shards run before the first transports are open, and without one nobody can be found.
        if self.shared.transports.all().is_empty() {
            return;
        }
        let now = crate::clock::now();
        let mut due = Vec::new();
        {
            let mut publishing = self.publishing.borrow_mut();
            let room = UNDER_WAY_MAX.saturating_sub(publishing.waiting.len());
            let Publishing {
                publishers, counts, ..
            } = &mut *publishing;
            for (number, publisher) in publishers {
                if due.len() >= room.min(BATCH) {
                    break;
                }
                if publisher.next_timeout(now).is_none_or(|at| at > now) {
                    continue;
                }
                let row = publisher.row().clone();
                let said = |name: &str, before| self.said(counts, name, before, &row);
                if let Some((attempt, hop)) = publisher.due(now, said) {
                    let ticket = Ticket {
                        number: *number,
                        attempt,
                    };
                    due.push((ticket, hop, row.transport));
                }
            }
        }
        for (ticket, hop, transport) in due {
            self.guarded("publication", |shard| {
                shard.publish(ticket, hop, transport);
            });
        }
    }

    fn publish(self: &Rc<Self>, ticket: Ticket, hop: Uri, transport: Option<String>) {
        let named = transport.as_deref();
        let open = named.is_some_and(|name| self.shared.transports.protocol_of(name).is_some());
        if unspoken(&self.shared.snapshot(), &hop, named, open).is_some() {
            return self.not_published(&ticket, 503);
        }
        let shard = Rc::clone(self);
        Self::spawn(async move {
            let hops = crate::dns::locate(&shard.shared, &hop, transport.as_deref()).await;
            let mut others = Alternatives::new(hops.into(), transport);
            match others.next_flow(&shard) {
                Some(flow) => shard.send_publish(Asked { ticket, others }, flow),
                None => shard.not_published(&ticket, 503),
            }
            shard.flush();
        });
    }

    fn publisher_of<R>(
        &self,
        ticket: &Ticket,
        work: impl FnOnce(&mut Publisher) -> R,
    ) -> Option<R> {
        let mut publishing = self.publishing.borrow_mut();
        let publisher = publishing.publishers.get_mut(&ticket.number)?;
        publisher.awaits(ticket.attempt).then(|| work(publisher))
    }

    fn not_published(&self, ticket: &Ticket, status: u16) {
        self.publisher_of(ticket, |publisher| {
            publisher.failed(status, None, crate::clock::now());
        });
        self.publishing.borrow().hurry.notify_one();
    }

    fn send_publish(self: &Rc<Self>, asked: Asked, flow: Flow) {
        let place = Sender {
            via: new_via(self, &flow).to_string(),
            call_id: self.call_id(),
            tag: self.tag(),
            user_agent: self.shared.user_agent(),
        };
        let snapshot = self.shared.snapshot();
        let request = self.publisher_of(&asked.ticket, |publisher| {
            publisher.request(&snapshot, &place)
        });
        match request {
            Some(Some(request)) => self.ask_publication(asked, request, flow),
            Some(None) => self.not_published(&asked.ticket, 503),
            None => {}
        }
    }

    fn ask_publication(self: &Rc<Self>, mut asked: Asked, request: Message, flow: Flow) {
        match self.request(request, flow, ClientUser::Publish) {
            // Its end may have been told before we knew its id.
            Some(id) if self.is_client_open(id) => {
                self.publishing.borrow_mut().waiting.insert(id, asked);
            }
            _ if self.publish_elsewhere(&mut asked) => {}
            _ => self.not_published(&asked.ticket, 503),
        }
    }

    /// It was not taken at one place (no connection, no answer, 503): goes to the next. False when none is left.
    fn publish_elsewhere(self: &Rc<Self>, asked: &mut Asked) -> bool {
        let Some(flow) = asked.others.next_flow(self) else {
            return false;
        };
        self.counters.targets_failed_over.add(1);
        let ticket = asked.ticket;
        self.publisher_of(&ticket, |publisher| publisher.goes_on(crate::clock::now()));
        let others = std::mem::take(&mut asked.others);
        self.send_publish(Asked { ticket, others }, flow);
        true
    }

    pub(super) fn publish_response(self: &Rc<Self>, id: ClientId, response: &Message, flow: Flow) {
        if response.status().is_none_or(|status| status < 200) {
            return;
        }
        let Some(mut asked) = self.publishing.borrow_mut().waiting.remove(&id) else {
            return;
        };
        if response.status() == Some(503) && self.publish_elsewhere(&mut asked) {
            return;
        }
        let via = new_via(self, &flow).to_string();
        let snapshot = self.shared.snapshot();
        let again = self.publisher_of(&asked.ticket, |publisher| {
            publisher.answered(&snapshot, response, &via, crate::clock::now())
        });
        match again.flatten() {
            Some(again) => self.ask_publication(asked, again, flow),
            None => self.publishing.borrow().hurry.notify_one(),
        }
    }

    pub(super) fn publish_failed(self: &Rc<Self>, id: ClientId, status: u16) {
        let Some(mut asked) = self.publishing.borrow_mut().waiting.remove(&id) else {
            return;
        };
        if !self.publish_elsewhere(&mut asked) {
            self.not_published(&asked.ticket, status);
        }
    }

    /// The exchange ends: what was published is taken back, so that nobody believes it any longer.
    pub(super) fn leave_publications(self: &Rc<Self>) {
        {
            let mut publishing = self.publishing.borrow_mut();
            publishing.stopping = true;
            for publisher in publishing.publishers.values_mut() {
                publisher.leave();
            }
        }
        self.send_due_publications();
        // There may be more than are begun at once.
        self.publishing.borrow().hurry.notify_one();
    }

    /// True while somebody has not answered that we take back what was published.
    pub(super) fn is_leaving_publications(&self) -> bool {
        let publishing = self.publishing.borrow();
        let mut all = publishing.publishers.values();
        publishing.stopping && all.any(|publisher| !publisher.is_gone())
    }
}
