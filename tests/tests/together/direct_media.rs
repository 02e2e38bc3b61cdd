//! Media that flows between two telephones without the exchange, and comes back when something here needs it.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use strowger_tests::peer::{Peer, PeerCall, audio_at, describe, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Exchange, SOON, wait_until};

/// Two telephones, `one` and `two`, with these columns; `202` rings the second for the first.
fn exchange(columns: &[(&str, &str)], dial: &str) -> (Exchange, Peer, Peer) {
    exchange_of(columns, ("Dial", dial), |_| ())
}

/// The same where `202` does something else; `prepare` writes files into the data directory.
fn exchange_of(
    columns: &[(&str, &str)],
    step: (&str, &str),
    prepare: impl FnOnce(&Path),
) -> (Exchange, Peer, Peer) {
    let mut exchange = Exchange::new();
    prepare(&exchange.data());
    let mut one = Peer::new(exchange.sip());
    let mut two = Peer::new(exchange.sip());
    for (name, peer) in [("one", &one), ("two", &two)] {
        let contact = format!("sip:{}", peer.address());
        exchange
            .database
            .insert("ps_aors", &[("id", name), ("contact", &contact)]);
        let mut row = vec![
            ("id", name),
            ("aors", name),
            ("context", "house"),
            ("disallow", "all"),
            ("allow", "alaw,ulaw"),
        ];
        row.extend_from_slice(columns);
        exchange.database.insert("ps_endpoints", &row);
    }
    let by_address = [("id", "one"), ("endpoint", "one"), ("match", "127.0.0.1")];
    exchange.database.insert("ps_endpoint_id_ips", &by_address);
    exchange.extension("house", "202", &[step]);
    exchange.start();
    one.set_exchange(exchange.sip());
    two.set_exchange(exchange.sip());
    (exchange, one, two)
}

fn heard_at(message: &SipText) -> SocketAddr {
    let audio = AudioLine::parse(&message.body);
    audio.expect("a description").address
}

/// A call that both have answered, with where the exchange hears each.
fn talk<'p>(
    one: &'p Peer,
    two: &'p Peer,
    audio: (&UdpSocket, &UdpSocket),
) -> (PeerCall<'p>, PeerCall<'p>, SocketAddr, SocketAddr) {
    let mut caller = one.call("202", |invite| describe(invite, audio_at(audio.0, "")));
    let callee = two.called();
    let there = heard_at(&callee.invite);
    callee.respond(200, "two", |response| {
        describe(response, audio_at(audio.1, ""))
    });
    let answer = caller.expect_response(200);
    caller.acknowledge(&answer, |_| ());
    let here = heard_at(&answer);
    (caller, callee, here, there)
}

/// Answers re-INVITEs with `audio` and says where each told this telephone to send, until that is `at`.
#[track_caller]
fn expect_told(call: &PeerCall<'_>, audio: &UdpSocket, at: SocketAddr, what: &str) {
    for _ in 0..8 {
        let request = call.expect_request("INVITE");
        call.answer(&request, 200, |response| {
            describe(response, audio_at(audio, ""))
        });
        call.expect_request("ACK");
        if heard_at(&request) == at {
            return;
        }
    }
    panic!("never told {at}: {what}");
}

fn at(audio: &UdpSocket) -> SocketAddr {
    audio.local_addr().expect("an address")
}

#[test]
fn each_is_told_where_the_other_hears_and_both_come_back_for_hold_and_for_a_recording() {
    let (exchange, one, two) = exchange(&[], "PJSIP/two,60");
    let audio = (socket(), socket());
    let (mut caller, callee, here, there) = talk(&one, &two, (&audio.0, &audio.1));
    expect_told(
        &caller,
        &audio.0,
        at(&audio.1),
        "the caller hears of the callee",
    );
    expect_told(
        &callee,
        &audio.1,
        at(&audio.0),
        "the callee hears of the caller",
    );

    let held = caller.request("INVITE", "", |r| {
        describe(r, audio_at(&audio.0, "a=sendonly\r\n"))
    });
    assert_eq!(held.status(), Some(200), "{held:?}");
    assert_eq!(heard_at(&held), here, "the exchange plays the music itself");
    caller.acknowledge(&held, |_| ());
    expect_told(&callee, &audio.1, there, "the callee comes back");
    let music = wait_until(SOON, || audio.1.recv(&mut [0; 2048]).ok());
    assert_eq!(music, Some(172), "music on hold");

    let resumed = caller.request("INVITE", "", |r| describe(r, audio_at(&audio.0, "")));
    assert_eq!(resumed.status(), Some(200));
    caller.acknowledge(&resumed, |_| ());
    expect_told(&caller, &audio.0, at(&audio.1), "direct again");
    expect_told(&callee, &audio.1, at(&audio.0), "direct again");
    assert_eq!(caller.request("BYE", "", |_| ()).status(), Some(200));
    let bye = two.expect("BYE and nothing before it", |m| m.method().is_some());
    assert_eq!(bye.method(), Some("BYE"), "{bye:?}");
    drop(exchange);
}

#[test]
fn what_listens_keeps_the_media_here() {
    let (_exchange, one, two) = exchange(&[], "PJSIP/two,60,H");
    let audio = (socket(), socket());
    let (_caller, _callee, _, _) = talk(&one, &two, (&audio.0, &audio.1));
    let told = one.gather(Duration::from_secs(2), |m| m.method() == Some("INVITE"));
    assert!(told.is_empty(), "option H listens for digits: {told:?}");

    let (_exchange, one, two) = exchange(&[("direct_media", "no")], "PJSIP/two,60");
    let (_caller, _callee, _, _) = talk(&one, &two, (&audio.0, &audio.1));
    let told = one.gather(Duration::from_secs(2), |m| m.method() == Some("INVITE"));
    assert!(told.is_empty(), "the endpoint does not want it: {told:?}");
}

