//! What one media thread does beside relaying, in CPU time: rooms, transcoding, SRTP, each beside plain relaying and
//! beside the codec or cipher alone, in one run; and what an idle exchange takes.
//!
//! `media_works [--legs 1000] [--seconds 5] [--rounds 3] [--work NAME]... [--idle SECONDS] [--check]`. Opus runs with a
//! tenth of the legs, because its codec alone would fill the core. Fails when something was lost or out of
//! sequence, and with `--check` when a figure is worse than its target. The media thread runs on core 0, the generator on
//! core 1.

use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;
use strowger_benches::cpu;
use strowger_benches::exchange::Exchange;
use strowger_benches::generator::{self, Load, Outcome};
use strowger_benches::median;
use strowger_benches::subject::{Program, Subject as _};
use strowger_benches::traffic::{Relayed, Traffic};
use strowger_benches::works::{self, Mixed, Protected, Transcoded, Work};
use strowger_media::Codec;

const SUBJECT_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// First argument that makes this program the measured media thread; the work follows.
const MEDIA: &str = "media-subject";
/// A leg's packet may be missing at the edges of the measured time, 1 in so many.
const EDGE: u64 = 500;

struct Options {
    legs: usize,
    seconds: u64,
    rounds: usize,
    works: Vec<Work>,
    idle: Option<u64>,
    check: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, work] = &arguments[..]
        && first == MEDIA
    {
        return works::media_subject(Work::from_name(work)?, SUBJECT_CORE);
    }
    let options = parse(&arguments)?;
    let mut worse = Vec::new();
    if let Some(seconds) = options.idle {
        let percent = idle(seconds)?;
        if percent >= 0.5 {
            worse.push(format!("an idle exchange takes {percent:.2} % of a core"));
        }
    }
    if !options.works.is_empty() {
        measure(&options, &mut worse)?;
    }
    for line in &worse {
        println!("worse than its target: {line}");
    }
    ensure!(!options.check || worse.is_empty(), "a target was missed");
    Ok(())
}

/// Measures the works in turn, round by round.
fn measure(options: &Options, worse: &mut Vec<String>) -> Result<()> {
    let own = std::env::current_exe()?;
    let mut results: Vec<Vec<f64>> = vec![Vec::new(); options.works.len()];
    let mut faults = 0;
    for round in 1..=options.rounds {
        for (work, results) in options.works.iter().zip(&mut results) {
            let subject = Program::new(work.name(), own.clone(), &[MEDIA, work.name()]);
            let legs = if matches!(work, Work::Opus | Work::Few) {
                options.legs / 10
            } else {
                options.legs
            };
            let load = Load {
                calls: legs / 2,
                seconds: options.seconds,
                core: GENERATOR_CORE,
            };
            let mut traffic: Box<dyn Traffic> = match work {
                Work::Relay | Work::Few | Work::Recorded => Box::new(Relayed::default()),
                Work::Rooms(_) => Box::new(Mixed::new(true)?),
                Work::Lecture => Box::new(Mixed::new(false)?),
                Work::Opus => Box::new(Transcoded::new()?),
                Work::Srtp(suite) => Box::new(Protected::new(*suite)),
            };
            let outcome = generator::run(&subject, load, traffic.as_mut())
                .with_context(|| format!("{} in round {round}", work.name()))?;
            faults += report(*work, round, legs, &outcome);
            results.push(outcome.us_per_packet());
        }
    }
    let medians: Vec<f64> = results.iter().filter_map(|r| median(r)).collect();
    judge(options, &medians, worse)?;
    ensure!(
        faults == 0,
        "{faults} packets were lost, wrong or out of sequence"
    );
    Ok(())
}

fn report(work: Work, round: usize, legs: usize, outcome: &Outcome) -> u64 {
    let expected = legs as u64 * 50 * outcome.measured.as_millis() as u64 / 1000;
    let missing = expected
        .saturating_sub(outcome.relayed)
        .saturating_sub(expected / EDGE);
    println!(
        "{:11} round {round}: {:7.3} us/packet  cpu {:5.1} %  {legs} legs, {} packets, missing {missing} wrong {} \
         sequence breaks {}",
        work.name(),
        outcome.us_per_packet(),
        outcome.cpu_percent(),
        outcome.relayed,
        outcome.wrong,
        outcome.sequence_breaks
    );
    missing + outcome.wrong + outcome.sequence_breaks
}

