//! Expressions under a seeded mutator: no input may panic, hang or take more than it is given.

mod mutator;

use mutator::Mutator;
use strowger_dialplan::expr;
use strowger_dialplan::vars::NoVars;

const CORPUS: [&str; 14] = [
    "1 + 2 * 3",
    "\"${X}\" = \"\"",
    "10 > 9 & 5 <= 3 | !0",
    "\"abc123\" =~ \"[a-z]+([0-9]+)\"",
    "\"abc\" : \"(a|b)*c{1,3}\"",
    "a ? b :: c",
    "POW(2,62) / 3 - -1.5 % 4",
    "LEN(abc) ~~ FOO(,1,)",
    "((((1))))",
    "0.1 + 99999999999999999999999999999999999999",
    "$x'y;z\\w@q#r^s",
    "\"[[:alpha:]]\" : \"[]a-z[:digit:]-]\"",
    "привет = \"мир\"",
    "1 || 0 && 2 == 2 != 3 >= 4",
];

#[test]
fn mutated_expressions_never_panic() {
    Mutator::drive("expression", &CORPUS, 60_000, |text| {
        let value = expr::evaluate(text, &NoVars);
        assert!(value.len() <= text.len() + 64, "{text:?} became {value:?}");
        if let Ok(analysis) = expr::analyse(text)
            && let Some(constant) = analysis.constant
        {
            assert_eq!(constant, value, "{text:?}");
        }
    });
}
