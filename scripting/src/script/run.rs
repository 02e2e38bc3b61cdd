//! An extension's function at work: the coroutine it runs in, those it spawned, how it ends, and what a hang-up calls.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use mlua::{MultiValue, Value};
use strowger_core::channel::{Interrupt, Location};
use strowger_core::dialplan::SubroutineEnd;
use strowger_dialplan::{Program, args, truth};

use super::current::{self, Running, Within};
use super::world::World;
use crate::app::{self, AppResult, Next, Stop, jump};
use crate::runner;
use crate::task::Task;
use crate::vm::{Failure, VmError};

/// How long a script may go on after its call is over.
const LEFTOVER_MAX: Duration = Duration::from_secs(120);
/// How long all functions that a hang-up calls may take together.
const HANGUP_FUNCTIONS_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the functions of one call run before other calls have their turn.
const TURN: Duration = Duration::from_millis(20);
/// Lines of a traceback that an error tells.
const TRACEBACK_LINES: usize = 8;

/// What a script raises where the dialplan goes on elsewhere, or the call ends.
#[derive(Clone, Debug)]
pub(super) struct Leave(AppResult);

impl Leave {
    pub(super) fn error(result: AppResult) -> mlua::Error {
        mlua::Error::external(Self(result))
    }
}

impl std::fmt::Display for Leave {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match &self.0 {
            Ok(Next::Jump(_)) => "the call goes on elsewhere in the dialplan",
            Ok(_) => "the dialplan of the call goes on or ends here",
            Err(Stop::Interrupted(Interrupt::Hangup)) => "the call is over",
            Err(Stop::Interrupted(Interrupt::Redirect)) => "the call was moved elsewhere",
            Err(Stop::Interrupted(Interrupt::Timeout)) => "the call's time is over",
            Err(Stop::Failed(why)) => why,
            Err(Stop::Told) => "a step failed, as the log says",
        })
    }
}

impl std::error::Error for Leave {}

/// Runs the function of an extension.
pub(crate) async fn run(
    task: &Rc<Task>,
    program: &Arc<Program>,
    context: &str,
    exten: &str,
) -> AppResult {
    let world = world_of(task, program)?;
    let function = world
        .function(context, exten)
        .map_err(|error| Stop::Failed(story(&error)))?;
    let Some(function) = function else {
        return Err(Stop::Failed(format!(
            "extension {exten} of context {context} is no longer a function: the script changed its tables while it ran"
        )));
    };
    let place = task.channel.location();
    let called = task
        .host
        .vm()
        .call_for::<MultiValue, _>(&function, (place.context, place.exten));
    let result = drive(task, &world, called).await;
    if let Err(Failure::Stopped(VmError::Greedy(_)) | Failure::Lua(mlua::Error::MemoryError(_))) =
        &result
    {
        // Its globals may hold what it gathered; what comes next in the call begins with new ones.
        let hangups = std::mem::take(&mut *world.hangups.borrow_mut());
        let mains = world.mains();
        task.script.take();
        drop((world, function));
        let lua = task.host.vm().lua();
        let _ = lua.gc_collect();
        // What it asked to be called at a hang-up is called all the same.
        if let Ok(empty) = World::open(lua, task.host.base(), mains, None) {
            *empty.hangups.borrow_mut() = hangups;
            *task.script.borrow_mut() = Some(empty);
        }
    }
    ended(result)
}

/// What a call sees; it is made when the call enters a script first, and anew for a newer version.
fn world_of(task: &Rc<Task>, program: &Arc<Program>) -> Result<Rc<World>, Stop> {
    let before = task.script.borrow().clone();
    if let Some(world) = &before
        && world.loaded.get()
        && Arc::ptr_eq(world.program(), program)
    {
        return Ok(Rc::clone(world));
    }
    let failed = |error: &dyn std::fmt::Display| {
        Stop::Failed(format!("the dialplan files cannot be loaded: {error}"))
    };
    let vm = task.host.vm();
    let mains = task
        .host
        .programs()
        .mains(vm, program)
        .map_err(|error| failed(&error))?;
    let world = World::open(vm.lua(), task.host.base(), mains, before.as_deref())
        .map_err(|error| failed(&vm.failed(&error)))?;
    let running = Running {
        task: None,
        world: Rc::clone(&world),
    };
    vm.at_once(|| current::within(running, || world.load(vm.lua())))
        .map_err(|error| failed(&error))?;
    world.loaded.set(true);
    if let Some(before) = &before {
        *world.hangups.borrow_mut() = std::mem::take(&mut *before.hangups.borrow_mut());
    }
    *task.script.borrow_mut() = Some(Rc::clone(&world));
    Ok(world)
}

/// What functions spawn in one turn, apart from what those around them (a subroutine is called in the middle of a step)
/// spawned. What nobody took when the turn ends goes: it holds the call and the world that holds it.
struct Apart<'w> {
    world: &'w World,
    outer: Vec<super::spawn::Child>,
}

impl<'w> Apart<'w> {
    fn new(world: &'w World) -> Self {
        let outer = std::mem::take(&mut *world.spawned.borrow_mut());
        Self { world, outer }
    }
}

