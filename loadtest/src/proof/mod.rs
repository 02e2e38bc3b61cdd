//! The whole proof: for each profile an exchange of its own is started, loaded, looked at and ended, and all results stand in
//! one page.

pub mod exchange;
mod recordings;

use crate::report::{self, Run};
use crate::run::{self, Options};
use crate::scenario::{Kind, Scenario, Talk};
use crate::{capacity, engine};
use anyhow::{Context as _, Result, bail, ensure};
use exchange::{Exchange, Plan};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A profile: a scenario, and what is different in the long proof.
pub struct Profile {
    pub name: &'static str,
    text: &'static str,
    /// What the long proof asks for: steps of so many calls, or with so many begun in a second, for so many seconds.
    full: &'static [(f64, f64)],
    /// What the recordings are called, if there are any.
    recorded: Option<&'static str>,
}

macro_rules! profile {
    ($name:literal, $full:expr, $recorded:expr) => {
        Profile {
            name: $name,
            text: include_str!(concat!("../../profiles/", $name, ".toml")),
            full: $full,
            recorded: $recorded,
        }
    };
}

/// All profiles, in the order they run.
pub const PROFILES: &[Profile] = &[
    profile!(
        "relay",
        &[
            (500.0, 60.0),
            (1000.0, 60.0),
            (1500.0, 60.0),
            (2000.0, 60.0)
        ],
        None
    ),
    profile!(
        "recorded-mono",
        &[(500.0, 120.0), (1000.0, 120.0)],
        Some("mono-")
    ),
    profile!(
        "recorded-stereo",
        &[(500.0, 120.0), (1500.0, 600.0)],
        Some("stereo-")
    ),
    profile!(
        "conference",
        &[(250.0, 60.0), (500.0, 60.0), (750.0, 60.0)],
        None
    ),
    profile!("ivr", &[(20.0, 60.0), (50.0, 60.0), (100.0, 60.0)], None),
    profile!(
        "transcoded",
        &[(50.0, 60.0), (100.0, 60.0), (150.0, 60.0)],
        None
    ),
    profile!(
        "registrations",
        &[
            (1000.0, 20.0),
            (2500.0, 20.0),
            (5000.0, 20.0),
            (7500.0, 20.0)
        ],
        None
    ),
    profile!(
        "setup",
        &[
            (500.0, 20.0),
            (1000.0, 20.0),
            (2000.0, 20.0),
            (2500.0, 20.0)
        ],
        None
    ),
    profile!(
        "originate",
        &[(20.0, 30.0), (50.0, 30.0), (100.0, 30.0)],
        None
    ),
    profile!(
        "day",
        &[(10.0, 60.0), (30.0, 120.0), (50.0, 300.0)],
        Some("day-")
    ),
];

/// What a proof is given.
#[derive(Clone, Debug)]
pub struct Proof {
    pub plan: Plan,
    pub out: PathBuf,
    /// Names of profiles; empty: all.
    pub profiles: Vec<String>,
    /// The long one.
    pub full: bool,
    /// Seconds of a relay at one load with memory looked at, at the end; 0: none.
    pub soak_s: f64,
    /// Calls at once of the soak.
    pub soak_calls: u32,
    /// Profiles whose capacity is searched instead.
    pub capacity: Option<capacity::Search>,
    pub core: Option<usize>,
    pub realtime: bool,
    pub progress: bool,
    pub command: String,
    pub stop: Arc<AtomicBool>,
}

/// A profile's name, what it says, and how it went.
struct Done {
    name: String,
    passed: bool,
    run: Option<Run>,
    text: String,
}

/// A profile by its name.
pub fn profile(name: &str) -> Result<&'static Profile> {
    PROFILES
        .iter()
        .find(|profile| profile.name == name)
        .with_context(|| {
            let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
            format!(
                "there is no profile {name:?}; there are {}",
                names.join(", ")
            )
        })
}

impl Profile {
    /// Its scenario, for telephones at these addresses.
    pub fn scenario(&self, full: bool, exchange: &Exchange) -> Result<Scenario> {
        let mut scenario = Scenario::parse(self.text).with_context(|| self.name)?;
        place(&mut scenario, exchange);
        if full {
            let first = scenario.steps[0];
            scenario.steps = self
                .full
                .iter()
                .map(|&(load, seconds)| {
                    let mut step = first;
                    match first.calls {
                        Some(_) => {
                            step.calls = Some(load as u32);
                            step.seconds = seconds + load / first.rate;
                        }
                        None => {
                            step.rate = load;
                            step.seconds = seconds;
                        }
                    }
                    step
                })
                .collect();
        }
        scenario.check()?;
        Ok(scenario)
    }
}

