//! Rules of one layer: matching, addressing, limits. What two layers do together is tested in `tests/`.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::flow::Transport;
use crate::headers::Via;
use crate::message::{Builder, HeaderName, Method};

const SOURCE: &str = "198.51.100.7:40000";

pub(super) fn flow(transport: Transport) -> Flow {
    Flow {
        transport,
        local: "192.0.2.1:5060".parse().expect("address"),
        remote: SOURCE.parse().expect("address"),
        connection: u64::from(transport != Transport::Udp),
    }
}

pub(super) fn layer() -> (Layer, Instant) {
    (
        Layer::new(Timers::default(), Limits::default()),
        Instant::now(),
    )
}

fn text(message: &str) -> Message {
    Message::parse(Bytes::from(message.replace('\n', "\r\n"))).expect("a message")
}

pub(super) fn request(method: &str, via: &str, cseq: u32, to_tag: &str) -> Message {
    text(&format!(
        "{method} sip:100@192.0.2.1 SIP/2.0\nVia: {via}\nFrom: <sip:a@example.org>;tag=from\n\
         To: <sip:100@192.0.2.1>{to_tag}\nCall-ID: call\nCSeq: {cseq} {method}\nContact: <sip:a@198.51.100.7>\n\
         Content-Length: 0\n\n"
    ))
}

pub(super) const VIA: &str = "SIP/2.0/UDP 198.51.100.7:5070;branch=z9hG4bKabc";

fn invite() -> Message {
    request("INVITE", VIA, 1, "")
}

fn events(layer: &mut Layer) -> Vec<Event> {
    std::iter::from_fn(|| layer.poll_event()).collect()
}

fn sent(layer: &mut Layer) -> Vec<(Message, Flow)> {
    std::iter::from_fn(|| layer.poll_transmit())
        .map(|t| (Message::parse(t.bytes).expect("readable"), t.flow))
        .collect()
}

fn statuses(layer: &mut Layer) -> Vec<u16> {
    let sent = sent(layer);
    sent.iter().filter_map(|(m, _)| m.status()).collect()
}

fn received_id(layer: &mut Layer) -> ServerId {
    match events(layer).as_slice() {
        [Event::Request { id, .. }] => *id,
        other => panic!("expected one request, got {other:?}"),
    }
}

pub(super) fn respond(
    layer: &mut Layer,
    now: Instant,
    id: ServerId,
    request: &Message,
    status: u16,
) -> bool {
    let response = Builder::response_to(request, status, "").to_tag("ours");
    layer.respond(now, id, response.finish())
}

pub(super) fn our_invite(branch: &str) -> Message {
    let via = Via::new(
        Transport::Udp,
        "192.0.2.1:5060".parse().expect("address"),
        branch,
    );
    Builder::request(Method::Invite, "sip:b@198.51.100.7")
        .header(HeaderName::Via, via.to_string())
        .header(HeaderName::Route, "<sip:proxy.example.org;lr>")
        .header(HeaderName::From, "<sip:100@192.0.2.1>;tag=ours")
        .header(HeaderName::To, "<sip:b@198.51.100.7>")
        .header(HeaderName::CallId, "out")
        .header(HeaderName::CSeq, "7 INVITE")
        .finish()
}

pub(super) fn answer(request: &Message, status: u16) -> Message {
    Builder::response_to(request, status, "")
        .to_tag("theirs")
        .finish()
}

#[test]
fn a_retransmitted_invite_is_answered_from_the_transaction() {
    let (mut layer, now) = layer();
    layer.receive(now, invite(), flow(Transport::Udp));
    let id = received_id(&mut layer);
    assert!(sent(&mut layer).is_empty());
    // Before the user says anything: 100 at once.
    layer.receive(now, invite(), flow(Transport::Udp));
    assert_eq!(statuses(&mut layer), [100]);
    assert!(respond(&mut layer, now, id, &invite(), 180));
    layer.receive(now, invite(), flow(Transport::Udp));
    assert_eq!(statuses(&mut layer), [180, 180]);
    assert!(events(&mut layer).is_empty());
    assert_eq!(layer.counters().retransmissions_received, 2);
}

