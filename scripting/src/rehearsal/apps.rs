//! Applications of a rehearsal: which of them run as they are, and how the others end.

use std::rc::Rc;

use strowger_core::channel::{Cause, Interrupt, Location};

use super::{Answer, Rehearsal};
use crate::app::{App, AppResult, Next, Stop};
use crate::runner;
use crate::task::Task;

/// They only decide, and run as they are besides those that never wait.
const REAL: &[&str] = &[
    "Exec",
    "ExecIf",
    "ExecIfTime",
    "TryExec",
    "Macro",
    "MacroIf",
    "MacroExclusive",
    "MacroExit",
    "ForkCDR",
    "ResetCDR",
    "NoCDR",
    // What they wait for is asked of the test.
    "Read",
];

/// What an application tells by which variable, and what unless the test says.
const STATUS: &[(&str, &str, &str)] = &[
    ("AGI", "AGISTATUS", "SUCCESS"),
    ("DeadAGI", "AGISTATUS", "SUCCESS"),
    ("EAGI", "AGISTATUS", "SUCCESS"),
    ("AddQueueMember", "AQMSTATUS", "ADDED"),
    ("AMD", "AMDSTATUS", "HUMAN"),
    ("AttendedTransfer", "ATTENDEDTRANSFERSTATUS", "SUCCESS"),
    ("BackGround", "BACKGROUNDSTATUS", "SUCCESS"),
    ("BlindTransfer", "BLINDTRANSFERSTATUS", "SUCCESS"),
    ("Bridge", "BRIDGERESULT", "SUCCESS"),
    ("BridgeAdd", "BRIDGERESULT", "SUCCESS"),
    ("ChanIsAvail", "AVAILSTATUS", "1"),
    ("ChannelRedirect", "CHANNELREDIRECT_STATUS", "SUCCESS"),
    ("ConfBridge", "CONFBRIDGE_RESULT", "HANGUP"),
    ("ConfKick", "CONFKICKSTATUS", "SUCCESS"),
    ("ControlPlayback", "CPLAYBACKSTATUS", "SUCCESS"),
    ("Directory", "DIRECTORY_RESULT", "TIMEOUT"),
    ("MessageSend", "MESSAGE_SEND_STATUS", "SUCCESS"),
    ("Originate", "ORIGINATE_STATUS", "SUCCESS"),
    ("PauseQueueMember", "PQMSTATUS", "PAUSED"),
    ("Playback", "PLAYBACKSTATUS", "SUCCESS"),
    ("PrivacyManager", "PRIVACYMGRSTATUS", "SUCCESS"),
    ("ReadExten", "READEXTENSTATUS", "TIMEOUT"),
    ("ReceiveFAX", "FAXSTATUS", "SUCCESS"),
    ("RemoveQueueMember", "RQMSTATUS", "REMOVED"),
    ("SendFAX", "FAXSTATUS", "SUCCESS"),
    ("SendText", "SENDTEXTSTATUS", "SUCCESS"),
    ("System", "SYSTEMSTATUS", "SUCCESS"),
    ("Transfer", "TRANSFERSTATUS", "SUCCESS"),
    ("TrySystem", "SYSTEMSTATUS", "SUCCESS"),
    ("UnpauseQueueMember", "UPQMSTATUS", "UNPAUSED"),
    ("VoiceMail", "VMSTATUS", "SUCCESS"),
    ("WaitForNoise", "WAITSTATUS", "NOISE"),
    ("WaitForSilence", "WAITSTATUS", "SILENCE"),
    ("WaitUntil", "WAITUNTILSTATUS", "OK"),
];

/// The call ends with them.
const LAST: &[&str] = &[
    "Park",
    "BridgeWait",
    "Echo",
    "StreamEcho",
    "Milliwatt",
    "DISA",
    "PJSIPHangup",
];

/// What is played or said by its first argument.
const HEARD: &[&str] = &[
    "Playback",
    "BackGround",
    "ControlPlayback",
    "SayDigits",
    "SayNumber",
    "SayOrdinal",
    "SayMoney",
    "SayCountedNoun",
    "SayCountedAdj",
    "SayAlpha",
    "SayAlphaCase",
    "SayPhonetic",
    "SayUnixTime",
    "PlayTones",
    "BackgroundDetect",
    "Morsecode",
];

/// What answers the call first.
const ANSWERING: &[&str] = &[
    "Answer",
    "BackGround",
    "ControlPlayback",
    "Playback",
    "Record",
    "VoiceMail",
    "VoiceMailMain",
    "ConfBridge",
    "Authenticate",
    "Dictate",
    "Directory",
    "DISA",
    "SendFAX",
    "ReceiveFAX",
    "AMD",
    "BackgroundDetect",
    "WaitForSilence",
    "WaitForNoise",
    "ReadExten",
    "Morsecode",
    "SayDigits",
    "SayNumber",
    "SayAlpha",
    "SayUnixTime",
];

