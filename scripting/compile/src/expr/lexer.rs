//! Tokens of an expression.

use super::ExprError;
use super::value::Value;

/// A token of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A word, a number or a quoted text.
    Operand(Value),
    /// An operator or bracket.
    Operator(Operator),
}

/// Operators and brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Condition,
    Otherwise,
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    Plus,
    Minus,
    Times,
    Divide,
    Remainder,
    Not,
    Anchored,
    Search,
    Concatenate,
    Comma,
    Open,
    Close,
}

impl Operator {
    /// Two-character operators stand before the one-character operators they begin with.
    const SPELLINGS: [(&'static str, Self); 25] = [
        ("||", Self::Or),
        ("&&", Self::And),
        ("==", Self::Equal),
        ("=~", Self::Search),
        ("~~", Self::Concatenate),
        (">=", Self::GreaterEqual),
        ("<=", Self::LessEqual),
        ("!=", Self::NotEqual),
        ("::", Self::Otherwise),
        ("|", Self::Or),
        ("&", Self::And),
        ("=", Self::Equal),
        (">", Self::Greater),
        ("<", Self::Less),
        ("!", Self::Not),
        (":", Self::Anchored),
        ("+", Self::Plus),
        ("-", Self::Minus),
        ("*", Self::Times),
        ("/", Self::Divide),
        ("%", Self::Remainder),
        ("?", Self::Condition),
        (",", Self::Comma),
        ("(", Self::Open),
        (")", Self::Close),
    ];

    /// How it is written (the shorter of two spellings).
    pub(super) fn spelling(self) -> &'static str {
        Self::SPELLINGS
            .iter()
            .filter(|(_, operator)| *operator == self)
            .map(|(text, _)| *text)
            .min_by_key(|text| text.len())
            .unwrap_or("?")
    }
}

/// Cuts an expression into tokens, each with its byte offset.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// First character that belongs to no token, and where.
    pub(super) stray: Option<(char, usize)>,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            stray: None,
        }
    }

    /// The next token and where it begins; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(usize, Token)>, ExprError> {
        loop {
            let start = self.at;
            let rest = &self.text[start..];
            let Some(first) = rest.bytes().next() else {
                return Ok(None);
            };
            if matches!(first, b' ' | b'\t' | b'\r' | b'\n') {
                self.at += 1;
                continue;
            }
            if first == b'"'
                && let Some(end) = rest[1..].find('"')
            {
                self.at += end + 2;
                return Ok(Some((
                    start,
                    Token::Operand(Value::Text(self.text[start..self.at].to_owned())),
                )));
            }
            if first.is_ascii_punctuation()
                && let Some((spelling, operator)) = Operator::SPELLINGS
                    .iter()
                    .find(|(spelling, _)| rest.starts_with(spelling))
            {
                self.at += spelling.len();
                return Ok(Some((start, Token::Operator(*operator))));
            }
            let length = word_length(rest);
            if length == 0 {
                // Characters of no token ( { } [ ] ` ~ and a lone quote) are passed over, as the original scanner does.
                let char = rest.chars().next().unwrap_or('?');
                self.stray = self.stray.or(Some((char, start)));
                self.at += char.len_utf8();
                continue;
            }
            let word = &rest[..length];
            self.at += length;
            let value = if is_number(word) {
                Value::Numeric(word.to_owned())
            } else {
                Value::Text(word.to_owned())
            };
            return Ok(Some((start, Token::Operand(value))));
        }
    }
}

/// Length in bytes of the word at the start of `text`. A `$` takes the character after it along.
fn word_length(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let part = char.is_ascii_alphanumeric()
            || matches!(char, '.' | '\'' | ';' | '\\' | '_' | '^' | '#' | '@')
            || !char.is_ascii();
        if part {
            continue;
        }
        match (char, chars.peek()) {
            ('$', Some((_, next))) if *next != '{' => {
                chars.next();
            }
            _ => return at,
        }
    }
    text.len()
}

/// Digits, or digits `.` digits.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match word.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(word),
    }
}
