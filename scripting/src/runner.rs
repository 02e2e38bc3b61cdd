//! The run loop: which step comes next, what happens at the end of an extension, and extension `h`. Deciding is kept
//! apart (`crate::decide`), so that every rule can be tested without a call.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strowger_core::channel::{Cause, Channel, Interrupt, Location};
use strowger_core::dialplan::{Reach, SubroutineEnd};
use strowger_dialplan::{Context, Origin, Program, Query, Vars};

use crate::app::{self, AppResult, Next, Stop};
use crate::decide::{self, AtEnd, Special};
use crate::depth::Measured;
use crate::func::channel::reads_stats;
use crate::host::Host;
use crate::log_line;
use crate::rehearsal::{Outcome, Rehearsal};
use crate::script;
use crate::task::{Exception, Task};
use crate::trail::Here;
use crate::turns::Turns;

mod over;

pub(crate) use over::run_h_of;
use over::{run_h, run_hangup_handlers};

/// Steps that never wait run between two looks at the clock, as long as none of them may have been a long one.
const STEPS_PER_LOOK: u32 = 16;
/// Steps that extension `h` may take: the call is over, so no timeout would ever end it.
const H_STEPS_MAX: u32 = 10_000;
/// How long a tone is played at the end of an extension.
const FALLTHROUGH_TONE: Duration = Duration::from_secs(10);
/// Longest number that is collected.
const DIGITS_MAX: usize = 255;

/// Runs a channel from its location until its dialplan ends, `h` included.
pub(crate) async fn run(host: Rc<Host>, channel: Channel) {
    let task = Task::new(&host, channel);
    let mut turns = Turns::default();
    start(&task);
    main_loop(&task, &mut turns).await;
    end(&task).await;
}

/// Lets a channel that nobody is behind go through the dialplan, `h` included.
pub(crate) async fn rehearse(host: Rc<Host>, channel: Channel, test: Rc<Rehearsal>) -> Outcome {
    let task = Task::with(&host, channel, Some(Rc::clone(&test)));
    start(&task);
    main_loop(&task, &mut Turns::default()).await;
    end(&task).await;
    test.conclude(&task).await
}

/// Notes a step of a test. False: it takes no more of them.
fn rehearsed(task: &Task) -> bool {
    let goes_on = task.rehearsal.as_ref().is_none_or(|test| test.step(task));
    if !goes_on {
        task.channel.hangup(Cause::NORMAL_TEMPORARY_FAILURE);
    }
    goes_on
}

/// Runs one application on a channel that was called for it, and ends the channel.
pub(crate) async fn application(
    host: Rc<Host>,
    channel: Channel,
    name: String,
    data: String,
    reach: Reach,
) {
    let task = Task::new(&host, channel);
    task.set_reach(reach);
    let result = Measured(Box::pin(app::execute(&task, &name, data, None))).await;
    // The dialplan that it may go to is the administrator's.
    task.set_reach(Reach::Exchange);
    let goes_on = match result {
        Ok(Next::Jump(target)) => {
            task.channel.set_location(target);
            true
        }
        // It runs no dialplan behind the application, unless somebody sends it there.
        Err(Stop::Interrupted(interrupt)) => {
            interrupted(&task, interrupt, false).await == After::Elsewhere
        }
        Err(stop) => {
            log_stop(&task, None, &stop);
            false
        }
        Ok(_) => false,
    };
    if goes_on {
        start(&task);
        main_loop(&task, &mut Turns::default()).await;
    }
    end(&task).await;
}

/// The dialplan of a channel is done.
async fn end(task: &Rc<Task>) {
    let cause = match task.channel.data().cause {
        Cause(0) => Cause::NORMAL_CLEARING,
        cause => cause,
    };
    task.channel.hangup(cause);
    script::hung_up(task).await;
    run_h(task).await;
    run_hangup_handlers(task).await;
    script::forget(task);
}

/// Runs the hang-up handlers of a channel that was only dialled.
pub(crate) async fn hangup_handlers(host: Rc<Host>, channel: Channel) {
    let task = Task::new(&host, channel);
    run_hangup_handlers(&task).await;
    script::forget(&task);
}

