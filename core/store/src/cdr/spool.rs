//! From a thread that ends a call to a file that survives a crash: one thread writes and syncs records in groups.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::Cdr;
use super::files::{self, Item, Position};
use crate::error::StoreError;

/// Records that may wait in memory for the disk.
const WAITING_MAX: u64 = 1_000_000;
/// How long a group is collected before it is synced.
const GROUP_WINDOW: Duration = Duration::from_millis(20);
/// Records in a group at most.
const GROUP_MAX: usize = 4096;
/// Size at which a segment is followed by the next.
const SEGMENT_MAX: u64 = 1 << 20;

/// Call detail records on their way into the database. Cheap to clone, callable from any thread; when the last clone
/// goes, what was pushed is synced first.
#[derive(Clone)]
pub struct CdrSpool {
    pub(crate) shared: Arc<Shared>,
    _ending: Arc<Ending>,
}

pub(crate) struct Shared {
    pub(super) dir: PathBuf,
    inbox: Inbox,
    /// The segment that is written, and how much of it is synced.
    durable: Mutex<Position>,
    /// The first segment of this run; older ones may hold records that are in the database already.
    pub(super) first: u64,
    pub(super) wake: Notify,
    pub(super) ended: AtomicBool,
    pub(super) counters: Counters,
    /// Everything before is in the database or rejected.
    pub(super) done: Mutex<Position>,
    /// Ends the delivery after the next commit, before it is noted, as a crash would.
    #[cfg(test)]
    pub(crate) crash_after_commit: AtomicBool,
}

#[derive(Default)]
pub(super) struct Counters {
    waiting: AtomicU64,
    spooled: AtomicU64,
    lost: AtomicU64,
    disk_failures: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) known: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) failures: AtomicU64,
}

enum Message {
    Record(Box<Cdr>),
    Flush(mpsc::SyncSender<()>),
    End,
}

impl Message {
    /// Someone waits: no need to collect more.
    fn is_urgent(&self) -> bool {
        !matches!(self, Self::Record(_))
    }
}

/// What waits for the thread that writes. It is woken for the first record of a group and not for each: waking a thread costs
/// whoever ends a call more than the record does.
#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    urgent: bool,
    /// Nobody reads any more.
    closed: bool,
}

impl Inbox {
    /// `false`: nobody reads any more.
    fn send(&self, message: Message) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return false;
        }
        let wakes = waiting.messages.is_empty() || message.is_urgent();
        waiting.urgent |= message.is_urgent();
        waiting.messages.push_back(message);
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
        true
    }

    /// Waits for the first message, then for the others of its group.
    fn receive(&self) -> VecDeque<Message> {
        let mut waiting = self.waiting.lock();
        while waiting.messages.is_empty() {
            self.wake.wait(&mut waiting);
        }
        let end = Instant::now() + GROUP_WINDOW;
        while !waiting.urgent && waiting.messages.len() < GROUP_MAX {
            if self.wake.wait_until(&mut waiting, end).timed_out() {
                break;
            }
        }
        waiting.take()
    }

    /// What waits at this moment.
    fn receive_now(&self) -> VecDeque<Message> {
        self.waiting.lock().take()
    }

    fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.messages.clear();
    }
}

/// Closes the inbox with the thread, also when that ends as it should not: then records are counted as lost.
struct Closes(Arc<Shared>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.inbox.close();
    }
}

impl Waiting {
    /// The next group, or all of it if someone waits.
    fn take(&mut self) -> VecDeque<Message> {
        if self.urgent || self.messages.len() <= GROUP_MAX {
            self.urgent = false;
            return std::mem::take(&mut self.messages);
        }
        let rest = self.messages.split_off(GROUP_MAX);
        std::mem::replace(&mut self.messages, rest)
    }
}

/// Ends the thread when the last handle goes.
struct Ending {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.inbox.send(Message::End);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        self.shared.ended.store(true, Relaxed);
        self.shared.wake.notify_one();
    }
}

