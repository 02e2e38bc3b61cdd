//! All queues: who waits in them, whose turn it is, and whom of the members to ring. No I/O and no clock: what devices do and
//! what time it is comes with each question.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;

use super::member::Member;
use super::rules::{self, Penalties, Rule};
use super::settings::{AutoPause, Settings, Strategy};
use super::statistics::{Counts, Statistics, average};
use crate::device::{DeviceState, device_key};

/// Callers of one queue at most, whatever its `maxlen`.
pub const CALLERS_MAX: usize = 10_000;
/// Members of one queue at most.
pub const MEMBERS_MAX: usize = 10_000;
/// Members rung at once at most: as many as one dial rings.
const RUNG_MAX: usize = 256;
/// What one penalty outweighs.
const PENALTY: u64 = 1 << 40;

/// A caller in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId(u64);

/// Who comes.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    pub channel: String,
    pub uniqueid: String,
    pub caller_number: String,
    pub caller_name: String,
    pub connected_number: String,
    pub connected_name: String,
    /// Higher ones go before lower ones.
    pub priority: i64,
    /// Place among those of his priority, from 1; 0 is the end.
    pub position: usize,
    pub penalties: Penalties,
    /// Instead of the queue's own.
    pub rule: String,
}

/// Why somebody does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NoSuchQueue,
    Full,
    Empty,
}

/// Somebody who waits.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: EntryId,
    pub arrival: Arrival,
    pub joined: Instant,
    /// Where he began.
    pub original_position: usize,
    /// Members are rung for him.
    pending: bool,
    /// Where a linear search goes on.
    next: usize,
    /// Somebody sends him back to the dialplan, and says why.
    withdrawn: Option<String>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) settings: Arc<Settings>,
    pub(super) members: Vec<Member>,
    pub(super) entries: Vec<Entry>,
    statistics: Statistics,
    /// The member that was rung last.
    last_rung: usize,
    wake: Arc<Notify>,
}

impl Queue {
    fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            members: Vec::new(),
            entries: Vec::new(),
            statistics: Statistics::default(),
            last_rung: usize::MAX,
            wake: Arc::default(),
        }
    }

    pub(super) fn member(&self, interface: &str) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| member.interface == interface)
    }

    pub(super) fn member_mut(&mut self, interface: &str) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.interface == interface)
    }

    fn position(&self, id: EntryId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == id)
    }
}

/// A queue as somebody sees it from outside.
#[derive(Clone, Debug)]
pub struct QueueInfo {
    pub name: String,
    pub settings: Arc<Settings>,
    pub members: Vec<Member>,
    pub entries: Vec<Entry>,
    pub statistics: Statistics,
}

/// Whom to ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub interface: String,
    pub name: String,
}

/// What devices do at this moment.
pub type States<'s> = &'s dyn Fn(&str) -> DeviceState;

/// All queues.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) rules: FxHashMap<String, Vec<Rule>>,
    /// Calls that ring each device now.
    rung: FxHashMap<String, u32>,
    /// Last calls count in all queues of a member.
    pub(super) shared_last_call: bool,
    next_id: u64,
    random: u64,
}

impl Table {
    /// Are there rules of penalties of this name?
    pub fn has_rule(&self, name: &str) -> bool {
        self.rules.contains_key(name)
    }

