//! The media thread's ring: multishot receives into provided buffers, batched sends, registered sockets.
//!
//! A received datagram can be changed where it lies and sent from there. Its buffer then belongs to the send until the
//! next submit has executed it (`MSG_DONTWAIT` with success completions skipped: executed when the system call
//! returns), after which it goes back to the kernel by itself.

use super::address::{self, NAME_LEN, RawName};
use super::buffers::BufferRing;
use super::memory::{Mapping, Pages};
use super::ring::{Ring, Wait};
use crate::rtp::srtp::OVERHEAD_MAX;
use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, Fd, Fixed};
use io_uring::{cqueue, opcode, squeue};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// Buffer group of received datagrams.
const GROUP: u16 = 0;
/// A receive buffer holds the largest datagram that crosses an Ethernet unfragmented, with the kernel's prefix.
const BUFFER_LEN: u32 = 1536;
/// `struct io_uring_recvmsg_out`: four 32-bit words before name and payload.
const PREFIX_LEN: usize = 16;
/// Behind the largest datagram of an Ethernet there is room for the tag of SRTP.
const _: () = assert!(BUFFER_LEN as usize >= PREFIX_LEN + NAME_LEN + 1472 + OVERHEAD_MAX);
/// Generated packets that wait for one submit.
const ARENA_SLOTS: usize = 1024;
/// Room for one generated packet, in bytes.
const ARENA_LEN: usize = 1536;

/// What a completion belongs to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A wake-up descriptor became readable.
    Wake,
    /// A datagram with its source address in front.
    Named,
    /// A datagram of a connected socket.
    Connected,
    /// A send; completes only when it failed.
    Send,
    /// A connect; completes only when it failed.
    Connect,
    /// Nobody waits for it (a cancel).
    Ignored,
}

/// What we get back with a completion: the operation's kind, the registered file, the generation of the leg that owns
/// it (20 bits, so that completions of a closed leg are recognised) and the epoch of its receive (8 bits, so that the end
/// of a replaced receive does not re-arm it).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) epoch: u8,
    pub(crate) generation: u32,
    pub(crate) file: u32,
}

/// Generations count modulo this.
pub(crate) const GENERATIONS: u32 = 1 << 20;

impl Token {
    pub(crate) const fn pack(self) -> u64 {
        let kind = match self.kind {
            Kind::Wake => 1,
            Kind::Named => 2,
            Kind::Connected => 3,
            Kind::Send => 4,
            Kind::Connect => 5,
            Kind::Ignored => 6,
        };
        (kind << 60)
            | ((self.epoch as u64) << 52)
            | (((self.generation & (GENERATIONS - 1)) as u64) << 32)
            | self.file as u64
    }

    pub(crate) const fn unpack(raw: u64) -> Self {
        Self {
            kind: match raw >> 60 {
                1 => Kind::Wake,
                2 => Kind::Named,
                3 => Kind::Connected,
                4 => Kind::Send,
                5 => Kind::Connect,
                _ => Kind::Ignored,
            },
            epoch: (raw >> 52) as u8,
            generation: (raw >> 32) as u32 & (GENERATIONS - 1),
            file: raw as u32,
        }
    }
}

/// Where a received datagram lies in its buffer.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Datagram {
    /// `None`: the connected peer.
    pub(crate) source: Option<SocketAddr>,
    pub(crate) buffer: u16,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Sizes of a [`PacketRing`].
#[derive(Copy, Clone, Debug)]
pub(crate) struct Sizes {
    /// Registered files.
    pub(crate) files: u32,
    /// Receive buffers, a power of two.
    pub(crate) buffers: u16,
    /// Submission entries.
    pub(crate) submissions: u32,
    /// Completion entries.
    pub(crate) completions: u32,
}

/// See the module's text. The order of fields is the order of destruction: the ring goes before the memory it uses.
pub(crate) struct PacketRing {
    ring: Ring,
    buffers: BufferRing,
    arena: Mapping,
    arena_used: usize,
    names: Vec<RawName>,
    names_used: usize,
    message: Box<libc::msghdr>,
    sending: Vec<u16>,
}

impl PacketRing {
    pub(crate) fn new(sizes: Sizes) -> io::Result<Self> {
        let ring = Ring::new(sizes.submissions, sizes.completions)?;
        ring.submitter().register_files_sparse(sizes.files)?;
        let buffers = BufferRing::new(&ring, GROUP, sizes.buffers, BUFFER_LEN, Pages::Huge)?;
        // SAFETY: msghdr is plain data, for which all zeroes means no name, no vectors, no control data.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        message.msg_namelen = NAME_LEN as u32;
        Ok(Self {
            names: vec![RawName::UNSPECIFIED; sizes.submissions as usize],
            sending: Vec::with_capacity(usize::from(sizes.buffers)),
            arena: Mapping::new(ARENA_SLOTS * ARENA_LEN, Pages::Sparse)?,
            ring,
            buffers,
            arena_used: 0,
            names_used: 0,
            message,
        })
    }

