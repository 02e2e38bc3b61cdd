//! `debug` of `ps_globals`: messages written to the log, all of them or those of one peer. Each line of a message is marked, so
//! that nobody who sends one can forge a line of the log.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Line, keys};
use crate::dns::Dns;
use crate::endpoint::acl::Network;

/// Whose messages are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Debug {
    Nobody,
    Everybody,
    /// Of these networks and addresses.
    Of(Vec<Network>),
}

impl Debug {
    /// The messages of the host of this name; none: it is not found.
    pub(super) async fn host(name: &str, dns: &Dns) -> Option<Self> {
        let found = dns.addresses(name.trim()).await;
        let networks: Vec<Network> = found
            .iter()
            .filter_map(|ip| Network::parse(&ip.to_string()).ok())
            .collect();
        (!networks.is_empty()).then_some(Self::Of(networks))
    }

    /// `yes`, `no`, an address or a network: what needs no look-up.
    pub(super) fn word(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "" | "no" | "off" | "false" | "0" | "n" | "f" => Some(Self::Nobody),
            "yes" | "on" | "true" | "1" | "y" | "t" => Some(Self::Everybody),
            _ => Some(Self::Of(vec![Network::parse(text).ok()?])),
        }
    }

    pub(super) fn wants(&self, remote: IpAddr) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Of(networks) => networks.iter().any(|network| network.contains(remote)),
        }
    }
}

/// A message as the log shows it: a mark before each of its lines, and nothing in them that moves a terminal.
fn marked(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut marked = String::with_capacity(text.len() + text.len() / 16);
    for line in text.lines() {
        let clean = line.chars().filter(|c| !c.is_control());
        let clean = clean.collect::<String>();
        let _ = write!(marked, "\n  | {}", without_proof(&clean));
    }
    marked
}

/// A line without what proves that a password is known: it could be guessed from that at leisure.
fn without_proof(line: &str) -> std::borrow::Cow<'_, str> {
    let lower = line.to_ascii_lowercase();
    let name = lower.split(':').next().unwrap_or_default().trim();
    if !matches!(name, "authorization" | "proxy-authorization") {
        return line.into();
    }
    match lower.find("response") {
        Some(at) => format!("{}response=***", &line[..at]).into(),
        None => format!("{name}: ***").into(),
    }
}

/// Writes a message to the log.
pub(super) fn tell(line: &Line) {
    let (way, transport, remote) = (
        if line.sent { "to" } else { "from" },
        line.transport,
        line.remote,
    );
    tracing::info!(
        "SIP {way} {transport} {remote}, {} bytes{}",
        line.bytes.len(),
        marked(&keys::hidden(line.bytes.clone()))
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_everybody_nobody_or_a_peer() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap_or_else(|e| panic!("{e}"));
        for (text, near, far) in [
            ("yes", true, true),
            ("No", false, false),
            ("", false, false),
            ("192.0.2.1", true, false),
            ("192.0.2.0/24", true, false),
        ] {
            let debug = Debug::word(text).unwrap_or_else(|| panic!("{text} needs no look-up"));
            assert_eq!(debug.wants(ip("192.0.2.1")), near, "{text}");
            assert_eq!(debug.wants(ip("198.51.100.1")), far, "{text}");
        }
        assert_eq!(Debug::word("trunk.example"), None);
    }

    #[test]
    fn no_proof_of_a_password_stands_in_the_log() {
        let text = marked(
            b"REGISTER sip:a SIP/2.0\r\nAuthorization: Digest username=\"bob\", response=\"0123abcd\", uri=\"sip:a\"\r\n\
              proxy-authorization: Basic Ym9iOnNlY3JldA==\r\nWWW-Authenticate: Digest nonce=\"n\"\r\n\r\n",
        );
        assert!(
            !text.contains("0123abcd") && !text.contains("Ym9i"),
            "{text}"
        );
        assert!(
            text.contains("username=\"bob\"") && text.contains("nonce=\"n\""),
            "{text}"
        );
    }

    #[test]
    fn nobody_forges_a_line_of_the_log() {
        let text =
            marked(b"OPTIONS sip:a SIP/2.0\r\nX: \x1b[2J\r\n2026-01-01 ERROR forged\r\n\r\n");
        assert!(text.lines().skip(1).all(|line| line.starts_with("  |")));
        assert!(!text.contains('\x1b') && text.contains("  | 2026-01-01 ERROR forged"));
    }
}
