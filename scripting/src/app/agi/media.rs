//! Commands that play, listen and record.

use std::time::{Duration, Instant};

use strowger_core::channel::{
    Controlled, Interrupt, PlayKeys, Played, RecorderResult, RecorderSpec,
};
use strowger_media::{FileFormat, TapMode};
use tokio::sync::oneshot;

use super::super::play::{audible, load, load_all};
use super::super::record::{
    CLOSE_WAIT, DTMF_MS, OPEN_WAIT, SILENCE_KEPT_MS, try_open, with_extension,
};
use super::super::say::{date_format, grammar, moment, time_format};
use super::super::{Call, files};
use super::verbs::{Answer, FOR_EVER, Wrong, milliseconds};
use crate::agi::commands::Verb;
use crate::agi::protocol::Reply;
use crate::say::{self, Case, Gender, Prompts};

/// Positions in sounds are told in samples of this rate.
const SAMPLES_PER_MS: u64 = 8;
/// How far a key of `CONTROL STREAM FILE` moves unless the script says otherwise.
const SKIP_MS: u32 = 3000;
/// Digits of `GET DATA` at most.
const DIGITS_MAX: usize = 1024;

pub(super) async fn run(call: &Call, verb: Verb, words: &[String]) -> Answer {
    let word = |index: usize| words.get(index).map(String::as_str).unwrap_or_default();
    let grammar = grammar(call);
    let number = || word(0).trim().parse::<i64>().map_err(|_| Wrong);
    let said = |zone: &str, format: &str| {
        number()?;
        moment(grammar, word(0), zone, format).map_err(|_| Wrong)
    };
    let prompts = match verb {
        Verb::StreamFile => return stream(call, words).await,
        Verb::ControlStreamFile => return control_stream(call, words).await,
        Verb::GetData => return get_data(call, words).await,
        Verb::GetOption => return get_option(call, words).await,
        Verb::WaitForDigit => return wait_for_digit(call, word(0)).await,
        Verb::RecordFile => return record(call, words).await,
        Verb::SayAlpha => say::letters(word(0), Case::Never),
        Verb::SayPhonetic => say::phonetic(word(0)),
        Verb::SayDigits => {
            if !word(0).starts_with(|c: char| c.is_ascii_digit() || matches!(c, '*' | '#' | '-')) {
                return Err(Wrong);
            }
            say::spelled_digits(word(0))
        }
        Verb::SayNumber => say::number(grammar, number()?, Gender::parse(word(2))),
        Verb::SayDate => said("", date_format(grammar))?,
        Verb::SayTime => said("", time_format(grammar))?,
        Verb::SayDateTime => said(word(3), word(2))?,
        // The others are no business of this file.
        _ => return Err(Wrong),
    };
    Ok(speak(call, &prompts, word(1)).await)
}

/// The result of a command that a digit may end: its code, 0, or -1.
fn digit_or(end: Result<Option<char>, Interrupt>) -> Reply {
    match end {
        Ok(Some(digit)) => Reply::result(u32::from(digit)),
        Ok(None) => Reply::result(0),
        Err(_) => Reply::result(-1),
    }
}

async fn speak(call: &Call, prompts: &Prompts, escape: &str) -> Reply {
    if audible(call, false).await.is_err() {
        return Reply::result(-1);
    }
    let (sounds, _) = load_all(call, prompts.iter().map(String::as_str), None).await;
    if sounds.is_empty() {
        return Reply::result(0);
    }
    let keys = PlayKeys {
        stop: escape.to_owned(),
        ..PlayKeys::default()
    };
    let played = call.channel().play_controlled(sounds, &keys).await;
    digit_or(played.map(|played| match played {
        Controlled::Complete => None,
        Controlled::Stopped { key, .. } => Some(key),
    }))
}

/// How a sound ended, and where in it, in milliseconds. None: it cannot be played.
struct Heard {
    end: Result<Option<char>, Interrupt>,
    position_ms: u64,
}

