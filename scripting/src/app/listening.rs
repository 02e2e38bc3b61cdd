//! `BackgroundDetect`, `WaitForSilence`, `WaitForNoise`, `AMD`: what the caller says, as far as it is loud or silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_core::channel::{Interrupt, Listening, Location, Played};
use strowger_dialplan::Query;
use strowger_media::attention::{
    FRAME_MS, Machine, MachineSetup, Nature, Noticed, VoiceWatch, Watch,
};
use strowger_media::{Repeat, Sound};

use super::play::{audible, load};
use super::{App, AppResult, Call, Next, Stop, app};

pub(super) const APPS: &[App] = &[
    app!(
        "BackgroundDetect",
        "BackgroundDetect(file[,sil[,min[,max[,analysistime]]]])",
        "plays a sound until somebody talks",
        background_detect
    ),
    app!(
        "WaitForSilence",
        "WaitForSilence([ms[,iterations[,timeout]]])",
        "waits until the caller is silent",
        wait_for_silence
    ),
    app!(
        "WaitForNoise",
        "WaitForNoise([ms[,iterations[,timeout]]])",
        "waits until the caller is heard",
        wait_for_noise
    ),
    app!(
        "AMD",
        "AMD([initial_silence[,greeting[,after_greeting_silence[,total_analysis_time[,min_word_length[,between_words_silence[,maximum_number_of_words[,silence_threshold[,maximum_word_length[,file]]]]]]]]]])",
        "finds out whether a person or an answering machine speaks",
        amd
    ),
];

/// Mean magnitude of a frame from which it is voice, unless something else is said.
const THRESHOLD: u16 = 256;
/// Where the settings of `AMD` are.
const AMD_FILE: &str = "amd.conf";
/// Rounds of `WaitForSilence` at most.
const ITERATIONS_MAX: u32 = 1000;

/// A number of milliseconds at `index`; what is missing or no number is `missing`, told in the log in the second case.
fn milliseconds(call: &Call, application: &str, index: usize, missing: u32) -> u32 {
    let text = call.arg(index);
    if text.is_empty() {
        return missing;
    }
    text.parse().unwrap_or_else(|_| {
        call.warn(&format!(
            "{application}: \"{text}\" is no number of milliseconds; {missing} is taken"
        ));
        missing
    })
}

/// Begins to listen; the call is over where there is nothing to listen to.
fn listen(call: &Call, what: Watch) -> Result<Listening, Stop> {
    let listening = call.channel().listen_for(what);
    listening.ok_or(Stop::Interrupted(Interrupt::Hangup))
}

fn too_many(application: &str) -> Stop {
    Stop::Failed(format!(
        "{application}: too many others listen to this call already"
    ))
}

/// What counts as talk.
struct Talk {
    silence_ms: u32,
    min_ms: u32,
    max_ms: u32,
    analysis_ms: u32,
}

impl Talk {
    /// Waits for talk that is long enough and not too long, with silence behind it; how long it was.
    async fn heard(&self, listening: &Listening) -> Result<u32, Stop> {
        let mut began_ms = None;
        loop {
            match listening.next(None).await? {
                Some(Noticed::Voice { at_ms }) => began_ms = Some(at_ms.saturating_sub(FRAME_MS)),
                Some(Noticed::Silence { at_ms }) if at_ms <= self.analysis_ms => {
                    let length_ms = began_ms
                        .take()
                        .map_or(0, |began| at_ms.saturating_sub(began + self.silence_ms));
                    if length_ms > self.min_ms && length_ms < self.max_ms {
                        return Ok(length_ms);
                    }
                }
                Some(Noticed::Refused) => return Err(too_many("BackgroundDetect")),
                _ => {}
            }
        }
    }
}

async fn background_detect(call: Call) -> AppResult {
    const NAME: &str = "BackgroundDetect";
    if call.arg(0).is_empty() {
        call.warn("BackgroundDetect needs the name of a sound");
        return Ok(Next::Continue);
    }
    let talk = Talk {
        silence_ms: milliseconds(&call, NAME, 1, 1000),
        min_ms: milliseconds(&call, NAME, 2, 100),
        max_ms: milliseconds(&call, NAME, 3, u32::MAX),
        analysis_ms: milliseconds(&call, NAME, 4, u32::MAX),
    };
    audible(&call, true).await?;
    let (sounds, _) = load(&call, call.arg(0), None).await;
    if sounds.is_empty() {
        return Ok(Next::Continue);
    }
    let watch = VoiceWatch::new(THRESHOLD, FRAME_MS, talk.silence_ms);
    let listening = listen(&call, Watch::Voice(watch))?;
    let context = call.channel().location().context;
    let begins_a_number = |digit: char| {
        let digit = digit.to_string();
        let caller = call.task.caller();
        let query = Query::new(&context, &digit, 1)
            .caller(Some(&caller))
            .vars(&*call.task);
        call.task.plan().can_match(&query)
    };
    let heard = tokio::select! {
        biased;
        heard = talk.heard(&listening) => heard?,
        played = call.channel().play(sounds, false, &begins_a_number) => {
            return Ok(match played? {
                Played::Digit(digit) => Next::Digit(digit),
                Played::Complete => Next::Continue,
            });
        }
    };
    call.set("TALK_DETECTED", &heard.to_string());
    if call.task.exists(&context, "talk", 1) {
        return Ok(Next::Jump(Location::new(&context, "talk", 1)));
    }
    Ok(Next::Continue)
}

async fn wait_for_silence(call: Call) -> AppResult {
    wait_for(&call, "WaitForSilence", true).await
}

