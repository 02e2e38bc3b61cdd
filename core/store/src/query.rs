//! Databases that scripts of the dialplan ask: any statement with parameters, rows with values of their own kinds. They are not the
//! exchange's own database, and a call waits for them only because its script says so.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, NaiveDate};
use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, Row as _, TypeInfo as _, ValueRef as _};

use crate::error::StoreError;
use crate::pool::{CONNECT_TIMEOUT, Kind, sqlite_options};
use crate::statement;
use crate::url::{self, Target};

/// A connection that nobody used for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// One value of a row, or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// A boolean.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text; also dates, times and exact decimals.
    Text(String),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
}

/// The answer to a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// A statement with its parameters, for whichever engine it goes to.
macro_rules! bound {
    ($statement:expr, $parameters:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($statement));
        for parameter in $parameters {
            query = match parameter {
                Cell::Null => query.bind(None::<String>),
                Cell::Flag(value) => query.bind(value),
                Cell::Integer(value) => query.bind(value),
                Cell::Real(value) => query.bind(value),
                Cell::Text(value) => query.bind(value),
                Cell::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}

enum Pool {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
    Postgres(PgPool),
}

/// A database that is connected when it is asked first.
pub struct Database {
    pool: tokio::sync::OnceCell<Pool>,
    target: Target,
    connections: u32,
    read_only: bool,
    description: String,
}

impl Database {
    /// Remembers where the database is; relative SQLite paths are below `data_dir`. A SQLite file has to exist.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(
        url: &str,
        data_dir: &Path,
        connections: u32,
        read_only: bool,
    ) -> Result<Self, StoreError> {
        let target = url::parse(url, data_dir)?;
        Ok(Self {
            pool: tokio::sync::OnceCell::new(),
            description: url::describe(&target),
            target,
            connections,
            read_only,
        })
    }

    /// Which engine it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.target {
            Target::Sqlite(_) => Kind::Sqlite,
            Target::MySql(_) => Kind::MySql,
            Target::Postgres(_) => Kind::Postgres,
        }
    }

    async fn pool(&self) -> &Pool {
        self.pool
            .get_or_init(|| async {
                match &self.target {
                    Target::Sqlite(path) => {
                        let options = sqlite_options(path)
                            .create_if_missing(false)
                            .read_only(self.read_only);
                        let options = if self.read_only {
                            options.pragma("query_only", "ON")
                        } else {
                            options
                        };
                        let pool = SqlitePoolOptions::new()
                            .max_connections(self.connections)
                            .acquire_timeout(CONNECT_TIMEOUT)
                            .idle_timeout(IDLE_MAX);
                        Pool::Sqlite(pool.connect_lazy_with(options))
                    }
                    Target::MySql(options) => {
                        let pool = MySqlPoolOptions::new()
                            .max_connections(self.connections)
                            .acquire_timeout(CONNECT_TIMEOUT)
                            .idle_timeout(IDLE_MAX);
                        Pool::MySql(pool.connect_lazy_with((**options).clone()))
                    }
                    Target::Postgres(options) => {
                        let pool = PgPoolOptions::new()
                            .max_connections(self.connections)
                            .acquire_timeout(CONNECT_TIMEOUT)
                            .idle_timeout(IDLE_MAX);
                        Pool::Postgres(pool.connect_lazy_with((**options).clone()))
                    }
                }
            })
            .await
    }

    fn failed(&self, error: &sqlx::Error) -> StoreError {
        self.refused(&error.to_string())
    }

    fn refused(&self, why: &str) -> StoreError {
        StoreError::Refused(format!("{}: {why}", self.description))
    }

    /// The rows of a query, at most `rows_max`. Parameters are written `?` for every engine.
    ///
    /// # Errors
    /// The database does not answer, refuses the statement, or has more rows.
    pub async fn query(
        &self,
        statement: &str,
        parameters: Vec<Cell>,
        rows_max: usize,
    ) -> Result<Rows, StoreError> {
        self.read(statement, parameters, rows_max, false).await
    }

    /// Runs a statement and reads its first rows; the others are left where they are.
    ///
    /// # Errors
    /// The database does not answer, or refuses the statement.
    pub async fn query_first(
        &self,
        statement: &str,
        parameters: Vec<Cell>,
        most: usize,
    ) -> Result<Rows, StoreError> {
        self.read(statement, parameters, most, true).await
    }

    async fn read(
        &self,
        statement: &str,
        mut parameters: Vec<Cell>,
        rows_max: usize,
        first: bool,
    ) -> Result<Rows, StoreError> {
        let pool = self.pool().await;
        self.allowed(pool, statement)?;
        let mut answer = Rows::default();
        macro_rules! fetch {
            ($from:expr, $statement:expr, $cell:path) => {{
                let query = bound!($statement, parameters);
                let mut rows = query.fetch($from);
                while let Some(row) = rows.try_next().await.map_err(|error| self.failed(&error))? {
                    if answer.rows.len() >= rows_max {
                        if first {
                            break;
                        }
                        return Err(self.refused(&format!("the answer has more than {rows_max} rows; write a LIMIT, or allow more with max_rows")));
                    }
                    if answer.columns.is_empty() {
                        let columns = row.columns().iter();
                        answer.columns = columns.map(|column| column.name().to_owned()).collect();
                    }
                    let cells = (0..row.columns().len()).map(|index| $cell(&row, index));
                    answer
                        .rows
                        .push(cells.collect::<Result<_, _>>().map_err(|error| self.failed(&error))?);
                }
            }};
        }
        // What may only be read is read within a transaction that is taken back, whatever the statement does.
        macro_rules! apart {
            ($pool:expr, $begin:expr, $statement:expr, $cell:path) => {{
                let mut transaction = $pool
                    .begin_with($begin)
                    .await
                    .map_err(|error| self.failed(&error))?;
                fetch!(&mut *transaction, $statement, $cell);
                transaction
                    .rollback()
                    .await
                    .map_err(|error| self.failed(&error))?;
            }};
        }
        match pool {
            Pool::Sqlite(pool) => fetch!(pool, statement.to_owned(), sqlite_cell),
            Pool::MySql(pool) if self.read_only => {
                apart!(
                    pool,
                    "START TRANSACTION READ ONLY",
                    statement.to_owned(),
                    mysql_cell
                );
            }
            Pool::MySql(pool) => fetch!(pool, statement.to_owned(), mysql_cell),
            Pool::Postgres(pool) => {
                let (statement, parameters_left) = statement::numbered(statement, parameters);
                parameters = parameters_left;
                if self.read_only {
                    apart!(pool, "BEGIN READ ONLY", statement, postgres_cell);
                } else {
                    fetch!(pool, statement, postgres_cell);
                }
            }
        }
        Ok(answer)
    }

    /// Runs a statement that changes something; the number of rows it changed.
    ///
    /// # Errors
    /// The database does not answer, refuses the statement, or may only be read.
    pub async fn change(
        &self,
        statement: &str,
        mut parameters: Vec<Cell>,
    ) -> Result<u64, StoreError> {
        if self.read_only {
            return Err(self.refused("it may only be read (read_only = true in the configuration)"));
        }
        let pool = self.pool().await;
        self.allowed(pool, statement)?;
        macro_rules! execute {
            ($pool:expr, $statement:expr) => {{
                let query = bound!($statement, parameters);
                query
                    .execute($pool)
                    .await
                    .map(|done| done.rows_affected())
                    .map_err(|error| self.failed(&error))
            }};
        }
        match pool {
            Pool::Sqlite(pool) => execute!(pool, statement.to_owned()),
            Pool::MySql(pool) => execute!(pool, statement.to_owned()),
            Pool::Postgres(pool) => {
                let (statement, parameters_left) = statement::numbered(statement, parameters);
                parameters = parameters_left;
                execute!(pool, statement)
            }
        }
    }

    /// Refuses what would reach beyond this database, or change what may only be read.
    fn allowed(&self, pool: &Pool, statement: &str) -> Result<(), StoreError> {
        const READING: [&str; 8] = [
            "SELECT", "WITH", "SHOW", "EXPLAIN", "VALUES", "TABLE", "DESCRIBE", "DESC",
        ];
        // They open or write other files, or undo the limits of the connection.
        const BEYOND: [&str; 4] = ["ATTACH", "DETACH", "PRAGMA", "VACUUM"];
        let engine = match pool {
            Pool::Sqlite(_) => Kind::Sqlite,
            Pool::MySql(_) => Kind::MySql,
            Pool::Postgres(_) => Kind::Postgres,
        };
        let mut words = statement::first_words(engine, statement);
        if engine != Kind::Sqlite {
            // Servers take one statement at a time.
            words.truncate(1);
        }
        if words.is_empty() {
            return Err(self.refused("the statement is empty"));
        }
        for word in words {
            if self.read_only && !READING.contains(&word.as_str()) {
                return Err(self.refused(&format!(
                    "it may only be read (read_only = true in the configuration); a statement begins with one of {}, not with {word}",
                    READING.join(", ")
                )));
            }
            if engine == Kind::Sqlite && BEYOND.contains(&word.as_str()) {
                return Err(self.refused(&format!("{word} is not allowed for scripts")));
            }
        }
        Ok(())
    }
}

