//! What happens, as a stream (server-sent events, WebSocket). Events have numbers; the last of them are kept, so that who comes
//! back goes on where he was. Who reads too slowly is told so and left; nobody else waits for him.

pub(super) mod socket;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{Local, SecondsFormat};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::Serialize;
use strowger_core::Shared;
use strowger_core::counters::Counter;
use strowger_core::events::{Event, Listener};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;
use warp::Reply as _;
use warp::http::StatusCode;
use warp::http::header::HeaderValue;

use super::problem::Problem;
use super::{Answered, On};
use crate::http::Fields;
use crate::keys::{Caller, Keys};

/// Events that are kept.
pub(super) const KEPT_MAX: usize = 20_000;
/// Bytes of them.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Who listens at a time.
const READERS_MAX: usize = 2000;
/// Of these, with one key.
const READERS_OF_KEY_MAX: usize = 1000;
/// Events that a reader takes at a time.
const BATCH: usize = 128;
/// How long events are kept going when the last reader has left, so that he can come back.
const LINGER: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A sign of life where nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// An event with its number.
struct Numbered {
    number: u64,
    /// RFC 3339.
    time: String,
    event: Arc<Event>,
    /// What it counts for, with its text.
    bytes: usize,
    /// Written by the first reader who wants it.
    written: OnceLock<Arc<Written>>,
}

/// An event as readers get it: the same for all of them.
struct Written {
    /// `id: ...`, `event: ...`, `data: ...`.
    lines: String,
    /// Its object of JSON, within the lines.
    json: Range<usize>,
}

impl Written {
    fn of(event: &EventView) -> Self {
        let data = serde_json::to_string(event).unwrap_or_default();
        let lines = format!("id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.event);
        let end = lines.len() - 2;
        Self {
            json: end - data.len()..end,
            lines,
        }
    }

    fn json(&self) -> &str {
        self.lines.get(self.json.clone()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Kept {
    events: VecDeque<Arc<Numbered>>,
    /// Bytes of them.
    bytes: usize,
    /// The number of the next.
    next: u64,
    /// The first behind those that were lost before anybody here had them.
    gap: u64,
}

impl Kept {
    /// Keeps an event; how many had to make room for it.
    fn push(&mut self, event: Arc<Event>, time: String) -> u64 {
        let number = self.next;
        self.next += 1;
        // As fields and as text.
        let bytes = 2 * event.bytes();
        self.bytes += bytes;
        let mut forgotten = 0;
        while self.events.len() >= KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
            forgotten += 1;
        }
        self.events.push_back(Arc::new(Numbered {
            number,
            time,
            event,
            bytes,
            written: OnceLock::new(),
        }));
        forgotten
    }
}

/// The events of this process, with numbers; they are counted only while somebody listens or just did.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    /// Tells numbers of this process from those of another.
    boot: u64,
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
    readers: AtomicUsize,
    /// The same by key.
    of_key: Mutex<FxHashMap<String, usize>>,
    runs: AtomicBool,
    /// Events that made room for others.
    forgotten: Counter,
    /// The exchange ends.
    ending: watch::Sender<bool>,
}

impl Stream {
    pub(crate) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let since = shared.started.duration_since(std::time::UNIX_EPOCH);
        Arc::new(Self {
            shared: Arc::clone(shared),
            boot: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            kept: Mutex::default(),
            newest: watch::channel(0).0,
            readers: AtomicUsize::new(0),
            of_key: Mutex::default(),
            runs: AtomicBool::new(false),
            forgotten: Counter::default(),
            ending: watch::channel(false).0,
        })
    }

    /// Keeps an event.
    fn keep(&self, event: Arc<Event>, at: std::time::SystemTime) {
        let at: chrono::DateTime<Local> = at.into();
        let time = at.to_rfc3339_opts(SecondsFormat::Millis, false);
        let forgotten = self.kept.lock().push(event, time);
        self.forgotten.add(forgotten);
    }

    /// Lets readers know that there is something new.
    fn announce(&self) {
        let next = self.kept.lock().next;
        self.newest.send_replace(next);
    }

    /// Every reader gets what is there, and is left.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Does anybody listen?
    pub(crate) fn is_read(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// What is counted, for the metrics page.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        let (events, bytes) = {
            let kept = self.kept.lock();
            (kept.events.len() as u64, kept.bytes as u64)
        };
        vec![
            (
                "event_readers_running",
                self.readers.load(Ordering::Relaxed) as u64,
            ),
            ("events_kept", events),
            ("events_bytes_kept", bytes),
            ("events_forgotten", self.forgotten.get()),
        ]
    }

