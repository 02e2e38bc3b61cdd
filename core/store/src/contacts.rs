//! Contacts written behind: a registration is answered at once, and its row of `ps_contacts` follows within moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::error::StoreError;
use crate::pool::{Statement, is_about_the_row};
use crate::rows::{Contact, Row as _};
use crate::schema::Columns;
use crate::store::{Store, explain};

/// Changes that wait at most; a change of a contact that already waits takes no further place.
const WAITING_MAX: usize = 262_144;
/// Changes written in one transaction.
const BATCH: usize = 500;
/// Rows inserted in one statement: engines limit its parameters.
const ROWS: usize = 100;
/// Rest after a batch, in which the next one gathers: a transaction costs much more than a row. A change that comes after
/// silence is written at once.
const REST: Duration = Duration::from_millis(20);
/// Longest pause between attempts while the database is down.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Contact id and server name.
type Key = (String, String);

/// Writes contacts behind. Cheap to clone, callable from any thread; the last clone ends the writing.
#[derive(Clone)]
pub struct ContactWriter {
    shared: Arc<Shared>,
    _ending: Arc<Ending>,
}

struct Shared {
    store: Store,
    waiting: Mutex<Waiting>,
    wake: Notify,
    ended: AtomicBool,
    written: AtomicU64,
    refused: AtomicU64,
    rejected: AtomicU64,
    failures: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    /// The newest change of each contact: its row, or `None` to delete it.
    changes: FxHashMap<Key, Option<Contact>>,
    /// Changes taken out and not yet written.
    in_hand: usize,
}

struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended.store(true, Relaxed);
        self.0.wake.notify_one();
    }
}

impl ContactWriter {
    /// Starts the writing. Must be called inside the control runtime.
    pub fn spawn(store: Store) -> Self {
        let shared = Arc::new(Shared {
            store,
            waiting: Mutex::default(),
            wake: Notify::new(),
            ended: AtomicBool::new(false),
            written: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        });
        tokio::spawn(write(Arc::clone(&shared)));
        Self {
            _ending: Arc::new(Ending(Arc::clone(&shared))),
            shared,
        }
    }

    /// Writes this contact, in place of an older row with its `id` and `reg_server`. Never waits.
    pub fn upsert(&self, contact: Contact) {
        self.shared.put(
            (contact.id.clone(), contact.reg_server.clone()),
            Some(contact),
        );
    }

    /// Deletes a contact. Never waits.
    pub fn delete(&self, id: &str, reg_server: &str) {
        self.shared
            .put((id.to_owned(), reg_server.to_owned()), None);
    }

    /// Waits until everything is written; `false` if that takes longer than `limit`.
    pub async fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            if self.shared.waiting.lock().is_empty() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Counters: changes written, waiting, refused because too many wait, rejected by the database, failed attempts.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let waiting = self.shared.waiting.lock();
        vec![
            ("contacts_written", self.shared.written.load(Relaxed)),
            (
                "contacts_waiting",
                (waiting.changes.len() + waiting.in_hand) as u64,
            ),
            ("contacts_refused", self.shared.refused.load(Relaxed)),
            ("contacts_rejected", self.shared.rejected.load(Relaxed)),
            (
                "contacts_failed_attempts",
                self.shared.failures.load(Relaxed),
            ),
        ]
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.in_hand == 0
    }

    /// Takes some changes out.
    fn take(&mut self) -> Vec<(Key, Option<Contact>)> {
        let keys: Vec<_> = self.changes.keys().take(BATCH).cloned().collect();
        let batch: Vec<_> = keys
            .iter()
            .filter_map(|key| self.changes.remove_entry(key))
            .collect();
        self.in_hand = batch.len();
        batch
    }

    /// Puts back what could not be written, unless a newer change of the contact waits by now.
    fn put_back(&mut self, batch: Vec<(Key, Option<Contact>)>) {
        for (key, change) in batch {
            self.changes.entry(key).or_insert(change);
        }
        self.in_hand = 0;
    }
}

impl Shared {
    fn put(&self, key: Key, change: Option<Contact>) {
        let mut waiting = self.waiting.lock();
        if waiting.changes.len() >= WAITING_MAX && !waiting.changes.contains_key(&key) {
            drop(waiting);
            if self.refused.fetch_add(1, Relaxed).is_power_of_two() {
                tracing::error!(
                    "contacts: too many changes wait for the database; some will be missing after a restart"
                );
            }
            return;
        }
        waiting.changes.insert(key, change);
        drop(waiting);
        self.wake.notify_one();
    }
}

