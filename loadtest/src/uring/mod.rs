//! The generator's ring: thousands of UDP sockets, each received from by one multishot receive that lies in the kernel,
//! and sends that leave in batches. Every datagram comes with its source and the kernel's time of its arrival, so that the
//! generator's own pace is not in the delays. All unsafe code of the load generator is in this folder; no SIP, no RTP.

mod buffers;
pub(crate) mod schedule;

use buffers::Buffers;
use io_uring::squeue::Flags;
use io_uring::types::{Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

/// Buffer group of sockets that carry media.
const MEDIA: u16 = 0;
/// Buffer group of sockets that carry SIP.
const SIGNAL: u16 = 1;
/// Room for a source address in front of a datagram (`sockaddr_in6`).
const NAME_LEN: usize = 28;
/// Room for one control message with a `timespec`.
const CONTROL_LEN: usize = 32;
/// Largest datagram of media that is received, in bytes.
pub(crate) const MEDIA_MAX: usize = 512;
/// Largest SIP message that is received over UDP, in bytes.
pub(crate) const SIGNAL_MAX: usize = 16_384;
/// Packets that leave with one system call: few, so that the time written into a packet is the time it leaves.
const BATCH: usize = 16;

/// A socket's place in the ring.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Slot(pub(crate) u32);

/// What a socket carries.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Carries {
    Media,
    Signal,
}

impl Carries {
    const fn group(self) -> u16 {
        match self {
            Self::Media => MEDIA,
            Self::Signal => SIGNAL,
        }
    }
}

/// A datagram that has come.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) slot: Slot,
    pub(crate) source: SocketAddr,
    /// Wall clock of the kernel, since 1970; `None` where it gave none.
    pub(crate) at: Option<Duration>,
    pub(crate) bytes: &'a [u8],
}

struct Socket {
    socket: UdpSocket,
    carries: Carries,
}

/// One packet that waits for the next submit.
struct Outgoing {
    bytes: [u8; MEDIA_MAX],
    name: [u8; NAME_LEN],
}

/// See the module's text. The ring is the first field: it goes before the memory that it uses.
pub(crate) struct Ring {
    io: IoUring,
    media: Buffers,
    signal: Buffers,
    message: Box<libc::msghdr>,
    outgoing: Box<[Outgoing]>,
    queued: usize,
    sockets: Vec<Socket>,
    sockets_max: u32,
    /// Receives that ended and have to be armed again.
    ended: Vec<Slot>,
    send_errors: u64,
}

const SENT: u64 = 1 << 32;

impl Ring {
    /// A ring for at most `sockets_max` sockets, to be used by the thread that makes it.
    pub(crate) fn new(sockets_max: u32) -> io::Result<Self> {
        let io = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(16_384)
            .build(1024)?;
        io.submitter().register_files_sparse(sockets_max)?;
        let space = 16 + NAME_LEN + CONTROL_LEN;
        let media = Buffers::new(&io, MEDIA, 4096, space + MEDIA_MAX)?;
        let signal = Buffers::new(&io, SIGNAL, 512, space + SIGNAL_MAX)?;
        // SAFETY: msghdr is plain data, for which all zeroes means no name, no vectors and no control data.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        message.msg_namelen = NAME_LEN as u32;
        message.msg_controllen = CONTROL_LEN as _;
        let empty = || Outgoing {
            bytes: [0; MEDIA_MAX],
            name: [0; NAME_LEN],
        };
        Ok(Self {
            io,
            media,
            signal,
            message,
            outgoing: (0..BATCH).map(|_| empty()).collect(),
            queued: 0,
            sockets: Vec::new(),
            sockets_max,
            ended: Vec::new(),
            send_errors: 0,
        })
    }

