//! Calls: what there is, what is known of each, making, moving, connecting and ending them, and their variables. A call is named
//! by its unique id or by the name of its channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Local, SecondsFormat};
use serde::{Deserialize, Serialize};
use strowger_core::Shared;
use strowger_core::call::originate::{
    OriginateError, OriginateOutcome, OriginateRequest, Reason, Target,
};
use strowger_core::channel::{Cause, Channel, Location, Party};
use strowger_core::dialplan::{Exists, Reach};
use strowger_scripting::{application_reaches, text_reaches, variable_reaches};
use utoipa::ToSchema;
use warp::Reply as _;
use warp::http::StatusCode;
use warp::http::header::HeaderValue;
use warp::reply::Response;

use super::idempotency::Before;
use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::{is_true, json};
use crate::keys::Caller;
use crate::risky;
use crate::shards;

/// Calls in one answer.
const CALLS_MAX: u64 = 10_000;
/// The longest time that a call may ring, in milliseconds.
const TIMEOUT_MAX_MS: u64 = 3_600_000;
/// Somebody who takes part in a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PartyView {
    /// Empty: not known.
    number: String,
    name: String,
}

impl PartyView {
    fn of(party: &Party) -> Self {
        Self {
            number: party.number.clone(),
            name: party.name.clone(),
        }
    }
}

/// A place in the dialplan.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"context": "office", "extension": "200"}))]
pub(super) struct Place {
    pub(super) context: String,
    pub(super) extension: String,
    /// From 1.
    #[serde(default = "first")]
    pub(super) priority: i32,
}

fn first() -> i32 {
    1
}

/// One side of a call: a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallView {
    /// The unique id, by which recordings and call records know it.
    id: String,
    /// The unique id of the oldest channel of the call.
    linked_id: String,
    /// The name of the channel.
    channel: String,
    /// `down`, `dialing`, `ring`, `ringing`, `up`, `busy`.
    state: &'static str,
    caller: PartyView,
    connected: PartyView,
    /// The number that was dialled.
    dialled: String,
    place: Place,
    application: String,
    application_data: String,
    account: String,
    language: String,
    /// The bridge it is in; null: none.
    bridge: Option<String>,
    /// RFC 3339.
    created: String,
    /// Since then.
    seconds: u64,
    /// Only where one call is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    created_at: Instant,
}

impl CallView {
    fn of(channel: &Channel, variables: bool) -> Self {
        use strowger_core::channel::State;
        let data = channel.data();
        let age = data.created_at.elapsed();
        let created = SystemTime::now()
            .checked_sub(age)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let created = DateTime::<Local>::from(created);
        Self {
            id: channel.uniqueid().to_string(),
            linked_id: data.linkedid.clone(),
            channel: channel.name().to_string(),
            state: match data.state {
                State::Down => "down",
                State::Dialing => "dialing",
                State::Ring => "ring",
                State::Ringing => "ringing",
                State::Up => "up",
                State::Busy => "busy",
            },
            caller: PartyView::of(&data.caller),
            connected: PartyView::of(&data.connected),
            dialled: data.dnid.clone(),
            place: Place {
                context: data.location.context.clone(),
                extension: data.location.exten.clone(),
                priority: data.location.priority,
            },
            application: data.application.clone(),
            application_data: data.application_data.clone(),
            account: data.accountcode.clone(),
            language: data.language.clone(),
            bridge: data.bridge_id.as_deref().map(str::to_owned),
            created: created.to_rfc3339_opts(SecondsFormat::Millis, false),
            seconds: age.as_secs(),
            variables: variables.then(|| {
                let all = data.variables.iter();
                all.map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            }),
            created_at: data.created_at,
        }
    }
}

/// Calls, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallList {
    calls: Vec<CallView>,
    /// How many there are, of those that were asked for.
    total: usize,
}

/// The calls that there are.
#[utoipa::path(get, path = "/api/v1/calls", tag = "calls", params(
    ("context" = Option<String>, Query, description = "Only calls in this context"),
    ("caller" = Option<String>, Query, description = "Only calls of this caller's number"),
    ("linked_id" = Option<String>, Query, description = "Only channels of this call"),
    ("limit" = Option<u64>, Query, minimum = 1, maximum = 10000, description = "1000 if missing")),
    responses((status = 200, body = CallList)))]
