//! What programs that watch the exchange are told that somebody does with calls: transfers, pickups, spies, recordings and
//! hang-up handlers. Told where it is done; what merely changes on a channel is found in [`super::told`].

use std::time::Duration;

use super::Channel;
use crate::events::{BridgeBlock, Event, channel_fields};

/// How long two calls may take to be put together.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(20);

/// What an event says of a channel, taken where the channel is.
pub type Described = Vec<(&'static str, String)>;

/// Somebody and whom he talks with, in an attended transfer.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    pub transferer: Described,
    /// Empty where the two are in no bridge.
    pub bridge: String,
    /// Empty where nobody is at the other end.
    pub peer: Described,
    /// What runs on the channel otherwise.
    pub application: String,
}

impl Talk {
    /// Of a channel, as it is now.
    pub fn of(channel: &Channel, peer: Option<&Channel>) -> Self {
        let data = channel.data();
        let bridge = data.bridge_id.as_deref().unwrap_or_default().to_owned();
        let application = data.application.clone();
        drop(data);
        Self {
            transferer: channel.described(),
            bridge,
            peer: peer.map(Channel::described).unwrap_or_default(),
            application,
        }
    }
}

/// A bridge of two in an event.
fn bridge_of_two(event: Event, prefix: &str, id: &str) -> Event {
    if id.is_empty() {
        return event;
    }
    let block = BridgeBlock {
        id,
        kind: "basic",
        technology: "simple_bridge",
        creator: "",
        name: "",
        channels: 2,
    };
    event.bridge(prefix, block)
}

const fn yes(yes: bool) -> &'static str {
    if yes { "Yes" } else { "No" }
}

impl Channel {
    /// What events say of it now.
    pub fn described(&self) -> Described {
        channel_fields(self)
    }

    /// `BlindTransfer`: this channel sends `other` to a number, or wanted to. `result`: `Success`, `Fail`, `Invalid`,
    /// `Not Permitted`. External is what the telephone asked for by its protocol.
    pub fn tell_blind_transfer(
        &self,
        result: &'static str,
        other: Option<&Self>,
        is_external: bool,
        (context, exten): (&str, &str),
    ) {
        self.tell(|| {
            let mut event = Event::new("BlindTransfer")
                .with("Result", result)
                .channel("Transferer", self);
            if let Some(other) = other {
                event = event.channel("Transferee", other);
            }
            let id = self.data().bridge_id.clone();
            bridge_of_two(event, "", id.as_deref().unwrap_or_default())
                .with("IsExternal", yes(is_external))
                .with("Context", context)
                .with("Extension", exten)
        });
    }

    /// `AttendedTransfer`: two calls of who transfers are put together, of which `first` is that of this channel. Told when
    /// this channel talks to somebody else than before, or does not in time.
    pub fn tell_attended_transfer(&self, first: &Talk, second: &Talk, is_external: bool) {
        if !self.events().are_heard() {
            return;
        }
        let mut event =
            Event::new("AttendedTransfer").described("OrigTransferer", &first.transferer);
        event = bridge_of_two(event, "Orig", &first.bridge)
            .described("SecondTransferer", &second.transferer);
        event = bridge_of_two(event, "Second", &second.bridge)
            .described("Transferee", &self.described());
        if !second.peer.is_empty() {
            event = event.described("TransferTarget", &second.peer);
        }
        event = event.with("IsExternal", yes(is_external));
        let told = |mut event: Event, result: &str| {
            event.fields.insert(0, ("Result".into(), result.to_owned()));
            event
        };
        if second.peer.is_empty() {
            let event = event
                .with("DestType", "App")
                .with("DestApp", &second.application);
            return self.tell(|| told(event, "Success"));
        }
        let channel = self.clone();
        let before = first.bridge.clone();
        crate::shard::Shard::spawn(async move {
            let until = crate::clock::now() + JOIN_MAX;
            let bridge = loop {
                let now = channel.data().bridge_id.clone();
                if let Some(now) = now.filter(|now| **now != *before) {
                    break Some(now);
                }
                if channel.is_over() || crate::clock::now() >= until {
                    break None;
                }
                tokio::time::sleep(LOOK).await;
            };
            channel.tell(|| match bridge {
                Some(id) => told(
                    event
                        .with("DestType", "Bridge")
                        .with("DestBridgeUniqueid", &*id),
                    "Success",
                ),
                None => told(event.with("DestType", "Fail"), "Fail"),
            });
        });
    }

    /// `Pickup`: this channel takes the place of one that rings.
    pub(crate) fn tell_pickup(&self, target: &Described) {
        self.tell(|| Event::of("Pickup", self).described("Target", target));
    }

    /// `ChanSpyStart` or `ChanSpyStop`: this channel listens to another.
    pub fn tell_spying(&self, name: &'static str, spied: &Described) {
        self.tell(|| {
            Event::new(name)
                .channel("Spyer", self)
                .described("Spyee", spied)
        });
    }

    /// `MixMonitorStart` or `MixMonitorStop`.
    pub(crate) fn tell_recording(&self, name: &'static str) {
        self.tell(|| Event::of(name, self));
    }

    /// `MixMonitorMute`: a side (`read`, `write`, `both`) is silenced in recordings, or no longer.
    pub(crate) fn tell_recording_muted(&self, direction: &'static str, muted: bool) {
        self.tell(|| {
            Event::of("MixMonitorMute", self)
                .with("Direction", direction)
                .with("State", if muted { "1" } else { "0" })
        });
    }

    /// `HangupHandlerPush`, `HangupHandlerPop` or `HangupHandlerRun`.
    pub fn tell_hangup_handler(&self, name: &'static str, handler: &str) {
        self.tell(|| Event::of(name, self).with("Handler", handler));
    }
}
