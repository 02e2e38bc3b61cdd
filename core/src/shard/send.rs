//! What a shard does with its transports: opening and closing them, sending, and finding the way to a peer with the
//! address of ours that the peer is told.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use strowger_sip::{Flow, Host, Transport};

use super::inbox::ShardMessage;
use super::{Shard, run};
use crate::dns::Hop;
use crate::transport::connections::Wanted;
use crate::transport::stream::{self, Queued};
use crate::transport::table::Active;
use crate::transport::udp::Udp;

impl Shard {
    /// Receives on a socket of this transport from now on.
    pub(crate) fn open_udp(self: &Rc<Self>, transport: &Arc<Active>, socket: UdpSocket) {
        let bind = transport.settings.bind;
        // The ring must be made on this thread.
        match Udp::new(socket) {
            Ok(udp) => {
                let local = udp.local();
                self.udp.borrow_mut().push(udp);
                let reader = tokio::task::spawn_local(run::read_udp(Rc::clone(self), local));
                if let Some(udp) = self.udp.borrow_mut().last_mut() {
                    udp.reader = Some(reader.abort_handle());
                }
            }
            Err(error) => tracing::error!(%bind, %error, "cannot set up the ring for SIP over UDP"),
        }
    }

    /// Accepts connections of this transport from now on.
    pub(crate) fn open_listener(self: &Rc<Self>, transport: &Arc<Active>, listener: TcpListener) {
        let settings = &transport.settings;
        let accepting = stream::accept(Rc::clone(self), listener, Arc::clone(transport));
        let accepting = tokio::task::spawn_local(accepting);
        self.listeners
            .borrow_mut()
            .insert((settings.protocol, settings.bind), accepting.abort_handle());
    }

    /// Closes a transport. Its connections stay as long as they are used.
    pub(crate) fn close_transport(&self, protocol: Transport, bind: SocketAddr) {
        if protocol == Transport::Udp {
            self.udp.borrow_mut().retain(|udp| udp.local() != bind);
        } else if let Some(accepting) = self.listeners.borrow_mut().remove(&(protocol, bind)) {
            accepting.abort();
        }
    }

    pub(super) fn transmit(&self, flow: Flow, bytes: &Bytes) {
        self.counters.sip_sent.add(1);
        let queued = if flow.transport == Transport::Udp {
            self.send_datagram(&flow, bytes)
        } else {
            let owner = stream::owner(flow.connection);
            if owner == self.index {
                self.connections.send(flow.connection, bytes.clone())
            } else {
                let message = ShardMessage::Stream {
                    flow,
                    bytes: bytes.clone(),
                };
                match self.shared.inboxes().get(owner).map(|i| i.send(message)) {
                    Some(Ok(())) => Queued::Sent,
                    Some(Err(_)) => Queued::Full,
                    None => Queued::Gone,
                }
            }
        };
        if queued == Queued::Sent {
            self.shared.tracer.message(&flow, true, bytes);
        } else {
            self.counters.sip_send_failed.add(1);
        }
        // A full queue loses this message alone; what else waits on the connection is not to fail with it.
        if queued == Queued::Gone && flow.transport.is_reliable() {
            self.broken_streams.borrow_mut().push(flow);
        }
    }

    fn send_datagram(&self, flow: &Flow, bytes: &[u8]) -> Queued {
        let mut all = self.udp.borrow_mut();
        let own = all.iter().position(|udp| udp.local() == flow.local);
        let place = own.or_else(|| {
            let same = |udp: &Udp| udp.local().is_ipv4() == flow.remote.is_ipv4();
            all.iter().position(same)
        });
        let udp = place.and_then(|place| all.get_mut(place));
        match udp.map(|udp| udp.send(flow.remote, bytes)) {
            Some(Ok(())) => Queued::Sent,
            _ => Queued::Full,
        }
    }

    pub(crate) fn flush(&self) {
        for udp in self.udp.borrow_mut().iter_mut() {
            if udp.flush().is_err() {
                self.counters.sip_send_failed.add(1);
            }
        }
    }

    /// The flow that leads to `remote`.
    pub(crate) fn flow_to(
        self: &Rc<Self>,
        transport: Transport,
        remote: SocketAddr,
    ) -> Option<Flow> {
        let hop = Hop {
            transport,
            remote,
            name: None,
        };
        self.flow_by(&hop, None)
    }

    /// The flow that leads to this hop, from the transport of that name where it fits.
    pub(crate) fn flow_by(self: &Rc<Self>, hop: &Hop, named: Option<&str>) -> Option<Flow> {
        let Hop {
            transport, remote, ..
        } = *hop;
        let transports = &self.shared.transports;
        let Some(active) = transports.towards(transport, remote, named) else {
            // What is connected already needs no address of ours.
            let known = self
                .shared
                .connections
                .to(transport, remote, Wanted::default());
            if known.is_none() {
                tracing::warn!(%transport, %remote, "no transport of this kind and family is open");
            }
            return known;
        };
        let bind = active.settings.bind;
        if transport == Transport::Udp {
            return Some(Flow {
                transport,
                local: bind,
                remote,
                connection: 0,
            });
        }
        let local = match bind.ip().is_unspecified() {
            false => bind,
            true => SocketAddr::new(crate::transport::source_address(remote)?, bind.port()),
        };
        // A transport that is named is meant, with its certificate.
        let alone = named == Some(active.settings.id.as_str());
        stream::open(self, &active, (local, remote), hop.name.as_ref(), alone)
    }

    /// The address of ours that a peer on this flow reaches, as far as we know ourselves: for sockets of media.
    pub(crate) fn advertised(&self, flow: &Flow) -> SocketAddr {
        if flow.local.ip().is_unspecified() {
            let ip = crate::transport::source_address(flow.remote).unwrap_or(flow.local.ip());
            SocketAddr::new(ip, flow.local.port())
        } else {
            flow.local
        }
    }

    /// Host and port that a peer on this flow is told of us, in Via and Contact: the external ones of the transport for
    /// who is outside of its `local_net`.
    pub(crate) fn told(&self, flow: &Flow) -> (Host, u16) {
        let active = self.shared.transports.of(flow);
        let external = active.map(|active| active.settings.external_for(flow.remote.ip()));
        let (host, port) = external.unwrap_or_default();
        let own = self.advertised(flow);
        (
            host.unwrap_or_else(|| Host::from(own.ip())),
            port.unwrap_or(own.port()),
        )
    }

    /// The address for media that a peer on this flow is told, where the transport has one for it.
    pub(crate) fn external_media(&self, flow: &Flow) -> Option<std::net::IpAddr> {
        let active = self.shared.transports.of(flow)?;
        active.settings.external_media_for(flow.remote.ip())
    }
}
