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
        "While",
        "While(condition)",
        "repeats up to EndWhile while a condition holds",
        begin
    ),
    app!(
        "EndWhile",
        "EndWhile()",
        "ends the steps that While repeats",
        end
    ),
    app!("ExitWhile", "ExitWhile()", "leaves the loop", exit),
    app!(
        "ContinueWhile",
        "ContinueWhile()",
        "begins the next round of the loop",
        again
    ),
];

async fn begin(call: Call) -> AppResult {
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

async fn end(call: Call) -> AppResult {
    match call.task.with_loops(|loops| loops.last().cloned()) {
        Some(start) => Ok(Next::Jump(start)),
        None => Err(Stop::Failed("EndWhile without While".to_owned())),
    }
}

async fn exit(call: Call) -> AppResult {
    match call.task.with_loops(Vec::pop) {
        Some(start) => after(&call.task, &start).map(Next::Jump),
        None => Err(Stop::Failed("ExitWhile without While".to_owned())),
    }
}

async fn again(call: Call) -> AppResult {
    match call.task.with_loops(|loops| loops.last().cloned()) {
        Some(start) => Ok(Next::Jump(start)),
        None => Err(Stop::Failed("ContinueWhile without While".to_owned())),
    }
}

/// The step after the `EndWhile` that belongs to the `While` at `start`.
fn after(task: &Task, start: &Location) -> Result<Location, Stop> {
    let plan = task.plan();
    let caller = task.caller();
    let mut depth = 0;
    for offset in 1..SCAN_MAX {
        let Some(priority) = start.priority.checked_add(offset) else {
            break;
        };
        let query = Query::new(&start.context, &start.exten, priority)
            .caller(Some(&caller))
            .vars(task);
        let Some(found) = plan.find(&query) else {
            break;
        };
        match &*found.step().app {
            "While" => depth += 1,
            "EndWhile" if depth == 0 => {
                return Ok(Location::new(
                    &start.context,
                    &start.exten,
                    priority.saturating_add(1),
                ));
            }
            "EndWhile" => depth -= 1,
            _ => {}
        }
    }
    Err(Stop::Failed(format!(
        "While at {},{},{} has no EndWhile",
        start.context, start.exten, start.priority
    )))
}
