//! The per-core runtime of signalling: one thread, one single-threaded async runtime, and everything the calls of this
//! core need: SIP transactions, channels, the media thread's queues, port allocation. All state here is touched by this
//! thread only; other threads come in through the [`inbox`].

mod challenged;
mod dispatch;
mod guard;
pub mod inbox;
mod media;
mod publish;
mod qualify;
mod register;
mod requests;
mod run;
mod send;
#[cfg(test)]
mod simulation;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use strowger_media::attention::WatchId;
use strowger_media::ports::PortPool;
use strowger_media::{Command, LegId, LegStats, PlayId, RecorderId, RoomId};
use strowger_sip::transaction::{Branches, ClientId, Layer, ServerId};
use strowger_sip::{Flow, Message, Transport};
use tokio::sync::Notify;

use crate::call::quality;
use crate::channel::{Channel, ChannelId, PlayEnd, PlayState, RecorderResult, Watches};
use crate::counters::ShardCounters;
use crate::dialplan::Dialplan;
use crate::protect::CallPermit;
use crate::shared::Shared;
use crate::subscription::Subscriptions;
use crate::transport::stream;
use crate::transport::udp::Udp;
use inbox::{Inbox, ShardMessage};
use media::Media;

pub(crate) use challenged::Ways;
pub(crate) use dispatch::ALLOW;
pub(crate) use qualify::tell_binding;
pub use run::{RunningShard, ShardSetup, start};

/// Whose request a client transaction is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientUser {
    /// The INVITE (or re-INVITE) of a channel.
    Invite(ChannelId),
    /// A request in a channel's dialog whose answer matters: PRACK, UPDATE, re-INVITE.
    Dialog(ChannelId),
    /// Another request in a channel's dialog (BYE): only a challenge matters.
    InDialog,
    /// OPTIONS to a contact.
    Qualify,
    /// A registration of ours with another server.
    Register,
    /// A publication of ours at another exchange.
    Publish,
    /// NOTIFY of a subscription.
    Notify(u64),
}

type RecorderClosed = Box<dyn FnOnce(RecorderResult)>;

struct RecorderState {
    closed: RecorderClosed,
    silent: bool,
}

/// A core's signalling half.
pub struct Shard {
    index: usize,
    count: usize,
    shared: Arc<Shared>,
    counters: Arc<ShardCounters>,
    inbox: Arc<Inbox>,
    layer: RefCell<Layer>,
    branches: RefCell<Branches>,
    pumping: Cell<bool>,
    /// While set, sends wait for one common flush.
    batching: Cell<bool>,
    timer: Notify,
    timer_at: Cell<Option<Instant>>,
    udp: RefCell<Vec<Udp>>,
    connections: stream::Connections,
    /// Who accepts connections, by protocol and address.
    listeners: RefCell<FxHashMap<(Transport, SocketAddr), tokio::task::AbortHandle>>,
    media: RefCell<Media>,
    ports: RefCell<PortPool>,
    legs_max: usize,
    channels: RefCell<FxHashMap<ChannelId, Channel>>,
    names: RefCell<FxHashMap<Rc<str>, ChannelId>>,
    /// Channels that are over, kept while SIP may still have a word for them (RFC 6026: repeated 2xx).
    lingering: RefCell<FxHashMap<ChannelId, Channel>>,
    legs: RefCell<FxHashMap<LegId, ChannelId>>,
    with_media: RefCell<FxHashSet<LegId>>,
    /// Legs whose end was ordered and not yet told.
    closing: RefCell<FxHashSet<LegId>>,
    /// The channel that each leg was bridged with last.
    partners: RefCell<FxHashMap<LegId, ChannelId>>,
    dialogs: RefCell<FxHashMap<DialogKey, ChannelId>>,
    clients: RefCell<FxHashMap<ClientId, ClientUser>>,
    /// Requests in dialogs that may be challenged, with the auths that answer.
    challengeable: RefCell<FxHashMap<ClientId, challenged::Challengeable>>,
    /// Streams that refused bytes: their transactions fail when the current messages are done.
    broken_streams: RefCell<Vec<Flow>>,
    servers: RefCell<FxHashMap<ServerId, ChannelId>>,
    /// What counts the incoming calls of an address and of an endpoint.
    permits: RefCell<FxHashMap<ChannelId, CallPermit>>,
    ended_plays: RefCell<FxHashMap<PlayId, PlayState>>,
    pub(crate) watches: RefCell<Watches>,
    recorders: RefCell<FxHashMap<RecorderId, RecorderState>>,
    /// What records in the rooms of this shard.
    room_recorders: RefCell<FxHashMap<RoomId, RecorderId>>,
    qualification: RefCell<qualify::Qualification>,
    registering: RefCell<register::Registering>,
    publishing: RefCell<publish::Publishing>,
    subscriptions: RefCell<Subscriptions>,
    next_id: Cell<u64>,
    originating: Cell<usize>,
    messages_running: Cell<usize>,
    local_halves: Cell<usize>,
    video_ports: Cell<usize>,
    accept_tokens: Cell<(Instant, f64)>,
    /// When the message that is worked on was parsed.
    pub(crate) parsed_at: Cell<Instant>,
    dialplan: OnceCell<Rc<dyn Dialplan>>,
}

