//! Parsing and evaluating in one pass, by precedence.

use std::cmp::Ordering;

use super::lexer::{Lexer, Operator, Token};
use super::number::Number;
use super::value::Value;
use super::{ExprError, math, regex};
use crate::truth::leading_integer;
use crate::vars::{CallError, Vars};

/// Brackets, unary operators and conditionals inside each other.
const DEPTH_LIMIT: u32 = 200;

/// Evaluates a whole expression text.
pub(super) fn run(text: &str, vars: &dyn Vars) -> Result<String, ExprError> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        ahead: None,
        length: text.len(),
        vars,
    };
    parser.ahead = parser.lexer.next()?;
    if parser.ahead.is_none() {
        return Ok(String::new());
    }
    let value = parser.expression(1, 0)?;
    match parser.ahead {
        None => Ok(value.into_text()),
        Some(_) => Err(parser.unexpected("an operator")),
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    ahead: Option<(usize, Token)>,
    length: usize,
    vars: &'t dyn Vars,
}

/// Precedence of a binary operator, 1 binding least; `None` when it is not one.
fn precedence(operator: Operator) -> Option<u8> {
    use Operator as Op;
    Some(match operator {
        Op::Condition => 1,
        Op::Or => 2,
        Op::And => 3,
        Op::Equal | Op::NotEqual | Op::Less | Op::Greater | Op::LessEqual | Op::GreaterEqual => 4,
        Op::Plus | Op::Minus => 5,
        Op::Times | Op::Divide | Op::Remainder => 6,
        Op::Anchored | Op::Search | Op::Concatenate => 8,
        Op::Otherwise | Op::Not | Op::Comma | Op::Open | Op::Close => return None,
    })
}