/// Runs `Gosub(location(arguments))` on a channel of its own and comes back.
pub(crate) async fn subroutine(
    host: Rc<Host>,
    channel: Channel,
    location: Location,
    arguments: Vec<String>,
) -> SubroutineEnd {
    let task = Task::new(&host, channel);
    let end = subroutine_here(&task, location, &arguments).await;
    script::forget(&task);
    end
}

/// Runs a subroutine in the middle of a step and comes back to it.
pub(crate) async fn subroutine_here(
    task: &Rc<Task>,
    location: Location,
    arguments: &[String],
) -> SubroutineEnd {
    let back = task.channel.location();
    let application = {
        let data = task.channel.data();
        (data.application.clone(), data.application_data.clone())
    };
    let _reach = task.as_dialplan();
    task.channel.set_location(location.clone());
    let end = subroutine_steps(task, &location, arguments).await;
    task.channel.set_location(back);
    task.channel.set_application(&application.0, &application.1);
    end
}

async fn subroutine_steps(
    task: &Rc<Task>,
    location: &Location,
    arguments: &[String],
) -> SubroutineEnd {
    if !task.exists(&location.context, &location.exten, location.priority) {
        return SubroutineEnd::Missing;
    }
    let depth = task.frame_depth();
    if let Err(stop) = task.push_frame(None, arguments) {
        log_stop(task, None, &stop);
        return SubroutineEnd::Ended;
    }
    // Boxed: a subroutine may dial, whose options run subroutines.
    let end = Box::pin(walk(task, &mut Turns::default())).await;
    let result = match end {
        Walk::Returned(value) => SubroutineEnd::Returned(value),
        Walk::Missing => {
            task.warn("subroutine ended without Return");
            SubroutineEnd::Ended
        }
        _ => SubroutineEnd::Ended,
    };
    while task.frame_depth() > depth && task.pop_frame().is_some() {}
    result
}

/// How the steps of a macro ended.
pub(crate) enum MacroEnd {
    /// They came to their end.
    Over,
    /// They led out of the macro's context.
    Left(Location),
    /// Something else follows than the step after the macro.
    Stopped(AppResult),
}

/// Runs steps from the channel's place until they end or lead out of `context`. A subroutine may lead out and come back.
pub(crate) async fn macro_steps(task: &Rc<Task>, context: &str) -> MacroEnd {
    let depth = task.frame_depth();
    let mut turns = Turns::default();
    // In extension h the channel is over, and the steps go on all the same, as many as h itself may have.
    let over = task.channel.check().is_err();
    let mut steps = 0;
    loop {
        turns.take(task).await;
        if over {
            steps += 1;
            if steps > H_STEPS_MAX {
                tracing::error!(channel = %task.channel.name(), context, "a macro of extension h took {H_STEPS_MAX} steps and was ended (is there an endless loop?)");
                return MacroEnd::Over;
            }
        }
        let mut place = task.channel.location();
        if place.context != context && task.frame_depth() <= depth {
            return MacroEnd::Left(place);
        }
        // Boxed: a macro may run a macro.
        let step: LocalStep<'_> = Box::pin(step(task, &mut place));
        match turns.run(step).await {
            None => return MacroEnd::Over,
            Some(Ok(Next::Continue)) => {
                let priority = place.priority.saturating_add(1);
                task.channel.set_location(Location { priority, ..place });
            }
            Some(Ok(Next::Jump(target))) => task.channel.set_location(target),
            Some(Err(Stop::Interrupted(Interrupt::Redirect))) => {
                if let Some(end) = macro_interrupted(task, true).await {
                    return end;
                }
            }
            Some(other) => return MacroEnd::Stopped(other),
        }
        if task.macro_exits.take() {
            return MacroEnd::Over;
        }
        match task.channel.check() {
            Ok(()) => {}
            Err(_) if over => {}
            Err(Interrupt::Redirect) => {
                if let Some(end) = macro_interrupted(task, false).await {
                    return end;
                }
            }
            Err(interrupt) => return MacroEnd::Stopped(Err(interrupt.into())),
        }
    }
}

/// Somebody wanted something else of a channel in the middle of a macro. None: its steps go on behind that.
async fn macro_interrupted(task: &Rc<Task>, in_step: bool) -> Option<MacroEnd> {
    // Boxed: what is wanted may run a macro.
    match Box::pin(interrupted(task, Interrupt::Redirect, in_step)).await {
        After::Here => None,
        After::Elsewhere => Some(MacroEnd::Left(task.channel.location())),
        After::Nothing => Some(MacroEnd::Stopped(match task.channel.check() {
            Ok(()) => Ok(Next::End),
            Err(interrupt) => Err(interrupt.into()),
        })),
    }
}

