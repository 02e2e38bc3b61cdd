//! What happens, for programs that watch the exchange: one stream for the process, which costs nothing while nobody listens.
//! Who reads too slowly loses the oldest events and is told how many. Here live the stream and the fields that tell of a
//! channel; never the protocols that carry events outside.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};

use crate::channel::{Channel, State};
use crate::counters::Counter;

/// Events kept for slow readers.
pub const QUEUE_MAX: usize = 4096;
/// Bytes of events kept for slow readers; from half of it on readers are cut off.
pub const WAITING_BYTES_MAX: usize = 32 << 20;
/// An event of more bytes is large: it can wait until there is room.
const LARGE_BYTES: usize = 8 << 10;
/// Events on their way to the task that passes them on.
const PASSING_MAX: usize = 65_536;
/// Events that it passes on in one turn: no more than who listens can hold.
const PASSED_MAX: usize = QUEUE_MAX / 8;
/// From one turn to the next: so often those who listen are woken at most.
const TURN: Duration = Duration::from_millis(10);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub name: &'static str,
    /// In the order in which they are told.
    pub fields: Vec<(Cow<'static, str>, String)>,
}

/// A bridge as events tell of it.
#[derive(Clone, Copy, Debug)]
pub struct BridgeBlock<'a> {
    pub id: &'a str,
    /// `basic`, `base`.
    pub kind: &'static str,
    /// `simple_bridge`, `softmix`.
    pub technology: &'static str,
    /// Empty where nobody in particular made it.
    pub creator: &'a str,
    pub name: &'a str,
    /// Channels in it at this moment.
    pub channels: usize,
}

