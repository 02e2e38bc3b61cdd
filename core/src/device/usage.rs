//! Which devices are in use: how many channels of each talk, ring and hold. Read without a lock; a channel changes its own
//! part of the counts, and takes it back however it ends.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};
use tokio::sync::mpsc;

use super::ringing::{Callers, RingingCall};
use super::{DeviceState, Lost, Notice};

/// Parts of the table, so that a device that is new copies little of it.
const PARTS: usize = 64;
/// Devices in a part; above, those that are not in use are forgotten.
const PART_MAX: usize = 4096;

/// What a channel does with its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Use {
    /// It has just been made, or is over.
    #[default]
    None,
    Talking,
    Ringing,
    Holding,
    Busy,
}

/// Channels of one device.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    talking: AtomicU32,
    ringing: AtomicU32,
    holding: AtomicU32,
    busy: AtomicU32,
    /// Who calls where it rings.
    pub(super) callers: Callers,
}

impl Usage {
    fn place(&self, kind: Use) -> Option<&AtomicU32> {
        match kind {
            Use::None => None,
            Use::Talking => Some(&self.talking),
            Use::Ringing => Some(&self.ringing),
            Use::Holding => Some(&self.holding),
            Use::Busy => Some(&self.busy),
        }
    }

    /// The state of a device with these channels; `None` if it has none that says anything. With as many calls as `busy_at`
    /// (0: never) it is busy.
    pub(crate) fn state(&self, busy_at: u32) -> Option<DeviceState> {
        let counts = [
            (&self.talking, DeviceState::InUse),
            (&self.ringing, DeviceState::Ringing),
            (&self.holding, DeviceState::OnHold),
            (&self.busy, DeviceState::Busy),
        ]
        .map(|(count, state)| (count.load(Ordering::Acquire), state));
        let [talking, _, holding, busy] = counts.map(|(count, _)| count);
        if busy_at > 0 && talking.saturating_add(holding).saturating_add(busy) >= busy_at {
            return Some(DeviceState::Busy);
        }
        let states = counts.iter().filter(|(count, _)| *count > 0);
        let mut states = states.map(|(_, state)| *state).peekable();
        states.peek()?;
        Some(DeviceState::together(states))
    }
}

type Part = FxHashMap<Arc<str>, Arc<Usage>>;

/// Devices that have or had channels.
pub(crate) struct Usages {
    parts: [ArcSwap<Part>; PARTS],
    /// Taken when a device is new.
    adding: Mutex<()>,
}

impl Default for Usages {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| ArcSwap::default()),
            adding: Mutex::default(),
        }
    }
}

impl Usages {
    fn part(&self, device: &str) -> &ArcSwap<Part> {
        let index = FxBuildHasher.hash_one(device) >> (u64::BITS - PARTS.ilog2());
        &self.parts[usize::try_from(index).unwrap_or(0) % PARTS]
    }

    /// The channels of a device.
    pub(crate) fn of(&self, device: &str) -> Option<Arc<Usage>> {
        self.part(device).load().get(device).cloned()
    }

    fn entry(&self, device: &str) -> (Arc<str>, Arc<Usage>) {
        let part = self.part(device);
        let known = |part: &Part| {
            part.get_key_value(device)
                .map(|(name, usage)| (Arc::clone(name), Arc::clone(usage)))
        };
        if let Some(known) = known(&part.load()) {
            return known;
        }
        let _adding = self.adding.lock();
        if let Some(known) = known(&part.load()) {
            return known;
        }
        let mut changed = Part::clone(&part.load());
        if changed.len() >= PART_MAX {
            // Who has a channel holds its usage as well.
            let before = part.load();
            changed.retain(|name, _| {
                before
                    .get(name)
                    .is_some_and(|usage| usage.state(0).is_some() || Arc::strong_count(usage) > 2)
            });
        }
        let (name, usage) = (Arc::<str>::from(device), Arc::<Usage>::default());
        changed.insert(Arc::clone(&name), Arc::clone(&usage));
        part.store(Arc::new(changed));
        (name, usage)
    }
}

/// A channel's part in the use of its device.
pub(crate) struct DeviceUse {
    device: Arc<str>,
    usage: Arc<Usage>,
    now: std::cell::Cell<Use>,
    /// Its call among the callers; 0: it is not there.
    call: std::cell::Cell<u64>,
    tell: mpsc::Sender<Notice>,
    lost: Arc<Lost>,
}

