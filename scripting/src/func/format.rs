//! Texts made by a pattern or read from one: `SPRINTF`, `JSON_DECODE`, letters of a keypad, quotes for SQL.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;
use strowger_dialplan::{args, subst};

use super::{Function, text};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read(
        "SPRINTF",
        "SPRINTF(format[,argument...])",
        "arguments written as a format says",
        |_, args| {
            let parts = args::split(args);
            let format = parts.first().map(String::as_str).unwrap_or_default();
            sprintf(format, parts.get(1..).unwrap_or_default())
        },
    ),
    Function::read(
        "KEYPADHASH",
        "KEYPADHASH(text)",
        "the digits that letters have on a keypad",
        |_, args| Ok(args.chars().filter_map(key_of).collect()),
    ),
    Function::read(
        "SQL_ESC",
        "SQL_ESC(text)",
        "with quotes doubled, for a text in SQL",
        |_, args| Ok(args.replace('\'', "''")),
    ),
    Function::read(
        "SQL_ESC_BACKSLASHES",
        "SQL_ESC_BACKSLASHES(text)",
        "with backslashes doubled, for a text in SQL",
        |_, args| Ok(args.replace('\\', "\\\\")),
    ),
    Function::read(
        "JSON_DECODE",
        "JSON_DECODE(variable,item[,separator[,options]])",
        "an item of the JSON text in a variable",
        json_decode,
    ),
];

/// The widest field and the most digits of a number in `SPRINTF`.
const WIDTH_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    blank: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

fn sprintf(format: &str, arguments: &[String]) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > text::RESULT_BYTES_MAX {
            break;
        }
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | ' ' | '#')) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.blank = true,
                _ => spec.alternate = true,
            }
        }
        spec.width = size(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(size(&mut chars));
        }
        // Sizes of C mean nothing here.
        while chars
            .next_if(|c| matches!(c, 'h' | 'l' | 'L' | 'q' | 'j' | 'z' | 't'))
            .is_some()
        {}
        let Some(kind) = chars.next() else {
            return Err(format!(
                "SPRINTF: \"{format}\" ends in the middle of a specifier"
            ));
        };
        let argument = arguments
            .next()
            .ok_or_else(|| format!("SPRINTF: \"{format}\" wants more arguments than there are"))?;
        out.push_str(&one(kind, &spec, argument)?);
    }
    Ok(out)
}

/// A number that stands here, 0 if there is none.
fn size(chars: &mut Peekable<Chars<'_>>) -> usize {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse::<usize>().unwrap_or(0).min(WIDTH_MAX)
}

fn one(kind: char, spec: &Spec, argument: &str) -> Result<String, String> {
    let number = || {
        let text = argument.trim();
        text::leading_number(text).ok_or_else(|| format!("SPRINTF: \"{text}\" is no number"))
    };
    let integer = || number().map(|value| value as i64);
    let sign = |negative: bool| match (negative, spec.plus, spec.blank) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let digits = |text: String| match spec.precision {
        Some(least) if text.len() < least => format!("{}{text}", "0".repeat(least - text.len())),
        _ => text,
    };
    let (prefix, body) = match kind {
        's' => {
            let most = spec.precision.unwrap_or(usize::MAX);
            (String::new(), argument.chars().take(most).collect())
        }
        'c' => (String::new(), argument.chars().take(1).collect()),
        'd' | 'i' => {
            let value = integer()?;
            (
                sign(value < 0).to_owned(),
                digits(value.unsigned_abs().to_string()),
            )
        }
        'u' => (String::new(), digits((integer()? as u64).to_string())),
        'o' => (String::new(), digits(format!("{:o}", integer()?))),
        'x' => (
            if spec.alternate { "0x" } else { "" }.to_owned(),
            digits(format!("{:x}", integer()?)),
        ),
        'X' => (
            if spec.alternate { "0X" } else { "" }.to_owned(),
            digits(format!("{:X}", integer()?)),
        ),
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
            let value = number()?;
            let places = spec.precision.unwrap_or(6);
            let size = value.abs();
            let body = match kind {
                'f' | 'F' => format!("{size:.places$}"),
                'e' | 'E' => exponent(size, places),
                _ => general(size, places.max(1)),
            };
            let body = if kind.is_ascii_uppercase() {
                body.to_uppercase()
            } else {
                body
            };
            (sign(value.is_sign_negative()).to_owned(), body)
        }
        other => {
            return Err(format!(
                "SPRINTF: %{other} is not known; known are %s %c %d %i %u %o %x %X %e %f %g"
            ));
        }
    };
    let length = prefix.chars().count() + body.chars().count();
    let fill = spec.width.saturating_sub(length);
    let zeros = spec.zero && !spec.left && !matches!(kind, 's' | 'c');
    Ok(if spec.left {
        format!("{prefix}{body}{}", " ".repeat(fill))
    } else if zeros {
        format!("{prefix}{}{body}", "0".repeat(fill))
    } else {
        format!("{}{prefix}{body}", " ".repeat(fill))
    })
}

/// `1.5e+02`, as C writes it.
fn exponent(size: f64, places: usize) -> String {
    let text = format!("{size:.places$e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = match power.strip_prefix('-') {
                Some(power) => ('-', power),
                None => ('+', power),
            };
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}

