//! Dial: several devices at once, the first to answer wins.

use std::rc::Rc;
use std::time::{Duration, Instant};

use strowger_media::{Command, PlayId};

use super::destination::Destination;
use super::outgoing::{Origin, create_leg};
use super::redirect::Following;
use crate::channel::{Cause, Channel, DialProgress, Party};
use crate::dialplan::LocalFuture;
use crate::sounds::Cadence;

/// Devices one Dial may ring at once.
pub const DESTINATIONS_MAX: usize = 256;
/// Dials within each other (a pre-dial subroutine that dials, and so on).
const DEPTH_MAX: u8 = 8;

/// What the caller hears while devices ring.
#[derive(Clone, Debug, Default)]
pub enum RingMode {
    /// Whatever the far end signals: 180 passed on, early media passed on.
    #[default]
    Signalled,
    /// Option `r`: ringing at once and until the answer, early media kept away.
    Always,
    /// Option `R`: ringing at once, until early media arrives.
    UntilMedia,
    /// What he hears already goes on (music of a queue), early media kept away.
    Background,
    /// Options `m` and `r(tone)`: this, over and over, early media kept away.
    Playing(Cadence),
}

/// Something to run on each outgoing channel before it is dialled (option `b`).
pub type PreDial = Rc<dyn Fn(Channel) -> LocalFuture<()>>;
/// Told of each outgoing channel as it is dialled, with the destination as it was given.
pub type Begun = Rc<dyn Fn(&Channel, &str)>;

/// What a device does first.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum FirstSign {
    Ringing,
    EarlyMedia,
}

/// Told once when the first device rings, and once when the first sends media, with the time since the dialling began.
pub type Progressed = Rc<dyn Fn(FirstSign, Duration)>;

/// What to dial and how.
#[derive(Clone, Default)]
pub struct DialRequest {
    /// `PJSIP/100`, `SIP/81234567890@trunk`, `PJSIP/100/sip:100@192.0.2.1`; at most [`DESTINATIONS_MAX`].
    pub destinations: Vec<String>,
    /// None waits for ever.
    pub timeout: Option<Duration>,
    pub ring: RingMode,
    /// Identity shown to the devices instead of the caller's (option `o`/`f`).
    pub caller: Option<Party>,
    /// Digits of the caller for which this says true end the dialling (options `d` and `H`).
    pub exit_digit: Option<Rc<dyn Fn(char) -> bool>>,
    /// Option `c`: losers are told "answered elsewhere" whatever the reason.
    pub answered_elsewhere: bool,
    pub pre_dial: Option<PreDial>,
    pub begun: Option<Begun>,
    pub progressed: Option<Progressed>,
    /// Where numbers are looked for that a device forwards its call to (302); None: forwarding is ignored (option `i`).
    pub forward_context: Option<String>,
    /// Option `z`: where a call is forwarded, the timeout no longer counts.
    pub forwarding_ends_timeout: bool,
    /// Option `Q`: the cause of those that did not win.
    pub unanswered_cause: Option<Cause>,
    /// The records of this channel say nothing of it.
    pub unrecorded: bool,
}

/// `DIALSTATUS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialStatus {
    Answer,
    NoAnswer,
    Busy,
    Congestion,
    ChanUnavail,
    Cancel,
}

impl DialStatus {
    /// The word the dialplan sees.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "ANSWER",
            Self::NoAnswer => "NOANSWER",
            Self::Busy => "BUSY",
            Self::Congestion => "CONGESTION",
            Self::ChanUnavail => "CHANUNAVAIL",
            Self::Cancel => "CANCEL",
        }
    }
}

/// What became of one device.
#[derive(Clone, Debug)]
pub struct LegReport {
    /// Channel name; empty if no channel could be made.
    pub name: String,
    /// The destination as written.
    pub destination: String,
    pub cause: Cause,
    /// SIP status that ended it, if one did.
    pub status: Option<u16>,
    /// How long it was rung.
    pub rang: Duration,
}

