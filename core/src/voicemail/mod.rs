//! Voice mailboxes: who has one, the messages in it, and telling others that there are new ones.
//!
//! What lives here: the configuration of mailboxes, their folders on disk and the e-mail about a message. What never does:
//! prompts and digits (the applications `VoiceMail` and `VoiceMailMain`).

mod deliver;
mod settings;
mod spool;
mod sweep;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Local};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use strowger_store::{Key, Write};
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, broadcast};

pub use deliver::remove_draft;
pub use settings::{DEFAULT_CONTEXT, Mailbox, all, find, is_name, split};
pub use spool::{Counts, FOLDERS, INBOX, Message, OLD, Spool, now, with_extension};

use crate::mail::{self, Mail};
use crate::shared::Shared;

pub(crate) use sweep::start;

/// Changes that a subscriber may be behind.
const BEHIND_MAX: usize = 1024;
/// Mailboxes are locked by the hash of their name.
const LOCKS: usize = 64;
/// Wrong passwords after which a mailbox stays closed, and for how long.
const FAILURES_MAX: u32 = 10;
const REFUSED_FOR: Duration = Duration::from_secs(300);
/// Mailboxes of other systems.
const EXTERNAL_MAX: usize = 100_000;
/// Mailboxes whose wrong passwords are counted.
const FAILING_MAX: usize = 10_000;

/// Work with files of mailboxes at a time, and how long a call waits for it before it is told that the disk does not answer.
const JOBS_MAX: usize = 64;
pub const DISK_WAIT: Duration = Duration::from_secs(20);
/// The same where no call waits.
const SLOW_DISK: Duration = Duration::from_secs(600);
/// Messages on their way by e-mail, and those of them that are sent at a time.
const MAILS_MAX: usize = 1000;
const MAILS_AT_ONCE: usize = 16;

/// A mailbox has other messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxChange {
    /// `number@context`.
    pub mailbox: Arc<str>,
    pub counts: Counts,
}

/// What mailboxes of all shards share.
pub struct Voicemail {
    changes: broadcast::Sender<MailboxChange>,
    /// Messages in mailboxes of other systems, as they told us.
    external: Mutex<FxHashMap<String, Counts>>,
    /// Held while messages of a mailbox are numbered, by work that may wait for the disk.
    locks: [Arc<tokio::sync::Mutex<()>>; LOCKS],
    /// Wrong passwords of mailboxes, and when the last of them came.
    failures: Mutex<FxHashMap<String, (u32, Instant)>>,
    /// Work with files that goes on.
    jobs: Arc<Semaphore>,
    /// Places of messages that are on their way by e-mail, and turns to be sent.
    mails: Arc<Semaphore>,
    sending: Semaphore,
    mails_refused: AtomicU64,
}

impl Default for Voicemail {
    fn default() -> Self {
        Self {
            changes: broadcast::channel(BEHIND_MAX).0,
            external: Mutex::default(),
            locks: std::array::from_fn(|_| Arc::default()),
            failures: Mutex::default(),
            jobs: Arc::new(Semaphore::new(JOBS_MAX)),
            mails: Arc::new(Semaphore::new(MAILS_MAX)),
            sending: Semaphore::new(MAILS_AT_ONCE),
            mails_refused: AtomicU64::new(0),
        }
    }
}

