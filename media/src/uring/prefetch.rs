//! Asks for memory before it is used. After a sleep nearly all that a packet touches has left the first caches; what is
//! asked for in time comes together, what is not, line by line while everybody waits.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the first `bytes` of a value.
#[inline]
pub(crate) fn value<T>(value: &T, bytes: usize) {
    lines(std::ptr::from_ref(value).cast(), bytes.min(size_of::<T>()));
}

/// Asks for `bytes` of a value from one of its bytes on.
#[inline]
pub(crate) fn part<T>(value: &T, from: usize, bytes: usize) {
    let from = from.min(size_of::<T>());
    let first = std::ptr::from_ref(value).cast::<i8>().wrapping_add(from);
    lines(first, bytes.min(size_of::<T>() - from));
}

/// Asks for memory that may hold no value yet.
#[inline]
pub(crate) fn address<T>(from: *const T, bytes: usize) {
    lines(from.cast(), bytes);
}

/// Asks for values that lie behind each other.
#[inline]
pub(crate) fn slice<T>(slice: &[T]) {
    lines(slice.as_ptr().cast(), size_of_val(slice));
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn lines(from: *const i8, bytes: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for at in (0..bytes).step_by(LINE) {
        // SAFETY: a hint that reads nothing and cannot fault; every x86-64 has the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(at)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn lines(_: *const i8, _: usize) {}
