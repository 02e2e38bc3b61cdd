//! Whether an inbound request proves its endpoint: digest challenges and their verification (RFC 3261 §22, RFC 8760).
//!
//! A caller nobody knows meets the same challenge, the same work and the same refusal as a known one with a wrong
//! password, so that names cannot be found by trying.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_sip::auth::{
    Algorithm, Challenge, Credentials, NonceState, NonceStore, Secret, verify,
};
use strowger_sip::{Builder, HeaderName, Message, Method};
use strowger_store::{Auth, AuthType, Endpoint, Globals, Snapshot};

/// The longest life of a nonce, whatever `nonce_lifetime` says.
const NONCE_LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// Nonces in use at most, per authenticator; each takes about 32 bytes.
const NONCES_MAX: usize = 65_536;
/// Nonce life for callers nobody knows: the default of `nonce_lifetime`.
const NONCE_LIFETIME_DEFAULT: u32 = 32;

/// What a request is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Proved, or the endpoint asks for no proof.
    Accepted {
        /// The digest user, where one was asked for.
        username: Option<String>,
    },
    /// To be answered 401 with these: see [`unauthorized`].
    Challenged {
        /// One WWW-Authenticate each, in order of preference.
        challenges: Vec<Challenge>,
        /// Credentials came with the request and were wrong, or belong to nobody.
        failed: bool,
    },
}

/// Challenges and verifies. Nonces belong to the authenticator that made them; a client whose next request is judged by
/// another one is challenged once more.
#[derive(Debug)]
pub struct Authenticator {
    nonces: NonceStore,
}

struct Candidate<'a> {
    auth: Option<&'a Auth>,
    realm: &'a str,
    algorithms: Vec<Algorithm>,
    lifetime: Duration,
}

fn algorithms(names: &[String]) -> Vec<Algorithm> {
    let list: Vec<Algorithm> = names
        .iter()
        .filter_map(|name| Algorithm::parse(name))
        .collect();
    if list.is_empty() {
        vec![Algorithm::Md5]
    } else {
        list
    }
}

/// What auths use that name none, and callers nobody knows.
fn usual_algorithms(globals: &Globals) -> Vec<Algorithm> {
    let names: Vec<String> = globals
        .default_auth_algorithms_uas
        .split(',')
        .map(str::to_owned)
        .collect();
    algorithms(&names)
}

fn candidate<'a>(auth: &'a Auth, globals: &'a Globals) -> Candidate<'a> {
    let default_realm = globals.default_realm.as_str();
    let realm = auth
        .realm
        .as_deref()
        .filter(|r| !r.is_empty())
        .unwrap_or(default_realm);
    let mut algorithms = if auth.supported_algorithms_uas.is_empty() {
        usual_algorithms(globals)
    } else {
        algorithms(&auth.supported_algorithms_uas)
    };
    // A stored hash serves its own algorithm only.
    if auth.password.is_none() || auth.auth_type == AuthType::Md5 {
        algorithms.retain(|a| secret(auth, *a).is_some());
        if algorithms.is_empty() {
            algorithms.push(Algorithm::Md5);
        }
    }
    Candidate {
        auth: Some(auth),
        realm,
        algorithms,
        lifetime: Duration::from_secs(u64::from(auth.nonce_lifetime.max(1))),
    }
}

/// What proves this auth with this algorithm.
fn secret(auth: &Auth, algorithm: Algorithm) -> Option<Secret<'_>> {
    let digest = || {
        auth.password_digest.iter().find_map(|entry| {
            let (name, hash) = entry.split_once(':')?;
            let made_with = Algorithm::parse(name)?;
            (made_with.base() == algorithm.base()).then_some(Secret::Ha1(made_with, hash.trim()))
        })
    };
    let md5 = || {
        auth.md5_cred
            .as_deref()
            .filter(|_| algorithm.base() == Algorithm::Md5)
            .map(|hash| Secret::Ha1(Algorithm::Md5, hash))
    };
    let password = || auth.password.as_deref().map(Secret::Password);
    match auth.auth_type {
        AuthType::Userpass => password(),
        AuthType::Md5 => md5(),
        AuthType::Digest => digest().or_else(md5).or_else(password),
        AuthType::GoogleOauth => None,
    }
}

impl Authenticator {
    /// `secret` is random and this authenticator's own.
    #[must_use]
    pub fn new(secret: [u8; 32], now: Instant) -> Self {
        Self {
            nonces: NonceStore::new(secret, now, NONCE_LIFETIME_MAX, NONCES_MAX),
        }
    }

