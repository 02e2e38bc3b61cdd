//! `SendFAX` and `ReceiveFAX`: the call is given to a fax machine until the document is through.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strowger_core::channel::Interrupt;
use strowger_core::events::Event;
use strowger_dialplan::args::Options;
use strowger_media::{Repeat, live_sound};
use tokio::sync::oneshot;

use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app, files};
use crate::fax::{Direction, Job, LEAD_MS, Report, SAMPLES_MAX};
use crate::func::fax::{self as options, set};
use crate::func::text::is_no;

pub(super) const APPS: &[App] = &[
    app!(
        "SendFAX",
        "SendFAX(file[&file...][,options])",
        "sends TIFF files, as one document, to a fax machine",
        send
    ),
    app!(
        "ReceiveFAX",
        "ReceiveFAX(file[,options])",
        "receives from a fax machine into a TIFF file",
        receive
    ),
];

/// Bytes of a path that a machine takes.
const PATH_BYTES_MAX: usize = 250;
/// Files of a document.
const FILES_MAX: usize = 64;
/// What has no meaning where fax is always audio, and what the log has in any case.
const IGNORED: &str = "dfFz";
/// Options that ask for polling, which Asterisk refuses too.
const POLLING: &str = "ac";

/// What the variables say at the end.
struct Outcome {
    report: Report,
    /// `NO_ERROR`, or what went wrong, in one word.
    error: &'static str,
}

impl Outcome {
    fn failed(error: &'static str, text: &str) -> Self {
        Self {
            report: Report {
                text: text.to_owned(),
                ..Report::default()
            },
            error,
        }
    }
}

async fn send(call: Call) -> AppResult {
    transfer(call, Direction::Send).await
}

async fn receive(call: Call) -> AppResult {
    transfer(call, Direction::Receive).await
}

async fn transfer(call: Call, direction: Direction) -> AppResult {
    let name = match direction {
        Direction::Send => "SendFAX",
        Direction::Receive => "ReceiveFAX",
    };
    let result = exchange(&call, direction, name).await;
    let (outcome, next) = match result {
        Ok(outcome) => (outcome, Ok(Next::Continue)),
        Err((outcome, stop)) => (outcome, Err(stop)),
    };
    note(&call, direction, &outcome);
    if outcome.error != "NO_ERROR" {
        call.warn(&format!("{name}: {}", outcome.report.text));
    }
    let report = outcome.report;
    call.shared().events.tell(|| {
        let event = Event::of(name, call.channel())
            .with(
                "LocalStationID",
                options::get(call.channel(), "localstationid"),
            )
            .with("RemoteStationID", "")
            .with("PagesTransferred", report.pages.to_string())
            .with("Resolution", resolution(report.resolution))
            .with("TransferRate", report.rate.to_string());
        with_names(event, &call, direction)
    });
    next
}

/// The names in a request.
fn names(call: &Call, direction: Direction) -> Vec<&str> {
    match direction {
        Direction::Send => call.arg(0).split('&').map(str::trim).collect(),
        Direction::Receive => vec![call.arg(0)],
    }
}

/// The file of a name; what is wrong with it otherwise, behind the word for it.
async fn file(
    call: &Call,
    direction: Direction,
    name: &str,
) -> Result<PathBuf, (&'static str, String)> {
    let invalid = |why: String| ("INVALID_ARGUMENTS", why);
    if name.is_empty() {
        return Err(invalid("the name of a file is missing".to_owned()));
    }
    let refused = match direction {
        Direction::Send => files::refused(name),
        Direction::Receive if name.contains('&') => Some("a fax is received into one file"),
        Direction::Receive => files::not_written(&call.task, name),
    };
    if let Some(why) = refused {
        return Err(invalid(format!("file \"{name}\": {why}")));
    }
    let path = call.shared().paths().data.join("fax").join(name);
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(invalid(format!(
            "file \"{name}\": its path is longer than {PATH_BYTES_MAX} bytes"
        )));
    }
    let shown = path.display().to_string();
    let wanted = path.clone();
    let look = move || match direction {
        // Opening a pipe would wait for who writes to it.
        Direction::Send if !std::fs::metadata(&wanted)?.is_file() => {
            Err(std::io::Error::other("no regular file"))
        }
        Direction::Send => std::fs::File::open(&wanted).map(|_| ()),
        Direction::Receive => std::fs::create_dir_all(wanted.parent().unwrap_or(Path::new("/"))),
    };
    let looked = call.shared().control.spawn_blocking(look).await;
    match looked {
        Ok(Ok(())) => Ok(path),
        Ok(Err(error)) => Err(("FILE_ERROR", format!("{shown}: {error}"))),
        Err(error) => Err(("FILE_ERROR", error.to_string())),
    }
}

