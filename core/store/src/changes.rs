//! Which tables are not what they were: counters bumped by triggers on tables made here, checksums on all others.

use std::hash::Hasher as _;

use rustc_hash::{FxHashMap, FxHasher};
use sqlx::Connection as _;

use crate::error::StoreError;
use crate::pool::{Kind, Pool, Statement, sqlite_options};
use crate::schema::{Columns, existing};
use crate::snapshot::Table;
use crate::store::Store;
use crate::url::Target;

/// Rows a counter is spread over, by connection.
pub(crate) const SLOTS: u32 = 64;

/// Names of the triggers that count changes of a table.
pub(crate) fn trigger_names(kind: Kind, table: &str) -> Vec<String> {
    match kind {
        Kind::Postgres => vec![format!("strowger_{table}")],
        Kind::Sqlite | Kind::MySql => ["i", "u", "d"]
            .iter()
            .map(|what| format!("strowger_{table}_{what}"))
            .collect(),
    }
}

/// Statements that make these triggers.
pub(crate) fn triggers(kind: Kind, table: &str) -> Vec<String> {
    let bump = |slot: &str| {
        format!(
            "UPDATE strowger_changes SET version = version + 1 WHERE table_name = '{table}' AND slot = {slot}"
        )
    };
    if kind == Kind::Postgres {
        // The function runs with the rights and in the schema of whoever made it, so that any writer may count.
        return vec![
            "CREATE OR REPLACE FUNCTION strowger_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path FROM CURRENT AS $$ BEGIN \
             UPDATE strowger_changes SET version = version + 1 \
             WHERE table_name = TG_TABLE_NAME AND slot = (pg_backend_pid() & 63); RETURN NULL; END $$"
                .to_owned(),
            format!(
                "CREATE TRIGGER strowger_{table} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} \
                 FOR EACH STATEMENT EXECUTE FUNCTION strowger_changed()"
            ),
        ];
    }
    trigger_names(kind, table)
        .into_iter()
        .zip(["INSERT", "UPDATE", "DELETE"])
        .map(|(name, event)| match kind {
            Kind::Sqlite => format!(
                "CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {table} BEGIN {}; END",
                bump("0")
            ),
            Kind::MySql | Kind::Postgres => format!(
                "CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {table} FOR EACH ROW {}",
                bump("(CONNECTION_ID() & 63)")
            ),
        })
        .collect()
}

/// Names of all triggers in the database.
pub(crate) async fn existing_triggers(pool: &Pool) -> Result<Vec<String>, sqlx::Error> {
    let sql = match pool.kind() {
        Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        Kind::MySql => {
            "SELECT CAST(trigger_name AS CHAR) FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
        }
        Kind::Postgres => {
            "SELECT tgname::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid \
             WHERE pg_table_is_visible(pg_class.oid) AND tgenabled <> 'D'"
        }
    };
    Ok(pool
        .rows(Statement::new(sql), 1)
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .collect())
}

/// How changes of a table are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its triggers count them.
    Counter,
    /// Its content is summed up.
    Checksum,
    /// It does not exist.
    Missing,
}

/// A number for each table that differs when the table does, in the order of [`Table::ALL`].
pub(crate) type Signatures = [u64; Table::ALL.len()];

/// Looks for changes.
pub(crate) struct Looker {
    store: Store,
    ways: Option<[Way; Table::ALL.len()]>,
    /// SQLite only: one connection kept, which alone can tell whether others wrote.
    sqlite: Option<sqlx::SqliteConnection>,
    /// `data_version` of that connection at the last look, and what the checksums were then.
    sqlite_seen: Option<(i64, Signatures)>,
}

impl Looker {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            ways: None,
            sqlite: None,
            sqlite_seen: None,
        }
    }

    /// Finds out anew how to notice changes: tables and triggers may have come or gone.
    pub(crate) fn forget(&mut self) {
        self.ways = None;
        self.sqlite_seen = None;
    }

    /// The signatures of now.
    pub(crate) async fn look(&mut self) -> Result<Signatures, StoreError> {
        let store = self.store.clone();
        let pool = store.pool();
        let failed = |error| StoreError::sql("looking for changes")(error);
        let ways = match self.ways {
            Some(ways) => ways,
            None => {
                let ways = find_ways(pool).await?;
                *self.ways.insert(ways)
            }
        };
        let mut signatures = [0; Table::ALL.len()];
        if ways.contains(&Way::Counter) {
            let counted: Vec<_> = (0..ways.len())
                .filter(|at| ways[*at] == Way::Counter)
                .map(|at| Table::ALL[at])
                .collect();
            let counters = counters(pool, &counted).await.inspect_err(|error| {
                // Perhaps a table is gone: the next look finds other ways.
                if matches!(error, sqlx::Error::Database(_)) {
                    self.ways = None;
                }
            });
            let counters = counters.map_err(failed)?;
            for (at, table) in Table::ALL
                .iter()
                .enumerate()
                .filter(|(at, _)| ways[*at] == Way::Counter)
            {
                signatures[at] = counters.get(table.name()).copied().unwrap_or(0);
            }
        }
        if !ways.contains(&Way::Checksum) {
            return Ok(signatures);
        }
        let data_version = self.data_version().await.map_err(failed)?;
        if let (Some(now), Some((then, seen))) = (data_version, &self.sqlite_seen)
            && now == *then
        {
            for at in (0..signatures.len()).filter(|at| ways[*at] == Way::Checksum) {
                signatures[at] = seen[at];
            }
            return Ok(signatures);
        }
        for (at, table) in Table::ALL
            .iter()
            .enumerate()
            .filter(|(at, _)| ways[*at] == Way::Checksum)
        {
            signatures[at] = match checksum(pool, table.name()).await {
                Ok(sum) => sum,
                // Dropped since the ways were found: the next look finds others.
                Err(StoreError::Sql {
                    source: sqlx::Error::Database(_),
                    ..
                }) => {
                    self.ways = None;
                    u64::MAX
                }
                Err(error) => return Err(error),
            };
        }
        self.sqlite_seen = data_version.map(|version| (version, signatures));
        Ok(signatures)
    }

    /// A number that SQLite changes when another connection wrote; `None` on other engines.
    async fn data_version(&mut self) -> Result<Option<i64>, sqlx::Error> {
        let Target::Sqlite(path) = self.store.url() else {
            return Ok(None);
        };
        if self.sqlite.is_none() {
            self.sqlite = Some(sqlx::SqliteConnection::connect_with(&sqlite_options(path)).await?);
        }
        let Some(connection) = &mut self.sqlite else {
            return Ok(None);
        };
        match sqlx::query_scalar::<_, i64>("PRAGMA data_version")
            .fetch_one(connection)
            .await
        {
            Ok(version) => Ok(Some(version)),
            Err(error) => {
                self.sqlite = None;
                self.sqlite_seen = None;
                Err(error)
            }
        }
    }
}

