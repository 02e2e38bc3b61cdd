//! Device and extension states: who is free, rings, talks or cannot be reached.
//!
//! Channels change the counts of their device as they change themselves; anybody asks for the state of one without a lock (a
//! queue and a conference are asked of their tables, which are locked for a moment). Changes go
//! through a bounded queue to one task of the control runtime, which finds out what is different now and tells those who
//! subscribed (lamps of telephones, the Manager, queues), each through a bounded queue of its own. Who is too slow is told
//! how much he missed, and asks anew.

mod hints;
mod ringing;
mod state;
mod usage;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use strowger_store::{Snapshot, StoreError};
use tokio::sync::{broadcast, mpsc, watch as versions};

pub use hints::{Hints, Place, devices_of};
pub use ringing::RingingCall;
pub use state::{DeviceState, ExtensionState};
pub(crate) use usage::{DeviceUse, Use, device_of};
pub(crate) use watch::start;

use crate::endpoint::contacts::epoch_now;
use crate::shared::Shared;

/// Changes that wait to be looked at.
const NOTICES_MAX: usize = 8192;
/// Changes that a subscriber may be behind.
const BEHIND_MAX: usize = 4096;
/// Family of states that the dialplan sets.
const CUSTOM: &str = "CustomDevstate";

/// Something to look at.
#[derive(Debug)]
pub(crate) enum Notice {
    /// This device may have another state.
    Device(Arc<str>),
    /// Contacts of this address of record came, went or changed.
    Contacts(String),
    /// There are other hints.
    Hints,
}

/// Notices that found the queue full; then everything is looked at.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    count: AtomicU64,
    all: AtomicBool,
}

fn tell(queue: &mpsc::Sender<Notice>, lost: &Lost, notice: Notice) {
    if matches!(
        queue.try_send(notice),
        Err(mpsc::error::TrySendError::Full(_))
    ) {
        lost.count.fetch_add(1, Ordering::Relaxed);
        lost.all.store(true, Ordering::Release);
    }
}

/// A device has another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceChange {
    pub device: Arc<str>,
    pub state: DeviceState,
}

/// An extension with a hint has another state, or another hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionChange {
    pub context: Arc<str>,
    pub exten: Arc<str>,
    /// The hint; empty when it is gone.
    pub hint: Arc<str>,
    pub state: ExtensionState,
}

/// The states of all devices.
pub struct Devices {
    usages: usage::Usages,
    queue: mpsc::Sender<Notice>,
    notices: Mutex<Option<mpsc::Receiver<Notice>>>,
    lost: Arc<Lost>,
    changes: broadcast::Sender<DeviceChange>,
    own: broadcast::Sender<Arc<str>>,
    extensions: broadcast::Sender<ExtensionChange>,
    hints: ArcSwap<Hints>,
    hints_version: versions::Sender<u64>,
}

impl Default for Devices {
    fn default() -> Self {
        let (queue, notices) = mpsc::channel(NOTICES_MAX);
        Self {
            usages: usage::Usages::default(),
            queue,
            notices: Mutex::new(Some(notices)),
            lost: Arc::default(),
            changes: broadcast::channel(BEHIND_MAX).0,
            own: broadcast::channel(BEHIND_MAX).0,
            extensions: broadcast::channel(BEHIND_MAX).0,
            hints: ArcSwap::default(),
            hints_version: versions::channel(0).0,
        }
    }
}

impl Devices {
    /// Changes of devices from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<DeviceChange> {
        self.changes.subscribe()
    }

    /// Devices that are in another state here from now on, whatever other exchanges say of them.
    pub(crate) fn subscribe_own(&self) -> broadcast::Receiver<Arc<str>> {
        self.own.subscribe()
    }

    /// Changes of extensions with hints from now on.
    pub fn subscribe_extensions(&self) -> broadcast::Receiver<ExtensionChange> {
        self.extensions.subscribe()
    }

    /// The hints of the dialplan.
    pub fn hints(&self) -> Arc<Hints> {
        self.hints.load_full()
    }

    /// Counts how often there were other hints, those of patterns included.
    pub fn subscribe_hints(&self) -> versions::Receiver<u64> {
        self.hints_version.subscribe()
    }

    /// Puts other hints in place.
    pub fn set_hints(&self, hints: Hints) {
        self.hints.store(Arc::new(hints));
        self.tell(Notice::Hints);
        self.hints_version.send_modify(|version| *version += 1);
    }

    pub(crate) fn tell(&self, notice: Notice) {
        tell(&self.queue, &self.lost, notice);
    }

    /// Something that a device's state is made of has changed.
    pub fn touch(&self, device: &str) {
        self.tell(Notice::Device(device.into()));
    }

    /// Changes that were found out late, because too many came at once.
    pub fn lost(&self) -> u64 {
        self.lost.count.load(Ordering::Relaxed)
    }

    /// A channel's part in the use of its device.
    pub(crate) fn user(&self, channel: &str) -> DeviceUse {
        let (queue, lost) = (self.queue.clone(), Arc::clone(&self.lost));
        DeviceUse::new(&self.usages, device_of(channel), queue, lost)
    }
}

/// Kind and name of a device.
fn parts(device: &str) -> Option<(String, &str)> {
    let (kind, name) = device.trim().split_once(['/', ':'])?;
    Some((kind.to_ascii_lowercase(), name))
}

