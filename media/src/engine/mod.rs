//! The media engine: legs, routes, players, recorders, reports. Sans-IO: packets, commands and the time go in; packets
//! to send, socket orders, file orders and events come out.
//!
//! What lives here: every decision of the media thread. What never does: sockets that are read or written, clocks that
//! are asked, files, threads, logs.
//!
//! How a worker drives it, in each of its loops:
//! - for each command [`Engine::command`], for each datagram [`Engine::rtp`] (send what it returns from the same
//!   buffer) or [`Engine::rtcp`], for each answer of the file thread [`Engine::file_reply`];
//! - [`Engine::tick`] once;
//! - then empty [`Engine::poll_effect`], [`Engine::poll_file`], [`Engine::poll_event`];
//! - sleep until something comes, at most until [`Engine::next_deadline`].
//!
//! A leg has a dense [`Slot`], so that neither side looks anything up on the packet path. Nothing on that path
//! allocates, locks or logs.

mod attend;
mod carriage;
mod control;
mod digits;
mod hearing;
mod leg;
mod member;
mod player;
mod protection;
mod recorder;
mod relay;
mod report;
mod room;
mod tick;
mod track;
mod voice;
mod wheel;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use crate::counters::Counters;
use crate::recording::{Order, Reply};
use crate::rtp::rtcp::Ntp;
use crate::rtp::send::SourceKey;
use crate::types::{Event, LegId, RecorderId};
use carriage::Carrier;
use leg::{Leg, Target};
pub use recorder::Recorder;
use wheel::Wheel;
use wire::Wires;
pub use wire::{FarEnd, far_wire};

/// Index of a leg: dense, below [`Limits::max_legs`], used again after [`Engine::release`].
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Slot(pub u32);

/// How much an engine takes on.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    pub max_legs: usize,
    /// Recorders on one leg.
    pub max_recorders: usize,
    /// Events that wait to be fetched.
    pub max_events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_legs: 4000,
            max_recorders: 8,
            max_events: 16_384,
        }
    }
}

/// The wall time that belongs to a monotonic one; RTCP reports carry it.
#[derive(Copy, Clone, Debug)]
pub struct Clock {
    pub now: Instant,
    /// The same moment in NTP format: seconds since 1900 in the upper 32 bits, their fraction in the lower.
    pub ntp: u64,
}

impl Clock {
    /// The monotonic and the wall clock of this moment.
    pub fn read() -> Self {
        // Seconds from 1900 to 1970.
        const EPOCHS: u64 = 2_208_988_800;
        let unix = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            now: Instant::now(),
            ntp: Ntp(EPOCHS << 32).after(unix).0,
        }
    }

    pub(crate) fn ntp_at(&self, now: Instant) -> Ntp {
        Ntp(self.ntp).after(now.saturating_duration_since(self.now))
    }
}

/// Send `packet[start..start + len]` (rewritten in place) out of the RTP socket of `slot`.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Forward {
    pub slot: Slot,
    /// Where to; a connected socket knows already.
    pub dest: SocketAddr,
    pub start: u16,
    pub len: u16,
}

/// A packet that the engine made: from which socket, where to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    pub slot: Slot,
    /// Out of the RTCP socket; otherwise out of the RTP socket.
    pub rtcp: bool,
    pub dest: SocketAddr,
}

/// Takes generated packets; they are at most 1472 bytes long and have to be copied or sent at once.
pub type Out<'a> = &'a mut dyn FnMut(Transmit, &[u8]);

/// What the worker has to do with sockets.
#[derive(Debug)]
pub enum Effect {
    /// A leg was opened: receive on these.
    Opened {
        slot: Slot,
        rtp: UdpSocket,
        rtcp: UdpSocket,
    },
    /// The RTP socket may be connected to this address (source and destination are settled), or has to be
    /// unconnected (`None`) because the remote changes.
    Connect {
        slot: Slot,
        remote: Option<SocketAddr>,
    },
    /// A leg was closed: stop receiving, close its sockets, then call [`Engine::release`].
    Closed { slot: Slot },
}

