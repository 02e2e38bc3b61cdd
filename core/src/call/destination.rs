//! Dial strings: `PJSIP/endpoint`, `PJSIP/endpoint/sip:uri`, `PJSIP/user@endpoint`, and `SIP/...` as another name for
//! the same.

use std::sync::Arc;

use strowger_store::{Endpoint, Snapshot};

/// Where to send a call.
#[derive(Clone, Debug)]
pub struct Destination {
    /// As written.
    pub text: String,
    /// What follows the technology: `DIALEDPEERNUMBER`.
    pub resource: String,
    pub endpoint: Arc<Endpoint>,
    /// Replaces the user part of the contact.
    pub user: Option<String>,
    /// Used instead of the registered contacts.
    pub uri: Option<String>,
}

/// Why a dial string leads nowhere.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DestinationError {
    #[error("\"{0}\" is no dial string: technology/resource is needed, for example PJSIP/100")]
    Syntax(String),
    #[error("technology \"{0}\" is not known; known are PJSIP and SIP")]
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
        if !technology.eq_ignore_ascii_case("PJSIP") && !technology.eq_ignore_ascii_case("SIP") {
            return Err(DestinationError::Technology(technology.to_owned()));
        }
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
        Ok(Self {
            text: text.to_owned(),
            resource: resource.to_owned(),
            endpoint: Arc::clone(endpoint),
            user,
            uri,
        })
    }
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
            assert_eq!(found.endpoint.id, endpoint);
            assert_eq!((found.user.as_deref(), found.uri.as_deref()), (user, uri));
            assert_eq!(found.resource, text.split_once('/').unwrap().1);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("100", "technology/resource"),
            ("DAHDI/1", "DAHDI"),
            ("PJSIP/999", "ps_endpoints"),
            ("PJSIP/", "no dial string"),
        ] {
            let message = Destination::parse(text, &snapshot())
                .unwrap_err()
                .to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
