//! A ring of provided buffers: the kernel takes one for each received datagram, we give it back when the datagram has
//! been worked off.
//!
//! The kernel takes them in turn, so all that it has are cold in the caches by the time they are used. Therefore it has
//! no more of them than are needed: twice what came at once lately. The others are kept back until more comes at once.

use super::memory::{Mapping, Pages};
use super::ring::Ring;
use io_uring::cqueue;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// Fewest buffers that the kernel has: a burst that is rarely seen on an idle machine.
const NEEDED_MIN: u16 = 256;
/// Harvests after which what came at once is forgotten, a second or two of work.
const WINDOW: u32 = 1024;

/// Buffers of one size, registered with a ring under a group number.
pub(crate) struct BufferRing {
    entries: Mapping,
    data: Mapping,
    count: u16,
    stride: usize,
    len: u32,
    tail: u16,
    published: u16,
    /// Buffers with an id from here on are kept back when they return.
    needed: u16,
    /// Those that are kept back.
    kept: Vec<bool>,
    /// Most buffers that came with one harvest: in this window and the one before.
    most: [u16; 2],
    harvests: u32,
}

impl BufferRing {
    /// `count` (a power of two up to 32768) buffers of `len` bytes each, the first of them handed to the kernel.
    pub(crate) fn new(
        ring: &Ring,
        group: u16,
        count: u16,
        len: u32,
        pages: Pages,
    ) -> io::Result<Self> {
        if !count.is_power_of_two() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let stride = (len as usize).next_multiple_of(64);
        let entries = Mapping::new(
            usize::from(count) * size_of::<BufRingEntry>(),
            Pages::Sparse,
        )?;
        let data = Mapping::new(usize::from(count) * stride, pages)?;
        // SAFETY: the entries are page aligned, `count` of them long, and live as long as this value, which its owner
        // drops after the ring (see the order of fields there).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.base() as u64,
                count,
                group,
                0,
            )?;
        }
        let mut buffers = Self {
            entries,
            data,
            count,
            stride,
            len,
            tail: 0,
            published: 0,
            needed: 0,
            kept: vec![true; usize::from(count)],
            most: [0; 2],
            harvests: 0,
        };
        buffers.provide(NEEDED_MIN.min(count));
        buffers.publish();
        Ok(buffers)
    }

    /// The kernel is to have so many buffers.
    fn provide(&mut self, needed: u16) {
        let before = std::mem::replace(&mut self.needed, needed);
        for id in before..needed {
            if std::mem::take(&mut self.kept[usize::from(id)]) {
                self.queue(id);
            }
        }
    }

    /// Learns from the completions of a harvest how many buffers are needed.
    pub(crate) fn harvested(&mut self, completions: &[cqueue::Entry]) {
        let (mut buffers, mut short) = (0usize, false);
        for entry in completions {
            buffers += usize::from(cqueue::buffer_select(entry.flags()).is_some());
            short |= entry.result() == -libc::ENOBUFS;
        }
        self.learn(buffers, short);
    }

    /// So many buffers came at once. `short`: there were too few.
    fn learn(&mut self, buffers: usize, short: bool) {
        let buffers = u16::try_from(buffers).unwrap_or(self.count).min(self.count);
        self.most[0] = self.most[0].max(buffers);
        self.harvests += 1;
        if self.harvests >= WINDOW {
            self.harvests = 0;
            self.most = [buffers, self.most[0]];
        }
        if short {
            // Nobody knows how many would have come: twice as many as there were, until it has been calm for a while.
            self.most[0] = self.most[0].max(self.needed);
        }
        let most = u32::from(self.most[0].max(self.most[1]));
        let needed = u16::try_from((2 * most).next_power_of_two()).unwrap_or(self.count);
        let needed = needed.clamp(NEEDED_MIN.min(self.count), self.count);
        if needed != self.needed {
            self.provide(needed);
        }
    }

    /// Queues a buffer for the kernel. It sees it after [`BufferRing::publish`]. Ids that are out of range are ignored.
    pub(crate) fn give_back(&mut self, id: u16) {
        if id >= self.needed {
            if let Some(kept) = self.kept.get_mut(usize::from(id)) {
                *kept = true;
            }
            return;
        }
        self.queue(id);
    }

    fn queue(&mut self, id: u16) {
        if id >= self.count {
            return;
        }
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: the buffer is inside the data mapping because id < count.
        let address = unsafe { self.data.base().add(usize::from(id) * self.stride) };
        // SAFETY: index < count, so the entry is inside the mapping, which is aligned for it; only this thread writes
        // entries, and the kernel reads one only once the tail says so. Any bit pattern is a valid entry.
        let entry = unsafe { &mut *self.entries.base().cast::<BufRingEntry>().add(index) };
        entry.set_addr(address as u64);
        entry.set_len(self.len);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes the buffers given back visible to the kernel.
    pub(crate) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        // SAFETY: the base is the first entry of a registered ring, initialised (zeroed) at creation.
        let tail = unsafe { BufRingEntry::tail(self.entries.base().cast()) };
        // SAFETY: the tail is aligned to two bytes and lives as long as the mapping; both sides use it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    /// The first `len` bytes of a buffer that a completion named. Empty when the kernel's numbers make no sense.
    pub(crate) fn bytes_mut(&mut self, id: u16, len: usize) -> &mut [u8] {
        if id >= self.count || len > self.len as usize {
            return &mut [];
        }
        self.data.slice_mut(usize::from(id) * self.stride, len)
    }

    /// Address of a byte of a buffer, for a send. `None` when it is not inside the buffer.
    pub(crate) fn address(&self, id: u16, start: usize, len: usize) -> Option<*const u8> {
        if id >= self.count || start.checked_add(len)? > self.len as usize {
            return None;
        }
        // SAFETY: inside the data mapping: id < count and start + len <= the buffer's length.
        Some(unsafe { self.data.base().add(usize::from(id) * self.stride + start) }.cast_const())
    }

    /// Length of each buffer in bytes.
    pub(crate) fn buffer_len(&self) -> usize {
        self.len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_as_many_buffers_as_came_at_once_lately() {
        let ring = Ring::new(8, 64).expect("a ring");
        let mut buffers = BufferRing::new(&ring, 0, 4096, 512, Pages::Sparse).expect("buffers");
        assert_eq!(buffers.tail, NEEDED_MIN);
        buffers.learn(100, false);
        assert_eq!((buffers.needed, buffers.tail), (NEEDED_MIN, NEEDED_MIN));
        // A burst: twice as many are there for the next one, each of them only once.
        buffers.learn(200, false);
        assert_eq!((buffers.needed, buffers.tail), (512, 512));
        buffers.learn(500, false);
        assert_eq!((buffers.needed, buffers.tail), (1024, 1024));
        // Too few: twice as many, again and again, and they stay.
        buffers.learn(600, true);
        assert_eq!((buffers.needed, buffers.tail), (2048, 2048));
        buffers.learn(10, true);
        assert_eq!((buffers.needed, buffers.tail), (4096, 4096));
        buffers.learn(100, false);
        assert_eq!((buffers.needed, buffers.tail), (4096, 4096));
        // Calm: after two windows the others are kept when they come back.
        for _ in 0..2 * WINDOW {
            buffers.learn(50, false);
        }
        assert_eq!(buffers.needed, NEEDED_MIN);
        for id in 0..4096 {
            buffers.give_back(id);
        }
        assert_eq!(buffers.tail, 4096 + NEEDED_MIN);
        // And they are there when they are needed again.
        buffers.learn(256, false);
        assert_eq!((buffers.needed, buffers.tail), (512, 4096 + 512));
        drop(ring);
    }
}
