//! Local channels and calls that the exchange makes by itself.

use crate::exchange::{Exchange, Manner, Phone, wait_until};

#[test]
fn the_second_half_runs_the_dialplan_with_what_the_caller_gave() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "PLAIN=no"),
            ("100", "Set", "_ONCE=one"),
            ("100", "Set", "__ALWAYS=all"),
            ("100", "Dial", "Local/200@inner,20,g"),
            (
                "100",
                "Set",
                "GLOBAL(STATUS)=${DIALSTATUS}:${DIALEDPEERNAME}:${DIALEDPEERNUMBER}",
            ),
            (
                "200@inner",
                "Set",
                "GLOBAL(VARS)=${PLAIN}:${ONCE}:${ALWAYS}",
            ),
            (
                "200@inner",
                "Set",
                "GLOBAL(ID)=${CALLERID(num)}:${EXTEN}:${CONTEXT}:${CHANNEL}",
            ),
            (
                "200@inner",
                "Set",
                "GLOBAL(LINKED)=${IF($[\"${CHANNEL(linkedid)}\" = \"${UNIQUEID}\"]?same:other)}",
            ),
            ("200@inner", "Answer", ""),
            ("200@inner", "Wait", "0.1"),
            ("200@inner", "Hangup", "19"),
        ],
        &[],
    );
    let ended = exchange.call("100", "");
    assert_eq!((ended.status, ended.by_exchange), (200, true));
    assert_eq!(exchange.global("VARS"), ":one:all");
    assert_eq!(
        exchange.global("ID"),
        "tester:200:inner:Local/200@inner-00000000;2"
    );
    assert_eq!(exchange.global("LINKED"), "other");
    assert_eq!(
        exchange.global("STATUS"),
        "ANSWER:Local/200@inner-00000000;1:200@inner"
    );
}

#[test]
fn what_becomes_of_the_second_half_is_what_the_dial_says() {
    let busy = Phone::start("busy", Manner::Refuse(486));
    let rows = [
        ("_1X", "Dial", "Local/${EXTEN}@inner,20"),
        (
            "_1X",
            "Set",
            "GLOBAL(S${EXTEN})=${DIALSTATUS}:${HANGUPCAUSE}",
        ),
        ("12", "Dial", "Local/12@inner,1"),
        ("12", "Set", "GLOBAL(S12)=${DIALSTATUS}:${HANGUPCAUSE}"),
        ("10@inner", "Busy", ""),
        ("11@inner", "Congestion", ""),
        ("12@inner", "Wait", "20"),
        ("13@inner", "Dial", "PJSIP/busy,20"),
        ("14@inner", "NoOp", ""),
        ("15@inner", "Hangup", "34"),
    ];
    let exchange = Exchange::start(&rows, &[&busy]);
    for (exten, wanted) in [
        ("10", "BUSY:17"),
        ("11", "CONGESTION:34"),
        ("12", "NOANSWER:19"),
        ("13", "BUSY:17"),
        ("15", "CONGESTION:34"),
        // There is no such number.
        ("16", "CHANUNAVAIL:3"),
    ] {
        exchange.call(exten, "");
        assert_eq!(exchange.global(&format!("S{exten}")), wanted, "{exten}");
    }
}

#[test]
fn ringing_and_early_media_come_through() {
    let phone = Phone::start("desk", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "Local/200@inner,20"),
            ("101", "Dial", "Local/201@inner,20"),
            ("200@inner", "Dial", "PJSIP/desk,5"),
            ("201@inner", "Progress", ""),
            ("201@inner", "Wait", "0.2"),
        ],
        &[&phone],
    );
    assert_eq!(exchange.call("100", "").provisional, [180]);
    assert_eq!(exchange.call("101", "").provisional, [183]);
}

#[test]
fn a_number_that_leads_back_to_itself_ends() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "GLOBAL(HOPS)=$[0${HOPS} + 1]"),
            ("100", "Dial", "Local/100@test,20"),
        ],
        &[],
    );
    exchange.call("100", "");
    let hops: u32 = exchange.global("HOPS").parse().expect("a number");
    assert!((20..=21).contains(&hops), "{hops}");
}

