//! The snapshot that follows the database: read without waiting by anyone, changed by one task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::changes::{Looker, Signatures};
use crate::error::{Problem, StoreError};
use crate::load;
use crate::snapshot::{Snapshot, Table};
use crate::sorcery::{self, is_object};
use crate::store::Store;

/// How often tables and triggers themselves are looked for again.
const RELOOK: Duration = Duration::from_secs(10);

/// The realtime tables as they are now. Cheap to clone; the watching ends with the last clone.
#[derive(Clone)]
pub struct Realtime {
    shared: Arc<Shared>,
    /// `None` for a fixed snapshot.
    watcher: Option<Arc<Watcher>>,
}

struct Shared {
    current: ArcSwap<Snapshot>,
    problems: ArcSwap<Vec<Problem>>,
    versions: watch::Sender<u64>,
    healthy: AtomicBool,
}

struct Watcher {
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the watching task keeps.
struct State {
    store: Store,
    looker: Looker,
    seen: Signatures,
    /// Problems by table, in the order of [`Table::ALL`]; then those of no table, and those of what the static tables say
    /// of objects.
    problems: Vec<Vec<Problem>>,
    relook: Instant,
    /// The last complaint, so that it is logged once.
    complaint: Option<String>,
}

impl Realtime {
    /// Loads everything, then looks for changes every `refresh`. Must be called inside the control runtime.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn start(
        store: Store,
        refresh: Duration,
    ) -> Result<(Self, Vec<Problem>), StoreError> {
        let mut looker = Looker::new(store.clone());
        // Looked at before it is loaded: what changes in between is loaded twice rather than missed.
        let seen = looker.look().await?;
        let (mut snapshot, problems) = store.load().await?;
        snapshot.version = 1;
        snapshot.versions = [1; Table::ALL.len()];
        let (_, of_statics) = sorcery::obey(&mut snapshot);
        let shared = Arc::new(Shared::new(snapshot));
        shared.problems.store(Arc::new(problems.clone()));
        let mut by_table = vec![Vec::new(); Table::ALL.len() + 2];
        for problem in problems
            .iter()
            .filter(|problem| !of_statics.contains(problem))
        {
            let at = Table::ALL
                .iter()
                .position(|table| table.name() == problem.table);
            let at = at.map_or(Table::ALL.len(), |at| {
                load::loaded_as(Table::ALL[at]) as usize
            });
            by_table[at].push(problem.clone());
        }
        by_table[Table::ALL.len() + 1] = of_statics;
        let state = State {
            store,
            looker,
            seen,
            problems: by_table,
            relook: Instant::now() + RELOOK,
            complaint: None,
        };
        let state = Arc::new(Mutex::new(state));
        let task = tokio::spawn(watch_changes(
            Arc::clone(&shared),
            Arc::clone(&state),
            refresh,
        ));
        Ok((
            Self {
                shared,
                watcher: Some(Arc::new(Watcher { state, task })),
            },
            problems,
        ))
    }

    /// A snapshot without a database, for tests and tools; change it with [`Realtime::publish`].
    pub fn fixed(snapshot: Snapshot) -> Self {
        Self {
            shared: Arc::new(Shared::new(snapshot)),
            watcher: None,
        }
    }

    /// Puts another snapshot in place; its version becomes the next one.
    pub fn publish(&self, mut snapshot: Snapshot) {
        snapshot.version = self.shared.current.load().version + 1;
        self.shared.put(snapshot);
    }

    /// The tables as they are now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// Tells of each new version.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.versions.subscribe()
    }

    /// What is wrong in the tables at present.
    pub fn problems(&self) -> Arc<Vec<Problem>> {
        self.shared.problems.load_full()
    }

    /// Whether the database answered at the last look.
    pub fn healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Relaxed)
    }

    /// Reads the tables that changed now, instead of at the next look. Tells whether anything was different.
    ///
    /// # Errors
    /// The database does not answer, or a table cannot be used; the last good state stays.
    pub async fn look_now(&self) -> Result<bool, StoreError> {
        let Some(watcher) = &self.watcher else {
            return Ok(false);
        };
        let mut state = watcher.state.lock().await;
        state.refresh(&self.shared, false).await
    }

    /// Reads all tables now, whether they seem changed or not. Tells whether anything was different.
    ///
    /// # Errors
    /// The database does not answer, or a table cannot be used; the last good state stays.
    pub async fn refresh_now(&self) -> Result<bool, StoreError> {
        let Some(watcher) = &self.watcher else {
            return Ok(false);
        };
        let mut state = watcher.state.lock().await;
        state.looker.forget();
        state.refresh(&self.shared, true).await
    }
}

