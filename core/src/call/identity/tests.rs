//! Tables: what an endpoint's row and a message make of a party, and the other way round.

use bytes::Bytes;

use super::*;

fn endpoint(change: impl FnOnce(&mut Endpoint)) -> Endpoint {
    let mut endpoint = Endpoint::default();
    change(&mut endpoint);
    endpoint
}

fn request(from: &str, more: &str) -> Message {
    let text = format!(
        "INVITE sip:100@pbx SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: {from};tag=1\r\nTo: <sip:100@pbx>\r\n\
         Call-ID: c\r\nCSeq: 1 INVITE\r\n{more}\r\n"
    );
    Message::parse(Bytes::from(text)).unwrap()
}

fn at() -> SocketAddr {
    "192.0.2.1:5060".parse().unwrap()
}

fn caller(change: fn(&mut Endpoint), from: &str, more: &str) -> Party {
    let request = request(from, more);
    let from = request.from().unwrap();
    caller_of(&endpoint(change), &Globals::default(), &request, from)
}

const PAI: &str = "P-Asserted-Identity: \"Boss\" <sip:500@pbx>, <tel:+7500>\r\n";
const FROM: &str = "\"Anna\" <sip:101@pbx>";

#[test]
fn the_caller_is_who_the_row_and_the_message_say() {
    use Presentation::{Allowed, Prohibited, Unavailable};
    type Case = (
        fn(&mut Endpoint),
        &'static str,
        &'static str,
        (&'static str, &'static str, Presentation),
    );
    let trust: fn(&mut Endpoint) = |e| {
        e.trust_id_inbound = true;
        e.callerid = Some("Desk <7>".into());
    };
    let cases: [Case; 18] = [
        // From, and what the row says instead.
        (|_| {}, FROM, "", ("101", "Anna", Allowed)),
        (
            |e| e.callerid = Some("Desk <7>".into()),
            FROM,
            "",
            ("7", "Desk", Allowed),
        ),
        (
            |e| e.callerid = Some("<7>".into()),
            FROM,
            "",
            ("7", "", Allowed),
        ),
        (
            |e| e.callerid = Some("Desk".into()),
            "<sip:101@pbx>",
            "",
            ("101", "Desk", Allowed),
        ),
        // callerid_privacy
        (
            |e| e.callerid_privacy = "prohib".into(),
            FROM,
            "",
            ("101", "Anna", Prohibited),
        ),
        (
            |e| e.callerid_privacy = "prohib_passed_screened".into(),
            FROM,
            "",
            ("101", "Anna", Prohibited),
        ),
        (
            |e| e.callerid_privacy = "unavailable".into(),
            FROM,
            "",
            ("101", "Anna", Unavailable),
        ),
        // Privacy of the caller's own.
        (|_| {}, FROM, "Privacy: id\r\n", ("101", "Anna", Prohibited)),
        (|_| {}, FROM, "Privacy: none\r\n", ("101", "Anna", Allowed)),
        (
            |_| {},
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
            "",
            ("anonymous", "Anonymous", Prohibited),
        ),
        // Nobody is believed unasked.
        (|_| {}, FROM, PAI, ("101", "Anna", Allowed)),
        // trust_id_inbound
        (trust, FROM, PAI, ("500", "Boss", Allowed)),
        (
            trust,
            FROM,
            "P-Asserted-Identity: <sip:500@pbx>\r\nPrivacy: user;id\r\n",
            ("500", "", Prohibited),
        ),
        (
            trust,
            FROM,
            "P-Asserted-Identity: <sip:pbx>, \"B\" <tel:+7500>\r\n",
            ("+7500", "B", Allowed),
        ),
        (
            trust,
            FROM,
            "Remote-Party-ID: \"B\" <sip:500@pbx>;party=calling;privacy=full\r\n",
            ("500", "B", Prohibited),
        ),
        (
            trust,
            FROM,
            "Remote-Party-ID: <sip:500@pbx>;privacy=off;screen=yes\r\n",
            ("500", "", Allowed),
        ),
        (
            trust,
            FROM,
            "P-Preferred-Identity: <sip:501@pbx>\r\n",
            ("501", "", Allowed),
        ),
        (
            trust,
            FROM,
            "P-Asserted-Identity: nonsense\r\n",
            ("7", "Desk", Allowed),
        ),
    ];
    for (change, from, more, (number, name, presentation)) in cases {
        let party = caller(change, from, more);
        let found = (
            party.number.as_str(),
            party.name.as_str(),
            party.presentation,
        );
        assert_eq!(found, (number, name, presentation), "{from} {more}");
    }
    let tagged = caller(|e| e.callerid_tag = Some("t".into()), FROM, "");
    assert_eq!(tagged.tag, "t");
    let rpid = "Remote-Party-ID: <sip:500@pbx>;privacy=off;screen=yes\r\n";
    assert!(caller(trust, FROM, rpid).screened);
    assert!(
        caller(
            |e| e.callerid_privacy = "allowed_passed_screened".into(),
            FROM,
            ""
        )
        .screened
    );
}