impl CdrSpool {
    /// Opens the spool in `dir`, which is made if there is none. Records of former runs wait there for
    /// [`CdrSpool::deliver`].
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let failed =
            |error| StoreError::file(format!("opening the spool {}", dir.display()))(error);
        fs::create_dir_all(dir).map_err(failed)?;
        let done = files::load_position(dir);
        let mut next = done.segment;
        for segment in files::segments(dir).map_err(failed)? {
            next = next.max(segment + 1);
            if segment < done.segment {
                fs::remove_file(files::segment_path(dir, segment)).map_err(failed)?;
            }
        }
        // A position in a segment that is gone says that all of it is done.
        let first = if done == Position::default() {
            next
        } else {
            next.max(done.segment + 1)
        };
        let file = files::create_segment(dir, first).map_err(failed)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            inbox: Inbox::default(),
            durable: Mutex::new(Position {
                segment: first,
                offset: 0,
            }),
            first,
            wake: Notify::new(),
            ended: AtomicBool::new(false),
            counters: Counters::default(),
            done: Mutex::new(done),
            #[cfg(test)]
            crash_after_commit: AtomicBool::new(false),
        });
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            file,
            unsynced: String::new(),
            failed: false,
        };
        let thread = std::thread::Builder::new()
            .name("cdr-spool".into())
            .spawn(move || writer.run())
            .map_err(failed)?;
        Ok(Self {
            _ending: Arc::new(Ending {
                shared: Arc::clone(&shared),
                thread: Mutex::new(Some(thread)),
            }),
            shared,
        })
    }

    /// Hands over a record. Never waits; it is on disk within some 50 ms.
    pub fn push(&self, cdr: Cdr) {
        let counters = &self.shared.counters;
        if counters.waiting.fetch_add(1, Relaxed) >= WAITING_MAX {
            counters.waiting.fetch_sub(1, Relaxed);
            if counters.lost.fetch_add(1, Relaxed).is_power_of_two() {
                tracing::error!(
                    "call detail records: the disk is too slow and memory is full; records are lost"
                );
            }
            return;
        }
        if !self.shared.inbox.send(Message::Record(Box::new(cdr))) {
            counters.lost.fetch_add(1, Relaxed);
        }
    }

    /// Waits until everything pushed is on disk; `false` if that takes longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = mpsc::sync_channel(1);
        self.shared.inbox.send(Message::Flush(done)) && wait.recv_timeout(limit).is_ok()
    }

    /// Counters: records waiting for the disk, written to it, lost, stored in the database, found there already after
    /// a crash, rejected by it; failed writes and failed attempts.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.shared.counters;
        vec![
            ("cdr_waiting", counters.waiting.load(Relaxed)),
            ("cdr_spooled", counters.spooled.load(Relaxed)),
            ("cdr_lost", counters.lost.load(Relaxed)),
            ("cdr_disk_failures", counters.disk_failures.load(Relaxed)),
            ("cdr_stored", counters.stored.load(Relaxed)),
            ("cdr_known", counters.known.load(Relaxed)),
            ("cdr_rejected", counters.rejected.load(Relaxed)),
            ("cdr_failed_attempts", counters.failures.load(Relaxed)),
        ]
    }
}

impl Shared {
    /// The segment that is written, and how much of it may be read.
    pub(super) fn durable(&self) -> Position {
        *self.durable.lock()
    }

