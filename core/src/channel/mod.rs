//! One leg of a call: its state, place in the dialplan, variables and identities, and the primitives that applications
//! are made of (answer, wait, digits, play, record, dial, bridge). Everything here belongs to one shard and one
//! thread; nothing outside the shard holds a [`Channel`], only its name or id. SIP lives in `call::session`, packets
//! in the media engine.

mod acts;
mod cause;
mod data;
mod directory;
mod listening;
mod loudness;
mod party;
mod playing;
mod primitives;
mod seize;
mod told;
mod variables;

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use strowger_media::LegId;
use strowger_store::Endpoint;
use tokio::sync::Notify;

pub use acts::{Described, Talk};
pub use cause::{Cause, refusal};
pub use data::{Bridging, Data, DialProgress, LegEnd, Location, State, Timeouts};
pub use directory::{Directory, GROUPS_MAX, LOCKS_MAX, Locked};
pub use listening::{Listening, Tapped};
pub(crate) use listening::{TalkDetection, Watches};
pub(crate) use loudness::Loudness;
pub use loudness::{Direction, VOLUME_MAX};
pub use party::{Party, Presentation, Redirecting};
pub use playing::{Controlled, PlayKeys};
pub(crate) use playing::{PlayEnd, PlayState};
pub use primitives::{Interrupt, Played, RecordError, RecorderResult, RecorderSpec};
pub use seize::{Afterwards, Seized, Yank};
pub(crate) use told::Dialling;
pub use variables::{GlobalVariables, Inheritance, VALUE_BYTES_MAX, VARIABLES_MAX, Variables};

use crate::call::local::Half;
use crate::call::media::MediaSession;
use crate::call::session::Session;
use crate::device::{DeviceUse, Use};
use crate::shard::Shard;

/// Identifies a channel within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u64);

/// A handle to a channel. Cheap to clone; lives on its shard's thread.
#[derive(Clone)]
pub struct Channel(Rc<Inner>);

struct Inner {
    id: ChannelId,
    shard: Rc<Shard>,
    name: Rc<str>,
    uniqueid: Rc<str>,
    endpoint: Option<Arc<Endpoint>>,
    leg: Cell<Option<LegId>>,
    data: RefCell<Data>,
    session: RefCell<Option<Session>>,
    half: RefCell<Option<Half>>,
    changed: Rc<Notify>,
    watcher: RefCell<Option<Rc<Notify>>>,
    device: DeviceUse,
    told: RefCell<Option<told::Told>>,
}

impl Channel {
    pub(crate) fn new(
        shard: &Rc<Shard>,
        name: String,
        uniqueid: String,
        endpoint: Option<Arc<Endpoint>>,
        data: Data,
    ) -> Self {
        let device = shard.shared().devices.user(&name);
        Self(Rc::new(Inner {
            id: shard.next_channel_id(),
            shard: Rc::clone(shard),
            name: name.into(),
            uniqueid: uniqueid.into(),
            endpoint,
            leg: Cell::new(None),
            data: RefCell::new(data),
            session: RefCell::new(None),
            half: RefCell::new(None),
            changed: Rc::new(Notify::new()),
            watcher: RefCell::new(None),
            device,
            told: RefCell::new(None),
        }))
    }

    /// A channel of nobody, for functions that need none: no shard knows it, nobody is told of it, and it ends with this.
    pub fn surrogate(shard: &Rc<Shard>) -> Self {
        let data = Data::new(State::Down, Location::new("default", "s", 1), String::new());
        Self::new(shard, "Surrogate/0".to_owned(), String::new(), None, data)
    }

    /// Is it one of nobody?
    pub(crate) fn is_surrogate(&self) -> bool {
        self.0.uniqueid.is_empty()
    }

    /// The shard-local id.
    pub fn id(&self) -> ChannelId {
        self.0.id
    }

    /// The shard that owns this channel.
    pub fn shard(&self) -> &Rc<Shard> {
        &self.0.shard
    }

    /// `PJSIP/<endpoint>-%08x`, `Local/<exten>@<context>-%08x;1`.
    pub fn name(&self) -> Rc<str> {
        Rc::clone(&self.0.name)
    }

    /// `<epoch seconds>.<counter>`.
    pub fn uniqueid(&self) -> Rc<str> {
        Rc::clone(&self.0.uniqueid)
    }

