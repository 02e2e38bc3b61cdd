//! What `/api/v1/openapi.json` promises is held against the running exchange by a program that makes requests of it, right ones and
//! wrong ones: no error of the exchange, no status, kind of content or body that is not described, and nothing wrong that is taken.

use std::fmt::Write as _;

use serde_json::{Value, json};
use strowger_tests::clients::{Client, python};
use strowger_tests::{Bank, Exchange, SOON, wait_until};

use super::{ROOT, ask, exchange, get};

/// Requests of random content for each address; those at the edges of what is allowed are made besides.
const RANDOM: &str = "8";

/// These are not asked for.
const LEFT_OUT: &[&str] = &[
    // Deleting keys that it saw in a list it deletes its own, and everything after that is 401.
    "/api/v1/keys/{uuid}",
    // They do not end.
    "/api/v1/events",
    "/api/v1/events/socket",
];

/// Lets it loose on the addresses that fit; what it found, if it found something.
#[track_caller]
fn hold(exchange: &Exchange, folder: &std::path::Path, settings: &str, fitting: &str) {
    std::fs::write(folder.join("settings.toml"), settings).expect("its settings");
    let document = format!("http://{}/api/v1/openapi.json", exchange.http());
    let mut command = python(&["-m", "schemathesis.cli"]);
    command
        .current_dir(folder)
        .args(["--config-file", "settings.toml", "run", &document])
        .args(["--header", &format!("X-API-Key: {ROOT}")])
        .args(["--include-path-regex", fitting])
        .args(LEFT_OUT.iter().flat_map(|path| ["--exclude-path", path]))
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", RANDOM, "--generation-deterministic"])
        // Other keys are refused after a second each; that they are refused is seen elsewhere.
        .args(["--generation-with-security-parameters", "false"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,\
             response_headers_conformance,response_schema_conformance,\
             negative_data_rejection,unsupported_method,allow_header_conformance",
        ])
        .args(["--continue-on-failure", "--no-shrink", "--no-color"])
        .args(["--request-timeout", "60"])
        .args(["--report", "har", "--report-har-path", "requests.har"]);
    let (status, output, errors) = Client::start(command).end(SOON * 5);
    assert!(status.success(), "{status}\n{output}\n{errors}");
}

/// How often each address was answered so: `POST /api/v1/calls 202`.
fn answers(folder: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("requests.har")).expect("what it asked for");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let entries = report["log"]["entries"].as_array().expect("requests");
    let line = |entry: &Value| {
        let address = entry["request"]["url"].as_str().unwrap_or_default();
        let path = address.split_once("/api").map_or("", |(_, path)| path);
        let path = path.split('?').next().unwrap_or_default();
        let method = entry["request"]["method"].as_str().unwrap_or_default();
        format!("{method} /api{path} {}", entry["response"]["status"])
    };
    entries.iter().map(line).collect()
}

