//! Which session description a message carries: alone, or as one part of several (RFC 2046 §5.1, RFC 5621).

use crate::message::{HeaderName, Message};
use crate::syntax::trim;

/// The type of session descriptions.
pub const SDP: &str = "application/sdp";

/// Parts of one body that are looked at.
const PARTS_MAX: usize = 16;

/// What a body means for offer and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// No description: no body, or only what may be passed over (`handling=optional`).
    None,
    /// This description.
    Description(&'a [u8]),
    /// Something that has to be understood and is not: answer 415.
    Unsupported,
}

impl<'a> Body<'a> {
    /// The description, where there is one.
    #[must_use]
    pub fn description(self) -> Option<&'a [u8]> {
        match self {
            Self::Description(text) => Some(text),
            Self::None | Self::Unsupported => None,
        }
    }

    /// Looks at the body of a message.
    #[must_use]
    pub fn of(message: &'a Message) -> Self {
        if message.body().is_empty() {
            return Self::None;
        }
        let content = Content {
            kind: message.header(&HeaderName::ContentType).unwrap_or_default(),
            disposition: message
                .header(&HeaderName::ContentDisposition)
                .unwrap_or_default(),
            encoded: message
                .header(&HeaderName::ContentEncoding)
                .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")),
        };
        content.read(message.body(), true)
    }
}

/// The headers of a body, or of one of its parts.
struct Content<'h> {
    kind: &'h str,
    disposition: &'h str,
    encoded: bool,
}

impl Content<'_> {
    fn read<'a>(&self, body: &'a [u8], outermost: bool) -> Body<'a> {
        let unknown = if self.is_optional(outermost) {
            Body::None
        } else {
            Body::Unsupported
        };
        let kind = trim(self.kind.split(';').next().unwrap_or_default());
        let disposition = trim(self.disposition.split(';').next().unwrap_or_default());
        // RFC 3959: a description of disposition early-session belongs to another session than that of the call.
        let session = disposition.is_empty() || disposition.eq_ignore_ascii_case("session");
        if self.encoded {
            return unknown;
        }
        if kind.eq_ignore_ascii_case(SDP) {
            return if session {
                Body::Description(body)
            } else {
                unknown
            };
        }
        let several = [
            "multipart/mixed",
            "multipart/alternative",
            "multipart/related",
        ];
        if !several.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            return unknown;
        }
        match parameter(self.kind, "boundary").filter(|boundary| !boundary.is_empty()) {
            Some(boundary) => of_parts(body, boundary).unwrap_or(unknown),
            None => unknown,
        }
    }

    /// RFC 3261 §20.11: what says nothing is required. Parts of a body say nothing more often than they mean it.
    fn is_optional(&self, outermost: bool) -> bool {
        match parameter(self.disposition, "handling") {
            Some(handling) => handling.eq_ignore_ascii_case("optional"),
            None => !outermost,
        }
    }
}

/// `None` where the body has no parts at all.
fn of_parts<'a>(body: &'a [u8], boundary: &str) -> Option<Body<'a>> {
    let mut found = None;
    let (mut any, mut deeper) = (false, false);
    for part in parts(body, boundary).take(PARTS_MAX) {
        any = true;
        let (head, body) = split_head(part);
        let head = String::from_utf8_lossy(head);
        let field = |wanted: &str| {
            head.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.trim())
        };
        let content = Content {
            kind: field("Content-Type").unwrap_or("text/plain"),
            disposition: field("Content-Disposition").unwrap_or_default(),
            encoded: field("Content-Transfer-Encoding").is_some_and(|encoding| {
                !["binary", "8bit", "7bit"]
                    .iter()
                    .any(|plain| encoding.eq_ignore_ascii_case(plain))
            }),
        };
        // Parts within parts are not looked into.
        let nested = content.kind.to_ascii_lowercase().starts_with("multipart/");
        deeper |= nested;
        let read = if nested {
            Body::None
        } else {
            content.read(body, false)
        };
        match read {
            Body::Unsupported => return Some(Body::Unsupported),
            Body::Description(_) => found = found.or(Some(read)),
            Body::None => {}
        }
    }
    // A description may be in there: it would be wrong to say that there is none.
    let nothing = if deeper {
        Body::Unsupported
    } else {
        Body::None
    };
    any.then(|| found.unwrap_or(nothing))
}

