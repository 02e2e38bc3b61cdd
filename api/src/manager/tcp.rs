//! The Manager over TCP: connections, their time limits, and who writes when. One task for each session; what it cannot
//! write in time ends it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use strowger_core::events::{Listener, Told};
use strowger_core::transport::tls::{Minimum, Tls, TlsFiles};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Answer};
use super::classes::Classes;
use super::request::{Parser, Request, Taken};
use super::session::Session;
use super::settings::{Settings, TlsDoor};
use super::{FAILURE_DELAY, GREETING, Manager, Peer, Seat, actions};
use crate::server::until_true;

/// How long whoever is not logged in yet may take to read.
const STRANGER_WRITE: Duration = Duration::from_secs(1);
/// How often an address is tried again that cannot be bound.
const BIND_AGAIN: Duration = Duration::from_secs(5);
/// Bytes of events that are written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// How long a session that is over may take to read the rest.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// How long the handshake of TLS may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How often certificates are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(30);

/// Where somebody may come in: with TLS or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Plain(SocketAddr),
    Tls(TlsDoor),
}

impl Door {
    /// The door that manager.conf wants.
    pub(super) fn plain(settings: &Settings) -> Option<Self> {
        settings.enabled.then_some(Self::Plain(settings.bind))
    }

    /// The same with TLS.
    pub(super) fn tls(settings: &Settings) -> Option<Self> {
        settings.tls.clone().map(Self::Tls)
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Plain(address) => *address,
            Self::Tls(door) => door.bind,
        }
    }

    async fn open(&self, manager: &Manager) -> Result<Open, String> {
        let tls = match self {
            Self::Plain(_) => None,
            Self::Tls(door) => {
                let file = |name: &str| {
                    let data = &manager.shared.paths().data;
                    (!name.is_empty()).then(|| data.join(name))
                };
                let files = TlsFiles {
                    certificate: file(&door.certificate),
                    key: file(&door.key),
                    authorities: None,
                    verify_client: false,
                    require_client_cert: false,
                    verify_server: false,
                    minimum: Minimum::Tls12,
                };
                let loaded = tokio::task::spawn_blocking(move || Tls::load(&files)).await;
                let loaded = loaded.map_err(|error| error.to_string())?;
                Some(Arc::new(loaded.map_err(|error| {
                    format!("tlscertfile, tlsprivatekey of manager.conf: {error}")
                })?))
            }
        };
        let listener = TcpListener::bind(self.address()).await;
        Ok(Open {
            listener: listener.map_err(|error| error.to_string())?,
            tls,
        })
    }
}

