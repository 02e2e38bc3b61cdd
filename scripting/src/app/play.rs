//! Playing: prompts, digits, music and tones, and sending digits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_core::channel::Played;
use strowger_core::sounds::Tone;
use strowger_dialplan::Query;
use strowger_media::{Repeat, Sound};

use super::files;
use super::tones::{Tones, milliwatt, sound};
use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[
    app!(
        "Playback",
        "Playback(file[&file...][,skip|noanswer])",
        "plays sounds",
        playback
    ),
    app!(
        "BackGround",
        "BackGround(file[&file...][,snmp[,language[,context]]])",
        "plays sounds while digits may be dialled",
        background
    ),
    app!(
        "WaitExten",
        "WaitExten([seconds][,m(class)])",
        "waits for digits",
        wait_exten
    ),
    app!(
        "SayDigits",
        "SayDigits(digits)",
        "says digits one by one",
        say_digits
    ),
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
        "Milliwatt()",
        "plays 1004 Hz until the call ends",
        play_milliwatt
    ),
    app!(
        "SendDTMF",
        "SendDTMF(digits[,gap_ms[,duration_ms[,channel]]])",
        "sends digits",
        send_dtmf
    ),
];

/// Loads sounds joined with `&`; those that cannot be loaded are logged and left out. False if there was any such.
pub(super) async fn load(
    call: &Call,
    files: &str,
    language: Option<&str>,
) -> (Vec<Arc<Sound>>, bool) {
    let language = match language {
        Some(language) if !language.is_empty() => language.to_owned(),
        _ => call.channel().data().language.clone(),
    };
    let language = if language.contains('/') || files::refused(&language).is_some() {
        call.warn(&format!("\"{language}\" is no language"));
        "en".to_owned()
    } else {
        language
    };
    let store = Arc::clone(&call.task.shared().sounds);
    let mut sounds = Vec::new();
    let mut complete = true;
    for name in files
        .split('&')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if let Some(why) = files::refused(name) {
            call.warn(&format!("sound \"{name}\" is not played: {why}"));
            complete = false;
            continue;
        }
        match store.load(name, &language).await {
            Ok(sound) => sounds.push(sound),
            Err(error) => {
                call.warn(&error.to_string());
                complete = false;
            }
        }
    }
    (sounds, complete)
}

/// Makes sure that the caller can hear something: answers, or opens early media.
pub(super) async fn audible(call: &Call, answer: bool) -> Result<(), Stop> {
    call.channel().check()?;
    if call.channel().is_up() {
        return Ok(());
    }
    if answer {
        call.channel().answer(ANSWER_MEDIA_WAIT).await?;
    } else {
        call.channel().indicate_progress();
    }
    Ok(())
}

async fn playback(call: Call) -> AppResult {
    let options = call.arg(1).to_ascii_lowercase();
    let has = |option: &str| options.split(['&', ',', ' ']).any(|known| known == option);
    if call.arg(0).is_empty() {
        call.warn("Playback needs the name of a sound");
        call.set("PLAYBACKSTATUS", "FAILED");
        return Ok(Next::Continue);
    }
    if !call.channel().is_up() && has("skip") {
        call.set("PLAYBACKSTATUS", "SUCCESS");
        return Ok(Next::Continue);
    }
    if has("say") || has("mix") {
        call.warn("Playback: options say and mix are not available; sounds are played by name");
    }
    audible(&call, !has("noanswer")).await?;
    let (sounds, complete) = load(&call, call.arg(0), None).await;
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    call.set(
        "PLAYBACKSTATUS",
        if complete { "SUCCESS" } else { "FAILED" },
    );
    Ok(Next::Continue)
}

