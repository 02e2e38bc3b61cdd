//! Keys in descriptions: who offers, who takes which, what a later offer changes (RFC 4568, RFC 8643).

use strowger_sip::offer_answer::{
    Agreed, Capabilities, LocalMedia, OfferAnswerError, Sdes, Security, Session,
};
use strowger_sip::sdp::{CryptoAttribute, CryptoSuite, SessionDescription};

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

fn parse(text: &str) -> SessionDescription {
    let text =
        format!("v=0\no=- 1 1 IN IP4 198.51.100.7\ns=-\nc=IN IP4 198.51.100.7\nt=0 0\n{text}");
    SessionDescription::parse(text.as_bytes()).expect("a description")
}

fn local() -> LocalMedia {
    LocalMedia::new("192.0.2.1:12000".parse().expect("address"))
}

/// Bytes that never come again.
fn random(bytes: &mut [u8]) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for piece in bytes.chunks_mut(8) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        piece.copy_from_slice(&number[..piece.len()]);
    }
    true
}

fn sdes(required: bool) -> Security {
    Security::Sdes(Sdes {
        required,
        short_tags: false,
        random,
    })
}

fn session(security: Security) -> Session {
    Session::new("-", 77).with_security(security)
}

fn answer(
    session: &mut Session,
    media: &str,
) -> Result<(SessionDescription, Agreed), OfferAnswerError> {
    session.answer(&parse(media), &Capabilities::default(), &local())
}

fn crypto(description: &SessionDescription) -> Vec<CryptoAttribute> {
    description.media[0]
        .values("crypto")
        .map(|value| CryptoAttribute::parse(value).expect("ours are readable"))
        .collect()
}

fn secure(proto: &str, crypto: &[&str]) -> String {
    let mut text = format!("m=audio 4000 {proto} 0\n");
    for line in crypto {
        text += &format!("a=crypto:{line}\n");
    }
    text
}

