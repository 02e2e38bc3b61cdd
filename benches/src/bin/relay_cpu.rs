//! CPU time for each relayed packet: the media thread alone and the running exchange against the bare relay, in turn,
//! under the same generator, which checks every packet.
//!
//! `relay_cpu [--calls 500] [--seconds 5] [--rounds 3] [--recorded] [--check] [--limit 1.6]`. Fails when any packet was
//! lost, changed or out of sequence, and with `--check` when the exchange takes more than `--limit` times as much as
//! the bare relay. With `--recorded` there is one subject more: the exchange recording every call. The subject runs on
//! core 0 (the exchange's control threads where they like), the generator on core 1.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use strowger_benches::exchange::Exchange;
use strowger_benches::generator::{self, Load, Outcome};
use strowger_benches::median;
use strowger_benches::subject::{Program, Subject, parse_ports};
use strowger_media::ports::PortRange;
use strowger_media::worker::{self, WorkerConfig};
use strowger_media::writer::{self, WriterConfig};
use strowger_media::{Codec, Command, Format, LegId, LegSetup, Negotiated};

const SUBJECT_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// First argument that makes this program the measured media thread instead of the measuring.
const MEDIA: &str = "media-subject";

/// The running exchange's name in the results.
const EXCHANGE: &str = "exchange";

struct Options {
    load: Load,
    rounds: usize,
    recorded: bool,
    check: bool,
    /// Most times the floor's CPU time that the exchange may take.
    limit: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == MEDIA) {
        return media();
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
    if options.recorded {
        let recorded = Exchange::new("recorded", strowger, SUBJECT_CORE).recorded();
        subjects.push(Box::new(recorded));
    }
    compare(&subjects, &options)
}

fn compare(subjects: &[Box<dyn Subject>], options: &Options) -> Result<()> {
    println!(
        "{} calls, {} packets/s, {} s a run, {} rounds",
        options.load.calls,
        options.load.calls * 100,
        options.load.seconds,
        options.rounds
    );
    let mut results: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    let mut faults = 0;
    for round in 1..=options.rounds {
        for (subject, results) in subjects.iter().zip(&mut results) {
            let outcome = generator::run(subject.as_ref(), options.load)
                .with_context(|| format!("{} in round {round}", subject.name()))?;
            report(subject.name(), round, &outcome);
            faults += outcome.lost() + outcome.wrong + outcome.sequence_breaks;
            results.push(outcome.us_per_packet());
        }
    }
    let mut too_slow = false;
    let medians: Vec<f64> = results.iter().filter_map(|r| median(r)).collect();
    for (subject, median) in subjects.iter().zip(&medians) {
        println!("{:8} median {median:6.3} us/packet", subject.name());
    }
    if let Some((floor, rest)) = medians.split_first() {
        for (subject, median) in subjects.iter().skip(1).zip(rest) {
            let ratio = median / floor;
            println!("{:8} ratio  {ratio:6.3}", subject.name());
            if subject.name() == EXCHANGE {
                too_slow = options.check && ratio > options.limit;
            }
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
            "--check" => options.check = true,
            other => bail!(
                "unknown option {other}; there are --calls, --seconds, --rounds, --recorded, --check and --limit"
            ),
        }
    }
    ensure!(
        options.rounds > 0 && options.load.seconds > 0 && options.load.calls > 0,
        "calls, seconds and rounds are at least 1"
    );
    Ok(options)
}

/// The measured side: a media thread with two legs for each call, bridged.
fn media() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let peers = parse_ports(&line)?;
    let (writer_handle, _writer) = writer::spawn(WriterConfig::default())?;
    let mut worker = worker::spawn(
        WorkerConfig {
            name: "media".to_owned(),
            core: Some(SUBJECT_CORE),
            realtime: true,
            max_legs: peers.len().max(16),
        },
        writer_handle,
    )?;
    let mut ports = PortRange::new(10000, 32000);
    let mut own = Vec::with_capacity(peers.len());
    for (index, peer) in peers.iter().enumerate() {
        let leg = LegId(index as u64);
        let (rtp, rtcp) = ports.allocate(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        own.push(rtp.local_addr()?.port().to_string());
        let setup = LegSetup {
            leg,
            rtp,
            rtcp,
            ssrc: 0x1000 + index as u32,
            sequence: index as u16,
            timestamp: index as u32 * 7919,
            cname: format!("leg{index}"),
        };
        send(&mut worker, Command::Open(Box::new(setup)))?;
        send(
            &mut worker,
            Command::Configure(leg, Box::new(negotiated(*peer))),
        )?;
        if index % 2 == 1 {
            send(&mut worker, Command::Bridge(LegId(index as u64 - 1), leg))?;
        }
    }
    // The commands are executed in order, at most some hundred in a millisecond.
    std::thread::sleep(Duration::from_millis(100));
    println!("{}", own.join(" "));
    std::io::stdout().flush()?;
    // Until the input ends.
    while std::io::stdin().lock().read_line(&mut line)? > 0 {}
    if std::env::var_os("BENCH_COUNTERS").is_some() {
        for (name, value) in worker.counters.snapshot() {
            if value > 0 {
                eprintln!("  {name} {value}");
            }
        }
    }
    worker.stop();
    Ok(())
}

fn send(worker: &mut worker::Worker, command: Command) -> Result<()> {
    let mut command = command;
    for _ in 0..1000 {
        match worker.handle.send(command) {
            Ok(()) => return Ok(()),
            Err(back) => command = back,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("the media thread takes no commands")
}

fn negotiated(peer: SocketAddr) -> Negotiated {
    let format = Format {
        payload_type: 0,
        codec: Codec::Pcmu,
    };
    Negotiated {
        remote_rtp: Some(peer),
        remote_rtcp: None,
        formats: vec![format],
        send: format,
        ptime_ms: 20,
        dtmf_receive: None,
        dtmf_send: None,
        sending: true,
        receiving: true,
        symmetric: true,
        rtp_timeout_ms: 0,
    }
}
