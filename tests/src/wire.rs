//! SIP as text, for the test peers: a reader and a writer of messages, and the client half of digest authentication.
//!
//! It shares no code with the exchange on purpose: a peer that used the exchange's own parser could not see its faults.
//! It is strict where a real telephone is (Content-Length has to be right, the start line well formed), and knows no
//! more of SIP than the scripted telephones need.

use md5::Digest as _;
use std::fmt::Write as _;

/// A SIP message as lines of text.
#[derive(Clone, Debug, Default)]
pub struct SipText {
    /// The request line or the status line.
    pub start: String,
    /// Name and value of each header line, in order, compact names spelt out.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl SipText {
    /// A request without headers.
    pub fn request(method: &str, uri: &str) -> Self {
        Self {
            start: format!("{method} {uri} SIP/2.0"),
            ..Self::default()
        }
    }

    /// A response to `request` with the headers that RFC 3261 §8.2.6.2 has copied, `tag` added to To when it has none.
    pub fn response(request: &Self, status: u16, reason: &str, tag: &str) -> Self {
        let mut response = Self {
            start: format!("SIP/2.0 {status} {reason}"),
            ..Self::default()
        };
        for (name, value) in &request.headers {
            match name.as_str() {
                "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => response.push(name, value),
                "To" if status > 100 && tag_of(value).is_none() => {
                    response.push(name, &format!("{value};tag={tag}"));
                }
                "To" => response.push(name, value),
                _ => {}
            }
        }
        response
    }

    /// Reads a datagram; `None` when it is no SIP message, with a reason on stderr for what only looks like one.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(raw).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return None;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                headers.last_mut()?.1.push_str(line.trim_end());
                continue;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((spelt_out(name.trim()), value.trim().to_owned()));
        }
        let message = Self {
            start,
            headers,
            body: body.to_owned(),
        };
        if let Some(length) = message.header("Content-Length")
            && length.parse::<usize>().ok()? != message.body.len()
        {
            eprintln!("peer: wrong Content-Length {length} in {text:?}");
            return None;
        }
        Some(message)
    }

    /// The message as it goes on the wire, with its Content-Length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(512 + self.body.len());
        let _ = write!(text, "{}\r\n", self.start);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(
            text,
            "Content-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        );
        text.into_bytes()
    }

    /// Adds a header line at the end.
    pub fn push(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Replaces the first header line of that name, or adds one.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.headers.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.push(name, value),
        }
    }

    /// Takes every header line of that name away.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| n != name);
    }

    /// The first value of that header (long name, case-insensitive).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every value of that header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The status code, for a response.
    pub fn status(&self) -> Option<u16> {
        self.start
            .strip_prefix("SIP/2.0 ")?
            .split(' ')
            .next()?
            .parse()
            .ok()
    }

    /// The reason phrase, for a response.
    pub fn reason(&self) -> &str {
        self.start.splitn(3, ' ').nth(2).unwrap_or("")
    }

    /// The method, for a request.
    pub fn method(&self) -> Option<&str> {
        match self.status() {
            Some(_) => None,
            None => self.start.split(' ').next(),
        }
    }

    /// The request URI, for a request.
    pub fn uri(&self) -> Option<&str> {
        self.method()?;
        self.start.split(' ').nth(1)
    }

    /// Number and method of CSeq.
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.split_once(' ')?;
        Some((number.trim().parse().ok()?, method.trim()))
    }

    /// The branch of the topmost Via.
    pub fn branch(&self) -> Option<&str> {
        param(self.header("Via")?, "branch")
    }
}

fn spelt_out(name: &str) -> String {
    let long = match name.to_ascii_lowercase().as_str() {
        "v" | "via" => "Via",
        "f" | "from" => "From",
        "t" | "to" => "To",
        "i" | "call-id" => "Call-ID",
        "m" | "contact" => "Contact",
        "l" | "content-length" => "Content-Length",
        "c" | "content-type" => "Content-Type",
        "k" | "supported" => "Supported",
        "cseq" => "CSeq",
        "record-route" => "Record-Route",
        _ => name,
    };
    long.to_owned()
}

/// The value of `;name=value` in a header value, outside of any `<...>`.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let outside = value.rsplit('>').next().unwrap_or(value);
    outside.split(';').skip(1).find_map(|piece| {
        let (key, value) = piece.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.split(',').next().unwrap_or(value).trim())
    })
}

/// The tag of a From or To value.
pub fn tag_of(value: &str) -> Option<&str> {
    param(value, "tag")
}

/// The URI inside `<...>`, or the value up to its parameters.
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value).trim(),
    }
}

/// Who answers a digest challenge, and for which request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Digest user.
    pub user: &'a str,
    /// Clear password.
    pub password: &'a str,
    /// Method of the request that is authorised.
    pub method: &'a str,
    /// Its request URI.
    pub uri: &'a str,
}

