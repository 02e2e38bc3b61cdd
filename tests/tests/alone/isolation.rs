//! Isolation: nothing that goes wrong around the calls is heard in them. Two hundred calls with a tone in each direction run
//! while dialplans loop for ever, every recording meets a full disk, the database no longer answers, and the HTTP port is
//! flooded: no packet may be lost, no tone may stop, and no packet may stay in the exchange for long.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strowger_benches::delay;
use strowger_tests::audio::{last_ms, share_with_tone};
use strowger_tests::{
    Bank, Call, Engine, Exchange, Manner, Phone, SOON, Settings, Source, alone, wait_until,
};

const CALLS: usize = 200;
const LOOPS: usize = 8;
const PROBES: usize = 4;
/// How long everything goes wrong.
const TORMENT: Duration = Duration::from_secs(10);
/// The longest that 99 of 100 packets may stay in the exchange, beyond what the machine keeps packets from a thread that
/// only returns them.
const DELAY_P99_MAX: Duration = Duration::from_millis(3);

/// A line to a server that can stand still: connections stay open, and nothing comes through any more.
struct Line {
    address: SocketAddr,
    still: Arc<AtomicBool>,
    /// Pieces that were held back.
    held: Arc<AtomicU64>,
}

impl Line {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let still = Arc::new(AtomicBool::new(false));
        let held = Arc::new(AtomicU64::new(0));
        let (standing, holding) = (Arc::clone(&still), Arc::clone(&held));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&server) else {
                    continue;
                };
                let ends = (near.try_clone(), far.try_clone());
                let (Ok(near_too), Ok(far_too)) = ends else {
                    continue;
                };
                for (from, to) in [(near, far), (far_too, near_too)] {
                    let (still, held) = (Arc::clone(&standing), Arc::clone(&holding));
                    std::thread::spawn(move || pass(from, to, &still, &held));
                }
            }
        });
        Self {
            address,
            still,
            held,
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, still: &AtomicBool, held: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if still.load(Ordering::Relaxed) {
            held.fetch_add(1, Ordering::Relaxed);
            while still.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Gives the calling thread a real-time priority below that of the exchange's media threads, so that what is measured is
/// not the machine's scheduler; false where that is not permitted.
fn real_time() -> bool {
    of_this_thread("chrt", &["-f", "-p", "1"])
}

/// Runs a program of the system on the calling thread; false where what it does is not permitted.
fn of_this_thread(program: &str, arguments: &[&str]) -> bool {
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else {
        return false;
    };
    let id = thread.file_name().map(|name| name.to_owned());
    Command::new(program)
        .args(arguments)
        .arg(id.unwrap_or_default())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What became of the packets of one probe.
struct Probed {
    sent: u32,
    delays: Vec<Delay>,
    real_time: bool,
}

/// How long a packet was in the exchange, and how long the same packet, sent at the same moment, in the slowest mirror.
struct Delay {
    exchange: Duration,
    mirror: Duration,
}

/// Sends a packet every 20 ms to an exchange and to mirrors, which all return it, and takes the time of each. The first second,
/// in which the exchange learns where the probe is, does not count.
fn probe(exchange: SocketAddr, mirrors: &[SocketAddr], stop: &AtomicBool) -> Probed {
    const FIRST: u32 = 50;
    let real_time = real_time();
    let remotes: Vec<SocketAddr> = std::iter::once(exchange)
        .chain(mirrors.iter().copied())
        .collect();
    let sockets: Vec<UdpSocket> = remotes
        .iter()
        .map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            // The kernel says when a packet came: how late we are ourselves does not count.
            delay::stamp(&socket).expect("timestamps");
            socket.set_nonblocking(true).expect("a socket");
            socket
        })
        .collect();
    // By packet: when it was sent, and how long it took to each remote and back.
    let mut packets: Vec<(Duration, Vec<Option<Duration>>)> = Vec::new();
    let mut open = 0;
    let mut next = Instant::now();
    let mut last_came = Instant::now();
    loop {
        let number = packets.len() as u32;
        if !stop.load(Ordering::Relaxed) {
            let mut packet = [0xd5_u8; 172];
            packet[..2].copy_from_slice(&[0x80, 8]);
            packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&(number * 160).to_be_bytes());
            packet[8..12].copy_from_slice(&0x5052_4f42_u32.to_be_bytes());
            // A-law passes unchanged: the number in the payload comes back whatever the header says then.
            packet[12..16].copy_from_slice(&number.to_be_bytes());
            packets.push((delay::now(), vec![None; remotes.len()]));
            for (socket, remote) in sockets.iter().zip(&remotes) {
                socket.send_to(&packet, remote).expect("sent");
            }
            open += if number >= FIRST { remotes.len() } else { 0 };
        } else if open == 0 || last_came.elapsed() > SOON / 6 {
            let counted = packets.iter().skip(FIRST as usize);
            let delays = counted.filter_map(|(_, took)| {
                let (exchange, mirrors) = took.split_first()?;
                let mirrors: Option<Vec<Duration>> = mirrors.iter().copied().collect();
                Some(Delay {
                    exchange: (*exchange)?,
                    mirror: mirrors?.into_iter().max().unwrap_or_default(),
                })
            });
            return Probed {
                sent: number.saturating_sub(FIRST),
                delays: delays.collect(),
                real_time,
            };
        }
        next += Duration::from_millis(20);
        loop {
            for (which, socket) in sockets.iter().enumerate() {
                let mut packet = [0; 2048];
                while let Ok((length, came)) = delay::receive(socket, &mut packet) {
                    let (172, Some(came)) = (length, came) else {
                        continue;
                    };
                    let number =
                        u32::from_be_bytes([packet[12], packet[13], packet[14], packet[15]]);
                    if let Some((at, took)) = packets.get_mut(number as usize)
                        && number >= FIRST
                    {
                        let before = took[which].replace(came.saturating_sub(*at));
                        assert!(before.is_none(), "packet {number} came twice");
                        open -= 1;
                        last_came = Instant::now();
                    }
                }
            }
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }
}

/// Threads that return each packet at once, one on each core, with a priority above that of everything in the exchange: what
/// they are kept from, the machine keeps everybody from.
fn mirrors(stop: &Arc<AtomicBool>) -> Vec<SocketAddr> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (0..cores).map(|core| mirror(core, stop)).collect()
}

