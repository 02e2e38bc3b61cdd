//! Queues: callers wait, members take them.
//!
//! What lives here: the table of all queues ([`table`], no I/O, no clock), what they are told to do, their members and the
//! rules of penalties. What never does: prompts, digits and dialling (the application `Queue`). One table serves all shards:
//! signalling threads ask it for a moment; who waits is woken by its queue. A member is rung by an ordinary dial of the
//! caller's own shard.

mod member;
mod rules;
mod settings;
mod statistics;
mod table;
mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
pub use strowger_store::QUEUE_LOG_DATA;
use strowger_store::{Key, QueueLogRow, Snapshot, StaticRow, Table as StoreTable, Write};

pub use member::Member;
pub use rules::Penalties;
pub use settings::{AutoPause, HoldTime, Position, Prompts, Settings, Strategy};
pub use statistics::{Counts, Statistics};
pub use table::{
    Arrival, CALLERS_MAX, Candidate, Entry, EntryId, MEMBERS_MAX, QueueInfo, Refused, States, Table,
};
pub use told::{moment, status_number};

use crate::device::DeviceState;
use crate::shared::Shared;

/// Family of dynamic members that are kept over restarts.
const KEPT: &str = "Queue/PersistentMembers";
/// What stands between queue and member in the device of a member's pauses.
const PAUSE_OF: &str = "_pause_";

/// The queues of all shards. One task makes of the tables what they say; whoever asks meanwhile is told what was before.
pub struct Queues {
    table: Mutex<Table>,
    /// What the tables were when `table` was made of them, and one more.
    version: AtomicU64,
    /// What was wrong with them then.
    problems: Mutex<FxHashSet<String>>,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table::seeded(crate::random_u64())),
            version: AtomicU64::new(0),
            problems: Mutex::default(),
        }
    }
}

/// A number that is another when a table that queues are made of is.
fn version_of(snapshot: &Snapshot) -> u64 {
    let tables = [
        StoreTable::Queues,
        StoreTable::QueueMembers,
        StoreTable::QueueRules,
        StoreTable::StaticExtensions,
    ];
    tables
        .iter()
        .fold(1, |sum: u64, table| sum + snapshot.version_of(*table))
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
    /// Asks or changes the table.
    pub fn with<R>(&self, ask: impl FnOnce(&mut Table) -> R) -> R {
        ask(&mut self.table.lock())
    }

    /// Are the queues what this snapshot says?
    #[must_use]
    pub fn follow(&self, snapshot: &Snapshot) -> bool {
        self.version.load(Ordering::Acquire) == version_of(snapshot)
    }

    /// Makes the queues what the tables say. Reading them takes time with many members, so it is done beside the lock, and
    /// each queue is put in place by itself. Only one may do this at a time.
    fn update(&self, shared: &Shared) {
        let snapshot = shared.snapshot();
        if self.follow(&snapshot) {
            return;
        }
        let wanted = Wanted::read(&snapshot);
        self.with(|table| {
            table.shared_last_call = wanted.shared_last_call;
            table.rules = rules(&snapshot);
            table.retain(|name| wanted.queues.contains_key(name));
        });
        let now = crate::clock::now();
        for (name, (settings, mut members)) in wanted.queues {
            for member in &mut members {
                member.logged_in = Some(now);
            }
            self.with(|table| {
                let is_new = table.configure(name, settings, members);
                if is_new && wanted.persistent {
                    restore(table, shared, name);
                }
            });
        }
        let mut known = self.problems.lock();
        for problem in wanted.problems.difference(&known) {
            tracing::warn!("{problem}");
        }
        *known = wanted.problems;
        self.version.store(version_of(&snapshot), Ordering::Release);
    }
}

/// What the tables say of queues.
struct Wanted<'s> {
    queues: FxHashMap<&'s str, (Settings, Vec<Member>)>,
    shared_last_call: bool,
    /// Dynamic members are kept over restarts.
    persistent: bool,
    /// What could not be read.
    problems: FxHashSet<String>,
}

impl<'s> Wanted<'s> {
    fn read(snapshot: &'s Snapshot) -> Self {
        let files = sections(&snapshot.statics, "queues.conf");
        let general = |option: &str| {
            let lines = files.get("general").map_or(&[][..], Vec::as_slice);
            let found = lines
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(option));
            found.and_then(|(_, text)| settings::yes(text))
        };
        let mut wanted = Self {
            queues: FxHashMap::default(),
            shared_last_call: general("shared_lastcall").unwrap_or(false),
            persistent: general("persistentmembers").unwrap_or(true),
            problems: FxHashSet::default(),
        };
        for (name, lines) in files.iter().filter(|(name, _)| **name != "general") {
            let (settings, wrong) = Settings::read(name, lines.iter().copied());
            wanted.problems.extend(wrong);
            let members = lines
                .iter()
                .filter(|(option, _)| option.eq_ignore_ascii_case("member"))
                .filter_map(|(_, line)| Member::from_line(line));
            wanted.queues.insert(name, (settings, members.collect()));
        }
        for row in &*snapshot.queues {
            let name = row.get("name");
            let options = row.options.iter();
            let (settings, wrong) = Settings::read(
                name,
                options.map(|(name, text)| (name.as_str(), text.as_str())),
            );
            wanted.problems.extend(wrong);
            // A queue that is in a file as well keeps the members it has there.
            wanted.queues.entry(name).or_default().0 = settings;
        }
        for row in &*snapshot.queue_members {
            if let Some((_, members)) = wanted.queues.get_mut(row.get("queue_name")) {
                members.push(Member::from_row(row));
            }
        }
        wanted
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
    for rules in all.values_mut() {
        rules::sort(rules);
    }
    all
}

