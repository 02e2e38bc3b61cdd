//! Lamps, presence and resource lists: what a subscriber is told, in which order, and what is refused.

use std::time::Duration;

use strowger_tests::wire::{SipText, param};
use strowger_tests::{Bank, Exchange, Line, SOON, Settings, Watcher, wait_until};

/// Bob's telephone shows at 201, any 3XX at the custom device of that number, and Alice may call 201.
fn exchange(more: &str, watcher_ip: &str, columns: &[(&str, &str)]) -> (Exchange, Watcher) {
    let mut exchange = Exchange::prepare(Settings {
        more: more.to_owned(),
        ..Settings::default()
    });
    exchange.subscriber_with("alice", "secret", "house", &[("callerid", "Alice <101>")]);
    exchange.subscriber("bob", "secret", "house");
    exchange.extension("house", "201", &[("Dial", "PJSIP/bob,60")]);
    for (context, name, line) in [
        ("house", "exten", "201,hint,PJSIP/bob"),
        ("house", "exten", "_3XX,hint,Custom:${EXTEN}"),
        ("house", "switch", "Realtime/@realtime_extensions"),
        ("other", "exten", "400,hint,Custom:400"),
    ] {
        exchange.database.insert(
            "static_extensions",
            &[
                ("cat_metric", "0"),
                ("var_metric", "0"),
                ("filename", "extensions.conf"),
                ("category", context),
                ("var_name", name),
                ("var_val", line),
                ("commented", "0"),
            ],
        );
    }
    exchange.extension(
        "house",
        "_9XXX",
        &[
            ("Set", "DEVICE_STATE(Custom:${EXTEN:1})=INUSE"),
            ("Hangup", ""),
        ],
    );
    let watcher = Watcher::new(watcher_ip, exchange.sip());
    watcher.known_as(&exchange, "watcher", columns);
    exchange.start();
    (exchange, watcher)
}

/// Number, event, changed headers; status and a header of the answer.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    u16,
    Option<(&'static str, &'static str)>,
);

fn state(notify: &SipText) -> String {
    let header = notify.header("Subscription-State").unwrap_or_default();
    header.split(';').next().unwrap_or_default().to_owned()
}

fn dialog(notify: &SipText) -> &str {
    let rest = notify.body.split("<state>").nth(1).unwrap_or_default();
    rest.split("</state>").next().unwrap_or_default()
}

fn version(notify: &SipText) -> u32 {
    let rest = notify.body.split("version=\"").nth(2).unwrap_or_default();
    let text = rest.split('"').next().unwrap_or_default();
    text.parse().unwrap_or_else(|_| panic!("{notify:?}"))
}

#[track_caller]
fn expect_subscriptions(exchange: &Exchange, count: u64) {
    let metric = || exchange.metric("strowger_subscriptions");
    let found = wait_until(SOON, || (metric() == count).then_some(()));
    assert!(found.is_some(), "{} subscriptions, not {count}", metric());
}