async fn play(call: &Call, file: &str, keys: &PlayKeys) -> Option<Heard> {
    let start = u64::from(keys.start_ms);
    if let Err(_over) = audible(call, false).await {
        return Some(Heard {
            end: Err(Interrupt::Hangup),
            position_ms: start,
        });
    }
    let (sounds, complete) = load(call, file, None).await;
    if sounds.is_empty() || !complete {
        return None;
    }
    let length: u64 = sounds.iter().map(|sound| sound.duration_ms()).sum();
    let began = Instant::now();
    Some(match call.channel().play_controlled(sounds, keys).await {
        Ok(Controlled::Complete) => Heard {
            end: Ok(None),
            position_ms: length,
        },
        Ok(Controlled::Stopped { key, position_ms }) => Heard {
            end: Ok(Some(key)),
            position_ms: u64::from(position_ms),
        },
        // Its leg is gone and tells nothing; what the clock says is near enough.
        Err(interrupt) => Heard {
            end: Err(interrupt),
            position_ms: length.min(start + began.elapsed().as_millis() as u64),
        },
    })
}

fn samples(words: &[String], index: usize) -> Result<u64, Wrong> {
    match words.get(index) {
        None => Ok(0),
        Some(text) => {
            let samples: i64 = text.trim().parse().map_err(|_| Wrong)?;
            Ok(u64::try_from(samples).unwrap_or(0))
        }
    }
}

fn to_ms(samples: u64) -> u32 {
    u32::try_from(samples / SAMPLES_PER_MS).unwrap_or(u32::MAX)
}

async fn stream(call: &Call, words: &[String]) -> Answer {
    let [file, escape, ..] = words else {
        return Err(Wrong);
    };
    let offset = samples(words, 2)?;
    let keys = PlayKeys {
        stop: escape.clone(),
        start_ms: to_ms(offset),
        ..PlayKeys::default()
    };
    let Some(heard) = play(call, file, &keys).await else {
        call.set("PLAYBACKSTATUS", "FAILED");
        return Ok(Reply::result(-1).endpos(offset));
    };
    let status = if heard.end.is_ok() {
        "SUCCESS"
    } else {
        "FAILED"
    };
    call.set("PLAYBACKSTATUS", status);
    Ok(digit_or(heard.end).endpos(heard.position_ms * SAMPLES_PER_MS))
}

async fn control_stream(call: &Call, words: &[String]) -> Answer {
    let word = |index: usize| words.get(index).map(String::as_str).unwrap_or_default();
    let ms = |index: usize, missing: u32| match word(index) {
        "" => Ok(missing),
        text => text.trim().parse::<u32>().map_err(|_| Wrong),
    };
    let stop = word(1);
    // What ends the sound moves it nowhere.
    let key = |index: usize, missing: &str| match words.get(index) {
        Some(keys) => keys.clone(),
        None if stop.contains(missing) => String::new(),
        None => missing.to_owned(),
    };
    let keys = PlayKeys {
        stop: stop.to_owned(),
        skip_ms: match ms(2, SKIP_MS)? {
            0 => SKIP_MS,
            skip => skip,
        },
        forward: key(3, "#"),
        rewind: key(4, "*"),
        pause: word(5).to_owned(),
        restart: String::new(),
        start_ms: ms(6, 0)?,
    };
    for name in ["CPLAYBACKOFFSET", "CPLAYBACKSTOPKEY"] {
        call.set(name, "");
    }
    call.set("CPLAYBACKSTATUS", "ERROR");
    let Some(heard) = play(call, word(0), &keys).await else {
        return Ok(Reply::result(-1).endpos(u64::from(keys.start_ms)));
    };
    let status = match heard.end {
        Ok(None) => "SUCCESS",
        Ok(Some(key)) => {
            call.set("CPLAYBACKSTOPKEY", &key.to_string());
            "USERSTOPPED"
        }
        Err(_) => "REMOTESTOPPED",
    };
    call.set("CPLAYBACKSTATUS", status);
    call.set("CPLAYBACKOFFSET", &heard.position_ms.to_string());
    Ok(digit_or(heard.end).endpos(heard.position_ms))
}

