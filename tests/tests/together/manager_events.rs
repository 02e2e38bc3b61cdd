//! The events of the Manager that tell what somebody does with calls: transfers, pickups, spies, recordings, conferences and
//! queues. Each test does it as a person would and reads what a program is told.

use strowger_tests::manager::{Block, ManagerClient};
use strowger_tests::{Bank, Call, Exchange, Phone, SOON, wait_until};

use crate::manager::{admin, exchange};

/// A call of alice to bob, which is answered.
#[track_caller]
fn talk(alice: &Phone, bob: &Phone) -> (Call, Call) {
    let call = alice.call("102");
    let bobs = bob.expect_call(SOON);
    bobs.answer();
    call.expect_answered(SOON);
    (call, bobs)
}

/// The next event of this name.
#[track_caller]
fn next(admin: &mut ManagerClient, name: &str) -> Block {
    let blocks = admin.blocks_until(name, |block| block.event() == name);
    blocks.into_iter().next_back().unwrap_or_default()
}

/// A number that is dialled once the running exchange knows it.
#[track_caller]
fn extension(exchange: &Exchange, exten: &str, steps: &[(&str, &str)]) {
    let versions = || exchange.metric("strowger_dialplan_versions_total");
    let before = versions();
    exchange.extension("house", exten, steps);
    let known = wait_until(SOON, || (versions() > before).then_some(()));
    assert!(known.is_some(), "{exten} is not compiled");
    // Its rows come one by one.
    std::thread::sleep(std::time::Duration::from_millis(500));
}

fn phones(exchange: &Exchange) -> (Bank, Phone, Phone) {
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    (bank, alice, bob)
}

#[track_caller]
fn ask(admin: &mut ManagerClient, message: &str, headers: &[(&str, &str)]) {
    let answer = admin.ask(headers);
    assert_eq!(answer.get("Message"), message, "{headers:?}");
}

#[test]
fn a_blind_transfer_says_who_sent_whom_where() {
    let exchange = exchange(&[]);
    let (_bank, alice, bob) = phones(&exchange);
    let mut admin = admin(&exchange);
    let (alices, bobs) = talk(&alice, &bob);
    bobs.request("REFER", &[("Refer-To", "<sip:999@there>")]);
    let told = next(&mut admin, "BlindTransfer");
    assert_eq!(
        (
            told.get("Result"),
            told.get("Extension"),
            told.get("IsExternal")
        ),
        ("Invalid", "999", "Yes")
    );
    bobs.request("REFER", &[("Refer-To", "<sip:300@there>")]);
    let told = next(&mut admin, "BlindTransfer");
    assert_eq!(told.get("Privilege"), "call,all");
    assert_eq!(
        (
            told.get("Result"),
            told.get("Context"),
            told.get("Extension")
        ),
        ("Success", "house", "300")
    );
    assert!(told.get("TransfererChannel").starts_with("PJSIP/bob-"));
    assert!(told.get("TransfereeChannel").starts_with("PJSIP/alice-"));
    assert_eq!(told.get("BridgeUniqueid").len(), 36);
    let step = admin.blocks_until("the new place", |block| block.event() == "UserEvent");
    assert!(
        step.last()
            .is_some_and(|block| block.get("Channel").starts_with("PJSIP/alice-"))
    );
    alices.hang_up();
}

#[test]
fn an_attended_transfer_says_which_calls_are_put_together() {
    let exchange = exchange(&[]);
    exchange.subscriber("carol", "secret", "house");
    extension(&exchange, "103", &[("Dial", "PJSIP/carol,60")]);
    let (bank, alice, bob) = phones(&exchange);
    let carol = bank.phone("carol", "secret", exchange.sip());
    carol.register();
    let mut admin = admin(&exchange);
    let (_alices, bobs) = talk(&alice, &bob);
    let second = bob.call("103");
    carol.expect_call(SOON).answer();
    second.expect_answered(SOON);
    let refer = format!(
        "<sip:103@there?Replaces={}>",
        second.replaces().replace(';', "%3B").replace('=', "%3D")
    );
    bobs.request("REFER", &[("Refer-To", &refer)]);
    let told = next(&mut admin, "AttendedTransfer");
    let who = |field: &str| {
        let channel = told.get(field);
        channel
            .rsplit_once('-')
            .map_or(channel, |(device, _)| device)
            .to_owned()
    };
    assert_eq!(
        [
            who("OrigTransfererChannel"),
            who("SecondTransfererChannel"),
            who("TransfereeChannel"),
            who("TransferTargetChannel")
        ],
        ["PJSIP/bob", "PJSIP/bob", "PJSIP/alice", "PJSIP/carol"]
    );
    assert_ne!(
        told.get("OrigTransfererUniqueid"),
        told.get("SecondTransfererUniqueid")
    );
    assert_eq!(
        (
            told.get("Result"),
            told.get("IsExternal"),
            told.get("DestType")
        ),
        ("Success", "Yes", "Bridge")
    );
    assert_eq!(told.0[2].0, "Result");
    let new = told.get("DestBridgeUniqueid");
    assert!(
        new.len() == 36 && new != told.get("OrigBridgeUniqueid"),
        "{told:#?}"
    );
}

