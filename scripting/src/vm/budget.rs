//! The time budget: a script that computes without waiting yields to others after a slice, and ends after the total.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use mlua::{Lua, Thread, VmState};
use rustc_hash::FxHashSet;

use super::{Counters, Limits};

/// The clock is read at every so many interrupts only (they come with each call and each loop iteration).
const CLOCK_EVERY: u8 = 16;

/// Places told of a script that was ended.
const PLACES_MAX: usize = 6;

/// The turn of one script at the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    started: Instant,
    used_before: Duration,
    preempted: bool,
    /// How long it had run then.
    preempted_at: Duration,
    overrun: bool,
    /// Memory of the machine when the turn began, and what the script held before.
    memory: usize,
    held: usize,
    greedy: bool,
}

impl Slice {
    /// What the script holds, about: the machine grew by so much in its turns.
    fn holds(&self, memory: usize) -> usize {
        self.held.saturating_add(memory).saturating_sub(self.memory)
    }
}

/// How a turn went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) used: Duration,
    pub(crate) preempted: bool,
    pub(crate) overrun: bool,
    /// It wanted more than its share of the memory.
    pub(crate) greedy: bool,
    pub(crate) held: usize,
}

/// Why a script was ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopped {
    /// It ran for so long without waiting.
    Overrun(Duration),
    /// It wanted more than its share of the memory.
    Greedy,
}

/// Coroutines that gave their turn back in the middle of what they compute, until whoever resumes them hears of it.
#[derive(Debug, Default)]
pub(crate) struct Preempted(RefCell<FxHashSet<usize>>);

/// What the coroutines around it have to pass that on.
const PASSING_ON: Duration = Duration::from_millis(1);

/// Where yielding was impossible a coroutine stays in the list; so many may before it is emptied.
const PREEMPTED_MAX: usize = 4096;

impl Preempted {
    fn add(&self, coroutine: &Thread) {
        let mut list = self.0.borrow_mut();
        if list.len() >= PREEMPTED_MAX {
            list.clear();
        }
        list.insert(coroutine.to_pointer().addr());
    }

    /// Takes a coroutine from the list: was it on it?
    pub(crate) fn take(&self, coroutine: &Thread) -> bool {
        self.0.borrow_mut().remove(&coroutine.to_pointer().addr())
    }
}

/// Knows which script runs now and since when. Shared by the interrupt and by every call into the machine.
pub(crate) struct Meter {
    limits: Limits,
    current: Cell<Option<Slice>>,
    ticks: Cell<u8>,
    counters: Arc<Counters>,
    /// Memory of the machine as counted last.
    counted: Cell<usize>,
    /// Where the script was that was ended last.
    place: RefCell<String>,
    preempted: Rc<Preempted>,
}

