//! Statements that people write, read as far as is needed: where texts and comments are, how parameters are numbered, and
//! with which word each statement begins.

use crate::pool::Kind;
use crate::query::Cell;

/// Where a piece of a statement belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Text,
    Comment,
}

/// The length of the text, quoted name or comment that `rest` begins with.
fn skipped(engine: Kind, rest: &str, before: &str) -> Option<(usize, Part)> {
    let to = |end: &str, from: usize| {
        rest.get(from..)
            .and_then(|text| text.find(end))
            .map_or(rest.len(), |at| from + at + end.len())
    };
    // Servers of MySQL run what is in such a comment.
    if engine == Kind::MySql && (rest.starts_with("/*!") || rest.starts_with("/*M!")) {
        return None;
    }
    match rest.chars().next()? {
        '-' if rest.starts_with("--") => Some((to("\n", 2), Part::Comment)),
        '/' if rest.starts_with("/*") => Some((comment(engine, rest), Part::Comment)),
        '\'' => {
            let escapes = match engine {
                Kind::Sqlite => false,
                Kind::MySql => true,
                Kind::Postgres => {
                    before.ends_with(['E', 'e']) && !before[..before.len() - 1].ends_with(is_name)
                }
            };
            Some((quoted(rest, escapes), Part::Text))
        }
        '"' => Some((to("\"", 1), Part::Text)),
        '`' if engine != Kind::Postgres => Some((to("`", 1), Part::Text)),
        '[' if engine == Kind::Sqlite => Some((to("]", 1), Part::Text)),
        '$' if engine == Kind::Postgres && !before.ends_with(is_name) => {
            let tag = rest[1..].find('$')?;
            let (name, mark) = (&rest[1..=tag], &rest[..tag + 2]);
            if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
                return None;
            }
            Some((to(mark, mark.len()), Part::Text))
        }
        _ => None,
    }
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Comments lie within each other in PostgreSQL.
fn comment(engine: Kind, rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = rest.as_bytes();
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" if depth == 0 || engine == Kind::Postgres => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &str, escapes: bool) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' if escapes => escaped = true,
            '\'' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The pieces of a statement: texts and comments whole, everything else by character.
fn pieces(engine: Kind, statement: &str) -> impl Iterator<Item = (&str, Part)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &statement[at..];
        let first = rest.chars().next()?;
        let (length, kind) =
            skipped(engine, rest, &statement[..at]).unwrap_or((first.len_utf8(), Part::Code));
        at += length;
        Some((&rest[..length], kind))
    })
}

/// `?` as `$1`, `$2` ... for PostgreSQL, and `??` as `?`, which is an operator there. NULL is written out: as a parameter it
/// would have a type.
pub(crate) fn numbered(statement: &str, parameters: Vec<Cell>) -> (String, Vec<Cell>) {
    let mut out = String::with_capacity(statement.len() + 8);
    let mut left = Vec::with_capacity(parameters.len());
    let mut parameters = parameters.into_iter();
    let mut count = 0;
    let mut list = pieces(Kind::Postgres, statement).peekable();
    while let Some((piece, kind)) = list.next() {
        if kind != Part::Code || piece != "?" {
            out.push_str(piece);
            continue;
        }
        if list.next_if_eq(&("?", Part::Code)).is_some() {
            out.push('?');
            continue;
        }
        match parameters.next() {
            Some(Cell::Null) => out.push_str("NULL"),
            parameter => {
                count += 1;
                out.push_str(&format!("${count}"));
                left.extend(parameter);
            }
        }
    }
    // The server tells of those that have no place.
    left.extend(parameters);
    (out, left)
}

/// The first word of each statement, in capitals; of what is no word, its first character.
pub(crate) fn first_words(engine: Kind, statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut ended = false;
    for (piece, kind) in pieces(engine, statement) {
        let char = match kind {
            Part::Comment => ' ',
            Part::Text => '\'',
            Part::Code => piece.chars().next().unwrap_or(' '),
        };
        match char {
            ';' => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                ended = false;
            }
            _ if ended => {}
            char if is_name(char) => word.extend(char.to_uppercase()),
            char if char.is_whitespace() || char == '(' => ended = !word.is_empty(),
            char => {
                if word.is_empty() {
                    word.push(char);
                }
                ended = true;
            }
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_are_numbered_outside_of_texts_and_comments() {
        for (statement, wanted) in [
            ("SELECT ?, ?", "SELECT $1, $2"),
            (
                "SELECT '?' || ? -- what?\n, ?",
                "SELECT '?' || $1 -- what?\n, $2",
            ),
            (
                "SELECT \"a?\" FROM t WHERE b = 'it''s ?' AND c = ?",
                "SELECT \"a?\" FROM t WHERE b = 'it''s ?' AND c = $1",
            ),
            ("/* ? /* ? */ ? */ ?", "/* ? /* ? */ ? */ $1"),
            (
                "SELECT $$ ? $$, $a$ ? $$ ? $a$, ?",
                "SELECT $$ ? $$, $a$ ? $$ ? $a$, $1",
            ),
            (r"SELECT E'it\'s ?', ?", r"SELECT E'it\'s ?', $1"),
            (r"SELECT 'a\', ?", r"SELECT 'a\', $1"),
            ("SELECT j ?? 'a' AND n = ?", "SELECT j ? 'a' AND n = $1"),
            ("SELECT 'ü?', ?, '", "SELECT 'ü?', $1, '"),
        ] {
            let parameters = vec![Cell::Integer(1); 2];
            assert_eq!(numbered(statement, parameters).0, wanted);
        }
    }

    #[test]
    fn null_has_no_type() {
        let (statement, left) = numbered(
            "INSERT INTO t VALUES (?, ?, ?)",
            vec![Cell::Integer(1), Cell::Null, Cell::Flag(true)],
        );
        assert_eq!(statement, "INSERT INTO t VALUES ($1, NULL, $2)");
        assert_eq!(left, [Cell::Integer(1), Cell::Flag(true)]);
    }

    #[test]
    fn statements_begin_with_a_word() {
        for (engine, statement, wanted) in [
            (Kind::Postgres, " -- x\n/* y */ select(1); ", "SELECT"),
            (Kind::Postgres, "(SELECT 1) UNION (SELECT 2)", "SELECT"),
            (
                Kind::Postgres,
                "SELECT ';'; Delete from t;;",
                "SELECT DELETE",
            ),
            (Kind::MySql, "/*! SET x = 1 */", "/"),
            (Kind::MySql, "/* /* */ SET x = 1", "SET"),
            (Kind::MySql, "SET/**/x = 1", "SET"),
            // What another engine reads as a text or comment hides nothing.
            (
                Kind::Sqlite,
                "SELECT e'\\'; ATTACH 'x' AS y --'",
                "SELECT ATTACH",
            ),
            (
                Kind::Sqlite,
                "SELECT [a'b]; ATTACH 'x' AS y",
                "SELECT ATTACH",
            ),
            (Kind::Sqlite, "/*!*/ATTACH 'x' AS y", "ATTACH"),
            (
                Kind::Sqlite,
                "SELECT $a$; ATTACH 'x' AS $a$",
                "SELECT ATTACH",
            ),
            (Kind::Sqlite, "''", "'"),
            (Kind::Sqlite, "", ""),
        ] {
            let words = first_words(engine, statement).join(" ");
            assert_eq!(words, wanted, "{statement}");
        }
    }
}
