//! `$[...]`: vectors of the reference and what follows from its rules.

use proptest::prelude::*;
use strowger_dialplan::expr;

use crate::support::Channel;

fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(
            expr::evaluate(text, &Channel::default()),
            *expected,
            "$[{text}]"
        );
    }
}

#[test]
fn arithmetic_follows_precedence_and_division_floats() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3.5"),
        ("10 % 4", "2"),
        ("5 / 0", "2147483647"),
        ("5 % 0", "0"),
        ("(1 + 2) * 3", "9"),
        ("10 - 4 - 3", "3"),
        ("100 / 10 / 2", "5"),
        ("-5 + 2", "-3"),
        ("- 5 * 2", "-10"),
        ("2 - -2", "4"),
        ("1+2", "3"),
        ("0.1 + 0.2", "0.3"),
        ("1 / 3", "0.333333333333333333"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775806 + 1", "9223372036854775807"),
        ("1.50 + 0", "1.5"),
        ("1.50", "1.50"),
    ]);
}

#[test]
fn text_in_arithmetic_yields_the_other_operand_or_nothing() {
    check(&[
        ("abc + 5", "5"),
        ("5 + abc", "5"),
        ("abc + def", "0"),
        ("abc - 5", "-5"),
        ("5 - abc", "5"),
        ("abc * 5", "0"),
        ("abc % 5", "0"),
        ("abc / 5", "2147483647"),
        ("5 / abc", "2147483647"),
        ("\"5\" + 2", "2"),
        ("-abc", "0"),
    ]);
}

#[test]
fn comparisons_are_numeric_only_between_numbers() {
    check(&[
        ("10 > 9", "1"),
        ("\"10\" > \"9\"", "0"),
        ("\"10\" > 9", "0"),
        ("10 >= 10", "1"),
        ("1.0 = 1", "1"),
        ("1 = \"1\"", "0"),
        ("\"a\" = a", "0"),
        ("a = a", "1"),
        ("abc < abd", "1"),
        ("a != b", "1"),
        ("a == a", "1"),
        ("3 <= 2", "0"),
        ("-1 < 1", "1"),
        ("1 + 1 = 2", "1"),
        ("\"\" = \"\"", "1"),
        ("1.2.3 = 1.2.3", "1"),
        ("0.1 + 0.2 = 0.3", "1"),
    ]);
}

#[test]
fn logic_returns_operands_and_unary_not_reads_integers() {
    check(&[
        ("0 | \"x\"", "\"x\""),
        ("1 & 5", "1"),
        ("7 | 5", "7"),
        ("0 || 3", "3"),
        ("5 && 0", "0"),
        ("abc & def", "abc"),
        ("0 & 5", "0"),
        ("0.0 | 4", "4"),
        ("!0", "1"),
        ("!1", "0"),
        ("!abc", "1"),
        ("!12abc", "0"),
        ("!\"\"", "1"),
        ("!(1 = 2)", "1"),
        ("! 1 = 0", "1"),
        ("1 & 2 | 3", "1"),
        ("0 & 2 | 3", "3"),
    ]);
}

#[test]
fn conditionals_choose_and_chain_to_the_left() {
    check(&[
        ("1 ? yes :: no", "yes"),
        ("0 ? yes :: no", "no"),
        ("\"\" ? yes :: no", "no"),
        ("word ? yes :: no", "yes"),
        ("1 ? 0 :: 5 ? a :: b", "b"),
        ("1 ? 0 ? a :: b :: c", "b"),
        ("2 > 1 ? 10 + 1 :: 20", "11"),
    ]);
}

#[test]
fn regular_expressions_give_groups_or_lengths() {
    check(&[
        ("\"abc123\" =~ \"[a-z]+([0-9]+)\"", "123"),
        ("\"abc\" : \"ab\"", "2"),
        ("\"abc\" : \"b\"", "0"),
        ("\"abc\" =~ \"b\"", "1"),
        ("\"abc\" =~ \"x\"", "0"),
        ("\"abc\" : \"(x)\"", ""),
        ("\"79161234567\" : \"7(916[0-9]*)\"", "9161234567"),
        ("\"a1\" =~ \"([0-9])\" + 1", "2"),
        ("\"foo\" ~~ \"bar\"", "foobar"),
        ("1 ~~ 2", "12"),
        ("!\"abc\" : \"x\"", "1"),
        ("\"abc\" =~ \"(\"", "0"),
        ("\"ещё\" : \"е\"", "2"),
    ]);
}

