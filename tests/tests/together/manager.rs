//! The Manager interface: who gets in, what a call looks like from outside, and that nobody suffers from a slow reader.

use std::net::SocketAddr;

use strowger_tests::manager::{Block, ManagerClient};
use strowger_tests::{Bank, Exchange, SOON, Settings, wait_until};

pub(crate) fn exchange(rows: &[(&str, &str, &str)]) -> Exchange {
    exchange_with(rows, "")
}

/// The same with more lines of configuration.
pub(crate) fn exchange_with(rows: &[(&str, &str, &str)], more: &str) -> Exchange {
    let mut exchange = Exchange::prepare(Settings {
        refresh_ms: 100,
        more: more.to_owned(),
        ..Settings::default()
    });
    exchange.subscriber_with("alice", "secret", "house", &[("callerid", "Alice <101>")]);
    exchange.subscriber("bob", "secret", "house");
    exchange.extension("house", "102", &[("Dial", "PJSIP/bob,60")]);
    exchange.extension(
        "house",
        "300",
        &[
            ("Answer", ""),
            ("Set", "COLOUR=red"),
            ("UserEvent", "Painted,Colour: ${COLOUR}"),
            ("Wait", "60"),
        ],
    );
    exchange.extension("house", "500", &[("Answer", ""), ("ConfBridge", "tea")]);
    let all = [
        ("general", "enabled", "yes"),
        ("admin", "secret", "s3cret"),
        ("admin", "read", "all"),
        ("admin", "write", "all"),
    ];
    for (section, name, value) in all.iter().chain(rows) {
        exchange.database.insert(
            "static_manager",
            &[
                ("cat_metric", "0"),
                ("var_metric", "0"),
                ("filename", "manager.conf"),
                ("category", section),
                ("var_name", name),
                ("var_val", value),
                ("commented", "0"),
            ],
        );
    }
    exchange.start();
    exchange
}

pub(crate) fn address(exchange: &Exchange) -> SocketAddr {
    (exchange.ip(), 5038).into()
}

pub(crate) fn admin(exchange: &Exchange) -> ManagerClient {
    ManagerClient::login(address(exchange), "admin", "s3cret")
}

/// Event names with a channel's technology and name, as `Newstate bob 6`.
fn short(block: &Block) -> String {
    let who = |name: &str| {
        let channel = block.get(name);
        let channel = channel.split_once('/').map_or(channel, |(_, rest)| rest);
        channel.split('-').next().unwrap_or_default().to_owned()
    };
    match block.event() {
        "Newchannel" | "Newstate" => format!(
            "{} {} {}",
            block.event(),
            who("Channel"),
            block.get("ChannelState")
        ),
        "Newexten" => format!("Newexten {} {}", who("Channel"), block.get("Application")),
        "DialBegin" => format!("DialBegin {} {}", who("Channel"), who("DestChannel")),
        "DialEnd" => format!(
            "DialEnd {} {} {}",
            who("Channel"),
            who("DestChannel"),
            block.get("DialStatus")
        ),
        "BridgeEnter" | "BridgeLeave" => format!(
            "{} {} {}",
            block.event(),
            who("Channel"),
            block.get("BridgeNumChannels")
        ),
        "Hangup" | "HangupRequest" | "SoftHangupRequest" => {
            format!(
                "{} {} {}",
                block.event(),
                who("Channel"),
                block.get("Cause")
            )
        }
        event => event.to_owned(),
    }
}

/// What these tests compare; others come whenever they come.
pub(crate) fn lasting(blocks: &[Block]) -> Vec<String> {
    const OF_INTEREST: &[&str] = &[
        "Newchannel",
        "Newstate",
        "Newexten",
        "DialBegin",
        "DialEnd",
        "BridgeCreate",
        "BridgeEnter",
        "BridgeLeave",
        "BridgeDestroy",
        "HangupRequest",
        "SoftHangupRequest",
        "Hangup",
    ];
    let wanted = blocks
        .iter()
        .filter(|block| OF_INTEREST.contains(&block.event()));
    wanted.map(short).collect()
}