async fn wait_for_noise(call: Call) -> AppResult {
    wait_for(&call, "WaitForNoise", false).await
}

async fn wait_for(call: &Call, application: &str, silence: bool) -> AppResult {
    let ms = milliseconds(call, application, 0, 1000);
    let iterations = call.arg(1).parse().unwrap_or(1).clamp(1, ITERATIONS_MAX);
    let timeout = call.seconds(2).filter(|timeout| !timeout.is_zero());
    audible(call, true).await?;
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let result = rounds(call, application, silence, (ms, iterations), until).await;
    call.channel().clear_digits();
    let status = match &result {
        Ok(true) if silence => "SILENCE",
        Ok(true) => "NOISE",
        Ok(false) => "TIMEOUT",
        Err(Stop::Interrupted(Interrupt::Hangup)) => "HANGUP",
        Err(_) => "",
    };
    call.set("WAITSTATUS", status);
    result.map(|_| Next::Continue)
}

/// False: the time is over.
async fn rounds(
    call: &Call,
    application: &str,
    silence: bool,
    (ms, iterations): (u32, u32),
    until: Option<Instant>,
) -> Result<bool, Stop> {
    for _ in 0..iterations {
        let watch = if silence {
            VoiceWatch::new(THRESHOLD, u32::MAX, ms)
        } else {
            VoiceWatch::new(THRESHOLD, ms, u32::MAX)
        };
        let listening = listen(call, Watch::Voice(watch))?;
        match listening.next(until).await? {
            None => return Ok(false),
            Some(Noticed::Refused) => return Err(too_many(application)),
            Some(_) => {}
        }
    }
    Ok(true)
}

/// The settings of `AMD`: as its data says, else as the table says.
fn machine_setup(call: &Call) -> MachineSetup {
    let snapshot = call.shared().snapshot();
    let configured = |name: &str| {
        let mut rows = snapshot.statics.iter().rev();
        rows.find(|row| {
            row.filename == AMD_FILE && row.category == "general" && row.var_name == name
        })
        .map(|row| row.var_val.trim().to_owned())
    };
    let usual = MachineSetup::default();
    let number = |index: usize, name: &str, missing: u32| {
        let configured = configured(name).and_then(|text| text.parse().ok());
        milliseconds(call, "AMD", index, configured.unwrap_or(missing))
    };
    let threshold = number(7, "silence_threshold", usual.silence_threshold.into());
    MachineSetup {
        initial_silence: number(0, "initial_silence", usual.initial_silence),
        greeting: number(1, "greeting", usual.greeting),
        after_greeting_silence: number(2, "after_greeting_silence", usual.after_greeting_silence),
        total_analysis_time: number(3, "total_analysis_time", usual.total_analysis_time),
        min_word_length: number(4, "min_word_length", usual.min_word_length),
        between_words_silence: number(5, "between_words_silence", usual.between_words_silence),
        maximum_number_of_words: number(
            6,
            "maximum_number_of_words",
            usual.maximum_number_of_words,
        ),
        silence_threshold: u16::try_from(threshold).unwrap_or(u16::MAX),
        maximum_word_length: number(8, "maximum_word_length", usual.maximum_word_length),
    }
}

/// What the called party hears meanwhile: the tenth argument, else `playback_file` of the table.
async fn accompaniment(call: &Call) -> Vec<Arc<Sound>> {
    let file = match call.arg(9) {
        "" => {
            let snapshot = call.shared().snapshot();
            let mut rows = snapshot.statics.iter().rev();
            rows.find(|row| row.filename == AMD_FILE && row.var_name == "playback_file")
                .map(|row| row.var_val.trim().to_owned())
                .unwrap_or_default()
        }
        file => file.to_owned(),
    };
    if file.is_empty() {
        return Vec::new();
    }
    load(call, &file, None).await.0
}

async fn amd(call: Call) -> AppResult {
    let setup = machine_setup(&call);
    let sounds = accompaniment(&call).await;
    let play = (!sounds.is_empty())
        .then(|| call.channel().start_play(sounds, Repeat::Once))
        .flatten();
    let judged = judge(&call, setup).await;
    if let Some(play) = play {
        call.channel().stop_play(play);
    }
    let (status, cause) = match &judged {
        Ok(Noticed::Verdict(verdict)) => (
            match verdict.nature {
                Nature::Human => "HUMAN",
                Nature::Machine => "MACHINE",
                Nature::NotSure => "NOTSURE",
            },
            verdict.cause.to_string(),
        ),
        Err(Stop::Interrupted(Interrupt::Hangup)) => ("HANGUP", String::new()),
        _ => ("", String::new()),
    };
    call.set("AMDSTATUS", status);
    call.set("AMDCAUSE", &cause);
    judged.map(|_| Next::Continue)
}

async fn judge(call: &Call, setup: MachineSetup) -> Result<Noticed, Stop> {
    let listening = listen(call, Watch::Machine(Machine::new(setup)))?;
    // The media thread counts the time; this only guards against an event that was lost.
    let limit = Duration::from_millis(setup.total_analysis_time.into()) + Duration::from_secs(2);
    match listening.next(Some(Instant::now() + limit)).await? {
        Some(Noticed::Refused) => Err(too_many("AMD")),
        Some(noticed) => Ok(noticed),
        None => {
            call.warn("AMD: nothing was heard of the analysis; the media thread is overloaded");
            Ok(Noticed::Verdict(strowger_media::attention::Verdict {
                nature: Nature::NotSure,
                cause: strowger_media::attention::Cause::TooLong(setup.total_analysis_time),
            }))
        }
    }
}
