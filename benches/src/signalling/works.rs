//! What is measured, each beside what its datagrams alone take.

use anyhow::{Context as _, Result, ensure};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use strowger_scripting::Limits;
use strowger_store::{Aor, Auth, Endpoint, Snapshot};

use super::phones::{Done, PASSWORD, Phones, name};
use crate::cpu;
use crate::dialplan::{CONTEXT, Figure, Inside, rows, snapshot};

/// Calls on their way at once.
const IN_FLIGHT: usize = 32;
/// Users that register again and again.
const USERS: usize = 1000;
/// REGISTERs on their way at once.
const REGISTERS: usize = 64;
/// What comes before it is counted: everything is cold.
const WARM: Duration = Duration::from_millis(500);
/// The same of calls and registrations: until as many transactions end (64*T1) as begin.
const BALANCE: Duration = Duration::from_secs(33);

/// CPU time of this process without the calling thread, which plays the telephones.
fn exchange() -> Result<Duration> {
    Ok(cpu::of_process(std::process::id())?.saturating_sub(cpu::of_thread()?))
}

/// CPU time that plain sockets take for one datagram of a usual length, received or sent.
fn datagram_us() -> Result<f64> {
    const COUNT: u32 = 20_000;
    let echo = UdpSocket::bind("127.0.0.1:0")?;
    echo.set_read_timeout(Some(Duration::from_millis(100)))?;
    let address = echo.local_addr()?;
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let echoing = std::thread::spawn(move || -> Result<(Duration, u32)> {
        let mut buffer = [0; 2048];
        let (began, mut count) = (cpu::of_thread()?, 0);
        while !ended.load(Ordering::Relaxed) {
            let Ok((length, from)) = echo.recv_from(&mut buffer) else {
                continue;
            };
            echo.send_to(buffer.get(..length).unwrap_or_default(), from)?;
            count += 1;
        }
        Ok((cpu::of_thread()?.saturating_sub(began), count))
    });
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [7; 600];
    for _ in 0..COUNT / 8 {
        for _ in 0..8 {
            socket.send_to(&buffer, address)?;
        }
        for _ in 0..8 {
            socket.recv(&mut buffer)?;
        }
    }
    over.store(true, Ordering::Relaxed);
    let (took, count) = echoing
        .join()
        .map_err(|_| anyhow::anyhow!("the echo has failed"))??;
    Ok(took.as_nanos() as f64 / 1000.0 / f64::from(count) / 2.0)
}

/// Calls of `exten` one after the other, [`IN_FLIGHT`] at once, for so long: per call the CPU time of the exchange and the
/// datagrams it took and sent.
fn calling(exten: &str, seconds: u64, callee: bool) -> Result<(f64, f64, f64)> {
    let mut callers = Phones::new(0)?;
    let mut callees = Phones::new(0)?;
    let list = [
        ("100", "Answer", String::new()),
        ("100", "Wait", "600".to_owned()),
        ("200", "Dial", "PJSIP/callee".to_owned()),
    ];
    let list: Vec<_> = list.iter().map(|(e, a, d)| (*e, *a, d.as_str())).collect();
    let mut tables = snapshot(rows(&list));
    add_callee(&mut tables, &callees);
    let inside = Inside::start_with(tables, &[], Limits::default())?;
    callers.talk_to(inside.address);
    callees.talk_to(inside.address);
    let mut begun = 0;
    let mut run = |callers: &mut Phones, callees: &mut Phones, time: Duration| -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < time {
            while begun < callers.done.calls + IN_FLIGHT {
                callers.call(begun, exten)?;
                begun += 1;
            }
            let wanted = callers.done.calls + 1;
            callers.until("a call", &mut [callees], |callers| {
                callers.done.calls >= wanted
            })?;
        }
        Ok(())
    };
    run(&mut callers, &mut callees, BALANCE)?;
    let before = (callers.done, callees.done, exchange()?);
    run(&mut callers, &mut callees, Duration::from_secs(seconds))?;
    let used = exchange()?.saturating_sub(before.2);
    let calls = (callers.done.calls - before.0.calls) as f64;
    ensure!(
        callee == (callees.done.datagrams > 0),
        "the wrong telephone was rung"
    );
    let datagrams =
        callers.done.datagrams + callees.done.datagrams - before.0.datagrams - before.1.datagrams;
    Ok((
        used.as_nanos() as f64 / 1000.0 / calls,
        datagrams as f64 / calls,
        calls / seconds as f64,
    ))
}

