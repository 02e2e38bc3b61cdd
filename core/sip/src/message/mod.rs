//! SIP messages: bytes with an index over them, a builder that makes them, and the framing of streams.
//!
//! A [`Message`] owns its bytes and never changes; headers get a type only when asked for one. Nothing here knows
//! transactions, dialogs or calls.

mod builder;
mod error;
mod framer;
mod index;
mod method;
mod name;
mod peek;
mod status;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::headers::{CSeq, Contacts, ListItems, NameAddr, Via};
use crate::syntax::{SyntaxError, delta_seconds, trim};
use crate::uri::Uri;

pub use builder::Builder;
pub use error::{ParseError, ParseErrorKind};
pub use framer::{Frame, FrameError, Framer};
pub use index::{HEADERS_MAX, MESSAGE_LENGTH_MAX};
pub use method::Method;
pub use name::HeaderName;
pub use peek::{Peek, peek};
pub use status::reason_phrase;

use index::{Entry, Span, cooked_text};
use name::Code;

/// The start line.
#[derive(Clone, Debug)]
enum Start {
    Request {
        method: Method,
        method_span: Span,
        uri: Span,
    },
    Response {
        status: u16,
        reason: Span,
    },
}

struct Inner {
    raw: Bytes,
    start: Start,
    headers: SmallVec<[Entry; 20]>,
    /// Texts of values that are folded or not UTF-8, by header number.
    cooked: Vec<(u32, Box<str>)>,
    body: Span,
    /// From and To as read when they were asked for first: transaction, dialog and endpoint all ask.
    from: OnceLock<Arc<NameAddr>>,
    to: OnceLock<Arc<NameAddr>>,
}

/// A SIP request or response, byte for byte as it came or goes. Cloning it copies a pointer.
#[derive(Clone)]
pub struct Message {
    inner: Arc<Inner>,
}

impl Message {
    /// Reads a whole message: a datagram, or what [`Framer`] cut from a stream.
    ///
    /// Checked here: the start line, the form of every header line, that Via, From, To, Call-ID and CSeq are present,
    /// that what may stand once does, the CSeq and its method, Content-Length. Other values are read when asked for;
    /// [`Message::check`] reads them all.
    ///
    /// # Errors
    /// What is wrong and where, and the answer the sender may get: [`ParseError::response`].
    pub fn parse(raw: Bytes) -> Result<Self, ParseError> {
        index::parse(raw, true)
    }

