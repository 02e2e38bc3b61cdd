//! CPU time for each relayed packet: the media thread alone and the running exchange against the bare relay, in turn,
//! under the same generator, which checks every packet.
//!
//! `relay_cpu [--calls 500] [--seconds 5] [--rounds 3] [--recorded] [--check] [--limit 1.6] [--maximum]`. Fails when any
//! packet was lost, changed or out of sequence, and with `--check` when the exchange takes more than `--limit` times as
//! much as the bare relay. With `--recorded` there are two subjects more: the exchange recording every call into one
//! file, and into one for each direction. `--maximum` looks for the most calls that the bare relay and the exchange carry
//! without a loss, in steps of 100 calls of `--seconds` each. The subject runs on core 0 (the exchange's control threads
//! where they like), the generator on core 1.

use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;
use strowger_benches::delay::Delays;
use strowger_benches::exchange::{Exchange, Recording};
use strowger_benches::generator::{self, Load, Outcome};
use strowger_benches::median;
use strowger_benches::subject::{Program, Subject};
use strowger_benches::traffic::Relayed;
use strowger_benches::works::{self, Work};

const SUBJECT_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// First argument that makes this program the measured media thread instead of the measuring.
const MEDIA: &str = "media-subject";

/// The running exchange's name in the results.
const EXCHANGE: &str = "exchange";
/// Calls added in each step of the search for the maximum.
const STEP: usize = 100;
/// Where that search ends: two sockets a leg, and the descriptors of a process are limited.
const CALLS_MAX: usize = 4000;
/// A packet that took longer than this is late: a listener's jitter buffer may have given it up.
const LATE_US: u64 = 20_000;

struct Options {
    load: Load,
    rounds: usize,
    recorded: bool,
    check: bool,
    maximum: bool,
    /// Most times the floor's CPU time that the exchange may take.
    limit: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == MEDIA) {
        return works::media_subject(Work::Relay, SUBJECT_CORE);
    }
    let options = parse(&arguments)?;
    let own = std::env::current_exe()?;
    let beside = |name: &str| {
        let path = own.with_file_name(name);
        ensure!(
            path.exists(),
            "{} is missing: build strowger and strowger-benches as a whole",
            path.display()
        );
        Ok(path)
    };
    let (floor, strowger) = (beside("floor_relay")?, beside("strowger")?);
    let core = SUBJECT_CORE.to_string();
    let mut subjects: Vec<Box<dyn Subject>> = vec![
        Box::new(Program::new("floor", floor, &[&core])),
        Box::new(Program::new("media", own, &[MEDIA])),
        Box::new(Exchange::new(EXCHANGE, strowger.clone(), SUBJECT_CORE)),
    ];
    if options.maximum {
        // The media thread alone is no exchange, and its calls no calls.
        subjects.remove(1);
        return maximum(&subjects, &options);
    }
    if options.recorded {
        for (name, recording) in [
            ("mixed", Recording::Mixed),
            ("separate", Recording::Separate),
        ] {
            let recorded = Exchange::new(name, strowger.clone(), SUBJECT_CORE).recording(recording);
            subjects.push(Box::new(recorded));
        }
    }
    compare(&subjects, &options)
}

/// What the rounds of one subject came to.
#[derive(Default)]
struct Sum {
    us_per_packet: Vec<f64>,
    kib_per_call: Vec<f64>,
    delays: Delays,
}

