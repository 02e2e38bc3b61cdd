//! Where a packet's samples belong in time.
//!
//! A recording has one clock: samples since its start. A packet belongs where its RTP timestamp says, not
//! where it happened to arrive. The relation between the two clocks is anchored on the first packet, follows the drift
//! of the sender's clock in steps too small to hear, and is taken anew when the timestamps jump. Each step costs a sample:
//! a first packet that came a little late is no reason for any, the direction stays shifted by so much.

/// A packet that belongs so many milliseconds into the future does not: its timestamps jumped.
const AHEAD_MAX_MS: i64 = 100;
/// A packet that belongs so many milliseconds into the past came late, or its timestamps jumped.
const BEHIND_MAX_MS: i64 = 180;
/// Further back than this many milliseconds no network delays a packet.
const BEHIND_NEVER_MS: i64 = 2000;
/// So many packets in a row that are too late: a jump.
const BEHIND_PACKETS: u32 = 10;
/// Packets over which the fastest is looked for.
const WINDOW: u32 = 50;
/// The first packet may have been so many milliseconds slower, or faster, than the fastest of the first window.
const FIRST_MS: i64 = 12;
/// The fastest packet may be so many milliseconds further off before the anchor follows by a sample a packet.
const DRIFT_MS: i64 = 4;
/// So many milliseconds off, the anchor jumps.
const DRIFT_JUMP_MS: i64 = 20;

/// Maps RTP timestamps onto the sample clock of a recording.
#[derive(Clone, Debug)]
pub struct Alignment {
    /// Samples of a millisecond.
    ms: i64,
    /// Position of `timestamp`.
    anchor: Option<(u32, i64)>,
    behind_in_row: u32,
    seen: u32,
    /// Least lateness in the window that is being filled.
    least: i64,
    /// Least lateness that is right: what the first window had.
    usual: Option<i64>,
    /// What is still to be corrected, a sample a packet.
    correction: i64,
}

impl Alignment {
    /// For a clock, and timestamps, of `rate` Hz (a multiple of 1000).
    pub fn new(rate: u32) -> Self {
        Self {
            ms: i64::from(rate / 1000),
            anchor: None,
            behind_in_row: 0,
            seen: 0,
            least: 0,
            usual: None,
            correction: 0,
        }
    }

    /// Forgets the relation: the next packet belongs where it arrives.
    pub fn reset(&mut self) {
        *self = Self::new(self.ms as u32 * 1000);
    }

    /// Where the first sample of the packet belongs. `now` is the recording's clock at its arrival; `restart`: the sender
    /// says that a new stream begins here.
    #[inline]
    pub fn position(&mut self, now: i64, timestamp: u32, restart: bool) -> i64 {
        let Some((anchor, at)) = self.anchor else {
            return self.anchor_at(now, timestamp);
        };
        let advance = i64::from(timestamp.wrapping_sub(anchor) as i32);
        let position = at + advance;
        let late = now - position;
        let possible = (-AHEAD_MAX_MS * self.ms..=BEHIND_NEVER_MS * self.ms).contains(&late);
        if !possible || (restart && late.abs() > DRIFT_JUMP_MS * self.ms) {
            return self.anchor_at(now, timestamp);
        }
        if late > BEHIND_MAX_MS * self.ms {
            self.behind_in_row += 1;
            if self.behind_in_row >= BEHIND_PACKETS {
                return self.anchor_at(now, timestamp);
            }
        } else {
            self.behind_in_row = 0;
        }
        let step = self.follow(late);
        // A fresh anchor with each packet in order keeps the difference of timestamps far from its wrap.
        self.anchor = Some(if advance > 0 {
            (timestamp, position + step)
        } else {
            (anchor, at + step)
        });
        position + step
    }

