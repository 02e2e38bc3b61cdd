//! Dialogs: RFC 3261 §12, §13.2.2.4, §14, rule by rule.

use std::time::Duration;

use bytes::Bytes;
use strowger_sip::dialog::{
    Dialog, DialogError, DialogId, DialogState, Fork, Forks, Outcome, Rejection,
};
use strowger_sip::flow::Transport;
use strowger_sip::headers::Via;
use strowger_sip::message::{Builder, HeaderName, Message, Method};

const CONTACT: &str = "<sip:100@192.0.2.1:5060>";

fn text(message: &str) -> Message {
    Message::parse(Bytes::from(message.replace('\n', "\r\n"))).expect("a message")
}

fn via() -> Via {
    let sent_by = "192.0.2.1:5060".parse().expect("address");
    Via::new(Transport::Udp, sent_by, "z9hG4bKmine")
}

/// A request of the peer `bob`; `extra` are whole header lines.
fn from_bob(method: &str, cseq: u32, to_tag: &str, extra: &str) -> Message {
    text(&format!(
        "{method} sip:100@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK{method}{cseq}\n\
         From: \"Bob, B.\" <sip:bob@example.org>;tag=bobs\nTo: Alice <sip:100@192.0.2.1>{to_tag}\nCall-ID: call\n\
         CSeq: {cseq} {method}\n{extra}Content-Length: 0\n\n"
    ))
}

const BOBS_CONTACT: &str = "Contact: <sip:bob@198.51.100.7:5070;transport=udp>\n";

fn called(extra: &str) -> Dialog {
    let invite = from_bob("INVITE", 10, "", extra);
    let mut dialog = Dialog::uas(&invite, "ours", CONTACT).expect("a dialog");
    assert_eq!(dialog.state(), DialogState::Early);
    dialog.responded(&Builder::response_to(&invite, 200, "").finish());
    assert_eq!(dialog.state(), DialogState::Confirmed);
    dialog
}

fn our_invite() -> Message {
    Builder::request(Method::Invite, "sip:bob@example.org")
        .header(HeaderName::Via, via().to_string())
        .header(HeaderName::From, "\"Alice\" <sip:100@192.0.2.1>;tag=ours")
        .header(HeaderName::To, "<sip:bob@example.org>")
        .header(HeaderName::CallId, "call")
        .header(HeaderName::CSeq, "7 INVITE")
        .header(HeaderName::Contact, CONTACT)
        .header(HeaderName::Authorization, "Digest username=\"100\"")
        .finish()
}

fn answer(status: u16, tag: &str, extra: &[(HeaderName, &str)]) -> Message {
    let mut builder = Builder::response_to(&our_invite(), status, "");
    if !tag.is_empty() {
        builder = builder.to_tag(tag);
    }
    for (name, value) in extra {
        builder = builder.header(name.clone(), value);
    }
    builder.finish()
}

fn contact(value: &str) -> (HeaderName, &str) {
    (HeaderName::Contact, value)
}

fn calling() -> Dialog {
    let answer = answer(200, "bobs", &[contact("<sip:bob@198.51.100.7:5070>")]);
    Dialog::uac(&our_invite(), &answer).expect("a dialog")
}

fn headers(message: &Message, name: &HeaderName) -> Vec<String> {
    message.headers(name).map(str::to_owned).collect()
}

#[test]
fn the_called_side_takes_everything_from_the_invite() {
    let dialog = called(&format!(
        "{BOBS_CONTACT}Record-Route: <sip:p2;lr>, <sip:p1;lr>\n"
    ));
    let id = dialog.id();
    assert_eq!(
        (&*id.call_id, &*id.local_tag, &*id.remote_tag),
        ("call", "ours", "bobs")
    );
    let later = from_bob("BYE", 11, ";tag=ours", "");
    assert_eq!(DialogId::of_request(&later).as_ref(), Some(id));
    // §12.1.1: the route set is the Record-Route in its order.
    let routes: Vec<String> = dialog.route_set().iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["<sip:p2;lr>", "<sip:p1;lr>"]);
    assert_eq!(dialog.next_hop().to_string(), "sip:p2;lr");
    assert!(!dialog.is_caller());
}

