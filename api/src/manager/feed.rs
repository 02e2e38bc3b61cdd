//! What other parts of the exchange tell in streams of their own (devices, extensions, mailboxes), as events of the Manager.

use std::sync::Arc;

use strowger_core::Shared;
use strowger_core::device::{DeviceChange, ExtensionChange, ExtensionState};
use strowger_core::events::Event;
use strowger_core::voicemail::MailboxChange;
use tokio::sync::broadcast::error::RecvError;

/// Follows them until the process ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut devices = shared.devices.subscribe();
    let mut extensions = shared.devices.subscribe_extensions();
    let mut mailboxes = shared.voicemail.subscribe();
    loop {
        // Who lagged goes on with what is newest: each of these is a state, not a step.
        tokio::select! {
            change = devices.recv() => match change {
                Ok(change) => shared.events.tell(|| device(&change)),
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
