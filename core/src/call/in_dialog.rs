//! Requests inside a channel's dialog: the ACK of our answer, re-INVITE and UPDATE (hold, resume, new media), INFO digits,
//! BYE. Which of them are legitimate is the dialog's decision; what they mean for the call is made here.

use std::rc::Rc;

use strowger_sip::accepted::AcceptedInvite;
use strowger_sip::body::{Body, SDP};
use strowger_sip::dialog::DialogId;
use strowger_sip::session_timer::{Policy, Refusal, Terms};
use strowger_sip::transaction::ServerId;
use strowger_sip::{Builder, Flow, HeaderName, Message, Method};

use super::extensions;
use super::session::cause_in;
use crate::channel::{Cause, Channel, LegEnd};

impl Channel {
    /// An ACK in our dialog.
    pub(crate) fn on_ack(&self, ack: &Message) {
        let shard = Rc::clone(self.shard());
        let mut answered = None;
        let again_described;
        {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return;
            };
            if !session.is_ours(ack) {
                return;
            }
            let Some(accepted) = session.accepted.as_mut() else {
                return;
            };
            if !accepted.acknowledge(ack) {
                return;
            }
            again_described = session.reinvited;
            if std::mem::take(&mut session.answer_in_ack)
                && let Some(media) = session.media.as_mut()
            {
                answered = Some(match Body::of(ack).description() {
                    Some(answer) => media
                        .apply(&shard, answer)
                        .map_err(|error| error.to_string()),
                    None => Err("the ACK has no answer to our offer".to_owned()),
                });
                if matches!(answered, Some(Err(_))) {
                    media.withdraw();
                }
            }
        }
        self.after_ack();
        match answered {
            Some(Ok(agreed)) => {
                self.set_held(agreed.on_hold);
                self.follow_video();
            }
            // RFC 6337 §3.4: what was agreed before the re-INVITE stays.
            Some(Err(error)) if again_described => {
                tracing::info!(channel = %self.name(), error, "the media stays as it was");
                self.ask_home();
            }
            Some(Err(error)) => {
                tracing::info!(channel = %self.name(), error, "the call is ended");
                self.hangup(Cause::BEARERCAPABILITY_NOTAVAIL);
            }
            None => {}
        }
        self.go_on_renegotiating();
        self.touch();
    }

    /// Requests of the peer tell where it is now: a new connection, or behind a NAT that moved.
    fn follow(&self, flow: Flow) {
        let rewrite = self
            .endpoint()
            .is_some_and(|endpoint| endpoint.rewrite_contact);
        let shard = Rc::clone(self.shard());
        let mut guard = self.session();
        let Some(session) = guard.as_mut() else {
            return;
        };
        if session.dialog.is_none() {
            // Until one of the forks has answered, the INVITE goes on where it went.
            return;
        }
        if flow.transport.is_reliable() {
            session.flow = flow;
        } else if rewrite {
            if let Some(dialog) = session.dialog.as_mut() {
                super::incoming::rewrite_target(dialog, &flow);
            }
            session.flow = flow;
        } else {
            session.route(&shard);
        }
    }

    /// Responds within the dialog.
    pub(super) fn answer_request(&self, id: ServerId, response: Message) {
        if let Some(session) = self.session().as_mut()
            && let Some(dialog) = session.dialog.as_mut()
        {
            dialog.responded(&response);
        }
        self.shard().respond(id, response);
    }

    /// A request in our dialog (not ACK, not CANCEL).
    pub(crate) fn on_dialog_request(&self, id: ServerId, request: &Message, flow: Flow) {
        let gone = |status: u16| Builder::response_to(request, status, "").finish();
        let checked = self.session().as_mut().and_then(|session| {
            let early = session.dialog.is_none();
            // The same Call-ID and tag of ours with another tag of theirs is another fork's dialog.
            let dialog = session.dialog_of(request)?;
            // RFC 3261 §15: who is called ends no early dialog with BYE.
            if early && request.method() == Some(Method::Bye) {
                return None;
            }
            Some(dialog.receive_request(request))
        });
        if self.is_over() && checked.is_some() && request.method() == Some(Method::Bye) {
            return self.bye_of_the_unacknowledged(id, request);
        }
        let Some(checked) = checked.filter(|_| !self.is_over()) else {
            return self.answer_request(id, gone(481));
        };
        if let Err(rejection) = checked {
            let mut response = Builder::response_to(request, rejection.status(), "");
            if let Some(seconds) = rejection.retry_after_s() {
                response.push(HeaderName::RetryAfter, seconds.to_string());
            }
            return self.answer_request(id, response.finish());
        }
        self.follow(flow);
        let endpoint = self.endpoint().cloned();
        if let Some(unknown) = extensions::unsupported(request, endpoint.as_deref()) {
            let response = Builder::response_to(request, 420, "Bad Extension")
                .header(HeaderName::Unsupported, unknown)
                .finish();
            return self.answer_request(id, response);
        }
        let describes = matches!(
            request.method(),
            Some(Method::Invite | Method::Update | Method::Prack)
        );
        if describes && Body::of(request) == Body::Unsupported {
            let response = Builder::response_to(request, 415, "Unsupported Media Type")
                .header(HeaderName::Accept, SDP)
                .finish();
            return self.answer_request(id, response);
        }
        let ok = || Builder::response_to(request, 200, "OK").finish();
        match request.method() {
            Some(Method::Bye) => {
                self.answer_request(id, ok());
                // RFC 3261 §15.1.2: what is still open in the dialog ends with 487.
                self.terminate_open_invite();
                let cause = cause_in(request).unwrap_or(Cause::NORMAL_CLEARING);
                self.end(LegEnd {
                    cause,
                    status: None,
                    by_peer: true,
                });
            }
            Some(Method::Invite) => self.on_reinvite(id, request),
            Some(Method::Update) => self.on_update(id, request),
            Some(Method::Prack) => self.on_prack(id, request),
            Some(Method::Info) => self.on_info(id, request),
            Some(Method::Options) => {
                let response = Builder::response_to(request, 200, "OK")
                    .header(HeaderName::Allow, crate::shard::ALLOW)
                    .header(HeaderName::Accept, SDP)
                    .finish();
                self.answer_request(id, response);
            }
            Some(Method::Message) => self.on_text(id, request),
            Some(Method::Refer) => self.on_refer(id, request),
            _ => {
                let response = Builder::response_to(request, 405, "Method Not Allowed")
                    .header(HeaderName::Allow, crate::shard::ALLOW)
                    .finish();
                self.answer_request(id, response);
            }
        }
    }

    /// A text in the call goes to whom it is bridged with.
    fn on_text(&self, id: ServerId, request: &Message) {
        let text = std::str::from_utf8(request.body());
        let (status, reason) = match text {
            Ok(text) if request.has_content("text/plain") => {
                if text.len() > super::message::MESSAGE_BYTES_MAX {
                    (413, "Request Entity Too Large")
                } else if self.bridge_peer().is_some_and(|peer| peer.send_text(text)) {
                    (200, "OK")
                } else {
                    (480, "Temporarily Unavailable")
                }
            }
            _ => (415, "Unsupported Media Type"),
        };
        let mut response = Builder::response_to(request, status, reason);
        if status == 415 {
            response.push(HeaderName::Accept, "text/plain");
        }
        self.answer_request(id, response.finish());
    }

    /// The other side hangs up a call that we ended, while our BYE still waits for the ACK of our 2xx: both are at rest
    /// then (RFC 3261 §15.1.2), and ours is not needed any more.
    fn bye_of_the_unacknowledged(&self, id: ServerId, request: &Message) {
        let key = {
            let mut guard = self.session();
            let session = guard.as_mut();
            session.and_then(|session| {
                session.accepted = None;
                session.bye_after_ack = false;
                session.referral = None;
                session.key.clone()
            })
        };
        self.answer_request(id, Builder::response_to(request, 200, "OK").finish());
        if let Some(key) = key {
            self.shard().unmap_dialog(&key);
        }
        self.touch();
    }

    /// Our side of a new description: the answer to `offer`, or an offer of ours. On failure the status and Warning.
    pub(super) fn describe(&self, offer: Option<&[u8]>) -> Result<(String, bool), (u16, String)> {
        let shard = Rc::clone(self.shard());
        let mut guard = self.session();
        let media = guard
            .as_mut()
            .and_then(|session| session.media.as_mut())
            .ok_or_else(|| (500, "399 strowger \"no media\"".to_owned()))?;
        let refused = |error: super::media::MediaError| (error.status().0, error.warning());
        match offer {
            Some(offer) => {
                if let Some((answer, agreed)) = media.answer_unchanged(offer) {
                    return Ok((answer, agreed.on_hold));
                }
                let (answer, agreed) = media.answer(&shard, offer).map_err(refused)?;
                drop(guard);
                // Only now: who is refused goes on as before.
                self.come_home_for_offer();
                Ok((answer, agreed.on_hold))
            }
            None if media.is_pending() => {
                Err((491, "399 strowger \"an offer is open\"".to_owned()))
            }
            None => {
                drop(guard);
                self.come_home_for_offer();
                let mut guard = self.session();
                let media = guard.as_mut().and_then(|session| session.media.as_mut());
                let media = media.ok_or_else(|| (500, "399 strowger \"no media\"".to_owned()))?;
                Ok((media.offer().map_err(refused)?, self.data().held))
            }
        }
    }

    /// What a request says of the session's timer: the terms from now on. Refused here where it asks for too little.
    fn judge_timer(&self, id: ServerId, request: &Message) -> Result<Option<Terms>, ()> {
        let judged = match self.session().as_mut() {
            Some(session) => {
                if let Some(updates) = extensions::takes_update(request) {
                    session.peer_updates = updates;
                }
                let timing = &session.timing;
                timing.policy.judge(request, timing.current())
            }
            None => Ok(None),
        };
        judged.map_err(|refusal| {
            let response = match refusal {
                Refusal::TooSmall(least) => {
                    Builder::response_to(request, 422, "Session Interval Too Small")
                        .header(HeaderName::MinSe, least.to_string())
                }
                Refusal::Unsupported => Builder::response_to(request, 421, "Extension Required")
                    .header(HeaderName::Require, strowger_sip::session_timer::OPTION),
            };
            self.answer_request(id, response.finish());
        })
    }

    fn on_reinvite(&self, id: ServerId, request: &Message) {
        // The ACK of the last one is still to come: the next has to wait, as behind an INVITE (RFC 3261 §14.2).
        let open = self.session().as_ref().is_some_and(|session| {
            let accepted = session.accepted.as_ref();
            accepted.is_some_and(|accepted| !accepted.is_over())
        });
        if open {
            let response = Builder::response_to(request, 500, "Server Internal Error")
                .header(HeaderName::RetryAfter, "1");
            return self.answer_request(id, response.finish());
        }
        let Ok(terms) = self.judge_timer(id, request) else {
            return;
        };
        let offer = Body::of(request).description();
        if let Some(fax) = Self::fax_in(offer) {
            return self.on_fax_offer(id, request, fax, terms);
        }
        match self.describe(offer) {
            Err((status, error)) => self.refuse(id, request, status, &error),
            Ok((description, on_hold)) => {
                self.accept_reinvite(id, request, terms, description, offer.is_none());
                self.end_fax_of_peer();
                self.set_held(on_hold);
            }
        }
    }

    /// Answers a re-INVITE (200); `late`: with an offer, whose answer comes in the ACK.
    pub(super) fn accept_reinvite(
        &self,
        id: ServerId,
        request: &Message,
        terms: Option<Terms>,
        description: String,
        late: bool,
    ) {
        let contact = self
            .session()
            .as_ref()
            .map(|session| session.contact.clone())
            .unwrap_or_default();
        let response = Builder::response_to(request, 200, "OK")
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Allow, crate::shard::ALLOW)
            .header(HeaderName::Server, self.shard().shared().user_agent());
        let response = Policy::tell(request, response, terms)
            .body(SDP, description)
            .finish();
        self.answer_request(id, response.clone());
        if let Some(session) = self.session().as_mut() {
            session.answer_in_ack = late;
            session.reinvited = true;
            session.accepted = Some(AcceptedInvite::new(
                crate::clock::now(),
                &self.shard().timers(),
                id,
                response,
            ));
        }
        self.watch_accepted();
        self.keep_time(terms);
        self.follow_video();
    }

    fn on_update(&self, id: ServerId, request: &Message) {
        let Ok(terms) = self.judge_timer(id, request) else {
            return;
        };
        let (contact, early) = self
            .session()
            .as_ref()
            .map(|session| {
                let early = session.dialog.is_none() || session.incoming.is_some();
                (session.contact.clone(), early)
            })
            .unwrap_or_default();
        let mut response =
            Builder::response_to(request, 200, "OK").header(HeaderName::Contact, contact);
        if let Some(offer) = Body::of(request).description() {
            if Self::fax_in(Some(offer)).is_some() {
                // A partner has to be asked, which takes longer than an UPDATE may (RFC 3311 §5.2).
                return self.refuse(id, request, 504, super::fax::NO_FAX);
            }
            let mut before = None;
            let must_wait = self.session().as_mut().is_some_and(|session| {
                // Each telephone that rings has its own description.
                if session.dialog.is_none()
                    && let Some(media) = session.media.as_mut()
                    && let Some(fork) = DialogId::of_request(request)
                {
                    before = media.followed().cloned();
                    media.follow(&fork);
                }
                // RFC 3311 §5.2: the offer of the INVITE has no answer yet that counts.
                let incoming = session.incoming.as_ref();
                incoming.is_some_and(|incoming| !incoming.settled)
            });
            if must_wait {
                let response = Builder::response_to(request, 500, "Server Internal Error")
                    .header(HeaderName::RetryAfter, "3")
                    .finish();
                return self.answer_request(id, response);
            }
            match self.describe(Some(offer)) {
                Err((status, error)) => {
                    if let Some(session) = self.session().as_mut()
                        && let (Some(media), Some(before)) = (session.media.as_mut(), before)
                    {
                        media.follow(&before);
                    }
                    return self.refuse(id, request, status, &error);
                }
                Ok((answer, on_hold)) => {
                    response = response.body(SDP, answer);
                    if let Some(session) = self.session().as_mut()
                        && session.dialog.is_none()
                        && let Some(outgoing) = session.outgoing.as_mut()
                    {
                        let fork = DialogId::of_request(request);
                        let new = fork.filter(|fork| !outgoing.updated.contains(fork));
                        outgoing.updated.extend(new);
                    }
                    self.set_held(on_hold);
                }
            }
        }
        if early {
            // RFC 4028 §7.4: the clock runs from the answer.
            return self.answer_request(id, response.finish());
        }
        self.answer_request(id, Policy::tell(request, response, terms).finish());
        self.keep_time(terms);
        self.follow_video();
        self.go_on_renegotiating();
        self.touch();
    }

    pub(super) fn refuse(&self, id: ServerId, request: &Message, status: u16, warning: &str) {
        let response = Builder::response_to(request, status, "")
            .header(HeaderName::Warning, warning)
            .finish();
        self.answer_request(id, response);
    }

    /// DTMF by INFO: `application/dtmf-relay` (`Signal=5`, `Duration=160`) or `application/dtmf` (`5`). A flash is taken
    /// and means nothing.
    fn on_info(&self, id: ServerId, request: &Message) {
        if let Some(wanted) = request.header(&HeaderName::Other("Record".into())) {
            return self.on_record(id, request, wanted);
        }
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let field = |wanted: &str| {
            body.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.trim())
        };
        let (signal, duration) = if request.has_content("application/dtmf-relay") {
            (field("signal").unwrap_or_default(), field("duration"))
        } else if request.has_content("application/dtmf") {
            (body.trim(), None)
        } else if request.has_content("application/hook-flash") {
            ("flash", None)
        } else if request.body().is_empty() {
            return self.answer_request(id, Builder::response_to(request, 200, "OK").finish());
        } else {
            let response = Builder::response_to(request, 415, "Unsupported Media Type")
                .header(
                    HeaderName::Accept,
                    "application/dtmf-relay, application/dtmf",
                )
                .finish();
            return self.answer_request(id, response);
        };
        if is_flash(signal) {
            return self.answer_request(id, Builder::response_to(request, 200, "OK").finish());
        }
        let Some(digit) = digit_of(signal) else {
            let response = Builder::response_to(request, 400, "Bad DTMF Signal")
                .header(
                    HeaderName::Warning,
                    "399 strowger \"Signal must be one of 0-9 * # A-D or 10 to 15\"",
                )
                .finish();
            return self.answer_request(id, response);
        };
        self.answer_request(id, Builder::response_to(request, 200, "OK").finish());
        let told_ms = duration.and_then(|ms| ms.parse().ok());
        self.tell_digit(digit, told_ms.unwrap_or(INFO_DIGIT_MS).into(), "Received");
        self.push_digit(digit);
        if let Some(peer) = self.bridge_peer() {
            let duration_ms = duration.and_then(|ms| ms.parse().ok());
            peer.send_digit(digit, duration_ms.unwrap_or(INFO_DIGIT_MS));
        }
    }

    /// Sends a digit by INFO; false where there is no dialog to send it in.
    pub(crate) fn send_info_digit(&self, digit: char, duration_ms: u16) -> bool {
        let body = format!("Signal={digit}\r\nDuration={duration_ms}\r\n");
        self.send_in_dialog(Method::Info, "application/dtmf-relay", body)
    }

    fn send_in_dialog(&self, method: Method, content: &str, body: String) -> bool {
        let shard = Rc::clone(self.shard());
        let sent = self.session().as_mut().and_then(|session| {
            let flow = session.live_flow(&shard);
            let via = super::session::new_via(&shard, &flow);
            let request = session
                .dialog
                .as_mut()?
                .request(method, &via)
                .header(HeaderName::UserAgent, shard.shared().user_agent())
                .body(content, body)
                .finish();
            Some((request, flow))
        });
        let Some((request, flow)) = sent else {
            return false;
        };
        let auths = self
            .endpoint()
            .map(|endpoint| endpoint.outbound_auth.clone())
            .unwrap_or_default();
        shard.request_in_dialog(request, flow, auths);
        true
    }

    /// Asks the far end to call another (RFC 3515), without waiting for what comes of it; false where there is no dialog.
    pub(crate) fn send_refer(&self, uri: &str) -> bool {
        let shard = Rc::clone(self.shard());
        let sent = self.session().as_mut().and_then(|session| {
            let flow = session.live_flow(&shard);
            let via = super::session::new_via(&shard, &flow);
            let contact = session.contact.clone();
            let request = session
                .dialog
                .as_mut()?
                .request(Method::Refer, &via)
                .header(HeaderName::ReferTo, format!("<{uri}>"))
                .header(HeaderName::ReferredBy, contact)
                .header(HeaderName::UserAgent, shard.shared().user_agent())
                .finish();
            Some((request, flow))
        });
        let Some((request, flow)) = sent else {
            return false;
        };
        let auths = self
            .endpoint()
            .map(|endpoint| endpoint.outbound_auth.clone())
            .unwrap_or_default();
        shard.request_in_dialog(request, flow, auths);
        true
    }

    /// Sends a text to the far end (RFC 3428) without waiting for its answer; false where there is no dialog to send it in.
    pub fn send_text(&self, text: &str) -> bool {
        !self.is_over()
            && self.send_in_dialog(Method::Message, "text/plain;charset=UTF-8", text.to_owned())
    }

    /// The channel that this one is bridged with.
    pub(crate) fn bridge_peer(&self) -> Option<Self> {
        let peer = self.data().bridged?;
        self.shard().channel(peer)
    }

    /// The far end put us on hold, or took us back.
    pub(crate) fn set_held(&self, held: bool) {
        if std::mem::replace(&mut self.data_mut().held, held) == held {
            return;
        }
        let peer = self
            .data()
            .bridged
            .and_then(|peer| self.shard().channel(peer));
        if let Some(peer) = peer {
            if held {
                self.hold_music(&peer);
            } else {
                peer.stop_hold_music();
            }
        }
        self.touch();
    }
}

