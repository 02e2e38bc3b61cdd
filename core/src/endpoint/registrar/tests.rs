use std::sync::Arc;

use super::super::contacts::ContactWriter;
use super::super::test_support::{flow, register as request, snapshot};
use super::*;

struct Nowhere;

impl ContactWriter for Nowhere {
    fn upsert(&self, _: Row) {}
    fn delete(&self, _: &str, _: &str) {}
}

struct Bench {
    snapshot: Snapshot,
    contacts: Contacts,
    now: i64,
    cseq: u32,
}

impl Bench {
    fn new() -> Self {
        Self {
            snapshot: snapshot(&["100"]),
            contacts: Contacts::new("", Box::new(Nowhere)),
            now: 1000,
            cseq: 1,
        }
    }

    fn aor(&mut self, change: impl FnOnce(&mut Aor)) {
        change(Arc::make_mut(
            Arc::make_mut(&mut self.snapshot.aors)
                .get_mut("100")
                .unwrap(),
        ));
    }

    fn endpoint(&mut self, change: impl FnOnce(&mut Endpoint)) {
        change(Arc::make_mut(
            Arc::make_mut(&mut self.snapshot.endpoints)
                .get_mut("100")
                .unwrap(),
        ));
    }

    fn send(&mut self, more: &str) -> Outcome {
        self.cseq += 1;
        let call_id = format!("call-{}", self.cseq);
        self.send_as("100", &call_id, self.cseq, more, &flow())
    }

    fn send_as(&self, user: &str, call_id: &str, cseq: u32, more: &str, flow: &Flow) -> Outcome {
        let endpoint = Arc::clone(&self.snapshot.endpoints["100"]);
        let message = request(user, call_id, cseq, more);
        register_at(
            &self.snapshot,
            &self.contacts,
            &endpoint,
            &message,
            flow,
            self.now,
            "t",
        )
    }

    fn bound(&self) -> Vec<(String, i64)> {
        let mut list: Vec<_> = self
            .contacts
            .of("100")
            .iter()
            .map(|c| (c.row.uri.clone(), c.row.expiration_time - self.now))
            .collect();
        list.sort();
        list
    }
}

fn status(outcome: &Outcome) -> u16 {
    outcome.response.status().unwrap()
}

fn bound(list: &[(&str, i64)]) -> Vec<(String, i64)> {
    list.iter()
        .map(|(uri, left)| ((*uri).to_owned(), *left))
        .collect()
}

#[test]
fn expiry_comes_from_the_contact_the_header_or_the_row_within_its_bounds() {
    for (contact, header, left) in [
        ("", "", 3600),
        ("", "Expires: 300\r\n", 300),
        (";expires=120", "Expires: 300\r\n", 120),
        (";expires=1", "", 60),
        ("", "Expires: 99999999999\r\n", 7200),
        (";expires=soon", "", 3600),
    ] {
        let mut b = Bench::new();
        let outcome = b.send(&format!(
            "Contact: <sip:100@10.0.0.5:5062>{contact}\r\n{header}"
        ));
        assert_eq!(status(&outcome), 200);
        assert_eq!(
            (outcome.registered, outcome.removed, outcome.refused),
            (1, 0, false)
        );
        assert_eq!(
            b.bound(),
            bound(&[("sip:100@10.0.0.5:5062", left)]),
            "{contact} {header}"
        );
        let told = outcome.response.contacts().unwrap();
        assert_eq!(told.first().unwrap().expires(), u32::try_from(left).ok());
        assert_eq!(
            outcome.response.header(&HeaderName::Date),
            Some("Thu, 01 Jan 1970 00:16:40 GMT")
        );
    }
}

#[test]
fn contacts_come_are_listed_and_go() {
    let mut b = Bench::new();
    b.send("Contact: <sip:a@h1>;q=0.5, <sip:a@h2>\r\nUser-Agent: Phone/1\r\n");
    assert_eq!(b.bound().len(), 2);
    let row = b
        .contacts
        .of("100")
        .iter()
        .find(|c| c.row.uri == "sip:a@h1")
        .unwrap()
        .row
        .clone();
    assert_eq!(row.user_agent.as_deref(), Some("Phone/1"));
    assert_eq!(
        (row.via_addr.as_deref(), row.via_port),
        (Some("203.0.113.7"), 40000)
    );
    assert_eq!(row.endpoint.as_deref(), Some("100"));
    assert!(row.id.starts_with("100;@") && !row.prune_on_boot);
    b.now += 100;
    let asked = b.send("");
    let list = asked.response.contacts().unwrap();
    assert_eq!(list.list().len(), 2);
    assert!(list.list().iter().all(|c| c.expires() == Some(3500)));
    assert!(list.list().iter().any(|c| c.q_milli() == 500));
    let outcome = b.send("Contact: <sip:a@H2>;expires=0\r\n");
    assert_eq!((status(&outcome), outcome.removed), (200, 1));
    assert_eq!(b.bound(), bound(&[("sip:a@h1", 3500)]));
    // Unknown ones may be removed without complaint.
    assert_eq!(
        status(&b.send("Contact: <sip:x@h9>\r\nExpires: 0\r\n")),
        200
    );
    let outcome = b.send("Contact: *\r\nExpires: 0\r\n");
    assert_eq!((status(&outcome), outcome.removed), (200, 1));
    assert_eq!(outcome.response.header(&HeaderName::Contact), None);
    assert!(b.bound().is_empty());
}