fn text_or_bytes(bytes: &[u8]) -> Cell {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cell::Text(text.to_owned()),
        Err(_) => Cell::Bytes(bytes.to_vec()),
    }
}

fn sqlite_cell(row: &SqliteRow, index: usize) -> Result<Cell, sqlx::Error> {
    let kind = {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        value.type_info().name().to_owned()
    };
    Ok(match kind.as_str() {
        "INTEGER" | "INT4" | "INT8" | "BIGINT" => Cell::Integer(row.try_get_unchecked(index)?),
        "BOOLEAN" => Cell::Flag(row.try_get_unchecked(index)?),
        "REAL" => Cell::Real(row.try_get_unchecked(index)?),
        "BLOB" => Cell::Bytes(row.try_get_unchecked(index)?),
        _ => Cell::Text(row.try_get_unchecked(index)?),
    })
}

fn mysql_cell(row: &MySqlRow, index: usize) -> Result<Cell, sqlx::Error> {
    let kind = {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        value.type_info().name().to_owned()
    };
    Ok(match kind.as_str() {
        "BOOLEAN" => Cell::Flag(row.try_get_unchecked(index)?),
        "BIGINT UNSIGNED" => {
            let value: u64 = row.try_get_unchecked(index)?;
            i64::try_from(value).map_or_else(|_| Cell::Text(value.to_string()), Cell::Integer)
        }
        kind if kind.ends_with("INT UNSIGNED") => {
            let value: u64 = row.try_get_unchecked(index)?;
            Cell::Integer(i64::try_from(value).unwrap_or(i64::MAX))
        }
        kind if kind.ends_with("INT") => Cell::Integer(row.try_get_unchecked(index)?),
        "YEAR" => {
            let value: u64 = row.try_get_unchecked(index)?;
            Cell::Integer(i64::try_from(value).unwrap_or_default())
        }
        "FLOAT" => Cell::Real(f64::from(row.try_get_unchecked::<f32, _>(index)?)),
        "DOUBLE" => Cell::Real(row.try_get_unchecked(index)?),
        "DATE" | "DATETIME" | "TIMESTAMP" | "TIME" => {
            let bytes: &[u8] = row.try_get_unchecked(index)?;
            mysql_time(bytes, &kind)
        }
        _ => text_or_bytes(row.try_get_unchecked(index)?),
    })
}

