//! `/api/v1`: the API for new programs. Here are its addresses, and what each of them asks of a key; what they do is in the files
//! beside, one for each kind of thing.

mod calls;
mod cdr;
mod dialplan;
mod events;
mod idempotency;
mod keys;
mod media;
mod openapi;
mod phones;
mod problem;
mod queues;
mod recordings;
mod rooms;
mod sounds;
mod system;
mod transfers;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use strowger_core::Shared;
use strowger_scripting::Plans;
use strowger_store::Store;
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::http::{Incoming, Parameters};
use crate::keys::{Caller, Keys};
use problem::Problem;

pub(crate) use events::Stream;

/// Where the addresses are.
const PREFIX: &str = "/api/v1";

/// What the handlers work with.
pub(crate) struct V1 {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) store: Store,
    pub(crate) keys: Arc<Keys>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) idempotency: idempotency::Answers,
}

impl V1 {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        plans: &Arc<Plans>,
        store: Store,
        keys: &Arc<Keys>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            plans: Arc::clone(plans),
            store,
            keys: Arc::clone(keys),
            stream: Stream::new(shared),
            idempotency: idempotency::Answers::default(),
        }
    }
}

/// A request with all that is known of it.
pub(crate) struct On {
    api: Arc<V1>,
    caller: Caller,
    asked: Incoming,
    query: Parameters,
    /// What stands in the places of the address that may be anything.
    places: Vec<String>,
}

type Answered = Result<Response, Problem>;

/// Fields have names: a list in their order would be taken, too.
fn is_object(body: &[u8]) -> Result<(), Problem> {
    match body.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        _ => Err(Problem::bad(
            "the body cannot be taken: an object of JSON is wanted",
        )),
    }
}

impl On {
    fn shared(&self) -> &Arc<Shared> {
        &self.api.shared
    }

    fn place(&self, index: usize) -> &str {
        self.places.get(index).map_or("", String::as_str)
    }

    /// Nothing but JSON is taken, under its name or under none.
    fn is_json(&self) -> Result<(), Problem> {
        let kind = self.asked.header("content-type");
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("the body is {kind}; application/json is wanted"),
            ));
        }
        Ok(())
    }

    /// The body, as what it has to be.
    async fn body<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        self.is_json()?;
        let body = self.asked.whole_body().await?;
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        if body.contains(&0) || body.windows(6).any(|part| part == b"\\u0000") {
            return Err(Problem::bad("the body holds a NUL, which no text may"));
        }
        is_object(body)?;
        serde_json::from_slice(body)
            .map_err(|error| Problem::bad(format!("the body cannot be taken: {error}")))
    }

    /// A number of the query within its bounds.
    fn number(&self, name: &str, default: u64, most: u64) -> Result<u64, Problem> {
        let Some(text) = self.query.given(name) else {
            return Ok(default);
        };
        match text.parse::<u64>() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(Problem::bad(format!(
                "{name}: {text:?} is no number from 1 to {most}"
            ))),
        }
    }

    /// Only keys without a group may go on: what is asked for belongs to nobody in particular.
    fn unbound(&self) -> Result<(), Problem> {
        if self.caller.group().is_none() {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this belongs to no group; a key without a group is needed",
        ))
    }

    /// One line for each change, with whose it was.
    fn audit(&self, what: &str) {
        tracing::info!(
            key = self.caller.user.uuid,
            name = self.caller.user.name,
            from = self.asked.from.map(|from| from.to_string()).unwrap_or_default(),
            method = %self.asked.method,
            path = self.asked.path,
            what,
            "API: changed"
        );
    }
}

/// What is done at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Health,
    Version,
    Limits,
    OpenApi,
    Viewer,
    Calls,
    Call,
    Originate,
    HangUp,
    Redirect,
    Play,
    StopPlay,
    Record,
    StopRecord,
    PauseRecord,
    ResumeRecord,
    Dtmf,
    Mute,
    Bridge,
    Transfer,
    GetVariable,
    SetVariable,
    Recordings,
    Recording,
    DeleteRecording,
    Retention,
    SetRetention,
    Sounds,
    BringSound,
    DeleteSound,
    Cdr,
    Endpoints,
    Endpoint,
    Contacts,
    Registrations,
    Register,
    Unregister,
    Contexts,
    Extensions,
    ReplaceExtension,
    DeleteExtension,
    Validate,
    Conferences,
    Conference,
    LockConference,
    MuteMember,
    KickMember,
    Queues,
    Queue,
    AddMember,
    ChangeMember,
    RemoveMember,
    Keys,
    MakeKey,
    DeleteKey,
    EventStream,
    EventSocket,
}

