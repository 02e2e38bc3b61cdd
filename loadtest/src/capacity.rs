//! How much a server carries: more and more, step by step, until something is not good enough; then the middle between the
//! best good and the worst bad number, until both are near; then the same numbers again, since one run says little.

use crate::run::RunResult;
use crate::scenario::{CALLS_MAX, Length, RATE_MAX, Scenario};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Runs of one search, at most.
const TRIALS_MAX: usize = 40;

/// How a search goes on.
#[derive(Copy, Clone, Debug)]
pub struct Search {
    /// The first number.
    pub from: f64,
    /// Never more than this.
    pub most: f64,
    /// Each number is so many times the one before, until one is not good enough.
    pub factor: f64,
    /// The search ends when good and bad numbers are so near, as a part of them.
    pub nearness: f64,
    /// How often the numbers around the knee are tried again.
    pub repeats: usize,
    /// Length of a trial once the number is reached, in seconds.
    pub seconds: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            from: 100.0,
            most: 20_000.0,
            factor: 1.5,
            nearness: 0.05,
            repeats: 3,
            seconds: 10.0,
        }
    }
}

/// One trial.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Trial {
    /// Calls at once, or begun in a second where they have a length.
    pub load: f64,
    pub good: bool,
    /// What was not good enough.
    pub faults: Vec<String>,
    pub doubts: Vec<String>,
    pub cpu_percent: Option<f64>,
    pub delay_p99_ms: f64,
    pub setup_p99_ms: f64,
    pub late_ms: f64,
    /// Load for each core of CPU that the server used.
    pub per_core: Option<f64>,
}

/// What a search found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Found {
    /// "calls" or "a second".
    pub unit: String,
    pub trials: Vec<Trial>,
    /// The largest number that was good every time; `None`: not even the first.
    pub knee: Option<f64>,
    /// Of repeats at the knee: the least, middle and largest load for each core of CPU used.
    pub per_core: Option<[f64; 3]>,
}

/// A scenario at one load: calls at once where calls last to the end, otherwise calls begun in a second.
pub fn at(scenario: &Scenario, load: f64, seconds: f64) -> Scenario {
    let mut scenario = scenario.clone();
    let mut step = scenario
        .steps
        .last()
        .copied()
        .unwrap_or(crate::scenario::Step {
            seconds,
            calls: None,
            rate: load,
            rate_to: None,
            arrivals: crate::scenario::Arrivals::Even,
        });
    step.rate_to = None;
    if is_calls(&scenario) {
        let calls = (load as u32).clamp(1, CALLS_MAX);
        step.calls = Some(calls);
        // The ramp is not part of the trial.
        step.seconds = seconds + f64::from(calls) / step.rate + 1.0;
    } else {
        step.calls = None;
        step.rate = load.clamp(0.01, RATE_MAX);
        step.seconds = seconds + 1.0;
    }
    scenario.steps = vec![step];
    scenario
}

fn is_calls(scenario: &Scenario) -> bool {
    scenario.kind != crate::scenario::Kind::Registrations && scenario.call.length == Length::End
}