/// A date or time of the binary protocol: a length, then year, month, day, hour, minute, second, microseconds; for TIME
/// a sign, days, hour, minute, second, microseconds.
fn mysql_time(bytes: &[u8], kind: &str) -> Cell {
    let fields = bytes.get(1..).unwrap_or_default();
    let byte = |at: usize| fields.get(at).copied().unwrap_or_default();
    let word = |at: usize| {
        let part = |offset: usize| u32::from(byte(at + offset)) << (8 * offset);
        part(0) | part(1) | part(2) | part(3)
    };
    let fraction = |at: usize| match word(at) {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    Cell::Text(if kind == "TIME" {
        let sign = if byte(0) == 1 { "-" } else { "" };
        let hours = word(1)
            .saturating_mul(24)
            .saturating_add(u32::from(byte(5)));
        format!(
            "{sign}{hours:02}:{:02}:{:02}{}",
            byte(6),
            byte(7),
            fraction(8)
        )
    } else {
        let year = u16::from(byte(0)) | u16::from(byte(1)) << 8;
        let date = format!("{year:04}-{:02}-{:02}", byte(2), byte(3));
        if kind == "DATE" {
            date
        } else {
            format!(
                "{date} {:02}:{:02}:{:02}{}",
                byte(4),
                byte(5),
                byte(6),
                fraction(7)
            )
        }
    })
}

fn postgres_cell(row: &PgRow, index: usize) -> Result<Cell, sqlx::Error> {
    let kind = {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        value.type_info().name().to_owned()
    };
    Ok(match kind.as_str() {
        "BOOL" => Cell::Flag(row.try_get_unchecked(index)?),
        "INT2" => Cell::Integer(i64::from(row.try_get_unchecked::<i16, _>(index)?)),
        "INT4" => Cell::Integer(i64::from(row.try_get_unchecked::<i32, _>(index)?)),
        "INT8" => Cell::Integer(row.try_get_unchecked(index)?),
        "FLOAT4" => Cell::Real(f64::from(row.try_get_unchecked::<f32, _>(index)?)),
        "FLOAT8" => Cell::Real(row.try_get_unchecked(index)?),
        "BYTEA" => Cell::Bytes(row.try_get_unchecked(index)?),
        other => {
            let bytes: &[u8] = row.try_get_unchecked(index)?;
            postgres_binary(bytes, other)
        }
    })
}

/// Values of the binary protocol that have no type in Lua, as PostgreSQL writes them.
fn postgres_binary(bytes: &[u8], kind: &str) -> Cell {
    let text = match kind {
        "NUMERIC" => numeric(bytes),
        "DATE" => <[u8; 4]>::try_from(bytes).ok().and_then(|days| {
            let days = i64::from(i32::from_be_bytes(days));
            let start = NaiveDate::from_ymd_opt(2000, 1, 1)?;
            Some(
                start
                    .checked_add_signed(chrono::TimeDelta::try_days(days)?)?
                    .to_string(),
            )
        }),
        "TIMESTAMP" | "TIMESTAMPTZ" => <[u8; 8]>::try_from(bytes).ok().and_then(|micros| {
            // Microseconds since 2000.
            let micros = i64::from_be_bytes(micros).checked_add(946_684_800_000_000)?;
            let at = DateTime::from_timestamp_micros(micros)?;
            let zone = if kind == "TIMESTAMPTZ" { "+00" } else { "" };
            Some(format!("{}{zone}", at.format("%Y-%m-%d %H:%M:%S%.f")))
        }),
        "TIME" => <[u8; 8]>::try_from(bytes).ok().and_then(|micros| {
            let at = DateTime::from_timestamp_micros(i64::from_be_bytes(micros))?;
            Some(at.format("%H:%M:%S%.f").to_string())
        }),
        "UUID" if bytes.len() == 16 => {
            let mut out = String::new();
            for (index, byte) in bytes.iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    out.push('-');
                }
                out.push_str(&format!("{byte:02x}"));
            }
            Some(out)
        }
        // A version before the text.
        "JSONB" => bytes
            .strip_prefix(&[1])
            .map(|text| String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    match text {
        Some(text) => Cell::Text(text),
        None => text_or_bytes(bytes),
    }
}

/// PostgreSQL's exact decimals: groups of four digits with a weight, a sign and a number of shown decimals.
fn numeric(bytes: &[u8]) -> Option<String> {
    let word = |index: usize| {
        let pair = bytes.get(index * 2..index * 2 + 2)?;
        Some(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let (count, weight, sign, scale) = (
        usize::from(word(0)?),
        i32::from(word(1)? as i16),
        word(2)?,
        usize::from(word(3)?),
    );
    let group = |power: i32| {
        let place = usize::try_from(weight - power).ok()?;
        if place < count { word(4 + place) } else { None }
    };
    match sign {
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let mut out = String::new();
    for power in (0..=weight.max(0)).rev() {
        let digits = group(power).unwrap_or_default();
        if out.is_empty() {
            if digits > 0 || power == 0 {
                out.push_str(&digits.to_string());
            }
        } else {
            out.push_str(&format!("{digits:04}"));
        }
    }
    if scale > 0 {
        let mut decimals = String::new();
        let mut power = -1;
        while decimals.len() < scale {
            decimals.push_str(&format!("{:04}", group(power).unwrap_or_default()));
            power -= 1;
        }
        decimals.truncate(scale);
        out.push('.');
        out.push_str(&decimals);
    }
    if sign == 0x4000 {
        out.insert(0, '-');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_decimals_are_written_as_the_server_writes_them() {
        let encode = |weight: i16, sign: u16, scale: u16, groups: &[u16]| {
            let mut bytes = Vec::new();
            bytes.extend((groups.len() as u16).to_be_bytes());
            bytes.extend(weight.to_be_bytes());
            bytes.extend(sign.to_be_bytes());
            bytes.extend(scale.to_be_bytes());
            groups
                .iter()
                .for_each(|group| bytes.extend(group.to_be_bytes()));
            bytes
        };
        for (bytes, wanted) in [
            (encode(0, 0, 2, &[12, 3400]), "12.34"),
            (encode(1, 0x4000, 0, &[1, 2345]), "-12345"),
            (encode(1, 0, 0, &[5]), "50000"),
            (encode(-1, 0, 4, &[5]), "0.0005"),
            (encode(0, 0, 3, &[]), "0.000"),
        ] {
            assert_eq!(numeric(&bytes).as_deref(), Some(wanted));
        }
    }

    #[tokio::test]
    async fn rows_have_values_of_their_kinds_and_a_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::File::create(folder.path().join("crm.db")).expect("a file");
        let open = |read_only| {
            Database::new("sqlite://crm.db", folder.path(), 2, read_only).expect("the URL is good")
        };
        let database = open(false);
        database
            .change(
                "CREATE TABLE t (n INTEGER, r REAL, s TEXT, b BLOB)",
                Vec::new(),
            )
            .await
            .expect("made");
        for number in 1..=3 {
            let row = vec![
                Cell::Integer(number),
                Cell::Real(0.5),
                Cell::Text("it's ?".to_owned()),
                Cell::Bytes(vec![0, 255]),
            ];
            let count = database
                .change("INSERT INTO t VALUES (?, ?, ?, ?)", row.clone())
                .await;
            assert_eq!(count.expect("inserted"), 1);
            let rows = database
                .query(
                    "SELECT * FROM t WHERE n = ?",
                    vec![Cell::Integer(number)],
                    10,
                )
                .await
                .expect("read");
            assert_eq!(rows.columns, ["n", "r", "s", "b"]);
            assert_eq!(rows.rows, [row]);
        }
        let null = database.query("SELECT NULL AS x", Vec::new(), 1).await;
        assert_eq!(null.expect("read").rows, [[Cell::Null]]);
        let error = database
            .query("SELECT * FROM t", Vec::new(), 2)
            .await
            .expect_err("three rows")
            .to_string();
        assert!(error.contains("more than 2 rows"), "{error}");
        let reader = open(true);
        assert_eq!(
            reader
                .query("SELECT count(*) FROM t", Vec::new(), 1)
                .await
                .expect("read")
                .rows,
            [[Cell::Integer(3)]]
        );
        for statement in [
            "ATTACH 'other.db' AS o",
            "SELECT 1; /* x */ attach 'other.db' AS o",
            "PRAGMA query_only = OFF",
            "VACUUM INTO 'other.db'",
        ] {
            assert!(reader.query(statement, Vec::new(), 1).await.is_err());
            let error = database.query(statement, Vec::new(), 1).await;
            let error = error.expect_err(statement).to_string();
            assert!(error.contains("not allowed for scripts"), "{error}");
            assert!(database.change(statement, Vec::new()).await.is_err());
        }
        let with = "WITH x AS (SELECT 1) DELETE FROM t";
        assert!(reader.query(with, Vec::new(), 1).await.is_err());
        assert!(reader.change("DELETE FROM t", Vec::new()).await.is_err());
        assert!(reader.query("DELETE FROM t", Vec::new(), 1).await.is_err());
    }
}
