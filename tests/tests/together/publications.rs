//! State that exchanges tell each other by PUBLISH (RFC 3903): what another publishes here shows on lamps, and what happens here is
//! published there.

use std::time::Duration;

use strowger_tests::wire::SipText;
use strowger_tests::{Bank, Exchange, SOON, Watcher, wait_until};

const DEVICES: &str = "asterisk-devicestate";
const MAILBOXES: &str = "asterisk-mwi";

/// A section of `pjsip.conf`; sections of one name are told apart by their number.
fn section(exchange: &Exchange, name: &str, number: &str, options: &[(&str, &str)]) {
    for (option, value) in options {
        exchange.database.insert(
            "static_pjsip",
            &[
                ("cat_metric", number),
                ("var_metric", "0"),
                ("filename", "pjsip.conf"),
                ("category", name),
                ("var_name", option),
                ("var_val", value),
                ("commented", "0"),
            ],
        );
    }
}

fn hint(exchange: &Exchange, exten: &str, device: &str) {
    for (name, value) in [
        ("exten", format!("{exten},hint,{device}")),
        ("switch", "Realtime/@realtime_extensions".to_owned()),
    ] {
        exchange.database.insert(
            "static_extensions",
            &[
                ("cat_metric", "0"),
                ("var_metric", "0"),
                ("filename", "extensions.conf"),
                ("category", "house"),
                ("var_name", name),
                ("var_val", &value),
                ("commented", "0"),
            ],
        );
    }
}

/// Takes the states of devices of PJSIP and of all mailboxes that endpoint `office` publishes to `office`.
fn takes(exchange: &Exchange) {
    let inbound = [
        ("type", "inbound-publication"),
        ("endpoint", "office"),
        ("event_asterisk-devicestate", "office"),
        ("event_asterisk-mwi", "office"),
    ];
    section(exchange, "office", "0", &inbound);
    let accepted = [
        ("type", "asterisk-publication"),
        ("device_state", "yes"),
        ("device_state_filter", "^PJSIP/"),
        ("mailbox_state", "yes"),
    ];
    section(exchange, "office", "1", &accepted);
}

fn device(name: &str, state: &str) -> String {
    format!(
        r#"{{"type":"devicestate","device":"{name}","state":"{state}","cachable":1,"eid":"02:00:00:00:00:07"}}"#
    )
}

/// A PUBLISH of `office`; an empty tag begins a publication, an empty body refreshes it.
fn publish(office: &mut Watcher, event: &str, tag: &str, expires: u32, body: &str) -> SipText {
    let mut request = office.request("PUBLISH", "office");
    request.push("Event", event);
    request.push("Expires", &expires.to_string());
    if !tag.is_empty() {
        request.push("SIP-If-Match", tag);
    }
    if !body.is_empty() {
        request.push("Content-Type", "application/json");
        body.clone_into(&mut request.body);
    }
    office.ask(&request)
}

#[track_caller]
fn taken(answer: &SipText) -> String {
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let tag = answer.header("SIP-ETag").unwrap_or_default().to_owned();
    assert!(!tag.is_empty(), "{answer:?}");
    tag
}

#[track_caller]
fn lamp_shows(lamp: &Watcher, dialog: &str) {
    let state = format!("<state>{dialog}</state>");
    lamp.notify_where(dialog, |n| n.body.contains(&state));
}

