//! Transfers by keys and by applications, and calls that are asked about before they are put through.

use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, wait_until};
use strowger_core::channel::Cause;

fn names(exchange: &Exchange, start: &str) -> Vec<String> {
    exchange
        .shared
        .directory
        .names(|name| name.starts_with(start))
}

/// Are these two channels, by the beginning of their names, bridged, and no Local channel left?
fn together(exchange: &Exchange, one: &str, other: &str) -> bool {
    let bridged = |start: &str| {
        let found = names(exchange, start);
        found.iter().any(|name| exchange.bridged(name))
    };
    names(exchange, "Local/").is_empty() && bridged(one) && bridged(other)
}

/// Once those who were called let go, nothing is left of a transfer.
fn nothing_is_left(exchange: &Exchange) {
    for start in ["PJSIP/desk-", "PJSIP/other-"] {
        for name in names(exchange, start) {
            let hung_up = exchange
                .shared
                .with_channel(&name, |channel| channel.hangup(Cause::NORMAL_CLEARING));
            exchange.runtime().block_on(hung_up);
        }
    }
    wait_until("nothing is left of it", || exchange.shared.channels() == 0);
    // A channel that is gone from every table may still be held.
    let none = std::cell::Cell::new(false);
    exchange.call_until("300", "", || {
        let name = names(exchange, "PJSIP/tester-").pop();
        let halves = name.and_then(|name| {
            let asked = exchange
                .shared
                .with_channel(&name, |channel| channel.shard().halves_of_local_channels());
            exchange.runtime().block_on(asked)
        });
        none.set(halves == Some(0));
        none.get()
    });
    assert!(none.get(), "halves of Local channels are left");
}

/// An exchange where 100 calls the desk with option T, and 200 calls another telephone.
fn office(desk: &Phone, other: &Phone) -> Exchange {
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,T"),
            ("100", "Set", "GLOBAL(AFTER)=${DIALSTATUS}"),
            ("101", "Dial", "PJSIP/desk,20,t"),
            ("102", "Dial", "PJSIP/desk,20,tS(9)"),
            ("200", "Set", "GLOBAL(SHOWN)=${CALLERID(num)}"),
            ("200", "Dial", "PJSIP/other,20"),
            ("300", "Answer", ""),
            ("300", "Wait", "20"),
        ],
        &[desk, other],
    );
    for name in ["beeperr", "pbx-invalid"] {
        exchange.short_sound(name);
    }
    exchange
}

#[test]
fn who_hangs_up_while_the_target_rings_has_transferred_all_the_same() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let other = Phone::start("other", Manner::AnswerAfter(Duration::from_millis(2500)));
    let exchange = office(&desk, &other);
    exchange.call_leaving_with("100", "*2200", || {
        names(&exchange, "PJSIP/other-")
            .first()
            .is_some_and(|name| exchange.rings(name))
    });
    wait_until("the desk talks with the target", || {
        together(&exchange, "PJSIP/desk-", "PJSIP/other-")
    });
    assert!(names(&exchange, "PJSIP/tester-").is_empty());
    // The target sees who transfers.
    assert_eq!(exchange.global("SHOWN"), "tester");
    nothing_is_left(&exchange);
}

#[test]
fn a_target_that_rings_is_let_go_when_the_transfer_is_given_up() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let other = Phone::start("other", Manner::Ring);
    let exchange = office(&desk, &other);
    let rang = std::cell::Cell::new(false);
    exchange.call_leaving_with("100", "*2200wwww*1", || {
        rang.set(rang.get() || !names(&exchange, "PJSIP/other-").is_empty());
        rang.get()
            && names(&exchange, "PJSIP/other-").is_empty()
            && together(&exchange, "PJSIP/tester-", "PJSIP/desk-")
    });
    assert!(rang.get());
    nothing_is_left(&exchange);
}

#[test]
fn a_caller_who_leaves_while_his_target_rings_ends_the_call_of_the_callee() {
    let desk = Phone::start("desk", Manner::Dial("*2200"));
    let other = Phone::start("other", Manner::Ring);
    let exchange = office(&desk, &other);
    exchange.call_leaving_with("101", "", || {
        names(&exchange, "PJSIP/other-")
            .first()
            .is_some_and(|name| exchange.rings(name))
    });
    wait_until("nothing is left of it", || exchange.shared.channels() == 0);
}

