//! CPU time for each relayed packet: the media thread of the exchange against the bare relay, in turn, under the same
//! generator, which checks every packet.
//!
//! `relay_cpu [--calls 500] [--seconds 5] [--rounds 3]`. Fails when any packet was lost, changed or out of sequence.
//! The subject runs on core 0, the generator on core 1.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use strowger_benches::generator::{self, Load, Outcome};
use strowger_benches::median;
use strowger_benches::subject::{Program, Subject, parse_ports};
use strowger_media::ports::PortRange;
use strowger_media::uring::schedule;
use strowger_media::worker::{self, WorkerConfig};
use strowger_media::writer::{self, WriterConfig};
use strowger_media::{Codec, Command, Format, LegId, LegSetup, Negotiated};

const SUBJECT_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// First argument that makes this program the measured media thread instead of the measuring.
const MEDIA: &str = "media-subject";

struct Options {
    load: Load,
    rounds: usize,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == MEDIA) {
        return media();
    }
    let options = parse(&arguments)?;
    let own = std::env::current_exe()?;
    let floor = own.with_file_name("floor_relay");
    ensure!(
        floor.exists(),
        "{} is missing: build the package as a whole",
        floor.display()
    );
    let core = SUBJECT_CORE.to_string();
    let subjects: [Box<dyn Subject>; 2] = [
        Box::new(Program::new("floor", floor, &[&core])),
        Box::new(Program::new("media", own, &[MEDIA])),
    ];
    // Wishes: with fewer cores or rights the numbers are rougher, not wrong.
    let _ = schedule::pin_to_core(GENERATOR_CORE);
    let _ = schedule::make_realtime();
    let _ = schedule::tighten_timers();
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
    let medians: Vec<f64> = results.iter().filter_map(|r| median(r)).collect();
    for (subject, median) in subjects.iter().zip(&medians) {
        println!("{:8} median {median:6.3} us/packet", subject.name());
    }
    if let Some((floor, rest)) = medians.split_first() {
        for (subject, median) in subjects.iter().skip(1).zip(rest) {
            println!("{:8} ratio  {:6.3}", subject.name(), median / floor);
        }
    }
    ensure!(
        faults == 0,
        "{faults} packets were lost, changed or out of sequence"
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
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        load: Load {
            calls: 500,
            seconds: 5,
        },
        rounds: 3,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        let number = value
            .parse::<usize>()
            .with_context(|| format!("{name}: {value:?} is no number"))?;
        match name.as_str() {
            "--calls" => options.load.calls = number,
            "--seconds" => options.load.seconds = number as u64,
            "--rounds" => options.rounds = number,
            other => bail!("unknown option {other}; there are --calls, --seconds and --rounds"),
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
    std::thread::sleep(std::time::Duration::from_millis(100));
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
        std::thread::sleep(std::time::Duration::from_millis(1));
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
