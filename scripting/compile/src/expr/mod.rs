//! Expressions, the inside of `$[...]`, on text in which variables are substituted already.
//!
//! Lexing, parsing and evaluating happen in one pass: both sides of every operator are evaluated, as in the original, so there
//! is no tree to keep. Here live numbers with the precision of a long double, the operators, the mathematical functions and
//! POSIX regular expressions; never variables, which [`crate::subst`] has replaced before.

mod eval;
mod lexer;
mod math;
mod number;
mod quick;
mod regex;
mod value;

use thiserror::Error;

use crate::vars::{CallError, Vars};

pub use number::Number;
pub use regex::posix as posix_regex;

/// Why an expression has no value; the language then says `0`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} at byte {at} of the expression")]
pub struct ExprError {
    /// What was found and what was expected.
    pub what: String,
    /// Byte offset into the expression text.
    pub at: usize,
}

/// The value of `text` as text. Empty text has an empty value; a syntax error is reported by [`Vars::warn`] and gives `0`.
#[must_use]
pub fn evaluate(text: &str, vars: &dyn Vars) -> String {
    try_evaluate(text, vars).unwrap_or_else(|error| {
        vars.warn(&format!("{error}: {text}"));
        "0".to_owned()
    })
}

/// Puts the value of the expression that is the end of `text`, from byte `start`, in its place.
pub fn replace(text: &mut String, start: usize, vars: &dyn Vars) {
    match quick::evaluate(&text[start..]) {
        Some(value) => {
            text.truncate(start);
            quick::append(value, text);
        }
        None => {
            vars.labours();
            let expression = text.split_off(start);
            text.push_str(&evaluate(&expression, vars));
        }
    }
}

/// As [`evaluate`], but a syntax error comes back.
///
/// # Errors
/// [`ExprError`] with the place in the text.
pub fn try_evaluate(text: &str, vars: &dyn Vars) -> Result<String, ExprError> {
    eval::run(text, vars)
}

/// What an expression text without variables is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// Its value when no dialplan function is called.
    pub constant: Option<String>,
    /// Dialplan functions it calls, in order.
    pub functions: Vec<String>,
    /// The first character that belongs to no token and is passed over (a quote without its other, a brace), with its offset.
    pub stray: Option<(char, usize)>,
}

/// Parses `text` without a channel, to fold constants and to find the functions it calls.
///
/// # Errors
/// [`ExprError`] with the place in the text.
pub fn analyse(text: &str) -> Result<Analysis, ExprError> {
    struct Listener(std::cell::RefCell<(Vec<String>, bool)>);
    impl Vars for Listener {
        fn get(&self, _name: &str) -> Option<String> {
            None
        }
        fn call(&self, function: &str, _arguments: &str) -> Result<String, CallError> {
            self.0.borrow_mut().0.push(function.to_owned());
            Ok("1".to_owned())
        }
        fn warn(&self, _warning: &str) {
            self.0.borrow_mut().1 = true;
        }
    }
    let listener = Listener(std::cell::RefCell::new((Vec::new(), false)));
    let value = try_evaluate(text, &listener)?;
    let (functions, warned) = listener.0.into_inner();
    // What would be warned about at run time is left to run time.
    let constant = (functions.is_empty() && !warned).then_some(value);
    let mut lexer = lexer::Lexer::new(text);
    while lexer.next()?.is_some() {}
    Ok(Analysis {
        constant,
        functions,
        stray: lexer.stray,
    })
}