type LocalStep<'a> = std::pin::Pin<Box<dyn Future<Output = Option<AppResult>> + 'a>>;

/// An empty number means `s`.
fn start(task: &Task) {
    let mut location = task.channel.location();
    if location.exten.is_empty() {
        "s".clone_into(&mut location.exten);
    }
    location.priority = location.priority.max(1);
    task.channel.set_location(location);
}

/// Why a walk over priorities ended.
pub(crate) enum Walk {
    /// There is no such priority.
    Missing,
    Digit(char),
    Incomplete,
    Returned(String),
    End,
    Interrupted(Interrupt),
    /// The same behind a step that jumped: its target is still to come.
    InterruptedBefore(Interrupt),
    /// A step failed, which was logged.
    Failed,
}

/// Runs steps until something other than the next priority or a jump follows.
pub(crate) async fn walk(task: &Rc<Task>, turns: &mut Turns) -> Walk {
    loop {
        turns.take(task).await;
        if task.channel.is_over() {
            return Walk::Interrupted(Interrupt::Hangup);
        }
        match walk_at_once(task, turns) {
            AtOnce::End(end) => return end,
            AtOnce::TurnOver => continue,
            AtOnce::Waits => {}
        }
        let mut place = task.channel.location();
        let Some(result) = turns.run(step(task, &mut place)).await else {
            return Walk::Missing;
        };
        if let Some(end) = after(task, result, |task| {
            let priority = place.priority.saturating_add(1);
            task.channel.set_location(Location { priority, ..place });
        }) {
            return end;
        }
    }
}

/// Why steps that never wait came to an end.
enum AtOnce {
    End(Walk),
    TurnOver,
    /// The step that is next may wait.
    Waits,
}

/// Runs the steps that come next as long as they never wait and the turn lasts.
fn walk_at_once(task: &Rc<Task>, turns: &mut Turns) -> AtOnce {
    let most = turns.left().max(1);
    let mut ran = 0;
    task.has_laboured();
    let over = loop {
        let looks = ran > 0 && (task.has_laboured() || ran % STEPS_PER_LOOK == 0);
        if ran >= most || (looks && turns.is_over()) {
            break AtOnce::TurnOver;
        }
        let Some(here) = task.step_here() else {
            break AtOnce::End(Walk::Missing);
        };
        let Some(result) = step_at_once(task, &here) else {
            break AtOnce::Waits;
        };
        ran += 1;
        let end = after(task, result, |task| {
            let mut data = task.channel.data_mut();
            data.location.priority = data.location.priority.saturating_add(1);
        });
        if let Some(end) = end {
            break AtOnce::End(end);
        }
    };
    if ran > 0 {
        turns.ran(ran);
        let counters = task.host.counters();
        counters.steps.fetch_add(u64::from(ran), Ordering::Relaxed);
    }
    over
}

/// What a step leads to: `next` moves the channel to the priority that follows. None: the walk goes on.
fn after(task: &Rc<Task>, result: AppResult, next: impl FnOnce(&Rc<Task>)) -> Option<Walk> {
    // What happened to the call while the step ran comes before what the step wants.
    if let Ok(next) = &result
        && !matches!(next, Next::End | Next::Returned(_))
        && let Err(interrupt) = task.channel.check()
    {
        match next {
            Next::Jump(target) => task.channel.set_location(target.clone()),
            Next::Priority(priority) => task.channel.data_mut().location.priority = *priority,
            _ => return Some(Walk::Interrupted(interrupt)),
        }
        return Some(Walk::InterruptedBefore(interrupt));
    }
    match result {
        Ok(Next::Continue) => next(task),
        Ok(Next::Jump(target)) => task.channel.set_location(target),
        Ok(Next::Priority(priority)) => task.channel.data_mut().location.priority = priority,
        Ok(Next::Digit(digit)) => return Some(Walk::Digit(digit)),
        Ok(Next::Incomplete) => return Some(Walk::Incomplete),
        Ok(Next::Returned(value)) => return Some(Walk::Returned(value)),
        Ok(Next::End) => return Some(Walk::End),
        Err(Stop::Interrupted(interrupt)) => return Some(Walk::Interrupted(interrupt)),
        Err(Stop::Failed(_) | Stop::Told) => return Some(Walk::Failed),
    }
    None
}

