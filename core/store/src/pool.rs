//! The three engines behind one face: statements with text parameters in, rows of text out. Everything above builds
//! SQL through [`Kind`] and never names a driver.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection as _, MySql, Postgres, Row as _, Sqlite};

use crate::url::Target;

/// How long a connection may take, and how long a statement waits for a free one.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a statement may take before the server counts as down.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections kept at most.
const CONNECTIONS: u32 = 4;

/// The engine behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SQLite.
    Sqlite,
    /// MariaDB or MySQL.
    MySql,
    /// PostgreSQL.
    Postgres,
}

impl Kind {
    /// A quoted identifier.
    #[must_use]
    pub fn quote(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{}`", name.replace('`', "``")),
            Self::Sqlite | Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// The `n`th parameter (from 1), taken as text.
    pub(crate) fn parameter(self, n: usize) -> String {
        match self {
            Self::Sqlite => format!("?{n}"),
            Self::MySql => "?".to_owned(),
            Self::Postgres => format!("${n}"),
        }
    }

    /// A column, given back as text.
    pub(crate) fn as_text(self, expression: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST({expression} AS TEXT)"),
            Self::MySql => format!("CAST({expression} AS CHAR)"),
            Self::Postgres => format!("CAST({expression} AS TEXT)"),
        }
    }
}

/// A statement and its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Option<String>>,
}

impl Statement {
    pub(crate) fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            parameters: Vec::new(),
        }
    }

    pub(crate) fn with(sql: impl Into<String>, parameters: Vec<Option<String>>) -> Self {
        Self {
            sql: sql.into(),
            parameters,
        }
    }
}

/// A row of text cells; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

/// Pools of connections, one variant an engine.
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// Runs `$body` with `$pool` bound to the pool of whichever engine.
macro_rules! each {
    ($self:expr, $pool:ident => $body:expr) => {
        match $self {
            Pool::Sqlite($pool) => $body,
            Pool::MySql($pool) => $body,
            Pool::Postgres($pool) => $body,
        }
    };
}

/// A statement that takes too long counts as a dead connection.
async fn timed<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no answer within {} s", STATEMENT_TIMEOUT.as_secs()),
        ))),
    }
}

/// Options of a SQLite file. A file that exists keeps its journal mode: others may rely on it.
pub(crate) fn sqlite_options(path: &std::path::Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(false)
        .row_buffer_size(4096)
        // A record counts as stored once it is in the table, so a commit has to survive a power cut.
        .synchronous(SqliteSynchronous::Full);
    if path.exists() {
        options
    } else {
        options.journal_mode(SqliteJournalMode::Wal)
    }
}

