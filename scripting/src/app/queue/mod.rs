//! `Queue` and what belongs to it. A caller's time in a queue is written here and not in Lua: it waits for its turn, digits,
//! prompts, times and the end of the call all at once, which the verbs of scripts cannot.

mod announce;
mod attempt;
mod caller;
mod members;

use std::time::{Duration, Instant};

use strowger_core::channel::{Channel, Interrupt};
use strowger_core::queue::{Arrival, Penalties, QueueInfo, Refused};

use self::caller::{Caller, End};
use super::{App, AppResult, Call, Next, Stop, app};
use crate::task::Task;

pub(super) const APPS: &[App] = &[
    app!(
        "Queue",
        "Queue(name[,options[,url[,announce[,timeout[,agi[,[macro,]gosub[,rule[,position]]]]]]]])",
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
    let arguments = Arguments::of(&call);
    let variable = |name: &str| call.channel().variable(name).unwrap_or_default();
    let penalty = |name: &str| variable(name).trim().parse().ok();
    let caller = call.channel().data().caller.clone();
    let connected = call.channel().data().connected.clone();
    let arrival = Arrival {
        channel: call.channel().name().to_string(),
        uniqueid: call.channel().uniqueid().to_string(),
        caller_number: caller.number.clone(),
        caller_name: caller.name,
        connected_number: connected.number,
        connected_name: connected.name,
        priority: variable("QUEUE_PRIO").trim().parse().unwrap_or(0),
        position: arguments.position,
        penalties: Penalties {
            min: penalty("QUEUE_MIN_PENALTY"),
            max: penalty("QUEUE_MAX_PENALTY"),
            raise: penalty("QUEUE_RAISE_PENALTY"),
        },
        rule: arguments.rule.clone(),
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
    let Some(caller) = Caller::new(&call, name, id, options, arguments, until) else {
        return Ok(Next::Continue);
    };
    let shown = caller.shown_number();
    let position = caller.position().unwrap_or(0).to_string();
    caller.log("NONE", "ENTERQUEUE", &[call.arg(2), &shown, &position]);
    caller.tell_caller("QueueCallerJoin", |event| {
        let count = caller.count();
        event.with("Position", position).with("Count", count)
    });
    caller.run().await
}

/// The arguments behind the time. Up to version 20 Asterisk has a macro before the subroutine; both forms are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Arguments {
    /// A script that runs on the caller when a member has answered.
    agi: String,
    /// A macro and a subroutine that run on the member before he has the caller.
    macro_name: String,
    gosub: String,
    rule: String,
    /// From 1; 0 is the end.
    position: usize,
}

impl Arguments {
    fn of(call: &Call) -> Self {
        let is_place = |text: &str| {
            let name = text.split(['^', ',', '(']).next().unwrap_or_default();
            !name.is_empty() && (text.contains(['^', ',']) || call.task.exists(name, "s", 1))
        };
        let is_macro = |text: &str| {
            if text.is_empty() {
                return false;
            }
            let name = text.split('^').next().unwrap_or_default();
            call.task.exists(&format!("macro-{name}"), "s", 1)
        };
        let is_rule = |name: &str| call.shared().queue(|table, _, _| table.has_rule(name));
        Self::read(&call.args, &is_place, &is_macro, &is_rule)
    }

    fn read(
        args: &[String],
        is_place: &dyn Fn(&str) -> bool,
        is_macro: &dyn Fn(&str) -> bool,
        is_rule: &dyn Fn(&str) -> bool,
    ) -> Self {
        let arg = |index: usize| args.get(index).map_or("", |text| text.trim());
        let (first, second) = (arg(6), arg(7));
        // Only what cannot be read in today's order is read in the old one, which alone has a tenth argument.
        let is_todays = is_place(first) || (!second.is_empty() && is_rule(second));
        let with_macro = !arg(9).is_empty()
            || (!is_todays && (is_macro(first) || (!second.is_empty() && is_place(second))));
        let (macro_name, behind) = if with_macro { (first, 7) } else { ("", 6) };
        Self {
            agi: arg(5).to_owned(),
            macro_name: macro_name.to_owned(),
            gosub: arg(behind).to_owned(),
            rule: arg(behind + 1).to_owned(),
            position: arg(behind + 2).parse().unwrap_or(0),
        }
    }
}

/// `${name}` and `${name}_MS`.
fn set_duration(task: &Task, name: &str, time: Duration) {
    task.channel.set_variable(name, &time.as_secs().to_string());
    task.channel
        .set_variable(&format!("{name}_MS"), &time.as_millis().to_string());
}

/// The variables that tell of a queue (`setqueuevar`, `QUEUE_VARIABLES`).
pub(crate) fn set_queue_variables(channel: &Channel, info: &QueueInfo) {
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
        channel.set_variable(name, &value);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_of_arguments_are_read() {
        let is_place = |text: &str| text.contains('^') || text == "greet" || text == "both";
        let is_macro = |text: &str| text == "old";
        let is_rule = |text: &str| text == "vip" || text == "both";
        let read = |data: &str| {
            let args: Vec<String> = data.split(',').map(str::to_owned).collect();
            let read = Arguments::read(&args, &is_place, &is_macro, &is_rule);
            [
                read.agi,
                read.macro_name,
                read.gosub,
                read.rule,
                read.position.to_string(),
            ]
            .join("/")
        };
        for (data, wanted) in [
            ("q", "////0"),
            ("q,,,,,a.sh,greet,vip,3", "a.sh//greet/vip/3"),
            ("q,,,,,,,vip,3", "///vip/3"),
            // A rule may be named like a context, and a subroutine like a macro.
            ("q,,,,,,greet,both,3", "//greet/both/3"),
            ("q,,,,,,,both,3", "///both/3"),
            ("q,,,,,,old,vip,3", "//old/vip/3"),
            // As until version 20.
            ("q,,,,,,,greet,vip,3", "//greet/vip/3"),
            ("q,,,,,,old", "/old///0"),
            ("q,,,,,,old,,vip,2", "/old//vip/2"),
            ("q,,,,,,,greet^s^1", "//greet^s^1//0"),
        ] {
            assert_eq!(read(data), wanted, "{data}");
        }
    }
}
