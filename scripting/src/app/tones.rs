//! Tones.

use std::f64::consts::TAU;
use std::sync::Arc;

use strowger_core::channel::Channel;
use strowger_core::sounds::Cadence;
use strowger_dialplan::args;
use strowger_media::{Repeat, Sound};

use super::play::{audible, play_in_background, play_until, stop_background};
use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[
    app!(
        "PlayTones",
        "PlayTones(name|list)",
        "plays tones in the background",
        play_tones
    ),
    app!(
        "StopPlayTones",
        "StopPlayTones()",
        "ends tones in the background",
        stop_background
    ),
    app!(
        "Milliwatt",
        "Milliwatt([options])",
        "plays 1004 Hz until the call ends",
        play_milliwatt
    ),
];

/// Tones by their name in the country of the channel, or as a list such as `425/500,0/500`.
pub(super) fn tones_of(channel: &Channel, text: &str) -> Result<Cadence, String> {
    let text = args::unquote(text.trim());
    if let Some(cadence) = channel.tone(&text) {
        return Ok(cadence);
    }
    let sounds = &channel.shard().shared().sounds;
    sounds.tones(&text).map_err(|error| {
        format!("{error}; write dial, busy, ring, congestion, callwaiting, dialrecall, record, info, stutter, or a list such as 425/500,0/500")
    })
}

async fn play_tones(call: Call) -> AppResult {
    match tones_of(call.channel(), &call.data) {
        Ok(cadence) => play_in_background(&call, cadence),
        Err(error) => call.warn(&format!("PlayTones({}): {error}", call.data)),
    }
    Ok(Next::Continue)
}

async fn play_milliwatt(call: Call) -> AppResult {
    audible(&call, true).await?;
    let cadence = Cadence {
        sounds: vec![milliwatt()],
        repeat: Repeat::Forever,
    };
    play_until(&call, cadence, None).await
}

/// One second of 1004 Hz at 0 dBm0.
fn milliwatt() -> Arc<Sound> {
    let samples: Vec<i16> = (0..8000)
        .map(|index| ((TAU * 1004.0 * f64::from(index) / 8000.0).sin() * 22_000.0) as i16)
        .collect();
    Arc::new(Sound::from_samples(samples))
}
