//! Requests other than INVITE that are challenged: sent again with credentials (RFC 3261 §22.2).

use std::rc::Rc;

use strowger_sip::transaction::ClientId;
use strowger_sip::{Builder, Flow, HeaderName, Message};

use super::{ClientUser, DialogKey, Shard};

/// A request that is sent again with credentials if it is challenged.
pub(super) struct Challengeable {
    request: Message,
    auths: Vec<String>,
    /// How often it has been: a proxy may ask, and then the far end.
    answered: u8,
}

/// Challenges answered for one request.
const CHALLENGES_MAX: u8 = 2;

impl Shard {
    /// Sends a request in a dialog, or one of its own that needs no more than an answer; challenges are answered with `auths`.
    pub(crate) fn request_in_dialog(
        self: &Rc<Self>,
        message: Message,
        flow: Flow,
        auths: Vec<String>,
    ) {
        self.request_challengeable(message, flow, auths, 0);
    }

    fn request_challengeable(
        self: &Rc<Self>,
        message: Message,
        flow: Flow,
        auths: Vec<String>,
        answered: u8,
    ) {
        let copy = (!auths.is_empty() && answered < CHALLENGES_MAX).then(|| message.clone());
        if let Some(id) = self.request(message, flow, ClientUser::InDialog)
            && let Some(request) = copy
        {
            // Sending may have failed already, with its end told before we knew its id.
            if self.is_client_open(id) {
                let waiting = Challengeable {
                    request,
                    auths,
                    answered,
                };
                self.challengeable.borrow_mut().insert(id, waiting);
            }
        }
    }

    pub(super) fn answer_in_dialog(self: &Rc<Self>, id: ClientId, response: &Message, flow: Flow) {
        if !matches!(response.status(), Some(401 | 407)) {
            return;
        }
        let waiting = self.challengeable.borrow_mut().remove(&id);
        if let Some(Challengeable {
            request,
            auths,
            answered,
        }) = waiting
        {
            let via = crate::call::session::new_via(self, &flow).to_string();
            let snapshot = self.shared.snapshot();
            let again =
                crate::endpoint::answer_challenge(&snapshot, &auths, &request, response, &via);
            if let Some(again) = again {
                let again = self.renumber(again);
                self.request_challengeable(again, flow, auths, answered + 1);
            }
        }
    }

    /// The same request with the next number of its dialog, where it has one: others may have been sent meanwhile.
    fn renumber(&self, request: Message) -> Message {
        let key = || {
            Some(DialogKey {
                call_id: request.call_id().ok()?.to_owned(),
                local_tag: request.from().ok()?.tag()?.to_owned(),
            })
        };
        let channel = key().and_then(|key| self.dialogs.borrow().get(&key).copied());
        let channel = channel.and_then(|id| self.channel(id));
        let number = channel.and_then(|channel| {
            let mut guard = channel.session();
            Some(guard.as_mut()?.dialog.as_mut()?.next_cseq())
        });
        match number {
            Some(number) => {
                let cseq = format!("{number} {}", request.method_str());
                Builder::from_message(&request)
                    .set(HeaderName::CSeq, cseq)
                    .finish()
            }
            None => request,
        }
    }
}
