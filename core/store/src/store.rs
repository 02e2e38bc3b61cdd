//! The database as one handle: connecting, and whole tables read into rows.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Problem, StoreError};
use crate::pool::{Kind, Pool, Statement};
use crate::snapshot::{Snapshot, Table};
use crate::{load, migrate, url};

/// A connected database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    target: url::Target,
    description: String,
}

impl Store {
    /// Connects to a database; a relative SQLite path is below `data_dir`, and its file is made if there is none.
    ///
    /// # Errors
    /// The URL cannot be used, or nothing answers within three seconds.
    pub async fn connect(url: &str, data_dir: &Path) -> Result<Self, StoreError> {
        let target = url::parse(url, data_dir)?;
        let description = url::describe(&target);
        if let url::Target::Sqlite(path) = &target
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder).map_err(StoreError::file(format!(
                "making the folder {}",
                folder.display()
            )))?;
        }
        let pool = Pool::open(&target)
            .await
            .map_err(|error| StoreError::Connect {
                target: description.clone(),
                why: explain(&error),
            })?;
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                target,
                description,
            }),
        })
    }

    /// The engine.
    pub fn kind(&self) -> Kind {
        self.inner.pool.kind()
    }

    /// Engine, host and database, for messages.
    pub fn target(&self) -> &str {
        &self.inner.description
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(crate) fn url(&self) -> &url::Target {
        &self.inner.target
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let statement = Statement::new(format!("SELECT {}", self.kind().as_text("1")));
        match self.pool().value(statement).await {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreError::Connect {
                target: self.target().to_owned(),
                why: explain(&error),
            }),
        }
    }

    /// Makes the tables that are missing, and the triggers that tell of changes on tables made here. Tables that exist
    /// are not touched. May run at every start.
    ///
    /// # Errors
    /// The database does not answer. What it refuses to make is a problem, not an error: [`Store::load`] knows whether
    /// it can do without.
    pub async fn migrate(&self) -> Result<Vec<Problem>, StoreError> {
        migrate::run(self.pool()).await
    }

    /// Reads all realtime tables, and the contacts that are still good.
    ///
    /// # Errors
    /// The database does not answer, or a table or column that calls cannot do without is missing.
    pub async fn load(&self) -> Result<(Snapshot, Vec<Problem>), StoreError> {
        let mut snapshot = Snapshot::default();
        let mut problems = Vec::new();
        for table in Table::ALL {
            if load::is_loaded_with_another(table) {
                continue;
            }
            let (_, found) = load::table(self.pool(), table, &mut snapshot).await?;
            problems.extend(found);
        }
        let (_, found) = crate::sorcery::obey(&mut snapshot);
        problems.extend(found);
        let (contacts, found) = load::contacts(self.pool(), now_s()).await?;
        snapshot.contacts = Arc::new(contacts);
        problems.extend(found);
        if !crate::schema::existing(self.pool())
            .await?
            .iter()
            .any(|table| table.eq_ignore_ascii_case("cdr"))
        {
            problems.push(Problem {
                severity: crate::Severity::Warning,
                table: "cdr".into(),
                row: None,
                what: "does not exist: call detail records wait in the spool until it does".into(),
            });
        }
        Ok((snapshot, problems))
    }

    /// Deletes contacts from `ps_contacts` that have expired, or belong to this server and cannot outlive its
    /// connections (`prune_on_boot`). For the start, before phones register again.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn prune_contacts(&self, reg_server: &str) -> Result<u64, StoreError> {
        load::prune_contacts(self.pool(), now_s(), reg_server).await
    }

    /// What is kept of subscriptions (`ps_subscription_persistence`), for the start; nothing where there is no such table.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn subscriptions(&self) -> Result<Vec<crate::rows::OptionsRow>, StoreError> {
        load::subscriptions(self.pool()).await
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool().close().await;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store")
            .field(&self.inner.description)
            .finish()
    }
}

/// A driver's error in words for a person.
pub(crate) fn explain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::PoolTimedOut => "no connection within 3 s".to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}

/// Seconds since the epoch.
pub(crate) fn now_s() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}
