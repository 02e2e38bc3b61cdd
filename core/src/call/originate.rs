//! Originate: a call that the exchange makes by itself. A device, or a number through a Local channel, is called; who
//! answers runs an application or goes through the dialplan.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strowger_media::codec::Codec;
use tokio::sync::oneshot;

use super::destination::Destination;
use super::outgoing::{Origin, create_leg};
use crate::channel::{Cause, Channel, Data, Location, Party, State, Variables};
use crate::dialplan::{Exists, Reach};
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;
use crate::shared::Shared;

/// How long a device may ring unless the request says.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Calls that one shard originates at a time and that nobody has answered yet.
pub const PENDING_MAX: usize = 1000;
/// Variables of one request.
const VARIABLES_MAX: usize = 256;
/// Longest unique id that may be chosen.
const UNIQUEID_MAX: usize = 149;
/// `Max-Forwards` of a call that begins here.
const MAX_FORWARDS: u8 = 70;
/// The extension that is told of a call that failed.
const FAILED: &str = "failed";

/// What runs on the channel that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The dialplan, from here.
    Extension(Location),
    /// An application; the channel ends with it.
    Application { name: String, data: String },
}

/// A subroutine on the channel that is about to be dialled.
#[derive(Clone, Debug)]
pub struct Subroutine {
    pub location: Location,
    pub arguments: Vec<String>,
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct OriginateRequest {
    /// `PJSIP/100`, `Local/100@office`.
    pub destination: String,
    pub target: Target,
    /// Who the call seems to come from; the channel's own identity too.
    pub caller: Option<Party>,
    /// Set on the channel, in this order; `__NAME` is inherited, and `NAME(arguments)` writes a function.
    pub variables: Vec<(String, String)>,
    /// How long it may ring; [`TIMEOUT`] is usual.
    pub timeout: Duration,
    /// Codecs to offer, in the names of `allow`; empty is what the device is allowed.
    pub codecs: Vec<String>,
    pub accountcode: Option<String>,
    pub language: Option<String>,
    /// Begin with the target at the first early media.
    pub early_media: bool,
    /// The call that this one belongs to; None is a call by itself.
    pub linkedid: Option<String>,
    /// Runs on the channel before it is dialled.
    pub pre_dial: Option<Subroutine>,
    /// Unique ids for the channel and, if it is a Local channel, for its other half.
    pub uniqueids: [Option<String>; 2],
    /// Hops left to it: those of the call that makes it, so that calls that make each other come to an end.
    pub max_forwards: u8,
    /// How far the application and functions among the variables may reach.
    pub reach: Reach,
}

impl OriginateRequest {
    /// A request with nothing special about it.
    pub fn new(destination: &str, target: Target) -> Self {
        Self {
            destination: destination.to_owned(),
            target,
            caller: None,
            variables: Vec::new(),
            timeout: TIMEOUT,
            codecs: Vec::new(),
            accountcode: None,
            language: None,
            early_media: false,
            linkedid: None,
            pre_dial: None,
            uniqueids: [None, None],
            max_forwards: MAX_FORWARDS,
            reach: Reach::Exchange,
        }
    }
}

/// How a call that was to be made went, numbered as the Manager's `Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It could not be called at all.
    Failed = 0,
    /// The far end refused or hung up.
    HungUp = 1,
    /// Nobody answered in time.
    Ringing = 3,
    Answered = 4,
    Busy = 5,
    Congestion = 8,
}

impl Reason {
    /// `ORIGINATE_STATUS`.
    pub fn status(self) -> &'static str {
        match self {
            Self::Failed => "FAILED",
            Self::HungUp => "HANGUP",
            Self::Ringing => "RINGING",
            Self::Answered => "SUCCESS",
            Self::Busy => "BUSY",
            Self::Congestion => "CONGESTION",
        }
    }

    fn of(cause: Cause) -> Self {
        match cause {
            Cause::USER_BUSY => Self::Busy,
            Cause::NORMAL_CIRCUIT_CONGESTION => Self::Congestion,
            Cause::NO_ANSWER | Cause::NO_USER_RESPONSE => Self::Ringing,
            Cause::NORMAL_CLEARING | Cause::CALL_REJECTED => Self::HungUp,
            _ => Self::Failed,
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct OriginateOutcome {
    pub reason: Reason,
    /// Empty where no channel could be made.
    pub channel: String,
    pub uniqueid: String,
    pub linkedid: String,
    /// Why there was no answer.
    pub cause: Cause,
    /// What was wrong with the request, for people.
    pub error: Option<String>,
}

impl OriginateOutcome {
    fn failed(cause: Cause, error: Option<String>) -> Self {
        Self {
            reason: match cause {
                Cause::NO_ROUTE_DESTINATION | Cause::SUBSCRIBER_ABSENT => Reason::Failed,
                other => Reason::of(other),
            },
            channel: String::new(),
            uniqueid: String::new(),
            linkedid: String::new(),
            cause,
            error,
        }
    }

    fn of(channel: &Channel, reason: Reason, cause: Cause) -> Self {
        Self {
            reason,
            channel: channel.name().to_string(),
            uniqueid: channel.uniqueid().to_string(),
            linkedid: channel.data().linkedid.clone(),
            cause,
            error: None,
        }
    }
}

/// Why a request was not even begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginateError {
    #[error("the exchange is being shut down and takes no new calls")]
    Draining,
    #[error("the exchange is overloaded: a queue of its shards is full")]
    Overloaded,
    #[error("{VARIABLES_MAX} variables are the limit of one request")]
    Variables,
    #[error(
        "a unique id has 1 to {UNIQUEID_MAX} letters, digits, `.`, `-`, `_` and `:`, and begins with a letter or a digit"
    )]
    UniqueId,
}