#[test]
fn options_behind_a_user_are_cut_where_the_globals_say_so() {
    let request = request("<sip:101;phone-context=x@pbx>", "");
    let from = request.from().unwrap();
    for (cut, number) in [(false, "101;phone-context=x"), (true, "101")] {
        let globals = Globals {
            ignore_uri_user_options: cut,
            ..Globals::default()
        };
        let party = caller_of(&Endpoint::default(), &globals, &request, from);
        assert_eq!(party.number, number);
    }
}

fn anna(presentation: Presentation) -> Party {
    Party {
        number: "101".into(),
        name: "Anna".into(),
        presentation,
        ..Party::default()
    }
}

#[test]
fn the_called_device_is_shown_what_its_row_allows() {
    use Presentation::{Allowed, Prohibited};
    type Case = (
        &'static str,
        fn(&mut Endpoint),
        Presentation,
        &'static str,
        &'static [&'static str],
    );
    let cases: [Case; 15] = [
        (
            "nothing",
            |_| {},
            Allowed,
            "\"Anna\" <sip:101@192.0.2.1>",
            &[],
        ),
        (
            "from_domain",
            |e| e.from_domain = Some("pbx.example".into()),
            Allowed,
            "\"Anna\" <sip:101@pbx.example>",
            &[],
        ),
        (
            "from_user",
            |e| e.from_user = Some("trunk".into()),
            Allowed,
            "<sip:trunk@192.0.2.1>",
            &[],
        ),
        (
            "user_eq_phone",
            |e| e.user_eq_phone = true,
            Allowed,
            "\"Anna\" <sip:101@192.0.2.1;user=phone>",
            &[],
        ),
        (
            "send_pai",
            |e| e.send_pai = true,
            Allowed,
            "\"Anna\" <sip:101@192.0.2.1>",
            &["P-Asserted-Identity: \"Anna\" <sip:101@192.0.2.1>"],
        ),
        (
            "send_rpid",
            |e| e.send_rpid = true,
            Allowed,
            "\"Anna\" <sip:101@192.0.2.1>",
            &["Remote-Party-ID: \"Anna\" <sip:101@192.0.2.1>;party=calling;privacy=off;screen=no"],
        ),
        (
            "from_user and send_pai",
            |e| {
                e.from_user = Some("trunk".into());
                e.send_pai = true;
            },
            Allowed,
            "<sip:trunk@192.0.2.1>",
            &["P-Asserted-Identity: \"Anna\" <sip:101@192.0.2.1>"],
        ),
        (
            "from_domain and send_pai",
            |e| {
                e.from_domain = Some("d".into());
                e.send_pai = true;
            },
            Allowed,
            "\"Anna\" <sip:101@d>",
            &["P-Asserted-Identity: \"Anna\" <sip:101@d>"],
        ),
        (
            "private",
            |_| {},
            Prohibited,
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
            &[],
        ),
        (
            "private to all",
            |e| {
                e.send_pai = true;
                e.send_rpid = true;
            },
            Prohibited,
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
            &[],
        ),
        (
            "private, from_domain",
            |e| e.from_domain = Some("d".into()),
            Prohibited,
            "\"Anonymous\" <sip:anonymous@d>",
            &[],
        ),
        (
            "private, from_user",
            |e| e.from_user = Some("trunk".into()),
            Prohibited,
            "<sip:trunk@anonymous.invalid>",
            &[],
        ),
        (
            "trust_id_outbound",
            |e| e.trust_id_outbound = true,
            Prohibited,
            "\"Anna\" <sip:101@192.0.2.1>",
            &[],
        ),
        (
            "trust_id_outbound and send_pai",
            |e| {
                e.trust_id_outbound = true;
                e.send_pai = true;
            },
            Prohibited,
            "\"Anna\" <sip:101@192.0.2.1>",
            &[
                "P-Asserted-Identity: \"Anna\" <sip:101@192.0.2.1>",
                "Privacy: id",
            ],
        ),
        (
            "trust_id_outbound and send_rpid",
            |e| {
                e.trust_id_outbound = true;
                e.send_rpid = true;
            },
            Prohibited,
            "\"Anna\" <sip:101@192.0.2.1>",
            &["Remote-Party-ID: \"Anna\" <sip:101@192.0.2.1>;party=calling;privacy=full;screen=no"],
        ),
    ];
    let globals = Globals::default();
    for (name, change, presentation, from, headers) in cases {
        let shown = shown_to(&endpoint(change), &globals, &anna(presentation), at(), 5060);
        assert_eq!(shown.from.to_string(), from, "{name}");
        let found: Vec<String> = shown
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(found, headers, "{name}");
    }
    let screened = Party {
        screened: true,
        ..anna(Allowed)
    };
    let rpid = endpoint(|e| e.send_rpid = true);
    let shown = shown_to(&rpid, &globals, &screened, at(), 5060);
    assert!(shown.headers[0].1.ends_with("screen=yes"));
}

