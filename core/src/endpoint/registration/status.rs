//! How our registrations stand, for who shows it; and whose calls come in under which line.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

/// How a registration stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not tried yet, or taken back.
    #[default]
    Unregistered,
    /// The registrar knows our contact.
    Registered,
    /// Refused, or no answer; it is tried again.
    Rejected,
    /// Refused, and not tried again until its row changes or somebody asks for it.
    RejectedPermanently,
}

impl State {
    /// The word of Manager and command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unregistered => "Unregistered",
            Self::Registered => "Registered",
            Self::Rejected | Self::RejectedPermanently => "Rejected",
        }
    }
}

/// One registration as it stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// The row's name.
    pub id: String,
    /// Whom it registers.
    pub client_uri: String,
    /// Where.
    pub server_uri: String,
    /// How it stands.
    pub state: State,
    /// When the next REGISTER goes out; `None`: never, or one is under way.
    pub next: Option<Instant>,
    /// Status and reason of the last answer; 408 and 503 stand for none.
    pub last_answer: Option<(u16, String)>,
    /// The life the registrar granted, in seconds.
    pub granted_s: Option<u32>,
    /// Since when it has been registered without a break.
    pub registered_since: Option<Instant>,
    /// Attempts that failed since the last one that did not.
    pub failures: u32,
    /// Our contact there.
    pub contact: String,
    /// The shard that keeps it.
    pub shard: usize,
}

/// How all of them stand, by name. Written by the shards, read by whoever wants to know.
#[derive(Debug, Default)]
pub struct RegistrationTable(RwLock<BTreeMap<String, Status>>);

impl RegistrationTable {
    /// Every registration, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Status> {
        self.0.read().values().cloned().collect()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Status> {
        self.0.read().get(id).cloned()
    }

    /// How many are registered, are rejected, and are neither.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let mut counts = [("registered", 0), ("rejected", 0), ("unregistered", 0)];
        for status in self.0.read().values() {
            let place = match status.state {
                State::Registered => 0,
                State::Rejected | State::RejectedPermanently => 1,
                State::Unregistered => 2,
            };
            counts[place].1 += 1;
        }
        counts
    }

    /// Notes how one stands; gives its state before.
    pub(super) fn set(&self, status: &Status) -> Option<State> {
        let before = self.0.write().insert(status.id.clone(), status.clone());
        before.map(|before| before.state)
    }

    pub(super) fn remove(&self, id: &str) {
        self.0.write().remove(id);
    }
}

/// Tokens in the Contacts of our registrations (`line`), with the endpoint whose calls come under them. They are long and
/// random: who knows one was told it by the registrar.
#[derive(Debug, Default)]
pub struct Lines(RwLock<LineTable>);

#[derive(Debug, Default)]
struct LineTable {
    endpoints: FxHashMap<String, String>,
    tokens: FxHashMap<String, String>,
}

impl Lines {
    /// The endpoint that belongs to a token.
    #[must_use]
    pub fn endpoint_of(&self, token: &str) -> Option<String> {
        self.0.read().endpoints.get(token).cloned()
    }

    /// True while no registration has a line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.read().endpoints.is_empty()
    }

    pub(super) fn set(&self, id: &str, token: &str, endpoint: &str) {
        let mut table = self.0.write();
        if let Some(old) = table.tokens.insert(id.to_owned(), token.to_owned())
            && old != token
        {
            table.endpoints.remove(&old);
        }
        table
            .endpoints
            .insert(token.to_owned(), endpoint.to_owned());
    }

    pub(super) fn remove(&self, id: &str) {
        if !self.0.read().tokens.contains_key(id) {
            return;
        }
        let mut table = self.0.write();
        if let Some(token) = table.tokens.remove(id) {
            table.endpoints.remove(&token);
        }
    }
}
