//! What a call does when: it begins, is connected, sends digits, speaks, is held, ends, and is judged by what was heard.

use super::arrivals;
use super::leg::{Leg, LegRef, Media, Repeated, Stage};
use super::{Engine, Owner, QUARANTINE_MS, What, codec_of, sides_of, wall_ns};
use crate::scenario::{Codec, DigitsBy, Kind, Step, Talk, dialled};
use crate::sip::{self, Account, Dialog, sdp};
use crate::talk::Side;
use crate::talk::heard::Expected;
use crate::talk::tone::TONES;
use anyhow::Result;
use rsip::Method;

/// Something a call does at its time.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) enum Act {
    /// The callee answers.
    Answer,
    /// The time for an answer is over.
    GiveUp,
    Digits,
    Talk,
    /// Hush before the hold, then hold, then take back.
    HushForHold,
    Hold,
    Resume,
    /// Hush before the end, then hang up.
    End,
    HangUp,
    /// What was not over in time is given up.
    Forget,
}

/// From asking for the end of a call to giving it up, in milliseconds.
const END_LIMIT_MS: u64 = 40_000;

/// A call with the legs that we have of it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) dialled: String,
    pub(super) caller: Option<Leg>,
    pub(super) callee: Option<Leg>,
    /// Wall clock, in nanoseconds.
    pub(super) begun_ns: u64,
    pub(super) connected: bool,
    pub(super) ending: bool,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
    /// Digits that went out by INFO.
    pub(super) infos: usize,
    /// Being held: the next answer to an INVITE holds or resumes.
    pub(super) held: bool,
    room: u32,
}

impl Call {
    pub(super) fn leg_mut(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::Caller => self.caller.as_mut(),
            Side::Callee => self.callee.as_mut(),
        }
    }

    pub(super) fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.caller.iter().chain(&self.callee)
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }
}

/// Who is in a room.
#[derive(Debug, Default)]
pub(super) struct Room {
    up: Vec<(u32, u32)>,
}

impl Engine {
    /// Lets so many calls begin as are due, or end where there are too many.
    pub(super) fn arrive(&mut self, due: u32, step: Step) {
        for _ in 0..due {
            if self.scenario.kind == Kind::Registrations {
                self.begin_registration();
                continue;
            }
            let standing = self.active - self.ending;
            match step.calls {
                Some(calls) if standing > calls => self.hang_up_some(1),
                Some(calls) if standing == calls => {}
                _ if self.active >= self.scenario.limits.calls => self.totals.held_back += 1,
                _ => self.begin(),
            }
        }
    }

    /// Ends so many calls that are up.
    pub(super) fn hang_up_some(&mut self, count: u32) {
        let places: Vec<(u32, u32)> = self
            .calls
            .iter()
            .zip(0..)
            .filter(|(call, _)| call.as_ref().is_some_and(|call| !call.ending))
            .take(count as usize)
            .map(|(_, place)| (place, self.generations[place as usize]))
            .collect();
        for (place, generation) in places {
            self.act_of_call(place, generation, Act::End);
        }
    }

    fn begin(&mut self) {
        let number = self.next_call;
        self.next_call += 1;
        self.totals.begun += 1;
        if let Err(error) = self.try_begin(number) {
            let reason = format!("the generator: {error:#}");
            self.totals.fail(&reason);
            self.note_odd(number, &reason);
        }
    }

