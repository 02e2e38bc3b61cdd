//! Two exchanges on one link, in virtual time: transaction layers and dialogs as they are, a caller and a callee that
//! follow a plan for each call, and a link that loses, duplicates and reorders by a seed.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

mod plan;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use plan::{FINE, Plan, Random, Record, Side, Verdict, Weather, check_invariants};
use strowger_sip::accepted::{Accepted, AcceptedInvite};
use strowger_sip::dialog::{Dialog, DialogId, DialogState, Fork, Forks};
use strowger_sip::flow::{Flow, Transport};
use strowger_sip::headers::Via;
use strowger_sip::message::{Builder, HeaderName, Message, Method};
use strowger_sip::transaction::{Branches, ClientId, Event, Layer, Limits, ServerId, Timers};

#[derive(Clone, Debug)]
enum Act {
    Start(usize),
    Cancel(usize),
    Ring(usize),
    Decide(usize),
    HangUp(Side, usize),
}

struct Call {
    plan: Plan,
    forks: Option<Forks>,
    caller_dialog: Option<Dialog>,
    client: Option<ClientId>,
    server: Option<(ServerId, Message)>,
    callee_dialog: Option<Dialog>,
    accepted: Option<AcceptedInvite>,
    record: Record,
}

pub struct Pair {
    now: Instant,
    start: Instant,
    random: Random,
    weather: Weather,
    timers: Timers,
    pub layers: [Layer; 2],
    branches: Branches,
    in_flight: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    datagrams: HashMap<u64, Bytes>,
    agenda: BinaryHeap<Reverse<(Instant, u64)>>,
    acts: HashMap<u64, Act>,
    sequence: u64,
    calls: Vec<Call>,
    by_call_id: BTreeMap<String, usize>,
    byes: HashMap<(usize, ClientId), usize>,
    pub sent: u64,
    steps: u64,
}

const CALLER: usize = 0;
const CALLEE: usize = 1;

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + side as u8], 5060))
}

fn flow(from: usize, transport: Transport) -> Flow {
    Flow {
        transport,
        local: address(from),
        remote: address(1 - from),
        connection: u64::from(transport != Transport::Udp),
    }
}

impl Pair {
    pub fn new(seed: u64, weather: Weather, plans: &[Plan]) -> Self {
        let timers = Timers {
            proceeding: Duration::from_secs(120),
            ..Timers::default()
        };
        let layer = || Layer::new(timers.clone(), Limits::default());
        let now = Instant::now();
        let mut pair = Self {
            now,
            start: now,
            random: Random::new(seed),
            weather,
            layers: [layer(), layer()],
            timers,
            branches: Branches::new(),
            in_flight: BinaryHeap::new(),
            datagrams: HashMap::new(),
            agenda: BinaryHeap::new(),
            acts: HashMap::new(),
            sequence: 0,
            calls: Vec::new(),
            by_call_id: BTreeMap::new(),
            byes: HashMap::new(),
            sent: 0,
            steps: 0,
        };
        for (index, plan) in plans.iter().enumerate() {
            pair.calls.push(Call {
                plan: *plan,
                forks: None,
                caller_dialog: None,
                client: None,
                server: None,
                callee_dialog: None,
                accepted: None,
                record: Record::default(),
            });
            pair.by_call_id.insert(format!("call-{index}"), index);
            pair.later(plan.start_ms, Act::Start(index));
            if let Some(cancel_ms) = plan.cancel_ms {
                pair.later(plan.start_ms + cancel_ms, Act::Cancel(index));
            }
        }
        pair
    }

