//! Reason: why a request or a call ended (RFC 3326).

use std::fmt;

use crate::syntax::{
    ListItems, Params, SyntaxError, header_param_byte, is_token, offset_of, trim, write_quoted,
};

/// One value of a Reason header: `Q.850;cause=16;text="Normal call clearing"`.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Reason {
    /// `SIP`, `Q.850`, or another protocol, as written.
    pub protocol: String,
    /// The cause: a SIP status or a Q.850 cause.
    pub cause: Option<u16>,
    /// Text for a person.
    pub text: Option<String>,
}

impl Reason {
    /// A Q.850 cause, 1 to 127.
    #[must_use]
    pub fn q850(cause: u16, text: &str) -> Self {
        Self {
            protocol: "Q.850".to_owned(),
            cause: Some(cause),
            text: (!text.is_empty()).then(|| text.to_owned()),
        }
    }

    /// A SIP status.
    #[must_use]
    pub fn sip(status: u16, text: &str) -> Self {
        Self {
            protocol: "SIP".to_owned(),
            ..Self::q850(status, text)
        }
    }

    /// True for Q.850.
    #[must_use]
    pub fn is_q850(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("Q.850")
    }

    /// Reads one value.
    ///
    /// # Errors
    /// No protocol, or a bad parameter.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let value = trim(text);
        let base = offset_of(text, value);
        let end = value.find(';').unwrap_or(value.len());
        let (protocol, params) = value.split_at(end);
        let protocol = trim(protocol);
        if protocol.is_empty() || !protocol.bytes().all(is_token) {
            return Err(SyntaxError::new("Reason without a protocol", base));
        }
        let params =
            Params::parse(params, true, header_param_byte).map_err(|e| e.shifted(base + end))?;
        Ok(Self {
            protocol: protocol.to_owned(),
            cause: params.get("cause").and_then(|c| c.parse().ok()),
            text: params.get("text").map(crate::syntax::unescape),
        })
    }

    /// Reads a list and skips what cannot be read: a Reason never decides whether a message is good.
    #[must_use]
    pub fn parse_list(text: &str) -> Vec<Self> {
        ListItems::new(text)
            .filter_map(|item| Self::parse(item).ok())
            .collect()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        if let Some(text) = &self.text {
            f.write_str(";text=")?;
            write_quoted(f, text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_and_written() {
        let list = Reason::parse_list(
            "SIP ;cause=200 ;text=\"Call completed elsewhere\", Q.850;cause=16;text=\"a \\\"b\\\"\"",
        );
        assert_eq!(list[0].cause, Some(200));
        assert_eq!(list[1].to_string(), "Q.850;cause=16;text=\"a \\\"b\\\"\"");
        assert!(list[1].is_q850());
        assert_eq!(Reason::parse_list(";;;, ,Q.850").len(), 1);
    }
}
