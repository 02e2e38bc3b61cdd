//! Provisional responses that are acknowledged (RFC 3262), both ways.

use std::time::Duration;
use strowger_tests::peer::{Peer, audio_at, describe, expect_echo, socket};
use strowger_tests::wire::{AudioLine, SipText};
use strowger_tests::{Bank, Exchange, SOON, Source, wait_until};

/// An exchange with an endpoint `peer` at this telephone, with more columns. `early` opens early media, waits and echoes.
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
        let column = format!("\"{column}\"");
        exchange.database.execute(&format!(
            "UPDATE ps_endpoints SET {column} = '{value}' WHERE id = '{name}'"
        ));
    }
    exchange.subscriber("alice", "secret", "house");
    let early = [
        ("Progress", ""),
        ("Wait", "1"),
        ("Answer", ""),
        ("Echo", ""),
    ];
    exchange.extension("house", "early", &early);
    let rings = [
        ("Ringing", ""),
        ("Progress", ""),
        ("Wait", "30"),
        ("Answer", ""),
    ];
    exchange.extension("house", "rings", &rings);
    exchange.extension("house", "202", &[("Dial", &format!("PJSIP/{name},60"))]);
    // T1 of 100 ms: what is not acknowledged is given up after 6.4 s.
    let text = exchange.configuration();
    exchange.write_configuration(&text.replace("[sip]\n", "[sip]\ntimer_t1_ms = 100\n"));
    exchange.start();
    peer.set_exchange(exchange.sip());
    (exchange, peer)
}

fn requires(message: &mut SipText) {
    message.push("Require", "100rel");
}

fn number_of(response: &SipText) -> String {
    assert_eq!(response.header("Require"), Some("100rel"), "{response:?}");
    response.header("RSeq").expect("RSeq").to_owned()
}

#[test]
fn a_description_is_repeated_until_its_prack_and_the_answer_waits_for_that() {
    let (_exchange, peer) = exchange(&[]);
    let audio = socket();
    let mut call = peer.call("early", |invite| {
        requires(invite);
        describe(invite, audio_at(&audio, ""));
    });
    let early = call.expect_response(183);
    let rseq = number_of(&early);
    let at = AudioLine::parse(&early.body)
        .expect("a description")
        .address;
    let responses = peer.gather(Duration::from_millis(2500), |m| m.status().is_some());
    assert!(responses.len() >= 2, "repeated: {responses:?}");
    for response in &responses {
        // The 200 was due after a second.
        assert_eq!(response.status(), Some(183), "{response:?}");
        assert_eq!(number_of(response), rseq);
    }
    let prack = |rack: String| move |prack: &mut SipText| prack.push("RAck", &rack);
    let wrong = call.request("PRACK", "", prack("1 1 INVITE".to_owned()));
    assert_eq!(wrong.status(), Some(481));
    let unreadable = call.request("PRACK", "", |_| ());
    assert_eq!(unreadable.status(), Some(400));
    let good = call.request("PRACK", "", prack(format!("{rseq} 1 INVITE")));
    assert_eq!(good.status(), Some(200));
    let answer = call.expect_response(200);
    assert_eq!(
        answer.body, "",
        "what was described reliably is not said again"
    );
    call.acknowledge(&answer, |_| ());
    expect_echo(&audio, at, "the description of the 183 holds");
    let again = call.request("PRACK", "", prack(format!("{rseq} 1 INVITE")));
    assert_eq!(again.status(), Some(481), "acknowledged already");
    assert_eq!(call.request("BYE", "", |_| ()).status(), Some(200));
}

#[test]
fn responses_come_one_after_the_other_and_without_prack_the_call_is_refused() {
    let (_exchange, peer) = exchange(&[]);
    let audio = socket();
    let mut call = peer.call("rings", |invite| {
        requires(invite);
        describe(invite, audio_at(&audio, ""));
    });
    let ringing = call.expect_response(180);
    let first: u32 = number_of(&ringing).parse().expect("a number");
    let before = peer.gather(Duration::from_millis(500), |m| m.status() == Some(183));
    assert!(before.is_empty(), "the 180 has no PRACK yet: {before:?}");
    let known = call.request("PRACK", "", |prack| {
        prack.push("RAck", &format!("{first} 1 INVITE"))
    });
    assert_eq!(known.status(), Some(200));
    let early = call.expect_response(183);
    assert_eq!(number_of(&early), (first + 1).to_string());
    // PRACK may describe the session anew (RFC 3262 §5).
    let elsewhere = socket();
    let moved = call.request("PRACK", "", |prack| {
        prack.push("RAck", &format!("{} 1 INVITE", first + 1));
        describe(prack, audio_at(&elsewhere, ""));
    });
    assert_eq!(moved.status(), Some(200), "{moved:?}");
    assert!(AudioLine::parse(&moved.body).is_some(), "{moved:?}");
    let updated = call.request("UPDATE", "", |r| describe(r, audio_at(&audio, "")));
    assert_eq!(
        updated.status(),
        Some(200),
        "the first offer was answered: {updated:?}"
    );

    let mut lost = peer.call("early", |invite| {
        requires(invite);
        describe(invite, audio_at(&audio, ""));
    });
    lost.expect_response(183);
    let refused = lost.expect_response(504);
    assert!(refused.header("Reason").is_some(), "{refused:?}");
}

