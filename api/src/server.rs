//! Connections of HTTP: how many there may be, from whom, and how long they may take. What lives here knows bytes and times; what
//! is asked and answered is for others.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Frame, Incoming as Body, SizeHint};
use hyper::service::Service as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use strowger_core::config::Http;
use strowger_core::counters::Counter;
use strowger_core::transport::tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::http::{Peer, Way};

/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of the head of a request, and of what is read ahead.
const HEAD_MAX: usize = 32 * 1024;
/// Requests at a time on one connection of HTTP/2.
const STREAMS_MAX: u32 = 64;
/// How long whoever is told that a connection ends may take to answer.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often somebody who is silent on HTTP/2 is asked for a sign of life, and how long he may take for it.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the handshake of TLS may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How often certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The pause when no connection can be accepted, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets connections in, as many as there may be.
#[derive(Debug)]
pub(crate) struct Gate {
    config: Http,
    open: AtomicUsize,
    by_source: Mutex<FxHashMap<IpAddr, usize>>,
    accepted: Counter,
    refused: Counter,
    /// Connections on which requests are read and answered.
    talking: AtomicUsize,
    /// What is being answered is answered, and that is all.
    closing: watch::Sender<bool>,
}

/// What counts as one source: an IPv4 address, or an IPv6 network of 64 bits.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip => ip,
    }
}

/// A connection that was let in, as long as this lives: with a request, so that whoever takes the connection over keeps it.
#[derive(Clone)]
pub(crate) struct Held {
    _place: Arc<Place>,
}

/// A connection that was let in, as long as this lives.
struct Place {
    gate: Arc<Gate>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        let mut by_source = self.gate.by_source.lock();
        if let Some(count) = by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

impl Gate {
    pub(crate) fn new(config: &Http) -> Self {
        Self {
            config: config.clone(),
            open: AtomicUsize::new(0),
            by_source: Mutex::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            talking: AtomicUsize::new(0),
            closing: watch::channel(false).0,
        }
    }

    /// Lets nobody in any more, and closes each connection behind the answers that are under way on it.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Is there still somebody who is being answered?
    pub(crate) fn is_busy(&self) -> bool {
        self.talking.load(Ordering::Relaxed) > 0
    }

    /// A place for one more connection, if there is one.
    fn enter(self: &Arc<Self>, from: SocketAddr) -> Option<Place> {
        let source = source(from.ip());
        let mut by_source = self.by_source.lock();
        let open = self.open.load(Ordering::Relaxed);
        let of_source = by_source.get(&source).copied().unwrap_or_default();
        if open >= self.config.connections || of_source >= self.config.connections_per_address {
            self.refused.add(1);
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        by_source.insert(source, of_source + 1);
        self.accepted.add(1);
        Some(Place {
            gate: Arc::clone(self),
            source,
        })
    }

    /// What is counted, for the metrics page.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            (
                "connections_running",
                self.open.load(Ordering::Relaxed) as u64,
            ),
            ("connections", self.accepted.get()),
            ("connections_refused", self.refused.get()),
        ]
    }
}

/// Waits until it is so.
pub(crate) async fn until_true(state: &mut watch::Receiver<bool>) {
    let _ = state.wait_for(|is_so| *is_so).await;
}

/// Accepts until the gate is closed.
pub(crate) async fn listen(
    gate: Arc<Gate>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    filter: BoxedFilter<(Response,)>,
) {
    if let Some(tls) = tls.clone() {
        tokio::spawn(renew(tls));
    }
    let mut closing = gate.closing.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_true(&mut closing) => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "HTTP: no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Who finds no place is left without a word: an answer would be work for everybody who wants one.
        let Some(place) = gate.enter(from) else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let way = Way {
            local: stream.local_addr().unwrap_or(gate.config.bind),
            secure: tls.is_some(),
        };
        let (filter, tls) = (filter.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => talk(place, stream, (from, way), filter).await,
                Some(tls) => {
                    let acceptor = TlsAcceptor::from(tls.server_for(&[b"h2", b"http/1.1"]));
                    let hand = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream));
                    if let Ok(Ok(stream)) = hand.await {
                        talk(place, stream, (from, way), filter).await;
                    }
                }
            }
        });
    }
}

