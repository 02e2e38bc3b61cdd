//! `Bridge`, `BridgeWait`: connects channels that are somewhere else in the dialplan.

use std::time::{Duration, Instant};

use strowger_core::call::{BridgeEnd, BridgeOptions};
use strowger_core::channel::{Afterwards, Channel, Interrupt, Location};
use strowger_dialplan::args::{self, Options};

use super::dial_options::place;
use super::features;
use super::jump::resolve;
use super::music::music_of;
use super::play::end_background;
use super::{App, AppResult, Call, Next, app, seconds};

pub(super) const APPS: &[App] = &[
    app!(
        "Bridge",
        "Bridge(channel[,options])",
        "connects the caller with another channel, which leaves what it does",
        bridge
    ),
    app!(
        "BridgeWait",
        "BridgeWait([name[,role[,options]]])",
        "holds the call until another takes it",
        bridge_wait
    ),
];

/// Letters of `Bridge`.
const OPTIONS: &str = "CFhHkKLnpStTvwWxX";

/// The channel of this name on this core, or the first whose name begins so.
pub(super) fn find_here(call: &Call, name: &str) -> Option<Channel> {
    let shard = call.channel().shard();
    shard.channel_by_name(name).or_else(|| {
        let names = call.shared().directory.names(|known| is_named(known, name));
        names.iter().find_map(|name| shard.channel_by_name(name))
    })
}

/// Is this the channel's name, with or without the number that makes it unique?
pub(super) fn is_named(known: &str, name: &str) -> bool {
    let device = known.rsplit_once('-').map_or(known, |(device, _)| device);
    known.eq_ignore_ascii_case(name) || device.eq_ignore_ascii_case(name)
}

async fn bridge(call: Call) -> AppResult {
    let channel = call.channel();
    let options = call.options("Bridge", 1);
    call.warn_unknown("Bridge", &options, OPTIONS);
    let name = call.arg(0);
    let result = |word: &str| {
        call.set("BRIDGERESULT", word);
        Ok(Next::Continue)
    };
    if name.is_empty() {
        call.warn("Bridge needs the name of a channel");
        return result("FAILURE");
    }
    let Some(peer) = find_here(&call, name) else {
        return elsewhere(&call, name, &options).await;
    };
    if peer.id() == channel.id() {
        call.warn("Bridge: the channel is this one");
        return result("LOOP");
    }
    end_background(&call);
    if !options.has('n') {
        channel.answer(Duration::ZERO).await?;
    }
    let Some(mut seized) = peer.seize().await else {
        call.warn(&format!(
            "Bridge: {name} cannot be taken out of what it does"
        ));
        return result("FAILURE");
    };
    if options.has('x') {
        seized.set_afterwards(Afterwards::HangUp);
    }
    let peer = seized.channel().clone();
    peer.answer(Duration::ZERO).await.ok();
    if options.has('p') {
        let beep = vec![call.shared().sounds.beep()];
        peer.play(beep, false, &|_| false).await.ok();
    }
    channel.check()?;
    let bridged =
        match features::bridge(&call, &peer, bridge_options(&call, &options), &|_| {}).await {
            Ok(bridged) => bridged,
            // Transferred or parked.
            Err(departure) => {
                seized.give_up();
                call.set("BRIDGERESULT", "SUCCESS");
                return departure.result;
            }
        };
    let caller_left = matches!(
        bridged.end,
        BridgeEnd::CallerHungUp | BridgeEnd::Interrupted(Interrupt::Hangup)
    );
    if caller_left && let Some(text) = options.argument('F') {
        let here = channel.location();
        let target = if text.is_empty() {
            Location {
                priority: here.priority.saturating_add(1),
                ..here
            }
        } else {
            resolve(&call.task, &args::parse_goto(&place(text)))?
        };
        seized.set_afterwards(Afterwards::Go(target));
    }
    seized.let_go(&bridged);
    call.set("BRIDGERESULT", "SUCCESS");
    match bridged.end {
        BridgeEnd::CallerHungUp => Err(Interrupt::Hangup.into()),
        BridgeEnd::Interrupted(interrupt) => Err(interrupt.into()),
        _ => {
            channel.check()?;
            let goto = channel.data_mut().after_bridge.take();
            Ok(goto.map_or(Next::Continue, Next::Jump))
        }
    }
}