#[test]
fn a_caller_without_an_offer_gets_ours_in_the_provisional_response() {
    let (_exchange, peer) = exchange(&[("100rel", "peer_supported")]);
    let audio = socket();
    let mut call = peer.call("early", |invite| invite.push("Supported", "100rel"));
    let early = call.expect_response(183);
    let rseq = number_of(&early);
    let at = AudioLine::parse(&early.body).expect("an offer").address;
    let answered = call.request("PRACK", "", |prack| {
        prack.push("RAck", &format!("{rseq} 1 INVITE"));
        describe(prack, audio_at(&audio, ""));
    });
    assert_eq!(answered.status(), Some(200), "{answered:?}");
    assert_eq!(answered.body, "");
    let answer = call.expect_response(200);
    assert_eq!(answer.body, "");
    call.acknowledge(&answer, |_| ());
    expect_echo(&audio, at, "offer in the 183, answer in the PRACK");
}

#[test]
fn the_first_reliable_response_has_our_offer_also_where_it_only_rings() {
    let (_exchange, peer) = exchange(&[("100rel", "peer_supported")]);
    let audio = socket();
    let mut call = peer.call("rings", |invite| invite.push("Supported", "100rel"));
    let ringing = call.expect_response(180);
    let rseq: u32 = number_of(&ringing).parse().expect("a number");
    assert!(AudioLine::parse(&ringing.body).is_some(), "{ringing:?}");
    let answered = call.request("PRACK", "", |prack| {
        prack.push("RAck", &format!("{rseq} 1 INVITE"));
        describe(prack, audio_at(&audio, ""));
    });
    assert_eq!(answered.status(), Some(200), "{answered:?}");
    let early = call.expect_response(183);
    assert_eq!(number_of(&early), (rseq + 1).to_string());
    assert_eq!(early.body, "", "the offer was made");
}

#[test]
fn a_call_whose_answer_never_left_is_no_answered_call() {
    let (exchange, peer) = exchange(&[]);
    let audio = socket();
    let offer = |invite: &mut SipText| {
        requires(invite);
        describe(invite, audio_at(&audio, ""));
    };
    let mut lost = peer.call("early", offer);
    lost.expect_response(183);
    lost.expect_response(504);
    let mut call = peer.call("early", offer);
    let early = call.expect_response(183);
    let rack = format!("{} 1 INVITE", number_of(&early));
    call.request("PRACK", "", |prack| prack.push("RAck", &rack));
    let answer = call.expect_response(200);
    call.acknowledge(&answer, |_| ());
    assert_eq!(call.request("BYE", "", |_| ()).status(), Some(200));
    // Records are stored in their order: one of the first call would be there as well.
    let answered = "WHERE disposition = 'ANSWERED'";
    exchange.expect_cdr(&["dst"], answered, 1, SOON);
}

#[test]
fn what_an_endpoint_does_not_speak_or_has_to_is_refused_by_name() {
    let (exchange, peer) = exchange(&[("100rel", "no")]);
    let mut call = peer.call("early", requires);
    let refused = call.expect_response(420);
    assert_eq!(refused.header("Unsupported"), Some("100rel"));
    drop(exchange);
    let (_exchange, peer) = self::exchange(&[("100rel", "required")]);
    let mut call = peer.call("early", |_| ());
    let refused = call.expect_response(421);
    assert_eq!(refused.header("Require"), Some("100rel"));
    let mut call = peer.call("early", |invite| invite.push("Supported", "timer, 100rel"));
    number_of(&call.expect_response(183));
}

#[test]
fn each_reliable_response_of_each_telephone_is_acknowledged_once_and_in_order() {
    let (exchange, peer) = exchange_with(&[("100rel", "required")], false);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    alice.set_source(Source::Tone(440.0));
    let outgoing = alice.call("202");
    let call = peer.called();
    assert_eq!(call.invite.header("Require"), Some("100rel"));
    let reliable = |tag: &str, status, rseq: u32, body: Option<String>| {
        call.respond(status, tag, |response| {
            requires(response);
            response.push("RSeq", &rseq.to_string());
            if let Some(body) = body {
                describe(response, body);
            }
        });
    };
    let pracks = || {
        let found = peer.gather(Duration::from_millis(400), |m| m.method() == Some("PRACK"));
        for prack in &found {
            call.answer(prack, 200, |_| ());
        }
        let mut named: Vec<String> = found
            .iter()
            .map(|prack| {
                let to = prack.header("To").unwrap_or_default();
                let tag = strowger_tests::wire::tag_of(to).unwrap_or_default();
                format!("{tag} {}", prack.header("RAck").unwrap_or_default())
            })
            .collect();
        // Those that came again before our answer.
        named.dedup();
        named
    };
    let (first, second) = (socket(), socket());
    reliable("one", 180, 7, None);
    assert_eq!(pracks(), ["one 7 1 INVITE"]);
    reliable("one", 180, 7, None);
    reliable("one", 183, 9, None);
    assert_eq!(pracks(), [""; 0], "again, and out of order");
    reliable("two", 183, 7, Some(audio_at(&second, "")));
    assert_eq!(pracks(), ["two 7 1 INVITE"]);
    reliable("one", 183, 8, Some(audio_at(&first, "")));
    assert_eq!(pracks(), ["one 8 1 INVITE"]);
    // The telephone that describes itself last is heard; the one that answers has described itself before.
    call.respond(200, "two", |_| ());
    outgoing.expect_answered(SOON);
    let heard = wait_until(SOON, || {
        while first.recv(&mut [0; 2048]).is_ok() {}
        second.recv(&mut [0; 2048]).ok()
    });
    assert_eq!(heard, Some(172), "Alice is heard by who answered");
    assert!(first.recv(&mut [0; 2048]).is_err(), "and by nobody else");
    outgoing.hang_up();
}
