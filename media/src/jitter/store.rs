//! Packets that wait, in the order of their timestamps, their payloads in one ring of bytes.

use std::collections::VecDeque;

/// Packets that can wait. Of 10 ms each they last 640 ms.
pub(super) const PACKETS_MAX: usize = 64;

/// A packet that waits.
#[derive(Copy, Clone, Debug)]
pub(super) struct Packet {
    /// Extended timestamp, in clock units.
    pub(super) timestamp: i64,
    /// Extended sequence number.
    pub(super) sequence: i64,
    /// Duration in clock units; 0 for comfort noise.
    pub(super) units: i64,
    /// What the owner calls this kind of payload; `None`: comfort noise.
    pub(super) kind: Option<u8>,
    /// The first of another stream.
    pub(super) restart: bool,
    /// Where the payload begins: bytes ever written before it.
    at: u64,
    len: usize,
}

impl Packet {
    pub(super) fn new(timestamp: i64, sequence: i64, units: i64, kind: Option<u8>) -> Self {
        Self {
            timestamp,
            sequence,
            units,
            kind,
            restart: false,
            at: 0,
            len: 0,
        }
    }

    /// After its last unit.
    pub(super) fn end(&self) -> i64 {
        self.timestamp + self.units
    }
}

/// What became of a packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Put {
    Taken {
        /// Packets that had to make room, the oldest first.
        pushed_out: u64,
    },
    Duplicate,
    /// Longer than the whole ring.
    TooLong,
}

#[derive(Debug)]
pub(super) struct Store {
    packets: VecDeque<Packet>,
    bytes: Box<[u8]>,
    /// Bytes ever written, with what was skipped at the end of the ring.
    head: u64,
}

impl Store {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            packets: VecDeque::with_capacity(PACKETS_MAX),
            bytes: vec![0; bytes].into_boxed_slice(),
            head: 0,
        }
    }

    pub(super) fn front(&self) -> Option<&Packet> {
        self.packets.front()
    }

    pub(super) fn pop(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
    }

    pub(super) fn payload(&self, packet: &Packet) -> &[u8] {
        let start = (packet.at % self.bytes.len() as u64) as usize;
        self.bytes.get(start..start + packet.len).unwrap_or(&[])
    }

    pub(super) fn put(&mut self, mut packet: Packet, payload: &[u8]) -> Put {
        let mut index = self.packets.len();
        while let Some(before) = index.checked_sub(1).and_then(|i| self.packets.get(i)) {
            if before.sequence == packet.sequence {
                return Put::Duplicate;
            }
            if (before.timestamp, before.sequence) < (packet.timestamp, packet.sequence) {
                break;
            }
            index -= 1;
        }
        let size = self.bytes.len() as u64;
        let len = payload.len() as u64;
        if len > size {
            return Put::TooLong;
        }
        // A payload lies in one piece.
        let before_end = size - self.head % size;
        let at = if len > before_end {
            self.head + before_end
        } else {
            self.head
        };
        let mut pushed_out = 0;
        while self.packets.len() >= PACKETS_MAX || at + len - self.oldest(at) > size {
            self.packets.pop_front();
            index = index.saturating_sub(1);
            pushed_out += 1;
        }
        let start = (at % size) as usize;
        if let Some(place) = self.bytes.get_mut(start..start + payload.len()) {
            place.copy_from_slice(payload);
        }
        packet.at = at;
        packet.len = payload.len();
        self.head = at + len;
        self.packets.insert(index, packet);
        Put::Taken { pushed_out }
    }

    /// The first byte that is still wanted; `at` when none is.
    fn oldest(&self, at: u64) -> u64 {
        self.packets.iter().map(|p| p.at).min().unwrap_or(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &mut Store, n: i64, len: usize) -> Put {
        store.put(Packet::new(n * 160, n, 160, Some(0)), &vec![n as u8; len])
    }

    #[test]
    fn packets_come_out_in_order_with_their_bytes() {
        let mut store = Store::new(1000);
        let mut next = 0;
        for round in 0..50i64 {
            for n in [2, 0, 1, 2] {
                let expected = if n == 2 && store.packets.len() == 3 {
                    Put::Duplicate
                } else {
                    Put::Taken { pushed_out: 0 }
                };
                assert_eq!(put(&mut store, round * 3 + n, 171), expected);
            }
            for _ in 0..3 {
                let packet = store.pop().expect("three were put");
                assert_eq!(packet.sequence, next);
                assert_eq!(store.payload(&packet), &[next as u8; 171]);
                next += 1;
            }
        }
        assert!(store.pop().is_none());
    }

    #[test]
    fn what_does_not_fit_pushes_the_oldest_out() {
        let mut store = Store::new(500);
        for n in 0..3 {
            assert_eq!(put(&mut store, n, 160), Put::Taken { pushed_out: 0 });
        }
        assert_eq!(put(&mut store, 3, 160), Put::Taken { pushed_out: 1 });
        assert_eq!(store.front().map(|p| p.sequence), Some(1));
        assert_eq!(put(&mut store, 4, 501), Put::TooLong);
        let mut store = Store::new(100_000);
        for n in 0..PACKETS_MAX as i64 {
            assert_eq!(put(&mut store, n, 10), Put::Taken { pushed_out: 0 });
        }
        assert_eq!(put(&mut store, -1, 10), Put::Taken { pushed_out: 1 });
        assert_eq!(store.packets.len(), PACKETS_MAX);
        assert_eq!(store.front().map(|p| p.sequence), Some(-1));
    }
}
