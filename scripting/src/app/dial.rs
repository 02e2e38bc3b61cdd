//! `Dial`: rings devices, connects the one that answers, and tells the dialplan what became of it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strowger_core::call::{
    BridgeEnd, BridgeOptions, Bridged, DialOutcome, DialRequest, DialStatus, FirstSign,
    LimitWarning, PreDial, Progressed, RingMode,
};
use strowger_core::channel::{Cause, Channel, Interrupt, Location, Party, Presentation};
use strowger_core::dialplan::SubroutineEnd;
use strowger_dialplan::args;
use strowger_media::Sound;

use super::dial_options::{Request, place, subroutine};
use super::features::{self, Disconnect};
use super::jump::resolve;
use super::music::music_of;
use super::play::{end_background, load, send_digits};
use super::screening::{Screening, Verdict};
use super::tones::tones_of;
use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app};
use crate::func::text::is_yes;
use crate::runner;
use crate::task::Task;

pub(super) const APPS: &[App] = &[app!(
    "Dial",
    "Dial(technology/resource[&...][,timeout[,options[,url]]])",
    "calls devices and connects the one that answers",
    dial
)];

/// What `Dial` sets, emptied at its start in this order.
const RESULTS: &[&str] = &[
    "DIALSTATUS",
    "DIALEDPEERNUMBER",
    "DIALEDPEERNAME",
    "ANSWEREDTIME",
    "ANSWEREDTIME_MS",
    "DIALEDTIME",
    "DIALEDTIME_MS",
    "RINGTIME",
    "RINGTIME_MS",
    "PROGRESSTIME",
    "PROGRESSTIME_MS",
];

/// Gap and length of digits sent by option `D`.
const DIGIT_GAP: Duration = Duration::from_millis(250);
const DIGIT_MS: u16 = 100;

async fn dial(call: Call) -> AppResult {
    for name in RESULTS {
        call.set(name, "");
    }
    let Some(request) = Request::parse(&call.args) else {
        call.set("DIALSTATUS", "INVALIDARGS");
        call.warn("Dial needs a device to call, for example Dial(PJSIP/100,30)");
        return Ok(Next::End);
    };
    for warning in &request.warnings {
        call.warn(&format!("Dial: {warning}"));
    }
    for note in &request.notes {
        tracing::debug!(channel = %call.channel().name(), note, "Dial");
    }
    if request.options.has('C') {
        call.channel()
            .data_mut()
            .cdr
            .reset(std::time::SystemTime::now());
    }
    if let Some(text) = request.options.argument('B') {
        let (location, arguments) = subroutine_place(&call.task, text)?;
        let end = runner::subroutine_here(&call.task, location, &arguments).await;
        report_subroutine(&call, 'B', &end);
        call.channel().check()?;
    }
    let exit_context = match call.channel().variable("EXITCONTEXT") {
        Some(context) if !context.is_empty() => context,
        _ => call.channel().location().context,
    };
    let screening = match Screening::of(&call, &request.options).await? {
        None => None,
        Some(Ok(screening)) => Some(screening),
        // The callee wants to hear nothing of this caller.
        Some(Err(status)) => {
            call.set("DIALSTATUS", status);
            return Ok(Next::Continue);
        }
    };
    let code = features::disconnect_code(&call).filter(|_| request.options.has('H'));
    let disconnect = Rc::new(Disconnect::new(code));
    let outgoing = outgoing(&call, &request, &exit_context, &disconnect).await?;
    let outcome = call.channel().dial(outgoing).await;
    call.task.legs.borrow_mut().clone_from(&outcome.legs);
    match outcome.answered.clone() {
        Some(peer) => answered(&call, &request, &outcome, peer, screening.as_ref()).await,
        None => unanswered(&call, &outcome, &exit_context, disconnect.is_hit()),
    }
}

