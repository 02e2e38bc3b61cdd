//! What a table looks like in the database at hand: which columns it has, and how to select and fill them. Tables made
//! by others may lack columns of ours and have others of their own.

use std::ops::RangeInclusive;

use crate::error::StoreError;
use crate::pool::{Kind, Pool, Statement};
use crate::rows::Cell as _;

/// A column as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name as written in the database.
    pub(crate) name: String,
    /// Its type as the engine names it, lower case.
    pub(crate) kind: String,
    /// Limit of a text column, in characters.
    pub(crate) characters_max: Option<usize>,
    /// The words that an enumeration takes, in its order.
    pub(crate) labels: Vec<String>,
}

/// Whole numbers that a type holds.
fn whole_numbers(kind: &str, engine: Kind) -> Option<RangeInclusive<i128>> {
    let name = kind.split(['(', ' ']).next().unwrap_or_default();
    let bits = match name {
        "tinyint" => 8,
        "smallint" | "smallserial" => 16,
        "mediumint" => 24,
        "int" | "integer" | "serial" => 32,
        "bigint" | "bigserial" => 64,
        _ => return None,
    };
    let bits = if engine == Kind::Sqlite { 64 } else { bits };
    Some(if kind.contains("unsigned") {
        0..=(1 << bits) - 1
    } else {
        -(1 << (bits - 1))..=(1 << (bits - 1)) - 1
    })
}

/// The labels in `enum('a','b')`, in which a quotation mark is doubled.
fn labels_of(kind: &str) -> Vec<String> {
    let inner = kind
        .strip_prefix("enum('")
        .and_then(|rest| rest.strip_suffix("')"));
    let list = inner.map(|inner| inner.split("','").map(|label| label.replace("''", "'")));
    list.into_iter().flatten().collect()
}