/// A method, an address and the scope that is needed; none: nobody is asked.
type Route = (&'static str, &'static str, Option<&'static str>, Operation);

const READ: Option<&str> = Some("calls:read");
const WRITE: Option<&str> = Some("calls:write");

/// All addresses. A part in braces may be anything.
const ROUTES: &[Route] = {
    use Operation::*;
    &[
        ("GET", "/health", None, Health),
        ("GET", "/openapi.json", None, OpenApi),
        ("GET", "/docs", None, Viewer),
        ("GET", "/version", Some("system:read"), Version),
        ("GET", "/limits", Some("system:read"), Limits),
        ("GET", "/calls", READ, Calls),
        ("POST", "/calls", WRITE, Originate),
        ("GET", "/calls/{id}", READ, Call),
        ("DELETE", "/calls/{id}", WRITE, HangUp),
        ("POST", "/calls/{id}/redirect", WRITE, Redirect),
        ("POST", "/calls/{id}/play", WRITE, Play),
        ("DELETE", "/calls/{id}/play/{play}", WRITE, StopPlay),
        ("POST", "/calls/{id}/record", WRITE, Record),
        ("DELETE", "/calls/{id}/record", WRITE, StopRecord),
        ("POST", "/calls/{id}/record/pause", WRITE, PauseRecord),
        ("POST", "/calls/{id}/record/resume", WRITE, ResumeRecord),
        ("POST", "/calls/{id}/dtmf", WRITE, Dtmf),
        ("POST", "/calls/{id}/mute", WRITE, Mute),
        ("POST", "/calls/{id}/bridge", WRITE, Bridge),
        ("POST", "/calls/{id}/transfer", WRITE, Transfer),
        ("GET", "/calls/{id}/variables/{name}", READ, GetVariable),
        ("PUT", "/calls/{id}/variables/{name}", WRITE, SetVariable),
        ("GET", "/recordings", Some("recordings:read"), Recordings),
        // Before the addresses of single recordings: one of this name is not reached.
        (
            "GET",
            "/recordings/retention",
            Some("system:read"),
            Retention,
        ),
        (
            "PUT",
            "/recordings/retention",
            Some("system:write"),
            SetRetention,
        ),
        (
            "GET",
            "/recordings/{id}",
            Some("recordings:read"),
            Recording,
        ),
        (
            "DELETE",
            "/recordings/{id}",
            Some("recordings:write"),
            DeleteRecording,
        ),
        ("GET", "/sounds", Some("sounds:read"), Sounds),
        ("POST", "/sounds", Some("sounds:write"), BringSound),
        (
            "DELETE",
            "/sounds/{name}",
            Some("sounds:write"),
            DeleteSound,
        ),
        ("GET", "/cdr", Some("cdr:read"), Cdr),
        ("GET", "/endpoints", Some("endpoints:read"), Endpoints),
        ("GET", "/endpoints/{id}", Some("endpoints:read"), Endpoint),
        ("GET", "/contacts", Some("endpoints:read"), Contacts),
        (
            "GET",
            "/registrations",
            Some("registrations:read"),
            Registrations,
        ),
        (
            "POST",
            "/registrations/{id}/register",
            Some("registrations:write"),
            Register,
        ),
        (
            "POST",
            "/registrations/{id}/unregister",
            Some("registrations:write"),
            Unregister,
        ),
        ("GET", "/contexts", Some("dialplan:read"), Contexts),
        (
            "GET",
            "/contexts/{context}/extensions",
            Some("dialplan:read"),
            Extensions,
        ),
        (
            "PUT",
            "/contexts/{context}/extensions/{exten}",
            Some("dialplan:write"),
            ReplaceExtension,
        ),
        (
            "DELETE",
            "/contexts/{context}/extensions/{exten}",
            Some("dialplan:write"),
            DeleteExtension,
        ),
        (
            "POST",
            "/contexts/{context}/validate",
            Some("dialplan:read"),
            Validate,
        ),
        ("GET", "/conferences", Some("conferences:read"), Conferences),
        (
            "GET",
            "/conferences/{name}",
            Some("conferences:read"),
            Conference,
        ),
        (
            "POST",
            "/conferences/{name}/lock",
            Some("conferences:write"),
            LockConference,
        ),
        (
            "POST",
            "/conferences/{name}/members/{id}/mute",
            Some("conferences:write"),
            MuteMember,
        ),
        (
            "DELETE",
            "/conferences/{name}/members/{id}",
            Some("conferences:write"),
            KickMember,
        ),
        ("GET", "/queues", Some("queues:read"), Queues),
        ("GET", "/queues/{name}", Some("queues:read"), Queue),
        (
            "POST",
            "/queues/{name}/members",
            Some("queues:write"),
            AddMember,
        ),
        (
            "PATCH",
            "/queues/{name}/members/{interface}",
            Some("queues:write"),
            ChangeMember,
        ),
        (
            "DELETE",
            "/queues/{name}/members/{interface}",
            Some("queues:write"),
            RemoveMember,
        ),
        ("GET", "/keys", Some("keys:read"), Keys),
        ("POST", "/keys", Some("keys:write"), MakeKey),
        ("DELETE", "/keys/{uuid}", Some("keys:write"), DeleteKey),
        ("GET", "/events", Some("events:read"), EventStream),
        ("GET", "/events/socket", Some("events:read"), EventSocket),
    ]
};

/// What stands in the places of a pattern, if an address fits it.
fn places(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return Some(found),
            (Some(pattern), Some(part)) if pattern.starts_with('{') => {
                let text = percent_encoding::percent_decode_str(part).decode_utf8();
                let text = text
                    .ok()
                    .filter(|text| !text.is_empty() && !text.contains('\0'))?;
                found.push(text.into_owned());
            }
            (Some(pattern), Some(part)) if pattern == part => {}
            _ => return None,
        }
    }
}

