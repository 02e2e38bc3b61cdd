//! Timer settings (RFC 3261 §17, table 4) and the queue of deadlines.
//!
//! A transaction keeps its own deadlines; the queue only remembers the earliest one it was told of. Entries are never
//! searched for and removed: an entry whose transaction has ended or has moved its deadline is dropped when it comes up,
//! and the heap is swept when such entries outnumber the living.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Timer settings of a transaction layer. `Default` is RFC 3261 table 4: T1 500 ms, T2 4 s, T4 5 s, everything that is
/// 64*T1 there 32 s.
#[derive(Clone, Debug)]
pub struct Timers {
    /// Round-trip estimate: the first retransmission interval (timers A, E, G).
    pub t1: Duration,
    /// Longest retransmission interval of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// Longest time a message stays in the network (timers I and K over UDP).
    pub t4: Duration,
    /// Timers B and F: how long a request may stay without any (B) or a final (F) response.
    pub timer_b: Duration,
    /// Timer D: how long an INVITE client absorbs retransmitted failures over UDP; at least 32 s by the RFC.
    pub timer_d: Duration,
    /// After so long without a response from the user of the transaction an INVITE is answered 100 (§17.2.1).
    pub trying: Duration,
    /// Longest ringing: an INVITE that has had a provisional response for so long (since the last one, as timer C,
    /// §16.6) is cancelled by its client and answered 408 by its server. This only bounds what a forgotten call can hold.
    pub proceeding: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self::from_t1(Duration::from_millis(500), Duration::from_secs(32))
    }
}

impl Timers {
    /// The RFC's settings with another T1 and timer B (the `timer_t1` and `timer_b` of a realtime configuration).
    pub fn from_t1(t1: Duration, timer_b: Duration) -> Self {
        Self {
            t1,
            t2: Duration::from_secs(4).max(t1),
            t4: Duration::from_secs(5),
            timer_b,
            timer_d: Duration::from_secs(32).max(t1 * 64),
            trying: Duration::from_millis(200),
            proceeding: Duration::from_secs(3600),
        }
    }

    /// 64*T1: timers H, J, L and M, and the wait for a final response after CANCEL (§9.1).
    pub fn linger(&self) -> Duration {
        self.t1 * 64
    }
}

/// Deadlines of many owners, earliest first.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Instant, T)>>,
}

impl<T: Ord + Copy> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }

    pub(super) fn push(&mut self, when: Instant, owner: T) {
        self.heap.push(Reverse((when, owner)));
    }

    /// The earliest entry, living or not.
    pub(super) fn peek(&self) -> Option<(Instant, T)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, T)> {
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops the entries that no longer mean anything once they outnumber `living` owners two to one. The cost is spread
    /// over the pushes that made the heap grow.
    pub(super) fn sweep(&mut self, living: usize, mut is_due: impl FnMut(Instant, T) -> bool) {
        if self.heap.len() > 64 && self.heap.len() > living * 3 {
            self.heap
                .retain(|Reverse((when, owner))| is_due(*when, *owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_rfc() {
        let timers = Timers::default();
        assert_eq!(timers.t1, Duration::from_millis(500));
        assert_eq!(timers.linger(), Duration::from_secs(32));
        assert_eq!(timers.timer_b, Duration::from_secs(32));
        assert!(timers.timer_d >= Duration::from_secs(32));
    }

    #[test]
    fn deadlines_come_out_in_order_and_dead_ones_are_swept() {
        let start = Instant::now();
        let mut queue = Queue::new();
        for i in 0..200u64 {
            queue.push(start + Duration::from_millis((i * 37) % 200), i);
        }
        assert_eq!(queue.peek().map(|(when, _)| when), Some(start));
        queue.sweep(10, |_, owner| owner < 10);
        assert_eq!(queue.len(), 10);
        let mut last = start;
        while let Some((when, owner)) = queue.pop() {
            assert!(when >= last && owner < 10);
            last = when;
        }
    }
}
