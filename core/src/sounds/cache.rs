//! Decoded sounds, bounded: what was not used for longest goes first.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;
use strowger_media::Sound;

use super::find::Found;

/// A file that was written more recently may be changed again within the resolution of its time.
const SETTLED: Duration = Duration::from_secs(2);

/// What a file looked like when it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    /// Time of its last change, and length; `None` for what never changes.
    file: Option<(SystemTime, u64)>,
}

impl Stamp {
    pub(super) fn of(found: &Found) -> Self {
        Self {
            file: match found {
                Found::BuiltIn { .. } => None,
                Found::File { path, .. } => std::fs::metadata(path)
                    .ok()
                    .and_then(|meta| Some((meta.modified().ok()?, meta.len()))),
            },
        }
    }

    /// True if the same stamp means the same content.
    pub(super) fn is_settled(&self) -> bool {
        self.file
            .is_none_or(|(at, _)| at.elapsed().is_ok_and(|age| age > SETTLED))
    }
}

struct Kept {
    sound: Arc<Sound>,
    stamp: Stamp,
    used: u64,
}

/// Sounds by where they come from and their rate.
pub(super) struct Cache {
    entries: FxHashMap<(String, u32), Kept>,
    samples: usize,
    samples_max: usize,
    clock: u64,
}

impl Cache {
    pub(super) fn new(samples_max: usize) -> Self {
        Self {
            entries: FxHashMap::default(),
            samples: 0,
            samples_max,
            clock: 0,
        }
    }

    /// A sound and what its file looked like.
    pub(super) fn get(&mut self, id: &str, rate: u32) -> (Option<Arc<Sound>>, Stamp) {
        self.clock += 1;
        match self.entries.get_mut(&(id.to_owned(), rate)) {
            Some(kept) => {
                kept.used = self.clock;
                (Some(Arc::clone(&kept.sound)), kept.stamp)
            }
            None => (None, Stamp { file: None }),
        }
    }

    /// Keeps a sound; others make room.
    pub(super) fn put(&mut self, id: String, rate: u32, sound: Arc<Sound>, stamp: Stamp) {
        let length = sound.samples.len();
        if let Some(old) = self.entries.remove(&(id.clone(), rate)) {
            self.samples -= old.sound.samples.len();
        }
        if length > self.samples_max {
            return;
        }
        while self.samples + length > self.samples_max {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|oldest| self.entries.remove(&oldest)) else {
                break;
            };
            self.samples -= gone.sound.samples.len();
        }
        self.clock += 1;
        self.samples += length;
        let used = self.clock;
        self.entries.insert((id, rate), Kept { sound, stamp, used });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut cache = Cache::new(100);
        let stamp = Stamp { file: None };
        let sound = |length| Arc::new(Sound::from_samples(vec![0; length]));
        for name in ["a", "b", "c"] {
            cache.put(name.to_owned(), 8000, sound(30), stamp);
        }
        assert!(cache.get("a", 8000).0.is_some());
        cache.put("d".to_owned(), 8000, sound(40), stamp);
        let there: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .filter(|name| cache.get(name, 8000).0.is_some())
            .collect();
        assert_eq!(there, ["a", "c", "d"]);
        assert_eq!(cache.samples, 100);
        // The same at another rate is another sound; a new one replaces the old.
        assert!(cache.get("a", 16000).0.is_none());
        cache.put("a".to_owned(), 8000, sound(10), stamp);
        assert_eq!(cache.samples, 80);
        cache.put("e".to_owned(), 8000, sound(101), stamp);
        assert!(cache.get("e", 8000).0.is_none());
        assert_eq!(cache.samples, 80);
    }
}
