//! Applications beside the usual ways: forked records, devices that are asked about, parked and found calls.

use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, wait_until};

fn names(exchange: &Exchange, start: &str) -> Vec<String> {
    exchange
        .shared
        .directory
        .names(|name| name.starts_with(start))
}

fn records(exchange: &Exchange) -> u64 {
    assert!(exchange.shared.cdr.flush(Duration::from_secs(10)));
    let counters = exchange.shared.cdr.counters();
    let found = counters.iter().find(|(name, _)| *name == "cdr_spooled");
    found.map_or(0, |(_, count)| *count)
}

#[test]
fn a_forked_record_is_one_more() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "CDR(mine)=first"),
            ("100", "Set", "GLOBAL(A)=${CDR(sequence)}/${CDR(mine)}"),
            ("100", "ForkCDR", ""),
            ("100", "Set", "GLOBAL(B)=${CDR(sequence)}/${CDR(mine)}"),
            ("100", "ForkCDR", "v"),
            ("100", "Set", "CDR(mine)=third"),
            ("100", "Wait", "0.1"),
            ("101", "Answer", ""),
        ],
        &[],
    );
    exchange.call("101", "");
    assert_eq!(records(&exchange), 1);
    exchange.call("100", "");
    let (first, second) = (exchange.global("A"), exchange.global("B"));
    assert!(first.ends_with("/first"), "{first}");
    // Another record begins, without names of its own.
    assert!(second.ends_with('/'), "{second}");
    assert_ne!(first.split('/').next(), second.split('/').next());
    assert_eq!(records(&exchange), 4);
}

#[test]
fn devices_are_asked_about_before_they_are_called() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("_1X", "ChanIsAvail", "${DEVICES},${OPTIONS}"),
            ("_1X", "Set", "GLOBAL(A)=${AVAILCHAN}/${AVAILSTATUS}"),
            ("200", "Dial", "PJSIP/desk,20"),
        ],
        &[&desk],
    );
    let ask = |devices: &str, options: &str| {
        exchange.shared.globals.set("DEVICES", devices);
        exchange.shared.globals.set("OPTIONS", options);
        exchange.call_once("10", "");
        exchange.global("A")
    };
    assert_eq!(ask("PJSIP/nobody&PJSIP/desk", ""), "PJSIP/desk/1");
    assert_eq!(
        ask("Local/200@test&PJSIP/desk", "a"),
        "Local/200@test&PJSIP/desk/1"
    );
    assert_eq!(ask("Local/999@test", ""), "/4");
    let over = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| exchange.call_leaving("200", || over.load(ordering)));
        wait_until("the desk talks", || {
            names(&exchange, "PJSIP/desk-")
                .first()
                .is_some_and(|name| exchange.bridged(name))
        });
        assert_eq!(ask("PJSIP/desk", ""), "PJSIP/desk/2");
        assert_eq!(ask("PJSIP/desk", "s"), "/2");
        over.store(true, ordering);
    });
}

#[test]
fn a_call_of_a_number_is_listened_to() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "Dial", "PJSIP/desk,20"),
            ("101", "ExtenSpy", "100@test,q"),
            ("102", "ExtenSpy", "999@test,qE"),
            ("102", "Set", "GLOBAL(NOBODY)=there"),
        ],
        &[&desk],
    );
    let guests = || {
        let first = exchange.global("FIRST");
        let asked = exchange
            .shared
            .with_channel(&first, |channel| channel.guests());
        exchange.runtime().block_on(asked).unwrap_or(0)
    };
    let over = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| exchange.call_leaving("100", || over.load(ordering)));
        wait_until("the two talk", || {
            let first = exchange.global("FIRST");
            !first.is_empty() && exchange.bridged(&first)
        });
        exchange.call_leaving("101", || guests() == 1);
        wait_until("the listener has left", || guests() == 0);
        over.store(true, ordering);
    });
}

#[test]
fn a_parked_call_is_announced_to_a_device() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[("100", "ParkAndAnnounce", ",,PARKED,PJSIP/desk")],
        &[&desk],
    );
    for digit in ["7", "0", "1"] {
        exchange.short_sound(&format!("digits/{digit}"));
    }
    let told = std::cell::Cell::new(false);
    let over = std::cell::Cell::new(false);
    exchange.call_leaving("100", || {
        // It heard the space and was let go; the call stays parked.
        let called = desk.called();
        told.set(told.get() || called && names(&exchange, "PJSIP/desk-").is_empty());
        let parked = exchange.shared.parked.list();
        let spaces: Vec<u32> = parked.iter().map(|(_, space, _)| *space).collect();
        over.set(told.get() && spaces == [701]);
        over.get()
    });
    assert!(over.get());
}

#[test]
fn somebody_is_followed_for_a_call_that_comes_through_a_local_channel() {
    let desk = Phone::start("desk", Manner::Dial("ww1"));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "Local/300@test,20"),
            ("300", "FollowMe", "ann"),
            ("1@numbers", "Dial", "PJSIP/desk,20"),
        ],
        &[&desk],
    );
    exchange.statics(&[
        ("followme.conf", "ann", "context", "numbers"),
        ("followme.conf", "ann", "number", "1,10"),
    ]);
    let talks = std::cell::Cell::new(false);
    exchange.call_until("100", "", || {
        let bridged = |start: &str| {
            let found = names(&exchange, start);
            found.iter().any(|name| exchange.bridged(name))
        };
        talks.set(bridged("PJSIP/tester-") && bridged("PJSIP/desk-"));
        talks.get() && names(&exchange, "Local/300@").is_empty()
    });
    assert!(talks.get());
}

#[test]
fn a_record_names_who_talked_behind_a_local_channel() {
    let desk = Phone::start("desk", Manner::Answer(Some(Duration::from_millis(1500))));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "Local/200@inner,20,g"),
            ("200@inner", "Dial", "PJSIP/desk,20"),
            (
                "h",
                "Set",
                "GLOBAL(TO)=${CDR(dstchannel)}/${CDR(disposition)}",
            ),
        ],
        &[&desk],
    );
    exchange.call("100", "");
    let to = exchange.global("TO");
    assert!(
        to.starts_with("PJSIP/desk-") && to.ends_with("/ANSWERED"),
        "{to}"
    );
}

#[test]
fn a_call_that_is_made_and_not_answered_leaves_the_records_of_asterisk() {
    let desk = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "PJSIP/desk,app,Wait,20,,1"),
            ("101", "Originate", "Local/200@inner,app,Wait,20,,1"),
            ("200@inner", "Dial", "PJSIP/desk,20"),
        ],
        &[&desk],
    );
    // A device alone leaves none (unanswered=no); the half of a Local channel that dialled somebody leaves its own.
    exchange.call("100", "");
    assert_eq!(records(&exchange), 0);
    exchange.call("101", "");
    assert_eq!(records(&exchange), 1);
}
