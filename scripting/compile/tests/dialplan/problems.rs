//! Each thing that can be wrong with rows gets one clear message.

use proptest::prelude::*;
use strowger_dialplan::{Row, Severity, StaticRow, compile};

use crate::support::{Known, listed, plan};

/// The problems of one realtime extension `100` in context `ctx`.
fn of_step(app: &str, data: &str) -> String {
    listed(&plan(&[("ctx", "100", 1, app, data)], &[]).problems)
}

#[test]
fn a_step_that_cannot_work_is_one_error_with_place_and_hint() {
    for (app, data, message) in [
        (
            "Dail",
            "x",
            "error: context ctx, extension 100, priority 1 (realtime row 1): unknown application `Dail`; did you mean `Dial`?\n",
        ),
        (
            "Frobnicate",
            "",
            "error: context ctx, extension 100, priority 1 (realtime row 1): unknown application `Frobnicate`; see the list of applications\n",
        ),
        (
            "NoOp",
            "${LEM(x)}",
            "error: context ctx, extension 100, priority 1 (realtime row 1): unknown function `LEM`; did you mean `LEN`?\n",
        ),
        (
            "NoOp",
            "$[NOSUCH(1) + 1]",
            "error: context ctx, extension 100, priority 1 (realtime row 1): unknown function `NOSUCH`; see the list of functions\n",
        ),
        (
            "NoOp",
            "${A",
            "error: context ctx, extension 100, priority 1 (realtime row 1): missing `}` in `${A`; close every ${ with }\n",
        ),
        (
            "NoOp",
            "$[1",
            "error: context ctx, extension 100, priority 1 (realtime row 1): missing `]` in `$[1`; close every $[ with ]\n",
        ),
        (
            "NoOp",
            "$[1 +]",
            "error: context ctx, extension 100, priority 1 (realtime row 1): expression `1 +`: the expression ends where a value should follow at byte 3 of the expression; put quotes around variables that may be empty, as in \"${X}\" = \"\", and spaces around operators\n",
        ),
        (
            "Set",
            "A",
            "error: context ctx, extension 100, priority 1 (realtime row 1): Set without `=`; write Set(name=value)\n",
        ),
        (
            "GotoIf",
            "1",
            "error: context ctx, extension 100, priority 1 (realtime row 1): condition without `?`; write condition?then:else\n",
        ),
        (
            "Goto",
            "1",
            "warning: context ctx, extension 100, priority 1 (realtime row 1): endless loop: it goes back to priority 1, and no step between waits or leads out; add a Wait, or a GotoIf that leaves\n",
        ),
        (
            "Goto",
            "nowhere,s,1",
            "error: context ctx, extension 100, priority 1 (realtime row 1): Goto leads to nowhere,s,1, which does not exist; write the rows of that context or correct the name\n",
        ),
        (
            "GotoIf",
            "$[${X} > 1]?1:7",
            "error: context ctx, extension 100, priority 1 (realtime row 1): GotoIf leads to ctx,100,7, which does not exist; write that step or correct the destination\n",
        ),
        (
            "Goto",
            "done",
            "error: context ctx, extension 100, priority 1 (realtime row 1): Goto leads to ctx,100,done, which does not exist; labels are written in extensions.conf only; realtime rows have numbers\n",
        ),
    ] {
        assert_eq!(of_step(app, data), message, "{app}({data})");
    }
}

#[test]
fn what_only_a_call_can_know_is_not_called_wrong() {
    for (app, data) in [
        ("NoOp", "$[${A} > 1]"),
        ("NoOp", "$[\"${A}\" = \"\" & ${B} != 7]"),
        ("NoOp", "$[${A} ${OPERATOR} ${B}]"),
        ("NoOp", "${${NAME}(x)}"),
        ("Goto", "${CONTEXT},s,1"),
        ("Goto", "${TARGET}"),
        ("GotoIf", "${X}?${Y}:${Z}"),
        ("GotoIf", "${CONDITION_WITH_BRANCHES}"),
        ("Set", "${ASSIGNMENT}"),
        ("ExecIf", "$[1 = 1]?Set(A=b:c):NoOp(x)"),
        ("GotoIfTime", "09:00-18:00,mon-fri,*,*?1"),
        ("Gosub", "${SUB},s,1(a,b)"),
    ] {
        assert_eq!(of_step(app, data), "", "{app}({data})");
    }
    assert!(
        of_step("NoOp", "$[\"${A} = 1]").starts_with("warning: "),
        "{}",
        of_step("NoOp", "$[\"${A} = 1]")
    );
    assert!(of_step("NoOp", "$[\"${A} = 1]").contains("`\"` at byte 0 means nothing there"));
    assert!(of_step("NoOp", "$[${A} > ]").contains("expression `${...} > `"));
    assert!(of_step("GotoIfTime", "9-18,mon-fri,*,*?1").contains("`9-18` is not a time of day"));
}

