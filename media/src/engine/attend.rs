//! Who listens to what a leg hears: watches of signalling, each fed with every frame of the leg's turns. A leg without
//! watches has nothing of this and pays for nothing.

use std::time::Instant;

use super::leg::Leg;
use super::{Engine, Events, Slot, leg_mut};
use crate::attention::{Noticed, Watch, WatchId};
use crate::counters::Counters;
use crate::types::{Event, LegId};

/// Watches on one leg.
const WATCHES_MAX: usize = 8;

/// The watches of a leg.
#[derive(Debug, Default)]
pub(super) struct Attention {
    watches: Vec<(WatchId, Watch)>,
}

impl Attention {
    /// The next frame, at 8000 Hz; `None` as long as nothing has ever been received. False: nobody listens any more.
    fn hear(&mut self, leg: LegId, frame: Option<&[i16]>, events: &mut Events) -> bool {
        self.watches.retain_mut(|(watch, what)| {
            if let Some(noticed) = what.frame(frame) {
                let watch = *watch;
                events.tell_of_remote(Event::Noticed {
                    leg,
                    watch,
                    noticed,
                });
            }
            !what.is_over()
        });
        !self.watches.is_empty()
    }
}

impl Leg {
    /// Lets the watches hear a frame.
    pub(super) fn attend(
        &mut self,
        frame: Option<&[i16]>,
        events: &mut Events,
        counters: &Counters,
    ) {
        let Some(attention) = &mut self.attention else {
            return;
        };
        counters.frames_watched.add(1);
        if !attention.hear(self.id, frame, events) {
            self.attention = None;
            // Its ears may be for nobody now.
            self.unsettled = true;
        }
    }
}

impl Engine {
    /// Begins to listen for something.
    pub(super) fn begin_watch(&mut self, now: Instant, slot: Slot, id: WatchId, watch: Watch) {
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return;
        };
        let attention = leg.attention.get_or_insert_default();
        if attention.watches.len() >= WATCHES_MAX {
            self.counters.watches_refused.add(1);
            self.events.tell(Event::Noticed {
                leg: leg.id,
                watch: id,
                noticed: Noticed::Refused,
            });
            return;
        }
        attention.watches.push((id, watch));
        self.settle(now, slot);
    }

    /// Listens no longer. False: it did not.
    pub(super) fn end_watch(&mut self, now: Instant, leg: LegId, id: WatchId) -> bool {
        let Some(slot) = self.slot_of(leg) else {
            return false;
        };
        let Some(leg) = leg_mut(&mut self.legs, slot) else {
            return false;
        };
        let Some(attention) = &mut leg.attention else {
            return false;
        };
        let before = attention.watches.len();
        attention.watches.retain(|(known, _)| *known != id);
        let ended = attention.watches.len() < before;
        if attention.watches.is_empty() {
            leg.attention = None;
            self.settle(now, slot);
        }
        ended
    }

    /// A leg without ears (nothing is agreed yet, or nobody can decode what it receives) hears nothing, but in time.
    pub(super) fn hear_nothing(&mut self, slot: Slot) {
        if let Some(leg) = leg_mut(&mut self.legs, slot)
            && leg.attention.is_some()
            && leg.hearing.is_none()
        {
            leg.attend(None, &mut self.events, &self.counters);
        }
    }
}
