//! Channels that there are: variables, moving, connecting, recording, ending them.

use std::time::Duration;

use strowger_core::channel::{Cause, Channel, Location, refusal};
use strowger_core::dialplan::Reach;
use strowger_core::record::{self, Request as Recording, Side};
use strowger_dialplan::args::{self, Options, Priority};
use strowger_scripting::{text_reaches_with, variable_reaches};

use super::super::answer::Answer;
use super::Context;

/// The longest limit of a call, in seconds: a year.
const TIMEOUT_MAX_S: f64 = 365.0 * 86_400.0;

pub(super) async fn absolute_timeout(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let seconds = on.request.get("Timeout").trim().parse::<f64>();
    let seconds = seconds.ok().filter(|seconds| *seconds > 0.0);
    let Some(seconds) = seconds else {
        return on.error("No timeout specified");
    };
    let limit = Some(Duration::from_secs_f64(seconds.min(TIMEOUT_MAX_S)));
    let set = on
        .with_channel(name, move |channel| channel.limit(limit))
        .await;
    match set {
        Some(()) => on.success("Timeout Set"),
        None => on.error("No such channel"),
    }
}

pub(super) async fn agi(on: Context<'_>) -> String {
    let asked = (on.request.given("Channel"), on.request.given("Command"));
    let (Some(wanted), Some(command)) = asked else {
        return on.error("Both, Channel and Command are *required*");
    };
    let Some(name) = on.find_channel(wanted).await else {
        return on.error(&format!("Channel {wanted} does not exist."));
    };
    let id = on.request.get("CommandID");
    match on.manager.plans.agi().command(&name, command, id) {
        Ok(()) => on.success("Added AGI command to queue"),
        Err(why) => {
            tracing::debug!(channel = name, %why, "Manager: AGI");
            on.error(&format!(
                "Failed to add AGI command to channel {name} queue"
            ))
        }
    }
}

pub(super) async fn bridge(on: Context<'_>) -> String {
    let names = (on.request.given("Channel1"), on.request.given("Channel2"));
    let (Some(first), Some(second)) = names else {
        return on.error("Missing channel parameter in request");
    };
    let missing = |name: &str| on.error(&format!("Channel {name} does not exist"));
    let Some(first) = on.find_channel(first).await else {
        return missing(first);
    };
    let Some(second) = on.find_channel(second).await else {
        return missing(second);
    };
    if first == second {
        return on.error("Unable to bridge a channel with itself");
    }
    let tone = on.request.get("Tone").to_ascii_lowercase();
    let options = match tone.as_str() {
        "channel2" | "both" | "yes" | "true" | "1" => "p",
        _ => "",
    };
    let data = args::join(&[&second, options]);
    let begun = on
        .with_channel(&first, move |channel| {
            channel.take_to_application("Bridge", &data)
        })
        .await;
    if begun == Some(true) {
        on.success("Channels have been bridged")
    } else {
        missing(&first)
    }
}

pub(super) async fn get_variable(on: Context<'_>) -> String {
    let Some(variable) = on.request.given("Variable") else {
        return on.error("No variable specified");
    };
    let (wanted, reach) = (variable.to_owned(), on.reach());
    let read = move |channel: &Channel| channel.shard().dialplan().read(channel, &wanted, reach);
    let value = match on.request.given("Channel") {
        // Functions that need no channel have none.
        None if variable.contains('(') => {
            on.ask_dialplan(move |shard| read(&Channel::surrogate(shard)))
                .await
        }
        None => {
            let value = on.manager.shared.globals.get(variable);
            Some(Ok(value.unwrap_or_default()))
        }
        Some(name) => on.with_channel(name, read).await,
    };
    let value = match value {
        Some(Ok(value)) => value,
        Some(Err(_)) => return on.error("Permission denied"),
        None => return on.error("No such channel"),
    };
    let mut text = Answer::to(on.request);
    text.response("Success")
        .line("Variable", variable)
        .line("Value", value)
        .end();
    text.into_text()
}

pub(super) async fn set_variable(on: Context<'_>) -> String {
    let Some(variable) = on.request.given("Variable") else {
        return on.error("No variable specified");
    };
    let value = on.request.get("Value");
    let name = on.request.given("Channel");
    let reach = on.reach();
    let snapshot = on.manager.shared.snapshot();
    let reaches = text_reaches_with(variable, &snapshot) || variable_reaches(variable);
    if reach == Reach::Call && reaches {
        return on.error("Permission denied");
    }
    if name.is_none() && !variable.contains('(') {
        return if on.manager.shared.globals.set(variable, value) {
            on.manager.shared.events.tell(|| {
                use strowger_core::events::{Event, escape};
                Event::new("VarSet")
                    .with("Channel", "none")
                    .with("Uniqueid", "none")
                    .with("Variable", escape(variable))
                    .with("Value", escape(value))
            });
            on.success("Variable Set")
        } else {
            on.error("Too many variables are set")
        };
    }
    let (variable, value) = (variable.to_owned(), value.to_owned());
    let write = move |channel: &Channel| {
        let dialplan = channel.shard().dialplan();
        dialplan.write(channel, &variable, &value, reach)
    };
    let written = match name {
        Some(name) => on.with_channel(name, write).await,
        None => {
            on.ask_dialplan(move |shard| write(&Channel::surrogate(shard)))
                .await
        }
    };
    match written {
        Some(Ok(())) => on.success("Variable Set"),
        Some(Err(why)) => on.error(&format!("Variable not set: {why}")),
        None => on.error("No such channel"),
    }
}

