//! Packets that wait, in the order of their timestamps, their payloads in cells of one block of bytes.
//!
//! The first cells that are free are used, so that the few packets that usually wait take turns in the same few lines of
//! the cache.

use crate::uring::prefetch;

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
    /// The first cell of the payload.
    cell: u8,
    cells: u8,
    len: u16,
}

impl Packet {
    pub(super) fn new(timestamp: i64, sequence: i64, units: i64, kind: Option<u8>) -> Self {
        Self {
            timestamp,
            sequence,
            units,
            kind,
            restart: false,
            cell: 0,
            cells: 0,
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
    /// Longer than all cells together.
    TooLong,
}

#[derive(Debug)]
pub(super) struct Store {
    /// Few: moving them to the front costs less than walking through the memory of a ring.
    packets: Vec<Packet>,
    bytes: Box<[u8]>,
    /// Bytes of a cell.
    cell: usize,
    /// Bit i: cell i is in use.
    used: u128,
}

/// Cells in the block: as many as bits.
const CELLS: u32 = u128::BITS;

impl Store {
    /// Room for payloads of `bytes` in all.
    pub(super) fn new(bytes: usize) -> Self {
        let cell = bytes.div_ceil(CELLS as usize).max(1);
        Self {
            packets: Vec::with_capacity(PACKETS_MAX),
            bytes: vec![0; cell * CELLS as usize].into_boxed_slice(),
            cell,
            used: 0,
        }
    }

    /// Asks for the cells of a packet as long as the last.
    #[inline]
    pub(super) fn expect_packet(&self) {
        prefetch::slice(&self.packets);
        let len = self.packets.last().map_or(160, |packet| packet.len);
        let start = (!self.used).trailing_zeros() as usize * self.cell;
        if let Some(place) = self.bytes.get(start..start + usize::from(len)) {
            prefetch::slice(place);
        }
    }

    /// Asks for the payload of the first packet.
    #[inline]
    pub(super) fn expect_turn(&self) {
        if let Some(packet) = self.packets.first() {
            prefetch::slice(self.payload(packet));
        }
    }

    pub(super) fn front(&self) -> Option<&Packet> {
        self.packets.first()
    }

    /// Takes the first packet away. Its payload stays until the next is put.
    pub(super) fn pop(&mut self) -> Option<Packet> {
        if self.packets.is_empty() {
            return None;
        }
        let packet = self.packets.remove(0);
        self.used &= !mask(packet.cell, packet.cells);
        Some(packet)
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.used = 0;
    }

    pub(super) fn payload(&self, packet: &Packet) -> &[u8] {
        let start = usize::from(packet.cell) * self.cell;
        let end = start + usize::from(packet.len);
        self.bytes.get(start..end).unwrap_or(&[])
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
        let (Ok(len), true) = (
            u16::try_from(payload.len()),
            payload.len() <= self.bytes.len(),
        ) else {
            return Put::TooLong;
        };
        let cells = payload.len().div_ceil(self.cell) as u8;
        let mut pushed_out = 0;
        let cell = loop {
            let free = if self.packets.len() < PACKETS_MAX {
                free_cells(self.used, cells)
            } else {
                None
            };
            if let Some(cell) = free {
                break cell;
            }
            if self.pop().is_none() {
                return Put::TooLong;
            }
            index = index.saturating_sub(1);
            pushed_out += 1;
        };
        packet.cell = cell;
        packet.cells = cells;
        packet.len = len;
        self.used |= mask(cell, cells);
        let start = usize::from(cell) * self.cell;
        if let Some(place) = self.bytes.get_mut(start..start + payload.len()) {
            place.copy_from_slice(payload);
        }
        self.packets.insert(index, packet);
        Put::Taken { pushed_out }
    }
}

/// The bits of so many cells from `cell` on.
fn mask(cell: u8, cells: u8) -> u128 {
    let bits = u128::MAX.checked_shr(CELLS - u32::from(cells));
    bits.unwrap_or(0) << (u32::from(cell) % CELLS)
}

/// The first of so many free cells in a row.
fn free_cells(used: u128, cells: u8) -> Option<u8> {
    if cells == 0 {
        return Some(0);
    }
    // Bit i stays where the cells i, i + 1, ... are free.
    let mut free = !used;
    for _ in 1..cells {
        free &= free >> 1;
    }
    // What was shifted in at the top is not free: zeros.
    (free != 0).then_some(free.trailing_zeros() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

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
        // Three times forty of 128 cells.
        let mut store = Store::new(512);
        for n in 0..3 {
            assert_eq!(put(&mut store, n, 160), Put::Taken { pushed_out: 0 });
        }
        assert_eq!(put(&mut store, 3, 160), Put::Taken { pushed_out: 1 });
        assert_eq!(store.front().map(|p| p.sequence), Some(1));
        assert_eq!(put(&mut store, 4, 513), Put::TooLong);
        assert_eq!(put(&mut store, 4, 512), Put::Taken { pushed_out: 3 });
        assert_eq!(put(&mut store, 5, 0), Put::Taken { pushed_out: 0 });
        let mut store = Store::new(100_000);
        for n in 0..PACKETS_MAX as i64 {
            assert_eq!(put(&mut store, n, 10), Put::Taken { pushed_out: 0 });
        }
        assert_eq!(put(&mut store, -1, 10), Put::Taken { pushed_out: 1 });
        assert_eq!(store.packets.len(), PACKETS_MAX);
        assert_eq!(store.front().map(|p| p.sequence), Some(-1));
    }

    proptest::proptest! {
        #[test]
        fn what_waits_keeps_its_bytes(steps in proptest::collection::vec((0u8..4, 0usize..700), 1..300)) {
            let mut store = Store::new(4096);
            let mut expected: VecDeque<(i64, usize)> = VecDeque::new();
            for (number, (what, len)) in (0i64..).zip(steps) {
                if what == 0 {
                    let popped = store.pop().map(|p| p.sequence);
                    assert_eq!(popped, expected.pop_front().map(|(n, _)| n));
                } else if let Put::Taken { pushed_out } = put(&mut store, number, len) {
                    expected.drain(..pushed_out as usize);
                    expected.push_back((number, len));
                }
                assert_eq!(store.packets.len(), expected.len());
                for (packet, &(number, len)) in store.packets.iter().zip(&expected) {
                    assert_eq!(packet.sequence, number);
                    assert_eq!(store.payload(packet), vec![number as u8; len]);
                }
                let cells: u32 = store.packets.iter().map(|p| u32::from(p.cells)).sum();
                assert_eq!(store.used.count_ones(), cells);
            }
        }
    }
}