impl Meter {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>, preempted: Rc<Preempted>) -> Self {
        Self {
            limits,
            current: Cell::new(None),
            ticks: Cell::new(0),
            counters,
            counted: Cell::new(0),
            place: RefCell::default(),
            preempted,
        }
    }

    /// Begins a turn; gives back the turn it interrupts (an application may run a script inside another's turn).
    pub(crate) fn enter(&self, used_before: Duration, memory: usize, held: usize) -> Option<Slice> {
        self.current.replace(Some(Slice {
            started: Instant::now(),
            used_before,
            preempted: false,
            preempted_at: Duration::ZERO,
            overrun: false,
            memory,
            held,
            greedy: false,
        }))
    }

    /// Ends the turn begun last.
    pub(crate) fn leave(&self, outer: Option<Slice>, memory: usize) -> Ended {
        let slice = self.current.replace(outer);
        let grown = memory.wrapping_sub(self.counted.replace(memory));
        // Wraps where it shrank, as the sum does.
        self.counters
            .memory_bytes
            .fetch_add(grown as u64, Ordering::Relaxed);
        let Some(slice) = slice else {
            return Ended {
                used: Duration::ZERO,
                preempted: false,
                overrun: false,
                greedy: false,
                held: 0,
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
        let ran = slice.started.elapsed();
        let us = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
        if us > self.counters.longest_turn_us.load(Ordering::Relaxed) {
            self.counters
                .longest_turn_us
                .fetch_max(us, Ordering::Relaxed);
        }
        Ended {
            used: slice.used_before + ran,
            preempted: slice.preempted,
            overrun: slice.overrun,
            greedy: slice.greedy,
            held: slice.holds(memory),
        }
    }

    /// Where the script was that was ended last: files and lines, innermost first.
    pub(crate) fn take_place(&self) -> String {
        self.place.take()
    }

    /// Called by the machine at every safe point of running code.
    pub(crate) fn interrupt(&self, lua: &Lua) -> mlua::Result<VmState> {
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
            if !slice.overrun {
                *self.place.borrow_mut() = place(lua);
            }
            slice.overrun = true;
            self.current.set(Some(slice));
            // A script may catch this error; the call ends all the same, and meanwhile every safe point raises it again.
            self.ticks.set(CLOCK_EVERY - 1);
            return Err(mlua::Error::runtime(
                "the time budget of the script is used up",
            ));
        }
        let memory = lua.used_memory();
        if !slice.greedy && slice.holds(memory) > self.limits.share_bytes() {
            // Much of it may be garbage, of others too.
            let held = slice.holds(memory);
            let _ = lua.gc_collect();
            let memory = lua.used_memory();
            let still = slice.holds(memory);
            slice.greedy = still > self.limits.share_bytes();
            (slice.memory, slice.held) = (memory, still.min(held));
            self.current.set(Some(slice));
        }
        if slice.greedy {
            self.ticks.set(CLOCK_EVERY - 1);
            return Err(mlua::Error::MemoryError(
                "the script holds more than its share of the memory".to_owned(),
            ));
        }
        if ran >= self.limits.slice {
            if slice.preempted && ran < slice.preempted_at + PASSING_ON {
                // The coroutines around the one that gave its turn back do so too.
                self.ticks.set(CLOCK_EVERY - 1);
                return Ok(VmState::Continue);
            }
            slice.preempted = true;
            slice.preempted_at = ran;
            self.current.set(Some(slice));
            // A coroutine made by the script yields to the script only, so the next safe point has to be looked at too.
            self.ticks.set(CLOCK_EVERY - 1);
            self.preempted.add(&lua.current_thread());
            // Where yielding is impossible (inside a library function) the machine goes on until the total.
            return Ok(VmState::Yield);
        }
        Ok(VmState::Continue)
    }
}

/// The files and lines that run now, innermost first; empty for what people did not write as files.
fn place(lua: &Lua) -> String {
    let mut places = Vec::new();
    for level in 0..64 {
        let found = lua.inspect_stack(level, |debug| {
            let source = debug.source().short_src?.into_owned();
            let line = debug.current_line()?;
            source.ends_with(".lua").then(|| {
                let name = debug.names().name;
                match name {
                    Some(name) => format!("{source}:{line} in function {name}"),
                    None => format!("{source}:{line}"),
                }
            })
        });
        match found {
            None => break,
            Some(None) => {}
            Some(Some(place)) => {
                if places.len() < PLACES_MAX {
                    places.push(place);
                }
            }
        }
    }
    if places.is_empty() {
        return String::new();
    }
    format!(" at {}", places.join(" < "))
}

/// A call into the machine whose turns are metered. Waiting (for a digit, a timer) gives the script a fresh budget.
pub(crate) struct Metered<F> {
    call: Option<Pin<Box<F>>>,
    meter: Rc<Meter>,
    lua: Lua,
    used: Duration,
    held: usize,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(call: F, meter: Rc<Meter>, lua: Lua) -> Self {
        Self {
            call: Some(Box::pin(call)),
            meter,
            lua,
            used: Duration::ZERO,
            held: 0,
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = Result<F::Output, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(call) = this.call.as_mut() else {
            // Polled after the end, which a correct caller never does.
            return Poll::Pending;
        };
        let outer = this
            .meter
            .enter(this.used, this.lua.used_memory(), this.held);
        let polled = call.as_mut().poll(cx);
        let ended = this.meter.leave(outer, this.lua.used_memory());
        this.held = ended.held;
        if ended.greedy {
            this.call = None;
            return Poll::Ready(Err(Stopped::Greedy));
        }
        if ended.overrun {
            // Dropping the coroutine ends it, whatever it caught.
            this.call = None;
            return Poll::Ready(Err(Stopped::Overrun(ended.used)));
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
