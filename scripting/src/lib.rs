//! The dialplan at work: a sandboxed Luau machine on each shard, the steps compiled from rows, and the applications and
//! functions they call.
//!
//! | Module | Subject |
//! |---|---|
//! | `vm` | the machine: sandbox, memory limit, time budget |
//! | `plans` | the current plan, compiled anew when rows change |
//! | `host` | a shard's machine with the chunks loaded into it |
//! | `task`, `trail` | one channel's run: frames, variables, plan version, steps found |
//! | `runner`, `turns`, `decide` | which step comes next |
//! | `app`, `func` | applications and functions |
//! | `script` | dialplans in Lua: the files, and what they can call |
//! | `agi` | scripts outside of the exchange: their protocol, processes and connections |
//! | `registry`, `check` | what exists, and what is wrong with a dialplan |
//! | `rehearsal` | tests of a dialplan: calls with nobody in them |
//! | `depth`, `log_line` | limits of nesting and of what a call may write to the log |
//!
//! What never lives here: SIP, packets, SQL. Applications are made of the verbs of a channel, which the core has.

mod agi;
mod app;
mod check;
mod conference;
mod decide;
mod depth;
pub mod fax;
mod func;
mod host;
mod log_line;
mod lots;
mod plans;
mod registry;
pub mod rehearsal;
mod runner;
mod say;
mod script;
mod task;
mod trail;
mod turns;
mod vm;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use strowger_core::channel::{Channel, Location};
use strowger_core::dialplan::{
    Dialplan, DialplanFactory, Exists, LocalFuture, OutOfReach, Reach, SubroutineEnd,
};
use strowger_core::shard::Shard;
use strowger_dialplan::Query;
use strowger_dialplan::args::{self, Priority};
use strowger_dialplan::plan::HINT;
use strowger_store::Snapshot;

pub use agi::{Agi, NotTaken};
pub use app::application_reaches;
pub use check::{check, check_databases};
pub use fax::Fax;
pub use func::{text_reaches, text_reaches_with, variable_reaches};
pub use plans::{EditError, PlanWatcher, Plans, compile};
pub use registry::{Applications, Help, applications, functions};
pub use script::Scripts;
pub use vm::{Counters, Limits, VmError};

use host::Host;
use task::Task;

/// The dialplan of one shard.
struct Script {
    host: Rc<Host>,
}

impl Dialplan for Script {
    fn exists(&self, context: &str, exten: &str, caller: &str) -> Exists {
        let exten = if exten.is_empty() { "s" } else { exten };
        let plan = self.host.current();
        let query = Query::new(context, exten, 1).caller(Some(caller));
        if plan.exists(&query) {
            Exists::Yes
        } else if plan.match_more(&query) {
            Exists::Incomplete
        } else {
            Exists::No
        }
    }

    fn priority(&self, context: &str, exten: &str, caller: &str, written: &str) -> Option<i32> {
        let plan = self.host.current();
        let written = written.trim();
        match args::parse_goto(written).priority {
            Priority::Number(number) => {
                let number = i32::try_from(number).ok().filter(|number| *number > 0)?;
                let query = Query::new(context, exten, number).caller(Some(caller));
                plan.exists(&query).then_some(number)
            }
            Priority::Label(label) => {
                plan.find_label(&Query::label(context, exten, label).caller(Some(caller)))
            }
            Priority::Relative(_) => None,
        }
    }

    fn hint(&self, context: &str, exten: &str) -> Option<String> {
        let plan = self.host.current();
        let found = plan.find(&Query::new(context, exten, HINT))?;
        let own = [("EXTEN", exten), ("CONTEXT", context)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let vars: std::collections::HashMap<String, String> =
            plan.globals.iter().cloned().chain(own).collect();
        let hint = strowger_dialplan::subst::substitute(&found.step().app, &vars);
        (!hint.is_empty()).then_some(hint)
    }

    fn feature_code(&self, channel: &Channel, name: &str) -> Option<String> {
        app::features::code_of(channel, name)
    }

    fn run(&self, channel: Channel) -> LocalFuture<()> {
        Box::pin(runner::run(Rc::clone(&self.host), channel))
    }

    fn application(
        &self,
        channel: Channel,
        name: String,
        data: String,
        reach: Reach,
    ) -> LocalFuture<()> {
        Box::pin(runner::application(
            Rc::clone(&self.host),
            channel,
            name,
            data,
            reach,
        ))
    }

    fn read(&self, channel: &Channel, name: &str, reach: Reach) -> Result<String, OutOfReach> {
        let task = Task::new(&self.host, channel.clone());
        task.set_reach(reach);
        let value = strowger_dialplan::subst::resolve(name, &*task);
        if task.has_overreached() {
            return Err(OutOfReach);
        }
        Ok(value)
    }

    fn write(
        &self,
        channel: &Channel,
        name: &str,
        value: &str,
        reach: Reach,
    ) -> Result<(), String> {
        let task = Task::new(&self.host, channel.clone());
        task.set_reach(reach);
        task.assign(name, value)
    }

    fn subroutine(
        &self,
        channel: Channel,
        location: Location,
        arguments: Vec<String>,
    ) -> LocalFuture<SubroutineEnd> {
        Box::pin(runner::subroutine(
            Rc::clone(&self.host),
            channel,
            location,
            arguments,
        ))
    }

    fn hangup_handlers(&self, channel: Channel) -> LocalFuture<()> {
        Box::pin(runner::hangup_handlers(Rc::clone(&self.host), channel))
    }
}

/// The keys that who transfers may dial meanwhile, by their name in `features.conf` (`atxferabort`, `atxfercomplete`,
/// `atxferthreeway`, `atxferswap`). `None`: there is no such name, or it has no keys.
pub fn transfer_code(snapshot: &Snapshot, name: &str) -> Option<String> {
    app::transfer_code(snapshot, name)
}

/// Is there what a module of Asterisk brings, by the module's name (`app_dial.so`, with `.so` or without)?
pub fn has_module(name: &str) -> bool {
    func::module::is_there(name)
}

/// The names for which [`has_module`] says yes, without `.so`, sorted.
pub fn modules() -> Vec<String> {
    func::module::names()
}

/// Where the recording of a conference is written: `file` below `monitor`, or a name made of the conference's.
pub fn conference_recording(monitor: &Path, conference: &str, file: &str, epoch: u64) -> PathBuf {
    conference::record_path(monitor, conference, file, false, epoch)
}

/// Makes the dialplan of each shard from the plans that [`PlanWatcher::start`] keeps up to date.
pub fn factory(plans: Arc<Plans>, limits: Limits) -> DialplanFactory {
    Arc::new(move |_: &Rc<Shard>| {
        let host = Host::new(Arc::clone(&plans), limits)
            .map_err(|error| format!("the script machine cannot start: {error}"))?;
        Ok(Rc::new(Script { host }) as Rc<dyn Dialplan>)
    })
}
