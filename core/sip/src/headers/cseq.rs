//! CSeq: the sequence number and method of a request (RFC 3261 §20.16).

use std::fmt;

use crate::message::Method;
use crate::syntax::{SyntaxError, is_space, offset_of, trim};

/// The value of a CSeq header.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct CSeq {
    /// The number; below 2^31 by the RFC, up to 2^32-1 accepted.
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    /// Reads `number method`.
    ///
    /// # Errors
    /// The number is missing, not decimal or too large, or the method is not a token.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let value = trim(text);
        let base = offset_of(text, value);
        let end = value
            .bytes()
            .position(is_space)
            .ok_or(SyntaxError::new("CSeq without a method", base))?;
        let (digits, method) = value.split_at(end);
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SyntaxError::new("CSeq number is not a number", base));
        }
        let number = digits
            .parse()
            .map_err(|_| SyntaxError::new("CSeq number too large", base))?;
        let method = Method::parse(trim(method))
            .ok_or(SyntaxError::new("CSeq method is not a token", base + end))?;
        Ok(Self { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cseq_takes_leading_zeros_tabs_and_unknown_methods() {
        let c = CSeq::parse(" 0009\t\tINVITE ").unwrap();
        assert_eq!((c.number, c.method), (9, Method::Invite));
        let c = CSeq::parse("139122385 NEWMETHOD").unwrap();
        assert_eq!(c.to_string(), "139122385 NEWMETHOD");
    }

    #[test]
    fn a_bad_cseq_says_what_is_wrong() {
        for (text, what) in [
            ("INVITE", "CSeq without a method"),
            ("x INVITE", "CSeq number is not a number"),
            ("36893488147419103232 REGISTER", "CSeq number too large"),
            ("1 IN(VITE", "CSeq method is not a token"),
        ] {
            assert_eq!(CSeq::parse(text).unwrap_err().what, what, "{text}");
        }
    }
}
