//! What programs have done by the Manager: with bridges, by transfers and texts, with queues and conferences, and what they read of
//! the configuration.

use strowger_tests::manager::{Block, ManagerClient};
use strowger_tests::{Bank, Call, Exchange, Phone, SOON, Settings, wait_until};

struct House {
    exchange: Exchange,
    _bank: Bank,
    alice: Phone,
    bob: Phone,
    carol: Phone,
}

impl House {
    fn new() -> Self {
        let mut exchange = Exchange::prepare(Settings {
            refresh_ms: 100,
            ..Settings::default()
        });
        for name in ["alice", "carol"] {
            exchange.subscriber(name, "secret", "house");
        }
        // Which says what his telephone may ask for, and nothing of the Manager.
        exchange.subscriber_with("bob", "secret", "house", &[("allow_transfer", "no")]);
        for (exten, name) in [("102", "bob"), ("103", "carol")] {
            let dial = format!("PJSIP/{name},60,tT");
            let told = ("UserEvent", "Dialled,Status: ${DIALSTATUS}");
            exchange.extension("house", exten, &[("Dial", &dial), told]);
        }
        exchange.extension("house", "500", &[("Answer", ""), ("ConfBridge", "tea")]);
        exchange.extension(
            "house",
            "600",
            &[
                ("Answer", ""),
                ("Queue", "help"),
                (
                    "UserEvent",
                    "Queued,Status: ${QUEUESTATUS},Info: ${QUEUE_WITHDRAW_INFO}",
                ),
            ],
        );
        exchange.extension(
            "house",
            "700",
            &[
                ("MessageSend", "pjsip:bob"),
                ("UserEvent", "Text,Body: ${MESSAGE(body)}"),
            ],
        );
        exchange
            .database
            .insert("queues", &[("name", "help"), ("strategy", "ringall")]);
        exchange.database.insert(
            "queue_members",
            &[
                ("queue_name", "help"),
                ("interface", "PJSIP/carol"),
                ("membername", "Carol"),
                ("ringinuse", "yes"),
            ],
        );
        let lines = [
            ("manager.conf", "general", "enabled", "yes"),
            ("manager.conf", "admin", "secret", "s3cret"),
            ("manager.conf", "admin", "read", "all"),
            ("manager.conf", "admin", "write", "all"),
            ("manager.conf", "reader", "secret", "r"),
            ("manager.conf", "reader", "read", "none"),
            ("manager.conf", "reader", "write", "config"),
            ("queuerules.conf", "patient", "penaltychange", "60,+3,1"),
            ("queuerules.conf", "patient", "penaltychange", "30,5"),
        ];
        for (file, section, name, value) in lines {
            exchange.database.insert(
                if file == "manager.conf" {
                    "static_manager"
                } else {
                    "static_extensions"
                },
                &[
                    ("cat_metric", "0"),
                    ("var_metric", "0"),
                    ("filename", file),
                    ("category", section),
                    ("var_name", name),
                    ("var_val", value),
                    ("commented", "0"),
                ],
            );
        }
        exchange.start();
        let bank = Bank::new();
        let phone = |name| {
            let phone = bank.phone(name, "secret", exchange.sip());
            phone.register();
            phone
        };
        Self {
            alice: phone("alice"),
            bob: phone("bob"),
            carol: phone("carol"),
            _bank: bank,
            exchange,
        }
    }

    fn login(&self, user: &str, secret: &str) -> ManagerClient {
        ManagerClient::login((self.exchange.ip(), 5038).into(), user, secret)
    }

    /// Alice talks with Bob.
    fn talk(&self) -> (Call, Call) {
        let call = self.alice.call("102");
        let other = self.bob.expect_call(SOON);
        other.answer();
        call.expect_answered(SOON);
        other.expect_answered(SOON);
        (call, other)
    }
}

