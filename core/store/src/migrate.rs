//! Making what is missing. Tables that exist belong to whoever made them: they are neither altered nor given triggers.

use crate::changes::{SLOTS, trigger_names, triggers};
use crate::error::{Problem, Severity, StoreError};
use crate::pool::{Kind, Pool, Statement};
use crate::schema::existing;
use crate::snapshot::Table;

/// The number of the last migration.
const VERSION: u32 = 5;

/// Tables of Asterisk and the product, then our own; in pieces that are separated by blank lines.
fn scripts(kind: Kind) -> [&'static str; 5] {
    match kind {
        Kind::Sqlite => [
            include_str!("../../../migrations/sqlite/0001_realtime.sql"),
            include_str!("../../../migrations/sqlite/0002_strowger.sql"),
            include_str!("../../../migrations/sqlite/0003_imports.sql"),
            include_str!("../../../migrations/sqlite/0004_api.sql"),
            include_str!("../../../migrations/sqlite/0005_publications.sql"),
        ],
        Kind::MySql => [
            include_str!("../../../migrations/mysql/0001_realtime.sql"),
            include_str!("../../../migrations/mysql/0002_strowger.sql"),
            include_str!("../../../migrations/mysql/0003_imports.sql"),
            include_str!("../../../migrations/mysql/0004_api.sql"),
            include_str!("../../../migrations/mysql/0005_publications.sql"),
        ],
        Kind::Postgres => [
            include_str!("../../../migrations/postgres/0001_realtime.sql"),
            include_str!("../../../migrations/postgres/0002_strowger.sql"),
            include_str!("../../../migrations/postgres/0003_imports.sql"),
            include_str!("../../../migrations/postgres/0004_api.sql"),
            include_str!("../../../migrations/postgres/0005_publications.sql"),
        ],
    }
}

/// What a piece of a script makes.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    /// A type, used by tables that follow.
    Type(&'a str),
    /// A table of this name.
    Table(&'a str, &'a str),
    /// An index on the table of this name.
    Index(&'a str, &'a str),
}

fn pieces(script: &str) -> impl Iterator<Item = Piece<'_>> {
    script.split("\n\n").filter_map(|piece| {
        let piece = piece.trim();
        let word = |text: &'static str| piece.strip_prefix(text)?.split_whitespace().next();
        if let Some(table) = word("CREATE TABLE IF NOT EXISTS ") {
            Some(Piece::Table(table, piece))
        } else if piece.starts_with("CREATE INDEX IF NOT EXISTS ") {
            let table = piece.split(" ON ").nth(1)?.split_whitespace().next()?;
            Some(Piece::Index(table, piece))
        } else if piece.starts_with("DO ") {
            Some(Piece::Type(piece))
        } else {
            None
        }
    })
}

pub(crate) async fn run(pool: &Pool) -> Result<Vec<Problem>, StoreError> {
    let kind = pool.kind();
    let before = existing(pool).await?;
    let exists = |table: &str| before.iter().any(|name| name.eq_ignore_ascii_case(table));
    let mut problems = Vec::new();
    let mut made: Vec<&str> = Vec::new();
    for script in scripts(kind) {
        let missing =
            pieces(script).any(|piece| matches!(piece, Piece::Table(table, _) if !exists(table)));
        if !missing {
            continue;
        }
        for piece in pieces(script) {
            let (table, sql) = match piece {
                Piece::Type(sql) => ("(types)", sql),
                Piece::Table(table, sql) if !exists(table) => (table, sql),
                Piece::Index(table, sql) if made.contains(&table) => (table, sql),
                Piece::Table(..) | Piece::Index(..) => continue,
            };
            match pool.define(sql).await {
                Ok(()) if matches!(piece, Piece::Table(..)) => made.push(table),
                Ok(()) => {}
                Err(sqlx::Error::Database(error)) => problems.push(Problem {
                    severity: Severity::Error,
                    table: table.into(),
                    row: None,
                    what: format!("cannot be made: {}", error.message()),
                }),
                Err(error) => return Err(StoreError::sql(format!("making table {table}"))(error)),
            }
        }
    }
    if !made.is_empty() {
        tracing::info!(tables = made.len(), "database: tables made");
    }
    if let Err(error) = follow(pool, &made).await {
        match error {
            sqlx::Error::Database(error) => problems.push(Problem {
                severity: Severity::Warning,
                table: "strowger_changes".into(),
                row: None,
                what: format!(
                    "changes are found by checksums, which costs more: {}",
                    error.message()
                ),
            }),
            error => {
                return Err(StoreError::Sql {
                    what: "preparing the change counters".into(),
                    source: error,
                });
            }
        }
    }
    Ok(problems)
}

