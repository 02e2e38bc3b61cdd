//! Voice mailboxes: who has one, the messages in it, and telling others that there are new ones.
//!
//! What lives here: the configuration of mailboxes, their folders on disk and the e-mail about a message. What never does:
//! prompts and digits (the applications `VoiceMail` and `VoiceMailMain`).

mod settings;
mod spool;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Local};
use parking_lot::Mutex;
use strowger_store::Write;
use tokio::sync::broadcast;

pub use settings::{DEFAULT_CONTEXT, Mailbox, all, find, is_name, split};
pub use spool::{Counts, FOLDERS, INBOX, Message, OLD, Spool, now, with_extension};

use crate::mail::{self, Mail};
use crate::shared::Shared;

/// Changes that a subscriber may be behind.
const BEHIND_MAX: usize = 1024;
/// Mailboxes are locked by the hash of their name.
const LOCKS: usize = 64;

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
    /// Held while messages of a mailbox are numbered, by threads that may wait for the disk.
    locks: [Mutex<()>; LOCKS],
}

impl Default for Voicemail {
    fn default() -> Self {
        Self {
            changes: broadcast::channel(BEHIND_MAX).0,
            locks: std::array::from_fn(|_| Mutex::new(())),
        }
    }
}

impl Voicemail {
    /// Changes of mailboxes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<MailboxChange> {
        self.changes.subscribe()
    }

    fn lock(&self, mailbox: &Mailbox) -> &Mutex<()> {
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
    /// What `work` says.
    pub async fn with_mailbox<R: Send + 'static>(
        self: &Arc<Self>,
        mailbox: &Mailbox,
        work: impl FnOnce(&Spool) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let (shared, mailbox) = (Arc::clone(self), mailbox.clone());
        let done = self.control.spawn_blocking(move || {
            let spool = Spool::new(&shared.voicemail_folder(), &mailbox);
            let _alone = shared.voicemail.lock(&mailbox).lock();
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
        match done.await {
            Ok(result) => result,
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// New and old messages of a mailbox; none where there is no such mailbox.
    pub async fn mailbox_counts(self: &Arc<Self>, name: &str) -> Counts {
        let Some(mailbox) = self.mailbox(name) else {
            return Counts::default();
        };
        self.with_mailbox(&mailbox, Spool::counts)
            .await
            .unwrap_or_default()
    }

    /// Sends word of a message by e-mail, if the mailbox wants it. True if nothing stands in the way of deleting it here.
    pub async fn mail_message(&self, mailbox: &Mailbox, message: &Message, file: &Path) -> bool {
        if mailbox.email.is_empty() {
            return false;
        }
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(message.time);
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
            attachment: mailbox.attach.then(|| file.to_owned()),
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
                ("mailbox", mailbox.number.clone()),
                ("context", mailbox.context.clone()),
            ],
            values: vec![("password", password.to_owned())],
        });
        true
    }
}
