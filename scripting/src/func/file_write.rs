//! `Set(FILE(file,offset,length,options,format)=value)`: writes files below the data directory.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use strowger_dialplan::args;

use super::outside::{part, path, unless_over};
use crate::task::Task;

/// Files that can be changed in their middle; beyond it they are only appended to.
const CHANGED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How a file is written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Manner {
    offset: Option<i64>,
    length: Option<i64>,
    /// Offset and length count lines.
    lines: bool,
    append: bool,
    /// No line end behind the value.
    bare: bool,
    line_end: &'static str,
}

impl Manner {
    fn read(parts: &[String]) -> Result<Self, String> {
        let argument = |index: usize| parts.get(index).map(|text| text.trim()).unwrap_or_default();
        let number = |index: usize| match argument(index) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| format!("FILE: \"{text}\" is no number")),
        };
        let options = argument(3);
        if let Some(unknown) = options.chars().find(|option| !"lad".contains(*option)) {
            return Err(format!("FILE: option \"{unknown}\": known are l, a and d"));
        }
        Ok(Self {
            offset: number(1)?,
            length: number(2)?,
            lines: options.contains('l'),
            append: options.contains('a'),
            bare: options.contains('d'),
            line_end: match argument(4) {
                "" | "u" => "\n",
                "d" => "\r\n",
                "m" => "\r",
                other => {
                    return Err(format!(
                        "FILE: format \"{other}\": known are u, d and m (line ends of Unix, DOS and old Macs)"
                    ));
                }
            },
        })
    }

    /// What is written for a value.
    fn text(&self, value: &str) -> String {
        if self.lines && !self.bare {
            format!("{value}{}", self.line_end)
        } else {
            value.to_owned()
        }
    }

    /// The bytes that a value takes the place of.
    fn range(&self, content: &[u8]) -> std::ops::Range<usize> {
        let (offset, length) = (self.offset.unwrap_or(0), self.length);
        if !self.lines {
            let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
            let (from, count) = part(size, offset, length);
            let from = usize::try_from(from).unwrap_or(content.len());
            return from..from + usize::try_from(count).unwrap_or(0);
        }
        // Where each line begins, and the end.
        let mut starts = vec![0];
        let end = self.line_end.as_bytes();
        let mut at = 0;
        while let Some(rest) = content.get(at..).filter(|rest| !rest.is_empty()) {
            let found = rest.windows(end.len()).position(|window| window == end);
            at = found.map_or(content.len(), |found| at + found + end.len());
            starts.push(at);
        }
        let lines = i64::try_from(starts.len() - 1).unwrap_or(i64::MAX);
        let (from, count) = part(lines, offset, length);
        let place = |line: u64| {
            let line = usize::try_from(line).unwrap_or(usize::MAX);
            starts.get(line).copied().unwrap_or(content.len())
        };
        place(from)..place(from + count)
    }
}

/// Writes a value.
pub(super) async fn write(task: Rc<Task>, args: String, value: String) -> Result<(), String> {
    let parts = args::split(&args);
    let name = parts.first().map(String::as_str).unwrap_or_default();
    let (path, manner) = (path(&task, name)?, Manner::read(&parts)?);
    let data = task.shared().paths().data.clone();
    unless_over(&task, async move {
        let shown = path.display().to_string();
        let done = tokio::task::spawn_blocking(move || change(&data, &path, &manner, &value));
        let done = done.await.map_err(|error| error.to_string())?;
        done.map_err(|error| format!("{shown}: {error}"))
    })
    .await
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

/// The file itself, which has to be below the data directory wherever links lead.
fn within(data: &Path, path: &Path) -> io::Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refused("it is no file"));
    };
    let folder = folder.canonicalize()?;
    let file = folder.join(name);
    let file = file.canonicalize().unwrap_or(file);
    if !file.starts_with(data.canonicalize()?) {
        return Err(refused("files are written below the data directory only"));
    }
    let database = name.to_string_lossy();
    if [".db", ".sqlite3", "-wal", "-shm", "-journal"]
        .iter()
        .any(|end| database.ends_with(end))
    {
        return Err(refused("a database is not written as a file"));
    }
    Ok(file)
}

