//! `ControlPlayback`: a sound that the listener may skip in, pause, restart and stop.

use strowger_core::channel::{Controlled, PlayKeys};
use strowger_dialplan::args;

use super::play::{audible, load};
use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[app!(
    "ControlPlayback",
    "ControlPlayback(file[,skip_ms[,ff[,rew[,stop[,pause[,restart[,options]]]]]]])",
    "plays a sound that keys move, pause and stop",
    control_playback
)];

/// How far a key moves by default, in milliseconds.
const SKIP_MS: u32 = 3000;

async fn control_playback(call: Call) -> AppResult {
    for name in ["CPLAYBACKSTATUS", "CPLAYBACKOFFSET", "CPLAYBACKSTOPKEY"] {
        call.set(name, "");
    }
    let keys = keys(&call);
    // It is an error until the sound was played.
    call.set("CPLAYBACKSTATUS", "ERROR");
    if call.arg(0).is_empty() {
        call.warn("ControlPlayback needs the name of a sound");
        return Ok(Next::Continue);
    }
    audible(&call, true).await?;
    let (sounds, complete) = load(&call, call.arg(0), None).await;
    if !complete || sounds.is_empty() {
        return Ok(Next::Continue);
    }
    match call.channel().play_controlled(sounds, &keys).await? {
        Controlled::Complete => {
            call.set("CPLAYBACKSTATUS", "SUCCESS");
            call.set("CPLAYBACKOFFSET", "-1");
        }
        Controlled::Stopped { key, position_ms } => {
            call.set("CPLAYBACKSTATUS", "USERSTOPPED");
            call.set("CPLAYBACKOFFSET", &position_ms.to_string());
            call.set("CPLAYBACKSTOPKEY", &key.to_string());
        }
    }
    Ok(Next::Continue)
}

/// What the arguments say. `#` and `*` move unless they do something else.
fn keys(call: &Call) -> PlayKeys {
    let given = |index: usize| {
        let keys = call.arg(index);
        let is_key = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#');
        if keys.starts_with(is_key) {
            keys.to_owned()
        } else {
            String::new()
        }
    };
    let mut keys = PlayKeys {
        forward: given(2),
        rewind: given(3),
        stop: given(4),
        pause: given(5),
        restart: given(6),
        skip_ms: match call.arg(1).parse() {
            Ok(0) | Err(_) => SKIP_MS,
            Ok(skip_ms) => skip_ms,
        },
        start_ms: 0,
    };
    let taken = [&keys.rewind, &keys.stop, &keys.pause, &keys.restart].map(String::clone);
    if keys.forward.is_empty() && !taken.iter().any(|keys| keys.contains('#')) {
        keys.forward = "#".to_owned();
    }
    let taken = [&keys.forward, &keys.stop, &keys.pause, &keys.restart].map(String::clone);
    if keys.rewind.is_empty() && !taken.iter().any(|keys| keys.contains('*')) {
        keys.rewind = "*".to_owned();
    }
    let options = args::Options::parse(call.arg(7)).unwrap_or_else(|(_, options)| options);
    call.warn_unknown("ControlPlayback", &options, "o");
    if let Some(start) = options.argument('o').and_then(|ms| ms.trim().parse().ok()) {
        keys.start_ms = start;
    }
    keys
}
