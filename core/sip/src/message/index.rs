//! From bytes to an index: start line, header lines and body as ranges. No header is copied; only a value that is folded
//! or not UTF-8 gets a text of its own.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use super::error::{ParseError, ParseErrorKind};
use super::name::Code;
use super::{HeaderName, Inner, Message, Method, Start};
use crate::headers::CSeq;
use crate::syntax::is_token;

/// The longest message accepted, in bytes.
pub const MESSAGE_LENGTH_MAX: usize = 64 * 1024;
/// The most header lines accepted in a message.
pub const HEADERS_MAX: usize = 128;

/// A range of the message; `u32` keeps an entry at 24 bytes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(range: Range<usize>) -> Self {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            start: small(range.start),
            end: small(range.end),
        }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Where it is when what ended at `from` ends at `to`.
    pub(super) fn moved(self, from: usize, to: usize) -> Self {
        let at = |place: usize| {
            if place < from {
                place
            } else {
                place - from + to
            }
        };
        let range = self.range();
        Self::new(at(range.start)..at(range.end))
    }

    pub(super) fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(self.range()).unwrap_or(&[])
    }
}

/// One header line.
#[derive(Copy, Clone, Debug)]
pub(super) struct Entry {
    pub(super) code: Code,
    /// The value is folded or not UTF-8: its text is in `Inner::cooked`.
    pub(super) cooked: bool,
    pub(super) name: Span,
    pub(super) value: Span,
}

/// A line: its content without the line end, and where the next one starts.
struct Line {
    content: Range<usize>,
    next: usize,
}

fn line_at(raw: &[u8], start: usize) -> Option<Line> {
    let rest = raw.get(start..)?;
    let feed = start + memchr::memchr(b'\n', rest)?;
    let end = if feed > start && raw.get(feed - 1) == Some(&b'\r') {
        feed - 1
    } else {
        feed
    };
    Some(Line {
        content: start..end,
        next: feed + 1,
    })
}

/// What the scan has found so far.
struct Scan {
    raw: Bytes,
    start: Option<Start>,
    headers: SmallVec<[Entry; 20]>,
    cooked: Vec<(u32, Box<str>)>,
    body: Range<usize>,
}

impl Scan {
    fn into_message(self) -> Option<Message> {
        Some(Message {
            inner: Arc::new(Inner {
                start: self.start?,
                headers: self.headers,
                cooked: self.cooked,
                body: Span::new(self.body),
                raw: self.raw,
                from: OnceLock::new(),
                to: OnceLock::new(),
            }),
        })
    }

    fn fail(self, kind: ParseErrorKind, offset: usize) -> ParseError {
        let line =
            1 + memchr::memchr_iter(b'\n', self.raw.get(..offset).unwrap_or(&self.raw)).count();
        ParseError {
            kind,
            line,
            offset,
            partial: self.into_message().map(Box::new),
        }
    }

    fn push(&mut self, name: Range<usize>, value: Range<usize>, folded: bool) {
        let raw = &self.raw;
        let bytes = raw.get(value.clone()).unwrap_or(&[]);
        let text = std::str::from_utf8(bytes);
        let cooked = match text {
            Ok(text) if folded => Some(unfold(text)),
            Ok(_) => None,
            Err(_) => Some(unfold(&String::from_utf8_lossy(bytes))),
        };
        if let Some(text) = &cooked {
            let index = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
            self.cooked.push((index, text.as_str().into()));
        }
        self.headers.push(Entry {
            code: Code::of(raw.get(name.clone()).unwrap_or(&[])),
            cooked: cooked.is_some(),
            name: Span::new(name),
            value: Span::new(value),
        });
    }
}

/// Each line end with the white space around it becomes one space (RFC 3261 §7.3.1).
fn unfold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.split('\n').enumerate() {
        let line = line.trim_end_matches('\r');
        if i == 0 {
            out.push_str(line.trim_end_matches([' ', '\t']));
        } else {
            let line = line.trim_matches([' ', '\t']);
            if !line.is_empty() {
                out.push(' ');
                out.push_str(line);
            }
        }
    }
    out
}

fn trimmed(raw: &[u8], range: Range<usize>) -> Range<usize> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let slice = raw.get(range.clone()).unwrap_or(&[]);
    let front = slice.iter().take_while(|b| blank(b)).count();
    let back = slice
        .iter()
        .skip(front)
        .rev()
        .take_while(|b| blank(b))
        .count();
    range.start + front..range.end - back
}

