//! Commands.

use std::sync::Arc;
use std::time::Instant;

use super::hearing::{WAIT_MAX_MS, WAIT_MIN_MS};
use super::leg::{Leg, Target};
use super::player::Player;
use super::wheel::Turn;
use super::wire::Wire;
use super::{Effect, Engine, Events, Out, Recorder, Slot, leg_mut};
use crate::sound::{SAMPLE_RATE, Sound};
use crate::types::{
    Command, Event, LegId, LegStart, PlayAction, PlayId, RecorderId, Repeat, Route,
};

/// Spare buffers for blocks that are kept whatever the number of recorders.
const SPARE_BUFFERS: usize = 8;

impl Engine {
    /// Carries a command out. Packets that it causes (RTCP BYE of a closed leg) go to `out` before this returns.
    pub fn command(&mut self, now: Instant, command: Command, out: Out<'_>) {
        let known = match command {
            Command::Open(setup) => {
                let (start, rtp, rtcp) = setup.split();
                if let Some(slot) = self.open(now, start) {
                    self.effects.push_back(Effect::Opened { slot, rtp, rtcp });
                }
                true
            }
            Command::OpenWire(ends) => self.open_wire(now, *ends),
            Command::OpenFar(far) => {
                let (start, end) = *far;
                self.open_far(now, start, end);
                true
            }
            Command::Configure(leg, negotiated) => self.with_leg(leg, |engine, slot| {
                if !negotiated.detect_inband {
                    engine.stop_listening(now, slot);
                }
                let Some(leg) = leg_mut(&mut engine.legs, slot) else {
                    return;
                };
                if leg.configure(now, *negotiated) {
                    engine
                        .effects
                        .push_back(Effect::Connect { slot, remote: None });
                }
                leg.reports.begin(now);
                if !leg.in_slow {
                    leg.in_slow = true;
                    engine.wheel.insert(now, Turn::Slow, slot);
                }
                engine.settle(now, slot);
            }),
            Command::Close(leg) => self.with_leg(leg, |engine, slot| engine.close(now, slot, out)),
            Command::Route(leg, route) => {
                self.with_leg(leg, |engine, slot| engine.route(now, slot, route))
            }
            Command::Bridge(a, b) => {
                match (self.by_id.get(&a).copied(), self.by_id.get(&b).copied()) {
                    (Some(slot_a), Some(slot_b)) => {
                        self.route(now, slot_a, Route::Relay(b));
                        self.route(now, slot_b, Route::Relay(a));
                        true
                    }
                    _ => false,
                }
            }
            Command::Play {
                leg,
                play,
                sounds,
                repeat,
            } => self.with_leg(leg, |engine, slot| {
                engine.play(now, slot, play, sounds, repeat);
            }),
            Command::StopPlay { leg, play } => self.stop_play(leg, play),
            Command::ControlPlay { leg, play, action } => self.control_play(leg, play, action),
            Command::SendDtmf {
                leg,
                digit,
                duration_ms,
            } => match self.by_id.get(&leg).copied() {
                Some(slot) => {
                    let pressed = leg_mut(&mut self.legs, slot).is_some_and(|leg| {
                        leg.prepare_voice(SAMPLE_RATE);
                        leg.keypad.press(digit, u32::from(duration_ms))
                    });
                    self.watch(now, slot);
                    pressed
                }
                None => false,
            },
            Command::StartRecorder(recorder) => {
                self.start_recorder(now, *recorder);
                true
            }
            Command::StopRecorder {
                recorder,
                leg,
                drop_last_ms,
            } => self.stop_recorder(now, leg, recorder, drop_last_ms),
            Command::MuteRecorder {
                recorder,
                receive,
                transmit,
            } => match self.recorder_mut(recorder) {
                Some(recorder) => {
                    recorder.mute(receive, transmit);
                    true
                }
                None => false,
            },
            Command::Mute {
                leg,
                receive,
                transmit,
            } => self.with_leg(leg, |engine, slot| {
                if let Some(leg) = leg_mut(&mut engine.legs, slot) {
                    leg.mute_receive = receive;
                    leg.mute_transmit = transmit;
                }
            }),
            Command::Gain {
                leg,
                receive,
                transmit,
            } => self.with_leg(leg, |engine, slot| {
                if let Some(leg) = leg_mut(&mut engine.legs, slot) {
                    leg.gain_receive = receive;
                    leg.gain_transmit = transmit;
                }
                engine.settle(now, slot);
            }),
            Command::JitterMax { leg, ms } => self.with_leg(leg, |engine, slot| {
                if let Some(leg) = leg_mut(&mut engine.legs, slot) {
                    leg.wait_max_ms = ms.clamp(WAIT_MIN_MS, WAIT_MAX_MS);
                    // New ears know it.
                    leg.drop_hearing();
                }
                engine.settle(now, slot);
            }),
            Command::Watch { leg, watch, what } => self.with_leg(leg, |engine, slot| {
                engine.begin_watch(now, slot, watch, *what);
            }),
            Command::EndWatch { leg, watch } => self.end_watch(now, leg, watch),
            Command::Room(room, command) => self.room_command(now, room, command),
            Command::Snapshot(leg) => self.with_leg(leg, |engine, slot| {
                if let Some(leg) = leg_mut(&mut engine.legs, slot) {
                    engine.events.tell(Event::Stats {
                        leg: leg.id,
                        stats: Box::new(leg.stats()),
                    });
                }
            }),
        };
        if !known {
            self.counters.commands_ignored.add(1);
        }
    }