/// How dialling ended.
pub struct DialOutcome {
    pub status: DialStatus,
    /// The winner, up and not yet bridged.
    pub answered: Option<Channel>,
    /// `DIALEDPEERNUMBER`: the part after the technology of the answered (or only) destination.
    pub number: String,
    pub started: Instant,
    /// From the start to the first ringing / early media / answer.
    pub ring_time: Option<Duration>,
    pub progress_time: Option<Duration>,
    pub answer_time: Option<Duration>,
    /// The digit that ended it ([`DialRequest::exit_digit`]).
    pub exit_digit: Option<char>,
    /// Cause for `HANGUPCAUSE` when nobody answered.
    pub cause: Cause,
    pub legs: Vec<LegReport>,
    /// The winner picked the call up, and waits until this Dial lets go of it.
    picked_up: Option<PickedUp>,
}

/// Lets a channel go on that picked a call up, when it is dropped.
struct PickedUp(Channel);

impl Drop for PickedUp {
    fn drop(&mut self) {
        self.0.data_mut().taken_by_dial = false;
        self.0.touch();
    }
}

impl DialOutcome {
    fn new(started: Instant) -> Self {
        Self {
            status: DialStatus::ChanUnavail,
            answered: None,
            number: String::new(),
            started,
            ring_time: None,
            progress_time: None,
            answer_time: None,
            exit_digit: None,
            cause: Cause::NO_ROUTE_DESTINATION,
            legs: Vec::new(),
            picked_up: None,
        }
    }
}

pub(super) struct Leg {
    pub(super) channel: Channel,
    pub(super) destination: Destination,
    /// When its end was reported.
    pub(super) ended: Option<Instant>,
    /// How often its device named another address.
    pub(super) redirects: u8,
    /// The way to the address that it named is looked for.
    pub(super) following: Option<Following>,
}

/// The legs of a Dial. Those that it has not settled when it is given up are hung up.
struct Legs<'c> {
    caller: &'c Channel,
    legs: Vec<Leg>,
    /// The caller's records tell of them.
    recorded: bool,
}

impl Legs<'_> {
    /// Their end is somebody else's business from now on.
    fn take(&mut self) -> Vec<Leg> {
        self.recorded = false;
        std::mem::take(&mut self.legs)
    }
}

impl Drop for Legs<'_> {
    fn drop(&mut self) {
        for leg in &self.legs {
            leg.channel.data_mut().dialled_by = None;
            leg.channel.watched_by(None);
            if !leg.channel.is_over() {
                leg.channel.hangup(Cause::NORMAL_CLEARING);
            }
        }
        if self.recorded {
            let party = self.caller.party_a();
            let now = std::time::SystemTime::now();
            self.caller.data_mut().cdr.dial_end(now, &party);
        }
    }
}

/// What the caller is hearing from us.
#[derive(Default)]
struct Signalled {
    ringing: bool,
    music: Option<PlayId>,
    early: Option<crate::channel::ChannelId>,
    /// A device has a 183 without media to show.
    progress: bool,
    /// A device forwarded its call.
    forwarded: bool,
}

