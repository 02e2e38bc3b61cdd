//! `Queue` and what belongs to it. A caller's time in a queue is written here and not in Lua: it waits for its turn, digits,
//! prompts, times and the end of the call all at once, which the verbs of scripts cannot.

mod announce;
mod attempt;
mod caller;
mod members;

use std::time::{Duration, Instant};

use strowger_core::channel::Interrupt;
use strowger_core::queue::{Arrival, Penalties, QueueInfo, Refused};

use self::caller::{Caller, End};
use super::{App, AppResult, Call, Next, Stop, app};
use crate::task::Task;

pub(super) const APPS: &[App] = &[
    app!(
        "Queue",
        "Queue(name[,options[,url[,announce[,timeout[,agi[,gosub[,rule[,position]]]]]]]])",
        "waits in a queue until a member takes the call",
        queue
    ),
    app!(
        "AddQueueMember",
        "AddQueueMember(queue[,interface[,penalty[,options[,name[,state_interface[,wrapuptime]]]]]])",
        "adds a member to a queue",
        members::add
    ),
    app!(
        "RemoveQueueMember",
        "RemoveQueueMember(queue[,interface])",
        "removes a dynamic member from a queue",
        members::remove
    ),
    app!(
        "PauseQueueMember",
        "PauseQueueMember([queue],interface[,options[,reason]])",
        "lets a member of queues rest",
        members::pause
    ),
    app!(
        "UnpauseQueueMember",
        "UnpauseQueueMember([queue],interface[,options[,reason]])",
        "lets a member of queues work again",
        members::unpause
    ),
    app!(
        "QueueLog",
        "QueueLog(queue,uniqueid,member,event[,data])",
        "writes a line of queue_log",
        members::log
    ),
];

/// What `Queue` sets, emptied at its start.
const RESULTS: &[&str] = &[
    "QUEUESTATUS",
    "ABANDONED",
    "DIALEDPEERNUMBER",
    "QUEUEWAIT",
    "QUEUEWAIT_MS",
    "ANSWEREDTIME",
    "ANSWEREDTIME_MS",
    "DIALEDTIME",
    "DIALEDTIME_MS",
    "QUEUE_WITHDRAW_INFO",
];
/// Options of `Queue`.
const KNOWN: &str = "bBcCdFhHiIkKmnrRtTwWxX";

async fn queue(call: Call) -> AppResult {
    for name in RESULTS {
        call.set(name, "");
    }
    let name = call.arg(0).to_owned();
    if name.is_empty() {
        call.warn("Queue needs the name of a queue");
        return Ok(Next::End);
    }
    let options = call.options("Queue", 1);
    call.warn_unknown("Queue", &options, KNOWN);
    if !call.arg(5).is_empty() {
        call.warn("Queue: the argument agi has no effect; use gosub, and AGI in that subroutine");
    }
    let variable = |name: &str| call.channel().variable(name).unwrap_or_default();
    let penalty = |name: &str| variable(name).trim().parse().ok();
    let caller = call.channel().data().caller.clone();
    let arrival = Arrival {
        channel: call.channel().name().to_string(),
        uniqueid: call.channel().uniqueid().to_string(),
        caller_number: caller.number.clone(),
        caller_name: caller.name,
        priority: variable("QUEUE_PRIO").trim().parse().unwrap_or(0),
        position: call.arg(8).parse().unwrap_or(0),
        penalties: Penalties {
            min: penalty("QUEUE_MIN_PENALTY"),
            max: penalty("QUEUE_MAX_PENALTY"),
            raise: penalty("QUEUE_RAISE_PENALTY"),
        },
        rule: call.arg(7).to_owned(),
    };
    call.channel().check()?;
    let joined = call
        .shared()
        .queue(|table, now, states| table.join(&name, arrival, now, states));
    let id = match joined {
        Ok(id) => id,
        Err(Refused::NoSuchQueue) => {
            call.warn(&format!("Queue: there is no queue {name}"));
            return Ok(Next::Continue);
        }
        Err(refused) => {
            let status = match refused {
                Refused::Full => "FULL",
                _ => "JOINEMPTY",
            };
            call.set("QUEUESTATUS", status);
            return Ok(Next::Continue);
        }
    };
    let until = call
        .seconds(4)
        .filter(|limit| !limit.is_zero())
        .map(|limit| Instant::now() + limit);
    let Some(caller) = Caller::new(&call, name, id, options, until) else {
        return Ok(Next::Continue);
    };
    let shown = caller.shown_number();
    let position = caller.position().unwrap_or(0).to_string();
    caller.log("NONE", "ENTERQUEUE", &[call.arg(2), &shown, &position]);
    caller.run().await
}

/// `${name}` and `${name}_MS`.
fn set_duration(task: &Task, name: &str, time: Duration) {
    task.channel.set_variable(name, &time.as_secs().to_string());
    task.channel
        .set_variable(&format!("{name}_MS"), &time.as_millis().to_string());
}

/// The variables that tell of a queue (`setqueuevar`, `QUEUE_VARIABLES`).
pub(crate) fn set_queue_variables(task: &Task, info: &QueueInfo) {
    let (settings, statistics) = (&info.settings, info.statistics);
    for (name, value) in [
        ("QUEUENAME", info.name.clone()),
        ("QUEUEMAX", settings.max_len.to_string()),
        ("QUEUESTRATEGY", settings.strategy.as_str().to_owned()),
        ("QUEUECALLS", info.entries.len().to_string()),
        ("QUEUEHOLDTIME", statistics.hold_time.to_string()),
        ("QUEUETALKTIME", statistics.talk_time.to_string()),
        ("QUEUECOMPLETED", statistics.completed.to_string()),
        ("QUEUEABANDONED", statistics.abandoned.to_string()),
        (
            "QUEUESRVLEVEL",
            settings.service_level.as_secs().to_string(),
        ),
        (
            "QUEUESRVLEVELPERF",
            format!("{:.1}", statistics.level_percent()),
        ),
    ] {
        task.channel.set_variable(name, &value);
    }
}

impl From<Interrupt> for End {
    fn from(interrupt: Interrupt) -> Self {
        Self::Stopped(Stop::Interrupted(interrupt))
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}
