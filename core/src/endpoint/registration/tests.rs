//! Registrations in virtual time, against a registrar that the test plays.

use strowger_sip::auth::{Credentials, Secret, verify};
use strowger_sip::{Builder, HeaderName};
use strowger_store::Auth;

use super::super::test_support::snapshot;
use super::*;

struct Bench {
    snapshot: Snapshot,
    registrations: Registrations,
    table: Arc<RegistrationTable>,
    lines: Arc<Lines>,
    start: Instant,
    branches: u32,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Row)) -> Self {
        let table = Arc::new(RegistrationTable::default());
        let lines = Arc::new(Lines::default());
        let mut bench = Self {
            snapshot: snapshot(&["trunk"]),
            registrations: Registrations::new(0, 1, Arc::clone(&table), Arc::clone(&lines)),
            table,
            lines,
            start: Instant::now(),
            branches: 0,
        };
        let mut row = Row {
            id: "trunk".into(),
            client_uri: "sip:me@provider.example".into(),
            server_uri: "sip:provider.example".into(),
            outbound_auth: vec!["trunk".into()],
            max_random_initial_delay: 0,
            contact_user: "7495".into(),
            ..Row::default()
        };
        change(&mut row);
        bench.set_rows(vec![row]);
        bench
    }

    fn set_rows(&mut self, rows: Vec<Row>) {
        self.snapshot.registrations = Arc::new(rows);
        self.snapshot.versions[Table::Registrations as usize] += 1;
    }

    fn row(&self) -> Row {
        self.snapshot.registrations[0].clone()
    }

    fn auth(&mut self, change: impl FnOnce(&mut Auth)) {
        let table = Arc::make_mut(&mut self.snapshot.auths);
        change(Arc::make_mut(table.get_mut("trunk").unwrap()));
        self.snapshot.versions[Table::Auths as usize] += 1;
    }

    fn place(&mut self) -> Place {
        self.branches += 1;
        Place {
            via: format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{}", self.branches),
            contact: Uri::parse("sip:192.0.2.1:5060").unwrap(),
            call_id: format!("call-{}", self.branches),
            tag: "tag".into(),
            user_agent: "Strowger".into(),
        }
    }

    fn at(&self, s: f64) -> Instant {
        self.start + Duration::from_secs_f64(s)
    }

    /// What goes out at that second.
    fn sent_at(&mut self, s: f64) -> Vec<(Ticket, Message)> {
        let now = self.at(s);
        let due = self.registrations.due(&self.snapshot, now);
        due.into_iter()
            .map(|attempt| {
                let place = self.place();
                let request =
                    self.registrations
                        .request(&self.snapshot, &attempt.ticket, &place, 7);
                (attempt.ticket, request.expect("a wanted request"))
            })
            .collect()
    }

    /// The one request that goes out at that second.
    #[track_caller]
    fn one_at(&mut self, s: f64) -> (Ticket, Message) {
        let mut sent = self.sent_at(s);
        assert_eq!(sent.len(), 1, "requests at {s} s");
        sent.remove(0)
    }

    /// Looks each half second; when the first request goes out, if one does.
    fn first_between(&mut self, from: u32, to: u32) -> Option<(f64, (Ticket, Message))> {
        (from * 2..=to * 2).find_map(|half| {
            let at = f64::from(half) / 2.0;
            Some((at, self.sent_at(at).pop()?))
        })
    }

    fn answer(
        &mut self,
        (ticket, request): &(Ticket, Message),
        s: f64,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Option<(Ticket, Message)> {
        let mut response = Builder::response_to(request, status, "").to_tag("r");
        for (name, value) in headers {
            response.push(HeaderName::from(*name), value);
        }
        let (now, via) = (self.at(s), self.place().via);
        let response = response.finish();
        let again = self
            .registrations
            .answered(&self.snapshot, ticket, &response, &via, now);
        again.map(|again| (ticket.clone(), again))
    }

    fn state(&self) -> State {
        self.table.get("trunk").expect("a status").state
    }

    fn registered(change: impl FnOnce(&mut Row)) -> Self {
        let mut bench = Self::new(change);
        let sent = bench.one_at(0.0);
        assert!(bench.answer(&sent, 0.0, 200, &[]).is_none());
        assert_eq!(bench.state(), State::Registered);
        bench
    }
}

