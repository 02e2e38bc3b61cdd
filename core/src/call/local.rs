//! Local channels: two halves that are each other's far end. What dials one gets `;1`; `;2` runs the dialplan at the number
//! that was dialled. Their legs are a wire in the media engine: what one half is sent, the other receives.
//!
//! Once both halves stand between two others (`;1` with who dialled it, `;2` with whom it dialled), those two are joined
//! directly and the pair ends, unless it was asked to stay (`/n`) or somebody listens to a half.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use strowger_media::codec::Codec;
use strowger_media::{Command, FarEnd, Format, LegId, LegStart, Negotiated, far_wire};

use super::outgoing::Origin;
use crate::channel::{Afterwards, Cause, Channel, ChannelId, Data, LegEnd, Location, Party, State};
use crate::dialplan::Exists;
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;

/// Local channels behind each other; Asterisk's default too.
const FORWARDS_MAX: u8 = 20;
/// Halves of Local channels on one core: numbers that call several others, which do so too, come to an end.
const HALVES_MAX: usize = 8000;
/// Payload types on a wire; nobody else sees them. Each codec has its own, so that none is taken for another.
const AUDIO: u8 = 96;
const EVENTS: u8 = 127;
/// How often, and how far apart, the other half on another core is told of the end while that core's inbox is full.
const END_TRIES: u32 = 12_000;
const END_PAUSE: Duration = Duration::from_millis(5);
/// What a half says before it is known what it should.
const FIRST_CODEC: Codec = Codec::Pcma;
const FIRST_PTIME_MS: u8 = 20;

/// What a channel is as half of a pair.
#[derive(Debug)]
pub(crate) struct Half {
    other: Other,
    /// `;1`.
    first: bool,
    /// `/n`.
    stays: bool,
    /// What the leg is sent that its other half receives.
    says: Codec,
    /// What its other half says.
    hears: Codec,
    /// Length of packets on the wire.
    ptime_ms: u8,
    /// Somebody with a codec of his own is at this half.
    settled: bool,
    /// Codecs of whoever is at the far end of the pair, as far as that is known.
    far: Vec<Codec>,
    _counted: Counted,
}

/// One of the halves of its core.
struct Counted(Rc<Shard>);

