//! The link between two parts of a room on different threads: partial sums through a ring with one writer and one
//! reader, no lock, no allocation after it was made.
//!
//! Both threads have a turn every 20 ms by the same clock, but at their own moments, and either may be a little late. So
//! the reader lets a frame or two wait before it begins (the slack), lets it grow when it ran dry, and leaves one out
//! when more have been waiting for a while: the delay stays as short as the threads' regularity allows.

use rtrb::{Consumer, Producer, RingBuffer};

use super::{FRAME_MAX, LinkCounts};

/// Sums that may be on their way: 160 ms. Later ones are refused and counted.
const FRAMES: usize = 8;
/// Most frames that wait before reading begins.
const SLACK_MAX: usize = 2;
/// Turns over which too long a queue is judged: 1 s.
const WINDOW: u16 = 50;
/// So many windows without need of the larger slack make it small again.
const CALM: u8 = 10;

/// Both ways between two parts: one end for each.
pub fn link() -> (LinkEnd, LinkEnd) {
    let (to_b, from_a) = one_way();
    let (to_a, from_b) = one_way();
    (
        LinkEnd {
            sender: to_b,
            receiver: from_b,
        },
        LinkEnd {
            sender: to_a,
            receiver: from_a,
        },
    )
}

fn one_way() -> (LinkSender, LinkReceiver) {
    // A frame is its length, then its samples.
    let (producer, consumer) = RingBuffer::new(FRAMES * (FRAME_MAX + 1));
    (
        LinkSender { ring: producer },
        LinkReceiver {
            ring: consumer,
            waiting: 0,
            slack: 1,
            filling: true,
            fewest: usize::MAX,
            turns: 0,
            calm: 0,
        },
    )
}

/// What one part holds of a link.
#[derive(Debug)]
pub struct LinkEnd {
    pub(super) sender: LinkSender,
    pub(super) receiver: LinkReceiver,
}

impl LinkEnd {
    /// The other part is gone, and what it sent has been read.
    pub(super) fn is_over(&self) -> bool {
        self.receiver.ring.is_abandoned() && self.receiver.ring.is_empty()
    }
}

/// Gives sums away.
#[derive(Debug)]
pub struct LinkSender {
    ring: Producer<i32>,
}

impl LinkSender {
    /// Gives the sum of this turn; `None` if it is silence. False: there was no room, it is lost.
    pub fn push(&mut self, sum: Option<&[i32]>) -> bool {
        let sum = sum.unwrap_or(&[]);
        let Ok(mut chunk) = self.ring.write_chunk(sum.len() + 1) else {
            return false;
        };
        let (first, second) = chunk.as_mut_slices();
        let words = std::iter::once(sum.len() as i32).chain(sum.iter().copied());
        for (slot, word) in first.iter_mut().chain(second).zip(words) {
            *slot = word;
        }
        chunk.commit_all();
        true
    }
}

/// Takes the sums of the other part.
#[derive(Debug)]
pub struct LinkReceiver {
    ring: Consumer<i32>,
    /// Whole frames in the ring at the last look.
    waiting: usize,
    /// Frames that are to wait, 1..=[`SLACK_MAX`], after the one that is read.
    slack: usize,
    /// Reading begins when the slack has gathered.
    filling: bool,
    /// Fewest frames left over in this window.
    fewest: usize,
    turns: u16,
    calm: u8,
}

impl LinkReceiver {
    /// The sum for this turn. False: silence, `out` is not written. What is missing or left out is counted.
    pub fn pull(&mut self, out: &mut [i32], counts: &mut LinkCounts) -> bool {
        self.waiting = self.count();
        // Frames of silence are short: more of them than of sound fit in.
        while self.waiting > FRAMES {
            self.take(None);
            self.waiting -= 1;
            counts.skipped += 1;
        }
        if self.filling {
            if self.waiting <= self.slack {
                // Whoever closed his part sends nothing more: play what there is.
                if !self.ring.is_abandoned() {
                    return false;
                }
            } else {
                self.filling = false;
                self.window();
            }
        }
        if self.waiting == 0 {
            counts.late += 1;
            self.slack = (self.slack + 1).min(SLACK_MAX);
            self.filling = true;
            return false;
        }
        self.fewest = self.fewest.min(self.waiting - 1);
        self.turns += 1;
        if self.turns >= WINDOW {
            let calm = self.slack > 1 && self.fewest >= self.slack;
            self.calm = if calm { self.calm + 1 } else { 0 };
            if self.calm >= CALM {
                self.calm = 0;
                self.slack -= 1;
            }
            for _ in self.slack..self.fewest {
                counts.skipped += 1;
                self.take(None);
            }
            self.window();
        }
        match self.take(Some(&mut *out)) {
            0 => false,
            length if length == out.len() => true,
            _ => {
                counts.skipped += 1;
                false
            }
        }
    }

    fn window(&mut self) {
        self.fewest = usize::MAX;
        self.turns = 0;
    }

    /// Whole frames in the ring.
    fn count(&mut self) -> usize {
        let Ok(chunk) = self.ring.read_chunk(self.ring.slots()) else {
            return 0;
        };
        let (first, second) = chunk.as_slices();
        let word = |at: usize| first.get(at).or_else(|| second.get(at - first.len()));
        let mut at = 0;
        let mut frames = 0;
        while let Some(&length) = word(at) {
            at += 1 + length.max(0) as usize;
            frames += 1;
        }
        frames
    }

    /// Takes the oldest frame and says how long it is; into `out` if it has that length.
    fn take(&mut self, out: Option<&mut [i32]>) -> usize {
        let Ok(length) = self.ring.pop() else {
            return 0;
        };
        let length = length.max(0) as usize;
        let Ok(chunk) = self.ring.read_chunk(length) else {
            return 0;
        };
        if let Some(out) = out
            && out.len() == length
        {
            let (first, second) = chunk.as_slices();
            let (head, tail) = out.split_at_mut(first.len());
            head.copy_from_slice(first);
            tail.copy_from_slice(second);
        }
        chunk.commit_all();
        length
    }
}
