//! Rows that calls leave behind (events of queues, states of members, changed passwords): written in order by a task of the
//! control runtime, so that no call waits for the database. While it is down they wait, as many as there is room for.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local};
use tokio::sync::mpsc;

use crate::error::StoreError;
use crate::pool::{Kind, Pool, Statement, is_about_rights, is_about_the_row};
use crate::schema::Columns;
use crate::store::{Store, explain};

/// Rows that wait at most.
const WAITING_MAX: usize = 50_000;
/// Reasons of rejected rows that are remembered, to be told once.
const TOLD_MAX: usize = 256;
/// Longest pause between attempts while the database is down.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Fields of a line of `queue_log` behind the event.
pub const QUEUE_LOG_DATA: usize = 5;

/// A line of `queue_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLogRow {
    pub time: SystemTime,
    /// Unique id of the caller's channel, `NONE`, `MANAGER` or `REALTIME`.
    pub callid: String,
    pub queuename: String,
    /// Name of the member, or `NONE`.
    pub agent: String,
    pub event: String,
    pub data: [String; QUEUE_LOG_DATA],
}

/// What a column of a row says, by which the row is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub column: &'static str,
    pub value: String,
    /// What an empty column means, and a table without the column.
    pub default: Option<&'static str>,
}

impl Key {
    /// A column that says `value`.
    #[must_use]
    pub fn new(column: &'static str, value: &str) -> Self {
        Self {
            column,
            value: value.to_owned(),
            default: None,
        }
    }

