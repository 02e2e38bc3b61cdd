//! Provisional responses that are acknowledged (RFC 3262): ours to a caller, and those of whom we call.

use std::rc::Rc;

use strowger_sip::body::{Body, SDP};
use strowger_sip::reliable::{Acknowledged, OPTION, RAck, ReliableResponses, Unacknowledged};
use strowger_sip::transaction::ServerId;
use strowger_sip::{Builder, HeaderName, Message};
use strowger_store::{Endpoint, Rel100};

use crate::channel::{Cause, Channel, LegEnd};
use crate::shard::Shard;

/// The status for an INVITE of which no provisional response was acknowledged (RFC 3262 §3: a 5xx).
const UNACKNOWLEDGED: u16 = 504;

/// Are provisional responses to this INVITE reliable? `Err`: the caller has to be able to take them (421).
pub(super) fn is_reliable(endpoint: &Endpoint, invite: &Message) -> Result<bool, ()> {
    let requires = invite.lists(&HeaderName::Require, OPTION);
    let supports = requires || invite.lists(&HeaderName::Supported, OPTION);
    match endpoint.rel100 {
        Rel100::No => Ok(false),
        Rel100::Yes => Ok(requires),
        Rel100::PeerSupported => Ok(supports),
        Rel100::Required if supports => Ok(true),
        Rel100::Required => Err(()),
    }
}

/// The responses to an INVITE, for [`super::session::Session::reliable`].
pub(super) fn responses(shard: &Shard, id: ServerId, invite: &Message) -> ReliableResponses {
    let cseq = invite.cseq().map_or(0, |cseq| cseq.number);
    let random = crate::random_u64() as u32;
    ReliableResponses::new(id, cseq, &shard.timers(), random)
}

impl Channel {
    /// Sends a provisional response to the open INVITE, reliably where that was agreed.
    pub(super) fn send_provisional(&self, id: ServerId, response: Builder) {
        let sent = {
            let mut guard = self.session();
            let reliable = guard.as_mut().and_then(|session| session.reliable.as_mut());
            match reliable {
                None => Some((response.finish(), None)),
                Some(reliable) => match reliable.send(crate::clock::now(), response) {
                    Ok(sent) => sent.map(|sent| (sent, reliable.waiting_for())),
                    Err(error) => {
                        tracing::info!(channel = %self.name(), %error, "response left out");
                        None
                    }
                },
            }
        };
        if let Some((response, waits)) = sent {
            self.shard().respond(id, response);
            self.watch_provisional(waits);
        }
    }

    /// Repeats a response until its PRACK comes.
    fn watch_provisional(&self, rseq: Option<u32>) {
        let Some(rseq) = rseq else { return };
        let shard = Rc::clone(self.shard());
        let id = self.id();
        Shard::spawn(async move {
            loop {
                let next = shard.channel(id).and_then(|channel| {
                    let guard = channel.session();
                    let reliable = guard.as_ref()?.reliable.as_ref()?;
                    (reliable.waiting_for() == Some(rseq)).then(|| reliable.next_timeout())?
                });
                let Some(at) = next else { break };
                tokio::time::sleep_until(at.into()).await;
                let Some(channel) = shard.channel(id) else {
                    break;
                };
                let due = channel.session().as_mut().and_then(|session| {
                    let reliable = session.reliable.as_mut()?;
                    if reliable.waiting_for() != Some(rseq) {
                        return None;
                    }
                    Some((reliable.id(), reliable.handle_timeout(crate::clock::now())?))
                });
                match due {
                    Some((id, Unacknowledged::Repeat(response))) => {
                        shard.respond(id, response);
                    }
                    Some((_, Unacknowledged::GiveUp)) => channel.give_up_unacknowledged(),
                    None => {}
                }
            }
        });
    }

    fn give_up_unacknowledged(&self) {
        let open = self
            .session()
            .as_ref()
            .is_some_and(|session| session.incoming.is_some());
        if open {
            tracing::info!(channel = %self.name(), "no PRACK: the call is ended");
            self.end(LegEnd {
                cause: Cause::RECOVERY_ON_TIMER_EXPIRE,
                status: Some(UNACKNOWLEDGED),
                by_peer: false,
            });
        }
    }

    /// A PRACK in our dialog: it acknowledges a response, and may answer our offer or make one (RFC 3262 §5).
    pub(super) fn on_prack(&self, id: ServerId, request: &Message) {
        let refuse = |status| {
            self.answer_request(id, Builder::response_to(request, status, "").finish());
        };
        let Some(rack) = RAck::of(request) else {
            return refuse(400);
        };
        let acknowledged = self.session().as_mut().and_then(|session| {
            let reliable = session.reliable.as_mut()?;
            Some((
                reliable.acknowledge(crate::clock::now(), &rack),
                reliable.id(),
                reliable.waiting_for(),
            ))
        });
        let Some((Acknowledged::Known { described, next }, invite, waits)) = acknowledged else {
            return refuse(481);
        };
        let awaited = self.session().as_mut().is_some_and(|session| {
            if described && let Some(incoming) = session.incoming.as_mut() {
                incoming.settled = true;
            }
            described && std::mem::take(&mut session.answer_in_prack)
        });
        let mut response = Builder::response_to(request, 200, "OK");
        match (Body::of(request).description(), awaited) {
            (answer, true) => {
                if let Err((status, warning)) = self.take_answer(answer) {
                    self.refuse(id, request, status, &warning);
                    return self.hangup(Cause::BEARERCAPABILITY_NOTAVAIL);
                }
            }
            (Some(offer), false) => match self.describe(Some(offer)) {
                Ok((answer, on_hold)) => {
                    response = response.body(SDP, answer);
                    self.set_held(on_hold);
                }
                Err((status, warning)) => {
                    self.refuse_offer(&mut response, request, status, &warning)
                }
            },
            (None, false) => {}
        }
        self.answer_request(id, response.finish());
        if let Some(next) = next {
            self.shard().respond(invite, next);
            self.watch_provisional(waits);
        }
        self.deliver_answer();
    }

    /// The response was received all the same: a PRACK whose offer is refused is answered with why (RFC 3262 §5).
    fn refuse_offer(&self, response: &mut Builder, request: &Message, status: u16, warning: &str) {
        *response = Builder::response_to(request, status, "").header(HeaderName::Warning, warning);
    }

    /// The answer to our offer in a provisional response.
    fn take_answer(&self, answer: Option<&[u8]>) -> Result<(), (u16, String)> {
        let shard = Rc::clone(self.shard());
        let agreed = {
            let mut guard = self.session();
            let media = guard
                .as_mut()
                .and_then(|session| session.media.as_mut())
                .ok_or_else(|| (500, "399 strowger \"no media\"".to_owned()))?;
            let answer = answer.ok_or_else(|| {
                (
                    400,
                    "399 strowger \"the PRACK has no answer to our offer\"".to_owned(),
                )
            })?;
            media
                .apply(&shard, answer)
                .map_err(|error| (error.status().0, error.warning()))?
        };
        self.set_held(agreed.on_hold);
        Ok(())
    }
}
