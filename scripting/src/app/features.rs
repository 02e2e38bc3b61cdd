//! What parties of a bridge do with keys: transfer, park, record (`features.conf`, options `t` `T` `k` `K` `w` `W` `x` `X` of
//! `Dial`). The bridge says which was dialled; here it is carried out between two stretches of the bridge.

use std::time::{Duration, Instant};

use strowger_core::call::{BridgeEnd, BridgeOptions, Bridged, Feature, Keys};
use strowger_core::channel::{Cause, Channel, Location, Party};
use strowger_dialplan::Query;
use strowger_dialplan::args::Options;
use strowger_media::Repeat;
use strowger_store::Snapshot;

use super::play::load;
use super::{AppResult, Call, Next, Stop};
use crate::func::feature;

/// Wait for each further digit of where to.
const NEXT_DIGIT: Duration = Duration::from_secs(3);
/// Longest number that is collected.
const DIGITS_MAX: usize = 80;
/// How long to wait for the first digit of where to; how long the target of an attended transfer may ring.
const FIRST_DIGIT: &str = "transferdigittimeout";
const CONSULT: &str = "atxfernoanswertimeout";

/// Times of features, with what they are unless `features.conf`, section `general`, says another.
pub(crate) const TIMES: [(&str, Duration); 2] = [
    (FIRST_DIGIT, Duration::from_secs(5)),
    (CONSULT, Duration::from_secs(15)),
];

/// A time of features, as configured.
pub(crate) fn configured_time(snapshot: &Snapshot, name: &str) -> Duration {
    let lines = snapshot.statics.iter().rev();
    let line = lines
        .filter(|row| row.filename == "features.conf" && row.category == "general")
        .find(|row| row.var_name == name);
    let line = line.and_then(|row| super::seconds(row.var_val.trim_start_matches('>').trim()));
    line.unwrap_or_else(|| {
        let known = TIMES.iter().find(|(known, _)| *known == name);
        known.map_or(Duration::ZERO, |(_, usual)| *usual)
    })
}

/// The same for a channel, which may have its own.
fn time(call: &Call, name: &str) -> Duration {
    let own = call.channel().setting(&feature::key(name));
    own.and_then(|text| super::seconds(&text))
        .unwrap_or_else(|| configured_time(&call.shared().snapshot(), name))
}

/// The code of a feature as configured.
pub(crate) fn configured_code(snapshot: &Snapshot, name: &str) -> Option<String> {
    let (_, _, usual) = CODES.iter().find(|(known, _, _)| *known == name)?;
    code(snapshot, name, usual)
}

/// The code of a feature unless `features.conf` says another: Asterisk's own for the first two, those of its sample file for
/// the others.
pub(crate) const CODES: [(&str, Feature, &str); 5] = [
    ("disconnect", Feature::Disconnect, "*"),
    ("blindxfer", Feature::BlindTransfer, "#"),
    ("atxfer", Feature::AttendedTransfer, "*2"),
    ("automixmon", Feature::Record, "*3"),
    ("parkcall", Feature::Park, "#72"),
];

/// The code of a feature; None where it was taken away.
fn code(snapshot: &Snapshot, name: &str, usual: &str) -> Option<String> {
    let mut code = usual.to_owned();
    for row in snapshot.statics.iter() {
        if row.filename == "features.conf" && row.category == "featuremap" && row.var_name == name {
            row.var_val
                .trim_start_matches('>')
                .trim()
                .clone_into(&mut code);
        }
    }
    (!code.is_empty()).then_some(code)
}

/// The keys of caller and callee that these option letters allow.
pub(super) fn keys(call: &Call, options: &Options) -> (Keys, Keys) {
    let snapshot = call.shared().snapshot();
    let own = |name: &str| call.channel().setting(&feature::key(name));
    let allowed = |letters: [&[char]; 5], has_own: bool| {
        let wanted = CODES.iter().zip(letters).filter_map(|(known, letters)| {
            let (name, feature, usual) = known;
            let any = letters.iter().any(|letter| options.has(*letter));
            any.then(|| {
                let own = own(name).filter(|_| has_own);
                let code = own.or_else(|| code(&snapshot, name, usual));
                code.map(|code| (code, *feature))
            })
            .flatten()
        });
        wanted.collect()
    };
    let caller = allowed([&['H'], &['T'], &['T'], &['W', 'X'], &['K']], true);
    let callee = allowed(
        [&['h'], &['t'], &['t'], &['w', 'x'], &['k']],
        feature::inherits(call.channel()),
    );
    (Keys(caller), Keys(callee))
}