#[test]
fn functions_are_mathematical_or_of_the_dialplan() {
    check(&[
        ("FLOOR(2.7)", "2"),
        ("CEIL(2.1)", "3"),
        ("ROUND(2.5)", "3"),
        ("RINT(2.5)", "2"),
        ("TRUNC(-2.7)", "-2"),
        ("POW(2,10)", "1024"),
        ("POW(2, 3) + 1", "9"),
        ("SQRT(16)", "4"),
        ("COS(0)", "1"),
        ("LOG10(1000)", "3"),
        ("LOG2(8)", "3"),
        ("EXP10(2)", "100"),
        ("MOD(7,3)", "1"),
        ("REMAINDER(7,4)", "-1"),
        ("ABS(-3)", "3"),
        ("SQRT(1,2)", "0"),
        ("LEN(abc)", "3"),
        ("LEN(abc) + 1", "4"),
        ("TOUPPER(ab)", "AB"),
        ("ECHO(1,2)", "1,2"),
        ("NOSUCH(1)", "0"),
        ("lower(1)", "0"),
    ]);
}

#[test]
fn words_and_white_space_are_cut_as_the_original_cuts_them() {
    check(&[
        ("", ""),
        ("  \t ", ""),
        ("abc", "abc"),
        ("привет", "привет"),
        ("\"two words\"", "\"two words\""),
        ("a.b'c;d\\e_f^g#h@i", "a.b'c;d\\e_f^g#h@i"),
        ("$x = $x", "1"),
        ("12abc = 12abc", "1"),
        ("{1} + [1]", "2"),
    ]);
}

#[test]
fn a_syntax_error_is_zero_with_a_warning_that_names_the_place() {
    for text in [
        "1 +",
        "* 2",
        "1 2",
        "(1",
        "1)",
        "a = = b",
        "a ? b",
        "a ? b : c",
        " = 1",
        "LEN(",
        "1 = \"x y",
    ] {
        let channel = Channel::default();
        assert_eq!(expr::evaluate(text, &channel), "0", "{text}");
        assert_eq!(
            channel.warnings.borrow().len(),
            1,
            "{text}: {:?}",
            channel.warnings.borrow()
        );
        assert!(
            channel.warnings.borrow()[0].contains("byte"),
            "{:?}",
            channel.warnings.borrow()
        );
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(expr::try_evaluate(&deep, &Channel::default()).is_err());
    let long = format!("1{}", "+1".repeat(5000));
    assert_eq!(expr::evaluate(&long, &Channel::default()), "5001");
    let minus = format!("{}1", "-".repeat(5000));
    assert!(expr::try_evaluate(&minus, &Channel::default()).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = expr::evaluate(&text, &Channel::default());
    }

    #[test]
    fn no_row_of_tokens_panics(tokens in proptest::collection::vec(prop_oneof![
        Just("+"), Just("-"), Just("*"), Just("/"), Just("%"), Just("("), Just(")"), Just("?"), Just("::"), Just(":"), Just("=~"),
        Just("~~"), Just("|"), Just("&"), Just("="), Just("!="), Just("<"), Just(">="), Just("!"), Just(","), Just("12"), Just("1.5"),
        Just("abc"), Just("\"q\""), Just("\""), Just("POW"), Just("LEN"), Just("99999999999999999999999")], 0..14)) {
        let _ = expr::evaluate(&tokens.join(" "), &Channel::default());
    }

    #[test]
    fn sums_of_integers_are_exact(numbers in proptest::collection::vec(-1_000_000_000_000_i64..1_000_000_000_000, 1..20)) {
        let text = numbers.iter().map(|number| format!("({number})")).collect::<Vec<_>>().join(" + ");
        prop_assert_eq!(expr::evaluate(&text, &Channel::default()), numbers.iter().sum::<i64>().to_string());
    }

    #[test]
    fn quoted_comparison_is_byte_order(left in "[a-zA-Z0-9 а-я]{0,8}", right in "[a-zA-Z0-9 а-я]{0,8}") {
        let text = format!("\"{left}\" < \"{right}\"");
        let expected = format!("\"{left}\"") < format!("\"{right}\"");
        prop_assert_eq!(expr::evaluate(&text, &Channel::default()), if expected { "1" } else { "0" });
    }
}
