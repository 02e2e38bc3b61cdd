//! `${...}` and texts around it.

use proptest::prelude::*;
use strowger_dialplan::Template;
use strowger_dialplan::subst::{self, Node, TemplateDefect};

use crate::support::Channel;

fn channel() -> Channel {
    Channel::with(&[
        ("EXTEN", "89123456789"),
        ("A", "1"),
        ("B", ""),
        ("VAR_7", "seven"),
        ("N", "7"),
        ("OFF", "2"),
        ("CUT", "EXTEN:1:2"),
        ("NAME", "Иван"),
        ("DOLLAR", "${A}"),
        ("PAREN", "a)b:1"),
        ("WHICH", "LEN"),
    ])
}

fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(
            Template::parse(text).evaluate(&channel()),
            *expected,
            "{text}"
        );
        assert_eq!(
            Template::parse(text).folded().evaluate(&channel()),
            *expected,
            "folded {text}"
        );
    }
}

#[test]
fn substrings_count_from_either_end() {
    check(&[
        ("${EXTEN:1}", "9123456789"),
        ("${EXTEN:-4}", "6789"),
        ("${EXTEN:0:-2}", "891234567"),
        ("${EXTEN:2:3}", "123"),
        ("${EXTEN:-4:2}", "67"),
        ("${EXTEN:-4:-1}", "678"),
        ("${EXTEN:-40:2}", "89"),
        ("${EXTEN:11}", ""),
        ("${EXTEN:40}", ""),
        ("${EXTEN:0:0}", ""),
        ("${EXTEN:0:-11}", ""),
        ("${EXTEN:0:-99}", ""),
        ("${EXTEN:5:-6}", ""),
        ("${EXTEN:5:-5}", "4"),
        ("${EXTEN:}", "89123456789"),
        ("${EXTEN::3}", "89123456789"),
        ("${EXTEN: 9}", "89"),
        ("${EXTEN:+9}", "89"),
        ("${EXTEN:9x:1}", "89"),
        ("${EXTEN:99999999999999999999}", ""),
        ("${EXTEN:-99999999999999999999:1}", "8"),
        ("${NAME:0:3}", "И"),
        ("${NAME:1:3}", "в"),
    ]);
}

#[test]
fn text_around_and_unset_variables_are_kept_and_empty() {
    check(&[
        ("", ""),
        ("plain", "plain"),
        ("a${A}b", "a1b"),
        ("${UNSET}", ""),
        ("${unset}${a}", ""),
        ("100$", "100$"),
        ("$5 {A} $A", "$5 {A} $A"),
        ("$${A}", "$1"),
        ("^{A}", "^{A}"),
        ("${A}${A}", "11"),
        ("${}", ""),
    ]);
}

#[test]
fn inner_substitutions_come_first_and_results_are_not_expanded_again() {
    check(&[
        ("${VAR_${N}}", "seven"),
        ("${VAR_${N}:1:2}", "ev"),
        ("${EXTEN:${OFF}}", "123456789"),
        ("${EXTEN:${OFF}:$[1+1]}", "12"),
        ("${${CUT}}", "91"),
        ("${VAR_$[3 + 4]}", "seven"),
        ("${DOLLAR}", "${A}"),
        ("${${WHICH}(abc)}", "3"),
        ("$[${A} + ${N}]", "8"),
        ("$[$[1 + 1] * 3]", "6"),
        ("$[\"${B}\" = \"\"]", "1"),
        ("$[\"${X}\" = \"\"]", "1"),
        ("x$[${LEN(${EXTEN})} > 10]y", "x1y"),
        ("$[\"abc123\" =~ \"[a-z]+([0-9]+)\"]", "123"),
    ]);
}

#[test]
fn functions_take_substituted_arguments_and_can_be_cut() {
    check(&[
        ("${LEN(abc)}", "3"),
        ("${LEN(${EXTEN})}", "11"),
        ("${TOUPPER(abc):1}", "BC"),
        ("${TOUPPER(${VAR_${N}}):0:2}", "SE"),
        ("${ECHO(a(b)c)}", "a(b)c"),
        ("${ECHO(${ECHO(x:y)}:z):2}", "y:z"),
        ("${NOSUCH(x)}!", "!"),
        ("${BROKEN(x)}!", "!"),
        // The value's bracket and colon stay inside the argument.
        ("${ECHO(${PAREN})}", "a)b:1"),
    ]);
}

#[test]
fn a_missing_brace_takes_the_rest_and_is_reported() {
    check(&[
        ("a${EXTEN", "a89123456789"),
        ("$[1 + 1", "2"),
        ("${EXTEN:1 ", "9123456789"),
        ("${LEN(abc", "3"),
    ]);
    for (text, defect) in [
        ("${A", TemplateDefect::MissingBrace),
        ("${A${B}", TemplateDefect::MissingBrace),
        ("$[1", TemplateDefect::MissingBracket),
        ("${LEN(abc}", TemplateDefect::MissingParenthesis),
    ] {
        assert_eq!(Template::parse_with_defects(text).1, [defect], "{text}");
    }
    assert!(
        Template::parse_with_defects("${A}$[1]${LEN(x)}")
            .1
            .is_empty()
    );
}

