//! Who is kept out: failed authentications, scanners and junk are counted for each source address, and an address with too
//! many of them is blocked for a time. Also how many calls one address or one endpoint may make, and the log of security
//! events that other programs read.
//!
//! Everything here costs the same whoever asks and however many there are: tables have limits, look-ups are single.

mod blocks;
mod calls;
mod generations;
mod log;
mod settings;
mod sources;
mod strangers;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashSet;
use strowger_sip::Host;
use strowger_store::{Globals, Snapshot, Table};

pub use calls::{CallLimits, CallPermit, Calls, Talk};
pub use log::{Heard, SecurityLog, Subject};
pub use settings::Settings;

use crate::counters::Counter;
use crate::endpoint::acl::Network;
use crate::endpoint::identify::networks_of_match;
use crate::endpoint::names::{Names, host_in};
use blocks::{Block, Blocks};
use generations::Generations;
use sources::{Class, Sources};
use strangers::Strangers;

/// Addresses of registrars that are remembered, in each of two generations.
const REGISTRARS: usize = 4096;
/// How long a registrar is remembered after it last registered us: longer than a registration lives.
const REGISTRAR_FOR: Duration = Duration::from_secs(2 * 86_400);

/// What an address did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// A wrong password.
    Password,
    /// Credentials of a user that does not exist.
    Unknown,
    /// A request to an endpoint that takes none from that address.
    Denied,
    /// A program that looks for telephone systems to break into.
    Scanner,
    /// It was challenged; taken back when somebody there answers well.
    Challenged,
    /// An unreadable message, or a request for something that is not there.
    Junk,
}

impl Offence {
    /// Shown with a block.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Password => "wrong passwords",
            Self::Unknown => "unknown users",
            Self::Denied => "denied by an access list",
            Self::Scanner => "scanner",
            Self::Challenged => "unanswered challenges",
            Self::Junk => "junk",
        }
    }
}

/// An address that is kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The address; of IPv6 the first of its /64.
    pub address: IpAddr,
    /// Since when.
    pub since: SystemTime,
    /// How long still, in whole seconds, rounded up.
    pub left_s: u64,
    /// The last thing it did.
    pub why: Offence,
    /// How often it was blocked, this time included.
    pub times: u32,
    /// Messages and connections dropped meanwhile.
    pub dropped: u64,
}

/// Addresses that rows name.
#[derive(Debug, Default)]
struct Named {
    networks: Vec<Network>,
    addresses: FxHashSet<IpAddr>,
}

/// What rows name, and the versions of the rows and host names that it was made of.
type Identified = (Option<[u64; 4]>, Arc<Named>);

/// Counts and blocks; shared by all shards.
#[derive(Debug)]
pub struct Protection {
    settings: Settings,
    allowed: Vec<Network>,
    scanners: Vec<String>,
    sources: Sources,
    blocks: RwLock<Blocks>,
    /// Records in `blocks`: while there are none, nobody is looked up.
    records: AtomicUsize,
    /// Addresses of `ps_endpoint_id_ips`, static contacts and registrars, as the rows name them.
    identified: Mutex<Identified>,
    /// Addresses that our registrations were accepted from.
    registrars: Mutex<Generations<IpAddr, ()>>,
    /// Host names in `ps_endpoint_id_ips`.
    names: Arc<Names>,
    /// How many calls each may make.
    pub calls: Arc<Calls>,
    talking: Arc<calls::Talking>,
    /// Addresses from which requests of nobody come.
    strangers: Mutex<Strangers>,
    /// Where security events are written.
    pub log: SecurityLog,
    blocked: Counter,
    dropped: Counter,
    forgotten_early: Counter,
}

/// What counts as one source: an IPv4 address, or an IPv6 network of 64 bits, which one customer has.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
        }
        plain => plain,
    }
}

/// The addresses that a URI leads to: that which it is written with, or those of its host name.
fn addresses_in(uri: &str, names: &Names) -> Vec<IpAddr> {
    match host_in(uri) {
        Some(Host::Name(name)) => names.addresses(&name),
        Some(host) => host.ip().map(|ip| ip.to_canonical()).into_iter().collect(),
        None => Vec::new(),
    }
}

impl Named {
    fn of(snapshot: &Snapshot, names: &Names) -> Self {
        let matches = snapshot.identifies.iter().flat_map(|row| &row.matches);
        // `!` means everything but: nobody is spared by that.
        let matches = matches.filter(|text| !text.contains('!'));
        let contacts = snapshot.aors.values().flat_map(|aor| &aor.contact);
        let registrars = snapshot
            .registrations
            .iter()
            .flat_map(|row| [Some(&row.server_uri), row.outbound_proxy.as_ref()])
            .flatten();
        Self {
            networks: matches
                .filter_map(|text| networks_of_match(text, names).ok())
                .flatten()
                .collect(),
            addresses: contacts
                .chain(registrars)
                .flat_map(|uri| addresses_in(uri, names))
                .collect(),
        }
    }
}

