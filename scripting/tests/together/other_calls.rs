//! What calls do with other calls: transfer, park, pick up, page, forward, dial again.

use std::time::Duration;

use crate::exchange::{Exchange, Manner, Phone, wait_until};

#[test]
fn a_caller_transfers_the_called_side_by_keys() {
    let phone = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,T"),
            ("h", "Set", "GLOBAL(LEFT)=yes"),
            ("200", "Set", "GLOBAL(FROM)=${BLINDTRANSFER}"),
            ("200", "Wait", "0.5"),
            ("200", "Set", "GLOBAL(WHO)=${CHANNEL}"),
        ],
        &[&phone],
    );
    let ended = exchange.call("100", "#200");
    assert!(ended.by_exchange);
    assert!(exchange.global("FROM").starts_with("PJSIP/tester-"));
    assert!(exchange.global("WHO").starts_with("PJSIP/desk-"));
    assert_eq!(exchange.global("LEFT"), "yes");
}

#[test]
fn a_number_that_does_not_exist_leaves_the_call_as_it_was() {
    let phone = Phone::start("desk", Manner::Answer(Some(Duration::from_secs(8))));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,Tg"),
            ("100", "Set", "GLOBAL(PEER)=${BRIDGEPEER}"),
        ],
        &[&phone],
    );
    exchange.call("100", "#9");
    assert!(exchange.global("PEER").starts_with("PJSIP/desk-"));
}

#[test]
fn a_caller_talks_with_the_target_before_it_is_transferred() {
    let desk = Phone::start("desk", Manner::Answer(None));
    let other = Phone::start("other", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,T"),
            ("200", "Dial", "PJSIP/other,20"),
        ],
        &[&desk, &other],
    );
    let names = |start: &str| {
        exchange
            .shared
            .directory
            .names(|name| name.starts_with(start))
    };
    exchange.call_leaving_with("100", "*2200", || {
        names("PJSIP/other-")
            .first()
            .is_some_and(|name| exchange.bridged(name))
    });
    // The one who asked is gone; the two talk.
    wait_until("the two are connected", || {
        names("PJSIP/tester-").is_empty()
            && names("Local/").is_empty()
            && names("PJSIP/")
                .iter()
                .filter(|name| exchange.bridged(name))
                .count()
                == 2
    });
}

#[test]
fn a_parked_call_is_fetched_from_its_space() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "Park", ",s"),
            ("101", "ParkedCall", "default,701"),
            ("101", "Set", "GLOBAL(NEVER)=reached"),
            ("102", "ParkedCall", "default,777"),
            ("102", "Set", "GLOBAL(NOBODY)=there"),
            ("h", "Set", "GLOBAL(PEER${EXTEN})=${BRIDGEPEER}"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let parked = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the call is parked", || {
            exchange.shared.parked.list().len() == 1
        });
        let (_, space, who) = exchange.shared.parked.list().remove(0);
        assert_eq!((space, who.channel), (701, exchange.global("FIRST")));
        exchange.call_leaving("101", || exchange.bridged(&exchange.global("FIRST")));
        assert!(parked.join().expect("the parked call ended").by_exchange);
    });
    assert!(exchange.shared.parked.list().is_empty());
    exchange.call("102", "");
    assert_eq!(exchange.global("NOBODY"), "there");
    assert_eq!(exchange.global("NEVER"), "");
}

#[test]
fn a_parked_call_comes_back_to_who_parked_it() {
    let phone = Phone::start("desk", Manner::Answer(Some(Duration::from_millis(200))));
    let exchange = Exchange::start_with(
        &[
            ("100", "Set", "PARKER=PJSIP/desk"),
            ("100", "Park", "short,s"),
            ("h", "Set", "GLOBAL(BACK)=${PARKINGSLOT}:${DIALSTATUS}"),
        ],
        &[&phone],
        &[],
    );
    exchange.statics(&[
        ("res_parking.conf", "short", "parkpos", "20-21"),
        ("res_parking.conf", "short", "parkingtime", "1"),
    ]);
    exchange.call("100", "");
    assert_eq!(exchange.global("BACK"), "20:ANSWER");
}

