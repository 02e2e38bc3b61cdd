//! Files whose sections stand in `static_extensions` as they are, and the dialplan, which may become steps of
//! `realtime_extensions` instead.

use super::Target;
use super::conf::{Conf, Section, Setting};
use super::report::{Findings, Verdict};
use super::unit::{Unit, Values};

const TABLE: &str = "static_extensions";
pub(crate) const DIALPLAN: &str = "extensions.conf";

/// Files that the exchange reads from there, whatever else it reads.
pub(crate) const FILES: [&str; 11] = [
    "acl.conf",
    "amd.conf",
    "confbridge.conf",
    "features.conf",
    "followme.conf",
    "func_odbc.conf",
    "indications.conf",
    "manager.conf",
    "parking.conf",
    "queuerules.conf",
    "res_parking.conf",
];

/// All sections of a file, those of one name together.
pub(crate) fn plan(conf: &Conf, file: &'static str) -> Vec<Unit> {
    groups(conf)
        .into_iter()
        .map(|group| as_written(&group, file))
        .collect()
}

fn as_written(group: &[&Section], file: &'static str) -> Unit {
    let sections: Vec<Values> = group
        .iter()
        .map(|section| pairs(&section.settings))
        .collect();
    Unit::sections(TABLE, file, group[0], &sections)
}

fn pairs(settings: &[Setting]) -> Values {
    let settings = settings.iter();
    settings
        .map(|setting| (setting.name.clone(), setting.value.clone()))
        .collect()
}

/// Sections by name, in their order; those that say nothing are left out.
fn groups(conf: &Conf) -> Vec<Vec<&Section>> {
    let mut groups: Vec<Vec<&Section>> = Vec::new();
    for section in conf.real().filter(|section| !section.settings.is_empty()) {
        match groups
            .iter_mut()
            .find(|group| group[0].name == section.name)
        {
            Some(group) => group.push(section),
            None => groups.push(vec![section]),
        }
    }
    groups
}

/// Some sections of a file, by name.
pub(crate) fn plan_of(conf: &Conf, file: &'static str, names: &[&str]) -> Vec<Unit> {
    let groups = groups(conf).into_iter();
    groups
        .filter(|group| names.contains(&group[0].name.as_str()))
        .map(|group| as_written(&group, file))
        .collect()
}

/// A line of the dialplan as it would stand in the static table, for those who look for faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialplanLine {
    /// The file that it belongs to: `extensions.conf` or `func_odbc.conf`.
    pub conf: &'static str,
    /// The context.
    pub context: String,
    /// `exten`, `include` and so on.
    pub name: String,
    /// What stands behind `=>`.
    pub value: String,
    /// The file, and its line.
    pub file: String,
    /// The line in that file.
    pub line: u32,
}

pub(crate) fn lines(conf: &Conf, file: &'static str) -> Vec<DialplanLine> {
    let sections = groups(conf).into_iter().flatten();
    sections
        .flat_map(|section| {
            section.settings.iter().map(move |setting| DialplanLine {
                conf: file,
                context: section.name.clone(),
                name: setting.name.clone(),
                value: setting.value.clone(),
                file: setting.place.file.to_string(),
                line: setting.place.line,
            })
        })
        .collect()
}

/// The dialplan: as it is written, or steps with numbers where that changes nothing for a caller.
pub(crate) fn dialplan(conf: &Conf, into: Option<Target>, findings: &mut Findings) -> Vec<Unit> {
    let mut units = Vec::new();
    for group in groups(conf) {
        let name = group[0].name.as_str();
        let is_context = !matches!(name, "general" | "globals");
        if is_context {
            for setting in group.iter().flat_map(|section| &section.settings) {
                check_line(setting, findings);
            }
        }
        if into != Some(Target::Realtime) || !is_context {
            units.push(as_written(&group, DIALPLAN));
            continue;
        }
        match steps(&group) {
            Ok(steps) => units.extend(realtime(&group, steps)),
            Err((setting, why)) => {
                let what = format!(
                    "context {name} stays in static_extensions: {why}, which realtime_extensions cannot hold"
                );
                findings.add(&setting.place, Verdict::Taken, what);
                units.push(as_written(&group, DIALPLAN));
            }
        }
    }
    units
}

const LINES: [&str; 8] = [
    "exten",
    "same",
    "include",
    "switch",
    "lswitch",
    "eswitch",
    "ignorepat",
    "autohints",
];

fn check_line(setting: &Setting, findings: &mut Findings) {
    if !LINES
        .iter()
        .any(|name| name.eq_ignore_ascii_case(&setting.name))
    {
        let what = format!(
            "`{}` is not a line of a context: {}",
            setting.name,
            LINES.join(", ")
        );
        findings.decide(&setting.place, what);
    }
    let other = |name: &str| {
        setting.name.to_ascii_lowercase().ends_with("switch")
            && setting.value.to_ascii_lowercase().starts_with(name)
    };
    if ["iax2/", "dundi/"].into_iter().any(other) {
        let what = format!(
            "switch {}: only Realtime, Lua and Loopback are here",
            setting.value
        );
        findings.none(&setting.place, what);
    }
}

