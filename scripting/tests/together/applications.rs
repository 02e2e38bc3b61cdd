//! Applications and functions beyond the basic ones, on whole calls.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exchange::{Exchange, Manner, Phone, wait_until};

/// Sets `GLOBAL(name)` to what each expression gives, and compares.
fn check(cases: &[(&str, &str)]) {
    let names: Vec<String> = (0..cases.len())
        .map(|number| format!("R{number}"))
        .collect();
    let rows: Vec<String> = cases
        .iter()
        .zip(&names)
        .map(|((expression, _), name)| format!("GLOBAL({name})={expression}"))
        .collect();
    let mut steps = vec![("100", "Answer", "")];
    steps.extend(rows.iter().map(|row| ("100", "Set", row.as_str())));
    let exchange = Exchange::start_with(
        &steps,
        &[],
        &[
            ("general", "autofallthrough", "yes"),
            ("twice", "x", "1"),
            ("twice", "x", "2"),
        ],
    );
    let file = exchange.data.path().join("lines.txt");
    std::fs::write(file, "one\ntwo\nthree\n").expect("a file");
    exchange.call("100", "");
    for ((expression, wanted), name) in cases.iter().zip(&names) {
        assert_eq!(exchange.global(name), *wanted, "{expression}");
    }
}

#[test]
fn functions_give_what_they_should() {
    check(&[
        ("${SPRINTF(%05.1f|%s,3.14159,x)}", "003.1|x"),
        ("${KEYPADHASH(Les)}", "537"),
        ("${SQL_ESC(it's)}", "it''s"),
        ("${SORT(a:3,b:1,c:2)}", "b,c,a"),
        ("${STRBETWEEN(w,123)}", "1w2w3"),
        ("${VERSION()}", "20.0.0"),
        ("${SYSINFO(numcalls)}", "1"),
        ("${IF($[${SYSINFO(totalram)} > 1000]?yes:no)}", "yes"),
        ("${ENV(STROWGER_DATABASE_URL)}", ""),
        ("${IF($[${LEN(${ENV(PATH)})} > 0]?yes:no)}", "yes"),
        (
            "${AST_CONFIG(extensions.conf,general,autofallthrough)}",
            "yes",
        ),
        (
            "${AST_CONFIG(Extensions.conf,general,autofallthrough)}",
            "yes",
        ),
        (
            "${AST_CONFIG(extensions.conf,twice,x)}${AST_CONFIG(extensions.conf,twice,x,-1)}${AST_CONFIG(extensions.conf,twice,x,5)}",
            "12",
        ),
        ("${SHELL(printf 'a b'; exit 3)}", "a b"),
        (
            "${SHELL(printf x)}${SHELL(printf y):0:1}$[${SHELL(echo 2)} + 1]",
            "xy3",
        ),
        ("${${SET(N=SHELL)}(printf x)}", ""),
        (
            "${STAT(e,lines.txt)}${STAT(f,lines.txt)}${STAT(d,lines.txt)}${STAT(s,lines.txt)}",
            "11014",
        ),
        ("${STAT(e,nothing)}${STAT(d,sounds/..)}", "0"),
        ("${FILE(lines.txt,4,3)}", "two"),
        ("${FILE(lines.txt,-6,5)}", "three"),
        ("${FILE(lines.txt,1,1,l)}", "two\n"),
        ("${FILE(nothing.txt)}", ""),
        ("${FILE_COUNT_LINE(lines.txt)}", "3"),
        (
            "${CHANNEL_EXISTS(${CHANNEL})}${CHANNEL_EXISTS(PJSIP/nobody-1)}",
            "10",
        ),
        (
            "${IF($[\"${CHANNELS(^pjsip/tester)}\" = \"${CHANNEL}\"]?yes:no)}",
            "yes",
        ),
    ]);
}

