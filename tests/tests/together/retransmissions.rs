//! Lost 200, lost ACK, lost BYE: the exchange sends them again at the times of RFC 3261 and stops when it is answered.

use strowger_tests::{Bank, Exchange, SOON, Sipp, wait_until};

/// How often the exchange's 200 to the INVITE came.
fn answers(messages: &str) -> usize {
    messages
        .split("UDP message received")
        .filter(|m| m.contains("SIP/2.0 200") && m.contains("CSeq: 2 INVITE"))
        .count()
}

/// How many came in a call of that scenario, from its beginning to its end.
fn count_answers(scenario: &str) -> usize {
    let mut exchange = Exchange::new();
    exchange.subscriber("sipp", "secret", "sipp");
    exchange.extension("sipp", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    let result = Sipp::new(scenario, exchange.sip())
        .account("sipp", "secret")
        .service("echo")
        .run(SOON);
    answers(&result.expect_all(1).messages)
}

// A busy machine may send an ACK or an answer late enough for one more copy to be on its way; without an end there would
// be another every four seconds.

#[test]
fn a_lost_200_comes_again_after_half_a_second() {
    let count = count_answers("lost_200.xml");
    assert!((2..=3).contains(&count), "{count}");
}

#[test]
fn without_ack_the_200_comes_at_doubling_intervals_and_stops_with_the_ack() {
    let count = count_answers("lost_ack.xml");
    assert!((4..=5).contains(&count), "{count}");
}

#[test]
fn a_lost_bye_comes_again_until_it_is_answered() {
    let server = Sipp::new("lost_bye.xml", "127.0.0.1:9".parse().expect("an address")).start();
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "sipp");
    exchange.server(&format!("sip:{}", server.address()), "sipp");
    exchange.extension("sipp", "server", &[("Dial", "PJSIP/server,60")]);
    exchange.start();
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    call.expect_answered(SOON);
    // The ACK of the other side has to have come before the BYE, or the scenario does not go on.
    let acknowledged = wait_until(SOON, || {
        server.messages().contains("ACK sip:").then_some(())
    });
    assert!(acknowledged.is_some());
    call.hang_up();
    let messages = server.finish(SOON).expect_all(1).messages.clone();
    let copies = messages.matches("BYE sip:").count();
    assert!(
        (3..=4).contains(&copies),
        "{copies} BYE: at once, after 0.5 s and after 1.5 s"
    );
}
