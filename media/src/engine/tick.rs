//! What legs do by the clock: prompts, digits and recordings every 20 ms, reports and timeouts every 200 ms.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::control::play_ended;
use super::leg::{COMFORT_NOISE, Drop, Leg, Target};
use super::player::Player;
use super::recorder::{News, Recorder};
use super::wheel::Turn;
use super::wire::{NOWHERE, Wire, Wires};
use super::{Engine, Events, Out, Slot, Transmit, expect_turn, leg_mut};
use crate::codec::PAYLOAD_MAX;
use crate::counters::Counters;
use crate::recording::Order;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::rtp::send::{Numbers, SourceKey};
use crate::rtp::srtp::OVERHEAD_MAX;
use crate::types::Event;

/// Samples of a turn.
pub(super) const FRAME: usize = 160;

/// Comfort noise that nobody hears: -127 dBov (RFC 3389 §3.1).
const QUIETEST: u8 = 127;

/// How many turns ahead what they need is asked for: the leg, what belongs to it, and what that works on.
pub(super) const AHEAD: [usize; 3] = [8, 5, 2];
/// Room for a generated packet and what protection adds to it.
pub(super) const PACKET_MAX: usize = HEADER_LEN + PAYLOAD_MAX + OVERHEAD_MAX;

/// What generated packets need beside the leg.
pub(super) struct Context<'a, 'b> {
    pub(super) now: Instant,
    pub(super) counters: &'a Counters,
    pub(super) orders: &'a mut VecDeque<Order>,
    pub(super) wires: &'a mut Wires,
    pub(super) out: &'a mut (dyn FnMut(Transmit, &[u8]) + 'b),
}

impl Engine {
    /// Does what is due. Call it in every loop, and at [`Engine::next_deadline`] at the latest; turns that were missed are
    /// made up for in order, up to 100 ms of them.
    pub fn tick(&mut self, now: Instant, out: Out<'_>) {
        let due = self.wheel.begin(now);
        self.counters
            .wheel_late_us_max
            .max(due.late.as_micros() as u64);
        if due.skipped > 0 {
            self.counters.wheel_slots_skipped.add(due.skipped);
            self.after_stall();
        }
        while let Some(number) = self.wheel.next_slot(now) {
            let mut index = 0;
            while let Some(slot) = self.wheel.leg(number, Turn::Fast, index) {
                for (stage, ahead) in AHEAD.into_iter().enumerate() {
                    let later = self.wheel.leg(number, Turn::Fast, index + ahead);
                    if let Some(slot) = later {
                        expect_turn(&self.legs, slot, stage as u8);
                    }
                }
                let due = self.wheel.time_of(number);
                if self.fast_turn(now, due, slot, out) {
                    index += 1;
                } else {
                    self.wheel.remove(Turn::Fast, slot);
                }
                self.deliver_wires(now, out);
            }
            let mut index = 0;
            while let Some((room, part)) = self.wheel.room(number, index) {
                self.expect_rooms(number, index);
                // A room that has gone from this slot leaves its index to the next.
                let due = self.wheel.time_of(number);
                if self.room_turn(now, due, room, part, out) {
                    index += 1;
                }
                self.deliver_wires(now, out);
            }
            let mut index = 0;
            while let Some(slot) = self.wheel.leg(number, Turn::Slow, index) {
                self.slow_turn(now, slot);
                self.keep_alive(now, slot, out);
                self.report(now, slot, out);
                index += 1;
            }
        }
    }

    /// Time was skipped: what is generated goes on with timestamps of the clock.
    fn after_stall(&mut self) {
        self.rooms.after_stall(&mut self.legs);
        for slot in self.wheel.fast_legs() {
            let Some(leg) = leg_mut(&mut self.legs, slot) else {
                continue;
            };
            if let Some(player) = &leg.player {
                leg.sender.leave(player.key);
            }
            let heard = leg.hearing.as_ref().map(|hearing| hearing.key);
            let to = match leg.target {
                Target::Silence | Target::Room(_) => None,
                Target::Echo => Some(leg),
                Target::Relay(peer) => leg_mut(&mut self.legs, peer),
            };
            if let (Some(key), Some(to)) = (heard, to) {
                to.sender.leave(key);
            }
        }
    }

