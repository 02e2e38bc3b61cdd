//! Via: the path a request has taken (RFC 3261 §20.42, RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::flow::Transport;
use crate::syntax::{Params, SyntaxError, header_param_byte, is_token, offset_of, trim};
use crate::uri::{Host, parse_host_port};

/// What every branch made by an RFC 3261 element starts with (§8.1.1.7).
pub const BRANCH_COOKIE: &str = "z9hG4bK";

/// One value of a Via header.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Via {
    /// The transport as written: `UDP`, `TCP`, or one not spoken here.
    pub transport: String,
    /// The host of sent-by.
    pub host: Host,
    /// The port of sent-by, when written.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params,
}

impl Via {
    /// A Via for a request of ours; asks for `rport` (RFC 3581 §3).
    #[must_use]
    pub fn new(transport: Transport, sent_by: SocketAddr, branch: &str) -> Self {
        Self::at(transport, sent_by.ip().into(), sent_by.port(), branch)
    }

    /// As [`Via::new`], where we are known by a name or another address than our own.
    #[must_use]
    pub fn at(transport: Transport, host: Host, port: u16, branch: &str) -> Self {
        let mut params = Params::new();
        params.set("rport", None);
        params.set("branch", Some(branch));
        Self {
            transport: transport.as_str().to_owned(),
            host,
            port: Some(port),
            params,
        }
    }

    /// Reads one value: `SIP/2.0/UDP host:port;params`, with spaces around the slashes and colon where a sender put them.
    ///
    /// # Errors
    /// Another protocol, no transport, a bad host, port or parameter.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let value = trim(text);
        let base = offset_of(text, value);
        let fail = |what, at: &str| SyntaxError::new(what, base + offset_of(value, at));
        let (name, rest) = value
            .split_once('/')
            .ok_or(fail("Via without a protocol", value))?;
        if !trim(name).eq_ignore_ascii_case("SIP") {
            return Err(fail("Via protocol is not SIP", name));
        }
        let (version, rest) = rest
            .split_once('/')
            .ok_or(fail("Via without a transport", rest))?;
        if trim(version) != "2.0" {
            return Err(fail("Via version is not 2.0", version));
        }
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let end = rest
            .bytes()
            .position(|b| !is_token(b))
            .ok_or(fail("Via without a host", rest))?;
        let (transport, rest) = rest.split_at(end);
        if transport.is_empty() || !rest.starts_with([' ', '\t', '\r', '\n']) {
            return Err(fail("Via without a transport and a host", rest));
        }
        let semi = rest.find(';').unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at(semi);
        let sent_by = trim(sent_by);
        let at = |part: &str| base + offset_of(value, part);
        let (host, port) = parse_host_port(sent_by).map_err(|e| e.shifted(at(sent_by)))?;
        let params =
            Params::parse(params, true, header_param_byte).map_err(|e| e.shifted(at(params)))?;
        Ok(Self {
            transport: transport.to_owned(),
            host,
            port,
            params,
        })
    }

    /// The branch parameter.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch").filter(|b| !b.is_empty())
    }

    /// The branch, when it is that of an RFC 3261 element: starts with the cookie and says more than it.
    #[must_use]
    pub fn rfc3261_branch(&self) -> Option<&str> {
        self.branch().filter(|b| {
            b.len() > BRANCH_COOKIE.len()
                && b.as_bytes()
                    .iter()
                    .zip(BRANCH_COOKIE.as_bytes())
                    .all(|(a, c)| a.eq_ignore_ascii_case(c))
        })
    }

    /// The `received` address, with or without brackets.
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.get("received")?;
        text.trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok()
    }

    /// `None`: no rport; `Some(None)`: asked for; `Some(Some(port))`: filled in (RFC 3581).
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        Some(self.params.raw("rport")?.and_then(|p| p.parse().ok()))
    }

    /// The known transport, when it is one.
    #[must_use]
    pub fn known_transport(&self) -> Option<Transport> {
        Transport::parse(&self.transport)
    }

    /// Notes where the request came from (RFC 3261 §18.2.1, RFC 3581 §4): `received` where the host differs from the
    /// source or rport was asked for, and `rport` where asked for or forced. True when something changed.
    pub fn stamp(&mut self, source: SocketAddr, force_rport: bool) -> bool {
        let rport = self.params.has("rport") || force_rport;
        let mut changed = false;
        if rport {
            let port = source.port().to_string();
            self.params.set("rport", Some(&port));
            changed = true;
        }
        if rport || self.host.ip() != Some(source.ip()) {
            self.params.set("received", Some(&source.ip().to_string()));
            changed = true;
        }
        changed
    }

    /// Where a response to a request with this top Via goes over an unreliable transport, as far as it is an address
    /// (RFC 3261 §18.2.2, RFC 3581 §4): maddr, then received and rport, then sent-by.
    #[must_use]
    pub fn response_target(&self) -> Option<SocketAddr> {
        let default = self.known_transport().map_or(5060, Transport::default_port);
        let port = self.port.unwrap_or(default);
        if let Some(maddr) = self.params.get("maddr").and_then(|m| m.parse().ok()) {
            return Some(SocketAddr::new(maddr, port));
        }
        match self.received() {
            Some(ip) => Some(SocketAddr::new(ip, self.rport().flatten().unwrap_or(port))),
            None => self.host.ip().map(|ip| SocketAddr::new(ip, port)),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_via_with_spaces_everywhere_is_read() {
        let v =
            Via::parse(" SIP  / 2.0\t / TCP     192.0.2.2 : 5070 ;branch  =  390skdjuw ; rport")
                .unwrap();
        assert_eq!(
            v.to_string(),
            "SIP/2.0/TCP 192.0.2.2:5070;branch=390skdjuw;rport"
        );
        assert_eq!(v.rport(), Some(None));
        assert_eq!(v.rfc3261_branch(), None);
    }

    #[test]
    fn ipv6_and_unknown_transports_are_kept() {
        let v = Via::parse(
            "SIP/2.0/UNKNOWN [2001:db8::9:1]:99;received=[2001:db8::9:255];branch=z9hG4bKas3",
        )
        .unwrap();
        assert_eq!(v.transport, "UNKNOWN");
        assert_eq!(v.port, Some(99));
        assert_eq!(v.received(), "2001:db8::9:255".parse().ok());
        assert_eq!(v.rfc3261_branch(), Some("z9hG4bKas3"));
    }

    #[test]
    fn stamping_fills_received_and_rport() {
        let source: SocketAddr = "203.0.113.7:40000".parse().unwrap();
        let mut v = Via::parse("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport").unwrap();
        assert!(v.stamp(source, false));
        assert_eq!(v.response_target(), Some(source));
        let mut v = Via::parse("SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bK1").unwrap();
        assert!(!v.stamp(source, false));
        assert_eq!(v.response_target(), "203.0.113.7:5062".parse().ok());
        assert!(v.stamp(source, true));
        assert_eq!(v.response_target(), Some(source));
    }

    #[test]
    fn bad_vias_are_refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 UDP host",
            "HTTP/1.1/TCP host",
            "SIP/3.0/UDP host",
            "SIP/2.0/UDP 192.0.2.15;;",
            "SIP/2.0/UDP host:99999",
            "SIP/2.0/UDP [::1",
            ";,",
        ] {
            assert!(Via::parse(text).is_err(), "{text}");
        }
    }
}
