//! Registrations that we keep with other servers (`ps_registrations`): when which REGISTER goes out, and what its answer
//! or silence means. Each row belongs to one shard.
//!
//! Messages and times come in, messages and times go out; resolving names and sending is done elsewhere.

mod keeper;
mod status;

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxBuildHasher;
use strowger_sip::{Message, Transport, Uri};
use strowger_store::{Registration as Row, Snapshot, Table};

use keeper::Keeper;
pub(crate) use keeper::read as read_uri;
pub use status::{Lines, RegistrationTable, State, Status};

/// Requests handed out at once at most; more wait for the next call.
const ATTEMPTS_MAX: usize = 200;

/// Names one attempt to register: the answer to an older one counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    id: Arc<str>,
    attempt: u64,
}

impl Ticket {
    /// The row that is tried.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }
}

/// A REGISTER to be sent now.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// To be given back with what comes of it.
    pub ticket: Ticket,
    /// The first hop: the proxy, or the registrar.
    pub hop: Uri,
    /// The row of `ps_transports` to use; empty: as the URI says.
    pub transport: Option<String>,
}

/// Where a REGISTER is sent from, as the registrar is to see it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Via of the new request.
    pub via: String,
    /// Our Contact without user.
    pub contact: Uri,
    /// A Call-ID for a registration that has none yet.
    pub call_id: String,
    /// A tag for the same.
    pub tag: String,
    /// User-Agent where the row has none.
    pub user_agent: String,
}

/// A registration whose state is another now.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// As it is now.
    pub status: Status,
    /// Before.
    pub from: State,
}

/// The registrations of one shard.
#[derive(Debug)]
pub struct Registrations {
    index: usize,
    count: usize,
    table: Arc<RegistrationTable>,
    lines: Arc<Lines>,
    seen: Option<(u64, u64)>,
    keepers: BTreeMap<Arc<str>, Keeper>,
    changes: Vec<StateChange>,
    stopping: bool,
}

impl Registrations {
    /// Those of shard `index` of `count`. How they stand is told to `table`, whose calls are whose to `lines`.
    #[must_use]
    pub fn new(
        index: usize,
        count: usize,
        table: Arc<RegistrationTable>,
        lines: Arc<Lines>,
    ) -> Self {
        Self {
            index,
            count: count.max(1),
            table,
            lines,
            seen: None,
            keepers: BTreeMap::new(),
            changes: Vec::new(),
            stopping: false,
        }
    }

    /// Whether the row of this name belongs to this shard.
    #[must_use]
    pub fn owns(&self, id: &str) -> bool {
        owner(id, self.count) == self.index
    }

    /// Takes over rows that came, changed or went since. Cheap when nothing did.
    fn renew(&mut self, snapshot: &Snapshot, now: Instant) {
        let seen = (
            snapshot.version_of(Table::Registrations),
            snapshot.version_of(Table::Auths),
        );
        if self.stopping || self.seen == Some(seen) {
            return;
        }
        let first = self.seen.replace(seen).is_none();
        let mine: BTreeMap<&str, &Row> = snapshot
            .registrations
            .iter()
            .filter(|row| owner(&row.id, self.count) == self.index)
            .map(|row| (row.id.as_str(), row))
            .collect();
        for (id, row) in &mine {
            match self.keepers.get_mut(*id) {
                Some(keeper) => keeper.row_is(row, snapshot, now),
                None => {
                    // Rows that are there at the start are spread, so that a provider is not met by all of them at once.
                    let within = if first {
                        u64::from(row.max_random_initial_delay) * 1000
                    } else {
                        0
                    };
                    let delay = Duration::from_millis(crate::random_u64() % (within + 1));
                    let keeper = Keeper::new((*row).clone(), snapshot, now + delay);
                    self.keepers.insert(Arc::from(*id), keeper);
                }
            }
        }
        for (id, keeper) in &mut self.keepers {
            if !mine.contains_key(&**id) {
                keeper.leave(now);
            }
        }
        self.settle();
    }

