//! The key-value database of the dialplan (`DB()`, DIALGROUP ...), as Asterisk keeps it: a SQLite file with one table,
//! keys of the form `/family/key`. All of it is in memory; changes follow to the file behind the callers' backs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::error::StoreError;

/// Longest key, with its family, in bytes.
const KEY_MAX: usize = 512;
/// Longest value in bytes.
const VALUE_MAX: usize = 64 * 1024;
/// Most keys.
const KEYS_MAX: usize = 1_000_000;
/// How long changes are collected before they are written.
const WINDOW: Duration = Duration::from_millis(20);
/// Pause after a failed write.
const PAUSE: Duration = Duration::from_secs(1);

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS astdb (key VARCHAR(256), value VARCHAR(256), PRIMARY KEY (key))";

/// The key-value database. Cheap to clone, callable from any thread, never waits for the disk; the last clone writes
/// what is left.
#[derive(Clone)]
pub struct AstDb {
    shared: Arc<Shared>,
    _ending: Arc<Ending>,
}

struct Shared {
    path: PathBuf,
    entries: RwLock<BTreeMap<String, String>>,
    changes: Mutex<Changes>,
    wake: Condvar,
    failures: AtomicU64,
}

#[derive(Default)]
struct Changes {
    /// The newest value of each changed key; `None` for a deleted one.
    waiting: BTreeMap<String, Option<String>>,
    /// Changes being written now.
    in_hand: usize,
    ended: bool,
}

struct Ending {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.changes.lock().ended = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl AstDb {
    /// Opens the file, which is made if there is none, and reads all of it. Waits for the disk: not for a thread that
    /// handles calls.
    ///
    /// # Errors
    /// The file cannot be opened, or is no such database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (ready, opened) = std::sync::mpsc::sync_channel(1);
        let path_owned = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("astdb".into())
            .spawn(move || {
                // The file is used by this thread only: sqlx wants a runtime, a small one is enough.
                let runtime = match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = ready.send(Err(StoreError::file(
                            "starting a runtime for the key-value database",
                        )(error)));
                        return;
                    }
                };
                let (connection, entries) = match runtime.block_on(read(&path_owned)) {
                    Ok(read) => read,
                    Err(error) => {
                        let _ = ready.send(Err(StoreError::sql(format!(
                            "opening {}",
                            path_owned.display()
                        ))(error)));
                        return;
                    }
                };
                let shared = Arc::new(Shared {
                    path: path_owned,
                    entries: RwLock::new(entries),
                    changes: Mutex::default(),
                    wake: Condvar::new(),
                    failures: AtomicU64::new(0),
                });
                if ready.send(Ok(Arc::clone(&shared))).is_ok() {
                    shared.write(&runtime, connection);
                }
            })
            .map_err(StoreError::file(
                "starting the thread of the key-value database",
            ))?;
        let shared = opened.recv().unwrap_or_else(|_| {
            Err(StoreError::Refused(
                "the key-value database ended while it was opened".into(),
            ))
        })?;
        Ok(Self {
            _ending: Arc::new(Ending {
                shared: Arc::clone(&shared),
                thread: Mutex::new(Some(thread)),
            }),
            shared,
        })
    }

    /// The value of a key.
    pub fn get(&self, family: &str, key: &str) -> Option<String> {
        self.shared
            .entries
            .read()
            .get(&full_key(family, key))
            .cloned()
    }

    /// Sets a value.
    ///
    /// # Errors
    /// Key or value is too long (512 and 65,536 bytes), the family is empty, or there are a million keys.
    pub fn put(&self, family: &str, key: &str, value: &str) -> Result<(), StoreError> {
        let name = full_key(family, key);
        if family.trim_matches('/').is_empty() || key.trim_matches('/').is_empty() {
            return Err(StoreError::Refused(format!(
                "key-value database: {name} lacks a family or key"
            )));
        }
        if name.len() > KEY_MAX {
            let start: String = name.chars().take(60).collect();
            return Err(StoreError::Refused(format!(
                "key-value database: the key {start}... is too long"
            )));
        }
        if value.len() > VALUE_MAX {
            return Err(StoreError::Refused(format!(
                "key-value database: the value of {name} is too long"
            )));
        }
        let mut entries = self.shared.entries.write();
        if entries.len() >= KEYS_MAX && !entries.contains_key(&name) {
            return Err(StoreError::Refused(format!(
                "key-value database: full, {name} is not kept"
            )));
        }
        entries.insert(name.clone(), value.to_owned());
        self.shared.change([(name, Some(value.to_owned()))]);
        Ok(())
    }

    /// Deletes a key; whether there was one.
    pub fn del(&self, family: &str, key: &str) -> bool {
        let name = full_key(family, key);
        let mut entries = self.shared.entries.write();
        let found = entries.remove(&name).is_some();
        if found {
            self.shared.change([(name, None)]);
        }
        found
    }

    /// Deletes a family, or everything below a key of it; how many keys.
    pub fn deltree(&self, family: &str, key: Option<&str>) -> usize {
        let prefix = match key {
            Some(key) => full_key(family, key),
            None => full_prefix(family),
        };
        let mut entries = self.shared.entries.write();
        let names: Vec<_> = below(&entries, &prefix)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            entries.remove(name);
        }
        let count = names.len();
        if count > 0 {
            self.shared
                .change(names.into_iter().map(|name| (name, None)));
        }
        count
    }

    /// The next components of the keys below `prefix` (a family, or a family and part of a key), each once and in order:
    /// what `DB_KEYS` gives. An empty prefix gives the families.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let prefix = full_prefix(prefix);
        let mut found: Vec<String> = Vec::new();
        for (name, _) in below(&self.shared.entries.read(), &prefix) {
            let rest = name
                .get(prefix.len()..)
                .unwrap_or_default()
                .trim_start_matches('/');
            let component = rest.split('/').next().unwrap_or_default();
            if !component.is_empty() && found.last().is_none_or(|last| last != component) {
                found.push(component.to_owned());
            }
        }
        // `a-b` sorts between `a` and `a/b`.
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All keys (`/family/key`) below `prefix` and their values, in order.
    pub fn tree(&self, prefix: &str) -> Vec<(String, String)> {
        let entries = self.shared.entries.read();
        below(&entries, &full_prefix(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// How many keys there are below `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        below(&self.shared.entries.read(), &full_prefix(prefix)).count()
    }

    /// Waits until all changes are in the file; `false` if that takes longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut changes = self.shared.changes.lock();
        while !changes.waiting.is_empty() || changes.in_hand > 0 {
            if self.shared.wake.wait_until(&mut changes, end).timed_out() {
                return false;
            }
        }
        true
    }

    /// Counters: keys, changes that wait for the disk, failed writes.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let waiting = {
            let changes = self.shared.changes.lock();
            changes.waiting.len() + changes.in_hand
        };
        vec![
            ("astdb_keys", self.shared.entries.read().len() as u64),
            ("astdb_waiting", waiting as u64),
            ("astdb_failed_writes", self.shared.failures.load(Relaxed)),
        ]
    }
}

