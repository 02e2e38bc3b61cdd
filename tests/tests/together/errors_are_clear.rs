//! What an administrator gets wrong is told once, with what, where and what would be right; `strowger check` tells it before
//! a call does.

use strowger_tests::{Bank, Ending, Exchange, SOON, text_of};

/// `strowger check` has to fail, with one line that has all of these words.
#[track_caller]
fn check_finds(exchange: &Exchange, words: &[&str]) {
    let output = exchange.run(&["check"]);
    let text = text_of(&output);
    assert!(!output.status.success(), "check has to fail:\n{text}");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| words.iter().all(|w| line.contains(w)))
        .collect();
    assert_eq!(lines.len(), 1, "one line with {words:?}, in:\n{text}");
}

/// How messages name a dialplan row.
fn row_of(exchange: &Exchange, exten: &str) -> String {
    let rows = exchange.database.select(
        "realtime_extensions",
        &["id"],
        &format!("WHERE exten = '{exten}'"),
    );
    format!("row {}", rows[0][0].as_deref().expect("rows have an id"))
}

#[test]
fn a_sound_configuration_passes() {
    let exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "internal");
    exchange.extension(
        "internal",
        "1",
        &[("Answer", ""), ("Playback", "beep"), ("Hangup", "")],
    );
    let output = exchange.run(&["check"]);
    assert!(output.status.success(), "{}", text_of(&output));
}

#[test]
fn an_unknown_application_is_found_and_ends_only_its_own_call() {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "internal");
    exchange.extension("internal", "1", &[("Playbak", "beep")]);
    exchange.extension("internal", "2", &[("Hangup", "17")]);
    let row = row_of(&exchange, "1");
    check_finds(&exchange, &["Playbak", "internal", &row, "Playback"]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    assert!(matches!(
        alice.call("1").expect_ended(SOON),
        Ending::Status(_)
    ));
    assert_eq!(alice.call("2").expect_ended(SOON), Ending::Status(486));
}

#[test]
fn a_broken_expression_is_found() {
    let exchange = Exchange::new();
    exchange.extension("internal", "1", &[("GotoIf", "$[1 + (2 ]?3")]);
    let row = row_of(&exchange, "1");
    check_finds(&exchange, &["internal", &row, "1 + (2"]);
}

#[test]
fn an_unknown_function_is_found() {
    let exchange = Exchange::new();
    exchange.extension("internal", "1", &[("NoOp", "${CALLERIDD(num)}")]);
    let row = row_of(&exchange, "1");
    check_finds(&exchange, &["CALLERIDD", "internal", &row]);
}

#[test]
fn a_pattern_that_cannot_match_is_found() {
    let exchange = Exchange::new();
    exchange.extension("internal", "_1[5-2]X", &[("NoOp", "")]);
    let row = row_of(&exchange, "_1[5-2]X");
    check_finds(&exchange, &["_1[5-2]X", "internal", &row]);
}

#[test]
fn a_missing_sound_is_found_and_a_call_goes_on_without_it() {
    let mut exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "internal");
    exchange.extension(
        "internal",
        "1",
        &[("Playback", "no-such-sound"), ("Hangup", "")],
    );
    let row = row_of(&exchange, "1");
    check_finds(&exchange, &["no-such-sound", "internal", &row]);
    exchange.start();
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("1");
    call.expect_answered(SOON);
    assert_eq!(call.expect_ended(SOON), Ending::TheyHungUp);
    exchange.expect_log("no-such-sound", SOON);
}

#[test]
fn a_database_that_does_not_answer_is_named_without_its_password() {
    let mut exchange = Exchange::new();
    for url in [
        "mysql://pbx:sesame@127.0.0.1:9/pbx",
        "postgres://pbx:sesame@127.0.0.1:9/pbx",
    ] {
        let text = exchange
            .configuration()
            .replace(exchange.database.url(), url);
        exchange.write_configuration(&text);
        check_finds(&exchange, &["127.0.0.1:9"]);
        let before = exchange.log().len();
        exchange.launch();
        let status = exchange.wait_for_end(SOON);
        assert!(
            status.is_some_and(|s| !s.success()),
            "serve has to give up: {status:?}"
        );
        let log = exchange.log().split_off(before);
        assert!(log.contains("127.0.0.1:9"), "{log}");
        assert!(!log.contains("sesame") && !text_of(&exchange.run(&["check"])).contains("sesame"));
    }
}

