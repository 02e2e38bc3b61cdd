//! Host names in destinations and in `match` of peers: NAPTR, SRV, addresses, and the next target when one fails (RFC 3263).

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use strowger_tests::wire::SipText;
use strowger_tests::{Bank, Exchange, Line, Names, SOON, Settings};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn exchange(dns: SocketAddr, contact: &str, sip: &str) -> Exchange {
    let exchange = Exchange::prepare(Settings {
        refresh_ms: 200,
        ..Settings::default()
    });
    let settings = format!("[sip]\ndns = [\"{dns}\"]\n{sip}");
    let configuration = exchange.configuration().replace("[sip]\n", &settings);
    exchange.write_configuration(&configuration);
    exchange.subscriber("alice", "secret", "in");
    exchange.server(contact, "in");
    exchange.extension("in", "server", &[("Dial", "PJSIP/server,20")]);
    exchange
}

fn socket() -> UdpSocket {
    UdpSocket::bind((HERE, 0)).expect("a socket")
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("an address").port()
}

#[test]
fn pointers_services_and_addresses_lead_to_a_target_and_503_to_the_next() {
    let (first, second) = (socket(), socket());
    let names = Names::start();
    names.naptr("sip.test", 10, 10, "SIP+D2U", "_sip._udp.sip.test");
    names.naptr("sip.test", 20, 10, "SIP+D2T", "_sip._tcp.sip.test");
    names.srv("_sip._udp.sip.test", 20, 1, port(&second), "b.sip.test");
    names.srv("_sip._udp.sip.test", 10, 1, port(&first), "a.sip.test");
    names.a("a.sip.test", HERE);
    names.a("b.sip.test", HERE);
    let mut exchange = exchange(names.address(), "sip:100@sip.test", "");
    exchange.start();
    let bank = Bank::new();
    let mut first = Line::datagrams(first, exchange.sip());
    let mut second = Line::datagrams(second, exchange.sip());
    for _ in 0..2 {
        let call = bank.phone("alice", "secret", exchange.sip()).call("server");
        let at_first = first.expect_request("INVITE");
        assert_eq!(at_first.uri(), Some("sip:100@sip.test"));
        first.respond(&at_first, 503, None);
        let at_second = second.expect_request("INVITE");
        assert_eq!(at_first.header("Call-ID"), at_second.header("Call-ID"));
        assert_ne!(at_first.branch(), at_second.branch());
        second.respond(&at_second, 486, None);
        call.expect_status(486, SOON);
    }
    assert_eq!(exchange.metric("strowger_targets_failed_over_total"), 2);
    // The second call asked nobody: what was answered is kept for its time.
    assert_eq!(names.pointers_asked("sip.test"), 1);
    assert_eq!(names.questions("_sip._udp.sip.test"), 1);
}

#[test]
fn a_target_that_answered_503_is_not_asked_again_by_another_transport() {
    // Both transports of one telephone.
    let (udp, tcp) = loop {
        let udp = socket();
        if let Ok(tcp) = TcpListener::bind((HERE, port(&udp))) {
            break (udp, tcp);
        }
    };
    tcp.set_nonblocking(true).expect("not waiting");
    let names = Names::start();
    names.srv("_sip._udp.one.test", 10, 1, port(&udp), "a.one.test");
    names.srv("_sip._tcp.one.test", 10, 1, port(&udp), "a.one.test");
    names.a("a.one.test", HERE);
    let mut exchange = exchange(names.address(), "sip:100@one.test", "");
    exchange.start();
    let bank = Bank::new();
    let mut line = Line::datagrams(udp, exchange.sip());
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let invite = line.expect_request("INVITE");
    line.respond(&invite, 503, None);
    call.expect_ended(SOON);
    assert!(tcp.accept().is_err(), "it said already that it cannot");
    assert_eq!(exchange.metric("strowger_targets_failed_over_total"), 0);
}

#[test]
fn a_question_that_nobody_answers_holds_up_one_call_and_not_the_next() {
    let udp = socket();
    let names = Names::start();
    names.silence("quiet.test");
    names.srv("_sip._udp.quiet.test", 10, 1, port(&udp), "a.quiet.test");
    names.a("a.quiet.test", HERE);
    let mut exchange = exchange(names.address(), "sip:100@quiet.test", "");
    exchange.start();
    let bank = Bank::new();
    let mut line = Line::datagrams(udp, exchange.sip());
    let mut asked = 0;
    for number in 0..2 {
        let call = bank.phone("alice", "secret", exchange.sip()).call("server");
        let invite = line.expect_request("INVITE");
        line.respond(&invite, 486, None);
        call.expect_status(486, SOON);
        let before = std::mem::replace(&mut asked, names.pointers_asked("quiet.test"));
        assert!(asked > 0);
        assert!(number == 0 || asked == before, "asked again: {asked}");
    }
}

