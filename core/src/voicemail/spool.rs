//! Messages and greetings on disk, as Asterisk lays them out: `context/number/INBOX/msg0000.wav` with `msg0000.txt` beside
//! it, greetings as `unavail.wav`, `busy.wav`, `temp.wav` and `greet.wav`. Everything here waits for the disk: it is for the
//! control runtime.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local};

use super::settings::{Mailbox, is_name};

/// Folders by number, as the menus know them.
pub const FOLDERS: [&str; 5] = ["INBOX", "Old", "Work", "Family", "Friends"];
/// Folder of messages that nobody has heard.
pub const INBOX: &str = "INBOX";
/// Folder of messages that were heard.
pub const OLD: &str = "Old";

/// What is known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub number: usize,
    pub caller_id: String,
    pub caller_channel: String,
    pub context: String,
    pub exten: String,
    pub priority: i32,
    /// Seconds since 1970.
    pub time: u64,
    pub duration: u64,
    pub id: String,
}

/// How many messages a mailbox has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub new: usize,
    pub old: usize,
}

/// The folder of a mailbox.
#[derive(Clone, Debug)]
pub struct Spool {
    home: PathBuf,
    format: String,
}

/// A value of a message's file is one line.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

impl Spool {
    /// The folder of `mailbox` below `root`.
    #[must_use]
    pub fn new(root: &Path, mailbox: &Mailbox) -> Self {
        Self {
            home: root.join(&mailbox.context).join(&mailbox.number),
            format: mailbox.format.clone(),
        }
    }

    fn folder(&self, folder: &str) -> io::Result<PathBuf> {
        if is_name(folder) {
            Ok(self.home.join(folder))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("\"{folder}\" is no folder"),
            ))
        }
    }

    /// A greeting: `unavail`, `busy`, `temp`, `greet`. Its path without extension, as sounds are named.
    #[must_use]
    pub fn greeting(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Is there such a greeting, in any format?
    #[must_use]
    pub fn has_greeting(&self, name: &str) -> bool {
        let prefix = format!("{name}.");
        fs::read_dir(&self.home).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        })
    }

    /// A place to record to, which nothing else uses.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn draft(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.home.join("tmp");
        fs::create_dir_all(&folder)?;
        Ok(folder.join(one_line(name)))
    }

    /// Puts a recorded draft in place of a greeting.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_greeting(&self, draft: &Path, name: &str) -> io::Result<()> {
        let from = with_extension(draft, &self.format);
        fs::rename(from, with_extension(&self.greeting(name), &self.format))
    }

    /// Numbers of the messages in a folder, in order.
    fn numbers(&self, folder: &str) -> io::Result<Vec<usize>> {
        let entries = match fs::read_dir(self.folder(folder)?) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let number: Option<usize> = name
                .strip_prefix("msg")
                .and_then(|rest| rest.strip_suffix(".txt"))
                .and_then(|number| number.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// How many messages are in a folder.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn count(&self, folder: &str) -> io::Result<usize> {
        Ok(self.numbers(folder)?.len())
    }

    /// New and old messages.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn counts(&self) -> io::Result<Counts> {
        Ok(Counts {
            new: self.count(INBOX)?,
            old: self.count(OLD)?,
        })
    }

    fn stem(&self, folder: &str, number: usize) -> io::Result<PathBuf> {
        Ok(self.folder(folder)?.join(format!("msg{number:04}")))
    }

    /// A message without extension, as sounds are named.
    ///
    /// # Errors
    /// It is no folder.
    pub fn sound(&self, folder: &str, number: usize) -> io::Result<PathBuf> {
        self.stem(folder, number)
    }

    /// Puts a recorded draft into a folder as its last message; with `keep` the draft stays. The path of the recording.
    ///
    /// # Errors
    /// The disk refuses, or the folder has `max` messages ([`io::ErrorKind::StorageFull`]).
    pub fn store(
        &self,
        draft: &Path,
        folder: &str,
        mailbox: &Mailbox,
        message: &Message,
        keep: bool,
    ) -> io::Result<PathBuf> {
        let numbers = self.numbers(folder)?;
        if numbers.len() >= mailbox.messages_max {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{} messages are the limit", mailbox.messages_max),
            ));
        }
        fs::create_dir_all(self.folder(folder)?)?;
        let number = numbers.last().map_or(0, |last| last + 1);
        let stem = self.stem(folder, number)?;
        let recording = with_extension(&stem, &self.format);
        let from = with_extension(draft, &mailbox.format);
        if keep {
            fs::copy(from, &recording)?;
        } else {
            fs::rename(from, &recording)?;
        }
        // Last, because a message is one whose text is there.
        let text = stem.with_extension("txt.new");
        fs::write(&text, write(mailbox, message))?;
        fs::rename(text, stem.with_extension("txt"))?;
        Ok(recording)
    }

    /// The messages of a folder, in order.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn list(&self, folder: &str) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        for number in self.numbers(folder)? {
            let text = fs::read_to_string(self.stem(folder, number)?.with_extension("txt"))?;
            messages.push(Message {
                number,
                ..read(&text)
            });
        }
        Ok(messages)
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn delete(&self, folder: &str, number: usize) -> io::Result<()> {
        for file in self.files(folder, number)? {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    /// Puts a message into another folder, as its last.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn move_to(&self, folder: &str, number: usize, to: &str) -> io::Result<()> {
        if folder == to {
            return Ok(());
        }
        fs::create_dir_all(self.folder(to)?)?;
        let last = self.numbers(to)?.last().map_or(0, |last| last + 1);
        let target = self.stem(to, last)?;
        for file in self.files(folder, number)? {
            let extension = file.extension().unwrap_or_default().to_string_lossy();
            fs::rename(&file, with_extension(&target, &extension))?;
        }
        Ok(())
    }

    /// Numbers the messages of a folder from 0 again.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn renumber(&self, folder: &str) -> io::Result<()> {
        for (new, number) in self.numbers(folder)?.into_iter().enumerate() {
            if new != number {
                let target = self.stem(folder, new)?;
                for file in self.files(folder, number)? {
                    let extension = file.extension().unwrap_or_default().to_string_lossy();
                    fs::rename(&file, with_extension(&target, &extension))?;
                }
            }
        }
        Ok(())
    }

    /// The files of a message, its text first: without it there is no message.
    fn files(&self, folder: &str, number: usize) -> io::Result<Vec<PathBuf>> {
        let prefix = format!("msg{number:04}.");
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder(folder)?)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                files.push(entry.path());
            }
        }
        files.sort_by_key(|file| file.extension().is_none_or(|extension| extension != "txt"));
        Ok(files)
    }
}