fn compare(subjects: &[Box<dyn Subject>], options: &Options) -> Result<()> {
    println!(
        "{} calls, {} packets/s, {} s a run, {} rounds",
        options.load.calls,
        options.load.calls * 100,
        options.load.seconds,
        options.rounds
    );
    let mut sums: Vec<Sum> = subjects.iter().map(|_| Sum::default()).collect();
    let mut faults = 0;
    for round in 1..=options.rounds {
        for (subject, sum) in subjects.iter().zip(&mut sums) {
            let outcome = generator::run(subject.as_ref(), options.load, &mut Relayed::default())
                .with_context(|| format!("{} in round {round}", subject.name()))?;
            report(subject.name(), round, &outcome);
            faults += outcome.lost() + outcome.wrong + outcome.sequence_breaks;
            sum.us_per_packet.push(outcome.us_per_packet());
            sum.delays.merge(&outcome.delays);
            if let (after, Some(before)) = outcome.memory {
                let kib = after.saturating_sub(before) as f64 / 1024.0;
                sum.kib_per_call.push(kib / options.load.calls as f64);
            }
        }
    }
    println!("            us/packet   ratio   delay p50 / p99 / max us   KiB a call");
    let mut too_slow = false;
    let floor = sums.first().and_then(|sum| median(&sum.us_per_packet));
    for (subject, sum) in subjects.iter().zip(&sums) {
        let (Some(floor), Some(median_us)) = (floor, median(&sum.us_per_packet)) else {
            continue;
        };
        let ratio = median_us / floor;
        println!(
            "{:10} {median_us:10.3} {ratio:7.3}   {:9} / {} / {:<8} {:>10}",
            subject.name(),
            sum.delays.percentile(500),
            sum.delays.percentile(990),
            sum.delays.longest(),
            median(&sum.kib_per_call).map_or_else(String::new, |kib| format!("{kib:.1}")),
        );
        if subject.name() == EXCHANGE {
            too_slow = options.check && ratio > options.limit;
        }
    }
    ensure!(
        faults == 0,
        "{faults} packets were lost, changed or out of sequence"
    );
    ensure!(
        !too_slow,
        "the exchange takes more than {} times the bare relay's CPU time",
        options.limit
    );
    Ok(())
}

/// The most calls that each subject carries without a loss and without a late packet.
fn maximum(subjects: &[Box<dyn Subject>], options: &Options) -> Result<()> {
    let mut carried = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let mut most = 0;
        let mut calls = options.load.calls;
        while calls <= CALLS_MAX {
            let load = Load {
                calls,
                ..options.load
            };
            let outcome = generator::run(subject.as_ref(), load, &mut Relayed::default())
                .with_context(|| format!("{} with {calls} calls", subject.name()))?;
            let faults = outcome.lost() + outcome.wrong + outcome.sequence_breaks;
            let p99 = outcome.delays.percentile(990);
            println!(
                "{:8} {calls} calls: {faults} faults, {:5.1} % of the core, delay p99 {p99} us, generator late at most {} us",
                subject.name(),
                outcome.cpu_percent(),
                outcome.late_max.as_micros()
            );
            if faults > 0 || p99 > LATE_US {
                break;
            }
            most = calls;
            calls += STEP;
        }
        println!("{:8} carries {most} calls", subject.name());
        carried.push(most);
    }
    if let [floor, exchange] = carried[..] {
        println!(
            "the exchange carries {:.2} of what the bare relay does",
            exchange as f64 / floor.max(1) as f64
        );
    }
    Ok(())
}

fn report(name: &str, round: usize, outcome: &Outcome) {
    println!(
        "{name:8} round {round}: {:6.3} us/packet  cpu {:5.1} %  sent {} lost {} wrong {} sequence breaks {}  \
         generator late at most {} us",
        outcome.us_per_packet(),
        outcome.cpu_percent(),
        outcome.sent,
        outcome.lost(),
        outcome.wrong,
        outcome.sequence_breaks,
        outcome.late_max.as_micros()
    );
    let share = |time: &Duration| 100.0 * time.as_secs_f64() / outcome.measured.as_secs_f64();
    let threads: Vec<String> = outcome
        .threads
        .iter()
        .filter(|(_, time)| share(time) >= 0.05)
        .map(|(name, time)| format!("{name} {:.1} %", share(time)))
        .collect();
    if threads.len() > 1 {
        println!("         of these {}", threads.join(", "));
    }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        load: Load {
            calls: 500,
            seconds: 5,
            core: GENERATOR_CORE,
        },
        rounds: 3,
        recorded: false,
        maximum: false,
        check: false,
        limit: 1.6,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut number = || -> Result<f64> {
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            let number = value
                .parse::<f64>()
                .with_context(|| format!("{name}: {value:?} is no number"))?;
            ensure!(
                number.is_finite() && number > 0.0,
                "{name} is above 0, not {value}"
            );
            Ok(number)
        };
        match name.as_str() {
            "--calls" => options.load.calls = number()? as usize,
            "--seconds" => options.load.seconds = number()? as u64,
            "--rounds" => options.rounds = number()? as usize,
            "--limit" => options.limit = number()?,
            "--recorded" => options.recorded = true,
            "--maximum" => options.maximum = true,
            "--check" => options.check = true,
            other => bail!(
                "unknown option {other}; there are --calls, --seconds, --rounds, --recorded, --check, --limit and --maximum"
            ),
        }
    }
    ensure!(
        options.rounds > 0 && options.load.seconds > 0 && options.load.calls > 0,
        "calls, seconds and rounds are at least 1"
    );
    Ok(options)
}
