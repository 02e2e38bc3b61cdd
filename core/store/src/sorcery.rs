//! Where the objects of SIP come from: `static_sorcery` (sorcery.conf) says for each kind whether its table is read, the
//! sections of a configuration file kept in `static_pjsip`, or both in turn; and how such a section becomes a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::error::{Problem, Severity};
use crate::rows::{
    Aor, Auth, Cells, DomainAlias, Endpoint, Globals, Identify, Registration, Row, StaticRow,
    System, Transport,
};
use crate::snapshot::{Snapshot, Table};

/// The file that static objects come from unless a line says otherwise.
const PJSIP: &str = "pjsip.conf";
const SORCERY: &str = "sorcery.conf";
/// Problems reported of the static tables, besides their number.
const PROBLEMS_MAX: usize = 40;
/// Options that may stand several times; the values are joined, as they would stand in one column.
pub(crate) const REPEATED: [&str; 14] = [
    "match",
    "local_net",
    "contact",
    "allow",
    "disallow",
    "set_var",
    "permit",
    "deny",
    "contact_permit",
    "contact_deny",
    "acl",
    "contact_acl",
    "outbound_auth",
    "auth",
];
/// Kinds of objects of pjsip.conf that other parts of the exchange read, or nobody has to.
const OTHER_TYPES: [&str; 8] = [
    "acl",
    "contact",
    "phoneprov",
    "resource_list",
    "outbound-publish",
    "inbound-publication",
    "asterisk-publication",
    "subscription_persistence",
];

/// The tables of objects as they were read, before `static_sorcery` is obeyed.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub(crate) endpoints: Arc<FxHashMap<String, Arc<Endpoint>>>,
    pub(crate) aors: Arc<FxHashMap<String, Arc<Aor>>>,
    pub(crate) auths: Arc<FxHashMap<String, Arc<Auth>>>,
    pub(crate) identifies: Arc<Vec<Identify>>,
    pub(crate) domain_aliases: Arc<FxHashMap<String, DomainAlias>>,
    pub(crate) globals: Arc<Option<Globals>>,
    pub(crate) system: Arc<Option<System>>,
    pub(crate) transports: Arc<Vec<Transport>>,
    pub(crate) registrations: Arc<Vec<Registration>>,
    /// `static_sorcery` has lines of sorcery.conf, if only such that are commented out.
    pub(crate) sorcery_speaks: bool,
}

/// One source of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The table.
    Realtime,
    /// Sections of this file.
    Config(String),
}

/// A kind of object: section and name in sorcery.conf, its table.
struct Kind {
    section: &'static str,
    name: &'static str,
    table: Table,
}

const KINDS: [Kind; 9] = [
    kind("res_pjsip", "endpoint", Table::Endpoints),
    kind("res_pjsip", "aor", Table::Aors),
    kind("res_pjsip", "auth", Table::Auths),
    kind("res_pjsip", "domain_alias", Table::DomainAliases),
    kind("res_pjsip", "global", Table::Globals),
    kind("res_pjsip", "system", Table::Systems),
    kind("res_pjsip", "transport", Table::Transports),
    kind(
        "res_pjsip_endpoint_identifier_ip",
        "identify",
        Table::Identifies,
    ),
    kind(
        "res_pjsip_outbound_registration",
        "registration",
        Table::Registrations,
    ),
];

const fn kind(section: &'static str, name: &'static str, table: Table) -> Kind {
    Kind {
        section,
        name,
        table,
    }
}

/// Whether rows of this table may come from elsewhere.
pub(crate) fn is_object(table: Table) -> bool {
    KINDS.iter().any(|kind| kind.table == table)
}

/// A section of a file: its name, its order, its options in order.
struct Section<'a> {
    name: &'a str,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Section<'a> {
    fn types(&self) -> impl Iterator<Item = &'a str> {
        let types = self.options.iter();
        types
            .filter(|(name, _)| name.eq_ignore_ascii_case("type"))
            .map(|(_, value)| value.trim())
    }

    /// The option as a column would hold it: the last value, or all of them where several may stand.
    fn value(&self, column: &str) -> Option<String> {
        let values = || {
            let options = self.options.iter();
            options
                .filter(|(name, _)| name.eq_ignore_ascii_case(column))
                .map(|(_, value)| value.trim())
        };
        if REPEATED.contains(&column) {
            let all: Vec<&str> = values().collect();
            return (!all.is_empty()).then(|| all.join(","));
        }
        values().next_back().map(str::to_owned)
    }
}