#[test]
fn nesting_stops_at_fifteen() {
    let nest = |depth: usize| {
        format!(
            "{}EXTEN{}",
            "${ECHO(".repeat(depth - 1) + "${",
            "}".to_owned() + &")}".repeat(depth - 1)
        )
    };
    assert_eq!(
        Template::parse(&nest(15)).evaluate(&channel()),
        "89123456789"
    );
    assert!(Template::parse_with_defects(&nest(15)).1.is_empty());
    let (template, defects) = Template::parse_with_defects(&nest(16));
    assert_eq!(template.evaluate(&channel()), "");
    assert_eq!(defects, [TemplateDefect::TooDeep]);
    let endless = "${".repeat(4000);
    assert_eq!(Template::parse(&endless).evaluate(&channel()), "");
}

#[test]
fn unknown_and_failing_functions_are_warned_about() {
    let channel = channel();
    let _ = subst::substitute("${NOSUCH(1)}${BROKEN(1)}${A", &channel);
    let warnings = channel.warnings.borrow();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings[0].contains('}')
            && warnings[1].contains("NOSUCH")
            && warnings[2].contains("out of order"),
        "{warnings:?}"
    );
}

#[test]
fn constants_are_folded_but_not_what_would_be_warned_about() {
    assert_eq!(
        Template::parse("a$[1 + 1]b").folded().constant(),
        Some("a2b")
    );
    assert_eq!(Template::parse("$[1 +]").folded().constant(), None);
    assert_eq!(Template::parse("$[abc + 1]").folded().constant(), None);
    assert_eq!(Template::parse("$[LEN(abc)]").folded().constant(), None);
    assert!(
        matches!(Template::parse("${VAR_$[3 + 4]}").folded().nodes(), [Node::Variable { name, .. }] if &**name == "VAR_7")
    );
}

/// Text made of well-formed and broken substitutions.
pub(crate) fn any_template() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z0-9 ,;\\-\\\\\"\n]{0,6}",
        Just("${EXTEN}".to_owned()),
        Just("${A}".to_owned()),
        Just("${NAME:1:-1}".to_owned()),
        Just("${UNSET}".to_owned()),
        Just("${".to_owned()),
        Just("$[".to_owned()),
        Just("]".to_owned()),
        Just("}".to_owned()),
        Just("1 + 2".to_owned()),
        Just(" = ".to_owned()),
        Just("VAR_7".to_owned()),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            (inner.clone(), -6_i32..6, -6_i32..6)
                .prop_map(|(name, offset, length)| format!("${{{name}:{offset}:{length}}}")),
            inner.clone().prop_map(|name| format!("${{{name}}}")),
            inner.clone().prop_map(|text| format!("$[{text}]")),
            inner.clone().prop_map(|text| format!("${{LEN({text})}}")),
            (inner.clone(), inner).prop_map(|(text, cut)| format!("${{ECHO({text}):{cut}}}")),
        ]
    })
}

pub(crate) fn any_channel() -> Channel {
    channel()
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}|[${}\\[\\]():a-cA-C0-9,+= -]{0,60}") {
        let _ = Template::parse(&text).evaluate(&channel());
        let _ = subst::substitute(&text, &channel());
    }

    #[test]
    fn folding_changes_no_value(text in any_template()) {
        let template = Template::parse(&text);
        prop_assert_eq!(template.folded().evaluate(&channel()), template.evaluate(&channel()));
    }

    #[test]
    fn text_without_dollar_is_itself(text in "[^$]{0,60}") {
        let template = Template::parse(&text);
        prop_assert_eq!(template.constant(), Some(text.as_str()));
    }

    #[test]
    fn substrings_of_ascii_follow_the_rule(text in "[a-z]{0,12}", offset in -15_i64..15, length in proptest::option::of(-15_i64..15)) {
        // The rule in the order in which the reference states it.
        let size = i64::try_from(text.len()).unwrap();
        let start = if offset < 0 { (size + offset).max(0) } else { offset };
        let expected = if start >= size {
            String::new()
        } else {
            let rest: String = text.chars().skip(usize::try_from(start).unwrap()).collect();
            match length {
                None => rest,
                Some(length) if length >= 0 => rest.chars().take(usize::try_from(length).unwrap()).collect(),
                Some(drop) => {
                    let keep = rest.len().saturating_sub(usize::try_from(-drop).unwrap());
                    rest.chars().take(keep).collect()
                }
            }
        };
        prop_assert_eq!(subst::substring(&text, offset, length), expected);
    }
}