#[test]
fn bad_requests_change_nothing() {
    for (more, wanted) in [
        ("Contact: *\r\n", 400),
        ("Contact: *\r\nExpires: 5\r\n", 400),
        ("Contact: *, <sip:a@h>\r\nExpires: 0\r\n", 400),
        ("Contact: <sip:a@h\r\n", 400),
        ("Contact: <tel:+7495>\r\n", 400),
        ("Contact: <sip:a@h>\r\nRequire: gruu, path\r\n", 420),
        ("Contact: <sip:1@h>, <sip:2@h>, <sip:3@h>\r\n", 403),
    ] {
        let mut b = Bench::new();
        b.send("Contact: <sip:keep@h>\r\n");
        let outcome = b.send(more);
        assert_eq!(status(&outcome), wanted, "{more}");
        assert!(outcome.refused);
        assert_eq!(b.bound(), bound(&[("sip:keep@h", 3600)]));
    }
    let mut b = Bench::new();
    let outcome = b.send("Contact: <sip:a@h>\r\nRequire: gruu, path\r\n");
    assert_eq!(
        outcome.response.header(&HeaderName::Unsupported),
        Some("gruu, path")
    );
    let long = "x".repeat(600);
    assert_eq!(
        status(&b.send(&format!("Contact: <sip:{long}@h>\r\n"))),
        400
    );
    b.aor(|a| a.max_contacts = 0);
    assert_eq!(status(&b.send("Contact: <sip:a@h>\r\n")), 403);
    assert_eq!(status(&b.send_as("200", "c", 1, "", &flow())), 404);
    b.endpoint(|e| e.aors.clear());
    assert_eq!(status(&b.send("")), 403);
}

#[test]
fn an_older_request_of_the_same_call_undoes_nothing() {
    let b = Bench::new();
    let send = |cseq, more: &str| status(&b.send_as("100", "same", cseq, more, &flow()));
    assert_eq!(send(5, "Contact: <sip:a@h>\r\n"), 200);
    assert_eq!(send(5, "Contact: <sip:a@h>;expires=0\r\n"), 500);
    assert_eq!(send(4, "Contact: *\r\nExpires: 0\r\n"), 500);
    assert_eq!(send(4, "Contact: <sip:b@h>, <sip:a@h>\r\n"), 500);
    assert_eq!(b.bound(), bound(&[("sip:a@h", 3600)]));
    assert_eq!(send(6, "Contact: <sip:a@h>;expires=100\r\n"), 200);
    assert_eq!(b.bound(), bound(&[("sip:a@h", 100)]));
}

#[test]
fn a_full_address_of_record_refuses_or_makes_room() {
    let fill = |b: &mut Bench| {
        b.send("Contact: <sip:old@h>;expires=100\r\n");
        b.send("Contact: <sip:new@h>;expires=200\r\n");
    };
    let mut b = Bench::new();
    fill(&mut b);
    assert_eq!(status(&b.send("Contact: <sip:third@h>\r\n")), 403);
    // One in, one out is no overflow.
    assert_eq!(
        status(&b.send("Contact: <sip:third@h>, <sip:old@h>;expires=0\r\n")),
        200
    );

    let mut b = Bench::new();
    fill(&mut b);
    b.aor(|a| a.remove_existing = true);
    let outcome = b.send("Contact: <sip:third@h>;expires=300\r\n");
    assert_eq!(
        (status(&outcome), outcome.registered, outcome.removed),
        (200, 1, 1)
    );
    assert_eq!(
        b.bound(),
        bound(&[("sip:new@h", 200), ("sip:third@h", 300)])
    );

    let mut b = Bench::new();
    fill(&mut b);
    b.aor(|a| a.remove_unavailable = true);
    assert_eq!(status(&b.send("Contact: <sip:third@h>\r\n")), 403);
    let newest = b
        .contacts
        .of("100")
        .iter()
        .find(|c| c.row.uri == "sip:new@h")
        .cloned()
        .unwrap();
    newest.set_status(Status::Unreachable, 0);
    assert_eq!(status(&b.send("Contact: <sip:third@h>\r\n")), 200);
    assert_eq!(
        b.bound(),
        bound(&[("sip:old@h", 100), ("sip:third@h", 3600)])
    );

    // What has expired takes no room even before it is swept.
    let mut b = Bench::new();
    fill(&mut b);
    b.now += 150;
    assert_eq!(status(&b.send("Contact: <sip:third@h>\r\n")), 200);
}

