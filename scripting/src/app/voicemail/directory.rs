//! `Directory`: somebody is found by the letters of his name on the keys of a telephone.

use std::time::Duration;

use strowger_core::channel::Location;
use strowger_core::voicemail::{self, Mailbox};

use super::super::play::audible;
use super::super::{AppResult, Call, Next};
use super::{ask, name_prompts, names, tell};
use crate::say;

/// Digits that a search needs.
const DIGITS: usize = 3;
/// Tries for a name.
const TRIES: usize = 3;
/// How long somebody may think whether it is the right one.
const CHOICE_WAIT: Duration = Duration::from_secs(5);

/// The most of option `p`.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The key of a letter; Russian letters as on Russian telephones.
fn key(letter: char) -> Option<char> {
    let letter = letter.to_lowercase().next()?;
    Some(match letter {
        'a'..='c' | 'а'..='г' => '2',
        'd'..='f' | 'д'..='з' | 'ё' => '3',
        'g'..='i' | 'и'..='л' => '4',
        'j'..='l' | 'м'..='п' => '5',
        'm'..='o' | 'р'..='у' => '6',
        'p'..='s' | 'ф'..='ч' => '7',
        't'..='v' | 'ш'..='ы' => '8',
        'w'..='z' | 'ь'..='я' => '9',
        '0'..='9' => letter,
        _ => return None,
    })
}

fn keys(name: &str) -> String {
    name.chars().filter_map(key).collect()
}

/// Does somebody's last (or first) name begin with these keys?
fn matches(full_name: &str, digits: &str, first: bool, last: bool) -> bool {
    let mut words = full_name.split_whitespace();
    let first_word = words.next().unwrap_or_default();
    let last_word = words.next_back().unwrap_or(first_word);
    (last && keys(last_word).starts_with(digits)) || (first && keys(first_word).starts_with(digits))
}

pub(super) async fn directory(call: Call) -> AppResult {
    call.set("DIRECTORY_RESULT", "");
    let context = match call.arg(0) {
        "" => voicemail::DEFAULT_CONTEXT.to_owned(),
        context => context.to_owned(),
    };
    let dial_context = match call.arg(1) {
        "" => context.clone(),
        context => context.to_owned(),
    };
    let options = call.options("Directory", 2);
    call.warn_unknown("Directory", &options, "aecfblmnps");
    for (letter, _) in options.iter().filter(|(letter, _)| "cm".contains(*letter)) {
        call.warn(&format!("Directory: option {letter} has no effect"));
    }
    let aliases = options.has('a');
    let pause = options.argument('p').and_then(|text| text.parse().ok());
    let pause = Duration::from_millis(pause.unwrap_or(0)).min(PAUSE_MAX);
    let both = options.has('b');
    let first = options.has('f') || both;
    let last = !options.has('f') || options.has('l') || both;
    audible(&call, !options.has('n')).await?;
    for _ in 0..TRIES {
        let digits = ask(&call, "dir-intro").await?;
        for (digit, exten) in [("0", "o"), ("*", "a")] {
            if digits == digit && call.task.exists(&dial_context, exten, 1) {
                let result = if digit == "0" {
                    "OPERATOR"
                } else {
                    "ASSISTANT"
                };
                call.set("DIRECTORY_RESULT", result);
                return Ok(Next::Jump(Location::new(&dial_context, exten, 1)));
            }
        }
        if digits.len() < DIGITS {
            if digits.is_empty() {
                call.set("DIRECTORY_RESULT", "TIMEOUT");
                return Ok(Next::Continue);
            }
            continue;
        }
        let (snapshot, within) = (call.shared().snapshot(), context.clone());
        // To read all of many mailboxes takes longer than a call may keep others waiting.
        let found = call.shared().control.spawn_blocking(move || {
            let mut found = voicemail::all(&snapshot, Some(&within));
            found.retain(|mailbox| {
                let own = matches(&mailbox.full_name, &digits, first, last);
                let mut names = mailbox.aliases.iter().filter(|_| aliases);
                let alias = |name: &String| matches(name, &digits, first, last);
                !mailbox.hidden && (own || names.any(alias))
            });
            found
        });
        let found: Vec<Mailbox> = found.await.unwrap_or_default();
        if !pause.is_zero() {
            call.channel().wait(pause).await?;
        }
        if found.is_empty() {
            tell(&call, &names(&["dir-nomatch"]), "").await?;
            continue;
        }
        for mailbox in &found {
            let mut prompts = name_prompts(&call, mailbox).await;
            if options.has('e') && !prompts.iter().any(|prompt| prompt == "vm-extension") {
                prompts.extend(names(&["vm-extension"]));
                prompts.extend(say::spelled_digits(&mailbox.number));
            }
            prompts.extend(names(&["dir-instr"]));
            let mut digit = tell(&call, &prompts, "1*").await?;
            if digit.is_none() {
                digit = call.channel().wait_digit(CHOICE_WAIT).await?;
            }
            if digit == Some('1') {
                call.set("DIRECTORY_RESULT", "SELECTED");
                call.set("DIRECTORY_EXTEN", &mailbox.number);
                if options.has('s') {
                    return Ok(Next::Continue);
                }
                let place = Location::new(&dial_context, &mailbox.number, 1);
                if !call.task.exists(&dial_context, &mailbox.number, 1) {
                    call.warn(&format!(
                        "Directory: extension {} does not exist in context {dial_context}",
                        mailbox.number
                    ));
                }
                return Ok(Next::Jump(place));
            }
        }
        tell(&call, &names(&["dir-nomore"]), "").await?;
    }
    call.set("DIRECTORY_RESULT", "FAILED");
    Ok(Next::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_keys() {
        for (name, digits, first, last, wanted) in [
            ("Anna Berg", "237", false, true, true),
            ("Anna Berg", "266", false, true, false),
            ("Anna Berg", "266", true, true, true),
            ("Anna Berg", "237", true, false, false),
            ("Борис", "256", false, true, true),
            ("O'Neil", "663", false, true, true),
            ("", "222", true, true, false),
        ] {
            assert_eq!(
                matches(name, digits, first, last),
                wanted,
                "{name} {digits}"
            );
        }
    }
}
