//! SIP over TLS: telephones and servers with certificates, in both directions, and certificates that change.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use strowger_tests::{Authority, Bank, Baresip, Exchange, Line, SOON, Settings, wait_until};

/// An exchange that speaks TLS at port 5061, with a certificate of this authority for `pbx.test`.
fn exchange(authority: &Authority, row: &[(&str, &str)]) -> Exchange {
    let exchange = Exchange::prepare(Settings {
        refresh_ms: 200,
        ..Settings::default()
    });
    exchange.subscriber_with("alice", "secret", "in", &[("rewrite_contact", "yes")]);
    exchange.extension("in", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.extension("in", "server", &[("Dial", "PJSIP/server,20")]);
    authority.write(&exchange.data());
    authority.issue_files(&exchange.data(), "pbx", &["pbx.test"]);
    let bind = at(&exchange).to_string();
    let mut columns = vec![
        ("id", "transport-tls"),
        ("protocol", "tls"),
        ("bind", bind.as_str()),
        ("cert_file", "pbx.pem"),
        ("priv_key_file", "pbx.key"),
        ("ca_list_file", "authority.pem"),
    ];
    columns.extend_from_slice(row);
    exchange.database.insert("ps_transports", &columns);
    exchange
}

fn at(exchange: &Exchange) -> SocketAddr {
    (exchange.ip(), 5061).into()
}

#[test]
fn a_telephone_over_tls_registers_calls_and_is_called_over_its_connection() {
    let authority = Authority::new();
    let mut exchange = exchange(&authority, &[("method", "tlsv1_3")]);
    exchange.subscriber("bob", "secret", "in");
    exchange.extension("in", "alice", &[("Dial", "PJSIP/alice,20")]);
    exchange.start();
    let mut line = Line::tls(at(&exchange), &authority.client(None), "pbx.test")
        .expect("the exchange's certificate is good");
    assert_eq!(
        line.register(at(&exchange), "alice", "secret").status(),
        Some(200)
    );
    let media = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let media = media.local_addr().expect("an address");
    let mut invite = line.invite(&format!("sip:echo@{}", at(&exchange)), "alice", media);
    invite.set("From", &format!("<sip:alice@{}>;tag=1", at(&exchange)));
    let answer = line.ask(invite.clone(), "alice", "secret");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let contact = answer.header("Contact").expect("a Contact header");
    assert!(
        contact.contains(&format!("{};transport=tls", at(&exchange))),
        "{contact}"
    );
    // Called back: whichever shard has the call, it comes over this connection, since no other leads here.
    for _ in 0..4 {
        let bank = Bank::new();
        let call = bank.phone("bob", "secret", exchange.sip()).call("alice");
        let called = line.expect_request("INVITE");
        let via = called.header("Via").expect("a Via header");
        assert!(
            via.starts_with(&format!("SIP/2.0/TLS {}", at(&exchange))),
            "{via}"
        );
        line.respond(&called, 486, None);
        line.expect_request("ACK");
        call.expect_status(486, SOON);
    }
    assert!(exchange.metric("strowger_tls_accepted_total") >= 1);
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_needed() {
    let authority = Authority::new();
    let mut exchange = exchange(&authority, &[("require_client_cert", "yes")]);
    exchange.start();
    let own = authority.issue(&["phone.test"]);
    let mut line = Line::tls(at(&exchange), &authority.client(Some(own)), "pbx.test")
        .expect("a client of the authority comes in");
    assert_eq!(
        line.register(at(&exchange), "alice", "secret").status(),
        Some(200)
    );
    let stranger = Authority::new().issue(&["phone.test"]);
    for own in [None, Some(stranger)] {
        // TLS 1.3 tells the client after its handshake, TLS 1.2 within.
        if let Ok(mut line) = Line::tls(at(&exchange), &authority.client(own), "pbx.test") {
            line.expect_closed(SOON);
        }
    }
    wait_until(SOON, || {
        (exchange.metric("strowger_tls_handshakes_failed_total") == 2).then_some(())
    })
    .expect("both are counted");
}

#[test]
fn a_certificate_that_is_renewed_counts_for_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut exchange = exchange(&old, &[]);
    exchange.start();
    let mut line = Line::tls(at(&exchange), &old.client(None), "pbx.test").expect("the old one");
    assert_eq!(
        line.register(at(&exchange), "alice", "secret").status(),
        Some(200)
    );
    assert!(Line::tls(at(&exchange), &new.client(None), "pbx.test").is_err());
    // First a file that is no certificate: the former stays in use.
    std::fs::write(exchange.data().join("pbx.pem"), "nothing").expect("the file");
    exchange.expect_log("the former ones stay in use", SOON);
    assert!(Line::tls(at(&exchange), &old.client(None), "pbx.test").is_ok());
    new.issue_files(&exchange.data(), "pbx", &["pbx.test"]);
    wait_until(SOON, || {
        Line::tls(at(&exchange), &new.client(None), "pbx.test").ok()
    })
    .expect("the new one");
    assert!(Line::tls(at(&exchange), &old.client(None), "pbx.test").is_err());
    // Who was connected before notices nothing.
    assert_eq!(
        line.register(at(&exchange), "alice", "secret").status(),
        Some(200)
    );
}

/// An exchange that verifies servers, and the listener of one that it calls by `sips:`.
fn call_server() -> (Exchange, TcpListener, Bank, Authority) {
    let authority = Authority::new();
    let mut exchange = exchange(&authority, &[("verify_server", "yes")]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("an address");
    exchange.server(&format!("sips:{at}"), "in");
    exchange.start();
    (exchange, listener, Bank::new(), authority)
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().expect("a connection").0
}

#[test]
fn a_server_is_called_over_tls_where_its_certificate_is_its_own() {
    let (exchange, listener, bank, authority) = call_server();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let mut server = Line::tls_accepted(accept(&listener), &authority.server(&["127.0.0.1"]))
        .expect("the exchange takes the certificate");
    let called = server.expect_request("INVITE");
    assert!(
        called.uri().expect("a request").starts_with("sips:"),
        "{}",
        called.start
    );
    let via = called.header("Via").expect("a Via header");
    assert!(
        via.starts_with(&format!("SIP/2.0/TLS {}", at(&exchange))),
        "{via}"
    );
    server.respond(&called, 486, None);
    call.expect_status(486, SOON);
    // The connection is used again.
    let again = bank.phone("alice", "secret", exchange.sip()).call("server");
    let called = server.expect_request("INVITE");
    server.respond(&called, 486, None);
    again.expect_status(486, SOON);
}

#[test]
fn a_server_with_the_certificate_of_another_name_gets_no_call() {
    let (exchange, listener, bank, authority) = call_server();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let taken = Line::tls_accepted(accept(&listener), &authority.server(&["other.test"]));
    if let Ok(mut server) = taken {
        let heard = server.expect_closed(SOON);
        assert!(heard.is_empty(), "{:?}", String::from_utf8_lossy(&heard));
    }
    call.expect_status(503, SOON);
    assert!(exchange.metric("strowger_connections_failed_total") >= 1);
}

#[test]
fn baresip_calls_over_tls_and_hears_itself() {
    let authority = Authority::new();
    let mut exchange = exchange(&authority, &[]);
    exchange.start();
    let mut phone = Baresip::start_with(
        "alice",
        "secret",
        exchange.sip(),
        700.0,
        false,
        &format!(";outbound=\"sip:{};transport=tls\"", at(&exchange)),
    );
    phone.expect_registered(SOON);
    phone.dial("echo");
    phone.expect_event("CALL_ESTABLISHED", SOON);
    std::thread::sleep(std::time::Duration::from_secs(2));
    phone.hang_up();
    phone.expect_event("CALL_CLOSED", SOON);
    assert!(exchange.metric("strowger_tls_accepted_total") >= 1);
    let heard = phone.heard();
    assert!(
        strowger_tests::audio::share_with_tone(&heard, 700.0) > 0.7,
        "{} samples",
        heard.len()
    );
}