/// What to ask of the core.
async fn outgoing(
    call: &Call,
    request: &Request,
    exit_context: &str,
    disconnect: &Rc<Disconnect>,
) -> Result<DialRequest, Stop> {
    let options = &request.options;
    let ring = if let Some(class) = options.argument('m') {
        music_of(call, class)
            .await
            .map_or(RingMode::Always, RingMode::Playing)
    } else if let Some(tone) = options.argument('r').filter(|tone| !tone.is_empty()) {
        match tones_of(call.channel(), tone) {
            Ok(tone) => RingMode::Playing(tone),
            Err(error) => {
                call.warn(&format!("Dial: option r({tone}): {error}"));
                RingMode::Always
            }
        }
    } else if options.has('r') {
        RingMode::Always
    } else if options.has('R') {
        RingMode::UntilMedia
    } else {
        RingMode::Signalled
    };
    let caller = ['o', 'f']
        .into_iter()
        .filter_map(|letter| options.argument(letter))
        .find(|text| !text.is_empty())
        .map(|text| Party {
            presentation: call.channel().data().caller.presentation,
            ..Party::parse(text)
        });
    let caller = shown(call, request, caller);
    let digits = options.has('d');
    let exit_digit = (digits || disconnect.code.is_some()).then(|| {
        let disconnect = Rc::clone(disconnect);
        let task = Rc::clone(&call.task);
        let context = exit_context.to_owned();
        let ends: Rc<dyn Fn(char) -> bool> = Rc::new(move |digit| {
            (digits && task.exists(&context, digit.encode_utf8(&mut [0; 4]), 1))
                || disconnect.push(digit)
        });
        ends
    });
    let pre_dial = match options.argument('b') {
        Some(text) => {
            let (location, arguments) = subroutine_place(&call.task, text)?;
            let run: PreDial = Rc::new(move |channel: Channel| {
                let dialplan = channel.shard().dialplan();
                let run = dialplan.subroutine(channel, location.clone(), arguments.clone());
                Box::pin(async move {
                    run.await;
                })
            });
            Some(run)
        }
        None => None,
    };
    Ok(DialRequest {
        begun: None,
        progressed: Some(telling_progress(call.channel())),
        destinations: request.devices.clone(),
        timeout: request.timeout,
        ring,
        caller,
        exit_digit,
        answered_elsewhere: options.has('c'),
        pre_dial,
        forward_context: (!options.has('i')).then(|| {
            let set = call.channel().variable("FORWARD_CONTEXT");
            set.filter(|context| !context.is_empty())
                .unwrap_or_else(|| call.channel().location().context)
        }),
        forwarding_ends_timeout: options.has('z'),
        unrecorded: false,
        unanswered_cause: options.argument('Q').and_then(|text| {
            let cause = Cause::parse(text.trim());
            if cause.is_none() {
                call.warn(&format!("Dial: option Q({text}): this is no cause"));
            }
            cause
        }),
    })
}

/// Options `s` and `u`: the tag and presentation of the identity that devices see.
fn shown(call: &Call, request: &Request, caller: Option<Party>) -> Option<Party> {
    let text = |letter: char| {
        let text = request.options.argument(letter);
        text.map(str::trim).filter(|text| !text.is_empty())
    };
    let (tag, presentation) = (text('s'), text('u'));
    if tag.is_none() && presentation.is_none() {
        return caller;
    }
    let mut party = caller.unwrap_or_else(|| call.channel().data().caller.clone());
    if let Some(tag) = tag {
        tag.clone_into(&mut party.tag);
    }
    match presentation {
        None => {}
        Some(word) if word.starts_with("allowed") => party.presentation = Presentation::Allowed,
        Some(word) if word.starts_with("prohib") => party.presentation = Presentation::Prohibited,
        Some("unavailable") => party.presentation = Presentation::Unavailable,
        Some(word) => call.warn(&format!(
            "Dial: option u({word}): known are allowed, prohib and unavailable"
        )),
    }
    Some(party)
}

/// A subroutine of options `b` and `B`: its place and arguments.
fn subroutine_place(task: &Task, text: &str) -> Result<(Location, Vec<String>), Stop> {
    let text = place(text);
    let (destination, arguments) = args::parse_gosub(&text);
    Ok((
        resolve(task, &destination)?,
        arguments.map(args::split).unwrap_or_default(),
    ))
}

fn report_subroutine(call: &Call, option: char, end: &SubroutineEnd) {
    if *end == SubroutineEnd::Missing {
        call.warn(&format!(
            "Dial: the subroutine of option {option} does not exist"
        ));
    }
}

fn set_duration(channel: &Channel, name: &str, length: Duration) {
    channel.set_variable(name, &length.as_secs().to_string());
    channel.set_variable(&format!("{name}_MS"), &length.as_millis().to_string());
}