#[test]
fn patterns_that_cannot_work_are_reported_once() {
    for (pattern, message) in [
        ("_[]", "pattern _[] has a set without members"),
        ("_1[2", "pattern _1[2 has `[` without `]`"),
        ("_1.2", "pattern _1.2 goes on after `.` or `!`"),
        (
            "_.",
            "warning: context ctx, extension _. (realtime row 1): pattern _. matches everything",
        ),
    ] {
        let problems = listed(
            &plan(
                &[
                    ("ctx", pattern, 1, "NoOp", ""),
                    ("ctx", pattern, 2, "NoOp", ""),
                ],
                &[],
            )
            .problems,
        );
        assert_eq!(
            problems.matches(message).count(),
            1,
            "{pattern}: {problems}"
        );
    }
}

#[test]
fn priorities_that_nothing_leads_to_are_reported() {
    let problems = |rows: &[(&str, &str, i32, &str, &str)]| listed(&plan(rows, &[]).problems);
    assert!(problems(&[("ctx", "100", 0, "NoOp", "")]).contains("priority 0 is below 1"));
    assert!(
        problems(&[("ctx", "100", 2, "NoOp", "")])
            .contains("no extension that matches has priority 1")
    );
    let gap = problems(&[
        ("ctx", "100", 1, "NoOp", ""),
        ("ctx", "100", 3, "NoOp", ""),
        ("ctx", "100", 4, "NoOp", ""),
    ]);
    assert_eq!(gap.lines().count(), 1, "{gap}");
    assert!(gap.contains("priority 2 before it is missing"), "{gap}");
    // Another pattern fills the gap, or a jump crosses it.
    assert_eq!(
        problems(&[
            ("ctx", "_1XX", 1, "NoOp", ""),
            ("ctx", "100", 2, "NoOp", "")
        ]),
        ""
    );
    assert_eq!(
        problems(&[
            ("ctx", "100", 1, "GotoIf", "${A}?10"),
            ("ctx", "100", 10, "NoOp", "")
        ]),
        ""
    );
}

#[test]
fn broken_links_between_contexts_are_reported() {
    let fixed = [
        ("main", "include", "internl"),
        ("main", "switch", "Realtime/nothing@extensions"),
        ("main", "switch", "IAX2/x"),
        ("main", "exten", "s,1,Goto(ok)"),
        ("main", "same", "n(ok),NoOp()"),
        ("main", "same", "x,NoOp()"),
        ("main", "bogus", "1"),
        ("internal", "exten", "1,1,NoOp()"),
    ];
    let plan = plan(&[], &fixed);
    let problems = listed(&plan.problems);
    for message in [
        "include of unknown context `internl`; did you mean `internal`?",
        "(static row 2): switch to realtime rows of context `nothing`, which has none",
        "unknown switch `IAX2`",
        "`x` is not a priority",
        "`bogus` is not a line of a context",
    ] {
        assert_eq!(
            problems.matches(message).count(),
            1,
            "{message}: {problems}"
        );
    }
    assert_eq!(problems.lines().count(), 5, "{problems}");
    let severities: Vec<Severity> = plan
        .problems
        .iter()
        .map(|problem| problem.severity)
        .collect();
    assert!(severities.is_sorted(), "errors first");
}

#[test]
fn a_jump_into_an_including_context_is_known() {
    let fixed = [
        ("outer", "include", "inner"),
        ("outer", "exten", "done,1,Hangup()"),
        ("inner", "exten", "1,1,Goto(done,1)"),
        ("inner", "exten", "2,1,Goto(gone,1)"),
    ];
    let problems = listed(&plan(&[], &fixed).problems);
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(problems.contains("gone,1"), "{problems}");
}

