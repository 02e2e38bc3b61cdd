use super::*;

fn parse(text: &str) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
}

const BASE: &str = "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
                    Call-ID: c@h\r\nCSeq: 7 INVITE\r\n";

fn invite(more: &str) -> String {
    format!("INVITE sip:b@h SIP/2.0\r\n{BASE}{more}\r\n")
}

#[test]
fn a_request_is_indexed_and_kept_byte_for_byte() {
    let text = invite("X-Odd:   a  b \r\nl: 4\r\nContact: *\r\n") + "bodytrailing";
    let m = parse(&text).unwrap();
    assert_eq!(&**m.raw(), text.as_bytes());
    assert!(m.is_request() && m.is_method(&Method::Invite));
    assert_eq!(
        (m.method_str(), m.request_uri()),
        ("INVITE", Some("sip:b@h"))
    );
    assert_eq!(m.status(), None);
    assert_eq!(m.header(&"x-odd".into()), Some("a  b"));
    assert_eq!(m.body(), b"body");
    assert_eq!(m.contacts().unwrap(), Contacts::Star);
    assert_eq!(m.cseq().unwrap().number, 7);
    assert_eq!(m.call_id().unwrap(), "c@h");
    assert_eq!(m.via().unwrap().branch(), Some("z9hG4bK1"));
    assert_eq!(m.all_headers().count(), 8);
    m.check().unwrap();
}

#[test]
fn a_response_has_status_and_reason() {
    let m = parse(&format!("SIP/2.0 183 Во время\r\n{BASE}\r\n")).unwrap();
    assert_eq!((m.status(), m.reason()), (Some(183), "Во время"));
    assert_eq!(
        parse(&format!("SIP/2.0 200\r\n{BASE}\r\n"))
            .unwrap()
            .reason(),
        ""
    );
    assert_eq!(
        parse(&format!("SIP/2.0 200 \r\n{BASE}\r\n"))
            .unwrap()
            .reason(),
        ""
    );
}

#[test]
fn folded_and_foreign_bytes_have_a_text_and_exact_bytes() {
    let mut raw = invite("").into_bytes();
    raw.truncate(raw.len() - 2);
    raw.extend_from_slice(b"Subject: one \r\n\t two\r\n  three\r\nX-Bin: \xff\xfe a\r\n\r\n");
    let m = Message::parse(raw.into()).unwrap();
    assert_eq!(m.header(&HeaderName::Subject), Some("one two three"));
    assert_eq!(
        m.header_bytes(&HeaderName::Subject),
        Some(&b"one \r\n\t two\r\n  three"[..])
    );
    assert_eq!(m.header(&"X-Bin".into()), Some("\u{fffd}\u{fffd} a"));
    assert_eq!(m.header_bytes(&"X-Bin".into()), Some(&b"\xff\xfe a"[..]));
}

#[test]
fn lists_run_over_lines_and_commas() {
    let m = parse(&invite("Route: <sip:a;lr>, \"x, y\" <sip:b>\r\nSupported:\r\nk: 100rel,,path\r\nRoute: <sip:c>\r\n"))
        .unwrap();
    let routes = m.routes().unwrap();
    assert_eq!(routes.len(), 3);
    assert_eq!(routes[1].display.as_deref(), Some("x, y"));
    assert!(m.lists(&HeaderName::Supported, "PATH"));
    assert!(!m.lists(&HeaderName::Supported, "timer"));
}

#[test]
fn every_mandatory_header_is_missed_and_the_sender_answered() {
    for (line, name) in [
        ("Via: ", HeaderName::Via),
        ("From: ", HeaderName::From),
        ("To: ", HeaderName::To),
        ("Call-ID: ", HeaderName::CallId),
        ("CSeq: ", HeaderName::CSeq),
    ] {
        let text: String = invite("")
            .split_inclusive("\r\n")
            .filter(|l| !l.starts_with(line))
            .collect();
        let error = parse(&text).unwrap_err();
        assert_eq!(error.kind, ParseErrorKind::Missing(name.clone()));
        let answerable = !matches!(name, HeaderName::Via | HeaderName::CSeq);
        assert_eq!(error.response().is_some(), answerable, "{name}");
        if let Some(answer) = error.response() {
            assert_eq!(answer.status(), Some(400));
            assert!(answer.reason().contains(name.as_str()));
            assert_eq!(
                answer.header(&HeaderName::Via),
                Some("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1")
            );
        }
    }
}