/// Sets `RINGTIME` and `PROGRESSTIME` as they happen: who looks at a call that rings finds them.
fn telling_progress(channel: &Channel) -> Progressed {
    let channel = channel.clone();
    Rc::new(move |first, time| {
        let name = match first {
            FirstSign::Ringing => "RINGTIME",
            FirstSign::EarlyMedia => "PROGRESSTIME",
        };
        set_duration(&channel, name, time);
    })
}

fn unanswered(
    call: &Call,
    outcome: &DialOutcome,
    exit_context: &str,
    disconnected: bool,
) -> AppResult {
    let channel = call.channel();
    channel.data_mut().cause = outcome.cause;
    if !outcome.number.is_empty() {
        call.set("DIALEDPEERNUMBER", &outcome.number);
    }
    call.set("DIALSTATUS", outcome.status.as_str());
    channel.check()?;
    match outcome.exit_digit {
        // Option H: the caller gave up with the disconnect code, and the dialplan goes on.
        Some(_) if disconnected => Ok(Next::Continue),
        Some(digit) => Ok(Next::Jump(Location::new(
            exit_context,
            &digit.to_string(),
            1,
        ))),
        None => Ok(Next::Continue),
    }
}

/// Somebody answered: what the options want before the bridge, the bridge, and what comes after it.
async fn answered(
    call: &Call,
    request: &Request,
    outcome: &DialOutcome,
    peer: Channel,
    screening: Option<&Screening>,
) -> AppResult {
    let channel = call.channel();
    let options = &request.options;
    call.set("DIALSTATUS", DialStatus::Answer.as_str());
    call.set("DIALEDPEERNAME", &peer.name());
    call.set("DIALEDPEERNUMBER", &outcome.number);
    peer.set_variable("DIALEDPEERNUMBER", &outcome.number);
    if let Some(screening) = screening {
        let verdict = match screening.ask(call, options, &peer).await {
            Ok(verdict) => verdict,
            Err(stop) => {
                peer.hangup(Cause::NORMAL_CLEARING);
                return Err(stop);
            }
        };
        if let Verdict::Refused(status) = verdict {
            peer.hangup(Cause::NORMAL_CLEARING);
            call.set("DIALSTATUS", status);
            return Ok(Next::Continue);
        }
    }
    end_background(call);
    if options.has('a') {
        channel.answer(Duration::ZERO).await?;
    }
    match before_bridge(call, request, &peer).await {
        Ok(Prepared::Bridge) => {}
        Ok(Prepared::Done(next)) => return Ok(next),
        Err(stop) => {
            peer.hangup(Cause::NORMAL_CLEARING);
            return Err(stop);
        }
    }
    if let Err(interrupt) = channel.answer(Duration::ZERO).await {
        peer.hangup(Cause::NORMAL_CLEARING);
        return Err(interrupt.into());
    }
    channel.set_variable("BRIDGEPEER", &peer.name());
    peer.set_variable("BRIDGEPEER", &channel.name());
    let bridge = bridge_options(call, request).await;
    let tell_times = |heard: features::Heard<'_>| {
        if !matches!(heard, features::Heard::Talked) {
            return;
        }
        let dialled = outcome.started.elapsed();
        let answered = dialled.saturating_sub(outcome.answer_time.unwrap_or_default());
        set_duration(channel, "ANSWEREDTIME", answered);
        set_duration(channel, "DIALEDTIME", dialled);
        call.set("DIALSTATUS", DialStatus::Answer.as_str());
    };
    let bridged = features::bridge(call, &peer, bridge, &tell_times).await;
    match bridged {
        Ok(Bridged { end, peer }) => after_bridge(call, request, &peer, end).await,
        // Transferred or parked.
        Err(departure) => departure.result,
    }
}

enum Prepared {
    Bridge,
    /// There is nothing to bridge; the peer is taken care of.
    Done(Next),
}