impl Drop for Apart<'_> {
    fn drop(&mut self) {
        let left = self.world.spawned.replace(std::mem::take(&mut self.outer));
        drop(left);
    }
}

/// Lets the function and what it spawns run, each in its turn.
async fn drive<R>(
    task: &Rc<Task>,
    world: &Rc<World>,
    called: impl Future<Output = Result<R, Failure>>,
) -> Result<R, Failure> {
    let mut main = Within {
        running: Running {
            task: Some(Rc::clone(task)),
            world: Rc::clone(world),
        },
        future: Box::pin(called),
    };
    let mut children: Vec<super::spawn::Child> = Vec::new();
    let mut turn = 0;
    let mut leftover: Option<Pin<Box<tokio::time::Sleep>>> = None;
    poll_fn(|cx| {
        let _apart = Apart::new(world);
        let began = Instant::now();
        if turn == 0
            && let Poll::Ready(result) = Pin::new(&mut main).poll(cx)
        {
            return Poll::Ready(result);
        }
        loop {
            children.append(&mut world.spawned.borrow_mut());
            let Some(child) = children.get_mut(turn) else {
                turn = 0;
                break;
            };
            if began.elapsed() >= TURN {
                // Those that compute do not keep other calls waiting for all of them.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match child.as_mut().poll(cx) {
                Poll::Ready(()) => drop(children.remove(turn)),
                Poll::Pending => turn += 1,
            }
        }
        if task.channel.is_over() {
            let limit = leftover.get_or_insert_with(|| Box::pin(tokio::time::sleep(LEFTOVER_MAX)));
            if limit.as_mut().poll(cx).is_ready() {
                let why = format!(
                    "the call is over for {} s and its script still ran: it was ended",
                    LEFTOVER_MAX.as_secs()
                );
                return Poll::Ready(Err(Failure::Lua(mlua::Error::runtime(why))));
            }
        }
        Poll::Pending
    })
    .await
}

/// How the dialplan goes on after a function.
fn ended<R>(result: Result<R, Failure>) -> AppResult {
    match result {
        Ok(_) => Ok(Next::Continue),
        Err(Failure::Stopped(error)) => Err(Stop::Failed(error.to_string())),
        Err(Failure::Lua(error)) => match error.downcast_ref::<Leave>() {
            Some(Leave(result)) => result.clone(),
            None => match thrown_number(&error) {
                // Asterisk hands a number that a function raises to the dialplan: a digit, or the end.
                Some(digit @ (35 | 42 | 48..=57)) => Ok(Next::Digit(char::from(digit as u8))),
                Some(_) => Ok(Next::End),
                None => Err(Stop::Failed(story(&error))),
            },
        },
    }
}

fn thrown_number(error: &mlua::Error) -> Option<i64> {
    match error {
        mlua::Error::RuntimeError(text) => {
            let first = text.lines().next()?;
            // Lua puts the place before a number too.
            let number = match first.rsplit_once(": ") {
                Some((place, number)) if place.contains(".lua:") && !place.contains(' ') => number,
                Some(_) => return None,
                None => first,
            };
            number.trim().parse().ok()
        }
        _ => None,
    }
}

