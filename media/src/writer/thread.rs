//! The writer thread: encodes blocks, gives their vectors back at once, and runs each recording's steps on the file ring.

use super::recording::{Recording, Step};
use super::{Message, Port, Shared, WriterConfig};
use crate::codec::g711;
use crate::recording::{FileFormat, Order, Reply};
use crate::types::RecorderId;
use crate::uring::file::{Done, FileRing, Outcome};
use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing to do: how long to sleep without a wake-up.
const IDLE: Duration = Duration::from_secs(1);
/// Pause before a reply that did not fit is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// How long the end of the thread waits for the disk.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Byte vectors kept for the next blocks.
const POOL_MAX: usize = 1024;

/// Starts the thread; its ring is made on it, and an error of that is returned here.
pub(super) fn start(config: &WriterConfig, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let backlog_max = config.backlog_bytes_max;
    let thread = std::thread::Builder::new()
        .name(config.name.clone())
        .spawn(move || match FileRing::new(shared.wake.clone()) {
            Ok(ring) => {
                let _ = sender.send(Ok(()));
                Loop::new(shared, ring, backlog_max).run();
            }
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        })?;
    match receiver.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the writer thread died at its start")),
    }
}

/// One recording with where it came from.
struct Entry {
    port: Arc<Port>,
    recording: Recording,
}

type Key = (*const Port, RecorderId);

struct Loop {
    shared: Arc<Shared>,
    ring: FileRing,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    index: HashMap<Key, usize>,
    undelivered: VecDeque<(Arc<Port>, Reply)>,
    pool: Vec<Vec<u8>>,
    done: Vec<Done>,
    backlog: usize,
    backlog_max: usize,
}

impl Loop {
    fn new(shared: Arc<Shared>, ring: FileRing, backlog_max: usize) -> Self {
        Self {
            shared,
            ring,
            entries: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            undelivered: VecDeque::new(),
            pool: Vec::new(),
            done: Vec::new(),
            backlog: 0,
            backlog_max,
        }
    }

    fn run(mut self) {
        let mut stopping: Option<Instant> = None;
        loop {
            self.shared.wake.clear();
            let stop = self.shared.stop.load(Ordering::Acquire);
            self.take_orders();
            if self.shared.abandoned.swap(false, Ordering::AcqRel) || stop {
                self.abandon(stop);
            }
            self.deliver();
            if stop {
                let since = *stopping.get_or_insert_with(Instant::now);
                if self.index.is_empty() && self.ring.pending() == 0 {
                    return;
                }
                if since.elapsed() > STOP_MAX {
                    tracing::error!(
                        recordings = self.index.len(),
                        "the disk does not answer: recordings are left unfinished"
                    );
                    return;
                }
            }
            let timeout = if self.undelivered.is_empty() && !stop {
                IDLE
            } else {
                RETRY
            };
            let mut done = std::mem::take(&mut self.done);
            if let Err(error) = self.ring.run(timeout, |outcome| done.push(outcome)) {
                tracing::error!(%error, "the writer's ring failed");
                std::thread::sleep(RETRY);
            }
            for Done { token, outcome } in done.drain(..) {
                self.finished(token as usize, outcome);
            }
            self.done = done;
        }
    }

    fn take_orders(&mut self) {
        // Bounded by what is there now, so that a stream of orders cannot keep outcomes from being seen.
        for _ in 0..self.shared.orders.len() {
            let Some(Message { port, order }) = self.shared.orders.pop() else {
                return;
            };
            match order {
                Order::Open(setup) => {
                    let key = (Arc::as_ptr(&port), setup.recorder);
                    let entry = Entry {
                        port,
                        recording: Recording::new(setup),
                    };
                    let at = match self.free.pop() {
                        Some(at) => at,
                        None => {
                            self.entries.push(None);
                            self.entries.len() - 1
                        }
                    };
                    self.entries[at] = Some(entry);
                    self.index.insert(key, at);
                    self.advance(at);
                }
                Order::Samples {
                    recorder,
                    position,
                    samples,
                } => self.samples(port, recorder, position, samples),
                Order::Close {
                    recorder,
                    leg: _,
                    samples,
                    drop_last_samples,
                    lost_samples,
                } => {
                    let length = samples.saturating_sub(u64::from(drop_last_samples));
                    if let Some(at) = self.find(&port, recorder)
                        && let Some(entry) = &mut self.entries[at]
                    {
                        entry.recording.finish(length, lost_samples);
                        self.advance(at);
                    }
                }
            }
        }
    }

    fn samples(
        &mut self,
        port: Arc<Port>,
        recorder: RecorderId,
        position: u64,
        mut samples: Vec<i16>,
    ) {
        if let Some(at) = self.find(&port, recorder)
            && let Some(entry) = &mut self.entries[at]
        {
            let mut bytes = self.pool.pop().unwrap_or_default();
            encode(entry.recording.setup().format, &samples, &mut bytes);
            let len = bytes.len();
            // Beyond the backlog of all, a block is lost as if the queue of its own file were full.
            let fits = self.backlog + len <= self.backlog_max;
            if fits && entry.recording.block(position, bytes) {
                self.backlog += len;
                self.advance(at);
            } else {
                if !fits {
                    entry.recording.refuse(samples.len() as u64);
                }
                count(&self.shared.counters.blocks_refused, 1);
            }
        }
        samples.clear();
        self.reply(port, Reply::Buffer { recorder, samples });
    }

    /// Ends the recordings of ports that were given up; all when the thread stops.
    fn abandon(&mut self, all: bool) {
        for at in 0..self.entries.len() {
            if let Some(entry) = &mut self.entries[at]
                && (all || entry.port.abandoned.load(Ordering::Acquire))
            {
                entry.recording.abandon();
                self.advance(at);
            }
        }
    }