fn header(message: &(Ticket, Message), name: &str) -> String {
    let name = HeaderName::from(name);
    message.1.header(&name).unwrap_or_default().to_owned()
}

#[test]
fn a_register_says_what_its_row_says_and_is_refreshed_before_it_ends() {
    let mut b = Bench::new(|row| {
        row.outbound_proxy = Some("sip:proxy.example;lr".into());
        row.support_path = true;
        row.user_agent = Some("Trunk".into());
        row.expiration = 600;
        row.transport = Some("udp-1".into());
        row.contact_header_params = Some("x=1".into());
    });
    let due = b.registrations.due(&b.snapshot, b.start);
    assert_eq!(due[0].hop.to_string(), "sip:proxy.example;lr");
    assert_eq!(due[0].transport.as_deref(), Some("udp-1"));
    let place = b.place();
    let request = b
        .registrations
        .request(&b.snapshot, &due[0].ticket, &place, 0)
        .unwrap();
    let sent = (due[0].ticket.clone(), request);
    assert_eq!(sent.1.request_uri(), Some("sip:provider.example"));
    for (name, value) in [
        ("Route", "<sip:proxy.example;lr>"),
        ("From", "<sip:me@provider.example>;tag=tag"),
        ("To", "<sip:me@provider.example>"),
        ("Contact", "<sip:7495@192.0.2.1:5060>;x=1"),
        ("Expires", "600"),
        ("Supported", "path"),
        ("User-Agent", "Trunk"),
        ("CSeq", "1 REGISTER"),
    ] {
        assert_eq!(header(&sent, name), value, "{name}");
    }
    // The registrar shortens it, and lists another's contact first.
    let contacts = [
        ("Contact", "<sip:7495@198.51.100.9>;expires=3000"),
        ("Contact", "<sip:7495@192.0.2.1:5060>;expires=120"),
    ];
    b.answer(&sent, 0.0, 200, &contacts);
    assert_eq!(b.table.get("trunk").unwrap().granted_s, Some(120));
    let (at, refresh) = b.first_between(1, 200).unwrap();
    assert!((110.0..=110.5).contains(&at), "{at}");
    assert_eq!(header(&refresh, "CSeq"), "2 REGISTER");
    assert_eq!(header(&refresh, "Call-ID"), header(&sent, "Call-ID"));
    // While it is refreshed we are registered.
    assert_eq!(b.state(), State::Registered);
}

#[test]
fn the_life_granted_is_found_wherever_it_is_written() {
    for (headers, granted) in [
        (vec![("Expires", "300")], 300),
        (vec![("Contact", "<sip:7495@203.0.113.1:9>;expires=90")], 90),
        (
            vec![
                ("Contact", "<sip:other@203.0.113.1>;expires=90"),
                ("Contact", "<sip:another@203.0.113.1>;expires=91"),
                ("Expires", "200"),
            ],
            200,
        ),
        (vec![], 3600),
    ] {
        let mut b = Bench::new(|_| {});
        let sent = b.one_at(0.0);
        b.answer(&sent, 0.0, 200, &headers);
        let status = b.table.get("trunk").unwrap();
        assert_eq!(status.granted_s, Some(granted), "{headers:?}");
    }
    // Registered for no time at all is not registered, and asked again later.
    let mut b = Bench::new(|_| {});
    let sent = b.one_at(0.0);
    b.answer(&sent, 0.0, 200, &[("Expires", "0")]);
    assert_eq!(b.state(), State::Rejected);
    assert_eq!(b.first_between(1, 100).unwrap().0, 60.0);
}

