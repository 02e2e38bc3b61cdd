//! What was said over SIP, for people: the messages of recent and failed calls kept in memory as ladders and capture files,
//! every message passed on to Homer, and written to the log where `ps_globals` wants that. Shards only put a reference into a bounded queue, and not even that while tracing
//! is off; reading, keeping and sending are work of the control runtime. Decides nothing about a call.

mod debug;
mod hep;
mod kept;
mod keys;
mod ladder;
mod pcap;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use strowger_sip::{Flow, Transport};
use strowger_store::Table;
use tokio::sync::mpsc;

use crate::counters::Counter;
use crate::shared::Shared;
use debug::Debug;
use kept::Kept;
pub use kept::Summary;
pub use settings::Settings;

/// Messages that wait to be read; at 10,000 in a second this is a stall of 1.6 s.
const QUEUE_MAX: usize = 16_384;
/// How often the queue is looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// Addresses whose way out is remembered.
const WAYS_MAX: usize = 1024;
/// A host that was not found is looked up again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often calls that nobody answers are looked for, and a way to Homer.
const SELDOM: Duration = Duration::from_secs(1);
/// The largest capture file.
const PCAP_MAX: usize = 64 << 20;

/// Something seen by a shard.
enum Seen {
    Message {
        at: SystemTime,
        flow: Flow,
        sent: bool,
        bytes: Bytes,
    },
    /// A call of SIP is a channel.
    Named(Box<Named>),
}

/// A channel and its call of SIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    call_id: String,
    channel: String,
    uniqueid: String,
    linkedid: String,
}

impl Named {
    /// Whether it is called so.
    fn is(&self, name: &str) -> bool {
        let names = [&self.call_id, &self.channel, &self.uniqueid, &self.linkedid];
        names.into_iter().any(|known| known == name)
    }
}

/// A message as it is kept.
#[derive(Clone, Debug)]
struct Line {
    at: SystemTime,
    /// We sent it.
    sent: bool,
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    bytes: Bytes,
}

impl Line {
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        if self.sent {
            (self.local, self.remote)
        } else {
            (self.remote, self.local)
        }
    }
}

/// The tap on SIP.
pub struct Tracer {
    /// Anything wants messages.
    on: AtomicBool,
    /// The configuration does, whatever the table says.
    configured: bool,
    queue: ArrayQueue<Seen>,
    desk: Mutex<Desk>,
    lost: Counter,
    sent: Counter,
    failed: Counter,
}

/// Where messages are read.
struct Desk {
    kept: Kept,
    /// Keys of media stay in messages.
    keys: bool,
    homer: Option<Homer>,
    /// Whose messages are written to the log.
    debug: Debug,
    /// Our address towards peers, where a socket has none of its own.
    ways: FxHashMap<IpAddr, IpAddr>,
    /// When calls that nobody answers were looked for.
    settled: Instant,
}

struct Homer {
    address: SocketAddr,
    /// `None`: there is no way to it now, which was tried at `tried`.
    socket: Option<std::net::UdpSocket>,
    tried: Option<Instant>,
    agent: u32,
    key: String,
    packet: Vec<u8>,
}

impl Tracer {
    pub(crate) fn new(settings: &Settings) -> Self {
        let address = settings.homer().ok().flatten();
        let homer = address.map(|address| Homer::new(address, settings));
        let configured = settings.calls > 0 || homer.is_some();
        Self {
            on: AtomicBool::new(configured),
            configured,
            queue: ArrayQueue::new(QUEUE_MAX),
            desk: Mutex::new(Desk {
                kept: Kept::new(settings.calls, settings.memory_mib << 20),
                keys: settings.keys,
                homer,
                debug: Debug::Nobody,
                ways: FxHashMap::default(),
                settled: crate::clock::now(),
            }),
            lost: Counter::default(),
            sent: Counter::default(),
            failed: Counter::default(),
        }
    }

