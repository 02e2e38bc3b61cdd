use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::*;

fn answer<'a>(
    user: &'a str,
    password: &'a str,
    method: &'a str,
    uri: &'a str,
    cnonce: &'a str,
) -> Answer<'a> {
    Answer {
        method,
        uri,
        username: user,
        secret: Secret::Password(password),
        nc: 1,
        cnonce,
    }
}

#[test]
fn rfc_2617_section_3_5_is_answered_as_printed() {
    let challenge = Challenge::parse(
        "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
    )
    .unwrap();
    assert_eq!(challenge.algorithm, Algorithm::Md5);
    let c = respond(
        &challenge,
        &answer(
            "Mufasa",
            "Circle Of Life",
            "GET",
            "/dir/index.html",
            "0a4f113b",
        ),
    )
    .unwrap();
    assert_eq!(c.response, "6629fae49393a05397450978507c4ef1");
    let read = Credentials::parse(&c.to_string()).unwrap();
    assert_eq!(read, c);
    let ha1 = "939e7578ed9e3c518a452acee763bce9";
    assert_eq!(
        Algorithm::Md5.ha1("Mufasa", "testrealm@host.com", "Circle Of Life"),
        ha1
    );
    assert!(verify(&read, "GET", b"", &Secret::Ha1(Algorithm::Md5, ha1)));
    assert!(verify(
        &read,
        "GET",
        b"",
        &Secret::Ha1(Algorithm::Md5Sess, &ha1.to_uppercase())
    ));
    assert!(verify(
        &read,
        "GET",
        b"",
        &Secret::Password("Circle Of Life")
    ));
    assert!(!verify(
        &read,
        "PUT",
        b"",
        &Secret::Password("Circle Of Life")
    ));
    assert!(!verify(
        &read,
        "GET",
        b"",
        &Secret::Password("circle of life")
    ));
    assert!(!verify(
        &read,
        "GET",
        b"",
        &Secret::Ha1(Algorithm::Sha256, ha1)
    ));
}

