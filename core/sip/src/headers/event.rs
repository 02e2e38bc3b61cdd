//! Event and Subscription-State: what a subscription is about, and how it stands (RFC 6665 §8.2).

use std::fmt;

use crate::syntax::{Params, SyntaxError, delta_seconds, header_param_byte, is_token, trim};

/// Splits `word;name=value;...`.
fn worded(text: &str, what: &'static str) -> Result<(String, Params), SyntaxError> {
    let value = trim(text);
    let end = value.find(';').unwrap_or(value.len());
    let (word, params) = value.split_at(end);
    let word = trim(word);
    if word.is_empty() || !word.bytes().all(is_token) {
        return Err(SyntaxError::new(what, 0));
    }
    let params = Params::parse(params, true, header_param_byte)?;
    Ok((word.to_owned(), params))
}

/// The value of an Event header: `dialog;id=7`.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Event {
    /// The package, templates included, as written.
    pub package: String,
    /// What tells two subscriptions of one dialog apart.
    pub id: Option<String>,
}

impl Event {
    /// Reads the value.
    ///
    /// # Errors
    /// No package, or a bad parameter.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let (package, params) = worded(text, "Event without a package")?;
        let id = params.get("id").filter(|id| !id.is_empty());
        if id.is_some_and(|id| !id.bytes().all(is_token)) {
            return Err(SyntaxError::new("the id of an Event must be a token", 0));
        }
        Ok(Self {
            id: id.map(str::to_owned),
            package,
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        match &self.id {
            Some(id) => write!(f, ";id={id}"),
            None => Ok(()),
        }
    }
}

/// Why a subscription has ended (RFC 6665 §4.1.3).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum EndReason {
    /// Ended here; the subscriber should subscribe again at once.
    Deactivated,
    /// Ended here; the subscriber should try again later.
    Probation,
    /// Rights have changed.
    Rejected,
    /// It was not refreshed in time, or was given up.
    Timeout,
    /// Rights could not be found out in time.
    Giveup,
    /// What it was about is gone.
    NoResource,
}

impl EndReason {
    const ALL: [Self; 6] = [
        Self::Deactivated,
        Self::Probation,
        Self::Rejected,
        Self::Timeout,
        Self::Giveup,
        Self::NoResource,
    ];

    /// The word in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Giveup => "giveup",
            Self::NoResource => "noresource",
        }
    }
}

/// The value of a Subscription-State header.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum SubscriptionState {
    /// It lasts so many seconds more.
    Active { expires_s: Option<u32> },
    /// Rights are still being found out.
    Pending { expires_s: Option<u32> },
    /// It is over.
    Terminated {
        /// Why; a word that is not known counts as none.
        reason: Option<EndReason>,
        /// When to try again, in seconds.
        retry_after_s: Option<u32>,
    },
}

impl SubscriptionState {
    /// Reads the value.
    ///
    /// # Errors
    /// A state that is not known, or a bad parameter.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let (word, params) = worded(text, "Subscription-State without a state")?;
        let seconds = |name: &str| params.get(name).and_then(delta_seconds);
        let expires_s = seconds("expires");
        match word.to_ascii_lowercase().as_str() {
            "active" => Ok(Self::Active { expires_s }),
            "pending" => Ok(Self::Pending { expires_s }),
            "terminated" => Ok(Self::Terminated {
                reason: params.get("reason").and_then(|word| {
                    EndReason::ALL
                        .into_iter()
                        .find(|reason| reason.as_str().eq_ignore_ascii_case(word))
                }),
                retry_after_s: seconds("retry-after"),
            }),
            _ => Err(SyntaxError::new(
                "not one of active, pending and terminated",
                0,
            )),
        }
    }
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, expires_s) = match self {
            Self::Active { expires_s } => ("active", expires_s),
            Self::Pending { expires_s } => ("pending", expires_s),
            Self::Terminated {
                reason,
                retry_after_s,
            } => {
                f.write_str("terminated")?;
                if let Some(reason) = reason {
                    write!(f, ";reason={}", reason.as_str())?;
                }
                return match retry_after_s {
                    Some(seconds) => write!(f, ";retry-after={seconds}"),
                    None => Ok(()),
                };
            }
        };
        f.write_str(word)?;
        match expires_s {
            Some(seconds) => write!(f, ";expires={seconds}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_package_and_id() {
        for (text, package, id) in [
            ("dialog", "dialog", None),
            (" presence ; id = 7a ", "presence", Some("7a")),
            ("presence.winfo;x=y", "presence.winfo", None),
        ] {
            let event = Event::parse(text).unwrap();
            assert_eq!((event.package.as_str(), event.id.as_deref()), (package, id));
            assert_eq!(Event::parse(&event.to_string()).unwrap(), event);
        }
        for text in [
            "",
            ";id=1",
            "a b",
            "dialog;id=\"a b\"",
            "dialog;id=\"\r\n\"",
        ] {
            assert!(Event::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_state_is_read_as_it_is_written() {
        for text in [
            "active;expires=60",
            "pending",
            "terminated;reason=noresource",
            "terminated;reason=probation;retry-after=30",
            "terminated",
        ] {
            assert_eq!(SubscriptionState::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            SubscriptionState::parse("Terminated;reason=elsewhere").unwrap(),
            SubscriptionState::Terminated {
                reason: None,
                retry_after_s: None
            }
        );
        assert!(SubscriptionState::parse("done").is_err());
    }

    proptest::proptest! {
        /// Whatever a peer writes is read or refused, and what is read survives being written.
        #[test]
        fn any_header_is_read_or_refused(text in "\\PC{0,30}(;|id=|expires=|active|terminated|reason=|[0-9a-z]|\"){0,12}") {
            if let Ok(event) = Event::parse(&text) {
                proptest::prop_assert_eq!(Event::parse(&event.to_string()).unwrap(), event);
            }
            if let Ok(state) = SubscriptionState::parse(&text) {
                proptest::prop_assert_eq!(SubscriptionState::parse(&state.to_string()).unwrap(), state);
            }
        }
    }
}