/// Reads certificates again when their files change.
async fn renew(tls: Arc<Tls>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked = Arc::clone(&tls);
        match tokio::task::spawn_blocking(move || looked.renew(false)).await {
            Ok(Ok(true)) => tracing::info!("HTTP: another certificate counts"),
            Ok(Err(error)) => tracing::warn!(%error, "HTTP: the former certificate stays"),
            _ => {}
        }
    }
}

/// A connection that is talked on, as long as this lives.
struct Talking(Arc<Gate>);

impl Talking {
    fn begin(gate: &Arc<Gate>) -> Self {
        gate.talking.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(gate))
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        self.0.talking.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is under way on a connection.
#[derive(Debug)]
struct Work {
    requests: AtomicUsize,
    /// When the last answer ended.
    since: Mutex<Instant>,
}

impl Work {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
        })
    }

    /// For how long nothing has been under way; none: something is.
    fn idle(&self) -> Option<Duration> {
        let idle = self.requests.load(Ordering::Relaxed) == 0;
        idle.then(|| self.since.lock().elapsed())
    }
}

/// A request, until its answer has been read or nobody wants it any more.
struct Task(Arc<Work>);

impl Task {
    fn begin(work: &Arc<Work>) -> Self {
        work.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        *self.0.since.lock() = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, with what is counted as long as it is read.
struct Counted<B> {
    body: Pin<Box<B>>,
    _task: Task,
}

impl<B: hyper::body::Body> hyper::body::Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves one connection to its end.
async fn talk<S>(
    place: Place,
    stream: S,
    (from, way): (SocketAddr, Way),
    filter: BoxedFilter<(Response,)>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let config = &place.gate.config;
    let head = Duration::from_secs(config.head_s);
    let stream = Patient::new(stream, head, Duration::from_secs(config.stall_s));
    let inner = TowerToHyperService::new(warp::service(filter));
    let held = Held {
        _place: Arc::clone(&place),
    };
    let work = Work::new();
    let of_service = Arc::clone(&work);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Body>| {
        request.extensions_mut().insert(held.clone());
        request.extensions_mut().insert(Peer(from));
        request.extensions_mut().insert(way);
        let task = Task::begin(&of_service);
        let answer = inner.call(request);
        async move {
            let response = answer.await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Counted {
                body: Box::pin(body),
                _task: task,
            }))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX as u32)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    let _talking = Talking::begin(&place.gate);
    let mut closing = place.gate.closing.subscribe();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut ended: Option<Instant> = None;
    let served = loop {
        let idle = work.idle();
        if idle.is_some_and(|idle| idle >= head) && ended.is_none() {
            ended = Some(Instant::now());
            connection.as_mut().graceful_shutdown();
        }
        let look = match ended {
            None => head.saturating_sub(idle.unwrap_or_default()),
            // Over HTTP/2 the other side is asked whether it has understood (RFC 9113 §6.8); who says nothing is left.
            Some(since) if idle.is_some() && since.elapsed() >= FAREWELL => break Ok(()),
            Some(_) => FAREWELL,
        };
        tokio::select! {
            served = connection.as_mut() => break served,
            () = until_true(&mut closing), if ended.is_none() => {
                ended = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(look) => {}
        }
    };
    if let Err(error) = served {
        tracing::debug!(%from, %error, "HTTP: a connection ended");
    }
}

/// A stream whose other side has to say something soon, and to take what it is told.
struct Patient<S> {
    inner: S,
    /// Until the first byte has come.
    first: Option<Pin<Box<Sleep>>>,
    stall: Duration,
    /// Since nothing more could be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(inner: S, first: Duration, stall: Duration) -> Self {
        Self {
            inner,
            first: Some(Box::pin(tokio::time::sleep(first))),
            stall,
            stalled: None,
        }
    }

    /// What a write comes to: one that waits for too long is an error.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let until = Instant::now() + self.stall;
        let sleep = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the other side takes nothing",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if read.is_ready() {
            self.first = None;
            return read;
        }
        if let Some(first) = &mut self.first
            && first.as_mut().poll(cx).is_ready()
        {
            let why = "nothing was asked";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use warp::{Filter as _, Reply as _};

    async fn server(config: Http) -> (SocketAddr, Arc<Gate>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let gate = Arc::new(Gate::new(&config));
        let filter = warp::path!("large")
            .map(|| vec![0u8; 64 * 1024 * 1024].into_response())
            .or(warp::path!("slow").then(|| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                "slowly".into_response()
            }))
            .unify()
            .or(warp::ext::get::<Peer>().map(|Peer(from)| from.ip().to_string().into_response()))
            .unify()
            .boxed();
        tokio::spawn(listen(Arc::clone(&gate), listener, None, filter));
        (address, gate)
    }

