//! A client of the HTTP APIs: it writes requests byte by byte and takes answers apart itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct WebAnswer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl WebAnswer {
    /// The first value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {} {}", self.status, self.text()),
        }
    }
}

/// Asks, on a connection of its own.
#[track_caller]
pub fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> WebAnswer {
    let mut stream = TcpStream::connect(address).expect("the HTTP port");
    stream
        .set_read_timeout(Some(crate::SOON))
        .expect("a time limit");
    let mut head =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).expect("a request");
    // Who refuses a request need not read all of it.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse(&answer)
}

/// Asks for something.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> WebAnswer {
    ask(address, "GET", target, &[], b"")
}

fn parse(answer: &[u8]) -> WebAnswer {
    let Some(end) = answer.windows(4).position(|part| part == b"\r\n\r\n") else {
        return WebAnswer::default();
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let headers: Vec<_> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let body = &answer[end + 4..];
    let mut parsed = WebAnswer {
        status: first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0),
        headers,
        body: body.to_vec(),
    };
    if parsed.header("transfer-encoding") == "chunked" {
        parsed.body = unchunked(body);
    }
    parsed
}

/// The pieces of a body put together; one that breaks off ends where it does.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|part| part == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            break;
        };
        let begin = end + 2;
        let Some(piece) = rest.get(begin..begin + size).filter(|_| size > 0) else {
            break;
        };
        whole.extend_from_slice(piece);
        rest = rest.get(begin + size + 2..).unwrap_or_default();
    }
    whole
}
