//! Messages into mailboxes, and from there by e-mail. What waits for a disk or a mail server is bounded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{INBOX, MAILS_MAX, Mailbox, Message, SLOW_DISK, with_extension};
use crate::shared::Shared;

impl Shared {
    /// Puts a recording into mailboxes and sends it from there. How many have it. The recording goes when one has it, unless
    /// it is to be kept. It is named without its extension, which is the format of the first mailbox.
    pub async fn deliver(
        self: &Arc<Self>,
        mailboxes: &[Mailbox],
        message: &Message,
        draft: &Path,
        keep: bool,
    ) -> usize {
        let shared = self;
        let format = mailboxes.first().map(|first| first.format.clone());
        let (mut stored, mut moved, mut late) = (0, false, false);
        for (index, mailbox) in mailboxes.iter().enumerate() {
            let (told, from) = (message.clone(), draft.to_owned());
            // All copies are in the format that was recorded.
            let own = Mailbox {
                format: format.clone().unwrap_or_default(),
                ..mailbox.clone()
            };
            // What comes late still needs the draft.
            let is_last = !keep && !late && index + 1 == mailboxes.len();
            let done = shared
                .with_mailbox_within(SLOW_DISK, mailbox, move |spool| {
                    let file = spool.store(&from, INBOX, &own, &told, !is_last)?;
                    // Nobody deletes or numbers it anew while it is on its way.
                    let attached = (!own.email.is_empty() && own.attach)
                        .then(|| spool.attachment(&file, &told.id));
                    Ok(attached.transpose())
                })
                .await;
            match done {
                Ok(attached) => {
                    stored += 1;
                    moved = is_last;
                    match attached {
                        Ok(attached) => send(shared, mailbox, message, attached),
                        Err(error) => tracing::warn!(
                            mailbox = mailbox.name(), %error,
                            "message not sent by e-mail; it stays in the mailbox"
                        ),
                    }
                }
                Err(error) => {
                    late |= error.kind() == std::io::ErrorKind::TimedOut;
                    tracing::error!(
                        mailbox = mailbox.name(), %error, draft = %draft.display(),
                        "a message is not in its mailbox"
                    );
                }
            }
        }
        if stored > 0 && !moved && !keep && !late {
            remove_draft(shared, with_extension(draft, &format.unwrap_or_default())).await;
        }
        stored
    }
}

/// Sends the message by e-mail, behind the caller's back.
fn send(shared: &Arc<Shared>, mailbox: &Mailbox, message: &Message, attached: Option<PathBuf>) {
    if mailbox.email.is_empty() {
        return;
    }
    let (mailbox, message) = (mailbox.clone(), message.clone());
    let shared = Arc::clone(shared);
    let control = shared.control.clone();
    let place = Arc::clone(&shared.voicemail.mails).try_acquire_owned();
    control.spawn(async move {
        let sent = match &place {
            Ok(_) => {
                let _turn = shared.voicemail.sending.acquire().await;
                shared
                    .mail_message(&mailbox, &message, attached.as_deref())
                    .await
            }
            Err(_) => {
                let refused = &shared.voicemail.mails_refused;
                refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    mailbox = mailbox.name(),
                    "message not sent by e-mail: {MAILS_MAX} wait already; it stays in the mailbox"
                );
                false
            }
        };
        let done = shared
            .with_mailbox_within(SLOW_DISK, &mailbox, {
                let delete = sent && mailbox.delete;
                move |spool| {
                    if let Some(attached) = attached {
                        spool.remove_attachment(&attached)?;
                    }
                    if !delete {
                        return Ok(());
                    }
                    // By what it is: others may have been numbered anew meanwhile.
                    match spool.find(INBOX, &message)? {
                        Some(number) => spool.delete(INBOX, number),
                        None => Ok(()),
                    }
                }
            })
            .await;
        if let Err(error) = done {
            tracing::warn!(mailbox = mailbox.name(), %error, "message not deleted");
        }
    });
}

/// Deletes a draft, which may never have been written.
pub async fn remove_draft(shared: &Arc<Shared>, file: PathBuf) {
    let name = file.display().to_string();
    let removed = shared
        .control
        .spawn_blocking(move || std::fs::remove_file(file))
        .await;
    if let Ok(Err(error)) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(file = name, %error, "draft not deleted");
    }
}