fn start_line(line: &[u8], at: usize) -> Result<Start, (ParseErrorKind, usize, Option<Start>)> {
    let fail = |what, offset: usize| (ParseErrorKind::StartLine(what), at + offset, None);
    let text = std::str::from_utf8(line).map_err(|e| fail("not UTF-8", e.valid_up_to()))?;
    if text
        .get(..4)
        .is_some_and(|s| s.eq_ignore_ascii_case("SIP/"))
    {
        let (version, rest) = text
            .split_once(' ')
            .ok_or(fail("status line without a status", 0))?;
        if !version.eq_ignore_ascii_case("SIP/2.0") {
            return Err((ParseErrorKind::Version, at, None));
        }
        let offset = version.len() + 1;
        let digits = rest.split(' ').next().unwrap_or("");
        let status = match digits.as_bytes() {
            [b'1'..=b'6', b'0'..=b'9', b'0'..=b'9'] => digits.parse().unwrap_or(0),
            _ => return Err(fail("status is not a number from 100 to 699", offset)),
        };
        let reason = (at + offset + digits.len() + 1).min(at + line.len());
        return Ok(Start::Response {
            status,
            reason: Span::new(reason..at + line.len()),
        });
    }
    let mut parts = text.splitn(3, ' ');
    let (method, uri, version) = (
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
    );
    let uri_at = method.len() + 1;
    let version_at = uri_at + uri.len() + 1;
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(fail("no method", 0));
    }
    if uri.is_empty() {
        return Err(fail("no Request-URI after one space", method.len()));
    }
    if uri.starts_with('<') {
        return Err(fail("Request-URI stands in brackets", uri_at));
    }
    if let Some(bad) = uri.bytes().position(|b| b <= b' ' || b == 0x7f) {
        return Err(fail("white space in the Request-URI", uri_at + bad));
    }
    let start = Start::Request {
        method: Method::parse(method).ok_or(fail("no method", 0))?,
        method_span: Span::new(at..at + method.len()),
        uri: Span::new(at + uri_at..at + uri_at + uri.len()),
    };
    if version.eq_ignore_ascii_case("SIP/2.0") {
        return Ok(start);
    }
    // Another version is told to the sender (505), anything else is no SIP at all.
    let other = version
        .get(..4)
        .is_some_and(|s| s.eq_ignore_ascii_case("SIP/"))
        && version[4..]
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b'.')
        && version.len() > 4;
    if other {
        Err((ParseErrorKind::Version, at + version_at, Some(start)))
    } else {
        // The start is good enough to answer from.
        Err((
            ParseErrorKind::StartLine("SIP/2.0 expected after the Request-URI and one space"),
            at + version_at,
            Some(start),
        ))
    }
}

/// Reads the whole message. With `strict` off (for what we built ourselves) limits and mandatory headers are not checked.
pub(super) fn parse(raw: Bytes, strict: bool) -> Result<Message, ParseError> {
    let mut scan = Scan {
        body: raw.len()..raw.len(),
        raw: raw.clone(),
        start: None,
        headers: SmallVec::new(),
        cooked: Vec::new(),
    };
    let too_large = strict && raw.len() > MESSAGE_LENGTH_MAX;
    // RFC 3261 §7.5: line ends before the start line are ignored.
    let mut at = raw
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    if at == raw.len() {
        return Err(scan.fail(ParseErrorKind::Empty, 0));
    }
    let Some(line) = line_at(&raw, at) else {
        return Err(scan.fail(ParseErrorKind::Unterminated, raw.len()));
    };
    let mut failure = None;
    match start_line(raw.get(line.content.clone()).unwrap_or(&[]), at) {
        Ok(start) => scan.start = Some(start),
        Err((kind, offset, Some(start))) => {
            scan.start = Some(start);
            failure = Some((kind, offset));
        }
        Err((kind, offset, None)) => return Err(scan.fail(kind, offset)),
    }
    if too_large {
        failure = Some((
            ParseErrorKind::TooLarge {
                length: raw.len(),
                max: MESSAGE_LENGTH_MAX,
            },
            MESSAGE_LENGTH_MAX,
        ));
    }
    at = line.next;
    // Each turn reads one header with its folded lines. A bad line is remembered and the rest still read, so that the
    // sender can be answered.
    loop {
        let Some(line) = line_at(&raw, at) else {
            return Err(scan.fail(ParseErrorKind::Unterminated, raw.len()));
        };
        if line.content.is_empty() {
            scan.body = line.next..raw.len();
            break;
        }
        let first = line.content.start;
        let mut end = line.content.end;
        let mut next = line.next;
        let mut folded = false;
        while matches!(raw.get(next), Some(b' ' | b'\t')) {
            let Some(more) = line_at(&raw, next) else {
                return Err(scan.fail(ParseErrorKind::Unterminated, raw.len()));
            };
            end = more.content.end;
            next = more.next;
            folded = true;
        }
        at = next;
        if strict && scan.headers.len() == HEADERS_MAX {
            return Err(scan.fail(ParseErrorKind::TooManyHeaders { max: HEADERS_MAX }, first));
        }
        let content = raw.get(first..end).unwrap_or(&[]);
        let problem = match content.iter().position(|b| !is_token(*b)) {
            Some(0) => Some("no header name"),
            Some(name_end) => {
                let colon = content
                    .iter()
                    .skip(name_end)
                    .take_while(|b| matches!(b, b' ' | b'\t'))
                    .count()
                    + name_end;
                if content.get(colon) == Some(&b':') {
                    let value = trimmed(&raw, first + colon + 1..end);
                    scan.push(first..first + name_end, value, folded);
                    None
                } else {
                    Some("no ':' after the header name")
                }
            }
            None => Some("no ':' after the header name"),
        };
        if let Some(what) = problem {
            failure = failure.or(Some((ParseErrorKind::HeaderLine(what), first)));
        }
    }
    if !strict {
        let at = scan.raw.len();
        return match scan.start {
            Some(_) => scan.into_message(),
            None => None,
        }
        .ok_or(ParseError {
            kind: ParseErrorKind::Empty,
            line: 1,
            offset: at,
            partial: None,
        });
    }
    let failure = failure.or_else(|| check(&mut scan));
    match failure {
        Some((kind, offset)) => Err(scan.fail(kind, offset)),
        None => {
            let empty = ParseError {
                kind: ParseErrorKind::Empty,
                line: 1,
                offset: 0,
                partial: None,
            };
            scan.into_message().ok_or(empty)
        }
    }
}

