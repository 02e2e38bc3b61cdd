//! `While` and its companions: loops over priorities of one extension.

use strowger_core::channel::Location;
use strowger_dialplan::{Query, truth};

use super::{App, AppResult, Call, Next, Stop, app};
use crate::task::Task;

/// Loops that may be nested in one subroutine.
const NESTED_MAX: usize = 64;
/// Priorities looked at to find the end of a loop.
const SCAN_MAX: i32 = 10_000;

pub(super) const APPS: &[App] = &[
    app!(
        now "While",
        "While(condition)",
        "repeats up to EndWhile while a condition holds",
        begin
    ),
    app!(
        now "EndWhile",
        "EndWhile()",
        "ends the steps that While repeats",
        end
    ),
    app!(now "ExitWhile", "ExitWhile()", "leaves the loop", exit),
    app!(
        now "ContinueWhile",
        "ContinueWhile()",
        "begins the next round of the loop",
        again
    ),
];

fn begin(call: &Call) -> AppResult {
    let here = call.channel().location();
    if truth::is_true(call.data.trim()) {
        let entered = call.task.with_loops(|loops| {
            // Coming back from EndWhile, or by a jump from inside, the loop is entered already.
            if let Some(known) = loops.iter().position(|known| *known == here) {
                loops.truncate(known + 1);
                return true;
            }
            if loops.len() >= NESTED_MAX {
                return false;
            }
            loops.push(here);
            true
        });
        return if entered {
            Ok(Next::Continue)
        } else {
            Err(Stop::Failed(format!(
                "While: more than {NESTED_MAX} loops are open (was one left by Goto?)"
            )))
        };
    }
    call.task
        .with_loops(|loops| loops.retain(|known| *known != here));
    after(&call.task, &here).map(Next::Jump)
}

fn end(call: &Call) -> AppResult {
    match call.task.with_loops(|loops| loops.last().cloned()) {
        Some(start) => Ok(Next::Jump(start)),
        None => Err(Stop::Failed("EndWhile without While".to_owned())),
    }
}

fn exit(call: &Call) -> AppResult {
    match call.task.with_loops(Vec::pop) {
        Some(start) => after(&call.task, &start).map(Next::Jump),
        None => Err(Stop::Failed("ExitWhile without While".to_owned())),
    }
}

fn again(call: &Call) -> AppResult {
    match call.task.with_loops(|loops| loops.last().cloned()) {
        Some(start) => Ok(Next::Jump(start)),
        None => Err(Stop::Failed("ContinueWhile without While".to_owned())),
    }
}

/// The step after the `EndWhile` that belongs to the `While` at `start`.
fn after(task: &Task, start: &Location) -> Result<Location, Stop> {
    let end = step_after(task, start, "While", "EndWhile", |app, depth| {
        depth == 0 && app == "EndWhile"
    });
    match end {
        Some((place, _)) => Ok(Location {
            priority: place.priority.saturating_add(1),
            ..place
        }),
        None => Err(Stop::Failed(format!(
            "While at {},{},{} has no EndWhile",
            start.context, start.exten, start.priority
        ))),
    }
}

/// The first step behind `start` for which `wanted` says true of its application and of how many pairs of `open` and
/// `close` it is in; with the name of that application.
pub(super) fn step_after(
    task: &Task,
    start: &Location,
    open: &str,
    close: &str,
    wanted: impl Fn(&str, u32) -> bool,
) -> Option<(Location, String)> {
    let plan = task.plan();
    let caller = task.caller();
    let mut depth = 0_u32;
    for offset in 1..SCAN_MAX {
        let priority = start.priority.checked_add(offset)?;
        let query = Query::new(&start.context, &start.exten, priority)
            .caller(Some(&caller))
            .vars(task);
        let found = plan.find(&query)?;
        let app = &*found.step().app;
        if wanted(app, depth) {
            return Some((
                Location::new(&start.context, &start.exten, priority),
                app.to_owned(),
            ));
        }
        if app == open {
            depth += 1;
        } else if app == close {
            depth = depth.checked_sub(1)?;
        }
    }
    None
}
