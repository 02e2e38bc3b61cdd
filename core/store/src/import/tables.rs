//! `queues.conf`, `voicemail.conf` and `musiconhold.conf`: what people change every day as rows of tables, general settings
//! as sections in `static_extensions`.

use std::collections::{HashMap, HashSet};

use strowger_dialplan::args;

use super::Target;
use super::conf::{Conf, Section, Setting};
use super::report::{Findings, Verdict};
use super::sections;
use super::unit::{Unit, Values};

pub(crate) const QUEUES: &str = "queues.conf";
pub(crate) const VOICEMAIL: &str = "voicemail.conf";
pub(crate) const MUSIC: &str = "musiconhold.conf";

/// Columns of `queues` besides its name.
const QUEUE: [&str; 55] = [
    "musiconhold",
    "announce",
    "context",
    "timeout",
    "ringinuse",
    "setinterfacevar",
    "setqueuevar",
    "setqueueentryvar",
    "monitor_format",
    "membermacro",
    "membergosub",
    "queue_youarenext",
    "queue_thereare",
    "queue_callswaiting",
    "queue_quantity1",
    "queue_quantity2",
    "queue_holdtime",
    "queue_minutes",
    "queue_minute",
    "queue_seconds",
    "queue_thankyou",
    "queue_callerannounce",
    "queue_reporthold",
    "announce_frequency",
    "announce_to_first_user",
    "min_announce_frequency",
    "announce_round_seconds",
    "announce_holdtime",
    "announce_position",
    "announce_position_limit",
    "periodic_announce",
    "periodic_announce_frequency",
    "relative_periodic_announce",
    "random_periodic_announce",
    "retry",
    "wrapuptime",
    "penaltymemberslimit",
    "autofill",
    "monitor_type",
    "autopause",
    "autopausedelay",
    "autopausebusy",
    "autopauseunavail",
    "maxlen",
    "servicelevel",
    "strategy",
    "joinempty",
    "leavewhenempty",
    "reportholdtime",
    "memberdelay",
    "weight",
    "timeoutrestart",
    "defaultrule",
    "timeoutpriority",
    "log_restricted_caller_id",
];

/// Columns of `voicemail` that options of a line stand for.
const MAILBOX: [&str; 10] = [
    "alias",
    "attach",
    "language",
    "tz",
    "deletevoicemail",
    "saycid",
    "operator",
    "envelope",
    "exitcontext",
    "maxmsg",
];
/// Others, which nothing reads.
const MAILBOX_KEPT: [&str; 10] = [
    "attachfmt",
    "serveremail",
    "sendvoicemail",
    "review",
    "tempgreetwarn",
    "sayduration",
    "forcename",
    "forcegreetings",
    "callback",
    "dialout",
];

fn set(values: &mut Values, column: &str, value: &str) {
    values.retain(|(name, _)| name != column);
    if !value.is_empty() {
        values.push((column.to_owned(), value.to_owned()));
    }
}

pub(crate) fn queues(conf: &Conf, into: Option<Target>, findings: &mut Findings) -> Vec<Unit> {
    if into == Some(Target::Static) {
        return sections::plan(conf, QUEUES);
    }
    let mut units = sections::plan_of(conf, QUEUES, &["general"]);
    let mut known: HashSet<&str> = HashSet::new();
    let autofill = queues_general(conf, findings);
    for section in conf.real().filter(|section| section.name != "general") {
        if is_again(&mut known, section, findings) {
            continue;
        }
        let mut values: Values = Vec::new();
        let mut members = Members::default();
        for setting in &section.settings {
            let option = setting.name.to_ascii_lowercase().replace('-', "_");
            match option.as_str() {
                "member" => member(section, setting, &mut members, findings),
                "music" | "musicclass" => set(&mut values, "musiconhold", &setting.value),
                "eventwhencalled" | "eventmemberstatus" | "servicelevelperf" => findings.none(
                    &setting.place,
                    format!(
                        "{} of [{}]: always as if it were yes",
                        setting.name, section.name
                    ),
                ),
                "periodic_announce" => match values.iter_mut().find(|(name, _)| *name == option) {
                    Some((_, value)) => {
                        value.push(',');
                        value.push_str(&setting.value);
                    }
                    None => set(&mut values, &option, &setting.value),
                },
                column if QUEUE.contains(&column) => set(&mut values, column, &setting.value),
                _ => findings.none(
                    &setting.place,
                    format!(
                        "{} of [{}]: not an option of a queue here",
                        setting.name, section.name
                    ),
                ),
            }
        }
        if !values.iter().any(|(column, _)| column == "autofill") {
            set(&mut values, "autofill", &autofill);
        }
        let key = vec![("name", section.name.clone())];
        let what = format!("queue {}", section.name);
        units.push(Unit::of(section, "queues", key, vec![values], what));
        units.append(&mut members.units);
    }
    units
}

