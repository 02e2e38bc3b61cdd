//! Faxes by the Manager: those that are under way, one of them, and what came of all.

use strowger_tests::manager::ManagerClient;
use strowger_tests::{Bank, SOON, wait_until};

use crate::manager::{admin, exchange};

fn output(client: &mut ManagerClient, command: &str) -> (bool, String) {
    let answer = client.ask(&[("Action", "Command"), ("Command", command)]);
    let done = answer.get("Response") == "Success";
    (done, answer.all("Output").join("\n"))
}

/// The numbers of `FAXStats`.
fn totals(client: &mut ManagerClient) -> Vec<u32> {
    client.send(&[("Action", "FAXStats"), ("ActionID", "totals")]);
    let told = client.blocks_until("the numbers", |block| block.event() == "FAXStats");
    let told = told.last().expect("a block");
    assert_eq!(told.get("ActionID"), "totals");
    [
        "CurrentSessions",
        "ReservedSessions",
        "TransmitAttempts",
        "ReceiveAttempts",
        "CompletedFAXes",
        "FailedFAXes",
    ]
    .iter()
    .map(|name| told.get(name).parse().expect("a number"))
    .collect()
}

#[test]
fn a_fax_is_listed_while_it_is_under_way_and_counted_when_it_is_over() {
    let exchange = exchange(&[]);
    exchange.extension(
        "house",
        "700",
        &[("Answer", ""), ("ReceiveFAX", "in/got.tif")],
    );
    let mut admin = admin(&exchange);
    assert_eq!(totals(&mut admin), [0; 6]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let known = wait_until(SOON, || {
        let (_, plan) = output(&mut admin, "dialplan show house");
        plan.contains("ReceiveFAX").then_some(())
    });
    assert!(known.is_some(), "the extension counts within a moment");
    let call = alice.call("700");
    call.expect_answered(SOON);
    // The tone by which a fax machine answers (T.30, CED): it is at work.
    call.expect_tone(2100.0, 500, SOON);

    admin.send(&[("Action", "FAXSessions"), ("ActionID", "all")]);
    let list = admin.blocks_until("the end of the list", |block| {
        block.event() == "FAXSessionsComplete"
    });
    let entry = list
        .iter()
        .find(|block| block.event() == "FAXSessionsEntry");
    let entry = entry.expect("the fax");
    assert!(
        entry.get("Channel").starts_with("PJSIP/alice-"),
        "{entry:?}"
    );
    let number = entry.get("SessionNumber").to_owned();
    for (name, value) in [
        ("ActionID", "all"),
        ("Technology", "Spandsp"),
        ("SessionType", "G.711"),
        ("Operation", "receive"),
        ("State", "Active"),
        ("Files", "in/got.tif"),
    ] {
        assert_eq!(entry.get(name), value, "{name}");
    }
    let complete = list.last().expect("the end");
    assert_eq!(
        (complete.get("ListItems"), complete.get("Total")),
        ("1", "1")
    );

    admin.send(&[("Action", "FAXSession"), ("SessionNumber", &number)]);
    let told = admin.blocks_until("the fax", |block| block.event() == "FAXSession");
    let fax = told.last().expect("a block");
    for (name, value) in [
        ("SessionNumber", &*number),
        ("Operation", "receive"),
        ("State", "Active"),
        ("PageNumber", "0"),
        ("PagesReceived", "0"),
        ("TotalBadLines", "0"),
        ("FileName", "in/got.tif"),
    ] {
        assert_eq!(fax.get(name), value, "{name}");
    }
    for (asked, wanted) in [("x", "Invalid session ID"), ("99", "Session not found")] {
        let answer = admin.ask(&[("Action", "FAXSession"), ("SessionNumber", asked)]);
        assert_eq!(answer.get("Message"), wanted);
    }
    for (command, part) in [
        ("fax show sessions", "1 FAX sessions"),
        ("fax show sessions", "in/got.tif"),
        (&*format!("fax show session {number}"), "Pages Received"),
        ("fax show stats", "Receive Attempts     : 1"),
        ("fax show capabilities", "SEND RECEIVE G.711"),
        ("fax show settings", "Maximum Bit Rate: 14400"),
        ("fax show version", "Spandsp"),
    ] {
        let (done, text) = output(&mut admin, command);
        assert!(done && text.contains(part), "{command}: {text}");
    }
    assert!(!output(&mut admin, "fax show session 99").0);
    assert_eq!(totals(&mut admin)[..4], [1, 0, 0, 1]);

    call.hang_up();
    let over = wait_until(SOON, || {
        (exchange.metric("strowger_fax_failed_total") == 1).then_some(())
    });
    assert!(over.is_some(), "the machine ends");
    let gone = wait_until(SOON, || {
        (totals(&mut admin) == [0, 0, 0, 1, 0, 1]).then_some(())
    });
    assert!(gone.is_some(), "{:?}", totals(&mut admin));
}
