//! Offers in every place where one may stand: late, in a re-INVITE, beside other media and inside of other bodies.

use std::net::{SocketAddr, UdpSocket};
use strowger_tests::peer::{Peer, PeerCall, audio_at, describe, expect_echo, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Exchange, SOON, wait_until};

fn exchange() -> (Exchange, Peer) {
    let mut exchange = Exchange::new();
    let mut peer = Peer::new(exchange.sip());
    exchange.trunk("peer", peer.address(), "house");
    exchange.extension("house", "echo", &[("Answer", ""), ("Echo", "")]);
    exchange.start();
    peer.set_exchange(exchange.sip());
    (exchange, peer)
}

fn at(message: &SipText) -> SocketAddr {
    let audio = AudioLine::parse(&message.body);
    audio.expect("a description").address
}

fn up<'p>(peer: &'p Peer, audio: &UdpSocket) -> (PeerCall<'p>, SocketAddr) {
    let mut call = peer.call("echo", |invite| describe(invite, audio_at(audio, "")));
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    (call, at(&answer))
}

#[test]
fn a_call_without_an_offer_is_offered_in_the_200_and_answered_in_the_ack() {
    let (_exchange, peer) = exchange();
    let audio = socket();
    let mut call = peer.call("echo", |_| ());
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |ack| describe(ack, audio_at(&audio, "")));
    expect_echo(&audio, at(&answer), "a late offer");
    // RFC 3264 §4: without an answer there is no session.
    let mut silent = peer.call("echo", |_| ());
    let answer = silent.expect_response(200);
    silent.acknowledge(&answer, |_| ());
    let bye = silent.expect_request("BYE");
    assert_eq!(bye.header("Call-ID"), silent.invite.header("Call-ID"));
}

#[test]
fn a_reinvite_without_an_offer_is_offered_the_session_as_it_is_and_may_fail_without_harm() {
    let (_exchange, peer) = exchange();
    let audio = socket();
    let (mut call, echo) = up(&peer, &audio);
    let offer = call.request("INVITE", "", |_| ());
    assert_eq!((offer.status(), at(&offer)), (Some(200), echo));
    // Our offer is open: another one, either way round, has to wait (RFC 3261 §14.2, RFC 3311 §5.2).
    let crossed = call.request("UPDATE", "", |r| describe(r, audio_at(&audio, "")));
    assert_eq!(crossed.status(), Some(491), "{crossed:?}");
    call.acknowledge(&offer, |_| ());
    expect_echo(&audio, echo, "an ACK without an answer changes nothing");

    let moved = socket();
    let offer = call.request("INVITE", "", |_| ());
    call.acknowledge(&offer, |ack| describe(ack, audio_at(&moved, "")));
    expect_echo(&moved, echo, "the answer in the ACK");
    assert_eq!(call.request("BYE", "", |_| ()).status(), Some(200));
}

#[test]
fn a_reinvite_that_cannot_be_accepted_leaves_the_session_as_it_was() {
    let (_exchange, peer) = exchange();
    let audio = socket();
    let (mut call, echo) = up(&peer, &audio);
    let foreign = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 AMR/8000\r\n";
    for (kind, body, status, warning) in [
        ("application/sdp", foreign, 488, Some("305")),
        ("application/sdp", "v=0\r\nnonsense\r\n", 488, Some("399")),
        ("text/plain", "hello", 415, None),
    ] {
        let refused = call.request("INVITE", "", |invite| {
            invite.push("Content-Type", kind);
            invite.body = body.to_owned();
        });
        assert_eq!(refused.status(), Some(status), "{refused:?}");
        let code = refused.header("Warning").and_then(|w| w.split(' ').next());
        assert_eq!(code, warning, "{refused:?}");
        call.acknowledge(&refused, |ack| {
            let branch = refused.header("Via").unwrap_or_default().to_owned();
            ack.set("Via", &branch);
        });
        expect_echo(&audio, echo, "the session goes on");
    }
    assert_eq!(call.request("BYE", "", |_| ()).status(), Some(200));
}

