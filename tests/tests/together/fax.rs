//! Fax over T.38 between two telephones: passed on as it is, there and back, or refused.

use std::net::{SocketAddr, UdpSocket};
use strowger_tests::peer::{Peer, PeerCall, audio_at, describe, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Exchange, SOON, wait_until};

fn exchange(t38: &str) -> (Exchange, Peer, Peer) {
    exchange_with(&format!("t38_udptl = '{t38}'"))
}

fn exchange_with(columns: &str) -> (Exchange, Peer, Peer) {
    let mut exchange = Exchange::new();
    let mut one = Peer::new(exchange.sip());
    let mut two = Peer::new(exchange.sip());
    exchange.trunk("one", one.address(), "house");
    let contact = format!("sip:{}", two.address());
    exchange.server(&contact, "house");
    exchange
        .database
        .execute(&format!("UPDATE ps_endpoints SET {columns}"));
    exchange.extension("house", "202", &[("Dial", "PJSIP/server,60")]);
    exchange.start();
    one.set_exchange(exchange.sip());
    two.set_exchange(exchange.sip());
    (exchange, one, two)
}

fn talk<'p>(
    one: &'p Peer,
    two: &'p Peer,
    audio: (&UdpSocket, &UdpSocket),
) -> (PeerCall<'p>, PeerCall<'p>) {
    let mut caller = one.call("202", |invite| describe(invite, audio_at(audio.0, "")));
    let callee = two.called();
    callee.respond(200, "two", |response| {
        describe(response, audio_at(audio.1, ""))
    });
    let answer = caller.expect_response(200);
    caller.acknowledge(&answer, |_| ());
    callee.expect_request("ACK");
    let here = AudioLine::parse(&answer.body)
        .expect("a description")
        .address;
    expect_talk(audio, here);
    (caller, callee)
}

/// What the first says arrives at the second.
#[track_caller]
fn expect_talk(audio: (&UdpSocket, &UdpSocket), here: SocketAddr) {
    let mut packet = vec![0x80_u8, 8, 0, 0, 0, 0, 0, 160, 0, 0, 0, 7];
    packet.resize(172, 0xd5);
    let heard = wait_until(SOON, || {
        packet[3] = packet[3].wrapping_add(1);
        audio.0.send_to(&packet, here).ok()?;
        audio.1.recv(&mut [0; 2048]).ok()
    });
    assert_eq!(heard, Some(172), "audio flows");
}

fn fax_at(fax: &UdpSocket, more: &str) -> String {
    let port = fax.local_addr().expect("an address").port();
    format!(
        "v=0\r\no=- 1 {port} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=image {port} udptl t38\r\na=T38FaxVersion:0\r\n{more}"
    )
}