    /// Takes a socket in and receives from it until the ring ends.
    pub(crate) fn add(&mut self, socket: UdpSocket, carries: Carries) -> io::Result<Slot> {
        let slot = Slot(u32::try_from(self.sockets.len()).unwrap_or(u32::MAX));
        if slot.0 >= self.sockets_max {
            return Err(io::Error::other(format!(
                "more than {} sockets are not planned for",
                self.sockets_max
            )));
        }
        socket.set_nonblocking(true)?;
        stamp(&socket)?;
        self.io
            .submitter()
            .register_files_update(slot.0, &[socket.as_raw_fd()])?;
        self.sockets.push(Socket { socket, carries });
        self.arm(slot)?;
        Ok(slot)
    }

    /// Where a socket is bound.
    pub(crate) fn address(&self, slot: Slot) -> io::Result<SocketAddr> {
        self.socket(slot)?.socket.local_addr()
    }

    fn socket(&self, slot: Slot) -> io::Result<&Socket> {
        self.sockets
            .get(slot.0 as usize)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn arm(&mut self, slot: Slot) -> io::Result<()> {
        let group = self.socket(slot)?.carries.group();
        let entry = opcode::RecvMsgMulti::new(Fixed(slot.0), &raw const *self.message, group)
            .build()
            .user_data(u64::from(slot.0));
        self.push(&entry)
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: an entry points to the message header, which lives as long as the ring, or to a packet that stays as it
        // is until `flush` has seen it sent (`MSG_DONTWAIT`: executed when the submitting call returns).
        while unsafe { self.io.submission().push(entry) }.is_err() {
            settle(self.io.submit())?;
        }
        Ok(())
    }

    /// Sends a SIP message at once. `false`: the socket's buffer is full, or nobody listens; repetitions make up for it.
    pub(crate) fn send_signal(&self, slot: Slot, bytes: &[u8], to: SocketAddr) -> bool {
        self.socket(slot)
            .is_ok_and(|socket| socket.socket.send_to(bytes, to).is_ok())
    }

    /// Queues a packet of at most [`MEDIA_MAX`] bytes, which `fill` writes and whose length it returns.
    pub(crate) fn send_media(
        &mut self,
        slot: Slot,
        to: SocketAddr,
        fill: impl FnOnce(&mut [u8; MEDIA_MAX]) -> usize,
    ) -> io::Result<()> {
        if self.queued == self.outgoing.len() {
            self.flush()?;
        }
        let Some(packet) = self.outgoing.get_mut(self.queued) else {
            return Ok(());
        };
        self.queued += 1;
        let len = fill(&mut packet.bytes).min(MEDIA_MAX);
        let name_len = write_name(&mut packet.name, to);
        let entry = opcode::Send::new(Fixed(slot.0), packet.bytes.as_ptr(), len as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(packet.name.as_ptr().cast())
            .dest_addr_len(name_len)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(SENT);
        self.push(&entry)
    }

    /// Lets what is queued leave.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.io.submission().is_empty() {
            settle(self.io.submit())?;
        }
        self.queued = 0;
        Ok(())
    }

    /// Packets that the kernel did not take.
    pub(crate) fn send_errors(&self) -> u64 {
        self.send_errors
    }