#[test]
fn lists_grow_and_shrink_at_both_ends() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "PUSH(L)=b"),
            ("100", "Set", "PUSH(L)=c"),
            ("100", "Set", "UNSHIFT(L)=a"),
            ("100", "Set", "GLOBAL(ALL)=${L}"),
            ("100", "Set", "GLOBAL(ENDS)=${POP(L)}${SHIFT(L)}:${L}"),
            ("100", "Set", "GLOBAL(LAST)=${POP(L)}:${L}:${POP(L)}"),
            ("100", "Set", "PUSH(M,-)=1"),
            ("100", "Set", "PUSH(M,-)=2"),
            ("100", "Set", "GLOBAL(M)=${M}:${LISTFILTER(M,-,1)}"),
            (
                "100",
                "Set",
                "JSON={\"city\":\"Москва\",\"list\":[1,{\"x\":\"y\"}]}",
            ),
            (
                "100",
                "Set",
                "GLOBAL(JSON)=${JSON_DECODE(JSON,city)}/${JSON_DECODE(JSON,list.1.x)}/${JSON_DECODE(JSON,list,.,c)}",
            ),
        ],
        &[],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("ALL"), "a,b,c");
    assert_eq!(exchange.global("ENDS"), "ca:b");
    assert_eq!(exchange.global("LAST"), "b::");
    assert_eq!(exchange.global("M"), "1-2:2");
    assert_eq!(exchange.global("JSON"), "Москва/y/2");
}

#[test]
fn frames_of_subroutines_can_be_looked_into() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "X=outer"),
            ("100", "Gosub", "one,1(a)"),
            ("100", "NoOp", ""),
            ("one", "Set", "LOCAL(X)=middle"),
            ("one", "Gosub", "two,1"),
            ("one", "Return", ""),
            ("two", "Set", "LOCAL(X)=inner"),
            (
                "two",
                "Set",
                "GLOBAL(X)=${LOCAL_PEEK(0,X)}/${LOCAL_PEEK(1,X)}/${LOCAL_PEEK(2,X)}",
            ),
            (
                "two",
                "Set",
                "GLOBAL(S)=${STACK_PEEK(1,e)}${STACK_PEEK(1,p)}:${STACK_PEEK(2,l)}:${STACK_PEEK(9,l,s)}",
            ),
            ("two", "Return", ""),
        ],
        &[],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("X"), "inner/middle/outer");
    assert_eq!(exchange.global("S"), "one3:test,100,3:");
}

#[test]
fn steps_run_under_the_first_condition_that_holds() {
    let mut rows = Vec::new();
    for (app, data) in [
        ("If", "$[${EXTEN} = 101]"),
        ("Set", "GLOBAL(GOT)=if"),
        ("If", "$[0]"),
        ("Set", "GLOBAL(GOT)=wrong"),
        ("Else", ""),
        ("Set", "GLOBAL(GOT)=${GOT}-inner"),
        ("EndIf", ""),
        ("ElseIf", "$[${EXTEN} = 102]"),
        ("Set", "GLOBAL(GOT)=second"),
        ("ElseIf", "$[${EXTEN} = 102 | ${EXTEN} = 103]"),
        ("Set", "GLOBAL(GOT)=third"),
        ("ExitIf", ""),
        ("Set", "GLOBAL(GOT)=wrong"),
        ("Else", ""),
        ("Set", "GLOBAL(GOT)=else"),
        ("EndIf", ""),
        ("Set", "GLOBAL(GOT)=${GOT}."),
    ] {
        rows.push(("_10X", app, data));
    }
    rows.push(("200", "If", "0"));
    rows.push(("200", "Set", "GLOBAL(GOT)=wrong"));
    let exchange = Exchange::start(&rows, &[]);
    for (exten, wanted) in [
        ("101", "if-inner."),
        ("102", "second."),
        ("103", "third."),
        ("104", "else."),
        // Without EndIf the step fails and the call ends.
        ("200", "else."),
    ] {
        exchange.call(exten, "");
        assert_eq!(exchange.global("GOT"), wanted, "{exten}");
    }
}

