//! Transports from tables: static rows after the product's own statements, addresses for peers outside, rows that come and
//! go while the exchange runs, faults in one row, and the limits of connections.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use strowger_tests::{Bank, Exchange, Line, SOON, Settings, wait_until};

/// An exchange with an endpoint `alice` and an extension that calls a server at `at`.
fn exchange(at: Option<SocketAddr>, more: &str) -> Exchange {
    let exchange = Exchange::prepare(Settings {
        more: more.to_owned(),
        refresh_ms: 200,
        ..Settings::default()
    });
    exchange.subscriber("alice", "secret", "in");
    exchange.extension("in", "echo", &[("Answer", ""), ("Echo", "")]);
    if let Some(at) = at {
        exchange.server(&format!("sip:{at}"), "in");
        exchange.extension("in", "server", &[("Dial", "PJSIP/server,20")]);
    }
    exchange
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a socket")
}

fn answers_options(line: &mut Line, at: SocketAddr) {
    let options = line.request("OPTIONS", &format!("sip:{at}"), "probe");
    line.send(&options);
    // Strangers are asked who they are: an answer all the same.
    assert_eq!(line.expect_final("OPTIONS").status(), Some(401));
}

#[test]
fn the_products_statements_move_transports_to_static_rows() {
    let server = socket();
    let at = server.local_addr().expect("an address");
    let mut exchange = exchange(Some(at), "");
    let ip = exchange.ip();
    // As the product's database has them: every kind of object in its table, and a transport there.
    for kind in ["endpoint", "auth", "aor", "transport"] {
        exchange.database.insert(
            "static_sorcery",
            &[
                ("filename", "sorcery.conf"),
                ("category", "res_pjsip"),
                ("var_name", kind),
                ("var_val", &format!("realtime,ps_{kind}s")),
            ],
        );
    }
    exchange.database.insert(
        "ps_transports",
        &[
            ("id", "transport-table"),
            ("protocol", "tcp"),
            ("bind", &format!("{ip}:5099")),
        ],
    );
    exchange.start();
    assert!(
        TcpStream::connect((ip, 5099)).is_ok(),
        "the table counts at first"
    );
    exchange.database.execute(
        "update `static_sorcery` set `commented` = 1 where `filename` = 'sorcery.conf' and `category` = 'res_pjsip' and `var_name` = 'transport'",
    );
    // Word by word but for the address, which is this exchange's own.
    for (name, protocol, port) in [
        ("transport-udp", "udp", "5060"),
        ("transport-tcp", "tcp", "5061"),
    ] {
        for (option, value) in [
            ("type", "transport"),
            ("protocol", protocol),
            ("bind", &format!("{ip}:{port}")),
            ("local_net", "192.168.0.0/24"),
            ("external_media_address", "1.1.1.1"),
            ("external_signaling_address", "1.1.1.1"),
            ("external_signaling_port", port),
            ("allow_reload", "yes"),
        ] {
            exchange.database.execute(&format!(
                "insert into static_pjsip (cat_metric,var_metric,commented,filename,category,var_name,var_val) values (0,0,0,'pjsip.conf','{name}','{option}','{value}')"
            ));
        }
    }
    exchange.expect_log("transport-tcp", SOON);
    let mut line = Line::tcp((ip, 5061).into());
    answers_options(&mut line, (ip, 5061).into());
    // The peer is not in 192.168.0.0/24: it is told the external address, for SIP and for media.
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let mut peer = Line::datagrams(server, exchange.sip());
    let called = peer.expect_request("INVITE");
    let via = called.header("Via").expect("a Via header");
    assert!(via.contains("SIP/2.0/UDP 1.1.1.1:5060;"), "{via}");
    let contact = called.header("Contact").expect("a Contact header");
    assert!(
        contact.contains("@1.1.1.1:5060") || contact.contains("<sip:1.1.1.1:5060"),
        "{contact}"
    );
    assert!(
        called.body.contains("c=IN IP4 1.1.1.1\r\n"),
        "{}",
        called.body
    );
    peer.respond(&called, 486, None);
    call.expect_status(486, SOON);
}