#[test]
fn what_each_endpoint_makes_of_each_offer() {
    let key = format!("4 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    let unknown = format!("1 AES_192_CM_HMAC_SHA1_80 inline:{KEY}");
    let (plain, required, optional) = (Security::Plain, sdes(true), sdes(false));
    // (endpoint, profile, lines, is there an answer, is it encrypted)
    for (security, proto, lines, expected) in [
        (plain, "RTP/AVP", vec![], Some(false)),
        (plain, "RTP/AVP", vec![key.as_str()], Some(false)),
        (plain, "RTP/SAVP", vec![&key], None),
        (required, "RTP/AVP", vec![], None),
        (required, "RTP/AVP", vec![&key], Some(true)),
        (required, "RTP/SAVP", vec![&key], Some(true)),
        (required, "RTP/SAVPF", vec![&key], Some(true)),
        (required, "RTP/SAVP", vec![], None),
        (required, "RTP/SAVP", vec![&unknown], None),
        (required, "RTP/SAVP", vec![&unknown, &key], Some(true)),
        (optional, "RTP/AVP", vec![], Some(false)),
        (optional, "RTP/AVP", vec![&unknown], Some(false)),
        (optional, "RTP/AVP", vec![&key], Some(true)),
        (optional, "RTP/SAVP", vec![&key], Some(true)),
        (optional, "RTP/SAVP", vec![], None),
        (required, "UDP/TLS/RTP/SAVP", vec![], None),
    ] {
        let case = format!("{security:?} {proto} {lines:?}");
        let result = answer(&mut session(security), &secure(proto, &lines));
        match (result, expected) {
            (Ok((answer, agreed)), Some(encrypted)) => {
                assert_eq!(answer.media[0].proto, proto, "{case}");
                assert_eq!(agreed.crypto.is_some(), encrypted, "{case}");
                let written = crypto(&answer);
                assert_eq!(written.len(), usize::from(encrypted), "{case}");
                if let Some(agreed) = agreed.crypto {
                    assert_eq!(written[0], agreed.ours);
                    assert_eq!((agreed.ours.tag, agreed.remote.tag), (4, 4));
                    assert_ne!(agreed.ours.key, agreed.remote.key);
                }
            }
            (Err(error), None) => assert_eq!(error.status(), 488, "{case}"),
            (result, _) => panic!("{case}: {result:?}"),
        }
    }
}

#[test]
fn of_several_streams_the_one_that_fits_is_taken() {
    let key = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    let both = format!(
        "{}m=audio 4002 RTP/SAVP 0\na=crypto:{key}\n",
        secure("RTP/AVP", &[])
    );
    let (answered, agreed) = answer(&mut session(sdes(true)), &both).expect("acceptable");
    assert_eq!((answered.media[0].port, answered.media[1].port), (0, 12000));
    assert!(agreed.crypto.is_some());
    let (answered, agreed) = answer(&mut session(Security::Plain), &both).expect("acceptable");
    assert_eq!((answered.media[0].port, answered.media[1].port), (12000, 0));
    assert!(agreed.crypto.is_none());
}

#[test]
fn the_strongest_suite_is_taken_or_one_with_short_tags_where_wished() {
    let lines = [
        format!("1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"),
        format!("2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
        "3 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let short = Security::Sdes(Sdes {
        required: true,
        short_tags: true,
        random,
    });
    for (security, suite) in [
        (sdes(true), CryptoSuite::AeadAes128Gcm),
        (short, CryptoSuite::AesCm128Sha1Tag32),
    ] {
        let (answered, _) =
            answer(&mut session(security), &secure("RTP/SAVP", &lines)).expect("acceptable");
        assert_eq!(crypto(&answered)[0].suite, suite);
    }
    let offer = session(short)
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    assert_eq!(crypto(&offer)[0].suite, CryptoSuite::AesCm128Sha1Tag32);
}

#[test]
fn a_later_offer_keeps_the_keys_or_changes_them() {
    let mut session = session(sdes(true));
    let offer = |key: &str| {
        secure(
            "RTP/SAVP",
            &[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}")],
        )
    };
    let (first, _) = answer(&mut session, &offer(KEY)).expect("acceptable");
    let (same, _) = answer(&mut session, &offer(KEY)).expect("acceptable");
    assert_eq!(first, same, "nothing changes, not even the version");
    let own = session
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    assert_eq!(own.media[0].proto, "RTP/SAVP");
    assert_eq!(
        crypto(&own),
        crypto(&first),
        "an offer of ours keeps our key"
    );
    let agreed = session
        .apply_answer(&parse(&offer(OTHER)))
        .expect("a new key of theirs");
    let agreed = agreed.crypto.expect("encrypted");
    assert_eq!(agreed.ours.key, crypto(&first)[0].key);
    assert_eq!(agreed.remote.key.as_bytes(), (0..30).collect::<Vec<u8>>());
    let (same, _) = answer(&mut session, &offer(OTHER)).expect("acceptable");
    assert_eq!(crypto(&same), crypto(&first), "their key is known by now");
    let (changed, _) = answer(&mut session, &offer(KEY)).expect("acceptable");
    assert_ne!(crypto(&changed), crypto(&first));
}

#[test]
fn our_offers_and_what_answers_make_of_them() {
    let make = |security| {
        let mut session = session(security);
        let offer = session
            .make_offer(&Capabilities::default(), &local())
            .expect("an offer");
        (session, offer)
    };
    let (_, offer) = make(Security::Plain);
    assert!(crypto(&offer).is_empty());
    for (required, proto) in [(true, "RTP/SAVP"), (false, "RTP/AVP")] {
        let (mut session, offer) = make(sdes(required));
        assert_eq!(offer.media[0].proto, proto);
        let offered = crypto(&offer);
        assert_eq!(offered[0].suite, CryptoSuite::AesCm128Sha1Tag80);
        assert_eq!(offered.len(), 4);
        assert!(offered.windows(2).all(|pair| pair[0].key != pair[1].key));
        let taken = secure(proto, &[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")]);
        let agreed = session.apply_answer(&parse(&taken)).expect("acceptable");
        let agreed = agreed.crypto.expect("encrypted");
        assert_eq!(agreed.ours, offered[0]);
        // Another end answers the same offer with a key of its own.
        let taken = secure(
            proto,
            &[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{OTHER}")],
        );
        assert!(session.apply_answer(&parse(&taken)).is_ok());
        // A tag or a suite that we did not offer under it.
        for line in [
            format!("2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"),
            "1 nonsense".to_owned(),
        ] {
            let (mut session, _) = make(sdes(required));
            let error = session.apply_answer(&parse(&secure(proto, &[&line])));
            assert!(
                matches!(error, Err(OfferAnswerError::Encryption(_))),
                "{error:?}"
            );
        }
        let (mut session, _) = make(sdes(required));
        let plain = session.apply_answer(&parse(&secure(proto, &[])));
        match plain {
            Ok(agreed) => assert!(!required && agreed.crypto.is_none()),
            Err(error) => assert!(required, "{error}"),
        }
    }
}

#[test]
fn a_stream_that_fell_back_to_plain_stays_so() {
    let mut session = session(sdes(false));
    answer(&mut session, &secure("RTP/AVP", &[])).expect("acceptable");
    let offer = session
        .make_offer(&Capabilities::default(), &local())
        .expect("an offer");
    assert!(crypto(&offer).is_empty());
}

#[test]
fn without_randomness_there_is_no_key() {
    let security = Security::Sdes(Sdes {
        required: true,
        short_tags: false,
        random: |_| false,
    });
    let error = session(security).make_offer(&Capabilities::default(), &local());
    assert_eq!(error, Err(OfferAnswerError::NoRandomness));
    let key = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    let error = answer(&mut session(security), &secure("RTP/SAVP", &[&key]));
    assert_eq!(error.expect_err("no key").status(), 500);
}
