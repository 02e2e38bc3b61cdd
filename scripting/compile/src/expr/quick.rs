//! The expressions that loops and menus are made of, without a parser: one operator between two whole numbers or quoted
//! texts. Everything else is left to the parser, whose values these are.

use std::cmp::Ordering;

/// Digits of a number here: sums of such numbers are exact in 18 digits, the precision of the language.
const DIGITS_MAX: usize = 15;
/// The same for products.
const FACTOR_MAX: u64 = 999_999_999;

enum Operand<'t> {
    Number(u64, &'t str),
    /// With its quotes.
    Quoted(&'t str),
}

impl<'t> Operand<'t> {
    fn text(&self) -> &'t str {
        match self {
            Self::Number(_, text) | Self::Quoted(text) => text,
        }
    }
}

/// The value of `text`, when it is one of those; it is a whole number always.
pub(super) fn evaluate(text: &str) -> Option<i64> {
    let (left, rest) = operand(text.trim_start_matches(' '))?;
    let rest = rest.trim_start_matches(' ');
    let two = rest.get(..2).unwrap_or_default();
    let length = match two {
        ">=" | "<=" | "==" | "!=" => 2,
        _ => 1,
    };
    let operator = rest.get(..length)?;
    let (right, rest) = operand(rest[length..].trim_start_matches(' '))?;
    if !rest.trim_start_matches(' ').is_empty() {
        return None;
    }
    if let "+" | "-" | "*" = operator {
        let (Operand::Number(left, _), Operand::Number(right, _)) = (left, right) else {
            return None;
        };
        let (small, left, right) = (
            left <= FACTOR_MAX && right <= FACTOR_MAX,
            left as i64,
            right as i64,
        );
        return match operator {
            "+" => Some(left + right),
            "-" => Some(left - right),
            _ => small.then(|| left * right),
        };
    }
    let order = match (&left, &right) {
        (Operand::Number(left, _), Operand::Number(right, _)) => left.cmp(right),
        (left, right) => left.text().cmp(right.text()),
    };
    let holds = match operator {
        "=" | "==" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        ">" => order == Ordering::Greater,
        "<=" => order != Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => return None,
    };
    Some(i64::from(holds))
}

/// The number or quoted text at the start of `text`, and what follows.
fn operand(text: &str) -> Option<(Operand<'_>, &str)> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'"') {
        let end = bytes[1..].iter().position(|byte| *byte == b'"')? + 2;
        return Some((Operand::Quoted(&text[..end]), &text[end..]));
    }
    let mut number: u64 = 0;
    let mut length = 0;
    while let Some(digit) = bytes.get(length).filter(|byte| byte.is_ascii_digit()) {
        if length == DIGITS_MAX {
            return None;
        }
        number = number * 10 + u64::from(digit - b'0');
        length += 1;
    }
    // A word or fraction that begins with digits is no number, nor is one with a bracket behind it.
    let ends = match bytes.get(length) {
        None => true,
        Some(next) => matches!(
            next,
            b' ' | b'+' | b'-' | b'*' | b'<' | b'>' | b'=' | b'!' | b'"'
        ),
    };
    (length > 0 && ends).then(|| (Operand::Number(number, &text[..length]), &text[length..]))
}

/// Appends a whole number as the language prints it.
pub(super) fn append(value: i64, out: &mut String) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push('-');
    }
    out.extend(digits[at..].iter().copied().map(char::from));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::try_evaluate;
    use crate::vars::NoVars;

    fn quick(text: &str) -> Option<String> {
        evaluate(text).map(|value| {
            let mut out = String::new();
            append(value, &mut out);
            out
        })
    }

    #[test]
    fn the_plain_ones_are_computed_here() {
        for (text, value) in [
            ("1 + 2", "3"),
            (" 41+1 ", "42"),
            ("7-9", "-2"),
            ("12 * 12", "144"),
            ("10 > 9", "1"),
            ("\"10\" > \"9\"", "0"),
            ("\"\" = \"\"", "1"),
            ("\"NOANSWER\" != \"ANSWER\"", "1"),
            ("007 = 7", "1"),
            ("10 = \"10\"", "0"),
            ("5 - 5", "0"),
        ] {
            assert_eq!(quick(text).as_deref(), Some(value), "{text}");
            assert_eq!(try_evaluate(text, &NoVars).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn the_rest_is_left_to_the_parser() {
        for text in [
            "",
            "1",
            "1 +",
            "1 + 2 + 3",
            "1.5 + 1",
            "-1 + 2",
            "1 + -2",
            "a = b",
            "12abc = 12abc",
            "7 / 2",
            "1 | 2",
            "\"a\" =~ \"b\"",
            "\"a\" : \"b\"",
            "1 :: 2",
            "1234567890123456 + 1",
            "9999999999 * 9",
            "\"a + 1",
            "1 =",
            "(1) + 2",
        ] {
            assert_eq!(quick(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_computed_here_is_what_the_parser_says(
            text in r#" ?("[a-z0-9 +=]{0,4}"|[0-9]{1,16}) ?(\+|-|\*|<|>|=|==|!=|<=|>=|/|%|\||&|=~|~~) ?("[a-z0-9 ]{0,4}"|[0-9]{1,16}|[a-z]) ?"#
        ) {
            if let Some(value) = quick(&text) {
                prop_assert_eq!(Ok(value), try_evaluate(&text, &NoVars), "{}", text);
            }
        }
    }
}
