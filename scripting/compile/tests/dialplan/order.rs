//! Which of several matching extensions is tried first, against a slow reference written straight from the rules.

use std::cmp::Ordering;

use proptest::prelude::*;
use strowger_dialplan::matcher::{Matcher, Order, Orders, Verdict, differing};
use strowger_dialplan::pattern::Mode;

/// All extensions that match, in the order in which the matcher offers them.
fn offered(order: Order, extensions: &[&str], data: &str) -> Vec<String> {
    let matcher = Matcher::new(order, extensions.iter().copied());
    let mut list = Vec::new();
    let found = matcher.find(data, |place| {
        list.push(extensions[place].to_owned());
        Verdict::NoPriority
    });
    assert_eq!(found, None);
    list
}

#[test]
fn the_most_specific_pattern_is_tried_first() {
    let extensions = ["_X.", "_1XX", "_10X", "100"];
    for (data, first) in [
        ("100", "100"),
        ("105", "_10X"),
        ("150", "_1XX"),
        ("20", "_X."),
    ] {
        assert_eq!(
            offered(Order::Specific, &extensions, data)[0],
            first,
            "{data}"
        );
    }
    assert_eq!(
        offered(Order::Specific, &extensions, "100"),
        ["100", "_10X", "_1XX", "_X."]
    );
    let extensions = [
        "_1!",
        "_1.",
        "_1XXX",
        "_1NXX",
        "_12XX",
        "_123X",
        "_!",
        "_[13-5]XXX",
        "_[12]XXX",
        "_XXX.",
        "_1[2]3X",
    ];
    assert_eq!(
        offered(Order::Specific, &extensions, "1234"),
        [
            "_123X",
            "_1[2]3X",
            "_12XX",
            "_1NXX",
            "_1XXX",
            "_1.",
            "_1!",
            "_[12]XXX",
            "_[13-5]XXX",
            "_XXX.",
            "_!"
        ]
    );
}