async fn background(call: Call) -> AppResult {
    let options = call.arg(1);
    let context = match call.arg(3) {
        "" => call.channel().location().context,
        context => context.to_owned(),
    };
    if call.arg(0).is_empty() {
        call.warn("BackGround needs the name of a sound");
        call.set("BACKGROUNDSTATUS", "FAILED");
        return Ok(Next::Continue);
    }
    if !call.channel().is_up() && options.contains('s') {
        call.set("BACKGROUNDSTATUS", "SUCCESS");
        return Ok(Next::Continue);
    }
    audible(&call, !options.contains('n')).await?;
    let (sounds, complete) = load(&call, call.arg(0), Some(call.arg(2))).await;
    call.set(
        "BACKGROUNDSTATUS",
        if complete { "SUCCESS" } else { "FAILED" },
    );
    let (never, single) = (options.contains('p'), options.contains('m'));
    let task = &call.task;
    let stops = |digit: char| {
        !never && (!single || task.exists(&context, digit.encode_utf8(&mut [0; 4]), 1))
    };
    let played = if sounds.is_empty() {
        // Nothing to hear, but a digit dialled ahead counts.
        let first = task
            .channel
            .data()
            .digits
            .front()
            .copied()
            .filter(|digit| stops(*digit));
        if first.is_some() {
            task.channel.take_digit();
        }
        first.map_or(Played::Complete, Played::Digit)
    } else {
        call.channel().play(sounds, true, &stops).await?
    };
    let Played::Digit(digit) = played else {
        return Ok(Next::Continue);
    };
    if context != call.channel().location().context {
        let digits = digit.to_string();
        let caller = task.caller();
        let plan = task.host.current();
        let query = Query::new(&context, &digits, 1)
            .caller(Some(&caller))
            .vars(&**task);
        if plan.exists(&query) && !plan.match_more(&query) {
            return Ok(Next::Jump(strowger_core::channel::Location::new(
                &context, &digits, 1,
            )));
        }
    }
    Ok(Next::Digit(digit))
}

async fn wait_exten(call: Call) -> AppResult {
    let (length, options) = call.data.split_once(',').unwrap_or((&call.data, ""));
    let wait = super::seconds(length)
        .filter(|wait| !wait.is_zero())
        .unwrap_or_else(|| call.channel().data().timeouts.response);
    let options =
        strowger_dialplan::args::Options::parse(options).unwrap_or_else(|(_, options)| options);
    let play = match options.argument('m') {
        Some(class) => {
            let sounds = music_of(&call, class).await;
            call.channel().start_play(sounds, Repeat::Forever)
        }
        None if options.has('d') => {
            let tone = call.shared().sounds.tone(Tone::Dial);
            call.channel().start_play(vec![tone], Repeat::Forever)
        }
        None => None,
    };
    let digit = call.channel().wait_digit(wait).await;
    if let Some(play) = play {
        call.channel().stop_play(play);
    }
    if let Some(digit) = digit? {
        return Ok(Next::Digit(digit));
    }
    let here = call.channel().location();
    if call
        .task
        .exists(&here.context, &here.exten, here.priority.saturating_add(1))
    {
        return Ok(Next::Continue);
    }
    crate::runner::response_timeout(&call.task)
        .map(Next::Jump)
        .ok_or_else(|| {
            Stop::Failed(format!(
                "nothing was dialled, and context {} has neither t nor e",
                here.context
            ))
        })
}

async fn say_digits(call: Call) -> AppResult {
    let names: Vec<String> = call
        .arg(0)
        .chars()
        .filter_map(|c| match c {
            '0'..='9' => Some(format!("digits/{c}")),
            '*' => Some("digits/star".to_owned()),
            '#' => Some("digits/pound".to_owned()),
            '-' => Some("digits/minus".to_owned()),
            _ => None,
        })
        .take(256)
        .collect();
    audible(&call, false).await?;
    let (sounds, _) = load(&call, &names.join("&"), None).await;
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    Ok(Next::Continue)
}

/// The music of a class; without a name the channel's own, and the default when there is no such class.
pub(super) async fn music_of(call: &Call, class: &str) -> Vec<Arc<Sound>> {
    let class = if class.is_empty() {
        call.channel().data().music_class.clone()
    } else {
        class.to_owned()
    };
    let store = Arc::clone(&call.task.shared().sounds);
    match store.music(&class).await {
        Ok(sounds) => sounds,
        Err(error) => {
            call.warn(&format!("{error}; the default class is played"));
            match store.music("default").await {
                Ok(sounds) => sounds,
                Err(error) => {
                    call.warn(&error.to_string());
                    vec![store.tone(Tone::Ring)]
                }
            }
        }
    }
}