/// What is to be done, or why nothing can be.
fn route(method: &Method, path: &str) -> Result<(&'static Route, Vec<String>), Problem> {
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    let wanted = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    let mut allowed = Vec::new();
    let mut is_own = false;
    for route in ROUTES {
        let Some(places) = places(route.1, path) else {
            continue;
        };
        // An address of its own is none of those behind it in which something may be anything.
        if is_own && !places.is_empty() {
            continue;
        }
        is_own |= places.is_empty();
        if route.0 == wanted {
            return Ok((route, places));
        }
        allowed.push(route.0);
    }
    if allowed.is_empty() {
        let why = format!("there is nothing at {PREFIX}{path}; {PREFIX}/docs shows what there is");
        return Err(Problem::new(StatusCode::NOT_FOUND, why));
    }
    let why = format!("{method} is not understood here");
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, why).with_header("allow", &allowed.join(", ")))
}

/// The addresses of the API.
pub(crate) fn routes(
    api: Arc<V1>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    crate::http::incoming(|path| {
        path.strip_prefix(PREFIX)
            .is_some_and(|rest| rest.starts_with('/'))
    })
    .then(move |asked: Incoming| {
        let api = Arc::clone(&api);
        async move {
            let path = asked.path.clone();
            answer(api, asked)
                .await
                .unwrap_or_else(|problem| problem.at(&path).into_response())
        }
    })
}

