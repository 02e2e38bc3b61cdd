//! Two exchanges on one link, in virtual time, each with whole calls: reliable provisional responses, offers and answers,
//! re-INVITE and UPDATE from both sides, session timers, BYE. The link loses, duplicates and reorders by a seed.

#![allow(unreachable_pub, reason = "a folder of a test, as others are")]

mod party;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use strowger_sip::dialog::DialogState;
use strowger_sip::flow::{Flow, Transport};
use strowger_sip::headers::Via;
use strowger_sip::message::{Builder, HeaderName, Message, Method};
use strowger_sip::offer_answer;
use strowger_sip::session_timer::{Policy, Wish};
use strowger_sip::transaction::{Branches, ClientId, Event, Layer, Limits, ServerId, Timers};

pub use party::Party;
use party::{Change, Why};

/// xorshift64*: the same numbers for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What the link does to a message.
#[derive(Copy, Clone, Debug)]
pub struct Weather {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    pub delay_ms_max: u64,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Invite(usize),
    Ring(usize),
    Answer(usize),
    Refuse(usize),
    Cancel(usize),
    Change(usize, usize),
    HangUp(usize, usize),
    /// The link is dead from now on.
    Cut,
}

/// One call: who calls, and how each side sees it.
pub struct Call {
    pub caller: usize,
    pub reliable: bool,
    /// In seconds; the callee's wish.
    pub timer: Wish,
    pub parties: [Party; 2],
}

pub struct World {
    pub now: Instant,
    pub timers: Timers,
    pub random: Random,
    weather: Weather,
    pub layers: [Layer; 2],
    branches: Branches,
    in_flight: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    datagrams: BTreeMap<u64, Bytes>,
    agenda: BinaryHeap<Reverse<(Instant, u64)>>,
    acts: BTreeMap<u64, Act>,
    sequence: u64,
    pub calls: Vec<Call>,
    steps: u64,
    pub pracks: u64,
    pub changes: u64,
    pub crossed: u64,
    pub expired: u64,
    pub given_up: u64,
}

pub fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + side as u8], 5060))
}

pub fn flow(from: usize) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: address(from),
        remote: address(1 - from),
        connection: 0,
    }
}

pub fn contact(side: usize) -> String {
    format!("<sip:exchange@{}>", address(side))
}

impl World {
    pub fn new(seed: u64, weather: Weather, calls: usize) -> Self {
        let timers = Timers {
            proceeding: Duration::from_secs(120),
            ..Timers::default()
        };
        let layer = || Layer::new(timers.clone(), Limits::default());
        let mut world = Self {
            now: Instant::now(),
            random: Random::new(seed),
            weather,
            layers: [layer(), layer()],
            timers,
            branches: Branches::new(),
            in_flight: BinaryHeap::new(),
            datagrams: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            acts: BTreeMap::new(),
            sequence: 0,
            calls: Vec::new(),
            steps: 0,
            pracks: 0,
            changes: 0,
            crossed: 0,
            expired: 0,
            given_up: 0,
        };
        for index in 0..calls {
            world.plan(index);
        }
        world
    }

    fn plan(&mut self, index: usize) {
        let timer = match self.random.below(4) {
            0 => Wish::Never,
            1 => Wish::Always,
            2 => Wish::Required,
            _ => Wish::Offered,
        };
        let policy = || Policy::new(timer, 90, 90);
        let session = |side: usize| offer_answer::Session::new("-", (2 * index + side) as u64);
        self.calls.push(Call {
            caller: self.random.below(2) as usize,
            reliable: self.random.percent(60),
            timer,
            parties: [
                Party::new(session(0), policy()),
                Party::new(session(1), policy()),
            ],
        });
        let start = self.random.below(20_000);
        self.later(start, Act::Invite(index));
        if self.random.percent(25) {
            let cancel = start + self.random.below(12_000);
            self.later(cancel, Act::Cancel(index));
        }
        for _ in 0..self.random.below(5) {
            let side = self.random.below(2) as usize;
            let change = start + self.random.below(40_000);
            self.later(change, Act::Change(side, index));
        }
        // Somebody hangs up in the end, some long after the timers should have ended what is lost.
        let longest = if self.random.percent(20) {
            400_000
        } else {
            60_000
        };
        for side in [0, 1] {
            let end = start + 10_000 + self.random.below(longest);
            self.later(end, Act::HangUp(side, index));
        }
    }

    /// From that moment on nothing arrives any more.
    pub fn cut_after(&mut self, delay_ms: u64) {
        self.later(delay_ms, Act::Cut);
    }