impl Channel {
    /// Rings the destinations and waits for the first answer. Legs that did not win are ended. The caller is not
    /// answered, and the winner not bridged, by this.
    pub async fn dial(&self, request: DialRequest) -> DialOutcome {
        let started = crate::clock::now();
        let mut outcome = DialOutcome::new(started);
        if self.data().dial_depth >= DEPTH_MAX {
            tracing::warn!(channel = %self.name(), "Dial refused: {DEPTH_MAX} Dials within each other already; option b or B leads back to itself");
            return outcome;
        }
        let mut counts = Counts::default();
        let mut legs = self.start_legs(&request, &mut outcome, &mut counts).await;
        if legs.legs.is_empty() {
            outcome.status = if self.check().is_err() {
                DialStatus::Cancel
            } else {
                counts.status()
            };
            return outcome;
        }
        if !request.unrecorded {
            let records: Vec<_> = legs
                .legs
                .iter()
                .map(|leg| {
                    (
                        leg.channel.name().to_string(),
                        leg.channel.data().accountcode.clone(),
                    )
                })
                .collect();
            self.data_mut()
                .cdr
                .dial_begin(std::time::SystemTime::now(), &records);
            legs.recorded = true;
        }
        let mut signalled = Signalled::default();
        self.signal_start(&request, &mut signalled);
        let mut until = request.timeout.map(|timeout| started + timeout);
        let winner = loop {
            signalled.forwarded |= self.follow_redirects(&mut legs.legs, &request);
            if let Some(index) = self.look_at_legs(
                &mut legs.legs,
                &request,
                &mut outcome,
                &mut signalled,
                &mut counts,
            ) {
                break Some(index);
            }
            if request.forwarding_ends_timeout && signalled.forwarded {
                until = None;
            }
            if legs.legs.iter().all(|leg| leg.ended.is_some()) {
                outcome.status = counts.status();
                break None;
            }
            if let Some(exit) = &request.exit_digit {
                let digit = self.take_digit();
                if let Some(digit) = digit.filter(|digit| exit(*digit)) {
                    outcome.exit_digit = Some(digit);
                    outcome.status = DialStatus::Cancel;
                    break None;
                }
            } else {
                self.clear_digits();
            }
            match self.wait_change(until).await {
                Err(_) => {
                    outcome.status = DialStatus::Cancel;
                    outcome.cause = self.data().cause;
                    break None;
                }
                Ok(false) if until.is_some_and(|at| crate::clock::now() >= at) => {
                    outcome.status = DialStatus::NoAnswer;
                    outcome.cause = Cause::NO_ANSWER;
                    break None;
                }
                Ok(_) => {}
            }
        };
        if let Some(leg) = winner.and_then(|index| legs.legs.get(index)) {
            self.share_codec(&leg.channel);
        }
        self.signal_stop(&mut signalled);
        self.settle(legs.take(), winner, &request, &mut outcome);
        outcome
    }

