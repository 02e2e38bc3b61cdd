//! Dates and times, by a format of letters: `A` or `a` the day of the week, `B`, `b` or `h` the month, `m` its number, `d`
//! or `e` the day, `Y` the year, `I` or `l` the hour of twelve, `H` or `k` of twenty-four, `M` the minute, `S` the second,
//! `p` or `P` before or after noon, `R` hour and minute, `T` with the second, `Q` today, yesterday or the date, `q` nothing,
//! yesterday or the date; `'name'` is a sound.

use chrono::{DateTime, Datelike, Timelike};
use chrono_tz::Tz;

use super::{Gender, Grammar, Prompts, digits, english, number, ordinal, russian};

/// Letters of a format that are read.
const FORMAT_MAX: usize = 256;

/// Says a moment. `now` is for `Q` and `q`.
pub(crate) fn unix_time(
    grammar: Grammar,
    at: &DateTime<Tz>,
    now: &DateTime<Tz>,
    format: &str,
) -> Prompts {
    let format = if format.is_empty() {
        match grammar {
            Grammar::English => "ABdY 'digits/at' IMp",
            Grammar::Russian => "AdBY 'digits/at' HM",
        }
    } else {
        format
    };
    let mut prompts = Prompts::new();
    say(grammar, at, now, format, &mut prompts, 0);
    prompts
}

fn say(
    grammar: Grammar,
    at: &DateTime<Tz>,
    now: &DateTime<Tz>,
    format: &str,
    prompts: &mut Prompts,
    depth: usize,
) {
    let date = match grammar {
        Grammar::English => "ABdY",
        Grammar::Russian => "AdBY",
    };
    let mut letters = format.chars().take(FORMAT_MAX);
    let mut previous = None;
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let name: String = letters.by_ref().take_while(|c| *c != '\'').collect();
                if !name.is_empty() {
                    prompts.push(name);
                }
            }
            'A' | 'a' => prompts.push(digits(format_args!(
                "day-{}",
                at.weekday().num_days_from_sunday()
            ))),
            'B' | 'b' | 'h' => prompts.push(digits(format_args!("mon-{}", at.month0()))),
            'm' => prompts.extend(ordinal(grammar, i64::from(at.month()), Gender::Masculine)),
            'd' | 'e' => prompts.extend(ordinal(grammar, i64::from(at.day()), Gender::Neuter)),
            'Y' => {
                let year = u64::try_from(at.year()).unwrap_or(0);
                prompts.extend(match grammar {
                    Grammar::English => english::year(year),
                    Grammar::Russian => russian::year(year),
                });
            }
            'I' | 'l' => prompts.extend(hour(grammar, at.hour12().1, false)),
            'H' | 'k' => prompts.extend(hour(grammar, at.hour(), letter == 'H')),
            'M' => prompts.extend(minute(grammar, at.minute(), previous)),
            'S' => prompts.extend(second(grammar, at.second())),
            'p' | 'P' => prompts.push(digits(part_of_day(grammar, at.hour()))),
            'R' if depth == 0 => say(grammar, at, now, "HM", prompts, 1),
            'T' if depth == 0 => say(grammar, at, now, "HMS", prompts, 1),
            'Q' | 'q' if depth == 0 => {
                let days = (now.date_naive() - at.date_naive()).num_days();
                match days {
                    0 if letter == 'Q' => prompts.push(digits("today")),
                    0 => {}
                    1 => prompts.push(digits("yesterday")),
                    2..=6 => say(grammar, at, now, "A", prompts, 1),
                    _ => say(grammar, at, now, date, prompts, 1),
                }
            }
            _ => {}
        }
        if !letter.is_whitespace() {
            previous = Some(letter);
        }
    }
}

fn hour(grammar: Grammar, hour: u32, leading_zero: bool) -> Prompts {
    let mut prompts = number(grammar, i64::from(hour), Gender::Masculine);
    match grammar {
        Grammar::English if leading_zero && (1..10).contains(&hour) => {
            prompts.insert(0, digits("oh"));
        }
        Grammar::English => {}
        Grammar::Russian => prompts.push(digits(russian::form(
            u64::from(hour),
            ["hour", "hour-a", "hours"],
        ))),
    }
    prompts
}

fn minute(grammar: Grammar, minute: u32, previous: Option<char>) -> Prompts {
    match grammar {
        Grammar::English => match minute {
            // Thirteen hundred, but one o'clock.
            0 if matches!(previous, Some('H' | 'k')) => vec![digits("hundred")],
            0 => vec![digits("oclock")],
            1..10 => vec![digits("oh"), digits(minute)],
            _ => number(grammar, i64::from(minute), Gender::Masculine),
        },
        Grammar::Russian => {
            let mut prompts = number(grammar, i64::from(minute), Gender::Feminine);
            let forms = ["minute", "minutes-i", "minutes"];
            prompts.push(digits(russian::form(u64::from(minute), forms)));
            prompts
        }
    }
}

fn second(grammar: Grammar, second: u32) -> Prompts {
    let mut prompts = number(grammar, i64::from(second), Gender::Feminine);
    match grammar {
        Grammar::English if second < 10 => prompts.insert(0, digits("oh")),
        Grammar::English => {}
        Grammar::Russian => {
            let forms = ["second", "seconds-i", "seconds"];
            prompts.push(digits(russian::form(u64::from(second), forms)));
        }
    }
    prompts
}

fn part_of_day(grammar: Grammar, hour: u32) -> &'static str {
    match (grammar, hour) {
        (Grammar::English, 0..12) => "a-m",
        (Grammar::English, _) => "p-m",
        (Grammar::Russian, 0..4) => "night",
        (Grammar::Russian, 4..12) => "a-m",
        (Grammar::Russian, 12..17) => "p-m",
        (Grammar::Russian, _) => "evening",
    }
}
