//! Legs without sockets, two and two: what is sent out of one is received on the other. A packet that is relayed goes on in
//! its own buffer, one that was made here waits in a queue until the turn that made it is over.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use super::leg::Leg;
use super::tick::PACKET_MAX;
use super::{Engine, Forward, Out, Slot, Transmit, leg_mut};
use crate::counters::Counters;
use crate::types::LegStart;

/// Packets that wait at a time: those of one turn of a leg, or of a room's share of its members.
const WAITING_MAX: usize = 128;
/// Packets that wait for the other thread at a time: it looks every 20 ms.
const FAR_MAX: usize = 16;
/// Wires that a packet goes through, one behind the other.
const HOPS_MAX: usize = 64;
/// Threads that a packet goes to, one after the other.
const FAR_HOPS_MAX: u8 = 16;
/// Where packets of a leg without a socket go: nobody looks at it.
pub(super) const NOWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The other end of a leg.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Wire {
    /// It has a socket.
    #[default]
    None,
    To(Slot),
    /// A leg of another thread.
    Far,
    /// The other end was closed.
    Cut,
}

/// A packet between two threads.
#[derive(Debug)]
struct Travelling {
    len: usize,
    /// Threads it has come through.
    hops: u8,
    bytes: [u8; PACKET_MAX],
}

/// One end of a wire between two media threads.
#[derive(Debug)]
pub struct FarEnd {
    sender: rtrb::Producer<Travelling>,
    receiver: rtrb::Consumer<Travelling>,
}

/// Both ends of a new wire; each goes to the thread of its leg.
pub fn far_wire() -> (FarEnd, FarEnd) {
    let (to_second, from_first) = rtrb::RingBuffer::new(FAR_MAX);
    let (to_first, from_second) = rtrb::RingBuffer::new(FAR_MAX);
    let first = FarEnd {
        sender: to_second,
        receiver: from_second,
    };
    let second = FarEnd {
        sender: to_first,
        receiver: from_first,
    };
    (first, second)
}

/// A packet on its way.
struct Waiting {
    to: Slot,
    len: usize,
    bytes: [u8; PACKET_MAX],
}

/// Packets that were made for legs without sockets.
#[derive(Default)]
pub(super) struct Wires(VecDeque<Waiting>);

impl Wires {
    /// Keeps a packet that was sent to the other end `to`.
    pub(super) fn push(&mut self, counters: &Counters, to: Slot, packet: &[u8]) {
        let mut bytes = [0; PACKET_MAX];
        let place = bytes.get_mut(..packet.len());
        // The room was made when the first wire was: nothing is allocated here.
        if let Some(place) = place.filter(|_| self.0.len() < self.0.capacity()) {
            place.copy_from_slice(packet);
            let len = packet.len();
            self.0.push_back(Waiting { to, len, bytes });
        } else {
            counters.drop_wire.add(1);
        }
    }
}

impl Leg {
    /// Ready to send to its other end, as long as there is one.
    pub(super) fn attach(&mut self) {
        self.connected = true;
        self.destination = (self.wire != Wire::Cut).then_some(NOWHERE);
    }

    /// Sends to the leg of another thread.
    pub(super) fn send_far(&mut self, counters: &Counters, packet: &[u8], hops: u8) {
        let mut bytes = [0; PACKET_MAX];
        let place = bytes.get_mut(..packet.len());
        let sent = match (place, &mut self.far) {
            // Where wires lead in a circle its packets come to an end.
            (Some(place), Some(far)) if hops < FAR_HOPS_MAX => {
                place.copy_from_slice(packet);
                let len = packet.len();
                far.sender.push(Travelling { len, hops, bytes }).is_ok()
            }
            _ => false,
        };
        if !sent {
            counters.drop_wire.add(1);
        }
    }

    /// The other end is gone.
    pub(super) fn cut(&mut self) {
        self.wire = Wire::Cut;
        self.destination = None;
    }
}

