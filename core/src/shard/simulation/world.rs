//! A world: exchanges on one link, calls through them, and the rules that hold while they run and behind them. Time is that of a
//! stopped clock, which goes on to the next timer when nothing else is to be done.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strowger_store::SessionTimers;

use super::dialplan::{Log, factory};
use super::exchange::{Exchange, NAMES};
use super::network::{Carried, Network};
use super::plan::{CallPlan, Random, Settings, exten};
use crate::call::originate::{self, OriginateRequest, Target};
use crate::channel::{Channel, Location};
use crate::shard::Shard;

/// 64*T1: nothing of a dialog or a transaction waits longer for the other side.
const PATIENCE: Duration = Duration::from_secs(32);
/// What a datagram may need, with a turn of whoever works on it.
const SLACK: Duration = Duration::from_secs(5);
/// How often the world is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the last call may take by all that its plan says, and then until all tables are empty.
const LONGEST: Duration = Duration::from_secs(420);
const QUIET: Duration = Duration::from_secs(240);

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) faults: Vec<String>,
    pub(super) carried: Carried,
    pub(super) acts: [u64; 4],
    pub(super) answered: u64,
    pub(super) bridged: u64,
    pub(super) transferred: u64,
    pub(super) cut: u64,
    pub(super) legs: u64,
    /// Virtual time that passed.
    pub(super) took: Duration,
}

/// Which dialog a channel belongs to, and at which end.
pub(super) fn end_of(channel: &Channel) -> Option<(String, bool)> {
    let guard = channel.session();
    let session = guard.as_ref()?;
    let called = session.received.is_some();
    if let Some(dialog) = &session.dialog {
        return Some((dialog.id().call_id.to_string(), called));
    }
    let invite = match (&session.outgoing, &session.received) {
        (Some(outgoing), _) => &outgoing.invite,
        (None, Some(received)) => received,
        (None, None) => return None,
    };
    Some((invite.call_id().ok()?.to_owned(), called))
}

struct World {
    began: Instant,
    settings: Settings,
    exchanges: Vec<Exchange>,
    network: Rc<Network>,
    plans: Arc<Vec<CallPlan>>,
    log: Arc<Mutex<Log>>,
    /// Since when one end of a dialog has been without the other.
    alone: FxHashMap<(String, bool), Instant>,
    /// Told already.
    told: FxHashSet<(String, bool)>,
    /// Calls whose link is to be cut, or is.
    to_cut: Vec<(Instant, usize, usize)>,
    outcome: Outcome,
}

/// Addresses of a world: of its own for each thread of each process that runs one.
fn addresses(lane: u8, count: usize) -> Vec<SocketAddr> {
    let process = 100 + (std::process::id() % 100) as u8;
    (0..count)
        .map(|own| {
            let ip = Ipv4Addr::new(127, process, 100 + lane, 101 + own as u8);
            SocketAddr::from((ip, 5060))
        })
        .collect()
}

/// Runs `calls` calls between as many exchanges, all as the seed says.
pub(super) fn run(seed: u64, exchanges: usize, calls: usize, lane: u8) -> Outcome {
    let descriptors = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: descriptors.maximum,
        ..descriptors
    };
    // A leg has two sockets, and a busy world has hundreds of legs.
    setrlimit(Resource::Nofile, all).expect("as many descriptors as there may be");
    crate::chance::follow(Some(seed));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let outcome = runtime.block_on(local.run_until(whole(seed, exchanges, calls, lane)));
    drop(local);
    crate::chance::follow(None);
    outcome
}

async fn whole(seed: u64, exchanges: usize, calls: usize, lane: u8) -> Outcome {
    let mut random = Random::new(seed);
    let settings = Settings::draw(&mut random, exchanges);
    // Some ten calls a minute, each through two or three exchanges, or all of them within two minutes.
    let within = Duration::from_secs(20 + calls as u64 / 4);
    let plans: Vec<_> = (0..calls)
        .map(|_| CallPlan::draw(&mut random, &settings, within))
        .collect();
    let mut world = World::new(seed, settings, plans, lane, random);
    world.settle().await;
    world.hold(within).await;
    world.end().await;
    world.outcome
}

