//! A first look at a message: enough to know whose it is, without reading it.

use memchr::{memchr, memmem};

/// What a first look finds.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Peek<'a> {
    /// A request, not a response.
    pub is_request: bool,
    /// The method of a request, empty for a response.
    pub method: &'a [u8],
    /// The Call-ID, white space at the ends removed.
    pub call_id: &'a [u8],
}

/// Finds the first line and the Call-ID (`Call-ID` or `i`). `None` when either is not there; says nothing about whether
/// the rest is good.
#[must_use]
pub fn peek(raw: &[u8]) -> Option<Peek<'_>> {
    let start = raw.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let raw = raw.get(start..)?;
    let line_end = memchr(b'\n', raw)?;
    let space = memchr(b' ', raw.get(..line_end)?)?;
    let first = raw.get(..space)?;
    let is_request = !first
        .get(..4)
        .is_some_and(|s| s.eq_ignore_ascii_case(b"SIP/"));
    let method = if is_request { first } else { &[] };
    let mut at = line_end;
    // `at` is always at a line feed. The lines of a body are not looked at: an empty line ends the search.
    loop {
        let rest = raw.get(at + 1..)?;
        let length = memchr(b'\n', rest)?;
        let line = rest.get(..length)?;
        match line.first() {
            None | Some(b'\r') => return None,
            Some(b'c' | b'C' | b'i' | b'I') => {
                if let Some(value) = call_id_value(line) {
                    let value = trim(value);
                    if !value.is_empty() {
                        return Some(Peek {
                            is_request,
                            method,
                            call_id: value,
                        });
                    }
                    // Folded right after the colon: the value is the next line.
                    let next = rest.get(length + 1..)?;
                    if !matches!(next.first(), Some(b' ' | b'\t')) {
                        return None;
                    }
                    let folded = trim(next.get(..memchr(b'\n', next)?)?);
                    return (!folded.is_empty()).then_some(Peek {
                        is_request,
                        method,
                        call_id: folded,
                    });
                }
            }
            _ => {}
        }
        at += 1 + length;
    }
}

fn call_id_value(line: &[u8]) -> Option<&[u8]> {
    let rest = if line
        .get(..7)
        .is_some_and(|n| n.eq_ignore_ascii_case(b"Call-ID"))
    {
        line.get(7..)?
    } else if line.first().is_some_and(|b| b.eq_ignore_ascii_case(&b'i')) {
        line.get(1..)?
    } else {
        return None;
    };
    let colon = rest
        .iter()
        .position(|b| !matches!(b, b' ' | b'\t'))
        .filter(|i| rest.get(*i) == Some(&b':'))?;
    rest.get(colon + 1..)
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// The end of the headers: the offset behind the empty line, from `from` on. Line feeds alone are accepted too.
pub(super) fn headers_end(raw: &[u8], from: usize) -> Option<usize> {
    let tail = raw.get(from..)?;
    let crlf = memmem::find(tail, b"\n\r\n").map(|i| from + i + 3);
    let lf = memmem::find(tail, b"\n\n").map(|i| from + i + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_and_call_id_are_found_in_every_spelling() {
        for line in [
            "Call-ID: a@b",
            "CALL-ID :\ta@b  ",
            "i:a@b",
            "I : a@b",
            "Call-ID:\r\n  a@b",
        ] {
            let text = format!(
                "\r\n\r\nINVITE sip:a SIP/2.0\r\nContact: <sip:x>\r\nCSeq: 1 INVITE\r\n{line}\r\n\r\n"
            );
            let p = peek(text.as_bytes()).unwrap();
            assert!(p.is_request);
            assert_eq!(p.method, b"INVITE");
            assert_eq!(p.call_id, b"a@b", "{line}");
        }
    }

    #[test]
    fn a_body_is_not_searched_and_half_messages_are_none() {
        for text in [
            "",
            "\r\n\r\n",
            "INVITE",
            "INVITE sip:a SIP/2.0",
            "INVITE sip:a SIP/2.0\r\n",
            "INVITE sip:a SIP/2.0\r\nTo: x\r\n\r\ni: body\r\n",
            "INVITE sip:a SIP/2.0\r\nIdentity: x\r\nCall-IDs: y\r\n\r\n",
            "INVITE sip:a SIP/2.0\r\nCall-ID:\r\n\r\n",
        ] {
            assert_eq!(peek(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_response_has_no_method() {
        let p = peek(b"SIP/2.0 200 OK\ni: q\n\n").unwrap();
        assert!(!p.is_request && p.method.is_empty());
        assert_eq!(p.call_id, b"q");
    }
}