impl Counted {
    fn new(shard: &Rc<Shard>) -> Self {
        let halves = shard.local_halves();
        halves.set(halves.get() + 1);
        Self(Rc::clone(shard))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let halves = self.0.local_halves();
        halves.set(halves.get().saturating_sub(1));
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

/// Where the other half is.
#[derive(Debug)]
enum Other {
    Here(ChannelId),
    /// On another shard, under this name.
    There {
        shard: usize,
        name: String,
    },
}

impl Half {
    fn new(shard: &Rc<Shard>, other: Other, first: bool, stays: bool, far: Vec<Codec>) -> Self {
        Self {
            other,
            first,
            stays,
            says: FIRST_CODEC,
            hears: FIRST_CODEC,
            ptime_ms: FIRST_PTIME_MS,
            settled: false,
            far,
            _counted: Counted::new(shard),
        }
    }
}

/// What stands here for a channel of another shard. It is hung up when this is dropped.
pub struct Reached {
    channel: Channel,
    given_up: bool,
}

impl Reached {
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Somebody else has the channel now: it is not hung up here.
    pub fn give_up(mut self) {
        self.given_up = true;
    }

    /// Lets go of it after a bridge.
    pub fn let_go(mut self, bridged: &super::Bridged) {
        self.given_up = bridged.end == super::BridgeEnd::PeerTaken;
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        if !self.given_up {
            self.channel.hangup(Cause::NORMAL_CLEARING);
        }
    }
}

fn leg_start(leg: LegId) -> LegStart {
    LegStart {
        leg,
        ssrc: crate::random_u64() as u32,
        sequence: 0,
        timestamp: crate::random_u64() as u32,
        cname: String::new(),
    }
}

/// Makes a pair between this shard and another, both halves up: the half here. `there` gets the other one.
pub(crate) fn between(
    shard: &Rc<Shard>,
    other: usize,
    linkedid: &str,
    there: impl FnOnce(Channel) + Send + 'static,
) -> Option<Channel> {
    let shared = shard.shared();
    let inbox = shared.inboxes().get(other)?;
    if other == shard.index() || !shard.media_runs() {
        return None;
    }
    let name = format!("Local/between@cores-{:08x}", shared.next_local_sequence());
    let names = [format!("{name};1"), format!("{name};2")];
    let (near_end, far_end) = far_wire();
    let near = stand_in(
        shard,
        (&names[0], &names[1]),
        other,
        linkedid,
        near_end,
        true,
    )?;
    let (own, linkedid) = (shard.index(), linkedid.to_owned());
    let errand = ShardMessage::Errand(Box::new(move |shard| {
        let [near, far] = &names;
        match stand_in(shard, (far, near), own, &linkedid, far_end, false) {
            Some(far) => there(far),
            None => tracing::warn!(channel = near, "no leg for a connection between cores"),
        }
    }));
    if inbox.send(errand).is_err() {
        near.hangup(Cause::NORMAL_CIRCUIT_CONGESTION);
        return None;
    }
    Some(near)
}

/// May so many halves be added? A leg that the media thread cannot open would never be told of as closed.
fn has_room(shard: &Shard, halves: usize) -> bool {
    shard.local_halves().get() + halves <= HALVES_MAX && shard.has_room_for_legs(halves)
}

fn stand_in(
    shard: &Rc<Shard>,
    (name, other_name): (&str, &str),
    other: usize,
    linkedid: &str,
    end: FarEnd,
    first: bool,
) -> Option<Channel> {
    if !has_room(shard, 1) {
        shard.counters().calls_refused_overload.add(1);
        return None;
    }
    let uniqueid = shard.shared().next_uniqueid();
    let data = Data::new(State::Up, Location::default(), linkedid.to_owned());
    let channel = Channel::new(shard, name.to_owned(), uniqueid, None, data);
    let leg = shard.next_leg_id();
    if !shard.media_send(Command::OpenFar(Box::new((leg_start(leg), end)))) {
        return None;
    }
    shard.map_leg(leg, channel.id());
    channel.set_leg(Some(leg));
    let there = Other::There {
        shard: other,
        name: other_name.to_owned(),
    };
    *channel.half() = Some(Half::new(shard, there, first, true, Vec::new()));
    {
        let mut data = channel.data_mut();
        data.progress.answered = Some(crate::clock::now());
        data.answered = Some(SystemTime::now());
    }
    shard.add_channel(&channel, false);
    channel.configure_wire();
    Some(channel)
}

/// Makes a pair; the half that is dialled.
pub(super) fn create(
    shard: &Rc<Shard>,
    (exten, context, stays): (&str, &str, bool),
    origin: &Origin,
) -> Result<Channel, Cause> {
    let hops = origin.max_forwards.min(FORWARDS_MAX);
    if hops == 0 {
        tracing::warn!(
            exten,
            context,
            "Local channel refused: {FORWARDS_MAX} stand behind each other already; the number leads back to itself"
        );
        return Err(Cause::INTERWORKING);
    }
    if shard.call_limit_reached() || !has_room(shard, 2) {
        shard.counters().calls_refused_overload.add(1);
        return Err(Cause::NORMAL_CIRCUIT_CONGESTION);
    }
    if !shard.media_runs() {
        shard.counters().calls_refused_no_media.add(1);
        return Err(Cause::NORMAL_CIRCUIT_CONGESTION);
    }
    let shared = shard.shared();
    let name = format!(
        "Local/{exten}@{context}-{:08x}",
        shared.next_local_sequence()
    );
    let [chosen, chosen_other] = origin.uniqueids.clone();
    let uniqueid = chosen.unwrap_or_else(|| shared.next_uniqueid());
    let linkedid = origin.linkedid.clone().unwrap_or_else(|| uniqueid.clone());
    let place = Location::new(context, exten, 1);
    let mut near = Data::new(State::Down, place.clone(), linkedid.clone());
    near.variables = origin.variables.clone();
    near.caller = Party {
        number: exten.to_owned(),
        ..Party::default()
    };
    if let Some(own) = &origin.own {
        near.caller = own.clone();
    }
    near.connected = origin.shown.clone();
    near.rdnis.clone_from(&origin.redirecting.from.number);
    near.redirecting = origin.redirecting.clone();
    near.max_forwards = hops - 1;
    near.dial_depth = origin.dial_depth;
    near.language.clone_from(&origin.language);
    near.accountcode.clone_from(&origin.accountcode);
    "AppDial".clone_into(&mut near.application);
    "(Outgoing Line)".clone_into(&mut near.application_data);
    let mut far = Data::new(State::Ring, place, linkedid);
    exten.clone_into(&mut far.dnid);
    far.max_forwards = hops - 1;
    // Its dialplan is no deeper within another Dial than that of who dialled it.
    far.dial_depth = origin.dial_depth.saturating_sub(1);
    let second = chosen_other.unwrap_or_else(|| shared.next_uniqueid());
    let first = Channel::new(shard, format!("{name};1"), uniqueid, None, near);
    let second = Channel::new(shard, format!("{name};2"), second, None, far);
    let legs = [shard.next_leg_id(), shard.next_leg_id()];
    let ends = legs.map(leg_start);
    if !shard.media_send(Command::OpenWire(Box::new(ends))) {
        return Err(Cause::NORMAL_CIRCUIT_CONGESTION);
    }
    let halves = [(&first, &second, true), (&second, &first, false)];
    for ((half, other, is_first), leg) in halves.into_iter().zip(legs) {
        shard.map_leg(leg, half.id());
        half.set_leg(Some(leg));
        let other = Other::Here(other.id());
        *half.half() = Some(Half::new(
            shard,
            other,
            is_first,
            stays,
            origin.codecs.clone(),
        ));
        shard.add_channel(half, false);
    }
    second.configure_wire();
    first.configure_wire();
    first.tell_pair(&second, stays);
    Ok(first)
}

/// How the two legs of a wire are told of each other.
fn negotiated(says: Codec, hears: Codec, ptime_ms: u8) -> Negotiated {
    let format = |codec| {
        let place = Codec::ALL.iter().position(|known| *known == codec);
        Format {
            payload_type: AUDIO + place.unwrap_or_default() as u8,
            codec,
        }
    };
    Negotiated {
        formats: vec![format(hears)],
        send: format(says),
        ptime_ms: says.ptime(ptime_ms.into()),
        dtmf_receive: Some(EVENTS),
        dtmf_send: Some(EVENTS),
        ..Negotiated::default()
    }
}

impl Channel {
    /// Is it half of a Local channel?
    pub fn is_local(&self) -> bool {
        self.half().is_some()
    }

    /// The other half, while there is one on this shard.
    pub fn other_half(&self) -> Option<Self> {
        let other = match self.half().as_ref()?.other {
            Other::Here(other) => other,
            Other::There { .. } => return None,
        };
        self.shard().channel(other)
    }

    /// The name of the other half, where that is on another core: then the pair only stands for a way there.
    pub fn half_elsewhere(&self) -> Option<String> {
        match &self.half().as_ref()?.other {
            Other::Here(_) => None,
            Other::There { name, .. } => Some(name.clone()),
        }
    }

    /// Hz of what this half is sent; None where it is none.
    pub(crate) fn wire_rate(&self) -> Option<u32> {
        self.half().as_ref().map(|half| half.says.sample_rate())
    }

    /// Codecs of who is at the far end; None where this is no half.
    pub(crate) fn far_codecs(&self) -> Option<Vec<Codec>> {
        self.half().as_ref().map(|half| half.far.clone())
    }

    /// Tells the leg what it says and hears.
    fn configure_wire(&self) {
        let told = self
            .half()
            .as_ref()
            .map(|half| (half.says, half.hears, half.ptime_ms));
        if let Some((says, hears, ptime_ms)) = told {
            let negotiated = Box::new(negotiated(says, hears, ptime_ms));
            self.media(|leg| Command::Configure(leg, negotiated));
        }
    }

    /// Length of packets on its wire; None where this is no half.
    pub(crate) fn wire_ptime_ms(&self) -> Option<u8> {
        self.half().as_ref().map(|half| half.ptime_ms)
    }

    /// Who is at this half speaks `codec`, of all those he knows, in packets of this length. What he says passes the wire as it
    /// is. Packets on the wire are as long as those of who came first: where the others are longer or shorter they are made
    /// anew once, at their end.
    pub(crate) fn settle_wire(&self, codec: Codec, ptime_ms: u8, all: &[Codec]) {
        self.settle_wires(codec, ptime_ms, all, FORWARDS_MAX);
    }

    fn settle_wires(&self, codec: Codec, ptime_ms: u8, all: &[Codec], hops: u8) {
        let first = self
            .other_half()
            .is_some_and(|other| other.half().as_ref().is_some_and(|half| !half.settled));
        let mirrored = self.other_half().is_some_and(|other| {
            let half = other.half();
            half.as_ref().is_some_and(|half| !half.settled) && codec.is_spoken()
        });
        let (changed, ptime_ms) = match self.half().as_mut() {
            Some(half) => {
                let other_length = first && half.ptime_ms != ptime_ms;
                if other_length {
                    half.ptime_ms = ptime_ms;
                }
                half.settled = true;
                if mirrored {
                    half.hears = codec;
                }
                (
                    std::mem::replace(&mut half.says, codec) != codec || other_length,
                    half.ptime_ms,
                )
            }
            None => return,
        };
        let all = all.to_vec();
        // The one that hears goes first, so that it knows what comes.
        self.tell_other_half(move |other| {
            if let Some(half) = other.half().as_mut() {
                half.hears = codec;
                half.ptime_ms = ptime_ms;
                half.far.clone_from(&all);
                if mirrored {
                    half.says = codec;
                }
            }
            if !changed {
                return;
            }
            other.configure_wire();
            // Behind the other half may be another pair.
            if let Some(next) = other.bridge_peer().filter(Self::is_local)
                && hops > 0
            {
                next.settle_wires(codec, ptime_ms, &all, hops - 1);
            }
        });
        if changed {
            self.configure_wire();
        }
    }

    /// Dials: the second half begins its dialplan. False: this is no Local channel.
    pub(super) fn start_local(&self) -> bool {
        if !self.is_local() {
            return false;
        }
        if self.is_over() {
            return true;
        }
        let Some(second) = self.other_half() else {
            return true;
        };
        {
            let own = self.data();
            let mut data = second.data_mut();
            data.variables = own.variables.clone();
            data.caller = own.connected.clone();
            data.ani = own.connected.number.clone();
            data.connected = own.caller.clone();
            data.rdnis.clone_from(&own.rdnis);
            data.redirecting = own.redirecting.clone();
            data.language.clone_from(&own.language);
            data.accountcode.clone_from(&own.accountcode);
            data.music_class.clone_from(&own.music_class);
            data.tonezone.clone_from(&own.tonezone);
        }
        let place = second.location();
        let caller = second.data().caller.number.clone();
        let dialplan = self.shard().dialplan();
        // The dialplan is others' code: its fault is this call's.
        let exists = std::panic::catch_unwind(AssertUnwindSafe(|| {
            dialplan.exists(&place.context, &place.exten, &caller)
        }));
        if exists.unwrap_or(Exists::No) != Exists::Yes {
            tracing::info!(channel = %self.name(), exten = place.exten, context = place.context, "number not found in the dialplan");
            self.end(LegEnd {
                cause: Cause::NO_ROUTE_DESTINATION,
                status: None,
                by_peer: true,
            });
            return true;
        }
        second.begin_records(SystemTime::now());
        super::incoming::run(second);
        true
    }

    /// The other half hears of something, if this is half of a pair.
    fn tell_other_half(&self, tell: impl FnOnce(&Self) + Send + 'static) -> bool {
        let there = match self.half().as_ref().map(|half| &half.other) {
            None => return false,
            Some(Other::Here(_)) => None,
            Some(Other::There { shard, name }) => Some((*shard, name.clone())),
        };
        let Some((shard, name)) = there else {
            if let Some(other) = self.other_half().filter(|other| !other.is_over()) {
                tell(&other);
            }
            return true;
        };
        let errand = ShardMessage::Errand(Box::new(move |shard| {
            if let Some(other) = shard.channel_by_name(&name).filter(|it| !it.is_over()) {
                tell(&other);
            }
        }));
        let inbox = self.shard().shared().inboxes().get(shard);
        if inbox.is_none_or(|inbox| inbox.send(errand).is_err()) {
            tracing::error!(channel = %self.name(), "a shard's inbox is full: its half of a connection does not hear of a change");
        }
        true
    }

    /// The dialplan says that it rings.
    pub(super) fn ring_local(&self) -> bool {
        self.tell_other_half(|other| {
            let first = {
                let mut data = other.data_mut();
                if data.state == State::Down {
                    data.state = State::Ringing;
                }
                let first = data.progress.ringing.is_none();
                data.progress.ringing.get_or_insert(crate::clock::now());
                first
            };
            other.touch();
            if first {
                other.tell_dial_state("RINGING");
            }
        })
    }

    /// The dialplan has something to be heard before the answer.
    pub(super) fn progress_local(&self) -> bool {
        self.tell_other_half(|other| {
            let mut data = other.data_mut();
            let first = data.progress.early_media.is_none();
            data.progress.early_media.get_or_insert(crate::clock::now());
            drop(data);
            other.touch();
            if first {
                other.tell_dial_state("PROGRESS");
            }
        })
    }

    /// The dialplan answers.
    pub(super) fn accept_local(&self) -> bool {
        if self.is_up() {
            return self.is_local();
        }
        // Who answers `;1` says nothing about whom `;2` calls.
        if self.is_first_half() {
            if !self.is_over() {
                self.became_up();
            }
            return true;
        }
        let told = self.tell_other_half(|other| {
            if !other.is_up() {
                other.data_mut().progress.answered = Some(crate::clock::now());
                other.became_up();
            }
        });
        if told && !self.is_over() {
            self.became_up();
        }
        told
    }

    /// What ends one half ends the other.
    pub(super) fn end_other_half(&self, cause: Cause) {
        let end = LegEnd {
            cause,
            status: None,
            by_peer: true,
        };
        let there = match self.half().as_ref().map(|half| &half.other) {
            Some(Other::There { shard, name }) => Some((*shard, name.clone())),
            _ => None,
        };
        let Some((there, name)) = there else {
            self.tell_other_half(move |other| other.end(end));
            return;
        };
        let errand = move || {
            let name = name.clone();
            ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
                if let Some(other) = shard.channel_by_name(&name) {
                    other.end(end);
                }
            }))
        };
        let shared = std::sync::Arc::clone(self.shard().shared());
        let send = move || {
            let inbox = shared.inboxes().get(there);
            inbox.is_none_or(|inbox| inbox.send(errand()).is_ok())
        };
        if !send() {
            Shard::spawn(async move {
                // A full inbox empties within milliseconds; the half must not stay.
                for _ in 0..END_TRIES {
                    tokio::time::sleep(END_PAUSE).await;
                    if send() {
                        return;
                    }
                }
                tracing::error!(
                    "a shard's inbox stays full: a half of a connection between cores is left there"
                );
            });
        }
    }

    /// Takes a channel of another shard out of what it does: what stands for it here, to be bridged with. When that ends,
    /// the other does what `afterwards` says. None: it is gone, or does not let go.
    pub async fn reach(
        &self,
        shard: usize,
        name: String,
        afterwards: Afterwards,
    ) -> Option<Reached> {
        let linkedid = self.data().linkedid.clone();
        let (tell, told) = tokio::sync::oneshot::channel();
        let near = between(self.shard(), shard, &linkedid, move |half| {
            Shard::spawn(async move {
                let seized = match half.shard().channel_by_name(&name) {
                    Some(channel) => channel.seize().await,
                    None => None,
                };
                let Some(mut seized) = seized else {
                    let _ = tell.send(false);
                    return half.hangup(Cause::REQUESTED_CHAN_UNAVAIL);
                };
                seized.set_afterwards(afterwards);
                let peer = seized.channel().clone();
                let _ = peer.answer(Duration::ZERO).await;
                if tell.send(true).is_ok() {
                    let bridged = half.bridge(&peer, super::BridgeOptions::default()).await;
                    seized.let_go(&bridged);
                } else {
                    // Nobody was connected with it.
                    seized.set_afterwards(Afterwards::Continue);
                }
                if !half.go_after_bridge() {
                    half.hangup(Cause::NORMAL_CLEARING);
                }
            });
        })?;
        let near = Reached {
            channel: near,
            given_up: false,
        };
        (told.await == Ok(true)).then_some(near)
    }

    /// Whom to be joined with instead of `peer`, a half that only passes on to him.
    pub(super) fn beyond(&self, peer: &Self) -> Option<Self> {
        let other = peer.other_half()?;
        if !peer.may_be_left_out() || !other.may_be_left_out() || other.id() == self.id() {
            return None;
        }
        let next = other.bridge_peer()?;
        // `other` runs the bridge with `next`, who only sits in it.
        let passive = other.data().bridge.is_some() && next.data().bridge.is_none();
        // Whoever took it out of its dialplan gives it back there.
        let passive = passive && !next.is_yanked();
        let fits = passive && next.id() != self.id() && next.is_up() && !next.is_over();
        (fits && next.leg().is_some()).then_some(next)
    }

    /// Does nobody need this half beside those it connects?
    fn may_be_left_out(&self) -> bool {
        let half = self.half();
        let Some(half) = half.as_ref() else {
            return false;
        };
        let data = self.data();
        let plain = data.bridge.as_ref().is_none_or(|bridge| bridge.plain);
        !half.stays
            && data.state == State::Up
            && data.ended.is_none()
            && data.redirect.is_none()
            && data.errand.is_none()
            && !data.recordings.any()
            && data.guests.is_empty()
            && data.hold_music.is_none()
            && plain
    }

    /// `;1`?
    pub fn is_first_half(&self) -> bool {
        self.half().as_ref().is_some_and(|half| half.first)
    }
}
