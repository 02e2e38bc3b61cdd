//! Making messages. Values are cleaned of line ends, so that nobody's text becomes a header.

use bytes::Bytes;

use super::{HeaderName, Message, Method, index, reason_phrase};
use crate::headers::NameAddr;

/// Puts a message together. Headers are written in the order they were added; Content-Length is computed.
#[derive(Clone, Debug)]
pub struct Builder {
    start: String,
    headers: Vec<(HeaderName, Vec<u8>)>,
    body: Bytes,
}

/// Line ends and NUL become nothing; a fold becomes a space.
fn clean(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    if !value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return value.to_vec();
    }
    let mut out: Vec<u8> = Vec::with_capacity(value.len());
    let mut broken = false;
    for &b in value {
        match b {
            b'\r' | b'\n' => broken = true,
            0 => {}
            b' ' | b'\t' if broken => {
                if out.last() != Some(&b' ') {
                    out.push(b' ');
                }
            }
            _ => {
                broken = false;
                out.push(b);
            }
        }
    }
    out
}

impl Builder {
    /// A request. `uri` is written without line ends and spaces.
    #[must_use]
    pub fn request(method: Method, uri: impl std::fmt::Display) -> Self {
        let uri: String = uri
            .to_string()
            .chars()
            .filter(|c| !c.is_ascii_whitespace() && *c != '\0')
            .collect();
        Self::start(format!("{method} {uri} SIP/2.0"))
    }

    /// A response with this status (100 to 699) and reason; an empty reason means the usual one.
    #[must_use]
    pub fn response(status: u16, reason: &str) -> Self {
        let status = status.clamp(100, 699);
        let reason = if reason.is_empty() {
            reason_phrase(status)
        } else {
            reason
        };
        let reason = String::from_utf8_lossy(&clean(reason.as_bytes())).into_owned();
        Self::start(format!("SIP/2.0 {status} {reason}"))
    }

    const fn start(start: String) -> Self {
        Self {
            start,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A response to `request` (RFC 3261 §8.2.6.2): all Via values, From, To, Call-ID, CSeq; Record-Route where the
    /// response may create a dialog (§12.1.1), Timestamp for 100. See [`Builder::to_tag`].
    #[must_use]
    pub fn response_to(request: &Message, status: u16, reason: &str) -> Self {
        let mut builder = Self::response(status, reason);
        let copy = |builder: &mut Self, name: HeaderName| {
            for value in request.headers_bytes(&name) {
                builder.headers.push((name.clone(), clean(value)));
            }
        };
        copy(&mut builder, HeaderName::Via);
        if (101..300).contains(&status) {
            copy(&mut builder, HeaderName::RecordRoute);
        }
        for name in [
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
            HeaderName::CSeq,
        ] {
            copy(&mut builder, name);
        }
        if status == 100 {
            copy(&mut builder, HeaderName::Timestamp);
        }
        builder
    }

    /// The same start line, headers and body as `message`, to be changed. Content-Length is computed anew.
    #[must_use]
    pub fn from_message(message: &Message) -> Self {
        let start = match (message.request_uri(), message.status()) {
            (Some(uri), _) => format!("{} {uri} SIP/2.0", message.method_str()),
            (None, status) => format!("SIP/2.0 {} {}", status.unwrap_or(500), message.reason()),
        };
        Self {
            start,
            headers: message
                .all_headers_bytes()
                .map(|(name, value)| (HeaderName::parse(name), clean(value)))
                .filter(|(name, _)| *name != HeaderName::ContentLength)
                .collect(),
            body: Bytes::copy_from_slice(message.body()),
        }
    }

    /// Adds the tag to the To header, unless it has one (RFC 3261 §8.2.6.2).
    #[must_use]
    pub fn to_tag(mut self, tag: &str) -> Self {
        if let Some((_, value)) = self.headers.iter_mut().find(|(n, _)| *n == HeaderName::To) {
            let parsed = std::str::from_utf8(value).ok().map(NameAddr::parse);
            let has_tag = matches!(&parsed, Some(Ok(to)) if to.tag().is_some());
            if !has_tag {
                value.extend_from_slice(b";tag=");
                value.extend_from_slice(&clean(tag.as_bytes()));
            }
        }
        self
    }

    /// Adds a header at the end. Line ends in the value are removed. A Content-Length given here is ignored.
    #[must_use]
    pub fn header(mut self, name: impl Into<HeaderName>, value: impl AsRef<[u8]>) -> Self {
        self.push(name, value);
        self
    }

    /// As [`Builder::header`], in place.
    pub fn push(&mut self, name: impl Into<HeaderName>, value: impl AsRef<[u8]>) {
        let name = clean_name(name.into());
        if name != HeaderName::ContentLength {
            self.headers.push((name, clean(value.as_ref())));
        }
    }

    /// Adds a header before all others: a Via.
    #[must_use]
    pub fn header_first(mut self, name: impl Into<HeaderName>, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .insert(0, (clean_name(name.into()), clean(value.as_ref())));
        self
    }

    /// Replaces all headers of this name by one, at the place of the first, or adds it.
    #[must_use]
    pub fn set(mut self, name: impl Into<HeaderName>, value: impl AsRef<[u8]>) -> Self {
        let name = clean_name(name.into());
        let value = clean(value.as_ref());
        let at = self.headers.iter().position(|(n, _)| *n == name);
        self.headers.retain(|(n, _)| *n != name);
        match at {
            Some(at) => self.headers.insert(at, (name, value)),
            None => self.headers.push((name, value)),
        }
        self
    }

    /// Removes all headers of this name.
    #[must_use]
    pub fn remove(mut self, name: impl Into<HeaderName>) -> Self {
        let name = name.into();
        self.headers.retain(|(n, _)| *n != name);
        self
    }

    /// True when a header of this name was added.
    #[must_use]
    pub fn has(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }

    /// Sets the body and its Content-Type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut builder = self.set(HeaderName::ContentType, content_type);
        builder.body = body.into();
        builder
    }

    /// The message.
    #[must_use]
    pub fn finish(self) -> Message {
        let size = self.start.len()
            + self.body.len()
            + 32
            + self
                .headers
                .iter()
                .map(|(n, v)| n.as_str().len() + v.len() + 4)
                .sum::<usize>();
        let mut raw = Vec::with_capacity(size);
        raw.extend_from_slice(self.start.as_bytes());
        raw.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            raw.extend_from_slice(name.as_str().as_bytes());
            raw.extend_from_slice(b": ");
            raw.extend_from_slice(value);
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        raw.extend_from_slice(&self.body);
        index::built(raw.into())
    }
}

/// A name that is no token cannot be written: its other characters are left out.
fn clean_name(name: HeaderName) -> HeaderName {
    match name {
        HeaderName::Other(text) => {
            let token: String = text
                .chars()
                .filter(|c| u8::try_from(*c).is_ok_and(crate::syntax::is_token))
                .collect();
            HeaderName::parse(if token.is_empty() {
                "X-Unnamed"
            } else {
                &token
            })
        }
        known => known,
    }
}