#[test]
fn challenges_of_several_realms_are_answered_and_the_next_register_needs_none() {
    let mut b = Bench::new(|_| {});
    b.auth(|auth| auth.supported_algorithms_uac = vec!["MD5".into(), "SHA-256".into()]);
    let first = b.one_at(0.0);
    let proxy = [(
        "Proxy-Authenticate",
        "Digest realm=\"p\", nonce=\"1\", qop=\"auth\", algorithm=SHA-256",
    )];
    let second = b.answer(&first, 0.0, 407, &proxy).unwrap();
    assert_eq!(header(&second, "CSeq"), "2 REGISTER");
    let server = [(
        "WWW-Authenticate",
        "Digest realm=\"w\", nonce=\"2\", qop=\"auth\"",
    )];
    let third = b.answer(&second, 0.0, 401, &server).unwrap();
    assert_eq!(header(&third, "CSeq"), "3 REGISTER");
    for (name, realm) in [("Authorization", "w"), ("Proxy-Authorization", "p")] {
        let credentials = Credentials::parse(&header(&third, name)).unwrap();
        assert_eq!(credentials.realm, realm);
        let secret = Secret::Password("pw-trunk");
        assert!(verify(&credentials, "REGISTER", b"", &secret));
    }
    assert!(b.answer(&third, 0.0, 200, &[("Expires", "100")]).is_none());
    let refresh = b.one_at(91.0);
    let credentials = Credentials::parse(&header(&refresh, "Authorization")).unwrap();
    assert_eq!(
        (credentials.nonce.as_str(), credentials.nonce_count()),
        ("2", Some(2))
    );
    assert_eq!(header(&refresh, "CSeq"), "4 REGISTER");
    // The nonce has grown old: one with a new nonce, though the server does not call the old one stale.
    let newer = [(
        "WWW-Authenticate",
        "Digest realm=\"w\", nonce=\"3\", qop=\"auth\"",
    )];
    let again = b.answer(&refresh, 91.0, 401, &newer).unwrap();
    let credentials = Credentials::parse(&header(&again, "Authorization")).unwrap();
    assert_eq!(
        (credentials.nonce.as_str(), credentials.nonce_count()),
        ("3", Some(1))
    );
    // The same question once more means no.
    assert!(b.answer(&again, 91.0, 401, &newer).is_none());
    assert_eq!(b.state(), State::RejectedPermanently);
    assert_eq!(b.first_between(92, 5000).map(|(at, _)| at), None);
    // Until somebody corrects the password.
    b.auth(|auth| auth.password = Some("new".into()));
    let corrected = b.one_at(5001.0);
    let again = b.answer(&corrected, 5001.0, 401, &newer).unwrap();
    let credentials = Credentials::parse(&header(&again, "Authorization")).unwrap();
    assert!(verify(
        &credentials,
        "REGISTER",
        b"",
        &Secret::Password("new")
    ));
}

#[test]
fn failures_are_repeated_as_the_row_says() {
    type Case = (
        &'static str,
        fn(&mut Row),
        u16,
        &'static [(&'static str, &'static str)],
        Option<f64>,
    );
    let cases: [Case; 12] = [
        ("temporary", |_| {}, 503, &[], Some(60.0)),
        (
            "all of 6xx",
            |row| row.retry_interval = 5,
            603,
            &[],
            Some(5.0),
        ),
        (
            "Retry-After",
            |_| {},
            503,
            &[("Retry-After", "7 (later)")],
            Some(7.0),
        ),
        (
            "Retry-After of 404",
            |_| {},
            404,
            &[("Retry-After", "30")],
            Some(30.0),
        ),
        ("forbidden", |_| {}, 403, &[], None),
        (
            "forbidden, again",
            |row| row.forbidden_retry_interval = 20,
            403,
            &[],
            Some(20.0),
        ),
        (
            "forbidden, as fatal",
            |row| row.fatal_retry_interval = 25,
            403,
            &[],
            Some(25.0),
        ),
        ("fatal", |_| {}, 404, &[], None),
        (
            "fatal, again",
            |row| row.fatal_retry_interval = 40,
            404,
            &[],
            Some(40.0),
        ),
        ("rejected for good", |_| {}, 401, &[], None),
        (
            "rejected for now",
            |row| row.auth_rejection_permanent = false,
            401,
            &[],
            Some(60.0),
        ),
        ("no retries", |row| row.max_retries = 0, 503, &[], None),
    ];
    for (name, change, status, headers, expected) in cases {
        let mut b = Bench::new(change);
        let sent = b.one_at(0.0);
        assert!(b.answer(&sent, 0.0, status, headers).is_none(), "{name}");
        let found = b.first_between(0, 600).map(|(at, _)| at);
        assert_eq!(found, expected, "{name}");
        let state = match expected {
            Some(_) => State::Rejected,
            None => State::RejectedPermanently,
        };
        assert_eq!(b.state(), state, "{name}");
        assert_eq!(b.table.get("trunk").unwrap().last_answer.unwrap().0, status);
    }
}

