//! SRTP with a telephone that has an implementation of its own (baresip): encrypted legs among themselves and with plain
//! ones, each hears the other; who must encrypt and cannot is refused.

use strowger_tests::audio::share_with_tone;
use strowger_tests::{Baresip, Exchange, SOON, alone, wait_until};

const REQUIRED: &str = ";mediaenc=srtp-mand";
const OPTIONAL: &str = ";mediaenc=srtp";

/// An exchange where 101 and 102 may call each other, with these endpoint columns.
fn exchange(anna: &[(&str, &str)], boris: &[(&str, &str)]) -> Exchange {
    let mut exchange = Exchange::new();
    exchange.subscriber_with("anna", "secret-a", "house", anna);
    exchange.subscriber_with("boris", "secret-b", "house", boris);
    let steps = [
        ("NoOp", "anna's media is secure: ${CHANNEL(secure_media)}"),
        ("Dial", "PJSIP/boris,30"),
        ("Hangup", ""),
    ];
    exchange.extension("house", "102", &steps);
    exchange.start();
    exchange
}

fn telephones(exchange: &Exchange, anna: &str, boris: &str) -> (Baresip, Baresip) {
    let at = exchange.sip();
    let anna = Baresip::start_with("anna", "secret-a", at, 440.0, false, anna);
    let boris = Baresip::start_with("boris", "secret-b", at, 620.0, true, boris);
    anna.expect_registered(SOON);
    boris.expect_registered(SOON);
    (anna, boris)
}

#[track_caller]
fn they_hear_each_other(exchange: &Exchange, anna: &mut Baresip, boris: &Baresip) {
    anna.dial("102");
    anna.expect_event("CALL_ESTABLISHED", SOON);
    boris.expect_event("CALL_ESTABLISHED", SOON);
    // Three seconds of both.
    let talked = wait_until(SOON, || {
        (exchange.metric("strowger_media_relayed_total") > 300).then_some(())
    });
    assert!(talked.is_some(), "too few packets are relayed");
    anna.hang_up();
    boris.expect_event("CALL_CLOSED", SOON);
    anna.expect_event("CALL_CLOSED", SOON);
    for (name, heard, theirs, own) in [
        ("Anna", anna.heard(), 620.0, 440.0),
        ("Boris", boris.heard(), 440.0, 620.0),
    ] {
        assert!(
            heard.len() > 8000 * 2,
            "{name} heard only {} samples",
            heard.len()
        );
        assert!(
            share_with_tone(&heard, theirs) > 0.7,
            "{name} does not hear the other side"
        );
        assert!(share_with_tone(&heard, own) < 0.1, "{name} hears itself");
    }
}

#[track_caller]
fn uses(phone: &Baresip, suite: &str) {
    let log = phone.log();
    let says = format!("SRTP is Enabled (cryptosuite={suite})");
    assert!(
        log.contains(&says),
        "{suite} is not used; baresip's log:\n{log}"
    );
}

/// A telephone may send a packet in the clear before it has understood the answer with our key: it is refused as not
/// authentic. Nothing else is.
#[track_caller]
fn nothing_was_refused_but_early_packets(exchange: &Exchange) {
    let refused =
        |reason: &str| exchange.metric(&format!("strowger_media_drop_srtp_{reason}_total"));
    for reason in ["replay", "unprotected", "expired", "not_sent"] {
        assert_eq!(refused(reason), 0, "{reason}");
    }
    assert!(refused("auth") <= 1, "{} not authentic", refused("auth"));
}

#[test]
fn a_secured_telephone_and_a_plain_one_hear_each_other() {
    let _alone = alone();
    let exchange = exchange(&[("media_encryption", "sdes")], &[]);
    let (mut anna, boris) = telephones(&exchange, REQUIRED, "");
    they_hear_each_other(&exchange, &mut anna, &boris);
    uses(&anna, "AES_CM_128_HMAC_SHA1_80");
    assert!(!boris.log().contains("SRTP is Enabled"));
    nothing_was_refused_but_early_packets(&exchange);
}

#[test]
fn two_secured_telephones_with_different_suites_hear_each_other() {
    let _alone = alone();
    let exchange = exchange(
        &[("media_encryption", "sdes")],
        &[("media_encryption", "sdes"), ("srtp_tag_32", "yes")],
    );
    let (mut anna, boris) = telephones(&exchange, REQUIRED, REQUIRED);
    they_hear_each_other(&exchange, &mut anna, &boris);
    uses(&anna, "AES_CM_128_HMAC_SHA1_80");
    uses(&boris, "AES_CM_128_HMAC_SHA1_32");
    nothing_was_refused_but_early_packets(&exchange);
}

#[test]
fn encryption_where_possible_takes_what_each_telephone_has() {
    let _alone = alone();
    let optional = [
        ("media_encryption", "sdes"),
        ("media_encryption_optimistic", "yes"),
    ];
    let exchange = exchange(&optional, &optional);
    let (mut anna, boris) = telephones(&exchange, "", OPTIONAL);
    they_hear_each_other(&exchange, &mut anna, &boris);
    assert!(!anna.log().contains("SRTP is Enabled"));
    uses(&boris, "AES_CM_128_HMAC_SHA1_80");
    nothing_was_refused_but_early_packets(&exchange);
}

#[test]
fn who_must_encrypt_and_cannot_is_refused() {
    let _alone = alone();
    let exchange = exchange(&[("media_encryption", "sdes")], &[]);
    let (mut anna, _boris) = telephones(&exchange, "", "");
    anna.dial("102");
    let closed = anna.expect_event("CALL_CLOSED", SOON);
    assert!(closed.to_string().contains("488"), "{closed}");
}

#[test]
fn an_endpoint_with_dtls_is_named_by_the_check_and_refused() {
    let _alone = alone();
    let exchange = exchange(&[("media_encryption", "dtls")], &[]);
    exchange.expect_log("media_encryption=dtls is not spoken here", SOON);
    let (mut anna, _boris) = telephones(&exchange, "", "");
    anna.dial("102");
    let closed = anna.expect_event("CALL_CLOSED", SOON);
    assert!(closed.to_string().contains("488"), "{closed}");
    let told = strowger_tests::text_of(&exchange.run(&["check"]));
    assert!(told.contains("row anna: media_encryption=dtls"), "{told}");
}
