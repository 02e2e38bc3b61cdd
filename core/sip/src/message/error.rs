//! Why a message was refused, where, and the answer that its sender may get.

use std::fmt;

use super::{Builder, HeaderName, Message, Method};
use crate::syntax::SyntaxError;

/// What is wrong with a message.
#[derive(Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum ParseErrorKind {
    /// Nothing but line ends.
    #[error("message is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("message of {length} bytes is longer than {max}")]
    TooLarge {
        /// Bytes received.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// More headers than allowed.
    #[error("more than {max} headers")]
    TooManyHeaders {
        /// The limit.
        max: usize,
    },
    /// Neither a request line nor a status line.
    #[error("start line: {0}")]
    StartLine(&'static str),
    /// A SIP version other than 2.0: 505 (RFC 3261 §21.5.6).
    #[error("SIP version is not 2.0")]
    Version,
    /// A line that is not a header.
    #[error("header line: {0}")]
    HeaderLine(&'static str),
    /// The empty line after the headers is missing.
    #[error("headers never end")]
    Unterminated,
    /// A header that every message needs (RFC 3261 §8.1.1) is not there.
    #[error("{0} is missing")]
    Missing(HeaderName),
    /// A header that may stand once stands several times.
    #[error("{0} stands more than once")]
    Duplicate(HeaderName),
    /// The value of a header cannot be read.
    #[error("{0}: {1}")]
    Header(HeaderName, SyntaxError),
    /// The Request-URI cannot be read.
    #[error("Request-URI: {0}")]
    RequestUri(SyntaxError),
    /// The CSeq names another method than the start line (RFC 3261 §8.1.1.5).
    #[error("CSeq method differs from that of the start line")]
    MethodMismatch,
    /// Content-Length announces more than was received.
    #[error("Content-Length is {announced} but {present} bytes follow")]
    BodyTooShort {
        /// What Content-Length says.
        announced: u64,
        /// What follows the headers.
        present: usize,
    },
}

/// A refused message: what, and where.
#[derive(Clone)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// The line, from 1.
    pub line: usize,
    /// The offset in the message, in bytes.
    pub offset: usize,
    /// What could be read: as many headers as were good.
    pub(super) partial: Option<Box<Message>>,
}

impl ParseError {
    /// What could be read of the message, when its start line was good; headers may be missing from it.
    #[must_use]
    pub fn partial(&self) -> Option<&Message> {
        self.partial.as_deref()
    }

    /// The answer for the sender, 400 or 505: only for a request other than ACK whose Via, From, To, Call-ID and CSeq
    /// lines are there as far as the sender needs them to match the answer (RFC 3261 §8.2.6.2).
    #[must_use]
    pub fn response(&self) -> Option<Message> {
        let request = self.partial.as_deref()?;
        if !request.is_request() || request.method() == Some(Method::Ack) {
            return None;
        }
        request.header(&HeaderName::Via)?;
        request.header(&HeaderName::CSeq)?;
        let (status, reason) = match &self.kind {
            ParseErrorKind::Version => (505, "Version Not Supported".to_owned()),
            ParseErrorKind::TooLarge { .. } => (513, "Message Too Large".to_owned()),
            kind => (400, format!("Bad Request ({kind})")),
        };
        Some(Builder::response_to(request, status, &reason).finish())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (line {}, byte {})",
            self.kind, self.line, self.offset
        )
    }
}

impl fmt::Debug for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParseError")
            .field("kind", &self.kind)
            .field("line", &self.line)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for ParseError {}