#[test]
fn a_call_that_rings_elsewhere_is_picked_up() {
    let phone = Phone::start("desk", Manner::Ring);
    let rows = [
        ("100", "Set", "__PICKUPMARK=door"),
        ("100", "Dial", "PJSIP/desk,20,g"),
        ("100", "Set", "GLOBAL(DONE)=${DIALSTATUS}:${DIALEDPEERNAME}"),
        ("200", "Set", "GLOBAL(BY)=${CHANNEL}"),
        ("200", "Pickup", "100"),
        ("201", "Set", "GLOBAL(BY)=${CHANNEL}"),
        ("201", "Pickup", "door@PICKUPMARK"),
        ("202", "Set", "GLOBAL(BY)=${CHANNEL}"),
        ("202", "PickupChan", "PJSIP/desk"),
        ("203", "Pickup", "999"),
        ("203", "Set", "GLOBAL(NOTHING)=rings"),
    ];
    let exchange = Exchange::start(&rows, &[&phone]);
    for exten in ["200", "201", "202"] {
        exchange.shared.globals.set("DONE", "");
        std::thread::scope(|scope| {
            let first = scope.spawn(|| exchange.call_once("100", ""));
            wait_until("the desk rings", || {
                let ringing = exchange
                    .shared
                    .directory
                    .names(|name| name.starts_with("PJSIP/desk-"));
                ringing.first().is_some_and(|name| exchange.rings(name))
            });
            exchange.call_leaving(exten, || {
                let by = exchange.global("BY");
                !by.is_empty() && exchange.bridged(&by)
            });
            assert_eq!(first.join().expect("the first call ended").status, 200);
        });
        let by = exchange.global("BY");
        assert_eq!(exchange.global("DONE"), format!("ANSWER:{by}"));
        wait_until("all is over", || exchange.shared.channels() == 0);
    }
    exchange.call("203", "");
    assert_eq!(exchange.global("NOTHING"), "rings");
}

#[test]
fn a_telephone_that_forwards_its_call_is_followed() {
    // Its 302 names the number "peer".
    let phone = Phone::start("away", Manner::Refuse(302));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/away,20,g"),
            ("100", "Set", "GLOBAL(FOLLOWED)=${DIALSTATUS}"),
            ("101", "Dial", "PJSIP/away,20,i"),
            ("101", "Set", "GLOBAL(IGNORED)=${DIALSTATUS}"),
            ("peer", "Set", "GLOBAL(BY)=${FORWARDERNAME}"),
            ("peer", "Answer", ""),
            ("peer", "Wait", "0.2"),
        ],
        &[&phone],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("FOLLOWED"), "ANSWER");
    assert!(exchange.global("BY").starts_with("PJSIP/away-"));
    exchange.call("101", "");
    assert_eq!(exchange.global("IGNORED"), "CHANUNAVAIL");
}

#[test]
fn a_call_that_nobody_answered_is_sent_away() {
    let exchange = Exchange::start(
        &[
            ("100", "Transfer", "PJSIP/555"),
            (
                "h",
                "Set",
                "GLOBAL(STATUS)=${TRANSFERSTATUS}:${TRANSFERSTATUSPROTOCOL}",
            ),
        ],
        &[],
    );
    assert_eq!(exchange.call("100", "").status, 302);
    assert_eq!(exchange.global("STATUS"), "SUCCESS:302");
}

#[test]
fn retry_dial_dials_again() {
    let busy = Phone::start("busy", Manner::Refuse(486));
    let exchange = Exchange::start(
        &[
            ("100", "RetryDial", ",0.1,2,Local/200@inner,5"),
            ("100", "Set", "GLOBAL(AFTER)=${DIALSTATUS}"),
            ("200@inner", "Set", "GLOBAL(TRIES)=$[0${TRIES} + 1]"),
            ("200@inner", "Dial", "PJSIP/busy,5"),
        ],
        &[&busy],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("TRIES"), "3");
    assert_eq!(exchange.global("AFTER"), "BUSY");
}

#[test]
fn follow_me_asks_who_answers() {
    let exchange = Exchange::start_with(
        &[
            ("100", "FollowMe", "ann"),
            ("h", "Set", "GLOBAL(PEER)=${BRIDGEPEER}"),
            ("1@numbers", "Answer", ""),
            ("1@numbers", "Wait", "0.3"),
            ("1@numbers", "SendDTMF", "2"),
            ("1@numbers", "Wait", "5"),
            ("2@numbers", "Answer", ""),
            ("2@numbers", "Wait", "0.3"),
            ("2@numbers", "SendDTMF", "1"),
            ("2@numbers", "Wait", "5"),
        ],
        &[],
        &[],
    );
    exchange.statics(&[
        ("followme.conf", "ann", "context", "numbers"),
        ("followme.conf", "ann", "number", "1,10"),
        ("followme.conf", "ann", "number", "2,10"),
    ]);
    exchange.call("100", "");
    let peer = exchange.global("PEER");
    assert!(peer.starts_with("Local/2@numbers-"), "{peer}");
}

