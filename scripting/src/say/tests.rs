//! What is said, as the words of the prompts.

use chrono::TimeZone;
use chrono_tz::Tz;

use super::*;

fn joined(prompts: &[String]) -> String {
    let words: Vec<_> = prompts
        .iter()
        .map(|name| name.strip_prefix("digits/").unwrap_or(name))
        .collect();
    words.join(" ")
}

#[test]
fn english_numbers() {
    for (value, said) in [
        (0, "0"),
        (7, "7"),
        (20, "20"),
        (21, "20 1"),
        (100, "1 hundred"),
        (115, "1 hundred 15"),
        (1001, "1 thousand 1"),
        (12_345, "12 thousand 3 hundred 40 5"),
        (-5, "minus 5"),
        (2_000_000, "2 million"),
        (
            999_999_999_999,
            "9 hundred 90 9 billion 9 hundred 90 9 million 9 hundred 90 9 thousand 9 hundred 90 9",
        ),
        (1_000_000_000_000, "1 0 0 0 0 0 0 0 0 0 0 0 0"),
        (i64::MIN, "minus 9 2 2 3 3 7 2 0 3 6 8 5 4 7 7 5 8 0 8"),
    ] {
        assert_eq!(
            joined(&number(Grammar::English, value, Gender::Feminine)),
            said
        );
    }
    for (value, said) in [
        (1, "h-1"),
        (20, "h-20"),
        (22, "20 h-2"),
        (100, "1 h-hundred"),
        (1000, "1 h-thousand"),
        (1101, "1 thousand 1 hundred h-1"),
    ] {
        assert_eq!(
            joined(&ordinal(Grammar::English, value, Gender::Masculine)),
            said
        );
    }
}

#[test]
fn russian_numbers_have_gender_and_three_forms() {
    use Gender::{Feminine as F, Masculine as M, Neuter as N};
    for (value, gender, said) in [
        (0, M, "0"),
        (1, M, "1"),
        (1, F, "1f"),
        (1, N, "1n"),
        (2, N, "2"),
        (2, F, "2f"),
        (12, F, "12"),
        (22, F, "20 2f"),
        (101, F, "100 1f"),
        (111, F, "100 11"),
        (1000, M, "1f thousand"),
        (2002, M, "2f thousands-i 2"),
        (5000, F, "5 thousands"),
        (11_000, M, "11 thousands"),
        (21_001, F, "20 1f thousand 1f"),
        (112_000, M, "100 12 thousands"),
        (1_000_000, F, "1 million"),
        (3_000_000, M, "3 million-a"),
        (14_000_000, M, "14 millions"),
        (2_000_000_000, M, "2 billion-a"),
        (-42, F, "minus 40 2f"),
    ] {
        assert_eq!(
            joined(&number(Grammar::Russian, value, gender)),
            said,
            "{value} {gender:?}"
        );
    }
    for (value, gender, said) in [
        (3, M, "h-3"),
        (3, F, "h-3f"),
        (31, N, "30 h-1n"),
        (100, M, "h-100"),
        (1905, M, "1f thousand 900 h-5"),
        (2000, M, "h-2000"),
        (2010, F, "2f thousands-i h-10f"),
        // There is no prompt for it: the cardinal is understood.
        (3000, M, "3 thousands-i"),
    ] {
        assert_eq!(
            joined(&ordinal(Grammar::Russian, value, gender)),
            said,
            "{value} {gender:?}"
        );
    }
}

#[test]
fn money_is_that_of_the_language() {
    for (grammar, hundredths, said) in [
        (Grammar::English, 0, "0 dollars"),
        (Grammar::English, 100, "1 dollar"),
        (Grammar::English, 520, "5 dollars and 20 cents"),
        (Grammar::English, 1, "1 cent"),
        (Grammar::English, -150, "minus 1 dollar and 50 cents"),
        (Grammar::Russian, 0, "0 roubles"),
        (Grammar::Russian, 102, "1 rouble 2f kopecks-i"),
        (Grammar::Russian, 2211, "20 2 rouble-a 11 kopecks"),
        (Grammar::Russian, 21, "20 1f kopeck"),
    ] {
        assert_eq!(joined(&money(grammar, hundredths)), said, "{hundredths}");
    }
}