    /// Runs until nothing is left to happen and returns what became of each call.
    pub fn run(&mut self) -> Vec<Record> {
        while let Some(next) = self.next_moment() {
            self.now = self.now.max(next);
            self.steps += 1;
            assert!(self.steps < 1_000_000, "the simulation does not end");
            self.step();
        }
        self.calls.iter().map(|call| call.record.clone()).collect()
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Dialogs that one side still believes in.
    pub fn living_dialogs(&self) -> usize {
        let alive = |dialog: &Option<Dialog>| {
            usize::from(
                dialog
                    .as_ref()
                    .is_some_and(|dialog| dialog.state() == DialogState::Confirmed),
            )
        };
        self.calls
            .iter()
            .map(|call| alive(&call.caller_dialog) + alive(&call.callee_dialog))
            .sum()
    }

    fn next_moment(&self) -> Option<Instant> {
        let link = self.in_flight.peek().map(|Reverse((when, ..))| *when);
        let agenda = self.agenda.peek().map(|Reverse((when, _))| *when);
        let accepted = self.calls.iter().filter_map(|call| call.accepted.as_ref());
        let accepted = accepted.filter_map(AcceptedInvite::next_timeout).min();
        let layers = self.layers.iter().filter_map(Layer::next_timeout).min();
        [link, agenda, accepted, layers].into_iter().flatten().min()
    }

    fn step(&mut self) {
        if let Some(&Reverse((when, id, to))) = self.in_flight.peek()
            && when <= self.now
        {
            self.in_flight.pop();
            let bytes = self.datagrams.remove(&id).expect("in flight");
            let message = Message::parse(bytes).expect("we send what can be read");
            let flow = flow(to, self.weather.transport);
            self.layers[to].receive(self.now, message, flow);
            self.drain();
            return;
        }
        if let Some(&Reverse((when, id))) = self.agenda.peek()
            && when <= self.now
        {
            self.agenda.pop();
            let act = self.acts.remove(&id).expect("on the agenda");
            self.act(act);
            self.drain();
            return;
        }
        for index in 0..self.calls.len() {
            self.repeat_accepted(index);
        }
        for side in [CALLER, CALLEE] {
            self.layers[side].handle_timeout(self.now);
        }
        self.drain();
    }

    fn later(&mut self, delay_ms: u64, act: Act) {
        self.sequence += 1;
        let when = self.now + Duration::from_millis(delay_ms);
        self.agenda.push(Reverse((when, self.sequence)));
        self.acts.insert(self.sequence, act);
    }

    fn drain(&mut self) {
        loop {
            let mut idle = true;
            for side in [CALLER, CALLEE] {
                while let Some(transmit) = self.layers[side].poll_transmit() {
                    idle = false;
                    assert_eq!(transmit.flow.remote, address(1 - side));
                    self.carry(1 - side, &transmit.bytes);
                }
                while let Some(event) = self.layers[side].poll_event() {
                    idle = false;
                    if side == CALLER {
                        self.caller_event(event);
                    } else {
                        self.callee_event(event);
                    }
                }
            }
            if idle {
                return;
            }
        }
    }

    fn carry(&mut self, to: usize, bytes: &Bytes) {
        self.sent += 1;
        if self.random.percent(self.weather.loss_percent) {
            return;
        }
        let copies = 1 + u64::from(self.random.percent(self.weather.duplicate_percent));
        let (shortest, longest) = self.weather.delay_ms;
        for _ in 0..copies {
            let delay = shortest + self.random.below(longest - shortest + 1);
            self.sequence += 1;
            let when = self.now + Duration::from_millis(delay);
            self.in_flight.push(Reverse((when, self.sequence, to)));
            self.datagrams.insert(self.sequence, bytes.clone());
        }
    }

    fn via(&mut self, side: usize) -> Via {
        let branch = self.branches.branch();
        Via::new(self.weather.transport, address(side), &branch)
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Start(index) => self.start_call(index),
            Act::Cancel(index) => {
                if let Some(client) = self.calls[index].client {
                    self.layers[CALLER].cancel(self.now, client, None);
                }
            }
            Act::Ring(index) => self.ring(index),
            Act::Decide(index) => match self.calls[index].plan.verdict {
                Verdict::Accept { .. } => self.accept(index),
                Verdict::Refuse { status, .. } => self.refuse(index, status),
                Verdict::Never => {}
            },
            Act::HangUp(side, index) => self.hang_up(side, index),
        }
    }

    fn start_call(&mut self, index: usize) {
        let via = self.via(CALLER);
        let tag = self.branches.tag();
        let invite = Builder::request(Method::Invite, "sip:callee@192.0.2.2")
            .header(HeaderName::Via, via.to_string())
            .header(HeaderName::MaxForwards, "70")
            .header(
                HeaderName::From,
                format!("<sip:caller@192.0.2.1>;tag={tag}"),
            )
            .header(HeaderName::To, "<sip:callee@192.0.2.2>")
            .header(HeaderName::CallId, format!("call-{index}"))
            .header(HeaderName::CSeq, "1 INVITE")
            .header(HeaderName::Contact, "<sip:caller@192.0.2.1:5060>")
            .finish();
        let flow = flow(CALLER, self.weather.transport);
        let client = self.layers[CALLER]
            .request(self.now, invite.clone(), flow)
            .expect("there is room");
        let call = &mut self.calls[index];
        call.client = Some(client);
        call.forks = Some(Forks::new(invite));
    }

    fn ring(&mut self, index: usize) {
        if let Some((id, request)) = self.calls[index].server.clone() {
            let response = self.response(index, &request, 180);
            self.layers[CALLEE].respond(self.now, id, response);
        }
    }

    fn response(&mut self, index: usize, request: &Message, status: u16) -> Message {
        Builder::response_to(request, status, "")
            .to_tag(&format!("callee-{index}"))
            .header(HeaderName::Contact, "<sip:callee@192.0.2.2:5060>")
            .finish()
    }

