//! Digest authentication, both sides (RFC 2617, RFC 7616, RFC 8760).
//!
//! Reads and writes challenges and credentials, computes and verifies responses, makes nonces and remembers their counts.
//! Which user has which secret, and who must authenticate at all, is decided elsewhere.

mod algorithm;
mod challenge;
mod credentials;
mod nonce;
mod params;

pub use algorithm::Algorithm;
pub use challenge::{Challenge, choose};
pub use credentials::{Answer, Credentials, Secret, respond, verify};
pub use nonce::{NonceState, NonceStore};

/// Why a challenge or credentials cannot be used.
#[derive(Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum AuthError {
    /// Another scheme than Digest.
    #[error("authentication scheme is not Digest")]
    Scheme,
    /// A parameter list that cannot be read.
    #[error("digest parameters: {0}")]
    Syntax(crate::SyntaxError),
    /// A parameter that must be there is not.
    #[error("digest parameter {0} is missing")]
    Missing(&'static str),
    /// An algorithm not known here.
    #[error("digest algorithm {0} is not known")]
    Algorithm(String),
    /// A nonce count that is not eight hexadecimal digits, a qop without nonce count or cnonce, or the like.
    #[error("digest parameter {0} is bad")]
    Bad(&'static str),
}

#[cfg(test)]
mod tests;