#[test]
fn a_connection_that_is_refused_leads_to_the_next_target() {
    // Nobody but us listens there, so that no other test gets the port that is closed.
    let elsewhere = Ipv4Addr::new(127, 0, 0, 77);
    let closed = TcpListener::bind((elsewhere, 0)).expect("a listener");
    let open = TcpListener::bind((HERE, 0)).expect("a listener");
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let names = Names::start();
    names.srv(
        "_sip._tcp.tcp.test",
        10,
        1,
        port(&closed),
        "closed.tcp.test",
    );
    names.a("closed.tcp.test", elsewhere);
    names.srv("_sip._tcp.tcp.test", 20, 1, port(&open), "a.tcp.test");
    names.a("a.tcp.test", HERE);
    drop(closed);
    let mut exchange = exchange(names.address(), "sip:100@tcp.test;transport=tcp", "");
    exchange.start();
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let mut peer = Line::accepted(open.accept().expect("a connection").0);
    let called = peer.expect_request("INVITE");
    peer.respond(&called, 486, None);
    call.expect_status(486, SOON);
}

#[test]
fn a_target_that_says_nothing_leads_to_the_next() {
    let (silent, second) = (socket(), socket());
    let names = Names::start();
    names.srv("_sip._udp.quiet.test", 10, 1, port(&silent), "a.quiet.test");
    names.srv("_sip._udp.quiet.test", 20, 1, port(&second), "a.quiet.test");
    names.a("a.quiet.test", HERE);
    let mut exchange = exchange(names.address(), "sip:100@quiet.test", "timer_b_ms = 1000\n");
    exchange.start();
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let mut second = Line::datagrams(second, exchange.sip());
    let called = second.expect_request("INVITE");
    second.respond(&called, 486, None);
    call.expect_status(486, SOON);
}

