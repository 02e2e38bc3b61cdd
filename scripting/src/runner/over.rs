//! What runs when a call is over: extension `h` and the hang-up handlers, bounded in their steps.

use std::rc::Rc;

use strowger_core::channel::{Channel, Location};
use strowger_dialplan::{Vars, args};

use super::{H_STEPS_MAX, log_stop, step};
use crate::app::{Next, jump};
use crate::host::Host;
use crate::task::Task;
use crate::turns::Turns;

/// Hang-up handlers that one call runs, with those that handlers push.
const HANDLERS_MAX: u32 = 256;

/// Runs extension `h` of the channel's context, if there is one. The call is over already.
pub(super) async fn run_h(task: &Rc<Task>) {
    let context = task.channel.location().context;
    if !task.exists(&context, "h", 1) {
        return;
    }
    // How the media did is there for `h` to read.
    task.channel.refresh_stats().await;
    task.channel.set_location(Location::new(&context, "h", 1));
    if !run_over(task, &mut Budget::default()).await {
        tracing::error!(channel = %task.channel.name(), context, "extension h took {H_STEPS_MAX} steps and was ended (is there an endless loop?)");
    }
}

/// Runs what `CHANNEL(hangup_handler_push)` gathered, the last first; each is a subroutine.
pub(super) async fn run_hangup_handlers(task: &Rc<Task>) {
    let mut budget = Budget::default();
    let mut run = 0;
    loop {
        // One may push others.
        let Some(handler) = task.channel.data_mut().hangup_handlers.pop() else {
            return;
        };
        if run >= HANDLERS_MAX {
            tracing::error!(channel = %task.channel.name(), handler, "{HANDLERS_MAX} hang-up handlers were run and the others are left out (does one push itself?)");
            task.channel.data_mut().hangup_handlers.clear();
            return;
        }
        run += 1;
        task.channel
            .tell_hangup_handler("HangupHandlerRun", &handler);
        let (destination, arguments) = args::parse_gosub(&handler);
        let arguments = arguments.map(args::split).unwrap_or_default();
        let target = match jump::resolve(task, &destination) {
            Ok(target) if task.exists(&target.context, &target.exten, target.priority) => target,
            Ok(_) => {
                task.warn(&format!(
                    "hang-up handler {handler}: there is no such place"
                ));
                continue;
            }
            Err(stop) => {
                log_stop(task, None, &stop);
                continue;
            }
        };
        let depth = task.frame_depth();
        if let Err(stop) = task.push_frame(None, &arguments) {
            log_stop(task, None, &stop);
            return;
        }
        let back = task.channel.location();
        task.channel.set_location(target);
        let ended = run_over(task, &mut budget).await;
        while task.frame_depth() > depth && task.pop_frame().is_some() {}
        task.channel.set_location(back);
        if !ended {
            tracing::error!(channel = %task.channel.name(), handler, "the hang-up handlers took {H_STEPS_MAX} steps and were ended (is there an endless loop?)");
            task.channel.data_mut().hangup_handlers.clear();
            return;
        }
    }
}

/// What the steps of a call that is over may take together.
#[derive(Default)]
struct Budget {
    turns: Turns,
    steps: u32,
}

/// Runs steps of a call that is over until something other than the next of them follows. False: there are too many.
async fn run_over(task: &Rc<Task>, budget: &mut Budget) -> bool {
    let turns = &mut budget.turns;
    while budget.steps < H_STEPS_MAX {
        budget.steps += 1;
        turns.take(task).await;
        let mut place = task.channel.location();
        match turns.run(step(task, &mut place)).await {
            Some(Ok(Next::Continue)) => {
                let priority = place.priority.saturating_add(1);
                task.channel.set_location(Location { priority, ..place });
            }
            Some(Ok(Next::Jump(target))) => task.channel.set_location(target),
            _ => return true,
        }
    }
    false
}

/// Runs extension `h` for a channel that was dialled (Dial option `e`).
pub(crate) async fn run_h_of(host: &Rc<Host>, channel: &Channel) {
    let task = Task::new(host, channel.clone());
    Box::pin(run_h(&task)).await;
}
