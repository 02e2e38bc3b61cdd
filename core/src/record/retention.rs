//! How long recordings are kept: files of the folder of recordings that are older go, a few at a time, on the control runtime. Call
//! records stay. What is being written, and what another file is still to be made of, is left alone.

use std::fs::{self, ReadDir};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use strowger_media::FileFormat;
use strowger_store::StoreError;
use tokio::sync::Notify;

use super::in_use::InUse;
use crate::counters::Counter;
use crate::shared::Shared;

/// Most days that recordings can be told to be kept: a hundred years.
pub const KEEP_DAYS_MAX: u64 = 36_500;
/// Where the days stand that a program set, over those of `strowger.toml`.
const FAMILY: &str = "strowger";
const KEY: &str = "recordings_keep_days";

/// How often all files are looked at.
const EVERY: Duration = Duration::from_secs(3600);
/// The exchange begins before its past is tidied up.
const FIRST: Duration = Duration::from_secs(5);
/// Files that are looked at and deleted in a turn, and the pause behind it: other work of the disk comes between.
const LOOKED_OF_TURN: usize = 5000;
const DELETED_OF_TURN: usize = 200;
const PAUSE: Duration = Duration::from_millis(500);
/// Folders within folders that are looked into.
const DEPTH_MAX: usize = 8;
const DAY: Duration = Duration::from_secs(86_400);

/// What is counted, and who is woken when the days change.
#[derive(Debug, Default)]
pub struct Retention {
    pub deleted: Counter,
    pub deleted_bytes: Counter,
    pub failed: Counter,
    /// When all files were last looked at, in seconds since 1970; 0: not yet.
    looked: AtomicU64,
    changed: Notify,
}

impl Retention {
    /// When all files were last looked at, in seconds since 1970.
    pub fn looked(&self) -> Option<u64> {
        Some(self.looked.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Name and value of each counter.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("expired_deleted", self.deleted.get()),
            ("expired_deleted_bytes", self.deleted_bytes.get()),
            ("expired_failed", self.failed.get()),
        ]
    }
}

impl Shared {
    /// Days that recordings are kept; 0: for ever. What a program set counts before `strowger.toml`.
    pub fn recordings_keep_days(&self) -> u64 {
        let set = self.recordings_keep_days_set();
        set.unwrap_or(self.config.recording.keep_days)
    }

    /// The days that a program set.
    pub fn recordings_keep_days_set(&self) -> Option<u64> {
        let set = self.astdb.get(FAMILY, KEY)?.parse().ok();
        set.filter(|days| *days <= KEEP_DAYS_MAX)
    }

    /// Sets the days; `None`: as `strowger.toml` says again. It counts from now on.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn set_recordings_keep_days(&self, days: Option<u64>) -> Result<(), StoreError> {
        match days {
            Some(days) => self.astdb.put(FAMILY, KEY, &days.to_string())?,
            None => {
                self.astdb.del(FAMILY, KEY);
            }
        }
        self.retention.changed.notify_one();
        Ok(())
    }
}