/// Searches. `run` runs a scenario; its number counts the trials.
pub fn find(
    scenario: &Scenario,
    search: Search,
    mut run: impl FnMut(usize, &Scenario) -> Result<RunResult>,
) -> Result<Found> {
    ensure!(
        search.factor > 1.0,
        "factor: {}; more than 1 is wanted",
        search.factor
    );
    ensure!(
        search.from >= 1.0,
        "from: {}; at least 1 is wanted",
        search.from
    );
    let mut trials: Vec<Trial> = Vec::new();
    let mut attempt = |load: f64, trials: &mut Vec<Trial>| -> Result<bool> {
        let trial = match run(trials.len(), &at(scenario, load, search.seconds)) {
            Ok(result) => trial(load, &result, is_calls(scenario)),
            Err(error) => Trial::broken(load, &error),
        };
        eprintln!(
            "{load:.0}: {}",
            if trial.good {
                "good".to_owned()
            } else {
                trial.faults.join("; ")
            }
        );
        trials.push(trial);
        Ok(trials.last().is_some_and(|trial| trial.good))
    };
    let most = if is_calls(scenario) {
        search
            .most
            .min(f64::from(CALLS_MAX.min(scenario.limits.calls)))
    } else {
        search.most.min(RATE_MAX)
    };
    let (mut good, mut bad) = (None, None);
    let mut load = search.from.min(most);
    while trials.len() < TRIALS_MAX {
        if !attempt(load, &mut trials)? {
            bad = Some(load);
            break;
        }
        good = Some(load);
        if load >= most {
            break;
        }
        load = (load * search.factor).round().min(most);
    }
    while let (Some(low), Some(high)) = (good, bad) {
        if trials.len() >= TRIALS_MAX || high - low <= (search.nearness * low).max(1.0) {
            break;
        }
        let middle = f64::midpoint(low, high).round();
        if attempt(middle, &mut trials)? {
            good = Some(middle);
        } else {
            bad = Some(middle);
        }
    }
    // Good once is not good: the knee is what is good every time.
    let mut knee = good;
    while let Some(load) = knee {
        let mut all = true;
        for _ in 0..search.repeats {
            if !all {
                break;
            }
            // What could not be repeated is not proven.
            all = trials.len() < TRIALS_MAX && attempt(load, &mut trials)?;
        }
        if all {
            break;
        }
        let lower = (load * (1.0 - search.nearness)).floor();
        knee = (lower >= 1.0 && trials.len() < TRIALS_MAX).then_some(lower);
    }
    let mut per_core: Vec<f64> = trials
        .iter()
        .filter(|trial| Some(trial.load) == knee && trial.good)
        .filter_map(|trial| trial.per_core)
        .collect();
    per_core.sort_by(f64::total_cmp);
    Ok(Found {
        unit: if is_calls(scenario) {
            "calls"
        } else {
            "a second"
        }
        .to_owned(),
        knee,
        per_core: per_core
            .first()
            .zip(per_core.get(per_core.len() / 2))
            .zip(per_core.last())
            .map(|((least, middle), most)| [*least, *middle, *most]),
        trials,
    })
}

impl Trial {
    /// One that could not be run.
    fn broken(load: f64, error: &anyhow::Error) -> Self {
        Self {
            load,
            good: false,
            faults: vec![format!("could not be run: {error:#}")],
            doubts: Vec::new(),
            cpu_percent: None,
            delay_p99_ms: 0.0,
            setup_p99_ms: 0.0,
            late_ms: 0.0,
            per_core: None,
        }
    }
}

fn trial(load: f64, result: &RunResult, is_calls: bool) -> Trial {
    let step = crate::report::busiest(&result.steps);
    let cpu_percent = step.and_then(|step| step.cpu_percent);
    let carried = step.map_or(0.0, |step| {
        if is_calls {
            step.calls
        } else {
            step.answered_per_second
        }
    });
    let carried = if carried > 0.0 { carried } else { load };
    Trial {
        load,
        good: result.passed(),
        faults: result.faults.clone(),
        doubts: result.doubts.clone(),
        cpu_percent,
        delay_p99_ms: result.outcome.delay.p99_ms,
        setup_p99_ms: result.outcome.setup.p99_ms,
        late_ms: result.outcome.late_ms,
        per_core: cpu_percent
            .filter(|cpu| *cpu > 0.0)
            .map(|cpu| carried / cpu * 100.0),
    }
}

