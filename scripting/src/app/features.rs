//! What parties of a bridge do with keys: transfer, park, record (`features.conf`, options `t` `T` `k` `K` `w` `W` `x` `X` of
//! `Dial` and `Queue`), applications of `features.conf`. The bridge says which was dialled; here it is carried out between two
//! stretches of the bridge.

use std::time::{Duration, Instant};

use strowger_core::call::{BridgeEnd, BridgeOptions, Bridged, Feature, Keys};
use strowger_core::channel::{Cause, Channel, Location};
use strowger_dialplan::Query;
use strowger_dialplan::args::Options;
use strowger_media::Repeat;
use strowger_store::Snapshot;

use super::attended;
use super::mapped::{self, Mapped};
use super::play::load;
use super::{AppResult, Call, Next, Stop};
use crate::func::feature;

/// Wait for each further digit of where to.
const NEXT_DIGIT: Duration = Duration::from_secs(3);
/// Longest number that is collected.
const DIGITS_MAX: usize = 80;
/// How long to wait for the first digit of where to; how long the target of an attended transfer may ring.
const FIRST_DIGIT: &str = "transferdigittimeout";
pub(super) const CONSULT: &str = "atxfernoanswertimeout";

/// Times of features, with what they are unless `features.conf`, section `general`, says another.
pub(crate) const TIMES: [(&str, Duration); 2] = [
    (FIRST_DIGIT, Duration::from_secs(5)),
    (CONSULT, Duration::from_secs(15)),
];

/// A time of features, as configured.
pub(crate) fn configured_time(snapshot: &Snapshot, name: &str) -> Duration {
    let line = line(snapshot, "general", name).and_then(super::seconds);
    line.unwrap_or_else(|| {
        let known = TIMES.iter().find(|(known, _)| *known == name);
        known.map_or(Duration::ZERO, |(_, usual)| *usual)
    })
}

/// The same for a channel, which may have its own.
pub(super) fn time(call: &Call, name: &str) -> Duration {
    let own = call.channel().setting(&feature::key(name));
    own.and_then(|text| super::seconds(&text))
        .unwrap_or_else(|| configured_time(&call.shared().snapshot(), name))
}

/// The code of a feature as configured.
pub(crate) fn configured_code(snapshot: &Snapshot, name: &str) -> Option<String> {
    let (_, _, usual) = CODES.iter().find(|(known, _, _)| *known == name)?;
    code(snapshot, "featuremap", name, usual)
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

/// What `features.conf` says; the last line of a name counts.
pub(super) fn line<'s>(snapshot: &'s Snapshot, section: &str, name: &str) -> Option<&'s str> {
    let rows = snapshot.statics.iter().rev();
    let mut rows = rows.filter(|row| row.filename == "features.conf" && row.category == section);
    rows.find(|row| row.var_name == name)
        .map(|row| row.var_val.trim_start_matches('>').trim())
}

/// The code of a feature; None where it was taken away.
pub(super) fn code(snapshot: &Snapshot, section: &str, name: &str, usual: &str) -> Option<String> {
    let code = line(snapshot, section, name).unwrap_or(usual);
    (!code.is_empty()).then(|| code.to_owned())
}

/// The digits of a feature on a channel: one of Asterisk's own, or an application of `features.conf`.
pub(crate) fn code_of(channel: &Channel, name: &str) -> Option<String> {
    let snapshot = channel.shard().shared().snapshot();
    let code = if CODES.iter().any(|(known, ..)| *known == name) {
        let own = channel.setting(&feature::key(name));
        own.or_else(|| configured_code(&snapshot, name))?
    } else {
        let text = line(&snapshot, "applicationmap", name)?;
        text.split(',').next()?.trim().to_owned()
    };
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
                let code = own.or_else(|| code(&snapshot, "featuremap", name, usual));
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
    own.or_else(|| code(&call.shared().snapshot(), "featuremap", name, usual))
}

/// Digits before an answer, one after the other: was that the disconnect code?
#[derive(Debug, Default)]
pub(super) struct Disconnect {
    /// None: there is none.
    pub(super) code: Option<String>,
    dialled: std::cell::RefCell<String>,
    hit: std::cell::Cell<bool>,
}