fn mirror(core: usize, stop: &Arc<AtomicBool>) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = socket.local_addr().expect("its address");
    let limited = socket.set_read_timeout(Some(Duration::from_millis(100)));
    limited.expect("a timeout");
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        of_this_thread("taskset", &["-pc", &core.to_string()]);
        of_this_thread("chrt", &["-f", "-p", "99"]);
        let mut packet = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut packet) {
                socket.send_to(&packet[..length], from).expect("sent back");
            }
        }
    });
    address
}

/// All delays that the probes saw, and whether all had their priority. Fails when a packet was lost.
fn delays(probing: Vec<JoinHandle<Probed>>) -> (Vec<Delay>, bool) {
    let mut delays = Vec::new();
    let mut real_time = true;
    for probe in probing {
        let probed = probe.join().expect("the probe ends");
        assert_eq!(probed.delays.len(), probed.sent as usize, "probes lost");
        delays.extend(probed.delays);
        real_time &= probed.real_time;
    }
    (delays, real_time)
}

/// Asks for the metrics page until told to stop; returns the number of answers.
fn flood(exchange: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect_timeout(&exchange, SOON) else {
            continue;
        };
        let asked =
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        // An answer that never comes is no reason to wait for ever.
        let limited = stream.set_read_timeout(Some(SOON));
        let asked = asked.and(limited);
        let mut answer = Vec::new();
        if asked.is_ok() && stream.read_to_end(&mut answer).is_ok() && !answer.is_empty() {
            answers += 1;
        }
    }
    answers
}