    /// False: the leg needs no more turns.
    fn fast_turn(&mut self, now: Instant, due: Instant, slot: Slot, out: Out<'_>) -> bool {
        if leg_mut(&mut self.legs, slot).is_some_and(|leg| leg.far.is_some()) {
            self.receive_far(now, slot, out);
        }
        if leg_mut(&mut self.legs, slot).is_some_and(|leg| !leg.heard_by_room) {
            self.hear(now, due, slot, out);
        }
        self.hear_nothing(slot);
        self.tones_heard(now, slot);
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return false;
        };
        let mut context = Context {
            now,
            counters: &self.counters,
            orders: &mut self.orders,
            wires: &mut self.wires,
            out,
        };
        if leg.keypad.is_busy() {
            leg.send_key(&mut context);
        } else if let Some(player) = leg.send_frame(&mut context) {
            play_ended(&mut self.events, leg.id, &player, true);
        }
        for recorder in &mut leg.recorders {
            if recorder.is_impatient() && recorder.advance(now, context.orders) {
                self.events.tell_of_remote(Event::RecorderSilence {
                    leg: leg.id,
                    recorder: recorder.id(),
                });
            }
        }
        leg.in_fast = leg.is_generating();
        leg.in_fast
    }

    /// Sends comfort noise where nothing else has been sent for long: at once where nothing ever was.
    fn keep_alive(&mut self, now: Instant, slot: Slot, out: Out<'_>) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let period = leg.config.as_ref().map_or(0, |config| config.keepalive_s);
        let silent = |at| now.saturating_duration_since(at).as_secs();
        let due = leg
            .sender
            .last_at()
            .is_none_or(|at| silent(at) >= u64::from(period));
        let Some(dest) = leg
            .destination
            .filter(|_| period > 0 && due && leg.wire == Wire::None)
        else {
            return;
        };
        let key = leg.keypad_key;
        let numbers = Numbers {
            marker: false,
            ..leg.sender.own(now, key, 0)
        };
        leg.sender.leave(key);
        let mut context = Context {
            now,
            counters: &self.counters,
            orders: &mut self.orders,
            wires: &mut self.wires,
            out,
        };
        leg.send(&mut context, dest, COMFORT_NOISE, numbers, &[QUIETEST]);
    }

    fn slow_turn(&mut self, now: Instant, slot: Slot) {
        self.expire_digits(now, slot);
        if leg_mut(&mut self.legs, slot).is_some_and(|leg| std::mem::take(&mut leg.unsettled)) {
            self.settle(now, slot);
        }
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        for recorder in &mut leg.recorders {
            recorder.advance(now, &mut self.orders);
            tell_news(&mut self.events, &self.counters, recorder);
        }
        let silent = now.saturating_duration_since(leg.heard);
        let timeout = leg.config.as_ref().and_then(|config| config.timeout);
        if !leg.timed_out && timeout.is_some_and(|timeout| silent >= timeout) {
            leg.timed_out = true;
            self.events.tell_of_remote(Event::RtpTimeout {
                leg: leg.id,
                silent_ms: u32::try_from(silent.as_millis()).unwrap_or(u32::MAX),
            });
        }
    }
}

/// Tells what happened to a recorder since the last call.
pub(super) fn tell_news(events: &mut Events, counters: &Counters, recorder: &mut Recorder) {
    let (leg, id) = (recorder.leg(), recorder.id());
    match recorder.take_news() {
        None => {}
        Some(News::Losing) => {
            counters.recorder_troubles.add(1);
            events.tell(Event::RecorderTrouble {
                leg,
                recorder: id,
                error: Recorder::LOSING,
            });
        }
        Some(News::Resumed(lost_samples)) => events.tell(Event::RecorderResumed {
            leg,
            recorder: id,
            lost_samples,
        }),
    }
}

impl Leg {
    /// 20 ms of what is played. Packets go out when there is enough for one. Gives the player back when it has ended.
    fn send_frame(&mut self, context: &mut Context<'_, '_>) -> Option<Box<Player>> {
        let mut player = self.player.take_if(|player| !player.is_paused())?;
        let key = player.key;
        let rate = player.rate();
        player.turn(|samples| self.say(context, key, rate, samples));
        if player.is_done() {
            self.hush(context, key);
            return Some(player);
        }
        self.player = Some(player);
        None
    }

    pub(super) fn may_send(&mut self, counters: &Counters, key: SourceKey) -> Option<SocketAddr> {
        let sending = self.config.as_ref().is_some_and(|config| config.sending);
        let dest = self.destination.filter(|_| sending);
        if dest.is_none() {
            self.sender.leave(key);
            self.drop_packet(counters, Drop::NotSending);
        }
        dest
    }

    pub(super) fn send(
        &mut self,
        context: &mut Context<'_, '_>,
        dest: SocketAddr,
        payload_type: u8,
        numbers: Numbers,
        payload: &[u8],
    ) {
        let mut packet = [0; PACKET_MAX];
        if let Some(body) = packet.get_mut(HEADER_LEN..HEADER_LEN + payload.len()) {
            body.copy_from_slice(payload);
            self.send_in(
                context,
                dest,
                payload_type,
                numbers,
                &mut packet,
                payload.len(),
            );
        }
    }

    /// Sends a packet whose payload lies in its place already.
    pub(super) fn send_in(
        &mut self,
        context: &mut Context<'_, '_>,
        dest: SocketAddr,
        payload_type: u8,
        numbers: Numbers,
        packet: &mut [u8],
        payload_len: usize,
    ) {
        let end = HEADER_LEN + payload_len;
        let header = Header {
            marker: numbers.marker,
            payload_type,
            sequence: numbers.sequence,
            timestamp: numbers.timestamp,
            ssrc: self.sender.ssrc(),
            payload: HEADER_LEN..end,
        };
        let (head, _) = packet.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header.bytes());
        let protected = self.protect(packet, end);
        let packet = match protected {
            Ok(end) => packet.get(..end).unwrap_or_default(),
            Err(why) => return self.drop_packet(context.counters, why),
        };
        self.sender.count(payload_len);
        context.counters.generated.add(1);
        match self.wire {
            _ if dest != NOWHERE => {}
            Wire::None => {}
            Wire::To(other) => return context.wires.push(context.counters, other, packet),
            Wire::Far => return self.send_far(context.counters, packet, 0),
            Wire::Cut => return,
        }
        context.counters.packets_out.add(1);
        let transmit = Transmit {
            slot: self.slot,
            rtcp: false,
            dest,
        };
        (context.out)(transmit, packet);
    }
}
