//! Rooms of this engine: which legs are in which, their turns, announcements and recorders.
//!
//! A room mixes once in 20 ms, at its own phase of the wheel. A small room makes its members' frames just before: what
//! they take is touched once, and no frame waits for the mix. The members of a large one make theirs in turns of their
//! own. It sends right after, a part of its members in each of the following milliseconds when there are many, so that a
//! large room delays no other call. Members who said nothing, hear
//! nothing of their own and have the same codec are sent one payload, encoded once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::leg::{Leg, Target};
use super::player::Player;
use super::recorder::{Frame, Side};
use super::tick::{AHEAD, Context, tell_news};
use super::wheel::PHASES;
use super::{Engine, Events, Recorder, Slot, expect_turn, leg_mut};
use crate::codec::Codec;
use crate::counters::Counters;
use crate::dsp::{Resampler, add_clamped};
use crate::room::{FRAME_MAX, Heard, LinkCounts, MemberOptions, Room};
use crate::rtp::send::SourceKey;
use crate::sound::{SAMPLE_RATE, Sound};
use crate::types::{Event, LegId, PlayId, RecorderId, Repeat, RoomCommand, RoomId};
use crate::uring::prefetch;

/// How many members ahead what mixing needs of them is asked for.
const FRAMES_AHEAD: [usize; 3] = [6, 4, 2];
/// How many rooms ahead what a turn needs is asked for: the room, its first members, and what [`AHEAD`] lists of them.
const ROOMS_AHEAD: [usize; 2 + AHEAD.len()] = [6, 5, 4, 2, 1];
/// Rooms of an engine.
const ROOMS_MAX: usize = 4096;
/// Members that are sent to in one millisecond, while twenty of them are enough for all.
const PART: usize = 64;
/// Members up to which a room that became small makes their frames again.
const HEARS_AGAIN: usize = 48;
/// What plays in a room at a time.
const PLAYS_MAX: usize = 8;
/// Recorders of a room.
const RECORDERS_MAX: usize = 4;
/// Samples of 20 ms at the rate of sounds and recordings.
const FRAME: usize = 160;

/// Something that is played to all.
struct Announcement {
    play: PlayId,
    player: Player,
}

/// A room with all that belongs to it.
struct Hall {
    id: RoomId,
    room: Room<Slot>,
    /// Turns of the wheel it has.
    parts: usize,
    /// Members sent to in a turn.
    chunk: usize,
    /// It makes its members' frames.
    hears: bool,
    key: SourceKey,
    announcements: Vec<Announcement>,
    recorders: Vec<Recorder>,
    /// Frames recorded.
    recorded: u32,
    /// From the rate of sounds to that of the room and from there to that of recordings, where they differ.
    resamplers: Option<Box<(Resampler, Resampler)>>,
    /// This turn's common frame in the codecs that somebody needed it in.
    shared: Vec<(Codec, [u8; FRAME])>,
}

impl Hall {
    /// Makes what the room's rate takes. Allocates.
    fn tune(&mut self) {
        let rate = self.room.rate();
        let up = Resampler::new(SAMPLE_RATE, rate).ok();
        let down = Resampler::new(rate, SAMPLE_RATE).ok();
        self.resamplers = up.zip(down).filter(|_| rate != SAMPLE_RATE).map(Box::new);
        for recorder in &mut self.recorders {
            recorder.learn(Side::Transmit, rate);
        }
    }

    /// How many turns in 20 ms it needs.
    fn parts_wanted(&self) -> usize {
        let busy = !self.announcements.is_empty() || !self.recorders.is_empty();
        match self.room.len() {
            0 => usize::from(busy),
            members => members.div_ceil(PART).min(PHASES),
        }
    }
}

/// All rooms.
pub(super) struct Rooms {
    halls: Vec<Option<Box<Hall>>>,
    by_id: HashMap<RoomId, usize>,
    frame: Box<[i16; FRAME_MAX]>,
}

impl Rooms {
    pub(super) fn new() -> Self {
        Self {
            halls: Vec::new(),
            by_id: HashMap::new(),
            frame: Box::new([0; FRAME_MAX]),
        }
    }

    fn hall(&mut self, number: usize) -> Option<&mut Hall> {
        self.halls.get_mut(number)?.as_deref_mut()
    }

    /// Time was skipped: what rooms say goes on with timestamps of the clock.
    pub(super) fn after_stall(&self, legs: &mut [Option<Box<Leg>>]) {
        for hall in self.halls.iter().flatten() {
            for slot in hall.room.keys() {
                if let Some(leg) = leg_mut(legs, slot) {
                    leg.sender.leave(hall.key);
                }
            }
        }
    }

