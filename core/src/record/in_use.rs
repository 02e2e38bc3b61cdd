//! Files of recordings that somebody still works on: those that are being written, and those that another file is to be made of.
//! Who deletes files by their age asks here first.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

#[derive(Debug, Default)]
struct Table {
    /// How many work on each.
    files: Mutex<FxHashMap<PathBuf, usize>>,
    /// What an earlier process left to be done is known.
    complete: AtomicBool,
}

/// The files that are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse(Arc<Table>);

/// They are in use as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    table: InUse,
    files: Vec<PathBuf>,
}

impl InUse {
    pub(crate) fn hold(&self, files: impl IntoIterator<Item = PathBuf>) -> Held {
        let files: Vec<PathBuf> = files.into_iter().collect();
        let mut known = self.0.files.lock();
        for file in &files {
            *known.entry(file.clone()).or_default() += 1;
        }
        drop(known);
        Held {
            table: self.clone(),
            files,
        }
    }

    pub(crate) fn contains(&self, file: &Path) -> bool {
        self.0.files.lock().contains_key(file)
    }

    /// Nothing is in use that is not known here.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.complete.load(Ordering::Acquire)
    }

    pub(crate) fn complete(&self) {
        self.0.complete.store(true, Ordering::Release);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut known = self.table.0.files.lock();
        for file in &self.files {
            if let Some(count) = known.get_mut(file) {
                *count -= 1;
                if *count == 0 {
                    known.remove(file);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_use_until_the_last_lets_it_go() {
        let files = InUse::default();
        let (a, b) = (PathBuf::from("/a"), PathBuf::from("/b"));
        let first = files.hold([a.clone(), b.clone()]);
        let second = files.hold([a.clone()]);
        drop(first);
        assert!(files.contains(&a) && !files.contains(&b));
        drop(second);
        assert!(!files.contains(&a));
    }
}