/// An error and the way to it, in one line.
pub(super) fn story(error: &mlua::Error) -> String {
    let mut message = error;
    let mut trace = String::new();
    while let mlua::Error::CallbackError { traceback, cause } = message {
        trace.push_str(traceback);
        trace.push('\n');
        message = cause;
    }
    let text = match message {
        mlua::Error::RuntimeError(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim().to_owned();
    trace.extend(lines.flat_map(|line| [line, "\n"]));
    let mut places: Vec<&str> = trace
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(".lua:") || line.contains(".lua\":"))
        .collect();
    places.dedup();
    places.truncate(TRACEBACK_LINES);
    if places.is_empty() {
        return first;
    }
    format!("{first} (at {})", places.join(" < "))
}

/// Runs an application for a script. What it wants of the dialplan is raised; the value of a subroutine is given back.
pub(super) async fn application(
    task: &Rc<Task>,
    name: &str,
    data: String,
    args: Option<Vec<String>>,
) -> mlua::Result<Option<String>> {
    let Some(app) = app::find(name) else {
        return Err(mlua::Error::runtime(app::unknown(name)));
    };
    match app.name {
        // Rows come back to the next priority; a function has none, so it waits for the subroutine where it is.
        "Gosub" => {
            let (destination, arguments) = args::parse_gosub(&data);
            let location = resolved(task, &destination)?;
            let arguments = arguments.map(args::split).unwrap_or_default();
            return subroutine(task, location, &arguments).await.map(Some);
        }
        "GosubIf" => {
            let Some(branches) = args::parse_exec_if(&data) else {
                return Err(mlua::Error::runtime(format!(
                    "GosubIf({data}): there is no \"?\"; write condition?place:place"
                )));
            };
            let place = if truth::is_true(branches.condition.trim()) {
                branches.yes
            } else {
                branches.no
            };
            let Some(place) = place else { return Ok(None) };
            let (destination, arguments) = args::parse_gosub(place);
            let location = resolved(task, &destination)?;
            let arguments = arguments.map(args::split).unwrap_or_default();
            return subroutine(task, location, &arguments).await.map(Some);
        }
        _ => {}
    }
    settle(task, app::execute(task, app.name, data, args).await)?;
    Ok(None)
}

fn resolved(task: &Task, destination: &args::Destination<'_>) -> mlua::Result<Location> {
    jump::resolve(task, destination).map_err(|stop| match stop {
        Stop::Failed(why) => mlua::Error::runtime(why),
        stop => Leave::error(Err(stop)),
    })
}

/// Runs a subroutine of the dialplan and gives back what it returned.
pub(super) async fn subroutine(
    task: &Rc<Task>,
    location: Location,
    arguments: &[String],
) -> mlua::Result<String> {
    let place = format!(
        "{},{},{}",
        location.context, location.exten, location.priority
    );
    match Box::pin(runner::subroutine_here(task, location, arguments)).await {
        SubroutineEnd::Returned(value) => Ok(value),
        SubroutineEnd::Missing => Err(mlua::Error::runtime(format!("Gosub: there is no {place}"))),
        SubroutineEnd::Ended => Err(Leave::error(match task.channel.check() {
            Err(interrupt) => Err(Stop::Interrupted(interrupt)),
            Ok(()) => Ok(Next::End),
        })),
    }
}

/// Raises what an application wants, unless the function simply goes on.
pub(super) fn settle(task: &Task, result: AppResult) -> mlua::Result<()> {
    match result {
        Ok(Next::Continue) => match task.channel.check() {
            // Who goes on after a hang-up only cleans up; what needs the caller raises by itself.
            Ok(()) | Err(Interrupt::Hangup) => Ok(()),
            Err(interrupt) => Err(Leave::error(Err(Stop::Interrupted(interrupt)))),
        },
        Err(Stop::Failed(why)) => Err(mlua::Error::runtime(why)),
        Err(Stop::Told) => Err(mlua::Error::runtime("a step failed, as the log says")),
        other => Err(Leave::error(other)),
    }
}

/// A verb of the channel that did or did not end well.
pub(super) fn done<T>(task: &Task, result: Result<T, Stop>) -> mlua::Result<T> {
    match result {
        Ok(value) => settle(task, Ok(Next::Continue)).map(|()| value),
        Err(Stop::Failed(why)) => Err(mlua::Error::runtime(why)),
        Err(stop) => Err(Leave::error(Err(stop))),
    }
}

/// Calls what scripts asked to be called at the end of the call.
pub(crate) async fn hung_up(task: &Rc<Task>) {
    let Some(world) = task.script.borrow().clone() else {
        return;
    };
    let functions = std::mem::take(&mut *world.hangups.borrow_mut());
    if functions.is_empty() {
        return;
    }
    let all = async {
        for function in functions {
            let cause = task.channel.data().cause;
            let called = task
                .host
                .vm()
                .call_for::<Value, _>(&function, (cause.0, cause.text().to_owned()));
            if let Err(Stop::Failed(why)) = ended(drive(task, &world, called).await) {
                report(task, &format!("on(\"hangup\"): {why}"));
            }
        }
    };
    if tokio::time::timeout(HANGUP_FUNCTIONS_TIME_MAX, all)
        .await
        .is_err()
    {
        report(
            task,
            &format!(
                "the functions of on(\"hangup\") took more than {} s and were ended",
                HANGUP_FUNCTIONS_TIME_MAX.as_secs()
            ),
        );
    }
}

/// Lets go of what the scripts of a call held, at its end.
pub(crate) fn forget(task: &Task) {
    if let Some(world) = task.script.take() {
        world.end();
    }
}

/// Something failed beside the function of the extension.
pub(super) fn report(task: &Task, what: &str) {
    if task.may_log() {
        let what = crate::log_line::escape(what);
        tracing::error!(channel = %task.channel.name(), "dialplan: {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "the error of the machine wants its cause so"
    )]
    fn an_error_is_told_in_one_line_with_its_way() {
        let error = mlua::Error::CallbackError {
            traceback: "stack traceback:\n[C] in ?\nmenu.lua:12 in function greet\nmenu.lua:40"
                .to_owned(),
            cause: Arc::new(mlua::Error::runtime("Playback: no")),
        };
        assert_eq!(
            story(&error),
            "Playback: no (at menu.lua:12 in function greet < menu.lua:40)"
        );
        assert_eq!(story(&mlua::Error::runtime("a\nb")), "a");
    }

    #[test]
    fn a_number_that_is_raised_is_a_digit_or_the_end() {
        for (text, wanted) in [
            ("53", Ok(Next::Digit('5'))),
            ("35", Ok(Next::Digit('#'))),
            ("-1", Ok(Next::End)),
            ("0", Ok(Next::End)),
            ("main.lua:7: -1\nstack traceback:", Ok(Next::End)),
        ] {
            let error = Failure::Lua(mlua::Error::runtime(text));
            assert_eq!(ended::<()>(Err(error)), wanted, "{text}");
        }
    }
}
