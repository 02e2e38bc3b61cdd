//! Saying numbers, letters, dates and money.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use strowger_core::channel::Played;

use super::play::{audible, load_all};
use super::{App, AppResult, Call, Next, app};
use crate::func::text::is_yes;
use crate::say::{self, Case, Gender, Grammar, Prompts};

pub(super) const APPS: &[App] = &[
    app!(
        "SayDigits",
        "SayDigits(digits)",
        "says digits one by one",
        say_digits
    ),
    app!(
        "SayNumber",
        "SayNumber(number[,gender])",
        "says a number",
        say_number
    ),
    app!(
        "SayOrdinal",
        "SayOrdinal(number[,gender])",
        "says an ordinal number",
        say_ordinal
    ),
    app!(
        "SayMoney",
        "SayMoney(amount)",
        "says an amount of money",
        say_money
    ),
    app!(
        "SayCountedNoun",
        "SayCountedNoun(number,file)",
        "plays the form of a noun that goes with a number",
        say_counted_noun
    ),
    app!(
        "SayCountedAdj",
        "SayCountedAdj(number,file[,gender])",
        "plays the form of an adjective that goes with a number",
        say_counted_adjective
    ),
    app!("SayAlpha", "SayAlpha(text)", "spells a text", say_alpha),
    app!(
        "SayAlphaCase",
        "SayAlphaCase(a|l|u|n,text)",
        "spells a text and says which letters are upper or lower case",
        say_alpha_case
    ),
    app!(
        "SayPhonetic",
        "SayPhonetic(text)",
        "spells a text by the radiotelephone alphabet",
        say_phonetic
    ),
    app!(
        "SayUnixTime",
        "SayUnixTime([unixtime[,timezone[,format]]])",
        "says a date and time",
        say_unix_time
    ),
];

pub(super) fn grammar(call: &Call) -> Grammar {
    Grammar::of(&call.channel().data().language)
}

/// Plays prompts; with `SAY_DTMF_INTERRUPT` a digit ends it and is dialled.
async fn speak(call: &Call, prompts: Prompts) -> AppResult {
    audible(call, false).await?;
    let (sounds, _) = load_all(call, prompts.iter().map(String::as_str), None).await;
    if sounds.is_empty() {
        return Ok(Next::Continue);
    }
    let interruptible = call
        .channel()
        .variable("SAY_DTMF_INTERRUPT")
        .is_some_and(|value| is_yes(&value));
    let played = call
        .channel()
        .play(sounds, interruptible, &|_| interruptible)
        .await?;
    Ok(match played {
        Played::Digit(digit) => Next::Digit(digit),
        Played::Complete => Next::Continue,
    })
}

/// The prompts of `mode:text`, as option `say` of Playback writes them.
pub(super) fn prompts_of(call: &Call, mode: &str, text: &str) -> Option<Prompts> {
    let grammar = grammar(call);
    let text = text.trim();
    let number = || text.parse::<i64>().ok();
    Some(match mode.trim().to_ascii_lowercase().as_str() {
        "num" | "number" => say::number(grammar, number()?, Gender::Masculine),
        "enum" | "enumeration" | "ordinal" => say::ordinal(grammar, number()?, Gender::Masculine),
        "digit" | "digits" => say::spelled_digits(text),
        "char" | "characters" | "alpha" => say::letters(text, Case::Never),
        "phonetic" => say::phonetic(text),
        "money" => say::money(grammar, hundredths(text)?),
        "date" => moment(grammar, text, "", date_format(grammar)).ok()?,
        "time" => moment(grammar, text, "", time_format(grammar)).ok()?,
        "datetime" => moment(grammar, text, "", "").ok()?,
        _ => return None,
    })
}

pub(super) fn date_format(grammar: Grammar) -> &'static str {
    match grammar {
        Grammar::English => "ABdY",
        Grammar::Russian => "AdBY",
    }
}

pub(super) fn time_format(grammar: Grammar) -> &'static str {
    match grammar {
        Grammar::English => "IMp",
        Grammar::Russian => "HM",
    }
}

async fn say_digits(call: Call) -> AppResult {
    let prompts = say::spelled_digits(call.arg(0));
    speak(&call, prompts).await
}

async fn say_number(call: Call) -> AppResult {
    counted(&call, "SayNumber", say::number).await
}

async fn say_ordinal(call: Call) -> AppResult {
    counted(&call, "SayOrdinal", say::ordinal).await
}

async fn counted(
    call: &Call,
    name: &str,
    prompts: fn(Grammar, i64, Gender) -> Prompts,
) -> AppResult {
    let Ok(number) = call.arg(0).parse::<i64>() else {
        call.warn(&format!("{name}: \"{}\" is no whole number", call.arg(0)));
        return Ok(Next::Continue);
    };
    let prompts = prompts(grammar(call), number, Gender::parse(call.arg(1)));
    speak(call, prompts).await
}

async fn say_counted_noun(call: Call) -> AppResult {
    counted_word(&call, "SayCountedNoun", say::noun_ending).await
}

async fn say_counted_adjective(call: Call) -> AppResult {
    let gender = call.arg(2).trim().to_ascii_lowercase();
    counted_word(&call, "SayCountedAdj", |language, number| {
        say::adjective_ending(language, number, &gender)
    })
    .await
}

