//! The signalling thread: its runtime and the loops that feed the shard.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use strowger_media::ports::{PortPool, PortRange};
use strowger_media::uring::readiness::Readiness;
use strowger_media::worker::MediaHandle;
use strowger_sip::transaction::{Branches, Layer, Limits, Timers};
use strowger_store::System;
use tokio::sync::Notify;

use super::Shard;
use super::inbox::{Inbox, ShardMessage};
use super::media::Media;
use super::qualify::Qualification;
use super::register::Registering;
use crate::channel::Cause;
use crate::config::Sip;
use crate::counters::ShardCounters;
use crate::dialplan::DialplanFactory;
use crate::shared::Shared;
use crate::transport::stream::{self, Queued};
use crate::transport::udp::Udp;

/// Everything a shard is made of; see [`start`].
pub struct ShardSetup<M = MediaHandle> {
    pub index: usize,
    pub count: usize,
    /// The core its thread is pinned to; None leaves it to the kernel.
    pub core: Option<usize>,
    pub media: M,
    pub ports: PortRange,
    /// Legs its media thread can hold.
    pub legs_max: usize,
    pub shared: Arc<Shared>,
    pub inbox: Arc<Inbox>,
    pub counters: Arc<ShardCounters>,
    pub dialplan: DialplanFactory,
}

/// A shard's thread.
pub struct RunningShard {
    pub inbox: Arc<Inbox>,
    pub counters: Arc<ShardCounters>,
    thread: JoinHandle<()>,
}