    /// By how much the anchor has to move now.
    fn follow(&mut self, late: i64) -> i64 {
        self.least = if self.seen == 0 {
            late
        } else {
            self.least.min(late)
        };
        self.seen += 1;
        if self.seen >= WINDOW {
            self.seen = 0;
            let first = FIRST_MS * self.ms;
            let usual = *self
                .usual
                .get_or_insert_with(|| self.least.clamp(-first, first));
            let off = self.least - usual;
            if off.abs() > DRIFT_JUMP_MS * self.ms {
                self.correction = 0;
                return off;
            }
            if off.abs() > DRIFT_MS * self.ms {
                self.correction = off;
            }
        }
        let step = self.correction.signum();
        self.correction -= step;
        step
    }

    fn anchor_at(&mut self, now: i64, timestamp: u32) -> i64 {
        self.reset();
        self.anchor = Some((timestamp, now));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 8;
    const DRIFT: i64 = DRIFT_MS * MS;
    const BEHIND_MAX: i64 = BEHIND_MAX_MS * MS;

    #[test]
    fn jitter_does_not_move_samples() {
        let mut a = Alignment::new(8000);
        for n in 0..500i64 {
            // Up to 24 ms of delay, from a fixed pattern.
            let delay = (n * 7919 % 25) * MS;
            let at = a.position(1000 + n * 160 + delay, (n * 160) as u32, false);
            assert!(
                (at - (1000 + n * 160)).abs() <= 25 * MS,
                "packet {n} at {at}"
            );
            if n > 100 {
                assert!((at - (1000 + n * 160)).abs() <= DRIFT, "packet {n} at {at}");
            }
        }
    }

    #[test]
    fn a_first_packet_that_came_late_costs_no_sample() {
        for late in [-12, -5, 5, 12] {
            let mut a = Alignment::new(8000);
            let first = a.position(1000 + late * MS, 0, false);
            for n in 1..3000i64 {
                let at = a.position(1000 + n * 160, (n * 160) as u32, false);
                assert_eq!(at, first + n * 160, "{late} ms, packet {n}");
            }
        }
    }

    #[test]
    fn drift_is_followed_without_steps_that_can_be_heard() {
        let mut a = Alignment::new(8000);
        let mut before: Option<i64> = None;
        // A sender that is 300 ppm slow, for ten minutes.
        for n in 0..30_000i64 {
            let now = n * 160 + n * 160 * 300 / 1_000_000;
            let at = a.position(now, (n * 160) as u32, false);
            assert!((now - at).abs() < 10 * MS, "packet {n}: {}", now - at);
            if let Some(before) = before {
                assert!((at - before - 160).abs() <= 1, "packet {n}");
            }
            before = Some(at);
        }
    }

    #[test]
    fn a_jump_of_timestamps_is_anchored_anew() {
        let mut a = Alignment::new(8000);
        assert_eq!(a.position(0, 5000, false), 0);
        assert_eq!(a.position(160, 5160, false), 160);
        assert_eq!(a.position(320, 900_000, false), 320, "far ahead");
        assert_eq!(a.position(480, 4000, false), 480, "far behind");
        assert_eq!(
            a.position(640 + 1000, 4320, true),
            1640,
            "a restart by the sender's word"
        );
    }

    #[test]
    fn a_late_packet_keeps_its_place_but_ten_in_a_row_are_a_jump() {
        let mut a = Alignment::new(8000);
        a.position(0, 0, false);
        let late = BEHIND_MAX + 200;
        for n in 1..=i64::from(BEHIND_PACKETS) {
            let at = a.position(n * 160 + late, (n * 160) as u32, false);
            if n < i64::from(BEHIND_PACKETS) {
                assert_eq!(at, n * 160);
            } else {
                assert_eq!(at, n * 160 + late);
            }
        }
    }

    #[test]
    fn the_wrap_of_timestamps_is_no_jump() {
        let mut a = Alignment::new(8000);
        let start = u32::MAX - 100_000;
        for n in 0..5000u32 {
            let at = a.position(
                i64::from(n) * 160,
                start.wrapping_add(n.wrapping_mul(160)),
                false,
            );
            assert_eq!(at, i64::from(n) * 160);
        }
    }
}