#[test]
fn a_peer_inside_local_net_is_told_our_own_address() {
    let exchange = {
        let mut exchange = exchange(None, "");
        exchange.database.insert(
            "ps_transports",
            &[
                ("id", "udp"),
                ("bind", &exchange.sip().to_string()),
                ("local_net", "127.0.0.0/8,10.0.0.0/8"),
                ("external_signaling_address", "203.0.113.9"),
                ("external_media_address", "203.0.113.9"),
            ],
        );
        exchange.start();
        exchange
    };
    let mut alice = Line::datagrams(socket(), exchange.sip());
    assert_eq!(
        alice.register(exchange.sip(), "alice", "secret").status(),
        Some(200)
    );
    let media = alice.local();
    let mut invite = alice.invite(&format!("sip:echo@{}", exchange.sip()), "alice", media);
    invite.set("From", &format!("<sip:alice@{}>;tag=1", exchange.sip()));
    let answer = alice.ask(invite, "alice", "secret");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let own = format!("c=IN IP4 {}\r\n", exchange.ip());
    assert!(answer.body.contains(&own), "{}", answer.body);
    let contact = answer.header("Contact").expect("a Contact header");
    assert!(contact.contains(&exchange.sip().to_string()), "{contact}");
}

#[test]
fn rows_come_change_and_go_while_the_exchange_runs_and_a_bad_one_stops_no_other() {
    let mut exchange = exchange(None, "");
    let ip = exchange.ip();
    exchange.start();
    let row = |id: &str, bind: &str, reload: &str| {
        exchange.database.insert(
            "ps_transports",
            &[
                ("id", id),
                ("protocol", "tcp"),
                ("bind", bind),
                ("allow_reload", reload),
            ],
        );
    };
    row("a-bad", "somewhere", "no");
    row("b-foreign", "192.0.2.1:5060", "no");
    row("c-good", &format!("{ip}:5081"), "yes");
    row("d-firm", &format!("{ip}:5082"), "no");
    let open = |port| TcpStream::connect((ip, port)).is_ok();
    wait_until(SOON, || (open(5081) && open(5082)).then_some(())).expect("both are opened");
    exchange.expect_log("transport a-bad: bind says `somewhere`", SOON);
    exchange.expect_log(
        "transport b-foreign: TCP 192.0.2.1:5060 is no address of this machine",
        SOON,
    );
    // A transport by datagrams, too.
    exchange.database.insert(
        "ps_transports",
        &[
            ("id", "e-udp"),
            ("protocol", "udp"),
            ("bind", &format!("{ip}:5083")),
        ],
    );
    exchange.expect_log("e-udp", SOON);
    let at = (ip, 5083).into();
    answers_options(&mut Line::datagrams(socket(), at), at);
    for (id, port) in [("c-good", 5084), ("d-firm", 5085)] {
        exchange.database.execute(&format!(
            "UPDATE ps_transports SET bind = '{ip}:{port}' WHERE id = '{id}'"
        ));
    }
    wait_until(SOON, || (open(5084) && !open(5081)).then_some(())).expect("it has moved");
    exchange.expect_log(
        "transport d-firm: its address changes at the next start",
        SOON,
    );
    assert!(
        open(5082) && !open(5085),
        "it may not move without a restart"
    );
    exchange
        .database
        .execute("DELETE FROM ps_transports WHERE id = 'c-good'");
    wait_until(SOON, || (!open(5084)).then_some(())).expect("it is closed");
}

