//! Threads beside the writer, for what would stop it: encoding that takes time, and calls into the file system that no
//! ring makes. Each is started when it is first needed, and runs at low priority.

use super::encode::Pipeline;
use super::step::{Before, HEAD_MAX};
use crate::recording::FileSetup;
use crate::uring::schedule;
use crate::uring::wake::Wake;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Encoders give way to everything that has a deadline.
const NICE: i32 = 10;
/// At most so many threads encode.
const ENCODERS_MAX: usize = 4;

/// Names a recording towards the helpers: its place and a number that no other recording in that place has.
pub(super) type Key = (usize, u64);

/// What a helper is to do. Of one recording: Open, any number of Samples, Finish.
pub(super) enum Job {
    Open(Box<FileSetup>),
    Samples {
        /// See [`crate::recording::Order::Samples`].
        position: u64,
        samples: Vec<i16>,
    },
    /// `None`: where it stands.
    Finish(Option<u64>),
    Directories(PathBuf),
    Look(PathBuf),
}

/// What came of it. An Open has no answer unless it fails.
pub(super) enum Done {
    Encoded {
        bytes: Vec<u8>,
        /// Samples of one channel that went into the stream; some may come with later bytes.
        samples: u64,
        /// The job's buffer.
        buffer: Vec<i16>,
    },
    Ended {
        bytes: Vec<u8>,
        samples: u64,
        /// Replaces the first bytes of the stream.
        head: Option<Vec<u8>>,
    },
    /// Nothing more comes of this recording.
    Failed(String),
    Directories(io::Result<()>),
    Looked(Result<Before, String>),
}

/// The helpers of one writer thread. Dropping it lets them end when they have done what they were given.
pub(super) struct Helpers {
    files: Option<Sender<(Key, Job)>>,
    encoders: Vec<Option<Sender<(Key, Job)>>>,
    sender: Sender<(Key, Done)>,
    results: Receiver<(Key, Done)>,
    wake: Wake,
}

impl Helpers {
    /// `wake` is raised when a result is there.
    pub(super) fn new(wake: Wake) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (sender, results) = channel();
        Self {
            files: None,
            encoders: vec![None; (cores / 4).clamp(1, ENCODERS_MAX)],
            sender,
            results,
            wake,
        }
    }

    /// Gives a job to the thread that has it. Jobs of one recording are done in order.
    pub(super) fn give(&mut self, key: Key, job: Job) {
        let count = self.encoders.len();
        let (name, slot) = match &job {
            Job::Directories(_) | Job::Look(_) => ("writer-files", Some(&mut self.files)),
            _ => ("writer-encode", self.encoders.get_mut(key.0 % count)),
        };
        let Some(slot) = slot else { return };
        if slot.is_none() {
            *slot = start(name, self.sender.clone(), self.wake.clone());
        }
        let given = slot.as_ref().map(|sender| sender.send((key, job)));
        if !matches!(given, Some(Ok(()))) {
            // Neither a thread nor its end: the recording fails, and the next one tries again.
            *slot = None;
            let why = Done::Failed(format!("the thread {name} cannot be started"));
            let _ = self.sender.send((key, why));
            self.wake.raise();
        }
    }

    /// The next result.
    pub(super) fn take(&mut self) -> Option<(Key, Done)> {
        self.results.try_recv().ok()
    }
}

fn start(name: &str, results: Sender<(Key, Done)>, wake: Wake) -> Option<Sender<(Key, Job)>> {
    let (sender, jobs) = channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || run(&jobs, &results, &wake)).ok()?;
    Some(sender)
}

fn run(jobs: &Receiver<(Key, Job)>, results: &Sender<(Key, Done)>, wake: &Wake) {
    // A wish: without it encoding only competes more.
    let _ = schedule::make_nice(NICE);
    let mut pipelines = HashMap::new();
    while let Ok((key, job)) = jobs.recv() {
        if let Some(done) = perform(&mut pipelines, key, job) {
            if results.send((key, done)).is_err() {
                return;
            }
            wake.raise();
        }
    }
}

fn perform(pipelines: &mut HashMap<Key, Pipeline>, key: Key, job: Job) -> Option<Done> {
    match job {
        Job::Open(setup) => match Pipeline::new(&setup) {
            Ok(pipeline) => {
                pipelines.insert(key, pipeline);
                None
            }
            Err(why) => Some(Done::Failed(why)),
        },
        Job::Samples {
            position,
            mut samples,
        } => {
            let Some(pipeline) = pipelines.get_mut(&key) else {
                // It failed before; its writer knows.
                samples.clear();
                return Some(Done::Encoded {
                    bytes: Vec::new(),
                    samples: 0,
                    buffer: samples,
                });
            };
            let before = pipeline.encoded();
            let mut bytes = Vec::new();
            if let Err(why) = pipeline.samples(position, &samples, &mut bytes) {
                pipelines.remove(&key);
                return Some(Done::Failed(why));
            }
            samples.clear();
            Some(Done::Encoded {
                bytes,
                samples: pipeline.encoded() - before,
                buffer: samples,
            })
        }
        Job::Finish(length) => {
            let Some(mut pipeline) = pipelines.remove(&key) else {
                return Some(Done::Ended {
                    bytes: Vec::new(),
                    samples: 0,
                    head: None,
                });
            };
            let before = pipeline.encoded();
            let mut bytes = Vec::new();
            Some(match pipeline.finish(length, &mut bytes) {
                Ok(head) => Done::Ended {
                    bytes,
                    samples: pipeline.encoded() - before,
                    head,
                },
                Err(why) => Done::Failed(why),
            })
        }
        Job::Directories(path) => Some(Done::Directories(std::fs::create_dir_all(path))),
        Job::Look(path) => Some(Done::Looked(look(&path).map_err(|error| error.to_string()))),
    }
}

fn look(path: &Path) -> io::Result<Before> {
    let file = std::fs::File::open(path)?;
    let len = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(HEAD_MAX).read_to_end(&mut head)?;
    Ok(Before { len, head })
}
