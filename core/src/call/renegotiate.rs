//! Requests of ours inside a dialog whose answers matter: PRACK, and re-INVITE and UPDATE, which describe or refresh the
//! session (RFC 3261 §14.1, RFC 3311, RFC 4028 §10). One offer at a time; what else is wanted meanwhile waits.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use strowger_sip::body::{Body, SDP};
use strowger_sip::dialog::{DialogState, Outcome};
use strowger_sip::transaction::ClientId;
use strowger_sip::{Builder, Flow, HeaderName, Message, Method};
use tokio::sync::oneshot;

use super::extensions;
use super::fax::Fax;
use super::session::{new_via, routed};
use crate::channel::{Cause, Channel};
use crate::shard::{ALLOW, ClientUser};

/// Requests of one dialog that may wait for their answers.
const REQUESTS_MAX: usize = 32;
/// Changes that may wait for the one under way.
const WANTED_MAX: usize = 8;
/// How often one change is tried again (491, 422, Retry-After).
const TRIES_MAX: u8 = 10;
/// Challenges answered for one request.
const AUTHENTICATIONS_MAX: u8 = 2;
/// The longest Retry-After that is waited for (RFC 3261 §14.2 says up to 10 s), s.
const RETRY_AFTER_S_MAX: u32 = 10;

/// What a change describes.
#[derive(Debug)]
enum Describes {
    /// Nothing, by UPDATE; an INVITE describes the media as they are.
    Nothing,
    Media,
    Fax(Fax),
}

/// A change of the session that is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// With which request; `None`: UPDATE where the peer takes it, else INVITE.
    method: Option<Method>,
    describes: Describes,
    headers: Vec<(HeaderName, String)>,
    tries: u8,
    /// Told how it ended: the status that refused it.
    done: Option<oneshot::Sender<Result<(), u16>>>,
}

impl Wanted {
    /// Nothing changes: the session is only refreshed.
    pub(crate) fn refresh(method: Option<Method>) -> Self {
        Self {
            method,
            describes: Describes::Nothing,
            headers: Vec::new(),
            tries: 0,
            done: None,
        }
    }

    /// The media as our side wants it now.
    pub(crate) fn media(method: Method) -> Self {
        Self {
            describes: Describes::Media,
            ..Self::refresh(Some(method))
        }
    }

    /// Fax in the place of the audio.
    pub(super) fn fax(fax: Fax) -> Self {
        Self {
            describes: Describes::Fax(fax),
            ..Self::refresh(Some(Method::Invite))
        }
    }

    /// The same, with more headers.
    pub(crate) fn with(mut self, headers: Vec<(HeaderName, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The same, and the receiver hears how it ended.
    pub(crate) fn told(mut self) -> (Self, oneshot::Receiver<Result<(), u16>>) {
        let (done, heard) = oneshot::channel();
        self.done = Some(done);
        (self, heard)
    }

    fn end(self, result: Result<(), u16>) {
        if let Some(done) = self.done {
            // Who asked may have gone.
            let _ = done.send(result);
        }
    }
}

/// What a request of ours is for.
#[derive(Debug)]
enum Purpose {
    Prack,
    /// None once it has its final response.
    Change(Option<Wanted>),
}

#[derive(Debug)]
struct Sent {
    client: ClientId,
    message: Message,
    flow: Flow,
    purpose: Purpose,
    authentications: u8,
}

/// The requests of one dialog.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    sent: Vec<Sent>,
    waiting: VecDeque<Wanted>,
    /// A change is under way, or waits for its next try.
    changing: bool,
}

impl Requests {
    /// A change is under way, or waits.
    pub(crate) fn is_changing(&self) -> bool {
        self.changing || !self.waiting.is_empty()
    }

    /// A re-INVITE may still get a 2xx that wants its ACK.
    pub(crate) fn is_open(&self, client_open: impl Fn(ClientId) -> bool) -> bool {
        self.sent
            .iter()
            .any(|sent| sent.message.is_method(&Method::Invite) && client_open(sent.client))
    }
}

impl Channel {
    /// Sends a PRACK.
    pub(super) fn send_prack(&self, request: Message, flow: Flow) {
        self.send_awaited(request, flow, Purpose::Prack, 0);
    }

    fn send_awaited(&self, message: Message, flow: Flow, purpose: Purpose, authentications: u8) {
        let full = self
            .session()
            .as_ref()
            .is_none_or(|session| session.requests.sent.len() >= REQUESTS_MAX);
        let user = ClientUser::Dialog(self.id());
        let client = (!full)
            .then(|| self.shard().request(message.clone(), flow, user))
            .flatten();
        // Sending may have failed already, with its end told before we knew its id.
        let Some(client) = client.filter(|client| self.shard().is_client_open(*client)) else {
            return self.request_failed(&message, purpose, 503);
        };
        if let Some(session) = self.session().as_mut() {
            session.requests.sent.push(Sent {
                client,
                message,
                flow,
                purpose,
                authentications,
            });
        }
    }