#[test]
fn only_who_proves_himself_gets_in_and_does_what_he_may() {
    let exchange = exchange(&[
        ("guest", "secret", "g"),
        ("guest", "read", "call"),
        ("guest", "write", "call"),
    ]);
    let mut stranger = ManagerClient::connect(address(&exchange));
    assert!(stranger.greeting.starts_with("Asterisk Call Manager/"));
    let answer = stranger.ask(&[("Action", "Ping"), ("ActionID", "1")]);
    assert_eq!(
        (
            answer.get("Response"),
            answer.get("ActionID"),
            answer.get("Message")
        ),
        ("Error", "1", "Permission denied")
    );
    let answer = stranger.ask(&[
        ("Action", "Login"),
        ("Username", "admin"),
        ("Secret", "wrong"),
    ]);
    assert_eq!(answer.get("Message"), "Authentication failed");
    assert_eq!(stranger.expect_closed(), []);

    let mut admin = admin(&exchange);
    let booted = admin.block().expect("an event");
    assert_eq!(booted.event(), "FullyBooted");
    assert_eq!(booted.get("Privilege"), "system,all");
    let answer = admin.ask(&[("action", "ping"), ("actionid", "a b")]);
    assert_eq!(answer.0[0], ("Response".to_owned(), "Success".to_owned()));
    assert_eq!(
        (answer.get("ActionID"), answer.get("Ping")),
        ("a b", "Pong")
    );
    let answer = admin.ask(&[("Action", "Nonsense")]);
    assert_eq!(
        answer.get("Message"),
        "Invalid/unknown command: Nonsense. Use Action: ListCommands to show available commands."
    );

    let mut guest = ManagerClient::login(address(&exchange), "guest", "g");
    let answer = guest.ask(&[
        ("Action", "DBPut"),
        ("Family", "a"),
        ("Key", "b"),
        ("Val", "c"),
    ]);
    assert_eq!(answer.get("Message"), "Permission denied");
    let listed = guest.ask(&[("Action", "ListCommands")]);
    assert_eq!(
        listed.get("Hangup"),
        "Hangup channel.  (Priv: system,call,all)"
    );
    assert_eq!(listed.get("DBPut"), "");
    let answer = guest.ask(&[("Action", "Logoff")]);
    assert_eq!(
        (answer.get("Response"), answer.get("Message")),
        ("Goodbye", "Thanks for all the fish.")
    );
    assert_eq!(guest.expect_closed(), []);
    assert_eq!(exchange.metric("strowger_manager_login_failures_total"), 1);
    assert!(!exchange.log().contains("s3cret"));
}

#[test]
fn it_listens_only_while_the_rows_say_so() {
    let exchange = exchange(&[]);
    drop(admin(&exchange));
    exchange
        .database
        .execute("update static_manager set var_val = 'no' where var_name = 'enabled'");
    let closed = wait_until(SOON, || {
        std::net::TcpStream::connect(address(&exchange)).err()
    });
    assert!(closed.is_some(), "it listens still");
    exchange
        .database
        .execute("update static_manager set var_val = 'yes' where var_name = 'enabled'");
    drop(admin(&exchange));
}