#[test]
fn an_ack_with_the_branch_of_the_invite_is_absorbed_after_a_failure_and_told_after_a_2xx() {
    for (status, told) in [(486, false), (200, true)] {
        let (mut layer, now) = layer();
        layer.receive(now, invite(), flow(Transport::Udp));
        let id = received_id(&mut layer);
        respond(&mut layer, now, id, &invite(), status);
        layer.receive(
            now,
            request("ACK", VIA, 1, ";tag=ours"),
            flow(Transport::Udp),
        );
        let events = events(&mut layer);
        let acked =
            |e: &Event| matches!(e, Event::Ack { invite: Some(invite), .. } if *invite == id);
        assert_eq!(events.iter().any(acked), told, "{events:?}");
        assert_eq!(layer.counters().acks_absorbed, u64::from(!told));
    }
}

#[test]
fn an_ack_with_a_branch_of_its_own_goes_to_the_user() {
    let (mut layer, now) = layer();
    let ack = request("ACK", &VIA.replace("abc", "new"), 1, ";tag=ours");
    layer.receive(now, ack, flow(Transport::Udp));
    assert!(matches!(
        events(&mut layer).as_slice(),
        [Event::Ack { invite: None, .. }]
    ));
    assert!(sent(&mut layer).is_empty());
}

#[test]
fn peers_of_rfc_2543_are_matched_without_the_cookie() {
    for via in [
        "SIP/2.0/UDP 198.51.100.7:5070",
        "SIP/2.0/UDP 198.51.100.7:5070;branch=1",
    ] {
        let (mut layer, now) = layer();
        let invite = request("INVITE", via, 1, "");
        layer.receive(now, invite.clone(), flow(Transport::Udp));
        let id = received_id(&mut layer);
        layer.receive(now, invite.clone(), flow(Transport::Udp));
        assert!(events(&mut layer).is_empty(), "absorbed");
        layer.receive(now, request("CANCEL", via, 1, ""), flow(Transport::Udp));
        assert!(matches!(
            events(&mut layer).as_slice(),
            [Event::Cancel { invite, .. }] if *invite == id
        ));
        respond(&mut layer, now, id, &invite, 487);
        layer.receive(
            now,
            request("ACK", via, 1, ";tag=ours"),
            flow(Transport::Udp),
        );
        assert_eq!(layer.counters().acks_absorbed, 1);
        // Another CSeq is another request.
        layer.receive(now, request("INVITE", via, 2, ""), flow(Transport::Udp));
        received_id(&mut layer);
    }
}

#[test]
fn responses_go_to_the_source_address_at_the_port_that_the_via_asks_for() {
    let table = [
        (
            "SIP/2.0/UDP 198.51.100.7:5070;branch=z9hG4bK1",
            "198.51.100.7:5070",
            "",
        ),
        (
            "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1",
            "198.51.100.7:5060",
            "",
        ),
        (
            "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1",
            "198.51.100.7:5070",
            ";received=198.51.100.7",
        ),
        (
            "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;rport",
            SOURCE,
            ";rport=40000;received=198.51.100.7",
        ),
        (
            "SIP/2.0/UDP 198.51.100.7:5070;branch=z9hG4bK1;maddr=203.0.113.9",
            "198.51.100.7:5070",
            "",
        ),
    ];
    for (via, target, stamped) in table {
        let (mut layer, now) = layer();
        layer.receive(now, request("OPTIONS", via, 1, ""), flow(Transport::Udp));
        let Some(Event::Request { id, message, .. }) = layer.poll_event() else {
            panic!("no request");
        };
        assert!(respond(&mut layer, now, id, &message, 200));
        let (response, to) = sent(&mut layer).remove(0);
        assert_eq!(to.remote, target.parse().expect("address"), "{via}");
        assert_eq!(to.local, flow(Transport::Udp).local);
        let written = response.header(&HeaderName::Via).expect("a Via");
        for part in stamped.split(';') {
            assert!(written.contains(part), "{written} lacks {part}");
        }
    }
}

