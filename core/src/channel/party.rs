//! Who a channel's party is: number, name and presentation.

/// Whether an identity may be shown to the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presentation {
    #[default]
    Allowed,
    Prohibited,
    Unavailable,
}

/// A party's identity: what caller id and connected line are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// Empty when unknown.
    pub number: String,
    /// Empty when unknown.
    pub name: String,
    pub presentation: Presentation,
    /// Free internal tag.
    pub tag: String,
    /// Somebody has checked that it is theirs.
    pub screened: bool,
}

/// Who sent a call on, and why; the number of `from` is `CALLERID(rdnis)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirecting {
    /// Who sent it on last.
    pub from: Party,
    /// Who sent it on first.
    pub orig: Party,
    /// Whom it was sent to.
    pub to: Party,
    /// In the words of the dialplan; empty when unknown.
    pub reason: String,
    pub orig_reason: String,
    /// How often it was sent on.
    pub count: u32,
}

impl Redirecting {
    /// The device of this number has sent the call elsewhere.
    pub(crate) fn sent_on_by(&mut self, number: &str) {
        self.from = Party {
            number: number.to_owned(),
            ..Party::default()
        };
        if self.orig.number.is_empty() {
            self.orig = self.from.clone();
            "cfu".clone_into(&mut self.orig_reason);
        }
        "cfu".clone_into(&mut self.reason);
        self.count += 1;
    }
}

impl Party {
    /// Reads `"Name" <number>`, `Name <number>`, `<number>` or a lone number or name.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let (name, number) = match (text.find('<'), text.rfind('>')) {
            (Some(open), Some(close)) if open < close => {
                (text[..open].trim(), text[open + 1..close].trim())
            }
            _ if !text.is_empty()
                && text.chars().all(|c| {
                    c.is_ascii_digit() || matches!(c, '+' | '*' | '#' | '-' | ' ' | '(' | ')')
                }) =>
            {
                ("", text)
            }
            _ => (text, ""),
        };
        Self {
            number: number.to_owned(),
            name: name.trim_matches('"').replace("\\\"", "\""),
            ..Self::default()
        }
    }

    /// What others may see of a caller.
    pub(crate) fn as_caller(&self) -> crate::device::RingingCall {
        if self.presentation == Presentation::Allowed {
            crate::device::RingingCall {
                number: self.number.clone(),
                name: self.name.clone(),
            }
        } else {
            crate::device::RingingCall::default()
        }
    }

    /// `"Name" <number>`, the form of `CALLERID(all)` and of the CDR's `clid`.
    pub fn all(&self) -> String {
        format!("\"{}\" <{}>", self.name, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_in_every_written_form() {
        for (text, name, number) in [
            ("User <100>", "User", "100"),
            ("\"Сергей\" <79123456789>", "Сергей", "79123456789"),
            ("<100>", "", "100"),
            ("100", "", "100"),
            ("+7 912", "", "+7 912"),
            ("Alice", "Alice", ""),
            ("", "", ""),
            ("a > b < c", "a > b < c", ""),
        ] {
            let party = Party::parse(text);
            assert_eq!(
                (party.name.as_str(), party.number.as_str()),
                (name, number),
                "{text}"
            );
        }
    }
}
