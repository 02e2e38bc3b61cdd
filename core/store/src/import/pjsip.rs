//! `pjsip.conf`: its sections as rows of the `ps_*` tables, or as sections in `static_pjsip`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::Target;
use super::conf::{Conf, Section, Setting};
use super::report::{Findings, Verdict};
use super::unit::{Unit, Values};
use crate::rows::{
    Aor, Auth, Cells, DomainAlias, Endpoint, Globals, Identify, Registration, Row, System,
    Transport,
};
use crate::sorcery::REPEATED;

pub(crate) const FILE: &str = "pjsip.conf";
const STATIC: &str = "static_pjsip";
const SECRETS: [&str; 6] = [
    "password",
    "md5_cred",
    "password_digest",
    "oauth_secret",
    "oauth_clientid",
    "refresh_token",
];

/// A kind of object.
pub(crate) struct Object {
    /// What `type` says.
    pub(crate) name: &'static str,
    /// The section of sorcery.conf that says where it comes from; empty: it is read from both places.
    pub(crate) sorcery: &'static str,
    pub(crate) table: &'static str,
    columns: &'static [&'static str],
    /// Columns whose text is no such value.
    bad: fn(&Values) -> Vec<(&'static str, String)>,
    /// Where it goes unless the administrator says otherwise.
    usual: Target,
}

const fn object<R: Row>(
    name: &'static str,
    sorcery: &'static str,
    table: &'static str,
    usual: Target,
) -> Object {
    Object {
        name,
        sorcery,
        table,
        columns: R::COLUMNS,
        bad: bad::<R>,
        usual,
    }
}

const PJSIP: &str = "res_pjsip";

/// Who calls and is called is changed every day, by people and programs that know the tables: it goes there. How the
/// exchange as a whole listens and behaves belongs to the machine: it stays a file.
pub(crate) const OBJECTS: [Object; 10] = [
    object::<Endpoint>("endpoint", PJSIP, "ps_endpoints", Target::Realtime),
    object::<Aor>("aor", PJSIP, "ps_aors", Target::Realtime),
    object::<Auth>("auth", PJSIP, "ps_auths", Target::Realtime),
    object::<DomainAlias>("domain_alias", PJSIP, "ps_domain_aliases", Target::Realtime),
    object::<Identify>(
        "identify",
        "res_pjsip_endpoint_identifier_ip",
        "ps_endpoint_id_ips",
        Target::Realtime,
    ),
    object::<Registration>(
        "registration",
        "res_pjsip_outbound_registration",
        "ps_registrations",
        Target::Realtime,
    ),
    object::<Transport>("transport", PJSIP, "ps_transports", Target::Static),
    object::<Globals>("global", PJSIP, "ps_globals", Target::Static),
    object::<System>("system", PJSIP, "ps_systems", Target::Static),
    Object {
        name: "resource_list",
        sorcery: "",
        table: "ps_resource_list",
        columns: &[
            "id",
            "list_item",
            "event",
            "full_state",
            "notification_batch_interval",
            "resource_display_name",
        ],
        bad: |_| Vec::new(),
        usual: Target::Realtime,
    },
];

/// What to do about kinds of objects that are none here.
const FOREIGN: [(&str, &str); 8] = [
    (
        "acl",
        "write its deny and permit lines into the endpoints, or let a firewall keep addresses out",
    ),
    (
        "contact",
        "telephones register anew; a fixed contact is `contact` of an aor",
    ),
    ("phoneprov", "telephones are not provisioned here"),
    (
        "inbound-publication",
        "states of other servers are not taken",
    ),
    (
        "outbound-publish",
        "states are not published to other servers",
    ),
    (
        "asterisk-publication",
        "states are not published to other servers",
    ),
    ("subscription_persistence", "telephones subscribe anew"),
    (
        "wizard",
        "write the endpoint, aor, auth, identify and registration that it stands for",
    ),
];

fn bad<R: Row>(values: &Values) -> Vec<(&'static str, String)> {
    let places: Vec<Option<usize>> = R::COLUMNS
        .iter()
        .map(|column| values.iter().position(|(name, _)| name == column))
        .collect();
    let mut bad = Vec::new();
    let get = |at: usize| values.get(at).map(|(_, value)| value.as_str());
    R::read(Cells::new(&get, &places, R::COLUMNS, &mut bad));
    bad.into_iter()
        .map(|cell| (cell.column, cell.text))
        .collect()
}

