//! When each leg has its turn: a wheel of 1 ms slots on an absolute schedule.
//!
//! Legs that generate something (prompts, digits, recordings) have a turn every 20 ms, rooms one to twenty in that time
//! (a large one sends to a part of its members in each), all configured legs (reports, timeouts) one every 200 ms; all spread over their phases, so that the work of a core is even. An empty wheel has
//! no deadline: legs that only wait cost nothing.

use std::time::{Duration, Instant};

use super::Slot;

/// Phases of both wheels.
pub(super) const PHASES: usize = 20;
/// Slots between two phases of the slow wheel.
const SLOW_STEP: u64 = 10;
/// After a stall, so many slots are run one after the other; older ones are skipped.
const CATCH_UP: u64 = 100;

/// Which turn.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Every 20 ms.
    Fast,
    /// Every 200 ms.
    Slow,
}

#[derive(Debug, Default)]
struct Phases {
    /// Legs, or rooms by their numbers.
    legs: [Vec<Slot>; PHASES],
    /// Bit i: phase i has legs.
    occupied: u32,
}

impl Phases {
    fn insert(&mut self, slot: Slot) {
        self.insert_at(slot.0 as usize % PHASES, slot);
    }

    fn insert_at(&mut self, phase: usize, slot: Slot) {
        self.legs[phase].push(slot);
        self.occupied |= 1 << phase;
    }

    fn remove(&mut self, slot: Slot) {
        self.remove_at(slot.0 as usize % PHASES, slot);
    }

    fn remove_at(&mut self, phase: usize, slot: Slot) {
        self.legs[phase].retain(|&s| s != slot);
        if self.legs[phase].is_empty() {
            self.occupied &= !(1 << phase);
        }
    }

    /// Phases from `phase` (inclusive) to the next occupied one.
    fn distance(&self, phase: usize) -> Option<u64> {
        (0..PHASES)
            .find(|step| self.occupied & (1 << ((phase + step) % PHASES)) != 0)
            .map(|step| step as u64)
    }
}

/// The wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    epoch: Instant,
    /// Slots with a number up to this are done.
    done: u64,
    fast: Phases,
    slow: Phases,
    rooms: Phases,
}

/// What a stall did.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Due {
    pub(super) late: Duration,
    pub(super) skipped: u64,
}

