//! What is heard in a call: playing to it, recording it, keys, silence.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strowger_core::channel::{Channel, Direction};
use strowger_core::record::{self, Side};
use strowger_media::{FileFormat, PlayId, Repeat};
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::calls::with_call;
use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::json;
use crate::recordings::{aside, is_uniqueid};
use crate::sounds;

/// Sounds of one request.
const SOUNDS_MAX: usize = 16;
/// Keys of one request.
const DIGITS_MAX: usize = 64;

/// What is to be played.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sounds": ["beep", "hello-world"]}))]
pub(super) struct PlayBody {
    /// Names as for `Playback`, one after the other.
    #[schema(min_items = 1, max_items = 16)]
    sounds: Vec<String>,
    /// The language of the call if missing.
    language: Option<String>,
}

/// What plays.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Playing {
    /// Names it, to stop it.
    play: String,
    /// Of all sounds together.
    duration_ms: u64,
}

fn no_media() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "the call has no media yet, or no more",
    )
}

/// Plays sounds to a call, over whatever it hears.
#[utoipa::path(post, path = "/api/v1/calls/{id}/play", tag = "media", request_body = PlayBody, params(
    ("id" = String, Path, description = "Unique id, or name of the channel")),
    responses((status = 202, body = Playing), (status = 404, description = "There is no such call", content_type = "application/problem+json"),
        (status = 400, description = "There is no such sound", content_type = "application/problem+json"),
        (status = 403, description = "A sound of another group", content_type = "application/problem+json"),
        (status = 409, description = "It has no media", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn play(mut on: On) -> Answered {
    let body: PlayBody = on.body().await?;
    if body.sounds.is_empty() || body.sounds.len() > SOUNDS_MAX {
        return Err(Problem::bad(format!(
            "sounds: 1 to {SOUNDS_MAX} are wanted"
        )));
    }
    let about = |channel: &Channel| (channel.data().language.clone(), channel.sound_rate());
    let (language, rate) = with_call(&on, on.place(0), about).await?;
    let language = body.language.unwrap_or(language);
    let mut found = Vec::new();
    for name in &body.sounds {
        // An absolute path could be any file of the machine.
        if name.starts_with('/') {
            return Err(Problem::bad(format!(
                "sounds: {name:?} is a path; a name is wanted"
            )));
        }
        if sounds::is_of_others(on.shared(), &on.caller, name) {
            let why = format!("sounds: {name:?} was brought by another group");
            return Err(Problem::new(StatusCode::FORBIDDEN, why));
        }
        let sound = on.shared().sounds.load_at(name, &language, rate).await;
        found.push(sound.map_err(|error| Problem::bad(format!("sounds: {error}")))?);
    }
    let duration_ms = found.iter().map(|sound| sound.duration_ms()).sum();
    let start = move |channel: &Channel| channel.start_play(found, Repeat::Once);
    let PlayId(number) = with_call(&on, on.place(0), start)
        .await?
        .ok_or_else(no_media)?;
    on.audit("playing");
    let playing = Playing {
        play: number.to_string(),
        duration_ms,
    };
    Ok(json(StatusCode::ACCEPTED, &playing))
}

/// Stops what plays.
#[utoipa::path(delete, path = "/api/v1/calls/{id}/play/{play}", tag = "media", params(
    ("id" = String, Path, description = "Unique id, or name of the channel"),
    ("play" = String, Path, description = "What plays")),
    responses((status = 204, description = "It plays no more"), (status = 404, description = "There is no such call", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn stop_play(on: On) -> Answered {
    let number = on.place(1).parse::<u64>();
    let number = number.map_err(|_| Problem::missing(format_args!("play {}", on.place(1))))?;
    with_call(&on, on.place(0), move |channel| {
        channel.stop_play(PlayId(number))
    })
    .await?;
    on.audit("play stopped");
    Ok(done())
}

/// What is to be recorded.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RecordBody {
    /// Name of the file in the folder of recordings, without its extension: letters, digits, `.`, `-`, `_`. The unique id of the call if missing.
    #[schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,149}$")]
    name: Option<String>,
    /// `wav`, `mp3`, `ogg`, `gsm` and the like; `wav`.
    format: Option<String>,
    /// Each side in a channel of its own, in WAV.
    stereo: bool,
    /// Go on with a file that is there.
    append: bool,
    /// Beep when it begins.
    beep: bool,
}

/// A recording that runs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingStarted {
    /// Names it, to stop it.
    recording: String,
    file: String,
}

/// Records a call.
#[utoipa::path(post, path = "/api/v1/calls/{id}/record", tag = "media", request_body = Option<RecordBody>, params(
    ("id" = String, Path, description = "Unique id, or name of the channel")),
    responses((status = 201, body = RecordingStarted), (status = 404, description = "There is no such call", content_type = "application/problem+json"),
        (status = 409, description = "There is such a recording, or none can be made", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn record(mut on: On) -> Answered {
    let body: RecordBody = on.body().await?;
    let id = with_call(&on, on.place(0), |channel| channel.uniqueid().to_string()).await?;
    if body.name.is_some() && on.caller.group().is_some() {
        // Whose a recording is, is known by the id of its call.
        let why = "name: recordings of a group are named after their call";
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    let name = body.name.unwrap_or(id);
    if !is_uniqueid(&name) {
        return Err(Problem::bad(
            "name: letters, digits, `.`, `-` and `_` are allowed, 150 of them at most",
        ));
    }
    let format = body.format.as_deref().unwrap_or("wav");
    if FileFormat::from_extension(format).is_none() {
        let why = format!(
            "format: {format:?} is not known; there are {}",
            record::FORMATS
        );
        return Err(Problem::bad(why));
    }
    let file = format!("{name}.{format}");
    let target = record::target(&file, on.shared().monitor());
    let target = target.map_err(|why| Problem::bad(format!("format: {why}")))?;
    if !body.append {
        let path = target.path.clone();
        if aside(move || path.exists()).await? {
            let why = format!(
                "name: there is a recording {file}, or it is being made; append goes on with one that is complete"
            );
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
    }
    let request = record::Request {
        mix: Some(target),
        stereo: body.stereo,
        append: body.append,
        beep_at_start: body.beep,
        ..record::Request::default()
    };
    let start = move |channel: &Channel| record::start(channel, request);
    let started = with_call(&on, on.place(0), start).await?;
    let (recording, _) = started.map_err(|error| {
        Problem::new(
            StatusCode::CONFLICT,
            format!("the call cannot be recorded: {error}"),
        )
    })?;
    on.audit(&format!("recording {file}"));
    Ok(json(
        StatusCode::CREATED,
        &RecordingStarted { recording, file },
    ))
}

/// Stops recordings of a call: one, or all.
#[utoipa::path(delete, path = "/api/v1/calls/{id}/record", tag = "media", params(
    ("id" = String, Path, description = "Unique id, or name of the channel"),
    ("recording" = Option<String>, Query, description = "Only this one")),
    responses((status = 204, description = "It is being completed"), (status = 404, description = "There is no such call or recording", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn stop_record(on: On) -> Answered {
    let id = on.query.given("recording").map(str::to_owned);
    let stop = move |channel: &Channel| record::stop(channel, id.as_deref()).is_some();
    if !with_call(&on, on.place(0), stop).await? {
        return Err(Problem::missing("such recording of this call"));
    }
    on.audit("recording stopped");
    Ok(done())
}

/// Puts silence into recordings of a call.
#[utoipa::path(post, path = "/api/v1/calls/{id}/record/pause", tag = "media", params(
    ("id" = String, Path, description = "Unique id, or name of the channel"),
    ("recording" = Option<String>, Query, description = "Only this one")),
    responses((status = 204, description = "Nothing is heard in it; its time goes on"), (status = 404, description = "There is no such call or recording", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn pause(on: On) -> Answered {
    hold(on, true).await
}

/// Records what is said again.
#[utoipa::path(post, path = "/api/v1/calls/{id}/record/resume", tag = "media", params(
    ("id" = String, Path, description = "Unique id, or name of the channel"),
    ("recording" = Option<String>, Query, description = "Only this one")),
    responses((status = 204, description = "It is heard again"), (status = 404, description = "There is no such call or recording", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn resume(on: On) -> Answered {
    hold(on, false).await
}

async fn hold(on: On, paused: bool) -> Answered {
    let id = on.query.given("recording").map(str::to_owned);
    let mute = move |channel: &Channel| record::mute(channel, id.as_deref(), Side::Both, paused);
    if !with_call(&on, on.place(0), mute).await? {
        return Err(Problem::missing("such recording of this call"));
    }
    on.audit(if paused {
        "recording paused"
    } else {
        "recording goes on"
    });
    Ok(done())
}

/// Keys to press.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"digits": "4711#"}))]
pub(super) struct DtmfBody {
    #[schema(pattern = "^[0-9*#ABCDabcd]{1,64}$")]
    digits: String,
    /// Of each; 100 if missing.
    #[serde(default = "hundred")]
    #[schema(minimum = 40, maximum = 2000)]
    duration_ms: u16,
    /// Between two; 100 if missing.
    #[serde(default = "hundred")]
    #[schema(minimum = 40, maximum = 2000)]
    gap_ms: u16,
    /// They count as pressed by the far end, instead of being sent to it.
    #[serde(default)]
    receive: bool,
}

fn hundred() -> u16 {
    100
}

/// Sends keys to the far end of a call, one after the other.
#[utoipa::path(post, path = "/api/v1/calls/{id}/dtmf", tag = "media", request_body = DtmfBody, params(
    ("id" = String, Path, description = "Unique id, or name of the channel")),
    responses((status = 202, description = "They are being sent"), (status = 404, description = "There is no such call", content_type = "application/problem+json"),
        (status = 409, description = "It has no way for keys", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn dtmf(mut on: On) -> Answered {
    let body: DtmfBody = on.body().await?;
    let digits: Vec<char> = body.digits.to_ascii_uppercase().chars().collect();
    let known = digits
        .iter()
        .all(|digit| "0123456789*#ABCD".contains(*digit));
    if digits.is_empty() || digits.len() > DIGITS_MAX || !known {
        let why = format!("digits: 1 to {DIGITS_MAX} of 0123456789*#ABCD are wanted");
        return Err(Problem::bad(why));
    }
    for (name, value) in [("duration_ms", body.duration_ms), ("gap_ms", body.gap_ms)] {
        if !(40..=2000).contains(&value) {
            return Err(Problem::bad(format!(
                "{name}: {value} is outside of 40 to 2000"
            )));
        }
    }
    let (duration, receive) = (body.duration_ms, body.receive);
    let press = move |channel: &Channel, digit: char| {
        if receive {
            channel.receive_digit(digit, u32::from(duration));
            true
        } else {
            channel.send_digit(digit, duration)
        }
    };
    let mut rest = digits.into_iter();
    let first = rest.next().unwrap_or('0');
    let sent = with_call(&on, on.place(0), move |channel| {
        press(channel, first).then(|| channel.name().to_string())
    });
    let name = sent.await?.ok_or_else(no_media)?;
    let shared = std::sync::Arc::clone(on.shared());
    let pause = Duration::from_millis(u64::from(body.duration_ms) + u64::from(body.gap_ms));
    tokio::spawn(async move {
        for digit in rest {
            tokio::time::sleep(pause).await;
            let pressed = shared.with_channel(&name, move |channel| press(channel, digit));
            if pressed.await != Some(true) {
                return;
            }
        }
    });
    on.audit("keys sent");
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({})))
}

/// Which side is to be silent.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// What the far end says.
    In,
    /// What it hears.
    Out,
    Both,
}

/// Silence in a call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MuteBody {
    direction: Way,
    muted: bool,
}

/// Silences a side of a call, or ends that.
#[utoipa::path(post, path = "/api/v1/calls/{id}/mute", tag = "media", request_body = MuteBody, params(
    ("id" = String, Path, description = "Unique id, or name of the channel")),
    responses((status = 204, description = "It is so"), (status = 404, description = "There is no such call", content_type = "application/problem+json"),
        (status = 409, description = "It has no media", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn mute(mut on: On) -> Answered {
    let body: MuteBody = on.body().await?;
    let direction = match body.direction {
        Way::In => Direction::Receive,
        Way::Out => Direction::Transmit,
        Way::Both => Direction::Both,
    };
    let mute = move |channel: &Channel| channel.mute_audio(direction, body.muted);
    if !with_call(&on, on.place(0), mute).await? {
        return Err(no_media());
    }
    on.audit(if body.muted { "muted" } else { "unmuted" });
    Ok(done())
}