    /// Changes the session as soon as that is possible.
    pub(crate) fn renegotiate(&self, wanted: Wanted) {
        let refused = {
            let mut guard = self.session();
            match guard.as_mut().filter(|_| !self.is_over()) {
                None => Some((wanted, 481)),
                Some(session) if session.requests.waiting.len() >= WANTED_MAX => {
                    Some((wanted, 491))
                }
                Some(session) => {
                    session.requests.waiting.push_back(wanted);
                    None
                }
            }
        };
        match refused {
            Some((wanted, status)) => wanted.end(Err(status)),
            None => self.go_on_renegotiating(),
        }
    }

    /// Sends the next change that waits, unless something is under way (RFC 3261 §14.1, RFC 3311 §5.1).
    pub(super) fn go_on_renegotiating(&self) {
        let made = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let (Some(dialog), Some(media)) = (session.dialog.as_ref(), session.media.as_ref())
            else {
                return;
            };
            let busy = session.requests.changing
                || dialog.state() != DialogState::Confirmed
                || dialog.is_inviting()
                || media.is_pending()
                || session
                    .accepted
                    .as_ref()
                    .is_some_and(|accepted| !accepted.is_over());
            if busy || self.is_over() {
                return;
            }
            let Some(wanted) = session.requests.waiting.pop_front() else {
                return;
            };
            session.requests.changing = true;
            drop(guard);
            self.make_change(&wanted)
                .map(|(message, flow)| (message, flow, wanted))
        };
        match made {
            Some((message, flow, wanted)) => {
                self.send_awaited(message, flow, Purpose::Change(Some(wanted)), 0);
            }
            None => self.change_is_over(),
        }
    }

