//! An orderly end: who listens hears of it, what is being answered is answered, and every connection is closed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use strowger_tests::{Bank, SOON, wait_until};

use crate::manager::{admin, exchange, fetch};

fn connect(exchange: &strowger_tests::Exchange, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(exchange.http()).expect("the HTTP port");
    stream.set_read_timeout(Some(SOON)).expect("a time limit");
    stream.write_all(request.as_bytes()).expect("a request");
    stream
}

fn rest(mut stream: impl std::io::Read) -> String {
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("a closed connection");
    text
}

#[test]
fn at_an_orderly_end_everybody_is_told_and_no_answer_is_cut() {
    let mut exchange = exchange(&[("general", "webenabled", "yes")]);
    exchange.database.insert(
        "api_users",
        &[
            ("uuid", "root"),
            ("name", "root"),
            ("enable", "yes"),
            ("api_key", "root"),
            ("scopes", "*"),
        ],
    );
    let known = wait_until(SOON, || {
        let (status, ..) = fetch(&exchange, "/api/v1/calls", "X-API-Key: root\r\n");
        (status == 200).then_some(())
    });
    assert!(known.is_some());
    let mut admin = admin(&exchange);
    let mut reader = BufReader::new(connect(
        &exchange,
        "GET /api/v1/events HTTP/1.0\r\nHost: x\r\nX-API-Key: root\r\n\r\n",
    ));
    let mut line = String::new();
    while !line.starts_with(':') {
        line.clear();
        assert!(reader.read_line(&mut line).expect("a line") > 0);
    }
    // A connection on which nothing is asked any more.
    let mut idle = connect(&exchange, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut byte = [0];
    idle.read_exact(&mut byte).expect("an answer");
    // One on which an answer is waited for: nobody picks up.
    let bank = Bank::new();
    let bob = bank.phone("bob", "secret", exchange.sip());
    bob.register();
    bob.set_manner(strowger_tests::Manner::Ring);
    let body = r#"{"channel":"PJSIP/bob","to":{"context":"house","extension":"300"},"wait":true,"timeout_ms":3000}"#;
    let waiting = connect(
        &exchange,
        &format!(
            "POST /api/v1/calls HTTP/1.1\r\nHost: x\r\nX-API-Key: root\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    let rings = wait_until(SOON, || {
        (exchange.metric("strowger_channels") > 0).then_some(())
    });
    assert!(rings.is_some());
    let began = Instant::now();
    let status = exchange.terminate(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20));
    let answer = rest(waiting);
    assert!(
        answer.starts_with("HTTP/1.1 201") && answer.contains("no_answer"),
        "{answer}"
    );
    let told = admin.expect_closed();
    let shutdown = told.iter().find(|block| block.event() == "Shutdown");
    let shutdown = shutdown.expect("the end is told");
    assert_eq!(
        (shutdown.get("Shutdown"), shutdown.get("Restart")),
        ("Cleanly", "False")
    );
    let events = rest(reader);
    let place = |name: &str| events.find(&format!("event: {name}\n"));
    assert!(
        place("Hangup") < place("Shutdown") && place("Shutdown") < place("Ending"),
        "{events}"
    );
    assert!(place("Hangup").is_some());
    assert!(rest(idle).ends_with("ok\n"));
}