    /// These were lost before anybody here had them: their numbers are left out, which readers notice.
    fn skip(&self, lost: u64) {
        let mut kept = self.kept.lock();
        kept.events.clear();
        kept.bytes = 0;
        kept.next += lost;
        kept.gap = kept.next;
    }

    /// Follows what happens until nobody has listened for a while.
    async fn follow(self: Arc<Self>, mut listener: Listener) {
        let mut alone: Option<Instant> = None;
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                told = listener.recv() => {
                    let mut next = told;
                    // What came with it is announced with it.
                    for left in (0..BATCH).rev() {
                        match next {
                            Ok(told) => self.keep(told.event(), told.at),
                            Err(RecvError::Lagged(lost)) => self.skip(lost),
                            Err(RecvError::Closed) => return,
                        }
                        if left == 0 {
                            break;
                        }
                        next = match listener.try_recv() {
                            Ok(told) => Ok(told),
                            Err(TryRecvError::Lagged(lost)) => Err(RecvError::Lagged(lost)),
                            Err(_) => break,
                        };
                    }
                    self.announce();
                }
                _ = look.tick() => {
                    if self.readers.load(Ordering::SeqCst) > 0 {
                        alone = None;
                    } else if alone.get_or_insert_with(Instant::now).elapsed() >= LINGER {
                        self.runs.store(false, Ordering::SeqCst);
                        let came = self.readers.load(Ordering::SeqCst) > 0;
                        if !came || self.runs.swap(true, Ordering::SeqCst) {
                            // What happens from now on is not seen: numbers go on behind a gap.
                            self.skip(1);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Somebody listens from now on, or from behind the event that he names.
    ///
    /// # Errors
    /// Too many listen.
    fn join(
        self: &Arc<Self>,
        last: &str,
        keys: &Arc<Keys>,
        wanted: Wanted,
    ) -> Result<Reader, Problem> {
        if self.readers.fetch_add(1, Ordering::SeqCst) >= READERS_MAX {
            self.readers.fetch_sub(1, Ordering::SeqCst);
            let why = format!("{READERS_MAX} programs listen, which is the limit");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        let uuid = wanted.caller.user.uuid.clone();
        {
            let mut of_key = self.of_key.lock();
            let count = of_key.entry(uuid).or_default();
            if *count >= READERS_OF_KEY_MAX {
                self.readers.fetch_sub(1, Ordering::SeqCst);
                let why = format!(
                    "{READERS_OF_KEY_MAX} programs listen with this key, which is the limit"
                );
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
            }
            *count += 1;
        }
        if !self.runs.swap(true, Ordering::SeqCst) {
            let listener = self.shared.listen();
            tokio::spawn(Arc::clone(self).follow(listener));
        }
        let newest = self.kept.lock().next;
        let place = self.place(last);
        Ok(Reader {
            stream: Arc::clone(self),
            news: self.newest.subscribe(),
            ending: self.ending.subscribe(),
            wanted,
            // Who comes from another process missed what cannot be said.
            missed: !last.is_empty() && place.is_none_or(|place| place > newest),
            next: place.filter(|place| *place <= newest).unwrap_or(newest),
            began: last.is_empty() || place.is_none(),
            checked: Instant::now(),
            keys: Arc::clone(keys),
        })
    }

    /// The place of who names the last event that he had; None: it is of another process, or no name.
    fn place(&self, id: &str) -> Option<u64> {
        let (boot, number) = id.split_once('-')?;
        let same = u64::from_str_radix(boot, 16).ok()? == self.boot;
        let number = number.parse::<u64>().ok()?;
        same.then(|| number.saturating_add(1))
    }

    fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.boot)
    }

    fn write(&self, told: &Numbered) -> Arc<Written> {
        let fields = told.event.fields.iter();
        let fields = fields.map(|(name, value)| (name.to_string(), Some(value.clone())));
        Arc::new(Written::of(&EventView {
            id: self.id(told.number),
            time: told.time.clone(),
            event: told.event.name.to_owned(),
            fields: Fields(fields.collect()),
        }))
    }
}

/// What somebody wants to hear of.
struct Wanted {
    caller: Caller,
    /// Empty: all.
    names: Vec<String>,
    call: Option<String>,
    channel: Option<String>,
    context: Option<String>,
}

impl Wanted {
    fn of(on: &On) -> Self {
        let given = |name: &str| on.query.given(name).map(str::to_owned);
        let names = on.query.get("events").split(',').map(str::trim);
        Self {
            caller: on.caller.clone(),
            names: names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            call: given("call"),
            channel: given("channel"),
            context: given("context"),
        }
    }

    fn fits(&self, event: &Event) -> bool {
        let any = |ending: &str, fits: &dyn Fn(&str) -> bool| {
            let mut fields = event.fields.iter();
            fields.any(|(name, value)| name.ends_with(ending) && fits(value))
        };
        (self.names.is_empty()
            || self
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(event.name)))
            && self.call.as_ref().is_none_or(|call| {
                any("Uniqueid", &|value| value == call) || any("Linkedid", &|value| value == call)
            })
            && self
                .channel
                .as_ref()
                .is_none_or(|channel| any("Channel", &|value| value.starts_with(channel.as_str())))
            && self
                .context
                .as_ref()
                .is_none_or(|context| any("Context", &|value| value == context))
            && self.is_own(event)
    }

    /// Is it about something of the caller's group?
    fn is_own(&self, event: &Event) -> bool {
        if self.caller.group().is_none() {
            return true;
        }
        event.fields.iter().any(|(name, value)| {
            if let Some(prefix) = name.strip_suffix("Channel") {
                let context = event.field(&format!("{prefix}Context")).unwrap_or_default();
                return self.caller.owns_channel(value, context);
            }
            match &**name {
                "Device" | "Peer" => value
                    .strip_prefix("PJSIP/")
                    .is_some_and(|id| self.caller.owns_endpoint(id)),
                "EndpointName" => self.caller.owns_endpoint(value),
                "Context" => self.caller.owns_context(value),
                _ => false,
            }
        })
    }
}

/// Somebody who listens, as long as this lives.
struct Reader {
    stream: Arc<Stream>,
    news: watch::Receiver<u64>,
    ending: watch::Receiver<bool>,
    wanted: Wanted,
    next: u64,
    missed: bool,
    /// When his key was looked up.
    checked: Instant,
    keys: Arc<Keys>,
    /// He has nothing yet that could be missing.
    began: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stream.readers.fetch_sub(1, Ordering::SeqCst);
        let mut of_key = self.stream.of_key.lock();
        if let Some(count) = of_key.get_mut(&self.wanted.caller.user.uuid) {
            *count -= 1;
            if *count == 0 {
                of_key.remove(&self.wanted.caller.user.uuid);
            }
        }
    }
}

/// What a reader is told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventView {
    /// Its number; `Last-Event-ID` or `after` go on behind it.
    id: String,
    /// RFC 3339.
    time: String,
    /// The name of the event in the Manager; `Missed`: events before this were lost; `TooSlow`, `Closed`, `Ending`: it is the last, because the
    /// reader does not keep up, his key opens nothing any more, or the exchange ends.
    event: String,
    /// As in the Manager.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    fields: Fields,
}