    fn make_change(&self, wanted: &Wanted) -> Option<(Message, Flow)> {
        let shard = Rc::clone(self.shard());
        let endpoint = self.endpoint().cloned();
        let mut guard = self.session();
        let session = guard.as_mut()?;
        let flow = session.live_flow(&shard);
        let via = new_via(&shard, &flow);
        let method = match &wanted.method {
            Some(Method::Update) | None if session.peer_updates => Method::Update,
            _ => Method::Invite,
        };
        let media = session.media.as_mut()?;
        let offer = match &wanted.describes {
            Describes::Fax(fax) => Some(media.offer_fax(fax).ok()?),
            Describes::Nothing if method == Method::Update => None,
            Describes::Nothing | Describes::Media => Some(media.offer().ok()?),
        };
        let mut request = session
            .dialog
            .as_mut()?
            .request(method, &via)
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::UserAgent, shard.shared().user_agent());
        let supported = extensions::supported_in_dialog(endpoint.as_deref());
        if !supported.is_empty() {
            request.push(HeaderName::Supported, supported);
        }
        for (name, value) in &wanted.headers {
            request.push(name.clone(), value);
        }
        request = session.timing.policy.ask(request, session.timing.current());
        if let Some(offer) = offer {
            request = request.body(SDP, offer);
        }
        Some((request.finish(), flow))
    }

    /// A response to a request of ours in the dialog.
    pub(crate) fn on_dialog_response(&self, client: ClientId, response: &Message) {
        let status = response.status().unwrap_or_default();
        if status < 200 {
            return;
        }
        if matches!(status, 401 | 407) && self.authenticate_again(client, response) {
            return;
        }
        let taken = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            let sent = &mut session.requests.sent;
            let Some(index) = sent.iter().position(|sent| sent.client == client) else {
                return;
            };
            let invite = sent
                .get(index)
                .is_some_and(|sent| sent.message.is_method(&Method::Invite));
            if invite && status < 300 {
                let sent = sent.get_mut(index);
                sent.map(|sent| {
                    let wanted = match &mut sent.purpose {
                        Purpose::Change(wanted) => wanted.take(),
                        Purpose::Prack => None,
                    };
                    (sent.message.clone(), Purpose::Change(wanted))
                })
            } else {
                let sent = sent.swap_remove(index);
                Some((sent.message, sent.purpose))
            }
        };
        match taken {
            None | Some((_, Purpose::Prack)) => {}
            // The 2xx to a re-INVITE again: its ACK was lost.
            Some((_, Purpose::Change(None))) => self.acknowledge_again(response),
            Some((message, Purpose::Change(Some(wanted)))) => {
                self.changed_by(&message, wanted, response);
            }
        }
    }

    fn acknowledge_again(&self, response: &Message) {
        let kept = self.session().as_ref().and_then(|session| {
            let ack = session.dialog.as_ref()?.kept_ack(response)?.clone();
            Some((ack, session.flow))
        });
        if let Some((ack, flow)) = kept {
            self.shard().send_plain(&ack, flow);
        }
    }

    /// Its transaction has ended; nothing more comes of it.
    pub(crate) fn on_dialog_terminated(&self, client: ClientId) {
        if let Some(session) = self.session().as_mut() {
            session.requests.sent.retain(|sent| sent.client != client);
        }
    }

    /// No answer to a request of ours came (408), or it could not be sent (503).
    pub(crate) fn on_dialog_failed(&self, client: ClientId, status: u16) {
        let failed = self.session().as_mut().and_then(|session| {
            let sent = &mut session.requests.sent;
            let index = sent.iter().position(|sent| sent.client == client)?;
            Some(sent.swap_remove(index))
        });
        if let Some(sent) = failed {
            self.request_failed(&sent.message, sent.purpose, status);
        }
    }

    fn request_failed(&self, message: &Message, purpose: Purpose, status: u16) {
        let Purpose::Change(Some(wanted)) = purpose else {
            return;
        };
        let offered = !message.body().is_empty();
        if let Some(session) = self.session().as_mut() {
            if let Some(dialog) = session.dialog.as_mut()
                && message.is_method(&Method::Invite)
            {
                dialog.invite_failed();
            }
            if let Some(media) = session.media.as_mut().filter(|_| offered) {
                media.withdraw();
            }
        }
        wanted.end(Err(status));
        if status == 408 {
            // RFC 3261 §12.2.1.2: who does not answer is gone.
            tracing::info!(channel = %self.name(), "no answer in the dialog: the call is ended");
            return self.hangup(Cause::RECOVERY_ON_TIMER_EXPIRE);
        }
        self.change_is_over();
    }

    fn change_is_over(&self) {
        if let Some(session) = self.session().as_mut() {
            session.requests.changing = false;
        }
        self.go_on_renegotiating();
    }

    /// The final response to a re-INVITE or UPDATE of ours.
    fn changed_by(&self, request: &Message, mut wanted: Wanted, response: &Message) {
        let status = response.status().unwrap_or_default();
        let shard = Rc::clone(self.shard());
        let mut delay = None;
        let outcome = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            if let Some(updates) = extensions::takes_update(response) {
                session.peer_updates = updates;
            }
            let outcome = session
                .dialog
                .as_mut()
                .map(|dialog| dialog.receive_response(response));
            // What is open may be another offer, where this request had none.
            if status >= 300
                && !request.body().is_empty()
                && let Some(media) = session.media.as_mut()
            {
                // RFC 3261 §14.1: as if nothing had been offered.
                media.withdraw();
            }
            match status {
                491 => {
                    let random = crate::random_u64() as u32;
                    delay = session
                        .dialog
                        .as_ref()
                        .map(|dialog| dialog.glare_delay(random));
                }
                500 | 503 => delay = retry_after(response),
                422 if session.timing.policy.raise(response) => delay = Some(Duration::ZERO),
                // It says that it takes UPDATE, and does not.
                405 | 501 if request.is_method(&Method::Update) => {
                    session.peer_updates = false;
                    delay = Some(Duration::ZERO);
                }
                _ => {}
            }
            outcome
        };
        if status < 300 {
            return self.change_accepted(request, wanted, response);
        }
        if outcome == Some(Outcome::Ended) {
            wanted.end(Err(status));
            tracing::info!(channel = %self.name(), status, "the far end does not know the call: it is ended");
            return self.hangup(Cause::NORMAL_CLEARING);
        }
        let Some(delay) = delay.filter(|_| wanted.tries < TRIES_MAX) else {
            tracing::debug!(channel = %self.name(), status, method = request.method_str(), "change of the session refused");
            wanted.end(Err(status));
            return self.change_is_over();
        };
        wanted.tries += 1;
        let id = self.id();
        crate::shard::Shard::spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(channel) = shard.channel(id) {
                if let Some(session) = channel.session().as_mut() {
                    session.requests.waiting.push_front(wanted);
                }
                channel.change_is_over();
            }
        });
    }

    fn change_accepted(&self, request: &Message, wanted: Wanted, response: &Message) {
        let shard = Rc::clone(self.shard());
        let mut result = Ok(None);
        let mut fax_refused = false;
        let offered = !request.body().is_empty();
        let (ack, terms) = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            session.route(&shard);
            let via = new_via(&shard, &session.flow);
            let ack = match session.dialog.as_mut() {
                Some(dialog) if request.is_method(&Method::Invite) => {
                    let ack = dialog.ack(request, &via).finish();
                    dialog.keep_ack(ack.clone());
                    Some((ack, session.flow))
                }
                _ => None,
            };
            if let Some(media) = session
                .media
                .as_mut()
                .filter(|media| offered && media.is_pending())
            {
                result = match Body::of(response).description() {
                    // A fax that is not taken leaves an audio stream that neither describes: it is described anew.
                    Some(answer) if media.offers_fax() => {
                        fax_refused = !media.apply_fax(&shard, answer);
                        Ok(None)
                    }
                    Some(answer) => media
                        .apply(&shard, answer)
                        .map(Some)
                        .map_err(|error| error.to_string()),
                    None => Err("the answer has no session description".to_owned()),
                };
                if result.is_err() {
                    media.withdraw();
                }
            }
            (ack, session.timing.policy.read(response))
        };
        if let Some((ack, flow)) = ack {
            shard.send_plain(&ack, flow);
        }
        self.keep_time(terms);
        match result {
            Ok(agreed) => {
                if let Some(agreed) = agreed {
                    self.set_held(agreed.on_hold);
                }
                self.follow_video();
                wanted.end(if fax_refused { Err(488) } else { Ok(()) });
                if fax_refused {
                    self.renegotiate(Wanted::media(Method::Invite));
                }
                self.change_is_over();
                // Its bridge looks where it hears now.
                self.touch();
            }
            Err(error) => {
                // Both sides no longer agree on where they are heard, and nothing can be taken back.
                tracing::info!(channel = %self.name(), error, "answer unusable: the call is ended");
                wanted.end(Err(488));
                self.hangup(Cause::BEARERCAPABILITY_NOTAVAIL);
            }
        }
    }

    /// A change of the session is under way, or waits.
    pub(super) fn is_changing(&self) -> bool {
        let session = self.session();
        session
            .as_ref()
            .is_some_and(|session| session.requests.is_changing())
    }

    /// Answers a challenge to a request of ours; false where that is not possible.
    fn authenticate_again(&self, client: ClientId, response: &Message) -> bool {
        let Some(endpoint) = self.endpoint().cloned() else {
            return false;
        };
        let shard = Rc::clone(self.shard());
        let again = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return false;
            };
            let mut sent = session.requests.sent.iter();
            let Some(index) = sent.position(|sent| {
                sent.client == client && sent.authentications < AUTHENTICATIONS_MAX
            }) else {
                return false;
            };
            let Some((mut message, mut flow)) = session
                .requests
                .sent
                .get(index)
                .map(|sent| (sent.message.clone(), sent.flow))
            else {
                return false;
            };
            let mut dialog = session.dialog_of_own(&message);
            if let Some(dialog) = &dialog {
                // Meanwhile others were sent, and its route and target may have changed.
                if !endpoint.rewrite_contact {
                    flow = routed(&shard, flow, dialog);
                }
                message = dialog.renewed(&message, &new_via(&shard, &flow));
            }
            let via = new_via(&shard, &flow).to_string();
            let snapshot = shard.shared().snapshot();
            let auths = &endpoint.outbound_auth;
            let Some(message) =
                crate::endpoint::answer_challenge(&snapshot, auths, &message, response, &via)
            else {
                return false;
            };
            if let Some(dialog) = &mut dialog {
                dialog.sent_again(&message);
            }
            let sent = session.requests.sent.swap_remove(index);
            (message, flow, sent.purpose, sent.authentications + 1)
        };
        let (message, flow, purpose, authentications) = again;
        self.send_awaited(message, flow, purpose, authentications);
        true
    }

    /// Has the far end told that the session goes on, or describes it anew: `PJSIP_SEND_SESSION_REFRESH`.
    ///
    /// # Errors
    /// Where the channel is no SIP call that is up.
    pub fn send_session_refresh(&self, update: bool) -> Result<(), String> {
        let is_sip = self.session().is_some();
        if !is_sip || !self.is_up() || self.is_over() {
            return Err("only a PJSIP call that is up can be refreshed".to_owned());
        }
        let method = if update {
            Method::Update
        } else {
            Method::Invite
        };
        self.renegotiate(Wanted::media(method));
        Ok(())
    }
}

/// How long to wait as a response asks; `None` where it does not.
fn retry_after(response: &Message) -> Option<Duration> {
    let text = response.header(&HeaderName::RetryAfter)?;
    let digits = text.split([';', ' ', '(']).next()?;
    let seconds: u32 = digits.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_S_MAX).into()))
}

/// Adds what we can to a response or request.
pub(super) fn with_supported(message: Builder, supported: &str) -> Builder {
    if supported.is_empty() {
        message
    } else {
        message.header(HeaderName::Supported, supported)
    }
}