#[test]
fn states_of_another_exchange_show_on_lamps_until_they_are_taken_back_or_expire() {
    let mut exchange = Exchange::new();
    takes(&exchange);
    hint(&exchange, "555", "PJSIP/remote");
    let mut office = Watcher::new("127.0.81.1", exchange.sip());
    office.known_as(&exchange, "office", &[]);
    let mut lamp = Watcher::new("127.0.81.2", exchange.sip());
    lamp.known_as(&exchange, "lamp", &[]);
    exchange.start();
    let request = lamp.subscribe("555", "dialog");
    lamp.watch(&request);
    lamp_shows(&lamp, "terminated");
    let mut tell = |tag: &str, expires, state: &str| {
        let body = match state {
            "" => String::new(),
            state => device("PJSIP/remote", state),
        };
        publish(&mut office, DEVICES, tag, expires, &body)
    };
    let answer = tell("", 600, "INUSE");
    assert_eq!(answer.header("Expires"), Some("600"));
    let first = taken(&answer);
    lamp_shows(&lamp, "confirmed");
    let second = taken(&tell(&first, 600, "RINGING"));
    assert_ne!(first, second);
    lamp_shows(&lamp, "early");
    assert_eq!(
        tell(&first, 600, "INUSE").status(),
        Some(412),
        "a former tag"
    );
    let third = taken(&tell(&second, 600, ""));
    assert_eq!(exchange.metric("strowger_publications"), 1);
    let answer = tell(&third, 0, "");
    assert_eq!(answer.header("Expires"), Some("0"));
    taken(&answer);
    lamp_shows(&lamp, "terminated");
    assert_eq!(
        tell(&third, 600, "").status(),
        Some(412),
        "it was taken back"
    );
    taken(&tell("", 1, "INUSE"));
    lamp_shows(&lamp, "confirmed");
    lamp_shows(&lamp, "terminated");
    let none = wait_until(SOON, || {
        (exchange.metric("strowger_publications") == 0).then_some(())
    });
    assert!(none.is_some(), "it expired");
}

#[test]
fn messages_that_wait_at_another_exchange_are_told_to_subscribers() {
    let mut exchange = Exchange::new();
    takes(&exchange);
    let mut office = Watcher::new("127.0.81.3", exchange.sip());
    office.known_as(&exchange, "office", &[]);
    let mut lamp = Watcher::new("127.0.81.4", exchange.sip());
    lamp.known_as(&exchange, "lamp", &[]);
    let aor = [("id", "lamp"), ("mailboxes", "7@remote")];
    exchange.database.insert("ps_aors", &aor);
    exchange.start();
    let request = lamp.subscribe("lamp", "message-summary");
    lamp.watch(&request);
    let body = r#"{"type":"mailboxstate","uniqueid":"7@remote","old":1,"new":3,"eid":"a"}"#;
    let tag = taken(&publish(&mut office, MAILBOXES, "", 600, body));
    lamp.notify_where("three wait", |n| n.body.contains("Voice-Message: 3/1"));
    taken(&publish(&mut office, MAILBOXES, &tag, 0, ""));
    lamp.notify_where("none does", |n| n.body.contains("Voice-Message: 0/0"));
}

