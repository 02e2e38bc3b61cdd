//! What is measured, each beside its reference.

use anyhow::{Context as _, Result, ensure};
use mlua::Lua;
use rustc_hash::FxHashMap;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use strowger_dialplan::{Query, Row};
use strowger_media::ports::PortRange;
use strowger_scripting::{Applications, Limits};
use strowger_store::ExtensionRow;

use super::{CONTEXT, Inside, Telephone};
use crate::{cpu, median};

/// Calls that are suspended at once, at most; two sockets for each have to be allowed.
pub const CALLS_MAX: usize = 10_000;
/// Rows of a large dialplan.
const ROWS: usize = 100_000;
/// Steps of a loop without a pause: a call that goes on longer is slowed down.
const STEPS: u64 = 9_000;
/// The exchange is left alone for so long before a call that is to find it asleep.
const ASLEEP: Duration = Duration::from_millis(2);
/// INVITEs on their way at once: no more than a socket holds.
const ON_THE_WAY: u64 = 50;
/// Calls that run while the dialplan is loaded anew.
const RUNNING: usize = 500;

/// A number with what it is compared with and what is wanted.
#[derive(Debug)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// What was measured beside it, in words.
    pub reference: String,
    /// The value must be at most, or with `more` at least, this.
    pub wanted: Option<f64>,
    pub more: bool,
}

impl Figure {
    pub fn new(name: &str, value: f64, unit: &'static str, reference: String) -> Self {
        Self {
            name: name.to_owned(),
            value,
            unit,
            reference,
            wanted: None,
            more: false,
        }
    }

    #[must_use]
    pub fn at_most(self, wanted: f64) -> Self {
        Self {
            wanted: Some(wanted),
            ..self
        }
    }

    #[must_use]
    pub fn at_least(self, wanted: f64) -> Self {
        Self {
            wanted: Some(wanted),
            more: true,
            ..self
        }
    }

    /// Is it as wanted?
    pub fn holds(&self) -> bool {
        match self.wanted {
            None => true,
            Some(wanted) if self.more => self.value >= wanted,
            Some(wanted) => self.value <= wanted,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, value, unit, ..
        } = self;
        write!(f, "{name}: {value:.2} {unit}")?;
        match self.wanted {
            Some(wanted) if self.more => write!(f, ", target at least {wanted}")?,
            Some(wanted) => write!(f, ", target at most {wanted}")?,
            None => {}
        }
        write!(f, " ({})", self.reference)
    }
}

fn row(id: usize, exten: &str, priority: i32, app: &str, appdata: &str) -> ExtensionRow {
    ExtensionRow {
        id: id as i64,
        context: CONTEXT.to_owned(),
        exten: exten.to_owned(),
        priority,
        app: app.to_owned(),
        appdata: appdata.to_owned(),
    }
}

/// Rows of steps by extension, in the order of their priorities.
pub fn rows(list: &[(&str, &str, &str)]) -> Vec<ExtensionRow> {
    let mut priorities: FxHashMap<&str, i32> = FxHashMap::default();
    (1..)
        .zip(list)
        .map(|(id, (exten, app, appdata))| {
            let priority = priorities.entry(exten).or_default();
            *priority += 1;
            row(id, exten, *priority, app, appdata)
        })
        .collect()
}

/// One step of the loop: a variable is counted up and compared, 9,000 steps to a pause.
fn loop_rows() -> Vec<ExtensionRow> {
    rows(&[
        ("100", "Set", "i=0"),
        ("100", "Set", "i=$[${i} + 1]"),
        ("100", "GotoIf", &format!("$[${{i}} < {}]?2", STEPS / 2 - 2)),
        ("100", "Wait", "0.002"),
        ("100", "Goto", "1"),
    ])
}

fn machine(all_in_machine: bool) -> Limits {
    Limits {
        all_in_machine,
        ..Limits::default()
    }
}

/// CPU time of the signalling thread of this process.
fn signalling() -> Result<Duration> {
    cpu::by_thread(std::process::id())?
        .remove("sip-0")
        .context("the signalling thread is not there")
}

