//! Who is shown to whom, as the telephones at both ends see it.

use strowger_tests::{Bank, Call, Exchange, Manner, Phone, SOON, wait_until};

struct Office {
    exchange: Exchange,
    bank: Bank,
}

impl Office {
    /// Callers and callees with these columns; a callee is dialled by its name.
    fn new(callers: &[(&str, &[(&str, &str)])], callees: &[(&str, &[(&str, &str)])]) -> Self {
        let mut exchange = Exchange::new();
        for (name, columns) in callers.iter().chain(callees) {
            exchange.subscriber_with(name, "secret", "calls", columns);
        }
        for (name, _) in callees {
            exchange.extension("calls", name, &[("Dial", &format!("PJSIP/{name},20"))]);
        }
        exchange.extension(
            "calls",
            "diverted",
            &[
                ("Set", "REDIRECTING(from-num)=500"),
                ("Set", "REDIRECTING(reason)=cfb"),
                ("Dial", "PJSIP/trunk,20"),
            ],
        );
        exchange.extension(
            "calls",
            "hidden",
            &[("Set", "CALLERID(pres)=prohib"), ("Dial", "PJSIP/trunk,20")],
        );
        exchange.extension(
            "calls",
            "who",
            &[
                ("Answer", ""),
                ("SendText", "${CALLERID(num)},${CALLERID(pres)},${CALLERID(rdnis)},${REDIRECTING(reason)},${REDIRECTING(orig-num)}"),
                ("Wait", "60"),
            ],
        );
        let dial = ("Dial", "PJSIP/boss,20");
        exchange.extension("calls", "answered", &[("Answer", ""), dial]);
        exchange.start();
        Self {
            exchange,
            bank: Bank::new(),
        }
    }

    fn phone(&self, name: &str) -> Phone {
        let phone = self.bank.phone(name, "secret", self.exchange.sip());
        phone.register();
        phone
    }

    /// Calls, and gives both ends of the answered call.
    fn call(
        &self,
        caller: &Phone,
        callee: &Phone,
        number: &str,
        headers: &[(&str, &str)],
    ) -> (Call, Call) {
        callee.set_manner(Manner::Manual);
        let call = caller.call_with(number, headers);
        let incoming = callee.expect_call(SOON);
        incoming.ring();
        call.expect_status(180, SOON);
        incoming.answer();
        call.expect_answered(SOON);
        (call, incoming)
    }
}

fn invite_header(call: &Call, name: &str) -> Option<String> {
    let requests = call.requests();
    requests.first()?.header(name).map(str::to_owned)
}

/// The header of the 200 to our INVITE.
fn answer_header(call: &Call, name: &str) -> Option<String> {
    let responses = call.responses();
    let answer = responses
        .iter()
        .find(|response| response.status() == Some(200))?;
    answer.header(name).map(str::to_owned)
}

#[test]
fn a_trunk_is_told_what_its_row_says() {
    let office = Office::new(
        &[("anna", &[("callerid", "Anna <101>")])],
        &[
            ("plain", &[]),
            (
                "trunk",
                &[
                    ("from_user", "7495"),
                    ("from_domain", "provider.example"),
                    ("send_pai", "yes"),
                    ("send_rpid", "yes"),
                    ("user_eq_phone", "yes"),
                    ("send_history_info", "yes"),
                ],
            ),
        ],
    );
    let (anna, plain, trunk) = (
        office.phone("anna"),
        office.phone("plain"),
        office.phone("trunk"),
    );
    let (call, incoming) = office.call(&anna, &plain, "plain", &[]);
    let from = invite_header(&incoming, "From").expect("From");
    assert!(from.starts_with("\"Anna\" <sip:101@"), "{from}");
    for name in [
        "P-Asserted-Identity",
        "Remote-Party-ID",
        "Diversion",
        "History-Info",
    ] {
        assert_eq!(invite_header(&incoming, name), None, "{name}");
    }
    call.hang_up();
    let (call, incoming) = office.call(&anna, &trunk, "diverted", &[]);
    for (name, wanted) in [
        ("From", "<sip:7495@provider.example;user=phone>"),
        (
            "P-Asserted-Identity",
            "\"Anna\" <sip:101@provider.example;user=phone>",
        ),
        ("Remote-Party-ID", "party=calling;privacy=off;screen=no"),
        (
            "Diversion",
            "<sip:500@provider.example;user=phone>;reason=user-busy",
        ),
        (
            "History-Info",
            "<sip:500@provider.example;user=phone?Reason=SIP%3Bcause%3D486>;index=1",
        ),
    ] {
        let found = invite_header(&incoming, name).unwrap_or_default();
        assert!(found.contains(wanted), "{name}: {found}");
    }
    call.hang_up();
    let (call, incoming) = office.call(&anna, &trunk, "hidden", &[]);
    let from = invite_header(&incoming, "From").expect("From");
    assert!(from.contains("<sip:7495@provider.example"), "{from}");
    for name in ["P-Asserted-Identity", "Remote-Party-ID", "Privacy"] {
        assert_eq!(
            invite_header(&incoming, name),
            None,
            "{name}: who hides is not told"
        );
    }
    call.hang_up();
}

