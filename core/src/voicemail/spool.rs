//! Messages and greetings on disk, as Asterisk lays them out: `context/number/INBOX/msg0000.wav` with `msg0000.txt` beside
//! it, greetings as `unavail.wav`, `busy.wav`, `temp.wav` and `greet.wav`. Everything here waits for the disk: it is for the
//! control runtime.

use std::fs;
use std::io::{self, Read as _};
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

/// Bytes of a message's text at most.
const TEXT_MAX: u64 = 65_536;

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

impl Message {
    /// Are both the same message, whatever its number is now?
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        if self.id.is_empty() || other.id.is_empty() {
            (self.time, &self.caller_id, self.duration)
                == (other.time, &other.caller_id, other.duration)
        } else {
            self.id == other.id
        }
    }
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

    /// Deletes a greeting, in whatever formats it is there.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove_greeting(&self, name: &str) -> io::Result<()> {
        let prefix = format!("{name}.");
        for entry in fs::read_dir(&self.home)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Puts a recorded draft in place of a greeting.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_greeting(&self, draft: &Path, name: &str) -> io::Result<()> {
        let from = with_extension(draft, &self.format);
        let kept = with_extension(&self.greeting(name), &self.format);
        fs::rename(from, &kept)?;
        // One of another format would be played in its place.
        let prefix = format!("{name}.");
        for entry in fs::read_dir(&self.home)? {
            let entry = entry?;
            if entry.path() != kept && entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Throws a draft away; it may never have been written.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn drop_draft(&self, draft: &Path) -> io::Result<()> {
        match fs::remove_file(with_extension(draft, &self.format)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A second name of a recording, that stays while the message itself may be moved or deleted.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn attachment(&self, recording: &Path, id: &str) -> io::Result<PathBuf> {
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = id.chars().map(safe).collect();
        let folder = self.home.join("tmp").join(format!("mail-{name}"));
        fs::create_dir_all(&folder)?;
        let file = folder.join(recording.file_name().unwrap_or_default());
        fs::hard_link(recording, &file).or_else(|_| fs::copy(recording, &file).map(drop))?;
        Ok(file)
    }

    /// Takes back what [`Self::attachment`] made.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove_attachment(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)?;
        file.parent().map_or(Ok(()), fs::remove_dir)
    }

    /// The number that a message has now in a folder: another visit may have numbered it anew.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn find(&self, folder: &str, message: &Message) -> io::Result<Option<usize>> {
        let list = self.list(folder)?;
        // Where it always was, if there are several that nothing tells apart.
        let same: Vec<usize> = list
            .into_iter()
            .filter(|one| one.is_same(message))
            .map(|one| one.number)
            .collect();
        let there = same.iter().find(|number| **number == message.number);
        Ok(there.or(same.first()).copied())
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
        let recording = with_extension(&stem, &mailbox.format);
        let from = with_extension(draft, &mailbox.format);
        let text = stem.with_extension("txt.new");
        // Last its text, because a message is one whose text is there; and a draft goes when nothing can fail any more.
        let taken = if keep {
            // Not a second name of it: whoever writes the original anew would write into the message.
            fs::copy(&from, &recording).map(drop)
        } else {
            fs::hard_link(&from, &recording).or_else(|_| fs::copy(&from, &recording).map(drop))
        };
        let stored = taken
            .and_then(|()| fs::write(&text, write(mailbox, message)))
            .and_then(|()| fs::rename(&text, stem.with_extension("txt")));
        if let Err(error) = stored {
            for left in [&text, &recording] {
                // What could not be made is not there either.
                let _ = fs::remove_file(left);
            }
            return Err(error);
        }
        if !keep {
            fs::remove_file(from)?;
        }
        Ok(recording)
    }

    /// The messages of a folder, in order.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn list(&self, folder: &str) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        for number in self.numbers(folder)? {
            let file = self.stem(folder, number)?.with_extension("txt");
            // One bad file is no reason to keep all the others from their owner.
            match read_text(&file) {
                Ok(text) => messages.push(Message {
                    number,
                    ..read(&text)
                }),
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "message passed over");
                }
            }
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

    /// Puts a message into another folder, as its last. Of those that were heard the oldest makes room if there are `max`.
    ///
    /// # Errors
    /// The disk refuses, or another folder than [`OLD`] has `max` messages ([`io::ErrorKind::StorageFull`]).
    pub fn move_to(&self, folder: &str, number: usize, to: &str, max: usize) -> io::Result<()> {
        if folder == to {
            return Ok(());
        }
        fs::create_dir_all(self.folder(to)?)?;
        let there = self.numbers(to)?;
        let excess = (there.len() + 1).saturating_sub(max.max(1));
        if excess > 0 && to != OLD {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{max} messages in folder {to} are the limit"),
            ));
        }
        for oldest in there.into_iter().take(excess) {
            self.delete(to, oldest)?;
        }
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

