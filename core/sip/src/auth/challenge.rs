//! Challenges: WWW-Authenticate and Proxy-Authenticate.

use std::fmt;

use super::{Algorithm, AuthError, params};
use crate::syntax::write_quoted;

/// A digest challenge.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Challenge {
    /// The realm.
    pub realm: String,
    /// The nonce.
    pub nonce: String,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// The URIs it is for, as written.
    pub domain: Option<String>,
    /// The credentials were right, only the nonce was too old.
    pub stale: bool,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Whether `algorithm` is written; a challenge without it means MD5.
    pub algorithm_written: bool,
    /// The offered qop words; empty for RFC 2069 peers.
    pub qop: Vec<String>,
}

impl Challenge {
    /// A challenge with qop `auth`.
    #[must_use]
    pub fn new(realm: &str, nonce: &str, algorithm: Algorithm) -> Self {
        Self {
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            opaque: None,
            domain: None,
            stale: false,
            algorithm,
            algorithm_written: true,
            qop: vec!["auth".to_owned()],
        }
    }

    /// Reads the value of one header line.
    ///
    /// # Errors
    /// Another scheme, an unknown algorithm, no realm or nonce.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let mut p = params::parse(text)?;
        let algorithm = params::take(&mut p, "algorithm");
        let qop = params::take(&mut p, "qop").unwrap_or_default();
        Ok(Self {
            realm: params::take(&mut p, "realm").ok_or(AuthError::Missing("realm"))?,
            nonce: params::take(&mut p, "nonce").ok_or(AuthError::Missing("nonce"))?,
            opaque: params::take(&mut p, "opaque"),
            domain: params::take(&mut p, "domain"),
            stale: params::take(&mut p, "stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
            algorithm_written: algorithm.is_some(),
            algorithm: match algorithm {
                None => Algorithm::Md5,
                Some(name) => Algorithm::parse(&name).ok_or(AuthError::Algorithm(name))?,
            },
            qop: qop
                .split(',')
                .map(str::trim)
                .filter(|q| !q.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Whether qop `auth` is offered.
    #[must_use]
    pub fn offers_auth(&self) -> bool {
        self.qop.iter().any(|q| q.eq_ignore_ascii_case("auth"))
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest realm=")?;
        write_quoted(f, &self.realm)?;
        f.write_str(", nonce=")?;
        write_quoted(f, &self.nonce)?;
        if let Some(opaque) = &self.opaque {
            f.write_str(", opaque=")?;
            write_quoted(f, opaque)?;
        }
        if let Some(domain) = &self.domain {
            f.write_str(", domain=")?;
            write_quoted(f, domain)?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        if self.algorithm_written {
            write!(f, ", algorithm={}", self.algorithm)?;
        }
        if !self.qop.is_empty() {
            f.write_str(", qop=")?;
            write_quoted(f, &self.qop.join(","))?;
        }
        Ok(())
    }
}

/// The challenge to answer: the first one of an allowed algorithm whose qop can be met (RFC 8760 §2.4: the server writes
/// them in order of preference). `None`: none can be answered.
#[must_use]
pub fn choose<'a>(challenges: &'a [Challenge], allowed: &[Algorithm]) -> Option<&'a Challenge> {
    challenges.iter().find(|c| {
        (allowed.contains(&c.algorithm) || allowed.contains(&c.algorithm.base()))
            && (c.qop.is_empty() || c.offers_auth())
    })
}
