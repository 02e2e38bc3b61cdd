//! Dial strings: `PJSIP/endpoint`, `PJSIP/endpoint/sip:uri`, `PJSIP/user@endpoint`, `SIP/...` as another name for the
//! same, and `Local/exten@context[/n]`.

use std::sync::Arc;

use strowger_store::{Endpoint, Snapshot};

/// The context of a Local channel that names none.
const DEFAULT_CONTEXT: &str = "default";

/// Where to send a call.
#[derive(Clone, Debug)]
pub struct Destination {
    /// As written.
    pub text: String,
    /// What follows the technology: `DIALEDPEERNUMBER`.
    pub resource: String,
    pub to: To,
}

/// What a dial string names.
#[derive(Clone, Debug)]
pub enum To {
    /// A device.
    Device {
        endpoint: Arc<Endpoint>,
        /// Replaces the user part of the contact.
        user: Option<String>,
        /// Used instead of the registered contacts.
        uri: Option<String>,
    },
    /// A number in the dialplan.
    Local {
        exten: String,
        context: String,
        /// `/n`: the pair stays between those it connects.
        stays: bool,
    },
}

/// Why a dial string leads nowhere.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DestinationError {
    #[error("\"{0}\" is no dial string: technology/resource is needed, for example PJSIP/100")]
    Syntax(String),
    #[error("technology \"{0}\" is not known; known are PJSIP, SIP and Local")]
    Technology(String),
    #[error("endpoint \"{endpoint}\" of \"{text}\" is not in ps_endpoints")]
    Endpoint { endpoint: String, text: String },
}

impl Destination {
    /// Reads a dial string and finds its endpoint.
    pub fn parse(text: &str, snapshot: &Snapshot) -> Result<Self, DestinationError> {
        let text = text.trim();
        let (technology, resource) = text
            .split_once('/')
            .filter(|(_, resource)| !resource.is_empty())
            .ok_or_else(|| DestinationError::Syntax(text.to_owned()))?;
        let to = if technology.eq_ignore_ascii_case("Local") {
            local(resource).ok_or_else(|| DestinationError::Syntax(text.to_owned()))?
        } else if technology.eq_ignore_ascii_case("PJSIP") || technology.eq_ignore_ascii_case("SIP")
        {
            device(text, resource, snapshot)?
        } else {
            return Err(DestinationError::Technology(technology.to_owned()));
        };
        Ok(Self {
            text: text.to_owned(),
            resource: resource.to_owned(),
            to,
        })
    }
}

/// `exten[@context][/options]`.
fn local(resource: &str) -> Option<To> {
    let (place, options) = resource.split_once('/').unwrap_or((resource, ""));
    let (exten, context) = place.split_once('@').unwrap_or((place, DEFAULT_CONTEXT));
    (!exten.is_empty() && !context.is_empty()).then(|| To::Local {
        exten: exten.to_owned(),
        context: context.to_owned(),
        stays: options.contains('n'),
    })
}

fn device(text: &str, resource: &str, snapshot: &Snapshot) -> Result<To, DestinationError> {
    let (name, user, uri) = match resource.split_once('/') {
        Some((endpoint, uri)) => (endpoint, None, Some(uri.to_owned())),
        None => match resource.rsplit_once('@') {
            Some((user, endpoint)) => (endpoint, Some(user.to_owned()), None),
            None => (resource, None, None),
        },
    };
    let endpoint = snapshot
        .endpoints
        .get(name)
        .ok_or_else(|| DestinationError::Endpoint {
            endpoint: name.to_owned(),
            text: text.to_owned(),
        })?;
    Ok(To::Device {
        endpoint: Arc::clone(endpoint),
        user,
        uri,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::default();
        let table = Arc::make_mut(&mut snapshot.endpoints);
        for id in ["100", "user-110-office", "peer-71234567890-office"] {
            table.insert(
                id.to_owned(),
                Arc::new(Endpoint {
                    id: id.to_owned(),
                    ..Endpoint::default()
                }),
            );
        }
        snapshot
    }

    #[test]
    fn every_documented_form_finds_its_endpoint() {
        for (text, endpoint, user, uri) in [
            ("PJSIP/100", "100", None, None),
            ("SIP/user-110-office", "user-110-office", None, None),
            (
                "SIP/81234567890@peer-71234567890-office",
                "peer-71234567890-office",
                Some("81234567890"),
                None,
            ),
            (
                "PJSIP/100/sip:100@192.0.2.1:5070",
                "100",
                None,
                Some("sip:100@192.0.2.1:5070"),
            ),
        ] {
            let found = Destination::parse(text, &snapshot()).unwrap();
            assert_eq!(found.resource, text.split_once('/').unwrap().1);
            let To::Device {
                endpoint: to,
                user: as_user,
                uri: at,
            } = found.to
            else {
                panic!("{text}");
            };
            assert_eq!(to.id, endpoint);
            assert_eq!((as_user.as_deref(), at.as_deref()), (user, uri));
        }
    }

    #[test]
    fn a_local_channel_names_a_number_and_its_context() {
        for (text, wanted) in [
            ("Local/100@office", ("100", "office", false)),
            ("local/100@office/n", ("100", "office", true)),
            ("Local/s@a/nj", ("s", "a", true)),
            ("Local/100", ("100", "default", false)),
        ] {
            let found = Destination::parse(text, &snapshot()).unwrap();
            let To::Local {
                exten,
                context,
                stays,
            } = &found.to
            else {
                panic!("{text}");
            };
            assert_eq!((exten.as_str(), context.as_str(), *stays), wanted);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("100", "technology/resource"),
            ("DAHDI/1", "DAHDI"),
            ("PJSIP/999", "ps_endpoints"),
            ("PJSIP/", "no dial string"),
            ("Local/@office", "no dial string"),
        ] {
            let message = Destination::parse(text, &snapshot())
                .unwrap_err()
                .to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