/// As much of a message's text as it can be, whatever it is made of.
fn read_text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(file)?
        .take(TEXT_MAX)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
        spool.move_to(INBOX, 1, OLD, 3).unwrap();
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
        // The limit holds in other folders too; in one of heard messages the oldest makes room.
        store("e").unwrap();
        spool.move_to(INBOX, 0, "Work", 1).unwrap();
        let refused = spool.move_to(INBOX, 1, "Work", 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        spool.move_to(INBOX, 1, OLD, 1).unwrap();
        assert_eq!(spool.counts().unwrap(), Counts { new: 0, old: 1 });
        assert_eq!(spool.list(OLD).unwrap()[0].caller_id, "\"e\" <1>");
        assert!(!spool.has_greeting("unavail"));
        let draft = spool.draft("greeting").unwrap();
        fs::write(with_extension(&draft, "wav"), "hello").unwrap();
        spool.keep_greeting(&draft, "unavail").unwrap();
        assert!(spool.has_greeting("unavail"));
    }

    fn mailbox() -> Mailbox {
        Mailbox {
            number: "100".to_owned(),
            messages_max: 3,
            ..Mailbox::default()
        }
    }

    fn message(id: &str) -> Message {
        Message {
            id: id.to_owned(),
            caller_id: "\"a\" <1>".to_owned(),
            time: 1_700_000_000,
            ..Message::default()
        }
    }

    #[test]
    fn a_message_is_found_by_what_it_is_after_others_are_gone() {
        let root = tempfile::tempdir().unwrap();
        let mailbox = mailbox();
        let spool = Spool::new(root.path(), &mailbox);
        for id in ["a", "b", "c"] {
            let draft = spool.draft(id).unwrap();
            fs::write(with_extension(&draft, "wav"), id).unwrap();
            spool
                .store(&draft, INBOX, &mailbox, &message(id), false)
                .unwrap();
            assert!(!with_extension(&draft, "wav").exists());
        }
        let seen = spool.list(INBOX).unwrap();
        // Another visit.
        spool.delete(INBOX, 0).unwrap();
        spool.renumber(INBOX).unwrap();
        let numbers: Vec<Option<usize>> = seen
            .iter()
            .map(|message| spool.find(INBOX, message).unwrap())
            .collect();
        assert_eq!(numbers, [None, Some(0), Some(1)]);
        // One text that is no text keeps nobody from the others.
        let folder = root.path().join("default/100/INBOX");
        fs::write(folder.join("msg0000.txt"), b"[message]\ncallerid=\xff\n").unwrap();
        fs::create_dir(folder.join("msg0007.txt")).unwrap();
        let list = spool.list(INBOX).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[1].id, "c");
    }

    #[test]
    fn a_draft_that_cannot_be_stored_stays() {
        let root = tempfile::tempdir().unwrap();
        let mailbox = mailbox();
        let spool = Spool::new(root.path(), &mailbox);
        let draft = spool.draft("draft").unwrap();
        let file = with_extension(&draft, "wav");
        fs::write(&file, "said").unwrap();
        // A file is in the place of the folder.
        fs::write(root.path().join("default/100/INBOX"), "").unwrap();
        assert!(
            spool
                .store(&draft, INBOX, &mailbox, &message("a"), false)
                .is_err()
        );
        assert_eq!(fs::read_to_string(file).unwrap(), "said");
    }

    #[test]
    fn what_is_on_its_way_by_mail_is_not_lost_with_its_message() {
        let root = tempfile::tempdir().unwrap();
        let mailbox = mailbox();
        let spool = Spool::new(root.path(), &mailbox);
        let draft = spool.draft("draft").unwrap();
        fs::write(with_extension(&draft, "wav"), "said").unwrap();
        let stored = spool
            .store(&draft, INBOX, &mailbox, &message("1/2.3"), false)
            .unwrap();
        let attached = spool.attachment(&stored, "1/2.3").unwrap();
        spool.delete(INBOX, 0).unwrap();
        assert_eq!(fs::read_to_string(&attached).unwrap(), "said");
        assert_eq!(attached.file_name().unwrap(), "msg0000.wav");
        spool.remove_attachment(&attached).unwrap();
        assert!(
            fs::read_dir(root.path().join("default/100/tmp"))
                .unwrap()
                .next()
                .is_none()
        );
    }

    #[test]
    fn a_new_greeting_takes_the_place_of_one_in_another_format() {
        let root = tempfile::tempdir().unwrap();
        let mailbox = mailbox();
        let spool = Spool::new(root.path(), &mailbox);
        let draft = spool.draft("g").unwrap();
        let home = root.path().join("default/100");
        for (name, text) in [("unavail.gsm", "old"), ("busy.gsm", "busy")] {
            fs::write(home.join(name), text).unwrap();
        }
        fs::write(with_extension(&draft, "wav"), "new").unwrap();
        spool.keep_greeting(&draft, "unavail").unwrap();
        assert!(!home.join("unavail.gsm").exists() && home.join("busy.gsm").exists());
        // One that was never written changes nothing.
        assert!(spool.keep_greeting(&draft, "unavail").is_err());
        spool.drop_draft(&draft).unwrap();
        assert_eq!(fs::read_to_string(home.join("unavail.wav")).unwrap(), "new");
    }
}
