//! SIPp against the exchange: registration, Echo, Dial, CANCEL, busy, no answer, wrong password.

use std::time::Duration;
use strowger_tests::audio::{self, Law};
use strowger_tests::{Exchange, Sipp, SippResult, Tap};

const LIMIT: Duration = Duration::from_secs(120);

/// An exchange with a subscriber for SIPp, and an endpoint `server` at that address.
fn exchange(server: Option<&Sipp>) -> Exchange {
    let mut exchange = Exchange::new();
    exchange.subscriber("sipp", "secret", "sipp");
    if let Some(server) = server {
        exchange.server(&format!("sip:{}", server.address()), "sipp");
    }
    exchange.extension("sipp", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.extension("sipp", "server", &[("Dial", "PJSIP/server,20")]);
    exchange.extension(
        "sipp",
        "short",
        &[
            ("Dial", "PJSIP/server,2"),
            ("NoOp", "${DIALSTATUS}"),
            ("Busy", "1"),
        ],
    );
    exchange.start();
    exchange
}

fn call(exchange: &Exchange, scenario: &str, number: &str) -> SippResult {
    Sipp::new(scenario, exchange.sip())
        .account("sipp", "secret")
        .service(number)
        .with(&["-d", "1000"])
        .run(LIMIT)
}

#[test]
fn a_registration_with_digest_is_granted_and_taken_back() {
    let exchange = exchange(None);
    let server = Sipp::new("register_digest.xml", exchange.sip())
        .account("sipp", "secret")
        .with(&["-d", "8000"])
        .start();
    let contacts = || {
        exchange
            .database
            .select("ps_contacts", &["uri"], "WHERE endpoint = 'sipp'")
    };
    let there = strowger_tests::wait_until(LIMIT, || (contacts().len() == 1).then(contacts));
    let uri = there.expect("the contact is in the table")[0][0]
        .clone()
        .unwrap_or_default();
    assert!(uri.contains("127.0.0.1"), "{uri}");
    server.finish(LIMIT).expect_all(1);
    let gone = strowger_tests::wait_until(LIMIT, || contacts().is_empty().then_some(()));
    assert!(gone.is_some(), "the contact is gone after Expires: 0");
}

#[test]
fn a_wrong_password_is_challenged_again_and_logged() {
    let exchange = exchange(None);
    Sipp::new("auth_failure.xml", exchange.sip())
        .account("sipp", "wrong")
        .run(LIMIT)
        .expect_all(1);
    assert!(
        exchange
            .database
            .select("ps_contacts", &["uri"], "")
            .is_empty()
    );
    exchange.expect_log("Failed to authenticate", LIMIT);
    // An unknown user gets the same answers as a known one.
    Sipp::new("auth_failure.xml", exchange.sip())
        .account("nobody", "wrong")
        .run(LIMIT)
        .expect_all(1);
}

#[test]
fn echo_returns_the_file_that_was_played_byte_for_byte() {
    let exchange = exchange(None);
    let tap = Tap::new(exchange.sip());
    let caller = Sipp::new("uac_echo_rtp.xml", tap.address())
        .account("sipp", "secret")
        .service("echo")
        .with(&["-d", "8000"]);
    // A sweep is nowhere like itself, so a shifted, repeated or lost packet shows.
    let sweep: Vec<u8> = (0..8000 * 3)
        .map(|n| {
            let time = f64::from(n) / audio::RATE;
            let phase = 2.0 * std::f64::consts::PI * (300.0 + 400.0 * time) * time;
            Law::A.encode((9000.0 * phase.sin()) as i16)
        })
        .collect();
    std::fs::write(caller.folder().join("audio.alaw"), &sweep).expect("the file to play");
    caller.run(LIMIT).expect_all(1);

    let tapped = tap.tapped();
    let joined = |packets: &[(u16, Vec<u8>)]| -> Vec<u8> {
        packets.iter().flat_map(|(_, p)| p.clone()).collect()
    };
    let (sent, returned) = (joined(&tapped.sent), joined(&tapped.returned));
    assert!(
        sent.len() >= sweep.len() - 160,
        "SIPp sent only {} bytes",
        sent.len()
    );
    let numbers: Vec<u16> = tapped.returned.iter().map(|(n, _)| *n).collect();
    assert!(
        numbers.windows(2).all(|w| w[1] == w[0].wrapping_add(1)),
        "sequence without a gap"
    );
    // The exchange may miss what was sent before it knew the source; nothing after that.
    let at = sent
        .windows(160)
        .position(|w| returned.starts_with(w))
        .expect("what came back was sent before");
    assert!(at <= 160 * 2, "the first {at} bytes did not come back");
    let compared = returned.len().min(sent.len() - at);
    assert!(
        compared >= sweep.len() - 160 * 4,
        "only {compared} bytes came back"
    );
    assert_eq!(returned[..compared], sent[at..at + compared]);
}

#[test]
fn a_call_goes_through_dial_to_a_second_sipp() {
    let server = Sipp::new("uas_answer.xml", "127.0.0.1:9".parse().expect("an address")).start();
    let exchange = exchange(Some(&server));
    call(&exchange, "uac_dial.xml", "server").expect_all(1);
    server.finish(LIMIT).expect_all(1);
    let row = exchange
        .expect_cdr(
            &["disposition", "dstchannel"],
            "WHERE dst = 'server'",
            1,
            LIMIT,
        )
        .remove(0);
    assert_eq!(row[0].as_deref(), Some("ANSWERED"));
    assert!(
        row[1]
            .as_deref()
            .is_some_and(|c| c.starts_with("PJSIP/server-")),
        "{row:?}"
    );
}

#[test]
fn cancel_while_ringing_reaches_the_other_side() {
    let server = Sipp::new(
        "uas_no_answer.xml",
        "127.0.0.1:9".parse().expect("an address"),
    )
    .start();
    let exchange = exchange(Some(&server));
    call(&exchange, "uac_cancel.xml", "server").expect_all(1);
    server.finish(LIMIT).expect_all(1);
    let row = exchange
        .expect_cdr(
            &["disposition", "billsec"],
            "WHERE dst = 'server'",
            1,
            LIMIT,
        )
        .remove(0);
    assert_eq!(row, [Some("NO ANSWER".to_owned()), Some("0".to_owned())]);
}

#[test]
fn busy_is_passed_on() {
    let server = Sipp::new("uas_busy.xml", "127.0.0.1:9".parse().expect("an address")).start();
    let exchange = exchange(Some(&server));
    call(&exchange, "uac_refused.xml", "server").expect_all(1);
    server.finish(LIMIT).expect_all(1);
    let row = exchange
        .expect_cdr(&["disposition"], "WHERE dst = 'server'", 1, LIMIT)
        .remove(0);
    assert_eq!(row, [Some("BUSY".to_owned())]);
}

#[test]
fn no_answer_in_time_goes_on_in_the_dialplan() {
    let server = Sipp::new(
        "uas_no_answer.xml",
        "127.0.0.1:9".parse().expect("an address"),
    )
    .start();
    let exchange = exchange(Some(&server));
    // After two seconds of ringing the leg is cancelled and `Busy` answers 486.
    call(&exchange, "uac_refused.xml", "short").expect_all(1);
    server.finish(LIMIT).expect_all(1);
}
