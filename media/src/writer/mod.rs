//! The file thread: takes finished blocks of samples from the media threads and puts them into files, so that no media
//! thread ever meets a disk. A slow or failing disk costs samples, which are told, counted, and silent in the file; it
//! never makes anybody wait.
//!
//! What never lives here: mixing, alignment or any other decision about the sound. [`recording`] is the sans-IO life of
//! one file, [`thread`] drives it on a ring of its own at normal priority; [`encode`] makes the bytes of every format,
//! those that take time on the threads of [`helper`]; [`wav`] knows the container, [`opus`] and [`mp3`] the streams.

mod encode;
#[cfg(test)]
mod format_tests;
mod helper;
mod mp3;
mod opus;
mod rate;
mod recording;
#[cfg(test)]
mod recording_tests;
mod step;
#[cfg(test)]
mod tests;
mod thread;
mod wav;

pub use mp3::Mp3Encoder;

use crate::recording::{Order, Reply};
use crate::uring::wake::Wake;
use crossbeam_queue::ArrayQueue;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Orders that must always fit behind the samples: opens and closes.
const RESERVED: usize = 512;

/// Limits of the writer thread.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// Name of the thread, at most 15 bytes.
    pub name: String,
    /// Orders that wait for the thread; at least 1024.
    pub queue: usize,
    /// Samples' bytes that may wait for the disk, for all recordings together.
    pub backlog_bytes_max: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            name: "writer".to_owned(),
            queue: 8192,
            backlog_bytes_max: 64 << 20,
        }
    }
}

/// Totals of the writer thread.
#[derive(Debug, Default)]
pub struct WriterCounters {
    /// Files opened.
    pub files_opened: AtomicU64,
    /// Files closed, including those that failed.
    pub files_closed: AtomicU64,
    /// Recordings that ended with an error.
    pub files_failed: AtomicU64,
    /// Blocks of samples written.
    pub blocks_written: AtomicU64,
    /// Bytes written, headers included.
    pub bytes_written: AtomicU64,
    /// Blocks refused because the queue or the backlog was full.
    pub blocks_refused: AtomicU64,
    /// Writes of blocks that failed; each is tried again.
    pub blocks_failed: AtomicU64,
}

impl WriterCounters {
    /// Name and value of each counter.
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("writer_files_opened", value(&self.files_opened)),
            ("writer_files_closed", value(&self.files_closed)),
            ("writer_files_failed", value(&self.files_failed)),
            ("writer_blocks_written", value(&self.blocks_written)),
            ("writer_bytes_written", value(&self.bytes_written)),
            ("writer_blocks_refused", value(&self.blocks_refused)),
            ("writer_blocks_failed", value(&self.blocks_failed)),
        ]
    }
}

/// Starts the writer thread.
pub fn spawn(config: WriterConfig) -> io::Result<(WriterHandle, Writer)> {
    let shared = Arc::new(Shared {
        orders: ArrayQueue::new(config.queue.max(2 * RESERVED)),
        wake: Wake::new()?,
        counters: WriterCounters::default(),
        stop: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
    });
    let thread = thread::start(&config, Arc::clone(&shared))?;
    let handle = WriterHandle {
        shared: Arc::clone(&shared),
    };
    let writer = Writer {
        shared,
        thread: Some(thread),
    };
    Ok((handle, writer))
}

/// What media threads reach the writer by.
#[derive(Clone)]
pub struct WriterHandle {
    shared: Arc<Shared>,
}

impl WriterHandle {
    /// Totals of the writer thread.
    pub fn counters(&self) -> &WriterCounters {
        &self.shared.counters
    }

    /// A connection of one media thread, which `wake` wakes when a reply is there.
    pub(crate) fn connect(&self, wake: Wake) -> WriterPort {
        WriterPort {
            shared: Arc::clone(&self.shared),
            port: Arc::new(Port {
                replies: ArrayQueue::new(2 * self.shared.orders.capacity()),
                wake,
                abandoned: AtomicBool::new(false),
            }),
            pushed: false,
        }
    }
}

/// The running writer thread. Dropping it finishes what is queued, closes all files and ends the thread.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// The same as dropping it, said aloud. A disk that does not answer is given up after ten seconds.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.raise();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

struct Shared {
    orders: ArrayQueue<Message>,
    wake: Wake,
    counters: WriterCounters,
    stop: AtomicBool,
    /// Some port was given up: its recordings have to be closed.
    abandoned: AtomicBool,
}

struct Message {
    port: Arc<Port>,
    order: Order,
}

/// The writer's side of a connection.
struct Port {
    replies: ArrayQueue<Reply>,
    wake: Wake,
    abandoned: AtomicBool,
}

/// A media thread's side of a connection. Neither side ever waits for the other.
pub(crate) struct WriterPort {
    shared: Arc<Shared>,
    port: Arc<Port>,
    pushed: bool,
}

impl WriterPort {
    /// Queues an order; gives it back when the queue is full. Samples leave room for the opens and closes behind them.
    pub(crate) fn push(&mut self, order: Order) -> Result<(), Order> {
        let orders = &self.shared.orders;
        if matches!(order, Order::Samples { .. }) && orders.len() + RESERVED > orders.capacity() {
            self.shared
                .counters
                .blocks_refused
                .fetch_add(1, Ordering::Relaxed);
            return Err(order);
        }
        let message = Message {
            port: Arc::clone(&self.port),
            order,
        };
        self.pushed = true;
        orders.push(message).map_err(|message| message.order)
    }

    /// Wakes the writer if anything was pushed since the last time.
    pub(crate) fn notify(&mut self) {
        if std::mem::take(&mut self.pushed) {
            self.shared.wake.raise();
        }
    }

    /// The next reply.
    pub(crate) fn pop(&mut self) -> Option<Reply> {
        self.port.replies.pop()
    }
}

impl Drop for WriterPort {
    fn drop(&mut self) {
        self.port.abandoned.store(true, Ordering::Release);
        self.shared.abandoned.store(true, Ordering::Release);
        self.shared.wake.raise();
    }
}
