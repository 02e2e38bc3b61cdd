//! `pjsip.conf`, and what `pjsip_wizard.conf` stands for: sections as rows of the `ps_*` tables, or as sections in `static_pjsip`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use super::Target;
use super::access;
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

/// Columns, and the texts that they cannot say.
type Bad = Vec<(&'static str, String)>;

/// A kind of object.
pub(crate) struct Object {
    /// What `type` says.
    pub(crate) name: &'static str,
    /// The section of sorcery.conf that says where it comes from; empty: it is read from both places.
    pub(crate) sorcery: &'static str,
    pub(crate) table: &'static str,
    columns: &'static [&'static str],
    /// Values in the spelling of the table, and columns whose text is no such value.
    read: fn(&Values) -> (Values, Bad),
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
        read: spelt::<R>,
        usual,
    }
}

const PJSIP: &str = "res_pjsip";

/// Who calls and is called is changed every day, by people and programs that know the tables: it goes there. How the
/// exchange as a whole listens and behaves belongs to the machine: it stays a file.
pub(crate) const OBJECTS: [Object; 13] = [
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
        read: |values| (values.clone(), Bad::new()),
        usual: Target::Realtime,
    },
    Object {
        name: "inbound-publication",
        sorcery: "",
        table: "ps_inbound_publications",
        columns: &[
            "id",
            "endpoint",
            "event_asterisk-devicestate",
            "event_asterisk-mwi",
        ],
        read: |values| (values.clone(), Bad::new()),
        usual: Target::Static,
    },
    Object {
        name: "asterisk-publication",
        sorcery: "",
        table: "ps_asterisk_publications",
        columns: &[
            "id",
            "devicestate_publish",
            "mailboxstate_publish",
            "device_state",
            "device_state_filter",
            "mailbox_state",
            "mailbox_state_filter",
        ],
        read: |values| (values.clone(), Bad::new()),
        usual: Target::Static,
    },
    Object {
        name: "outbound-publish",
        sorcery: "",
        table: "ps_outbound_publishes",
        columns: &[
            "id",
            "expiration",
            "outbound_auth",
            "outbound_proxy",
            "server_uri",
            "from_uri",
            "to_uri",
            "event",
            "max_auth_attempts",
            "transport",
            "multi_user",
            "@body",
            "@context",
            "@exten",
            "@device_state_filter",
            "@mailbox_state_filter",
        ],
        read: |values| (values.clone(), Bad::new()),
        usual: Target::Static,
    },
];

/// What to do about kinds of objects that are none here.
const FOREIGN: [(&str, &str); 5] = [
    (
        "acl",
        "write its deny and permit lines into the endpoints, or let a firewall keep addresses out",
    ),
    (
        "contact",
        "telephones register anew; a fixed contact is `contact` of an aor",
    ),
    ("phoneprov", "telephones are not provisioned here"),
    ("subscription_persistence", "telephones subscribe anew"),
    (
        "wizard",
        "wizards are read from pjsip_wizard.conf, as an Asterisk does",
    ),
];

fn spelt<R: Row>(values: &Values) -> (Values, Bad) {
    let places: Vec<Option<usize>> = R::COLUMNS
        .iter()
        .map(|column| values.iter().position(|(name, _)| name == column))
        .collect();
    let mut bad = Vec::new();
    let get = |at: usize| values.get(at).map(|(_, value)| value.as_str());
    let row = R::read(Cells::new(&get, &places, R::COLUMNS, &mut bad));
    let bad: Bad = bad
        .into_iter()
        .map(|cell| (cell.column, cell.text))
        .collect();
    let written: HashMap<&str, Option<String>> = row.write().into_iter().collect();
    let good = values
        .iter()
        .filter(|(name, _)| !bad.iter().any(|(column, _)| column == name));
    let good = good.filter_map(|(name, _)| {
        let value = written.get(name.as_str())?.clone()?;
        Some((name.clone(), value))
    });
    (good.collect(), bad)
}

