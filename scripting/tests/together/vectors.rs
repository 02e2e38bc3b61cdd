//! The vectors of the dialplan's language and the examples of the product that are rows alone, in real calls.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, Row, wait_until};

/// What a text becomes in a call to 89123456789, where `X` is not set.
const TEXTS: [(&str, &str); 20] = [
    ("${EXTEN:1}", "9123456789"),
    ("${EXTEN:-4}", "6789"),
    ("${EXTEN:0:-2}", "891234567"),
    ("${EXTEN:2:3}", "123"),
    ("$[1 + 2 * 3]", "7"),
    ("$[7 / 2]", "3.5"),
    ("$[10 % 4]", "2"),
    ("$[5 / 0]", "2147483647"),
    ("$[\"${X}\" = \"\"]", "1"),
    ("$[\"${EXTEN}\" = \"\"]", "0"),
    ("$[10 > 9]", "1"),
    ("$[\"10\" > \"9\"]", "0"),
    ("$[\"abc123\" =~ \"[a-z]+([0-9]+)\"]", "123"),
    ("$[\"abc\" : \"ab\"]", "2"),
    ("$[0 | \"x\"]", "\"x\""),
    ("$[1 & 5]", "1"),
    ("$[${EXTEN:0:1} + 1]", "9"),
    ("${IF($[${EXTEN:0:1} = 8]?far:near)}", "far"),
    ("${IF(${X}?set:unset)}", "unset"),
    ("a${X}b", "ab"),
];

#[test]
fn texts_become_what_the_language_says() {
    let steps: Vec<String> = TEXTS
        .iter()
        .enumerate()
        .map(|(index, (text, _))| format!("GLOBAL(R{index})={text}"))
        .collect();
    let mut rows: Vec<Row<'_>> = steps
        .iter()
        .map(|step| ("_8X.", "Set", step.as_str()))
        .collect();
    rows.push(("_8X.", "Set", "GLOBAL(DONE)=yes"));
    for all_in_machine in [false, true] {
        let exchange = Exchange::start_in_machine(&rows, &[], all_in_machine);
        exchange.call("89123456789", "");
        assert_eq!(exchange.global("DONE"), "yes");
        for (index, (text, wanted)) in TEXTS.iter().enumerate() {
            let value = exchange.global(&format!("R{index}"));
            assert_eq!(
                value, *wanted,
                "{text}, all in the machine: {all_in_machine}"
            );
        }
    }
}

#[test]
fn each_number_finds_its_pattern_and_each_priority_its_own() {
    let rows = [
        ("_X.", "Set", "GLOBAL(FIRST)=_X."),
        ("_1XX", "Set", "GLOBAL(FIRST)=_1XX"),
        ("_1XX", "Set", "GLOBAL(SECOND)=_1XX"),
        ("_10X", "Set", "GLOBAL(FIRST)=_10X"),
        ("100", "Set", "GLOBAL(FIRST)=100"),
    ];
    for all_in_machine in [false, true] {
        let exchange = Exchange::start_in_machine(&rows, &[], all_in_machine);
        for (number, first, second) in [
            ("100", "100", "_1XX"),
            ("105", "_10X", "_1XX"),
            ("150", "_1XX", "_1XX"),
            ("20", "_X.", ""),
        ] {
            for name in ["FIRST", "SECOND"] {
                exchange.shared.globals.set(name, "");
            }
            exchange.call(number, "");
            assert_eq!(exchange.global("FIRST"), first, "{number}");
            assert_eq!(exchange.global("SECOND"), second, "{number}");
        }
    }
}

#[test]
fn conditions_decide_where_a_call_goes() {
    let rows = [
        ("_2XX", "GotoIf", "${COND${EXTEN}}?yes,1:no,1"),
        ("_3XX", "GotoIf", "${COND${EXTEN}}?yes,1"),
        ("_3XX", "Set", "GLOBAL(WENT)=on"),
        ("_4XX", "GotoIf", "${COND${EXTEN}}?:no,1"),
        ("_4XX", "Set", "GLOBAL(WENT)=on"),
        ("yes", "Set", "GLOBAL(WENT)=yes"),
        ("no", "Set", "GLOBAL(WENT)=no"),
    ];
    for all_in_machine in [false, true] {
        let exchange = Exchange::start_in_machine(&rows, &[], all_in_machine);
        for (number, condition, wanted) in [
            ("200", "", "no"),
            ("201", "0", "no"),
            ("202", "1", "yes"),
            ("203", "word", "yes"),
            ("204", "-1", "yes"),
            ("300", "", "on"),
            ("301", "1", "yes"),
            ("400", "1", "on"),
            ("401", "", "no"),
        ] {
            exchange
                .shared
                .globals
                .set(&format!("COND{number}"), condition);
            exchange.shared.globals.set("WENT", "");
            exchange.call(number, "");
            assert_eq!(
                exchange.global("WENT"),
                wanted,
                "\"{condition}\" in {number}"
            );
        }
    }
}