/// A door that is open.
struct Open {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

/// Listens while manager.conf wants it.
pub(super) async fn listen(manager: Arc<Manager>, door: fn(&Settings) -> Option<Door>) {
    let mut changed = manager.changed.subscribe();
    let mut ending = manager.ending.subscribe();
    let mut open: Option<(Door, Open)> = None;
    let mut warned: Option<Door> = None;
    loop {
        let wanted = door(&manager.settings());
        if open.as_ref().map(|(door, _)| door) != wanted.as_ref() {
            open = None;
            if let Some(door) = &wanted {
                let address = door.address();
                match door.open(&manager).await {
                    Ok(opened) => {
                        tracing::info!(%address, tls = opened.tls.is_some(), "Manager: listening");
                        warned = None;
                        if let Some(tls) = &opened.tls {
                            tokio::spawn(renew(Arc::downgrade(tls)));
                        }
                        open = Some((door.clone(), opened));
                    }
                    Err(error) if warned.as_ref() != Some(door) => {
                        warned = Some(door.clone());
                        tracing::error!(%address, %error, "Manager: cannot listen; tried again every {} s", BIND_AGAIN.as_secs());
                    }
                    Err(_) => {}
                }
            }
        }
        let again = wanted.is_some() && open.is_none();
        let tls = open.as_ref().and_then(|(_, open)| open.tls.clone());
        let accepted = async {
            match &open {
                Some((_, open)) => open.listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => match accepted {
                Ok((stream, from)) => admit(&manager, stream, from, tls),
                // Too many open files, as a rule.
                Err(error) => {
                    tracing::warn!(%error, "Manager: a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            result = changed.changed() => if result.is_err() {
                return;
            },
            () = tokio::time::sleep(BIND_AGAIN), if again => {}
            () = until_true(&mut ending) => return,
        }
    }
}

/// Reads certificates again when their files change.
async fn renew(tls: std::sync::Weak<Tls>) {
    loop {
        tokio::time::sleep(CERTIFICATE_LOOK).await;
        let Some(tls) = tls.upgrade() else {
            return;
        };
        match tokio::task::spawn_blocking(move || tls.renew(false)).await {
            Ok(Ok(true)) => tracing::info!("Manager: another certificate counts"),
            Ok(Err(error)) => tracing::warn!(%error, "Manager: the former certificate stays"),
            _ => {}
        }
    }
}

/// A session that is not logged in, counted as long as this lives.
struct Stranger(Arc<Manager>);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.strangers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session, counted as long as this lives.
struct InSession(Arc<Manager>);

impl InSession {
    fn begin(manager: &Arc<Manager>) -> Self {
        manager.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(manager))
    }
}

impl Drop for InSession {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit(manager: &Arc<Manager>, stream: TcpStream, from: SocketAddr, tls: Option<Arc<Tls>>) {
    let before = manager.strangers.fetch_add(1, Ordering::Relaxed);
    let stranger = Stranger(Arc::clone(manager));
    if before >= manager.settings().auth_limit {
        manager.counts.refused.add(1);
        return;
    }
    if !manager.admits(from.ip()) {
        return;
    }
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let manager = Arc::clone(manager);
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        let (reader, writer): (Reader, Writer) = match tls {
            None => {
                let (reader, writer) = stream.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.server_for(&[]));
                let hand = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream));
                let Ok(Ok(stream)) = hand.await else {
                    manager.counts.refused.add(1);
                    return;
                };
                let (reader, writer) = tokio::io::split(stream);
                (Box::new(reader), Box::new(writer))
            }
        };
        let _in_session = InSession::begin(&manager);
        let mut connection = Connection {
            ending: manager.ending.subscribe(),
            manager,
            peer: Peer {
                local,
                remote: from,
            },
            reader,
            is_half_closed: false,
            writer,
            parser: Parser::default(),
            session: Session::default(),
            events: None,
            seat: None,
            stranger: Some(stranger),
        };
        let _ = connection.run().await;
        // With TLS the other side is told that this is the end.
        let _ = tokio::time::timeout(LAST_WRITE, connection.writer.shutdown()).await;
    });
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The connection is over, for whatever reason.
struct Over;

struct Connection {
    manager: Arc<Manager>,
    /// The exchange ends.
    ending: watch::Receiver<bool>,
    peer: Peer,
    reader: Reader,
    /// The other side says nothing more; what it said is done still.
    is_half_closed: bool,
    writer: Writer,
    parser: Parser,
    session: Session,
    events: Option<Listener>,
    seat: Option<Seat>,
    stranger: Option<Stranger>,
}

/// The next event, if there is somebody to have it.
async fn next(events: &mut Option<Listener>) -> Result<Arc<Told>, RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

impl Connection {
    async fn run(&mut self) -> Result<(), Over> {
        self.write(GREETING).await?;
        let until = Instant::now() + self.manager.settings().auth_timeout;
        loop {
            while let Some(taken) = self.parser.next() {
                // However busy a stranger is.
                if self.seat.is_none() && Instant::now() >= until {
                    return Err(Over);
                }
                match taken {
                    Taken::Request(request) => self.perform(request).await?,
                    Taken::Wrong(request, what) => {
                        let text = answer::error(&request, what);
                        self.write(&text).await?;
                    }
                }
            }
            let waits = self.seat.is_none();
            if self.is_half_closed || (waits && Instant::now() >= until) {
                return Err(Over);
            }
            tokio::select! {
                read = read(&mut self.reader, &mut self.parser) => self.is_half_closed = !read?,
                event = next(&mut self.events) => self.tell(event).await?,
                () = tokio::time::sleep_until(until.into()), if waits => return Err(Over),
                () = until_true(&mut self.ending) => {
                    self.flush().await?;
                    return Err(Over);
                }
            }
        }
    }

    /// Writes, or ends the session where the other side does not read: each piece has its time, however long the text is.
    async fn write(&mut self, text: &str) -> Result<(), Over> {
        let limit = self
            .session
            .user()
            .map_or(STRANGER_WRITE, |user| user.write_timeout);
        match write_in_pieces(&mut self.writer, text.as_bytes(), limit).await {
            Ok(()) => Ok(()),
            Err(Stall::Closed) => Err(Over),
            Err(Stall::Slow) => {
                self.too_slow("it does not read");
                Err(Over)
            }
        }
    }