/// One of the calls that are being made; counted while it lives.
struct Pending(Rc<Shard>);

impl Pending {
    fn begin(shard: &Rc<Shard>) -> Option<Self> {
        let pending = shard.originating();
        if pending.get() >= PENDING_MAX {
            return None;
        }
        pending.set(pending.get() + 1);
        Some(Self(Rc::clone(shard)))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let pending = self.0.originating();
        pending.set(pending.get().saturating_sub(1));
    }
}

impl Shared {
    /// Has a call made on some shard. What became of it comes when somebody answered, or nobody will.
    ///
    /// # Errors
    /// [`OriginateError`] when it cannot be begun.
    pub fn originate(
        &self,
        request: OriginateRequest,
    ) -> Result<oneshot::Receiver<OriginateOutcome>, OriginateError> {
        if self.draining() {
            return Err(OriginateError::Draining);
        }
        if request.variables.len() > VARIABLES_MAX {
            return Err(OriginateError::Variables);
        }
        if !request.uniqueids.iter().flatten().all(|id| is_safe(id)) {
            return Err(OriginateError::UniqueId);
        }
        let inboxes = self.inboxes();
        let inbox = inboxes
            .get(self.next_originate() % inboxes.len().max(1))
            .ok_or(OriginateError::Overloaded)?;
        let (tell, told) = oneshot::channel();
        let errand = ShardMessage::Errand(Box::new(move |shard| {
            let shard = Rc::clone(shard);
            Shard::spawn(async move {
                let _ = tell.send(originate(&shard, request).await);
            });
        }));
        inbox.send(errand).map_err(|_| OriginateError::Overloaded)?;
        Ok(told)
    }
}

/// Can it be part of a path and of a command? Dialplans name files after it, and give it to programs.
fn is_safe(id: &str) -> bool {
    (1..=UNIQUEID_MAX).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'))
}

/// Makes the call on this shard. Comes back when somebody answered, or nobody will.
pub async fn originate(shard: &Rc<Shard>, request: OriginateRequest) -> OriginateOutcome {
    let outcome = call(shard, &request).await;
    tracing::info!(
        destination = request.destination,
        channel = outcome.channel,
        status = outcome.reason.status(),
        cause = outcome.cause.0,
        "originate"
    );
    if outcome.reason != Reason::Answered {
        tell_failed(shard, &request, outcome.reason);
    }
    outcome
}

async fn call(shard: &Rc<Shard>, request: &OriginateRequest) -> OriginateOutcome {
    let channel = match call_out(shard, request).await {
        Ok(channel) => channel,
        Err(outcome) => return outcome,
    };
    let outcome = OriginateOutcome::of(&channel, Reason::Answered, Cause(0));
    let created = channel.data().created;
    channel.begin_records(created);
    match &request.target {
        Target::Extension(location) => {
            channel.set_location(location.clone());
            channel.continue_in_dialplan();
        }
        Target::Application { name, data } => {
            channel.run_application_within(request.reach, name, data);
        }
    }
    outcome
}

/// Hangs a channel up that nobody waits for any more.
struct Ringing(Option<Channel>);

impl Drop for Ringing {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            channel.hangup(Cause::NORMAL_CLEARING);
        }
    }
}

