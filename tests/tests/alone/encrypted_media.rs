//! SRTP with a telephone that has an implementation of its own (baresip): encrypted legs among themselves and with plain
//! ones, each hears the other; who must encrypt and cannot is refused.

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

/// They call and hear each other. What had been refused when the sound of both came through, and before they hang up.
#[track_caller]
fn they_hear_each_other(exchange: &Exchange, anna: &mut Baresip, boris: &Baresip) -> [[u64; 5]; 2] {
    anna.dial("102");
    anna.expect_event("CALL_ESTABLISHED", SOON);
    boris.expect_event("CALL_ESTABLISHED", SOON);
    let relayed = |packets| {
        let relayed = || exchange.metric("strowger_media_relayed_total");
        let talked = wait_until(SOON, || (relayed() > packets).then_some(()));
        assert!(talked.is_some(), "too few packets are relayed");
    };
    relayed(20);
    let early = refused(exchange);
    // Three seconds of both.
    relayed(300);
    let late = refused(exchange);
    anna.hang_up();
    boris.expect_event("CALL_CLOSED", SOON);
    anna.expect_event("CALL_CLOSED", SOON);
    anna.assert_heard(2, 620.0, 440.0);
    boris.assert_heard(2, 440.0, 620.0);
    [early, late]
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

/// Why packets of secured legs are refused.
const REASONS: [&str; 5] = ["auth", "replay", "unprotected", "expired", "not_sent"];

/// Packets refused so far, by reason.
fn refused(exchange: &Exchange) -> [u64; 5] {
    REASONS.map(|reason| exchange.metric(&format!("strowger_media_drop_srtp_{reason}_total")))
}

/// Baresip sends two packets of RTCP in the clear: before its keys are set, a short one that opens the way (too short to
/// be a protected one), and at its end, when the keys are gone, a BYE (which is not authentic). Each secured telephone may
/// be refused those, and nothing while it talks.
#[track_caller]
fn nothing_was_refused_but_the_first_and_the_last(
    exchange: &Exchange,
    talk: [[u64; 5]; 2],
    secured: u64,
) {
    let [early, late] = talk;
    assert_eq!(
        early, late,
        "{REASONS:?} when they begin to talk and when they end"
    );
    let [auth, replay, unprotected, expired, not_sent] = refused(exchange);
    assert_eq!((replay, expired, not_sent), (0, 0, 0), "{REASONS:?}");
    assert!(
        late[2] == unprotected && unprotected <= secured,
        "{unprotected}"
    );
    assert!(late[0] == 0 && auth <= secured, "{auth} not authentic");
}

#[test]
fn a_secured_telephone_and_a_plain_one_hear_each_other() {
    let _alone = alone();
    let exchange = exchange(&[("media_encryption", "sdes")], &[]);
    let (mut anna, boris) = telephones(&exchange, REQUIRED, "");
    let talk = they_hear_each_other(&exchange, &mut anna, &boris);
    uses(&anna, "AES_CM_128_HMAC_SHA1_80");
    assert!(!boris.log().contains("SRTP is Enabled"));
    nothing_was_refused_but_the_first_and_the_last(&exchange, talk, 1);
}

#[test]
fn two_secured_telephones_with_different_suites_hear_each_other() {
    let _alone = alone();
    let exchange = exchange(
        &[("media_encryption", "sdes")],
        &[("media_encryption", "sdes"), ("srtp_tag_32", "yes")],
    );
    let (mut anna, boris) = telephones(&exchange, REQUIRED, REQUIRED);
    let talk = they_hear_each_other(&exchange, &mut anna, &boris);
    uses(&anna, "AES_CM_128_HMAC_SHA1_80");
    uses(&boris, "AES_CM_128_HMAC_SHA1_32");
    nothing_was_refused_but_the_first_and_the_last(&exchange, talk, 2);
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
    let talk = they_hear_each_other(&exchange, &mut anna, &boris);
    assert!(!anna.log().contains("SRTP is Enabled"));
    uses(&boris, "AES_CM_128_HMAC_SHA1_80");
    nothing_was_refused_but_the_first_and_the_last(&exchange, talk, 1);
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
