//! `/api/v1` on a live exchange: calls made, moved, heard and ended; what a group sees; pages, extensions, keys and events.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use strowger_tests::audio::{self, sine};
use strowger_tests::web::{self, WebAnswer};
use strowger_tests::{Bank, Ending, Exchange, Manner, SOON, Settings, Source, wait_until};

/// Sees everything and may everything.
const ROOT: &str = "root-key";
/// May everything within its group.
const HOUSE: &str = "house-key";
/// Of another group.
const OTHER: &str = "other-key";
/// May read calls.
const GUEST: &str = "guest-key";

fn exchange() -> Exchange {
    let exchange = Exchange::prepare(Settings {
        refresh_ms: 100,
        ..Settings::default()
    });
    for name in ["alice", "bob"] {
        exchange.subscriber(name, "secret", "house");
    }
    exchange.extension("house", "102", &[("Dial", "PJSIP/bob,60")]);
    exchange.extension("house", "300", &[("Answer", ""), ("Wait", "60")]);
    exchange.extension(
        "house",
        "301",
        &[("Answer", ""), ("Playback", "beep"), ("Wait", "60")],
    );
    exchange.extension("house", "500", &[("Answer", ""), ("ConfBridge", "tea")]);
    exchange.extension("far", "300", &[("Answer", ""), ("Wait", "60")]);
    for (key, scopes, group) in [
        (ROOT, "*", ""),
        (HOUSE, "*", "g-house"),
        (OTHER, "*", "g-other"),
        (GUEST, "calls:read", "g-house"),
    ] {
        let mut row = vec![
            ("uuid", key),
            ("name", key),
            ("enable", "yes"),
            ("api_key", key),
            ("scopes", scopes),
        ];
        if !group.is_empty() {
            row.push(("group_uuid", group));
        }
        exchange.database.insert("api_users", &row);
    }
    for (name, group) in [("house", "g-house"), ("far", "g-other")] {
        let row = [("uuid", name), ("name", name), ("group_uuid", group)];
        exchange.database.insert("api_contexts", &row);
    }
    exchange
}

fn ask(exchange: &Exchange, key: &str, method: &str, path: &str, body: &Value) -> WebAnswer {
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let target = format!("/api/v1{path}");
    let mut headers = vec![("X-API-Key", key)];
    if !text.is_empty() {
        headers.push(("Content-Type", "application/json"));
    }
    web::ask(exchange.http(), method, &target, &headers, text.as_bytes())
}