pub(super) async fn hang_up(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let cause = match on.request.given("Cause") {
        None => Cause::NORMAL_CLEARING,
        Some(text) => match text.trim().parse::<u8>() {
            Ok(number @ 0..=127) => Cause(number),
            _ => {
                tracing::warn!(
                    cause = text,
                    "Manager: Hangup: no cause from 0 to 127; 16 is taken"
                );
                Cause::NORMAL_CLEARING
            }
        },
    };
    let end = move |channel: &Channel| channel.hang_up_softly(cause);
    let pattern = name
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'))
        .filter(|pattern| !pattern.is_empty());
    let Some(pattern) = pattern else {
        return match on.with_channel(name, end).await {
            Some(()) => on.success("Channel Hungup"),
            None => on.error("No such channel"),
        };
    };
    let Ok(regex) = regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
    else {
        return on.error("Regex compile failed on");
    };
    let names = on
        .manager
        .shared
        .directory
        .names(|name| regex.is_match(name));
    let mut text = Answer::to(on.request);
    text.list("Channels hung up will follow");
    for name in names {
        if on.with_channel(&name, end).await.is_some() {
            text.bare_item("ChannelHungup")
                .line("Channel", name)
                .id()
                .end();
        }
    }
    text.complete("ChannelsHungupListComplete").end();
    text.into_text()
}

pub(super) async fn hang_up_by_status(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let Some(status) = on.request.given("Cause") else {
        return hang_up(on).await;
    };
    let Some(status) = refusal(status.trim()) else {
        return on.error("Invalid Cause: write a status of SIP from 400 to 699, or its name");
    };
    let end = move |channel: &Channel| {
        if channel.name().starts_with("PJSIP/") {
            channel.refuse_with(status);
            true
        } else {
            false
        }
    };
    match on.with_channel(name, end).await {
        Some(true) => on.success("Channel Hungup"),
        Some(false) => on.error("Not a chan_pjsip channel"),
        None => on.error("No such channel"),
    }
}

pub(super) async fn play_digit(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("Channel not found");
    };
    let digit = on.request.get("Digit").chars().next();
    let Some(digit) = digit else {
        return on.error("No digit specified");
    };
    let digit = digit.to_ascii_uppercase();
    if !"0123456789*#ABCD".contains(digit) {
        return on.error("Digit is not valid");
    }
    let duration = match on.request.given("Duration") {
        None => 100,
        Some(text) => match text.trim().parse::<u16>() {
            Ok(duration) => duration.max(40),
            Err(_) => return on.error("Could not convert Duration parameter"),
        },
    };
    let received = on.request.is_true("Receive");
    let sent = on
        .with_channel(name, move |channel| {
            if received {
                channel.receive_digit(digit, u32::from(duration));
            } else {
                channel.send_digit(digit, duration);
            }
        })
        .await;
    match sent {
        Some(()) => on.success("DTMF successfully queued"),
        None => on.error("Channel not found"),
    }
}

/// Where `Redirect` leads, for the channel or the extra one.
async fn target(on: &Context<'_>, extra: &str) -> Result<Location, String> {
    let get = |name: &str| {
        let given = on.request.given(&format!("{extra}{name}"));
        given.ok_or_else(|| on.error(&format!("{extra}{name} not specified")))
    };
    let context = get("Context")?;
    let exten = get("Exten")?;
    let written = get("Priority")?;
    let priority = match args::parse_goto(written).priority {
        // The extension may be one that the context has only an `i` for.
        Priority::Number(number) => i32::try_from(number).ok().filter(|number| *number > 0),
        _ => on.priority(context, exten, written).await,
    };
    let Some(priority) = priority else {
        return Err(on.error(&format!("{extra}Priority is invalid")));
    };
    Ok(Location::new(context, exten, priority))
}