#[test]
fn silence_is_repeated_until_max_retries_and_a_success_starts_anew() {
    let mut b = Bench::new(|row| {
        row.max_retries = 2;
        row.retry_interval = 10;
    });
    for s in [0.0, 10.0] {
        let (ticket, _) = b.one_at(s);
        let now = b.at(s);
        b.registrations.failed(&ticket, 408, "no answer", now);
    }
    let sent = b.one_at(20.0);
    b.answer(&sent, 20.0, 200, &[("Expires", "30")]);
    for s in [40.0, 50.0, 60.0] {
        let (ticket, _) = b.one_at(s);
        let now = b.at(s);
        b.registrations.failed(&ticket, 408, "no answer", now);
    }
    assert_eq!(b.state(), State::RejectedPermanently);
    assert_eq!(b.first_between(61, 1000).map(|(at, _)| at), None);
    let now = b.at(1001.0);
    assert!(b.registrations.register_now("trunk", now));
    assert!(!b.registrations.register_now("nobody", now));
    b.one_at(1001.0);
}

#[test]
fn too_short_a_life_is_asked_for_again_at_once() {
    let mut b = Bench::new(|row| row.expiration = 60);
    let sent = b.one_at(0.0);
    assert!(
        b.answer(&sent, 0.0, 423, &[("Min-Expires", "1800")])
            .is_none()
    );
    let longer = b.one_at(0.0);
    assert_eq!(header(&longer, "Expires"), "1800");
    // A registrar that cannot be satisfied is not asked for ever.
    b.answer(&longer, 0.0, 423, &[("Min-Expires", "1800")]);
    assert_eq!(b.state(), State::RejectedPermanently);
}

#[test]
fn a_redirection_is_followed_until_it_fails() {
    let mut b = Bench::new(|row| row.retry_interval = 10);
    let sent = b.one_at(0.0);
    let there = [("Contact", "<mailto:x@y>, <sip:192.0.2.99:5080>")];
    b.answer(&sent, 0.0, 302, &there);
    let followed = b.one_at(0.0);
    assert_eq!(followed.1.request_uri(), Some("sip:192.0.2.99:5080"));
    assert_eq!(header(&followed, "To"), "<sip:me@provider.example>");
    b.answer(&followed, 0.0, 200, &[("Expires", "100")]);
    let refresh = b.one_at(90.0);
    assert_eq!(refresh.1.request_uri(), Some("sip:192.0.2.99:5080"));
    b.answer(&refresh, 90.0, 503, &[]);
    let back = b.one_at(100.0);
    assert_eq!(back.1.request_uri(), Some("sip:provider.example"));
    // Two registrars that send us to each other.
    let mut current = back;
    for round in 0..20 {
        let other = format!("<sip:192.0.2.{round}>");
        b.answer(&current, 100.0, 302, &[("Contact", &other)]);
        match b.sent_at(100.0).pop() {
            Some(next) => current = next,
            None => {
                assert!(round < 8, "{round}");
                return;
            }
        }
    }
    panic!("redirected without an end");
}

