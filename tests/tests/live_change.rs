//! A row changed in the database changes the next call, without a restart.

use std::time::Duration;
use strowger_tests::{Bank, Ending, Engine, Exchange, Settings, alone};

const SOON: Duration = Duration::from_secs(5);

fn a_changed_row_is_followed_within_two_seconds_on(engine: Engine) {
    let _alone = alone();
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
    let ends = || alice.call("7").expect_ended(SOON);
    let within_two_seconds = Duration::from_secs(2);
    assert_eq!(ends(), Ending::Status(486), "17 is busy");

    exchange
        .database
        .execute("UPDATE realtime_extensions SET appdata = '1' WHERE context = 'first'");
    std::thread::sleep(within_two_seconds);
    assert_eq!(ends(), Ending::Status(404), "1 is unallocated");

    // The endpoint's context, as the product's administrators change it.
    exchange
        .database
        .execute("UPDATE ps_endpoints SET context = 'second' WHERE id = 'alice'");
    std::thread::sleep(within_two_seconds);
    assert_eq!(ends(), Ending::Status(503), "34 is congestion");

    exchange
        .database
        .execute("DELETE FROM realtime_extensions WHERE context = 'second'");
    std::thread::sleep(within_two_seconds);
    assert_eq!(ends(), Ending::Status(404), "no such extension");

    exchange
        .database
        .execute("UPDATE ps_auths SET password = 'other' WHERE id = 'alice'");
    std::thread::sleep(within_two_seconds);
    assert_eq!(alice.try_register(60).0, 401, "the old password");
    alice.set_password("other");
    alice.register();
}

#[test]
fn a_changed_row_is_followed_on_sqlite() {
    a_changed_row_is_followed_within_two_seconds_on(Engine::Sqlite);
}

#[test]
fn a_changed_row_is_followed_on_mariadb() {
    a_changed_row_is_followed_within_two_seconds_on(Engine::MariaDb);
}

#[test]
fn a_changed_row_is_followed_on_postgresql() {
    a_changed_row_is_followed_within_two_seconds_on(Engine::Postgres);
}

#[test]
fn a_broken_row_leaves_the_running_dialplan_as_it_was() {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "first");
    exchange.extension("first", "7", &[("Hangup", "17")]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    exchange.extension("first", "8", &[("NoSuchApplication", "x")]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(alice.call("7").expect_ended(SOON), Ending::Status(486));
    exchange.expect_log("NoSuchApplication", SOON);
}