#[test]
fn groups_count_the_calls_that_are_in_them() {
    let exchange = Exchange::start(
        &[
            ("_10X", "Answer", ""),
            ("_10X", "Set", "GROUP()=trunk"),
            ("_10X", "Set", "GROUP(out)=city${EXTEN}"),
            ("_10X", "Set", "GLOBAL(THERE${EXTEN})=yes"),
            ("_10X", "WaitExten", "60"),
            (
                "200",
                "Set",
                "GLOBAL(COUNT)=${GROUP_COUNT(trunk)}/${GROUP_COUNT(TRUNK)}/${GROUP_COUNT(city101@out)}/${GROUP_COUNT(none)}",
            ),
            (
                "200",
                "Set",
                "GLOBAL(MATCH)=${GROUP_MATCH_COUNT(^city)}/${GROUP_MATCH_COUNT(.@out)}/${GROUP_MATCH_COUNT(^city@nothing)}",
            ),
            ("200", "Set", "GROUP(a)=b"),
            ("200", "Set", "GROUP()=c"),
            (
                "200",
                "Set",
                "GLOBAL(OWN)=${GROUP(a)}/${GROUP()}/${GROUP_LIST()}/${GROUP_COUNT(@a)}",
            ),
            ("200", "Set", "GROUP(a)="),
            ("200", "Set", "GLOBAL(LEFT)=${GROUP_LIST()}"),
        ],
        &[],
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for exten in ["101", "102"] {
            let (exchange, done) = (&exchange, &done);
            scope.spawn(move || exchange.call_leaving(exten, || done.load(Ordering::Relaxed)));
        }
        wait_until("both calls are there", || {
            exchange.global("THERE101") == "yes" && exchange.global("THERE102") == "yes"
        });
        exchange.call_once("200", "");
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(exchange.global("COUNT"), "2/2/1/0");
    assert_eq!(exchange.global("MATCH"), "2/2/0");
    assert_eq!(exchange.global("OWN"), "b/c/b@a c/1");
    assert_eq!(exchange.global("LEFT"), "c");
    wait_until("all calls are over", || exchange.shared.channels() == 0);
    exchange.call("200", "");
    assert_eq!(exchange.global("COUNT"), "0/0/0/0");
}

#[test]
fn channels_share_values_and_locks_and_are_moved_and_ended_by_others() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "SHARED(X)=mine"),
            (
                "100",
                "Set",
                "GLOBAL(FIRST)=${TRYLOCK(door)}${TRYLOCK(door)}",
            ),
            ("100", "Set", "GLOBAL(NAME)=${CHANNEL}"),
            ("100", "Wait", "60"),
            ("moved", "Set", "GLOBAL(MOVED)=${SHARED(X)}"),
            (
                "moved",
                "Set",
                "GLOBAL(FREED)=${UNLOCK(door)}${UNLOCK(door)}",
            ),
            ("moved", "Wait", "60"),
            (
                "101",
                "Set",
                "GLOBAL(SEEN)=${SHARED(X,${NAME})}/${TRYLOCK(door)}${UNLOCK(door)}",
            ),
            ("101", "Set", "SHARED(X,${NAME})=theirs"),
            ("101", "ChannelRedirect", "${NAME},test,moved,1"),
            ("101", "Set", "GLOBAL(REDIRECT)=${CHANNELREDIRECT_STATUS}"),
            ("101", "Set", "GLOBAL(GOT)=${LOCK(door)}"),
            ("101", "ChannelRedirect", "PJSIP/nobody-1,test,moved,1"),
            ("101", "Set", "GLOBAL(NOBODY)=${CHANNELREDIRECT_STATUS}"),
            ("101", "SoftHangup", "${NAME}"),
            ("101", "Set", "GLOBAL(AFTER)=yes"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the first call is there", || {
            !exchange.global("NAME").is_empty()
        });
        exchange.call_once("101", "");
        assert!(first.join().expect("the first call").by_exchange);
    });
    assert_eq!(exchange.global("FIRST"), "11");
    assert_eq!(exchange.global("SEEN"), "mine/00");
    assert_eq!(exchange.global("MOVED"), "theirs");
    assert_eq!(exchange.global("FREED"), "10");
    assert_eq!(exchange.global("REDIRECT"), "SUCCESS");
    assert_eq!(exchange.global("GOT"), "1");
    assert_eq!(exchange.global("NOBODY"), "NOCHANNEL");
    assert_eq!(exchange.global("AFTER"), "yes");
}