impl Protection {
    /// `settings` are valid; see [`Settings`].
    #[must_use]
    pub fn new(
        settings: &Settings,
        limits: CallLimits,
        log: SecurityLog,
        names: Arc<Names>,
    ) -> Self {
        Self {
            allowed: settings.networks().unwrap_or_default(),
            scanners: settings
                .scanners
                .iter()
                .map(|word| word.trim().to_ascii_lowercase())
                .collect(),
            sources: Sources::new(
                Duration::from_secs(settings.window_s),
                Duration::from_secs(settings.known_s),
            ),
            blocks: RwLock::default(),
            records: AtomicUsize::new(0),
            identified: Mutex::default(),
            registrars: Mutex::new(Generations::new(REGISTRARS, REGISTRAR_FOR)),
            names,
            calls: Arc::new(Calls::new(limits)),
            talking: Arc::default(),
            strangers: Mutex::default(),
            log,
            settings: settings.clone(),
            blocked: Counter::default(),
            dropped: Counter::default(),
            forgotten_early: Counter::default(),
        }
    }

    /// Whether new requests and connections from there are to be dropped.
    #[must_use]
    pub fn is_blocked(&self, ip: IpAddr) -> bool {
        self.records.load(Ordering::Relaxed) > 0 && self.is_blocked_at(ip, crate::clock::now())
    }

    fn is_blocked_at(&self, ip: IpAddr, now: Instant) -> bool {
        let blocks = self.blocks.read();
        blocks
            .get(source(ip))
            .is_some_and(|block| block.until > now)
    }

    /// A call begins with somebody there, whose messages are let in whatever else comes from that address.
    #[must_use]
    pub fn talks_with(&self, ip: IpAddr) -> Talk {
        self.talking.with(ip)
    }

    /// Whether a call is under way with somebody there.
    #[must_use]
    pub fn is_talking(&self, ip: IpAddr) -> bool {
        self.talking.is_with(ip)
    }

