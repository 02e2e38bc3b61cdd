//! SIP over connections: TCP, TLS and WebSocket, accepted and opened by one shard. A connection belongs to the shard that
//! has it; other shards send through that shard's inbox.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use rustls::pki_types::ServerName;
use strowger_sip::message::{Frame, Framer};
use strowger_sip::{Flow, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::connections::{Identity, Place, Refusal, Wanted, source_of};
use super::settings::Settings;
use super::table::Active;
use super::websocket;
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;

/// Messages waiting to be written on one connection.
const WRITE_QUEUE: usize = 256;
/// Handshakes (TLS, WebSocket) under way on one shard: each costs what a hundred messages do.
const HANDSHAKES_MAX: usize = 256;
/// Of these, those of one address: a gateway whose telephones come back all at once has room, and others beside it.
const HANDSHAKES_OF_SOURCE_MAX: usize = 64;
/// Connections at once of an address that is blocked: its calls under way may come by a new one.
const BLOCKED_PLACES: usize = 64;
/// A connection by which no request was admitted yet is given up after so long without a message.
const STRANGER_IDLE: Duration = Duration::from_secs(60);
/// How long a shard may take to say whether it uses a connection.
const USE: Duration = Duration::from_secs(2);
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a write may stand still.
pub(super) const WRITE: Duration = Duration::from_secs(20);
/// RFC 5626 §4.4.1: asks for a single line end back.
const PING: &[u8] = b"\r\n\r\n";

struct Connection {
    flow: Flow,
    queue: mpsc::Sender<Bytes>,
}

/// What became of bytes for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    Sent,
    /// Its queue is full: the peer reads too slowly. These bytes are lost, the connection is not.
    Full,
    /// There is no such connection any more.
    Gone,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By the peer, or with the shard.
    Closed,
    Reset,
    /// Nothing came for `limits.connection_idle_s`.
    Idle,
    /// No first message within `limits.first_message_s`.
    Silent,
    /// What came is no SIP.
    Unreadable,
    /// What we sent was not read.
    Slow,
}

/// The connections of one shard.
#[derive(Default)]
pub(crate) struct Connections {
    table: RefCell<FxHashMap<u64, Connection>>,
    next: Cell<u64>,
    handshakes: Cell<usize>,
    /// The same for each source.
    handshaking: RefCell<FxHashMap<IpAddr, usize>>,
}

/// The shard that has a connection.
pub(crate) fn owner(connection: u64) -> usize {
    (connection >> 40) as usize
}

impl Connections {
    fn next_id(&self, shard: usize) -> u64 {
        let number = self.next.get() + 1;
        self.next.set(number);
        ((shard as u64) << 40) | number
    }

    /// Queues bytes for a connection.
    pub(crate) fn send(&self, connection: u64, bytes: Bytes) -> Queued {
        let table = self.table.borrow();
        let Some(connection) = table.get(&connection) else {
            return Queued::Gone;
        };
        match connection.queue.try_send(bytes) {
            Ok(()) => Queued::Sent,
            Err(mpsc::error::TrySendError::Full(_)) => Queued::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Queued::Gone,
        }
    }
}

/// A handshake under way.
struct Handshake {
    shard: Rc<Shard>,
    source: IpAddr,
}

