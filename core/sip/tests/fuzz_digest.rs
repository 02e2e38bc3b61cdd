//! Mutated challenges and credentials: nothing panics, and what was read is written and read again the same.

mod mutator;

use std::time::{Duration, Instant};

use mutator::fuzz;
use strowger_sip::auth::{Answer, Challenge, Credentials, NonceStore, Secret, respond, verify};

const CORPUS: &[&str] = &[
    "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm=SHA-256, nonce=\"00000000000003e8000000000000000100000000000000000000000000000000\", nc=00000001, cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"753927fa\", opaque=\"x\"",
    "Digest realm=\"a\\\"b\", qop=\"auth, auth-int\", algorithm=MD5-sess, nonce=\"n\", opaque=\"o\", stale=TRUE, domain=\"sip:a sip:b\"",
    "digest\trealm = r ,, nonce= n,qop=auth-int",
];

#[test]
fn no_mutation_of_a_digest_header_panics_and_what_is_read_is_written_back() {
    let now = Instant::now();
    let home = std::net::Ipv4Addr::LOCALHOST.into();
    let life = Duration::from_secs(32);
    let mut store = NonceStore::new([1; 32], now, Duration::from_secs(60), 100);
    fuzz("digest", CORPUS, 60_000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(c) = Credentials::parse(&text) {
            let _ = verify(&c, "INVITE", b"", &Secret::Password("p"));
            let _ = store.state(&c.nonce, home, life, now);
            assert!(!store.use_count(&c.nonce, home, c.nonce_count(), life, now));
            if !text.contains(['\r', '\n', '\0']) {
                let mut expected = c.clone();
                expected.nc = c.qop.as_ref().and(c.nc.clone());
                assert_eq!(Credentials::parse(&c.to_string()), Ok(expected), "{text}");
            }
        }
        if let Ok(challenge) = Challenge::parse(&text) {
            let answer = Answer {
                method: "INVITE",
                uri: "sip:h",
                username: "u",
                secret: Secret::Password("p"),
                nc: 1,
                cnonce: "c",
            };
            if let Some(c) = respond(&challenge, &answer) {
                assert!(verify(&c, "INVITE", b"", &Secret::Password("p")));
                assert!(!verify(&c, "INVITE", b"", &Secret::Password("q")));
            }
            let _ = Challenge::parse(&challenge.to_string());
        }
    });
}