/// Prints the medians beside what they are judged by.
fn judge(options: &Options, medians: &[f64], worse: &mut Vec<String>) -> Result<()> {
    let of = |wanted: Work| {
        let place = options.works.iter().position(|work| *work == wanted);
        place.and_then(|place| medians.get(place).copied())
    };
    let (relay, few) = (of(Work::Relay), of(Work::Few));
    for (work, us) in options.works.iter().zip(medians) {
        let relay = match work {
            Work::Few | Work::Opus => few,
            _ => relay,
        };
        let Some(relay) = relay else {
            println!("{:11} {us:8.3} us/packet", work.name());
            continue;
        };
        // What is allowed: so many times plain relaying, and so many times what codec or cipher take alone.
        let (alone, relays, times) = match work {
            Work::Relay | Work::Few => (0.0, 1.0, 1.0),
            Work::Recorded => (0.0, 1.15, 1.0),
            Work::Rooms(_) | Work::Lecture => (0.0, 1.25, 1.0),
            Work::Opus => {
                let (decode, encode) = works::codec_us(Codec::Opus, 8000)?;
                let calls = options.legs / 20;
                let both = works::codec_in_rhythm_us(Codec::Opus, 8000, calls, SUBJECT_CORE)?;
                println!(
                    "            Opus alone: decode {decode:.2} us, encode {encode:.2} us; both in the rhythm of {calls} \
                     calls {both:.2} us"
                );
                // Half of the packets are decoded, half are encoded.
                (both / 2.0, 1.0, 1.1)
            }
            Work::Srtp(suite) => {
                let alone = works::crypto_us(*suite)?;
                println!("            cipher alone: {alone:.2} us");
                (alone, 1.3, 1.0)
            }
        };
        let allowed = relay * relays + alone * times;
        println!(
            "{:11} {us:8.3} us/packet, {:.3} x relay + alone; target {allowed:.3} ({:.3})",
            work.name(),
            us / (relay + alone),
            us / allowed
        );
        if *us > allowed {
            worse.push(format!(
                "{} takes {us:.3} us/packet, not {allowed:.3}",
                work.name()
            ));
        }
    }
    Ok(())
}

/// CPU of an exchange with nothing to do, in percent of a core, and how much its memory grows.
fn idle(seconds: u64) -> Result<f64> {
    let binary = std::env::current_exe()?.with_file_name("strowger");
    ensure!(
        binary.exists(),
        "{} is missing: build strowger too",
        binary.display()
    );
    let running = Exchange::new("idle", binary, SUBJECT_CORE).start(&[])?;
    std::thread::sleep(Duration::from_secs(2));
    let (before, memory) = (cpu::of_process(running.pid)?, cpu::resident(running.pid)?);
    std::thread::sleep(Duration::from_secs(seconds));
    let used = cpu::of_process(running.pid)?.saturating_sub(before);
    let grown = cpu::resident(running.pid)?.saturating_sub(memory);
    let percent = used.as_secs_f64() * 100.0 / seconds as f64;
    println!(
        "idle exchange: {percent:.3} % of a core over {seconds} s, memory {} KiB more",
        grown / 1024
    );
    Ok(percent)
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        legs: 1000,
        seconds: 5,
        rounds: 3,
        works: Vec::new(),
        idle: None,
        check: false,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        let number = |text: &String| {
            text.parse::<usize>()
                .ok()
                .filter(|number| *number > 0)
                .with_context(|| format!("{name} is a number above 0, not {text}"))
        };
        match name.as_str() {
            "--legs" => options.legs = number(value()?)?,
            "--seconds" => options.seconds = number(value()?)? as u64,
            "--rounds" => options.rounds = number(value()?)?,
            "--idle" => options.idle = Some(number(value()?)? as u64),
            "--work" => options.works.push(Work::from_name(value()?)?),
            "--check" => options.check = true,
            other => bail!(
                "unknown option {other}; there are --legs, --seconds, --rounds, --work, --idle and --check"
            ),
        }
    }
    ensure!(options.legs >= 20, "at least 20 legs are needed");
    options.legs -= options.legs % 20;
    if options.works.is_empty() && options.idle.is_none() {
        options.works = Work::ALL.to_vec();
        options.idle = Some(10);
    }
    Ok(options)
}
