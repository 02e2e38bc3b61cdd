//! The measured side: a media thread with its legs, told what to do by commands as signalling tells it.

use super::{Work, keys};
use crate::subject::parse_ports;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use strowger_media::ports::PortRange;
use strowger_media::room::MemberOptions;
use strowger_media::worker::{self, Worker, WorkerConfig};
use strowger_media::writer::{self, WriterConfig};
use strowger_media::{
    Codec, Command, FileFormat, Format, LegId, LegSetup, Negotiated, RecorderId, RecorderSetup,
    RoomCommand, RoomId, TapMode,
};

/// Legs that the media thread has room for.
const LEGS_MAX: usize = 8000;
/// A payload type for Opus.
pub(super) const OPUS_TYPE: u8 = 107;

/// Runs a media thread on `core`: prints `ready`, reads the peers' ports, prints the legs' ports, and works until its input
/// ends.
pub fn media_subject(work: Work, core: usize) -> Result<()> {
    let (writer_handle, _writer) = writer::spawn(WriterConfig::default())?;
    let mut worker = worker::spawn(
        WorkerConfig {
            name: "media".to_owned(),
            core: Some(core),
            realtime: true,
            max_legs: LEGS_MAX,
        },
        writer_handle,
    )?;
    let folder = tempfile::tempdir()?;
    println!("ready");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let peers = parse_ports(&line)?;
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
        let negotiated = negotiated(work, index, *peer)?;
        send(&mut worker, Command::Configure(leg, Box::new(negotiated)))?;
        connect(&mut worker, work, index, folder.path())?;
    }
    // The commands are executed in order, at most some hundred in a millisecond.
    std::thread::sleep(Duration::from_millis(200));
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

fn connect(worker: &mut Worker, work: Work, index: usize, folder: &Path) -> Result<()> {
    let leg = LegId(index as u64);
    let members = match work {
        Work::Rooms(members) => members,
        Work::Lecture => usize::MAX,
        Work::Relay | Work::Few | Work::Opus | Work::Srtp(_) | Work::Recorded => {
            if index % 2 == 1 {
                send(worker, Command::Bridge(LegId(index as u64 - 1), leg))?;
            }
            if work == Work::Recorded && index % 2 == 1 {
                let path = folder.join(format!("{index}.wav"));
                let setup = RecorderSetup::new(
                    RecorderId(index as u64),
                    leg,
                    path,
                    FileFormat::Wav,
                    TapMode::Mix,
                );
                send(worker, Command::StartRecorder(Box::new(setup.prepare())))?;
            }
            return Ok(());
        }
    };
    let room = RoomId((index / members) as u64);
    if index.is_multiple_of(members) {
        send(
            worker,
            Command::Room(room, RoomCommand::Open { rate: 8000 }),
        )?;
    }
    let options = MemberOptions::default();
    send(
        worker,
        Command::Room(room, RoomCommand::Join { leg, options }),
    )
}

fn send(worker: &mut Worker, command: Command) -> Result<()> {
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

fn negotiated(work: Work, leg: usize, peer: SocketAddr) -> Result<Negotiated> {
    let format = if work == Work::Opus && leg % 2 == 1 {
        Format {
            payload_type: OPUS_TYPE,
            codec: Codec::Opus,
        }
    } else {
        Format {
            payload_type: 0,
            codec: Codec::Pcmu,
        }
    };
    let srtp = match work {
        Work::Srtp(suite) => Some(keys(suite, leg).context("keys")?),
        _ => None,
    };
    Ok(Negotiated {
        remote_rtp: Some(peer),
        formats: vec![format],
        send: format,
        ptime_ms: 20,
        sending: true,
        receiving: true,
        symmetric: true,
        srtp,
        ..Negotiated::default()
    })
}
