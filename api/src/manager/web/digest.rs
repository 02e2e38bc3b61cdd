//! HTTP Digest (RFC 7616 with MD5, as clients of the Manager speak it).

use md5::{Digest as _, Md5};
use warp::http::{Response, StatusCode};

use super::super::session::{hex, is_same};

const REALM: &str = "asterisk";

/// What a client says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: String,
    realm: String,
    pub(super) nonce: String,
    uri: String,
    response: String,
    cnonce: String,
    /// As it was written.
    count_text: String,
    /// How often the nonce was used; nothing without `qop`.
    pub(super) count: Option<u32>,
}

impl Credentials {
    /// Reads `Digest username="a", ...`.
    pub(super) fn read(header: &str) -> Option<Self> {
        let rest = header
            .trim()
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Digest"))?;
        let mut read = Self::default();
        let mut qop = false;
        for (name, value) in pairs(rest.1) {
            match name.to_ascii_lowercase().as_str() {
                "username" => read.username = value,
                "realm" => read.realm = value,
                "nonce" => read.nonce = value,
                "uri" => read.uri = value,
                "response" => read.response = value,
                "cnonce" => read.cnonce = value,
                "nc" => read.count_text = value,
                "qop" if value == "auth" => qop = true,
                "qop" => return None,
                "algorithm" if !value.eq_ignore_ascii_case("MD5") => return None,
                _ => {}
            }
        }
        if qop {
            read.count = Some(u32::from_str_radix(&read.count_text, 16).ok()?);
        }
        Some(read)
    }

    /// Does who wrote this know the secret?
    pub(super) fn prove(&self, secret: &str, method: &str) -> bool {
        let digest = |text: String| hex(&Md5::digest(text));
        let first = digest(format!("{}:{REALM}:{secret}", self.username));
        let second = digest(format!("{method}:{}", self.uri));
        let expected = match self.count {
            Some(_) => digest(format!(
                "{first}:{}:{}:{}:auth:{second}",
                self.nonce, self.count_text, self.cnonce
            )),
            None => digest(format!("{first}:{}:{second}", self.nonce)),
        };
        !secret.is_empty() && self.realm == REALM && is_same(&self.response, &expected)
    }

    /// Is it about this address?
    pub(super) fn is_for(&self, target: &str) -> bool {
        let uri = self
            .uri
            .split_once("://")
            .map_or(self.uri.as_str(), |(_, rest)| {
                rest.find('/').map_or("", |at| &rest[at..])
            });
        uri == target
    }
}

/// `a="b, c", d=e`.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_owned();
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, c)) = chars.next() {
                    match c {
                        '\\' => value.extend(chars.next().map(|(_, c)| c)),
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        c => value.push(c),
                    }
                }
                (value, &quoted[end..])
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        pairs.push((name, value));
        rest = next;
    }
    pairs
}

/// Asks for credentials.
pub(super) fn challenge(nonce: &str, stale: bool) -> Response<String> {
    let stale = if stale { ", stale=true" } else { "" };
    let value = format!(
        "Digest algorithm=MD5, realm=\"{REALM}\", nonce=\"{nonce}\", qop=\"auth\", opaque=\"{nonce}\"{stale}"
    );
    let response = Response::builder()
        .status(StatusCode::UNAUTHORIZED)
        .header("WWW-authenticate", value)
        .header("Server", "Asterisk")
        .body(String::new());
    response.unwrap_or_else(|_| super::plain(StatusCode::UNAUTHORIZED))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RFC 2069 and RFC 2617 compute it.
    fn credentials(count: Option<&str>, secret: &str) -> Credentials {
        let digest = |text: String| hex(&Md5::digest(text));
        let first = digest(format!("admin:asterisk:{secret}"));
        let second = digest("GET:/arawman?action=ping".to_owned());
        let (more, response) = match count {
            Some(nc) => (
                format!(", qop=auth, nc={nc}, cnonce=\"x\\\"y\""),
                digest(format!("{first}:0badcafe:{nc}:x\"y:auth:{second}")),
            ),
            None => (String::new(), digest(format!("{first}:0badcafe:{second}"))),
        };
        let header = format!(
            "Digest username=\"admin\", realm=\"asterisk\", nonce=\"0badcafe\", uri=\"/arawman?action=ping\", response=\"{response}\"{more}"
        );
        Credentials::read(&header).expect("credentials")
    }

    #[test]
    fn who_knows_the_secret_can_prove_it() {
        for count in [None, Some("00000001")] {
            let right = credentials(count, "s");
            assert!(right.prove("s", "GET") && right.is_for("/arawman?action=ping"));
            assert!(!right.prove("t", "GET") && !right.prove("s", "POST"));
            assert!(!right.is_for("/arawman?action=hangup"));
            assert_eq!(right.count, count.map(|_| 1));
        }
        assert!(!credentials(None, "").prove("", "GET"));
        for text in [
            "",
            "Basic abc",
            "Digest qop=auth-int",
            "Digest qop=auth, nc=zz",
            "Digest algorithm=SHA",
        ] {
            assert!(Credentials::read(text).is_none(), "{text}");
        }
    }
}
