//! The Luau virtual machine of a shard: what a script may reach, how much memory it may hold, and how long it may run
//! before others get their turn. Applications, functions and the dialplan's meaning live elsewhere; nothing here knows
//! about calls.

mod budget;
mod counters;
mod sandbox;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, Lua, Table};

pub use counters::Counters;

use budget::{Meter, Stopped};

/// What one virtual machine may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A script that ran so long without waiting is interrupted, and continued after others had their turn.
    pub slice: Duration,
    /// A script that ran so long altogether without waiting is ended with an error.
    pub total: Duration,
    /// Memory of all scripts of a shard together, in bytes.
    pub memory_bytes: usize,
    /// Steps that never wait run in the machine like all others (tests and benches compare both ways).
    pub all_in_machine: bool,
}

impl Limits {
    /// What one script may hold of the memory, so that none leaves others without any.
    fn share_bytes(&self) -> usize {
        self.memory_bytes / 4
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            slice: Duration::from_millis(50),
            total: Duration::from_secs(1),
            memory_bytes: 256 * 1024 * 1024,
            all_in_machine: false,
        }
    }
}

/// Why a script did not end well.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The script would not stop computing.
    #[error(
        "ran for {0:?} without waiting{2}; scripts are ended after {1:?} (is there an endless loop?)"
    )]
    Overrun(Duration, Duration, String),
    /// The shard's scripts hold more memory than they may.
    #[error("out of memory: the scripts of a shard may hold {0} bytes together")]
    Memory(usize),
    /// One script holds too much of it.
    #[error("holds more than {0} bytes, the share of one script of the memory of a shard")]
    Greedy(usize),
    /// The script raised an error, or could not be compiled.
    #[error("{0}")]
    Script(String),
}

/// Why a call into the machine did not end well, with what was raised.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The machine ended it.
    Stopped(VmError),
    /// It raised this.
    Lua(mlua::Error),
}

/// The sandboxed virtual machine of one shard. Lives on the shard's thread.
pub(crate) struct Vm {
    lua: Lua,
    meter: Rc<Meter>,
    limits: Limits,
}

impl Vm {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>) -> Result<Self, VmError> {
        let preempted = Rc::default();
        let lua = sandbox::open(limits.memory_bytes, &preempted)
            .map_err(|error| describe(&error, limits))?;
        let meter = Rc::new(Meter::new(limits, counters, preempted));
        let interrupt = Rc::clone(&meter);
        lua.set_interrupt(move |lua| interrupt.interrupt(lua));
        Ok(Self { lua, meter, limits })
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// Loads a chunk and calls it with `rt`; it returns the function of a step.
    pub(crate) fn load(&self, name: &str, source: &str, rt: &Table) -> Result<Function, VmError> {
        self.at_once(|| {
            self.lua
                .load(source)
                .set_name(format!("={name}"))
                .into_function()
                .and_then(|chunk| chunk.call::<Function>(rt))
        })
    }

    /// Does something that never waits, within the budget.
    pub(crate) fn at_once<R>(&self, work: impl FnOnce() -> mlua::Result<R>) -> Result<R, VmError> {
        // What is loaded is shared by all calls and has no share.
        let slice = self.meter.enter(Duration::ZERO, usize::MAX, 0);
        let result = work();
        let ended = self.meter.leave(slice, self.lua.used_memory());
        match result {
            _ if ended.overrun => Err(self.overrun(ended.used)),
            Err(error) => Err(self.failed(&error)),
            Ok(value) => Ok(value),
        }
    }

    /// What the script held is garbage now.
    fn greedy(&self) -> VmError {
        let _ = self.lua.gc_collect();
        VmError::Greedy(self.limits.share_bytes())
    }

    fn overrun(&self, used: Duration) -> VmError {
        VmError::Overrun(used, self.limits.total, self.meter.take_place())
    }

    /// Calls a step with one argument in a coroutine of its own, within the budget.
    pub(crate) fn call<A>(
        &self,
        step: &Function,
        argument: A,
    ) -> impl Future<Output = Result<(), VmError>> + use<'_, A>
    where
        A: mlua::IntoLuaMulti,
    {
        let called = self.call_for::<(), _>(step, argument);
        async move {
            called.await.map_err(|failure| match failure {
                Failure::Stopped(error) => error,
                Failure::Lua(error) => self.failed(&error),
            })
        }
    }

    /// The same, with what the function gives back or raises.
    pub(crate) fn call_for<R, A>(
        &self,
        function: &Function,
        arguments: A,
    ) -> impl Future<Output = Result<R, Failure>> + use<'_, R, A>
    where
        R: mlua::FromLuaMulti,
        A: mlua::IntoLuaMulti,
    {
        let call = function.call_async::<R>(arguments);
        let metered = budget::Metered::new(call, Rc::clone(&self.meter), self.lua.clone());
        async move {
            match metered.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => {
                    // Frees what a script held that had no memory left.
                    let _ = self.failed(&error);
                    Err(Failure::Lua(error))
                }
                Err(Stopped::Overrun(ran)) => Err(Failure::Stopped(self.overrun(ran))),
                Err(Stopped::Greedy) => Err(Failure::Stopped(self.greedy())),
            }
        }
    }

    pub(crate) fn failed(&self, error: &mlua::Error) -> VmError {
        let error = describe(error, self.limits);
        if matches!(error, VmError::Memory(_)) {
            // What the failed script held is garbage now; without this, others would run into the limit too.
            let _ = self.lua.gc_collect();
        }
        error
    }
}

fn describe(error: &mlua::Error, limits: Limits) -> VmError {
    match error {
        mlua::Error::MemoryError(_) => VmError::Memory(limits.memory_bytes),
        mlua::Error::CallbackError { cause, .. } => describe(cause, limits),
        mlua::Error::RuntimeError(message) => VmError::Script(first_line(message)),
        other => VmError::Script(first_line(&other.to_string())),
    }
}

/// The message without the stack trace that follows it: one log line is enough.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
