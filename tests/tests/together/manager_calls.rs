//! The Manager interface and calls: what a request puts into a call, where it sends it, and what is told of calls that were
//! there before anybody listened.

use strowger_tests::manager::Block;
use strowger_tests::{Bank, SOON};

use crate::manager::{address, admin, exchange};

#[test]
fn functions_among_the_variables_of_a_call_are_written_before_it_is_sent() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    let mut admin = admin(&exchange);
    let answer = admin.ask(&[
        ("Action", "Originate"),
        ("Channel", "PJSIP/bob"),
        ("Context", "house"),
        ("Exten", "300"),
        ("Priority", "1"),
        (
            "Variable",
            "PJSIP_HEADER(add,X-Ticket)=47,CHANNEL(language)=ru",
        ),
        ("Async", "true"),
    ]);
    assert_eq!(answer.get("Message"), "Originate successfully queued");
    let bobs = bob.expect_call(SOON);
    let invite = bobs.requests().into_iter().next().expect("the INVITE");
    assert_eq!(invite.header("X-Ticket"), Some("47"));
    bobs.answer();
    let is_response = |block: &Block| block.event() == "OriginateResponse";
    let blocks = admin.blocks_until("the outcome", is_response);
    let channel = blocks.last().expect("the last").get("Channel").to_owned();
    let value = admin.ask(&[
        ("Action", "Getvar"),
        ("Channel", &channel),
        ("Variable", "CHANNEL(language)"),
    ]);
    assert_eq!(value.get("Value"), "ru");
}

#[test]
fn a_place_in_the_dialplan_may_be_written_by_its_label() {
    let exchange = exchange(&[]);
    for (metric, line) in [
        ("1", "310,1,Answer()"),
        ("2", "310,n,Goto(4)"),
        ("3", "310,n(painted),UserEvent(Painted)"),
        ("4", "310,n,Wait(60)"),
    ] {
        exchange.database.insert(
            "static_extensions",
            &[
                ("cat_metric", "0"),
                ("var_metric", metric),
                ("filename", "extensions.conf"),
                ("category", "tools"),
                ("var_name", "exten"),
                ("var_val", line),
                ("commented", "0"),
            ],
        );
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut admin = admin(&exchange);
    let call = |priority: &'static str| {
        [
            ("Action", "Originate"),
            ("Channel", "Local/300@house/n"),
            ("Context", "tools"),
            ("Exten", "310"),
            ("Priority", priority),
            ("ChannelId", "labelled"),
            ("Async", "true"),
        ]
    };
    for (priority, message) in [
        ("nowhere", "Invalid priority"),
        ("9", "Extension does not exist."),
        ("0", "Invalid priority"),
        ("painted", "Originate successfully queued"),
    ] {
        let answer = admin.ask(&call(priority));
        assert_eq!(answer.get("Message"), message, "{priority}");
    }
    let painted = |block: &Block| {
        block.event() == "UserEvent"
            && block.get("UserEvent") == "Painted"
            && block.get("Exten") == "310"
    };
    admin.blocks_until("the labelled step", painted);
    for (priority, message) in [
        ("nowhere", "Priority is invalid"),
        ("painted", "Redirect successful"),
    ] {
        let answer = admin.ask(&[
            ("Action", "Redirect"),
            ("Channel", "labelled"),
            ("Context", "tools"),
            ("Exten", "310"),
            ("Priority", priority),
        ]);
        assert_eq!(answer.get("Message"), message, "{priority}");
    }
    admin.blocks_until("the labelled step again", painted);
}

#[test]
fn what_began_before_anybody_listened_is_told_of_from_then_on() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let (alice, bob) = (
        bank.phone("alice", "secret", exchange.sip()),
        bank.phone("bob", "secret", exchange.sip()),
    );
    bob.register();
    // Somebody listened once, and no longer.
    drop(admin(&exchange));
    let call = alice.call("102");
    let bobs = bob.expect_call(SOON);
    bobs.ring();
    call.expect_status(180, SOON);
    let mut admin = admin(&exchange);
    // The channels have to be looked at first.
    admin.ask(&[("Action", "CoreShowChannels")]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    bobs.answer();
    let blocks = admin.blocks_until("both in the bridge", |block| {
        block.event() == "BridgeEnter" && block.get("BridgeNumChannels") == "2"
    });
    let states: Vec<_> = blocks
        .iter()
        .filter(|block| block.event() == "Newstate")
        .map(|block| {
            (
                block.get("Channel").split('-').next(),
                block.get("ChannelState"),
            )
        })
        .collect();
    assert_eq!(
        states,
        [(Some("PJSIP/bob"), "6"), (Some("PJSIP/alice"), "6")]
    );
    let end = blocks.iter().find(|block| block.event() == "DialEnd");
    let end = end.expect("the end of dialling");
    assert_eq!(
        (end.get("DialStatus"), end.get("DialString")),
        ("ANSWER", "bob")
    );
    assert!(end.get("Channel").starts_with("PJSIP/alice"), "{end:?}");
}

#[test]
fn a_long_list_of_channels_is_whole() {
    let exchange = exchange(&[]);
    let mut admin =
        strowger_tests::manager::ManagerClient::login(address(&exchange), "admin", "s3cret");
    admin.ask(&[("Action", "Events"), ("EventMask", "off")]);
    for _ in 0..65 {
        let answer = admin.ask(&[
            ("Action", "Originate"),
            ("Channel", "Local/300@house/n"),
            ("Application", "Wait"),
            ("Data", "60"),
        ]);
        assert_eq!(answer.get("Message"), "Originate successfully queued");
    }
    for (action, complete) in [
        ("CoreShowChannels", "CoreShowChannelsComplete"),
        ("Status", "StatusComplete"),
    ] {
        admin.send(&[("Action", action)]);
        let listed = admin.blocks_until("the list", |block| block.event() == complete);
        let last = listed.last().expect("the last");
        assert_eq!(last.get("ListItems"), "130", "{action}");
        let mut names: Vec<_> = listed.iter().map(|block| block.get("Channel")).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 130, "{action}");
    }
}