/// The answer to an action, and the items of its list.
fn list(manager: &mut ManagerClient, headers: &[(&str, &str)]) -> (Block, Vec<Block>, Block) {
    let all = [headers, &[("ActionID", "list-1")]].concat();
    manager.send(&all);
    let is_end = |block: &Block| {
        block.get("ActionID") == "list-1"
            && (block.get("EventList") == "Complete" || block.get("Response") == "Error")
    };
    let mut blocks = manager.blocks_until("the list", is_end);
    blocks.retain(|block| block.get("ActionID") == "list-1");
    let first = blocks.first().cloned().unwrap_or_default();
    let last = blocks.pop().unwrap_or_default();
    let items = blocks.into_iter().skip(1).collect();
    (first, items, last)
}

#[track_caller]
fn expect_message(manager: &mut ManagerClient, headers: &[(&str, &str)], wanted: &str) {
    let answer = manager.ask(headers);
    assert_eq!(answer.get("Message"), wanted, "{headers:?}");
}

fn channel_of(bridge: &[Block], name: &str) -> String {
    let prefix = format!("PJSIP/{name}-");
    let found = bridge
        .iter()
        .find(|block| block.get("Channel").starts_with(&prefix));
    found
        .map(|block| block.get("Channel").to_owned())
        .expect("its channel")
}

#[test]
fn bridges_are_listed_looked_into_and_ended() {
    let house = House::new();
    let mut admin = house.login("admin", "s3cret");
    let (_, none, _) = list(&mut admin, &[("Action", "BridgeList")]);
    assert_eq!(none, []);
    let (call, other) = house.talk();
    let bridge = wait_until(SOON, || {
        let (first, bridges, _) = list(&mut admin, &[("Action", "BridgeList")]);
        assert_eq!(first.get("Message"), "Bridge listing will follow");
        bridges
            .into_iter()
            .find(|bridge| bridge.get("BridgeNumChannels") == "2")
    });
    let bridge = bridge.expect("their bridge");
    assert_eq!(
        (bridge.get("BridgeType"), bridge.get("BridgeTechnology")),
        ("basic", "simple_bridge")
    );
    let id = bridge.get("BridgeUniqueid").to_owned();
    let (_, others, _) = list(
        &mut admin,
        &[("Action", "BridgeList"), ("BridgeType", "softmix")],
    );
    assert_eq!(others, []);
    let info = [("Action", "BridgeInfo"), ("BridgeUniqueid", &*id)];
    let (_, channels, end) = list(&mut admin, &info);
    assert_eq!((channels.len(), end.get("BridgeUniqueid")), (2, &*id));
    let (alice, bob) = (channel_of(&channels, "alice"), channel_of(&channels, "bob"));
    let (_, map, _) = list(
        &mut admin,
        &[("Action", "CoreShowChannelMap"), ("Channel", &alice)],
    );
    assert_eq!(map.len(), 1);
    assert_eq!(map[0].get("ConnectedChannel"), bob);
    let unknown = [("Action", "BridgeInfo"), ("BridgeUniqueid", "nothing")];
    expect_message(&mut admin, &unknown, "Specified BridgeUniqueid not found");

    let kick = [("Action", "BridgeKick"), ("Channel", &*bob)];
    expect_message(&mut admin, &kick, "Channel has been kicked");
    other.expect_ended(SOON);
    call.expect_ended(SOON);

    let (call, other) = house.talk();
    let bridge = wait_until(SOON, || {
        let (_, bridges, _) = list(&mut admin, &[("Action", "BridgeList")]);
        bridges
            .into_iter()
            .find(|bridge| bridge.get("BridgeNumChannels") == "2")
    });
    let id = bridge
        .expect("their bridge")
        .get("BridgeUniqueid")
        .to_owned();
    let destroy = [("Action", "BridgeDestroy"), ("BridgeUniqueid", &*id)];
    expect_message(&mut admin, &destroy, "Bridge has been destroyed");
    other.expect_ended(SOON);
    call.expect_ended(SOON);

    // A conference is a bridge too; who is sent away has left it by DTMF or kick.
    let call = house.alice.call("500");
    call.expect_answered(SOON);
    let conference = wait_until(SOON, || {
        let (_, bridges, _) = list(&mut admin, &[("Action", "BridgeList")]);
        bridges.into_iter().next()
    });
    let conference = conference.expect("the conference");
    assert_eq!(
        (
            conference.get("BridgeTechnology"),
            conference.get("BridgeCreator"),
            conference.get("BridgeName")
        ),
        ("softmix", "ConfBridge", "tea")
    );
    let id = conference.get("BridgeUniqueid").to_owned();
    let destroy = [("Action", "BridgeDestroy"), ("BridgeUniqueid", &*id)];
    expect_message(&mut admin, &destroy, "Bridge has been destroyed");
    call.expect_ended(SOON);
    let (_, kinds, _) = list(&mut admin, &[("Action", "BridgeTechnologyList")]);
    let names: Vec<_> = kinds
        .iter()
        .map(|kind| kind.get("BridgeTechnology"))
        .collect();
    assert_eq!(names, ["native_rtp", "simple_bridge", "softmix"]);
}

