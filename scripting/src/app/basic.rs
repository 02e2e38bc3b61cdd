//! The smallest applications: log, answer, hang up, wait, set.

use std::time::{Duration, Instant};

use strowger_core::channel::{Cause, Interrupt, refusal};
use strowger_dialplan::args;

use super::play::{end_background, play_in_background};
use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app, seconds};
use crate::{func, log_line};

pub(super) const APPS: &[App] = &[
    app!(now "NoOp", "NoOp([text])", "does nothing", no_op),
    app!(
        now "Verbose",
        "Verbose([level,]text)",
        "writes a text to the log",
        verbose
    ),
    app!(
        now "Log",
        "Log(level,text)",
        "writes a text to the log at a level",
        log
    ),
    app!(
        "Answer",
        "Answer([delay_ms[,i]])",
        "answers the call",
        answer
    ),
    app!(now "Hangup", "Hangup([cause])", "ends the call", hang_up),
    app!("Wait", "Wait(seconds)", "waits", wait),
    app!(
        "Ringing",
        "Ringing()",
        "tells the caller that it rings",
        ringing
    ),
    app!(
        "Progress",
        "Progress()",
        "opens early media towards the caller",
        progress
    ),
    app!(
        now "Proceeding",
        "Proceeding()",
        "tells the caller that the call proceeds",
        no_op
    ),
    app!(
        "Busy",
        "Busy([seconds])",
        "tells the caller that the number is busy, and ends the call",
        busy
    ),
    app!(
        "Congestion",
        "Congestion([seconds])",
        "tells the caller that there is congestion, and ends the call",
        congestion
    ),
    app!("Echo", "Echo()", "sends back what it hears, until #", echo),
    app!(
        "StreamEcho",
        "StreamEcho([streams])",
        "the same as Echo: there is one stream of audio",
        echo
    ),
    app!(
        "PJSIPHangup",
        "PJSIPHangup(status)",
        "refuses the call with a SIP status",
        pjsip_hang_up
    ),
    app!(
        now "Set",
        "Set(name=value)",
        "sets a variable or writes a function",
        set
    ),
    app!(
        now "ODBCFinish",
        "ODBCFinish(result)",
        "forgets the rest of a result that ODBC_FETCH reads",
        odbc_finish
    ),
    app!(
        now "MSet",
        "MSet(name1=value1,name2=value2...)",
        "sets several variables",
        set_several
    ),
];

fn no_op(_: &Call) -> AppResult {
    Ok(Next::Continue)
}

fn verbose(call: &Call) -> AppResult {
    let text = match call.data.split_once(',') {
        Some((level, text)) if level.trim().parse::<u8>().is_ok() => text,
        _ => &call.data,
    };
    if call.task.may_log() {
        tracing::info!(channel = %call.channel().name(), "{}", log_line::escape(text));
    }
    Ok(Next::Continue)
}

fn log(call: &Call) -> AppResult {
    let (level, text) = call.data.split_once(',').unwrap_or(("NOTICE", &call.data));
    let location = call.channel().location();
    let channel = call.channel().name();
    let text = log_line::escape(text);
    macro_rules! write {
        ($level:ident) => {
            if call.task.may_log() {
                tracing::$level!(%channel, context = location.context, exten = location.exten, "{text}")
            }
        };
    }
    match level.trim().to_ascii_uppercase().as_str() {
        "ERROR" => write!(error),
        "WARNING" => write!(warn),
        "NOTICE" | "VERBOSE" | "DTMF" => write!(info),
        "DEBUG" => write!(debug),
        other => {
            call.warn(&format!("Log: level \"{other}\" is not known; known are ERROR, WARNING, NOTICE, DEBUG, VERBOSE, DTMF"));
        }
    }
    Ok(Next::Continue)
}

async fn answer(call: Call) -> AppResult {
    let media = if call.arg(1).contains('i') {
        Duration::ZERO
    } else {
        ANSWER_MEDIA_WAIT
    };
    call.channel().answer(media).await?;
    if let Ok(delay) = call.arg(0).parse::<u64>()
        && delay > 0
    {
        call.channel()
            .wait(Duration::from_millis(delay.min(3_600_000)))
            .await?;
    }
    Ok(Next::Continue)
}

fn hang_up(call: &Call) -> AppResult {
    let text = call.data.trim();
    if !text.is_empty() {
        match Cause::parse(text) {
            Some(cause) => call.channel().data_mut().cause = cause,
            None => {
                call.warn(&format!("Hangup: \"{text}\" is no cause; write a number from 0 to 127 or a name such as USER_BUSY"));
            }
        }
    }
    Ok(Next::End)
}

async fn pjsip_hang_up(call: Call) -> AppResult {
    let text = call.data.trim();
    let Some(status) = refusal(text) else {
        call.warn(&format!("PJSIPHangup: \"{text}\" is no status of a refusal; write a number from 400 to 699 or a name such as BUSY_HERE"));
        return Ok(Next::Continue);
    };
    let channel = call.channel();
    if !channel.name().starts_with("PJSIP/") {
        call.warn("PJSIPHangup: this is no SIP channel");
        return Ok(Next::Continue);
    }
    channel.refuse_with(status);
    Err(Interrupt::Hangup.into())
}

async fn wait(call: Call) -> AppResult {
    match seconds(&call.data) {
        Some(length) if !length.is_zero() => call.channel().wait(length).await?,
        Some(_) => {}
        None => call.warn(&format!("Wait: \"{}\" is no number of seconds", call.data)),
    }
    Ok(Next::Continue)
}