/// What comes next.
enum Next {
    Events(Vec<Arc<Written>>),
    /// Nothing happened for a while.
    Silence,
    /// The reader is left: the name of the event that says why, and what he gets.
    End(&'static str, Arc<Written>),
}

impl Reader {
    fn special(&self, name: &str, number: u64) -> Arc<Written> {
        Arc::new(Written::of(&EventView {
            id: self.stream.id(number),
            time: Local::now().to_rfc3339_opts(SecondsFormat::Millis, false),
            event: name.to_owned(),
            fields: Fields::default(),
        }))
    }

    fn end(&self, why: &'static str, number: u64) -> Next {
        Next::End(why, self.special(why, number))
    }

    /// Waits for what comes next.
    async fn next(&mut self) -> Next {
        let until = Instant::now() + HEARTBEAT;
        loop {
            if self.checked.elapsed() >= HEARTBEAT {
                self.checked = Instant::now();
                match self.keys.again(&self.wanted.caller) {
                    Some(caller) if caller.user.may("events:read") => self.wanted.caller = caller,
                    _ => return self.end("Closed", self.next.saturating_sub(1)),
                }
            }
            self.news.borrow_and_update();
            if let Some(next) = self.take() {
                return next;
            }
            if *self.ending.borrow() {
                return self.end("Ending", self.next.saturating_sub(1));
            }
            let changed = tokio::select! {
                changed = tokio::time::timeout_at(until, self.news.changed()) => changed,
                _ = self.ending.changed() => Ok(Ok(())),
            };
            if !matches!(changed, Ok(Ok(()))) {
                return Next::Silence;
            }
        }
    }