#[test]
fn behind_a_nat_the_contact_is_where_the_request_came_from() {
    let mut b = Bench::new();
    b.endpoint(|e| e.rewrite_contact = true);
    let contact = "Contact: <sip:100@10.0.0.5:5062;transport=udp;ob>\r\n";
    let outcome = b.send_as("100", "same", 1, contact, &flow());
    assert_eq!(b.bound(), bound(&[("sip:100@203.0.113.7:40000;ob", 3600)]));
    // The phone is told what it sent.
    let told = outcome.response.contacts().unwrap();
    assert_eq!(told.first().unwrap().uri.host.to_string(), "10.0.0.5");
    // Another port of the same phone takes the place of the first.
    let mut moved = flow();
    moved.remote.set_port(40001);
    assert_eq!(status(&b.send_as("100", "same", 2, contact, &moved)), 200);
    assert_eq!(b.bound(), bound(&[("sip:100@203.0.113.7:40001;ob", 3600)]));
    moved.transport = Transport::Tcp;
    moved.connection = 9;
    b.send_as("100", "same", 3, contact, &moved);
    assert_eq!(
        b.bound(),
        bound(&[("sip:100@203.0.113.7:40001;transport=tcp;ob", 3600)])
    );
    assert!(b.contacts.of("100")[0].row.prune_on_boot);
    let closed = [9].into_iter().collect();
    assert_eq!(b.contacts.connections_closed(&closed).len(), 1);
    b.endpoint(|e| e.contact_deny = vec!["203.0.113.0/24".into()]);
    assert_eq!(status(&b.send_as("100", "same", 4, contact, &flow())), 403);
}

#[test]
fn a_path_is_stored_and_returned_where_supported() {
    let mut b = Bench::new();
    let more =
        "Contact: <sip:a@h>\r\nPath: <sip:p1;lr>\r\nPath: <sip:p2;lr>\r\nSupported: path\r\n";
    let outcome = b.send(more);
    assert_eq!(outcome.response.header(&HeaderName::Path), None);
    assert_eq!(b.contacts.of("100")[0].row.path, None);
    b.aor(|a| a.support_path = true);
    let outcome = b.send(&format!("{more}Require: path\r\n"));
    assert_eq!(
        outcome
            .response
            .headers(&HeaderName::Path)
            .collect::<Vec<_>>(),
        ["<sip:p1;lr>", "<sip:p2;lr>"]
    );
    assert_eq!(
        b.contacts.of("100")[0].row.path.as_deref(),
        Some("<sip:p1;lr>, <sip:p2;lr>")
    );
}

#[test]
fn a_contact_is_reached_by_the_transport_it_registered_by_where_that_is_wanted() {
    let mut bench = Bench::new();
    let transport = |id: &str, bind: &str, symmetric_transport| strowger_store::Transport {
        id: id.into(),
        bind: bind.into(),
        symmetric_transport,
        ..strowger_store::Transport::default()
    };
    bench.snapshot.transports = Arc::new(vec![
        transport("outside", "198.51.100.1", true),
        transport("inside", "192.0.2.1", true),
    ]);
    let outcome = bench.send("Contact: <sip:a@h>\r\n");
    assert_eq!(status(&outcome), 200);
    let answer = outcome.response.header(&HeaderName::Contact);
    assert_eq!(
        answer,
        Some("<sip:a@h>;expires=3600"),
        "the phone knows nothing of it"
    );
    let contact = Arc::clone(&bench.contacts.of("100")[0]);
    assert_eq!(contact.transport.as_deref(), Some("inside"));
    assert_eq!(contact.uri.to_string(), "sip:a@h");
    assert_eq!(contact.row.uri, "sip:a@h;x-ast-txp=inside");
    // As it is read after a restart.
    let again = Contact::from_row(contact.row.clone()).expect("a good row");
    assert_eq!(again.transport.as_deref(), Some("inside"));
    assert_eq!(again.uri.to_string(), "sip:a@h");
    assert_eq!(again.sent_uri, "sip:a@h");
    // The row changed: what registers anew is the same contact, without it.
    bench.snapshot.transports = Arc::new(vec![transport("inside", "192.0.2.1", false)]);
    bench.send("Contact: <sip:a@h>\r\n");
    let all = bench.contacts.of("100");
    assert_eq!((all.len(), all[0].transport.as_deref()), (1, None));
    assert_eq!(all[0].row.uri, "sip:a@h");
}

#[test]
fn contacts_at_denied_addresses_are_refused() {
    let mut bench = Bench::new();
    bench.endpoint(|endpoint| {
        endpoint.contact_deny = vec!["0.0.0.0/0".into()];
        endpoint.contact_permit = vec!["10.0.0.0/8".into()];
    });
    assert_eq!(status(&bench.send("Contact: <sip:a@10.1.2.3>\r\n")), 200);
    assert_eq!(status(&bench.send("Contact: <sip:a@192.0.2.9>\r\n")), 403);
    assert_eq!(bench.bound().len(), 1);
}
