//! UDP sockets of a signalling thread on a small ring of their own: multishot receives into buffers that hold any
//! datagram, and sends that are batched until [`UdpSocketRing::flush`].
//!
//! An eventfd registered with the ring is readable when something has arrived, so it fits any event loop
//! (`readiness::Readiness`, `poll`). The ring's own descriptor is not used for that: with deferred task work an
//! edge-triggered `epoll` on it misses arrivals.

use super::address::{self, NAME_LEN, RawName};
use super::buffers::BufferRing;
use super::memory::Pages;
use super::ring::Ring;
use super::schedule;
use super::wake::Wake;
use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, Fixed};
use io_uring::{cqueue, opcode};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const GROUP: u16 = 0;
const PREFIX_LEN: usize = 16;
/// Largest payload of a UDP datagram over IPv4 is 65507 bytes; the buffers hold it with the kernel's prefix. Pages that
/// no datagram touched cost no memory.
const BUFFER_LEN: u32 = 64 * 1024 + 512;
/// Buffers: datagrams that may arrive between two harvests; more than that wait in the sockets.
const BUFFERS: u16 = 1024;
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 4096;
/// Sends that are queued before one of them submits by itself.
const SENDS_MAX: usize = 512;
/// Failed sends that are remembered for [`UdpSocketRing::pop_failure`].
const FAILURES_MAX: usize = 256;
/// Rounds of one harvest, so that a flood cannot keep the caller from its other work.
const ROUNDS_MAX: usize = 64;
/// Sockets of one ring.
const SOCKETS_MAX: usize = 64;
/// Marks the token of a send.
const SEND: u64 = 1 << 32;

/// What a ring has seen since it was made.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct UdpCounters {
    /// Datagrams handed to the caller.
    pub received: u64,
    /// Datagrams given to the kernel to send.
    pub sent: u64,
    /// Sends the kernel refused (also reported by [`UdpSocketRing::pop_failure`]).
    pub send_failures: u64,
    /// Datagrams dropped because they were longer than a buffer or had no usable source.
    pub unusable: u64,
    /// Receives that ended because no buffer was free. Nothing is lost: datagrams wait in the socket.
    pub out_of_buffers: u64,
    /// Receives armed again, for whatever reason.
    pub rearmed: u64,
}

/// A send that failed.
#[derive(Debug)]
pub struct SendFailure {
    /// Index of the socket, as given to [`UdpSocketRing::new`].
    pub socket: usize,
    /// Where it should have gone.
    pub destination: SocketAddr,
    /// Why it did not.
    pub error: io::Error,
}

/// Binds a socket for a [`UdpSocketRing`]: non-blocking, with room for `receive_buffer` bytes of waiting datagrams as far
/// as the system allows. After a process that used io_uring was killed, the kernel may hold its ports for a moment: a port
/// in use is tried again for `patience`.
pub fn bind(
    address: SocketAddr,
    receive_buffer: usize,
    patience: Duration,
) -> io::Result<UdpSocket> {
    let until = Instant::now() + patience;
    let socket = loop {
        match UdpSocket::bind(address) {
            Ok(socket) => break socket,
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(e),
        }
    };
    socket.set_nonblocking(true)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(receive_buffer)?;
    Ok(socket)
}

/// UDP sockets on an io_uring. Must be made on the thread that uses it, and cannot leave it. The order of fields is the
/// order of destruction: the ring goes before the memory it uses.
pub struct UdpSocketRing {
    ring: Ring,
    buffers: BufferRing,
    message: Box<libc::msghdr>,
    queued: Vec<Queued>,
    pool: Vec<Vec<u8>>,
    recent: Vec<(usize, SocketAddr)>,
    sequence: usize,
    failures: VecDeque<SendFailure>,
    completions: Vec<cqueue::Entry>,
    sockets: Vec<UdpSocket>,
    arrived: Wake,
    counters: UdpCounters,
    _thread: PhantomData<*const ()>,
}

/// Memory of a send until it has been executed.
struct Queued {
    bytes: Vec<u8>,
    name: Box<RawName>,
}