    /// The endpoint behind this channel.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.0.endpoint.as_ref()
    }

    /// Reads the channel's data. Never hold the guard across an await.
    pub fn data(&self) -> Ref<'_, Data> {
        self.0.data.borrow()
    }

    /// Changes the channel's data. Never hold the guard across an await.
    pub fn data_mut(&self) -> RefMut<'_, Data> {
        self.0.data.borrow_mut()
    }

    /// The media leg, while there is one.
    pub fn leg(&self) -> Option<LegId> {
        self.0.leg.get()
    }

    pub(crate) fn set_leg(&self, leg: Option<LegId>) {
        self.0.leg.set(leg);
    }

    pub(crate) fn session(&self) -> RefMut<'_, Option<Session>> {
        self.0.session.borrow_mut()
    }

    pub(crate) fn half(&self) -> RefMut<'_, Option<Half>> {
        self.0.half.borrow_mut()
    }

    /// Is the media of the far end encrypted?
    pub fn has_secure_media(&self) -> bool {
        let session = self.session();
        let media = session.as_ref().and_then(|session| session.media.as_ref());
        media.is_some_and(MediaSession::is_secure)
    }

    /// Do messages of this channel's dialog travel through TLS?
    pub fn has_secure_signaling(&self) -> bool {
        let session = self.session();
        session
            .as_ref()
            .is_some_and(|session| session.flow.transport.is_secure())
    }

    /// The channel's state.
    pub fn state(&self) -> State {
        self.data().state
    }

    /// True once answered.
    pub fn is_up(&self) -> bool {
        self.state() == State::Up
    }

    /// Where in the dialplan the channel is.
    pub fn location(&self) -> Location {
        self.data().location.clone()
    }

    /// Moves the channel in the dialplan; the run loop reads it after each step.
    pub fn set_location(&self, location: Location) {
        self.data_mut().location = location;
    }

    /// Notes the application about to run and its substituted data (CDR `lastapp`/`lastdata`, status displays).
    pub fn set_application(&self, application: &str, data: &str) {
        let mut this = self.data_mut();
        application.clone_into(&mut this.application);
        data.clone_into(&mut this.application_data);
        if !this.cdr.is_closed() {
            this.cdr.set_last(application, data);
        }
        if let Some(at) = this.invited_at.take() {
            let counters = self.0.shard.counters();
            counters.dialplan_entries.add(1);
            let ns = u64::try_from(crate::clock::since(at).as_nanos()).unwrap_or(u64::MAX);
            counters.dialplan_entry_ns.add(ns);
        }
    }

    /// A channel variable (not a global one).
    pub fn variable(&self, name: &str) -> Option<String> {
        self.data().variables.get(name).map(str::to_owned)
    }

    /// What the dialplan set by `CHANNEL(item)` and nobody but who uses it keeps (`callgroup`, `parkinglot`).
    pub fn setting(&self, item: &str) -> Option<String> {
        self.variable(&setting_variable(item))
            .filter(|value| !value.is_empty())
    }

    /// Sets a channel variable; `_NAME` and `__NAME` make it inherited.
    pub fn set_variable(&self, name: &str, value: &str) {
        if !self.data_mut().variables.set(name, value) {
            self.0.shard.counters().variables_refused.add(1);
            tracing::warn!(channel = %self.0.name, name, "variable refused: the channel has {VARIABLES_MAX} already");
            return;
        }
        self.tell_variable(name, value);
    }

    /// Wakes whoever waits for a change of this channel.
    pub(crate) fn touch(&self) {
        self.note_use();
        self.tell_changes();
        self.0.changed.notify_waiters();
        if let Some(watcher) = &*self.0.watcher.borrow() {
            watcher.notify_waiters();
        }
    }

    /// Counts the channel in the state of its device.
    pub(crate) fn note_use(&self) {
        let now = self.use_now();
        if now == Use::Ringing {
            self.0
                .device
                .called_by(|| self.data().connected.as_caller());
        }
        self.0.device.set(now);
    }

    /// The same for a caller whose dialplan is about to begin: subscribers are told by [`Self::tell_use`] afterwards. To
    /// wake the thread that tells them takes longer than anything else on the way to the first application.
    pub(crate) fn note_use_untold(&self) {
        self.0.device.count(self.use_now());
    }

    pub(crate) fn tell_use(&self) {
        self.0.device.tell();
    }

    fn use_now(&self) -> Use {
        let data = self.data();
        match data.state {
            _ if data.ended.is_some() => Use::None,
            State::Up if data.held => Use::Holding,
            State::Up | State::Ring | State::Dialing => Use::Talking,
            State::Ringing => Use::Ringing,
            State::Busy => Use::Busy,
            State::Down => Use::None,
        }
    }

    /// Lets changes of this channel wake `other`'s waiters too (a caller watching the legs it dialled).
    pub(crate) fn watched_by(&self, other: Option<&Self>) {
        *self.0.watcher.borrow_mut() = other.map(|channel| Rc::clone(&channel.0.changed));
    }

    pub(crate) fn changed(&self) -> &Rc<Notify> {
        &self.0.changed
    }
}

/// The variable in which a setting of a channel is kept.
pub fn setting_variable(item: &str) -> String {
    format!("~CHANNEL~{item}")
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Channel").field(&self.0.name).finish()
    }
}