fn registered(bank: &Bank, exchange: &Exchange, name: &str, tone: f64) -> Phone {
    let phone = bank.phone(name, "secret", exchange.sip());
    phone.register();
    phone.set_source(Source::Tone(tone));
    phone
}

/// An exchange whose database is behind a line, with the rows of this test.
fn exchange() -> (Exchange, Line) {
    let mut exchange = Exchange::prepare(Settings {
        engine: Engine::Postgres,
        ..Settings::default()
    });
    for n in 0..10 {
        exchange.subscriber(&format!("caller{n}"), "secret", "isolation");
        exchange.subscriber(&format!("callee{n}"), "secret", "isolation");
    }
    exchange.subscriber_with("prober", "secret", "isolation", &[("rtp_symmetric", "yes")]);
    let recorded = [
        ("MixMonitor", "${EXTEN}.wav"),
        ("Dial", "PJSIP/${EXTEN},60"),
    ];
    exchange.extension("isolation", "_callee.", &recorded);
    exchange.extension("isolation", "echo", &[("Answer", ""), ("Echo", "")]);
    let endless = [
        ("Answer", ""),
        ("Set", "N=$[0${N} + 1]"),
        ("NoOp", "${MD5(${N}${UNIQUEID})}"),
        ("Goto", "2"),
    ];
    exchange.extension("isolation", "endless", &endless);
    // Whatever is recorded goes to a disk without room.
    std::fs::create_dir_all(exchange.recordings()).expect("the recordings' folder");
    for n in 0..10 {
        let file = exchange.recordings().join(format!("callee{n}.wav"));
        std::os::unix::fs::symlink("/dev/full", file).expect("a link");
    }
    let url = exchange.database.url().to_owned();
    let (account, rest) = url.rsplit_once('@').expect("a user");
    let (server, name) = rest.split_once('/').expect("a database");
    let line = Line::to(server.to_owned());
    let text = exchange
        .configuration()
        .replace(&url, &format!("{account}@{}/{name}", line.address));
    exchange.write_configuration(&text);
    exchange.start();
    (exchange, line)
}

