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

use budget::{Meter, Overrun};

/// What one virtual machine may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A script that ran so long without waiting is interrupted, and continued after others had their turn.
    pub slice: Duration,
    /// A script that ran so long altogether without waiting is ended with an error.
    pub total: Duration,
    /// Memory of all scripts of a shard together, in bytes.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            slice: Duration::from_millis(50),
            total: Duration::from_secs(1),
            memory_bytes: 256 * 1024 * 1024,
        }
    }
}

/// Why a script did not end well.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The script would not stop computing.
    #[error(
        "ran for {0:?} without waiting; scripts are ended after {1:?} (is there an endless loop?)"
    )]
    Overrun(Duration, Duration),
    /// The shard's scripts hold more memory than they may.
    #[error("out of memory: the scripts of a shard may hold {0} bytes together")]
    Memory(usize),
    /// The script raised an error, or could not be compiled.
    #[error("{0}")]
    Script(String),
}

/// The sandboxed virtual machine of one shard. Lives on the shard's thread.
pub(crate) struct Vm {
    lua: Lua,
    meter: Rc<Meter>,
    limits: Limits,
}

impl Vm {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>) -> Result<Self, VmError> {
        let lua = sandbox::open(limits.memory_bytes).map_err(|error| describe(&error, limits))?;
        let meter = Rc::new(Meter::new(limits, counters));
        let interrupt = Rc::clone(&meter);
        lua.set_interrupt(move |_| interrupt.interrupt());
        Ok(Self { lua, meter, limits })
    }

    pub(crate) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// Loads a chunk and calls it with `rt`; it returns its table of steps.
    pub(crate) fn load(&self, name: &str, source: &str, rt: &Table) -> Result<Table, VmError> {
        let slice = self.meter.enter(Duration::ZERO);
        let loaded = self
            .lua
            .load(source)
            .set_name(format!("={name}"))
            .into_function()
            .and_then(|chunk| chunk.call::<Table>(rt));
        let ended = self.meter.leave(slice);
        match loaded {
            Err(_) if ended.overrun => Err(VmError::Overrun(ended.used, self.limits.total)),
            Err(error) => Err(self.failed(&error)),
            Ok(table) => Ok(table),
        }
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
        let call = step.call_async::<()>(argument);
        let metered = budget::Metered::new(call, Rc::clone(&self.meter));
        async move {
            match metered.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(self.failed(&error)),
                Err(Overrun(ran)) => Err(VmError::Overrun(ran, self.limits.total)),
            }
        }
    }

    fn failed(&self, error: &mlua::Error) -> VmError {
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