impl Wheel {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            done: 0,
            fast: Phases::default(),
            slow: Phases::default(),
            rooms: Phases::default(),
        }
    }

    fn slot_of(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }

    fn is_empty(&self) -> bool {
        self.fast.occupied == 0 && self.slow.occupied == 0 && self.rooms.occupied == 0
    }

    /// A leg wants turns. Each leg at most once a kind.
    pub(super) fn insert(&mut self, now: Instant, turn: Turn, slot: Slot) {
        self.wake(now);
        match turn {
            Turn::Fast => self.fast.insert(slot),
            Turn::Slow => self.slow.insert(slot),
        }
    }

    fn wake(&mut self, now: Instant) {
        if self.is_empty() {
            // Nobody was waiting: there is nothing to catch up.
            self.done = self.done.max(self.slot_of(now));
        }
    }

    /// A room (its number) wants `parts` turns in 20 ms, at most 20, one after the other, instead of the `before` that it
    /// had. Part 0 is at its own phase.
    pub(super) fn set_room(&mut self, now: Instant, room: u32, before: usize, parts: usize) {
        self.wake(now);
        let phase = |part: usize| (room as usize + part) % PHASES;
        for part in parts..before.min(PHASES) {
            self.rooms.remove_at(phase(part), Slot(room));
        }
        for part in before..parts.min(PHASES) {
            self.rooms.insert_at(phase(part), Slot(room));
        }
    }

    /// The room number `index` that has a turn in this slot, and which of its turns it is.
    pub(super) fn room(&self, number: u64, index: usize) -> Option<(u32, usize)> {
        let phase = (number % PHASES as u64) as usize;
        let room = self.rooms.legs[phase].get(index)?.0;
        Some((room, (phase + PHASES - room as usize % PHASES) % PHASES))
    }

    /// A leg wants no more.
    pub(super) fn remove(&mut self, turn: Turn, slot: Slot) {
        match turn {
            Turn::Fast => self.fast.remove(slot),
            Turn::Slow => self.slow.remove(slot),
        }
    }

    /// The number of the next slot in which a leg has its turn; `None`: nobody waits.
    fn next_turn(&self) -> Option<u64> {
        let next = self.done + 1;
        let fast = self
            .fast
            .distance((next % PHASES as u64) as usize)
            .map(|d| next + d);
        let next_slow = next.div_ceil(SLOW_STEP);
        let slow = self
            .slow
            .distance((next_slow % PHASES as u64) as usize)
            .map(|d| (next_slow + d) * SLOW_STEP);
        let rooms = self
            .rooms
            .distance((next % PHASES as u64) as usize)
            .map(|d| next + d);
        [fast, slow, rooms].into_iter().flatten().min()
    }

    /// When the next turn is; `None`: nobody waits.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next_turn()
            .map(|slot| self.epoch + Duration::from_millis(slot))
    }

    /// Begins to catch up with `now`: how late we are, and how many slots are given up.
    pub(super) fn begin(&mut self, now: Instant) -> Due {
        let target = self.slot_of(now);
        let next = match self.next_turn() {
            Some(next) if next <= target => next,
            _ => {
                self.done = self.done.max(target);
                return Due::default();
            }
        };
        let due = self.epoch + Duration::from_millis(next);
        let skipped = (target + 1 - next).saturating_sub(CATCH_UP);
        self.done = next - 1 + skipped;
        Due {
            late: now.saturating_duration_since(due),
            skipped,
        }
    }

    /// When a slot is due.
    pub(super) fn time_of(&self, number: u64) -> Instant {
        self.epoch + Duration::from_millis(number)
    }

    /// The next slot that is due.
    pub(super) fn next_slot(&mut self, now: Instant) -> Option<u64> {
        if self.done >= self.slot_of(now) {
            return None;
        }
        self.done += 1;
        Some(self.done)
    }

    /// The leg number `index` that has its turn in this slot. Ask with growing indexes until `None`; a leg that is removed
    /// in its turn leaves its index to the next.
    pub(super) fn leg(&self, number: u64, turn: Turn, index: usize) -> Option<Slot> {
        let phases = match turn {
            Turn::Fast => &self.fast.legs[(number % PHASES as u64) as usize],
            Turn::Slow if number.is_multiple_of(SLOW_STEP) => {
                &self.slow.legs[(number / SLOW_STEP % PHASES as u64) as usize]
            }
            Turn::Slow => return None,
        };
        phases.get(index).copied()
    }

    /// All legs with fast turns.
    pub(super) fn fast_legs(&self) -> impl Iterator<Item = Slot> {
        self.fast.legs.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(wheel: &mut Wheel, now: Instant) -> (Due, Vec<(u64, Slot)>) {
        let due = wheel.begin(now);
        let mut turns = Vec::new();
        while let Some(number) = wheel.next_slot(now) {
            for turn in [Turn::Fast, Turn::Slow] {
                let mut index = 0;
                while let Some(slot) = wheel.leg(number, turn, index) {
                    turns.push((number, slot));
                    index += 1;
                }
            }
        }
        (due, turns)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn an_empty_wheel_has_no_deadline_and_no_past() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.next_deadline(), None);
        wheel.insert(start + ms(5000), Turn::Fast, Slot(3));
        assert_eq!(wheel.next_deadline(), Some(start + ms(5003)));
        let (due, turns) = run(&mut wheel, start + ms(5003));
        assert_eq!(due, Due::default());
        assert_eq!(turns, [(5003, Slot(3))]);
    }

    #[test]
    fn a_fast_leg_has_a_turn_every_20_ms_and_missed_ones_in_order() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.insert(start, Turn::Fast, Slot(25));
        let (due, turns) = run(&mut wheel, start + ms(66));
        assert_eq!(due.skipped, 0);
        assert_eq!(due.late, ms(61));
        assert_eq!(
            turns,
            [
                (5, Slot(25)),
                (25, Slot(25)),
                (45, Slot(25)),
                (65, Slot(25))
            ]
        );
        assert_eq!(wheel.next_deadline(), Some(start + ms(85)));
    }

    #[test]
    fn a_long_stall_is_not_caught_up_with_altogether() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.insert(start, Turn::Fast, Slot(0));
        let (due, turns) = run(&mut wheel, start + ms(1000));
        assert_eq!(due.skipped, 881, "from the first that was due");
        assert_eq!(turns.len(), 5);
    }

    #[test]
    fn a_slow_leg_has_a_turn_every_200_ms() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.insert(start, Turn::Slow, Slot(7));
        let mut turns = Vec::new();
        for _ in 0..3 {
            let due = wheel.next_deadline().expect("a leg waits");
            turns.extend(run(&mut wheel, due).1);
        }
        assert_eq!(turns, [(70, Slot(7)), (270, Slot(7)), (470, Slot(7))]);
    }
}