#[test]
fn over_tcp_responses_use_the_connection_and_force_rport_uses_the_source() {
    let (mut layer, now) = layer();
    let via = VIA.replace("UDP", "TCP");
    layer.receive(now, request("OPTIONS", &via, 1, ""), flow(Transport::Tcp));
    let id = received_id(&mut layer);
    respond(&mut layer, now, id, &invite(), 200);
    assert_eq!(sent(&mut layer)[0].1, flow(Transport::Tcp));
    assert!(matches!(
        events(&mut layer).as_slice(),
        [Event::ServerTerminated { .. }]
    ));
    layer.receive(now, request("OPTIONS", VIA, 1, ""), flow(Transport::Udp));
    let id = received_id(&mut layer);
    layer.reply_to_source(id);
    respond(&mut layer, now, id, &invite(), 200);
    assert_eq!(sent(&mut layer)[0].1, flow(Transport::Udp));
}

#[test]
fn a_request_that_came_by_two_paths_is_answered_482_once_and_its_ack_absorbed() {
    let (mut layer, now) = layer();
    layer.receive(now, invite(), flow(Transport::Udp));
    received_id(&mut layer);
    let other = VIA.replace("abc", "other");
    layer.receive(now, request("INVITE", &other, 1, ""), flow(Transport::Udp));
    assert_eq!(statuses(&mut layer), [482]);
    layer.receive(
        now,
        request("ACK", &other, 1, ";tag=x"),
        flow(Transport::Udp),
    );
    assert!(events(&mut layer).is_empty());
    assert_eq!(layer.counters().requests_merged, 1);
    // Inside a dialog the same is an error of the sender, not a loop (§8.2.2.2 speaks of requests without a To tag).
    let third = VIA.replace("abc", "third");
    layer.receive(
        now,
        request("INVITE", &third, 1, ";tag=x"),
        flow(Transport::Udp),
    );
    received_id(&mut layer);
}

#[test]
fn a_cancel_is_answered_with_the_tag_of_the_invite_or_with_481() {
    let (mut layer, now) = layer();
    let cancel = || request("CANCEL", VIA, 1, "");
    layer.receive(now, cancel(), flow(Transport::Udp));
    assert_eq!(statuses(&mut layer), [481]);
    assert!(events(&mut layer).is_empty());
    let (mut layer, now) = self::layer();
    layer.receive(now, invite(), flow(Transport::Udp));
    let id = received_id(&mut layer);
    respond(&mut layer, now, id, &invite(), 180);
    sent(&mut layer);
    layer.receive(now, cancel(), flow(Transport::Udp));
    layer.receive(now, cancel(), flow(Transport::Udp));
    let answers = sent(&mut layer);
    assert_eq!(answers.len(), 2);
    for (answer, _) in answers {
        assert_eq!(answer.status(), Some(200));
        assert_eq!(answer.to().expect("To").tag(), Some("ours"));
    }
    assert_eq!(events(&mut layer).len(), 1, "told once");
    // A CANCEL after the final response is answered and changes nothing.
    respond(&mut layer, now, id, &invite(), 200);
    sent(&mut layer);
    layer.receive(now, cancel(), flow(Transport::Udp));
    assert_eq!(statuses(&mut layer), [200]);
    assert!(events(&mut layer).is_empty());
}