async fn ringing(call: Call) -> AppResult {
    let channel = call.channel();
    let inband = channel
        .endpoint()
        .is_some_and(|endpoint| endpoint.inband_progress);
    if channel.is_up() || (inband && !channel.is_over()) {
        // Too late to tell the telephone, or not wanted: the caller hears it.
        if !channel.is_up() {
            channel.indicate_progress();
        }
        if let Some(tone) = channel.tone("ring") {
            play_in_background(&call, tone);
        }
    } else if !channel.is_over() {
        channel.indicate_ringing();
    }
    Ok(Next::Continue)
}

async fn progress(call: Call) -> AppResult {
    if !call.channel().is_up() && !call.channel().is_over() {
        call.channel().indicate_progress();
    }
    Ok(Next::Continue)
}

async fn busy(call: Call) -> AppResult {
    let limit = seconds(&call.data).filter(|limit| !limit.is_zero());
    refuse(&call, Cause::USER_BUSY, "busy", limit).await
}

async fn congestion(call: Call) -> AppResult {
    let limit = seconds(&call.data).filter(|limit| !limit.is_zero());
    refuse(&call, Cause::NORMAL_CIRCUIT_CONGESTION, "congestion", limit).await
}

async fn refuse(call: &Call, cause: Cause, tone: &str, limit: Option<Duration>) -> AppResult {
    refuse_channel(call.channel(), cause, tone, limit).await?;
    Ok(Next::End)
}

/// Refuses an unanswered call with `cause`; plays a tone to an answered one, for ever or for `limit`.
pub(crate) async fn refuse_channel(
    channel: &strowger_core::channel::Channel,
    cause: Cause,
    tone: &str,
    limit: Option<Duration>,
) -> Result<(), Stop> {
    channel.check()?;
    channel.data_mut().cause = cause;
    if !channel.is_up() {
        channel.hangup(cause);
        return Err(Interrupt::Hangup.into());
    }
    let play = channel.start_tone(tone);
    let until = limit.map(|limit| Instant::now() + limit);
    let result = loop {
        match channel.wait_change(until).await {
            Err(interrupt) => break Err(interrupt.into()),
            Ok(_) if until.is_some_and(|until| Instant::now() >= until) => break Ok(()),
            Ok(_) => channel.clear_digits(),
        }
    };
    if let Some(play) = play {
        channel.stop_play(play);
    }
    result
}

async fn echo(call: Call) -> AppResult {
    let channel = call.channel();
    channel.check()?;
    end_background(&call);
    channel.echo(true);
    let result = loop {
        match channel.wait_digit(Duration::from_secs(86400)).await {
            Err(interrupt) => break Err(interrupt.into()),
            Ok(Some('#')) => break Ok(Next::Continue),
            Ok(_) => {}
        }
    };
    channel.echo(false);
    result
}

fn odbc_finish(call: &Call) -> AppResult {
    func::odbc::finish(&call.task, &call.data);
    Ok(Next::Continue)
}

/// Does it write a function that has to wait for that?
pub(super) fn waits(app: &str, data: &str) -> bool {
    matches!(app, "Set" | "MSet") && func::may_write_later(data)
}

/// `Set` and `MSet` where an assignment may have to wait.
pub(super) async fn set_later(call: Call, several: bool) -> AppResult {
    let pairs = if several {
        args::split_raw(&call.data, ',')
    } else {
        vec![call.data.as_str()]
    };
    for pair in pairs {
        let Some((name, value)) = args::parse_set(pair) else {
            call.warn(&format!("\"{pair}\" has no \"=\": write name=value"));
            continue;
        };
        let value = if several {
            args::unquote(value)
        } else {
            value.to_owned()
        };
        let done = match name.trim().split_once('(') {
            None => None,
            Some((function, rest)) => {
                let end = rest.rfind(')').unwrap_or(rest.len());
                let args = rest.get(..end).unwrap_or(rest);
                func::assign_later(&call.task, function.trim(), args, &value).await
            }
        };
        match done {
            None => assign(&call, name, &value),
            Some(Ok(())) => {}
            // Neither arguments nor value: they may hold a password.
            Some(Err(error)) => {
                let function = name.split('(').next().unwrap_or_default().trim();
                call.warn(&format!("Set({function}): {error}"));
            }
        }
    }
    Ok(Next::Continue)
}

fn set(call: &Call) -> AppResult {
    match args::parse_set(&call.data) {
        Some((name, value)) => assign(call, name, value),
        None => call.warn(&format!(
            "Set({}): there is no \"=\"; write Set(name=value)",
            call.data
        )),
    }
    Ok(Next::Continue)
}

fn set_several(call: &Call) -> AppResult {
    for pair in args::split_raw(&call.data, ',') {
        match args::parse_set(pair) {
            Some((name, value)) => assign(call, name, &args::unquote(value)),
            None => call.warn(&format!("MSet: \"{pair}\" has no \"=\"")),
        }
    }
    Ok(Next::Continue)
}

fn assign(call: &Call, name: &str, value: &str) {
    if let Err(error) = call.task.assign(name, value) {
        match name.trim().split_once('(') {
            Some((function, args)) if func::shown(function, args) == function => {
                call.warn(&format!("Set({function}): {error}"));
            }
            _ => call.warn(&format!("Set({name}={value}): {error}")),
        }
    }
}
