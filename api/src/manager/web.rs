//! The Manager over HTTP: one request, one action; a cookie or a digest says which session it belongs to. Events wait in the
//! stream until WaitEvent fetches them.

mod digest;
mod render;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use strowger_core::events::Listener;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use warp::http::{Method, Response, StatusCode};
use warp::{Filter, Rejection, Reply};

use super::answer::{self, Answer};
use super::classes::Classes;
use super::request::Request;
use super::session::Session;
use crate::http::Peer;

use super::{FAILURE_DELAY, Manager, Seat, actions, random};
use digest::Credentials;
use render::Form;

/// Sessions at most.
const SESSIONS_MAX: usize = 100;
/// How long a session lives that nobody has logged in to.
const STRANGER_LIFE: Duration = Duration::from_secs(5);
/// How long a nonce is good.
const NONCE_LIFE: Duration = Duration::from_secs(62);
/// Bytes of a request's body.
const BODY_MAX: u64 = 64 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 128;
/// Events that one WaitEvent gives at most; the rest waits for the next.
const EVENTS_MAX: usize = 1000;

/// One session.
struct WebSession {
    from: IpAddr,
    state: tokio::sync::Mutex<State>,
    expires: Mutex<Instant>,
    /// Grows with every request: who waits for events gives way.
    requests: watch::Sender<u64>,
    /// Of a session by digest: since when its nonce is known, and the last count of a request.
    nonce: Option<(Instant, Mutex<u32>)>,
}

#[derive(Default)]
struct State {
    session: Session,
    events: Option<Listener>,
    seat: Option<Seat>,
}

/// All sessions over HTTP, by cookie or nonce.
#[derive(Default)]
pub(super) struct Sessions(Mutex<FxHashMap<u64, Arc<WebSession>>>);

impl Sessions {
    fn find(&self, id: u64, from: IpAddr, by_digest: bool) -> Option<Arc<WebSession>> {
        let sessions = self.0.lock();
        let session = sessions.get(&id).filter(|session| {
            session.from == from
                && session.nonce.is_some() == by_digest
                && *session.expires.lock() > Instant::now()
        });
        session.cloned()
    }

    /// A new session; `None`: there are too many.
    fn make(&self, from: IpAddr, by_digest: bool) -> Option<(u64, Arc<WebSession>)> {
        self.sweep();
        let now = Instant::now();
        let life = if by_digest { NONCE_LIFE } else { STRANGER_LIFE };
        let session = Arc::new(WebSession {
            from,
            state: tokio::sync::Mutex::default(),
            expires: Mutex::new(now + life),
            requests: watch::channel(0).0,
            nonce: by_digest.then(|| (now, Mutex::new(0))),
        });
        let mut sessions = self.0.lock();
        if sessions.len() >= SESSIONS_MAX {
            return None;
        }
        loop {
            // A cookie has eight hexadecimal digits.
            let id = if by_digest {
                random()
            } else {
                random() & 0xffff_ffff
            };
            if id != 0 && !sessions.contains_key(&id) {
                sessions.insert(id, Arc::clone(&session));
                return Some((id, session));
            }
        }
    }

    fn remove(&self, id: u64) {
        self.0.lock().remove(&id);
    }

    /// Forgets who has been away too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut sessions = self.0.lock();
        sessions
            .retain(|_, session| *session.expires.lock() > now || Arc::strong_count(session) > 1);
    }
}

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
    from: SocketAddr,
    body: Bytes,
}

/// The addresses of the Manager, as long as manager.conf has `webenabled`.
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
        .and(warp::ext::optional::<Peer>())
        .and(
            warp::body::content_length_limit(BODY_MAX)
                .and(warp::body::bytes())
                .or(warp::any().map(Bytes::new))
                .unify(),
        )
        .then(
            move |(way, path): (Way, String),
                  method,
                  query,
                  cookie,
                  authorization,
                  from: Option<Peer>,
                  body| {
                let manager = Arc::clone(&manager);
                async move {
                    // Without an address no access list can be kept.
                    let Some(Peer(from)) = from else {
                        return plain(StatusCode::FORBIDDEN);
                    };
                    let asked = Asked {
                        method,
                        path,
                        query,
                        cookie,
                        authorization,
                        from,
                        body,
                    };
                    handle(&manager, way, asked).await
                }
            },
        )
}

