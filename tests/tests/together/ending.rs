//! The end of the exchange by the Manager: at once, after the last call, when it suits, taken back, and beginning again.

use strowger_tests::manager::ManagerClient;
use strowger_tests::{Bank, Exchange, SOON, wait_until};

use crate::manager::{address, admin, exchange};

/// The output of a command, and whether it was done.
fn run(client: &mut ManagerClient, command: &str) -> (bool, String) {
    let answer = client.ask(&[("Action", "Command"), ("Command", command)]);
    assert_eq!(answer.get("Message"), "Command output follows", "{command}");
    let done = answer.get("Response") == "Success";
    (done, answer.all("Output").join("\n"))
}

fn house() -> Exchange {
    exchange(&[
        ("clerk", "secret", "c"),
        ("clerk", "read", "command"),
        ("clerk", "write", "command"),
    ])
}

#[test]
fn new_calls_are_refused_until_the_last_is_over_or_it_is_taken_back() {
    let mut exchange = house();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let mut clerk = ManagerClient::login(address(&exchange), "clerk", "c");
    for command in [
        "core stop now",
        "core restart gracefully",
        "core abort shutdown",
    ] {
        let answer = run(&mut clerk, command);
        assert_eq!(answer, (false, "Permission denied".to_owned()), "{command}");
    }
    let mut admin = admin(&exchange);
    let (done, why) = run(&mut admin, "core abort shutdown");
    assert!(!done && why.contains("no shutdown"), "{why}");
    let (done, why) = run(&mut admin, "core stop some day");
    assert!(!done && why.starts_with("No such command"), "{why}");

    let call = alice.call("300");
    call.expect_answered(SOON);
    // New calls are taken until there is none.
    let (done, told) = run(&mut admin, "core stop when convenient");
    assert!(done, "{told}");
    assert_eq!(told, "Waiting for inactivity to perform halt...");
    let second = alice.call("300");
    second.expect_answered(SOON);
    second.hang_up();
    let (done, told) = run(&mut admin, "core restart gracefully");
    assert!(done, "{told}");
    assert_eq!(told, "Waiting for inactivity to perform restart...");
    assert!(!run(&mut admin, "core stop when convenient").0);
    alice.call("300").expect_status(503, SOON);
    assert_eq!(exchange.metric("strowger_draining"), 1);

    assert!(run(&mut admin, "core abort shutdown").0);
    assert_eq!(exchange.metric("strowger_draining"), 0);
    let third = alice.call("300");
    third.expect_answered(SOON);
    third.hang_up();

    assert!(run(&mut admin, "core stop gracefully").0);
    alice.call("300").expect_status(503, SOON);
    assert!(exchange.pid().is_some());
    call.hang_up();
    let status = exchange.wait_for_end(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
    let told = admin.expect_closed();
    let shutdown = told.iter().find(|block| block.event() == "Shutdown");
    let shutdown = shutdown.expect("the end is told");
    assert_eq!(shutdown.get("Restart"), "False");
}

#[test]
fn a_restart_ends_calls_and_the_same_process_begins_again() {
    let mut exchange = house();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.register();
    let call = alice.call("300");
    call.expect_answered(SOON);
    let mut admin_before = admin(&exchange);
    let before = exchange.pid();
    let (done, told) = run(&mut admin_before, "core restart now");
    assert!(done, "{told}");
    let told = admin_before.expect_closed();
    let shutdown = told.iter().find(|block| block.event() == "Shutdown");
    assert_eq!(shutdown.expect("the end is told").get("Restart"), "True");
    exchange.expect_log("restarting", SOON);
    let ready = wait_until(SOON, || {
        let (status, _) = exchange.get("/readyz").ok()?;
        (status == 200 && exchange.metric("strowger_calls_processed_total") == 0).then_some(())
    });
    assert!(ready.is_some(), "it is there again:\n{}", exchange.log());
    assert_eq!(exchange.pid(), before);
    // What it knew it knows, and it takes calls.
    let mut again = admin(&exchange);
    let (_, contacts) = run(&mut again, "pjsip show contacts");
    assert!(contacts.contains("alice"), "{contacts}");
    let second = alice.call("300");
    second.expect_answered(SOON);
    exchange.expect_cdr(&["disposition"], "WHERE src = '101'", 1, SOON);
    second.hang_up();
    let status = exchange.terminate(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
}