#[test]
fn a_row_that_goes_takes_its_registration_back() {
    let mut b = Bench::registered(|_| {});
    b.set_rows(Vec::new());
    let leave = b.one_at(5.0);
    assert_eq!(header(&leave, "Expires"), "0");
    assert_eq!(header(&leave, "Contact"), "<sip:7495@192.0.2.1:5060>");
    // It may be challenged too.
    let challenge = [("WWW-Authenticate", "Digest realm=\"w\", nonce=\"2\"")];
    let again = b.answer(&leave, 5.0, 401, &challenge).unwrap();
    assert_eq!(header(&again, "Expires"), "0");
    b.answer(&again, 5.0, 200, &[]);
    assert!(b.table.list().is_empty());
    assert_eq!(b.registrations.next_timeout(), None);
    // One that never registered just goes.
    let mut b = Bench::new(|_| {});
    let (ticket, _) = b.one_at(0.0);
    let now = b.at(0.0);
    b.registrations.failed(&ticket, 408, "no answer", now);
    b.set_rows(Vec::new());
    assert!(b.sent_at(1.0).is_empty());
    assert!(b.table.list().is_empty());
}

#[test]
fn a_changed_row_takes_the_old_registration_back_first() {
    let mut b = Bench::registered(|_| {});
    let mut row = b.row();
    row.contact_user = "7812".into();
    row.server_uri = "sip:other.example".into();
    b.set_rows(vec![row.clone()]);
    let leave = b.one_at(5.0);
    assert_eq!(leave.1.request_uri(), Some("sip:provider.example"));
    assert_eq!(header(&leave, "Expires"), "0");
    // The old registrar does not answer: that stops nobody.
    let now = b.at(37.0);
    b.registrations.failed(&leave.0, 408, "no answer", now);
    let new = b.one_at(37.0);
    assert_eq!(new.1.request_uri(), Some("sip:other.example"));
    assert_eq!(header(&new, "Contact"), "<sip:7812@192.0.2.1:5060>");
    b.answer(&new, 37.0, 200, &[]);
    assert_eq!(b.state(), State::Registered);
    // The same rows read again change nothing.
    b.set_rows(vec![row]);
    assert!(b.sent_at(38.0).is_empty());
}

#[test]
fn the_end_of_the_exchange_takes_everything_back() {
    let mut b = Bench::registered(|_| {});
    let now = b.at(1.0);
    b.registrations.stop(now);
    assert!(b.registrations.is_leaving());
    let leave = b.one_at(1.0);
    assert_eq!(header(&leave, "Expires"), "0");
    b.answer(&leave, 1.0, 200, &[]);
    assert!(!b.registrations.is_leaving());
}

#[test]
fn a_command_takes_a_registration_back_until_the_next() {
    let mut b = Bench::registered(|_| {});
    let now = b.at(1.0);
    assert!(b.registrations.unregister("trunk", now));
    let leave = b.one_at(1.0);
    b.answer(&leave, 1.0, 200, &[]);
    assert_eq!(b.state(), State::Unregistered);
    b.set_rows(vec![b.row()]);
    assert_eq!(b.first_between(2, 4000).map(|(at, _)| at), None);
    let now = b.at(4001.0);
    b.registrations.register_now("trunk", now);
    assert_eq!(header(&b.one_at(4001.0), "Expires"), "3600");
}

#[test]
fn calls_under_the_line_of_a_registration_are_its_endpoints() {
    let mut b = Bench::registered(|row| {
        row.line = true;
        row.endpoint = Some("trunk".into());
    });
    let refresh = b.one_at(3595.0);
    let contact = header(&refresh, "Contact");
    let token = contact.split("line=").nth(1).unwrap().trim_end_matches('>');
    assert_eq!(b.lines.endpoint_of(token).as_deref(), Some("trunk"));
    assert!(token.len() >= 16);
    let mut row = b.row();
    row.line = false;
    b.answer(&refresh, 3595.0, 200, &[]);
    b.set_rows(vec![row]);
    let leave = b.one_at(3600.0);
    b.answer(&leave, 3600.0, 200, &[]);
    b.one_at(3600.0);
    assert!(b.lines.is_empty());
}

#[test]
fn a_lost_connection_is_replaced_soon_and_only_where_it_was_used() {
    let mut b = Bench::registered(|_| {});
    let now = b.at(10.0);
    b.registrations.connection_lost(8, now);
    assert!(b.sent_at(13.0).is_empty());
    b.registrations.connection_lost(7, now);
    assert!(b.first_between(10, 13).is_some());
}

