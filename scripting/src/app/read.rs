//! `Read`: digits into a variable.

use std::time::Duration;

use strowger_core::channel::{Interrupt, Played};
use strowger_core::sounds::Cadence;

use super::play::{audible, load};
use super::tones::tones_of;
use super::{App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[app!(
    "Read",
    "Read(variable[,file[&file...][,max[,sint(chars)e[,attempts[,timeout]]]]])",
    "reads digits into a variable",
    read
)];

/// Digits read at most.
const DIGITS_MAX: usize = 255;
/// Attempts at most.
const ATTEMPTS_MAX: u32 = 100;

async fn read(call: Call) -> AppResult {
    let variable = call.arg(0).to_owned();
    if variable.is_empty() {
        call.set("READSTATUS", "ERROR");
        return Err(Stop::Failed("Read needs the name of a variable".to_owned()));
    }
    let max = call.arg(2).parse().unwrap_or(0);
    let options = call.options("Read", 3);
    call.warn_unknown("Read", &options, "sinte");
    let timeouts = call.channel().data().timeouts;
    let (first, next) = match call.seconds(5).filter(|timeout| !timeout.is_zero()) {
        Some(timeout) => (timeout, timeout),
        None => (timeouts.response, timeouts.digit),
    };
    if options.has('s') && !call.channel().is_up() {
        call.set(&variable, "");
        call.set("READSTATUS", "SKIPPED");
        return Ok(Next::Continue);
    }
    let reading = Reading {
        files: call.arg(1).to_owned(),
        tones: options.has('i'),
        answer: !options.has('n'),
        max,
        terminators: options.argument('t').unwrap_or("#").to_owned(),
        keep_terminator: options.has('e'),
        attempts: call.arg(4).parse().unwrap_or(1),
        first,
        next,
    };
    let mut entered = String::new();
    let result = read_digits(&call, &reading, &mut entered).await;
    call.set(&variable, &entered);
    match result {
        Ok(status) => {
            call.set("READSTATUS", status);
            Ok(Next::Continue)
        }
        Err(stop) => {
            let status = if stop == Stop::Interrupted(Interrupt::Hangup) {
                "HANGUP"
            } else {
                "INTERRUPTED"
            };
            call.set("READSTATUS", status);
            Err(stop)
        }
    }
}

/// How digits are read.
pub(crate) struct Reading {
    /// Sounds joined with `&`, or the names of tones.
    pub(crate) files: String,
    pub(crate) tones: bool,
    /// The call is answered first; else the prompt is early media.
    pub(crate) answer: bool,
    /// Digits after which it ends; what is not within 1 to 255 is 255.
    pub(crate) max: usize,
    pub(crate) terminators: String,
    /// A terminator alone is kept.
    pub(crate) keep_terminator: bool,
    pub(crate) attempts: u32,
    /// How long to wait for the first digit and for each other.
    pub(crate) first: Duration,
    pub(crate) next: Duration,
}

/// Reads digits up to `#` after a prompt, at most `max`. Empty: nobody said anything.
pub(crate) async fn ask(call: &Call, prompt: &str, max: usize) -> Result<String, Stop> {
    let reading = Reading {
        files: prompt.to_owned(),
        tones: false,
        answer: true,
        max,
        terminators: "#".to_owned(),
        keep_terminator: false,
        attempts: 1,
        first: Duration::from_secs(10),
        next: Duration::from_secs(5),
    };
    let mut entered = String::new();
    read_digits(call, &reading, &mut entered).await?;
    Ok(entered)
}

/// Reads digits into `entered`, which has what came before an interruption too. `OK` or `TIMEOUT`.
pub(crate) async fn read_digits(
    call: &Call,
    reading: &Reading,
    entered: &mut String,
) -> Result<&'static str, Stop> {
    audible(call, reading.answer).await?;
    let mut status = "TIMEOUT";
    for _ in 0..reading.attempts.clamp(1, ATTEMPTS_MAX) {
        status = attempt(call, reading, entered).await?;
        if !entered.is_empty() {
            break;
        }
    }
    Ok(status)
}

/// Tones until the first digit, at most so long.
async fn listen(call: &Call, cadence: Cadence, wait: Duration) -> Result<Option<char>, Stop> {
    let channel = call.channel();
    let play = channel.start_play(cadence.sounds, cadence.repeat);
    let digit = channel.wait_digit(wait).await;
    if let Some(play) = play {
        channel.stop_play(play);
    }
    Ok(digit?)
}

async fn attempt(
    call: &Call,
    reading: &Reading,
    entered: &mut String,
) -> Result<&'static str, Stop> {
    let max = if (1..=DIGITS_MAX).contains(&reading.max) {
        reading.max
    } else {
        DIGITS_MAX
    };
    if let Some(test) = &call.task.rehearsal {
        return Ok(test.read(reading, max, entered));
    }
    let (first, next) = (reading.first, reading.next);
    let mut pending = None;
    if !reading.files.is_empty() {
        let sounds = if reading.tones {
            match tones_of(call.channel(), &reading.files) {
                Ok(cadence) => pending = listen(call, cadence, first).await?,
                Err(error) => call.warn(&format!("Read: {error}")),
            }
            if pending.is_none() {
                return Ok("TIMEOUT");
            }
            Vec::new()
        } else {
            load(call, &reading.files, None).await.0
        };
        if !sounds.is_empty()
            && let Played::Digit(digit) = call.channel().play(sounds, true, &|_| true).await?
        {
            pending = Some(digit);
        }
    }
    loop {
        let digit = match pending.take() {
            Some(digit) => digit,
            None => {
                let wait = if entered.is_empty() { first } else { next };
                match call.channel().wait_digit(wait).await? {
                    Some(digit) => digit,
                    None => return Ok("TIMEOUT"),
                }
            }
        };
        if reading.terminators.contains(digit) {
            if entered.is_empty() && reading.keep_terminator {
                entered.push(digit);
            }
            return Ok("OK");
        }
        entered.push(digit);
        if entered.len() >= max {
            return Ok("OK");
        }
    }
}