/// Writes batches until the end.
async fn write(shared: Arc<Shared>) {
    let mut columns = None;
    let mut pause = Duration::ZERO;
    loop {
        let ended = shared.ended.load(Relaxed);
        let batch = shared.waiting.lock().take();
        if batch.is_empty() {
            if ended {
                return;
            }
            shared.wake.notified().await;
            continue;
        }
        match write_batch(&shared, &mut columns, &batch).await {
            Ok(()) => {
                shared.waiting.lock().in_hand = 0;
                shared.written.fetch_add(batch.len() as u64, Relaxed);
                if !pause.is_zero() {
                    tracing::info!("contacts: written again");
                }
                pause = Duration::ZERO;
                if batch.len() < BATCH && !shared.ended.load(Relaxed) {
                    sleep(REST).await;
                }
            }
            Err(error) => {
                columns = None;
                shared.failures.fetch_add(1, Relaxed);
                shared.waiting.lock().put_back(batch);
                if pause.is_zero() {
                    tracing::error!(%error, "contacts: cannot be written; they wait");
                }
                pause = (pause * 2).clamp(Duration::from_millis(100), PAUSE_MAX);
                if ended {
                    return;
                }
                // An end during the pause means one attempt more, at once.
                let _ = timeout(pause, async {
                    while !shared.ended.load(Relaxed) {
                        shared.wake.notified().await;
                    }
                })
                .await;
            }
        }
    }
}

async fn write_batch(
    shared: &Shared,
    columns: &mut Option<Columns>,
    batch: &[(Key, Option<Contact>)],
) -> Result<(), StoreError> {
    let pool = shared.store.pool();
    let columns = match columns {
        Some(columns) => columns,
        None => {
            let found = Columns::find(pool, "ps_contacts").await?;
            let missing = || StoreError::Schema {
                table: "ps_contacts".into(),
                why: "does not exist".into(),
            };
            columns.insert(found.ok_or_else(missing)?)
        }
    };
    let whole = all_statements(shared, columns, batch);
    let error = match pool.transaction(whole).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if !is_about_the_row(&error, pool.kind()) {
        return Err(StoreError::sql("writing contacts")(error));
    }
    // One of them is at fault, or another server has a row of the same id in a table with ids of one server only:
    // then the id belongs to whoever registered last.
    for (key, change) in batch {
        match pool
            .transaction(statements(shared, columns, key, change.as_ref()))
            .await
        {
            Ok(()) => {}
            Err(error) if is_about_the_row(&error, pool.kind()) => {
                shared.rejected.fetch_add(1, Relaxed);
                tracing::error!(
                    id = key.0,
                    error = explain(&error),
                    "contacts: the database rejects one"
                );
            }
            Err(error) => return Err(StoreError::sql("writing contacts")(error)),
        }
    }
    Ok(())
}

/// A whole batch in few statements: out with the old rows of each server, in with the new ones.
fn all_statements(
    shared: &Shared,
    columns: &Columns,
    batch: &[(Key, Option<Contact>)],
) -> Vec<Statement> {
    let kind = shared.store.kind();
    let mut servers: FxHashMap<&str, Vec<&str>> = FxHashMap::default();
    for ((id, server), _) in batch {
        servers.entry(server).or_default().push(id);
    }
    let mut statements = Vec::new();
    for (server, ids) in servers {
        let marks: Vec<_> = (1..=ids.len()).map(|n| kind.parameter(n)).collect();
        let mut sql = format!(
            "DELETE FROM ps_contacts WHERE {} IN ({})",
            kind.quote("id"),
            marks.join(", ")
        );
        let mut parameters: Vec<_> = ids.iter().map(|id| Some((*id).to_owned())).collect();
        if columns.has("reg_server") {
            let column = kind.quote("reg_server");
            sql += &format!(
                " AND ({column} = {} OR {column} IS NULL)",
                kind.parameter(ids.len() + 1)
            );
            parameters.push(Some(server.to_owned()));
        }
        statements.push(Statement::with(sql, parameters));
    }
    let rows: Vec<_> = batch
        .iter()
        .filter_map(|(_, contact)| Some(contact.as_ref()?.write()))
        .collect();
    for rows in rows.chunks(ROWS) {
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        statements.push(columns.insert_all(kind, "ps_contacts", &rows));
    }
    statements
}

/// One contact, whatever server it had. Out with the old row, in with the new one: understood by every engine, whatever indexes the table has.
fn statements(
    shared: &Shared,
    columns: &Columns,
    key: &Key,
    contact: Option<&Contact>,
) -> Vec<Statement> {
    let kind = shared.store.kind();
    let sql = format!(
        "DELETE FROM ps_contacts WHERE {} = {}",
        kind.quote("id"),
        kind.parameter(1)
    );
    let mut statements = vec![Statement::with(sql, vec![Some(key.0.clone())])];
    if let Some(contact) = contact {
        statements.push(columns.insert(kind, "ps_contacts", &contact.write()));
    }
    statements
}