/// The channel of a phone that talks in a bridge.
fn talking(manager: &mut ManagerClient, name: &str) -> String {
    let prefix = format!("PJSIP/{name}-");
    let found = wait_until(SOON, || {
        let (_, channels, _) = list(manager, &[("Action", "CoreShowChannels")]);
        let mut channels = channels.into_iter();
        let channel = channels.find(|block| {
            block.get("Channel").starts_with(&prefix) && !block.get("BridgeId").is_empty()
        });
        channel.map(|block| block.get("Channel").to_owned())
    });
    found.expect("it talks")
}

#[test]
fn the_other_party_is_transferred_at_once_or_after_a_talk() {
    let house = House::new();
    let mut admin = house.login("admin", "s3cret");
    let (call, other) = house.talk();
    let bob = talking(&mut admin, "bob");
    for (headers, wanted) in [
        (vec![("Exten", "103")], "No channel specified"),
        (vec![("Channel", &*bob)], "No exten specified"),
        (
            vec![("Channel", "PJSIP/x-1"), ("Exten", "103")],
            "Channel specified does not exist",
        ),
        (
            vec![("Channel", &*bob), ("Exten", "999")],
            "Transfer failed",
        ),
    ] {
        let all = [&[("Action", "BlindTransfer")][..], &headers[..]].concat();
        expect_message(&mut admin, &all, wanted);
    }
    let transfer = [
        ("Action", "BlindTransfer"),
        ("Channel", &*bob),
        ("Context", "house"),
        ("Exten", "103"),
    ];
    expect_message(&mut admin, &transfer, "Transfer succeeded");
    other.expect_ended(SOON);
    let carols = house.carol.expect_call(SOON);
    carols.answer();
    carols.expect_answered(SOON);
    let alice = talking(&mut admin, "alice");
    talking(&mut admin, "carol");
    call.hang_up();
    carols.expect_ended(SOON);
    let gone = [
        ("Action", "BlindTransfer"),
        ("Channel", &*alice),
        ("Exten", "103"),
    ];
    let answer = admin.ask(&gone);
    assert_eq!(answer.get("Response"), "Error");

    // As if the keys were dialled: first one talks with the target.
    let (call, other) = house.talk();
    let bob = talking(&mut admin, "bob");
    let wrong = [("Action", "Atxfer"), ("Channel", &*bob), ("Exten", "carol")];
    let answer = admin.ask(&wrong);
    assert_eq!(answer.get("Response"), "Error");
    let transfer = [
        ("Action", "Atxfer"),
        ("Channel", &*bob),
        ("Exten", "103"),
        ("Context", "house"),
    ];
    expect_message(&mut admin, &transfer, "Atxfer successfully queued");
    let carols = house.carol.expect_call(SOON);
    carols.answer();
    carols.expect_answered(SOON);
    let cancel = [("Action", "CancelAtxfer"), ("Channel", &*bob)];
    expect_message(&mut admin, &cancel, "CancelAtxfer successfully queued");
    carols.expect_ended(SOON);
    talking(&mut admin, "alice");
    other.hang_up();
    call.expect_ended(SOON);
}