    /// A message came or goes. Costs a look at a flag while tracing is off.
    pub(crate) fn message(&self, flow: &Flow, sent: bool, bytes: &Bytes) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        self.put(Seen::Message {
            at: SystemTime::now(),
            flow: *flow,
            sent,
            bytes: bytes.clone(),
        });
    }

    /// This call of SIP is that channel.
    pub(crate) fn named(&self, call_id: &str, channel: &crate::channel::Channel) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        self.put(Seen::Named(Box::new(Named {
            call_id: call_id.to_owned(),
            channel: channel.name().to_string(),
            uniqueid: channel.uniqueid().to_string(),
            linkedid: channel.data().linkedid.clone(),
        })));
    }

    fn put(&self, seen: Seen) {
        if self.queue.push(seen).is_err() {
            self.lost.add(1);
        }
    }

    /// The desk, with everything read that has come so far.
    fn desk(&self) -> parking_lot::MutexGuard<'_, Desk> {
        let mut desk = self.desk.lock();
        // No more than there was: others may go on putting in.
        for _ in 0..self.queue.len() {
            match self.queue.pop() {
                Some(Seen::Named(named)) => desk.kept.named(*named),
                Some(Seen::Message {
                    at,
                    flow,
                    sent,
                    bytes,
                }) => {
                    let bytes = if desk.keys {
                        bytes
                    } else {
                        keys::hidden(bytes)
                    };
                    let line = Line {
                        at,
                        sent,
                        transport: flow.transport,
                        local: desk.local(&flow),
                        remote: flow.remote,
                        bytes,
                    };
                    match desk.homer.as_mut().map(|homer| homer.send(&line)) {
                        None => {}
                        Some(true) => self.sent.add(1),
                        Some(false) => self.failed.add(1),
                    }
                    if desk.debug.wants(line.remote.ip()) {
                        debug::tell(&line);
                    }
                    desk.kept.message(line);
                }
                None => break,
            }
        }
        if desk.settled.elapsed() >= SELDOM {
            desk.settled = crate::clock::now();
            desk.kept.settle(SystemTime::now());
        }
        desk
    }

    /// True if calls are kept.
    pub fn keeps(&self) -> bool {
        self.desk.lock().kept.keeps()
    }

    /// The calls that are kept, the newest first. Takes its time, as do [`Tracer::ladder`] and [`Tracer::capture`]: not for a
    /// task that others wait for.
    pub fn list(&self) -> Vec<Summary> {
        self.desk().kept.list()
    }

    /// The ladder of a call and of what belongs to it: `name` is a Call-ID, a uniqueid, a linkedid or the name of a channel.
    /// With `whole` the messages follow. What is more than a person reads is left out, and that is said.
    pub fn ladder(&self, name: &str, whole: bool) -> Option<String> {
        // Messages are shared: drawing them keeps nobody from the desk.
        let calls = self.desk().kept.belonging(name);
        (!calls.is_empty()).then(|| ladder::text(&calls, whole))
    }

    /// The messages of calls as a capture file: those of this number, endpoint, channel or Call-ID (empty: of all), and not
    /// older than that. The number of messages, and of older ones that had no room.
    pub fn capture(&self, wanted: &str, newer: Duration) -> (Vec<u8>, usize, usize) {
        let after = SystemTime::now().checked_sub(newer);
        let mut lines: Vec<Line> = {
            let desk = self.desk();
            let lines = desk.kept.matching(wanted);
            lines
                .filter(|line| after.is_none_or(|after| line.at >= after))
                .cloned()
                .collect()
        };
        lines.sort_by_key(|line| line.at);
        let left_out = pcap::begin_of(&lines, PCAP_MAX);
        let mut file = pcap::begin();
        for line in &lines[left_out..] {
            let (source, destination) = line.ends();
            pcap::add(&mut file, line.at, source, destination, &line.bytes);
        }
        (file, lines.len() - left_out, left_out)
    }

    /// From now on these messages are written to the log.
    fn write_to_log(&self, debug: Debug) {
        let on = self.configured || debug != Debug::Nobody;
        self.desk().debug = debug;
        self.on.store(on, Ordering::Relaxed);
    }

    /// Numbers for the metrics page.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let (calls, bytes, cut) = {
            let desk = self.desk.lock();
            desk.kept.numbers()
        };
        vec![
            ("calls_kept", calls),
            ("bytes_kept", bytes),
            ("messages_cut", cut),
            ("messages_lost", self.lost.get()),
            ("hep_sent", self.sent.get()),
            ("hep_failed", self.failed.get()),
        ]
    }
}

impl Desk {
    /// Our address on this flow.
    fn local(&mut self, flow: &Flow) -> SocketAddr {
        if !flow.local.ip().is_unspecified() {
            return flow.local;
        }
        if self.ways.len() >= WAYS_MAX {
            self.ways.clear();
        }
        let own = self.ways.entry(flow.remote.ip()).or_insert_with(|| {
            crate::transport::source_address(flow.remote).unwrap_or(flow.local.ip())
        });
        SocketAddr::new(*own, flow.local.port())
    }
}

impl Homer {
    fn new(address: SocketAddr, settings: &Settings) -> Self {
        Self {
            address,
            socket: None,
            tried: None,
            agent: settings.hep_id,
            key: settings.hep_password.clone(),
            packet: Vec::new(),
        }
    }

