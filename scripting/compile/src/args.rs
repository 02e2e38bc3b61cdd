//! How applications split their data, which is substituted already.

use std::fmt::Write as _;

/// Splits at commas, the standard way: a comma inside `( )`, `[ ]` or double quotes does not split; `"` and `\` are removed and
/// a `\` makes the next character ordinary. A trailing comma adds one empty argument; empty data has no arguments.
#[must_use]
pub fn split(data: &str) -> Vec<String> {
    separate(data, ',', usize::MAX, true)
        .into_iter()
        .map(|(text, _)| text)
        .collect()
}

/// As [`split`], with at most `count` arguments; the last takes the rest as written: commas, quotes and backslashes stay.
#[must_use]
pub fn split_at_most(data: &str, count: usize) -> Vec<String> {
    separate(data, ',', count, true)
        .into_iter()
        .map(|(text, _)| text)
        .collect()
}

/// Splits at `delimiter` outside of `( )`, `[ ]` and quotes and keeps every character (`\` still protects the next).
#[must_use]
pub fn split_raw(data: &str, delimiter: char) -> Vec<&str> {
    split_raw_at_most(data, delimiter, usize::MAX)
}

/// As [`split_raw`], with at most `count` parts; the last takes the rest.
#[must_use]
pub fn split_raw_at_most(data: &str, delimiter: char, count: usize) -> Vec<&str> {
    separate(data, delimiter, count, false)
        .into_iter()
        .map(|(_, range)| &data[range])
        .collect()
}

/// Splits `data` at `delimiter` into at most `count` parts, each as unquoted text and as the range it had in `data`.
fn separate(
    data: &str,
    delimiter: char,
    count: usize,
    unquote: bool,
) -> Vec<(String, std::ops::Range<usize>)> {
    let mut parts = Vec::new();
    if data.is_empty() || count == 0 {
        return parts;
    }
    // Levels carry over from one argument to the next, as they are never open where one ends.
    let (mut parens, mut brackets, mut quoted) = (0_u32, 0_u32, false);
    let mut start = 0;
    loop {
        if parts.len() + 1 >= count {
            parts.push((data[start..].to_owned(), start..data.len()));
            return parts;
        }
        let mut text = String::new();
        let mut end = None;
        let mut chars = data[start..].char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '(' => parens += 1,
                ')' => parens = parens.saturating_sub(1),
                '[' => brackets += 1,
                ']' => brackets = brackets.saturating_sub(1),
                '"' if delimiter != '"' => {
                    quoted = !quoted;
                    if unquote {
                        continue;
                    }
                }
                '\\' => {
                    if let Some((_, next)) = chars.next()
                        && unquote
                    {
                        text.push(next);
                    }
                    continue;
                }
                _ if char == delimiter && parens == 0 && brackets == 0 && !quoted => {
                    end = Some(start + at);
                    break;
                }
                _ => {}
            }
            if unquote {
                text.push(char);
            }
        }
        match end {
            Some(end) => {
                parts.push((text, start..end));
                start = end + delimiter.len_utf8();
            }
            None => {
                parts.push((text, start..data.len()));
                return parts;
            }
        }
    }
}

/// Removes quotes and backslashes as [`split`] does, without splitting.
#[must_use]
pub fn unquote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => {}
            '\\' => out.extend(chars.next()),
            other => out.push(other),
        }
    }
    out
}

/// Writes `text` so that [`split`] reads it back as one argument with exactly this text.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '"' | '\\' | ',' | '(' | ')' | '[' | ']') {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

/// Joins arguments so that [`split`] gives them back; the empty list cannot be told from one empty argument.
#[must_use]
pub fn join(arguments: &[&str]) -> String {
    arguments
        .iter()
        .map(|argument| escape(argument))
        .collect::<Vec<_>>()
        .join(",")
}

/// `name=value` of `Set`: split at the first `=` only, quotes and commas kept. `None` without `=`.
#[must_use]
pub fn parse_set(data: &str) -> Option<(&str, &str)> {
    let (name, value) = data.split_once('=')?;
    Some((name.trim(), value))
}

/// A place to jump to: parts that are not given are those of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'t> {
    /// Context.
    pub context: Option<&'t str>,
    /// Extension.
    pub exten: Option<&'t str>,
    /// Priority.
    pub priority: Priority<'t>,
}

/// The priority of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority<'t> {
    /// This one.
    Number(i64),
    /// So many on (`+n`) or back (`-n`) from the current one.
    Relative(i64),
    /// The one with this label.
    Label(&'t str),
}

/// `[[context,]exten,]priority` of `Goto`. Parts are trimmed.
#[must_use]
pub fn parse_goto(data: &str) -> Destination<'_> {
    let mut parts = data.splitn(4, ',').map(str::trim);
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (context, exten, priority) = match (second, third) {
        (None, _) => (None, None, first),
        (Some(second), None) => (None, Some(first), second),
        (Some(second), Some(third)) => (Some(first), Some(second), third),
    };
    let given = |part: &&str| !part.is_empty();
    Destination {
        context: context.filter(given),
        exten: exten.filter(given),
        priority: parse_priority(priority),
    }
}

fn parse_priority(text: &str) -> Priority<'_> {
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => (0, text),
    };
    match crate::truth::leading_integer(rest) {
        Some(number) if sign == 0 => Priority::Number(number),
        Some(number) => Priority::Relative(number.saturating_mul(sign)),
        None => Priority::Label(rest),
    }
}