    /// An empty table whose choices by chance follow `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            random: seed | 1,
            ..Self::default()
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        // xorshift64*: chance enough for whose telephone rings.
        self.random |= 1;
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below.max(1)
    }

    /// Makes a queue, or changes what it is told to do. Its members are `members` and those that came by themselves. True:
    /// there was no such queue.
    pub fn configure(&mut self, name: &str, settings: Settings, members: Vec<Member>) -> bool {
        let is_new = !self.queues.contains_key(name);
        let queue = self
            .queues
            .entry(name.to_owned())
            .or_insert_with(|| Queue::new(Settings::default()));
        if *queue.settings != settings {
            queue.settings = Arc::new(settings);
        }
        let before = std::mem::take(&mut queue.members);
        let known: FxHashMap<&str, &Member> = before
            .iter()
            .map(|member| (member.interface.as_str(), member))
            .collect();
        let mut taken: FxHashSet<String> = FxHashSet::default();
        for mut member in members {
            if queue.members.len() < MEMBERS_MAX && taken.insert(member.interface.clone()) {
                if let Some(known) = known.get(member.interface.as_str()) {
                    member.continues(known);
                }
                queue.members.push(member);
            }
        }
        for member in before.into_iter().filter(|member| member.dynamic) {
            if queue.members.len() < MEMBERS_MAX && taken.insert(member.interface.clone()) {
                queue.members.push(member);
            }
        }
        queue.wake.notify_waiters();
        is_new
    }

    /// Forgets the queues for which `wanted` says no; callers who wait in one are let out.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.queues.retain(|name, queue| {
            let kept = wanted(name);
            if !kept {
                queue.wake.notify_waiters();
            }
            kept
        });
    }

    /// Is there such a queue?
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.queues.contains_key(name)
    }

    /// The names of all queues.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    /// Everything about a queue.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<QueueInfo> {
        let queue = self.queues.get(name)?;
        Some(QueueInfo {
            name: name.to_owned(),
            settings: Arc::clone(&queue.settings),
            members: queue.members.clone(),
            entries: queue.entries.clone(),
            statistics: queue.statistics,
        })
    }

    /// How many callers wait; `None`: there is no such queue.
    #[must_use]
    pub fn waiting(&self, name: &str) -> Option<usize> {
        Some(self.queues.get(name)?.entries.len())
    }

    /// What happened in a queue.
    #[must_use]
    pub fn statistics(&self, name: &str) -> Option<Statistics> {
        Some(self.queues.get(name)?.statistics)
    }

    /// How many members a queue has, of whatever kind.
    #[must_use]
    pub fn members(&self, name: &str) -> usize {
        self.queues.get(name).map_or(0, |queue| queue.members.len())
    }

    /// A member of a queue.
    #[must_use]
    pub fn member(&self, name: &str, interface: &str) -> Option<&Member> {
        self.queues.get(name)?.member(interface)
    }

    /// What a queue is told to do, and what wakes those who wait in it.
    #[must_use]
    pub fn settings(&self, name: &str) -> Option<(Arc<Settings>, Arc<Notify>)> {
        let queue = self.queues.get(name)?;
        Some((Arc::clone(&queue.settings), Arc::clone(&queue.wake)))
    }

    /// Wakes all who wait in queues that have a member with this device.
    pub fn device_changed(&self, device: &str) {
        let device = device_key(device);
        for queue in self.queues.values() {
            let watches = |member: &Member| member.watched == device;
            if !queue.entries.is_empty() && queue.members.iter().any(watches) {
                queue.wake.notify_waiters();
            }
        }
    }

    fn penalties(&self, queue: &Queue, entry: &Arrival, waited: Duration) -> Penalties {
        let rule = match entry.rule.as_str() {
            "" => queue.settings.default_rule.as_str(),
            rule => rule,
        };
        let rules = self.rules.get(rule).map_or(&[][..], Vec::as_slice);
        rules::penalties(rules, entry.penalties, waited)
    }

    /// Is nobody there who could take a call, now or later, as `conditions` count?
    fn is_empty(
        &self,
        queue: &Queue,
        joining: bool,
        penalties: Penalties,
        now: Instant,
        states: States<'_>,
    ) -> bool {
        let conditions = if joining {
            queue.settings.join_empty
        } else {
            queue.settings.leave_when_empty
        };
        if conditions.is_never() {
            return false;
        }
        !queue.members.iter().any(|member| {
            conditions.counts(
                states(&member.state_interface),
                member.paused,
                member.wraps_up(queue.settings.wrapup, now),
                penalties.of(member.penalty).is_none(),
            )
        })
    }

    /// Somebody comes.
    ///
    /// # Errors
    /// There is no such queue, it is full, or it is empty and may not be joined then.
    pub fn join(
        &mut self,
        name: &str,
        arrival: Arrival,
        now: Instant,
        states: States<'_>,
    ) -> Result<EntryId, Refused> {
        let queue = self.queues.get(name).ok_or(Refused::NoSuchQueue)?;
        let penalties = self.penalties(queue, &arrival, Duration::ZERO);
        if self.is_empty(queue, true, penalties, now, states) {
            return Err(Refused::Empty);
        }
        let max = match queue.settings.max_len {
            0 => CALLERS_MAX,
            max => max.min(CALLERS_MAX),
        };
        if queue.entries.len() >= max {
            return Err(Refused::Full);
        }
        self.next_id += 1;
        let id = EntryId(self.next_id);
        let queue = self.queues.get_mut(name).ok_or(Refused::NoSuchQueue)?;
        let entries = &queue.entries;
        let before = entries.partition_point(|e| e.arrival.priority > arrival.priority);
        let behind = entries.partition_point(|e| e.arrival.priority >= arrival.priority);
        let at = match arrival.position {
            0 => behind,
            position => (position - 1).clamp(before, behind),
        };
        let entry = Entry {
            id,
            arrival,
            joined: now,
            original_position: at + 1,
            pending: false,
            next: 0,
            withdrawn: None,
        };
        queue.entries.insert(at, entry);
        Ok(id)
    }

    /// Somebody is no longer there.
    pub fn leave(&mut self, name: &str, id: EntryId) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.entries.retain(|entry| entry.id != id);
            queue.wake.notify_waiters();
        }
    }

    /// Where somebody is, from 1; `None`: not in the queue, or the queue is gone.
    #[must_use]
    pub fn position(&self, name: &str, id: EntryId) -> Option<usize> {
        Some(self.queues.get(name)?.position(id)? + 1)
    }

    /// Why somebody was sent back to the dialplan, if he was.
    #[must_use]
    pub fn withdrawn(&self, name: &str, id: EntryId) -> Option<String> {
        let queue = self.queues.get(name)?;
        queue.entries.get(queue.position(id)?)?.withdrawn.clone()
    }

    /// Sends a caller back to the dialplan; false if he does not wait there.
    pub fn withdraw(&mut self, name: &str, channel: &str, info: &str) -> bool {
        let Some(queue) = self.queues.get_mut(name) else {
            return false;
        };
        let found = queue
            .entries
            .iter_mut()
            .find(|entry| entry.arrival.channel == channel);
        match found {
            Some(entry) => entry.withdrawn = Some(info.to_owned()),
            None => return false,
        }
        queue.wake.notify_waiters();
        true
    }

    /// Gives a caller another priority; he goes behind those who have it. False if he does not wait there.
    pub fn set_priority(&mut self, name: &str, channel: &str, priority: i64) -> bool {
        let Some(queue) = self.queues.get_mut(name) else {
            return false;
        };
        let entries = &mut queue.entries;
        let Some(at) = entries.iter().position(|e| e.arrival.channel == channel) else {
            return false;
        };
        let mut entry = entries.remove(at);
        entry.arrival.priority = priority;
        let behind = entries.partition_point(|e| e.arrival.priority >= priority);
        entries.insert(behind, entry);
        queue.wake.notify_waiters();
        true
    }

    /// Has everybody left whom somebody could wait for?
    #[must_use]
    pub fn should_leave(&self, name: &str, id: EntryId, now: Instant, states: States<'_>) -> bool {
        let Some(queue) = self.queues.get(name) else {
            return false;
        };
        let Some(entry) = queue.position(id).and_then(|at| queue.entries.get(at)) else {
            return false;
        };
        let waited = now.saturating_duration_since(entry.joined);
        let penalties = self.penalties(queue, &entry.arrival, waited);
        self.is_empty(queue, false, penalties, now, states)
    }

    /// Can a member be rung now?
    fn is_free(&self, queue: &Queue, member: &Member, now: Instant, states: States<'_>) -> bool {
        let ring_in_use = member.ring_in_use.unwrap_or(queue.settings.ring_in_use);
        let fits = match states(&member.state_interface) {
            DeviceState::NotInUse | DeviceState::Unknown => true,
            DeviceState::Invalid | DeviceState::Unavailable => false,
            _ => ring_in_use,
        };
        let engaged = member.talking > 0 || self.rung.contains_key(&member.dialled);
        fits && !member.paused
            && (ring_in_use || !engaged)
            && !member.wraps_up(queue.settings.wrapup, now)
    }

    /// How many members can be rung now for different callers, counted up to `enough`.
    fn free(&self, queue: &Queue, enough: usize, now: Instant, states: States<'_>) -> usize {
        let one = !queue.settings.autofill || queue.settings.strategy == Strategy::RingAll;
        let members = queue.members.iter();
        members
            .filter(|member| self.is_free(queue, member, now, states))
            .take(if one { enough.min(1) } else { enough })
            .count()
    }

    /// Members that queues of more weight want: those of queues where as many wait as could be rung.
    fn wanted_elsewhere(
        &self,
        name: &str,
        weight: i64,
        now: Instant,
        states: States<'_>,
    ) -> FxHashSet<&str> {
        let mut wanted = FxHashSet::default();
        for (other, queue) in &self.queues {
            if other == name || queue.settings.weight <= weight {
                continue;
            }
            let waiting = queue.entries.iter().filter(|entry| !entry.pending).count();
            if waiting > 0 && waiting >= self.free(queue, waiting + 1, now, states) {
                let members = queue.members.iter().filter(|member| !member.paused);
                wanted.extend(members.map(|member| member.interface.as_str()));
            }
        }
        wanted
    }

    /// Is it somebody's turn: are there more free members than callers before him who are not served yet?
    #[must_use]
    pub fn is_turn(&self, name: &str, id: EntryId, now: Instant, states: States<'_>) -> bool {
        let Some(queue) = self.queues.get(name) else {
            return false;
        };
        let before = queue.entries.iter().take_while(|entry| entry.id != id);
        let before = before.filter(|entry| !entry.pending).count();
        // To ask all devices for each who waits at the end would cost a long queue most.
        before < queue.members.len() && before < self.free(queue, before + 1, now, states)
    }

    /// Members to ring for somebody, all at once, and not those that were `tried`. They count as rung until
    /// [`Self::rang`]. None: nobody is free.
    pub fn choose(
        &mut self,
        name: &str,
        id: EntryId,
        tried: &[String],
        now: Instant,
        states: States<'_>,
    ) -> Vec<Candidate> {
        let Some(queue) = self.queues.get(name) else {
            return Vec::new();
        };
        let Some(entry) = queue.position(id).and_then(|at| queue.entries.get(at)) else {
            return Vec::new();
        };
        let settings = Arc::clone(&queue.settings);
        let penalties = if queue.members.len() > settings.penalty_members_limit {
            let waited = now.saturating_duration_since(entry.joined);
            Some(self.penalties(queue, &entry.arrival, waited))
        } else {
            None
        };
        let (next, last, count) = (entry.next, queue.last_rung, queue.members.len());
        let wanted = self.wanted_elsewhere(name, settings.weight, now, states);
        let mut possible: Vec<(usize, u64, u64, Option<Instant>)> = Vec::new();
        for (index, member) in queue.members.iter().enumerate() {
            let penalty = match penalties {
                Some(penalties) => penalties.of(member.penalty),
                None => Some(0),
            };
            let Some(penalty) = penalty else {
                continue;
            };
            if !tried.contains(&member.interface)
                && self.is_free(queue, member, now, states)
                && !wanted.contains(member.interface.as_str())
            {
                possible.push((index, penalty.into(), member.calls, member.last_call));
            }
        }
        let mut rated: Vec<(u64, usize)> = Vec::with_capacity(possible.len());
        for (index, penalty, calls, last_call) in possible {
            let behind = |first: usize| ((index + count - first % count) % count) as u64;
            let metric = match settings.strategy {
                Strategy::RingAll => 0,
                Strategy::LeastRecent => last_call.map_or(0, |at| {
                    let ago = now.saturating_duration_since(at).as_millis();
                    (PENALTY - 1).saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
                }),
                Strategy::FewestCalls => calls.min(PENALTY - 1),
                Strategy::Random => self.random(1000),
                Strategy::WeightedRandom => self.random((1 + penalty) * 1000),
                Strategy::RrMemory | Strategy::RrOrdered => {
                    behind(last.checked_add(1).unwrap_or(0))
                }
                Strategy::Linear => behind(next),
            };
            let outweighs = if settings.strategy == Strategy::WeightedRandom {
                0
            } else {
                penalty.saturating_mul(PENALTY)
            };
            rated.push((outweighs.saturating_add(metric), index));
        }
        let Some(&(best, first)) = rated.iter().min() else {
            return Vec::new();
        };
        let chosen: Vec<usize> = if settings.strategy == Strategy::RingAll {
            let best = rated.iter().filter(|(metric, _)| *metric == best);
            best.map(|(_, index)| *index).take(RUNG_MAX).collect()
        } else {
            vec![first]
        };
        let Some(queue) = self.queues.get_mut(name) else {
            return Vec::new();
        };
        queue.last_rung = first;
        if let Some(entry) = queue.entries.iter_mut().find(|entry| entry.id == id) {
            entry.pending = true;
            entry.next = first + 1;
        }
        let members = chosen.iter().filter_map(|index| queue.members.get(*index));
        let candidates: Vec<Candidate> = members
            .map(|member| Candidate {
                interface: member.interface.clone(),
                name: member.name.clone(),
            })
            .collect();
        for candidate in &candidates {
            let device = device_key(&candidate.interface);
            *self.rung.entry(device).or_default() += 1;
        }
        // Who comes next may see another member free.
        if let Some(queue) = self.queues.get(name) {
            queue.wake.notify_waiters();
        }
        candidates
    }

    fn no_longer_rung(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            let device = device_key(&candidate.interface);
            if let Some(count) = self.rung.get_mut(&device) {
                *count -= 1;
                if *count == 0 {
                    self.rung.remove(&device);
                }
            }
        }
    }

    /// Members are no longer rung for somebody.
    pub fn rang(&mut self, name: &str, id: EntryId, candidates: &[Candidate]) {
        self.no_longer_rung(candidates);
        if let Some(queue) = self.queues.get_mut(name) {
            if let Some(entry) = queue.entries.iter_mut().find(|entry| entry.id == id) {
                entry.pending = false;
            }
            queue.wake.notify_waiters();
        }
    }

    /// A member has somebody; he no longer waits, and `rung` are no longer rung for him. All at once, so that nobody sees a
    /// member who answered as free. `None`: he is not in the queue.
    pub fn connected(
        &mut self,
        name: &str,
        id: EntryId,
        interface: &str,
        rung: &[Candidate],
        now: Instant,
    ) -> Option<Entry> {
        self.no_longer_rung(rung);
        let queue = self.queues.get_mut(name)?;
        let entry = queue.entries.remove(queue.position(id)?);
        let waited = now.saturating_duration_since(entry.joined);
        let statistics = &mut queue.statistics;
        statistics.hold_time = average(statistics.hold_time, waited);
        if waited <= queue.settings.service_level {
            statistics.completed_in_level += 1;
        }
        if let Some(member) = queue.member_mut(interface) {
            member.talking += 1;
        }
        queue.wake.notify_waiters();
        Some(entry)
    }

    /// A member's call is over.
    pub fn completed(&mut self, name: &str, interface: &str, talked: Duration, now: Instant) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.statistics.completed += 1;
            queue.statistics.talk_time = average(queue.statistics.talk_time, talked);
            if let Some(member) = queue.member_mut(interface) {
                member.talking = member.talking.saturating_sub(1);
                member.calls += 1;
                member.last_call = Some(now);
            }
            queue.wake.notify_waiters();
        }
        if self.shared_last_call {
            for queue in self.queues.values_mut() {
                if let Some(member) = queue.member_mut(interface) {
                    member.last_call = Some(now);
                }
            }
        }
    }

    /// A caller hung up after he had waited so long.
    pub fn abandoned(&mut self, name: &str, waited: Duration) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.statistics.abandoned += 1;
            if waited <= queue.settings.service_level {
                queue.statistics.abandoned_in_level += 1;
            }
        }
    }

    /// The members that watch this device (by the name that all spellings have), each with the name of its queue.
    pub(super) fn members_at(&self, device: &str) -> Vec<(String, Member)> {
        let mut found = Vec::new();
        for (name, queue) in &self.queues {
            let members = queue
                .members
                .iter()
                .filter(|member| member.watched == device);
            found.extend(members.map(|member| (name.clone(), member.clone())));
        }
        found
    }

    /// Adds a member; false if it is one already, or there are too many. `None`: there is no such queue.
    pub fn add_member(&mut self, name: &str, member: Member) -> Option<bool> {
        let queue = self.queues.get_mut(name)?;
        if queue.member(&member.interface).is_some() || queue.members.len() >= MEMBERS_MAX {
            return Some(false);
        }
        queue.members.push(member);
        queue.wake.notify_waiters();
        Some(true)
    }

    /// Removes a dynamic member.
    ///
    /// # Errors
    /// There is no such member, or it is not dynamic: `Some` of it. `None`: there is no such queue.
    pub fn remove_member(&mut self, name: &str, interface: &str) -> Result<Member, Option<bool>> {
        let queue = self.queues.get_mut(name).ok_or(None)?;
        let found = queue.members.iter().position(|m| m.interface == interface);
        let at = found.ok_or(Some(false))?;
        if !queue.members[at].dynamic {
            return Err(Some(true));
        }
        let member = queue.members.remove(at);
        queue.wake.notify_waiters();
        Ok(member)
    }

    /// Changes a member in one queue, or in all where it is one (`None`). What it is now, with the name of each queue.
    pub fn change_member(
        &mut self,
        name: Option<&str>,
        interface: &str,
        change: impl Fn(&mut Member),
    ) -> Vec<(String, Member)> {
        let mut changed = Vec::new();
        for (queue_name, queue) in &mut self.queues {
            if name.is_some_and(|name| name != queue_name) {
                continue;
            }
            if let Some(member) = queue.member_mut(interface) {
                change(member);
                changed.push((queue_name.clone(), member.clone()));
                queue.wake.notify_waiters();
            }
        }
        changed
    }

    /// In which queues a member that does not answer is to be paused: in none, in this one, or in all (`Some(None)`).
    #[must_use]
    pub fn auto_pause(&self, name: &str, interface: &str, now: Instant) -> Option<Option<String>> {
        let queue = self.queues.get(name)?;
        let delay = queue.settings.auto_pause_delay;
        let last = queue.member(interface)?.last_call;
        if !delay.is_zero() && last.is_some_and(|at| now.saturating_duration_since(at) < delay) {
            return None;
        }
        match queue.settings.auto_pause {
            AutoPause::No => None,
            AutoPause::Yes => Some(Some(name.to_owned())),
            AutoPause::All => Some(None),
        }
    }

    /// How many members could be rung now, and how many are members at all and not paused, with devices that exist.
    #[must_use]
    pub fn count(&self, name: &str, now: Instant, states: States<'_>) -> Option<Counts> {
        let queue = self.queues.get(name)?;
        let members = &queue.members;
        let state = |member: &Member| states(&member.state_interface);
        let exists = |member: &&Member| {
            !matches!(
                state(member),
                DeviceState::Invalid | DeviceState::Unavailable
            )
        };
        Some(Counts {
            count: members.len(),
            logged: members.iter().filter(exists).count(),
            free: members
                .iter()
                .filter(|member| {
                    state(member) == DeviceState::NotInUse
                        && !member.paused
                        && !member.wraps_up(queue.settings.wrapup, now)
                })
                .count(),
            ready: members
                .iter()
                .filter(|member| {
                    exists(member) && !member.paused && !member.wraps_up(queue.settings.wrapup, now)
                })
                .count(),
        })
    }

    /// Forgets what happened in a queue.
    pub fn reset_statistics(&mut self, name: &str) -> bool {
        let Some(queue) = self.queues.get_mut(name) else {
            return false;
        };
        queue.statistics = Statistics::default();
        for member in &mut queue.members {
            member.calls = 0;
            member.last_call = None;
        }
        true
    }
}