/// What tells the dialog of a request: Call-ID and our tag (RFC 3261 §12; the peer's tag is checked by the dialog).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DialogKey {
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
}

impl Shard {
    /// This shard's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What all shards share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// This shard's counters.
    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// The same, for a task of the control runtime.
    pub(crate) fn counters_handle(&self) -> Arc<ShardCounters> {
        Arc::clone(&self.counters)
    }

    /// The dialplan of this shard.
    ///
    /// # Panics
    /// Before the shard runs: the dialplan is set before its first message.
    pub fn dialplan(&self) -> Rc<dyn Dialplan> {
        Rc::clone(
            self.dialplan
                .get()
                .expect("the dialplan is made before the shard takes messages"),
        )
    }

    /// The channel of this shard with that name.
    pub fn channel_by_name(&self, name: &str) -> Option<Channel> {
        let id = *self.names.borrow().get(name)?;
        self.channel(id)
    }

    /// The channel of this shard with that unique id.
    pub fn channel_by_uniqueid(&self, uniqueid: &str) -> Option<Channel> {
        let channels = self.channels.borrow();
        channels
            .values()
            .find(|channel| *channel.uniqueid() == *uniqueid)
            .cloned()
    }

    /// All channels of this shard.
    pub fn channels(&self) -> Vec<Channel> {
        self.channels.borrow().values().cloned().collect()
    }

    /// A channel by its id; one that is over but still answers SIP is found too.
    pub(crate) fn channel(&self, id: ChannelId) -> Option<Channel> {
        let live = self.channels.borrow().get(&id).cloned();
        live.or_else(|| self.lingering.borrow().get(&id).cloned())
    }

    fn next(&self) -> u64 {
        let id = self.next_id.get() + 1;
        self.next_id.set(id);
        id
    }

    pub(crate) fn next_channel_id(&self) -> ChannelId {
        ChannelId(self.next())
    }

    pub(crate) fn next_play_id(&self) -> PlayId {
        PlayId(self.next())
    }

    pub(crate) fn next_watch_id(&self) -> WatchId {
        WatchId(self.next())
    }

    pub(crate) fn next_recorder_id(&self) -> RecorderId {
        RecorderId(self.next())
    }

    pub(crate) fn next_room_id(&self) -> RoomId {
        RoomId(self.next())
    }

    pub(crate) fn next_leg_id(&self) -> LegId {
        LegId(self.next())
    }

    pub(crate) fn tag(&self) -> String {
        self.branches.borrow_mut().tag()
    }

    pub(crate) fn branch(&self) -> String {
        self.branches.borrow_mut().branch()
    }

    /// A Call-ID that leads every shard to this one.
    pub(crate) fn call_id(&self) -> String {
        format!("s{}.{}", self.index, self.branches.borrow_mut().call_id())
    }

