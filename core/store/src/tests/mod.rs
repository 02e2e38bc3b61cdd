//! The store against real databases: SQLite always, MariaDB and PostgreSQL where `STROWGER_TEST_MYSQL_URL` and
//! `STROWGER_TEST_POSTGRES_URL` name a server with the right to make databases. Each test has a database of its own.

mod cdr;
mod changes;
mod contacts;
mod edit;
mod files;
mod outage;
mod tables;

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::pool::{Kind, Pool, Statement};
use crate::store::Store;

/// A database of one test.
pub(super) struct Db {
    pub(super) kind: Kind,
    pub(super) url: String,
    dir: tempfile::TempDir,
    /// Server and name of what has to be dropped at the end.
    made: Option<(String, String)>,
}

impl Db {
    fn new(kind: Kind, server: Option<&str>) -> impl Future<Output = Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "strowger_test_{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let server = server.map(str::to_owned);
        async move {
            let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
            let Some(server) = server else {
                return Self {
                    kind,
                    url: "sqlite://test.db".into(),
                    dir,
                    made: None,
                };
            };
            define(&server, &format!("CREATE DATABASE {name}")).await;
            let (base, _) = server
                .rsplit_once('/')
                .unwrap_or_else(|| panic!("{server} names no database"));
            Self {
                kind,
                url: format!("{base}/{name}"),
                dir,
                made: Some((server, name)),
            }
        }
    }

    /// A store, as the exchange would open it.
    pub(super) async fn store(&self) -> Store {
        Store::connect(&self.url, self.dir.path())
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A store whose tables are made.
    pub(super) async fn migrated(&self) -> Store {
        let store = self.store().await;
        let problems = store
            .migrate()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(problems, [], "{:?}", self.kind);
        store
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn drop_database(self) {
        if let Some((server, name)) = &self.made {
            let force = if self.kind == Kind::Postgres {
                " WITH (FORCE)"
            } else {
                ""
            };
            define(server, &format!("DROP DATABASE {name}{force}")).await;
        }
    }
}

async fn define(server: &str, sql: &str) {
    let store = Store::connect(server, std::path::Path::new("/"))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    run(&store, sql).await;
    store.close().await;
}

/// Runs statements.
pub(super) async fn run(store: &Store, sql: &str) {
    store
        .pool()
        .define(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The first column of all rows of a query, as text.
pub(super) async fn texts(store: &Store, sql: &str) -> Vec<Option<String>> {
    let rows = pool(store)
        .rows(Statement::new(sql), 1)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.into_iter().flatten().collect()
}

pub(super) async fn count(store: &Store, from: &str) -> u64 {
    let sql = format!("SELECT {} FROM {from}", store.kind().as_text("COUNT(*)"));
    texts(store, &sql)
        .await
        .into_iter()
        .flatten()
        .find_map(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{sql}"))
}

fn pool(store: &Store) -> &Pool {
    store.pool()
}

/// Runs a test on each engine that is there.
pub(super) fn on_each_engine<F: Future<Output = Db>>(test: impl Fn(Db) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let engines = [
        (Kind::Sqlite, None),
        (Kind::MySql, Some("STROWGER_TEST_MYSQL_URL")),
        (Kind::Postgres, Some("STROWGER_TEST_POSTGRES_URL")),
    ];
    for (kind, variable) in engines {
        let server = match variable.map(std::env::var) {
            Some(Ok(server)) if !server.is_empty() => Some(server),
            Some(_) => {
                println!(
                    "skipped on {kind:?}: {} is not set",
                    variable.unwrap_or_default()
                );
                continue;
            }
            None => None,
        };
        runtime.block_on(async {
            let db = test(Db::new(kind, server.as_deref()).await).await;
            db.drop_database().await;
        });
    }
}

/// Waits until `done`, at most for `limit`.
pub(super) async fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < limit,
            "{what} did not happen within {limit:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}