/// What the sections become, and what is read from where.
pub(crate) struct Plan {
    pub(crate) units: Vec<Unit>,
    /// Kinds of objects, and where they went.
    pub(crate) targets: BTreeSet<(&'static str, Target)>,
}

pub(crate) fn plan(conf: &Conf, into: Option<Target>, findings: &mut Findings) -> Plan {
    let mut plan = Plan {
        units: Vec::new(),
        targets: BTreeSet::new(),
    };
    // Names of each type, for what refers to them.
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut statics: Vec<(&Section, Vec<Values>)> = Vec::new();
    let mut read: Vec<(&Section, &Object, Values)> = Vec::new();
    for section in conf.real() {
        let types = types(section);
        if types.is_empty() {
            let what = format!("[{}] has no type: not taken", section.name);
            findings.section(section, Verdict::Decision, what);
        }
        for kind in &types {
            let Some(object) = OBJECTS
                .iter()
                .find(|object| object.name.eq_ignore_ascii_case(kind))
            else {
                foreign(section, kind, findings);
                continue;
            };
            if !names.entry(object.name).or_default().insert(&section.name) {
                let what = format!(
                    "a second [{}] of type {}: the first counts",
                    section.name, object.name
                );
                findings.section(section, Verdict::Decision, what);
                continue;
            }
            let values = values(section, object, types.len() == 1, findings);
            read.push((section, object, values));
        }
    }
    for (section, object, values) in read {
        check_values(section, object, &values, findings);
        check_names(section, object, &values, &names, findings);
        let target = into.unwrap_or(object.usual);
        plan.targets.insert((object.name, target));
        match target {
            Target::Realtime => {
                let what = format!("{} {}", object.name, section.name);
                let key = vec![("id", section.name.clone())];
                plan.units
                    .push(Unit::of(section, object.table, key, vec![values], what));
            }
            Target::Static => {
                let mut rows = vec![("type".to_owned(), object.name.to_owned())];
                rows.extend(values);
                match statics
                    .iter_mut()
                    .find(|(first, _)| first.name == section.name)
                {
                    Some((_, all)) => all.push(rows),
                    None => statics.push((section, vec![rows])),
                }
            }
        }
    }
    let statics = statics.iter();
    plan.units
        .extend(statics.map(|(first, all)| Unit::sections(STATIC, FILE, first, all)));
    plan
}

/// What `type` says, each word once.
fn types(section: &Section) -> Vec<&str> {
    let mut types: Vec<&str> = Vec::new();
    for setting in &section.settings {
        if setting.name.eq_ignore_ascii_case("type")
            && !types
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&setting.value))
        {
            types.push(&setting.value);
        }
    }
    types
}

fn foreign(section: &Section, kind: &str, findings: &mut Findings) {
    match FOREIGN.iter().find(|(name, _)| *name == kind) {
        Some((_, advice)) => {
            let what = format!("[{}] of type {kind}: {advice}", section.name);
            findings.section(section, Verdict::NoEquivalent, what);
        }
        None => {
            let known: Vec<&str> = OBJECTS.iter().map(|object| object.name).collect();
            let what = format!(
                "[{}]: type `{kind}` is not known: {}",
                section.name,
                known.join(", ")
            );
            findings.section(section, Verdict::Decision, what);
        }
    }
}

/// The columns of an object, as the table would hold them.
fn values(section: &Section, object: &Object, alone: bool, findings: &mut Findings) -> Values {
    let mut values: Values = Vec::new();
    let (mut allow, mut disallow): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for setting in &section.settings {
        if setting.name.eq_ignore_ascii_case("type") {
            continue;
        }
        let mut columns = object.columns.iter().filter(|column| **column != "id");
        let Some(column) = columns.find(|column| column.eq_ignore_ascii_case(&setting.name)) else {
            // In a section of several types it may belong to any of them.
            if alone {
                unknown(object, setting, findings);
            }
            continue;
        };
        if setting.value.is_empty() {
            values.retain(|(name, _)| name != column);
            continue;
        }
        if let Some(why) = idle(object.table, column) {
            let what = format!("{column}: kept, without effect: {why}");
            findings.none(&setting.place, what);
        }
        match *column {
            "allow" | "disallow" => {
                let items = setting.value.split(',').map(str::trim);
                for item in items.filter(|item| !item.is_empty()) {
                    if *column == "allow" {
                        allow.push(item);
                        continue;
                    }
                    // What stands later counts: it takes away what was allowed before.
                    if item.eq_ignore_ascii_case("all") {
                        allow.clear();
                        disallow.clear();
                    }
                    allow.retain(|codec| !codec.eq_ignore_ascii_case(item));
                    disallow.push(item);
                }
                continue;
            }
            "set_var" if setting.value.contains([',', ';']) => findings.decide(
                &setting.place,
                "set_var: a comma or semicolon in the value begins another variable here",
            ),
            _ => {}
        }
        let repeated = REPEATED.contains(column) || *column == "list_item";
        match values.iter_mut().find(|(name, _)| name == column) {
            Some((_, value)) if repeated => {
                value.push(',');
                value.push_str(&setting.value);
            }
            Some((_, value)) => value.clone_from(&setting.value),
            None => values.push(((*column).to_owned(), setting.value.clone())),
        }
    }
    for (name, list) in [("disallow", disallow), ("allow", allow)] {
        if !list.is_empty() {
            values.push((name.to_owned(), list.join(",")));
        }
    }
    values
}