#[test]
fn an_answered_call_is_told_in_the_documented_order() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let (alice, bob) = (
        bank.phone("alice", "secret", exchange.sip()),
        bank.phone("bob", "secret", exchange.sip()),
    );
    bob.register();
    let mut admin = admin(&exchange);
    let call = alice.call("102");
    let bobs = bob.expect_call(SOON);
    bobs.ring();
    bobs.answer();
    call.expect_answered(SOON);
    let mut blocks = admin.blocks_until("both in the bridge", |block| {
        block.event() == "BridgeEnter" && block.get("BridgeNumChannels") == "2"
    });
    call.hang_up();
    let is_end = |block: &Block| {
        block.event() == "Hangup" && block.get("Channel").starts_with("PJSIP/alice")
    };
    blocks.extend(admin.blocks_until("the end of the call", is_end));
    assert_eq!(
        lasting(&blocks),
        [
            "Newchannel alice 4",
            "Newexten alice Dial",
            "Newchannel bob 0",
            "DialBegin alice bob",
            "Newstate bob 5",
            "Newstate bob 6",
            "Newstate alice 6",
            "DialEnd alice bob ANSWER",
            "BridgeCreate",
            "BridgeEnter bob 1",
            "BridgeEnter alice 2",
            "HangupRequest alice 16",
            "BridgeLeave alice 1",
            "BridgeLeave bob 0",
            "BridgeDestroy",
            "Hangup bob 16",
            "Hangup alice 16"
        ]
    );
    let new = |name: &str| {
        let prefix = format!("PJSIP/{name}-");
        blocks
            .iter()
            .find(|block| {
                block.event() == "Newchannel" && block.get("Channel").starts_with(&prefix)
            })
            .expect("its channel")
    };
    let (caller, callee) = (new("alice"), new("bob"));
    assert_eq!(
        (
            caller.get("CallerIDNum"),
            caller.get("CallerIDName"),
            caller.get("Exten")
        ),
        ("101", "Alice", "102")
    );
    assert_ne!(caller.get("Uniqueid"), callee.get("Uniqueid"));
    for block in [caller, callee] {
        assert_eq!(block.get("Linkedid"), caller.get("Uniqueid"));
        assert_eq!(block.get("Privilege"), "call,all");
    }
    let end = blocks.last().expect("the last");
    assert_eq!(end.get("Uniqueid"), caller.get("Uniqueid"));
    assert_eq!(end.get("Cause-txt"), "Normal Clearing");
    let bridges: Vec<_> = blocks
        .iter()
        .filter(|block| block.event().starts_with("Bridge"))
        .map(|block| block.get("BridgeUniqueid"))
        .collect();
    assert!(
        bridges.iter().all(|id| id.len() == 36 && *id == bridges[0]),
        "{bridges:?}"
    );
}

#[test]
fn a_call_is_made_from_outside_followed_and_ended() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    let mut admin = admin(&exchange);
    let answer = admin.ask(&[
        ("Action", "Originate"),
        ("ActionID", "o1"),
        ("Channel", "PJSIP/bob"),
        ("Context", "house"),
        ("Exten", "300"),
        ("Priority", "1"),
        ("CallerID", "Robot <700>"),
        ("Variable", "FROM=outside,__KIND=test"),
        ("ChannelId", "chosen-1"),
        ("Async", "true"),
    ]);
    assert_eq!(answer.get("Message"), "Originate successfully queued");
    let bobs = bob.expect_call(SOON);
    bobs.answer();
    let blocks = admin.blocks_until("the outcome", |block| block.event() == "OriginateResponse");
    let response = blocks.last().expect("the last");
    assert_eq!(
        (
            response.get("ActionID"),
            response.get("Response"),
            response.get("Reason"),
            response.get("Uniqueid"),
            response.get("CallerIDNum")
        ),
        ("o1", "Success", "4", "chosen-1", "700")
    );
    let channel = response.get("Channel").to_owned();
    let mut more = blocks.clone();
    if !more.iter().any(|block| block.event() == "UserEvent") {
        more.extend(admin.blocks_until("what the dialplan tells", |block| {
            block.event() == "UserEvent"
        }));
    }
    let painted = more
        .iter()
        .find(|block| block.event() == "UserEvent")
        .expect("the event");
    assert_eq!(
        (
            painted.get("UserEvent"),
            painted.get("Colour"),
            painted.get("Uniqueid")
        ),
        ("Painted", "red", "chosen-1")
    );
    let set = |name: &str| {
        more.iter()
            .any(|block| block.event() == "VarSet" && block.get("Variable") == name)
    };
    assert!(set("COLOUR") && set("FROM"), "{more:#?}");

    let value = admin.ask(&[
        ("Action", "Getvar"),
        ("Channel", &channel),
        ("Variable", "KIND"),
    ]);
    assert_eq!(value.get("Value"), "test");
    let value = admin.ask(&[
        ("Action", "Getvar"),
        ("Channel", "CHOSEN-1"),
        ("Variable", "KIND"),
    ]);
    assert_eq!(value.get("Message"), "No such channel");
    let answer = admin.ask(&[
        ("Action", "Setvar"),
        ("Channel", &channel),
        ("Variable", "CALLERID(name)"),
        ("Value", "Painter"),
    ]);
    assert_eq!(answer.get("Message"), "Variable Set");
    let value = admin.ask(&[
        ("Action", "Getvar"),
        ("Channel", &channel),
        ("Variable", "CALLERID(name)"),
    ]);
    assert_eq!(value.get("Value"), "Painter");

    admin.send(&[
        ("Action", "Status"),
        ("ActionID", "s"),
        ("Variables", "FROM"),
    ]);
    let listed = admin.blocks_until("the list", |block| block.event() == "StatusComplete");
    let status = listed
        .iter()
        .find(|block| block.event() == "Status")
        .expect("the channel");
    assert_eq!(
        (
            status.get("Channel"),
            status.get("ChannelStateDesc"),
            status.get("Application"),
            status.get("Variable"),
        ),
        (channel.as_str(), "Up", "Wait", "FROM=outside")
    );
    // What was agreed on with the telephone.
    let formats = status.get("Nativeformats");
    assert!(
        formats.contains("law") && !formats.contains("slin"),
        "{formats}"
    );
    assert_eq!(listed.last().map(|block| block.get("Items")), Some("1"));

    let answer = admin.ask(&[
        ("Action", "Redirect"),
        ("Channel", &channel),
        ("Context", "house"),
        ("Exten", "300"),
        ("Priority", "3"),
    ]);
    assert_eq!(answer.get("Message"), "Redirect successful");
    admin.blocks_until("the step it was sent to", |block| {
        block.event() == "UserEvent"
    });
    let answer = admin.ask(&[("Action", "Hangup"), ("Channel", &channel), ("Cause", "17")]);
    assert_eq!(answer.get("Message"), "Channel Hungup");
    bobs.expect_ended(SOON);
    let answer = admin.ask(&[("Action", "Hangup"), ("Channel", "PJSIP/nobody-1")]);
    assert_eq!(answer.get("Message"), "No such channel");
}

