//! Session timers (RFC 4028), and requests of the exchange that refresh a session or describe it anew.

use std::time::{Duration, Instant};
use strowger_tests::peer::{Peer, PeerCall, audio_at, describe, expect_echo, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Bank, Exchange, SOON};

fn exchange(columns: &[(&str, &str)]) -> (Exchange, Peer) {
    exchange_with(columns, true)
}

/// The same; `calls`: requests from this telephone's address are its own, otherwise it is only called.
fn exchange_with(columns: &[(&str, &str)], calls: bool) -> (Exchange, Peer) {
    let mut exchange = Exchange::new();
    let mut peer = Peer::new(exchange.sip());
    let name = if calls { "peer" } else { "server" };
    if calls {
        exchange.trunk(name, peer.address(), "house");
    } else {
        exchange.server(&format!("sip:{}", peer.address()), "house");
    }
    for (column, value) in columns {
        exchange.database.execute(&format!(
            "UPDATE ps_endpoints SET {column} = '{value}' WHERE id = '{name}'"
        ));
    }
    exchange.subscriber("alice", "secret", "house");
    exchange.extension("house", "echo", &[("Answer", ""), ("Echo", "")]);
    for method in ["invite", "update"] {
        let set = format!("PJSIP_SEND_SESSION_REFRESH()={method}");
        let steps = [("Answer", ""), ("Set", set.as_str()), ("Echo", "")];
        exchange.extension("house", method, &steps);
    }
    exchange.extension("house", "202", &[("Dial", &format!("PJSIP/{name},60"))]);
    exchange.start();
    peer.set_exchange(exchange.sip());
    (exchange, peer)
}

const UPDATES: &str = "INVITE, ACK, BYE, CANCEL, UPDATE";

fn expires(message: &SipText) -> Option<&str> {
    message.header("Session-Expires")
}

/// A call that is up, and where the exchange hears it.
fn up<'p>(
    peer: &'p Peer,
    number: &str,
    audio: &std::net::UdpSocket,
    change: impl FnOnce(&mut SipText),
) -> (PeerCall<'p>, SipText, std::net::SocketAddr) {
    let mut call = peer.call(number, |invite| {
        describe(invite, audio_at(audio, ""));
        change(invite);
    });
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    let at = AudioLine::parse(&answer.body)
        .expect("a description")
        .address;
    (call, answer, at)
}

#[test]
fn a_session_is_refreshed_at_half_time_or_ended_when_nobody_does() {
    let (_exchange, peer) = exchange(&[]);
    let audio = socket();
    let mut short = peer.call("echo", |invite| {
        invite.push("Supported", "timer");
        invite.push("Session-Expires", "60");
        describe(invite, audio_at(&audio, ""));
    });
    let refused = short.expect_response(422);
    assert_eq!(refused.header("Min-SE"), Some("90"));

    let (theirs, answer, _) = up(&peer, "echo", &audio, |invite| {
        invite.push("Supported", "timer");
        invite.push("Session-Expires", "90");
    });
    assert_eq!(expires(&answer), Some("90;refresher=uac"));
    assert_eq!(answer.header("Require"), Some("timer"));
    let started = Instant::now();
    let (ours, answer, _) = up(&peer, "echo", &audio, |invite| {
        invite.push("Supported", "timer");
        invite.push("Allow", UPDATES);
        invite.push("Session-Expires", "90;refresher=uas");
    });
    assert_eq!(expires(&answer), Some("90;refresher=uas"));
    let call_id = ours.invite.header("Call-ID").map(str::to_owned);
    let update = ours.expect_request("UPDATE");
    assert_eq!(update.header("Call-ID"), call_id.as_deref());
    assert!(started.elapsed() >= Duration::from_secs(44));
    assert_eq!(expires(&update), Some("90;refresher=uac"));
    assert_eq!(update.body, "", "nothing is described anew");
    ours.answer(&update, 200, |response| {
        response.push("Session-Expires", "90;refresher=uac");
    });
    let bye = theirs.expect_request("BYE");
    assert_eq!(
        bye.header("Call-ID"),
        theirs.invite.header("Call-ID"),
        "the one that nobody refreshed"
    );
    let reason = bye.header("Reason").unwrap_or_default();
    assert!(reason.contains("cause=102"), "{reason}");
    theirs.answer(&bye, 200, |_| ());
}