impl Disconnect {
    pub(super) fn new(code: Option<String>) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    /// The next digit. True: it completes the code.
    pub(super) fn push(&self, digit: char) -> bool {
        let Some(code) = &self.code else {
            return false;
        };
        let mut dialled = self.dialled.borrow_mut();
        dialled.push(digit);
        if dialled.len() > code.len() {
            dialled.remove(0);
        }
        self.hit.set(*dialled == *code);
        self.hit.get()
    }

    /// Did the last digit complete it?
    pub(super) fn is_hit(&self) -> bool {
        self.hit.get()
    }
}

/// How the caller's part in a bridge was over before the bridge was.
pub(super) struct Departure {
    pub(super) feature: Feature,
    /// The caller did it.
    pub(super) by_caller: bool,
    /// Where a transfer led.
    pub(super) to: Option<Location>,
    /// What follows for the caller's channel.
    pub(super) result: AppResult,
}

/// What becomes of a bridge after a feature.
pub(super) enum After {
    /// It goes on.
    Bridge,
    /// It goes on with this one at the other end.
    With(Channel),
    /// The caller's part in it is over; a transfer led there.
    Done(Option<Location>, AppResult),
}

/// What is told of a bridge while it lasts.
pub(super) enum Heard<'h> {
    /// A stretch of it is over; nothing else was done about that yet.
    Talked,
    /// The callee is out of it by what he did, and the caller goes on without coming back to the application soon.
    Left {
        feature: Feature,
        by_caller: bool,
        /// Where a transfer led.
        to: Option<&'h Location>,
    },
}

/// A bridge between two stretches of it.
pub(super) struct Stretch<'s> {
    /// Without the keys of applications.
    pub(super) options: &'s BridgeOptions,
    /// When its time is over.
    pub(super) until: Option<Instant>,
    pub(super) tell: &'s dyn Fn(Heard<'_>),
}

/// What is left of the time of a bridge.
pub(super) fn remaining(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}

/// Bridges until neither party wants anything of the exchange any more.
pub(super) async fn bridge(
    call: &Call,
    peer: &Channel,
    mut options: BridgeOptions,
    tell: &dyn Fn(Heard<'_>),
) -> Result<Bridged, Box<Departure>> {
    let channel = call.channel();
    let until = options.limit.map(|limit| Instant::now() + limit);
    let own = options.clone();
    let stretch = Stretch {
        options: &own,
        until,
        tell,
    };
    let mapped = mapped::of(call, peer);
    for (index, one) in mapped.iter().enumerate() {
        let key = (one.code.clone(), Feature::Application(index));
        let keys = if one.of_caller {
            &mut options.caller_keys
        } else {
            &mut options.callee_keys
        };
        keys.0.push(key);
    }
    let mut peer = peer.clone();
    loop {
        let bridged = channel.bridge(&peer, options.clone()).await;
        tell(Heard::Talked);
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
            Feature::AttendedTransfer => {
                attended::by_keys(call, who, other, by_caller, &stretch).await
            }
            Feature::Park => park(call, who, other, by_caller, tell).await,
            Feature::Application(index) => match mapped.get(index) {
                Some(one) => application(call, one, who, other, by_caller, &stretch).await,
                None => After::Bridge,
            },
            Feature::Disconnect
            | Feature::Complete
            | Feature::Abort
            | Feature::ThreeWay
            | Feature::Swap => After::Bridge,
        };
        match after {
            After::Done(to, result) => {
                return Err(Box::new(Departure {
                    feature,
                    by_caller,
                    to,
                    result,
                }));
            }
            After::Bridge => {}
            After::With(other) => peer = other,
        }
        options.limit = remaining(until);
    }
}

/// Runs an application of `features.conf`. What it wants of the bridge (`BlindTransfer`, `AttendedTransfer`) comes after it.
async fn application(
    call: &Call,
    one: &Mapped,
    who: &Channel,
    other: &Channel,
    by_caller: bool,
    stretch: &Stretch<'_>,
) -> After {
    let (on, far) = if one.on_self {
        (who, other)
    } else {
        (other, who)
    };
    let on_caller = one.on_self == by_caller;
    match mapped::run(call, one, on, far).await {
        None => After::Bridge,
        Some(mapped::Wish::Blind(place)) => {
            if far.is_over() {
                return After::Bridge;
            }
            send(call, on, far, on_caller, place)
        }
        Some(mapped::Wish::Attended(place)) => {
            attended::to(call, on, far, on_caller, place, stretch).await
        }
    }
}