#[test]
fn a_call_that_nobody_takes_is_reported_with_its_reason() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    let mut admin = admin(&exchange);
    let call = |channel: &'static str, timeout: &'static str, more: &'static str| {
        [
            ("Action", "Originate"),
            ("Channel", channel),
            ("Context", "house"),
            ("Exten", "300"),
            ("Priority", "1"),
            ("Timeout", timeout),
            ("Async", more),
        ]
    };
    admin.send(&call("PJSIP/bob", "30000", "yes"));
    let bobs = bob.expect_call(SOON);
    bobs.reject(486);
    let is_response = |block: &Block| block.event() == "OriginateResponse";
    let blocks = admin.blocks_until("the refusal", is_response);
    let response = blocks.last().expect("the last");
    assert_eq!(
        (response.get("Response"), response.get("Reason")),
        ("Failure", "5")
    );
    let ended: Vec<_> = lasting(&blocks);
    assert!(ended.contains(&"DialEnd  bob BUSY".to_owned()), "{ended:?}");

    let answer = admin.ask(&call("PJSIP/bob", "300", "no"));
    assert_eq!(
        (answer.get("Response"), answer.get("Message")),
        ("Error", "Originate failed")
    );
    let answer = admin.ask(&[
        ("Action", "Originate"),
        ("Channel", "PJSIP/bob"),
        ("Context", "house"),
        ("Exten", "999"),
        ("Priority", "1"),
    ]);
    assert_eq!(answer.get("Message"), "Extension does not exist.");
}

