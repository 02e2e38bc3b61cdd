//! Fax over T.38 between two telephones (`t38_udptl`): a re-INVITE of one is passed on to the other, and their packets go
//! through two sockets here, as they are. Audio comes back by the next description of either.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

use strowger_sip::offer_answer::FaxStream;
use strowger_sip::sdp::{Attribute, SessionDescription};
use strowger_sip::session_timer::Terms;
use strowger_sip::transaction::ServerId;
use strowger_sip::{Message, Method};
use strowger_store::Endpoint;
use tokio::task::AbortHandle;

use super::renegotiate::Wanted;
use crate::channel::Channel;
use crate::counters::ShardCounters;
use crate::shard::Shard;

/// The longest datagram of UDPTL that is passed on; with redundancy they stay far below.
const DATAGRAM_MAX: usize = 1500;

/// The greatest datagram that a side takes.
const MAX_DATAGRAM: &str = "T38FaxMaxDatagram";

/// Why there is no fax (RFC 3261 §20.43).
pub(super) const NO_FAX: &str = "304 strowger \"T.38 is not possible with this call\"";

/// What a side is told of the fax: where it is heard here, and what the other side says of itself.
#[derive(Clone, Debug)]
pub(super) struct Fax {
    pub(super) at: SocketAddr,
    pub(super) attributes: Vec<Attribute>,
}

/// Passes packets on until it is dropped by both sides.
#[derive(Debug)]
pub(crate) struct Relay(AbortHandle);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One end of a relay.
struct End {
    socket: UdpSocket,
    remote: SocketAddr,
    /// It is behind a NAT (`t38_udptl_nat`): its packets tell where it is.
    nat: bool,
}

fn relay(shard: &Shard, ends: [End; 2]) -> std::io::Result<Relay> {
    for end in &ends {
        end.socket.set_nonblocking(true)?;
    }
    let counters = shard.counters_handle();
    let task = shard.shared().control.spawn(async move {
        if let Err(error) = pass_on(ends, &counters).await {
            tracing::warn!(%error, "fax relay");
        }
    });
    Ok(Relay(task.abort_handle()))
}

async fn pass_on(ends: [End; 2], counters: &Arc<ShardCounters>) -> std::io::Result<()> {
    let [one, two] = ends;
    let mut remotes = [one.remote, two.remote];
    let nat = [one.nat, two.nat];
    let sockets = [
        tokio::net::UdpSocket::from_std(one.socket)?,
        tokio::net::UdpSocket::from_std(two.socket)?,
    ];
    let mut buffers = [[0; DATAGRAM_MAX]; 2];
    let [first, second] = &mut buffers;
    loop {
        let (from, length, source) = tokio::select! {
            came = sockets[0].recv_from(first) => came.map(|(length, source)| (0, length, source)),
            came = sockets[1].recv_from(second) => came.map(|(length, source)| (1, length, source)),
        }?;
        let to = 1 - from;
        let packet = if from == 0 {
            first.get(..length)
        } else {
            second.get(..length)
        };
        let known = match nat[from] {
            true => {
                remotes[from] = source;
                true
            }
            false => source.ip() == remotes[from].ip(),
        };
        let sent = match packet.filter(|_| known) {
            Some(packet) => sockets[to].try_send_to(packet, remotes[to]).is_ok(),
            None => false,
        };
        if sent {
            counters.fax_packets_relayed.add(1);
        } else {
            counters.fax_packets_dropped.add(1);
        }
    }
}

impl Channel {
    /// The stream of an offer that wants fax instead of audio.
    pub(super) fn fax_in(offer: Option<&[u8]>) -> Option<(SessionDescription, FaxStream)> {
        let description = SessionDescription::parse(offer?).ok()?;
        let fax = FaxStream::of(&description)?;
        Some((description, fax))
    }

    /// What the other side is told of this one: as it says itself, but for the greatest datagram, which its row may know better
    /// (`t38_udptl_maxdatagram`).
    fn told_of(endpoint: &Endpoint, fax: &FaxStream) -> Vec<Attribute> {
        let mut attributes = fax.attributes.clone();
        if endpoint.t38_udptl_maxdatagram > 0 {
            attributes.retain(|attribute| !attribute.name.eq_ignore_ascii_case(MAX_DATAGRAM));
            let most = Attribute::new(MAX_DATAGRAM, endpoint.t38_udptl_maxdatagram);
            attributes.push(most);
        }
        attributes
    }

