//! SIP over TCP: accepted and opened connections of one shard. A connection belongs to the shard that has it; other
//! shards send through that shard's inbox.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

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
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a write may stand still.
const WRITE: Duration = Duration::from_secs(20);

struct Connection {
    flow: Flow,
    queue: mpsc::Sender<Bytes>,
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

    /// Queues bytes; false if the connection is gone or its queue full.
    pub(crate) fn send(&self, connection: u64, bytes: Bytes) -> bool {
        self.table
            .borrow()
            .get(&connection)
            .is_some_and(|connection| connection.queue.try_send(bytes).is_ok())
    }

    pub(crate) fn len(&self) -> usize {
        self.table.borrow().len()
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
                if shard.connections().len() >= CONNECTIONS_MAX {
                    shard.counters().tcp_refused_limit.add(1);
                    continue;
                }
                shard.counters().tcp_accepted.add(1);
                let (flow, receiver) = register(&shard, local, remote);
                tokio::task::spawn_local(serve(Rc::clone(&shard), stream, flow, receiver));
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
    shard.shared().connection_opened(remote, flow.connection);
    (flow, receiver)
}

/// A flow to `remote`: the open connection if there is one, else a new one that connects in the background.
pub(crate) fn open(shard: &Rc<Shard>, local: SocketAddr, remote: SocketAddr) -> Option<Flow> {
    if let Some(connection) = shard.shared().connection_to(remote) {
        return Some(Flow {
            transport: Transport::Tcp,
            local,
            remote,
            connection,
        });
    }
    if shard.connections().len() >= CONNECTIONS_MAX {
        shard.counters().tcp_refused_limit.add(1);
        return None;
    }
    let (flow, receiver) = register(shard, local, remote);
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        match tokio::time::timeout(CONNECT, TcpStream::connect(remote)).await {
            Ok(Ok(stream)) => serve(shard, stream, flow, receiver).await,
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "TCP connection failed");
                closed(&shard, flow);
            }
            Err(_) => {
                tracing::debug!(%remote, "TCP connection timed out");
                closed(&shard, flow);
            }
        }
    });
    Some(flow)
}

fn closed(shard: &Rc<Shard>, flow: Flow) {
    let known = shard
        .connections()
        .table
        .borrow_mut()
        .remove(&flow.connection);
    if let Some(connection) = known {
        shard
            .shared()
            .connection_closed(connection.flow.remote, flow.connection);
        shard.stream_closed(flow);
    }
}

async fn serve(
    shard: Rc<Shard>,
    mut stream: TcpStream,
    flow: Flow,
    mut queue: mpsc::Receiver<Bytes>,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.split();
    let mut framer = Framer::new();
    let mut buffer = vec![0u8; 16 * 1024];
    let reason = 'connection: loop {
        tokio::select! {
            read = tokio::time::timeout(IDLE, reader.read(&mut buffer)) => {
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
                        Ok(Some(Frame::Message(bytes))) => shard.receive(flow, bytes),
                        Ok(Some(Frame::Ping)) => {
                            // RFC 5626 §4.4.1: a double line end is answered by a single one.
                            if writer.write_all(b"\r\n").await.is_err() {
                                break 'connection "reset by the peer";
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
                match tokio::time::timeout(WRITE, writer.write_all(&bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break "reset by the peer",
                    Err(_) => break "peer does not read",
                }
            }
        }
    };
    tracing::debug!(remote = %flow.remote, reason, "TCP connection ended");
    closed(&shard, flow);
}
