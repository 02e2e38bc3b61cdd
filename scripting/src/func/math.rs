//! `MATH`: one operation on two numbers.

use super::text::leading_number;

const INT_MAX: f64 = 2_147_483_647.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    Equal,
}

/// In the order in which they are looked for: a sign belongs to a number before it is an operator.
const OPERATORS: &[(&str, Operator)] = &[
    ("*", Operator::Multiply),
    ("/", Operator::Divide),
    ("%", Operator::Modulo),
    ("^", Operator::Power),
    ("AND", Operator::And),
    ("XOR", Operator::Xor),
    ("OR", Operator::Or),
    (">=", Operator::GreaterEqual),
    (">>", Operator::ShiftRight),
    (">", Operator::Greater),
    ("<=", Operator::LessEqual),
    ("<<", Operator::ShiftLeft),
    ("<", Operator::Less),
    ("==", Operator::Equal),
    ("=", Operator::Equal),
    ("+", Operator::Add),
    ("-", Operator::Subtract),
];

/// Evaluates `a op b`. `kind` is the type of the result: `float` (the default, six decimals), `int`, `hex`, `char`.
/// Comparisons give `TRUE` or `FALSE`; division by zero gives 2147483647.
pub(crate) fn evaluate(expression: &str, kind: &str) -> Result<String, String> {
    let expression = expression.trim();
    // A sign in front belongs to the first number.
    let skip = usize::from(expression.starts_with(['-', '+']));
    let (operator, at, length) = OPERATORS
        .iter()
        .find_map(|(sign, operator)| {
            let at = expression.get(skip..)?.find(sign)? + skip;
            (at > 0).then_some((*operator, at, sign.len()))
        })
        .ok_or_else(|| format!("MATH({expression}): there is no operator; expected a number, an operator and a number"))?;
    let left = expression.get(..at).unwrap_or_default();
    let right = expression.get(at + length..).unwrap_or_default();
    let read = |text: &str| {
        leading_number(text)
            .ok_or_else(|| format!("MATH({expression}): \"{}\" is not a number", text.trim()))
    };
    let (a, b) = (read(left)?, read(right)?);
    let (x, y) = (a as i64, b as i64);
    let value = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide if b == 0.0 => INT_MAX,
        Operator::Divide => a / b,
        Operator::Modulo => x.checked_rem(y).map_or(INT_MAX, |rest| rest as f64),
        Operator::Power => a.powf(b),
        Operator::And => (x & y) as f64,
        Operator::Or => (x | y) as f64,
        Operator::Xor => (x ^ y) as f64,
        Operator::ShiftLeft => u32::try_from(y)
            .ok()
            .and_then(|by| x.checked_shl(by))
            .unwrap_or(0) as f64,
        Operator::ShiftRight => u32::try_from(y)
            .ok()
            .and_then(|by| x.checked_shr(by))
            .unwrap_or(0) as f64,
        Operator::Less => return Ok(truth(a < b)),
        Operator::Greater => return Ok(truth(a > b)),
        Operator::LessEqual => return Ok(truth(a <= b)),
        Operator::GreaterEqual => return Ok(truth(a >= b)),
        Operator::Equal => return Ok(truth(a == b)),
    };
    Ok(match kind.trim() {
        "" | "float" | "f" => format!("{value:.6}"),
        "int" | "i" => (value as i64).to_string(),
        "hex" | "h" => format!("{:x}", value as i64),
        "char" | "c" => u32::try_from(value as i64)
            .ok()
            .and_then(char::from_u32)
            .map(String::from)
            .unwrap_or_default(),
        other => {
            return Err(format!(
                "MATH: unknown type of result \"{other}\"; known are int, float, hex, char"
            ));
        }
    })
}

fn truth(value: bool) -> String {
    if value { "TRUE" } else { "FALSE" }.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn operations_give_what_is_documented() {
        for (expression, kind, wanted) in [
            ("1+2", "int", "3"),
            ("1+2", "", "3.000000"),
            ("7/2", "float", "3.500000"),
            ("10%4", "i", "2"),
            ("5/0", "int", "2147483647"),
            ("5%0", "int", "2147483647"),
            ("2^10", "int", "1024"),
            ("255+0", "hex", "ff"),
            ("65+0", "char", "A"),
            ("-3+5", "int", "2"),
            ("3*-2", "int", "-6"),
            ("6 AND 3", "int", "2"),
            ("6 XOR 3", "int", "5"),
            ("6 OR 3", "int", "7"),
            ("1<<4", "int", "16"),
            ("256>>4", "int", "16"),
            ("1<2", "", "TRUE"),
            ("2>=3", "", "FALSE"),
            ("2=2", "", "TRUE"),
            ("5-3", "int", "2"),
        ] {
            assert_eq!(
                evaluate(expression, kind).as_deref(),
                Ok(wanted),
                "MATH({expression},{kind})"
            );
        }
    }

    #[test]
    fn what_is_no_operation_is_an_error() {
        for expression in ["", "1", "a+b", "1+", "+", "1+2,int"] {
            let wanted_ok = expression == "1+2,int";
            assert_eq!(evaluate(expression, "").is_ok(), wanted_ok, "{expression}");
        }
        assert!(evaluate("1+2", "roman").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer_or_an_error(text in "[-+0-9a-zA-Z<>=*/%^. ]{0,30}", kind in "(int|hex|char|float)?") {
            let _ = evaluate(&text, &kind);
        }
    }
}
