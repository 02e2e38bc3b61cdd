//! Several dialogs for one INVITE: what a forking proxy makes of it (RFC 3261 §13.2.2.4, §12.1.2).

use super::{Dialog, DialogError, DialogId, DialogState};
use crate::message::Message;

/// Forks of one INVITE that are followed; a proxy that rings more telephones gets no early dialogs for the rest. As many
/// again may answer.
const FORKS_MAX: usize = 32;

/// What a response to an INVITE means for its forks.
#[derive(Debug)]
pub enum Fork<'a> {
    /// No dialog: 100, or a provisional response without a To tag.
    None,
    /// A provisional response of this fork.
    Early(&'a mut Dialog),
    /// The first 2xx of this fork: confirmed now. Send the ACK; if another fork won before, a BYE after it.
    Accepted(&'a mut Dialog),
    /// A 2xx of this fork again: send its ACK again ([`Dialog::kept_ack`], here or with who took the dialog).
    Repeated(DialogId),
    /// The INVITE failed: every early dialog has ended (§12.3).
    Failed,
}

/// The dialogs of one INVITE of ours.
#[derive(Debug)]
pub struct Forks {
    invite: Message,
    dialogs: Vec<Dialog>,
    taken: Vec<DialogId>,
}

impl Forks {
    /// The dialogs to come of `invite`, as it was sent.
    #[must_use]
    pub fn new(invite: Message) -> Self {
        Self {
            invite,
            dialogs: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// The INVITE.
    #[must_use]
    pub fn invite(&self) -> &Message {
        &self.invite
    }

    /// The dialogs that exist and were not taken.
    #[must_use]
    pub fn dialogs(&self) -> &[Dialog] {
        &self.dialogs
    }

    /// Takes a response to the INVITE.
    pub fn receive(&mut self, response: &Message) -> Result<Fork<'_>, DialogError> {
        let status = response.status().unwrap_or_default();
        if status >= 300 {
            for dialog in &mut self.dialogs {
                dialog.receive_response(response);
            }
            self.dialogs
                .retain(|dialog| dialog.state() != DialogState::Terminated);
            return Ok(Fork::Failed);
        }
        let Some(id) = DialogId::of_response(response).filter(|_| status > 100) else {
            return Ok(Fork::None);
        };
        let success = status >= 200;
        if self.taken.contains(&id) {
            return Ok(if success {
                Fork::Repeated(id)
            } else {
                Fork::None
            });
        }
        let found = self.dialogs.iter().position(|dialog| *dialog.id() == id);
        let Some(index) = found else {
            // A 2xx should be answered, or its sender repeats it for 32 s; but not without end either.
            let limit = if success { 2 * FORKS_MAX } else { FORKS_MAX };
            if self.dialogs.len() + self.taken.len() >= limit {
                return Err(DialogError::TooManyForks);
            }
            self.dialogs.push(Dialog::uac(&self.invite, response)?);
            return Ok(match self.dialogs.last_mut() {
                Some(dialog) if success => Fork::Accepted(dialog),
                Some(dialog) => Fork::Early(dialog),
                None => Fork::None,
            });
        };
        let Some(dialog) = self.dialogs.get_mut(index) else {
            return Ok(Fork::None);
        };
        let was = dialog.state();
        dialog.receive_response(response);
        Ok(match (was, success) {
            (DialogState::Early, true) => Fork::Accepted(dialog),
            (_, true) => Fork::Repeated(id),
            (_, false) => Fork::Early(dialog),
        })
    }

    /// The early dialog of this identity: a request of the peer may come in it (RFC 3311 §5.2, RFC 6086 §4.2).
    pub fn early_mut(&mut self, id: &DialogId) -> Option<&mut Dialog> {
        let is_it =
            |dialog: &&mut Dialog| dialog.id() == id && dialog.state() == DialogState::Early;
        self.dialogs.iter_mut().find(is_it)
    }

    /// Takes a dialog out, to live on in a call.
    pub fn take(&mut self, id: &DialogId) -> Option<Dialog> {
        let index = self.dialogs.iter().position(|dialog| dialog.id() == id)?;
        self.taken.push(id.clone());
        Some(self.dialogs.swap_remove(index))
    }
}