impl Shared {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            versions: watch::Sender::new(snapshot.version),
            current: ArcSwap::from_pointee(snapshot),
            problems: ArcSwap::from_pointee(Vec::new()),
            healthy: AtomicBool::new(true),
        }
    }

    fn put(&self, snapshot: Snapshot) {
        let version = snapshot.version;
        self.current.store(Arc::new(snapshot));
        self.versions.send_replace(version);
    }
}

async fn watch_changes(shared: Arc<Shared>, state: Arc<Mutex<State>>, refresh: Duration) {
    let mut ticks = tokio::time::interval(refresh.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut state = state.lock().await;
        let result = state.refresh(&shared, false).await;
        state.complain(&shared, result.err());
    }
}

impl State {
    /// Looks, loads what changed, and publishes it.
    async fn refresh(&mut self, shared: &Shared, everything: bool) -> Result<bool, StoreError> {
        if Instant::now() >= self.relook {
            self.looker.forget();
            self.relook = Instant::now() + RELOOK;
        }
        let found = self.looker.look().await?;
        let before = shared.current.load_full();
        let mut snapshot = Snapshot::clone(&before);
        let (mut changed, mut loaded) = (false, Vec::new());
        let mut failure = None;
        for (at, table) in Table::ALL.into_iter().enumerate() {
            if found[at] == self.seen[at] && !everything {
                continue;
            }
            let as_table = load::loaded_as(table);
            if !loaded.contains(&as_table) {
                match load::table(self.store.pool(), as_table, &mut snapshot).await {
                    Ok((different, problems)) => {
                        loaded.push(as_table);
                        self.problems[as_table as usize] = problems;
                        if different {
                            changed = true;
                            snapshot.versions[as_table as usize] += 1;
                        }
                    }
                    Err(error @ StoreError::Schema { .. }) => {
                        // The other tables still count; this one is tried again at the next look.
                        failure = Some(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.seen[at] = found[at];
        }
        if changed {
            // A table that changed may not count, and static lines may count in its place.
            for table in Table::ALL.into_iter().filter(|table| is_object(*table)) {
                snapshot.versions[table as usize] = before.versions[table as usize];
            }
            let (different, problems) = sorcery::obey(&mut snapshot);
            self.problems[Table::ALL.len() + 1] = problems;
            for table in &different {
                snapshot.versions[*table as usize] += 1;
            }
            let statics = Table::StaticExtensions as usize;
            let others = snapshot.versions != before.versions;
            changed = others || snapshot.versions[statics] != before.versions[statics];
            if !changed {
                // What was read is kept, for the day when it counts.
                shared.current.store(Arc::new(snapshot.clone()));
            }
        }
        if !loaded.is_empty() {
            shared.problems.store(Arc::new(self.problems.concat()));
        }
        if changed {
            for table in Table::ALL {
                snapshot.versions[table as usize] =
                    snapshot.versions[load::loaded_as(table) as usize];
            }
            snapshot.version += 1;
            let tables: Vec<_> = loaded.iter().map(|table| table.name()).collect();
            tracing::debug!(
                version = snapshot.version,
                tables = tables.join(" "),
                "database: changes loaded"
            );
            shared.put(snapshot);
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(changed),
        }
    }

    /// One line when it goes wrong, one when it is right again.
    fn complain(&mut self, shared: &Shared, error: Option<StoreError>) {
        shared.healthy.store(error.is_none(), Ordering::Relaxed);
        match error {
            Some(error) => {
                if self.complaint.is_none() {
                    tracing::error!(
                        target = self.store.target(),
                        %error,
                        "database: changes cannot be read; the last state stays in use"
                    );
                }
                self.complaint = Some(error.to_string());
            }
            None => {
                if self.complaint.take().is_some() {
                    tracing::info!(target = self.store.target(), "database: answers again");
                }
            }
        }
    }
}
