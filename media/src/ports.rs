//! RTP ports: an even port for RTP and the odd one after it for RTCP, bound and ready to be handed to a media thread.

use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Receive buffer of a leg's socket in bytes: more than a second of audio at 50 packets a second.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// DSCP 46 (expedited forwarding, RFC 3246) in the place IP_TOS has it.
const TOS_EXPEDITED: u32 = 46 << 2;

/// A range of UDP ports from which pairs are taken, in turn, so that a port just given up rests as long as possible.
#[derive(Clone, Debug)]
pub struct PortRange {
    first: u16,
    pairs: u16,
    next: u16,
}

impl PortRange {
    /// Ports from `first` to `last`, both included. Only whole pairs that begin with an even port count.
    pub fn new(first: u16, last: u16) -> Self {
        let even = u32::from(first).next_multiple_of(2);
        let pairs = (u32::from(last) + 1).saturating_sub(even) / 2;
        Self {
            first: even.min(u32::from(u16::MAX)) as u16,
            pairs: pairs as u16,
            next: 0,
        }
    }

    /// How many pairs the range has.
    pub fn pairs(&self) -> usize {
        usize::from(self.pairs)
    }

    /// Divides the range into `count` ranges without a common port, for shards.
    pub fn split(&self, count: usize) -> Vec<Self> {
        let count = count.clamp(1, usize::from(u16::MAX)) as u32;
        let pairs = u32::from(self.pairs);
        (0..count)
            .map(|i| {
                let from = pairs * i / count;
                let to = pairs * (i + 1) / count;
                Self {
                    first: self.first + (from * 2) as u16,
                    pairs: (to - from) as u16,
                    next: 0,
                }
            })
            .collect()
    }

    /// Binds the next free pair on `ip`: RTP on the even port, RTCP on the one after it; non-blocking, receive buffers
    /// of 64 KiB, marked for expedited forwarding where the system allows it.
    ///
    /// # Errors
    /// `AddrInUse` when every pair is taken; any other error of `bind` (an address that is not ours) at once.
    pub fn allocate(&mut self, ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
        for _ in 0..self.pairs {
            let port = self.first + self.next * 2;
            self.next = (self.next + 1) % self.pairs;
            match bind_pair(ip, port) {
                Ok(pair) => return Ok(pair),
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                // A port below 1024 or kept by the system: not ours to take, the next may be.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("no free RTP port pair among {} on {ip}", self.pairs),
        ))
    }
}

/// A range with a few pairs bound before anybody asks, because binding costs a call more time than reading its INVITE.
#[derive(Debug)]
pub struct PortPool {
    range: PortRange,
    /// With the address they are bound to, longest ready first.
    ready: VecDeque<(IpAddr, UdpSocket, UdpSocket)>,
}

impl PortPool {
    /// Pairs that are kept ready.
    pub const READY: usize = 4;

    pub fn new(range: PortRange) -> Self {
        Self {
            range,
            ready: VecDeque::new(),
        }
    }

    /// How many pairs the range has, ready ones among them.
    pub fn pairs(&self) -> usize {
        self.range.pairs()
    }

    /// A pair on `ip`: a ready one, or one bound now. What came to it before it was anybody's is thrown away.
    ///
    /// # Errors
    /// As [`PortRange::allocate`].
    pub fn allocate(&mut self, ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
        if let Some(at) = self.ready.iter().position(|(bound, ..)| *bound == ip)
            && let Some((_, rtp, rtcp)) = self.ready.remove(at)
        {
            empty(&rtp);
            empty(&rtcp);
            return Ok((rtp, rtcp));
        }
        match self.range.allocate(ip) {
            // The last free ones are ready for another address.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !self.ready.is_empty() => {
                self.ready.clear();
                self.range.allocate(ip)
            }
            result => result,
        }
    }

    /// Binds pairs on `ip` until [`Self::READY`] are ready, if the range is large enough that nobody misses them.
    pub fn refill(&mut self, ip: IpAddr) {
        while self.ready.len() < Self::READY.min(self.range.pairs() / 8) {
            match self.range.allocate(ip) {
                Ok((rtp, rtcp)) => self.ready.push_back((ip, rtp, rtcp)),
                // Whoever needs a pair will hear of it.
                Err(_) => return,
            }
        }
    }
}

/// Throws away what waits in a socket that does not block, up to 65,536 packets.
pub fn empty(socket: &UdpSocket) {
    let mut byte = [0];
    for _ in 0..RECEIVE_BUFFER {
        if socket.recv(&mut byte).is_err() {
            return;
        }
    }
}