#[test]
fn beyond_the_limit_new_calls_get_503_but_dialogs_go_on() {
    let limits = Limits {
        client: 1,
        server: 4,
        retry_after_s: 9,
        ..Limits::default()
    };
    let mut layer = Layer::new(Timers::default(), limits);
    let now = Instant::now();
    for number in 0..5 {
        let via = format!("{VIA}{number}");
        layer.receive(
            now,
            request("OPTIONS", &via, number, ""),
            flow(Transport::Udp),
        );
    }
    assert_eq!(events(&mut layer).len(), 4);
    let (refusal, _) = sent(&mut layer).remove(0);
    assert_eq!(refusal.status(), Some(503));
    assert_eq!(refusal.header(&HeaderName::RetryAfter), Some("9"));
    assert_eq!(layer.counters().requests_refused, 1);
    let bye = request("BYE", &format!("{VIA}x"), 9, ";tag=ours");
    layer.receive(now, bye, flow(Transport::Udp));
    received_id(&mut layer);
    let client = layer.request(now, our_invite("z9hG4bK1"), flow(Transport::Udp));
    assert!(client.is_ok());
    let client = layer.request(now, our_invite("z9hG4bK2"), flow(Transport::Udp));
    assert_eq!(client, Err(RequestError::Full));
}

#[test]
fn answered_requests_take_no_room_from_new_ones_and_the_oldest_are_forgotten() {
    let limits = Limits {
        server: 1,
        absorbing: 2,
        ..Limits::default()
    };
    let mut layer = Layer::new(Timers::default(), limits);
    let now = Instant::now();
    let options = |number: u32| request("OPTIONS", &format!("{VIA}{number}"), number, "");
    for number in 0..3 {
        layer.receive(now, options(number), flow(Transport::Udp));
        let id = received_id(&mut layer);
        assert!(layer.respond(now, id, answer(&options(number), 200)));
        assert_eq!(statuses(&mut layer), [200]);
    }
    assert_eq!(layer.counters().requests_refused, 0);
    assert_eq!(layer.counters().absorbing_forgotten, 1);
    assert_eq!(layer.server_count(), 2);
    // The two younger ones are absorbed and answered as before, the oldest is a new request.
    for number in [2, 1] {
        layer.receive(now, options(number), flow(Transport::Udp));
        assert_eq!(statuses(&mut layer), [200]);
    }
    assert_eq!(layer.counters().retransmissions_received, 2);
    drop(events(&mut layer));
    layer.receive(now, options(0), flow(Transport::Udp));
    let again = received_id(&mut layer);
    assert!(layer.respond(now, again, answer(&options(0), 200)));
    drop(statuses(&mut layer));
    layer.handle_timeout(now + Timers::default().linger());
    drop(events(&mut layer));
    assert_eq!(layer.server_count(), 0);
    layer.handle_timeout(now + 2 * Timers::default().linger());
    assert!(layer.is_empty());
}

#[test]
fn answered_calls_take_no_room_from_new_ones_and_refused_ones_do_until_their_ack() {
    let limits = Limits {
        server: 1,
        ..Limits::default()
    };
    let mut layer = Layer::new(Timers::default(), limits);
    let now = Instant::now();
    let invite = |number: u32| request("INVITE", &format!("{VIA}{number}"), number, "");
    for (number, status) in [(0, 200), (1, 200), (2, 486)] {
        layer.receive(now, invite(number), flow(Transport::Udp));
        let id = received_id(&mut layer);
        assert!(layer.respond(now, id, answer(&invite(number), status)));
        assert_eq!(statuses(&mut layer), [status]);
    }
    layer.receive(now, invite(3), flow(Transport::Udp));
    assert_eq!(statuses(&mut layer), [503], "the refused one is at work");
    // The 2xx may be repeated, and the INVITE of an answered call is absorbed.
    layer.receive(now, invite(1), flow(Transport::Udp));
    assert!(sent(&mut layer).is_empty());
    assert_eq!(layer.counters().retransmissions_received, 1);
    // A CANCEL that crosses the 200 is answered with the tag of the 200 (§9.2).
    layer.receive(
        now,
        request("CANCEL", &format!("{VIA}1"), 1, ""),
        flow(Transport::Udp),
    );
    let crossed = sent(&mut layer);
    assert_eq!(crossed.len(), 1);
    let tag = |message: &Message| message.to().expect("a To").tag().map(str::to_owned);
    assert_eq!(tag(&crossed[0].0), tag(&answer(&invite(1), 200)));
}