#[test]
fn what_cannot_be_published_is_refused_with_its_reason() {
    let mut exchange = Exchange::new();
    takes(&exchange);
    let closed = [
        ("type", "inbound-publication"),
        ("event_asterisk-mwi", "closed"),
    ];
    section(&exchange, "closed", "0", &closed);
    let nothing = [("type", "asterisk-publication"), ("device_state", "yes")];
    section(&exchange, "closed", "1", &nothing);
    hint(&exchange, "556", "Custom:away");
    let mut office = Watcher::new("127.0.81.5", exchange.sip());
    office.known_as(&exchange, "office", &[]);
    let mut other = Watcher::new("127.0.81.6", exchange.sip());
    other.known_as(&exchange, "other", &[]);
    let auth = [("id", "proof"), ("username", "x"), ("password", "y")];
    exchange.database.insert("ps_auths", &auth);
    let mut stranger = Watcher::new("127.0.81.7", exchange.sip());
    stranger.known_as(&exchange, "stranger", &[("auth", "proof")]);
    exchange.start();
    let busy = device("PJSIP/remote", "INUSE");
    let mail = r#"{"type":"mailboxstate","uniqueid":"7","old":1,"new":3,"eid":"a"}"#;
    let json = "application/json";
    for (user, event, kind, body, status, header) in [
        (
            "office",
            "presence",
            json,
            busy.as_str(),
            489,
            Some(("Allow-Events", "asterisk-devicestate, asterisk-mwi")),
        ),
        ("nobody", DEVICES, json, &busy, 404, None),
        ("closed", DEVICES, json, &busy, 404, None),
        ("closed", MAILBOXES, json, mail, 200, None),
        ("office", DEVICES, json, mail, 400, None),
        ("office", DEVICES, json, "", 400, None),
        (
            "office",
            DEVICES,
            json,
            "{",
            400,
            Some(("Warning", "399 strowger \"the body is no JSON\"")),
        ),
        (
            "office",
            DEVICES,
            "text/plain",
            &busy,
            415,
            Some(("Accept", json)),
        ),
    ] {
        let mut request = office.request("PUBLISH", user);
        request.push("Event", event);
        request.push("Content-Type", kind);
        body.clone_into(&mut request.body);
        let answer = office.ask(&request);
        assert_eq!(answer.status(), Some(status), "{request:?}");
        if let Some((name, value)) = header {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
    }
    assert_eq!(
        publish(&mut other, DEVICES, "", 600, &busy).status(),
        Some(403)
    );
    assert_eq!(
        publish(&mut stranger, DEVICES, "", 600, &busy).status(),
        Some(401)
    );
    // Of one's own publication nobody else has a part, even if he knows its tag.
    let tag = taken(&publish(&mut office, DEVICES, "", 600, &busy));
    assert_eq!(
        publish(&mut other, DEVICES, &tag, 0, "").status(),
        Some(403)
    );
    assert_eq!(
        publish(&mut office, MAILBOXES, &tag, 0, "").status(),
        Some(412)
    );
    // What the filter does not let through is taken and means nothing.
    let request = other.subscribe("556", "dialog");
    other.watch(&request);
    lamp_shows(&other, "terminated");
    taken(&publish(
        &mut office,
        DEVICES,
        &tag,
        600,
        &device("Custom:away", "INUSE"),
    ));
    assert!(other.find_notify(Duration::from_millis(500)).is_none());
}

#[test]
fn states_that_are_not_taken_are_no_fault_of_who_tells_them_and_change_nothing() {
    let mut exchange = Exchange::new();
    let inbound = [
        ("type", "inbound-publication"),
        ("event_asterisk-devicestate", "office"),
        ("event_asterisk-mwi", "office"),
    ];
    section(&exchange, "office", "0", &inbound);
    let accepted = [
        ("type", "asterisk-publication"),
        ("device_state", "no"),
        ("mailbox_state", "yes"),
    ];
    section(&exchange, "office", "1", &accepted);
    hint(&exchange, "556", "PJSIP/remote");
    let mut office = Watcher::new("127.0.81.12", exchange.sip());
    office.known_as(&exchange, "office", &[]);
    let mut lamp = Watcher::new("127.0.81.13", exchange.sip());
    lamp.known_as(&exchange, "lamp", &[]);
    exchange.start();
    let request = lamp.subscribe("556", "dialog");
    lamp.watch(&request);
    lamp_shows(&lamp, "terminated");
    let busy = device("PJSIP/remote", "INUSE");
    let tag = taken(&publish(&mut office, DEVICES, "", 600, &busy));
    let tag = taken(&publish(&mut office, DEVICES, &tag, 600, &busy));
    assert!(lamp.find_notify(Duration::from_millis(500)).is_none());
    taken(&publish(&mut office, DEVICES, &tag, 0, ""));
    assert_eq!(exchange.metric("strowger_publications_refused"), 0);
}

#[test]
fn nobody_publishes_by_a_name_alone() {
    let mut exchange = Exchange::new();
    let open = [
        ("type", "inbound-publication"),
        ("event_asterisk-devicestate", "open"),
    ];
    section(&exchange, "open", "0", &open);
    let takes = [("type", "asterisk-publication"), ("device_state", "yes")];
    section(&exchange, "open", "1", &takes);
    let mut known = Watcher::new("127.0.81.10", exchange.sip());
    known.known_as(&exchange, "known", &[]);
    // Whoever writes this into From is found to be this endpoint, and nothing asks for a password.
    let named = [("id", "watcher"), ("identify_by", "username")];
    exchange.database.insert("ps_endpoints", &named);
    let mut stranger = Watcher::new("127.0.81.11", exchange.sip());
    exchange.start();
    let tell = |watcher: &mut Watcher, body: &str| {
        let mut request = watcher.request("PUBLISH", "open");
        request.push("Event", DEVICES);
        request.push("Content-Type", "application/json");
        body.clone_into(&mut request.body);
        watcher.ask(&request)
    };
    let busy = device("PJSIP/remote", "INUSE");
    assert_eq!(tell(&mut stranger, &busy).status(), Some(403));
    let long = format!("{busy}{}", " ".repeat(4096));
    assert_eq!(tell(&mut known, &long).status(), Some(413));
    assert_eq!(exchange.metric("strowger_publications"), 0);
    taken(&tell(&mut known, &busy));
    assert_eq!(exchange.metric("strowger_publications"), 1);
    assert_eq!(exchange.metric("strowger_publications_refused"), 2);
    // One endpoint keeps no more than a hundred.
    for _ in 1..100 {
        taken(&tell(&mut known, &busy));
    }
    let full = tell(&mut known, &busy);
    assert_eq!(full.status(), Some(503));
    assert_eq!(full.header("Retry-After"), Some("60"));
}

/// The other exchange, as a test plays it.
struct Other {
    sip: Watcher,
    tags: u32,
}

impl Other {
    /// The next PUBLISH, not answered yet.
    #[track_caller]
    fn receive(&self) -> SipText {
        let found = wait_until(SOON, || {
            let message = self.sip.receive()?;
            (message.method() == Some("PUBLISH")).then_some(message)
        });
        found.expect("a PUBLISH")
    }

    fn answer(&mut self, request: &SipText, status: u16) {
        let mut response = SipText::response(request, status, "As Told", "o");
        if status == 200 {
            self.tags += 1;
            response.push("SIP-ETag", &format!("tag{}", self.tags));
            response.push("Expires", request.header("Expires").unwrap_or_default());
        }
        if status == 401 {
            let challenge = "Digest realm=\"other\", nonce=\"n1\", algorithm=MD5";
            response.push("WWW-Authenticate", challenge);
        }
        self.sip.send(&response);
    }

    /// The next PUBLISH that says this; all until then are taken.
    #[track_caller]
    fn told(&mut self, words: &[&str]) -> SipText {
        loop {
            let request = self.receive();
            self.answer(&request, 200);
            if words.iter().all(|word| request.body.contains(word)) {
                return request;
            }
        }
    }
}

#[test]
fn what_happens_here_is_published_with_proof_refreshed_and_begun_anew_where_it_was_forgotten() {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "house");
    exchange.subscriber("bob", "secret", "house");
    exchange.extension("house", "quiet", &[("Answer", ""), ("Wait", "60")]);
    let mut other = Other {
        sip: Watcher::new("127.0.81.8", exchange.sip()),
        tags: 0,
    };
    let auth = [
        ("id", "proof"),
        ("username", "here"),
        ("password", "secret"),
    ];
    exchange.database.insert("ps_auths", &auth);
    let server = format!("sip:house@{}", other.sip.address());
    let row = [
        ("id", "out"),
        ("server_uri", server.as_str()),
        ("event", DEVICES),
        ("expiration", "4"),
        ("outbound_auth", "proof"),
        ("@device_state_filter", "^PJSIP/"),
    ];
    exchange.database.insert("ps_outbound_publishes", &row);
    let asks = [("id", "house"), ("devicestate_publish", "out")];
    exchange.database.insert("ps_asterisk_publications", &asks);
    exchange.start();
    // It asks for everything first, and proves who it is.
    let first = other.receive();
    assert_eq!(first.uri(), Some(server.as_str()));
    assert_eq!(first.header("Event"), Some(DEVICES));
    assert_eq!(first.header("Expires"), Some("4"));
    assert_eq!(first.header("SIP-If-Match"), None);
    assert!(
        first.body.contains("\"type\":\"refresh\""),
        "{}",
        first.body
    );
    other.answer(&first, 401);
    let proved = other.receive();
    let given = proved.header("Authorization").unwrap_or_default();
    assert!(given.contains("username=\"here\""), "{given}");
    assert_eq!(proved.body, first.body);
    other.answer(&proved, 200);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.register();
    other.told(&["\"device\":\"PJSIP/alice\"", "\"state\":\"NOT_INUSE\""]);
    let call = alice.call("quiet");
    call.expect_answered(SOON);
    let busy = other.told(&["\"device\":\"PJSIP/alice\"", "\"state\":\"INUSE\""]);
    let tag = format!("tag{}", other.tags - 1);
    assert_eq!(busy.header("SIP-If-Match"), Some(tag.as_str()));
    // Nothing changes: it is refreshed, without a word.
    let refresh = other.receive();
    assert_eq!(refresh.body, "", "{refresh:?}");
    let tag = format!("tag{}", other.tags);
    assert_eq!(refresh.header("SIP-If-Match"), Some(tag.as_str()));
    // The other has forgotten it: everything is told anew.
    other.answer(&refresh, 412);
    let anew = other.receive();
    assert_eq!(anew.header("SIP-If-Match"), None, "{anew:?}");
    other.answer(&anew, 200);
    other.told(&["\"device\":\"PJSIP/alice\"", "\"state\":\"INUSE\""]);
    exchange
        .database
        .execute("DELETE FROM ps_outbound_publishes");
    let removed = wait_until(SOON, || {
        let request = other.receive();
        other.answer(&request, 200);
        (request.header("Expires") == Some("0")).then_some(request)
    });
    let removed = removed.expect("it is taken back");
    assert!(removed.header("SIP-If-Match").is_some(), "{removed:?}");
}