    fn accept(&mut self, index: usize) {
        let Some((id, request)) = self.calls[index].server.clone() else {
            return;
        };
        let response = self.response(index, &request, 200);
        if !self.layers[CALLEE].respond(self.now, id, response.clone()) {
            return;
        }
        let tag = format!("callee-{index}");
        let mut dialog =
            Dialog::uas(&request, &tag, "<sip:callee@192.0.2.2:5060>").expect("a good INVITE");
        dialog.responded(&response);
        let call = &mut self.calls[index];
        call.record.callee_finals.push(200);
        call.callee_dialog = Some(dialog);
        call.accepted = Some(AcceptedInvite::new(self.now, &self.timers, id, response));
        if call.plan.hang_up.0 == Side::Callee {
            let after = call.plan.hang_up.1;
            self.later(after, Act::HangUp(Side::Callee, index));
        }
    }

    fn refuse(&mut self, index: usize, status: u16) {
        let Some((id, request)) = self.calls[index].server.clone() else {
            return;
        };
        let response = self.response(index, &request, status);
        if self.layers[CALLEE].respond(self.now, id, response) {
            self.calls[index].record.callee_finals.push(status);
        }
    }

    fn repeat_accepted(&mut self, index: usize) {
        let Some(accepted) = &mut self.calls[index].accepted else {
            return;
        };
        let id = accepted.id();
        match accepted.handle_timeout(self.now) {
            Some(Accepted::Repeat(response)) => {
                self.layers[CALLEE].respond(self.now, id, response);
            }
            Some(Accepted::GiveUp) => {
                self.calls[index].record.given_up += 1;
                self.hang_up(Side::Callee, index);
            }
            None => {}
        }
    }

    fn hang_up(&mut self, side: Side, index: usize) {
        let (who, side_index) = match side {
            Side::Caller => (CALLER, CALLER),
            Side::Callee => (CALLEE, CALLEE),
        };
        let via = self.via(who);
        let call = &mut self.calls[index];
        let dialog = match side {
            Side::Caller => &mut call.caller_dialog,
            Side::Callee => &mut call.callee_dialog,
        };
        let Some(dialog) = dialog
            .as_mut()
            .filter(|dialog| dialog.state() == DialogState::Confirmed)
        else {
            return;
        };
        let bye = dialog.request(Method::Bye, &via).finish();
        dialog.terminate();
        if let Some(accepted) = call.accepted.as_mut().filter(|_| side == Side::Callee) {
            accepted.stop();
        }
        let flow = flow(who, self.weather.transport);
        let id = self.layers[who]
            .request(self.now, bye, flow)
            .expect("there is room");
        self.byes.insert((side_index, id), index);
    }

    fn bye_event(&mut self, side: usize, event: &Event) -> bool {
        let (id, outcome) = match event {
            Event::Response { id, message, .. } => (id, message.status().unwrap_or_default()),
            Event::Timeout { id } => (id, 1),
            Event::TransportError { id } => (id, 2),
            Event::ClientTerminated { id } => return self.byes.remove(&(side, *id)).is_some(),
            _ => return false,
        };
        let Some(&index) = self.byes.get(&(side, *id)) else {
            return false;
        };
        if !(100..200).contains(&outcome) {
            self.calls[index].record.bye_finals.push(outcome);
        }
        true
    }

    fn bye_request(&mut self, side: usize, id: ServerId, message: &Message) {
        let index = self.by_call_id[message.call_id().expect("has one")];
        let call = &mut self.calls[index];
        let dialog = if side == CALLER {
            &mut call.caller_dialog
        } else {
            &mut call.callee_dialog
        };
        let wanted = DialogId::of_request(message);
        let known = dialog.as_mut().filter(|d| wanted.as_ref() == Some(d.id()));
        let accepted = known.is_some_and(|dialog| {
            let good = dialog.receive_request(message).is_ok();
            dialog.terminate();
            good
        });
        let status = if accepted { 200 } else { 481 };
        call.record.byes_seen += u32::from(accepted);
        if side == CALLEE
            && let Some(accepted) = &mut call.accepted
        {
            accepted.stop();
        }
        let response = Builder::response_to(message, status, "").finish();
        self.layers[side].respond(self.now, id, response);
    }

