//! `If` and its companions: steps of one extension that run under a condition.

use strowger_core::channel::Location;
use strowger_dialplan::truth;

use super::loops::step_after;
use super::{App, AppResult, Call, Next, Stop, app};
use crate::task::Task;

pub(super) const APPS: &[App] = &[
    app!(
        now "If",
        "If(condition)",
        "runs the steps up to ElseIf, Else or EndIf if a condition holds",
        begin
    ),
    app!(
        now "ElseIf",
        "ElseIf(condition)",
        "runs the steps that follow if no condition before held and this one does",
        else_if
    ),
    app!(
        now "Else",
        "Else()",
        "runs the steps up to EndIf if no condition before held",
        leave
    ),
    app!(now "EndIf", "EndIf()", "ends the steps of If", end),
    app!(now "ExitIf", "ExitIf()", "goes on behind EndIf", leave),
];

fn begin(call: &Call) -> AppResult {
    decide(call)
}

/// Reached from the steps above it, which ran, or from a condition above it that did not hold.
fn else_if(call: &Call) -> AppResult {
    let asked = call.task.asks_else_if.take();
    if asked.is_some_and(|place| place == call.channel().location()) {
        decide(call)
    } else {
        behind(&call.task, &call.channel().location()).map(Next::Jump)
    }
}

fn decide(call: &Call) -> AppResult {
    if truth::is_true(call.data.trim()) {
        return Ok(Next::Continue);
    }
    let here = call.channel().location();
    let found = step_after(&call.task, &here, "If", "EndIf", |app, depth| {
        depth == 0 && matches!(app, "ElseIf" | "Else" | "EndIf")
    });
    match found {
        Some((place, app)) if app == "ElseIf" => {
            *call.task.asks_else_if.borrow_mut() = Some(place.clone());
            Ok(Next::Jump(place))
        }
        Some((place, _)) => Ok(Next::Jump(after(place))),
        None => Err(missing(&here)),
    }
}

fn leave(call: &Call) -> AppResult {
    behind(&call.task, &call.channel().location()).map(Next::Jump)
}

fn end(_: &Call) -> AppResult {
    Ok(Next::Continue)
}

/// Behind the `EndIf` of the branch that `here` is in.
fn behind(task: &Task, here: &Location) -> Result<Location, Stop> {
    step_after(task, here, "If", "EndIf", |app, depth| {
        depth == 0 && app == "EndIf"
    })
    .map(|(place, _)| after(place))
    .ok_or_else(|| missing(here))
}

fn after(place: Location) -> Location {
    Location {
        priority: place.priority.saturating_add(1),
        ..place
    }
}

fn missing(here: &Location) -> Stop {
    Stop::Failed(format!(
        "If at {},{},{} has no EndIf",
        here.context, here.exten, here.priority
    ))
}
