//! The statements that bring tables to what a file says, few where rows are many: inserts of one kind of row are gathered over
//! units. Decides nothing: see [`super::apply`].

use std::collections::{BTreeMap, BTreeSet};

use super::stand::{Row, Stand, described};
use super::unit::{Unit, Values};
use crate::pool::{Kind, Statement};
use crate::schema::{Column, Columns};

/// Rows, parameters and bytes of one INSERT.
const ROWS_MAX: usize = 500;
const PARAMETERS_MAX: usize = 8000;
const BYTES_MAX: usize = 512 << 10;
/// Rows of one DELETE: databases have a limit of parameters.
const DELETED_MAX: usize = 1000;

type Cells = Vec<Option<String>>;

/// Rows that fill the same columns.
struct Group {
    names: Vec<String>,
    rows: Vec<Cells>,
}

/// What is to be written. Rows go before others come, which may bear their names.
pub(crate) struct Changes {
    kind: Kind,
    deletes: Vec<Statement>,
    updates: Vec<Statement>,
    inserts: BTreeMap<&'static str, (Columns, Vec<Group>)>,
}

impl Changes {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            deletes: Vec::new(),
            updates: Vec::new(),
            inserts: BTreeMap::new(),
        }
    }

    /// Makes the rows of a unit what the file says, in these columns and those that it said something in before.
    pub(crate) fn write(
        &mut self,
        stand: &Stand,
        unit: &Unit,
        rows: &[Values],
        columns: &BTreeSet<String>,
        former: Option<&BTreeSet<String>>,
    ) {
        let key = unit.name();
        let existing = stand.of(&key);
        if let ([row], [values]) = (existing, rows) {
            // Columns that others have filled stay.
            let mut all = columns.clone();
            all.extend(former.into_iter().flatten().cloned());
            let update = update(self.kind, stand, unit.table, row, values, &all);
            return self.updates.extend(update);
        }
        self.remove(stand, unit.table, &key);
        let keys = unit.key.iter().map(|(name, _)| (*name).to_owned());
        let names: Vec<String> = keys.chain(columns.iter().cloned()).collect();
        for row in rows {
            let keys = unit.key.iter().map(|(_, value)| Some(value.clone()));
            let cells = columns.iter().map(|column| cell(row, column));
            self.insert(
                unit.table,
                &stand.columns,
                &names,
                keys.chain(cells).collect(),
            );
        }
    }

    /// Adds a row. In tables that number their rows their order is kept.
    pub(crate) fn insert(
        &mut self,
        table: &'static str,
        columns: &Columns,
        names: &[String],
        cells: Cells,
    ) {
        let (_, groups) = self
            .inserts
            .entry(table)
            .or_insert_with(|| (columns.clone(), Vec::new()));
        let numbered = described(table).1.is_some();
        let mut open = groups
            .iter_mut()
            .rev()
            .take(if numbered { 1 } else { usize::MAX });
        match open.find(|group| group.names == names) {
            Some(group) => group.rows.push(cells),
            None => groups.push(Group {
                names: names.to_vec(),
                rows: vec![cells],
            }),
        }
    }

    /// Removes the rows of a unit.
    pub(crate) fn remove(&mut self, stand: &Stand, table: &str, key: &str) {
        for rows in stand.of(key).chunks(DELETED_MAX) {
            if let Some(mut statement) = condition(self.kind, stand, table, rows, Vec::new()) {
                statement.sql = format!(
                    "DELETE FROM {} WHERE {}",
                    self.kind.quote(table),
                    statement.sql
                );
                self.deletes.push(statement);
            }
        }
    }

    /// Removes what these columns call so.
    pub(crate) fn remove_where(&mut self, table: &str, cells: &[(&str, &str)]) {
        let mut parameters = Vec::new();
        let parts: Vec<String> = cells
            .iter()
            .map(|(name, value)| {
                parameters.push(Some((*value).to_owned()));
                format!("{name} = {}", self.kind.parameter(parameters.len()))
            })
            .collect();
        let sql = format!("DELETE FROM {table} WHERE {}", parts.join(" AND "));
        self.deletes.push(Statement::with(sql, parameters));
    }

    /// All of it, in the order in which it is to run.
    pub(crate) fn statements(self) -> Vec<Statement> {
        let mut statements = self.deletes;
        statements.extend(self.updates);
        for (table, (columns, groups)) in self.inserts {
            for group in groups {
                for rows in pieces(&group) {
                    let rows: Vec<Vec<(&str, Option<String>)>> = rows
                        .iter()
                        .map(|row| {
                            let names = group.names.iter().map(String::as_str);
                            names.zip(row.iter().cloned()).collect()
                        })
                        .collect();
                    let rows: Vec<&[_]> = rows.iter().map(Vec::as_slice).collect();
                    statements.push(columns.insert_all(self.kind, table, &rows));
                }
            }
        }
        statements
    }
}

