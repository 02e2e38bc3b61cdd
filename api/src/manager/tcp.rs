//! The Manager over TCP: connections, their time limits, and who writes when. One task for each session; what it cannot
//! write in time ends it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use strowger_core::events::{Event, Listener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;

use super::answer::{self, Answer};
use super::classes::Classes;
use super::request::{Parser, Request, Taken};
use super::session::Session;
use super::{FAILURE_DELAY, GREETING, Manager, Seat, actions};

/// How long whoever is not logged in yet may take to read.
const STRANGER_WRITE: Duration = Duration::from_secs(1);
/// How often an address is tried again that cannot be bound.
const BIND_AGAIN: Duration = Duration::from_secs(5);
/// How long a session that is over may take to read the rest.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// Listens while manager.conf wants it.
pub(super) async fn listen(manager: Arc<Manager>) {
    let mut changed = manager.changed.subscribe();
    let mut open: Option<(SocketAddr, TcpListener)> = None;
    let mut warned = None;
    loop {
        let settings = manager.settings();
        let wanted = settings.enabled.then_some(settings.bind);
        if open.as_ref().map(|(address, _)| *address) != wanted {
            open = None;
            if let Some(address) = wanted {
                match TcpListener::bind(address).await {
                    Ok(listener) => {
                        tracing::info!(%address, "Manager: listening");
                        warned = None;
                        open = Some((address, listener));
                    }
                    Err(error) if warned != Some(address) => {
                        warned = Some(address);
                        tracing::error!(%address, %error, "Manager: cannot listen; tried again every {} s", BIND_AGAIN.as_secs());
                    }
                    Err(_) => {}
                }
            }
        }
        let again = wanted.is_some() && open.is_none();
        let accepted = async {
            match &open {
                Some((_, listener)) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => match accepted {
                Ok((stream, from)) => admit(&manager, stream, from),
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

fn admit(manager: &Arc<Manager>, stream: TcpStream, from: SocketAddr) {
    let before = manager.strangers.fetch_add(1, Ordering::Relaxed);
    let stranger = Stranger(Arc::clone(manager));
    if before >= manager.settings().auth_limit {
        manager.counts.refused.add(1);
        return;
    }
    let manager = Arc::clone(manager);
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let mut connection = Connection {
            manager,
            from,
            reader,
            writer,
            parser: Parser::default(),
            session: Session::default(),
            events: None,
            seat: None,
            stranger: Some(stranger),
        };
        let _ = connection.run().await;
    });
}

/// The connection is over, for whatever reason.
struct Over;

struct Connection {
    manager: Arc<Manager>,
    from: SocketAddr,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    parser: Parser,
    session: Session,
    events: Option<Listener>,
    seat: Option<Seat>,
    stranger: Option<Stranger>,
}

/// The next event, if there is somebody to have it.
async fn next(events: &mut Option<Listener>) -> Result<Arc<Event>, RecvError> {
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
                match taken {
                    Taken::Request(request) => self.perform(request).await?,
                    Taken::Wrong(request, what) => {
                        let text = answer::error(&request, what);
                        self.write(&text).await?;
                    }
                }
            }
            let waits = self.seat.is_none();
            tokio::select! {
                biased;
                read = read(&mut self.reader, &mut self.parser) => read?,
                event = next(&mut self.events) => self.tell(event).await?,
                () = tokio::time::sleep_until(until.into()), if waits => return Err(Over),
            }
        }
    }

    /// Writes, or ends the session where the other side does not read.
    async fn write(&mut self, text: &str) -> Result<(), Over> {
        let limit = self
            .session
            .user()
            .map_or(STRANGER_WRITE, |user| user.write_timeout);
        match tokio::time::timeout(limit, self.writer.write_all(text.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over),
            Err(_) => {
                self.too_slow("it does not read");
                Err(Over)
            }
        }
    }

    fn too_slow(&self, why: &str) {
        self.manager.counts.slow.add(1);
        let user = self.session.user().map_or("", |user| &user.name);
        tracing::warn!(user, from = %self.from, "Manager: session ended, {why}");
    }

    /// Writes an event, if the session is to have it.
    async fn tell(&mut self, event: Result<Arc<Event>, RecvError>) -> Result<(), Over> {
        match event {
            Ok(event) => {
                let settings = self.manager.settings();
                let stamp = Manager::stamp(&settings);
                if let Some(text) = self.session.event(&event, &settings, &stamp) {
                    self.manager.counts.events.add(1);
                    self.write(&text).await?;
                }
                Ok(())
            }
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
            self.events = Some(self.manager.shared.events.subscribe());
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
            let room = self.parser.has_room();
            tokio::select! {
                biased;
                text = &mut done => break text,
                // Whoever is gone waits for nothing.
                read = read(&mut self.reader, &mut self.parser), if room => read?,
                event = next(&mut self.events) => self.tell(event).await?,
            }
        };
        self.write(&text).await
    }

    async fn login(&mut self, request: &Request) -> Result<(), Over> {
        let before = self.seat.is_some();
        let manager = Arc::clone(&self.manager);
        let (text, seat) = manager.login(&mut self.session, request, self.from);
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
        self.tell(Ok(Arc::new(manager.fully_booted()))).await
    }

    /// `WaitEvent`, which ends when something comes from the other side too.
    async fn wait_event(&mut self, request: &Request) -> Result<(), Over> {
        let limit = request.get("Timeout").trim().parse::<i64>().unwrap_or(-1);
        let until = u64::try_from(limit)
            .ok()
            .map(|limit| Instant::now() + Duration::from_secs(limit.min(86_400)));
        self.session.unmute();
        self.follow_events();
        let settings = self.manager.settings();
        let mut first = None;
        while first.is_none() && self.parser.has_room() {
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
                        let stamp = Manager::stamp(&settings);
                        first = self.session.event(&event, &settings, &stamp);
                    }
                    lost => return self.tell(lost).await,
                },
                read = read(&mut self.reader, &mut self.parser) => {
                    read?;
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

/// Reads what has come.
async fn read(reader: &mut OwnedReadHalf, parser: &mut Parser) -> Result<(), Over> {
    let mut bytes = [0u8; 4096];
    match reader.read(&mut bytes).await {
        Ok(0) | Err(_) => Err(Over),
        Ok(count) if parser.push(&bytes[..count]) => Ok(()),
        Ok(_) => Err(Over),
    }
}
