//! Functions about the audio of the channel.

use strowger_core::channel::{Direction, VOLUME_MAX};

use super::text::is_yes;
use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::write(
        "TALK_DETECT",
        "TALK_DETECT(set|remove)",
        "tells events when the caller begins and ends to talk",
        talk_detect,
    ),
    Function::write(
        "VOLUME",
        "VOLUME(TX|RX[,p])",
        "makes what the caller hears or says louder or softer",
        volume,
    ),
    Function::write(
        "MUTEAUDIO",
        "MUTEAUDIO(in|out|all)",
        "replaces what the caller says or hears by silence",
        mute_audio,
    ),
    Function::write(
        "JITTERBUFFER",
        "JITTERBUFFER(fixed|adaptive|disabled)",
        "limits how long the caller's audio may wait",
        jitter_buffer,
    ),
];

/// Longest wait of the jitter buffer unless something else is said, and the limits of it, in milliseconds.
const JITTER_MS: u32 = 200;
const JITTER_MS_MIN: u32 = 20;
const JITTER_MS_MAX: u32 = 300;

/// Silence that ends a talk, in milliseconds, and the mean magnitude of voice, unless something else is said.
const TALK_SILENCE_MS: u32 = 2500;
const TALK_THRESHOLD: u16 = 256;

fn talk_detect(task: &Task, args: &str, value: &str) -> Result<(), String> {
    match argument(args, 0).to_ascii_lowercase().as_str() {
        "set" => {
            let number =
                |index: usize, what: &str, missing: u32, max: u32| match argument(value, index)
                    .as_str()
                {
                    "" => Ok(missing),
                    text => match text.parse() {
                        Ok(number) if (1..=max).contains(&number) => Ok(number),
                        _ => Err(format!(
                            "TALK_DETECT(set)={value}: the {what} is a number from 1 to {max}"
                        )),
                    },
                };
            let silence_ms = number(0, "silence in milliseconds", TALK_SILENCE_MS, 86_400_000)?;
            let threshold = number(1, "threshold of talk", TALK_THRESHOLD.into(), 32_767)?;
            let threshold = u16::try_from(threshold).unwrap_or(TALK_THRESHOLD);
            let done = task.channel.detect_talk(silence_ms, threshold);
            with_media(task, done, "TALK_DETECT(set)")
        }
        "remove" => {
            if task.channel.ignore_talk() || task.rehearsal.is_some() {
                Ok(())
            } else {
                Err("TALK_DETECT(remove): it was not set".to_owned())
            }
        }
        other => Err(format!("TALK_DETECT({other}): known are set, remove")),
    }
}

/// Where there is no media nothing is done; a rehearsal has none, and is not told.
fn with_media(task: &Task, done: bool, function: &str) -> Result<(), String> {
    if done || task.rehearsal.is_some() {
        Ok(())
    } else {
        Err(format!("{function}: the channel has no media"))
    }
}

fn volume(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let direction = match argument(args, 0).to_ascii_uppercase().as_str() {
        "RX" => Direction::Receive,
        "TX" => Direction::Transmit,
        other => return Err(format!("VOLUME({other}): known are TX, RX")),
    };
    let options = argument(args, 1);
    if let Some(unknown) = options.chars().find(|letter| *letter != 'p') {
        return Err(format!(
            "VOLUME: option {unknown} is not known; p lets the caller change the volume by * and #"
        ));
    }
    let volume = match value.trim().parse::<f32>() {
        Ok(volume) if volume.abs() <= VOLUME_MAX => volume,
        _ => {
            return Err(format!(
                "VOLUME={value}: the volume is a number from -{VOLUME_MAX} to {VOLUME_MAX}"
            ));
        }
    };
    let keys = options.contains('p');
    let done = task.channel.set_volume(direction, volume, keys);
    with_media(task, done, "VOLUME")
}

fn mute_audio(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let direction = match argument(args, 0).to_ascii_lowercase().as_str() {
        "in" => Direction::Receive,
        "out" => Direction::Transmit,
        "all" => Direction::Both,
        other => return Err(format!("MUTEAUDIO({other}): known are in, out, all")),
    };
    let done = task.channel.mute_audio(direction, is_yes(value));
    with_media(task, done, "MUTEAUDIO")
}

/// There always is a jitter buffer, which adapts itself; the size limits it.
fn jitter_buffer(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let kind = argument(args, 0).to_ascii_lowercase();
    let size = argument(value, 0);
    let ms = match (kind.as_str(), size.as_str()) {
        ("disabled", _) => JITTER_MS_MAX,
        ("fixed" | "adaptive", "" | "default") => JITTER_MS,
        ("fixed" | "adaptive", size) => size
            .parse::<u32>()
            .map_err(|_| {
                format!("JITTERBUFFER({kind})={value}: the size is a number of milliseconds or \"default\"")
            })?
            .clamp(JITTER_MS_MIN, JITTER_MS_MAX),
        _ => {
            return Err(format!(
                "JITTERBUFFER({kind}): known are fixed, adaptive, disabled"
            ));
        }
    };
    let done = task.channel.limit_jitter_buffer(ms);
    with_media(task, done, "JITTERBUFFER")
}
