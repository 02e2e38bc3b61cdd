//! Queues: callers wait, members take them.
//!
//! What lives here: the table of all queues ([`table`], no I/O, no clock), what they are told to do, their members and the
//! rules of penalties. What never does: prompts, digits and dialling (the application `Queue`). One table serves all shards:
//! signalling threads ask it for a moment; who waits is woken by its queue. A member is rung by an ordinary dial of the
//! caller's own shard.

mod member;
mod rules;
mod settings;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use strowger_store::{
    QUEUE_LOG_DATA, QueueLogRow, Snapshot, StaticRow, Table as StoreTable, Write,
};

pub use member::Member;
pub use rules::Penalties;
pub use settings::{AutoPause, HoldTime, Position, Prompts, Settings, Strategy};
pub use table::{
    Arrival, CALLERS_MAX, Candidate, Counts, Entry, EntryId, MEMBERS_MAX, QueueInfo, Refused,
    States, Statistics, Table,
};

use crate::device::DeviceState;
use crate::shared::Shared;

/// Family of dynamic members that are kept over restarts.
const KEPT: &str = "Queue/PersistentMembers";

/// The queues of all shards.
pub struct Queues {
    table: Mutex<Table>,
    /// What the tables were when [`Table`] was made of them, and one more.
    version: AtomicU64,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table::seeded(crate::random_u64())),
            version: AtomicU64::new(0),
        }
    }
}

/// Lines of one file, by section.
fn sections<'s>(rows: &'s [StaticRow], file: &str) -> FxHashMap<&'s str, Vec<(&'s str, &'s str)>> {
    let mut sections: FxHashMap<&str, Vec<(&str, &str)>> = FxHashMap::default();
    for row in rows.iter().filter(|row| row.filename == file) {
        sections
            .entry(&row.category)
            .or_default()
            .push((&row.var_name, row.var_val.trim_start_matches('>').trim()));
    }
    sections
}

impl Queues {
    /// Asks or changes the table, after it was brought up to date with the database.
    pub fn with<R>(&self, shared: &Shared, ask: impl FnOnce(&mut Table) -> R) -> R {
        let snapshot = shared.snapshot();
        let version = [
            StoreTable::Queues,
            StoreTable::QueueMembers,
            StoreTable::QueueRules,
            StoreTable::StaticExtensions,
        ]
        .iter()
        .fold(1, |sum: u64, table| sum + snapshot.version_of(*table));
        let mut table = self.table.lock();
        // Under the lock, so that nobody asks a table that another is still filling.
        let before = self.version.swap(version, Ordering::AcqRel);
        if before != version {
            update(&mut table, &snapshot, shared, before == 0);
        }
        ask(&mut table)
    }
}

/// Makes the table what the database says.
fn update(table: &mut Table, snapshot: &Snapshot, shared: &Shared, first: bool) {
    let files = sections(&snapshot.statics, "queues.conf");
    let general = |option: &str| {
        let lines = files.get("general").map_or(&[][..], Vec::as_slice);
        let found = lines
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(option));
        found.and_then(|(_, text)| settings::yes(text))
    };
    table.shared_last_call = general("shared_lastcall").unwrap_or(false);
    let mut known: FxHashSet<String> = FxHashSet::default();
    let mut problems = Vec::new();
    for (name, lines) in files.iter().filter(|(name, _)| **name != "general") {
        let (settings, wrong) = Settings::read(name, lines.iter().copied());
        problems.extend(wrong);
        let members = lines
            .iter()
            .filter(|(option, _)| option.eq_ignore_ascii_case("member"))
            .filter_map(|(_, line)| Member::from_line(line));
        table.configure(name, settings, members.collect());
        known.insert((*name).to_owned());
    }
    let mut members: FxHashMap<&str, Vec<Member>> = FxHashMap::default();
    for row in &*snapshot.queue_members {
        let queue = members.entry(row.get("queue_name")).or_default();
        queue.push(Member::from_row(row));
    }
    for row in &*snapshot.queues {
        let name = row.get("name");
        let options = row.options.iter();
        let (settings, wrong) = Settings::read(
            name,
            options.map(|(name, text)| (name.as_str(), text.as_str())),
        );
        problems.extend(wrong);
        table.configure(name, settings, members.remove(name).unwrap_or_default());
        known.insert(name.to_owned());
    }
    table.retain(|name| known.contains(name));
    table.rules = rules(snapshot);
    for problem in problems {
        tracing::warn!("{problem}");
    }
    if first && general("persistentmembers").unwrap_or(true) {
        restore(table, shared);
    }
}

