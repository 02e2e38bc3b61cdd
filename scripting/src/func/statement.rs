//! SQL of functions: texts of `func_odbc.conf` become statements in which no value can end its quotation marks.

use std::rc::Rc;
use std::sync::Arc;

use strowger_dialplan::subst::{Cut, Node, Template};
use strowger_store::{Cell, Database, Kind, Rows};

use super::Part;
use super::outside::unless_over;
use crate::script::Done;
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

    /// Runs it and waits, as long as the call lasts.
    pub(super) async fn run(
        self,
        task: &Rc<Task>,
        database: Arc<Database>,
        change: bool,
    ) -> Result<Option<Done>, String> {
        let databases = &task.host.services().databases;
        let work = databases.run(database, self.text, self.parameters, change)?;
        // What changes something is not left half done because its caller hangs up.
        let work = task.shared().control.spawn(work);
        unless_over(task, async move {
            let done = work.await.map_err(|error| error.to_string())?;
            done.map(Some)
        })
        .await
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
/// put into it; a value outside of them may only be a number, a name or a list of such.
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
                plain(&value)?;
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
                if whole.varies || sql.kind == Kind::MySql {
                    sql.value(&whole.text)?;
                } else {
                    sql.push(&format!("'{}'", whole.text.replace('\'', "''")));
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

/// May a value stand outside of quotation marks?
fn plain(value: &str) -> Result<(), String> {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "_.,-+@:".contains(char);
    if value.chars().all(allowed) && !value.contains("--") {
        return Ok(());
    }
    let shown: String = value.chars().take(60).collect();
    Err(format!(
        "\"{shown}\" stands outside of quotation marks, where only numbers, names and lists of them may: write '${{ARG1}}' in the statement"
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
    let names: Vec<String> = rows.columns.iter().map(|name| escaped(name)).collect();
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
                        plain(value)?;
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
        for (value, good) in [
            ("5", true),
            ("1,2,3", true),
            ("customers", true),
            ("-3.5", true),
            ("1 OR 1=1", false),
            ("1;DROP", false),
            ("5--", false),
            ("'x'", false),
            ("(1)", false),
        ] {
            let made = sql(Kind::Sqlite, "SELECT a FROM t LIMIT {}", &[value]);
            assert_eq!(made.is_ok(), good, "{value}");
        }
    }

    #[test]
    fn texts_of_the_engines_are_read_in_their_own_way() {
        let (text, parameters) =
            sql(Kind::MySql, "SELECT \"{}\", 'a\\'b'", &["v"]).expect("a statement");
        assert_eq!(text, "SELECT ?, ?");
        assert_eq!(
            parameters,
            [Cell::Text("v".to_owned()), Cell::Text("a'b".to_owned())]
        );
        let (text, _) = sql(Kind::Sqlite, "SELECT \"a\" FROM t", &[]).expect("a statement");
        assert_eq!(text, "SELECT \"a\" FROM t");
        let (text, _) = sql(Kind::Postgres, "SELECT a ? 'k'", &[]).expect("a statement");
        assert_eq!(text, "SELECT a ?? 'k'");
    }
}