/// Simple steps a second, in and outside of the machine.
pub fn looping(seconds: u64) -> Result<Vec<Figure>> {
    let told = |error: mlua::Error| anyhow::anyhow!("{error}");
    let bare = bare_call_ns().map_err(told)?;
    let luau = luau_loop_ns().map_err(told)?;
    let mut figures = Vec::new();
    for all_in_machine in [false, true] {
        let inside = Inside::start(loop_rows(), &[], machine(all_in_machine))?;
        let telephone = Telephone::new(inside.address)?;
        for call in 0..4 {
            telephone.call(call, "100")?;
        }
        let steps = || inside.plans.counters().steps.load(Ordering::Relaxed);
        inside.wait("the loop runs", || steps() > STEPS)?;
        let (before, used) = (steps(), signalling()?);
        std::thread::sleep(Duration::from_secs(seconds));
        let (ran, used) = (steps() - before, signalling()?.saturating_sub(used));
        let ns = used.as_nanos() as f64 / ran as f64;
        let reference = format!(
            "{ns:.0} ns of CPU a step; a bare call into the machine {bare:.0} ns, a round of this loop in plain Luau, two \
             steps, {luau:.0} ns"
        );
        let name = if all_in_machine {
            "steps, each through the machine"
        } else {
            "steps in a loop of Set and GotoIf"
        };
        let figure = Figure::new(name, 1e3 / ns, "million/s", reference);
        figures.push(if all_in_machine {
            figure
        } else {
            figure.at_least(3.0)
        });
    }
    Ok(figures)
}

fn bare_call_ns() -> mlua::Result<f64> {
    let lua = Lua::new();
    let step: mlua::Function = lua.load("return function(ch) return end").eval()?;
    const CALLS: u32 = 200_000;
    let started = Instant::now();
    for _ in 0..CALLS {
        step.call::<()>(black_box(1))?;
    }
    Ok(started.elapsed().as_nanos() as f64 / f64::from(CALLS))
}

/// The same with variables that are texts in a table, as those of a call are.
fn luau_loop_ns() -> mlua::Result<f64> {
    let lua = Lua::new();
    const ROUNDS: u32 = 1_000_000;
    let run: mlua::Function = lua
        .load(
            "local rounds = ... \
             local v = { i = '0' } \
             repeat v.i = tostring(tonumber(v.i) + 1) until not (tonumber(v.i) < rounds)",
        )
        .into_function()?;
    let started = Instant::now();
    run.call::<()>(ROUNDS)?;
    Ok(started.elapsed().as_nanos() as f64 / f64::from(ROUNDS))
}

/// From an INVITE that is parsed to its first application: calls one after the other, and calls that find the exchange
/// asleep, as the few calls of a small office do.
pub fn entering(calls: usize) -> Result<Vec<Figure>> {
    let inside = Inside::start(
        rows(&[("100", "NoOp", ""), ("100", "Hangup", "")]),
        &[],
        Limits::default(),
    )?;
    let telephone = Telephone::new(inside.address)?;
    let parse = parse_us(&telephone.invite(0, "100"))?;
    let mut ports = PortRange::new(60_002, 65_001);
    let mut figures = Vec::new();
    for (number, asleep) in [Duration::ZERO, ASLEEP].into_iter().enumerate() {
        let (mut took, mut bound) = (Vec::new(), Vec::new());
        let used = signalling()?;
        for call in number * calls..(number + 1) * calls {
            std::thread::sleep(asleep);
            let started = Instant::now();
            let sockets = ports.allocate(inside.address.ip())?;
            bound.push(started.elapsed().as_nanos() as f64 / 1000.0);
            drop(sockets);
            std::thread::sleep(asleep);
            took.push(entry_us(&inside, &telephone, call)?);
        }
        let cpu = signalling()?.saturating_sub(used).as_micros() as f64 / calls as f64;
        // The first calls find everything cold.
        let warm = |all: &[f64]| median(all.get(calls / 10..).unwrap_or_default());
        let us = warm(&took).context("no call")?;
        let floor = warm(&bound).context("no call")?;
        let reference = format!(
            "binding its two sockets alone {floor:.1} us, parsing such an INVITE {parse:.2} us; CPU of signalling for the \
             whole call, and for timers meanwhile, {cpu:.0} us"
        );
        let figure = if asleep.is_zero() {
            Figure::new("INVITE parsed to first application", us, "us", reference).at_most(40.0)
        } else {
            let name = "INVITE parsed to first application, machine asleep before";
            Figure::new(name, us, "us", reference)
        };
        figures.push(figure);
    }
    Ok(figures)
}