#[test]
fn extensions_that_both_orders_ask_alike_are_told_from_others() {
    let many: Vec<String> = (0..4001).map(|number| format!("_{number:05}X")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (extensions, orders) in [
        (&["_XXXX", "_1X."][..], Orders::Differ(1, 0)),
        (&["_[12]XX", "_2XX", "100", "_1X!"], Orders::Differ(3, 0)),
        (&["_1XX", "_1XX!"], Orders::Same),
        (&["_1XX", "_1XXX", "_2X.", "100"], Orders::Same),
        (&["_0.", "_X."], Orders::Same),
        (&["1-00", "100"], Orders::Same),
        (&["100", "1-00"], Orders::Differ(0, 1)),
        (&[], Orders::Same),
        (&many[..4000], Orders::Same),
        (&many, Orders::TooMany),
    ] {
        let shown = extensions.get(..4).unwrap_or(extensions);
        assert_eq!(differing(extensions), orders, "{shown:?}");
    }
}

#[test]
fn sets_of_one_size_and_smallest_member_are_ordered_by_bitmap() {
    assert_eq!(
        offered(Order::Specific, &["_[149]", "_[127]", "_[129]"], "1"),
        ["_[127]", "_[129]", "_[149]"]
    );
}

#[test]
fn the_realtime_switch_tries_the_longest_text_first() {
    let extensions = ["_1XX", "_X.", "_[1]XX", "100", "_XXX", "_[0-9][0-9]X"];
    assert_eq!(
        offered(Order::Longest, &extensions, "100"),
        ["100", "_[0-9][0-9]X", "_[1]XX", "_1XX", "_XXX", "_X."]
    );
}

#[test]
fn an_early_match_ends_the_wait_for_more_digits() {
    let take = |_| Verdict::Take;
    let matcher = Matcher::new(Order::Specific, ["_9!", "_9XXXX."]);
    // `_9X...` is tried before `_9!`, so more digits are still possible.
    assert!(matcher.could("9", Mode::MatchMore, take));
    let matcher = Matcher::new(Order::Specific, ["_[89]!", "_X."]);
    assert!(!matcher.could("91", Mode::MatchMore, take));
    assert!(matcher.could("71", Mode::MatchMore, take));
    assert!(matcher.could("9", Mode::CanMatch, take));
}

/// One position of a pattern for the reference: key and members in order.
#[derive(Clone, PartialEq)]
enum Slot {
    One(Vec<u8>),
    Many,
    Any,
    Never,
}

fn slots(pattern: &str) -> Vec<Slot> {
    let bytes: Vec<u8> = pattern
        .bytes()
        .filter(|byte| *byte != b'-' || pattern.contains('['))
        .collect();
    let mut list = Vec::new();
    let mut at = 1;
    while at < bytes.len() {
        let slot = match bytes[at] {
            b'-' => {
                at += 1;
                continue;
            }
            b'X' => Slot::One((b'0'..=b'9').collect()),
            b'Z' => Slot::One((b'1'..=b'9').collect()),
            b'N' => Slot::One((b'2'..=b'9').collect()),
            b'.' => Slot::Many,
            b'!' => Slot::Any,
            b'[' => match bytes[at..].iter().position(|byte| *byte == b']') {
                None => Slot::Never,
                Some(length) => {
                    let inside = &bytes[at + 1..at + length];
                    at += length;
                    let mut members = Vec::new();
                    let mut inner = 0;
                    while inner < inside.len() {
                        if inner + 2 < inside.len() && inside[inner + 1] == b'-' {
                            members.extend(inside[inner]..=inside[inner + 2]);
                            inner += 3;
                        } else {
                            members.push(inside[inner]);
                            inner += 1;
                        }
                    }
                    members.sort_unstable();
                    members.dedup();
                    if members.is_empty() {
                        at += 1;
                        continue;
                    }
                    Slot::One(members)
                }
            },
            literal => Slot::One(vec![literal]),
        };
        at += 1;
        let last = !matches!(slot, Slot::One(_));
        list.push(slot);
        if last {
            break;
        }
    }
    list
}

fn key(slot: Option<&Slot>) -> usize {
    match slot {
        Some(Slot::One(members)) => members.len() * 256 + usize::from(members[0]),
        Some(Slot::Many) => 0x18000,
        Some(Slot::Any) => 0x28000,
        None => 0x30000,
        Some(Slot::Never) => 0x40000,
    }
}

fn slow_order(left: &str, right: &str) -> Ordering {
    let (left, right) = (slots(left), slots(right));
    for place in 0..left.len().max(right.len()) + 1 {
        let (one, other) = (left.get(place), right.get(place));
        let order = key(one).cmp(&key(other));
        if order != Ordering::Equal {
            return order;
        }
        if let (Some(Slot::One(one)), Some(Slot::One(other))) = (one, other) {
            // The first code that is in one set only decides: the set that has it goes first.
            if let Some(code) = (0..=255).find(|code| one.contains(code) != other.contains(code)) {
                return if one.contains(&code) {
                    Ordering::Less
                } else {
                    Ordering::Greater
                };
            }
        }
    }
    Ordering::Equal
}

fn slow_match(slots: &[Slot], data: &[u8]) -> bool {
    match (slots.first(), data.first()) {
        (None, None) => true,
        (Some(Slot::Any), _) => true,
        (Some(Slot::Many), Some(_)) => true,
        (Some(Slot::One(members)), Some(byte)) => {
            members.contains(byte) && slow_match(&slots[1..], &data[1..])
        }
        _ => false,
    }
}

fn slow_offered(order: Order, extensions: &[&str], data: &str) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut patterns: Vec<&str> = Vec::new();
    for extension in extensions {
        if !extension.starts_with('_') {
            if *extension == data {
                names.push(extension);
            }
        } else if slow_match(&slots(extension), data.as_bytes()) {
            patterns.push(extension);
        }
    }
    match order {
        Order::Specific => patterns.sort_by(|left, right| slow_order(left, right)),
        Order::Longest => {
            patterns.sort_by(|left, right| right.len().cmp(&left.len()).then(left.cmp(right)))
        }
    }
    names
        .into_iter()
        .chain(patterns)
        .map(str::to_owned)
        .collect()
}