pub(super) async fn redirect(on: Context<'_>) -> String {
    let Some(wanted) = on.request.given("Channel") else {
        return on.error("Channel not specified");
    };
    let place = match target(&on, "").await {
        Ok(place) => place,
        Err(text) => return text,
    };
    let extra_wanted = on.request.given("ExtraChannel");
    // The other channel goes there too, unless a place of its own is named.
    let has_own = extra_wanted.is_some() && on.request.given("ExtraContext").is_some();
    let extra_place = if has_own {
        match target(&on, "Extra").await {
            Ok(place) => place,
            Err(text) => return text,
        }
    } else {
        place.clone()
    };
    let missing = |name: &str| on.error(&format!("Channel does not exist: {name}"));
    let extra_missing = |name: &str| on.error(&format!("ExtraChannel does not exist: {name}"));
    let Some(name) = on.find_channel(wanted).await else {
        return missing(wanted);
    };
    let Some(extra_wanted) = extra_wanted else {
        return match on
            .with_channel(&name, move |channel| channel.take_to(place))
            .await
        {
            None => missing(wanted),
            Some(true) => on.success("Redirect successful"),
            Some(false) => on.error("Redirect failed"),
        };
    };
    let Some(extra) = on.find_channel(extra_wanted).await else {
        return extra_missing(extra_wanted);
    };
    // Both in one go where they share a thread: the bridge of the two must not end for one before the other has left it.
    let other = extra.clone();
    let second = extra_place.clone();
    let moved = on
        .with_channel(&name, move |channel| {
            let Some(peer) = channel.shard().channel_by_name(&other) else {
                return (channel.take_to(place), None);
            };
            if peer.runs_dialplan() {
                let first = channel.take_to(place);
                (first, Some(peer.take_to(second)))
            } else {
                let extra = peer.take_to(second);
                (channel.take_to(place), Some(extra))
            }
        })
        .await;
    let (first, second) = match moved {
        None => return missing(wanted),
        Some((first, Some(second))) => (first, Some(second)),
        Some((first, None)) => {
            let moved = on.with_channel(&extra, move |channel| channel.take_to(extra_place));
            (first, moved.await)
        }
    };
    match (first, second) {
        (_, None) => extra_missing(extra_wanted),
        (true, Some(true)) => on.success("Dual Redirect successful"),
        (false, _) => on.error("Redirect failed"),
        (true, Some(false)) => on.error("Secondary redirect failed"),
    }
}

pub(super) async fn record(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let Ok(options) = Options::parse(on.request.get("Options")) else {
        return on.error("Could not start monitoring channel");
    };
    let monitor = on.manager.shared.monitor();
    let file = |name: Option<&str>| match name.filter(|name| !name.is_empty()) {
        None => Ok(None),
        Some(name) => record::target(name, monitor).map(Some),
    };
    let targets = (
        file(on.request.given("File")),
        file(options.argument('r')),
        file(options.argument('t')),
    );
    let (Ok(mix), Ok(receive), Ok(transmit)) = targets else {
        return on.error("Could not start monitoring channel");
    };
    if mix.is_none() && receive.is_none() && transmit.is_none() {
        return on.error("Could not start monitoring channel");
    }
    let volume = |letter| {
        let text = options.argument(letter).unwrap_or_default();
        text.trim().parse::<i8>().unwrap_or_default().clamp(-4, 4)
    };
    let both = volume('W');
    let recording = Recording {
        mix,
        receive,
        transmit,
        stereo: options.has('D'),
        append: options.has('a'),
        only_bridged: options.has('b'),
        unpadded: options.has('n'),
        volume_receive: if both == 0 { volume('v') } else { both },
        volume_transmit: if both == 0 { volume('V') } else { both },
        beep_at_start: options.has('p'),
        beep_at_end: options.has('P'),
        delete: options.has('d'),
        command: on.request.given("Command").map(str::to_owned),
        ..Recording::default()
    };
    let variable = options
        .argument('i')
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let started = on
        .with_channel(name, move |channel| {
            let (id, _) = record::start(channel, recording).ok()?;
            if let Some(variable) = variable {
                channel.set_variable(&variable, &id);
            }
            Some(id)
        })
        .await;
    match started {
        None => on.error("No such channel"),
        Some(None) => on.error("Could not start monitoring channel"),
        Some(Some(id)) => {
            let mut text = Answer::to(on.request);
            text.response("Success").line("MixMonitorID", id).end();
            text.into_text()
        }
    }
}

pub(super) async fn mute_record(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let side = match on.request.get("Direction").to_ascii_lowercase().as_str() {
        "read" => Side::Read,
        "write" => Side::Write,
        "both" => Side::Both,
        "" => return on.error("No direction specified. Must be read, write or both"),
        _ => return on.error("Invalid direction specified. Must be read, write or both"),
    };
    let muted = match on.request.get("State") {
        "1" => true,
        "0" => false,
        "" => return on.error("No state specified"),
        _ => return on.error("Invalid state specified. Must be 0 or 1"),
    };
    let id = on.request.given("MixMonitorID").map(str::to_owned);
    let done = on
        .with_channel(name, move |channel| {
            record::mute(channel, id.as_deref(), side, muted)
        })
        .await;
    match done {
        None => on.error("No such channel"),
        Some(false) => on.error("Cannot set mute flag"),
        Some(true) => on.done(),
    }
}

pub(super) async fn stop_record(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let id = on.request.given("MixMonitorID").map(str::to_owned);
    let stopped = on
        .with_channel(name, move |channel| {
            record::stop(channel, id.as_deref()).is_some()
        })
        .await;
    match stopped {
        None => on.error("No such channel"),
        Some(false) => on.error("Could not stop monitoring channel"),
        Some(true) => on.done(),
    }
}