    /// Opens a leg whose sockets somebody else keeps. `None`: the table is full or the id in use; counted.
    pub fn open(&mut self, now: Instant, start: LegStart) -> Option<Slot> {
        if self.by_id.contains_key(&start.leg) {
            self.counters.legs_refused.add(1);
            return None;
        }
        let Some(slot) = self.free.pop() else {
            self.counters.legs_refused.add(1);
            return None;
        };
        let keys = [self.next_key(), self.next_key()];
        self.by_id.insert(start.leg, slot);
        self.legs[slot.0 as usize] = Some(Box::new(Leg::new(now, slot, start, keys)));
        self.counters.legs.set(self.by_id.len() as u64);
        Some(slot)
    }

    /// The slot of an open leg.
    pub fn slot_of(&self, leg: LegId) -> Option<Slot> {
        self.by_id.get(&leg).copied()
    }

    fn with_leg(&mut self, leg: LegId, act: impl FnOnce(&mut Self, Slot)) -> bool {
        let slot = self.by_id.get(&leg).copied();
        if let Some(slot) = slot {
            act(self, slot);
        }
        slot.is_some()
    }

    fn close(&mut self, now: Instant, slot: Slot, out: Out<'_>) {
        self.route(now, slot, Route::Silence);
        let Some(mut leg) = self.legs.get_mut(slot.0 as usize).and_then(Option::take) else {
            return;
        };
        self.goodbye(now, &mut leg, out);
        for from in std::mem::take(&mut leg.inbound) {
            if let Some(from) = leg_mut(&mut self.legs, from) {
                from.target = Target::Silence;
                from.unsettled = true;
                for recorder in &mut from.recorders {
                    recorder.bridged(now, false, &mut self.orders);
                }
            }
        }
        if let Some(player) = leg.player.take() {
            play_ended(&mut self.events, leg.id, &player, false);
        }
        if let Wire::To(other) = leg.wire
            && let Some(other) = leg_mut(&mut self.legs, other)
        {
            other.cut();
        }
        let end = leg.recorder_stop(now);
        for mut recorder in std::mem::take(&mut leg.recorders) {
            self.recorders.remove(&recorder.id());
            recorder.stop(end, 0, &mut self.orders);
            self.counters.recorder_samples_lost.add(recorder.lost());
        }
        if leg.in_fast {
            self.wheel.remove(Turn::Fast, slot);
        }
        if leg.in_slow {
            self.wheel.remove(Turn::Slow, slot);
        }
        self.by_id.remove(&leg.id);
        self.closing[slot.0 as usize] = true;
        self.counters.legs.set(self.by_id.len() as u64);
        self.counters.recorders.set(self.recorders.len() as u64);
        self.effects.push_back(Effect::Closed { slot });
        self.events.tell(Event::Closed {
            leg: leg.id,
            stats: Box::new(leg.stats()),
        });
    }

    fn route(&mut self, now: Instant, slot: Slot, route: Route) {
        self.finish_digits(now, slot);
        let target = match route {
            Route::Silence => Target::Silence,
            Route::Echo => Target::Echo,
            Route::Relay(peer) => match self.by_id.get(&peer) {
                Some(&peer) if peer == slot => Target::Echo,
                Some(&peer) => Target::Relay(peer),
                None => {
                    self.counters.commands_ignored.add(1);
                    Target::Silence
                }
            },
        };
        self.set_target(now, slot, target);
    }