/// Options `A`, `D`, `G` and `U`.
async fn before_bridge(call: &Call, request: &Request, peer: &Channel) -> Result<Prepared, Stop> {
    let channel = call.channel();
    let options = &request.options;
    if let Some(files) = options.argument('A') {
        let (callee, caller) = files.split_once(':').unwrap_or((files, ""));
        let to_callee = load(call, callee, None).await.0;
        let to_caller = load(call, caller, None).await.0;
        if !to_caller.is_empty() {
            channel.answer(ANSWER_MEDIA_WAIT).await?;
        }
        let (first, second) = tokio::join!(announce(peer, to_callee), announce(channel, to_caller));
        second?;
        if first.is_err() {
            return Ok(peer_left(call, request, peer));
        }
    }
    if let Some(digits) = options.argument('D') {
        let mut parts = digits.split(':');
        let (called, calling) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if parts.next().is_some_and(|digits| !digits.is_empty()) {
            call.warn("Dial: digits of option D for the time before the answer are not sent");
        }
        if send_digits(peer, called, DIGIT_GAP, DIGIT_MS)
            .await
            .is_err()
        {
            return Ok(peer_left(call, request, peer));
        }
        if !calling.is_empty() {
            channel.answer(Duration::ZERO).await?;
            send_digits(channel, calling, DIGIT_GAP, DIGIT_MS).await?;
        }
    }
    if let Some(text) = options.argument('G') {
        let target = place(text);
        let target = resolve(&call.task, &args::parse_goto(&target))?;
        channel.answer(Duration::ZERO).await?;
        peer.go_to(Location {
            priority: target.priority.saturating_add(1),
            ..target.clone()
        });
        return Ok(Prepared::Done(Next::Jump(target)));
    }
    if let Some(text) = options.argument('U') {
        return check_with_peer(call, request, peer, text).await;
    }
    if let Some(text) = options.argument('M') {
        return check_with_macro(call, request, peer, text).await;
    }
    channel.check()?;
    if peer.is_over() {
        return Ok(peer_left(call, request, peer));
    }
    Ok(Prepared::Bridge)
}

async fn announce(channel: &Channel, sounds: Vec<Arc<Sound>>) -> Result<(), Interrupt> {
    if sounds.is_empty() {
        return Ok(());
    }
    channel.play(sounds, false, &|_| false).await.map(drop)
}

/// The peer hung up before it was connected.
fn peer_left(call: &Call, request: &Request, peer: &Channel) -> Prepared {
    peer.hangup(Cause::NORMAL_CLEARING);
    call.channel().data_mut().cause = Cause::NORMAL_CLEARING;
    Prepared::Done(if request.options.has('g') {
        Next::Continue
    } else {
        Next::End
    })
}

/// Option `U`: a subroutine on the answered channel decides.
async fn check_with_peer(
    call: &Call,
    request: &Request,
    peer: &Channel,
    text: &str,
) -> Result<Prepared, Stop> {
    let (name, arguments) = subroutine(text);
    let location = if name.contains(',') {
        resolve(&call.task, &args::parse_goto(&name))?
    } else {
        Location::new(&name, "s", 1)
    };
    let end = call
        .channel()
        .shard()
        .dialplan()
        .subroutine(peer.clone(), location, arguments)
        .await;
    report_subroutine(call, 'U', &end);
    call.channel().check()?;
    if peer.is_over() || end == SubroutineEnd::Ended {
        return Ok(peer_left(call, request, peer));
    }
    let result = peer.variable("GOSUB_RESULT").unwrap_or_default();
    verdict(call, peer, &result, "GOSUB_RESULT")
}

/// What a subroutine on the answered channel decided.
fn verdict(call: &Call, peer: &Channel, result: &str, name: &str) -> Result<Prepared, Stop> {
    let (word, rest) = result.split_once(':').unwrap_or((result, ""));
    let status = match word.trim().to_ascii_uppercase().as_str() {
        "" => return Ok(Prepared::Bridge),
        "ABORT" => {
            peer.hangup(Cause::NORMAL_CLEARING);
            return Ok(Prepared::Done(Next::End));
        }
        "BUSY" => "BUSY",
        "CONGESTION" => "CONGESTION",
        // The peer is let go, and the caller goes on as if nobody had answered.
        "CONTINUE" => "NOANSWER",
        "GOTO" => {
            peer.hangup(Cause::NORMAL_CLEARING);
            let target = place(rest);
            return Ok(Prepared::Done(Next::Jump(resolve(
                &call.task,
                &args::parse_goto(&target),
            )?)));
        }
        other => {
            call.warn(&format!("Dial: {name} \"{other}\" is not known; known are ABORT, BUSY, CONGESTION, CONTINUE, GOTO:place"));
            return Ok(Prepared::Bridge);
        }
    };
    peer.hangup(Cause::NORMAL_CLEARING);
    call.set("DIALSTATUS", status);
    Ok(Prepared::Done(Next::Continue))
}

