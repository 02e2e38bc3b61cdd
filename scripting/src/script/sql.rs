//! `sql`: the databases that the configuration names (`[sql.NAME]`). Values travel as parameters only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mlua::{IntoLuaMulti as _, Lua, LuaString, MultiValue, Table, Value};
use strowger_core::Config;
use strowger_store::{Cell, Database, Rows, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::services::Services;
use super::values::{Copies, Options};
use super::{api, current};

/// Statements of all calls at once.
const STATEMENTS_MAX: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to the exchange's own database, besides those that it needs itself.
const OWN_CONNECTIONS: u32 = 4;
/// The DSN of that database.
pub(crate) const OWN_DSN: &str = "asterisk";
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Rows of an answer, unless the script allows more or less.
const ROWS: i64 = 1000;
const ROWS_MAX: i64 = 10_000;
const PARAMETERS_MAX: usize = 100;
/// Bytes of all parameters together.
const PARAMETERS_BYTES_MAX: usize = 4 * 1024 * 1024;
const STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// The databases by name.
pub(crate) struct Databases {
    named: BTreeMap<String, Arc<Database>>,
    /// That of the exchange itself, for functions of the dialplan.
    own: Option<Arc<Database>>,
    running: Arc<Semaphore>,
}

impl Default for Databases {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            own: None,
            running: Arc::new(Semaphore::new(STATEMENTS_MAX)),
        }
    }
}

impl Databases {
    /// The databases of a configuration; none of them is connected before it is needed. What is wrong is logged.
    pub(crate) fn of(config: &Config) -> Self {
        let mut databases = Self::default();
        for (name, database) in &config.sql {
            match Database::new(
                &database.url,
                &config.data.0,
                database.connections,
                database.read_only,
            ) {
                Ok(made) => {
                    databases.named.insert(name.clone(), Arc::new(made));
                }
                Err(error) => tracing::error!("configuration key sql.{name}.url: {error}"),
            }
        }
        let own = &config.database;
        match Database::new(&own.url, &config.data.0, OWN_CONNECTIONS, false) {
            Ok(made) => databases.own = Some(Arc::new(made)),
            Err(error) => tracing::error!("configuration key database.url: {error}"),
        }
        databases
    }

    /// The database of the exchange itself.
    pub(crate) fn own(&self) -> Result<Arc<Database>, String> {
        self.own
            .clone()
            .ok_or_else(|| "there is no database".to_owned())
    }

    /// The database that a DSN of `func_odbc.conf` means.
    pub(crate) fn of_dsn(&self, name: &str) -> Result<Arc<Database>, String> {
        match self.named.get(name) {
            Some(database) => Ok(Arc::clone(database)),
            None if name == OWN_DSN => self.own(),
            None => {
                let mut known: Vec<&str> = self.named.keys().map(String::as_str).collect();
                known.push(OWN_DSN);
                Err(format!(
                    "there is no database \"{name}\"; the configuration names it as [sql.{name}]; there are: {}",
                    known.join(", ")
                ))
            }
        }
    }

    /// Reads rows for a function of the dialplan, `most` of them at most.
    pub(crate) fn rows(
        &self,
        database: Arc<Database>,
        statement: String,
        parameters: Vec<Cell>,
        most: usize,
    ) -> Result<impl Future<Output = Result<Rows, String>> + Send + use<>, String> {
        let permit = self.permit()?;
        Ok(async move {
            let _permit = permit;
            in_time(database.query_first(&statement, parameters, most)).await
        })
    }

    /// Runs a statement of a function of the dialplan that changes something.
    pub(crate) fn change(
        &self,
        database: Arc<Database>,
        statement: String,
        parameters: Vec<Cell>,
    ) -> Result<impl Future<Output = Result<u64, String>> + Send + use<>, String> {
        let permit = self.permit()?;
        Ok(async move {
            let _permit = permit;
            in_time(database.change(&statement, parameters)).await
        })
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, String> {
        Arc::clone(&self.running).try_acquire_owned().map_err(|_| {
            format!("{STATEMENTS_MAX} statements are under way already on this exchange")
        })
    }

    fn get(&self, name: &str) -> mlua::Result<Arc<Database>> {
        self.named.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
            mlua::Error::runtime(if known.is_empty() {
                format!("sql: there is no database \"{name}\"; the configuration names none ([sql.{name}] url = ...)")
            } else {
                format!(
                    "sql: there is no database \"{name}\"; there are: {}",
                    known.join(", ")
                )
            })
        })
    }
}

async fn in_time<R>(work: impl Future<Output = Result<R, StoreError>>) -> Result<R, String> {
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

struct Asked {
    database: Arc<Database>,
    statement: String,
    parameters: Vec<Cell>,
    timeout: Duration,
    rows_max: usize,
}

fn asked(
    services: &Services,
    name: &LuaString,
    statement: &LuaString,
    parameters: Option<&Table>,
    options: Option<&Table>,
) -> mlua::Result<Asked> {
    let database = services.databases.get(&name.to_string_lossy())?;
    let length = statement.as_bytes().len();
    if length > STATEMENT_BYTES_MAX {
        return Err(mlua::Error::runtime(format!(
            "sql: the statement has {length} bytes; {STATEMENT_BYTES_MAX} are allowed"
        )));
    }
    let statement = statement.to_string_lossy();
    let mut copies = Copies::new(PARAMETERS_BYTES_MAX);
    let mut cells = Vec::new();
    if let Some(parameters) = parameters {
        for index in 1..=parameters.raw_len() {
            if index > PARAMETERS_MAX {
                return Err(mlua::Error::runtime(format!(
                    "sql: more than {PARAMETERS_MAX} parameters"
                )));
            }
            let value = parameters.raw_get::<Value>(index)?;
            copies.take(&value, "sql: parameters")?;
            cells.push(match value {
                value if value.is_nil() || value == Value::NULL => Cell::Null,
                Value::Boolean(flag) => Cell::Flag(flag),
                Value::Integer(number) => Cell::Integer(number),
                Value::Number(number) => Cell::Real(number),
                Value::String(text) => match text.to_str() {
                    Ok(text) => Cell::Text(text.to_owned()),
                    Err(_) => Cell::Bytes(text.as_bytes().to_vec()),
                },
                other => {
                    return Err(mlua::Error::runtime(format!(
                        "sql: parameter {index} is a {}; allowed are strings, numbers, booleans and json.null",
                        other.type_name()
                    )));
                }
            });
        }
    }
    let options = Options::new(options, "sql", &["timeout", "max_rows"])?;
    let timeout = options.seconds("timeout")?.unwrap_or(TIMEOUT);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err(mlua::Error::runtime(format!(
            "sql: timeout is more than 0 and at most {} seconds",
            TIMEOUT_MAX.as_secs()
        )));
    }
    Ok(Asked {
        database,
        statement,
        parameters: cells,
        timeout,
        rows_max: options.count("max_rows", 1, ROWS_MAX)?.unwrap_or(ROWS) as usize,
    })
}