fn get(exchange: &Exchange, key: &str, path: &str) -> Value {
    let answer = ask(exchange, key, "GET", path, &Value::Null);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// The call of a channel that begins so.
fn call_of(exchange: &Exchange, channel: &str) -> Value {
    let found = wait_until(SOON, || {
        let read = get(exchange, ROOT, "/calls");
        let calls = read["calls"].as_array()?.clone();
        calls.into_iter().find(|call| {
            call["channel"]
                .as_str()
                .is_some_and(|name| name.starts_with(channel))
        })
    });
    found.unwrap_or_else(|| panic!("there is no channel {channel}"))
}

fn id_of(exchange: &Exchange, channel: &str) -> String {
    let call = call_of(exchange, channel);
    call["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_key_does_what_its_scopes_say_and_wrong_requests_are_told_why() {
    let mut exchange = exchange();
    exchange.start();
    let health = web::get(exchange.http(), "/api/v1/health");
    assert_eq!(
        (health.status, health.json()["status"].clone()),
        (200, json!("ok"))
    );
    let document = web::get(exchange.http(), "/api/v1/openapi.json").json();
    assert!(document["paths"]["/api/v1/calls/{id}"]["delete"].is_object());
    let page = web::get(exchange.http(), "/api/v1/docs");
    assert!(
        page.text().contains("openapi.json")
            && page.header("content-type").starts_with("text/html")
    );
    for (key, method, path, status, word) in [
        ("", "GET", "/calls", 401, "api_key is missing"),
        ("guess", "GET", "/calls", 401, "not known"),
        (GUEST, "GET", "/calls", 200, ""),
        (GUEST, "POST", "/calls", 403, "calls:write"),
        (GUEST, "GET", "/cdr", 403, "cdr:read"),
        (ROOT, "GET", "/nothing", 404, "/api/v1/nothing"),
        (ROOT, "PATCH", "/calls", 405, "PATCH"),
        (ROOT, "GET", "/calls/1.2", 404, "1.2"),
        (ROOT, "DELETE", "/calls/1.2", 404, "1.2"),
        (ROOT, "GET", "/calls?limit=0", 400, "limit"),
        (ROOT, "GET", "/cdr?from=then", 400, "from"),
        (ROOT, "GET", "/cdr?cursor=x", 400, "cursor"),
        (HOUSE, "GET", "/queues", 403, "without a group"),
        (HOUSE, "GET", "/registrations", 403, "without a group"),
        (ROOT, "GET", "/queues/none", 404, "none"),
        (ROOT, "GET", "/conferences/none", 404, "none"),
        (ROOT, "GET", "/endpoints/none", 404, "none"),
        (ROOT, "POST", "/registrations/none/register", 404, "none"),
        (HOUSE, "GET", "/contexts/far/extensions", 404, "far"),
        (ROOT, "GET", "/recordings/..%2Fx", 400, "uniqueid"),
    ] {
        let answer = ask(&exchange, key, method, path, &Value::Null);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        if status != 200 {
            assert_eq!(
                answer.header("content-type"),
                "application/problem+json",
                "{path}"
            );
            let read = answer.json();
            assert_eq!(
                (&read["status"], &read["type"]),
                (&json!(status), &json!("about:blank"))
            );
            let detail = read["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(word), "{method} {path}: {detail}");
            let path = path.split('?').next().unwrap_or_default();
            assert_eq!(read["instance"], format!("/api/v1{path}"));
        }
    }
    let answer = ask(&exchange, ROOT, "PATCH", "/calls", &Value::Null);
    assert_eq!(answer.header("allow"), "GET, POST");
    for (body, word) in [
        (json!({"channel": "PJSIP/bob"}), "to, application"),
        (
            json!({"channel": "bob", "to": {"context": "house", "extension": "300"}}),
            "channel: TECHNOLOGY",
        ),
        (
            json!({"channel": "PJSIP/bob", "too": 1}),
            "unknown field `too`",
        ),
        (
            json!({"channel": "PJSIP/bob", "to": {"context": "house", "extension": "9"}}),
            "to.extension",
        ),
        (
            json!({"channel": "PJSIP/bob", "to": {"context": "house", "extension": "300"}, "timeout_ms": 0}),
            "timeout_ms",
        ),
        (
            json!({"channel": "PJSIP/bob", "to": {"context": "house", "extension": "300"}, "variables": {"A(x)": "1"}}),
            "variables",
        ),
        (json!([]), "cannot be taken"),
    ] {
        let answer = ask(&exchange, ROOT, "POST", "/calls", &body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        let detail = answer.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(detail.contains(word), "{detail}");
    }
    for (key, body, word) in [
        (
            HOUSE,
            json!({"channel": "PJSIP/bob", "to": {"context": "far", "extension": "300"}}),
            "to.context: far",
        ),
        (
            OTHER,
            json!({"channel": "PJSIP/bob", "to": {"context": "far", "extension": "300"}}),
            "channel: PJSIP/bob",
        ),
        (
            HOUSE,
            json!({"channel": "PJSIP/bob", "application": {"name": "Echo"}}),
            "extensions only",
        ),
        (
            ROOT,
            json!({"channel": "PJSIP/bob", "application": {"name": "System", "data": "id"}}),
            "runs programs",
        ),
    ] {
        let answer = ask(&exchange, key, "POST", "/calls", &body);
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    let limits = get(&exchange, ROOT, "/limits");
    assert_eq!(limits["requests_per_second"], 200);
    assert_eq!(get(&exchange, ROOT, "/version")["name"], "Strowger");
}

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
    let place = json!({"context": "house", "extension": "300"});
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
    let again = ask(
        &exchange,
        HOUSE,
        "POST",
        &format!("/calls/{other}/transfer"),
        &place,
    );
    assert_eq!(again.status, 409, "{}", again.text());
    second.hang_up();
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

#[test]
fn call_records_come_page_by_page_none_twice_and_none_left_out() {
    let mut exchange = exchange();
    exchange.database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) \
         INSERT INTO cdr (src, dcontext, start, uniqueid, sequence) \
         SELECT 'a', CASE WHEN i % 2 = 0 THEN 'house' ELSE 'far' END, strftime('%Y-%m-%d %H:%M:%S', '2024-01-01', '+' || (i / 7) || ' seconds'), '1.' || i, i FROM n",
    );
    exchange.start();
    let all = |key: &str, more: &str| {
        let mut numbers = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = get(&exchange, key, &format!("/cdr?limit=37{more}{cursor}"));
            let records = page["records"].as_array().expect("records");
            numbers.extend(records.iter().map(|record| {
                let number = record["sequence"]
                    .as_str()
                    .and_then(|number| number.parse().ok());
                number.unwrap_or(-1)
            }));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return numbers,
            }
        }
    };
    let wanted: Vec<i64> = (0..1000).rev().collect();
    assert_eq!(all(ROOT, ""), wanted);
    let own: Vec<i64> = wanted
        .iter()
        .copied()
        .filter(|number| number % 2 == 0)
        .collect();
    assert_eq!(all(HOUSE, ""), own);
    assert_eq!(
        all(ROOT, "&from=2024-01-01T00:00:10&until=2024-01-01T00:00:11"),
        (70..84).rev().collect::<Vec<_>>()
    );
    assert_eq!(all(ROOT, "&call=1.500"), [500]);
    assert_eq!(all(OTHER, "&dcontext=house"), Vec::<i64>::new());
}

#[test]
fn an_extension_is_looked_at_replaced_called_and_deleted() {
    let mut exchange = exchange();
    exchange.start();
    let path = "/contexts/house/extensions/700";
    let wrong = json!({"steps": [{"application": "Playbakc", "data": "x"}]});
    let refused = ask(&exchange, HOUSE, "PUT", path, &wrong);
    assert_eq!(
        (refused.status, refused.json()["valid"].clone()),
        (422, json!(false)),
        "{}",
        refused.text()
    );
    let what = refused.json()["problems"][0]["what"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(what.contains("Playbakc"), "{what}");
    let right =
        json!({"steps": [{"application": "Answer"}, {"application": "Wait", "data": "60"}]});
    let mut look = right.clone();
    look["extension"] = json!("700");
    let looked = ask(&exchange, HOUSE, "POST", "/contexts/house/validate", &look).json();
    assert_eq!(
        (&looked["valid"], &looked["problems"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(ask(&exchange, HOUSE, "PUT", path, &right).status, 201);
    assert_eq!(ask(&exchange, HOUSE, "PUT", path, &right).status, 200);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let known = wait_until(SOON, || {
        let read = ask(
            &exchange,
            HOUSE,
            "GET",
            "/contexts/house/extensions?extension=700",
            &Value::Null,
        );
        (read.status == 200).then(|| read.json())
    });
    let steps = known.expect("the extension")["extensions"][0]["steps"].clone();
    assert_eq!(
        steps,
        json!([{"priority": 1, "application": "Answer", "data": ""}, {"priority": 2, "application": "Wait", "data": "60"}])
    );
    let call = wait_until(SOON, || {
        let call = alice.call("700");
        let answered = wait_until(Duration::from_secs(2), || {
            call.statuses()
                .iter()
                .any(|(_, status)| *status == 200)
                .then_some(())
        });
        answered.map(|()| call)
    });
    call.expect("it is answered").hang_up();
    let contexts = get(&exchange, HOUSE, "/contexts");
    assert_eq!(contexts["contexts"].as_array().map(Vec::len), Some(1));
    assert_eq!(contexts["contexts"][0]["group"], "g-house");
    assert_eq!(ask(&exchange, OTHER, "PUT", path, &right).status, 404);
    assert_eq!(
        ask(&exchange, HOUSE, "DELETE", path, &Value::Null).status,
        204
    );
    assert_eq!(
        ask(&exchange, HOUSE, "DELETE", path, &Value::Null).status,
        404
    );
}

#[test]
fn keys_are_made_within_what_their_maker_may_and_open_until_they_are_deleted() {
    let mut exchange = exchange();
    exchange.start();
    let made = ask(
        &exchange,
        HOUSE,
        "POST",
        "/keys",
        &json!({"name": "Robot", "scopes": ["calls:read"]}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let (uuid, key) = (made.json()["uuid"].clone(), made.json()["api_key"].clone());
    let (uuid, key) = (uuid.as_str().expect("a uuid"), key.as_str().expect("a key"));
    let opens = wait_until(SOON, || {
        (ask(&exchange, key, "GET", "/calls", &Value::Null).status == 200).then_some(())
    });
    assert!(opens.is_some(), "it does not open");
    assert_eq!(ask(&exchange, key, "GET", "/cdr", &Value::Null).status, 403);
    let row = exchange.database.select(
        "api_users",
        &["api_key", "group_uuid"],
        &format!("WHERE uuid = '{uuid}'"),
    );
    assert!(
        row[0][0]
            .as_deref()
            .is_some_and(|column| column.starts_with("sha256:") && !column.contains(key))
    );
    assert_eq!(row[0][1].as_deref(), Some("g-house"));
    let listed = get(&exchange, HOUSE, "/keys");
    let names: Vec<_> = listed["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| key["name"].clone())
        .collect();
    assert!(
        names.contains(&json!("Robot")) && !names.contains(&json!(ROOT)),
        "{names:?}"
    );
    assert!(
        !ask(&exchange, HOUSE, "GET", "/keys", &Value::Null)
            .text()
            .contains(key)
    );
    for (who, body, status) in [
        (
            HOUSE,
            json!({"name": "x", "scopes": ["calls"], "group": "g-other"}),
            403,
        ),
        (HOUSE, json!({"name": "x", "scopes": ["nothing"]}), 400),
        (HOUSE, json!({"name": "", "scopes": []}), 400),
        (
            ROOT,
            json!({"name": "x", "scopes": ["*"], "group": "g-other"}),
            201,
        ),
    ] {
        let answer = ask(&exchange, who, "POST", "/keys", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    assert_eq!(
        ask(
            &exchange,
            OTHER,
            "DELETE",
            &format!("/keys/{uuid}"),
            &Value::Null
        )
        .status,
        404
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "DELETE",
            &format!("/keys/{uuid}"),
            &Value::Null
        )
        .status,
        204
    );
    let closed = wait_until(SOON, || {
        (ask(&exchange, key, "GET", "/calls", &Value::Null).status == 401).then_some(())
    });
    assert!(closed.is_some(), "it opens still");
}

#[test]
fn telephones_conferences_and_queues_are_shown_and_changed() {
    let mut exchange = exchange();
    exchange
        .database
        .insert("queues", &[("name", "desk"), ("strategy", "ringall")]);
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.register();
    let list = get(&exchange, HOUSE, "/endpoints");
    let names: Vec<_> = list["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
    assert_eq!(get(&exchange, OTHER, "/endpoints")["endpoints"], json!([]));
    let one = get(&exchange, HOUSE, "/endpoints/alice");
    assert_eq!(
        (&one["context"], &one["state"]),
        (&json!("house"), &json!("NOT_INUSE"))
    );
    let uri = one["contacts"][0]["uri"]
        .as_str()
        .expect("a contact")
        .to_owned();
    assert!(uri.starts_with("sip:alice@"), "{uri}");
    assert_eq!(
        get(&exchange, HOUSE, "/contacts")["contacts"][0]["uri"],
        json!(uri)
    );
    assert_eq!(get(&exchange, OTHER, "/contacts")["contacts"], json!([]));
    assert!(
        !ask(&exchange, ROOT, "GET", "/endpoints/alice", &Value::Null)
            .text()
            .contains("secret")
    );

    let call = alice.call("500");
    call.expect_answered(SOON);
    let room = wait_until(SOON, || {
        let rooms = get(&exchange, HOUSE, "/conferences");
        rooms["conferences"].get(0).cloned()
    });
    let room = room.expect("a conference");
    assert_eq!(
        (&room["name"], &room["parties"], &room["locked"]),
        (&json!("tea"), &json!(1), &json!(false))
    );
    assert_eq!(
        get(&exchange, OTHER, "/conferences")["conferences"],
        json!([])
    );
    let id = room["members"][0]["id"]
        .as_str()
        .expect("a member")
        .to_owned();
    let member = format!("/conferences/tea/members/{id}");
    assert_eq!(
        ask(&exchange, OTHER, "DELETE", &member, &Value::Null).status,
        404
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            &format!("{member}/mute"),
            &json!({"muted": true})
        )
        .status,
        204
    );
    assert_eq!(
        get(&exchange, HOUSE, "/conferences/tea")["members"][0]["muted"],
        true
    );
    assert_eq!(
        ask(
            &exchange,
            HOUSE,
            "POST",
            "/conferences/tea/lock",
            &json!({"locked": true})
        )
        .status,
        403
    );
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "POST",
            "/conferences/tea/lock",
            &json!({"locked": true})
        )
        .status,
        204
    );
    assert_eq!(get(&exchange, ROOT, "/conferences/tea")["locked"], true);
    assert_eq!(
        ask(&exchange, HOUSE, "DELETE", &member, &Value::Null).status,
        204
    );
    call.expect_ended(SOON);

    let queue = "/queues/desk/members";
    let body = json!({"interface": "PJSIP/bob", "name": "Bob", "penalty": 2});
    assert_eq!(ask(&exchange, ROOT, "POST", queue, &body).status, 204);
    assert_eq!(ask(&exchange, ROOT, "POST", queue, &body).status, 409);
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "PATCH",
            "/queues/desk/members/PJSIP%2Fbob",
            &json!({"paused": true, "pause_reason": "tea", "penalty": 3})
        )
        .status,
        204
    );
    let seen = get(&exchange, ROOT, "/queues/desk");
    let member = &seen["members"][0];
    assert_eq!(
        (&member["interface"], &member["name"]),
        (&json!("PJSIP/bob"), &json!("Bob"))
    );
    assert_eq!(
        (
            &member["paused"],
            &member["pause_reason"],
            &member["penalty"]
        ),
        (&json!(true), &json!("tea"), &json!(3))
    );
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "DELETE",
            "/queues/desk/members/PJSIP%2Fbob",
            &Value::Null
        )
        .status,
        204
    );
    assert_eq!(
        ask(
            &exchange,
            ROOT,
            "DELETE",
            "/queues/desk/members/PJSIP%2Fbob",
            &Value::Null
        )
        .status,
        404
    );
}

/// Somebody who listens to server-sent events.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn new(exchange: &Exchange, key: &str, query: &str, last: &str) -> Self {
        let mut stream = TcpStream::connect(exchange.http()).expect("the HTTP port");
        stream.set_read_timeout(Some(SOON)).expect("a time limit");
        let head = format!(
            "GET /api/v1/events{query} HTTP/1.0\r\nHost: x\r\nX-API-Key: {key}\r\n{}\r\n",
            if last.is_empty() {
                String::new()
            } else {
                format!("Last-Event-ID: {last}\r\n")
            }
        );
        stream.write_all(head.as_bytes()).expect("a request");
        let mut listener = Self(BufReader::new(stream));
        // The head, and the first comment: from here on nothing is missed.
        while !listener.line().starts_with(':') {}
        listener
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(
            self.0.read_line(&mut line).expect("a line") > 0,
            "the stream ended"
        );
        line
    }

    /// The next event.
    fn next(&mut self) -> Value {
        loop {
            let line = self.line();
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).expect("JSON");
            }
        }
    }

    fn until(&mut self, name: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let event = self.next();
            let found = event["event"] == name;
            all.push(event);
            if found {
                return all;
            }
        }
    }
}

