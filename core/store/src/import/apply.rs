//! Units against the tables: what is new, what the files say otherwise than before, and what others have written, which
//! stays as it is. What was imported is remembered in `strowger_imports`, in the transaction that writes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest as _, Sha256};

use super::conf::Place;
use super::report::{Findings, Report, Verdict};
use super::unit::{FilePlan, Unit, Values};
use crate::error::StoreError;
use crate::pool::{Kind, Pool, Statement};
use crate::schema::{Column, Columns};

const REMEMBERED: &str = "strowger_imports";
/// The longest key that is remembered, in characters.
const KEY_MAX: usize = 400;
/// Rows of one INSERT.
const ROWS_MAX: usize = 50;
/// Rows of one DELETE: databases have a limit of parameters.
const DELETED_MAX: usize = 1000;

/// Tables with the columns that tell units apart, and the number that the database gives each row.
const TABLES: [(&str, &[&str], Option<&str>); 18] = [
    ("ps_endpoints", &["id"], None),
    ("ps_aors", &["id"], None),
    ("ps_auths", &["id"], None),
    ("ps_domain_aliases", &["id"], None),
    ("ps_endpoint_id_ips", &["id"], None),
    ("ps_registrations", &["id"], None),
    ("ps_transports", &["id"], None),
    ("ps_globals", &["id"], None),
    ("ps_systems", &["id"], None),
    ("ps_resource_list", &["id"], None),
    ("realtime_extensions", &["context", "exten"], Some("id")),
    ("static_extensions", &["filename", "category"], Some("id")),
    ("static_pjsip", &["filename", "category"], Some("id")),
    (
        "static_sorcery",
        &["filename", "category", "var_name", "var_val"],
        Some("id"),
    ),
    ("queues", &["name"], None),
    (
        "queue_members",
        &["queue_name", "interface"],
        Some("uniqueid"),
    ),
    ("voicemail", &["context", "mailbox"], Some("uniqueid")),
    ("musiconhold", &["name"], None),
];
const ENTRIES: (&str, &[&str], Option<&str>) = ("musiconhold_entry", &["name"], None);

fn described(table: &str) -> (&'static [&'static str], Option<&'static str>) {
    let mut tables = TABLES.iter().chain(std::iter::once(&ENTRIES));
    let found = tables.find(|(name, ..)| *name == table);
    found.map_or((&["id"], None), |(_, keys, own)| (keys, *own))
}

/// What was imported once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The whole name of the file that it came from.
    pub(crate) source: String,
    /// The columns that were written.
    pub(crate) columns: BTreeSet<String>,
    /// What they said.
    pub(crate) fingerprint: String,
}

/// All that is remembered, by table and key.
pub(crate) type Records = BTreeMap<(String, String), Record>;

/// What is to be done with a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Same,
    Add,
    Change,
    /// Others have changed it, the file has not.
    Kept(&'static str),
    /// Others have changed it, and so has the file.
    Conflict(String),
}

/// What there is to know of a unit: its content now (`None`: no row), that of the file, and what is remembered.
struct Situation<'r> {
    /// Over the columns of the file.
    now: Option<&'r str>,
    wanted: &'r str,
    /// The record, and the content now over its columns.
    record: Option<(&'r Record, &'r str)>,
    source: &'r str,
    replace: bool,
}

fn judge(s: &Situation<'_>) -> Step {
    let conflict = |what: String| match (s.replace, s.now) {
        (true, Some(_)) => Step::Change,
        (true, None) => Step::Add,
        (false, _) => Step::Conflict(what),
    };
    match (s.now, s.record) {
        (None, None) => Step::Add,
        (None, Some((record, _))) if record.fingerprint == s.wanted && !s.replace => {
            Step::Kept("was removed here since it was imported: left so")
        }
        (None, Some(_)) => conflict("was removed here since it was imported".to_owned()),
        (Some(now), None) if now == s.wanted => Step::Same,
        (Some(_), None) => {
            conflict("is there already with other content, and was not imported".to_owned())
        }
        (Some(now), Some((record, _))) if record.source != s.source => {
            if now == s.wanted {
                Step::Same
            } else {
                conflict(format!("is there already, imported from {}", record.source))
            }
        }
        (Some(_), Some((record, recorded))) if record.fingerprint == recorded => {
            if record.fingerprint == s.wanted {
                Step::Same
            } else {
                Step::Change
            }
        }
        (Some(now), Some(_)) if now == s.wanted => Step::Same,
        (Some(_), Some((record, _))) if record.fingerprint == s.wanted && !s.replace => {
            Step::Kept("was changed here since it was imported: left so")
        }
        (Some(_), Some(_)) => {
            conflict("was changed here since it was imported, and in the file too".to_owned())
        }
    }
}

