//! One direction of a recording: a window of samples that begins at what was written last.

use super::recorder::{MARGIN_STEPS, TURN_STEPS, WAIT_STEPS};
use crate::alignment::Alignment;
use crate::uring::prefetch;

/// Gaps up to a millisecond come from clock corrections and are bridged by the last sample.
const BRIDGED_MS: u32 = 1;
/// So far into the future a packet may belong, in turns of 20 ms.
const AHEAD_STEPS: i64 = 5;
/// Turns of 20 ms in the window: the margin, what gathers between two calls, what waits for a buffer, the future, and a
/// packet of 60 ms.
const STEPS: i64 = MARGIN_STEPS + TURN_STEPS + WAIT_STEPS + AHEAD_STEPS + 3;

/// See the module's text.
pub(super) struct Track {
    ring: Box<[i16]>,
    alignment: Alignment,
    bridged_gap: i64,
    /// After the newest sample.
    end: i64,
    /// Samples of 20 ms.
    frame: i64,
    /// For each 20 ms of the window: was anything put there?
    present: u64,
}

const _: () = assert!(STEPS <= u64::BITS as i64);

impl Track {
    /// Allocates the window for samples of `rate` Hz.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            ring: vec![0; Self::room(rate) as usize].into_boxed_slice(),
            alignment: Alignment::new(rate),
            bridged_gap: i64::from(rate / 1000 * BRIDGED_MS),
            end: 0,
            frame: i64::from(rate / 50),
            present: 0,
        }
    }

    /// Samples that the window holds.
    pub(super) fn room(rate: u32) -> i64 {
        STEPS * i64::from(rate / 50)
    }

    /// Samples that a packet may belong into the future.
    pub(super) fn ahead(rate: u32) -> i64 {
        AHEAD_STEPS * i64::from(rate / 50)
    }

    /// Asks for the place of the next 20 ms.
    #[inline]
    pub(super) fn expect_packet(&self) {
        let start = self.index(self.end);
        let end = (start + self.frame as usize).min(self.ring.len());
        prefetch::slice(&self.ring[start..end]);
    }

    /// The next packet belongs where it arrives.
    pub(super) fn reset(&mut self) {
        self.alignment.reset();
    }

    /// Places a packet that came when the clock was at `clock`; what lies outside the window that begins at `flushed` is
    /// left out.
    pub(super) fn packet(
        &mut self,
        flushed: i64,
        clock: i64,
        timestamp: u32,
        restart: bool,
        samples: &[i16],
    ) {
        let position = self.alignment.position(clock, timestamp, restart);
        self.put(flushed, position, samples);
    }

    fn put(&mut self, flushed: i64, position: i64, samples: &[i16]) {
        let gap = position - self.end;
        if (1..=self.bridged_gap).contains(&gap) && self.end > flushed {
            let last = self.ring[self.index(self.end - 1)];
            for at in self.end..position {
                let index = self.index(at);
                self.ring[index] = last;
            }
        }
        let from = position.max(flushed);
        let to = (position + samples.len() as i64).min(flushed + self.ring.len() as i64);
        if from >= to {
            return;
        }
        let samples = &samples[(from - position) as usize..(to - position) as usize];
        // At most one wrap: the window is as long as the ring.
        let start = self.index(from);
        let first = samples.len().min(self.ring.len() - start);
        self.ring[start..start + first].copy_from_slice(&samples[..first]);
        self.ring[..samples.len() - first].copy_from_slice(&samples[first..]);
        self.end = self.end.max(to);
        for frame in from.div_euclid(self.frame)..=(to - 1).div_euclid(self.frame) {
            self.present |= bit(frame);
        }
    }

    /// Takes the samples from `position` on, at most 20 ms, and leaves silence. False: nothing was ever put there.
    pub(super) fn take(&mut self, position: i64, out: &mut [i16]) -> bool {
        let start = self.index(position);
        let (before, after) = out.split_at_mut(out.len().min(self.ring.len() - start));
        for (part, out) in [(start, before), (0, after)] {
            let ring = &mut self.ring[part..part + out.len()];
            out.copy_from_slice(ring);
            ring.fill(0);
        }
        let to = position + out.len() as i64;
        let mut any = false;
        for frame in position.div_euclid(self.frame)..=(to - 1).div_euclid(self.frame) {
            any |= self.present & bit(frame) != 0;
            if (frame + 1) * self.frame <= to {
                self.present &= !bit(frame);
            }
        }
        any
    }

    fn index(&self, position: i64) -> usize {
        position.rem_euclid(self.ring.len() as i64) as usize
    }
}

fn bit(frame: i64) -> u64 {
    1 << frame.rem_euclid(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_once_and_the_rest_is_silent() {
        let mut track = Track::new(8000);
        let room = Track::room(8000);
        // Positions around the wrap of the window.
        let at = room - 100;
        track.put(at - 60, at, &[7; 160]);
        let mut out = [1; 160];
        assert!(track.take(at - 60, &mut out));
        assert_eq!(out[..60], [0; 60]);
        assert_eq!(out[60..], [7; 100]);
        assert!(track.take(at + 100, &mut out));
        assert_eq!(out[..60], [7; 60]);
        assert_eq!(out[60..], [0; 100]);
        assert!(!track.take(at + 260 + room, &mut out));
        assert_eq!(out, [0; 160], "and gone a window later");
    }

    #[test]
    fn what_lies_outside_the_window_is_left_out() {
        let mut track = Track::new(8000);
        track.put(1000, 900, &[5; 160]);
        track.put(1000, 1000 + Track::room(8000) - 10, &[6; 160]);
        let mut out = [0; 160];
        track.take(1000, &mut out);
        assert_eq!(out[..60], [5; 60]);
        assert_eq!(out[60..], [0; 100]);
        track.take(1000 + Track::room(8000) - 160, &mut out);
        assert_eq!(out[..150], [0; 150]);
        assert_eq!(out[150..], [6; 10]);
    }
}