impl Pool {
    /// Opens a pool after one connection was made, so that the error is the server's own.
    pub(crate) async fn open(target: &Target) -> Result<Self, sqlx::Error> {
        let connect = async {
            Ok(match target {
                Target::Sqlite(path) => {
                    let options = sqlite_options(path);
                    sqlx::SqliteConnection::connect_with(&options)
                        .await?
                        .close()
                        .await?;
                    let pool = SqlitePoolOptions::new()
                        .max_connections(CONNECTIONS)
                        .acquire_timeout(CONNECT_TIMEOUT);
                    Self::Sqlite(pool.connect_lazy_with(options))
                }
                Target::MySql(options) => {
                    sqlx::MySqlConnection::connect_with(options)
                        .await?
                        .close()
                        .await?;
                    let pool = MySqlPoolOptions::new()
                        .max_connections(CONNECTIONS)
                        .acquire_timeout(CONNECT_TIMEOUT);
                    Self::MySql(pool.connect_lazy_with((**options).clone()))
                }
                Target::Postgres(options) => {
                    sqlx::PgConnection::connect_with(options)
                        .await?
                        .close()
                        .await?;
                    let pool = PgPoolOptions::new()
                        .max_connections(CONNECTIONS)
                        .acquire_timeout(CONNECT_TIMEOUT);
                    Self::Postgres(pool.connect_lazy_with((**options).clone()))
                }
            })
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(result) => result,
            Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            ))),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::MySql(_) => Kind::MySql,
            Self::Postgres(_) => Kind::Postgres,
        }
    }

    /// Runs a query whose columns are all text, and shows each row as a function from place to text.
    pub(crate) async fn each_row(
        &self,
        statement: Statement,
        mut row: impl for<'r> FnMut(&'r dyn Fn(usize) -> Option<&'r str>) + Send,
    ) -> Result<(), sqlx::Error> {
        timed(async {
            each!(self, pool => {
                let mut query = sqlx::query(AssertSqlSafe(statement.sql));
                for parameter in statement.parameters {
                    query = query.bind(parameter);
                }
                let mut rows = query.fetch(pool);
                while let Some(found) = rows.try_next().await? {
                    row(&|index| found.try_get_unchecked::<Option<&str>, _>(index).ok().flatten());
                }
                Ok(())
            })
        })
        .await
    }

    /// As [`Pool::each_row`] for a query with many rows and few columns, which are named `c1`, `c2` and so on. SQLite's
    /// driver hands over row by row between threads, which costs more than the rows; there all of them come as one text.
    pub(crate) async fn each_of_many_rows(
        &self,
        statement: Statement,
        columns: usize,
        mut row: impl for<'r> FnMut(&'r dyn Fn(usize) -> Option<&'r str>) + Send,
    ) -> Result<(), sqlx::Error> {
        if matches!(self, Self::Sqlite(_)) {
            let names: Vec<_> = (1..=columns).map(|n| format!("c{n}")).collect();
            let sql = format!(
                "SELECT json_group_array(json_array({})) FROM ({})",
                names.join(", "),
                statement.sql
            );
            let packed = self
                .value(Statement::with(sql, statement.parameters.clone()))
                .await?
                .unwrap_or_default();
            // Text that is no UTF-8 makes no JSON either; then it goes the slow way.
            if let Ok(rows) = serde_json::from_str::<Vec<TextRow>>(&packed) {
                for found in rows {
                    row(&|index| found.get(index)?.as_deref());
                }
                return Ok(());
            }
        }
        self.each_row(statement, row).await
    }

    /// All rows of a query whose columns are all text.
    pub(crate) async fn rows(
        &self,
        statement: Statement,
        columns: usize,
    ) -> Result<Vec<TextRow>, sqlx::Error> {
        let mut rows = Vec::new();
        self.each_row(statement, |get| {
            rows.push(
                (0..columns)
                    .map(|index| get(index).map(str::to_owned))
                    .collect(),
            )
        })
        .await?;
        Ok(rows)
    }

    /// The first column of the first row.
    pub(crate) async fn value(&self, statement: Statement) -> Result<Option<String>, sqlx::Error> {
        Ok(self
            .rows(statement, 1)
            .await?
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten()))
    }

    /// Runs one statement; the number of rows it changed.
    pub(crate) async fn execute(&self, statement: Statement) -> Result<u64, sqlx::Error> {
        timed(async {
            each!(self, pool => {
                let mut query = sqlx::query(AssertSqlSafe(statement.sql));
                for parameter in statement.parameters {
                    query = query.bind(parameter);
                }
                Ok(query.execute(pool).await?.rows_affected())
            })
        })
        .await
    }

    /// Runs statements that cannot be prepared (definitions of triggers and functions).
    pub(crate) async fn define(&self, sql: &str) -> Result<(), sqlx::Error> {
        timed(async {
            each!(self, pool => {
                sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await?;
                Ok(())
            })
        })
        .await
    }

    /// Runs all statements in one transaction: all of them, or none. Each has its own time: many are no sign of a dead server.
    pub(crate) async fn transaction(&self, statements: Vec<Statement>) -> Result<(), sqlx::Error> {
        each!(self, pool => {
            let mut transaction = timed(pool.begin()).await?;
            for statement in statements {
                let mut query = sqlx::query(AssertSqlSafe(statement.sql));
                for parameter in statement.parameters {
                    query = query.bind(parameter);
                }
                timed(query.execute(&mut *transaction)).await?;
            }
            timed(transaction.commit()).await
        })
    }

    /// Begins a transaction that will write: what it reads by [`Transaction::each_row_locked`] nobody else changes until its
    /// end. It is undone unless it is committed.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        timed(async {
            Ok(match self {
                // The lock for writing comes first: who asks for it after reading may be refused.
                Self::Sqlite(pool) => {
                    Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?)
                }
                Self::MySql(pool) => Transaction::MySql(pool.begin().await?),
                Self::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
            })
        })
        .await
    }

    /// MySQL's own checksum of a table; `None` on other engines and for views.
    pub(crate) async fn checksum_table(&self, table: &str) -> Result<Option<i64>, sqlx::Error> {
        let Self::MySql(pool) = self else {
            return Ok(None);
        };
        let sql = format!("CHECKSUM TABLE {}", Kind::MySql.quote(table));
        let row = timed(sqlx::query(AssertSqlSafe(sql)).fetch_one(pool)).await?;
        row.try_get_unchecked::<Option<i64>, _>(1)
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        each!(self, pool => pool.close().await);
    }
}

/// A transaction that is open, one variant an engine.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    MySql(sqlx::Transaction<'static, MySql>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// Runs `$body` with `$transaction` bound to the transaction of whichever engine.
macro_rules! each_transaction {
    ($self:expr, $transaction:ident => $body:expr) => {
        match $self {
            Transaction::Sqlite($transaction) => $body,
            Transaction::MySql($transaction) => $body,
            Transaction::Postgres($transaction) => $body,
        }
    };
}

