//! Functions that `func_odbc.conf` defines: a read or write of SQL each, with the arguments as `ARG1`, `ARG2`...

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use strowger_core::dialplan::LocalFuture;
use strowger_dialplan::args;
use strowger_store::{Cell, Database, Rows, Snapshot};

use super::text::is_no;
use super::{Function, statement};
use crate::script::OWN_DSN;
use crate::task::Task;

const FILE: &str = "func_odbc.conf";
/// Results with several rows that a call keeps, and rows of one.
const RESULTS_MAX: usize = 16;
const ROWS_MAX: usize = 10_000;

pub(crate) const FUNCTIONS: &[Function] = &[Function::read(
    "ODBC_FETCH",
    "ODBC_FETCH(result)",
    "the next row of a result with several",
    fetch,
)];

/// Results of a call that are not read to their end.
#[derive(Default)]
pub(crate) struct Results {
    last: u64,
    left: BTreeMap<u64, Left>,
}

struct Left {
    columns: Vec<String>,
    rows: VecDeque<String>,
}

/// A function of the file.
#[derive(Debug, Default)]
struct Defined {
    read_dsn: Vec<String>,
    write_dsn: Vec<String>,
    read: String,
    write: String,
    insert: String,
    escapes: bool,
    several: bool,
    row_limit: Option<usize>,
    arguments_min: usize,
}

impl Defined {
    /// Rows that a read wants.
    fn rows_max(&self) -> usize {
        if self.several {
            self.row_limit.unwrap_or(ROWS_MAX).min(ROWS_MAX)
        } else {
            1
        }
    }
}

fn sections(snapshot: &Snapshot) -> Vec<(&str, &str, &str)> {
    let rows = snapshot.statics.iter().filter(|row| row.filename == FILE);
    rows.map(|row| {
        // Files may say `key => value`.
        let value = row.var_val.trim_start();
        let value = value.strip_prefix('>').map_or(value, str::trim_start);
        (&*row.category, &*row.var_name, value)
    })
    .collect()
}

fn full_name(section: &str, prefix: &str) -> String {
    let prefix = if prefix.is_empty() { "ODBC" } else { prefix };
    format!("{prefix}_{section}")
}

fn prefix_of<'r>(rows: &[(&str, &str, &'r str)], section: &str) -> &'r str {
    rows.iter()
        .rev()
        .find(|(category, name, _)| *category == section && *name == "prefix")
        .map_or("", |(_, _, value)| value.trim())
}