#[test]
fn a_digit_or_a_moment_is_waited_for() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "WaitDigit", "60,59"),
            (
                "100",
                "Set",
                "GLOBAL(DIGIT)=${WAITDIGITSTATUS}:${WAITDIGITRESULT}",
            ),
            ("100", "WaitDigit", "0.1"),
            (
                "100",
                "Set",
                "GLOBAL(NONE)=${WAITDIGITSTATUS}:${WAITDIGITRESULT}",
            ),
            ("100", "WaitDigit", "soon"),
            ("100", "Set", "GLOBAL(WRONG)=${WAITDIGITSTATUS}"),
            ("100", "Set", "BEFORE=${EPOCH}"),
            ("100", "WaitUntil", "$[${EPOCH} + 2]"),
            (
                "100",
                "Set",
                "GLOBAL(UNTIL)=${WAITUNTILSTATUS}:$[${EPOCH} - ${BEFORE} >= 2]",
            ),
            ("100", "WaitUntil", "1000"),
            ("100", "Set", "GLOBAL(PAST)=${WAITUNTILSTATUS}"),
            ("100", "WaitUntil", "soon"),
            ("100", "Set", "GLOBAL(NEVER)=${WAITUNTILSTATUS}"),
            ("100", "DumpChan", ""),
        ],
        &[],
    );
    exchange.call("100", "135");
    assert_eq!(exchange.global("DIGIT"), "DTMF:5");
    assert_eq!(exchange.global("NONE"), "TIMEOUT:");
    assert_eq!(exchange.global("WRONG"), "ERROR");
    assert_eq!(exchange.global("UNTIL"), "OK:1");
    assert_eq!(exchange.global("PAST"), "PAST");
    assert_eq!(exchange.global("NEVER"), "FAILURE");
}

#[test]
fn who_knows_the_password_goes_on_and_three_wrong_ones_end_the_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("passwords");
    std::fs::write(&file, "sales:81dc9bdb52d04dc20036dbd8313ed055\n").expect("passwords");
    let by_file = format!("{},am", file.display());
    let exchange = Exchange::start(
        &[
            ("100", "Authenticate", "1234,a"),
            ("100", "Set", "GLOBAL(ONE)=${CHANNEL(accountcode)}"),
            ("101", "Set", "DB(pin/77)=marketing"),
            ("101", "Authenticate", "/pin,dar"),
            (
                "101",
                "Set",
                "GLOBAL(FAMILY)=${CHANNEL(accountcode)}:${DB_EXISTS(pin/77)}",
            ),
            ("102", "Authenticate", &by_file),
            ("102", "Set", "GLOBAL(FILE)=${CHANNEL(accountcode)}"),
            ("103", "Set", "TIMEOUT(digit)=1"),
            ("103", "Authenticate", "1234,,2"),
            ("103", "Set", "GLOBAL(WRONG)=yes"),
            ("104", "Authenticate", ""),
            ("104", "Set", "GLOBAL(WRONG)=yes"),
        ],
        &[],
    );
    exchange.call("100", "9#1234#");
    assert_eq!(exchange.global("ONE"), "1234");
    exchange.call("101", "77#");
    assert_eq!(exchange.global("FAMILY"), "77:0");
    exchange.call("102", "1234#");
    assert_eq!(exchange.global("FILE"), "sales");
    exchange.call("103", "121212");
    exchange.call("104", "");
    assert_eq!(exchange.global("WRONG"), "");
}

#[test]
fn a_text_is_sent_to_the_telephone() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "SendText", "Привет, мир"),
            ("100", "Set", "GLOBAL(SENT)=${SENDTEXTSTATUS}"),
            ("100", "SendText", ""),
            ("100", "Set", "GLOBAL(EMPTY)=${SENDTEXTSTATUS}"),
            ("h", "SendText", "too late"),
            ("h", "Set", "GLOBAL(LATE)=${SENDTEXTSTATUS}"),
        ],
        &[],
    );
    let ended = exchange.call("100", "");
    assert_eq!(ended.messages, ["Привет, мир"]);
    assert_eq!(exchange.global("SENT"), "SUCCESS");
    assert_eq!(exchange.global("EMPTY"), "FAILURE");
    assert_eq!(exchange.global("LATE"), "FAILURE");
}

#[test]
fn a_command_that_hangs_holds_no_call_that_is_over() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "GLOBAL(THERE)=yes"),
            ("100", "Set", "GLOBAL(LATE)=${SHELL(sleep 600)}x"),
            ("h", "Set", "GLOBAL(H)=yes"),
        ],
        &[&Phone::start("other", Manner::Ring)],
    );
    exchange.call_until("100", "", || exchange.global("THERE") == "yes");
    assert_eq!(exchange.global("H"), "yes");
}

