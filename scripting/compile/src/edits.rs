//! Steps that programs add and take away while the exchange runs, beside the rows. Knows neither who asks for it nor for how long
//! it holds.

use std::collections::BTreeMap;

use crate::plan::{Origin, Plan};

/// Steps that may be added or taken away at once; a place counts once.
pub const EDITS_MAX: usize = 10_000;

/// Where a step is, within its context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Extension name or pattern.
    pub exten: String,
    /// Caller's number it is meant for, when it is meant for one.
    pub caller: Option<String>,
    /// Priority, from 1; [`crate::plan::HINT`] for a hint.
    pub priority: i32,
}

/// A step that is not in the rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Added {
    /// Application in any case; the devices of a hint.
    pub app: String,
    /// Its data before substitution.
    pub appdata: String,
}

/// Why steps stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotEdited {
    /// There is a step at that place.
    Exists,
    /// There is none.
    Missing,
    /// [`EDITS_MAX`]
    TooMany,
}

/// What is different at one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Edit {
    /// The step that is there now; none: the row there counts no longer.
    pub(crate) step: Option<Added>,
    /// A row stands there, which shows again when nothing is different any more.
    over_row: bool,
}

/// What is different in one context.
pub(crate) type Spots = BTreeMap<Spot, Edit>;

/// What is different from the rows of `extensions.conf`, by context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits(BTreeMap<String, Spots>);

impl Edits {
    /// Those of a context.
    pub(crate) fn of(&self, context: &str) -> Option<&Spots> {
        self.0.get(context)
    }

    /// Contexts that have steps only by this.
    pub(crate) fn contexts(&self) -> impl Iterator<Item = &str> {
        let with_steps = self
            .0
            .iter()
            .filter(|(_, spots)| spots.values().any(|edit| edit.step.is_some()));
        with_steps.map(|(name, _)| name.as_str())
    }

    /// Is nothing different?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts other spots into a context, if there are not too many then.
    fn put(&mut self, context: &str, spots: Spots) -> Result<(), NotEdited> {
        let others = self.0.iter().filter(|(name, _)| *name != context);
        let others: usize = others.map(|(_, spots)| spots.len()).sum();
        if others + spots.len() > EDITS_MAX {
            return Err(NotEdited::TooMany);
        }
        if spots.is_empty() {
            self.0.remove(context);
        } else {
            self.0.insert(context.to_owned(), spots);
        }
        Ok(())
    }

    /// Adds a step. `plan` is what the rows say; of what is different in it already, this knows better.
    ///
    /// # Errors
    /// There is one at that place and it is not to be replaced, or there are too many.
    pub fn add(
        &mut self,
        plan: &Plan,
        context: &str,
        spot: Spot,
        step: Added,
        replace: bool,
    ) -> Result<(), NotEdited> {
        let mut spots = self.of(context).cloned().unwrap_or_default();
        let (exists, over_row) = match spots.get(&spot) {
            Some(known) => (known.step.is_some(), known.over_row),
            None => {
                let there = written(plan, context).any(|there| there == spot);
                (there, there)
            }
        };
        if exists && !replace {
            return Err(NotEdited::Exists);
        }
        let step = Some(step);
        spots.insert(spot, Edit { step, over_row });
        self.put(context, spots)
    }

    /// Takes away a step, or all of an extension. Rows of `realtime_extensions` stay.
    ///
    /// # Errors
    /// There is none, or too many are taken away.
    pub fn remove(
        &mut self,
        plan: &Plan,
        context: &str,
        exten: &str,
        caller: Option<&str>,
        priority: Option<i32>,
    ) -> Result<(), NotEdited> {
        let is_meant = |spot: &Spot| {
            spot.exten == exten
                && spot.caller.as_deref() == caller
                && priority.is_none_or(|priority| priority == spot.priority)
        };
        let mut spots = self.of(context).cloned().unwrap_or_default();
        let mut found = false;
        spots.retain(|spot, edit| {
            if is_meant(spot) && edit.step.take().is_some() {
                found = true;
            }
            edit.step.is_some() || edit.over_row
        });
        for spot in written(plan, context).filter(is_meant) {
            spots.entry(spot).or_insert_with(|| {
                found = true;
                Edit {
                    step: None,
                    over_row: true,
                }
            });
        }
        if !found {
            return Err(NotEdited::Missing);
        }
        self.put(context, spots)
    }
}