#[test]
fn who_has_no_number_is_shown_under_the_default_name_and_without_identity() {
    let all = endpoint(|e| {
        e.send_pai = true;
        e.send_rpid = true;
    });
    for (globals, user) in [
        (Globals::default(), "asterisk"),
        (
            Globals {
                default_from_user: "pbx".into(),
                ..Globals::default()
            },
            "pbx",
        ),
    ] {
        let shown = shown_to(&all, &globals, &Party::default(), at(), 5060);
        assert_eq!(shown.from.to_string(), format!("<sip:{user}@192.0.2.1>"));
        assert!(shown.headers.is_empty());
    }
    // A port that is not the usual one belongs to our address.
    let shown = shown_to(
        &all,
        &Globals::default(),
        &anna(Presentation::Allowed),
        "192.0.2.1:5070".parse().unwrap(),
        5060,
    );
    assert_eq!(shown.from.to_string(), "\"Anna\" <sip:101@192.0.2.1:5070>");
}

#[test]
fn only_telephone_numbers_are_called_so() {
    let e = endpoint(|e| e.user_eq_phone = true);
    for (uri, phone) in [
        ("sip:100@h", true),
        ("sip:+7495@h", true),
        ("sip:*8@h", true),
        ("sip:anna@h", false),
        ("sip:h", false),
        ("tel:+7495", false),
        ("sip:100@h;user=ip", false),
    ] {
        let mut read = Uri::parse(uri).unwrap();
        super::phone(&e, &mut read);
        assert_eq!(read.to_string().contains("user=phone"), phone, "{uri}");
    }
}

#[test]
fn the_connected_party_is_told_unless_the_row_says_no() {
    let party = anna(Presentation::Allowed);
    let e = endpoint(|e| e.send_rpid = true);
    let found = connected_headers(&e, &party, at());
    assert_eq!(
        found[0].1,
        "\"Anna\" <sip:101@192.0.2.1>;party=called;privacy=off;screen=no"
    );
    let e = endpoint(|e| {
        e.send_rpid = true;
        e.send_connected_line = false;
    });
    assert!(connected_headers(&e, &party, at()).is_empty());
}