/// What every message must hold (RFC 3261 §8.1.1, §20), and how long its body is. Sets the body.
fn check(scan: &mut Scan) -> Option<(ParseErrorKind, usize)> {
    let end = scan.body.start;
    let find = |code: Code| scan.headers.iter().filter(move |e| e.code == code);
    for (code, name) in [
        (Code::Via, HeaderName::Via),
        (Code::From, HeaderName::From),
        (Code::To, HeaderName::To),
        (Code::CallId, HeaderName::CallId),
        (Code::CSeq, HeaderName::CSeq),
    ] {
        let found = find(code).find(|e| !e.value.range().is_empty());
        if found.is_none() {
            return Some((ParseErrorKind::Missing(name), end));
        }
    }
    for (code, name) in [
        (Code::From, HeaderName::From),
        (Code::To, HeaderName::To),
        (Code::CallId, HeaderName::CallId),
        (Code::CSeq, HeaderName::CSeq),
        (Code::MaxForwards, HeaderName::MaxForwards),
        (Code::ContentLength, HeaderName::ContentLength),
    ] {
        if let Some(second) = find(code).nth(1) {
            return Some((ParseErrorKind::Duplicate(name), second.name.range().start));
        }
    }
    let cseq = find(Code::CSeq).next()?;
    let text = scan
        .headers
        .iter()
        .position(|e| e.code == Code::CSeq)
        .and_then(|i| cooked_text(&scan.cooked, i))
        .or_else(|| std::str::from_utf8(cseq.value.of(&scan.raw)).ok())
        .unwrap_or("");
    let at = cseq.value.range().start;
    match (CSeq::parse(text), &scan.start) {
        (Err(error), _) => return Some((ParseErrorKind::Header(HeaderName::CSeq, error), at)),
        (Ok(cseq), Some(Start::Request { method, .. })) if cseq.method != *method => {
            return Some((ParseErrorKind::MethodMismatch, at));
        }
        _ => {}
    }
    let length = find(Code::ContentLength).next().copied();
    let present = scan.body.len();
    if let Some(entry) = length {
        let at = entry.value.range().start;
        let digits = entry.value.of(&scan.raw);
        let number = std::str::from_utf8(digits)
            .ok()
            .filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))
            .map(|t| t.parse::<u64>().unwrap_or(u64::MAX));
        let Some(announced) = number else {
            return Some((
                ParseErrorKind::Header(
                    HeaderName::ContentLength,
                    crate::SyntaxError::new("not a number", 0),
                ),
                at,
            ));
        };
        match usize::try_from(announced) {
            Ok(announced) if announced <= present => {
                // RFC 3261 §18.3: what follows the announced body is discarded.
                scan.body.end = scan.body.start + announced;
            }
            _ => return Some((ParseErrorKind::BodyTooShort { announced, present }, at)),
        }
    }
    None
}

/// Indexes what [`super::Builder`] wrote.
pub(super) fn built(raw: Bytes) -> Message {
    parse(raw, false).unwrap_or_else(|error| {
        // The builder writes a start line and clean headers, so this does not happen; a caller that gave a method or
        // a Request-URI of nothing at all gets a message without headers rather than a panic.
        error.partial.map_or_else(
            || Message {
                inner: Arc::new(Inner {
                    raw: Bytes::new(),
                    start: Start::Response {
                        status: 500,
                        reason: Span::new(0..0),
                    },
                    headers: SmallVec::new(),
                    cooked: Vec::new(),
                    body: Span::new(0..0),
                    from: OnceLock::new(),
                    to: OnceLock::new(),
                }),
            },
            |partial| *partial,
        )
    })
}

pub(super) fn cooked_text(cooked: &[(u32, Box<str>)], index: usize) -> Option<&str> {
    cooked
        .iter()
        .find(|(i, _)| *i as usize == index)
        .map(|(_, text)| &**text)
}