    /// What is to be sent now. Also gives up on attempts that nothing was heard of.
    pub fn due(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<Attempt> {
        self.renew(snapshot, now);
        let mut attempts = Vec::new();
        for (id, keeper) in &mut self.keepers {
            if attempts.len() == ATTEMPTS_MAX {
                break;
            }
            if let Some((attempt, hop)) = keeper.due(now) {
                attempts.push(Attempt {
                    ticket: Ticket {
                        id: Arc::clone(id),
                        attempt,
                    },
                    hop,
                    transport: keeper.row().transport.clone(),
                });
            }
        }
        self.settle();
        attempts
    }

    /// The keeper of an attempt that still counts.
    fn keeper(&mut self, ticket: &Ticket) -> Option<&mut Keeper> {
        self.keepers
            .get_mut(&ticket.id)
            .filter(|keeper| keeper.awaits(ticket.attempt))
    }

    /// The request of an attempt; `None` if it is not wanted any more. `connection` is the number of the connection it
    /// will use, 0 for none.
    pub fn request(
        &mut self,
        snapshot: &Snapshot,
        ticket: &Ticket,
        place: &Place,
        connection: u64,
    ) -> Option<Message> {
        let request = self.keeper(ticket)?.request(snapshot, place, connection);
        self.settle();
        Some(request)
    }

    /// The attempt goes on at another address of the server: it has as long again.
    pub fn goes_on(&mut self, ticket: &Ticket, now: Instant) {
        if let Some(keeper) = self.keeper(ticket) {
            keeper.goes_on(now);
        }
    }

    /// A response came. Some: to be sent on the same way, with the same ticket.
    pub fn answered(
        &mut self,
        snapshot: &Snapshot,
        ticket: &Ticket,
        response: &Message,
        via: &str,
        now: Instant,
    ) -> Option<Message> {
        let again = self.keeper(ticket)?.answered(snapshot, response, via, now);
        self.settle();
        again
    }

    /// Nothing came in time (408), or the request could not be sent (503).
    pub fn failed(&mut self, ticket: &Ticket, status: u16, reason: &str, now: Instant) {
        if let Some(keeper) = self.keeper(ticket) {
            keeper.failed(status, reason, None, now);
        }
        self.settle();
    }

    /// A connection is gone: who registered over it cannot be called any more, and registers anew.
    pub fn connection_lost(&mut self, connection: u64, now: Instant) {
        if connection != 0 {
            for keeper in self.keepers.values_mut() {
                keeper.connection_lost(connection, now);
            }
        }
        self.settle();
    }

    /// Registers now, whatever the plan was; also what was given up. False: no such row here.
    pub fn register_now(&mut self, id: &str, now: Instant) -> bool {
        let found = self
            .keepers
            .get_mut(id)
            .map(|keeper| keeper.register_now(now));
        self.settle();
        found.is_some()
    }

    /// Takes the registration back until [`Self::register_now`], or until its row changes. False: no such row here.
    pub fn unregister(&mut self, id: &str, now: Instant) -> bool {
        let found = self
            .keepers
            .get_mut(id)
            .map(|keeper| keeper.unregister(now));
        self.settle();
        found.is_some()
    }

    /// The exchange ends: takes every registration back.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        for keeper in self.keepers.values_mut() {
            keeper.leave(now);
        }
        self.settle();
    }

    /// True while a registrar has not answered that we left.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.stopping && !self.keepers.is_empty()
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<StateChange> {
        std::mem::take(&mut self.changes)
    }

    /// When [`Self::due`] has something to do, as far as is known; call it once a second besides, to notice new rows.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.keepers.values().filter_map(Keeper::next_timeout).min()
    }

    /// Tells others how things stand, and forgets what is gone.
    fn settle(&mut self) {
        let (table, lines, changes) = (&self.table, &self.lines, &mut self.changes);
        let shard = self.index;
        self.keepers.retain(|id, keeper| {
            if keeper.take_touched() {
                let status = keeper.status(id, shard);
                match keeper.line() {
                    Some((token, endpoint)) => lines.set(id, token, endpoint),
                    None => lines.remove(id),
                }
                let from = table.set(&status).unwrap_or(State::Unregistered);
                if from != status.state {
                    changes.push(StateChange { status, from });
                }
            }
            let gone = keeper.is_gone();
            if gone {
                table.remove(id);
                lines.remove(id);
            }
            !gone
        });
    }
}

/// The shard that a row of this name belongs to.
#[must_use]
pub fn owner(id: &str, count: usize) -> usize {
    let hash = FxBuildHasher.hash_one(id) >> 32;
    usize::try_from(hash).unwrap_or(0) % count.max(1)
}

/// What keeps rows from registering, or from doing what they say: which row, which field, what would be right.
#[must_use]
pub fn problems(snapshot: &Snapshot) -> Vec<String> {
    let mut problems = Vec::new();
    for row in snapshot.registrations.iter() {
        let mut problem = |what: String| {
            problems.push(format!("ps_registrations {}: {what}", row.id));
        };
        let proxy = row.outbound_proxy.as_deref();
        for (field, value) in [
            ("server_uri", Some(row.server_uri.as_str())),
            ("client_uri", Some(row.client_uri.as_str())),
            ("outbound_proxy", proxy),
        ] {
            if value.is_some_and(|value| keeper::read(value).is_none()) {
                problem(format!(
                    "{field}: \"{}\" is no SIP URI, for example sip:user@provider.example",
                    value.unwrap_or_default()
                ));
            }
        }
        let hop = proxy.unwrap_or(&row.server_uri);
        if let Some(hop) = keeper::read(hop)
            && let Some(why) = unspoken(snapshot, &hop.uri, row.transport.as_deref(), false)
        {
            problem(why.to_owned());
        }
        for auth in &row.outbound_auth {
            if !snapshot.auths.contains_key(auth.trim()) {
                problem(format!("outbound_auth: \"{auth}\" is not in ps_auths"));
            }
        }
        let endpoint = row.endpoint.as_deref().unwrap_or_default();
        if row.line && !snapshot.endpoints.contains_key(endpoint) {
            problem(format!(
                "line: the endpoint \"{endpoint}\" is not in ps_endpoints, so that no call comes in by it"
            ));
        }
    }
    problems
}

/// What keeps a hop from being asked: `name` is the transport of the row, `open` whether it is open here, whatever the
/// tables say.
#[must_use]
pub fn unspoken(
    snapshot: &Snapshot,
    hop: &Uri,
    name: Option<&str>,
    open: bool,
) -> Option<&'static str> {
    let name = name.filter(|name| !name.is_empty());
    match (hop.wanted_transport(), name) {
        (Some(None), _) => Some("the transport that the URI asks for is not spoken here"),
        (None, Some(name)) if !open && transport_named(snapshot, name).is_none() => {
            Some("transport: no such row in ps_transports")
        }
        _ => None,
    }
}

/// The transport that the row of `ps_transports` of this name speaks.
#[must_use]
pub fn transport_named(snapshot: &Snapshot, name: &str) -> Option<Transport> {
    let row = snapshot.transports.iter().find(|row| row.id == name)?;
    Transport::parse(row.protocol.as_str())
}

#[cfg(test)]
mod tests;