    /// Takes what is there; None: nothing that he wants.
    fn take(&mut self) -> Option<Next> {
        if std::mem::take(&mut self.missed) {
            return Some(Next::Events(vec![
                self.special("Missed", self.next.saturating_sub(1)),
            ]));
        }
        loop {
            let (batch, oldest, gap) = {
                let kept = self.stream.kept.lock();
                let oldest = kept.events.front().map_or(kept.next, |event| event.number);
                let skip = usize::try_from(self.next.saturating_sub(oldest)).unwrap_or(usize::MAX);
                let until = skip.saturating_add(BATCH).min(kept.events.len());
                let batch = kept.events.range(skip.min(until)..until).cloned();
                (batch.collect::<Vec<_>>(), oldest, kept.gap)
            };
            if oldest > self.next {
                let behind = oldest - 1;
                // What nobody here had is no fault of the reader.
                let lost = self.next < gap;
                self.next = oldest;
                // Who has just come back may have been away too long; who was here all the time is too slow.
                if std::mem::replace(&mut self.began, true) && !lost {
                    return Some(self.end("TooSlow", behind));
                }
                return Some(Next::Events(vec![self.special("Missed", behind)]));
            }
            self.began = true;
            let last = batch.last()?.number;
            self.next = last + 1;
            let wanted = batch.iter().filter(|told| self.wanted.fits(&told.event));
            let written: Vec<_> = wanted
                .map(|told| Arc::clone(told.written.get_or_init(|| self.stream.write(told))))
                .collect();
            if !written.is_empty() {
                return Some(Next::Events(written));
            }
        }
    }
}

/// The last event that a reader had.
fn last_of(on: &On) -> String {
    let header = on.asked.header("last-event-id");
    let last = if header.is_empty() {
        on.query.get("after")
    } else {
        header
    };
    last.to_owned()
}

/// What happens, as server-sent events.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(
    ("events" = Option<String>, Query, description = "Names of events, separated by commas"),
    ("call" = Option<String>, Query, description = "Only of this call: `uniqueid` or `linkedid`"),
    ("channel" = Option<String>, Query, description = "Only of channels whose names begin so"),
    ("context" = Option<String>, Query, description = "Only of this context"),
    ("after" = Option<String>, Query, description = "Go on behind this event"),
    ("Last-Event-ID" = Option<String>, Header, description = "The same")),
    responses((status = 200, body = EventView, content_type = "text/event-stream", description = "One after the other, as `data:`"),
        (status = 503, description = "Too many listen", content_type = "application/problem+json")))]
pub(super) fn sse(on: &On) -> Answered {
    let reader = on
        .api
        .stream
        .join(&last_of(on), &on.api.keys, Wanted::of(on))?;
    let stream = futures_util::stream::unfold(Some(Locked::new(reader)), |reader| async move {
        let mut reader = reader?;
        let next = reader.get().next().await;
        let (text, reader) = match next {
            Next::Events(events) => {
                let lines = events.iter().map(|event| event.lines.as_str());
                (lines.collect(), Some(reader))
            }
            Next::Silence => (": \n\n".to_owned(), Some(reader)),
            Next::End(_, event) => (event.lines.clone(), None),
        };
        Some((Ok::<_, std::io::Error>(Bytes::from(text)), reader))
    });
    // Headers go out at once, also where nothing happens.
    let hello = futures_util::stream::once(async { Ok(Bytes::from_static(b": \n\n")) });
    let all = futures_util::StreamExt::chain(hello, stream);
    let mut response = warp::reply::stream(all).into_response();
    let headers = response.headers_mut();
    headers.insert(
        "content-type",
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A value that only one task ever has, for a body that wants what several could share.
struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn get(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_limit_in_events_and_in_bytes() {
        let small = Arc::new(Event::new("Hangup"));
        let large = Arc::new(Event::new("UserEvent").with("Filling", "x".repeat(100_000)));
        let mut kept = Kept::default();
        let mut forgotten = 0;
        for _ in 0..KEPT_MAX + 7 {
            forgotten += kept.push(Arc::clone(&small), String::new());
        }
        assert_eq!((kept.events.len(), forgotten), (KEPT_MAX, 7));
        for _ in 0..1000 {
            forgotten += kept.push(Arc::clone(&large), String::new());
            assert!(kept.bytes <= KEPT_BYTES_MAX);
        }
        let oldest = kept.events.front().map(|event| event.number);
        assert_eq!(oldest, Some(forgotten));
        assert!((100..1000).contains(&kept.events.len()));
        let bytes: usize = kept.events.iter().map(|event| event.bytes).sum();
        assert_eq!(kept.bytes, bytes);
    }

    #[test]
    fn an_event_is_written_as_lines_with_its_object() {
        let written = Written::of(&EventView {
            id: "a-1".to_owned(),
            time: "now".to_owned(),
            event: "Hangup".to_owned(),
            fields: Fields(vec![("Cause".to_owned(), Some("16".to_owned()))]),
        });
        let object = r#"{"id":"a-1","time":"now","event":"Hangup","fields":{"Cause":"16"}}"#;
        assert_eq!(written.json(), object);
        assert_eq!(
            written.lines,
            format!("id: a-1\nevent: Hangup\ndata: {object}\n\n")
        );
    }
}
