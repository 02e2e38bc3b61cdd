//! Events for a hundred programs while calls come: who reads hears of everything once and in order, who never reads loses his
//! place, and no call waits for either.

use std::time::Duration;

use strowger_benches::api::{Caller, Crowd, Doors, Heard, Interest, Paced, Size, percentile};
use strowger_tests::{Exchange, SOON, Settings, alone, wait_until};

const SECRET: &str = "s3cret";
/// Calls in a second, and for how long.
const RATE: f64 = 50.0;
const TIME: Duration = Duration::from_secs(5);
/// By how much answers may come later while programs listen, in milliseconds.
const LATER_MS: f64 = 50.0;

fn exchange() -> Exchange {
    let mut exchange = Exchange::prepare(Settings::default());
    let text = exchange.configuration();
    // Of an answer that nobody takes.
    exchange.write_configuration(&text.replace("[http]\n", "[http]\nstall_s = 2\n"));
    let tester = [
        ("id", "tester"),
        ("context", "house"),
        ("disallow", "all"),
        ("allow", "alaw"),
    ];
    exchange.database.insert("ps_endpoints", &tester);
    // What the system keeps for a program that hangs is soon full of these.
    let filling = format!("Large,Filling:{}", "x".repeat(8000));
    exchange.extension(
        "house",
        "100",
        &[("UserEvent", &filling), ("Answer", ""), ("Wait", "60")],
    );
    for (category, name, value) in [
        ("general", "enabled", "yes"),
        ("program", "secret", SECRET),
        ("program", "read", "all"),
        ("program", "write", "all"),
    ] {
        exchange.database.insert(
            "static_manager",
            &[
                ("filename", "manager.conf"),
                ("category", category),
                ("var_name", name),
                ("var_val", value),
            ],
        );
    }
    exchange.database.insert(
        "api_users",
        &[
            ("uuid", "program"),
            ("name", "program"),
            ("enable", "yes"),
            ("api_key", SECRET),
            ("scopes", "events:read"),
        ],
    );
    exchange.start();
    exchange.expect_log("Manager: listening", SOON);
    exchange
}

fn middle(paced: &Paced) -> f64 {
    percentile(&paced.delays_ms, 50.0)
}

#[test]
fn who_reads_hears_of_every_call_in_order_who_hangs_is_left_and_no_call_waits() {
    let _alone = alone();
    let exchange = exchange();
    let doors = Doors {
        manager: (exchange.ip(), 5038).into(),
        http: exchange.http(),
        user: "program".to_owned(),
        secret: SECRET.to_owned(),
        key: SECRET.to_owned(),
    };
    let mut caller = Caller::new(exchange.sip()).expect("a telephone");
    let mut calls = |time| caller.pace("100", RATE, time, || true).expect("calls");
    calls(Duration::from_secs(1));
    let without = calls(TIME);
    assert_eq!(without.ended, without.begun, "{without:?}");
    let size = Size {
        managers: 48,
        streams: 47,
        stalled_managers: 3,
        stalled_streams: 2,
    };
    let crowd = Crowd::join(&doors, size, Interest::Everything).expect("programs that listen");
    let places = || {
        exchange.metric("strowger_manager_sessions_running")
            + exchange.metric("strowger_http_event_readers_running")
    };
    assert_eq!(places(), 100);
    let with = calls(TIME);
    assert_eq!(with.ended, with.begun, "{with:?}");
    let later = middle(&with) - middle(&without);
    assert!(
        later <= LATER_MS,
        "calls were answered {later:.1} ms later: {:.1} ms and {:.1} ms",
        middle(&with),
        middle(&without)
    );
    // Those that hang lose their places, by themselves.
    let left = wait_until(SOON, || (places() == 95).then_some(()));
    assert!(left.is_some(), "{} have a place still", places());
    assert!(exchange.metric("strowger_manager_sessions_too_slow_total") >= 3);
    assert_eq!(exchange.metric("strowger_manager_events_refused_total"), 0);
    let heard = crowd.leave().expect("what was heard");
    assert_eq!(heard.len(), 100);
    let (stalled, healthy): (Vec<Heard>, Vec<Heard>) =
        heard.into_iter().partition(|one| one.is_stalled);
    for one in &stalled {
        assert!(one.is_left, "{one:?}");
    }
    let order = healthy[0].order;
    for one in &healthy {
        let good = !one.is_left && one.notice.is_none() && one.breaks == 0;
        assert!(good, "{one:?}");
        // Each call once, and all in one order.
        assert_eq!(
            (one.hangups, one.order),
            (with.begun as u64, order),
            "{one:?}"
        );
    }
}