impl Voicemail {
    /// Changes of mailboxes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<MailboxChange> {
        self.changes.subscribe()
    }

    /// Another system tells how many messages are in a mailbox of its own. False: too many such mailboxes are known.
    pub fn set_external(&self, name: &str, counts: Counts) -> bool {
        let (number, context) = split(name);
        let name = format!("{number}@{context}");
        {
            let mut external = self.external.lock();
            if external.len() >= EXTERNAL_MAX && !external.contains_key(&name) {
                return false;
            }
            if external.insert(name.clone(), counts) == Some(counts) {
                return true;
            }
        }
        let mailbox = name.into();
        // An error only means that nobody listens.
        let _ = self.changes.send(MailboxChange { mailbox, counts });
        true
    }

    /// No other system tells of a mailbox any more: nothing waits there.
    pub(crate) fn forget_external(&self, name: &str) {
        let (number, context) = split(name);
        let name = format!("{number}@{context}");
        let counts = Counts::default();
        let told = self.external.lock().remove(&name);
        if told.is_some_and(|told| told != counts) {
            let mailbox = name.into();
            // An error only means that nobody listens.
            let _ = self.changes.send(MailboxChange { mailbox, counts });
        }
    }

    /// What another system told of a mailbox.
    fn external(&self, name: &str) -> Counts {
        let (number, context) = split(name);
        let external = self.external.lock();
        let known = external.get(&format!("{number}@{context}"));
        known.copied().unwrap_or_default()
    }

    /// Messages that were not sent by e-mail because too many waited.
    pub fn mails_refused(&self) -> u64 {
        self.mails_refused.load(Ordering::Relaxed)
    }

    /// Does this password open a mailbox? Nothing does for a while after many wrong ones, however many calls they came in;
    /// and none opens one without a password.
    pub fn opens(&self, mailbox: &Mailbox, password: &str) -> bool {
        self.opens_at(mailbox, password, crate::clock::now())
    }

    fn opens_at(&self, mailbox: &Mailbox, password: &str, now: Instant) -> bool {
        let mut failures = self.failures.lock();
        let recent = |at: Instant| now.saturating_duration_since(at) < REFUSED_FOR;
        let name = mailbox.name();
        let before = failures.get(&name).filter(|(_, at)| recent(*at));
        let before = before.map_or(0, |(count, _)| *count);
        let right = bool::from(mailbox.password.as_bytes().ct_eq(password.as_bytes()));
        if before < FAILURES_MAX && right && !mailbox.password.is_empty() {
            failures.remove(&name);
            return true;
        }
        // Who is refused may try again after a time without tries, not after one full of them.
        if failures.len() >= FAILING_MAX {
            failures.retain(|_, (_, at)| recent(*at));
        }
        if failures.len() < FAILING_MAX || failures.contains_key(&name) {
            failures.insert(name, (before.saturating_add(1), now));
        }
        false
    }

    fn lock(&self, mailbox: &Mailbox) -> &Arc<tokio::sync::Mutex<()>> {
        let mut hasher = DefaultHasher::new();
        mailbox.name().hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        &self.locks[index]
    }
}

impl Shared {
    /// Where messages are.
    #[must_use]
    pub fn voicemail_folder(&self) -> PathBuf {
        self.paths.spool.join("voicemail")
    }

    /// The mailbox of this name.
    #[must_use]
    pub fn mailbox(&self, name: &str) -> Option<Mailbox> {
        find(&self.snapshot(), name)
    }