/// Once both halves only pass on, the two telephones are joined and the pair is gone; with /n it stays.
#[test]
fn a_pair_that_only_passes_on_leaves_the_call() {
    for (dial, stays) in [("Local/200@inner", false), ("Local/200@inner/n", true)] {
        let phone = Phone::start("desk", Manner::Answer(None));
        let first = format!("{dial},20,g");
        let exchange = Exchange::start(
            &[
                ("100", "Dial", &first),
                ("100", "Set", "GLOBAL(AFTER)=${DIALSTATUS}:${BRIDGEPEER}"),
                ("200@inner", "Dial", "PJSIP/desk,20"),
                ("h@inner", "Set", "GLOBAL(GONE)=${CHANNEL}"),
                ("h", "Set", "GLOBAL(PEER)=${BRIDGEPEER}"),
            ],
            &[&phone],
        );
        let channels = || exchange.shared.channels();
        let joined = std::cell::Cell::new(false);
        exchange.call_until("100", "", || {
            let names = exchange.shared.directory.names(|_| true);
            let local = names
                .iter()
                .filter(|name| name.starts_with("Local/"))
                .count();
            let right = if stays {
                local == 2 && channels() == 4 && exchange.bridged("Local/200@inner-00000000;2")
            } else {
                local == 0 && channels() == 2
            };
            joined.set(joined.get() || right);
            right && exchange.global("GONE").is_empty() == stays
        });
        assert!(joined.get());
        let peer = exchange.global("PEER");
        assert_eq!(peer.starts_with("Local/"), stays, "{peer}");
        assert_eq!(exchange.global("GONE"), "Local/200@inner-00000000;2");
    }
}

#[test]
fn digits_go_through_a_pair() {
    let phone = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "Local/200@inner/n,20"),
            ("200@inner", "Dial", "PJSIP/desk,20"),
        ],
        &[&phone],
    );
    exchange.call_until("100", "5#", || phone.infos().len() >= 2);
    let digits: Vec<_> = phone
        .infos()
        .iter()
        .filter_map(|body| Some(body.lines().next()?.to_owned()))
        .collect();
    assert_eq!(digits, ["Signal=5", "Signal=#"]);
}

#[test]
fn originate_tells_what_became_of_it() {
    let busy = Phone::start("busy", Manner::Refuse(486));
    let desk = Phone::start("desk", Manner::Answer(None));
    let ring = Phone::start("ring", Manner::Ring);
    let exchange = Exchange::start(
        &[
            ("_1X", "Originate", "${TO${EXTEN}},exten,made,s,1,5"),
            ("_1X", "Set", "GLOBAL(S${EXTEN})=${ORIGINATE_STATUS}"),
            ("s@made", "Set", "GLOBAL(MADE)=${CHANNEL}"),
            ("20", "Set", "__KEPT=yes"),
            (
                "20",
                "Originate",
                "Local/200@inner/n,app,Playback,nothing,,3,c(555)n(Robot)v(A=1^__B=2)",
            ),
            ("20", "Set", "GLOBAL(S20)=${ORIGINATE_STATUS}"),
            (
                "200@inner",
                "Set",
                "GLOBAL(SEEN)=${CALLERID(all)}:${A}:${B}:${KEPT}",
            ),
            ("200@inner", "Answer", ""),
            ("200@inner", "Wait", "1"),
            ("failed@made", "Set", "GLOBAL(REASON)=${REASON}"),
            ("30", "Originate", "PJSIP/desk,app,Wait,20,,3,a"),
            ("30", "Set", "GLOBAL(S30)=${ORIGINATE_STATUS}"),
        ],
        &[&busy, &desk, &ring],
    );
    for (exten, to, wanted) in [
        ("10", "PJSIP/busy", "BUSY"),
        ("11", "PJSIP/desk", "SUCCESS"),
        ("12", "PJSIP/ring", "RINGING"),
        ("13", "PJSIP/nobody", "FAILED"),
        ("14", "Local/9@nowhere", "FAILED"),
    ] {
        exchange.shared.globals.set(&format!("TO{exten}"), to);
        exchange.call(exten, "");
        assert_eq!(exchange.global(&format!("S{exten}")), wanted, "{exten}");
    }
    assert!(exchange.global("MADE").starts_with("PJSIP/desk-"));
    wait_until("the context hears of the failures", || {
        exchange.global("REASON") == "0"
    });
    exchange.call("20", "");
    assert_eq!(exchange.global("S20"), "SUCCESS");
    assert_eq!(exchange.global("SEEN"), "\"Robot\" <555>:1:2:yes");
    // Not waited for: the call goes on by itself.
    assert_eq!(exchange.call_once("30", "").status, 603);
    assert_eq!(exchange.global("S30"), "SUCCESS");
    wait_until("the desk telephone is called", || {
        !exchange
            .shared
            .directory
            .names(|name| name.starts_with("PJSIP/desk-"))
            .is_empty()
    });
}

