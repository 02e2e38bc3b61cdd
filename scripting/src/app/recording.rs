//! `MixMonitor` and `StopMixMonitor`: recording a call while it goes on.

use std::time::Duration;

use strowger_core::record::{self, Request, StartError, Target};
use strowger_dialplan::{args, subst};

use super::{App, AppResult, Call, Next, Stop, app, files};

/// How long `StopMixMonitor` waits for the file to be complete.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// Seconds between two beeps of option `B` without a number.
const BEEP_EVERY: f64 = 15.0;
/// Between two beeps is at least this.
const BEEP_EVERY_MIN: Duration = Duration::from_secs(1);

/// Mailboxes of option `m`.
const MAILBOXES_MAX: usize = 32;

pub(super) const APPS: &[App] = &[
    app!(
        "MixMonitor",
        "MixMonitor(file.extension[,options[,command]])",
        "records the call",
        mix_monitor
    )
    .reaching(),
    app!(
        "StopMixMonitor",
        "StopMixMonitor([id])",
        "ends recording",
        stop_mix_monitor
    ),
];

/// -4 to 4, as options `v`, `V` and `W` have it.
fn volume(call: &Call, options: &args::Options, letter: char) -> i8 {
    let Some(text) = options.argument(letter) else {
        return 0;
    };
    match text.trim().parse() {
        Ok(gain @ -4..=4) => gain,
        _ => {
            call.warn(&format!(
                "MixMonitor: option {letter}({text}): the volume is a number from -4 to 4"
            ));
            0
        }
    }
}

/// Seconds as the argument of an option has them.
fn seconds(call: &Call, options: &args::Options, letter: char, missing: f64) -> Duration {
    let text = options.argument(letter).unwrap_or_default().trim();
    let parsed = if text.is_empty() {
        Ok(missing)
    } else {
        text.parse::<f64>()
    };
    match parsed.map(Duration::try_from_secs_f64) {
        Ok(Ok(seconds)) => seconds,
        _ => {
            call.warn(&format!(
                "MixMonitor: option {letter}({text}): this is no number of seconds"
            ));
            Duration::ZERO
        }
    }
}

const KNOWN: &str = "abBcdDeimnopPrsStvVW";

async fn mix_monitor(call: Call) -> AppResult {
    let options = call.options("MixMonitor", 1);
    call.warn_unknown("MixMonitor", &options, KNOWN);
    let mailboxes = options.argument('m').unwrap_or_default();
    let mailboxes = mailboxes.split(['&', ',']).map(str::trim);
    let mailboxes = mailboxes.filter(|name| !name.is_empty());
    let mailboxes = mailboxes.filter_map(|name| {
        let found = call.shared().mailbox(name);
        if found.is_none() {
            call.warn(&format!("MixMonitor: there is no mailbox \"{name}\""));
        }
        found
    });
    let mailboxes: Vec<_> = mailboxes.take(MAILBOXES_MAX).collect();
    let name = call.arg(0);
    let given = |letter| options.argument(letter).filter(|name| !name.is_empty());
    let names = [
        Some(name).filter(|name| !name.is_empty()),
        given('r'),
        given('t'),
    ];
    if names.iter().all(Option::is_none) {
        return Err(Stop::Failed(
            "MixMonitor needs the name of a file, for example ${UNIQUEID}.wav".to_owned(),
        ));
    }
    let mut targets: [Option<Target>; 3] = [None, None, None];
    for (name, target) in names.into_iter().zip(&mut targets) {
        let Some(name) = name else {
            continue;
        };
        if let Some(why) = files::not_written(&call.task, name.trim()) {
            call.warn(&format!(
                "MixMonitor: the call is not recorded: \"{name}\": {why}"
            ));
            return Ok(Next::Continue);
        }
        match record::target(name, call.shared().monitor()) {
            Ok(found) => *target = Some(found),
            Err(error) => call.warn(&format!("MixMonitor: {error}")),
        }
    }
    // Before the command is substituted, which may name the file.
    match targets.iter().flatten().next() {
        Some(target) => call.set("MIXMONITOR_FILENAME", &target.path.display().to_string()),
        None => return Ok(Next::Continue),
    }
    let [mix, receive, transmit] = targets;
    let stereo = options.has('D');
    if let Some(target) = mix.as_ref().filter(|_| stereo)
        && !target.format.takes_stereo()
    {
        call.warn(
            "MixMonitor: option D: this format has one channel; use raw. Both sides are mixed",
        );
    }
    let both = volume(&call, &options, 'W');
    let (volume_receive, volume_transmit) = match both {
        0 => (volume(&call, &options, 'v'), volume(&call, &options, 'V')),
        both => (both, both),
    };
    let command = call.args.get(2).map(|command| {
        subst::substitute(
            &args::unquote(command.trim()).replace("^{", "${"),
            &*call.task,
        )
    });
    let request = Request {
        mix,
        receive,
        transmit,
        stereo,
        append: options.has('a'),
        only_bridged: options.has('b'),
        unpadded: options.has('n'),
        skip: seconds(&call, &options, 's', 0.0),
        volume_receive,
        volume_transmit,
        beep_at_start: options.has('p'),
        beep_at_end: options.has('P'),
        beep_every: options
            .has('B')
            .then(|| seconds(&call, &options, 'B', BEEP_EVERY).max(BEEP_EVERY_MIN)),
        delete: options.has('d'),
        command,
        mailboxes,
    };
    match record::start(call.channel(), request) {
        Ok((id, problems)) => {
            for problem in problems {
                call.warn(&format!("MixMonitor: {problem}"));
            }
            if let Some(variable) = given('i') {
                call.set(variable, &id);
            }
        }
        // What was not recorded is nothing for the command to work on.
        Err(error @ (StartError::TooMany | StartError::Failed(_))) => {
            call.warn(&format!("MixMonitor: the call is not recorded: {error}"));
        }
    }
    Ok(Next::Continue)
}

async fn stop_mix_monitor(call: Call) -> AppResult {
    let id = Some(call.arg(0)).filter(|id| !id.is_empty());
    let Some(stopped) = record::stop(call.channel(), id) else {
        call.warn(&format!(
            "StopMixMonitor: there is no recording {}",
            id.unwrap_or_default()
        ));
        return Ok(Next::Continue);
    };
    if !stopped.closed(CLOSE_WAIT).await {
        call.warn("StopMixMonitor: the file is not complete yet: the disk is slow");
    }
    Ok(Next::Continue)
}