/// A table as it stands.
struct Stand {
    columns: Columns,
    /// Rows by the key of their unit; each column by its name in small letters.
    rows: HashMap<String, Vec<HashMap<String, String>>>,
}

impl Stand {
    async fn read(pool: &Pool, table: &str) -> Result<Option<Self>, StoreError> {
        let Some(columns) = Columns::find(pool, table).await? else {
            return Ok(None);
        };
        let (keys, _) = described(table);
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let (sql, places) = columns.select(pool.kind(), table, &wanted);
        let mut rows: HashMap<String, Vec<HashMap<String, String>>> = HashMap::new();
        pool.each_row(Statement::new(sql), |get| {
            let mut row = HashMap::new();
            for (name, place) in names.iter().zip(&places) {
                let text = place.and_then(get).unwrap_or_default();
                row.insert(name.to_ascii_lowercase(), text.to_owned());
            }
            let key: Vec<&str> = keys
                .iter()
                .map(|key| row.get(*key).map_or("", String::as_str))
                .collect();
            rows.entry(key.join("|")).or_default().push(row);
        })
        .await
        .map_err(StoreError::sql(format!("reading table {table}")))?;
        Ok(Some(Self { columns, rows }))
    }

    /// A value as the table would give it back.
    fn normal(&self, column: &str, value: &str) -> String {
        let Some(found) = self.columns.get(column) else {
            return value.to_owned();
        };
        let value = self
            .columns
            .fit(found, Some(value.to_owned()))
            .unwrap_or_default();
        match value.trim().parse::<f64>() {
            Ok(number) if found.is_number() && number.is_finite() => number.to_string(),
            _ => value,
        }
    }

    /// What rows say in these columns.
    fn content<'c>(
        &self,
        columns: &BTreeSet<String>,
        rows: impl Iterator<Item = HashMap<&'c str, &'c str>>,
    ) -> String {
        let mut rows: Vec<String> = rows
            .map(|row| {
                let cells: Vec<String> = columns
                    .iter()
                    .map(|column| {
                        let value = row.get(column.as_str()).copied().unwrap_or_default();
                        format!("{column}={}", self.normal(column, value))
                    })
                    .collect();
                cells.join("\u{1f}")
            })
            .collect();
        rows.sort_unstable();
        fingerprint(&rows.join("\u{1e}"))
    }

    fn content_now(&self, key: &str, columns: &BTreeSet<String>) -> Option<String> {
        let rows = self.rows.get(key)?;
        let rows = rows.iter().map(|row| {
            let cells = row.iter();
            cells
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        });
        Some(self.content(columns, rows))
    }
}

pub(crate) fn fingerprint(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Works through the files of one import.
pub(crate) struct Work<'w> {
    pool: &'w Pool,
    /// The folder, for the whole names of files.
    folder: &'w str,
    replace: bool,
    dry_run: bool,
    stands: HashMap<&'static str, Option<Stand>>,
    remembered: Option<Columns>,
    pub(crate) records: Records,
    pub(crate) report: Report,
    pub(crate) findings: Findings,
}

impl<'w> Work<'w> {
    pub(crate) async fn begin(
        pool: &'w Pool,
        folder: &'w str,
        replace: bool,
        dry_run: bool,
    ) -> Result<Self, StoreError> {
        let remembered = Columns::find(pool, REMEMBERED).await?;
        let mut records = Records::new();
        match &remembered {
            Some(columns) => {
                let wanted = ["table_name", "row_key", "source", "columns", "fingerprint"];
                let (sql, _) = columns.select(pool.kind(), REMEMBERED, &wanted);
                let rows = pool.rows(Statement::new(sql), wanted.len()).await;
                for row in rows.map_err(StoreError::sql(format!("reading table {REMEMBERED}")))? {
                    let mut cells = row.into_iter().map(Option::unwrap_or_default);
                    let mut next = || cells.next().unwrap_or_default();
                    let place = (next(), next());
                    let source = next();
                    let columns = next();
                    let columns = columns.split(',').filter(|name| !name.is_empty());
                    records.insert(
                        place,
                        Record {
                            source,
                            columns: columns.map(str::to_owned).collect(),
                            fingerprint: next(),
                        },
                    );
                }
            }
            None if dry_run => {}
            None => return Err(missing(REMEMBERED)),
        }
        Ok(Self {
            pool,
            folder,
            replace,
            dry_run,
            stands: HashMap::new(),
            remembered,
            records,
            report: Report::default(),
            findings: Findings::default(),
        })
    }

