//! Calls made, moved, connected, heard and ended.

use std::time::Duration;

use serde_json::{Value, json};
use strowger_tests::audio::{self, sine};
use strowger_tests::{Bank, Ending, Exchange, Manner, SOON, Source, wait_until, web};

use super::{HOUSE, OTHER, ROOT, ask, call_of, exchange, get, id_of};

#[test]
fn a_call_is_made_once_watched_moved_and_ended() {
    let mut exchange = exchange();
    exchange.start();
    let bank = Bank::new();
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    bob.set_manner(Manner::Answer(Duration::from_millis(200)));
    let body = json!({"channel": "PJSIP/bob", "to": {"context": "house", "extension": "300"}, "variables": {"order": "4711"}, "caller_id": "Robot <77>", "wait": true});
    let text = body.to_string();
    let make = |key: &str, text: &str| {
        let headers = [("X-API-Key", HOUSE), ("Idempotency-Key", key)];
        web::ask(
            exchange.http(),
            "POST",
            "/api/v1/calls",
            &headers,
            text.as_bytes(),
        )
    };
    let first = make("one", &text);
    assert_eq!(first.status, 201, "{}", first.text());
    let made = first.json();
    assert_eq!(
        (&made["outcome"], &made["cause"]),
        (&json!("answered"), &json!(0))
    );
    let again = make("one", &text);
    assert_eq!((again.status, again.text()), (201, first.text()));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(make("one", &text.replace("4711", "4712")).status, 422);
    let phone = bob.expect_call(SOON);
    assert!(
        bob.next_call(Duration::from_millis(300)).is_none(),
        "it was made twice"
    );

    let id = made["id"].as_str().expect("an id").to_owned();
    let path = format!("/calls/{id}");
    let seen = get(&exchange, HOUSE, &path);
    assert_eq!(
        (&seen["state"], &seen["place"]["extension"]),
        (&json!("up"), &json!("300"))
    );
    assert_eq!(
        (&seen["variables"]["order"], &seen["channel"]),
        (&json!("4711"), &made["channel"])
    );
    let by_name = format!(
        "/calls/{}",
        made["channel"]
            .as_str()
            .expect("a name")
            .replace('/', "%2F")
    );
    assert_eq!(get(&exchange, HOUSE, &by_name)["id"], json!(id));
    let list = get(&exchange, HOUSE, "/calls?context=house");
    assert_eq!(
        (&list["total"], &list["calls"][0]["id"]),
        (&json!(1), &json!(id))
    );
    assert_eq!(get(&exchange, OTHER, "/calls")["total"], 0);
    assert_eq!(get(&exchange, ROOT, "/calls?context=far")["total"], 0);
    for method in ["GET", "DELETE"] {
        assert_eq!(
            ask(&exchange, OTHER, method, &path, &Value::Null).status,
            404,
            "{method}"
        );
    }

    let variable = format!("{path}/variables/colour");
    assert_eq!(
        ask(&exchange, HOUSE, "PUT", &variable, &json!({"value": "red"})).status,
        204
    );
    assert_eq!(get(&exchange, HOUSE, &variable)["value"], "red");
    let function = format!("{path}/variables/CALLERID(num)");
    assert_eq!(get(&exchange, ROOT, &function)["value"], "77");
    assert_eq!(
        ask(&exchange, HOUSE, "GET", &function, &Value::Null).status,
        403
    );
    let shell = format!("{path}/variables/SHELL(id)");
    assert_eq!(
        ask(&exchange, ROOT, "GET", &shell, &Value::Null).status,
        400
    );

    let place = json!({"context": "house", "extension": "301"});
    let redirect = format!("{path}/redirect");
    assert_eq!(ask(&exchange, HOUSE, "POST", &redirect, &place).status, 204);
    let moved = wait_until(SOON, || {
        let seen = get(&exchange, HOUSE, &path);
        (seen["place"]["extension"] == "301").then_some(())
    });
    assert!(moved.is_some(), "it is where it was");
    let foreign = json!({"context": "far", "extension": "300"});
    assert_eq!(
        ask(&exchange, HOUSE, "POST", &redirect, &foreign).status,
        403
    );
    let nowhere = json!({"context": "house", "extension": "9"});
    assert_eq!(
        ask(&exchange, HOUSE, "POST", &redirect, &nowhere).status,
        400
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "DELETE",
            &format!("{path}?cause=17"),
            &Value::Null
        )
        .status,
        204
    );
    assert_eq!(phone.expect_ended(SOON), Ending::TheyHungUp);
    let gone = wait_until(SOON, || {
        (ask(&exchange, HOUSE, "GET", &path, &Value::Null).status == 404).then_some(())
    });
    assert!(gone.is_some(), "it is there still");
    exchange.expect_log("API: changed", SOON);

    // Who does not wait gets the id that the call will have.
    bob.set_manner(Manner::Ring);
    let mut quick = body.clone();
    quick["wait"] = json!(false);
    let queued = ask(&exchange, HOUSE, "POST", "/calls", &quick);
    assert_eq!(
        (queued.status, queued.json()["outcome"].clone()),
        (202, json!("queued"))
    );
    let id = queued.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(id_of(&exchange, "PJSIP/bob-"), id);
    bob.expect_call(SOON).reject(486);
    bob.set_manner(Manner::Reject(486));
    let busy = ask(&exchange, HOUSE, "POST", "/calls", &body).json();
    assert_eq!(
        (&busy["outcome"], &busy["cause"]),
        (&json!("busy"), &json!(17))
    );
}

