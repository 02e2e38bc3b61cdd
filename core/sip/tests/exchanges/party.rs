//! One side of one call, and what the world does with it.

use std::time::{Duration, Instant};

use strowger_sip::accepted::{Accepted, AcceptedInvite};
use strowger_sip::body::{Body, SDP};
use strowger_sip::dialog::{Dialog, DialogId, DialogState, Fork, Forks, Outcome};
use strowger_sip::headers::Via;
use strowger_sip::message::{Builder, HeaderName, Message, Method};
use strowger_sip::offer_answer::{self, Capabilities, LocalMedia};
use strowger_sip::reliable::{Acknowledged, RAck, Receipt, ReliableResponses, Unacknowledged};
use strowger_sip::sdp::SessionDescription;
use strowger_sip::session_timer::{Due, Policy, SessionTimer, Terms};
use strowger_sip::transaction::{ClientId, ServerId, Timers};

use super::{World, address, contact, flow};

/// Why a party is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    HungUp,
    TheyHungUp,
    Refused,
    NoAnswer,
    Expired,
    Unknown,
}

#[derive(Debug)]
pub struct Change {
    pub client: ClientId,
    pub request: Message,
}

/// How one side sees a call.
#[derive(Debug)]
pub struct Party {
    pub dialog: Option<Dialog>,
    pub forks: Option<Forks>,
    pub invite: Option<ClientId>,
    pub cancelled: bool,
    pub server: Option<(ServerId, Message)>,
    reliable: Option<ReliableResponses>,
    described: bool,
    answer: Option<String>,
    held: Option<Message>,
    pub accepted: Option<AcceptedInvite>,
    pub policy: Policy,
    terms: Option<Terms>,
    pub timer: Option<SessionTimer>,
    media: offer_answer::Session,
    pub wanted: bool,
    pub change: Option<Change>,
    retry_at: Option<Instant>,
    /// Requests whose end matters: PRACK, BYE.
    pub sent: Vec<(ClientId, Method)>,
    pub up_at: Option<Instant>,
    pub down_at: Option<Instant>,
    pub why: Option<Why>,
    pub bye_lost: bool,
}

fn local(side: usize) -> LocalMedia {
    let mut rtp = address(side);
    rtp.set_port(4000);
    LocalMedia::new(rtp)
}

impl Party {
    pub fn new(media: offer_answer::Session, policy: Policy) -> Self {
        Self {
            dialog: None,
            forks: None,
            invite: None,
            cancelled: false,
            server: None,
            reliable: None,
            described: false,
            answer: None,
            held: None,
            accepted: None,
            policy,
            terms: None,
            timer: None,
            media,
            wanted: false,
            change: None,
            retry_at: None,
            sent: Vec::new(),
            up_at: None,
            down_at: None,
            why: None,
            bye_lost: false,
        }
    }

    pub fn is_up(&self) -> bool {
        self.up_at.is_some() && self.down_at.is_none()
    }

    pub fn offer(&mut self, side: usize) -> String {
        let offer = self
            .media
            .make_offer(&Capabilities::default(), &local(side));
        offer.expect("nothing is pending").to_string()
    }

    fn answer_to(&mut self, side: usize, offer: &[u8]) -> Result<String, u16> {
        let offer = SessionDescription::parse(offer).expect("we write what can be read");
        let answer = self
            .media
            .answer(&offer, &Capabilities::default(), &local(side));
        answer
            .map(|(answer, _)| answer.to_string())
            .map_err(|error| error.status())
    }

    fn take_answer(&mut self, message: &Message) {
        if let Some(answer) = Body::of(message).description() {
            let answer = SessionDescription::parse(answer).expect("we write what can be read");
            self.media
                .apply_answer(&answer)
                .expect("both speak the same");
        }
    }