/// The context in which numbers of a transfer are looked for.
pub(super) fn context_of(who: &Channel, other: &Channel, fallback: &str) -> String {
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

pub(super) async fn say(call: &Call, to: &Channel, name: &str) {
    let language = to.data().language.clone();
    let sounds = load(call, name, Some(&language)).await.0;
    if !sounds.is_empty() {
        let _ = to.play(sounds, true, &|_| true).await;
    }
}

/// Asks who transfers for a number that exists; the other hears music meanwhile.
pub(super) async fn number(
    call: &Call,
    who: &Channel,
    other: &Channel,
    context: &str,
) -> Option<String> {
    let class = other.data().music_class.clone();
    let music = other.music(&class).await.ok();
    let music = music.and_then(|music| other.start_play(music.sounds, Repeat::Forever));
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

/// A time in section `general` of `features.conf`; 0 and what is no number are none.
pub(super) fn seconds_of(call: &Call, name: &str) -> Option<Duration> {
    let snapshot = call.shared().snapshot();
    let time = line(&snapshot, "general", name).and_then(super::seconds);
    time.filter(|time| !time.is_zero())
}

/// Sends the other party to a place in the dialplan; who transferred is out.
fn send(call: &Call, who: &Channel, other: &Channel, by_caller: bool, to: Location) -> After {
    who.tell_blind_transfer("Success", Some(other), false, (&to.context, &to.exten));
    other.set_variable("BLINDTRANSFER", &who.name());
    other.set_variable("TRANSFERERNAME", &who.name());
    if by_caller {
        other.go_to(to.clone());
        call.channel().data_mut().cause = Cause::NORMAL_CLEARING;
        After::Done(Some(to), Ok(Next::End))
    } else {
        who.hangup(Cause::NORMAL_CLEARING);
        After::Done(Some(to.clone()), Ok(Next::Jump(to)))
    }
}

async fn blind(call: &Call, who: &Channel, other: &Channel, by_caller: bool) -> After {
    let context = context_of(who, other, &call.channel().location().context);
    let Some(number) = number(call, who, other, &context).await else {
        who.tell_blind_transfer("Invalid", Some(other), false, (&context, ""));
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

/// Parks the other party.
async fn park(
    call: &Call,
    who: &Channel,
    other: &Channel,
    by_caller: bool,
    tell: &dyn Fn(Heard<'_>),
) -> After {
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
        After::Done(None, Ok(Next::End))
    } else {
        who.hangup(Cause::NORMAL_CLEARING);
        tell(Heard::Left {
            feature: Feature::Park,
            by_caller,
            to: None,
        });
        After::Done(None, super::parking::stay(call, place, None).await)
    }
}

/// Begins or ends to record the call.
async fn record_call(call: &Call, who: &Channel) {
    let channel = call.channel();
    let variable = |name: &str| channel.variable(name).filter(|value| !value.is_empty());
    let running = variable(TOUCH);
    let (application, arguments) = match &running {
        Some(id) => ("StopMixMonitor", vec![id.clone()]),
        None => {
            let format = variable("TOUCH_MIXMONITOR_FORMAT").unwrap_or_else(|| "wav".to_owned());
            let name = variable("TOUCH_MIXMONITOR")
                .unwrap_or_else(|| format!("auto-{}", channel.uniqueid()));
            let arguments = vec![format!("{name}.{format}"), format!("i({TOUCH})")];
            ("MixMonitor", arguments)
        }
    };
    // Split already: a comma in a variable begins no other argument.
    let data = arguments.join(",");
    let _reach = call.task.as_dialplan();
    // Boxed: the application runs within another.
    if let Err(Stop::Failed(error)) = Box::pin(super::execute(
        &call.task,
        application,
        data,
        Some(arguments),
    ))
    .await
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
