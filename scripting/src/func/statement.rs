//! SQL of functions: texts of `func_odbc.conf` become statements in which no value can end its quotation marks.

use std::rc::Rc;
use std::sync::Arc;

use strowger_dialplan::subst::{Cut, Node, Template};
use strowger_store::{Cell, Database, Kind, Rows};

use super::Part;
use super::outside::{to_the_end, unless_over};
use crate::task::Task;

/// A statement that is being put together.
pub(super) struct Sql {
    kind: Kind,
    text: String,
    parameters: Vec<Cell>,
}

impl Sql {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            text: String::new(),
            parameters: Vec::new(),
        }
    }

    /// Adds a part of the statement itself.
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds the name of a table or column.
    pub(super) fn name(&mut self, name: &str) {
        self.text.push_str(&self.kind.quote(name));
    }

    /// Adds a value. PostgreSQL reads a text in the type that is needed only where it is written out; there nothing but
    /// quotation marks and backslashes has a meaning in it.
    pub(super) fn value(&mut self, value: &str) -> Result<(), String> {
        if self.kind != Kind::Postgres {
            self.text.push('?');
            self.parameters.push(Cell::Text(value.to_owned()));
            return Ok(());
        }
        if value.contains('\0') {
            return Err("a value for PostgreSQL cannot hold a zero byte".to_owned());
        }
        if value.contains('\\') {
            self.text.push_str(" E");
        }
        self.text.push('\'');
        for char in value.chars() {
            if matches!(char, '\'' | '\\') {
                self.text.push(char);
            }
            self.text.push(char);
        }
        self.text.push('\'');
        Ok(())
    }

    /// Adds a text of the statement itself.
    fn constant(&mut self, text: &str) {
        let text = text.replace('\'', "''");
        let text = match self.kind {
            Kind::MySql => text.replace('\\', "\\\\"),
            _ => text,
        };
        self.push(&format!("'{text}'"));
    }

    /// Reads rows, `most` of them, as long as the call lasts.
    pub(super) async fn rows(
        self,
        task: &Rc<Task>,
        database: Arc<Database>,
        most: usize,
    ) -> Result<Rows, String> {
        let databases = &task.host.services().databases;
        let work = databases.rows(database, self.text, self.parameters, most)?;
        let rows = unless_over(task, async move { work.await.map(Some) }).await?;
        // No answer is not the same as no row.
        rows.ok_or_else(|| "the call ended or went elsewhere before the answer came".to_owned())
    }

    /// Changes something; how many rows. It is waited for even if the caller hangs up.
    pub(super) async fn change(
        self,
        task: &Rc<Task>,
        database: Arc<Database>,
    ) -> Result<u64, String> {
        let databases = &task.host.services().databases;
        let work = databases.change(database, self.text, self.parameters)?;
        to_the_end(task, work).await
    }
}

/// A text in quotation marks.
struct Quoted {
    mark: char,
    text: String,
    /// It has a value of the call in it.
    varies: bool,
}

/// Makes a statement of the text of a configuration file. What stands in quotation marks becomes a value whole, whatever is
/// put into it; a value outside of them may only be a number or a list of such, and a name where a name stands.
pub(super) async fn compose(task: &Rc<Task>, kind: Kind, text: &str) -> Result<Sql, String> {
    let template = Template::parse(text);
    let mut sql = Sql::new(kind);
    let mut quoted: Option<Quoted> = None;
    for node in template.nodes() {
        if let Node::Literal(text) = node {
            literal(&mut sql, &mut quoted, text)?;
            continue;
        }
        let mut value = String::new();
        super::append(task, unescaped(node), &mut value).await;
        match &mut quoted {
            Some(quoted) => {
                quoted.text.push_str(&value);
                quoted.varies = true;
            }
            None => {
                plain(&sql, &value)?;
                sql.push(&value);
            }
        }
    }
    match quoted {
        None => Ok(sql),
        Some(quoted) => Err(format!(
            "a text that begins with {} has no end",
            quoted.mark
        )),
    }
}

