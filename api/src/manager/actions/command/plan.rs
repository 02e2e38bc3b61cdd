//! The dialplan: `dialplan show`, `dialplan add extension`, `dialplan remove extension`, and its hints.

use strowger_dialplan::pattern::Pattern;
use strowger_dialplan::plan::{HINT, SwitchKind};
use strowger_dialplan::{Added, NotEdited, Plan, Step};
use strowger_scripting::EditError;

use super::super::super::classes::Classes;
use super::super::super::feed::status_text;
use super::super::Context;
use super::super::extensions::{spot, written_priority};
use super::{Output, count, failed, printed, usage};

/// Whose the rows are.
const WRITTEN: &str = "pbx_config";

fn row(left: &str, middle: &str, registrar: &str) -> String {
    format!("  {left:<17} {middle:<45} [{registrar}]")
}

fn said(step: &Step) -> String {
    match step.priority {
        HINT => format!("hint: {}", step.app),
        priority => format!("{priority}. {}({})", step.app, step.appdata),
    }
}

/// Steps of a context in their order, those of one extension together.
fn steps<'p>(all: &'p [Step], exten: Option<&str>) -> Vec<&'p Step> {
    let meant = |step: &&Step| {
        exten
            .is_none_or(|exten| *step.exten == *exten || Pattern::parse(&step.exten).matches(exten))
    };
    let mut steps: Vec<&Step> = all.iter().filter(meant).collect();
    steps.sort_by(|a, b| (&a.exten, &a.caller, a.priority).cmp(&(&b.exten, &b.caller, b.priority)));
    steps
}

/// Who made a context: of one that has steps of settings alone, whoever made the first.
fn maker(context: &strowger_dialplan::Context) -> &str {
    let written = context.has_section || context.steps.iter().any(|step| step.registrar.is_none());
    let first = context
        .steps
        .iter()
        .find_map(|step| step.registrar.as_deref());
    first.filter(|_| !written).unwrap_or(WRITTEN)
}

pub(super) fn show(plan: &Plan, place: Option<&str>) -> Output {
    let (exten, context) = match place {
        None => (None, None),
        Some(place) => match place.split_once('@') {
            Some((exten, context)) => (Some(exten), Some(context)),
            None => (None, Some(place)),
        },
    };
    let exten = exten.filter(|exten| !exten.is_empty());
    let context = context.filter(|context| !context.is_empty());
    let mut contexts: Vec<_> = plan
        .contexts()
        .filter(|known| context.is_none_or(|context| *known.name == *context))
        .collect();
    if let Some(context) = context.filter(|_| contexts.is_empty()) {
        return failed(format!("There is no existence of '{context}' context"));
    }
    contexts.sort_by(|a, b| a.name.cmp(&b.name));
    let mut lines = Vec::new();
    let (mut extensions, mut priorities, mut shown) = (0, 0, 0);
    for context in contexts {
        let steps = steps(&context.steps, exten);
        if exten.is_some() && steps.is_empty() {
            continue;
        }
        shown += 1;
        lines.push(format!(
            "[ Context '{}' created by '{}' ]",
            context.name,
            maker(context)
        ));
        let mut last = None;
        for step in steps {
            let own = Some((&step.exten, &step.caller));
            let left = if last == own {
                match &step.label {
                    Some(label) => format!("   [{label}]"),
                    None => String::new(),
                }
            } else {
                extensions += 1;
                match &step.caller {
                    Some(caller) => format!("'{}' (CID match '{caller}') =>", step.exten),
                    None => format!("'{}' =>", step.exten),
                }
            };
            last = own;
            priorities += 1;
            lines.push(row(
                &left,
                &said(step),
                step.registrar.as_deref().unwrap_or(WRITTEN),
            ));
        }
        if exten.is_none() {
            for include in &context.includes {
                lines.push(row(
                    "Include =>",
                    &format!("'{}'", include.context),
                    WRITTEN,
                ));
            }
            for switch in &context.switches {
                let what = match &switch.kind {
                    SwitchKind::Realtime(_) | SwitchKind::Evaluated(_) => "Realtime",
                    SwitchKind::Loopback(_) => "Loopback",
                    SwitchKind::Script => "Lua",
                    SwitchKind::Unknown(name) => name,
                };
                lines.push(row("Alt. Switch =>", &format!("'{what}'"), WRITTEN));
            }
        }
        lines.push(String::new());
    }
    if let Some(exten) = exten.filter(|_| shown == 0) {
        return failed(match context {
            Some(context) => format!("There is no existence of {exten}@{context} extension"),
            None => format!("There is no existence of '{exten}' extension in all contexts"),
        });
    }
    let several = |number: usize, one: &str, many: &str| {
        format!("{number} {}", if number == 1 { one } else { many })
    };
    lines.push(format!(
        "-= {} ({}) in {}. =-",
        several(extensions, "extension", "extensions"),
        several(priorities, "priority", "priorities"),
        several(shown, "context", "contexts")
    ));
    printed(lines)
}

