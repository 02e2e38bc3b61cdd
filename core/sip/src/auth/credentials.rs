//! Credentials: Authorization and Proxy-Authorization, made by a client and verified by a server.

use std::fmt;

use subtle::ConstantTimeEq;

use super::{Algorithm, AuthError, Challenge, params};
use crate::syntax::write_quoted;

/// Digest credentials, as sent.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The realm.
    pub realm: String,
    /// The nonce.
    pub nonce: String,
    /// The URI that was hashed: that of the request, unless something on the way changed it.
    pub uri: String,
    /// The response, hexadecimal.
    pub response: String,
    /// The algorithm; MD5 where not written.
    pub algorithm: Algorithm,
    /// The client's nonce; needed with qop and for session algorithms.
    pub cnonce: Option<String>,
    /// Sent back from the challenge.
    pub opaque: Option<String>,
    /// `auth` or `auth-int`, as written; none for RFC 2069 clients.
    pub qop: Option<String>,
    /// The nonce count as written: eight hexadecimal digits, in the case they were hashed in.
    pub nc: Option<String>,
}

impl Credentials {
    /// Reads the value of one header line.
    ///
    /// # Errors
    /// Another scheme, an unknown algorithm or qop, a missing parameter, a bad nonce count.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let mut p = params::parse(text)?;
        let mut need =
            |name: &'static str| params::take(&mut p, name).ok_or(AuthError::Missing(name));
        let username = need("username")?;
        let realm = need("realm")?;
        let nonce = need("nonce")?;
        let uri = need("uri")?;
        let response = need("response")?;
        let algorithm = match params::take(&mut p, "algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::parse(&name).ok_or(AuthError::Algorithm(name))?,
        };
        let credentials = Self {
            username,
            realm,
            nonce,
            uri,
            response,
            algorithm,
            cnonce: params::take(&mut p, "cnonce"),
            opaque: params::take(&mut p, "opaque"),
            qop: params::take(&mut p, "qop").filter(|q| !q.is_empty()),
            nc: params::take(&mut p, "nc"),
        };
        if let Some(qop) = &credentials.qop {
            if !qop.eq_ignore_ascii_case("auth") && !qop.eq_ignore_ascii_case("auth-int") {
                return Err(AuthError::Bad("qop"));
            }
            if credentials.cnonce.is_none() {
                return Err(AuthError::Missing("cnonce"));
            }
            let nc = credentials.nc.as_deref().ok_or(AuthError::Missing("nc"))?;
            if nc.len() != 8 || !nc.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(AuthError::Bad("nc"));
            }
        }
        if credentials.algorithm.is_session() && credentials.cnonce.is_none() {
            return Err(AuthError::Missing("cnonce"));
        }
        Ok(credentials)
    }

    /// The nonce count; `None` without qop.
    #[must_use]
    pub fn nonce_count(&self) -> Option<u32> {
        self.qop.as_ref()?;
        u32::from_str_radix(self.nc.as_deref()?, 16).ok()
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest username=")?;
        write_quoted(f, &self.username)?;
        for (name, value) in [
            ("realm", Some(&self.realm)),
            ("nonce", Some(&self.nonce)),
            ("uri", Some(&self.uri)),
            ("response", Some(&self.response)),
            ("cnonce", self.cnonce.as_ref()),
            ("opaque", self.opaque.as_ref()),
        ] {
            if let Some(value) = value {
                write!(f, ", {name}=")?;
                write_quoted(f, value)?;
            }
        }
        // RFC 7616 §3.4: these are written without quotes, and some servers insist.
        write!(f, ", algorithm={}", self.algorithm)?;
        if let Some(qop) = &self.qop {
            write!(f, ", qop={qop}")?;
        }
        if let Some(nc) = self.nc.as_ref().filter(|_| self.qop.is_some()) {
            write!(f, ", nc={nc}")?;
        }
        Ok(())
    }
}

/// What proves a user.
#[derive(Copy, Clone)]
pub enum Secret<'a> {
    /// The password in clear text.
    Password(&'a str),
    /// H(username:realm:password), hexadecimal, made with this algorithm (session or not is the same).
    Ha1(Algorithm, &'a str),
}

// The secret itself never reaches a log.
impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password"),
            Self::Ha1(algorithm, _) => write!(f, "Ha1({algorithm})"),
        }
    }
}