#[test]
fn a_caller_who_leaves_while_the_callee_talks_with_the_target_ends_it() {
    let desk = Phone::start("desk", Manner::Dial("*2200"));
    let other = Phone::start("other", Manner::Answer(None));
    let exchange = office(&desk, &other);
    exchange.call_leaving_with("101", "", || {
        together(&exchange, "PJSIP/desk-", "PJSIP/other-")
    });
    wait_until("nothing is left of it", || exchange.shared.channels() == 0);
}

#[test]
fn the_time_of_a_call_holds_for_the_talk_with_a_target_too() {
    let desk = Phone::start("desk", Manner::Dial("*2200wwww*2"));
    let other = Phone::start("other", Manner::Answer(None));
    let exchange = office(&desk, &other);
    let was = std::cell::Cell::new(false);
    let ended = exchange.call_until("102", "", || {
        was.set(was.get() || together(&exchange, "PJSIP/tester-", "PJSIP/other-"));
        false
    });
    assert!(was.get(), "the caller talked with the target");
    assert!(ended.by_exchange);
}

#[test]
fn the_code_completes_a_transfer_while_the_target_rings() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let other = Phone::start("other", Manner::AnswerAfter(Duration::from_secs(4)));
    let exchange = office(&desk, &other);
    // The exchange lets him go although nobody has answered yet.
    assert!(exchange.call_once("100", "*2200www*2").by_exchange);
    wait_until("the desk talks with the target", || {
        together(&exchange, "PJSIP/desk-", "PJSIP/other-")
    });
    nothing_is_left(&exchange);
}

#[test]
fn the_called_side_transfers_the_caller_whose_dialplan_goes_with_him() {
    let desk = Phone::start("desk", Manner::Dial("*2200wwww*2"));
    let other = Phone::start("other", Manner::Answer(Some(Duration::from_secs(4))));
    let exchange = office(&desk, &other);
    let was = std::cell::Cell::new(false);
    let ended = exchange.call_until("101", "", || {
        was.set(was.get() || together(&exchange, "PJSIP/tester-", "PJSIP/other-"));
        false
    });
    assert!(was.get(), "the caller talked with the target");
    // The target hung up, and with it the caller's call ended.
    assert!(ended.by_exchange);
}

#[test]
fn a_transfer_that_is_given_up_leaves_the_call_as_it_was() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let other = Phone::start("other", Manner::Answer(None));
    let exchange = office(&desk, &other);
    let talked = std::cell::Cell::new(false);
    exchange.call_until("100", "*2200wwww*1", || {
        let both = together(&exchange, "PJSIP/tester-", "PJSIP/other-");
        talked.set(talked.get() || both);
        talked.get()
            && names(&exchange, "PJSIP/other-").is_empty()
            && together(&exchange, "PJSIP/tester-", "PJSIP/desk-")
    });
    assert!(talked.get());
}

#[test]
fn who_transfers_goes_from_one_to_the_other() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let other = Phone::start("other", Manner::Answer(None));
    let exchange = office(&desk, &other);
    let bridged = |start: &str| {
        let found = names(&exchange, start);
        found.iter().any(|name| exchange.bridged(name))
    };
    // 0: nothing yet, 1: with the target, 2: with the desk while the target waits, 3: with the target again.
    let stage = std::cell::Cell::new(0);
    exchange.call_leaving_with("100", "*2200wwww*4wwww*4", || {
        let (desk, other) = (bridged("PJSIP/desk-"), bridged("PJSIP/other-"));
        match (stage.get(), desk, other) {
            (0, false, true) => stage.set(1),
            (1, true, false) => stage.set(2),
            (2, false, true) => stage.set(3),
            _ => {}
        }
        stage.get() == 3
    });
    // He hung up in the talk with the target: the two have each other.
    wait_until("the desk talks with the target", || {
        together(&exchange, "PJSIP/desk-", "PJSIP/other-")
    });
    nothing_is_left(&exchange);
}