/// What `SQL_ESC` would escape is a value already.
fn unescaped(node: &Node) -> Part<'_> {
    match node {
        Node::Function {
            name,
            arguments,
            cut: Cut::WHOLE,
        } if matches!(&**name, "SQL_ESC" | "SQL_ESC_BACKSLASHES") => match arguments.nodes() {
            [inside] => unescaped(inside),
            _ => Part::Template(arguments),
        },
        node => Part::Node(node),
    }
}

fn literal(sql: &mut Sql, quoted: &mut Option<Quoted>, text: &str) -> Result<(), String> {
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let Some(open) = quoted else {
            match char {
                '\'' => begin(quoted, char),
                '"' if sql.kind == Kind::MySql => begin(quoted, char),
                // An operator there; elsewhere it would be a parameter that nobody gives.
                '?' if sql.kind == Kind::Postgres => sql.push("??"),
                char => sql.push(char.encode_utf8(&mut [0; 4])),
            }
            continue;
        };
        match char {
            '\\' if sql.kind == Kind::MySql => match chars.next() {
                Some('n') => open.text.push('\n'),
                Some('t') => open.text.push('\t'),
                Some('r') => open.text.push('\r'),
                // Patterns of LIKE keep theirs.
                Some(sign @ ('%' | '_')) => open.text.extend(['\\', sign]),
                Some(other) => open.text.push(other),
                None => open.text.push('\\'),
            },
            char if char == open.mark => {
                if chars.next_if_eq(&open.mark).is_some() {
                    open.text.push(char);
                    continue;
                }
                let Some(whole) = quoted.take() else { continue };
                if whole.varies {
                    sql.value(&whole.text)?;
                } else {
                    // Where the language wants a text that stands there (DATE '...', AS 'x'), a parameter is none.
                    sql.constant(&whole.text);
                }
            }
            char => open.text.push(char),
        }
    }
    Ok(())
}

fn begin(quoted: &mut Option<Quoted>, mark: char) {
    *quoted = Some(Quoted {
        mark,
        text: String::new(),
        varies: false,
    });
}

/// What a value outside of quotation marks may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// A number or a list of them.
    Number,
    /// Also the name of a table or column.
    Name,
    /// Also several names.
    Names,
}

/// What may stand behind this beginning of a statement.
fn stands(kind: Kind, text: &str) -> Stands {
    // One for each open bracket, and one outside of them.
    let mut clauses = vec![Stands::Number];
    let mut outside = Stands::Number;
    let mut word = String::new();
    let (mut last, mut before) = (' ', ' ');
    let mut chars = text.chars().chain([' ']).peekable();
    while let Some(char) = chars.next() {
        if char.is_alphanumeric() || char == '_' {
            word.extend(char.to_uppercase());
        } else {
            match std::mem::take(&mut word).as_str() {
                "FROM" | "JOIN" | "INTO" | "UPDATE" | "TABLE" | "SET" => outside = Stands::Name,
                "SELECT" | "DISTINCT" | "BY" => outside = Stands::Names,
                "WHERE" | "ON" | "AND" | "OR" | "XOR" | "NOT" | "HAVING" | "VALUES" | "VALUE"
                | "IN" | "LIKE" | "ILIKE" | "RLIKE" | "REGEXP" | "GLOB" | "MATCH" | "ESCAPE"
                | "BETWEEN" | "IS" | "LIMIT" | "OFFSET" | "CASE" | "WHEN" | "THEN" | "ELSE"
                | "DIV" | "MOD" | "USING" | "RETURNING" => outside = Stands::Number,
                _ => {}
            }
        }
        match char {
            '\'' => {
                let escapes = match kind {
                    Kind::MySql => true,
                    Kind::Postgres => matches!(before, 'E' | 'e'),
                    Kind::Sqlite => false,
                };
                while let Some(char) = chars.next() {
                    match char {
                        '\\' if escapes => drop(chars.next()),
                        '\'' => break,
                        _ => {}
                    }
                }
            }
            '(' => clauses.push(std::mem::replace(&mut outside, Stands::Number)),
            ')' => outside = clauses.pop().unwrap_or(Stands::Number),
            '=' | '<' | '>' | '!' | '~' | '|' | '&' | '^' | '%' | '/' | '+' | '-' | '?' | ';' => {
                outside = Stands::Number;
            }
            _ => {}
        }
        before = char;
        if !char.is_whitespace() {
            last = char;
        }
    }
    if last.is_alphanumeric() || "_.,\"`)".contains(last) {
        outside
    } else {
        Stands::Number
    }
}