    fn settings() -> Http {
        Http {
            head_s: 1,
            stall_s: 1,
            connections: 3,
            connections_per_address: 2,
            ..Http::default()
        }
    }

    /// What comes until the other side closes.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text));
        let _ = read.await.expect("the other side closes");
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_a_head_or_nothing_more_is_left() {
        let (address, gate) = server(settings()).await;
        for said in ["", "GET / HT", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(said.as_bytes()).await.expect("sent");
            let text = rest(&mut stream).await;
            assert_eq!(
                text.starts_with("HTTP/1.1 200"),
                said.ends_with("\r\n\r\n"),
                "{text}"
            );
            assert!(
                !said.ends_with("\r\n\r\n") || text.ends_with("127.0.0.1"),
                "{text}"
            );
        }
        while gate.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(gate.by_source.lock().is_empty());
    }

    #[tokio::test]
    async fn there_are_places_for_so_many_and_no_more() {
        let (address, gate) = server(Http {
            head_s: 20,
            ..settings()
        })
        .await;
        let mut first = TcpStream::connect(address).await.expect("connected");
        let _second = TcpStream::connect(address).await.expect("connected");
        let mut third = TcpStream::connect(address).await.expect("connected");
        assert_eq!(rest(&mut third).await, "");
        let counted = |name: &str| {
            let all = gate.counters();
            all.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, count)| *count)
        };
        assert_eq!(counted("connections_refused"), Some(1));
        assert_eq!(counted("connections_running"), Some(2));
        first
            .write_all(b"GET /x HTTP/1.0\r\n\r\n")
            .await
            .expect("sent");
        assert!(rest(&mut first).await.starts_with("HTTP/1.0 200"));
    }

    #[tokio::test]
    async fn who_does_not_take_his_answer_is_left() {
        let (address, gate) = server(settings()).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let asked = stream
            .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        asked.expect("sent");
        let began = Instant::now();
        while gate.counters()[0].1 > 0 || gate.counters()[1].1 == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "it waits still");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn who_asks_nothing_more_over_http_2_is_left_too() {
        let (address, _gate) = server(settings()).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // The preface, and settings without any.
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(hello).await.expect("sent");
        let began = Instant::now();
        let mut frames = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut frames));
        let _ = read.await.expect("the other side closes");
        assert!(began.elapsed() >= Duration::from_millis(900));
        let mut kinds = Vec::new();
        let mut rest = &frames[..];
        while let [a, b, c, kind, ..] = rest {
            kinds.push(*kind);
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            rest = rest.get(9 + length..).unwrap_or_default();
        }
        // GOAWAY (RFC 9113, section 6.8).
        assert!(kinds.contains(&7), "{kinds:?}");
    }

    #[tokio::test]
    async fn at_the_end_answers_that_are_under_way_are_given_and_nothing_more() {
        let (address, gate) = server(Http {
            head_s: 20,
            ..settings()
        })
        .await;
        let mut idle = TcpStream::connect(address).await.expect("connected");
        idle.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        let mut bytes = [0; 1];
        idle.read_exact(&mut bytes).await.expect("an answer");
        let mut slow = TcpStream::connect(address).await.expect("connected");
        slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.close();
        assert!(rest(&mut idle).await.ends_with("127.0.0.1"));
        assert!(gate.is_busy());
        let text = rest(&mut slow).await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with("slowly"),
            "{text}"
        );
        let late = TcpStream::connect(address).await;
        assert!(late.is_err(), "somebody was let in");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!gate.is_busy());
    }

    #[tokio::test]
    async fn a_head_has_a_limit() {
        let (address, _gate) = server(settings()).await;
        for head in [
            format!("GET /x HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_MAX)),
            format!(
                "GET /x HTTP/1.1\r\n{}\r\n",
                "X: a\r\n".repeat(HEADERS_MAX + 1)
            ),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let _ = stream.write_all(head.as_bytes()).await;
            let text = rest(&mut stream).await;
            assert!(text.starts_with("HTTP/1.1 431"), "{text}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let of = |text: &str| source(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
