//! SIP over TCP: accepted and opened connections of one shard. A connection belongs to the shard that has it; other
//! shards send through that shard's inbox.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use strowger_sip::message::{Frame, Framer};
use strowger_sip::{Flow, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::shard::Shard;

/// Connections one shard keeps open.
const CONNECTIONS_MAX: usize = 8192;
/// Messages waiting to be written on one connection.
const WRITE_QUEUE: usize = 256;
/// A connection that says nothing for so long is closed; RFC 5626 keep-alives come every two minutes.
const IDLE: Duration = Duration::from_secs(900);
/// An accepted connection has so long for its first whole message.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);
/// Connections accepted from one address, on each shard.
const PER_ADDRESS_MAX: usize = 1024;
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a write may stand still.
const WRITE: Duration = Duration::from_secs(20);

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

/// The connections of one shard.
#[derive(Default)]
pub(crate) struct Connections {
    table: RefCell<FxHashMap<u64, Connection>>,
    next: Cell<u64>,
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

    pub(crate) fn len(&self) -> usize {
        self.table.borrow().len()
    }

    fn count_from(&self, ip: IpAddr) -> usize {
        self.table
            .borrow()
            .values()
            .filter(|connection| connection.flow.remote.ip() == ip)
            .count()
    }
}

/// Accepts connections until the shard ends.
pub(crate) async fn accept(shard: Rc<Shard>, listener: std::net::TcpListener) {
    let Ok(local) = listener.local_addr() else {
        return;
    };
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%local, %error, "cannot accept TCP connections");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if shard.shared().protection.is_blocked(remote.ip()) {
                    continue;
                }
                let connections = shard.connections();
                if connections.len() >= CONNECTIONS_MAX
                    || connections.count_from(remote.ip()) >= PER_ADDRESS_MAX
                {
                    shard.counters().tcp_refused_limit.add(1);
                    continue;
                }
                shard.counters().tcp_accepted.add(1);
                // Bound to a wildcard, only the connection knows which address of ours it reached.
                let local = stream.local_addr().unwrap_or(local);
                let (flow, receiver) = register(&shard, local, remote);
                tokio::task::spawn_local(serve(Rc::clone(&shard), stream, flow, receiver, false));
            }
            Err(error) => {
                // Out of descriptors, usually: the pause lets some be returned.
                tracing::warn!(%local, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn register(
    shard: &Rc<Shard>,
    local: SocketAddr,
    remote: SocketAddr,
) -> (Flow, mpsc::Receiver<Bytes>) {
    let (queue, receiver) = mpsc::channel(WRITE_QUEUE);
    let connections = shard.connections();
    let flow = Flow {
        transport: Transport::Tcp,
        local,
        remote,
        connection: connections.next_id(shard.index()),
    };
    connections
        .table
        .borrow_mut()
        .insert(flow.connection, Connection { flow, queue });
    shard.shared().connection_opened(flow);
    (flow, receiver)
}

/// A flow to `remote`: the open connection if there is one, else a new one that connects in the background.
pub(crate) fn open(shard: &Rc<Shard>, local: SocketAddr, remote: SocketAddr) -> Option<Flow> {
    if let Some(flow) = shard.shared().connection_to(remote) {
        return Some(flow);
    }
    if shard.connections().len() >= CONNECTIONS_MAX {
        shard.counters().tcp_refused_limit.add(1);
        return None;
    }
    let (flow, receiver) = register(shard, local, remote);
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        match tokio::time::timeout(CONNECT, TcpStream::connect(remote)).await {
            Ok(Ok(stream)) => serve(shard, stream, flow, receiver, true).await,
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "TCP connection failed");
                closed(&shard, flow, true);
            }
            Err(_) => {
                tracing::debug!(%remote, "TCP connection timed out");
                closed(&shard, flow, true);
            }
        }
    });
    Some(flow)
}

fn closed(shard: &Rc<Shard>, flow: Flow, used: bool) {
    let known = shard
        .connections()
        .table
        .borrow_mut()
        .remove(&flow.connection);
    if let Some(connection) = known {
        shard.shared().connection_closed(&connection.flow);
        shard.stream_closed(flow, used);
    }
}

async fn serve(
    shard: Rc<Shard>,
    mut stream: TcpStream,
    flow: Flow,
    mut queue: mpsc::Receiver<Bytes>,
    opened: bool,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.split();
    let mut framer = Framer::new();
    let mut buffer = vec![0u8; 16 * 1024];
    // One we opened is there for a request of ours; a stranger's has to say something soon.
    let accepted_at = Instant::now();
    let mut used = opened;
    let reason = 'connection: loop {
        let patience = if used {
            IDLE
        } else {
            FIRST_MESSAGE.saturating_sub(accepted_at.elapsed())
        };
        tokio::select! {
                    read = tokio::time::timeout(patience, reader.read(&mut buffer)) => {
                        let length = match read {
                            Err(_) => break "idle",
                            Ok(Err(_)) => break "reset by the peer",
                            Ok(Ok(0)) => break "closed by the peer",
                            Ok(Ok(length)) => length,
                        };
                        framer.push(buffer.get(..length).unwrap_or_default());
                        loop {
                            match framer.next_frame() {
                                Ok(None) => break,
                                Ok(Some(Frame::Message(bytes))) => {
         used = true;
         shard.receive(flow, bytes);
        }
                                Ok(Some(Frame::Ping)) => {
                                    // RFC 5626 §4.4.1: a double line end is answered by a single one.
                                    let pong = tokio::time::timeout(WRITE, writer.write_all(b"\r\n")).await;
                                    if !matches!(pong, Ok(Ok(()))) {
                                        break 'connection "peer does not read";
                                    }
                                }
                                Ok(Some(Frame::Pong)) => {}
                                Err(_) => {
                                    shard.counters().sip_malformed.add(1);
                                    break 'connection "unreadable stream";
                                }
                            }
                        }
                    }
                    bytes = queue.recv() => {
                        let Some(bytes) = bytes else { break "shard ends" };
                        used = true;
                        match tokio::time::timeout(WRITE, writer.write_all(&bytes)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(_)) => break "reset by the peer",
                            Err(_) => break "peer does not read",
                        }
                    }
                }
    };
    tracing::debug!(remote = %flow.remote, reason, "TCP connection ended");
    closed(&shard, flow, used || !queue.is_empty());
}