#[test]
fn extensions_are_published_each_by_itself_to_who_answers_watchers() {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "house");
    exchange.extension("house", "quiet", &[("Answer", ""), ("Wait", "60")]);
    hint(&exchange, "555", "PJSIP/alice");
    hint(&exchange, "666", "PJSIP/alice");
    let mut other = Other {
        sip: Watcher::new("127.0.81.12", exchange.sip()),
        tags: 0,
    };
    let row = [
        ("id", "lamps"),
        ("server_uri", &format!("sip:{}", other.sip.address())),
        ("from_uri", "sip:house.example"),
        ("event", "presence"),
        ("multi_user", "yes"),
        ("@body", "application/pidf+xml"),
        ("@context", "^house$"),
        ("@exten", "^5"),
    ];
    exchange.database.insert("ps_outbound_publishes", &row);
    exchange.start();
    let first = other.told(&["<basic>closed</basic>"]);
    let uri = format!("sip:555@{}", other.sip.address());
    assert_eq!(first.uri(), Some(uri.as_str()));
    assert_eq!(first.header("Event"), Some("presence"));
    assert_eq!(first.header("Content-Type"), Some("application/pidf+xml"));
    let from = first.header("From").unwrap_or_default();
    assert!(from.starts_with("<sip:555@house.example>"), "{from}");
    assert!(
        first.body.contains("entity=\"sip:555@house.example\""),
        "{}",
        first.body
    );
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.register();
    other.told(&["<basic>open</basic>"]);
    let call = alice.call("quiet");
    call.expect_answered(SOON);
    let busy = other.told(&["On the phone"]);
    assert_eq!(busy.uri(), Some(uri.as_str()), "666 is nobody's business");
    assert!(busy.header("SIP-If-Match").is_some());
    exchange
        .database
        .execute("DELETE FROM ps_outbound_publishes");
    let removed = other.receive();
    assert_eq!(removed.header("Expires"), Some("0"), "{removed:?}");
    assert_eq!(removed.uri(), Some(uri.as_str()));
    assert_eq!(removed.body, "");
    other.answer(&removed, 200);
}