fn full_prefix(prefix: &str) -> String {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        String::new()
    } else {
        format!("/{prefix}")
    }
}

fn full_key(family: &str, key: &str) -> String {
    format!("/{}/{}", family.trim_matches('/'), key.trim_matches('/'))
}

/// The entry `prefix` itself and those below it, in order.
fn below<'a>(
    entries: &'a BTreeMap<String, String>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    entries
        .range::<str, _>((
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        ))
        .take_while(move |(name, _)| name.starts_with(prefix))
        .filter(move |(name, _)| {
            name.get(prefix.len()..)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

impl Shared {
    /// Queues changes. Called with the entries locked, so that file and memory see them in one order.
    fn change(&self, changed: impl IntoIterator<Item = (String, Option<String>)>) {
        self.changes.lock().waiting.extend(changed);
        self.wake.notify_all();
    }

    /// The thread: writes changes until the end.
    fn write(&self, runtime: &tokio::runtime::Runtime, connection: SqliteConnection) {
        let mut connection = Some(connection);
        let mut failed = false;
        loop {
            let mut changes = self.changes.lock();
            while changes.waiting.is_empty() && !changes.ended {
                self.wake.wait(&mut changes);
            }
            if !changes.ended {
                let pause = if failed { PAUSE } else { WINDOW };
                let end = Instant::now() + pause;
                while !changes.ended && !self.wake.wait_until(&mut changes, end).timed_out() {}
            }
            let ended = changes.ended;
            let batch = std::mem::take(&mut changes.waiting);
            changes.in_hand = batch.len();
            drop(changes);
            let result = runtime.block_on(async {
                let connection = match &mut connection {
                    Some(connection) => connection,
                    None => connection.insert(open(&self.path).await?),
                };
                write_batch(connection, &batch).await
            });
            let mut changes = self.changes.lock();
            changes.in_hand = 0;
            match result {
                Ok(()) => {
                    if failed {
                        tracing::info!("key-value database: written again");
                    }
                    failed = false;
                }
                Err(error) => {
                    connection = None;
                    self.failures.fetch_add(1, Relaxed);
                    if !failed {
                        tracing::error!(%error, "key-value database: cannot be written; changes wait");
                    }
                    failed = true;
                    for (name, value) in batch {
                        changes.waiting.entry(name).or_insert(value);
                    }
                }
            }
            let finished = ended && (failed || changes.waiting.is_empty());
            drop(changes);
            self.wake.notify_all();
            if finished {
                if let Some(connection) = connection {
                    let _ = runtime.block_on(connection.close());
                }
                return;
            }
        }
    }
}

async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let mut options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(5));
    if !path.exists() {
        options = options.journal_mode(SqliteJournalMode::Wal);
    }
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query(CREATE).execute(&mut connection).await?;
    Ok(connection)
}