    /// Hz of what is mixed in a room.
    pub(super) fn rate(&mut self, number: u32) -> Option<u32> {
        self.hall(number as usize).map(|hall| hall.room.rate())
    }

    /// The recorder of a room, whichever it is.
    pub(super) fn recorder_mut(&mut self, id: RecorderId) -> Option<&mut Recorder> {
        self.halls
            .iter_mut()
            .flatten()
            .flat_map(|hall| &mut hall.recorders)
            .find(|recorder| recorder.id() == id)
    }

    fn recorders(&self) -> usize {
        let halls = self.halls.iter().flatten();
        halls.map(|hall| hall.recorders.len()).sum()
    }
}

impl Engine {
    /// Carries out what is to happen to a room. False: there is no such room, or the leg or recorder is not known.
    pub(super) fn room_command(&mut self, now: Instant, id: RoomId, command: RoomCommand) -> bool {
        if let RoomCommand::Open { rate } = command {
            return self.open_room(id, rate);
        }
        let Some(&number) = self.rooms.by_id.get(&id) else {
            if let RoomCommand::StartRecorder(recorder) = &command {
                self.refuse_recorder(recorder, "no such room");
            }
            return false;
        };
        let Some(hall) = self.rooms.hall(number) else {
            return false;
        };
        let known = match command {
            RoomCommand::Open { .. } => true,
            RoomCommand::Rate { rate } => {
                hall.room.set_rate(rate);
                hall.tune();
                let members = hall.room.keys().collect::<Vec<_>>();
                for slot in members {
                    self.settle(now, slot);
                }
                true
            }
            RoomCommand::Link(end) => {
                hall.room.link(*end);
                true
            }
            RoomCommand::Join { leg, options } => self.join_room(now, number, leg, options),
            RoomCommand::Play {
                play,
                sounds,
                repeat,
            } => {
                self.play_in_room(number, play, sounds, repeat);
                true
            }
            RoomCommand::StopPlay(play) => {
                let at = hall.announcements.iter().position(|a| a.play == play);
                if let Some(at) = at {
                    hall.announcements.swap_remove(at);
                    tell_end(&mut self.events, id, play, false);
                }
                at.is_some()
            }
            RoomCommand::StartRecorder(recorder) => {
                self.record_room(now, number, *recorder);
                true
            }
            RoomCommand::StopRecorder(recorder) => {
                let at = hall.recorders.iter().position(|r| r.id() == recorder);
                if let Some(at) = at {
                    let mut recorder = hall.recorders.swap_remove(at);
                    recorder.stop(now, 0, &mut self.orders);
                    self.counters.recorder_samples_lost.add(recorder.lost());
                    self.count_recorders();
                }
                at.is_some()
            }
            RoomCommand::SendDtmf {
                digit,
                duration_ms,
                except,
            } => {
                for slot in hall.room.keys().collect::<Vec<_>>() {
                    let leg = leg_mut(&mut self.legs, slot);
                    if let Some(leg) = leg.filter(|leg| Some(leg.id) != except) {
                        leg.keypad.press(digit, u32::from(duration_ms));
                        self.watch(now, slot);
                    }
                }
                true
            }
            RoomCommand::Close => {
                self.close_room(now, number);
                true
            }
        };
        self.settle_room(now, number);
        known
    }

    fn open_room(&mut self, id: RoomId, rate: u32) -> bool {
        let free = self.rooms.halls.iter().position(Option::is_none);
        let number = free.unwrap_or(self.rooms.halls.len());
        if number >= ROOMS_MAX || self.rooms.by_id.contains_key(&id) {
            self.counters.rooms_refused.add(1);
            return false;
        }
        let mut hall = Hall {
            id,
            room: Room::new(rate),
            parts: 0,
            chunk: PART,
            hears: true,
            key: self.next_key(),
            announcements: Vec::with_capacity(PLAYS_MAX),
            recorders: Vec::with_capacity(RECORDERS_MAX),
            recorded: 0,
            resamplers: None,
            shared: Vec::with_capacity(2),
        };
        hall.tune();
        if number == self.rooms.halls.len() {
            self.rooms.halls.push(None);
        }
        self.rooms.halls[number] = Some(Box::new(hall));
        self.rooms.by_id.insert(id, number);
        self.counters.rooms.set(self.rooms.by_id.len() as u64);
        true
    }