#[test]
fn a_macro_of_extension_h_is_run_whole() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("h", "Macro", "over"),
            ("h", "Set", "GLOBAL(H)=behind"),
            ("s@macro-over", "Set", "GLOBAL(FIRST)=yes"),
            ("s@macro-over", "Set", "GLOBAL(SECOND)=yes"),
        ],
        &[],
    );
    exchange.call("100", "");
    for (name, value) in [("FIRST", "yes"), ("SECOND", "yes"), ("H", "behind")] {
        assert_eq!(exchange.global(name), value, "{name}");
    }
}

#[test]
fn a_macro_has_its_arguments_and_comes_back_by_itself() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "ARG1=mine"),
            ("100", "Macro", "greet,Анна,2"),
            (
                "100",
                "Set",
                "GLOBAL(AFTER)=${ARG1}/${ARG2}/${MACRO_EXTEN}/${EXTEN}/${PRIORITY}",
            ),
            ("100", "Macro", "skip"),
            ("100", "Set", "GLOBAL(SKIPPED)=no"),
            ("100", "MacroIf", "$[1 > 2]?greet:early"),
            ("100", "Macro", "outer,a,b"),
            ("100", "Macro", "nowhere"),
            ("100", "Macro", "away"),
            ("100", "Set", "GLOBAL(STAYED)=yes"),
            (
                "s@macro-greet",
                "Set",
                "GLOBAL(IN)=${ARG1}/${ARG2}/${MACRO_EXTEN}/${MACRO_CONTEXT}/${MACRO_PRIORITY}/${EXTEN}",
            ),
            ("s@macro-skip", "Set", "MACRO_OFFSET=1"),
            ("s@macro-early", "MacroExit", ""),
            ("s@macro-early", "Set", "GLOBAL(LATE)=yes"),
            ("s@macro-outer", "Gosub", "subs,x,1(${ARG2})"),
            ("s@macro-outer", "Macro", "inner,c"),
            (
                "s@macro-outer",
                "Set",
                "GLOBAL(OUTER)=${ARG1}${ARG2}${GOSUB_RETVAL}",
            ),
            (
                "s@macro-inner",
                "Set",
                "GLOBAL(INNER)=${ARG1}${ARG2}/${MACRO_EXTEN}/${MACRO_PRIORITY}",
            ),
            ("x@subs", "Return", "<${ARG1}>"),
            ("s@macro-away", "Goto", "test,200,1"),
            ("200", "Set", "GLOBAL(AWAY)=${EXTEN}"),
        ],
        &[],
    );
    exchange.call("100", "");
    for (name, value) in [
        ("IN", "Анна/2/100/test/2/s"),
        ("AFTER", "mine///100/3"),
        ("SKIPPED", ""),
        ("LATE", ""),
        ("OUTER", "ab<b>"),
        ("INNER", "c/100/7"),
        ("AWAY", "200"),
        ("STAYED", ""),
    ] {
        assert_eq!(exchange.global(name), value, "{name}");
    }
}

#[test]
fn user_events_reach_whoever_listens_in_order_with_their_fields() {
    let exchange = Exchange::start(
        &[
            (
                "100",
                "UserEvent",
                "Began,Caller: ${CALLERID(num)},Note: a\\, b",
            ),
            ("100", "UserEvent", ""),
            ("100", "UserEvent", "Ended,Empty:,Alone"),
        ],
        &[],
    );
    // Nobody listens to the first call.
    exchange.call("100", "");
    let mut listener = exchange.shared.events.subscribe();
    exchange.call("100", "");
    // Events are passed on in turns.
    std::thread::sleep(std::time::Duration::from_millis(200));
    // The call itself is told of too.
    let mut next =
        || std::iter::from_fn(|| listener.try_recv().ok()).find(|event| event.name == "UserEvent");
    let began = next().expect("an event");
    assert_eq!(began.name, "UserEvent");
    for (field, value) in [
        ("ChannelState", "4"),
        ("ChannelStateDesc", "Ring"),
        ("CallerIDNum", "tester"),
        ("ConnectedLineNum", "<unknown>"),
        ("Context", "test"),
        ("Exten", "100"),
        ("Priority", "1"),
        ("UserEvent", "Began"),
        ("Caller", "tester"),
        ("Note", "a, b"),
    ] {
        assert_eq!(began.field(field), Some(value), "{field}");
    }
    let channel = began.field("Channel").unwrap_or_default();
    assert!(channel.starts_with("PJSIP/tester-"), "{channel}");
    let ended = next().expect("another event");
    let own: Vec<&str> = ended.fields[14..]
        .iter()
        .map(|(name, _)| name.as_ref())
        .collect();
    assert_eq!(own, ["UserEvent", "Empty", "Alone"]);
    assert_eq!(ended.field("UserEvent"), Some("Ended"));
    assert!(next().is_none(), "one without a name is none");
}