#[test]
fn a_pickup_names_both_and_the_calls_become_one() {
    let exchange = exchange(&[]);
    let (_bank, alice, bob) = phones(&exchange);
    let mut admin = admin(&exchange);
    let call = alice.call("102");
    let _bobs = bob.expect_call(SOON);
    let alices = next(&mut admin, "Newchannel");
    ask(
        &mut admin,
        "Originate successfully queued",
        &[
            ("Action", "Originate"),
            ("Channel", "Local/300@house/n"),
            ("Application", "Pickup"),
            ("Data", "102@house"),
            ("ChannelId", "picker"),
            ("OtherChannelId", "other"),
            ("Async", "yes"),
        ],
    );
    let mut blocks = admin.blocks_until("the pickup", |block| block.event() == "Pickup");
    let told = blocks.last().expect("the event").clone();
    assert!(told.get("Channel").starts_with("Local/300@house-"));
    assert!(told.get("TargetChannel").starts_with("PJSIP/bob-"));
    call.expect_answered(SOON);
    let joined = |blocks: &[Block]| {
        let enters = blocks
            .iter()
            .filter(|block| block.event() == "BridgeEnter" && block.get("Uniqueid") == "picker");
        enters
            .map(|block| block.get("Linkedid").to_owned())
            .next_back()
    };
    if joined(&blocks).is_none() {
        blocks.extend(admin.blocks_until("the picker in the bridge", |block| {
            block.event() == "BridgeEnter" && block.get("Uniqueid") == "picker"
        }));
    }
    assert_eq!(joined(&blocks).as_deref(), Some(alices.get("Uniqueid")));
}

#[test]
fn a_spy_is_told_of_from_his_coming_to_his_going() {
    let exchange = exchange(&[]);
    let (_bank, alice, bob) = phones(&exchange);
    let mut admin = admin(&exchange);
    let (alices, _bobs) = talk(&alice, &bob);
    ask(
        &mut admin,
        "Originate successfully queued",
        &[
            ("Action", "Originate"),
            ("Channel", "Local/300@house/n"),
            ("Application", "ChanSpy"),
            ("Data", "PJSIP/bob,qE"),
            // He may be there before the answer to a request that waits for it.
            ("Async", "yes"),
        ],
    );
    for name in ["ChanSpyStart", "ChanSpyStop"] {
        if name == "ChanSpyStop" {
            alices.hang_up();
        }
        let told = next(&mut admin, name);
        assert!(told.get("SpyerChannel").starts_with("Local/300@house-"));
        assert!(
            told.get("SpyeeChannel").starts_with("PJSIP/bob-"),
            "{told:?}"
        );
    }
}

#[test]
fn recordings_and_hang_up_handlers_are_told_of() {
    let exchange = exchange(&[]);
    extension(
        &exchange,
        "320",
        &[
            ("Answer", ""),
            ("Set", "CHANNEL(hangup_handler_push)=house,321,1"),
            ("MixMonitor", "talk.wav"),
            ("Wait", "60"),
        ],
    );
    extension(&exchange, "321", &[("Return", "")]);
    let (_bank, alice, _bob) = phones(&exchange);
    let mut admin = admin(&exchange);
    let call = alice.call("320");
    let pushed = next(&mut admin, "HangupHandlerPush");
    assert_eq!(
        (pushed.get("Handler"), pushed.get("Privilege")),
        ("house,321,1", "dialplan,all")
    );
    let started = next(&mut admin, "MixMonitorStart");
    let channel = started.get("Channel").to_owned();
    assert!(channel.starts_with("PJSIP/alice-"));
    admin.send(&[
        ("Action", "MixMonitorMute"),
        ("Channel", &channel),
        ("Direction", "read"),
        ("State", "1"),
    ]);
    let muted = next(&mut admin, "MixMonitorMute");
    assert_eq!((muted.get("Direction"), muted.get("State")), ("read", "1"));
    admin.send(&[("Action", "StopMixMonitor"), ("Channel", &channel)]);
    assert_eq!(next(&mut admin, "MixMonitorStop").get("Channel"), channel);
    call.hang_up();
    let run = next(&mut admin, "HangupHandlerRun");
    assert_eq!(run.get("Handler"), "house,321,1");
}

#[test]
fn muted_members_and_recordings_of_a_conference_are_told_of() {
    let exchange = exchange(&[]);
    extension(
        &exchange,
        "501",
        &[
            ("Answer", ""),
            ("Set", "CONFBRIDGE(bridge,record_conference)=yes"),
            ("ConfBridge", "tea"),
        ],
    );
    let (_bank, alice, _bob) = phones(&exchange);
    let mut admin = admin(&exchange);
    let call = alice.call("501");
    call.expect_answered(SOON);
    let recorded = next(&mut admin, "ConfbridgeRecord");
    assert_eq!(
        (recorded.get("Conference"), recorded.get("BridgeTechnology")),
        ("tea", "softmix")
    );
    for (action, event) in [
        ("ConfbridgeMute", "ConfbridgeMute"),
        ("ConfbridgeUnmute", "ConfbridgeUnmute"),
    ] {
        admin.send(&[
            ("Action", action),
            ("Conference", "tea"),
            ("Channel", "all"),
        ]);
        let told = next(&mut admin, event);
        assert_eq!((told.get("Conference"), told.get("Admin")), ("tea", "No"));
        assert!(told.get("Channel").starts_with("PJSIP/alice-"));
        assert_eq!(told.get("BridgeUniqueid"), recorded.get("BridgeUniqueid"));
    }
    call.hang_up();
    assert_eq!(
        next(&mut admin, "ConfbridgeStopRecord").get("Conference"),
        "tea"
    );
}