    async fn start_legs(
        &self,
        request: &DialRequest,
        outcome: &mut DialOutcome,
        counts: &mut Counts,
    ) -> Legs<'_> {
        let snapshot = self.shard().shared().snapshot();
        let mut legs = Legs {
            caller: self,
            legs: Vec::new(),
            recorded: false,
        };
        let until = request.timeout.map(|timeout| outcome.started + timeout);
        for text in request.destinations.iter().take(DESTINATIONS_MAX) {
            // Looking up names and running subroutines takes time: nobody is rung for a caller who is gone.
            if self.check().is_err() || until.is_some_and(|at| crate::clock::now() >= at) {
                break;
            }
            let destination = match Destination::parse(text, &snapshot) {
                Ok(destination) => destination,
                Err(error) => {
                    tracing::warn!(channel = %self.name(), %error, "Dial");
                    outcome
                        .legs
                        .push(failed_report(text, Cause::NO_ROUTE_DESTINATION));
                    continue;
                }
            };
            if outcome.number.is_empty() {
                outcome.number.clone_from(&destination.resource);
            }
            match create_leg(self.shard(), &destination, &Origin::of(self, request)).await {
                Ok(channel) => {
                    channel.watched_by(Some(self));
                    channel.data_mut().dialled_by = Some(self.id());
                    channel.set_variable("DIALEDPEERNUMBER", &destination.resource);
                    legs.legs.push(Leg {
                        channel: channel.clone(),
                        destination,
                        ended: None,
                        redirects: 0,
                        following: None,
                    });
                    if let Some(pre_dial) = &request.pre_dial {
                        pre_dial(channel.clone()).await;
                    }
                    let resource = legs.legs.last().map(|leg| &leg.destination.resource);
                    channel.tell_dial_begin(Some(self), resource.map_or("", String::as_str));
                    if let Some(begun) = &request.begun {
                        begun(&channel, text);
                    }
                    channel.place_call();
                }
                Err(cause) => {
                    counts.add(cause);
                    outcome.cause = cause;
                    outcome.legs.push(failed_report(text, cause));
                }
            }
        }
        if legs.legs.len() > 1 {
            outcome.number.clear();
        }
        legs
    }

    /// Reports legs that ended, passes on what the others signal, and finds the winner.
    fn look_at_legs(
        &self,
        legs: &mut [Leg],
        request: &DialRequest,
        outcome: &mut DialOutcome,
        signalled: &mut Signalled,
        counts: &mut Counts,
    ) -> Option<usize> {
        let mut winner: Option<(usize, Instant)> = None;
        let told_at_once = legs.len() == 1
            && self
                .endpoint()
                .is_some_and(|endpoint| endpoint.rpid_immediate);
        for (index, leg) in legs.iter_mut().enumerate() {
            self.replace_picked_up(leg, signalled);
            signalled.forwarded |= self.follow_forwarding(leg, request);
            let (progress, ended) = {
                let data = leg.channel.data();
                (data.progress, data.ended)
            };
            let started = outcome.started;
            for (first, at, time) in [
                (FirstSign::Ringing, progress.ringing, &mut outcome.ring_time),
                (
                    FirstSign::EarlyMedia,
                    progress.early_media,
                    &mut outcome.progress_time,
                ),
            ] {
                if let Some(at) = at
                    && time.is_none()
                {
                    let after = at.saturating_duration_since(started);
                    *time = Some(after);
                    if let Some(told) = &request.progressed {
                        told(first, after);
                    }
                }
            }
            // A leg that answered and was gone before we looked was answered all the same.
            if let Some(end) = ended.filter(|_| progress.answered.is_none()) {
                if leg.ended.is_none() && leg.following.is_none() {
                    leg.ended = Some(crate::clock::now());
                    counts.add(end.cause);
                    outcome.cause = end.cause;
                    self.data_mut()
                        .cdr
                        .dial_leg_ended(&leg.channel.name(), disposition(end.cause));
                    if signalled.early == Some(leg.channel.id()) {
                        signalled.early = None;
                    }
                }
                continue;
            }
            if let Some(at) = progress.answered
                && winner.is_none_or(|(_, first)| at < first)
            {
                winner = Some((index, at));
            }
            if told_at_once && (progress.ringing.is_some() || progress.early_media.is_some()) {
                self.data_mut().connected = leg.channel.data().caller.clone();
            }
            self.pass_on(&leg.channel, progress, request, signalled);
        }
        winner.map(|(index, at)| {
            outcome.answer_time = Some(at.saturating_duration_since(outcome.started));
            index
        })
    }

    /// A device forwarded its call: the number in the dialplan is called instead. True if it is.
    fn follow_forwarding(&self, leg: &mut Leg, request: &DialRequest) -> bool {
        let forwarded = leg.channel.data_mut().forwarded_to.take();
        let (Some(number), Some(context)) = (forwarded, &request.forward_context) else {
            return false;
        };
        if !leg.channel.is_over() || leg.ended.is_some() || self.is_over() {
            return false;
        }
        let mut origin = Origin::of(self, request);
        let forwarder = leg.channel.name();
        origin.variables.set("__FORWARDERNAME", &forwarder);
        let to = (number.as_str(), context.as_str(), false);
        match super::local::create(self.shard(), to, &origin) {
            Ok(channel) => {
                tracing::info!(channel = %self.name(), from = %forwarder, number, context, "call forwarded");
                {
                    let mut data = channel.data_mut();
                    data.dialled_by = Some(self.id());
                    data.rdnis = leg.destination.resource.clone();
                    data.redirecting.sent_on_by(&leg.destination.resource);
                }
                self.set_variable("FORWARDERNAME", &forwarder);
                channel.watched_by(Some(self));
                self.data_mut()
                    .cdr
                    .dial_replaced(&forwarder, &channel.name());
                leg.channel.watched_by(None);
                channel.tell_dial_begin(Some(self), &number);
                channel.place_call();
                leg.channel = channel;
                true
            }
            Err(cause) => {
                tracing::info!(channel = %self.name(), from = %forwarder, number, cause = cause.0, "call not forwarded");
                false
            }
        }
    }

    /// Whoever picked a ringing leg up is the leg now.
    fn replace_picked_up(&self, leg: &mut Leg, signalled: &mut Signalled) {
        let picked_up = leg.channel.data().picked_up;
        let by = picked_up.and_then(|id| self.shard().channel(id));
        let Some(by) = by.filter(|by| !by.is_over() && !leg.channel.is_over()) else {
            return;
        };
        {
            let mut data = by.data_mut();
            data.taken_by_dial = true;
            data.progress.answered = Some(crate::clock::now());
        }
        by.watched_by(Some(self));
        let old = std::mem::replace(&mut leg.channel, by);
        self.data_mut()
            .cdr
            .dial_replaced(&old.name(), &leg.channel.name());
        if signalled.early == Some(old.id()) {
            signalled.early = None;
        }
        old.watched_by(None);
        old.data_mut().replaced = true;
        old.hangup(Cause::ANSWERED_ELSEWHERE);
    }

    fn pass_on(
        &self,
        leg: &Self,
        progress: DialProgress,
        request: &DialRequest,
        signalled: &mut Signalled,
    ) {
        match request.ring {
            RingMode::Always | RingMode::Playing(_) | RingMode::Background => return,
            RingMode::Signalled | RingMode::UntilMedia => {}
        }
        let (early, ringing) = (progress.early_media.is_some(), progress.ringing.is_some());
        let progress = progress.progress.is_some();
        if early && signalled.early.is_none() {
            signalled.early = Some(leg.id());
            if let Some(play) = signalled.music.take() {
                self.stop_play(play);
            }
            self.share_codec(leg);
            if self.is_up() {
                self.tell_transfer(183);
            } else {
                self.indicate_progress();
            }
            if let (Some(caller), Some(callee)) = (self.leg(), leg.leg()) {
                self.shard().media_send(Command::Bridge(caller, callee));
            }
        } else if ringing && !signalled.ringing && signalled.early.is_none() {
            signalled.ringing = true;
            self.ring_caller(signalled);
        } else if progress && !(signalled.progress || signalled.ringing || self.is_up()) {
            signalled.progress = true;
            self.indicate_progress();
        }
    }

    fn ring_caller(&self, signalled: &mut Signalled) {
        let globals = &self.shard().shared().snapshot().globals;
        if self.is_up() {
            self.tell_transfer(180);
        }
        // Behind a 183 that opened early media a 180 would not be heard of.
        signalled.music = if signalled.progress && !globals.allow_sending_180_after_183 {
            self.start_tone("ring")
        } else {
            self.ring()
        };
    }

    fn signal_start(&self, request: &DialRequest, signalled: &mut Signalled) {
        match &request.ring {
            RingMode::Signalled | RingMode::Background => {}
            RingMode::Always | RingMode::UntilMedia => {
                signalled.ringing = true;
                self.ring_caller(signalled);
            }
            RingMode::Playing(cadence) => {
                if !self.is_up() {
                    self.indicate_progress();
                }
                signalled.music = self.start_play(cadence.sounds.clone(), cadence.repeat);
            }
        }
    }

    fn signal_stop(&self, signalled: &mut Signalled) {
        if let Some(play) = signalled.music.take() {
            self.stop_play(play);
        }
        if signalled.early.take().is_some() {
            self.echo(false);
        }
    }

    /// Ends the legs that did not win and closes the account of this Dial.
    fn settle(
        &self,
        legs: Vec<Leg>,
        winner: Option<usize>,
        request: &DialRequest,
        outcome: &mut DialOutcome,
    ) {
        let now = std::time::SystemTime::now();
        if let Some(leg) = winner.and_then(|index| legs.get(index)) {
            outcome.status = DialStatus::Answer;
            outcome.number.clone_from(&leg.destination.resource);
            outcome.answered = Some(leg.channel.clone());
            let picked_up = leg.channel.data().taken_by_dial;
            outcome.picked_up = picked_up.then(|| PickedUp(leg.channel.clone()));
            outcome.cause = Cause(0);
            leg.channel
                .set_variable("DIALEDPEERNUMBER", &leg.destination.resource);
            // Before the answer goes out: it tells the caller who answered.
            let answered = leg.channel.data().caller.clone();
            self.connect_with(answered);
            if !request.unrecorded {
                self.data_mut().cdr.dial_answered(&leg.channel.name(), now);
            }
        }
        let elsewhere = winner.is_some()
            || request.answered_elsewhere
            || self.data().cause == Cause::ANSWERED_ELSEWHERE;
        let unanswered = match outcome.status {
            DialStatus::Cancel => Cause::NORMAL_CLEARING,
            _ => Cause::NO_ANSWER,
        };
        for (index, leg) in legs.into_iter().enumerate() {
            leg.channel.data_mut().dialled_by = None;
            if winner != Some(index) {
                leg.channel.watched_by(None);
                if !leg.channel.is_over() {
                    let usual = if elsewhere {
                        Cause::ANSWERED_ELSEWHERE
                    } else {
                        unanswered
                    };
                    leg.channel
                        .hangup(request.unanswered_cause.unwrap_or(usual));
                    self.data_mut()
                        .cdr
                        .dial_leg_ended(&leg.channel.name(), crate::cdr::Disposition::NoAnswer);
                }
            }
            let end = leg.channel.data().ended;
            outcome.legs.push(LegReport {
                name: leg.channel.name().to_string(),
                destination: leg.destination.text,
                cause: end.map_or(Cause(0), |end| end.cause),
                status: end.and_then(|end| end.status),
                rang: leg
                    .ended
                    .unwrap_or_else(crate::clock::now)
                    .saturating_duration_since(outcome.started),
            });
        }
        if winner.is_none() && !request.unrecorded {
            let party = self.party_a();
            self.data_mut().cdr.dial_end(now, &party);
        }
    }
}

