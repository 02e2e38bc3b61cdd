//! How data is split into arguments and options.

use proptest::prelude::*;
use strowger_dialplan::args::{self, Destination, Options, Priority};

#[test]
fn standard_splitting_respects_brackets_and_drops_quotes_and_backslashes() {
    for (data, expected) in [
        ("", &[] as &[&str]),
        ("a", &["a"]),
        ("a,b,c", &["a", "b", "c"]),
        ("a,,c", &["a", "", "c"]),
        ("a,", &["a", ""]),
        (",", &["", ""]),
        ("PJSIP/a&PJSIP/b,60,tT", &["PJSIP/a&PJSIP/b", "60", "tT"]),
        (
            "x.php,--a=\"b c\",--d=\"e,f\"",
            &["x.php", "--a=b c", "--d=e,f"],
        ),
        ("a(b,c),d", &["a(b,c)", "d"]),
        ("a[b,c],d", &["a[b,c]", "d"]),
        ("a\\,b,c\\\"d\\\\", &["a,b", "c\"d\\"]),
        ("a),b", &["a)", "b"]),
        ("(a,b", &["(a,b"]),
        ("\"a,b", &["a,b"]),
        ("a\\", &["a"]),
        (
            "email/attachment.php,--source=\"100\",--destination=\"Номер\",--attachment=\"/tmp/1.2.wav\"",
            &[
                "email/attachment.php",
                "--source=100",
                "--destination=Номер",
                "--attachment=/tmp/1.2.wav",
            ],
        ),
    ] {
        assert_eq!(args::split(data), expected, "{data}");
    }
}

#[test]
fn the_last_of_a_fixed_count_keeps_the_rest() {
    assert_eq!(
        args::split_at_most("NOTICE,a,b,\"c\"", 2),
        ["NOTICE", "a,b,\"c\""]
    );
    assert_eq!(
        args::split_at_most(
            "1.wav,r(1_receive.wav)t(1_transmit.wav),/bin/script.php --uniqueid=\"^{UNIQUEID}\"",
            3
        ),
        [
            "1.wav",
            "r(1_receive.wav)t(1_transmit.wav)",
            "/bin/script.php --uniqueid=\"^{UNIQUEID}\""
        ]
    );
    assert_eq!(args::split_at_most("a,b", 1), ["a,b"]);
    assert_eq!(args::split_at_most("a", 3), ["a"]);
    assert_eq!(
        args::unquote("--uniqueid=\"^{UNIQUEID}\" \\\""),
        "--uniqueid=^{UNIQUEID} \""
    );
}

#[test]
fn raw_splitting_keeps_every_character() {
    assert_eq!(
        args::split_raw("a=\"b,c\",d\\,e,(f,g)", ','),
        ["a=\"b,c\"", "d\\,e", "(f,g)"]
    );
    assert_eq!(args::split_raw_at_most("a:b:c", ':', 2), ["a", "b:c"]);
}

#[test]
fn set_splits_at_the_first_equals_sign_only() {
    assert_eq!(args::parse_set("A=b=c,\"d\""), Some(("A", "b=c,\"d\"")));
    assert_eq!(
        args::parse_set("DIALGROUP(group_100,add)=PJSIP/x"),
        Some(("DIALGROUP(group_100,add)", "PJSIP/x"))
    );
    assert_eq!(args::parse_set("__A="), Some(("__A", "")));
    assert_eq!(args::parse_set("A"), None);
}

#[test]
fn destinations_have_one_two_or_three_parts() {
    let place = |context, exten, priority| Destination {
        context,
        exten,
        priority,
    };
    for (data, expected) in [
        ("5", place(None, None, Priority::Number(5))),
        ("done", place(None, None, Priority::Label("done"))),
        ("s,1", place(None, Some("s"), Priority::Number(1))),
        (
            "message-office,s,1",
            place(Some("message-office"), Some("s"), Priority::Number(1)),
        ),
        (
            "ctx, s , again",
            place(Some("ctx"), Some("s"), Priority::Label("again")),
        ),
        ("+2", place(None, None, Priority::Relative(2))),
        ("s,-1", place(None, Some("s"), Priority::Relative(-1))),
        (",s,1", place(None, Some("s"), Priority::Number(1))),
        ("", place(None, None, Priority::Label(""))),
    ] {
        assert_eq!(args::parse_goto(data), expected, "{data}");
    }
    assert_eq!(
        args::parse_gosub("sub,s,1(a,b(c))"),
        (args::parse_goto("sub,s,1"), Some("a,b(c)"))
    );
    assert_eq!(
        args::parse_gosub("sub,s,1"),
        (args::parse_goto("sub,s,1"), None)
    );
    assert_eq!(
        args::parse_gosub("start()"),
        (args::parse_goto("start"), Some(""))
    );
}

