//! The Manager over HTTP: one request, one action; a cookie or a digest says which session it belongs to. Events wait in the
//! stream until WaitEvent fetches them.

mod digest;
mod render;
mod sessions;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use warp::http::{Method, Response, StatusCode};
use warp::{Filter, Rejection, Reply};

use super::answer::{self, Answer};
use super::classes::Classes;
use super::request::Request;
use super::session::Refused;
use super::{FAILURE_DELAY, Manager, Peer, actions};
use digest::Credentials;
use render::Form;
pub(super) use sessions::Sessions;
use sessions::{Key, Nonce, STRANGER_LIFE, WebSession};

/// Bytes of a request's body.
const BODY_MAX: usize = 64 * 1024;
/// Bytes of a longer one that are read and forgotten, so that its sender hears why.
const DRAINED_MAX: usize = 1024 * 1024;
/// How long a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(10);
/// Headers of a request.
const HEADERS_MAX: usize = 128;
/// Events that one WaitEvent gives at most; the rest waits for the next.
const EVENTS_MAX: usize = 1000;

/// Which of the six addresses was asked.
#[derive(Clone, Copy, Debug)]
struct Way {
    form: Form,
    by_digest: bool,
}

impl Way {
    fn of(path: &str) -> Option<Self> {
        let name = path.strip_prefix('/')?;
        let name = name.strip_prefix("asterisk/").unwrap_or(name);
        let (form, by_digest) = match name {
            "rawman" => (Form::Raw, false),
            "mxml" => (Form::Xml, false),
            "manager" => (Form::Html, false),
            "arawman" => (Form::Raw, true),
            "amxml" => (Form::Xml, true),
            "amanager" => (Form::Html, true),
            _ => return None,
        };
        Some(Self { form, by_digest })
    }
}

/// What an HTTP request says.
struct Asked {
    method: Method,
    path: String,
    query: String,
    cookie: Option<String>,
    authorization: Option<String>,
    peer: Peer,
    body: Vec<u8>,
}

/// The addresses of the Manager, as long as manager.conf has `enabled` and `webenabled`.
pub(crate) fn routes(
    manager: Arc<Manager>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let wanted = Arc::clone(&manager);
    warp::path::full()
        .and_then(move |path: warp::path::FullPath| {
            let enabled = wanted.settings().web_enabled;
            let way = Way::of(path.as_str()).filter(|_| enabled);
            async move {
                way.map(|way| (way, path.as_str().to_owned()))
                    .ok_or_else(warp::reject::not_found)
            }
        })
        .and(warp::method())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::optional::<String>("cookie"))
        .and(warp::header::optional::<String>("authorization"))
        .and(warp::ext::optional::<crate::http::Peer>())
        .and(warp::body::stream())
        .then(
            move |(way, path): (Way, String),
                  method,
                  query,
                  cookie,
                  authorization,
                  from: Option<crate::http::Peer>,
                  body| {
                let manager = Arc::clone(&manager);
                async move {
                    // Without an address no access list can be kept.
                    let from = from.map(|crate::http::Peer(from)| from);
                    let Some(remote) = from.filter(|from| manager.admits(from.ip())) else {
                        return plain(StatusCode::FORBIDDEN);
                    };
                    let body = match tokio::time::timeout(BODY_WAIT, whole(body)).await {
                        Ok(Ok(body)) => body,
                        Ok(Err(status)) => return plain(status),
                        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT),
                    };
                    let local = manager.shared.config.http.bind;
                    let asked = Asked {
                        method,
                        path,
                        query,
                        cookie,
                        authorization,
                        peer: Peer { local, remote },
                        body,
                    };
                    handle(&manager, way, asked).await
                }
            },
        )
}

/// A body however it is framed, as far as it is not too long.
async fn whole<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Vec<u8>, StatusCode> {
    let mut body = pin!(body);
    let (mut whole, mut length) = (Vec::new(), 0);
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|_| StatusCode::BAD_REQUEST)?;
        length += part.remaining();
        if length > DRAINED_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if length > BODY_MAX {
            continue;
        }
        while part.has_remaining() {
            let bytes = part.chunk();
            let count = bytes.len();
            whole.extend_from_slice(bytes);
            part.advance(count);
        }
    }
    if length > BODY_MAX {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    Ok(whole)
}