pub(super) async fn list(on: On) -> Answered {
    let limit = usize::try_from(on.number("limit", 1000, CALLS_MAX)?).unwrap_or(1000);
    let seen = shards::gather(on.shared(), |shard| {
        let channels = shard.channels();
        let seen = channels.iter().map(|channel| CallView::of(channel, false));
        seen.collect::<Vec<_>>()
    });
    let mut calls: Vec<CallView> = seen.await.into_iter().flatten().collect();
    let fits =
        |wanted: &str, value: &str| on.query.given(wanted).is_none_or(|wanted| wanted == value);
    calls.retain(|call| {
        on.caller.owns_channel(&call.channel, &call.place.context)
            && fits("context", &call.place.context)
            && fits("caller", &call.caller.number)
            && fits("linked_id", &call.linked_id)
    });
    calls.sort_by_key(|call| std::cmp::Reverse(call.created_at));
    let total = calls.len();
    calls.truncate(limit);
    Ok(json(StatusCode::OK, &CallList { calls, total }))
}

/// Does something with a call that this caller may see; others there are none of.
pub(super) async fn with_call<R: Send + 'static>(
    on: &On,
    wanted: &str,
    work: impl FnOnce(&Channel) -> R + Send + 'static,
) -> Result<R, Problem> {
    with_own(on.shared(), &on.caller, wanted, work).await
}

async fn with_own<R: Send + 'static>(
    shared: &Arc<Shared>,
    caller: &Caller,
    wanted: &str,
    work: impl FnOnce(&Channel) -> R + Send + 'static,
) -> Result<R, Problem> {
    let caller = caller.clone();
    let done = shards::with_channel(shared, wanted, move |channel| {
        let own = caller.owns_channel(&channel.name(), &channel.location().context);
        own.then(|| work(channel))
    });
    match done.await {
        Some(Some(done)) => Ok(done),
        None if shards::find_channel(shared, wanted).await.is_some() => Err(Problem::busy()),
        _ => Err(Problem::missing(format_args!("call {wanted}"))),
    }
}

/// # Errors
/// The extension does not exist, or nobody has the time to say.
pub(super) async fn expect_extension(
    on: &On,
    field: &str,
    place: &Location,
) -> Result<(), Problem> {
    let (context, exten) = (place.context.clone(), place.exten.clone());
    let exists = shards::ask_any(on.shared(), move |shard| {
        shard.dialplan().exists(&context, &exten, "")
    });
    match exists.await {
        Some(Exists::Yes) => Ok(()),
        Some(_) => Err(Problem::bad(format!(
            "{field}: there is no extension {} in context {}",
            place.exten, place.context
        ))),
        None => Err(Problem::busy()),
    }
}

/// A call, with its variables.
#[utoipa::path(get, path = "/api/v1/calls/{id}", tag = "calls", params(
    ("id" = String, Path, description = "Unique id, or name of the channel")),
    responses((status = 200, body = CallView), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn one(on: On) -> Answered {
    let view = with_call(&on, on.place(0), |channel| CallView::of(channel, true)).await?;
    Ok(json(StatusCode::OK, &view))
}

/// An application that runs on the call that was answered.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Application {
    name: String,
    #[serde(default)]
    data: String,
}

/// A call to make.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"channel": "PJSIP/100", "to": {"context": "office", "extension": "200"}, "variables": {"order": "4711"}}))]
pub(super) struct OriginateBody {
    /// Whom to call: `PJSIP/100`, `Local/100@office`.
    #[schema(pattern = "^[^/]*/.")]
    channel: String,
    /// Where the call goes that was answered; this or `application`.
    to: Option<Place>,
    /// For keys without a group; none that runs programs.
    application: Option<Application>,
    /// `Name <number>`.
    caller_id: Option<String>,
    /// How long it may ring; 30000 if missing.
    #[schema(minimum = 1, maximum = 3_600_000)]
    timeout_ms: Option<u64>,
    /// Set on the channel; `__NAME` is inherited.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    account: Option<String>,
    /// Begin at the first early media.
    #[serde(default)]
    early_media: bool,
    /// In the names of `allow`; empty: what the device is allowed.
    #[serde(default)]
    codecs: Vec<String>,
    /// Answer when the call was answered or was not; otherwise at once.
    #[serde(default)]
    wait: bool,
}

/// How a call was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Originated {
    /// The unique id; null: no channel could be made.
    id: Option<String>,
    /// Null: not known yet.
    channel: Option<String>,
    /// `queued`, `answered`, `busy`, `no_answer`, `refused`, `congestion`, `failed`.
    outcome: &'static str,
    /// Q.850; null: not known yet.
    cause: Option<u8>,
    cause_text: Option<&'static str>,
}

