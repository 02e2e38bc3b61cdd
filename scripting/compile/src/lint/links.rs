//! Rows together: jumps, includes and switches that lead nowhere, steps that nothing leads to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{MARKER, Problem, flow};
use crate::args::{self, Destination, Priority};
use crate::pattern::Pattern;
use crate::plan::{Context, Extension, HINT, Plan, Query, Step, SwitchKind, Table};
use crate::registry;
use crate::subst::Template;
use crate::truth::leading_integer;

/// A constant destination of a step.
#[derive(Debug)]
pub(crate) struct Jump {
    /// Index of the step.
    pub(super) step: u32,
    pub(super) context: Option<String>,
    pub(super) exten: Option<String>,
    pub(super) priority: Place,
}

#[derive(Debug)]
pub(super) enum Place {
    Number(i32),
    Label(String),
}

/// Collects the constant destinations of a step.
pub(crate) fn jumps(step: &Step, template: &Template, index: u32, jumps: &mut Vec<Jump>) {
    let data = template.skeleton(MARKER);
    let mut add = |destination: Destination<'_>| {
        let parts = [destination.context, destination.exten];
        if parts.iter().flatten().any(|part| part.contains(MARKER)) {
            return;
        }
        let priority = match destination.priority {
            Priority::Label(label) if label.is_empty() || label.contains(MARKER) => return,
            Priority::Label(label) => Place::Label(label.to_owned()),
            Priority::Number(number) => Place::Number(i32::try_from(number).unwrap_or(i32::MAX)),
            Priority::Relative(number) => {
                let target = i64::from(step.priority).saturating_add(number);
                Place::Number(i32::try_from(target).unwrap_or(i32::MAX))
            }
        };
        let [context, exten] = parts.map(|part| part.map(str::to_owned));
        jumps.push(Jump {
            step: index,
            context,
            exten,
            priority,
        });
    };
    match step.app.to_ascii_lowercase().as_str() {
        "goto" => add(args::parse_goto(&data)),
        "gosub" => add(args::parse_gosub(&data).0),
        "gotoif" | "gotoiftime" => {
            if let Some(branches) = args::parse_goto_if(&data) {
                branches
                    .yes
                    .into_iter()
                    .chain(branches.no)
                    .for_each(|branch| add(args::parse_goto(branch)));
            }
        }
        "gosubif" => {
            if let Some(branches) = args::parse_exec_if(&data) {
                branches
                    .yes
                    .into_iter()
                    .chain(branches.no)
                    .for_each(|branch| add(args::parse_gosub(branch).0));
            }
        }
        "execif" => {
            if let Some(branches) = args::parse_exec_if(&data) {
                for (app, data) in branches
                    .yes
                    .into_iter()
                    .chain(branches.no)
                    .map(args::parse_application)
                {
                    match app.to_ascii_lowercase().as_str() {
                        "goto" => add(args::parse_goto(data)),
                        "gosub" => add(args::parse_gosub(data).0),
                        _ => {}
                    }
                }
            }
        }
        _ => {}
    }
}

/// All problems of a plan, errors first, then by place.
pub(crate) fn problems(plan: &Plan) -> Vec<Problem> {
    let mut list: Vec<Problem> = plan
        .contexts
        .values()
        .flat_map(|context| context.problems.iter().cloned())
        .collect();
    let reached = plan.reachable_from();
    let all_targets: HashSet<i32> = plan
        .contexts
        .values()
        .flat_map(|context| &context.jumps)
        .filter_map(|jump| match jump.priority {
            Place::Number(number) => Some(number),
            Place::Label(_) => None,
        })
        .collect();
    for context in plan.contexts.values() {
        links(plan, context, &mut list);
        let from = reached.get(&*context.name).map_or(&[][..], Vec::as_slice);
        let targets = jump_problems(plan, context, from, &mut list);
        for table in [&context.fixed, &context.realtime] {
            gaps(plan, context, table, from, &targets, &mut list);
            flow::problems(context, table, &all_targets, &mut list);
        }
    }
    list.sort_by(|left, right| {
        let key = |problem: &Problem| {
            (
                problem.severity,
                problem.context.clone(),
                problem.origin,
                problem.priority,
            )
        };
        key(left).cmp(&key(right))
    });
    list
}

/// Includes and switches that lead nowhere, and realtime rows that nothing leads to.
fn links(plan: &Plan, context: &Context, list: &mut Vec<Problem>) {
    for include in context.script_includes.iter().chain(&context.includes) {
        if plan.context(&include.context).is_none() {
            let what = format!("include of unknown context `{}`", include.context);
            list.push(
                Problem::error(&context.name, what, near_context(plan, &include.context))
                    .from(include.origin),
            );
        }
    }
    let mut own = false;
    for switch in &context.switches {
        match &switch.kind {
            SwitchKind::Realtime(realtime) => {
                let target = realtime.context.as_deref().unwrap_or(&context.name);
                own |= target == &*context.name;
                if realtime.known_family
                    && !plan
                        .context(target)
                        .is_some_and(|target| target.has_realtime())
                {
                    let what =
                        format!("switch to realtime rows of context `{target}`, which has none");
                    list.push(
                        Problem::warning(&context.name, what, near_context(plan, target))
                            .from(switch.origin),
                    );
                }
            }
            SwitchKind::Evaluated(_) => own = true,
            SwitchKind::Loopback(_) | SwitchKind::Script | SwitchKind::Unknown(_) => {}
        }
    }
    if context.has_section && context.has_realtime() && !own && plan.override_switch.is_none() {
        let reached = plan.contexts.values().flat_map(|other| &other.switches).any(|switch| {
            matches!(&switch.kind, SwitchKind::Realtime(realtime) if realtime.context.as_deref() == Some(&*context.name))
        });
        if !reached {
            let what = "its rows of the realtime table are never reached, because its section of extensions.conf has no switch";
            let hint = "add the row switch = Realtime/@realtime_extensions to the section";
            list.push(Problem::warning(&context.name, what, hint));
        }
    }
}

