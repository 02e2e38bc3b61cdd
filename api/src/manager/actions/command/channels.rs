//! Channels and calls: `core show channels`, `core show channel`, `channel originate`, `channel request hangup`.

use std::time::Instant;

use strowger_core::channel::{Cause, Channel};
use strowger_core::dialplan::Reach;
use strowger_core::events::channel_block;

use super::super::super::request::Request;
use super::super::{Context, originate};
use super::{Output, count, failed, printed, usage};

pub(super) async fn calls(on: &Context<'_>) -> Vec<String> {
    let running = on
        .gather(|shard| {
            let channels = shard.channels();
            channels
                .iter()
                .filter(|channel| channel.runs_dialplan())
                .count()
        })
        .await;
    let processed = usize::try_from(on.manager.shared.calls_processed()).unwrap_or(usize::MAX);
    vec![
        count(running.into_iter().sum(), "active call"),
        format!("{} processed", count(processed, "call")),
    ]
}

/// What a line says of a channel.
struct Seen {
    block: [(&'static str, String); 14],
    application: String,
    data: String,
    seconds: u64,
    bridge: String,
}

fn seen(channel: &Channel) -> Seen {
    let block = channel_block(channel);
    let data = channel.data();
    Seen {
        block,
        application: data.application.clone(),
        data: data.application_data.clone(),
        seconds: data.created_at.elapsed().as_secs(),
        bridge: data.bridge_id.as_deref().unwrap_or_default().to_owned(),
    }
}

impl Seen {
    fn get(&self, name: &str) -> &str {
        let found = self.block.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    fn known(&self, name: &str) -> &str {
        match self.get(name) {
            "<unknown>" => "",
            value => value,
        }
    }
}

pub(super) async fn channels(on: &Context<'_>, how: &[&str]) -> Vec<String> {
    let mut all: Vec<Seen> = on.look_at_channels(seen).await;
    all.sort_by_key(|seen| std::cmp::Reverse(seen.seconds));
    if how == ["concise"] {
        let line = |seen: &Seen| {
            [
                seen.get("Channel"),
                seen.get("Context"),
                seen.get("Exten"),
                seen.get("Priority"),
                seen.get("ChannelStateDesc"),
                &seen.application,
                &seen.data,
                seen.known("CallerIDNum"),
                seen.get("AccountCode"),
                "",
                "3",
                &seen.seconds.to_string(),
                &seen.bridge,
                seen.get("Uniqueid"),
            ]
            .join("!")
        };
        return all.iter().map(line).collect();
    }
    let mut lines = Vec::new();
    if how == ["verbose"] {
        lines = verbose(&all);
    } else if how != ["count"] {
        let row = |channel: &str, place: &str, state: &str, application: &str| {
            format!("{channel:<20.20} {place:<20.20} {state:<7.7} {application:<30.30}")
        };
        lines.push(row("Channel", "Location", "State", "Application(Data)"));
        lines.extend(all.iter().map(|seen| {
            let place = match seen.get("Exten") {
                "" => "(None)".to_owned(),
                exten => format!("{exten}@{}:{}", seen.get("Context"), seen.get("Priority")),
            };
            let application = match seen.application.as_str() {
                "" => "(None)".to_owned(),
                name => format!("{name}({})", seen.data),
            };
            row(
                seen.get("Channel"),
                &place,
                seen.get("ChannelStateDesc"),
                &application,
            )
        }));
    }
    lines.push(count(all.len(), "active channel"));
    lines.extend(calls(on).await);
    lines
}

/// The wide list.
fn verbose(all: &[Seen]) -> Vec<String> {
    let row = |cells: [&str; 12]| {
        let [
            channel,
            context,
            exten,
            priority,
            state,
            application,
            data,
            caller,
            time,
            account,
            peer,
            bridge,
        ] = cells;
        format!(
            "{channel:<20.20} {context:<20.20} {exten:<16.16} {priority:<4} {state:<7.7} {application:<12.12} \
             {data:<25.25} {caller:<15.15} {time:<8.8} {account:<11.11} {peer:<11.11} {bridge:<20.20}"
        )
    };
    let mut lines = vec![row([
        "Channel",
        "Context",
        "Extension",
        "Prio",
        "State",
        "Application",
        "Data",
        "CallerID",
        "Duration",
        "Accountcode",
        "PeerAccount",
        "BridgeID",
    ])];
    lines.extend(all.iter().map(|seen| {
        let time = format!(
            "{:02}:{:02}:{:02}",
            seen.seconds / 3600,
            seen.seconds / 60 % 60,
            seen.seconds % 60
        );
        row([
            seen.get("Channel"),
            seen.get("Context"),
            seen.get("Exten"),
            seen.get("Priority"),
            seen.get("ChannelStateDesc"),
            if seen.application.is_empty() {
                "(None)"
            } else {
                &seen.application
            },
            if seen.data.is_empty() {
                "(Empty)"
            } else {
                &seen.data
            },
            seen.known("CallerIDNum"),
            &time,
            seen.get("AccountCode"),
            "",
            &seen.bridge,
        ])
    }));
    lines
}

/// What `core show channel` lists of the call record.
const OF_RECORD: &[&str] = &[
    "dnid",
    "clid",
    "src",
    "dst",
    "dcontext",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
    "uniqueid",
    "linkedid",
    "sequence",
];

fn described(channel: &Channel) -> Vec<String> {
    let dialplan = channel.shard().dialplan();
    let read = |name: &str| {
        let value = dialplan.read(channel, name, Reach::Exchange);
        value.unwrap_or_default()
    };
    let codec = read("CHANNEL(audionativeformat)");
    let group = |name: &str| match read(&format!("CHANNEL({name})")) {
        text if text.is_empty() => "0".to_owned(),
        text => text,
    };
    let groups = (group("callgroup"), group("pickupgroup"));
    let record: Vec<String> = OF_RECORD
        .iter()
        .map(|name| (name, read(&format!("CDR({name})"))))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("level 1: {name}={value}"))
        .collect();
    let block = channel_block(channel);
    let of_block = |wanted: &str| {
        let found = block.iter().find(|(name, _)| *name == wanted);
        found.map_or("", |(_, value)| value.as_str())
    };
    let shown = |text: &str| match text {
        "" | "<unknown>" => "(N/A)".to_owned(),
        text => text.to_owned(),
    };
    let data = channel.data();
    let seconds = data.created_at.elapsed().as_secs();
    let time = format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let to_hangup = data.timeouts.absolute.map_or(0, |at| {
        at.saturating_duration_since(Instant::now()).as_secs()
    });
    let name = channel.name();
    let state = format!(
        "{} ({})",
        of_block("ChannelStateDesc"),
        of_block("ChannelState")
    );
    let row = |name: &str, value: &str| format!("{name:>15}: {value}");
    let wide = |name: &str, value: &str| format!("{name}: {value}");
    let connected = (
        shown(of_block("ConnectedLineNum")),
        shown(of_block("ConnectedLineName")),
    );
    let mut lines = vec![
        " -- General --".to_owned(),
        row("Name", &name),
        row("Type", name.split('/').next().unwrap_or_default()),
        row("UniqueID", of_block("Uniqueid")),
        row("LinkedID", of_block("Linkedid")),
        row("Caller ID", &shown(of_block("CallerIDNum"))),
        row("Caller ID Name", &shown(of_block("CallerIDName"))),
        wide("Connected Line ID", &connected.0),
        wide("Connected Line ID Name", &connected.1),
        wide("Eff. Connected Line ID", &connected.0),
        wide("Eff. Connected Line ID Name", &connected.1),
        row("DNID Digits", &shown(&data.dnid)),
        row("Language", of_block("Language")),
        row("State", &state),
        row("NativeFormats", &format!("({codec})")),
        row("WriteFormat", &codec),
        row("ReadFormat", &codec),
        row("Time to Hangup", &to_hangup.to_string()),
        row("Elapsed Time", &time),
        row(
            "Bridge ID",
            data.bridge_id.as_deref().unwrap_or("(Not bridged)"),
        ),
        " --   PBX   --".to_owned(),
        row("Context", of_block("Context")),
        row("Extension", of_block("Exten")),
        row("Priority", of_block("Priority")),
        row("Call Group", &groups.0),
        row("Pickup Group", &groups.1),
        row("Application", &shown(&data.application)),
        row(
            "Data",
            match data.application_data.as_str() {
                "" => "(Empty)",
                data => data,
            },
        ),
        row("Variables", ""),
    ];
    let variables = data.variables.iter();
    lines.extend(variables.map(|(name, value)| format!("{name}={value}")));
    lines.extend([String::new(), "  CDR Variables:".to_owned()]);
    lines.extend(record);
    lines
}

fn unknown(name: &str) -> Output {
    failed(format!("{name} is not a known channel"))
}

pub(super) async fn channel(on: &Context<'_>, name: &str) -> Output {
    match on.with_channel(name, described).await {
        Some(lines) => printed(lines),
        None => unknown(name),
    }
}

pub(super) async fn hang_up(on: &Context<'_>, name: &str) -> Output {
    let end = |channel: &Channel| channel.hang_up_softly(Cause::NORMAL_CLEARING);
    let told = |name: &str| format!("Requested Hangup on channel '{name}'");
    if !name.eq_ignore_ascii_case("all") {
        return match on.with_channel(name, end).await {
            Some(()) => printed(vec![told(name)]),
            None => unknown(name),
        };
    }
    let ended = on.look_at_channels(move |channel: &Channel| {
        end(channel);
        channel.name().to_string()
    });
    printed(ended.await.iter().map(|name| told(name)).collect())
}

/// `channel originate`: what it comes to is told by events.
pub(super) async fn call(on: &Context<'_>, words: &[&str]) -> Output {
    let wrong = || {
        usage(&[
            "channel originate <tech/data> application <appname> [appdata]",
            "channel originate <tech/data> extension [exten@][context]",
        ])
    };
    let Some((channel, rest)) = words.split_first() else {
        return wrong();
    };
    let mut headers = vec![("Channel", (*channel).to_owned())];
    match rest {
        [kind, name, data @ ..] if kind.eq_ignore_ascii_case("application") => {
            headers.push(("Application", (*name).to_owned()));
            headers.push(("Data", data.join(" ")));
        }
        [kind, place @ ..] if kind.eq_ignore_ascii_case("extension") && place.len() <= 1 => {
            let place = place.first().copied().unwrap_or_default();
            let (exten, context) = place.split_once('@').unwrap_or((place, ""));
            let or =
                |text: &str, other: &str| if text.is_empty() { other } else { text }.to_owned();
            headers.push(("Exten", or(exten, "s")));
            headers.push(("Context", or(context, "default")));
            headers.push(("Priority", "1".to_owned()));
        }
        _ => return wrong(),
    }
    headers.push(("Async", "yes".to_owned()));
    let headers = headers.into_iter();
    let request = Request::new(
        headers
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    );
    let answer = originate::originate(Context {
        request: &request,
        ..*on
    });
    let answer = answer.await;
    let message = answer
        .lines()
        .find_map(|line| line.strip_prefix("Message: "));
    match message {
        Some(message) if answer.starts_with("Response: Error") => failed(message.to_owned()),
        _ => printed(Vec::new()),
    }
}