/// One call, from its INVITE until the exchange has forgotten it.
fn entry_us(inside: &Inside, telephone: &Telephone, call: usize) -> Result<f64> {
    let (entries, ns) = (
        &inside.counters.dialplan_entries,
        &inside.counters.dialplan_entry_ns,
    );
    let before = (entries.get(), ns.get());
    let started = Instant::now();
    telephone.call(call, "100")?;
    while entries.get() == before.0 || inside.shared.channels() > 0 {
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "call {call} is not over"
        );
        telephone.listen();
        // Sleeping here would let the machine sleep.
        std::thread::yield_now();
    }
    telephone.listen();
    Ok((ns.get() - before.1) as f64 / 1000.0)
}

fn parse_us(text: &str) -> Result<f64> {
    let bytes = bytes(text);
    const TIMES: u32 = 20_000;
    let started = Instant::now();
    for _ in 0..TIMES {
        let parsed = strowger_sip::Message::parse(black_box(bytes.clone()));
        ensure!(parsed.is_ok(), "the INVITE of the bench cannot be read");
        black_box(&parsed);
    }
    Ok(started.elapsed().as_nanos() as f64 / 1000.0 / f64::from(TIMES))
}

fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

/// Finding an extension among 100,000, half of them patterns.
pub fn matching() -> Result<Vec<Figure>> {
    let extens: Vec<String> = (0..ROWS / 2)
        .map(|number| format!("_7495{number:05}XX"))
        .chain((0..ROWS / 2).map(|number| format!("8495{number:07}")))
        .collect();
    let list: Vec<Row<'_>> = (1..)
        .zip(&extens)
        .map(|(id, exten)| Row {
            id,
            context: CONTEXT,
            exten,
            priority: 1,
            app: "NoOp",
            appdata: "",
        })
        .collect();
    let plan = strowger_dialplan::compile(&list, &[], &Applications, None);
    let table: FxHashMap<String, usize> = extens.iter().cloned().zip(0..).collect();
    let spread = |round: usize| (round * 7919) % (ROWS / 2);
    const ROUNDS: usize = 200_000;
    let time = |look: &dyn Fn(&str) -> bool, name: &dyn Fn(usize) -> String| -> Result<f64> {
        let names: Vec<String> = (0..ROUNDS).map(|round| name(spread(round))).collect();
        let started = Instant::now();
        for name in &names {
            ensure!(look(black_box(name)), "{name} is not found");
        }
        Ok(started.elapsed().as_nanos() as f64 / ROUNDS as f64)
    };
    let find = |name: &str| plan.find(&Query::new(CONTEXT, name, 1)).is_some();
    let full = |number: usize| format!("8495{number:07}");
    let dialled = |number: usize| format!("7495{number:05}12");
    let hash = time(&|name| table.contains_key(name), &full)?;
    let by_name = time(&find, &full)?;
    let by_pattern = time(&find, &dialled)?;
    let reference = format!("a hash map of the same names {hash:.0} ns");
    Ok(vec![
        Figure::new(
            "number found among 100,000 extensions",
            by_name,
            "ns",
            reference.clone(),
        ),
        Figure::new(
            "pattern found among 100,000 extensions",
            by_pattern,
            "ns",
            reference,
        ),
    ])
}

/// The rows of a large dialplan: 500 contexts with 40 numbers of five steps.
fn large(mark: &str) -> Vec<ExtensionRow> {
    let mut list = Vec::with_capacity(ROWS);
    for context in 0..500 {
        for exten in 0..40 {
            for (priority, app, appdata) in [
                (1, "NoOp", "call to ${EXTEN}"),
                (2, "MixMonitor", "${UNIQUEID}.wav,,${MIXMONITOR_COMMAND}"),
                (3, "Dial", "PJSIP/user-${EXTEN}-office,15,tT"),
                (4, "GotoIf", "$[\"${DIALSTATUS}\" = \"ANSWER\"]?5"),
                (5, "Hangup", ""),
            ] {
                let mut row = row(
                    list.len() + 1,
                    &(100 + exten).to_string(),
                    priority,
                    app,
                    appdata,
                );
                row.context = format!("office-{context}");
                if priority == 1 {
                    row.appdata.push_str(mark);
                }
                list.push(row);
            }
        }
    }
    list
}