    /// Lines of sorcery.conf that nobody imported, and those that we did: section, name, value.
    pub(crate) async fn sorcery(&mut self) -> Result<Vec<(bool, [String; 3])>, StoreError> {
        self.look("static_sorcery").await?;
        let Some(Some(stand)) = self.stands.get("static_sorcery") else {
            return Ok(Vec::new());
        };
        let mut lines = Vec::new();
        for (key, rows) in &stand.rows {
            let ours = self
                .records
                .contains_key(&("static_sorcery".to_owned(), key.clone()));
            for row in rows {
                let cell = |name: &str| row.get(name).cloned().unwrap_or_default();
                if cell("filename") == "sorcery.conf" {
                    let commented = !matches!(cell("commented").as_str(), "" | "0" | "false");
                    let value = if commented {
                        String::new()
                    } else {
                        cell("var_val")
                    };
                    lines.push((ours, [cell("category"), cell("var_name"), value]));
                }
            }
        }
        Ok(lines)
    }

    async fn look(&mut self, table: &'static str) -> Result<(), StoreError> {
        if !self.stands.contains_key(table) {
            let stand = Stand::read(self.pool, table).await?;
            if stand.is_none() && !self.dry_run {
                return Err(missing(table));
            }
            self.stands.insert(table, stand);
        }
        Ok(())
    }

