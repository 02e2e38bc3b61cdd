//! What `strowger check` says about a dialplan before a call finds out: problems of the rows, and sounds that are not
//! there.

use std::borrow::Cow;

use strowger_core::sounds::SoundStore;
use strowger_dialplan::{Context, Plan, Problem, Severity, Step, args};
use strowger_store::Snapshot;

use crate::app::dial_options;
use crate::plans;
use crate::script::Scripts;

/// Everything wrong with the dialplan of a snapshot. A sound is there if a call in the language of any endpoint, or in
/// English, would find it. Reads sound folders, so not for a shard's thread.
pub fn check(snapshot: &Snapshot, scripts: &Scripts, sounds: &SoundStore) -> Vec<Problem> {
    let plan = plans::compile(snapshot, scripts, None);
    let mut languages: Vec<&str> = snapshot
        .endpoints
        .values()
        .filter_map(|endpoint| endpoint.language.as_deref())
        .collect();
    languages.push("en");
    languages.sort_unstable();
    languages.dedup();
    let mut problems = plan.problems.clone();
    problems.extend(missing_sounds(&plan, |name| {
        languages
            .iter()
            .any(|language| sounds.exists(name, language))
    }));
    problems.extend(idle_options(&plan));
    problems
}

/// What is wrong with `func_odbc.conf`; `databases` are those that the configuration names (`[sql.NAME]`).
pub fn check_databases(snapshot: &Snapshot, databases: &[&str]) -> Vec<String> {
    crate::func::odbc::problems(snapshot, databases)
}

/// Sounds named by constant data that `exists` does not know.
fn missing_sounds(plan: &Plan, exists: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut contexts: Vec<_> = plan.contexts().collect();
    contexts.sort_by_key(|context| context.name.clone());
    for context in contexts {
        for step in &context.steps {
            for name in sounds_of(step) {
                if !exists(&name) {
                    problems.push(missing(context, step, &name));
                }
            }
        }
    }
    problems
}

/// Options of Dial that do nothing here, where the row shows them.
fn idle_options(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut contexts: Vec<_> = plan.contexts().collect();
    contexts.sort_by_key(|context| context.name.clone());
    for context in contexts {
        for step in context.steps.iter().filter(|step| &*step.app == "Dial") {
            // Where a call puts something in, there is a digit, which is no option.
            let arguments = args::split_at_most(&step.template.skeleton("1"), 4);
            let options = arguments.get(2).map_or("", |options| options.trim());
            let options = args::Options::parse(options).unwrap_or_else(|(_, options)| options);
            let idle = dial_options::without_effect(&options);
            if !idle.is_empty() {
                problems.push(Problem {
                    severity: Severity::Warning,
                    context: context.name.to_string(),
                    exten: Some(step.exten.to_string()),
                    priority: Some(step.priority),
                    origin: Some(step.origin),
                    what: format!("options \"{idle}\" of Dial have no effect here"),
                    hint: Cow::Borrowed("leave them out"),
                });
            }
        }
    }
    problems
}

fn missing(context: &Context, step: &Step, name: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        context: context.name.to_string(),
        exten: Some(step.exten.to_string()),
        priority: Some(step.priority),
        origin: Some(step.origin),
        what: format!(
            "{} plays the sound \"{name}\", which does not exist",
            step.app
        ),
        hint: Cow::Borrowed("put NAME.wav into the sounds folder of the data directory"),
    }
}

/// The sounds a step names, when its data is constant.
fn sounds_of(step: &Step) -> Vec<String> {
    let place = match &*step.app {
        "Playback" | "BackGround" | "ControlPlayback" => 0,
        "Read" => 1,
        _ => return Vec::new(),
    };
    let Some(data) = step.template.constant() else {
        return Vec::new();
    };
    let arguments = args::split(data);
    // Option i of Read plays tones.
    if place == 1
        && arguments
            .get(3)
            .is_some_and(|options| options.contains('i'))
    {
        return Vec::new();
    }
    // Options say and mix of Playback: `number:12` is no file.
    let spoken = &*step.app == "Playback"
        && arguments
            .get(1)
            .is_some_and(|options| options.contains("say") || options.contains("mix"));
    arguments
        .get(place)
        .map(|files| {
            files
                .split('&')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .filter(|name| !spoken || !name.contains(':'))
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use strowger_dialplan::Row;

    use super::*;
    use crate::registry::Applications;

    #[test]
    fn sounds_that_do_not_exist_are_told_with_their_row() {
        let rows: Vec<Row<'_>> = [
            ("Playback", "demo-hello&demo-missing"),
            ("BackGround", "menu-missing,,ru"),
            ("Read", "X,read-missing,4"),
            ("Playback", "${VARIABLE}"),
            ("NoOp", "nothing-missing"),
            ("Playback", "demo-hello,noanswer"),
            ("Playback", "number:12&demo-hello,mix"),
        ]
        .into_iter()
        .zip(1..)
        .map(|((app, appdata), priority)| Row {
            id: i64::from(priority) + 100,
            context: "c",
            exten: "100",
            priority,
            app,
            appdata,
        })
        .collect();
        let plan = strowger_dialplan::compile(&rows, &[], &Applications, None);
        let problems = missing_sounds(&plan, |name| name == "demo-hello");
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].contains("demo-missing") && told[0].contains("101"),
            "{told:?}"
        );
        assert!(
            told[1].contains("menu-missing") && told[2].contains("read-missing"),
            "{told:?}"
        );
    }

    #[test]
    fn options_of_dial_without_effect_are_told() {
        let rows: Vec<Row<'_>> = [
            "PJSIP/${EXTEN},30,tTEOg",
            "PJSIP/${EXTEN},30,gm(default)",
            "PJSIP/${EXTEN},30,${OPTIONS}",
            "PJSIP/100",
        ]
        .into_iter()
        .zip(1..)
        .map(|(appdata, priority)| Row {
            id: i64::from(priority) + 100,
            context: "c",
            exten: "100",
            priority,
            app: "Dial",
            appdata,
        })
        .collect();
        let plan = strowger_dialplan::compile(&rows, &[], &Applications, None);
        let told: Vec<String> = idle_options(&plan)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("\"EO\"") && told[0].contains("101"),
            "{told:?}"
        );
    }

    #[test]
    fn unknown_applications_and_functions_are_told() {
        let rows = [
            Row {
                id: 1,
                context: "c",
                exten: "1",
                priority: 1,
                app: "Dail",
                appdata: "PJSIP/100",
            },
            Row {
                id: 2,
                context: "c",
                exten: "1",
                priority: 2,
                app: "NoOp",
                appdata: "${CALLERDI(num)}",
            },
        ];
        let plan = strowger_dialplan::compile(&rows, &[], &Applications, None);
        let told: Vec<String> = plan.problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|text| text.contains("Dail")), "{told:?}");
        assert!(
            told.iter().any(|text| text.contains("CALLERDI")),
            "{told:?}"
        );
    }
}
