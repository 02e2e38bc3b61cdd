//! Guests of a bridge: who listens to its two parties (ChanSpy), and is heard by one (whisper) or both (barge, BridgeAdd) if it
//! wants. As long as there are guests the media of all is a room; before and after, the two are relayed to each other.

use std::rc::Rc;

use strowger_media::room::{MemberOptions, NOBODY};
use strowger_media::{Command, RoomCommand, RoomId, Route};
use tokio::sync::watch;

use crate::channel::{Cause, Channel, ChannelId, Interrupt};
use crate::shard::Shard;

/// Guests of one bridge.
const GUESTS_MAX: usize = 32;

/// Marks in the room: of the channel whose task keeps up the bridge, and of its peer.
const KEEPER: u8 = 1;
const PEER: u8 = 2;

/// Which of the two parties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parties {
    #[default]
    Nobody,
    /// The one that is visited.
    Visited,
    Both,
}

/// How a guest takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestRole {
    /// Who hears him.
    pub heard_by: Parties,
    /// Whom he hears.
    pub hears: Parties,
    /// Gain of what he hears, in dB.
    pub listen_db: i8,
}

impl GuestRole {
    /// Hears both, and nobody hears him.
    pub const SPY: Self = Self {
        heard_by: Parties::Nobody,
        hears: Parties::Both,
        listen_db: 0,
    };
    /// Takes part in the talk.
    pub const BARGE: Self = Self {
        heard_by: Parties::Both,
        ..Self::SPY
    };

    /// `visited`: the mark of the party that is visited.
    fn options(self, visited: u8) -> MemberOptions {
        let mark = |parties| match parties {
            Parties::Nobody => NOBODY,
            Parties::Visited => visited,
            Parties::Both => 0,
        };
        MemberOptions {
            muted: self.heard_by == Parties::Nobody,
            whispers_to: mark(self.heard_by),
            hears_only: mark(self.hears),
            listen_db: self.listen_db,
            ..MemberOptions::default()
        }
    }
}

/// A guest of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    id: ChannelId,
    role: GuestRole,
    /// The mark of the party that is visited.
    visited: u8,
}

/// The room of a bridge that has guests.
pub(super) struct Hall {
    room: RoomId,
    seated: Vec<Guest>,
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
            for (party, mark) in [(self, KEEPER), (peer, PEER)] {
                let options = MemberOptions {
                    mark,
                    ..MemberOptions::default()
                };
                join(party, room, options);
            }
            Hall {
                room,
                seated: Vec::new(),
            }
        });
        for guest in &guests {
            if !hall.seated.contains(guest)
                && let Some(channel) = shard.channel(guest.id)
            {
                join(&channel, hall.room, guest.role.options(guest.visited));
            }
        }
        for Guest { id, .. } in &hall.seated {
            let stays = guests.iter().any(|guest| guest.id == *id);
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
        for guest in guests {
            if let Some(guest) = self.shard().channel(guest.id) {
                guest.touch();
            }
        }
    }

    /// Is a guest of the bridge that `target`, a channel of this shard, is in, until that ends or a digit is dialled for which
    /// `leave` says true.
    pub async fn visit(
        &self,
        target: &Self,
        role: GuestRole,
        leave: &dyn Fn(char) -> bool,
    ) -> VisitEnd {
        let (_role, roles) = watch::channel(role);
        match self.take_seat(target, role) {
            Some(visit) => self.stay_seated(visit, roles, leave).await,
            None => VisitEnd::NotThere,
        }
    }

    /// Comes to the bridge that `target` is in. None: it is in none, or there are too many guests.
    fn take_seat(&self, target: &Self, role: GuestRole) -> Option<Visit> {
        let keeper = target.keeper().filter(|keeper| keeper.id() != self.id())?;
        if keeper.data().bridged == Some(self.id()) || keeper.data().guests.len() >= GUESTS_MAX {
            return None;
        }
        let visited = if keeper.id() == target.id() {
            KEEPER
        } else {
            PEER
        };
        keeper.data_mut().guests.push(Guest {
            id: self.id(),
            role,
            visited,
        });
        keeper.touch();
        Some(Visit {
            guest: self.id(),
            keeper,
        })
    }

    async fn stay_seated(
        &self,
        visit: Visit,
        mut roles: watch::Receiver<GuestRole>,
        leave: &dyn Fn(char) -> bool,
    ) -> VisitEnd {
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
            visit.set_role(*roles.borrow_and_update());
            tokio::select! {
                biased;
                changed = self.wait_change(None) => {
                    if let Err(interrupt) = changed {
                        return VisitEnd::Interrupted(interrupt);
                    }
                }
                Ok(()) = roles.changed() => {}
            }
        }
    }

    /// Is a guest of the bridge that the channel of this name is in, on whatever shard, until that ends or a digit is dialled
    /// for which `leave` says true. How it takes part may change meanwhile. `seated` is called once it does.
    pub async fn visit_by_name(
        &self,
        name: &str,
        roles: watch::Receiver<GuestRole>,
        seated: &dyn Fn(),
        leave: &dyn Fn(char) -> bool,
    ) -> VisitEnd {
        let role = *roles.borrow();
        if let Some(target) = self.shard().channel_by_name(name) {
            return match self.take_seat(&target, role) {
                Some(visit) => {
                    seated();
                    self.stay_seated(visit, roles, leave).await
                }
                None => VisitEnd::NotThere,
            };
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
                let visit = target.and_then(|target| half.take_seat(&target, role));
                let _ = tell.send(visit.is_some());
                if let Some(visit) = visit {
                    half.stay_seated(visit, roles, &|_| false).await;
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
        seated();
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
        data.bridge.is_some() && data.guests.iter().any(|guest| guest.id == self.guest)
    }

    fn set_role(&self, role: GuestRole) {
        {
            let mut data = self.keeper.data_mut();
            let mut guests = data.guests.iter_mut();
            let guest = guests.find(|guest| guest.id == self.guest && guest.role != role);
            let Some(guest) = guest else { return };
            guest.role = role;
        }
        self.keeper.touch();
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.keeper
            .data_mut()
            .guests
            .retain(|guest| guest.id != self.guest);
        self.keeper.touch();
    }
}

fn join(channel: &Channel, room: RoomId, options: MemberOptions) {
    let shard = channel.shard();
    if let Some(leg) = channel.leg() {
        shard.media_send(Command::Room(room, RoomCommand::Join { leg, options }));
    }
}