#[test]
fn a_lamp_follows_a_call_and_says_who_calls() {
    let (exchange, mut watcher) = exchange("", "127.0.77.1", &[]);
    let bank = Bank::new();
    let (alice, bob) = (
        bank.phone("alice", "secret", exchange.sip()),
        bank.phone("bob", "secret", exchange.sip()),
    );
    let request = watcher.subscribe("201", "dialog");
    let (answer, watched) = watcher.watch(&request);
    assert_eq!(answer.header("Expires"), Some("600"));
    let first = watcher.notify();
    assert_eq!(first.header("Call-ID"), Some(watched.call_id.as_str()));
    assert_eq!(first.header("Event"), Some("dialog"));
    assert_eq!(
        first.header("Content-Type"),
        Some("application/dialog-info+xml")
    );
    assert_eq!(
        first.header("Subscription-State"),
        Some("active;expires=600")
    );
    assert_eq!((dialog(&first), version(&first)), ("terminated", 0));
    let entity = format!("entity=\"sip:201@{}\"", exchange.ip());
    assert!(first.body.contains(&entity), "{}", first.body);

    bob.register();
    let call = alice.call("201");
    let bobs = bob.expect_call(SOON);
    bobs.ring();
    let ringing = watcher.notify_where("it rings", |n| dialog(n) == "early");
    assert!(
        ringing.body.contains("direction=\"recipient\"")
            && ringing.body.contains("display=\"Alice\"")
            && ringing.body.contains(&format!("sip:101@{}", exchange.ip())),
        "{}",
        ringing.body
    );
    bobs.answer();
    call.expect_answered(SOON);
    let talking = watcher.notify_where("it talks", |n| dialog(n) == "confirmed");
    assert!(version(&talking) > version(&ringing));
    assert!(!talking.body.contains("<remote>"), "{}", talking.body);
    let (_, before) = ringing.cseq().expect("a CSeq");
    assert_eq!(before, "NOTIFY");
    call.hang_up();
    let over = watcher.notify_where("it is over", |n| dialog(n) == "terminated");
    assert!(version(&over) > version(&talking));
    assert!(over.cseq() > talking.cseq());

    let end = watcher.again(&watched, 0);
    let answer = watcher.ask(&end);
    assert_eq!(
        (answer.status(), answer.header("Expires")),
        (Some(200), Some("0"))
    );
    let last = watcher.notify();
    assert_eq!(
        last.header("Subscription-State"),
        Some("terminated;reason=timeout")
    );
    expect_subscriptions(&exchange, 0);
    let late = watcher.again(&watched, 600);
    assert_eq!(watcher.ask(&late).status(), Some(481));
}