async fn get_option(call: &Call, words: &[String]) -> Answer {
    let [file, escape, ..] = words else {
        return Err(Wrong);
    };
    let timeout = match words.get(2) {
        Some(text) => milliseconds(text)?,
        None => call.channel().data().timeouts.digit,
    };
    let keys = PlayKeys {
        stop: escape.clone(),
        ..PlayKeys::default()
    };
    let Some(heard) = play(call, file, &keys).await else {
        return Ok(Reply::result(-1).endpos(0));
    };
    let end = match heard.end {
        Ok(None) => {
            let digit = call.channel().wait_digit(timeout).await;
            digit.map(|digit| digit.filter(|digit| escape.contains(*digit)))
        }
        end => end,
    };
    Ok(digit_or(end).endpos(heard.position_ms * SAMPLES_PER_MS))
}

async fn wait_for_digit(call: &Call, timeout: &str) -> Answer {
    let timeout = milliseconds(timeout)?;
    Ok(digit_or(call.channel().wait_digit(timeout).await))
}

async fn get_data(call: &Call, words: &[String]) -> Answer {
    let timeouts = call.channel().data().timeouts;
    let (first, next) = match words.get(1).map(|text| milliseconds(text)).transpose()? {
        None | Some(Duration::ZERO) => (timeouts.response, timeouts.digit),
        Some(timeout) => (timeout, timeout),
    };
    let max = match words.get(2) {
        None => DIGITS_MAX,
        Some(text) => match text.trim().parse::<i64>().map_err(|_| Wrong)? {
            max @ 1..1024 => max as usize,
            _ => DIGITS_MAX,
        },
    };
    let mut entered = String::new();
    let file = words.first().map(String::as_str).unwrap_or_default();
    Ok(
        match collect(call, file, first, next, max, &mut entered).await {
            Ok(true) => Reply::result(&entered),
            Ok(false) => Reply::result(&entered).text("timeout"),
            Err(_) => Reply::result(-1),
        },
    )
}

/// True if the digits are complete, false if the time was over.
async fn collect(
    call: &Call,
    file: &str,
    first: Duration,
    next: Duration,
    max: usize,
    entered: &mut String,
) -> Result<bool, Interrupt> {
    let channel = call.channel();
    channel.check()?;
    let mut pending = None;
    if !file.is_empty() {
        audible(call, false).await.map_err(|_| Interrupt::Hangup)?;
        let sounds = load(call, file, None).await.0;
        if !sounds.is_empty()
            && let Played::Digit(digit) = channel.play(sounds, true, &|_| true).await?
        {
            pending = Some(digit);
        }
    }
    loop {
        let digit = match pending.take() {
            Some(digit) => digit,
            None => {
                let wait = if entered.is_empty() { first } else { next };
                match channel.wait_digit(wait).await? {
                    Some(digit) => digit,
                    None => return Ok(false),
                }
            }
        };
        if digit == '#' {
            return Ok(true);
        }
        entered.push(digit);
        if entered.len() >= max {
            return Ok(true);
        }
    }
}

/// What stands behind the timeout of `RECORD FILE`.
#[derive(Debug, Default, PartialEq)]
struct RecordOptions {
    /// The recording goes on where the file ends.
    append: bool,
    beep: bool,
    silence_ms: u32,
}

fn record_options(words: &[String]) -> Result<RecordOptions, Wrong> {
    let mut options = RecordOptions::default();
    for word in words {
        if let Some(seconds) = word.strip_prefix("s=") {
            let seconds: u32 = seconds.trim().parse().map_err(|_| Wrong)?;
            options.silence_ms = seconds.saturating_mul(1000);
        } else if word.eq_ignore_ascii_case("beep") {
            options.beep = true;
        } else {
            options.append = word.trim().parse::<i64>().map_err(|_| Wrong)? > 0;
        }
    }
    Ok(options)
}

