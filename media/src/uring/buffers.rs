//! A ring of provided buffers: the kernel takes one for each received datagram, we give it back when the datagram has
//! been worked off.

use super::memory::{Mapping, Pages};
use super::ring::Ring;
use io_uring::types::BufRingEntry;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// Buffers of one size, registered with a ring under a group number.
pub(crate) struct BufferRing {
    entries: Mapping,
    data: Mapping,
    count: u16,
    stride: usize,
    len: u32,
    tail: u16,
    published: u16,
}

impl BufferRing {
    /// `count` (a power of two up to 32768) buffers of `len` bytes each, all handed to the kernel.
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
        };
        for id in 0..count {
            buffers.give_back(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Queues a buffer for the kernel. It sees it after [`BufferRing::publish`]. Ids that are out of range are ignored.
    pub(crate) fn give_back(&mut self, id: u16) {
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
