//! Five hundred calls at once for thirty seconds: no call fails, and no packet is lost.

use std::time::Duration;
use strowger_tests::{Bank, Exchange, Manner, Phone, SOON, Sipp, Source, alone};

const CALLS: usize = 500;

/// With two cores for the exchange and the telephones together, calls are begun at this pace.
const PER_SECOND: u32 = 50;

#[test]
fn five_hundred_bridged_calls_lose_no_packet() {
    let _alone = alone();
    let mut exchange = Exchange::new();
    exchange.extension("load", "_callee.", &[("Dial", "PJSIP/${EXTEN},90")]);
    for n in 0..10 {
        exchange.subscriber(&format!("caller{n}"), "secret", "load");
        exchange.subscriber(&format!("callee{n}"), "secret", "load");
    }
    exchange.start();
    let bank = Bank::new();
    let phone = |name: String| -> Phone {
        let phone = bank.phone(&name, "secret", exchange.sip());
        phone.register();
        phone.keep_samples(false).set_source(Source::Tone(440.0));
        phone
    };
    let callers: Vec<Phone> = (0..10).map(|n| phone(format!("caller{n}"))).collect();
    for n in 0..10 {
        phone(format!("callee{n}")).set_manner(Manner::Answer(Duration::from_millis(100)));
    }
    for n in 0..CALLS {
        callers[n % 10].call(&format!("callee{}", n / 10 % 10));
        std::thread::sleep(Duration::from_secs(1) / PER_SECOND);
    }
    let tally = bank.wait_for(SOON, |t| t.up == 2 * CALLS);
    assert_eq!((tally.up, tally.failed), (2 * CALLS, 0), "{tally:?}");
    std::thread::sleep(Duration::from_secs(30));
    // 1000 legs hear 50 packets a second for at least thirty seconds; a machine that cannot send so many takes longer.
    let enough = 2 * CALLS as u64 * 40 * 30;
    bank.wait_for(4 * SOON, |t| t.packets >= enough);
    let tally = bank.tally();
    assert_eq!(
        tally.up,
        2 * CALLS,
        "all calls live for thirty seconds: {tally:?}"
    );
    bank.hang_up_all();
    let tally = bank.wait_for(SOON, |t| t.up == 0);
    assert_eq!(
        (tally.answered, tally.up, tally.failed),
        (2 * CALLS, 0, 0),
        "{tally:?}"
    );
    assert_eq!((tally.lost, tally.deaf), (0, 0), "{tally:?}");
    assert!(tally.packets >= enough, "{tally:?}");
    let rows = exchange.expect_cdr(
        &["disposition"],
        "WHERE disposition = 'ANSWERED'",
        CALLS,
        SOON,
    );
    assert_eq!(rows.len(), CALLS);
}

#[test]
fn sipp_holds_five_hundred_calls_and_none_fails() {
    let _alone = alone();
    let mut exchange = Exchange::new();
    exchange.subscriber("sipp", "secret", "load");
    exchange.extension("load", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    let result = Sipp::new("uac_500.xml", exchange.sip())
        .account("sipp", "secret")
        .service("echo")
        .calls(CALLS as u32, CALLS as u32, PER_SECOND)
        .run(Duration::from_secs(300));
    result.expect_all(CALLS as u64);
    let at_once: u64 = result
        .statistics
        .get("CurrentCall")
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    assert_eq!(at_once, 0, "nothing is left over");
    exchange.expect_cdr(
        &["disposition"],
        "WHERE disposition = 'ANSWERED'",
        CALLS,
        SOON,
    );
}