/// What is wrong in the static tables.
#[derive(Default)]
struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    fn add(&mut self, severity: Severity, table: Table, row: &str, what: String) {
        if self.list.len() >= PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        self.list.push(Problem {
            severity,
            table: table.name().into(),
            row: Some(row.to_owned()),
            what,
        });
    }

    fn finish(mut self) -> Vec<Problem> {
        if self.more > 0 {
            self.list.push(Problem {
                severity: Severity::Warning,
                table: Table::StaticPjsip.name().into(),
                row: None,
                what: format!("{} more such lines", self.more),
            });
        }
        self.list
    }
}

type Files<'a> = BTreeMap<&'a str, Vec<Section<'a>>>;

fn files(rows: &[StaticRow]) -> Files<'_> {
    let mut files: Files<'_> = BTreeMap::new();
    let mut before: Option<(&str, &str, i32)> = None;
    for row in rows {
        if row.filename == SORCERY {
            continue;
        }
        let place = (row.filename.as_str(), row.category.as_str(), row.cat_metric);
        let sections = files.entry(place.0).or_default();
        if before != Some(place) {
            sections.push(Section {
                name: place.1,
                options: Vec::new(),
            });
            before = Some(place);
        }
        if let Some(section) = sections.last_mut() {
            section.options.push((row.var_name.trim(), &row.var_val));
        }
    }
    files
}

/// The objects of one type among the sections of a file, in their order.
fn objects<R: Row>(
    sections: Option<&Vec<Section<'_>>>,
    wanted: &str,
    problems: &mut Problems,
) -> Vec<R> {
    let mut objects: Vec<R> = Vec::new();
    for section in sections.into_iter().flatten() {
        let types: Vec<&str> = section.types().collect();
        if !types.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
            continue;
        }
        // In a section of several types an option may belong to any of them.
        if types.len() == 1 {
            for (name, _) in &section.options {
                let known = |column: &&str| column.eq_ignore_ascii_case(name) && **column != *"id";
                if !name.eq_ignore_ascii_case("type") && !R::COLUMNS.iter().any(known) {
                    let what = format!("option `{name}` is not known for type={wanted}: ignored");
                    problems.add(Severity::Warning, Table::StaticPjsip, section.name, what);
                }
            }
        }
        let cells: Vec<Option<String>> = R::COLUMNS
            .iter()
            .map(|column| match *column {
                "id" => Some(section.name.to_owned()),
                column => section.value(column),
            })
            .collect();
        let places: Vec<Option<usize>> = (0..cells.len()).map(Some).collect();
        let mut bad = Vec::new();
        let get = |at: usize| cells.get(at)?.as_deref();
        objects.push(R::read(Cells::new(&get, &places, R::COLUMNS, &mut bad)));
        for cell in bad {
            let what = format!(
                "option {} says `{}`, which it cannot: the default is used",
                cell.column, cell.text
            );
            problems.add(Severity::Warning, Table::StaticPjsip, section.name, what);
        }
    }
    objects
}

/// Where this kind of object comes from, in the order in which the sources are asked.
fn sources(snapshot: &Snapshot, kind: &Kind, problems: &mut Problems) -> Vec<Source> {
    let default = Source::Config(PJSIP.to_owned());
    if !snapshot.loaded.sorcery_speaks {
        // Nobody has said anything: tables as ever, and beside them what stands in a file.
        return vec![Source::Realtime, default];
    }
    let mut found = Vec::new();
    let mut spoken = false;
    let lines = snapshot.statics.iter().filter(|row| {
        row.filename == SORCERY && row.category.trim().eq_ignore_ascii_case(kind.section)
    });
    for line in lines {
        let (name, caching) = line
            .var_name
            .split_once('/')
            .unwrap_or((&line.var_name, ""));
        // A cache holds nothing of its own; here every table is in memory anyway.
        if !name.trim().eq_ignore_ascii_case(kind.name) || caching.trim() == "cache" {
            continue;
        }
        let (wizard, data) = line.var_val.split_once(',').unwrap_or((&line.var_val, ""));
        let mut problem = |what: String| {
            problems.add(Severity::Error, Table::StaticSorcery, kind.name, what);
        };
        match wizard.trim() {
            "realtime" => {
                spoken = true;
                let family = data.split(',').next().unwrap_or("").trim();
                if family != kind.table.name() {
                    problem(format!(
                        "`{}` names family `{family}`; read is {} all the same",
                        line.var_val,
                        kind.table.name()
                    ));
                }
                found.push(Source::Realtime);
            }
            "config" => {
                spoken = true;
                let file = data.split(',').next().unwrap_or("").trim();
                found.push(Source::Config(
                    if file.is_empty() { PJSIP } else { file }.to_owned(),
                ));
            }
            "memory_cache" => {}
            other => problem(format!(
                "wizard `{other}` is not known here: realtime and config are; the line is ignored"
            )),
        }
    }
    if !spoken {
        found.push(default);
    }
    found.dedup();
    found
}

