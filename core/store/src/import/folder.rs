//! The files of a configuration on disk: those of one folder, and none outside of it. What cannot be read is never taken for
//! absent.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::conf::{Files, Found};

/// The largest file that is read.
const BYTES_MAX: u64 = 16 << 20;
/// Files that one pattern may mean.
const FOUND_MAX: usize = 1000;
/// Where an Asterisk looks for its configuration; such a name means the folder that is read.
const USUAL: &str = "/etc/asterisk";

/// A folder.
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// # Errors
    /// There is no such folder.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let root = path.canonicalize()?;
        // Says now what reading the first file would.
        std::fs::read_dir(&root)?;
        Ok(Self { root })
    }

    /// The whole path, for what is remembered of it.
    pub(crate) fn path(&self) -> String {
        self.root.to_string_lossy().into_owned()
    }

    /// The names of the files directly in the folder, in order.
    pub(crate) fn names(&self) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            // What cannot be looked at is named too: reading it says why.
            let is_file = std::fs::metadata(entry.path()).map_or(true, |about| about.is_file());
            if is_file && let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// A name in the folder, without what leads out of it.
    fn inside(&self, name: &str) -> Result<PathBuf, String> {
        let outside = || format!("lies outside of {}: not read", self.root.display());
        let path = Path::new(name);
        let path = match path.is_absolute() {
            false => path,
            true => path
                .strip_prefix(&self.root)
                .or_else(|_| path.strip_prefix(USUAL))
                .map_err(|_| outside())?,
        };
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !path.components().all(plain) {
            return Err(outside());
        }
        Ok(path.to_owned())
    }

    /// The bytes of a file; `None`: there is none.
    fn file(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        let whole = self.root.join(path);
        let failed = |error: std::io::Error| format!("cannot be read: {error}");
        match std::fs::symlink_metadata(&whole) {
            // A part of the way that is a file leads nowhere.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
            Ok(_) => {}
        }
        let real = whole.canonicalize().map_err(failed)?;
        if !real.starts_with(&self.root) {
            return Err(format!("leads out of {}: not read", self.root.display()));
        }
        let about = std::fs::metadata(&real).map_err(failed)?;
        if !about.is_file() {
            return Err("is not a file".to_owned());
        }
        if about.len() > BYTES_MAX {
            return Err(format!("is larger than {} MiB: not read", BYTES_MAX >> 20));
        }
        std::fs::read(&real).map(Some).map_err(failed)
    }

    /// The names in a folder that fit a pattern, in order.
    fn fitting(&self, folder: &Path, pattern: &str) -> Result<Vec<String>, String> {
        let entries = match std::fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("its folder cannot be read: {error}")),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| format!("its folder cannot be read: {error}"))?;
            let name = entry.file_name();
            // As in a shell, a pattern does not mean hidden files.
            if name.as_encoded_bytes().starts_with(b".") || !fits(pattern, &name.to_string_lossy())
            {
                continue;
            }
            let name = name.into_string().map_err(|name| {
                format!("means a file whose name is not UTF-8: {}", name.display())
            })?;
            names.push(name);
        }
        names.sort_unstable();
        if names.len() > FOUND_MAX {
            return Err(format!("means more than {FOUND_MAX} files: none is read"));
        }
        Ok(names)
    }
}

impl Files for Folder {
    fn read(&self, pattern: &str) -> Result<Vec<Found>, String> {
        let path = self.inside(pattern)?;
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let last = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if !last.contains(['*', '?', '[']) {
            let bytes = self.file(&path)?;
            return Ok(bytes
                .map(|bytes| (shown(&path), Ok(bytes)))
                .into_iter()
                .collect());
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        if folder.to_string_lossy().contains(['*', '?', '[']) {
            return Err(
                "patterns stand for files, not for folders: write a line for each folder"
                    .to_owned(),
            );
        }
        let mut found = Vec::new();
        for name in self.fitting(folder, last)? {
            let path = folder.join(name);
            let bytes = self.file(&path).transpose();
            found.extend(bytes.map(|bytes| (shown(&path), bytes)));
        }
        Ok(found)
    }
}

/// Does a name fit a pattern of a shell?
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Where to go back to when what follows a star does not fit: place in the pattern, and in the name.
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            back = Some((p, n));
            p += 1;
            continue;
        }
        let length = one(&pattern[p.min(pattern.len())..], name[n]);
        if let Some(length) = length {
            p += length;
            n += 1;
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            (p, n) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p.min(pattern.len())..]
        .iter()
        .all(|char| *char == '*')
}

