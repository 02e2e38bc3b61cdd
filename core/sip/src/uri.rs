//! URIs of SIP messages: `sip:`, `sips:`, `tel:`, and any other scheme kept as it is (RFC 3261 §19.1, RFC 3966).

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::flow::Transport;
pub use crate::headers::NameAddr;
pub use crate::syntax::Params;
use crate::syntax::{SyntaxError, trim};

/// The longest URI accepted, in bytes.
pub const URI_LENGTH_MAX: usize = 4096;

/// The scheme of a URI.
#[derive(Clone, Eq, PartialEq, Hash, Debug)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other, in lower case.
    Other(Box<str>),
}

impl Scheme {
    /// The scheme in lower case, without the colon.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Tel => "tel",
            Self::Other(name) => name,
        }
    }
}

/// A host: a name, or an address.
#[derive(Clone, Eq, Debug)]
pub enum Host {
    /// A name, as written; compared without case. Empty in a URI that has no host (`tel:`, other schemes).
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::V4(a), Self::V4(b)) => a == b,
            (Self::V6(a), Self::V6(b)) => a == b,
            _ => false,
        }
    }
}

impl Host {
    /// Reads a host; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// Empty, a bad address, a byte that no host name has.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner
                .strip_suffix(']')
                .ok_or(SyntaxError::new("IPv6 address without ']'", text.len()))?;
            // A zone id has no meaning beyond the sender's machine.
            let inner = inner.split('%').next().unwrap_or(inner);
            return inner
                .parse()
                .map(Self::V6)
                .map_err(|_| SyntaxError::new("not an IPv6 address", 1));
        }
        if text.is_empty() {
            return Err(SyntaxError::new("empty host", 0));
        }
        if let Ok(v4) = text.parse() {
            return Ok(Self::V4(v4));
        }
        // Underscores are not in the RFC's grammar and are in everybody's DNS.
        match text
            .bytes()
            .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')))
        {
            Some(at) => Err(SyntaxError::new("byte not allowed in a host", at)),
            None => Ok(Self::Name(text.to_owned())),
        }
    }

    /// The address, when the host is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(ip) => Some(IpAddr::V4(*ip)),
            Self::V6(ip) => Some(IpAddr::V6(*ip)),
        }
    }

    /// True for the empty host of a URI that has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Name(n) if n.is_empty())
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(ip) => ip.fmt(f),
            Self::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

/// Splits `host[:port]`; spaces may stand around the colon (RFC 3261 §25.1 COLON).
pub(crate) fn parse_host_port(text: &str) -> Result<(Host, Option<u16>), SyntaxError> {
    let after_bracket = match text.find(']') {
        Some(at) => at,
        // An open bracket without its end: let the host say so.
        None if trim(text).starts_with('[') => return Ok((Host::parse(trim(text))?, None)),
        None => 0,
    };
    let colon = text
        .get(after_bracket..)
        .and_then(|t| t.find(':'))
        .map(|i| i + after_bracket);
    let Some(colon) = colon else {
        return Ok((Host::parse(trim(text))?, None));
    };
    let (host, port) = text.split_at(colon);
    let port = trim(&port[1..]);
    let host = Host::parse(trim(host))?;
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SyntaxError::new("port is not a number", colon + 1));
    }
    let port = port
        .parse()
        .map_err(|_| SyntaxError::new("port above 65535", colon + 1))?;
    Ok((host, Some(port)))
}

/// A URI. Escapes (`%40`) are kept as written; see [`Uri::user_decoded`].
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Uri {
    /// The scheme.
    pub scheme: Scheme,
    /// The user as written (escaped); the number of a `tel:` URI.
    pub user: Option<String>,
    /// The password as written. Never use one.
    pub password: Option<String>,
    /// The host; empty for `tel:` and other schemes.
    pub host: Host,
    /// The port, when written.
    pub port: Option<u16>,
    /// `;name=value`
    pub params: Params,
    /// `?name=value&name=value`, as written (escaped).
    pub headers: Vec<(String, String)>,
    /// What follows the colon of a URI of another scheme, byte for byte; empty otherwise.
    pub opaque: String,
}

const fn uri_param_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b'%'
        )
        || matches!(b, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$' | b'@')
        || b >= 0x80
}