/// Where a description wants fax, and the line behind it that begins like this.
fn fax_in(message: &SipText, line: &str) -> (SocketAddr, Option<String>) {
    let port = message.body.lines().find_map(|line| {
        line.strip_prefix("m=image ")?
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    let ip = message
        .body
        .lines()
        .find_map(|line| line.strip_prefix("c=IN IP4 ")?.trim().parse().ok());
    let (Some(port), Some(ip)) = (port, ip) else {
        panic!("no fax in {}", message.body);
    };
    let said = message.body.lines().find(|l| l.starts_with(line));
    (SocketAddr::new(ip, port), said.map(str::to_owned))
}

#[track_caller]
fn expect_passed(from: &UdpSocket, at: SocketAddr, to: &UdpSocket, packet: &[u8]) {
    let came = wait_until(SOON, || {
        from.send_to(packet, at).ok()?;
        let mut buffer = [0; 2048];
        let length = to.recv(&mut buffer).ok()?;
        (buffer[..length] == *packet).then_some(())
    });
    assert!(came.is_some(), "the packet arrives as it was sent");
}

#[test]
fn a_fax_is_passed_on_there_and_back_and_audio_comes_again() {
    let (_exchange, one, two) = exchange("yes");
    let audio = (socket(), socket());
    let (mut caller, mut callee) = talk(&one, &two, (&audio.0, &audio.1));
    let fax = (socket(), socket());
    let fast = "a=T38MaxBitRate:14400\r\n";
    // The called side, which hears the tone, asks (ITU-T T.38 annex D).
    let asked = callee.send("INVITE", "two", |r| describe(r, fax_at(&fax.1, fast)));
    let passed = caller.expect_request("INVITE");
    let (at_one, said) = fax_in(&passed, "a=T38MaxBitRate");
    assert_eq!(said.as_deref(), Some("a=T38MaxBitRate:14400"));
    caller.answer(&passed, 200, |r| {
        describe(r, fax_at(&fax.0, "a=T38MaxBitRate:9600\r\n"))
    });
    caller.expect_request("ACK");
    let branch = asked.branch().unwrap_or_default().to_owned();
    let answer = two.expect("the answer to the fax", |m| {
        m.status().is_some_and(|status| status >= 200) && m.branch() == Some(&branch)
    });
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let (at_two, said) = fax_in(&answer, "a=T38MaxBitRate");
    assert_eq!(said.as_deref(), Some("a=T38MaxBitRate:9600"));
    callee.acknowledge_as(&answer, "two");
    expect_passed(&fax.0, at_one, &fax.1, b"\0\x01\x06 t30 ind");
    expect_passed(&fax.1, at_two, &fax.0, b"\0\x02\xc0 data");
    let stranger = socket();
    stranger.send_to(b"from elsewhere", at_one).expect("sent");

    let back = caller.send("INVITE", "", |r| describe(r, audio_at(&audio.0, "")));
    let branch = back.branch().unwrap_or_default().to_owned();
    let answer = one.expect("the answer to the audio", |m| {
        m.status() == Some(200) && m.branch() == Some(&branch)
    });
    caller.acknowledge(&answer, |_| ());
    let here = AudioLine::parse(&answer.body).expect("audio").address;
    let asked = callee.expect_request("INVITE");
    let there = AudioLine::parse(&asked.body).expect("audio again");
    assert_ne!(there.address.port(), 0);
    callee.answer(&asked, 200, |r| describe(r, audio_at(&audio.1, "")));
    callee.expect_request("ACK");
    expect_talk((&audio.0, &audio.1), here);
}

#[test]
fn a_fax_is_refused_where_either_side_cannot_and_the_call_goes_on() {
    for t38 in ["yes", "no"] {
        let (_exchange, one, two) = exchange(t38);
        let audio = (socket(), socket());
        let (mut caller, callee) = talk(&one, &two, (&audio.0, &audio.1));
        let fax = socket();
        let asked = caller.send("INVITE", "", |r| describe(r, fax_at(&fax, "")));
        if t38 == "yes" {
            let passed = callee.expect_request("INVITE");
            fax_in(&passed, "a=");
            callee.answer(&passed, 488, |_| ());
            callee.expect_request("ACK");
        }
        let branch = asked.branch().unwrap_or_default().to_owned();
        let refused = one.expect("the refusal", |m| {
            m.status().is_some_and(|status| status >= 200) && m.branch() == Some(&branch)
        });
        assert_eq!(refused.status(), Some(488), "{t38}: {refused:?}");
        let warning = refused.header("Warning").unwrap_or_default();
        assert!(warning.starts_with("304 "), "{warning}");
        caller.acknowledge(&refused, |ack| {
            ack.set("Via", refused.header("Via").unwrap_or_default());
        });
        let again = caller.request("INVITE", "", |r| describe(r, audio_at(&audio.0, "")));
        assert_eq!(again.status(), Some(200), "the call goes on: {again:?}");
    }
}

#[test]
fn the_greatest_datagram_of_a_row_counts_before_what_the_telephone_says() {
    let (_exchange, one, two) = exchange_with("t38_udptl = 'yes', t38_udptl_maxdatagram = '400'");
    let audio = (socket(), socket());
    let (caller, mut callee) = talk(&one, &two, (&audio.0, &audio.1));
    let fax = socket();
    let says = "a=T38FaxMaxDatagram:200\r\n";
    callee.send("INVITE", "two", |r| describe(r, fax_at(&fax, says)));
    let passed = caller.expect_request("INVITE");
    let (_, said) = fax_in(&passed, "a=T38FaxMaxDatagram");
    assert_eq!(said.as_deref(), Some("a=T38FaxMaxDatagram:400"));
    caller.answer(&passed, 488, |_| ());
}

#[test]
fn a_telephone_behind_a_nat_is_faxed_where_its_packets_come_from() {
    let (_exchange, one, two) = exchange_with("t38_udptl = 'yes', t38_udptl_nat = 'yes'");
    let audio = (socket(), socket());
    let (caller, mut callee) = talk(&one, &two, (&audio.0, &audio.1));
    let (said, real, fax) = (socket(), socket(), socket());
    let asked = callee.send("INVITE", "two", |r| describe(r, fax_at(&fax, "")));
    let passed = caller.expect_request("INVITE");
    let (at_one, _) = fax_in(&passed, "a=T38");
    caller.answer(&passed, 200, |r| describe(r, fax_at(&said, "")));
    caller.expect_request("ACK");
    let branch = asked.branch().unwrap_or_default().to_owned();
    let answer = two.expect("the answer to the fax", |m| {
        m.status().is_some_and(|status| status >= 200) && m.branch() == Some(&branch)
    });
    let (at_two, _) = fax_in(&answer, "a=T38");
    callee.acknowledge_as(&answer, "two");
    expect_passed(&real, at_one, &fax, b"\0\x01\x06 from behind the NAT");
    expect_passed(&fax, at_two, &real, b"\0\x02\xc0 back");
}

#[test]
fn a_fax_machine_of_the_exchange_refuses_t38_and_goes_on_by_audio() {
    let mut exchange = Exchange::new();
    let mut one = Peer::new(exchange.sip());
    exchange.trunk("one", one.address(), "house");
    exchange
        .database
        .execute("UPDATE ps_endpoints SET t38_udptl = 'yes'");
    exchange.extension("house", "203", &[("ReceiveFAX", "in.tif,f")]);
    exchange.start();
    one.set_exchange(exchange.sip());
    let audio = socket();
    let mut caller = one.call("203", |invite| describe(invite, audio_at(&audio, "")));
    let answer = caller.expect_response(200);
    caller.acknowledge(&answer, |_| ());
    let heard =
        || wait_until(SOON, || audio.recv(&mut [0; 2048]).ok()).is_some_and(|length| length == 172);
    assert!(heard(), "the fax machine answers");
    let fax = socket();
    let asked = caller.send("INVITE", "", |r| describe(r, fax_at(&fax, "")));
    let branch = asked.branch().unwrap_or_default().to_owned();
    let refused = one.expect("the refusal", |m| {
        m.status().is_some_and(|status| status >= 200) && m.branch() == Some(&branch)
    });
    assert_eq!(refused.status(), Some(488), "{refused:?}");
    caller.acknowledge(&refused, |ack| {
        ack.set("Via", refused.header("Via").unwrap_or_default());
    });
    assert_eq!(exchange.metric("strowger_fax_sessions_running"), 1);
    // What came before the refusal is no proof.
    audio.set_nonblocking(true).expect("a socket");
    while audio.recv(&mut [0; 2048]).is_ok() {}
    assert!(heard(), "it goes on");
}
