//! The generator: one thread with one ring that places and receives calls, speaks, listens, and counts. What a call does
//! when is in `calls`, what a message means in `signalling`; here are the places of calls, the clock and the wheel of packets.

pub(crate) mod arrivals;
mod calls;
mod leg;
pub(crate) mod manager;
mod registrations;
mod signalling;
pub mod totals;

use crate::scenario::{Codec, Kind, Length, Scenario, Step, Talk};
use crate::talk::Side;
use crate::talk::tone::Loops;
use crate::uring::{Carries, Ring, Slot, schedule};
use anyhow::{Context as _, Result};
use arrivals::Schedule;
use calls::{Call, Room};
use leg::{Leg, LegRef, Turn};
use manager::Manager;
use registrations::Registration;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use totals::{Percentiles, Times, Totals};

/// Turns in 20 ms.
const SLOTS: u64 = 20;
/// A port for media is not used again before this time, so that late packets meet nobody.
const QUARANTINE_MS: u64 = 1000;
/// The last calls may take so long to end after the last step.
const WIND_UP: Duration = Duration::from_secs(60);
/// So long after the last step calls with a length of their own are left alone.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long a port that is taken is waited for.
const PORT_PATIENCE: Duration = Duration::from_secs(3);
/// Odd calls that are told one by one.
const ODD_CALLS_MAX: usize = 100;

/// How a run is told about while it goes on: once a second, and at the ends of steps.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Snapshot {
    /// Seconds since the first step began.
    pub t_s: f64,
    /// Number of the step, from 1; 0: registering before, one above the last: winding up.
    pub step: usize,
    /// The step's number of calls has been reached, or its first second is over.
    pub steady: bool,
    /// The step ends with this.
    pub last_of_step: bool,
    /// Calls begun and not over, and those with both sides connected.
    pub active: u32,
    pub up: u32,
    /// Of this second, or of the steady part of the step in its last snapshot.
    pub delay: Percentiles,
    pub setup: Percentiles,
    /// The longest that the generator itself was late in this time, in milliseconds.
    pub late_ms: f64,
    /// Everything so far.
    pub totals: Totals,
}

/// A call that did not go as planned.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OddCall {
    pub call: u32,
    pub t_s: f64,
    pub what: String,
}

/// What is left of a run for its report.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Outcome {
    pub totals: Totals,
    /// Delay of packets in the steady parts.
    pub delay: Percentiles,
    /// From INVITE or REGISTER to the final answer.
    pub setup: Percentiles,
    /// Largest jitter of each leg.
    pub jitter: Percentiles,
    pub late_ms: f64,
    pub odd_calls: Vec<OddCall>,
    /// Stopped before its end.
    pub interrupted: bool,
}

/// What a run is given besides its scenario.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The server's SIP address.
    pub server: SocketAddr,
    /// The core that the generator stays on.
    pub core: Option<usize>,
    /// Real-time priority where the machine allows it.
    pub realtime: bool,
    /// Media may go to addresses that are not of this machine's loopback network.
    pub i_own_this: bool,
    /// Where calls are recorded.
    pub recordings: PathBuf,
    /// Set from outside to end early.
    pub stop: Arc<AtomicBool>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
enum What {
    /// Look at what waits for an answer.
    Repeat(u32, u32, u8),
    RepeatRegistration(u32),
    /// The next thing in a call.
    Act(u32, u32, calls::Act),
    /// A port may be used again.
    Release(u32),
}

/// Who has a Call-ID.
#[derive(Copy, Clone, Debug)]
enum Owner {
    Leg(LegRef),
    Registration(u32),
}

/// SIP as it came.
struct Letter {
    slot: Slot,
    at: Option<Duration>,
    bytes: Vec<u8>,
}

struct Party {
    signal: Slot,
    address: SocketAddr,
    media_ip: IpAddr,
    rtcp_port: u16,
    free: Vec<Slot>,
}

struct Engine {
    ring: Ring,
    scenario: Scenario,
    setting: Setting,
    run: u32,
    started: Instant,
    caller: Party,
    callee: Party,
    calls: Vec<Option<Call>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    registrations: Vec<Option<Registration>>,
    free_registrations: Vec<u32>,
    next_user: u32,
    by_id: FxHashMap<String, Owner>,
    waiting: FxHashMap<String, VecDeque<(u32, u32)>>,
    rooms: FxHashMap<u32, Room>,
    owners: Vec<Option<LegRef>>,
    wheel: Vec<Vec<LegRef>>,
    timers: BinaryHeap<Reverse<(u64, What)>>,
    inbox: Vec<Letter>,
    loops: [Option<Loops>; 2],
    manager: Option<Manager>,
    chance: fastrand::Rng,
    next_call: u32,
    branches: u64,
    active: u32,
    up: u32,
    ending: u32,
    step: usize,
    steady: bool,
    totals: Totals,
    delay: [Times; 3],
    setup: [Times; 3],
    jitter: Times,
    late: Duration,
    late_step: Duration,
    late_max: Duration,
    odd: Vec<OddCall>,
}