impl Uri {
    /// Reads a URI that fills all of `text`.
    ///
    /// # Errors
    /// White space, brackets, a bad host, port, escape or parameter, with the offset.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > URI_LENGTH_MAX {
            return Err(SyntaxError::new("URI too long", URI_LENGTH_MAX));
        }
        if let Some(at) = text
            .bytes()
            .position(|b| b <= b' ' || b == 0x7f || matches!(b, b'<' | b'>' | b'"'))
        {
            return Err(SyntaxError::new("byte not allowed in a URI", at));
        }
        let colon = text
            .find(':')
            .ok_or(SyntaxError::new("URI without a scheme", 0))?;
        let (scheme, rest) = text.split_at(colon);
        let rest = &rest[1..];
        let valid = scheme.bytes().enumerate().all(|(i, b)| {
            b.is_ascii_alphabetic() || (i > 0 && (b.is_ascii_digit() || b"+-.".contains(&b)))
        });
        if scheme.is_empty() || !valid {
            return Err(SyntaxError::new("bad URI scheme", 0));
        }
        let base = colon + 1;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "sip" => Self::parse_sip(Scheme::Sip, rest),
            "sips" => Self::parse_sip(Scheme::Sips, rest),
            "tel" => Self::parse_tel(rest),
            _ => {
                let mut uri = Self::empty(Scheme::Other(scheme.into_boxed_str()));
                if rest.is_empty() {
                    return Err(SyntaxError::new("nothing after the scheme", base));
                }
                rest.clone_into(&mut uri.opaque);
                return Ok(uri);
            }
        }
        .map_err(|e| e.shifted(base))
    }

    const fn empty(scheme: Scheme) -> Self {
        Self {
            scheme,
            user: None,
            password: None,
            host: Host::Name(String::new()),
            port: None,
            params: Params::new(),
            headers: Vec::new(),
            opaque: String::new(),
        }
    }

    fn parse_sip(scheme: Scheme, text: &str) -> Result<Self, SyntaxError> {
        let mut uri = Self::empty(scheme);
        // An '@' is escaped everywhere but here, so the first one ends the user, whatever ';' or '?' it holds.
        let (userinfo, rest, base) = match text.find('@') {
            Some(at) => (Some(&text[..at]), &text[at + 1..], at + 1),
            None => (None, text, 0),
        };
        if let Some(userinfo) = userinfo {
            let (user, password) = match userinfo.split_once(':') {
                Some((u, p)) => (u, Some(p)),
                None => (userinfo, None),
            };
            if user.is_empty() {
                return Err(SyntaxError::new("empty user before '@'", 0));
            }
            check_escapes(userinfo)?;
            uri.user = Some(user.to_owned());
            uri.password = password.map(str::to_owned);
        }
        let (rest, headers) = match rest.find('?') {
            Some(q) => (&rest[..q], Some((&rest[q + 1..], base + q + 1))),
            None => (rest, None),
        };
        let semi = rest.find(';').unwrap_or(rest.len());
        let (host, params) = rest.split_at(semi);
        (uri.host, uri.port) = parse_host_port(host).map_err(|e| e.shifted(base))?;
        uri.params =
            Params::parse(params, false, uri_param_byte).map_err(|e| e.shifted(base + semi))?;
        if let Some((headers, at)) = headers {
            for pair in headers.split('&') {
                let (name, value) = pair
                    .split_once('=')
                    .ok_or(SyntaxError::new("URI header without '='", at))?;
                if name.is_empty() {
                    return Err(SyntaxError::new("URI header without a name", at));
                }
                uri.headers.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(uri)
    }

    fn parse_tel(text: &str) -> Result<Self, SyntaxError> {
        let mut uri = Self::empty(Scheme::Tel);
        let semi = text.find(';').unwrap_or(text.len());
        let (number, params) = text.split_at(semi);
        let valid = |(i, b): (usize, u8)| {
            b.is_ascii_hexdigit()
                || matches!(b, b'-' | b'.' | b'(' | b')' | b'*' | b'#')
                || (i == 0 && b == b'+')
        };
        if number.is_empty() || number == "+" {
            return Err(SyntaxError::new("empty telephone number", 0));
        }
        if let Some(at) = number.bytes().enumerate().position(|x| !valid(x)) {
            return Err(SyntaxError::new(
                "byte not allowed in a telephone number",
                at,
            ));
        }
        uri.user = Some(number.to_owned());
        uri.params = Params::parse(params, false, uri_param_byte).map_err(|e| e.shifted(semi))?;
        Ok(uri)
    }

    /// A `sip:` URI of this user (escaped where needed), host and port.
    #[must_use]
    pub fn sip(user: Option<&str>, host: impl Into<Host>, port: Option<u16>) -> Self {
        let mut uri = Self::empty(Scheme::Sip);
        uri.user = user
            .filter(|u| !u.is_empty())
            .map(|u| escape_user(u).into_owned());
        uri.host = host.into();
        uri.port = port;
        uri
    }

    /// The value of the parameter (any case), `Some("")` where it has none.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// The user with its escapes resolved: what a dialplan matches.
    #[must_use]
    pub fn user_decoded(&self) -> Option<Cow<'_, str>> {
        self.user.as_deref().map(unescape)
    }

    /// The `transport` parameter: `None` where absent, `Some(None)` where not spoken here.
    #[must_use]
    pub fn transport(&self) -> Option<Option<Transport>> {
        self.param("transport").map(Transport::parse)
    }

    /// The transport that leads to it, as far as it says: that of the parameter, made secure by `sips:` (RFC 3261
    /// §26.2.2, RFC 7118 §5.2); `Some(None)` where not spoken here, or where what is asked for cannot be secure.
    #[must_use]
    pub fn wanted_transport(&self) -> Option<Option<Transport>> {
        if self.scheme != Scheme::Sips {
            return self.transport();
        }
        Some(match self.transport() {
            None => Some(Transport::Tls),
            Some(Some(Transport::Tcp | Transport::Tls)) => Some(Transport::Tls),
            Some(Some(Transport::Ws | Transport::Wss)) => Some(Transport::Wss),
            Some(_) => None,
        })
    }

    /// Whether the `lr` parameter marks a loose router (RFC 3261 §16.12.1).
    #[must_use]
    pub fn is_loose_route(&self) -> bool {
        self.params.has("lr")
    }

    /// The address to send to when the host is one: the written port, or the default one of the transport.
    #[must_use]
    pub fn socket_addr(&self, transport: Transport) -> Option<SocketAddr> {
        let port = self.port.unwrap_or(match transport {
            Transport::Udp | Transport::Tcp if self.scheme == Scheme::Sips => 5061,
            transport => transport.default_port(),
        });
        Some(SocketAddr::new(self.host.ip()?, port))
    }

    /// Equality of RFC 3261 §19.1.4: escapes resolved, host and parameters without case; `user`, `ttl`, `method`,
    /// `maddr` and `transport` must be in both or in none, other parameters only agree where both have them; headers
    /// must agree. `tel:` numbers are compared without visual separators (RFC 3966 §4).
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Other(_) => self.opaque == other.opaque,
            Scheme::Tel => {
                let digits = |u: &Self| -> String {
                    u.user
                        .iter()
                        .flat_map(|n| n.chars())
                        .filter(|c| !matches!(c, '-' | '.' | '(' | ')'))
                        .map(|c| c.to_ascii_lowercase())
                        .collect()
                };
                digits(self) == digits(other)
                    && self.params.len() == other.params.len()
                    && self.params.iter().all(|(n, v)| {
                        other
                            .params
                            .raw(n)
                            .is_some_and(|o| same_ignoring_case(v, o))
                    })
            }
            Scheme::Sip | Scheme::Sips => {
                self.user_decoded() == other.user_decoded()
                    && self.password.as_deref().map(unescape)
                        == other.password.as_deref().map(unescape)
                    && self.host == other.host
                    && self.port == other.port
                    && params_agree(&self.params, &other.params)
                    && params_agree(&other.params, &self.params)
                    && headers_agree(&self.headers, &other.headers)
            }
        }
    }
}