/// The `Authorization` value that answers a digest challenge (RFC 7616), `nc` 00000001. `None` when the challenge is no
/// digest or wants an algorithm other than MD5 and SHA-256.
pub fn authorization(challenge: &str, answer: Answer<'_>) -> Option<String> {
    let rest = challenge.strip_prefix("Digest ")?;
    let field = |name: &str| -> Option<String> {
        quoted_list(rest)
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    let (realm, nonce) = (field("realm")?, field("nonce")?);
    let algorithm = field("algorithm").unwrap_or_else(|| "MD5".to_owned());
    let hash: fn(&str) -> String = match algorithm.as_str() {
        "MD5" => |text| hex(&md5::Md5::digest(text.as_bytes())),
        "SHA-256" => |text| hex(&sha2::Sha256::digest(text.as_bytes())),
        _ => return None,
    };
    let Answer {
        user,
        password,
        method,
        uri,
    } = answer;
    let ha1 = hash(&format!("{user}:{realm}:{password}"));
    let ha2 = hash(&format!("{method}:{uri}"));
    let mut value = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm={algorithm}"
    );
    let response = if field("qop").is_some() {
        let cnonce = "5f3a9c01";
        let _ = write!(value, ", qop=auth, nc=00000001, cnonce=\"{cnonce}\"");
        hash(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"))
    } else {
        hash(&format!("{ha1}:{nonce}:{ha2}"))
    };
    let _ = write!(value, ", response=\"{response}\"");
    if let Some(opaque) = field("opaque") {
        let _ = write!(value, ", opaque=\"{opaque}\"");
    }
    Some(value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `a=1, b="x,y"` as pairs, quotes taken off.
fn quoted_list(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut piece = String::new();
    let mut quoted = false;
    for character in text.chars().chain([',']) {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                if let Some((key, value)) = piece.split_once('=') {
                    pairs.push((key.trim().to_owned(), value.trim().to_owned()));
                }
                piece.clear();
            }
            other => piece.push(other),
        }
    }
    pairs
}

/// What a session description says of its first audio stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioLine {
    /// Address and port for RTP; port 0: refused.
    pub address: std::net::SocketAddr,
    /// Payload types in order of preference.
    pub formats: Vec<u8>,
    /// Payload type of telephone-event, if offered.
    pub dtmf: Option<u8>,
    /// `sendrecv`, `sendonly`, `recvonly` or `inactive`.
    pub direction: String,
}

impl AudioLine {
    /// Reads the first `m=audio` of a session description.
    pub fn parse(sdp: &str) -> Option<Self> {
        let mut session_ip = None;
        let mut session_direction = None;
        let mut line_ip = None;
        let mut found: Option<Self> = None;
        for line in sdp.lines().map(str::trim_end) {
            if line.starts_with("m=") && found.is_some() {
                break;
            }
            if let Some(rest) = line.strip_prefix("m=audio ") {
                let mut fields = rest.split(' ');
                let port: u16 = fields.next()?.split('/').next()?.parse().ok()?;
                fields.next()?;
                found = Some(Self {
                    address: ([0, 0, 0, 0], port).into(),
                    formats: fields.filter_map(|f| f.parse().ok()).collect(),
                    dtmf: None,
                    direction: "sendrecv".to_owned(),
                });
            } else if let Some(rest) = line.strip_prefix("c=IN IP4 ") {
                let ip: Option<std::net::Ipv4Addr> = rest.parse().ok();
                if found.is_some() {
                    line_ip = ip;
                } else {
                    session_ip = ip;
                }
            } else if matches!(
                line,
                "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive"
            ) {
                match &mut found {
                    Some(audio) => line[2..].clone_into(&mut audio.direction),
                    None => session_direction = Some(line[2..].to_owned()),
                }
            } else if let (Some(audio), Some(rest)) = (&mut found, line.strip_prefix("a=rtpmap:"))
                && let Some((payload, name)) = rest.split_once(' ')
                && name.to_ascii_lowercase().starts_with("telephone-event/")
            {
                audio.dtmf = payload.parse().ok();
            }
        }
        let mut audio = found?;
        audio.address.set_ip(line_ip.or(session_ip)?.into());
        if let Some(direction) = session_direction
            && !sdp.lines().any(|l| l.trim_end() == "a=sendrecv")
            && audio.direction == "sendrecv"
        {
            audio.direction = direction;
        }
        Some(audio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_writing_and_reading() {
        let mut message = SipText::request("INVITE", "sip:100@127.0.0.1");
        message.push("Via", "SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1;rport");
        message.push("CSeq", "7 INVITE");
        message.body = "v=0\r\n".to_owned();
        let read = SipText::parse(&message.to_bytes()).expect("our own message parses");
        assert_eq!(read.method(), Some("INVITE"));
        assert_eq!(read.uri(), Some("sip:100@127.0.0.1"));
        assert_eq!(read.branch(), Some("z9hG4bK1"));
        assert_eq!(read.cseq(), Some((7, "INVITE")));
        assert_eq!(read.body, "v=0\r\n");
    }

    #[test]
    fn the_digest_example_of_rfc_2617_comes_out() {
        // RFC 2617 §3.5 has the same shape; its own cnonce is not ours, so the plain form without qop is checked.
        let value = authorization(
            "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
            Answer {
                user: "Mufasa",
                password: "Circle Of Life",
                method: "GET",
                uri: "/dir/index.html",
            },
        )
        .expect("a digest challenge");
        assert!(
            value.contains("response=\"670fd8c2df070c60b045671b8b24ff02\""),
            "{value}"
        );
    }

    #[test]
    fn the_audio_line_of_a_session_description_is_read() {
        let audio = AudioLine::parse(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=sendonly\r\nm=video 0 RTP/AVP 31\r\na=inactive\r\n",
        )
        .expect("there is an audio line");
        assert_eq!(audio.address, "127.0.0.9:4000".parse().expect("an address"));
        assert_eq!(audio.formats, [8, 0, 101]);
        assert_eq!(audio.dtmf, Some(101));
        assert_eq!(audio.direction, "sendonly");
    }
}
