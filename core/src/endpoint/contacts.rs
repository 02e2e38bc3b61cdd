//! The contacts of all addresses of record, registered and static, for every shard to read: a look-up takes a read lock
//! of one sixteenth of the table for as long as it takes to copy a pointer.
//!
//! The table is in memory; each change of a registered contact is handed to a [`ContactWriter`] to be stored.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use strowger_sip::Uri;
use strowger_sip::auth::Algorithm;
use strowger_sip::headers::NameAddr;
use strowger_store::{Contact as Row, Snapshot, Table};

/// Parts of the table that are locked apart from each other.
const PARTS: usize = 16;

/// Stored behind a contact's URI: the transport that it is reached by. Asterisk has it so.
pub(super) const TRANSPORT: &str = "x-ast-txp";

/// Who stores registered contacts. Neither call may wait.
pub trait ContactWriter: Send + Sync {
    /// Stores the row in place of an older one of its `id` and `reg_server`.
    fn upsert(&self, contact: Row);
    /// Deletes the row.
    fn delete(&self, id: &str, reg_server: &str);
}

impl ContactWriter for strowger_store::ContactWriter {
    fn upsert(&self, contact: Row) {
        Self::upsert(self, contact);
    }

    fn delete(&self, id: &str, reg_server: &str) {
        Self::delete(self, id, reg_server);
    }
}

/// Whether a contact answers OPTIONS.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not asked yet.
    Unknown,
    /// Not to be asked (`qualify_frequency` is 0).
    NonQualified,
    /// It answered.
    Reachable,
    /// It did not, or not as demanded.
    Unreachable,
}

impl Status {
    /// The word of Asterisk's events and lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::NonQualified => "NonQualified",
            Self::Reachable => "Reachable",
            Self::Unreachable => "Unreachable",
        }
    }
}

/// Where an address of record can be reached.
#[derive(Debug)]
pub struct Contact {
    /// As stored in `ps_contacts`; a static contact has an `expiration_time` of 0.
    pub row: Row,
    /// The address of record.
    pub aor: String,
    /// The URI to send to.
    pub uri: Uri,
    /// The URI as the phone sent it, before [`Row::uri`] was rewritten to where it came from.
    pub sent_uri: String,
    /// Preference in thousandths, 0 to 1000.
    pub q_milli: u16,
    /// Path values, nearest proxy first (RFC 3327).
    pub path: Vec<String>,
    /// CSeq of the REGISTER; not known after a restart.
    pub cseq: Option<u32>,
    /// The connection the REGISTER came on; 0 for none.
    pub connection: u64,
    /// The transport that requests to it leave by (`symmetric_transport`), where its endpoint names none.
    pub transport: Option<String>,
    /// From the AOR's row, not from a REGISTER.
    pub is_static: bool,
    /// Status in the lowest two bits, round trip in us above.
    state: AtomicU64,
}

impl Contact {
    /// A contact made of its row. `None` when the row's URI cannot be read or has no AOR in its id.
    #[must_use]
    pub fn from_row(row: Row) -> Option<Self> {
        // The hash holds no `@`, an AOR may.
        let aor = row.id.rsplit_once(";@")?.0.to_owned();
        let mut uri = Uri::parse(&row.uri).ok()?;
        let transport = uri.param(TRANSPORT).map(str::to_owned);
        uri.params.remove(TRANSPORT);
        let path = row
            .path
            .as_deref()
            .map(NameAddr::parse_list)
            .and_then(Result::ok)
            .unwrap_or_default();
        Some(Self {
            path: path.iter().map(ToString::to_string).collect(),
            sent_uri: uri.to_string(),
            transport,
            ..Self::new(&aor, uri, row)
        })
    }

    /// A registered contact of this address of record, not yet qualified.
    #[must_use]
    pub fn new(aor: &str, uri: Uri, row: Row) -> Self {
        Self {
            aor: aor.to_owned(),
            uri,
            sent_uri: row.uri.clone(),
            q_milli: 1000,
            path: Vec::new(),
            cseq: None,
            connection: 0,
            transport: None,
            is_static: false,
            state: AtomicU64::new(u64::from(row.qualify_frequency == 0)),
            row,
        }
    }

    /// Whether it still counts at this time, in seconds since 1970.
    #[must_use]
    pub fn is_alive(&self, now_epoch_s: i64) -> bool {
        self.is_static || self.row.expiration_time > now_epoch_s
    }