/// What `[general]` says of queues that do not say it themselves: whether several callers are given to members at a time.
/// What else it says counts where it stands, or nowhere.
fn queues_general(conf: &Conf, findings: &mut Findings) -> String {
    let mut autofill = "no".to_owned();
    let general = conf.real().filter(|section| section.name == "general");
    for setting in general.flat_map(|section| &section.settings) {
        match setting.name.to_ascii_lowercase().as_str() {
            "autofill" => autofill.clone_from(&setting.value),
            "shared_lastcall" | "persistentmembers" => {}
            _ => findings.none(
                &setting.place,
                format!("{} of [general]: nothing here reads it", setting.name),
            ),
        }
    }
    autofill
}

/// Members of one queue, in order.
#[derive(Default)]
struct Members {
    units: Vec<Unit>,
    places: HashMap<String, usize>,
}

/// `member => interface[,penalty[,name[,state interface[,ringinuse[,wrapuptime[,paused]]]]]]`, split as the data of an
/// application is.
fn member(section: &Section, setting: &Setting, members: &mut Members, findings: &mut Findings) {
    let parts = args::split(&setting.value);
    let mut parts = parts.iter().map(|part| part.trim());
    let interface = parts.next().unwrap_or_default();
    if interface.is_empty() {
        return findings.decide(&setting.place, "a member without an interface: not taken");
    }
    let mut values: Values = Vec::new();
    for column in [
        "penalty",
        "membername",
        "state_interface",
        "ringinuse",
        "wrapuptime",
        "paused",
    ] {
        let value = parts.next().unwrap_or_default();
        // A column of numbers.
        let value = match (column, value.to_ascii_lowercase().as_str()) {
            ("paused", "yes" | "true" | "on") => "1",
            ("paused", "no" | "false" | "off") => "0",
            _ => value,
        };
        if matches!(column, "penalty" | "wrapuptime" | "paused")
            && !value.is_empty()
            && value.parse::<u32>().is_err()
        {
            let what = format!("{column} `{value}` of member {interface} is no number: left out");
            findings.decide(&setting.place, what);
            continue;
        }
        set(&mut values, column, value);
    }
    let unit = Unit {
        table: "queue_members",
        key: vec![
            ("queue_name", section.name.clone()),
            ("interface", interface.to_owned()),
        ],
        rows: vec![values],
        place: setting.place.clone(),
        last_line: setting.place.line,
        what: format!("queue {}, member {interface}", section.name),
    };
    let place = members.places.entry(interface.to_owned());
    let place = *place.or_insert(members.units.len());
    match members.units.get_mut(place) {
        Some(before) => {
            let what = format!(
                "member {interface} of [{}] a second time: the last counts",
                section.name
            );
            findings.decide(&before.place, what);
            *before = unit;
        }
        None => members.units.push(unit),
    }
}

/// A second section of a name that can be one row only.
fn is_again<'s>(
    known: &mut HashSet<&'s str>,
    section: &'s Section,
    findings: &mut Findings,
) -> bool {
    let again = !known.insert(&section.name);
    if again {
        let what = format!("a second section [{}]: the first counts", section.name);
        findings.section(section, Verdict::Decision, what);
    }
    again
}

pub(crate) fn voicemail(conf: &Conf, into: Option<Target>, findings: &mut Findings) -> Vec<Unit> {
    if into == Some(Target::Static) {
        return sections::plan(conf, VOICEMAIL);
    }
    let mut units = sections::plan_of(conf, VOICEMAIL, &["general", "zonemessages"]);
    let contexts = conf
        .real()
        .filter(|section| !matches!(section.name.as_str(), "general" | "zonemessages"));
    let mut known: HashSet<(&str, &str)> = HashSet::new();
    for section in contexts {
        for setting in &section.settings {
            if let Some(unit) = mailbox(section, setting, findings) {
                if !known.insert((section.name.as_str(), setting.name.as_str())) {
                    findings.decide(
                        &setting.place,
                        format!("{} a second time: the first counts", unit.what),
                    );
                } else {
                    units.push(unit);
                }
            }
        }
    }
    units
}

