//! Programs that make music on hold (`mode=custom`): one for all listeners of a class, begun when the first of them comes,
//! ended when the last is gone, begun anew when it ends by itself. What it writes is heard as it comes, in real time.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use rustix::process::{Pid, Signal, kill_process_group};
use strowger_media::{LiveWriter, Sound, SoundFormat, live_sound};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::child;

/// Listeners hear it so much later: a program that pauses for less is not noticed.
const LEAD_MS: u32 = 200;
/// How often samples are passed on.
const EVERY: Duration = Duration::from_millis(20);
/// Samples in that time.
const FRAME: usize = 160;
/// Bytes of a program that are read ahead; then it waits.
const AHEAD_MAX: usize = 16 * 1024;
/// From one end to the next beginning, at first and at most; doubled each time, unless it ran for [`STEADY`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(30);
/// How often it is asked whether anybody listens while none runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// From SIGTERM to SIGKILL.
const TERM_TO_KILL: Duration = Duration::from_millis(500);

/// What a program is, and what it writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// For `/bin/sh`.
    pub command: String,
    /// Where it runs; where the exchange does if there is none.
    pub folder: Option<PathBuf>,
    /// One without a header, of 8000 samples a second.
    pub format: ProgramFormat,
}

/// What programs may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProgramFormat {
    /// Signed, 16 bit, little-endian.
    #[default]
    Linear,
    Ulaw,
    Alaw,
}

