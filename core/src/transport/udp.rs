//! The SIP datagrams of one shard: a ring for each address, so that one can come and go without the others noticing.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustc_hash::FxHashSet;
use strowger_media::uring::udp::{SendFailure, UdpSocketRing};
use strowger_sip::{Flow, Transport};
use tokio::task::AbortHandle;

/// Takes what leaves a simulated line, with where it goes.
#[cfg(test)]
pub(crate) type Taker = Box<dyn FnMut(SocketAddr, &[u8])>;

/// What carries the datagrams of one address.
#[cfg_attr(
    test,
    expect(
        clippy::large_enum_variant,
        reason = "there is a ring in all that counts"
    )
)]
enum Line {
    Ring(UdpSocketRing),
    /// A network of this crate's tests, which brings what arrives by itself.
    #[cfg(test)]
    Simulated(Taker),
}

/// One ring over one of the shard's SIP sockets.
pub(crate) struct Udp {
    line: Line,
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
            line: Line::Ring(UdpSocketRing::new(vec![socket])?),
            local,
            reader: None,
        })
    }

    /// One without a socket: `send` is given what leaves it.
    #[cfg(test)]
    pub(crate) fn simulated(local: SocketAddr, send: Taker) -> Self {
        Self {
            line: Line::Simulated(send),
            local,
            reader: None,
        }
    }

    /// The address it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// A descriptor that is readable when [`Self::harvest`] has something to do.
    pub(crate) fn event_source(&self) -> io::Result<OwnedFd> {
        match &self.line {
            Line::Ring(ring) => ring.event_source(),
            #[cfg(test)]
            Line::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
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
        let take = |_, remote, bytes: &[u8]| {
            let flow = Flow {
                transport: Transport::Udp,
                local,
                remote,
                connection: 0,
            };
            f(flow, bytes);
        };
        match &mut self.line {
            Line::Ring(ring) => ring.harvest(take),
            #[cfg(test)]
            Line::Simulated(_) => Ok(false),
        }
    }

    /// Queues a datagram.
    pub(crate) fn send(&mut self, remote: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        match &mut self.line {
            Line::Ring(ring) => ring.send(0, remote, bytes),
            #[cfg(test)]
            Line::Simulated(send) => {
                send(remote, bytes);
                Ok(())
            }
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.line {
            Line::Ring(ring) => ring.flush(),
            #[cfg(test)]
            Line::Simulated(_) => Ok(()),
        }
    }

    fn pop_failure(&mut self) -> Option<SendFailure> {
        match &mut self.line {
            Line::Ring(ring) => ring.pop_failure(),
            #[cfg(test)]
            Line::Simulated(_) => None,
        }
    }

    /// Destinations that cannot be reached at all, found since the last call, each once. A full buffer or a lost
    /// datagram is no such failure: retransmission deals with those. Returns also how many sends failed altogether.
    pub(crate) fn failures(&mut self) -> (FxHashSet<Flow>, u64) {
        let mut list = FxHashSet::default();
        let mut count = 0;
        while let Some(failure) = self.pop_failure() {
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