fn plain(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

/// The parameters of a request, each a header of the action.
fn parameters(asked: &Asked) -> Option<Request> {
    let body = String::from_utf8_lossy(&asked.body);
    let text = match asked.method {
        Method::GET | Method::HEAD => asked.query.as_str(),
        Method::POST => &body,
        _ => return None,
    };
    let headers = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(HEADERS_MAX)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    Some(Request::new(headers))
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
fn cookie_id(cookie: &str) -> Option<u64> {
    cookie.split([';', ',']).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim() == "mansession_id")
            .then(|| u64::from_str_radix(value, 16).ok())
            .flatten()
    })
}

async fn handle(manager: &Arc<Manager>, way: Way, asked: Asked) -> Response<String> {
    let Some(request) = parameters(&asked) else {
        return plain(StatusCode::NOT_IMPLEMENTED);
    };
    let ip = asked.from.ip();
    let (id, web) = if way.by_digest {
        match by_digest(manager, &asked).await {
            Ok(found) => found,
            Err(response) => return *response,
        }
    } else {
        let known = asked.cookie.as_deref().and_then(cookie_id);
        let known = known.and_then(|id| Some((id, manager.web.find(id, ip, false)?)));
        match known.or_else(|| manager.web.make(ip, false)) {
            Some(found) => found,
            None => {
                manager.counts.refused.add(1);
                return plain(StatusCode::SERVICE_UNAVAILABLE);
            }
        }
    };
    manager.counts.actions.add(1);
    web.requests.send_modify(|number| *number += 1);
    let (text, ends) = {
        let mut state = web.state.lock().await;
        let done = act(manager, &web, &mut state, &request, asked.from).await;
        let life = if state.seat.is_some() {
            manager.settings().http_timeout
        } else {
            STRANGER_LIFE
        };
        if web.nonce.is_none() || state.seat.is_some() {
            *web.expires.lock() = Instant::now() + life;
        }
        done
    };
    if ends {
        manager.web.remove(id);
    }
    let mut response = Response::builder()
        .header("Server", "Asterisk")
        .header("Cache-Control", "no-cache, no-store")
        .header("Content-type", way.form.content_type())
        .header("Pragma", "SuppressEvents");
    if !way.by_digest {
        let age = manager.settings().http_timeout.as_secs();
        let cookie = format!("mansession_id=\"{id:08x}\"; Version=1; Max-Age={age}");
        response = response.header("Set-Cookie", cookie);
    }
    response
        .body(way.form.render(&text, &request))
        .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

/// The session that the credentials belong to; or what is asked for.
async fn by_digest(
    manager: &Arc<Manager>,
    asked: &Asked,
) -> Result<(u64, Arc<WebSession>), Box<Response<String>>> {
    let ip = asked.from.ip();
    let settings = manager.settings();
    let ask = |stale: bool| {
        Box::new(match manager.web.make(ip, true) {
            Some((nonce, _)) => digest::challenge(nonce, stale),
            None => {
                manager.counts.refused.add(1);
                plain(StatusCode::SERVICE_UNAVAILABLE)
            }
        })
    };
    let Some(credentials) = asked.authorization.as_deref().and_then(Credentials::read) else {
        return Err(ask(false));
    };
    let user = settings.find(&credentials.username);
    let secret = user.map_or("", |user| &user.secret);
    let target = match asked.query.as_str() {
        "" => asked.path.clone(),
        query => format!("{}?{query}", asked.path),
    };
    let proved = credentials.prove(secret, asked.method.as_str()) & credentials.is_for(&target);
    let Some(user) = user.filter(|_| proved) else {
        manager.counts.failures.add(1);
        tracing::warn!(from = %asked.from, "Manager: failed to authenticate over HTTP");
        tokio::time::sleep(FAILURE_DELAY).await;
        return Err(ask(false));
    };
    if !user.may_come_from(ip) {
        return Err(Box::new(plain(StatusCode::FORBIDDEN)));
    }
    let found = u64::from_str_radix(&credentials.nonce, 16)
        .ok()
        .and_then(|nonce| Some((nonce, manager.web.find(nonce, ip, true)?)));
    let Some((nonce, web)) = found else {
        return Err(ask(true));
    };
    let fresh = web.nonce.as_ref().is_some_and(|(since, count)| {
        let mut count = count.lock();
        let grows = credentials.count.is_none_or(|now| now > *count);
        if let Some(now) = credentials.count.filter(|_| grows) {
            *count = now;
        }
        grows && since.elapsed() < NONCE_LIFE
    });
    if !fresh {
        manager.web.remove(nonce);
        return Err(ask(true));
    }
    let mut state = web.state.lock().await;
    match state.session.user() {
        None => {
            state.session.become_user(user);
            state.session.mute();
            state.seat = Some(manager.seat(user, asked.from));
        }
        // A nonce belongs to who used it first.
        Some(known) if known.name != user.name => return Err(ask(true)),
        Some(_) => {}
    }
    drop(state);
    Ok((nonce, web))
}

/// Does what is asked: the text, and whether the session ends with it.
async fn act(
    manager: &Arc<Manager>,
    web: &WebSession,
    state: &mut State,
    request: &Request,
    from: SocketAddr,
) -> (String, bool) {
    let action = request.get("Action").to_ascii_lowercase();
    let text = match action.as_str() {
        "" => answer::error(request, "Missing action in request"),
        "login" => {
            let before = state.seat.is_some();
            let (text, seat) = manager.login(&mut state.session, request, from);
            if before {
                return (text, false);
            }
            let Some(seat) = seat else {
                tokio::time::sleep(FAILURE_DELAY).await;
                return (text, true);
            };
            state.seat = Some(seat);
            if request.given("Events").is_none() {
                state.session.mute();
            }
            follow_events(manager, state);
            text
        }
        "logoff" => {
            let text = answer::message(request, "Goodbye", "Thanks for all the fish.");
            return (text, true);
        }
        "challenge" => state.session.challenge(request),
        _ if state.session.user().is_none() => answer::error(request, "Permission denied"),
        "events" => {
            let text = state.session.change_events(request);
            follow_events(manager, state);
            text
        }
        "filter" if state.session.may(Classes::SYSTEM) => state.session.filter(request),
        "waitevent" => return wait_event(manager, web, state, request).await,
        _ => match state.session.user().cloned() {
            Some(user) => actions::perform(manager, &user, request).await,
            None => answer::error(request, "Permission denied"),
        },
    };
    (text, false)
}

fn follow_events(manager: &Manager, state: &mut State) {
    if !state.session.listens() {
        state.events = None;
    } else if state.events.is_none() {
        state.events = Some(manager.shared.events.subscribe());
    }
}

async fn wait_event(
    manager: &Arc<Manager>,
    web: &WebSession,
    state: &mut State,
    request: &Request,
) -> (String, bool) {
    let settings = manager.settings();
    let most = settings
        .http_timeout
        .saturating_sub(Duration::from_secs(10));
    let limit = request.get("Timeout").trim().parse::<u64>();
    let limit = limit.map_or(most, |seconds| Duration::from_secs(seconds).min(most));
    state.session.unmute();
    follow_events(manager, state);
    let mut requests = web.requests.subscribe();
    // The session is not to end while somebody waits in it.
    *web.expires.lock() = Instant::now() + limit + settings.http_timeout;
    let mut told = String::new();
    let mut count = 0;
    let over = tokio::time::sleep(limit);
    tokio::pin!(over);
    while let Some(events) = &mut state.events {
        // Everything that is there is given at once.
        let event = match events.try_recv() {
            Err(TryRecvError::Empty) if !told.is_empty() => break,
            Err(TryRecvError::Empty) => tokio::select! {
                event = events.recv() => event,
                () = &mut over => break,
                _ = requests.changed() => break,
            },
            Ok(event) => Ok(event),
            Err(TryRecvError::Lagged(lost)) => Err(RecvError::Lagged(lost)),
            Err(TryRecvError::Closed) => Err(RecvError::Closed),
        };
        match event {
            Ok(event) => {
                let stamp = Manager::stamp(&settings);
                if let Some(text) = state.session.event(&event, &settings, &stamp) {
                    manager.counts.events.add(1);
                    told.push_str(&text);
                    count += 1;
                    if count >= EVENTS_MAX {
                        break;
                    }
                }
            }
            Err(RecvError::Lagged(lost)) => {
                manager.counts.slow.add(1);
                tracing::warn!(
                    lost,
                    "Manager: session over HTTP ended, it fetches its events too slowly"
                );
                let text = "Events were lost because this session reads too slowly.";
                return (answer::message(request, "Goodbye", text), true);
            }
            Err(RecvError::Closed) => break,
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

    #[test]
    fn sessions_have_a_limit_and_belong_to_an_address() {
        let sessions = Sessions::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        let (id, session) = sessions.make(here, false).expect("a session");
        assert!(id != 0 && id <= 0xffff_ffff);
        assert!(sessions.find(id, here, false).is_some());
        assert!(sessions.find(id, here, true).is_none());
        assert!(
            sessions
                .find(id, IpAddr::from([127, 0, 0, 2]), false)
                .is_none()
        );
        let mut more = 0;
        while sessions.make(here, false).is_some() {
            more += 1;
        }
        assert_eq!(more + 1, SESSIONS_MAX);
        *session.expires.lock() = Instant::now();
        drop(session);
        assert!(sessions.find(id, here, false).is_none());
        assert!(sessions.make(here, false).is_some());
    }
}
