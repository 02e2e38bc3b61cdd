//! What other parts of the exchange tell in streams of their own (devices, extensions, mailboxes), as events of the Manager.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use strowger_core::Shared;
use strowger_core::device::{DeviceChange, DeviceState, ExtensionChange, ExtensionState};
use strowger_core::events::Event;
use strowger_core::voicemail::{Counts, MailboxChange};
use tokio::sync::broadcast::error::RecvError;

/// States that are remembered; of more it is not found out what was missed.
const KNOWN_MAX: usize = 65_536;

/// Follows them until the process ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut devices = shared.devices.subscribe();
    let mut extensions = shared.devices.subscribe_extensions();
    let mut mailboxes = shared.voicemail.subscribe();
    let mut feed = Feed::of(&shared);
    loop {
        tokio::select! {
            change = devices.recv() => match change {
                Ok(change) => feed.device(&shared, &change),
                Err(RecvError::Lagged(_)) => feed.compare_devices(&shared),
                Err(RecvError::Closed) => return,
            },
            change = extensions.recv() => match change {
                Ok(change) => feed.extension(&shared, &change),
                Err(RecvError::Lagged(_)) => feed.compare_extensions(&shared),
                Err(RecvError::Closed) => return,
            },
            change = mailboxes.recv() => match change {
                Ok(change) => feed.mailbox(&shared, &change),
                Err(RecvError::Lagged(_)) => feed.compare_mailboxes(&shared).await,
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// What was told last. Each of these is a state, not a step: whoever missed changes compares, and tells what is different.
#[derive(Default)]
struct Feed {
    peers: Peers,
    devices: FxHashMap<Arc<str>, DeviceState>,
    extensions: FxHashMap<(String, String), ExtensionState>,
    mailboxes: FxHashMap<String, Counts>,
}

/// Telephones and what hints name.
fn all_devices(shared: &Shared) -> FxHashSet<Arc<str>> {
    let snapshot = shared.snapshot();
    let telephones = snapshot.endpoints.keys();
    let telephones = telephones.map(|name| Arc::from(format!("PJSIP/{name}")));
    let hints = shared.devices.hints();
    telephones.chain(hints.devices().map(Arc::from)).collect()
}

/// Remembers a state, where there is room.
fn remember<K: std::hash::Hash + Eq, V>(known: &mut FxHashMap<K, V>, key: K, now: V) {
    if known.len() < KNOWN_MAX || known.contains_key(&key) {
        known.insert(key, now);
    }
}

impl Feed {
    /// Nothing was told yet, and nothing of what is now is to be told.
    fn of(shared: &Shared) -> Self {
        let mut feed = Self {
            peers: Peers::of(shared),
            ..Self::default()
        };
        for device in all_devices(shared).into_iter().take(KNOWN_MAX) {
            let state = shared.device_state(&device);
            feed.devices.insert(device, state);
        }
        for ((context, exten), hint) in shared.devices.hints().iter().take(KNOWN_MAX) {
            let place = (context.clone(), exten.clone());
            feed.extensions.insert(place, shared.hint_state(hint));
        }
        feed
    }

    fn device(&mut self, shared: &Shared, change: &DeviceChange) {
        remember(&mut self.devices, Arc::clone(&change.device), change.state);
        if let Some(event) = self.peers.follow(change) {
            shared.events.tell(|| event);
        }
        shared.events.tell(|| device(change));
    }

    fn extension(&mut self, shared: &Shared, change: &ExtensionChange) {
        let place = (change.context.to_string(), change.exten.to_string());
        remember(&mut self.extensions, place, change.state);
        shared.events.tell(|| extension(change));
    }

    fn mailbox(&mut self, shared: &Shared, change: &MailboxChange) {
        remember(
            &mut self.mailboxes,
            change.mailbox.to_string(),
            change.counts,
        );
        shared.events.tell(|| mailbox(change));
    }

    /// Telephones, what hints name, and what was told of before.
    fn compare_devices(&mut self, shared: &Shared) {
        let mut all = all_devices(shared);
        all.extend(self.devices.keys().cloned());
        for device in all {
            let state = shared.device_state(&device);
            if self.devices.get(&device) != Some(&state) {
                self.device(shared, &DeviceChange { device, state });
            }
        }
    }

    fn compare_extensions(&mut self, shared: &Shared) {
        let hints = shared.devices.hints();
        for ((context, exten), hint) in hints.iter() {
            let state = shared.hint_state(hint);
            let place = (context.clone(), exten.clone());
            if self.extensions.get(&place) != Some(&state) {
                let change = ExtensionChange {
                    context: context.as_str().into(),
                    exten: exten.as_str().into(),
                    hint: hint.into(),
                    state,
                };
                self.extension(shared, &change);
            }
        }
    }

    async fn compare_mailboxes(&mut self, shared: &Arc<Shared>) {
        let snapshot = shared.snapshot();
        let rows = snapshot.voicemail.iter();
        let mut all: FxHashSet<String> = rows
            .map(|row| format!("{}@{}", row.get("mailbox"), row.get("context")))
            .collect();
        all.extend(self.mailboxes.keys().cloned());
        for name in all {
            let Ok(counts) = shared.mailbox_counts(&name).await else {
                continue;
            };
            if self.mailboxes.get(&name) != Some(&counts) {
                let mailbox = name.as_str().into();
                self.mailbox(shared, &MailboxChange { mailbox, counts });
            }
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

    #[test]
    fn states_are_remembered_as_far_as_there_is_room() {
        let mut known: FxHashMap<usize, bool> = (0..KNOWN_MAX).map(|key| (key, false)).collect();
        remember(&mut known, 7, true);
        remember(&mut known, KNOWN_MAX, true);
        assert_eq!((known.get(&7), known.len()), (Some(&true), KNOWN_MAX));
    }
}