#[test]
fn requests_without_a_branch_of_their_own_are_not_sent() {
    let (mut layer, now) = layer();
    let send = |layer: &mut Layer, message| layer.request(now, message, flow(Transport::Udp));
    assert_eq!(
        send(&mut layer, our_invite("old")),
        Err(RequestError::NoBranch)
    );
    assert!(send(&mut layer, our_invite("z9hG4bK1")).is_ok());
    assert_eq!(
        send(&mut layer, our_invite("z9hG4bK1")),
        Err(RequestError::BranchInUse)
    );
    let response = answer(&our_invite("z9hG4bK2"), 200);
    assert_eq!(send(&mut layer, response), Err(RequestError::NotARequest));
    let ack = request("ACK", VIA, 1, ";tag=x");
    assert_eq!(send(&mut layer, ack), Err(RequestError::NotARequest));
}

#[test]
fn the_ack_for_a_failure_and_the_cancel_repeat_the_invite() {
    let (mut layer, now) = layer();
    let invite = our_invite("z9hG4bK1");
    let id = layer
        .request(now, invite.clone(), flow(Transport::Udp))
        .expect("sent");
    assert!(layer.cancel(
        now,
        id,
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    ));
    assert_eq!(sent(&mut layer).len(), 1, "CANCEL waits");
    layer.receive(now, answer(&invite, 180), flow(Transport::Udp));
    let (cancel, _) = sent(&mut layer).remove(0);
    layer.receive(now, answer(&cancel, 200), flow(Transport::Udp));
    assert!(sent(&mut layer).is_empty());
    layer.receive(now, answer(&invite, 487), flow(Transport::Udp));
    layer.receive(now, answer(&invite, 487), flow(Transport::Udp));
    let acks = sent(&mut layer);
    assert_eq!(acks.len(), 2, "an ACK for each 487");
    let ack = &acks[0].0;
    for (message, method, to_tag) in [(&cancel, "CANCEL", None), (ack, "ACK", Some("theirs"))] {
        assert_eq!(message.method_str(), method);
        assert_eq!(message.request_uri(), invite.request_uri());
        for name in [
            HeaderName::Via,
            HeaderName::Route,
            HeaderName::From,
            HeaderName::CallId,
        ] {
            assert_eq!(
                message.header(&name),
                invite.header(&name),
                "{method} {name}"
            );
        }
        assert_eq!(message.to().expect("To").tag(), to_tag);
        assert_eq!(
            message.header(&HeaderName::CSeq),
            Some(format!("7 {method}").as_str())
        );
    }
    assert!(cancel.header(&HeaderName::Reason).is_some());
    let told: Vec<u16> = events(&mut layer)
        .iter()
        .filter_map(|event| match event {
            Event::Response {
                id: of, message, ..
            } if *of == id => message.status(),
            _ => None,
        })
        .collect();
    assert_eq!(told, [180, 487], "the CANCEL's own 200 stays inside");
}

#[test]
fn responses_that_are_not_for_us_are_dropped_and_counted() {
    let (mut layer, now) = layer();
    let invite = our_invite("z9hG4bK1");
    layer
        .request(now, invite.clone(), flow(Transport::Udp))
        .expect("sent");
    sent(&mut layer);
    let altered = |from: &str, to: &str| {
        let response = answer(&invite, 200);
        let raw = String::from_utf8(response.raw().to_vec()).expect("text");
        Message::parse(Bytes::from(raw.replacen(from, to, 1))).expect("a message")
    };
    layer.receive(now, altered("z9hG4bK1", "z9hG4bK2"), flow(Transport::Udp));
    assert_eq!(layer.counters().responses_unmatched, 1);
    layer.receive(
        now,
        altered("192.0.2.1:5060", "192.0.2.2:5060"),
        flow(Transport::Udp),
    );
    layer.receive(
        now,
        altered("\r\nFrom", "\r\nVia: SIP/2.0/UDP other\r\nFrom"),
        flow(Transport::Udp),
    );
    assert_eq!(layer.counters().responses_foreign, 2);
    assert!(events(&mut layer).is_empty());
    layer.receive(now, altered("nothing", ""), flow(Transport::Udp));
    assert_eq!(events(&mut layer).len(), 1);
}

