//! The truth test of `GotoIf`, `ExecIf`, `While` and the `IF` function.

/// Empty is false; a text that begins with an integer is that integer ≠ 0; any other text is true.
///
/// White space before the integer is skipped and a sign is allowed, so `" 0"` and `-0` are false and `0abc` is false too.
#[must_use]
pub fn is_true(text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    match leading_integer(text) {
        Some(number) => number != 0,
        None => true,
    }
}

/// The integer at the start of `text` as `scanf("%30d")` reads it, saturating; `None` when there is none.
#[must_use]
pub fn leading_integer(text: &str) -> Option<i64> {
    scan_integer(text.as_bytes()).map(|(number, _)| number)
}

/// An integer at the start of `bytes` after white space, and how many bytes it took.
pub(crate) fn scan_integer(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut at = bytes.iter().take_while(|byte| is_c_space(**byte)).count();
    let negative = match bytes.get(at) {
        Some(b'-') => {
            at += 1;
            true
        }
        Some(b'+') => {
            at += 1;
            false
        }
        _ => false,
    };
    let start = at;
    let mut number: i64 = 0;
    while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
        number = number
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'));
        at += 1;
    }
    (at > start).then_some((if negative { -number } else { number }, at))
}

fn is_c_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_judged_by_value_and_words_are_true() {
        for (text, expected) in [
            ("", false),
            ("0", false),
            ("00", false),
            ("1", true),
            ("-1", true),
            ("-0", false),
            (" 0", false),
            ("\t7", true),
            ("0abc", false),
            ("12abc", true),
            ("abc", true),
            ("\"\"", true),
            ("0.5", false),
            ("-", true),
            (" ", true),
            ("99999999999999999999999", true),
        ] {
            assert_eq!(is_true(text), expected, "{text:?}");
        }
    }
}
