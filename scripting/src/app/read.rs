//! `Read`: digits into a variable.

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

async fn read(call: Call) -> AppResult {
    let variable = call.arg(0).to_owned();
    if variable.is_empty() {
        call.set("READSTATUS", "ERROR");
        return Err(Stop::Failed("Read needs the name of a variable".to_owned()));
    }
    let max = call.arg(2).parse().unwrap_or(0);
    let max = if (1..=DIGITS_MAX).contains(&max) {
        max
    } else {
        DIGITS_MAX
    };
    let options = call.options("Read", 3);
    call.warn_unknown("Read", &options, "sinte");
    let terminators = options.argument('t').unwrap_or("#").to_owned();
    let attempts = call.arg(4).parse().unwrap_or(1).clamp(1, 100);
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
    let mut entered = String::new();
    let prompt = Prompt {
        files: call.arg(1),
        tones: options.has('i'),
    };
    let result = async {
        audible(&call, !options.has('n')).await?;
        let mut status = "TIMEOUT";
        for _ in 0..attempts {
            status = attempt(
                &call,
                &prompt,
                &mut entered,
                max,
                &terminators,
                options.has('e'),
                first,
                next,
            )
            .await?;
            if !entered.is_empty() {
                break;
            }
        }
        Ok(status)
    }
    .await;
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

struct Prompt<'c> {
    files: &'c str,
    /// The files are the names of tones.
    tones: bool,
}

/// Tones until the first digit, at most so long.
async fn listen(
    call: &Call,
    cadence: Cadence,
    wait: std::time::Duration,
) -> Result<Option<char>, Stop> {
    let channel = call.channel();
    let play = channel.start_play(cadence.sounds, cadence.repeat);
    let digit = channel.wait_digit(wait).await;
    if let Some(play) = play {
        channel.stop_play(play);
    }
    Ok(digit?)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one value for each setting of the application"
)]
async fn attempt(
    call: &Call,
    prompt: &Prompt<'_>,
    entered: &mut String,
    max: usize,
    terminators: &str,
    keep_terminator: bool,
    first: std::time::Duration,
    next: std::time::Duration,
) -> Result<&'static str, Stop> {
    let mut pending = None;
    if !prompt.files.is_empty() {
        let sounds = if prompt.tones {
            match tones_of(call.channel(), prompt.files) {
                Ok(cadence) => pending = listen(call, cadence, first).await?,
                Err(error) => call.warn(&format!("Read: {error}")),
            }
            if pending.is_none() {
                return Ok("TIMEOUT");
            }
            Vec::new()
        } else {
            load(call, prompt.files, None).await.0
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
        if terminators.contains(digit) {
            if entered.is_empty() && keep_terminator {
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