#[test]
fn who_still_rings_is_not_sent_elsewhere() {
    let house = House::new();
    let mut admin = house.login("admin", "s3cret");
    let call = house.alice.call("102");
    let other = house.bob.expect_call(SOON);
    other.ring();
    let (_, channels, _) = list(&mut admin, &[("Action", "CoreShowChannels")]);
    let mut names = channels.iter().map(|block| block.get("Channel"));
    let bob = names.find(|name| name.starts_with("PJSIP/bob-"));
    let redirect = [
        ("Action", "Redirect"),
        ("Channel", bob.expect("it rings")),
        ("Context", "house"),
        ("Exten", "103"),
        ("Priority", "1"),
    ];
    assert_eq!(admin.ask(&redirect).get("Response"), "Error");
    // The call is still that of who made it.
    other.answer();
    call.expect_answered(SOON);
    talking(&mut admin, "alice");
    call.hang_up();
    other.expect_ended(SOON);
}

#[test]
fn texts_are_sent_in_calls_and_outside() {
    let house = House::new();
    let mut admin = house.login("admin", "s3cret");
    let (call, other) = house.talk();
    let bob = talking(&mut admin, "bob");
    let text = [
        ("Action", "SendText"),
        ("Channel", &*bob),
        ("Message", "tea is ready"),
    ];
    expect_message(&mut admin, &text, "Success");
    let come = |text: &str| {
        wait_until(SOON, || {
            let requests = house.bob.requests().into_iter().chain(other.requests());
            let texts = requests.filter(|request| request.method() == Some("MESSAGE"));
            texts.map(|request| request.body).find(|body| body == text)
        })
    };
    assert!(come("tea is ready").is_some(), "it did not come");
    call.hang_up();
    other.expect_ended(SOON);

    let outside = [
        ("Action", "MessageSend"),
        ("Destination", "pjsip:bob"),
        ("From", "\"Kitchen\" <sip:700@house>"),
        // "чай"
        ("Base64Body", "0YfQsNC5"),
    ];
    expect_message(&mut admin, &outside, "Message successfully sent");
    assert!(come("чай").is_some(), "it did not come");
    for (destination, wanted) in [
        ("xmpp:bob", "Message technology not found."),
        ("pjsip:nobody", "Message failed to send."),
    ] {
        let text = [
            ("Action", "MessageSend"),
            ("Destination", destination),
            ("Body", "x"),
        ];
        expect_message(&mut admin, &text, wanted);
    }
}

