//! The folder of scripts: which files there are, what they hold, and whether anything changed.

use std::fs::{self, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files in all folders together.
const FILES_MAX: usize = 1000;
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of all files.
const TOTAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Folders within each other.
const DEPTH_MAX: usize = 8;

/// One file as it was read.
pub(super) struct Source {
    /// Relative to the folder, with `/`.
    pub(super) name: String,
    pub(super) text: Vec<u8>,
}

impl Source {
    /// What `require` calls it.
    pub(super) fn module(&self) -> String {
        self.name
            .strip_suffix(".lua")
            .unwrap_or(&self.name)
            .replace('/', ".")
    }

    /// Files of the folder itself are run for every call; those below it only where they are required.
    pub(super) fn is_root(&self) -> bool {
        !self.name.contains('/')
    }
}

/// What tells that the files are the same as before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Mark>);

/// Name, last change, length, inode, and the change of the inode in seconds and nanoseconds.
type Mark = (String, Option<SystemTime>, u64, u64, (i64, i64));

struct Found {
    name: String,
    path: PathBuf,
    metadata: Metadata,
}

/// Something about a file, or about the folder when the name is empty.
pub(super) type Fault = (String, String);

/// The present state of the folder; empty when there is none.
pub(crate) fn stamp(folder: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let mut list: Vec<_> = walk(folder, &mut Vec::new())
        .into_iter()
        .map(|found| {
            let modified = found.metadata.modified().ok();
            (
                found.name,
                modified,
                found.metadata.len(),
                found.metadata.ino(),
                // Who may read it changes no other time.
                (found.metadata.ctime(), found.metadata.ctime_nsec()),
            )
        })
        .collect();
    list.sort();
    Stamp(list)
}

/// All files, by name, and what could not be read.
pub(super) fn read(folder: &Path) -> (Vec<Source>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut sources = Vec::new();
    let mut total = 0;
    let mut list = walk(folder, &mut faults);
    list.sort_by(|left, right| left.name.cmp(&right.name));
    for found in list {
        if found.metadata.len() > FILE_BYTES_MAX {
            faults.push((
                found.name,
                format!(
                    "has {} bytes; {FILE_BYTES_MAX} are allowed",
                    found.metadata.len()
                ),
            ));
            continue;
        }
        let mut text = Vec::new();
        let read = fs::File::open(&found.path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
        if let Err(error) = read {
            faults.push((found.name, format!("cannot be read: {error}")));
            continue;
        }
        total += text.len() as u64;
        if total > TOTAL_BYTES_MAX {
            faults.push((
                found.name,
                format!("all files together have more than {TOTAL_BYTES_MAX} bytes; this one and what follows are left out"),
            ));
            break;
        }
        sources.push(Source {
            name: found.name,
            text,
        });
    }
    (sources, faults)
}

fn walk(folder: &Path, faults: &mut Vec<Fault>) -> Vec<Found> {
    let mut list = Vec::new();
    descend(folder, "", 0, &mut list, faults);
    list
}

fn descend(
    folder: &Path,
    prefix: &str,
    depth: usize,
    list: &mut Vec<Found>,
    faults: &mut Vec<Fault>,
) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && depth == 0 => return,
        Err(error) => {
            let what = format!("folder {} cannot be read: {error}", folder.display());
            faults.push((prefix.trim_end_matches('/').to_owned(), what));
            return;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let what = format!("folder {} cannot be read: {error}", folder.display());
                faults.push((prefix.trim_end_matches('/').to_owned(), what));
                return;
            }
        };
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if file.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{file}");
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(error) => {
                if file.ends_with(".lua") {
                    faults.push((name, format!("cannot be read: {error}")));
                }
                continue;
            }
        };
        if metadata.is_dir() {
            if depth + 1 < DEPTH_MAX {
                descend(&entry.path(), &format!("{name}/"), depth + 1, list, faults);
            } else {
                faults.push((
                    name,
                    format!("folders within each other are read {DEPTH_MAX} deep"),
                ));
            }
            continue;
        }
        let Some(stem) = file.strip_suffix(".lua") else {
            continue;
        };
        if !is_plain(stem)
            || !prefix
                .split('/')
                .filter(|part| !part.is_empty())
                .all(is_plain)
        {
            faults.push((
                name,
                "names of files and folders have letters, digits, _ and - only".to_owned(),
            ));
            continue;
        }
        // A pipe would be waited for without end.
        if !metadata.is_file() {
            faults.push((name, "is no regular file".to_owned()));
            continue;
        }
        if list.len() >= FILES_MAX {
            faults.push((
                name,
                format!("more than {FILES_MAX} files; the rest is left out"),
            ));
            return;
        }
        list.push(Found {
            name,
            path: entry.path(),
            metadata,
        });
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_below_the_folder_and_a_change_shows_in_the_stamp() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        assert_eq!(stamp(&path.join("nowhere")), Stamp::default());
        fs::create_dir(path.join("lib")).expect("a folder");
        fs::write(path.join("b.lua"), "x = 1").expect("written");
        fs::write(path.join("a.lua"), "").expect("written");
        fs::write(path.join("lib/menu.lua"), "return {}").expect("written");
        fs::write(path.join("notes.txt"), "").expect("written");
        fs::write(path.join(".hidden.lua"), "").expect("written");
        fs::write(path.join("bad name.lua"), "").expect("written");
        let (sources, faults) = read(path);
        let names: Vec<_> = sources
            .iter()
            .map(|source| (source.name.as_str(), source.module(), source.is_root()))
            .collect();
        assert_eq!(
            names,
            [
                ("a.lua", "a".to_owned(), true),
                ("b.lua", "b".to_owned(), true),
                ("lib/menu.lua", "lib.menu".to_owned(), false)
            ]
        );
        assert!(
            faults.len() == 1 && faults[0].0 == "bad name.lua",
            "{faults:?}"
        );
        let before = stamp(path);
        assert_eq!(before, stamp(path));
        fs::write(path.join("b.lua"), "x = 23").expect("written");
        assert_ne!(before, stamp(path));
    }

    #[test]
    fn what_is_no_readable_file_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        std::os::unix::fs::symlink(path.join("nowhere"), path.join("a.lua")).expect("a link");
        let made = std::process::Command::new("mkfifo")
            .arg(path.join("b.lua"))
            .status();
        assert!(made.expect("mkfifo runs").success());
        let (sources, faults) = read(path);
        assert!(sources.is_empty());
        let told = |name: &str, what: &str| {
            faults
                .iter()
                .any(|fault| fault.0 == name && fault.1.contains(what))
        };
        assert!(told("a.lua", "cannot be read"), "{faults:?}");
        assert!(told("b.lua", "no regular file"), "{faults:?}");
    }

    #[test]
    fn a_file_that_is_too_large_is_left_out_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = vec![b' '; FILE_BYTES_MAX as usize + 1];
        fs::write(folder.path().join("big.lua"), text).expect("written");
        let (sources, faults) = read(folder.path());
        assert!(sources.is_empty());
        assert!(faults[0].1.contains("1048576 are allowed"), "{faults:?}");
    }
}
