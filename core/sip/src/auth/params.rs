//! The parameter list of challenges and credentials: `Digest name=value, name="value"`.

use super::AuthError;
use crate::SyntaxError;
use crate::syntax::{is_space, is_token, quoted_end, unescape};

const PARAMS_MAX: usize = 64;

/// Reads the list after the scheme `Digest`. Quotes and escapes are resolved.
pub(super) fn parse(text: &str) -> Result<Vec<(&str, String)>, AuthError> {
    let text = crate::syntax::trim(text);
    let end = text.bytes().position(is_space).unwrap_or(text.len());
    let (scheme, list) = text.split_at(end);
    if !scheme.eq_ignore_ascii_case("Digest") {
        return Err(AuthError::Scheme);
    }
    let bytes = list.as_bytes();
    let fail = |what, at| AuthError::Syntax(SyntaxError::new(what, end + at));
    let skip = |mut at: usize, also: fn(u8) -> bool| {
        while bytes.get(at).is_some_and(|b| is_space(*b) || also(*b)) {
            at += 1;
        }
        at
    };
    // A Digest has eight to eleven of them.
    let mut out = Vec::with_capacity(12);
    let mut at = 0;
    loop {
        // Empty items are allowed by the list rule (RFC 2616 §2.1).
        at = skip(at, |b| b == b',');
        if at == bytes.len() {
            return Ok(out);
        }
        let start = at;
        while bytes.get(at).is_some_and(|b| is_token(*b)) {
            at += 1;
        }
        let name = list.get(start..at).unwrap_or("");
        at = skip(at, |_| false);
        if name.is_empty() || bytes.get(at) != Some(&b'=') {
            return Err(fail("expected name=value", start));
        }
        at = skip(at + 1, |_| false);
        let start = at;
        let value = if bytes.get(at) == Some(&b'"') {
            at = quoted_end(bytes, at).ok_or(fail("quoted string without an end", at))?;
            unescape(list.get(start + 1..at - 1).unwrap_or(""))
        } else {
            while bytes.get(at).is_some_and(|b| !is_space(*b) && *b != b',') {
                at += 1;
            }
            list.get(start..at).unwrap_or("").to_owned()
        };
        at = skip(at, |_| false);
        if at < bytes.len() && bytes.get(at) != Some(&b',') {
            return Err(fail("expected ','", at));
        }
        if out.len() == PARAMS_MAX {
            return Err(fail("too many parameters", at));
        }
        out.push((name, value));
    }
}

/// Takes a parameter by name, in any case.
pub(super) fn take(params: &mut Vec<(&str, String)>, name: &str) -> Option<String> {
    let at = params
        .iter()
        .position(|(n, _)| n.eq_ignore_ascii_case(name))?;
    Some(params.remove(at).1)
}