/// Remembers the tables made now, and gives every watched table made here its counters and triggers.
async fn follow(pool: &Pool, made: &[&str]) -> Result<(), sqlx::Error> {
    let kind = pool.kind();
    let p1 = kind.parameter(1);
    let known = |table: &str| {
        let sql = format!(
            "SELECT {} FROM strowger_tables WHERE table_name = {p1}",
            kind.as_text("table_name")
        );
        Statement::with(sql, vec![Some(table.to_owned())])
    };
    for table in made {
        if pool.value(known(table)).await?.is_none() {
            let sql = format!("INSERT INTO strowger_tables (table_name) VALUES ({p1})");
            unless_there(
                pool.execute(Statement::with(sql, vec![Some((*table).to_owned())]))
                    .await,
            )?;
        }
    }
    let present = crate::changes::existing_triggers(pool).await?;
    for table in Table::ALL {
        let name = table.name();
        if pool.value(known(name)).await?.is_none() {
            continue;
        }
        let count = pool
            .value(Statement::with(
                format!(
                    "SELECT {} FROM strowger_changes WHERE table_name = {p1}",
                    kind.as_text("COUNT(*)")
                ),
                vec![Some(name.to_owned())],
            ))
            .await?;
        let slots = if kind == Kind::Sqlite { 1 } else { SLOTS };
        if count.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0) < slots {
            // One statement for all slots, some of which another process may have made.
            let rows: Vec<_> = (0..slots)
                .map(|slot| format!("('{name}', {slot})"))
                .collect();
            let (verb, ending) = match kind {
                Kind::Sqlite => ("INSERT OR IGNORE", ""),
                Kind::MySql => ("INSERT IGNORE", ""),
                Kind::Postgres => ("INSERT", " ON CONFLICT DO NOTHING"),
            };
            let sql = format!(
                "{verb} INTO strowger_changes (table_name, slot) VALUES {}{ending}",
                rows.join(", ")
            );
            pool.execute(Statement::new(sql)).await?;
        }
        if !trigger_names(kind, name)
            .iter()
            .all(|trigger| present.contains(trigger))
        {
            for sql in triggers(kind, name) {
                unless_there(pool.define(&sql).await.map(|()| 0))?;
            }
        }
    }
    let sql = format!(
        "SELECT {} FROM strowger_schema",
        kind.as_text("COALESCE(MAX(version), 0)")
    );
    let version = pool
        .value(Statement::new(sql))
        .await?
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(0);
    for version in version + 1..=VERSION {
        let sql = format!(
            "INSERT INTO strowger_schema (version, applied) VALUES ({version}, CURRENT_TIMESTAMP)"
        );
        unless_there(pool.execute(Statement::new(sql)).await)?;
    }
    Ok(())
}

/// Two processes may start at once: what the other has just made is as good as ours.
fn unless_there(result: Result<u64, sqlx::Error>) -> Result<(), sqlx::Error> {
    match result {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(()),
        Err(sqlx::Error::Database(error)) if explain_exists(error.message()) => Ok(()),
        Err(error) => Err(error),
    }
}

fn explain_exists(message: &str) -> bool {
    message.contains("already exists")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_every_script_is_understood_and_all_engines_make_the_same_tables() {
        let tables = |kind| -> Vec<String> {
            scripts(kind)
                .iter()
                .flat_map(|script| pieces(script))
                .filter_map(|piece| match piece {
                    Piece::Table(table, _) => Some(table.to_owned()),
                    _ => None,
                })
                .collect()
        };
        let sqlite = tables(Kind::Sqlite);
        assert!(
            sqlite.iter().any(|table| table == "cdr") && sqlite.len() == 34,
            "{sqlite:?}"
        );
        assert_eq!(sqlite, tables(Kind::MySql));
        assert_eq!(sqlite, tables(Kind::Postgres));
        for kind in [Kind::Sqlite, Kind::MySql, Kind::Postgres] {
            for script in scripts(kind) {
                let all = script
                    .split("\n\n")
                    .filter(|piece| !piece.trim_start().starts_with("--"))
                    .count();
                assert_eq!(pieces(script).count(), all);
            }
        }
    }
}