impl Handshake {
    fn begin(shard: &Rc<Shard>, remote: SocketAddr) -> Option<Self> {
        let connections = shard.connections();
        let source = source_of(remote.ip());
        let mut sources = connections.handshaking.borrow_mut();
        let own = sources.get(&source).copied().unwrap_or_default();
        let count = &connections.handshakes;
        if count.get() >= HANDSHAKES_MAX || own >= HANDSHAKES_OF_SOURCE_MAX {
            shard.counters().handshakes_refused.add(1);
            return None;
        }
        count.set(count.get() + 1);
        sources.insert(source, own + 1);
        Some(Self {
            shard: Rc::clone(shard),
            source,
        })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let connections = self.shard.connections();
        let count = &connections.handshakes;
        count.set(count.get().saturating_sub(1));
        let mut sources = connections.handshaking.borrow_mut();
        if let Some(own) = sources.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

pub(super) fn admit(shard: &Shard, remote: SocketAddr, blocked: bool) -> Option<Place> {
    let limits = &shard.shared().config.limits;
    let each = limits.connections_per_address;
    let place = shard.shared().connections.admit(
        remote.ip(),
        limits.connections,
        if blocked {
            each.min(BLOCKED_PLACES)
        } else {
            each
        },
    );
    match place {
        Ok(place) => Some(place),
        Err(Refusal::All) => {
            shard.counters().tcp_refused_limit.add(1);
            None
        }
        Err(Refusal::Address) => {
            shard.counters().tcp_refused_address.add(1);
            None
        }
    }
}

/// A place for a connection that we open: strangers cannot use these up.
fn own_place(shard: &Shard) -> Option<Place> {
    let most = shard.shared().config.limits.connections;
    let place = shard.shared().connections.open_own(most);
    if place.is_none() {
        shard.counters().tcp_refused_limit.add(1);
    }
    place
}

/// Accepts connections until the shard or the transport ends.
pub(crate) async fn accept(
    shard: Rc<Shard>,
    listener: std::net::TcpListener,
    transport: Arc<Active>,
) {
    let bind = transport.settings.bind;
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%bind, %error, "cannot accept connections");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                // What comes by it is looked at one by one: it may belong to a call.
                let protection = &shard.shared().protection;
                let blocked = protection.is_blocked(remote.ip());
                let place = match blocked && !protection.is_talking(remote.ip()) {
                    true => None,
                    false => admit(&shard, remote, blocked),
                };
                let Some(place) = place else {
                    if blocked {
                        protection.dropped(remote.ip());
                    }
                    continue;
                };
                shard.counters().tcp_accepted.add(1);
                // As its row says now, which may be otherwise than when it was opened.
                let shared = shard.shared();
                let now = shared.transports.at(transport.settings.protocol, bind);
                let transport = now.unwrap_or_else(|| Arc::clone(&transport));
                let shard = Rc::clone(&shard);
                tokio::task::spawn_local(async move {
                    incoming(&shard, stream, remote, &transport).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, usually: the pause lets some be returned.
                tracing::warn!(%bind, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn prepare(stream: &TcpStream, settings: &Settings) {
    let _ = stream.set_nodelay(true);
    super::mark(&socket2::SockRef::from(stream), settings);
    if let Some(probes) = settings.probes {
        let probes = socket2::TcpKeepalive::new()
            .with_time(probes.idle)
            .with_interval(probes.interval)
            .with_retries(probes.count);
        let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&probes);
    }
}

async fn incoming(
    shard: &Rc<Shard>,
    stream: TcpStream,
    remote: SocketAddr,
    transport: &Arc<Active>,
) {
    let settings = &transport.settings;
    prepare(&stream, settings);
    // Bound to a wildcard, only the connection knows which address of ours it reached.
    let local = stream.local_addr().unwrap_or(settings.bind);
    let protocol = settings.protocol;
    let identity = Identity {
        bind: settings.bind,
        name: None,
        verified: false,
    };
    if protocol == Transport::Tcp {
        let (flow, queue) = register(shard, protocol, local, remote, identity, false);
        return serve(shard, stream, flow, queue, false).await;
    }
    let limit = Duration::from_secs(shard.shared().config.limits.handshake_s);
    let counters = shard.counters();
    let open = || register(shard, protocol, local, remote, identity, false);
    let deadline = tokio::time::Instant::now() + limit;
    // Who says nothing holds no place among the handshakes.
    match tokio::time::timeout_at(deadline, stream.readable()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return,
        Err(_) => return counters.handshakes_late.add(1),
    }
    let Some(handshake) = Handshake::begin(shard, remote) else {
        return;
    };
    match &transport.tls {
        Some(tls) => {
            let accepted = tls.acceptor().accept(stream);
            let stream = match tokio::time::timeout_at(deadline, accepted).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    counters.tls_handshakes_failed.add(1);
                    tracing::debug!(%remote, %error, "TLS handshake");
                    return;
                }
                Err(_) => return counters.handshakes_late.add(1),
            };
            counters.tls_accepted.add(1);
            if protocol == Transport::Tls {
                drop(handshake);
                let (flow, queue) = open();
                return serve(shard, stream, flow, queue, false).await;
            }
            if let Some(socket) = websocket::upgrade(shard, stream, remote, deadline).await {
                drop(handshake);
                let (flow, queue) = open();
                let end = websocket::serve(shard, socket, flow, queue).await;
                closed(shard, flow, end);
            }
        }
        None => {
            if let Some(socket) = websocket::upgrade(shard, stream, remote, deadline).await {
                drop(handshake);
                let (flow, queue) = open();
                let end = websocket::serve(shard, socket, flow, queue).await;
                closed(shard, flow, end);
            }
        }
    }
}

pub(super) fn register(
    shard: &Rc<Shard>,
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    identity: Identity,
    own: bool,
) -> (Flow, mpsc::Receiver<Bytes>) {
    let (queue, receiver) = mpsc::channel(WRITE_QUEUE);
    let connections = shard.connections();
    let flow = Flow {
        transport,
        local,
        remote,
        connection: connections.next_id(shard.index()),
    };
    connections
        .table
        .borrow_mut()
        .insert(flow.connection, Connection { flow, queue });
    shard.shared().connections.opened(flow, identity, own);
    (flow, receiver)
}

/// A flow to `remote`: the open connection if there is one, else a new one that connects in the background. `local` is
/// the address that requests on it are to name. `alone`: another transport's connection will not do.
pub(crate) fn open(
    shard: &Rc<Shard>,
    transport: &Arc<Active>,
    (local, remote): (SocketAddr, SocketAddr),
    name: Option<&Arc<str>>,
    alone: bool,
) -> Option<Flow> {
    let protocol = transport.settings.protocol;
    let verified = transport
        .tls
        .as_ref()
        .is_some_and(|tls| tls.files().verify_server);
    // Without TLS a name is nobody's.
    let told = name.filter(|_| transport.tls.is_some()).cloned();
    let identity = Identity {
        bind: transport.settings.bind,
        name: told.or_else(|| verified.then(|| remote.ip().to_string().into())),
        verified,
    };
    let wanted = Wanted {
        bind: alone.then_some(identity.bind),
        name: identity.name.as_deref(),
        verified,
    };
    let known = shard.shared().connections.to(protocol, remote, wanted);
    if known.is_some() || protocol.is_websocket() {
        return known;
    }
    let place = own_place(shard)?;
    let (flow, receiver) = register(shard, protocol, local, remote, identity, true);
    let (shard, transport) = (Rc::clone(shard), Arc::clone(transport));
    let name = name.cloned();
    shard.counters().connections_opened.add(1);
    tokio::task::spawn_local(async move {
        let connected = tokio::time::timeout(CONNECT, connect(&transport, remote, name)).await;
        let failed = match connected {
            Ok(Ok(Wire::Plain(stream))) => {
                serve(&shard, stream, flow, receiver, true).await;
                None
            }
            Ok(Ok(Wire::Secure(stream))) => {
                serve(&shard, *stream, flow, receiver, true).await;
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("not within 5 s".to_owned()),
        };
        if let Some(error) = failed {
            shard.counters().connections_failed.add(1);
            tracing::info!(transport = %flow.transport, %remote, error, "no connection");
            forget(&shard, flow, true);
        }
        drop(place);
    });
    Some(flow)
}

enum Wire {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn connect(
    transport: &Active,
    remote: SocketAddr,
    name: Option<Arc<str>>,
) -> std::io::Result<Wire> {
    let bind = transport.settings.bind;
    let socket = if remote.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    // From the transport's own address, so that a peer that knows us by it does so here too.
    if !bind.ip().is_unspecified() && bind.is_ipv4() == remote.is_ipv4() {
        socket.bind(SocketAddr::new(bind.ip(), 0))?;
    }
    let stream = socket.connect(remote).await?;
    prepare(&stream, &transport.settings);
    let Some(tls) = &transport.tls else {
        return Ok(Wire::Plain(stream));
    };
    let name = match name.as_deref().map(|name| name.trim_end_matches('.')) {
        Some(name) => ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?,
        None => ServerName::from(remote.ip()),
    };
    let stream = tls.connector().connect(name, stream).await?;
    Ok(Wire::Secure(Box::new(stream)))
}

/// The connection is no more; `used` if a message ever came or went over it.
fn forget(shard: &Rc<Shard>, flow: Flow, used: bool) {
    let known = shard
        .connections()
        .table
        .borrow_mut()
        .remove(&flow.connection);
    if let Some(connection) = known {
        if shard.shared().connections.closed(&connection.flow) {
            shard
                .shared()
                .connections
                .forget_contacts_of(flow.connection);
        }
        shard.stream_closed(flow, used);
    }
}

pub(super) fn closed(shard: &Rc<Shard>, flow: Flow, (end, used): (End, bool)) {
    let counters = shard.counters();
    match end {
        End::Closed | End::Reset => {}
        End::Idle => counters.connections_idle.add(1),
        End::Silent => counters.connections_silent.add(1),
        End::Slow => counters.connections_slow.add(1),
        End::Unreadable => counters.connections_unreadable.add(1),
    }
    tracing::debug!(transport = %flow.transport, remote = %flow.remote, reason = ?end, "connection ended");
    forget(shard, flow, used);
}

/// When a connection is given up, and when it is asked for a sign of life.
pub(super) struct Patience {
    connection: u64,
    idle: Duration,
    /// As long as it is a stranger's.
    stranger: bool,
    accepted_until: tokio::time::Instant,
    heard: tokio::time::Instant,
    said: tokio::time::Instant,
    pub(super) used: bool,
}

impl Patience {
    pub(super) fn new(shard: &Shard, connection: u64, used: bool) -> Self {
        let limits = &shard.shared().config.limits;
        let now = tokio::time::Instant::now();
        Self {
            connection,
            stranger: true,
            idle: Duration::from_secs(limits.connection_idle_s),
            accepted_until: now + Duration::from_secs(limits.first_message_s),
            heard: now,
            said: now,
            used,
        }
    }

    pub(super) fn heard(&mut self) {
        self.heard = tokio::time::Instant::now();
    }

    pub(super) fn said(&mut self) {
        self.said = tokio::time::Instant::now();
    }

    /// The next moment at which something is to be done.
    pub(super) fn next(&self, shard: &Shard) -> tokio::time::Instant {
        if !self.used {
            return self.accepted_until;
        }
        let idle = self.heard + self.patience();
        match shard.shared().snapshot().globals.keep_alive_interval {
            0 => idle,
            seconds => idle.min(self.said + Duration::from_secs(seconds.into())),
        }
    }

    fn patience(&self) -> Duration {
        match self.stranger {
            true => self.idle.min(STRANGER_IDLE),
            false => self.idle,
        }
    }

    /// At that moment: why the connection ends, if it does; else a keep-alive may be due.
    pub(super) async fn end(&mut self, shard: &Rc<Shard>) -> Option<End> {
        if !self.used {
            return Some(End::Silent);
        }
        let is_idle =
            |patience: &Self| tokio::time::Instant::now() >= patience.heard + patience.patience();
        if self.stranger && is_idle(self) {
            self.stranger = !shard.shared().connections.is_trusted(self.connection);
        }
        if !is_idle(self) {
            return None;
        }
        if is_used(shard, self.connection).await {
            // Who talks has nothing to say to us: the connection is needed all the same.
            self.heard();
            return None;
        }
        Some(End::Idle)
    }

    /// A keep-alive is due.
    pub(super) fn is_ping_due(&self, shard: &Shard) -> bool {
        let interval = shard.shared().snapshot().globals.keep_alive_interval;
        interval > 0 && self.said.elapsed() >= Duration::from_secs(interval.into())
    }
}

/// Whether a call or subscription of any shard goes by this connection.
async fn is_used(shard: &Rc<Shard>, connection: u64) -> bool {
    if shard.uses(connection) {
        return true;
    }
    let mut asked = Vec::new();
    for (index, inbox) in shard.shared().inboxes().iter().enumerate() {
        if index == shard.index() {
            continue;
        }
        let (tell, told) = oneshot::channel();
        let errand = ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
            // Who asked may have gone.
            let _ = tell.send(shard.uses(connection));
        }));
        if inbox.send(errand).is_err() {
            return true;
        }
        asked.push(told);
    }
    for told in asked {
        // A shard that is too busy to answer may use it.
        if !matches!(tokio::time::timeout(USE, told).await, Ok(Ok(false))) {
            return true;
        }
    }
    false
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), End> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    match tokio::time::timeout(WRITE, written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Reset),
        Err(_) => Err(End::Slow),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    shard: &Rc<Shard>,
    mut stream: S,
    flow: Flow,
    mut queue: mpsc::Receiver<Bytes>,
    opened: bool,
) {
    // One we opened is there for a request of ours; a stranger's has to say something soon.
    let mut patience = Patience::new(shard, flow.connection, opened);
    let end = follow(shard, &mut stream, flow, &mut queue, &mut patience).await;
    let used = patience.used || !queue.is_empty();
    // TLS says goodbye, so that the peer knows that nothing was cut off.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.shutdown()).await;
    closed(shard, flow, (end, used));
}