fn unknown(object: &Object, setting: &Setting, findings: &mut Findings) {
    let what = if setting.name.starts_with('@') {
        format!("{}: fields of one's own are not kept", setting.name)
    } else {
        format!(
            "{}: not an option of type {} here",
            setting.name, object.name
        )
    };
    findings.none(&setting.place, what);
}

/// Columns that are kept and do nothing, with the reason that the documentation gives.
static IDLE: LazyLock<BTreeMap<(&str, &str), &str>> = LazyLock::new(|| {
    const COLUMNS: &str = include_str!("../../../../docs/columns.md");
    let mut idle = BTreeMap::new();
    for section in COLUMNS.split("\n## ").skip(1) {
        let table = section.lines().next().unwrap_or_default();
        for row in section.lines().filter(|row| row.starts_with("| `")) {
            let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
            let (names, what) = (cells.next().unwrap_or_default(), cells.next());
            let why = what.and_then(|what| what.strip_prefix("without effect: "));
            for name in names.split(',').map(|name| name.trim().trim_matches('`')) {
                idle.extend(why.map(|why| ((table, name), why)));
            }
        }
    }
    idle
});

fn idle(table: &str, column: &str) -> Option<&'static str> {
    IDLE.get(&(table, column)).copied()
}

fn check_values(section: &Section, object: &Object, values: &Values, findings: &mut Findings) {
    for (column, text) in (object.bad)(values) {
        let place = section
            .get(column)
            .map_or(&section.place, |setting| &setting.place);
        let said = if SECRETS.contains(&column) {
            "..."
        } else {
            &text
        };
        let what = format!(
            "{column} of [{}] says `{said}`, which it cannot: the default will count",
            section.name
        );
        findings.decide(place, what);
    }
    let chosen = values.iter().any(|(name, _)| name == "media_encryption");
    let dtls = |(name, value): &(String, String)| match name.as_str() {
        "media_encryption" => value.eq_ignore_ascii_case("dtls"),
        "webrtc" if !chosen => ["yes", "true", "on", "1"]
            .iter()
            .any(|yes| yes.eq_ignore_ascii_case(value)),
        _ => false,
    };
    for (column, value) in values.iter().filter(|value| dtls(value)) {
        let place = section
            .get(column)
            .map_or(&section.place, |setting| &setting.place);
        let what =
            format!("{column}={value}: DTLS-SRTP is not spoken here; media_encryption=sdes is");
        findings.decide(place, what);
    }
}

/// What refers to other objects names some that are there.
fn check_names(
    section: &Section,
    object: &Object,
    values: &Values,
    names: &BTreeMap<&str, BTreeSet<&str>>,
    findings: &mut Findings,
) {
    let references: &[(&str, &str)] = match object.name {
        "endpoint" => &[
            ("auth", "auth"),
            ("outbound_auth", "auth"),
            ("aors", "aor"),
            ("transport", "transport"),
        ],
        "registration" => &[
            ("outbound_auth", "auth"),
            ("transport", "transport"),
            ("endpoint", "endpoint"),
        ],
        "identify" => &[("endpoint", "endpoint")],
        _ => &[],
    };
    for (column, kind) in references {
        let Some((_, value)) = values.iter().find(|(name, _)| name == column) else {
            continue;
        };
        for name in value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            if names.get(kind).is_none_or(|known| !known.contains(name)) {
                let place = section
                    .get(column)
                    .map_or(&section.place, |setting| &setting.place);
                let what = format!(
                    "{column} of [{}] names {kind} `{name}`, which is not in this file",
                    section.name
                );
                findings.decide(place, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_effect_are_known_from_their_documentation() {
        assert_eq!(idle("ps_endpoints", "rtp_engine"), Some("there is one"));
        assert!(idle("ps_endpoints", "dtls_cert_file").is_some_and(|why| why.contains("DTLS")));
        for column in ["context", "allow", "100rel"] {
            assert_eq!(idle("ps_endpoints", column), None, "{column}");
        }
        assert!(idle("ps_globals", "debug").is_some());
        assert_eq!(idle("ps_nothing", "debug"), None);
    }
}
