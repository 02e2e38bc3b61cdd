//! The link between the exchanges: it loses, duplicates, delays and reorders datagrams by the seed, and counts and marks what
//! it carried, so that two runs can be compared.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use strowger_sip::message::peek;
use strowger_sip::{Flow, Transport};
use tokio::sync::Notify;

use super::plan::{Random, Weather};
use crate::shard::Shard;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Bytes,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    /// Of dialogs that were cut.
    pub(super) swallowed: u64,
    /// What was sent when, by whom and to whom.
    pub(super) mark: u64,
}

struct State {
    random: Random,
    weather: Weather,
    flying: BinaryHeap<Reverse<Flight>>,
    number: u64,
    /// Call-IDs of which nothing arrives any more.
    cut: FxHashSet<String>,
    /// Call-IDs of which a response arrived.
    heard: FxHashSet<String>,
    carried: Carried,
    /// Where every datagram is written, for people.
    trail: Option<File>,
    /// The kernel keeps to one socket of several for an address pair.
    sockets: FxHashMap<(SocketAddr, SocketAddr), u64>,
}

pub(super) struct Network {
    began: Instant,
    state: RefCell<State>,
    bell: Notify,
}

impl Network {
    pub(super) fn new(random: Random, weather: Weather) -> Rc<Self> {
        Rc::new(Self {
            began: crate::clock::now(),
            state: RefCell::new(State {
                random,
                weather,
                flying: BinaryHeap::new(),
                number: 0,
                cut: FxHashSet::default(),
                heard: FxHashSet::default(),
                carried: Carried::default(),
                trail: std::env::var_os("TRAIL").map(|path| {
                    let mut options = File::options();
                    let file = options.create(true).append(true).open(path);
                    file.expect("the file that TRAIL names")
                }),
                sockets: FxHashMap::default(),
            }),
            bell: Notify::new(),
        })
    }

    /// Takes a datagram.
    pub(super) fn carry(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = crate::clock::now();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut mark = FxHasher::default();
        state.carried.mark.hash(&mut mark);
        (now.duration_since(self.began).as_millis(), from, to).hash(&mut mark);
        bytes.hash(&mut mark);
        state.carried.mark = mark.finish();
        state.carried.sent += 1;
        if let Some(trail) = &mut state.trail {
            let at = now.duration_since(self.began).as_millis();
            let text = String::from_utf8_lossy(bytes);
            let _ = writeln!(trail, "{at} ms, {from} to {to}\n{text}");
        }
        let weather = state.weather;
        if state.random.percent(weather.loss_percent) {
            state.carried.lost += 1;
            return;
        }
        let call_id = peek(bytes).map(|peeked| peeked.call_id);
        let call_id = call_id.and_then(|call_id| std::str::from_utf8(call_id).ok());
        if call_id.is_some_and(|call_id| state.cut.contains(call_id)) {
            state.carried.swallowed += 1;
            return;
        }
        let twice = state.random.percent(weather.duplicate_percent);
        state.carried.duplicated += u64::from(twice);
        let bytes = Bytes::copy_from_slice(bytes);
        for _ in 0..=u64::from(twice) {
            let mut delay = 1 + state.random.below(weather.delay_ms_max);
            if state.random.below(1000) < weather.late_per_mille {
                delay += state.random.below(3000);
            }
            state.number += 1;
            state.flying.push(Reverse(Flight {
                at: now + Duration::from_millis(delay),
                number: state.number,
                from,
                to,
                bytes: bytes.clone(),
            }));
        }
        self.bell.notify_one();
    }

    /// Nothing of this dialog arrives from now on.
    pub(super) fn cut(&self, call_id: String) {
        self.state.borrow_mut().cut.insert(call_id);
    }

    pub(super) fn is_cut(&self, call_id: &str) -> bool {
        self.state.borrow().cut.contains(call_id)
    }

    /// Whether a response in this dialog ever arrived.
    pub(super) fn was_heard(&self, call_id: &str) -> bool {
        self.state.borrow().heard.contains(call_id)
    }

    pub(super) fn carried(&self) -> Carried {
        self.state.borrow().carried
    }

    fn next_due(&self) -> Option<Instant> {
        let state = self.state.borrow();
        state.flying.peek().map(|Reverse(flight)| flight.at)
    }

    fn take_due(&self) -> Option<Flight> {
        let due = self.next_due()? <= crate::clock::now();
        let mut state = self.state.borrow_mut();
        let flight = due.then(|| state.flying.pop())?;
        let Reverse(flight) = flight?;
        if let Some(peeked) = peek(&flight.bytes).filter(|peeked| !peeked.is_request)
            && let Ok(call_id) = std::str::from_utf8(peeked.call_id)
            && !state.heard.contains(call_id)
        {
            state.heard.insert(call_id.to_owned());
        }
        Some(flight)
    }

    /// The shard whose socket of an exchange gets what comes from an address.
    fn socket(&self, flight: &Flight, count: usize) -> usize {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let random = &mut state.random;
        let sockets = &mut state.sockets;
        let drawn = sockets
            .entry((flight.from, flight.to))
            .or_insert_with(|| random.next());
        *drawn as usize % count.max(1)
    }

    /// Brings what is due to the shards of the exchange it is for.
    pub(super) async fn run(self: Rc<Self>, exchanges: Vec<(SocketAddr, Vec<Rc<Shard>>)>) {
        loop {
            while let Some(flight) = self.take_due() {
                let Some((_, shards)) = exchanges.iter().find(|(at, _)| *at == flight.to) else {
                    continue;
                };
                let Some(shard) = shards.get(self.socket(&flight, shards.len())) else {
                    continue;
                };
                let flow = Flow {
                    transport: Transport::Udp,
                    local: flight.to,
                    remote: flight.from,
                    connection: 0,
                };
                shard.batching.set(true);
                shard.receive(flow, flight.bytes);
                shard.batching.set(false);
                shard.flush();
                // What it woke goes on before the next one comes.
                tokio::task::yield_now().await;
            }
            match self.next_due() {
                None => self.bell.notified().await,
                Some(at) => {
                    let _ = tokio::time::timeout_at(at.into(), self.bell.notified()).await;
                }
            }
        }
    }
}