/// A condition with two branches: `GotoIf`, `GotoIfTime`, `GosubIf`, `ExecIf`, `IF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branches<'t> {
    /// Before the `?`.
    pub condition: &'t str,
    /// Between `?` and `:`; `None` when it is missing or empty.
    pub yes: Option<&'t str>,
    /// After the `:`; `None` when it is missing or empty.
    pub no: Option<&'t str>,
}

/// `condition?[yes][:no]` of `GotoIf` and `GotoIfTime`: split at the first `?`, then at the first `:`. `None` without `?`.
#[must_use]
pub fn parse_goto_if(data: &str) -> Option<Branches<'_>> {
    let (condition, branches) = data.split_once('?')?;
    let (yes, no) = branches
        .split_once(':')
        .map_or((branches, None), |(yes, no)| (yes, Some(no)));
    Some(branched(condition, yes, no))
}

/// `condition?[yes][:no]` of `ExecIf`, `GosubIf` and `IF`, where `?` and `:` inside brackets and quotes do not split.
#[must_use]
pub fn parse_exec_if(data: &str) -> Option<Branches<'_>> {
    let parts = split_raw_at_most(data, '?', 2);
    let [condition, branches] = parts.as_slice() else {
        // "?yes" splits into an empty condition; no `?` at all is an error.
        return None;
    };
    let branches = split_raw_at_most(branches, ':', 2);
    Some(branched(
        condition,
        branches.first().copied().unwrap_or_default(),
        branches.get(1).copied(),
    ))
}

fn branched<'t>(condition: &'t str, yes: &'t str, no: Option<&'t str>) -> Branches<'t> {
    let given = |text: &'t str| Some(text.trim()).filter(|text| !text.is_empty());
    Branches {
        condition,
        yes: given(yes),
        no: no.and_then(given),
    }
}

/// `app[(data)]` of `ExecIf`, `Exec` and text dialplans: the name trimmed, the data up to the last `)`.
#[must_use]
pub fn parse_application(text: &str) -> (&str, &str) {
    match text.split_once('(') {
        None => (text.trim(), ""),
        Some((name, rest)) => (
            name.trim(),
            rest.rfind(')').map_or(rest, |end| &rest[..end]),
        ),
    }
}

/// `[[context,]exten,]priority[(arguments)]` of `Gosub`; the arguments are not split.
#[must_use]
pub fn parse_gosub(data: &str) -> (Destination<'_>, Option<&str>) {
    match data.find('(') {
        None => (parse_goto(data), None),
        Some(open) => {
            let rest = &data[open + 1..];
            (
                parse_goto(&data[..open]),
                Some(rest.rfind(')').map_or(rest, |end| &rest[..end])),
            )
        }
    }
}

/// Option letters, each with its argument in parentheses when it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    list: Vec<(char, Option<String>)>,
}

impl Options {
    /// Reads `text`. Parentheses nest; a `\` outside quotes makes the next character ordinary; quotes around an argument go. A
    /// missing `)` ends the options: that letter and what follows is not taken, and `Err` carries the letter with those read so far.
    ///
    /// # Errors
    /// The letter whose argument is not closed, and the options before it.
    pub fn parse(text: &str) -> Result<Self, (char, Self)> {
        let mut options = Self::default();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            if rest.next_if_eq(&'(').is_none() {
                options.list.push((letter, None));
                continue;
            }
            let quotes_count = rest.peek() == Some(&'"');
            let (mut depth, mut quoted, mut argument) = (1_u32, false, String::new());
            let closed = loop {
                let Some(char) = rest.next() else { break false };
                match char {
                    '(' if !quoted => depth += 1,
                    ')' if !quoted => depth -= 1,
                    '"' if quotes_count => {
                        quoted = !quoted;
                        continue;
                    }
                    '\\' => {
                        let next = rest.next();
                        if quoted && next != Some('"') {
                            argument.push('\\');
                        }
                        argument.extend(next);
                        continue;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break true;
                }
                argument.push(char);
            };
            if !closed {
                return Err((letter, options));
            }
            options.list.push((letter, Some(argument)));
        }
        Ok(options)
    }

    /// Is `letter` set?
    #[must_use]
    pub fn has(&self, letter: char) -> bool {
        self.list.iter().any(|(known, _)| *known == letter)
    }

    /// The argument of `letter`: `None` when the letter is not set, empty when it has no argument. The last one counts.
    #[must_use]
    pub fn argument(&self, letter: char) -> Option<&str> {
        self.list
            .iter()
            .rev()
            .find(|(known, _)| *known == letter)
            .map(|(_, argument)| argument.as_deref().unwrap_or(""))
    }

    /// Letters and arguments in the order written.
    pub fn iter(&self) -> impl Iterator<Item = (char, Option<&str>)> {
        self.list
            .iter()
            .map(|(letter, argument)| (*letter, argument.as_deref()))
    }

    /// Letters that are not in `known`, to be logged and ignored.
    #[must_use]
    pub fn unknown(&self, known: &str) -> String {
        let mut out = String::new();
        for (letter, _) in self
            .list
            .iter()
            .filter(|(letter, _)| !known.contains(*letter))
        {
            let _ = write!(out, "{letter}");
        }
        out
    }
}
