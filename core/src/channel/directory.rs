//! What channels of all shards tell each other by name: that they exist, the groups they are counted in, and the values
//! they share. Locked for a moment by signalling threads only.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Variables;

/// Groups that one channel may be counted in, each in a category of its own.
pub const GROUPS_MAX: usize = 64;
/// Locks that one channel may have at a time.
pub const LOCKS_MAX: usize = 64;

/// Everything of one channel.
#[derive(Debug)]
struct Entry {
    /// The shard that owns it.
    shard: usize,
    /// Category and group.
    groups: Vec<(String, String)>,
    shared: Variables,
    /// Names of the locks it has.
    locks: Vec<String>,
}

/// What became of asking for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// The channel has it from now on.
    Now,
    /// It had it already.
    Before,
    /// Another has it.
    Elsewhere,
    /// It has [`LOCKS_MAX`] others, or is gone.
    Refused,
}

impl Locked {
    /// Does the channel have it?
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::Now | Self::Before)
    }
}

#[derive(Debug, Default)]
struct Inside {
    channels: BTreeMap<Box<str>, Entry>,
    /// Channels in each group, by category and group.
    counts: FxHashMap<(String, String), usize>,
    /// Which channel has each lock.
    locks: FxHashMap<String, Box<str>>,
}

/// The channels of all shards.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Inside>, Notify);

impl Inside {
    fn count_down(&mut self, place: &(String, String)) {
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(place);
            }
        }
    }
}

impl Directory {
    pub(crate) fn enter(&self, name: &str, shard: usize) {
        let mut inside = self.0.write();
        let entry = Entry {
            shard,
            groups: Vec::new(),
            shared: Variables::default(),
            locks: Vec::new(),
        };
        inside.channels.insert(name.into(), entry);
    }

    pub(crate) fn leave(&self, name: &str) {
        let mut inside = self.0.write();
        if let Some(entry) = inside.channels.remove(name) {
            for place in &entry.groups {
                inside.count_down(place);
            }
            for lock in &entry.locks {
                inside.locks.remove(lock);
            }
            if !entry.locks.is_empty() {
                self.1.notify_waiters();
            }
        }
    }

    /// The shard of a channel.
    pub fn shard_of(&self, name: &str) -> Option<usize> {
        Some(self.0.read().channels.get(name)?.shard)
    }

    /// Gives a channel a lock, which it has until it unlocks it or is gone.
    pub fn lock(&self, lock: &str, name: &str) -> Locked {
        let mut inside = self.0.write();
        if let Some(owner) = inside.locks.get(lock) {
            return if **owner == *name {
                Locked::Before
            } else {
                Locked::Elsewhere
            };
        }
        match inside.channels.get_mut(name) {
            Some(entry) if entry.locks.len() < LOCKS_MAX => entry.locks.push(lock.to_owned()),
            _ => return Locked::Refused,
        }
        inside.locks.insert(lock.to_owned(), name.into());
        Locked::Now
    }

    /// Takes a lock from the channel that has it; false if another has it, or nobody.
    pub fn unlock(&self, lock: &str, name: &str) -> bool {
        let mut inside = self.0.write();
        if inside.locks.get(lock).is_none_or(|owner| **owner != *name) {
            return false;
        }
        inside.locks.remove(lock);
        if let Some(entry) = inside.channels.get_mut(name) {
            entry.locks.retain(|known| known != lock);
        }
        drop(inside);
        self.1.notify_waiters();
        true
    }

