//! Jumps, subroutines and conditional execution.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use strowger_core::channel::Location;
use strowger_dialplan::args::{self, Destination, Priority};
use strowger_dialplan::{Query, TimeSpec, truth};

use super::{App, AppResult, Call, Next, Stop, app, execute, find, unknown};
use crate::task::{Exception, Task};

pub(super) const APPS: &[App] = &[
    app!(
        now "Goto",
        "Goto([[context,]exten,]priority)",
        "goes on elsewhere",
        goto
    ),
    app!(
        now "GotoIf",
        "GotoIf(condition?[place][:place])",
        "goes on elsewhere if a condition holds",
        goto_if
    ),
    app!(
        now "GotoIfTime",
        "GotoIfTime(times,weekdays,mdays,months[,timezone]?[place][:place])",
        "goes on elsewhere at certain times",
        goto_if_time
    ),
    app!(
        now "Gosub",
        "Gosub([[context,]exten,]priority[(arg1[,...])])",
        "calls a subroutine",
        gosub
    ),
    app!(
        now "GosubIf",
        "GosubIf(condition?[place[(args)]][:place[(args)]])",
        "calls a subroutine if a condition holds",
        gosub_if
    ),
    app!(
        now "Return",
        "Return([value])",
        "comes back from a subroutine",
        give_back
    ),
    app!(
        now "StackPop",
        "StackPop()",
        "forgets the innermost subroutine call",
        stack_pop
    ),
    app!(
        "ExecIf",
        "ExecIf(condition?app(args)[:app(args)])",
        "runs an application if a condition holds",
        exec_if
    )
    .reaching(),
    app!(
        "ExecIfTime",
        "ExecIfTime(times,weekdays,mdays,months[,timezone]?app(args))",
        "runs an application at certain times",
        exec_if_time
    )
    .reaching(),
    app!("Exec", "Exec(app(args))", "runs an application", exec).reaching(),
    app!(
        "TryExec",
        "TryExec(app(args))",
        "runs an application; the call goes on if it fails",
        try_exec
    )
    .reaching(),
    app!(
        now "RaiseException",
        "RaiseException(reason)",
        "goes on at extension e",
        raise_exception
    ),
    app!(
        now "Incomplete",
        "Incomplete([n])",
        "waits for more digits of the number",
        incomplete
    ),
];

/// The place a destination means for this channel. An unknown label is an error; a number that does not exist is not.
pub(crate) fn resolve(task: &Task, destination: &Destination<'_>) -> Result<Location, Stop> {
    let here = task.channel.location();
    let context = destination.context.unwrap_or(&here.context);
    let exten = destination.exten.unwrap_or(&here.exten);
    let priority = match number(&here, destination.priority) {
        Ok(number) => number,
        Err(label) => {
            let caller = task.caller();
            // A label of another context is looked up in the plan that the jump will enter.
            let plan = if context == here.context {
                task.plan()
            } else {
                task.host.current()
            };
            plan.find_label(&Query::label(context, exten, label).caller(Some(&caller)).vars(task)).ok_or_else(|| {
                Stop::Failed(format!(
                    "there is no label or priority \"{label}\" in extension {exten} of context {context}"
                ))
            })?
        }
    };
    if priority < 1 {
        return Err(Stop::Failed(format!(
            "priority {priority} is before the beginning of extension {exten}"
        )));
    }
    Ok(Location::new(context, exten, priority))
}

/// The priority meant, or the label that it has.
fn number<'l>(here: &Location, priority: Priority<'l>) -> Result<i32, &'l str> {
    match priority {
        Priority::Number(number) => Ok(i32::try_from(number).unwrap_or(i32::MAX)),
        Priority::Relative(by) => {
            Ok(i32::try_from(i64::from(here.priority).saturating_add(by)).unwrap_or(i32::MAX))
        }
        Priority::Label(label) => Err(label),
    }
}

fn jump(task: &Task, place: &str) -> AppResult {
    if place.trim().is_empty() {
        return Err(Stop::Failed("Goto needs a priority or label".to_owned()));
    }
    let destination = args::parse_goto(place);
    if destination.context.is_none()
        && destination.exten.is_none()
        && let Ok(priority) = number(&task.channel.data().location, destination.priority)
        && priority >= 1
    {
        return Ok(Next::Priority(priority));
    }
    resolve(task, &destination).map(Next::Jump)
}

fn goto(call: &Call) -> AppResult {
    jump(&call.task, &call.data)
}

fn goto_if(call: &Call) -> AppResult {
    let Some(branches) = args::parse_goto_if(&call.data) else {
        call.warn(&format!(
            "GotoIf({}): there is no \"?\"; write GotoIf(condition?place:place)",
            call.data
        ));
        return Ok(Next::Continue);
    };
    match if truth::is_true(branches.condition.trim()) {
        branches.yes
    } else {
        branches.no
    } {
        Some(place) => jump(&call.task, place),
        None => Ok(Next::Continue),
    }
}

fn holds_now(task: &Task, spec: &str) -> Result<bool, Stop> {
    let spec =
        TimeSpec::parse(spec).map_err(|error| Stop::Failed(format!("time \"{spec}\": {error}")))?;
    Ok(spec.holds(task.now()))
}

