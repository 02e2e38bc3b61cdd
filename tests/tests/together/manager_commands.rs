//! Commands of the command line by the Manager, steps that programs add to the dialplan, and how dialling goes on.

use strowger_tests::manager::ManagerClient;
use strowger_tests::{Bank, Exchange, SOON, Watcher, wait_until};

use crate::manager::{address, admin, exchange};

/// The output of a command, and whether it was done.
fn run(client: &mut ManagerClient, command: &str) -> (bool, Vec<String>) {
    let answer = client.ask(&[("Action", "Command"), ("Command", command)]);
    assert_eq!(answer.get("Message"), "Command output follows", "{command}");
    let lines = answer.all("Output").into_iter().map(str::to_owned);
    (answer.get("Response") == "Success", lines.collect())
}

#[track_caller]
fn expect(client: &mut ManagerClient, command: &str, wanted: &[&str]) -> Vec<String> {
    let (done, lines) = run(client, command);
    assert!(done, "{command}: {lines:?}");
    for part in wanted {
        let found = lines.iter().any(|line| line.contains(part));
        assert!(found, "{command}: no {part:?} in {lines:#?}");
    }
    lines
}

#[track_caller]
fn expect_failure(client: &mut ManagerClient, command: &str, wanted: &str) {
    let (done, lines) = run(client, command);
    assert!(
        !done && lines.first().is_some_and(|line| line == wanted),
        "{command}: {lines:?}"
    );
}

/// A call of nobody to a number; it is over when both halves are.
fn call(client: &mut ManagerClient, place: &str) {
    let channel = format!("Local/{place}");
    client.send(&[
        ("Action", "Originate"),
        ("Channel", &channel),
        ("Application", "Wait"),
        ("Data", "1"),
        ("Async", "yes"),
    ]);
}

#[test]
fn applications_functions_and_actions_are_listed_and_described() {
    let exchange = exchange(&[]);
    let mut admin = admin(&exchange);
    let all = expect(
        &mut admin,
        "core show applications",
        &["    -= Registered Asterisk Applications =-"],
    );
    assert!(
        all.iter()
            .any(|line| line.trim_start().starts_with("Dial: "))
    );
    let count = all.len() - 2;
    assert_eq!(
        all.last(),
        Some(&format!("    -= {count} Applications Registered =-"))
    );
    let some = expect(
        &mut admin,
        "core show applications like playb",
        &["Playback:"],
    );
    assert!(some.len() < all.len());
    expect(
        &mut admin,
        "core show application dial",
        &["-= Info about application 'Dial' =-", "[Syntax]"],
    );
    expect_failure(
        &mut admin,
        "core show application Fly",
        "Your application(s) is (are) not registered",
    );
    expect(
        &mut admin,
        "core show functions",
        &["CALLERID", "custom functions installed."],
    );
    expect(
        &mut admin,
        "core show function LEN",
        &["-= Info about function 'LEN' =-"],
    );
    expect(
        &mut admin,
        "module show like pjsip",
        &["chan_pjsip.so", "modules loaded"],
    );
    expect(&mut admin, "manager show commands", &["Originate"]);
    expect(
        &mut admin,
        "manager show command waitevent",
        &[
            "Action: WaitEvent",
            "Timeout: <value>",
            "[Privilege]",
            "<none>",
        ],
    );
    expect(
        &mut admin,
        "manager show users",
        &["admin", "1 manager users configured."],
    );
    let shown = expect(&mut admin, "manager show user ADMIN", &["username: admin"]);
    assert!(!shown.join("\n").contains("s3cret"), "{shown:?}");
    expect(
        &mut admin,
        "cdr show status",
        &["Call Detail Record (CDR) settings"],
    );
    expect(&mut admin, "core show settings", &["Signalling threads:"]);
    for command in ["rtp set debug on", "pjsip set logger on"] {
        let (done, lines) = run(&mut admin, command);
        assert!(!done && lines[0].contains("trace"), "{lines:?}");
    }
    let (done, lines) = run(&mut admin, "paint the house");
    assert!(!done && lines[0].starts_with("No such command 'paint the house'"));
}

