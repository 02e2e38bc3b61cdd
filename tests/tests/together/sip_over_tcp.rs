//! The same calls over TCP: an inbound connection carries a call and its answers, an outbound one reaches a contact
//! that asks for TCP, and the two transports meet in one call.

use std::net::UdpSocket;
use std::time::{Duration, Instant};
use strowger_tests::{Exchange, Line, Settings, Sipp};

const LIMIT: Duration = Duration::from_secs(120);
const TCP: [&str; 2] = ["-t", "t1"];

fn exchange(server: Option<&Sipp>) -> Exchange {
    let mut exchange = Exchange::new();
    exchange.subscriber("sipp", "secret", "sipp");
    if let Some(server) = server {
        exchange.server(&format!("sip:{};transport=tcp", server.address()), "sipp");
    }
    exchange.extension("sipp", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.extension("sipp", "server", &[("Dial", "PJSIP/server,20")]);
    exchange.start();
    exchange
}

#[test]
fn a_registration_over_tcp_is_granted_and_taken_back() {
    let exchange = exchange(None);
    Sipp::new("register_digest.xml", exchange.sip())
        .account("sipp", "secret")
        .with(&["-d", "200"])
        .with(&TCP)
        .run(LIMIT)
        .expect_all(1);
}

#[test]
fn calls_over_one_connection_reach_echo_whichever_shard_owns_them() {
    let exchange = exchange(None);
    Sipp::new("uac_dial.xml", exchange.sip())
        .account("sipp", "secret")
        .service("echo")
        .calls(20, 20, 20)
        .with(&["-d", "500"])
        .with(&TCP)
        .run(LIMIT)
        .expect_all(20);
}

#[test]
fn a_caller_over_udp_reaches_a_callee_over_tcp() {
    let nobody = "127.0.0.1:9".parse().expect("an address");
    let server = Sipp::new("uas_answer.xml", nobody)
        .calls(10, 10, 10)
        .with(&TCP)
        .start();
    let exchange = exchange(Some(&server));
    Sipp::new("uac_dial.xml", exchange.sip())
        .account("sipp", "secret")
        .service("server")
        .calls(10, 10, 10)
        .with(&["-d", "500"])
        .run(LIMIT)
        .expect_all(10);
    server.finish(LIMIT).expect_all(10);
}

#[test]
fn a_connection_with_a_call_is_kept_however_long_nothing_is_said() {
    let mut exchange = Exchange::prepare(Settings {
        more: "\n[limits]\nconnection_idle_s = 10\n".to_owned(),
        ..Settings::default()
    });
    exchange.subscriber("alice", "secret", "house");
    let steps = [("Answer", ""), ("Wait", "12"), ("Hangup", "")];
    exchange.extension("house", "wait", &steps);
    exchange.start();
    let media = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let at = media.local_addr().expect("an address");
    let began = Instant::now();
    let mut line = Line::tcp(exchange.sip());
    let uri = format!("sip:wait@{}", exchange.sip());
    let invite = line.invite(&uri, "alice", at);
    let answer = line.ask(invite.clone(), "alice", "secret");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    line.acknowledge(&invite, &answer);
    // One that nobody talks by ends meanwhile.
    let mut idle = Line::tcp(exchange.sip());
    assert_eq!(
        idle.register(exchange.sip(), "alice", "secret").status(),
        Some(200)
    );
    idle.expect_closed(Duration::from_secs(15));
    let bye = line.expect_request("BYE");
    line.respond(&bye, 200, None);
    assert!(began.elapsed() >= Duration::from_secs(12));
    assert_eq!(exchange.metric("strowger_connections_idle_total"), 1);
}