#[test]
fn a_database_that_is_no_database_is_refused() {
    let exchange = Exchange::new();
    let text = exchange
        .configuration()
        .replace(exchange.database.url(), "oracle://x/y");
    exchange.write_configuration(&text);
    check_finds(&exchange, &["oracle", "sqlite, mysql or postgres"]);
}

#[test]
fn a_test_of_the_dialplan_tells_what_went_another_way_and_fails() {
    let exchange = Exchange::new();
    exchange.subscriber("alice", "secret", "internal");
    exchange.extension(
        "internal",
        "_2XX",
        &[("Dial", "PJSIP/${EXTEN},20"), ("Hangup", "17")],
    );
    let file = exchange.data().join("internal.test.toml");
    let path = file.display().to_string();
    let tests = "[[test]]\nname = \"busy\"\nendpoint = \"alice\"\ncontext = \"internal\"\nexten = \"205\"\n\
                 results.Dial = [\"BUSY\"]\n[test.want]\ndialled = [\"PJSIP/205\"]\ncause = 17\n";
    std::fs::write(&file, tests).expect("written");
    let output = exchange.run(&["dialplan", "test", &path]);
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("ok    busy") && text.contains("1 tests, 0 failed"),
        "{text}"
    );

    let output = exchange.run(&["dialplan", "test", "--show", &path]);
    let text = text_of(&output);
    assert!(
        text.contains("internal,205,1  Dial(PJSIP/205,20)  -> BUSY"),
        "{text}"
    );

    std::fs::write(&file, tests.replace("PJSIP/205", "PJSIP/206")).expect("written");
    let output = exchange.run(&["dialplan", "test", &path]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let finding = format!("{path}:8: dialled: wanted [\"PJSIP/206\"], got [\"PJSIP/205\"]");
    assert!(text.contains(&finding), "{text}");
    assert!(
        text.contains("internal,205,1  Dial(PJSIP/205,20)  -> BUSY"),
        "{text}"
    );

    std::fs::write(&file, tests.replace("exten", "extem")).expect("written");
    let output = exchange.run(&["dialplan", "test", &path]);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("line 5") && text.contains("extem"), "{text}");
}

#[test]
fn a_database_of_func_odbc_that_nobody_named_is_found() {
    let exchange = Exchange::new();
    for (name, value) in [("dsn", "crm"), ("readsql", "SELECT 1")] {
        exchange.database.insert(
            "static_extensions",
            &[
                ("filename", "func_odbc.conf"),
                ("category", "NAME"),
                ("var_name", name),
                ("var_val", value),
            ],
        );
    }
    exchange.extension(
        "internal",
        "1",
        &[("NoOp", "${ODBC_NAME(1)}${ODBC_NOBODY(1)}")],
    );
    check_finds(&exchange, &["ODBC_NAME", "\"crm\"", "[sql.crm]"]);
    check_finds(&exchange, &["ODBC_NOBODY"]);
}

#[test]
fn a_port_in_use_is_named() {
    let mut exchange = Exchange::new();
    let address = exchange.sip().to_string();
    let _other = std::net::UdpSocket::bind(exchange.sip()).expect("the port of another program");
    check_finds(&exchange, &["udp", &address, "in use"]);
    exchange.launch();
    let status = exchange.wait_for_end(SOON);
    assert!(status.is_some_and(|s| !s.success()), "{status:?}");
    let log = exchange.log();
    assert!(log.contains(&address) && log.contains("in use"), "{log}");
}

#[test]
fn checking_beside_a_running_exchange_is_no_fault() {
    let mut exchange = Exchange::new();
    exchange.extension("default", "1", &[("Answer", ""), ("Hangup", "")]);
    exchange.start();
    let output = exchange.run(&["check"]);
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("an exchange runs at"), "{text}");
}

#[test]
fn an_unknown_key_and_a_wrong_value_are_refused_with_their_place() {
    let exchange = Exchange::new();
    let sound = exchange.configuration();
    exchange.write_configuration(&format!("{sound}\n[sipp]\nudp = []\n"));
    check_finds(&exchange, &["unknown field", "sipp", "expected one of"]);
    exchange.write_configuration(&sound.replace("10000-20000", "20000-10000"));
    check_finds(&exchange, &["ports", "20000-10000"]);
}
