//! What is measured of the interfaces for programs, each figure beside its target and with what it was measured under.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::caller::{Caller, Paced};
use super::crowd::{Crowd, Heard, Interest, Size};
use super::web::{Manager, Web};
use super::{CONTEXT, House, percentile};
use crate::dialplan::Figure;
use crate::{cpu, median};

/// Programs that make calls at a time.
const ASKING: usize = 8;
/// Requests for a list, at most so long.
const LISTS: usize = 200;
const LISTS_TIME: Duration = Duration::from_secs(12);
/// Calls that go on while lists are asked for, a second.
const BESIDE: f64 = 50.0;
/// What comes before it is counted: everything is cold.
const WARM: Duration = Duration::from_millis(500);
/// Events that are on their way arrive.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a program that hangs may keep its place.
const LEFT: Duration = Duration::from_secs(20);
/// Rounds with and without records, events and metrics.
const ROUNDS: usize = 4;
/// The call whose recording is fetched.
const RECORDED: &str = "1700000000.1";
const MIB: f64 = 1024.0 * 1024.0;

/// Method, address and body.
type Request = (&'static str, String, String);

/// What is measured, and how much of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The exchange.
    pub binary: PathBuf,
    pub seconds: u64,
    /// Channels that lists are of.
    pub channels: usize,
    /// Programs that follow events, those that never read among them.
    pub subscribers: usize,
    pub stalled: usize,
    pub interest: Interest,
    /// Calls a second meanwhile.
    pub rate: f64,
    /// Size of the recording, in MiB.
    pub recording_mib: u64,
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// CPU time of threads whose names begin so.
fn of_threads(times: &BTreeMap<String, Duration>, name: &str) -> Duration {
    let own = times.iter().filter(|(known, _)| known.starts_with(name));
    own.map(|(_, time)| *time).sum()
}

/// Makes calls on several connections at once, as long as `go_on` says so for the number of the request: time of each in
/// milliseconds, and how many were refused.
fn asking(
    house: &House,
    request: &(impl Fn() -> Request + Sync),
    go_on: &(impl Fn(u64) -> bool + Sync),
) -> Result<(Vec<f64>, usize)> {
    let doors = house.doors();
    let number = AtomicU64::new(0);
    let one = || -> Result<(Vec<f64>, usize)> {
        let mut web = Web::connect(doors.http, &doors.key)?;
        let (mut times, mut refused) = (Vec::new(), 0);
        while go_on(number.fetch_add(1, Ordering::Relaxed)) {
            let (method, path, body) = request();
            let began = Instant::now();
            let answer = web.ask(method, &path, &body)?;
            if matches!(answer.status, 200 | 202) {
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            } else {
                ensure!(
                    answer.status == 503,
                    "{method} {path} was answered with {}",
                    answer.status
                );
                refused += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok((times, refused))
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..ASKING).map(|_| scope.spawn(one)).collect();
        let (mut times, mut refused) = (Vec::new(), 0);
        for asked in all {
            let asked = asked
                .join()
                .map_err(|_| anyhow::anyhow!("a program that asks has failed"))?;
            let (more, others) = asked?;
            times.extend(more);
            refused += others;
        }
        Ok((times, refused))
    })
}

/// A request of `/api/v1` for a call of two Local channels, from extension 100 to this one.
fn call_of_v1(exten: &str) -> Request {
    (
        "POST",
        "/api/v1/calls".to_owned(),
        format!(
            "{{\"channel\":\"Local/100@{CONTEXT}\",\"to\":{{\"context\":\"{CONTEXT}\",\"extension\":\"{exten}\"}}}}"
        ),
    )
}

/// The same of the product's API.
fn call_of_product(exten: &str) -> Request {
    let path = format!(
        "/api/index/originate?channel=Local/100@{CONTEXT}&exten={exten}&context={CONTEXT}&priority=1&async=true"
    );
    ("GET", path, String::new())
}

/// Calls that programs make: how many a second, and what each takes with all that the call does.
pub fn originating(settings: &Settings) -> Result<Vec<Figure>> {
    let house = House::start(&settings.binary)?;
    let mut figures = Vec::new();
    for (name, request) in [
        (
            "originate of the product's API",
            call_of_product as fn(&str) -> Request,
        ),
        ("POST /api/v1/calls", call_of_v1 as fn(&str) -> Request),
    ] {
        let request = move || request("300");
        let run = |time: Duration| {
            let until = Instant::now() + time;
            asking(&house, &request, &|_| Instant::now() < until)
        };
        run(WARM)?;
        house.wait_until_empty()?;
        let (before, threads) = (cpu::of_process(house.pid())?, cpu::by_thread(house.pid())?);
        let began = Instant::now();
        let (times, refused) = run(Duration::from_secs(settings.seconds))?;
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        house.wait_until_empty()?;
        let used = cpu::of_process(house.pid())?.saturating_sub(before);
        let now = cpu::by_thread(house.pid())?;
        ensure!(!times.is_empty(), "no call could be made");
        let each = |time: Duration| us(time) / times.len() as f64;
        let of = |thread: &str| {
            each(of_threads(&now, thread).saturating_sub(of_threads(&threads, thread)))
        };
        let under = format!(
            "{ASKING} programs, each on one connection; {refused} were told to wait; answered in {:.2} / {:.2} / {:.2} ms \
             (p50 / p99 / max)",
            percentile(&times, 50.0),
            percentile(&times, 99.0),
            percentile(&times, 100.0)
        );
        figures.push(Figure::new(&format!("{name}, a second"), rate, "", under).at_least(500.0));
        let under = format!(
            "two Local channels that are answered and hung up are in it; signalling {:.0}, control {:.0}, media {:.0} us",
            of("sip-"),
            of("control"),
            of("media-")
        );
        figures.push(Figure::new(&format!("{name}, CPU"), each(used), "us", under).at_most(2000.0));
    }
    Ok(figures)
}

/// Calls at a steady pace beside `work`, until that is done.
fn beside<T>(
    house: &House,
    rate: f64,
    longest: Duration,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Paced)> {
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let sip = house.sip();
    let calling = std::thread::spawn(move || {
        Caller::new(sip)?.pace("100", rate, longest, || !is_over.load(Ordering::Relaxed))
    });
    let done = work();
    over.store(true, Ordering::Relaxed);
    let paced = calling
        .join()
        .map_err(|_| anyhow::anyhow!("the telephone has failed"))??;
    Ok((done?, paced))
}

/// Delays of calls in words.
fn delays(paced: &Paced) -> String {
    format!(
        "{:.2} / {:.2} / {:.2} ms (p50 / p99 / max) of {} calls",
        percentile(&paced.delays_ms, 50.0),
        percentile(&paced.delays_ms, 99.0),
        percentile(&paced.delays_ms, 100.0),
        paced.answered
    )
}

/// Lists of all channels while many are there.
pub fn lists(settings: &Settings) -> Result<Vec<Figure>> {
    let house = House::start(&settings.binary)?;
    let wanted = settings.channels as f64;
    let calls = settings.channels.div_ceil(2) as u64;
    let until = Instant::now() + Duration::from_secs(60);
    let mut made = 0;
    while house.metric("strowger_channels")? < wanted {
        ensure!(Instant::now() < until, "the channels are not there in time");
        let missing = calls.saturating_sub(made);
        let begin = missing.max(1);
        let (times, _) = asking(&house, &|| call_of_v1("400"), &|number| {
            number < begin && Instant::now() < until
        })?;
        made += times.len() as u64;
        std::thread::sleep(Duration::from_millis(200));
    }
    let there = house.metric("strowger_channels")?;
    let (_, alone) = beside(&house, BESIDE, LISTS_TIME, || {
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    })?;
    let doors = house.doors();
    let mut figures = Vec::new();
    for name in [
        "status of the product's API",
        "CoreShowChannels of the Manager",
    ] {
        let mut web = Web::connect(doors.http, &doors.key)?;
        let mut manager = Manager::login(&doors)?;
        let before = cpu::of_process(house.pid())?;
        let (times, paced) = beside(&house, BESIDE, 2 * LISTS_TIME, || {
            let (began, mut times) = (Instant::now(), Vec::new());
            while times.len() < LISTS && began.elapsed() < LISTS_TIME {
                let asked = Instant::now();
                let items = if name.starts_with("status") {
                    let answer = web.ask("GET", "/api/index/status", "")?;
                    ensure!(
                        answer.status == 200,
                        "status was answered with {}",
                        answer.status
                    );
                    // Each channel has more than a hundred bytes.
                    usize::try_from(answer.bytes / 100)?
                } else {
                    manager.list("CoreShowChannels")?
                };
                ensure!(
                    items as f64 >= there,
                    "a list of {items} channels of {there}"
                );
                times.push(asked.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(times)
        })?;
        let used = cpu::of_process(house.pid())?.saturating_sub(before);
        let under = format!(
            "{there:.0} channels, {} lists one after the other: {:.1} / {:.1} / {:.1} ms (p50 / p99 / max); {:.1} ms CPU for each, \
             with {BESIDE:.0} calls a second beside",
            times.len(),
            percentile(&times, 50.0),
            percentile(&times, 99.0),
            percentile(&times, 100.0),
            us(used) / 1000.0 / times.len().max(1) as f64
        );
        let p99 = percentile(&times, 99.0);
        figures.push(Figure::new(&format!("{name}, p99"), p99, "ms", under).at_most(1000.0));
        let under = format!("{}; without lists {}", delays(&paced), delays(&alone));
        let late = percentile(&paced.delays_ms, 99.0) - percentile(&alone.delays_ms, 99.0);
        let lost = paced.begun - paced.ended;
        ensure!(lost == 0, "{lost} calls failed beside lists");
        figures.push(
            Figure::new(
                "  by which calls are answered later, p99",
                late,
                "ms",
                under,
            )
            .at_most(20.0),
        );
    }
    Ok(figures)
}

/// What is wrong with what programs heard, in words.
fn faults<'h>(heard: impl Iterator<Item = &'h Heard>, paced: &Paced) -> String {
    let (mut left, mut told, mut breaks, mut fewer, mut more) = (0, 0, 0, 0, 0);
    for one in heard {
        left += usize::from(one.is_left);
        told += usize::from(one.notice.is_some());
        breaks += usize::from(one.breaks > 0);
        fewer += usize::from(one.hangups < paced.begun as u64);
        more += usize::from(one.hangups > paced.begun as u64);
    }
    format!(
        "{left} were left, {told} were told that events are lost, {breaks} found gaps, {fewer} heard of fewer calls, {more} of more"
    )
}

/// Events for many programs, some of which never read, while calls come.
pub fn fan_out(settings: &Settings) -> Result<Vec<Figure>> {
    let house = House::start(&settings.binary)?;
    let stalled = settings.stalled.min(settings.subscribers);
    let healthy = settings.subscribers - stalled;
    let size = Size {
        managers: healthy / 2,
        streams: healthy - healthy / 2,
        stalled_managers: stalled / 2,
        stalled_streams: stalled - stalled / 2,
    };
    let time = Duration::from_secs(settings.seconds);
    let mut caller = Caller::new(house.sip())?;
    caller.pace("100", settings.rate, WARM, || true)?;
    let mut measured = |time: Duration| -> Result<(Paced, Duration, Duration)> {
        let (before, threads) = (cpu::of_process(house.pid())?, cpu::by_thread(house.pid())?);
        let paced = caller.pace("100", settings.rate, time, || true)?;
        std::thread::sleep(SETTLE);
        let now = cpu::by_thread(house.pid())?;
        let signalling = of_threads(&now, "sip-").saturating_sub(of_threads(&threads, "sip-"));
        Ok((
            paced,
            cpu::of_process(house.pid())?.saturating_sub(before),
            signalling,
        ))
    };
    let (alone, used_alone, signalling_alone) = measured(time)?;
    let memory = cpu::resident(house.pid())?;
    let crowd = Crowd::join(&house.doors(), size, settings.interest)?;
    let (paced, used, signalling) = measured(2 * time)?;
    let grown = cpu::resident(house.pid())?.saturating_sub(memory) as f64 / MIB;
    // Those that hang lose their places; the others keep theirs.
    let began = Instant::now();
    let places = |house: &House| -> Result<f64> {
        let managers = house.metric("strowger_manager_sessions_running")?;
        Ok(managers + house.metric("strowger_http_event_readers_running")?)
    };
    while places(&house)? > size.healthy() as f64 && began.elapsed() < LEFT {
        std::thread::sleep(Duration::from_millis(200));
    }
    let heard = crowd.leave()?;
    let of = |stalled: bool| heard.iter().filter(move |one| one.is_stalled == stalled);
    let left = of(true).filter(|one| one.is_left).count();
    // All healthy programs of a kind heard the same; what came of the calls says how much that is.
    let reference = of(false)
        .find(|one| one.hangups == paced.begun as u64 && !one.is_left)
        .map(|one| one.order);
    let wrong = of(false)
        .filter(|one| {
            one.is_left
                || one.breaks > 0
                || one.notice.is_some()
                || one.hangups != paced.begun as u64
                || Some(one.order) != reference
        })
        .count();
    let events: u64 = of(false).map(|one| one.events).sum();
    // CPU that the calls take without anybody listening is theirs.
    let of_calls = us(used_alone) / alone.begun.max(1) as f64 * paced.begun as f64;
    let each = (us(used) - of_calls).max(0.0) * 1000.0 / events.max(1) as f64;
    let per_call = |time: Duration, paced: &Paced| us(time) / paced.begun.max(1) as f64;
    let mut figures = vec![
        Figure::new(
            "an event for one program, CPU",
            each,
            "ns",
            format!(
                "{} programs, {} of which never read; {:.0} calls a second; {events} events were heard, {:.0} a second; system calls included",
                settings.subscribers,
                size.stalled(),
                settings.rate,
                events as f64 / (2 * time).as_secs_f64()
            ),
        )
        .at_most(2000.0),
        Figure::new(
            "programs that missed an event, or heard one twice or too early",
            wrong as f64,
            "",
            format!("of {} that read: {}", size.healthy(), faults(of(false), &paced)),
        )
        .at_most(0.0),
        Figure::new(
            "programs that never read and were left",
            left as f64,
            "",
            format!("of {}", size.stalled()),
        )
        .at_least(size.stalled() as f64),
        Figure::new(
            "memory for them",
            grown,
            "MiB",
            "32 MiB of unread events and 32 MiB of kept ones are allowed".to_owned(),
        )
        .at_most(128.0),
    ];
    let late = percentile(&paced.delays_ms, 99.0) - percentile(&alone.delays_ms, 99.0);
    figures.push(
        Figure::new(
            "by which calls are answered later, p99",
            late,
            "ms",
            format!("{}; without programs {}", delays(&paced), delays(&alone)),
        )
        .at_most(20.0),
    );
    let failed = paced.begun - paced.ended + alone.begun - alone.ended;
    figures.push(
        Figure::new(
            "calls that failed",
            failed as f64,
            "",
            format!(
                "signalling took {:.0} us a call, without programs {:.0}",
                per_call(signalling, &paced),
                per_call(signalling_alone, &alone)
            ),
        )
        .at_most(0.0),
    );
    Ok(figures)
}

/// Makes a recording of silence: a head, and a file that has no blocks behind it.
fn make_recording(path: &Path, mib: u64) -> Result<u64> {
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    let sound = mib * 1024 * 1024;
    let size = u32::try_from(sound).context("a WAV file has 4 GiB at most")?;
    let mut file = std::fs::File::create(path)?;
    file.write_all(b"RIFF")?;
    file.write_all(&size.saturating_add(36).to_le_bytes())?;
    file.write_all(b"WAVEfmt \x10\0\0\0\x01\0\x01\0")?;
    file.write_all(&8000_u32.to_le_bytes())?;
    file.write_all(&16_000_u32.to_le_bytes())?;
    file.write_all(b"\x02\0\x10\0data")?;
    file.write_all(&size.to_le_bytes())?;
    let head = file.stream_position()?;
    // What is not written reads as zeros, through the same calls.
    file.seek(SeekFrom::Start(head + sound - 2))?;
    file.write_all(&[1, 0])?;
    file.sync_all()?;
    Ok(head + sound)
}

/// A long recording that is fetched: memory of the exchange, and how fast.
pub fn recording(settings: &Settings) -> Result<Vec<Figure>> {
    let house = House::start(&settings.binary)?;
    let path = house.recordings().join(format!("{RECORDED}.wav"));
    let bytes = make_recording(&path, settings.recording_mib)?;
    house.write(vec![format!(
        "INSERT INTO cdr (src, dst, dcontext, channel, start, answer, \"end\", duration, billsec, disposition, uniqueid, linkedid) \
         VALUES ('100', '200', '{CONTEXT}', 'PJSIP/tester-1', '2023-11-14 22:13:20', '2023-11-14 22:13:20', \
         '2023-11-15 22:13:20', 86400, 86400, 'ANSWERED', '{RECORDED}', '{RECORDED}')"
    )])?;
    let doors = house.doors();
    let mut figures = Vec::new();
    for (name, address) in [
        (
            "get_file_wav",
            format!("/api/index/get_file_wav?uniqueid={RECORDED}"),
        ),
        (
            "GET /api/v1/recordings/{id}",
            format!("/api/v1/recordings/{RECORDED}?format=wav"),
        ),
    ] {
        let mut web = Web::connect(doors.http, &doors.key)?;
        // What a first request loads is not the file's.
        web.ask("GET", "/api/v1/cdr?limit=1", "")?;
        let pid = house.pid();
        let before = (cpu::resident(pid)?, cpu::of_process(pid)?);
        let over = AtomicBool::new(false);
        let (answer, most, took) = std::thread::scope(|scope| -> Result<_> {
            let watching = scope.spawn(|| {
                let mut most = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    most = most.max(cpu::resident(pid).unwrap_or_default());
                    std::thread::sleep(Duration::from_millis(10));
                }
                most
            });
            let began = Instant::now();
            let answer = web.ask("GET", &address, "");
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            let most = watching
                .join()
                .map_err(|_| anyhow::anyhow!("nobody watched the memory"))?;
            Ok((answer?, most, took))
        })?;
        ensure!(
            answer.status == 200 && answer.bytes == bytes,
            "{name} was answered with {} and {} bytes of {bytes}",
            answer.status,
            answer.bytes
        );
        let used = cpu::of_process(pid)?.saturating_sub(before.1);
        let grown = most.saturating_sub(before.0) as f64 / MIB;
        let size = bytes as f64 / MIB;
        let under = format!(
            "{size:.0} MiB in {:.2} s, {:.0} MiB/s; {:.2} ms CPU for each MiB",
            took.as_secs_f64(),
            size / took.as_secs_f64(),
            us(used) / 1000.0 / size
        );
        figures.push(Figure::new(&format!("{name}, memory"), grown, "MiB", under).at_most(8.0));
    }
    Ok(figures)
}

/// What call records, events and metrics take of signalling: calls with all of them in turn with calls without any.
pub fn overhead(settings: &Settings) -> Result<Vec<Figure>> {
    let house = House::start(&settings.binary)?;
    let mut caller = Caller::new(house.sip())?;
    let rate = settings.rate;
    let time = Duration::from_secs(settings.seconds);
    caller.pace("111", rate, WARM, || true)?;
    caller.pace("110", rate, WARM, || true)?;
    let mut measured = |exten: &str| -> Result<(f64, f64)> {
        let (before, threads) = (cpu::of_process(house.pid())?, cpu::by_thread(house.pid())?);
        let paced = caller.pace(exten, rate, time, || true)?;
        ensure!(
            paced.ended == paced.begun,
            "{} of {} calls failed",
            paced.begun - paced.ended,
            paced.begun
        );
        let now = cpu::by_thread(house.pid())?;
        let signalling = of_threads(&now, "sip-").saturating_sub(of_threads(&threads, "sip-"));
        let all = cpu::of_process(house.pid())?.saturating_sub(before);
        let calls = paced.begun as f64;
        Ok((us(signalling) / calls, us(all) / calls))
    };
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        off.push(measured("111")?);
        let one = Size {
            managers: 1,
            ..Size::default()
        };
        let crowd = Crowd::join(&house.doors(), one, Interest::Everything)?;
        let over = AtomicBool::new(false);
        let with = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = house.metric("strowger_channels");
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
            let with = measured("110");
            over.store(true, Ordering::Relaxed);
            with
        });
        on.push(with?);
        let heard = crowd.leave()?;
        ensure!(
            heard.iter().all(|one| one.hangups > 0),
            "the Manager told of no call"
        );
    }
    let middle = |values: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
        median(&values.iter().map(pick).collect::<Vec<_>>()).unwrap_or_default()
    };
    let signalling = (middle(&off, |v| v.0), middle(&on, |v| v.0));
    let all = (middle(&off, |v| v.1), middle(&on, |v| v.1));
    let share = (signalling.1 / signalling.0 - 1.0) * 100.0;
    Ok(vec![
        Figure::new(
            "call records, events and metrics, of signalling",
            share,
            "%",
            format!(
                "{:.0} us a call with records, a session of the Manager and /metrics each second, {:.0} us without; all threads {:.0} and \
                 {:.0} us; {rate:.0} calls a second, {ROUNDS} rounds",
                signalling.1, signalling.0, all.1, all.0
            ),
        )
        .at_most(10.0),
    ])
}
