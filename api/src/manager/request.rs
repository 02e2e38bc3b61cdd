//! Requests of the Manager interface: lines `Name: value` up to an empty line. Reads bytes, knows no sockets; whatever
//! arrives, memory stays within the limits here.

/// Lines of one request; more are an error.
const LINES_MAX: usize = 128;
/// Bytes of a line, from which on it is an error.
const LINE_BYTES_MAX: usize = 1024;
/// Bytes that may wait to be read as requests.
pub(crate) const WAITING_BYTES_MAX: usize = 256 * 1024;

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    headers: Vec<(String, String)>,
}

impl Request {
    /// A request of these headers, for those that come by HTTP.
    pub(crate) fn new(headers: Vec<(String, String)>) -> Self {
        Self { headers }
    }

    /// The value of a header, in any case; empty if there is none. The first counts.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.as_str())
    }

    /// The value of a header that says something.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// Every value of a header.
    pub(crate) fn all<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers, as they came.
    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Is a header set to something true?
    pub(crate) fn is_true(&self, name: &str) -> bool {
        is_true(self.get(name))
    }
}

/// What configuration and requests call true.
pub(crate) fn is_true(text: &str) -> bool {
    ["yes", "true", "y", "t", "1", "on"]
        .iter()
        .any(|word| text.trim().eq_ignore_ascii_case(word))
}

/// A request, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Request(Request),
    /// The request as far as it was understood, and the message of the answer.
    Wrong(Request, &'static str),
}

/// Takes requests out of bytes.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    waiting: Vec<u8>,
    request: Request,
    wrong: Option<&'static str>,
    /// The rest of a line that is too long is not read.
    skips: bool,
}

impl Parser {
    /// More bytes. False: too many wait already.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.waiting.len() + bytes.len() > WAITING_BYTES_MAX {
            return false;
        }
        self.waiting.extend_from_slice(bytes);
        true
    }

    /// May more bytes come?
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_BYTES_MAX / 2
    }

    /// The next request that is complete.
    pub(crate) fn next(&mut self) -> Option<Taken> {
        let mut start = 0;
        let mut taken = None;
        while let Some(length) = self.waiting[start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.waiting[start..start + length];
            start += length + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if std::mem::take(&mut self.skips) {
                continue;
            }
            if line.is_empty() {
                let request = std::mem::take(&mut self.request);
                taken = Some(match self.wrong.take() {
                    None => Taken::Request(request),
                    Some(what) => Taken::Wrong(request, what),
                });
                break;
            }
            if line.len() >= LINE_BYTES_MAX {
                self.wrong = Some("Failed to parse message: line too long");
            } else if self.request.headers.len() >= LINES_MAX {
                self.wrong = Some("Too many lines in message or allocation failure");
            } else {
                let line = String::from_utf8_lossy(line);
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                let header = (name.trim().to_owned(), value.trim_start().to_owned());
                self.request.headers.push(header);
            }
        }
        self.waiting.drain(..start);
        // One more may be the CR of a line that fits.
        if taken.is_none() && self.waiting.len() > LINE_BYTES_MAX {
            self.wrong = Some("Failed to parse message: line too long");
            self.skips = true;
            self.waiting.clear();
        }
        taken
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<Taken> {
        let mut parser = Parser::default();
        let mut taken = Vec::new();
        for part in parts {
            assert!(parser.push(part));
            taken.extend(std::iter::from_fn(|| parser.next()));
        }
        taken
    }

    pub(crate) fn request(headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter();
        Request::new(
            headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_request_comes_in_pieces_and_with_either_end_of_line() {
        let ping = Taken::Request(request(&[("Action", "Ping"), ("ActionID", "a: b ")]));
        assert_eq!(
            all(&[b"Action: Pi", b"ng\r\nActionID:   a: b \r", b"\n\r\n"]),
            std::slice::from_ref(&ping)
        );
        assert_eq!(all(&[b"Action:Ping\nActionID: a: b \n\n"]), [ping]);
        assert_eq!(all(&[b"Action: Ping\r\n"]), []);
        assert_eq!(all(&[b"\r\n"]), [Taken::Request(Request::default())]);
    }

    #[test]
    fn names_have_no_case_and_the_first_counts() {
        let request = request(&[("variable", "a=1"), ("Variable", "b=2"), ("X", "")]);
        assert_eq!(request.get("VARIABLE"), "a=1");
        assert_eq!(request.all("Variable").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!((request.get("y"), request.given("x")), ("", None));
    }

    #[test]
    fn what_is_too_long_is_an_error_and_the_next_request_is_read() {
        let long = "x".repeat(5000);
        let text = format!("Action: Ping\r\nActionID: 7\r\nX: {long}\r\n\r\nAction: Ping\r\n\r\n");
        let ping = Taken::Request(request(&[("Action", "Ping")]));
        for piece in [1, 100, 1023, 1024, 8000] {
            let parts: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
            let taken = all(&parts);
            let Taken::Wrong(request, what) = &taken[0] else {
                panic!("{taken:?}");
            };
            assert_eq!(*what, "Failed to parse message: line too long");
            assert_eq!(request.get("ActionID"), "7");
            assert_eq!(&taken[1..], std::slice::from_ref(&ping));
        }
        let many = format!("{}\r\n", "A: b\r\n".repeat(LINES_MAX + 1));
        let taken = all(&[many.as_bytes()]);
        assert!(
            matches!(
                taken[0],
                Taken::Wrong(_, "Too many lines in message or allocation failure")
            ),
            "{taken:?}"
        );
        let fits = format!("{}\r\n", "A: b\r\n".repeat(LINES_MAX));
        assert!(matches!(all(&[fits.as_bytes()])[0], Taken::Request(_)));
    }

    #[test]
    fn bytes_that_nobody_reads_have_a_limit() {
        let mut parser = Parser::default();
        assert!(parser.push(&vec![b'\n'; WAITING_BYTES_MAX]));
        assert!(!parser.push(b"x") && !parser.has_room());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_read_alike(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), any::<u8>()], 0..4000),
            piece in 1usize..1500,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
            let whole = all(&[&bytes]);
            prop_assert_eq!(whole.clone(), all(&pieces));
            for taken in whole {
                let (Taken::Request(request) | Taken::Wrong(request, _)) = taken;
                prop_assert!(request.headers().len() <= LINES_MAX);
            }
        }
    }
}