#[test]
fn what_sent_a_call_on_and_the_environment_are_kept() {
    let exchange = Exchange::start(
        &[
            ("100", "Set", "REDIRECTING(from-all)=\"Boss\" <500>"),
            ("100", "Set", "REDIRECTING(reason)=CFB"),
            ("100", "Set", "REDIRECTING(count)=2"),
            ("100", "Set", "REDIRECTING(count)=many"),
            (
                "100",
                "Set",
                "GLOBAL(SENT)=${REDIRECTING(from-num)}/${REDIRECTING(from-name)}/${CALLERID(rdnis)}/${REDIRECTING(reason)}/${REDIRECTING(count)}/${REDIRECTING(to-num)}/${REDIRECTING(orig-reason)}",
            ),
            ("100", "Set", "ENV(BENCH_OF_CALLS)=blue"),
            ("100", "Set", "ENV(STROWGER_HTTP_BIND)=x"),
            (
                "100",
                "Set",
                "GLOBAL(SEEN)=${ENV(BENCH_OF_CALLS)}/${SHELL(printf %s \"$BENCH_OF_CALLS\")}/${ENV(STROWGER_HTTP_BIND)}",
            ),
            ("100", "Set", "N=7"),
            (
                "100",
                "Set",
                "GLOBAL(DATA)=${EVAL_EXTEN(200,1)}|${EVAL_EXTEN(300,1)}",
            ),
            ("100", "Set", "MASTER_CHANNEL(M)=own"),
            ("100", "Set", "EXPORT(${CHANNEL},E)=given"),
            (
                "100",
                "Set",
                "GLOBAL(OWN)=${MASTER_CHANNEL(M)}/${M}/${IMPORT(${CHANNEL},E)}",
            ),
            ("200", "NoOp", "n is ${N} and $[${N} * 2]"),
        ],
        &[],
    );
    exchange.call("100", "");
    for (name, value) in [
        ("SENT", "500/Boss/500/cfb/2//unknown"),
        ("SEEN", "blue/blue/"),
        ("DATA", "n is 7 and 14|"),
        ("OWN", "own/own/given"),
    ] {
        assert_eq!(exchange.global(name), value, "{name}");
    }
}

#[test]
fn a_command_of_system_ends_when_its_time_is_over() {
    let exchange = Exchange::start_with_config(
        &[
            ("100", "TrySystem", "sleep 600"),
            ("100", "Set", "GLOBAL(STATUS)=${SYSTEMSTATUS}"),
        ],
        &[],
        &[],
        |config, _| config.agi.system_s = 1,
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("STATUS"), "FAILURE");
}

/// Somebody takes a call out of its macro for a while: the steps that were left are run behind that.
#[test]
fn a_macro_goes_on_after_its_call_was_taken_out_of_it() {
    let exchange = Exchange::start(
        &[
            ("100", "Macro", "wait"),
            ("100", "Set", "GLOBAL(AFTER)=${GLOBAL(REST)}"),
            ("s@macro-wait", "Answer", ""),
            ("s@macro-wait", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("s@macro-wait", "Wait", "600"),
            ("s@macro-wait", "Set", "GLOBAL(REST)=${EXTEN}@${CONTEXT}"),
            ("101", "Bridge", "${GLOBAL(FIRST)}"),
            ("102", "ChannelRedirect", "${GLOBAL(FIRST)},test,200,1"),
            ("200", "Set", "GLOBAL(SENT)=${EXTEN}"),
        ],
        &[],
    );
    let first_waits = || !exchange.global("FIRST").is_empty();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the first waits", first_waits);
        exchange.call_leaving("101", || exchange.bridged(&exchange.global("FIRST")));
        assert!(first.join().expect("the first call ended").by_exchange);
    });
    assert_eq!(exchange.global("REST"), "s@macro-wait");
    assert_eq!(exchange.global("AFTER"), "s@macro-wait");
    for name in ["FIRST", "REST", "AFTER"] {
        exchange.shared.globals.set(name, "");
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(|| exchange.call_once("100", ""));
        wait_until("the first waits", first_waits);
        exchange.call_once("102", "");
        assert!(first.join().expect("the first call ended").by_exchange);
    });
    assert_eq!(exchange.global("SENT"), "200");
    assert_eq!(exchange.global("AFTER"), "");
}