#[test]
fn conditions_have_branches_that_may_be_missing() {
    let parsed = |data| {
        args::parse_goto_if(data).map(|branches| (branches.condition, branches.yes, branches.no))
    };
    assert_eq!(parsed("?a:b"), Some(("", Some("a"), Some("b"))));
    assert_eq!(parsed("1?a"), Some(("1", Some("a"), None)));
    assert_eq!(parsed("1?:b"), Some(("1", None, Some("b"))));
    assert_eq!(
        parsed("1?ctx,s,1:other,s,2"),
        Some(("1", Some("ctx,s,1"), Some("other,s,2")))
    );
    assert_eq!(parsed("1"), None);
    let parsed = |data| {
        args::parse_exec_if(data).map(|branches| (branches.condition, branches.yes, branches.no))
    };
    assert_eq!(
        parsed("1?Set(A=x:y):NoOp(?)"),
        Some(("1", Some("Set(A=x:y)"), Some("NoOp(?)")))
    );
    assert_eq!(parsed("?NoOp"), Some(("", Some("NoOp"), None)));
    assert_eq!(parsed("1"), None);
    assert_eq!(args::parse_application(" Set (A=(b)) "), ("Set", "A=(b)"));
    assert_eq!(args::parse_application("Hangup"), ("Hangup", ""));
}

#[test]
fn option_letters_carry_arguments_in_parentheses() {
    let options = Options::parse("tTm(music)L(1000:500)gA(\"a)b\")r(x\\)y)").unwrap();
    assert!(options.has('t') && options.has('T') && options.has('g') && !options.has('x'));
    assert_eq!(options.argument('m'), Some("music"));
    assert_eq!(options.argument('L'), Some("1000:500"));
    assert_eq!(options.argument('g'), Some(""));
    assert_eq!(options.argument('A'), Some("a)b"));
    assert_eq!(options.argument('r'), Some("x)y"));
    assert_eq!(options.argument('x'), None);
    assert_eq!(options.unknown("tTmLgA"), "r");
    assert_eq!(
        Options::parse("U(sub^a(b)^c)").unwrap().argument('U'),
        Some("sub^a(b)^c")
    );
    let (letter, before) = Options::parse("tm(class").unwrap_err();
    assert_eq!(
        (letter, before.has('t'), before.has('m')),
        ('m', true, false)
    );
}

proptest! {
    #[test]
    fn what_is_joined_splits_into_the_same(list in proptest::collection::vec("\\PC{0,8}|[,\"\\\\()\\[\\]a-c]{0,8}", 1..6)) {
        // One empty argument alone is no argument at all.
        prop_assume!(list != [""]);
        let parts: Vec<&str> = list.iter().map(String::as_str).collect();
        prop_assert_eq!(args::split(&args::join(&parts)), list);
    }

    #[test]
    fn raw_parts_joined_are_the_text(text in "\\PC{0,40}|[,\"\\\\()\\[\\]a-c]{0,40}") {
        prop_assert_eq!(args::split_raw(&text, ',').join(","), text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}|[,\"\\\\()\\[\\]?:=+a-c0-9-]{0,40}", count in 0_usize..5) {
        prop_assert!(args::split_at_most(&text, count).len() <= count);
        let _ = args::split(&text);
        let _ = args::parse_set(&text);
        let _ = args::parse_goto(&text);
        let _ = args::parse_gosub(&text);
        let _ = args::parse_goto_if(&text);
        let _ = args::parse_exec_if(&text);
        let _ = args::parse_application(&text);
        let _ = Options::parse(&text);
        let _ = strowger_dialplan::truth::is_true(&text);
    }
}