/// The channel may be on another core: then two halves of a pair stand for each in the bridge of the other.
async fn elsewhere(call: &Call, name: &str, options: &Options) -> AppResult {
    let channel = call.channel();
    let own = channel.shard().index();
    let directory = &call.shared().directory;
    let known = directory.names(|known| is_named(known, name));
    let found = known.iter().find_map(|known| {
        let shard = directory.shard_of(known).filter(|shard| *shard != own)?;
        Some((known.clone(), shard))
    });
    let Some((known, shard)) = found else {
        call.set("BRIDGERESULT", "NONEXISTENT");
        call.warn(&format!("Bridge: there is no channel {name}"));
        return Ok(Next::Continue);
    };
    end_background(call);
    if !options.has('n') {
        channel.answer(Duration::ZERO).await?;
    }
    let afterwards = if options.has('x') {
        Afterwards::HangUp
    } else {
        Afterwards::Continue
    };
    let half = channel.reach(shard, known, afterwards).await;
    channel.check()?;
    let Some(reached) = half else {
        call.warn(&format!(
            "Bridge: {name} cannot be taken out of what it does"
        ));
        call.set("BRIDGERESULT", "FAILURE");
        return Ok(Next::Continue);
    };
    let bridged = match features::bridge(
        call,
        reached.channel(),
        bridge_options(call, options),
        &|_| {},
    )
    .await
    {
        Ok(bridged) => bridged,
        Err(departure) => {
            reached.give_up();
            call.set("BRIDGERESULT", "SUCCESS");
            return departure.result;
        }
    };
    reached.let_go(&bridged);
    call.set("BRIDGERESULT", "SUCCESS");
    match bridged.end {
        BridgeEnd::CallerHungUp => Err(Interrupt::Hangup.into()),
        BridgeEnd::Interrupted(interrupt) => Err(interrupt.into()),
        _ => {
            channel.check()?;
            let goto = channel.data_mut().after_bridge.take();
            Ok(goto.map_or(Next::Continue, Next::Jump))
        }
    }
}

fn bridge_options(call: &Call, options: &Options) -> BridgeOptions {
    let (caller_keys, callee_keys) = features::keys(call, options);
    let mut bridge = BridgeOptions {
        caller_keys,
        callee_keys,
        ..BridgeOptions::default()
    };
    let milliseconds = |text: &str| {
        let total = text.split(':').next().unwrap_or_default();
        total.trim().parse().ok().map(Duration::from_millis)
    };
    for (letter, read) in [
        ('L', &milliseconds as &dyn Fn(&str) -> Option<Duration>),
        ('S', &seconds),
    ] {
        let Some(text) = options.argument(letter) else {
            continue;
        };
        match read(text).filter(|limit| !limit.is_zero()) {
            Some(limit) => bridge.limit = Some(bridge.limit.map_or(limit, |old| old.min(limit))),
            None => call.warn(&format!(
                "Bridge: option {letter}({text}) is no length of time"
            )),
        }
    }
    bridge
}

/// Letters of `BridgeWait`.
const WAIT_OPTIONS: &str = "meSn";

async fn bridge_wait(call: Call) -> AppResult {
    let channel = call.channel();
    let options = call.options("BridgeWait", 2);
    call.warn_unknown("BridgeWait", &options, WAIT_OPTIONS);
    if !options.has('n') {
        channel.answer(Duration::ZERO).await?;
    }
    channel.check()?;
    end_background(&call);
    let until = options
        .argument('S')
        .and_then(seconds)
        .filter(|limit| !limit.is_zero())
        .map(|limit| Instant::now() + limit);
    let entertainment = options.argument('e').unwrap_or("m");
    let play = match entertainment.chars().next() {
        Some('m' | 'h') | None => {
            let class = options.argument('m').unwrap_or_default();
            let music = music_of(&call, class).await;
            music.and_then(|music| channel.start_play(music.sounds, music.repeat))
        }
        Some('r') => channel.start_tone("ring"),
        Some(_) => None,
    };
    let result = loop {
        match channel.wait_change(until).await {
            Err(interrupt) => break Err(interrupt.into()),
            Ok(_) if until.is_some_and(|at| Instant::now() >= at) => break Ok(Next::Continue),
            Ok(_) => channel.clear_digits(),
        }
    };
    if let Some(play) = play {
        channel.stop_play(play);
    }
    result
}
