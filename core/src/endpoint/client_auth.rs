//! Answering challenges to our own requests with the endpoint's `outbound_auth` (RFC 3261 §22.2).

use strowger_sip::auth::{Algorithm, Answer, Challenge, Credentials, Secret, choose, respond};
use strowger_sip::headers::CSeq;
use strowger_sip::{Builder, HeaderName, Message};
use strowger_store::{Auth, Globals, Snapshot};

/// What proves this auth with this algorithm, password before hashes.
fn secret(auth: &Auth, algorithm: Algorithm) -> Option<Secret<'_>> {
    if let Some(password) = auth.password.as_deref() {
        return Some(Secret::Password(password));
    }
    let digest = auth.password_digest.iter().find_map(|entry| {
        let (name, hash) = entry.split_once(':')?;
        let made_with = Algorithm::parse(name)?;
        (made_with.base() == algorithm.base()).then_some(Secret::Ha1(made_with, hash.trim()))
    });
    digest.or_else(|| {
        let hash = auth
            .md5_cred
            .as_deref()
            .filter(|_| algorithm.base() == Algorithm::Md5)?;
        Some(Secret::Ha1(Algorithm::Md5, hash))
    })
}

/// What answers one of these challenges of one realm.
fn credentials_for(
    globals: &Globals,
    auths: &[&Auth],
    of_realm: &[Challenge],
    request: &Message,
    nc: u32,
    cnonce: &str,
) -> Option<Credentials> {
    let realm = of_realm.first()?.realm.as_str();
    // An auth of exactly this realm before one for whatever a server asks.
    let exact = auths
        .iter()
        .filter(|auth| auth.realm.as_deref() == Some(realm));
    let any = auths.iter().filter(|auth| {
        auth.realm
            .as_deref()
            .is_none_or(|realm| matches!(realm.trim(), "" | "*"))
    });
    exact.chain(any).find_map(|auth| {
        let usual: Vec<String>;
        let names = if auth.supported_algorithms_uac.is_empty() {
            usual = globals
                .default_auth_algorithms_uac
                .split(',')
                .map(str::to_owned)
                .collect();
            &usual
        } else {
            &auth.supported_algorithms_uac
        };
        let allowed: Vec<Algorithm> = names
            .iter()
            .filter_map(|name| Algorithm::parse(name))
            .filter(|a| secret(auth, *a).is_some())
            .collect();
        let challenge = choose(of_realm, &allowed)?;
        let answer = Answer {
            method: request.method_str(),
            uri: request.request_uri()?,
            username: auth.username.as_deref().unwrap_or(&auth.id),
            secret: secret(auth, challenge.algorithm)?,
            nc,
            cnonce,
        };
        respond(challenge, &answer)
    })
}

fn find<'a>(snapshot: &'a Snapshot, ids: &[String]) -> Vec<&'a Auth> {
    ids.iter()
        .filter_map(|id| snapshot.auths.get(id.trim()))
        .map(|auth| &**auth)
        .collect()
}

/// The headers that ask, and those that answer them.
const PAIRS: [(HeaderName, HeaderName); 2] = [
    (HeaderName::WwwAuthenticate, HeaderName::Authorization),
    (
        HeaderName::ProxyAuthenticate,
        HeaderName::ProxyAuthorization,
    ),
];

fn challenges(response: &Message, asks: &HeaderName) -> Vec<Challenge> {
    response
        .headers(asks)
        .filter_map(|line| Challenge::parse(line).ok())
        .collect()
}

/// The same request once more with credentials for every realm that challenged and that one of the auths answers: CSeq
/// one higher, `via` as its only Via. `None` when no challenge can be answered, or the server has refused these
/// credentials already (a realm we answered challenges again without `stale`).
#[must_use]
pub fn answer_challenge(
    snapshot: &Snapshot,
    auth_ids: &[String],
    request: &Message,
    response: &Message,
    via: &str,
) -> Option<Message> {
    answer_with(
        snapshot,
        auth_ids,
        request,
        response,
        via,
        &format!("{:016x}", crate::random_u64()),
    )
}

