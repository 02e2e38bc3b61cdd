//! Numbers, dates and letters as the names of prompts, by the grammar of a language. Only names are made here: which
//! file they mean, and whether it exists, is the business of the sound store. Names are those that prompt packages use
//! (`digits/20`, `letters/a`, `phonetic/a_p`), so that recordings of a real voice replace what is built in.

mod english;
mod moment;
mod russian;

pub(crate) use moment::unix_time;

/// Largest number that is said as one, either way: below a trillion.
pub(crate) const NUMBER_MAX: i64 = 999_999_999_999;
/// Characters spelled at most.
const CHARACTERS_MAX: usize = 256;

/// The gender of what is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gender {
    #[default]
    Masculine,
    Feminine,
    Neuter,
}

impl Gender {
    /// `m`, `f`, `n`; `c` (common) is that of men, and so is anything else.
    pub(crate) fn parse(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "f" => Self::Feminine,
            "n" => Self::Neuter,
            _ => Self::Masculine,
        }
    }
}

/// Whose grammar is spoken. Languages without one of their own are counted as English is, with their own prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    English,
    Russian,
}

impl Grammar {
    /// By the name of a language such as `ru_RU`.
    pub(crate) fn of(language: &str) -> Self {
        match language.split(['_', '-']).next() {
            Some("ru") => Self::Russian,
            _ => Self::English,
        }
    }
}

/// Prompts, in order.
pub(crate) type Prompts = Vec<String>;

/// The prompt of a digit group: `digits/20`.
fn digits(name: impl std::fmt::Display) -> String {
    format!("digits/{name}")
}

/// A cardinal number; beyond [`NUMBER_MAX`] digit by digit.
pub(crate) fn number(grammar: Grammar, number: i64, gender: Gender) -> Prompts {
    signed(number, |size| match grammar {
        Grammar::English => english::cardinal(size),
        Grammar::Russian => russian::cardinal(size, gender),
    })
}

/// An ordinal number (first, second).
pub(crate) fn ordinal(grammar: Grammar, number: i64, gender: Gender) -> Prompts {
    signed(number, |size| match grammar {
        Grammar::English => english::ordinal(size),
        Grammar::Russian => russian::ordinal(size, gender),
    })
}

fn signed(number: i64, say: impl FnOnce(u64) -> Prompts) -> Prompts {
    let size = number.unsigned_abs();
    let mut prompts = if size > NUMBER_MAX.unsigned_abs() {
        spelled_digits(&size.to_string())
    } else {
        say(size)
    };
    if number < 0 {
        prompts.insert(0, digits("minus"));
    }
    prompts
}

/// An amount of money: whole units and hundredths, of the money of the language (dollars and cents, roubles and kopecks).
pub(crate) fn money(grammar: Grammar, hundredths: i64) -> Prompts {
    let size = hundredths.unsigned_abs();
    let (units, rest) = (size / 100, size % 100);
    let mut prompts = Prompts::new();
    if hundredths < 0 {
        prompts.push(digits("minus"));
    }
    match grammar {
        Grammar::English => english::money(units, rest, &mut prompts),
        Grammar::Russian => russian::money(units, rest, &mut prompts),
    }
    prompts
}

/// Do nouns of this language have three forms beside a number, as in Russian?
fn has_three_forms(language: &str) -> bool {
    let language = language.split(['_', '-']).next().unwrap_or_default();
    ["ru", "uk", "ua", "pl"]
        .iter()
        .any(|known| language.eq_ignore_ascii_case(known))
}

/// What stands behind the name of a sound that says a noun beside this number: nothing for one, `s` for all else; in
/// Russian, Ukrainian and Polish nothing (1 звонок), `x1` (2 звонка) or `x2` (5 звонков).
pub(crate) fn noun_ending(language: &str, number: i64) -> &'static str {
    let size = number.unsigned_abs();
    if has_three_forms(language) {
        russian::form(size, ["", "x1", "x2"])
    } else if size == 1 {
        ""
    } else {
        "s"
    }
}

/// The same for an adjective: nothing, as it is not declined; in the other languages the gender (`m`, `f`, `n` or none)
/// beside one (1 новая), `x` beside all else (5 новых).
pub(crate) fn adjective_ending<'g>(language: &str, number: i64, gender: &'g str) -> &'g str {
    if !has_three_forms(language) {
        return "";
    }
    let one = russian::form(number.unsigned_abs(), ["one", "", ""]);
    if one.is_empty() { "x" } else { gender }
}

/// Digits, `*`, `#` and the minus sign, one by one; all else is left out.
pub(crate) fn spelled_digits(text: &str) -> Prompts {
    text.chars()
        .filter_map(|c| match c {
            '0'..='9' => Some(digits(c)),
            '*' => Some(digits("star")),
            '#' => Some(digits("pound")),
            '-' => Some(digits("minus")),
            _ => None,
        })
        .take(CHARACTERS_MAX)
        .collect()
}

/// When the case of letters is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Never,
    All,
    Lower,
    Upper,
}

/// Letters, digits and signs by their names.
pub(crate) fn letters(text: &str, case: Case) -> Prompts {
    let mut prompts = Prompts::new();
    for c in text.chars().take(CHARACTERS_MAX) {
        if c.is_ascii_uppercase() && matches!(case, Case::All | Case::Upper) {
            prompts.push("uppercase".to_owned());
        } else if c.is_ascii_lowercase() && matches!(case, Case::All | Case::Lower) {
            prompts.push("lowercase".to_owned());
        }
        prompts.extend(character(c, |letter| format!("letters/{letter}")));
    }
    prompts
}

/// Letters by the words of the radiotelephone alphabet.
pub(crate) fn phonetic(text: &str) -> Prompts {
    text.chars()
        .take(CHARACTERS_MAX)
        .filter_map(|c| character(c, |letter| format!("phonetic/{letter}_p")))
        .collect()
}

fn character(c: char, letter: impl FnOnce(char) -> String) -> Option<String> {
    let sign = |name: &str| Some(format!("letters/{name}"));
    match c {
        'a'..='z' | 'A'..='Z' => Some(letter(c.to_ascii_lowercase())),
        '0'..='9' => Some(digits(c)),
        '*' => Some(digits("star")),
        '#' => Some(digits("pound")),
        '!' => sign("exclaimation-point"),
        '@' => sign("at"),
        '$' => sign("dollar"),
        '-' => sign("dash"),
        '.' => sign("dot"),
        '=' => sign("equals"),
        '+' => sign("plus"),
        '/' => sign("slash"),
        ' ' => sign("space"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