const DIAL_RESULTS: &[&str] = &[
    "ANSWER",
    "BUSY",
    "NOANSWER",
    "CANCEL",
    "CONGESTION",
    "CHANUNAVAIL",
    "DONTCALL",
    "TORTURE",
    "INVALIDARGS",
];

pub(super) fn run(
    this: &Rehearsal,
    task: &Rc<Task>,
    app: &App,
    data: &str,
    args: &[String],
) -> Option<AppResult> {
    if app.is_immediate() || REAL.contains(&app.name) {
        return None;
    }
    // Extension h runs when there is nobody left to hear anything.
    let argument = |index: usize| args.get(index).map(|text| text.trim()).unwrap_or_default();
    let first = if args.is_empty() {
        data.split(',').next().unwrap_or_default().trim()
    } else {
        argument(0)
    };
    let answer = this.next_result(app.name);
    if let Some(answer) = &answer {
        for (name, value) in &answer.set {
            if let Err(error) = task.assign(name, value) {
                this.fault(&format!("the test sets {name}: {error}"));
            }
        }
        if answer.status.as_deref() == Some("HANGUP") && !has_hangup_status(app.name) {
            return Some(hang_up(this, task));
        }
    }
    if ANSWERING.contains(&app.name) && !wants_no_answer(args) {
        task.channel.answer_bare();
    }
    if HEARD.contains(&app.name) {
        for sound in first.split('&').filter(|sound| !sound.is_empty()) {
            this.note_played(sound);
        }
    }
    Some(match app.name {
        "Dial" => dial(this, task, args, answer),
        "RetryDial" => dial(this, task, args.get(3..).unwrap_or_default(), answer),
        "Queue" => queue(this, task, args, answer),
        "Busy" => refused(task, Cause::USER_BUSY),
        "Congestion" => refused(task, Cause::NORMAL_CIRCUIT_CONGESTION),
        "BackGround" => background(this, task, answer),
        "WaitExten" => wait_exten(this, task),
        "WaitDigit" => wait_digit(this, task),
        "Record" => record(this, task, first, answer),
        "MixMonitor" => {
            let file = task.shared().monitor().join(first);
            set(task, "MIXMONITOR_FILENAME", &file.display().to_string());
            Ok(Next::Continue)
        }
        name if LAST.contains(&name) => {
            this.note("the call stays there");
            Ok(Next::End)
        }
        name => {
            tell_status(this, task, name, answer);
            Ok(Next::Continue)
        }
    })
}

fn set(task: &Task, name: &str, value: &str) {
    task.channel.set_variable(name, value);
}

fn has_hangup_status(app: &str) -> bool {
    app == "ConfBridge"
}

fn wants_no_answer(args: &[String]) -> bool {
    args.iter().skip(1).any(|options| {
        options
            .split(['|', '&'])
            .any(|option| matches!(option.trim(), "noanswer" | "skip" | "n" | "s"))
    })
}

fn hang_up(this: &Rehearsal, task: &Task) -> AppResult {
    this.note("the caller hangs up");
    task.channel.hangup(Cause::NORMAL_CLEARING);
    Err(Stop::Interrupted(Interrupt::Hangup))
}

fn refused(task: &Task, cause: Cause) -> AppResult {
    task.channel.data_mut().cause = cause;
    Ok(Next::End)
}

fn tell_status(this: &Rehearsal, task: &Task, app: &str, answer: Option<Answer>) {
    let Some((_, variable, usual)) = STATUS.iter().find(|(name, _, _)| *name == app) else {
        return;
    };
    let status = answer
        .and_then(|answer| answer.status)
        .unwrap_or_else(|| (*usual).to_owned());
    set(task, variable, &status);
    this.note(&status);
}