#[test]
fn static_rows_can_hold_every_kind_of_object() {
    let mut exchange = Exchange::new();
    exchange.extension("office", "echo", &[("Answer", ""), ("Echo", "")]);
    let line = |category: &str, metric: &str, name: &str, value: &str| {
        exchange.database.insert(
            "static_pjsip",
            &[
                ("filename", "pjsip.conf"),
                ("cat_metric", metric),
                ("category", category),
                ("var_name", name),
                ("var_val", value),
            ],
        );
    };
    for kind in ["endpoint", "aor", "auth"] {
        exchange.database.insert(
            "static_sorcery",
            &[
                ("filename", "sorcery.conf"),
                ("category", "res_pjsip"),
                ("var_name", kind),
                (
                    "var_val",
                    &format!("config,pjsip.conf,criteria=type={kind}"),
                ),
            ],
        );
    }
    for (name, value) in [
        ("type", "endpoint"),
        ("context", "office"),
        ("aors", "bob"),
        ("auth", "bob"),
        ("allow", "alaw"),
        ("allow", "ulaw"),
    ] {
        line("bob", "0", name, value);
    }
    for (name, value) in [("type", "aor"), ("max_contacts", "1")] {
        line("bob", "1", name, value);
    }
    for (name, value) in [
        ("type", "auth"),
        ("username", "bob"),
        ("password", "pw"),
        ("auth_type", "userpass"),
    ] {
        line("bob", "2", name, value);
    }
    // What the table says does not count any more.
    exchange.subscriber("carol", "secret", "office");
    exchange.start();
    let mut bob = Line::datagrams(socket(), exchange.sip());
    assert_eq!(
        bob.register(exchange.sip(), "bob", "pw").status(),
        Some(200)
    );
    let mut carol = Line::datagrams(socket(), exchange.sip());
    assert_ne!(
        carol.register(exchange.sip(), "carol", "secret").status(),
        Some(200)
    );
    let media = bob.local();
    let mut invite = bob.invite(&format!("sip:echo@{}", exchange.sip()), "bob", media);
    invite.set("From", &format!("<sip:bob@{}>;tag=1", exchange.sip()));
    assert_eq!(bob.ask(invite, "bob", "pw").status(), Some(200));
}

#[test]
fn connections_are_limited_and_those_that_say_nothing_are_closed() {
    let mut exchange = exchange(
        None,
        "[limits]\nconnections_per_address = 2\nfirst_message_s = 5\nconnection_idle_s = 10\n",
    );
    exchange.start();
    let mut first = Line::tcp(exchange.sip());
    answers_options(&mut first, exchange.sip());
    let mut second = Line::tcp(exchange.sip());
    let mut third = Line::tcp(exchange.sip());
    third.expect_closed(SOON);
    second.expect_closed(SOON);
    wait_until(SOON, || {
        (exchange.metric("strowger_connections_silent_total") == 1).then_some(())
    })
    .expect("the silent one is counted");
    assert_eq!(exchange.metric("strowger_tcp_refused_address_total"), 1);
    // The place is free again, and the one that spoke is still there.
    let mut fourth = Line::tcp(exchange.sip());
    answers_options(&mut fourth, exchange.sip());
    answers_options(&mut first, exchange.sip());
    fourth.send_bytes(b"NOTHING THAT IS SIP\r\nContent-Length: none\r\n\r\n");
    fourth.expect_closed(SOON);
    first.expect_closed(SOON);
    wait_until(SOON, || {
        (exchange.metric("strowger_connections_idle_total") == 1).then_some(())
    })
    .expect("the idle one is counted");
    assert_eq!(exchange.metric("strowger_connections_unreadable_total"), 1);
    wait_until(SOON, || {
        (exchange.metric("strowger_connections_open") == 0).then_some(())
    })
    .expect("every place is given back");
}