    pub(super) fn set_target(&mut self, now: Instant, slot: Slot, target: Target) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let before = std::mem::replace(&mut leg.target, target);
        let bridged = leg.is_bridged();
        for recorder in &mut leg.recorders {
            recorder.bridged(now, bridged, &mut self.orders);
        }
        if before == target {
            return;
        }
        if let Target::Room(room) = before {
            self.leave_room(now, slot, room);
        }
        if let Target::Relay(peer) = before
            && let Some(peer) = leg_mut(&mut self.legs, peer)
        {
            peer.inbound.retain(|&from| from != slot);
            // Whoever held a key of it is gone.
            peer.keypad.release(0);
        }
        if let Target::Relay(peer) = target
            && let Some(peer) = leg_mut(&mut self.legs, peer)
        {
            peer.inbound.push(slot);
        }
        self.settle(now, slot);
    }

    fn play(
        &mut self,
        now: Instant,
        slot: Slot,
        play: PlayId,
        sounds: Vec<Arc<Sound>>,
        repeat: Repeat,
    ) {
        let key = self.next_key();
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        if let Some(old) = leg.player.take() {
            play_ended(&mut self.events, leg.id, &old, false);
        }
        let player = Player::new(play, key, sounds, repeat);
        if player.is_done() {
            play_ended(&mut self.events, leg.id, &player, true);
        } else {
            leg.prepare_voice(player.rate());
            leg.player = Some(Box::new(player));
            self.watch(now, slot);
        }
    }

    fn stop_play(&mut self, leg: LegId, play: PlayId) -> bool {
        let Some(slot) = self.by_id.get(&leg).copied() else {
            return false;
        };
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return false;
        };
        match leg.player.take_if(|player| player.play == play) {
            Some(player) => {
                play_ended(&mut self.events, leg.id, &player, false);
                true
            }
            None => false,
        }
    }

    fn control_play(&mut self, leg: LegId, play: PlayId, action: PlayAction) -> bool {
        let slot = self.by_id.get(&leg).copied();
        let Some(leg) = slot.and_then(|slot| leg_mut(&mut self.legs, slot)) else {
            return false;
        };
        let Some(player) = leg.player.as_mut().filter(|player| player.play == play) else {
            return false;
        };
        player.control(action);
        if player.is_paused() {
            // What comes after the pause begins at the time of the clock.
            let key = player.key;
            leg.sender.leave(key);
        }
        true
    }

    fn start_recorder(&mut self, now: Instant, mut recorder: Recorder) {
        let id = recorder.id();
        let slot = self.by_id.get(&recorder.leg()).copied();
        let leg = slot.and_then(|slot| leg_mut(&mut self.legs, slot));
        let (Some(slot), Some(leg)) = (slot, leg) else {
            self.refuse_recorder(&recorder, "no such leg");
            return;
        };
        if leg.recorders.len() >= self.limits.max_recorders || self.recorders.contains_key(&id) {
            self.refuse_recorder(&recorder, "too many recorders on the leg");
            return;
        }
        // Open, two blocks, close: never more orders at a time.
        self.orders.reserve(4 * (self.recorders.len() + 1));
        let start = leg.recorder_start(now);
        recorder.start(start, leg.is_bridged(), &mut self.orders);
        let spare = recorder.give_spare();
        // Most legs are recorded once or never.
        leg.recorders.reserve_exact(1);
        leg.recorders.push(recorder);
        if !leg.in_slow {
            leg.in_slow = true;
            self.wheel.insert(now, Turn::Slow, slot);
        }
        self.recorders.insert(id, slot);
        self.share(spare);
        self.counters.recorders.set(self.recorders.len() as u64);
        self.settle(now, slot);
    }

    /// One spare buffer for every fourth recorder, and a few: a block comes back within milliseconds, and the blocks of
    /// different recorders end at different times.
    fn share(&mut self, spare: Option<Vec<i16>>) {
        let wanted = self.recorders.len() / 4 + SPARE_BUFFERS;
        if self.buffers.capacity() < wanted {
            self.buffers.reserve(2 * wanted);
        }
        if self.buffers.len() < wanted {
            self.buffers.extend(spare);
        }
    }

    /// A recorder that cannot start ends at once: whoever waits for its end hears of it.
    pub(super) fn refuse_recorder(&mut self, recorder: &Recorder, why: &str) {
        self.counters.recorders_refused.add(1);
        self.events.tell(Event::RecorderClosed {
            recorder: recorder.id(),
            leg: recorder.leg(),
            path: recorder.path(),
            samples: 0,
            lost_samples: 0,
            error: Some(why.to_owned()),
        });
    }

    fn stop_recorder(
        &mut self,
        now: Instant,
        leg: LegId,
        recorder: RecorderId,
        drop_last_ms: u32,
    ) -> bool {
        let Some(slot) = self.by_id.get(&leg).copied() else {
            return false;
        };
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return false;
        };
        let Some(at) = leg.recorders.iter().position(|r| r.id() == recorder) else {
            return false;
        };
        let end = leg.recorder_stop(now);
        let mut recorder = leg.recorders.remove(at);
        recorder.stop(end, drop_last_ms, &mut self.orders);
        self.counters.recorder_samples_lost.add(recorder.lost());
        self.recorders.remove(&recorder.id());
        self.counters.recorders.set(self.recorders.len() as u64);
        self.settle(now, slot);
        true
    }

    /// Gives a leg its turns of 20 ms.
    pub(super) fn watch(&mut self, now: Instant, slot: Slot) {
        if let Some(leg) = leg_mut(&mut self.legs, slot)
            && !leg.in_fast
            && leg.is_generating()
        {
            leg.in_fast = true;
            self.wheel.insert(now, Turn::Fast, slot);
        }
    }
}

/// Tells the end of a Play.
pub(super) fn play_ended(events: &mut Events, leg: LegId, player: &Player, completed: bool) {
    events.tell(Event::PlayEnded {
        leg,
        play: player.play,
        completed,
        samples: player.played(),
        position_ms: player.position_ms(),
    });
}
