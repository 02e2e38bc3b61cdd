//! The SIP datagrams of one shard: a ring for each address, so that one can come and go without the others noticing.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustc_hash::FxHashSet;
use strowger_media::uring::udp::UdpSocketRing;
use strowger_sip::{Flow, Transport};
use tokio::task::AbortHandle;

/// One ring over one of the shard's SIP sockets.
pub(crate) struct Udp {
    ring: UdpSocketRing,
    local: SocketAddr,
    /// Who reads from it.
    pub(crate) reader: Option<AbortHandle>,
}

impl Drop for Udp {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

impl Udp {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self {
            ring: UdpSocketRing::new(vec![socket])?,
            local,
            reader: None,
        })
    }

    /// The address it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// A descriptor that is readable when [`Self::harvest`] has something to do.
    pub(crate) fn event_source(&self) -> io::Result<OwnedFd> {
        self.ring.event_source()
    }

    fn flow(&self, remote: SocketAddr) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: self.local,
            remote,
            connection: 0,
        }
    }

    /// Hands each received datagram with its flow to `f`; true if more may wait.
    pub(crate) fn harvest(&mut self, mut f: impl FnMut(Flow, &[u8])) -> io::Result<bool> {
        let local = self.local;
        self.ring.harvest(|_, remote, bytes| {
            let flow = Flow {
                transport: Transport::Udp,
                local,
                remote,
                connection: 0,
            };
            f(flow, bytes);
        })
    }

    /// Queues a datagram.
    pub(crate) fn send(&mut self, remote: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.ring.send(0, remote, bytes)
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
                Some(
                    libc::ENETUNREACH
                        | libc::EHOSTUNREACH
                        | libc::EINVAL
                        | libc::EACCES
                        | libc::EMSGSIZE
                )
            );
            if final_error {
                list.insert(self.flow(failure.destination));
            }
        }
        (list, count)
    }
}