/// Compiling a large dialplan.
pub fn compiling() -> Result<Vec<Figure>> {
    let list = large("");
    let borrowed: Vec<Row<'_>> = list
        .iter()
        .map(|row| Row {
            id: row.id,
            context: &row.context,
            exten: &row.exten,
            priority: row.priority,
            app: &row.app,
            appdata: &row.appdata,
        })
        .collect();
    let started = cpu::of_thread()?;
    let plan = strowger_dialplan::compile(&borrowed, &[], &Applications, None);
    let whole = cpu::of_thread()?.saturating_sub(started);
    let mut changed = borrowed.clone();
    if let Some(row) = changed.first_mut() {
        row.appdata = "changed";
    }
    let started = cpu::of_thread()?;
    black_box(strowger_dialplan::compile(
        &changed,
        &[],
        &Applications,
        Some(&plan),
    ));
    let again = cpu::of_thread()?.saturating_sub(started);
    // What cannot be spared: every row copied once.
    let started = cpu::of_thread()?;
    black_box(list.clone());
    let copy = cpu::of_thread()?.saturating_sub(started);
    let reference = format!(
        "of one core; again with one row changed {:.3} s; copying the rows {:.3} s",
        again.as_secs_f64(),
        copy.as_secs_f64()
    );
    Ok(vec![
        Figure::new(
            "compiling 100,000 rows",
            whole.as_secs_f64(),
            "s",
            reference,
        )
        .at_most(2.0),
    ])
}

/// How late calls are while a large dialplan is loaded anew.
pub fn reloading() -> Result<Vec<Figure>> {
    let calls = [
        ("100", "Set", "i=0"),
        ("100", "Set", "i=$[${i} + 1]"),
        ("100", "Wait", "0.02"),
        ("100", "Goto", "2"),
    ];
    let with = |mark: &str| {
        let mut list = large(mark);
        let mut own = rows(&calls);
        for row in &mut own {
            row.id += ROWS as i64;
        }
        list.append(&mut own);
        list
    };
    let inside = Inside::start(with(""), &[], Limits::default())?;
    let telephone = Telephone::new(inside.address)?;
    for call in 0..RUNNING {
        telephone.call(call, "100")?;
    }
    inside.wait("all calls run", || inside.shared.channels() == RUNNING)?;
    std::thread::sleep(Duration::from_millis(500));
    inside.heart.take();
    std::thread::sleep(Duration::from_secs(3));
    let (calm, _) = inside.heart.take();
    let started = Instant::now();
    for mark in ["a", "b", "c"] {
        inside.change(with(mark));
        std::thread::sleep(Duration::from_secs(1));
    }
    let took = started.elapsed();
    let (late, beats) = inside.heart.take();
    let reference = format!(
        "{RUNNING} calls, three reloads of 100,000 rows in {:.1} s, {beats} timers; without a reload {:.1} ms",
        took.as_secs_f64(),
        calm.as_secs_f64() * 1000.0
    );
    Ok(vec![
        Figure::new(
            "longest delay of a timer during reloads",
            late.as_secs_f64() * 1000.0,
            "ms",
            reference,
        )
        .at_most(20.0),
    ])
}

const SCRIPT: &str =
    "extensions = { bench = { ['200'] = function(context, exten) app.wait(600) end } }";

/// Lua memory of a call that waits in rows, and in a file of Lua.
pub fn suspended_calls(calls: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (exten, name) in [("100", "rows"), ("200", "a file of Lua")] {
        let inside = Inside::start(
            rows(&[("100", "Wait", "600")]),
            &[("bench.lua", SCRIPT)],
            Limits::default(),
        )?;
        let telephone = Telephone::new(inside.address)?;
        let memory = || inside.plans.counters().memory_bytes.load(Ordering::Relaxed);
        // What the first call loads is shared by all.
        telephone.call(0, exten)?;
        inside.wait("the first call waits", || {
            inside.counters.dialplan_entries.get() == 1
        })?;
        std::thread::sleep(Duration::from_millis(100));
        let before = memory();
        many(&inside, &telephone, 1..calls + 1, exten)?;
        let each = memory().saturating_sub(before) as f64 / calls as f64 / 1024.0;
        figures.push(
            Figure::new(
                &format!("Lua memory of a call that waits in {name}"),
                each,
                "KiB",
                format!("{calls} calls; the machine alone {} KiB", before / 1024),
            )
            .at_most(6.0),
        );
    }
    Ok(figures)
}

