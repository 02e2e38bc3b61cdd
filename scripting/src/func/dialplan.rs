//! Functions about the dialplan.

use strowger_dialplan::Query;
use strowger_dialplan::args::parse_goto;

use super::{Function, argument};
use crate::app::Stop;
use crate::app::jump::resolve;
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "DIALPLAN_EXISTS",
        "DIALPLAN_EXISTS(context[,exten[,priority]])",
        "1 if the place exists, else 0",
        exists,
    ),
    Function::read(
        "EVAL_EXTEN",
        "EVAL_EXTEN([[context,]exten,]priority)",
        "what the data of a step would be",
        evaluate_step,
    ),
];

/// The data of the step that a place means, substituted for this channel.
fn evaluate_step(task: &Task, args: &str) -> Result<String, String> {
    let place = resolve(task, &parse_goto(args)).map_err(|stop| match stop {
        Stop::Failed(why) => why,
        Stop::Told => "it failed".to_owned(),
        Stop::Interrupted(_) => "the call is over".to_owned(),
    })?;
    let plan = task.plan();
    let caller = task.caller();
    let query = Query::new(&place.context, &place.exten, place.priority)
        .caller(Some(&caller))
        .vars(task);
    let found = plan.find(&query).ok_or_else(|| {
        format!(
            "there is no {},{},{}",
            place.context, place.exten, place.priority
        )
    })?;
    Ok(found.step().template.evaluate(task))
}

fn exists(task: &Task, args: &str) -> Result<String, String> {
    let (context, exten, priority) = (argument(args, 0), argument(args, 1), argument(args, 2));
    if context.is_empty() {
        return Err("DIALPLAN_EXISTS needs a context".to_owned());
    }
    let plan = task.host.current();
    let caller = task.caller();
    let found = if exten.is_empty() {
        plan.context(&context).is_some()
    } else if priority.is_empty() {
        plan.exists(
            &Query::new(&context, &exten, 1)
                .caller(Some(&caller))
                .vars(task),
        )
    } else {
        match priority.parse() {
            Ok(priority) => plan.exists(
                &Query::new(&context, &exten, priority)
                    .caller(Some(&caller))
                    .vars(task),
            ),
            Err(_) => plan.exists(
                &Query::label(&context, &exten, &priority)
                    .caller(Some(&caller))
                    .vars(task),
            ),
        }
    };
    Ok(u8::from(found).to_string())
}