#[test]
fn errors_say_what_and_where() {
    let check = |text: &str, kind: &str, line: usize| {
        let error = parse(text).unwrap_err();
        assert!(
            format!("{error}").contains(kind) && error.line == line,
            "{text:?}: {error}"
        );
    };
    check("", "empty", 1);
    check("\r\n\r\n", "empty", 1);
    check("INVITE sip:b SIP/2.0", "never end", 1);
    check(invite("").trim_end(), "never end", 6);
    check(&invite("bad header\r\n"), "no ':'", 7);
    check(&invite(": x\r\n"), "no header name", 7);
    check(&invite("a b: x\r\n"), "no ':'", 7);
    check(
        &invite("Content-Length: 1\r\n"),
        "Content-Length is 1 but 0 bytes follow",
        7,
    );
    check(&invite("Content-Length: -9\r\n"), "not a number", 7);
    check(
        &invite("Content-Length: 0\r\nl: 0\r\n"),
        "stands more than once",
        8,
    );
    check(
        &invite("From: <sip:x@y>\r\n"),
        "From stands more than once",
        7,
    );
    check(
        &invite("").replace("CSeq: 7 INVITE", "CSeq: 7 BYE"),
        "CSeq method",
        6,
    );
    check(&invite("").replace("CSeq: 7", "CSeq: x"), "not a number", 6);
    check(
        &invite("").replace("SIP/2.0\r\n", "SIP/7.0\r\n"),
        "version is not 2.0",
        1,
    );
    check(&format!("SIP/2.0 99 x\r\n{BASE}\r\n"), "status", 1);
    check(&format!("SIP/2.0 4294967301 x\r\n{BASE}\r\n"), "status", 1);
    check(&format!("SIP/2.0\r\n{BASE}\r\n"), "status", 1);
    let error = parse(&invite("").replace("SIP/2.0\r\n", "SIP/7.0\r\n")).unwrap_err();
    assert_eq!(error.response().and_then(|r| r.status()), Some(505));
    // A response and an ACK are never answered.
    assert!(
        parse(&format!("SIP/2.0 200 x\r\n{BASE}l: 9\r\n\r\n"))
            .unwrap_err()
            .response()
            .is_none()
    );
    let ack = invite("l: 9\r\n").replace("INVITE", "ACK");
    assert!(parse(&ack).unwrap_err().response().is_none());
}

#[test]
fn limits_hold() {
    let many = "X: y\r\n".repeat(HEADERS_MAX);
    assert_eq!(
        parse(&invite(&many)).unwrap_err().kind,
        ParseErrorKind::TooManyHeaders { max: HEADERS_MAX }
    );
    let fits = "X: y\r\n".repeat(HEADERS_MAX - 5);
    assert!(parse(&invite(&fits)).is_ok());
    let error = parse(&(invite("") + &"x".repeat(MESSAGE_LENGTH_MAX))).unwrap_err();
    assert!(matches!(error.kind, ParseErrorKind::TooLarge { .. }));
    assert_eq!(error.response().and_then(|r| r.status()), Some(513));
}

#[test]
fn check_reads_what_a_request_relies_on() {
    for (line, what) in [
        ("Max-Forwards: 300\r\n", "Max-Forwards"),
        ("Contact: <sip:a@h>;;;\r\n", "Contact"),
        ("Route: <sip:\r\n", "Route"),
        ("Via: SIP/2.0/UDP\r\n", "Via"),
        ("Via:\r\n", "Via"),
    ] {
        let error = parse(&invite(line)).unwrap().check().unwrap_err();
        assert!(error.to_string().starts_with(what), "{error}");
        assert_eq!(error.line, 7);
        assert_eq!(error.response().and_then(|r| r.status()), Some(400));
    }
}

#[test]
fn expires_is_cut_or_replaced_and_max_forwards_read() {
    let m = parse(&invite("Expires: 99999999999\r\nMax-Forwards: 70\r\n")).unwrap();
    assert_eq!(
        (m.expires(), m.max_forwards().unwrap()),
        (Some(u32::MAX), Some(70))
    );
    let m = parse(&invite("Expires: soon\r\n")).unwrap();
    assert_eq!((m.expires(), m.max_forwards().unwrap()), (Some(3600), None));
}