#[test]
fn dates_and_times() {
    let moscow: Tz = "Europe/Moscow".parse().unwrap();
    let at = |y, mo, d, h, mi, s| moscow.with_ymd_and_hms(y, mo, d, h, mi, s).unwrap();
    let now = at(2026, 11, 21, 15, 0, 0);
    let afternoon = at(2026, 5, 1, 14, 5, 9);
    for (grammar, moment, format, said) in [
        (
            Grammar::English,
            afternoon,
            "",
            "day-5 mon-4 h-1 20 20 6 at 2 oh 5 p-m",
        ),
        (Grammar::English, afternoon, "IMp", "2 oh 5 p-m"),
        (
            Grammar::English,
            at(2026, 5, 31, 0, 0, 0),
            "dBY IMp",
            "30 h-1 mon-4 20 20 6 12 oclock a-m",
        ),
        (
            Grammar::English,
            at(1905, 1, 1, 9, 0, 0),
            "Y HM",
            "19 oh 5 oh 9 hundred",
        ),
        (Grammar::English, at(2000, 1, 1, 9, 0, 0), "Y", "2 thousand"),
        (Grammar::English, afternoon, "T", "14 oh 5 oh 9"),
        (
            Grammar::English,
            now,
            "Q 'digits/at' R",
            "today at 15 hundred",
        ),
        (
            Grammar::English,
            at(2026, 11, 20, 8, 30, 0),
            "q",
            "yesterday",
        ),
        (Grammar::English, at(2026, 11, 18, 8, 30, 0), "Q", "day-3"),
        (
            Grammar::Russian,
            afternoon,
            "",
            "day-5 h-1n mon-4 2f thousands-i 20 h-6g year-a at 14 hours 5 minutes",
        ),
        (
            Grammar::Russian,
            at(2026, 5, 23, 21, 22, 1),
            "dB HMSp",
            "20 h-3n mon-4 20 1 hour 20 2f minutes-i 1f second evening",
        ),
        (
            Grammar::Russian,
            at(1999, 12, 31, 3, 0, 0),
            "dBY kp",
            "30 h-1n mon-11 1f thousand 900 90 h-9g year-a 3 hour-a night",
        ),
        (
            Grammar::Russian,
            at(2000, 1, 1, 0, 0, 0),
            "Y",
            "h-2000g year-a",
        ),
        (
            Grammar::Russian,
            at(2025, 1, 2, 0, 0, 0),
            "Q",
            "day-4 h-2n mon-0 2f thousands-i 20 h-5g year-a",
        ),
    ] {
        assert_eq!(
            joined(&unix_time(grammar, &moment, &now, format)),
            said,
            "{format} {moment}"
        );
    }
}

#[test]
fn characters_by_their_names() {
    assert_eq!(
        letters("Ab-1 Ж", Case::Never),
        [
            "letters/a",
            "letters/b",
            "letters/dash",
            "digits/1",
            "letters/space"
        ]
    );
    assert_eq!(
        letters("aB", Case::All),
        ["lowercase", "letters/a", "uppercase", "letters/b"]
    );
    assert_eq!(
        letters("aB", Case::Upper),
        ["letters/a", "uppercase", "letters/b"]
    );
    assert_eq!(phonetic("x#"), ["phonetic/x_p", "digits/pound"]);
    assert_eq!(
        spelled_digits("-1*a#"),
        ["digits/minus", "digits/1", "digits/star", "digits/pound"]
    );
    assert_eq!(
        letters(&"a".repeat(1000), Case::Never).len(),
        CHARACTERS_MAX
    );
}

/// Every prompt that can be said in a language is in the built-in set.
#[test]
fn every_prompt_exists() {
    let sounds = concat!(env!("CARGO_MANIFEST_DIR"), "/../sounds");
    let moscow: Tz = "Europe/Moscow".parse().unwrap();
    for (language, grammar) in [("en", Grammar::English), ("ru", Grammar::Russian)] {
        let mut said = std::collections::BTreeSet::new();
        for gender in [Gender::Masculine, Gender::Feminine, Gender::Neuter] {
            for value in (-30..2300).chain([
                1_000_000,
                2_000_000,
                5_000_000,
                1_000_000_000,
                2_000_000_000,
                5_000_000_000,
            ]) {
                said.extend(number(grammar, value, gender));
                said.extend(ordinal(grammar, value, gender));
            }
        }
        for hundredths in 0..1000 {
            said.extend(money(grammar, hundredths));
        }
        let now = moscow.with_ymd_and_hms(2026, 7, 20, 0, 0, 0).unwrap();
        for hours in 0..9000 {
            let at = now - chrono::TimeDelta::seconds(hours * 3599);
            said.extend(unix_time(grammar, &at, &now, "ABdYmIHMSpQ"));
        }
        for year in 1900..2100 {
            let at = moscow.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap();
            said.extend(unix_time(grammar, &at, &now, ""));
        }
        let all: String = (' '..='~').collect();
        said.extend(letters(&all, Case::All));
        said.extend(phonetic(&all));
        said.extend(spelled_digits(&all));
        let missing: Vec<_> = said
            .iter()
            .filter(|name| {
                !std::path::Path::new(&format!("{sounds}/{language}/{name}.wav")).is_file()
            })
            .collect();
        assert!(missing.is_empty(), "{language}: {missing:?}");
        assert!(said.len() > 150, "{language}: {}", said.len());
    }
}

#[test]
fn counted_words_have_the_form_that_goes_with_the_number() {
    for (language, number, noun, adjective) in [
        ("en", 1, "", ""),
        ("en", -1, "", ""),
        ("en_US", 0, "s", ""),
        ("fr", 21, "s", ""),
        ("ru", 1, "", "f"),
        ("ru_RU", 2, "x1", "x"),
        ("ru", 4, "x1", "x"),
        ("ru", 5, "x2", "x"),
        ("ru", 11, "x2", "x"),
        ("ru", 14, "x2", "x"),
        ("ru", 0, "x2", "x"),
        ("uk", 21, "", "f"),
        ("ru", -101, "", "f"),
        ("pl", 112, "x2", "x"),
        ("ru", i64::MIN, "x2", "x"),
    ] {
        assert_eq!(noun_ending(language, number), noun, "{language} {number}");
        let ending = adjective_ending(language, number, "f");
        assert_eq!(ending, adjective, "{language} {number}");
    }
    assert_eq!(adjective_ending("ru", 1, ""), "");
}