/// `1234 => password,name,e-mail,pager,option=value|option=value`.
fn mailbox(section: &Section, setting: &Setting, findings: &mut Findings) -> Option<Unit> {
    let (number, context) = (&setting.name, &section.name);
    let name = format!("mailbox {number}@{context}");
    let mut values: Values = Vec::new();
    let mut parts = setting.value.splitn(5, ',').map(str::trim);
    for column in ["password", "fullname", "email", "pager"] {
        set(&mut values, column, parts.next().unwrap_or_default());
    }
    if !values.iter().any(|(column, _)| column == "password") {
        // Its column knows no NULL in Asterisk's own tables.
        values.push(("password".to_owned(), String::new()));
    }
    if values
        .iter()
        .any(|(column, value)| column == "password" && value.starts_with('-'))
    {
        findings.none(
            &setting.place,
            format!("{name}: a password that its owner may not change (`-`): he may here"),
        );
    }
    for option in parts.next().unwrap_or_default().split('|') {
        let option = option.trim();
        if option.is_empty() {
            continue;
        }
        let Some((option, value)) = option.split_once('=') else {
            findings.decide(
                &setting.place,
                format!("{name}: option `{option}` has no `=`: left out"),
            );
            continue;
        };
        let column = match option.trim().to_ascii_lowercase() {
            delete if delete == "delete" => "deletevoicemail".to_owned(),
            other => other,
        };
        if MAILBOX.contains(&column.as_str()) {
            set(&mut values, &column, value.trim());
        } else if MAILBOX_KEPT.contains(&column.as_str()) {
            set(&mut values, &column, value.trim());
            let what = format!("{name}: {column} is kept in its column, without effect");
            findings.none(&setting.place, what);
        } else {
            findings.none(
                &setting.place,
                format!(
                    "{name}: {column} is not an option of one mailbox here; some are of [general]"
                ),
            );
        }
    }
    if number.is_empty() || number.starts_with('.') || number.contains('/') {
        findings.decide(
            &setting.place,
            format!("{name} cannot be the name of a mailbox"),
        );
        return None;
    }
    Some(Unit {
        table: "voicemail",
        key: vec![("context", context.clone()), ("mailbox", number.clone())],
        rows: vec![values],
        place: setting.place.clone(),
        last_line: setting.place.line,
        what: name,
    })
}

pub(crate) fn music(conf: &Conf, into: Option<Target>, findings: &mut Findings) -> Vec<Unit> {
    for section in conf.real().filter(|section| section.name != "general") {
        check_music(section, findings);
    }
    if into == Some(Target::Static) {
        return sections::plan(conf, MUSIC);
    }
    // Its section `general` says nothing that is read here, and would be a class.
    let mut units = Vec::new();
    let mut known: HashSet<&str> = HashSet::new();
    for section in conf.real() {
        if section.name == "general" {
            for setting in &section.settings {
                findings.none(
                    &setting.place,
                    format!(
                        "{} of [general]: classes are always read as they change",
                        setting.name
                    ),
                );
            }
            continue;
        }
        if section.get("announcement").is_some() {
            // The table has no column for it.
            units.extend(sections::plan_of(conf, MUSIC, &[&section.name]));
            continue;
        }
        if is_again(&mut known, section, findings) {
            continue;
        }
        let mut values: Values = Vec::new();
        let mut entries: Vec<Values> = Vec::new();
        for setting in &section.settings {
            let value = setting.value.as_str();
            match setting.name.to_ascii_lowercase().as_str() {
                column @ ("mode" | "directory" | "application" | "digit" | "sort" | "format"
                | "loop_last") => set(&mut values, column, value),
                "random" if value.eq_ignore_ascii_case("yes") => set(&mut values, "sort", "random"),
                "random" => {}
                "entry" => entries.push(vec![
                    ("position".to_owned(), entries.len().to_string()),
                    ("entry".to_owned(), value.to_owned()),
                ]),
                _ => findings.none(
                    &setting.place,
                    format!(
                        "{} of [{}]: not an option of a class here",
                        setting.name, section.name
                    ),
                ),
            }
        }
        let key = vec![("name", section.name.clone())];
        let what = format!("music class {}", section.name);
        units.push(Unit::of(
            section,
            "musiconhold",
            key.clone(),
            vec![values],
            what,
        ));
        if !entries.is_empty() {
            let what = format!("music class {}, {} entries", section.name, entries.len());
            units.push(Unit::of(section, "musiconhold_entry", key, entries, what));
        }
    }
    units
}

fn check_music(section: &Section, findings: &mut Findings) {
    let Some(mode) = section.get("mode") else {
        return;
    };
    match mode.value.to_ascii_lowercase().as_str() {
        "files" | "playlist" | "custom" => {}
        other => findings.none(
            &mode.place,
            format!(
                "mode={other} of [{}]: not played; there are files, playlist and custom (a program)",
                section.name
            ),
        ),
    }
    if let Some(folder) = section.get("directory")
        && mode.value.eq_ignore_ascii_case("files")
    {
        let what = format!(
            "directory={} of [{}]: copy its sounds there, or below `sounds` of the data directory if it is relative",
            folder.value, section.name
        );
        if !std::path::Path::new(&folder.value).is_dir() {
            findings.decide(&folder.place, what);
        }
    }
}
