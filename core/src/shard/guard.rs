//! Protection at a shard: what is noted of strangers, how they are answered without leaving anything behind, and which
//! calls are taken.

use std::cell::LazyCell;
use std::rc::Rc;
use std::time::Duration;

use strowger_sip::auth::Credentials;
use strowger_sip::message::Peek;
use strowger_sip::transaction::ServerId;
use strowger_sip::{Flow, HeaderName, Message, Method};

use super::Shard;
use super::dispatch::dialog_key;
use crate::endpoint::{Admission, Refused};
use crate::protect::{CallPermit, Heard, Offence, SecurityLog, Subject};

/// So long dialogs of a process that ended are remembered elsewhere: subscriptions are refreshed once an hour.
const AFTER_START: Duration = Duration::from_secs(3600);

impl Shard {
    /// Notes what somebody did.
    pub(super) fn offended(&self, flow: Flow, what: Offence) {
        // Wrong credentials answer a challenge that was sent to that address and arrived there.
        let certain =
            flow.transport.is_reliable() || matches!(what, Offence::Password | Offence::Unknown);
        let snapshot = self.shared.snapshot();
        self.shared
            .protection
            .note(flow.remote.ip(), what, certain, &snapshot);
    }

    /// A request within a dialog that is not here: junk, but for those who talked or listened before the exchange began anew
    /// and do not know yet.
    pub(super) fn outlived(&self, flow: Flow) {
        if crate::clock::since(self.shared.started_at) >= AFTER_START {
            self.offended(flow, Offence::Junk);
        }
    }

    /// Whether a message from a blocked address may belong to something that is under way here: a first look, before it
    /// is read.
    pub(super) fn may_be_known(peeked: &Peek<'_>, bytes: &[u8]) -> bool {
        match peeked.method {
            _ if !peeked.is_request => true,
            b"ACK" | b"CANCEL" => true,
            b"REGISTER" | b"PUBLISH" => false,
            _ => has_to_tag(bytes),
        }
    }

    /// Whether a message belongs to a dialog or a transaction that is here. Responses are matched by their transactions.
    pub(super) fn is_known_here(&self, message: &Message) -> bool {
        if !message.is_request() {
            return true;
        }
        let in_dialog =
            dialog_key(message).is_some_and(|key| self.dialogs.borrow().contains_key(&key));
        in_dialog
            || self.subscriptions().borrow().knows(message)
            || self.layer.borrow_mut().has_transaction_of(message)
    }

    /// A datagram that is no SIP message. Keep-alives (empty lines, zeros, STUN) harm nobody.
    pub(super) fn unreadable(&self, flow: Flow, bytes: &[u8]) {
        let keeps_alive = bytes.len() <= 4
            || bytes.first().is_some_and(|first| *first < 2)
            || bytes.iter().all(|byte| byte.is_ascii_whitespace());
        if !keeps_alive {
            self.offended(flow, Offence::Junk);
        }
    }

    /// True for the request of a scanner, which gets no answer.
    pub(super) fn is_scanner(&self, id: ServerId, request: &Message, flow: Flow) -> bool {
        let agent = request.header(&HeaderName::UserAgent).unwrap_or_default();
        let scanner = self.shared.protection.is_scanner(agent);
        if scanner {
            self.counters.requests_of_scanners.add(1);
            self.layer.borrow_mut().forget_request(id);
            self.offended(flow, Offence::Scanner);
        }
        scanner
    }

    /// Sends a response and forgets the request.
    pub(super) fn respond_stateless(self: &Rc<Self>, id: ServerId, response: &Message) {
        self.layer.borrow_mut().respond_stateless(id, response);
        self.pump();
    }

