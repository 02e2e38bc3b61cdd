//! POSIX extended regular expressions, written for the `regex` crate.

use std::cell::RefCell;

use regex::{Regex, RegexBuilder};

/// Compiled size limit of one regular expression, bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// Compiled expressions kept per thread.
const CACHE_LIMIT: usize = 64;

thread_local! {
    static CACHE: RefCell<Vec<(String, Regex)>> = const { RefCell::new(Vec::new()) };
}

/// Compiles a POSIX extended regular expression, or takes it from this thread's cache of the last 64.
///
/// Differences to POSIX: alternatives are tried from left to right, not for the longest match; back references are not
/// supported.
///
/// # Errors
/// The reason as text: not well formed, or too large.
pub fn posix(pattern: &str) -> Result<Regex, String> {
    CACHE.with_borrow_mut(|cache| {
        if let Some(at) = cache.iter().position(|(text, _)| text == pattern) {
            let entry = cache.remove(at);
            let regex = entry.1.clone();
            cache.push(entry);
            return Ok(regex);
        }
        let regex = RegexBuilder::new(&translate(pattern))
            .size_limit(SIZE_LIMIT)
            .dot_matches_new_line(true)
            .build()
            .map_err(|error| {
                error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or("not a regular expression")
                    .trim()
                    .to_owned()
            })?;
        if cache.len() >= CACHE_LIMIT {
            cache.remove(0);
        }
        cache.push((pattern.to_owned(), regex.clone()));
        Ok(regex)
    })
}

/// Rewrites POSIX ERE syntax where the crate reads it otherwise: brackets, escapes of ordinary letters, braces that count nothing.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        at += 1;
        match char {
            '[' => at = bracket(&chars, at, &mut out),
            '\\' => match chars.get(at) {
                Some(next) => {
                    if matches!(next, 'w' | 'W' | 's' | 'S' | 'b' | 'B') {
                        out.push('\\');
                        out.push(*next);
                    } else {
                        out.push_str(&regex::escape(&next.to_string()));
                    }
                    at += 1;
                }
                None => out.push_str("\\\\"),
            },
            '{' if !counts(&chars[at..]) => out.push_str("\\{"),
            '}' if !closes(&chars[..at]) => out.push_str("\\}"),
            // `(?` would begin a group of the crate's own.
            '(' if chars.get(at) == Some(&'?') => out.push_str("(\\?"),
            other => out.push(other),
        }
        if char == '(' && chars.get(at) == Some(&'?') {
            at += 1;
        }
    }
    out
}

/// Is what follows `{` a repetition count?
fn counts(rest: &[char]) -> bool {
    let body: String = rest
        .iter()
        .take_while(|char| **char != '}')
        .take(16)
        .collect();
    let terminated = rest.get(body.chars().count()) == Some(&'}');
    let (low, high) = body.split_once(',').unwrap_or((&body, ""));
    terminated
        && !low.is_empty()
        && low
            .bytes()
            .chain(high.bytes())
            .all(|byte| byte.is_ascii_digit())
}

/// Does the `}` at the end of `before` close a repetition count?
fn closes(before: &[char]) -> bool {
    let open = before.iter().rposition(|char| *char == '{');
    open.is_some_and(|open| counts(&before[open + 1..]))
}

/// Translates a bracket expression whose first character is at `start`; returns where the rest begins.
fn bracket(chars: &[char], start: usize, out: &mut String) -> usize {
    let mut at = start;
    out.push('[');
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
    }
    let first = at;
    while let Some(&char) = chars.get(at) {
        at += 1;
        match char {
            ']' if at - 1 != first => {
                out.push(']');
                return at;
            }
            '[' if chars.get(at) == Some(&':') => {
                out.push_str("[:");
                at += 1;
                while let Some(&inner) = chars.get(at) {
                    at += 1;
                    if inner == ':' && chars.get(at) == Some(&']') {
                        out.push_str(":]");
                        at += 1;
                        break;
                    }
                    if !inner.is_ascii_alphabetic() {
                        break;
                    }
                    out.push(inner);
                }
            }
            '-' if at - 1 != first && chars.get(at).is_some_and(|next| *next != ']') => {
                out.push('-')
            }
            '-' | '[' | ']' | '\\' | '^' | '&' | '~' => {
                out.push('\\');
                out.push(char);
            }
            other => out.push(other),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn posix_brackets_escapes_and_classes_mean_what_posix_says() {
        for (pattern, text, expected) in [
            ("[a-z]+([0-9]+)", "abc123", true),
            ("^[]x]$", "]", true),
            ("^[\\d]$", "\\", true),
            ("^[\\d]$", "5", false),
            ("^[[:digit:]]{3}$", "123", true),
            ("^[a-]$", "-", true),
            ("^[a&&b]$", "&", true),
            ("a{x", "a{x", true),
            ("x}", "x}", true),
            ("\\d", "d", true),
            ("\\+7", "+7", true),
            ("^.$", "я", true),
            ("^(8|\\+?7)[0-9]{10}$", "+79123456789", true),
        ] {
            assert_eq!(
                posix(pattern).unwrap().is_match(text),
                expected,
                "{pattern} on {text}"
            );
        }
        assert!(posix("(").is_err());
        assert!(posix("[a").is_err());
        assert!(posix("a{1000}{1000}{1000}").is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "\\PC{0,20}|[\\[\\](){}^$.*+?|\\\\a-c0-9:,&~-]{0,16}") {
            if let Ok(regex) = posix(&pattern) {
                let _ = regex.is_match("abc-012");
            }
        }
    }
}