/// What the sections become, and what is read from where.
pub(crate) struct Plan {
    pub(crate) units: Vec<Unit>,
    /// Kinds of objects, and where they went.
    pub(crate) targets: BTreeSet<(&'static str, Target)>,
}

/// `beside`: sections of another file, which are there too.
pub(crate) fn plan(
    conf: &Conf,
    beside: &Conf,
    into: Option<Target>,
    findings: &mut Findings,
) -> Plan {
    let mut plan = Plan {
        units: Vec::new(),
        targets: BTreeSet::new(),
    };
    // Names of each type, for what refers to them.
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for section in beside.real() {
        for kind in types(section) {
            names.entry(kind).or_default().insert(&section.name);
        }
    }
    let mut statics: Vec<(&Section, Vec<Values>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
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
        let mut values = check_values(section, object, &values, findings);
        if object.name == "endpoint" {
            let lists = access::lists(section, &mut values, findings);
            plan.units.extend(lists);
        }
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
                let place = *places.entry(&section.name).or_insert(statics.len());
                match statics.get_mut(place) {
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
    let mut codecs = Codecs::default();
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
                    match item.strip_prefix('!') {
                        Some(item) if *column == "allow" => codecs.take_away(item.trim()),
                        _ if *column == "allow" => codecs.allow.push(item.to_owned()),
                        _ => codecs.take_away(item),
                    }
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
    for (name, list) in [("disallow", codecs.disallow), ("allow", codecs.allow)] {
        if !list.is_empty() {
            values.push((name.to_owned(), list.join(",")));
        }
    }
    values
}

/// What `allow` and `disallow` say one after the other: what stands later counts.
#[derive(Default)]
struct Codecs {
    allow: Vec<String>,
    disallow: Vec<String>,
}

impl Codecs {
    fn take_away(&mut self, item: &str) {
        if item.eq_ignore_ascii_case("all") {
            self.allow.clear();
            self.disallow.clear();
        }
        let gone = codec(item);
        self.allow
            .retain(|known| codec(known.trim_start_matches('!')) != gone);
        // `all` stands for this one too, and `!` takes it out again.
        if self.allow.iter().any(|known| codec(known) == "all") {
            self.allow.push(format!("!{item}"));
        }
        self.disallow.push(item.to_owned());
    }
}

/// The codec that a word names, without packet time, under one of its names.
fn codec(word: &str) -> String {
    let name = word.split(':').next().unwrap_or_default().trim();
    match name.to_ascii_lowercase().as_str() {
        "pcmu" | "g711u" => "ulaw".to_owned(),
        "pcma" | "g711a" => "alaw".to_owned(),
        other => other.to_owned(),
    }
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

/// Gives the values that count, as the table spells them.
fn check_values(
    section: &Section,
    object: &Object,
    values: &Values,
    findings: &mut Findings,
) -> Values {
    let (values, bad) = (object.read)(values);
    for (column, text) in bad {
        let place = section
            .get(column)
            .map_or(&section.place, |setting| &setting.place);
        let said = if SECRETS.contains(&column) {
            "..."
        } else {
            &text
        };
        let what = format!(
            "{column} of [{}] says `{said}`, which it cannot: left out, the default will count",
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
    values
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
    use std::collections::BTreeMap as Map;

    use super::super::conf::tests::Memory;
    use super::*;

    /// The units of a file, and what is said of it.
    fn planned(text: &str, into: Option<Target>) -> (Vec<Unit>, String) {
        let files = Memory(Map::from([(FILE.to_owned(), text.as_bytes().to_vec())]));
        let conf = Conf::read(&files, FILE).ok().flatten().unwrap_or_default();
        assert_eq!(conf.faults, []);
        let mut findings = Findings::default();
        let plan = plan(&conf, &Conf::default(), into, &mut findings);
        let told: Vec<String> = findings.0.iter().map(ToString::to_string).collect();
        (plan.units, told.join("\n"))
    }

    fn row<'u>(units: &'u [Unit], table: &str) -> Vec<(&'u str, &'u str)> {
        let unit = units.iter().find(|unit| unit.table == table);
        let cells = unit.into_iter().flat_map(|unit| unit.rows.iter().flatten());
        cells
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    #[test]
    fn values_are_spelt_as_the_table_spells_them_and_others_left_out() {
        let (units, told) = planned(
            "[1]\ntype=endpoint\ntimers=always\ndirect_media=No\nrtp_timeout=60.0\nset_var=A=B\n\
             100rel=sometimes\n[2]\ntype=auth\nauth_type=DIGEST\n",
            None,
        );
        assert_eq!(
            row(&units, "ps_endpoints"),
            [
                ("timers", "forced"),
                ("direct_media", "no"),
                ("rtp_timeout", "60"),
                ("set_var", "A=B")
            ]
        );
        assert_eq!(row(&units, "ps_auths"), [("auth_type", "digest")]);
        assert!(
            told.contains("100rel of [1] says `sometimes`, which it cannot: left out"),
            "{told}"
        );
    }

    #[test]
    fn codecs_count_in_the_order_in_which_they_are_named() {
        for (lines, allow, disallow) in [
            ("disallow=all\nallow=ulaw,alaw", "ulaw,alaw", "all"),
            ("allow=all\ndisallow=g722", "all,!g722", "g722"),
            (
                "allow=all\ndisallow=g722\nallow=g722",
                "all,!g722,g722",
                "g722",
            ),
            ("allow=alaw:20,ulaw\ndisallow=alaw", "ulaw", "alaw"),
            ("allow=pcma,ulaw\ndisallow=ALAW:20", "ulaw", "ALAW:20"),
            ("allow=g729\nallow=!all,alaw", "alaw", "all"),
            ("allow=all,!gsm", "all,!gsm", "gsm"),
        ] {
            let (units, _) = planned(&format!("[1]\ntype=endpoint\n{lines}\n"), None);
            let wanted = [("disallow", disallow), ("allow", allow)];
            assert_eq!(row(&units, "ps_endpoints"), wanted, "{lines}");
        }
    }

    #[test]
    fn the_order_of_rules_about_addresses_is_kept() {
        // The usual order stays in its columns.
        let usual = "[1]\ntype=endpoint\ndeny=0.0.0.0/0\npermit=10.0.0.0/8\npermit=192.0.2.1\n";
        let (units, _) = planned(usual, None);
        let columns = [("deny", "0.0.0.0/0"), ("permit", "10.0.0.0/8,192.0.2.1")];
        assert_eq!(row(&units, "ps_endpoints"), columns);
        assert_eq!(units.len(), 1);

        let rules = "permit=10.0.0.0/8\ndeny=10.1.0.0/16\npermit=10.1.2.3\n";
        for (into, table) in [
            (None, "ps_endpoints"),
            (Some(Target::Static), "static_pjsip"),
        ] {
            let text = format!(
                "[1]\ntype=endpoint\n{rules}contact_permit=10.0.0.0/8\ncontact_deny=10.1.0.0/16\n"
            );
            let (units, told) = planned(&text, into);
            let endpoint = row(&units, table);
            for cell in [
                ("acl", "pjsip.conf/1"),
                ("contact_acl", "pjsip.conf/1 contact"),
            ] {
                assert!(endpoint.contains(&cell) || into.is_some(), "{endpoint:?}");
                let said = endpoint.iter().any(|(_, value)| *value == cell.1);
                assert!(said, "{endpoint:?}");
            }
            let rules = ["10.0.0.0/8", "10.1.0.0/16"];
            assert!(
                !endpoint.iter().any(|(_, value)| rules.contains(value)),
                "{endpoint:?}"
            );
            let lists: Vec<(&str, Vec<&str>)> = units
                .iter()
                .filter(|unit| unit.table == "static_extensions")
                .map(|unit| {
                    assert_eq!(unit.key[0].1, "acl.conf");
                    let rows = unit.rows.iter();
                    let cells = rows.map(|row| (row[3].1.as_str(), row[4].1.as_str()));
                    let shown = cells.map(|(name, _)| name).collect();
                    (unit.key[1].1.as_str(), shown)
                })
                .collect();
            assert_eq!(lists[0], ("pjsip.conf/1", vec!["permit", "deny", "permit"]));
            assert_eq!(lists[1], ("pjsip.conf/1 contact", vec!["permit", "deny"]));
            assert!(told.contains("kept in their order"), "{told}");
        }
        // So does what is longer than the columns.
        let hosts: Vec<String> = (1..=9).map(|host| format!("203.0.113.{host}/32")).collect();
        let text = format!(
            "[1]\ntype=endpoint\ndeny=0.0.0.0/0\npermit={}\n",
            hosts.join("\npermit=")
        );
        let (units, told) = planned(&text, None);
        assert_eq!(row(&units, "ps_endpoints"), [("acl", "pjsip.conf/1")]);
        let list = units.iter().find(|unit| unit.table == "static_extensions");
        let lines = list.map_or(&[][..], |list| &list.rows);
        let named: Vec<&str> = lines.iter().map(|row| row[3].1.as_str()).collect();
        assert_eq!(named[0], "deny");
        assert_eq!(named[1..], ["permit"; 9]);
        let about = "permit of [1] has 134 characters, and its column takes 95: the rules are kept";
        assert!(told.contains(about), "{told}");

        // There is one place for a name: what cannot be said lets fewer in, not more.
        let (units, told) = planned(&format!("[1]\ntype=endpoint\nacl=office\n{rules}"), None);
        let columns = [
            ("acl", "office"),
            ("deny", "10.1.0.0/16"),
            ("permit", "10.1.2.3"),
        ];
        assert_eq!(row(&units, "ps_endpoints"), columns);
        assert!(
            told.contains("decide: permit of [1] stands before deny"),
            "{told}"
        );
    }

    #[test]
    fn columns_without_effect_are_known_from_their_documentation() {
        assert_eq!(idle("ps_endpoints", "rtp_engine"), Some("there is one"));
        assert!(idle("ps_endpoints", "dtls_cert_file").is_some_and(|why| why.contains("DTLS")));
        for column in ["context", "allow", "100rel"] {
            assert_eq!(idle("ps_endpoints", column), None, "{column}");
        }
        assert!(idle("ps_globals", "regcontext").is_some());
        assert_eq!(idle("ps_globals", "debug"), None);
        assert_eq!(idle("ps_nothing", "regcontext"), None);
    }
}
