//! REFER and Replaces: who talks with whom afterwards, and what who transferred is told.

use strowger_tests::wire::SipText;
use strowger_tests::{Bank, Call, Ending, Exchange, Phone, SOON, Settings, Source, wait_until};

/// Telephones alice, bob and carol, each with a tone of its own; 201 is bob, 202 carol, 203 announces something.
struct House {
    exchange: Exchange,
    _bank: Bank,
    alice: Phone,
    bob: Phone,
    carol: Phone,
}

const TONES: [f64; 3] = [440.0, 880.0, 1320.0];

fn house(more: &str, columns: &[(&str, &str)]) -> House {
    let mut exchange = Exchange::prepare(Settings {
        more: more.to_owned(),
        ..Settings::default()
    });
    for name in ["alice", "bob", "carol"] {
        exchange.subscriber_with(name, "secret", "house", columns);
    }
    exchange.extension("house", "201", &[("Dial", "PJSIP/bob,60")]);
    exchange.extension("house", "202", &[("Dial", "PJSIP/carol,60")]);
    exchange.extension("house", "203", &[("Answer", ""), ("Wait", "60")]);
    exchange.extension(
        "elsewhere",
        "204",
        &[(
            "ExecIf",
            "$[\"${SIPTRANSFER}/${SIPREFERRINGCONTEXT}/${SIPREFERREDBYHDR}/${BLINDTRANSFER:0:12}\" = \
             \"yes/elsewhere/<sip:alice@there>/PJSIP/alice-\"]?Dial(PJSIP/carol,60)",
        )],
    );
    exchange.start();
    let bank = Bank::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| {
        let phone = bank.phone(name, "secret", exchange.sip());
        phone.register();
        phone
    });
    for (phone, tone) in [&alice, &bob, &carol].into_iter().zip(TONES) {
        phone.set_source(Source::Tone(tone));
    }
    House {
        exchange,
        _bank: bank,
        alice,
        bob,
        carol,
    }
}

/// A call of `from` to `number`, which `to` answers.
#[track_caller]
fn talk(from: &Phone, number: &str, to: &Phone) -> (Call, Call) {
    let call = from.call(number);
    let other = to.expect_call(SOON);
    other.answer();
    call.expect_answered(SOON);
    (call, other)
}

/// The answer to the REFER.
#[track_caller]
fn referred(call: &Call) -> SipText {
    let found = wait_until(SOON, || {
        let responses = call.responses();
        let mut refers = responses.into_iter().rev();
        refers.find(|response| response.cseq().is_some_and(|(_, method)| method == "REFER"))
    });
    found.expect("an answer to REFER")
}

fn notifies(call: &Call) -> Vec<SipText> {
    let requests = call.requests().into_iter();
    requests
        .filter(|request| request.method() == Some("NOTIFY"))
        .collect()
}

/// The NOTIFYs up to the last, as their status lines; each is what it has to be.
#[track_caller]
fn told(call: &Call) -> Vec<String> {
    let all = wait_until(SOON, || {
        let all = notifies(call);
        let is_last = |notify: &SipText| {
            let state = notify.header("Subscription-State").unwrap_or_default();
            state.starts_with("terminated")
        };
        all.last().is_some_and(is_last).then_some(all)
    });
    let all = all.unwrap_or_else(|| panic!("no last NOTIFY: {:?}", notifies(call)));
    for (index, notify) in all.iter().enumerate() {
        let state = notify.header("Subscription-State").unwrap_or_default();
        let last = index == all.len() - 1;
        let wanted = if last {
            "terminated;reason=noresource"
        } else {
            "active;expires="
        };
        assert!(state.starts_with(wanted), "{notify:?}");
        assert!(
            notify
                .header("Event")
                .is_some_and(|event| event.starts_with("refer"))
        );
        assert_eq!(
            notify.header("Content-Type"),
            Some("message/sipfrag;version=2.0")
        );
    }
    all.iter()
        .map(|notify| notify.body.trim_end().to_owned())
        .collect()
}

#[track_caller]
fn expect_no_calls(exchange: &Exchange) {
    let none = wait_until(SOON, || {
        (exchange.metric("strowger_channels") == 0).then_some(())
    });
    assert!(none.is_some(), "channels are left");
}