    pub fn called(
        &mut self,
        side: usize,
        id: ServerId,
        invite: &Message,
        reliable: bool,
        timers: &Timers,
        random: u32,
    ) {
        let tag = format!("callee-{}", random % 1000);
        self.dialog = Some(Dialog::uas(invite, &tag, &contact(side)).expect("a good INVITE"));
        self.terms = self.policy.judge(invite, None).expect("both want the same");
        self.answer = self.answer_to(side, invite.body()).ok();
        self.reliable = reliable.then(|| ReliableResponses::new(id, 1, timers, random));
        self.server = Some((id, invite.clone()));
    }

    fn response(&self, request: &Message, status: u16, side: usize) -> Builder {
        let response =
            Builder::response_to(request, status, "").header(HeaderName::Contact, contact(side));
        match &self.dialog {
            Some(dialog) => response.to_tag(&dialog.id().local_tag),
            None => response,
        }
    }

    fn refresh(&mut self, now: Instant, terms: Option<Terms>) {
        self.terms = terms;
        self.timer = terms.map(|terms| SessionTimer::new(now, terms));
    }

    pub fn end(&mut self, now: Instant, why: Why) {
        self.down_at.get_or_insert(now);
        self.why.get_or_insert(why);
        self.timer = None;
        self.retry_at = None;
        self.wanted = false;
        self.server = None;
        self.held = None;
        if let Some(reliable) = &mut self.reliable {
            reliable.finish();
        }
        if let Some(accepted) = &mut self.accepted {
            accepted.stop();
        }
        if let Some(dialog) = &mut self.dialog {
            dialog.terminate();
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let times = [
            self.reliable
                .as_ref()
                .and_then(ReliableResponses::next_timeout),
            self.accepted
                .as_ref()
                .and_then(AcceptedInvite::next_timeout),
            self.timer.map(|timer| timer.next_timeout()),
            self.retry_at,
        ];
        times.into_iter().flatten().min()
    }

    /// A request that changes the session, if one is wanted and possible.
    pub fn make_change(&mut self, side: usize, via: &Via, update: bool) -> Option<Message> {
        let waits = self
            .accepted
            .as_ref()
            .is_some_and(|accepted| !accepted.is_over());
        let dialog = self.dialog.as_ref()?;
        let busy =
            self.change.is_some() || self.retry_at.is_some() || waits || dialog.is_inviting();
        if !self.wanted
            || self.down_at.is_some()
            || self.up_at.is_none()
            || busy
            || self.media.is_pending()
        {
            return None;
        }
        self.wanted = false;
        let method = if update {
            Method::Update
        } else {
            Method::Invite
        };
        let offer = self.offer(side);
        let request = self
            .dialog
            .as_mut()?
            .request(method, via)
            .header(HeaderName::Supported, "100rel, timer");
        let request = self
            .policy
            .ask(request, self.timer.map(|timer| timer.terms()));
        Some(request.body(SDP, offer).finish())
    }
}

impl World {
    pub(super) fn ring(&mut self, index: usize) {
        let side = 1 - self.calls[index].caller;
        let describes = self.random.percent(50);
        let now = self.now;
        let party = &mut self.calls[index].parties[side];
        let Some((id, invite)) = party.server.clone() else {
            return;
        };
        let mut response = party.response(&invite, 180, side);
        // Without 100rel nothing that counts is described: it may be lost.
        if describes && party.reliable.is_some() && !party.described {
            party.described = true;
            response = response.body(SDP, party.answer.clone().unwrap_or_default());
        }
        let response = match &mut party.reliable {
            Some(reliable) => reliable.send(now, response).expect("few wait"),
            None => Some(response.finish()),
        };
        if let Some(response) = response {
            self.layers[side].respond(now, id, response);
        }
    }

    pub(super) fn answer(&mut self, index: usize) {
        let side = 1 - self.calls[index].caller;
        let party = &mut self.calls[index].parties[side];
        let Some((_, invite)) = party.server.clone() else {
            return;
        };
        let mut response = Policy::tell(&invite, party.response(&invite, 200, side), party.terms);
        if !party.described {
            response = response.body(SDP, party.answer.clone().unwrap_or_default());
        }
        party.held = Some(response.finish());
        self.deliver(side, index);
    }