/// The one name by which a device is found in tables, however it is written: `SIP/100`, `pjsip/100` and `PJSIP/user@100` are
/// `PJSIP/100`.
#[must_use]
pub fn device_key(device: &str) -> String {
    let Some((kind, name)) = parts(device) else {
        return device.trim().to_owned();
    };
    let first = || name.split('/').next().unwrap_or_default();
    match kind.as_str() {
        "pjsip" | "sip" => {
            let endpoint = first();
            let behind = endpoint.rsplit_once('@').map_or(endpoint, |(_, name)| name);
            format!("PJSIP/{behind}")
        }
        "local" => format!("Local/{}", first()),
        "custom" => format!("Custom:{name}"),
        "queue" => format!("Queue:{name}"),
        "confbridge" => format!("Confbridge:{name}"),
        "park" => format!("park:{name}"),
        _ => device.trim().to_owned(),
    }
}

impl Shared {
    /// The state of a device: `PJSIP/100`, `Local/100@context`, `Custom:name`, `Confbridge:room`, `Queue:name`, `park:701@context`.
    pub fn device_state(&self, device: &str) -> DeviceState {
        self.published.with(device, self.own_device_state(device))
    }

    /// As [`Self::device_state`], without what other exchanges say of the device.
    pub(crate) fn own_device_state(&self, device: &str) -> DeviceState {
        match parts(device) {
            Some((kind, name)) if kind == "queue" => self.queue_device_state(name),
            _ => self.state_here(device),
        }
    }

    /// As [`Self::device_state`], but of queues it knows nothing: their table asks it while it is locked.
    pub(crate) fn plain_device_state(&self, device: &str) -> DeviceState {
        self.published.with(device, self.state_here(device))
    }

    fn state_here(&self, device: &str) -> DeviceState {
        let Some((kind, rest)) = parts(device) else {
            return DeviceState::Invalid;
        };
        match kind.as_str() {
            "pjsip" | "sip" => self.endpoint_state(rest.split('/').next().unwrap_or_default()),
            "local" => {
                let name = rest.split('/').next().unwrap_or_default();
                let usage = self.devices.usages.of(&format!("Local/{name}"));
                let state = usage.and_then(|usage| usage.state(0));
                state.map_or(DeviceState::NotInUse, |_| DeviceState::InUse)
            }
            "custom" => {
                let kept = self.astdb.get(CUSTOM, rest);
                kept.and_then(|text| DeviceState::parse(&text))
                    .unwrap_or_default()
            }
            "queue" => DeviceState::Unknown,
            "confbridge" => match self.conferences.read(|table| table.info(rest)) {
                Some(info) if info.parties > 0 => DeviceState::InUse,
                _ => DeviceState::NotInUse,
            },
            "park" => match rest.split_once('@') {
                Some((space, place)) => match space.trim().parse() {
                    Ok(space) if self.parked.is_taken(space, place) => DeviceState::InUse,
                    Ok(_) => DeviceState::NotInUse,
                    Err(_) => DeviceState::Invalid,
                },
                None => DeviceState::Invalid,
            },
            _ => DeviceState::Invalid,
        }
    }

    fn endpoint_state(&self, name: &str) -> DeviceState {
        let snapshot = self.snapshot();
        // As in dial strings, a user may stand before the endpoint.
        let found = snapshot.endpoints.get(name).or_else(|| {
            let (_, endpoint) = name.rsplit_once('@')?;
            snapshot.endpoints.get(endpoint)
        });
        let Some(endpoint) = found else {
            return DeviceState::Invalid;
        };
        let usage = self.devices.usages.of(&format!("PJSIP/{}", endpoint.id));
        if let Some(state) = usage.and_then(|usage| usage.state(endpoint.device_state_busy_at)) {
            return state;
        }
        if self.is_reachable(&snapshot, &endpoint.aors) {
            DeviceState::NotInUse
        } else {
            DeviceState::Unavailable
        }
    }

    fn is_reachable(&self, snapshot: &Snapshot, aors: &[String]) -> bool {
        use crate::endpoint::contacts::Status;
        let now = epoch_now();
        aors.iter().any(|aor| {
            let contacts = self.contacts.dialable(snapshot, aor, now);
            contacts
                .iter()
                .any(|contact| contact.status().0 != Status::Unreachable)
        })
    }

    /// The state that the devices of a hint make together.
    pub fn hint_state(&self, hint: &str) -> ExtensionState {
        DeviceState::together(devices_of(hint).map(|device| self.device_state(device))).into()
    }

    /// Who calls one of the hint's devices that rings.
    pub fn ringing_call(&self, hint: &str) -> Option<RingingCall> {
        devices_of(hint)
            .find_map(|device| self.devices.usages.of(&device_key(device))?.callers.first())
    }

    /// The state of an extension by its hint.
    pub fn extension_state(&self, context: &str, exten: &str) -> ExtensionState {
        let hints = self.devices.hints();
        hints
            .get(context, exten)
            .map_or(ExtensionState::Unknown, |hint| self.hint_state(hint))
    }

    /// Sets the state of `Custom:name`; it is kept over restarts.
    ///
    /// # Errors
    /// The name cannot be a key, or the key-value database is full.
    pub fn set_custom_state(&self, name: &str, state: DeviceState) -> Result<(), StoreError> {
        self.astdb.put(CUSTOM, name, state.as_str())?;
        self.devices.touch(&format!("Custom:{name}"));
        Ok(())
    }
}