#[test]
fn two_calls_are_connected_and_one_side_is_sent_elsewhere() {
    let mut exchange = exchange();
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let bob = bank.phone("bob", "secret", exchange.sip());
    alice.set_source(Source::Tone(440.0));
    bob.set_source(Source::Tone(620.0));
    let (first, second) = (alice.call("300"), bob.call("300"));
    first.expect_answered(SOON);
    second.expect_answered(SOON);
    let (one, other) = (
        id_of(&exchange, "PJSIP/alice-"),
        id_of(&exchange, "PJSIP/bob-"),
    );
    let place = json!({"context": "house", "extension": "300"});
    let nobody = ask(
        &exchange,
        HOUSE,
        "POST",
        &format!("/calls/{one}/transfer"),
        &place,
    );
    assert_eq!(nobody.status, 409, "{}", nobody.text());
    let bridge = ask(
        &exchange,
        HOUSE,
        "POST",
        &format!("/calls/{one}/bridge"),
        &json!({"with": other}),
    );
    assert_eq!(bridge.status, 204, "{}", bridge.text());
    first.expect_tone(620.0, 500, SOON);
    second.expect_tone(440.0, 500, SOON);
    let alone = ask(
        &exchange,
        HOUSE,
        "POST",
        &format!("/calls/{one}/bridge"),
        &json!({"with": one}),
    );
    assert_eq!(alone.status, 400);
    let transfer = wait_until(SOON, || {
        let answer = ask(
            &exchange,
            HOUSE,
            "POST",
            &format!("/calls/{one}/transfer"),
            &place,
        );
        (answer.status == 204).then_some(())
    });
    assert!(transfer.is_some(), "not transferred");
    assert_eq!(first.expect_ended(SOON), Ending::TheyHungUp);
    let left = call_of(&exchange, "PJSIP/bob-");
    assert_eq!(
        (&left["id"], &left["place"]["extension"]),
        (&json!(other), &json!("300"))
    );
    second.hang_up();
}

/// How often calls are made until two of them came to different cores, and two to the same: each time is as likely as the other.
const TRIES: usize = 24;

/// Do any two calls talk through a way between cores?
fn is_across(exchange: &Exchange) -> bool {
    let read = get(exchange, ROOT, "/calls");
    let calls = read["calls"].as_array().expect("calls");
    calls.iter().any(|call| {
        let name = call["channel"].as_str().unwrap_or_default();
        name.starts_with("Local/between@cores-")
    })
}

fn nobody_is_there(exchange: &Exchange) {
    let gone = wait_until(SOON, || {
        (get(exchange, ROOT, "/calls")["total"] == 0).then_some(())
    });
    assert!(gone.is_some(), "{}", get(exchange, ROOT, "/calls"));
}