impl UdpSocketRing {
    /// Takes bound sockets (at most 64) and starts to receive on all of them.
    pub fn new(sockets: Vec<UdpSocket>) -> io::Result<Self> {
        if sockets.is_empty() || sockets.len() > SOCKETS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a UDP ring takes 1 to 64 sockets",
            ));
        }
        let ring = Ring::new(SUBMISSIONS, COMPLETIONS)?;
        let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&descriptors)?;
        let arrived = Wake::new()?;
        ring.submitter().register_eventfd(arrived.fd())?;
        let buffers = BufferRing::new(&ring, GROUP, BUFFERS, BUFFER_LEN, Pages::Sparse)?;
        // SAFETY: msghdr is plain data, for which all zeroes means no name, no vectors, no control data.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        message.msg_namelen = NAME_LEN as u32;
        let unknown = (0, SocketAddr::from(([0, 0, 0, 0], 0)));
        let mut this = Self {
            completions: Vec::with_capacity(ring.completion_capacity()),
            ring,
            buffers,
            message,
            queued: Vec::with_capacity(SENDS_MAX),
            pool: Vec::with_capacity(SENDS_MAX),
            recent: vec![unknown; COMPLETIONS as usize],
            sequence: 0,
            failures: VecDeque::with_capacity(FAILURES_MAX),
            sockets,
            arrived,
            counters: UdpCounters::default(),
            _thread: PhantomData,
        };
        for index in 0..this.sockets.len() {
            this.arm(index)?;
        }
        this.ring.poll()?;
        Ok(this)
    }

    /// Readable (`POLLIN`) when [`UdpSocketRing::harvest`] has something to do. With an edge-triggered event loop call
    /// `harvest` until it returns `false` before waiting again.
    pub fn fd(&self) -> RawFd {
        self.arrived.fd()
    }

    /// The same descriptor again, to be owned by a [`super::readiness::Readiness`]. It may outlive the ring.
    pub fn event_source(&self) -> io::Result<OwnedFd> {
        self.arrived.duplicate()
    }

    /// Waits until there is something to harvest; `false` when the time is over first. For threads without an event loop.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        schedule::wait_readable(self.fd(), timeout)
    }

    /// The sockets, for their addresses and options.
    pub fn sockets(&self) -> &[UdpSocket] {
        &self.sockets
    }

    /// Calls `f` with socket index, source and bytes of each datagram that has arrived. Returns whether more may be
    /// waiting, which is so only after thousands in one call.
    pub fn harvest(&mut self, mut f: impl FnMut(usize, SocketAddr, &[u8])) -> io::Result<bool> {
        for _ in 0..ROUNDS_MAX {
            // Before the look at what is there: what arrives later is told anew, and the round that finds nothing leaves
            // the descriptor at rest (completions that we work off ourselves raise it too).
            self.arrived.clear();
            self.submit_sends()?;
            let mut completions = std::mem::take(&mut self.completions);
            completions.clear();
            self.ring.harvest(&mut completions);
            let idle = completions.is_empty();
            self.buffers.harvested(&completions);
            let mut result = Ok(());
            for completion in &completions {
                result = result.and(self.complete(completion, &mut f));
            }
            self.completions = completions;
            self.buffers.publish();
            result?;
            if idle {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Queues a datagram (its bytes are copied) for the next [`UdpSocketRing::flush`].
    ///
    /// # Errors
    /// An index without a socket, a datagram longer than 65535 bytes, or a kernel that takes no more.
    pub fn send(
        &mut self,
        socket: usize,
        destination: SocketAddr,
        bytes: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        let bytes = bytes.as_ref();
        if socket >= self.sockets.len() || bytes.len() > usize::from(u16::MAX) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        if self.queued.len() >= SENDS_MAX || self.ring.space() == 0 {
            self.flush()?;
            if self.queued.len() >= SENDS_MAX || self.ring.space() == 0 {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
        }
        let mut copy = self.pool.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        let name = Box::new(RawName::new(destination));
        let slot = self.sequence % self.recent.len();
        self.recent[slot] = (socket, destination);
        self.sequence = self.sequence.wrapping_add(1);
        let entry = opcode::Send::new(Fixed(socket as u32), copy.as_ptr(), copy.len() as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(name.bytes.as_ptr().cast())
            .dest_addr_len(name.len)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(SEND | slot as u64);
        self.queued.push(Queued { bytes: copy, name });
        // SAFETY: bytes and name are on the heap and owned by `queued` until the submit has executed the send.
        unsafe { self.ring.push(&entry)? };
        self.counters.sent += 1;
        Ok(())
    }

    /// Gives all queued datagrams to the kernel, in order, with one system call.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.queued.is_empty() {
            return Ok(());
        }
        self.ring.submit()?;
        self.release();
        Ok(())
    }

    /// The oldest failed send that has not been asked for. Failures come in with [`UdpSocketRing::harvest`].
    pub fn pop_failure(&mut self) -> Option<SendFailure> {
        self.failures.pop_front()
    }

    /// Totals since the ring was made.
    pub fn counters(&self) -> UdpCounters {
        self.counters
    }

    fn submit_sends(&mut self) -> io::Result<()> {
        self.ring.poll()?;
        self.release();
        Ok(())
    }

    fn release(&mut self) {
        if self.queued.is_empty() || !self.ring.all_submitted() {
            return;
        }
        for queued in self.queued.drain(..) {
            let Queued { bytes, name } = queued;
            drop(name);
            // A rare giant must not stay in the pool for ever.
            if bytes.capacity() <= 8192 && self.pool.len() < SENDS_MAX {
                self.pool.push(bytes);
            }
        }
    }

    fn complete(
        &mut self,
        completion: &cqueue::Entry,
        f: &mut impl FnMut(usize, SocketAddr, &[u8]),
    ) -> io::Result<()> {
        let token = completion.user_data();
        let result = completion.result();
        if token & SEND != 0 {
            self.send_failed((token & (SEND - 1)) as usize, result);
            return Ok(());
        }
        let index = token as usize;
        if let Some(buffer) = cqueue::buffer_select(completion.flags()) {
            match usize::try_from(result)
                .ok()
                .and_then(|len| datagram(self.buffers.bytes_mut(buffer, len)))
            {
                Some((source, bytes)) => {
                    self.counters.received += 1;
                    f(index, source, bytes);
                }
                None => self.counters.unusable += 1,
            }
            self.buffers.give_back(buffer);
        }
        if cqueue::more(completion.flags()) {
            return Ok(());
        }
        if result == -libc::ENOBUFS {
            self.counters.out_of_buffers += 1;
        }
        self.counters.rearmed += 1;
        // What has been given back so far must be there when the receive starts again.
        self.buffers.publish();
        self.arm(index)
    }

    fn send_failed(&mut self, slot: usize, result: i32) {
        if result >= 0 {
            return;
        }
        self.counters.send_failures += 1;
        let Some(&(socket, destination)) = self.recent.get(slot) else {
            return;
        };
        if self.failures.len() >= FAILURES_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back(SendFailure {
            socket,
            destination,
            error: io::Error::from_raw_os_error(-result),
        });
    }

    fn arm(&mut self, index: usize) -> io::Result<()> {
        let message = &raw const *self.message;
        let entry = opcode::RecvMsgMulti::new(Fixed(index as u32), message, GROUP)
            .build()
            .user_data(index as u64);
        // SAFETY: the message header lives as long as the ring.
        unsafe { self.ring.push(&entry) }
    }
}

impl AsFd for UdpSocketRing {
    /// The same as [`UdpSocketRing::fd`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrived.borrow_fd()
    }
}

impl Drop for UdpSocketRing {
    /// Sends what is queued and ends the receives, so that the ports are free at once and not when the kernel has taken
    /// the ring apart.
    fn drop(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any())
            .build()
            .user_data(SEND | (SEND - 1));
        // SAFETY: a cancel points to no memory.
        let _ = unsafe { self.ring.push(&entry) };
        for _ in 0..2 {
            let _ = self.ring.poll();
            self.completions.clear();
            self.ring.harvest(&mut self.completions);
        }
        let _ = self.ring.submitter().unregister_files();
    }
}

/// Source and payload of what a multishot RECVMSG left in a buffer.
fn datagram(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let flags = u32::from_ne_bytes(address::field(bytes, 12)?);
    if flags & libc::MSG_TRUNC as u32 != 0 {
        return None;
    }
    let source = address::parse(bytes.get(PREFIX_LEN..PREFIX_LEN + NAME_LEN)?)?;
    Some((source, bytes.get(PREFIX_LEN + NAME_LEN..)?))
}