impl DeviceUse {
    pub(super) fn new(
        usages: &Usages,
        device: &str,
        tell: mpsc::Sender<Notice>,
        lost: Arc<Lost>,
    ) -> Self {
        let (device, usage) = usages.entry(device);
        Self {
            device,
            usage,
            now: std::cell::Cell::default(),
            call: std::cell::Cell::default(),
            tell,
            lost,
        }
    }

    /// The channel does this now.
    pub(crate) fn set(&self, kind: Use) {
        if self.count(kind) {
            self.tell();
        }
    }

    /// The same, but nobody is told yet: who reads the state finds it, and [`Self::tell`] has to follow. True if it changed.
    pub(crate) fn count(&self, kind: Use) -> bool {
        let before = self.now.replace(kind);
        if before == kind {
            return false;
        }
        if before == Use::Ringing {
            self.usage.callers.leave(self.call.take());
        }
        // First in, then out, so that nobody sees a device free between ringing and talking.
        if let Some(place) = self.usage.place(kind) {
            place.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(place) = self.usage.place(before) {
            place.fetch_sub(1, Ordering::AcqRel);
        }
        true
    }

    /// Says who calls, before the channel rings.
    pub(crate) fn called_by(&self, call: impl FnOnce() -> RingingCall) {
        if self.call.get() == 0 {
            self.call.set(self.usage.callers.enter(call()));
        }
    }

    /// Has the subscribers told.
    pub(crate) fn tell(&self) {
        super::tell(
            &self.tell,
            &self.lost,
            Notice::Device(Arc::clone(&self.device)),
        );
    }
}

impl Drop for DeviceUse {
    fn drop(&mut self) {
        self.set(Use::None);
    }
}

/// The device of a channel, by its name: without the number behind the last dash.
pub(crate) fn device_of(channel: &str) -> &str {
    channel
        .rsplit_once('-')
        .map_or(channel, |(device, _)| device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(usages: &Usages, device: &str) -> DeviceUse {
        DeviceUse::new(usages, device, mpsc::channel(1).0, Arc::default())
    }

    #[test]
    fn channels_add_up_and_take_back_what_they_added() {
        let usages = Usages::default();
        let state = |busy_at| {
            usages
                .of("PJSIP/100")
                .and_then(|usage| usage.state(busy_at))
        };
        assert_eq!(state(0), None);
        let first = user(&usages, "PJSIP/100");
        assert_eq!(state(0), None);
        first.set(Use::Ringing);
        assert_eq!(state(0), Some(DeviceState::Ringing));
        assert_eq!(state(1), Some(DeviceState::Ringing));
        first.set(Use::Talking);
        assert_eq!(state(0), Some(DeviceState::InUse));
        assert_eq!(state(1), Some(DeviceState::Busy));
        let second = user(&usages, "PJSIP/100");
        second.set(Use::Ringing);
        assert_eq!(state(2), Some(DeviceState::RingInUse));
        second.set(Use::Talking);
        first.set(Use::Holding);
        assert_eq!(state(0), Some(DeviceState::InUse));
        assert_eq!(state(2), Some(DeviceState::Busy));
        drop(second);
        assert_eq!(state(0), Some(DeviceState::OnHold));
        drop(first);
        assert_eq!(state(1), None);
    }

    #[test]
    fn devices_that_are_not_in_use_make_room() {
        let usages = Usages::default();
        let kept = user(&usages, "Local/1@a");
        kept.set(Use::Talking);
        let part = usages.part("Local/1@a");
        let names = (0_u64..).map(|number| format!("Local/{number}@b"));
        let same = names.filter(|name| std::ptr::eq(usages.part(name), part));
        for name in same.take(PART_MAX + 200) {
            drop(user(&usages, &name));
        }
        let known = part.load().len();
        assert!(known <= PART_MAX, "{known}");
        assert!(usages.of("Local/1@a").is_some());
    }

    #[test]
    fn the_device_of_a_channel_is_its_name_without_the_number() {
        for (channel, device) in [
            ("PJSIP/user-110-office-0000001f", "PJSIP/user-110-office"),
            ("Local/100@internal-00000001;1", "Local/100@internal"),
            ("odd", "odd"),
        ] {
            assert_eq!(device_of(channel), device);
        }
    }
}