#[test]
fn a_caller_sends_the_called_to_another_number_and_is_told_how_it_goes() {
    let house = house("", &[]);
    let (alices, bobs) = talk(&house.alice, "201", &house.bob);
    alices.request("REFER", &[("Refer-To", "<sip:202@there>")]);
    assert_eq!(referred(&alices).status(), Some(202));
    let carols = house.carol.expect_call(SOON);
    carols.ring();
    let ringing = || {
        notifies(&alices)
            .iter()
            .any(|n| n.body.contains("180"))
            .then_some(())
    };
    assert!(
        wait_until(SOON, ringing).is_some(),
        "{:?}",
        notifies(&alices)
    );
    assert_eq!(alices.ending(), None, "BYE comes behind the last NOTIFY");
    carols.answer();
    assert_eq!(
        told(&alices),
        [
            "SIP/2.0 100 Trying",
            "SIP/2.0 180 Ringing",
            "SIP/2.0 200 OK"
        ]
    );
    assert_eq!(alices.expect_ended(SOON), Ending::TheyHungUp);
    bobs.expect_tone(TONES[2], 200, SOON);
    carols.expect_tone(TONES[1], 200, SOON);
    bobs.hang_up();
    carols.expect_ended(SOON);
    expect_no_calls(&house.exchange);
}

#[test]
fn the_called_sends_the_caller_to_another_number() {
    let house = house("", &[]);
    let (alices, bobs) = talk(&house.alice, "201", &house.bob);
    bobs.request("REFER", &[("Refer-To", "<sip:202@there>")]);
    assert_eq!(referred(&bobs).status(), Some(202));
    let carols = house.carol.expect_call(SOON);
    carols.answer();
    let told = told(&bobs);
    assert_eq!(
        told.last().map(String::as_str),
        Some("SIP/2.0 200 OK"),
        "{told:?}"
    );
    assert_eq!(bobs.expect_ended(SOON), Ending::TheyHungUp);
    alices.expect_tone(TONES[2], 200, SOON);
    carols.hang_up();
    alices.expect_ended(SOON);
    expect_no_calls(&house.exchange);
}

#[test]
fn who_transfers_may_hang_up_at_once_and_the_rest_goes_on() {
    let house = house("", &[]);
    let (alices, bobs) = talk(&house.alice, "201", &house.bob);
    alices.request("REFER", &[("Refer-To", "<sip:202@there>")]);
    assert_eq!(referred(&alices).status(), Some(202));
    alices.hang_up();
    let carols = house.carol.expect_call(SOON);
    carols.answer();
    bobs.expect_tone(TONES[2], 200, SOON);
    carols.hang_up();
    bobs.expect_ended(SOON);
    expect_no_calls(&house.exchange);
}

#[test]
fn a_target_that_is_busy_is_told_so() {
    let house = house("", &[]);
    let (alices, bobs) = talk(&house.alice, "201", &house.bob);
    alices.request("REFER", &[("Refer-To", "<sip:202@there>")]);
    house.carol.expect_call(SOON).reject(486);
    let told = told(&alices);
    assert_eq!(
        told.last().map(String::as_str),
        Some("SIP/2.0 486 Busy Here"),
        "{told:?}"
    );
    assert_eq!(alices.expect_ended(SOON), Ending::TheyHungUp);
    bobs.expect_ended(SOON);
    expect_no_calls(&house.exchange);
}

#[test]
fn a_transfer_follows_its_context_and_its_wishes() {
    let house = house(
        "",
        &[
            ("set_var", "TRANSFER_CONTEXT=elsewhere"),
            ("refer_blind_progress", "no"),
        ],
    );
    let (alices, bobs) = talk(&house.alice, "201", &house.bob);
    for (headers, status) in [
        (&[][..], 400),
        (&[("Refer-To", "<sip:999@there>")], 404),
        (&[("Refer-To", "<sip:202@there>")], 404),
        (&[("Refer-To", "<mailto:a@b>")], 416),
        (&[("Refer-To", "<sip:204@there?Replaces=nonsense>")], 400),
        (
            &[(
                "Refer-To",
                "<sip:204@there?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>",
            )],
            404,
        ),
    ] {
        let before = alices.responses().len();
        alices.request("REFER", headers);
        let answered = wait_until(SOON, || (alices.responses().len() > before).then_some(()));
        assert!(answered.is_some());
        assert_eq!(referred(&alices).status(), Some(status), "{headers:?}");
    }
    assert!(notifies(&alices).is_empty() && bobs.ending().is_none());
    alices.request(
        "REFER",
        &[
            ("Refer-To", "<sip:204@there>"),
            ("Referred-By", "<sip:alice@there>"),
            ("Refer-Sub", "false"),
        ],
    );
    let carols = house.carol.expect_call(SOON);
    let answer = referred(&alices);
    assert_eq!(
        (answer.status(), answer.header("Refer-Sub")),
        (Some(202), Some("false"))
    );
    // It is over for Alice before anybody answers.
    assert_eq!(alices.expect_ended(SOON), Ending::TheyHungUp);
    assert!(notifies(&alices).is_empty());
    carols.answer();
    bobs.expect_tone(TONES[2], 200, SOON);
}

