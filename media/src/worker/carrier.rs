//! The loop of the media thread: completions in, engine, sends out, one system call.

use super::WorkerConfig;
use super::events::EventSender;
use crate::counters::Counters;
use crate::engine::{Clock, Effect, Engine, Limits, Slot, Transmit};
use crate::recording::{Order, Reply};
use crate::types::{Command, Event, LegId};
use crate::uring::packet::{GENERATIONS, Kind, PacketRing, Sizes, Token};
use crate::uring::ring::Wait;
use crate::uring::schedule;
use crate::uring::wake::Wake;
use crate::writer::WriterPort;
use io_uring::cqueue;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// Completions are gathered for this long: it adds 0.6 ms of delay on average and saves a third of the CPU.
const GATHER: Duration = Duration::from_millis(1);
/// Longest sleep of a thread that has nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// Shortest wait, so that a deadline that is always due cannot make the loop spin.
const WAIT_MIN: Duration = Duration::from_micros(100);
/// Wait before something that did not fit into a queue is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// Commands executed in one loop; opening a leg costs some microseconds.
const COMMANDS_PER_LOOP: usize = 256;

/// How many packets ahead what they need is asked for: the leg, what belongs to it and the leg it is relayed to, where the
/// audio is put, and where recorders of the other leg put it.
const AHEAD: [usize; 4] = [12, 9, 6, 3];

/// What the thread shares with others.
pub(super) struct Outside {
    pub(super) commands: rtrb::Consumer<Command>,
    pub(super) events: EventSender,
    pub(super) writer: WriterPort,
    pub(super) wake: Wake,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) counters: Arc<Counters>,
}

