//! Attended transfer: who transfers talks with the target first. He may complete it before the target answers, give it up,
//! go from one to the other, and have all three talk (`atxfercomplete`, `atxferabort`, `atxferswap`, `atxferthreeway` of
//! `features.conf`).
//!
//! The target is dialled by the party that is transferred, which hears music meanwhile: so it rings on when who transfers is
//! gone.

use std::time::{Duration, Instant};

use strowger_core::call::guests::GuestRole;
use strowger_core::call::{
    BridgeEnd, BridgeOptions, DialOutcome, DialRequest, Feature, Keys, RingMode,
};
use strowger_core::channel::{Cause, Channel, Interrupt, Location, Party, Talk};
use strowger_core::dialplan::LocalFuture;
use strowger_media::{PlayId, Repeat};
use strowger_store::Snapshot;

use super::features::{self, After, Heard, Stretch};
use super::{Call, Next};
use crate::func::text::is_yes;

/// Between two attempts to bring a call back (`atxferloopdelay`), and how many of them (`atxfercallbackretries`).
const CALL_BACK_PAUSE: Duration = Duration::from_secs(10);
const CALL_BACKS: u32 = 2;
/// The most that is taken of `atxfercallbackretries`.
const CALL_BACKS_MAX: u32 = 100;
/// What who transfers may dial meanwhile.
const CODES: [(&str, Feature, &str); 4] = [
    ("atxferabort", Feature::Abort, "*1"),
    ("atxfercomplete", Feature::Complete, "*2"),
    ("atxferthreeway", Feature::ThreeWay, "*3"),
    ("atxferswap", Feature::Swap, "*4"),
];

/// The code of one of them, as `features.conf` has it. `None`: there is no such code.
pub(crate) fn configured_code(snapshot: &Snapshot, name: &str) -> Option<String> {
    let (_, _, usual) = CODES.iter().find(|(known, _, _)| *known == name)?;
    // Asterisk has them among the other general options, older files among the codes.
    let mapped = features::line(snapshot, "featuremap", name);
    let code = mapped.or_else(|| features::line(snapshot, "general", name));
    Some(code.unwrap_or(usual).to_owned()).filter(|code| !code.is_empty())
}

/// What `features.conf` says of it.
#[derive(Clone)]
struct Rules {
    keys: Keys,
    rings: Duration,
    /// A target that does not answer ends the call of who was transferred, instead of bringing it back.
    drops: bool,
    pause: Duration,
    call_backs: u32,
    fail_sound: String,
}

impl Rules {
    fn of(call: &Call) -> Self {
        let snapshot = call.shared().snapshot();
        let general = |name: &str| features::line(&snapshot, "general", name);
        let keys = CODES.iter().filter_map(|(name, feature, _)| {
            configured_code(&snapshot, name).map(|code| (code, *feature))
        });
        let call_backs = general("atxfercallbackretries").and_then(|text| text.parse().ok());
        Self {
            keys: Keys(keys.collect()),
            rings: features::time(call, features::CONSULT),
            drops: general("atxferdropcall").is_some_and(is_yes),
            pause: features::seconds_of(call, "atxferloopdelay").unwrap_or(CALL_BACK_PAUSE),
            call_backs: call_backs.unwrap_or(CALL_BACKS).min(CALL_BACKS_MAX),
            fail_sound: general("xferfailsound").unwrap_or("beeperr").to_owned(),
        }
    }
}

/// Music for who waits.
struct Music<'c>(&'c Channel, Option<PlayId>);

impl<'c> Music<'c> {
    async fn start(channel: &'c Channel) -> Self {
        let class = channel.data().music_class.clone();
        let music = channel.music(&class).await.ok();
        let play = music.and_then(|music| channel.start_play(music.sounds, Repeat::Forever));
        Self(channel, play)
    }
}

impl Drop for Music<'_> {
    fn drop(&mut self) {
        if let Some(play) = self.1.take() {
            self.0.stop_play(play);
        }
    }
}

/// The target is being rung.
type Ringing = LocalFuture<DialOutcome>;

/// Who transferred is out; the rest goes on without him.
struct Rest {
    other: Channel,
    /// The device of who transferred, to call back.
    device: Option<String>,
    target: String,
    /// Whom the target sees.
    shown: Party,
    rules: Rules,
    /// What the caller keeps in the talk with the target.
    keeps: BridgeOptions,
    until: Option<Instant>,
}