/// How long a digit is whose INFO does not say.
const INFO_DIGIT_MS: u16 = 160;

/// A hook flash, in the spellings that are about.
fn is_flash(signal: &str) -> bool {
    ["flash", "hf", "16", "!"]
        .iter()
        .any(|known| signal.trim().eq_ignore_ascii_case(known))
}

/// The digit named by an INFO body.
fn digit_of(text: &str) -> Option<char> {
    let text = text.trim();
    match text {
        "10" => return Some('*'),
        "11" => return Some('#'),
        "12" => return Some('A'),
        "13" => return Some('B'),
        "14" => return Some('C'),
        "15" => return Some('D'),
        _ => {}
    }
    let mut characters = text.chars();
    let digit = characters.next()?.to_ascii_uppercase();
    (characters.next().is_none() && matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D'))
        .then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_digits_are_read_in_every_form() {
        for (text, digit) in [
            ("5", Some('5')),
            (" #\r\n", Some('#')),
            ("10", Some('*')),
            ("11", Some('#')),
            ("a", Some('A')),
            ("17", None),
            ("55", None),
            ("", None),
        ] {
            assert_eq!(digit_of(text), digit, "{text:?}");
        }
        for flash in ["!", "hf", " FLASH", "16"] {
            assert!(is_flash(flash), "{flash}");
        }
        assert!(!is_flash("1"));
    }
}