#[test]
fn a_late_answer_and_an_unreadable_row_do_no_harm() {
    let mut b = Bench::new(|row| row.retry_interval = 1);
    let old = b.one_at(0.0);
    let now = b.at(0.0);
    b.registrations.failed(&old.0, 408, "no answer", now);
    let new = b.one_at(1.0);
    b.answer(&old, 1.0, 200, &[]);
    assert_eq!(b.state(), State::Rejected);
    b.answer(&new, 1.0, 200, &[]);
    assert_eq!(b.state(), State::Registered);
    for change in [
        (|row| row.server_uri = "provider".into()) as fn(&mut Row),
        |row| row.client_uri = String::new(),
        |row| row.outbound_proxy = Some("tel:1".into()),
    ] {
        let mut b = Bench::new(change);
        assert!(b.sent_at(0.0).is_empty());
        assert_eq!(b.state(), State::RejectedPermanently);
    }
    // An attempt whose end nobody tells of is over some time.
    let mut b = Bench::new(|_| {});
    b.one_at(0.0);
    assert_eq!(b.first_between(1, 400).map(|(at, _)| at), Some(180.0));
}

#[test]
fn first_registrations_are_spread_and_each_belongs_to_one_shard() {
    let rows: Vec<Row> = (0..200)
        .map(|n| Row {
            id: format!("trunk-{n}"),
            client_uri: "sip:me@provider.example".into(),
            server_uri: "sip:192.0.2.9".into(),
            ..Row::default()
        })
        .collect();
    let table = Arc::new(RegistrationTable::default());
    let mut sent = 0;
    for index in 0..2 {
        let mut b = Bench::new(|_| {});
        b.registrations = Registrations::new(index, 2, Arc::clone(&table), Arc::default());
        b.set_rows(rows.clone());
        let at_once = b.sent_at(0.0).len();
        assert!(at_once < 20, "{at_once} at once");
        sent += at_once
            + (1..=20)
                .map(|half| b.sent_at(f64::from(half) / 2.0).len())
                .sum::<usize>();
    }
    assert_eq!(sent, 200);
    assert_eq!(
        table.counts(),
        [("registered", 0), ("rejected", 0), ("unregistered", 200)]
    );
}

#[test]
fn rows_that_cannot_work_are_told_with_field_and_reason() {
    let good = Bench::new(|_| {});
    assert!(problems(&good.snapshot).is_empty());
    let bad = Bench::new(|row| {
        row.server_uri = "provider".into();
        row.outbound_proxy = Some("tel:1".into());
        row.outbound_auth = vec!["missing".into()];
        row.line = true;
        row.endpoint = Some("nobody".into());
    });
    let found = problems(&bad.snapshot);
    let fields = ["server_uri", "outbound_proxy", "outbound_auth", "line"];
    assert_eq!(found.len(), fields.len(), "{found:?}");
    for (problem, field) in found.iter().zip(fields) {
        assert!(
            problem.starts_with(&format!("ps_registrations trunk: {field}: ")),
            "{problem}"
        );
    }
}

#[test]
fn a_transport_that_is_not_there_is_an_error_and_not_udp() {
    let mut snapshot = Snapshot::default();
    let row = strowger_store::Transport {
        id: "tcp".into(),
        protocol: strowger_store::TransportProtocol::Tcp,
        ..strowger_store::Transport::default()
    };
    snapshot.transports = Arc::new(vec![row]);
    for (uri, name, open, spoken) in [
        ("sip:192.0.2.1", None, false, true),
        ("sip:192.0.2.1", Some(""), false, true),
        ("sip:192.0.2.1", Some("tcp"), false, true),
        ("sip:192.0.2.1;transport=udp", Some("missing"), false, true),
        ("sips:192.0.2.1", None, false, true),
        ("sips:192.0.2.1;transport=udp", None, false, false),
        ("sip:192.0.2.1;transport=sctp", None, false, false),
        ("sip:192.0.2.1", Some("missing"), false, false),
        ("sip:192.0.2.1", Some("missing"), true, true),
    ] {
        let hop = Uri::parse(uri).unwrap();
        let found = unspoken(&snapshot, &hop, name, open);
        assert_eq!(found.is_none(), spoken, "{uri} {name:?}: {found:?}");
    }
}