#[test]
fn telephones_are_shown_with_their_contacts_and_without_their_passwords() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.register();
    let mut admin = admin(&exchange);
    let all = expect(
        &mut admin,
        "pjsip show endpoints",
        &[
            " Endpoint:  alice/101",
            " Endpoint:  bob ",
            "Not in use",
            "Unavailable",
        ],
    );
    assert_eq!(all.last().map(String::as_str), Some("Objects found: 2"));
    assert!(
        all.iter()
            .any(|line| line.starts_with("      Contact:  alice/sip:alice@"))
    );
    expect(
        &mut admin,
        "pjsip show endpoint alice",
        &["     InAuth:  alice/alice", " context", ": house"],
    );
    expect(
        &mut admin,
        "pjsip show aor alice",
        &["      Aor:  alice", " max_contacts", ": 5"],
    );
    expect(
        &mut admin,
        "pjsip show aors",
        &["    Contact:  alice/sip:", "Objects found: 2"],
    );
    expect(
        &mut admin,
        "pjsip show contacts",
        &["  Contact:  alice/sip:", "Objects found: 1"],
    );
    expect(&mut admin, "pjsip show auths", &["     Auth:  alice/alice"]);
    let auth = expect(
        &mut admin,
        "pjsip show auth alice",
        &["auth_type", "userpass"],
    );
    assert!(!auth.join("\n").contains("secret"), "{auth:?}");
    expect(
        &mut admin,
        "pjsip show settings",
        &["Global Settings:", "System Settings:", "timer_t1"],
    );
    expect_failure(
        &mut admin,
        "pjsip show endpoint zoe",
        "Unable to find object zoe.",
    );
    expect_failure(
        &mut admin,
        "pjsip show auth zoe",
        "Unable to find object zoe.",
    );
}

#[test]
fn a_call_is_made_shown_and_ended_by_commands() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    let mut admin = admin(&exchange);
    let (done, lines) = run(
        &mut admin,
        "channel originate PJSIP/bob extension 300@house",
    );
    assert!(done && lines.is_empty(), "{lines:?}");
    let bobs = bob.expect_call(SOON);
    bobs.answer();
    bobs.expect_answered(SOON);
    let running = admin.blocks_until("the call", |block| {
        block.event() == "Newexten" && block.get("Application") == "Wait"
    });
    let channel = running.last().map(|block| block.get("Channel").to_owned());
    let channel = channel.expect("its channel");
    expect(
        &mut admin,
        &format!("core show channel {channel}"),
        &[
            " -- General --",
            &format!("           Name: {channel}"),
            "          State: Up (6)",
            "        Context: house",
            "    Application: Wait",
            "COLOUR=red",
            "  CDR Variables:",
        ],
    );
    expect(
        &mut admin,
        "core show channels verbose",
        &["PeerAccount", "Wait", "1 active channel"],
    );
    expect_failure(
        &mut admin,
        "core show channel PJSIP/nobody-1",
        "PJSIP/nobody-1 is not a known channel",
    );
    expect(
        &mut admin,
        &format!("channel request hangup {channel}"),
        &[&format!("Requested Hangup on channel '{channel}'")],
    );
    bobs.expect_ended(SOON);
    expect_failure(
        &mut admin,
        "channel originate PJSIP/bob by hand",
        "Usage: channel originate <tech/data> application <appname> [appdata]",
    );
    // As with Originate, what runs programs needs class system.
    let mut caller = login_with(&exchange, "command,originate");
    let (done, lines) = run(
        &mut caller,
        "channel originate PJSIP/bob application System id",
    );
    assert!(!done && lines[0].contains("blacklisted"), "{lines:?}");
}

/// Somebody who may do only this.
fn login_with(exchange: &Exchange, write: &str) -> ManagerClient {
    // Without a secret nobody logs in: it comes last.
    let rows = [("write", write), ("secret", "x")];
    for (name, value) in rows {
        exchange.database.insert(
            "static_manager",
            &[
                ("filename", "manager.conf"),
                ("category", "other"),
                ("var_name", name),
                ("var_val", value),
            ],
        );
    }
    let client = wait_until(SOON, || {
        let mut client = ManagerClient::connect(address(exchange));
        let answer = client.ask(&[("Action", "Login"), ("Username", "other"), ("Secret", "x")]);
        (answer.get("Response") == "Success").then_some(client)
    });
    client.expect("the new user")
}

