//! Playing prompts, alone or while digits may be dialled, and sending digits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_core::channel::Played;
use strowger_core::sounds::Cadence;
use strowger_dialplan::Query;
use strowger_media::Sound;

use super::files;
use super::music::music_of;
use super::say::prompts_of;
use super::tones::tones_of;
use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[
    app!(
        "Playback",
        "Playback(file[&file...][,skip|noanswer|say|mix])",
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
        "WaitExten([seconds][,m(class)d[(tone)]])",
        "waits for digits",
        wait_exten
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
    let names = files
        .split('&')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    load_all(call, names, language).await
}

/// The same for names in a list.
pub(crate) async fn load_all<'n>(
    call: &Call,
    names: impl Iterator<Item = &'n str>,
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
    let rate = call.channel().sound_rate();
    let store = Arc::clone(&call.task.shared().sounds);
    let mut sounds = Vec::new();
    let mut complete = true;
    for name in names {
        if let Some(why) = files::refused(name) {
            call.warn(&format!("sound \"{name}\" is not played: {why}"));
            complete = false;
            continue;
        }
        match store.load_at(name, &language, rate).await {
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
pub(crate) async fn audible(call: &Call, answer: bool) -> Result<(), Stop> {
    call.channel().check()?;
    if call.channel().is_up() {
        return Ok(());
    }
    if call.task.rehearsal.is_some() {
        if answer {
            call.channel().answer_bare();
        }
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
    audible(&call, !has("noanswer")).await?;
    let (sounds, complete) = if has("say") || has("mix") {
        spoken(&call, has("mix")).await
    } else {
        load(&call, call.arg(0), None).await
    };
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    call.set(
        "PLAYBACKSTATUS",
        if complete { "SUCCESS" } else { "FAILED" },
    );
    Ok(Next::Continue)
}

/// Options `say` (`number:12`, `datetime:1700000000`) and `mix` (such words and names of sounds).
async fn spoken(call: &Call, mix: bool) -> (Vec<Arc<Sound>>, bool) {
    let mut names = Vec::new();
    let mut complete = true;
    for part in call
        .arg(0)
        .split('&')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let said = part
            .split_once(':')
            .and_then(|(mode, text)| prompts_of(call, mode, text));
        match said {
            Some(prompts) => names.extend(prompts),
            None if mix => names.push(part.to_owned()),
            None => {
                call.warn(&format!("Playback: \"{part}\" cannot be said; write number:12, digits:12, characters:ab, phonetic:ab, ordinal:2, money:3.20, date:, time: or datetime: with seconds since 1970"));
                complete = false;
            }
        }
    }
    let (sounds, loaded) = load_all(call, names.iter().map(String::as_str), None).await;
    (sounds, complete && loaded)
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
        Some(class) => music_of(&call, class).await,
        None => match options.argument('d') {
            Some(tone) if !tone.is_empty() => tones_of(call.channel(), tone)
                .inspect_err(|error| call.warn(&format!("WaitExten: {error}")))
                .ok(),
            _ if options.has('d') => call.channel().tone("dial"),
            _ => None,
        },
    };
    let play = play.and_then(|play| call.channel().start_play(play.sounds, play.repeat));
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

/// Plays until a moment (`None`: until the call ends).
pub(super) async fn play_until(call: &Call, cadence: Cadence, until: Option<Instant>) -> AppResult {
    let channel = call.channel();
    let play = channel.start_play(cadence.sounds, cadence.repeat);
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

/// Plays while the dialplan goes on.
pub(super) fn play_in_background(call: &Call, cadence: Cadence) {
    let play = call.channel().start_play(cadence.sounds, cadence.repeat);
    if play.is_none() && !call.channel().is_over() {
        call.warn("there is no media to play to yet; Answer or Progress come first");
    }
    call.task.background.set(play);
}

/// Ends what plays in the background: it would drown others who are to be heard.
pub(super) fn end_background(call: &Call) {
    if let Some(play) = call.task.background.take() {
        call.channel().stop_play(play);
    }
}

pub(super) async fn stop_background(call: Call) -> AppResult {
    if call.task.background.get().is_some() {
        call.channel().tell_music_over();
    }
    end_background(&call);
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
