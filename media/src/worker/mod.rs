//! The media thread of a core: what starts and stops it, and the handle by which signalling speaks to it.
//!
//! What lives here: the thread, its loop around one ring, the queues to and from signalling and the writer. What never
//! does: any decision about a packet or a sample, which is [`crate::engine::Engine`]'s.

mod carrier;
mod events;

use crate::counters::Counters;
use crate::types::{Command, Event};
use crate::uring::schedule;
use crate::uring::wake::Wake;
use crate::writer::WriterHandle;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Commands that may wait for the media thread.
const COMMANDS: usize = 8192;
/// Events that may wait for signalling before they begin to be dropped.
const EVENTS: usize = 8192;

/// What a media thread is started with.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Name of the thread, at most 15 bytes.
    pub name: String,
    /// The core it is bound to. A core that does not exist is ignored.
    pub core: Option<usize>,
    /// Ask for `SCHED_FIFO`; without the permission it runs as a normal thread.
    pub realtime: bool,
    /// Most legs at a time; lowered to what the descriptor limit allows (two descriptors a leg).
    pub max_legs: usize,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            name: "media".to_owned(),
            core: None,
            realtime: true,
            max_legs: 4000,
        }
    }
}

/// Starts a media thread, which gives its recordings to `writer`.
///
/// # Errors
/// What the kernel says when it refuses the ring: too old (before Linux 6.12), io_uring forbidden, or too little
/// lockable memory.
pub fn spawn(config: WorkerConfig, writer: WriterHandle) -> io::Result<Worker> {
    let descriptors = usize::try_from(schedule::descriptor_limit()?).unwrap_or(usize::MAX);
    let max_legs = config.max_legs.clamp(1, (descriptors / 2).max(1));
    if max_legs < config.max_legs {
        tracing::warn!(
            wanted = config.max_legs,
            possible = max_legs,
            "the descriptor limit (ulimit -n) allows fewer legs than configured"
        );
    }
    let config = WorkerConfig { max_legs, ..config };
    let counters = Arc::new(Counters::default());
    let stop = Arc::new(AtomicBool::new(false));
    let commands_wake = Wake::new()?;
    let events_wake = Wake::new()?;
    let (command_producer, command_consumer) = rtrb::RingBuffer::new(COMMANDS);
    let (event_producer, event_consumer) = rtrb::RingBuffer::new(EVENTS);
    let (started_sender, started) = std::sync::mpsc::sync_channel(1);
    let outside = carrier::Outside {
        commands: command_consumer,
        events: events::EventSender::new(event_producer, events_wake.clone()),
        writer: writer.connect(commands_wake.clone()),
        wake: commands_wake.clone(),
        stop: Arc::clone(&stop),
        counters: Arc::clone(&counters),
    };
    let alive = Liveness(Arc::new(AtomicBool::new(true)));
    let (running, ended_wake) = (alive.clone(), events_wake.clone());
    let thread = std::thread::Builder::new()
        .name(config.name.clone())
        .spawn(move || {
            // However it ends: whoever waits for its events hears of it.
            let _ending = Ending(running, ended_wake);
            carrier::run(&config, outside, &started_sender);
        })?;
    started
        .recv()
        .map_err(|_| io::Error::other("the media thread died at its start"))??;
    Ok(Worker {
        handle: MediaHandle {
            commands: command_producer,
            commands_wake: commands_wake.clone(),
            events: event_consumer,
            events_wake,
            alive: alive.clone(),
            _one_thread: PhantomData,
        },
        counters,
        control: WorkerControl {
            stop,
            wake: commands_wake,
            alive,
            thread: Some(thread),
        },
    })
}

/// A running media thread. Dropping it closes all legs and ends the thread; [`Worker::split`] parts the handle, which
/// belongs to the signalling thread, from the life of the thread.
pub struct Worker {
    /// For signalling.
    pub handle: MediaHandle,
    /// What the thread counts.
    pub counters: Arc<Counters>,
    control: WorkerControl,
}

impl Worker {
    /// The handle for the signalling thread, and the rest for whoever ends the thread.
    pub fn split(self) -> (MediaHandle, Arc<Counters>, WorkerControl) {
        (self.handle, self.counters, self.control)
    }

    /// Closes all legs and ends the thread. Events that are still queued are gone.
    pub fn stop(self) {
        drop(self);
    }

    /// Whether the thread runs. It ends by itself only when its ring fails.
    pub fn is_running(&self) -> bool {
        self.control.is_running()
    }
}

/// Tells from any thread whether a media thread runs.
#[derive(Clone, Debug)]
pub struct Liveness(Arc<AtomicBool>);

impl Liveness {
    /// Whether the thread runs. It ends by itself only when its ring fails, or by a fault of its own.
    pub fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Notes the end of the thread that has it.
struct Ending(Liveness, Wake);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
        self.1.raise();
    }
}

/// The life of a media thread; ends it when dropped.
pub struct WorkerControl {
    stop: Arc<AtomicBool>,
    wake: Wake,
    alive: Liveness,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WorkerControl {
    /// Whether the thread runs. It ends by itself only when its ring fails, or by a fault of its own.
    pub fn is_running(&self) -> bool {
        self.alive.is_running()
    }

    /// The same, for others to ask.
    pub fn liveness(&self) -> Liveness {
        self.alive.clone()
    }

    /// Closes all legs and ends the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for WorkerControl {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.raise();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

/// Signalling's end of the queues. It may move to another thread, but only one at a time can use it.
pub struct MediaHandle {
    commands: rtrb::Producer<Command>,
    commands_wake: Wake,
    events: rtrb::Consumer<Event>,
    events_wake: Wake,
    alive: Liveness,
    _one_thread: PhantomData<Cell<()>>,
}

impl MediaHandle {
    /// Queues a command; commands are executed in order, within about a millisecond.
    ///
    /// # Errors
    /// The command, when thousands wait already: the thread is overloaded or gone.
    pub fn send(&mut self, command: Command) -> Result<(), Command> {
        match self.commands.push(command) {
            Ok(()) => {
                self.commands_wake.raise();
                Ok(())
            }
            Err(rtrb::PushError::Full(command)) => Err(command),
        }
    }

    /// Whether the media thread runs; its end makes the event descriptor readable.
    pub fn is_running(&self) -> bool {
        self.alive.is_running()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop().ok()
    }

    /// Readable when events wait. After it was, call [`MediaHandle::ack_events`], then [`MediaHandle::poll_event`] until
    /// there are no more.
    pub fn event_fd(&self) -> RawFd {
        self.events_wake.fd()
    }

    /// The same descriptor again, to be owned by a [`crate::uring::readiness::Readiness`].
    pub fn event_source(&self) -> io::Result<OwnedFd> {
        self.events_wake.duplicate()
    }

    /// Makes the descriptor wait for the next event.
    pub fn ack_events(&self) {
        self.events_wake.clear();
    }
}

impl AsFd for MediaHandle {
    /// The same as [`MediaHandle::event_fd`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events_wake.borrow_fd()
    }
}