#[test]
fn of_many_streams_the_audio_is_taken_and_all_others_are_refused_in_their_places() {
    let (_exchange, peer) = exchange();
    let audio = socket();
    let port = audio.local_addr().expect("an address").port();
    let mut call = peer.call("echo", |invite| {
        describe(
            invite,
            format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                 m=video 4000 RTP/AVP 31\r\nm=audio {port} RTP/AVP 8 0\r\nm=audio 4002 RTP/AVP 0\r\n\
                 m=image 4004 udptl t38\r\nm=application 4006 TCP/BFCP *\r\nm=whatever 4008 udp x\r\n"
            ),
        );
    });
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    let streams: Vec<(&str, bool)> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("m="))
        .map(|line| {
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            (kind, words.next() != Some("0"))
        })
        .collect();
    let expected = [
        ("video", false),
        ("audio", true),
        ("audio", false),
        ("image", false),
        ("application", false),
        ("whatever", false),
    ];
    assert_eq!(streams, expected, "{}", answer.body);
    let lines = answer
        .body
        .split("m=")
        .find(|part| part.starts_with("audio ") && !part.starts_with("audio 0"));
    let port = lines.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let echo = SocketAddr::new(at(&answer).ip(), port.expect("a port"));
    expect_echo(&audio, echo, "the first audio");
}

#[test]
fn a_description_among_other_parts_is_found_and_what_must_be_understood_is_refused() {
    let (_exchange, peer) = exchange();
    let audio = socket();
    let parts = |handling: &str| {
        format!(
            "--b\r\nContent-Type: application/isup;version=itu-t92+\r\n\
             Content-Disposition: signal;handling={handling}\r\n\r\nABC\r\n--b\r\n\
             Content-Type: application/sdp\r\n\r\n{}\r\n--b--\r\n",
            audio_at(&audio, "")
        )
    };
    let call = |handling| {
        peer.call("echo", |invite| {
            invite.push("Content-Type", "multipart/mixed;boundary=b");
            invite.body = parts(handling);
        })
    };
    let mut taken = call("optional");
    let answer = taken.expect_response(200);
    taken.acknowledge(&answer, |_| ());
    expect_echo(&audio, at(&answer), "a description beside ISUP");
    let mut refused = call("required");
    let response = refused.expect_response(415);
    assert_eq!(response.header("Accept"), Some("application/sdp"));
}

#[test]
fn hold_in_every_form_silences_the_holder_and_resume_brings_it_back() {
    let (_exchange, peer) = exchange();
    let audio = socket();
    let (mut call, echo) = up(&peer, &audio);
    let old = audio_at(&audio, "").replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    let moved = socket();
    for (form, body, direction) in [
        ("sendonly", audio_at(&audio, "a=sendonly\r\n"), "recvonly"),
        ("inactive", audio_at(&audio, "a=inactive\r\n"), "inactive"),
        ("0.0.0.0", old, "recvonly"),
    ] {
        let held = call.request("INVITE", "", |r| describe(r, body));
        assert_eq!(held.status(), Some(200), "{form}");
        let answered = AudioLine::parse(&held.body).expect("an answer").direction;
        assert_eq!(answered, direction, "{form}");
        call.acknowledge(&held, |_| ());
        // What was on the way is over before the next is sent.
        let quiet = wait_until(SOON, || audio.recv(&mut [0; 2048]).err());
        assert!(quiet.is_some(), "{form}: nothing is sent to who holds");
        let resumed = call.request("INVITE", "", |r| describe(r, audio_at(&moved, "")));
        assert_eq!(resumed.status(), Some(200), "{form}");
        call.acknowledge(&resumed, |_| ());
        expect_echo(&moved, echo, form);
    }
}