    /// Judges a request of this endpoint that came from that address; `None` for a caller nobody knows. Only credentials
    /// that answer a challenge of ours to that address can fail: others are as none, and say nothing about who sent them
    /// or whether the password is right. ACK and CANCEL cannot be challenged
    /// (RFC 3261 §22.1): do not ask for them.
    pub fn authenticate(
        &mut self,
        snapshot: &Snapshot,
        endpoint: Option<&Endpoint>,
        request: &Message,
        from: IpAddr,
        now: Instant,
    ) -> Outcome {
        let auths: Vec<Arc<Auth>> = match endpoint {
            Some(endpoint) if endpoint.auth.is_empty() => {
                return Outcome::Accepted { username: None };
            }
            Some(endpoint)
                if endpoint.allow_unauthenticated_options
                    && request.is_method(&Method::Options) =>
            {
                return Outcome::Accepted { username: None };
            }
            Some(endpoint) => endpoint
                .auth
                .iter()
                .filter_map(|id| snapshot.auths.get(id.trim()).cloned())
                .collect(),
            None => Vec::new(),
        };
        let default_realm = snapshot.globals.default_realm.as_str();
        let mut candidates: Vec<Candidate<'_>> = auths
            .iter()
            .map(|auth| candidate(auth, &snapshot.globals))
            .collect();
        if candidates.is_empty() {
            candidates.push(Candidate {
                auth: None,
                realm: default_realm,
                algorithms: usual_algorithms(&snapshot.globals),
                lifetime: Duration::from_secs(u64::from(NONCE_LIFETIME_DEFAULT)),
            });
        }
        let mut stale = false;
        let mut failed = false;
        for line in request.headers(&HeaderName::Authorization) {
            let Ok(credentials) = Credentials::parse(line) else {
                continue;
            };
            for candidate in &candidates {
                if candidate.realm != credentials.realm
                    || !candidate.algorithms.contains(&credentials.algorithm)
                {
                    // For somebody else (RFC 3261 §22.3), or from before the row was changed.
                    continue;
                }
                let lifetime = candidate.lifetime;
                let state = self.nonces.state(&credentials.nonce, from, lifetime, now);
                let proved = proves(candidate.auth, &credentials, request);
                match (proved, state) {
                    (true, NonceState::Fresh) => {
                        let count = credentials.nonce_count();
                        if self
                            .nonces
                            .use_count(&credentials.nonce, from, count, lifetime, now)
                        {
                            return Outcome::Accepted {
                                username: Some(credentials.username),
                            };
                        }
                        stale = true;
                    }
                    // The password is right, so asking the user for it again would be wrong. With a nonce that is not
                    // ours, right and wrong hear the same: else passwords could be tried so, uncounted.
                    (true, NonceState::Stale) | (_, NonceState::Foreign) => stale = true,
                    (false, NonceState::Fresh | NonceState::Stale) => failed = true,
                }
            }
        }
        let mut challenges: Vec<Challenge> = Vec::new();
        for candidate in &candidates {
            for algorithm in &candidate.algorithms {
                if challenges
                    .iter()
                    .any(|c| c.realm == candidate.realm && c.algorithm == *algorithm)
                {
                    continue;
                }
                let mut challenge =
                    Challenge::new(candidate.realm, &self.nonces.issue(from, now), *algorithm);
                challenge.stale = stale;
                challenges.push(challenge);
            }
        }
        Outcome::Challenged {
            challenges,
            failed: failed && !stale,
        }
    }

    /// Nonces in use, and how often one was forgotten before its time because too many were.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 2] {
        [
            ("nonces_in_use", self.nonces.in_use() as u64),
            ("nonces_forgotten_early", self.nonces.forgotten_early()),
        ]
    }
}

fn proves(auth: Option<&Auth>, credentials: &Credentials, request: &Message) -> bool {
    let secret = auth.and_then(|auth| secret(auth, credentials.algorithm));
    // Nobody's credentials are worked on like anybody's.
    let used = secret.unwrap_or(Secret::Password("\u{0}"));
    let right = verify(credentials, request.method_str(), request.body(), &used);
    let name = auth
        .is_some_and(|auth| auth.username.as_ref().unwrap_or(&auth.id) == &credentials.username);
    right && name && secret.is_some()
}