    pub(crate) fn connections(&self) -> &stream::Connections {
        &self.connections
    }

    pub(crate) fn ports(&self) -> std::cell::RefMut<'_, PortPool> {
        self.ports.borrow_mut()
    }

    /// Enters a channel. Of an incoming one subscribers have to be told then ([`Channel::tell_use`]).
    pub(crate) fn add_channel(&self, channel: &Channel, incoming: bool) {
        self.channels
            .borrow_mut()
            .insert(channel.id(), channel.clone());
        self.names.borrow_mut().insert(channel.name(), channel.id());
        self.shared.directory.enter(&channel.name(), self.index);
        if incoming {
            channel.note_use_untold();
        } else {
            channel.note_use();
        }
        self.shared.channel_created(incoming);
        channel.tell_new();
    }

    /// The subscriptions of this shard.
    pub(crate) fn subscriptions(&self) -> &RefCell<Subscriptions> {
        &self.subscriptions
    }

    /// The numbers of this shard's subscriptions, the oldest first.
    pub fn subscription_numbers(&self) -> Vec<u64> {
        self.subscriptions.borrow().numbers()
    }

    /// The subscriptions of these numbers that are there still, for people.
    pub fn listed_subscriptions(&self, numbers: &[u64]) -> Vec<crate::subscription::Listed> {
        self.subscriptions.borrow().listed(numbers)
    }

    /// What the tables of subscriptions hold: subscriptions, dialogs, devices, mailboxes and timers.
    pub fn subscription_tables(&self) -> [usize; 5] {
        self.subscriptions.borrow().sizes()
    }

    /// Halves of Local channels that somebody still holds.
    pub fn halves_of_local_channels(&self) -> usize {
        self.local_halves.get()
    }

    /// The same, to be counted in.
    pub(crate) fn local_halves(&self) -> &Cell<usize> {
        &self.local_halves
    }

    /// Pairs of ports that video has taken, to be counted in.
    pub(crate) fn video_ports(&self) -> &Cell<usize> {
        &self.video_ports
    }

    /// How many texts have their dialplan run on this shard.
    pub(crate) fn messages_running(&self) -> &Cell<usize> {
        &self.messages_running
    }

    /// How many calls this shard originates that nobody has answered.
    pub(crate) fn originating(&self) -> &Cell<usize> {
        &self.originating
    }

    /// Forgets a channel that is over and whose dialplan has ended.
    pub(crate) fn remove_channel(&self, channel: &Channel) {
        if self.channels.borrow_mut().remove(&channel.id()).is_none() {
            return;
        }
        self.names.borrow_mut().remove(&channel.name());
        self.permits.borrow_mut().remove(&channel.id());
        self.shared.directory.leave(&channel.name());
        self.shared.channel_destroyed();
        channel.tell_gone();
        self.counters.calls_ended.add(1);
        if channel.has_open_transactions() {
            self.lingering
                .borrow_mut()
                .insert(channel.id(), channel.clone());
        }
    }

    /// SIP has nothing more to say to this channel.
    pub(crate) fn forget_lingering(&self, id: ChannelId) {
        let gone = self.lingering.borrow_mut().remove(&id);
        if let Some(key) = gone.and_then(|channel| channel.session().as_mut()?.key.take()) {
            self.unmap_dialog(&key);
        }
    }

    /// Requests of calls (not probes) that have no final response yet.
    fn has_open_requests(&self) -> bool {
        let waits = |channel: Channel| {
            let session = channel.session();
            let outgoing = session.as_ref().and_then(|s| s.outgoing.as_ref());
            outgoing.is_some_and(|outgoing| !outgoing.settled)
        };
        self.clients.borrow().values().any(|user| match user {
            ClientUser::InDialog | ClientUser::Notify(_) => true,
            // A transaction stays for repeated 2xx long after its answer (RFC 6026): nobody waits for those here.
            ClientUser::Invite(id) => self.channel(*id).is_some_and(waits),
            ClientUser::Dialog(_)
            | ClientUser::Qualify
            | ClientUser::Register
            | ClientUser::Publish => false,
        }) || self.is_leaving_registrars()
            || self.is_leaving_publications()
    }

    pub(crate) fn is_client_open(&self, id: ClientId) -> bool {
        self.clients.borrow().contains_key(&id)
    }

    /// Channels that are over but still answer SIP.
    pub fn lingering(&self) -> usize {
        self.lingering.borrow().len()
    }

    fn media_closed(&self, leg: LegId, stats: Box<LegStats>) {
        let owner = self.legs.borrow().get(&leg).copied();
        self.unmap_leg(leg);
        // What went through a wire inside says nothing about any network, also where its channel is gone already.
        if stats.inside {
            self.partners.borrow_mut().remove(&leg);
            if let Some(half) = owner.and_then(|id| self.channel(id)) {
                half.set_stats(stats);
            }
            return;
        }
        self.shared.quality.leg_ended(&stats);
        let partner = self.partners.borrow_mut().remove(&leg);
        self.counters
            .rtp_packets_received
            .add(stats.packets_received);
        self.counters.rtp_packets_sent.add(stats.packets_sent);
        self.counters.rtp_packets_lost.add(stats.lost);
        let partner = partner.and_then(|id| self.channel(id));
        let own = owner.and_then(|id| self.channel(id));
        quality::set_variables(own.as_ref(), partner.as_ref(), &stats);
        if let Some(partner) = partner {
            partner.touch();
        }
        if let Some(channel) = own {
            channel.set_stats(stats);
        }
    }

    /// Who hears how this leg sounded when it ends: the channel it was bridged with last.
    pub(crate) fn set_partner(&self, leg: LegId, channel: ChannelId) {
        self.partners.borrow_mut().insert(leg, channel);
    }

    /// The leg is told to close, and has not said yet how it ended.
    pub(crate) fn is_closing(&self, leg: LegId) -> bool {
        self.closing.borrow().contains(&leg)
    }

    pub(crate) fn closes(&self, leg: LegId) {
        if self.legs.borrow().contains_key(&leg) {
            self.closing.borrow_mut().insert(leg);
        }
    }

    // Media.

    /// Sends a command to the media thread; false (and counted) if its queue is full.
    pub(crate) fn media_send(&self, command: Command) -> bool {
        let sent = self.media.borrow_mut().send(command).is_ok();
        if !sent {
            self.counters.media_commands_full.add(1);
        }
        sent
    }

    /// Whether the media thread of this shard runs.
    pub(crate) fn media_runs(&self) -> bool {
        self.media.borrow().is_running()
    }

    /// The media thread has ended, which it never does while the shard runs unless its ring failed or by a fault: the
    /// calls of this shard cannot be heard any more, and no new one is taken until the exchange is started anew.
    fn media_ended(self: &Rc<Self>) {
        tracing::error!(
            shard = self.index,
            "the media thread has ended: the calls of this shard are over and it takes no more; restart the exchange"
        );
        self.counters.media_threads_ended.add(1);
        // What waits for the last words of a leg waits no longer.
        self.closing.borrow_mut().clear();
        for channel in self.channels() {
            channel.hangup(crate::channel::Cause::NETWORK_OUT_OF_ORDER);
        }
    }

    pub(crate) fn map_leg(&self, leg: LegId, channel: ChannelId) {
        self.legs.borrow_mut().insert(leg, channel);
    }

    pub(crate) fn unmap_leg(&self, leg: LegId) {
        self.legs.borrow_mut().remove(&leg);
        self.with_media.borrow_mut().remove(&leg);
        self.closing.borrow_mut().remove(&leg);
    }

    /// True once a packet arrived from the channel's far end; a Local channel waits for none.
    pub(crate) fn has_media(&self, channel: &Channel) -> bool {
        let heard = |leg| self.with_media.borrow().contains(&leg);
        channel.is_local() || channel.leg().is_some_and(heard)
    }

    pub(crate) fn expect_play(&self, play: PlayId) {
        self.ended_plays
            .borrow_mut()
            .insert(play, PlayState::default());
    }

    /// How an expected play ended; `None` while it goes on.
    pub(crate) fn play_ended(&self, play: PlayId) -> Option<PlayEnd> {
        match self.ended_plays.borrow().get(&play) {
            Some(state) => state.ended(),
            None => Some(PlayEnd::default()),
        }
    }

    pub(crate) fn play_stopped_by(&self, play: PlayId, key: char) {
        if let Some(state) = self.ended_plays.borrow_mut().get_mut(&play) {
            state.set_stopped_by(key);
        }
    }

    pub(crate) fn forget_play(&self, play: PlayId) {
        self.ended_plays.borrow_mut().remove(&play);
    }

    pub(crate) fn expect_recorder(&self, recorder: RecorderId, closed: RecorderClosed) {
        self.recorders.borrow_mut().insert(
            recorder,
            RecorderState {
                closed,
                silent: false,
            },
        );
    }

    pub(crate) fn forget_recorder(&self, recorder: RecorderId) {
        self.recorders.borrow_mut().remove(&recorder);
    }

    pub(crate) fn recorder_silent(&self, recorder: RecorderId) -> bool {
        self.recorders
            .borrow()
            .get(&recorder)
            .is_some_and(|state| state.silent)
    }

    /// Notes what records in a room, and gives what did so before.
    pub(crate) fn set_room_recorder(
        &self,
        room: RoomId,
        recorder: Option<RecorderId>,
    ) -> Option<RecorderId> {
        let mut recorders = self.room_recorders.borrow_mut();
        match recorder {
            Some(recorder) => recorders.insert(room, recorder),
            None => recorders.remove(&room),
        }
    }

    // Dialogs and transactions.

    pub(crate) fn map_dialog(&self, key: DialogKey, channel: ChannelId) {
        self.dialogs.borrow_mut().insert(key, channel);
    }

    pub(crate) fn unmap_dialog(&self, key: &DialogKey) {
        self.dialogs.borrow_mut().remove(key);
    }

    /// The channel whose dialog this is.
    pub(crate) fn channel_of_dialog(&self, key: &DialogKey) -> Option<Channel> {
        let id = *self.dialogs.borrow().get(key)?;
        self.channel(id)
    }

    /// The shard that calls of this Call-ID belong to.
    pub(crate) fn owner_of(&self, call_id: &[u8]) -> usize {
        dispatch::owner_of(call_id, self.count)
    }

    pub(crate) fn map_server(&self, id: ServerId, channel: ChannelId) {
        self.servers.borrow_mut().insert(id, channel);
    }

    /// Sends a request in a transaction.
    pub(crate) fn request(
        self: &Rc<Self>,
        message: Message,
        flow: Flow,
        user: ClientUser,
    ) -> Option<ClientId> {
        let result = self
            .layer
            .borrow_mut()
            .request(crate::clock::now(), message, flow);
        match result {
            Ok(id) => {
                self.clients.borrow_mut().insert(id, user);
                self.pump();
                Some(id)
            }
            Err(error) => {
                tracing::warn!(%error, remote = %flow.remote, "request not sent");
                None
            }
        }
    }

    /// True when no further media leg can be opened.
    pub(crate) fn legs_exhausted(&self) -> bool {
        // Halves of Local channels have legs, but no ports.
        let sockets = self
            .legs
            .borrow()
            .len()
            .saturating_sub(self.local_halves().get())
            + self.video_ports.get();
        !self.has_room_for_legs(1) || sockets >= self.ports.borrow().pairs()
    }

    /// Has the media thread room for so many legs more?
    pub(crate) fn has_room_for_legs(&self, more: usize) -> bool {
        // A pair of ports for video is held here and by who passes its packets on: as many descriptors as two legs.
        self.legs.borrow().len() + self.video_ports.get() * 2 + more <= self.legs_max
    }

    /// Gives up an INVITE of ours; false if there is nothing to cancel any more.
    pub(crate) fn cancel(self: &Rc<Self>, id: ClientId, reason: Option<&str>) -> bool {
        let cancelled = self
            .layer
            .borrow_mut()
            .cancel(crate::clock::now(), id, reason);
        self.pump();
        cancelled
    }

    /// Sends a response.
    pub(crate) fn respond(self: &Rc<Self>, id: ServerId, response: Message) -> bool {
        let sent = self
            .layer
            .borrow_mut()
            .respond(crate::clock::now(), id, response);
        self.pump();
        sent
    }

    /// Sends a message outside transactions (the ACK of a 2xx).
    pub(crate) fn send_plain(self: &Rc<Self>, message: &Message, flow: Flow) {
        self.layer.borrow_mut().send(message, flow);
        self.pump();
    }

    pub(crate) fn reply_to_source(&self, id: ServerId) {
        self.layer.borrow_mut().reply_to_source(id);
    }

    /// A connection ended.
    ///
    /// `used` says whether a message ever came or went over it: others need not hear of the rest.
    pub(crate) fn stream_closed(self: &Rc<Self>, flow: Flow, used: bool) {
        if !used {
            return;
        }
        for (index, inbox) in self.shared.inboxes().iter().enumerate() {
            if index != self.index {
                // A full inbox only means that the other shard learns it from its timers.
                let _ = inbox.send(ShardMessage::StreamClosed { flow });
            }
        }
        self.transport_failed(flow);
    }

    /// Whether a call or subscription here goes by this connection.
    pub(crate) fn uses(&self, connection: u64) -> bool {
        let by_it = |channel: &Channel| {
            let session = channel.session();
            !channel.is_over()
                && session
                    .as_ref()
                    .is_some_and(|session| session.flow.connection == connection)
        };
        self.channels.borrow().values().any(by_it) || self.subscriptions().borrow().uses(connection)
    }

    fn transport_failed(self: &Rc<Self>, flow: Flow) {
        self.guarded("broken connection", |shard| {
            shard.registrar_connection_lost(&flow);
            shard
                .layer
                .borrow_mut()
                .transport_failed(crate::clock::now(), &flow);
            shard.pump();
        });
    }

    /// One incoming call more: false if the configured rate is used up.
    fn take_call_token(&self) -> bool {
        let rate = f64::from(self.shared.config.limits.calls_per_second);
        if rate == 0.0 {
            return true;
        }
        let rate = (rate / self.count as f64).max(1.0);
        let (at, tokens) = self.accept_tokens.get();
        let now = crate::clock::now();
        let tokens = (tokens + now.duration_since(at).as_secs_f64() * rate).min(rate);
        let enough = tokens >= 1.0;
        self.accept_tokens
            .set((now, if enough { tokens - 1.0 } else { tokens }));
        enough
    }

    /// T1-based settings of the transactions.
    pub(crate) fn timers(&self) -> strowger_sip::transaction::Timers {
        self.layer.borrow().timers().clone()
    }

    /// Runs `future` on this shard's thread.
    pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(future);
    }

    /// Waits for the next time the transactions need attention, for ever.
    async fn run_timers(self: Rc<Self>) {
        loop {
            let at = self.layer.borrow().next_timeout();
            self.timer_at.set(at);
            match at {
                None => self.timer.notified().await,
                Some(at) => {
                    if tokio::time::timeout_at(at.into(), self.timer.notified())
                        .await
                        .is_ok()
                    {
                        continue;
                    }
                    self.guarded("timers", |shard| {
                        shard.layer.borrow_mut().handle_timeout(crate::clock::now());
                        shard.pump();
                    });
                    self.flush();
                }
            }
        }
    }

    fn rearm_timer(&self) {
        let next = self.layer.borrow().next_timeout();
        let earlier = match (next, self.timer_at.get()) {
            (Some(next), Some(set)) => next + Duration::from_millis(1) < set,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier {
            self.timer_at.set(next);
            self.timer.notify_one();
        }
    }
}