/// May a value stand here, outside of quotation marks?
fn plain(sql: &Sql, value: &str) -> Result<(), String> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_number = |text: &str| {
        let text = text.trim();
        let text = text.strip_prefix('-').unwrap_or(text);
        match text.split_once('.') {
            Some((whole, part)) => is_digits(whole) && is_digits(part),
            None => is_digits(text),
        }
    };
    let is_name = |text: &str| {
        let allowed = |char: char| char.is_ascii_alphanumeric() || "_.".contains(char);
        text.trim().chars().all(allowed)
    };
    // Two of these begin a comment.
    let comments = value.starts_with('-') && sql.text.ends_with('-');
    if value.split(',').all(is_number) && !comments {
        return Ok(());
    }
    let names = match stands(sql.kind, &sql.text) {
        Stands::Number => false,
        Stands::Name => is_name(value),
        Stands::Names => value.split(',').all(is_name),
    };
    if names {
        return Ok(());
    }
    let shown: String = value.chars().take(60).collect();
    Err(format!(
        "\"{shown}\" stands outside of quotation marks, where only numbers and lists of them may, and names where a name stands (ORDER BY, FROM): write '${{ARG1}}' in the statement"
    ))
}

/// The text of a cell, as ODBC gives it.
pub(super) fn text_of(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Flag(flag) => u8::from(*flag).to_string(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => super::text::number(*number),
        Cell::Text(text) => text.clone(),
        Cell::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// A row as one text, values separated by commas.
pub(super) fn joined(row: &[Cell], escapes: bool) -> String {
    let values: Vec<String> = row
        .iter()
        .map(|cell| {
            let text = text_of(cell);
            if escapes { escaped(&text) } else { text }
        })
        .collect();
    values.join(",")
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,")
}

/// Lets `Set(HASH(name)=...)` know the names of the columns.
pub(super) fn tell_columns(task: &Task, rows: &Rows) {
    tell_names(task, &rows.columns);
}

pub(super) fn tell_names(task: &Task, columns: &[String]) {
    let names: Vec<String> = columns.iter().map(|name| escaped(name)).collect();
    task.channel
        .set_variable(super::variable::FIELDS, &names.join(","));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(kind: Kind, text: &str, values: &[&str]) -> Result<(String, Vec<Cell>), String> {
        let mut sql = Sql::new(kind);
        let mut quoted = None;
        let mut values = values.iter();
        for piece in text.split("{}").map(Some).collect::<Vec<_>>() {
            literal(&mut sql, &mut quoted, piece.unwrap_or_default())?;
            if let Some(value) = values.next() {
                match &mut quoted {
                    Some(quoted) => {
                        quoted.text.push_str(value);
                        quoted.varies = true;
                    }
                    None => {
                        plain(&sql, value)?;
                        sql.push(value);
                    }
                }
            }
        }
        Ok((sql.text, sql.parameters))
    }

    #[test]
    fn no_value_ends_its_quotation_marks() {
        let evil = "x' OR '1'='1";
        for kind in [Kind::Sqlite, Kind::MySql] {
            let (text, parameters) = sql(
                kind,
                "SELECT a FROM t WHERE b = '%{}_' AND c = 'it''s'",
                &[evil],
            )
            .expect("a statement");
            assert!(
                text.starts_with("SELECT a FROM t WHERE b = ? AND c = "),
                "{text}"
            );
            assert_eq!(parameters.first(), Some(&Cell::Text(format!("%{evil}_"))));
        }
        let (text, parameters) =
            sql(Kind::Postgres, "SELECT a WHERE b = '{}'", &[evil]).expect("a statement");
        assert_eq!(text, "SELECT a WHERE b = 'x'' OR ''1''=''1'");
        assert!(parameters.is_empty());
        let (text, _) = sql(Kind::Postgres, "SELECT '{}'", &["a\\' b"]).expect("a statement");
        assert_eq!(text, "SELECT  E'a\\\\'' b'");
        assert!(sql(Kind::Postgres, "SELECT '{}'", &["a\0b"]).is_err());
    }

    #[test]
    fn values_outside_of_quotation_marks_are_numbers_and_names() {
        for (text, value, good) in [
            ("SELECT a FROM t LIMIT {}", "5", true),
            ("SELECT a FROM t LIMIT {}", "-3.5", true),
            ("SELECT a FROM t LIMIT {}", "customers", false),
            ("SELECT a FROM t LIMIT {}", "1 OR 1=1", false),
            ("SELECT a FROM t LIMIT {}", "1;DROP", false),
            ("SELECT a FROM t LIMIT {}", "5--", false),
            ("SELECT a FROM t LIMIT {}", "'x'", false),
            ("SELECT a FROM t LIMIT {}", "(1)", false),
            ("SELECT a FROM t WHERE account = {}", "account", false),
            ("SELECT a FROM t WHERE account = {}", "17", true),
            ("SELECT a FROM t WHERE account = {}", "", false),
            ("SELECT a FROM t WHERE b = -{}", "-1", false),
            ("SELECT a FROM t WHERE b = 'from' AND c LIKE {}", "c", false),
            ("SELECT a FROM t WHERE b IN ({})", "1, 2,3", true),
            ("SELECT a FROM t WHERE b IN ({})", "1,b", false),
            ("SELECT a FROM t WHERE b IN (SELECT {} FROM u)", "c", true),
            ("SELECT a, abs({}) FROM t", "b", false),
            ("INSERT INTO t VALUES ({})", "a", false),
            ("SELECT {} FROM t", "a, b", true),
            ("SELECT a FROM {}", "t", true),
            ("SELECT a FROM t_{} WHERE b = 1", "2026", true),
            ("SELECT a FROM {}", "t, u", false),
            ("SELECT a FROM t ORDER BY {}", "a", true),
            ("SELECT a FROM t WHERE b = 1 ORDER BY a {}", "desc", true),
            ("SELECT a FROM t ORDER BY {}", "a-b", false),
            ("UPDATE t SET {} = 1", "a", true),
            ("UPDATE t SET a = {}", "b", false),
        ] {
            for kind in [Kind::Sqlite, Kind::MySql, Kind::Postgres] {
                let made = sql(kind, text, &[value]);
                assert_eq!(made.is_ok(), good, "{text}: {value}");
            }
        }
    }

    #[test]
    fn texts_of_the_statement_stay_what_they_are() {
        for kind in [Kind::Sqlite, Kind::MySql, Kind::Postgres] {
            let text = "SELECT a AS 'it''s', DATE '2026-01-01' FROM t";
            let (made, parameters) = sql(kind, text, &[]).expect("a statement");
            assert_eq!(made, text);
            assert!(parameters.is_empty());
        }
    }

    #[test]
    fn texts_of_the_engines_are_read_in_their_own_way() {
        let (text, parameters) =
            sql(Kind::MySql, "SELECT \"{}\", 'a\\'b'", &["v"]).expect("a statement");
        assert_eq!(text, "SELECT ?, 'a''b'");
        assert_eq!(parameters, [Cell::Text("v".to_owned())]);
        let (text, _) = sql(Kind::Sqlite, "SELECT \"a\" FROM t", &[]).expect("a statement");
        assert_eq!(text, "SELECT \"a\" FROM t");
        let (text, _) = sql(Kind::Postgres, "SELECT a ? 'k'", &[]).expect("a statement");
        assert_eq!(text, "SELECT a ?? 'k'");
    }
}
