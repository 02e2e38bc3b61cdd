//! Character classes and small scanners shared by the parsers of values: tokens, quoted strings, parameters, lists.

use std::fmt;

/// What is wrong in a value, and where.
#[derive(Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct SyntaxError {
    /// What was expected or found.
    pub what: &'static str,
    /// Offset in the parsed value, in bytes.
    pub offset: usize,
}

impl SyntaxError {
    pub(crate) const fn new(what: &'static str, offset: usize) -> Self {
        Self { what, offset }
    }

    /// The same error seen from a text in which the value starts at `base`.
    pub(crate) const fn shifted(self, base: usize) -> Self {
        Self {
            what: self.what,
            offset: self.offset + base,
        }
    }
}

/// A token character (RFC 3261 §25.1).
pub(crate) const fn is_token(b: u8) -> bool {
    TOKEN[b as usize]
}

/// One look-up a byte: header names are most of what the index reads byte by byte.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 128 {
        let b = at as u8;
        table[at] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        at += 1;
    }
    table
};

pub(crate) const fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

pub(crate) fn trim(s: &str) -> &str {
    s.trim_matches([' ', '\t', '\r', '\n'])
}

/// Where `inner`, a part of `outer`, starts in it.
pub(crate) fn offset_of(outer: &str, inner: &str) -> usize {
    (inner.as_ptr() as usize).saturating_sub(outer.as_ptr() as usize)
}

/// The byte after the closing quote of the quoted string that starts at `start` (a `"`), or `None` when it never ends.
pub(crate) fn quoted_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Removes quotes and backslashes of a quoted string. `inner` is what stands between the quotes.
pub(crate) fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        if escaped {
            out.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else {
            out.push(c);
        }
    }
    out
}

/// Writes `text` as a quoted string. CR, LF and NUL are left out: they cannot stand in a header.
pub(crate) fn write_quoted(f: &mut dyn fmt::Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                f.write_char('\\')?;
                f.write_char(c)?;
            }
            '\r' | '\n' | '\0' => {}
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Splits at top-level commas: those within quotes or angle brackets stay. An empty text has no items.
#[derive(Clone)]
pub struct ListItems<'a> {
    rest: Option<&'a str>,
}

impl<'a> ListItems<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let text = trim(text);
        Self {
            rest: (!text.is_empty()).then_some(text),
        }
    }
}

impl<'a> Iterator for ListItems<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        let bytes = text.as_bytes();
        let mut at = 0;
        let mut angle = false;
        while let Some(&b) = bytes.get(at) {
            match b {
                b'"' if !angle => match quoted_end(bytes, at) {
                    Some(end) => {
                        at = end;
                        continue;
                    }
                    None => break,
                },
                b'<' => angle = true,
                b'>' => angle = false,
                b',' if !angle => {
                    self.rest = text.get(at + 1..);
                    return Some(trim(text.get(..at).unwrap_or("")));
                }
                _ => {}
            }
            at += 1;
        }
        self.rest = None;
        Some(trim(text))
    }
}

/// A parameter list `;name=value;name`, as written; order and case are kept.
#[derive(Clone, Eq, PartialEq, Default, Debug)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// No parameters.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of the first parameter of this name (any case), its quotes taken off; `Some("")` for one without a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).map(|v| {
            let v = v.unwrap_or("");
            v.strip_prefix('"')
                .and_then(|v| v.strip_suffix('"'))
                .unwrap_or(v)
        })
    }

    /// `None`: no such parameter; `Some(None)`: present without a value; otherwise the value as written.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<Option<&str>> {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_deref())
    }

    /// Whether a parameter of this name is present, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Replaces the parameter, or appends it. The value is written as it is: quote it where needed.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self
            .0
            .iter_mut()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
        {
            Some(slot) => slot.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Removes every parameter of this name; true when there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.0.len() != before
    }

    /// All parameters in order, values as written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_deref()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `;a=b;c` to the end of `text`, which is empty or starts (after spaces) with a semicolon. `allowed` names the
    /// bytes of an unquoted value; with `spaces`, white space may stand around `;` and `=`.
    pub(crate) fn parse(
        text: &str,
        spaces: bool,
        allowed: fn(u8) -> bool,
    ) -> Result<Self, SyntaxError> {
        let bytes = text.as_bytes();
        let mut params = Self::new();
        let mut at = 0;
        let skip = |mut at: usize| {
            while spaces && bytes.get(at).is_some_and(|b| is_space(*b)) {
                at += 1;
            }
            at
        };
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or("").to_owned();
        loop {
            at = skip(at);
            match bytes.get(at) {
                None => return Ok(params),
                Some(b';') => at = skip(at + 1),
                Some(_) => return Err(SyntaxError::new("expected ';' before a parameter", at)),
            }
            let start = at;
            while bytes.get(at).is_some_and(|b| allowed(*b)) {
                at += 1;
            }
            if at == start {
                return Err(SyntaxError::new("parameter without a name", at));
            }
            let name = part(start, at);
            at = skip(at);
            if bytes.get(at) != Some(&b'=') {
                params.0.push((name, None));
                continue;
            }
            at = skip(at + 1);
            let start = at;
            if spaces && bytes.get(at) == Some(&b'"') {
                at = quoted_end(bytes, at)
                    .ok_or(SyntaxError::new("quoted string without an end", at))?;
            } else {
                while bytes.get(at).is_some_and(|b| allowed(*b) || *b == b'=') {
                    at += 1;
                }
            }
            params.0.push((name, Some(part(start, at))));
        }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            write!(f, ";{name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// Bytes of an unquoted parameter of a header: tokens and hosts, and what real devices send besides.
pub(crate) const fn header_param_byte(b: u8) -> bool {
    !is_space(b) && !matches!(b, b';' | b',' | b'=' | b'"' | b'<' | b'>' | 0)
}

/// Reads a decimal number of seconds (RFC 3261 §25.1 delta-seconds): too large is cut to the largest, other text is `None`.
pub(crate) fn delta_seconds(text: &str) -> Option<u32> {
    let text = trim(text);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<&str> {
        ListItems::new(text).collect()
    }

    #[test]
    fn lists_split_at_commas_outside_quotes_and_brackets() {
        assert_eq!(items("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(
            items(r#""x, \" y" <sip:a,b@c>, d"#),
            [r#""x, \" y" <sip:a,b@c>"#, "d"]
        );
        assert_eq!(items("  "), Vec::<&str>::new());
        assert_eq!(items("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(items("\"never, ends"), ["\"never, ends"]);
    }

    #[test]
    fn parameters_keep_order_case_and_quotes() {
        let p = Params::parse("; A = b ;c;d=\"x;y\"", true, header_param_byte).unwrap();
        assert_eq!(p.to_string(), ";A=b;c;d=\"x;y\"");
        assert_eq!(p.get("a"), Some("b"));
        assert_eq!(p.get("d"), Some("x;y"));
        assert_eq!(p.raw("c"), Some(None));
        assert!(Params::parse(";;a", true, header_param_byte).is_err());
        assert!(Params::parse(";a=\"x", true, header_param_byte).is_err());
    }

    #[test]
    fn seconds_saturate_and_text_is_not_a_number() {
        assert_eq!(delta_seconds(" 60 "), Some(60));
        assert_eq!(delta_seconds("10000000000000"), Some(u32::MAX));
        assert_eq!(delta_seconds("-1"), None);
        assert_eq!(delta_seconds(""), None);
    }
}
