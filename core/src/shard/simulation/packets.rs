//! What plays the media thread of a shard. It keeps the legs with their sockets, so that a leg or a port that nobody gives back
//! is found, and says what such a thread would say; which packets arrive is told by the world, which knows both ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use strowger_media::{Command, Event, LegId, LegStats, Negotiated, PlayId};
use tokio::sync::Notify;

use crate::shard::Shard;

pub(super) struct Leg {
    /// Held as long as the leg: nobody else can have its ports.
    _sockets: [UdpSocket; 2],
    pub(super) at: SocketAddr,
    pub(super) negotiated: Option<Box<Negotiated>>,
    /// The first packet was told.
    heard: bool,
    /// The silence was told.
    missed: bool,
    last: Instant,
    playing: Option<PlayId>,
}

#[derive(Default)]
struct State {
    legs: FxHashMap<LegId, Leg>,
    events: VecDeque<Event>,
    /// What no media thread would be asked.
    faults: Vec<String>,
    opened: u64,
}

/// A shard's door to it; clones are the same.
#[derive(Clone, Default)]
pub(in crate::shard) struct Packets {
    state: Rc<RefCell<State>>,
    bell: Rc<Notify>,
}

impl Packets {
    pub(in crate::shard) fn execute(&self, command: Command) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut told = Vec::new();
        match command {
            Command::Open(setup) => {
                let at = setup.rtp.local_addr().expect("a bound socket");
                let leg = Leg {
                    _sockets: [setup.rtp, setup.rtcp],
                    at,
                    negotiated: None,
                    heard: false,
                    missed: false,
                    last: crate::clock::now(),
                    playing: None,
                };
                state.opened += 1;
                if state.legs.insert(setup.leg, leg).is_some() {
                    state
                        .faults
                        .push(format!("{:?} is opened twice", setup.leg));
                }
            }
            Command::Configure(id, negotiated) => {
                if let Some(leg) = state.legs.get_mut(&id) {
                    leg.negotiated = Some(negotiated);
                    leg.heard = false;
                    leg.missed = false;
                    leg.last = crate::clock::now();
                }
            }
            Command::Close(id) => match state.legs.remove(&id) {
                Some(leg) => {
                    told.extend(leg.playing.map(|play| play_ended(id, play)));
                    told.push(Event::Closed {
                        leg: id,
                        stats: Box::<LegStats>::default(),
                    });
                }
                None => state.faults.push(format!("{id:?} is closed twice")),
            },
            Command::Play { leg: id, play, .. } => {
                if let Some(leg) = state.legs.get_mut(&id) {
                    let before = leg.playing.replace(play);
                    told.extend(before.map(|play| play_ended(id, play)));
                }
            }
            Command::StopPlay { leg: id, play } => {
                if let Some(leg) = state.legs.get_mut(&id) {
                    let stopped = leg.playing.take_if(|playing| *playing == play);
                    told.extend(stopped.map(|play| play_ended(id, play)));
                }
            }
            Command::Bridge(..) | Command::Route(..) => {}
            other => state
                .faults
                .push(format!("the simulation has nothing for {other:?}")),
        }
        if !told.is_empty() {
            state.events.extend(told);
            self.bell.notify_one();
        }
    }

    pub(in crate::shard) fn poll_event(&self) -> Option<Event> {
        self.state.borrow_mut().events.pop_front()
    }

    /// Tells the shard what happened, as its reader of the thread's events does.
    pub(super) async fn run(self, shard: Rc<Shard>) {
        loop {
            self.bell.notified().await;
            while let Some(event) = self.poll_event() {
                shard.guarded("media event", |shard| shard.on_media(event));
            }
        }
    }

    /// The legs that are open, and where each hears and sends: address, peer's address, may it send.
    pub(super) fn ways(&self) -> Vec<(LegId, SocketAddr, Option<SocketAddr>, bool)> {
        let state = self.state.borrow();
        let way = |(id, leg): (&LegId, &Leg)| {
            let negotiated = leg.negotiated.as_ref();
            let remote = negotiated.and_then(|negotiated| negotiated.remote_rtp);
            let sends = negotiated.is_some_and(|negotiated| negotiated.sending);
            (*id, leg.at, remote, sends)
        };
        let mut ways: Vec<_> = state.legs.iter().map(way).collect();
        ways.sort_unstable_by_key(|(id, ..)| *id);
        ways
    }

    /// A leg hears somebody, or nobody.
    pub(super) fn hears(&self, id: LegId, from: Option<SocketAddr>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(leg) = state.legs.get_mut(&id) else {
            return;
        };
        let Some(negotiated) = &leg.negotiated else {
            return;
        };
        let now = crate::clock::now();
        let event = match from {
            Some(source) => {
                leg.last = now;
                leg.missed = false;
                if std::mem::replace(&mut leg.heard, true) {
                    return;
                }
                Event::FirstRtp { leg: id, source }
            }
            None => {
                let limit = Duration::from_millis(negotiated.rtp_timeout_ms.into());
                let silent = now.duration_since(leg.last);
                if limit.is_zero() || silent < limit || std::mem::replace(&mut leg.missed, true) {
                    return;
                }
                Event::RtpTimeout {
                    leg: id,
                    silent_ms: silent.as_millis() as u32,
                }
            }
        };
        state.events.push_back(event);
        self.bell.notify_one();
    }

    pub(super) fn open_legs(&self) -> usize {
        self.state.borrow().legs.len()
    }

    pub(super) fn opened(&self) -> u64 {
        self.state.borrow().opened
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.state.borrow().faults.clone()
    }
}

fn play_ended(leg: LegId, play: PlayId) -> Event {
    Event::PlayEnded {
        leg,
        play,
        completed: false,
        samples: 0,
        position_ms: 0,
    }
}
