//! Texts outside of calls: into the dialplan, and out of it.

use std::sync::Arc;

use crate::exchange::{Exchange, Manner, Phone, wait_until};

#[test]
fn a_text_goes_through_the_dialplan_to_a_telephone() {
    let desk = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            (
                "_2XX",
                "Set",
                "GLOBAL(CAME)=${MESSAGE(body)}|${EXTEN}|${CALLERID(num)}|${MESSAGE_DATA(X-Kind)}",
            ),
            ("_2XX", "Set", "GLOBAL(FROM)=${MESSAGE(from)}"),
            ("_2XX", "Set", "GLOBAL(TO)=${MESSAGE(to)}"),
            ("_2XX", "Set", "MESSAGE(body)=${MESSAGE(body)}, too"),
            ("_2XX", "MessageSend", "pjsip:desk,\"Office\" <sip:700@x>"),
            ("_2XX", "Set", "GLOBAL(STATUS)=${MESSAGE_SEND_STATUS}"),
            ("h", "Set", "GLOBAL(OVER)=yes"),
        ],
        &[&desk],
    );
    let status = exchange.send_message("205", "text/plain", "Привет");
    assert_eq!(status, 202);
    wait_until("the telephone has it", || desk.infos() == ["Привет, too"]);
    wait_until("its dialplan is over", || exchange.global("OVER") == "yes");
    assert_eq!(exchange.global("CAME"), "Привет|205|tester|greeting");
    let from = exchange.global("FROM");
    assert!(from.contains("<sip:tester@"), "{from}");
    assert!(exchange.global("TO").starts_with("pjsip:205@"));
    assert_eq!(exchange.global("STATUS"), "SUCCESS");
    assert_eq!(desk.writers(), ["700"]);
    wait_until("nothing is left of it", || exchange.shared.channels() == 0);
}

#[test]
fn texts_that_lead_nowhere_or_are_too_long_are_refused() {
    let exchange = Exchange::start(&[("200", "NoOp", "")], &[]);
    let long = "x".repeat(9000);
    for (exten, kind, body, wanted) in [
        ("300", "text/plain", "hello", 404),
        ("200", "application/im-iscomposing+xml", "<x/>", 415),
        ("200", "text/plain", long.as_str(), 413),
        ("200", "text/html", "<b>hello</b>", 202),
    ] {
        assert_eq!(
            exchange.send_message(exten, kind, body),
            wanted,
            "{exten} {kind}"
        );
    }
}

#[test]
fn an_endpoint_may_have_a_context_for_texts() {
    let exchange = Exchange::start(
        &[
            ("200", "Set", "GLOBAL(WRONG)=yes"),
            ("200@texts", "Set", "GLOBAL(RIGHT)=${CONTEXT}"),
        ],
        &[],
    );
    exchange.change_tables(|snapshot| {
        let endpoints = Arc::make_mut(&mut snapshot.endpoints);
        let tester = endpoints.get_mut("tester").expect("the tester");
        Arc::make_mut(tester).message_context = Some("texts".to_owned());
    });
    assert_eq!(exchange.send_message("200", "text/plain", "hello"), 202);
    wait_until("its dialplan ran", || exchange.global("RIGHT") == "texts");
    assert_eq!(exchange.global("WRONG"), "");
}

#[test]
fn a_call_sends_texts_and_is_told_what_was_wrong() {
    let desk = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Set", "MESSAGE(body)=hello"),
            ("100", "MessageSend", "${TO}"),
            ("100", "Set", "GLOBAL(STATUS)=${MESSAGE_SEND_STATUS}"),
        ],
        &[&desk],
    );
    let direct = format!("pjsip:desk/sip:other@{}", desk.address);
    for (to, wanted) in [
        ("xmpp:desk", "INVALID_PROTOCOL"),
        ("", "INVALID_PROTOCOL"),
        ("pjsip:nobody", "INVALID_URI"),
        ("sip:nobody@example.invalid", "INVALID_URI"),
        (direct.as_str(), "SUCCESS"),
    ] {
        exchange.shared.globals.set("TO", to);
        exchange.call("100", "");
        assert_eq!(exchange.global("STATUS"), wanted, "{to}");
    }
    wait_until("the telephone has it", || desk.infos() == ["hello"]);
}