impl RunningShard {
    /// Asks the thread to end its calls (BYE or CANCEL to both sides, their records to the spool) and then itself.
    pub fn ask_to_stop(&self) {
        let mut message = ShardMessage::Stop;
        while let Err(back) = self.inbox.send(message) {
            if self.thread.is_finished() {
                break;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the thread has ended. Ask all shards first: what one says may leave by another's connection.
    pub fn join(self) {
        let _ = self.thread.join();
    }

    /// Asks it to end and waits until it has.
    pub fn stop(self) {
        self.ask_to_stop();
        self.join();
    }
}

/// T1 and timer B in ms: of `strowger.toml` where it names them, else of the row of `ps_systems` where there is one.
fn timer_values(config: &Sip, system: &System) -> (u64, u64) {
    let usual = Sip::default();
    let choose = |own: u64, usual: u64, row: u32, least: u64, most: u64| {
        if own != usual || system.id.is_empty() {
            own
        } else {
            u64::from(row).clamp(least, most)
        }
    };
    (
        choose(
            config.timer_t1_ms,
            usual.timer_t1_ms,
            system.timer_t1,
            50,
            5000,
        ),
        choose(
            config.timer_b_ms,
            usual.timer_b_ms,
            system.timer_b,
            1000,
            300_000,
        ),
    )
}

fn timers(shared: &Shared) -> Timers {
    let (t1, b) = timer_values(&shared.config.sip, &shared.snapshot().system);
    Timers::from_t1(Duration::from_millis(t1), Duration::from_millis(b))
}

/// Starts a shard's signalling thread and waits until its dialplan is loaded.
pub fn start(setup: ShardSetup) -> io::Result<RunningShard> {
    let (ready, started) = std::sync::mpsc::channel();
    let inbox = Arc::clone(&setup.inbox);
    let counters = Arc::clone(&setup.counters);
    let thread = std::thread::Builder::new()
        .name(format!("sip-{}", setup.index))
        .spawn(move || {
            if let Some(core) = setup.core {
                // Not being pinned costs speed, nothing else.
                if let Err(error) = strowger_media::uring::schedule::pin_to_core(core) {
                    tracing::warn!(core, %error, "signalling thread not pinned");
                }
            }
            tokio_uring::start(run(setup, ready));
        })?;
    match started.recv() {
        Ok(Ok(())) => Ok(RunningShard {
            inbox,
            counters,
            thread,
        }),
        Ok(Err(message)) => Err(io::Error::other(message)),
        Err(_) => Err(io::Error::other(
            "the signalling thread ended while it started",
        )),
    }
}

async fn run(setup: ShardSetup, ready: std::sync::mpsc::Sender<Result<(), String>>) {
    let shard = match make(setup, Branches::new) {
        Ok(shard) => shard,
        Err(message) => {
            let _ = ready.send(Err(message));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    tokio::task::spawn_local(read_media(Rc::clone(&shard)));
    begin(&shard);
    read_inbox(&shard).await;
    shard.flush();
}

/// A shard with its dialplan, at rest.
pub(super) fn make(
    setup: ShardSetup<impl Into<Media>>,
    branches: impl Fn() -> Branches,
) -> Result<Rc<Shard>, String> {
    let registering = Registering::new(setup.index, setup.count, &setup.shared);
    let shard = Rc::new(Shard {
        index: setup.index,
        count: setup.count,
        layer: RefCell::new(
            Layer::new(timers(&setup.shared), Limits::default()).with_tags(branches()),
        ),
        shared: setup.shared,
        counters: setup.counters,
        inbox: setup.inbox,
        branches: RefCell::new(branches()),
        pumping: Cell::new(false),
        batching: Cell::new(false),
        timer: Notify::new(),
        timer_at: Cell::new(None),
        udp: RefCell::default(),
        connections: stream::Connections::default(),
        listeners: RefCell::default(),
        media: RefCell::new(setup.media.into()),
        ports: RefCell::new(PortPool::new(setup.ports)),
        channels: RefCell::default(),
        names: RefCell::default(),
        lingering: RefCell::default(),
        legs: RefCell::default(),
        with_media: RefCell::default(),
        closing: RefCell::default(),
        partners: RefCell::default(),
        dialogs: RefCell::default(),
        clients: RefCell::default(),
        challengeable: RefCell::default(),
        broken_streams: RefCell::default(),
        legs_max: setup.legs_max,
        servers: RefCell::default(),
        permits: RefCell::default(),
        ended_plays: RefCell::default(),
        watches: RefCell::default(),
        recorders: RefCell::default(),
        room_recorders: RefCell::default(),
        qualification: RefCell::new(Qualification::new(setup.index, setup.count)),
        registering: RefCell::new(registering),
        publishing: RefCell::default(),
        subscriptions: RefCell::default(),
        next_id: Cell::new(0),
        originating: Cell::new(0),
        messages_running: Cell::new(0),
        local_halves: Cell::new(0),
        video_ports: Cell::new(0),
        accept_tokens: Cell::new((crate::clock::now(), 1.0)),
        parsed_at: Cell::new(crate::clock::now()),
        dialplan: OnceCell::new(),
    });
    let dialplan = (setup.dialplan)(&shard)?;
    let _ = shard.dialplan.set(dialplan);
    Ok(shard)
}

/// Starts what a shard does by itself, beside reading what comes.
pub(super) fn begin(shard: &Rc<Shard>) {
    tokio::task::spawn_local(Rc::clone(shard).run_timers());
    tokio::task::spawn_local(Rc::clone(shard).run_qualify());
    tokio::task::spawn_local(Rc::clone(shard).run_registrations());
    tokio::task::spawn_local(Rc::clone(shard).run_publications());
    tokio::task::spawn_local(crate::subscription::run(Rc::clone(shard)));
}

/// Messages worked on before other tasks get their turn.
const BATCH: usize = 256;

fn with_udp<R>(shard: &Shard, local: SocketAddr, work: impl FnOnce(&mut Udp) -> R) -> Option<R> {
    let mut all = shard.udp.borrow_mut();
    let udp = all.iter_mut().find(|udp| udp.local() == local)?;
    Some(work(udp))
}

/// Reads what arrives at `local`, until that transport is closed.
pub(super) async fn read_udp(shard: Rc<Shard>, local: SocketAddr) {
    let source = with_udp(&shard, local, |udp| udp.event_source());
    let Some(source) = source else { return };
    let readiness = match source.and_then(Readiness::new) {
        Ok(readiness) => readiness,
        Err(error) => {
            tracing::error!(%error, "cannot wait for SIP datagrams");
            return;
        }
    };
    let mut received = Vec::new();
    loop {
        let Ok(mut guard) = readiness.readable().await else {
            return;
        };
        // Cleared first: what arrives while we work makes the descriptor ready again.
        guard.clear_ready();
        loop {
            let harvest = with_udp(&shard, local, |udp| {
                udp.harvest(|flow, bytes| received.push((flow, Bytes::copy_from_slice(bytes))))
            });
            let Some(more) = harvest else { return };
            shard.batching.set(true);
            for (count, (flow, bytes)) in received.drain(..).enumerate() {
                shard.receive(flow, bytes);
                if count % BATCH == BATCH - 1 {
                    shard.flush();
                }
            }
            shard.batching.set(false);
            let failures = with_udp(&shard, local, Udp::failures);
            if let Some((flows, count)) = failures {
                shard.counters.sip_send_failed.add(count);
                for flow in flows {
                    shard.transport_failed(flow);
                }
            }
            shard.flush();
            match more {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "SIP receive ring");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    break;
                }
            }
        }
    }
}

async fn read_media(shard: Rc<Shard>) {
    let source = shard.media.borrow().event_source();
    let readiness = match source.and_then(Readiness::new) {
        Ok(readiness) => readiness,
        Err(error) => {
            tracing::error!(%error, "cannot wait for the media thread");
            return;
        }
    };
    loop {
        let Ok(mut guard) = readiness.readable().await else {
            return;
        };
        shard.media.borrow_mut().ack_events();
        guard.clear_ready();
        let mut count = 0;
        let ended = !shard.media_runs();
        loop {
            let event = shard.media.borrow_mut().poll_event();
            let Some(event) = event else { break };
            shard.guarded("media event", |shard| shard.on_media(event));
            count += 1;
            if count % BATCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        if ended {
            shard.guarded("end of the media thread", Shard::media_ended);
            return;
        }
    }
}

/// How long a stopping shard waits for the answers to its last requests.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A stopping shard goes on for so long at least: what it sent last is on its way through queues.
const FAREWELL: Duration = Duration::from_millis(60);
/// Calls ended before other tasks get their turn.
const HANGUPS: usize = 64;

pub(super) async fn read_inbox(shard: &Rc<Shard>) {
    loop {
        shard.inbox.wait().await;
        if drain_inbox(shard, None).await {
            break;
        }
    }
    shard.leave_registrars();
    shard.leave_publications();
    // Calls in progress end properly: BYE to both sides, records to the spool.
    for (count, channel) in shard.channels().into_iter().enumerate() {
        channel.hangup(Cause::NORMAL_CLEARING);
        if count % HANGUPS == HANGUPS - 1 {
            shard.flush();
            tokio::task::yield_now().await;
        }
    }
    crate::subscription::end_all(shard).await;
    shard.flush();
    let now = crate::clock::now();
    let (least, until) = (now + FAREWELL, now + LAST_WORDS);
    loop {
        drain_inbox(shard, Some(until)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = crate::clock::now();
        if now >= until || (now >= least && !shard.has_open_requests()) {
            return;
        }
    }
}

/// Works off what waits in the inbox, until `until` at most; true if the shard is to stop.
async fn drain_inbox(shard: &Rc<Shard>, until: Option<Instant>) -> bool {
    let mut count = 0;
    shard.batching.set(true);
    let mut stop = false;
    while let Some(message) = shard.inbox.take() {
        match message {
            ShardMessage::Sip { flow, bytes } => {
                shard.guarded("message", |shard| shard.receive_own(flow, bytes));
            }
            ShardMessage::Stream { flow, bytes } => {
                match shard.connections.send(flow.connection, bytes) {
                    Queued::Sent => {}
                    Queued::Full => shard.counters.tcp_write_full.add(1),
                    // The sender learns it with everybody else.
                    Queued::Gone => shard.stream_closed(flow, true),
                }
            }
            ShardMessage::StreamClosed { flow } => shard.transport_failed(flow),
            ShardMessage::Errand(errand) => shard.guarded("errand", errand),
            ShardMessage::Stop => stop = true,
        }
        count += 1;
        if count % BATCH == 0 {
            shard.batching.set(false);
            shard.flush();
            if until.is_some_and(|until| crate::clock::now() >= until) {
                break;
            }
            tokio::task::yield_now().await;
            shard.batching.set(true);
        }
    }
    shard.batching.set(false);
    shard.flush();
    stop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timers_of_the_table_count_where_the_file_says_nothing_else() {
        let row = |id: &str, t1, b| System {
            id: id.to_owned(),
            timer_t1: t1,
            timer_b: b,
            ..System::default()
        };
        let usual = Sip::default();
        assert_eq!(timer_values(&usual, &row("", 100, 6400)), (500, 32_000));
        assert_eq!(timer_values(&usual, &row("system", 100, 6400)), (100, 6400));
        assert_eq!(timer_values(&usual, &row("system", 0, 0)), (50, 1000));
        let file = Sip {
            timer_t1_ms: 200,
            ..usual
        };
        assert_eq!(timer_values(&file, &row("system", 100, 6400)), (200, 6400));
    }
}