#[test]
fn two_calls_of_a_pair_are_joined_without_it() {
    let one = Phone::start("one", Manner::Answer(None));
    let two = Phone::start("two", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "Local/200@inner,exten,outer,s,1,5"),
            ("100", "Wait", "60"),
            ("200@inner", "Dial", "PJSIP/one,20"),
            ("s@outer", "Dial", "PJSIP/two,20"),
        ],
        &[&one, &two],
    );
    let joined = std::cell::Cell::new(false);
    exchange.call_leaving("100", || {
        let names = exchange.shared.directory.names(|_| true);
        let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
        joined.set((count("Local/"), count("PJSIP/one"), count("PJSIP/two")) == (0, 1, 1));
        joined.get()
    });
    assert!(joined.get(), "the telephones are not joined");
}

#[test]
fn bridge_takes_a_channel_out_of_its_application() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "BridgeWait", ""),
            ("100", "Set", "GLOBAL(BACK)=${BRIDGEPEER}"),
            ("101", "Bridge", "${FIRST},S(0.3)"),
            ("101", "Set", "GLOBAL(RESULT)=${BRIDGERESULT}"),
            ("102", "Bridge", "PJSIP/nobody-1"),
            ("102", "Set", "GLOBAL(NONE)=${BRIDGERESULT}"),
            ("102", "Bridge", "${CHANNEL}"),
            ("102", "Set", "GLOBAL(LOOP)=${BRIDGERESULT}"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the first waits", || !exchange.global("FIRST").is_empty());
        exchange.call_once("101", "");
        waiting.join().expect("the first call ended");
    });
    assert_eq!(exchange.global("RESULT"), "SUCCESS");
    // It went on behind BridgeWait.
    assert!(exchange.global("BACK").starts_with("PJSIP/tester-"));
    exchange.call("102", "");
    assert_eq!(
        (
            exchange.global("NONE").as_str(),
            exchange.global("LOOP").as_str()
        ),
        ("NONEXISTENT", "LOOP")
    );
}

/// The telephone of another call is taken away; that call ends as if it had hung up.
#[test]
fn bridge_takes_a_telephone_out_of_another_call() {
    let phone = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20,g"),
            ("100", "Set", "GLOBAL(LEFT)=${DIALSTATUS}"),
            ("101", "Bridge", "PJSIP/desk,S(0.3)"),
            ("101", "Set", "GLOBAL(RESULT)=${BRIDGERESULT}"),
        ],
        &[&phone],
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the desk is bridged", || {
            let names = exchange
                .shared
                .directory
                .names(|name| name.contains("/desk-"));
            names.first().is_some_and(|name| exchange.bridged(name))
        });
        exchange.call_once("101", "");
        first.join().expect("the first call ended");
    });
    assert_eq!(exchange.global("RESULT"), "SUCCESS");
    assert_eq!(exchange.global("LEFT"), "ANSWER");
    wait_until("nobody keeps the desk", || exchange.shared.channels() == 0);
}

