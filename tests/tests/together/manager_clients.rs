//! Clients that others wrote, unchanged, in a session with the Manager: they log in, make a call, follow it from the first event
//! to the last, end it and log off. Beside them stand the telephones that they let call each other.

use std::process::Command;

use strowger_tests::clients::{Client, Told, field, node, python};
use strowger_tests::{Bank, Exchange, Phone, SOON};

use crate::manager::{exchange, lasting};

/// What is compared of an event.
const FIELDS: &[&str] = &[
    "Event",
    "Channel",
    "ChannelState",
    "Application",
    "DestChannel",
    "DialStatus",
    "BridgeNumChannels",
    "Cause",
    "Uniqueid",
    "Linkedid",
];

/// Lets a client have its session while alice and bob answer their telephones.
#[track_caller]
fn session(alice: &Phone, bob: &Phone, command: Command) -> Told {
    let client = Client::start(command);
    let alices = alice.expect_call(SOON);
    let invite = alices.requests().into_iter().next().expect("the INVITE");
    let from = invite.header("From").unwrap_or_default();
    assert!(from.contains("Desk") && from.contains("sip:700@"), "{from}");
    alices.ring();
    alices.answer();
    let bobs = bob.expect_call(SOON);
    bobs.ring();
    bobs.answer();
    let told = client.finish(SOON * 2);
    alices.expect_ended(SOON);
    bobs.expect_ended(SOON);
    told
}

/// The telephones that are to be called.
fn phones(exchange: &Exchange) -> (Bank, Phone, Phone) {
    let bank = Bank::new();
    let phone = |name| {
        let phone = bank.phone(name, "secret", exchange.sip());
        phone.register();
        phone
    };
    let (alice, bob) = (phone("alice"), phone("bob"));
    (bank, alice, bob)
}

/// What every client has to have seen, whatever it makes of names and lists.
#[track_caller]
fn assert_answers(told: &Told) {
    assert_eq!(told.field("ping", "Ping"), "Pong");
    assert_eq!(
        (
            told.field("refused", "Response"),
            told.field("refused", "Message")
        ),
        ("Error".to_owned(), "No such channel".to_owned())
    );
    assert_eq!(
        told.field("originate", "Message"),
        "Originate successfully queued"
    );
    let listed = told.step("status").as_array().expect("a list");
    assert_eq!(field(&listed[0], "EventList"), "start");
    let channels: Vec<_> = listed
        .iter()
        .filter(|block| field(block, "Event") == "Status")
        .collect();
    let shown: Vec<_> = channels
        .iter()
        .map(|block| {
            let channel = field(block, "Channel");
            let device = channel.split('-').next().unwrap_or_default().to_owned();
            let state = field(block, "ChannelStateDesc");
            (device, state, field(block, "Application"))
        })
        .collect();
    for (device, application) in [("PJSIP/alice", "Dial"), ("PJSIP/bob", "AppDial")] {
        let wanted = (device.to_owned(), "Up".to_owned(), application.to_owned());
        assert!(shown.contains(&wanted), "{shown:?}");
    }
    assert_eq!(channels.len(), 2, "{shown:?}");
    let bridges: Vec<_> = channels
        .iter()
        .map(|block| field(block, "BridgeID"))
        .collect();
    assert!(
        bridges[0].len() == 36 && bridges[0] == bridges[1],
        "{bridges:?}"
    );
    let last = listed.last().expect("the end of the list");
    assert_eq!(
        (field(last, "Event"), field(last, "Items")),
        ("StatusComplete".to_owned(), "2".to_owned())
    );
    assert_eq!(told.field("variable", "Value"), "4711");
    assert_eq!(told.field("command", "Response"), "Success");
    assert_eq!(told.field("hangup", "Message"), "Channel Hungup");
    assert_eq!(
        (
            told.field("logoff", "Response"),
            told.field("logoff", "Message")
        ),
        ("Goodbye".to_owned(), "Thanks for all the fish.".to_owned())
    );
}

/// The whole call, in order.
#[track_caller]
fn assert_events(told: &Told) {
    let answer = told.field("originate", "ActionID");
    assert!(answer.is_empty() || told.field("outcome", "ActionID") == answer);
    assert_eq!(
        (
            told.field("outcome", "Response"),
            told.field("outcome", "Reason")
        ),
        ("Success".to_owned(), "4".to_owned())
    );
    assert!(told.field("outcome", "Channel").starts_with("PJSIP/alice-"));
    let events = told.events(FIELDS);
    assert_eq!(
        lasting(&events),
        [
            "Newchannel alice 0",
            "DialBegin  alice",
            "Newstate alice 5",
            "Newstate alice 6",
            "DialEnd  alice ANSWER",
            "Newexten alice Dial",
            "Newchannel bob 0",
            "DialBegin alice bob",
            "Newstate bob 5",
            "Newstate bob 6",
            "DialEnd alice bob ANSWER",
            "BridgeCreate",
            "BridgeEnter bob 1",
            "BridgeEnter alice 2",
            "SoftHangupRequest alice 16",
            "BridgeLeave alice 1",
            "BridgeLeave bob 0",
            "BridgeDestroy",
            "Hangup bob 16",
            "Hangup alice 16",
        ]
    );
    let first = events
        .iter()
        .find(|event| event.event() == "Newchannel")
        .map(|event| event.get("Uniqueid"));
    let strays: Vec<_> = events
        .iter()
        .filter(|event| !event.get("Linkedid").is_empty() && Some(event.get("Linkedid")) != first)
        .collect();
    assert!(strays.is_empty(), "{strays:#?}");
}

