//! What the dialplan takes: steps a second, the way of an INVITE to its first application, searches, memory of suspended
//! calls, pauses, compiling and reloading. Each figure is printed beside a reference of the same run.
//!
//! `dialplan_works [--work NAME]... [--seconds 4] [--calls 9000] [--check]`. With `--check` it fails when a figure is worse
//! than its target. The exchange runs in this process, on a thread of its own.

use anyhow::{Context, Result, bail, ensure};
use strowger_benches::dialplan::{
    compiling, entering, looping, matching, pausing, reloading, suspended_calls,
};

const WORKS: [&str; 7] = [
    "loop", "entry", "match", "compile", "reload", "memory", "pause",
];

fn main() -> Result<()> {
    let mut works: Vec<String> = Vec::new();
    let (mut seconds, mut calls, mut check) = (4_u64, 9000_usize, false);
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
            "--calls" => calls = value()?.parse().context("--calls is a number")?,
            "--check" => check = true,
            other => {
                bail!("unknown option {other}; there are --work, --seconds, --calls and --check")
            }
        }
    }
    ensure!(
        calls <= strowger_benches::dialplan::CALLS_MAX && calls > 0,
        "--calls is 1 to {}",
        strowger_benches::dialplan::CALLS_MAX
    );
    if works.is_empty() {
        works = WORKS.map(str::to_owned).to_vec();
    }
    let mut worse = Vec::new();
    for work in &works {
        let figures = match work.as_str() {
            "loop" => looping(seconds)?,
            "entry" => entering(500)?,
            "match" => matching()?,
            "compile" => compiling()?,
            "reload" => reloading()?,
            "memory" => suspended_calls(calls)?,
            "pause" => pausing(calls, seconds)?,
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