/// A step with its number.
struct Step<'s> {
    exten: String,
    priority: i64,
    app: String,
    appdata: String,
    setting: &'s Setting,
}

/// The steps of a context; what cannot be a row of numbers is told with its line.
fn steps<'s>(group: &[&'s Section]) -> Result<Vec<Step<'s>>, (&'s Setting, String)> {
    let mut steps: Vec<Step<'s>> = Vec::new();
    let mut at: Option<(String, i64)> = None;
    for setting in group.iter().flat_map(|section| &section.settings) {
        let failed = |why: &str| (setting, why.to_owned());
        let rest = match setting.name.to_ascii_lowercase().as_str() {
            "exten" => {
                let (exten, rest) = setting
                    .value
                    .split_once(',')
                    .ok_or_else(|| failed("a line without a priority"))?;
                let exten = exten.trim();
                if exten.contains('/') {
                    return Err(failed("an extension with the number of a caller"));
                }
                if exten.contains("${") {
                    return Err(failed("the name of an extension with a variable"));
                }
                if at.as_ref().is_none_or(|(known, _)| known != exten) {
                    at = Some((exten.to_owned(), 0));
                }
                rest
            }
            "same" => setting.value.as_str(),
            _ => continue,
        };
        let (place, application) = rest
            .split_once(',')
            .ok_or_else(|| failed("a step without an application"))?;
        let (exten, last) = at
            .as_mut()
            .ok_or_else(|| failed("`same` before any extension"))?;
        let place = place.trim();
        if place.contains('(') {
            return Err(failed("a label"));
        }
        if place.eq_ignore_ascii_case("hint") {
            return Err(failed("a hint"));
        }
        let (word, plus) = match place.split_once('+') {
            Some((word, plus)) => (
                word.trim(),
                plus.trim()
                    .parse()
                    .map_err(|_| failed("a priority that is no number"))?,
            ),
            None => (place, 0_i64),
        };
        let number = match word {
            "n" if *last > 0 => *last + 1,
            "s" if *last > 0 => *last,
            number => number
                .parse::<i64>()
                .ok()
                .filter(|number| (1..=1_000_000).contains(number))
                .ok_or_else(|| failed("a priority that is no number"))?,
        };
        *last = number.saturating_add(plus).clamp(1, 2_000_000);
        let (app, appdata) = application_of(application);
        let again = |step: &Step<'_>| step.exten == *exten && step.priority == *last;
        if steps.iter().rev().any(again) {
            return Err(failed("two steps of one number"));
        }
        steps.push(Step {
            exten: exten.clone(),
            priority: *last,
            app: app.to_owned(),
            appdata: appdata.to_owned(),
            setting,
        });
    }
    Ok(steps)
}

/// `App(data)`, `App,data` or `App`.
fn application_of(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(['(', ',']);
    match at {
        Some(at) if text[at..].starts_with('(') => {
            let data = &text[at + 1..];
            (text[..at].trim(), data.strip_suffix(')').unwrap_or(data))
        }
        Some(at) => (text[..at].trim(), &text[at + 1..]),
        None => (text, ""),
    }
}

/// A context whose steps are in `realtime_extensions`: what is no step stays where it is, with a switch to them.
fn realtime(group: &[&Section], steps: Vec<Step<'_>>) -> Vec<Unit> {
    let context = &group[0].name;
    let is_step = |setting: &&Setting| {
        setting.name.eq_ignore_ascii_case("exten") || setting.name.eq_ignore_ascii_case("same")
    };
    let mut lines: Values = Vec::new();
    for setting in group.iter().flat_map(|section| &section.settings) {
        if !is_step(&setting) {
            lines.push((setting.name.clone(), setting.value.clone()));
        }
    }
    lines.push((
        "switch".to_owned(),
        "Realtime/@realtime_extensions".to_owned(),
    ));
    let mut units = vec![Unit::sections(TABLE, DIALPLAN, group[0], &[lines])];
    for step in steps {
        let row = vec![
            ("priority".to_owned(), step.priority.to_string()),
            ("app".to_owned(), step.app),
            ("appdata".to_owned(), step.appdata),
        ];
        let known = units
            .iter_mut()
            .find(|unit| unit.table == "realtime_extensions" && unit.key[1].1 == step.exten);
        match known {
            Some(unit) => {
                unit.rows.push(row);
                unit.last_line = unit.last_line.max(step.setting.place.line);
            }
            None => units.push(Unit {
                table: "realtime_extensions",
                what: format!("{context}, extension {}", step.exten),
                key: vec![("context", context.clone()), ("exten", step.exten)],
                rows: vec![row],
                place: step.setting.place.clone(),
                last_line: step.setting.place.line,
            }),
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_split_as_the_dialplan_does() {
        for (text, app, data) in [
            (
                "Dial(PJSIP/${EXTEN},20,t(x))",
                "Dial",
                "PJSIP/${EXTEN},20,t(x)",
            ),
            ("Hangup", "Hangup", ""),
            (" Hangup() ", "Hangup", ""),
            ("NoOp,a,b", "NoOp", "a,b"),
        ] {
            assert_eq!(application_of(text), (app, data));
        }
    }
}
