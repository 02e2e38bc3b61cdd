//! `/api/v1` on a live exchange: calls made, moved, heard and ended; what a group sees; pages, extensions, keys and events.

mod calls;
mod contract;
mod events;
mod retention;
mod sounds;
mod things;

use serde_json::{Value, json};
use strowger_tests::web::{self, WebAnswer};
use strowger_tests::{Exchange, SOON, Settings, wait_until};

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
        (ROOT, "PATCH", "/queues/none/members/x", 400, "one of them"),
        (
            ROOT,
            "PUT",
            "/contexts/house/extensions/1?force=perhaps",
            400,
            "force",
        ),
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