/// A carrier's calls wait in rows: each would hold a coroutine of Lua.
#[test]
fn rows_that_wait_hold_no_memory_of_the_machine() {
    let rows = [
        ("100", "Set", "GLOBAL(WAITED)=for ${EXTEN}"),
        ("100", "Wait", "0.${LEN(ab)}"),
        ("100", "Set", "GLOBAL(WAITED)=${WAITED}, done"),
    ];
    for all_in_machine in [false, true] {
        let exchange = Exchange::start_in_machine(&rows, &[], all_in_machine);
        exchange.call("100", "");
        assert_eq!(exchange.global("WAITED"), "for 100, done");
        let held = exchange.plans.counters().memory_bytes.load(Relaxed);
        assert_eq!(held > 0, all_in_machine, "{held} bytes");
    }
}

/// The dialler originates a Local channel into the outgoing context; its `h` reads what became of the call, and for whom.
#[test]
fn the_outgoing_context_of_the_dialler_tells_what_became_of_each_contact() {
    let busy = Phone::start("busy", Manner::Refuse(486));
    let desk = Phone::start("desk", Manner::Answer(None));
    let ring = Phone::start("ring", Manner::Ring);
    let jammed = Phone::start("jammed", Manner::Refuse(503));
    let exchange = Exchange::start(
        &[
            (
                "_7X",
                "Originate",
                "Local/${EXTEN}@outgoing,exten,ivr,s,1,20,v(contact_uuid=${EXTEN})",
            ),
            ("71@outgoing", "Dial", "PJSIP/busy,10"),
            ("72@outgoing", "Dial", "PJSIP/desk,10"),
            ("73@outgoing", "Dial", "PJSIP/ring,1"),
            ("74@outgoing", "Dial", "PJSIP/nobody,10"),
            ("75@outgoing", "Dial", "PJSIP/jammed,10"),
            (
                "h@outgoing",
                "Set",
                "GLOBAL(END${contact_uuid})=${DIALSTATUS}",
            ),
            ("s@ivr", "NoOp", ""),
            ("s@ivr", "Answer", ""),
            (
                "s@ivr",
                "Set",
                "GLOBAL(HEARD)=${GLOBAL(HEARD)}${contact_uuid}",
            ),
            ("s@ivr", "Hangup", ""),
        ],
        &[&busy, &desk, &ring, &jammed],
    );
    for (number, status) in [
        ("71", "BUSY"),
        ("72", "ANSWER"),
        ("73", "NOANSWER"),
        ("74", "CHANUNAVAIL"),
        ("75", "CONGESTION"),
    ] {
        exchange.call(number, "");
        let end = format!("END{number}");
        wait_until("h has run", || !exchange.global(&end).is_empty());
        assert_eq!(exchange.global(&end), status, "{number}");
    }
    assert_eq!(
        exchange.global("HEARD"),
        "72",
        "who answered hears the greeting, nobody else"
    );
}

/// The first device has its seconds, then the mobile is called through the trunk; who is answered goes no further.
#[test]
fn a_call_goes_on_to_the_mobile_only_when_nobody_answers() {
    for (manner, wanted) in [
        (Manner::Refuse(486), "81234567890"),
        (Manner::Ring, "81234567890"),
        (Manner::Answer(Some(Duration::from_millis(200))), ""),
    ] {
        let office = Phone::start("user-110-office", manner);
        let trunk = Phone::start("peer-71234567890-office", Manner::Refuse(486));
        let exchange = Exchange::start(
            &[
                ("110", "NoOp", "Вызов на внутренний номер"),
                ("110", "Dial", "SIP/user-110-office,3,tT"),
                ("110", "Dial", "SIP/81234567890@peer-71234567890-office,60"),
                ("110", "Set", "GLOBAL(MOBILE)=${DIALEDPEERNUMBER}"),
                ("110", "Set", "GLOBAL(STATUS)=${DIALSTATUS}"),
                ("110", "Hangup", ""),
                ("h", "Set", "GLOBAL(OVER)=yes"),
            ],
            &[&office, &trunk],
        );
        exchange.call("110", "");
        wait_until("h has run", || exchange.global("OVER") == "yes");
        let mobile = exchange.global("MOBILE");
        let number = mobile.split('@').next().unwrap_or_default();
        assert_eq!(number, wanted, "{manner:?}: {mobile}");
        let status = if wanted.is_empty() { "" } else { "BUSY" };
        assert_eq!(exchange.global("STATUS"), status, "{manner:?}");
    }
}