    /// The socket to Homer, opened where there is none, at most once in a second.
    fn socket(&mut self) -> Option<&std::net::UdpSocket> {
        if self.socket.is_none() && self.tried.is_none_or(|tried| tried.elapsed() >= SELDOM) {
            let again = self.tried.replace(crate::clock::now()).is_some();
            match Self::open(self.address) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) if !again => {
                    let address = self.address;
                    tracing::error!(%address, %error, "no messages are passed on to Homer until there is a way");
                }
                Err(_) => {}
            }
        }
        self.socket.as_ref()
    }

    fn open(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
        let any: SocketAddr = if address.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0_u16; 8], 0).into()
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(address)?;
        // Who does not take it loses it: nothing waits for Homer.
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn send(&mut self, line: &Line) -> bool {
        use std::io::ErrorKind::{ConnectionRefused, WouldBlock};
        let (source, destination) = line.ends();
        let packet = hep::Packet {
            at: line.at,
            source,
            destination,
            is_udp: line.transport == Transport::Udp,
            payload: &line.bytes,
        };
        let mut bytes = std::mem::take(&mut self.packet);
        let whole = hep::write(&mut bytes, &packet, self.agent, &self.key);
        let sent = whole.then(|| self.socket().map(|socket| socket.send(&bytes)));
        self.packet = bytes;
        match sent.flatten() {
            Some(Ok(_)) => true,
            // Its address or ours may be another by now.
            Some(Err(error)) if !matches!(error.kind(), ConnectionRefused | WouldBlock) => {
                self.socket = None;
                false
            }
            _ => false,
        }
    }
}

