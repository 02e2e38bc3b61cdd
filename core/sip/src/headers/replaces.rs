//! Replaces: the dialog that an INVITE takes the place of (RFC 3891).

use std::fmt;

use crate::syntax::{Params, SyntaxError, header_param_byte, trim};

/// The value of a Replaces header: `call-id;to-tag=a;from-tag=b;early-only`.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Replaces {
    pub call_id: String,
    /// The tag of whoever gets the INVITE.
    pub to_tag: String,
    /// The tag of the other side.
    pub from_tag: String,
    /// Only a dialog that is not confirmed may be replaced.
    pub early_only: bool,
}

impl Replaces {
    /// Reads the value.
    ///
    /// # Errors
    /// No Call-ID, or not both tags, each once.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let value = trim(text);
        let end = value.find(';').unwrap_or(value.len());
        let (call_id, params) = value.split_at(end);
        let call_id = trim(call_id);
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if call_id.is_empty() || !call_id.bytes().all(plain) {
            return Err(SyntaxError::new("Replaces without a Call-ID", 0));
        }
        let params = Params::parse(params, true, header_param_byte)?;
        let tag = |name: &str| {
            let mut tags = params
                .iter()
                .filter(|(known, _)| known.eq_ignore_ascii_case(name));
            match (tags.next(), tags.next()) {
                (Some((_, Some(tag))), None) if !tag.is_empty() => Ok(tag.to_owned()),
                _ => Err(SyntaxError::new(
                    "Replaces needs one to-tag and one from-tag",
                    0,
                )),
            }
        };
        Ok(Self {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call_id,
            to_tag,
            from_tag,
            early_only,
        } = self;
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}")?;
        if *early_only {
            f.write_str(";early-only")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dialog_is_named_by_its_call_id_and_both_tags() {
        let text = "98732@pbx.example;from-tag=r33th4x0r;to-tag=ff87ff";
        let replaces = Replaces::parse(text).unwrap();
        assert_eq!(
            replaces.to_string(),
            "98732@pbx.example;to-tag=ff87ff;from-tag=r33th4x0r"
        );
        assert!(!replaces.early_only);
        assert!(
            Replaces::parse("a;to-tag=1;from-tag=2;early-only")
                .unwrap()
                .early_only
        );
        for text in [
            "",
            ";to-tag=1;from-tag=2",
            "a;to-tag=1",
            "a;from-tag=1",
            "a;to-tag=1;to-tag=2;from-tag=3",
            "a;to-tag=;from-tag=3",
            "a b;to-tag=1;from-tag=2",
            "a,b;to-tag=1;from-tag=2",
        ] {
            assert!(Replaces::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}(;|to-tag=|from-tag=|a|1){0,12}") {
            if let Ok(replaces) = Replaces::parse(&text) {
                prop_assert_eq!(Replaces::parse(&replaces.to_string()).unwrap(), replaces);
            }
        }
    }
}