    pub fn run(&mut self) {
        while let Some(next) = self.next_moment() {
            self.now = self.now.max(next);
            self.steps += 1;
            assert!(self.steps < 3_000_000, "the simulation does not end");
            self.step();
            self.check();
        }
    }

    fn next_moment(&self) -> Option<Instant> {
        let link = self.in_flight.peek().map(|Reverse((when, ..))| *when);
        let agenda = self.agenda.peek().map(|Reverse((when, _))| *when);
        let parties = self.calls.iter().flat_map(|call| &call.parties);
        let parties = parties.filter_map(Party::next_timeout).min();
        let layers = self.layers.iter().filter_map(Layer::next_timeout).min();
        [link, agenda, parties, layers].into_iter().flatten().min()
    }

    /// Whatever happens: who is up has a dialog that is confirmed, and who is down waits for nothing of its own.
    fn check(&self) {
        for call in &self.calls {
            for party in &call.parties {
                if party.is_up() {
                    let state = party.dialog.as_ref().map(|dialog| dialog.state());
                    assert_eq!(state, Some(DialogState::Confirmed), "{party:?}");
                } else if party.down_at.is_some() {
                    assert!(party.timer.is_none(), "a timer outlives its call");
                }
            }
        }
    }

    fn step(&mut self) {
        if let Some(&Reverse((when, id, to))) = self.in_flight.peek()
            && when <= self.now
        {
            self.in_flight.pop();
            let bytes = self.datagrams.remove(&id).expect("in flight");
            let message = Message::parse(bytes).expect("we send what can be read");
            self.layers[to].receive(self.now, message, flow(to));
            return self.drain();
        }
        if let Some(&Reverse((when, id))) = self.agenda.peek()
            && when <= self.now
        {
            self.agenda.pop();
            let act = self.acts.remove(&id).expect("on the agenda");
            self.act(act);
            return self.drain();
        }
        for index in 0..self.calls.len() {
            for side in [0, 1] {
                self.party_timeout(side, index);
            }
        }
        for side in [0, 1] {
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
            for side in [0, 1] {
                while let Some(transmit) = self.layers[side].poll_transmit() {
                    idle = false;
                    self.carry(1 - side, &transmit.bytes);
                }
                while let Some(event) = self.layers[side].poll_event() {
                    idle = false;
                    self.event(side, event);
                }
            }
            if idle {
                return;
            }
        }
    }

    fn carry(&mut self, to: usize, bytes: &Bytes) {
        if self.random.percent(self.weather.loss_percent) {
            return;
        }
        let copies = 1 + u64::from(self.random.percent(self.weather.duplicate_percent));
        for _ in 0..copies {
            let delay = 1 + self.random.below(self.weather.delay_ms_max);
            self.sequence += 1;
            let when = self.now + Duration::from_millis(delay);
            self.in_flight.push(Reverse((when, self.sequence, to)));
            self.datagrams.insert(self.sequence, bytes.clone());
        }
    }

    pub fn via(&mut self, side: usize) -> Via {
        let branch = self.branches.branch();
        Via::new(Transport::Udp, address(side), &branch)
    }

