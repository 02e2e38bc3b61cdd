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
    held: Held,
}

impl Packet {
    pub(super) fn new(timestamp: i64, sequence: i64, units: i64, kind: Option<u8>) -> Self {
        Self {
            timestamp,
            sequence,
            units,
            kind,
            restart: false,
            held: Held::NOTHING,
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

/// A payload that lies in its cells already.
#[derive(Copy, Clone, Debug)]
pub(super) struct Held {
    cell: u8,
    cells: u8,
    len: u16,
}

impl Held {
    pub(super) const NOTHING: Self = Self {
        cell: 0,
        cells: 0,
        len: 0,
    };
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct Store {
    /// Bit i: cell i is in use.
    used: u128,
    bytes: Box<[u8]>,
    /// Bytes of a cell.
    cell: usize,
    /// Length of the last payload that came.
    usual: u16,
    /// Few: moving them to the front costs less than walking through the memory of a ring.
    packets: Vec<Packet>,
}

/// Cells in the block: as many as bits.
const CELLS: u32 = u128::BITS;

impl Store {
    /// Room for payloads of `bytes` in all.
    pub(super) fn new(bytes: usize) -> Self {
        let cell = bytes.div_ceil(CELLS as usize).max(1);
        Self {
            used: 0,
            bytes: vec![0; cell * CELLS as usize].into_boxed_slice(),
            cell,
            usual: 160,
            packets: Vec::with_capacity(PACKETS_MAX),
        }
    }

    /// Asks for the cells of a packet as long as the last.
    #[inline]
    pub(super) fn expect_packet(&self) {
        let start = (!self.used).trailing_zeros() as usize * self.cell;
        if let Some(place) = self.bytes.get(start..start + usize::from(self.usual)) {
            prefetch::slice(place);
        }
    }

    /// Asks for where the first packets are written down.
    #[inline]
    pub(super) fn expect_turn(&self) {
        prefetch::address(self.packets.as_ptr(), size_of::<Packet>());
    }

    /// Asks for a payload.
    #[inline]
    pub(super) fn expect_held(&self, held: Held) {
        prefetch::slice(self.payload_of(held));
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
        self.release(packet.held);
        Some(packet)
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.used = 0;
    }

    pub(super) fn payload(&self, packet: &Packet) -> &[u8] {
        self.payload_of(packet.held)
    }

    fn payload_of(&self, held: Held) -> &[u8] {
        let start = usize::from(held.cell) * self.cell;
        let end = start + usize::from(held.len);
        self.bytes.get(start..end).unwrap_or(&[])
    }

    /// Takes a payload whose packet is put in order later. `None`: there is no room now.
    #[inline]
    pub(super) fn hold(&mut self, payload: &[u8]) -> Option<Held> {
        let len = u16::try_from(payload.len()).ok()?;
        let wanted = payload.len().div_ceil(self.cell);
        let cells = u8::try_from(wanted)
            .ok()
            .filter(|&cells| u32::from(cells) <= CELLS)?;
        let cell = free_cells(self.used, cells)?;
        self.used |= mask(cell, cells);
        self.usual = len;
        let start = usize::from(cell) * self.cell;
        if let Some(place) = self.bytes.get_mut(start..start + payload.len()) {
            place.copy_from_slice(payload);
        }
        Some(Held { cell, cells, len })
    }

    /// Forgets a payload that was held.
    pub(super) fn release(&mut self, held: Held) {
        self.used &= !mask(held.cell, held.cells);
    }

    /// Puts a packet in order whose payload is held.
    pub(super) fn put_held(&mut self, mut packet: Packet, held: Held) -> Put {
        let Some(mut index) = self.place_of(&packet) else {
            self.release(held);
            return Put::Duplicate;
        };
        let mut pushed_out = 0;
        while self.packets.len() >= PACKETS_MAX && self.pop().is_some() {
            index = index.saturating_sub(1);
            pushed_out += 1;
        }
        packet.held = held;
        self.packets.insert(index, packet);
        Put::Taken { pushed_out }
    }

    /// Puts a packet in order. Where its payload finds no room the oldest packets go.
    pub(super) fn put(&mut self, packet: Packet, payload: &[u8]) -> Put {
        if self.place_of(&packet).is_none() {
            return Put::Duplicate;
        }
        if payload.len() > self.bytes.len() {
            return Put::TooLong;
        }
        let mut made_room = 0;
        let held = loop {
            if let Some(held) = self.hold(payload) {
                break held;
            }
            if self.pop().is_none() {
                return Put::TooLong;
            }
            made_room += 1;
        };
        match self.put_held(packet, held) {
            Put::Taken { pushed_out } => Put::Taken {
                pushed_out: pushed_out + made_room,
            },
            other => other,
        }
    }

    /// Before which packet it belongs; `None`: it is there already.
    fn place_of(&self, packet: &Packet) -> Option<usize> {
        let mut index = self.packets.len();
        while let Some(before) = index.checked_sub(1).and_then(|i| self.packets.get(i)) {
            if before.sequence == packet.sequence {
                return None;
            }
            if (before.timestamp, before.sequence) < (packet.timestamp, packet.sequence) {
                break;
            }
            index -= 1;
        }
        Some(index)
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
                let cells: u32 = store.packets.iter().map(|p| u32::from(p.held.cells)).sum();
                assert_eq!(store.used.count_ones(), cells);
            }
        }
    }
}
