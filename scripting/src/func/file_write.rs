//! `Set(FILE(file,offset,length,options,format)=value)`: writes files below the data directory.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use strowger_dialplan::args;

use super::outside::{part, path, to_the_end};
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

/// Where files are written, and what below it is not for values of calls.
#[derive(Debug)]
struct Places {
    data: PathBuf,
    closed: Vec<PathBuf>,
    /// With the files that a database has beside its own.
    database: Option<PathBuf>,
}

impl Places {
    fn of(task: &Task) -> Self {
        let paths = task.shared().paths();
        let url = &task.shared().config.database.url;
        let database = url.strip_prefix("sqlite:").map(|rest| {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            paths.data.join(rest.split('?').next().unwrap_or(rest))
        });
        Self {
            data: paths.data.clone(),
            closed: vec![
                paths.dialplan.clone(),
                paths.agi.clone(),
                paths.spool.clone(),
            ],
            database,
        }
    }

    /// The file itself, wherever links lead, which has to be one that may be written.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused("it is no file"));
        };
        let file = folder.canonicalize()?.join(name);
        let file = match file.canonicalize() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match file.symlink_metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => file,
                    _ => return Err(refused("it is a link that leads nowhere")),
                }
            }
            Err(error) => return Err(error),
        };
        if !file.starts_with(self.data.canonicalize()?) {
            return Err(refused("files are written below the data directory only"));
        }
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self
            .closed
            .iter()
            .any(|closed| file.starts_with(real(closed)))
        {
            return Err(refused(
                "scripts, dialplans and messages are not written as files",
            ));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_database = self.database.as_deref().map(real).is_some_and(|own| {
            own.parent() == file.parent()
                && own
                    .file_name()
                    .is_some_and(|own| name.starts_with(&*own.to_string_lossy()))
        });
        let ends = [".db", ".sqlite3", "-wal", "-shm", "-journal"];
        if is_database || ends.iter().any(|end| name.ends_with(end)) {
            return Err(refused("a database is not written as a file"));
        }
        match file.symlink_metadata() {
            Ok(found) if !found.is_file() => Err(refused("it is no regular file")),
            _ => Ok(file),
        }
    }
}

/// Writes a value.
pub(super) async fn write(task: Rc<Task>, args: String, value: String) -> Result<(), String> {
    let parts = args::split(&args);
    let name = parts.first().map(String::as_str).unwrap_or_default();
    let (path, manner) = (path(&task, name)?, Manner::read(&parts)?);
    let places = Places::of(&task);
    to_the_end(&task, async move {
        let shown = path.display().to_string();
        let done = tokio::task::spawn_blocking(move || change(&places, &path, &manner, &value));
        let done = done.await.map_err(|error| error.to_string())?;
        done.map_err(|error| format!("{shown}: {error}"))
    })
    .await
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

/// Opens a file that was looked at: what took its place meanwhile is neither followed nor waited for.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<std::fs::File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(refused("it is no regular file"))
    }
}

fn change(places: &Places, path: &Path, manner: &Manner, value: &str) -> io::Result<()> {
    let path = places.resolve(path)?;
    let text = manner.text(value);
    let whole = manner.offset.is_none() && manner.length.is_none();
    if manner.append {
        let mut file = open(OpenOptions::new().create(true).append(true), &path)?;
        return file.write_all(text.as_bytes());
    }
    let mut content = Vec::new();
    if !whole {
        match open(OpenOptions::new().read(true), &path) {
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
    let mut file = open(OpenOptions::new().write(true).create_new(true), &aside)?;
    let written = file
        .write_all(&content)
        .and_then(|()| std::fs::rename(&aside, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(data: &Path) -> Places {
        Places {
            data: data.to_owned(),
            closed: vec![data.join("dialplan")],
            database: Some(data.join("own.data")),
        }
    }

    /// A file, what is written into it, and what it is then.
    #[test]
    fn values_take_the_place_of_bytes_and_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = places(folder.path());
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
            change(&places, &file, &manner, value).expect("changed");
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
        std::fs::create_dir(data.join("dialplan")).expect("a folder");
        std::os::unix::fs::symlink(folder.path().join("new"), data.join("dangling"))
            .expect("a link");
        std::os::unix::fs::symlink(data.join("dialplan/a.lua"), data.join("script"))
            .expect("a link");
        std::os::unix::fs::symlink("strowger.db", data.join("base")).expect("a link");
        std::fs::write(data.join("strowger.db"), "rows").expect("written");
        let _socket =
            std::os::unix::net::UnixListener::bind(data.join("socket")).expect("a socket");
        let places = places(&data);
        for args in ["f", "f,,,a", "f,0,1"] {
            let manner = Manner::read(&args::split(args)).expect("read");
            for name in [
                "out/x",
                "../x",
                "strowger.db",
                "astdb.sqlite3",
                "gone/x",
                "dangling",
                "script",
                "dialplan/a.lua",
                "base",
                "own.data",
                "own.data-x",
                "socket",
                "dialplan",
            ] {
                let done = change(&places, &data.join(name), &manner, "x");
                assert!(done.is_err(), "{name}");
            }
        }
        assert!(!folder.path().join("new").exists());
        let manner = Manner::read(&args::split("f")).expect("read");
        change(&places, &data.join("x"), &manner, "x").expect("written");
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