fn same_ignoring_case(a: Option<&str>, b: Option<&str>) -> bool {
    unescape(a.unwrap_or("")).eq_ignore_ascii_case(&unescape(b.unwrap_or("")))
}

fn params_agree(a: &Params, b: &Params) -> bool {
    a.iter().all(|(name, value)| match b.raw(name) {
        Some(other) => same_ignoring_case(value, other),
        None => !["user", "ttl", "method", "maddr", "transport"]
            .iter()
            .any(|n| n.eq_ignore_ascii_case(name)),
    })
}

fn headers_agree(a: &[(String, String)], b: &[(String, String)]) -> bool {
    a.len() == b.len()
        && a.iter().all(|(n, v)| {
            b.iter()
                .any(|(on, ov)| n.eq_ignore_ascii_case(on) && unescape(v) == unescape(ov))
        })
}

fn check_escapes(text: &str) -> Result<(), SyntaxError> {
    let bytes = text.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let hex = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_hexdigit);
        if !(hex(at + 1) && hex(at + 2)) {
            return Err(SyntaxError::new("'%' without two hexadecimal digits", at));
        }
    }
    Ok(())
}

/// Resolves `%XX`. A sequence that is not UTF-8 afterwards, and a `%` without digits, stay as written.
#[must_use]
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (b, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            _ => {
                out.push(b);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Escapes what may not stand in the user part of a SIP URI.
#[must_use]
pub fn escape_user(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b);
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for b in text.bytes() {
        if plain(b) {
            out.push(char::from(b));
        } else {
            use fmt::Write as _;
            let _ = write!(out, "%{b:02X}");
        }
    }
    Cow::Owned(out)
}

impl From<&str> for Host {
    /// The address where the text is one (brackets optional), otherwise a name as it is.
    fn from(text: &str) -> Self {
        text.parse::<IpAddr>()
            .map(Self::from)
            .or_else(|_| Self::parse(text))
            .unwrap_or_else(|_| Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme.as_str())?;
        match self.scheme {
            Scheme::Other(_) => return f.write_str(&self.opaque),
            Scheme::Tel => write!(f, "{}", self.user.as_deref().unwrap_or(""))?,
            Scheme::Sip | Scheme::Sips => {
                if let Some(user) = &self.user {
                    f.write_str(user)?;
                    if let Some(password) = &self.password {
                        write!(f, ":{password}")?;
                    }
                    f.write_str("@")?;
                }
                write!(f, "{}", self.host)?;
                if let Some(port) = self.port {
                    write!(f, ":{port}")?;
                }
            }
        }
        write!(f, "{}", self.params)?;
        for (i, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Uri {
    type Err = SyntaxError;

    fn from_str(s: &str) -> Result<Self, SyntaxError> {
        Self::parse(s)
    }
}

#[cfg(test)]
mod tests;