/// The body of the thread. Says through `started` whether it could begin.
pub(super) fn run(config: &WorkerConfig, outside: Outside, started: &SyncSender<io::Result<()>>) {
    prepare_thread(config);
    match Carrier::new(config.max_legs, outside) {
        Ok(mut carrier) => {
            let _ = started.send(Ok(()));
            if let Err(error) = carrier.run() {
                tracing::error!(%error, thread = config.name, "the media ring failed");
            }
            carrier.shut_down();
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}

fn prepare_thread(config: &WorkerConfig) {
    if let Some(core) = config.core
        && let Err(error) = schedule::pin_to_core(core)
    {
        tracing::warn!(core, %error, "the media thread is not bound to its core");
    }
    if config.realtime
        && let Err(error) = schedule::make_realtime()
    {
        tracing::debug!(%error, "the media thread runs without real-time priority");
    }
    if let Err(error) = schedule::tighten_timers() {
        tracing::debug!(%error, "the media thread keeps its timer slack");
    }
}

/// The sockets of a leg, by slot: registered files `2 * slot` (RTP) and `2 * slot + 1` (RTCP).
#[derive(Copy, Clone, Debug)]
struct Sockets {
    open: bool,
    generation: u32,
    /// Epoch of the RTP receive, which changes when it is armed in another way.
    epoch: u8,
    /// The peer the RTP socket is connected to.
    connected: Option<SocketAddr>,
}

impl Sockets {
    /// Token of the receive that is armed now.
    fn receive(&self, slot: u32, rtcp: bool) -> Token {
        Token {
            kind: if rtcp || self.connected.is_none() {
                Kind::Named
            } else {
                Kind::Connected
            },
            epoch: if rtcp { 0 } else { self.epoch },
            generation: self.generation,
            file: file(slot, rtcp),
        }
    }
}

const fn file(slot: u32, rtcp: bool) -> u32 {
    slot * 2 + rtcp as u32
}

const WAKE: Token = Token {
    kind: Kind::Wake,
    epoch: 0,
    generation: 0,
    file: 0,
};

struct Carrier {
    ring: PacketRing,
    engine: Engine,
    outside: Outside,
    sockets: Vec<Sockets>,
    completions: Vec<cqueue::Entry>,
    rearm: Vec<Token>,
    closed: Vec<u32>,
    /// Orders to open or close a file that did not fit into the writer's queue.
    orders: VecDeque<Order>,
    /// Legs that are open, to close them at the end.
    open: HashSet<LegId>,
    out_of_buffers: bool,
    /// The watch of the wake-up descriptor has ended and has to be started again.
    rewatch: bool,
    now: Instant,
}

impl Carrier {
    fn new(max_legs: usize, outside: Outside) -> io::Result<Self> {
        let legs = u32::try_from(max_legs).unwrap_or(u32::MAX / 4);
        let mut ring = PacketRing::new(Sizes {
            files: legs * 2,
            // The most that the kernel may have, after stalls that fewer were too few for: four times the packets of 20 ms (at
            // 50 packets a second one a leg).
            buffers: (legs * 4).next_power_of_two().clamp(1024, 16384) as u16,
            submissions: (legs * 2).next_power_of_two().clamp(512, 8192),
            completions: (legs * 16).next_power_of_two().clamp(4096, 65536),
        })?;
        ring.watch(outside.wake.fd(), WAKE)?;
        let clock = Clock::read();
        let limits = Limits {
            max_legs,
            ..Limits::default()
        };
        Ok(Self {
            engine: Engine::new(limits, clock, Arc::clone(&outside.counters)),
            sockets: vec![
                Sockets {
                    open: false,
                    generation: 0,
                    epoch: 0,
                    connected: None,
                };
                max_legs
            ],
            completions: Vec::with_capacity(ring.completion_capacity()),
            rearm: Vec::with_capacity(max_legs * 2),
            closed: Vec::with_capacity(max_legs),
            orders: VecDeque::new(),
            open: HashSet::with_capacity(max_legs),
            out_of_buffers: false,
            rewatch: false,
            ring,
            outside,
            now: clock.now,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut woken = Instant::now();
        while !self.outside.stop.load(Ordering::Acquire) {
            self.now = Instant::now();
            let counters = &self.outside.counters;
            counters.loops.add(1);
            self.complete();
            self.rearm()?;
            self.execute_commands();
            self.take_replies();
            self.tick();
            let waiting = self.apply_effects()? | self.pass_on() | !self.rearm.is_empty();
            let busy_us = woken.elapsed().as_micros() as u64;
            self.outside.counters.loop_us_max.max(busy_us);
            let wait = self.wait(waiting);
            self.ring.enter(wait)?;
            woken = Instant::now();
        }
        Ok(())
    }

    /// Works off everything the kernel has completed.
    fn complete(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        completions.clear();
        self.ring.harvest(&mut completions);
        self.outside
            .counters
            .batch_max
            .max(completions.len() as u64);
        for (index, completion) in completions.iter().enumerate() {
            for (stage, ahead) in AHEAD.into_iter().enumerate() {
                if let Some(later) = completions.get(index + ahead) {
                    let slot = Slot(Token::unpack(later.user_data()).file / 2);
                    self.engine.expect(slot, stage as u8);
                }
            }
            let token = Token::unpack(completion.user_data());
            match token.kind {
                Kind::Named | Kind::Connected => self.received(token, completion),
                Kind::Send => self.outside.counters.send_failures.add(1),
                Kind::Connect => {
                    if completion.result() < 0 {
                        self.outside.counters.connect_failures.add(1);
                    }
                }
                Kind::Wake => {
                    if !cqueue::more(completion.flags()) {
                        self.rewatch = true;
                    }
                }
                Kind::Ignored => {}
            }
        }
        self.completions = completions;
    }

    /// One completion of a receive: a datagram, or the end of the receive, or both.
    fn received(&mut self, token: Token, completion: &cqueue::Entry) {
        let (slot, rtcp) = (token.file / 2, token.file % 2 == 1);
        let Some(sockets) = self.sockets.get(slot as usize) else {
            return;
        };
        let current = sockets.open && sockets.generation == token.generation;
        let flags = completion.flags();
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if current {
                self.datagram(slot, rtcp, token.kind, buffer, completion.result());
            } else {
                self.outside.counters.stale_completions.add(1);
                self.ring.give_back(buffer);
            }
        }
        if !cqueue::more(flags) && current {
            if completion.result() == -libc::ENOBUFS {
                self.outside.counters.out_of_buffers.add(1);
                self.out_of_buffers = true;
            }
            self.rearm.push(token);
        }
    }

    fn datagram(&mut self, slot: u32, rtcp: bool, kind: Kind, buffer: u16, result: i32) {
        let datagram = usize::try_from(result).ok().and_then(|len| match kind {
            Kind::Connected => self.ring.connected(buffer, len),
            _ => self.ring.named(buffer, len),
        });
        let Some(datagram) = datagram else {
            self.outside.counters.oversized.add(1);
            self.ring.give_back(buffer);
            return;
        };
        let bytes = self.ring.bytes_and_room_mut(&datagram);
        if rtcp {
            self.engine.rtcp(
                self.now,
                Slot(slot),
                datagram.source,
                bytes.get(..datagram.len).unwrap_or_default(),
            );
            self.ring.give_back(buffer);
            return;
        }
        let forward =
            self.engine
                .rtp_in_buffer(self.now, Slot(slot), datagram.source, bytes, datagram.len);
        let Some(forward) = forward else {
            self.ring.give_back(buffer);
            return;
        };
        let (token, destination) = egress(&self.sockets, forward.slot.0, false, forward.dest);
        let sent = self.ring.send_received(
            token,
            buffer,
            datagram.start + usize::from(forward.start),
            usize::from(forward.len),
            destination,
        );
        if sent.is_err() {
            self.outside.counters.send_failures.add(1);
        }
    }

    /// Starts the receives again that the kernel has ended.
    fn rearm(&mut self) -> io::Result<()> {
        if self.rewatch && self.ring.watch(self.outside.wake.fd(), WAKE).is_ok() {
            self.rewatch = false;
        }
        if self.rearm.is_empty() {
            return Ok(());
        }
        // Without this the receives would start while the buffers are still with the sends of this loop, and end again.
        if std::mem::take(&mut self.out_of_buffers) {
            self.ring.flush()?;
        }
        let (ring, sockets, counters) = (&mut self.ring, &self.sockets, &self.outside.counters);
        self.rearm.retain(|&token| {
            let slot = token.file / 2;
            // A receive that was replaced meanwhile ends here for good.
            let current = sockets
                .get(slot as usize)
                .is_some_and(|s| s.open && s.receive(slot, token.file % 2 == 1) == token);
            if !current {
                return false;
            }
            counters.rearmed.add(1);
            arm(ring, token).is_err()
        });
        Ok(())
    }

    fn execute_commands(&mut self) {
        self.outside.wake.lower();
        for _ in 0..COMMANDS_PER_LOOP {
            let Ok(command) = self.outside.commands.pop() else {
                return;
            };
            self.execute(command);
        }
        // More are waiting: the next loop comes at once.
        self.outside.wake.raise();
    }

    fn execute(&mut self, command: Command) {
        if let Command::Open(setup) = &command
            && self.open.len() < self.sockets.len()
        {
            self.open.insert(setup.leg);
        }
        if let Command::OpenFar(far) = &command
            && self.open.len() < self.sockets.len()
        {
            self.open.insert(far.0.leg);
        }
        if let Command::OpenWire(ends) = &command
            && self.open.len() + 1 < self.sockets.len()
        {
            self.open.extend(ends.iter().map(|end| end.leg));
        }
        let mut sender = Generated {
            ring: &mut self.ring,
            sockets: &self.sockets,
            counters: &self.outside.counters,
        };
        self.engine
            .command(self.now, command, &mut |transmit, bytes| {
                sender.send(&transmit, bytes);
            });
    }

    fn tick(&mut self) {
        let mut sender = Generated {
            ring: &mut self.ring,
            sockets: &self.sockets,
            counters: &self.outside.counters,
        };
        self.engine.tick(self.now, &mut |transmit, bytes| {
            sender.send(&transmit, bytes);
        });
    }

    fn take_replies(&mut self) {
        while let Some(reply) = self.outside.writer.pop() {
            self.engine.file_reply(reply);
        }
    }

    /// Does to the sockets what the engine wants. Returns whether something is left for the next loop.
    fn apply_effects(&mut self) -> io::Result<bool> {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Opened { slot, rtp, rtcp } => {
                    self.open_sockets(slot.0, rtp.as_raw_fd(), rtcp.as_raw_fd());
                    // The table keeps the sockets alive; our own descriptors close here.
                    drop((rtp, rtcp));
                }
                Effect::Connect { slot, remote } => self.connect(slot.0, remote),
                Effect::Closed { slot } => self.closed.push(slot.0),
            }
        }
        if self.closed.is_empty() {
            return Ok(false);
        }
        for &slot in &self.closed {
            if let Some(sockets) = self.sockets.get_mut(slot as usize)
                && sockets.open
                && self.ring.cancel(sockets.receive(slot, false)).is_ok()
                && self.ring.cancel(sockets.receive(slot, true)).is_ok()
            {
                sockets.open = false;
                sockets.connected = None;
            }
        }
        // Now the last packets of the legs are out and their receives ended: their ports become free.
        self.ring.flush()?;
        let Self {
            closed,
            sockets,
            ring,
            engine,
            outside,
            ..
        } = self;
        closed.retain(|&slot| {
            let open = sockets.get(slot as usize).is_some_and(|s| s.open);
            if !open {
                if ring.install(file(slot, false), &[-1, -1]).is_err() {
                    outside.counters.socket_failures.add(1);
                }
                engine.release(Slot(slot));
            }
            open
        });
        Ok(!self.closed.is_empty())
    }

    fn open_sockets(&mut self, slot: u32, rtp: RawFd, rtcp: RawFd) {
        let Some(sockets) = self.sockets.get_mut(slot as usize) else {
            return;
        };
        if let Err(error) = self.ring.install(file(slot, false), &[rtp, rtcp]) {
            // Without sockets the leg is deaf and mute, which its RTP timeout will tell; the others are not to suffer.
            tracing::warn!(slot, %error, "a leg's sockets cannot be registered");
            self.outside.counters.socket_failures.add(1);
            return;
        }
        *sockets = Sockets {
            open: true,
            generation: (sockets.generation + 1) % GENERATIONS,
            epoch: 0,
            connected: None,
        };
        let receives = [sockets.receive(slot, false), sockets.receive(slot, true)];
        for token in receives {
            self.arm(token);
        }
    }

    /// Connects the RTP socket or makes it unconnected, and receives in the way that goes with it.
    fn connect(&mut self, slot: u32, remote: Option<SocketAddr>) {
        let Some(sockets) = self.sockets.get_mut(slot as usize) else {
            return;
        };
        if !sockets.open || sockets.connected == remote {
            return;
        }
        let receive = sockets.receive(slot, false);
        let token = Token {
            kind: Kind::Connect,
            ..receive
        };
        let mut done = self.ring.cancel(receive);
        if done.is_ok() && sockets.connected.is_some() {
            // Otherwise a socket bound to all addresses would keep the source address of its first peer.
            done = self.ring.connect(token, None);
        }
        if done.is_ok() && remote.is_some() {
            done = self.ring.connect(token, remote);
        }
        if done.is_err() {
            self.outside.counters.socket_failures.add(1);
        }
        sockets.connected = remote;
        sockets.epoch = sockets.epoch.wrapping_add(1);
        let receive = sockets.receive(slot, false);
        self.arm(receive);
    }

    /// Arms a receive; when the ring takes nothing now, with the next loop.
    fn arm(&mut self, token: Token) {
        if arm(&mut self.ring, token).is_err() {
            self.rearm.push(token);
        }
    }

    /// Hands events to signalling and blocks to the writer. Returns whether something has to be tried again.
    fn pass_on(&mut self) -> bool {
        while let Some(event) = self.engine.poll_event() {
            if let Event::Closed { leg, .. } = &event {
                self.open.remove(leg);
            }
            self.outside.events.send(event, &self.outside.counters);
        }
        let mut waiting = self.outside.events.retry();
        while let Some(order) = self.orders.pop_front() {
            if let Err(order) = self.outside.writer.push(order) {
                self.orders.push_front(order);
                break;
            }
        }
        while let Some(order) = self.engine.poll_file() {
            // Behind an open or close that waits nothing may overtake.
            let refused = if self.orders.is_empty() {
                self.outside.writer.push(order).err()
            } else {
                Some(order)
            };
            match refused {
                None => {}
                Some(Order::Samples {
                    recorder, samples, ..
                }) => self.engine.file_reply(Reply::Refused { recorder, samples }),
                Some(order) => self.orders.push_back(order),
            }
        }
        self.outside.writer.notify();
        waiting |= !self.orders.is_empty();
        waiting
    }

    fn wait(&self, waiting: bool) -> Wait {
        let longest = if waiting { RETRY } else { IDLE };
        let timeout = self
            .engine
            .next_deadline(self.now)
            .map_or(longest, |at| at.saturating_duration_since(Instant::now()))
            .clamp(WAIT_MIN, longest);
        Wait {
            gather: GATHER.min(timeout),
            timeout,
        }
    }

    /// Closes every leg, so that farewells are sent and recordings end in full, then gives up the sockets.
    fn shut_down(&mut self) {
        self.now = Instant::now();
        for leg in std::mem::take(&mut self.open) {
            self.execute(Command::Close(leg));
        }
        for _ in 0..50 {
            self.take_replies();
            self.tick();
            let Ok(sockets) = self.apply_effects() else {
                break;
            };
            let waiting = self.pass_on() | sockets;
            if self.ring.flush().is_err() || !waiting {
                break;
            }
            std::thread::sleep(RETRY);
        }
        self.ring.shut_down();
    }
}

fn arm(ring: &mut PacketRing, token: Token) -> io::Result<()> {
    if token.kind == Kind::Connected {
        ring.receive_connected(token)
    } else {
        ring.receive_named(token)
    }
}

/// Token of a send, and its address unless the socket is connected to it.
fn egress(
    sockets: &[Sockets],
    slot: u32,
    rtcp: bool,
    to: SocketAddr,
) -> (Token, Option<SocketAddr>) {
    let connected = sockets
        .get(slot as usize)
        .is_some_and(|s| !rtcp && s.connected == Some(to));
    let token = Token {
        kind: Kind::Send,
        epoch: 0,
        generation: 0,
        file: file(slot, rtcp),
    };
    (token, (!connected).then_some(to))
}

/// Sends packets that the engine makes.
struct Generated<'a> {
    ring: &'a mut PacketRing,
    sockets: &'a [Sockets],
    counters: &'a Counters,
}

impl Generated<'_> {
    fn send(&mut self, transmit: &Transmit, bytes: &[u8]) {
        let (token, destination) =
            egress(self.sockets, transmit.slot.0, transmit.rtcp, transmit.dest);
        let sent = self.ring.send_generated(token, bytes, destination);
        if sent.is_err() {
            self.counters.send_failures.add(1);
        }
    }
}