async fn answer(api: Arc<V1>, asked: Incoming) -> Answered {
    let ((_, _, scope, operation), places) = route(&asked.method, &asked.path)?;
    let query = Parameters::of_query(&asked.query)?;
    let Some(scope) = scope else {
        return Ok(match operation {
            Operation::OpenApi => openapi::document(),
            Operation::Viewer => openapi::viewer(),
            _ => system::health(&api),
        });
    };
    let caller = api.keys.admit(&asked, &query).await?;
    if !caller.user.may(scope) {
        let why = format!("this key has no scope {scope} (`scopes` of its row in api_users)");
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    let on = On {
        api,
        caller,
        asked,
        query,
        places,
    };
    match operation {
        Operation::Health | Operation::OpenApi | Operation::Viewer => Ok(system::health(&on.api)),
        Operation::Version => Ok(system::version(&on)),
        Operation::Limits => Ok(system::limits(&on)),
        Operation::Calls => calls::list(on).await,
        Operation::Call => calls::one(on).await,
        Operation::Originate => calls::originate(on).await,
        Operation::HangUp => calls::hang_up(on).await,
        Operation::Redirect => calls::redirect(on).await,
        Operation::Bridge => calls::bridge(on).await,
        Operation::Transfer => transfers::transfer(on).await,
        Operation::GetVariable => calls::get_variable(on).await,
        Operation::SetVariable => calls::set_variable(on).await,
        Operation::Play => media::play(on).await,
        Operation::StopPlay => media::stop_play(on).await,
        Operation::Record => media::record(on).await,
        Operation::StopRecord => media::stop_record(on).await,
        Operation::PauseRecord => media::pause(on).await,
        Operation::ResumeRecord => media::resume(on).await,
        Operation::Dtmf => media::dtmf(on).await,
        Operation::Mute => media::mute(on).await,
        Operation::Recordings => recordings::search(on).await,
        Operation::Recording => recordings::fetch(on).await,
        Operation::DeleteRecording => recordings::delete(on).await,
        Operation::Retention => recordings::retention(&on),
        Operation::SetRetention => recordings::set_retention(on).await,
        Operation::Sounds => sounds::list(on).await,
        Operation::BringSound => sounds::bring(on).await,
        Operation::DeleteSound => sounds::delete(on).await,
        Operation::Cdr => cdr::search(on).await,
        Operation::Endpoints => phones::endpoints(&on),
        Operation::Endpoint => phones::endpoint(&on),
        Operation::Contacts => phones::contacts(&on),
        Operation::Registrations => phones::registrations(&on),
        Operation::Register => phones::register(&on),
        Operation::Unregister => phones::unregister(&on),
        Operation::Contexts => dialplan::contexts(&on),
        Operation::Extensions => dialplan::extensions(&on),
        Operation::ReplaceExtension => dialplan::replace(on).await,
        Operation::DeleteExtension => dialplan::delete(on).await,
        Operation::Validate => dialplan::validate(on).await,
        Operation::Conferences => rooms::list(on).await,
        Operation::Conference => rooms::one(on).await,
        Operation::LockConference => rooms::lock(on).await,
        Operation::MuteMember => rooms::mute(on).await,
        Operation::KickMember => rooms::kick(on).await,
        Operation::Queues => queues::list(&on),
        Operation::Queue => queues::one(&on),
        Operation::AddMember => queues::add(on).await,
        Operation::ChangeMember => queues::change(on).await,
        Operation::RemoveMember => queues::remove(&on),
        Operation::Keys => keys::list(&on),
        Operation::MakeKey => keys::make(on).await,
        Operation::DeleteKey => keys::delete(on).await,
        Operation::EventStream => events::sse(&on),
        Operation::EventSocket => events::socket::socket(&on),
    }
}

/// An answer without a body: it was done.
fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_leads_to_one_thing_or_says_what_is_allowed() {
        let found = |method: &str, path: &str| {
            let method: Method = method.parse().expect("a method");
            route(&method, path).map(|((.., operation), places)| (*operation, places))
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            found("GET", "/api/v1/calls").ok(),
            Some((Operation::Calls, vec![]))
        );
        assert_eq!(
            found("DELETE", "/api/v1/calls/PJSIP%2F100-0000000a").ok(),
            Some((Operation::HangUp, names(&["PJSIP/100-0000000a"])))
        );
        assert_eq!(
            found("GET", "/api/v1/calls/1.2/variables/CALLERID(num)").ok(),
            Some((Operation::GetVariable, names(&["1.2", "CALLERID(num)"])))
        );
        assert_eq!(
            found("HEAD", "/api/v1/recordings/1.2")
                .ok()
                .map(|found| found.0),
            Some(Operation::Recording)
        );
        let wrong = found("PUT", "/api/v1/calls").expect_err("not allowed");
        assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(wrong.headers.contains(&("allow", "GET, POST".to_owned())));
        assert_eq!(
            found("GET", "/api/v1/recordings/retention").ok(),
            Some((Operation::Retention, vec![]))
        );
        let wrong = found("DELETE", "/api/v1/recordings/retention").expect_err("not allowed");
        assert!(wrong.headers.contains(&("allow", "GET, PUT".to_owned())));
        for path in [
            "/api/v1/",
            "/api/v1/nothing",
            "/api/v1/calls/",
            "/api/v1/calls//play",
            "/api/v1/calls/%ff",
        ] {
            let wrong = found("GET", path).expect_err(path);
            assert_eq!(wrong.status, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn every_change_needs_a_scope_for_changes() {
        for (method, path, scope, operation) in ROUTES {
            let reads = *method == "GET" || *operation == Operation::Validate;
            let wanted = if reads { ":read" } else { ":write" };
            if let Some(scope) = scope {
                assert!(scope.ends_with(wanted), "{method} {path}");
            }
        }
        let open = ROUTES.iter().filter(|(_, _, scope, _)| scope.is_none());
        assert_eq!(open.count(), 3);
    }

    proptest! {
        #[test]
        fn no_address_is_too_strange(path in "/api/v1/\\PC{0,40}") {
            let _ = route(&Method::GET, &path);
        }
    }
}