/// Adds an extension: a name may have dots of its own.
#[must_use]
pub fn with_extension(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn write(mailbox: &Mailbox, message: &Message) -> String {
    let time = UNIX_EPOCH + std::time::Duration::from_secs(message.time);
    let date = DateTime::<Local>::from(time).format("%a %b %e %r %Z %Y");
    format!(
        ";\n; Message Information file\n;\n[message]\norigmailbox={}\ncontext={}\nmacrocontext=\nexten={}\nrdnis=unknown\n\
         priority={}\ncallerchan={}\ncallerid={}\norigdate={date}\norigtime={}\ncategory=\nmsg_id={}\nflag=\nduration={}\n",
        mailbox.number,
        one_line(&message.context),
        one_line(&message.exten),
        message.priority,
        one_line(&message.caller_channel),
        one_line(&message.caller_id),
        message.time,
        one_line(&message.id),
        message.duration
    )
}

fn read(text: &str) -> Message {
    let get = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut found = lines.filter(|(key, _)| key.trim() == name);
        found
            .next()
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    Message {
        number: 0,
        caller_id: get("callerid"),
        caller_channel: get("callerchan"),
        context: get("context"),
        exten: get("exten"),
        priority: get("priority").parse().unwrap_or(0),
        time: get("origtime").parse().unwrap_or(0),
        duration: get("duration").parse().unwrap_or(0),
        id: get("msg_id"),
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_stored_moved_deleted_and_numbered_anew() {
        let root = tempfile::tempdir().unwrap();
        let mailbox = Mailbox {
            number: "100".to_owned(),
            messages_max: 3,
            ..Mailbox::default()
        };
        let spool = Spool::new(root.path(), &mailbox);
        assert_eq!(spool.counts().unwrap(), Counts::default());
        let store = |caller: &str| {
            let draft = spool.draft("draft").unwrap();
            fs::write(with_extension(&draft, "wav"), caller).unwrap();
            let message = Message {
                caller_id: format!("\"{caller}\"\n <1>"),
                time: 1_700_000_000,
                duration: 7,
                ..Message::default()
            };
            spool.store(&draft, INBOX, &mailbox, &message, false)
        };
        for caller in ["a", "b", "c"] {
            store(caller).unwrap();
        }
        assert_eq!(store("d").unwrap_err().kind(), io::ErrorKind::StorageFull);
        let home = root.path().join("default/100");
        assert_eq!(
            fs::read_to_string(home.join("INBOX/msg0001.wav")).unwrap(),
            "b"
        );
        let text = fs::read_to_string(home.join("INBOX/msg0001.txt")).unwrap();
        assert!(
            text.contains("\norigmailbox=100\n") && text.contains("\ncallerid=\"b\" <1>\n"),
            "{text}"
        );
        let list = spool.list(INBOX).unwrap();
        assert_eq!(
            (list.len(), list[1].duration, list[1].time),
            (3, 7, 1_700_000_000)
        );
        spool.move_to(INBOX, 1, OLD).unwrap();
        spool.delete(INBOX, 0).unwrap();
        assert_eq!(spool.counts().unwrap(), Counts { new: 1, old: 1 });
        spool.renumber(INBOX).unwrap();
        assert_eq!(
            fs::read_to_string(home.join("INBOX/msg0000.wav")).unwrap(),
            "c"
        );
        assert_eq!(
            fs::read_to_string(home.join("Old/msg0000.wav")).unwrap(),
            "b"
        );
        assert!(spool.count("../..").is_err());
        assert!(!spool.has_greeting("unavail"));
        let draft = spool.draft("greeting").unwrap();
        fs::write(with_extension(&draft, "wav"), "hello").unwrap();
        spool.keep_greeting(&draft, "unavail").unwrap();
        assert!(spool.has_greeting("unavail"));
    }
}