/// What ends the call for who dials it, also before anybody answers.
pub(super) fn disconnect_code(call: &Call) -> Option<String> {
    let [(name, _, usual), ..] = CODES;
    let own = call.channel().setting(&feature::key(name));
    own.or_else(|| code(&call.shared().snapshot(), name, usual))
}

/// What becomes of a bridge after a feature.
pub(super) enum After {
    /// It goes on.
    Bridge,
    /// The caller's part in it is over.
    Done(AppResult),
}

/// Bridges until neither party wants anything of the exchange any more. `talked` hears of the end of each stretch, before
/// anything else is done about it.
pub(super) async fn bridge(
    call: &Call,
    peer: &Channel,
    mut options: BridgeOptions,
    talked: &dyn Fn(),
) -> Result<Bridged, AppResult> {
    let channel = call.channel();
    let until = options.limit.map(|limit| Instant::now() + limit);
    let mut peer = peer.clone();
    loop {
        let bridged = channel.bridge(&peer, options.clone()).await;
        talked();
        let BridgeEnd::Feature { by_caller, feature } = bridged.end else {
            return Ok(bridged);
        };
        peer = bridged.peer;
        let (who, other) = if by_caller {
            (channel, &peer)
        } else {
            (&peer, channel)
        };
        let after = match feature {
            Feature::Record => {
                record_call(call, who).await;
                After::Bridge
            }
            Feature::BlindTransfer => blind(call, who, other, by_caller).await,
            Feature::AttendedTransfer => attended(call, who, other, by_caller).await,
            Feature::Park => park(call, who, other, by_caller).await,
            Feature::Disconnect => After::Bridge,
        };
        match after {
            After::Done(result) => return Err(result),
            After::Bridge => {}
        }
        if let Some(until) = until {
            options.limit = Some(until.saturating_duration_since(Instant::now()));
        }
    }
}

/// The context in which numbers of a transfer are looked for.
fn context_of(who: &Channel, other: &Channel, fallback: &str) -> String {
    let set = |channel: &Channel| {
        channel
            .variable("TRANSFER_CONTEXT")
            .filter(|context| !context.is_empty())
    };
    let own = || {
        let endpoint = who.endpoint()?;
        Some(endpoint.context.clone()).filter(|context| !context.is_empty())
    };
    set(who)
        .or_else(|| set(other))
        .or_else(own)
        .unwrap_or_else(|| fallback.to_owned())
}

async fn say(call: &Call, to: &Channel, name: &str) {
    let language = to.data().language.clone();
    let sounds = load(call, name, Some(&language)).await.0;
    if !sounds.is_empty() {
        let _ = to.play(sounds, true, &|_| true).await;
    }
}

/// Asks who transfers for a number that exists; the other hears music meanwhile.
async fn number(call: &Call, who: &Channel, other: &Channel, context: &str) -> Option<String> {
    let class = other.data().music_class.clone();
    let music = other.music(&class).await.ok();
    let music = music.and_then(|music| other.start_play(music.sounds, Repeat::Forever));
    who.clear_digits();
    // A dial tone asks for the number.
    let mut tone = who.start_tone("dial");
    let mut number = String::new();
    let caller = who.data().caller.number.clone();
    loop {
        let more = {
            let plan = call.task.plan();
            let query = Query::new(context, &number, 1)
                .caller(Some(&caller))
                .vars(&*call.task);
            number.is_empty() || plan.match_more(&query)
        };
        if !more || number.len() >= DIGITS_MAX || who.is_over() || other.is_over() {
            break;
        }
        let wait = if number.is_empty() {
            time(call, FIRST_DIGIT)
        } else {
            NEXT_DIGIT
        };
        let digit = who.wait_digit(wait).await;
        if let Some(play) = tone.take() {
            who.stop_play(play);
        }
        match digit {
            Ok(Some('#')) if !number.is_empty() => break,
            Ok(Some(digit)) => number.push(digit),
            _ => break,
        }
    }
    if let Some(play) = music {
        other.stop_play(play);
    }
    if !number.is_empty() && call.task.exists(context, &number, 1) {
        return Some(number);
    }
    if !who.is_over() {
        say(call, who, "pbx-invalid").await;
    }
    None
}

/// Sends the other party to a place in the dialplan; who transferred is out.
fn send(call: &Call, who: &Channel, other: &Channel, by_caller: bool, to: Location) -> After {
    other.set_variable("BLINDTRANSFER", &who.name());
    other.set_variable("TRANSFERERNAME", &who.name());
    if by_caller {
        other.go_to(to);
        call.channel().data_mut().cause = Cause::NORMAL_CLEARING;
        After::Done(Ok(Next::End))
    } else {
        who.hangup(Cause::NORMAL_CLEARING);
        After::Done(Ok(Next::Jump(to)))
    }
}

