//! What a test wanted beside what the call did.

use std::fmt::Write as _;

use super::table::{Want, Wish};
use super::{Outcome, Taken};

/// Steps that a failure shows.
const STEPS_SHOWN: usize = 60;
/// Characters of a step's data that it shows.
const DATA_SHOWN: usize = 100;

/// `context,exten[,priority[ App(data)]]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'t> {
    context: &'t str,
    exten: &'t str,
    priority: Option<i32>,
    application: Option<&'t str>,
}

impl<'t> Place<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no place; right is \"context,exten\", \"context,exten,priority\" or \"context,exten,priority App(data)\""
            )
        };
        let (context, rest) = text.split_once(',').ok_or_else(wrong)?;
        let (exten, rest) = match rest.split_once(',') {
            Some((exten, rest)) => (exten, Some(rest)),
            None => (rest, None),
        };
        let (priority, application) = match rest {
            None => (None, None),
            Some(rest) => {
                let (priority, application) = match rest.trim().split_once(' ') {
                    Some((priority, application)) => (priority, Some(application.trim())),
                    None => (rest.trim(), None),
                };
                (Some(priority.parse().map_err(|_| wrong())?), application)
            }
        };
        let (context, exten) = (context.trim(), exten.trim());
        if context.is_empty() || exten.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            context,
            exten,
            priority,
            application,
        })
    }

    fn is(&self, step: &Taken) -> bool {
        self.context == step.context
            && self.exten == step.exten
            && self
                .priority
                .is_none_or(|priority| priority == step.priority)
            && self.application.is_none_or(|wanted| {
                let mut applications = step.applications.iter();
                applications.any(|(app, data)| same_application(wanted, app, data))
            })
    }
}

fn same_application(wanted: &str, app: &str, data: &str) -> bool {
    match wanted.split_once('(') {
        Some((name, rest)) => {
            name.eq_ignore_ascii_case(app) && rest.strip_suffix(')').unwrap_or(rest) == data
        }
        None => wanted.eq_ignore_ascii_case(app),
    }
}

/// What a test found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Each with the line of the wish.
    pub findings: Vec<(usize, String)>,
}

/// None: all is as it was wanted.
pub(super) fn compare(want: &Want, outcome: &Outcome) -> Option<Failure> {
    let mut findings = Vec::new();
    for fault in &outcome.faults {
        findings.push((want.line, fault.clone()));
    }
    if let Some(route) = &want.route {
        findings.extend(follow(route, &outcome.steps, want.line));
    }
    let mut rest = outcome.steps.as_slice();
    for wish in &want.through {
        let Ok(place) = Place::parse(&wish.what) else {
            continue;
        };
        match rest.iter().position(|step| place.is(step)) {
            Some(at) => rest = rest.get(at + 1..).unwrap_or_default(),
            None => {
                let comes = outcome.steps.iter().any(|step| place.is(step));
                let but = if comes {
                    " at this place of the order"
                } else {
                    ""
                };
                findings.push((
                    wish.line,
                    format!("through: the call does not come to {}{but}", wish.what),
                ));
            }
        }
    }
    for wish in &want.never {
        if let Ok(place) = Place::parse(&wish.what)
            && let Some(step) = outcome.steps.iter().find(|step| place.is(step))
        {
            findings.push((
                wish.line,
                format!("never: the call comes to {}", name(step)),
            ));
        }
    }
    differs(
        &mut findings,
        "dialled",
        want.dialled.as_ref(),
        &outcome.dialled,
    );
    differs(
        &mut findings,
        "played",
        want.played.as_ref(),
        &outcome.played,
    );
    differs(
        &mut findings,
        "answered",
        want.answered.as_ref(),
        &outcome.answered,
    );
    if let Some(wish) = &want.cause
        && u32::from(wish.what.0) != outcome.cause
    {
        let text = format!("cause: wanted {}, got {}", wish.what.0, outcome.cause);
        findings.push((wish.line, text));
    }
    for (name, wish) in &want.variables {
        let got = outcome.values.get(name).map_or("", String::as_str);
        if got != wish.what {
            let text = format!("{name}: wanted {:?}, got {got:?}", wish.what);
            findings.push((wish.line, text));
        }
    }
    if findings.is_empty() {
        return None;
    }
    findings.sort_by_key(|(line, _)| *line);
    Some(Failure { findings })
}

fn differs<T: PartialEq + std::fmt::Debug>(
    findings: &mut Vec<(usize, String)>,
    what: &str,
    wish: Option<&Wish<T>>,
    got: &T,
) {
    if let Some(wish) = wish
        && wish.what != *got
    {
        let text = format!("{what}: wanted {:?}, got {got:?}", wish.what);
        findings.push((wish.line, text));
    }
}

fn name(step: &Taken) -> String {
    format!("{},{},{}", step.context, step.exten, step.priority)
}