#[test]
fn two_exchanges_know_of_each_others_telephones_and_again_after_one_has_started_anew() {
    let (mut here, mut there) = (Exchange::new(), Exchange::new());
    here.subscriber("alice", "secret", "house");
    here.extension("house", "quiet", &[("Answer", ""), ("Wait", "60")]);
    takes(&there);
    hint(&there, "555", "PJSIP/alice");
    // Each is an endpoint of the other, known by its address.
    for (at, name, peer) in [(&there, "office", &here), (&here, "branch", &there)] {
        let row = [("id", name), ("context", "house")];
        at.database.insert("ps_endpoints", &row);
        let ip = peer.ip().to_string();
        let row = [("id", name), ("endpoint", name), ("match", &ip)];
        at.database.insert("ps_endpoint_id_ips", &row);
    }
    let server = format!("sip:office@{}", there.sip());
    let out = [
        ("type", "outbound-publish"),
        ("server_uri", server.as_str()),
        ("event", DEVICES),
        ("expiration", "8"),
    ];
    section(&here, "out", "0", &out);
    let mut lamp = Watcher::new("127.0.81.9", there.sip());
    lamp.known_as(&there, "lamp", &[]);
    there.start();
    here.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", here.sip());
    alice.register();
    let request = lamp.subscribe("555", "dialog");
    lamp.watch(&request);
    let call = alice.call("quiet");
    call.expect_answered(SOON);
    lamp_shows(&lamp, "confirmed");
    there.kill();
    there.start();
    // What it forgot it is told, as soon as the publication is refreshed.
    let request = lamp.subscribe("555", "dialog");
    lamp.watch(&request);
    lamp_shows(&lamp, "confirmed");
    call.hang_up();
    lamp_shows(&lamp, "terminated");
}
