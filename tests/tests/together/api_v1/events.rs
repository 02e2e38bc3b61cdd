//! Events as a stream and over WebSocket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use strowger_tests::{Bank, Exchange, SOON};

use super::{HOUSE, OTHER, ROOT, ask, exchange};

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
