//! `REALTIME` and its companions: rows of the tables that the exchange itself lives on, by the families of `extconfig.conf`.

use std::rc::Rc;

use strowger_core::dialplan::LocalFuture;
use strowger_dialplan::args;
use strowger_store::{Rows, Snapshot, Table};

use super::Function;
use super::statement::{self, Sql};
use crate::task::Task;

/// Tables that are no part of a snapshot, and can be named all the same.
const OTHERS: [&str; 6] = [
    "ps_contacts",
    "cdr",
    "queue_log",
    "acls",
    "voicemail_data",
    "meetme",
];
/// Columns of one new row.
const COLUMNS_MAX: usize = 30;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::waiting(
        "REALTIME",
        "REALTIME(family,column[,value[,delimiter1[,delimiter2]]])",
        "a row of a table; written, a column of it: REALTIME(family,column,value,changed)=",
        |task, args| Box::pin(async move { row(&task, &args).await }),
    )
    .later(|task, args, value| Box::pin(async move { update(&task, &args, &value).await })),
    Function::waiting(
        "REALTIME_FIELD",
        "REALTIME_FIELD(family,column,value,wanted)",
        "one column of a row",
        |task, args| Box::pin(async move { field(&task, &args).await }),
    ),
    Function::waiting(
        "REALTIME_HASH",
        "REALTIME_HASH(family,column,value)",
        "a row for Set(HASH(name)=...)",
        |task, args| Box::pin(async move { hash(&task, &args).await }),
    ),
    Function::writing(
        "REALTIME_STORE",
        "REALTIME_STORE(family,column1,column2,...)",
        "makes a row: REALTIME_STORE(...)=value1,value2,...",
        |task, args, value| Box::pin(async move { store(&task, &args, &value).await }),
    ),
    Function::waiting(
        "REALTIME_DESTROY",
        "REALTIME_DESTROY(family,column,value[,delimiter1[,delimiter2]])",
        "deletes rows and gives the first",
        |task, args| Box::pin(async move { take(&task, &args).await }),
    )
    .later(|task, args, _| {
        Box::pin(async move {
            let parts = args::split(&args);
            destroy(&task, &parts).await.map(drop)
        })
    }),
];

/// What a write that waits gives.
pub(super) type Written = LocalFuture<Result<(), String>>;

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// The table of a family.
fn table_of(snapshot: &Snapshot, family: &str) -> Result<String, String> {
    let family = family.trim();
    let mapped = snapshot.statics.iter().rev().find(|row| {
        row.filename == "extconfig.conf" && row.category == "settings" && row.var_name == family
    });
    let table = match mapped {
        Some(row) => {
            let mut parts = row.var_val.trim_start_matches('>').split(',').skip(2);
            let table = parts.next().map(str::trim).unwrap_or_default();
            if table.is_empty() { family } else { table }.to_owned()
        }
        None if family == "extensions" => Table::Extensions.name().to_owned(),
        None if OTHERS.contains(&family)
            || Table::ALL.iter().any(|table| table.name() == family) =>
        {
            family.to_owned()
        }
        None => {
            return Err(format!(
                "there is no family \"{family}\": name it in extconfig.conf, section settings"
            ));
        }
    };
    if is_name(&table) {
        Ok(table)
    } else {
        Err(format!("extconfig.conf: \"{table}\" is no name of a table"))
    }
}

fn column(name: &str) -> Result<&str, String> {
    let name = name.trim();
    if is_name(name) {
        Ok(name)
    } else {
        Err(format!("\"{name}\" is no name of a column"))
    }
}

/// ` WHERE column = value`; the column may have an operator behind it (`exten LIKE`).
fn condition(sql: &mut Sql, wanted: &str, value: &str) -> Result<(), String> {
    let (name, operator) = match wanted.trim().split_once(char::is_whitespace) {
        None => (wanted.trim(), "="),
        Some((name, operator)) => {
            let known = ["=", "<>", "!=", "<", ">", "<=", ">=", "LIKE", "NOT LIKE"];
            let operator = operator.trim().to_ascii_uppercase();
            let found = known.iter().find(|known| **known == operator);
            let found = found.ok_or_else(|| {
                format!(
                    "operator \"{operator}\" is not known; known are {}",
                    known.join(" ")
                )
            })?;
            (name, *found)
        }
    };
    sql.push(" WHERE ");
    sql.name(column(name)?);
    sql.push(&format!(" {operator} "));
    sql.value(value)
}

async fn select(task: &Rc<Task>, parts: &[String]) -> Result<Rows, String> {
    let [family, wanted, rest @ ..] = parts else {
        return Err("a family and a column are needed".to_owned());
    };
    let database = task.host.services().databases.own()?;
    let mut sql = Sql::new(database.kind());
    sql.push("SELECT * FROM ");
    sql.name(&table_of(&task.shared().snapshot(), family)?);
    let value = rest.first().map(String::as_str).unwrap_or_default();
    condition(&mut sql, wanted, value)?;
    sql.push(" LIMIT 1");
    sql.rows(task, database, 1).await
}

