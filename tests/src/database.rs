//! A database of its own for one test: SQLite in the data directory, or a fresh database on the MariaDB or PostgreSQL
//! server that `make test` has started.

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which database engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// `STROWGER_TEST_MYSQL_URL` names the server.
    MariaDb,
    /// `STROWGER_TEST_POSTGRES_URL` names the server.
    Postgres,
}

/// A database that is dropped with this value.
#[derive(Debug)]
pub struct Database {
    engine: Engine,
    url: String,
    /// Where databases are created and dropped; empty for SQLite.
    server_url: String,
    name: String,
    runtime: tokio::runtime::Runtime,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// Makes an empty database. Fails the test when the server is not there.
    pub fn create(engine: Engine, folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for SQL");
        let name = format!(
            "strowger_{}_{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let (url, server_url) = match engine {
            Engine::Sqlite => (
                format!("sqlite://{}", folder.join("test.db").display()),
                String::new(),
            ),
            Engine::MariaDb => server("STROWGER_TEST_MYSQL_URL", &name),
            Engine::Postgres => server("STROWGER_TEST_POSTGRES_URL", &name),
        };
        let database = Self {
            engine,
            url,
            server_url,
            name,
            runtime,
        };
        let characters = match engine {
            Engine::Sqlite => return database,
            Engine::MariaDb => " CHARACTER SET utf8mb4",
            Engine::Postgres => "",
        };
        let sql = format!("CREATE DATABASE {}{characters}", database.name);
        database.run(&database.server_url, &sql);
        database
    }

    /// The URL for the exchange's configuration.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Runs statements.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.run(&self.url, sql);
    }

    /// Inserts one row, values as text.
    #[track_caller]
    pub fn insert(&self, table: &str, row: &[(&str, &str)]) {
        let columns: Vec<String> = row.iter().map(|(column, _)| self.name(column)).collect();
        let values: Vec<String> = row.iter().map(|(_, value)| self.literal(value)).collect();
        self.execute(&format!(
            "INSERT INTO {table} ({}) VALUES ({})",
            columns.join(", "),
            values.join(", ")
        ));
    }

    /// Reads columns as text; `tail` is what follows the table's name.
    #[track_caller]
    pub fn select(&self, table: &str, columns: &[&str], tail: &str) -> Vec<Vec<Option<String>>> {
        let kind = if self.engine == Engine::MariaDb {
            "CHAR"
        } else {
            "TEXT"
        };
        let list: Vec<String> = columns
            .iter()
            .map(|column| format!("CAST({} AS {kind})", self.name(column)))
            .collect();
        let sql = format!("SELECT {} FROM {table} {tail}", list.join(", "));
        let count = columns.len();
        let result = self.runtime.block_on(async {
            // One macro for three concrete drivers: sqlx's own common driver cannot read all types.
            macro_rules! read {
                ($connection:expr) => {{
                    let mut connection = $connection;
                    let rows = sqlx::query(AssertSqlSafe(sql.clone()))
                        .fetch_all(&mut connection)
                        .await?;
                    let _ = connection.close().await;
                    rows.iter()
                        .map(|row| {
                            (0..count)
                                .map(|i| row.try_get::<Option<String>, _>(i))
                                .collect()
                        })
                        .collect::<Result<Vec<Vec<Option<String>>>, sqlx::Error>>()
                }};
            }
            match self.engine {
                Engine::Sqlite => read!(sqlite(&self.url).await?),
                Engine::MariaDb => read!(sqlx::MySqlConnection::connect(&self.url).await?),
                Engine::Postgres => read!(sqlx::PgConnection::connect(&self.url).await?),
            }
        });
        result.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    #[track_caller]
    fn run(&self, url: &str, sql: &str) {
        let statement = AssertSqlSafe(sql.to_owned());
        let result = self.runtime.block_on(async {
            macro_rules! run {
                ($connection:expr) => {{
                    let mut connection = $connection;
                    sqlx::raw_sql(statement).execute(&mut connection).await?;
                    let _ = connection.close().await;
                    Ok::<(), sqlx::Error>(())
                }};
            }
            match self.engine {
                Engine::Sqlite => run!(sqlite(url).await?),
                Engine::MariaDb => run!(sqlx::MySqlConnection::connect(url).await?),
                Engine::Postgres => run!(sqlx::PgConnection::connect(url).await?),
            }
        });
        if let Err(error) = result {
            panic!("{sql}: {error}");
        }
    }

    /// A column name, quoted where it is a reserved word (`end`, `match`).
    fn name(&self, column: &str) -> String {
        match self.engine {
            Engine::MariaDb => format!("`{column}`"),
            _ => format!("\"{column}\""),
        }
    }

    fn literal(&self, value: &str) -> String {
        let value = value.replace('\'', "''");
        match self.engine {
            Engine::MariaDb => format!("'{}'", value.replace('\\', "\\\\")),
            _ => format!("'{value}'"),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.engine != Engine::Sqlite && !std::thread::panicking() {
            let force = if self.engine == Engine::Postgres {
                " WITH (FORCE)"
            } else {
                ""
            };
            self.run(
                &self.server_url,
                &format!("DROP DATABASE IF EXISTS {}{force}", self.name),
            );
        }
    }
}

async fn sqlite(url: &str) -> Result<sqlx::SqliteConnection, sqlx::Error> {
    sqlx::sqlite::SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .busy_timeout(crate::SOON)
        .connect()
        .await
}

/// The URL of database `name` on the server of that variable, and the variable's own URL.
fn server(variable: &str, name: &str) -> (String, String) {
    let Ok(url) = std::env::var(variable) else {
        panic!("{variable} is not set: `make test` starts the database servers and sets it");
    };
    let (server, _) = url.rsplit_once('/').unwrap_or((&url, ""));
    (format!("{server}/{name}"), url)
}