/// Calls somebody: the channel that answered, which is the caller's to do something with. The target of the request is not
/// looked at. When the future is dropped, what rings is hung up.
///
/// # Errors
/// What became of it, when nobody answered.
pub async fn call_out(
    shard: &Rc<Shard>,
    request: &OriginateRequest,
) -> Result<Channel, OriginateOutcome> {
    let started = crate::clock::now();
    let Some(pending) = Pending::begin(shard) else {
        shard.counters().calls_refused_overload.add(1);
        let error = format!("{PENDING_MAX} calls are being originated on this core already");
        return Err(OriginateOutcome::failed(
            Cause::NORMAL_CIRCUIT_CONGESTION,
            Some(error),
        ));
    };
    let codecs: Vec<Codec> = request
        .codecs
        .iter()
        .flat_map(|name| super::codecs::named(name))
        .collect();
    let snapshot: Arc<_> = shard.shared().snapshot();
    let destination = match Destination::parse(&request.destination, &snapshot) {
        Ok(destination) => destination,
        Err(error) => {
            return Err(OriginateOutcome::failed(
                Cause::NO_ROUTE_DESTINATION,
                Some(error.to_string()),
            ));
        }
    };
    let shown = request.caller.clone().unwrap_or_default();
    let origin = Origin {
        redirecting: crate::channel::Redirecting::default(),
        linkedid: request.linkedid.clone(),
        variables: Variables::default(),
        shown: shown.clone(),
        own: request.caller.clone(),
        place: None,
        max_forwards: request.max_forwards,
        dial_depth: 0,
        language: request.language.clone().unwrap_or_else(|| "en".to_owned()),
        accountcode: request.accountcode.clone().unwrap_or_default(),
        codecs,
        video: None,
        uniqueids: request.uniqueids.clone(),
    };
    let channel = match create_leg(shard, &destination, &origin).await {
        Ok(channel) => channel,
        Err(cause) => return Err(OriginateOutcome::failed(cause, None)),
    };
    let mut ringing = Ringing(Some(channel.clone()));
    if let Some(code) = &request.accountcode {
        channel.data_mut().accountcode.clone_from(code);
    }
    for (name, value) in &request.variables {
        set(&channel, name, value, request.reach);
    }
    if let Some(subroutine) = &request.pre_dial {
        let (location, arguments) = (subroutine.location.clone(), subroutine.arguments.clone());
        let run = shard
            .dialplan()
            .subroutine(channel.clone(), location, arguments);
        run.await;
    }
    channel.tell_dial_begin(None, &destination.resource);
    channel.place_call();
    let until = started + request.timeout;
    loop {
        let progress = channel.data().progress;
        let begun = request.early_media && progress.early_media.is_some();
        if let Some(end) = channel.data().ended {
            // Who answered and hung up at once was there.
            let reason = match progress.answered {
                Some(_) => Reason::Answered,
                None => Reason::of(end.cause),
            };
            return Err(OriginateOutcome::of(&channel, reason, end.cause));
        }
        if progress.answered.is_some() || begun {
            break;
        }
        let changed = channel.wait_change(Some(until)).await;
        if changed == Ok(false) && crate::clock::now() >= until {
            channel.hangup(Cause::NO_ANSWER);
            return Err(OriginateOutcome::of(
                &channel,
                Reason::Ringing,
                Cause::NO_ANSWER,
            ));
        }
    }
    drop(pending);
    ringing.0 = None;
    channel.tell_dial_end("ANSWER");
    Ok(channel)
}

/// Sets a variable of a channel that is to be called, or writes a function; what is refused is logged.
fn set(channel: &Channel, name: &str, value: &str, reach: Reach) {
    if !name.contains('(') {
        return channel.set_variable(name, value);
    }
    let dialplan = channel.shard().dialplan();
    if let Err(error) = dialplan.write(channel, name, value, reach) {
        tracing::warn!(channel = %channel.name(), name, error, "originate: a variable was not set");
    }
}

/// Extension `failed` of the context that the call would have gone to hears of it, with `REASON`.
fn tell_failed(shard: &Rc<Shard>, request: &OriginateRequest, reason: Reason) {
    let Target::Extension(location) = &request.target else {
        return;
    };
    let context = &location.context;
    let exists = |exten: &str| shard.dialplan().exists(context, exten, "") == Exists::Yes;
    // A pattern that takes any number is not meant.
    if !exists(FAILED) || exists("failed-by-no-means") {
        return;
    }
    let shared = shard.shared();
    let uniqueid = shared.next_uniqueid();
    let name = format!("OutgoingSpoolFailed-{:08x}", shared.next_channel_sequence());
    let place = Location::new(context, FAILED, 1);
    let mut data = Data::new(State::Down, place, uniqueid.clone());
    let plain = |(name, _): &&(String, String)| !name.contains('(');
    for (name, value) in request.variables.iter().filter(plain) {
        data.variables.set(name, value);
    }
    data.variables.set("REASON", &(reason as u8).to_string());
    let channel = Channel::new(shard, name, uniqueid, None, data);
    shard.add_channel(&channel, false);
    super::incoming::run(channel);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_unique_id_can_be_no_path_and_no_command() {
        for id in ["1711279935.60", "pbx-1", "a:b_c", &"1".repeat(UNIQUEID_MAX)] {
            assert!(is_safe(id), "{id}");
        }
        for id in [
            "",
            "../x",
            "/tmp/x",
            "$(touch x)",
            "a b",
            "a;b",
            ".a",
            "-a",
            &"1".repeat(UNIQUEID_MAX + 1),
        ] {
            assert!(!is_safe(id), "{id}");
        }
    }
}
