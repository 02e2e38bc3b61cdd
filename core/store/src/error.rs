//! What can go wrong with the database, in words for the person who runs it; no message holds a password.

use std::fmt;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database URL cannot be used.
    #[error("database URL {url}: {why}")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// Nothing answers, or it refuses us.
    #[error("cannot connect to {target}: {why}")]
    Connect {
        /// Engine, host and database, without user or password.
        target: String,
        /// What the driver or the server says.
        why: String,
    },
    /// The database answers, but a table or column that must exist is not there.
    #[error("table {table}: {why}")]
    Schema {
        /// The table.
        table: String,
        /// What is missing.
        why: String,
    },
    /// A statement failed.
    #[error("{what}: {source}")]
    Sql {
        /// What was attempted.
        what: String,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    File {
        /// What was attempted, with the path.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A key or value that the store does not take.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    /// The error with all that led to it.
    pub(crate) fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Many repeat their cause in their own words.
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        text
    }

    pub(crate) fn sql(what: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let what = what.into();
        move |source| Self::Sql { what, source }
    }

    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }
}

/// How much a [`Problem`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Works with a default.
    Warning,
    /// A row or table is without effect.
    Error,
}

/// Something in the database that a person should look at; loading went on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The table.
    pub table: String,
    /// The row (its id), if one row is meant.
    pub row: Option<String>,
    /// What is wrong and what happens instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.row {
            Some(row) => write!(f, "table {}, row {row}: {}", self.table, self.what),
            None => write!(f, "table {}: {}", self.table, self.what),
        }
    }
}
