//! Steps and hints that nobody writes: those of parking lots whose section of `res_parking.conf` has a `parkext`. Parking itself is
//! an application (`app/parking.rs`), and what is written under the same names wins where steps are compiled.

use std::collections::BTreeMap;

use strowger_core::parking::Lot;
use strowger_dialplan::plan::HINT;
use strowger_dialplan::{MadeStep, Problem};
use strowger_store::Snapshot;

/// Steps and hints of all lots together.
const STEPS_MAX: usize = 50_000;

/// Who makes the number that parks, where lots may share it.
const REGISTRAR: &str = "res_parking";

/// What the lots make: `parkext` parks, each space fetches who stands there and, with `parkinghints`, shows it. Of two lots that want
/// the same number the first has it.
pub(crate) fn steps(snapshot: &Snapshot) -> (Vec<MadeStep>, Vec<Problem>) {
    let mut steps: Vec<MadeStep> = Vec::new();
    let mut problems = Vec::new();
    // Who has a number, and whether others may have it too.
    let mut owners: BTreeMap<(String, String), (String, bool)> = BTreeMap::new();
    for lot in Lot::all(snapshot) {
        if lot.extension.is_empty() {
            continue;
        }
        let per_space = 1 + usize::from(lot.hints);
        let wanted = 1 + lot.spaces.clone().count() * per_space;
        if steps.len() + wanted > STEPS_MAX {
            let what = format!(
                "parking lot {} makes {wanted} steps and hints, and all lots together may make {STEPS_MAX}: it makes none",
                lot.name
            );
            let hint =
                "narrow `parkpos`, or leave out `parkext` and write the numbers that are needed";
            problems.push(Problem::error(&lot.context, what, hint));
            continue;
        }
        let own = format!("{REGISTRAR}/{}", lot.name);
        let mut own_number = |exten: &str, shared: bool| {
            let place = (lot.context.clone(), exten.to_owned());
            match owners.get(&place) {
                None => {
                    owners.insert(place, (lot.name.clone(), shared));
                    true
                }
                Some((_, true)) if shared => false,
                Some((other, _)) => {
                    let what = format!(
                        "parking lots {other} and {} both make extension {exten}: that of {other} counts",
                        lot.name
                    );
                    let hint = "give each lot a `parkext`, a `parkpos` or a `context` of its own in res_parking.conf";
                    problems.push(Problem::warning(&lot.context, what, hint));
                    false
                }
            }
        };
        let mut add = |exten: &str, priority: i32, app: String, appdata: String, by: &str| {
            steps.push(MadeStep {
                context: lot.context.clone(),
                exten: exten.to_owned(),
                priority,
                app,
                appdata,
                registrar: by.to_owned(),
            });
        };
        if own_number(&lot.extension, !lot.exclusive) {
            // Otherwise the channel says in which lot it parks.
            let (name, by) = match lot.exclusive {
                true => (lot.name.clone(), own.as_str()),
                false => (String::new(), REGISTRAR),
            };
            add(&lot.extension, 1, "Park".to_owned(), name, by);
        }
        for space in lot.spaces.clone() {
            let exten = space.to_string();
            if own_number(&exten, false) {
                let place = format!("{},{space}", lot.name);
                add(&exten, 1, "ParkedCall".to_owned(), place, &own);
                if lot.hints {
                    let device = format!("park:{space}@{}", lot.context);
                    add(&exten, HINT, device, String::new(), &own);
                }
            }
        }
    }
    (steps, problems)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strowger_dialplan::{Plan, Query};
    use strowger_store::{ExtensionRow, StaticRow};

    use super::*;
    use crate::plans::compile;
    use crate::script::Scripts;

    fn line(filename: &str, category: &str, name: &str, value: &str) -> StaticRow {
        StaticRow {
            filename: filename.into(),
            category: category.into(),
            var_name: name.into(),
            var_val: value.into(),
            ..StaticRow::default()
        }
    }

    fn lot(name: &str, settings: &[(&str, &str)]) -> Vec<StaticRow> {
        let settings = settings.iter();
        settings
            .map(|(option, value)| line("res_parking.conf", name, option, value))
            .collect()
    }

    fn planned(statics: Vec<StaticRow>, rows: &[(&str, &str, &str)]) -> Plan {
        let extensions = (1..)
            .zip(rows)
            .map(|(id, (context, exten, app))| ExtensionRow {
                id,
                context: (*context).into(),
                exten: (*exten).into(),
                priority: 1,
                app: (*app).into(),
                appdata: String::new(),
            });
        let snapshot = Snapshot {
            extensions: Arc::new(extensions.collect()),
            statics: Arc::new(statics),
            ..Snapshot::default()
        };
        compile(&snapshot, &Scripts::default(), None)
    }

    /// Application, data and maker of what a call finds.
    fn found(plan: &Plan, context: &str, exten: &str) -> Option<(String, String, Option<String>)> {
        let found = plan.find(&Query::new(context, exten, 1))?;
        let step = found.step();
        let registrar = step.registrar.as_ref().map(ToString::to_string);
        Some((step.app.to_string(), step.appdata.to_string(), registrar))
    }

    fn made(app: &str, data: &str, by: &str) -> Option<(String, String, Option<String>)> {
        Some((app.to_owned(), data.to_owned(), Some(by.to_owned())))
    }

    #[test]
    fn a_lot_with_an_extension_makes_steps_and_hints_where_none_are_written() {
        let mut statics = lot(
            "short",
            &[
                ("parkext", "800"),
                ("parkext_exclusive", "yes"),
                ("parkpos", "801-803"),
                ("context", "spaces"),
                ("parkinghints", "yes"),
            ],
        );
        statics.extend(lot("default", &[("parkpos", "901-902")]));
        statics.extend([
            line(
                "extensions.conf",
                "spaces",
                "exten",
                "802,hint,Custom:other",
            ),
            line("extensions.conf", "spaces", "exten", "803,1,Hangup()"),
            line("extensions.conf", "house", "include", "spaces"),
        ]);
        let plan = planned(statics, &[]);
        let mut hints: Vec<_> = plan.hints().collect();
        hints.sort_unstable();
        let wanted = [
            ("spaces", "801", "park:801@spaces"),
            ("spaces", "802", "Custom:other"),
            ("spaces", "803", "park:803@spaces"),
        ];
        assert_eq!(hints, wanted);
        let by = "res_parking/short";
        assert_eq!(found(&plan, "house", "800"), made("Park", "short", by));
        assert_eq!(
            found(&plan, "house", "801"),
            made("ParkedCall", "short,801", by)
        );
        assert_eq!(
            found(&plan, "house", "802"),
            made("ParkedCall", "short,802", by)
        );
        let written = Some(("Hangup".to_owned(), String::new(), None));
        assert_eq!(found(&plan, "house", "803"), written);
        // Without `parkext` a lot makes nothing.
        assert!(plan.context("parkedcalls").is_none());
    }

    #[test]
    fn a_context_that_is_only_rows_keeps_its_rows_beside_what_a_lot_makes() {
        let statics = lot(
            "default",
            &[
                ("parkext", "700"),
                ("parkpos", "701-702"),
                ("context", "house"),
            ],
        );
        let plan = planned(
            statics,
            &[("house", "100", "Answer"), ("house", "702", "Answer")],
        );
        let written = Some(("Answer".to_owned(), String::new(), None));
        assert_eq!(found(&plan, "house", "100"), written);
        assert_eq!(found(&plan, "house", "702"), written);
        assert_eq!(
            found(&plan, "house", "700"),
            made("Park", "", "res_parking")
        );
        let place = made("ParkedCall", "default,701", "res_parking/default");
        assert_eq!(found(&plan, "house", "701"), place);
        assert_eq!(plan.hints().count(), 0);
    }

    #[test]
    fn lots_share_the_number_that_parks_but_no_space_and_none_makes_without_end() {
        let mut statics = lot("default", &[("parkext", "700"), ("parkpos", "701-702")]);
        statics.extend(lot("second", &[("parkext", "700"), ("parkpos", "702-703")]));
        let plan = planned(statics, &[]);
        assert_eq!(
            found(&plan, "parkedcalls", "700"),
            made("Park", "", "res_parking")
        );
        let place = made("ParkedCall", "default,702", "res_parking/default");
        assert_eq!(found(&plan, "parkedcalls", "702"), place);
        let place = made("ParkedCall", "second,703", "res_parking/second");
        assert_eq!(found(&plan, "parkedcalls", "703"), place);
        let told: Vec<String> = plan.problems.iter().map(ToString::to_string).collect();
        let about = "parking lots default and second both make extension 702";
        assert_eq!(
            told.iter().filter(|text| text.contains(about)).count(),
            1,
            "{told:?}"
        );
        assert!(
            !told.iter().any(|text| text.contains("extension 700")),
            "{told:?}"
        );

        let mut statics = Vec::new();
        for number in 0..6 {
            let positions = format!("{number}0000-{number}9999");
            let settings = [("parkext", "park"), ("parkpos", positions.as_str())];
            statics.extend(lot(&format!("lot{number}"), &settings));
        }
        statics.extend(lot("default", &[("parkpos", "1-2")]));
        let plan = planned(statics, &[]);
        let steps = plan
            .context("parkedcalls")
            .map_or(0, |context| context.steps.len());
        assert_eq!(steps, 40_001);
        let told: Vec<String> = plan.problems.iter().map(ToString::to_string).collect();
        let about = "makes 10001 steps and hints, and all lots together may make 50000";
        assert_eq!(
            told.iter().filter(|text| text.contains(about)).count(),
            2,
            "{told:?}"
        );
    }
}
