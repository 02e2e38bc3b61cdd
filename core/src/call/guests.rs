//! Guests of a bridge: who listens to its two parties (ChanSpy), and is heard by them if it wants (barge, BridgeAdd). As long as
//! there are guests the media of all is a room; before and after, the two are relayed to each other.

use std::rc::Rc;

use strowger_media::room::MemberOptions;
use strowger_media::{Command, RoomCommand, RoomId, Route};

use crate::channel::{Cause, Channel, ChannelId, Interrupt};
use crate::shard::Shard;

/// Guests of one bridge.
const GUESTS_MAX: usize = 32;

/// The room of a bridge that has guests.
pub(super) struct Hall {
    room: RoomId,
    /// Who is in it, and whether he is heard.
    seated: Vec<(ChannelId, bool)>,
}

/// Why a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitEnd {
    /// The channel is in no bridge, or there are too many guests.
    NotThere,
    /// The bridge is over.
    Over,
    /// The guest dialled this.
    Digit(char),
    Interrupted(Interrupt),
}

impl Channel {
    /// The channel whose task keeps up the bridge that this one is in.
    fn keeper(&self) -> Option<Self> {
        if self.data().bridge.is_some() {
            return Some(self.clone());
        }
        self.bridge_peer()
            .filter(|keeper| keeper.data().bridge.is_some())
    }

    /// Is it in a bridge that can be listened to?
    pub fn can_be_visited(&self) -> bool {
        !self.is_over() && self.keeper().is_some()
    }

    /// How many guests the bridge has that this channel's task keeps up.
    pub fn guests(&self) -> usize {
        self.data().guests.len()
    }

    /// Seats those who came to this bridge, and lets those go who left. Only the task that keeps it up calls this.
    pub(super) fn seat_guests(&self, peer: &Self, hall: &mut Option<Hall>) {
        let guests = self.data().guests.clone();
        let shard = Rc::clone(self.shard());
        if guests.is_empty() {
            if let Some(hall) = hall.take() {
                shard.media_send(Command::Room(hall.room, RoomCommand::Close));
                if let (Some(one), Some(other)) = (self.leg(), peer.leg()) {
                    shard.media_send(Command::Bridge(one, other));
                }
            }
            return;
        }
        let hall = hall.get_or_insert_with(|| {
            let room = shard.next_room_id();
            let rate = self.sample_rate().max(peer.sample_rate());
            shard.media_send(Command::Room(room, RoomCommand::Open { rate }));
            for party in [self, peer] {
                join(party, room, true);
            }
            Hall {
                room,
                seated: Vec::new(),
            }
        });
        for (id, heard) in &guests {
            if !hall.seated.contains(&(*id, *heard))
                && let Some(guest) = shard.channel(*id)
            {
                join(&guest, hall.room, *heard);
            }
        }
        for (id, _) in &hall.seated {
            let stays = guests.iter().any(|(guest, _)| guest == id);
            if let Some(guest) = shard
                .channel(*id)
                .filter(|guest| !stays && !guest.is_over())
            {
                guest.media(|leg| Command::Route(leg, Route::Silence));
            }
        }
        hall.seated = guests;
    }

    /// The bridge is over: its guests hear of it.
    pub(super) fn send_guests_away(&self, hall: Option<Hall>) {
        if let Some(hall) = hall {
            self.shard()
                .media_send(Command::Room(hall.room, RoomCommand::Close));
        }
        let guests = std::mem::take(&mut self.data_mut().guests);
        for (id, _) in guests {
            if let Some(guest) = self.shard().channel(id) {
                guest.touch();
            }
        }
    }

    /// Is a guest of the bridge that `target` is in, until that ends or a digit is dialled for which `leave` says true.
    pub async fn visit(
        &self,
        target: &Self,
        heard: bool,
        leave: &dyn Fn(char) -> bool,
    ) -> VisitEnd {
        match self.take_seat(target, heard) {
            Some(visit) => self.stay_seated(visit, leave).await,
            None => VisitEnd::NotThere,
        }
    }

    /// Comes to the bridge that `target` is in. None: it is in none, or there are too many guests.
    fn take_seat(&self, target: &Self, heard: bool) -> Option<Visit> {
        let keeper = target.keeper().filter(|keeper| keeper.id() != self.id())?;
        if keeper.data().bridged == Some(self.id()) || keeper.data().guests.len() >= GUESTS_MAX {
            return None;
        }
        keeper.data_mut().guests.push((self.id(), heard));
        keeper.touch();
        Some(Visit {
            guest: self.id(),
            keeper,
        })
    }

    async fn stay_seated(&self, visit: Visit, leave: &dyn Fn(char) -> bool) -> VisitEnd {
        self.clear_digits();
        loop {
            if let Err(interrupt) = self.check() {
                return VisitEnd::Interrupted(interrupt);
            }
            if !visit.goes_on() {
                return VisitEnd::Over;
            }
            while let Some(digit) = self.take_digit() {
                if leave(digit) {
                    return VisitEnd::Digit(digit);
                }
            }
            if let Err(interrupt) = self.wait_change(None).await {
                return VisitEnd::Interrupted(interrupt);
            }
        }
    }

    /// The same with a channel of any shard, by name.
    pub async fn visit_by_name(
        &self,
        name: &str,
        heard: bool,
        leave: &dyn Fn(char) -> bool,
    ) -> VisitEnd {
        if let Some(target) = self.shard().channel_by_name(name) {
            return self.visit(&target, heard, leave).await;
        }
        let directory = &self.shard().shared().directory;
        let Some(shard) = directory.shard_of(name) else {
            return VisitEnd::NotThere;
        };
        let linkedid = self.data().linkedid.clone();
        let (tell, told) = tokio::sync::oneshot::channel();
        let name = name.to_owned();
        let half = super::local::between(self.shard(), shard, &linkedid, move |half| {
            Shard::spawn(async move {
                let target = half.shard().channel_by_name(&name);
                let visit = target.and_then(|target| half.take_seat(&target, heard));
                let _ = tell.send(visit.is_some());
                if let Some(visit) = visit {
                    half.stay_seated(visit, &|_| false).await;
                }
                half.hangup(Cause::NORMAL_CLEARING);
            });
        });
        let Some(half) = half else {
            return VisitEnd::NotThere;
        };
        if told.await != Ok(true) {
            half.hangup(Cause::NORMAL_CLEARING);
            return VisitEnd::NotThere;
        }
        let end = self.join_until(&half, leave).await;
        half.hangup(Cause::NORMAL_CLEARING);
        end
    }
}

/// A guest's place, given up however the visit ends.
struct Visit {
    guest: ChannelId,
    keeper: Channel,
}

impl Visit {
    fn goes_on(&self) -> bool {
        let data = self.keeper.data();
        data.bridge.is_some() && data.guests.iter().any(|(guest, _)| *guest == self.guest)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.keeper
            .data_mut()
            .guests
            .retain(|(guest, _)| *guest != self.guest);
        self.keeper.touch();
    }
}

fn join(channel: &Channel, room: RoomId, heard: bool) {
    let options = MemberOptions {
        muted: !heard,
        ..MemberOptions::default()
    };
    let shard = channel.shard();
    if let Some(leg) = channel.leg() {
        shard.media_send(Command::Room(room, RoomCommand::Join { leg, options }));
    }
}
