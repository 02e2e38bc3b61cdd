//! Message waiting: by subscription, and without being asked.

use std::time::Duration;

use strowger_tests::wire::SipText;
use strowger_tests::{Bank, Exchange, SOON, Source, Watcher, wait_until};

/// Whoever calls 300 leaves a message in mailbox 100.
fn exchange(watcher_ip: &str, mailboxes_of: &str, columns: &[(&str, &str)]) -> (Exchange, Watcher) {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "house");
    exchange.extension("house", "300", &[("VoiceMail", "100@default,s")]);
    for mailbox in ["100", "101"] {
        exchange.database.insert(
            "voicemail",
            &[
                ("context", "default"),
                ("mailbox", mailbox),
                ("password", "4711"),
            ],
        );
    }
    let mut aor = vec![("id", "watcher"), ("max_contacts", "5")];
    if !mailboxes_of.is_empty() {
        aor.push(("mailboxes", mailboxes_of));
        aor.push(("voicemail_extension", "*97"));
    }
    exchange.database.insert("ps_aors", &aor);
    let watcher = Watcher::new(watcher_ip, exchange.sip());
    watcher.known_as(&exchange, "watcher", columns);
    exchange.start();
    (exchange, watcher)
}

/// Alice leaves a message.
fn leave_message(exchange: &Exchange) {
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.set_source(Source::Tone(440.0));
    let call = alice.call("300");
    call.expect_answered(SOON);
    let before = call.sent();
    let spoken = wait_until(SOON, || (call.sent() > before + 150).then_some(()));
    assert!(spoken.is_some(), "Alice speaks");
    call.hang_up();
    call.expect_ended(SOON);
}

fn register(watcher: &mut Watcher) -> SipText {
    let mut request = watcher.request("REGISTER", "watcher");
    let contact = format!("<sip:watcher@{}>", watcher.address());
    request.push("Contact", &contact);
    request.push("Expires", "600");
    let from = request.header("To").unwrap_or_default().to_owned();
    request.set("From", &format!("{from};tag=r"));
    let answer = watcher.ask(&request);
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    answer
}

#[test]
fn a_subscriber_is_told_of_the_messages_in_the_mailboxes_of_an_aor() {
    let (exchange, mut watcher) = exchange("127.0.78.1", "100@default,101", &[]);
    let request = watcher.subscribe("watcher", "message-summary");
    watcher.watch(&request);
    let first = watcher.notify();
    assert_eq!(
        first.header("Content-Type"),
        Some("application/simple-message-summary")
    );
    assert_eq!(
        first.body,
        format!(
            "Messages-Waiting: no\r\nMessage-Account: sip:*97@{}\r\nVoice-Message: 0/0 (0/0)\r\n",
            exchange.ip()
        )
    );
    leave_message(&exchange);
    let told = watcher.notify();
    assert!(
        told.body.starts_with("Messages-Waiting: yes\r\n"),
        "{}",
        told.body
    );
    assert!(
        told.body.ends_with("Voice-Message: 1/0 (0/0)\r\n"),
        "{}",
        told.body
    );
}

#[test]
fn an_endpoint_with_mailboxes_is_told_at_its_registration_and_of_changes() {
    let (exchange, mut watcher) = exchange(
        "127.0.78.2",
        "100@default",
        &[
            ("mailboxes", "100@default"),
            ("voicemail_extension", "98"),
            ("mwi_from_user", "mwi"),
        ],
    );
    register(&mut watcher);
    let first = watcher.notify();
    assert_eq!(first.header("Subscription-State"), Some("terminated"));
    assert_eq!(first.header("Event"), Some("message-summary"));
    let from = first.header("From").unwrap_or_default();
    assert!(from.starts_with("<sip:mwi@"), "{from}");
    assert_eq!(
        first.uri(),
        Some(format!("sip:watcher@{}", watcher.address()).as_str())
    );
    assert!(
        first.body.contains("Message-Account: sip:98@")
            && first.body.contains("Voice-Message: 0/0 (0/0)"),
        "{}",
        first.body
    );
    // The same contact in the same call is not new.
    leave_message(&exchange);
    let told = watcher.notify();
    assert!(
        told.body.contains("Voice-Message: 1/0 (0/0)"),
        "{}",
        told.body
    );
    // Who is told without asking is not told twice.
    let request = watcher.subscribe("watcher", "message-summary");
    assert_eq!(watcher.ask(&request).status(), Some(500));
}

#[test]
fn a_subscription_replaces_what_comes_unasked_where_that_is_wanted() {
    let (mut exchange, mut watcher) = exchange(
        "127.0.78.3",
        "100@default",
        &[
            ("mailboxes", "100@default"),
            ("mwi_subscribe_replaces_unsolicited", "yes"),
        ],
    );
    register(&mut watcher);
    assert_eq!(
        watcher.notify().header("Subscription-State"),
        Some("terminated")
    );
    let request = watcher.subscribe("watcher", "message-summary");
    watcher.watch(&request);
    let first = watcher.notify();
    assert_eq!(
        first.header("Subscription-State"),
        Some("active;expires=600")
    );
    leave_message(&exchange);
    let told = watcher.notify();
    assert_eq!(told.header("Call-ID"), first.header("Call-ID"));
    assert!(
        told.body.contains("Voice-Message: 1/0 (0/0)"),
        "{}",
        told.body
    );
    assert!(watcher.find_notify(Duration::from_millis(300)).is_none());
    // So it is after a crash: the subscription goes on, and nothing comes besides.
    let kept = wait_until(SOON, || {
        let database = &exchange.database;
        let rows = database.select("ps_subscription_persistence", &["endpoint"], "");
        let contacts = database.select("ps_contacts", &["id"], "");
        (rows.len() == 1 && contacts.len() == 1).then_some(())
    });
    assert!(kept.is_some(), "both are written down");
    exchange.kill();
    exchange.start();
    let after = watcher.notify();
    assert_eq!(after.header("Call-ID"), first.header("Call-ID"));
    let more = watcher.find_notify(Duration::from_millis(1500));
    assert!(more.is_none(), "{more:?}");
}

#[test]
fn each_mailbox_is_told_by_itself_where_they_are_not_added_up() {
    let (_exchange, mut watcher) = exchange(
        "127.0.78.4",
        "",
        &[
            ("mailboxes", "100@default,101@default"),
            ("aggregate_mwi", "no"),
        ],
    );
    register(&mut watcher);
    let (first, second) = (watcher.notify(), watcher.notify());
    assert_ne!(first.header("Call-ID"), second.header("Call-ID"));
    assert!(watcher.find_notify(Duration::from_millis(300)).is_none());
}