impl Event {
    /// An event that nothing is said of yet.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            fields: Vec::new(),
        }
    }

    /// An event of a channel, which its first fields describe.
    pub fn of(name: &'static str, channel: &Channel) -> Self {
        Self::new(name).channel("", channel)
    }

    /// The same with the description of another channel behind, its names behind a prefix (`Dest`).
    #[must_use]
    pub fn channel(self, prefix: &str, channel: &Channel) -> Self {
        self.described(prefix, &channel_fields(channel))
    }

    /// The same with the description of a channel behind that was taken where the channel is.
    #[must_use]
    pub fn described(mut self, prefix: &str, channel: &[(&'static str, String)]) -> Self {
        let fields = channel.iter();
        let named = fields.map(|(name, value)| (prefixed(prefix, name), value.clone()));
        self.fields.extend(named);
        self
    }

    /// The same with the description of a bridge behind, its names behind a prefix.
    #[must_use]
    pub fn bridge(mut self, prefix: &str, bridge: BridgeBlock<'_>) -> Self {
        for (name, value) in [
            ("BridgeUniqueid", bridge.id.to_owned()),
            ("BridgeType", bridge.kind.to_owned()),
            ("BridgeTechnology", bridge.technology.to_owned()),
            ("BridgeCreator", known(bridge.creator)),
            ("BridgeName", known(bridge.name)),
            ("BridgeNumChannels", bridge.channels.to_string()),
            ("BridgeVideoSourceMode", "none".to_owned()),
        ] {
            self.fields.push((prefixed(prefix, name), value));
        }
        self
    }

    /// The same with another field behind the others.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Memory that it takes, roughly.
    pub fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        fields
            .map(|(name, value)| name.len() + value.len() + 64)
            .sum()
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

fn prefixed(prefix: &str, name: &'static str) -> Cow<'static, str> {
    if prefix.is_empty() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{prefix}{name}"))
    }
}

/// A text that may be missing.
#[must_use]
pub fn known(text: &str) -> String {
    if text.is_empty() {
        "<unknown>".to_owned()
    } else {
        escape(text)
    }
}

/// A text for one line, written as in C: whoever reads events reads lines.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The same with the variables that are told of every channel (`channelvars`).
pub fn channel_fields(channel: &Channel) -> Vec<(&'static str, String)> {
    let mut fields: Vec<_> = channel_block(channel).into();
    let shared = channel.shard().shared();
    for variable in shared.events.channel_variables.load().iter() {
        let value = channel.variable(variable).unwrap_or_default();
        fields.push(("ChanVariable", format!("{variable}={value}")));
    }
    fields
}

/// What lists and events say of a channel, in this order.
pub fn channel_block(channel: &Channel) -> [(&'static str, String); 14] {
    let data = channel.data();
    [
        ("Channel", channel.name().to_string()),
        ("ChannelState", (data.state as u8).to_string()),
        ("ChannelStateDesc", describe(data.state).to_owned()),
        ("CallerIDNum", known(&data.caller.number)),
        ("CallerIDName", known(&data.caller.name)),
        ("ConnectedLineNum", known(&data.connected.number)),
        ("ConnectedLineName", known(&data.connected.name)),
        ("Language", data.language.clone()),
        ("AccountCode", data.accountcode.clone()),
        ("Context", data.location.context.clone()),
        ("Exten", data.location.exten.clone()),
        ("Priority", data.location.priority.to_string()),
        ("Uniqueid", channel.uniqueid().to_string()),
        ("Linkedid", data.linkedid.clone()),
    ]
}

/// The state as the Manager words it.
fn describe(state: State) -> &'static str {
    match state {
        State::Down => "Down",
        State::Dialing => "Dialing",
        State::Ring => "Ring",
        State::Ringing => "Ringing",
        State::Up => "Up",
        State::Busy => "Busy",
    }
}

/// An event as its listeners get it.
#[derive(Debug)]
pub struct Told {
    event: Arc<Event>,
    /// When it happened.
    pub at: SystemTime,
    /// What it counts for while somebody has yet to read it.
    held: Option<Held>,
    /// Its text in the form that most of its readers want, with what that form depends on: written by the first of them.
    pub written: OnceLock<(bool, Arc<str>)>,
}

impl Told {
    /// An event for one listener, which nobody else hears of.
    #[must_use]
    pub fn only_here(event: Event) -> Self {
        Self {
            event: Arc::new(event),
            at: SystemTime::now(),
            held: None,
            written: OnceLock::new(),
        }
    }

    /// The event alone, for who keeps it longer: it no longer counts as unread.
    #[must_use]
    pub fn event(&self) -> Arc<Event> {
        Arc::clone(&self.event)
    }
}

impl Deref for Told {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

/// Bytes that wait for listeners, until the last has read them.
#[derive(Debug)]
struct Held {
    bytes: usize,
    /// Bytes told before it.
    before: u64,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The stream of events of this process.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<Arc<Told>>,
    /// The way there of a task that wakes those who listen, so that nobody who tells does.
    passing: OnceLock<mpsc::Sender<Arc<Told>>>,
    listeners: Arc<AtomicUsize>,
    /// Bytes of events that somebody has yet to read.
    waiting: Arc<AtomicUsize>,
    /// Bytes told so far.
    bytes: AtomicU64,
    /// Whoever has yet to read what was told before so many bytes has fallen too far behind.
    floor: Arc<AtomicU64>,
    /// How often somebody began to listen when nobody did.
    era: AtomicU64,
    /// Variables that each description of a channel ends with (`channelvars` of manager.conf).
    pub channel_variables: ArcSwap<Vec<String>>,
    /// Events told to at least one listener.
    pub told: Counter,
    /// Large events that were not told because too much waited already.
    pub refused: Counter,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(QUEUE_MAX),
            passing: OnceLock::new(),
            listeners: Arc::default(),
            waiting: Arc::default(),
            bytes: AtomicU64::default(),
            floor: Arc::default(),
            era: AtomicU64::default(),
            channel_variables: ArcSwap::default(),
            told: Counter::default(),
            refused: Counter::default(),
        }
    }
}

/// Somebody who listens, as long as this lives.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<Told>>,
    listeners: Arc<AtomicUsize>,
    floor: Arc<AtomicU64>,
    /// Bytes that were told before it began to listen.
    since: u64,
    /// The same, or those before what it read last.
    read: u64,
}