#[test]
fn who_may_not_transfer_is_refused() {
    let house = house("", &[("allow_transfer", "no")]);
    let (alices, bobs) = talk(&house.alice, "201", &house.bob);
    alices.request("REFER", &[("Refer-To", "<sip:202@there>")]);
    assert_eq!(referred(&alices).status(), Some(603));
    bobs.expect_tone(TONES[0], 200, SOON);
    alices.hang_up();
    expect_no_calls(&house.exchange);
}

#[test]
fn two_calls_of_a_telephone_are_put_together_wherever_they_are() {
    // Where there are several cores: each round the two calls may be on one, or on two.
    let house = house("", &[]);
    for round in 0..4 {
        let (first, bobs) = talk(&house.alice, "201", &house.bob);
        first.hold();
        let (second, carols) = talk(&house.alice, "202", &house.carol);
        let target = format!(
            "<sip:202@there?Replaces={}>",
            second.replaces().replace(';', "%3B").replace('=', "%3D")
        );
        first.request("REFER", &[("Refer-To", &target)]);
        assert_eq!(referred(&first).status(), Some(202), "round {round}");
        let told = told(&first);
        assert_eq!(
            told.last().map(String::as_str),
            Some("SIP/2.0 200 OK"),
            "{told:?}"
        );
        assert_eq!(first.expect_ended(SOON), Ending::TheyHungUp);
        assert_eq!(second.expect_ended(SOON), Ending::TheyHungUp);
        bobs.expect_tone(TONES[2], 200, SOON);
        carols.expect_tone(TONES[1], 200, SOON);
        bobs.hang_up();
        carols.expect_ended(SOON);
        expect_no_calls(&house.exchange);
    }
}

#[test]
fn a_call_is_transferred_twice() {
    let house = house("", &[]);
    let (first, bobs) = talk(&house.alice, "201", &house.bob);
    let (second, carols) = talk(&house.alice, "202", &house.carol);
    let target = format!(
        "<sip:202@there?Replaces={}>",
        second.replaces().replace(';', "%3B").replace('=', "%3D")
    );
    first.request("REFER", &[("Refer-To", &target)]);
    first.expect_ended(SOON);
    second.expect_ended(SOON);
    bobs.expect_tone(TONES[2], 200, SOON);
    // Carol sends Bob to an announcement.
    carols.request("REFER", &[("Refer-To", "<sip:203@there>")]);
    let told = told(&carols);
    assert_eq!(
        told.last().map(String::as_str),
        Some("SIP/2.0 200 OK"),
        "{told:?}"
    );
    assert_eq!(carols.expect_ended(SOON), Ending::TheyHungUp);
    assert_eq!(bobs.ending(), None);
    bobs.hang_up();
    expect_no_calls(&house.exchange);
}

#[test]
fn an_invite_takes_the_place_of_a_call() {
    let house = house("", &[]);
    let (alices, bobs) = talk(&house.alice, "201", &house.bob);
    let replaces = alices.replaces();
    for (value, status) in [
        ("nonsense".to_owned(), 400),
        ("a;to-tag=1;from-tag=2".to_owned(), 481),
        (format!("{replaces};early-only"), 486),
    ] {
        let refused = house.carol.call_with("201", &[("Replaces", &value)]);
        refused.expect_status(status, SOON);
    }
    let carols = house
        .carol
        .call_with("201", &[("Replaces", &replaces), ("Require", "replaces")]);
    carols.expect_answered(SOON);
    assert_eq!(alices.expect_ended(SOON), Ending::TheyHungUp);
    bobs.expect_tone(TONES[2], 200, SOON);
    carols.hang_up();
    bobs.expect_ended(SOON);
    expect_no_calls(&house.exchange);
}

#[test]
fn an_invite_picks_up_a_call_that_rings() {
    let house = house("", &[]);
    let alices = house.alice.call("201");
    let bobs = house.bob.expect_call(SOON);
    bobs.ring();
    alices.expect_status(180, SOON);
    // The dialog between the exchange and Bob, as a lamp would name it.
    let invite = &bobs.requests()[0];
    let tag = |name: &str| {
        let value = invite.header(name).unwrap_or_default();
        strowger_tests::wire::tag_of(value)
            .unwrap_or_default()
            .to_owned()
    };
    let replaces = format!("{};to-tag={};from-tag=any", bobs.call_id(), tag("From"));
    let carols = house.carol.call_with("201", &[("Replaces", &replaces)]);
    carols.expect_answered(SOON);
    alices.expect_answered(SOON);
    assert_eq!(bobs.expect_ended(SOON), Ending::Cancelled);
    alices.expect_tone(TONES[2], 200, SOON);
    alices.hang_up();
    carols.expect_ended(SOON);
    expect_no_calls(&house.exchange);
}
