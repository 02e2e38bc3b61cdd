//! How deep the dialplan has gone on this thread's stack. Applications run applications (`Exec`, `ExecIf`, subroutines of
//! `Dial`), functions call functions (`EVAL`), and expressions nest inside of both: each has a limit of its own, and their
//! product would not fit the stack. So what has been used of it is measured where one begins inside of another.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Applications within each other.
pub(crate) const APPLICATIONS_MAX: u32 = 32;
/// Stack that nesting may use before it goes no deeper, in bytes: a quarter of a thread's stack. What runs without
/// nesting any further (an expression of 200 brackets) fits into the rest.
const STACK_BYTES_MAX: usize = 512 * 1024;

thread_local! {
    /// Where the outermost piece of dialplan work began; 0 outside of any.
    static BASE: Cell<usize> = const { Cell::new(0) };
    /// Applications that are being polled now.
    static APPLICATIONS: Cell<u32> = const { Cell::new(0) };
}

/// An address near the end of the stack in use.
#[inline(never)]
fn here() -> usize {
    let marker = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&marker)).addr()
}

/// Marks the begin of work for dialplan, if it is the outermost.
pub(crate) struct Mark {
    outermost: bool,
}

impl Mark {
    pub(crate) fn set() -> Self {
        let outermost = BASE.get() == 0;
        if outermost {
            BASE.set(here());
        }
        Self { outermost }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.outermost {
            BASE.set(0);
        }
    }
}

/// May work of dialplan begin within the work that runs now?
pub(crate) fn stack_is_left() -> bool {
    let base = BASE.get();
    base == 0 || base.abs_diff(here()) < STACK_BYTES_MAX
}

/// May another application begin within those that run now?
pub(crate) fn application_may_begin() -> bool {
    APPLICATIONS.get() < APPLICATIONS_MAX && stack_is_left()
}

/// An application's future, counted while it is polled: what counts is the stack, not who started whom.
pub(crate) struct Application<F: ?Sized>(pub(crate) Pin<Box<F>>);

struct Polled;

impl Drop for Polled {
    fn drop(&mut self) {
        APPLICATIONS.set(APPLICATIONS.get().saturating_sub(1));
    }
}

impl<F: Future + ?Sized> Future for Application<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        APPLICATIONS.set(APPLICATIONS.get() + 1);
        let _polled = Polled;
        self.0.as_mut().poll(cx)
    }
}

/// A future within which the stack is measured.
pub(crate) struct Measured<F>(pub(crate) Pin<Box<F>>);

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _mark = Mark::set();
        self.0.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dive(levels: u32) -> u32 {
        if !stack_is_left() || levels == 0 {
            return levels;
        }
        let filler = std::hint::black_box([0_u8; 1024]);
        let left = dive(levels - 1);
        std::hint::black_box(filler);
        left
    }

    #[test]
    fn nesting_ends_long_before_the_stack_does() {
        let mark = Mark::set();
        assert_eq!(dive(50), 0);
        let left = dive(100_000);
        assert!(left > 99_000 && left < 100_000, "{left}");
        assert!(stack_is_left());
        let inner = Mark::set();
        assert!(!inner.outermost);
        drop((inner, mark));
        assert_eq!(BASE.get(), 0);
    }
}
