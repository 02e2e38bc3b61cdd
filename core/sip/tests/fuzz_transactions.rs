//! Mutated messages into a transaction layer and dialogs, mutated offers and answers into a session: nothing panics,
//! answers fit their offers, and no transaction outlives its timers.

mod mutator;

use std::time::Instant;

use bytes::Bytes;
use mutator::fuzz;
use strowger_sip::dialog::{Dialog, DialogId, Forks};
use strowger_sip::flow::{Flow, Transport};
use strowger_sip::headers::Via;
use strowger_sip::message::{Builder, HeaderName, Message, Method};
use strowger_sip::offer_answer::{Capabilities, LocalMedia, Session};
use strowger_sip::sdp::SessionDescription;
use strowger_sip::transaction::{Event, Layer, Limits, Timers};

const MESSAGES: &[&str] = &[
    "INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5070;rport;branch=z9hG4bK1\r\n\
     Record-Route: <sip:p1;lr>,<sip:p2>\r\nFrom: \"A\" <sip:a@example.org>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\nCall-ID: c\r\n\
     CSeq: 1 INVITE\r\nContact: <sip:a@198.51.100.7>\r\nContent-Length: 0\r\n\r\n",
    "CANCEL sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5070;rport;branch=z9hG4bK1\r\n\
     From: \"A\" <sip:a@example.org>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\nCall-ID: c\r\nCSeq: 1 CANCEL\r\n\r\n",
    "ACK sip:100@192.0.2.1 SIP/2.0\r\nv: SIP/2.0/UDP 198.51.100.7:5070;rport;branch=z9hG4bK1\r\n\
     f: \"A\" <sip:a@example.org>;tag=1\r\nt: <sip:100@192.0.2.1>;tag=ours\r\ni: c\r\nCSeq: 1 ACK\r\n\r\n",
    "BYE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP host;branch=old\r\nFrom: <sip:a@example.org>;tag=1\r\n\
     To: <sip:100@192.0.2.1>;tag=ours\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\r\n",
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;rport=5060;received=192.0.2.1;branch=z9hG4bKmine\r\n\
     Record-Route: <sip:p1;lr>,<sip:p2>\r\nFrom: <sip:100@192.0.2.1>;tag=ours\r\nTo: <sip:b@198.51.100.7>;tag=b\r\n\
     Call-ID: out\r\nCSeq: 7 INVITE\r\nContact: <sip:b@198.51.100.7>\r\nContent-Length: 0\r\n\r\n",
];

const DESCRIPTIONS: &[&str] = &[
    "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\nm=video 5000 RTP/AVP 97\r\n\
     m=audio 4000 RTP/AVP 0 8 96 101\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n\
     a=maxptime:60\r\na=rtcp:4003 IN IP4 198.51.100.8\r\na=sendonly\r\n",
    "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nt=0 0\r\na=inactive\r\nm=audio 65535 RTP/AVPF 111 0\r\nc=IN IP4 0.0.0.0\r\n\
     a=rtpmap:111 PCMA/8000/1\r\nm=audio 0 RTP/AVP 8\r\n",
    "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\n",
];

fn our_invite() -> Message {
    let sent_by = "192.0.2.1:5060".parse().expect("address");
    let via = Via::new(Transport::Udp, sent_by, "z9hG4bKmine");
    Builder::request(Method::Invite, "sip:b@198.51.100.7")
        .header(HeaderName::Via, via.to_string())
        .header(HeaderName::From, "<sip:100@192.0.2.1>;tag=ours")
        .header(HeaderName::To, "<sip:b@198.51.100.7>")
        .header(HeaderName::CallId, "out")
        .header(HeaderName::CSeq, "7 INVITE")
        .finish()
}

#[test]
fn mutated_messages_neither_panic_nor_leave_transactions_behind() {
    let flow = Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().expect("address"),
        remote: "198.51.100.7:40000".parse().expect("address"),
        connection: 0,
    };
    let sent_by = flow.local;
    let via = Via::new(Transport::Udp, sent_by, "z9hG4bKother");
    let start = Instant::now();
    let mut now = start;
    let mut layer = Layer::new(Timers::default(), Limits::default());
    let mut forks = Forks::new(our_invite());
    let invite = Message::parse(Bytes::from_static(MESSAGES[0].as_bytes())).expect("good");
    let mut dialog = Dialog::uas(&invite, "ours", "<sip:100@192.0.2.1>").expect("good");
    let mut count = 0u32;
    fuzz("transactions", MESSAGES, 30_000, |bytes| {
        let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes)) else {
            return;
        };
        count += 1;
        if count % 64 == 1 {
            // Something for the responses to match.
            let _ = layer.request(now, our_invite(), flow);
        }
        if message.is_request() {
            let _ = dialog.receive_request(&message);
            let _ = DialogId::of_request(&message);
            if let Ok(mut other) = Dialog::uas(&message, "ours", "<sip:100@192.0.2.1>") {
                let request = other.request(Method::Info, &via).finish();
                assert!(Message::parse(request.raw().clone()).is_ok());
            }
        } else {
            let _ = forks.receive(&message);
            dialog.receive_response(&message);
        }
        layer.receive(now, message, flow);
        while let Some(event) = layer.poll_event() {
            if let Event::Request { id, message, .. } = event {
                let status = [180, 200, 404, 487][count as usize % 4];
                let response = Builder::response_to(&message, status, "").to_tag("ours");
                layer.respond(now, id, response.finish());
            }
        }
        while let Some(transmit) = layer.poll_transmit() {
            assert!(!transmit.bytes.is_empty());
        }
        if count.is_multiple_of(512) {
            now += std::time::Duration::from_millis(700);
            layer.handle_timeout(now);
        }
    });
    assert!(
        count > 1000,
        "most of the corpus must stay readable: {count}"
    );
    while let Some(next) = layer.next_timeout() {
        layer.handle_timeout(next);
        while layer.poll_event().is_some() {}
        while layer.poll_transmit().is_some() {}
    }
    assert!(layer.is_empty());
}

#[test]
fn mutated_offers_get_answers_that_fit_and_mutated_answers_do_no_harm() {
    let local = LocalMedia::new("192.0.2.1:12000".parse().expect("address"));
    let capabilities = Capabilities::default();
    let mut taken = 0;
    fuzz("offer_answer", DESCRIPTIONS, 40_000, |bytes| {
        let Ok(theirs) = SessionDescription::parse(bytes) else {
            return;
        };
        let mut session = Session::new("-", 1);
        if let Ok((answer, agreed)) = session.answer(&theirs, &capabilities, &local) {
            taken += 1;
            assert_eq!(answer.media.len(), theirs.media.len());
            assert_eq!(answer.media.iter().filter(|m| m.port != 0).count(), 1);
            assert!(!agreed.codecs.is_empty());
            assert!((10..=60).contains(&agreed.ptime_ms));
            let written = answer.to_string();
            assert_eq!(SessionDescription::parse(written.as_bytes()), Ok(answer));
            let again = session.make_offer(&capabilities, &local).expect("settled");
            assert_eq!(again.media.len(), theirs.media.len());
            let _ = session.apply_answer(&theirs);
        }
        let mut session = Session::new("-", 1);
        session.make_offer(&capabilities, &local).expect("new");
        if let Ok(agreed) = session.apply_answer(&theirs) {
            assert!(!agreed.codecs.is_empty());
        }
    });
    assert!(taken > 1000, "most offers must stay acceptable: {taken}");
}
