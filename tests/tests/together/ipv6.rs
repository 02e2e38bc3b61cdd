//! Signalling and media over IPv6: addresses in brackets, descriptions with IP6, and a call between the two families.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use strowger_tests::{Bank, Exchange, Line, SOON, Settings};

fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("IPv6 on this machine")
}

/// An address whose port is free for datagrams and for connections.
fn free_for_both() -> SocketAddr {
    for _ in 0..100 {
        let at = socket().local_addr().expect("an address");
        if TcpListener::bind(at).is_ok() {
            return at;
        }
    }
    panic!("a port that is free for both");
}

/// An exchange that listens on `::1` too, and there with datagrams and connections.
fn exchange() -> (Exchange, SocketAddr) {
    let mut exchange = Exchange::prepare(Settings {
        refresh_ms: 200,
        ..Settings::default()
    });
    let at = free_for_both();
    exchange.subscriber("alice", "secret", "in");
    exchange.subscriber_with("six", "secret", "in", &[("rtp_symmetric", "yes")]);
    exchange.extension("in", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.extension("in", "six", &[("Dial", "PJSIP/six,20")]);
    for protocol in ["udp", "tcp"] {
        exchange.database.insert(
            "ps_transports",
            &[
                ("id", protocol),
                ("protocol", protocol),
                ("bind", &at.to_string()),
            ],
        );
    }
    exchange.start();
    (exchange, at)
}

#[test]
fn a_telephone_registers_and_calls_over_ipv6() {
    let (_exchange, at) = exchange();
    for mut line in [Line::datagrams(socket(), at), Line::tcp(at)] {
        let registered = line.register(at, "six", "secret");
        assert_eq!(registered.status(), Some(200), "{registered:?}");
        let media = line.local();
        let mut invite = line.invite(&format!("sip:echo@{at}"), "six", media);
        invite.set("From", &format!("<sip:six@{at}>;tag=1"));
        let answer = line.ask(invite.clone(), "six", "secret");
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        let contact = answer.header("Contact").expect("a Contact header");
        assert!(
            contact.contains(&format!("[::1]:{}", at.port())),
            "{contact}"
        );
        assert!(answer.body.contains("c=IN IP6 ::1\r\n"), "{}", answer.body);
        let via = answer.header("Via").expect("a Via header");
        assert!(
            via.contains("received=[::1]") || via.contains("received=::1"),
            "{via}"
        );
        line.acknowledge(&invite, &answer);
    }
}

#[test]
fn a_caller_of_ipv4_reaches_a_telephone_of_ipv6() {
    let (exchange, at) = exchange();
    let mut six = Line::datagrams(socket(), at);
    assert_eq!(six.register(at, "six", "secret").status(), Some(200));
    let bank = Bank::new();
    let call = bank.phone("alice", "secret", exchange.sip()).call("six");
    let called = six.expect_request("INVITE");
    let via = called.header("Via").expect("a Via header");
    assert!(
        via.starts_with(&format!("SIP/2.0/UDP [::1]:{};", at.port())),
        "{via}"
    );
    assert!(called.body.contains("c=IN IP6 ::1\r\n"), "{}", called.body);
    let media = socket();
    six.respond(&called, 200, media.local_addr().ok());
    six.expect_request("ACK");
    call.expect_answered(SOON);
    // What the caller says arrives in the other family.
    media.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut packet = [0_u8; 512];
    let (length, from) = media.recv_from(&mut packet).expect("RTP over IPv6");
    assert!(length > 12 && from.is_ipv6(), "{length} from {from}");
    call.hang_up();
    let bye = six.expect_request("BYE");
    six.respond(&bye, 200, None);
}

#[test]
fn media_goes_over_ipv6_where_the_endpoint_wants_it() {
    let (exchange, _) = exchange();
    exchange.subscriber_with("four", "secret", "in", &[("rtp_ipv6", "yes")]);
    let answer = strowger_tests::wait_until(SOON, || {
        let line = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut line = Line::datagrams(line, exchange.sip());
        let media = socket().local_addr().expect("an address");
        let mut invite = line.invite(&format!("sip:echo@{}", exchange.sip()), "four", media);
        invite.set("From", &format!("<sip:four@{}>;tag=1", exchange.sip()));
        let answer = line.ask(invite, "four", "secret");
        (answer.status() == Some(200)).then_some(answer)
    });
    let answer = answer.expect("the call is answered");
    assert!(answer.body.contains("c=IN IP6 ::1\r\n"), "{}", answer.body);
}