impl Parser<'_> {
    fn unexpected(&self, wanted: &str) -> ExprError {
        let (at, what) = match &self.ahead {
            None => (
                self.length,
                format!("the expression ends where {wanted} should follow"),
            ),
            Some((at, Token::Operator(operator))) => (
                *at,
                format!("`{}` where {wanted} should stand", operator.spelling()),
            ),
            Some((at, Token::Operand(value))) => (
                *at,
                format!(
                    "`{}` where {wanted} should stand",
                    value.clone().into_text()
                ),
            ),
        };
        ExprError { what, at }
    }

    fn advance(&mut self) -> Result<(), ExprError> {
        self.ahead = self.lexer.next()?;
        Ok(())
    }

    fn accept(&mut self, operator: Operator) -> Result<bool, ExprError> {
        let found = matches!(&self.ahead, Some((_, Token::Operator(ahead))) if *ahead == operator);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, operator: Operator) -> Result<(), ExprError> {
        if self.accept(operator)? {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{}`", operator.spelling())))
        }
    }

    /// An expression whose binary operators all bind at least as strongly as `least`.
    fn expression(&mut self, least: u8, depth: u32) -> Result<Value, ExprError> {
        if depth > DEPTH_LIMIT {
            return Err(ExprError {
                what: "too deeply nested".to_owned(),
                at: self.ahead.as_ref().map_or(self.length, |(at, _)| *at),
            });
        }
        let mut left = self.operand(depth)?;
        while let Some((_, Token::Operator(operator))) = &self.ahead {
            let operator = *operator;
            let Some(strength) = precedence(operator).filter(|strength| *strength >= least) else {
                break;
            };
            self.advance()?;
            if operator == Operator::Condition {
                let yes = self.expression(1, depth + 1)?;
                self.expect(Operator::Otherwise)?;
                let no = self.expression(2, depth + 1)?;
                left = if left.is_true() { yes } else { no };
            } else {
                let right = self.expression(strength + 1, depth + 1)?;
                left = self.binary(operator, left, right);
            }
        }
        Ok(left)
    }

    fn operand(&mut self, depth: u32) -> Result<Value, ExprError> {
        match self.ahead.take() {
            Some((_, Token::Operator(Operator::Not))) => {
                self.advance()?;
                let value = self.expression(8, depth + 1)?;
                Ok(Value::flag(is_falsy(&value)))
            }
            Some((_, Token::Operator(Operator::Minus))) => {
                self.advance()?;
                let value = self.expression(8, depth + 1)?;
                Ok(Value::Number(
                    self.number(&value).map_or(Number::ZERO, Number::negate),
                ))
            }
            Some((_, Token::Operator(Operator::Open))) => {
                self.advance()?;
                let value = self.expression(1, depth + 1)?;
                self.expect(Operator::Close)?;
                Ok(value)
            }
            Some((_, Token::Operand(value))) => {
                self.advance()?;
                if self.accept(Operator::Open)? {
                    self.function(value.into_text(), depth)
                } else {
                    Ok(value)
                }
            }
            other => {
                self.ahead = other;
                Err(self.unexpected("a value"))
            }
        }
    }

    fn function(&mut self, name: String, depth: u32) -> Result<Value, ExprError> {
        let mut arguments = Vec::new();
        while !self.accept(Operator::Close)? {
            if self.accept(Operator::Comma)? {
                arguments.push(None);
                continue;
            }
            arguments.push(Some(self.expression(1, depth + 1)?));
            if !self.accept(Operator::Comma)? {
                self.expect(Operator::Close)?;
                break;
            }
        }
        Ok(self.call(&name, arguments))
    }

    fn call(&self, name: &str, arguments: Vec<Option<Value>>) -> Value {
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        {
            self.vars
                .warn(&format!("`{name}` cannot be the name of a function"));
            return Value::Number(Number::ZERO);
        }
        if math::is_builtin(name) {
            let numbers: Vec<Number> = arguments
                .iter()
                .map(|value| {
                    value
                        .as_ref()
                        .and_then(Value::number)
                        .unwrap_or(Number::ZERO)
                })
                .collect();
            return match math::builtin(name, &numbers) {
                Some(Ok(number)) => Value::Number(number),
                Some(Err(why)) => {
                    self.vars.warn(&format!("function {name} {why}"));
                    Value::Number(Number::ZERO)
                }
                None => Value::Number(Number::ZERO),
            };
        }
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|value| value.map(Value::into_text).unwrap_or_default())
            .collect();
        match self.vars.call(name, &arguments.join(",")) {
            Ok(text)
                if text.bytes().all(|byte| {
                    byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b' ' | b'\t')
                }) =>
            {
                Value::Number(Number::parse_prefix(&text))
            }
            Ok(text) => Value::from_text(text),
            Err(error) => {
                let why = match error {
                    CallError::Unknown => "is not an available function".to_owned(),
                    CallError::Failed(why) => why,
                };
                self.vars.warn(&format!("function {name}: {why}"));
                Value::Number(Number::ZERO)
            }
        }
    }

    /// The number a value is, with a warning when it is none.
    fn number(&self, value: &Value) -> Option<Number> {
        let number = value.number();
        if number.is_none() {
            self.vars
                .warn(&format!("`{}` is not a number", value.clone().into_text()));
        }
        number
    }

    fn binary(&self, operator: Operator, left: Value, right: Value) -> Value {
        match operator {
            Operator::Or => {
                if left.is_zero_or_empty() {
                    right
                } else {
                    left
                }
            }
            Operator::And => {
                if left.is_zero_or_empty() || right.is_zero_or_empty() {
                    Value::Number(Number::ZERO)
                } else {
                    left
                }
            }
            Operator::Plus
            | Operator::Minus
            | Operator::Times
            | Operator::Divide
            | Operator::Remainder => Value::Number(self.arithmetic(operator, &left, &right)),
            Operator::Anchored | Operator::Search => self.regex(operator, left, right),
            Operator::Concatenate => {
                let mut text = left.unquoted();
                text.push_str(&right.unquoted());
                Value::from_text(text)
            }
            _ => Value::flag(compare(operator, left, right)),
        }
    }

    fn arithmetic(&self, operator: Operator, left: &Value, right: &Value) -> Number {
        let (one, other) = (self.number(left), self.number(right));
        match operator {
            Operator::Plus => match (one, other) {
                (Some(one), Some(other)) => one.sum(other),
                (one, other) => one.or(other).unwrap_or(Number::ZERO),
            },
            Operator::Minus => match (one, other) {
                (Some(one), Some(other)) => one.subtract(other),
                (None, Some(other)) => other.negate(),
                (one, None) => one.unwrap_or(Number::ZERO),
            },
            Operator::Times => one
                .zip(other)
                .map_or(Number::ZERO, |(one, other)| one.multiply(other)),
            Operator::Divide => one
                .zip(other)
                .map_or(Number::DIVISION_BY_ZERO, |(one, other)| one.divide(other)),
            _ => one
                .zip(other)
                .map_or(Number::ZERO, |(one, other)| one.remainder(other)),
        }
    }

    fn regex(&self, operator: Operator, left: Value, right: Value) -> Value {
        let (text, pattern) = (left.unquoted(), right.unquoted());
        let compiled = match regex::posix(&pattern) {
            Ok(compiled) => compiled,
            Err(why) => {
                self.vars
                    .warn(&format!("regular expression `{pattern}`: {why}"));
                return Value::Number(Number::ZERO);
            }
        };
        let groups = compiled.captures_len() > 1;
        let found = compiled.captures(&text).filter(|found| {
            operator == Operator::Search || found.get(0).is_some_and(|whole| whole.start() == 0)
        });
        match found {
            Some(found) if groups => Value::from_text(
                found
                    .get(1)
                    .map_or_else(String::new, |group| group.as_str().to_owned()),
            ),
            Some(found) => Value::Number(Number::from(
                found.get(0).map_or(0.0, |whole| whole.len() as f64),
            )),
            None if groups => Value::Text(String::new()),
            None => Value::Number(Number::ZERO),
        }
    }
}

/// `!x`.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Text(text) => leading_integer(text).unwrap_or(0) == 0,
        other => other
            .number()
            .is_none_or(|number| number.truncate().is_zero()),
    }
}

/// Comparisons: as numbers when both are, else as text by byte order.
fn compare(operator: Operator, left: Value, right: Value) -> bool {
    let order = if left.is_text() || right.is_text() {
        Some(left.into_text().cmp(&right.into_text()))
    } else {
        left.number()
            .zip(right.number())
            .and_then(|(left, right)| left.compare(right))
    };
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}
