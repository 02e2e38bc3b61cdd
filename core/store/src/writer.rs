//! Rows that calls leave behind (events of queues, states of members, changed passwords): written in order by a task of the
//! control runtime, so that no call waits for the database. While it is down they wait, as many as there is room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local};
use tokio::sync::mpsc;

use crate::error::StoreError;
use crate::pool::{Pool, Statement, is_about_the_row};
use crate::schema::Columns;
use crate::store::{Store, explain};

/// Rows that wait at most.
const WAITING_MAX: usize = 50_000;
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

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    QueueLog(Box<QueueLogRow>),
    /// Columns of a row that `key` finds; a column that the table lacks is left out.
    Update {
        table: &'static str,
        key: Vec<(&'static str, String)>,
        values: Vec<(&'static str, String)>,
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
                    tracing::error!(why, ?row, "the database rejects a row");
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

enum Failure {
    /// It is about this row: it will never be written.
    Row(String),
    Later(StoreError),
}

async fn write(pool: &Pool, row: &Write) -> Result<(), Failure> {
    let table = match row {
        Write::QueueLog(_) => "queue_log",
        Write::Update { table, .. } => table,
    };
    let columns = Columns::find(pool, table).await.map_err(Failure::Later)?;
    let Some(columns) = columns else {
        return Err(Failure::Row(format!("table {table} does not exist")));
    };
    let statement = match row {
        Write::QueueLog(line) => columns.insert(pool.kind(), table, &log_values(&columns, line)),
        Write::Update { key, values, .. } => match update(pool, &columns, table, key, values) {
            Some(statement) => statement,
            None => return Ok(()),
        },
    };
    match pool.execute(statement).await {
        Ok(_) => Ok(()),
        Err(error) if is_about_the_row(&error, pool.kind()) => Err(Failure::Row(explain(&error))),
        Err(error) => Err(Failure::Later(StoreError::sql(format!(
            "writing table {table}"
        ))(error))),
    }
}

fn log_values(columns: &Columns, line: &QueueLogRow) -> Vec<(&'static str, Option<String>)> {
    let time = DateTime::<Local>::from(line.time);
    // Older tables have text of seconds and microseconds, as the log file has.
    let is_date = columns.get("time").is_none_or(|column| {
        ["date", "time"]
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

fn update(
    pool: &Pool,
    columns: &Columns,
    table: &str,
    key: &[(&str, String)],
    values: &[(&str, String)],
) -> Option<Statement> {
    let kind = pool.kind();
    let mut parameters = Vec::new();
    let mut sets = Vec::new();
    for (name, value) in values {
        let Some(column) = columns.get(name) else {
            continue;
        };
        parameters.push(columns.fit(column, Some(value.clone())));
        let mark = kind.parameter(parameters.len());
        let mark = match kind {
            crate::Kind::Postgres => format!("CAST(CAST({mark} AS TEXT) AS {})", column.kind),
            crate::Kind::Sqlite | crate::Kind::MySql => mark,
        };
        sets.push(format!("{} = {mark}", kind.quote(&column.name)));
    }
    if sets.is_empty() {
        return None;
    }
    let mut wanted = Vec::new();
    for (name, value) in key {
        parameters.push(Some(value.clone()));
        let mark = kind.parameter(parameters.len());
        wanted.push(format!("{} = {mark}", kind.as_text(&kind.quote(name))));
    }
    let sql = format!(
        "UPDATE {} SET {} WHERE {}",
        kind.quote(table),
        sets.join(", "),
        wanted.join(" AND ")
    );
    Some(Statement::with(sql, parameters))
}
