use super::*;

#[test]
fn uris_come_back_as_written() {
    for text in [
        "sip:alice@atlanta.example.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sips:1212@gateway.com",
        "sip:alice@192.0.2.4",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:[2001:db8::10]:5070;lr",
        "sip:caller@[2001:db8::1]",
        "tel:+1-201-555-0123",
        "tel:7042;phone-context=example.com",
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
        "sip:sips%3Auser%40example.com@example.net",
        "soap.beep://192.0.2.103:3002",
        "nobodyKnowsThisScheme:totallyopaquecontent",
        "isbn:2983792873",
        "sip:user@example.com;unknownparam=verylong%20value;x",
        "sip:a@b_c.example:1",
    ] {
        let uri = Uri::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let scheme = text.split(':').next().unwrap();
        assert_eq!(
            uri.to_string(),
            text.replacen(scheme, &scheme.to_lowercase(), 1)
        );
        assert!(uri.matches(&uri));
    }
}

#[test]
fn the_parts_are_found() {
    let u = Uri::parse("SIP:alice%20b:pw@[::1]:5070;transport=UDP;lr?a=b&c=").unwrap();
    assert_eq!(u.scheme, Scheme::Sip);
    assert_eq!(u.user.as_deref(), Some("alice%20b"));
    assert_eq!(u.user_decoded().as_deref(), Some("alice b"));
    assert_eq!(u.password.as_deref(), Some("pw"));
    assert_eq!(u.port, Some(5070));
    assert_eq!(u.transport(), Some(Some(Transport::Udp)));
    assert!(u.is_loose_route());
    assert_eq!(u.headers.len(), 2);
    assert_eq!(u.socket_addr(Transport::Udp), "[::1]:5070".parse().ok());
    let u = Uri::parse("tel:+7-(495)-123.45;ext=12").unwrap();
    assert_eq!(u.user.as_deref(), Some("+7-(495)-123.45"));
    assert_eq!(u.param("EXT"), Some("12"));
}

#[test]
fn rfc_3261_19_1_4_equal_and_unequal_pairs() {
    let check = |a: &str, b: &str, same: bool| {
        let (a, b) = (Uri::parse(a).unwrap(), Uri::parse(b).unwrap());
        assert_eq!(a.matches(&b), same, "{a} and {b}");
        assert_eq!(b.matches(&a), same, "{b} and {a}");
    };
    check(
        "sip:%61lice@atlanta.com;transport=TCP",
        "sip:alice@AtLanTa.CoM;Transport=tcp",
        true,
    );
    check(
        "sip:carol@chicago.com",
        "sip:carol@chicago.com;newparam=5",
        true,
    );
    check(
        "sip:carol@chicago.com;newparam=5",
        "sip:carol@chicago.com;security=on",
        true,
    );
    check(
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        true,
    );
    check(
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        true,
    );
    for (a, b) in [
        (
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
        ),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        (
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com:6000;transport=tcp",
        ),
        (
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
        ),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
        ),
        ("sip:a@b", "sips:a@b"),
    ] {
        check(a, b, false);
    }
    check("tel:+1-201-555-0123", "tel:+1(201)5550123", true);
    check("tel:7042;phone-context=a", "tel:7042", false);
}

#[test]
fn bad_uris_say_what_and_where() {
    for (text, offset) in [
        ("", 0),
        ("alice", 0),
        (":x", 0),
        ("1sip:x", 0),
        ("sip:", 4),
        ("sip:@host", 4),
        ("sip:a%4@host", 5),
        ("sip:user@ex ample", 11),
        ("<sip:a@b>", 0),
        ("sip:a@b:70000", 8),
        ("sip:a@b:", 8),
        ("sip:a@[::1", 10),
        ("sip:a@[zz]", 7),
        ("sip:a@ho^st", 8),
        ("sip:a@b;;c", 8),
        ("sip:a@b?x", 8),
        ("tel:", 4),
        ("tel:12x4", 6),
        ("urn:", 4),
    ] {
        let error = Uri::parse(text).unwrap_err();
        assert_eq!(error.offset, offset, "{text}: {error}");
    }
    assert!(Uri::parse(&format!("sip:{}@h", "a".repeat(URI_LENGTH_MAX))).is_err());
}

#[test]
fn a_made_uri_escapes_its_user() {
    let u = Uri::sip(Some("a b@c#é"), "::1", Some(5062));
    assert_eq!(u.to_string(), "sip:a%20b%40c%23%C3%A9@[::1]:5062");
    assert_eq!(u.user_decoded().as_deref(), Some("a b@c#é"));
    assert_eq!(
        Uri::sip(None, "example.com", None).to_string(),
        "sip:example.com"
    );
    assert_eq!(unescape("%zz%ff%41"), "%zz%ff%41");
}

#[test]
fn sips_makes_the_transport_secure_and_udp_cannot_be() {
    let wanted = |text: &str| Uri::parse(text).unwrap().wanted_transport();
    assert_eq!(wanted("sips:a@b"), Some(Some(Transport::Tls)));
    assert_eq!(wanted("sips:a@b;transport=tcp"), Some(Some(Transport::Tls)));
    assert_eq!(wanted("sips:a@b;transport=ws"), Some(Some(Transport::Wss)));
    assert_eq!(wanted("sips:a@b;transport=udp"), Some(None));
    assert_eq!(wanted("sip:a@b;transport=tls"), Some(Some(Transport::Tls)));
    assert_eq!(wanted("sip:a@b"), None);
}