impl Transaction {
    /// Shows each row of a query over one table as [`Pool::each_row`] does, and keeps others from writing there.
    pub(crate) async fn each_row_locked(
        &mut self,
        table: &str,
        mut statement: Statement,
        mut row: impl for<'r> FnMut(&'r dyn Fn(usize) -> Option<&'r str>) + Send,
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => {}
            // Rows and the gaps between them.
            Self::MySql(_) => statement.sql.push_str(" FOR UPDATE"),
            // Locks of rows would let new ones in.
            Self::Postgres(_) => {
                let table = Kind::Postgres.quote(table);
                let sql = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
                self.execute(Statement::new(sql)).await?;
            }
        }
        timed(async {
            each_transaction!(self, transaction => {
                let mut query = sqlx::query(AssertSqlSafe(statement.sql));
                for parameter in statement.parameters {
                    query = query.bind(parameter);
                }
                let mut rows = query.fetch(&mut **transaction);
                while let Some(found) = rows.try_next().await? {
                    row(&|index| found.try_get_unchecked::<Option<&str>, _>(index).ok().flatten());
                }
                Ok(())
            })
        })
        .await
    }

    /// Runs one statement; the number of rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        timed(async {
            each_transaction!(self, transaction => {
                let mut query = sqlx::query(AssertSqlSafe(statement.sql));
                for parameter in statement.parameters {
                    query = query.bind(parameter);
                }
                Ok(query.execute(&mut **transaction).await?.rows_affected())
            })
        })
        .await
    }

    /// Ends it: everything counts.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        timed(async { each_transaction!(self, transaction => transaction.commit().await) }).await
    }
}

/// Whether an error is about the one row that was written (and would be the same tomorrow) rather than about the
/// server, the table, rights or a lock.
pub(crate) fn is_about_the_row(error: &sqlx::Error, kind: Kind) -> bool {
    let error = match error {
        sqlx::Error::Database(error) => error,
        // Text that the driver cannot encode, such as a parameter that is too large.
        sqlx::Error::Encode(_) => return true,
        _ => return false,
    };
    match kind {
        Kind::Sqlite => {
            let code = error
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .unwrap_or(1)
                & 0xff;
            // TOOBIG, CONSTRAINT (also raised by triggers), MISMATCH
            matches!(code, 18..=20)
        }
        Kind::MySql => {
            let number = error
                .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                .map_or(0, |error| error.number());
            // No such table or column, rights, read-only, full, deadlock, shutdown, too many connections, broken
            // files; everything else is said about values.
            !matches!(
                number,
                3 | 5 | 13 | 28
                    | 1005..=1047
                    | 1053
                    | 1054
                    | 1100
                    | 1114
                    | 1129
                    | 1130
                    | 1142..=1146
                    | 1152..=1161
                    | 1180..=1184
                    | 1194..=1199
                    | 1203
                    | 1205
                    | 1206
                    | 1213
                    | 1226
                    | 1227
                    | 1290
                    | 1317
                    | 1637
                    | 1705
                    | 1836
                    | 1927
                    | 1969
                    | 3024
                    | 0
            )
        }
        Kind::Postgres => {
            let code = error.code().unwrap_or_default();
            // Data exception, integrity constraint, transaction hooks, raised by a trigger, check option.
            ["22", "23", "27", "P0", "44", "54"]
                .iter()
                .any(|class| code.starts_with(class))
        }
    }
}

/// Whether others were in the way: the transaction is undone, and the same may do well in a moment.
pub(crate) fn is_about_others(error: &sqlx::Error, kind: Kind) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    match kind {
        // BUSY, LOCKED
        Kind::Sqlite => error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| matches!(code & 0xff, 5 | 6)),
        // Deadlock, lock not got in time.
        Kind::MySql => error
            .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
            .is_some_and(|error| matches!(error.number(), 1205 | 1213)),
        // Serialization failure, deadlock.
        Kind::Postgres => error
            .code()
            .is_some_and(|code| matches!(&*code, "40001" | "40P01")),
    }
}

/// Whether a statement fails because this user may not do it.
pub(crate) fn is_about_rights(error: &sqlx::Error, kind: Kind) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    match kind {
        Kind::Sqlite => {
            let code = error.code().and_then(|code| code.parse::<i32>().ok());
            // READONLY
            code.is_some_and(|code| code & 0xff == 8)
        }
        Kind::MySql => error
            .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
            .is_some_and(|error| matches!(error.number(), 1142 | 1143 | 1227)),
        Kind::Postgres => error.code().is_some_and(|code| code == "42501"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted_for_each_engine() {
        assert_eq!(Kind::MySql.quote("100rel"), "`100rel`");
        assert_eq!(Kind::MySql.quote("a`b"), "`a``b`");
        assert_eq!(Kind::Postgres.quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(Kind::Sqlite.quote("end"), "\"end\"");
    }
}