#[test]
fn doubles_and_overlong_data_are_reported() {
    let long = "x".repeat(9000);
    let plan = plan(
        &[
            ("c", "1", 1, "NoOp", "a"),
            ("c", "1", 1, "Hangup", ""),
            ("c", "2", 1, "NoOp", &long),
        ],
        &[],
    );
    let problems = listed(&plan.problems);
    assert!(
        problems.contains("(realtime row 2): the same place is written in realtime row 1 already"),
        "{problems}"
    );
    assert!(
        problems.contains("data of 9000 bytes is longer than 8192"),
        "{problems}"
    );
    assert_eq!(problems.lines().count(), 2, "{problems}");
}

#[test]
fn messages_stay_on_one_line() {
    for data in ["${A\nB", "$[1 +\n]"] {
        let problems = of_step("No\nSuch", data);
        assert_eq!(
            problems.lines().count(),
            plan(&[("ctx", "100", 1, "No\nSuch", data)], &[])
                .problems
                .len(),
            "{problems}"
        );
    }
}

proptest! {
    #[test]
    fn no_rows_panic(
        realtime in proptest::collection::vec(("[ab]", "_?[0-9X.!\\[\\]s-]{0,5}", -1_i32..6, "NoOp|Goto|GotoIf|Gosub|ExecIf|Set|x", "\\PC{0,20}|[${}\\[\\]?:,()ab1-9=]{0,20}"), 0..12),
        fixed in proptest::collection::vec(("[abc]|general|globals", "exten|same|include|switch|eswitch|ignorepat|x", "\\PC{0,20}|[_X.0-9ns(),+/ab${}]{0,20}"), 0..12),
    ) {
        let rows: Vec<Row<'_>> = (1..).zip(&realtime).map(|(id, (context, exten, priority, app, appdata))| Row { id, context, exten, priority: *priority, app, appdata }).collect();
        let statics: Vec<StaticRow<'_>> = (1..).zip(&fixed).map(|(id, (category, name, value))| StaticRow { id, category, name, value }).collect();
        let plan = compile(&rows, &statics, &Known, None);
        let again = compile(&rows, &statics, &Known, Some(&plan));
        prop_assert_eq!(listed(&plan.problems), listed(&again.problems));
    }
}

/// A registry that says which applications never wait.
struct Quick;

impl strowger_dialplan::Registry for Quick {
    fn application(&self, name: &str) -> Option<&str> {
        Known.application(name)
    }

    fn function(&self, name: &str) -> bool {
        Known.function(name)
    }

    fn immediate(&self, canonical: &str, _: &strowger_dialplan::Template) -> bool {
        !matches!(canonical, "Dial" | "Wait" | "Playback" | "Answer" | "Echo")
    }
}

fn in_order(steps: &[(i32, &str, &str)]) -> String {
    let rows: Vec<_> = steps
        .iter()
        .map(|(priority, app, data)| ("ctx", "100", *priority, *app, *data))
        .collect();
    listed(&compile(&crate::support::rows(&rows), &[], &Quick, None).problems)
}

#[test]
fn a_step_that_nothing_leads_to_is_a_warning() {
    let dead = "warning: context ctx, extension 100, priority 3 (realtime row 3): it is never reached: Goto before it goes \
                elsewhere, and nothing jumps here; remove it, or jump to it\n";
    let head = [(1, "Dial", "PJSIP/a"), (2, "Goto", "4")];
    let tail = [(3, "NoOp", ""), (4, "Hangup", "")];
    assert_eq!(in_order(&[head, tail].concat()), dead);
    // Something jumps there, or could.
    for first in [
        (1, "GotoIf", "${X}?3"),
        (1, "GotoIf", "${X}?${Y}"),
        (1, "Dial", "PJSIP/a,,G(3)"),
    ] {
        assert_eq!(
            in_order(&[[first, head[1]], tail].concat()),
            "",
            "{first:?}"
        );
    }
}

#[test]
fn a_loop_without_a_step_that_waits_is_a_warning() {
    let endless = "warning: context ctx, extension 100, priority 3 (realtime row 3): endless loop: it goes back to priority 2, \
                   and no step between waits or leads out; add a Wait, or a GotoIf that leaves\n";
    for (app, data, wanted) in [
        ("Set", "A=1", endless),
        ("Dial", "PJSIP/a", ""),
        ("GotoIf", "${X}?1", ""),
    ] {
        let steps = [(1, "NoOp", ""), (2, app, data), (3, "Goto", "2")];
        assert_eq!(in_order(&steps), wanted, "{app}");
    }
}