impl Column {
    /// The value as this column gives it back: a word in the spelling of its labels, a number as a number. Whether a text is
    /// too long is not asked here.
    ///
    /// # Errors
    /// What it takes instead.
    pub(crate) fn take(&self, engine: Kind, value: &str) -> Result<String, String> {
        let text = value.trim();
        let flag = || bool::read(text);
        if !self.labels.is_empty() {
            let label = |wanted: &str| {
                let mut labels = self.labels.iter();
                labels.find(|label| label.eq_ignore_ascii_case(wanted))
            };
            let words: &[&str] = match flag() {
                Some(true) => &["yes", "true", "on", "1"],
                Some(false) => &["no", "false", "off", "0"],
                None => &[],
            };
            let exact = self.labels.iter().find(|label| *label == text);
            let found = exact
                .or_else(|| label(text))
                .or_else(|| words.iter().find_map(|word| label(word)));
            return found
                .cloned()
                .ok_or_else(|| format!("column {} takes {}", self.name, self.labels.join(", ")));
        }
        if self.kind == "boolean" {
            let found = flag().map(|flag| flag.to_string());
            return found.ok_or_else(|| format!("column {} takes yes and no", self.name));
        }
        if !self.is_number() {
            return Ok(value.to_owned());
        }
        let text = match (text.parse::<f64>(), flag()) {
            (Err(_), Some(true)) => "1",
            (Err(_), Some(false)) => "0",
            _ => text,
        };
        if let Some(range) = whole_numbers(&self.kind, engine) {
            let whole = match text.split_once('.') {
                Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
                _ => text,
            };
            let number = whole.parse().ok().filter(|number| range.contains(number));
            return number
                .map(|number: i128| number.to_string())
                .ok_or_else(|| {
                    format!(
                        "column {} takes whole numbers from {} to {}",
                        self.name,
                        range.start(),
                        range.end()
                    )
                });
        }
        let limit = self.digits_before_point().map(|digits| 10_f64.powi(digits));
        let number = text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && limit.is_none_or(|limit| number.abs() < limit));
        number.map(|number| number.to_string()).ok_or_else(|| {
            let below = limit
                .map(|limit| format!(" below {limit}"))
                .unwrap_or_default();
            format!("column {} takes numbers{below}", self.name)
        })
    }

    /// How many digits `numeric(5,2)` has before its point.
    fn digits_before_point(&self) -> Option<i32> {
        let (_, rest) = self.kind.split_once('(')?;
        let (inner, _) = rest.split_once(')')?;
        let (all, behind) = inner.split_once(',').unwrap_or((inner, "0"));
        let number = |text: &str| text.trim().parse::<i32>().ok();
        Some((number(all)? - number(behind)?).clamp(0, 300))
    }

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
                "SELECT name, type, NULL, NULL FROM pragma_table_info(?1)",
                vec![Some(table.to_owned())],
            ),
            Kind::MySql => Statement::with(
                "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR), CAST(character_maximum_length AS CHAR), NULL \
                 FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? \
                 ORDER BY ordinal_position",
                vec![Some(table.to_owned())],
            ),
            Kind::Postgres => Statement::with(
                "SELECT attname::text, format_type(atttypid, atttypmod), \
                 CASE WHEN atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND atttypmod > 4 \
                 THEN (atttypmod - 4)::text END, \
                 (SELECT json_agg(enumlabel ORDER BY enumsortorder)::text FROM pg_enum WHERE enumtypid = atttypid) \
                 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
                 ORDER BY attnum",
                vec![Some(table.to_owned())],
            ),
        };
        let rows = pool
            .rows(statement, 4)
            .await
            .map_err(StoreError::sql(format!("looking at table {table}")))?;
        let columns: Vec<_> = rows
            .into_iter()
            .filter_map(|mut row| {
                let labels = row.pop().flatten();
                let characters_max = row.pop().flatten().and_then(|text| text.parse().ok());
                let kind = row.pop().flatten().unwrap_or_default();
                let name = row.pop().flatten()?;
                let labels = match labels {
                    Some(labels) => serde_json::from_str(&labels).unwrap_or_default(),
                    None => labels_of(&kind),
                };
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
                    labels,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_the_column_gives_them_back() {
        for (kind, value, taken) in [
            (
                "enum('0','1','off','on','false','true','no','yes')",
                "No",
                Ok("no"),
            ),
            ("enum('yes','no')", "true", Ok("yes")),
            ("enum('yes','no')", "0", Ok("no")),
            ("enum('md5','it''s')", "IT'S", Ok("it's")),
            ("enum('SHA-1','SHA-256')", "sha-256", Ok("SHA-256")),
            (
                "enum('md5','userpass')",
                "digest",
                Err("column c takes md5, userpass"),
            ),
            ("tinyint(1)", "Yes", Ok("1")),
            ("tinyint(4)", "128", Err("from -128 to 127")),
            ("int(10) unsigned", "4294967295", Ok("4294967295")),
            ("integer", "60.00", Ok("60")),
            ("integer", "007", Ok("7")),
            (
                "integer",
                "2147483648",
                Err("from -2147483648 to 2147483647"),
            ),
            ("integer", "soon", Err("whole numbers")),
            ("numeric(5,2)", "3.50", Ok("3.5")),
            ("numeric(5,2)", "1000", Err("numbers below 1000")),
            ("double precision", "inf", Err("takes numbers")),
            ("boolean", "on", Ok("true")),
            ("boolean", "soon", Err("yes and no")),
            ("varchar(3)", " No ", Ok(" No ")),
        ] {
            let column = Column {
                name: "c".to_owned(),
                kind: kind.to_owned(),
                characters_max: None,
                labels: labels_of(kind),
            };
            match (column.take(Kind::Postgres, value), taken) {
                (Ok(found), Ok(taken)) => assert_eq!(found, taken, "{kind} {value}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{kind} {value}: {why}"),
                (found, _) => panic!("{kind} {value}: {found:?}"),
            }
        }
    }
}