#[test]
fn disa_opens_a_context_to_who_knows_the_passcode() {
    let exchange = Exchange::start(
        &[
            ("100", "DISA", "1234,inner"),
            ("55@inner", "Set", "GLOBAL(GOT)=${EXTEN}"),
            ("h@inner", "NoOp", ""),
        ],
        &[],
    );
    exchange.call("100", "1234#55");
    assert_eq!(exchange.global("GOT"), "55");
}

#[test]
fn lua_makes_calls() {
    let exchange = Exchange::start_with_files(
        &[
            ("100", "Goto", "lua,100,1"),
            ("200@inner", "Set", "GLOBAL(SEEN)=${CALLERID(num)}:${A}"),
            ("200@inner", "Answer", ""),
            ("200@inner", "Wait", "1"),
        ],
        &[],
        &[(
            "calls.lua",
            r#"
            extensions = { lua = { ["100"] = function()
              local made = call:originate{"Local/200@inner/n", application = "Wait", data = 1,
                caller = "77", vars = { A = "b" }, timeout = 5}
              call:set("GLOBAL(MADE)", made.status .. ":" .. tostring(made.answered))
              local none = call:originate{"PJSIP/nobody", exten = "1"}
              call:set("GLOBAL(NONE)", none.status)
              call:set("GLOBAL(BRIDGED)", call:bridge("PJSIP/nobody-1"))
              local ok, error = pcall(function() call:originate{"PJSIP/x"} end)
              call:set("GLOBAL(ERROR)", tostring(ok) .. tostring(error))
            end } }
            "#,
        )],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("MADE"), "SUCCESS:true");
    assert_eq!(exchange.global("SEEN"), "77:b");
    assert_eq!(exchange.global("NONE"), "FAILED");
    assert_eq!(exchange.global("BRIDGED"), "NONEXISTENT");
    assert!(
        exchange
            .global("ERROR")
            .contains("exten or application is needed")
    );
}

/// The telephones that ring, and who picks up.
fn desk_rings(exchange: &Exchange) {
    wait_until("the desk rings", || {
        let ringing = exchange
            .shared
            .directory
            .names(|name| name.starts_with("PJSIP/desk-"));
        ringing.first().is_some_and(|name| exchange.rings(name))
    });
}

#[test]
fn who_picks_up_waits_for_the_options_of_the_dial() {
    let phone = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,U(check)F(after,s,1)"),
            ("s@check", "Wait", "3"),
            ("s@check", "Set", "GLOBAL(CHECKED)=${CHANNEL}"),
            ("s@check", "Return", ""),
            ("s@after", "Set", "GLOBAL(WENT)=${CHANNEL}"),
            ("200", "Set", "GLOBAL(BY)=${CHANNEL}"),
            ("200", "Pickup", "100"),
        ],
        &[&phone],
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            exchange.call_leaving("100", || {
                let by = exchange.global("BY");
                !by.is_empty() && exchange.bridged(&by)
            })
        });
        desk_rings(&exchange);
        exchange.call_once("200", "");
        assert!(!first.join().expect("the first call ended").by_exchange);
    });
    let by = exchange.global("BY");
    assert_eq!(exchange.global("CHECKED"), by);
    // The caller left, and option F sends who picked up on.
    assert_eq!(exchange.global("WENT"), by);
    wait_until("all is over", || exchange.shared.channels() == 0);
}

#[test]
fn a_key_works_after_a_pickup() {
    let phone = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,t"),
            ("200", "Set", "GLOBAL(BY)=${CHANNEL}"),
            ("200", "Pickup", "100"),
            ("300", "Set", "GLOBAL(FROM)=${BLINDTRANSFER}"),
        ],
        &[&phone],
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        desk_rings(&exchange);
        assert!(exchange.call_once("200", "ww#300").by_exchange);
        assert!(first.join().expect("the first call ended").by_exchange);
    });
    assert_eq!(exchange.global("FROM"), exchange.global("BY"));
}

#[test]
fn a_call_that_runs_a_dialplan_is_parked_by_a_key() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "BridgeWait", ""),
            ("101", "Bridge", "${FIRST},K"),
            ("103", "ParkedCall", "default,701"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the first waits", || !exchange.global("FIRST").is_empty());
        assert!(exchange.call_once("101", "ww#72").by_exchange);
        let parked = exchange.shared.parked.list();
        let spaces: Vec<_> = parked
            .iter()
            .map(|(_, space, who)| (*space, who.channel.clone()))
            .collect();
        assert_eq!(spaces, [(701, exchange.global("FIRST"))]);
        exchange.call_leaving("103", || exchange.bridged(&exchange.global("FIRST")));
        assert!(first.join().expect("the first call ended").by_exchange);
    });
    wait_until("no space is taken", || {
        exchange.shared.parked.list().is_empty()
    });
}

