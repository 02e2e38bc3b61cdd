//! How long recordings are kept: shown, set, and what goes because of it.

use std::time::{Duration, SystemTime};

use strowger_tests::Bank;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// A file of the folder of recordings, changed so long ago.
fn put(exchange: &Exchange, name: &str, days: u32) {
    let path = exchange.recordings().join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let file = std::fs::File::create(path).expect("a file");
    file.set_modified(SystemTime::now() - days * DAY)
        .expect("its time");
}

fn set(exchange: &Exchange, key: &str, body: &Value) -> WebAnswer {
    ask(exchange, key, "PUT", "/recordings/retention", body)
}

#[test]
fn recordings_go_when_they_were_kept_long_enough_and_call_records_stay() {
    let mut exchange = exchange();
    let text = format!(
        "{}\n[recording]\nkeep_days = 30\n",
        exchange.configuration()
    );
    exchange.write_configuration(&text);
    for (name, days) in [
        ("1.1.wav", 31),
        ("1.2.mp3", 29),
        ("2024/1.3.mp3", 400),
        ("notes.txt", 400),
        ("1.4.wav", 8),
    ] {
        put(&exchange, name, days);
    }
    exchange.start();
    let there = |name: &str| exchange.recordings().join(name).exists();
    let gone = wait_until(SOON, || {
        (!there("1.1.wav") && !there("2024/1.3.mp3")).then_some(())
    });
    assert!(gone.is_some(), "{}", exchange.log());
    exchange.expect_log("recording deleted: it was kept long enough", SOON);
    assert!(there("1.2.mp3") && there("notes.txt") && there("1.4.wav"));
    let told = wait_until(SOON, || {
        let told = get(&exchange, ROOT, "/recordings/retention");
        (told["deleted"] == json!(2) && told["looked_at"].is_u64()).then_some(told)
    });
    let told = told.expect("it is counted");
    assert_eq!(
        (
            &told["keep_days"],
            &told["configured_days"],
            &told["set"],
            &told["failed"]
        ),
        (&json!(30), &json!(30), &json!(false), &json!(0))
    );
    assert_eq!(
        exchange.metric("strowger_recordings_expired_deleted_total"),
        2
    );

    // A recording that runs stays, however old its file seems to be.
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("300");
    call.expect_answered(SOON);
    let id = id_of(&exchange, "PJSIP/alice");
    let record = format!("/calls/{id}/record");
    let answer = ask(&exchange, HOUSE, "POST", &record, &json!({}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let running = exchange.recordings().join(format!("{id}.wav"));
    let written = wait_until(SOON, || {
        let about = std::fs::metadata(&running).ok()?;
        (about.len() > 8000).then_some(())
    });
    assert!(written.is_some());
    for (key, body, status, word) in [
        (GUEST, json!({"keep_days": 1}), 403, "system:write"),
        (HOUSE, json!({"keep_days": 1}), 403, "without a group"),
        (ROOT, json!({}), 400, "keep_days"),
        (ROOT, json!({"keep_days": -1}), 400, "body"),
        (ROOT, json!({"keep_days": 36_501}), 400, "36500"),
        (ROOT, json!({"days": 1}), 400, "body"),
    ] {
        let answer = set(&exchange, key, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    let hold_old = || {
        let file = std::fs::File::options()
            .write(true)
            .open(&running)
            .expect("the file");
        file.set_modified(SystemTime::now() - 10 * DAY)
            .expect("its time");
    };
    hold_old();
    let answer = set(&exchange, ROOT, &json!({"keep_days": 7}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (&answer.json()["keep_days"], &answer.json()["set"]),
        (&json!(7), &json!(true))
    );
    exchange.expect_log("recordings are kept for 7 days", SOON);
    let gone = wait_until(SOON, || {
        hold_old();
        (!there("1.4.wav") && !there("1.2.mp3")).then_some(())
    });
    assert!(gone.is_some(), "{}", exchange.log());
    assert!(running.exists());
    call.hang_up();
    exchange.expect_cdr(&["uniqueid"], &format!("WHERE uniqueid = '{id}'"), 1, SOON);
    let closed = wait_until(SOON, || {
        let known = std::fs::read(&running).ok()?;
        (known[40..44] != [0xff; 4]).then_some(())
    });
    assert!(closed.is_some());
    // What was set holds over a restart; for ever means for ever.
    let answer = set(&exchange, ROOT, &json!({"keep_days": 0}));
    assert_eq!(answer.json()["keep_days"], json!(0));
    assert_eq!(
        exchange.terminate(SOON).and_then(|status| status.code()),
        Some(0)
    );
    put(&exchange, "1.5.wav", 4000);
    exchange.start();
    let told = get(&exchange, ROOT, "/recordings/retention");
    assert_eq!(
        (&told["keep_days"], &told["set"]),
        (&json!(0), &json!(true))
    );
    let file = std::fs::File::options()
        .write(true)
        .open(&running)
        .expect("the file");
    file.set_modified(SystemTime::now() - 40 * DAY)
        .expect("its time");
    std::thread::sleep(Duration::from_secs(7));
    assert!(running.exists() && exchange.recordings().join("1.5.wav").exists());
    let answer = set(&exchange, ROOT, &json!({"keep_days": null}));
    assert_eq!(
        (&answer.json()["keep_days"], &answer.json()["set"]),
        (&json!(30), &json!(false))
    );
    let gone = wait_until(SOON, || (!running.exists()).then_some(()));
    assert!(gone.is_some(), "{}", exchange.log());
    let rows = exchange
        .database
        .select("cdr", &["uniqueid"], &format!("WHERE uniqueid = '{id}'"));
    assert_eq!(rows.len(), 1, "the call record stays");
}