impl Originated {
    fn of(outcome: &OriginateOutcome) -> Self {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            id: some(&outcome.uniqueid),
            channel: some(&outcome.channel),
            outcome: match outcome.reason {
                Reason::Failed => "failed",
                Reason::HungUp => "refused",
                Reason::Ringing => "no_answer",
                Reason::Answered => "answered",
                Reason::Busy => "busy",
                Reason::Congestion => "congestion",
            },
            cause: Some(outcome.cause.0),
            cause_text: Some(outcome.cause.text()),
        }
    }
}

impl OriginateBody {
    fn request(&self, caller: &Caller) -> Result<OriginateRequest, Problem> {
        let forbidden = |why: String| Problem::new(StatusCode::FORBIDDEN, why);
        if self
            .channel
            .split_once('/')
            .is_none_or(|(_, rest)| rest.is_empty())
        {
            return Err(Problem::bad(
                "channel: TECHNOLOGY/RESOURCE is wanted, such as PJSIP/100 or Local/100@office",
            ));
        }
        if !caller.may_call(&self.channel) {
            let why = format!("channel: {} belongs to another group", self.channel);
            return Err(forbidden(why));
        }
        let target = match (&self.to, &self.application) {
            (Some(place), None) => {
                if !caller.owns_context(&place.context) {
                    let why = format!("to.context: {} belongs to another group", place.context);
                    return Err(forbidden(why));
                }
                Target::Extension(place.location("to")?)
            }
            (None, Some(application)) => {
                if caller.group().is_some() {
                    let why = "application: a key of a group calls extensions only".to_owned();
                    return Err(forbidden(why));
                }
                if application_reaches(&application.name) || text_reaches(&application.data) {
                    let why = "application: it runs programs or others, or evaluates text, which only a dialplan may";
                    return Err(forbidden(why.to_owned()));
                }
                Target::Application {
                    name: application.name.clone(),
                    data: application.data.clone(),
                }
            }
            _ => return Err(Problem::bad("to, application: one of them is wanted")),
        };
        let mut request = OriginateRequest::new(&self.channel, target);
        request.reach = Reach::Call;
        let timeout = self.timeout_ms.unwrap_or(30_000);
        if !(1..=TIMEOUT_MAX_MS).contains(&timeout) {
            let why = format!("timeout_ms: {timeout} is outside of 1 to {TIMEOUT_MAX_MS}");
            return Err(Problem::bad(why));
        }
        request.timeout = Duration::from_millis(timeout);
        request.caller = self.caller_id.as_deref().map(Party::parse);
        request.accountcode.clone_from(&self.account);
        request.early_media = self.early_media;
        request.codecs.clone_from(&self.codecs);
        for (name, value) in &self.variables {
            if !risky::is_variable(name) {
                return Err(Problem::bad(format!(
                    "variables: {name:?} is no name of a variable: letters, digits and `_` are"
                )));
            }
            if variable_reaches(name) {
                return Err(forbidden(format!(
                    "variables: {name} names files or programs, which only a dialplan may"
                )));
            }
            if !caller.may_set(name) {
                return Err(forbidden(format!(
                    "variables: {name} may not be set by a key of a group"
                )));
            }
            request.variables.push((name.clone(), value.clone()));
        }
        Ok(request)
    }
}

impl Place {
    pub(super) fn location(&self, field: &str) -> Result<Location, Problem> {
        for (name, value) in [("context", &self.context), ("extension", &self.extension)] {
            if value.is_empty() {
                return Err(Problem::bad(format!("{field}.{name} is empty")));
            }
        }
        if self.priority < 1 {
            return Err(Problem::bad(format!(
                "{field}.priority: a number from 1 is wanted"
            )));
        }
        Ok(Location::new(&self.context, &self.extension, self.priority))
    }
}

/// Makes a call.
#[utoipa::path(post, path = "/api/v1/calls", tag = "calls", request_body = OriginateBody, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A request with the same key and body is done once in 24 hours")),
    responses((status = 201, body = Originated, description = "It was made, or not: the outcome says so"),
        (status = 202, body = Originated, description = "It is being made"),
        (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 409, description = "It is being done", content_type = "application/problem+json"),
        (status = 422, description = "The key named another request", content_type = "application/problem+json"),
        (status = 503, description = "No new calls are taken, or too many", content_type = "application/problem+json")))]
