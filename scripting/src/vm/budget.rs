//! The time budget: a script that computes without waiting yields to others after a slice, and ends after the total.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use mlua::VmState;

use super::{Counters, Limits};

/// The clock is read at every so many interrupts only (they come with each call and each loop iteration).
const CLOCK_EVERY: u8 = 16;

/// The turn of one script at the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    started: Instant,
    used_before: Duration,
    preempted: bool,
    overrun: bool,
}

/// How a turn went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) used: Duration,
    pub(crate) preempted: bool,
    pub(crate) overrun: bool,
}

/// The script ran for so long without waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overrun(pub(crate) Duration);

/// Knows which script runs now and since when. Shared by the interrupt and by every call into the machine.
pub(crate) struct Meter {
    limits: Limits,
    current: Cell<Option<Slice>>,
    ticks: Cell<u8>,
    counters: Arc<Counters>,
}

impl Meter {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            limits,
            current: Cell::new(None),
            ticks: Cell::new(0),
            counters,
        }
    }

    /// Begins a turn; gives back the turn it interrupts (an application may run a script inside another's turn).
    pub(crate) fn enter(&self, used_before: Duration) -> Option<Slice> {
        self.current.replace(Some(Slice {
            started: Instant::now(),
            used_before,
            preempted: false,
            overrun: false,
        }))
    }

    /// Ends the turn begun last.
    pub(crate) fn leave(&self, outer: Option<Slice>) -> Ended {
        let slice = self.current.replace(outer);
        let Some(slice) = slice else {
            return Ended {
                used: Duration::ZERO,
                preempted: false,
                overrun: false,
            };
        };
        if slice.overrun {
            self.counters
                .scripts_overrun
                .fetch_add(1, Ordering::Relaxed);
        } else if slice.preempted {
            self.counters
                .scripts_preempted
                .fetch_add(1, Ordering::Relaxed);
        }
        Ended {
            used: slice.used_before + slice.started.elapsed(),
            preempted: slice.preempted,
            overrun: slice.overrun,
        }
    }

    /// Called by the machine at every safe point of running code.
    pub(crate) fn interrupt(&self) -> mlua::Result<VmState> {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if !ticks.is_multiple_of(CLOCK_EVERY) {
            return Ok(VmState::Continue);
        }
        let Some(mut slice) = self.current.get() else {
            return Ok(VmState::Continue);
        };
        let ran = slice.started.elapsed();
        if slice.overrun || slice.used_before + ran >= self.limits.total {
            slice.overrun = true;
            self.current.set(Some(slice));
            // A script may catch this error; the call ends all the same, and meanwhile every safe point raises it again.
            self.ticks.set(CLOCK_EVERY - 1);
            return Err(mlua::Error::runtime(
                "the time budget of the script is used up",
            ));
        }
        if ran >= self.limits.slice {
            slice.preempted = true;
            self.current.set(Some(slice));
            // A coroutine made by the script yields to the script only, so the next safe point has to be looked at too.
            self.ticks.set(CLOCK_EVERY - 1);
            // Where yielding is impossible (inside a library function) the machine goes on until the total.
            return Ok(VmState::Yield);
        }
        Ok(VmState::Continue)
    }
}

/// A call into the machine whose turns are metered. Waiting (for a digit, a timer) gives the script a fresh budget.
pub(crate) struct Metered<F> {
    call: Option<Pin<Box<F>>>,
    meter: Rc<Meter>,
    used: Duration,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(call: F, meter: Rc<Meter>) -> Self {
        Self {
            call: Some(Box::pin(call)),
            meter,
            used: Duration::ZERO,
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = Result<F::Output, Overrun>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(call) = this.call.as_mut() else {
            // Polled after the end, which a correct caller never does.
            return Poll::Pending;
        };
        let outer = this.meter.enter(this.used);
        let polled = call.as_mut().poll(cx);
        let ended = this.meter.leave(outer);
        if ended.overrun {
            // Dropping the coroutine ends it, whatever it caught.
            this.call = None;
            return Poll::Ready(Err(Overrun(ended.used)));
        }
        match polled {
            Poll::Ready(output) => {
                this.call = None;
                Poll::Ready(Ok(output))
            }
            Poll::Pending => {
                this.used = if ended.preempted {
                    ended.used
                } else {
                    Duration::ZERO
                };
                Poll::Pending
            }
        }
    }
}
