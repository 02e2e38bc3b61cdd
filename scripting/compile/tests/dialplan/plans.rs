//! Searching a compiled dialplan.

use std::sync::Arc;

use strowger_dialplan::{Origin, Plan, Query, compile};

use crate::support::{Channel, Known, listed, plan, rows, statics};

/// Where (context, extension, priority) is found: context, row, application.
fn place(plan: &Plan, context: &str, exten: &str, priority: i32) -> Option<(String, Origin)> {
    let found = plan.find(&Query::new(context, exten, priority))?;
    assert_eq!(found.step().priority, priority);
    Some((found.context.name.to_string(), found.step().origin))
}

fn row(plan: &Plan, context: &str, exten: &str, priority: i32) -> Option<i64> {
    place(plan, context, exten, priority).map(|(_, origin)| match origin {
        Origin::Realtime(id) | Origin::Static(id) => id,
        Origin::Script(_) | Origin::Added | Origin::Made => panic!("{origin} is no row"),
    })
}

#[test]
fn priorities_of_a_number_may_be_spread_over_patterns() {
    let plan = plan(
        &[
            ("internal", "100", 1, "NoOp", ""),
            ("internal", "_1XX", 1, "NoOp", ""),
            ("internal", "_1XX", 2, "Dial", "PJSIP/${EXTEN}"),
        ],
        &[],
    );
    assert_eq!(row(&plan, "internal", "100", 1), Some(1));
    assert_eq!(row(&plan, "internal", "100", 2), Some(3));
    assert_eq!(row(&plan, "internal", "101", 1), Some(2));
    assert_eq!(row(&plan, "internal", "100", 3), None);
    assert_eq!(row(&plan, "internal", "200", 1), None);
    assert_eq!(row(&plan, "nowhere", "100", 1), None);
    assert_eq!(listed(&plan.problems), "");
}

#[test]
fn realtime_rows_prefer_the_longest_pattern_and_static_ones_the_most_specific() {
    let realtime = [
        ("a", "_1XX", 1, "NoOp", ""),
        ("a", "_[1-3]XX", 1, "NoOp", ""),
    ];
    assert_eq!(row(&plan(&realtime, &[]), "a", "150", 1), Some(2));
    let fixed = [
        ("a", "exten", "_1XX,1,NoOp()"),
        ("a", "exten", "_[1-3]XX,1,NoOp()"),
    ];
    assert_eq!(row(&plan(&[], &fixed), "a", "150", 1), Some(1));
}

#[test]
fn a_section_reaches_realtime_rows_through_its_switch() {
    let realtime = [
        ("internal", "100", 1, "NoOp", ""),
        ("other", "200", 1, "NoOp", ""),
        ("other", "_3XX", 1, "NoOp", ""),
        ("bare", "500", 1, "NoOp", ""),
    ];
    let fixed = [
        ("internal", "switch", "Realtime/@realtime_extensions"),
        ("outer", "switch", "Realtime/other@extensions"),
        ("names", "switch", "Realtime/other@realtime_extensions/p"),
        ("bare", "exten", "501,1,NoOp()"),
        ("broken", "switch", "Realtime/other@customers"),
    ];
    let plan = plan(&realtime, &fixed);
    assert_eq!(
        place(&plan, "internal", "100", 1),
        Some(("internal".to_owned(), Origin::Realtime(1)))
    );
    assert_eq!(
        place(&plan, "outer", "200", 1),
        Some(("other".to_owned(), Origin::Realtime(2)))
    );
    assert_eq!(row(&plan, "outer", "300", 1), Some(3));
    assert_eq!(row(&plan, "names", "200", 1), Some(2));
    assert_eq!(row(&plan, "names", "300", 1), None);
    assert!(plan.can_match(&Query::new("outer", "3", 1)));
    assert!(!plan.can_match(&Query::new("names", "3", 1)));
    // Without a switch the section hides the rows, and that is said.
    assert_eq!(row(&plan, "bare", "501", 1), Some(4));
    assert_eq!(row(&plan, "bare", "500", 1), None);
    assert_eq!(row(&plan, "broken", "200", 1), None);
    let problems = listed(&plan.problems);
    assert!(
        problems.contains("context bare: its rows of the realtime table are never reached"),
        "{problems}"
    );
    assert!(problems.contains("unknown family"), "{problems}");
}

