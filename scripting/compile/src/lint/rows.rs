//! Rows by themselves: patterns, applications, functions, expressions.

use super::{MARKER, Problem, Severity};
use crate::expr;
use crate::pattern::{self, Defect};
use crate::plan::{HINT, Origin, Step};
use crate::registry::{self, Registry};
use crate::subst::{Node, Template, TemplateDefect};

/// Longest data of a row that is accepted, bytes.
pub const APPDATA_LIMIT: usize = 8192;

/// Checks a pattern by itself.
pub(crate) fn pattern(
    context: &str,
    name: &str,
    origin: Option<Origin>,
    problems: &mut Vec<Problem>,
) {
    for defect in pattern::defects(name) {
        let (severity, what, hint) = match defect {
            Defect::Unterminated => (
                Severity::Error,
                "has `[` without `]` and matches nothing",
                "close the set, as in _[2-5]XX",
            ),
            Defect::EmptySet => (
                Severity::Error,
                "has a set without members, which is ignored",
                "name the characters, as in [2-5] or [135]",
            ),
            Defect::AfterWildcard => (
                Severity::Error,
                "goes on after `.` or `!`; the rest is never looked at",
                "end the pattern with the wildcard",
            ),
            Defect::Empty => (
                Severity::Error,
                "is empty and matches no number",
                "write digits, X, Z, N, [sets], and . or ! at the end",
            ),
            Defect::CatchesSpecials => (
                Severity::Warning,
                "matches everything, also the special extensions i, t, h and s",
                "begin it with a digit class, as _X. does",
            ),
        };
        problems.push(Problem {
            severity,
            exten: Some(name.to_owned()),
            origin,
            ..Problem::error(context, format!("pattern {name} {what}"), hint)
        });
    }
}

/// Checks a step by itself.
pub(crate) fn step(
    context: &str,
    step: &Step,
    template: &Template,
    defects: &[TemplateDefect],
    registry: &dyn Registry,
    problems: &mut Vec<Problem>,
) {
    if step.priority == HINT {
        return;
    }
    if !step.known {
        let (what, hint) = unknown("application", &step.app, &registry.applications());
        problems.push(Problem::error(context, what, hint).of(step));
    }
    if step.appdata.len() > APPDATA_LIMIT {
        let what = format!(
            "data of {} bytes is longer than {APPDATA_LIMIT}",
            step.appdata.len()
        );
        problems.push(Problem::error(context, what, "set parts of it in variables first").of(step));
    }
    for defect in defects {
        let hint = match defect {
            TemplateDefect::MissingBrace => "close every ${ with }",
            TemplateDefect::MissingBracket => "close every $[ with ]",
            TemplateDefect::TooDeep => "set the inner part in a variable first",
            TemplateDefect::MissingParenthesis => {
                "close the function's bracket before the brace, as in ${LEN(x)}"
            }
        };
        problems.push(
            Problem::error(
                context,
                format!("{defect} in `{}`", shown(&step.appdata)),
                hint,
            )
            .of(step),
        );
    }
    let mut found = Findings::default();
    walk(template, &mut found);
    for function in found
        .functions
        .iter()
        .filter(|function| !registry.function(function))
    {
        let (what, hint) = unknown("function", function, &registry.functions());
        problems.push(Problem::error(context, what, hint).of(step));
    }
    for error in found.expressions {
        let hint = "put quotes around variables that may be empty, as in \"${X}\" = \"\", and spaces around operators";
        problems.push(Problem::error(context, error, hint).of(step));
    }
    for stray in found.strays {
        let hint = "close every quote, and put quotes around text with brackets or braces";
        problems.push(Problem::warning(context, stray, hint).of(step));
    }
    shape(context, step, problems);
}

/// Applications whose data has a form of its own.
fn shape(context: &str, step: &Step, problems: &mut Vec<Problem>) {
    let data = step.template.skeleton(MARKER);
    let (what, hint) = match step.app.to_ascii_lowercase().as_str() {
        "set" if !data.contains(['=', '\u{F8FF}']) => ("Set without `=`", "write Set(name=value)"),
        "gotoif" | "gosubif" | "execif" | "gotoiftime" if !data.contains(['?', '\u{F8FF}']) => {
            ("condition without `?`", "write condition?then:else")
        }
        "gotoiftime" | "execiftime" => {
            let condition = data.split('?').next().unwrap_or_default();
            match crate::timespec::TimeSpec::parse(condition) {
                Err(error) if !condition.contains(MARKER) => {
                    let hint = "write times,weekdays,days,months, as 09:00-18:00,mon-fri,*,*";
                    problems.push(Problem::error(context, error.to_string(), hint).of(step));
                    return;
                }
                _ => return,
            }
        }
        _ => return,
    };
    problems.push(Problem::error(context, what, hint).of(step));
}

fn unknown(kind: &str, name: &str, known: &[&str]) -> (String, String) {
    let hint = match registry::nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("see the list of {kind}s"),
    };
    (format!("unknown {kind} `{}`", shown(name)), hint)
}

/// Text of a row in a message: one line, not too long.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        out.push_str("...");
    }
    out
}

#[derive(Default)]
struct Findings {
    functions: Vec<String>,
    expressions: Vec<String>,
    strays: Vec<String>,
}

fn walk(template: &Template, found: &mut Findings) {
    for node in template.nodes() {
        match node {
            Node::Literal(_) | Node::Variable { .. } => {}
            Node::Function {
                name, arguments, ..
            } => {
                found.functions.push(name.to_string());
                walk(arguments, found);
            }
            Node::Reference(inside) => walk(inside, found),
            Node::Expression(inside) => {
                expression(inside, found);
                walk(inside, found);
            }
        }
    }
}

/// Parses an expression with stand-ins for what only a call knows: it is wrong when it is wrong with a number and with nothing.
fn expression(inside: &Template, found: &mut Findings) {
    let with_number = expr::analyse(&inside.skeleton("1"));
    match with_number {
        Ok(analysis) => {
            found.functions.extend(analysis.functions);
            if let Some((char, at)) = analysis.stray {
                let shown = shown(&inside.skeleton("${...}"));
                let what = format!(
                    "expression `{shown}`: `{char}` at byte {at} means nothing there and is passed over"
                );
                found.strays.push(what);
            }
        }
        Err(error) => {
            if expr::analyse(&inside.skeleton("")).is_err() {
                found.expressions.push(format!(
                    "expression `{}`: {error}",
                    shown(&inside.skeleton("${...}"))
                ));
            }
        }
    }
}