async fn find_ways(pool: &Pool) -> Result<[Way; Table::ALL.len()], StoreError> {
    let tables = existing(pool).await?;
    let exists = |table: &str| tables.iter().any(|name| name.eq_ignore_ascii_case(table));
    let mut triggers = Vec::new();
    if exists("strowger_changes") {
        triggers = existing_triggers(pool)
            .await
            .map_err(StoreError::sql("listing the triggers"))?;
    }
    Ok(Table::ALL.map(|table| {
        if !exists(table.name()) {
            Way::Missing
        } else if trigger_names(pool.kind(), table.name())
            .iter()
            .all(|name| triggers.contains(name))
        {
            Way::Counter
        } else {
            Way::Checksum
        }
    }))
}

/// How often each of these tables was changed.
async fn counters(pool: &Pool, counted: &[Table]) -> Result<FxHashMap<String, u64>, sqlx::Error> {
    let kind = pool.kind();
    let sql = format!(
        "SELECT {}, {} FROM strowger_changes GROUP BY table_name",
        kind.as_text("table_name"),
        kind.as_text("SUM(version)")
    );
    let mut counters = FxHashMap::default();
    pool.each_row(Statement::new(sql), |get| {
        if let (Some(table), Some(count)) = (get(0), get(1)) {
            counters.insert(table.to_owned(), count.parse::<u64>().unwrap_or(0) << 1);
        }
    })
    .await?;
    if kind == Kind::MySql {
        // TRUNCATE fires no trigger there, so the lowest bit says whether there is any row.
        let parts: Vec<_> = counted
            .iter()
            .filter(|table| counters.contains_key(table.name()))
            .map(|table| {
                format!(
                    "SELECT '{0}', CAST(EXISTS(SELECT 1 FROM {0}) AS CHAR)",
                    table.name()
                )
            })
            .collect();
        if !parts.is_empty() {
            let mut some = Vec::new();
            pool.each_row(Statement::new(parts.join(" UNION ALL ")), |get| {
                if get(1) == Some("1") {
                    some.extend(get(0).map(str::to_owned));
                }
            })
            .await?;
            for table in some {
                counters.entry(table).and_modify(|count| *count |= 1);
            }
        }
    }
    Ok(counters)
}

/// Sums up the content of a table.
async fn checksum(pool: &Pool, table: &str) -> Result<u64, StoreError> {
    let kind = pool.kind();
    let failed = |error| StoreError::sql(format!("summing up table {table}"))(error);
    match kind {
        Kind::MySql => {
            if let Some(sum) = pool.checksum_table(table).await.map_err(failed)? {
                return Ok(sum.cast_unsigned());
            }
        }
        Kind::Postgres => {
            let sql = format!(
                "SELECT (count(*)::text || ' ' || COALESCE(sum(hashtextextended(t::text, 0)), 0)::text) FROM {table} t"
            );
            if let Some(sum) = pool.value(Statement::new(sql)).await.map_err(failed)? {
                let mut hasher = FxHasher::default();
                hasher.write(sum.as_bytes());
                return Ok(hasher.finish());
            }
        }
        Kind::Sqlite => {}
    }
    // What remains, views and SQLite, is read: the sum of the rows' hashes does not depend on their order.
    let Some(columns) = Columns::find(pool, table).await? else {
        return Ok(0);
    };
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    let (sql, places) = columns.select(kind, table, &names);
    let mut sum = 0_u64;
    pool.each_row(Statement::new(sql), |get| {
        let mut hasher = FxHasher::default();
        for place in places.iter().flatten() {
            match get(*place) {
                Some(text) => {
                    hasher.write(text.as_bytes());
                    hasher.write_u8(1);
                }
                None => hasher.write_u8(0),
            }
        }
        sum = sum.wrapping_add(hasher.finish() | 1);
    })
    .await
    .map_err(failed)?;
    Ok(sum)
}
