//! Protection at a shard: what is noted of strangers, how they are answered without leaving anything behind, and which
//! calls are taken.

use std::rc::Rc;
use std::time::Instant;

use strowger_sip::auth::Credentials;
use strowger_sip::transaction::ServerId;
use strowger_sip::{Flow, HeaderName, Message};

use super::Shard;
use crate::endpoint::{Admission, Refused};
use crate::protect::{CallPermit, Heard, Offence, SecurityLog, Subject};

impl Shard {
    /// Notes what somebody did.
    pub(super) fn offended(&self, flow: Flow, what: Offence) {
        let snapshot = self.shared.snapshot();
        self.shared
            .protection
            .note(flow.remote.ip(), what, &snapshot);
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
                if endpoint.auth.is_empty() || proof.is_none() {
                    return;
                }
                self.shared.protection.proved(flow.remote.ip());
                (Heard::SuccessfulAuth, None)
            }
            Admission::Challenge(_) => {
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
        let account = account_of(request);
        let subject = Subject {
            account: &account,
            session: request.call_id().unwrap_or_default(),
            flow,
        };
        self.shared.protection.log.write(heard, &subject);
        self.shared
            .events
            .tell(|| SecurityLog::event(heard, &subject));
        if let Some(offence) = offence {
            self.offended(flow, offence);
        }
    }

    /// Lets a call in, as far as its address and its endpoint may have one more; counted if not.
    pub(super) fn take_call_permit(&self, flow: Flow, endpoint: &str) -> Option<CallPermit> {
        let calls = &self.shared.protection.calls;
        let permit = calls.enter(flow.remote.ip(), endpoint, Instant::now());
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
