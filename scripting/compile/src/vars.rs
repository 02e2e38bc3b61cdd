//! What texts of the dialplan ask of the call they run on.

use thiserror::Error;

use crate::subst::Cut;

/// Why a dialplan function gave no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// No function of that name is registered.
    #[error("no such function")]
    Unknown,
    /// The function exists and refused: wrong arguments, not readable, lost connection.
    #[error("{0}")]
    Failed(String),
}

/// Variables and functions of one channel, as templates and expressions read them.
///
/// Methods take `&self` because a read may have effects (`DB_DELETE`, `SHIFT`); implementations keep their own cell.
pub trait Vars {
    /// The value of a channel variable, else of a global one; `None` when neither is set. `name` is case-sensitive and has
    /// neither underscores of inheritance nor offsets.
    fn get(&self, name: &str) -> Option<String>;

    /// Appends the part `cut` of the value of `name`, nothing when it is not set. Others than the default spare a copy.
    fn append(&self, name: &str, cut: Cut, out: &mut String) {
        if let Some(value) = self.get(name) {
            out.push_str(cut.apply(&value));
        }
    }

    /// The value of `function(arguments)`. `arguments` is substituted already and not split.
    ///
    /// # Errors
    /// [`CallError`]; the text then continues with the empty string.
    fn call(&self, function: &str, arguments: &str) -> Result<String, CallError>;

    /// Something in the text was wrong, but evaluation goes on as the language says. Default: nobody listens.
    fn warn(&self, _warning: &str) {}

    /// An expression is evaluated that may take a while: one of several terms, or with a regular expression. Default: nobody
    /// counts the time.
    fn labours(&self) {}
}

/// No channel at all: every variable is empty, every function unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVars;

impl Vars for NoVars {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn call(&self, _function: &str, _arguments: &str) -> Result<String, CallError> {
        Err(CallError::Unknown)
    }
}

/// Variables from a map and no functions; for globals at load time and for tests.
impl<S: std::hash::BuildHasher> Vars for std::collections::HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<String> {
        Self::get(self, name).cloned()
    }

    fn call(&self, _function: &str, _arguments: &str) -> Result<String, CallError> {
        Err(CallError::Unknown)
    }
}