/// Dynamic members of before the restart, or of before the queue was gone.
fn restore(table: &mut Table, shared: &Shared, name: &str) {
    let kept = shared.astdb.get(KEPT, name).unwrap_or_default();
    for mut member in kept.split('|').filter_map(Member::from_kept) {
        member.logged_in = Some(crate::clock::now());
        table.add_member(name, member);
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
    /// Asks the table about queues; the closure is given what devices do. A queue is no device of a queue: to ask for its
    /// state would ask this table.
    pub fn queue<R>(&self, ask: impl FnOnce(&mut Table, Instant, States<'_>) -> R) -> R {
        let states = |device: &str| self.plain_device_state(device);
        self.queues
            .with(|table| ask(table, crate::clock::now(), &states))
    }

    /// The state of `Queue:name`, in use while somebody waits, and of `Queue:name_pause_interface`, in use while that member
    /// is paused.
    pub(crate) fn queue_device_state(&self, name: &str) -> DeviceState {
        let in_use = self.queues.with(|table| {
            if let Some(waiting) = table.waiting(name) {
                return Some(waiting > 0);
            }
            let (queue, interface) = name.split_once(PAUSE_OF)?;
            Some(table.member(queue, interface)?.paused)
        });
        match in_use {
            None => DeviceState::Invalid,
            Some(true) => DeviceState::InUse,
            Some(false) => DeviceState::NotInUse,
        }
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
        member.logged_in = Some(crate::clock::now());
        if member.paused {
            member.last_pause = member.logged_in;
        }
        let (name, paused) = (member.name.clone(), member.paused);
        let told = member.clone();
        let added = self.queues.with(|table| {
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
                self.tell_queue_member("QueueMemberAdded", queue, &told);
                Changed::Done
            }
        }
    }

    /// Removes a dynamic member from a queue.
    pub fn remove_queue_member(&self, queue: &str, interface: &str, callid: &str) -> Changed {
        let removed = self.queues.with(|table| {
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
                self.tell_queue_member("QueueMemberRemoved", queue, &member);
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
    ) -> bool {
        let flag = if paused { "1" } else { "0" };
        let columns = [("paused", flag), ("reason_paused", reason)];
        let changed = self.change_queue_member(queue, interface, &columns, |member| {
            member.paused = paused;
            if paused {
                member.last_pause = Some(crate::clock::now());
            }
            reason.clone_into(&mut member.reason);
        });
        if queue.is_none() && !changed.is_empty() {
            let event = if paused { "PAUSEALL" } else { "UNPAUSEALL" };
            let name = changed
                .first()
                .map_or(interface, |(_, member)| &member.name);
            self.queue_log("NONE", "NONE", name, event, &[]);
        }
        for (name, member) in &changed {
            let event = if paused { "PAUSE" } else { "UNPAUSE" };
            self.queue_log("NONE", name, &member.name, event, &[reason]);
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
        let changed = self.queues.with(|table| {
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
                        Key::new("queue_name", name),
                        Key::new("interface", &member.interface),
                    ],
                    values: columns
                        .iter()
                        .map(|(column, text)| (*column, (*text).to_owned()))
                        .collect(),
                });
            }
            self.devices
                .touch(&format!("Queue:{name}{PAUSE_OF}{}", member.interface));
            let event = match columns.first() {
                Some(("paused", _)) => "QueueMemberPause",
                Some(("penalty", _)) => "QueueMemberPenalty",
                Some(("ringinuse", _)) => "QueueMemberRinginuse",
                _ => "QueueMemberStatus",
            };
            self.tell_queue_member(event, name, member);
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

/// Fills the queues, and runs on the control runtime until the exchange ends: makes the queues what changed tables say, and
/// wakes those who wait when devices of members change.
pub(crate) fn start(shared: &Arc<Shared>) {
    let mut versions = shared.realtime.subscribe();
    shared.queues.update(shared);
    let weak = Arc::downgrade(shared);
    shared.control.spawn(async move {
        while versions.changed().await.is_ok() {
            let Some(shared) = weak.upgrade() else {
                return;
            };
            // Many members take a while: other tasks of this thread go on meanwhile.
            let update = move || shared.queues.update(&shared);
            if let Err(error) = tokio::task::spawn_blocking(update).await {
                tracing::error!(%error, "queues do not follow their tables");
            }
        }
    });
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
                        .with(|table| table.device_changed(&change.device));
                    shared.tell_queue_device(&change.device);
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
