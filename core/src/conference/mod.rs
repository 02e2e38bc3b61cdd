//! Conferences: who is in which, on whatever shard, and what they may do there.
//!
//! What lives here: the table of all conferences ([`table`], no I/O, no time), which every signalling thread asks for a
//! moment when somebody comes, goes or is changed, and the [`Seat`] that a channel takes. What never does: samples (the
//! rooms of the media threads), prompts and digits (the application `ConfBridge`). No media thread ever sees the table: its
//! rooms exchange their sums through rings that are made here when a shard gets its first member.
//!
//! A member's own task tells its media thread about its leg, so that nothing another thread decided can reach a leg after
//! the member has gone; others only change the table and wake the task.

mod seat;
mod table;

use std::path::PathBuf;
use std::rc::Rc;

use parking_lot::Mutex;
use strowger_media::room::{LinkEnd, link};
use strowger_media::{Command, FileFormat, RoomCommand, RoomId};

use crate::channel::{Channel, ChannelId};
use crate::events::{BridgeBlock, Event};
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;
use crate::shared::Shared;

pub use seat::{Request, Seat};
pub use table::{
    ConferenceInfo, Entry, MemberId, MemberInfo, Out, Rate, Refused, Table, View, Who,
};

/// What has to be done on a shard after the table has changed.
#[derive(Debug)]
pub enum Effect {
    /// Something about a part of a conference.
    Room {
        shard: usize,
        room: RoomId,
        command: RoomCommand,
    },
    /// Records what is heard in a part.
    Record {
        shard: usize,
        room: RoomId,
        path: PathBuf,
        format: FileFormat,
        append: bool,
    },
    /// Ends what is recorded there.
    StopRecord { shard: usize, room: RoomId },
    /// Something happened to the conference that programs are told of, from a thread of its own.
    Tell { shard: usize, event: Box<Event> },
    /// The member's task has to look at its [`View`].
    Wake { shard: usize, channel: ChannelId },
}

impl Effect {
    fn shard(&self) -> usize {
        match self {
            Self::Room { shard, .. }
            | Self::Record { shard, .. }
            | Self::StopRecord { shard, .. }
            | Self::Tell { shard, .. }
            | Self::Wake { shard, .. } => *shard,
        }
    }

    fn perform(self, shard: &Rc<Shard>) {
        match self {
            Self::Room { room, command, .. } => {
                shard.media_send(Command::Room(room, command));
            }
            Self::Record {
                room,
                path,
                format,
                append,
                ..
            } => seat::record(shard, room, path, format, append),
            Self::StopRecord { room, .. } => seat::stop_record(shard, room),
            Self::Tell { event, .. } => shard.shared().events.tell(|| *event),
            Self::Wake { channel, .. } => {
                if let Some(channel) = shard.channel(channel) {
                    channel.touch();
                }
            }
        }
    }
}

/// All conferences of the exchange.
#[derive(Default)]
pub struct Conferences(Mutex<Table>);

impl Conferences {
    /// Asks the table.
    pub fn read<R>(&self, ask: impl FnOnce(&Table) -> R) -> R {
        ask(&self.0.lock())
    }

    /// Changes the table and has what follows from it done; `own` is the shard on whose thread this is, if any. Effects
    /// reach each shard in the order of the changes.
    pub fn change<R>(
        &self,
        shared: &Shared,
        own: Option<&Rc<Shard>>,
        change: impl FnOnce(&mut Table, &mut Vec<Effect>) -> R,
    ) -> R {
        let mut effects = Vec::new();
        let mut table = self.0.lock();
        let result = change(&mut table, &mut effects);
        for effect in effects {
            // The part that a member needs next; nobody else knows it yet.
            if let (Some(own), Effect::Room { command, .. }) = (own, &effect)
                && matches!(command, RoomCommand::Open { .. })
            {
                effect.perform(own);
                continue;
            }
            let Some(inbox) = shared.inboxes().get(effect.shard()) else {
                continue;
            };
            let errand = ShardMessage::Errand(Box::new(move |shard| effect.perform(shard)));
            if inbox.send(errand).is_err() {
                tracing::error!(
                    "a shard's inbox is full: a conference there may not hear all others"
                );
            }
        }
        result
    }
}

/// What an event says of a conference, its bridge included.
fn event(name: &'static str, conference: &str, bridge: &str, channels: usize) -> Event {
    let block = BridgeBlock {
        id: bridge,
        kind: "base",
        technology: "softmix",
        creator: "ConfBridge",
        name: conference,
        channels,
    };
    Event::new(name)
        .with("Conference", conference)
        .bridge("", block)
}

/// A member begins or ends to talk.
pub(crate) fn talking(shard: &Rc<Shard>, channel: &Channel, talks: bool) {
    let Some((name, id)) = channel.data().conference.clone() else {
        return;
    };
    let shared = shard.shared();
    let told = shared.conferences.change(shared, Some(shard), |table, _| {
        table.talking(&name, id, talks);
        let members = table.members(&name);
        let admin = members.iter().find(|member| member.id == id)?.admin;
        Some((table.info(&name)?, admin))
    });
    let Some((info, admin)) = told else {
        return;
    };
    shared.events.tell(|| {
        event("ConfbridgeTalking", &name, &info.bridge, info.parties)
            .channel("", channel)
            .with("TalkingStatus", if talks { "on" } else { "off" })
            .with("Admin", if admin { "Yes" } else { "No" })
    });
}

/// Both ends of a new link.
fn new_link() -> (Box<LinkEnd>, Box<LinkEnd>) {
    let (a, b) = link();
    (Box::new(a), Box::new(b))
}
