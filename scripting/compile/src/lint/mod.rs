//! What is wrong with the rows, found before a call finds it: what, where, and what would be right.
//!
//! Here lives the judging of rows, by themselves and together; never the compiling, which goes on whatever is found here.

mod flow;
mod links;
mod rows;

use std::borrow::Cow;
use std::fmt;

use crate::plan::{HINT, Origin, Step};

pub use rows::APPDATA_LIMIT;

pub(crate) use links::{Jump, jumps, problems};
pub(crate) use rows::{pattern, step};

/// Stands for text that only a call knows.
const MARKER: &str = "\u{F8FF}";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A call that comes here fails or does something else than is written.
    Error,
    /// Legal, and probably not what was meant.
    Warning,
}

/// Something wrong with the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Context; empty: what is wrong is wrong with the origin as a whole.
    pub context: String,
    /// Extension as written.
    pub exten: Option<String>,
    /// Priority.
    pub priority: Option<i32>,
    /// The row.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub hint: Cow<'static, str>,
}

impl Problem {
    pub fn error(
        context: &str,
        what: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            context: context.to_owned(),
            exten: None,
            priority: None,
            origin: None,
            what: what.into(),
            hint: hint.into(),
        }
    }

    pub fn warning(
        context: &str,
        what: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(context, what, hint)
        }
    }

    pub(crate) fn at(self, exten: &str, priority: i32) -> Self {
        Self {
            exten: Some(exten.to_owned()),
            priority: Some(priority),
            ..self
        }
    }

    pub(crate) fn from(self, origin: Origin) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    fn of(self, step: &Step) -> Self {
        self.at(&step.exten, step.priority).from(step.origin)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        if self.context.is_empty()
            && let Some(origin) = &self.origin
        {
            return write!(out, "{severity}: {origin}: {}; {}", self.what, self.hint);
        }
        write!(out, "{severity}: context {}", self.context)?;
        if let Some(exten) = &self.exten {
            write!(out, ", extension {exten}")?;
        }
        match self.priority {
            Some(HINT) => write!(out, ", hint")?,
            Some(priority) => write!(out, ", priority {priority}")?,
            None => {}
        }
        if let Some(origin) = &self.origin {
            write!(out, " ({origin})")?;
        }
        write!(out, ": {}; {}", self.what, self.hint)
    }
}
