//! Mutated messages through every reader of [`strowger_sip::message`]: nothing may panic, and what is read keeps its bytes.

mod mutator;

use bytes::Bytes;
use mutator::fuzz;
use strowger_sip::headers::Reason;
use strowger_sip::message::{Builder, Framer, HeaderName, Message, peek};

const CORPUS: &[&str] = &[
    "INVITE sip:bob@biloxi.example.com SIP/2.0\r\nVia: SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74bf9;rport\r\nMax-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\nTo: Bob <sip:bob@biloxi.example.com>\r\nCall-ID: 3848276298220188511@atlanta.example.com\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@client.atlanta.example.com;transport=tcp>;q=0.5;expires=60\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    "SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKa;received=192.0.2.1,\r\n SIP / 2.0 / UDP b\r\nf: <tel:+7495;phone-context=x>;tag=1\r\nt: sip:b@h;tag=2\r\ni: a\r\nCSeq: 4711 INVITE\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nReason: Q.850;cause=16;text=\"x\"\r\nl: 0\r\n\r\n",
    "\r\n\r\nREGISTER sip:[::1] SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK\nFrom:a:b\nTo : \"\\\"\" <x:y>\nCall-ID: q\nCSeq: 0 REGISTER\nContact: *\nExpires: 0\n\n",
];

#[test]
fn no_mutation_of_a_message_panics_any_reader() {
    fuzz("message", CORPUS, 40_000, |bytes| {
        let _ = peek(bytes);
        let raw = Bytes::copy_from_slice(bytes);
        let mut framer = Framer::new();
        for part in bytes.chunks(7) {
            framer.push(part);
            while let Ok(Some(_)) = framer.next_frame() {}
        }
        let message = match Message::parse(raw.clone()) {
            Ok(message) => message,
            Err(error) => {
                assert!(error.offset <= bytes.len().max(1), "{error}");
                if let Some(answer) = error.response() {
                    let status = answer.status();
                    assert!(matches!(status, Some(400 | 505 | 513)));
                    assert!(!answer.reason().contains(['\r', '\n']));
                }
                return;
            }
        };
        assert_eq!(message.raw(), &raw);
        let found = peek(bytes).map(|p| p.is_request);
        // The first look may miss a Call-ID folded over several lines, but never contradicts.
        assert!(found.is_none_or(|r| r == message.is_request()));
        let checked = message.check();
        let _ = (
            message.vias(),
            message.from(),
            message.to(),
            message.contacts(),
        );
        let _ = (
            message.routes(),
            message.record_routes(),
            message.max_forwards(),
        );
        let _ = (
            message.expires(),
            message.content_type(),
            message.uri().map(|u| u.map(|u| u.to_string())),
        );
        for (name, value) in message.all_headers() {
            let name = HeaderName::parse(name);
            let _ = message.values(&name).count();
            let _ = Reason::parse_list(value);
        }
        let stamped = message.received_from(([192, 0, 2, 9], 4000).into(), true);
        // It is as if what it became had been read.
        if let Ok(read) = Message::parse(stamped.raw().clone()) {
            let headers = |message: &Message| -> Vec<(String, String)> {
                let all = message.all_headers();
                all.map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            };
            assert_eq!(headers(&stamped), headers(&read));
            assert_eq!(stamped.body(), read.body());
            assert_eq!(stamped.from().ok(), read.from().ok());
            assert_eq!(stamped.to().ok(), read.to().ok());
            assert_eq!(stamped.request_uri(), read.request_uri());
        }
        if checked.is_ok() {
            assert_eq!(stamped.via().ok().and_then(|v| v.rport()), Some(Some(4000)));
        }
        // What is written from it can be read.
        let again = Builder::from_message(&message).finish();
        let read = Message::parse(again.raw().clone());
        if let Ok(read) = &read {
            assert_eq!(read.body(), message.body());
        }
        let answer = Builder::response_to(&message, 200, "").to_tag("t").finish();
        assert_eq!(
            answer.headers(&HeaderName::Via).count(),
            message.headers(&HeaderName::Via).count()
        );
    });
}
