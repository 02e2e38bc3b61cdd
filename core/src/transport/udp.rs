//! The SIP datagrams of one shard.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustc_hash::FxHashSet;
use strowger_media::uring::udp::UdpSocketRing;
use strowger_sip::{Flow, Transport};

/// One ring over the shard's SIP sockets.
pub(crate) struct Udp {
    ring: UdpSocketRing,
    locals: Vec<SocketAddr>,
}

impl Udp {
    pub(crate) fn new(sockets: Vec<UdpSocket>) -> io::Result<Self> {
        let locals = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<io::Result<_>>()?;
        Ok(Self {
            ring: UdpSocketRing::new(sockets)?,
            locals,
        })
    }

    /// A descriptor that is readable when [`Self::harvest`] has something to do.
    pub(crate) fn event_source(&self) -> io::Result<OwnedFd> {
        self.ring.event_source()
    }

    /// Hands each received datagram with its flow to `f`; true if more may wait.
    pub(crate) fn harvest(&mut self, mut f: impl FnMut(Flow, &[u8])) -> io::Result<bool> {
        let locals = &self.locals;
        self.ring.harvest(|socket, remote, bytes| {
            if let Some(local) = locals.get(socket) {
                f(
                    Flow {
                        transport: Transport::Udp,
                        local: *local,
                        remote,
                        connection: 0,
                    },
                    bytes,
                );
            }
        })
    }

    /// Queues a datagram from the socket bound to `local` (or the first of the right family).
    pub(crate) fn send(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<()> {
        let socket = self
            .locals
            .iter()
            .position(|known| *known == local)
            .or_else(|| {
                self.locals
                    .iter()
                    .position(|known| known.is_ipv4() == remote.is_ipv4())
            })
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        self.ring.send(socket, remote, bytes)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.ring.flush()
    }

    /// Destinations that cannot be reached at all, found since the last call, each once. A full buffer or a lost
    /// datagram is no such failure: retransmission deals with those. Returns also how many sends failed altogether.
    pub(crate) fn failures(&mut self) -> (FxHashSet<Flow>, u64) {
        let mut list = FxHashSet::default();
        let mut count = 0;
        while let Some(failure) = self.ring.pop_failure() {
            count += 1;
            let final_error = matches!(
                failure.error.raw_os_error(),
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES)
            );
            if final_error && let Some(local) = self.locals.get(failure.socket) {
                list.insert(Flow {
                    transport: Transport::Udp,
                    local: *local,
                    remote: failure.destination,
                    connection: 0,
                });
            }
        }
        (list, count)
    }

    /// The address to send from when no flow says it: the one the kernel would route from, else the first of the family.
    pub(crate) fn default_local(&self, remote: SocketAddr) -> Option<SocketAddr> {
        super::local_for(&self.locals, remote)
    }
}
