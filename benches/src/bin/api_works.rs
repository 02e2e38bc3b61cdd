//! What the interfaces for programs take: calls that are made by request, lists of thousands of channels, events for a thousand
//! programs of which some hang, a long recording, and what records, events and metrics take of signalling.
//!
//! `api_works [--work NAME]... [--seconds 5] [--channels 5000] [--subscribers 1000] [--stalled 50] [--rate 300]
//! [--events calls|all] [--recording 1024] [--binary PATH] [--check]`. The exchange is the built binary beside this one, with one
//! shard; its CPU time and memory are as the kernel accounts them, those of the programs that ask are not in them. With
//! `--check` it fails when a figure is worse than its target.

use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use strowger_benches::api::{Interest, Settings, fan_out, lists, originating, overhead, recording};
use strowger_benches::descriptors;

const WORKS: [&str; 5] = ["originate", "lists", "events", "recording", "overhead"];
/// Descriptors beside those of the programs that follow events.
const SPARE: u64 = 500;

fn main() -> Result<()> {
    let own = std::env::current_exe()?;
    let mut works: Vec<String> = Vec::new();
    let mut check = false;
    let mut settings = Settings {
        binary: own.with_file_name("strowger"),
        seconds: 5,
        channels: 5000,
        subscribers: 1000,
        stalled: 50,
        interest: Interest::Calls,
        rate: 300.0,
        recording_mib: 1024,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--work" => works.push(value()?),
            "--seconds" => {
                settings.seconds = value()?.parse().context("--seconds is a number")?;
            }
            "--channels" => {
                settings.channels = value()?.parse().context("--channels is a number")?;
            }
            "--subscribers" => {
                settings.subscribers = value()?.parse().context("--subscribers is a number")?;
            }
            "--stalled" => {
                settings.stalled = value()?.parse().context("--stalled is a number")?;
            }
            "--rate" => settings.rate = value()?.parse().context("--rate is a number")?,
            "--events" => {
                settings.interest = match value()?.as_str() {
                    "calls" => Interest::Calls,
                    "all" => Interest::Everything,
                    other => bail!("--events is calls or all, not {other}"),
                };
            }
            "--recording" => {
                settings.recording_mib = value()?.parse().context("--recording is a number")?;
            }
            "--binary" => settings.binary = PathBuf::from(value()?),
            "--check" => check = true,
            other => bail!(
                "unknown option {other}; there are --work, --seconds, --channels, --subscribers, --stalled, --rate, --events, \
                 --recording, --binary and --check"
            ),
        }
    }
    ensure!(
        (1..=600).contains(&settings.seconds),
        "--seconds is 1 to 600"
    );
    ensure!(
        (2..=7000).contains(&settings.channels),
        "--channels is 2 to 7000"
    );
    ensure!(
        (1..=2000).contains(&settings.subscribers),
        "--subscribers is 1 to 2000"
    );
    ensure!(
        settings.stalled < settings.subscribers,
        "--stalled is less than --subscribers"
    );
    ensure!(
        (1.0..=5000.0).contains(&settings.rate),
        "--rate is 1 to 5000"
    );
    ensure!(
        (1..=4000).contains(&settings.recording_mib),
        "--recording is 1 to 4000 MiB"
    );
    ensure!(
        settings.binary.exists(),
        "{} is missing: build strowger and strowger-benches as a whole, or name it with --binary",
        settings.binary.display()
    );
    descriptors::expect(settings.subscribers as u64 + SPARE)?;
    if works.is_empty() {
        works = WORKS.map(str::to_owned).to_vec();
    }
    let mut worse = Vec::new();
    for work in &works {
        let figures = match work.as_str() {
            "originate" => originating(&settings)?,
            "lists" => lists(&settings)?,
            "events" => fan_out(&settings)?,
            "recording" => recording(&settings)?,
            "overhead" => overhead(&settings)?,
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