fn dial(this: &Rehearsal, task: &Task, args: &[String], answer: Option<Answer>) -> AppResult {
    let argument = |index: usize| args.get(index).map(|text| text.trim()).unwrap_or_default();
    for name in [
        "DIALSTATUS",
        "DIALEDPEERNUMBER",
        "DIALEDPEERNAME",
        "ANSWEREDTIME",
        "ANSWEREDTIME_MS",
        "DIALEDTIME",
        "DIALEDTIME_MS",
    ] {
        set(task, name, "");
    }
    let devices: Vec<&str> = argument(0)
        .split('&')
        .map(str::trim)
        .filter(|device| !device.is_empty())
        .collect();
    if devices.is_empty() {
        set(task, "DIALSTATUS", "INVALIDARGS");
        this.note("INVALIDARGS");
        return Ok(Next::End);
    }
    for device in &devices {
        this.note_dialled(device);
    }
    let answer = answer.unwrap_or_default();
    let status = answer.status.as_deref().unwrap_or("ANSWER");
    if !DIAL_RESULTS.contains(&status) {
        this.fault(&format!(
            "results of Dial: \"{status}\" is no DIALSTATUS; known are {}, and HANGUP for a caller who hangs up",
            DIAL_RESULTS.join(" ")
        ));
    }
    this.note(status);
    let number = devices
        .first()
        .and_then(|device| device.split_once('/'))
        .map_or("", |(_, number)| number);
    set(task, "DIALEDPEERNUMBER", number);
    set(task, "DIALEDTIME", &answer.talked.to_string());
    set(task, "DIALEDTIME_MS", &(answer.talked * 1000).to_string());
    set(task, "DIALSTATUS", status);
    let cause = match status {
        "ANSWER" => Cause::NORMAL_CLEARING,
        "BUSY" => Cause::USER_BUSY,
        "CONGESTION" => Cause::NORMAL_CIRCUIT_CONGESTION,
        "CHANUNAVAIL" => Cause::NO_ROUTE_DESTINATION,
        _ => Cause::NO_ANSWER,
    };
    task.channel.data_mut().cause = cause;
    if status != "ANSWER" {
        return Ok(Next::Continue);
    }
    task.channel.answer_bare();
    set(task, "ANSWEREDTIME", &answer.talked.to_string());
    set(task, "ANSWEREDTIME_MS", &(answer.talked * 1000).to_string());
    let device = devices.first().copied().unwrap_or_default();
    set(task, "DIALEDPEERNAME", &format!("{device}-00000000"));
    let options =
        strowger_dialplan::args::Options::parse(argument(2)).unwrap_or_else(|(_, options)| options);
    if options.has('g') {
        Ok(Next::Continue)
    } else {
        Ok(Next::End)
    }
}

fn queue(this: &Rehearsal, task: &Task, args: &[String], answer: Option<Answer>) -> AppResult {
    let argument = |index: usize| args.get(index).map(|text| text.trim()).unwrap_or_default();
    this.note_dialled(&format!("Queue/{}", argument(0)));
    set(task, "QUEUESTATUS", "");
    let status = answer
        .and_then(|answer| answer.status)
        .unwrap_or_else(|| "ANSWER".to_owned());
    this.note(&status);
    if status != "ANSWER" {
        set(task, "QUEUESTATUS", &status);
        return Ok(Next::Continue);
    }
    task.channel.answer_bare();
    if argument(1).contains('c') {
        set(task, "QUEUESTATUS", "CONTINUE");
        return Ok(Next::Continue);
    }
    Ok(Next::End)
}

fn background(this: &Rehearsal, task: &Task, answer: Option<Answer>) -> AppResult {
    tell_status(this, task, "BackGround", answer);
    match first_digit(this) {
        Some(digit) => Ok(Next::Digit(digit)),
        None => Ok(Next::Continue),
    }
}

/// The first digit of what is dialled next; the run loop asks for the rest.
fn first_digit(this: &Rehearsal) -> Option<char> {
    let dialled = this.dialled()?;
    this.note(&format!("{dialled} is dialled"));
    let mut chars = dialled.chars();
    let first = chars.next()?;
    this.put_back(chars.as_str());
    Some(first)
}

fn wait_exten(this: &Rehearsal, task: &Task) -> AppResult {
    if let Some(digit) = first_digit(this) {
        return Ok(Next::Digit(digit));
    }
    this.note("nothing is dialled");
    let here = task.channel.location();
    if task.exists(&here.context, &here.exten, here.priority.saturating_add(1)) {
        return Ok(Next::Continue);
    }
    runner::response_timeout(task).map_or_else(
        || {
            Err(Stop::Failed(format!(
                "nothing was dialled, and context {} has neither t nor e",
                here.context
            )))
        },
        |place: Location| Ok(Next::Jump(place)),
    )
}

fn wait_digit(this: &Rehearsal, task: &Task) -> AppResult {
    match this.dialled() {
        Some(digits) => {
            let first: String = digits.chars().take(1).collect();
            set(task, "WAITDIGITSTATUS", "DTMF");
            set(task, "WAITDIGITRESULT", &first);
            this.note(&format!("{first} is dialled"));
        }
        None => {
            set(task, "WAITDIGITSTATUS", "TIMEOUT");
            set(task, "WAITDIGITRESULT", "");
        }
    }
    Ok(Next::Continue)
}

fn record(this: &Rehearsal, task: &Task, file: &str, answer: Option<Answer>) -> AppResult {
    let name = file.rsplit_once(['.', ':']).map_or(file, |(name, _)| name);
    set(task, "RECORDED_FILE", name);
    let status = answer
        .and_then(|answer| answer.status)
        .unwrap_or_else(|| "DTMF".to_owned());
    set(task, "RECORD_STATUS", &status);
    this.note(&status);
    Ok(Next::Continue)
}
