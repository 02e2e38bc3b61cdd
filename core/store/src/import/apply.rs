//! Units against the tables: what is new, what the files say otherwise than before, and what others have written, which
//! stays as it is. Each file is one transaction, which reads what it judges, and keeps others from changing it until it has
//! written. What was imported is remembered in `strowger_imports`, in the same transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::changes::Changes;
use super::report::{Findings, Report, Verdict};
use super::stand::{Source, Stand, described, known};
use super::unit::{FilePlan, Unit, Values};
use crate::error::StoreError;
use crate::pool::{Kind, Pool};
use crate::schema::{Column, Columns};

const REMEMBERED: &str = "strowger_imports";
const REMEMBERED_COLUMNS: [&str; 5] = ["table_name", "row_key", "source", "columns", "fingerprint"];
/// The longest key that is remembered, in characters.
const KEY_MAX: usize = 400;
/// Columns of `ps_endpoints` that only adorn: without them an endpoint lets nobody in whom it would keep out, and seems nobody else.
const ADORNING: [&str; 8] = [
    "language",
    "moh_suggest",
    "tone_zone",
    "sdp_owner",
    "sdp_session",
    "mwi_from_user",
    "named_call_group",
    "named_pickup_group",
];
/// Columns whose values are not shown.
const SECRETS: [&str; 4] = ["password", "secret", "md5_cred", "password_digest"];

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