async fn music(call: Call) -> AppResult {
    let until = call
        .seconds(1)
        .filter(|length| !length.is_zero())
        .map(|length| Instant::now() + length);
    audible(&call, false).await?;
    let sounds = music_of(&call, call.arg(0)).await;
    play_until(&call, sounds, until).await
}

async fn play_milliwatt(call: Call) -> AppResult {
    audible(&call, true).await?;
    play_until(&call, vec![milliwatt()], None).await
}

async fn play_until(call: &Call, sounds: Vec<Arc<Sound>>, until: Option<Instant>) -> AppResult {
    let channel = call.channel();
    let play = channel.start_play(sounds, Repeat::Forever);
    let result = loop {
        match channel.wait_change(until).await {
            Err(interrupt) => break Err(interrupt.into()),
            Ok(_) if until.is_some_and(|until| Instant::now() >= until) => {
                break Ok(Next::Continue);
            }
            Ok(_) => channel.clear_digits(),
        }
    };
    if let Some(play) = play {
        channel.stop_play(play);
    }
    result
}

fn play_in_background(call: &Call, sounds: Vec<Arc<Sound>>) {
    let play = call.channel().start_play(sounds, Repeat::Forever);
    if play.is_none() && !call.channel().is_over() {
        call.warn("there is no media to play to yet; Answer or Progress come first");
    }
    call.task.background.set(play);
}

async fn start_music(call: Call) -> AppResult {
    let sounds = music_of(&call, call.arg(0)).await;
    play_in_background(&call, sounds);
    Ok(Next::Continue)
}

async fn stop_background(call: Call) -> AppResult {
    if let Some(play) = call.task.background.take() {
        call.channel().stop_play(play);
    }
    Ok(Next::Continue)
}

async fn play_tones(call: Call) -> AppResult {
    let text = call.data.trim();
    let named = match text.to_ascii_lowercase().as_str() {
        "busy" => Some(Tone::Busy),
        "congestion" => Some(Tone::Congestion),
        "ring" => Some(Tone::Ring),
        "dial" => Some(Tone::Dial),
        _ => None,
    };
    if let Some(tone) = named {
        let tone = call.shared().sounds.tone(tone);
        play_in_background(&call, vec![tone]);
        return Ok(Next::Continue);
    }
    match Tones::parse(text) {
        Ok(tones) if tones.repeated.is_empty() => {
            let play = call
                .channel()
                .start_play(vec![sound(tones.once)], Repeat::Once);
            call.task.background.set(play);
        }
        Ok(tones) => {
            let mut samples = tones.once;
            samples.extend(tones.repeated);
            play_in_background(&call, vec![sound(samples)]);
        }
        Err(error) => {
            call.warn(&format!("PlayTones({text}): {error}; write busy, congestion, ring, dial, or a list such as 425/500,0/500"));
        }
    }
    Ok(Next::Continue)
}

/// Sends digits; `w` is a pause of half a second, `W` of one.
pub(super) async fn send_digits(
    channel: &strowger_core::channel::Channel,
    digits: &str,
    gap: Duration,
    duration_ms: u16,
) -> Result<(), Stop> {
    for digit in digits.chars() {
        match digit {
            'w' => channel.wait(Duration::from_millis(500)).await?,
            'W' => channel.wait(Duration::from_secs(1)).await?,
            '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d' => {
                channel.send_digit(digit.to_ascii_uppercase(), duration_ms);
                channel
                    .wait(Duration::from_millis(u64::from(duration_ms)) + gap)
                    .await?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn send_dtmf(call: Call) -> AppResult {
    let gap = Duration::from_millis(call.arg(1).parse().unwrap_or(250).min(10_000));
    let duration_ms = call.arg(2).parse().unwrap_or(100).clamp(40, 10_000);
    let target = match call.arg(3) {
        "" => call.channel().clone(),
        name => match call.channel().shard().channel_by_name(name) {
            Some(channel) => channel,
            None => {
                call.warn(&format!("SendDTMF: there is no channel {name} here"));
                return Ok(Next::Continue);
            }
        },
    };
    send_digits(&target, call.arg(0), gap, duration_ms).await?;
    Ok(Next::Continue)
}
