//! WebSocket connections that came to the HTTP server: where a transport of `ws` or `wss` is open, browsers find SIP there too, as they
//! do at an Asterisk. Who comes so has the same limits as who comes to a listener of ours, and from then on is a connection like
//! any other. What is said over HTTP before that is the HTTP server's business.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use strowger_sip::Transport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::connections::{Identity, Place};
use super::stream::{admit, closed, register};
use super::table::Active;
use super::websocket;
use crate::shard::Shard;
use crate::shard::inbox::{Inbox, ShardMessage};
use crate::shared::Shared;

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("no transport of ws or wss is open")]
    NoTransport,
    #[error("the address is blocked")]
    Blocked,
    #[error("there are as many connections as there may be")]
    Full,
}

/// A place for a connection whose handshake is under way.
pub struct Lodging {
    inbox: Arc<Inbox>,
    transport: Arc<Active>,
    protocol: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    place: Place,
}

/// The transport that a connection to the HTTP server is counted to. A proxy in front of us may have taken the encryption off:
/// then it is that of the other kind.
fn transport(shared: &Shared, protocol: Transport) -> Option<Arc<Active>> {
    let all = shared.transports.all();
    let mut open = all
        .iter()
        .filter(|active| active.settings.protocol.is_websocket());
    let same = open
        .clone()
        .find(|active| active.settings.protocol == protocol);
    same.or_else(|| open.next()).cloned()
}

/// Takes a place for a connection from `remote` that reached the HTTP server at `local`, with TLS or without.
///
/// # Errors
/// [`NotTaken`]; a shard that is too busy to answer counts as full.
pub async fn admitted(
    shared: &Arc<Shared>,
    secure: bool,
    local: SocketAddr,
    remote: SocketAddr,
) -> Result<Lodging, NotTaken> {
    let protocol = match secure {
        true => Transport::Wss,
        false => Transport::Ws,
    };
    let transport = transport(shared, protocol).ok_or(NotTaken::NoTransport)?;
    let protection = &shared.protection;
    let blocked = protection.is_blocked(remote.ip());
    if blocked && !protection.is_talking(remote.ip()) {
        protection.dropped(remote.ip());
        return Err(NotTaken::Blocked);
    }
    // Any shard will do; one source is spread over all of them.
    let inboxes = shared.inboxes();
    let index = usize::from(remote.port()) % inboxes.len().max(1);
    let inbox = inboxes.get(index).cloned().ok_or(NotTaken::Full)?;
    let (tell, told) = oneshot::channel();
    let asked = inbox.send(ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
        let place = admit(shard, remote, blocked);
        if place.is_some() {
            shard.counters().tcp_accepted.add(1);
        }
        // Who asked may have gone: then the place is free again.
        let _ = tell.send(place);
    })));
    asked.map_err(|_| NotTaken::Full)?;
    let place = told.await.ok().flatten().ok_or(NotTaken::Full)?;
    // Its address is that of its transport, by which it is known in Via and Contact.
    let bind = transport.settings.bind;
    let local = match bind.ip().is_unspecified() {
        true => SocketAddr::new(local.ip(), bind.port()),
        false => bind,
    };
    Ok(Lodging {
        inbox,
        transport,
        protocol,
        local,
        remote,
        place,
    })
}

impl Lodging {
    /// Hands the connection over, behind the handshake of the WebSocket; `held` is dropped when it ends.
    pub fn move_in<S, H>(self, stream: S, held: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Send + 'static,
    {
        let inbox = Arc::clone(&self.inbox);
        let errand = ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
            let shard = Rc::clone(shard);
            Shard::spawn(async move {
                self.stay(&shard, stream).await;
                drop(held);
            });
        }));
        if inbox.send(errand).is_err() {
            tracing::warn!("a shard is too busy to take a connection from the HTTP server");
        }
    }

    async fn stay<S>(self, shard: &Rc<Shard>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = Some(websocket::limits());
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, limits).await;
        shard.counters().ws_accepted.add(1);
        let identity = Identity {
            bind: self.transport.settings.bind,
            name: None,
            verified: false,
        };
        let (flow, queue) = register(
            shard,
            self.protocol,
            self.local,
            self.remote,
            identity,
            false,
        );
        let end = websocket::serve(shard, socket, flow, queue).await;
        closed(shard, flow, end);
        drop(self.place);
    }
}
