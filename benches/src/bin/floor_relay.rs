//! The floor: the least a relay on io_uring can do. Connected sockets in the ring's file table, multishot receives into
//! one buffer ring, sequence number, timestamp and SSRC rewritten in place, sends batched, one system call a millisecond.
//! No sessions, no statistics, no commands, no checks. It shares no code with the media engine, because it is its measure.
//!
//! Reads the peers' ports (one line) and prints its own; relays leg 2n to leg 2n+1 and back until its input ends.

use anyhow::{Context, Result, ensure};
use io_uring::types::{BufRingEntry, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use strowger_benches::subject::parse_ports;
use strowger_media::uring::schedule;

const GROUP: u16 = 0;
const BUFFERS: u16 = 16384;
const BUFFER_LEN: usize = 512;
const SUBMISSIONS: u32 = 8192;
const COMPLETIONS: u32 = 65536;
const GATHER_US: u32 = 1000;
const WANT: usize = 60000;
/// User data of sends; receives have the leg's index.
const SEND: u64 = u64::MAX;

#[derive(Copy, Clone)]
struct Rewrite {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

struct Memory {
    base: *mut u8,
}

impl Memory {
    fn new(len: usize) -> Result<Self> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        ensure!(base != libc::MAP_FAILED, std::io::Error::last_os_error());
        Ok(Self { base: base.cast() })
    }
}

struct Buffers {
    entries: *mut BufRingEntry,
    data: *mut u8,
    tail: u16,
}

impl Buffers {
    fn give_back(&mut self, id: u16) {
        let index = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: the index is below the number of entries, the buffer inside the data; both mappings live for ever.
        let (entry, address) = unsafe {
            (
                &mut *self.entries.add(index),
                self.data.add(usize::from(id) * BUFFER_LEN),
            )
        };
        entry.set_addr(address as u64);
        entry.set_len(BUFFER_LEN as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the entries are those of the registered ring; their first holds the tail, which both sides use atomically.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

fn main() -> Result<()> {
    let core = std::env::args().nth(1).map(|a| a.parse::<usize>());
    println!("ready");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let peers = parse_ports(&line)?;
    ensure!(
        !peers.is_empty() && peers.len() % 2 == 0,
        "an even number of ports is needed"
    );
    let sockets = peers
        .iter()
        .map(|peer| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(peer)?;
            Ok(socket)
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    let ports: Vec<String> = sockets
        .iter()
        .map(|s| Ok(s.local_addr()?.port().to_string()))
        .collect::<std::io::Result<_>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    let relay = {
        let stop = Arc::clone(&stop);
        let core = core.transpose().context("the core is a number")?;
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || relay(&sockets, core, &stop, &ready));
        // Closed without a word: the thread has failed and its error is returned below.
        if started.recv().is_ok() {
            println!("{}", ports.join(" "));
            std::io::stdout().flush()?;
            // Until the input ends.
            while std::io::stdin().lock().read_line(&mut line)? > 0 {}
        }
        thread
    };
    stop.store(true, Ordering::Release);
    relay
        .join()
        .map_err(|_| anyhow::anyhow!("the relay panicked"))?
}

fn relay(
    sockets: &[UdpSocket],
    core: Option<usize>,
    stop: &AtomicBool,
    ready: &std::sync::mpsc::SyncSender<()>,
) -> Result<()> {
    if let Some(core) = core {
        schedule::pin_to_core(core)?;
    }
    // A wish, as in the engine.
    let _ = schedule::make_realtime();
    let _ = schedule::tighten_timers();
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_no_sqarray()
        .setup_submit_all()
        .setup_cqsize(COMPLETIONS)
        .build(SUBMISSIONS)?;
    let descriptors: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    ring.submitter().register_files(&descriptors)?;
    let entries = Memory::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
    let data = Memory::new(usize::from(BUFFERS) * BUFFER_LEN)?;
    let mut buffers = Buffers {
        entries: entries.base.cast(),
        data: data.base,
        tail: 0,
    };
    // SAFETY: the entries are page aligned and never unmapped.
    unsafe {
        ring.submitter()
            .register_buf_ring_with_flags(entries.base as u64, BUFFERS, GROUP, 0)?;
    }
    for id in 0..BUFFERS {
        buffers.give_back(id);
    }
    buffers.publish();
    let rewrites: Vec<Rewrite> = (0..sockets.len() as u32)
        .map(|i| Rewrite {
            ssrc: 0xf100_0000 | i,
            sequence: i as u16,
            timestamp: i.wrapping_mul(7919),
        })
        .collect();
    for leg in 0..sockets.len() as u32 {
        push(&mut ring, &receive(leg))?;
    }
    ring.submit()?;
    ready.send(())?;
    let timeout = Timespec::new().nsec(200_000_000);
    let mut completions: Vec<cqueue::Entry> = Vec::with_capacity(COMPLETIONS as usize);
    let mut sending: Vec<u16> = Vec::with_capacity(usize::from(BUFFERS));
    while !stop.load(Ordering::Relaxed) {
        let arguments = SubmitArgs::new()
            .timespec(&timeout)
            .min_wait_usec(GATHER_US);
        match ring.submitter().submit_with_args(WANT, &arguments) {
            Ok(_) => {}
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY)
                ) => {}
            Err(e) => return Err(e.into()),
        }
        for id in sending.drain(..) {
            buffers.give_back(id);
        }
        completions.clear();
        completions.extend(ring.completion());
        for completion in &completions {
            let leg = completion.user_data();
            if leg == SEND {
                continue;
            }
            let leg = leg as u32;
            if let Some(id) = cqueue::buffer_select(completion.flags()) {
                let len = completion.result().max(0) as usize;
                let entry = forward(&buffers, id, len, leg, &rewrites);
                push(&mut ring, &entry)?;
                sending.push(id);
            }
            if !cqueue::more(completion.flags()) {
                push(&mut ring, &receive(leg))?;
            }
        }
        buffers.publish();
    }
    Ok(())
}

fn receive(leg: u32) -> squeue::Entry {
    opcode::RecvMulti::new(Fixed(leg), GROUP)
        .build()
        .user_data(u64::from(leg))
}

fn forward(
    buffers: &Buffers,
    id: u16,
    len: usize,
    leg: u32,
    rewrites: &[Rewrite],
) -> squeue::Entry {
    let len = len.min(BUFFER_LEN);
    // SAFETY: the kernel has handed this buffer to us, and it is inside the data, which lives for ever.
    let packet = unsafe {
        std::slice::from_raw_parts_mut(buffers.data.add(usize::from(id) * BUFFER_LEN), len)
    };
    let to = leg ^ 1;
    if let (Some(header), Some(rewrite)) =
        (packet.first_chunk_mut::<12>(), rewrites.get(to as usize))
    {
        let sequence = u16::from_be_bytes([header[2], header[3]]);
        let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        header[2..4].copy_from_slice(&sequence.wrapping_add(rewrite.sequence).to_be_bytes());
        header[4..8].copy_from_slice(&timestamp.wrapping_add(rewrite.timestamp).to_be_bytes());
        header[8..12].copy_from_slice(&rewrite.ssrc.to_be_bytes());
    }
    opcode::Send::new(Fixed(to), packet.as_ptr(), len as u32)
        .flags(libc::MSG_DONTWAIT)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(SEND)
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) -> Result<()> {
    loop {
        // SAFETY: entries point into the data mapping, which lives for ever; a buffer is given back after its send.
        if unsafe { ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        ring.submit()?;
    }
}