    fn try_begin(&mut self, number: u32) -> Result<()> {
        let room = number / self.scenario.call.room.max(1);
        let callee = self.scenario.callee.user_name(number);
        let to = dialled(&self.scenario.call.dial, number, &callee, room);
        let arrives_as = match self.scenario.call.arrives_as.as_str() {
            "" => to.clone(),
            text => dialled(text, number, &callee, room),
        };
        let (calls, is_called) = sides_of(self.scenario.kind);
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.calls.push(None);
                self.generations.push(0);
                (self.calls.len() - 1) as u32
            }
        };
        let generation = self.generations[place as usize];
        let me = LegRef {
            place,
            generation,
            side: Side::Caller,
        };
        let caller = if calls {
            let made = self.caller_leg(number, &to, me);
            match made {
                Ok(leg) => Some(leg),
                Err(error) => {
                    self.free.push(place);
                    return Err(error);
                }
            }
        } else {
            None
        };
        self.calls[place as usize] = Some(Call {
            number,
            dialled: arrives_as.clone(),
            caller,
            callee: None,
            begun_ns: wall_ns(),
            connected: false,
            ending: false,
            failure: None,
            infos: 0,
            held: false,
            room,
        });
        self.active += 1;
        if is_called {
            self.waiting
                .entry(arrives_as)
                .or_default()
                .push_back((place, generation));
        }
        let limit = u64::from(self.scenario.call.answer_within_ms);
        let now = self.now_ms();
        self.at(now + limit, What::Act(place, generation, Act::GiveUp));
        if calls {
            self.invite(me, None);
        } else if let Some(manager) = &mut self.manager {
            manager.originate(number, &to);
        }
        Ok(())
    }

    fn caller_leg(&mut self, number: u32, to: &str, me: LegRef) -> Result<Leg> {
        let party = &self.scenario.caller;
        let account = Account {
            user: party.user_name(number),
            password: party.password_of(number),
        };
        let id = format!("{:x}-{number}-load", self.run);
        let (own, signal) = (self.caller.address, self.caller.signal);
        let dialog = Dialog::calling(id.clone(), &account.user, to, own, self.setting.server)?;
        let media = self.media(number, me)?;
        self.by_id.insert(id, Owner::Leg(me));
        Ok(Leg {
            dialog,
            account,
            signal,
            stage: Stage::Calling,
            repeated: None,
            invite: None,
            last_answer: Vec::new(),
            challenged: false,
            invited_ns: 0,
            media,
            version: 1,
        })
    }

    /// A port, a voice and an ear for one leg.
    pub(super) fn media(&mut self, number: u32, me: LegRef) -> Result<Option<Media>> {
        let talk = self.scenario.call.talk;
        if talk == Talk::None {
            return Ok(None);
        }
        let socket = self.take_socket(me.side)?;
        let own = self.ring.address(socket)?;
        let name = |side| Expected {
            run: self.run,
            call: number,
            side,
        };
        let heard = match self.scenario.kind {
            Kind::Bridge => me.side.other(),
            _ => me.side,
        };
        let tone = self.tone(number, me.side);
        let codec = codec_of(&self.scenario, me.side);
        let mut media = Media::new(socket, own, (codec, talk), name(me.side), name(heard), tone);
        if self.scenario.record.calls.contains(&number) {
            media.ear.record();
        }
        if let Some(owner) = self.owners.get_mut(socket.0 as usize) {
            *owner = Some(me);
        }
        Ok(Some(media))
    }

    /// Which tone a side of a call speaks. In a room of up to twelve, every second room has the upper half.
    fn tone(&self, number: u32, side: Side) -> u32 {
        let room = self.scenario.call.room.max(1);
        match self.scenario.kind {
            Kind::Room => number % room + (number / room % 2) * (TONES / 2),
            _ => (number * 2 + u32::from(side.number())) % TONES,
        }
    }

    /// Sends INVITE: the first, one with an answer to a challenge, or one that changes the session.
    pub(super) fn invite(&mut self, me: LegRef, challenge: Option<&rsip::Response>) {
        let branch = self.branch();
        let now = self.now_ms();
        let offer = self.description(me);
        let Some(leg) = self.leg(me) else {
            return;
        };
        let mut request = leg.dialog.request(Method::Invite, &branch);
        if let Some(challenge) = challenge
            && let Err(error) = sip::authorize(&mut request, challenge, &leg.account)
        {
            self.fail(me, &format!("challenge: {error:#}"));
            return;
        }
        let bytes = sip::finish(request, Some((sdp::TYPE, offer)));
        let cseq = leg.dialog.cseq();
        // The way from the first INVITE to the answer includes a challenge.
        if challenge.is_none() {
            leg.invited_ns = wall_ns();
        }
        let signal = leg.signal;
        self.send(signal, &bytes);
        self.repeat_until_answered(me, Repeated::new(bytes, Method::Invite, cseq, branch, now));
    }

    /// Our description for a leg, as it is now.
    pub(super) fn description(&mut self, me: LegRef) -> String {
        let codec = codec_of(&self.scenario, me.side);
        let party = self.party(me.side);
        let (ip, rtcp) = (party.media_ip, party.rtcp_port);
        let held = self
            .call(me.place, me.generation)
            .is_some_and(|call| call.held);
        let Some(leg) = self.leg(me) else {
            return String::new();
        };
        // Without media of our own, packets go where nobody reads them.
        let own = leg
            .media
            .as_ref()
            .map_or(std::net::SocketAddr::new(ip, rtcp), |media| media.own);
        let direction = if held && me.side == Side::Caller {
            "sendonly"
        } else {
            "sendrecv"
        };
        sdp::write(codec, own, rtcp, leg.version, direction)
    }

    /// Keeps a request or answer to send it again.
    pub(super) fn repeat_until_answered(&mut self, me: LegRef, repeated: Repeated) {
        let due = repeated.due_ms;
        if let Some(leg) = self.leg(me) {
            leg.repeated = Some(repeated);
            self.at(due, What::Repeat(me.place, me.generation, me.side.number()));
        }
    }

    /// A leg is connected; the call is, once all its legs are.
    pub(super) fn leg_up(&mut self, me: LegRef) {
        let (calls, is_called) = sides_of(self.scenario.kind);
        let script = self.scenario.call.clone();
        let now = self.now_ms();
        let length = arrivals::length(script.length, &mut self.chance);
        let Some(call) = self.call(me.place, me.generation) else {
            return;
        };
        let is_up = |leg: &Option<Leg>| leg.as_ref().is_some_and(|leg| leg.stage == Stage::Up);
        let complete = (!calls || is_up(&call.caller)) && (!is_called || is_up(&call.callee));
        if !complete || call.connected || call.ending {
            return;
        }
        call.connected = true;
        let (room, begun_ns) = (call.room, call.begun_ns);
        self.up += 1;
        self.totals.answered += 1;
        if self.scenario.kind == Kind::Originate {
            let took = wall_ns().saturating_sub(begun_ns);
            self.note_setup(std::time::Duration::from_nanos(took));
        }
        let mut act = |after_ms: u64, what| {
            self.at(now + after_ms, What::Act(me.place, me.generation, what));
        };
        if script.talk != Talk::None {
            if script.digits.is_empty() {
                act(u64::from(script.talk_after_ms), Act::Talk);
            } else {
                act(u64::from(script.digits_after_ms), Act::Digits);
            }
        }
        if let Some(seconds) = length {
            act((seconds * 1000.0) as u64, Act::End);
        }
        if self.scenario.kind == Kind::Room {
            self.rooms
                .entry(room)
                .or_default()
                .up
                .push((me.place, me.generation));
        }
        for side in [Side::Caller, Side::Callee] {
            self.enter_wheel(LegRef { side, ..me });
        }
    }

    pub(super) fn act_of_call(&mut self, place: u32, generation: u32, act: Act) {
        let now = self.now_ms();
        let script = &self.scenario.call;
        let (drain, settle) = (u64::from(script.drain_ms), u64::from(script.talk_after_ms));
        let (hold_after, hold) = (u64::from(script.hold_after_ms), u64::from(script.hold_ms));
        let digits = (script.digits.clone(), script.digits_by);
        let caller = LegRef {
            place,
            generation,
            side: Side::Caller,
        };
        let Some(call) = self.call(place, generation) else {
            return;
        };
        let (ending, connected) = (call.ending, call.connected);
        let later = |after, what| Some((now + after, What::Act(place, generation, what)));
        let next = match act {
            Act::Answer => {
                self.answer(LegRef {
                    side: Side::Callee,
                    ..caller
                });
                None
            }
            Act::GiveUp if !connected && !ending => {
                call.fail("not connected in time".to_owned());
                self.act_of_call(place, generation, Act::End);
                None
            }
            Act::Forget => {
                call.fail("not over in time".to_owned());
                self.over(place, generation);
                None
            }
            Act::End if !ending => {
                call.ending = true;
                self.ending += 1;
                self.hush(place, generation);
                self.at(
                    now + END_LIMIT_MS,
                    What::Act(place, generation, Act::Forget),
                );
                later(if connected { drain } else { 0 }, Act::HangUp)
            }
            Act::HangUp => {
                self.hang_up(place, generation);
                None
            }
            _ if ending => None,
            Act::Digits => {
                if digits.1 == DigitsBy::Info {
                    self.send_info(caller);
                } else if let Some(media) = call.caller.as_mut().and_then(|leg| leg.media.as_mut())
                {
                    media.send_digits(&digits.0);
                }
                None
            }
            Act::Talk => {
                self.talk(place, generation);
                (hold_after > 0)
                    .then(|| later(hold_after, Act::HushForHold))
                    .flatten()
            }
            Act::HushForHold => {
                let first = call.caller.as_ref().is_some_and(|leg| leg.version == 1);
                if first {
                    self.hush(place, generation);
                }
                first.then(|| later(drain, Act::Hold)).flatten()
            }
            Act::Hold | Act::Resume => {
                call.held = act == Act::Hold;
                if let Some(leg) = &mut call.caller {
                    leg.version += 1;
                }
                self.invite(caller, None);
                None
            }
            Act::GiveUp | Act::End => None,
        };
        let _ = (settle, hold);
        if let Some((at, what)) = next {
            self.at(at, what);
        }
    }

    /// The answer to an INVITE that held or resumed has come.
    pub(super) fn session_changed(&mut self, me: LegRef) {
        let script = &self.scenario.call;
        let (hold, settle) = (u64::from(script.hold_ms), u64::from(script.talk_after_ms));
        let now = self.now_ms();
        let Some(call) = self.call(me.place, me.generation) else {
            return;
        };
        let (after, act) = if call.held {
            (hold, Act::Resume)
        } else {
            (settle, Act::Talk)
        };
        self.at(now + after, What::Act(me.place, me.generation, act));
    }

    pub(super) fn digits_done(&mut self, me: LegRef) {
        let at = self.now_ms() + u64::from(self.scenario.call.talk_after_ms);
        self.at(at, What::Act(me.place, me.generation, Act::Talk));
    }

    /// Both sides begin to speak; in a room, everybody listens once all are there.
    fn talk(&mut self, place: u32, generation: u32) {
        let (kind, talk) = (self.scenario.kind, self.scenario.call.talk);
        let Some(call) = self.call(place, generation) else {
            return;
        };
        let (number, room) = (call.number, call.room);
        for side in [Side::Caller, Side::Callee] {
            if let Some(media) = call.leg_mut(side).and_then(|leg| leg.media.as_mut()) {
                media.talk();
            }
        }
        if talk != Talk::Tone {
            return;
        }
        if kind == Kind::Room {
            self.listen_in_room(room);
            return;
        }
        for side in [Side::Caller, Side::Callee] {
            let heard = if kind == Kind::Bridge {
                side.other()
            } else {
                side
            };
            let there = 1 << self.tone(number, heard);
            if let Some(media) = self
                .call(place, generation)
                .and_then(|call| call.leg_mut(side)?.media.as_mut())
            {
                media.ear.look_for(there, !there);
            }
        }
    }

    fn listen_in_room(&mut self, room: u32) {
        let size = self.scenario.call.room;
        let Some(members) = self.rooms.get(&room).map(|room| room.up.clone()) else {
            return;
        };
        let complete = members.len() == size as usize;
        let half = (room % 2) * (TONES / 2);
        let all = ((1_u32 << size) - 1) << half;
        for (place, generation) in members {
            let number = self.call(place, generation).map_or(0, |call| call.number);
            let own = 1 << self.tone(number, Side::Caller);
            let (there, absent) = if complete {
                (all & !own, !(all & !own))
            } else {
                (0, 0)
            };
            if let Some(media) = self
                .call(place, generation)
                .and_then(|call| call.caller.as_mut()?.media.as_mut())
            {
                media.ear.look_for(there, absent);
            }
        }
    }

    fn hush(&mut self, place: u32, generation: u32) {
        let Some(call) = self.call(place, generation) else {
            return;
        };
        for side in [Side::Caller, Side::Callee] {
            if let Some(media) = call.leg_mut(side).and_then(|leg| leg.media.as_mut()) {
                media.hush();
            }
        }
        if self.scenario.kind == Kind::Room
            && let Some(room) = self.call(place, generation).map(|call| call.room)
            && let Some(members) = self.rooms.get_mut(&room)
        {
            members.up.retain(|&member| member != (place, generation));
            self.listen_in_room(room);
        }
    }

    /// The caller ends the call; where there is none, the callee.
    fn hang_up(&mut self, place: u32, generation: u32) {
        let Some(call) = self.call(place, generation) else {
            return;
        };
        let side = if call.caller.is_some() {
            Side::Caller
        } else {
            Side::Callee
        };
        let me = LegRef {
            place,
            generation,
            side,
        };
        match call.leg_mut(side).map(|leg| leg.stage) {
            Some(Stage::Calling) if side == Side::Caller => self.send_cancel(me),
            Some(Stage::Up) => self.send_bye(me),
            Some(Stage::Answered) => self.send_bye(me),
            Some(Stage::Ending) => {}
            _ => self.over(place, generation),
        }
    }

    /// The call fails.
    pub(super) fn fail(&mut self, me: LegRef, reason: &str) {
        if let Some(call) = self.call(me.place, me.generation) {
            call.fail(reason.to_owned());
        }
    }

    /// A leg has ended. The call is over with its last leg, or when the callee's never came.
    pub(super) fn leg_over(&mut self, me: LegRef) {
        let Some(call) = self.call(me.place, me.generation) else {
            return;
        };
        if let Some(leg) = call.leg_mut(me.side) {
            leg.stage = Stage::Over;
            leg.repeated = None;
        }
        if !call.ending {
            if call.failure.is_none() {
                call.fail(format!("{:?} cut off", me.side).to_lowercase());
            }
            // The other side is told by the server; if not, it hangs up itself a little later.
            self.act_of_call(me.place, me.generation, Act::End);
        }
        let Some(call) = self.call(me.place, me.generation) else {
            return;
        };
        if call.legs().all(|leg| leg.stage == Stage::Over) {
            self.over(me.place, me.generation);
        }
    }

    /// Takes a call's place away and judges what was heard.
    pub(super) fn over(&mut self, place: u32, generation: u32) {
        if self.call(place, generation).is_none() {
            return;
        }
        let Some(call) = self.calls.get_mut(place as usize).and_then(Option::take) else {
            return;
        };
        self.generations[place as usize] = generation.wrapping_add(1);
        self.free.push(place);
        self.active -= 1;
        self.up -= u32::from(call.connected);
        self.ending -= u32::from(call.ending);
        if let Some(waiting) = self.waiting.get_mut(&call.dialled) {
            waiting.retain(|&other| other != (place, generation));
            if waiting.is_empty() {
                self.waiting.remove(&call.dialled);
            }
        }
        let now = self.now_ms();
        for leg in call.legs() {
            self.by_id.remove(&leg.dialog.call_id);
            if let Some(media) = &leg.media {
                if let Some(owner) = self.owners.get_mut(media.socket.0 as usize) {
                    *owner = None;
                }
                self.at(now + QUARANTINE_MS, What::Release(media.socket.0));
            }
        }
        self.judge(&call);
    }

    fn judge(&mut self, call: &Call) {
        let signed = self.scenario.call.talk == Talk::Signature;
        let mut wrong = Vec::new();
        for (side, leg) in [(Side::Caller, &call.caller), (Side::Callee, &call.callee)] {
            let Some(media) = leg.as_ref().and_then(|leg| leg.media.as_ref()) else {
                continue;
            };
            let counts = media.ear.counts();
            self.totals.heard.add(&counts);
            self.save(call.number, side, media);
            if !call.connected {
                continue;
            }
            let speaker = match (self.scenario.kind, side) {
                (Kind::Bridge, Side::Caller) => &call.callee,
                (Kind::Bridge, Side::Callee) => &call.caller,
                _ => leg,
            };
            let said = speaker
                .as_ref()
                .and_then(|leg| leg.media.as_ref())
                .map_or(0, Media::sent);
            let short = if signed { 0 } else { media.ear.looks_short() };
            self.totals.heard.looks_missing += short;
            if short > 0 {
                wrong.push(format!(
                    "{side:?} could not look for the tone {short} times"
                ));
            }
            let lost = media.ear.lost(said, signed);
            self.totals.lost += lost;
            self.jitter.add(std::time::Duration::from_micros(
                media.ear.jitter_max_us() as u64
            ));
            let nothing = if signed { counts.right } else { counts.packets } == 0;
            if said >= 10 && nothing {
                self.totals.deaf_legs += 1;
                wrong.push(format!("{side:?} heard nothing"));
            } else if lost > 0 {
                wrong.push(format!("{side:?} missed {lost} of {said} packets"));
            }
            if counts.crossed + counts.looks_crossed > 0 {
                self.totals.crossed_legs += 1;
                wrong.push(format!("{side:?} heard another call"));
            }
            if counts.looks_missing > 0 {
                wrong.push(format!(
                    "{side:?} did not hear the tone in {} of {} looks",
                    counts.looks_missing, counts.looks
                ));
            }
            if counts.duplicate + counts.damaged > 0 {
                wrong.push(format!(
                    "{side:?} heard {} packets twice and {} damaged",
                    counts.duplicate, counts.damaged
                ));
            }
        }
        let digits = &self.scenario.call.digits;
        let heard = call.callee.as_ref().and_then(|leg| leg.media.as_ref());
        if let Some(media) = heard
            && call.connected
            && !digits.is_empty()
            && media.ear.digits() != digits
        {
            self.totals.digits_wrong += 1;
            wrong.push(format!("the callee heard digits {:?}", media.ear.digits()));
        }
        match &call.failure {
            Some(reason) => {
                self.totals.fail(reason);
                wrong.insert(0, reason.clone());
            }
            None if call.connected => self.totals.completed += 1,
            None => self.totals.fail("ended before it was answered"),
        }
        if !wrong.is_empty() {
            self.note_odd(call.number, &wrong.join("; "));
        }
    }

    /// Writes what a leg heard, if that is wanted.
    fn save(&mut self, number: u32, side: Side, media: &Media) {
        let Some(recording) = media.ear.recording() else {
            return;
        };
        let folder = &self.setting.recordings;
        let name = format!("call-{number}-{side:?}.wav").to_lowercase();
        let saved =
            std::fs::create_dir_all(folder).and_then(|()| recording.save(&folder.join(name)));
        if let Err(error) = saved {
            self.note_odd(number, &format!("not recorded: {error}"));
        }
    }

    /// What is still there at the end of a run is counted as failed.
    pub(super) fn abandon(&mut self) {
        let left: Vec<(u32, u32)> = self
            .calls
            .iter()
            .zip(0..)
            .filter(|(call, _)| call.is_some())
            .map(|(_, place)| (place, self.generations[place as usize]))
            .collect();
        for (place, generation) in left {
            if let Some(call) = self.call(place, generation) {
                call.fail("not over at the end of the run".to_owned());
            }
            self.over(place, generation);
        }
        self.totals.send_errors = self.ring.send_errors();
    }

    pub(super) fn refused_by_manager(&mut self, number: u32, error: &str) {
        let found = self
            .calls
            .iter()
            .position(|call| call.as_ref().is_some_and(|call| call.number == number));
        if let Some(place) = found {
            let generation = self.generations[place];
            if let Some(call) = self.call(place as u32, generation) {
                call.fail(format!("originate: {error}"));
            }
            self.over(place as u32, generation);
        }
    }

    /// The payload types and address that the other end's description names.
    pub(super) fn described(&mut self, me: LegRef, body: &[u8]) -> bool {
        let codec: Codec = codec_of(&self.scenario, me.side);
        let far = self.setting.i_own_this;
        if self.leg(me).is_none_or(|leg| leg.media.is_none()) {
            return self.leg(me).is_some();
        }
        let Some(described) = sdp::read(body, codec) else {
            return false;
        };
        if !described.media.ip().is_loopback() && !far {
            self.fail(me, "the server's media are not on loopback (--i-own-this)");
            return false;
        }
        let Some(media) = self.leg(me).and_then(|leg| leg.media.as_mut()) else {
            return false;
        };
        media.remote = Some(described.media);
        media.payload = described.payload;
        media.events = described.events.unwrap_or(media.events);
        true
    }
}