fn answer_with(
    snapshot: &Snapshot,
    auth_ids: &[String],
    request: &Message,
    response: &Message,
    via: &str,
    cnonce: &str,
) -> Option<Message> {
    let auths = find(snapshot, auth_ids);
    let mut builder = Builder::from_message(request);
    let mut answered = 0;
    for (asks, answers) in PAIRS {
        let challenges = challenges(response, &asks);
        let before: Vec<Credentials> = request
            .headers(&answers)
            .filter_map(|line| Credentials::parse(line).ok())
            .collect();
        let realms = realms(&challenges);
        if realms.is_empty() {
            continue;
        }
        builder = builder.remove(answers.clone());
        // Credentials for other realms stay: every proxy on the way wants its own.
        for kept in before.iter().filter(|c| !realms.contains(&c.realm)) {
            builder.push(answers.clone(), kept.to_string());
        }
        for realm in &realms {
            let of_realm: Vec<Challenge> = challenges
                .iter()
                .filter(|c| c.realm == *realm)
                .cloned()
                .collect();
            if before.iter().any(|c| c.realm == *realm) && !of_realm.iter().any(|c| c.stale) {
                return None;
            }
            let credentials =
                credentials_for(&snapshot.globals, &auths, &of_realm, request, 1, cnonce);
            if let Some(credentials) = credentials {
                builder.push(answers.clone(), credentials.to_string());
                answered += 1;
            }
        }
    }
    if answered == 0 {
        return None;
    }
    let cseq = request.cseq().ok()?;
    let cseq = CSeq {
        number: cseq.number.checked_add(1)?,
        method: cseq.method,
    };
    Some(
        builder
            .set(HeaderName::CSeq, cseq.to_string())
            .set(HeaderName::Via, via)
            .finish(),
    )
}

/// The realms that ask, each once.
fn realms(challenges: &[Challenge]) -> Vec<String> {
    let mut realms: Vec<String> = Vec::new();
    for challenge in challenges {
        if !realms.contains(&challenge.realm) {
            realms.push(challenge.realm.clone());
        }
    }
    realms
}

/// Challenges that a server took our answers to: the next request to it carries credentials at once, with a nonce count
/// one higher (RFC 7616 §3.4).
#[derive(Debug, Default)]
pub(crate) struct Known(Vec<KnownRealm>);

#[derive(Debug)]
struct KnownRealm {
    answers: HeaderName,
    challenges: Vec<Challenge>,
    count: u32,
}