fn change(data: &Path, path: &Path, manner: &Manner, value: &str) -> io::Result<()> {
    let path = within(data, path)?;
    let text = manner.text(value);
    let whole = manner.offset.is_none() && manner.length.is_none();
    if manner.append {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        return file.write_all(text.as_bytes());
    }
    let mut content = Vec::new();
    if !whole {
        match std::fs::File::open(&path) {
            Ok(file) if file.metadata()?.len() > CHANGED_BYTES_MAX => {
                return Err(refused(
                    "it is larger than 16 MiB, which is only appended to",
                ));
            }
            Ok(mut file) => drop(file.read_to_end(&mut content)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let range = manner.range(&content);
        content.splice(range, text.into_bytes());
    } else {
        content = text.into_bytes();
    }
    // Who reads it meanwhile sees the old file or the new one.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let aside = path.with_extension(format!("new-{}-{number}", std::process::id()));
    let written = std::fs::write(&aside, &content).and_then(|()| std::fs::rename(&aside, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file, what is written into it, and what it is then.
    #[test]
    fn values_take_the_place_of_bytes_and_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("notes.txt");
        for (before, args, value, after) in [
            ("old", "f", "bar", "bar"),
            ("old", "f,,,a", "bar", "oldbar"),
            ("abcdef", "f,0,1", "bar", "barbcdef"),
            ("abcdef", "f,2,2", "-", "ab-ef"),
            ("abcdef", "f,-2", "-", "abcd-"),
            ("abcdef", "f,1,-2", "-", "a-ef"),
            ("one\ntwo\nthree\n", "f,0,1,l", "bar", "bar\ntwo\nthree\n"),
            ("one\ntwo\nthree\n", "f,1,1,l", "bar", "one\nbar\nthree\n"),
            ("one\ntwo\nthree\n", "f,0,-1,l", "bar", "bar\nthree\n"),
            ("one\ntwo\nthree\n", "f,1,1,ld", "", "one\nthree\n"),
            ("one\n", "f,,,al", "bar", "one\nbar\n"),
            ("one\r\ntwo\r\n", "f,1,1,l,d", "bar", "one\r\nbar\r\n"),
            ("one\rtwo\r", "f,0,1,l,m", "bar", "bar\rtwo\r"),
            ("", "f,5,1", "bar", "bar"),
            ("one", "f,,,l", "bar", "bar\n"),
        ] {
            std::fs::write(&file, before).expect("written");
            let manner = Manner::read(&args::split(args)).expect("read");
            change(folder.path(), &file, &manner, value).expect("changed");
            let now = std::fs::read_to_string(&file).expect("read");
            assert_eq!(now, after, "{args} on {before:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 1);
    }

    #[test]
    fn only_files_below_the_data_directory_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        std::os::unix::fs::symlink(folder.path(), data.join("out")).expect("a link");
        let manner = Manner::read(&args::split("f")).expect("read");
        for name in ["out/x", "../x", "strowger.db", "astdb.sqlite3", "gone/x"] {
            assert!(
                change(&data, &data.join(name), &manner, "x").is_err(),
                "{name}"
            );
        }
        change(&data, &data.join("x"), &manner, "x").expect("written");
        assert!(!folder.path().join("x").exists());
    }

    #[test]
    fn wrong_arguments_are_told() {
        for (args, words) in [
            ("f,x", "\"x\" is no number"),
            ("f,,,z", "option \"z\""),
            ("f,,,l,q", "format \"q\""),
        ] {
            let error = Manner::read(&args::split(args)).expect_err("wrong");
            assert!(error.contains(words), "{error}");
        }
    }
}