fn add_callee(tables: &mut Snapshot, phones: &Phones) {
    let endpoint = Endpoint {
        id: "callee".to_owned(),
        context: CONTEXT.to_owned(),
        aors: vec!["callee".to_owned()],
        allow: vec!["alaw".to_owned()],
        direct_media: false,
        ..Endpoint::default()
    };
    let aor = Aor {
        id: "callee".to_owned(),
        contact: vec![format!("sip:callee@{}", phones.local())],
        ..Aor::default()
    };
    Arc::make_mut(&mut tables.endpoints).insert("callee".to_owned(), Arc::new(endpoint));
    Arc::make_mut(&mut tables.aors).insert("callee".to_owned(), Arc::new(aor));
}

/// Calls that are answered by the exchange and hung up by the caller.
pub fn answered(seconds: u64) -> Result<Vec<Figure>> {
    let (us, datagrams, rate) = calling("100", seconds, false)?;
    Ok(vec![
        figure("CPU of an answered call", us, datagrams, rate)?.at_most(110.0),
    ])
}

/// Calls that are dialled on to a telephone, which answers.
pub fn bridged(seconds: u64) -> Result<Vec<Figure>> {
    let (us, datagrams, rate) = calling("200", seconds, true)?;
    Ok(vec![
        figure("CPU of a bridged call", us, datagrams, rate)?.at_most(220.0),
    ])
}

fn figure(name: &str, us: f64, datagrams: f64, rate: f64) -> Result<Figure> {
    let alone = datagrams * datagram_us()?;
    let reference = format!(
        "all threads; {datagrams:.1} datagrams, which plain sockets move in {alone:.1} us; {rate:.0} a second came about, \
         {IN_FLIGHT} at once"
    );
    Ok(Figure::new(name, us, "us", reference))
}

/// Tables with users that register, each with an endpoint, an auth and an AOR of its own.
fn users(count: usize, qualify_frequency: u32) -> Snapshot {
    let mut tables = snapshot(Vec::new());
    for number in 0..count {
        let id = name(number);
        let endpoint = Endpoint {
            id: id.clone(),
            context: CONTEXT.to_owned(),
            aors: vec![id.clone()],
            auth: vec![id.clone()],
            allow: vec!["alaw".to_owned()],
            ..Endpoint::default()
        };
        let auth = Auth {
            id: id.clone(),
            username: Some(id.clone()),
            password: Some(PASSWORD.to_owned()),
            ..Auth::default()
        };
        let aor = Aor {
            id: id.clone(),
            max_contacts: 1,
            qualify_frequency,
            ..Aor::default()
        };
        Arc::make_mut(&mut tables.endpoints).insert(id.clone(), Arc::new(endpoint));
        Arc::make_mut(&mut tables.auths).insert(id.clone(), Arc::new(auth));
        Arc::make_mut(&mut tables.aors).insert(id, Arc::new(aor));
    }
    tables
}

/// Registers users `from..to`, [`REGISTERS`] at once.
fn register(phones: &mut Phones, numbers: impl Iterator<Item = usize>) -> Result<()> {
    let mut sent = phones.done.registers;
    for number in numbers {
        phones.register(number)?;
        sent += 1;
        phones.until("a registration", &mut [], |phones| {
            phones.done.registers + REGISTERS > sent
        })?;
    }
    phones.until("the registrations", &mut [], |phones| {
        phones.done.registers == sent
    })
}

