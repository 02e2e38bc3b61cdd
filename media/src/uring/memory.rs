//! Anonymous page-aligned memory that is shared with the kernel.

use std::{io, ptr::NonNull};

/// A private anonymous mapping, zeroed, unmapped on drop. Pages cost memory only once they are touched.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

/// Whether a mapping should be backed by huge pages.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Pages {
    /// Every byte will be used soon: fewer, larger pages.
    Huge,
    /// Most of the address range stays untouched: only small pages.
    Sparse,
}

impl Mapping {
    /// Maps `len` bytes (rounded up to pages by the kernel).
    pub(crate) fn new(len: usize, pages: Pages) -> io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let advice = match pages {
            Pages::Huge => libc::MADV_HUGEPAGE,
            Pages::Sparse => libc::MADV_NOHUGEPAGE,
        };
        // SAFETY: the range is the mapping just made. A refused hint changes nothing but speed.
        unsafe { libc::madvise(base, len, advice) };
        // SAFETY: a forked child must not inherit memory that the ring of the parent writes to; same range as above.
        unsafe { libc::madvise(base, len, libc::MADV_DONTFORK) };
        let base = NonNull::new(base.cast::<u8>())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { base, len })
    }

    /// First byte of the mapping.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// `len` bytes from `at`; an empty slice when the range is not inside the mapping.
    pub(crate) fn slice_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        match at.checked_add(len) {
            Some(end) if end <= self.len => {
                // SAFETY: the range is inside the mapping, initialised (zeroed by the kernel), and borrowed mutably
                // with the mapping itself; the kernel writes only to buffers it has been given, which callers do not
                // read until it hands them back.
                unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(at), len) }
            }
            _ => &mut [],
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping made in `new`, and nothing borrows it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

// SAFETY: the mapping is owned memory without thread affinity; `&self` hands out only the address.
unsafe impl Send for Mapping {}