    fn may_fax(&self) -> Option<Arc<Endpoint>> {
        let endpoint = self.endpoint().cloned()?;
        let may = endpoint.t38_udptl && !self.is_local() && self.is_up() && !self.is_over();
        may.then_some(endpoint)
    }

    /// A re-INVITE wants fax: whom this channel talks with is asked, and the answer is his.
    pub(super) fn on_fax_offer(
        &self,
        id: ServerId,
        request: &Message,
        (offer, fax): (SessionDescription, FaxStream),
        terms: Option<Terms>,
    ) {
        let no = |status| self.refuse(id, request, status, NO_FAX);
        let peer = self.bridge_peer();
        let both = peer.and_then(|peer| Some((self.may_fax()?, peer.may_fax()?, peer)));
        let Some((own, other, peer)) = both else {
            return no(488);
        };
        let (Some(here), Some(there)) = (self.fax_socket(), peer.fax_socket()) else {
            return no(503);
        };
        if here.0.is_ipv4() != fax.remote.is_ipv4() {
            return no(488);
        }
        self.need_media();
        peer.need_media();
        self.come_home_for_offer();
        self.shard().map_server(id, self.id());
        let (wanted, told) = Wanted::fax(Fax {
            at: there.0,
            attributes: Self::told_of(&own, &fax),
        })
        .told();
        peer.renegotiate(wanted);
        let (channel, request) = (self.clone(), request.clone());
        Shard::spawn(async move {
            let told = told.await;
            let answered = peer
                .session()
                .as_ref()
                .and_then(|session| session.media.as_ref()?.fax().cloned())
                .filter(|_| matches!(told, Ok(Ok(()))));
            let refuse = |status| channel.refuse(id, &request, status, NO_FAX);
            if channel.is_over() {
                return refuse(487);
            }
            let Some(answered) = answered else {
                return refuse(488);
            };
            let ends = [
                End {
                    socket: here.1,
                    remote: fax.remote,
                    nat: own.t38_udptl_nat,
                },
                End {
                    socket: there.1,
                    remote: answered.remote,
                    nat: other.t38_udptl_nat,
                },
            ];
            let description = channel
                .session()
                .as_mut()
                .and_then(|session| session.media.as_mut())
                .map(|media| {
                    let own = Fax {
                        at: here.0,
                        attributes: Self::told_of(&other, &answered),
                    };
                    media.answer_fax(channel.shard(), &offer, &own, &fax)
                });
            let made = relay(channel.shard(), ends);
            let (Some(Ok(description)), Ok(relay)) = (description, made) else {
                peer.end_fax();
                return refuse(500);
            };
            let relay = Rc::new(relay);
            for side in [&channel, &peer] {
                if let Some(session) = side.session().as_mut() {
                    session.fax = Some(Rc::clone(&relay));
                }
            }
            tracing::info!(channel = %channel.name(), with = %peer.name(), "fax over T.38");
            channel.accept_reinvite(id, &request, terms, description, false);
        });
    }

    /// A socket for fax, and where the far end is told that it is.
    fn fax_socket(&self) -> Option<(SocketAddr, UdpSocket)> {
        let (flow, ip) = {
            let session = self.session();
            let session = session.as_ref()?;
            (session.flow, session.media.as_ref()?.addresses().0.ip())
        };
        let reached = self.shard().advertised(&flow).ip();
        let allocated = self.shard().ports().allocate(reached);
        let (socket, _) = allocated.ok()?;
        let port = socket.local_addr().ok()?.port();
        Some((SocketAddr::new(ip, port), socket))
    }

    /// The far end describes audio again: so is its partner asked to.
    pub(super) fn end_fax_of_peer(&self) {
        let was = self
            .session()
            .as_mut()
            .and_then(|session| session.fax.take())
            .is_some();
        if was && let Some(peer) = self.bridge_peer() {
            peer.end_fax();
        }
    }

    /// Back to audio, by a re-INVITE of ours. Nothing is said to who hangs up at this very moment.
    pub(super) fn end_fax(&self) {
        let is_fax = self.session().as_mut().is_some_and(|session| {
            session.fax = None;
            session
                .media
                .as_ref()
                .is_some_and(|media| media.fax().is_some())
        });
        if !is_fax {
            return;
        }
        let shard = Rc::clone(self.shard());
        let id = self.id();
        Shard::spawn(async move {
            tokio::task::yield_now().await;
            if let Some(channel) = shard.channel(id).filter(|channel| !channel.is_over()) {
                channel.renegotiate(Wanted::media(Method::Invite));
            }
        });
    }
}
