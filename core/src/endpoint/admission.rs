//! May this request come in, and as whom: identification, access list and digest in one step, with the answer for those
//! who may not.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use strowger_sip::{Builder, Flow, Message};
use strowger_store::{Endpoint, Snapshot};

use super::acl::source_allowed;
use super::authenticate::{Authenticator, Outcome, unauthorized};
use super::identify::{Identified, Identifier, Method, by_line};
use super::names::Names;
use super::registration::Lines;

/// Whether a request may come in.
#[derive(Clone, Debug)]
pub enum Admission {
    /// It may, as this endpoint.
    Admitted(Arc<Endpoint>),
    /// It has to prove itself first: the 401.
    Challenge(Message),
    /// The same of a request that belongs to no endpoint. Who sent it sees no difference.
    Stranger(Message),
    /// It may not: the response, and why.
    Refused(Message, Refused),
}

/// Why a request may not come in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its credentials are wrong.
    Credentials,
    /// It belongs to no endpoint, and came with credentials.
    Unknown,
    /// The endpoint does not take requests from that address.
    Acl,
}

/// Judges requests for all shards. Its locks are held for microseconds, while one nonce is looked up or one table of
/// rules is searched.
#[derive(Debug)]
pub struct Gatekeeper {
    lines: Arc<Lines>,
    names: Arc<Names>,
    identifier: Mutex<Identifier>,
    authenticator: Mutex<Authenticator>,
}

impl Gatekeeper {
    /// `secret` is random.
    #[must_use]
    pub fn new(secret: [u8; 32], now: Instant) -> Self {
        let names = Arc::<Names>::default();
        Self {
            lines: Arc::default(),
            identifier: Mutex::new(Identifier::new(Arc::clone(&names))),
            names,
            authenticator: Mutex::new(Authenticator::new(secret, now)),
        }
    }

    /// Whose calls come in under the lines of our registrations.
    #[must_use]
    pub fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// Host names of `ps_endpoint_id_ips`, and their addresses.
    #[must_use]
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Nonces in use, and forgotten early because too many were.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 2] {
        self.authenticator.lock().counters()
    }

    /// Judges a request within something that this endpoint has begun: the same endpoint has to prove itself again.
    /// `from_before` says that it comes from where the first request came from; where no proof is asked for, others have
    /// to be found to be the endpoint.
    #[expect(clippy::too_many_arguments, reason = "what a request is judged by")]
    pub fn admit_again(
        &self,
        snapshot: &Snapshot,
        endpoint: &Endpoint,
        from_before: bool,
        request: &Message,
        flow: &Flow,
        now: Instant,
        to_tag: &str,
    ) -> Admission {
        let refused = |why| {
            let response = Builder::response_to(request, 403, "").to_tag(to_tag);
            Admission::Refused(response.finish(), why)
        };
        let Some(endpoint) = snapshot.endpoints.get(&endpoint.id) else {
            log(request, flow, "No matching endpoint found");
            return refused(Refused::Unknown);
        };
        if !source_allowed(snapshot, endpoint, flow.remote.ip()).unwrap_or(false) {
            log(request, flow, "Not match Endpoint ACL");
            return refused(Refused::Acl);
        }
        if endpoint.auth.is_empty() && !from_before {
            let mut identifier = self.identifier.lock();
            let found = identifier.identify(snapshot, request, flow.remote);
            if found.is_none_or(|found| found.endpoint.id != endpoint.id) {
                log(request, flow, "No matching endpoint found");
                return refused(Refused::Unknown);
            }
        }
        let mut authenticator = self.authenticator.lock();
        match authenticator.authenticate(snapshot, Some(endpoint), request, flow.remote.ip(), now) {
            Outcome::Accepted { .. } => Admission::Admitted(Arc::clone(endpoint)),
            Outcome::Challenged { challenges, failed } => {
                let response = unauthorized(request, &challenges, to_tag).finish();
                if failed {
                    log(request, flow, "Failed to authenticate");
                    Admission::Refused(response, Refused::Credentials)
                } else {
                    Admission::Challenge(response)
                }
            }
        }
    }

    /// Whether more than a name says that a request which was admitted is of this endpoint: a password, or where it comes from.
    pub fn has_proved(
        &self,
        snapshot: &Snapshot,
        endpoint: &Endpoint,
        request: &Message,
        flow: &Flow,
    ) -> bool {
        if !endpoint.auth.is_empty() {
            return true;
        }
        let found = by_line(&self.lines, snapshot, request).or_else(|| {
            let mut identifier = self.identifier.lock();
            identifier.identify(snapshot, request, flow.remote)
        });
        found.is_some_and(|found| {
            found.endpoint.id == endpoint.id
                && matches!(found.by, Method::Line | Method::Ip | Method::Header)
        })
    }

    /// Judges a new request outside of any dialog, other than ACK and CANCEL.
    pub fn admit(
        &self,
        snapshot: &Snapshot,
        request: &Message,
        flow: &Flow,
        now: Instant,
        to_tag: &str,
    ) -> Admission {
        let found = by_line(&self.lines, snapshot, request).or_else(|| {
            self.identifier
                .lock()
                .identify(snapshot, request, flow.remote)
        });
        let denied = found.as_ref().is_some_and(|found| match source_allowed(snapshot, &found.endpoint, flow.remote.ip()) {
            Ok(allowed) => !allowed,
            Err(error) => {
                tracing::warn!(endpoint = %found.endpoint.id, %error, "the access list cannot be used: refused");
                true
            }
        });
        if denied
            && let Some(Identified {
                by: Method::Line | Method::Ip | Method::Header | Method::RequestUri,
                ..
            }) = &found
        {
            log(request, flow, "Not match Endpoint ACL");
            let response = Builder::response_to(request, 403, "")
                .to_tag(to_tag)
                .finish();
            return Admission::Refused(response, Refused::Acl);
        }
        // Found by name but denied: to that address the name does not exist.
        let endpoint = found
            .as_ref()
            .filter(|_| !denied)
            .map(|found| &found.endpoint);
        let outcome = self.authenticator.lock().authenticate(
            snapshot,
            endpoint.map(|endpoint| &**endpoint),
            request,
            flow.remote.ip(),
            now,
        );
        match (outcome, endpoint) {
            (Outcome::Accepted { .. }, Some(endpoint)) => Admission::Admitted(Arc::clone(endpoint)),
            (Outcome::Accepted { .. }, None) => {
                let response = Builder::response_to(request, 403, "")
                    .to_tag(to_tag)
                    .finish();
                Admission::Refused(response, Refused::Unknown)
            }
            (Outcome::Challenged { challenges, failed }, endpoint) => {
                let response = unauthorized(request, &challenges, to_tag).finish();
                if denied {
                    log(request, flow, "Not match Endpoint ACL");
                    Admission::Refused(response, Refused::Acl)
                } else if !failed && endpoint.is_none() {
                    Admission::Stranger(response)
                } else if !failed {
                    Admission::Challenge(response)
                } else if endpoint.is_some() {
                    log(request, flow, "Failed to authenticate");
                    Admission::Refused(response, Refused::Credentials)
                } else {
                    log(request, flow, "No matching endpoint found");
                    Admission::Refused(response, Refused::Unknown)
                }
            }
        }
    }
}