#[test]
fn a_request_of_the_called_side_is_built_by_the_rules() {
    let mut dialog = called(&format!(
        "{BOBS_CONTACT}Record-Route: <sip:p2;lr>\nRecord-Route: <sip:p1;lr>\n"
    ));
    let bye = dialog.request(Method::Bye, &via()).finish();
    assert_eq!(
        bye.request_uri(),
        Some("sip:bob@198.51.100.7:5070;transport=udp")
    );
    assert_eq!(
        headers(&bye, &HeaderName::Route),
        ["<sip:p2;lr>", "<sip:p1;lr>"]
    );
    // The parties as first written, display names and all, with the tags in place.
    assert_eq!(
        bye.header(&HeaderName::From),
        Some("Alice <sip:100@192.0.2.1>;tag=ours")
    );
    assert_eq!(
        bye.header(&HeaderName::To),
        Some("\"Bob, B.\" <sip:bob@example.org>;tag=bobs")
    );
    assert_eq!(bye.header(&HeaderName::CSeq), Some("1 BYE"));
    assert_eq!(bye.header(&HeaderName::MaxForwards), Some("70"));
    assert_eq!(bye.header(&HeaderName::Contact), None);
    let update = dialog.request(Method::Update, &via()).finish();
    assert_eq!(update.header(&HeaderName::CSeq), Some("2 UPDATE"));
    assert_eq!(update.header(&HeaderName::Contact), Some(CONTACT));
}

#[test]
fn the_calling_side_reverses_the_record_route_and_counts_on_from_its_invite() {
    let answer = answer(
        200,
        "bobs",
        &[
            contact("<sip:bob@198.51.100.7>"),
            (HeaderName::RecordRoute, "<sip:p2;lr>, <sip:p1;lr>"),
        ],
    );
    let mut dialog = Dialog::uac(&our_invite(), &answer).expect("a dialog");
    assert_eq!(dialog.state(), DialogState::Confirmed);
    let bye = dialog.request(Method::Bye, &via()).finish();
    assert_eq!(
        headers(&bye, &HeaderName::Route),
        ["<sip:p1;lr>", "<sip:p2;lr>"]
    );
    assert_eq!(bye.header(&HeaderName::CSeq), Some("8 BYE"));
    assert_eq!(
        bye.header(&HeaderName::To),
        Some("<sip:bob@example.org>;tag=bobs")
    );
    assert_eq!(DialogId::of_response(&answer).as_ref(), Some(dialog.id()));
}

#[test]
fn a_strict_router_stands_in_the_request_uri_and_the_target_ends_the_route() {
    // §12.2.1.1, its own example: Route <sip:proxy1> (no lr), proxy2, proxy3;lr, proxy4; remote target sip:user@remoteua.
    let invite = from_bob(
        "INVITE",
        1,
        "",
        "Contact: <sip:user@remoteua>\nRecord-Route: <sip:proxy1;method=INVITE?x=y>, <sip:proxy2>\n\
         Record-Route: <sip:proxy3;lr>, <sip:proxy4>\n",
    );
    let mut dialog = Dialog::uas(&invite, "ours", CONTACT).expect("a dialog");
    let request = dialog.request(Method::Info, &via()).finish();
    // What may not stand in a Request-URI is left out.
    assert_eq!(request.request_uri(), Some("sip:proxy1"));
    assert_eq!(
        headers(&request, &HeaderName::Route),
        [
            "<sip:proxy2>",
            "<sip:proxy3;lr>",
            "<sip:proxy4>",
            "<sip:user@remoteua>"
        ]
    );
}

#[test]
fn the_ack_for_a_2xx_has_the_number_and_credentials_of_the_invite_and_the_route_of_the_dialog() {
    let mut dialog = calling();
    // Something else was sent in between.
    let info = dialog.request(Method::Info, &via()).finish();
    assert_eq!(info.header(&HeaderName::CSeq), Some("8 INFO"));
    let ack = dialog.ack(&our_invite(), &via()).finish();
    assert_eq!(ack.method(), Some(Method::Ack));
    assert_eq!(ack.request_uri(), Some("sip:bob@198.51.100.7:5070"));
    assert_eq!(ack.header(&HeaderName::CSeq), Some("7 ACK"));
    assert_eq!(
        ack.header(&HeaderName::Authorization),
        Some("Digest username=\"100\"")
    );
    dialog.keep_ack(ack.clone());
    let again = answer(200, "bobs", &[]);
    assert_eq!(dialog.kept_ack(&again).map(Message::raw), Some(ack.raw()));
    let other = text(
        &String::from_utf8_lossy(again.raw())
            .replace("\r\n", "\n")
            .replace("7 INVITE", "9 INVITE"),
    );
    assert!(dialog.kept_ack(&other).is_none());
}

