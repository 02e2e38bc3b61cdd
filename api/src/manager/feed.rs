//! What other parts of the exchange tell in streams of their own (devices, extensions, mailboxes), as events of the Manager.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use strowger_core::Shared;
use strowger_core::device::{DeviceChange, DeviceState, ExtensionChange, ExtensionState};
use strowger_core::events::Event;
use strowger_core::voicemail::MailboxChange;
use tokio::sync::broadcast::error::RecvError;

/// Follows them until the process ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut devices = shared.devices.subscribe();
    let mut extensions = shared.devices.subscribe_extensions();
    let mut mailboxes = shared.voicemail.subscribe();
    let mut peers = Peers::of(&shared);
    loop {
        // Who lagged goes on with what is newest: each of these is a state, not a step.
        tokio::select! {
            change = devices.recv() => match change {
                Ok(change) => {
                    if let Some(event) = peers.follow(&change) {
                        shared.events.tell(|| event);
                    }
                    shared.events.tell(|| device(&change));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            change = extensions.recv() => match change {
                Ok(change) => shared.events.tell(|| extension(&change)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            change = mailboxes.recv() => match change {
                Ok(change) => shared.events.tell(|| mailbox(&change)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Telephones that can be reached: devices come and go in use far more often than they are lost.
#[derive(Default)]
struct Peers(FxHashSet<Arc<str>>);

fn is_gone(state: DeviceState) -> bool {
    matches!(state, DeviceState::Unavailable | DeviceState::Invalid)
}

impl Peers {
    /// Those that can be reached now.
    fn of(shared: &Shared) -> Self {
        let snapshot = shared.snapshot();
        let names = snapshot.endpoints.keys();
        let devices = names.map(|name| Arc::<str>::from(format!("PJSIP/{name}")));
        let reached = devices.filter(|device| !is_gone(shared.device_state(device)));
        Self(reached.collect())
    }

    /// `PeerStatus`, if a telephone can be reached that could not, or the other way round. Its rows bound how many there are.
    fn follow(&mut self, change: &DeviceChange) -> Option<Event> {
        if !change.device.starts_with("PJSIP/") {
            return None;
        }
        let now = !is_gone(change.state);
        let changed = if now {
            self.0.insert(Arc::clone(&change.device))
        } else {
            self.0.remove(&change.device)
        };
        changed.then(|| {
            Event::new("PeerStatus")
                .with("ChannelType", "PJSIP")
                .with("Peer", &*change.device)
                .with("PeerStatus", if now { "Reachable" } else { "Unreachable" })
        })
    }
}

fn device(change: &DeviceChange) -> Event {
    Event::new("DeviceStateChange")
        .with("Device", &*change.device)
        .with("State", change.state.as_str())
}

fn extension(change: &ExtensionChange) -> Event {
    Event::new("ExtensionStatus")
        .with("Exten", &*change.exten)
        .with("Context", &*change.context)
        .with("Hint", &*change.hint)
        .with("Status", change.state.number().to_string())
        .with("StatusText", status_text(change.state))
}

fn mailbox(change: &MailboxChange) -> Event {
    let counts = change.counts;
    Event::new("MessageWaiting")
        .with("Mailbox", &*change.mailbox)
        .with("Waiting", if counts.new > 0 { "1" } else { "0" })
        .with("New", counts.new.to_string())
        .with("Old", counts.old.to_string())
}

/// The state of an extension in words.
pub(super) fn status_text(state: ExtensionState) -> &'static str {
    match state {
        ExtensionState::Unknown => "Unknown",
        ExtensionState::NotInUse => "Idle",
        ExtensionState::InUse => "InUse",
        ExtensionState::Busy => "Busy",
        ExtensionState::Unavailable => "Unavailable",
        ExtensionState::Ringing => "Ringing",
        ExtensionState::RingInUse => "InUse&Ringing",
        ExtensionState::OnHold => "Hold",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_telephone_is_told_of_when_it_comes_and_when_it_is_lost_and_not_when_it_is_used() {
        let mut peers = Peers::default();
        let mut status = |device: &str, state| {
            let change = DeviceChange {
                device: device.into(),
                state,
            };
            let event = peers.follow(&change)?;
            assert_eq!(event.field("Peer"), Some(device));
            event.field("PeerStatus").map(str::to_owned)
        };
        let is = |word: &str| Some(word.to_owned());
        assert_eq!(status("PJSIP/a", DeviceState::NotInUse), is("Reachable"));
        for state in [
            DeviceState::Ringing,
            DeviceState::InUse,
            DeviceState::NotInUse,
        ] {
            assert_eq!(status("PJSIP/a", state), None, "{state:?}");
        }
        assert_eq!(
            status("PJSIP/a", DeviceState::Unavailable),
            is("Unreachable")
        );
        assert_eq!(status("PJSIP/a", DeviceState::Unavailable), None);
        assert_eq!(status("PJSIP/a", DeviceState::InUse), is("Reachable"));
        assert_eq!(status("Custom:lamp", DeviceState::InUse), None);
    }
}
