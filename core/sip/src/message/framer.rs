//! Cutting a stream into messages by Content-Length (RFC 3261 §18.3), and its keep-alives (RFC 5626 §3.5.1).

use bytes::{Bytes, BytesMut};

use super::MESSAGE_LENGTH_MAX;
use super::name::Code;
use super::peek::headers_end;

/// What came out of a stream.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Frame {
    /// A whole message, to be read by [`super::Message::parse`].
    Message(Bytes),
    /// A double line end between messages: the peer asks for a single one back.
    Ping,
    /// A single line end between messages: the answer to our ping.
    Pong,
}

/// Why a stream cannot be followed any further: the connection is to be closed.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The headers alone, or the headers with the announced body, are longer than a message may be.
    #[error("message on a stream is longer than {0} bytes")]
    TooLarge(usize),
    /// Where the next message starts cannot be known.
    #[error("message on a stream without a Content-Length")]
    NoLength,
    /// Content-Length is not a number, or stands twice with different values.
    #[error("message on a stream with a bad Content-Length")]
    BadLength,
}

/// Collects what a connection delivers and hands out whole messages.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// How far the end of the headers was looked for in vain.
    searched: usize,
    /// Length of the message at the front, once its headers are complete.
    needed: Option<usize>,
    failed: Option<FrameError>,
    max: usize,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// A framer with the usual limit, [`MESSAGE_LENGTH_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(MESSAGE_LENGTH_MAX)
    }

    /// A framer for messages of at most `max` bytes.
    #[must_use]
    pub fn with_limit(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            needed: None,
            failed: None,
            max,
        }
    }

    /// Takes what was read from the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes held: less than a message, when [`Framer::next_frame`] has returned `None`.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; `None` until more bytes come. Call it until it says so after each [`Framer::push`].
    ///
    /// # Errors
    /// The stream is lost; every later call says the same.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.advance();
        if let Err(error) = result {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.needed.is_none() {
            match self.buffer.as_ref() {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    let _ = self.buffer.split_to(4);
                    return Ok(Some(Frame::Ping));
                }
                // The second half of a ping may still be on its way; then it is answered as one when the next byte shows it.
                [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] | [b'\r'] | [] => return Ok(None),
                [b'\r', b'\n', ..] => {
                    let _ = self.buffer.split_to(2);
                    return Ok(Some(Frame::Pong));
                }
                [b'\n', ..] => {
                    let _ = self.buffer.split_to(1);
                    return Ok(Some(Frame::Pong));
                }
                _ => {}
            }
            let Some(end) = headers_end(&self.buffer, self.searched) else {
                if self.buffer.len() > self.max {
                    return Err(FrameError::TooLarge(self.max));
                }
                self.searched = self.buffer.len().saturating_sub(2);
                return Ok(None);
            };
            let length = content_length(self.buffer.get(..end).unwrap_or(&[]))?;
            let total = end.checked_add(length).filter(|t| *t <= self.max);
            self.needed = Some(total.ok_or(FrameError::TooLarge(self.max))?);
        }
        match self.needed {
            Some(needed) if self.buffer.len() >= needed => {
                self.needed = None;
                self.searched = 0;
                Ok(Some(Frame::Message(self.buffer.split_to(needed).freeze())))
            }
            _ => Ok(None),
        }
    }
}

fn content_length(headers: &[u8]) -> Result<usize, FrameError> {
    let mut found: Option<usize> = None;
    let mut lines = headers.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        if Code::of(name.trim_ascii_end()) != Code::ContentLength {
            continue;
        }
        let mut value = value.get(1..).unwrap_or(&[]).trim_ascii();
        if value.is_empty()
            && let Some(folded) = lines.next_if(|l| matches!(l.first(), Some(b' ' | b'\t')))
        {
            value = folded.trim_ascii();
        }
        let number = std::str::from_utf8(value)
            .ok()
            .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|t| t.parse::<usize>().ok())
            .ok_or(FrameError::BadLength)?;
        if found.is_some_and(|f| f != number) {
            return Err(FrameError::BadLength);
        }
        found = Some(number);
    }
    found.ok_or(FrameError::NoLength)
}

// Ranges in the index are u32.
const _: () = assert!(MESSAGE_LENGTH_MAX <= u32::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(f: &mut Framer) -> Vec<Frame> {
        let mut out = Vec::new();
        while let Some(frame) = f.next_frame().unwrap() {
            out.push(frame);
        }
        out
    }

    const ONE: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nl : 4\r\nTo: x\r\n\r\nbody";

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let mut stream = b"\r\n\r\n".to_vec();
        stream.extend_from_slice(ONE);
        stream.extend_from_slice(ONE);
        stream.extend_from_slice(b"\r\n");
        stream.extend_from_slice(ONE);
        for step in 1..stream.len() {
            let mut f = Framer::new();
            let mut frames = Vec::new();
            for part in stream.chunks(step) {
                f.push(part);
                frames.extend(drain(&mut f));
            }
            let one = Frame::Message(Bytes::from_static(ONE));
            assert_eq!(
                frames,
                [
                    Frame::Ping,
                    one.clone(),
                    one.clone(),
                    Frame::Pong,
                    one.clone()
                ],
                "in steps of {step}"
            );
            assert_eq!(f.buffered(), 0);
        }
    }

    #[test]
    fn a_stream_that_cannot_be_followed_fails_for_good() {
        for (text, error) in [
            ("A b SIP/2.0\r\nTo: x\r\n\r\n", FrameError::NoLength),
            ("A b SIP/2.0\r\nl: -1\r\n\r\n", FrameError::BadLength),
            ("A b SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n", FrameError::BadLength),
            (
                "A b SIP/2.0\r\nl: 70000\r\n\r\n",
                FrameError::TooLarge(MESSAGE_LENGTH_MAX),
            ),
            (
                "A b SIP/2.0\r\nl: 99999999999999999999999\r\n\r\n",
                FrameError::BadLength,
            ),
        ] {
            let mut f = Framer::new();
            f.push(text.as_bytes());
            assert_eq!(f.next_frame(), Err(error), "{text}");
            f.push(ONE);
            assert_eq!(f.next_frame(), Err(error));
        }
        let mut f = Framer::with_limit(100);
        f.push(&[b'x'; 101]);
        assert_eq!(f.next_frame(), Err(FrameError::TooLarge(100)));
    }
}