#[test]
fn includes_are_searched_after_switches_in_order_and_never_twice() {
    let plan = plan(
        &[("a", "7", 1, "NoOp", "")],
        &[
            ("a", "include", "b"),
            ("a", "include", "c"),
            ("a", "switch", "Realtime/@"),
            ("a", "exten", "1,1,NoOp(a)"),
            ("b", "include", "a"),
            ("b", "exten", "1,1,NoOp(b)"),
            ("b", "exten", "2,1,NoOp(b)"),
            ("b", "exten", "7,1,NoOp(b)"),
            ("c", "exten", "2,1,NoOp(c)"),
            ("c", "exten", "3,1,NoOp(c)"),
            ("c", "exten", "2,2,NoOp(c)"),
        ],
    );
    assert_eq!(place(&plan, "a", "1", 1).unwrap().0, "a");
    assert_eq!(place(&plan, "a", "2", 1).unwrap().0, "b");
    assert_eq!(place(&plan, "a", "2", 2).unwrap().0, "c");
    assert_eq!(place(&plan, "a", "3", 1).unwrap().0, "c");
    assert_eq!(place(&plan, "b", "3", 1).unwrap().0, "c");
    assert_eq!(
        place(&plan, "a", "7", 1).unwrap(),
        ("a".to_owned(), Origin::Realtime(1))
    );
    assert_eq!(place(&plan, "a", "9", 1), None);
}

#[test]
fn conditional_includes_hold_at_their_times() {
    let plan = plan(
        &[],
        &[
            (
                "main",
                "include",
                "day,09:00-18:00,mon-fri,*,*,Europe/Moscow",
            ),
            ("main", "include", "night"),
            ("main", "include", "never,25:00,*,*,*"),
            ("day", "exten", "s,1,NoOp(day)"),
            ("night", "exten", "s,1,NoOp(night)"),
            ("never", "exten", "x,1,NoOp(never)"),
        ],
    );
    let at = |moment: &str| {
        let query = Query::new("main", "s", 1).at(moment.parse().unwrap());
        plan.find(&query).unwrap().context.name.to_string()
    };
    assert_eq!(at("2026-01-05T09:00:00Z"), "day");
    assert_eq!(at("2026-01-05T20:00:00Z"), "night");
    assert_eq!(row(&plan, "main", "x", 1), None);
    assert!(
        listed(&plan.problems).contains("`25:00` is not a time"),
        "{}",
        listed(&plan.problems)
    );
}

#[test]
fn static_lines_have_labels_relative_priorities_and_same() {
    let plan = plan(
        &[],
        &[
            ("globals", "PREFIX", "1"),
            ("globals", "CHAIN", "${PREFIX}2${UNIQUEID}"),
            (
                "globals",
                "MIXMONITOR_COMMAND",
                "/bin/script.php --uniqueid=\"^{UNIQUEID}\"",
            ),
            ("general", "autofallthrough", "no"),
            ("ctx", "exten", "${PREFIX}00,1,NoOp(first)"),
            ("ctx", "same", "n(again),Verbose(1,text (in brackets))"),
            ("ctx", "same", "n(far)+2,NoOp()"),
            ("ctx", "same", "n+3(farther),NoOp()"),
            ("ctx", "exten", "_X.,1,Playback,beep,noanswer"),
            ("ctx", "same", "s,NoOp(alternative)"),
            ("ctx", "exten", "100,hint,PJSIP/user-100"),
            ("ctx", "ignorepat", "9"),
        ],
    );
    assert_eq!(plan.global("CHAIN"), Some("12"));
    assert_eq!(
        plan.global("MIXMONITOR_COMMAND"),
        Some("/bin/script.php --uniqueid=\"^{UNIQUEID}\"")
    );
    assert!(!plan.general.auto_fallthrough);
    let step = |exten: &str, priority: i32| {
        let found = plan.find(&Query::new("ctx", exten, priority)).unwrap();
        (
            found.step().app.to_string(),
            found.step().appdata.to_string(),
        )
    };
    assert_eq!(step("100", 1), ("NoOp".to_owned(), "first".to_owned()));
    assert_eq!(
        step("100", 2),
        ("Verbose".to_owned(), "1,text (in brackets)".to_owned())
    );
    assert_eq!(
        plan.find_label(&Query::label("ctx", "100", "again")),
        Some(2)
    );
    assert_eq!(plan.find_label(&Query::label("ctx", "100", "far")), Some(5));
    assert_eq!(
        plan.find_label(&Query::label("ctx", "100", "farther")),
        Some(9)
    );
    assert_eq!(
        plan.find_label(&Query::label("ctx", "100", "nowhere")),
        None
    );
    assert_eq!(
        step("55", 1),
        ("Playback".to_owned(), "beep,noanswer".to_owned())
    );
    assert_eq!(
        step("100", -1),
        ("PJSIP/user-100".to_owned(), String::new())
    );
    assert_eq!(
        plan.hints().collect::<Vec<_>>(),
        [("ctx", "100", "PJSIP/user-100")]
    );
    assert!(plan.ignores("ctx", "9") && !plan.ignores("ctx", "8"));
}