    /// Puts descriptors into the table from index `file` on; the caller may then close its own. -1 empties an entry.
    pub(crate) fn install(&self, file: u32, descriptors: &[RawFd]) -> io::Result<()> {
        self.ring
            .submitter()
            .register_files_update(file, descriptors)
            .map(drop)
    }

    /// Completes with `token` each time `descriptor` becomes readable, until its completion lacks the "more" flag.
    pub(crate) fn watch(&mut self, descriptor: RawFd, token: Token) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(descriptor), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(token.pack());
        self.push(&entry)
    }

    /// Arms the receive of datagrams with their source addresses.
    pub(crate) fn receive_named(&mut self, token: Token) -> io::Result<()> {
        let message = &raw const *self.message;
        let entry = opcode::RecvMsgMulti::new(Fixed(token.file), message, GROUP)
            .build()
            .user_data(token.pack());
        self.push(&entry)
    }

    /// Arms the receive of a connected socket.
    pub(crate) fn receive_connected(&mut self, token: Token) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fixed(token.file), GROUP)
            .build()
            .user_data(token.pack());
        self.push(&entry)
    }

    /// Connects a socket to `remote`, or makes it unconnected again.
    pub(crate) fn connect(&mut self, token: Token, remote: Option<SocketAddr>) -> io::Result<()> {
        self.reserve()?;
        let name = self.name(remote.map_or(RawName::UNSPECIFIED, RawName::new));
        let entry = opcode::Connect::new(Fixed(token.file), name.0, name.1)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(token.pack());
        self.push(&entry)
    }

    /// Ends the receive that was armed with `token`.
    pub(crate) fn cancel(&mut self, token: Token) -> io::Result<()> {
        let ignored = Token {
            kind: Kind::Ignored,
            ..token
        };
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(token.pack()))
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(ignored.pack());
        self.push(&entry)
    }

    /// Sends `len` bytes at `start` of a receive buffer; to the connected peer when `destination` is `None`. The buffer
    /// is given back once the send has been executed, also when an error is returned here.
    pub(crate) fn send_received(
        &mut self,
        token: Token,
        buffer: u16,
        start: usize,
        len: usize,
        destination: Option<SocketAddr>,
    ) -> io::Result<()> {
        if let Err(error) = self.reserve() {
            self.give_back(buffer);
            return Err(error);
        }
        let Some(data) = self.buffers.address(buffer, start, len) else {
            self.give_back(buffer);
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let entry = self.send_entry(token, data, len, destination);
        let pushed = self.push(&entry);
        match pushed {
            Ok(()) => self.sending.push(buffer),
            Err(_) => self.give_back(buffer),
        }
        pushed
    }

    /// Copies a packet that did not come from a receive buffer and sends it, to the connected peer when `destination` is
    /// `None`.
    pub(crate) fn send_generated(
        &mut self,
        token: Token,
        bytes: &[u8],
        destination: Option<SocketAddr>,
    ) -> io::Result<()> {
        if bytes.len() > ARENA_LEN {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        if self.arena_used == ARENA_SLOTS {
            self.flush()?;
            if self.arena_used == ARENA_SLOTS {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
        }
        self.reserve()?;
        let slot = self
            .arena
            .slice_mut(self.arena_used * ARENA_LEN, bytes.len());
        slot.copy_from_slice(bytes);
        let data = slot.as_ptr();
        self.arena_used += 1;
        let entry = self.send_entry(token, data, bytes.len(), destination);
        self.push(&entry)
    }

    /// Where the datagram of a completed [`Kind::Named`] lies. `None`: cut off, or without a usable source.
    pub(crate) fn named(&mut self, buffer: u16, result: usize) -> Option<Datagram> {
        let bytes = self.buffers.bytes_mut(buffer, result);
        let flags = u32::from_ne_bytes(address::field(bytes, 12)?);
        let source = address::parse(bytes.get(PREFIX_LEN..PREFIX_LEN + NAME_LEN)?)?;
        let start = PREFIX_LEN + NAME_LEN;
        if flags & libc::MSG_TRUNC as u32 != 0 {
            return None;
        }
        Some(Datagram {
            source: Some(source),
            buffer,
            start,
            len: result.checked_sub(start)?,
        })
    }

    /// The same for [`Kind::Connected`], where the source is the connected peer.
    pub(crate) fn connected(&self, buffer: u16, result: usize) -> Option<Datagram> {
        // A datagram that fills the buffer to the last byte is taken for a cut-off one: RECV does not tell.
        (result < self.buffers.buffer_len()).then_some(Datagram {
            source: None,
            buffer,
            start: 0,
            len: result,
        })
    }

    /// The bytes of a datagram and of its buffer behind it: 20 at least behind what crosses an Ethernet (1472 bytes), enough
    /// for the tag of SRTP.
    pub(crate) fn bytes_and_room_mut(&mut self, datagram: &Datagram) -> &mut [u8] {
        let length = self.buffers.buffer_len();
        self.buffers
            .bytes_mut(datagram.buffer, length)
            .get_mut(datagram.start..)
            .unwrap_or_default()
    }

    /// Returns a receive buffer that is not sent from.
    pub(crate) fn give_back(&mut self, buffer: u16) {
        self.buffers.give_back(buffer);
    }

    /// Submits everything queued without waiting; sends are executed, their buffers given back.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.buffers.publish();
        self.ring.submit()?;
        self.executed();
        Ok(())
    }

    /// The one system call of a loop: submits, waits, and gives back the buffers of executed sends.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.buffers.publish();
        self.ring.enter(wait)?;
        self.executed();
        Ok(())
    }

    /// Appends the completions to `out`.
    pub(crate) fn harvest(&mut self, out: &mut Vec<cqueue::Entry>) {
        let from = out.len();
        self.ring.harvest(out);
        self.buffers.harvested(out.get(from..).unwrap_or_default());
    }

    /// Most completions of one harvest.
    pub(crate) fn completion_capacity(&self) -> usize {
        self.ring.completion_capacity()
    }

    /// Cancels everything and empties the file table, so that ports are free as soon as this returns or shortly after.
    pub(crate) fn shut_down(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any())
            .build()
            .user_data(0);
        let _ = self.push(&entry);
        let mut drained = Vec::with_capacity(self.completion_capacity());
        for _ in 0..3 {
            let _ = self.enter(Wait {
                gather: std::time::Duration::from_millis(1),
                timeout: std::time::Duration::from_millis(2),
            });
            drained.clear();
            self.harvest(&mut drained);
        }
        let _ = self.ring.submitter().unregister_files();
        let _ = self.ring.submitter().unregister_buf_ring(GROUP);
    }

    fn executed(&mut self) {
        // With the completion queue overflowing the kernel may take nothing: the memory then stays with the sends.
        if !self.ring.all_submitted() {
            return;
        }
        for buffer in self.sending.drain(..) {
            self.buffers.give_back(buffer);
        }
        self.arena_used = 0;
        self.names_used = 0;
        // Published with the next enter or flush: nothing waits for it in between.
    }

    /// Makes sure that one more entry and one more name fit, before memory for them is taken.
    fn reserve(&mut self) -> io::Result<()> {
        if self.names_used == self.names.len() || self.ring.space() == 0 {
            self.flush()?;
            if self.names_used == self.names.len() || self.ring.space() == 0 {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
        }
        Ok(())
    }

    fn name(&mut self, name: RawName) -> (*const libc::sockaddr, libc::socklen_t) {
        let at = self.names_used.min(self.names.len() - 1);
        self.names_used = at + 1;
        let slot = &mut self.names[at];
        *slot = name;
        (slot.bytes.as_ptr().cast(), slot.len)
    }

    fn send_entry(
        &mut self,
        token: Token,
        data: *const u8,
        len: usize,
        destination: Option<SocketAddr>,
    ) -> squeue::Entry {
        let send = opcode::Send::new(Fixed(token.file), data, len as u32).flags(libc::MSG_DONTWAIT);
        let send = match destination {
            None => send,
            Some(to) => {
                let name = self.name(RawName::new(to));
                send.dest_addr(name.0).dest_addr_len(name.1)
            }
        };
        send.build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(token.pack())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.ring.space() == 0 {
            self.flush()?;
        }
        // SAFETY: what entries point to is owned by this value, which drops the ring first: the message header and the
        // watched descriptors' polls need nothing after the submit; names, arena and receive buffers are reused only
        // after `all_submitted`, and every send carries MSG_DONTWAIT.
        unsafe { self.ring.push(entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_all_their_fields() {
        for kind in [
            Kind::Wake,
            Kind::Named,
            Kind::Connected,
            Kind::Send,
            Kind::Connect,
            Kind::Ignored,
        ] {
            let token = Token {
                kind,
                epoch: 0xa5,
                generation: GENERATIONS - 2,
                file: u32::MAX - 1,
            };
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