/// Puts the telephones where the exchange looks for them.
fn place(scenario: &mut Scenario, exchange: &Exchange) {
    scenario.server = Some(exchange.sip());
    scenario.caller.address = match scenario.kind {
        // Who calls from the callers' address is known by it, and has nothing to register.
        Kind::Registrations => SocketAddr::new(exchange.sip().ip(), 5070),
        _ => SocketAddr::from((exchange.caller(), 5060)),
    };
    scenario.callee.address = SocketAddr::from((exchange.callee(), 5060));
    if let Some(originate) = &mut scenario.originate {
        originate.manager = exchange.manager();
    }
}

/// Runs the proof. `true`: everything was good enough.
pub fn prove(proof: &Proof) -> Result<bool> {
    std::fs::create_dir_all(&proof.out)
        .with_context(|| format!("cannot make {}", proof.out.display()))?;
    let chosen: Vec<&Profile> = if proof.profiles.is_empty() {
        PROFILES.iter().collect()
    } else {
        proof
            .profiles
            .iter()
            .map(|name| profile(name))
            .collect::<Result<_>>()?
    };
    let mut done = Vec::new();
    for profile in chosen {
        eprintln!("== {}", profile.name);
        let result = if proof.capacity.is_some() {
            search(proof, profile)
        } else {
            one(
                proof,
                profile.name,
                profile,
                profile.scenario_maker(proof.full),
            )
        };
        done.push(result.unwrap_or_else(|error| Done {
            name: profile.name.to_owned(),
            passed: false,
            run: None,
            text: format!("could not be run: {error:#}\n"),
        }));
        write_summary(proof, &done)?;
        if proof.stop.load(Ordering::Relaxed) {
            bail!("stopped");
        }
    }
    if proof.soak_s > 0.0 {
        eprintln!("== soak");
        let calls = proof.soak_calls;
        let seconds = proof.soak_s;
        let make = move |exchange: &Exchange| -> Result<Scenario> {
            let mut scenario = profile("relay")?.scenario(false, exchange)?;
            scenario.title = format!("Soak: {calls} calls for {seconds} s");
            let mut step = scenario.steps[0];
            step.calls = Some(calls);
            // Calls come and go all the time: what leaks with a call is seen, too.
            scenario.call.length = crate::scenario::Length::Exponential { mean: 30.0 };
            step.seconds = f64::from(calls) / step.rate + (seconds / 10.0).max(10.0);
            let mut long = step;
            long.seconds = seconds;
            scenario.steps = vec![step, long];
            scenario.limits.memory_growth_percent = Some(2.0);
            scenario.check()?;
            Ok(scenario)
        };
        let result = one(proof, "soak", profile("relay")?, make);
        done.push(result.unwrap_or_else(|error| Done {
            name: "soak".to_owned(),
            passed: false,
            run: None,
            text: format!("could not be run: {error:#}\n"),
        }));
    }
    write_summary(proof, &done)?;
    Ok(done.iter().all(|done| done.passed))
}

impl Profile {
    fn scenario_maker(&'static self, full: bool) -> impl Fn(&Exchange) -> Result<Scenario> {
        move |exchange| self.scenario(full, exchange)
    }
}

fn options(proof: &Proof, exchange: &Exchange) -> Options {
    Options {
        server: Some(exchange.sip()),
        pid: Some(exchange.pid()),
        core: proof.core,
        realtime: proof.realtime,
        i_own_this: false,
        progress: proof.progress,
        subject: exchange.subject(),
        command: proof.command.clone(),
        stop: Arc::clone(&proof.stop),
    }
}

fn plan_for(proof: &Proof, kind: Kind) -> Plan {
    let mut plan = proof.plan.clone();
    if kind == Kind::Registrations {
        plan.users = plan.users.max(2000);
    }
    plan
}

fn one(
    proof: &Proof,
    name: &str,
    profile: &Profile,
    make: impl Fn(&Exchange) -> Result<Scenario>,
) -> Result<Done> {
    let folder = proof.out.join(name);
    let kind = Scenario::parse(profile.text)?.kind;
    let mut exchange = Exchange::start(&plan_for(proof, kind))?;
    let scenario = make(&exchange)?;
    let (_, result) = run::run(&scenario, &options(proof, &exchange), &folder)
        .with_context(|| format!("the exchange's log:\n{}", exchange.log()))?;
    report::write(&folder)?;
    let mut passed = result.passed();
    let mut text = String::new();
    for fault in &result.faults {
        let _ = writeln!(text, "- fault: {fault}");
    }
    for doubt in &result.doubts {
        let _ = writeln!(text, "- doubt: {doubt}");
    }
    exchange.stop()?;
    if let Some(prefix) = profile.recorded.filter(|_| name != "soak") {
        match check_recordings(&exchange.recordings(), prefix, &result.outcome) {
            Ok(told) => {
                let _ = writeln!(text, "- {told}");
            }
            Err(error) => {
                passed = false;
                let _ = writeln!(text, "- fault: {error:#}");
            }
        }
    }
    eprintln!("{}{text}", if passed { "passed\n" } else { "FAILED\n" });
    let run = Run::load(&folder)?;
    Ok(Done {
        name: name.to_owned(),
        passed,
        run: Some(run),
        text,
    })
}