/// Behind a Local channel that leaves the call, the telephone stays with who called.
#[test]
fn a_telephone_taken_through_a_pair_keeps_the_call() {
    let phone = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Dial", "PJSIP/desk,20"),
            ("101", "Dial", "Local/102@inner,20"),
            ("102@inner", "Bridge", "PJSIP/desk"),
            ("h@inner", "Set", "GLOBAL(LEFT)=${BRIDGERESULT}"),
        ],
        &[&phone],
    );
    let desk = || {
        let names = exchange
            .shared
            .directory
            .names(|name| name.contains("/desk-"));
        names.first().is_some_and(|name| exchange.bridged(name))
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the desk is bridged", desk);
        let ended = exchange.call_leaving("101", || exchange.global("LEFT") == "SUCCESS" && desk());
        assert!(!ended.by_exchange, "the call was cut");
        first.join().expect("the first call ended");
    });
    wait_until("nobody keeps the desk", || exchange.shared.channels() == 0);
}

/// Who is taken through a Local channel goes on in the dialplan afterwards.
#[test]
fn a_waiting_call_taken_through_a_pair_goes_on() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "BridgeWait", ""),
            ("100", "Set", "GLOBAL(BACK)=yes"),
            ("101", "Dial", "Local/102@inner,20"),
            ("102@inner", "Bridge", "${FIRST}"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the first waits", || !exchange.global("FIRST").is_empty());
        exchange.call_leaving("101", || exchange.bridged(&exchange.global("FIRST")));
        waiting.join().expect("the first call ended");
    });
    assert_eq!(exchange.global("BACK"), "yes");
    wait_until("all is over", || exchange.shared.channels() == 0);
}

/// Where half of a pair is taken, the telephone behind it is what is let go.
#[test]
fn a_telephone_behind_a_taken_half_is_let_go() {
    let phone = Phone::start("desk", Manner::Answer(None));
    let exchange = Exchange::start(
        &[
            ("100", "Originate", "Local/200@inner,app,BridgeWait"),
            ("200@inner", "Dial", "PJSIP/desk,20"),
            ("101", "Bridge", "Local/200@inner"),
        ],
        &[&phone],
    );
    exchange.call_once("100", "");
    let names = |start: &str| {
        exchange
            .shared
            .directory
            .names(|name| name.starts_with(start))
    };
    let ended = exchange.call_until("101", "", || {
        let desk = names("PJSIP/desk-");
        names("Local/").is_empty() && desk.first().is_some_and(|name| exchange.bridged(name))
    });
    assert_eq!((ended.status, ended.by_exchange), (200, false));
}

/// Calls that a call makes have no more hops than itself.
#[test]
fn a_number_that_calls_itself_without_end_is_refused() {
    let exchange = Exchange::start(
        &[
            ("200@inner", "Set", "GLOBAL(TIMES)=$[${GLOBAL(TIMES)} + 1]"),
            ("200@inner", "Originate", "Local/200@inner,app,Wait,1"),
            ("100", "Set", "GLOBAL(TIMES)=0"),
            ("100", "Originate", "Local/200@inner,app,Wait,1"),
        ],
        &[],
    );
    exchange.call("100", "");
    let times: u32 = exchange.global("TIMES").parse().expect("a number");
    assert!((2..=30).contains(&times), "{times}");
}

#[test]
fn a_channel_goes_where_it_was_told_after_the_bridge() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "CHANNEL(after_bridge_goto)=after,s,1"),
            ("100", "Set", "GLOBAL(TOLD)=${CHANNEL(after_bridge_goto)}"),
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "BridgeWait", ""),
            ("s@after", "Set", "GLOBAL(WENT)=${CHANNEL}"),
            ("101", "Bridge", "${FIRST},S(0.3)"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the first waits", || !exchange.global("FIRST").is_empty());
        exchange.call_once("101", "");
        waiting.join().expect("the first call ended");
    });
    assert_eq!(exchange.global("TOLD"), "after,s,1");
    assert_eq!(exchange.global("WENT"), exchange.global("FIRST"));
}