#[test]
fn rfc_7616_section_3_9_1_is_answered_as_printed() {
    for (algorithm, response) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (
            "SHA-256",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ] {
        let challenge = Challenge::parse(&format!(
            "Digest realm=\"http-auth@example.org\",\r\n qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        ))
        .unwrap();
        let c = respond(
            &challenge,
            &answer(
                "Mufasa",
                "Circle of Life",
                "GET",
                "/dir/index.html",
                "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            ),
        )
        .unwrap();
        assert_eq!(c.response, response, "{algorithm}");
        let read = Credentials::parse(&c.to_string()).unwrap();
        assert!(verify(
            &read,
            "GET",
            b"",
            &Secret::Password("Circle of Life")
        ));
    }
}

#[test]
fn every_algorithm_agrees_with_itself_with_and_without_qop() {
    for name in [
        "MD5",
        "md5-sess",
        "SHA-256",
        "SHA-256-sess",
        "SHA-512-256",
        "sha-512-256-SESS",
    ] {
        let algorithm = Algorithm::parse(name).unwrap();
        for qop in [vec![], vec!["auth".to_owned()]] {
            let mut challenge = Challenge::new("a \"realm\"", "n", algorithm);
            challenge.qop = qop;
            let challenge = Challenge::parse(&challenge.to_string()).unwrap();
            let c = respond(&challenge, &answer("u\\v", "p", "REGISTER", "sip:h", "c")).unwrap();
            let read = Credentials::parse(&c.to_string()).unwrap();
            assert!(
                verify(&read, "REGISTER", b"", &Secret::Password("p")),
                "{read}"
            );
            let ha1 = algorithm.ha1("u\\v", "a \"realm\"", "p");
            assert!(verify(
                &read,
                "REGISTER",
                b"",
                &Secret::Ha1(algorithm, &ha1)
            ));
        }
    }
    // SHA-512/256 of nothing, FIPS 180-4.
    assert_eq!(
        Algorithm::Sha512256.hash(&[b""]),
        "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"
    );
}

#[test]
fn auth_int_covers_the_body() {
    // RFC 2617 §3.2.2.3: A2 = method ":" uri ":" H(entity-body)
    let ha1 = Algorithm::Md5.ha1("u", "r", "p");
    let body = Algorithm::Md5.hash(&[b"hello"]);
    let ha2 = Algorithm::Md5.hash(&[b"INVITE", b"sip:h", body.as_bytes()]);
    let response = Algorithm::Md5.hash(&[
        ha1.as_bytes(),
        b"n",
        b"00000001",
        b"c",
        b"auth-int",
        ha2.as_bytes(),
    ]);
    let c = Credentials::parse(&format!(
        "Digest username=u, realm=r, nonce=n, uri=\"sip:h\", response={response}, qop=auth-int, nc=00000001, cnonce=c"
    ))
    .unwrap();
    assert!(verify(&c, "INVITE", b"hello", &Secret::Password("p")));
    assert!(!verify(&c, "INVITE", b"hellO", &Secret::Password("p")));
}

#[test]
fn rfc_8760_several_challenges_the_first_supported_one_is_chosen() {
    let list: Vec<_> = ["SHA-512-256", "SHA-256", "MD5"]
        .iter()
        .map(|a| Challenge::new("r", a, Algorithm::parse(a).unwrap()))
        .collect();
    let pick = |allowed: &[Algorithm]| choose(&list, allowed).map(|c| c.algorithm);
    assert_eq!(
        pick(&[Algorithm::Md5, Algorithm::Sha256]),
        Some(Algorithm::Sha256)
    );
    assert_eq!(pick(&[Algorithm::Md5]), Some(Algorithm::Md5));
    assert_eq!(pick(&[]), None);
}

#[test]
fn bad_credentials_and_challenges_are_told_apart() {
    let base = "username=u, realm=r, nonce=n, uri=x, response=y";
    for (text, error) in [
        ("Basic abc".to_owned(), AuthError::Scheme),
        (
            "NoOneKnowsThisScheme opaque-data=here".to_owned(),
            AuthError::Scheme,
        ),
        ("Digest realm=r".to_owned(), AuthError::Missing("username")),
        (
            format!("Digest {base}, algorithm=FOO"),
            AuthError::Algorithm("FOO".to_owned()),
        ),
        (
            format!("Digest {base}, qop=auth"),
            AuthError::Missing("cnonce"),
        ),
        (
            format!("Digest {base}, qop=auth, cnonce=c"),
            AuthError::Missing("nc"),
        ),
        (
            format!("Digest {base}, qop=auth, cnonce=c, nc=1"),
            AuthError::Bad("nc"),
        ),
        (
            format!("Digest {base}, qop=foo, cnonce=c, nc=00000001"),
            AuthError::Bad("qop"),
        ),
        (
            format!("Digest {base}, algorithm=MD5-sess"),
            AuthError::Missing("cnonce"),
        ),
    ] {
        assert_eq!(Credentials::parse(&text), Err(error), "{text}");
    }
    assert!(matches!(
        Credentials::parse("Digest username=\"u"),
        Err(AuthError::Syntax(_))
    ));
    assert!(matches!(
        Challenge::parse("Digest realm=a b=c"),
        Err(AuthError::Syntax(_))
    ));
    assert_eq!(
        Challenge::parse("Digest realm=a"),
        Err(AuthError::Missing("nonce"))
    );
}

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const LIFE: Duration = Duration::from_secs(60);

fn store() -> (NonceStore, Instant) {
    let epoch = Instant::now();
    (
        NonceStore::new([7; 32], epoch, Duration::from_secs(60), 3),
        epoch,
    )
}

#[test]
fn a_nonce_is_fresh_then_stale_and_a_made_up_one_foreign() {
    let (mut s, t) = store();
    let nonce = s.issue(HOME, t + Duration::from_secs(1));
    let life = Duration::from_secs(32);
    let at = |s: u64| t + Duration::from_secs(s);
    assert_eq!(s.state(&nonce, HOME, life, at(2)), NonceState::Fresh);
    assert_eq!(s.state(&nonce, HOME, life, at(34)), NonceState::Stale);
    // The store's bound counts too.
    assert_eq!(
        s.state(&nonce, HOME, Duration::MAX, at(62)),
        NonceState::Stale
    );
    let mut forged = nonce.clone();
    forged.replace_range(0..1, "1");
    for bad in [forged.as_str(), "", "abc", &"é".repeat(32), &"0".repeat(64)] {
        assert_eq!(s.state(bad, HOME, life, at(2)), NonceState::Foreign);
        assert!(!s.use_count(bad, HOME, Some(1), life, at(2)));
    }
    // Who heard it by chance, or forges another's address, has no use for it.
    let elsewhere = "192.0.2.8".parse().unwrap();
    assert_eq!(s.state(&nonce, elsewhere, life, at(2)), NonceState::Foreign);
    let mapped = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(s.state(&nonce, mapped, life, at(2)), NonceState::Fresh);
    let other = NonceStore::new([8; 32], t, life, 3);
    assert_eq!(other.state(&nonce, HOME, life, at(2)), NonceState::Foreign);
}

#[test]
fn a_nonce_count_is_accepted_once_in_any_near_order() {
    let (mut s, t) = store();
    let nonce = s.issue(HOME, t);
    for (nc, ok) in [
        (1, true),
        (1, false),
        (3, true),
        (2, true),
        (2, false),
        (0, false),
        (100, true),
        (36, false),
        (37, true),
        (37, false),
        (u32::MAX, true),
        (101, false),
    ] {
        assert_eq!(
            s.use_count(&nonce, HOME, Some(nc), LIFE, t),
            ok,
            "count {nc}"
        );
    }
    let once = s.issue(HOME, t);
    assert!(s.use_count(&once, HOME, None, LIFE, t));
    assert!(!s.use_count(&once, HOME, None, LIFE, t));
}

#[test]
fn a_full_table_forgets_the_oldest_and_refuses_no_new_nonce() {
    let (mut s, t) = store();
    let old: Vec<String> = (0..4).map(|_| s.issue(HOME, t)).collect();
    for nonce in &old[..3] {
        assert!(s.use_count(nonce, HOME, Some(1), LIFE, t));
    }
    // Each new one is taken, whatever is in use, and nothing that is forgotten can be replayed.
    for number in 0..1000 {
        let nonce = s.issue(HOME, t);
        assert!(s.use_count(&nonce, HOME, Some(1), LIFE, t), "{number}");
        assert!(!s.use_count(&nonce, HOME, Some(1), LIFE, t), "{number}");
        assert_eq!(s.in_use(), 3);
    }
    for nonce in &old {
        assert!(!s.use_count(nonce, HOME, Some(2), LIFE, t));
    }
    assert_eq!(s.forgotten_early(), 1000);
}

#[test]
fn counts_are_remembered_as_long_as_their_nonce_lives_and_no_longer() {
    let t = Instant::now();
    let mut s = NonceStore::new([7; 32], t, Duration::from_secs(3600), 100);
    let life = Duration::from_secs(32);
    let long = s.issue(HOME, t);
    assert!(s.use_count(&long, HOME, Some(1), Duration::from_secs(600), t));
    for second in 0..500 {
        let now = t + Duration::from_secs(second);
        for _ in 0..2 {
            let nonce = s.issue(HOME, now);
            assert!(s.use_count(&nonce, HOME, Some(1), life, now));
        }
        assert!(s.in_use() <= 1 + 2 * 34, "{} at {second}", s.in_use());
    }
    let now = t + Duration::from_secs(500);
    let life = Duration::from_secs(600);
    assert!(!s.use_count(&long, HOME, Some(1), life, now), "a replay");
    assert!(s.use_count(&long, HOME, Some(2), life, now));
    assert_eq!(s.forgotten_early(), 0);
}
