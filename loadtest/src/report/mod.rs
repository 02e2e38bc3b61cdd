//! Reports of runs: Markdown for people and repositories, one HTML file with plots that needs nothing else, and the
//! comparison of two runs. Everything comes from the raw data, so a report can be made again at any time.

pub mod html;
pub mod markdown;
pub mod plot;

use crate::run::{Begin, RunResult, Second, StepResult};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A run as it is reported.
#[derive(Clone, Debug)]
pub struct Run {
    /// A word for it in comparisons.
    pub name: String,
    pub begin: Begin,
    pub seconds: Vec<Second>,
    pub result: RunResult,
}

impl Run {
    /// Reads the raw data that a run left.
    pub fn load(path: &Path) -> Result<Self> {
        let (begin, seconds, result) = crate::run::load(path)?;
        Ok(Self {
            name: begin.scenario.title.clone(),
            begin,
            seconds,
            result,
        })
    }
}

/// Writes `report.md` and `report.html` beside the raw data in `folder`.
pub fn write(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let run = Run::load(folder)?;
    let save = |name: &str, text: String| -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    Ok((
        save("report.md", markdown::run(&run))?,
        save("report.html", html::page(std::slice::from_ref(&run)))?,
    ))
}

/// A figure of a run: its name, its unit, whether less is better, and its value where there is one.
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub less_is_better: bool,
    pub value: Option<f64>,
}

/// The figures by which runs are compared.
pub fn figures(run: &Run) -> Vec<Figure> {
    let totals = &run.result.outcome.totals;
    // The busiest step is what a run is about.
    let step = busiest(&run.result.steps);
    let figure = |name, unit, less_is_better, value| Figure {
        name,
        unit,
        less_is_better,
        value,
    };
    let of = |value: fn(&StepResult) -> f64| step.map(value).filter(|value| *value > 0.0);
    let calls = of(|step| step.calls);
    let cpu = step.and_then(|step| step.cpu_percent);
    let said = (totals.lost + totals.heard.right) as f64;
    let delay = Some(&run.result.outcome.delay).filter(|delay| delay.count > 0);
    let setup = Some(&run.result.outcome.setup).filter(|setup| setup.count > 0);
    vec![
        figure("calls up", "", false, calls),
        figure("answered", "/s", false, of(|step| step.answered_per_second)),
        figure(
            "REGISTER requests",
            "/s",
            false,
            of(|step| step.requests_per_second),
        ),
        figure(
            "packets heard",
            "/s",
            false,
            of(|step| step.packets_per_second),
        ),
        figure("CPU of the server", "% of a core", true, cpu),
        figure(
            "CPU for each call up",
            "% of a core",
            true,
            cpu.zip(calls).map(|(cpu, calls)| cpu / calls),
        ),
        figure(
            "memory at the end",
            "MiB",
            true,
            step.and_then(|step| step.memory).map(mib),
        ),
        figure(
            "failed",
            "%",
            true,
            Some(100.0 * totals.failed as f64 / totals.begun.max(1) as f64),
        ),
        figure(
            "packets lost",
            "%",
            true,
            (said > 0.0).then(|| 100.0 * totals.lost as f64 / said),
        ),
        figure("delay p50", "ms", true, delay.map(|delay| delay.p50_ms)),
        figure("delay p99", "ms", true, delay.map(|delay| delay.p99_ms)),
        figure("delay p99.9", "ms", true, delay.map(|delay| delay.p999_ms)),
        figure(
            "delay, longest",
            "ms",
            true,
            delay.map(|delay| delay.max_ms),
        ),
        figure("set-up p50", "ms", true, setup.map(|setup| setup.p50_ms)),
        figure("set-up p99", "ms", true, setup.map(|setup| setup.p99_ms)),
    ]
}

/// The step with the most calls, or of those without media the most requests.
pub fn busiest(steps: &[StepResult]) -> Option<&StepResult> {
    let weight = |step: &StepResult| {
        (
            step.calls,
            step.answered_per_second + step.requests_per_second,
        )
    };
    steps
        .iter()
        .filter(|step| step.seconds > 0.0)
        .max_by(|a, b| {
            let (a, b) = (weight(a), weight(b));
            a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
        })
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Two runs beside each other, as Markdown.
pub fn compare(a: &Run, b: &Run) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# {} beside {}\n", a.name, b.name);
    for (letter, run) in [("A", a), ("B", b)] {
        let _ = writeln!(
            text,
            "- {letter}: {}, {}, {}, {} cores of {}, `{}`",
            run.name,
            if run.result.passed() {
                "passed"
            } else {
                "FAILED"
            },
            run.begin.subject,
            run.begin.machine.cores,
            run.begin.machine.processor,
            run.begin.command
        );
    }
    if a.begin.machine.processor != b.begin.machine.processor
        || a.begin.machine.cores != b.begin.machine.cores
    {
        let _ = writeln!(
            text,
            "\n**The machines differ: the ratios say as much about them as about the servers.**"
        );
    }
    let asked = |run: &Run| {
        let scenario = &run.begin.scenario;
        serde_json::to_string(&(&scenario.kind, &scenario.call, &scenario.steps))
            .unwrap_or_default()
    };
    if asked(a) != asked(b) {
        let _ = writeln!(
            text,
            "\n**The scenarios differ: these are not the same calls.**"
        );
    }
    let _ = writeln!(text, "\n| | A | B | B / A | |\n|---|---|---|---|---|");
    for (a, b) in figures(a).into_iter().zip(figures(b)) {
        if a.value.is_none() && b.value.is_none() {
            continue;
        }
        let ratio = a
            .value
            .zip(b.value)
            .filter(|(a, _)| *a > 0.0)
            .map(|(a, b)| b / a);
        let verdict = match ratio {
            None if a.less_is_better
                && a.value == Some(0.0)
                && b.value.is_some_and(|b| b > 0.0) =>
            {
                "A is better"
            }
            Some(ratio) if (0.95..=1.05).contains(&ratio) => "the same within 5 %",
            Some(ratio) if (ratio < 1.0) == a.less_is_better => "B is better",
            Some(_) => "A is better",
            None => "",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {verdict} |",
            a.name,
            shown(a.value, a.unit),
            shown(b.value, a.unit),
            shown(ratio, "")
        );
    }
    text
}

/// A number with as many digits as it deserves.
pub fn shown(value: Option<f64>, unit: &str) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.01 => 3,
        _ => 5,
    };
    let unit = match unit {
        "" => String::new(),
        unit if unit.starts_with('/') => unit.to_owned(),
        unit => format!(" {unit}"),
    };
    format!("{value:.digits$}{unit}")
}
