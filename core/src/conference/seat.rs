//! A channel's place in a conference: what its own task tells its media thread.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use strowger_media::room::MemberOptions;
use strowger_media::{
    Command, FileFormat, LegId, RecorderSetup, Repeat, RoomCommand, RoomId, Route, SAMPLE_RATE,
    Sound, TapMode, WIDE_RATE,
};

use super::{Entry, MemberId, Rate, Refused, Table, View};
use crate::channel::Channel;
use crate::conference::Effect;
use crate::events::{BridgeBlock, Event};
use crate::shard::Shard;

/// How a channel wants to come in; see [`Entry`].
#[derive(Clone, Debug)]
pub struct Request {
    pub conference: String,
    pub conference_rate: Rate,
    pub max_members: usize,
    pub admin: bool,
    pub marked: bool,
    pub wait_marked: bool,
    pub end_marked: bool,
    pub muted: bool,
}

/// A place in a conference. It is given up when it is dropped.
pub struct Seat {
    channel: Channel,
    conference: Rc<str>,
    id: MemberId,
    leg: LegId,
    room: RoomId,
    /// What the media thread was told: in the room, and how.
    told: Cell<Option<MemberOptions>>,
    bridge: Arc<str>,
    admin: bool,
    /// As programs that watch know it.
    muted: Cell<bool>,
}

impl Seat {
    /// Takes a place. The channel has to be answered; it hears nothing yet ([`Self::apply`]).
    ///
    /// # Errors
    /// The conference is full or locked, or the call is over.
    pub fn take(channel: &Channel, request: Request) -> Result<Self, Refused> {
        let leg = channel.leg().ok_or(Refused::Over)?;
        if channel.is_over() {
            return Err(Refused::Over);
        }
        let shard = channel.shard();
        let caller = channel.data().caller.clone();
        let entry = Entry {
            shard: shard.index(),
            channel: channel.id(),
            channel_name: channel.name().to_string(),
            uniqueid: channel.uniqueid().to_string(),
            caller_name: caller.name,
            caller_number: caller.number,
            leg,
            rate: channel.sample_rate(),
            room: shard.next_room_id(),
            conference_rate: request.conference_rate,
            max_members: request.max_members,
            admin: request.admin,
            marked: request.marked,
            wait_marked: request.wait_marked,
            end_marked: request.end_marked,
            muted: request.muted,
        };
        let seat = change(shard, |table, effects| {
            let id = table.join(&request.conference, entry, effects)?;
            let view = table.view(&request.conference, id);
            let info = table.info(&request.conference);
            let (room, info) = (view.ok_or(Refused::Over)?.room, info.ok_or(Refused::Over)?);
            let seat = Self {
                channel: channel.clone(),
                conference: request.conference.as_str().into(),
                id,
                leg,
                room,
                told: Cell::new(None),
                bridge: info.bridge,
                admin: request.admin,
                muted: Cell::new(request.muted),
            };
            // While nobody else comes or goes: so programs hear of parties of all shards in their order.
            seat.tell_joined(info.parties, request.muted);
            Ok(seat)
        })?;
        touch(shard, &seat.conference);
        channel.data_mut().conference = Some((Rc::clone(&seat.conference), seat.id));
        Ok(seat)
    }

    /// He is heard or not as it stands now; programs that watch hear what changed.
    pub fn note_muted(&self, view: &View) {
        if self.muted.replace(view.muted) == view.muted {
            return;
        }
        let name = if view.muted {
            "ConfbridgeMute"
        } else {
            "ConfbridgeUnmute"
        };
        self.channel.shard().shared().events.tell(|| {
            self.event(name, view.parties)
                .channel("", &self.channel)
                .with("Admin", yes(self.admin))
        });
    }