async fn blind(call: &Call, who: &Channel, other: &Channel, by_caller: bool) -> After {
    let context = context_of(who, other, &call.channel().location().context);
    let Some(number) = number(call, who, other, &context).await else {
        return After::Bridge;
    };
    if other.is_over() {
        return After::Bridge;
    }
    send(
        call,
        who,
        other,
        by_caller,
        Location::new(&context, &number, 1),
    )
}

/// Who transfers talks with the target first; when he hangs up, the other gets it.
async fn attended(call: &Call, who: &Channel, other: &Channel, by_caller: bool) -> After {
    let context = context_of(who, other, &call.channel().location().context);
    let Some(number) = number(call, who, other, &context).await else {
        return After::Bridge;
    };
    let class = other.data().music_class.clone();
    let music = other.music(&class).await.ok();
    let music = music.and_then(|music| other.start_play(music.sounds, Repeat::Forever));
    let request = strowger_core::call::DialRequest {
        destinations: vec![format!("Local/{number}@{context}")],
        timeout: Some(time(call, CONSULT)),
        caller: Some(Party {
            ..who.data().caller.clone()
        }),
        ..Default::default()
    };
    let outcome = who.dial(request).await;
    let consulted = match outcome.answered {
        Some(target) => {
            let bridged = who.bridge(&target, BridgeOptions::default()).await;
            Some(bridged.peer).filter(|_| bridged.end != BridgeEnd::PeerTaken)
        }
        None => None,
    };
    if let Some(play) = music {
        other.stop_play(play);
    }
    match consulted {
        Some(target) if !target.is_over() && who.is_over() && !other.is_over() => {
            other.set_variable("ATTENDEDTRANSFER", &who.name());
            if by_caller {
                // The caller's dialplan ends; the two go on without it.
                let (other, target) = (other.clone(), target);
                call.channel().spawn(async move {
                    other.bridge_alone(&target).await;
                });
                return After::Done(Err(strowger_core::channel::Interrupt::Hangup.into()));
            }
            call.channel().record_talk(&target);
            let bridged = call
                .channel()
                .bridge(&target, BridgeOptions::default())
                .await;
            bridged.hang_up_peer(Cause::NORMAL_CLEARING);
            After::Done(
                call.channel()
                    .check()
                    .map(|()| Next::End)
                    .map_err(Into::into),
            )
        }
        Some(target) => {
            target.hangup(Cause::NORMAL_CLEARING);
            After::Bridge
        }
        None => {
            if !who.is_over() {
                say(call, who, "pbx-invalid").await;
            }
            After::Bridge
        }
    }
}

/// Parks the other party.
async fn park(call: &Call, who: &Channel, other: &Channel, by_caller: bool) -> After {
    let lot = super::parking::parking_lot_of(other);
    let Some(place) = super::parking::reserve(call, &lot, None, other) else {
        say(call, who, "pbx-parkingfailed").await;
        return After::Bridge;
    };
    // Who parks is told where, and lets go.
    super::parking::tell_space(call, who, place.space()).await;
    if other.is_over() {
        return After::Bridge;
    }
    other.set_variable("PARKER", &super::parking::device_of(&who.name()));
    if by_caller {
        let data = format!("{},s,{}", place.lot(), place.space());
        {
            let mut data = other.data_mut();
            data.cause = Cause(0);
            data.parking = Some(place);
        }
        other.run_application("Park", &data);
        After::Done(Ok(Next::End))
    } else {
        who.hangup(Cause::NORMAL_CLEARING);
        After::Done(super::parking::stay(call, place, None).await)
    }
}

/// Begins or ends to record the call.
async fn record_call(call: &Call, who: &Channel) {
    let channel = call.channel();
    let variable = |name: &str| channel.variable(name).filter(|value| !value.is_empty());
    let running = variable(TOUCH);
    let (application, data) = match &running {
        Some(id) => ("StopMixMonitor", id.clone()),
        None => {
            let format = variable("TOUCH_MIXMONITOR_FORMAT").unwrap_or_else(|| "wav".to_owned());
            let name = variable("TOUCH_MIXMONITOR")
                .unwrap_or_else(|| format!("auto-{}", channel.uniqueid()));
            ("MixMonitor", format!("{name}.{format},i({TOUCH})"))
        }
    };
    // Boxed: the application runs within another.
    if let Err(Stop::Failed(error)) =
        Box::pin(super::execute(&call.task, application, data, None)).await
    {
        call.warn(&error);
    }
    if running.is_some() {
        channel.set_variable(TOUCH, "");
    }
    say(call, who, "beep").await;
}

/// Where the number of the recording that a key began is kept.
const TOUCH: &str = "TOUCH_MIXMONITOR_ID";
