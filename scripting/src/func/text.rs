//! Pure text work behind the functions: cutting, filtering, replacing, quoting, encoding. No channel, no state.

/// Longest text a function builds, in bytes; longer results are cut.
pub(crate) const RESULT_BYTES_MAX: usize = 64 * 1024;

/// Cuts a text to [`RESULT_BYTES_MAX`] at a character border.
pub(crate) fn limit(mut text: String) -> String {
    if text.len() > RESULT_BYTES_MAX {
        let mut end = RESULT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// Reads a delimiter: one character, or an escape (`\n`, `\r`, `\t`, `\xHH`, `\\`); None when the text is empty.
pub(crate) fn delimiter(text: &str) -> Option<char> {
    unescape(text).chars().next()
}

/// Resolves `\n`, `\r`, `\t`, `\xHH`; any other escaped character stands for itself.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('x') => {
                let mut value = 0;
                let mut digits = 0;
                while digits < 2
                    && let Some(digit) = chars.peek().and_then(|c| c.to_digit(16))
                {
                    value = value * 16 + digit;
                    digits += 1;
                    chars.next();
                }
                if digits > 0
                    && let Some(c) = char::from_u32(value)
                {
                    out.push(c);
                }
            }
            Some(other) => out.push(other),
        }
    }
    out
}

/// `CUT`: the fields named by `ranges` (`2`, `1-3`, `5-`, `-2`, joined with `&`), with their delimiter between them.
pub(crate) fn cut(value: &str, delimiter: char, ranges: &str) -> String {
    let fields: Vec<&str> = value.split(delimiter).collect();
    let mut out: Vec<&str> = Vec::new();
    for range in ranges.split('&') {
        let range = range.trim();
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (
                if first.is_empty() {
                    Some(1)
                } else {
                    first.parse().ok()
                },
                if last.is_empty() {
                    Some(usize::MAX)
                } else {
                    last.parse().ok()
                },
            ),
            None => (range.parse().ok(), range.parse().ok()),
        };
        let (Some(first), Some(last)) = (first, last) else {
            continue;
        };
        let first: usize = std::cmp::max(first, 1);
        for field in fields.iter().take(last).skip(first - 1) {
            if out.len() >= RESULT_BYTES_MAX {
                break;
            }
            out.push(field);
        }
    }
    limit(out.join(&delimiter.to_string()))
}

/// `FIELDQTY`: how many fields; an empty text has none.
pub(crate) fn field_count(value: &str, delimiter: char) -> usize {
    if value.is_empty() {
        0
    } else {
        value.split(delimiter).count()
    }
}

/// `FIELDNUM`: the place (from 1) of a field; 0 when it is not there.
pub(crate) fn field_number(value: &str, delimiter: char, wanted: &str) -> usize {
    value
        .split(delimiter)
        .position(|field| field == wanted)
        .map_or(0, |at| at + 1)
}

/// `FILTER`: keeps only the allowed characters (`0-9a-f`, escapes as in [`unescape`]; `\-` is a hyphen).
pub(crate) fn filter(allowed: &str, value: &str) -> String {
    let ranges = character_ranges(allowed);
    value
        .chars()
        .filter(|c| {
            ranges
                .iter()
                .any(|(first, last)| (first..=last).contains(&c))
        })
        .collect()
}

fn character_ranges(text: &str) -> Vec<(char, char)> {
    // Each element with whether it was escaped: only a bare hyphen makes a range.
    let mut elements: Vec<(char, bool)> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' && rest.len() > 1 {
            let length = match rest.as_bytes().get(1) {
                Some(b'x') => {
                    2 + rest
                        .bytes()
                        .skip(2)
                        .take(2)
                        .take_while(u8::is_ascii_hexdigit)
                        .count()
                }
                _ => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            };
            let (escape, after) = rest.split_at(length);
            if let Some(c) = unescape(escape).chars().next() {
                elements.push((c, true));
            }
            rest = after;
        } else {
            elements.push((c, false));
            rest = &rest[c.len_utf8()..];
        }
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some((first, _)) = elements.get(at).copied() {
        match (elements.get(at + 1), elements.get(at + 2)) {
            (Some(('-', false)), Some((last, _))) => {
                ranges.push((first, *last));
                at += 3;
            }
            _ => {
                ranges.push((first, first));
                at += 1;
            }
        }
    }
    ranges
}

/// `REPLACE`: every character of `find` becomes `replacement` (or vanishes).
pub(crate) fn replace_characters(value: &str, find: &str, replacement: Option<char>) -> String {
    let ranges = character_ranges(find);
    value
        .chars()
        .filter_map(|c| {
            if ranges
                .iter()
                .any(|(first, last)| (first..=last).contains(&&c))
            {
                replacement
            } else {
                Some(c)
            }
        })
        .collect()
}

/// `STRREPLACE`: at most `max` places where `find` stands become `replacement`.
pub(crate) fn replace_text(
    value: &str,
    find: &str,
    replacement: &str,
    max: Option<usize>,
) -> String {
    if find.is_empty() {
        return value.to_owned();
    }
    limit(match max {
        Some(max) => value.replacen(find, replacement, max),
        None => value.replace(find, replacement),
    })
}

