//! `SendFAX` and `ReceiveFAX`: the call is given to a fax machine until the document is through.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strowger_core::channel::Interrupt;
use strowger_core::events::Event;
use strowger_dialplan::args::Options;
use strowger_media::{Repeat, live_sound};

use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app, files};
use crate::fax::{Direction, Job, LEAD_MS, Report, SAMPLES_MAX};
use crate::func::fax::{self as options, set};
use crate::func::text::is_no;

pub(super) const APPS: &[App] = &[
    app!(
        "SendFAX",
        "SendFAX(file[,options])",
        "sends a TIFF file to a fax machine",
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
/// What has no meaning where fax is audio, or is not told apart here.
const IGNORED: &str = "dfFsz";

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
    note(&call, &outcome);
    if outcome.error != "NO_ERROR" {
        call.warn(&format!("{name}: {}", outcome.report.text));
    }
    let report = outcome.report;
    call.shared().events.tell(|| {
        Event::of(name, call.channel())
            .with(
                "LocalStationID",
                options::get(call.channel(), "localstationid"),
            )
            .with("RemoteStationID", "")
            .with("PagesTransferred", report.pages.to_string())
            .with("Resolution", resolution(report.resolution))
            .with("TransferRate", report.rate.to_string())
            .with("FileName", call.arg(0))
    });
    next
}

/// The file of a request; what is wrong with it otherwise.
async fn file(call: &Call, direction: Direction) -> Result<PathBuf, String> {
    let name = call.arg(0);
    if name.is_empty() {
        return Err("the name of a file is missing".to_owned());
    }
    if name.contains('&') {
        return Err("one file is one document: put its pages into one TIFF file".to_owned());
    }
    let refused = match direction {
        Direction::Send => files::refused(name),
        Direction::Receive => files::not_written(&call.task, name),
    };
    if let Some(why) = refused {
        return Err(format!("file \"{name}\": {why}"));
    }
    let path = call.shared().paths().data.join("fax").join(name);
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(format!(
            "the path of the file is longer than {PATH_BYTES_MAX} bytes"
        ));
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
        Ok(Err(error)) => Err(format!("{shown}: {error}")),
        Err(error) => Err(error.to_string()),
    }
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
    let file = match file(call, direction).await {
        Ok(file) => file,
        Err(why) => return Ok(Outcome::failed("INVALID_ARGUMENTS", &why)),
    };
    if let Ok(given) = Options::parse(call.arg(1)) {
        for letter in IGNORED.chars().filter(|letter| given.has(*letter)) {
            tracing::debug!(channel = %call.channel().name(), "{name}: option {letter} has no effect: fax is audio");
        }
    }
    let channel = call.channel();
    channel.answer(ANSWER_MEDIA_WAIT).await.map_err(hung_up)?;
    let job = Job {
        direction,
        file,
        ecm: !is_no(&options::get(channel, "ecm")),
        modems: options::modems(&options::get(channel, "modem")),
    };
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
    let machine = match started {
        Ok(Ok(machine)) => machine,
        Ok(Err(error)) => return Ok(Outcome::failed("INIT_ERROR", &error.to_string())),
        Err(error) => return Ok(Outcome::failed("INIT_ERROR", &error.to_string())),
    };
    let Some(play) = channel.start_play(vec![Arc::new(sound)], Repeat::Once) else {
        return Ok(Outcome::failed("CHANNEL_ERROR", "the channel has no media"));
    };
    // Digits of a fax are noise.
    let mut running = call.shared().control.spawn(machine.run(heard, said));
    let mut interrupted = None;
    let report = loop {
        tokio::select! {
            biased;
            report = &mut running => break report.unwrap_or_default(),
            changed = channel.wait_change(None), if interrupted.is_none() => {
                if let Err(interrupt) = changed {
                    // The tap ends with the leg; a call that only goes elsewhere takes it back here.
                    if interrupt != Interrupt::Hangup {
                        running.abort();
                    }
                    interrupted = Some(interrupt);
                }
            }
        }
    };
    channel.stop_play(play);
    channel.clear_digits();
    let text = &report.text;
    let error = match (report.code, interrupted) {
        (Some(0), _) => "NO_ERROR",
        (_, Some(_)) => "HANGUP",
        (None, None) if text.starts_with("it took longer") => "TIMEOUT",
        _ => "3RD_PARTY_ERROR",
    };
    let outcome = Outcome { report, error };
    match interrupted {
        Some(interrupt) => Err((outcome, Stop::Interrupted(interrupt))),
        None => Ok(outcome),
    }
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
fn note(call: &Call, outcome: &Outcome) {
    let channel = call.channel();
    let report = &outcome.report;
    let succeeded = outcome.error == "NO_ERROR";
    let status = if succeeded { "SUCCESS" } else { "FAILED" };
    let text = match report.text.as_str() {
        "" if succeeded => "OK",
        "" => "the fax machine ended without a word",
        text => text,
    };
    let (pages, rate) = (report.pages.to_string(), report.rate.to_string());
    let resolution = resolution(report.resolution);
    let local = options::get(channel, "localstationid");
    for (option, variable, value) in [
        ("status", "FAXSTATUS", status),
        ("error", "FAXERROR", outcome.error),
        ("statusstr", "FAXSTATUSSTRING", text),
        ("pages", "FAXPAGES", &*pages),
        ("rate", "FAXBITRATE", &*rate),
        ("resolution", "FAXRESOLUTION", &*resolution),
        ("mode", "FAXMODE", "audio"),
        ("localstationid", "LOCALSTATIONID", &*local),
        ("remotestationid", "REMOTESTATIONID", ""),
        ("filename", "", call.arg(0)),
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