/// Finds the host whose messages are to be written, however long that takes: nothing else waits for it.
async fn look_for(weak: Weak<Shared>, name: String, found: mpsc::Sender<(String, Debug)>) {
    let mut is_first = true;
    loop {
        let Some(shared) = weak.upgrade() else {
            return;
        };
        if let Some(debug) = Debug::host(&name, &shared.dns).await {
            // An error means that nobody waits for it any more.
            let _ = found.send((name, debug)).await;
            return;
        }
        if std::mem::take(&mut is_first) {
            tracing::warn!(
                "ps_globals: debug says `{name}`: yes, no, an address, a network or the name of a host that is found is allowed; \
                 no messages are written until it is found"
            );
        }
        drop(shared);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Reads what shards have seen, from now on, and follows `debug` of `ps_globals`.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let mut versions = shared.realtime.subscribe();
    let control = shared.control.clone();
    shared.control.spawn(async move {
        let mut turns = tokio::time::interval(PERIOD);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut seen, mut written) = (None, String::new());
        let (finder, mut found) = mpsc::channel::<(String, Debug)>(1);
        let mut answer = None;
        let mut looking: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            let on = {
                let Some(shared) = weak.upgrade() else {
                    return;
                };
                let snapshot = shared.snapshot();
                let version = snapshot.version_of(Table::Globals);
                let before = seen.replace(version);
                if before != Some(version) && snapshot.globals.debug != written {
                    written.clone_from(&snapshot.globals.debug);
                    if let Some(former) = looking.take() {
                        former.abort();
                    }
                    let word = Debug::word(&written);
                    if word.is_none() {
                        let name = written.trim().to_owned();
                        let look = look_for(weak.clone(), name, finder.clone());
                        looking = Some(control.spawn(look));
                    }
                    shared.tracer.write_to_log(word.unwrap_or(Debug::Nobody));
                }
                // Of a name that stood there before nobody wants to know any more.
                let answer = answer.take().or_else(|| found.try_recv().ok());
                if let Some((_, debug)) = answer.filter(|(name, _)| name == written.trim()) {
                    shared.tracer.write_to_log(debug);
                }
                let on = shared.tracer.on.load(Ordering::Relaxed);
                if on {
                    drop(shared.tracer.desk());
                }
                on
            };
            if on {
                turns.tick().await;
                continue;
            }
            tokio::select! {
                changed = versions.changed() => if changed.is_err() {
                    return;
                },
                come = found.recv() => answer = come,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            transport: Transport::Udp,
            local: SocketAddr::from(([127, 0, 0, 1], 5060)),
            remote: SocketAddr::from(([127, 0, 0, 2], 5062)),
            connection: 0,
        }
    }

    #[test]
    fn nothing_is_queued_while_tracing_is_off() {
        let tracer = Tracer::new(&Settings::default());
        tracer.message(&flow(), true, &Bytes::from_static(b"x"));
        assert!(tracer.queue.is_empty() && !tracer.keeps());
    }

    #[test]
    fn what_finds_the_queue_full_is_counted_and_delays_nobody() {
        let tracer = Tracer::new(&Settings {
            calls: 10,
            ..Settings::default()
        });
        let invite = kept::tests::line(false, 0, "a", "INVITE sip:101@a SIP/2.0", "INVITE").bytes;
        for _ in 0..QUEUE_MAX + 3 {
            tracer.message(&flow(), false, &invite);
        }
        let lost = |tracer: &Tracer| {
            let counters = tracer.counters();
            let found = counters.iter().find(|(name, _)| *name == "messages_lost");
            found.map(|(_, count)| *count)
        };
        assert_eq!(lost(&tracer), Some(3));
        assert_eq!(tracer.list()[0].messages, 200);
        tracer.message(&flow(), false, &invite);
        assert_eq!(lost(&tracer), Some(3));
        let (_, count, left_out) = tracer.capture("100", Duration::from_secs(60));
        assert_eq!((count, left_out), (200, 0));
        assert_eq!(tracer.capture("nobody", Duration::from_secs(60)).1, 0);
        assert!(
            tracer
                .ladder("a", true)
                .is_some_and(|text| text.contains("CSeq: 1 INVITE"))
        );
        assert_eq!(tracer.ladder("b", false), None);
    }

    #[test]
    fn homer_hears_each_message_and_a_socket_that_is_gone_is_counted() {
        let homer = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap_or_else(|e| panic!("{e}"));
        let address = homer.local_addr().unwrap_or_else(|e| panic!("{e}"));
        let tracer = Tracer::new(&Settings {
            hep: address.to_string(),
            ..Settings::default()
        });
        tracer.message(&flow(), true, &Bytes::from_static(b"OPTIONS"));
        tracer.message(&flow(), true, &Bytes::from(vec![b'x'; 65_530]));
        drop(tracer.desk());
        let mut packet = [0; 2048];
        let length = homer.recv(&mut packet).unwrap_or_else(|e| panic!("{e}"));
        assert!(packet[..length].ends_with(b"OPTIONS") && packet.starts_with(b"HEP3"));
        let counters = tracer.counters();
        assert!(counters.contains(&("hep_sent", 1)) && counters.contains(&("hep_failed", 1)));
    }

    #[test]
    fn a_way_to_homer_that_is_missing_is_looked_for_again() {
        let settings = |hep: String| Settings {
            hep,
            ..Settings::default()
        };
        let count = |tracer: &Tracer, wanted: &str| {
            let counters = tracer.counters();
            let found = counters.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, count)| *count)
        };
        // Nobody may connect to all of the network.
        let tracer = Tracer::new(&settings("255.255.255.255:9060".to_owned()));
        for _ in 0..3 {
            tracer.message(&flow(), true, &Bytes::from_static(b"OPTIONS"));
        }
        drop(tracer.desk());
        assert_eq!(count(&tracer, "hep_failed"), Some(3));
        // The way opens, and is tried after a second.
        let homer = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap_or_else(|e| panic!("{e}"));
        let address = homer.local_addr().unwrap_or_else(|e| panic!("{e}"));
        if let Some(way) = tracer.desk().homer.as_mut() {
            way.address = address;
        }
        tracer.message(&flow(), true, &Bytes::from_static(b"OPTIONS"));
        drop(tracer.desk());
        assert_eq!(count(&tracer, "hep_failed"), Some(4));
        std::thread::sleep(SELDOM);
        tracer.message(&flow(), true, &Bytes::from_static(b"OPTIONS"));
        drop(tracer.desk());
        assert_eq!(
            (count(&tracer, "hep_sent"), count(&tracer, "hep_failed")),
            (Some(1), Some(4))
        );
        let mut packet = [0; 2048];
        assert!(
            homer
                .recv(&mut packet)
                .is_ok_and(|length| packet[..length].ends_with(b"OPTIONS"))
        );
    }

    #[test]
    fn keys_of_media_are_neither_kept_nor_passed_on_unless_that_is_wanted() {
        let invite = kept::tests::line(false, 0, "a", "INVITE sip:101@a SIP/2.0", "INVITE").bytes;
        let body = b"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^20\r\n";
        let message = Bytes::from([&invite[..], body].concat());
        let homer = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap_or_else(|e| panic!("{e}"));
        let address = homer.local_addr().unwrap_or_else(|e| panic!("{e}"));
        for (keys, wanted) in [
            (false, "inline:********|2^20"),
            (true, "inline:c2VjcmV0|2^20"),
        ] {
            let tracer = Tracer::new(&Settings {
                calls: 10,
                hep: address.to_string(),
                keys,
                ..Settings::default()
            });
            tracer.message(&flow(), false, &message);
            let whole = tracer.ladder("a", true).unwrap_or_default();
            assert!(whole.contains(wanted), "{whole}");
            let (file, ..) = tracer.capture("", Duration::from_secs(60));
            let mut packet = [0; 2048];
            let length = homer.recv(&mut packet).unwrap_or_else(|e| panic!("{e}"));
            for bytes in [&file[..], &packet[..length]] {
                assert!(String::from_utf8_lossy(bytes).contains(wanted));
            }
        }
    }
}
