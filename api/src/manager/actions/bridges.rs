//! Who talks with whom: bridges of two and conferences, their channels, and ending them.

use strowger_core::channel::{Cause, Channel};
use strowger_core::events::{BridgeBlock, Event, channel_fields};

use super::super::answer::Answer;
use super::Context;

/// A channel in a bridge.
struct Seen {
    bridge: String,
    name: String,
    block: Vec<(&'static str, String)>,
    /// The conference that the bridge is.
    conference: Option<String>,
    runs_dialplan: bool,
}

fn seen(channel: &Channel) -> Option<Seen> {
    let (bridge, conference) = {
        let data = channel.data();
        let conference = data.conference.as_ref();
        (
            data.bridge_id.as_deref()?.to_owned(),
            conference.map(|(name, _)| name.to_string()),
        )
    };
    Some(Seen {
        bridge,
        name: channel.name().to_string(),
        block: channel_fields(channel),
        conference,
        runs_dialplan: channel.runs_dialplan(),
    })
}

/// All channels in bridges, those of one bridge side by side; or of one bridge only.
async fn all(on: &Context<'_>, bridge: Option<&str>) -> Vec<Seen> {
    let wanted = bridge.map(str::to_owned);
    let look = move |channel: &Channel| {
        let is_meant = wanted.as_deref().is_none_or(|wanted| {
            let data = channel.data();
            data.bridge_id.as_deref() == Some(wanted)
        });
        is_meant.then(|| seen(channel)).flatten()
    };
    let found = on.look_at_channels(look).await;
    let mut all: Vec<Seen> = found.into_iter().flatten().collect();
    all.sort_by(|a, b| (&a.bridge, &a.name).cmp(&(&b.bridge, &b.name)));
    all
}

fn technology(of: &Seen) -> &'static str {
    match of.conference {
        Some(_) => "softmix",
        None => "simple_bridge",
    }
}

/// The lines that tell of a bridge, of which these are the channels.
fn describe(text: &mut Answer, channels: &[Seen]) {
    let Some(first) = channels.first() else {
        return;
    };
    let conference = first.conference.as_deref();
    let event = Event::new("").bridge(
        "",
        BridgeBlock {
            id: &first.bridge,
            kind: if conference.is_some() {
                "base"
            } else {
                "basic"
            },
            technology: technology(first),
            creator: conference.map_or("", |_| "ConfBridge"),
            name: conference.unwrap_or_default(),
            channels: channels.len(),
        },
    );
    for (name, value) in &event.fields {
        text.line(name, value);
    }
}

pub(super) async fn list(on: Context<'_>) -> String {
    let wanted = on.request.given("BridgeType");
    let all = all(&on, None).await;
    let mut text = Answer::to(on.request);
    text.list("Bridge listing will follow");
    for channels in all.chunk_by(|a, b| a.bridge == b.bridge) {
        let fits = |wanted: &str| {
            let kind = channels.first().map(technology);
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case(wanted))
        };
        if wanted.is_none_or(fits) {
            describe(text.item("BridgeListItem"), channels);
            text.end();
        }
    }
    text.complete("BridgeListComplete").end();
    text.into_text()
}

/// The channels of the bridge that a request names.
async fn named(on: &Context<'_>) -> Result<Vec<Seen>, String> {
    let Some(id) = on.request.given("BridgeUniqueid") else {
        return Err(on.error("BridgeUniqueid must be provided"));
    };
    let channels = all(on, Some(id)).await;
    if channels.is_empty() {
        return Err(on.error("Specified BridgeUniqueid not found"));
    }
    Ok(channels)
}

pub(super) async fn info(on: Context<'_>) -> String {
    let channels = match named(&on).await {
        Ok(channels) => channels,
        Err(text) => return text,
    };
    let mut text = Answer::to(on.request);
    text.list("Bridge channel listing will follow");
    for channel in &channels {
        text.item("BridgeInfoChannel");
        for (name, value) in &channel.block {
            text.line(name, value);
        }
        text.end();
    }
    describe(text.complete("BridgeInfoComplete"), &channels);
    text.end();
    text.into_text()
}