/// What the machine is to do; what is wrong with the request otherwise.
async fn job(call: &Call, direction: Direction) -> Result<Job, (&'static str, String)> {
    let invalid = |why: &str| Err(("INVALID_ARGUMENTS", why.to_owned()));
    let names = names(call, direction);
    if names.len() > FILES_MAX {
        return invalid(&format!("{} files: {FILES_MAX} at most", names.len()));
    }
    let channel = call.channel();
    let fastest = options::rate(channel, "maxrate", options::RATE_MAX);
    if fastest < options::rate(channel, "minrate", options::RATE_MIN) {
        return invalid("maxrate is less than minrate");
    }
    let modems = options::modems(&options::get(channel, "modem"), fastest);
    if modems.is_empty() {
        return invalid("no modem is left: V.27ter, the slowest, begins at 4800 bits a second");
    }
    let mut files = Vec::with_capacity(names.len());
    let shown = names.iter().map(|name| (*name).to_owned()).collect();
    for name in names {
        files.push(file(call, direction, name).await?);
    }
    Ok(Job {
        channel: channel.name().to_string(),
        names: shown,
        direction,
        file: files.remove(0),
        more: files,
        ecm: !is_no(&options::get(channel, "ecm")),
        modems,
    })
}

/// The document goes through, or not; what is left to the dialplan where the call does not go on.
async fn exchange(
    call: &Call,
    direction: Direction,
    name: &str,
) -> Result<Outcome, (Outcome, Stop)> {
    let hung_up = |interrupt: Interrupt| {
        let outcome = Outcome::failed("HANGUP", "the call ended");
        (outcome, Stop::Interrupted(interrupt))
    };
    let given = Options::parse(call.arg(1)).unwrap_or_else(|(_, given)| given);
    if let Some(letter) = POLLING.chars().find(|letter| given.has(*letter)) {
        let why = format!("option {letter}: documents are not polled");
        return Ok(Outcome::failed("INVALID_ARGUMENTS", &why));
    }
    for letter in IGNORED.chars().filter(|letter| given.has(*letter)) {
        tracing::debug!(channel = %call.channel().name(), "{name}: option {letter} has no effect: fax is audio");
    }
    let tell = |status: &str| {
        if given.has('s') {
            tell_status(call, direction, status);
        }
    };
    let job = match job(call, direction).await {
        Ok(job) => job,
        Err((error, why)) => return Ok(Outcome::failed(error, &why)),
    };
    let channel = call.channel();
    channel.answer(ANSWER_MEDIA_WAIT).await.map_err(hung_up)?;
    tell("Allocating Resources");
    let Some((heard, _tapped)) = channel.tap_audio(SAMPLES_MAX) else {
        return Ok(Outcome::failed("CHANNEL_ERROR", "the channel has no media"));
    };
    let (sound, said) = live_sound(LEAD_MS);
    let fax = Arc::clone(call.task.host.fax());
    let started = {
        // A process is started by the control runtime, which waits for it.
        let control = call.shared().control.clone();
        let machine = control.spawn(async move { fax.start(&job) });
        machine.await
    };
    let not_started = |why: String| {
        tell("No Available Resource");
        Ok(Outcome::failed("INIT_ERROR", &why))
    };
    let machine = match started {
        Ok(Ok(machine)) => machine,
        Ok(Err(error)) => return not_started(error.to_string()),
        Err(error) => return not_started(error.to_string()),
    };
    set(channel, "sessionid", &machine.session.to_string());
    let Some(play) = channel.start_play(vec![Arc::new(sound)], Repeat::Once) else {
        return Ok(Outcome::failed("CHANNEL_ERROR", "the channel has no media"));
    };
    tell("FAX Transmission In Progress");
    // When this is dropped, the machine ends and says what it has.
    let (held, ended) = oneshot::channel();
    let mut held = Some(held);
    // Digits of a fax are noise.
    let mut running = call.shared().control.spawn(machine.run(heard, said, ended));
    let mut interrupted = None;
    let mut report = loop {
        tokio::select! {
            biased;
            report = &mut running => break report.unwrap_or_default(),
            changed = channel.wait_change(None), if interrupted.is_none() => {
                if let Err(interrupt) = changed {
                    // The tap ends with the leg; a call that only goes elsewhere goes on.
                    if interrupt != Interrupt::Hangup {
                        held = None;
                    }
                    interrupted = Some(interrupt);
                }
            }
        }
    };
    drop(held);
    channel.stop_play(play);
    channel.clear_digits();
    let error = match (report.code, interrupted) {
        (Some(0), _) => "NO_ERROR",
        (_, Some(_)) => "HANGUP",
        (None, None) if report.text.starts_with("it took longer") => "TIMEOUT",
        _ if report.bad_file => "FILE_ERROR",
        _ => "3RD_PARTY_ERROR",
    };
    // Of a hang-up the machine tells by itself: its input ended.
    let why = match interrupted.filter(|_| error == "HANGUP") {
        Some(Interrupt::Redirect) => "the call went elsewhere before the fax was through",
        Some(Interrupt::Timeout) => "the time of the call was over before the fax was through",
        Some(Interrupt::Hangup) | None => "",
    };
    if !why.is_empty() {
        why.clone_into(&mut report.text);
    }
    let outcome = Outcome { report, error };
    match interrupted {
        Some(interrupt) => Err((outcome, Stop::Interrupted(interrupt))),
        None => Ok(outcome),
    }
}