#[test]
fn a_called_peer_that_wants_longer_sessions_gets_them_and_refreshes_as_agreed() {
    let (exchange, peer) = exchange_with(
        &[("timers_sess_expires", "200"), ("timers", "required")],
        false,
    );
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let outgoing = alice.call("202");
    let call = peer.called();
    assert_eq!(expires(&call.invite), Some("200"));
    assert_eq!(call.invite.header("Require"), Some("timer"));
    call.respond(422, "x", |response| response.push("Min-SE", "600"));
    let mut again = peer.called();
    while again.invite.cseq() == call.invite.cseq() {
        again = peer.called();
    }
    assert_eq!(expires(&again.invite), Some("600"));
    assert_eq!(again.invite.header("Min-SE"), Some("600"));
    assert_eq!(again.invite.all("Require"), ["timer"]);
    let audio = socket();
    again.respond(200, "y", |response| {
        response.push("Session-Expires", "600;refresher=uas");
        response.push("Require", "timer");
        describe(response, audio_at(&audio, ""));
    });
    outgoing.expect_answered(SOON);
    // The peer refreshes: UPDATE without a description, and with too short a time.
    let refreshed = again.request("UPDATE", "y", |update| {
        update.push("Supported", "timer");
        update.push("Session-Expires", "600;refresher=uac");
    });
    assert_eq!(refreshed.status(), Some(200));
    assert_eq!(expires(&refreshed), Some("600;refresher=uac"));
    let short = again.request("UPDATE", "y", |update| {
        update.push("Supported", "timer");
        update.push("Session-Expires", "95;refresher=uac");
    });
    assert_eq!(short.status(), Some(422), "ours is 600 since its 422");
    outgoing.hang_up();
}

#[test]
fn an_endpoint_without_timers_hears_nothing_of_them_and_may_not_require_them() {
    let (_exchange, peer) = exchange(&[("timers", "no")]);
    let audio = socket();
    let (_call, answer, _) = up(&peer, "echo", &audio, |invite| {
        invite.push("Supported", "timer");
        invite.push("Session-Expires", "60");
    });
    assert_eq!(expires(&answer), None);
    let mut call = peer.call("echo", |invite| invite.push("Require", "timer"));
    let refused = call.expect_response(420);
    assert_eq!(refused.header("Unsupported"), Some("timer"));
}

#[test]
fn a_refresh_that_crosses_another_or_finds_a_deaf_ear_is_tried_again() {
    let (_exchange, peer) = exchange(&[]);
    let audio = socket();
    let (call, _, at) = up(&peer, "invite", &audio, |_| ());
    let first = call.expect_request("INVITE");
    let offered = AudioLine::parse(&first.body).expect("a re-INVITE describes");
    assert_eq!(offered.address, at);
    // RFC 3261 §14.1: the called side comes again within 2 s.
    call.answer(&first, 491, |_| ());
    call.expect_request("ACK");
    let again = call.expect_request("INVITE");
    assert!(again.cseq() > first.cseq(), "{again:?}");
    call.answer(&again, 500, |response| response.push("Retry-After", "1"));
    call.expect_request("ACK");
    let third = call.expect_request("INVITE");
    let moved = socket();
    call.answer(&third, 200, |response| {
        describe(response, audio_at(&moved, ""));
    });
    call.expect_request("ACK");
    // Its ACK is lost: the 200 comes again, and so does the ACK.
    call.answer(&third, 200, |response| {
        describe(response, audio_at(&moved, ""));
    });
    call.expect_request("ACK");
    expect_echo(&moved, at, "where the answer says");
}

#[test]
fn a_refresh_that_is_refused_changes_nothing_and_one_for_an_unknown_call_ends_it() {
    let (_exchange, peer) = exchange(&[]);
    let audio = socket();
    let (mut call, _, at) = up(&peer, "update", &audio, |invite| {
        invite.push("Allow", UPDATES);
    });
    let update = call.expect_request("UPDATE");
    assert!(AudioLine::parse(&update.body).is_some());
    // Both at once: theirs is refused while ours is open (RFC 3311 §5.2).
    let crossed = call.request("UPDATE", "", |r| describe(r, audio_at(&audio, "")));
    assert_eq!(crossed.status(), Some(491), "{crossed:?}");
    call.answer(&update, 488, |_| ());
    expect_echo(&audio, at, "as before");
    let hold = call.request("UPDATE", "", |r| {
        describe(r, audio_at(&audio, "a=inactive\r\n"))
    });
    assert_eq!(hold.status(), Some(200));
    let held = AudioLine::parse(&hold.body).expect("an answer");
    assert_eq!(held.direction, "inactive");

    let (call, _, _) = up(&peer, "invite", &audio, |_| ());
    let reinvite = call.expect_request("INVITE");
    call.answer(&reinvite, 481, |_| ());
    let bye = call.expect_request("BYE");
    assert_eq!(bye.header("Call-ID"), call.invite.header("Call-ID"));
}