#[test]
fn all_three_talk_until_who_transfers_leaves() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let other = Phone::start("other", Manner::Answer(None));
    let exchange = office(&desk, &other);
    let guests = || {
        let name = names(&exchange, "PJSIP/tester-").pop()?;
        let asked = exchange
            .shared
            .with_channel(&name, |channel| channel.guests());
        exchange.runtime().block_on(asked)
    };
    exchange.call_leaving_with("100", "*2200wwww*3", || guests() == Some(1));
    wait_until("the desk talks with the target", || {
        together(&exchange, "PJSIP/desk-", "PJSIP/other-")
    });
    nothing_is_left(&exchange);
}

#[test]
fn who_transferred_is_called_back_when_the_target_does_not_answer() {
    let desk = Phone::start("desk", Manner::Dial("*2200ww*2"));
    let other = Phone::start("other", Manner::Ring);
    let exchange = office(&desk, &other);
    exchange.statics(&[("features.conf", "general", "atxfernoanswertimeout", "6")]);
    // The desk transferred the caller, and is the one that he talks with in the end.
    let back = std::cell::Cell::new(false);
    exchange.call_until("101", "", || {
        let desks = names(&exchange, "PJSIP/desk-");
        let again = desks.iter().any(|name| !name.ends_with("-00000001"));
        back.set(again && desks.iter().any(|name| exchange.bridged(name)));
        back.get()
    });
    assert!(back.get());
}

#[test]
fn a_call_is_dropped_when_the_target_does_not_answer_and_that_is_wanted() {
    let desk = Phone::start("desk", Manner::Dial("*2200ww*2"));
    let other = Phone::start("other", Manner::Ring);
    let exchange = office(&desk, &other);
    exchange.statics(&[
        ("features.conf", "general", "atxfernoanswertimeout", "6"),
        ("features.conf", "general", "atxferdropcall", "yes"),
    ]);
    assert!(exchange.call("101", "").by_exchange);
}

#[test]
fn applications_of_features_conf_run_in_the_middle_of_a_call() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Set", "DYNAMIC_FEATURES=mark#away"),
            ("100", "Dial", "PJSIP/desk,20"),
            ("101", "BlindTransfer", "200"),
            ("101", "AttendedTransfer", "200"),
            (
                "101",
                "Set",
                "GLOBAL(ALONE)=${BLINDTRANSFERSTATUS}/${ATTENDEDTRANSFERSTATUS}",
            ),
            ("200", "Set", "GLOBAL(WHO)=${CHANNEL}/${BLINDTRANSFER}"),
            ("h", "Set", "GLOBAL(STATUS${BLINDTRANSFERSTATUS})=yes"),
        ],
        &[&desk],
    );
    exchange.statics(&[
        (
            "features.conf",
            "applicationmap",
            "mark",
            "*8,self,Set,GLOBAL(MARK)=${CHANNEL}",
        ),
        (
            "features.conf",
            "applicationmap",
            "away",
            "*9,self/caller,BlindTransfer,200",
        ),
    ]);
    exchange.call("101", "");
    assert_eq!(exchange.global("ALONE"), "INVALID/INVALID");
    exchange.call("100", "*8ww*9");
    assert!(exchange.global("MARK").starts_with("PJSIP/tester-"));
    let who = exchange.global("WHO");
    assert!(
        who.starts_with("PJSIP/desk-") && who.contains("/PJSIP/tester-"),
        "{who}"
    );
    assert_eq!(exchange.global("STATUSSUCCESS"), "yes");
}

#[test]
fn a_feature_may_be_a_subroutine_and_may_end_the_call() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Set", "DYNAMIC_FEATURES=note#end"),
            ("100", "Dial", "PJSIP/desk,20"),
            ("s@note", "Set", "GLOBAL(NOTED)=${ARG1}"),
            ("s@note", "Return", ""),
            (
                "h",
                "Set",
                "GLOBAL(LEFT)=${STACK_PEEK(1,e,suppress)}/${ARG1}",
            ),
        ],
        &[&desk],
    );
    let map = "applicationmap";
    exchange.statics(&[
        (
            "features.conf",
            map,
            "note",
            "*8,self,Gosub,note,s,1(hello)",
        ),
        ("features.conf", map, "end", "*9,self,Hangup"),
    ]);
    assert!(exchange.call("100", "*8ww*9").by_exchange);
    assert_eq!(exchange.global("NOTED"), "hello");
    // The subroutine was left.
    assert_eq!(exchange.global("LEFT"), "/");
}

