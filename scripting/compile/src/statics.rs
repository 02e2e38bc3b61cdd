//! Rows of `extensions.conf`: sections, extensions with labels and relative priorities, includes, switches.

use std::collections::HashMap;

use crate::compile::StaticRow;
use crate::plan::HINT;
use crate::subst;
use crate::vars::NoVars;

/// The `[general]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct General {
    /// Hang up by the state of the last Dial when an extension runs off its end (default yes), instead of waiting for digits.
    pub auto_fallthrough: bool,
    /// Forget globals that are no longer written when the dialplan is loaded again (default no).
    pub clear_global_variables: bool,
    /// A switch that is searched before everything else.
    pub override_switch: Option<String>,
    /// All keys as written.
    pub keys: Vec<(String, String)>,
}

impl Default for General {
    fn default() -> Self {
        Self {
            auto_fallthrough: true,
            clear_global_variables: false,
            override_switch: None,
            keys: Vec::new(),
        }
    }
}

fn is_yes(value: &str) -> bool {
    ["yes", "true", "y", "t", "1", "on"]
        .iter()
        .any(|yes| yes.eq_ignore_ascii_case(value.trim()))
}

impl General {
    pub(crate) fn read(rows: &[&StaticRow<'_>]) -> Self {
        let mut general = Self::default();
        for row in rows {
            let value = row.value.trim();
            match row.name.trim().to_ascii_lowercase().as_str() {
                "autofallthrough" => general.auto_fallthrough = is_yes(value),
                "clearglobalvars" => general.clear_global_variables = is_yes(value),
                "overrideswitch" => general.override_switch = Some(value.to_owned()),
                _ => {}
            }
            general
                .keys
                .push((row.name.to_owned(), row.value.to_owned()));
        }
        general
    }
}

/// Reads `[globals]`: each value is substituted once, without a channel; later values see the earlier ones.
pub(crate) fn globals(rows: &[&StaticRow<'_>]) -> Vec<(String, String)> {
    let mut map: HashMap<String, String> = HashMap::new();
    let mut list = Vec::new();
    for row in rows {
        let name = row.name.trim();
        let value = subst::substitute(row.value.trim(), &map);
        map.insert(name.to_owned(), value.clone());
        list.retain(|(known, _): &(String, String)| known != name);
        list.push((name.to_owned(), value));
    }
    list
}

/// One line of a context, read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A step.
    Step(StaticStep),
    /// `include => context[,timespec]`.
    Include {
        context: String,
        condition: Option<String>,
    },
    /// `switch`, `lswitch`.
    Switch { name: String, data: String },
    /// `eswitch`: data is substituted per call.
    EvaluatedSwitch { name: String, data: String },
    /// `ignorepat`.
    IgnorePattern(String),
    /// A line that means nothing here and does no harm.
    Nothing,
}

/// A step of `extensions.conf`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StaticStep {
    pub(crate) exten: String,
    pub(crate) caller: Option<String>,
    pub(crate) priority: i32,
    pub(crate) label: Option<String>,
    pub(crate) app: String,
    pub(crate) appdata: String,
}

/// What is wrong with a line, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineError {
    pub(crate) what: String,
    pub(crate) hint: &'static str,
}

fn wrong(what: String, hint: &'static str) -> LineError {
    LineError { what, hint }
}

/// Reads the lines of one context in order, as relative priorities need.
pub(crate) struct Reader<'g> {
    globals: &'g HashMap<String, String>,
    exten: Option<(String, Option<String>)>,
    priority: Option<i32>,
}

const EXTEN_FORM: &str =
    "write exten = name,priority,Application(data), with priority a number, n, s or hint";

impl<'g> Reader<'g> {
    pub(crate) fn new(globals: &'g HashMap<String, String>) -> Self {
        Self {
            globals,
            exten: None,
            priority: None,
        }
    }