/// `name=value,name=value`; what is NULL is left out.
fn pairs(rows: &Rows, parts: &[String]) -> String {
    let delimiter = |index: usize, usual: &'static str| {
        let given = parts.get(index).map(String::as_str);
        given.filter(|text| !text.is_empty()).unwrap_or(usual)
    };
    let (between, equals) = (delimiter(3, ","), delimiter(4, "="));
    let Some(row) = rows.rows.first() else {
        return String::new();
    };
    let pairs: Vec<String> = rows
        .columns
        .iter()
        .zip(row)
        .filter(|(_, cell)| **cell != strowger_store::Cell::Null)
        .map(|(name, cell)| format!("{name}{equals}{}", statement::text_of(cell)))
        .collect();
    pairs.join(between)
}

async fn row(task: &Rc<Task>, args: &str) -> Result<String, String> {
    let parts = args::split(args);
    Ok(pairs(&select(task, &parts).await?, &parts))
}

async fn field(task: &Rc<Task>, args: &str) -> Result<String, String> {
    let parts = args::split(args);
    let [_, _, _, wanted, ..] = parts.as_slice() else {
        return Err(
            "REALTIME_FIELD takes a family, a column, its value and the column that is wanted"
                .to_owned(),
        );
    };
    let wanted = column(wanted)?;
    let rows = select(task, &parts).await?;
    let place = rows.columns.iter().position(|name| name == wanted);
    match (place, rows.rows.first()) {
        (Some(place), Some(row)) => Ok(row.get(place).map(statement::text_of).unwrap_or_default()),
        (None, Some(_)) => Err(format!("the table has no column \"{wanted}\"")),
        (_, None) => Ok(String::new()),
    }
}

async fn hash(task: &Rc<Task>, args: &str) -> Result<String, String> {
    statement::tell_columns(task, &Rows::default());
    let rows = select(task, &args::split(args)).await?;
    statement::tell_columns(task, &rows);
    let row = rows.rows.first();
    Ok(row
        .map(|row| statement::joined(row, true))
        .unwrap_or_default())
}

async fn change(task: &Rc<Task>, sql: Sql) -> Result<u64, String> {
    let database = task.host.services().databases.own()?;
    sql.change(task, database).await
}

fn begin(task: &Task, verb: &str, family: &str) -> Result<Sql, String> {
    let database = task.host.services().databases.own()?;
    let mut sql = Sql::new(database.kind());
    sql.push(verb);
    sql.name(&table_of(&task.shared().snapshot(), family)?);
    Ok(sql)
}

async fn update(task: &Rc<Task>, args: &str, value: &str) -> Result<(), String> {
    let parts = args::split(args);
    let [family, wanted, match_value, changed, ..] = parts.as_slice() else {
        return Err(
            "write it as REALTIME(family,column,value,changed column)=new value".to_owned(),
        );
    };
    let mut sql = begin(task, "UPDATE ", family)?;
    sql.push(" SET ");
    sql.name(column(changed)?);
    sql.push(" = ");
    sql.value(value)?;
    condition(&mut sql, wanted, match_value)?;
    match change(task, sql).await? {
        0 => Err(format!("no row has {wanted} {match_value}")),
        _ => Ok(()),
    }
}

async fn store(task: &Rc<Task>, args: &str, value: &str) -> Result<(), String> {
    task.channel.set_variable("REALTIMESTOREID", "-1");
    let parts = args::split(args);
    let Some((family, columns)) = parts.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err("write it as REALTIME_STORE(family,column1,...)=value1,...".to_owned());
    };
    if columns.len() > COLUMNS_MAX {
        return Err(format!("more than {COLUMNS_MAX} columns"));
    }
    let values = args::split(value);
    let mut sql = begin(task, "INSERT INTO ", family)?;
    for (index, name) in columns.iter().enumerate() {
        sql.push(if index == 0 { " (" } else { ", " });
        sql.name(column(name)?);
    }
    for index in 0..columns.len() {
        sql.push(if index == 0 { ") VALUES (" } else { ", " });
        sql.value(values.get(index).map(String::as_str).unwrap_or_default())?;
    }
    sql.push(")");
    let count = change(task, sql).await?;
    task.channel
        .set_variable("REALTIMESTOREID", &count.to_string());
    Ok(())
}

async fn destroy(task: &Rc<Task>, parts: &[String]) -> Result<u64, String> {
    let [family, wanted, value, ..] = parts else {
        return Err("REALTIME_DESTROY takes a family, a column and its value".to_owned());
    };
    let mut sql = begin(task, "DELETE FROM ", family)?;
    condition(&mut sql, wanted, value)?;
    change(task, sql).await
}

async fn take(task: &Rc<Task>, args: &str) -> Result<String, String> {
    let parts = args::split(args);
    let rows = select(task, &parts).await?;
    destroy(task, &parts).await?;
    Ok(pairs(&rows, &parts))
}
