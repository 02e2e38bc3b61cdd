//! When which contact is asked with OPTIONS whether it is there, and what its answer or silence means. Each shard asks
//! the contacts of its own addresses of record; who sends the OPTIONS is not decided here.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use strowger_store::{Snapshot, Table};

use super::contacts::{Contact, Contacts, Status};

/// Probes handed out at once at most; more wait for the next call.
const PROBES_MAX: usize = 200;
/// How often the list of contacts is looked at again at most.
const RENEW_MIN: Duration = Duration::from_millis(500);
/// A new contact is asked within this time where `max_initial_qualify_time` says nothing else, spread so that many of them
/// are not asked at once.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// The wait for an answer where `qualify_timeout` is 0: as long as a transaction lives.
const TIMEOUT_MAX: Duration = Duration::from_secs(32);

/// A contact to be asked now.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What [`Qualifier::answered`] and [`Qualifier::failed`] want to hear: the contact's id.
    pub key: Arc<str>,
    /// The contact.
    pub contact: Arc<Contact>,
    /// The endpoint it belongs to, where known.
    pub endpoint: Option<String>,
    /// The proxy to go through.
    pub outbound_proxy: Option<String>,
    /// How long the answer is waited for; the qualifier watches that itself.
    pub timeout: Duration,
    /// Answer a challenge (`authenticate_qualify`).
    pub authenticate: bool,
}

/// A contact whose status is another now.
#[derive(Clone, Debug)]
pub struct StatusChange {
    /// The contact.
    pub contact: Arc<Contact>,
    /// Before.
    pub from: Status,
    /// Now.
    pub to: Status,
    /// The round trip, where it answered.
    pub round_trip: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    contact: Arc<Contact>,
    /// Who registered it; of a static one, whose address of record it is.
    endpoint: Option<String>,
    frequency: Duration,
    timeout: Duration,
    only_2xx: bool,
    authenticate: bool,
    outbound_proxy: Option<String>,
    /// When something is to be done: ask, or give up waiting.
    at: Instant,
    sent: Option<Instant>,
}

/// The schedule of one shard.
#[derive(Debug)]
pub struct Qualifier {
    index: usize,
    count: usize,
    seen: Option<(u64, u64, u64)>,
    renewed: Option<Instant>,
    entries: FxHashMap<Arc<str>, Entry>,
    queue: BTreeSet<(Instant, Arc<str>)>,
    changes: Vec<StatusChange>,
}