#[test]
fn who_does_not_read_is_disconnected_and_nobody_else_loses_anything() {
    let exchange = exchange(&[]);
    let mut slow = admin(&exchange);
    let mut reader = admin(&exchange);
    let mut talker = admin(&exchange);
    talker.ask(&[("Action", "Events"), ("EventMask", "off")]);
    // Enough to fill what the kernel keeps for a socket.
    let filling = "x".repeat(900);
    let headers: Vec<(String, String)> = (0..100)
        .map(|number| (format!("Header{number}"), filling.clone()))
        .collect();
    let mut sent = 0;
    let gone = wait_until(SOON, || {
        for _ in 0..20 {
            let number = sent.to_string();
            let mut request = vec![
                ("Action", "UserEvent"),
                ("UserEvent", "Flood"),
                ("Number", &number),
            ];
            request.extend(
                headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            );
            let answer = talker.ask(&request);
            assert_eq!(answer.get("Message"), "Event Sent");
            let told = reader.blocks_until("the event", |block| block.event() == "UserEvent");
            assert_eq!(
                told.last().map(|block| block.get("Number")),
                Some(number.as_str())
            );
            sent += 1;
        }
        (exchange.metric("strowger_manager_sessions_too_slow_total") == 1).then_some(())
    });
    assert!(gone.is_some(), "after {sent} events it is there still");
    let last = slow.expect_closed();
    let got = last.iter().filter(|block| block.event() == "UserEvent");
    assert!(got.count() < sent, "it got all {sent} events");
    assert_eq!(reader.ask(&[("Action", "Ping")]).get("Ping"), "Pong");
}

/// An answer by HTTP: status, headers, body.
pub(crate) fn fetch(exchange: &Exchange, path: &str, headers: &str) -> (u16, String, String) {
    use std::io::{Read as _, Write as _};
    let address: SocketAddr = (exchange.ip(), 8088).into();
    let mut stream = std::net::TcpStream::connect(address).expect("the HTTP port");
    stream.set_read_timeout(Some(SOON)).expect("a time limit");
    let (method, path) = path.split_once(' ').unwrap_or(("GET", path));
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(text.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.unwrap_or(0),
        head.to_ascii_lowercase(),
        body.to_owned(),
    )
}

