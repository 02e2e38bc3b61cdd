//! Music on hold.

use std::time::Instant;

use strowger_core::channel::{Channel, Interrupt};
use strowger_core::sounds::{Cadence, MusicClass};
use strowger_media::{PlayId, Repeat};

use super::play::{audible, play_in_background, stop_background};
use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[
    app!(
        "MusicOnHold",
        "MusicOnHold([class[,seconds]])",
        "plays music",
        music
    ),
    app!(
        "StartMusicOnHold",
        "StartMusicOnHold([class])",
        "plays music in the background",
        start_music
    ),
    app!(
        "StopMusicOnHold",
        "StopMusicOnHold()",
        "ends music in the background",
        stop_background
    ),
    app!(
        "SetMusicOnHold",
        "SetMusicOnHold(class)",
        "sets the class of music for the channel",
        set_music
    ),
];

/// The music of a class; without a name the channel's own, and the default when there is no such class. Where nothing can
/// be played, a ring tone.
pub(super) async fn music_of(call: &Call, class: &str) -> Option<Cadence> {
    let channel = call.channel();
    let class = if class.is_empty() {
        channel.data().music_class.clone()
    } else {
        class.to_owned()
    };
    match channel.music(&class).await {
        Ok(music) => Some(Cadence {
            sounds: music.sounds,
            repeat: Repeat::Forever,
        }),
        Err(error) => {
            call.warn(&error.to_string());
            channel.tone("ring")
        }
    }
}

async fn music(call: Call) -> AppResult {
    let until = call
        .seconds(1)
        .filter(|length| !length.is_zero())
        .map(|length| Instant::now() + length);
    audible(&call, false).await?;
    let mut play = start(&call, call.arg(0)).await;
    let class = match call.arg(0) {
        "" => call.channel().data().music_class.clone(),
        class => class.to_owned(),
    };
    call.channel().tell_music(&class);
    let result = loop {
        match changed(call.channel(), until).await {
            Err(interrupt) => break Err(interrupt.into()),
            Ok(Some(digit)) => {
                // Classes may have a digit by which their listeners are called.
                let class = MusicClass::by_digit(&call.shared().snapshot(), digit);
                if let Some(class) = class {
                    play = start(&call, &class).await;
                }
            }
            Ok(None) => break Ok(Next::Continue),
        }
    };
    if let Some(play) = play {
        call.channel().stop_play(play);
    }
    call.channel().tell_music_over();
    result
}

async fn start(call: &Call, class: &str) -> Option<PlayId> {
    let music = music_of(call, class).await?;
    call.channel().start_play(music.sounds, music.repeat)
}

/// A digit; `None` when the time is over.
async fn changed(channel: &Channel, until: Option<Instant>) -> Result<Option<char>, Interrupt> {
    loop {
        if let Some(digit) = channel.take_digit() {
            return Ok(Some(digit));
        }
        channel.wait_change(until).await?;
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(None);
        }
    }
}

async fn start_music(call: Call) -> AppResult {
    if let Some(music) = music_of(&call, call.arg(0)).await {
        play_in_background(&call, music);
        call.channel().tell_music(call.arg(0));
    }
    Ok(Next::Continue)
}

async fn set_music(call: Call) -> AppResult {
    if call.arg(0).is_empty() {
        call.warn("SetMusicOnHold needs the name of a class");
    } else {
        call.arg(0)
            .clone_into(&mut call.channel().data_mut().music_class);
    }
    Ok(Next::Continue)
}
