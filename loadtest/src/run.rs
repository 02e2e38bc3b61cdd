//! One run: the generator on a thread of its own, a look at the server and the machine each second, everything written as
//! lines of JSON, and a verdict.

use crate::engine::{self, Outcome, Setting, Snapshot};
use crate::measure::{self, Core, Machine, Process};
use crate::scenario::{Arrivals, Kind, Limits, Scenario, Talk};
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Name of the file with everything.
pub const RAW: &str = "run.jsonl";

/// Descriptors that may be open after a run that were not before it (connections to a database, for instance).
const DESCRIPTORS_SLACK: u64 = 16;

/// What a run is given besides its scenario.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The server's SIP address, before that of the scenario.
    pub server: Option<SocketAddr>,
    /// Its process, if it runs here; otherwise the owner of that address is looked for.
    pub pid: Option<u32>,
    /// The core that the generator stays on.
    pub core: Option<usize>,
    /// Real-time priority for the generator where the machine allows it.
    pub realtime: bool,
    /// The target is not of this machine, and the caller answers for that.
    pub i_own_this: bool,
    /// A line each second.
    pub progress: bool,
    /// What the server is, for the report: its version and configuration.
    pub subject: String,
    /// The command that made the run.
    pub command: String,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

/// A line of the raw data.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub enum Line {
    /// The first: what, where, how.
    Begin(Box<Begin>),
    /// One for each second.
    Second(Box<Second>),
    /// One for each step, when it ends.
    Step(Box<StepResult>),
    /// The last: what came of it.
    End(Box<RunResult>),
}

/// What a run is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Begin {
    /// Seconds since 1970.
    pub at: u64,
    pub command: String,
    pub server: SocketAddr,
    pub subject: String,
    pub machine: Machine,
    pub scenario: Scenario,
}

/// A second of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Second {
    pub generator: Snapshot,
    pub process: Option<Process>,
    pub cores: Vec<Core>,
}

/// The steady part of a step.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StepResult {
    pub step: usize,
    /// Length of the steady part, in seconds; 0: it was never reached.
    pub seconds: f64,
    /// Calls up on average, and begun or registered each second.
    pub calls: f64,
    pub answered_per_second: f64,
    /// Begun in the whole step, and what its rate asks for; both 0 where the number of calls counts.
    pub begun: u64,
    pub wanted: f64,
    pub requests_per_second: f64,
    pub packets_per_second: f64,
    /// CPU of the server in percent of one core, in all and by thread.
    pub cpu_percent: Option<f64>,
    pub cpu_user_percent: Option<f64>,
    pub cpu_threads: Vec<(String, f64)>,
    /// At its end.
    pub memory: Option<u64>,
    pub descriptors: Option<u64>,
    pub switches_per_second: Option<f64>,
    pub delay: engine::totals::Percentiles,
    pub setup: engine::totals::Percentiles,
    pub late_ms: f64,
    pub failed: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunResult {
    pub outcome: Outcome,
    pub steps: Vec<StepResult>,
    /// Before the first call, and after the last.
    pub process_before: Option<Process>,
    pub process_after: Option<Process>,
    /// What was not good enough; empty: the run has passed.
    pub faults: Vec<String>,
    /// The generator itself was so late or lossy that the numbers say more about it than about the server.
    pub doubts: Vec<String>,
}