/// Works through the files of one import.
pub(crate) struct Work<'w> {
    pool: &'w Pool,
    /// The folder, for the whole names of files.
    folder: &'w str,
    replace: bool,
    dry_run: bool,
    /// Columns of tables; `None`: there is no such table.
    columns: HashMap<&'static str, Option<Columns>>,
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
        let mut work = Self {
            pool,
            folder,
            replace,
            dry_run,
            columns: HashMap::new(),
            report: Report::default(),
            findings: Findings::default(),
        };
        work.look(REMEMBERED).await?;
        Ok(work)
    }

    /// Looks which columns a table has, once.
    async fn look(&mut self, table: &'static str) -> Result<(), StoreError> {
        if !self.columns.contains_key(table) {
            let columns = Columns::find(self.pool, table).await?;
            if columns.is_none() && !self.dry_run {
                return Err(missing(table));
            }
            self.columns.insert(table, columns);
        }
        Ok(())
    }

    /// Lines of sorcery.conf that nobody imported, and those that we did: section, name, value.
    pub(crate) async fn sorcery(&mut self) -> Result<Vec<(bool, [String; 3])>, StoreError> {
        const TABLE: &str = "static_sorcery";
        self.look(TABLE).await?;
        let Some(Some(columns)) = self.columns.get(TABLE) else {
            return Ok(Vec::new());
        };
        let mut source = Source::Pool(self.pool);
        let stand = Stand::read(&mut source, self.pool.kind(), TABLE, columns.clone()).await?;
        let records = self.records(&mut source).await?;
        let mut lines = Vec::new();
        for (key, rows) in &stand.rows {
            let ours = records.contains_key(&(TABLE.to_owned(), key.clone()));
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

    /// What is remembered.
    async fn records(&self, source: &mut Source<'_>) -> Result<Records, StoreError> {
        let mut records = Records::new();
        let Some(Some(columns)) = self.columns.get(REMEMBERED) else {
            return Ok(records);
        };
        let (sql, places) = columns.select(self.pool.kind(), REMEMBERED, &REMEMBERED_COLUMNS);
        let read = source.each_row(REMEMBERED, sql, |get| {
            let cell = |at: usize| {
                let place = places.get(at).copied().flatten();
                place.and_then(get).unwrap_or_default().to_owned()
            };
            let columns = cell(3);
            let columns = columns.split(',').filter(|name| !name.is_empty());
            let record = Record {
                source: cell(2),
                columns: columns.map(str::to_owned).collect(),
                fingerprint: cell(4),
            };
            records.insert((cell(0), cell(1)), record);
        });
        read.await?;
        Ok(records)
    }

    /// The whole name of a file.
    pub(crate) fn source(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    /// Brings the tables to what one file says: all of it, or nothing, which is told.
    pub(crate) async fn file(&mut self, plan: &FilePlan) {
        match self.bring(plan).await {
            Ok((report, findings)) => {
                self.report.added += report.added;
                self.report.changed += report.changed;
                self.report.removed += report.removed;
                self.report.unchanged += report.unchanged;
                self.findings.0.extend(findings.0);
            }
            Err(error) => {
                let what = format!("{}: nothing of it was written", error.whole());
                self.findings.add(&plan.place(), Verdict::Failed, what);
            }
        }
    }

    async fn bring(&mut self, plan: &FilePlan) -> Result<(Report, Findings), StoreError> {
        let source = self.source(&plan.file);
        // Everything that can be learnt without holding others up comes first.
        for unit in &plan.units {
            self.look(unit.table).await?;
        }
        let ours = |records: &Records| -> BTreeSet<&'static str> {
            let records = records.iter().filter(|(_, record)| record.source == source);
            records.filter_map(|((table, _), _)| known(table)).collect()
        };
        let before = self.records(&mut Source::Pool(self.pool)).await?;
        for table in ours(&before) {
            self.look(table).await?;
        }
        let failed = || StoreError::sql(format!("importing {source}"));
        let mut open = match self.dry_run {
            true => Source::Pool(self.pool),
            false => Source::Transaction(self.pool.begin().await.map_err(failed())?),
        };
        let records = self.records(&mut open).await?;
        let wanted: BTreeSet<(String, String)> = plan
            .units
            .iter()
            .map(|unit| (unit.table.to_owned(), unit.name()))
            .collect();
        let mut turn = Turn {
            replace: self.replace,
            source: &source,
            stands: BTreeMap::new(),
            remembered: self.columns.get(REMEMBERED).and_then(Option::as_ref),
            changes: Changes::new(self.pool.kind()),
            records,
            wanted,
            names: Names::default(),
            report: Report::default(),
            findings: Findings::default(),
        };
        let units = plan.units.iter().map(|unit| unit.table);
        let tables: BTreeSet<&'static str> = units.chain(ours(&turn.records)).collect();
        for table in tables {
            if let Some(Some(columns)) = self.columns.get(table) {
                let kind = self.pool.kind();
                let stand = Stand::read(&mut open, kind, table, columns.clone()).await?;
                turn.stands.insert(table, stand);
            }
        }
        for unit in &plan.units {
            turn.unit(unit);
        }
        let gone: Vec<(String, String)> = turn
            .records
            .iter()
            .filter(|(place, record)| record.source == source && !turn.wanted.contains(place))
            .map(|(place, _)| place.clone())
            .collect();
        for (table, key) in gone {
            if let Some(table) = known(&table) {
                turn.remove(plan, table, &key);
            }
        }
        if let Source::Transaction(mut open) = open {
            for statement in turn.changes.statements() {
                open.execute(statement).await.map_err(failed())?;
            }
            open.commit().await.map_err(failed())?;
        }
        Ok((turn.report, turn.findings))
    }

    /// What is remembered of one place.
    pub(crate) async fn remembered(
        &self,
        place: &(String, String),
    ) -> Result<Option<Record>, StoreError> {
        let records = self.records(&mut Source::Pool(self.pool)).await?;
        Ok(records.get(place).cloned())
    }

    /// Remembers what was written elsewhere.
    pub(crate) async fn remember(
        &self,
        place: &(String, String),
        record: &Record,
    ) -> Result<(), StoreError> {
        let mut changes = Changes::new(self.pool.kind());
        if let Some(Some(columns)) = self.columns.get(REMEMBERED) {
            forget(&mut changes, place);
            remember(&mut changes, columns, place, record);
        }
        let done = self.pool.transaction(changes.statements()).await;
        done.map_err(StoreError::sql(format!("importing {}", record.source)))
    }
}

fn forget(changes: &mut Changes, (table, key): &(String, String)) {
    changes.remove_where(REMEMBERED, &[("table_name", table), ("row_key", key)]);
}

fn remember(
    changes: &mut Changes,
    columns: &Columns,
    (table, key): &(String, String),
    record: &Record,
) {
    let written: Vec<&str> = record.columns.iter().map(String::as_str).collect();
    let cells = [
        table.clone(),
        key.clone(),
        record.source.clone(),
        written.join(","),
        record.fingerprint.clone(),
    ];
    let names = REMEMBERED_COLUMNS.map(str::to_owned);
    changes.insert(REMEMBERED, columns, &names, cells.map(Some).to_vec());
}

/// Names as MariaDB reads them, whose keys have no case.
#[derive(Default)]
struct Names {
    /// Tables and names in small letters, with who of this file has them and his line.
    taken: HashMap<(&'static str, String), (String, u32)>,
    /// Names that stand in a table, by the same in small letters.
    standing: HashMap<&'static str, HashMap<String, Vec<String>>>,
}

impl Names {
    /// Why the database would refuse the whole file for this unit. `goes`: rows of this name are about to be removed.
    fn clash(
        &mut self,
        unit: &Unit,
        stand: &Stand,
        key: &str,
        goes: impl Fn(&str) -> bool,
    ) -> Option<String> {
        // Rows with a number of their own may bear any name.
        if stand.kind != Kind::MySql || described(unit.table).1.is_some() {
            return None;
        }
        let small = key.to_lowercase();
        let place = (unit.table, small.clone());
        let told = |other: &str| {
            format!(
                "{}: the database does not tell it from {other}, since its names have no case: not taken; \
                 give one of the two another name",
                unit.what
            )
        };
        if let Some((first, line)) = self.taken.get(&place) {
            return Some(told(&format!("{first} of line {line}")));
        }
        let standing = self.standing.entry(unit.table).or_insert_with(|| {
            let mut names: HashMap<String, Vec<String>> = HashMap::new();
            for known in stand.rows.keys() {
                let same = names.entry(known.to_lowercase()).or_default();
                same.push(known.clone());
            }
            names
        });
        let mut others = standing.get(&small).into_iter().flatten();
        if let Some(other) = others.find(|known| *known != key && !goes(known)) {
            return Some(told(&format!("{other} that is in {} already", unit.table)));
        }
        let named = (unit.what.clone(), unit.place.line);
        self.taken.insert(place, named);
        None
    }
}

/// One file, while its transaction is open.
struct Turn<'t> {
    replace: bool,
    source: &'t str,
    /// Tables that are there.
    stands: BTreeMap<&'static str, Stand>,
    remembered: Option<&'t Columns>,
    changes: Changes,
    records: Records,
    /// Places of all units of the file.
    wanted: BTreeSet<(String, String)>,
    names: Names,
    report: Report,
    findings: Findings,
}

impl Turn<'_> {
    fn unit(&mut self, unit: &Unit) {
        let Some(stand) = self.stands.get(unit.table) else {
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
        let cells = unit.key.iter().map(|(name, value)| (*name, value.as_str()));
        let others = unit.rows.iter().flatten();
        let cells = cells.chain(others.map(|(name, value)| (name.as_str(), value.as_str())));
        let mut left_out: BTreeSet<&str> = BTreeSet::new();
        for (column, value) in cells {
            let found = stand.columns.get(column);
            let Some(what) = found.and_then(|found| too_long(found, value)) else {
                continue;
            };
            if adorns(unit.table, column) {
                let what = format!("{}: {what}: left out, the default will count", unit.what);
                self.findings.decide(&unit.place, what);
                left_out.insert(column);
            } else {
                let what = format!(
                    "{}: {what}: not taken, since without it it would mean something else; make it shorter, or the column \
                     wider with `ALTER TABLE`",
                    unit.what
                );
                return self.findings.decide(&unit.place, what);
            }
        }
        let (records, source, wanted) = (&self.records, self.source, &self.wanted);
        // This file wrote it, and says it no more.
        let goes = |key: &str| {
            let place = (unit.table.to_owned(), key.to_owned());
            let ours = records
                .get(&place)
                .is_some_and(|record| record.source == source);
            ours && !wanted.contains(&place)
        };
        if let Some(what) = self.names.clash(unit, stand, &key, goes) {
            return self.findings.decide(&unit.place, what);
        }
        let rows = held(stand, unit, &left_out, &mut self.findings);
        let names = rows
            .iter()
            .flatten()
            .map(|(name, _)| name.to_ascii_lowercase());
        let columns: BTreeSet<String> = names.collect();
        let texts = rows.iter().map(|row| {
            let cells = row.iter();
            cells
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect()
        });
        let wanted = stand.content(&columns, texts);
        let now = stand.content_now(&key, &columns);
        let place = (unit.table.to_owned(), key.clone());
        let record = self.records.get(&place);
        let recorded = record.and_then(|record| stand.content_now(&key, &record.columns));
        let step = judge(&Situation {
            now: now.as_deref(),
            wanted: &wanted,
            record: record.map(|record| (record, recorded.as_deref().unwrap_or_default())),
            source: self.source,
            replace: self.replace,
        });
        let writes = matches!(step, Step::Add | Step::Change);
        // Both sides have come to say the same: that is what was imported, from now on.
        let agrees = step == Step::Same
            && record
                .is_some_and(|record| record.source == self.source && record.fingerprint != wanted);
        if writes {
            let former = record.map(|record| &record.columns);
            self.changes.write(stand, unit, &rows, &columns, former);
        }
        if writes || agrees {
            if record.is_some() {
                forget(&mut self.changes, &place);
            }
            let record = Record {
                source: self.source.to_owned(),
                columns,
                fingerprint: wanted,
            };
            if let Some(remembered) = self.remembered {
                remember(&mut self.changes, remembered, &place, &record);
            }
            self.records.insert(place, record);
        }
        self.done(unit, step);
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
    fn remove(&mut self, plan: &FilePlan, table: &'static str, key: &str) {
        let place = (table.to_owned(), key.to_owned());
        let Some(record) = self.records.get(&place) else {
            return;
        };
        let stand = self.stands.get(table);
        let now = stand.and_then(|stand| stand.content_now(key, &record.columns));
        let name = key.replace('|', ", ");
        if let (Some(stand), Some(now)) = (stand, now) {
            if now != record.fingerprint && !self.replace {
                let what = format!(
                    "{name} in {table} is in the file no more, but was changed here since it was imported: \
                     left as it is; `--replace` removes it"
                );
                return self.findings.decide(&plan.place(), what);
            }
            self.changes.remove(stand, table, key);
            self.report.removed += 1;
            let what = format!("{name} in {table} is in the file no more (removed)");
            self.findings.add(&plan.place(), Verdict::Taken, what);
        }
        if self.remembered.is_some() {
            forget(&mut self.changes, &place);
        }
        self.records.remove(&place);
    }
}

/// The rows of a unit as the table takes them; what it does not take is left out and told.
fn held(
    stand: &Stand,
    unit: &Unit,
    left_out: &BTreeSet<&str>,
    findings: &mut Findings,
) -> Vec<Values> {
    let mut rows = Vec::new();
    for row in &unit.rows {
        let mut values = Values::new();
        for (column, value) in row {
            if left_out.contains(column.as_str()) {
                continue;
            }
            let what = match stand.columns.get(column) {
                None => format!(
                    "{}: {} has no column {column}: left out; `ALTER TABLE` adds one",
                    unit.what, unit.table
                ),
                Some(found) => match found.take(stand.kind, value) {
                    Ok(value) => {
                        values.push((column.clone(), value));
                        continue;
                    }
                    Err(why) => {
                        let secret = SECRETS.iter().any(|name| name.eq_ignore_ascii_case(column));
                        let said = if secret { "..." } else { value };
                        format!(
                            "{}: {column} says `{said}`, and {why}: left out, the default will count",
                            unit.what
                        )
                    }
                },
            };
            findings.decide(&unit.place, what);
        }
        rows.push(values);
    }
    rows
}

fn missing(table: &str) -> StoreError {
    StoreError::Schema {
        table: table.into(),
        why: "does not exist; `strowger db migrate` makes it".into(),
    }
}

/// Whether an object means the same without this column.
fn adorns(table: &str, column: &str) -> bool {
    table == "ps_endpoints" && ADORNING.contains(&column)
}

/// Why a column cannot hold this text. Words that an enumeration lacks are another matter.
fn too_long(column: &Column, value: &str) -> Option<String> {
    if !column.labels.is_empty() {
        return None;
    }
    let length = value.chars().count();
    let limit = column.characters_max.filter(|limit| length > *limit)?;
    Some(format!(
        "column {} takes {limit} characters, and there are {length}",
        column.name
    ))
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