impl Engine {
    /// Opens both ends, or none (counted).
    pub(super) fn open_wire(&mut self, now: Instant, ends: [LegStart; 2]) -> bool {
        self.wires.0.reserve(WAITING_MAX);
        let [first, second] = ends;
        let Some(one) = self.open(now, first) else {
            return true;
        };
        let Some(other) = self.open(now, second) else {
            let end = leg_mut(&mut self.legs, one).map(|leg| leg.id);
            if let Some(end) = end {
                self.command(now, crate::types::Command::Close(end), &mut |_, _| {});
            }
            return true;
        };
        for (slot, peer) in [(one, other), (other, one)] {
            if let Some(leg) = leg_mut(&mut self.legs, slot) {
                leg.wire = Wire::To(peer);
            }
        }
        true
    }

    /// Opens a leg whose other end belongs to another thread.
    pub(super) fn open_far(&mut self, now: Instant, start: LegStart, end: FarEnd) {
        self.wires.0.reserve(WAITING_MAX);
        let Some(slot) = self.open(now, start) else {
            return;
        };
        if let Some(leg) = leg_mut(&mut self.legs, slot) {
            leg.wire = Wire::Far;
            leg.far = Some(Box::new(end));
        }
        self.watch(now, slot);
    }

    /// Takes what the other thread has sent. Where its end is gone the wire is cut.
    pub(super) fn receive_far(&mut self, now: Instant, slot: Slot, out: Out<'_>) {
        for _ in 0..FAR_MAX {
            let Some(leg) = leg_mut(&mut self.legs, slot) else {
                return;
            };
            let Some(far) = leg.far.as_mut() else {
                return;
            };
            // Asked before the ring is looked into: what was sent until then is in it.
            let gone = far.receiver.is_abandoned();
            match far.receiver.pop() {
                Ok(mut packet) => {
                    self.far_hops = packet.hops.saturating_add(1);
                    self.send_on(now, slot, &mut packet.bytes, packet.len, out);
                    self.far_hops = 0;
                }
                Err(_) if gone => {
                    leg.far = None;
                    return leg.cut();
                }
                Err(_) => return,
            }
        }
    }

    /// A packet comes to a leg without a socket, and goes out wherever it is relayed to.
    fn send_on(&mut self, now: Instant, to: Slot, bytes: &mut [u8], len: usize, out: Out<'_>) {
        let Some(forward) = self.rtp_in_buffer(now, to, None, bytes, len) else {
            return;
        };
        let start = usize::from(forward.start);
        let transmit = Transmit {
            slot: forward.slot,
            rtcp: false,
            dest: forward.dest,
        };
        let whole = bytes.get(start..start + usize::from(forward.len));
        out(transmit, whole.unwrap_or_default());
    }

    /// Takes a packet from end to end until it comes to a leg with a socket.
    #[cold]
    pub(super) fn through_wires(
        &mut self,
        now: Instant,
        mut forward: Forward,
        buffer: &mut [u8],
    ) -> Option<Forward> {
        for _ in 0..HOPS_MAX {
            let other = match leg_mut(&mut self.legs, forward.slot)?.wire {
                Wire::None => return Some(forward),
                Wire::Cut => return None,
                Wire::Far => {
                    let start = usize::from(forward.start);
                    let packet = buffer.get(start..start + usize::from(forward.len))?;
                    let hops = self.far_hops;
                    let leg = leg_mut(&mut self.legs, forward.slot)?;
                    leg.send_far(&self.counters, packet, hops);
                    return None;
                }
                Wire::To(other) => other,
            };
            let rest = buffer.get_mut(usize::from(forward.start)..)?;
            let next = self.rtp_to_leg(now, other, None, rest, usize::from(forward.len))?;
            forward = Forward {
                start: forward.start + next.start,
                ..next
            };
        }
        self.counters.drop_wire.add(1);
        None
    }

    /// Takes to the other ends what was made for legs without sockets since the last call.
    #[inline]
    pub(super) fn deliver_wires(&mut self, now: Instant, out: Out<'_>) {
        while let Some(mut packet) = self.wires.0.pop_front() {
            self.send_on(now, packet.to, &mut packet.bytes, packet.len, out);
        }
    }
}