impl Found {
    /// As Markdown.
    pub fn markdown(&self, title: &str, command: &str) -> String {
        let mut text = format!("# Capacity: {title}\n\n`{command}`\n\n");
        match self.knee {
            Some(knee) => {
                let _ = writeln!(text, "**{knee:.0} {}** were good every time.", self.unit);
            }
            None => text.push_str("Not even the first number was good.\n"),
        }
        if let Some([least, middle, most]) = self.per_core {
            let _ = writeln!(
                text,
                "For each core of CPU that the server used: {middle:.0} {} ({least:.0} to {most:.0}).",
                self.unit
            );
        }
        if self
            .trials
            .iter()
            .any(|trial| !trial.good && !trial.doubts.is_empty())
        {
            text.push_str("The generator itself was in doubt in trials that were not good: the limit may be its own.\n");
        }
        text.push_str(
            "\n| load | | CPU % | delay p99 ms | set-up p99 ms | generator late ms | why |\n|---|---|---|---|---|---|---|\n",
        );
        for trial in &self.trials {
            let why: Vec<&str> = trial
                .faults
                .iter()
                .chain(&trial.doubts)
                .map(String::as_str)
                .collect();
            let _ = writeln!(
                text,
                "| {:.0} | {} | {} | {:.2} | {:.2} | {:.1} | {} |",
                trial.load,
                if trial.good { "good" } else { "bad" },
                crate::report::shown(trial.cpu_percent, ""),
                trial.delay_p99_ms,
                trial.setup_p99_ms,
                trial.late_ms,
                why.join("; ").replace('|', "/"),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Outcome;
    use crate::engine::totals::{Percentiles, Totals};
    use crate::run::StepResult;

    fn result(load: f64, good: bool) -> RunResult {
        let step = StepResult {
            seconds: 5.0,
            calls: load,
            cpu_percent: Some(load / 10.0),
            ..StepResult::default()
        };
        RunResult {
            outcome: Outcome {
                totals: Totals::default(),
                delay: Percentiles::default(),
                setup: Percentiles::default(),
                jitter: Percentiles::default(),
                late_ms: 0.0,
                odd_calls: Vec::new(),
                interrupted: false,
            },
            steps: vec![step],
            process_before: None,
            process_after: None,
            faults: if good {
                Vec::new()
            } else {
                vec!["lost".to_owned()]
            },
            doubts: Vec::new(),
        }
    }

    fn scenario() -> Scenario {
        Scenario::parse("title = \"x\"\n[call]\ndial = \"9{call}\"\n[[steps]]\nseconds = 2\ncalls = 20\nrate = 100\n")
            .expect("a scenario")
    }

    fn load_of(scenario: &Scenario) -> f64 {
        f64::from(scenario.steps[0].calls.expect("calls"))
    }

    #[test]
    fn the_knee_of_a_server_is_found() {
        let found = find(&scenario(), Search::default(), |_, scenario| {
            let load = load_of(scenario);
            Ok(result(load, load <= 730.0))
        })
        .expect("found");
        let knee = found.knee.expect("a knee");
        assert!((690.0..=730.0).contains(&knee), "{found:?}");
        assert_eq!(found.per_core, Some([1000.0; 3]));
        let at_knee = found.trials.iter().filter(|trial| trial.load == knee);
        assert_eq!(at_knee.count(), 4, "once and three times more");
        assert!(
            found
                .markdown("x", "y")
                .contains(&format!("**{knee:.0} calls**"))
        );
    }

    #[test]
    fn what_is_good_only_once_is_not_the_knee() {
        let mut tries = 0;
        let found = find(&scenario(), Search::default(), |_, scenario| {
            let load = load_of(scenario);
            // Between 600 and 730 it is good the first time only.
            tries += i32::from(load > 600.0);
            Ok(result(load, load <= 600.0 || (load <= 730.0 && tries < 6)))
        })
        .expect("found");
        assert!(
            found.knee.is_some_and(|knee| knee <= 600.0 && knee > 500.0),
            "{found:?}"
        );
        let none = find(&scenario(), Search::default(), |_, scenario| {
            Ok(result(load_of(scenario), false))
        })
        .expect("searched");
        assert_eq!((none.knee, none.per_core), (None, None));
    }

    #[test]
    fn a_load_is_calls_or_a_rate() {
        let calls = at(&scenario(), 300.0, 10.0);
        assert_eq!(calls.steps[0].calls, Some(300));
        assert!(
            (calls.steps[0].seconds - 14.0).abs() < 1e-9,
            "the ramp is added"
        );
        let mut short = scenario();
        short.call.length = Length::Fixed { seconds: 1.0 };
        let rate = at(&short, 300.0, 10.0);
        assert_eq!((rate.steps[0].calls, rate.steps[0].rate), (None, 300.0));
    }
}
