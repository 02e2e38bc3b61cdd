//! A ring of provided buffers: the kernel takes one for each datagram, and gets it back when the datagram has been read.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// Alignment of both pieces of memory: a page.
const PAGE: usize = 4096;

/// A piece of zeroed memory that stays where it is.
struct Memory {
    base: *mut u8,
    layout: Layout,
}

impl Memory {
    fn new(len: usize) -> io::Result<Self> {
        let layout = Layout::from_size_align(len.max(PAGE), PAGE)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Ok(Self { base, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.base, self.layout) }
    }
}

/// Buffers of one size, registered with a ring under a group number. They must go after the ring.
pub(super) struct Buffers {
    entries: Memory,
    data: Memory,
    count: u16,
    len: usize,
    tail: u16,
}

impl Buffers {
    /// `count` (a power of two up to 32768) buffers of `len` bytes, all given to the kernel.
    pub(super) fn new(io: &IoUring, group: u16, count: u16, len: usize) -> io::Result<Self> {
        if !count.is_power_of_two() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let len = len.next_multiple_of(64);
        let entries = Memory::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let data = Memory::new(usize::from(count) * len)?;
        // SAFETY: the entries are page aligned, `count` of them long, and live as long as this value, which its owner
        // drops after the ring.
        unsafe {
            io.submitter()
                .register_buf_ring_with_flags(entries.base as u64, count, group, 0)?;
        }
        let mut buffers = Self {
            entries,
            data,
            count,
            len,
            tail: 0,
        };
        for id in 0..count {
            buffers.give_back(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `len` bytes of a buffer that a completion named; empty where the numbers make no sense.
    pub(super) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        if id >= self.count || len > self.len {
            return &[];
        }
        // SAFETY: inside the memory, since id < count and len <= the buffer's length; the kernel has given the buffer to
        // us and does not write into it until it is given back, for which this borrow has to end.
        unsafe { std::slice::from_raw_parts(self.data.base.add(usize::from(id) * self.len), len) }
    }

    /// Queues a buffer for the kernel, which sees it after [`Buffers::publish`].
    pub(super) fn give_back(&mut self, id: u16) {
        if id >= self.count {
            return;
        }
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: inside the memory because id < count.
        let address = unsafe { self.data.base.add(usize::from(id) * self.len) };
        // SAFETY: index < count, so the entry is inside the memory, which is aligned for it; only this thread writes
        // entries, and the kernel reads one only once the tail says so. Any bit pattern is a valid entry.
        let entry = unsafe { &mut *self.entries.base.cast::<BufRingEntry>().add(index) };
        entry.set_addr(address as u64);
        entry.set_len(self.len as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: the base is the first entry of a registered ring, zeroed when it was made.
        let tail = unsafe { BufRingEntry::tail(self.entries.base.cast()) };
        // SAFETY: the tail is aligned to two bytes and lives as long as the memory; both sides use it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