/// `*2`: asks for a number first.
pub(super) async fn by_keys(
    call: &Call,
    who: &Channel,
    other: &Channel,
    by_caller: bool,
    stretch: &Stretch<'_>,
) -> After {
    let context = features::context_of(who, other, &call.channel().location().context);
    match features::number(call, who, other, &context).await {
        Some(number) => {
            to(
                call,
                who,
                other,
                by_caller,
                Location::new(&context, &number, 1),
                stretch,
            )
            .await
        }
        None => After::Bridge,
    }
}

/// Transfers `other` to this number, with questions asked first.
pub(super) async fn to(
    call: &Call,
    who: &Channel,
    other: &Channel,
    by_caller: bool,
    place: Location,
    stretch: &Stretch<'_>,
) -> After {
    let rules = Rules::of(call);
    let mut rest = Rest {
        other: other.clone(),
        device: (!who.is_local()).then(|| super::parking::device_of(&who.name())),
        target: format!("Local/{}@{}", place.exten, place.context),
        shown: who.data().caller.clone(),
        rules: rules.clone(),
        keeps: stretch.options.clone(),
        until: stretch.until,
    };
    let place = Some(place);
    let mut ringing = ring(&rest.other, rest.target.clone(), &rest.shown, rules.rings);
    let music = Music::start(other).await;
    let tone = who.start_tone("ring");
    let mut dialled = String::new();
    let early = tokio::select! {
        biased;
        outcome = &mut ringing => Ok(outcome),
        key = early_key(who, &rules.keys, &mut dialled) => Err(key),
    };
    if let Some(tone) = tone {
        who.stop_play(tone);
    }
    let outcome = match early {
        Ok(outcome) => outcome,
        // It rings on, for the other now.
        Err(Feature::Complete) => {
            drop(music);
            return finish(call, who, by_caller, place, rest, Some(ringing), stretch).await;
        }
        Err(_) => {
            drop(ringing);
            return After::Bridge;
        }
    };
    let Some(target) = outcome.answered else {
        drop(music);
        // He hung up in the very moment in which the target was given up.
        if by_caller && who.is_over() && !other.is_over() {
            return finish(call, who, by_caller, place, rest, None, stretch).await;
        }
        // Where the caller is wanted elsewhere, the bridge says so.
        if call.channel().check().is_ok() && !who.is_over() {
            features::say(call, who, &rules.fail_sound).await;
        }
        return After::Bridge;
    };
    drop(music);
    // A code may be dialled half before the answer.
    who.put_back_digits(&dialled);
    let mut target = Answered {
        channel: target,
        is_taken: false,
    };
    let consulted = consult(who, &mut rest.other, &mut target.channel, &rules).await;
    let other_stays = rest.other.check().is_ok();
    match consulted {
        Consulted::Complete if !rest.other.is_over() && !target.channel.is_over() => {
            let target = target.taken();
            return complete(call, who, by_caller, place, rest, target, stretch).await;
        }
        // He has nobody any more.
        Consulted::OtherTaken if by_caller => return After::Done(None, caller_is_out(call)),
        Consulted::OtherTaken | Consulted::Abort => {}
        Consulted::TargetTaken => drop(target.taken()),
        Consulted::Complete | Consulted::Failed if other_stays && !who.is_over() => {
            drop(target);
            features::say(call, who, &rules.fail_sound).await;
        }
        Consulted::Complete | Consulted::Failed => {}
    }
    go_back(call, who, by_caller, rest.other)
}

/// Who wanted to transfer has the other again, who is another channel where a Local channel was left out meanwhile.
fn go_back(call: &Call, who: &Channel, by_caller: bool, other: Channel) -> After {
    if by_caller {
        return After::With(other);
    }
    if other.id() == call.channel().id() {
        return After::Bridge;
    }
    let who = who.clone();
    call.channel()
        .spawn(async move { who.bridge_alone(&other).await });
    After::Done(None, caller_is_out(call))
}

/// The target, hung up unless it is taken.
struct Answered {
    channel: Channel,
    is_taken: bool,
}

impl Answered {
    fn taken(mut self) -> Channel {
        self.is_taken = true;
        self.channel.clone()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        if !self.is_taken {
            self.channel.hangup(Cause::NORMAL_CLEARING);
        }
    }
}

