//! MP3 files of finished recordings, made beside everything else: one thread writes down what is to be made, another makes
//! it, one file at a time, at the lowest priority. What fails for want of disk is tried again.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use strowger_media::uring::schedule;

use super::convert::{Failure, convert};
use super::in_use::{Held, InUse};
use super::journal::Journal;

/// Pause before a file that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Making files waits for everything else.
const NICE: i32 = 19;

/// Names a job of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId(u64);

/// An MP3 file that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// WAV files, one for each channel.
    pub inputs: Vec<PathBuf>,
    /// What goes when the file is complete.
    pub remove: Vec<PathBuf>,
    /// Where it belongs. When something is there already, a number is put behind the name.
    pub output: PathBuf,
}

#[derive(Debug, Default)]
struct Counters {
    waiting: AtomicU64,
    made: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
}

enum Word {
    Plan(u64, Plan),
    Ready(u64),
    Forget(u64),
    Done(u64),
}

/// The way to the two threads. They end with the process: what is unfinished then is taken up by the next.
#[derive(Clone, Debug)]
pub struct Mp3Jobs {
    words: Sender<Word>,
    next: Arc<AtomicU64>,
    counters: Arc<Counters>,
    in_use: InUse,
}

impl Mp3Jobs {
    /// Starts the threads. Jobs are written down in `folder`, and those that are found there are taken up. `keep`: WAV files
    /// stay.
    pub fn start(folder: PathBuf, keep: bool) -> std::io::Result<Self> {
        let (words, inbox) = channel();
        let (work, jobs) = channel();
        let counters = Arc::new(Counters::default());
        let this = Self {
            words: words.clone(),
            // Numbers of an earlier process are smaller: they began with its seconds.
            next: Arc::new(AtomicU64::new(
                std::time::UNIX_EPOCH
                    .elapsed()
                    .unwrap_or_default()
                    .as_secs()
                    << 20,
            )),
            counters: Arc::clone(&counters),
            in_use: InUse::default(),
        };
        let in_use = this.in_use.clone();
        let counts = Arc::clone(&counters);
        std::thread::Builder::new()
            .name("mp3-jobs".to_owned())
            .spawn(move || Keeper::new(&folder, work, counts, in_use).run(&inbox))?;
        std::thread::Builder::new()
            .name("mp3-encode".to_owned())
            .spawn(move || make(&jobs, &words, keep, &counters))?;
        Ok(this)
    }

    /// Notes what is to be made of a recording that begins now: should the process die, the next one makes it of what there
    /// is.
    pub fn plan(&self, plan: Plan) -> JobId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.say(Word::Plan(number, plan));
        JobId(number)
    }

    /// The files are closed: begin.
    pub fn ready(&self, job: JobId) {
        self.say(Word::Ready(job.0));
    }

    /// There is nothing to be made.
    pub fn forget(&self, job: JobId) {
        self.say(Word::Forget(job.0));
    }

    /// Files that something is still to be made of, and those of recordings that run.
    pub(crate) fn in_use(&self) -> &InUse {
        &self.in_use
    }

    /// Name and value of each counter.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("mp3_waiting", value(&self.counters.waiting)),
            ("mp3_made", value(&self.counters.made)),
            ("mp3_failed", value(&self.counters.failed)),
            ("mp3_retried", value(&self.counters.retried)),
        ]
    }

    fn say(&self, word: Word) {
        // The thread ends only when all who could speak to it are gone.
        let _ = self.words.send(word);
    }
}

/// Keeps the journal, and gives out what is ready.
struct Keeper {
    journal: Option<Journal>,
    plans: HashMap<u64, (Plan, Held)>,
    work: Sender<(u64, Plan)>,
    counters: Arc<Counters>,
    in_use: InUse,
}

impl Keeper {
    fn new(
        folder: &std::path::Path,
        work: Sender<(u64, Plan)>,
        counters: Arc<Counters>,
        in_use: InUse,
    ) -> Self {
        let journal = Journal::open(folder)
            .inspect_err(|error| {
                tracing::error!(folder = %folder.display(), %error, "recordings' jobs are not kept over a restart");
            })
            .ok();
        Self {
            journal,
            plans: HashMap::new(),
            work,
            counters,
            in_use,
        }
    }

    fn run(mut self, words: &Receiver<Word>) {
        let left = self.journal.as_ref().map(Journal::left_over);
        match left {
            Some(Ok(jobs)) => {
                if !jobs.is_empty() {
                    tracing::info!(jobs = jobs.len(), "recordings left over are converted");
                }
                for (number, plan) in jobs {
                    self.keep(number, plan);
                    self.ready(number);
                }
            }
            Some(Err(error)) => tracing::error!(%error, "recordings' jobs cannot be read"),
            None => {}
        }
        self.in_use.complete();
        while let Ok(word) = words.recv() {
            match word {
                Word::Plan(number, plan) => self.plan(number, plan),
                Word::Ready(number) => self.ready(number),
                Word::Forget(number) | Word::Done(number) => {
                    self.plans.remove(&number);
                    if let Some(Err(error)) = self.journal.as_ref().map(|j| j.remove(number)) {
                        tracing::warn!(%error, "a recording's job stays behind");
                    }
                }
            }
        }
    }