/// Takes a channel out of its bridge: a member leaves his conference, a party of a call without a dialplan ends, and one
/// with a dialplan loses the other and goes on as after any call.
async fn kick(on: &Context<'_>, channel: &Seen, all: &[Seen]) -> bool {
    if let Some(conference) = &channel.conference {
        let who = strowger_core::conference::Who::Channel(&channel.name);
        let shared = &on.manager.shared;
        let change = shared.conferences.change(shared, None, |table, effects| {
            table.kick(conference, who, effects)
        });
        return change > 0;
    }
    let peer = all
        .iter()
        .find(|other| other.bridge == channel.bridge && other.name != channel.name);
    let leaves = match peer {
        Some(peer) if channel.runs_dialplan => &peer.name,
        _ => &channel.name,
    };
    let shared = &on.manager.shared;
    let end = |channel: &Channel| channel.hang_up_softly(Cause::NORMAL_CLEARING);
    shared.with_channel(leaves, end).await.is_some()
}

pub(super) async fn kick_one(on: Context<'_>) -> String {
    let Some(wanted) = on.request.given("Channel") else {
        return on.error("Channel must be provided");
    };
    let channels = if on.request.given("BridgeUniqueid").is_some() {
        match named(&on).await {
            Ok(channels) => channels,
            Err(text) => return text,
        }
    } else {
        all(&on, None).await
    };
    let Some(name) = on.find_channel(wanted).await else {
        return on.error("Channel does not exist");
    };
    let Some(channel) = channels.iter().find(|channel| channel.name == name) else {
        return on.error("Channel is not in a bridge");
    };
    if kick(&on, channel, &channels).await {
        on.success("Channel has been kicked")
    } else {
        on.error("Channel kick from bridge failed")
    }
}

pub(super) async fn destroy(on: Context<'_>) -> String {
    let channels = match named(&on).await {
        Ok(channels) => channels,
        Err(text) => return text,
    };
    if channels.iter().any(|channel| channel.conference.is_some()) {
        for channel in &channels {
            kick(&on, channel, &channels).await;
        }
    } else if let Some(party) = channels
        .iter()
        .find(|channel| !channel.runs_dialplan)
        .or(channels.first())
    {
        // Without one of the two there is no bridge.
        kick(&on, party, &channels).await;
    }
    on.success("Bridge has been destroyed")
}

/// What bridges are made of here.
pub(super) fn technologies(on: Context<'_>) -> String {
    let mut text = Answer::to(on.request);
    text.list("Bridge technology listing will follow");
    for (technology, kind, priority) in [
        ("native_rtp", "Native", "90"),
        ("simple_bridge", "1to1Mix", "50"),
        ("softmix", "MultiMix", "10"),
    ] {
        text.bare_item("BridgeTechnologyListItem")
            .line("BridgeTechnology", technology)
            .line("BridgeType", kind)
            .line("BridgePriority", priority)
            .line("BridgeSuspended", "No")
            .id()
            .end();
    }
    text.complete("BridgeTechnologyListComplete").end();
    text.into_text()
}

/// With whom a channel talks.
pub(super) async fn map(on: Context<'_>) -> String {
    let Some(wanted) = on.request.given("Channel") else {
        return on.error("Channel not specified");
    };
    let Some(name) = on.find_channel(wanted).await else {
        return on.error("Channel specified does not exist");
    };
    let bridge_of = |channel: &Channel| channel.data().bridge_id.as_deref().map(str::to_owned);
    let bridge = on.with_channel(&name, bridge_of).await.flatten();
    let channels = match &bridge {
        Some(id) => all(&on, Some(id)).await,
        None => Vec::new(),
    };
    let mut text = Answer::to(on.request);
    text.list("Channel map will follow");
    for other in channels.iter().filter(|channel| channel.name != name) {
        text.item("CoreShowChannelMap")
            .line("Channel", &name)
            .line("ConnectedChannel", &other.name)
            .end();
    }
    text.complete("CoreShowChannelMapComplete").end();
    text.into_text()
}