async fn follow<S: AsyncRead + AsyncWrite + Unpin>(
    shard: &Rc<Shard>,
    stream: &mut S,
    flow: Flow,
    queue: &mut mpsc::Receiver<Bytes>,
    patience: &mut Patience,
) -> End {
    let mut framer = Framer::new();
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        let next = patience.next(shard);
        tokio::select! {
            read = stream.read(&mut buffer) => {
                let length = match read {
                    Err(_) => return End::Reset,
                    Ok(0) => return End::Closed,
                    Ok(length) => length,
                };
                framer.push(buffer.get(..length).unwrap_or_default());
                let mut pongs = 0;
                loop {
                    match framer.next_frame() {
                        Ok(None) => break,
                        Ok(Some(Frame::Message(bytes))) => {
                            patience.used = true;
                            shard.receive(flow, bytes);
                        }
                        Ok(Some(Frame::Ping)) => pongs += 1,
                        Ok(Some(Frame::Pong)) => {}
                        Err(_) => {
                            shard.counters().sip_malformed.add(1);
                            return End::Unreadable;
                        }
                    }
                }
                patience.heard();
                if pongs > 0 {
                    // RFC 5626 §4.4.1: a double line end is answered by a single one.
                    if let Err(end) = write(stream, &b"\r\n".repeat(pongs)).await {
                        return end;
                    }
                    shard.counters().pings_answered.add(pongs as u64);
                    patience.said();
                }
            }
            bytes = queue.recv() => {
                let Some(bytes) = bytes else { return End::Closed };
                patience.used = true;
                if let Err(end) = write(stream, &bytes).await {
                    return end;
                }
                patience.said();
            }
            () = tokio::time::sleep_until(next) => {
                if let Some(end) = patience.end(shard).await {
                    return end;
                }
                if patience.is_ping_due(shard) {
                    if let Err(end) = write(stream, PING).await {
                        return end;
                    }
                    shard.counters().pings_sent.add(1);
                    patience.said();
                }
            }
        }
    }
}