/// Plays a word with the ending that it has beside a number.
async fn counted_word<'e>(
    call: &Call,
    name: &str,
    ending: impl FnOnce(&str, i64) -> &'e str,
) -> AppResult {
    let (number, file) = (call.arg(0), call.arg(1));
    let Ok(number) = number.trim().parse::<i64>() else {
        call.warn(&format!("{name}: \"{number}\" is no whole number"));
        return Ok(Next::Continue);
    };
    if file.is_empty() {
        call.warn(&format!(
            "{name} needs the name of a sound: write {name}(number,file)"
        ));
        return Ok(Next::Continue);
    }
    let language = call.channel().data().language.clone();
    let prompt = format!("{file}{}", ending(&language, number));
    speak(call, vec![prompt]).await
}

/// `3`, `3.2` and `-3.25` in hundredths; further digits are left out.
fn hundredths(text: &str) -> Option<i64> {
    let (negative, size) = match text.trim().strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, text.trim()),
    };
    let (units, rest) = size.split_once('.').unwrap_or((size, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if units.len() + rest.len() == 0 || units.len() > 12 || !digits(units) || !digits(rest) {
        return None;
    }
    let rest: String = rest.chars().chain("00".chars()).take(2).collect();
    let value = format!("{units}{rest}").parse::<i64>().ok()?;
    Some(if negative { -value } else { value })
}

async fn say_money(call: Call) -> AppResult {
    let Some(amount) = hundredths(call.arg(0)) else {
        call.warn(&format!(
            "SayMoney: \"{}\" is no amount such as 3.20",
            call.arg(0)
        ));
        return Ok(Next::Continue);
    };
    let prompts = say::money(grammar(&call), amount);
    speak(&call, prompts).await
}

async fn say_alpha(call: Call) -> AppResult {
    let prompts = say::letters(call.data.trim(), Case::Never);
    speak(&call, prompts).await
}

async fn say_alpha_case(call: Call) -> AppResult {
    let case = match call.arg(0).chars().next().map(|c| c.to_ascii_lowercase()) {
        Some('a') => Case::All,
        Some('l') => Case::Lower,
        Some('u') => Case::Upper,
        Some('n') => Case::Never,
        _ => {
            call.warn(
                "SayAlphaCase: write a (all), l (lower), u (upper) or n (none), and the text",
            );
            return Ok(Next::Continue);
        }
    };
    let prompts = say::letters(call.arg(1), case);
    speak(&call, prompts).await
}

async fn say_phonetic(call: Call) -> AppResult {
    let prompts = say::phonetic(call.data.trim());
    speak(&call, prompts).await
}

/// Reads seconds since 1970 (empty: now) and says them in a zone (empty: that of the machine).
pub(super) fn moment(
    grammar: Grammar,
    time: &str,
    zone: &str,
    format: &str,
) -> Result<Prompts, String> {
    let now = Utc::now();
    let at = match time.trim() {
        "" => now,
        text => text
            .split('.')
            .next()
            .and_then(|seconds| seconds.parse::<i64>().ok())
            // Far inside what a calendar holds: a time zone must not lead out of it.
            .filter(|seconds| seconds.unsigned_abs() < 1 << 40)
            .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0))
            .ok_or_else(|| format!("\"{text}\" is no time in seconds since 1970"))?,
    };
    let prompts = match zone.trim() {
        "" => {
            // Local time, as if its clock were that of Greenwich.
            let local = |at: DateTime<Utc>| {
                at.with_timezone(&chrono::Local)
                    .naive_local()
                    .and_utc()
                    .with_timezone(&Tz::UTC)
            };
            say::unix_time(grammar, &local(at), &local(now), format)
        }
        zone => {
            let tz: Tz = zone.parse().map_err(|_| {
                format!("\"{zone}\" is no time zone; write one such as Europe/Moscow")
            })?;
            let (at, now) = (at.with_timezone(&tz), now.with_timezone(&tz));
            say::unix_time(grammar, &at, &now, format)
        }
    };
    Ok(prompts)
}

async fn say_unix_time(call: Call) -> AppResult {
    match moment(grammar(&call), call.arg(0), call.arg(1), call.arg(2)) {
        Ok(prompts) => speak(&call, prompts).await,
        Err(error) => {
            call.warn(&format!("SayUnixTime: {error}"));
            Ok(Next::Continue)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_money_are_read_to_the_hundredth() {
        for (text, wanted) in [
            ("3", Some(300)),
            ("3.2", Some(320)),
            ("-3.259", Some(-325)),
            (".5", Some(50)),
            ("", None),
            ("-", None),
            ("1,5", None),
            ("9999999999999", None),
        ] {
            assert_eq!(hundredths(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_moment_is_said_in_its_zone() {
        let said = |zone| moment(Grammar::English, "0", zone, "k").unwrap();
        assert_eq!(said("Europe/Moscow"), ["digits/3"]);
        assert_eq!(said("UTC"), ["digits/0"]);
        assert!(moment(Grammar::English, "0", "Atlantis", "k").is_err());
        assert!(moment(Grammar::English, "soon", "", "k").is_err());
        assert!(!moment(Grammar::Russian, "", "", "").unwrap().is_empty());
    }
}
