//! Russian: genders of one and two, three forms of what is counted, ordinals in the nominative and the genitive.

use super::{Gender, Prompts, digits};

/// What a group of three digits counts: its gender, and its forms for one, two to four, and more.
const GROUPS: [(u64, Gender, [&str; 3]); 3] = [
    (
        1_000_000_000,
        Gender::Masculine,
        ["billion", "billion-a", "billions"],
    ),
    (
        1_000_000,
        Gender::Masculine,
        ["million", "million-a", "millions"],
    ),
    (
        1000,
        Gender::Feminine,
        ["thousand", "thousands-i", "thousands"],
    ),
];

/// The form of a counted word: 1 час, 2 часа, 5 часов.
pub(super) fn form(count: u64, forms: [&'static str; 3]) -> &'static str {
    let [one, few, many] = forms;
    match (count % 100, count % 10) {
        (11..=14, _) => many,
        (_, 1) => one,
        (_, 2..=4) => few,
        _ => many,
    }
}

/// A number below a trillion; the gender is that of what it counts.
pub(super) fn cardinal(number: u64, gender: Gender) -> Prompts {
    let mut prompts = Prompts::new();
    let mut rest = number;
    for (size, of_group, forms) in GROUPS {
        if rest >= size {
            let count = rest / size;
            below_thousand(count, of_group, &mut prompts);
            prompts.push(digits(form(count, forms)));
            rest %= size;
        }
    }
    if rest > 0 || number == 0 {
        below_thousand(rest, gender, &mut prompts);
    }
    prompts
}

fn below_thousand(mut number: u64, gender: Gender, prompts: &mut Prompts) {
    if number >= 100 {
        prompts.push(digits(number / 100 * 100));
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
    prompts.push(digits(match (number, gender) {
        (1, Gender::Feminine) => "1f".to_owned(),
        (1, Gender::Neuter) => "1n".to_owned(),
        (2, Gender::Feminine) => "2f".to_owned(),
        (other, _) => other.to_string(),
    }));
}

/// Which word of an ordinal number is the ordinal one: the last, with all that stands before it a cardinal.
fn split(number: u64) -> (u64, u64) {
    let last = match (number % 100, number % 10) {
        (0, _) if number.is_multiple_of(1000) => number % 1_000_000,
        (0, _) => number % 1000,
        (1..=20, _) => number % 100,
        (tens, 0) => tens,
        (_, unit) => unit,
    };
    (number - last, last)
}

/// Ordinals that there are prompts for: 1 to 20, tens, hundreds, one and two thousand.
fn has_ordinal(number: u64) -> bool {
    matches!(
        number,
        0..=20
            | 30
            | 40
            | 50
            | 60
            | 70
            | 80
            | 90
            | 100
            | 200
            | 300
            | 400
            | 500
            | 600
            | 700
            | 800
            | 900
            | 1000
            | 2000
    )
}

fn with_ordinal(number: u64, ending: &str, gender: Gender) -> Prompts {
    let (before, last) = split(number);
    // Millions and more, and most thousands, have no prompt.
    if !has_ordinal(last) || (last == 0 && number > 0) {
        return cardinal(number, gender);
    }
    let mut prompts = if before > 0 {
        cardinal(before, Gender::Masculine)
    } else {
        Prompts::new()
    };
    prompts.push(format!("digits/h-{last}{ending}"));
    prompts
}

/// Первый, первая, первое.
pub(super) fn ordinal(number: u64, gender: Gender) -> Prompts {
    let ending = match gender {
        Gender::Masculine => "",
        Gender::Feminine => "f",
        Gender::Neuter => "n",
    };
    with_ordinal(number, ending, gender)
}

/// A year in the genitive: две тысячи двадцать шестого года.
pub(super) fn year(year: u64) -> Prompts {
    let mut prompts = with_ordinal(year, "g", Gender::Masculine);
    prompts.push(digits("year-a"));
    prompts
}

/// `3 рубля 20 копеек`.
pub(super) fn money(units: u64, rest: u64, prompts: &mut Prompts) {
    if units > 0 || rest == 0 {
        prompts.extend(cardinal(units, Gender::Masculine));
        prompts.push(digits(form(units, ["rouble", "rouble-a", "roubles"])));
    }
    if rest > 0 {
        prompts.extend(cardinal(rest, Gender::Feminine));
        prompts.push(digits(form(rest, ["kopeck", "kopecks-i", "kopecks"])));
    }
}
