//! English.

use super::{Prompts, digits};

const GROUPS: [(u64, &str); 3] = [
    (1_000_000_000, "billion"),
    (1_000_000, "million"),
    (1000, "thousand"),
];

/// A number below a trillion.
pub(super) fn cardinal(number: u64) -> Prompts {
    let mut prompts = Prompts::new();
    let mut rest = number;
    for (size, name) in GROUPS {
        if rest >= size {
            below_thousand(rest / size, &mut prompts);
            prompts.push(digits(name));
            rest %= size;
        }
    }
    if rest > 0 || number == 0 {
        below_thousand(rest, &mut prompts);
    }
    prompts
}

fn below_thousand(mut number: u64, prompts: &mut Prompts) {
    if number >= 100 {
        prompts.push(digits(number / 100));
        prompts.push(digits("hundred"));
        number %= 100;
        if number == 0 {
            return;
        }
    }
    if number > 20 {
        prompts.push(digits(number / 10 * 10));
        number %= 10;
        if number == 0 {
            return;
        }
    }
    prompts.push(digits(number));
}

/// First, second: the last word of the number is the ordinal.
pub(super) fn ordinal(number: u64) -> Prompts {
    let mut prompts = cardinal(number);
    if let Some(last) = prompts.last_mut()
        && let Some(word) = last.strip_prefix("digits/")
    {
        *last = format!("digits/h-{word}");
    }
    prompts
}

/// `3 dollars and 20 cents`.
pub(super) fn money(units: u64, rest: u64, prompts: &mut Prompts) {
    let word = |count, one: &str, many: &str| digits(if count == 1 { one } else { many });
    if units > 0 || rest == 0 {
        prompts.extend(cardinal(units));
        prompts.push(word(units, "dollar", "dollars"));
    }
    if rest > 0 {
        if units > 0 {
            prompts.push(digits("and"));
        }
        prompts.extend(cardinal(rest));
        prompts.push(word(rest, "cent", "cents"));
    }
}

/// A year: nineteen ninety-nine, two thousand five.
pub(super) fn year(year: u64) -> Prompts {
    if !(1100..2000).contains(&year) && !(2010..2100).contains(&year) {
        return cardinal(year);
    }
    let mut prompts = Prompts::new();
    below_thousand(year / 100, &mut prompts);
    match year % 100 {
        0 => prompts.push(digits("hundred")),
        rest => {
            if rest < 10 {
                prompts.push(digits("oh"));
            }
            below_thousand(rest, &mut prompts);
        }
    }
    prompts
}