fn goto_if_time(call: &Call) -> AppResult {
    let Some(branches) = args::parse_goto_if(&call.data) else {
        call.warn(&format!("GotoIfTime({}): there is no \"?\"; write GotoIfTime(times,weekdays,mdays,months?place)", call.data));
        return Ok(Next::Continue);
    };
    match if holds_now(&call.task, branches.condition)? {
        branches.yes
    } else {
        branches.no
    } {
        Some(place) => jump(&call.task, place),
        None => Ok(Next::Continue),
    }
}

fn enter(task: &Task, place: &str) -> AppResult {
    let (destination, arguments) = args::parse_gosub(place);
    let target = resolve(task, &destination)?;
    let caller = task.caller();
    let plan = if target.context == task.channel.location().context {
        task.plan()
    } else {
        task.host.current()
    };
    let query = Query::new(&target.context, &target.exten, target.priority)
        .caller(Some(&caller))
        .vars(task);
    if !plan.exists(&query) {
        return Err(Stop::Failed(format!(
            "Gosub: there is no {},{},{}",
            target.context, target.exten, target.priority
        )));
    }
    let arguments = arguments.map(args::split).unwrap_or_default();
    let mut back = task.channel.location();
    back.priority = back.priority.saturating_add(1);
    task.push_frame(Some(back), &arguments)?;
    Ok(Next::Jump(target))
}

fn gosub(call: &Call) -> AppResult {
    if call.data.trim().is_empty() {
        return Err(Stop::Failed("Gosub needs a place to go".to_owned()));
    }
    enter(&call.task, &call.data)
}

fn gosub_if(call: &Call) -> AppResult {
    let Some(branches) = args::parse_exec_if(&call.data) else {
        call.warn(&format!(
            "GosubIf({}): there is no \"?\"; write GosubIf(condition?place:place)",
            call.data
        ));
        return Ok(Next::Continue);
    };
    match if truth::is_true(branches.condition.trim()) {
        branches.yes
    } else {
        branches.no
    } {
        Some(place) => enter(&call.task, place),
        None => Ok(Next::Continue),
    }
}

fn give_back(call: &Call) -> AppResult {
    let Some(frame) = call.task.pop_frame() else {
        return Err(Stop::Failed("Return without Gosub".to_owned()));
    };
    call.set("GOSUB_RETVAL", &call.data);
    Ok(match frame.back {
        Some(back) => Next::Jump(back),
        None => Next::Returned(call.data.clone()),
    })
}

fn stack_pop(call: &Call) -> AppResult {
    if call.task.pop_frame().is_none() {
        return Err(Stop::Failed("StackPop without Gosub".to_owned()));
    }
    Ok(Next::Continue)
}

/// Runs `app(args)`. Boxed, because an application may run another one, which may run another one.
fn run_text(task: Rc<Task>, text: &str) -> Pin<Box<dyn Future<Output = AppResult>>> {
    let (name, data) = args::parse_application(text);
    let (name, data) = (name.to_owned(), data.to_owned());
    Box::pin(async move { execute(&task, &name, data, None).await })
}

async fn exec_if(call: Call) -> AppResult {
    let Some(branches) = args::parse_exec_if(&call.data) else {
        call.warn(&format!(
            "ExecIf({}): there is no \"?\"; write ExecIf(condition?app(args):app(args))",
            call.data
        ));
        return Ok(Next::Continue);
    };
    match if truth::is_true(branches.condition.trim()) {
        branches.yes
    } else {
        branches.no
    } {
        Some(text) => run_text(Rc::clone(&call.task), text).await,
        None => Ok(Next::Continue),
    }
}

async fn exec_if_time(call: Call) -> AppResult {
    let Some(branches) = args::parse_exec_if(&call.data) else {
        call.warn(&format!("ExecIfTime({}): there is no \"?\"", call.data));
        return Ok(Next::Continue);
    };
    match if holds_now(&call.task, branches.condition)? {
        branches.yes
    } else {
        branches.no
    } {
        Some(text) => run_text(Rc::clone(&call.task), text).await,
        None => Ok(Next::Continue),
    }
}

async fn exec(call: Call) -> AppResult {
    if call.data.trim().is_empty() {
        return Ok(Next::Continue);
    }
    run_text(Rc::clone(&call.task), &call.data).await
}

async fn try_exec(call: Call) -> AppResult {
    let (name, _) = args::parse_application(&call.data);
    if find(name).is_none() {
        call.warn(&format!("TryExec: {}", unknown(name)));
        call.set("TRYSTATUS", "NOAPP");
        return Ok(Next::Continue);
    }
    match run_text(Rc::clone(&call.task), &call.data).await {
        Err(Stop::Failed(message)) => {
            call.warn(&format!("TryExec: {message}"));
            call.set("TRYSTATUS", "FAILED");
            Ok(Next::Continue)
        }
        Ok(Next::End) | Err(Stop::Told) => {
            call.set("TRYSTATUS", "FAILED");
            Ok(Next::Continue)
        }
        other => {
            call.set("TRYSTATUS", "SUCCESS");
            other
        }
    }
}

fn raise_exception(call: &Call) -> AppResult {
    let place = call.channel().location();
    let target = Location::new(&place.context, "e", 1);
    tracing::debug!(channel = %call.channel().name(), reason = call.data, "exception raised");
    *call.task.exception.borrow_mut() = Some(Exception {
        reason: call.data.trim().to_owned(),
        place,
    });
    Ok(Next::Jump(target))
}

fn incomplete(_: &Call) -> AppResult {
    Ok(Next::Incomplete)
}