    /// Counts what was dropped because its address is blocked.
    pub fn dropped(&self, ip: IpAddr) {
        self.dropped.add(1);
        if let Some(block) = self.blocks.read().get(source(ip)) {
            block.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A registrar there has registered us: who sends us calls for that is not kept out.
    pub fn registered_at(&self, ip: IpAddr) {
        if !self.settings.spare_identified {
            return;
        }
        let now = crate::clock::now();
        self.registrars.lock().entry(ip.to_canonical(), now, || ());
        if self.is_blocked(ip) {
            self.unblock(ip);
        }
    }

    /// Whether a User-Agent is a scanner's.
    #[must_use]
    pub fn is_scanner(&self, agent: &str) -> bool {
        if !self.settings.enabled || agent.is_empty() {
            return false;
        }
        let agent = agent.get(..agent.len().min(200)).unwrap_or(agent);
        let agent = agent.to_ascii_lowercase();
        self.scanners.iter().any(|word| agent.contains(word))
    }

    /// Somebody there proved a password: the address counts as known for a while.
    pub fn proved(&self, ip: IpAddr) {
        self.strangers.lock().proved(source(ip));
        self.proved_at(ip, crate::clock::now());
    }

    /// A request without a proof came from there that belongs to nobody. True if as many came in a short time as `ps_globals`
    /// wants to be told of (`unidentified_request_count`).
    pub fn stranger(&self, ip: IpAddr, globals: &Globals) -> bool {
        let mut strangers = self.strangers.lock();
        strangers.came(source(ip), globals, crate::clock::now())
    }

    /// Somebody there is registered: the address counts as known for so long at least.
    pub fn bound(&self, ip: IpAddr, life: Duration) {
        self.bound_at(ip, life, crate::clock::now());
    }

    fn bound_at(&self, ip: IpAddr, life: Duration, now: Instant) {
        if self.settings.enabled {
            self.sources.known_until(source(ip), now + life, now);
        }
    }

    fn proved_at(&self, ip: IpAddr, now: Instant) {
        if self.settings.enabled {
            self.sources.proved(source(ip), now);
        }
    }

    /// Notes what an address did; true if it is blocked for that from now on. `certain`: the address is that of the
    /// sender, who has a connection with us or heard what we sent there; over UDP anybody can write it.
    pub fn note(&self, ip: IpAddr, what: Offence, certain: bool, snapshot: &Snapshot) -> bool {
        self.note_at(ip, what, certain, snapshot, crate::clock::now())
    }

    fn note_at(
        &self,
        ip: IpAddr,
        what: Offence,
        certain: bool,
        snapshot: &Snapshot,
        now: Instant,
    ) -> bool {
        let settings = &self.settings;
        if !settings.enabled {
            return false;
        }
        let address = source(ip);
        let (class, limit) = match what {
            Offence::Challenged => (Class::Challenged, settings.unanswered),
            Offence::Junk => (Class::Junk, settings.junk),
            _ if !certain => (Class::Junk, settings.junk),
            _ => (Class::Failure, settings.failures),
        };
        let count = self.sources.count(address, class, now);
        let limit = if count.known {
            limit.saturating_mul(10)
        } else {
            limit
        };
        if count.number < limit || self.is_spared(ip, snapshot) {
            return false;
        }
        self.block_at(address, what, now)
    }

    /// Addresses that are never blocked.
    fn is_spared(&self, ip: IpAddr, snapshot: &Snapshot) -> bool {
        let ip = ip.to_canonical();
        if self.settings.spare_loopback && ip.is_loopback() {
            return true;
        }
        if self.allowed.iter().any(|network| network.contains(ip)) {
            return true;
        }
        if !self.settings.spare_identified {
            return false;
        }
        if self.registrars.lock().get(&ip).is_some() {
            return true;
        }
        let named = self.identified(snapshot);
        named.addresses.contains(&ip) || named.networks.iter().any(|network| network.contains(ip))
    }

    fn identified(&self, snapshot: &Snapshot) -> Arc<Named> {
        let version = [
            snapshot.version_of(Table::Identifies),
            snapshot.version_of(Table::Aors),
            snapshot.version_of(Table::Registrations),
            self.names.version(),
        ];
        let mut known = self.identified.lock();
        if known.0 != Some(version) {
            *known = (Some(version), Arc::new(Named::of(snapshot, &self.names)));
        }
        Arc::clone(&known.1)
    }

    fn block_at(&self, address: IpAddr, why: Offence, now: Instant) -> bool {
        let settings = &self.settings;
        let mut blocks = self.blocks.write();
        let before = blocks.get(address).map_or((0, false), |block| {
            let remembered = if block.forget > now { block.times } else { 0 };
            (remembered, block.until > now)
        });
        if before.1 {
            // What was on its way when it was blocked.
            return false;
        }
        let times = before.0.saturating_add(1);
        let seconds = settings
            .block_s
            .saturating_mul(1u64.checked_shl(times - 1).unwrap_or(u64::MAX))
            .min(settings.block_max_s.max(settings.block_s));
        let until = now + Duration::from_secs(seconds);
        let block = Block {
            since: SystemTime::now(),
            until,
            forget: until + Duration::from_secs(settings.block_max_s),
            why,
            times,
            dropped: AtomicU64::new(0),
        };
        if blocks.insert(address, block, now) {
            self.forgotten_early.add(1);
        }
        self.records.store(blocks.len(), Ordering::Relaxed);
        drop(blocks);
        self.sources.forget(address);
        self.blocked.add(1);
        tracing::warn!(%address, why = why.word(), seconds, times, "address blocked");
        true
    }

    /// The addresses that are blocked now, in their order.
    #[must_use]
    pub fn list(&self) -> Vec<Blocked> {
        let now = crate::clock::now();
        let mut list: Vec<Blocked> = self
            .blocks
            .read()
            .iter()
            .filter(|(_, block)| block.until > now)
            .map(|(address, block)| Blocked {
                address: *address,
                since: block.since,
                left_s: block
                    .until
                    .saturating_duration_since(now)
                    .as_secs_f64()
                    .ceil() as u64,
                why: block.why,
                times: block.times,
                dropped: block.dropped.load(Ordering::Relaxed),
            })
            .collect();
        list.sort_by_key(|blocked| blocked.address);
        list
    }

    /// Lets an address in again, as if it had never been blocked. False: it was not.
    pub fn unblock(&self, ip: IpAddr) -> bool {
        let mut blocks = self.blocks.write();
        let gone = blocks.remove(source(ip));
        self.records.store(blocks.len(), Ordering::Relaxed);
        gone.is_some_and(|block| block.until > crate::clock::now())
    }

    /// Lets all of them in again; how many there were.
    pub fn unblock_all(&self) -> usize {
        let count = self.list().len();
        let mut blocks = self.blocks.write();
        blocks.clear();
        self.records.store(0, Ordering::Relaxed);
        count
    }

    /// For the metrics page.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("addresses_blocked", self.blocked.get()),
            ("dropped_from_blocked", self.dropped.get()),
            ("blocks_forgotten_early", self.forgotten_early.get()),
            ("sources_forgotten_early", self.sources.forgotten()),
            ("security_log_lines_lost", self.log.lost()),
            ("calls_refused_source", self.calls.refused_source()),
            ("calls_refused_endpoint", self.calls.refused_endpoint()),
        ]
    }
}

#[cfg(test)]
mod tests;