/// Runs a step that never waits, from its template: the machine would give the same, but the way into it and back takes
/// several times as long as the step. None: it may wait.
fn step_at_once(task: &Rc<Task>, here: &Here) -> Option<AppResult> {
    let app = here.immediate?;
    if task.host.vm().limits().all_in_machine {
        return None;
    }
    let step = here.context.steps.get(here.index)?;
    if !rehearsed(task) {
        return Some(Err(Interrupt::Hangup.into()));
    }
    let mut data = task.data.take();
    data.clear();
    step.template.append(&**task, &mut data);
    let (result, data) = app::execute_now(task, app, data)?;
    if data.capacity() <= app::DATA_BYTES_MAX {
        task.data.replace(data);
    }
    if let Err(stop) = &result {
        count_failure(task, &result);
        log_stop(task, Some((&task.channel.location(), step)), stop);
    }
    Some(result)
}

fn count_failure(task: &Task, result: &AppResult) {
    if matches!(result, Err(Stop::Failed(_))) {
        let counters = task.host.counters();
        counters.steps_failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the step at `place`, where the channel is or where a switch takes it; None if there is none. Failures are logged
/// here, where the row is known.
async fn step(task: &Rc<Task>, place: &mut Location) -> Option<AppResult> {
    let Here { context, index, .. } = task.step_here()?;
    task.channel.data().location.clone_into(place);
    if !rehearsed(task) {
        return Some(Err(Interrupt::Hangup.into()));
    }
    let program = Arc::clone(&task.plan().program);
    let counters = task.host.counters();
    counters.steps.fetch_add(1, Ordering::Relaxed);
    let result = run_step(task, &context, index, &program).await;
    count_failure(task, &result);
    if let Err(stop) = &result {
        log_stop(
            task,
            context.steps.get(index).map(|step| (&*place, step)),
            stop,
        );
    }
    Some(result)
}

async fn run_step(
    task: &Rc<Task>,
    context: &Arc<Context>,
    index: usize,
    program: &Arc<Program>,
) -> AppResult {
    let failed = |error: &dyn std::fmt::Display| Stop::Failed(error.to_string());
    if let Some(found) = context.steps.get(index)
        && matches!(found.origin, Origin::Script(_))
    {
        task.channel.set_application(&found.app, &found.appdata);
        task.channel.tell_step(&found.app, &found.appdata);
        return Measured(Box::pin(script::run(
            task,
            program,
            &context.name,
            &found.exten,
        )))
        .await;
    }
    if let Some(found) = context.steps.get(index).filter(|step| step.ready)
        && !task.host.vm().limits().all_in_machine
    {
        // The machine would give the same, for a coroutine and two ways through it.
        let mut data = String::new();
        found.template.append(&**task, &mut data);
        return Measured(Box::pin(app::execute(task, &found.app, data, None))).await;
    }
    let data = context.steps.get(index).map(|step| &*step.appdata);
    if data.is_some_and(reads_stats) {
        task.channel.refresh_stats().await;
    }
    let function = task
        .host
        .step(context, index)
        .map_err(|error| failed(&error))?;
    let handle = task.handle().map_err(|error| failed(&error))?;
    task.take_outcome();
    let called = Measured(Box::pin(task.host.vm().call(&function, handle))).await;
    match (task.take_outcome(), called) {
        // The application was done; nothing that came after it in the step counts.
        (Some(outcome), Ok(())) => outcome,
        (_, Err(error)) => Err(failed(&error)),
        (None, Ok(())) => Ok(Next::Continue),
    }
}

fn log_stop(task: &Task, step: Option<(&Location, &strowger_dialplan::Step)>, stop: &Stop) {
    let Stop::Failed(message) = stop else { return };
    if let Some(test) = &task.rehearsal {
        test.fault(message);
    }
    if !task.may_log() {
        return;
    }
    let channel = task.channel.name();
    let message = log_line::escape(message);
    match step {
        Some((place, step)) => tracing::error!(
            %channel,
            context = place.context,
            exten = place.exten,
            priority = place.priority,
            row = %step.origin,
            app = %log_line::escape(&step.app),
            "dialplan: {message}"
        ),
        None => tracing::error!(%channel, "dialplan: {message}"),
    }
}

async fn main_loop(task: &Rc<Task>, turns: &mut Turns) {
    loop {
        let again = match walk(task, turns).await {
            Walk::Missing => missing(task).await,
            Walk::Digit(digit) => collect(task, digit.to_string()).await,
            Walk::Incomplete => incomplete(task).await,
            Walk::Interrupted(interrupt) => interrupted(task, interrupt, true).await.goes_on(),
            Walk::InterruptedBefore(interrupt) => {
                interrupted(task, interrupt, false).await.goes_on()
            }
            Walk::Failed => failed(task),
            Walk::Returned(_) | Walk::End => false,
        };
        if !again {
            return;
        }
    }
}

/// Jumps to a special extension. False if there is none that fits.
fn special(task: &Task, which: Special) -> bool {
    let place = task.channel.location();
    let Some((exten, exception)) = decide::special(task, which) else {
        tracing::warn!(
            channel = %task.channel.name(),
            context = place.context,
            exten = place.exten,
            priority = place.priority,
            "{}",
            which.missing()
        );
        return false;
    };
    if let Some(reason) = exception {
        *task.exception.borrow_mut() = Some(Exception {
            reason: reason.to_owned(),
            place: place.clone(),
        });
    }
    task.channel
        .set_location(Location::new(&place.context, exten, 1));
    true
}

/// Where a caller goes who dialled nothing: `t`, else `e`.
pub(crate) fn response_timeout(task: &Task) -> Option<Location> {
    let place = task.channel.location();
    let (exten, exception) = decide::special(task, Special::ResponseTimeout)?;
    if let Some(reason) = exception {
        *task.exception.borrow_mut() = Some(Exception {
            reason: reason.to_owned(),
            place: place.clone(),
        });
    }
    Some(Location::new(&place.context, exten, 1))
}

/// There is no such priority. True: the channel goes on.
async fn missing(task: &Rc<Task>) -> bool {
    let place = task.channel.location();
    if !task.exists(&place.context, &place.exten, 1) {
        task.channel.set_variable("INVALID_EXTEN", &place.exten);
        return special(task, Special::Invalid);
    }
    let auto = task.plan().general.auto_fallthrough;
    let status = task.channel.variable("DIALSTATUS");
    match decide::at_end(auto, status.as_deref()) {
        AtEnd::Digits => {
            let wait = task.channel.data().timeouts.response;
            gather(task, String::new(), wait).await
        }
        AtEnd::HangUp => false,
        AtEnd::Busy => tone(task, Cause::USER_BUSY, "busy").await,
        AtEnd::Congestion => tone(task, Cause::NORMAL_CIRCUIT_CONGESTION, "congestion").await,
    }
}

async fn tone(task: &Rc<Task>, cause: Cause, tone: &str) -> bool {
    if task.rehearsal.is_some() {
        task.channel.data_mut().cause = cause;
        return false;
    }
    match app::refuse_channel(&task.channel, cause, tone, Some(FALLTHROUGH_TONE)).await {
        Err(Stop::Interrupted(interrupt)) => interrupted(task, interrupt, false).await.goes_on(),
        _ => false,
    }
}

async fn incomplete(task: &Rc<Task>) -> bool {
    let place = task.channel.location();
    let caller = task.caller();
    let query = Query::new(&place.context, &place.exten, 1)
        .caller(Some(&caller))
        .vars(&**task);
    if !task.plan().match_more(&query) {
        task.channel.set_variable("INVALID_EXTEN", &place.exten);
        return special(task, Special::Invalid);
    }
    let before = place.exten.len();
    let wait = task.channel.data().timeouts.digit;
    match digits(task, place.exten, wait).await {
        Err(interrupt) => interrupted(task, interrupt, false).await.goes_on(),
        Ok(number) if number.len() == before => special(task, Special::ResponseTimeout),
        Ok(number) => dialled(task, &number),
    }
}

async fn collect(task: &Rc<Task>, number: String) -> bool {
    let wait = task.channel.data().timeouts.digit;
    gather(task, number, wait).await
}

async fn gather(task: &Rc<Task>, number: String, wait: Duration) -> bool {
    match digits(task, number, wait).await {
        Err(interrupt) => interrupted(task, interrupt, false).await.goes_on(),
        Ok(number) => dialled(task, &number),
    }
}

/// Collects digits as long as a longer number could exist. `wait` is for the next digit, the digit timeout for others.
async fn digits(
    task: &Rc<Task>,
    mut number: String,
    mut wait: Duration,
) -> Result<String, Interrupt> {
    let context = task.channel.location().context;
    let caller = task.caller();
    loop {
        let more = {
            let plan = task.plan();
            plan.match_more(
                &Query::new(&context, &number, 1)
                    .caller(Some(&caller))
                    .vars(&**task),
            )
        };
        if !more || number.len() >= DIGITS_MAX {
            if let Some(test) = &task.rehearsal {
                test.number_complete();
            }
            return Ok(number);
        }
        let dialled = match &task.rehearsal {
            Some(test) => test.digit(),
            None => task.channel.wait_digit(wait).await?,
        };
        match dialled {
            Some(digit) => number.push(digit),
            None => return Ok(number),
        }
        wait = task.channel.data().timeouts.digit;
    }
}

/// The caller dialled this number (or nothing).
fn dialled(task: &Task, number: &str) -> bool {
    let context = task.channel.location().context;
    if !number.is_empty() && task.exists(&context, number, 1) {
        task.channel
            .set_location(Location::new(&context, number, 1));
        return true;
    }
    if number.is_empty() {
        return special(task, Special::ResponseTimeout);
    }
    task.channel.set_variable("INVALID_EXTEN", number);
    special(task, Special::Invalid)
}

/// What follows an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Somebody sent the channel elsewhere, or a special extension takes it.
    Elsewhere,
    /// The step at the channel's place.
    Here,
    Nothing,
}

impl After {
    fn goes_on(self) -> bool {
        self != Self::Nothing
    }
}

/// `in_step`: the step at the channel's place was begun, and the one behind it comes next.
async fn interrupted(task: &Rc<Task>, mut interrupt: Interrupt, mut in_step: bool) -> After {
    let channel = &task.channel;
    loop {
        match interrupt {
            Interrupt::Hangup => return After::Nothing,
            Interrupt::Timeout => {
                // Reached once; whoever wants another limit sets it again.
                channel.data_mut().timeouts.absolute = None;
                let goes_on = special(task, Special::AbsoluteTimeout);
                return if goes_on {
                    After::Elsewhere
                } else {
                    After::Nothing
                };
            }
            Interrupt::Redirect => {}
        }
        if std::mem::take(&mut in_step) {
            let mut data = channel.data_mut();
            data.location.priority = data.location.priority.saturating_add(1);
        }
        if channel.is_yanked() {
            channel.stay_yanked().await;
        }
        let (target, errand, last) = {
            let mut data = channel.data_mut();
            let last = std::mem::take(&mut data.last_errand);
            (data.redirect.take(), data.errand.take(), last)
        };
        if channel.is_over() {
            return After::Nothing;
        }
        if let Some(target) = target {
            task.asks_else_if.take();
            channel.set_location(target);
            return After::Elsewhere;
        }
        let Some((name, data)) = errand else {
            return After::Here;
        };
        // Boxed: the application may have begun this dialplan.
        let errand = Box::pin(Measured(Box::pin(app::execute(task, &name, data, None))));
        match errand.await {
            Ok(Next::Jump(target)) => {
                channel.set_location(target);
                return After::Elsewhere;
            }
            // Whether it is the last may be said only once it is known that it came to something.
            Ok(Next::Continue) if !last && !std::mem::take(&mut channel.data_mut().last_errand) => {
                return After::Here;
            }
            Ok(_) => return After::Nothing,
            Err(Stop::Interrupted(next)) => interrupt = next,
            Err(stop) => {
                log_stop(task, None, &stop);
                return After::Here;
            }
        }
    }
}

/// A step failed, which was logged with its place.
fn failed(task: &Task) -> bool {
    if task.channel.is_over() || task.channel.location().exten == "e" {
        return false;
    }
    decide::special(task, Special::Error).is_some() && special(task, Special::Error)
}