fn plain(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

/// The parameters of a request, each a header of the action, and whether these are all of them.
fn parameters(asked: &Asked) -> Option<(Request, bool)> {
    let body = String::from_utf8_lossy(&asked.body);
    let text = match asked.method {
        Method::GET | Method::HEAD => asked.query.as_str(),
        Method::POST => &body,
        _ => return None,
    };
    let mut pairs = text.split('&').filter(|pair| !pair.is_empty());
    let headers = pairs
        .by_ref()
        .take(HEADERS_MAX)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    Some((Request::new(headers), pairs.next().is_none()))
}

/// `%41+b` is `A b`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = after
                    .get(..2)
                    .and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = &after[2..];
                    }
                    None => bytes.push(b'%'),
                }
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The number in `mansession_id="0123abcd"`.
fn cookie_id(cookie: &str) -> Option<u32> {
    cookie.split([';', ',']).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim() == "mansession_id")
            .then(|| u32::from_str_radix(value, 16).ok())
            .flatten()
    })
}

async fn handle(manager: &Arc<Manager>, way: Way, asked: Asked) -> Response<String> {
    let Some((request, is_whole)) = parameters(&asked) else {
        return plain(StatusCode::NOT_IMPLEMENTED);
    };
    let found = if way.by_digest {
        match by_digest(manager, &asked).await {
            Ok(found) => Some(found),
            Err(response) => return *response,
        }
    } else {
        by_cookie(manager, &asked, &request)
    };
    manager.counts.actions.add(1);
    let mut response = Response::builder()
        .header("Server", "Asterisk")
        .header("Cache-Control", "no-cache, no-store")
        .header("Content-type", way.form.content_type())
        .header("Pragma", "SuppressEvents");
    let text = match &found {
        _ if !is_whole => {
            answer::error(&request, "Too many lines in message or allocation failure")
        }
        None => without_session(&request),
        Some((key, web)) => {
            let timeout = manager.settings().http_timeout;
            let prolong = || {
                let is_users = web.state.lock().seat.is_some();
                let life = if is_users { timeout } else { STRANGER_LIFE };
                *web.expires.lock() = Instant::now() + life;
            };
            // What is asked for may take its time.
            prolong();
            let (text, ends) = act(manager, web, &request, asked.peer).await;
            prolong();
            if ends {
                end(manager, key, web);
            }
            if let Key::Cookie(id) = key {
                let age = timeout.as_secs();
                let cookie = format!("mansession_id=\"{id:08x}\"; Version=1; Max-Age={age}");
                response = response.header("Set-Cookie", cookie);
            }
            text
        }
    };
    response
        .body(way.form.render(&text, &request))
        .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

/// The session is over, also for who waits in it.
fn end(manager: &Manager, key: &Key, web: &WebSession) {
    manager.web.remove(key);
    let gone = std::mem::take(&mut *web.state.lock());
    drop(gone);
    web.next_wait();
}

/// What is answered to who has no session and does not want to log in.
fn without_session(request: &Request) -> String {
    match request.get("Action").to_ascii_lowercase().as_str() {
        "" => answer::error(request, "Missing action in request"),
        "logoff" => answer::message(request, "Goodbye", "Thanks for all the fish."),
        _ => answer::error(request, "Permission denied"),
    }
}

/// The session of the cookie. Nothing is kept of who has none, unless he is about to log in.
fn by_cookie(
    manager: &Manager,
    asked: &Asked,
    request: &Request,
) -> Option<(Key, Arc<WebSession>)> {
    let ip = asked.peer.remote.ip();
    let known = asked.cookie.as_deref().and_then(cookie_id).and_then(|id| {
        let key = Key::Cookie(id);
        let web = manager.web.find(&key, ip)?;
        Some((key, web))
    });
    let action = request.get("Action");
    let begins = ["login", "challenge"]
        .iter()
        .any(|name| action.eq_ignore_ascii_case(name));
    known.or_else(|| begins.then(|| manager.web.make(ip)))
}

/// The session that the credentials belong to; or what is asked for.
async fn by_digest(
    manager: &Arc<Manager>,
    asked: &Asked,
) -> Result<(Key, Arc<WebSession>), Box<Response<String>>> {
    let ip = asked.peer.remote.ip();
    let settings = manager.settings();
    let ask = |stale: bool| Box::new(digest::challenge(&manager.web.nonce(ip), stale));
    let Some(credentials) = asked.authorization.as_deref().and_then(Credentials::read) else {
        return Err(ask(false));
    };
    // Before anything is said of a secret: was this nonce given to him?
    let nonce = manager.web.judge(&credentials.nonce, ip);
    if nonce == Nonce::Foreign {
        return Err(ask(true));
    }
    let account = &credentials.username;
    let Some(user) = settings.find(account) else {
        manager.judge(Err(Refused::Unknown), account, asked.peer);
        tokio::time::sleep(FAILURE_DELAY).await;
        return Err(ask(false));
    };
    // Whoever may not come from there learns nothing about the secret.
    if !user.may_come_from(ip) {
        manager.judge(Err(Refused::Denied), account, asked.peer);
        tokio::time::sleep(FAILURE_DELAY).await;
        return Err(Box::new(plain(StatusCode::FORBIDDEN)));
    }
    let target = match asked.query.as_str() {
        "" => asked.path.clone(),
        query => format!("{}?{query}", asked.path),
    };
    if !(credentials.prove(&user.secret, asked.method.as_str()) & credentials.is_for(&target)) {
        manager.judge(Err(Refused::Wrong), account, asked.peer);
        tokio::time::sleep(FAILURE_DELAY).await;
        return Err(ask(false));
    }
    let key = Key::Nonce(credentials.nonce.clone());
    let web = match nonce {
        Nonce::Good => manager.web.of_nonce(&credentials.nonce, ip),
        _ => manager.web.find(&key, ip),
    };
    let Some(web) = web else {
        if nonce != Nonce::Good {
            return Err(ask(true));
        }
        manager.counts.refused.add(1);
        return Err(Box::new(plain(StatusCode::SERVICE_UNAVAILABLE)));
    };
    if let Some(now) = credentials.count {
        let mut count = web.count.lock();
        if now <= *count {
            return Err(ask(true));
        }
        *count = now;
    }
    if nonce != Nonce::Good {
        // What the session has of filters and events goes on under the new nonce.
        let renewed = manager.web.renew(&credentials.nonce, ip);
        return Err(Box::new(digest::challenge(&renewed, true)));
    }
    let known = {
        let mut state = web.state.lock();
        if state.session.user().is_none() {
            state.seat = manager.seat(user, asked.peer);
            if state.seat.is_some() {
                manager.judge(Ok(()), account, asked.peer);
                state.session.become_user(user);
                state.session.mute();
                let life = settings.http_timeout;
                *web.expires.lock() = Instant::now() + life;
            }
        }
        state.session.user().map(|user| user.name == *account)
    };
    match known {
        Some(true) => Ok((key, web)),
        // A nonce belongs to who used it first.
        Some(false) => Err(ask(true)),
        // He is in session elsewhere, and may not be twice.
        None => {
            manager.web.remove(&key);
            Err(Box::new(plain(StatusCode::FORBIDDEN)))
        }
    }
}

/// Does what is asked: the text, and whether the session ends with it. Other requests of the session are served meanwhile.
async fn act(
    manager: &Arc<Manager>,
    web: &WebSession,
    request: &Request,
    peer: Peer,
) -> (String, bool) {
    let action = request.get("Action").to_ascii_lowercase();
    let user = web.state.lock().session.user().cloned();
    let text = match action.as_str() {
        "" => answer::error(request, "Missing action in request"),
        "login" => return login(manager, web, request, peer).await,
        "logoff" => {
            let text = answer::message(request, "Goodbye", "Thanks for all the fish.");
            return (text, true);
        }
        "challenge" => web.state.lock().session.challenge(request),
        "events" if user.is_some() => {
            let text = web.state.lock().session.change_events(request);
            follow_events(manager, web);
            text
        }
        "filter" if web.state.lock().session.may(Classes::SYSTEM) => {
            web.state.lock().session.filter(request)
        }
        "waitevent" if user.is_some() => {
            let number = web.next_wait();
            return wait_event(manager, web, number, request).await;
        }
        _ => match user {
            Some(user) => actions::perform(manager, &user, request).await,
            None => answer::error(request, "Permission denied"),
        },
    };
    (text, false)
}

async fn login(
    manager: &Arc<Manager>,
    web: &WebSession,
    request: &Request,
    peer: Peer,
) -> (String, bool) {
    let (text, seat, before) = {
        let mut state = web.state.lock();
        let before = state.seat.is_some();
        let (text, seat) = manager.login(&mut state.session, request, peer);
        (text, seat, before)
    };
    if before {
        return (text, false);
    }
    let Some(seat) = seat else {
        tokio::time::sleep(FAILURE_DELAY).await;
        return (text, true);
    };
    if !manager.web.admit(web) {
        manager.counts.refused.add(1);
        let most = sessions::USERS_MAX;
        let text = format!("Too many sessions: {most} are the most over HTTP");
        return (answer::error(request, &text), true);
    }
    {
        let mut state = web.state.lock();
        state.seat = Some(seat);
        if request.given("Events").is_none() {
            state.session.mute();
        }
    }
    follow_events(manager, web);
    (text, false)
}

/// Takes part in the stream, or no longer. Who waits for events at the moment sees to that himself.
fn follow_events(manager: &Manager, web: &WebSession) {
    let listens = web.state.lock().session.listens();
    if let Ok(mut events) = web.events.try_lock() {
        if !listens {
            *events = None;
        } else if events.is_none() {
            *events = Some(manager.listen());
        }
    }
}

async fn wait_event(
    manager: &Arc<Manager>,
    web: &WebSession,
    number: u64,
    request: &Request,
) -> (String, bool) {
    let settings = manager.settings();
    let most = settings
        .http_timeout
        .saturating_sub(Duration::from_secs(10));
    let limit = request.get("Timeout").trim().parse::<u64>();
    let limit = limit.map_or(most, |seconds| Duration::from_secs(seconds).min(most));
    // The session is not to end while somebody waits in it.
    *web.expires.lock() = Instant::now() + limit + settings.http_timeout;
    let mut waits = web.waits.subscribe();
    let newer = waits.wait_for(|newest| *newest > number);
    let over = tokio::time::sleep(limit);
    tokio::pin!(newer, over);
    let mut told = String::new();
    let events = tokio::select! {
        biased;
        _ = &mut newer => None,
        events = web.events.lock() => Some(events),
    };
    if let Some(mut events) = events {
        web.state.lock().session.unmute();
        if web.lost.load(Ordering::Relaxed) {
            return too_slow(manager, request, 0);
        }
        if events.is_none() {
            *events = Some(manager.listen());
        }
        let mut count = 0;
        while let Some(listener) = events.as_mut() {
            // Everything that is there is given at once.
            let event = match listener.try_recv() {
                Err(TryRecvError::Empty) if !told.is_empty() => break,
                Err(TryRecvError::Empty) => tokio::select! {
                    event = listener.recv() => event,
                    () = &mut over => break,
                    _ = &mut newer => break,
                },
                Ok(event) => Ok(event),
                Err(TryRecvError::Lagged(lost)) => Err(RecvError::Lagged(lost)),
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
            };
            match event {
                Ok(event) => {
                    let stamp = Manager::stamp(&settings, &event);
                    let text = web.state.lock().session.event(&event, &settings, &stamp);
                    if let Some(text) = text {
                        manager.counts.events.add(1);
                        told.push_str(&text);
                        count += 1;
                        if count >= EVENTS_MAX {
                            break;
                        }
                    }
                }
                Err(RecvError::Lagged(lost)) => return too_slow(manager, request, lost),
                Err(RecvError::Closed) => break,
            }
        }
        if !web.state.lock().session.listens() {
            *events = None;
        }
    }
    let mut text = Answer::to(request);
    text.response("Success")
        .line("Message", "Waiting for Event completed.")
        .end();
    let mut end = Answer::to(request);
    end.bare_item("WaitEventComplete").id().end();
    let text = format!("{}{told}{}", text.into_text(), end.into_text());
    (text, false)
}

fn too_slow(manager: &Manager, request: &Request, lost: u64) -> (String, bool) {
    // Whoever was cut off before is counted already.
    manager.counts.slow.add(u64::from(lost > 0));
    tracing::warn!(
        lost,
        "Manager: session over HTTP ended, it fetches its events too slowly"
    );
    let text = "Events were lost because this session reads too slowly.";
    (answer::message(request, "Goodbye", text), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_have_two_names() {
        for name in ["rawman", "mxml", "manager", "arawman", "amxml", "amanager"] {
            for path in [format!("/{name}"), format!("/asterisk/{name}")] {
                let way = Way::of(&path).expect("a way");
                assert_eq!(way.by_digest, name.starts_with('a'), "{path}");
            }
        }
        for path in [
            "/",
            "/rawman/",
            "/other/rawman",
            "rawman",
            "/asterisk/asterisk/mxml",
        ] {
            assert!(Way::of(path).is_none(), "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded_and_cookies_found() {
        assert_eq!(decoded("a%2Bb+c%D0%96%zz%4"), "a+b cЖ%zz%4");
        assert_eq!(
            cookie_id("x=1; mansession_id=\"0000abcd\"; y"),
            Some(0xabcd)
        );
        assert_eq!(cookie_id("mansession_id=xyz"), None);
        assert_eq!(cookie_id(""), None);
    }
}