/// The media engine of one shard.
pub struct Engine {
    limits: Limits,
    clock: Clock,
    counters: Arc<Counters>,
    legs: Vec<Option<Box<Leg>>>,
    /// Slots that were closed and wait for their release.
    closing: Vec<bool>,
    free: Vec<Slot>,
    by_id: HashMap<LegId, Slot>,
    recorders: HashMap<RecorderId, Slot>,
    rooms: room::Rooms,
    wheel: Wheel,
    effects: VecDeque<Effect>,
    events: Events,
    orders: VecDeque<Order>,
    /// Buffers for blocks that any recorder may take.
    buffers: Vec<Vec<i16>>,
    /// What legs without sockets were made to send, on its way to their other ends.
    wires: Wires,
    /// Threads that the packet came through which is worked on now.
    far_hops: u8,
    keys: u64,
    samples: Box<[i16; relay::SAMPLES_MAX]>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.limits)
            .field("legs", &self.by_id.len())
            .field("recorders", &self.recorders.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without legs. All tables are allocated here. Take `clock` just before, and never give an earlier time to
    /// any other method.
    pub fn new(limits: Limits, clock: Clock, counters: Arc<Counters>) -> Self {
        let max = u32::try_from(limits.max_legs).unwrap_or(u32::MAX);
        Self {
            legs: (0..max).map(|_| None).collect(),
            closing: vec![false; max as usize],
            free: (0..max).rev().map(Slot).collect(),
            by_id: HashMap::with_capacity(max as usize),
            recorders: HashMap::new(),
            rooms: room::Rooms::new(),
            wheel: Wheel::new(clock.now),
            // Each leg may be opened, connected and closed in one loop.
            effects: VecDeque::with_capacity(3 * max as usize),
            events: Events::new(limits.max_events, counters.clone()),
            orders: VecDeque::new(),
            buffers: Vec::new(),
            wires: Wires::default(),
            far_hops: 0,
            keys: 0,
            samples: Box::new([0; relay::SAMPLES_MAX]),
            limits,
            clock,
            counters,
        }
    }

    /// The next order about sockets.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next order for the file thread. Orders of one recorder have to reach it in this sequence.
    pub fn poll_file(&mut self) -> Option<Order> {
        let order = self.orders.pop_front();
        if let Some(Order::Samples { recorder, .. }) = &order {
            self.refill(*recorder);
        }
        order
    }

    /// The next event for signalling.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.queue.pop_front()
    }

    /// A packet of this leg comes soon. The calls for packets that follow each other should be some packets ahead:
    /// `stage` 0 first, 1 when that had time to take effect, then 2 and 3.
    #[inline]
    pub fn expect(&self, slot: Slot, stage: u8) {
        let leg = |slot: Slot| self.legs.get(slot.0 as usize).and_then(Option::as_deref);
        let Some(from) = leg(slot) else { return };
        let to = |from: &Leg| match from.target {
            Target::Relay(peer) => leg(peer),
            _ => None,
        };
        match stage {
            0 => from.expect(),
            1 => {
                from.expect_more();
                if let Some(to) = to(from) {
                    to.expect_sending();
                }
            }
            2 => {
                from.expect_places();
                if let Some(to) = to(from) {
                    to.expect_recorders();
                }
            }
            _ => {
                if let Some(to) = to(from) {
                    to.expect_recording();
                }
            }
        }
    }

    /// When [`Engine::tick`] has to be called next, never before `now`; `None`: not before something else happens.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.wheel.next_deadline().map(|due| due.max(now))
    }

    /// The sockets of a closed slot are gone: it may be used again.
    pub fn release(&mut self, slot: Slot) {
        if let Some(closing) = self.closing.get_mut(slot.0 as usize)
            && std::mem::take(closing)
        {
            self.free.push(slot);
        }
    }

    /// An answer of the file thread.
    pub fn file_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Buffer { recorder, samples } => {
                let left = match self.recorder_mut(recorder) {
                    Some(recorder) => recorder.buffer(samples),
                    None => Some(samples),
                };
                self.keep(left);
            }
            Reply::Refused { recorder, samples } => {
                let left = match self.recorder_mut(recorder) {
                    Some(recorder) => recorder.refused(samples),
                    None => Some(samples),
                };
                self.keep(left);
            }
            Reply::Trouble {
                recorder,
                leg,
                error,
            } => {
                self.counters.recorder_troubles.add(1);
                self.events.tell(Event::RecorderTrouble {
                    recorder,
                    leg,
                    error,
                });
            }
            Reply::Resumed {
                recorder,
                leg,
                lost_samples,
            } => self.events.tell(Event::RecorderResumed {
                recorder,
                leg,
                lost_samples,
            }),
            Reply::Closed {
                recorder,
                leg,
                path,
                samples,
                lost_samples,
                error,
            } => self.events.tell(Event::RecorderClosed {
                recorder,
                leg,
                path,
                samples,
                lost_samples,
                error,
            }),
        }
    }

    /// Gives a recorder whose block was just handed over the next buffer.
    fn refill(&mut self, recorder: RecorderId) {
        let Some(buffer) = self.buffers.pop() else {
            return;
        };
        let left = match self.recorder_mut(recorder) {
            Some(recorder) if recorder.wants_buffer() => recorder.buffer(buffer),
            _ => Some(buffer),
        };
        self.keep(left);
    }

    /// Keeps a buffer for any recorder that needs one.
    fn keep(&mut self, buffer: Option<Vec<i16>>) {
        if let Some(buffer) = buffer
            && buffer.capacity() == recorder::USUAL_BUFFER
            && self.buffers.len() < self.buffers.capacity()
        {
            self.buffers.push(buffer);
        }
    }

    fn recorder_mut(&mut self, id: RecorderId) -> Option<&mut Recorder> {
        let Some(&slot) = self.recorders.get(&id) else {
            return self.rooms.recorder_mut(id);
        };
        let leg = leg_mut(&mut self.legs, slot)?;
        leg.recorders.iter_mut().find(|r| r.id() == id)
    }

    fn next_key(&mut self) -> SourceKey {
        next_key(&mut self.keys)
    }
}

