//! SIP over WebSocket (RFC 7118): browsers register, call, and are called over the connection they came by.

use std::net::{SocketAddr, UdpSocket};

use strowger_tests::{Authority, Bank, Exchange, Line, SOON, Settings, wait_until};

fn exchange(more: &[(&str, &str)]) -> Exchange {
    let exchange = Exchange::prepare(Settings {
        refresh_ms: 200,
        ..Settings::default()
    });
    exchange.subscriber("alice", "secret", "in");
    exchange.subscriber("bob", "secret", "in");
    exchange.extension("in", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.extension("in", "alice", &[("Dial", "PJSIP/alice,20")]);
    let contacts = "${PJSIP_DIAL_CONTACTS(alice)},20";
    exchange.extension("in", "contacts", &[("Dial", contacts)]);
    let bind = at(&exchange).to_string();
    let mut row = vec![("id", "ws"), ("bind", bind.as_str())];
    row.extend_from_slice(more);
    exchange.database.insert("ps_transports", &row);
    exchange
}

fn at(exchange: &Exchange) -> SocketAddr {
    (exchange.ip(), 8081).into()
}

fn calls_and_is_called(exchange: &Exchange, line: &mut Line, via: &str) {
    assert_eq!(
        line.register(at(exchange), "alice", "secret").status(),
        Some(200)
    );
    let media = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let media = media.local_addr().expect("an address");
    let mut invite = line.invite(&format!("sip:echo@{}", at(exchange)), "alice", media);
    invite.set("From", &format!("<sip:alice@{}>;tag=1", at(exchange)));
    let answer = line.ask(invite.clone(), "alice", "secret");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let contact = answer.header("Contact").expect("a Contact header");
    assert!(contact.contains("transport=ws"), "{contact}");
    line.acknowledge(&invite, &answer);
    for exten in ["alice", "contacts", "alice", "contacts"] {
        let bank = Bank::new();
        let call = bank.phone("bob", "secret", exchange.sip()).call(exten);
        let called = line.expect_request("INVITE");
        let top = called.header("Via").expect("a Via header");
        assert!(top.starts_with(&format!("SIP/2.0/{via} ")), "{top}");
        assert!(
            called.uri().expect("a request").contains(".invalid"),
            "{}",
            called.start
        );
        line.respond(&called, 486, None);
        line.expect_request("ACK");
        call.expect_status(486, SOON);
    }
}

#[test]
fn a_browser_calls_and_is_called_over_its_connection() {
    let mut exchange = exchange(&[("protocol", "ws")]);
    exchange.start();
    let mut line = Line::websocket(at(&exchange), "/ws", "sip").expect("a WebSocket");
    calls_and_is_called(&exchange, &mut line, "WS");
    line.send_frame(9, b"are you there");
    let pong = line.expect_frame(10, SOON);
    assert_eq!(pong.payload, b"are you there");
    // Its contact goes when it goes: nothing else leads there.
    let stored = || exchange.database.select("ps_contacts", &["uri"], "").len();
    wait_until(SOON, || (stored() == 1).then_some(())).expect("the contact is stored");
    drop(line);
    wait_until(SOON, || (stored() == 0).then_some(())).expect("the contact is gone");
    let bank = Bank::new();
    let call = bank.phone("bob", "secret", exchange.sip()).call("alice");
    assert!(
        wait_until(SOON, || call
            .statuses()
            .iter()
            .any(|(_, s)| *s >= 400)
            .then_some(()))
        .is_some()
    );
}

#[test]
fn a_browser_comes_by_a_secure_websocket() {
    let authority = Authority::new();
    let mut exchange = exchange(&[
        ("protocol", "wss"),
        ("cert_file", "pbx.pem"),
        ("priv_key_file", "pbx.key"),
    ]);
    authority.issue_files(&exchange.data(), "pbx", &["pbx.test"]);
    exchange.start();
    let mut line = Line::secure_websocket(at(&exchange), &authority.client(None), "pbx.test")
        .expect("a WebSocket");
    calls_and_is_called(&exchange, &mut line, "WSS");
}

#[test]
fn who_does_not_keep_to_the_protocol_is_refused_or_closed() {
    let mut exchange = exchange(&[("protocol", "ws")]);
    exchange.start();
    let refused = |path, protocol| Line::websocket(at(&exchange), path, protocol).err();
    assert!(refused("/ws", "chat").is_some_and(|status| status.contains("400")));
    assert!(refused("/other", "sip").is_some_and(|status| status.contains("404")));
    assert_eq!(exchange.metric("strowger_ws_handshakes_failed_total"), 2);
    // A message larger than any SIP message may be.
    let mut line = Line::websocket(at(&exchange), "/ws", "sip").expect("a WebSocket");
    line.send_frame(1, &vec![b'x'; 65_000]);
    line.send_frame(2, b"OPTIONS");
    // What is no SIP is counted and does no harm.
    assert_eq!(
        line.register(at(&exchange), "alice", "secret").status(),
        Some(200)
    );
    // A keep-alive as some browsers' libraries send it.
    line.send_frame(1, b"\r\n\r\n");
    let mut pong = line.expect_frame(1, SOON);
    while pong.payload != b"\r\n" {
        pong = line.expect_frame(1, SOON);
    }
    // A client has to mask its frames (RFC 6455 5.1).
    let mut bare = Line::websocket(at(&exchange), "/ws", "sip").expect("a WebSocket");
    bare.send_unmasked(b"OPTIONS");
    bare.expect_closed(SOON);
}

#[test]
fn browsers_find_sip_on_the_http_port_where_a_transport_wants_that() {
    // A port of its own, or that of the HTTP server, as an Asterisk's row has it.
    for port in ["8081", "8088"] {
        let mut exchange = exchange(&[("protocol", "ws"), ("allow_reload", "yes")]);
        let bind = format!("0.0.0.0:{port}");
        if port == "8088" {
            let sql = format!("UPDATE ps_transports SET bind = '{bind}' WHERE id = 'ws'");
            exchange.database.execute(&sql);
        }
        exchange.start();
        let mut line = Line::websocket(exchange.http(), "/ws", "sip").expect("a WebSocket");
        calls_and_is_called(&exchange, &mut line, "WS");
        // The HTTP server goes on serving what it serves.
        assert!(matches!(exchange.get("/readyz"), Ok((200, _))));
        let stored = || exchange.database.select("ps_contacts", &["uri"], "").len();
        wait_until(SOON, || (stored() == 1).then_some(())).expect("the contact is stored");
        drop(line);
        wait_until(SOON, || (stored() == 0).then_some(())).expect("the contact is gone");
        exchange.database.execute("DELETE FROM ps_transports");
        let refused = wait_until(SOON, || {
            Line::websocket(exchange.http(), "/ws", "sip").err()
        });
        assert!(refused.is_some_and(|status| status.contains("404")));
    }
}

#[test]
fn a_secure_websocket_comes_to_the_http_port_with_its_certificate() {
    let authority = Authority::new();
    let mut exchange = exchange(&[("protocol", "wss")]);
    let bind: SocketAddr = (exchange.ip(), 8089).into();
    let sql = format!("UPDATE ps_transports SET bind = '{bind}' WHERE id = 'ws'");
    exchange.database.execute(&sql);
    let with_tls = exchange.configuration().replace(
        ":8088\"\n",
        &format!(":8088\"\ntls_bind = \"{bind}\"\ncertificate = \"pbx.pem\"\nkey = \"pbx.key\"\n"),
    );
    exchange.write_configuration(&with_tls);
    authority.issue_files(&exchange.data(), "pbx", &["pbx.test"]);
    exchange.start();
    let mut line =
        Line::secure_websocket(bind, &authority.client(None), "pbx.test").expect("a WebSocket");
    calls_and_is_called(&exchange, &mut line, "WSS");
}

#[test]
fn a_websocket_is_one_of_the_connections_of_the_http_server_until_it_ends() {
    let mut exchange = exchange(&[("protocol", "ws")]);
    let limited = exchange
        .configuration()
        .replace(":8088\"\n", ":8088\"\nconnections_per_address = 2\n");
    exchange.write_configuration(&limited);
    exchange.start();
    let enter = || Line::websocket(exchange.http(), "/ws", "sip");
    let first = wait_until(SOON, || enter().ok()).expect("the first");
    let _second = wait_until(SOON, || enter().ok()).expect("the second");
    assert!(exchange.get("/readyz").is_err(), "there is no place left");
    drop(first);
    let answered = wait_until(SOON, || exchange.get("/readyz").ok());
    assert!(matches!(answered, Some((200, _))), "{answered:?}");
}

#[test]
fn who_comes_to_the_http_port_has_the_limits_of_all_connections() {
    let mut exchange = exchange(&[("protocol", "ws")]);
    let limited = format!(
        "{}\n[limits]\nconnections_per_address = 2\n",
        exchange.configuration()
    );
    exchange.write_configuration(&limited);
    exchange.start();
    let enter = |protocol| Line::websocket(exchange.http(), "/ws", protocol);
    assert!(enter("chat").is_err_and(|status| status.contains("400")));
    let first = enter("sip").expect("the first");
    let mut second = enter("sip").expect("the second");
    assert!(enter("sip").is_err_and(|status| status.contains("503")));
    assert_eq!(
        exchange.metric("strowger_tcp_refused_address_total"),
        1,
        "counted"
    );
    drop(first);
    wait_until(SOON, || enter("sip").ok()).expect("a place that became free");
    // A client has to mask its frames (RFC 6455 5.1) here as well.
    second.send_unmasked(b"OPTIONS");
    second.expect_closed(SOON);
}