    /// Whether it answers OPTIONS, and the last round trip in us where it did.
    #[must_use]
    pub fn status(&self) -> (Status, Option<u64>) {
        let state = self.state.load(Ordering::Relaxed);
        match state & 3 {
            0 => (Status::Unknown, None),
            1 => (Status::NonQualified, None),
            2 => (Status::Reachable, Some(state >> 2)),
            _ => (Status::Unreachable, None),
        }
    }

    /// Notes what a qualification found; returns the status before.
    pub fn set_status(&self, status: Status, round_trip_us: u64) -> Status {
        let before = self.status().0;
        let bits = match status {
            Status::Unknown => 0,
            Status::NonQualified => 1,
            Status::Reachable => 2 | (round_trip_us << 2),
            Status::Unreachable => 3,
        };
        self.state.store(bits, Ordering::Relaxed);
        before
    }
}

/// The id of a registered contact: `<aor>;@<hash of its URI>`.
#[must_use]
pub fn contact_id(aor: &str, uri: &str) -> String {
    format!("{aor};@{}", Algorithm::Md5.hash(&[uri.as_bytes()]))
}

/// A change of an address of record.
#[derive(Debug)]
pub enum Change {
    /// Adds the contact, or replaces the one of its id.
    Set(Box<Contact>),
    /// Removes the contact of this id.
    Remove(String),
}

/// Told which address of record changed.
pub type Listener = Box<dyn Fn(&str) + Send + Sync>;

/// What became of a registered contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Created,
    /// Registered again.
    Refreshed,
    /// By its telephone, for another one, or because its time or its connection was over.
    Removed,
}

/// Told what became of a registered contact.
pub type Witness = Box<dyn Fn(&Contact, Became) + Send + Sync>;

type Bindings = Arc<[Arc<Contact>]>;

/// All contacts. Shared by all shards.
pub struct Contacts {
    parts: [RwLock<FxHashMap<String, Bindings>>; PARTS],
    writer: Box<dyn ContactWriter>,
    reg_server: String,
    generation: AtomicU64,
    /// Told the address of record whose contacts changed.
    listener: OnceLock<Listener>,
    witness: OnceLock<Witness>,
    /// Version of `ps_aors` that the static contacts are made of, plus one.
    statics: AtomicU64,
    /// Who makes them: another who needs them waits until they are made.
    making: Mutex<()>,
    expired: AtomicU64,
}