impl Qualifier {
    /// The schedule of shard `index` of `count`.
    #[must_use]
    pub fn new(index: usize, count: usize) -> Self {
        Self {
            index,
            count: count.max(1),
            seen: None,
            renewed: None,
            entries: FxHashMap::default(),
            queue: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    /// Whether this shard asks the contacts of this address of record.
    #[must_use]
    pub fn owns(&self, aor: &str) -> bool {
        let hash = FxBuildHasher.hash_one(aor) >> 32;
        usize::try_from(hash).unwrap_or(0) % self.count == self.index
    }

    /// Takes over what was registered, removed and configured since. Cheap when nothing changed.
    fn renew(&mut self, snapshot: &Snapshot, contacts: &Contacts, now: Instant) {
        if self
            .renewed
            .is_some_and(|at| now.saturating_duration_since(at) < RENEW_MIN)
        {
            return;
        }
        self.renewed = Some(now);
        contacts.sync_static(snapshot);
        let seen = (
            contacts.generation(),
            snapshot.version_of(Table::Aors),
            snapshot.version_of(Table::Endpoints),
        );
        if self.seen == Some(seen) {
            return;
        }
        self.seen = Some(seen);
        let first = match snapshot.globals.max_initial_qualify_time {
            0 => FIRST_WITHIN,
            seconds => Duration::from_secs(seconds.into()),
        };
        let owners = std::cell::OnceCell::new();
        let mut present: FxHashSet<Arc<str>> = FxHashSet::default();
        for contact in contacts.collect(|c| self.owns(&c.aor)) {
            let Some(aor) = snapshot.aors.get(&contact.aor) else {
                continue;
            };
            if aor.qualify_frequency == 0 {
                contact.set_status(Status::NonQualified, 0);
                continue;
            }
            let key: Arc<str> = contact.row.id.as_str().into();
            present.insert(Arc::clone(&key));
            let frequency = Duration::from_secs(u64::from(aor.qualify_frequency));
            let spread = FxBuildHasher.hash_one(&*key) >> 32;
            let within = first.min(frequency).as_millis().max(1) as u64;
            let known = self.entries.get(&key);
            let at = match known {
                Some(entry) if entry.sent.is_some() => entry.at,
                Some(entry) => entry.at.min(now + frequency),
                None => now + Duration::from_millis(spread % within),
            };
            let sent = known.and_then(|entry| entry.sent);
            if let Some(entry) = known {
                self.queue.remove(&(entry.at, Arc::clone(&key)));
            }
            if contact.status().0 == Status::NonQualified {
                contact.set_status(Status::Unknown, 0);
            }
            self.queue.insert((at, Arc::clone(&key)));
            let timeout = Duration::try_from_secs_f64(aor.qualify_timeout)
                .ok()
                .filter(|t| !t.is_zero())
                .map_or(TIMEOUT_MAX, |t| t.min(TIMEOUT_MAX));
            let owner = || {
                let owners = owners.get_or_init(|| owners_of(snapshot));
                owners.get(contact.aor.as_str()).map(|id| (*id).to_owned())
            };
            let endpoint = contact.row.endpoint.clone().or_else(owner);
            self.entries.insert(
                key,
                Entry {
                    endpoint,
                    frequency,
                    timeout,
                    only_2xx: aor.qualify_2xx_only,
                    authenticate: aor.authenticate_qualify,
                    outbound_proxy: aor.outbound_proxy.clone(),
                    at,
                    sent,
                    contact,
                },
            );
        }
        let queue = &mut self.queue;
        self.entries.retain(|key, entry| {
            let keep = present.contains(key);
            if !keep {
                queue.remove(&(entry.at, Arc::clone(key)));
            }
            keep
        });
    }

    /// What is to be asked now. Also gives up on those that were asked and stayed silent.
    pub fn due(&mut self, snapshot: &Snapshot, contacts: &Contacts, now: Instant) -> Vec<Probe> {
        self.renew(snapshot, contacts, now);
        let mut probes = Vec::new();
        while let Some((at, key)) = self.queue.first().cloned() {
            if at > now || probes.len() == PROBES_MAX {
                break;
            }
            self.queue.pop_first();
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if let Some(sent) = entry.sent.take() {
                let change = note(entry, contacts, Status::Unreachable, None);
                self.changes.extend(change);
                entry.at = (sent + entry.frequency).max(now);
            } else {
                entry.sent = Some(now);
                entry.at = now + entry.timeout;
                probes.push(Probe {
                    key: Arc::clone(&key),
                    contact: Arc::clone(&entry.contact),
                    endpoint: entry.endpoint.clone(),
                    outbound_proxy: entry.outbound_proxy.clone(),
                    timeout: entry.timeout,
                    authenticate: entry.authenticate,
                });
            }
            self.queue.insert((entry.at, key));
        }
        probes
    }

    /// Contacts of this address of record are asked next, those that were not asked just now. How many that are.
    pub fn hasten(&mut self, aor: &str, now: Instant) -> usize {
        let queue = &mut self.queue;
        let mut hastened = 0;
        let wanted = self.entries.iter_mut().filter(|(_, entry)| {
            entry.contact.aor == aor && entry.sent.is_none() && entry.at > now
        });
        for (key, entry) in wanted {
            queue.remove(&(entry.at, Arc::clone(key)));
            entry.at = now;
            queue.insert((now, Arc::clone(key)));
            hastened += 1;
        }
        hastened
    }

    /// A final response came. One that comes after its time counts for nothing.
    pub fn answered(&mut self, contacts: &Contacts, key: &str, status: u16, now: Instant) {
        let Some((key, entry)) = self.entries.get_key_value(key) else {
            return;
        };
        let Some(sent) = entry.sent else { return };
        let key = Arc::clone(key);
        let good = !entry.only_2xx || (200..300).contains(&status);
        self.settle(
            contacts,
            &key,
            if good {
                Status::Reachable
            } else {
                Status::Unreachable
            },
            sent,
            now,
        );
    }

    /// The OPTIONS could not be sent, or its transaction timed out.
    pub fn failed(&mut self, contacts: &Contacts, key: &str, now: Instant) {
        let Some((key, entry)) = self.entries.get_key_value(key) else {
            return;
        };
        let Some(sent) = entry.sent else { return };
        let key = Arc::clone(key);
        self.settle(contacts, &key, Status::Unreachable, sent, now);
    }

    fn settle(
        &mut self,
        contacts: &Contacts,
        key: &Arc<str>,
        status: Status,
        sent: Instant,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let round_trip = (status == Status::Reachable).then(|| now.saturating_duration_since(sent));
        self.changes
            .extend(note(entry, contacts, status, round_trip));
        self.queue.remove(&(entry.at, Arc::clone(key)));
        entry.sent = None;
        entry.at = (sent + entry.frequency).max(now);
        self.queue.insert((entry.at, Arc::clone(key)));
    }

    /// The contacts whose status changed since the last call.
    pub fn take_changes(&mut self) -> Vec<StatusChange> {
        std::mem::take(&mut self.changes)
    }

    /// When [`Qualifier::due`] has something to do, as far as is known; call it once a second besides, to notice new
    /// contacts.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Contacts in the schedule.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is scheduled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The endpoint of each address of record; of several the first by name.
fn owners_of(snapshot: &Snapshot) -> FxHashMap<&str, &str> {
    let mut owners: FxHashMap<&str, &str> = FxHashMap::default();
    for endpoint in snapshot.endpoints.values() {
        for aor in &endpoint.aors {
            let owner = owners.entry(aor.trim()).or_insert(endpoint.id.as_str());
            *owner = (*owner).min(endpoint.id.as_str());
        }
    }
    owners
}

/// It is known how a contact is reached: of the contact as it is now, which may have been registered again since it was asked.
fn note(
    entry: &mut Entry,
    contacts: &Contacts,
    to: Status,
    round_trip: Option<Duration>,
) -> Option<StatusChange> {
    let us = in_us(round_trip);
    let (aor, id) = (&entry.contact.aor, &entry.contact.row.id);
    let (contact, from) = contacts.with(aor, id, |contact| {
        (Arc::clone(contact), contact.set_status(to, us))
    })?;
    entry.contact = Arc::clone(&contact);
    (from != to).then_some(StatusChange {
        contact,
        from,
        to,
        round_trip,
    })
}

fn in_us(time: Option<Duration>) -> u64 {
    time.map_or(0, |t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX >> 2))
}

impl StatusChange {
    /// Has `tell` told of it, before anything else becomes of the contact: a refresh that came since has the status as well,
    /// and of a contact that is gone nobody hears any more. True if it was told.
    pub fn settle(&mut self, contacts: &Contacts, tell: impl FnOnce(&Self)) -> bool {
        let (aor, id) = (self.contact.aor.clone(), self.contact.row.id.clone());
        let told = contacts.with(&aor, &id, |contact| {
            contact.set_status(self.to, in_us(self.round_trip));
            self.contact = Arc::clone(contact);
            tell(self);
        });
        told.is_some()
    }
}

#[cfg(test)]
mod tests;