/// An exchange whose number 100 asks the desk about its callers, and keeps what it says.
fn screened(desk: &Phone, options: &str) -> Exchange {
    let dial = format!("PJSIP/desk,20,{options}");
    let exchange = Exchange::start(
        &[
            ("100", "Dial", &dial),
            ("100", "Set", "GLOBAL(STATUS)=${DIALSTATUS}"),
        ],
        &[desk],
    );
    for name in [
        "priv-recordintro",
        "priv-callpending",
        "priv-callee-options",
        "screen-callee-options",
        "vm-dialout",
        "vm-sorry",
    ] {
        exchange.short_sound(name);
    }
    exchange
}

fn intro(exchange: &Exchange) -> std::path::PathBuf {
    let sounds = &exchange.shared.paths().sounds;
    sounds.join("priv-callerintros/tester.wav")
}

#[test]
fn the_callee_hears_who_calls_and_takes_the_call() {
    let desk = Phone::start("desk", Manner::Dial("9w1"));
    let exchange = screened(&desk, "p");
    let talks = std::cell::Cell::new(false);
    exchange.call_until("100", "", || {
        talks.set(talks.get() || together(&exchange, "PJSIP/tester-", "PJSIP/desk-"));
        talks.get()
    });
    assert!(talks.get());
    // His name is kept for the next time.
    assert!(intro(&exchange).exists());
}

#[test]
fn a_name_is_deleted_where_that_is_wanted() {
    let desk = Phone::start("desk", Manner::Dial("2"));
    let exchange = screened(&desk, "pn(1)");
    exchange.call("100", "");
    assert_eq!(exchange.global("STATUS"), "NOANSWER");
    wait_until("the name is deleted", || !intro(&exchange).exists());
}

#[test]
fn what_the_callee_decides_holds_for_the_next_calls_too() {
    for (digit, status, word) in [
        ("4", "DONTCALL", "kill"),
        ("3", "TORTURE", "torture"),
        ("2", "NOANSWER", "deny"),
    ] {
        let desk = Phone::start("desk", Manner::Dial(digit));
        let exchange = screened(&desk, "P(family)");
        exchange.call("100", "");
        assert_eq!(exchange.global("STATUS"), status);
        let kept = exchange.shared.astdb.get("privacy", "family/tester");
        assert_eq!(kept.as_deref(), Some(word));
        // The desk is not even called.
        exchange.shared.globals.set("STATUS", "");
        drop(desk);
        let again = exchange.call("100", "");
        assert_eq!(exchange.global("STATUS"), status);
        assert_eq!(again.provisional, Vec::<u16>::new());
    }
}

#[test]
fn who_shows_his_number_is_not_asked_about_with_option_n() {
    let desk = Phone::start("desk", Manner::Answer(Some(Duration::from_millis(300))));
    let exchange = screened(&desk, "pNg");
    exchange.call("100", "");
    assert_eq!(exchange.global("STATUS"), "ANSWER");
    assert!(!intro(&exchange).exists());
}

#[test]
fn a_forwarded_call_has_no_limit_with_option_z() {
    // Later than a second, in which nobody else answers.
    for (options, status, later) in [("", "NOANSWER", 5000), ("zg", "ANSWER", 1500)] {
        let desk = Phone::start("desk", Manner::Forward("300"));
        let other = Phone::start("other", Manner::AnswerAfter(Duration::from_millis(later)));
        let dial = format!("PJSIP/desk,1,{options}");
        let exchange = Exchange::start(
            &[
                ("100", "Dial", &dial),
                ("100", "Set", "GLOBAL(STATUS)=${DIALSTATUS}"),
                ("300", "Dial", "PJSIP/other,20,S(1)"),
            ],
            &[&desk, &other],
        );
        exchange.call("100", "");
        assert_eq!(exchange.global("STATUS"), status, "{options}");
    }
}