    fn plan(&mut self, number: u64, mut plan: Plan) {
        plan.output = self.free_name(&plan.output);
        if let Some(Err(error)) = self.journal.as_ref().map(|j| j.write(number, &plan)) {
            // It is made all the same, unless the process dies before.
            tracing::warn!(%error, "a recording's job is not written down");
        }
        self.keep(number, plan);
    }

    /// Its files are in use until it is done.
    fn keep(&mut self, number: u64, plan: Plan) {
        let files = plan.inputs.iter().chain(&plan.remove);
        let held = self.in_use.hold(files.cloned());
        self.plans.insert(number, (plan, held));
    }

    fn ready(&mut self, number: u64) {
        if let Some((plan, _)) = self.plans.get(&number) {
            self.counters.waiting.fetch_add(1, Ordering::Relaxed);
            // The maker ends only with the process.
            let _ = self.work.send((number, plan.clone()));
        }
    }

    /// No recording takes the place of another.
    fn free_name(&self, wanted: &std::path::Path) -> PathBuf {
        let taken = |path: &PathBuf| {
            path.exists() || self.plans.values().any(|(plan, _)| plan.output == *path)
        };
        let stem = wanted.with_extension("");
        (1..1000)
            .map(|n| match n {
                1 => wanted.to_owned(),
                n => {
                    let mut name = stem.clone().into_os_string();
                    name.push(format!("-{n}.mp3"));
                    PathBuf::from(name)
                }
            })
            .find(|path| !taken(path))
            .unwrap_or_else(|| wanted.to_owned())
    }
}

fn make(jobs: &Receiver<(u64, Plan)>, words: &Sender<Word>, keep: bool, counters: &Counters) {
    // A wish: without it the work only competes more.
    let _ = schedule::make_nice(NICE);
    let mut later: VecDeque<(Instant, u64, Plan)> = VecDeque::new();
    loop {
        let wait = later.front().map_or(Duration::from_secs(3600), |(at, ..)| {
            at.saturating_duration_since(Instant::now())
        });
        let (number, plan) = match jobs.recv_timeout(wait) {
            Ok(job) => job,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => match later.pop_front() {
                Some((_, number, plan)) => (number, plan),
                None => continue,
            },
        };
        match convert(&plan, keep) {
            Ok(()) => {
                counters.made.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(file = %plan.output.display(), "recording converted");
            }
            Err(Failure::Passing(why)) => {
                counters.retried.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(file = %plan.output.display(), why, "recording not converted yet");
                later.push_back((Instant::now() + RETRY, number, plan));
                continue;
            }
            Err(Failure::Final(why)) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(file = %plan.output.display(), why, "recording not converted; it stays as it is");
            }
        }
        counters.waiting.fetch_sub(1, Ordering::Relaxed);
        let _ = words.send(Word::Done(number));
    }
}

#[cfg(test)]
mod tests {
    use super::super::convert::tests::wav;
    use super::*;

    fn eventually(what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn plan(folder: &std::path::Path, name: &str) -> Plan {
        let input = folder.join(format!("{name}.wav"));
        wav(&input, &[500; 16_000]);
        Plan {
            inputs: vec![input.clone()],
            remove: vec![input],
            output: folder.join("call.mp3"),
        }
    }

    fn count(jobs: &Mp3Jobs, name: &str) -> u64 {
        let all = jobs.counters();
        all.iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn a_job_is_done_when_it_is_ready_and_none_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("jobs");
        let jobs = Mp3Jobs::start(journal.clone(), false).unwrap();
        let (a, b, c) = (
            plan(folder.path(), "a"),
            plan(folder.path(), "b"),
            plan(folder.path(), "c"),
        );
        let (first, second, third) = (jobs.plan(a), jobs.plan(b), jobs.plan(c));
        jobs.forget(third);
        jobs.ready(second);
        jobs.ready(first);
        eventually("both are made", || count(&jobs, "mp3_made") == 2);
        for (name, there) in [
            ("call.mp3", true),
            ("call-2.mp3", true),
            ("call-3.mp3", false),
            ("a.wav", false),
            ("b.wav", false),
            ("c.wav", true),
        ] {
            assert_eq!(folder.path().join(name).exists(), there, "{name}");
        }
        eventually("the journal is empty", || {
            std::fs::read_dir(&journal).unwrap().next().is_none()
        });
        assert_eq!(count(&jobs, "mp3_waiting"), 0);
    }

    #[test]
    fn a_new_start_takes_up_what_was_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("jobs");
        Journal::open(&journal)
            .unwrap()
            .write(5, &plan(folder.path(), "a"))
            .unwrap();
        let jobs = Mp3Jobs::start(journal.clone(), false).unwrap();
        eventually("it is made", || count(&jobs, "mp3_made") == 1);
        assert!(folder.path().join("call.mp3").exists());
        assert!(!folder.path().join("a.wav").exists());
    }

    #[test]
    fn what_can_never_be_made_is_given_up_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = Mp3Jobs::start(folder.path().join("jobs"), false).unwrap();
        let mut plan = plan(folder.path(), "a");
        std::fs::write(&plan.inputs[0], b"no sound").unwrap();
        plan.output = folder.path().join("x.mp3");
        let job = jobs.plan(plan);
        jobs.ready(job);
        eventually("it is given up", || count(&jobs, "mp3_failed") == 1);
        assert!(folder.path().join("a.wav").exists());
    }
}