pub(super) async fn originate(mut on: On) -> Answered {
    let key = on.asked.header("idempotency-key").to_owned();
    on.is_json()?;
    let text = on.asked.whole_body().await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    super::is_object(text.as_bytes())?;
    let body: OriginateBody = serde_json::from_str(&text)
        .map_err(|error| Problem::bad(format!("the body cannot be taken: {error}")))?;
    // A task of its own: who does not wait for the answer must find the call made once, when he asks again.
    let task = tokio::spawn(async move {
        let api = Arc::clone(&on.api);
        let uuid = on.caller.user.uuid.clone();
        let (before, doing) = api.idempotency.begin(&uuid, &key, &text, Instant::now())?;
        if let Before::Done(status, body) = before {
            let mut response = answer_of(status, body);
            let replayed = HeaderValue::from_static("true");
            response
                .headers_mut()
                .insert("idempotency-replayed", replayed);
            return Ok(response);
        }
        let (status, originated) = make(&on, &body).await?;
        let body = serde_json::to_string(&originated).unwrap_or_default();
        doing.finish(status, &body);
        Ok::<Response, Problem>(answer_of(status, body))
    });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "API: a task ended");
        let why = "an error of the exchange; its log says more";
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why))
    })
}

fn answer_of(status: StatusCode, body: String) -> Response {
    let mut response = body.into_response();
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", kind);
    response
}