#[test]
fn a_call_whose_connection_is_gone_ends_over_another() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("an address");
    let mut exchange = exchange(None, "");
    exchange.server(&format!("sip:{at};transport=tcp"), "in");
    exchange.extension("in", "server", &[("Dial", "PJSIP/server,20")]);
    exchange.start();
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let mut peer = Line::accepted(listener.accept().expect("a connection").0);
    let invite = peer.expect_request("INVITE");
    let media = socket();
    peer.respond(&invite, 200, media.local_addr().ok());
    peer.expect_request("ACK");
    call.expect_answered(SOON);
    drop(peer);
    wait_until(SOON, || {
        (exchange.metric("strowger_connections_open") == 0).then_some(())
    })
    .expect("the connection is gone");
    call.hang_up();
    listener
        .set_nonblocking(true)
        .expect("a listener that can be asked");
    let stream = wait_until(SOON, || listener.accept().ok()).expect("another connection");
    stream
        .0
        .set_nonblocking(false)
        .expect("a stream to wait on");
    let mut peer = Line::accepted(stream.0);
    let bye = peer.expect_request("BYE");
    assert_eq!(bye.header("Call-ID"), invite.header("Call-ID"));
    peer.respond(&bye, 200, None);
}

#[test]
fn keep_alives_are_answered_and_sent() {
    let mut exchange = exchange(None, "");
    exchange.database.insert(
        "ps_globals",
        &[("id", "global"), ("keep_alive_interval", "1")],
    );
    exchange.start();
    let mut line = Line::tcp(exchange.sip());
    answers_options(&mut line, exchange.sip());
    assert_eq!(line.expect_bytes(4, SOON)[..4], *b"\r\n\r\n", "ours");
    line.send_bytes(b"\r\n\r\n");
    let mut got = Vec::new();
    while got.len() % 4 != 2 {
        got.extend(line.expect_bytes(2, SOON));
    }
    assert!(
        got.iter().all(|byte| matches!(byte, b'\r' | b'\n')),
        "{got:?}"
    );
    wait_until(SOON, || {
        (exchange.metric("strowger_pings_answered_total") >= 1).then_some(())
    })
    .expect("it is counted");
}

/// An exchange whose extension `large` calls `contact` with more headers than fit into a datagram.
fn with_large_invites(contact: &str) -> Exchange {
    let mut exchange = exchange(None, "");
    exchange.server(contact, "in");
    let long = "x".repeat(900);
    exchange.extension("in", "large", &[("Dial", "PJSIP/server,20,b(head^s^1)")]);
    exchange.extension(
        "head",
        "s",
        &[
            ("Set", &format!("PJSIP_HEADER(add,X-One)={long}")),
            ("Set", &format!("PJSIP_HEADER(add,X-Two)={long}")),
            ("Return", ""),
        ],
    );
    exchange.database.insert(
        "ps_systems",
        &[("id", "system"), ("disable_tcp_switch", "no")],
    );
    exchange.start();
    exchange
}

#[test]
fn a_large_invite_goes_by_tcp_where_that_is_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("an address");
    let exchange = with_large_invites(&format!("sip:{at}"));
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("large");
    let (stream, _) = listener.accept().expect("a connection");
    let mut peer = Line::accepted(stream);
    let called = peer.expect_request("INVITE");
    assert!(called.to_bytes().len() > 1300);
    let via = called.header("Via").expect("a Via header");
    assert!(via.starts_with("SIP/2.0/TCP"), "{via}");
    let contact = called.header("Contact").expect("a Contact header");
    assert!(contact.contains("transport=tcp"), "{contact}");
    peer.respond(&called, 486, None);
    call.expect_status(486, SOON);
}

#[test]
fn a_large_invite_comes_back_to_udp_if_nobody_listens_for_tcp() {
    let server = socket();
    let at = server.local_addr().expect("an address");
    let exchange = with_large_invites(&format!("sip:{at}"));
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("large");
    let mut peer = Line::datagrams(server, exchange.sip());
    let called = peer.expect_request("INVITE");
    assert!(called.to_bytes().len() > 1300);
    let via = called.header("Via").expect("a Via header");
    assert!(via.starts_with("SIP/2.0/UDP"), "{via}");
    assert_eq!(
        exchange.metric("strowger_requests_switched_to_tcp_total"),
        1
    );
    assert_eq!(exchange.metric("strowger_targets_failed_over_total"), 1);
    peer.respond(&called, 486, None);
    call.expect_status(486, SOON);
}
