//! An INVITE that is refused for something that can be mended, and sent again: with credentials (RFC 3261 §22.2), with a
//! longer session (RFC 4028 §7.3).

use std::rc::Rc;

use strowger_sip::dialog::Forks;
use strowger_sip::reliable::OPTION as REL100;
use strowger_sip::{Builder, Flow, HeaderName, Message};

use super::session::new_via;
use crate::channel::Channel;
use crate::shard::ClientUser;

/// Challenges answered for one call: one by the endpoint, one by a proxy before it.
const AUTHENTICATIONS_MAX: u8 = 2;

/// 422 answered for one call: one by the endpoint, one by a proxy before it.
const LENGTHENED_MAX: u8 = 2;

impl Channel {
    /// Who is called takes no session as short as ours: asks again for what it takes (RFC 4028 §7.3).
    pub(super) fn ask_longer(&self, response: &Message) -> bool {
        if self.is_over() {
            return false;
        }
        let shard = Rc::clone(self.shard());
        let again = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return false;
            };
            let flow = session.flow;
            let Some(outgoing) = session.outgoing.as_mut() else {
                return false;
            };
            if outgoing.lengthened >= LENGTHENED_MAX || !session.timing.policy.raise(response) {
                return false;
            }
            outgoing.lengthened += 1;
            let number = outgoing.invite.cseq().map_or(1, |cseq| cseq.number);
            let invite = Builder::from_message(&outgoing.invite)
                .set(HeaderName::Via, new_via(&shard, &flow).to_string())
                .set(
                    HeaderName::CSeq,
                    format!("{} INVITE", number.wrapping_add(1)),
                )
                .remove(HeaderName::SessionExpires)
                .remove(HeaderName::MinSe);
            let requires = outgoing.invite.lists(&HeaderName::Require, REL100);
            let invite = session
                .timing
                .policy
                .ask(invite.remove(HeaderName::Require), None);
            let invite = match requires {
                true => invite.header(HeaderName::Require, REL100),
                false => invite,
            };
            let invite = invite.finish();
            outgoing.forks = Forks::new(invite.clone());
            outgoing.invite = invite.clone();
            outgoing.client = None;
            (invite, flow)
        };
        self.invite_again(again)
    }

    fn invite_again(&self, (invite, flow): (Message, Flow)) -> bool {
        let shard = Rc::clone(self.shard());
        match shard.request(invite, flow, ClientUser::Invite(self.id())) {
            Some(client) => {
                self.with_outgoing(|outgoing| outgoing.client = Some(client));
                true
            }
            None => false,
        }
    }

    /// Answers a challenge with the endpoint's `outbound_auth`; false if that is not possible.
    pub(super) fn authenticate(&self, response: &Message) -> bool {
        let Some(endpoint) = self.endpoint().cloned() else {
            return false;
        };
        if endpoint.outbound_auth.is_empty() || self.is_over() {
            return false;
        }
        let shard = Rc::clone(self.shard());
        let retry = {
            let mut guard = self.session();
            let Some(session) = guard.as_mut() else {
                return false;
            };
            let flow = session.flow;
            let Some(outgoing) = session.outgoing.as_mut() else {
                return false;
            };
            if outgoing.authentications >= AUTHENTICATIONS_MAX {
                return false;
            }
            let via = new_via(&shard, &flow).to_string();
            let Some(invite) = crate::endpoint::answer_challenge(
                &shard.shared().snapshot(),
                &endpoint.outbound_auth,
                &outgoing.invite,
                response,
                &via,
            ) else {
                return false;
            };
            outgoing.authentications += 1;
            outgoing.forks = Forks::new(invite.clone());
            outgoing.invite = invite.clone();
            outgoing.client = None;
            (invite, flow)
        };
        self.invite_again(retry)
    }
}
