//! Lists of channels: `Status` and `CoreShowChannels`.

use std::time::Instant;

use strowger_core::channel::Channel;
use strowger_core::dialplan::Reach;
use strowger_core::events::{channel_fields, known};
use strowger_dialplan::args;
use strowger_scripting::text_reaches_with;

use super::super::answer::Answer;
use super::Context;

/// Variables that one `Status` asks for of each channel.
const VARIABLES_MAX: usize = 64;

/// One channel: its block, and what the list says behind that.
struct Seen {
    block: Vec<(&'static str, String)>,
    more: Vec<(&'static str, String)>,
    created: Instant,
}

/// `01:02:03`.
fn clock(seconds: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn seen(channel: &Channel, more: Vec<(&'static str, String)>) -> Seen {
    Seen {
        block: channel_fields(channel),
        more,
        created: channel.data().created_at,
    }
}

fn bridge_id(channel: &Channel) -> String {
    let data = channel.data();
    data.bridge_id
        .as_deref()
        .map(str::to_owned)
        .unwrap_or_default()
}

pub(super) async fn channels(on: Context<'_>) -> String {
    let look = |channel: &Channel| {
        let more = {
            let data = channel.data();
            vec![
                ("Application", data.application.clone()),
                ("ApplicationData", data.application_data.clone()),
                ("Duration", clock(data.created_at.elapsed().as_secs())),
                ("BridgeId", bridge_id(channel)),
            ]
        };
        seen(channel, more)
    };
    let mut all = on.look_at_channels(look).await;
    all.sort_by_key(|seen| seen.created);
    let mut text = Answer::to(on.request);
    text.list("Channels will follow");
    for channel in all {
        text.item("CoreShowChannel");
        for (name, value) in channel.block.iter().chain(&channel.more) {
            text.line(name, value);
        }
        text.end();
    }
    text.complete("CoreShowChannelsComplete").end();
    text.into_text()
}

/// What `Status` says of a channel behind its block.
fn details(
    channel: &Channel,
    wanted: &[String],
    all: bool,
    reach: Reach,
) -> Vec<(&'static str, String)> {
    let dialplan = channel.shard().dialplan();
    let read = |name: &str| dialplan.read(channel, name, reach).unwrap_or_default();
    let item = |name: &str| read(&format!("CHANNEL({name})"));
    let codecs = channel.codec_names();
    // What applications hear and say is linear.
    let codec = codecs.first().copied().unwrap_or("slin").to_owned();
    let native = if codecs.is_empty() {
        codec.clone()
    } else {
        codecs.join("|")
    };
    let group = |name: &str| match item(name) {
        text if text.is_empty() => "0".to_owned(),
        text => text,
    };
    let groups = (group("callgroup"), group("pickupgroup"));
    let name = channel.name();
    let mut variables: Vec<String> = wanted
        .iter()
        .map(|name| format!("{name}={}", read(name)))
        .collect();
    let data = channel.data();
    let to_hangup = data.timeouts.absolute.map_or(0, |at| {
        at.saturating_duration_since(Instant::now()).as_secs()
    });
    let mut more = vec![
        (
            "Type",
            name.split('/').next().unwrap_or_default().to_owned(),
        ),
        ("DNID", data.dnid.clone()),
        ("EffectiveConnectedLineNum", known(&data.connected.number)),
        ("EffectiveConnectedLineName", known(&data.connected.name)),
        ("TimeToHangup", to_hangup.to_string()),
        (
            "BridgeID",
            data.bridge_id
                .as_deref()
                .map(str::to_owned)
                .unwrap_or_default(),
        ),
        ("Application", data.application.clone()),
        ("Data", data.application_data.clone()),
        ("Nativeformats", format!("({native})")),
        ("Readformat", codec.clone()),
        ("Readtrans", String::new()),
        ("Writeformat", codec),
        ("Writetrans", String::new()),
        ("Callgroup", groups.0),
        ("Pickupgroup", groups.1),
        ("Seconds", data.created_at.elapsed().as_secs().to_string()),
    ];
    if all {
        let own = data.variables.iter();
        variables.extend(own.map(|(name, value)| format!("{name}={value}")));
    }
    more.extend(variables.into_iter().map(|pair| ("Variable", pair)));
    more
}

pub(super) async fn status(on: Context<'_>) -> String {
    // Commas within the arguments of a function belong to it.
    let names = args::split(on.request.get("Variables"));
    let wanted: Vec<String> = names
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if wanted.len() > VARIABLES_MAX {
        return on.error(&format!("Too many Variables: {VARIABLES_MAX} are the most"));
    }
    let reach = on.reach();
    let snapshot = on.manager.shared.snapshot();
    let reaches = |name: &String| text_reaches_with(name, &snapshot);
    if reach == Reach::Call && wanted.iter().any(reaches) {
        return on.error("Permission denied");
    }
    let all = on.request.is_true("AllVariables");
    let look = move |channel: &Channel| seen(channel, details(channel, &wanted, all, reach));
    let mut seen = match on.request.given("Channel") {
        Some(name) => match on.with_channel(name, look).await {
            Some(seen) => vec![seen],
            None => return on.error("No such channel"),
        },
        None => on.look_at_channels(look).await,
    };
    seen.sort_by_key(|seen| seen.created);
    let mut text = Answer::to(on.request);
    text.list("Channel status will follow");
    for channel in seen {
        text.bare_item("Status").line("Privilege", "Call");
        for (name, value) in channel.block.iter().chain(&channel.more) {
            text.line(name, value);
        }
        text.id().end();
    }
    let items = text.items().to_string();
    text.complete("StatusComplete").line("Items", items).end();
    text.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_hours_minutes_and_seconds() {
        assert_eq!(clock(0), "00:00:00");
        assert_eq!(clock(3_725), "01:02:05");
        assert_eq!(clock(360_000), "100:00:00");
    }
}
