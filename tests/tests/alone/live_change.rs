//! A row changed in the database changes the next call, without a restart.

use strowger_tests::{Bank, Ending, Engine, Exchange, SOON, Settings, alone, wait_until};

fn a_changed_row_is_followed_on(engine: Engine) {
    let mut exchange = Exchange::prepare(Settings {
        engine,
        ..Settings::default()
    });
    exchange.subscriber("alice", "secret", "first");
    exchange.extension("first", "7", &[("Hangup", "17")]);
    exchange.extension("second", "7", &[("Hangup", "34")]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    // On an idle machine two seconds are enough.
    let next_call_ends_with = |status: u16, why: &str| {
        let done = wait_until(SOON, || {
            (alice.call("7").expect_ended(SOON) == Ending::Status(status)).then_some(())
        });
        assert!(done.is_some(), "{why}");
    };
    next_call_ends_with(486, "17 is busy");

    exchange
        .database
        .execute("UPDATE realtime_extensions SET appdata = '1' WHERE context = 'first'");
    next_call_ends_with(404, "1 is unallocated");

    // The endpoint's context, as the product's administrators change it.
    exchange
        .database
        .execute("UPDATE ps_endpoints SET context = 'second' WHERE id = 'alice'");
    next_call_ends_with(503, "34 is congestion");

    exchange
        .database
        .execute("DELETE FROM realtime_extensions WHERE context = 'second'");
    next_call_ends_with(404, "no such extension");

    exchange
        .database
        .execute("UPDATE ps_auths SET password = 'other' WHERE id = 'alice'");
    let refused = wait_until(SOON, || (alice.try_register(60).0 == 401).then_some(()));
    assert!(refused.is_some(), "the old password");
    alice.set_password("other");
    alice.register();
}

#[test]
fn a_changed_row_is_followed_on_sqlite() {
    let _alone = alone();
    a_changed_row_is_followed_on(Engine::Sqlite);
}

#[test]
fn a_changed_row_is_followed_on_mariadb() {
    let _alone = alone();
    a_changed_row_is_followed_on(Engine::MariaDb);
}

#[test]
fn a_changed_row_is_followed_on_postgresql() {
    let _alone = alone();
    a_changed_row_is_followed_on(Engine::Postgres);
}

#[test]
fn a_broken_row_leaves_the_running_dialplan_as_it_was() {
    let _alone = alone();
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "first");
    exchange.extension("first", "7", &[("Hangup", "17")]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    exchange.extension("first", "8", &[("NoSuchApplication", "x")]);
    exchange.expect_log("NoSuchApplication", SOON);
    assert_eq!(alice.call("7").expect_ended(SOON), Ending::Status(486));
}
