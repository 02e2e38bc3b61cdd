//! What was left behind in the folders `tmp` of mailboxes: drafts of calls that a crash ended, recordings on their way by e-mail.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::shared::Shared;

/// How old something there is before it is nobody's any more. No message is that long, and no mail server down for so long.
const KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);
/// How often that is looked at.
const EVERY: Duration = Duration::from_secs(86_400);

/// Looks through the folders at the start and then once a day, until the exchange ends.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.control.spawn(async move {
        loop {
            let Some(shared) = weak.upgrade() else {
                return;
            };
            let root = shared.voicemail_folder();
            drop(shared);
            let swept = tokio::task::spawn_blocking(move || {
                let before = SystemTime::now().checked_sub(KEPT_FOR)?;
                sweep(&root, before).ok()
            });
            if let Ok(Some(count @ 1..)) = swept.await {
                tracing::info!(count, "old drafts of voice mail deleted");
            }
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// Deletes what is older in all folders `tmp`. How many files that were.
fn sweep(root: &Path, before: SystemTime) -> io::Result<usize> {
    let mut deleted = 0;
    for context in folders(root)? {
        for mailbox in folders(&context)? {
            deleted += sweep_folder(&mailbox.join("tmp"), before);
        }
    }
    Ok(deleted)
}

fn folders(within: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(within)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn sweep_folder(folder: &Path, before: SystemTime) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let mut deleted = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(found) = entry.metadata() else {
            continue;
        };
        if found.is_dir() {
            deleted += sweep_folder(&path, before);
            // Only an empty one goes.
            let _ = fs::remove_dir(&path);
        } else if found.modified().is_ok_and(|at| at < before) {
            match fs::remove_file(&path) {
                Ok(()) => deleted += 1,
                Err(error) => tracing::warn!(file = %path.display(), %error, "draft not deleted"),
            }
        }
    }
    deleted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_drafts_are_deleted() {
        let root = tempfile::tempdir().expect("a folder");
        let home = root.path().join("default/100");
        let mail = home.join("tmp/mail-1");
        fs::create_dir_all(&mail).expect("folders");
        fs::create_dir_all(home.join("INBOX")).expect("folders");
        let files = [
            ("tmp/old.wav", true),
            ("tmp/mail-1/msg0000.wav", true),
            ("tmp/new.wav", false),
            ("INBOX/msg0000.wav", true),
        ];
        let start = SystemTime::now();
        for (name, is_old) in files {
            let file = fs::File::create(home.join(name)).expect("a file");
            let age = Duration::from_secs(if is_old { 100 } else { 0 });
            file.set_modified(start - age).expect("its time");
        }
        let before = start - Duration::from_secs(50);
        assert_eq!(sweep(root.path(), before).expect("a count"), 2);
        assert!(!mail.exists() && !home.join("tmp/old.wav").exists());
        assert!(home.join("tmp/new.wav").exists() && home.join("INBOX/msg0000.wav").exists());
    }
}
