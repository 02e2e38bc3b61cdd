//! What a table looks like in the database at hand: which columns it has, and how to select and fill them. Tables made
//! by others may lack columns of ours and have others of their own.

use crate::error::StoreError;
use crate::pool::{Kind, Pool, Statement};

/// A column as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name as written in the database.
    pub(crate) name: String,
    /// Its type as the engine names it, lower case.
    pub(crate) kind: String,
    /// Limit of a text column, in characters.
    pub(crate) characters_max: Option<usize>,
}

impl Column {
    /// Whether it holds numbers only, so that booleans have to be 0 and 1.
    pub(crate) fn is_number(&self) -> bool {
        let kind = self.kind.as_str();
        [
            "int", "serial", "numeric", "decimal", "real", "double", "float", "bit",
        ]
        .iter()
        .any(|name| kind.contains(name))
    }
}

/// A table as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns(Vec<Column>);

impl Columns {
    /// The columns of `table`; `None` if there is no such table.
    pub(crate) async fn find(pool: &Pool, table: &str) -> Result<Option<Self>, StoreError> {
        let statement = match pool.kind() {
            Kind::Sqlite => Statement::with(
                "SELECT name, type, NULL FROM pragma_table_info(?1)",
                vec![Some(table.to_owned())],
            ),
            Kind::MySql => Statement::with(
                "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR), CAST(character_maximum_length AS CHAR) \
                 FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? \
                 ORDER BY ordinal_position",
                vec![Some(table.to_owned())],
            ),
            Kind::Postgres => Statement::with(
                "SELECT attname::text, format_type(atttypid, atttypmod), \
                 CASE WHEN atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND atttypmod > 4 \
                 THEN (atttypmod - 4)::text END \
                 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
                 ORDER BY attnum",
                vec![Some(table.to_owned())],
            ),
        };
        let rows = pool
            .rows(statement, 3)
            .await
            .map_err(StoreError::sql(format!("looking at table {table}")))?;
        let columns: Vec<_> = rows
            .into_iter()
            .filter_map(|mut row| {
                let characters_max = row.pop().flatten().and_then(|text| text.parse().ok());
                let kind = row.pop().flatten().unwrap_or_default();
                let name = row.pop().flatten()?;
                // PostgreSQL names its types in the case they were made with; only there is the text used in a cast.
                let kind = if pool.kind() == Kind::Postgres {
                    kind
                } else {
                    kind.to_ascii_lowercase()
                };
                Some(Column {
                    name,
                    kind,
                    characters_max,
                })
            })
            .collect();
        Ok((!columns.is_empty()).then_some(Self(columns)))
    }

    /// The column of this name, in whatever case it is written.
    pub(crate) fn get(&self, name: &str) -> Option<&Column> {
        self.0
            .iter()
            .find(|column| column.name == name)
            .or_else(|| {
                self.0
                    .iter()
                    .find(|column| column.name.eq_ignore_ascii_case(name))
            })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All columns, in the order of the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Column> {
        self.0.iter()
    }

    /// A `SELECT` of those of `wanted` that exist, as text named `c1`, `c2` and so on; and for each of them its place in the result.
    pub(crate) fn select(
        &self,
        kind: Kind,
        table: &str,
        wanted: &[&str],
    ) -> (String, Vec<Option<usize>>) {
        let mut list = Vec::new();
        let places = wanted
            .iter()
            .map(|name| {
                let column = self.get(name)?;
                let place = list.len();
                list.push(format!(
                    "{} AS c{}",
                    kind.as_text(&kind.quote(&column.name)),
                    place + 1
                ));
                Some(place)
            })
            .collect();
        let list = if list.is_empty() {
            "NULL".to_owned()
        } else {
            list.join(", ")
        };
        (format!("SELECT {list} FROM {}", kind.quote(table)), places)
    }

    /// An `INSERT` of those values whose columns exist; text longer than a column is cut.
    pub(crate) fn insert(
        &self,
        kind: Kind,
        table: &str,
        values: &[(&str, Option<String>)],
    ) -> Statement {
        self.insert_all(kind, table, &[values])
    }

    /// As [`Columns::insert`], for rows that all have values for the same columns in the same order.
    pub(crate) fn insert_all(
        &self,
        kind: Kind,
        table: &str,
        rows: &[&[(&str, Option<String>)]],
    ) -> Statement {
        let (mut names, mut groups, mut parameters) = (Vec::new(), Vec::new(), Vec::new());
        for (number, row) in rows.iter().enumerate() {
            let mut marks = Vec::new();
            for (name, value) in *row {
                let Some(column) = self.get(name) else {
                    continue;
                };
                if number == 0 {
                    names.push(kind.quote(&column.name));
                }
                parameters.push(self.fit(column, value.clone()));
                let mark = kind.parameter(parameters.len());
                marks.push(match kind {
                    Kind::Postgres => format!("CAST(CAST({mark} AS TEXT) AS {})", column.kind),
                    Kind::Sqlite | Kind::MySql => mark,
                });
            }
            groups.push(format!("({})", marks.join(", ")));
        }
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {}",
            kind.quote(table),
            names.join(", "),
            groups.join(", ")
        );
        Statement { sql, parameters }
    }

    /// The value as this column can hold it.
    pub(crate) fn fit(&self, column: &Column, value: Option<String>) -> Option<String> {
        let mut value = value?;
        if column.is_number() {
            match value.as_str() {
                "yes" => return Some("1".into()),
                "no" => return Some("0".into()),
                _ => {}
            }
        }
        if let Some(limit) = column.characters_max
            && let Some((end, _)) = value.char_indices().nth(limit)
        {
            value.truncate(end);
        }
        // PostgreSQL takes no NUL in text, and no engine needs one.
        if value.contains('\0') {
            value.retain(|c| c != '\0');
        }
        Some(value)
    }
}

/// The tables that exist, of those that are asked for.
pub(crate) async fn existing(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let sql = match pool.kind() {
        Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')",
        Kind::MySql => {
            "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
        Kind::Postgres => {
            "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_table_is_visible(oid)"
        }
    };
    let rows = pool
        .rows(Statement::new(sql), 1)
        .await
        .map_err(StoreError::sql("listing the tables"))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}
