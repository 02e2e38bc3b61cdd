//! Single patterns.

use proptest::prelude::*;
use strowger_dialplan::pattern::{Defect, Mode, Outcome, Pattern, defects};

#[test]
fn classes_and_wildcards_match_what_they_say() {
    for (pattern, data, expected) in [
        ("100", "100", true),
        ("100", "1000", false),
        ("s", "S", false),
        ("1-0-0", "100", true),
        ("100", "10-0", true),
        ("_XXX", "123", true),
        ("_XXX", "12", false),
        ("_XXX", "1234", false),
        ("_xzn", "012", true),
        ("_XZN", "101", false),
        ("_Z", "0", false),
        ("_N", "1", false),
        ("_[135]", "3", true),
        ("_[1-5]", "6", false),
        ("_[a-z0-9]x", "q7", true),
        ("_[1-]", "-", false),
        ("_8.", "8", false),
        ("_8.", "89", true),
        ("_8!", "8", true),
        ("_8!", "8999", true),
        ("_!", "", true),
        ("_.", "i", true),
        ("_.", "", false),
        ("_+7XXX", "+7123", true),
        ("_8-800-XXX", "8800123", true),
        ("_8.XX", "8abc", true),
        ("_1[2", "12", false),
        ("_1[]2", "12", true),
        ("_*72XXX", "*72123", true),
        ("_aXb", "a1b", true),
        ("_aXb", "A1b", false),
    ] {
        assert_eq!(
            Pattern::parse(pattern).matches(data),
            expected,
            "{pattern} with {data}"
        );
    }
}

#[test]
fn digits_are_collected_until_nothing_longer_can_match() {
    use Outcome::{Early, No, Yes};
    for (pattern, data, matches, can, more) in [
        ("123", "12", No, Yes, Yes),
        ("123", "123", Yes, Yes, No),
        ("123", "124", No, No, No),
        ("_1XX", "1", No, Yes, Yes),
        ("_1XX", "150", Yes, Yes, No),
        ("_1XX", "2", No, No, No),
        ("_9.", "9", No, Yes, Yes),
        ("_9.", "91", Yes, Yes, Yes),
        ("_9!", "9", Early, Early, Early),
        ("_9!", "", No, Yes, Yes),
        ("_9!", "915", Early, Early, Early),
        ("_9[", "9", No, Yes, Yes),
        ("_9[", "95", No, No, No),
    ] {
        let pattern_text = pattern;
        let pattern = Pattern::parse(pattern);
        let modes =
            [Mode::Match, Mode::CanMatch, Mode::MatchMore].map(|mode| pattern.compare(data, mode));
        assert_eq!(modes, [matches, can, more], "{pattern_text} with {data}");
    }
}

#[test]
fn defects_are_named() {
    for (pattern, expected) in [
        ("100", &[] as &[Defect]),
        ("_1XX", &[]),
        ("_X.", &[]),
        ("_[", &[Defect::Unterminated]),
        ("_[]", &[Defect::EmptySet, Defect::Empty]),
        ("_1[5-2]", &[Defect::EmptySet]),
        ("_1.2", &[Defect::AfterWildcard]),
        ("_1!2", &[Defect::AfterWildcard]),
        ("_", &[Defect::Empty]),
        ("_.", &[Defect::CatchesSpecials]),
        ("_!", &[Defect::CatchesSpecials]),
    ] {
        assert_eq!(defects(pattern), expected, "{pattern}");
    }
}

proptest! {
    #[test]
    fn a_sample_matches_its_pattern(text in "_?[0-9XZN.!\\[\\]a-c-]{0,10}") {
        let pattern = Pattern::parse(&text);
        if let Some(sample) = pattern.sample() {
            prop_assert!(pattern.matches(&sample), "{} {}", text, sample);
        }
    }

    #[test]
    fn modes_agree_with_each_other(text in "_?[0-9XZN.!\\[\\]-]{0,8}", data in "[0-9]{0,6}", more in "[0-9]{1,4}") {
        let pattern = Pattern::parse(&text);
        let yes = |mode| pattern.compare(&data, mode) != Outcome::No;
        // What matches can match; what can match either matches or could with more.
        prop_assert!(!yes(Mode::Match) || yes(Mode::CanMatch));
        prop_assert_eq!(yes(Mode::CanMatch), yes(Mode::Match) || yes(Mode::MatchMore));
        // What matches when longer could match before.
        if pattern.matches(&format!("{data}{more}")) {
            prop_assert!(yes(Mode::MatchMore));
        }
    }

    #[test]
    fn no_pattern_panics(text in "_?\\PC{0,20}", data in "\\PC{0,20}") {
        let pattern = Pattern::parse(&text);
        for mode in [Mode::Match, Mode::CanMatch, Mode::MatchMore] {
            let _ = pattern.compare(&data, mode);
        }
        let _ = defects(&text);
        let _ = pattern.sample();
    }
}