async fn make(on: &On, body: &OriginateBody) -> Result<(StatusCode, Originated), Problem> {
    let mut request = body.request(&on.caller)?;
    if let Target::Extension(place) = &request.target {
        expect_extension(on, "to.extension", place).await?;
    }
    // Known before the channel is, so that who does not wait can ask for it.
    let id = on.shared().next_uniqueid();
    request.uniqueids[0] = Some(id.clone());
    on.audit(&format!("originate {}", body.channel));
    let outcome = on.shared().originate(request).map_err(|error| {
        let status = match error {
            OriginateError::Variables | OriginateError::UniqueId => StatusCode::BAD_REQUEST,
            OriginateError::Draining | OriginateError::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Problem::new(status, error.to_string())
    })?;
    if !body.wait {
        let queued = Originated {
            id: Some(id),
            channel: None,
            outcome: "queued",
            cause: None,
            cause_text: None,
        };
        return Ok((StatusCode::ACCEPTED, queued));
    }
    let outcome = outcome.await.map_err(|_| {
        let why = "the call ended with its shard; the log of the exchange says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    if let Some(why) = &outcome.error {
        if outcome.cause == Cause::NORMAL_CIRCUIT_CONGESTION {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        return Err(Problem::bad(format!("channel: {why}")));
    }
    Ok((StatusCode::CREATED, Originated::of(&outcome)))
}

/// Ends a call.
#[utoipa::path(delete, path = "/api/v1/calls/{id}", tag = "calls", params(
    ("id" = String, Path, description = "Unique id, or name of the channel"),
    ("cause" = Option<u8>, Query, minimum = 1, maximum = 127, description = "Q.850; 16 if missing")),
    responses((status = 204, description = "It ends"), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn hang_up(on: On) -> Answered {
    let cause = u8::try_from(on.number("cause", 16, 127)?).map_or(Cause::NORMAL_CLEARING, Cause);
    with_call(&on, on.place(0), move |channel| {
        channel.hang_up_softly(cause)
    })
    .await?;
    on.audit("hung up");
    Ok(done())
}

/// The place that a body names, if this caller may send somebody there.
async fn place_of(on: &mut On) -> Result<Location, Problem> {
    let place: Place = on.body().await?;
    if !on.caller.owns_context(&place.context) {
        let why = format!("context: {} belongs to another group", place.context);
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    let location = place.location("place")?;
    expect_extension(on, "extension", &location).await?;
    Ok(location)
}

pub(super) fn over() -> Problem {
    Problem::new(StatusCode::CONFLICT, "the call is ending")
}

/// Sends a call elsewhere in the dialplan, out of whatever it does.
#[utoipa::path(post, path = "/api/v1/calls/{id}/redirect", tag = "calls", request_body = Place, params(
    ("id" = String, Path, description = "Unique id, or name of the channel")),
    responses((status = 204, description = "It goes there"), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 409, description = "It is ending", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn redirect(mut on: On) -> Answered {
    let place = place_of(&mut on).await?;
    let moved = with_call(&on, on.place(0), move |channel| channel.take_to(place)).await?;
    if !moved {
        return Err(over());
    }
    on.audit("redirected");
    Ok(done())
}

/// Which other call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BridgeBody {
    /// Unique id, or name of the channel.
    with: String,
}

/// Connects two calls, out of whatever they do.
#[utoipa::path(post, path = "/api/v1/calls/{id}/bridge", tag = "calls", request_body = BridgeBody, params(
    ("id" = String, Path, description = "Unique id, or name of the channel")),
    responses((status = 204, description = "They are being connected"), (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 409, description = "It is ending", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn bridge(mut on: On) -> Answered {
    let body: BridgeBody = on.body().await?;
    let other = with_call(&on, &body.with, |channel| channel.name().to_string()).await?;
    let begun = with_call(&on, on.place(0), move |channel| {
        (*channel.name() != *other).then(|| channel.take_to_application("Bridge", &other))
    });
    match begun.await? {
        None => Err(Problem::bad("with: a call cannot be connected with itself")),
        Some(false) => Err(over()),
        Some(true) => {
            on.audit("bridged");
            Ok(done())
        }
    }
}

/// A variable of a call.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    value: String,
}

/// The name in the address. Functions reach beyond a call: whom a group bounds has variables only.
fn variable_of(on: &On) -> Result<String, Problem> {
    let name = on.place(1);
    if name.contains(['$', '{']) || text_reaches(name) {
        return Err(Problem::bad(format!(
            "name: {name:?} is evaluated, which only a dialplan may"
        )));
    }
    if on.caller.group().is_some() && !risky::is_variable(name) {
        let why = "name: a key of a group reads and sets variables, no functions";
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    Ok(name.to_owned())
}

/// A variable of the call itself, or what every call has under a name; nothing of what all calls share.
fn own_variable(channel: &Channel, name: &str) -> String {
    let location = channel.location();
    match name {
        "CHANNEL" => channel.name().to_string(),
        "UNIQUEID" => channel.uniqueid().to_string(),
        "CONTEXT" => location.context,
        "EXTEN" => location.exten,
        "PRIORITY" => location.priority.to_string(),
        name => channel.variable(name).unwrap_or_default(),
    }
}

/// A variable of a call, or what a function says of it.
#[utoipa::path(get, path = "/api/v1/calls/{id}/variables/{name}", tag = "calls", params(
    ("id" = String, Path, description = "Unique id, or name of the channel"),
    ("name" = String, Path, description = "`NAME`, `CALLERID(num)`")),
    responses((status = 200, body = Variable), (status = 404, description = "There is no such call", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn get_variable(on: On) -> Answered {
    let name = variable_of(&on)?;
    let bound = on.caller.group().is_some();
    let read = move |channel: &Channel| {
        if bound {
            return Ok(own_variable(channel, &name));
        }
        let dialplan = channel.shard().dialplan();
        dialplan.read(channel, &name, Reach::Call)
    };
    let value = with_call(&on, on.place(0), read).await?;
    let value = value.map_err(|why| Problem::new(StatusCode::FORBIDDEN, format!("name: {why}")))?;
    Ok(json(StatusCode::OK, &Variable { value }))
}

/// Sets a variable of a call, or writes a function of it.
#[utoipa::path(put, path = "/api/v1/calls/{id}/variables/{name}", tag = "calls", request_body = Variable, params(
    ("id" = String, Path, description = "Unique id, or name of the channel"),
    ("name" = String, Path, description = "`NAME`, `CALLERID(num)`")),
    responses((status = 204, description = "It is set"), (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 404, description = "There is no such call", content_type = "application/problem+json"),
        (status = 503, description = "The core that has the call does not answer in time", content_type = "application/problem+json")))]
pub(super) async fn set_variable(mut on: On) -> Answered {
    let name = variable_of(&on)?;
    if !on.caller.may_set(&name) {
        let why = format!("name: {name} may not be set by a key of a group");
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    let Variable { value } = on.body().await?;
    let write = move |channel: &Channel| {
        let dialplan = channel.shard().dialplan();
        dialplan.write(channel, &name, &value, Reach::Call)
    };
    let written = with_call(&on, on.place(0), write).await?;
    written.map_err(|why| Problem::bad(format!("value: {why}")))?;
    on.audit("variable set");
    Ok(done())
}

/// A flag of a query; false if missing.
pub(super) fn flag(on: &On, name: &str) -> Result<bool, Problem> {
    match on.query.given(name) {
        None | Some("false" | "no" | "0") => Ok(false),
        Some(text) if is_true(text) => Ok(true),
        Some(text) => Err(Problem::bad(format!(
            "{name}: {text:?} is neither true nor false"
        ))),
    }
}