    /// Does something with the files of a mailbox, alone with them, on a thread that may wait for the disk. Afterwards those
    /// who subscribed are told how many messages there are.
    ///
    /// # Errors
    /// What `work` says; [`io::ErrorKind::TimedOut`] where the disk does not answer, though what was begun may be done later.
    pub async fn with_mailbox<R: Send + 'static>(
        self: &Arc<Self>,
        mailbox: &Mailbox,
        work: impl FnOnce(&Spool) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        self.with_mailbox_within(DISK_WAIT, mailbox, work).await
    }

    async fn with_mailbox_within<R: Send + 'static>(
        self: &Arc<Self>,
        limit: Duration,
        mailbox: &Mailbox,
        work: impl FnOnce(&Spool) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
        let until = tokio::time::Instant::now() + limit;
        // Before the place, so that a mailbox whose disk hangs takes one place and not all of them.
        let alone = Arc::clone(self.voicemail.lock(mailbox)).lock_owned();
        let alone = tokio::time::timeout_at(until, alone).await;
        let alone = alone.map_err(|_| late())?;
        let place = Arc::clone(&self.voicemail.jobs).acquire_owned();
        let place = tokio::time::timeout_at(until, place).await;
        let place = place.map_err(|_| late())?.map_err(io::Error::other)?;
        let (shared, mailbox) = (Arc::clone(self), mailbox.clone());
        let done = self.control.spawn_blocking(move || {
            // Until the disk answers, whether somebody waits for it or not.
            let _held = (alone, place);
            let spool = Spool::new(&shared.voicemail_folder(), &mailbox);
            let before = spool.counts().unwrap_or_default();
            let result = work(&spool);
            if let Ok(counts) = spool.counts()
                && counts != before
            {
                // An error only means that nobody listens.
                let _ = shared.voicemail.changes.send(MailboxChange {
                    mailbox: mailbox.name().into(),
                    counts,
                });
            }
            result
        });
        match tokio::time::timeout_at(until, done).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(late()),
        }
    }

    /// New and old messages of a mailbox; where it is none of ours, what another system told of it.
    ///
    /// # Errors
    /// The disk refuses, or does not answer in time.
    pub async fn mailbox_counts(self: &Arc<Self>, name: &str) -> io::Result<Counts> {
        let Some(mailbox) = self.mailbox(name) else {
            return Ok(self.voicemail.external(name));
        };
        self.with_mailbox(&mailbox, Spool::counts).await
    }

    /// Sends word of a message by e-mail, if the mailbox wants it. True if nothing stands in the way of deleting it here.
    async fn mail_message(
        &self,
        mailbox: &Mailbox,
        message: &Message,
        attached: Option<&Path>,
    ) -> bool {
        if mailbox.email.is_empty() {
            return false;
        }
        let time = std::time::UNIX_EPOCH + Duration::from_secs(message.time);
        let date = DateTime::<Local>::from(time).format("%Y-%m-%d %H:%M:%S");
        let mail = Mail {
            to: mailbox.email.clone(),
            subject: format!(
                "New message in mailbox {} from {}",
                mailbox.number, message.caller_id
            ),
            text: format!(
                "{}\n\nMailbox: {}\nFrom: {}\nDate: {date}\nLength: {} s\n",
                mailbox.full_name, mailbox.number, message.caller_id, message.duration
            ),
            attachment: attached.map(Path::to_owned),
        };
        match mail::send(&self.config.mail, mail).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(mailbox = mailbox.name(), %error, "message not sent by e-mail; it stays in the mailbox");
                false
            }
        }
    }

    /// Gives a mailbox of the table another password. False: it is no mailbox of the table, or there is no database.
    pub fn set_mailbox_password(&self, mailbox: &Mailbox, password: &str) -> bool {
        let (true, Some(writer)) = (mailbox.is_realtime, self.writer()) else {
            return false;
        };
        writer.write(Write::Update {
            table: "voicemail",
            key: vec![
                Key::new("mailbox", &mailbox.number),
                Key::new("context", &mailbox.context).or(DEFAULT_CONTEXT),
            ],
            values: vec![("password", password.to_owned())],
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wrong_passwords_close_a_mailbox_for_a_while() {
        let voicemail = Voicemail::default();
        let mailbox = |number: &str, password: &str| Mailbox {
            number: number.to_owned(),
            password: password.to_owned(),
            ..Mailbox::default()
        };
        let (anna, boris) = (mailbox("100", "1234"), mailbox("200", "1234"));
        let start = Instant::now();
        for _ in 0..9 {
            assert!(!voicemail.opens_at(&anna, "1", start));
        }
        assert!(voicemail.opens_at(&anna, "1234", start));
        for _ in 0..10 {
            assert!(!voicemail.opens_at(&anna, "12345", start));
        }
        assert!(!voicemail.opens_at(&anna, "1234", start));
        assert!(voicemail.opens_at(&boris, "1234", start));
        assert!(voicemail.opens_at(&anna, "1234", start + REFUSED_FOR));
        assert!(!voicemail.opens_at(&mailbox("300", ""), "", start));
    }
}