/// A wish without a priority is for all steps in a row that are in its extension.
fn follow(route: &[Wish<String>], steps: &[Taken], line: usize) -> Option<(usize, String)> {
    let mut rest = steps;
    let mut last = line;
    for wish in route {
        last = wish.line;
        let place = Place::parse(&wish.what).ok()?;
        let Some((first, behind)) = rest.split_first() else {
            return Some((
                wish.line,
                format!("route: wanted {}, but the call is over", wish.what),
            ));
        };
        if !place.is(first) {
            let ran = first
                .applications
                .first()
                .map(|(app, data)| format!(" {app}({data})"))
                .unwrap_or_default();
            return Some((
                wish.line,
                format!("route: wanted {}, got {}{ran}", wish.what, name(first)),
            ));
        }
        rest = behind;
        if place.priority.is_none() {
            while let Some((first, behind)) = rest.split_first()
                && place.is(first)
            {
                rest = behind;
            }
        }
    }
    rest.first()
        .map(|step| (last, format!("route: wanted the end, got {}", name(step))))
}

/// How the call went, step by step.
pub(super) fn story(outcome: &Outcome) -> String {
    let mut out = String::new();
    for step in outcome.steps.iter().take(STEPS_SHOWN) {
        let _ = write!(out, "{}", name(step));
        for (app, data) in &step.applications {
            let mut shown: String = data.chars().take(DATA_SHOWN).collect();
            if shown.len() < data.len() {
                shown.push_str("...");
            }
            let _ = write!(out, "  {app}({})", crate::log_line::escape(&shown));
        }
        if let Some(result) = &step.result {
            let _ = write!(out, "  -> {result}");
        }
        out.push('\n');
    }
    if outcome.steps.len() > STEPS_SHOWN {
        let _ = writeln!(out, "... {} steps in all", outcome.steps.len());
    }
    let answered = if outcome.answered {
        "answered"
    } else {
        "not answered"
    };
    let _ = writeln!(out, "over: cause {}, {answered}", outcome.cause);
    for warning in &outcome.warnings {
        let _ = writeln!(out, "warning: {}", crate::log_line::escape(warning));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(list: &[(&str, i32)]) -> Vec<Taken> {
        list.iter()
            .map(|(exten, priority)| Taken {
                context: "c".to_owned(),
                exten: (*exten).to_owned(),
                priority: *priority,
                applications: vec![("Dial".to_owned(), format!("PJSIP/{exten},5"))],
                result: None,
            })
            .collect()
    }

    fn wishes(list: &[&str]) -> Vec<Wish<String>> {
        (10..)
            .zip(list)
            .map(|(line, what)| Wish {
                line,
                what: (*what).to_owned(),
            })
            .collect()
    }

    #[test]
    fn routes_are_followed_step_by_step_or_by_extensions() {
        let taken = steps(&[("1", 1), ("1", 2), ("2", 1), ("h", 1)]);
        for (route, wrong) in [
            (&["c,1", "c,2", "c,h"][..], None),
            (&["c,1,1", "c,1,2", "c,2,1", "c,h,1"], None),
            (&["c,1", "c,2,1 Dial(PJSIP/2,5)", "c,h"], None),
            (&["c,1", "c,2,1 dial", "c,h"], None),
            (&["c,1", "c,2"], Some((11, "wanted the end, got c,h,1"))),
            (
                &["c,1", "c,2", "c,h", "c,3"],
                Some((13, "wanted c,3, but the call is over")),
            ),
            (&["c,1,1", "c,2"], Some((11, "wanted c,2, got c,1,2"))),
            (
                &["c,1", "c,2,1 Dial(PJSIP/3,5)"],
                Some((11, "got c,2,1 Dial(PJSIP/2,5)")),
            ),
        ] {
            let found = follow(&wishes(route), &taken, 9);
            match (found, wrong) {
                (None, None) => {}
                (Some((line, text)), Some((wanted, words))) => {
                    assert_eq!(line, wanted, "{route:?}");
                    assert!(text.contains(words), "{text} for {route:?}");
                }
                other => panic!("{other:?} for {route:?}"),
            }
        }
    }

    #[test]
    fn every_wish_that_does_not_hold_is_told_with_its_line() {
        let outcome = Outcome {
            steps: steps(&[("1", 1), ("2", 1)]),
            dialled: vec!["PJSIP/1".to_owned()],
            cause: 17,
            faults: vec!["a step failed".to_owned()],
            ..Outcome::default()
        };
        let wish = |line, what| Some(Wish { line, what });
        let want = Want {
            line: 3,
            through: wishes(&["c,2", "c,1"]),
            never: wishes(&["c,2,1"]),
            dialled: wish(20, vec!["PJSIP/2".to_owned()]),
            answered: Some(Wish {
                line: 21,
                what: true,
            }),
            cause: Some(Wish {
                line: 22,
                what: strowger_core::channel::Cause(17),
            }),
            variables: [(
                "DIALSTATUS".to_owned(),
                Wish {
                    line: 23,
                    what: "BUSY".to_owned(),
                },
            )]
            .into(),
            ..Want::default()
        };
        let failure = compare(&want, &outcome).expect("it fails");
        let lines: Vec<usize> = failure.findings.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 10, 11, 20, 21, 23], "{failure:?}");
        assert!(
            failure.findings[5]
                .1
                .contains("DIALSTATUS: wanted \"BUSY\", got \"\"")
        );
        assert!(story(&outcome).contains("c,2,1  Dial(PJSIP/2,5)"));
    }
}
