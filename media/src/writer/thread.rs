//! The writer thread: encodes blocks or has them encoded, gives their vectors back at once, and runs each recording's steps
//! on the file ring.

use super::encode;
use super::helper::{Done as Helped, Helpers, Job, Key};
use super::recording::Recording;
use super::step::{News, Step};
use super::{Message, Port, Shared, WriterConfig};
use crate::recording::{FileSetup, Order, Reply};
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
/// Pause before a disk that failed is tried again.
const DISK_RETRY: Duration = Duration::from_millis(500);
/// How long the end of the thread waits for the disk.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Vectors kept for the next blocks.
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
    /// Tells it from others that have had its place.
    number: u64,
    /// What a stream's end waits for: how many samples were lost on the way here.
    ending: Option<u64>,
    /// A retry is noted.
    waits: bool,
    /// Its part of the backlog of all, in bytes.
    backlog: usize,
}

struct Loop {
    shared: Arc<Shared>,
    ring: FileRing,
    helpers: Helpers,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    index: HashMap<(*const Port, RecorderId), usize>,
    numbers: u64,
    undelivered: VecDeque<(Arc<Port>, Reply)>,
    /// When to try again what the disk refused; in order of time.
    retries: VecDeque<(Instant, Key)>,
    pool: Vec<Vec<u8>>,
    sample_pool: Vec<Vec<i16>>,
    done: Vec<Done>,
    backlog: usize,
    backlog_max: usize,
}