    fn close_room(&mut self, now: Instant, number: usize) {
        let Some(hall) = self.rooms.hall(number) else {
            return;
        };
        for slot in hall.room.keys().collect::<Vec<_>>() {
            self.set_target(now, slot, Target::Silence);
        }
        let Some(mut hall) = self.rooms.halls.get_mut(number).and_then(Option::take) else {
            return;
        };
        self.wheel.set_room(now, number as u32, hall.parts, 0);
        self.rooms.by_id.remove(&hall.id);
        for announcement in hall.announcements.drain(..) {
            tell_end(&mut self.events, hall.id, announcement.play, false);
        }
        for mut recorder in hall.recorders.drain(..) {
            recorder.stop(now, 0, &mut self.orders);
            self.counters.recorder_samples_lost.add(recorder.lost());
        }
        self.counters.rooms.set(self.rooms.by_id.len() as u64);
        self.count_recorders();
    }

    fn join_room(
        &mut self,
        now: Instant,
        number: usize,
        leg: LegId,
        options: MemberOptions,
    ) -> bool {
        let Some(slot) = self.slot_of(leg) else {
            return false;
        };
        if let Some(hall) = self.rooms.hall(number)
            && hall.room.set(slot, options)
        {
            return true;
        }
        self.finish_digits(now, slot);
        self.set_target(now, slot, Target::Room(number as u32));
        if let Some(hall) = self.rooms.hall(number) {
            hall.room.join(slot, options);
        }
        self.counters.room_members.set(self.members());
        true
    }

    /// A leg is no longer routed to a room.
    pub(super) fn leave_room(&mut self, now: Instant, slot: Slot, number: u32) {
        let number = number as usize;
        if let Some(hall) = self.rooms.hall(number) {
            hall.room.leave(slot);
            let key = hall.key;
            if let Some(leg) = leg_mut(&mut self.legs, slot) {
                leg.sender.leave(key);
                leg.room_ear = None;
                leg.heard_by_room = false;
            }
        }
        self.counters.room_members.set(self.members());
        self.settle_room(now, number);
    }

    fn members(&self) -> u64 {
        let halls = self.rooms.halls.iter().flatten();
        halls.map(|hall| hall.room.len() as u64).sum()
    }

    fn count_recorders(&self) {
        let all = self.recorders.len() + self.rooms.recorders();
        self.counters.recorders.set(all as u64);
    }

    /// Gives a room as many turns as it needs.
    fn settle_room(&mut self, now: Instant, number: usize) {
        let Some(hall) = self.rooms.hall(number) else {
            return;
        };
        let parts = hall.parts_wanted();
        // Two limits, so that one who comes and goes does not move the turns of all.
        let hears = if hall.hears {
            parts <= 1
        } else {
            hall.room.len() <= HEARS_AGAIN
        };
        let changed = std::mem::replace(&mut hall.hears, hears) != hears;
        // Who came last is the last.
        let from = if changed {
            0
        } else {
            hall.room.len().saturating_sub(1)
        };
        let members = from..hall.room.len();
        for index in members.clone() {
            let slot = hall.room.key(index);
            if let Some(leg) = slot.and_then(|slot| leg_mut(&mut self.legs, slot)) {
                leg.heard_by_room = hears;
            }
        }
        hall.chunk = hall.room.len().div_ceil(parts.max(1)).max(1);
        let before = std::mem::replace(&mut hall.parts, parts);
        if before != parts {
            self.wheel.set_room(now, number as u32, before, parts);
        }
        if !hears {
            for index in members {
                let hall = self.rooms.hall(number);
                if let Some(slot) = hall.and_then(|hall| hall.room.key(index)) {
                    self.watch(now, slot);
                }
            }
        }
    }

    fn play_in_room(
        &mut self,
        number: usize,
        play: PlayId,
        sounds: Vec<Arc<Sound>>,
        repeat: Repeat,
    ) {
        let Some(hall) = self.rooms.hall(number) else {
            return;
        };
        let player = Player::new(play, hall.key, sounds, repeat);
        if hall.announcements.len() >= PLAYS_MAX || player.is_done() {
            let completed = player.is_done();
            tell_end(&mut self.events, hall.id, play, completed);
            return;
        }
        hall.announcements.push(Announcement { play, player });
    }

    fn record_room(&mut self, now: Instant, number: usize, mut recorder: Recorder) {
        let id = recorder.id();
        let known = self.recorders.contains_key(&id) || self.rooms.recorder_mut(id).is_some();
        let orders = 4 * (self.recorders.len() + self.rooms.recorders() + 1);
        let Some(hall) = self.rooms.hall(number) else {
            return;
        };
        if known || hall.recorders.len() >= RECORDERS_MAX {
            self.refuse_recorder(&recorder, "too many recorders in the room");
            return;
        }
        self.orders.reserve(orders);
        recorder.learn(Side::Transmit, hall.room.rate());
        recorder.start(now, true, &mut self.orders);
        hall.recorders.push(recorder);
        self.count_recorders();
    }