/// H(A1); `None` when the stored hash was made with another algorithm.
fn ha1(credentials: &Credentials, secret: &Secret<'_>) -> Option<String> {
    let algorithm = credentials.algorithm;
    let base = match secret {
        Secret::Password(password) => {
            algorithm.ha1(&credentials.username, &credentials.realm, password)
        }
        Secret::Ha1(made_with, hex) if made_with.base() == algorithm.base() => {
            hex.trim().to_ascii_lowercase()
        }
        Secret::Ha1(..) => return None,
    };
    if !algorithm.is_session() {
        return Some(base);
    }
    let cnonce = credentials.cnonce.as_deref().unwrap_or("");
    Some(algorithm.hash(&[
        base.as_bytes(),
        credentials.nonce.as_bytes(),
        cnonce.as_bytes(),
    ]))
}

/// The response that the credentials should carry (RFC 7616 §3.4.1).
fn expected(
    credentials: &Credentials,
    method: &str,
    body: &[u8],
    secret: &Secret<'_>,
) -> Option<String> {
    let algorithm = credentials.algorithm;
    let ha1 = ha1(credentials, secret)?;
    let integrity = credentials
        .qop
        .as_deref()
        .is_some_and(|q| q.eq_ignore_ascii_case("auth-int"));
    let ha2 = if integrity {
        let body = algorithm.hash(&[body]);
        algorithm.hash(&[
            method.as_bytes(),
            credentials.uri.as_bytes(),
            body.as_bytes(),
        ])
    } else {
        algorithm.hash(&[method.as_bytes(), credentials.uri.as_bytes()])
    };
    Some(
        match (&credentials.qop, &credentials.nc, &credentials.cnonce) {
            (Some(qop), Some(nc), Some(cnonce)) => algorithm.hash(&[
                ha1.as_bytes(),
                credentials.nonce.as_bytes(),
                nc.as_bytes(),
                cnonce.as_bytes(),
                qop.as_bytes(),
                ha2.as_bytes(),
            ]),
            _ => algorithm.hash(&[ha1.as_bytes(), credentials.nonce.as_bytes(), ha2.as_bytes()]),
        },
    )
}

/// Whether the credentials prove the secret for this method (and body, with `auth-int`). Compared in constant time.
/// User, realm, URI and nonce are for the caller to check.
#[must_use]
pub fn verify(credentials: &Credentials, method: &str, body: &[u8], secret: &Secret<'_>) -> bool {
    let Some(expected) = expected(credentials, method, body, secret) else {
        return false;
    };
    let given = credentials.response.to_ascii_lowercase();
    bool::from(expected.as_bytes().ct_eq(given.as_bytes()))
}

/// What a client answers a challenge with.
#[derive(Copy, Clone, Debug)]
pub struct Answer<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    /// The user.
    pub username: &'a str,
    /// The secret.
    pub secret: Secret<'a>,
    /// How often this nonce has been answered, this time included: 1, 2 ...
    pub nc: u32,
    /// Random text.
    pub cnonce: &'a str,
}

/// Answers a challenge. `None` when a stored hash does not fit its algorithm, or it offers only `auth-int`.
#[must_use]
pub fn respond(challenge: &Challenge, answer: &Answer<'_>) -> Option<Credentials> {
    if !challenge.qop.is_empty() && !challenge.offers_auth() {
        return None;
    }
    let qop = challenge.offers_auth();
    let mut credentials = Credentials {
        username: answer.username.to_owned(),
        realm: challenge.realm.clone(),
        nonce: challenge.nonce.clone(),
        uri: answer.uri.to_owned(),
        response: String::new(),
        algorithm: challenge.algorithm,
        cnonce: (qop || challenge.algorithm.is_session()).then(|| answer.cnonce.to_owned()),
        opaque: challenge.opaque.clone(),
        qop: qop.then(|| "auth".to_owned()),
        nc: qop.then(|| format!("{:08x}", answer.nc)),
    };
    credentials.response = expected(&credentials, answer.method, &[], &answer.secret)?;
    Some(credentials)
}