/// The 401 that carries the challenges.
#[must_use]
pub fn unauthorized(request: &Message, challenges: &[Challenge], to_tag: &str) -> Builder {
    challenges.iter().fold(
        Builder::response_to(request, 401, "").to_tag(to_tag),
        |builder, challenge| builder.header(HeaderName::WwwAuthenticate, challenge.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use strowger_sip::auth::{Answer, choose, respond};

    use super::super::test_support::{register, request, snapshot};
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    struct Bench {
        authenticator: Authenticator,
        start: Instant,
        snapshot: Snapshot,
    }

    impl Bench {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                authenticator: Authenticator::new([3; 32], start),
                start,
                snapshot: snapshot(&["100"]),
            }
        }

        fn edit(&mut self, change: impl FnOnce(&mut Auth)) {
            let table = Arc::make_mut(&mut self.snapshot.auths);
            change(Arc::make_mut(table.get_mut("100").unwrap()));
        }

        fn ask(&mut self, known: bool, line: &str, at_s: u64) -> Outcome {
            let more = if line.is_empty() {
                String::new()
            } else {
                format!("Authorization: {line}\r\n")
            };
            let endpoint = self
                .snapshot
                .endpoints
                .get("100")
                .filter(|_| known)
                .cloned();
            let now = self.start + Duration::from_secs(at_s);
            self.authenticator.authenticate(
                &self.snapshot,
                endpoint.as_deref(),
                &register("100", "c", 1, &more),
                HOME,
                now,
            )
        }

        fn challenge(&mut self, known: bool, at_s: u64) -> Challenge {
            match self.ask(known, "", at_s) {
                Outcome::Challenged {
                    challenges,
                    failed: false,
                } => challenges[0].clone(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn answer(challenge: &Challenge, password: &str, nc: u32) -> String {
        let answer = Answer {
            method: "REGISTER",
            uri: "sip:pbx.example",
            username: "100",
            secret: Secret::Password(password),
            nc,
            cnonce: "c",
        };
        respond(challenge, &answer).unwrap().to_string()
    }

    fn accepted(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Accepted { username: Some(user) } if user == "100")
    }

    fn stale(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Challenged { challenges, failed: false } if challenges[0].stale)
    }

    fn refused(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Challenged { challenges, failed: true } if !challenges[0].stale)
    }

    #[test]
    fn a_right_answer_is_accepted_once_per_count() {
        let mut b = Bench::new();
        let c = b.challenge(true, 0);
        assert_eq!(c.realm, "asterisk");
        assert!(accepted(&b.ask(true, &answer(&c, "pw-100", 1), 1)));
        assert!(stale(&b.ask(true, &answer(&c, "pw-100", 1), 1)));
        assert!(accepted(&b.ask(true, &answer(&c, "pw-100", 2), 2)));
        assert!(stale(&b.ask(true, &answer(&c, "pw-100", 3), 40)));
        assert!(refused(&b.ask(true, &answer(&c, "wrong", 4), 2)));
        assert!(refused(&b.ask(true, &answer(&c, "wrong", 4), 400)));
    }

    #[test]
    fn credentials_that_answer_no_challenge_of_ours_are_as_none() {
        let mut b = Bench::new();
        let challenged = |outcome: &Outcome| matches!(outcome, Outcome::Challenged { challenges, failed: false } if !challenges[0].stale);
        assert!(challenged(&b.ask(true, "Digest nonsense", 2)));
        assert!(challenged(&b.ask(true, "Basic eHg6eA==", 2)));
        // The realm and the algorithm that the row had before somebody changed it.
        let old = b.challenge(true, 0);
        let line = answer(&old, "pw-100", 1);
        b.edit(|auth| auth.realm = Some("office".into()));
        assert!(challenged(&b.ask(true, &line, 1)));
        b.edit(|auth| {
            auth.realm = None;
            auth.supported_algorithms_uas = vec!["SHA-256".into()];
        });
        assert!(challenged(&b.ask(true, &line, 1)));
        b.edit(|auth| auth.supported_algorithms_uas.clear());
        assert!(accepted(&b.ask(true, &line, 1)));
        // Who makes up nonces learns nothing of passwords, and is nobody's failure.
        let invented = Challenge::new(&old.realm, &"0".repeat(64), old.algorithm);
        for password in ["pw-100", "wrong"] {
            assert!(stale(&b.ask(true, &answer(&invented, password, 1), 1)));
            assert!(stale(&b.ask(false, &answer(&invented, password, 1), 1)));
        }
    }

    #[test]
    fn nobody_gets_what_a_wrong_password_gets() {
        let mut b = Bench::new();
        let known = b.challenge(true, 0);
        let unknown = b.challenge(false, 0);
        assert_eq!(
            (known.realm, known.algorithm, known.qop, known.stale),
            (
                unknown.realm.clone(),
                unknown.algorithm,
                unknown.qop.clone(),
                false
            )
        );
        assert_eq!(known.nonce.len(), unknown.nonce.len());
        assert!(refused(&b.ask(false, &answer(&unknown, "pw-100", 1), 1)));
        assert!(refused(&b.ask(false, &answer(&unknown, "\u{0}", 1), 1)));
        // An auth that does not exist lets nobody in either.
        Arc::make_mut(&mut b.snapshot.auths).clear();
        assert!(refused(&b.ask(true, &answer(&unknown, "pw-100", 1), 1)));
    }

    #[test]
    fn hashes_serve_their_algorithm_and_the_best_comes_first() {
        let mut b = Bench::new();
        b.edit(|a| {
            a.auth_type = AuthType::Md5;
            a.password = None;
            a.md5_cred = Some(Algorithm::Md5.ha1("100", "asterisk", "pw"));
            a.supported_algorithms_uas = vec!["SHA-256".into(), "MD5".into()];
        });
        let c = b.challenge(true, 0);
        assert_eq!(c.algorithm, Algorithm::Md5);
        assert!(accepted(&b.ask(true, &answer(&c, "pw", 1), 1)));
        b.edit(|a| {
            a.auth_type = AuthType::Digest;
            a.md5_cred = None;
            a.password_digest = vec![format!(
                "SHA-256:{}",
                Algorithm::Sha256.ha1("100", "asterisk", "pw")
            )];
        });
        let c = b.challenge(true, 0);
        assert_eq!(c.algorithm, Algorithm::Sha256);
        assert!(accepted(&b.ask(true, &answer(&c, "pw", 1), 1)));
        b.edit(|a| {
            a.auth_type = AuthType::Userpass;
            a.password = Some("pw".into());
            a.realm = Some("office".into());
        });
        let Outcome::Challenged { challenges, .. } = b.ask(true, "", 0) else {
            panic!()
        };
        let order: Vec<_> = challenges.iter().map(|c| c.algorithm).collect();
        assert_eq!(order, [Algorithm::Sha256, Algorithm::Md5]);
        let md5 = choose(&challenges, &[Algorithm::Md5]).unwrap();
        assert_eq!(md5.realm, "office");
        assert!(accepted(&b.ask(true, &answer(md5, "pw", 1), 1)));
        let answer_401 = unauthorized(&register("100", "c", 1, ""), &challenges, "t").finish();
        assert_eq!(answer_401.status(), Some(401));
        assert_eq!(answer_401.headers(&HeaderName::WwwAuthenticate).count(), 2);
        assert_eq!(answer_401.to().unwrap().tag(), Some("t"));
    }

    #[test]
    fn endpoints_without_auth_and_open_options_need_no_proof() {
        let mut b = Bench::new();
        let open = Endpoint {
            id: "open".into(),
            ..Endpoint::default()
        };
        let r = request("INVITE", "open", "c", 1, "");
        let outcome = b
            .authenticator
            .authenticate(&b.snapshot, Some(&open), &r, HOME, b.start);
        assert_eq!(outcome, Outcome::Accepted { username: None });
        let ping = Endpoint {
            auth: vec!["100".into()],
            allow_unauthenticated_options: true,
            ..open
        };
        let options = request("OPTIONS", "open", "c", 1, "");
        let outcome =
            b.authenticator
                .authenticate(&b.snapshot, Some(&ping), &options, HOME, b.start);
        assert_eq!(outcome, Outcome::Accepted { username: None });
        let outcome = b
            .authenticator
            .authenticate(&b.snapshot, Some(&ping), &r, HOME, b.start);
        assert!(matches!(outcome, Outcome::Challenged { .. }));
        b.snapshot.globals = Arc::new(Globals {
            default_realm: "other".into(),
            ..Globals::default()
        });
        assert_eq!(b.challenge(false, 0).realm, "other");
    }

    #[test]
    fn a_challenge_is_good_for_the_time_of_the_row() {
        let mut bench = Bench::new();
        bench.edit(|auth| auth.nonce_lifetime = 5);
        let challenge = bench.challenge(true, 0);
        let in_time = bench.ask(true, &answer(&challenge, "pw-100", 1), 4);
        assert!(accepted(&in_time), "{in_time:?}");
        let challenge = bench.challenge(true, 10);
        let late = bench.ask(true, &answer(&challenge, "pw-100", 1), 16);
        assert!(
            stale(&late),
            "too late, and no fault of the password: {late:?}"
        );
    }

    #[test]
    fn algorithms_of_the_globals_count_where_the_row_names_none() {
        let mut bench = Bench::new();
        bench.snapshot.globals = Arc::new(Globals {
            default_auth_algorithms_uas: "SHA-256".into(),
            ..Globals::default()
        });
        assert_eq!(bench.challenge(true, 0).algorithm, Algorithm::Sha256);
        assert_eq!(bench.challenge(false, 0).algorithm, Algorithm::Sha256);
        bench.edit(|auth| auth.supported_algorithms_uas = vec!["MD5".into()]);
        assert_eq!(bench.challenge(true, 0).algorithm, Algorithm::Md5);
    }
}