    /// A turn of a room: part 0 mixes, and each part sends to its share of the members.
    /// False: the room has no more turns in this slot of the wheel.
    pub(super) fn room_turn(
        &mut self,
        now: Instant,
        due: Instant,
        number: u32,
        part: usize,
        out: super::Out<'_>,
    ) -> bool {
        if part == 0 {
            self.hear_members(now, due, number as usize, out);
        }
        let Rooms { halls, frame, .. } = &mut self.rooms;
        let hall = halls.get_mut(number as usize);
        let Some(hall) = hall.and_then(Option::as_deref_mut) else {
            // A closed room is on no wheel.
            return true;
        };
        let mut context = Context {
            now,
            counters: &self.counters,
            orders: &mut self.orders,
            wires: &mut self.wires,
            out,
        };
        if part == 0 {
            hall.mix(&mut self.legs, &mut self.events, &mut context, frame);
        }
        let changed = part == 0 && hall.parts != hall.parts_wanted();
        let from = part * hall.chunk;
        for index in from..(from + hall.chunk).min(hall.room.len()) {
            if !hall.hears {
                let later = hall.room.key(index + FRAMES_AHEAD[0]);
                if let Some(leg) = later.and_then(|slot| leg_mut(&mut self.legs, slot)) {
                    leg.expect_sending();
                }
            }
            let slot = hall.room.key(index);
            if let Some(leg) = slot.and_then(|slot| leg_mut(&mut self.legs, slot)) {
                hall.send(index, leg, &mut context, frame);
            }
        }
        if changed {
            self.settle_room(now, number as usize);
        }
        let hall = self.rooms.hall(number as usize);
        hall.is_some_and(|hall| part < hall.parts)
    }
}

impl Engine {
    /// Asks for what the rooms behind this one in a slot of the wheel need, before the first of them for its own too.
    pub(super) fn expect_rooms(&self, slot: u64, index: usize) {
        for (stage, ahead) in ROOMS_AHEAD.into_iter().enumerate() {
            let from = if index == 0 { 0 } else { ahead };
            for ahead in from..=ahead {
                if let Some((room, 0)) = self.wheel.room(slot, index + ahead) {
                    self.expect_room(room as usize, stage);
                }
            }
        }
    }

    fn expect_room(&self, number: usize, stage: usize) {
        let hall = self.rooms.halls.get(number).and_then(Option::as_deref);
        let Some(hall) = hall.filter(|hall| stage == 0 || hall.hears) else {
            return;
        };
        match stage {
            0 => prefetch::value(hall, size_of::<Hall>()),
            1 => hall.room.expect_members(AHEAD[0]),
            _ => {
                let stage = stage - 2;
                for slot in hall.room.keys().take(AHEAD[stage]) {
                    expect_turn(&self.legs, slot, stage as u8);
                }
                if stage == 2 {
                    hall.room.expect_mix(AHEAD[stage]);
                }
            }
        }
    }

    /// Makes the frames of the members, where that is the room's business.
    fn hear_members(&mut self, now: Instant, due: Instant, number: usize, out: super::Out<'_>) {
        for index in 0.. {
            let hall = self.rooms.hall(number).filter(|hall| hall.hears);
            let Some((hall, slot)) = hall.and_then(|hall| Some((&*hall, hall.room.key(index)?)))
            else {
                return;
            };
            for (stage, ahead) in AHEAD.into_iter().enumerate() {
                if let Some(later) = hall.room.key(index + ahead) {
                    expect_turn(&self.legs, later, stage as u8);
                }
            }
            // Of the time when it had turns of its own one may be left, which nobody has heard.
            let leg = leg_mut(&mut self.legs, slot);
            let waits = leg.is_some_and(|leg| leg.hearing.as_ref().is_some_and(|h| h.is_fresh()));
            if !waits {
                self.hear(now, due, slot, out);
            }
        }
    }
}

fn tell_end(events: &mut Events, room: RoomId, play: PlayId, completed: bool) {
    events.tell(Event::RoomPlayEnded {
        room,
        play,
        completed,
    });
}