    /// A column that may say nothing, which then means `default`.
    #[must_use]
    pub fn or(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    QueueLog(Box<QueueLogRow>),
    /// Columns of a row that `key` finds; a column that the table lacks is left out.
    Update {
        table: &'static str,
        key: Vec<Key>,
        values: Vec<(&'static str, String)>,
    },
    /// The row that `key` finds becomes so; where there is none it is made.
    Put {
        table: &'static str,
        key: Key,
        values: Vec<(&'static str, String)>,
    },
    /// The row that `key` finds goes, if there is one.
    Delete {
        table: &'static str,
        key: Key,
    },
}

#[derive(Debug, Default)]
struct Counts {
    /// Rows that found a place.
    taken: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
}

impl Counts {
    fn waiting(&self) -> u64 {
        let done = self.written.load(Relaxed) + self.rejected.load(Relaxed);
        self.taken.load(Relaxed).saturating_sub(done)
    }
}

/// Writes rows behind. Cheap to clone, callable from any thread.
#[derive(Debug, Clone)]
pub struct TableWriter {
    queue: mpsc::Sender<Write>,
    counts: Arc<Counts>,
}

impl TableWriter {
    /// Starts the writing. Must be called inside the control runtime.
    #[must_use]
    pub fn spawn(store: Store) -> Self {
        let (queue, rows) = mpsc::channel(WAITING_MAX);
        let counts = Arc::<Counts>::default();
        tokio::spawn(run(store, rows, Arc::clone(&counts)));
        Self { queue, counts }
    }

    /// Writes a row some time soon. Never waits.
    pub fn write(&self, row: Write) {
        self.counts.taken.fetch_add(1, Relaxed);
        if self.queue.try_send(row).is_err() {
            self.counts.taken.fetch_sub(1, Relaxed);
            let dropped = self.counts.dropped.fetch_add(1, Relaxed);
            if dropped.is_multiple_of(1000) {
                tracing::error!("{WAITING_MAX} rows wait for the database: others are left out");
            }
        }
    }

    /// Waits until everything is written; `false` if that takes longer than `limit`.
    pub async fn flush(&self, limit: Duration) -> bool {
        let end = tokio::time::Instant::now() + limit;
        while self.counts.waiting() > 0 {
            if tokio::time::Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Counters: rows written, waiting, dropped because too many wait, rejected by the database.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("rows_written", self.counts.written.load(Relaxed)),
            ("rows_waiting", self.counts.waiting()),
            ("rows_dropped", self.counts.dropped.load(Relaxed)),
            ("rows_rejected", self.counts.rejected.load(Relaxed)),
        ]
    }
}

async fn run(store: Store, mut rows: mpsc::Receiver<Write>, counts: Arc<Counts>) {
    let mut pause = Duration::ZERO;
    let mut told: HashSet<(&str, String)> = HashSet::new();
    while let Some(row) = rows.recv().await {
        loop {
            match write(store.pool(), &row).await {
                Ok(()) => {
                    counts.written.fetch_add(1, Relaxed);
                    if !pause.is_zero() {
                        tracing::info!("rows of queues and mailboxes: written again");
                    }
                    pause = Duration::ZERO;
                    break;
                }
                Err(Failure::Row(why)) => {
                    counts.rejected.fetch_add(1, Relaxed);
                    if told.len() >= TOLD_MAX {
                        told.clear();
                    }
                    // The values are not shown: passwords are among them.
                    let (table, key) = about(&row);
                    if told.insert((table, why.clone())) {
                        tracing::error!(
                            table,
                            key,
                            why,
                            "the database rejects a row; others for the same reason are only counted"
                        );
                    }
                    break;
                }
                Err(Failure::Later(error)) => {
                    if pause.is_zero() {
                        tracing::error!(%error, "rows of queues and mailboxes cannot be written; they wait");
                    }
                    pause = (pause * 2).clamp(Duration::from_millis(100), PAUSE_MAX);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// The table of a row, and how it is found there.
fn about(row: &Write) -> (&'static str, String) {
    match row {
        Write::QueueLog(line) => ("queue_log", format!("{} of {}", line.event, line.queuename)),
        Write::Update { table, key, .. } => {
            let key: Vec<&str> = key.iter().map(|key| key.value.as_str()).collect();
            (table, key.join(", "))
        }
        Write::Put { table, key, .. } | Write::Delete { table, key } => (table, key.value.clone()),
    }
}

enum Failure {
    /// It is about this row: it will never be written.
    Row(String),
    Later(StoreError),
}

async fn write(pool: &Pool, row: &Write) -> Result<(), Failure> {
    let (table, _) = about(row);
    let columns = Columns::find(pool, table).await.map_err(Failure::Later)?;
    let Some(columns) = columns else {
        return Err(Failure::Row(format!("table {table} does not exist")));
    };
    let statement = match row {
        Write::QueueLog(line) => {
            columns.insert(pool.kind(), table, &log_values(pool.kind(), &columns, line))
        }
        Write::Update { key, values, .. } => {
            let made = update(pool.kind(), &columns, table, key, values);
            match made.map_err(Failure::Row)? {
                Some(statement) => statement,
                None => return Ok(()),
            }
        }
        Write::Put { key, values, .. } => {
            let one = std::slice::from_ref(key);
            let made = update(pool.kind(), &columns, table, one, values).map_err(Failure::Row)?;
            let Some(statement) = made else {
                return Ok(());
            };
            if executed(pool, table, statement, true).await? > 0 {
                return Ok(());
            }
            let own = (key.column, Some(key.value.clone()));
            let values = values
                .iter()
                .map(|(name, value)| (*name, Some(value.clone())));
            let row: Vec<_> = std::iter::once(own).chain(values).collect();
            columns.insert(pool.kind(), table, &row)
        }
        Write::Delete { key, .. } => {
            let Some(column) = columns.get(key.column) else {
                return Err(Failure::Row(format!(
                    "table {table} has no column {}",
                    key.column
                )));
            };
            let kind = pool.kind();
            let found = kind.as_text(&kind.quote(&column.name));
            let (table, mark) = (kind.quote(table), kind.parameter(1));
            let sql = format!("DELETE FROM {table} WHERE {found} = {mark}");
            Statement::with(sql, vec![Some(key.value.clone())])
        }
    };
    let is_update = matches!(row, Write::Update { .. });
    let may_refuse = !matches!(row, Write::QueueLog(_));
    match executed(pool, table, statement, may_refuse).await? {
        0 if is_update => Err(Failure::Row("there is no such row".to_owned())),
        _ => Ok(()),
    }
}

/// How many rows a statement changed. `others`: a table that we may not change does not keep rows of others waiting.
async fn executed(
    pool: &Pool,
    table: &str,
    statement: Statement,
    others: bool,
) -> Result<u64, Failure> {
    match pool.execute(statement).await {
        Ok(count) => Ok(count),
        Err(error)
            if is_about_the_row(&error, pool.kind())
                || (others && is_about_rights(&error, pool.kind())) =>
        {
            Err(Failure::Row(explain(&error)))
        }
        Err(error) => Err(Failure::Later(StoreError::sql(format!(
            "writing table {table}"
        ))(error))),
    }
}

fn log_values(
    kind: Kind,
    columns: &Columns,
    line: &QueueLogRow,
) -> Vec<(&'static str, Option<String>)> {
    let time = DateTime::<Local>::from(line.time);
    // Older tables have text of seconds and microseconds, as the log file has.
    let is_date = columns.get("time").is_none_or(|column| {
        // SQLite has no dates, and ours are text.
        kind == Kind::Sqlite
            || ["date", "time"]
                .iter()
                .any(|word| column.kind.to_ascii_lowercase().contains(word))
    });
    let format = if is_date {
        "%Y-%m-%d %H:%M:%S%.6f"
    } else {
        "%s%.6f"
    };
    let mut values = vec![
        ("time", Some(time.format(format).to_string())),
        ("callid", Some(line.callid.clone())),
        ("queuename", Some(line.queuename.clone())),
        ("agent", Some(line.agent.clone())),
        ("event", Some(line.event.clone())),
    ];
    if columns.has("data1") {
        let names = ["data1", "data2", "data3", "data4", "data5"];
        values.extend(names.into_iter().zip(line.data.iter().cloned().map(Some)));
    } else {
        let last = line.data.iter().rposition(|part| !part.is_empty());
        let used = line.data.get(..last.map_or(0, |at| at + 1));
        values.push(("data", Some(used.unwrap_or_default().join("|"))));
    }
    values
}

/// `None`: the table has none of the columns. An error: the row cannot be found.
fn update(
    kind: Kind,
    columns: &Columns,
    table: &str,
    key: &[Key],
    values: &[(&str, String)],
) -> Result<Option<Statement>, String> {
    let mut parameters = Vec::new();
    let mut sets = Vec::new();
    for (name, value) in values {
        let Some(column) = columns.get(name) else {
            continue;
        };
        parameters.push(columns.fit(column, Some(value.clone())));
        let mark = kind.parameter(parameters.len());
        let mark = match kind {
            Kind::Postgres => format!("CAST(CAST({mark} AS TEXT) AS {})", column.kind),
            Kind::Sqlite | Kind::MySql => mark,
        };
        sets.push(format!("{} = {mark}", kind.quote(&column.name)));
    }
    if sets.is_empty() {
        return Ok(None);
    }
    let mut wanted = Vec::new();
    for key in key {
        let Some(column) = columns.get(key.column) else {
            if key.default == Some(key.value.as_str()) {
                continue;
            }
            return Err(format!("table {table} has no column {}", key.column));
        };
        parameters.push(Some(key.value.clone()));
        let mark = kind.parameter(parameters.len());
        let found = kind.as_text(&kind.quote(&column.name));
        wanted.push(match key.default {
            Some(default) => format!("COALESCE(NULLIF({found}, ''), '{default}') = {mark}"),
            None => format!("{found} = {mark}"),
        });
    }
    if wanted.is_empty() {
        return Err("no column says which row it is".to_owned());
    }
    let sql = format!(
        "UPDATE {} SET {} WHERE {}",
        kind.quote(table),
        sets.join(", "),
        wanted.join(" AND ")
    );
    Ok(Some(Statement::with(sql, parameters)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written into a database of its own, and the counters afterwards.
    async fn written(tables: &[&str], rows: Vec<Write>) -> (Store, u64, u64, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::connect("sqlite:rows.sqlite3", folder.path())
            .await
            .unwrap();
        for sql in tables {
            let made = Statement::with((*sql).to_owned(), Vec::new());
            store.pool().execute(made).await.unwrap();
        }
        let writer = TableWriter::spawn(store.clone());
        for row in rows {
            writer.write(row);
        }
        assert!(writer.flush(Duration::from_secs(30)).await);
        let counts = &writer.counts;
        let (written, rejected) = (counts.written.load(Relaxed), counts.rejected.load(Relaxed));
        (store, written, rejected, folder)
    }

    fn password(key: Vec<Key>, value: &str) -> Write {
        Write::Update {
            table: "voicemail",
            key,
            values: vec![("password", value.to_owned())],
        }
    }

    async fn value(store: &Store, sql: &str) -> Option<String> {
        let statement = Statement::with(sql.to_owned(), Vec::new());
        store.pool().value(statement).await.unwrap()
    }

    #[tokio::test]
    async fn an_empty_column_is_found_by_what_it_means() {
        let key = |number: &str, context: &str| {
            vec![
                Key::new("mailbox", number),
                Key::new("context", context).or("default"),
            ]
        };
        let (store, written, rejected, _folder) = written(
            &[
                "CREATE TABLE voicemail (mailbox TEXT, context TEXT, password TEXT)",
                "INSERT INTO voicemail VALUES ('1', NULL, 'a'), ('2', '', 'a'), ('3', 'shop', 'a')",
            ],
            vec![
                password(key("1", "default"), "b"),
                password(key("2", "default"), "c"),
                password(key("3", "default"), "d"),
                password(key("3", "shop"), "e"),
            ],
        )
        .await;
        let all = "SELECT group_concat(password, '') FROM voicemail";
        assert_eq!(value(&store, all).await.as_deref(), Some("bce"));
        assert_eq!((written, rejected), (3, 1));
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_found_keeps_no_other_waiting() {
        let (store, written, rejected, _folder) = written(
            &[
                "CREATE TABLE voicemail (mailbox TEXT, password TEXT)",
                "INSERT INTO voicemail VALUES ('1', 'a')",
            ],
            vec![
                password(vec![Key::new("uniqueid", "7")], "x"),
                password(
                    vec![
                        Key::new("mailbox", "1"),
                        Key::new("context", "shop").or("default"),
                    ],
                    "x",
                ),
                password(
                    vec![
                        Key::new("mailbox", "1"),
                        Key::new("context", "default").or("default"),
                    ],
                    "b",
                ),
            ],
        )
        .await;
        let all = "SELECT password FROM voicemail";
        assert_eq!(value(&store, all).await.as_deref(), Some("b"));
        assert_eq!((written, rejected), (1, 2));
    }

    #[tokio::test]
    async fn a_row_is_made_then_changed_and_taken_away() {
        let put = |id: &str, tag: &str| Write::Put {
            table: "kept",
            key: Key::new("id", id),
            values: vec![("tag", tag.to_owned()), ("unknown", "x".to_owned())],
        };
        let gone = |id: &str| Write::Delete {
            table: "kept",
            key: Key::new("id", id),
        };
        let (store, written, rejected, _folder) = written(
            &["CREATE TABLE kept (id TEXT UNIQUE, tag TEXT)"],
            vec![
                put("1", "a"),
                put("2", "b"),
                put("1", "c"),
                gone("2"),
                gone("3"),
            ],
        )
        .await;
        let all = "SELECT group_concat(id || tag, ' ') FROM kept";
        assert_eq!(value(&store, all).await.as_deref(), Some("1c"));
        assert_eq!((written, rejected), (5, 0));
    }

    #[tokio::test]
    async fn sqlite_has_the_dates_that_call_records_have() {
        let line = QueueLogRow {
            time: SystemTime::now(),
            callid: "1".to_owned(),
            queuename: "q".to_owned(),
            agent: "NONE".to_owned(),
            event: "ENTERQUEUE".to_owned(),
            data: std::array::from_fn(|_| String::new()),
        };
        let (store, written, rejected, _folder) = written(
            &["CREATE TABLE queue_log (time TEXT, callid TEXT, event TEXT)"],
            vec![Write::QueueLog(Box::new(line))],
        )
        .await;
        assert_eq!((written, rejected), (1, 0));
        let is_date = "SELECT time LIKE '____-__-__ __:__:__.______' FROM queue_log";
        assert_eq!(value(&store, is_date).await.as_deref(), Some("1"));
    }
}