    fn finished(&mut self, at: usize, outcome: Outcome) {
        let counters = &self.shared.counters;
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        match &outcome {
            Outcome::Opened(Ok(_)) => count(&counters.files_opened, 1),
            Outcome::Written(Ok(n), _) => count(&counters.bytes_written, *n as u64),
            _ => {}
        }
        let block = entry.recording.is_writing_block();
        let failed = matches!(&outcome, Outcome::Written(Err(_), _));
        let (bytes, rest) = entry.recording.done(outcome);
        if block && rest.is_none() {
            count(
                if failed {
                    &counters.blocks_failed
                } else {
                    &counters.blocks_written
                },
                1,
            );
        }
        if let Some(mut bytes) = bytes {
            if block {
                self.backlog = self.backlog.saturating_sub(bytes.len());
            }
            bytes.clear();
            if self.pool.len() < POOL_MAX {
                self.pool.push(bytes);
            }
        }
        match rest {
            Some(step) => self.perform(at, step),
            None => self.advance(at),
        }
    }

    /// Starts what a recording has to do next.
    fn advance(&mut self, at: usize) {
        loop {
            let Some(Some(entry)) = self.entries.get_mut(at) else {
                return;
            };
            if entry.recording.is_finished() {
                self.close(at);
                return;
            }
            match entry.recording.step() {
                None => return,
                Some(Step::MakeDirectories) => {
                    // Rare (a new day's folder), and the only thing here that waits for the disk.
                    let parent = entry.recording.setup().path.parent();
                    let keep = entry.recording.setup().append;
                    match parent.map_or(Ok(()), std::fs::create_dir_all) {
                        Ok(()) => self.perform(at, Step::Open { keep }),
                        Err(error) => {
                            entry.recording.no_directories(&error);
                            continue;
                        }
                    }
                    return;
                }
                Some(Step::Finished) => {}
                Some(step) => {
                    self.perform(at, step);
                    return;
                }
            }
        }
    }

    /// Gives an operation to the ring. When the ring takes none, the operation has failed.
    fn perform(&mut self, at: usize, step: Step) {
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        let token = at as u64;
        let recording = &entry.recording;
        let closed = || io::Error::from_raw_os_error(libc::EBADF);
        let failed = match step {
            Step::Open { keep } => {
                let path = recording.setup().path.as_os_str().as_bytes();
                CString::new(path)
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))
                    .and_then(|path| self.ring.open(token, path, keep))
                    .map_err(|error| Outcome::Opened(Err(error)))
            }
            Step::Write { bytes, offset } => match recording.file() {
                Some(file) => self.ring.write(token, file, bytes, offset),
                None => Err(closed()),
            }
            .map_err(|error| Outcome::Written(Err(error), Vec::new())),
            Step::Truncate { length } => match recording.file() {
                Some(file) => self.ring.truncate(token, file, length),
                None => Err(closed()),
            }
            .map_err(|error| Outcome::Truncated(Err(error))),
            Step::Close(file) => self
                .ring
                .close(token, file)
                .map_err(|error| Outcome::Closed(Err(error))),
            Step::MakeDirectories | Step::Finished => Ok(()),
        };
        if let Err(outcome) = failed {
            self.finished(at, outcome);
        }
    }

    fn close(&mut self, at: usize) {
        let Some(mut entry) = self.entries.get_mut(at).and_then(Option::take) else {
            return;
        };
        self.free.push(at);
        self.backlog = self.backlog.saturating_sub(entry.recording.backlog());
        let setup = entry.recording.setup().clone();
        self.index
            .remove(&(Arc::as_ptr(&entry.port), setup.recorder));
        let report = entry.recording.report();
        count(&self.shared.counters.files_closed, 1);
        if report.error.is_some() {
            count(&self.shared.counters.files_failed, 1);
        }
        let reply = Reply::Closed {
            recorder: setup.recorder,
            leg: setup.leg,
            path: setup.path,
            samples: report.samples,
            lost_samples: report.lost_samples,
            error: report.error,
        };
        self.reply(entry.port, reply);
    }

    /// Replies never get lost: what does not fit waits here.
    fn reply(&mut self, port: Arc<Port>, reply: Reply) {
        if !self.undelivered.is_empty() {
            self.undelivered.push_back((port, reply));
            return;
        }
        match port.replies.push(reply) {
            Ok(()) => port.wake.raise(),
            Err(reply) => self.undelivered.push_back((port, reply)),
        }
    }

    fn deliver(&mut self) {
        for _ in 0..self.undelivered.len() {
            let Some((port, reply)) = self.undelivered.pop_front() else {
                return;
            };
            if port.abandoned.load(Ordering::Acquire) {
                continue;
            }
            match port.replies.push(reply) {
                Ok(()) => port.wake.raise(),
                Err(reply) => self.undelivered.push_back((port, reply)),
            }
        }
    }

    fn find(&self, port: &Arc<Port>, recorder: RecorderId) -> Option<usize> {
        self.index.get(&(Arc::as_ptr(port), recorder)).copied()
    }
}

fn encode(format: FileFormat, samples: &[i16], bytes: &mut Vec<u8>) {
    bytes.clear();
    match format {
        FileFormat::Wav | FileFormat::Sln => {
            bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        }
        FileFormat::Ulaw => bytes.extend(samples.iter().map(|&s| g711::ulaw_encode(s))),
        FileFormat::Alaw => bytes.extend(samples.iter().map(|&s| g711::alaw_encode(s))),
    }
}

/// Only the writer thread writes these, but for the refused blocks, so the order does not matter.
fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