fn bind_pair(ip: IpAddr, port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
    let rtp = bind(SocketAddr::new(ip, port))?;
    let rtcp = bind(SocketAddr::new(ip, port + 1))?;
    Ok((rtp, rtcp))
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        // Marking is a courtesy to routers; a system that refuses it carries the call all the same.
        let _ = socket.set_tclass_v6(TOS_EXPEDITED);
    } else {
        let _ = socket.set_tos_v4(TOS_EXPEDITED);
    }
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn port(socket: &UdpSocket) -> u16 {
        socket.local_addr().expect("a bound socket").port()
    }

    #[test]
    fn pairs_are_even_then_odd_and_taken_in_turn() {
        let mut range = PortRange::new(7001, 7007);
        assert_eq!(range.pairs(), 3);
        let (rtp, rtcp) = range.allocate(LOOPBACK).expect("a free pair");
        assert_eq!(port(&rtp) % 2, 0);
        assert_eq!(port(&rtcp), port(&rtp) + 1);
        let first = port(&rtp);
        drop((rtp, rtcp));
        let (next, _rtcp) = range.allocate(LOOPBACK).expect("a free pair");
        assert_ne!(port(&next), first, "the port just given up rests");
    }

    #[test]
    fn a_full_range_says_so_and_recovers() {
        let mut range = PortRange::new(7010, 7013);
        let held: Vec<_> = (0..2)
            .map(|_| range.allocate(LOOPBACK).expect("a free pair"))
            .collect();
        let error = range.allocate(LOOPBACK).expect_err("all pairs are taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(held);
        range.allocate(LOOPBACK).expect("free again");
    }

    #[test]
    fn a_pair_whose_rtcp_port_is_taken_is_skipped() {
        let _taken = UdpSocket::bind((LOOPBACK, 7021)).expect("bind");
        let mut range = PortRange::new(7020, 7023);
        let (rtp, _rtcp) = range.allocate(LOOPBACK).expect("a free pair");
        assert_eq!(port(&rtp), 7022);
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error_at_once() {
        let mut range = PortRange::new(7030, 7999);
        let error = range
            .allocate(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
            .expect_err("not a local address");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn ready_pairs_are_those_of_the_address_and_hold_nothing_old() {
        let mut pool = PortPool::new(PortRange::new(7040, 7239));
        pool.refill(LOOPBACK);
        assert_eq!(pool.ready.len(), PortPool::READY);
        let early = port(&pool.ready[0].1);
        let stranger = UdpSocket::bind((LOOPBACK, 0)).expect("bind");
        for _ in 0..3 {
            stranger
                .send_to(b"too early", (LOOPBACK, early))
                .expect("it is sent");
        }
        let (rtp, rtcp) = pool.allocate(LOOPBACK).expect("a ready pair");
        assert_eq!((port(&rtp), port(&rtcp)), (early, early + 1));
        assert_eq!(pool.ready.len(), PortPool::READY - 1);
        let nothing = rtp.recv(&mut [0; 16]).expect_err("nothing old");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        // Another address takes no pair that is bound to this one.
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let (rtp, _rtcp) = pool.allocate(other).expect("bound now");
        assert_eq!(rtp.local_addr().expect("bound").ip(), other);
        assert_eq!(pool.ready.len(), PortPool::READY - 1);
    }

    #[test]
    fn what_is_ready_is_in_nobody_s_way() {
        let mut pool = PortPool::new(PortRange::new(7240, 7255));
        pool.refill(LOOPBACK);
        assert_eq!(pool.ready.len(), 1, "an eighth of the range");
        // Somebody else has all but the ready pair, on every address.
        let held: Vec<_> = (7240..7256)
            .filter_map(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok())
            .collect();
        assert_eq!(held.len(), 14);
        // A pair on every address needs the one that is bound to one.
        let taken = pool.allocate(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert!(taken.is_ok(), "the ready pair is given up: {taken:?}");
        assert!(pool.ready.is_empty());
    }

    #[test]
    fn shards_get_ranges_of_their_own() {
        let parts = PortRange::new(10000, 20000).split(3);
        assert_eq!(parts.iter().map(PortRange::pairs).sum::<usize>(), 5000);
        for pair in parts.windows(2) {
            assert_eq!(pair[0].first + pair[0].pairs * 2, pair[1].first);
        }
        assert_eq!(PortRange::new(9, 9).pairs(), 0);
        assert_eq!(PortRange::new(65534, 65535).pairs(), 1);
    }
}