    fn deliver(&mut self, side: usize, index: usize) {
        let (now, timers) = (self.now, self.timers.clone());
        let party = &mut self.calls[index].parties[side];
        if party
            .reliable
            .as_ref()
            .is_some_and(ReliableResponses::holds_answer)
        {
            return;
        }
        let (Some((id, _)), Some(response)) = (party.server.clone(), party.held.take()) else {
            return;
        };
        party.server = None;
        if let Some(reliable) = &mut party.reliable {
            reliable.finish();
        }
        party.dialog.as_mut().expect("called").responded(&response);
        party.accepted = Some(AcceptedInvite::new(now, &timers, id, response.clone()));
        party.up_at = Some(now);
        let terms = party.terms;
        party.refresh(now, terms);
        self.layers[side].respond(now, id, response);
    }

    pub(super) fn refuse(&mut self, index: usize, status: u16) {
        let side = 1 - self.calls[index].caller;
        let now = self.now;
        let party = &mut self.calls[index].parties[side];
        let Some((id, invite)) = party.server.clone() else {
            return;
        };
        let response = party.response(&invite, status, side).finish();
        party.end(now, Why::Refused);
        self.layers[side].respond(now, id, response);
    }

    pub(super) fn hang_up(&mut self, side: usize, index: usize, why: Why) {
        let via = self.via(side);
        let now = self.now;
        let party = &mut self.calls[index].parties[side];
        if !party.is_up() {
            return;
        }
        // RFC 3261 §15: the callee waits for the ACK before its BYE; giving up instead is the same here.
        let bye = party
            .dialog
            .as_mut()
            .filter(|dialog| dialog.state() == DialogState::Confirmed)
            .map(|dialog| dialog.request(Method::Bye, &via).finish());
        party.end(now, why);
        if let Some(bye) = bye {
            let client = self.request(side, bye);
            let party = &mut self.calls[index].parties[side];
            party.sent.push((client, Method::Bye));
        }
    }

    pub(super) fn party_timeout(&mut self, side: usize, index: usize) {
        let now = self.now;
        let party = &mut self.calls[index].parties[side];
        if let Some(reliable) = &mut party.reliable {
            let id = reliable.id();
            match reliable.handle_timeout(now) {
                Some(Unacknowledged::Repeat(response)) => {
                    self.layers[side].respond(now, id, response);
                }
                Some(Unacknowledged::GiveUp)
                    if self.calls[index].parties[side].server.is_some() =>
                {
                    self.given_up += 1;
                    self.refuse(index, 504);
                }
                Some(Unacknowledged::GiveUp) | None => {}
            }
        }
        let party = &mut self.calls[index].parties[side];
        if let Some(accepted) = &mut party.accepted {
            let id = accepted.id();
            match accepted.handle_timeout(now) {
                Some(Accepted::Repeat(response)) => {
                    self.layers[side].respond(now, id, response);
                }
                Some(Accepted::GiveUp) => self.hang_up(side, index, Why::NoAnswer),
                None => {}
            }
        }
        let party = &mut self.calls[index].parties[side];
        match party
            .timer
            .as_mut()
            .and_then(|timer| timer.handle_timeout(now))
        {
            Some(Due::Refresh) => {
                party.wanted = true;
                self.change(side, index);
            }
            Some(Due::Expired) => {
                self.expired += 1;
                self.hang_up(side, index, Why::Expired);
            }
            None => {}
        }
        let party = &mut self.calls[index].parties[side];
        if party.retry_at.take_if(|at| *at <= now).is_some() {
            party.wanted = true;
            self.change(side, index);
        }
    }