/// Whether `data` or a longer text can match, by trying all continuations over a small alphabet.
fn slow_more(extensions: &[&str], data: &str) -> bool {
    let mut sorted: Vec<&str> = extensions.to_vec();
    sorted.sort_by(
        |left, right| match (left.starts_with('_'), right.starts_with('_')) {
            (true, true) => slow_order(left, right),
            (left, right) => left.cmp(&right),
        },
    );
    for extension in sorted {
        if !extension.starts_with('_') {
            if extension.len() > data.len() && extension.starts_with(data) {
                return true;
            }
            continue;
        }
        let slots = slots(extension);
        let mut place = 0;
        let mut outcome = None;
        for byte in data.bytes() {
            match slots.get(place) {
                Some(Slot::One(members)) if members.contains(&byte) => place += 1,
                Some(Slot::Many) => outcome = outcome.or(Some(true)),
                Some(Slot::Any) => outcome = outcome.or(Some(false)),
                _ => {
                    outcome = outcome.or(None);
                    place = usize::MAX;
                }
            }
            if outcome.is_some() || place == usize::MAX {
                break;
            }
        }
        let outcome = match (outcome, place) {
            (Some(outcome), _) => Some(outcome),
            (None, usize::MAX) => None,
            (None, place) => match slots.get(place) {
                None => None,
                Some(Slot::Any) => Some(false),
                Some(_) => Some(true),
            },
        };
        if let Some(outcome) = outcome {
            return outcome;
        }
    }
    false
}

fn extension() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "_[0-3XZN]{1,4}[.!]?",
        3 => "_([0-3XZN]|\\[[0-4]{1,3}\\]|\\[[0-2]-[2-5]\\]){1,4}[.!]?",
        1 => "_[0-3XZN\\[\\].!-]{0,6}",
        2 => "[0-3]{1,4}",
    ]
}

proptest! {
    #[test]
    fn the_matcher_equals_the_slow_reference(
        extensions in proptest::collection::btree_set(extension(), 0..24),
        data in "[0-5]{0,5}",
    ) {
        let extensions: Vec<&str> = extensions.iter().map(String::as_str).collect();
        for order in [Order::Specific, Order::Longest] {
            prop_assert_eq!(offered(order, &extensions, &data), slow_offered(order, &extensions, &data));
        }
        let matcher = Matcher::new(Order::Specific, extensions.iter().copied());
        let more = matcher.could(&data, Mode::MatchMore, |_| Verdict::Take);
        prop_assert_eq!(more, slow_more(&extensions, &data));
    }

    #[test]
    fn extensions_whose_order_is_said_to_be_the_same_are_offered_so(
        extensions in proptest::collection::btree_set(extension(), 0..6),
        data in "[0-5]{0,5}",
    ) {
        let extensions: Vec<&str> = extensions.iter().map(String::as_str).collect();
        let specific = offered(Order::Specific, &extensions, &data);
        let same = specific == offered(Order::Longest, &extensions, &data);
        prop_assert!(same || differing(&extensions) != Orders::Same, "{:?} {}", extensions, data);
    }

    #[test]
    fn no_set_of_extensions_panics(extensions in proptest::collection::vec("_?\\PC{0,10}", 0..8), data in "\\PC{0,8}") {
        for order in [Order::Specific, Order::Longest] {
            let matcher = Matcher::new(order, extensions.iter().map(String::as_str));
            for mode in [Mode::Match, Mode::CanMatch, Mode::MatchMore] {
                let _ = matcher.could(&data, mode, |_| Verdict::Take);
            }
        }
    }
}