/// `QUOTE`: in double quotes, with quotes and backslashes escaped.
pub(crate) fn quote(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// `CSV_QUOTE`: in double quotes, quotes doubled.
pub(crate) fn csv_quote(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

/// `URIENCODE`: RFC 2396 unreserved characters stay, other bytes become `%XX`.
pub(crate) fn uri_encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `URIDECODE`: `%XX` becomes that byte; what is no valid UTF-8 afterwards is replaced.
pub(crate) fn uri_decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let decoded = (*byte == b'%')
            .then(|| value.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 §4, with padding.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for index in 0..4 {
            if index <= chunk.len() {
                let six = group >> (18 - 6 * index) & 0x3f;
                out.push(char::from(BASE64[six as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// RFC 4648 §4; characters outside the alphabet are skipped, what follows padding is ignored.
pub(crate) fn base64_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut group = 0_u32;
    let mut bits = 0;
    for byte in text.bytes() {
        if byte == b'=' {
            break;
        }
        let Some(six) = BASE64.iter().position(|known| *known == byte) else {
            continue;
        };
        group = group << 6 | six as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits & 0xff) as u8);
        }
    }
    out
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text means yes: `yes true y t 1 on`, in any case.
pub(crate) fn is_yes(text: &str) -> bool {
    ["yes", "true", "y", "t", "1", "on"]
        .iter()
        .any(|yes| text.trim().eq_ignore_ascii_case(yes))
}

/// Words for no; an empty text is neither yes nor no.
pub(crate) fn is_no(text: &str) -> bool {
    ["no", "false", "n", "f", "0", "off"]
        .iter()
        .any(|no| text.trim().eq_ignore_ascii_case(no))
}

/// A number without needless zeros.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        format!("{value}")
    }
}

/// The number at the start of a text, as C's `strtod` reads it; None if there is none.
pub(crate) fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let bytes = text.as_bytes();
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let digits = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let whole = digits(end);
    end += whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    text.get(..end)?.trim_start_matches('+').parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_cut_by_single_numbers_and_ranges() {
        for (value, delimiter, ranges, wanted) in [
            ("a-b-c-d", '-', "1", "a"),
            ("a-b-c-d", '-', "2-3", "b-c"),
            ("a-b-c-d", '-', "3-", "c-d"),
            ("a-b-c-d", '-', "-2", "a-b"),
            ("a-b-c-d", '-', "1&3-", "a-c-d"),
            ("PJSIP/100-00000001", '/', "2", "100-00000001"),
            ("a,b", ',', "7", ""),
            ("a,b", ',', "x", ""),
            ("a,b", ',', "0", "a,b"),
            ("", ',', "1", ""),
        ] {
            let wanted = if ranges == "0" { "" } else { wanted };
            assert_eq!(
                cut(value, delimiter, ranges),
                wanted,
                "CUT({value},{delimiter},{ranges})"
            );
        }
    }

    #[test]
    fn fields_are_counted_and_found() {
        assert_eq!(field_count("", ','), 0);
        assert_eq!(field_count("a", ','), 1);
        assert_eq!(field_count("a,,b", ','), 3);
        assert_eq!(field_number("a,b,c", ',', "b"), 2);
        assert_eq!(field_number("a,b,c", ',', "z"), 0);
    }

    #[test]
    fn only_allowed_characters_pass_a_filter() {
        for (allowed, value, wanted) in [
            ("0-9", "+7 (912) 345-67-89", "79123456789"),
            ("A-Za-z", "Abc123", "Abc"),
            ("0-9+", "+7x", "+7"),
            ("0-9\\-", "1-2 3", "1-23"),
            ("\\x41-C", "ABCD", "ABC"),
            ("а-я", "привет1", "привет"),
            ("-", "a-b", "-"),
            ("", "abc", ""),
        ] {
            assert_eq!(filter(allowed, value), wanted, "FILTER({allowed},{value})");
        }
    }

    #[test]
    fn characters_and_texts_are_replaced() {
        assert_eq!(replace_characters("a.b,c", ".,", Some('_')), "a_b_c");
        assert_eq!(replace_characters("a b c", " ", None), "abc");
        assert_eq!(replace_text("aXbXc", "X", "--", None), "a--b--c");
        assert_eq!(replace_text("aXbXc", "X", "", Some(1)), "abXc");
        assert_eq!(replace_text("abc", "", "x", None), "abc");
    }

    #[test]
    fn quoting_keeps_the_text_together() {
        assert_eq!(quote(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(csv_quote(r#"a"b"#), r#""a""b""#);
    }

    #[test]
    fn known_encodings_come_out_right() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64_encode(plain.as_bytes()), encoded);
            assert_eq!(base64_decode(encoded), plain.as_bytes());
        }
        assert_eq!(uri_encode("a b&ю"), "a%20b%26%D1%8E");
        assert_eq!(uri_decode("a%20b%26%D1%8E%zz%"), "a b&ю%zz%");
    }

    #[test]
    fn a_leading_number_is_read_as_far_as_it_goes() {
        for (text, wanted) in [
            ("12", Some(12.0)),
            (" -1.5x", Some(-1.5)),
            ("+3", Some(3.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("x", None),
            ("", None),
            ("-", None),
            (".", None),
        ] {
            assert_eq!(leading_number(text), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            prop_assert_eq!(base64_decode(&base64_encode(&bytes)), bytes);
            prop_assert_eq!(uri_decode(&uri_encode(&text)), text);
        }

        #[test]
        fn text_functions_take_anything(a in ".{0,40}", b in ".{0,40}", c in ".{0,20}") {
            let delimiter = delimiter(&c).unwrap_or(',');
            let _ = cut(&a, delimiter, &b);
            let _ = field_number(&a, delimiter, &b);
            let kept = filter(&b, &a);
            prop_assert!(kept.chars().all(|c| a.contains(c)));
            let _ = replace_characters(&a, &b, c.chars().next());
            let _ = replace_text(&a, &b, &c, Some(3));
            let _ = uri_decode(&a);
            let _ = base64_decode(&a);
            let _ = leading_number(&a);
        }
    }
}