async fn record(call: &Call, words: &[String]) -> Answer {
    let [name, format, escape, timeout, rest @ ..] = words else {
        return Err(Wrong);
    };
    let timeout = milliseconds(timeout)?;
    let options = record_options(rest)?;
    let extension = if format.eq_ignore_ascii_case("wav49") {
        "WAV"
    } else {
        format
    };
    let refused = |why: &str| {
        call.warn(&format!("AGI RECORD FILE: {name}.{extension} {why}"));
        Reply::result(-1).text("writefile")
    };
    if let Some(why) = files::refused(name) {
        return Ok(refused(&format!("is not written: {why}")));
    }
    let Some(format) = FileFormat::from_extension(extension) else {
        return Ok(refused("has a format that cannot be written"));
    };
    let path = with_extension(&call.shared().paths().sounds.join(name), extension);
    let tried = {
        let path = path.clone();
        call.shared()
            .control
            .spawn_blocking(move || try_open(&path))
    };
    match tokio::time::timeout(OPEN_WAIT, tried).await {
        Ok(Ok(Ok(_))) => {}
        Ok(Ok(Err(error))) => return Ok(refused(&format!("cannot be written: {error}"))),
        _ => return Ok(refused("cannot be written: the disk does not answer")),
    }
    let hung_up = || Reply::result(-1).text("hangup").endpos(0);
    if audible(call, false).await.is_err() {
        return Ok(hung_up());
    }
    let channel = call.channel();
    if options.beep {
        let beep = call.shared().sounds.beep();
        if channel.play(vec![beep], true, &|_| false).await.is_err() {
            return Ok(hung_up());
        }
    }
    let mut spec = RecorderSpec::new(path, format, TapMode::Receive);
    spec.append = options.append;
    spec.silence_ms = options.silence_ms;
    spec.drop_last_ms_max = options
        .silence_ms
        .saturating_sub(SILENCE_KEPT_MS)
        .max(DTMF_MS);
    let (closed, mut closing) = oneshot::channel::<RecorderResult>();
    let recorder = match channel.record(spec, move |result| {
        // The command may be over already.
        let _ = closed.send(result);
    }) {
        Ok(recorder) => recorder,
        Err(error) => return Ok(refused(&format!("is not recorded: {error}"))),
    };
    let until = (timeout < FOR_EVER && !timeout.is_zero()).then(|| Instant::now() + timeout);
    // A recording that ends by itself cannot go on: too many on this call, no disk.
    let mut ended = None;
    let (result, why, leave_out) = loop {
        if let Some(digit) = channel.take_digit() {
            if escape.contains(digit) {
                break (i64::from(u32::from(digit)), "dtmf", DTMF_MS);
            }
            continue;
        }
        if options.silence_ms > 0 && channel.recorder_silent(recorder) {
            let leave_out = options.silence_ms.saturating_sub(SILENCE_KEPT_MS);
            break (0, "timeout", leave_out);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            break (0, "timeout", 0);
        }
        tokio::select! {
            biased;
            result = &mut closing => {
                ended = result.ok();
                break (-1, "randomerror", 0);
            }
            changed = channel.wait_change(until) => {
                if changed.is_err() {
                    break (-1, "hangup", 0);
                }
            }
        }
    };
    if why != "randomerror" {
        channel.stop_record(recorder, leave_out);
        ended = match tokio::time::timeout(CLOSE_WAIT, closing).await {
            Ok(closed) => closed.ok(),
            Err(_) => {
                call.warn("AGI RECORD FILE: the file is not complete yet: the disk is slow");
                None
            }
        };
    }
    let samples = ended.map_or(0, |ended| ended.samples);
    Ok(Reply::result(result).text(why).endpos(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_timeout_of_a_recording_may_come_in_any_order() {
        let read = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            record_options(&words).ok()
        };
        for (text, wanted) in [
            ("", Some((false, false, 0))),
            ("BEEP", Some((false, true, 0))),
            ("0 beep s=3", Some((false, true, 3000))),
            ("s=2 800", Some((true, false, 2000))),
            ("soon", None),
            ("s=x", None),
        ] {
            let wanted = wanted.map(|(append, beep, silence_ms)| RecordOptions {
                append,
                beep,
                silence_ms,
            });
            assert_eq!(read(text), wanted, "{text}");
        }
    }
}