    /// The whole name of a file.
    pub(crate) fn source(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    /// Brings the tables to what one file says: everything in one transaction.
    pub(crate) async fn file(&mut self, plan: &FilePlan) -> Result<(), StoreError> {
        let source = self.source(&plan.file);
        let mut statements = Vec::new();
        let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
        for unit in &plan.units {
            self.look(unit.table).await?;
            wanted.insert((unit.table.to_owned(), unit.name()));
            self.unit(unit, &source, &mut statements);
        }
        let gone: Vec<(String, String)> = self
            .records
            .iter()
            .filter(|(place, record)| record.source == source && !wanted.contains(place))
            .map(|(place, _)| place.clone())
            .collect();
        for (table, key) in gone {
            let mut tables = TABLES.iter().chain(std::iter::once(&ENTRIES));
            if let Some((table, ..)) = tables.find(|(name, ..)| *name == table) {
                self.look(table).await?;
                self.remove(plan, table, &key, &mut statements);
            }
        }
        if !self.dry_run && !statements.is_empty() {
            self.pool
                .transaction(statements)
                .await
                .map_err(StoreError::sql(format!("importing {source}")))?;
            // A later file may speak of the same tables.
            self.stands.clear();
        }
        Ok(())
    }

    fn unit(&mut self, unit: &Unit, source: &str, statements: &mut Vec<Statement>) {
        let Some(Some(stand)) = self.stands.get(unit.table) else {
            // A table that is still to be made.
            return self.done(unit, Step::Add);
        };
        let key = unit.name();
        if key.chars().count() > KEY_MAX {
            let what = format!(
                "{}: the name is longer than {KEY_MAX} characters: not taken",
                unit.what
            );
            return self.findings.decide(&unit.place, what);
        }
        let mut columns: BTreeSet<String> = BTreeSet::new();
        for (column, value) in unit.rows.iter().flatten() {
            match stand.columns.get(column) {
                None => {
                    let what = format!(
                        "{}: {} has no column {column}: left out; `ALTER TABLE` adds one",
                        unit.what, unit.table
                    );
                    self.findings.decide(&unit.place, what);
                }
                Some(found) => {
                    if let Some(what) = too_long(found, value) {
                        let what = format!("{}: {what}: not taken", unit.what);
                        return self.findings.decide(&unit.place, what);
                    }
                    columns.insert(column.to_ascii_lowercase());
                }
            }
        }
        for (column, value) in &unit.key {
            let found = stand.columns.get(column);
            if let Some(what) = found.and_then(|found| too_long(found, value)) {
                let what = format!("{}: {what}: not taken", unit.what);
                return self.findings.decide(&unit.place, what);
            }
        }
        let rows = unit.rows.iter().map(|row| {
            let cells = row.iter();
            cells
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        });
        let wanted = stand.content(&columns, rows);
        let now = stand.content_now(&key, &columns);
        let place = (unit.table.to_owned(), key.clone());
        let record = self.records.get(&place);
        let recorded = record.and_then(|record| stand.content_now(&key, &record.columns));
        let step = judge(&Situation {
            now: now.as_deref(),
            wanted: &wanted,
            record: record.map(|record| (record, recorded.as_deref().unwrap_or_default())),
            source,
            replace: self.replace,
        });
        if matches!(step, Step::Add | Step::Change) {
            let former = record.map(|record| &record.columns);
            statements.extend(write(self.pool.kind(), stand, unit, &key, &columns, former));
            let record = Record {
                source: source.to_owned(),
                columns,
                fingerprint: wanted,
            };
            self.remember(place, record, statements);
        }
        self.done(unit, step);
    }

    /// Remembers what is written, with a statement for the same transaction.
    pub(crate) fn remember(
        &mut self,
        place: (String, String),
        record: Record,
        statements: &mut Vec<Statement>,
    ) {
        if self.records.contains_key(&place) {
            statements.extend(self.forgetting(&place));
        }
        if let Some(columns) = &self.remembered {
            let names: Vec<&str> = record.columns.iter().map(String::as_str).collect();
            let values = [
                ("table_name", Some(place.0.clone())),
                ("row_key", Some(place.1.clone())),
                ("source", Some(record.source.clone())),
                ("columns", Some(names.join(","))),
                ("fingerprint", Some(record.fingerprint.clone())),
            ];
            statements.push(columns.insert(self.pool.kind(), REMEMBERED, &values));
        }
        self.records.insert(place, record);
    }

    fn forgetting(&self, place: &(String, String)) -> Option<Statement> {
        let kind = self.pool.kind();
        let sql = format!(
            "DELETE FROM {REMEMBERED} WHERE table_name = {} AND row_key = {}",
            kind.parameter(1),
            kind.parameter(2)
        );
        let parameters = vec![Some(place.0.clone()), Some(place.1.clone())];
        self.remembered
            .as_ref()
            .map(|_| Statement::with(sql, parameters))
    }

    /// Runs statements that belong together.
    pub(crate) async fn run(
        &self,
        statements: Vec<Statement>,
        what: &str,
    ) -> Result<(), StoreError> {
        let done = self.pool.transaction(statements).await;
        done.map_err(StoreError::sql(format!("importing {what}")))
    }

    fn done(&mut self, unit: &Unit, step: Step) {
        let (verdict, what) = match step {
            Step::Same => {
                self.report.unchanged += 1;
                (Verdict::Taken, "as it was".to_owned())
            }
            Step::Add => {
                self.report.added += 1;
                (Verdict::Taken, "added".to_owned())
            }
            Step::Change => {
                self.report.changed += 1;
                (Verdict::Taken, "changed".to_owned())
            }
            Step::Kept(why) => {
                self.report.unchanged += 1;
                (Verdict::Taken, why.to_owned())
            }
            Step::Conflict(why) => (
                Verdict::Decision,
                format!("{why}: left as it is; `--replace` takes what the file says"),
            ),
        };
        let text = match verdict {
            Verdict::Taken => format!("{} -> {} ({what})", unit.what, unit.table),
            _ => format!("{} in {} {what}", unit.what, unit.table),
        };
        self.findings.0.push(super::Finding {
            file: unit.place.file.to_string(),
            line: unit.place.line,
            last: unit.last_line,
            verdict,
            what: text,
        });
    }

    /// What a file said once and says no more.
    fn remove(
        &mut self,
        plan: &FilePlan,
        table: &'static str,
        key: &str,
        statements: &mut Vec<Statement>,
    ) {
        let place = (table.to_owned(), key.to_owned());
        let Some(record) = self.records.get(&place) else {
            return;
        };
        let stand = self.stands.get(table).and_then(Option::as_ref);
        let now = stand.and_then(|stand| stand.content_now(key, &record.columns));
        let whole = Place {
            file: plan.file.as_str().into(),
            line: 0,
        };
        let name = key.replace('|', ", ");
        if let (Some(stand), Some(now)) = (stand, now) {
            if now != record.fingerprint && !self.replace {
                let what = format!(
                    "{name} in {table} is in the file no more, but was changed here since it was imported: \
                     left as it is; `--replace` removes it"
                );
                return self.findings.decide(&whole, what);
            }
            statements.extend(delete(self.pool.kind(), stand, table, key));
            self.report.removed += 1;
            let what = format!("{name} in {table} is in the file no more (removed)");
            self.findings.add(&whole, Verdict::Taken, what);
        }
        statements.extend(self.forgetting(&place));
        self.records.remove(&place);
    }
}

fn missing(table: &str) -> StoreError {
    StoreError::Schema {
        table: table.into(),
        why: "does not exist; `strowger db migrate` makes it".into(),
    }
}

/// Why a column cannot hold this text.
fn too_long(column: &Column, value: &str) -> Option<String> {
    let length = value.chars().count();
    let limit = column.characters_max.filter(|limit| length > *limit)?;
    Some(format!(
        "column {} takes {limit} characters, and there are {length}",
        column.name
    ))
}

/// The statements that make the rows of a unit what the file says.
fn write(
    kind: Kind,
    stand: &Stand,
    unit: &Unit,
    key: &str,
    columns: &BTreeSet<String>,
    former: Option<&BTreeSet<String>>,
) -> Vec<Statement> {
    let existing = stand.rows.get(key).map_or(0, Vec::len);
    let mut statements = Vec::new();
    if existing == 1 && unit.rows.len() == 1 {
        // Columns that others have filled stay.
        let mut all = columns.clone();
        all.extend(former.into_iter().flatten().cloned());
        statements.extend(update(kind, stand, unit, key, &all));
        return statements;
    }
    if existing > 0 {
        statements.extend(delete(kind, stand, unit.table, key));
    }
    let rows: Vec<Vec<(&str, Option<String>)>> = unit
        .rows
        .iter()
        .map(|row| {
            let keys = unit.key.iter();
            let mut cells: Vec<(&str, Option<String>)> = keys
                .map(|(name, value)| (*name, Some(value.clone())))
                .collect();
            cells.extend(
                columns
                    .iter()
                    .map(|column| (column.as_str(), cell(row, column))),
            );
            cells
        })
        .collect();
    for rows in rows.chunks(ROWS_MAX) {
        let rows: Vec<&[(&str, Option<String>)]> = rows.iter().map(Vec::as_slice).collect();
        statements.push(stand.columns.insert_all(kind, unit.table, &rows));
    }
    statements
}

fn cell(row: &Values, column: &str) -> Option<String> {
    let mut cells = row.iter();
    let found = cells.find(|(name, _)| name.eq_ignore_ascii_case(column));
    found.map(|(_, value)| value.clone())
}

fn update(
    kind: Kind,
    stand: &Stand,
    unit: &Unit,
    key: &str,
    columns: &BTreeSet<String>,
) -> Option<Statement> {
    let row = unit.rows.first()?;
    let (mut set, mut parameters) = (Vec::new(), Vec::new());
    for name in columns {
        let Some(column) = stand.columns.get(name) else {
            continue;
        };
        parameters.push(stand.columns.fit(column, cell(row, name)));
        let mark = kind.parameter(parameters.len());
        let mark = match kind {
            Kind::Postgres => format!("CAST(CAST({mark} AS TEXT) AS {})", column.kind),
            Kind::Sqlite | Kind::MySql => mark,
        };
        set.push(format!("{} = {mark}", kind.quote(&column.name)));
    }
    if set.is_empty() {
        return None;
    }
    let rows = stand.rows.get(key)?;
    let mut statement = condition(kind, stand, unit.table, rows, parameters)?;
    statement.sql = format!(
        "UPDATE {} SET {} WHERE {}",
        kind.quote(unit.table),
        set.join(", "),
        statement.sql
    );
    Some(statement)
}

fn delete(kind: Kind, stand: &Stand, table: &str, key: &str) -> Vec<Statement> {
    let rows = stand.rows.get(key).map_or(&[][..], Vec::as_slice);
    let rows = rows.chunks(DELETED_MAX);
    rows.filter_map(|rows| condition(kind, stand, table, rows, Vec::new()))
        .map(|mut statement| {
            statement.sql = format!("DELETE FROM {} WHERE {}", kind.quote(table), statement.sql);
            statement
        })
        .collect()
}

/// The rows of a unit, by the number of each where they have one: names that differ in case only may be one to the database.
fn condition(
    kind: Kind,
    stand: &Stand,
    table: &str,
    rows: &[HashMap<String, String>],
    mut parameters: Vec<Option<String>>,
) -> Option<Statement> {
    let (keys, own) = described(table);
    let text = |name: &str| kind.as_text(&kind.quote(name));
    let own = own.and_then(|own| stand.columns.get(own));
    let sql = match own {
        Some(own) => {
            let mut marks = Vec::new();
            for row in rows {
                parameters.push(row.get(&own.name.to_ascii_lowercase()).cloned());
                marks.push(kind.parameter(parameters.len()));
            }
            format!("{} IN ({})", text(&own.name), marks.join(", "))
        }
        None => {
            let mut parts = Vec::new();
            let row = rows.first()?;
            for name in keys {
                let column = stand.columns.get(name)?;
                parameters.push(row.get(*name).cloned());
                parts.push(format!(
                    "{} = {}",
                    text(&column.name),
                    kind.parameter(parameters.len())
                ));
            }
            parts.join(" AND ")
        }
    };
    Some(Statement::with(sql, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(source: &str, fingerprint: &str) -> Record {
        Record {
            source: source.to_owned(),
            columns: BTreeSet::new(),
            fingerprint: fingerprint.to_owned(),
        }
    }

    #[test]
    fn rows_of_others_are_never_overwritten_unless_that_is_wanted() {
        let ours = record("a", "1");
        let theirs = record("b", "1");
        let conflict = Err("conflict");
        // What stands there (over the columns of the file, over those of the record), what the file says, the record.
        for (now, recorded, wanted, record, step, replaced) in [
            (None, "", "1", None, Ok(Step::Add), Step::Add),
            (Some("1"), "", "1", None, Ok(Step::Same), Step::Same),
            (Some("2"), "", "1", None, conflict.clone(), Step::Change),
            (Some("1"), "1", "1", Some(&ours), Ok(Step::Same), Step::Same),
            (
                Some("1"),
                "1",
                "2",
                Some(&ours),
                Ok(Step::Change),
                Step::Change,
            ),
            (
                Some("3"),
                "3",
                "2",
                Some(&ours),
                conflict.clone(),
                Step::Change,
            ),
            (Some("3"), "3", "3", Some(&ours), Ok(Step::Same), Step::Same),
            (None, "", "2", Some(&ours), conflict.clone(), Step::Add),
            (
                Some("1"),
                "1",
                "2",
                Some(&theirs),
                conflict.clone(),
                Step::Change,
            ),
            (
                Some("1"),
                "1",
                "1",
                Some(&theirs),
                Ok(Step::Same),
                Step::Same,
            ),
        ] {
            for replace in [false, true] {
                let found = judge(&Situation {
                    now,
                    wanted,
                    record: record.map(|record| (record, recorded)),
                    source: "a",
                    replace,
                });
                let told = format!("{now:?} {wanted} {record:?} {replace}");
                match (&step, replace) {
                    (_, true) => assert_eq!(found, replaced, "{told}"),
                    (Ok(step), false) => assert_eq!(found, *step, "{told}"),
                    (Err(_), false) => {
                        assert!(matches!(found, Step::Conflict(_)), "{told}: {found:?}")
                    }
                }
            }
        }
        let kept = |now| {
            judge(&Situation {
                now,
                wanted: "1",
                record: Some((&ours, now.unwrap_or_default())),
                source: "a",
                replace: false,
            })
        };
        assert!(matches!(kept(Some("3")), Step::Kept(why) if why.contains("changed here")));
        assert!(matches!(kept(None), Step::Kept(why) if why.contains("removed here")));
    }
}
