//! Steps in their order: those that nothing leads to, and loops that never end.

use std::collections::HashSet;

use super::links::{Jump, Place};
use super::{MARKER, Problem};
use crate::plan::{Context, Extension, Step, Table};

/// Applications after which the next priority does not follow.
const ENDS: &[&str] = &["goto", "hangup", "return", "busy", "congestion"];
/// Steps that are come to from elsewhere: from a condition above them that did not hold.
const FROM_ABOVE: &[&str] = &["elseif", "else", "endif", "endwhile"];
/// Applications that lead out of a loop, or may.
const LEAVES: &[&str] = &[
    "goto",
    "gotoif",
    "gotoiftime",
    "gosub",
    "gosubif",
    "return",
    "hangup",
    "raiseexception",
    "incomplete",
    "if",
    "elseif",
    "else",
    "exitif",
    "while",
    "endwhile",
    "exitwhile",
    "continuewhile",
];

fn is_one_of(step: &Step, names: &[&str]) -> bool {
    names.iter().any(|name| step.app.eq_ignore_ascii_case(name))
}

/// Checks the extensions of one table. `targets`: priorities that steps of any context jump to.
pub(super) fn problems(
    context: &Context,
    table: &Table,
    targets: &HashSet<i32>,
    list: &mut Vec<Problem>,
) {
    // Where a destination is computed, or a Dial sends both sides on, no step is known to be out of reach.
    let computed = context.steps.iter().any(|step| {
        let name = step.app.to_ascii_lowercase();
        let jumps = name.starts_with("goto") || name == "execif";
        (jumps && computes_place(step)) || (name == "dial" && step.appdata.contains("G("))
    });
    for extension in &table.extensions {
        if !computed {
            unreachable(context, extension, targets, list);
        }
        for (place, (_, index)) in extension.steps.iter().enumerate() {
            endless(context, extension, place, *index, list);
        }
    }
}

/// Is the place that a step leads to made of what only a call knows?
fn computes_place(step: &Step) -> bool {
    let data = step.template.skeleton(MARKER);
    let place = match data.split_once('?') {
        Some((_, branches)) => branches,
        None => &data,
    };
    place.contains(MARKER)
}

fn unreachable(
    context: &Context,
    extension: &Extension,
    targets: &HashSet<i32>,
    list: &mut Vec<Problem>,
) {
    let step = |index: u32| context.steps.get(index as usize);
    for pair in extension.steps.windows(2) {
        let [(before, ending), (priority, next)] = pair else {
            continue;
        };
        let (Some(ending), Some(next)) = (step(*ending), step(*next)) else {
            continue;
        };
        let follows = *before >= 1 && *priority == before + 1;
        if follows
            && is_one_of(ending, ENDS)
            && next.label.is_none()
            && !targets.contains(priority)
            && !is_one_of(next, FROM_ABOVE)
        {
            let what = format!(
                "it is never reached: {} before it goes elsewhere, and nothing jumps here",
                ending.app
            );
            let hint = "remove it, or jump to it";
            list.push(Problem::warning(&context.name, what, hint).of(next));
        }
    }
}

/// A `Goto` back over steps none of which waits or leaves.
fn endless(
    context: &Context,
    extension: &Extension,
    place: usize,
    index: u32,
    list: &mut Vec<Problem>,
) {
    let Some(goto) = context.steps.get(index as usize) else {
        return;
    };
    if !goto.app.eq_ignore_ascii_case("goto") {
        return;
    }
    let own = |jump: &&Jump| {
        jump.step == index
            && jump
                .context
                .as_deref()
                .is_none_or(|name| name == &*context.name)
            && jump
                .exten
                .as_deref()
                .is_none_or(|name| name == &*extension.name)
    };
    let Some(jump) = context.jumps.iter().find(own) else {
        return;
    };
    let steps = |(priority, index): &(i32, u32)| {
        let step = context.steps.get(*index as usize)?;
        Some((*priority, step))
    };
    let target = match &jump.priority {
        Place::Number(number) => *number,
        Place::Label(label) => {
            let labelled = extension.steps.iter().filter_map(steps);
            match labelled
                .filter(|(_, step)| step.label.as_deref() == Some(label))
                .map(|(priority, _)| priority)
                .next()
            {
                Some(priority) => priority,
                None => return,
            }
        }
    };
    if target < 1 || target > goto.priority {
        return;
    }
    let between: Vec<&Step> = extension.steps[..place]
        .iter()
        .filter_map(steps)
        .filter(|(priority, _)| *priority >= target)
        .map(|(_, step)| step)
        .collect();
    let whole = between.len() == usize::try_from(goto.priority - target).unwrap_or(usize::MAX);
    if whole
        && between
            .iter()
            .all(|step| step.immediate && !is_one_of(step, LEAVES))
    {
        let what = format!(
            "endless loop: it goes back to priority {target}, and no step between waits or leads out"
        );
        let hint = "add a Wait, or a GotoIf that leaves";
        list.push(Problem::warning(&context.name, what, hint).of(goto));
    }
}