/// Asks the sources in turn; of two objects of one name the first counts.
fn merged<R: Row + Clone>(
    sources: &[Source],
    kind: &Kind,
    files: &Files<'_>,
    table: impl Fn() -> Vec<R>,
    problems: &mut Problems,
) -> Vec<R> {
    let mut all: Vec<R> = Vec::new();
    let mut seen = rustc_hash::FxHashSet::default();
    for source in sources {
        let found = match source {
            Source::Realtime => table(),
            Source::Config(file) => objects(files.get(file.as_str()), kind.name, problems),
        };
        for object in found {
            if seen.insert(object.id().clone()) {
                all.push(object);
            }
        }
    }
    all
}

fn only_table(sources: &[Source], kind: &Kind, files: &Files<'_>) -> bool {
    sources.iter().all(|source| match source {
        Source::Realtime => true,
        Source::Config(file) => {
            let sections = files.get(file.as_str());
            let mut types = sections.into_iter().flatten().flat_map(Section::types);
            !types.any(|name| name.eq_ignore_ascii_case(kind.name))
        }
    }) && sources.contains(&Source::Realtime)
}

/// Puts what counts into the snapshot: of each kind of object the table, sections of a file, or both. Tells which tables
/// count differently from before, and what is wrong in the static ones.
pub(crate) fn obey(snapshot: &mut Snapshot) -> (Vec<Table>, Vec<Problem>) {
    let mut problems = Problems::default();
    let mut changed = Vec::new();
    let statics = Arc::clone(&snapshot.statics);
    let files = files(&statics);
    let loaded = snapshot.loaded.clone();
    for kind in &KINDS {
        let sources = sources(snapshot, kind, &mut problems);
        let plain = only_table(&sources, kind, &files);
        macro_rules! list {
            ($field:ident) => {{
                let new = if plain {
                    Arc::clone(&loaded.$field)
                } else {
                    let table = || loaded.$field.to_vec();
                    let mut rows = merged(&sources, kind, &files, table, &mut problems);
                    rows.sort_by(|a, b| a.id().cmp(b.id()));
                    Arc::new(rows)
                };
                put(&mut snapshot.$field, new)
            }};
        }
        macro_rules! map {
            ($field:ident) => {{
                let new = if plain {
                    Arc::clone(&loaded.$field)
                } else {
                    let table = || {
                        loaded
                            .$field
                            .values()
                            .map(|row| row.as_ref().clone())
                            .collect()
                    };
                    let rows = merged(&sources, kind, &files, table, &mut problems);
                    let pairs = rows
                        .into_iter()
                        .map(|row| (row.id().clone(), Arc::new(row)));
                    Arc::new(pairs.collect())
                };
                put(&mut snapshot.$field, new)
            }};
        }
        macro_rules! one {
            ($field:ident) => {{
                let table = || loaded.$field.iter().cloned().collect();
                let rows = merged(&sources, kind, &files, table, &mut problems);
                put(
                    &mut snapshot.$field,
                    Arc::new(rows.into_iter().next().unwrap_or_default()),
                )
            }};
        }
        let different = match kind.table {
            Table::Endpoints => map!(endpoints),
            Table::Aors => map!(aors),
            Table::Auths => map!(auths),
            Table::Identifies => list!(identifies),
            Table::Transports => list!(transports),
            Table::Registrations => list!(registrations),
            Table::Globals => one!(globals),
            Table::Systems => one!(system),
            _ => {
                let new = if plain {
                    Arc::clone(&loaded.domain_aliases)
                } else {
                    let table = || loaded.domain_aliases.values().cloned().collect();
                    let rows: Vec<DomainAlias> =
                        merged(&sources, kind, &files, table, &mut problems);
                    Arc::new(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
                };
                put(&mut snapshot.domain_aliases, new)
            }
        };
        if different {
            changed.push(kind.table);
        }
    }
    for section in files.get(PJSIP).into_iter().flatten() {
        let mut types = section.types().peekable();
        if types.peek().is_none() {
            let what = "the section has no option `type`: ignored".to_owned();
            problems.add(Severity::Error, Table::StaticPjsip, section.name, what);
        }
        for name in types {
            let known = |wanted: &&str| name.eq_ignore_ascii_case(wanted);
            if !KINDS.iter().any(|kind| known(&kind.name)) && !OTHER_TYPES.iter().any(known) {
                let what = format!("type `{name}` is not known: ignored");
                problems.add(Severity::Warning, Table::StaticPjsip, section.name, what);
            }
        }
    }
    (changed, problems.finish())
}

/// Puts the new value in place; tells whether it differs.
fn put<T: PartialEq>(place: &mut Arc<T>, new: Arc<T>) -> bool {
    if Arc::ptr_eq(place, &new) {
        return false;
    }
    let changed = **place != *new;
    if changed {
        *place = new;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(file: &str, category: &str, name: &str, value: &str) -> StaticRow {
        StaticRow {
            filename: file.into(),
            category: category.into(),
            var_name: name.into(),
            var_val: value.into(),
            ..StaticRow::default()
        }
    }

    fn snapshot(speaks: bool, rows: &[(&str, &str, &str, &str)]) -> Snapshot {
        let mut statics: Vec<StaticRow> = rows
            .iter()
            .map(|(file, category, name, value)| line(file, category, name, value))
            .collect();
        StaticRow::sort(&mut statics);
        let in_table = Transport {
            id: "from-table".into(),
            ..Transport::default()
        };
        Snapshot {
            statics: Arc::new(statics),
            loaded: Loaded {
                sorcery_speaks: speaks,
                transports: Arc::new(vec![in_table]),
                ..Loaded::default()
            },
            ..Snapshot::default()
        }
    }

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        let transports = snapshot.transports.iter();
        transports.map(|transport| transport.id.as_str()).collect()
    }

    const STATIC: [(&str, &str, &str, &str); 6] = [
        ("pjsip.conf", "transport-udp", "type", "transport"),
        ("pjsip.conf", "transport-tcp", "type", "transport"),
        ("pjsip.conf", "transport-udp", "bind", "0.0.0.0:5060"),
        ("pjsip.conf", "transport-tcp", "protocol", "tcp"),
        ("pjsip.conf", "transport-udp", "local_net", "10.0.0.0/8"),
        ("pjsip.conf", "transport-udp", "local_net", "192.168.0.0/16"),
    ];

    #[test]
    fn a_line_that_is_commented_out_moves_its_kind_of_object_to_the_file() {
        // The line `transport` is there and commented out; that of endpoints is not.
        let mut rows = STATIC.to_vec();
        rows.push((
            "sorcery.conf",
            "res_pjsip",
            "endpoint",
            "realtime,ps_endpoints",
        ));
        let mut s = snapshot(true, &rows);
        let (changed, problems) = obey(&mut s);
        assert_eq!(problems, []);
        assert!(changed.contains(&Table::Transports));
        assert_eq!(names(&s), ["transport-tcp", "transport-udp"]);
        assert_eq!(s.transports[1].local_net, ["10.0.0.0/8", "192.168.0.0/16"]);
        assert_eq!(s.transports[1].bind, "0.0.0.0:5060");
    }

    #[test]
    fn a_realtime_line_keeps_the_file_out_and_silence_takes_both() {
        let mut rows = STATIC.to_vec();
        rows.push((
            "sorcery.conf",
            "res_pjsip",
            "transport",
            "realtime,ps_transports",
        ));
        let mut s = snapshot(true, &rows);
        assert_eq!(obey(&mut s).1, []);
        assert_eq!(names(&s), ["from-table"]);
        let mut s = snapshot(false, &STATIC);
        assert_eq!(obey(&mut s).1, []);
        assert_eq!(names(&s), ["from-table", "transport-tcp", "transport-udp"]);
        assert_eq!(obey(&mut s).0, [], "nothing changed since");
    }

    #[test]
    fn sections_of_one_name_are_told_apart_and_faults_are_named() {
        let mut rows: Vec<StaticRow> = vec![
            line("pjsip.conf", "100", "type", "endpoint"),
            line("pjsip.conf", "100", "rtp_timeout", "soon"),
            line("pjsip.conf", "100", "colour", "red"),
            line("pjsip.conf", "loose", "bind", "x"),
            line("sorcery.conf", "res_pjsip", "aor", "astdb,registrar"),
        ];
        for (name, value) in [
            ("type", "aor"),
            ("contact", "sip:a@b"),
            ("contact", "sip:c@d"),
        ] {
            let mut row = line("pjsip.conf", "100", name, value);
            row.cat_metric = 1;
            rows.push(row);
        }
        StaticRow::sort(&mut rows);
        let mut s = snapshot(true, &[]);
        s.statics = Arc::new(rows);
        let (_, problems) = obey(&mut s);
        assert!(s.endpoints.contains_key("100"));
        assert_eq!(s.aors["100"].contact, ["sip:a@b", "sip:c@d"]);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        for part in [
            "colour",
            "rtp_timeout",
            "`soon`",
            "astdb",
            "loose",
            "no option `type`",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
