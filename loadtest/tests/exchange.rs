//! The generator, the profiles and the SIPp runner against the built exchange.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use strowger_loadtest::proof;
use strowger_loadtest::proof::exchange::{Exchange, Plan};
use strowger_loadtest::run::{self, Options};
use strowger_loadtest::scenario::{Scenario, Step};

/// The exchange's program beside the test's own, or the one that `STROWGER_BINARY` names.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STROWGER_BINARY") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a running test has a path");
    let folder = own
        .parent()
        .and_then(|folder| folder.parent())
        .expect("a folder");
    let path = folder.join("strowger");
    assert!(
        path.exists(),
        "{} is missing: `cargo build` makes it",
        path.display()
    );
    path
}

fn plan(users: u32) -> Plan {
    Plan {
        binary: binary(),
        cores: "all".to_owned(),
        database: String::new(),
        users,
        tls: false,
        more: String::new(),
    }
}

fn profile(name: &str, exchange: &Exchange, steps: &[Step]) -> Scenario {
    let profile = proof::profile(name).expect("a profile");
    let mut scenario = profile.scenario(false, exchange).expect("a scenario");
    scenario.steps = steps.to_vec();
    scenario
}

fn step(seconds: f64, calls: Option<u32>, rate: f64) -> Step {
    let mut step =
        Scenario::parse("title=\"x\"\n[call]\ndial=\"{call}\"\n[[steps]]\nseconds=1\ncalls=1")
            .expect("a scenario")
            .steps[0];
    step.seconds = seconds;
    step.calls = calls;
    step.rate = rate;
    step
}

fn options(exchange: &Exchange) -> Options {
    Options {
        pid: Some(exchange.pid()),
        ..Options::default()
    }
}

#[test]
fn twenty_bridged_calls_hear_each_other_both_ways() {
    let exchange = Exchange::start(&plan(0)).expect("an exchange");
    let mut scenario = profile("relay", &exchange, &[step(2.5, Some(20), 40.0)]);
    scenario.record.calls = vec![3];
    let folder = tempfile::tempdir().expect("a folder");
    let (_, result) = run::run(&scenario, &options(&exchange), folder.path()).expect("a run");
    let totals = &result.outcome.totals;
    assert!(
        result.passed(),
        "{:?} {:?}",
        result.faults,
        result.outcome.odd_calls
    );
    assert_eq!((totals.answered, totals.completed), (20, 20));
    assert_eq!((totals.heard.right, totals.lost), (totals.sent, 0));
    // Forty legs for a second and more.
    assert!(totals.sent > 40 * 50, "{}", totals.sent);
    assert!(result.steps[0].cpu_percent.is_some_and(|cpu| cpu > 0.0));
    for side in ["caller", "callee"] {
        let path = folder.path().join(format!("heard/call-3-{side}.wav"));
        let (rate, channels) = strowger_loadtest::talk::wav::load(&path).expect("a recording");
        assert!(
            rate == 8000 && channels[0].len() > 8000,
            "{side}: {}",
            channels[0].len()
        );
    }
}

#[test]
fn every_kind_of_call_works_with_the_exchange() {
    let exchange = Exchange::start(&plan(20)).expect("an exchange");
    let short = [step(3.0, Some(4), 20.0)];
    let few = [step(1.0, None, 4.0)];
    for (name, steps) in [
        ("conference", &[step(4.0, Some(10), 40.0)][..]),
        ("transcoded", &short),
        ("ivr", &few),
        ("originate", &few),
        ("setup", &[step(1.0, None, 20.0)][..]),
        ("registrations", &[step(1.0, None, 30.0)][..]),
        ("recorded-stereo", &short),
    ] {
        let mut scenario = profile(name, &exchange, steps);
        scenario.caller.users = scenario.caller.users.min(20);
        // Other tests run beside this one: a jitter buffer may have nothing for a moment.
        scenario.limits.lost_percent = 1.0;
        let folder = tempfile::tempdir().expect("a folder");
        let (_, result) = run::run(&scenario, &options(&exchange), folder.path()).expect(name);
        let totals = &result.outcome.totals;
        assert!(
            result.passed(),
            "{name}: {:?} {:?}",
            result.faults,
            result.outcome.odd_calls
        );
        assert!(
            totals.begun >= 3 && totals.completed == totals.begun,
            "{name}: {totals:?}"
        );
    }
}

#[test]
fn sipp_scenarios_pass_and_a_wrong_outcome_does_not() {
    let own = env!("CARGO_BIN_EXE_strowger-loadtest");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sipp");
    let run = |names: &[&str], more: &[&str]| {
        let output = Command::new(own)
            .arg("sipp")
            .args(names)
            .args([
                "--exchange",
                "--scenarios",
                folder,
                "--calls",
                "2",
                "--binary",
            ])
            .arg(binary())
            .args(more)
            .output()
            .expect("the runner");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run(&["call", "bridged", "busy", "options"], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("ok ")).count(),
        4,
        "{text}"
    );
    // A number that nobody has.
    let (code, text) = run(&["call"], &["--number", "0000"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("FAIL  call") && text.contains("0 of 2 calls went through"),
        "{text}"
    );
}

#[test]
fn other_machines_are_not_aimed_at() {
    let own = env!("CARGO_BIN_EXE_strowger-loadtest");
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/relay.toml");
    let far: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
    let output = Command::new(own)
        .args(["run", scenario, "--server", &far.to_string()])
        .output()
        .expect("the generator");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--i-own-this"), "{text}");
}