fn table(lua: &Lua, rows: Rows) -> mlua::Result<Table> {
    let list = lua.create_table_with_capacity(rows.rows.len(), 0)?;
    for (index, row) in rows.rows.into_iter().enumerate() {
        let entry = lua.create_table_with_capacity(0, row.len())?;
        for (column, cell) in rows.columns.iter().zip(row) {
            let value = match cell {
                Cell::Null => continue,
                Cell::Flag(flag) => Value::Boolean(flag),
                // Numbers of Lua hold whole numbers up to 2^53 exactly; larger ones stay texts.
                Cell::Integer(number) if number.unsigned_abs() > 1 << 53 => {
                    Value::String(lua.create_string(number.to_string())?)
                }
                Cell::Integer(number) => Value::Number(number as f64),
                Cell::Real(number) => Value::Number(number),
                Cell::Text(text) => Value::String(lua.create_string(text)?),
                Cell::Bytes(bytes) => Value::String(lua.create_string(bytes)?),
            };
            entry.raw_set(column.as_str(), value)?;
        }
        list.raw_set(index + 1, entry)?;
    }
    Ok(list)
}

async fn run(
    lua: Lua,
    services: Arc<Services>,
    asked: mlua::Result<Asked>,
    writes: bool,
) -> mlua::Result<MultiValue> {
    let task = current::task();
    let (asked, task) = (asked?, task?);
    let refused = |why: String| (Value::Nil, why).into_lua_multi(&lua);
    if task.rehearsal.is_some() {
        return refused("a test of the dialplan asks no databases".to_owned());
    }
    let Ok(permit) = Arc::clone(&services.databases.running).try_acquire_owned() else {
        return refused(format!(
            "{STATEMENTS_MAX} statements are under way already on this exchange"
        ));
    };
    let control = task.shared().control.clone();
    // A statement that changes something is not left half done because its caller hangs up: it goes on by itself.
    let done = control.spawn(async move {
        let _permit = permit;
        let work = async {
            if writes {
                asked
                    .database
                    .change(&asked.statement, asked.parameters)
                    .await
                    .map(Done::Changed)
            } else {
                asked
                    .database
                    .query(&asked.statement, asked.parameters, asked.rows_max)
                    .await
                    .map(Done::Rows)
            }
        };
        match tokio::time::timeout(asked.timeout, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "no answer within {} s",
                asked.timeout.as_secs_f64()
            )),
        }
    });
    match done.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(Done::Rows(rows)) => (table(&lua, rows)?, Value::Nil).into_lua_multi(&lua),
        Ok(Done::Changed(count)) => (count, Value::Nil).into_lua_multi(&lua),
        Err(why) => refused(why),
    }
}

/// What became of a statement.
#[derive(Debug)]
pub(crate) enum Done {
    Rows(Rows),
    Changed(u64),
}

/// Puts `sql` into `api`.
pub(super) fn add(lua: &Lua, api: &Table, services: &Arc<Services>) -> mlua::Result<()> {
    let sql = lua.create_table()?;
    for (name, writes) in [("query", false), ("execute", true)] {
        let shared = Arc::clone(services);
        sql.set(
            name,
            lua.create_async_function(
                move |lua,
                      (database, statement, parameters, options): (
                    LuaString,
                    LuaString,
                    Option<Table>,
                    Option<Table>,
                )| {
                    let asked = asked(
                        &shared,
                        &database,
                        &statement,
                        parameters.as_ref(),
                        options.as_ref(),
                    );
                    run(lua, Arc::clone(&shared), asked, writes)
                },
            )?,
        )?;
    }
    api::library(api, "sql", sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_beyond_what_a_number_holds_stay_texts() {
        let lua = Lua::new();
        let rows = Rows {
            columns: vec!["small".to_owned(), "large".to_owned(), "none".to_owned()],
            rows: vec![vec![Cell::Integer(7), Cell::Integer(i64::MAX), Cell::Null]],
        };
        lua.globals()
            .set("rows", table(&lua, rows).expect("a table"))
            .expect("set");
        let shown: String = lua
            .load("return rows[1].small .. '/' .. rows[1].large .. '/' .. tostring(rows[1].none)")
            .eval()
            .expect("shown");
        assert_eq!(shown, "7/9223372036854775807/nil");
    }

    #[test]
    fn an_unknown_database_is_told_with_the_known_ones() {
        let error = Databases::default()
            .get("crm")
            .err()
            .expect("none")
            .to_string();
        assert!(error.contains("[sql.crm]"), "{error}");
    }
}
