use bytes::Bytes;

use super::*;

fn request(more: &str) -> Message {
    let text = format!(
        "INVITE sip:100@pbx SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:1@pbx>;tag=1\r\nTo: <sip:100@pbx>\r\n\
         Call-ID: c\r\nCSeq: 1 INVITE\r\n{more}\r\n"
    );
    Message::parse(Bytes::from(text)).unwrap()
}

#[test]
fn both_headers_tell_who_sent_the_call_on_and_why() {
    for (headers, from, reason, orig, count) in [
        (
            "Diversion: \"Boss\" <sip:500@pbx>;reason=user-busy\r\n",
            "500",
            "cfb",
            "500",
            1,
        ),
        (
            "Diversion: <sip:500@pbx>;reason=\"no-answer\"\r\n",
            "500",
            "cfnr",
            "500",
            1,
        ),
        ("Diversion: <sip:500@pbx>\r\n", "500", "unknown", "500", 1),
        (
            "Diversion: <sip:500@pbx>;reason=own-word\r\n",
            "500",
            "own-word",
            "500",
            1,
        ),
        (
            "Diversion: <sip:502@pbx>;reason=deflection;counter=2\r\nDiversion: <sip:500@pbx>;reason=unconditional\r\n",
            "502",
            "deflection",
            "500",
            3,
        ),
        (
            "History-Info: <sip:500@pbx?Reason=SIP%3Bcause%3D486>;index=1, <sip:100@pbx>;index=1.1\r\n",
            "500",
            "cfb",
            "500",
            1,
        ),
        (
            "History-Info: <sip:500@pbx>;index=1, <sip:501@pbx;cause=302>;index=1.1, <sip:100@pbx;cause=408>;index=1.1.1\r\n",
            "501",
            "cfnr",
            "500",
            2,
        ),
        (
            "Diversion: <sip:7@pbx>;reason=away\r\nHistory-Info: <sip:8@pbx>;index=1, <sip:9@pbx;cause=302>;index=1.1\r\n",
            "7",
            "away",
            "7",
            1,
        ),
    ] {
        let found = read(&request(headers), &Globals::default()).expect(headers);
        assert_eq!(
            (
                found.from.number.as_str(),
                found.reason.as_str(),
                found.orig.number.as_str(),
                found.count
            ),
            (from, reason, orig, count),
            "{headers}"
        );
    }
    for nothing in [
        "",
        "Diversion: nonsense\r\n",
        // A way through proxies, on which nobody sent the call on.
        "History-Info: <sip:500@pbx>;index=1, <sip:100@pbx>;index=1.1\r\n",
        "History-Info: <sip:500@pbx>;index=1\r\n",
    ] {
        assert_eq!(
            read(&request(nothing), &Globals::default()),
            None,
            "{nothing}"
        );
    }
    let private = "Diversion: <sip:500@pbx>;privacy=full\r\n";
    let found = read(&request(private), &Globals::default()).unwrap();
    assert_eq!(found.from.presentation, Presentation::Prohibited);
}

fn redirecting() -> Redirecting {
    let number = |number: &str| Party {
        number: number.to_owned(),
        ..Party::default()
    };
    Redirecting {
        from: Party {
            name: "Boss".into(),
            ..number("500")
        },
        orig: number("499"),
        reason: "user_busy".into(),
        orig_reason: "cfu".into(),
        count: 2,
        ..Redirecting::default()
    }
}

fn written_to(change: impl FnOnce(&mut Endpoint), what: &Redirecting) -> Vec<String> {
    let mut endpoint = Endpoint::default();
    change(&mut endpoint);
    let target = Uri::parse("sip:79@192.0.2.9;x=1").unwrap();
    headers(&endpoint, what, &target, "192.0.2.1:5060".parse().unwrap())
        .into_iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

#[test]
fn a_trunk_is_told_in_the_headers_that_its_row_names() {
    let diversion = [
        "Diversion: \"Boss\" <sip:500@192.0.2.1>;reason=user-busy",
        "Diversion: <sip:499@192.0.2.1>;reason=unconditional",
    ];
    let history = [
        "History-Info: \"Boss\" <sip:500@192.0.2.1?Reason=SIP%3Bcause%3D486>;index=1",
        "History-Info: <sip:79@192.0.2.9;x=1;cause=486>;index=1.1;mp=1",
    ];
    let what = redirecting();
    assert_eq!(written_to(|_| {}, &what), diversion);
    assert!(written_to(|e| e.send_diversion = false, &what).is_empty());
    let found = written_to(|e| e.send_history_info = true, &what);
    assert_eq!(found, [diversion, history].concat());
    let found = written_to(
        |e| {
            e.from_domain = Some("d".into());
            e.user_eq_phone = true;
        },
        &what,
    );
    assert!(found[0].contains("<sip:500@d;user=phone>"), "{found:?}");
    // Nothing happened, or nobody may know of it.
    assert!(written_to(|_| {}, &Redirecting::default()).is_empty());
    let mut private = what;
    private.from.presentation = Presentation::Prohibited;
    assert!(written_to(|_| {}, &private).is_empty());
    let found = written_to(|e| e.trust_id_outbound = true, &private);
    assert!(found[0].ends_with("privacy=full"), "{found:?}");
    private.from.presentation = Presentation::Allowed;
    for (reason, word) in [
        ("", "unknown"),
        ("x y\"z", "\"x yz\""),
        ("own", "own"),
        ("dnd", "do-not-disturb"),
    ] {
        private.reason = reason.into();
        let found = written_to(|_| {}, &private);
        assert!(
            found[0].ends_with(&format!(";reason={word}")),
            "{reason}: {found:?}"
        );
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut lines = String::new();
    for line in written_to(|_| {}, &redirecting()) {
        lines.push_str(&line);
        lines.push_str("\r\n");
    }
    let found = read(&request(&lines), &Globals::default()).unwrap();
    assert_eq!(found.from, redirecting().from);
    assert_eq!(
        (
            found.reason.as_str(),
            found.orig_reason.as_str(),
            found.count
        ),
        ("cfb", "cfu", 2)
    );
}