    pub(super) fn receive_request(
        &mut self,
        side: usize,
        index: usize,
        id: ServerId,
        request: &Message,
    ) {
        let now = self.now;
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        if !in_dialog {
            assert!(request.is_method(&Method::Invite));
            return self.new_call(side, index, id, request);
        }
        let party = &mut self.calls[index].parties[side];
        let wanted = DialogId::of_request(request);
        let early = party.forks.as_mut().filter(|_| party.dialog.is_none());
        let early = early.and_then(|forks| forks.early_mut(wanted.as_ref()?));
        let dialog = party
            .dialog
            .as_mut()
            .filter(|dialog| wanted.as_ref() == Some(dialog.id()));
        let checked = dialog
            .or(early)
            .map(|dialog| dialog.receive_request(request));
        let respond = |world: &mut Self, builder: Builder| {
            let response = builder.finish();
            if let Some(dialog) = &mut world.calls[index].parties[side].dialog {
                dialog.responded(&response);
            }
            world.layers[side].respond(now, id, response.clone());
            response
        };
        let plain = |status| Builder::response_to(request, status, "");
        match checked {
            None => {
                respond(self, plain(481));
                return;
            }
            Some(Err(rejection)) => {
                self.crossed += u64::from(rejection.status() == 491);
                respond(self, plain(rejection.status()));
                return;
            }
            Some(Ok(())) => {}
        }
        match request.method() {
            Some(Method::Bye) => {
                respond(self, plain(200));
                self.calls[index].parties[side].end(now, Why::TheyHungUp);
            }
            Some(Method::Prack) => {
                self.pracks += 1;
                let rack = RAck::of(request).expect("ours");
                let party = &mut self.calls[index].parties[side];
                let acknowledged = party
                    .reliable
                    .as_mut()
                    .map(|r| (r.id(), r.acknowledge(now, &rack)));
                match acknowledged {
                    Some((invite, Acknowledged::Known { next, .. })) => {
                        respond(self, plain(200));
                        if let Some(next) = next {
                            self.layers[side].respond(now, invite, next);
                        }
                        self.deliver(side, index);
                    }
                    _ => {
                        respond(self, plain(481));
                    }
                }
            }
            Some(method @ (Method::Invite | Method::Update)) => {
                let party = &mut self.calls[index].parties[side];
                let terms = party
                    .policy
                    .judge(request, party.timer.map(|timer| timer.terms()));
                let terms = terms.expect("both want the same");
                match party.answer_to(side, request.body()) {
                    Err(status) => {
                        self.crossed += u64::from(status == 491);
                        respond(self, plain(status));
                    }
                    Ok(answer) => {
                        let builder = party.response(request, 200, side);
                        let builder = Policy::tell(request, builder, terms).body(SDP, answer);
                        party.refresh(now, terms);
                        let response = respond(self, builder);
                        if method == Method::Invite {
                            let accepted = AcceptedInvite::new(now, &self.timers, id, response);
                            self.calls[index].parties[side].accepted = Some(accepted);
                        }
                    }
                }
            }
            other => panic!("nobody sends {other:?}"),
        }
    }

    pub(super) fn receive_response(
        &mut self,
        side: usize,
        index: usize,
        id: ClientId,
        response: &Message,
    ) {
        let party = &mut self.calls[index].parties[side];
        if party.invite == Some(id) {
            return self.invite_response(side, index, response);
        }
        let status = response.status().expect("a response");
        if status < 200 {
            return;
        }
        let changes = party
            .change
            .as_ref()
            .is_some_and(|change| change.client == id);
        if changes && let Some(change) = party.change.take() {
            return self.changed(side, index, &change.request, response);
        }
        // A 2xx again, whose ACK was lost.
        let ack = party
            .dialog
            .as_ref()
            .and_then(|dialog| dialog.kept_ack(response).cloned());
        if response
            .cseq()
            .is_ok_and(|cseq| cseq.method == Method::Invite)
            && let Some(ack) = ack
        {
            self.layers[side].send(&ack, flow(side));
        }
    }