fn rules(snapshot: &Snapshot) -> FxHashMap<String, Vec<rules::Rule>> {
    let mut all: FxHashMap<String, Vec<rules::Rule>> = FxHashMap::default();
    for (name, lines) in sections(&snapshot.statics, "queuerules.conf") {
        let lines = lines
            .iter()
            .filter(|(option, _)| *option == "penaltychange");
        let read = lines.filter_map(|(_, line)| rules::Rule::from_line(line));
        all.entry(name.to_owned()).or_default().extend(read);
    }
    for row in &*snapshot.queue_rules {
        let rule = rules::Rule::read(
            row.get("time"),
            row.get("max_penalty"),
            row.get("min_penalty"),
            row.get("raise_penalty"),
        );
        all.entry(row.get("rule_name").to_owned())
            .or_default()
            .extend(rule);
    }
    all
}

/// Dynamic members of before the restart.
fn restore(table: &mut Table, shared: &Shared) {
    let names: Vec<String> = table.names().map(str::to_owned).collect();
    for name in names {
        let kept = shared.astdb.get(KEPT, &name).unwrap_or_default();
        for member in kept.split('|').filter_map(Member::from_kept) {
            table.add_member(&name, member);
        }
    }
}

/// What a change of members came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    NoSuchQueue,
    /// It is a member already, or is none.
    Not,
    /// It is a member by the tables.
    NotDynamic,
}