    fn too_slow(&self, why: &str) {
        self.manager.counts.slow.add(1);
        let user = self.session.user().map_or("", |user| &user.name);
        tracing::warn!(user, from = %self.peer.remote, "Manager: session ended, {why}");
    }

    /// Writes an event and those behind it that are there already, if the session is to have them.
    async fn tell(&mut self, event: Result<Arc<Told>, RecvError>) -> Result<(), Over> {
        use tokio::sync::broadcast::error::TryRecvError;
        let mut text = String::new();
        let mut next = event;
        let settings = self.manager.settings();
        while let Ok(event) = &next {
            if let Some(written) = self.session.told(event, &settings) {
                self.manager.counts.events.add(1);
                text.push_str(&written);
            }
            if text.len() >= BATCH_BYTES {
                break;
            }
            next = match self.events.as_mut().map(|events| events.try_recv()) {
                Some(Ok(event)) => Ok(event),
                Some(Err(TryRecvError::Lagged(lost))) => Err(RecvError::Lagged(lost)),
                _ => break,
            };
        }
        if !text.is_empty() {
            self.write(&text).await?;
        }
        match next {
            Ok(_) => Ok(()),
            Err(RecvError::Lagged(lost)) => {
                self.too_slow(&format!("{lost} events are lost to it"));
                let text = answer::message(
                    &Request::default(),
                    "Goodbye",
                    "Events were lost because this session reads too slowly.",
                );
                let _ =
                    tokio::time::timeout(LAST_WRITE, self.writer.write_all(text.as_bytes())).await;
                Err(Over)
            }
            Err(RecvError::Closed) => Err(Over),
        }
    }

    /// Writes what is waiting to be told, without waiting for more.
    async fn flush(&mut self) -> Result<(), Over> {
        use tokio::sync::broadcast::error::TryRecvError;
        loop {
            let event = match self.events.as_mut().map(|events| events.try_recv()) {
                Some(Ok(event)) => Ok(event),
                Some(Err(TryRecvError::Lagged(lost))) => Err(RecvError::Lagged(lost)),
                _ => return Ok(()),
            };
            self.tell(event).await?;
        }
    }

    /// Listens to events, or no longer.
    fn follow_events(&mut self) {
        if !self.session.listens() {
            self.events = None;
        } else if self.events.is_none() {
            self.events = Some(self.manager.listen());
        }
    }

