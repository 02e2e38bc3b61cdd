//! Files whose sections stand in `static_extensions` as they are, and the dialplan, which may become steps of
//! `realtime_extensions` instead.

use std::collections::{HashMap, HashSet};

use strowger_dialplan::matcher;

use super::Target;
use super::conf::{Conf, Section, Setting};
use super::report::{Findings, Verdict};
use super::unit::{Unit, Values};

const TABLE: &str = "static_extensions";
/// Where the Manager's users are looked for first, and where people write them.
const MANAGER_TABLE: &str = "static_manager";
const MANAGER: &str = "manager.conf";
pub(crate) const DIALPLAN: &str = "extensions.conf";

/// Files that the exchange reads from there, whatever else it reads.
pub(crate) const FILES: [&str; 13] = [
    "acl.conf",
    "amd.conf",
    "cdr_manager.conf",
    "confbridge.conf",
    "extconfig.conf",
    "features.conf",
    "followme.conf",
    "func_odbc.conf",
    "indications.conf",
    MANAGER,
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
    let table = if file == MANAGER {
        MANAGER_TABLE
    } else {
        TABLE
    };
    Unit::sections(table, file, group[0], &sections)
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
    let mut places: HashMap<&str, usize> = HashMap::new();
    for section in conf.real().filter(|section| !section.settings.is_empty()) {
        let place = *places.entry(&section.name).or_insert(groups.len());
        match groups.get_mut(place) {
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
        // What stands behind may be a name with a password.
        let (kind, _) = setting.value.split_once('/').unwrap_or_default();
        let what = format!("switch {kind}: only Realtime, Lua and Loopback are here");
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
    let mut known: HashSet<(String, i64)> = HashSet::new();
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
        if !known.insert((exten.clone(), *last)) {
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
    same_order(&steps)?;
    Ok(steps)
}

/// Rows of a table are not asked in the order of a section: where that matters for a number, nobody may move it.
fn same_order<'s>(steps: &[Step<'s>]) -> Result<(), (&'s Setting, String)> {
    let mut seen: HashSet<&str> = HashSet::new();
    let firsts: Vec<&Step<'s>> = steps
        .iter()
        .filter(|step| seen.insert(&step.exten))
        .collect();
    let names: Vec<&str> = firsts.iter().map(|step| step.exten.as_str()).collect();
    match matcher::differing(&names) {
        matcher::Orders::Same => Ok(()),
        matcher::Orders::Differ(first, second) => {
            let why = format!(
                "a number that {} and {} match goes to {} first",
                names[first], names[second], names[first]
            );
            Err((firsts[first].setting, why))
        }
        matcher::Orders::TooMany => {
            let why = format!("{} extensions, too many to compare", names.len());
            Err((firsts[0].setting, why))
        }
    }
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
    // Before other switches: the steps stood in the context itself.
    let mut lines: Values = vec![(
        "switch".to_owned(),
        "Realtime/@realtime_extensions".to_owned(),
    )];
    for setting in group.iter().flat_map(|section| &section.settings) {
        if !is_step(&setting) {
            lines.push((setting.name.clone(), setting.value.clone()));
        }
    }
    let mut units = vec![Unit::sections(TABLE, DIALPLAN, group[0], &[lines])];
    let mut places: HashMap<String, usize> = HashMap::new();
    for step in steps {
        let row = vec![
            ("priority".to_owned(), step.priority.to_string()),
            ("app".to_owned(), step.app),
            ("appdata".to_owned(), step.appdata),
        ];
        let place = *places.entry(step.exten.clone()).or_insert(units.len());
        match units.get_mut(place) {
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

    fn conf(text: &str) -> Conf {
        let files = super::super::conf::tests::Memory(
            [("extensions.conf".to_owned(), text.as_bytes().to_vec())].into(),
        );
        let read = Conf::read(&files, "extensions.conf");
        read.ok().flatten().unwrap_or_default()
    }

    #[test]
    fn a_context_moves_only_where_each_number_goes_the_same_way() {
        for (extensions, stays) in [
            (&["_1XX", "_2XXX", "_2X.", "112"][..], None),
            (&["_2XX", "_2X."], Some("match goes to _2XX first")),
            (&["_1X.", "_XXXX"], Some("match goes to _1X. first")),
            (&["_X.", "_0."], None),
            (&["_0[1-9].", "_0!"], None),
            (&["_[2-9]XX", "_9."], Some("match goes to _9. first")),
        ] {
            let lines: Vec<String> = extensions
                .iter()
                .map(|exten| format!("exten => {exten},1,Answer()\n"))
                .collect();
            let conf = conf(&format!("[office]\n{}", lines.concat()));
            let mut findings = Findings::default();
            let units = dialplan(&conf, Some(Target::Realtime), &mut findings);
            let moved = units.iter().any(|unit| unit.table == "realtime_extensions");
            assert_eq!(moved, stays.is_none(), "{extensions:?}");
            let told: Vec<String> = findings.0.iter().map(ToString::to_string).collect();
            match stays {
                Some(part) => assert!(told[0].contains(part), "{told:?}"),
                None => assert!(told.is_empty(), "{told:?}"),
            }
        }
    }

    #[test]
    fn steps_that_moved_are_asked_before_other_switches() {
        let conf = conf("[office]\nswitch => Lua/\ninclude => more\nexten => 1,1,Answer()\n");
        let units = dialplan(&conf, Some(Target::Realtime), &mut Findings::default());
        let said: Vec<&str> = units[0].rows.iter().map(|row| row[4].1.as_str()).collect();
        assert_eq!(said, ["Realtime/@realtime_extensions", "Lua/", "more"]);
    }

    #[test]
    fn no_password_of_a_switch_is_told() {
        let conf =
            conf("[office]\nswitch => IAX2/user:hidden@192.0.2.1/local\nlswitch=DUNDi/a:hidden\n");
        let mut findings = Findings::default();
        dialplan(&conf, None, &mut findings);
        let told: Vec<String> = findings.0.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("switch IAX2: only") && told[1].contains("switch DUNDi: only"));
        assert!(!told.concat().contains("hidden"), "{told:?}");
    }
}
