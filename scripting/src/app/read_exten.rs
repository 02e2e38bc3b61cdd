//! `ReadExten`: a number of the dialplan into a variable. `PrivacyManager`: the number of a caller who does not say one.

use std::time::Duration;

use strowger_core::channel::{Interrupt, Played, Presentation};
use strowger_dialplan::Query;

use super::play::{audible, load};
use super::read::{Reading, read_digits};
use super::tones::tones_of;
use super::{App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[
    app!(
        "ReadExten",
        "ReadExten(variable[,file[,context[,options[,timeout]]]])",
        "reads a number of the dialplan into a variable",
        read_exten
    ),
    app!(
        "PrivacyManager",
        "PrivacyManager([maxretries[,minlength[,options[,context]]]])",
        "asks a caller without a number for one",
        privacy_manager
    ),
];

/// Digits of a number at most.
const DIGITS_MAX: usize = 79;
/// Digits that a caller without a number may enter, tries he has, and digits he has to enter, unless something else is said.
const PHONE_DIGITS_MAX: usize = 29;
const RETRIES: u32 = 3;
const PHONE_DIGITS_MIN: usize = 10;
/// For the first digit and between two of the caller's number.
const PHONE_DIGIT_WAIT: Duration = Duration::from_millis(3200);

async fn read_exten(call: Call) -> AppResult {
    let variable = call.arg(0).to_owned();
    if variable.is_empty() {
        call.set("READEXTENSTATUS", "ERROR");
        call.warn("ReadExten needs the name of a variable");
        return Ok(Next::Continue);
    }
    let options = call.options("ReadExten", 3);
    call.warn_unknown("ReadExten", &options, "sinp");
    if options.has('s') && !call.channel().is_up() {
        call.set(&variable, "");
        call.set("READEXTENSTATUS", "SKIP");
        return Ok(Next::Continue);
    }
    let result = number(&call, options.has('n'), options.has('i'), options.has('p')).await;
    let (value, status) = match &result {
        Ok(Number::Known(number)) => (number.as_str(), "OK"),
        Ok(Number::Unknown(number)) => {
            call.set("INVALID_EXTEN", number);
            ("i", "INVALID")
        }
        Ok(Number::None) => ("t", "TIMEOUT"),
        Err(Stop::Interrupted(Interrupt::Hangup)) => ("", "HANGUP"),
        Err(_) => ("", "ERROR"),
    };
    call.set(&variable, value);
    call.set("READEXTENSTATUS", status);
    result.map(|_| Next::Continue)
}

/// What was dialled.
enum Number {
    Known(String),
    Unknown(String),
    None,
}

async fn number(call: &Call, early: bool, tones: bool, pound_ends: bool) -> Result<Number, Stop> {
    let channel = call.channel();
    let timeouts = channel.data().timeouts;
    let (first, next) = match call.seconds(4).filter(|timeout| !timeout.is_zero()) {
        Some(timeout) => (timeout, timeout),
        None => (timeouts.response, timeouts.digit),
    };
    let context = match call.arg(2) {
        "" => channel.location().context,
        context => context.to_owned(),
    };
    audible(call, !early).await?;
    let mut pending = None;
    let mut play = None;
    if tones {
        match tones_of(channel, call.arg(1)) {
            Ok(cadence) => play = channel.start_play(cadence.sounds, cadence.repeat),
            Err(error) => call.warn(&format!("ReadExten: {error}")),
        }
    } else if !call.arg(1).is_empty() {
        let (sounds, _) = load(call, call.arg(1), None).await;
        if !sounds.is_empty()
            && let Played::Digit(digit) = channel.play(sounds, true, &|_| true).await?
        {
            pending = Some(digit);
        }
    }
    let mut dialled = String::new();
    while dialled.len() < DIGITS_MAX {
        let wait = if dialled.is_empty() { first } else { next };
        let digit = match pending.take() {
            Some(digit) => Ok(Some(digit)),
            None => channel.wait_digit(wait).await,
        };
        if let Some(play) = play.take() {
            channel.stop_play(play);
        }
        let Some(digit) = digit? else { break };
        if pound_ends && digit == '#' {
            break;
        }
        dialled.push(digit);
        if !could_grow(call, &context, &dialled) {
            if digit == '#' && !call.task.exists(&context, &dialled, 1) {
                dialled.pop();
            }
            break;
        }
    }
    Ok(if dialled.is_empty() {
        Number::None
    } else if call.task.exists(&context, &dialled, 1) {
        Number::Known(dialled)
    } else {
        Number::Unknown(dialled)
    })
}

/// Is there a number that begins so and is longer?
fn could_grow(call: &Call, context: &str, dialled: &str) -> bool {
    let caller = call.task.caller();
    let query = Query::new(context, dialled, 1)
        .caller(Some(&caller))
        .vars(&*call.task);
    call.task.plan().match_more(&query)
}

async fn privacy_manager(call: Call) -> AppResult {
    let known = {
        let data = call.channel().data();
        !data.caller.number.is_empty() && data.caller.presentation == Presentation::Allowed
    };
    if known {
        call.set("PRIVACYMGRSTATUS", "SUCCESS");
        return Ok(Next::Continue);
    }
    let count = |index: usize, missing: usize| {
        let count = call.arg(index).parse().unwrap_or(missing);
        if count == 0 { missing } else { count }
    };
    let retries = u32::try_from(count(0, RETRIES as usize)).unwrap_or(RETRIES);
    let min = count(1, PHONE_DIGITS_MIN).min(PHONE_DIGITS_MAX);
    let context = call.arg(3).to_owned();
    audible(&call, true).await?;
    say(&call, "privacy-unident").await?;
    for attempt in 0..retries.min(100) {
        if attempt > 0 {
            say(&call, "privacy-incorrect").await?;
        }
        let reading = Reading {
            files: "privacy-prompt".to_owned(),
            tones: false,
            answer: true,
            max: PHONE_DIGITS_MAX,
            terminators: "#".to_owned(),
            keep_terminator: false,
            attempts: 1,
            first: PHONE_DIGIT_WAIT,
            next: PHONE_DIGIT_WAIT,
        };
        let mut entered = String::new();
        read_digits(&call, &reading, &mut entered).await?;
        let fits =
            entered.len() >= min && (context.is_empty() || call.task.exists(&context, &entered, 1));
        if !fits {
            continue;
        }
        say(&call, "privacy-thankyou").await?;
        {
            let caller = &mut call.channel().data_mut().caller;
            "Privacy Manager".clone_into(&mut caller.name);
            caller.number = entered;
            caller.presentation = Presentation::Allowed;
        }
        call.set("PRIVACYMGRSTATUS", "SUCCESS");
        return Ok(Next::Continue);
    }
    call.set("PRIVACYMGRSTATUS", "FAILED");
    Ok(Next::Continue)
}

async fn say(call: &Call, name: &str) -> Result<(), Stop> {
    let (sounds, _) = load(call, name, None).await;
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    Ok(())
}