impl Listener {
    /// The next event, as soon as there is one.
    ///
    /// # Errors
    /// Events were lost to this listener, which is of no use any more; or the stream ended.
    pub async fn recv(&mut self) -> Result<Arc<Told>, RecvError> {
        loop {
            let told = self.receiver.recv().await?;
            if !self.is_old(&told) {
                return self.take(told).map_err(RecvError::Lagged);
            }
        }
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// There is none, or as [`Self::recv`].
    pub fn try_recv(&mut self) -> Result<Arc<Told>, TryRecvError> {
        loop {
            let told = self.receiver.try_recv()?;
            if !self.is_old(&told) {
                return self.take(told).map_err(TryRecvError::Lagged);
            }
        }
    }

    /// Was it on its way already when this began to listen?
    fn is_old(&self, told: &Told) -> bool {
        let held = told.held.as_ref();
        held.is_some_and(|held| held.before < self.since)
    }

    fn take(&mut self, told: Arc<Told>) -> Result<Arc<Told>, u64> {
        self.read = told.held.as_ref().map_or(self.read, |held| held.before);
        if self.read < self.floor.load(Ordering::Relaxed) {
            return Err(self.receiver.len() as u64 + 1);
        }
        Ok(told)
    }

    /// Has it fallen so far behind that it would be told nothing more?
    pub fn is_cut_off(&self) -> bool {
        // It has read all that there is where its queue is empty.
        self.read < self.floor.load(Ordering::Relaxed) && !self.receiver.is_empty()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Events {
    /// Listens from now on.
    pub fn subscribe(&self) -> Listener {
        let receiver = self.sender.subscribe();
        if self.listeners.fetch_add(1, Ordering::Relaxed) == 0 {
            self.era.fetch_add(1, Ordering::Relaxed);
        }
        let since = self.bytes.load(Ordering::Relaxed);
        Listener {
            receiver,
            listeners: Arc::clone(&self.listeners),
            floor: Arc::clone(&self.floor),
            since,
            read: since,
        }
    }

    /// From now on a task of this runtime wakes those who listen, for many events at a time: a shard that tells something wakes
    /// that task at most, however many listen. The first event after a pause is passed on at once, others within [`TURN`].
    pub(crate) fn pass_on(&self, control: &Handle) {
        let (passing, mut waiting) = mpsc::channel(PASSING_MAX);
        if self.passing.set(passing).is_err() {
            return;
        }
        let sender = self.sender.clone();
        control.spawn(async move {
            while let Some(told) = waiting.recv().await {
                // Nobody listens any more: then nobody misses it.
                let _ = sender.send(told);
                for _ in 1..PASSED_MAX {
                    let Ok(told) = waiting.try_recv() else {
                        break;
                    };
                    let _ = sender.send(told);
                }
                tokio::time::sleep(TURN).await;
            }
        });
    }

    /// Grows whenever somebody begins to listen when nobody did: what was told before that is no longer what is known.
    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::Relaxed)
    }

    /// Does anybody listen?
    #[inline]
    pub fn are_heard(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells what happened; it is put together only if somebody listens. Whoever leaves too many bytes unread is cut off from
    /// the stream, and until his are gone large events are refused.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if !self.are_heard() {
            return;
        }
        let event = event();
        let bytes = event.bytes();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let told = Told {
            event: Arc::new(event),
            at: SystemTime::now(),
            held: Some(Held {
                bytes,
                before,
                waiting: Arc::clone(&self.waiting),
            }),
            written: OnceLock::new(),
        };
        if waiting > WAITING_BYTES_MAX {
            self.refused.add(1);
            return;
        }
        if waiting > WAITING_BYTES_MAX / 2 {
            // Who is only a little behind is not the one who holds all this.
            let floor = before.saturating_sub(WAITING_BYTES_MAX as u64 / 4);
            self.floor.fetch_max(floor, Ordering::Relaxed);
            if bytes > LARGE_BYTES {
                self.refused.add(1);
                return;
            }
        }
        let told = Arc::new(told);
        let Some(passing) = self.passing.get() else {
            if self.sender.send(told).is_ok() {
                self.told.add(1);
            }
            return;
        };
        if passing.try_send(told).is_ok() {
            self.told.add(1);
        } else {
            self.refused.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event::new("UserEvent").with("Number", number.to_string())
    }

    #[test]
    fn events_arrive_in_order_and_a_slow_reader_learns_what_it_missed() {
        let events = Events::default();
        events.tell(|| panic!("nobody listens"));
        let mut reader = events.subscribe();
        for number in 0..3 {
            events.tell(|| event(number));
        }
        for number in 0..3 {
            let told = reader.try_recv().expect("an event");
            assert_eq!(told.field("Number"), Some(number.to_string().as_str()));
        }
        for number in 0..QUEUE_MAX + 7 {
            events.tell(|| event(number));
        }
        let lost = reader.try_recv().map(drop);
        assert_eq!(lost, Err(TryRecvError::Lagged(7)));
        assert_eq!(events.told.get(), QUEUE_MAX as u64 + 10);
        drop(reader);
        events.tell(|| panic!("nobody listens any more"));
    }

    #[test]
    fn events_that_nobody_reads_have_a_limit_in_bytes_and_who_reads_loses_nothing_that_was_told() {
        let events = Events::default();
        let mut slow = events.subscribe();
        let mut reader = events.subscribe();
        let large = || event(0).with("Filling", "x".repeat(100_000));
        let mut got = 0;
        for _ in 0..1000 {
            events.tell(large);
            while reader.try_recv().is_ok() {
                got += 1;
            }
        }
        assert!(events.waiting.load(Ordering::Relaxed) <= WAITING_BYTES_MAX);
        assert_eq!(got + events.refused.get(), 1000);
        assert!(got > 100 && events.refused.get() > 0);
        assert!(slow.is_cut_off() && !reader.is_cut_off());
        // What is small is told still.
        events.tell(|| event(1));
        assert!(reader.try_recv().is_ok());
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(_))));
        drop(slow);
        assert_eq!(events.waiting.load(Ordering::Relaxed), 0);
        events.tell(large);
        assert!(reader.try_recv().is_ok());
    }

    #[tokio::test]
    async fn events_that_are_passed_on_keep_their_order_and_whoever_comes_later_hears_of_later_ones_only()
     {
        let events = Events::default();
        events.pass_on(&Handle::current());
        let mut first = events.subscribe();
        for number in 0..3 * PASSED_MAX {
            events.tell(|| event(number));
        }
        // What was told is on its way still.
        let mut second = events.subscribe();
        events.tell(|| event(7));
        for number in 0..3 * PASSED_MAX {
            let told = first.recv().await.expect("an event");
            assert_eq!(told.field("Number"), Some(number.to_string().as_str()));
        }
        for listener in [&mut first, &mut second] {
            let told = listener.recv().await.expect("an event");
            assert_eq!(told.field("Number"), Some("7"));
        }
        assert_eq!(events.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(events.told.get(), 3 * PASSED_MAX as u64 + 1);
    }

    #[test]
    fn an_event_has_the_time_at_which_it_was_told() {
        let events = Events::default();
        let mut reader = events.subscribe();
        let before = SystemTime::now();
        events.tell(|| event(1));
        let after = SystemTime::now();
        std::thread::sleep(Duration::from_millis(20));
        let told = reader.try_recv().expect("an event");
        assert!(told.at >= before && told.at <= after);
    }

    #[test]
    fn what_would_end_a_line_is_written_as_in_c() {
        assert_eq!(escape("a\r\nb \"c\" \\d Ж"), "a\\r\\nb \\\"c\\\" \\\\d Ж");
        assert_eq!(known(""), "<unknown>");
    }
}