/// Of the pairs and triples of histograms: this second, this step's steady part, all steady parts.
const SECOND: usize = 0;
const STEP: usize = 1;
const ALL: usize = 2;

impl Engine {
    fn new(scenario: Scenario, setting: Setting) -> Result<Self> {
        let calls_max = scenario.calls_max() as usize;
        // Ports rest for a while after a call; a few more than two for each call are needed then.
        let rate = scenario.steps.iter().fold(0.0_f64, |most, step| {
            most.max(step.rate).max(step.rate_to.unwrap_or(0.0))
        });
        let (calls, is_called) = sides_of(scenario.kind);
        let legs = usize::from(calls) + usize::from(is_called);
        let sockets = match scenario.call.talk {
            Talk::None => 0,
            _ => (calls_max + (rate * 1.5) as usize) * legs,
        } + 128;
        raise_descriptors(sockets as u64 + 256)?;
        let mut ring = Ring::new(sockets as u32)
            .context("the generator needs io_uring of Linux 6.1 or later")?;
        let caller = party(&mut ring, &scenario.caller, setting.server).context("caller")?;
        let callee = party(&mut ring, &scenario.callee, setting.server).context("callee")?;
        let loops = match scenario.call.talk {
            Talk::Tone => [
                Some(Loops::new(scenario.caller.codec)?),
                Some(Loops::new(scenario.callee.codec)?),
            ],
            Talk::Signature | Talk::None => [None, None],
        };
        let manager = scenario
            .originate
            .as_ref()
            .map(Manager::connect)
            .transpose()?;
        let now = wall_ns();
        Ok(Self {
            ring,
            run: (now / 1000) as u32,
            started: Instant::now(),
            caller,
            callee,
            calls: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            registrations: Vec::new(),
            free_registrations: Vec::new(),
            next_user: 0,
            by_id: FxHashMap::default(),
            waiting: FxHashMap::default(),
            rooms: FxHashMap::default(),
            owners: vec![None; sockets],
            wheel: vec![Vec::new(); SLOTS as usize],
            timers: BinaryHeap::new(),
            inbox: Vec::new(),
            loops,
            manager,
            chance: fastrand::Rng::with_seed(scenario.seed),
            next_call: 0,
            branches: 0,
            active: 0,
            up: 0,
            ending: 0,
            step: 0,
            steady: false,
            totals: Totals::default(),
            delay: Default::default(),
            setup: Default::default(),
            jitter: Times::default(),
            late: Duration::ZERO,
            late_step: Duration::ZERO,
            late_max: Duration::ZERO,
            odd: Vec::new(),
            scenario,
            setting,
        })
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn at(&mut self, at_ms: u64, what: What) {
        self.timers.push(Reverse((at_ms, what)));
    }

    fn party(&self, side: Side) -> &Party {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    fn call(&mut self, place: u32, generation: u32) -> Option<&mut Call> {
        let current = *self.generations.get(place as usize)?;
        (current == generation).then_some(())?;
        self.calls.get_mut(place as usize)?.as_mut()
    }

    fn leg(&mut self, leg: LegRef) -> Option<&mut Leg> {
        self.call(leg.place, leg.generation)?.leg_mut(leg.side)
    }

    /// A port for media of one side.
    fn take_socket(&mut self, side: Side) -> Result<Slot> {
        // Both sides share the ports of one address.
        let shared = self.caller.media_ip == self.callee.media_ip;
        let party = match side {
            Side::Callee if !shared => &mut self.callee,
            _ => &mut self.caller,
        };
        if let Some(slot) = party.free.pop() {
            return Ok(slot);
        }
        let socket = UdpSocket::bind((party.media_ip, 0)).context("no port for media is free")?;
        Ok(self.ring.add(socket, Carries::Media)?)
    }

    fn release(&mut self, slot: Slot) {
        let ip = self.ring.address(slot).map(|address| address.ip());
        let party = if ip.is_ok_and(|ip| ip == self.caller.media_ip) {
            &mut self.caller
        } else {
            &mut self.callee
        };
        party.free.push(slot);
    }

    /// One millisecond: packets that are due, timers, and what came until `until`.
    fn turn(&mut self, tick: u64) -> Result<()> {
        self.speak((tick % SLOTS) as usize)?;
        let now = self.now_ms();
        while let Some(Reverse((at, what))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.act(what, now);
        }
        if let Some(manager) = &mut self.manager {
            for (number, error) in manager.refusals() {
                self.refused_by_manager(number, &error);
            }
        }
        Ok(())
    }

    fn act(&mut self, what: What, now: u64) {
        match what {
            What::Repeat(place, generation, side) => {
                let side = if side == 0 {
                    Side::Caller
                } else {
                    Side::Callee
                };
                self.repeat(
                    LegRef {
                        place,
                        generation,
                        side,
                    },
                    now,
                );
            }
            What::RepeatRegistration(n) => self.repeat_registration(n, now),
            What::Act(place, generation, act) => self.act_of_call(place, generation, act),
            What::Release(slot) => self.release(Slot(slot)),
        }
    }

    /// Lets all legs of a slot of the wheel have their turn.
    fn speak(&mut self, slot: usize) -> Result<()> {
        let mut done = Vec::new();
        let Self {
            ring,
            wheel,
            calls,
            generations,
            loops,
            totals,
            ..
        } = self;
        let Some(turns) = wheel.get_mut(slot) else {
            return Ok(());
        };
        let mut failure = None;
        // The clock is read once for each batch that leaves together.
        let (mut now, mut fresh) = (wall_ns(), 0);
        turns.retain(|leg| {
            let place = leg.place as usize;
            let media = generations
                .get(place)
                .filter(|&&generation| generation == leg.generation)
                .and_then(|_| {
                    calls
                        .get_mut(place)?
                        .as_mut()?
                        .leg_mut(leg.side)?
                        .media
                        .as_mut()
                });
            let Some(media) = media.filter(|media| media.in_wheel) else {
                return false;
            };
            let Some(to) = media.remote else {
                return true;
            };
            fresh += 1;
            if fresh % 16 == 0 {
                now = wall_ns();
            }
            let loops = loops[usize::from(leg.side.number())].as_ref();
            let mut packet = [0; crate::uring::MEDIA_MAX];
            match media.turn(now, loops, &mut packet) {
                Turn::Nothing => {}
                Turn::DigitsDone => done.push(*leg),
                Turn::Send { len, audio } => {
                    totals.sent += u64::from(audio);
                    let sent = ring.send_media(media.socket, to, |bytes| {
                        bytes[..len].copy_from_slice(&packet[..len]);
                        len
                    });
                    failure = failure.take().or(sent.err());
                }
            }
            true
        });
        if let Some(error) = failure {
            return Err(error).context("cannot send");
        }
        self.ring.flush().context("cannot send")?;
        for leg in done {
            self.digits_done(leg);
        }
        Ok(())
    }

    /// Waits for the next millisecond and takes what comes.
    fn listen(&mut self, until: Instant) -> Result<()> {
        let Self {
            ring,
            owners,
            calls,
            generations,
            inbox,
            totals,
            delay,
            steady,
            caller,
            callee,
            ..
        } = self;
        let steady = *steady;
        ring.wait(until, |came| {
            if came.slot == caller.signal || came.slot == callee.signal {
                inbox.push(Letter {
                    slot: came.slot,
                    at: came.at,
                    bytes: came.bytes.to_vec(),
                });
                return;
            }
            let media = owners
                .get(came.slot.0 as usize)
                .copied()
                .flatten()
                .filter(|leg| generations.get(leg.place as usize) == Some(&leg.generation))
                .and_then(|leg| {
                    let call = calls.get_mut(leg.place as usize)?.as_mut()?;
                    call.leg_mut(leg.side)?.media.as_mut()
                });
            match media {
                None => totals.after_end += 1,
                Some(media) => {
                    totals.elsewhere += u64::from(media.remote.is_some_and(|at| at != came.source));
                    if let Some(took) = media.ear.hear(came.bytes, came.at) {
                        delay[SECOND].add(took);
                        if steady {
                            delay[STEP].add(took);
                        }
                    }
                }
            }
        })
        .context("cannot receive")?;
        for letter in std::mem::take(&mut self.inbox) {
            self.totals.messages_received += 1;
            self.receive(&letter);
        }
        Ok(())
    }

    /// Puts a leg into the least occupied slot of the wheel.
    fn enter_wheel(&mut self, leg: LegRef) {
        let Some(media) = self.leg(leg).and_then(|leg| leg.media.as_mut()) else {
            return;
        };
        if std::mem::replace(&mut media.in_wheel, true) {
            return;
        }
        if let Some(slot) = self.wheel.iter_mut().min_by_key(|slot| slot.len()) {
            slot.push(leg);
        }
    }

    /// Runs one step, or with `None` winds up: no new calls, until all are over.
    fn run_step(
        &mut self,
        step: Option<Step>,
        tell: &mpsc::Sender<Snapshot>,
        clock: &mut Clock,
    ) -> Result<()> {
        self.step += 1;
        self.steady = false;
        self.late_step = Duration::ZERO;
        for times in [&mut self.delay[STEP], &mut self.setup[STEP]] {
            times.clear();
        }
        let begun = Instant::now();
        let endless = self.scenario.call.length == Length::End || self.stopped();
        let length = step.map_or(WIND_UP, |step| Duration::from_secs_f64(step.seconds));
        let mut schedule = step.map(|step| Schedule::new(step, &mut self.chance));
        let mut winding = Schedule::new(
            Step {
                seconds: WIND_UP.as_secs_f64(),
                calls: Some(0),
                rate: (f64::from(self.active) / 20.0).max(200.0),
                rate_to: None,
                arrivals: crate::scenario::Arrivals::Even,
            },
            &mut self.chance,
        );
        loop {
            let t = begun.elapsed();
            let over = match step {
                Some(_) => t >= length || self.stopped(),
                None => t >= length || (self.active == 0 && self.registering() == 0),
            };
            if over {
                break;
            }
            self.turn(clock.tick)?;
            match (&mut schedule, step) {
                (Some(schedule), Some(step)) => {
                    let due = schedule.due(t.as_secs_f64(), &mut self.chance);
                    self.arrive(due, step);
                    self.steady |= match step.calls {
                        Some(calls) => self.up >= calls,
                        None => t >= Duration::from_secs(1).min(length / 3),
                    };
                }
                // Calls with a length of their own may end by themselves for a while.
                _ if endless || t >= PATIENCE => {
                    let since = if endless { t } else { t - PATIENCE };
                    let due = winding.due(since.as_secs_f64(), &mut self.chance);
                    self.hang_up_some(due);
                }
                _ => {}
            }
            clock.tick += 1;
            let next = clock.start + Duration::from_millis(clock.tick);
            let late = Instant::now().saturating_duration_since(next);
            self.late = self.late.max(late);
            self.listen(next)?;
            if clock.tick.is_multiple_of(1000) {
                let snapshot = self.snapshot(clock, false);
                let _ = tell.send(snapshot);
            }
        }
        self.delay[ALL].merge(&self.delay[STEP].clone());
        self.setup[ALL].merge(&self.setup[STEP].clone());
        let snapshot = self.snapshot(clock, true);
        let _ = tell.send(snapshot);
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.setting.stop.load(Ordering::Relaxed)
    }

    fn snapshot(&mut self, clock: &Clock, last_of_step: bool) -> Snapshot {
        let part = if last_of_step { STEP } else { SECOND };
        self.late_step = self.late_step.max(self.late);
        let late = if last_of_step {
            self.late_step
        } else {
            self.late
        };
        self.totals.send_errors = self.ring.send_errors();
        let mut totals = self.totals.clone();
        for call in self.calls.iter().flatten() {
            for leg in call.legs() {
                if let Some(media) = &leg.media {
                    totals.heard.add(&media.ear.counts());
                }
            }
        }
        let snapshot = Snapshot {
            t_s: clock.start.elapsed().as_secs_f64(),
            step: self.step,
            steady: self.steady,
            last_of_step,
            active: self.active,
            up: self.up,
            delay: self.delay[part].percentiles(),
            setup: self.setup[part].percentiles(),
            late_ms: late.as_secs_f64() * 1000.0,
            totals,
        };
        if !last_of_step {
            self.late_max = self.late_max.max(self.late);
            self.late = Duration::ZERO;
            self.delay[SECOND].clear();
            self.setup[SECOND].clear();
        }
        snapshot
    }

    /// Notes a time from a request to its final answer.
    fn note_setup(&mut self, took: Duration) {
        self.setup[SECOND].add(took);
        // Where calls stay up, all are set up before their number is reached.
        self.setup[STEP].add(took);
    }

    fn note_odd(&mut self, call: u32, what: &str) {
        if self.odd.len() < ODD_CALLS_MAX {
            self.odd.push(OddCall {
                call,
                t_s: self.started.elapsed().as_secs_f64(),
                what: what.to_owned(),
            });
        }
    }

    fn branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bK{:x}-{}", self.run, self.branches)
    }

    fn send(&mut self, slot: Slot, bytes: &[u8]) {
        self.totals.messages_sent += 1;
        // What is not taken is lost as on any network, and repeated.
        self.ring.send_signal(slot, bytes, self.setting.server);
    }
}

/// Milliseconds since the run began, each of which has its turn.
struct Clock {
    start: Instant,
    tick: u64,
}

/// Runs a scenario and tells of it once a second. Blocks until the end: to be called on a thread of its own.
pub(crate) fn run(
    scenario: Scenario,
    setting: Setting,
    tell: &mpsc::Sender<Snapshot>,
) -> Result<Outcome> {
    if let Some(core) = setting.core {
        let mut cores = rustix::thread::CpuSet::new();
        cores.set(core);
        let _ = rustix::thread::sched_setaffinity(None, &cores);
    }
    if setting.realtime {
        let _ = schedule::make_realtime();
    }
    let _ = schedule::tighten_timers();
    let mut engine = Engine::new(scenario, setting)?;
    engine.started = Instant::now();
    engine.register_all()?;
    let mut clock = Clock {
        start: Instant::now(),
        tick: 0,
    };
    engine.late = Duration::ZERO;
    for step in engine.scenario.steps.clone() {
        engine.run_step(Some(step), tell, &mut clock)?;
    }
    let interrupted = engine.stopped();
    engine.run_step(None, tell, &mut clock)?;
    engine.abandon();
    Ok(Outcome {
        delay: engine.delay[ALL].percentiles(),
        setup: engine.setup[ALL].percentiles(),
        jitter: engine.jitter.percentiles(),
        late_ms: engine.late_max.max(engine.late).as_secs_f64() * 1000.0,
        odd_calls: std::mem::take(&mut engine.odd),
        interrupted,
        totals: engine.totals,
    })
}

fn party(ring: &mut Ring, party: &crate::scenario::Party, server: SocketAddr) -> Result<Party> {
    let bind = |address: SocketAddr| {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::DGRAM,
            None,
        )?;
        // Everything that comes in a stall of the generator should wait for it.
        let _ = socket.set_recv_buffer_size(8 << 20);
        // The kernel takes down the ring of an earlier run a moment after its end, and its sockets with it.
        let deadline = Instant::now() + PORT_PATIENCE;
        while let Err(error) = socket.bind(&address.into()) {
            if error.kind() != std::io::ErrorKind::AddrInUse || Instant::now() > deadline {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::Ok(UdpSocket::from(socket))
    };
    let socket =
        bind(party.address).with_context(|| format!("address: cannot bind {}", party.address))?;
    let mut address = socket.local_addr()?;
    if address.ip().is_unspecified() {
        // Where the server sees us.
        let probe = UdpSocket::bind(party.address)?;
        probe.connect(server)?;
        address.set_ip(probe.local_addr()?.ip());
    }
    let media_ip = party.media.unwrap_or(address.ip());
    let rtcp = bind(SocketAddr::new(media_ip, 0)).context("media")?;
    let rtcp_port = rtcp.local_addr()?.port();
    ring.add(rtcp, Carries::Media)?;
    Ok(Party {
        signal: ring.add(socket, Carries::Signal)?,
        address,
        media_ip,
        rtcp_port,
        free: Vec::new(),
    })
}

/// Raises the soft limit of descriptors to what is needed.
fn raise_descriptors(needed: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let wanted = limit.maximum.map_or(needed, |most| most.min(needed));
    anyhow::ensure!(
        wanted >= needed,
        "{needed} descriptors are needed for so many calls, and {wanted} are allowed (`ulimit -n`)"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    )?;
    Ok(())
}

/// The wall clock in nanoseconds since 1970.
fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos() as u64)
}

/// What both sides speak.
fn codec_of(scenario: &Scenario, side: Side) -> Codec {
    match side {
        Side::Caller => scenario.caller.codec,
        Side::Callee => scenario.callee.codec,
    }
}

/// Whether somebody calls, and somebody is called.
const fn sides_of(kind: Kind) -> (bool, bool) {
    match kind {
        Kind::Bridge => (true, true),
        Kind::Echo | Kind::Room => (true, false),
        Kind::Originate => (false, true),
        Kind::Registrations => (false, false),
    }
}
