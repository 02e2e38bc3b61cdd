//! What becomes of a call whose device answers with another address, or says something on the way there.

use strowger_tests::peer::{Peer, audio_at, describe, socket};
use strowger_tests::{Bank, Exchange, SOON, wait_until};

fn exchange(columns: &[(&str, &str)]) -> (Exchange, Peer) {
    let mut exchange = Exchange::new();
    let mut peer = Peer::new(exchange.sip());
    exchange.trunk("peer", peer.address(), "house");
    for (name, value) in columns {
        exchange.database.execute(&format!(
            "UPDATE ps_endpoints SET {name} = '{value}' WHERE id = 'peer'"
        ));
    }
    exchange.subscriber("alice", "secret", "house");
    exchange.extension("house", "202", &[("Dial", "PJSIP/peer,60")]);
    exchange.start();
    peer.set_exchange(exchange.sip());
    (exchange, peer)
}

#[test]
fn a_redirection_to_an_address_is_followed_a_few_times_and_never_in_circles() {
    for redirect_method in ["uri_core", "uri_pjsip"] {
        let (exchange, peer) = exchange(&[("redirect_method", redirect_method)]);
        let bank = Bank::new();
        let alice = bank.phone("alice", "secret", exchange.sip());
        let outgoing = alice.call("202");
        let first = peer.called();
        let second = Peer::new(exchange.sip());
        let contact = format!("<sip:desk@{}>", second.address());
        first.respond(302, "a", |response| response.set("Contact", &contact));
        let call = second.called();
        let uri = call.invite.uri().unwrap_or_default();
        assert!(uri.starts_with("sip:desk@"), "{uri}");
        let diversion = call.invite.header("Diversion").unwrap_or_default();
        assert!(
            diversion.contains("sip:peer@"),
            "who sent it on: {diversion}"
        );
        let audio = socket();
        call.respond(200, "b", |response| {
            describe(response, audio_at(&audio, ""))
        });
        outgoing.expect_answered(SOON);
        outgoing.hang_up();

        let outgoing = alice.call("202");
        let circle = format!("<sip:desk@{}>", peer.address());
        let mut seen = std::collections::BTreeSet::new();
        while outgoing.ending().is_none() {
            let invites = peer.gather(std::time::Duration::from_millis(300), |m| {
                m.method() == Some("INVITE")
            });
            for invite in invites {
                seen.insert(invite.header("Call-ID").unwrap_or_default().to_owned());
                let mut response =
                    strowger_tests::wire::SipText::response(&invite, 302, "Moved", "c");
                response.push("Contact", &circle);
                peer.send(&response);
            }
            assert!(seen.len() < 20, "in circles");
        }
        outgoing.expect_ended(SOON);
        assert_eq!(seen.len(), 6, "the device itself, and five redirections");
    }
}

#[test]
fn who_looks_for_the_way_of_a_redirection_holds_up_no_other_telephone() {
    let mut exchange = Exchange::new();
    // A name server that never answers.
    let silent = socket();
    let at = silent.local_addr().expect("an address");
    let text = exchange.configuration();
    let sip = format!("[sip]\ndns = [\"{at}\"]\n");
    exchange.write_configuration(&text.replace("[sip]\n", &sip));
    let (mut first, mut second) = (Peer::new(exchange.sip()), Peer::new(exchange.sip()));
    for (name, peer) in [("first", &first), ("second", &second)] {
        let contact = format!("sip:{}", peer.address());
        let rows = &exchange.database;
        rows.insert("ps_aors", &[("id", name), ("contact", &contact)]);
        rows.insert(
            "ps_endpoints",
            &[
                ("id", name),
                ("aors", name),
                ("context", "house"),
                ("redirect_method", "uri_pjsip"),
            ],
        );
    }
    exchange.subscriber("alice", "secret", "house");
    exchange.extension("house", "202", &[("Dial", "PJSIP/first&PJSIP/second,60")]);
    exchange.start();
    first.set_exchange(exchange.sip());
    second.set_exchange(exchange.sip());
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let outgoing = alice.call("202");
    let (one, two) = (first.called(), second.called());
    one.respond(302, "a", |response| {
        response.set("Contact", "<sip:desk@nowhere.test>");
    });
    // Its way is being looked for.
    let asked = wait_until(SOON, || silent.recv(&mut [0; 2048]).ok());
    assert!(asked.is_some(), "the name is looked up");
    let audio = socket();
    two.respond(200, "b", |response| {
        describe(response, audio_at(&audio, ""))
    });
    outgoing.expect_answered(std::time::Duration::from_millis(1500));
    outgoing.hang_up();
}

#[test]
fn a_183_without_media_is_passed_on_unless_the_endpoint_says_otherwise() {
    let (exchange, peer) = exchange(&[]);
    let bank = Bank::new();
    let alice = bank.phone("alice", "secret", exchange.sip());
    let outgoing = alice.call("202");
    let call = peer.called();
    call.respond(183, "a", |_| ());
    outgoing.expect_status(183, SOON);
    call.respond(180, "a", |_| ());
    outgoing.expect_tone(425.0, 200, SOON);
    outgoing.hang_up();
    drop(exchange);

    let (exchange, peer) = self::exchange(&[
        ("ignore_183_without_sdp", "yes"),
        ("suppress_q850_reason_headers", "yes"),
    ]);
    let alice = bank.phone("alice", "secret", exchange.sip());
    let outgoing = alice.call("202");
    let call = peer.called();
    call.respond(183, "a", |_| ());
    call.respond(180, "a", |_| ());
    outgoing.expect_status(180, SOON);
    let told: Vec<u16> = outgoing
        .statuses()
        .iter()
        .map(|(_, status)| *status)
        .collect();
    assert!(!told.contains(&183), "{told:?}");
    let audio = socket();
    call.respond(200, "a", |response| {
        describe(response, audio_at(&audio, ""))
    });
    outgoing.expect_answered(SOON);
    outgoing.hang_up();
    let bye = call.expect_request("BYE");
    assert_eq!(bye.header("Reason"), None, "no causes for this endpoint");
}