    /// Waits until some lock is free again.
    pub fn lock_freed(&self) -> Notified<'_> {
        self.1.notified()
    }

    /// Is there a channel of this name?
    pub fn exists(&self, name: &str) -> bool {
        self.0.read().channels.contains_key(name)
    }

    /// The names of all channels for which `wanted` says true.
    pub fn names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let inside = self.0.read();
        let names = inside.channels.keys().filter(|name| wanted(name));
        names.map(|name| name.to_string()).collect()
    }

    /// Counts a channel in a group of a category, and no longer in the one it was in. An empty group is none. False if
    /// it is in too many categories, or there is no such channel.
    pub fn set_group(&self, name: &str, category: &str, group: &str) -> bool {
        let mut inside = self.0.write();
        let Some(entry) = inside.channels.get_mut(name) else {
            return false;
        };
        let known = entry
            .groups
            .iter()
            .position(|(known, _)| known == category)
            .map(|at| entry.groups.remove(at));
        let added = !group.is_empty() && entry.groups.len() < GROUPS_MAX;
        let place = (category.to_owned(), group.to_owned());
        if added {
            entry.groups.push(place.clone());
        }
        if let Some(known) = known {
            inside.count_down(&known);
        }
        if added {
            *inside.counts.entry(place).or_default() += 1;
        }
        added || group.is_empty()
    }

    /// The group of a channel in a category.
    pub fn group(&self, name: &str, category: &str) -> Option<String> {
        let inside = self.0.read();
        let groups = &inside.channels.get(name)?.groups;
        let found = groups.iter().find(|(known, _)| known == category);
        found.map(|(_, group)| group.clone())
    }

    /// All groups of a channel, with their category before them.
    pub fn groups(&self, name: &str) -> Vec<(String, String)> {
        let inside = self.0.read();
        let entry = inside.channels.get(name);
        entry.map(|entry| entry.groups.clone()).unwrap_or_default()
    }

    /// How many channels are in groups for which `wanted(category, group)` says true.
    pub fn group_match_count(&self, wanted: impl Fn(&str, &str) -> bool) -> usize {
        let inside = self.0.read();
        let counts = inside.counts.iter();
        counts
            .filter(|((category, group), _)| wanted(category, group))
            .map(|(_, count)| count)
            .sum()
    }

    /// A value that a channel shares; `None` if there is no such channel.
    pub fn shared(&self, name: &str, variable: &str) -> Option<String> {
        let inside = self.0.read();
        let entry = inside.channels.get(name)?;
        Some(entry.shared.get(variable).unwrap_or_default().to_owned())
    }

    /// Sets a value that a channel shares. False if there is no such channel, or it shares too many.
    pub fn set_shared(&self, name: &str, variable: &str, value: &str) -> bool {
        let mut inside = self.0.write();
        match inside.channels.get_mut(name) {
            Some(entry) => entry.shared.set(variable, value),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_in_one_group_of_a_category_until_it_leaves() {
        let directory = Directory::default();
        for name in ["PJSIP/a-1", "PJSIP/b-2"] {
            directory.enter(name, 0);
            assert!(directory.set_group(name, "", "trunk"));
        }
        assert!(directory.set_group("PJSIP/a-1", "out", "moscow"));
        assert_eq!(
            directory.group_match_count(|category, group| category.is_empty() && group == "trunk"),
            2
        );
        assert_eq!(
            directory.group("PJSIP/a-1", "out").as_deref(),
            Some("moscow")
        );
        assert!(directory.set_group("PJSIP/b-2", "", "other"));
        assert_eq!(directory.group_match_count(|_, group| group == "trunk"), 1);
        assert_eq!(
            directory.group_match_count(|_, group| group.contains('r')),
            2
        );
        assert!(directory.set_group("PJSIP/b-2", "", ""));
        assert_eq!(directory.group_match_count(|_, group| group == "other"), 0);
        assert_eq!(directory.group("PJSIP/b-2", ""), None);
        directory.leave("PJSIP/a-1");
        assert_eq!(directory.group_match_count(|_, _| true), 0);
        assert!(!directory.set_group("PJSIP/a-1", "", "trunk"));
        assert!(directory.groups("PJSIP/a-1").is_empty());
        assert!(directory.0.read().counts.is_empty());
    }

    #[test]
    fn categories_of_a_channel_have_a_limit() {
        let directory = Directory::default();
        directory.enter("a", 0);
        for number in 0..GROUPS_MAX {
            assert!(directory.set_group("a", &number.to_string(), "g"));
        }
        assert!(!directory.set_group("a", "more", "g"));
        assert!(directory.set_group("a", "3", "other"));
        assert_eq!(directory.groups("a").len(), GROUPS_MAX);
    }

    #[test]
    fn what_a_channel_shares_others_read_as_long_as_it_lives() {
        let directory = Directory::default();
        directory.enter("a", 0);
        assert!(directory.set_shared("a", "X", "1"));
        assert_eq!(directory.shared("a", "X").as_deref(), Some("1"));
        assert_eq!(directory.shared("a", "Y").as_deref(), Some(""));
        assert_eq!(directory.shared("b", "X"), None);
        assert!(!directory.set_shared("b", "X", "1"));
        assert!(directory.exists("a") && !directory.exists("b"));
        assert_eq!(directory.names(|name| name.starts_with('a')), ["a"]);
        directory.leave("a");
        directory.enter("a", 0);
        assert_eq!(directory.shared("a", "X").as_deref(), Some(""));
    }

    #[test]
    fn a_lock_has_one_owner_and_is_free_when_he_leaves() {
        let directory = Directory::default();
        directory.enter("a", 0);
        directory.enter("b", 1);
        assert_eq!(directory.lock("door", "a"), Locked::Now);
        assert_eq!(directory.lock("door", "a"), Locked::Before);
        assert_eq!(directory.lock("door", "b"), Locked::Elsewhere);
        assert!(!directory.unlock("door", "b"));
        assert!(directory.unlock("door", "a") && !directory.unlock("door", "a"));
        assert!(directory.lock("door", "b").is_held());
        directory.leave("b");
        assert!(directory.lock("door", "a").is_held());
        assert_eq!(directory.lock("window", "nobody"), Locked::Refused);
        for number in 1..LOCKS_MAX {
            assert!(directory.lock(&number.to_string(), "a").is_held());
        }
        assert_eq!(directory.lock("one more", "a"), Locked::Refused);
        assert_eq!(directory.shard_of("a"), Some(0));
        assert_eq!(directory.shard_of("b"), None);
    }
}
