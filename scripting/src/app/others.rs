//! Applications about other channels, waiting for a moment or a digit, and showing what a channel is.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strowger_core::channel::{Cause, Interrupt, Location};
use strowger_dialplan::args::{self, Priority};

use super::{App, AppResult, Call, Next, Stop, app};
use crate::log_line;

pub(super) const APPS: &[App] = &[
    app!(
        "WaitDigit",
        "WaitDigit([seconds[,digits]])",
        "waits for one digit",
        wait_digit
    ),
    app!(
        "WaitUntil",
        "WaitUntil(epoch)",
        "waits until a moment",
        wait_until
    ),
    app!(
        "DumpChan",
        "DumpChan([level])",
        "writes what the channel is to the log",
        dump
    ),
    app!(
        "ChannelRedirect",
        "ChannelRedirect(channel[,context[,exten]],priority)",
        "moves another channel in the dialplan",
        redirect
    ),
    app!(
        "SoftHangup",
        "SoftHangup(channel[,a])",
        "ends the call of another channel",
        soft_hang_up
    ),
    app!(
        "SendText",
        "SendText([text])",
        "sends a text to the caller",
        send_text
    ),
];

async fn wait_digit(call: Call) -> AppResult {
    call.set("WAITDIGITRESULT", "");
    let limit = match call.arg(0) {
        "" => Duration::from_secs(365 * 86_400),
        text => match super::seconds(text) {
            Some(limit) => limit,
            None => {
                call.set("WAITDIGITSTATUS", "ERROR");
                call.warn(&format!("WaitDigit: \"{text}\" is no number of seconds"));
                return Ok(Next::Continue);
            }
        },
    };
    let until = std::time::Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match call.channel().wait_digit(left).await {
            Ok(Some(digit)) if call.arg(1).is_empty() || call.arg(1).contains(digit) => {
                call.set("WAITDIGITRESULT", &digit.to_string());
                call.set("WAITDIGITSTATUS", "DTMF");
                return Ok(Next::Continue);
            }
            Ok(Some(_)) => {}
            Ok(None) => {
                call.set("WAITDIGITSTATUS", "TIMEOUT");
                return Ok(Next::Continue);
            }
            Err(interrupt) => {
                call.set("WAITDIGITSTATUS", "CANCEL");
                return Err(interrupt.into());
            }
        }
    }
}

async fn wait_until(call: Call) -> AppResult {
    let Some(at) = crate::func::text::leading_number(call.arg(0)) else {
        call.set("WAITUNTILSTATUS", "FAILURE");
        call.warn(&format!(
            "WaitUntil: \"{}\" is no time in seconds since 1970",
            call.arg(0)
        ));
        return Ok(Next::Continue);
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    if at < now {
        call.set("WAITUNTILSTATUS", "PAST");
        return Ok(Next::Continue);
    }
    let wait = Duration::from_secs_f64((at - now).min(365.0 * 86_400.0));
    if let Err(interrupt) = call.channel().wait(wait).await {
        call.set("WAITUNTILSTATUS", "HANGUP");
        return Err(interrupt.into());
    }
    call.set("WAITUNTILSTATUS", "OK");
    Ok(Next::Continue)
}

async fn dump(call: Call) -> AppResult {
    let mut text = String::new();
    {
        let data = call.channel().data();
        let place = &data.location;
        let _ = write!(
            text,
            "uniqueid={} linkedid={} state={} context={} exten={} priority={} callerid={} connected={} dnid={} rdnis={} \
             language={} accountcode={} cause={} seconds={}",
            call.channel().uniqueid(),
            data.linkedid,
            data.state as u8,
            place.context,
            place.exten,
            place.priority,
            data.caller.all(),
            data.connected.all(),
            data.dnid,
            data.rdnis,
            data.language,
            data.accountcode,
            data.cause.0,
            data.created_at.elapsed().as_secs(),
        );
        for (name, value) in data.variables.iter() {
            let _ = write!(text, " {name}={value}");
        }
    }
    if call.task.may_log() {
        tracing::info!(channel = %call.channel().name(), "DumpChan: {}", log_line::escape(&text));
    }
    Ok(Next::Continue)
}

async fn redirect(call: Call) -> AppResult {
    let arg = |index: usize| call.arg(index).to_owned();
    let none = String::new;
    let (name, context, exten, priority) = match call.args.len() {
        2 => (arg(0), none(), none(), arg(1)),
        3 => (arg(0), none(), arg(1), arg(2)),
        4 => (arg(0), arg(1), arg(2), arg(3)),
        _ => {
            return Err(Stop::Failed(
                "ChannelRedirect takes a channel and where it goes: channel,context,exten,priority"
                    .to_owned(),
            ));
        }
    };
    let priority = match args::parse_goto(&priority).priority {
        Priority::Number(number) => i32::try_from(number).ok().filter(|number| *number > 0),
        _ => None,
    };
    let Some(priority) = priority else {
        return Err(Stop::Failed(
            "ChannelRedirect: the priority is a number from 1".to_owned(),
        ));
    };
    if name == *call.channel().name() {
        return Err(Stop::Failed(
            "ChannelRedirect: the channel is this one; use Goto".to_owned(),
        ));
    }
    let moved = call
        .with_channel(&name, move |channel| {
            let here = channel.location();
            let or = |text: String, here: String| if text.is_empty() { here } else { text };
            channel.redirect(Location {
                context: or(context, here.context),
                exten: or(exten, here.exten),
                priority,
            })
        })
        .await;
    let status = if moved == Some(true) {
        "SUCCESS"
    } else {
        "NOCHANNEL"
    };
    call.set("CHANNELREDIRECT_STATUS", status);
    Ok(Next::Continue)
}

async fn soft_hang_up(call: Call) -> AppResult {
    let name = call.arg(0).to_owned();
    if name.is_empty() {
        call.warn("SoftHangup needs the name of a channel or device");
        return Ok(Next::Continue);
    }
    let all = call.arg(1).contains('a');
    // A device is what stands before the last hyphen of the names of its channels.
    let names = call.shared().directory.names(|known| {
        let device = known.rsplit_once('-').map_or(known, |(device, _)| device);
        known.eq_ignore_ascii_case(&name) || device.eq_ignore_ascii_case(&name)
    });
    let most = if all { names.len() } else { 1 };
    if names.is_empty() {
        call.warn(&format!("SoftHangup: there is no channel {name}"));
    }
    for name in names.into_iter().take(most) {
        call.with_channel(&name, |channel| {
            channel.hangup(Cause::NORMAL_CLEARING);
        })
        .await;
    }
    match call.channel().check() {
        Err(Interrupt::Hangup) => Err(Interrupt::Hangup.into()),
        _ => Ok(Next::Continue),
    }
}

async fn send_text(call: Call) -> AppResult {
    let variable = |name: &str| call.channel().variable(name).unwrap_or_default();
    let text = if call.data.is_empty() {
        variable("SENDTEXT_BODY")
    } else {
        call.data.clone()
    };
    if text.is_empty() {
        call.set("SENDTEXTSTATUS", "FAILURE");
        call.warn("SendText: there is nothing to send");
        return Ok(Next::Continue);
    }
    let sent = call.channel().send_text(&text);
    call.set("SENDTEXTSTATUS", if sent { "SUCCESS" } else { "FAILURE" });
    Ok(Next::Continue)
}