fn failed_report(text: &str, cause: Cause) -> LegReport {
    LegReport {
        name: String::new(),
        destination: text.to_owned(),
        cause,
        status: None,
        rang: Duration::ZERO,
    }
}

fn disposition(cause: Cause) -> crate::cdr::Disposition {
    use crate::cdr::Disposition;
    match cause {
        Cause::USER_BUSY => Disposition::Busy,
        Cause::NO_ANSWER
        | Cause::NORMAL_CLEARING
        | Cause::ANSWERED_ELSEWHERE
        | Cause::NO_USER_RESPONSE => Disposition::NoAnswer,
        _ => Disposition::Failed,
    }
}

/// How many legs ended for which kind of reason.
#[derive(Default)]
struct Counts {
    busy: usize,
    congestion: usize,
    unavailable: usize,
    no_answer: usize,
}

impl Counts {
    fn add(&mut self, cause: Cause) {
        match cause {
            Cause::USER_BUSY => self.busy += 1,
            Cause::NORMAL_CIRCUIT_CONGESTION => self.congestion += 1,
            Cause::NO_ANSWER | Cause::NORMAL_CLEARING => self.no_answer += 1,
            _ => self.unavailable += 1,
        }
    }

    /// `DIALSTATUS` when no leg is left.
    fn status(&self) -> DialStatus {
        if self.no_answer > 0 {
            DialStatus::NoAnswer
        } else if self.busy > 0 {
            DialStatus::Busy
        } else if self.congestion > 0 {
            DialStatus::Congestion
        } else {
            DialStatus::ChanUnavail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_fork_follows_the_documented_order() {
        for (causes, expected) in [
            (&[17u8][..], DialStatus::Busy),
            (&[17, 34], DialStatus::Busy),
            (&[34, 20], DialStatus::Congestion),
            (&[3, 20, 21], DialStatus::ChanUnavail),
            (&[17, 19], DialStatus::NoAnswer),
            (&[16], DialStatus::NoAnswer),
        ] {
            let mut counts = Counts::default();
            for cause in causes {
                counts.add(Cause(*cause));
            }
            assert_eq!(counts.status(), expected, "{causes:?}");
        }
    }
}