#[test]
fn over_http_a_cookie_keeps_the_session_and_events_wait_to_be_fetched() {
    let exchange = exchange(&[("general", "webenabled", "yes")]);
    let (status, _, body) = fetch(&exchange, "/rawman?action=ping", "");
    assert_eq!(
        (status, body.as_str()),
        (200, "Response: Error\r\nMessage: Permission denied\r\n\r\n")
    );
    let (status, head, body) = fetch(
        &exchange,
        "/rawman?action=login&username=admin&secret=s3cret",
        "",
    );
    assert_eq!(
        (status, body.as_str()),
        (
            200,
            "Response: Success\r\nMessage: Authentication accepted\r\n\r\n"
        )
    );
    assert!(head.contains("content-type: text/plain"), "{head}");
    let cookie = head
        .split("mansession_id=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a cookie");
    assert_eq!(cookie.len(), 8);
    let cookie = format!("Cookie: mansession_id=\"{cookie}\"\r\n");
    let (_, _, body) = fetch(
        &exchange,
        "/asterisk/mxml?Action=Ping&ActionID=a%26b",
        &cookie,
    );
    assert!(
        body.starts_with("<ajax-response>\n<response type='object' id='unknown'><generic response='Success' actionid='a&amp;b' ping='Pong' timestamp='"),
        "{body}"
    );
    let (_, _, body) = fetch(&exchange, "/manager?action=ping", &cookie);
    assert!(
        body.contains("<tr><td>Ping</td><td>Pong</td></tr>"),
        "{body}"
    );

    let (_, _, body) = fetch(&exchange, "/rawman?action=waitevent&timeout=0", &cookie);
    assert_eq!(
        body,
        "Response: Success\r\nMessage: Waiting for Event completed.\r\n\r\nEvent: WaitEventComplete\r\n\r\n"
    );
    fetch(
        &exchange,
        "/rawman?action=userevent&userevent=Hello&Colour=red+blue",
        &cookie,
    );
    let (_, _, body) = fetch(
        &exchange,
        "/rawman?action=waitevent&timeout=30&actionid=w",
        &cookie,
    );
    assert!(
        body.contains("Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Hello\r\nColour: red blue\r\n\r\n"),
        "{body}"
    );
    assert!(
        body.ends_with("Event: WaitEventComplete\r\nActionID: w\r\n\r\n"),
        "{body}"
    );

    let form = "action=ping";
    let (status, _, _) = fetch(&exchange, "PUT /rawman?action=ping", &cookie);
    assert_eq!(status, 501);
    let post = format!(
        "{cookie}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let (_, _, body) = fetch(&exchange, "POST /rawman", &post);
    assert!(body.contains("Ping: Pong"), "{body}");
    let (_, _, body) = fetch(&exchange, "/rawman?action=logoff", &cookie);
    assert!(body.starts_with("Response: Goodbye"), "{body}");
    let (_, _, body) = fetch(&exchange, "/rawman?action=ping", &cookie);
    assert!(body.contains("Permission denied"), "{body}");

    let (status, head, _) = fetch(&exchange, "/arawman?action=ping", "");
    assert_eq!(status, 401);
    assert!(
        head.contains("www-authenticate: digest algorithm=md5, realm=\"asterisk\", nonce=\""),
        "{head}"
    );
    let (status, _, _) = fetch(
        &exchange,
        "/arawman?action=ping",
        "Authorization: Digest username=\"admin\", realm=\"asterisk\", nonce=\"1\", uri=\"/arawman?action=ping\", response=\"00\"\r\n",
    );
    assert_eq!(status, 401);
}

#[test]
fn http_is_closed_unless_the_rows_open_it() {
    let exchange = exchange(&[]);
    let (status, _, _) = fetch(
        &exchange,
        "/rawman?action=login&username=admin&secret=s3cret",
        "",
    );
    assert_eq!(status, 404);
}

#[test]
fn a_conference_is_told_listed_and_emptied() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let mut admin = admin(&exchange);
    let none = admin.ask(&[("Action", "ConfbridgeListRooms")]);
    assert_eq!(none.get("Message"), "No active conferences.");
    let call = alice.call("500");
    call.expect_answered(SOON);
    let blocks = admin.blocks_until("her place in the conference", |block| {
        block.event() == "BridgeEnter"
    });
    let about: Vec<_> = blocks
        .iter()
        .filter(|block| block.get("BridgeTechnology") == "softmix")
        .collect();
    let names: Vec<_> = about.iter().map(|block| block.event()).collect();
    assert_eq!(
        names,
        [
            "BridgeCreate",
            "ConfbridgeStart",
            "ConfbridgeJoin",
            "BridgeEnter"
        ]
    );
    let join = about[2];
    assert_eq!(
        (
            join.get("Conference"),
            join.get("BridgeName"),
            join.get("Admin"),
            join.get("Muted")
        ),
        ("tea", "tea", "No", "No")
    );
    admin.send(&[("Action", "ConfbridgeList"), ("Conference", "tea")]);
    let listed = admin.blocks_until("the list", |block| {
        block.event() == "ConfbridgeListComplete"
    });
    let member = listed
        .iter()
        .find(|block| block.event() == "ConfbridgeList")
        .expect("the member");
    assert_eq!(member.get("Channel"), join.get("Channel"));
    let answer = admin.ask(&[
        ("Action", "ConfbridgeKick"),
        ("Conference", "tea"),
        ("Channel", "nobody"),
    ]);
    assert_eq!(
        answer.get("Message"),
        "No Channel by that name found in Conference."
    );
    let answer = admin.ask(&[
        ("Action", "ConfbridgeKick"),
        ("Conference", "tea"),
        ("Channel", member.get("Channel")),
    ]);
    assert_eq!(answer.get("Message"), "User kicked");
    let blocks = admin.blocks_until("the end of the conference", |block| {
        block.event() == "BridgeDestroy"
    });
    let names: Vec<_> = blocks
        .iter()
        .filter(|block| block.get("BridgeTechnology") == "softmix")
        .map(|block| block.event())
        .collect();
    assert_eq!(
        names,
        [
            "BridgeLeave",
            "ConfbridgeLeave",
            "ConfbridgeEnd",
            "BridgeDestroy"
        ]
    );
    call.expect_ended(SOON);
}