/// What stands between the delimiters, without the line ends that belong to them.
fn parts<'a>(body: &'a [u8], boundary: &str) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = format!("--{boundary}");
    let mut marks: Vec<(usize, usize, bool)> = Vec::new();
    let mut at = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        if let Some(rest) = text.strip_prefix(delimiter.as_bytes())
            && (rest.is_empty() || rest == b"--")
        {
            marks.push((at, at + line.len(), rest == b"--"));
            if marks.len() > PARTS_MAX || rest == b"--" {
                break;
            }
        }
        at += line.len();
    }
    let ends: Vec<usize> = marks
        .iter()
        .skip(1)
        .map(|(start, ..)| *start)
        .chain([body.len()])
        .collect();
    marks
        .into_iter()
        .zip(ends)
        .filter(|((.., last), _)| !last)
        .filter_map(move |((_, start, _), end)| {
            let part = body.get(start..end)?;
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            Some(part.strip_suffix(b"\r").unwrap_or(part))
        })
}

fn split_head(part: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in part.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line.trim_ascii().is_empty() {
            return part.split_at_checked(at).unwrap_or((part, &[]));
        }
    }
    (part, &[])
}

/// The value of `;name=value`, without quotes.
fn parameter<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    value.split(';').skip(1).find_map(|piece| {
        let (key, value) = piece.split_once('=')?;
        trim(key)
            .eq_ignore_ascii_case(name)
            .then(|| trim(value).trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(headers: &str, body: &str) -> Message {
        let text = format!(
            "INVITE sip:c@d SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(Bytes::from(text)).expect("a message")
    }

    fn read(headers: &str, body: &str) -> Result<Option<String>, ()> {
        match Body::of(&message(headers, body)) {
            Body::None => Ok(None),
            Body::Description(text) => Ok(Some(String::from_utf8_lossy(text).into_owned())),
            Body::Unsupported => Err(()),
        }
    }

    const MIXED: &str = "Content-Type: multipart/mixed;boundary=\"b 1\"\r\n";

    #[test]
    fn a_description_is_found_alone_and_among_other_parts() {
        let sdp = "v=0\r\n".to_owned();
        assert_eq!(read("", ""), Ok(None));
        assert_eq!(
            read("Content-Type: application/SDP;charset=x\r\n", &sdp),
            Ok(Some(sdp.clone()))
        );
        let body = "before\r\n--b 1\r\nContent-Type: application/isup;version=x\r\n\
                    Content-Disposition: signal;handling=optional\r\n\r\n\x01\x02\r\n\
                    --b 1\r\nContent-Type:application/sdp\r\n\r\nv=0\r\n\r\n--b 1--\r\nbehind";
        assert_eq!(read(MIXED, body), Ok(Some(sdp.clone())));
        let bare = "--b 1\nContent-Type: application/sdp\n\nv=0\r\n\n--b 1--";
        assert_eq!(read(MIXED, bare), Ok(Some(sdp)), "line ends of Unix");
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_unsupported() {
        assert_eq!(read("Content-Type: text/plain\r\n", "hello"), Err(()));
        let optional =
            "Content-Type: text/plain\r\nContent-Disposition: render;handling=optional\r\n";
        assert_eq!(read(optional, "hello"), Ok(None));
        let early = "Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n";
        assert_eq!(read(early, "v=0\r\n"), Err(()));
        let packed = "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n";
        assert_eq!(read(packed, "v=0\r\n"), Err(()));
        let required = "--b 1\r\nContent-Type: application/isup\r\nContent-Disposition: signal;handling=required\r\n\r\n\
                        x\r\n--b 1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b 1--";
        assert_eq!(read(MIXED, required), Err(()));
        let other = "--b 1\r\nContent-Type: application/isup\r\n\r\nx\r\n--b 1--";
        assert_eq!(read(MIXED, other), Ok(None), "a late offer with ISUP");
    }

    #[test]
    fn broken_bodies_of_parts_are_refused_and_end() {
        assert_eq!(read(MIXED, "no delimiter at all"), Err(()));
        assert_eq!(read("Content-Type: multipart/mixed\r\n", "--\r\n"), Err(()));
        assert_eq!(read(MIXED, "--b 1\r\nno head"), Ok(None));
        assert_eq!(read(MIXED, "--b 1--\r\n"), Err(()));
        let many = "--b 1\r\n".repeat(9000);
        assert_eq!(read(MIXED, &many), Ok(None));
    }
}