#[test]
fn a_request_with_a_broken_from_is_answered_400_and_an_ack_never() {
    let (mut layer, now) = layer();
    for (method, answered) in [("OPTIONS", &[400][..]), ("ACK", &[])] {
        let message = request(method, VIA, 1, "");
        let text = String::from_utf8(message.raw().to_vec()).expect("text");
        let broken = text.replace("<sip:a@example.org>", "<sip:a@example.org");
        let broken = Message::parse(Bytes::from(broken)).expect("a message");
        layer.receive(now, broken, flow(Transport::Udp));
        assert_eq!(statuses(&mut layer), answered, "{method}");
    }
    assert_eq!(layer.counters().requests_malformed, 2);
    assert!(layer.is_empty());
}

#[test]
fn a_request_that_the_user_never_answers_is_dropped_and_told() {
    let (mut layer, now) = layer();
    layer.receive(now, request("INFO", VIA, 1, ";tag=x"), flow(Transport::Udp));
    let id = received_id(&mut layer);
    layer.handle_timeout(now + Duration::from_secs(32));
    assert!(matches!(
        events(&mut layer).as_slice(),
        [Event::Abandoned { id: left }, Event::ServerTerminated { .. }] if *left == id
    ));
    assert!(layer.is_empty());
}

#[test]
fn several_2xx_of_forks_are_all_told() {
    let (mut layer, now) = layer();
    let invite = our_invite("z9hG4bK1");
    layer
        .request(now, invite.clone(), flow(Transport::Udp))
        .expect("sent");
    for tag in ["a", "b", "a"] {
        let response = Builder::response_to(&invite, 200, "").to_tag(tag).finish();
        layer.receive(now, response, flow(Transport::Udp));
    }
    assert_eq!(events(&mut layer).len(), 3);
    layer.handle_timeout(now + Duration::from_secs(32));
    assert!(matches!(
        events(&mut layer).as_slice(),
        [Event::ClientTerminated { .. }]
    ));
}

#[test]
fn a_lost_connection_ends_what_depends_on_it_and_nothing_else() {
    let (mut layer, now) = layer();
    let lost = flow(Transport::Tcp);
    let other = Flow {
        connection: 2,
        ..lost
    };
    let first = layer
        .request(now, our_invite("z9hG4bK1"), lost)
        .expect("sent");
    layer
        .request(now, our_invite("z9hG4bK2"), other)
        .expect("sent");
    layer.receive(now, invite(), lost);
    let server = received_id(&mut layer);
    layer.transport_failed(now, &lost);
    let events = events(&mut layer);
    assert!(matches!(
        events.as_slice(),
        [
            Event::TransportError { id },
            Event::ClientTerminated { .. },
            Event::ResponseFailed { id: failed },
            Event::ServerTerminated { .. },
        ] if *id == first && *failed == server
    ));
    assert_eq!(layer.client_count(), 1);
    assert!(!respond(&mut layer, now, server, &invite(), 200));
    assert_eq!(layer.counters().responses_late, 1);
}

#[test]
fn a_forgotten_request_leaves_nothing() {
    let (mut layer, now) = layer();
    let id = layer
        .request(now, our_invite("z9hG4bK1"), flow(Transport::Udp))
        .expect("sent");
    sent(&mut layer);
    layer.forget(id);
    layer.handle_timeout(now);
    assert!(layer.is_empty());
}