impl Loop {
    fn new(shared: Arc<Shared>, ring: FileRing, backlog_max: usize) -> Self {
        Self {
            helpers: Helpers::new(shared.wake.clone()),
            shared,
            ring,
            entries: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            numbers: 0,
            undelivered: VecDeque::new(),
            retries: VecDeque::new(),
            pool: Vec::new(),
            sample_pool: Vec::new(),
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
            // Before the orders: who leaves gives his last ones first.
            let abandoned = self.shared.abandoned.swap(false, Ordering::AcqRel);
            self.take_orders();
            if abandoned || stop {
                self.abandon(stop);
            }
            while let Some((key, helped)) = self.helpers.take() {
                self.helped(key, helped);
            }
            self.retry();
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
                self.retries.front().map_or(IDLE, |(at, _)| {
                    at.saturating_duration_since(Instant::now()).min(IDLE)
                })
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
                Order::Open(setup) => self.open(port, setup),
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
                    if let Some(at) = self.find(&port, recorder) {
                        self.end(at, Some(length), lost_samples);
                    }
                }
            }
        }
    }

    fn open(&mut self, port: Arc<Port>, setup: Box<FileSetup>) {
        let index = (Arc::as_ptr(&port), setup.recorder);
        self.numbers += 1;
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        if encode::is_stream(&setup) {
            self.helpers
                .give((at, self.numbers), Job::Open(setup.clone()));
        }
        self.entries[at] = Some(Entry {
            port,
            recording: Recording::new(setup),
            number: self.numbers,
            ending: None,
            waits: false,
            backlog: 0,
        });
        self.index.insert(index, at);
        self.advance(at);
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
            let recording = &mut entry.recording;
            let setup = recording.setup();
            let count = (samples.len() / usize::from(setup.channels)) as u64;
            // Beyond the backlog of all, a block is lost as if the queue of its own file were full.
            let cost = 2 * samples.len();
            let fits = self.backlog + cost <= self.backlog_max;
            if !fits || !recording.has_room() {
                recording.refuse(
                    count,
                    if fits {
                        "the disk is too slow: audio is being lost"
                    } else {
                        "too much waits for the disk: audio is being lost"
                    },
                );
                bump(&self.shared.counters.blocks_refused, 1);
            } else if recording.is_stream() {
                recording.encoding();
                let mut copy = self.sample_pool.pop().unwrap_or_default();
                copy.extend_from_slice(&samples);
                let job = Job::Samples {
                    position,
                    samples: copy,
                };
                self.helpers.give((at, entry.number), job);
            } else {
                let mut bytes = self.pool.pop().unwrap_or_default();
                encode::direct(setup.format, &samples, &mut bytes);
                recording.block(position, count, bytes);
            }
            self.advance(at);
        }
        samples.clear();
        self.reply(port, Reply::Buffer { recorder, samples });
    }

    /// Nothing more comes for a recording. `None`: it ends where it stands.
    fn end(&mut self, at: usize, length: Option<u64>, lost: u64) {
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        if entry.ending.is_some() {
            return;
        }
        entry.ending = Some(lost);
        if entry.recording.is_stream() {
            let key = (at, entry.number);
            self.helpers.give(key, Job::Finish(length));
            return;
        }
        match length {
            Some(length) => entry.recording.finish(length, lost),
            None => entry.recording.abandon(),
        }
        self.advance(at);
    }

    /// Ends the recordings of ports that were given up; all when the thread stops.
    fn abandon(&mut self, all: bool) {
        for at in 0..self.entries.len() {
            if let Some(entry) = &self.entries[at]
                && (all || entry.port.abandoned.load(Ordering::Acquire))
            {
                self.end(at, None, 0);
            }
        }
    }

    fn helped(&mut self, (at, number): Key, helped: Helped) {
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        if entry.number != number {
            return;
        }
        let recording = &mut entry.recording;
        match helped {
            Helped::Encoded {
                bytes,
                samples,
                buffer,
            } => {
                recording.encoded(samples, bytes);
                if self.sample_pool.len() < POOL_MAX {
                    self.sample_pool.push(buffer);
                }
            }
            Helped::Ended {
                bytes,
                samples,
                head,
            } => {
                recording.encoded(samples, bytes);
                let lost = entry.ending.unwrap_or(0);
                recording.finish_stream(recording.covered(), lost, head);
            }
            Helped::Failed(why) => {
                recording.encoder_failed(&why);
                // Nothing more comes of it, its end neither.
                if let Some(lost) = entry.ending {
                    recording.finish(recording.covered(), lost);
                }
            }
            Helped::Directories(result) => recording.directories(result),
            Helped::Looked(result) => recording.looked(result),
        }
        self.advance(at);
    }

    fn finished(&mut self, at: usize, outcome: Outcome) {
        let counters = &self.shared.counters;
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        match &outcome {
            Outcome::Opened(Ok(_)) => bump(&counters.files_opened, 1),
            Outcome::Written(Ok(n), _) => bump(&counters.bytes_written, *n as u64),
            _ => {}
        }
        if entry.recording.is_writing_block() {
            match &outcome {
                Outcome::Written(Ok(n), bytes) if *n == bytes.len() => {
                    bump(&counters.blocks_written, 1);
                }
                Outcome::Written(Err(_), _) => bump(&counters.blocks_failed, 1),
                _ => {}
            }
        }
        if let Some(mut bytes) = entry.recording.done(outcome) {
            bytes.clear();
            if self.pool.len() < POOL_MAX {
                self.pool.push(bytes);
            }
        }
        self.advance(at);
    }

    /// Starts what a recording has to do next, and tells what happened to it.
    fn advance(&mut self, at: usize) {
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        let step = entry.recording.step();
        let backlog = entry.recording.backlog();
        self.backlog = (self.backlog + backlog).saturating_sub(entry.backlog);
        entry.backlog = backlog;
        if let Some(news) = entry.recording.take_news() {
            let setup = entry.recording.setup();
            let (recorder, leg) = (setup.recorder, setup.leg);
            let port = Arc::clone(&entry.port);
            self.reply(
                port,
                match news {
                    News::Trouble(error) => Reply::Trouble {
                        recorder,
                        leg,
                        error,
                    },
                    News::Resumed(lost_samples) => Reply::Resumed {
                        recorder,
                        leg,
                        lost_samples,
                    },
                },
            );
        }
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        if entry.recording.is_finished() {
            self.close(at);
        } else if let Some(step) = step {
            self.perform(at, step);
        } else if entry.recording.is_waiting() && !entry.waits {
            entry.waits = true;
            let key = (at, entry.number);
            self.retries.push_back((Instant::now() + DISK_RETRY, key));
        }
    }

    /// Tries again what failed a while ago.
    fn retry(&mut self) {
        let now = Instant::now();
        while let Some((_, (at, number))) = self.retries.pop_front_if(|(due, _)| *due <= now) {
            if let Some(Some(entry)) = self.entries.get_mut(at)
                && entry.number == number
            {
                entry.waits = false;
                entry.recording.retry();
                self.advance(at);
            }
        }
    }

    /// Gives an operation to the ring or to a helper. When the ring takes none, the operation has failed.
    fn perform(&mut self, at: usize, step: Step) {
        let Some(Some(entry)) = self.entries.get_mut(at) else {
            return;
        };
        let token = at as u64;
        let key = (at, entry.number);
        let recording = &entry.recording;
        let path = &recording.setup().path;
        let closed = || io::Error::from_raw_os_error(libc::EBADF);
        let failed = match step {
            Step::Open { keep } => CString::new(path.as_os_str().as_bytes())
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))
                .and_then(|path| self.ring.open(token, path, keep))
                .map_err(|error| Outcome::Opened(Err(error))),
            Step::MakeDirectories => {
                let parent = path.parent().unwrap_or(path).to_owned();
                self.helpers.give(key, Job::Directories(parent));
                Ok(())
            }
            Step::Look => {
                let path = path.clone();
                self.helpers.give(key, Job::Look(path));
                Ok(())
            }
            Step::Write { bytes, offset } => match recording.file() {
                Some(file) => self.ring.write(token, file, bytes, offset),
                None => Err((closed(), bytes)),
            }
            .map_err(|(error, bytes)| Outcome::Written(Err(error), bytes)),
            Step::Truncate { length } => match recording.file() {
                Some(file) => self.ring.truncate(token, file, length),
                None => Err(closed()),
            }
            .map_err(|error| Outcome::Truncated(Err(error))),
            Step::Close(file) => self
                .ring
                .close(token, file)
                .map_err(|error| Outcome::Closed(Err(error))),
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
        self.backlog = self.backlog.saturating_sub(entry.backlog);
        let setup = entry.recording.setup().clone();
        self.index
            .remove(&(Arc::as_ptr(&entry.port), setup.recorder));
        let report = entry.recording.report();
        bump(&self.shared.counters.files_closed, 1);
        if report.error.is_some() {
            bump(&self.shared.counters.files_failed, 1);
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

/// Only the writer thread writes these, but for the refused blocks, so the order does not matter.
fn bump(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::FileFormat;
    use crate::types::LegId;
    use crate::uring::wake::Wake;
    use crossbeam_queue::ArrayQueue;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_recording_whose_encoder_fails_at_its_end_is_closed() {
        let path = std::env::temp_dir().join(format!("strowger-{}-end.mp3", std::process::id()));
        let wake = || Wake::new().expect("an eventfd");
        let shared = Arc::new(Shared {
            orders: ArrayQueue::new(4),
            wake: wake(),
            counters: super::super::WriterCounters::default(),
            stop: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        });
        let port = Arc::new(Port {
            replies: ArrayQueue::new(4),
            wake: wake(),
            abandoned: AtomicBool::new(false),
        });
        let ring = FileRing::new(shared.wake.clone()).expect("a ring");
        let mut writer = Loop::new(shared, ring, usize::MAX);
        let setup = FileSetup {
            recorder: RecorderId(1),
            leg: LegId(1),
            path: path.clone(),
            format: FileFormat::Mp3,
            rate: 8000,
            channels: 1,
            append: false,
            drop_last_max: 0,
        };
        writer.open(Arc::clone(&port), Box::new(setup));
        writer.end(0, Some(0), 3);
        // What the encoder itself says is not listened to: it fails.
        writer.helped((0, 1), Helped::Failed("it broke".to_owned()));
        let until = Instant::now() + Duration::from_secs(60);
        while !writer.index.is_empty() && Instant::now() < until {
            let mut done = Vec::new();
            let ran = writer.ring.run(RETRY, |outcome| done.push(outcome));
            ran.expect("the ring runs");
            for Done { token, outcome } in done {
                writer.finished(token as usize, outcome);
            }
        }
        let replies: Vec<Reply> = std::iter::from_fn(|| port.replies.pop()).collect();
        let closed = replies.iter().any(|reply| {
            matches!(reply, Reply::Closed { lost_samples: 3, error: Some(why), .. } if why.contains("it broke"))
        });
        assert!(closed, "{replies:?}");
        assert_eq!(writer.ring.pending(), 0);
        std::fs::remove_file(&path).expect("the file is there");
    }
}