#[test]
fn callers_in_a_queue_are_moved_and_sent_back() {
    let house = House::new();
    let mut admin = house.login("admin", "s3cret");
    let pause = [
        ("Action", "QueuePause"),
        ("Interface", "PJSIP/carol"),
        ("Paused", "true"),
    ];
    let paused = wait_until(SOON, || {
        let answer = admin.ask(&pause);
        (answer.get("Response") == "Success").then_some(())
    });
    assert!(paused.is_some(), "the queue is not there");
    let (first, second) = (house.alice.call("600"), house.bob.call("600"));
    first.expect_answered(SOON);
    second.expect_answered(SOON);
    let order = |admin: &mut ManagerClient| {
        let (_, items, _) = list(admin, &[("Action", "QueueStatus"), ("Queue", "help")]);
        let entries = items.iter().filter(|item| item.event() == "QueueEntry");
        entries
            .map(|entry| entry.get("Channel").to_owned())
            .collect::<Vec<_>>()
    };
    let both = wait_until(SOON, || {
        Some(order(&mut admin)).filter(|all| all.len() == 2)
    });
    let both = both.expect("both wait");
    let forward = [
        ("Action", "QueueChangePriorityCaller"),
        ("Queue", "help"),
        ("Caller", &*both[1]),
        ("Priority", "10"),
    ];
    expect_message(&mut admin, &forward, "Priority change for caller on queue");
    assert_eq!(order(&mut admin), [both[1].clone(), both[0].clone()]);
    let back = [
        ("Action", "QueueWithdrawCaller"),
        ("Queue", "help"),
        ("Caller", &*both[1]),
        ("WithdrawInfo", "come tomorrow"),
    ];
    expect_message(&mut admin, &back, "Withdraw requested successfully");
    let told = admin.blocks_until("what became of it", |block| {
        block.get("UserEvent") == "Queued"
    });
    let told = told.last().expect("the event");
    assert_eq!(
        (told.get("Status"), told.get("Info")),
        ("WITHDRAW", "come tomorrow")
    );
    expect_message(&mut admin, &back, "Caller not found in queue");

    let ring = [
        ("Action", "QueueMemberRingInUse"),
        ("Interface", "PJSIP/carol"),
        ("RingInUse", "no"),
    ];
    expect_message(&mut admin, &ring, "Interface ringinuse set successfully");
    let written = wait_until(SOON, || {
        let database = &house.exchange.database;
        let rows = database.select("queue_members", &["ringinuse"], "");
        (rows[0][0].as_deref() == Some("0")).then_some(())
    });
    assert!(written.is_some(), "it is not in the row");
    let rule = admin.ask(&[("Action", "QueueRule"), ("Rule", "patient")]);
    let lines: Vec<_> = rule
        .0
        .iter()
        .filter(|(name, _)| name.starts_with("Rule"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(lines, ["patient", "30,5", "60,+3,1"]);
    let reload = [("Action", "QueueReload"), ("Queue", "help")];
    expect_message(&mut admin, &reload, "Queue reloaded successfully");
}

#[test]
fn a_conference_is_recorded_as_long_as_a_program_wants() {
    let house = House::new();
    let mut admin = house.login("admin", "s3cret");
    let call = house.alice.call("500");
    call.expect_answered(SOON);
    let start = [
        ("Action", "ConfbridgeStartRecord"),
        ("Conference", "tea"),
        ("RecordFile", "tea.wav"),
    ];
    let started = wait_until(SOON, || {
        let answer = admin.ask(&start);
        (answer.get("Message") == "Conference Recording Started.").then_some(())
    });
    assert!(started.is_some(), "it is not recorded");
    expect_message(&mut admin, &start, "Conference is already being recorded.");
    call.expect_packets(50, SOON);
    let stop = [("Action", "ConfbridgeStopRecord"), ("Conference", "tea")];
    expect_message(&mut admin, &stop, "Conference Recording Stopped.");
    call.hang_up();
    let file = house.exchange.recordings().join("tea.wav");
    let written = wait_until(SOON, || {
        let length = std::fs::metadata(&file).ok()?.len();
        (length > 4000).then_some(())
    });
    assert!(written.is_some(), "{} is short or missing", file.display());
}

#[test]
fn programs_read_files_of_configuration_without_secrets_unless_they_may_do_everything() {
    let house = House::new();
    let (mut admin, mut reader) = (house.login("admin", "s3cret"), house.login("reader", "r"));
    let get = [
        ("Action", "GetConfig"),
        ("Filename", "manager.conf"),
        ("Category", "admin"),
    ];
    let all = admin.ask(&get);
    assert_eq!(all.get("Category-000000"), "admin");
    let has = |block: &Block, line: &str| block.0.iter().any(|(_, value)| value == line);
    assert!(
        has(&all, "secret=s3cret") && has(&all, "write=all"),
        "{all:?}"
    );
    let open = reader.ask(&get);
    assert!(
        !has(&open, "secret=s3cret") && has(&open, "write=all"),
        "{open:?}"
    );
    let json = reader.ask(&[("Action", "GetConfigJSON"), ("Filename", "queuerules.conf")]);
    assert_eq!(
        json.get("JSON"),
        r#"{"patient":{"penaltychange":["30,5","60,+3,1"]}}"#
    );
    let filtered = reader.ask(&[
        ("Action", "GetConfig"),
        ("Filename", "manager.conf"),
        ("Filter", "write=^conf"),
    ]);
    assert_eq!(filtered.get("Category-000000"), "reader");
    assert_eq!(filtered.get("Category-000001"), "");
    let sections = reader.ask(&[("Action", "ListCategories"), ("Filename", "manager.conf")]);
    let names: Vec<_> = sections.0.iter().skip(1).map(|(_, name)| &**name).collect();
    assert!(
        ["general", "admin", "reader"]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );
    let missing = [("Action", "GetConfig"), ("Filename", "nothing.conf")];
    expect_message(&mut reader, &missing, "Config file not found");
    let denied = [("Action", "ModuleCheck"), ("Module", "app_dial.so")];
    expect_message(&mut reader, &denied, "Permission denied");
    assert_eq!(admin.ask(&denied).get("Response"), "Success");
    let none = [("Action", "ModuleCheck"), ("Module", "chan_dahdi.so")];
    expect_message(&mut admin, &none, "Module not loaded");
    let reload = [("Action", "ModuleLoad"), ("LoadType", "reload")];
    expect_message(&mut admin, &reload, "All modules reloaded");
}

#[test]
fn telephones_are_listed_asked_and_their_calls_refused() {
    let house = House::new();
    let mut admin = house.login("admin", "s3cret");
    let (_, aors, _) = list(&mut admin, &[("Action", "PJSIPShowAors")]);
    let bob = aors.iter().find(|aor| aor.get("ObjectName") == "bob");
    let bob = bob.expect("his address of record");
    assert!(bob.get("Contacts").starts_with("sip:"), "{bob:?}");
    assert_eq!(bob.get("ObjectType"), "aor");
    let (_, auths, _) = list(&mut admin, &[("Action", "PJSIPShowAuths")]);
    assert!(auths.len() >= 3 && !format!("{auths:?}").contains("\"secret\""));
    let (_, registered, _) = list(&mut admin, &[("Action", "PJSIPShowRegistrationsInbound")]);
    assert_eq!(registered.len(), 3);
    let states = [("Action", "PJSIPShowRegistrationInboundContactStatuses")];
    let (_, states, _) = list(&mut admin, &states);
    assert_eq!(states.len(), 3);
    let asked = || {
        let requests = house.bob.requests();
        let options = requests.iter();
        options
            .filter(|request| request.method() == Some("OPTIONS"))
            .count()
    };
    let before = asked();
    let qualify = [("Action", "PJSIPQualify"), ("Endpoint", "bob")];
    expect_message(&mut admin, &qualify, "Endpoint found, will qualify");
    let came = wait_until(SOON, || (asked() > before).then_some(()));
    assert!(came.is_some(), "nobody asked him");
    let nobody = [("Action", "PJSIPQualify"), ("Endpoint", "nobody")];
    expect_message(&mut admin, &nobody, "Unable to retrieve endpoint");

    let call = house.alice.call("102");
    let other = house.bob.expect_call(SOON);
    other.ring();
    call.expect_status(180, SOON);
    let (_, channels, _) = list(&mut admin, &[("Action", "CoreShowChannels")]);
    let alice = channel_of(&channels, "alice");
    let refuse = [
        ("Action", "PJSIPHangup"),
        ("Channel", &*alice),
        ("Cause", "GONE"),
    ];
    expect_message(&mut admin, &refuse, "Channel Hungup");
    call.expect_status(410, SOON);
    other.expect_ended(SOON);
    let presence = admin.ask(&[
        ("Action", "PresenceState"),
        ("Provider", "CustomPresence:bob"),
    ]);
    assert_eq!(presence.get("State"), "not_set");
}