#[test]
fn the_database_takes_values_with_blanks() {
    let exchange = exchange(&[]);
    let mut admin = admin(&exchange);
    expect(
        &mut admin,
        r#"database put lamp kitchen "on and \"off\"""#,
        &["Updated database successfully"],
    );
    expect(
        &mut admin,
        "database get lamp kitchen",
        &["Value: on and \"off\""],
    );
    expect(
        &mut admin,
        "database showkey kitchen",
        &["/lamp/kitchen", "1 results found."],
    );
    expect(&mut admin, "database show lamp", &["/lamp/kitchen"]);
    expect(
        &mut admin,
        "database deltree lamp",
        &["1 database entries removed."],
    );
    let (done, lines) = run(&mut admin, "database put lamp");
    assert!(
        !done && lines[0].starts_with("Usage: database"),
        "{lines:?}"
    );
    // As with DBGet and DBPut, class command alone opens nothing.
    let mut clerk = login_with(&exchange, "command");
    for command in [
        "database show",
        "database showkey kitchen",
        "database get lamp kitchen",
        "database put lamp kitchen on",
    ] {
        expect_failure(&mut clerk, command, "Permission denied");
    }
}

#[test]
fn steps_are_added_called_replaced_and_taken_away() {
    let exchange = exchange(&[]);
    let mut admin = admin(&exchange);
    let add = |app: &'static str, data: &'static str, replace: &'static str| {
        [
            ("Action", "DialplanExtensionAdd"),
            ("Context", "extra"),
            ("Extension", "_8XX"),
            ("Priority", "1"),
            ("Application", app),
            ("ApplicationData", data),
            ("Replace", replace),
        ]
    };
    let first = add("UserEvent", "Added,Way: first,Number: ${EXTEN}", "no");
    assert_eq!(
        admin.ask(&first).get("Message"),
        "Added requested extension"
    );
    call(&mut admin, "812@extra");
    admin.blocks_until("the first way", |block| {
        block.get("Way") == "first" && block.get("Number") == "812"
    });
    assert_eq!(
        admin.ask(&first).get("Message"),
        "That extension and priority already exist at that context"
    );
    // Other rows change, and what was added stays.
    exchange.extension("house", "555", &[("NoOp", "")]);
    let second = add("UserEvent", "Added,Way: second", "yes");
    assert_eq!(
        admin.ask(&second).get("Message"),
        "Added requested extension"
    );
    call(&mut admin, "812@extra");
    admin.blocks_until("the second way", |block| block.get("Way") == "second");
    expect(
        &mut admin,
        "dialplan show extra",
        &[
            "[ Context 'extra' created by 'pbx_config' ]",
            "  '_8XX' =>         1. UserEvent(Added,Way: second)",
            "-= 1 extension (1 priority) in 1 context. =-",
        ],
    );
    let remove = [
        ("Action", "DialplanExtensionRemove"),
        ("Context", "extra"),
        ("Extension", "_8XX"),
    ];
    assert_eq!(
        admin.ask(&remove).get("Message"),
        "Removed the requested extension"
    );
    assert_eq!(
        admin.ask(&remove).get("Message"),
        "Failed to remove requested extension"
    );
    expect_failure(
        &mut admin,
        "dialplan show extra",
        "There is no existence of 'extra' context",
    );

    expect(
        &mut admin,
        "dialplan add extension 900,1,UserEvent(Typed,A: b) into house",
        &["Extension '900,1,UserEvent,Typed,A: b' added into 'house' context"],
    );
    expect(
        &mut admin,
        "dialplan add extension 900,hint,PJSIP/bob into house",
        &["added"],
    );
    call(&mut admin, "900@house");
    admin.blocks_until("the typed step", |block| block.get("UserEvent") == "Typed");
    expect(
        &mut admin,
        "core show hints",
        &["900@house", "PJSIP/bob", "- 1 hint registered"],
    );
    // Numbers of rows are there beside it, and reading the dialplan anew brings back what the rows say.
    expect(
        &mut admin,
        "dialplan show 102@house",
        &["1. Dial(PJSIP/bob,60)"],
    );
    expect(&mut admin, "dialplan reload", &[]);
    let gone = wait_until(SOON, || {
        let (done, _) = run(&mut admin, "dialplan show 900@house");
        (!done).then_some(())
    });
    assert!(gone.is_some(), "a reload forgets what was added");
    let mut caller = login_with(&exchange, "command,call");
    let answer = caller.ask(&first);
    assert_eq!(answer.get("Message"), "Permission denied");
    expect_failure(
        &mut caller,
        "dialplan add extension 901,1,System(id) into house",
        "Permission denied",
    );
}