#[test]
fn a_name_server_that_is_dead_delays_nobody_else() {
    let dead = socket();
    let at = dead.local_addr().expect("an address");
    let mut exchange = exchange(at, "sip:100@lost.test", "");
    exchange.start();
    let bank = Bank::new();
    let began = Instant::now();
    let call = bank.phone("alice", "secret", exchange.sip()).call("server");
    let mut question = [0_u8; 512];
    dead.recv_from(&mut question).expect("a question");
    // While nobody answers it, the exchange answers everybody else.
    for _ in 0..20 {
        let mut line = Line::datagrams(socket(), exchange.sip());
        let options = line.request("OPTIONS", &format!("sip:{}", exchange.sip()), "probe");
        line.send(&options);
        assert_eq!(line.expect_final("OPTIONS").status(), Some(401));
    }
    assert!(call.statuses().iter().all(|(_, status)| *status < 200));
    let failed = strowger_tests::wait_until(SOON, || {
        call.statuses()
            .iter()
            .any(|(_, status)| *status >= 400)
            .then_some(())
    });
    assert!(failed.is_some(), "the call ends");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_peer_is_known_by_its_name_and_its_services() {
    let names = Names::start();
    names.srv("_sip._udp.carrier.test", 10, 1, 5060, "gate.carrier.test");
    names.a("gate.carrier.test", HERE);
    let mut exchange = exchange(names.address(), "sip:127.0.0.1:9", "");
    exchange.extension("in", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.database.insert(
        "ps_endpoint_id_ips",
        &[
            ("id", "carrier"),
            ("endpoint", "server"),
            ("match", "carrier.test"),
        ],
    );
    exchange.start();
    let answer = strowger_tests::wait_until(SOON, || {
        let mut line = Line::datagrams(socket(), exchange.sip());
        let media = line.local();
        let invite = line.invite(&format!("sip:echo@{}", exchange.sip()), "anybody", media);
        line.send(&invite);
        let answer = line.expect_final("INVITE");
        (answer.status() == Some(200)).then_some(answer)
    });
    assert!(
        answer.is_some(),
        "{}",
        names.questions("_sip._udp.carrier.test")
    );
}

#[test]
fn a_text_goes_to_the_next_target_too() {
    let (first, second) = (socket(), socket());
    let names = Names::start();
    names.srv("_sip._udp.text.test", 10, 1, port(&first), "a.text.test");
    names.srv("_sip._udp.text.test", 20, 1, port(&second), "a.text.test");
    names.a("a.text.test", HERE);
    let mut exchange = exchange(names.address(), "sip:100@text.test", "");
    let steps = [
        ("Set", "MESSAGE(body)=a word"),
        ("MessageSend", "pjsip:server"),
        ("Hangup", "21"),
    ];
    exchange.extension("in", "text", &steps);
    exchange
        .database
        .execute("UPDATE ps_endpoints SET follow_redirect_methods = 'message' WHERE id = 'server'");
    exchange.start();
    let bank = Bank::new();
    let _call = bank.phone("alice", "secret", exchange.sip()).call("text");
    let mut first = Line::datagrams(first, exchange.sip());
    let mut second = Line::datagrams(second, exchange.sip());
    let at_first = first.expect_request("MESSAGE");
    first.respond(&at_first, 503, None);
    let at_second = second.expect_request("MESSAGE");
    assert_eq!(at_second.body, "a word");
    assert_ne!(at_first.branch(), at_second.branch());
    // Who has moved says where to: `follow_redirect_methods`.
    let elsewhere = socket();
    let mut moved = SipText::response(&at_second, 302, "Moved", "two");
    moved.push(
        "Contact",
        &format!("<sip:bob@127.0.0.1:{}>", port(&elsewhere)),
    );
    second.send(&moved);
    let mut elsewhere = Line::datagrams(elsewhere, exchange.sip());
    let followed = elsewhere.expect_request("MESSAGE");
    assert!(
        followed
            .uri()
            .is_some_and(|uri| uri.starts_with("sip:bob@127.0.0.1:"))
    );
    assert_eq!(followed.body, "a word");
    assert_eq!(followed.header("To"), at_second.header("To"));
    elsewhere.respond(&followed, 200, None);
}

#[test]
fn a_registration_tries_the_next_target() {
    let (silent, refusing, third) = (socket(), socket(), socket());
    let names = Names::start();
    for (place, target) in [&silent, &refusing, &third].into_iter().enumerate() {
        let priority = 10 * (place as u16 + 1);
        names.srv(
            "_sip._udp.reg.test",
            priority,
            1,
            port(target),
            "a.reg.test",
        );
    }
    names.a("a.reg.test", HERE);
    let mut exchange = exchange(names.address(), "sip:100@reg.test", "timer_b_ms = 1000\n");
    let row = [
        ("id", "provider"),
        ("client_uri", "sip:customer@reg.test"),
        ("server_uri", "sip:reg.test"),
        ("max_random_initial_delay", "0"),
        ("retry_interval", "600"),
    ];
    exchange.database.insert("ps_registrations", &row);
    exchange.start();
    let mut silent = Line::datagrams(silent, exchange.sip());
    let mut refusing = Line::datagrams(refusing, exchange.sip());
    let mut third = Line::datagrams(third, exchange.sip());
    let first = silent.expect_request("REGISTER");
    let second = refusing.expect_request("REGISTER");
    refusing.respond(&second, 503, None);
    let last = third.expect_request("REGISTER");
    assert_eq!(first.header("Call-ID"), last.header("Call-ID"));
    assert_ne!(first.branch(), last.branch());
    let contact = last.header("Contact").unwrap_or_default();
    let mut accepted = SipText::response(&last, 200, "OK", "three");
    accepted.push("Contact", &format!("{contact};expires=300"));
    third.send(&accepted);
    exchange.expect_log("Registered", SOON);
    assert_eq!(exchange.metric("strowger_targets_failed_over_total"), 2);
}

#[test]
fn a_contact_is_asked_at_the_next_target_whether_it_is_there() {
    let (silent, second) = (socket(), socket());
    let names = Names::start();
    names.srv("_sip._udp.probe.test", 10, 1, port(&silent), "a.probe.test");
    names.srv("_sip._udp.probe.test", 20, 1, port(&second), "a.probe.test");
    names.a("a.probe.test", HERE);
    let mut exchange = exchange(names.address(), "sip:100@probe.test", "");
    exchange.database.execute(
        "UPDATE ps_aors SET qualify_frequency = 60, qualify_timeout = 4.0 WHERE id = 'server'",
    );
    exchange.start();
    let mut silent = Line::datagrams(silent, exchange.sip());
    let mut second = Line::datagrams(second, exchange.sip());
    let first = silent.expect_request("OPTIONS");
    let next = second.expect_request("OPTIONS");
    assert_ne!(first.branch(), next.branch());
    second.respond(&next, 200, None);
    exchange.expect_log("Reachable", SOON);
    assert!(
        !exchange.log().contains("Unreachable"),
        "{}",
        exchange.log()
    );
}