/// How much of the pattern stands for this character; `None`: it does not fit.
fn one(pattern: &[char], char: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = pattern
                .iter()
                .skip(2)
                .position(|c| *c == ']')
                .map(|at| at + 2);
            let Some(end) = end else {
                return (char == '[').then_some(1);
            };
            let set = &pattern[1..end];
            let (not, set) = match set.first() {
                Some('!' | '^') => (true, &set[1..]),
                _ => (false, set),
            };
            let mut at = 0;
            let mut found = false;
            while at < set.len() {
                if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
                    found |= (set[at]..=set[at + 2]).contains(&char);
                    at += 3;
                } else {
                    found |= set[at] == char;
                    at += 1;
                }
            }
            (found != not).then_some(end + 1)
        }
        first => (*first == char).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, wanted) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "aXbYbZc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[ab", "[ab", true),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn nothing_outside_of_the_folder_is_read() {
        let outer = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let inner = outer.path().join("asterisk");
        std::fs::create_dir(&inner).unwrap_or_else(|error| panic!("{error}"));
        for (path, text) in [
            (outer.path().join("secret.conf"), "[secret]"),
            (inner.join("own.conf"), "[own]"),
            (inner.join(".hidden.conf"), "[hidden]"),
        ] {
            std::fs::write(path, text).unwrap_or_else(|error| panic!("{error}"));
        }
        std::os::unix::fs::symlink("../secret.conf", inner.join("way.conf"))
            .unwrap_or_else(|error| panic!("{error}"));
        let folder = Folder::open(&inner).unwrap_or_else(|error| panic!("{error}"));
        for name in ["../secret.conf", "/etc/passwd", "way.conf"] {
            assert!(folder.read(name).is_err(), "{name}");
        }
        let own = ("own.conf".to_owned(), Ok(b"[own]".to_vec()));
        // One bad file of a pattern leaves the others.
        let all = folder.read("*.conf").unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(all[0], own);
        assert!(all.len() == 2 && all[1].0 == "way.conf" && all[1].1.is_err());
        for name in ["own.conf", "o*.conf", "/etc/asterisk/own.conf"] {
            assert_eq!(folder.read(name), Ok(vec![own.clone()]), "{name}");
        }
        let whole = folder.path() + "/own.conf";
        assert_eq!(folder.read(&whole), Ok(vec![own]));
        for name in ["none.conf", "none/*.conf", "none/own.conf"] {
            assert_eq!(folder.read(name), Ok(Vec::new()), "{name}");
        }
    }

    #[test]
    fn only_what_is_not_there_is_absent() {
        let root = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = root.path();
        std::fs::write(path.join("plain"), "").unwrap_or_else(|error| panic!("{error}"));
        std::fs::create_dir(path.join("folder.conf")).unwrap_or_else(|error| panic!("{error}"));
        for (from, to) in [("gone.conf", "lost.conf"), ("loop.conf", "loop.conf")] {
            std::os::unix::fs::symlink(from, path.join(to)).unwrap_or_else(|e| panic!("{e}"));
        }
        let folder = Folder::open(path).unwrap_or_else(|error| panic!("{error}"));
        // Rights are no hindrance to root, under whom tests may run; a chain of links without an end is one to everybody.
        for name in ["folder.conf", "lost.conf", "loop.conf", "loop.conf/x.conf"] {
            assert!(folder.read(name).is_err(), "{name}");
        }
        assert!(folder.read("loop.conf/*.conf").is_err());
        let all = folder.read("*.conf").unwrap_or_else(|why| panic!("{why}"));
        assert!(all.len() == 3 && all.iter().all(|(_, bytes)| bytes.is_err()));
        let names = folder.names().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(names, ["loop.conf", "lost.conf", "plain"]);
    }
}
