//! Templates, argument splitting, patterns, times and generated source under a seeded mutator.

mod mutator;

use mutator::Mutator;
use strowger_dialplan::args::{self, Options};
use strowger_dialplan::pattern::{Mode, Pattern, defects};
use strowger_dialplan::{Template, TimeSpec, lua, subst, vars::NoVars};

const CORPUS: [&str; 14] = [
    "${EXTEN:1:-2}",
    "a${VAR_${EXTEN}}b$[${A} + 1]",
    "${CUT(${X},-,1-3):0:5}",
    "${UNIQUEID}.wav,r(${UNIQUEID}_receive.wav)t(x),${CMD}",
    "x.php,--a=\"b c\",--d=\"e,f\"",
    "$[\"${X}\" = \"\"]?ctx,s,1:other,s,2",
    "1?Set(A=x:y):NoOp(\\,\"q\")",
    "_[1-5]XZN[abc].",
    "_8-800-!",
    "09:00-18:00&22:00-06:00,mon-fri,1-31,jan&dec,Europe/Moscow",
    "tTm(music)L(1000:500)A(\"a)b\")",
    "${${${${${${${${a}}}}}}}}",
    "$[$[$[1]]]",
    "Вызов ${NAME:1:3} \0\n]]--",
];

#[test]
fn mutated_texts_never_panic() {
    Mutator::drive("template", &CORPUS, 60_000, |text| {
        let (template, _) = Template::parse_with_defects(text);
        let value = template.evaluate(&NoVars);
        assert_eq!(template.folded().evaluate(&NoVars), value, "{text:?}");
        let source = lua::text(&template);
        assert!(!source.contains(['\n', '\r', '\0']), "{text:?}");
        assert!(!lua::comment(text).contains('\n'));
        let _ = subst::resolve(text, &NoVars);
        assert_eq!(args::split_raw(text, ',').join(","), text);
        assert!(args::split_at_most(text, 3).len() <= 3);
        let _ = (
            args::parse_goto(text),
            args::parse_gosub(text),
            args::parse_goto_if(text),
            args::parse_exec_if(text),
        );
        let _ = Options::parse(text);
        let _ = TimeSpec::parse(text);
        let pattern = Pattern::parse(text);
        let _ = (defects(text), pattern.sample());
        for mode in [Mode::Match, Mode::CanMatch, Mode::MatchMore] {
            let _ = pattern.compare("8800123", mode);
        }
    });
}