/// `Application(data)`, `Application,data`, or the devices of a hint.
fn application(text: &str, is_hint: bool) -> (String, String) {
    if is_hint {
        return (text.to_owned(), String::new());
    }
    let (name, data) = match (text.find('('), text.find(',')) {
        (Some(open), comma) if comma.is_none_or(|comma| open < comma) => {
            let data = &text[open + 1..];
            (&text[..open], data.strip_suffix(')').unwrap_or(data))
        }
        (_, Some(comma)) => (&text[..comma], &text[comma + 1..]),
        (_, None) => (text, ""),
    };
    (name.trim().to_owned(), data.to_owned())
}

/// `dialplan add extension exten,priority,app into context [replace]`.
pub(super) async fn add(on: &Context<'_>, words: &[&str]) -> Output {
    let wrong =
        || usage(&["dialplan add extension <exten>,<priority>,<app> into <context> [replace]"]);
    let (words, replace) = match words.split_last() {
        Some((last, rest)) if last.eq_ignore_ascii_case("replace") && rest.len() >= 3 => {
            (rest, true)
        }
        _ => (words, false),
    };
    // What is added may have blanks itself.
    let Some((context, what)) = words
        .split_last()
        .and_then(|(context, rest)| Some((*context, rest.split_last()?)))
        .filter(|(_, (into, _))| into.eq_ignore_ascii_case("into"))
        .map(|(context, (_, what))| (context, what.join(" ")))
    else {
        return wrong();
    };
    let mut parts = what.splitn(3, ',').map(str::trim);
    let (Some(exten), Some(priority), Some(app)) = (parts.next(), parts.next(), parts.next())
    else {
        return wrong();
    };
    if exten.is_empty() || app.is_empty() {
        return wrong();
    }
    if !on.user.write.include(Classes::SYSTEM) {
        return failed("Permission denied".to_owned());
    }
    let Some(number) = written_priority(priority) else {
        return failed(format!("'{priority}' is not a valid priority"));
    };
    let (app, appdata) = application(app, number == HINT);
    let shown = format!("{exten},{priority},{app},{appdata}");
    let step = Added { app, appdata };
    let place = spot(exten, number);
    let plans = &on.manager.plans;
    match plans.add_step(context, place, step, replace).await {
        Ok(()) if replace => printed(vec![format!(
            "Extension {exten}@{context} ({priority}) replace by '{shown}'"
        )]),
        Ok(()) => printed(vec![format!(
            "Extension '{shown}' added into '{context}' context"
        )]),
        Err(EditError::Refused(NotEdited::Exists)) => failed(format!(
            "Extension {exten}@{context} with priority {priority} already exists"
        )),
        Err(_) => failed(format!(
            "Failed to add '{shown}' extension into '{context}' context"
        )),
    }
}

/// `dialplan remove extension exten[/caller]@context [priority]`.
pub(super) async fn remove(on: &Context<'_>, words: &[&str]) -> Output {
    let (place, priority) = match words {
        [place] => (*place, None),
        [place, priority] => (*place, Some(*priority)),
        _ => return usage(&["dialplan remove extension exten[/cid]@context [priority]"]),
    };
    if !on.user.write.include(Classes::SYSTEM) {
        return failed("Permission denied".to_owned());
    }
    let number = match priority.map(|text| (text, written_priority(text))) {
        None => None,
        Some((_, Some(number))) => Some(number),
        Some((text, None)) => return failed(format!("Invalid priority '{text}'")),
    };
    let Some((exten, context)) = place.split_once('@') else {
        return failed("First argument must be in exten[/cid]@context format".to_owned());
    };
    if exten.is_empty() || context.is_empty() {
        return failed(format!(
            "Missing extension or context name in third argument '{exten}@{context}'"
        ));
    }
    let (name, caller) = match exten.split_once('/') {
        Some((name, caller)) => (name, Some(caller)),
        None => (exten, None),
    };
    let plans = &on.manager.plans;
    match plans.remove_steps(context, name, caller, number).await {
        Ok(()) => printed(vec![match priority {
            None => format!("Whole extension {exten}@{context} removed"),
            Some(priority) => {
                format!("Extension {exten}@{context} with priority {priority} removed")
            }
        }]),
        Err(_) => failed(format!("Failed to remove extension {exten}@{context}")),
    }
}