impl Hall {
    /// Hears everybody and makes the sum.
    fn mix(
        &mut self,
        legs: &mut [Option<Box<Leg>>],
        events: &mut Events,
        context: &mut Context<'_, '_>,
        frame: &mut [i16; FRAME_MAX],
    ) {
        self.shared.clear();
        self.room.begin();
        let rate = self.room.rate();
        for index in 0..self.room.len() {
            if !self.hears {
                for (stage, ahead) in FRAMES_AHEAD.into_iter().enumerate() {
                    let later = self.room.key(index + ahead);
                    if let Some(leg) = later.and_then(|slot| leg_mut(legs, slot)) {
                        leg.expect_frame(stage);
                    }
                }
            }
            let leg = self.room.key(index).and_then(|slot| leg_mut(legs, slot));
            let Some(leg) = leg else { continue };
            let heard = if self.room.wants(index) {
                leg.hear_for_room(rate, frame)
            } else {
                leg.pass_over();
                None
            };
            if let Some(talking) = self.room.say(index, heard) {
                events.tell_of_remote(Event::RoomTalking {
                    room: self.id,
                    leg: leg.id,
                    talking,
                });
            }
        }
        if !self.announcements.is_empty() {
            self.announce(events, frame);
        }
        let mut counts = LinkCounts::default();
        self.room.exchange(&mut counts);
        count(context.counters, counts);
        if !self.recorders.is_empty() {
            self.record(events, context, frame);
        }
        self.recorded = self.recorded.wrapping_add(1);
    }

    /// Adds what is played to all.
    fn announce(&mut self, events: &mut Events, frame: &mut [i16; FRAME_MAX]) {
        let mut sum = [0; FRAME];
        let id = self.id;
        self.announcements.retain_mut(|announcement| {
            announcement
                .player
                .turn(|samples| add_clamped(&mut sum, samples));
            let done = announcement.player.is_done();
            if done {
                tell_end(events, id, announcement.play, true);
            }
            !done
        });
        match &mut self.resamplers {
            Some(resamplers) => {
                let frame = &mut frame[..self.room.frame()];
                resamplers.0.run(&sum, frame);
                self.room.announce(frame);
            }
            None => self.room.announce(&sum),
        }
    }

    /// Lets the recorders hear what all hear.
    fn record(
        &mut self,
        events: &mut Events,
        context: &mut Context<'_, '_>,
        frame: &mut [i16; FRAME_MAX],
    ) {
        let narrow = match &mut self.resamplers {
            Some(resamplers) => {
                let frame = &mut frame[..FRAME];
                resamplers.1.run(self.room.common(), frame);
                &*frame
            }
            None => self.room.common(),
        };
        let now = context.now;
        for recorder in &mut self.recorders {
            let (rate, samples) = if recorder.takes_packets() {
                (SAMPLE_RATE, narrow)
            } else {
                (self.room.rate(), self.room.common())
            };
            let frame = Frame {
                number: self.recorded,
                restart: self.recorded == 0,
                rate,
                samples,
            };
            recorder.frame(Side::Transmit, now, frame, context.orders);
            recorder.advance(now, context.orders);
            tell_news(events, context.counters, recorder);
        }
    }

    /// Sends to one member what he hears.
    fn send(
        &mut self,
        index: usize,
        leg: &mut Leg,
        context: &mut Context<'_, '_>,
        frame: &mut [i16; FRAME_MAX],
    ) {
        if leg.player.is_some() || leg.keypad.is_busy() {
            // He hears that instead; the room goes on afterwards with the time of the clock.
            leg.sender.leave(self.key);
            return;
        }
        let rate = self.room.rate();
        let length = self.room.frame();
        let own = &mut frame[..length];
        match self.room.listen(index, own) {
            Heard::Own => leg.say(context, self.key, rate, own),
            Heard::Common => match leg.shares(rate) {
                Some(codec) => {
                    let known = self.shared.iter().position(|(of, _)| *of == codec);
                    let at = known.unwrap_or_else(|| {
                        let mut payload = [0; FRAME];
                        if let Some(g711) = codec.g711() {
                            g711.encode(self.room.common(), &mut payload);
                        }
                        self.shared.push((codec, payload));
                        self.shared.len() - 1
                    });
                    if let Some((_, payload)) = self.shared.get(at) {
                        leg.say_encoded(context, self.key, payload);
                    }
                }
                None => {
                    own.copy_from_slice(self.room.common());
                    leg.say(context, self.key, rate, own);
                }
            },
        }
    }
}

fn count(counters: &Counters, counts: LinkCounts) {
    if counts != LinkCounts::default() {
        counters.room_link_overruns.add(counts.overruns);
        counters.room_link_late.add(counts.late);
        counters.room_link_skipped.add(counts.skipped);
    }
}