/// The shorter of both ways, without needless zeros.
fn general(size: f64, places: usize) -> String {
    let power = if size == 0.0 {
        0
    } else {
        // After rounding to that many digits.
        let text = format!("{size:.*e}", places - 1);
        text.split_once('e')
            .and_then(|(_, power)| power.parse::<i64>().ok())
            .unwrap_or(0)
    };
    let most = i64::try_from(places).unwrap_or(i64::MAX);
    let strip = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || power >= most {
        let text = exponent(size, places - 1);
        match text.split_once('e') {
            Some((digits, power)) => format!("{}e{power}", strip(digits)),
            None => text,
        }
    } else {
        let behind = usize::try_from(most - 1 - power).unwrap_or(0);
        strip(&format!("{size:.behind$}"))
    }
}

fn key_of(c: char) -> Option<char> {
    Some(match c.to_ascii_uppercase() {
        digit @ '0'..='9' => digit,
        'A'..='C' => '2',
        'D'..='F' => '3',
        'G'..='I' => '4',
        'J'..='L' => '5',
        'M'..='O' => '6',
        'P'..='S' => '7',
        'T'..='V' => '8',
        'W'..='Z' => '9',
        _ => return None,
    })
}

fn json_decode(task: &Task, args: &str) -> Result<String, String> {
    let parts = args::split(args);
    let part = |index: usize| parts.get(index).map(|part| part.trim()).unwrap_or_default();
    if part(0).is_empty() || part(1).is_empty() {
        return Err("JSON_DECODE takes the name of a variable and an item".to_owned());
    }
    let separator = match part(2) {
        "" => ".",
        separator => separator,
    };
    decode(
        &subst::resolve(part(0), task),
        part(1),
        separator,
        part(3).contains('c'),
    )
}

/// The item of a JSON text: names, and numbers in arrays, joined by a separator. What is not there is empty.
fn decode(json: &str, item: &str, separator: &str, count: bool) -> Result<String, String> {
    let parsed: Value =
        serde_json::from_str(json).map_err(|error| format!("JSON_DECODE: {error}"))?;
    let mut found = &parsed;
    for part in item.split(separator) {
        let next = match found {
            Value::Object(object) => object.get(part),
            Value::Array(array) => part.parse::<usize>().ok().and_then(|at| array.get(at)),
            _ => None,
        };
        let Some(next) = next else {
            return Ok(String::new());
        };
        found = next;
    }
    Ok(match found {
        Value::Array(array) if count => array.len().to_string(),
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_format_is_filled_in_as_c_does_it() {
        for (format, arguments, wanted) in [
            ("%s and %s", vec!["a", "b"], "a and b"),
            (
                "%05d|%-5d|%+d|% d",
                vec!["42", "42", "42", "42"],
                "00042|42   |+42| 42",
            ),
            (
                "%5.2f|%.0f|%f",
                vec!["3.14159", "2.5", "1"],
                " 3.14|2|1.000000",
            ),
            (
                "%x %X %#x %o",
                vec!["255", "255", "255", "8"],
                "ff FF 0xff 10",
            ),
            ("%.2s|%5s|%-5s|", vec!["abc", "a", "b"], "ab|    a|b    |"),
            ("%d%%", vec!["50"], "50%"),
            ("%03d", vec!["-5"], "-05"),
            ("%.3d", vec!["7"], "007"),
            ("%e", vec!["12345.678"], "1.234568e+04"),
            (
                "%g %g %g",
                vec!["0.0001", "1000000", "0.5"],
                "0.0001 1e+06 0.5",
            ),
            ("%c", vec!["Привет"], "П"),
            ("%ld %lf", vec!["9", "1.5"], "9 1.500000"),
            ("%u", vec!["-1"], "18446744073709551615"),
        ] {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            assert_eq!(
                sprintf(format, &arguments).as_deref(),
                Ok(wanted),
                "{format}"
            );
        }
        for (format, arguments) in [
            ("%d", vec![]),
            ("%d", vec!["x"]),
            ("%", vec!["1"]),
            ("%y", vec!["1"]),
        ] {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            assert!(sprintf(format, &arguments).is_err(), "{format}");
        }
    }

    #[test]
    fn items_of_json_are_found_by_their_path() {
        let json = r#"{"city":"Москва","n":{"a":[1,2.5,{"x":"y"}]},"no":null,"yes":true,"a/b":1}"#;
        for (item, separator, count, wanted) in [
            ("city", ".", false, "Москва"),
            ("n.a.1", ".", false, "2.5"),
            ("n/a/2/x", "/", false, "y"),
            ("n.a", ".", true, "3"),
            ("n.a.2", ".", false, r#"{"x":"y"}"#),
            ("no", ".", false, ""),
            ("yes", ".", false, "true"),
            ("a/b", ".", false, "1"),
            ("nothing.here", ".", false, ""),
            ("city.x", ".", false, ""),
        ] {
            assert_eq!(
                decode(json, item, separator, count).as_deref(),
                Ok(wanted),
                "{item}"
            );
        }
        assert!(decode("{", "x", ".", false).is_err());
        assert!(decode(&"[".repeat(10_000), "0", ".", false).is_err());
    }

    #[test]
    fn letters_are_keys() {
        let keys = |text: &str| text.chars().filter_map(key_of).collect::<String>();
        assert_eq!(keys("Les"), "537");
        assert_eq!(keys("0-PQRS wxyz я"), "077779999");
    }

    proptest! {
        #[test]
        fn no_format_fails_but_by_saying_so(format in "[%0-9.#+ \\-a-zA-Zя]{0,40}", argument in ".{0,20}") {
            let arguments = vec![argument; 8];
            if let Ok(text) = sprintf(&format, &arguments) {
                prop_assert!(text.len() <= 2 * text::RESULT_BYTES_MAX);
            }
        }
    }
}