/// Looks through the folder soon after the start, then each hour and whenever the days change, until the exchange ends.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.control.spawn(async move {
        tokio::time::sleep(FIRST).await;
        loop {
            let Some(shared) = weak.upgrade() else {
                return;
            };
            // What was left to be made by the process before is in use, too.
            if shared.mp3.in_use().is_complete() {
                look_through(&shared).await;
            }
            tokio::select! {
                () = shared.retention.changed.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}

async fn look_through(shared: &Arc<Shared>) {
    let days = shared.recordings_keep_days();
    let age = DAY.checked_mul(u32::try_from(days).unwrap_or(u32::MAX));
    let before = age.and_then(|age| SystemTime::now().checked_sub(age));
    let (Some(before), 1..) = (before, days) else {
        return;
    };
    let mut sweep = Sweep::new(
        shared.monitor().to_owned(),
        before,
        shared.mp3.in_use().clone(),
    );
    loop {
        let turn = tokio::task::spawn_blocking(move || {
            let done = sweep.turn();
            (sweep, done)
        });
        let Ok((back, done)) = turn.await else {
            return;
        };
        sweep = back;
        let numbers = &shared.retention;
        for (file, bytes) in sweep.deleted.drain(..) {
            numbers.deleted.add(1);
            numbers.deleted_bytes.add(bytes);
            tracing::info!(file = %file.display(), bytes, keep_days = days, "recording deleted: it was kept long enough");
        }
        for (file, error) in sweep.failed.drain(..) {
            numbers.failed.add(1);
            tracing::warn!(file = %file.display(), %error, "recording not deleted, though it was kept long enough");
        }
        // Fewer are to be deleted than when this began, perhaps none.
        if done || shared.recordings_keep_days() != days {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let looked = &shared.retention.looked;
    looked.store(now.as_secs(), Ordering::Relaxed);
}

/// A walk through the folder, a turn at a time.
struct Sweep {
    folders: Vec<ReadDir>,
    before: SystemTime,
    in_use: InUse,
    deleted: Vec<(PathBuf, u64)>,
    failed: Vec<(PathBuf, std::io::Error)>,
}

impl Sweep {
    fn new(folder: PathBuf, before: SystemTime, in_use: InUse) -> Self {
        let (mut folders, mut failed) = (Vec::new(), Vec::new());
        match fs::read_dir(&folder) {
            Ok(entries) => folders.push(entries),
            Err(error) => failed.push((folder, error)),
        }
        Self {
            folders,
            before,
            in_use,
            deleted: Vec::new(),
            failed,
        }
    }

    /// True: all was looked at.
    fn turn(&mut self) -> bool {
        for _ in 0..LOOKED_OF_TURN {
            let Some(folder) = self.folders.last_mut() else {
                return true;
            };
            match folder.next() {
                None => {
                    self.folders.pop();
                }
                Some(Ok(entry)) => self.look(&entry),
                Some(Err(_)) => {}
            }
            if self.deleted.len() + self.failed.len() >= DELETED_OF_TURN {
                return false;
            }
        }
        false
    }

    fn look(&mut self, entry: &fs::DirEntry) {
        let path = entry.path();
        // Of the entry itself: what a link leads to is none of ours.
        let Ok(kind) = entry.file_type() else {
            return;
        };
        if kind.is_dir() {
            if self.folders.len() < DEPTH_MAX {
                self.folders.extend(fs::read_dir(path));
            }
            return;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !kind.is_file() || extension.and_then(FileFormat::from_extension).is_none() {
            return;
        }
        let Ok(about) = entry.metadata() else {
            return;
        };
        let is_old = about.modified().is_ok_and(|at| at < self.before);
        if !is_old || self.in_use.contains(&path) {
            return;
        }
        match fs::remove_file(&path) {
            Ok(()) => self.deleted.push((path, about.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.failed.push((path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_recordings_go_and_nothing_else_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("2024/01")).expect("folders");
        let now = SystemTime::now();
        let put = |name: &str, age: u64| {
            let file = fs::File::create(root.join(name)).expect("a file");
            file.set_modified(now - Duration::from_secs(age))
                .expect("its time");
        };
        for (name, age) in [
            ("old.wav", 100),
            ("new.wav", 10),
            ("2024/01/old.mp3", 100),
            ("notes.txt", 100),
            ("bare", 100),
            ("written.wav", 100),
            ("old.wav.part", 100),
        ] {
            put(name, age);
        }
        std::os::unix::fs::symlink(root.join("notes.txt"), root.join("link.wav")).expect("a link");
        let in_use = InUse::default();
        let held = in_use.hold([root.join("written.wav")]);
        let before = now - Duration::from_secs(50);
        let mut sweep = Sweep::new(root.to_owned(), before, in_use.clone());
        assert!(sweep.turn());
        let mut deleted: Vec<PathBuf> = sweep.deleted.into_iter().map(|(path, _)| path).collect();
        deleted.sort();
        assert_eq!(
            deleted,
            [root.join("2024/01/old.mp3"), root.join("old.wav")]
        );
        assert!(sweep.failed.is_empty());
        for name in [
            "new.wav",
            "notes.txt",
            "bare",
            "written.wav",
            "old.wav.part",
            "link.wav",
        ] {
            assert!(root.join(name).exists(), "{name}");
        }
        drop(held);
        let mut sweep = Sweep::new(root.to_owned(), before, in_use);
        assert!(sweep.turn() && sweep.deleted.len() == 1);
    }

    #[test]
    fn many_files_take_several_turns() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..DELETED_OF_TURN + 10 {
            fs::write(folder.path().join(format!("{number}.wav")), b"x").expect("a file");
        }
        let later = SystemTime::now() + DAY;
        let mut sweep = Sweep::new(folder.path().to_owned(), later, InUse::default());
        assert!(!sweep.turn());
        assert_eq!(sweep.deleted.len(), DELETED_OF_TURN);
        sweep.deleted.clear();
        assert!(sweep.turn());
        assert_eq!(sweep.deleted.len(), 10);
    }
}