/// Rings a device for `other`.
fn ring(other: &Channel, device: String, shown: &Party, limit: Duration) -> Ringing {
    let other = other.clone();
    let request = DialRequest {
        destinations: vec![device],
        timeout: Some(limit),
        ring: RingMode::Background,
        caller: Some(shown.clone()),
        unrecorded: true,
        ..DialRequest::default()
    };
    Box::pin(async move { other.dial(request).await })
}

/// While the target rings: who transfers completes it by its code or by hanging up, or gives it up. `dialled`: what is no
/// whole code yet.
async fn early_key(who: &Channel, keys: &Keys, dialled: &mut String) -> Feature {
    let longest = keys.0.iter().map(|(code, _)| code.len()).max();
    loop {
        match who.wait_digit(Duration::from_secs(3600)).await {
            Err(Interrupt::Hangup) => return Feature::Complete,
            // He was sent elsewhere.
            Err(_) => return Feature::Abort,
            Ok(None) => {}
            Ok(Some(digit)) => {
                dialled.push(digit);
                let found = keys.0.iter().find(|(code, feature)| {
                    dialled.ends_with(code) && matches!(feature, Feature::Complete | Feature::Abort)
                });
                if let Some((_, feature)) = found {
                    return *feature;
                }
                if longest.is_some_and(|longest| dialled.len() > longest) {
                    dialled.remove(0);
                }
            }
        }
    }
}

enum Consulted {
    Complete,
    Abort,
    /// One of the others left.
    Failed,
    /// Another call has the target.
    TargetTaken,
    /// Or the one who was to be transferred.
    OtherTaken,
}

/// Who transfers talks with one, and the other hears music.
async fn consult(
    who: &Channel,
    other: &mut Channel,
    target: &mut Channel,
    rules: &Rules,
) -> Consulted {
    let mut options = BridgeOptions {
        caller_keys: rules.keys.clone(),
        // Codes that were dialled while the music was looked for.
        keeps_digits: true,
        ..BridgeOptions::default()
    };
    let mut with_target = true;
    loop {
        let (partner, waits) = if with_target {
            (target.clone(), other.clone())
        } else {
            (other.clone(), target.clone())
        };
        let music = Music::start(&waits).await;
        options.waits = Some(waits.clone());
        let bridged = who.bridge(&partner, options.clone()).await;
        drop(music);
        if with_target {
            *target = bridged.peer;
        } else {
            *other = bridged.peer;
        }
        match bridged.end {
            BridgeEnd::CallerHungUp => return Consulted::Complete,
            BridgeEnd::Feature { feature, .. } => match feature {
                Feature::Abort => return Consulted::Abort,
                Feature::Swap => with_target = !with_target,
                Feature::ThreeWay => {
                    options.waits = Some(other.clone());
                    return three(who, other, target, &options).await;
                }
                _ => return Consulted::Complete,
            },
            BridgeEnd::Interrupted(_) => return Consulted::Abort,
            BridgeEnd::PeerTaken if with_target => return Consulted::TargetTaken,
            BridgeEnd::PeerTaken => return Consulted::OtherTaken,
            _ => return Consulted::Failed,
        }
    }
}

/// All three talk, until one of those leaves whom the transfer is about.
async fn three(
    who: &Channel,
    other: &Channel,
    target: &mut Channel,
    options: &BridgeOptions,
) -> Consulted {
    let partner = target.clone();
    let visit = async {
        other.visit(&partner, GuestRole::BARGE, &|_| false).await;
        // The two talk on without him.
        std::future::pending::<()>().await;
    };
    let bridged = tokio::select! {
        biased;
        bridged = who.bridge(&partner, options.clone()) => bridged,
        () = visit => return Consulted::Abort,
    };
    *target = bridged.peer;
    match bridged.end {
        BridgeEnd::CallerHungUp => Consulted::Complete,
        BridgeEnd::Feature { feature, .. } if feature != Feature::Abort => Consulted::Complete,
        BridgeEnd::Feature { .. } | BridgeEnd::Interrupted(_) => Consulted::Abort,
        BridgeEnd::PeerTaken => Consulted::TargetTaken,
        _ => Consulted::Failed,
    }
}

/// What follows for who ran the dialplan when he transferred: nothing more.
fn caller_is_out(call: &Call) -> super::AppResult {
    match call.channel().check() {
        Ok(()) => Ok(Next::End),
        Err(interrupt) => Err(interrupt.into()),
    }
}

