//! Values of Lua as texts and numbers of the dialplan, and options in tables.

use std::time::Duration;

use mlua::{MultiValue, Table, Value};

/// Longest wait a script may ask for: a year.
const SECONDS_MAX: f64 = 365.0 * 86400.0;
/// Arguments of an application or names of a list, all together.
pub(super) const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;
/// What a value counts beside the bytes of a text.
const VALUE_BYTES: usize = 8;

/// A number as Lua writes it: whole numbers without a fraction.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        value.to_string()
    }
}

/// A string or a number as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string_lossy()),
        Value::Integer(value) => Some(value.to_string()),
        Value::Number(value) => Some(number(*value)),
        _ => None,
    }
}

/// The key of an extension: a string, or a whole number.
pub(super) fn exten(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.to_string_lossy()).filter(|text| !text.is_empty()),
        Value::Integer(value) => Some(value.to_string()),
        Value::Number(value) if value.fract() == 0.0 && value.abs() < 1e15 => Some(number(*value)),
        _ => None,
    }
}

/// A value as an error message shows it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", text.to_string_lossy()),
        other => text(other).unwrap_or_else(|| format!("({})", other.type_name())),
    }
}

/// The text of an argument of an application or function: nil is empty, as in Asterisk.
pub(super) fn argument(value: &Value, place: usize, of: &str) -> mlua::Result<String> {
    if value.is_nil() {
        return Ok(String::new());
    }
    text(value).ok_or_else(|| {
        mlua::Error::runtime(format!(
            "{of}: argument {place} is a {}; allowed are strings, numbers and nil",
            value.type_name()
        ))
    })
}

/// Bytes that may be copied out of the machine; its own limit of memory does not count copies.
pub(super) struct Copies {
    left: usize,
    most: usize,
}

impl Copies {
    pub(super) fn new(most: usize) -> Self {
        Self { left: most, most }
    }

    /// Counts a value before it is copied.
    pub(super) fn take(&mut self, value: &Value, of: impl std::fmt::Display) -> mlua::Result<()> {
        let length = match value {
            Value::String(text) => text.as_bytes().len().saturating_add(VALUE_BYTES),
            _ => VALUE_BYTES,
        };
        match self.left.checked_sub(length) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(mlua::Error::runtime(format!(
                "{of}: too long; all together may have {} bytes",
                self.most
            ))),
        }
    }
}

/// Arguments joined as the dialplan writes them.
pub(super) fn joined(arguments: &MultiValue, of: &str) -> mlua::Result<String> {
    let mut copies = Copies::new(ARGUMENTS_BYTES_MAX);
    let list = arguments
        .iter()
        .enumerate()
        .map(|(index, value)| {
            copies.take(value, of)?;
            argument(value, index + 1, of)
        })
        .collect::<mlua::Result<Vec<_>>>()?;
    Ok(list.join(","))
}

/// Named options of a verb.
pub(super) struct Options<'t> {
    table: Option<&'t Table>,
    of: &'static str,
}

impl<'t> Options<'t> {
    /// Options of which only `known` exist; places of a list are not looked at.
    pub(super) fn new(
        table: Option<&'t Table>,
        of: &'static str,
        known: &[&str],
    ) -> mlua::Result<Self> {
        if let Some(table) = table {
            table.for_each(|key: Value, _: Value| match key {
                Value::String(name) if !known.contains(&&*name.to_string_lossy()) => {
                    Err(mlua::Error::runtime(format!(
                        "{of}: there is no option {}; there are: {}",
                        name.to_string_lossy(),
                        known.join(", ")
                    )))
                }
                _ => Ok(()),
            })?;
        }
        Ok(Self { table, of })
    }

    pub(super) fn value(&self, name: &str) -> mlua::Result<Value> {
        self.table.map_or(Ok(Value::Nil), |table| table.get(name))
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> mlua::Error {
        mlua::Error::runtime(format!(
            "{}: {name} is a {} ({}); it has to be {wanted}",
            self.of,
            value.type_name(),
            shown(value)
        ))
    }

    pub(super) fn text(&self, name: &str) -> mlua::Result<Option<String>> {
        let value = self.value(name)?;
        if value.is_nil() {
            return Ok(None);
        }
        match text(&value) {
            Some(text) => Ok(Some(text)),
            None => Err(self.wrong(name, &value, "a string")),
        }
    }

    pub(super) fn flag(&self, name: &str) -> mlua::Result<Option<bool>> {
        match self.value(name)? {
            Value::Nil => Ok(None),
            Value::Boolean(flag) => Ok(Some(flag)),
            other => Err(self.wrong(name, &other, "true or false")),
        }
    }

    /// A whole number within limits.
    pub(super) fn count(&self, name: &str, least: i64, most: i64) -> mlua::Result<Option<i64>> {
        match self.value(name)? {
            Value::Nil => Ok(None),
            Value::Integer(value) if (least..=most).contains(&value) => Ok(Some(value)),
            other => Err(self.wrong(
                name,
                &other,
                &format!("a whole number from {least} to {most}"),
            )),
        }
    }

    /// Seconds, with a fraction.
    pub(super) fn seconds(&self, name: &str) -> mlua::Result<Option<Duration>> {
        match self.value(name)? {
            Value::Nil => Ok(None),
            other => match seconds(&other) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(self.wrong(name, &other, "a number of seconds, not below 0")),
            },
        }
    }
}

/// A number of seconds, not negative.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Integer(value) => *value as f64,
        Value::Number(value) => *value,
        _ => return None,
    };
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_dialplan_reads_them() {
        assert_eq!(number(5.0), "5");
        assert_eq!(number(-1234.0), "-1234");
        assert_eq!(number(0.25), "0.25");
        assert_eq!(exten(&Value::Integer(1000)).as_deref(), Some("1000"));
        assert_eq!(exten(&Value::Number(0.5)), None);
        assert_eq!(exten(&Value::Boolean(true)), None);
    }

    #[test]
    fn seconds_are_never_negative_and_never_without_end() {
        assert_eq!(
            seconds(&Value::Number(1.5)),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(seconds(&Value::Integer(-1)), None);
        assert_eq!(seconds(&Value::Number(f64::NAN)), None);
        assert_eq!(
            seconds(&Value::Number(f64::INFINITY)),
            Some(Duration::from_secs(31_536_000))
        );
    }
}