impl World {
    fn new(seed: u64, settings: Settings, plans: Vec<CallPlan>, lane: u8, random: Random) -> Self {
        let network = Network::new(random, settings.weather);
        let plans = Arc::new(plans);
        let log = Arc::new(Mutex::new(Log::default()));
        let addresses = addresses(lane, settings.exchanges);
        let exchanges: Vec<_> = (0..settings.exchanges)
            .map(|own| {
                let dialplan = factory(own, &plans, &log);
                Exchange::start(&settings, own, &addresses, &network, seed, &dialplan)
            })
            .collect();
        Self {
            began: crate::clock::now(),
            settings,
            exchanges,
            network,
            plans,
            log,
            alone: FxHashMap::default(),
            told: FxHashSet::default(),
            to_cut: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    /// Lets what runs by itself come to rest, and opens the link.
    async fn settle(&mut self) {
        let ends = self.exchanges.iter();
        let ends = ends.map(|exchange| (exchange.address, exchange.shards.clone()));
        Shard::spawn(Rc::clone(&self.network).run(ends.collect()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        for exchange in &mut self.exchanges {
            exchange.note_holders();
        }
    }

    /// Begins the calls at their times, and looks at them until they are over.
    async fn hold(&mut self, within: Duration) {
        let start = crate::clock::now();
        for (call, plan) in self.plans.iter().enumerate() {
            let caller = &self.exchanges[plan.path[0]];
            let shard = Rc::clone(&caller.shards[call % caller.shards.len()]);
            let next = NAMES[plan.path[1]];
            let request = OriginateRequest {
                timeout: plan.patience,
                ..OriginateRequest::new(
                    &format!("PJSIP/{}@{next}", exten('c', call, 1)),
                    Target::Extension(Location::new("calls", &exten('c', call, 0), 1)),
                )
            };
            let at = start + plan.start;
            // Not the shard's name alone: it would be held while nobody calls.
            let weak = Rc::downgrade(&shard);
            Shard::spawn(async move {
                tokio::time::sleep_until(at.into()).await;
                if let Some(shard) = weak.upgrade() {
                    originate::originate(&shard, request).await;
                }
            });
            if let Some((after, hop)) = plan.cut {
                self.to_cut.push((at + after, call, hop));
            }
        }
        let last = start + within;
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
            let now = crate::clock::now();
            let live = self
                .exchanges
                .iter()
                .any(|exchange| !exchange.live().is_empty());
            if now > last && !live {
                return;
            }
            if now > last + LONGEST {
                self.stuck();
                return;
            }
        }
    }

    /// Waits until every table is empty, and says what is left.
    async fn end(&mut self) {
        let until = crate::clock::now() + QUIET;
        while crate::clock::now() < until && !self.exchanges.iter().all(Exchange::is_quiet) {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
        // Tasks that saw the end of their calls last.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut faults: Vec<String> = self.exchanges.iter().flat_map(Exchange::leaks).collect();
        self.check_records(&mut faults);
        let log = self.log.lock();
        let outcome = &mut self.outcome;
        outcome.faults.append(&mut faults);
        outcome.carried = self.network.carried();
        outcome.acts = log.acts;
        outcome.answered = log.answered;
        outcome.bridged = log.bridged;
        outcome.transferred = log.transferred;
        let packets = self.exchanges.iter().flat_map(|exchange| &exchange.packets);
        outcome.legs = packets.map(|packets| packets.opened()).sum();
        outcome.took = crate::clock::now() - self.began;
    }

    /// Every channel that ran a dialplan ended with a cause, and one that was answered has a record; only who was transferred has
    /// more than one.
    fn check_records(&self, faults: &mut Vec<String>) {
        let log = self.log.lock();
        let records: Vec<_> = self.exchanges.iter().map(Exchange::records).collect();
        let mut moved = FxHashSet::default();
        let mut seen = FxHashSet::default();
        for run in &log.runs {
            if !seen.insert((run.exchange, &run.uniqueid)) || run.exten.starts_with('t') {
                moved.insert((run.exchange, &run.uniqueid));
            }
        }
        for run in &log.runs {
            let of = format!("{} at exchange {}", run.exten, NAMES[run.exchange]);
            match run.cause {
                None => faults.push(format!("{of}: its dialplan did not end")),
                Some(cause) if cause.0 == 0 => faults.push(format!("{of}: ended without a cause")),
                Some(_) => {}
            }
            let count = records[run.exchange]
                .iter()
                .filter(|id| **id == run.uniqueid)
                .count();
            // Without an answer there is a record only where somebody was dialled.
            let most = match moved.contains(&(run.exchange, &run.uniqueid)) {
                true => usize::MAX,
                false => 1,
            };
            if count < usize::from(run.answered) || count > most {
                faults.push(format!("{of}: {count} call records"));
            }
        }
        // A call that comes twice to the same place was taken twice.
        let mut places = FxHashSet::default();
        for run in log.runs.iter().filter(|run| run.exten.starts_with('c')) {
            if !places.insert((run.exchange, &run.exten)) {
                faults.push(format!(
                    "{}: it came twice to exchange {}",
                    run.exten, NAMES[run.exchange]
                ));
            }
        }
    }

    fn look(&mut self) {
        self.cut_links();
        self.carry_packets();
        self.compare_ends();
    }

    /// Cuts the dialogs whose time has come, as soon as they are there.
    fn cut_links(&mut self) {
        let now = crate::clock::now();
        let mut waiting = Vec::new();
        for (at, call, hop) in std::mem::take(&mut self.to_cut) {
            if at > now {
                waiting.push((at, call, hop));
                continue;
            }
            let plan = &self.plans[call];
            // Who is called at this hop knows the number by which.
            let called = &self.exchanges[plan.path[hop + 1]];
            let number = exten('c', call, hop + 1);
            let live = called.live();
            let found = live.iter().find(|channel| channel.data().dnid == number);
            match found.and_then(end_of) {
                Some((call_id, _)) => {
                    self.network.cut(call_id);
                    self.outcome.cut += 1;
                }
                // It is still on its way, or nobody will ever see it.
                None => waiting.push((at, call, hop)),
            }
        }
        self.to_cut = waiting;
    }

    /// Tells each leg whether it hears somebody: who has its address for his packets, and may send.
    fn carry_packets(&self) {
        let mut sending = FxHashSet::default();
        let mut dead = FxHashSet::default();
        for exchange in &self.exchanges {
            for (shard, packets) in exchange.shards.iter().zip(&exchange.packets) {
                for (leg, at, remote, sends) in packets.ways() {
                    let owner = shard.legs.borrow().get(&leg).copied();
                    let owner = owner.and_then(|id| shard.channel(id));
                    let of = owner.as_ref().and_then(end_of);
                    if of.is_some_and(|(call_id, _)| self.network.is_cut(&call_id)) {
                        dead.insert(at);
                    } else if let Some(remote) = remote.filter(|_| sends) {
                        sending.insert((at, remote));
                    }
                }
            }
        }
        for exchange in &self.exchanges {
            for packets in &exchange.packets {
                for (leg, at, remote, _) in packets.ways() {
                    let from = remote
                        .filter(|remote| sending.contains(&(*remote, at)) && !dead.contains(&at));
                    packets.hears(leg, from);
                }
            }
        }
    }

    /// No end of a dialog outlives the other for longer than the protocol needs to tell it.
    fn compare_ends(&mut self) {
        let now = crate::clock::now();
        let mut ends = FxHashMap::default();
        for exchange in &self.exchanges {
            for channel in exchange.live() {
                if let Some(end) = end_of(&channel) {
                    ends.insert(end, (exchange.name, channel));
                }
            }
        }
        self.alone.retain(|end, _| ends.contains_key(end));
        for ((call_id, called), (name, channel)) in &ends {
            let end = (call_id.clone(), *called);
            if ends.contains_key(&(call_id.clone(), !called)) {
                self.alone.remove(&end);
                continue;
            }
            let since = *self.alone.entry(end.clone()).or_insert(now);
            // A caller who hears no response at all cannot even give up (RFC 3261 §9.1): the other end rings on.
            let missed = self.network.is_cut(call_id) || !self.network.was_heard(call_id);
            let limit = match missed {
                false => PATIENCE + SLACK,
                true => self.missed_within(),
            };
            if now.duration_since(since) > limit && self.told.insert(end) {
                let state = describe(channel);
                self.outcome.faults.push(format!(
                    "exchange {name}: {state} is without its other end for {:?}",
                    now.duration_since(since)
                ));
            }
        }
    }

    /// Within so long a side that hears nothing more of the other has to notice.
    fn missed_within(&self) -> Duration {
        let by_silence = Duration::from_secs(self.settings.rtp_timeout.into());
        let by_timer = match self.settings.timers {
            SessionTimers::No => Duration::ZERO,
            _ => Duration::from_secs(90),
        };
        // A call that is not answered is given up by whoever waits for it, after a minute at most.
        by_silence.max(by_timer).max(Duration::from_secs(60)) + PATIENCE + SLACK
    }

    fn stuck(&mut self) {
        for exchange in &self.exchanges {
            for channel in exchange.live() {
                let state = describe(&channel);
                self.outcome
                    .faults
                    .push(format!("exchange {}: {state} never ends", exchange.name));
            }
        }
    }
}

fn describe(channel: &Channel) -> String {
    let (state, dnid) = {
        let data = channel.data();
        (data.state, data.location.exten.clone())
    };
    let end = end_of(channel);
    format!("{} ({state:?}, {dnid}, {end:?})", channel.name())
}