    /// Counts how a request was judged, for its address and in the log of security events.
    pub(super) fn judge(&self, request: &Message, flow: Flow, admission: &Admission) {
        let counters = &self.counters;
        let (heard, offence) = match admission {
            Admission::Admitted(endpoint) => {
                let proof = request.header(&HeaderName::Authorization);
                let unread =
                    endpoint.allow_unauthenticated_options && request.is_method(&Method::Options);
                if endpoint.auth.is_empty() || unread || proof.is_none() {
                    return;
                }
                self.shared.protection.proved(flow.remote.ip());
                (Heard::SuccessfulAuth, None)
            }
            Admission::Challenge(_) | Admission::Stranger(_) => {
                counters.challenges_sent.add(1);
                (Heard::ChallengeSent, Some(Offence::Challenged))
            }
            Admission::Refused(_, Refused::Credentials) => {
                counters.authentication_failures.add(1);
                (Heard::InvalidPassword, Some(Offence::Password))
            }
            Admission::Refused(_, Refused::Unknown) => {
                counters.unknown_endpoints.add(1);
                (Heard::InvalidAccountId, Some(Offence::Unknown))
            }
            Admission::Refused(_, Refused::Acl) => {
                counters.acl_denied.add(1);
                (Heard::FailedAcl, Some(Offence::Denied))
            }
        };
        // Most are successes that nobody asks for: their name is not looked for.
        let account = LazyCell::new(|| account_of(request));
        let subject = || Subject {
            service: "PJSIP",
            account: &account,
            session: request.call_id().unwrap_or_default(),
            flow,
        };
        let tell = |heard| {
            if self.shared.protection.log.writes(heard) {
                self.shared.protection.log.write(heard, &subject());
            }
            self.shared
                .events
                .tell(|| SecurityLog::event(heard, &subject()));
        };
        tell(heard);
        if matches!(admission, Admission::Stranger(_))
            && (self.shared.protection).stranger(flow.remote.ip(), &self.shared.snapshot().globals)
        {
            tell(Heard::InvalidAccountId);
        }
        if let Some(offence) = offence {
            self.offended(flow, offence);
        }
    }

    /// Lets a call in, as far as its address and its endpoint may have one more; counted if not.
    pub(super) fn take_call_permit(&self, flow: Flow, endpoint: &str) -> Option<CallPermit> {
        let calls = &self.shared.protection.calls;
        let permit = calls.enter(flow.remote.ip(), endpoint, crate::clock::now());
        if permit.is_none() {
            tracing::info!(endpoint, remote = %flow.remote, "call refused: too many of this endpoint or address");
        }
        permit
    }

    /// The call counts as long as its channel lives.
    pub(super) fn keep_call_permit(&self, id: ServerId, permit: CallPermit) {
        let channel = self.servers.borrow().get(&id).copied();
        if let Some(channel) = channel.filter(|id| self.channels.borrow().contains_key(id)) {
            self.permits.borrow_mut().insert(channel, permit);
        }
    }
}

/// Whether the To header has a tag, as far as a first look tells; a folded one may have.
fn has_to_tag(bytes: &[u8]) -> bool {
    let mut lines = bytes
        .trim_ascii_start()
        .split(|byte| *byte == b'\n')
        .skip(1);
    let to = lines
        .by_ref()
        .take_while(|line| !line.trim_ascii().is_empty())
        .find(|line| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let name = name.trim_ascii_end();
            name.eq_ignore_ascii_case(b"to") || name.eq_ignore_ascii_case(b"t")
        });
    let folded = lines
        .next()
        .and_then(|line| line.first())
        .is_some_and(|first| matches!(first, b' ' | b'\t'));
    to.is_some_and(|to| folded || to.windows(4).any(|four| four.eq_ignore_ascii_case(b"tag=")))
}

/// The name that was tried: the digest user, else the user of From.
fn account_of(request: &Message) -> String {
    let digest = request
        .header(&HeaderName::Authorization)
        .and_then(|line| Credentials::parse(line).ok())
        .map(|credentials| credentials.username);
    digest
        .or_else(|| {
            let from = request.from().ok()?;
            Some(from.uri.user_decoded()?.into_owned())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_look_tells_new_requests_from_those_of_calls() {
        let known = |method: &str, to: &str| {
            let text = format!(
                "\r\n{method} sip:a SIP/2.0\r\nFrom: <sip:b>;tag=1\r\n{to}\r\nCall-ID: c\r\n\r\nTo: x;tag=1"
            );
            let peeked = strowger_sip::message::peek(text.as_bytes()).unwrap();
            Shard::may_be_known(&peeked, text.as_bytes())
        };
        for to in [
            "To: <sip:a>;tag=x",
            "t:<sip:a> ; TAG=x",
            "TO : <sip:a>\r\n ;tag=x",
        ] {
            assert!(known("BYE", to), "{to}");
            assert!(!known("REGISTER", to), "{to}");
        }
        for to in ["To: <sip:a>", "t: a", "Topic: tag=1"] {
            assert!(!known("INVITE", to), "{to}");
            assert!(known("ACK", to) && known("CANCEL", to), "{to}");
        }
        let response = b"SIP/2.0 200 OK\r\nTo: <sip:a>\r\nCall-ID: c\r\n\r\n";
        let peeked = strowger_sip::message::peek(response).unwrap();
        assert!(Shard::may_be_known(&peeked, response));
    }
}