    fn request(&mut self, side: usize, message: Message) -> ClientId {
        self.layers[side]
            .request(self.now, message, flow(side))
            .expect("there is room")
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Invite(index) => self.invite(index),
            Act::Ring(index) => self.ring(index),
            Act::Answer(index) => self.answer(index),
            Act::Refuse(index) => self.refuse(index, 486),
            Act::Cancel(index) => {
                let side = self.calls[index].caller;
                let party = &mut self.calls[index].parties[side];
                if let (Some(client), None) = (party.invite, &party.dialog) {
                    party.cancelled = true;
                    self.layers[side].cancel(self.now, client, None);
                }
            }
            Act::Change(side, index) => {
                let party = &mut self.calls[index].parties[side];
                if party.is_up() {
                    party.wanted = true;
                    self.change(side, index);
                }
            }
            Act::HangUp(side, index) => self.hang_up(side, index, Why::HungUp),
            Act::Cut => self.weather.loss_percent = 100,
        }
    }

    fn invite(&mut self, index: usize) {
        let side = self.calls[index].caller;
        let via = self.via(side);
        let tag = self.branches.tag();
        let call = &mut self.calls[index];
        let reliable = call.reliable;
        let party = &mut call.parties[side];
        let offer = party.offer(side);
        let mut invite =
            Builder::request(Method::Invite, format!("sip:callee@{}", address(1 - side)))
                .header(HeaderName::Via, via.to_string())
                .header(HeaderName::MaxForwards, "70")
                .header(HeaderName::From, format!("<sip:caller@a>;tag={tag}"))
                .header(HeaderName::To, "<sip:callee@b>")
                .header(HeaderName::CallId, format!("call-{index}"))
                .header(HeaderName::CSeq, "1 INVITE")
                .header(HeaderName::Contact, contact(side))
                .header(HeaderName::Supported, "100rel, timer");
        if reliable {
            invite = invite.header(HeaderName::Require, "100rel");
        }
        let invite = party
            .policy
            .ask(invite, None)
            .body("application/sdp", offer)
            .finish();
        party.forks = Some(strowger_sip::dialog::Forks::new(invite.clone()));
        let client = self.request(side, invite);
        self.calls[index].parties[side].invite = Some(client);
    }

    fn event(&mut self, side: usize, event: Event) {
        match event {
            Event::Request { id, message, .. } => {
                let index = index_of(&message);
                self.receive_request(side, index, id, &message);
            }
            Event::Ack { message, .. } => {
                let party = &mut self.calls[index_of(&message)].parties[side];
                if let Some(accepted) = party.accepted.as_mut()
                    && accepted.acknowledge(&message)
                {
                    self.change(side, index_of(&message));
                }
            }
            Event::Cancel { invite, .. } => {
                let open = self.calls.iter().position(|call| {
                    let server = &call.parties[side].server;
                    server.as_ref().is_some_and(|(id, _)| *id == invite)
                });
                if let Some(index) = open {
                    self.refuse(index, 487);
                }
            }
            Event::Response { id, message, .. } => {
                let index = index_of(&message);
                self.receive_response(side, index, id, &message);
            }
            Event::Timeout { id } | Event::TransportError { id } => self.no_answer(side, id),
            Event::ClientTerminated { id } => {
                for call in &mut self.calls {
                    let party = &mut call.parties[side];
                    party.sent.retain(|(client, _)| *client != id);
                }
            }
            Event::Abandoned { id } => {
                let open = self.calls.iter().position(|call| {
                    let server = &call.parties[side].server;
                    server.as_ref().is_some_and(|(known, _)| *known == id)
                });
                if let Some(index) = open {
                    self.calls[index].parties[side].end(self.now, Why::Refused);
                }
            }
            Event::NoAck { .. } | Event::ResponseFailed { .. } | Event::ServerTerminated { .. } => {
            }
        }
    }

    fn new_call(&mut self, side: usize, index: usize, id: ServerId, invite: &Message) {
        let reliable = invite.lists(&HeaderName::Require, "100rel");
        let (timers, random) = (self.timers.clone(), self.random.next() as u32);
        self.calls[index].parties[side].called(side, id, invite, reliable, &timers, random);
        if self.random.percent(80) {
            let after = self.random.below(3000);
            self.later(after, Act::Ring(index));
        }
        let after = self.random.below(9000);
        match self.random.below(10) {
            0..=6 => self.later(after, Act::Answer(index)),
            _ => self.later(after, Act::Refuse(index)),
        }
    }

    /// Sends the change that a party wants, where that is possible now.
    fn change(&mut self, side: usize, index: usize) {
        let via = self.via(side);
        let update = self.random.percent(50);
        let party = &mut self.calls[index].parties[side];
        let Some(request) = party.make_change(side, &via, update) else {
            return;
        };
        self.changes += 1;
        let client = self.request(side, request.clone());
        self.calls[index].parties[side].change = Some(Change { client, request });
    }
}

pub fn index_of(message: &Message) -> usize {
    let call_id = message.call_id().expect("has one");
    let number = call_id.strip_prefix("call-").expect("ours");
    number.parse().expect("ours")
}

/// Whose ends are told apart.
pub fn is_explained(call: &Call, linger: Duration) -> Result<(), String> {
    let [one, other] = &call.parties;
    for party in [one, other] {
        if party.is_up() {
            return Err(format!("up for ever: {one:?} {other:?}"));
        }
    }
    let (Some(first), Some(second)) = (one.down_at, other.down_at) else {
        return Ok(());
    };
    // Nothing was up on one side, or both were.
    let apart = first.max(second) - first.min(second);
    let lost = one.bye_lost || other.bye_lost;
    let limit = if lost {
        linger + Duration::from_secs(90)
    } else {
        linger
    };
    if one.up_at.is_some()
        && other.up_at.is_some()
        && apart > limit
        && !(lost && call.timer == Wish::Never)
    {
        return Err(format!("{apart:?} apart: {one:?} {other:?}"));
    }
    Ok(())
}