#[test]
fn dialling_is_told_of_while_it_rings() {
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
    let blocks = admin.blocks_until("the ringing", |block| block.event() == "DialState");
    let of_dial: Vec<_> = blocks
        .iter()
        .map(|block| block.event())
        .filter(|event| event.starts_with("Dial"))
        .collect();
    assert_eq!(of_dial, ["DialBegin", "DialState"]);
    let state = blocks.last().expect("the last");
    assert_eq!(state.get("DialStatus"), "RINGING");
    assert!(
        state.get("Channel").starts_with("PJSIP/alice-"),
        "{state:?}"
    );
    assert!(
        state.get("DestChannel").starts_with("PJSIP/bob-"),
        "{state:?}"
    );
    assert_eq!(state.get("DestChannelStateDesc"), "Ringing");
    bobs.answer();
    call.expect_answered(SOON);
    let blocks = admin.blocks_until("the end of dialling", |block| block.event() == "DialEnd");
    assert!(
        !blocks.iter().any(|block| block.event() == "DialState"),
        "once"
    );

    // Without a status the call is ended as by Hangup.
    let channel = state.get("DestChannel").to_owned();
    let end = [("Action", "PJSIPHangup"), ("Channel", &*channel)];
    assert_eq!(admin.ask(&end).get("Message"), "Channel Hungup");
    call.expect_ended(SOON);
}

#[test]
fn the_security_log_begins_anew() {
    let exchange = exchange(&[]);
    let mut stranger = ManagerClient::connect(address(&exchange));
    stranger.send(&[
        ("Action", "Login"),
        ("Username", "admin"),
        ("Secret", "wrong"),
    ]);
    stranger.expect_closed();
    let read = |name: &str| std::fs::read_to_string(exchange.data().join(name)).unwrap_or_default();
    let written = wait_until(SOON, || {
        read("security.log")
            .contains("InvalidPassword")
            .then_some(())
    });
    assert!(written.is_some());
    let mut admin = admin(&exchange);
    let answer = admin.ask(&[("Action", "LoggerRotate")]);
    assert_eq!(
        answer.get("Message"),
        "Reloaded the logger and rotated log files"
    );
    assert!(read("security.1.log").contains("InvalidPassword"));
    assert!(!read("security.log").contains("InvalidPassword"));
}

#[test]
fn who_is_told_of_lamps_is_listed() {
    let exchange = exchange(&[]);
    let mut watcher = Watcher::new("127.0.77.90", exchange.sip());
    watcher.known_as(&exchange, "watcher", &[]);
    let mut admin = admin(&exchange);
    let list = |admin: &mut ManagerClient, action: &str, end: &str| {
        admin.send(&[("Action", action), ("ActionID", "s")]);
        let blocks = admin.blocks_until("the list", |block| block.event() == end);
        blocks
            .into_iter()
            .filter(|block| block.get("ActionID") == "s")
            .collect::<Vec<_>>()
    };
    let none = list(
        &mut admin,
        "PJSIPShowSubscriptionsInbound",
        "InboundSubscriptionDetailComplete",
    );
    assert_eq!(none.last().map(|block| block.get("ListItems")), Some("0"));
    expect(
        &mut admin,
        "dialplan add extension 201,hint,PJSIP/bob into house",
        &["added"],
    );
    // It counts as soon as it is answered.
    expect(&mut admin, "core show hint 201", &["PJSIP/bob"]);
    let known = wait_until(SOON, || {
        let (done, _) = run(&mut admin, "pjsip show endpoint watcher");
        done.then_some(())
    });
    assert!(known.is_some());
    let request = watcher.subscribe("201", "dialog");
    let (answer, _watched) = watcher.watch(&request);
    assert_eq!(answer.status(), Some(200));
    let listed = list(
        &mut admin,
        "PJSIPShowSubscriptionsInbound",
        "InboundSubscriptionDetailComplete",
    );
    let one = listed
        .iter()
        .find(|block| block.event() == "InboundSubscriptionDetail")
        .expect("the subscription");
    assert_eq!(
        [
            "Role",
            "Endpoint",
            "State",
            "SubscriptionType",
            "Subtype",
            "Extension"
        ]
        .map(|name| one.get(name)),
        [
            "Notifier",
            "watcher",
            "ACTIVE",
            "extension_state",
            "dialog",
            "201"
        ]
    );
    list(
        &mut admin,
        "PJSIPShowSubscriptionsOutbound",
        "OutboundSubscriptionDetailComplete",
    );
    let answer = admin.ask(&[("Action", "PJSIPShowResourceLists")]);
    assert_eq!(answer.get("Message"), "No resource lists found");
}