impl Known {
    /// Remembers what this response asks, which is being answered with a count of one.
    pub(crate) fn learn(&mut self, response: &Message) {
        for (asks, answers) in PAIRS {
            let asked = challenges(response, &asks);
            for realm in realms(&asked) {
                self.0
                    .retain(|known| known.answers != answers || known.challenges[0].realm != realm);
                self.0.push(KnownRealm {
                    answers: answers.clone(),
                    challenges: asked.iter().filter(|c| c.realm == realm).cloned().collect(),
                    count: 1,
                });
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The request with credentials, where something is known; and whether it has any.
    pub(crate) fn authorize(
        &mut self,
        snapshot: &Snapshot,
        auth_ids: &[String],
        request: Message,
    ) -> (Message, bool) {
        let auths = find(snapshot, auth_ids);
        let cnonce = format!("{:016x}", crate::random_u64());
        let mut found = Vec::new();
        for known in &mut self.0 {
            known.count = known.count.saturating_add(1);
            let credentials = credentials_for(
                &snapshot.globals,
                &auths,
                &known.challenges,
                &request,
                known.count,
                &cnonce,
            );
            found.extend(credentials.map(|c| (known.answers.clone(), c.to_string())));
        }
        if found.is_empty() {
            return (request, false);
        }
        let mut builder = Builder::from_message(&request);
        for (name, value) in found {
            builder.push(name, value);
        }
        (builder.finish(), true)
    }
}

/// The request as it was before it had credentials.
pub(crate) fn without_credentials(request: &Message) -> Message {
    Builder::from_message(request)
        .remove(HeaderName::Authorization)
        .remove(HeaderName::ProxyAuthorization)
        .finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strowger_sip::auth::verify;

    use super::super::test_support::{request, snapshot};
    use super::*;

    const VIA: &str = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKnew";

    fn challenged(request: &Message, status: u16, challenges: &[(HeaderName, &str)]) -> Message {
        challenges
            .iter()
            .fold(
                Builder::response_to(request, status, ""),
                |b, (name, value)| b.header(name.clone(), value),
            )
            .finish()
    }

    #[test]
    fn every_realm_that_asks_is_answered_once() {
        let mut s = snapshot(&["trunk", "proxy"]);
        let table = Arc::make_mut(&mut s.auths);
        Arc::make_mut(table.get_mut("proxy").unwrap()).realm = Some("p".into());
        Arc::make_mut(table.get_mut("trunk").unwrap()).supported_algorithms_uac =
            vec!["MD5".into(), "SHA-256".into()];
        let ids = ["missing".to_owned(), "proxy".to_owned(), "trunk".to_owned()];
        let invite = request("INVITE", "u", "c", 7, "");
        let asks = challenged(
            &invite,
            407,
            &[
                (
                    HeaderName::ProxyAuthenticate,
                    "Digest realm=\"p\", nonce=\"1\", qop=\"auth\"",
                ),
                (
                    HeaderName::WwwAuthenticate,
                    "Digest realm=\"w\", nonce=\"2\", algorithm=SHA-256, qop=\"auth\"",
                ),
                (
                    HeaderName::WwwAuthenticate,
                    "Digest realm=\"w\", nonce=\"3\"",
                ),
            ],
        );
        let again = answer_with(&s, &ids, &invite, &asks, VIA, "cn").unwrap();
        assert_eq!(again.cseq().unwrap().number, 8);
        assert_eq!(again.headers(&HeaderName::Via).collect::<Vec<_>>(), [VIA]);
        let read = |name| Credentials::parse(again.header(&name).unwrap()).unwrap();
        let proxy = read(HeaderName::ProxyAuthorization);
        assert!(verify(&proxy, "INVITE", b"", &Secret::Password("pw-proxy")));
        let server = read(HeaderName::Authorization);
        assert_eq!(server.algorithm, Algorithm::Sha256);
        assert!(verify(
            &server,
            "INVITE",
            b"",
            &Secret::Password("pw-trunk")
        ));
        // The same question again means no; a stale nonce does not.
        assert!(answer_with(&s, &ids, &again, &asks, VIA, "cn").is_none());
        let stale = challenged(
            &again,
            401,
            &[(
                HeaderName::WwwAuthenticate,
                "Digest realm=\"w\", nonce=\"4\", stale=true",
            )],
        );
        let third = answer_with(&s, &ids, &again, &stale, VIA, "cn").unwrap();
        assert_eq!(third.headers(&HeaderName::Authorization).count(), 1);
        assert_eq!(third.headers(&HeaderName::ProxyAuthorization).count(), 1);
    }

    #[test]
    fn an_auth_of_the_realm_comes_before_one_for_any() {
        for any in [None, Some(String::new()), Some("*".to_owned())] {
            let mut s = snapshot(&["trunk", "proxy"]);
            let table = Arc::make_mut(&mut s.auths);
            Arc::make_mut(table.get_mut("trunk").unwrap()).realm = any;
            Arc::make_mut(table.get_mut("proxy").unwrap()).realm = Some("p".into());
            let ids = ["trunk".to_owned(), "proxy".to_owned()];
            let invite = request("INVITE", "u", "c", 7, "");
            for (realm, password) in [("p", "pw-proxy"), ("w", "pw-trunk")] {
                let ask = format!("Digest realm=\"{realm}\", nonce=\"1\"");
                let asks = challenged(&invite, 401, &[(HeaderName::WwwAuthenticate, &ask)]);
                let again = answer_with(&s, &ids, &invite, &asks, VIA, "cn").unwrap();
                let line = again.header(&HeaderName::Authorization).unwrap();
                let credentials = Credentials::parse(line).unwrap();
                assert!(
                    verify(&credentials, "INVITE", b"", &Secret::Password(password)),
                    "{realm}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        let s = snapshot(&["trunk"]);
        let ids = ["trunk".to_owned()];
        let invite = request("INVITE", "u", "c", 7, "");
        for ask in [
            "Basic realm=\"w\"",
            "Digest realm=\"w\", nonce=\"1\", algorithm=SHA-256",
            "Digest realm=\"w\", nonce=\"1\", qop=\"auth-int\"",
        ] {
            let asks = challenged(&invite, 401, &[(HeaderName::WwwAuthenticate, ask)]);
            assert!(
                answer_with(&s, &ids, &invite, &asks, VIA, "cn").is_none(),
                "{ask}"
            );
        }
        assert!(
            answer_with(&s, &ids, &invite, &challenged(&invite, 401, &[]), VIA, "cn").is_none()
        );
    }
}