    fn block(&self, channels: usize) -> BridgeBlock<'_> {
        BridgeBlock {
            id: &self.bridge,
            kind: "base",
            technology: "softmix",
            creator: "ConfBridge",
            name: &self.conference,
            channels,
        }
    }

    /// Programs that watch hear that he came; `parties` with him.
    fn tell_joined(&self, parties: usize, muted: bool) {
        let channel = &self.channel;
        channel.data_mut().bridge_id = Some(Rc::from(&*self.bridge));
        let events = &channel.shard().shared().events;
        let others = parties.saturating_sub(1);
        if others == 0 {
            events.tell(|| Event::new("BridgeCreate").bridge("", self.block(0)));
            events.tell(|| self.event("ConfbridgeStart", 0));
        }
        events.tell(|| {
            self.event("ConfbridgeJoin", others)
                .channel("", channel)
                .with("Admin", yes(self.admin))
                .with("Muted", yes(muted))
        });
        events.tell(|| {
            Event::new("BridgeEnter")
                .bridge("", self.block(parties))
                .channel("", channel)
        });
    }

    /// The same of his going; `left` are there still.
    fn tell_left(&self, left: usize) {
        let channel = &self.channel;
        channel.data_mut().bridge_id = None;
        let events = &channel.shard().shared().events;
        events.tell(|| {
            Event::new("BridgeLeave")
                .bridge("", self.block(left))
                .channel("", channel)
        });
        events.tell(|| {
            self.event("ConfbridgeLeave", left)
                .channel("", channel)
                .with("Admin", yes(self.admin))
        });
        if left == 0 {
            events.tell(|| self.event("ConfbridgeEnd", 0));
            events.tell(|| Event::new("BridgeDestroy").bridge("", self.block(0)));
        }
    }

    fn event(&self, name: &'static str, channels: usize) -> Event {
        super::event(name, &self.conference, &self.bridge, channels)
    }

    /// The conference's name.
    pub fn conference(&self) -> &str {
        &self.conference
    }

    /// Who this is in the conference.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// What there is to know now. Changes wake the channel (`Channel::wait_change`).
    pub fn view(&self) -> Option<View> {
        let conferences = &self.channel.shard().shared().conferences;
        conferences.read(|table| table.view(&self.conference, self.id))
    }

    /// Takes part in the room with these options, or not (`None`).
    pub fn apply(&self, options: Option<MemberOptions>) {
        if self.told.replace(options) == options {
            return;
        }
        let leg = self.leg;
        let command = match options {
            Some(options) => Command::Room(self.room, RoomCommand::Join { leg, options }),
            None => Command::Route(leg, Route::Silence),
        };
        self.channel.shard().media_send(command);
    }

    /// Changes the conference: the table, by its name and this member.
    pub fn change<R>(
        &self,
        change_it: impl FnOnce(&mut Table, &str, MemberId, &mut Vec<Effect>) -> R,
    ) -> R {
        change(self.channel.shard(), |table, effects| {
            change_it(table, &self.conference, self.id, effects)
        })
    }

    /// Plays to all in the room.
    pub fn announce(&self, sounds: Vec<Arc<Sound>>) {
        let shard = self.channel.shard();
        let play = shard.next_play_id();
        let repeat = Repeat::Once;
        let command = RoomCommand::Play {
            play,
            sounds: for_room(&sounds),
            repeat,
        };
        shard.media_send(Command::Room(self.room, command));
    }

    /// Plays to the others as this member goes.
    pub fn announce_leave(&self, sounds: &[Arc<Sound>]) {
        if sounds.is_empty() {
            return;
        }
        let play = self.channel.shard().next_play_id();
        self.change(|table, name, id, effects| {
            table.announce_to_others(name, id, play, &for_room(sounds), effects);
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.told.take().is_some() && !self.channel.is_over() {
            let silence = Command::Route(self.leg, Route::Silence);
            self.channel.shard().media_send(silence);
        }
        self.channel.data_mut().conference = None;
        self.change(|table, name, id, effects| {
            table.leave(name, id, effects);
            let left = table.info(name).map_or(0, |info| info.parties);
            self.tell_left(left);
        });
        touch(self.channel.shard(), &self.conference);
    }
}

fn yes(yes: bool) -> &'static str {
    if yes { "Yes" } else { "No" }
}

/// Sounds as rooms take them, whatever rate they were loaded at for one listener.
fn for_room(sounds: &[Arc<Sound>]) -> Vec<Arc<Sound>> {
    let narrow = |sound: &Arc<Sound>| match sound.rate {
        SAMPLE_RATE => Arc::clone(sound),
        _ => Arc::new(sound.at_rate(SAMPLE_RATE)),
    };
    sounds.iter().map(narrow).collect()
}

/// Parties came or went: the device of the conference may have another state.
fn touch(shard: &Rc<Shard>, conference: &str) {
    let device = format!("Confbridge:{conference}");
    shard.shared().devices.touch(&device);
}

fn change<R>(shard: &Rc<Shard>, change: impl FnOnce(&mut Table, &mut Vec<Effect>) -> R) -> R {
    let conferences = &shard.shared().conferences;
    conferences.change(shard.shared(), Some(shard), change)
}

/// Records what is heard in a room.
pub(super) fn record(
    shard: &Rc<Shard>,
    room: RoomId,
    path: PathBuf,
    format: FileFormat,
    append: bool,
) {
    let recorder = shard.next_recorder_id();
    // The leg is of no importance in a room.
    let mut setup = RecorderSetup::new(recorder, LegId(0), path, format, TapMode::Mix);
    setup.append = append;
    // Whoever may still come. A file without a rate of its own is one for telephones.
    setup.rate = match format.rate() {
        Some(_) => format.recorder_rate(WIDE_RATE),
        None => SAMPLE_RATE,
    };
    shard.expect_recorder(
        recorder,
        Box::new(|result| {
            tracing::info!(path = %result.path.display(), samples = result.samples, "conference recorded");
        }),
    );
    let start = RoomCommand::StartRecorder(Box::new(setup.prepare()));
    if shard.media_send(Command::Room(room, start)) {
        shard.set_room_recorder(room, Some(recorder));
    } else {
        shard.forget_recorder(recorder);
    }
}

/// Ends what is recorded in a room.
pub(super) fn stop_record(shard: &Rc<Shard>, room: RoomId) {
    if let Some(recorder) = shard.set_room_recorder(room, None) {
        shard.media_send(Command::Room(room, RoomCommand::StopRecorder(recorder)));
    }
}
