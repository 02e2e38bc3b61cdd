//! Lost 200, lost ACK, lost BYE: the exchange sends them again at the times of RFC 3261 and stops when it is answered.

use std::time::Duration;
use strowger_tests::{Bank, Exchange, Sipp};

const LIMIT: Duration = Duration::from_secs(30);

/// How often the exchange's 200 to the INVITE came.
fn answers(messages: &str) -> usize {
    messages
        .split("UDP message received")
        .filter(|m| m.contains("SIP/2.0 200") && m.contains("CSeq: 2 INVITE"))
        .count()
}

fn count_answers(scenario: &str, wait: Duration) -> usize {
    let mut exchange = Exchange::new();
    exchange.subscriber("sipp", "secret", "sipp");
    exchange.extension("sipp", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    let caller = Sipp::new(scenario, exchange.sip())
        .account("sipp", "secret")
        .service("echo")
        .start();
    std::thread::sleep(wait);
    let count = answers(&caller.messages());
    caller.finish(LIMIT).expect_all(1);
    count
}

#[test]
fn a_lost_200_comes_again_after_half_a_second() {
    assert_eq!(
        count_answers("lost_200.xml", Duration::from_millis(2000)),
        2
    );
}

#[test]
fn without_ack_the_200_comes_at_doubling_intervals_and_stops_with_the_ack() {
    assert_eq!(
        count_answers("lost_ack.xml", Duration::from_millis(8500)),
        4
    );
}

#[test]
fn a_lost_bye_comes_again_until_it_is_answered() {
    let server = Sipp::new("lost_bye.xml", "127.0.0.1:9".parse().expect("an address")).start();
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "sipp");
    exchange.database.insert(
        "ps_aors",
        &[
            ("id", "server"),
            ("contact", &format!("sip:{}", server.address())),
        ],
    );
    let row = [
        ("id", "server"),
        ("aors", "server"),
        ("context", "sipp"),
        ("disallow", "all"),
        ("allow", "alaw"),
    ];
    exchange.database.insert("ps_endpoints", &row);
    exchange.extension("sipp", "server", &[("Dial", "PJSIP/server,20")]);
    exchange.start();
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    call.expect_answered(LIMIT);
    std::thread::sleep(Duration::from_millis(300));
    call.hang_up();
    std::thread::sleep(Duration::from_millis(1900));
    let copies = server.messages().matches("BYE sip:").count();
    assert_eq!(copies, 3, "at once, after 0.5 s and after 1.5 s");
    server.finish(LIMIT).expect_all(1);
}