    /// Whether every record pushed so far is dealt with.
    pub(super) fn all_done(&self) -> bool {
        self.counters.waiting.load(Relaxed) == 0 && *self.done.lock() >= self.durable()
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    file: fs::File,
    /// Lines that are not yet on disk for sure.
    unsynced: String,
    failed: bool,
}

impl Writer {
    fn run(&mut self) {
        let _closes = Closes(Arc::clone(&self.shared));
        loop {
            let group = if self.unsynced.is_empty() {
                self.shared.inbox.receive()
            } else {
                // The disk failed: what is in hand is tried again after a moment, whatever comes.
                std::thread::sleep(Duration::from_millis(200));
                self.shared.inbox.receive_now()
            };
            let mut ending = false;
            let mut flushes = Vec::new();
            for message in group {
                match message {
                    Message::Record(cdr) => self.take(*cdr),
                    Message::Flush(done) => flushes.push(done),
                    Message::End => ending = true,
                }
            }
            let mut synced = self.sync();
            if ending && synced.is_err() {
                std::thread::sleep(Duration::from_millis(200));
                synced = self.sync();
            }
            match synced {
                Ok(()) => {
                    if self.failed {
                        tracing::info!("call detail records: the spool can be written again");
                    }
                    self.failed = false;
                }
                Err(error) => {
                    self.shared.counters.disk_failures.fetch_add(1, Relaxed);
                    if !self.failed {
                        let dir = self.shared.dir.display();
                        tracing::error!(%error, %dir, "call detail records: the spool cannot be written; they wait in memory");
                    }
                    self.failed = true;
                    // Dropped senders tell those who wait that it did not work.
                    flushes.clear();
                }
            }
            for done in flushes {
                let _ = done.send(());
            }
            if ending {
                return;
            }
        }
    }

    fn take(&mut self, cdr: Cdr) {
        match files::encode(&cdr) {
            Ok(line) => self.unsynced.push_str(&line),
            Err(reason) => {
                self.shared.counters.waiting.fetch_sub(1, Relaxed);
                self.shared.counters.rejected.fetch_add(1, Relaxed);
                let line = files::reject_line(&reason, &Item::Record(Box::new(cdr)));
                let _ = files::append_reject(&self.shared.dir, &line);
            }
        }
    }

    /// Writes and syncs what is in hand.
    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let mut place = self.shared.durable();
        if self.failed {
            // A failed write may have left part of itself, and a failed sync pages that will never be written: the
            // segment ends where it was good, and a new one begins.
            self.file.set_len(place.offset)?;
            place = self.next_segment(place)?;
        }
        self.file
            .write_all(self.unsynced.as_bytes())
            .inspect_err(|_| self.failed = true)?;
        self.file.sync_data().inspect_err(|_| self.failed = true)?;
        place.offset += self.unsynced.len() as u64;
        let lines = self.unsynced.bytes().filter(|byte| *byte == b'\n').count() as u64;
        self.unsynced.clear();
        *self.shared.durable.lock() = place;
        self.shared.counters.spooled.fetch_add(lines, Relaxed);
        self.shared.counters.waiting.fetch_sub(lines, Relaxed);
        self.shared.wake.notify_one();
        if place.offset >= SEGMENT_MAX {
            // Failing here is no harm: the segment just grows.
            let _ = self.next_segment(place);
        }
        Ok(())
    }

    fn next_segment(&mut self, place: Position) -> io::Result<Position> {
        let next = Position {
            segment: place.segment + 1,
            offset: 0,
        };
        self.file = files::create_segment(&self.shared.dir, next.segment)?;
        *self.shared.durable.lock() = next;
        self.shared.wake.notify_one();
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Message {
        Message::Record(Box::default())
    }

    #[test]
    fn records_are_received_in_groups_in_order_and_who_waits_gets_all_at_once() {
        let inbox = Arc::new(Inbox::default());
        let reader = Arc::clone(&inbox);
        let began = Instant::now();
        let group = std::thread::spawn(move || reader.receive());
        for _ in 0..3 {
            assert!(inbox.send(record()));
            std::thread::sleep(Duration::from_millis(2));
        }
        // Whoever is woken for the first waits for the others.
        let first = group.join().map_or(0, |group| group.len());
        assert!(began.elapsed() >= GROUP_WINDOW);
        let rest = inbox.receive_now().len();
        assert_eq!(first + rest, 3);

        for _ in 0..GROUP_MAX + 5 {
            inbox.send(record());
        }
        assert_eq!(inbox.receive().len(), GROUP_MAX);
        let (done, _wait) = mpsc::sync_channel(1);
        for _ in 0..GROUP_MAX {
            inbox.send(record());
        }
        inbox.send(Message::Flush(done));
        let all = inbox.receive();
        assert_eq!(all.len(), GROUP_MAX + 6);
        assert!(all.back().is_some_and(Message::is_urgent), "in order");

        inbox.close();
        assert!(!inbox.send(record()), "nobody reads any more");
    }
}