async fn read(path: &Path) -> Result<(SqliteConnection, BTreeMap<String, String>), sqlx::Error> {
    let mut connection = open(path).await?;
    let rows = sqlx::query("SELECT CAST(key AS TEXT), CAST(value AS TEXT) FROM astdb")
        .fetch_all(&mut connection)
        .await?;
    let mut entries = BTreeMap::new();
    for row in rows.iter().take(KEYS_MAX) {
        let key: Option<String> = row.try_get_unchecked(0)?;
        let value: Option<String> = row.try_get_unchecked(1)?;
        if let Some(key) = key {
            entries.insert(key, value.unwrap_or_default());
        }
    }
    Ok((connection, entries))
}

async fn write_batch(
    connection: &mut SqliteConnection,
    batch: &BTreeMap<String, Option<String>>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for (name, value) in batch {
        let query = match value {
            Some(value) => sqlx::query("INSERT OR REPLACE INTO astdb (key, value) VALUES (?1, ?2)")
                .bind(name)
                .bind(value),
            None => sqlx::query("DELETE FROM astdb WHERE key = ?1").bind(name),
        };
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_in(dir: &tempfile::TempDir) -> AstDb {
        AstDb::open(&dir.path().join("astdb.sqlite3")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn put(db: &AstDb, family: &str, key: &str, value: &str) {
        db.put(family, key, value)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn values_are_there_at_once_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let db = open_in(&dir);
        put(&db, "dialgroup", "group_100", "PJSIP/101&PJSIP/102");
        put(&db, "gone", "x", "1");
        assert_eq!(
            db.get("dialgroup", "group_100").as_deref(),
            Some("PJSIP/101&PJSIP/102")
        );
        assert!(db.del("gone", "x") && !db.del("gone", "x"));
        drop(db);
        let db = open_in(&dir);
        assert_eq!(
            db.get("dialgroup", "group_100").as_deref(),
            Some("PJSIP/101&PJSIP/102")
        );
        assert_eq!(db.get("gone", "x"), None);
    }

    #[test]
    fn a_flush_puts_the_change_into_the_file() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let db = open_in(&dir);
        put(&db, "a", "b", "first");
        put(&db, "a", "b", "second");
        assert!(db.flush(Duration::from_secs(60)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|e| panic!("{e}"));
        let (_, entries) = runtime
            .block_on(read(&dir.path().join("astdb.sqlite3")))
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(entries.get("/a/b").map(String::as_str), Some("second"));
    }

    #[test]
    fn trees_are_listed_counted_and_deleted_by_whole_components() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let db = open_in(&dir);
        for (family, key) in [
            ("cf", "100"),
            ("cf", "100-x"),
            ("cf", "100/day"),
            ("cf", "100/night"),
            ("cfx", "1"),
            ("b", "1"),
        ] {
            put(&db, family, key, "v");
        }
        assert_eq!(db.keys(""), ["b", "cf", "cfx"]);
        assert_eq!(db.keys("cf"), ["100", "100-x"]);
        assert_eq!(db.keys("/cf/100/"), ["day", "night"]);
        assert_eq!(db.count("cf"), 4);
        assert_eq!(db.count(""), 6);
        assert_eq!(db.tree("cf/100").len(), 3);
        assert_eq!(db.tree("cfx"), [("/cfx/1".to_owned(), "v".to_owned())]);
        assert_eq!(db.deltree("cf", Some("100")), 3);
        assert_eq!(db.deltree("cf", None), 1);
        assert_eq!(db.keys(""), ["b", "cfx"]);
    }

    #[test]
    fn keys_and_values_beyond_the_limits_are_refused() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let db = open_in(&dir);
        assert!(db.put("f", &"k".repeat(KEY_MAX), "v").is_err());
        assert!(db.put("f", "k", &"v".repeat(VALUE_MAX + 1)).is_err());
        assert!(db.put("", "k", "v").is_err());
        assert!(db.put("f", "", "v").is_err());
        assert_eq!(db.count(""), 0);
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let path = dir.path().join("astdb.sqlite3");
        std::fs::write(
            &path,
            "this is a text, and a long one at that: certainly no database",
        )
        .unwrap_or_else(|e| panic!("{e}"));
        let Err(error) = AstDb::open(&path) else {
            panic!("opened")
        };
        assert!(error.to_string().contains("astdb.sqlite3"), "{error}");
    }
}
