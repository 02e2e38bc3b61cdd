//! What happens, for programs that watch the exchange: one stream for the process, which costs nothing while nobody listens.
//! Who reads too slowly loses the oldest events and is told how many. Here live the stream and the fields that tell of a
//! channel; never the protocols that carry events outside.

use std::borrow::Cow;
use std::sync::Arc;

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

impl Event {
    /// An event of a channel, which its first fields describe.
    pub fn of(name: &'static str, channel: &Channel) -> Self {
        let data = channel.data();
        let known = |text: &str| {
            if text.is_empty() {
                "<unknown>".to_owned()
            } else {
                text.to_owned()
            }
        };
        let fields = [
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
        ];
        Self {
            name,
            fields: fields
                .into_iter()
                .map(|(name, value)| (Cow::Borrowed(name), value))
                .collect(),
        }
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
    /// Events told to at least one listener.
    pub told: Counter,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(QUEUE_MAX),
            told: Counter::default(),
        }
    }
}

impl Events {
    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    /// Tells what happened; it is put together only if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if self.sender.receiver_count() > 0 && self.sender.send(Arc::new(event())).is_ok() {
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
    }
}