/// Begins calls, and waits until all of them are in the dialplan.
fn many(
    inside: &Inside,
    telephone: &Telephone,
    calls: std::ops::Range<usize>,
    exten: &str,
) -> Result<()> {
    let entries = &inside.counters.dialplan_entries;
    let start = entries.get();
    let mut begun = start;
    for call in calls {
        telephone.call(call, exten)?;
        begun += 1;
        inside.wait("the exchange keeps up", || {
            telephone.listen();
            entries.get() + ON_THE_WAY > begun
        })?;
    }
    inside.wait("the calls begin", || {
        telephone.listen();
        entries.get() >= begun
    })
}

/// The longest turn of the machine with many suspended calls, while others make garbage: of each second, and of these the
/// median. A machine that others share holds up any loop for milliseconds now and then; what collections take, they take
/// every time.
pub fn pausing(calls: usize, seconds: u64) -> Result<Vec<Figure>> {
    let mut list = loop_rows();
    list.extend(rows(&[("300", "Wait", "600")]));
    for (id, row) in (1..).zip(&mut list) {
        row.id = id;
    }
    let mut turns = Vec::new();
    for number in [0, calls] {
        // Every step goes through the machine: its garbage is what is collected.
        let inside = Inside::start(list.clone(), &[("bench.lua", SCRIPT)], machine(true))?;
        let telephone = Telephone::new(inside.address)?;
        many(&inside, &telephone, 0..number, "200")?;
        for call in 0..4 {
            telephone.call(calls + call, "100")?;
        }
        std::thread::sleep(Duration::from_millis(300));
        let counters = inside.plans.counters();
        let mut collections = Falls::default();
        let mut longest = Vec::new();
        for _ in 0..seconds.max(1) {
            counters.longest_turn_us.store(0, Ordering::Relaxed);
            let second = Instant::now();
            while second.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(5));
                collections.see(counters.memory_bytes.load(Ordering::Relaxed));
            }
            let us = counters.longest_turn_us.load(Ordering::Relaxed);
            longest.push(us as f64 / 1000.0);
        }
        turns.push((longest, collections.count));
    }
    let [(alone, _), (full, collections)] = &turns[..] else {
        anyhow::bail!("two runs were made");
    };
    ensure!(
        *collections >= seconds,
        "{collections} collections in {seconds} s: too few for each second to have one"
    );
    let bare = held_up(seconds.max(1));
    let worst = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    let usual = |all: &[f64]| median(all).context("no second");
    let reference = format!(
        "the median of {seconds} seconds, the longest of all {:.2} ms; {calls} calls wait in a file of Lua, each step a turn, \
         {:.1} collections a second; without these calls {:.2} and {:.2} ms; a loop that only looks at the clock was held up by \
         {:.2} and {:.2} ms",
        worst(full),
        *collections as f64 / seconds.max(1) as f64,
        usual(alone)?,
        worst(alone),
        usual(&bare)?,
        worst(&bare),
    );
    let name = "longest turn of the machine in a second";
    Ok(vec![
        Figure::new(name, usual(full)?, "ms", reference).at_most(2.0),
    ])
}

/// Counts how often memory fell by a tenth of what it had risen to.
#[derive(Default)]
struct Falls {
    count: u64,
    falling: bool,
    /// The most while it rises, the least while it falls.
    extreme: u64,
}

impl Falls {
    fn see(&mut self, bytes: u64) {
        let tenth = self.extreme / 10;
        let turns = if self.falling {
            bytes > self.extreme + tenth
        } else {
            bytes < self.extreme - tenth
        };
        if turns {
            self.falling = !self.falling;
            self.count += u64::from(self.falling);
        }
        self.extreme = match (turns, self.falling) {
            (true, _) => bytes,
            (false, true) => self.extreme.min(bytes),
            (false, false) => self.extreme.max(bytes),
        };
    }
}

/// How long a loop that never waits was held up at most, ms, of each second.
fn held_up(seconds: u64) -> Vec<f64> {
    let one = |_| {
        let begun = Instant::now();
        let (mut last, mut longest) = (begun, Duration::ZERO);
        while last - begun < Duration::from_secs(1) {
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        longest.as_secs_f64() * 1000.0
    };
    (0..seconds).map(one).collect()
}