    pub(crate) fn read(&mut self, row: &StaticRow<'_>) -> Result<Line, LineError> {
        let value = row.value.trim();
        let value = value.strip_prefix('>').unwrap_or(value).trim();
        let load = |text: &str| subst::substitute(text, self.globals);
        match row.name.trim().to_ascii_lowercase().as_str() {
            "exten" => {
                let (name, rest) = value.split_once(',').ok_or_else(|| {
                    wrong(
                        format!("extension line without a priority: {value}"),
                        EXTEN_FORM,
                    )
                })?;
                let name = load(name.trim());
                self.exten = Some(match name.split_once('/') {
                    Some((name, caller)) => (name.to_owned(), Some(caller.to_owned())),
                    None => (name, None),
                });
                self.step(rest)
            }
            "same" => self.step(value),
            "include" => {
                let value = load(value);
                let (context, condition) = value
                    .split_once([',', '|'])
                    .map_or((value.as_str(), None), |(context, condition)| {
                        (context, Some(condition.replace('|', ",")))
                    });
                Ok(Line::Include {
                    context: context.trim().to_owned(),
                    condition,
                })
            }
            "switch" => Ok(switch(&load(value), false)),
            "lswitch" => Ok(switch(value, false)),
            "eswitch" => Ok(switch(value, true)),
            "ignorepat" => Ok(Line::IgnorePattern(load(value))),
            "autohints" => Ok(Line::Nothing),
            other => Err(wrong(
                format!("`{other}` is not a line of a context"),
                "exten, same, include, switch, lswitch, eswitch, ignorepat or autohints",
            )),
        }
    }

    fn step(&mut self, text: &str) -> Result<Line, LineError> {
        let Some((exten, caller)) = self.exten.clone() else {
            return Err(wrong(
                "`same` before any `exten`".to_owned(),
                "begin the extension with an exten line",
            ));
        };
        let (place, application) = text
            .split_once(',')
            .ok_or_else(|| wrong(format!("step without an application: {text}"), EXTEN_FORM))?;
        let place = subst::substitute(place.trim(), self.globals);
        let (place, label, plus) = priority_parts(&place);
        let number = match place {
            "hint" => HINT,
            "n" | "next" => self
                .priority
                .ok_or_else(|| {
                    wrong(
                        "priority `n` before any priority".to_owned(),
                        "begin the extension with priority 1",
                    )
                })?
                .saturating_add(1),
            "s" | "same" => self.priority.ok_or_else(|| {
                wrong(
                    "priority `s` before any priority".to_owned(),
                    "begin the extension with priority 1",
                )
            })?,
            number => number
                .parse()
                .map_err(|_| wrong(format!("`{number}` is not a priority"), EXTEN_FORM))?,
        };
        let number: i32 = if number == HINT {
            HINT
        } else {
            number.saturating_add(plus)
        };
        if number != HINT {
            if number < 1 {
                return Err(wrong(
                    format!("priority {number} is below 1"),
                    "priorities count from 1",
                ));
            }
            self.priority = Some(number);
        }
        let (app, appdata) = if number == HINT {
            (application.trim(), "")
        } else {
            old_or_new(application)
        };
        if app.is_empty() {
            return Err(wrong("no application is named".to_owned(), EXTEN_FORM));
        }
        Ok(Line::Step(StaticStep {
            exten,
            caller,
            priority: number,
            label: label.map(str::to_owned),
            app: app.to_owned(),
            appdata: appdata.to_owned(),
        }))
    }
}

/// Splits `n(label)+2`, also written `n+2(label)`, into its three parts.
fn priority_parts(text: &str) -> (&str, Option<&str>, i32) {
    let (before, label, after) = match text.split_once('(') {
        None => (text, None, ""),
        Some((before, rest)) => {
            let (label, after) = rest.split_once(')').unwrap_or((rest, ""));
            (
                before,
                Some(label.trim()).filter(|label| !label.is_empty()),
                after,
            )
        }
    };
    let (number, plus) = before
        .split_once('+')
        .unwrap_or((before, after.trim().trim_start_matches('+')));
    (number.trim(), label, plus.trim().parse().unwrap_or(0))
}

/// `App(data)`, or `App,data` as it was written long ago.
fn old_or_new(text: &str) -> (&str, &str) {
    match (text.find(','), text.find('(')) {
        (Some(comma), open) if open.is_none_or(|open| comma < open) => {
            (text[..comma].trim(), &text[comma + 1..])
        }
        _ => crate::args::parse_application(text),
    }
}

fn switch(value: &str, evaluated: bool) -> Line {
    let (name, data) = value.split_once('/').unwrap_or((value, ""));
    let (name, data) = (name.trim().to_owned(), data.trim().to_owned());
    if evaluated {
        Line::EvaluatedSwitch { name, data }
    } else {
        Line::Switch { name, data }
    }
}

/// Values that no channel is needed for: `[general]` of a switch.
pub(crate) fn override_switch(value: &str) -> (String, String) {
    let value = subst::substitute(value, &NoVars);
    let (name, data) = value.split_once('/').unwrap_or((&value, ""));
    (name.trim().to_owned(), data.trim().to_owned())
}