#[test]
fn a_telephone_that_refuses_is_left_in_peace_and_its_partner_comes_back() {
    let (_exchange, one, two) = exchange(&[], "PJSIP/two,60");
    let audio = (socket(), socket());
    let (caller, callee, here, _) = talk(&one, &two, (&audio.0, &audio.1));
    let refused = callee.expect_request("INVITE");
    callee.answer(&refused, 488, |_| ());
    callee.expect_request("ACK");
    expect_told(&caller, &audio.0, here, "its partner is heard here");
    let again = two.gather(Duration::from_secs(2), |m| m.method() == Some("INVITE"));
    let elsewhere: Vec<_> = again
        .iter()
        .filter(|m| m.cseq() != refused.cseq())
        .map(heard_at)
        .filter(|told| *told == at(&audio.0))
        .collect();
    assert!(elsewhere.is_empty(), "it is not asked again: {elsewhere:?}");
}

#[test]
fn hold_is_passed_on_by_reinvite_where_the_endpoint_wants_that() {
    let columns = [("direct_media", "no"), ("moh_passthrough", "yes")];
    let (_exchange, one, two) = exchange(&columns, "PJSIP/two,60");
    let audio = (socket(), socket());
    let (mut caller, callee, _, there) = talk(&one, &two, (&audio.0, &audio.1));
    for (line, passed) in [("a=sendonly\r\n", "sendonly"), ("", "sendrecv")] {
        let told = caller.request("INVITE", "", |r| describe(r, audio_at(&audio.0, line)));
        assert_eq!(told.status(), Some(200));
        caller.acknowledge(&told, |_| ());
        let request = callee.expect_request("INVITE");
        let description = AudioLine::parse(&request.body).expect("a description");
        assert_eq!(description.direction, passed);
        assert_eq!(description.address, there);
        let answer = if line.is_empty() {
            ""
        } else {
            "a=recvonly\r\n"
        };
        callee.answer(&request, 200, |r| describe(r, audio_at(&audio.1, answer)));
        callee.expect_request("ACK");
    }
}

#[test]
fn a_telephone_that_refuses_to_come_back_is_told_again_until_it_does() {
    let (_exchange, one, two) = exchange(&[], "PJSIP/two,60");
    let audio = (socket(), socket());
    let (mut caller, callee, _, there) = talk(&one, &two, (&audio.0, &audio.1));
    expect_told(&caller, &audio.0, at(&audio.1), "direct");
    expect_told(&callee, &audio.1, at(&audio.0), "direct");
    let held = caller.request("INVITE", "", |r| {
        describe(r, audio_at(&audio.0, "a=sendonly\r\n"))
    });
    caller.acknowledge(&held, |_| ());
    let refused = callee.expect_request("INVITE");
    assert_eq!(heard_at(&refused), there, "it is told to come back");
    callee.answer(&refused, 500, |_| ());
    expect_told(&callee, &audio.1, there, "it is told again");
    let music = wait_until(SOON, || audio.1.recv(&mut [0; 2048]).ok());
    assert_eq!(music, Some(172), "music on hold");
}

#[test]
fn a_session_that_is_refreshed_stays_direct() {
    let (_exchange, one, two) = exchange(&[], "PJSIP/two,60");
    let audio = (socket(), socket());
    let (mut caller, callee, _, _) = talk(&one, &two, (&audio.0, &audio.1));
    expect_told(&caller, &audio.0, at(&audio.1), "direct");
    expect_told(&callee, &audio.1, at(&audio.0), "direct");
    for method in ["INVITE", "UPDATE"] {
        let refreshed = caller.request(method, "", |r| describe(r, audio_at(&audio.0, "")));
        assert_eq!(refreshed.status(), Some(200), "{refreshed:?}");
        assert_eq!(heard_at(&refreshed), at(&audio.1), "by {method}");
        if method == "INVITE" {
            caller.acknowledge(&refreshed, |_| ());
        }
    }
    let told = two.gather(Duration::from_secs(1), |m| m.method() == Some("INVITE"));
    assert!(told.is_empty(), "its partner hears nothing of it: {told:?}");
}

#[test]
fn a_telephone_that_moves_when_it_is_told_is_followed() {
    let (_exchange, one, two) = exchange(&[], "PJSIP/two,60");
    let audio = (socket(), socket());
    let (caller, callee, _, _) = talk(&one, &two, (&audio.0, &audio.1));
    let moved = socket();
    expect_told(&caller, &moved, at(&audio.1), "direct");
    expect_told(&callee, &audio.1, at(&moved), "where the caller hears now");
}

#[test]
fn a_script_that_hears_the_caller_keeps_the_media_here() {
    let (exchange, one, two) = exchange_of(&[], ("EAGI", "listen.sh"), |data| {
        let script = data.join("agi-bin/listen.sh");
        std::fs::create_dir_all(data.join("agi-bin")).expect("the folder");
        let text = "#!/bin/sh\nwhile read line && [ -n \"$line\" ]; do :; done\n\
                    echo 'EXEC Dial \"PJSIP/two,60\"'\nread answer\n";
        std::fs::write(&script, text).expect("the script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, mode).expect("executable");
    });
    let audio = (socket(), socket());
    let (_caller, _callee, _, _) = talk(&one, &two, (&audio.0, &audio.1));
    let told = one.gather(Duration::from_secs(2), |m| m.method() == Some("INVITE"));
    assert!(told.is_empty(), "the script hears the caller: {told:?}");
    drop(exchange);
}