impl Shared {
    /// What devices do, for the table of queues. A queue is no device of a queue.
    pub fn member_state(&self, device: &str) -> DeviceState {
        if device
            .get(..6)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("queue:"))
        {
            return DeviceState::Unknown;
        }
        self.device_state(device)
    }

    /// Asks the table about queues; the closure is given what devices do.
    pub fn queue<R>(&self, ask: impl FnOnce(&mut Table, Instant, States<'_>) -> R) -> R {
        let states = |device: &str| self.member_state(device);
        self.queues
            .with(self, |table| ask(table, Instant::now(), &states))
    }

    /// The state of `Queue:name`: in use while somebody waits.
    pub(crate) fn queue_device_state(&self, name: &str) -> DeviceState {
        self.queues.with(self, |table| match table.info(name) {
            None => DeviceState::Invalid,
            Some(info) if info.entries.is_empty() => DeviceState::NotInUse,
            Some(_) => DeviceState::InUse,
        })
    }

    /// Writes a line of `queue_log`.
    pub fn queue_log(&self, callid: &str, queue: &str, agent: &str, event: &str, data: &[&str]) {
        let line = QueueLogRow {
            time: SystemTime::now(),
            callid: callid.to_owned(),
            queuename: queue.to_owned(),
            agent: if agent.is_empty() { "NONE" } else { agent }.to_owned(),
            event: event.to_owned(),
            data: std::array::from_fn::<_, QUEUE_LOG_DATA, _>(|at| {
                data.get(at)
                    .map(|part| (*part).to_owned())
                    .unwrap_or_default()
            }),
        };
        tracing::debug!(callid, queue, agent, event, ?data, "queue log");
        if let Some(writer) = self.writer() {
            writer.write(Write::QueueLog(Box::new(line)));
        }
    }

    /// Adds a dynamic member to a queue.
    pub fn add_queue_member(&self, queue: &str, mut member: Member, callid: &str) -> Changed {
        member.dynamic = true;
        let (name, paused) = (member.name.clone(), member.paused);
        let added = self.queues.with(self, |table| {
            let added = table.add_member(queue, member);
            self.keep(table, queue);
            added
        });
        match added {
            None => Changed::NoSuchQueue,
            Some(false) => Changed::Not,
            Some(true) => {
                let data = if paused { "PAUSED" } else { "" };
                self.queue_log(callid, queue, &name, "ADDMEMBER", &[data]);
                Changed::Done
            }
        }
    }

    /// Removes a dynamic member from a queue.
    pub fn remove_queue_member(&self, queue: &str, interface: &str, callid: &str) -> Changed {
        let removed = self.queues.with(self, |table| {
            let removed = table.remove_member(queue, interface);
            self.keep(table, queue);
            removed
        });
        match removed {
            Err(None) => Changed::NoSuchQueue,
            Err(Some(false)) => Changed::Not,
            Err(Some(true)) => Changed::NotDynamic,
            Ok(member) => {
                self.queue_log(callid, queue, &member.name, "REMOVEMEMBER", &[]);
                Changed::Done
            }
        }
    }

    /// Pauses a member of a queue, or of all (`None`), or lets it work again. False: it is nowhere a member.
    pub fn pause_queue_member(
        &self,
        queue: Option<&str>,
        interface: &str,
        paused: bool,
        reason: &str,
        callid: &str,
    ) -> bool {
        let flag = if paused { "1" } else { "0" };
        let columns = [("paused", flag), ("reason_paused", reason)];
        let changed = self.change_queue_member(queue, interface, &columns, |member| {
            member.paused = paused;
            reason.clone_into(&mut member.reason);
        });
        if queue.is_none() && !changed.is_empty() {
            let event = if paused { "PAUSEALL" } else { "UNPAUSEALL" };
            let name = changed
                .first()
                .map_or(interface, |(_, member)| &member.name);
            self.queue_log(callid, "NONE", name, event, &[]);
        }
        for (name, member) in &changed {
            let event = if paused { "PAUSE" } else { "UNPAUSE" };
            self.queue_log(callid, name, &member.name, event, &[reason]);
        }
        !changed.is_empty()
    }

    /// Changes a member in one queue, or in all (`None`): in the table, in the key-value database if it is dynamic, and in
    /// these columns of its row if it has one. What it is now, with the name of each queue.
    pub fn change_queue_member(
        &self,
        queue: Option<&str>,
        interface: &str,
        columns: &[(&'static str, &str)],
        change: impl Fn(&mut Member),
    ) -> Vec<(String, Member)> {
        let changed = self.queues.with(self, |table| {
            let changed = table.change_member(queue, interface, change);
            for (name, _) in changed.iter().filter(|(_, member)| member.dynamic) {
                self.keep(table, name);
            }
            changed
        });
        for (name, member) in &changed {
            if member.realtime.is_some()
                && let Some(writer) = self.writer()
            {
                writer.write(Write::Update {
                    table: "queue_members",
                    key: vec![
                        ("queue_name", name.clone()),
                        ("interface", member.interface.clone()),
                    ],
                    values: columns
                        .iter()
                        .map(|(column, text)| (*column, (*text).to_owned()))
                        .collect(),
                });
            }
            self.devices
                .touch(&format!("Queue:{name}_pause_{}", member.interface));
        }
        changed
    }

    /// Keeps the dynamic members of a queue over restarts.
    fn keep(&self, table: &Table, queue: &str) {
        let Some(info) = table.info(queue) else {
            return;
        };
        let dynamic = info.members.iter().filter(|member| member.dynamic);
        let kept: Vec<String> = dynamic.map(Member::kept).collect();
        if kept.is_empty() {
            self.astdb.del(KEPT, queue);
        } else if let Err(error) = self.astdb.put(KEPT, queue, &kept.join("|")) {
            tracing::warn!(queue, %error, "members of the queue will not be there after a restart");
        }
    }
}

/// Wakes those who wait when devices of members change. Runs on the control runtime until the exchange ends.
pub(crate) fn start(shared: &Arc<Shared>) {
    let mut changes = shared.devices.subscribe();
    let weak = Arc::downgrade(shared);
    shared.control.spawn(async move {
        use tokio::sync::broadcast::error::RecvError;
        loop {
            match changes.recv().await {
                Ok(change) => {
                    let Some(shared) = weak.upgrade() else {
                        return;
                    };
                    shared
                        .queues
                        .with(&shared, |table| table.device_changed(&change.device));
                }
                // Those who wait look by themselves every second.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
}

#[cfg(test)]
mod tests;
