//! `Macro` and its companions, for old dialplans: steps of context `macro-<name>` that come back by themselves.

use strowger_core::channel::{LOCKS_MAX, Location, Locked};
use strowger_dialplan::{args, truth};

use super::{App, AppResult, Call, Next, Stop, app};
use crate::runner::{self, MacroEnd};

/// Macros within each other.
const NESTED_MAX: usize = 7;

pub(super) const APPS: &[App] = &[
    app!(
        "Macro",
        "Macro(name[,arg1[,...]])",
        "runs the steps of a macro and comes back",
        run
    ),
    app!(
        "MacroIf",
        "MacroIf(condition?name[,args][:name[,args]])",
        "runs a macro if a condition holds",
        run_if
    ),
    app!(
        "MacroExclusive",
        "MacroExclusive(name[,arg1[,...]])",
        "runs a macro, which one call at a time does",
        run_alone
    ),
    app!(
        now "MacroExit",
        "MacroExit()",
        "comes back from a macro",
        leave
    ),
];

async fn run(call: Call) -> AppResult {
    let data = call.data.clone();
    enter(&call, &data).await
}

async fn run_if(call: Call) -> AppResult {
    let Some(branches) = args::parse_exec_if(&call.data) else {
        call.warn(&format!(
            "MacroIf({}): there is no \"?\"; write MacroIf(condition?name:name)",
            call.data
        ));
        return Ok(Next::Continue);
    };
    let chosen = if truth::is_true(branches.condition.trim()) {
        branches.yes
    } else {
        branches.no
    };
    match chosen {
        Some(data) => enter(&call, data).await,
        None => Ok(Next::Continue),
    }
}

async fn run_alone(call: Call) -> AppResult {
    let name = args::split(&call.data).into_iter().next();
    let lock = format!("macro-{}", name.unwrap_or_default());
    let shared = std::sync::Arc::clone(call.task.shared());
    let own = call.channel().name();
    let lets_go = loop {
        // Listening comes first, so that no release between is missed.
        let freed = shared.directory.lock_freed();
        let mut freed = std::pin::pin!(freed);
        freed.as_mut().enable();
        match shared.directory.lock(&lock, &own) {
            Locked::Now => break true,
            // Within itself it goes on; the outer one lets go.
            Locked::Before => break false,
            Locked::Elsewhere => {}
            Locked::Refused => {
                call.channel().check()?;
                return Err(Stop::Failed(format!(
                    "MacroExclusive({}): a channel has at most {LOCKS_MAX} locks",
                    call.data
                )));
            }
        }
        tokio::select! {
            biased;
            changed = call.channel().wait_change(None) => {
                changed?;
            }
            () = freed => {}
        }
    };
    let data = call.data.clone();
    let result = enter(&call, &data).await;
    if lets_go {
        shared.directory.unlock(&lock, &own);
    }
    result
}

fn leave(call: &Call) -> AppResult {
    if call.task.macros.borrow().is_empty() {
        call.warn("MacroExit outside of a macro");
    } else {
        call.task.macro_exits.set(true);
    }
    Ok(Next::Continue)
}

/// Variables that a macro has for itself.
fn own_names(arguments: usize) -> Vec<String> {
    let named = [
        "MACRO_EXTEN",
        "MACRO_CONTEXT",
        "MACRO_PRIORITY",
        "MACRO_OFFSET",
    ];
    named
        .into_iter()
        .map(str::to_owned)
        .chain((1..=arguments).map(|number| format!("ARG{number}")))
        .collect()
}

async fn enter(call: &Call, data: &str) -> AppResult {
    let task = &call.task;
    let mut arguments = args::split(data).into_iter();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let context = format!("macro-{}", name.trim());
    if name.trim().is_empty() || !task.exists(&context, "s", 1) {
        call.warn(&format!(
            "Macro({data}): context {context} has no extension s with priority 1"
        ));
        return Ok(Next::Continue);
    }
    let outer = task.macros.borrow().last().copied().unwrap_or_default();
    if task.macros.borrow().len() >= NESTED_MAX {
        return Err(Stop::Failed(format!(
            "Macro({data}): more than {NESTED_MAX} macros are within each other"
        )));
    }
    let back = call.channel().location();
    // Arguments of the macro around it that this one did not get are not seen here.
    let names = own_names(arguments.len().max(outer));
    let before: Vec<Option<String>> = names
        .iter()
        .map(|name| call.channel().variable(name))
        .collect();
    let forget = |name: &str| {
        call.channel().data_mut().variables.remove(name);
    };
    for name in &names {
        forget(name);
    }
    // A macro within a macro tells where the outermost was called.
    let first = task.macros.borrow().is_empty();
    let caller = [
        ("MACRO_EXTEN", back.exten.clone()),
        ("MACRO_CONTEXT", back.context.clone()),
        ("MACRO_PRIORITY", back.priority.to_string()),
    ];
    for ((name, value), known) in caller.iter().zip(&before) {
        match known {
            Some(known) if !first => call.set(name, known),
            _ => call.set(name, value),
        }
    }
    for (number, value) in (1..).zip(&arguments) {
        call.set(&format!("ARG{number}"), value);
    }
    task.macros.borrow_mut().push(arguments.len());
    call.channel().set_location(Location::new(&context, "s", 1));
    let reach = task.as_dialplan();
    let end = runner::macro_steps(task, &context).await;
    drop(reach);
    task.macros.borrow_mut().pop();
    task.macro_exits.set(false);
    let offset = call.channel().variable("MACRO_OFFSET");
    for (name, value) in names.iter().zip(&before) {
        match value {
            Some(value) => call.set(name, value),
            None => forget(name),
        }
    }
    match end {
        MacroEnd::Over => {}
        MacroEnd::Left(place) => return Ok(Next::Jump(place)),
        MacroEnd::Stopped(result) => {
            call.channel().set_location(back);
            return match result {
                // The step that failed is in the log with its place.
                Err(Stop::Failed(_)) => Err(Stop::Told),
                other => other,
            };
        }
    }
    let by = offset.and_then(|offset| truth::leading_integer(&offset));
    call.channel().set_location(back.clone());
    let target = by.and_then(|by| {
        let priority = i64::from(back.priority)
            .saturating_add(by)
            .saturating_add(1);
        i32::try_from(priority).ok()
    });
    match target {
        Some(priority) if task.exists(&back.context, &back.exten, priority) => {
            Ok(Next::Jump(Location { priority, ..back }))
        }
        _ => Ok(Next::Continue),
    }
}