#[test]
fn a_queue_tells_of_its_members_its_callers_and_who_served_them() {
    let exchange = exchange(&[]);
    exchange.database.insert(
        "queues",
        &[("name", "desk"), ("strategy", "ringall"), ("timeout", "2")],
    );
    extension(&exchange, "330", &[("Queue", "desk")]);
    let (_bank, alice, bob) = phones(&exchange);
    let mut admin = admin(&exchange);
    ask(
        &mut admin,
        "Added interface to queue",
        &[
            ("Action", "QueueAdd"),
            ("Queue", "desk"),
            ("Interface", "PJSIP/bob"),
            ("MemberName", "Bob"),
        ],
    );
    let mut paused = |value: &str, message: &str| {
        let answer = admin.ask(&[
            ("Action", "QueuePause"),
            ("Queue", "desk"),
            ("Interface", "PJSIP/bob"),
            ("Paused", value),
            ("Reason", "lunch"),
        ]);
        assert_eq!(answer.get("Message"), message);
    };
    paused("true", "Interface paused successfully");
    paused("false", "Interface unpaused successfully");
    admin.send(&[("Action", "QueueStatus"), ("Queue", "desk")]);
    let listed = admin.blocks_until("the list", |block| block.event() == "QueueStatusComplete");
    let member = listed.iter().find(|block| block.event() == "QueueMember");
    let member = member.expect("the member");
    for field in ["LoginTime", "LastPause"] {
        let seconds: u64 = member.get(field).parse().expect("seconds");
        assert!(seconds > 1_700_000_000, "{field}");
    }

    let call = alice.call("330");
    let joined = next(&mut admin, "QueueCallerJoin");
    assert_eq!(
        (
            joined.get("Queue"),
            joined.get("Position"),
            joined.get("Count")
        ),
        ("desk", "1", "1")
    );
    assert_eq!(joined.get("Privilege"), "agent,all");
    let called = next(&mut admin, "AgentCalled");
    assert!(called.get("DestChannel").starts_with("PJSIP/bob-"));
    assert_eq!(
        (called.get("Interface"), called.get("MemberName")),
        ("PJSIP/bob", "Bob")
    );
    // The first ring is left to end, the second is answered.
    let missed = bob.expect_call(SOON);
    let rang = next(&mut admin, "AgentRingNoAnswer");
    assert!(rang.get("DestChannel").starts_with("PJSIP/bob-"));
    assert!(rang.get("RingTime").parse::<u64>().is_ok_and(|ms| ms > 500));
    missed.expect_ended(SOON);
    let bobs = bob.expect_call(SOON);
    bobs.answer();
    let left = next(&mut admin, "QueueCallerLeave");
    assert_eq!(left.get("Count"), "0");
    let connected = next(&mut admin, "AgentConnect");
    assert!(
        connected
            .get("HoldTime")
            .parse::<u64>()
            .is_ok_and(|held| held > 0)
    );
    call.expect_answered(SOON);
    call.hang_up();
    let complete = next(&mut admin, "AgentComplete");
    assert_eq!(complete.get("Reason"), "caller");
    assert!(complete.get("DestChannel").starts_with("PJSIP/bob-"));

    let call = alice.call("330");
    next(&mut admin, "QueueCallerJoin");
    call.hang_up();
    let abandoned = next(&mut admin, "QueueCallerAbandon");
    assert_eq!(abandoned.get("OriginalPosition"), "1");
    next(&mut admin, "QueueCallerLeave");
}

#[test]
fn a_telephone_that_comes_and_goes_is_told_of() {
    let exchange = exchange(&[]);
    let bank = Bank::new();
    let mut admin = admin(&exchange);
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    let told = next(&mut admin, "PeerStatus");
    assert_eq!(
        (
            told.get("Peer"),
            told.get("PeerStatus"),
            told.get("Privilege")
        ),
        ("PJSIP/bob", "Reachable", "system,all")
    );
    bob.try_register(0);
    let told = next(&mut admin, "PeerStatus");
    assert_eq!(told.get("PeerStatus"), "Unreachable");
}

#[test]
fn only_what_is_there_is_read_again() {
    let exchange = exchange(&[]);
    let mut admin = admin(&exchange);
    for (module, message) in [
        ("chan_pjsip.so", "Module Reloaded"),
        ("manager", "Module Reloaded"),
        ("", "Module Reloaded"),
        ("chan_nothing.so", "No such module"),
    ] {
        let reload = [("Action", "Reload"), ("Module", module)];
        ask(&mut admin, message, &reload);
    }
}