/// Steps that rows of `extensions.conf` write in a context, and those that settings make, as the plan has them.
fn written<'p>(plan: &'p Plan, context: &str) -> impl Iterator<Item = Spot> + use<'p> {
    let context = plan.context(context);
    let steps = context.map_or(&[][..], |context| &context.steps);
    let rows = steps
        .iter()
        .filter(|step| matches!(step.origin, Origin::Static(_) | Origin::Made));
    rows.map(|step| Spot {
        exten: step.exten.to_string(),
        caller: step.caller.as_deref().map(str::to_owned),
        priority: step.priority,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{StaticRow, compile_with_scripts};
    use crate::plan::{HINT, Query};
    use crate::registry::Registry;

    struct Any;

    impl Registry for Any {
        fn application(&self, name: &str) -> Option<&str> {
            ["NoOp", "Hangup", "Echo"]
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(name))
        }

        fn function(&self, _: &str) -> bool {
            true
        }
    }

    const LINES: [(&str, &str); 3] = [
        ("exten", "100,1,NoOp(written)"),
        ("same", "n,Hangup()"),
        ("exten", "_2XX,1,NoOp(pattern)"),
    ];

    fn compiled(edits: &Edits, before: Option<&Plan>) -> Plan {
        let rows: Vec<StaticRow<'_>> = (1..)
            .zip(LINES)
            .map(|(id, (name, value))| StaticRow {
                id,
                category: "a",
                name,
                value,
            })
            .collect();
        compile_with_scripts(&[], &rows, &[], &[], edits, &Any, before)
    }

    fn spot(exten: &str, priority: i32) -> Spot {
        Spot {
            exten: exten.to_owned(),
            caller: None,
            priority,
        }
    }

    fn step(app: &str, appdata: &str) -> Added {
        Added {
            app: app.to_owned(),
            appdata: appdata.to_owned(),
        }
    }

    fn says(plan: &Plan, context: &str, exten: &str, priority: i32) -> Option<String> {
        let found = plan.find(&Query::new(context, exten, priority))?;
        let step = found.step();
        Some(format!("{}({})", step.app, step.appdata))
    }

    #[test]
    fn steps_are_added_beside_rows_and_in_contexts_of_their_own() {
        let mut edits = Edits::default();
        let rows = compiled(&edits, None);
        let added = edits.add(&rows, "a", spot("300", 1), step("echo", "x,(y)"), false);
        assert_eq!(added, Ok(()));
        assert_eq!(
            edits.add(&rows, "b", spot("1", 1), step("NoOp", ""), false),
            Ok(())
        );
        assert_eq!(
            edits.add(&rows, "b", spot("1", HINT), step("PJSIP/1", ""), false),
            Ok(())
        );
        let plan = compiled(&edits, Some(&rows));
        assert_eq!(says(&plan, "a", "300", 1).as_deref(), Some("Echo(x,(y))"));
        assert_eq!(says(&plan, "a", "100", 2).as_deref(), Some("Hangup()"));
        assert_eq!(says(&plan, "b", "1", 1).as_deref(), Some("NoOp()"));
        assert_eq!(plan.hints().next(), Some(("b", "1", "PJSIP/1")));
        let again = edits.add(&plan, "a", spot("300", 1), step("NoOp", ""), false);
        assert_eq!(again, Err(NotEdited::Exists));
        assert_eq!(edits.remove(&plan, "b", "1", None, None), Ok(()));
        let plan = compiled(&edits, Some(&plan));
        assert!(plan.context("b").is_none());
    }

    #[test]
    fn what_replaced_a_row_is_taken_away_with_it() {
        let mut edits = Edits::default();
        let rows = compiled(&edits, None);
        let other = || step("NoOp", "other");
        let refused = edits.add(&rows, "a", spot("100", 1), other(), false);
        assert_eq!(refused, Err(NotEdited::Exists));
        assert_eq!(edits.add(&rows, "a", spot("100", 1), other(), true), Ok(()));
        let plan = compiled(&edits, Some(&rows));
        assert_eq!(says(&plan, "a", "100", 1).as_deref(), Some("NoOp(other)"));
        assert_eq!(edits.remove(&plan, "a", "100", None, Some(1)), Ok(()));
        let plan = compiled(&edits, Some(&plan));
        assert_eq!(says(&plan, "a", "100", 1), None);
        assert_eq!(says(&plan, "a", "100", 2).as_deref(), Some("Hangup()"));
        let twice = edits.remove(&plan, "a", "100", None, Some(1));
        assert_eq!(twice, Err(NotEdited::Missing));
        assert_eq!(edits.remove(&plan, "a", "_2XX", None, None), Ok(()));
        let plan = compiled(&edits, Some(&plan));
        assert_eq!(says(&plan, "a", "201", 1), None);
        let plan = compiled(&Edits::default(), Some(&plan));
        assert_eq!(says(&plan, "a", "100", 1).as_deref(), Some("NoOp(written)"));
    }

    #[test]
    fn there_is_a_limit_and_places_taken_away_make_room() {
        let mut edits = Edits::default();
        let rows = compiled(&edits, None);
        let spots = (0..EDITS_MAX).map(|number| {
            let edit = Edit {
                step: Some(step("NoOp", "")),
                over_row: false,
            };
            (spot(&format!("9{number}"), 1), edit)
        });
        edits.0.insert("full".to_owned(), spots.collect());
        let add = |edits: &mut Edits| edits.add(&rows, "b", spot("1", 1), step("NoOp", ""), false);
        assert_eq!(add(&mut edits), Err(NotEdited::TooMany));
        assert_eq!(edits.remove(&rows, "full", "91", None, None), Ok(()));
        assert_eq!(add(&mut edits), Ok(()));
    }
}