/// Option `s`: how far it is.
fn tell_status(call: &Call, direction: Direction, status: &str) {
    call.shared().events.tell(|| {
        let event = Event::of("FAXStatus", call.channel())
            .with(
                "Operation",
                match direction {
                    Direction::Send => "send",
                    Direction::Receive => "receive",
                },
            )
            .with("Status", status)
            .with(
                "LocalStationID",
                options::get(call.channel(), "localstationid"),
            );
        with_names(event, call, direction)
    });
}

/// A field for each file.
fn with_names(event: Event, call: &Call, direction: Direction) -> Event {
    let names = names(call, direction).into_iter().take(FILES_MAX);
    names.fold(event, |event, name| event.with("FileName", name))
}

/// `204x196`: pixels for each inch.
fn resolution((x, y): (u32, u32)) -> String {
    let inch = |meter: u32| (u64::from(meter) * 254 + 5000) / 10_000;
    if x == 0 || y == 0 {
        return String::new();
    }
    format!("{}x{}", inch(x), inch(y))
}

/// Sets what the dialplan reads.
fn note(call: &Call, direction: Direction, outcome: &Outcome) {
    let channel = call.channel();
    let report = &outcome.report;
    let succeeded = outcome.error == "NO_ERROR";
    // The variable and the function differ in the word for it.
    let (status, result) = if succeeded {
        ("SUCCESS", "SUCCESS")
    } else {
        ("FAILURE", "FAILED")
    };
    let text = match report.text.as_str() {
        "" if succeeded => "OK",
        "" => "the fax machine ended without a word",
        text => text,
    };
    let (pages, rate) = (report.pages.to_string(), report.rate.to_string());
    let resolution = resolution(report.resolution);
    let local = options::get(channel, "localstationid");
    let names = names(call, direction);
    let first = names.first().copied().unwrap_or_default();
    call.set("FAXSTATUS", status);
    for (option, variable, value) in [
        ("status", "", result),
        ("error", "FAXERROR", outcome.error),
        ("statusstr", "FAXSTATUSSTRING", text),
        ("pages", "FAXPAGES", &*pages),
        ("rate", "FAXBITRATE", &*rate),
        ("resolution", "FAXRESOLUTION", &*resolution),
        ("mode", "FAXMODE", "audio"),
        ("localstationid", "LOCALSTATIONID", &*local),
        ("remotestationid", "REMOTESTATIONID", ""),
        ("filename", "", first),
        ("filenames", "", &*names.join(",")),
    ] {
        set(channel, option, value);
        if !variable.is_empty() {
            call.set(variable, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_are_told_in_pixels_for_each_inch() {
        assert_eq!(resolution((8031, 3850)), "204x98");
        assert_eq!(resolution((8031, 7700)), "204x196");
        assert_eq!(resolution((0, 7700)), "");
    }
}
