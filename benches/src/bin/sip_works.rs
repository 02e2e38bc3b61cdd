//! What signalling takes: CPU of answered and bridged calls and of registrations, memory of dialogs and contacts. Each figure
//! is printed beside a reference of the same run.
//!
//! `sip_works [--work NAME]... [--seconds 4] [--contacts 100000] [--calls 1000] [--check]`. With `--check` it fails when a
//! figure is worse than its target. Calls and registrations run for 33 s before they are counted, until as many transactions
//! end as begin. The exchange runs in this process with one shard; the CPU time of the telephones, which
//! are one thread, is not counted.

use anyhow::{Context, Result, bail, ensure};
use strowger_benches::dialplan::CALLS_MAX;
use strowger_benches::signalling::{answered, bridged, contacts, dialogs, registering};

const WORKS: [&str; 5] = ["answered", "bridged", "register", "contacts", "dialogs"];

fn main() -> Result<()> {
    let mut works: Vec<String> = Vec::new();
    let (mut seconds, mut many, mut calls, mut check) = (4_u64, 100_000_usize, 1000_usize, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--work" => works.push(value()?),
            "--seconds" => seconds = value()?.parse().context("--seconds is a number")?,
            "--contacts" => many = value()?.parse().context("--contacts is a number")?,
            "--calls" => calls = value()?.parse().context("--calls is a number")?,
            "--check" => check = true,
            other => bail!(
                "unknown option {other}; there are --work, --seconds, --contacts, --calls and --check"
            ),
        }
    }
    ensure!((1..=3600).contains(&seconds), "--seconds is 1 to 3600");
    ensure!(
        (1..=1_000_000).contains(&many),
        "--contacts is 1 to 1000000"
    );
    let most = CALLS_MAX / 3;
    ensure!((10..=most).contains(&calls), "--calls is 10 to {most}");
    if works.is_empty() {
        works = WORKS.map(str::to_owned).to_vec();
    }
    let mut worse = Vec::new();
    for work in &works {
        let figures = match work.as_str() {
            "answered" => answered(seconds)?,
            "bridged" => bridged(seconds)?,
            "register" => registering(seconds)?,
            "contacts" => contacts(many, seconds)?,
            "dialogs" => dialogs(calls)?,
            other => bail!("unknown work {other}; there are {}", WORKS.join(", ")),
        };
        for figure in figures {
            println!("{figure}");
            if !figure.holds() {
                worse.push(figure.name);
            }
        }
    }
    for name in &worse {
        println!("worse than its target: {name}");
    }
    ensure!(!check || worse.is_empty(), "a target was missed");
    Ok(())
}
