//! The task that tells subscribers what has changed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use strowger_store::Table;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::hints::Place;
use super::{DeviceChange, DeviceState, ExtensionChange, ExtensionState, Hints, Notice};
use crate::shared::Shared;

/// Notices looked at in one go, so that a device that changed often is asked once.
const BATCH: usize = 256;
/// Rest after a batch: at hundreds of calls a second the next changes are looked at together, and a call does not wake this
/// task each time.
const REST: Duration = Duration::from_millis(2);
/// How often contacts whose time is over are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// Devices whose last state is remembered.
const REMEMBERED_MAX: usize = 500_000;

/// What was told last.
#[derive(Default)]
struct Told {
    /// With what other exchanges say, and without.
    devices: FxHashMap<Arc<str>, (DeviceState, DeviceState)>,
    extensions: FxHashMap<Place, (Arc<str>, ExtensionState)>,
    hints: Arc<Hints>,
    /// Endpoints by address of record.
    endpoints: FxHashMap<String, Vec<Arc<str>>>,
    endpoints_version: Option<u64>,
}

/// Starts the task on the control runtime; it ends with the exchange.
pub(crate) fn start(shared: &Arc<Shared>) {
    let Some(mut notices) = shared.devices.notices.lock().take() else {
        return;
    };
    let weak = Arc::downgrade(shared);
    shared.control.spawn(async move {
        let mut told = Told::default();
        let mut batch = Vec::with_capacity(BATCH);
        let mut sweep = Instant::now() + SWEEP;
        while let Some(shared) = next(&mut notices, &mut batch, &weak, sweep).await {
            // By the clock and not by silence, which a busy exchange never has.
            let all = Instant::now() >= sweep;
            if all {
                sweep = Instant::now() + SWEEP;
            }
            told.look(&shared, batch.drain(..), all);
            drop(shared);
            tokio::time::sleep(REST).await;
        }
    });
}

/// Waits for notices, or for the time to look again. `None` at the end.
async fn next(
    notices: &mut mpsc::Receiver<Notice>,
    batch: &mut Vec<Notice>,
    weak: &Weak<Shared>,
    sweep: Instant,
) -> Option<Arc<Shared>> {
    let received = tokio::time::timeout_at(sweep, notices.recv_many(batch, BATCH)).await;
    if received == Ok(0) {
        return None;
    }
    weak.upgrade()
}

impl Told {
    fn look(&mut self, shared: &Shared, notices: impl Iterator<Item = Notice>, all: bool) {
        let mut devices: FxHashSet<Arc<str>> = FxHashSet::default();
        for notice in notices {
            match notice {
                Notice::Device(device) => {
                    devices.insert(device);
                }
                Notice::Contacts(aor) => {
                    self.index(shared);
                    devices.extend(self.endpoints.get(&aor).into_iter().flatten().cloned());
                }
                Notice::Hints => self.hints_changed(shared),
            }
        }
        let lost = shared.devices.lost.all.swap(false, Ordering::AcqRel);
        if lost {
            // That there are other hints may be among it.
            self.hints_changed(shared);
        }
        if all || lost {
            devices.extend(self.devices.keys().cloned());
            devices.extend(self.hints.devices().map(Arc::from));
        }
        for device in devices {
            self.device(shared, device);
        }
    }

    /// Which endpoints an address of record belongs to.
    fn index(&mut self, shared: &Shared) {
        let snapshot = shared.snapshot();
        let version = Some(snapshot.version_of(Table::Endpoints));
        if self.endpoints_version == version {
            return;
        }
        self.endpoints_version = version;
        self.endpoints.clear();
        for endpoint in snapshot.endpoints.values() {
            let device: Arc<str> = format!("PJSIP/{}", endpoint.id).into();
            for aor in &endpoint.aors {
                let places = self.endpoints.entry(aor.clone()).or_default();
                places.push(Arc::clone(&device));
            }
        }
    }

    fn device(&mut self, shared: &Shared, device: Arc<str>) {
        let own = shared.own_device_state(&device);
        let state = shared.published.with(&device, own);
        let before = self.devices.get(&device).copied();
        if before == Some((state, own)) {
            return;
        }
        if self.devices.len() >= REMEMBERED_MAX {
            self.devices.clear();
        }
        self.devices.insert(Arc::clone(&device), (state, own));
        if before.is_none_or(|(_, before)| before != own) {
            // An error only means that nobody listens.
            let _ = shared.devices.own.send(Arc::clone(&device));
        }
        if before.is_some_and(|(before, _)| before == state) {
            return;
        }
        let hints = Arc::clone(&self.hints);
        for (context, exten) in hints.showing(&device) {
            self.extension(shared, context, exten);
        }
        // An error only means that nobody listens.
        let _ = shared.devices.changes.send(DeviceChange { device, state });
    }

    fn extension(&mut self, shared: &Shared, context: &str, exten: &str) {
        let place = (context.to_owned(), exten.to_owned());
        let hint: Arc<str> = self.hints.get(context, exten).unwrap_or_default().into();
        let state = if hint.is_empty() {
            ExtensionState::Unknown
        } else {
            shared.hint_state(&hint)
        };
        let now = (Arc::clone(&hint), state);
        if self.extensions.get(&place) == Some(&now) {
            return;
        }
        if hint.is_empty() {
            self.extensions.remove(&place);
        } else {
            self.extensions.insert(place, now);
        }
        let _ = shared.devices.extensions.send(ExtensionChange {
            context: context.into(),
            exten: exten.into(),
            hint,
            state,
        });
    }

    fn hints_changed(&mut self, shared: &Shared) {
        self.hints = shared.devices.hints();
        let hints = Arc::clone(&self.hints);
        let gone: Vec<Place> = self
            .extensions
            .keys()
            .filter(|(context, exten)| hints.get(context, exten).is_none())
            .cloned()
            .collect();
        for (context, exten) in gone {
            self.extension(shared, &context, &exten);
        }
        for ((context, exten), _) in hints.iter() {
            self.extension(shared, context, exten);
        }
    }
}