/// Option `M`: the same with a macro, which ends with its last step.
async fn check_with_macro(
    call: &Call,
    request: &Request,
    peer: &Channel,
    text: &str,
) -> Result<Prepared, Stop> {
    let (name, arguments) = subroutine(text);
    let location = Location::new(&format!("macro-{name}"), "s", 1);
    let dialplan = call.channel().shard().dialplan();
    let end = dialplan.subroutine(peer.clone(), location, arguments).await;
    report_subroutine(call, 'M', &end);
    call.channel().check()?;
    if peer.is_over() {
        return Ok(peer_left(call, request, peer));
    }
    let result = peer.variable("MACRO_RESULT").unwrap_or_default();
    verdict(call, peer, &result, "MACRO_RESULT")
}

async fn bridge_options(call: &Call, request: &Request) -> BridgeOptions {
    let options = &request.options;
    let variable = |name: &str| {
        call.channel()
            .variable(name)
            .filter(|value| !value.is_empty())
    };
    let (caller_keys, callee_keys) = features::keys(call, options);
    let mut bridge = BridgeOptions {
        caller_keys,
        callee_keys,
        ..BridgeOptions::default()
    };
    let Some(limit) = request.limit else {
        return bridge;
    };
    bridge.limit = Some(limit.total);
    if let Some(file) = variable("LIMIT_CONNECT_FILE") {
        let sounds = load(call, &file, None).await.0;
        // A caller who hangs up meanwhile is noticed by the bridge.
        let _ = announce(call.channel(), sounds).await;
    }
    if let Some(before) = limit.warn_before {
        let sounds = match variable("LIMIT_WARNING_FILE") {
            Some(file) => load(call, &file, None).await.0,
            None => Vec::new(),
        };
        let sounds = if sounds.is_empty() {
            vec![call.shared().sounds.beep()]
        } else {
            sounds
        };
        let to_callee = variable("LIMIT_PLAYAUDIO_CALLEE").is_some_and(|value| is_yes(&value));
        let to_caller =
            variable("LIMIT_PLAYAUDIO_CALLER").map_or(!to_callee, |value| is_yes(&value));
        bridge.warning = Some(LimitWarning {
            before,
            repeat: limit.repeat,
            sounds,
            to_caller,
            to_callee,
        });
    }
    bridge
}

async fn after_bridge(call: &Call, request: &Request, peer: &Channel, end: BridgeEnd) -> AppResult {
    let channel = call.channel();
    let options = &request.options;
    if end == BridgeEnd::PeerTaken {
        channel.check()?;
        return Ok(if options.has('g') {
            Next::Continue
        } else {
            Next::End
        });
    }
    let caller_left = matches!(
        end,
        BridgeEnd::CallerHungUp | BridgeEnd::Interrupted(Interrupt::Hangup)
    );
    if caller_left && options.has('F') && !peer.is_over() {
        let here = channel.location();
        let target = match options.argument('F') {
            Some(text) if !text.is_empty() => resolve(&call.task, &args::parse_goto(&place(text)))?,
            _ => Location {
                priority: here.priority.saturating_add(1),
                ..here
            },
        };
        peer.go_to(target);
        return Err(Interrupt::Hangup.into());
    }
    let cause = peer
        .data()
        .ended
        .map_or(Cause::NORMAL_CLEARING, |ended| ended.cause);
    peer.hangup(cause);
    if options.has('e') {
        peer.set_location(Location::new(&channel.location().context, "h", 1));
        runner::run_h_of(&call.task.host, peer).await;
    }
    match end {
        BridgeEnd::CallerHungUp => Err(Interrupt::Hangup.into()),
        BridgeEnd::Interrupted(interrupt) => Err(interrupt.into()),
        BridgeEnd::Limit => {
            if let Some(file) = channel
                .variable("LIMIT_TIMEOUT_FILE")
                .filter(|file| !file.is_empty())
            {
                let sounds = load(call, &file, None).await.0;
                announce(channel, sounds).await?;
            }
            channel.data_mut().cause = cause;
            Ok(if options.has('g') {
                Next::Continue
            } else {
                Next::End
            })
        }
        BridgeEnd::CalleeHungUp
        | BridgeEnd::CallerDisconnected
        | BridgeEnd::CalleeDisconnected
        | BridgeEnd::PeerTaken
        | BridgeEnd::WaiterLeft
        | BridgeEnd::Feature { .. } => {
            channel.data_mut().cause = cause;
            channel.check()?;
            Ok(if options.has('g') {
                Next::Continue
            } else {
                Next::End
            })
        }
    }
}