#[test]
fn what_cannot_be_subscribed_to_is_refused_with_its_reason() {
    let (exchange, mut watcher) = exchange("", "127.0.77.2", &[("sub_min_expiry", "60")]);
    let cases: [Case; 10] = [
        ("999", "dialog", &[], 404, None),
        ("201", "", &[], 400, None),
        ("201", "dialog;id=\"", &[], 400, None),
        (
            "201",
            "weather",
            &[],
            489,
            Some(("Allow-Events", "dialog, presence, message-summary, refer")),
        ),
        ("201", "Dialog", &[], 489, None),
        (
            "201",
            "dialog",
            &[("Accept", "text/plain")],
            406,
            Some((
                "Accept",
                "application/dialog-info+xml, application/pidf+xml, application/xpidf+xml",
            )),
        ),
        (
            "201",
            "dialog",
            &[("Expires", "59")],
            423,
            Some(("Min-Expires", "60")),
        ),
        (
            "201",
            "dialog",
            &[("Require", "x-more")],
            420,
            Some(("Unsupported", "x-more")),
        ),
        ("201", "dialog", &[("Contact", "")], 400, None),
        ("watcher", "message-summary", &[], 404, None),
    ];
    for (user, event, headers, status, wanted) in cases {
        let mut request = watcher.subscribe(user, event);
        for (name, value) in headers {
            match *value {
                "" => request.remove(name),
                value => request.set(name, value),
            }
        }
        let answer = watcher.ask(&request);
        assert_eq!(answer.status(), Some(status), "{request:?}\n{answer:?}");
        if let Some((name, value)) = wanted {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
    }
    let mut without = watcher.subscribe("201", "dialog");
    without.remove("Event");
    assert_eq!(watcher.ask(&without).status(), Some(489));
    // The other context is not searched.
    let other = watcher.subscribe("400", "dialog");
    assert_eq!(watcher.ask(&other).status(), Some(404));
    assert_eq!(exchange.metric("strowger_subscriptions"), 0);
    assert_eq!(exchange.metric("strowger_subscriptions_created_total"), 0);
}

#[test]
fn an_endpoint_may_be_forbidden_to_subscribe_and_may_have_a_context_for_it() {
    let (exchange, mut watcher) = exchange("", "127.0.77.3", &[("allow_subscribe", "no")]);
    let request = watcher.subscribe("201", "dialog");
    assert_eq!(watcher.ask(&request).status(), Some(603));
    let mut other = Watcher::new("127.0.77.4", exchange.sip());
    other.known_as(&exchange, "other", &[("subscribe_context", "other")]);
    let answered = wait_until(SOON, || {
        let request = other.subscribe("400", "dialog");
        (other.ask(&request).status() == Some(200)).then_some(())
    });
    assert!(answered.is_some(), "400 is in the context `other`");
    assert_eq!(dialog(&other.notify()), "terminated");
}

#[test]
fn a_subscription_ends_with_its_time_and_leaves_nothing() {
    let (exchange, mut watcher) = exchange("", "127.0.77.5", &[]);
    let mut request = watcher.subscribe("201", "presence;id=7");
    request.set("Expires", "2");
    let (answer, watched) = watcher.watch(&request);
    assert_eq!(answer.header("Expires"), Some("2"));
    let first = watcher.notify();
    assert_eq!(first.header("Event"), Some("presence;id=7"));
    assert_eq!(first.header("Content-Type"), Some("application/pidf+xml"));
    assert!(
        first.body.contains("<note>Unavailable</note>"),
        "{}",
        first.body
    );
    let refresh = watcher.again(&watched, 3);
    assert_eq!(watcher.ask(&refresh).header("Expires"), Some("3"));
    assert_eq!(state(&watcher.notify()), "active");
    let last = watcher.notify();
    assert_eq!(
        last.header("Subscription-State"),
        Some("terminated;reason=timeout")
    );
    expect_subscriptions(&exchange, 0);

    // A single look.
    let mut look = watcher.subscribe("201", "dialog");
    look.set("Expires", "0");
    watcher.watch(&look);
    let only = watcher.notify();
    assert_eq!(
        (state(&only).as_str(), dialog(&only)),
        ("terminated", "terminated")
    );
    // Who knows nothing of it any more is told no more.
    watcher.answers = 481;
    let request = watcher.subscribe("201", "dialog");
    watcher.watch(&request);
    watcher.notify();
    expect_subscriptions(&exchange, 0);
    assert_eq!(exchange.metric("strowger_subscriptions_created_total"), 3);
    assert_eq!(exchange.metric("strowger_subscriptions_ended_total"), 3);
}

#[test]
fn a_pattern_shows_the_device_of_each_number_and_changes_become_one() {
    let (exchange, mut watcher) = exchange("", "127.0.77.6", &[]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let mut request = watcher.subscribe("345", "presence");
    request.push("Accept", "application/xpidf+xml");
    watcher.watch(&request);
    let first = watcher.notify();
    assert_eq!(first.header("Content-Type"), Some("application/xpidf+xml"));
    assert!(first.body.contains("status=\"open\""), "{}", first.body);
    let call = alice.call("9345");
    call.expect_ended(SOON);
    let busy = watcher.notify();
    assert!(busy.body.contains("status=\"inuse\""), "{}", busy.body);
    // The same state again is not news.
    let call = alice.call("9345");
    call.expect_ended(SOON);
    assert!(watcher.find_notify(Duration::from_millis(300)).is_none());
}

#[test]
fn too_many_subscriptions_are_refused_until_one_ends() {
    let (exchange, mut watcher) = exchange("\n[limits]\nsubscriptions = 1\n", "127.0.77.7", &[]);
    let request = watcher.subscribe("201", "dialog");
    let (_, watched) = watcher.watch(&request);
    watcher.notify();
    let more = watcher.subscribe("201", "dialog");
    let refused = watcher.ask(&more);
    assert_eq!(
        (refused.status(), refused.header("Retry-After")),
        (Some(503), Some("30"))
    );
    assert_eq!(exchange.metric("strowger_subscriptions_refused_total"), 1);
    let end = watcher.again(&watched, 0);
    watcher.ask(&end);
    watcher.notify();
    expect_subscriptions(&exchange, 0);
    let more = watcher.subscribe("201", "dialog");
    watcher.watch(&more);
    watcher.notify();
}

#[test]
fn a_hint_that_is_taken_away_ends_its_subscriptions() {
    let (exchange, mut watcher) = exchange("", "127.0.77.8", &[]);
    let request = watcher.subscribe("201", "dialog");
    watcher.watch(&request);
    watcher.notify();
    exchange
        .database
        .execute("DELETE FROM static_extensions WHERE var_val LIKE '201,hint%'");
    let last = watcher.notify();
    assert_eq!(
        last.header("Subscription-State"),
        Some("terminated;reason=noresource")
    );
    expect_subscriptions(&exchange, 0);
}

/// The parts of a multipart body: type and text.
fn parts(notify: &SipText) -> Vec<(String, String)> {
    let kind = notify.header("Content-Type").unwrap_or_default();
    let boundary = param(kind, "boundary")
        .unwrap_or_default()
        .trim_matches('"');
    let between = format!("--{boundary}");
    let pieces = notify.body.split(between.as_str()).skip(1);
    let pieces = pieces.take_while(|piece| !piece.starts_with("--"));
    pieces
        .map(|piece| {
            let (head, text) = piece.split_once("\r\n\r\n").expect("a part has a head");
            let kind = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Type: "));
            (kind.unwrap_or_default().to_owned(), text.to_owned())
        })
        .collect()
}

#[test]
fn a_list_is_told_whole_first_and_then_in_part() {
    let (exchange, mut watcher) = exchange("", "127.0.77.9", &[]);
    for row in [
        [
            ("id", "team"),
            ("event", "presence"),
            ("list_item", "301,302,999,inner"),
            ("full_state", "no"),
        ],
        [
            ("id", "inner"),
            ("event", "presence"),
            ("list_item", "303,team"),
            ("full_state", "no"),
        ],
    ] {
        exchange.database.insert("ps_resource_list", &row);
    }
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let plain = wait_until(SOON, || {
        let request = watcher.subscribe("team", "presence");
        let answer = watcher.ask(&request);
        (answer.status() == Some(421)).then_some(answer)
    });
    assert_eq!(plain.expect("421").header("Require"), Some("eventlist"));

    let mut request = watcher.subscribe("team", "presence");
    request.push("Supported", "eventlist");
    request.push(
        "Accept",
        "application/pidf+xml, application/rlmi+xml, multipart/related",
    );
    let (answer, watched) = watcher.watch(&request);
    assert_eq!(answer.header("Require"), Some("eventlist"));
    let first = watcher.notify();
    assert_eq!(first.header("Require"), Some("eventlist"));
    let kind = first.header("Content-Type").unwrap_or_default();
    assert!(
        kind.starts_with("multipart/related;type=\"application/rlmi+xml\""),
        "{kind}"
    );
    let told = parts(&first);
    let rlmi = &told[0].1;
    assert!(told[0].0.starts_with("application/rlmi+xml"), "{told:?}");
    assert!(
        rlmi.contains("version=\"0\" fullState=\"true\"")
            && rlmi.contains(&format!("uri=\"sip:team@{}\"", exchange.ip()))
            && !rlmi.contains("999"),
        "{rlmi}"
    );
    assert_eq!(rlmi.matches("<resource ").count(), 3, "{rlmi}");
    assert_eq!(rlmi.matches("state=\"active\"").count(), 3, "{rlmi}");
    let kinds: Vec<&str> = told
        .iter()
        .skip(1)
        .map(|(kind, _)| kind.split(';').next().unwrap_or_default())
        .collect();
    assert_eq!(
        kinds,
        [
            "application/pidf+xml",
            "application/pidf+xml",
            "multipart/related"
        ]
    );

    alice.call("9302").expect_ended(SOON);
    let change = parts(&watcher.notify());
    let rlmi = &change[0].1;
    assert!(
        rlmi.contains("version=\"1\" fullState=\"false\"") && rlmi.contains("<name>302</name>"),
        "{rlmi}"
    );
    assert_eq!(rlmi.matches("<resource ").count(), 1, "{rlmi}");
    assert_eq!(change.len(), 2);
    assert!(change[1].1.contains("On the phone"), "{change:?}");

    alice.call("9303").expect_ended(SOON);
    let inner = watcher.notify();
    assert!(
        inner.body.contains("<name>inner</name>")
            && inner.body.contains("<name>303</name>")
            && !inner.body.contains("<name>302</name>"),
        "{}",
        inner.body
    );
    let refresh = watcher.again(&watched, 600);
    watcher.ask(&refresh);
    let whole = parts(&watcher.notify());
    assert!(whole[0].1.contains("fullState=\"true\""), "{whole:?}");
    assert_eq!(whole.len(), 4);
}

#[test]
fn a_publication_is_refused_as_what_it_is_and_its_sender_is_no_stranger() {
    let (_exchange, mut watcher) = exchange("", "127.0.0.31", &[]);
    for _ in 0..40 {
        let mut publish = watcher.request("PUBLISH", "watcher");
        publish.push("Event", "presence");
        publish.push("Expires", "3600");
        assert_eq!(watcher.ask(&publish).status(), Some(489));
    }
    let subscribe = watcher.subscribe("201", "dialog");
    assert_eq!(
        watcher.ask(&subscribe).status(),
        Some(200),
        "it is not blocked"
    );
}

#[test]
fn a_subscription_goes_on_after_a_crash_without_a_word_of_its_telephone() {
    let (mut exchange, mut watcher) = exchange("", "127.0.77.32", &[]);
    let request = watcher.subscribe("201", "dialog");
    let (_, watched) = watcher.watch(&request);
    let before = watcher.notify();
    let number = |notify: &SipText| notify.cseq().map_or(0, |(number, _)| number);
    let version = |notify: &SipText| -> u32 {
        let behind = notify.body.split("version=\"").nth(2);
        let text = behind.and_then(|text| text.split('"').next());
        text.and_then(|text| text.parse().ok()).expect("a version")
    };
    let rows = |exchange: &Exchange| {
        let table = "ps_subscription_persistence";
        exchange
            .database
            .select(table, &["endpoint", "expires"], "")
    };
    let kept = wait_until(SOON, || (rows(&exchange).len() == 1).then_some(()));
    assert!(kept.is_some(), "it is written down");
    exchange.kill();
    exchange.start();
    let after = watcher.notify();
    assert_eq!(after.header("Call-ID"), before.header("Call-ID"));
    assert_eq!(
        (after.header("From"), after.header("To")),
        (before.header("From"), before.header("To"))
    );
    assert!(number(&after) > number(&before));
    assert!(
        version(&after) > version(&before),
        "the telephone does not take it for old"
    );
    assert!(state(&after).starts_with("active"), "{after:?}");
    // It is prolonged and ended as ever, and then nothing is left of it.
    let again = watcher.again(&watched, 600);
    assert_eq!(watcher.ask(&again).status(), Some(200));
    let end = watcher.again(&watched, 0);
    assert_eq!(watcher.ask(&end).status(), Some(200));
    let gone = wait_until(SOON, || rows(&exchange).is_empty().then_some(()));
    assert!(gone.is_some(), "{:?}", rows(&exchange));
}

#[test]
fn a_subscriber_is_told_over_his_new_connection_and_of_the_end_of_his_endpoint() {
    let (exchange, _watcher) = exchange("", "127.0.77.21", &[]);
    let mut line = Line::tcp(exchange.sip());
    let registered = line.register(exchange.sip(), "alice", "secret");
    assert_eq!(registered.status(), Some(200), "{registered:?}");
    let at = format!("sip:301@{}", exchange.sip());
    let mut subscribe = line.request("SUBSCRIBE", &at, "alice");
    subscribe.push("Event", "dialog");
    subscribe.push("Expires", "600");
    let answer = line.ask(subscribe, "alice", "secret");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let first = line.expect_request("NOTIFY");
    line.send(&SipText::response(&first, 200, "OK", "alice"));
    drop(line);
    let ended = wait_until(SOON, || {
        (exchange.metric("strowger_connections_open") == 0).then_some(())
    });
    assert!(ended.is_some(), "the connection is gone");

    let mut line = Line::tcp(exchange.sip());
    let registered = line.register(exchange.sip(), "alice", "secret");
    assert_eq!(registered.status(), Some(200), "{registered:?}");
    let bank = Bank::new();
    let bob = bank.phone("bob", "secret", exchange.sip());
    let _call = bob.call("9301");
    let changed = line.expect_request("NOTIFY");
    line.send(&SipText::response(&changed, 200, "OK", "alice"));
    assert_eq!(dialog(&changed), "confirmed");

    let delete = "DELETE FROM ps_endpoints WHERE id = 'alice'";
    exchange.database.execute(delete);
    let last = line.expect_request("NOTIFY");
    let state = last.header("Subscription-State");
    assert_eq!(state, Some("terminated;reason=rejected"));
    line.respond(&last, 200, None);
    expect_subscriptions(&exchange, 0);
}