impl RunResult {
    /// Whether everything was good enough.
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Refuses to aim at anything but this machine, unless it is confirmed.
pub fn may_aim_at(target: SocketAddr, i_own_this: bool) -> Result<()> {
    ensure!(
        target.ip().is_loopback() || i_own_this,
        "{target} is not of this machine's loopback network: a load test of somebody else's server is an attack; \
         --i-own-this says that it is yours"
    );
    Ok(())
}

/// Runs a scenario and writes its raw data into `folder`.
pub fn run(scenario: &Scenario, options: &Options, folder: &Path) -> Result<(Begin, RunResult)> {
    scenario.check()?;
    let Some(server) = options.server.or(scenario.server) else {
        bail!("no server: --server ADDRESS:PORT, or `server` in the scenario");
    };
    may_aim_at(server, options.i_own_this)?;
    if let Some(originate) = &scenario.originate {
        may_aim_at(originate.manager, options.i_own_this)?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let pid = options.pid.or_else(|| measure::listener(server));
    let mut raw = Raw::create(folder)?;
    let begin = Begin {
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs()),
        command: options.command.clone(),
        server,
        subject: options.subject.clone(),
        machine: measure::machine(),
        scenario: scenario.without_secrets(),
    };
    raw.write(&Line::Begin(Box::new(begin.clone())))?;
    let before = pid.and_then(|pid| measure::process(pid).ok());
    let (tell, told) = mpsc::channel();
    let setting = Setting {
        server,
        core: options.core,
        realtime: options.realtime,
        i_own_this: options.i_own_this,
        recordings: folder.join("heard"),
        stop: Arc::clone(&options.stop),
    };
    let generator = std::thread::Builder::new()
        .name("generator".to_owned())
        .spawn({
            let scenario = scenario.clone();
            move || engine::run(scenario, setting, &tell)
        })?;
    let mut watch = Watch::new(pid, before.clone());
    let mut steps = Vec::new();
    let mut begun_before = 0;
    let limit = Duration::from_secs_f64(scenario.seconds() + 600.0);
    let mut waited = Duration::ZERO;
    loop {
        match told.recv_timeout(Duration::from_secs(2)) {
            Ok(snapshot) => {
                let last = snapshot.last_of_step;
                let second = watch.look(snapshot);
                if options.progress {
                    show(&second, watch.cpu_now, scenario);
                }
                if last {
                    if second.generator.step <= scenario.steps.len() {
                        let mut step = watch.step_done(&second);
                        let begun = second.generator.totals.begun;
                        let asked = scenario.steps.get(step.step.saturating_sub(1));
                        if let Some(asked) = asked.filter(|asked| asked.calls.is_none()) {
                            step.begun = begun - begun_before;
                            let mean =
                                f64::midpoint(asked.rate, asked.rate_to.unwrap_or(asked.rate));
                            step.wanted = mean * asked.seconds;
                        }
                        begun_before = begun;
                        raw.write(&Line::Step(Box::new(step.clone())))?;
                        steps.push(step);
                    }
                } else {
                    raw.write(&Line::Second(Box::new(second)))?;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                waited += Duration::from_secs(2);
                if waited > limit {
                    options.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }
    let outcome = generator
        .join()
        .map_err(|_| anyhow::anyhow!("the generator has panicked"))??;
    let after = pid.and_then(|pid| measure::process(pid).ok());
    let mut result = RunResult {
        outcome,
        steps,
        process_before: before,
        process_after: after,
        faults: Vec::new(),
        doubts: Vec::new(),
    };
    judge(scenario, &mut result);
    raw.write(&Line::End(Box::new(result.clone())))?;
    raw.finish()?;
    Ok((begin, result))
}

/// The file of raw data.
struct Raw {
    path: PathBuf,
    file: std::io::BufWriter<std::fs::File>,
}

impl Raw {
    fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(RAW);
        let file = std::fs::File::create(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path,
            file: std::io::BufWriter::new(file),
        })
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let write = || -> Result<()> {
            serde_json::to_writer(&mut self.file, line)?;
            self.file.write_all(b"\n")?;
            Ok(self.file.flush()?)
        };
        let mut write = write;
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush()?;
        Ok(())
    }
}

/// Looks at the server once a second and puts the steady part of a step together.
struct Watch {
    pid: Option<u32>,
    last: Option<(f64, Process)>,
    /// Where the steady part of the step began.
    from: Option<(Snapshot, Option<Process>)>,
    step: usize,
    calls: (f64, f64),
    cpu_now: Option<f64>,
}

impl Watch {
    fn new(pid: Option<u32>, before: Option<Process>) -> Self {
        Self {
            pid,
            last: before.map(|process| (0.0, process)),
            from: None,
            step: 0,
            calls: (0.0, 0.0),
            cpu_now: None,
        }
    }

    fn look(&mut self, generator: Snapshot) -> Second {
        let process = self.pid.and_then(|pid| measure::process(pid).ok());
        if let (Some((at, before)), Some(now)) = (&self.last, &process) {
            let seconds = generator.t_s - at;
            if seconds > 0.5 {
                self.cpu_now = Some(100.0 * (now.cpu_s - before.cpu_s) / seconds);
            }
        }
        if let Some(process) = &process
            && !generator.last_of_step
        {
            self.last = Some((generator.t_s, process.clone()));
        }
        if generator.step != self.step {
            self.step = generator.step;
            self.from = None;
            self.calls = (0.0, 0.0);
        }
        if generator.steady {
            self.calls.0 += f64::from(generator.up);
            self.calls.1 += 1.0;
            if self.from.is_none() {
                self.from = Some((generator.clone(), process.clone()));
            }
        }
        Second {
            generator,
            process,
            cores: measure::cores(),
        }
    }

    fn step_done(&self, end: &Second) -> StepResult {
        let now = &end.generator;
        let mut step = StepResult {
            step: now.step,
            delay: now.delay,
            setup: now.setup,
            late_ms: now.late_ms,
            memory: end.process.as_ref().map(|process| process.memory),
            descriptors: end.process.as_ref().map(|process| process.descriptors),
            ..StepResult::default()
        };
        let Some((from, process)) = &self.from else {
            return step;
        };
        let seconds = now.t_s - from.t_s;
        if seconds < 0.2 {
            return step;
        }
        let per_second = |now: u64, before: u64| (now.saturating_sub(before)) as f64 / seconds;
        step.seconds = seconds;
        step.calls = self.calls.0 / self.calls.1.max(1.0);
        step.answered_per_second = per_second(now.totals.answered, from.totals.answered);
        step.requests_per_second =
            per_second(now.totals.register_requests, from.totals.register_requests);
        step.packets_per_second = per_second(now.totals.heard.packets, from.totals.heard.packets);
        step.failed = now.totals.failed - from.totals.failed;
        if let (Some(before), Some(after)) = (process, &end.process) {
            let percent = |after: f64, before: f64| 100.0 * (after - before).max(0.0) / seconds;
            step.cpu_percent = Some(percent(after.cpu_s, before.cpu_s));
            step.cpu_user_percent = Some(percent(after.user_s, before.user_s));
            step.switches_per_second = Some(per_second(
                after.switches + after.switches_forced,
                before.switches + before.switches_forced,
            ));
            step.cpu_threads = after
                .threads
                .iter()
                .map(|(name, &cpu)| {
                    let earlier = before.threads.get(name).copied().unwrap_or(0.0);
                    (name.clone(), percent(cpu, earlier))
                })
                .filter(|(_, cpu)| *cpu >= 0.05)
                .collect();
        }
        step
    }
}

/// A line of what goes on.
fn show(second: &Second, cpu: Option<f64>, scenario: &Scenario) {
    let now = &second.generator;
    let totals = &now.totals;
    let step = if now.step > scenario.steps.len() {
        "end".to_owned()
    } else {
        format!("{}/{}", now.step, scenario.steps.len())
    };
    let cpu = cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.1} %"));
    let memory = second.process.as_ref().map_or("-".to_owned(), |process| {
        format!("{} MiB", process.memory >> 20)
    });
    eprintln!(
        "{:6.0} s  step {step}  up {:5}  begun {:7}  failed {:4}  packets {:9}  delay p99 {:6.2} ms  setup p99 {:7.1} ms  cpu {cpu:>8}  memory {memory}",
        now.t_s,
        now.up,
        totals.begun,
        totals.failed,
        totals.heard.packets,
        now.delay.p99_ms,
        now.setup.p99_ms,
    );
}

/// Compares with the limits.
fn judge(scenario: &Scenario, result: &mut RunResult) {
    let limits = &scenario.limits;
    let totals = &result.outcome.totals;
    let mut faults = Vec::new();
    let mut doubts = Vec::new();
    let failed = 100.0 * totals.failed as f64 / totals.begun.max(1) as f64;
    if failed > limits.failed_percent {
        let why: Vec<String> = totals
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} × {reason}"))
            .collect();
        faults.push(format!(
            "{} of {} failed ({})",
            totals.failed,
            totals.begun,
            why.join(", ")
        ));
    }
    if totals.begun == 0 {
        faults.push("nothing was begun".to_owned());
    } else if totals.answered == 0 {
        faults.push("nothing was answered".to_owned());
    }
    let said = totals.lost + totals.heard.right;
    let lost = 100.0 * totals.lost as f64 / said.max(1) as f64;
    if lost > limits.lost_percent {
        faults.push(format!(
            "{} of {said} packets lost ({lost:.4} %)",
            totals.lost
        ));
    }
    let heard = &totals.heard;
    for (count, what) in [
        (totals.deaf_legs, "legs heard nothing"),
        (totals.crossed_legs, "legs heard another call"),
        (heard.duplicate, "packets came twice"),
        (heard.disordered, "packets came out of order"),
        (heard.damaged, "packets were changed on the way"),
        (heard.looks_missing, "looks found no tone of the other end"),
        (totals.digits_wrong, "calls had other digits than were sent"),
        (
            totals.unexpected_calls,
            "calls came for numbers that nobody dialled",
        ),
        (totals.unreadable, "messages could not be read"),
    ] {
        if count > 0 {
            faults.push(format!("{count} {what}"));
        }
    }
    let media = scenario.call.talk != Talk::None && scenario.kind != Kind::Registrations;
    if media && totals.answered > 0 && heard.right == 0 {
        faults.push("no packet was heard at all".to_owned());
    }
    let outcome = &result.outcome;
    for (what, times, limit) in [
        ("delay p99", &outcome.delay, limits.delay_p99_ms),
        ("set-up p99", &outcome.setup, limits.setup_p99_ms),
    ] {
        if limit.is_some() && times.count == 0 {
            faults.push(format!(
                "{what}: nothing was measured, and there is a limit"
            ));
        }
        over(&mut faults, what, times.p99_ms, limit, "ms");
    }
    if limits.cpu_percent.is_some() || limits.memory_growth_percent.is_some() {
        judge_process(limits, result, &mut faults);
    }
    if totals.held_back > 0 {
        faults.push(format!(
            "{} calls were not begun, since there were as many as allowed",
            totals.held_back
        ));
    }
    if outcome.interrupted {
        faults.push("stopped before its end".to_owned());
    }
    for (step, asked) in result.steps.iter().zip(&scenario.steps) {
        let n = step.step;
        match asked.calls {
            Some(calls) if step.seconds == 0.0 => {
                faults.push(format!(
                    "step {n}: {calls} calls were never up at once for a second"
                ));
            }
            None if step.seconds == 0.0 && asked.seconds >= 4.0 => {
                faults.push(format!("step {n}: it was never steady"));
            }
            _ => {}
        }
        // What is left to chance scatters by its root.
        let scatter = match asked.arrivals {
            Arrivals::Even => 2.0,
            Arrivals::Poisson => 3.0 * step.wanted.sqrt(),
        };
        if !outcome.interrupted && (step.begun as f64) < 0.98 * step.wanted - scatter {
            faults.push(format!(
                "step {n}: {} of {:.0} were begun: the generator does not keep up",
                step.begun, step.wanted
            ));
        }
    }
    if outcome.late_ms > 20.0 {
        doubts.push(format!(
            "the generator was up to {:.0} ms late itself: delays and losses may be its own",
            outcome.late_ms
        ));
    }
    if totals.send_errors > 0 {
        doubts.push(format!("{} packets could not be sent", totals.send_errors));
    }
    let own: u64 = totals
        .reasons
        .iter()
        .filter(|(reason, _)| reason.starts_with("the generator"))
        .map(|(_, count)| count)
        .sum();
    if own > 0 {
        doubts.push(format!("{own} of the failures are the generator's own"));
    }
    if scenario.call.talk == Talk::Tone && totals.answered > 0 && heard.looks == 0 {
        faults.push(
            "nobody could look for a tone: no room was complete, or calls were too short"
                .to_owned(),
        );
    }
    result.faults = faults;
    result.doubts = doubts;
}

fn judge_process(limits: &Limits, result: &RunResult, faults: &mut Vec<String>) {
    let known = |step: &&StepResult| step.seconds == 0.0 || step.cpu_percent.is_some();
    if !result.steps.iter().all(|step| known(&step)) || result.process_after.is_none() {
        faults.push(
            "the server's process could not be read: its CPU and memory are unknown (--pid)"
                .to_owned(),
        );
        return;
    }
    let most = result
        .steps
        .iter()
        .filter_map(|step| step.cpu_percent)
        .fold(0.0, f64::max);
    over(faults, "CPU of the server", most, limits.cpu_percent, "%");
    if limits.memory_growth_percent.is_none() {
        return;
    }
    let memory: Vec<u64> = result.steps.iter().filter_map(|step| step.memory).collect();
    let ([first, .., last], true) = (&memory[..], memory.len() > 1) else {
        faults.push("growth of memory: two steps are needed to tell it".to_owned());
        return;
    };
    let growth = 100.0 * (*last as f64 / (*first).max(1) as f64 - 1.0);
    over(
        faults,
        "growth of memory",
        growth,
        limits.memory_growth_percent,
        "%",
    );
    if let (Some(before), Some(after)) = (&result.process_before, &result.process_after)
        && after.descriptors > before.descriptors + DESCRIPTORS_SLACK
    {
        faults.push(format!(
            "{} descriptors after the last call, and {} before the first",
            after.descriptors, before.descriptors
        ));
    }
}

fn over(faults: &mut Vec<String>, what: &str, value: f64, limit: Option<f64>, unit: &str) {
    if let Some(limit) = limit
        && value > limit
    {
        faults.push(format!(
            "{what} {value:.2} {unit}, and {limit} {unit} is allowed"
        ));
    }
}

/// Reads the raw data of a run.
pub fn load(path: &Path) -> Result<(Begin, Vec<Second>, RunResult)> {
    let path = if path.is_dir() {
        path.join(RAW)
    } else {
        path.to_owned()
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let (mut begin, mut seconds, mut end) = (None, Vec::new(), None);
    for (line, n) in text.lines().zip(1..) {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("{}, line {n}", path.display()))?;
        match line {
            Line::Begin(line) => begin = Some(*line),
            Line::Second(line) => seconds.push(*line),
            Line::Step(_) => {}
            Line::End(line) => end = Some(*line),
        }
    }
    let begin = begin.with_context(|| format!("{} has no beginning", path.display()))?;
    let end =
        end.with_context(|| format!("{} has no end: the run was broken off", path.display()))?;
    Ok((begin, seconds, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_aimed_at_without_a_word() {
        let address = |text: &str| text.parse().expect("an address");
        assert!(may_aim_at(address("127.0.0.9:5060"), false).is_ok());
        assert!(may_aim_at(address("[::1]:5060"), false).is_ok());
        for far in ["192.0.2.1:5060", "10.0.0.1:5060", "0.0.0.0:5060"] {
            let error = may_aim_at(address(far), false).expect_err(far).to_string();
            assert!(error.contains("--i-own-this"), "{error}");
            assert!(may_aim_at(address(far), true).is_ok());
        }
    }
}