    async fn perform(&mut self, request: Request) -> Result<(), Over> {
        self.manager.counts.actions.add(1);
        let action = request.get("Action").to_ascii_lowercase();
        match action.as_str() {
            "login" => return self.login(&request).await,
            "logoff" => {
                let text = answer::message(&request, "Goodbye", "Thanks for all the fish.");
                self.write(&text).await?;
                return Err(Over);
            }
            "challenge" => {
                let text = self.session.challenge(&request);
                return self.write(&text).await;
            }
            "" => {
                let text = answer::error(&request, "Missing action in request");
                return self.write(&text).await;
            }
            _ if self.session.user().is_none() => {
                let text = answer::error(&request, "Permission denied");
                return self.write(&text).await;
            }
            "events" => {
                let text = self.session.change_events(&request);
                self.follow_events();
                self.write(&text).await?;
            }
            "filter" => {
                let text = if self.session.may(Classes::SYSTEM) {
                    self.session.filter(&request)
                } else {
                    answer::error(&request, "Permission denied")
                };
                self.write(&text).await?;
            }
            "waitevent" => return self.wait_event(&request).await,
            _ => self.act(&request).await?,
        }
        if request.given("SuppressEvents").is_none() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Something that may take its time: events are told meanwhile.
    async fn act(&mut self, request: &Request) -> Result<(), Over> {
        let Some(user) = self.session.user().cloned() else {
            return Err(Over);
        };
        let manager = Arc::clone(&self.manager);
        let mut done = pin!(actions::perform(&manager, &user, request));
        let text = loop {
            let reads = self.parser.has_room() && !self.is_half_closed;
            tokio::select! {
                biased;
                text = &mut done => break text,
                // Whoever is gone waits for nothing; who only says nothing more has his answer.
                read = read(&mut self.reader, &mut self.parser), if reads => {
                    self.is_half_closed = !read?;
                }
                event = next(&mut self.events) => self.tell(event).await?,
            }
        };
        self.write(&text).await
    }

    async fn login(&mut self, request: &Request) -> Result<(), Over> {
        let before = self.seat.is_some();
        let manager = Arc::clone(&self.manager);
        let (text, seat) = manager.login(&mut self.session, request, self.peer);
        if before {
            return self.write(&text).await;
        }
        let Some(seat) = seat else {
            tokio::time::sleep(FAILURE_DELAY).await;
            self.write(&text).await?;
            return Err(Over);
        };
        self.seat = Some(seat);
        self.stranger = None;
        // From here on nothing is missed.
        self.follow_events();
        self.write(&text).await?;
        // No filter holds it back: who logs in waits for it.
        if !self.session.hears(Classes::SYSTEM) {
            return Ok(());
        }
        let booted = Told::only_here(manager.fully_booted());
        let stamp = Manager::stamp(&manager.settings(), &booted);
        let (_, text) = answer::event(&booted, &stamp);
        self.manager.counts.events.add(1);
        self.write(&text).await
    }

    /// `WaitEvent`, which ends when something comes from the other side too.
    async fn wait_event(&mut self, request: &Request) -> Result<(), Over> {
        let limit = request.get("Timeout").trim().parse::<i64>().unwrap_or(-1);
        let until = u64::try_from(limit)
            .ok()
            .map(|limit| Instant::now() + Duration::from_secs(limit.min(86_400)));
        let settings = self.manager.settings();
        let mut first = None;
        while first.is_none() && self.parser.has_room() && !self.is_half_closed {
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = next(&mut self.events) => match event {
                    Ok(event) => {
                        let stamp = Manager::stamp(&settings, &event);
                        first = self.session.event(&event, &settings, &stamp);
                    }
                    lost => return self.tell(lost).await,
                },
                read = read(&mut self.reader, &mut self.parser) => {
                    self.is_half_closed = !read?;
                    break;
                }
                () = over => break,
            }
        }
        let mut text = Answer::to(request);
        text.response("Success")
            .line("Message", "Waiting for Event completed.")
            .end();
        let mut text = text.into_text();
        text.push_str(&first.unwrap_or_default());
        self.write(&text).await?;
        self.flush().await?;
        let mut end = Answer::to(request);
        end.bare_item("WaitEventComplete").id().end();
        let end = end.into_text();
        self.write(&end).await
    }
}

/// Why something could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stall {
    Closed,
    /// Nothing was read for as long as a piece may take.
    Slow,
}

async fn write_in_pieces(
    writer: &mut (impl AsyncWrite + Unpin),
    mut rest: &[u8],
    limit: Duration,
) -> Result<(), Stall> {
    while !rest.is_empty() {
        match tokio::time::timeout(limit, writer.write(rest)).await {
            Ok(Ok(0) | Err(_)) => return Err(Stall::Closed),
            Ok(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
            Err(_) => return Err(Stall::Slow),
        }
    }
    // What TLS has made of it may still be on its way.
    match tokio::time::timeout(limit, writer.flush()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Stall::Closed),
        Err(_) => Err(Stall::Slow),
    }
}

/// Reads what has come; false if nothing more will come.
async fn read(reader: &mut Reader, parser: &mut Parser) -> Result<bool, Over> {
    let mut bytes = [0u8; 4096];
    match reader.read(&mut bytes).await {
        Ok(0) => Ok(false),
        Ok(count) if parser.push(&bytes[..count]) => Ok(true),
        Ok(_) | Err(_) => Err(Over),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn a_long_answer_may_take_its_time_as_long_as_somebody_reads() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let text = vec![b'x'; 64 * 20];
        let length = text.len();
        let begun = Instant::now();
        let written = tokio::spawn(async move { write_in_pieces(&mut near, &text, LIMIT).await });
        let mut bytes = [0; 64];
        let mut read = 0;
        while read < length {
            tokio::time::sleep(Duration::from_millis(50)).await;
            read += far.read(&mut bytes).await.expect("more");
        }
        assert!(begun.elapsed() > LIMIT);
        assert_eq!(written.await.ok(), Some(Ok(())));
    }

    #[tokio::test]
    async fn who_reads_nothing_is_too_slow_and_who_is_gone_is_gone() {
        let (mut near, far) = tokio::io::duplex(64);
        let begun = Instant::now();
        let result = write_in_pieces(&mut near, &[b'x'; 100], LIMIT).await;
        assert_eq!(result, Err(Stall::Slow));
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(far);
        let result = write_in_pieces(&mut near, &[b'x'; 100], LIMIT).await;
        assert_eq!(result, Err(Stall::Closed));
    }
}
