//! A table of fixed size that forgets what was not asked for longest, at a constant cost: a young and an old generation.
//! What is used becomes young; when there are enough young ones, or enough time has passed, they become the old ones, and
//! those that were old go.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// When the young generation began.
    began: Option<Instant>,
    most: usize,
    /// What was not used for so long may go.
    keep: Duration,
}

impl<K: Hash + Eq, V> Generations<K, V> {
    /// At most `most` of each generation; what is used within `keep` goes only when there is no room.
    pub(super) fn new(most: usize, keep: Duration) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            began: None,
            most: most.max(1),
            keep,
        }
    }

    /// From now on what is used within this time goes only when there is no room.
    pub(super) fn keep_for(&mut self, keep: Duration) {
        self.keep = keep;
    }

    /// The value, made if there is none; and how many were forgotten before their time for that.
    pub(super) fn entry(
        &mut self,
        key: K,
        now: Instant,
        new: impl FnOnce() -> V,
    ) -> (&mut V, usize) {
        let mut early = 0;
        let mut before = self.old.remove(&key);
        let began = *self.began.get_or_insert(now);
        let in_time = now.saturating_duration_since(began) < self.keep;
        if !in_time || (self.young.len() >= self.most && !self.young.contains_key(&key)) {
            before = before.or_else(|| self.young.remove(&key));
            if in_time {
                early = self.old.len();
            }
            self.old = std::mem::take(&mut self.young);
            self.began = Some(now);
        }
        let value = self
            .young
            .entry(key)
            .or_insert_with(|| before.unwrap_or_else(new));
        (value, early)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self.young.get_mut(key) {
            None => self.old.get_mut(key),
            found => found,
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