    fn caller_event(&mut self, event: Event) {
        if self.bye_event(CALLER, &event) {
            return;
        }
        let index_of = |calls: &[Call], id: ClientId| {
            calls
                .iter()
                .position(|call| call.client == Some(id))
                .expect("a call of ours")
        };
        match event {
            Event::Response { id, message, .. } => {
                let index = index_of(&self.calls, id);
                self.caller_response(index, &message);
            }
            Event::Timeout { id } => {
                let index = index_of(&self.calls, id);
                self.calls[index].record.caller_finals.push(1);
            }
            Event::TransportError { id } => {
                let index = index_of(&self.calls, id);
                self.calls[index].record.caller_finals.push(2);
            }
            Event::ClientTerminated { id } => {
                let index = index_of(&self.calls, id);
                self.calls[index].record.caller_terminated += 1;
            }
            Event::Request { id, message, .. } => self.bye_request(CALLER, id, &message),
            Event::ServerTerminated { .. } => {}
            other => panic!("the caller is told {other:?}"),
        }
    }

    fn caller_response(&mut self, index: usize, response: &Message) {
        let status = response.status().expect("a response");
        let via = self.via(CALLER);
        let flow = flow(CALLER, self.weather.transport);
        let call = &mut self.calls[index];
        let forks = call.forks.as_mut().expect("an INVITE was sent");
        let invite = forks.invite().clone();
        match forks.receive(response).expect("a good response") {
            Fork::None | Fork::Early(_) => {
                assert!(status < 200);
                call.record.caller_provisionals += 1;
            }
            Fork::Failed => call.record.caller_finals.push(status),
            Fork::Accepted(dialog) => {
                call.record.caller_finals.push(status);
                let ack = dialog.ack(&invite, &via).finish();
                dialog.keep_ack(ack.clone());
                let id = dialog.id().clone();
                call.caller_dialog = forks.take(&id);
                self.layers[CALLER].send(&ack, flow);
                let plan = call.plan;
                if plan.cancel_ms.is_some_and(|cancel_ms| {
                    self.start + Duration::from_millis(plan.start_ms + cancel_ms) <= self.now
                }) {
                    // Given up, but the callee was quicker.
                    self.hang_up(Side::Caller, index);
                } else if plan.hang_up.0 == Side::Caller {
                    self.later(plan.hang_up.1, Act::HangUp(Side::Caller, index));
                }
            }
            Fork::Repeated(_) => {
                call.record.repeated_2xx += 1;
                let dialog = call.caller_dialog.as_ref().expect("taken");
                let ack = dialog.kept_ack(response).expect("kept").clone();
                self.layers[CALLER].send(&ack, flow);
            }
        }
    }

    fn callee_event(&mut self, event: Event) {
        if self.bye_event(CALLEE, &event) {
            return;
        }
        let index_of = |calls: &[Call], id: ServerId| {
            calls.iter().position(|call| {
                call.server
                    .as_ref()
                    .is_some_and(|(server, _)| *server == id)
            })
        };
        match event {
            Event::Request { id, message, .. } if message.is_method(&Method::Bye) => {
                self.bye_request(CALLEE, id, &message);
            }
            Event::Request { id, message, .. } => {
                assert!(message.is_method(&Method::Invite));
                let index = self.by_call_id[message.call_id().expect("has one")];
                let call = &mut self.calls[index];
                call.record.invites_seen += 1;
                call.server = Some((id, message));
                let plan = call.plan;
                if let Some(ring_ms) = plan.ring_ms {
                    self.later(ring_ms, Act::Ring(index));
                }
                match plan.verdict {
                    Verdict::Accept { after_ms } | Verdict::Refuse { after_ms, .. } => {
                        self.later(after_ms, Act::Decide(index));
                    }
                    Verdict::Never => {}
                }
            }
            Event::Cancel { invite, .. } => {
                let index = index_of(&self.calls, invite).expect("an INVITE we know");
                self.calls[index].record.cancels_seen += 1;
                self.refuse(index, 487);
            }
            Event::Ack {
                message, invite, ..
            } => {
                let index = self.by_call_id[message.call_id().expect("has one")];
                let call = &mut self.calls[index];
                let Some(dialog) = call.callee_dialog.as_ref() else {
                    // For a failure, after timer H had ended its transaction.
                    assert!(call.record.no_ack == 1 && invite.is_none());
                    return;
                };
                assert_eq!(DialogId::of_request(&message).as_ref(), Some(dialog.id()));
                call.record.acks_seen += 1;
                if let Some(accepted) = &mut call.accepted {
                    accepted.acknowledge(&message);
                }
            }
            Event::NoAck { id } => {
                let index = index_of(&self.calls, id).expect("an INVITE we know");
                self.calls[index].record.no_ack += 1;
            }
            Event::Abandoned { id } => {
                let index = index_of(&self.calls, id).expect("an INVITE we know");
                self.calls[index].record.callee_finals.push(408);
            }
            Event::ServerTerminated { id } => {
                if let Some(index) = index_of(&self.calls, id) {
                    self.calls[index].record.callee_terminated += 1;
                }
            }
            other => panic!("the callee is told {other:?}"),
        }
    }
}