/// Starts a call that waits; its unique id.
#[track_caller]
fn call(exchange: &Exchange, extension: &str) -> String {
    let body = json!({
        "channel": "Local/302@office/n",
        "to": {"context": "office", "extension": extension},
        "wait": true
    });
    let made = ask(exchange, ROOT, "POST", "/calls", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["id"].as_str().expect("an id").to_owned()
}

/// An exchange in which there is something of everything.
fn furnished() -> Exchange {
    let mut exchange = exchange();
    let generous = exchange
        .configuration()
        .replace("\n[http]\n", "\n[http]\nrequests_per_second = 100000\n");
    exchange.write_configuration(&generous);
    exchange.subscriber("100", "secret", "office");
    exchange.extension("office", "200", &[("Answer", ""), ("Wait", "3600")]);
    exchange.extension("office", "302", &[("Answer", ""), ("Wait", "3600")]);
    exchange.extension("office", "500", &[("ConfBridge", "tea")]);
    exchange.extension("office", "600", &[("Queue", "desk")]);
    exchange
        .database
        .insert("queues", &[("name", "desk"), ("strategy", "ringall")]);
    let row = [
        ("id", "provider"),
        ("client_uri", "sip:customer@127.0.0.1:9"),
        ("server_uri", "sip:127.0.0.1:9"),
    ];
    exchange.database.insert("ps_registrations", &row);
    exchange.start();
    exchange
}

#[test]
fn the_exchange_answers_as_its_document_says() {
    let exchange = furnished();
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Whatever names and ids come to its mind: as a rule there is nothing of that name.
    hold(&exchange, folder.path(), "", ".*");
    let seen = answers(folder.path());
    assert!(seen.len() > 500, "{} requests", seen.len());
    for made in ["POST /api/v1/calls 202", "POST /api/v1/keys 201"] {
        assert!(seen.iter().any(|line| line == made), "no {made}: {seen:#?}");
    }
}

#[test]
fn the_exchange_answers_as_its_document_says_also_where_there_is_something() {
    let exchange = furnished();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bank = Bank::new();
    let phone = bank.phone("100", "secret", exchange.sip());
    phone.register();
    let recorded = call(&exchange, "302");
    let answer = ask(
        &exchange,
        ROOT,
        "POST",
        &format!("/calls/{recorded}/record"),
        &json!({}),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let path = format!("/calls/{recorded}");
    ask(&exchange, ROOT, "DELETE", &path, &Value::Null);
    let (member, waiting) = (call(&exchange, "500"), call(&exchange, "600"));
    let ready = wait_until(SOON, || {
        let recordings = get(&exchange, ROOT, "/recordings");
        let rooms = get(&exchange, ROOT, "/conferences");
        let queue = get(&exchange, ROOT, "/queues/desk");
        let there = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
        (there(&recordings["recordings"])
            && there(&rooms["conferences"])
            && there(&queue["callers"]))
        .then_some(())
    });
    assert!(ready.is_some(), "a recording, a conference and a queue");

    let names = [
        ("/api/v1/conferences/{name}", "path.name", "tea"),
        ("/api/v1/conferences/{name}/lock", "path.name", "tea"),
        ("/api/v1/queues/{name}", "path.name", "desk"),
        ("/api/v1/queues/{name}/members", "path.name", "desk"),
        ("/api/v1/endpoints/{id}", "path.id", "100"),
        ("/api/v1/registrations/{id}/register", "path.id", "provider"),
        (
            "/api/v1/registrations/{id}/unregister",
            "path.id",
            "provider",
        ),
        ("/api/v1/recordings/{id}", "path.id", &recorded),
        (
            "/api/v1/contexts/{context}/extensions",
            "path.context",
            "office",
        ),
        (
            "/api/v1/contexts/{context}/validate",
            "path.context",
            "office",
        ),
    ];
    let mut settings = String::new();
    let mut operation = |path: &str, method: &str, parameters: &str| {
        let _ = write!(settings, "[[operations]]\ninclude-path = \"{path}\"\n");
        if !method.is_empty() {
            let _ = writeln!(settings, "include-method = \"{method}\"");
        }
        let _ = writeln!(settings, "parameters = {{ {parameters} }}");
    };
    for (path, name, value) in names {
        operation(path, "", &format!("\"{name}\" = \"{value}\""));
    }
    let muted = format!("\"path.name\" = \"tea\", \"path.id\" = \"{member}\"");
    operation("/api/v1/conferences/{name}/members/{id}/mute", "", &muted);
    let document = get(&exchange, ROOT, "/openapi.json");
    // Each has a call of its own: what ends one leaves those of the others.
    for (path, methods) in document["paths"].as_object().expect("paths") {
        if !path.starts_with("/api/v1/calls/{id}") {
            continue;
        }
        for method in methods.as_object().expect("methods").keys() {
            let id = call(&exchange, "302");
            let mut parameters = format!("\"path.id\" = \"{id}\"");
            if path.contains("{name}") {
                parameters.push_str(", \"path.name\" = \"COLOUR\"");
            }
            if path.ends_with("/resume") || path.ends_with("/pause") {
                let record = format!("/calls/{id}/record");
                ask(&exchange, ROOT, "POST", &record, &json!({}));
            }
            operation(path, &method.to_ascii_uppercase(), &parameters);
        }
    }
    hold(
        &exchange,
        folder.path(),
        &settings,
        "calls/|conferences/|queues/[^/]*(/members)?$|endpoints/|registrations/|recordings|contexts|cdr",
    );
    let seen = answers(folder.path());
    // It came as far as the work itself.
    for (method, end, status) in [
        ("DELETE", "", 204),
        ("GET", "", 200),
        ("POST", "/redirect", 204),
        ("POST", "/play", 202),
        ("POST", "/record", 201),
        ("POST", "/record/pause", 204),
        ("POST", "/record/resume", 204),
        ("POST", "/dtmf", 202),
        ("POST", "/mute", 204),
        ("GET", "/variables/COLOUR", 200),
        ("PUT", "/variables/COLOUR", 204),
    ] {
        let done = seen.iter().any(|line| {
            line.starts_with(&format!("{method} /api/v1/calls/"))
                && line.ends_with(&format!("{end} {status}"))
        });
        assert!(done, "no {method} {end} {status}: {seen:#?}");
    }
    for done in [
        "GET /api/v1/conferences/tea 200",
        "GET /api/v1/queues/desk 200",
        "GET /api/v1/endpoints/100 200",
        "POST /api/v1/registrations/provider/register 204",
        "POST /api/v1/contexts/office/validate 200",
    ] {
        assert!(seen.iter().any(|line| line == done), "no {done}: {seen:#?}");
    }
    let fetched = format!("GET /api/v1/recordings/{recorded} 200");
    assert!(seen.contains(&fetched), "no {fetched}: {seen:#?}");
    drop(waiting);
}
