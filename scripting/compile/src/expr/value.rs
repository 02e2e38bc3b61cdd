//! Values of an expression: text, text that is a number, and computed numbers.

use super::number::Number;

/// An operand or a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A computed number.
    Number(Number),
    /// Text that is a number and prints as it was written.
    Numeric(String),
    /// Other text; quotes written around it belong to it.
    Text(String),
}

impl Value {
    pub(super) fn flag(condition: bool) -> Self {
        Self::Number(Number::from(i64::from(condition)))
    }

    /// Text made by an operator or function: a number when it begins with a digit or point and has only these.
    pub(super) fn from_text(text: String) -> Self {
        let numeric = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if numeric {
            Self::Numeric(text)
        } else {
            Self::Text(text)
        }
    }

    /// The number it is; text is none.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Numeric(text) => Some(Number::parse_prefix(text)),
            Self::Text(_) => None,
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    pub(super) fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Numeric(text) | Self::Text(text) => text,
        }
    }

    /// As text without its quotes: all of them go when it begins and ends with one.
    pub(super) fn unquoted(self) -> String {
        let text = self.into_text();
        if text.starts_with('"') && text.ends_with('"') {
            text.replace('"', "")
        } else {
            text
        }
    }

    /// For `|` and `&`: empty text or the number 0.
    pub(super) fn is_zero_or_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            other => other.number().is_some_and(Number::is_zero),
        }
    }

    /// For `?`: text is true unless empty, `""` or `0`; a number is true unless 0.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !matches!(text.as_str(), "" | "\"\"" | "0"),
            other => other.number().is_some_and(|number| !number.is_zero()),
        }
    }
}