#[test]
fn whoever_is_sent_elsewhere_goes_himself_on_whichever_core_he_is() {
    let mut exchange = exchange();
    let steps = [("Answer", ""), ("Playtones", "1000"), ("Wait", "60")];
    exchange.extension("house", "310", &steps);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let bob = bank.phone("bob", "secret", exchange.sip());
    alice.set_source(Source::Tone(440.0));
    bob.set_source(Source::Tone(620.0));
    let place = json!({"context": "house", "extension": "310"});
    let mut seen = [0, 0];
    for _ in 0..TRIES {
        let (first, second) = (alice.call("300"), bob.call("300"));
        first.expect_answered(SOON);
        second.expect_answered(SOON);
        let one = id_of(&exchange, "PJSIP/alice-");
        let other = id_of(&exchange, "PJSIP/bob-");
        let path = format!("/calls/{one}/bridge");
        let body = json!({"with": other});
        assert_eq!(ask(&exchange, HOUSE, "POST", &path, &body).status, 204);
        second.expect_tone(440.0, 200, SOON);
        first.expect_tone(620.0, 200, SOON);
        let across = is_across(&exchange);
        // Now by who asked for the connection, now by the other.
        let by_other = seen[usize::from(across)] % 2 == 1;
        let (from, stays, sent) = if by_other {
            (&other, &first, &one)
        } else {
            (&one, &second, &other)
        };
        let path = format!("/calls/{from}/transfer");
        let answer = ask(&exchange, HOUSE, "POST", &path, &place);
        assert_eq!(answer.status, 204, "across {across}: {}", answer.text());
        stays.expect_tone(1000.0, 300, SOON);
        let left = wait_until(SOON, || {
            let read = get(&exchange, ROOT, "/calls");
            (read["total"] == 1).then(|| read["calls"][0].clone())
        });
        let left = left.unwrap_or_else(|| panic!("{}", get(&exchange, ROOT, "/calls")));
        assert_eq!(
            (&left["id"], &left["place"]["extension"]),
            (&json!(sent), &json!("310")),
            "across {across}"
        );
        stays.hang_up();
        nobody_is_there(&exchange);
        seen[usize::from(across)] += 1;
        if seen.iter().all(|times| *times >= 2) {
            return;
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    assert!(cores < 2, "calls across cores: {seen:?}");
}

#[test]
fn two_who_were_called_are_connected_and_who_called_them_is_out_of_it() {
    let mut exchange = exchange();
    exchange.subscriber("carol", "secret", "house");
    exchange.extension("house", "103", &[("Dial", "PJSIP/carol,60")]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let [bob, carol] = ["bob", "carol"].map(|name| bank.phone(name, "secret", exchange.sip()));
    for (phone, tone) in [(&bob, 620.0), (&carol, 880.0)] {
        phone.set_source(Source::Tone(tone));
        phone.register();
        phone.set_manner(Manner::Answer(Duration::ZERO));
    }
    for _ in 0..4 {
        let first = alice.call("102");
        first.expect_answered(SOON);
        let one = id_of(&exchange, "PJSIP/alice-");
        let second = alice.call("103");
        second.expect_answered(SOON);
        let calls = get(&exchange, HOUSE, "/calls");
        let calls = calls["calls"].as_array().expect("calls");
        let other = calls.iter().find(|call| {
            let name = call["channel"].as_str().unwrap_or_default();
            name.starts_with("PJSIP/alice-") && call["id"] != json!(one)
        });
        let other = other.expect("a second call")["id"].clone();
        let (bobs, carols) = (bob.expect_call(SOON), carol.expect_call(SOON));
        first.expect_tone(620.0, 200, SOON);
        second.expect_tone(880.0, 200, SOON);
        let path = format!("/calls/{one}/transfer");
        for (body, status) in [
            (json!({"with": one}), 400),
            (json!({"with": other, "context": "house"}), 400),
            (json!({}), 400),
            (json!({"with": "1.2"}), 404),
        ] {
            let answer = ask(&exchange, HOUSE, "POST", &path, &body);
            assert_eq!(answer.status, status, "{body}: {}", answer.text());
        }
        let body = json!({"with": other});
        let stranger = ask(&exchange, OTHER, "POST", &path, &body);
        assert_eq!(stranger.status, 404);
        let answer = ask(&exchange, HOUSE, "POST", &path, &body);
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert_eq!(first.expect_ended(SOON), Ending::TheyHungUp);
        assert_eq!(second.expect_ended(SOON), Ending::TheyHungUp);
        bobs.expect_tone(880.0, 300, SOON);
        carols.expect_tone(620.0, 300, SOON);
        bobs.hang_up();
        assert_eq!(carols.expect_ended(SOON), Ending::TheyHungUp);
        nobody_is_there(&exchange);
    }
}

#[test]
fn a_call_is_played_to_silenced_recorded_and_given_keys() {
    let mut exchange = exchange();
    std::fs::create_dir_all(exchange.data().join("sounds")).expect("a folder");
    audio::write_wav(
        &exchange.data().join("sounds/tone.wav"),
        &sine(700.0, 8000.0, 20_000),
    )
    .expect("a sound");
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.set_source(Source::Tone(440.0));
    let call = alice.call("300");
    call.expect_answered(SOON);
    let id = id_of(&exchange, "PJSIP/alice-");
    let path = |more: &str| format!("/calls/{id}/{more}");
    let started = ask(&exchange, HOUSE, "POST", &path("record"), &json!({}));
    assert_eq!(started.status, 201, "{}", started.text());
    assert_eq!(started.json()["file"], format!("{id}.wav"));
    let named = ask(
        &exchange,
        HOUSE,
        "POST",
        &path("record"),
        &json!({"name": "mine"}),
    );
    assert_eq!(named.status, 403);
    let twice = ask(&exchange, HOUSE, "POST", &path("record"), &json!({}));
    assert_eq!(twice.status, 409, "it would begin anew: {}", twice.text());
    let wrong = ask(
        &exchange,
        ROOT,
        "POST",
        &path("record"),
        &json!({"name": "../x"}),
    );
    assert_eq!(wrong.status, 400);
    let playing = ask(
        &exchange,
        HOUSE,
        "POST",
        &path("play"),
        &json!({"sounds": ["tone"]}),
    );
    assert_eq!(playing.status, 202, "{}", playing.text());
    assert_eq!(playing.json()["duration_ms"], 20_000);
    call.expect_tone(700.0, 500, SOON);
    let play = playing.json()["play"].as_str().expect("a play").to_owned();
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "DELETE",
            &path(&format!("play/{play}")),
            &Value::Null
        )
        .status,
        204
    );
    let quiet = wait_until(SOON, || {
        let heard = call.listen(Duration::from_millis(300));
        (audio::share_with_tone(&heard, 700.0) < 0.1).then_some(())
    });
    assert!(quiet.is_some(), "it plays still");
    for (sounds, word) in [
        (json!([]), "1 to 16"),
        (json!(["/etc/passwd"]), "path"),
        (json!(["nothing"]), "not found"),
    ] {
        let answer = ask(
            &exchange,
            HOUSE,
            "POST",
            &path("play"),
            &json!({"sounds": sounds}),
        );
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    let keys = ask(
        &exchange,
        HOUSE,
        "POST",
        &path("dtmf"),
        &json!({"digits": "12#"}),
    );
    assert_eq!(keys.status, 202, "{}", keys.text());
    call.expect_digits("12#", SOON);
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            &path("dtmf"),
            &json!({"digits": "x"})
        )
        .status,
        400
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            &path("mute"),
            &json!({"direction": "in", "muted": true})
        )
        .status,
        204
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            &path("mute"),
            &json!({"direction": "in", "muted": false})
        )
        .status,
        204
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            &path("record/pause"),
            &Value::Null
        )
        .status,
        204
    );
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            &path("record/resume"),
            &Value::Null
        )
        .status,
        204
    );
    std::thread::sleep(Duration::from_millis(1500));
    let delete = ask(
        &exchange,
        HOUSE,
        "DELETE",
        &format!("/recordings/{id}"),
        &Value::Null,
    );
    assert_eq!(delete.status, 409, "{}", delete.text());
    assert_eq!(
        ask(&exchange, HOUSE, "DELETE", &path("record"), &Value::Null).status,
        204
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "DELETE",
            &path("record?recording=none"),
            &Value::Null
        )
        .status,
        404
    );
    call.hang_up();
    exchange.expect_cdr(&["uniqueid"], &format!("WHERE uniqueid = '{id}'"), 1, SOON);

    let found = get(&exchange, HOUSE, "/recordings");
    assert_eq!(found["recordings"][0]["id"], json!(id));
    assert_eq!(
        get(&exchange, OTHER, "/recordings")["recordings"],
        json!([])
    );
    let wav = ask(
        &exchange,
        HOUSE,
        "GET",
        &format!("/recordings/{id}"),
        &Value::Null,
    );
    let (_, channels) = audio::wav_channels(&wav.body).expect("a WAV file");
    let silent = audio::silences(&channels[0], 1000);
    assert!(!silent.is_empty(), "nothing was left out while it paused");
    let mp3 = ask(
        &exchange,
        HOUSE,
        "GET",
        &format!("/recordings/{id}?format=mp3"),
        &Value::Null,
    );
    assert_eq!(
        (mp3.status, mp3.header("content-type")),
        (200, "audio/mpeg")
    );
    assert_eq!(
        ask(
            &exchange,
            OTHER,
            "DELETE",
            &format!("/recordings/{id}"),
            &Value::Null
        )
        .status,
        403
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "DELETE",
            &format!("/recordings/{id}"),
            &Value::Null
        )
        .status,
        204
    );
    assert!(!exchange.recordings().join(format!("{id}.wav")).exists());
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "GET",
            &format!("/recordings/{id}"),
            &Value::Null
        )
        .status,
        404
    );
}