#[test]
fn events_come_in_order_to_whom_they_concern_and_go_on_where_they_broke_off() {
    let mut exchange = exchange();
    exchange.start();
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let names = "?events=Newchannel,Hangup";
    let mut root = Listener::new(&exchange, ROOT, names, "");
    let mut other = Listener::new(&exchange, OTHER, "", "");
    let mut house = Listener::new(&exchange, HOUSE, "", "");
    let call = alice.call("300");
    call.expect_answered(SOON);
    call.hang_up();
    let told = root.until("Hangup");
    let seen: Vec<_> = told
        .iter()
        .map(|event| event["event"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(seen, ["Newchannel", "Hangup"]);
    assert_eq!(told[0]["fields"]["Context"], "house");
    assert_eq!(told[0]["fields"]["Uniqueid"], told[1]["fields"]["Uniqueid"]);
    let all = house.until("Hangup");
    assert!(all.len() > 4, "{all:?}");
    let number = |event: &Value| {
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        id.rsplit('-')
            .next()
            .and_then(|number| number.parse::<u64>().ok())
            .expect("a number")
    };
    assert!(
        all.windows(2)
            .all(|pair| number(&pair[0]) < number(&pair[1])),
        "out of order"
    );
    // Who was away hears what he missed, from behind what he had.
    let last = told[0]["id"].as_str().expect("an id").to_owned();
    let mut back = Listener::new(&exchange, HOUSE, names, &last);
    let missed = back.next();
    assert_eq!(
        (&missed["event"], &missed["id"]),
        (&json!("Hangup"), &told[1]["id"])
    );
    let mut stranger = Listener::new(&exchange, HOUSE, names, "1-5");
    assert_eq!(stranger.next()["event"], "Missed");
    // A call of another group: the first that it hears of.
    let far = json!({"channel": "Local/300@far", "to": {"context": "far", "extension": "300"}, "wait": true});
    assert_eq!(ask(&exchange, OTHER, "POST", "/calls", &far).status, 201);
    let first = other.next();
    assert!(
        first["fields"]["Context"] == "far"
            || first["fields"]["Channel"]
                .as_str()
                .is_some_and(|name| name.contains("@far-")),
        "{first}"
    );
    let id = told[0]["fields"]["Uniqueid"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut one = Listener::new(&exchange, ROOT, &format!("?call={id}&after={last}"), "");
    assert!(
        one.until("Hangup")
            .iter()
            .all(|event| event["fields"].to_string().contains(&id))
    );
}

#[test]
fn events_come_over_a_websocket() {
    use std::io::Read as _;
    let mut exchange = exchange();
    exchange.start();
    let plain = ask(&exchange, ROOT, "GET", "/events/socket", &Value::Null);
    assert_eq!(plain.status, 400);
    let mut stream = TcpStream::connect(exchange.http()).expect("the HTTP port");
    stream.set_read_timeout(Some(SOON)).expect("a time limit");
    let head = format!(
        "GET /api/v1/events/socket?events=Newchannel&api_key={ROOT} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    let mut byte = [0u8];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the answer");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    // The example of RFC 6455.
    assert!(
        answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{answer}"
    );
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let call = alice.call("300");
    let mut frame = [0u8; 2];
    stream.read_exact(&mut frame).expect("a frame");
    assert_eq!(frame[0], 0x81, "one text");
    let length = match frame[1] {
        126 => {
            let mut length = [0u8; 2];
            stream.read_exact(&mut length).expect("a length");
            usize::from(u16::from_be_bytes(length))
        }
        length => usize::from(length),
    };
    let mut text = vec![0u8; length];
    stream.read_exact(&mut text).expect("a text");
    let event: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(event["event"], "Newchannel");
    assert!(
        event["fields"]["Channel"]
            .as_str()
            .is_some_and(|name| name.starts_with("PJSIP/alice-"))
    );
    call.hang_up();
}