#[test]
fn a_macro_that_one_call_at_a_time_runs_is_free_only_at_its_end() {
    let exchange = Exchange::start(
        &[
            ("100", "MacroExclusive", "door,outer"),
            (
                "s@macro-door",
                "ExecIf",
                "$[\"${ARG1}\" = \"inner\"]?MacroExit",
            ),
            ("s@macro-door", "MacroExclusive", "door,inner"),
            ("s@macro-door", "Answer", ""),
            ("s@macro-door", "Set", "GLOBAL(BACK)=yes"),
            ("s@macro-door", "Wait", "600"),
            ("101", "Set", "GLOBAL(OTHER)=${TRYLOCK(macro-door)}"),
            ("102", "Set", "N=0"),
            ("102", "While", "$[${N} < 64]"),
            ("102", "Set", "GOT=${LOCK(l${N})}"),
            ("102", "Set", "N=$[${N} + 1]"),
            ("102", "EndWhile", ""),
            ("102", "Set", "GLOBAL(GOT)=${GOT}"),
            ("102", "MacroExclusive", "window"),
            ("s@macro-window", "Set", "GLOBAL(WINDOW)=open"),
            ("e", "Set", "GLOBAL(WHY)=${EXCEPTION(reason)}"),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let first =
            scope.spawn(|| exchange.call_leaving("100", || !exchange.global("OTHER").is_empty()));
        // The inner one is over; the outer one has the lock still.
        wait_until("the inner macro is over", || {
            exchange.global("BACK") == "yes"
        });
        exchange.call_once("101", "");
        first.join().expect("the first call ended");
    });
    assert_eq!(exchange.global("OTHER"), "0");
    exchange.call("102", "");
    assert_eq!(exchange.global("GOT"), "1");
    assert_eq!(exchange.global("WHY"), "ERROR");
    assert_eq!(exchange.global("WINDOW"), "");
}

#[test]
fn a_step_that_fails_in_macros_fails_once() {
    let exchange = Exchange::start(
        &[
            ("100", "Macro", "outer"),
            ("s@macro-outer", "Macro", "inner"),
            ("s@macro-inner", "Frobnicate", ""),
            ("e", "Set", "GLOBAL(WHY)=${EXCEPTION(reason)}"),
        ],
        &[],
    );
    exchange.call("100", "");
    assert_eq!(exchange.global("WHY"), "ERROR");
    let failed = &exchange.plans.counters().steps_failed;
    assert_eq!(failed.load(Ordering::Relaxed), 1);
}

#[test]
fn functions_of_another_call_are_read_by_its_name() {
    let exchange = Exchange::start(
        &[
            ("100", "Answer", ""),
            ("100", "Set", "CALLERID(name)=Anna"),
            ("100", "Set", "PLAIN=value"),
            ("100", "Set", "GLOBAL(FIRST)=${CHANNEL}"),
            ("100", "Wait", "600"),
            (
                "101",
                "Set",
                "GLOBAL(GOT)=${IMPORT(${GLOBAL(FIRST)},CALLERID(name))}/${IMPORT(${GLOBAL(FIRST)},CHANNEL(state))}/${IMPORT(${GLOBAL(FIRST)},PLAIN)}/${IMPORT(${GLOBAL(FIRST)},NONE)}",
            ),
        ],
        &[],
    );
    std::thread::scope(|scope| {
        let first =
            scope.spawn(|| exchange.call_leaving("100", || !exchange.global("GOT").is_empty()));
        wait_until("the first waits", || !exchange.global("FIRST").is_empty());
        exchange.call_once("101", "");
        first.join().expect("the first call ended");
    });
    assert_eq!(exchange.global("GOT"), "Anna/Up/value/");
}