impl ProgramFormat {
    /// By its name; the empty one is `slin`.
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "slin" | "sln" | "raw" => Some(Self::Linear),
            "ulaw" | "mulaw" | "pcm" => Some(Self::Ulaw),
            "alaw" => Some(Self::Alaw),
            _ => None,
        }
    }

    fn sample_bytes(self) -> usize {
        match self {
            Self::Linear => 2,
            Self::Ulaw | Self::Alaw => 1,
        }
    }

    fn samples(self, bytes: &[u8]) -> Vec<i16> {
        let format = match self {
            Self::Linear => SoundFormat::Linear(strowger_media::SAMPLE_RATE),
            Self::Ulaw => SoundFormat::Ulaw,
            Self::Alaw => SoundFormat::Alaw,
        };
        // Nothing in these formats can be wrong.
        Sound::decode(format, bytes.to_vec(), strowger_media::SAMPLE_RATE)
            .map(|sound| sound.samples.to_vec())
            .unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Counters {
    started: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
}

/// The programs that run.
#[derive(Debug)]
pub(super) struct Programs {
    most: usize,
    control: Handle,
    running: Arc<Mutex<FxHashMap<Program, Weak<Sound>>>>,
    /// Those that are being ended are there, too.
    alive: Arc<()>,
    counters: Arc<Counters>,
}

impl Programs {
    pub(super) fn new(most: usize, control: Handle) -> Self {
        Self {
            most,
            control,
            running: Arc::default(),
            alive: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// The sound of a program, which runs as long as somebody has this. `None`: too many run.
    pub(super) fn sound(&self, program: &Program, class: &str) -> Option<Arc<Sound>> {
        let mut running = self.running.lock();
        if let Some(sound) = running.get(program).and_then(Weak::upgrade) {
            return Some(sound);
        }
        // One whose listeners have just gone makes room for its own successor, while it is being ended; not for many of them.
        let alive = Arc::strong_count(&self.alive) - 1;
        if (running.len() >= self.most && !running.contains_key(program)) || alive >= 2 * self.most
        {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let (sound, writer) = live_sound(LEAD_MS);
        let sound = Arc::new(sound);
        running.insert(program.clone(), Arc::downgrade(&sound));
        let player = Player {
            program: program.clone(),
            class: class.to_owned(),
            listeners: Arc::downgrade(&sound),
            writer,
            counters: Arc::clone(&self.counters),
            running: Arc::clone(&self.running),
            _alive: Arc::clone(&self.alive),
        };
        self.control.spawn(player.run());
        Some(sound)
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.counters;
        vec![
            ("programs_running", self.running.lock().len() as u64),
            ("programs_started", counters.started.load(Ordering::Relaxed)),
            ("programs_ended", counters.ended.load(Ordering::Relaxed)),
            ("programs_refused", counters.refused.load(Ordering::Relaxed)),
        ]
    }
}

/// One program as long as it has listeners.
struct Player {
    program: Program,
    class: String,
    listeners: Weak<Sound>,
    writer: LiveWriter,
    counters: Arc<Counters>,
    running: Arc<Mutex<FxHashMap<Program, Weak<Sound>>>>,
    _alive: Arc<()>,
}

impl Drop for Player {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        let ours = running.get(&self.program);
        // Another may have begun for listeners that came meanwhile.
        if ours.is_some_and(|known| known.ptr_eq(&self.listeners)) {
            running.remove(&self.program);
        }
    }
}

impl Player {
    fn is_heard(&self) -> bool {
        self.listeners.strong_count() > 0
    }

    async fn run(mut self) {
        let mut pause = PAUSE_FIRST;
        while self.is_heard() {
            let began = crate::clock::now();
            let why = match self.start() {
                Ok((child, output)) => {
                    self.counters.started.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(class = self.class, "music on hold: the program begins");
                    let over = self.pass_on(output).await;
                    let status = end(child).await;
                    if over == Over::Unheard {
                        tracing::info!(
                            class = self.class,
                            "music on hold: nobody listens, the program is ended"
                        );
                        return;
                    }
                    match status {
                        Some(status) => format!("it ended with {status}"),
                        None => "it ended".to_owned(),
                    }
                }
                Err(error) => error.to_string(),
            };
            self.counters.ended.fetch_add(1, Ordering::Relaxed);
            if began.elapsed() >= STEADY {
                pause = PAUSE_FIRST;
            }
            tracing::warn!(
                class = self.class,
                why,
                again_s = pause.as_secs(),
                "music on hold: the program plays no more"
            );
            let again = crate::clock::now() + pause;
            while self.is_heard() && crate::clock::now() < again {
                sleep(LOOK_EVERY).await;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn start(&self) -> std::io::Result<(Child, ChildStdout)> {
        let mut command = child::shell(&self.program.command);
        if let Some(folder) = &self.program.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .stdout(Stdio::piped())
            // A group of its own: what it starts is ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| std::io::Error::other("it has no output"))?;
        Ok((child, output))
    }

    /// Passes on what the program writes, at the pace at which it is heard.
    async fn pass_on(&mut self, mut output: ChildStdout) -> Over {
        let bytes = FRAME * self.program.format.sample_bytes();
        let mut ticks = interval(EVERY);
        // Who was late makes up for it: the lead is for that.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut waiting: Vec<u8> = Vec::with_capacity(AHEAD_MAX);
        let mut part = [0; 4096];
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    if !self.is_heard() {
                        return Over::Unheard;
                    }
                    if waiting.len() < bytes && more {
                        continue;
                    }
                    let frame: Vec<u8> = waiting.drain(..bytes.min(waiting.len())).collect();
                    self.writer.write(&self.program.format.samples(&frame));
                    if waiting.is_empty() && !more {
                        return Over::Ended;
                    }
                }
                read = output.read(&mut part), if more && waiting.len() <= AHEAD_MAX - part.len() => {
                    let count = read.unwrap_or(0);
                    more = count > 0;
                    waiting.extend_from_slice(part.get(..count).unwrap_or_default());
                }
            }
        }
    }
}

/// Why nothing is passed on any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Nobody listens.
    Unheard,
    /// The program ended, or writes no more.
    Ended,
}

/// Ends a program with all it started; how it ended.
async fn end(mut child: Child) -> Option<ExitStatus> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let group = id.and_then(Pid::from_raw)?;
    let tell = |signal| {
        if let Err(error) = kill_process_group(group, signal) {
            tracing::debug!(%error, "music on hold: signal not sent");
        }
    };
    tell(Signal::TERM);
    // Not waited for meanwhile: until then the number of the group is its own, and what it started may outlast it.
    sleep(TERM_TO_KILL).await;
    tell(Signal::KILL);
    child.wait().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(most: usize) -> Programs {
        Programs::new(most, Handle::current())
    }

    fn program(command: &str) -> Program {
        Program {
            command: command.to_owned(),
            folder: None,
            format: ProgramFormat::default(),
        }
    }

    fn number(programs: &Programs, name: &str) -> u64 {
        let all = programs.counters();
        let found = all.iter().find(|(known, _)| *known == name);
        found.expect("it is counted").1
    }

    async fn until(what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..500 {
            if done() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{what} did not come true");
    }

    /// Processes that have this in their command line.
    fn alive(mark: &str) -> usize {
        let all = std::fs::read_dir("/proc").expect("processes");
        let lines = all.flatten().filter_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).into_owned())
        });
        lines.filter(|line| line.contains(mark)).count()
    }

    #[tokio::test]
    async fn listeners_share_a_program_that_ends_with_the_last_of_them() {
        let mark = format!("strowger-music-{}", std::process::id());
        let programs = programs(1);
        // What it starts does not listen to SIGTERM.
        let command = program(&format!(
            "sh -c 'trap \"\" TERM; : {mark}; while :; do sleep 1; done' & yes"
        ));
        let first = programs.sound(&command, "radio").expect("it runs");
        let second = programs.sound(&command, "radio").expect("it runs");
        assert!(Arc::ptr_eq(&first, &second));
        until("it runs", || alive(&mark) >= 2).await;
        assert_eq!(number(&programs, "programs_running"), 1);
        assert!(programs.sound(&program("yes"), "other").is_none());
        assert_eq!(number(&programs, "programs_refused"), 1);
        drop(first);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(number(&programs, "programs_running"), 1);
        drop(second);
        until("it is ended", || number(&programs, "programs_running") == 0).await;
        until("what it started is ended", || alive(&mark) == 0).await;
        assert_eq!(number(&programs, "programs_started"), 1);
        assert_eq!(number(&programs, "programs_ended"), 0);
        assert!(programs.sound(&program("yes"), "other").is_some());
    }

    #[tokio::test]
    async fn a_program_that_ends_is_begun_anew_after_a_while_and_not_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ends = program("echo x >> begun");
        ends.folder = Some(folder.path().to_owned());
        let programs = programs(10);
        let sound = programs.sound(&ends, "short").expect("it runs");
        let begun = || {
            std::fs::read_to_string(folder.path().join("begun"))
                .map_or(0, |text| text.lines().count())
        };
        until("the first", || begun() == 1).await;
        sleep(Duration::from_millis(500)).await;
        assert_eq!(begun(), 1);
        until("the second", || begun() == 2).await;
        // Who is gone before it has ended is one that nobody hears, and no end of its own.
        until("its end", || number(&programs, "programs_ended") == 2).await;
        drop(sound);
        until("the end", || number(&programs, "programs_running") == 0).await;
        sleep(Duration::from_millis(2500)).await;
        assert_eq!(begun(), 2, "nobody listens");
        assert_eq!(number(&programs, "programs_ended"), 2);
    }

    #[test]
    fn what_programs_write_is_read_as_its_format_says() {
        let formats = [
            ("", Some(ProgramFormat::Linear)),
            ("SLIN", Some(ProgramFormat::Linear)),
            ("ulaw", Some(ProgramFormat::Ulaw)),
            ("alaw", Some(ProgramFormat::Alaw)),
            ("g729", None),
            ("slin48", None),
        ];
        for (name, wanted) in formats {
            assert_eq!(ProgramFormat::parse(name), wanted, "{name}");
        }
        assert_eq!(ProgramFormat::Linear.samples(&[1, 0, 0xFE, 0xFF]), [1, -2]);
        assert_eq!(ProgramFormat::Ulaw.samples(&[0xFF, 0xFF]).len(), 2);
    }
}