#[test]
fn a_space_that_is_taken_is_not_given_away() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "Park", ",s"),
            ("101", "Park", ",s,701"),
            ("101", "Set", "GLOBAL(REFUSED)=yes"),
            ("102", "Park", ",sc(nowhere)"),
            ("103", "ParkAndAnnounce", ""),
        ],
        &[],
    );
    let over = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_leaving("100", || over.load(ordering)));
        wait_until("the call is parked", || {
            exchange.shared.parked.list().len() == 1
        });
        for exten in ["101", "102", "103"] {
            exchange.call_once(exten, "");
        }
        let (_, space, who) = exchange.shared.parked.list().remove(0);
        assert_eq!((space, who.channel), (701, exchange.global("FIRST")));
        over.store(true, ordering);
        assert!(!first.join().expect("the first call ended").by_exchange);
    });
    assert_eq!(exchange.global("REFUSED"), "yes");
    wait_until("no space is taken", || {
        exchange.shared.parked.list().is_empty()
    });
}

#[test]
fn a_call_is_picked_up_by_group() {
    let phone = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,b(mark^s^1)"),
            ("s@mark", "Set", "CHANNEL(callgroup)=3"),
            ("s@mark", "Return", ""),
            ("200", "Set", "CHANNEL(pickupgroup)=1-4"),
            ("200", "Set", "GLOBAL(BY)=${CHANNEL}"),
            ("200", "Pickup", ""),
            ("201", "Set", "CHANNEL(pickupgroup)=4"),
            ("201", "Pickup", ""),
            ("201", "Set", "GLOBAL(OTHER)=group"),
        ],
        &[&phone],
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        desk_rings(&exchange);
        exchange.call_once("201", "");
        assert_eq!(exchange.global("OTHER"), "group");
        exchange.call_leaving("200", || exchange.bridged(&exchange.global("BY")));
        assert_eq!(first.join().expect("the first call ended").status, 200);
    });
}

#[test]
fn a_code_of_features_conf_ends_the_ringing() {
    let phone = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Dial", "PJSIP/desk,20,H"),
            ("100", "Set", "GLOBAL(DONE)=${DIALSTATUS}"),
        ],
        &[&phone],
    );
    exchange.statics(&[("features.conf", "featuremap", "disconnect", "*7")]);
    exchange.call("100", "*ww5*7");
    assert_eq!(exchange.global("DONE"), "CANCEL");
}

#[test]
fn a_channel_may_have_codes_of_its_own() {
    let phone = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            (
                "100",
                "Set",
                "GLOBAL(USUAL)=${FEATUREMAP(disconnect)}/${FEATUREMAP(blindxfer)}",
            ),
            ("100", "Set", "FEATUREMAP(disconnect)=*8"),
            ("100", "Set", "GLOBAL(OWN)=${FEATUREMAP(disconnect)}"),
            ("100", "Set", "FEATUREMAP(disconnect)=no code"),
            ("100", "Set", "FEATUREMAP(teleport)=*9"),
            (
                "100",
                "Set",
                "GLOBAL(TIMES)=${FEATURE(transferdigittimeout)}/${FEATURE(inherit)}",
            ),
            ("100", "Set", "FEATURE(transferdigittimeout)=7.5"),
            ("100", "Set", "FEATURE(inherit)=yes"),
            ("100", "Set", "FEATURE(inherit)=perhaps"),
            (
                "100",
                "Set",
                "GLOBAL(SET)=${FEATURE(transferdigittimeout)}/${FEATURE(inherit)}",
            ),
            ("100", "Dial", "PJSIP/desk,20,H"),
            ("100", "Set", "GLOBAL(DONE)=${DIALSTATUS}"),
        ],
        &[&phone],
    );
    exchange.statics(&[
        ("features.conf", "featuremap", "disconnect", "*7"),
        ("features.conf", "general", "transferdigittimeout", "4"),
    ]);
    exchange.call("100", "*7ww*8");
    for (name, wanted) in [
        ("USUAL", "*7/#"),
        ("OWN", "*8"),
        ("TIMES", "4/no"),
        ("SET", "7.5/yes"),
        ("DONE", "CANCEL"),
    ] {
        assert_eq!(exchange.global(name), wanted, "{name}");
    }
}