/// The names of all functions of the file.
pub(crate) fn names(snapshot: &Snapshot) -> Vec<String> {
    let rows = sections(snapshot);
    let mut names: Vec<String> = rows
        .iter()
        .filter(|(category, _, _)| *category != "general")
        .map(|(category, _, _)| full_name(category, prefix_of(&rows, category)))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Does the file define this function?
pub(crate) fn is_defined(snapshot: &Snapshot, name: &str) -> bool {
    name.contains('_') && find(snapshot, name).is_some()
}

fn find(snapshot: &Snapshot, name: &str) -> Option<Defined> {
    let rows = sections(snapshot);
    let section = rows
        .iter()
        .map(|(category, _, _)| *category)
        .find(|category| {
            *category != "general"
                && name.ends_with(category)
                && full_name(category, prefix_of(&rows, category)) == name
        })?;
    let mut found = Defined {
        escapes: true,
        ..Defined::default()
    };
    let list = |value: &str| {
        let names = value.split(',').map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    for (_, key, value) in rows.iter().filter(|(category, _, _)| *category == section) {
        match key.to_ascii_lowercase().as_str() {
            "dsn" => {
                found.read_dsn = list(value);
                found.write_dsn = list(value);
            }
            "readhandle" => found.read_dsn = list(value),
            "writehandle" => found.write_dsn = list(value),
            "readsql" | "read" => (*value).clone_into(&mut found.read),
            "writesql" | "write" => (*value).clone_into(&mut found.write),
            "insertsql" | "insert" => (*value).clone_into(&mut found.insert),
            "escapecommas" => found.escapes = !is_no(value),
            "mode" => found.several = value.trim().eq_ignore_ascii_case("multirow"),
            "rowlimit" => found.row_limit = value.trim().parse().ok(),
            "minargs" => found.arguments_min = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    Some(found)
}

/// What is wrong with the file before a call finds out. `databases`: those that the configuration names.
pub(crate) fn problems(snapshot: &Snapshot, databases: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for name in names(snapshot) {
        let Some(found) = find(snapshot, &name) else {
            continue;
        };
        if found.read.trim().is_empty() && found.write.trim().is_empty() {
            problems.push(format!("{FILE}: {name} has neither readsql nor writesql"));
        }
        let mut dsns: Vec<&String> = found.read_dsn.iter().chain(&found.write_dsn).collect();
        if dsns.is_empty() {
            problems.push(format!("{FILE}: {name} has no dsn"));
        }
        dsns.sort_unstable();
        dsns.dedup();
        for dsn in dsns {
            if dsn != OWN_DSN && !databases.contains(&dsn.as_str()) {
                problems.push(format!(
                    "{FILE}: {name} asks the database \"{dsn}\", which the configuration does not name: write [sql.{dsn}] url = \"...\", or dsn = {OWN_DSN} for the exchange's own"
                ));
            }
        }
    }
    problems
}

/// The databases of a statement, in the order in which they are asked.
fn databases(task: &Task, names: &[String]) -> Result<Vec<Arc<Database>>, String> {
    if names.is_empty() {
        return Err(format!(
            "{FILE}: dsn is missing; it names a database of the configuration ([sql.NAME])"
        ));
    }
    let services = task.host.services();
    names
        .iter()
        .map(|name| services.databases.of_dsn(name))
        .collect()
}

/// Arguments while a statement is put together; what they hid comes back.
struct Arguments<'t> {
    task: &'t Task,
    hidden: Vec<(String, Option<String>)>,
}

impl<'t> Arguments<'t> {
    fn set(task: &'t Task, values: &[(String, String)]) -> Self {
        let hidden = values
            .iter()
            .map(|(name, value)| {
                let before = task.channel.variable(name);
                task.channel.set_variable(name, value);
                (name.clone(), before)
            })
            .collect();
        Self { task, hidden }
    }
}

impl Drop for Arguments<'_> {
    fn drop(&mut self) {
        for (name, before) in self.hidden.drain(..).rev() {
            match before {
                Some(value) => self.task.channel.set_variable(&name, &value),
                None => {
                    self.task.channel.data_mut().variables.remove(&name);
                }
            }
        }
    }
}

fn arguments(args: &str) -> Vec<(String, String)> {
    (1..)
        .zip(args::split(args))
        .map(|(number, value)| (format!("ARG{number}"), value))
        .collect()
}

fn set(task: &Task, name: &str, value: &str) {
    task.channel.set_variable(name, value);
}

/// Reads a function of the file.
pub(crate) async fn read(task: Rc<Task>, name: String, args: String) -> Result<String, String> {
    set(&task, "ODBCSTATUS", "FAILURE");
    set(&task, "ODBCROWS", "-1");
    statement::tell_columns(&task, &Rows::default());
    let found = find(&task.shared().snapshot(), &name)
        .ok_or_else(|| format!("there is no function {name}"))?;
    if found.read.trim().is_empty() {
        return Err(format!("{name} can only be written: {FILE} has no readsql"));
    }
    let given = arguments(&args);
    if given.len() < found.arguments_min {
        return Err(format!(
            "{name} takes {} arguments at least",
            found.arguments_min
        ));
    }
    let mut error = String::new();
    for database in databases(&task, &found.read_dsn)? {
        let sql = {
            let _set = Arguments::set(&task, &given);
            statement::compose(&task, database.kind(), &found.read).await?
        };
        match sql.rows(&task, database, found.rows_max()).await {
            Ok(rows) => return Ok(tell(&task, &found, &rows)),
            // The next of them may answer.
            Err(why) => error = why,
        }
    }
    Err(error)
}

fn tell(task: &Task, found: &Defined, rows: &Rows) -> String {
    set(task, "ODBCROWS", &rows.rows.len().to_string());
    statement::tell_columns(task, rows);
    let status = if rows.rows.is_empty() {
        "NODATA"
    } else {
        "SUCCESS"
    };
    set(task, "ODBCSTATUS", status);
    let texts = |row: &Vec<Cell>| statement::joined(row, found.escapes);
    if !found.several {
        return rows.rows.first().map(texts).unwrap_or_default();
    }
    if rows.rows.is_empty() {
        return String::new();
    }
    let left = Left {
        columns: rows.columns.clone(),
        rows: rows.rows.iter().map(texts).collect(),
    };
    let mut results = task.results.borrow_mut();
    if results.left.len() >= RESULTS_MAX {
        results.left.pop_first();
    }
    results.last += 1;
    let id = results.last;
    results.left.insert(id, left);
    id.to_string()
}

fn fetch(task: &Task, args: &str) -> Result<String, String> {
    let row = args.trim().parse().ok().and_then(|id: u64| {
        let mut results = task.results.borrow_mut();
        let left = results.left.get_mut(&id)?;
        let row = left.rows.pop_front();
        if row.is_some() {
            statement::tell_names(task, &left.columns);
        } else {
            results.left.remove(&id);
        }
        row
    });
    let status = if row.is_some() { "SUCCESS" } else { "FAILURE" };
    set(task, "ODBC_FETCH_STATUS", status);
    Ok(row.unwrap_or_default())
}

/// `ODBCFinish`: the rest of a result is not wanted.
pub(crate) fn finish(task: &Task, id: &str) {
    if let Ok(id) = id.trim().parse::<u64>() {
        task.results.borrow_mut().left.remove(&id);
    }
}

/// Writes a function of the file.
pub(crate) fn write(
    task: Rc<Task>,
    name: String,
    args: String,
    value: String,
) -> LocalFuture<Result<(), String>> {
    Box::pin(async move {
        set(&task, "ODBCSTATUS", "FAILURE");
        set(&task, "ODBCROWS", "-1");
        let found = find(&task.shared().snapshot(), &name)
            .ok_or_else(|| format!("there is no function {name}"))?;
        if found.write.trim().is_empty() {
            return Err(format!("{name} can only be read: {FILE} has no writesql"));
        }
        let mut given = arguments(&args);
        for (number, value) in (1..).zip(args::split(&value)) {
            given.push((format!("VAL{number}"), value));
        }
        given.push(("VALUE".to_owned(), value));
        let mut error = String::new();
        for database in databases(&task, &found.write_dsn)? {
            match change(&task, &found.write, &given, &database).await {
                Ok(0) if !found.insert.trim().is_empty() => {
                    let count = change(&task, &found.insert, &given, &database).await?;
                    return done(&task, count);
                }
                Ok(count) => return done(&task, count),
                Err(why) => error = why,
            }
        }
        Err(error)
    })
}

fn done(task: &Task, count: u64) -> Result<(), String> {
    set(task, "ODBCROWS", &count.to_string());
    let status = if count == 0 { "NODATA" } else { "SUCCESS" };
    set(task, "ODBCSTATUS", status);
    Ok(())
}

async fn change(
    task: &Rc<Task>,
    text: &str,
    given: &[(String, String)],
    database: &Arc<Database>,
) -> Result<u64, String> {
    let sql = {
        let _set = Arguments::set(task, given);
        statement::compose(task, database.kind(), text).await?
    };
    sql.change(task, Arc::clone(database)).await
}

#[cfg(test)]
mod tests {
    use strowger_store::StaticRow;

    use super::*;

    fn snapshot(rows: &[(&str, &str, &str)]) -> Snapshot {
        Snapshot {
            statics: Arc::new(
                rows.iter()
                    .map(|(category, name, value)| StaticRow {
                        filename: FILE.to_owned(),
                        category: (*category).to_owned(),
                        var_name: (*name).to_owned(),
                        var_val: (*value).to_owned(),
                        ..StaticRow::default()
                    })
                    .collect(),
            ),
            ..Snapshot::default()
        }
    }

    #[test]
    fn functions_have_the_names_of_their_sections_and_prefixes() {
        let snapshot = snapshot(&[
            ("general", "single_db_connection", "no"),
            ("NAME", "dsn", "crm, backup"),
            ("NAME", "readsql", "> SELECT 1"),
            ("BALANCE", "prefix", "CRM"),
            ("BALANCE", "dsn", "asterisk"),
            ("BALANCE", "mode", "multirow"),
            ("BALANCE", "escapecommas", "no"),
            ("BALANCE", "rowlimit", "5"),
        ]);
        assert_eq!(names(&snapshot), ["CRM_BALANCE", "ODBC_NAME"]);
        let name = find(&snapshot, "ODBC_NAME").expect("defined");
        assert_eq!(name.read_dsn, ["crm", "backup"]);
        assert_eq!(name.write_dsn, name.read_dsn);
        assert!(name.escapes && !name.several);
        assert_eq!(name.read, "SELECT 1");
        let balance = find(&snapshot, "CRM_BALANCE").expect("defined");
        assert!(balance.several && !balance.escapes && balance.row_limit == Some(5));
        let problems = problems(&snapshot, &["crm"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("CRM_BALANCE") && problems[0].contains("readsql"));
        assert!(problems[1].contains("\"backup\"") && problems[1].contains("[sql.backup]"));
        for other in ["ODBC_BALANCE", "NAME", "ODBC_general", "ODBC_"] {
            assert!(!is_defined(&snapshot, other), "{other}");
        }
    }
}