/// The line that log watchers of Asterisk look for.
fn log(request: &Message, flow: &Flow, why: &str) {
    let from = request
        .header(&strowger_sip::HeaderName::From)
        .unwrap_or("");
    tracing::warn!(
        "Request '{}' from '{}' failed for '{}' (callid: {}) - {why}",
        request.method_str().escape_debug(),
        from.escape_debug(),
        flow.remote,
        request.call_id().unwrap_or("").escape_debug(),
    );
}

/// Judges a request at the present time; see [`Gatekeeper::admit`].
pub fn admit(
    gatekeeper: &Gatekeeper,
    snapshot: &Snapshot,
    request: &Message,
    flow: &Flow,
    to_tag: &str,
) -> Admission {
    gatekeeper.admit(snapshot, request, flow, crate::clock::now(), to_tag)
}

#[cfg(test)]
mod tests {
    use strowger_sip::HeaderName;
    use strowger_sip::auth::{Answer, Challenge, Secret, respond};

    use super::super::test_support::{flow, register, snapshot};
    use super::*;

    fn authorization(response: &Message, user: &str, password: &str) -> String {
        let challenge =
            Challenge::parse(response.header(&HeaderName::WwwAuthenticate).unwrap()).unwrap();
        let answer = Answer {
            method: "REGISTER",
            uri: "sip:pbx.example",
            username: user,
            secret: Secret::Password(password),
            nc: 1,
            cnonce: "c",
        };
        format!(
            "Authorization: {}\r\n",
            respond(&challenge, &answer).unwrap()
        )
    }

    fn attempt(snapshot: &Snapshot, user: &str, password: &str) -> Admission {
        let gate = Gatekeeper::new([1; 32], Instant::now());
        let now = Instant::now();
        let first = gate.admit(snapshot, &register(user, "c", 1, ""), &flow(), now, "t");
        assert_eq!(
            matches!(first, Admission::Challenge(_)),
            snapshot.endpoints.contains_key(user)
        );
        let (Admission::Challenge(response) | Admission::Stranger(response)) = first else {
            panic!("no challenge")
        };

        assert_eq!(response.status(), Some(401));
        let more = authorization(&response, user, password);
        gate.admit(snapshot, &register(user, "c", 2, &more), &flow(), now, "t")
    }

    #[test]
    fn the_right_password_comes_in_and_everyone_else_hears_the_same() {
        let s = snapshot(&["100"]);
        assert!(matches!(attempt(&s, "100", "pw-100"), Admission::Admitted(e) if e.id == "100"));
        let Admission::Refused(wrong, Refused::Credentials) = attempt(&s, "100", "no") else {
            panic!()
        };
        let Admission::Refused(nobody, Refused::Unknown) = attempt(&s, "300", "no") else {
            panic!()
        };
        let shape = |m: &Message| {
            let c = Challenge::parse(m.header(&HeaderName::WwwAuthenticate).unwrap()).unwrap();
            (
                m.status(),
                c.realm,
                c.stale,
                c.nonce.len(),
                m.all_headers().count(),
            )
        };
        assert_eq!(shape(&wrong), shape(&nobody));
    }

    #[test]
    fn a_denied_address_does_not_learn_that_the_name_exists() {
        let mut s = snapshot(&["100"]);
        let table = Arc::make_mut(&mut s.endpoints);
        Arc::make_mut(table.get_mut("100").unwrap()).deny = vec!["0.0.0.0/0".into()];
        let gate = Gatekeeper::new([1; 32], Instant::now());
        let outcome = gate.admit(
            &s,
            &register("100", "c", 1, ""),
            &flow(),
            Instant::now(),
            "t",
        );
        let Admission::Refused(response, Refused::Acl) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(response.status(), Some(401));
        let more = authorization(&response, "100", "pw-100");
        let outcome = gate.admit(
            &s,
            &register("100", "c", 2, &more),
            &flow(),
            Instant::now(),
            "t",
        );
        assert!(matches!(outcome, Admission::Refused(_, Refused::Acl)));
    }
}