/// The server's recordings have to hold what was said.
fn check_recordings(folder: &Path, prefix: &str, outcome: &engine::Outcome) -> Result<String> {
    let found = recordings::look(folder, prefix)?;
    let answered = outcome.totals.answered;
    let all = prefix != "day-";
    ensure!(
        !all || found.files as u64 == answered,
        "{answered} calls were answered, and there are {} recordings",
        found.files
    );
    ensure!(found.files > 0, "there are no recordings");
    if prefix == "mono-" {
        ensure!(
            found.silent == 0,
            "{} of {} recordings are silent",
            found.silent,
            found.files
        );
        return Ok(format!(
            "{} recordings; of {} that were read none is silent",
            found.files, found.looked_at
        ));
    }
    ensure!(
        found.missing == 0 && found.packets > 0,
        "of the packets said in {} recordings {} are there and {} are missing ({})",
        found.looked_at,
        found.packets,
        found.missing,
        found.example.as_deref().unwrap_or_default()
    );
    ensure!(
        found.not_both == 0,
        "{} of {} recordings do not hold both sides of one call",
        found.not_both,
        found.looked_at
    );
    Ok(format!(
        "{} recordings; in {} that were read, all {} packets of both sides are there, bit by bit",
        found.files, found.looked_at, found.packets
    ))
}

fn search(proof: &Proof, profile: &'static Profile) -> Result<Done> {
    let folder = proof.out.join(format!("capacity-{}", profile.name));
    let Some(search) = proof.capacity else {
        bail!("no search");
    };
    let mut scenario = Scenario::parse(profile.text)?;
    if scenario.call.talk == Talk::Signature && scenario.kind != Kind::Registrations {
        scenario.limits.delay_p99_ms.get_or_insert(20.0);
    }
    scenario.limits.setup_p99_ms.get_or_insert(500.0);
    let plan = plan_for(proof, scenario.kind);
    let found = capacity::find(&scenario, search, |n, trial| {
        if proof.stop.load(Ordering::Relaxed) {
            bail!("stopped");
        }
        // One of its own for each trial: nothing is left of the one before.
        let mut exchange = Exchange::start(&plan)?;
        let mut trial = trial.clone();
        place(&mut trial, &exchange);
        let folder = folder.join(format!("trial-{n}"));
        let (_, result) = run::run(&trial, &options(proof, &exchange), &folder)?;
        exchange.stop()?;
        Ok(result)
    })?;
    let text = found.markdown(&scenario.title, &proof.command);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("capacity.md"), &text)?;
    std::fs::write(
        folder.join("capacity.json"),
        serde_json::to_vec_pretty(&found)?,
    )?;
    Ok(Done {
        name: format!("capacity of {}", profile.name),
        passed: found.knee.is_some(),
        run: None,
        text: text
            .lines()
            .skip(1)
            .map(|line| format!("{line}\n"))
            .collect(),
    })
}

fn write_summary(proof: &Proof, done: &[Done]) -> Result<()> {
    let mut text = format!("# Load tests\n\n`{}`\n", proof.command);
    if let Some(run) = done.iter().find_map(|done| done.run.as_ref()) {
        let machine = &run.begin.machine;
        let _ = writeln!(
            text,
            "\n{} cores of {}, {} MiB, Linux {}; the generator on the same machine.\n\n{}",
            machine.cores, machine.processor, machine.memory_mib, machine.kernel, run.begin.subject
        );
    }
    for done in done {
        let _ = writeln!(
            text,
            "\n## {}: {}\n",
            done.name,
            if done.passed { "passed" } else { "FAILED" }
        );
        if let Some(run) = &done.run {
            let _ = writeln!(text, "{}\n", run.begin.scenario.title);
            text.push_str(&report::markdown::steps(&run.result.steps));
            text.push('\n');
        }
        text.push_str(&done.text);
    }
    let runs: Vec<Run> = done.iter().filter_map(|done| done.run.clone()).collect();
    std::fs::write(proof.out.join("summary.md"), &text)?;
    std::fs::write(proof.out.join("summary.html"), report::html::page(&runs))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_a_good_scenario() {
        for profile in PROFILES {
            let scenario = Scenario::parse(profile.text).expect(profile.name);
            assert!(!profile.full.is_empty(), "{}", profile.name);
            assert!(
                scenario.seconds() <= 65.0,
                "{} is long for the short proof",
                profile.name
            );
        }
        assert!(profile("nothing").is_err());
    }
}