    /// Lets what is queued leave, waits until `until`, and hands over all that has come.
    pub(crate) fn wait(
        &mut self,
        until: Instant,
        mut on: impl FnMut(Arrived<'_>),
    ) -> io::Result<()> {
        self.flush()?;
        let left = Timespec::from(until.saturating_duration_since(Instant::now()));
        let arguments = SubmitArgs::new().timespec(&left);
        // Wanting more than can come lets the kernel gather until the time is over.
        let want = self.io.params().cq_entries() as usize;
        settle(self.io.submitter().submit_with_args(want, &arguments))?;
        let Self {
            io,
            media,
            signal,
            message,
            sockets,
            ended,
            send_errors,
            ..
        } = self;
        for entry in io.completion() {
            if entry.user_data() & SENT != 0 {
                *send_errors += u64::from(entry.result() < 0);
                continue;
            }
            let slot = Slot(entry.user_data() as u32);
            if !cqueue::more(entry.flags()) {
                ended.push(slot);
            }
            let Some(id) = cqueue::buffer_select(entry.flags()) else {
                continue;
            };
            let carries = sockets.get(slot.0 as usize).map(|socket| socket.carries);
            let buffers = match carries {
                Some(Carries::Signal) => &mut *signal,
                _ => &mut *media,
            };
            let len = usize::try_from(entry.result()).unwrap_or(0);
            if let Ok(out) = RecvMsgOut::parse(buffers.bytes(id, len), message)
                && let Some(source) = read_name(out.name_data())
            {
                on(Arrived {
                    slot,
                    source,
                    at: read_stamp(out.control_data()),
                    bytes: out.payload_data(),
                });
            }
            buffers.give_back(id);
        }
        self.media.publish();
        self.signal.publish();
        for slot in std::mem::take(&mut self.ended) {
            self.arm(slot)?;
        }
        Ok(())
    }
}

/// Time over, a signal, or a full queue of completions are the normal life of a ring.
fn settle(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Asks the kernel to note when datagrams arrive at `socket`.
fn stamp(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The time in a control message `SCM_TIMESTAMPNS`: length, level and type, then a `timespec`.
fn read_stamp(control: &[u8]) -> Option<Duration> {
    let kind = i32::from_ne_bytes(control.get(12..16)?.try_into().ok()?);
    if kind != libc::SCM_TIMESTAMPNS {
        return None;
    }
    let number = |at: usize| -> Option<i64> {
        Some(i64::from_ne_bytes(
            control.get(at..at + 8)?.try_into().ok()?,
        ))
    };
    let (seconds, ns) = (number(16)?, number(24)?);
    Some(Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(ns).ok()?,
    ))
}

/// Writes an address as the kernel's `sockaddr_in` or `sockaddr_in6`; returns its length.
fn write_name(name: &mut [u8; NAME_LEN], address: SocketAddr) -> u32 {
    name.fill(0);
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&ip.octets());
            16
        }
        IpAddr::V6(ip) => {
            name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            name[8..24].copy_from_slice(&ip.octets());
            28
        }
    }
}

fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(name.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    let ip = match family {
        libc::AF_INET => {
            let octets: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn packets_come_with_their_source_and_time() {
        let mut ring = Ring::new(8).expect("a ring");
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let a = ring.add(socket(), Carries::Media).expect("added");
        let b = ring.add(socket(), Carries::Signal).expect("added");
        let (at_a, at_b) = (
            ring.address(a).expect("an address"),
            ring.address(b).expect("an address"),
        );
        let before = SystemTime::now();
        for n in 0..40_u8 {
            ring.send_media(a, at_b, |bytes| {
                bytes[..3].copy_from_slice(&[n, 7, 7]);
                3
            })
            .expect("queued");
        }
        assert!(ring.send_signal(b, b"hello", at_a));
        let mut heard = Vec::new();
        let end = Instant::now() + Duration::from_secs(5);
        while heard.len() < 41 && Instant::now() < end {
            ring.wait(Instant::now() + Duration::from_millis(5), |came| {
                let at = SystemTime::UNIX_EPOCH + came.at.expect("a time");
                assert!(at >= before && at <= SystemTime::now());
                heard.push((came.slot, came.source, came.bytes.to_vec()));
            })
            .expect("waited");
        }
        assert_eq!(heard.len(), 41);
        let numbers: Vec<u8> = heard
            .iter()
            .filter(|(slot, source, _)| *slot == b && *source == at_a)
            .map(|(_, _, bytes)| bytes[0])
            .collect();
        assert_eq!(numbers, (0..40).collect::<Vec<u8>>(), "in order");
        assert!(heard.contains(&(a, at_b, b"hello".to_vec())));
        assert_eq!(ring.send_errors(), 0);
        let far: SocketAddr = "[::1]:9".parse().expect("an address");
        let mut name = [0; NAME_LEN];
        assert_eq!(write_name(&mut name, far), 28);
        assert_eq!(read_name(&name), Some(far));
    }
}