impl std::fmt::Debug for Contacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contacts")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Contacts {
    /// An empty table. `reg_server` names this exchange in `ps_contacts`, where several share one.
    #[must_use]
    pub fn new(reg_server: &str, writer: Box<dyn ContactWriter>) -> Self {
        Self {
            parts: Default::default(),
            writer,
            reg_server: reg_server.to_owned(),
            generation: AtomicU64::new(0),
            listener: OnceLock::new(),
            witness: OnceLock::new(),
            statics: AtomicU64::new(0),
            making: Mutex::new(()),
            expired: AtomicU64::new(0),
        }
    }

    /// Has `listener` told which address of record changed. Called with a lock held: it must return at once. Only the first
    /// listener is kept.
    pub fn on_change(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    /// Has `witness` told what becomes of registered contacts, as [`Self::on_change`] does.
    pub fn on_binding(&self, witness: Witness) {
        let _ = self.witness.set(witness);
    }

    fn witness(&self, contact: &Contact, became: Became) {
        if let Some(witness) = self.witness.get() {
            witness(contact, became);
        }
    }

    /// Contacts of this address of record changed, or whether they can be reached.
    pub fn tell_change(&self, aor: &str) {
        if let Some(listener) = self.listener.get() {
            listener(aor);
        }
    }

    /// The name of this exchange in `ps_contacts`.
    #[must_use]
    pub fn reg_server(&self) -> &str {
        &self.reg_server
    }

    /// Grows with every change of the set of contacts.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn part(&self, aor: &str) -> &RwLock<FxHashMap<String, Bindings>> {
        // The top bits are FxHash's best.
        let index = FxBuildHasher.hash_one(aor) >> (u64::BITS - PARTS.ilog2());
        &self.parts[usize::try_from(index).unwrap_or(0) % PARTS]
    }

    /// Takes back what was stored before a restart. What has expired, belongs to another server or cannot be read is
    /// left out. Returns how many were taken.
    pub fn restore(&self, rows: &[Row], now_epoch_s: i64) -> usize {
        let mut taken = 0;
        for row in rows {
            if !row.reg_server.is_empty() && row.reg_server != self.reg_server {
                continue;
            }
            let Some(contact) = Contact::from_row(row.clone()) else {
                continue;
            };
            if !contact.is_alive(now_epoch_s) {
                continue;
            }
            let mut part = self.part(&contact.aor).write();
            let list = part.entry(contact.aor.clone()).or_default();
            if list.iter().all(|c| c.row.id != contact.row.id) {
                *list = list.iter().cloned().chain([Arc::new(contact)]).collect();
                taken += 1;
            }
        }
        self.generation.fetch_add(1, Ordering::Release);
        taken
    }

    /// Every contact of the address of record, static ones included, dead ones too until they are swept.
    #[must_use]
    pub fn of(&self, aor: &str) -> Bindings {
        self.part(aor).read().get(aor).cloned().unwrap_or_default()
    }

    /// Does something with a contact as it is now, before anything else becomes of it; `work` must return at once. `None`: it
    /// is gone.
    pub fn with<R>(&self, aor: &str, id: &str, work: impl FnOnce(&Arc<Contact>) -> R) -> Option<R> {
        let part = self.part(aor).read();
        let contact = part.get(aor)?.iter().find(|c| c.row.id == id)?;
        Some(work(contact))
    }

    /// The contacts to dial, best first: reachable before unreachable, registered before static, by preference, the
    /// newest first. Empty when the address of record is not in the snapshot.
    #[must_use]
    pub fn dialable(&self, snapshot: &Snapshot, aor: &str, now_epoch_s: i64) -> Vec<Arc<Contact>> {
        self.sync_static(snapshot);
        if !snapshot.aors.contains_key(aor) {
            return Vec::new();
        }
        let mut list: Vec<_> = self
            .of(aor)
            .iter()
            .filter(|c| c.is_alive(now_epoch_s))
            .cloned()
            .collect();
        list.sort_by_key(|c| {
            (
                c.status().0 == Status::Unreachable,
                c.is_static,
                std::cmp::Reverse(c.q_milli),
                std::cmp::Reverse(c.row.expiration_time),
            )
        });
        list
    }

    /// The best contact to dial now.
    #[must_use]
    pub fn first(&self, snapshot: &Snapshot, aor: &str) -> Option<Arc<Contact>> {
        self.dialable(snapshot, aor, epoch_now()).into_iter().next()
    }

    /// Every contact to dial now, best first.
    #[must_use]
    pub fn all(&self, snapshot: &Snapshot, aor: &str) -> Vec<Arc<Contact>> {
        self.dialable(snapshot, aor, epoch_now())
    }

    /// Decides on and makes changes of one address of record, alone with it: `decide` sees its contacts and says what
    /// changes. Stored through the writer in the same order.
    pub fn update<R>(
        &self,
        aor: &str,
        decide: impl FnOnce(&[Arc<Contact>]) -> (Vec<Change>, R),
    ) -> R {
        let mut part = self.part(aor).write();
        let current = part.get(aor).cloned().unwrap_or_default();
        let (changes, result) = decide(&current);
        if changes.is_empty() {
            return result;
        }
        let mut list: Vec<Arc<Contact>> = current.to_vec();
        for change in changes {
            match change {
                Change::Set(mut contact) => {
                    contact.row.reg_server.clone_from(&self.reg_server);
                    self.writer.upsert(contact.row.clone());
                    let place = list.iter().position(|c| c.row.id == contact.row.id);
                    match place.and_then(|i| list.get_mut(i)) {
                        Some(slot) => {
                            // A refreshed contact is as reachable as it was.
                            contact.state = AtomicU64::new(slot.state.load(Ordering::Relaxed));
                            self.witness(&contact, Became::Refreshed);
                            *slot = Arc::from(contact);
                        }
                        None => {
                            self.witness(&contact, Became::Created);
                            list.push(Arc::from(contact));
                        }
                    }
                }
                Change::Remove(id) => {
                    let gone = list.iter().find(|c| !c.is_static && c.row.id == id);
                    if let Some(gone) = gone {
                        self.witness(gone, Became::Removed);
                    }
                    list.retain(|c| c.is_static || c.row.id != id);
                    self.writer.delete(&id, &self.reg_server);
                }
            }
        }
        if list.is_empty() {
            part.remove(aor);
        } else {
            part.insert(aor.to_owned(), list.into());
        }
        self.generation.fetch_add(1, Ordering::Release);
        self.tell_change(aor);
        result
    }

    /// Removes what has expired, in memory and in store; call it every `contact_expiration_check_interval` or oftener.
    pub fn sweep(&self, now_epoch_s: i64) -> Vec<Arc<Contact>> {
        self.remove_where(|contact| !contact.is_alive(now_epoch_s))
    }

    /// Removes the contacts that could only be reached over connections that are gone.
    pub fn connections_closed(&self, ended: &FxHashSet<u64>) -> Vec<Arc<Contact>> {
        self.remove_where(|contact| {
            contact.row.prune_on_boot && ended.contains(&contact.connection)
        })
    }

    fn remove_where(&self, gone: impl Fn(&Contact) -> bool) -> Vec<Arc<Contact>> {
        let gone = |contact: &Contact| !contact.is_static && gone(contact);
        let mut removed = Vec::new();
        for part in &self.parts {
            // Most sweeps find nothing, and need no writer's lock for that.
            let aors: Vec<String> = part
                .read()
                .iter()
                .filter(|(_, list)| list.iter().any(|c| gone(c)))
                .map(|(aor, _)| aor.clone())
                .collect();
            for aor in aors {
                let found = self.update(&aor, |current| {
                    let found: Vec<_> = current.iter().filter(|c| gone(c)).cloned().collect();
                    (
                        found
                            .iter()
                            .map(|c| Change::Remove(c.row.id.clone()))
                            .collect(),
                        found,
                    )
                });
                removed.extend(found);
            }
        }
        self.expired
            .fetch_add(removed.len() as u64, Ordering::Relaxed);
        removed
    }

    /// Makes the static contacts what `ps_aors` says, unless they are already, or of rows that are newer.
    pub fn sync_static(&self, snapshot: &Snapshot) {
        let version = snapshot.version_of(Table::Aors) + 1;
        let made = || self.statics.load(Ordering::Acquire) >= version;
        if made() {
            return;
        }
        let _making = self.making.lock();
        if made() {
            return;
        }
        let stale: Vec<String> = self
            .collect(|c| c.is_static && !snapshot.aors.contains_key(&c.aor))
            .iter()
            .map(|c| c.aor.clone())
            .collect();
        let wanted = snapshot.aors.values().filter(|aor| !aor.contact.is_empty());
        let had: Vec<String> = self
            .collect(|c| c.is_static)
            .iter()
            .map(|c| c.aor.clone())
            .collect();
        for name in stale.iter().chain(wanted.map(|aor| &aor.id)).chain(&had) {
            let aor = snapshot.aors.get(name);
            let mut part = self.part(name).write();
            let current = part.get(name).cloned().unwrap_or_default();
            let mut list: Vec<Arc<Contact>> =
                current.iter().filter(|c| !c.is_static).cloned().collect();
            for text in aor.iter().flat_map(|aor| &aor.contact) {
                let Ok(uri) = Uri::parse(text.trim()) else {
                    continue;
                };
                let id = format!("{name}@@{}", Algorithm::Md5.hash(&[text.trim().as_bytes()]));
                if list.iter().any(|c| c.row.id == id) {
                    continue;
                }
                let kept = current.iter().find(|c| c.row.id == id);
                let frequency = aor.map_or(0, |aor| aor.qualify_frequency);
                list.push(kept.cloned().unwrap_or_else(|| {
                    let row = Row {
                        id,
                        uri: text.trim().to_owned(),
                        qualify_frequency: frequency,
                        outbound_proxy: aor.and_then(|aor| aor.outbound_proxy.clone()),
                        ..Row::default()
                    };
                    Arc::new(Contact {
                        is_static: true,
                        ..Contact::new(name, uri, row)
                    })
                }));
            }
            if list.is_empty() {
                part.remove(name);
            } else {
                part.insert(name.clone(), list.into());
            }
            self.tell_change(name);
        }
        self.statics.store(version, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The contacts that `wanted` says yes to, of all addresses of record.
    pub fn collect(&self, wanted: impl Fn(&Contact) -> bool) -> Vec<Arc<Contact>> {
        self.parts
            .iter()
            .flat_map(|part| {
                let part = part.read();
                part.values()
                    .flat_map(|list| list.iter().filter(|c| wanted(c)).cloned())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// How many contacts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.read().values().map(|list| list.len()).sum::<usize>())
            .sum()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Contacts held, and removed because their time or connection ended.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 2] {
        [
            ("contacts", self.len() as u64),
            ("contacts_expired", self.expired.load(Ordering::Relaxed)),
        ]
    }
}

/// Seconds since 1970: contacts expire by the wall clock, because they outlive the process.
#[must_use]
pub fn epoch_now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