#[test]
fn requests_with_a_lower_cseq_are_refused_and_gaps_are_fine() {
    let mut dialog = called(BOBS_CONTACT);
    for (method, cseq, expected) in [
        ("INFO", 11, Ok(())),
        ("INFO", 500, Ok(())),
        ("INFO", 499, Err(Rejection::OutOfOrder)),
        ("BYE", 10, Err(Rejection::OutOfOrder)),
        // An ACK has the number of its INVITE, however old; a CANCEL too.
        ("ACK", 10, Ok(())),
        ("CANCEL", 10, Ok(())),
        ("BYE", 501, Ok(())),
    ] {
        let request = from_bob(method, cseq, ";tag=ours", "");
        assert_eq!(
            dialog.receive_request(&request),
            expected,
            "{method} {cseq}"
        );
    }
    assert_eq!(Rejection::OutOfOrder.status(), 500);
}

#[test]
fn the_calling_side_accepts_any_first_cseq() {
    let mut dialog = calling();
    let request = from_bob("INFO", 1, ";tag=ours", "");
    assert_eq!(dialog.receive_request(&request), Ok(()));
}

#[test]
fn a_refused_request_changes_nothing_and_a_good_one_moves_the_target() {
    let mut dialog = called(BOBS_CONTACT);
    let moved = "Contact: <sip:bob@203.0.113.5>\n";
    let late = from_bob("INVITE", 9, ";tag=ours", moved);
    assert!(dialog.receive_request(&late).is_err());
    assert_eq!(
        dialog.remote_target().to_string(),
        "sip:bob@198.51.100.7:5070;transport=udp"
    );
    // INFO refreshes no target (§12.2), UPDATE and re-INVITE do.
    let info = from_bob("INFO", 11, ";tag=ours", moved);
    assert!(dialog.receive_request(&info).is_ok());
    assert_ne!(dialog.remote_target().to_string(), "sip:bob@203.0.113.5");
    let update = from_bob("UPDATE", 12, ";tag=ours", moved);
    assert!(dialog.receive_request(&update).is_ok());
    assert_eq!(dialog.remote_target().to_string(), "sip:bob@203.0.113.5");
    // Without a Contact the target stays.
    let plain = from_bob("INVITE", 13, ";tag=ours", "");
    assert!(dialog.receive_request(&plain).is_ok());
    assert_eq!(dialog.remote_target().to_string(), "sip:bob@203.0.113.5");
}

#[test]
fn the_answer_to_a_reinvite_moves_the_target_but_never_the_route() {
    let mut dialog = calling();
    let reinvite = dialog.request(Method::Invite, &via()).finish();
    let answer = Builder::response_to(&reinvite, 200, "")
        .header(HeaderName::Contact, "<sip:bob@203.0.113.5>")
        .header(HeaderName::RecordRoute, "<sip:new;lr>")
        .finish();
    assert_eq!(dialog.receive_response(&answer), Outcome::Unchanged);
    assert_eq!(dialog.remote_target().to_string(), "sip:bob@203.0.113.5");
    assert!(dialog.route_set().is_empty());
}

#[test]
fn an_invite_over_an_invite_is_refused_by_500_and_crossing_ones_by_491() {
    let mut dialog = called(BOBS_CONTACT);
    let first = from_bob("INVITE", 11, ";tag=ours", "");
    assert_eq!(dialog.receive_request(&first), Ok(()));
    let second = from_bob("INVITE", 12, ";tag=ours", "");
    let Err(rejection) = dialog.receive_request(&second) else {
        panic!("accepted");
    };
    assert_eq!(rejection.status(), 500);
    assert!(rejection.retry_after_s().is_some_and(|s| s <= 10));
    // Answering the overlap leaves the first as it was.
    dialog.responded(&Builder::response_to(&second, 500, "").finish());
    assert!(dialog.is_inviting());
    dialog.responded(&Builder::response_to(&first, 200, "").finish());
    assert!(!dialog.is_inviting());
    // Now ours is under way.
    let ours = dialog.request(Method::Invite, &via()).finish();
    let crossing = from_bob("INVITE", 13, ";tag=ours", "");
    assert_eq!(dialog.receive_request(&crossing), Err(Rejection::Glare));
    assert_eq!(Rejection::Glare.status(), 491);
    dialog.receive_response(&Builder::response_to(&ours, 491, "").finish());
    assert!(!dialog.is_inviting());
    assert_eq!(
        dialog.state(),
        DialogState::Confirmed,
        "a failed re-INVITE ends nothing"
    );
    let again = from_bob("INVITE", 14, ";tag=ours", "");
    assert_eq!(dialog.receive_request(&again), Ok(()));
}

