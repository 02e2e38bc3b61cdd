//! From, To, Contact, Route and their like: a display name, a URI, parameters (RFC 3261 §20.10, §25.1).

use std::fmt;

use crate::syntax::{
    ListItems, Params, SyntaxError, delta_seconds, header_param_byte, offset_of, quoted_end, trim,
    unescape, write_quoted,
};
use crate::uri::Uri;

/// A display name, a URI and the parameters of the header (those of the URI are in the URI).
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct NameAddr {
    /// The display name, quotes and escapes resolved.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// The parameters after the URI.
    pub params: Params,
}

impl NameAddr {
    /// This URI, no display name, no parameters.
    #[must_use]
    pub const fn new(uri: Uri) -> Self {
        Self {
            display: None,
            uri,
            params: Params::new(),
        }
    }

    /// Reads one value. Without angle brackets every parameter belongs to the header, and the URI may hold no `?`
    /// (RFC 3261 §20).
    ///
    /// # Errors
    /// An open quote or bracket, a comma or colon in an unquoted display name, a bad URI or parameter.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let value = trim(text);
        let base = offset_of(text, value);
        let fail = |what, at: usize| SyntaxError::new(what, base + at);
        let bytes = value.as_bytes();
        let (display, open) = if bytes.first() == Some(&b'"') {
            let end = quoted_end(bytes, 0).ok_or(fail("quoted string without an end", 0))?;
            let name = value.get(1..end - 1).unwrap_or("");
            let gap = value.get(end..).unwrap_or("");
            let rest = gap.trim_start_matches([' ', '\t', '\r', '\n']);
            if !rest.starts_with('<') {
                return Err(fail("expected '<' after the display name", end));
            }
            (Some(unescape(name)), offset_of(value, rest))
        } else if let Some(open) = value.find('<') {
            let name = trim(value.get(..open).unwrap_or(""));
            // Tokens by the RFC; other bytes that cannot be mistaken for structure come from real telephones.
            if let Some(at) = name.bytes().position(|b| b",;:\"@>\0".contains(&b)) {
                return Err(fail("byte not allowed in an unquoted display name", at));
            }
            ((!name.is_empty()).then(|| name.to_owned()), open)
        } else {
            return Self::parse_addr_spec(value).map_err(|e| e.shifted(base));
        };
        let inside = value.get(open + 1..).unwrap_or("");
        let close = inside.find('>').ok_or(fail("'<' without '>'", open))?;
        let uri = Uri::parse(&inside[..close]).map_err(|e| e.shifted(base + open + 1))?;
        let params = Params::parse(&inside[close + 1..], true, header_param_byte)
            .map_err(|e| e.shifted(base + open + close + 2))?;
        Ok(Self {
            display,
            uri,
            params,
        })
    }

    fn parse_addr_spec(value: &str) -> Result<Self, SyntaxError> {
        // The user part may hold ';' or '?', so look for them after the '@'.
        let after = value.find('@').map_or(0, |at| at + 1);
        let tail = value.get(after..).unwrap_or("");
        let end = tail.find(';').map_or(value.len(), |i| i + after);
        let (uri, params) = value.split_at(end);
        let uri = uri.trim_end_matches([' ', '\t', '\r', '\n']);
        if let Some(at) = uri.get(after..).and_then(|t| t.find('?'))
            && uri
                .get(..4)
                .is_some_and(|s| s.eq_ignore_ascii_case("sip:") || s.eq_ignore_ascii_case("sips"))
        {
            return Err(SyntaxError::new(
                "URI with headers must stand in '<' and '>'",
                after + at,
            ));
        }
        Ok(Self {
            display: None,
            uri: Uri::parse(uri)?,
            params: Params::parse(params, true, header_param_byte).map_err(|e| e.shifted(end))?,
        })
    }

    /// Reads every value of a comma-separated list.
    ///
    /// # Errors
    /// The first bad value's.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, SyntaxError> {
        ListItems::new(text)
            .map(|item| Self::parse(item).map_err(|e| e.shifted(offset_of(text, item))))
            .collect()
    }

    /// The parameter's value (any case).
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// The tag (RFC 3261 §19.3).
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|t| !t.is_empty())
    }

    /// The same with this tag.
    #[must_use]
    pub fn with_tag(mut self, tag: &str) -> Self {
        self.params.set("tag", Some(tag));
        self
    }

    /// The preference of a contact in thousandths, 0 to 1000 (`q=0.7` is 700); 1000 where not or badly written.
    #[must_use]
    pub fn q_milli(&self) -> u16 {
        self.q()
            .map_or(1000, |q| (q * 1000.0).round().clamp(0.0, 1000.0) as u16)
    }

    /// The q value, 0.0 to 1.0, when written well.
    #[must_use]
    pub fn q(&self) -> Option<f32> {
        let text = self.params.get("q")?;
        if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        text.parse().ok().filter(|q| (0.0..=1.0).contains(q))
    }

    /// The `expires` parameter in seconds: too large is cut to the largest number, unreadable counts as 3600
    /// (RFC 3261 §20.10).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.params
            .get("expires")
            .map(|text| delta_seconds(text).unwrap_or(3600))
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.display.as_deref().filter(|n| !n.is_empty()) {
            // Quoted always: a name of tokens may also be quoted, and readers differ about everything else.
            write_quoted(f, name)?;
            f.write_str(" ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// The value of the Contact headers of a message.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Contacts {
    /// `*`: all of them, to be removed (RFC 3261 §10.2.2).
    Star,
    /// The listed ones; empty where there is no Contact.
    List(Vec<NameAddr>),
}

impl Contacts {
    /// The listed contacts; empty for `*`.
    #[must_use]
    pub fn list(&self) -> &[NameAddr] {
        match self {
            Self::Star => &[],
            Self::List(list) => list,
        }
    }

    /// The first listed contact.
    #[must_use]
    pub fn first(&self) -> Option<&NameAddr> {
        self.list().first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(text: &str) -> String {
        NameAddr::parse(text).unwrap().to_string()
    }

    #[test]
    fn display_names_are_read_and_written_with_quotes() {
        let n = NameAddr::parse(r#""J Rosenberg \\\"" <sip:jdrosen@example.com> ; tag = 98asjd8"#)
            .unwrap();
        assert_eq!(n.display.as_deref(), Some(r#"J Rosenberg \""#));
        assert_eq!(n.tag(), Some("98asjd8"));
        assert_eq!(
            n.to_string(),
            r#""J Rosenberg \\\"" <sip:jdrosen@example.com>;tag=98asjd8"#
        );
        assert_eq!(
            roundtrip("Quoted string \t<sips:a@b>"),
            "\"Quoted string\" <sips:a@b>"
        );
        assert_eq!(roundtrip("<sip:a@b>"), "<sip:a@b>");
        assert_eq!(
            NameAddr::parse("caller<sip:a@b>")
                .unwrap()
                .display
                .as_deref(),
            Some("caller")
        );
    }

    #[test]
    fn without_brackets_parameters_belong_to_the_header() {
        let n = NameAddr::parse("sip:alice@example.com;tag=1;lr").unwrap();
        assert!(n.uri.params.is_empty());
        assert_eq!(n.tag(), Some("1"));
        let n = NameAddr::parse("<sip:alice@example.com;user=phone>;tag=1").unwrap();
        assert_eq!(n.uri.param("user"), Some("phone"));
        let n = NameAddr::parse("sip:+1555;isub=2@example.com;tag=q").unwrap();
        assert_eq!(n.uri.user.as_deref(), Some("+1555;isub=2"));
        assert_eq!(n.tag(), Some("q"));
        let n = NameAddr::parse("tel:+7-495-123;tag=q").unwrap();
        assert_eq!(n.tag(), Some("q"));
    }

    #[test]
    fn lists_q_and_expires() {
        let l = NameAddr::parse_list(
            "\"A, B\" <sip:a,b@h>;q=0.7;expires=60, <sip:c@h>;q=2;expires=xyz , sip:d@h;expires=99999999999",
        )
        .unwrap();
        assert_eq!(l.len(), 3);
        assert_eq!((l[0].q_milli(), l[0].expires()), (700, Some(60)));
        assert_eq!((l[1].q_milli(), l[1].expires()), (1000, Some(3600)));
        assert_eq!(l[2].expires(), Some(u32::MAX));
    }

    #[test]
    fn bad_values_are_refused_with_the_offset() {
        for (text, offset) in [
            (r#""Mr. J. User <sip:j@h>"#, 0),
            ("Bell, Alexander <sip:a@h>", 4),
            ("sip:user@example.com?Route=%3Csip:h%3E", 20),
            ("\"Watson\" < sip:t@h >", 10),
            ("<sip:a@h", 0),
            ("<sip:a@h>;;tag=1", 10),
            ("", 0),
        ] {
            let error = NameAddr::parse(text).unwrap_err();
            assert_eq!(error.offset, offset, "{text}: {error}");
        }
    }
}