/// All hints, or those of a number.
pub(super) fn hints(on: &Context<'_>, wanted: Option<&str>) -> Output {
    let shared = &on.manager.shared;
    let hints = shared.devices.hints();
    let mut all: Vec<_> = hints.iter().collect();
    if all.is_empty() {
        return printed(vec!["There are no registered dialplan hints".to_owned()]);
    }
    let number = |exten: &str| {
        wanted.is_none_or(|wanted| {
            let (name, _) = wanted.split_once('@').unwrap_or((wanted, ""));
            name == exten
        })
    };
    all.retain(|((_, exten), _)| number(exten));
    if all.is_empty() {
        return printed(vec![format!(
            "No hints matching extension {}",
            wanted.unwrap_or_default()
        )]);
    }
    all.sort_by(|a, b| a.0.cmp(b.0));
    let lines = all.iter().map(|((context, exten), hint)| {
        let place = format!("{exten}@{context}");
        let state = status_text(shared.hint_state(hint));
        format!("{place:<30.30}: {hint:<60.60}  State:{state:<15.15}")
    });
    let mut text = Vec::new();
    if wanted.is_none() {
        text.extend([
            String::new(),
            "    -= Registered Asterisk Dial Plan Hints =-".to_owned(),
        ]);
    }
    text.extend(lines);
    text.push("----------------".to_owned());
    let kind = if wanted.is_none() {
        "registered"
    } else {
        "matching extension"
    };
    let shown = count(all.len(), "hint");
    text.push(match wanted {
        None => format!("- {shown} {kind}"),
        Some(wanted) => format!("- {shown} {kind} {wanted}"),
    });
    printed(text)
}

#[cfg(test)]
mod tests {
    use strowger_dialplan::{Edits, MadeStep, Registry, Row, compile_with_scripts};

    use super::*;

    struct Known;

    impl Registry for Known {
        fn application(&self, name: &str) -> Option<&str> {
            let mut known = ["Park", "ParkedCall", "NoOp"].into_iter();
            known.find(|known| *known == name)
        }

        fn function(&self, _: &str) -> bool {
            false
        }
    }

    #[test]
    fn steps_that_a_parking_lot_makes_name_their_maker() {
        let step = |exten: &str, priority, app: &str, appdata: &str, registrar: &str| MadeStep {
            context: "parkedcalls".to_owned(),
            exten: exten.to_owned(),
            priority,
            app: app.to_owned(),
            appdata: appdata.to_owned(),
            registrar: registrar.to_owned(),
        };
        let made = [
            step("700", 1, "Park", "", "res_parking"),
            step("701", 1, "ParkedCall", "default,701", "res_parking/default"),
            step(
                "701",
                HINT,
                "park:701@parkedcalls",
                "",
                "res_parking/default",
            ),
        ];
        let planned = |rows: &[Row<'_>]| {
            compile_with_scripts(rows, &[], &[], &made, &Edits::default(), &Known, None)
        };
        let shown = show(&planned(&[]), Some("parkedcalls"));
        let wanted = [
            "[ Context 'parkedcalls' created by 'res_parking' ]",
            "  '700' =>          1. Park()                                     [res_parking]",
            "  '701' =>          hint: park:701@parkedcalls                    [res_parking/default]",
            "                    1. ParkedCall(default,701)                    [res_parking/default]",
            "",
            "-= 2 extensions (3 priorities) in 1 context. =-",
        ];
        assert_eq!(shown.lines, wanted);
        let row = Row {
            id: 1,
            context: "parkedcalls",
            exten: "702",
            priority: 1,
            app: "NoOp",
            appdata: "",
        };
        let shown = show(&planned(&[row]), Some("parkedcalls"));
        assert_eq!(
            shown.lines[0],
            "[ Context 'parkedcalls' created by 'pbx_config' ]"
        );
        let written =
            "  '702' =>          1. NoOp()                                     [pbx_config]";
        assert!(
            shown.lines.iter().any(|line| line == written),
            "{:?}",
            shown.lines
        );
    }

    #[test]
    fn applications_are_written_in_two_ways() {
        for (text, name, data) in [
            ("Dial(PJSIP/100,60,t)", "Dial", "PJSIP/100,60,t"),
            ("Dial,PJSIP/100,60", "Dial", "PJSIP/100,60"),
            ("Hangup", "Hangup", ""),
            ("Set(A=(1),(2))", "Set", "A=(1),(2)"),
            ("NoOp,(x)", "NoOp", "(x)"),
        ] {
            let wanted = (name.to_owned(), data.to_owned());
            assert_eq!(application(text, false), wanted, "{text}");
        }
        let hint = ("PJSIP/1&PJSIP/2".to_owned(), String::new());
        assert_eq!(application("PJSIP/1&PJSIP/2", true), hint);
    }
}