#[test]
fn extensions_for_certain_callers_come_before_those_for_all() {
    let plan = plan(
        &[],
        &[
            ("ctx", "exten", "s,1,NoOp(all)"),
            ("ctx", "exten", "s/100,1,NoOp(one)"),
            ("ctx", "exten", "s/_2XX,1,NoOp(some)"),
            ("ctx", "exten", "s/,1,NoOp(nobody)"),
            ("ctx", "exten", "s,2,NoOp(all)"),
        ],
    );
    let data = |caller, priority| {
        plan.find(&Query::new("ctx", "s", priority).caller(caller))
            .map(|found| found.step().appdata.to_string())
            .unwrap()
    };
    assert_eq!(data(Some("100"), 1), "one");
    assert_eq!(data(Some("234"), 1), "some");
    assert_eq!(data(Some("999"), 1), "all");
    assert_eq!(data(None, 1), "nobody");
    assert_eq!(data(Some("100"), 2), "all");
}

#[test]
fn digits_are_collected_across_includes() {
    let plan = plan(
        &[],
        &[
            ("menu", "exten", "1,1,NoOp()"),
            ("menu", "include", "numbers"),
            ("numbers", "exten", "_15X,1,NoOp()"),
            ("numbers", "exten", "_9.,1,NoOp()"),
            ("numbers", "exten", "_5X,2,NoOp()"),
        ],
    );
    let state = |digits: &str| {
        let query = Query::new("menu", digits, 1);
        (
            plan.exists(&query),
            plan.can_match(&query),
            plan.match_more(&query),
        )
    };
    assert_eq!(state("1"), (true, true, true));
    assert_eq!(state("15"), (false, true, true));
    assert_eq!(state("150"), (true, true, false));
    assert_eq!(state("16"), (false, false, false));
    assert_eq!(state("91"), (true, true, true));
    // Without the wanted priority it counts for nothing.
    assert_eq!(state("5"), (false, false, false));
}

#[test]
fn an_evaluated_switch_is_read_for_each_call() {
    let plan = plan(
        &[("tenant1", "100", 1, "NoOp", "")],
        &[("all", "eswitch", "Realtime/${TENANT}@extensions")],
    );
    let channel = Channel::with(&[("TENANT", "tenant1")]);
    assert!(plan.exists(&Query::new("all", "100", 1).vars(&channel)));
    assert!(!plan.exists(&Query::new("all", "100", 1)));
}

#[test]
fn a_loopback_switch_finds_another_number_of_another_context() {
    let plan = plan(
        &[
            ("numbers", "_1XX", 1, "NoOp", ""),
            ("numbers", "_1XX", 2, "NoOp", ""),
            ("numbers", "5", 1, "NoOp", ""),
            ("numbers", "5", 2, "NoOp", ""),
        ],
        &[
            ("short", "lswitch", "Loopback/1${EXTEN}@numbers"),
            ("outside", "lswitch", "Loopback/${EXTEN:1}@numbers/_9XXX"),
            ("same", "switch", "Loopback/@numbers"),
            ("priority", "lswitch", "Loopback/5@numbers:2"),
            ("circle", "lswitch", "Loopback/9${EXTEN}@circle"),
            ("files", "switch", "Lua/"),
            ("later", "lswitch", "Loopback/9${EXTEN}@numbers"),
            ("later", "include", "numbers"),
        ],
    );
    for (context, exten, priority, wanted) in [
        ("short", "23", 1, true),
        ("short", "23", 2, true),
        ("short", "23", 3, false),
        ("short", "123", 1, false),
        ("outside", "9123", 1, true),
        ("outside", "8123", 1, false),
        ("outside", "9223", 1, false),
        ("same", "123", 2, true),
        ("priority", "77", 1, true),
        ("circle", "1", 1, false),
        ("files", "1", 1, false),
        ("later", "123", 1, true),
    ] {
        let query = Query::new(context, exten, priority);
        assert_eq!(plan.exists(&query), wanted, "{context} {exten} {priority}");
        if wanted {
            let found = plan.find(&query).unwrap();
            assert_eq!(&*found.context.name, "numbers");
        }
    }
    // Digits that are dialled one after the other.
    for (digits, match_more) in [("", true), ("2", true), ("23", false)] {
        let query = Query::new("short", digits, 1);
        assert_eq!(plan.match_more(&query), match_more, "{digits}");
    }
    assert_eq!(plan.problems.len(), 0, "{}", listed(&plan.problems));
}