/// Users that register again and again; their contacts are kept in memory, no database is written.
pub fn registering(seconds: u64) -> Result<Vec<Figure>> {
    let mut phones = Phones::new(USERS)?;
    let inside = Inside::start_with(users(USERS, 0), &[], Limits::default())?;
    phones.talk_to(inside.address);
    // Each has its first challenge.
    let started = Instant::now();
    while started.elapsed() < BALANCE {
        register(&mut phones, 0..USERS)?;
    }
    let measure = |phones: &mut Phones, forget: bool| -> Result<(Done, f64, f64)> {
        let (before, used, started) = (phones.done, exchange()?, Instant::now());
        while started.elapsed() < Duration::from_secs(seconds) {
            if forget {
                phones.forget_challenges();
            }
            register(phones, 0..USERS)?;
        }
        let used = exchange()?.saturating_sub(used);
        let count = (phones.done.registers - before.registers) as f64;
        let rate = count / started.elapsed().as_secs_f64();
        Ok((before, used.as_nanos() as f64 / 1000.0 / count, rate))
    };
    let mut figures = Vec::new();
    for forget in [false, true] {
        let (before, us, rate) = measure(&mut phones, forget)?;
        let count = (phones.done.registers - before.registers) as f64;
        let datagrams = (phones.done.datagrams - before.datagrams) as f64 / count;
        let challenged = (phones.done.challenges - before.challenges) as f64 / count * 100.0;
        let alone = datagrams * datagram_us()?;
        let reference = format!(
            "all threads; {datagrams:.1} datagrams, which plain sockets move in {alone:.1} us; {challenged:.0} % were challenged \
             first; {rate:.0} a second came about"
        );
        let name = if forget {
            "CPU of a REGISTER with its challenge"
        } else {
            "CPU of an authenticated REGISTER"
        };
        let figure = Figure::new(name, us, "us", reference);
        figures.push(if forget { figure } else { figure.at_most(30.0) });
    }
    Ok(figures)
}

/// Memory of registered contacts, and what asking them with OPTIONS takes.
pub fn contacts(count: usize, seconds: u64) -> Result<Vec<Figure>> {
    const PERIOD: u32 = 60;
    let mut phones = Phones::new(count)?;
    let inside = Inside::start_with(users(count, PERIOD), &[], Limits::default())?;
    phones.talk_to(inside.address);
    // The challenges that the telephones remember are theirs.
    let own = |phones: &Phones| phones.challenges_bytes();
    std::thread::sleep(WARM);
    let (before, theirs) = (cpu::resident(std::process::id())?, own(&phones));
    register(&mut phones, 0..count)?;
    let grown = cpu::resident(std::process::id())?.saturating_sub(before) as f64;
    let theirs = (own(&phones) - theirs) as f64;
    let each = (grown - theirs).max(0.0) / count as f64 / 1024.0;
    let (options, used) = (phones.done.options, exchange()?);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds) {
        if !phones.listen()? {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let used = exchange()?.saturating_sub(used).as_secs_f64() / started.elapsed().as_secs_f64();
    let asked = (phones.done.options - options) as f64 / started.elapsed().as_secs_f64();
    let reference = format!(
        "{count} contacts that are asked every {PERIOD} s: {asked:.0} OPTIONS a second, {:.1} % of a core",
        used * 100.0
    );
    Ok(vec![
        Figure::new("memory of a registered contact", each, "KiB", reference).at_most(2.0),
    ])
}

/// Memory of bridged calls that stand.
pub fn dialogs(count: usize) -> Result<Vec<Figure>> {
    let mut callers = Phones::new(0)?;
    let mut callees = Phones::new(0)?;
    callers.hang_up = false;
    let mut tables = snapshot(rows(&[("200", "Dial", "PJSIP/callee")]));
    add_callee(&mut tables, &callees);
    let inside = Inside::start_with(tables, &[], Limits::default())?;
    callers.talk_to(inside.address);
    callees.talk_to(inside.address);
    let mut begin = |callers: &mut Phones, numbers: std::ops::Range<usize>| -> Result<()> {
        let all = numbers.end;
        for number in numbers {
            callers.call(number, "200")?;
            callers.until("a call", &mut [&mut callees], |callers| {
                callers.answered + IN_FLIGHT > number
            })?;
        }
        callers.until("the calls", &mut [&mut callees], |callers| {
            callers.answered >= all
        })
    };
    // What the first calls load is shared by all.
    let first = count / 10;
    begin(&mut callers, 0..first)?;
    std::thread::sleep(WARM);
    let before = cpu::resident(std::process::id())?;
    begin(&mut callers, first..first + count)?;
    std::thread::sleep(WARM);
    let grown = cpu::resident(std::process::id())?.saturating_sub(before) as f64;
    let each = grown / count as f64 / 1024.0;
    callers.leave_all()?;
    inside
        .wait("all calls are over", || inside.shared.channels() == 0)
        .context("calls that were left stand")?;
    let reference =
        format!("{count} bridged calls, both dialogs and both legs of each; media engine included");
    Ok(vec![
        Figure::new("memory of a dialog pair", each, "KiB", reference).at_most(24.0),
    ])
}