fn probes(
    prober: &Phone,
    mirrors: &[SocketAddr],
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<Probed>> {
    (0..PROBES)
        .map(|_| {
            let call = prober.call("echo");
            call.expect_answered(SOON);
            let remote = call.remote_audio().expect("where the exchange listens");
            let (mirrors, stop) = (mirrors.to_vec(), Arc::clone(stop));
            std::thread::spawn(move || probe(remote, &mirrors, &stop))
        })
        .collect()
}

#[test]
fn two_hundred_calls_hear_nothing_of_what_goes_wrong_beside_them() {
    let _alone = alone();
    let (exchange, line) = exchange();
    let bank = Bank::new();
    let callers: Vec<Phone> = (0..10)
        .map(|n| registered(&bank, &exchange, &format!("caller{n}"), 440.0))
        .collect();
    let callees: Vec<Phone> = (0..10)
        .map(|n| registered(&bank, &exchange, &format!("callee{n}"), 620.0))
        .collect();
    for callee in &callees {
        callee.set_manner(Manner::Answer(Duration::ZERO));
    }
    let prober = registered(&bank, &exchange, "prober", 440.0);
    prober.set_source(Source::Nothing);
    let (stop, stop_probes) = (Arc::new(AtomicBool::new(false)), Arc::default());

    let mut calls: Vec<(Call, f64)> = Vec::new();
    for n in 0..CALLS {
        calls.push((
            callers[n % 10].call(&format!("callee{}", n / 10 % 10)),
            620.0,
        ));
        std::thread::sleep(Duration::from_millis(10));
    }
    let tally = bank.wait_for(SOON, |t| t.up == 2 * CALLS);
    assert_eq!((tally.up, tally.failed), (2 * CALLS, 0), "{tally:?}");
    for callee in &callees {
        calls.extend((0..CALLS / 10).map(|_| (callee.expect_call(SOON), 440.0)));
    }
    let probing = probes(&prober, &mirrors(&stop), &stop_probes);

    // Now everything goes wrong.
    line.still.store(true, Ordering::Relaxed);
    let loops = bank.phone("caller0", "secret", exchange.sip());
    loops.set_source(Source::Nothing).keep_samples(false);
    let endless: Vec<Call> = (0..LOOPS).map(|_| loops.call("endless")).collect();
    let http: SocketAddr = (exchange.ip(), 8088).into();
    let flooding: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || flood(http, &stop))
        })
        .collect();
    endless.iter().for_each(|call| call.expect_answered(SOON));
    let began = Instant::now();
    // Even now a new call is taken.
    let late = callers[0].call("echo");
    late.expect_answered(SOON);
    late.expect_packets(25, SOON);
    std::thread::sleep(TORMENT.saturating_sub(began.elapsed()));

    // Each call still hears its tone, for the last five seconds as before.
    for (index, (call, tone)) in calls.iter().enumerate() {
        let heard = call.heard();
        let share = share_with_tone(last_ms(&heard.samples, 5000), *tone);
        assert!(share > 0.95, "leg {index} hears {tone} Hz for {share:.2}");
        let whole = (heard.lost, heard.duplicates, heard.ssrcs.len());
        assert_eq!(whole, (0, 0, 1), "leg {index}");
    }
    stop_probes.store(true, Ordering::Relaxed);
    let (delays, real_time) = delays(probing);
    let sorted = |of: &dyn Fn(&Delay) -> Duration| {
        let mut all: Vec<Duration> = delays.iter().map(of).collect();
        all.sort();
        all
    };
    let p99 = |delays: &[Duration]| delays[delays.len() * 99 / 100];
    // What the machine kept from every mirror of its cores, it kept from the exchange too.
    let own = sorted(&|delay| delay.exchange.saturating_sub(delay.mirror));
    for (what, delays) in [
        ("the exchange", &sorted(&|delay| delay.exchange)),
        ("the slowest mirror", &sorted(&|delay| delay.mirror)),
        ("the exchange alone", &own),
    ] {
        println!(
            "{} packets through {what}: median {:?}, p99 {:?}, longest {:?}, real-time priority: {real_time}",
            delays.len(),
            delays[delays.len() / 2],
            p99(delays),
            delays[delays.len() - 1],
        );
    }
    let p99 = p99(&own);
    // Without the priority it is the machine's scheduler that is measured.
    if real_time {
        assert!(p99 < DELAY_P99_MAX, "p99 {p99:?}");
    }

    // All of it did go wrong.
    stop.store(true, Ordering::Relaxed);
    assert!(
        line.held.load(Ordering::Relaxed) > 0,
        "the database was asked"
    );
    line.still.store(false, Ordering::Relaxed);
    let answers: u64 = flooding.into_iter().filter_map(|f| f.join().ok()).sum();
    println!("{answers} HTTP answers in {:?}", began.elapsed());
    assert!(answers > 100, "{answers} HTTP answers");
    exchange.expect_log("steps without a pause", SOON);
    assert!(exchange.metric("strowger_recordings_in_trouble_total") > 0);
    bank.hang_up_all();
    let tally = bank.wait_for(SOON, |t| t.up == 0);
    assert_eq!((tally.up, tally.failed, tally.lost), (0, 0, 0), "{tally:?}");
    // Every record reaches the table when the database answers again.
    let ended = CALLS + PROBES + LOOPS + 1;
    let rows = wait_until(SOON, || {
        let rows = exchange
            .database
            .select("cdr", &["dst"], "WHERE disposition = 'ANSWERED'");
        (rows.len() >= ended).then_some(rows.len())
    });
    assert_eq!(rows, Some(ended));
}