#[test]
fn a_built_message_reads_back() {
    let m = Builder::request(Method::Invite, "sip:b@h")
        .header(HeaderName::Via, "SIP/2.0/UDP h;branch=z9hG4bKx")
        .header(HeaderName::From, "<sip:a@h>;tag=1")
        .header(HeaderName::To, "<sip:b@h>")
        .header(HeaderName::CallId, "c")
        .header("cseq", "1 INVITE")
        .body("application/sdp", "v=0\r\n")
        .finish();
    let again = Message::parse(m.raw().clone()).unwrap();
    assert_eq!(again.body(), b"v=0\r\n");
    assert!(again.has_content("Application/SDP"));
    assert_eq!(again.header(&HeaderName::ContentLength), Some("5"));
    let changed = Builder::from_message(&again)
        .set(HeaderName::To, "<sip:c@h>")
        .remove("Content-Type")
        .header_first(HeaderName::Via, "SIP/2.0/TCP t;branch=z9hG4bKy")
        .finish();
    assert_eq!(changed.vias().unwrap().len(), 2);
    assert_eq!(changed.via().unwrap().transport, "TCP");
    assert_eq!(changed.to().unwrap().uri.user.as_deref(), Some("c"));
    assert_eq!(changed.content_type(), None);
}

#[test]
fn line_ends_in_values_never_make_a_header() {
    let evil = "x\r\nX-Evil: 1\r\n\r\nbody\0";
    let m = Builder::request(Method::Invite, "sip:b\r\nX-Evil: 1@h")
        .header(HeaderName::Subject, evil)
        .header("X\r\nX-Evil", evil)
        .header(HeaderName::ContentLength, "99")
        .body(evil, "")
        .finish();
    assert!(m.header(&"X-Evil".into()).is_none());
    assert_eq!(m.header(&HeaderName::ContentLength), Some("0"));
    assert_eq!(m.header(&HeaderName::Subject), Some("xX-Evil: 1body"));
    let m = Builder::response(200, evil).finish();
    assert_eq!(m.all_headers().count(), 1);
}

#[test]
fn a_response_copies_what_the_rfc_names() {
    let request = parse(&invite(
        "Via: SIP/2.0/TCP p;branch=z9hG4bK2\r\nRecord-Route: <sip:p;lr>\r\nTimestamp: 54\r\nSubject: no\r\n",
    ))
    .unwrap();
    let ok = Builder::response_to(&request, 200, "")
        .to_tag("t2")
        .finish();
    assert_eq!(ok.reason(), "OK");
    assert_eq!(ok.vias().unwrap().len(), 2);
    assert_eq!(ok.to().unwrap().tag(), Some("t2"));
    assert_eq!(ok.record_routes().unwrap().len(), 1);
    assert!(ok.header(&HeaderName::Subject).is_none());
    Message::parse(ok.raw().clone()).unwrap();
    let trying = Builder::response_to(&request, 100, "").finish();
    assert_eq!(trying.header(&HeaderName::Timestamp), Some("54"));
    assert!(trying.header(&HeaderName::RecordRoute).is_none());
    let busy = Builder::response_to(&ok, 486, "").to_tag("other").finish();
    assert_eq!(busy.to().unwrap().tag(), Some("t2"));
}

#[test]
fn a_request_is_stamped_with_its_source() {
    let source: SocketAddr = "203.0.113.9:1024".parse().unwrap();
    let request = parse(
        &(invite("l: 2\r\n") + "hi and more")
            .replace("branch=z9hG4bK1", "rport;branch=z9hG4bK1, SIP/2.0/UDP p"),
    )
    .unwrap();
    let stamped = request.received_from(source, false);
    assert_eq!(
        stamped.header(&HeaderName::Via),
        Some("SIP/2.0/UDP 10.0.0.1;rport=1024;branch=z9hG4bK1;received=203.0.113.9, SIP/2.0/UDP p")
    );
    assert_eq!(stamped.body(), b"hi");
    assert_eq!(stamped.via().unwrap().response_target(), Some(source));
    let plain = parse(&invite("")).unwrap();
    let same = plain.received_from("10.0.0.1:5060".parse().unwrap(), false);
    assert_eq!(same, plain);
}