fn near_context(plan: &Plan, name: &str) -> String {
    let known: Vec<&str> = plan.contexts.keys().map(|name| &**name).collect();
    match registry::nearest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write the rows of that context or correct the name".to_owned(),
    }
}

/// Checks constant destinations; returns the numeric priorities that are jumped to.
fn jump_problems(
    plan: &Plan,
    context: &Context,
    from: &[&str],
    list: &mut Vec<Problem>,
) -> HashSet<i32> {
    let mut targets = HashSet::new();
    let mut samples: HashMap<Arc<str>, Option<String>> = HashMap::new();
    for jump in &context.jumps {
        let Some(step) = context.steps.get(jump.step as usize) else {
            continue;
        };
        if let Place::Number(number) = jump.priority {
            targets.insert(number);
        }
        let exten = match &jump.exten {
            Some(exten) => Some(exten.clone()),
            None => samples
                .entry(Arc::clone(&step.exten))
                .or_insert_with(|| Pattern::parse(&step.exten).sample())
                .clone(),
        };
        let Some(exten) = exten else { continue };
        let places = match &jump.context {
            Some(context) => vec![context.as_str()],
            None => from.to_vec(),
        };
        let caller = step
            .caller
            .as_deref()
            .and_then(|caller| Pattern::parse(caller).sample());
        let found = places.iter().any(|place| {
            let query = match &jump.priority {
                Place::Number(number) => Query::new(place, &exten, *number),
                Place::Label(label) => Query::label(place, &exten, label),
            };
            plan.exists(&query.caller(caller.as_deref())) || includes_conditionally(plan, place)
        });
        if found {
            continue;
        }
        let target = match &jump.priority {
            Place::Number(number) => format!("{exten},{number}"),
            Place::Label(label) => format!("{exten},{label}"),
        };
        let here = jump.context.as_deref().unwrap_or(&context.name);
        let what = format!(
            "{} leads to {here},{target}, which does not exist",
            step.app
        );
        let hint = match plan.context(here) {
            None => near_context(plan, here),
            Some(_) => match &jump.priority {
                Place::Label(label) if leading_integer(label).is_none() => {
                    "labels are written in extensions.conf only; realtime rows have numbers"
                        .to_owned()
                }
                _ => "write that step or correct the destination".to_owned(),
            },
        };
        // A caught wrong number is a way to write a menu.
        let caught =
            plan.exists(&Query::new(here, "i", 1)) && matches!(jump.priority, Place::Number(1));
        let problem = if caught {
            Problem::warning(&context.name, what, hint)
        } else {
            Problem::error(&context.name, what, hint)
        };
        list.push(problem.of(step));
    }
    targets
}

/// Is there an include whose time condition decides what exists?
fn includes_conditionally(plan: &Plan, place: &str) -> bool {
    plan.context(place).is_some_and(|context| {
        context
            .includes
            .iter()
            .any(|include| include.condition.is_some())
            || context
                .switches
                .iter()
                .any(|switch| matches!(switch.kind, SwitchKind::Evaluated(_)))
    })
}

/// Extensions without a first priority, and holes between priorities.
fn gaps(
    plan: &Plan,
    context: &Context,
    table: &Table,
    from: &[&str],
    targets: &HashSet<i32>,
    list: &mut Vec<Problem>,
) {
    for extension in &table.extensions {
        let mut sample = None;
        for (place, (priority, step)) in extension.steps.iter().enumerate() {
            let before = place
                .checked_sub(1)
                .map_or(0, |before| extension.steps[before].0.max(0));
            if *priority == HINT || *priority == before + 1 || targets.contains(priority) {
                continue;
            }
            let sample = sample.get_or_insert_with(|| sample_of(extension));
            let Some((exten, caller)) = sample else { break };
            let exists = |wanted: i32| {
                from.iter().any(|place| {
                    plan.exists(&Query::new(place, exten, wanted).caller(caller.as_deref()))
                })
            };
            if exists(*priority - 1) && exists(1) {
                continue;
            }
            let Some(step) = context.steps.get(*step as usize) else {
                continue;
            };
            let (what, hint) = if before == 0 && !exists(1) {
                (
                    "no extension that matches has priority 1, so it is never reached".to_owned(),
                    "number the steps from 1",
                )
            } else {
                (
                    format!(
                        "priority {} before it is missing, so it is never reached",
                        priority - 1
                    ),
                    "number the steps without holes",
                )
            };
            list.push(Problem::warning(&context.name, what, hint).of(step));
            break;
        }
    }
}

fn sample_of(extension: &Extension) -> Option<(String, Option<String>)> {
    let caller = match &extension.caller {
        Some(caller) => Some(caller.sample()?),
        None => None,
    };
    Some((Pattern::parse(&extension.name).sample()?, caller))
}