#[test]
fn a_caller_learns_who_answered_and_is_believed_as_far_as_he_is_trusted() {
    let office = Office::new(
        &[
            ("anna", &[("send_rpid", "yes"), ("send_pai", "yes")]),
            (
                "gateway",
                &[("trust_id_inbound", "yes"), ("callerid", "Gateway <1>")],
            ),
        ],
        &[("boss", &[("callerid", "Boss <500>")])],
    );
    let (anna, boss) = (office.phone("anna"), office.phone("boss"));
    let (call, _incoming) = office.call(&anna, &boss, "boss", &[]);
    let told = answer_header(&call, "P-Asserted-Identity").expect("an identity");
    assert!(told.starts_with("\"Boss\" <sip:500@"), "{told}");
    let told = answer_header(&call, "Remote-Party-ID").expect("an identity");
    assert!(told.contains("party=called"), "{told}");
    call.hang_up();
    let gateway = office.phone("gateway");
    let asserted = [
        ("P-Asserted-Identity", "<sip:78121112233@gw>"),
        ("Privacy", "id"),
        ("Diversion", "<sip:600@gw>;reason=no-answer"),
        ("Diversion", "<sip:599@gw>;reason=unconditional"),
    ];
    for (phone, wanted) in [
        (&gateway, "78121112233,prohib_not_screened,600,cfnr,599"),
        (&anna, "anna,prohib_not_screened,600,cfnr,599"),
    ] {
        let call = phone.call_with("who", &asserted);
        call.expect_answered(SOON);
        let text = wait_until(SOON, || {
            let requests = call.requests();
            let text = requests
                .iter()
                .find(|request| request.method() == Some("MESSAGE"))?;
            Some(text.body.clone())
        });
        assert_eq!(text.as_deref(), Some(wanted));
        call.hang_up();
    }
}

#[test]
fn a_trunk_is_known_by_the_name_of_its_host() {
    let mut exchange = Exchange::new();
    exchange.trunk(
        "gateway",
        "127.0.0.1:9".parse().expect("an address"),
        "calls",
    );
    exchange
        .database
        .execute("UPDATE ps_endpoint_id_ips SET \"match\" = 'localhost:5060'");
    exchange.extension("calls", "7", &[("Answer", ""), ("Wait", "60")]);
    exchange.start();
    let bank = Bank::new();
    let gateway = bank.phone("anybody", "", exchange.sip());
    // The name is looked up within a second or two.
    let taken = wait_until(SOON, || {
        let call = gateway.call("7");
        let final_status = wait_until(SOON, || {
            let statuses = call.statuses();
            statuses
                .iter()
                .map(|(_, status)| *status)
                .find(|status| *status >= 200)
        });
        call.hang_up();
        (final_status == Some(200)).then_some(())
    });
    assert!(taken.is_some(), "no call of the gateway was taken");
}

#[test]
fn a_caller_who_was_answered_before_is_told_who_answered_in_the_call() {
    let office = Office::new(
        &[
            ("anna", &[("send_pai", "yes")]),
            (
                "bert",
                &[("send_rpid", "yes"), ("connected_line_method", "update")],
            ),
            (
                "carl",
                &[("send_rpid", "yes"), ("send_connected_line", "no")],
            ),
        ],
        &[("boss", &[("callerid", "Boss <500>")])],
    );
    let boss = office.phone("boss");
    boss.set_manner(Manner::Answer(std::time::Duration::ZERO));
    for (name, told) in [
        ("anna", Some(("INVITE", "P-Asserted-Identity"))),
        ("bert", Some(("UPDATE", "Remote-Party-ID"))),
        ("carl", None),
    ] {
        let phone = office.phone(name);
        let call = phone.call("answered");
        call.expect_answered(SOON);
        boss.expect_call(SOON);
        // Both hear each other before anything is judged.
        call.expect_packets(20, SOON);
        if let Some((method, header)) = told {
            let found = wait_until(SOON, || {
                let requests = call.requests();
                let mut asked = requests.iter().filter(|r| r.method() == Some(method));
                asked.find_map(|request| request.header(header).map(str::to_owned))
            });
            let found = found.unwrap_or_default();
            assert!(found.contains("\"Boss\" <sip:500@"), "{name}: {found}");
        } else {
            let told = |request: &strowger_tests::wire::SipText| {
                request.header("Remote-Party-ID").is_some()
            };
            assert!(!call.requests().iter().any(told), "{name}");
        }
        call.hang_up();
        call.expect_ended(SOON);
    }
}