#[test]
fn the_timer_queue_does_not_grow_with_calls_that_are_over() {
    let (mut layer, now) = layer();
    for number in 0..20_000u32 {
        let via = format!("{}{number}", VIA.replace("UDP", "TCP"));
        layer.receive(
            now,
            request("OPTIONS", &via, number, ""),
            flow(Transport::Tcp),
        );
        let id = received_id(&mut layer);
        respond(&mut layer, now, id, &invite(), 200);
        sent(&mut layer);
        events(&mut layer);
    }
    assert_eq!(layer.server_count(), 0);
    assert!(layer.queue_length() <= 65, "{}", layer.queue_length());
}

#[test]
fn a_stateless_answer_leaves_nothing_and_is_the_same_for_a_repetition() {
    let (mut layer, now) = layer();
    let mut tags = Vec::new();
    for round in 0..3 {
        layer.receive(now, invite(), flow(Transport::Udp));
        let id = received_id(&mut layer);
        let tag = layer.stateless_tag(id);
        let response = Builder::response_to(&invite(), 401, "").to_tag(&tag);
        let response = response.finish();
        assert!(layer.respond_stateless(id, &response));
        assert!(!layer.respond_stateless(id, &response), "{round}");
        assert_eq!(statuses(&mut layer), [401]);
        assert_eq!(layer.server_count(), 0);
        assert!(events(&mut layer).is_empty());
        tags.push(tag);
    }
    assert!(tags[0].len() >= 8 && tags.iter().all(|tag| *tag == tags[0]));
    layer.receive(
        now,
        request("ACK", VIA, 1, ";tag=ours"),
        flow(Transport::Udp),
    );
    assert_eq!(layer.server_count(), 0);
    events(&mut layer);
    layer.handle_timeout(now + Duration::from_secs(100));
    assert!(sent(&mut layer).is_empty());
    // One that is forgotten is not answered either.
    layer.receive(now, invite(), flow(Transport::Udp));
    let id = received_id(&mut layer);
    layer.forget_request(id);
    layer.handle_timeout(now + Duration::from_secs(200));
    assert!(layer.is_empty(), "something is left");
}

#[test]
fn what_is_over_on_a_connection_is_not_kept_in_mind() {
    let (mut layer, now) = layer();
    let stream = |connection| Flow {
        connection,
        ..flow(Transport::Tcp)
    };
    for number in 0..1000 {
        let branch = format!("z9hG4bKover{number}");
        let id = layer.request(now, our_invite(&branch), stream(7));
        layer.forget(id.expect("sent"));
    }
    assert!(layer.remembered() < 16, "{}", layer.remembered());
    for connection in 10..5000 {
        let branch = format!("z9hG4bKmany{connection}");
        let id = layer.request(now, our_invite(&branch), stream(connection));
        layer.forget(id.expect("sent"));
    }
    assert!(layer.remembered() < 2000, "{}", layer.remembered());
    let last = layer
        .request(now, our_invite("z9hG4bKlast"), stream(7))
        .expect("sent");
    layer.transport_failed(now, &stream(7));
    let ended = events(&mut layer);
    assert!(matches!(ended.first(), Some(Event::TransportError { id }) if *id == last));
}

#[test]
fn what_belongs_to_nothing_or_cannot_be_understood_is_counted() {
    let (mut layer, now) = layer();
    layer.receive(now, request("CANCEL", VIA, 1, ""), flow(Transport::Udp));
    assert_eq!(layer.refused(), 1, "a CANCEL for nothing");
    let broken = request("OPTIONS", VIA, 1, "").raw().to_vec();
    let broken = String::from_utf8(broken).expect("a text");
    let broken = broken.replace("<sip:a@example.org>;tag=from", "<sip:a@example.org");
    let broken = text(&broken.replace("\r\n", "\n"));
    layer.receive(now, broken, flow(Transport::Udp));
    assert_eq!(layer.refused(), 2, "a request from nobody");
    layer.receive(now, invite(), flow(Transport::Udp));
    layer.receive(now, request("CANCEL", VIA, 1, ""), flow(Transport::Udp));
    assert_eq!(layer.refused(), 2, "a CANCEL for an INVITE that is here");
}