#[test]
fn after_glare_the_caller_waits_longer_than_the_called() {
    let (caller, callee) = (calling(), called(BOBS_CONTACT));
    for random in 0..1000 {
        let delay = caller.glare_delay(random);
        assert!(delay >= Duration::from_millis(2100) && delay <= Duration::from_secs(4));
        assert!(callee.glare_delay(random) <= Duration::from_secs(2));
    }
}

#[test]
fn a_481_or_408_to_a_request_inside_ends_the_dialog_other_failures_do_not() {
    for (status, outcome) in [
        (481, Outcome::Ended),
        (408, Outcome::Ended),
        (488, Outcome::Unchanged),
        (500, Outcome::Unchanged),
    ] {
        let mut dialog = calling();
        let request = dialog.request(Method::Info, &via()).finish();
        let response = Builder::response_to(&request, status, "").finish();
        assert_eq!(dialog.receive_response(&response), outcome, "{status}");
    }
    let mut dialog = calling();
    dialog.terminate();
    let request = from_bob("INFO", 99, ";tag=ours", "");
    let rejected = dialog.receive_request(&request);
    assert_eq!(rejected.map_err(Rejection::status), Err(481));
}

#[test]
fn a_bye_that_was_answered_ends_the_dialog_on_both_sides() {
    let mut dialog = called(BOBS_CONTACT);
    let bye = from_bob("BYE", 11, ";tag=ours", "");
    assert!(dialog.receive_request(&bye).is_ok());
    dialog.responded(&Builder::response_to(&bye, 200, "").finish());
    assert_eq!(dialog.state(), DialogState::Terminated);
    let mut dialog = calling();
    let bye = dialog.request(Method::Bye, &via()).finish();
    let response = Builder::response_to(&bye, 200, "").finish();
    assert_eq!(dialog.receive_response(&response), Outcome::Ended);
}

#[test]
fn an_early_dialog_of_the_called_side_ends_with_the_refusal() {
    let invite = from_bob("INVITE", 10, "", BOBS_CONTACT);
    let mut dialog = Dialog::uas(&invite, "ours", CONTACT).expect("a dialog");
    dialog.responded(&Builder::response_to(&invite, 180, "").finish());
    assert_eq!(dialog.state(), DialogState::Early);
    dialog.responded(&Builder::response_to(&invite, 486, "").finish());
    assert_eq!(dialog.state(), DialogState::Terminated);
}

#[test]
fn an_early_dialog_takes_its_route_anew_when_it_is_confirmed() {
    let early = answer(
        183,
        "bobs",
        &[
            contact("<sip:early@198.51.100.7>"),
            (HeaderName::RecordRoute, "<sip:early;lr>"),
        ],
    );
    let mut dialog = Dialog::uac(&our_invite(), &early).expect("a dialog");
    assert_eq!(dialog.state(), DialogState::Early);
    let confirmed = answer(
        200,
        "bobs",
        &[
            contact("<sip:bob@198.51.100.7>"),
            (HeaderName::RecordRoute, "<sip:p2;lr>, <sip:p1;lr>"),
        ],
    );
    assert_eq!(dialog.receive_response(&confirmed), Outcome::Confirmed);
    assert_eq!(dialog.next_hop().to_string(), "sip:p1;lr");
    assert_eq!(dialog.remote_target().to_string(), "sip:bob@198.51.100.7");
}

#[test]
fn what_creates_no_dialog_is_told_so() {
    let invite = from_bob("INVITE", 1, "", "");
    assert_eq!(
        Dialog::uas(&invite, "ours", CONTACT).err(),
        Some(DialogError::Header(HeaderName::Contact))
    );
    for (status, tag) in [(100, "bobs"), (180, ""), (486, "bobs")] {
        assert_eq!(
            Dialog::uac(&our_invite(), &answer(status, tag, &[])).err(),
            Some(DialogError::NoDialog),
            "{status}"
        );
    }
    let bad = answer(200, "bobs", &[contact("<sip:bob@198.51.100.7")]);
    assert_eq!(
        Dialog::uac(&our_invite(), &bad).err(),
        Some(DialogError::Header(HeaderName::Contact))
    );
}