/// The target is there: the two talk without who transferred.
async fn complete(
    call: &Call,
    who: &Channel,
    by_caller: bool,
    place: Option<Location>,
    rest: Rest,
    target: Channel,
    stretch: &Stretch<'_>,
) -> After {
    rest.other.set_variable("ATTENDEDTRANSFER", &who.name());
    let (first, second) = (
        Talk::of(who, Some(&rest.other)),
        Talk::of(who, Some(&target)),
    );
    rest.other.tell_attended_transfer(&first, &second, false);
    if !by_caller {
        who.hangup(Cause::NORMAL_CLEARING);
    }
    if rest.other.id() != call.channel().id() {
        // The caller's dialplan ends; the two go on without it.
        call.channel()
            .spawn(async move { rest.other.bridge_alone(&target).await });
        return After::Done(place, caller_is_out(call));
    }
    left(stretch, place.as_ref());
    After::Done(place, talk(call, &target, &rest).await)
}

/// The callee is out, and the caller goes on.
fn left(stretch: &Stretch<'_>, to: Option<&Location>) {
    (stretch.tell)(Heard::Left {
        feature: Feature::AttendedTransfer,
        by_caller: false,
        to,
    });
}

/// The caller's time and keys hold for the talk with the target too.
async fn talk(call: &Call, target: &Channel, rest: &Rest) -> super::AppResult {
    call.channel().record_talk(target);
    let options = BridgeOptions {
        limit: features::remaining(rest.until),
        warning: rest.keeps.warning.clone(),
        caller_keys: rest.keeps.caller_keys.clone(),
        ..BridgeOptions::default()
    };
    // Boxed: he may be transferred again.
    match Box::pin(features::bridge(call, target, options, &|_| {})).await {
        Ok(bridged) => {
            bridged.hang_up_peer(Cause::NORMAL_CLEARING);
            caller_is_out(call)
        }
        Err(departure) => departure.result,
    }
}

/// Who transferred is out before the target answered.
async fn finish(
    call: &Call,
    who: &Channel,
    by_caller: bool,
    place: Option<Location>,
    rest: Rest,
    ringing: Option<Ringing>,
    stretch: &Stretch<'_>,
) -> After {
    rest.other.set_variable("ATTENDEDTRANSFER", &who.name());
    // The other goes to where the target rings.
    let (first, second) = (Talk::of(who, Some(&rest.other)), Talk::of(who, None));
    rest.other.tell_attended_transfer(&first, &second, false);
    if by_caller {
        call.channel().spawn(async move {
            match rest.answered(ringing).await {
                Some(target) => rest.other.bridge_alone(&target).await,
                None => rest.other.hangup(Cause::NORMAL_CLEARING),
            }
        });
        return After::Done(place, caller_is_out(call));
    }
    who.hangup(Cause::NORMAL_CLEARING);
    left(stretch, place.as_ref());
    let result = match rest.answered(ringing).await {
        Some(target) => talk(call, &target, &rest).await,
        None => caller_is_out(call),
    };
    After::Done(place, result)
}

impl Rest {
    /// Whoever answers first: the target, or who transferred, who is called back.
    async fn answered(&self, ringing: Option<Ringing>) -> Option<Channel> {
        let tone = self.other.start_tone("ring");
        let mut answered = match ringing {
            Some(ringing) => ringing.await.answered,
            None => None,
        };
        if !self.rules.drops {
            for round in 0..self.rules.call_backs {
                if answered.is_some() || self.other.check().is_err() {
                    break;
                }
                answered = self.next(round).await;
            }
        }
        if let Some(tone) = tone {
            self.other.stop_play(tone);
        }
        answered
    }

    /// Calls who transferred back, and where he does not answer the target again.
    async fn next(&self, round: u32) -> Option<Channel> {
        let limit = self.rules.rings;
        if round > 0 {
            self.other.wait(self.rules.pause).await.ok()?;
            let target = ring(&self.other, self.target.clone(), &self.shown, limit);
            if let Some(answered) = target.await.answered {
                return Some(answered);
            }
            self.other.wait(self.rules.pause).await.ok()?;
        }
        let shown = self.other.data().caller.clone();
        ring(&self.other, self.device.clone()?, &shown, limit)
            .await
            .answered
    }
}
