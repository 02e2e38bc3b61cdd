//! What happens, for programs that watch the exchange: one stream for the process, which costs nothing while nobody listens.
//! Who reads too slowly loses the oldest events and is told how many. Here live the stream and the fields that tell of a
//! channel; never the protocols that carry events outside.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::broadcast;

use crate::channel::{Channel, State};
use crate::counters::Counter;

/// Events kept for slow readers.
pub const QUEUE_MAX: usize = 4096;

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
    pub fn channel(mut self, prefix: &str, channel: &Channel) -> Self {
        for (name, value) in channel_block(channel) {
            self.fields.push((prefixed(prefix, name), value));
        }
        let shared = channel.shard().shared();
        for variable in shared.events.channel_variables.load().iter() {
            let value = channel.variable(variable).unwrap_or_default();
            let value = format!("{variable}={}", escape(&value));
            self.fields.push((prefixed(prefix, "ChanVariable"), value));
        }
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

/// The stream of events of this process.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    listeners: Arc<AtomicUsize>,
    /// Variables that each description of a channel ends with (`channelvars` of manager.conf).
    pub channel_variables: ArcSwap<Vec<String>>,
    /// Events told to at least one listener.
    pub told: Counter,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(QUEUE_MAX),
            listeners: Arc::default(),
            channel_variables: ArcSwap::default(),
            told: Counter::default(),
        }
    }
}

/// Somebody who listens, as long as this lives.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<Event>>,
    listeners: Arc<AtomicUsize>,
}

impl Deref for Listener {
    type Target = broadcast::Receiver<Arc<Event>>;

    fn deref(&self) -> &Self::Target {
        &self.receiver
    }
}

impl DerefMut for Listener {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.receiver
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
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listener {
            receiver,
            listeners: Arc::clone(&self.listeners),
        }
    }

    /// Does anybody listen?
    #[inline]
    pub fn are_heard(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells what happened; it is put together only if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if self.are_heard() && self.sender.send(Arc::new(event())).is_ok() {
            self.told.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event {
            name: "UserEvent",
            fields: Vec::new(),
        }
        .with("Number", number.to_string())
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
        assert_eq!(
            reader.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(7))
        );
        assert_eq!(events.told.get(), QUEUE_MAX as u64 + 10);
        drop(reader);
        events.tell(|| panic!("nobody listens any more"));
    }

    #[test]
    fn what_would_end_a_line_is_written_as_in_c() {
        assert_eq!(escape("a\r\nb \"c\" \\d Ж"), "a\\r\\nb \\\"c\\\" \\\\d Ж");
        assert_eq!(known(""), "<unknown>");
    }
}