/// The rows of a group in pieces, each for one statement.
fn pieces(group: &Group) -> Vec<&[Cells]> {
    let rows_max = (PARAMETERS_MAX / group.names.len().max(1)).clamp(1, ROWS_MAX);
    let (mut pieces, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, row) in group.rows.iter().enumerate() {
        let size: usize = row.iter().flatten().map(String::len).sum();
        if at > begin && (at - begin >= rows_max || bytes + size > BYTES_MAX) {
            pieces.push(&group.rows[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    if begin < group.rows.len() {
        pieces.push(&group.rows[begin..]);
    }
    pieces
}

fn cell(row: &Values, column: &str) -> Option<String> {
    let mut cells = row.iter();
    let found = cells.find(|(name, _)| name.eq_ignore_ascii_case(column));
    found.map(|(_, value)| value.clone())
}

fn update(
    kind: Kind,
    stand: &Stand,
    table: &str,
    row: &Row,
    values: &Values,
    columns: &BTreeSet<String>,
) -> Option<Statement> {
    let (mut set, mut parameters) = (Vec::new(), Vec::new());
    for name in columns {
        let Some(column) = stand.columns.get(name) else {
            continue;
        };
        parameters.push(stand.columns.fit(column, cell(values, name)));
        let mark = typed(kind, column, parameters.len());
        set.push(format!("{} = {mark}", kind.quote(&column.name)));
    }
    if set.is_empty() {
        return None;
    }
    let mut statement = condition(kind, stand, table, std::slice::from_ref(row), parameters)?;
    statement.sql = format!(
        "UPDATE {} SET {} WHERE {}",
        kind.quote(table),
        set.join(", "),
        statement.sql
    );
    Some(statement)
}

/// A parameter of the type of a column: PostgreSQL converts nothing by itself.
fn typed(kind: Kind, column: &Column, number: usize) -> String {
    let mark = kind.parameter(number);
    match kind {
        Kind::Postgres => format!("CAST(CAST({mark} AS TEXT) AS {})", column.kind),
        Kind::Sqlite | Kind::MySql => mark,
    }
}

/// The rows of a unit, by the number of each where they have one: names that differ in case only may be one to the database.
fn condition(
    kind: Kind,
    stand: &Stand,
    table: &str,
    rows: &[Row],
    mut parameters: Vec<Option<String>>,
) -> Option<Statement> {
    let (keys, own) = described(table);
    // The column as it is, so that its index serves.
    let own = own.and_then(|own| stand.columns.get(own));
    let sql = match own {
        Some(own) => {
            let mut marks = Vec::new();
            for row in rows {
                parameters.push(row.get(&own.name.to_ascii_lowercase()).cloned());
                marks.push(typed(kind, own, parameters.len()));
            }
            format!("{} IN ({})", kind.quote(&own.name), marks.join(", "))
        }
        None => {
            let mut parts = Vec::new();
            let row = rows.first()?;
            for name in keys {
                let column = stand.columns.get(name)?;
                parameters.push(row.get(*name).cloned());
                parts.push(format!(
                    "{} = {}",
                    kind.quote(&column.name),
                    typed(kind, column, parameters.len())
                ));
            }
            parts.join(" AND ")
        }
    };
    Some(Statement::with(sql, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_few_statements_and_none_is_too_large() {
        let group = |names: usize, rows: usize, bytes: usize| Group {
            names: vec!["a".to_owned(); names],
            rows: vec![vec![Some("x".repeat(bytes)); names]; rows],
        };
        for (names, rows, bytes, wanted) in [
            (5, 30_000, 10, 60),
            (100, 1000, 1, 13),
            (1, 10, 400 << 10, 10),
            (1, 1, 1 << 20, 1),
            (1, 0, 1, 0),
        ] {
            let group = group(names, rows, bytes);
            let pieces = pieces(&group);
            assert_eq!(pieces.len(), wanted, "{names} {rows} {bytes}");
            let all: usize = pieces.iter().map(|rows| rows.len()).sum();
            assert_eq!(all, rows);
        }
    }
}