/// Where the Manager is, and whom to call.
fn over_tcp(exchange: &Exchange) -> [String; 5] {
    ["", "5038", "admin", "s3cret", "PJSIP/alice"].map(|word| match word {
        "" => exchange.ip().to_string(),
        word => word.to_owned(),
    })
}

/// A session over TCP.
#[track_caller]
fn tcp(script: &str) -> Told {
    let exchange = exchange(&[]);
    let start = if script.ends_with(".py") {
        python
    } else {
        node
    };
    let mut command = start(&[script]);
    command.args(over_tcp(&exchange));
    let (_bank, alice, bob) = phones(&exchange);
    let told = session(&alice, &bob, command);
    assert_answers(&told);
    assert_events(&told);
    told
}

#[test]
fn panoramisk_follows_a_call() {
    let told = tcp("with_panoramisk.py");
    assert_eq!(told.field("login", "Message"), "Authentication accepted");
    let printed = &told.step("command")["Output"];
    assert_eq!(printed[0], "2 active channels", "{printed}");
}

#[test]
fn asterisk_ami_follows_a_call() {
    let told = tcp("with_asterisk_ami.py");
    assert_eq!(told.field("login", "Message"), "Authentication accepted");
    let printed = told.field("command", "Output");
    assert!(printed.starts_with("2 active channels\n"), "{printed}");
}

#[test]
fn astami_follows_a_call() {
    let told = tcp("with_astami.py");
    assert_eq!(told.field("login", "Message"), "Authentication accepted");
    let printed = &told.step("command")["Output"];
    assert_eq!(printed[0], "2 active channels", "{printed}");
    // It writes the value in quotes, as one does on a command line.
    assert_eq!(told.field("put", "Output"), "Updated database successfully");
    assert_eq!(told.field("get", "Message"), "Result will follow");
    let kept = told.events(&["Event", "Val"]);
    let kept = kept.iter().find(|event| event.event() == "DBGetResponse");
    assert_eq!(kept.map(|event| event.get("Val")), Some("dark red"));
}

#[test]
fn asterisk_manager_follows_a_call() {
    let told = tcp("with_asterisk_manager.js");
    assert_eq!(told.field("login", "Message"), "Authentication accepted");
    let printed = &told.step("command")["output"];
    assert_eq!(printed[0], "2 active channels", "{printed}");
}

#[test]
fn asterisk_ami_client_follows_a_call() {
    let told = tcp("with_asterisk_ami_client.js");
    assert_eq!(told.field("login", "connected"), "true");
    assert_eq!(
        told.field("stranger", "message"),
        "AMI message: Authentication failed"
    );
}

/// Sessions over HTTP, one after the other.
#[track_caller]
fn http(way: &str) {
    let exchange = exchange(&[("general", "webenabled", "yes")]);
    let (_bank, alice, bob) = phones(&exchange);
    let by_digest = way.starts_with('a');
    for tool in ["requests", "curl"] {
        let base = format!("http://{}", exchange.http());
        let mut command = python(&["with_http.py"]);
        command.args([&base, "admin", "s3cret", "PJSIP/alice", way, tool]);
        let told = session(&alice, &bob, command);
        assert_answers(&told);
        if !by_digest {
            assert_eq!(told.field("stranger", "Message"), "Permission denied");
            assert_eq!(told.field("login", "Message"), "Authentication accepted");
        }
        if by_digest && tool == "curl" {
            let many = told.step("many").as_array().expect("answers");
            let right = many.iter().filter(|one| field(one, "Ping") == "Pong");
            assert_eq!((right.count(), many.len()), (120, 120));
        } else {
            assert_events(&told);
        }
    }
}

#[test]
fn a_cookie_follows_a_call_in_plain_text() {
    http("rawman");
}

#[test]
fn a_cookie_follows_a_call_in_xml() {
    http("mxml");
}

#[test]
fn a_digest_follows_a_call_in_plain_text() {
    http("arawman");
}

#[test]
fn a_digest_follows_a_call_in_xml() {
    http("amxml");
}