    /// Reads the values that the handling of a request relies on (Request-URI, Via, From, To, Contact, Route,
    /// Record-Route, Max-Forwards) and tells the first one that is bad.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn check(&self) -> Result<(), ParseError> {
        if let Some(Err(error)) = self.uri() {
            let offset = match &self.inner.start {
                Start::Request { uri, .. } => uri.range().start,
                Start::Response { .. } => 0,
            };
            return Err(self.error_at(ParseErrorKind::RequestUri(error), offset));
        }
        if let Some(Ok(uri)) = self.uri()
            && !uri.headers.is_empty()
        {
            // RFC 3261 §19.1.1: headers are not allowed in a Request-URI.
            let what = SyntaxError::new("headers are not allowed here", 0);
            return Err(self.error_at(ParseErrorKind::RequestUri(what), 0));
        }
        for (index, entry) in self.inner.headers.iter().enumerate() {
            let text = self.text(index, entry);
            let result = match entry.code {
                Code::Via if text.is_empty() => Err(SyntaxError::new("empty", 0)),
                Code::Via => ListItems::new(text).try_for_each(|v| Via::parse(v).map(drop)),
                Code::From | Code::To => NameAddr::parse(text).map(drop),
                Code::Contact if text == "*" => Ok(()),
                Code::Contact | Code::Route | Code::RecordRoute => {
                    NameAddr::parse_list(text).map(drop)
                }
                Code::MaxForwards if text.parse::<u8>().is_err() => {
                    Err(SyntaxError::new("not a number from 0 to 255", 0))
                }
                _ => Ok(()),
            };
            if let (Err(error), Some(name)) = (result, entry.code.name()) {
                return Err(self.error_at(
                    ParseErrorKind::Header(name, error),
                    entry.value.range().start,
                ));
            }
        }
        Ok(())
    }

    /// All bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.inner.raw
    }

    /// The body, cut at Content-Length.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.inner.body.of(&self.inner.raw)
    }

    /// True for a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.inner.start, Start::Request { .. })
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        match &self.inner.start {
            Start::Request { method, .. } => Some(method.clone()),
            Start::Response { .. } => None,
        }
    }

    /// The method of a request as written; empty for a response.
    #[must_use]
    pub fn method_str(&self) -> &str {
        match &self.inner.start {
            Start::Request { method_span, .. } => self.str_of(*method_span),
            Start::Response { .. } => "",
        }
    }

    /// True for a request of this method.
    #[must_use]
    pub fn is_method(&self, wanted: &Method) -> bool {
        matches!(&self.inner.start, Start::Request { method, .. } if method == wanted)
    }

    /// The Request-URI as written.
    #[must_use]
    pub fn request_uri(&self) -> Option<&str> {
        match &self.inner.start {
            Start::Request { uri, .. } => Some(self.str_of(*uri)),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI, read. `None` for a response.
    #[must_use]
    pub fn uri(&self) -> Option<Result<Uri, SyntaxError>> {
        self.request_uri().map(Uri::parse)
    }

    /// The status of a response, 100 to 699.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.inner.start {
            Start::Response { status, .. } => Some(*status),
            Start::Request { .. } => None,
        }
    }

    /// The reason phrase of a response; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &str {
        match &self.inner.start {
            Start::Response { reason, .. } => self.str_of(*reason),
            Start::Request { .. } => "",
        }
    }

    fn str_of(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.inner.raw)).unwrap_or("")
    }

    fn text<'a>(&'a self, index: usize, entry: &Entry) -> &'a str {
        if entry.cooked {
            cooked_text(&self.inner.cooked, index).unwrap_or("")
        } else {
            self.str_of(entry.value)
        }
    }

    fn entries<'a>(
        &'a self,
        name: &HeaderName,
    ) -> impl Iterator<Item = (usize, &'a Entry)> + use<'a> {
        let code = name.code();
        let other: Option<Box<str>> = match name {
            HeaderName::Other(text) => Some(text.clone()),
            _ => None,
        };
        self.inner.headers.iter().enumerate().filter(move |(_, e)| {
            e.code == code
                && other.as_ref().is_none_or(|text| {
                    e.name
                        .of(&self.inner.raw)
                        .eq_ignore_ascii_case(text.as_bytes())
                })
        })
    }

    /// The value of the first header of this name: unfolded, white space at the ends removed; bytes that are not UTF-8
    /// are replaced by U+FFFD (see [`Message::header_bytes`]).
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers(name).next()
    }

    /// The value of the first header of this name exactly as it came, folds included.
    #[must_use]
    pub fn header_bytes(&self, name: &HeaderName) -> Option<&[u8]> {
        self.headers_bytes(name).next()
    }

    /// The values of all header lines of this name, lists not split.
    pub fn headers<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        self.entries(name).map(|(i, e)| self.text(i, e))
    }

    /// The exact bytes of the values of all header lines of this name.
    pub fn headers_bytes<'a>(
        &'a self,
        name: &HeaderName,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.entries(name).map(|(_, e)| e.value.of(&self.inner.raw))
    }

    /// All values of this name: header lines in order, each split at its commas. For headers that are lists.
    pub fn values<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        self.headers(name).flat_map(ListItems::new)
    }

    /// Every header line in order: the name as written, the value as [`Message::header`] gives it.
    pub fn all_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner
            .headers
            .iter()
            .enumerate()
            .map(|(i, e)| (self.str_of(e.name), self.text(i, e)))
    }

    pub(crate) fn all_headers_bytes(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.inner
            .headers
            .iter()
            .map(|e| (self.str_of(e.name), e.value.of(&self.inner.raw)))
    }

    /// True when the list header holds this word (any case): option tags, methods, event packages.
    #[must_use]
    pub fn lists(&self, name: &HeaderName, word: &str) -> bool {
        self.values(name).any(|v| v.eq_ignore_ascii_case(word))
    }

    fn error_at(&self, kind: ParseErrorKind, offset: usize) -> ParseError {
        let before = self.inner.raw.get(..offset).unwrap_or(&self.inner.raw);
        ParseError {
            kind,
            line: 1 + memchr::memchr_iter(b'\n', before).count(),
            offset,
            partial: Some(Box::new(self.clone())),
        }
    }

    fn typed<'a, T>(
        &'a self,
        name: HeaderName,
        parse: impl FnOnce(&'a str) -> Result<T, SyntaxError>,
    ) -> Result<T, ParseError> {
        let Some((index, entry)) = self.entries(&name).next() else {
            return Err(self.error_at(ParseErrorKind::Missing(name), 0));
        };
        parse(self.text(index, entry))
            .map_err(|e| self.error_at(ParseErrorKind::Header(name, e), entry.value.range().start))
    }

    fn typed_list<T>(
        &self,
        name: HeaderName,
        mut parse: impl FnMut(&str) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut out = Vec::new();
        for (index, entry) in self.entries(&name) {
            for item in ListItems::new(self.text(index, entry)) {
                match parse(item) {
                    Ok(value) => out.push(value),
                    Err(e) => {
                        let at = entry.value.range().start;
                        return Err(self.error_at(ParseErrorKind::Header(name, e), at));
                    }
                }
            }
        }
        Ok(out)
    }

    /// The topmost Via.
    ///
    /// # Errors
    /// It is bad.
    pub fn via(&self) -> Result<Via, ParseError> {
        self.typed(HeaderName::Via, |text| {
            Via::parse(ListItems::new(text).next().unwrap_or(""))
        })
    }

    /// All Via values, topmost first.
    ///
    /// # Errors
    /// One is bad.
    pub fn vias(&self) -> Result<Vec<Via>, ParseError> {
        self.typed_list(HeaderName::Via, Via::parse)
    }

    /// The CSeq.
    ///
    /// # Errors
    /// It is bad: only in a message not made by [`Message::parse`].
    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        self.typed(HeaderName::CSeq, CSeq::parse)
    }

    /// The Call-ID.
    ///
    /// # Errors
    /// It is missing: only in a message not made by [`Message::parse`].
    pub fn call_id(&self) -> Result<&str, ParseError> {
        self.typed(HeaderName::CallId, Ok)
    }

    /// The From.
    ///
    /// # Errors
    /// It is bad.
    pub fn from(&self) -> Result<&NameAddr, ParseError> {
        self.party(&self.inner.from, HeaderName::From)
    }

    /// The To.
    ///
    /// # Errors
    /// It is bad.
    pub fn to(&self) -> Result<&NameAddr, ParseError> {
        self.party(&self.inner.to, HeaderName::To)
    }

    fn party<'a>(
        &'a self,
        known: &'a OnceLock<Arc<NameAddr>>,
        name: HeaderName,
    ) -> Result<&'a NameAddr, ParseError> {
        if let Some(party) = known.get() {
            return Ok(party);
        }
        let party = self.typed(name, NameAddr::parse)?;
        Ok(known.get_or_init(|| Arc::new(party)))
    }

    /// The contacts: `*`, or all values of all Contact headers.
    ///
    /// # Errors
    /// One is bad, or `*` stands beside others (RFC 3261 §10.3 step 6).
    pub fn contacts(&self) -> Result<Contacts, ParseError> {
        if self.values(&HeaderName::Contact).eq(["*"]) {
            return Ok(Contacts::Star);
        }
        self.typed_list(HeaderName::Contact, NameAddr::parse)
            .map(Contacts::List)
    }

    /// The Route set, topmost first.
    ///
    /// # Errors
    /// One is bad.
    pub fn routes(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.typed_list(HeaderName::Route, NameAddr::parse)
    }

    /// The Record-Route values, topmost first.
    ///
    /// # Errors
    /// One is bad.
    pub fn record_routes(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.typed_list(HeaderName::RecordRoute, NameAddr::parse)
    }

    /// The values of any header made of addresses (Path, Diversion, P-Asserted-Identity, Refer-To ...).
    ///
    /// # Errors
    /// One is bad.
    pub fn addresses(&self, name: HeaderName) -> Result<Vec<NameAddr>, ParseError> {
        self.typed_list(name, NameAddr::parse)
    }

    /// Max-Forwards, 0 to 255; `None` where absent.
    ///
    /// # Errors
    /// Not such a number.
    pub fn max_forwards(&self) -> Result<Option<u8>, ParseError> {
        if self.header(&HeaderName::MaxForwards).is_none() {
            return Ok(None);
        }
        self.typed(HeaderName::MaxForwards, |text| {
            text.parse()
                .map(Some)
                .map_err(|_| SyntaxError::new("not a number from 0 to 255", 0))
        })
    }

    /// Expires in seconds: too large is cut to the largest number, unreadable counts as 3600 (RFC 3261 §10.2.1.1).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.header(&HeaderName::Expires)
            .map(|text| delta_seconds(text).unwrap_or(3600))
    }

    /// The media type of the body, without parameters: `application/sdp`.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header(&HeaderName::ContentType)
            .map(|v| v.split(';').next().unwrap_or(v).trim())
    }

    /// True when the body is of this media type (any case).
    #[must_use]
    pub fn has_content(&self, media_type: &str) -> bool {
        !self.body().is_empty()
            && self
                .content_type()
                .is_some_and(|t| t.eq_ignore_ascii_case(media_type))
    }

    /// The same request with its top Via stamped with where it came from (RFC 3261 §18.2.1, RFC 3581 §4), so that a
    /// response made from it finds its way back. Unchanged when nothing is to be noted or the Via is bad.
    #[must_use]
    pub fn received_from(&self, source: SocketAddr, force_rport: bool) -> Self {
        let Some((index, entry)) = self.entries(&HeaderName::Via).next() else {
            return self.clone();
        };
        let text = self.text(index, entry);
        let mut items = ListItems::new(text);
        let Some(Ok(mut via)) = items.next().map(Via::parse) else {
            return self.clone();
        };
        if !via.stamp(source, force_rport) {
            return self.clone();
        }
        let mut value = via.to_string();
        for rest in items {
            value.push_str(", ");
            value.push_str(rest);
        }
        // Behind the comma of an empty item.
        self.with_value(index, trim(&value))
    }

    /// The same with another value of header `index`: all else keeps its place among the lines, so nothing is read again.
    /// Unchanged when it would become longer than a message may be.
    fn with_value(&self, index: usize, value: &str) -> Self {
        let inner = &self.inner;
        let Some(old) = inner.headers.get(index).map(|entry| entry.value.range()) else {
            return self.clone();
        };
        let body = inner.body.range();
        let mut raw = Vec::with_capacity(body.end + value.len());
        raw.extend_from_slice(inner.raw.get(..old.start).unwrap_or(&[]));
        raw.extend_from_slice(value.as_bytes());
        raw.extend_from_slice(inner.raw.get(old.end..body.end).unwrap_or(&[]));
        if raw.len() > MESSAGE_LENGTH_MAX {
            return self.clone();
        }
        let moved = |span: Span| span.moved(old.end, old.start + value.len());
        let mut headers = inner.headers.clone();
        for (number, entry) in headers.iter_mut().enumerate() {
            entry.name = moved(entry.name);
            if number == index {
                entry.cooked = false;
                entry.value = Span::new(old.start..old.start + value.len());
            } else {
                entry.value = moved(entry.value);
            }
        }
        let cooked = inner.cooked.iter();
        Self {
            inner: Arc::new(Inner {
                raw: raw.into(),
                // The start line comes before every header.
                start: inner.start.clone(),
                headers,
                cooked: cooked
                    .filter(|(number, _)| *number as usize != index)
                    .cloned()
                    .collect(),
                body: moved(inner.body),
                from: inner.from.clone(),
                to: inner.to.clone(),
            }),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?})", String::from_utf8_lossy(&self.inner.raw))
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.inner.raw == other.inner.raw
    }
}

impl Eq for Message {}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod torture;