#[test]
fn peers_of_rfc_2543_have_empty_tags() {
    let dialog = Dialog::uac(&our_invite(), &answer(200, "", &[])).expect("a dialog");
    assert_eq!(&*dialog.id().remote_tag, "");
    // Without a Contact the Request-URI is the target.
    assert_eq!(dialog.remote_target().to_string(), "sip:bob@example.org");
}

#[test]
fn forks_ring_in_dialogs_of_their_own_and_each_2xx_wants_its_ack() {
    let mut forks = Forks::new(our_invite());
    let reach = |tag: &'static str| {
        [contact(match tag {
            "a" => "<sip:a@198.51.100.1>",
            _ => "<sip:b@198.51.100.2>",
        })]
    };
    assert!(matches!(
        forks.receive(&answer(100, "", &[])),
        Ok(Fork::None)
    ));
    for tag in ["a", "b", "a"] {
        let response = answer(180, tag, &reach(tag));
        assert!(matches!(forks.receive(&response), Ok(Fork::Early(_))));
    }
    assert_eq!(forks.dialogs().len(), 2);
    let won = answer(200, "b", &reach("b"));
    let Ok(Fork::Accepted(dialog)) = forks.receive(&won) else {
        panic!("not accepted");
    };
    assert_eq!(dialog.remote_target().to_string(), "sip:b@198.51.100.2");
    let id = dialog.id().clone();
    let winner = forks.take(&id).expect("there");
    assert_eq!(winner.state(), DialogState::Confirmed);
    // The same again, from the same fork: its ACK was lost.
    assert!(matches!(forks.receive(&won), Ok(Fork::Repeated(again)) if again == id));
    // Another fork answers too: it exists, to be acknowledged and hung up.
    let second = answer(200, "a", &reach("a"));
    assert!(matches!(forks.receive(&second), Ok(Fork::Accepted(_))));
    assert!(matches!(forks.receive(&second), Ok(Fork::Repeated(_))));
}

#[test]
fn a_failure_ends_every_early_dialog() {
    let mut forks = Forks::new(our_invite());
    for tag in ["a", "b"] {
        forks.receive(&answer(180, tag, &[])).expect("a dialog");
    }
    assert!(matches!(
        forks.receive(&answer(486, "b", &[])),
        Ok(Fork::Failed)
    ));
    assert!(forks.dialogs().is_empty());
}

#[test]
fn a_flood_of_forks_is_cut_off_and_answers_are_heard_longer_than_ringing() {
    let mut forks = Forks::new(our_invite());
    let mut refused = 0;
    for number in 0..100 {
        let response = answer(180, &format!("t{number}"), &[]);
        if matches!(forks.receive(&response), Err(DialogError::TooManyForks)) {
            refused += 1;
        }
    }
    assert_eq!((forks.dialogs().len(), refused), (32, 68));
    let mut heard = 0;
    for number in 0..100 {
        let response = answer(200, &format!("late{number}"), &[]);
        if matches!(forks.receive(&response), Ok(Fork::Accepted(_))) {
            heard += 1;
        }
    }
    assert_eq!(heard, 32);
}

/// RFC 3261 §12.2.1.1 and §22.2: what is sent again with credentials is a new request of the dialog.
#[test]
fn a_request_that_is_sent_again_goes_by_the_present_route_under_the_newest_number() {
    let mut dialog = called(&format!(
        "{BOBS_CONTACT}Record-Route: <sip:192.0.2.99;lr>\n"
    ));
    let info = dialog
        .request(Method::Info, &via())
        .body("application/dtmf-relay", "Signal=5\r\n")
        .finish();
    let number = dialog.local_cseq();
    let _ = dialog.request(Method::Update, &via()).finish();
    let moved = from_bob(
        "UPDATE",
        11,
        ";tag=ours",
        "Contact: <sip:bob@198.51.100.8>\n",
    );
    dialog.receive_request(&moved).expect("taken");

    let again = dialog.renewed(&info, &via());
    assert_eq!(again.request_uri(), Some("sip:bob@198.51.100.8"));
    assert_eq!(
        headers(&again, &HeaderName::CSeq),
        [format!("{} INFO", number + 1)]
    );
    assert_eq!(headers(&again, &HeaderName::Route), ["<sip:192.0.2.99;lr>"]);
    assert_eq!(
        headers(&again, &HeaderName::ContentType),
        ["application/dtmf-relay"]
    );
    assert_eq!(again.body(), info.body());
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To] {
        assert_eq!(headers(&again, &name), headers(&info, &name));
    }
}