fn next_key(keys: &mut u64) -> SourceKey {
    *keys += 1;
    SourceKey(*keys)
}

#[inline]
fn leg_mut(legs: &mut [Option<Box<Leg>>], slot: Slot) -> Option<&mut Leg> {
    legs.get_mut(slot.0 as usize)?.as_deref_mut()
}

/// A turn of this leg comes soon: as [`Engine::expect`], in stages 0 to 2.
#[inline]
fn expect_turn(legs: &[Option<Box<Leg>>], slot: Slot, stage: u8) {
    let leg = |slot: Slot| legs.get(slot.0 as usize).and_then(Option::as_deref);
    if let Some(from) = leg(slot) {
        let speaker = match from.target {
            Target::Relay(peer) if stage > 0 && from.carrier == Carrier::Translated => leg(peer),
            _ => None,
        };
        from.expect_turn(stage, speaker);
    }
}

/// Events that wait for signalling.
struct Events {
    queue: VecDeque<Event>,
    max: usize,
    counters: Arc<Counters>,
}

impl Events {
    fn new(max: usize, counters: Arc<Counters>) -> Self {
        Self {
            queue: VecDeque::with_capacity(max),
            max,
            counters,
        }
    }

    /// What a command caused, or happens once in a while.
    fn tell(&mut self, event: Event) {
        self.tell_below(self.max, event);
    }

    /// What the remote can cause as often as it likes: must not crowd out the rest.
    fn tell_of_remote(&mut self, event: Event) {
        self.tell_below(self.max / 2, event);
    }

    fn tell_below(&mut self, max: usize, event: Event) {
        if self.queue.len() < max {
            self.queue.push_back(event);
        } else {
            self.counters.events_dropped.add(1);
        }
    }
}