#[test]
fn the_override_switch_is_searched_before_everything() {
    let plan = plan(
        &[("first", "100", 1, "NoOp", "")],
        &[
            ("general", "overrideswitch", "Realtime/first@extensions"),
            ("ctx", "exten", "100,1,Hangup()"),
        ],
    );
    assert_eq!(place(&plan, "ctx", "100", 1).unwrap().0, "first");
}

#[test]
fn unchanged_contexts_are_taken_over() {
    let fixed = [("globals", "G", "1"), ("s", "exten", "1,1,NoOp()")];
    let before = [("a", "1", 1, "NoOp", "x"), ("b", "1", 1, "NoOp", "y")];
    let after = [("a", "1", 1, "NoOp", "x"), ("b", "1", 1, "NoOp", "changed")];
    let first = compile(&rows(&before), &statics(&fixed), &Known, None);
    let second = compile(&rows(&after), &statics(&fixed), &Known, Some(&first));
    let same =
        |name: &str| Arc::ptr_eq(first.context(name).unwrap(), second.context(name).unwrap());
    assert!(same("a") && same("s") && !same("b"));
    assert!(second.context("b").unwrap().lua.contains("changed"));
    let third = compile(
        &rows(&after[..1]),
        &statics(&[("globals", "G", "2"), fixed[1]]),
        &Known,
        Some(&second),
    );
    assert!(third.context("b").is_none());
    assert!(!Arc::ptr_eq(
        second.context("s").unwrap(),
        third.context("s").unwrap()
    ));
}

#[test]
fn documented_examples_run_row_for_row_without_a_problem() {
    let plan = plan(
        &[
            (
                "group",
                "100",
                1,
                "Set",
                "DIALGROUP(group_100,add)=PJSIP/user-101-domain",
            ),
            ("group", "100", 2, "Dial", "${DIALGROUP(group_100)},60,tT"),
            ("forward", "110", 1, "NoOp", "Вызов на внутренний номер"),
            ("forward", "110", 2, "Dial", "SIP/user-110-office,15,tT"),
            (
                "forward",
                "110",
                3,
                "Dial",
                "SIP/81234567890@peer-71234567890-office,60",
            ),
            ("forward", "110", 4, "Hangup", ""),
            (
                "message-office",
                "s",
                1,
                "NoOp",
                "Сообщение после звукового сигнала",
            ),
            ("message-office", "s", 2, "Answer", ""),
            ("message-office", "s", 3, "Playback", "message-office"),
            (
                "message-office",
                "s",
                4,
                "Record",
                "/tmp/${UNIQUEID}.wav,,300,k",
            ),
            ("message-office", "s", 5, "Hangup", ""),
            (
                "message-office",
                "h",
                1,
                "NoOp",
                "Отправка сообщения на электронную почту",
            ),
            (
                "message-office",
                "h",
                2,
                "AGI",
                "email/attachment.php,--source=\"${CALLERID(number)}\",--destination=\"Номер\"",
            ),
            (
                "in",
                "_X.",
                1,
                "MixMonitor",
                "${UNIQUEID}.wav,r(${UNIQUEID}_receive.wav)t(${UNIQUEID}_transmit.wav),${MIXMONITOR_COMMAND}",
            ),
            ("in", "_X.", 2, "Goto", "message-office,s,1"),
        ],
        &[],
    );
    assert_eq!(listed(&plan.problems), "");
    let channel = Channel::with(&[
        ("UNIQUEID", "1.2"),
        ("MIXMONITOR_COMMAND", "/bin/x --uniqueid=\"^{UNIQUEID}\""),
    ]);
    let found = plan.find(&Query::new("in", "74951234567", 1)).unwrap();
    assert_eq!(
        found.step().template.evaluate(&channel),
        "1.2.wav,r(1.2_receive.wav)t(1.2_transmit.wav),/bin/x --uniqueid=\"^{UNIQUEID}\""
    );
}