    fn changed(&mut self, side: usize, index: usize, request: &Message, response: &Message) {
        let status = response.status().expect("a response");
        let via = self.via(side);
        let (now, random) = (self.now, self.random.next() as u32);
        let party = &mut self.calls[index].parties[side];
        let dialog = party.dialog.as_mut().expect("it changed one");
        let over = party.down_at.is_some();
        let outcome = if over {
            Outcome::Unchanged
        } else {
            dialog.receive_response(response)
        };
        if status < 300 {
            if request.is_method(&Method::Invite) {
                let ack = dialog.ack(request, &via).finish();
                dialog.keep_ack(ack.clone());
                self.layers[side].send(&ack, flow(side));
            }
            let party = &mut self.calls[index].parties[side];
            if !over {
                party.take_answer(response);
                let terms = party.policy.read(response);
                party.refresh(now, terms);
            }
            return self.change(side, index);
        }
        party.media.withdraw_offer();
        if outcome == Outcome::Ended {
            // The other side has ended it: 481 needs no BYE.
            return party.end(now, Why::Unknown);
        }
        if !over {
            let delay = dialog.glare_delay(random);
            party.retry_at = Some(now + delay + Duration::from_millis(10));
        }
    }

    fn invite_response(&mut self, side: usize, index: usize, response: &Message) {
        let status = response.status().expect("a response");
        let (via, prack) = (self.via(side), self.via(side));
        let now = self.now;
        let party = &mut self.calls[index].parties[side];
        let forks = party.forks.as_mut().expect("an INVITE was sent");
        let invite = forks.invite().clone();
        match forks.receive(response).expect("a good response") {
            Fork::None => {}
            Fork::Early(dialog) => {
                assert!(status < 200);
                if let Receipt::Acknowledge(rack) = dialog.receive_provisional(response) {
                    let prack = dialog.prack(&rack, &prack).finish();
                    party.take_answer(response);
                    let client = self.request(side, prack);
                    let party = &mut self.calls[index].parties[side];
                    party.sent.push((client, Method::Prack));
                }
            }
            Fork::Failed => party.end(now, Why::Refused),
            Fork::Accepted(dialog) => {
                let ack = dialog.ack(&invite, &via).finish();
                dialog.keep_ack(ack.clone());
                let id = dialog.id().clone();
                party.dialog = forks.take(&id);
                party.take_answer(response);
                assert!(
                    !party.media.is_pending(),
                    "an answer came with the 2xx or before"
                );
                party.up_at = Some(now);
                let terms = party.policy.read(response);
                party.refresh(now, terms);
                let given_up = party.cancelled;
                self.layers[side].send(&ack, flow(side));
                if given_up {
                    // Given up, but the callee was quicker.
                    self.hang_up(side, index, Why::HungUp);
                }
            }
            Fork::Repeated(_) => {
                let dialog = party.dialog.as_ref().expect("taken");
                let ack = dialog.kept_ack(response).cloned();
                if let Some(ack) = ack {
                    self.layers[side].send(&ack, flow(side));
                }
            }
        }
    }

    pub(super) fn no_answer(&mut self, side: usize, id: ClientId) {
        let now = self.now;
        for index in 0..self.calls.len() {
            let party = &mut self.calls[index].parties[side];
            if party.invite == Some(id) {
                return party.end(now, Why::NoAnswer);
            }
            if party.change.take_if(|change| change.client == id).is_some() {
                if let Some(dialog) = &mut party.dialog {
                    dialog.invite_failed();
                }
                party.media.withdraw_offer();
                // RFC 3261 §12.2.1.2: who does not answer is gone.
                return self.hang_up(side, index, Why::NoAnswer);
            }
            if party
                .sent
                .iter()
                .any(|(client, method)| *client == id && *method == Method::Bye)
            {
                party.bye_lost = true;
                return;
            }
        }
    }
}
