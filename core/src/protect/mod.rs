//! Who is kept out: failed authentications, scanners and junk are counted for each source address, and an address with too
//! many of them is blocked for a time. Also how many calls one address or one endpoint may make, and the log of security
//! events that other programs read.
//!
//! Everything here costs the same whoever asks and however many there are: tables have limits, look-ups are single.

mod calls;
mod log;
mod settings;
mod sources;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use strowger_store::{Snapshot, Table};

pub use calls::{CallLimits, CallPermit, Calls};
pub use log::{Heard, SecurityLog, Subject};
pub use settings::Settings;

use crate::counters::Counter;
use crate::endpoint::acl::Network;
use crate::endpoint::names::{Names, name_in};
use sources::Sources;

/// Blocked addresses at most, those included whose block is over and remembered.
const BLOCKS_MAX: usize = 16_384;
/// How many records are looked at to find one that may go.
const LOOK: usize = 16;

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

#[derive(Debug)]
struct Block {
    since: SystemTime,
    until: Instant,
    /// When it may be forgotten that there was one.
    forget: Instant,
    why: Offence,
    times: u32,
    dropped: AtomicU64,
}

/// Networks, and the versions of rows and names that they were made of.
type Identified = (Option<(u64, u64)>, Arc<[Network]>);

/// Counts and blocks; shared by all shards.
#[derive(Debug)]
pub struct Protection {
    settings: Settings,
    allowed: Vec<Network>,
    scanners: Vec<String>,
    sources: Sources,
    blocks: RwLock<HashMap<IpAddr, Block>>,
    /// Records in `blocks`: while there are none, nobody is looked up.
    records: AtomicUsize,
    /// Networks of `ps_endpoint_id_ips`, and the version they were read from.
    identified: Mutex<Identified>,
    /// Host names there.
    names: Arc<Names>,
    /// How many calls each may make.
    pub calls: Arc<Calls>,
    /// Where security events are written.
    pub log: SecurityLog,
    blocked: Counter,
    dropped: Counter,
    refused_full: Counter,
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
            sources: Sources::default(),
            blocks: RwLock::default(),
            records: AtomicUsize::new(0),
            identified: Mutex::new((None, Arc::from([]))),
            names,
            calls: Arc::new(Calls::new(limits)),
            log,
            settings: settings.clone(),
            blocked: Counter::default(),
            dropped: Counter::default(),
            refused_full: Counter::default(),
        }
    }

    /// Whether what comes from there is to be dropped unread; counted.
    #[must_use]
    pub fn is_blocked(&self, ip: IpAddr) -> bool {
        self.records.load(Ordering::Relaxed) > 0 && self.is_blocked_at(ip, Instant::now())
    }

    fn is_blocked_at(&self, ip: IpAddr, now: Instant) -> bool {
        let blocks = self.blocks.read();
        let blocked = blocks.get(&source(ip)).filter(|block| block.until > now);
        if let Some(block) = blocked {
            block.dropped.fetch_add(1, Ordering::Relaxed);
            self.dropped.add(1);
        }
        blocked.is_some()
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
        self.proved_at(ip, Instant::now());
    }

    fn proved_at(&self, ip: IpAddr, now: Instant) {
        if self.settings.enabled {
            let until = now + Duration::from_secs(self.settings.known_s);
            self.sources.proved(source(ip), until, now);
        }
    }

    /// Notes what an address did; true if it is blocked for that from now on.
    pub fn note(&self, ip: IpAddr, what: Offence, snapshot: &Snapshot) -> bool {
        self.note_at(ip, what, snapshot, Instant::now())
    }

    fn note_at(&self, ip: IpAddr, what: Offence, snapshot: &Snapshot, now: Instant) -> bool {
        let settings = &self.settings;
        if !settings.enabled {
            return false;
        }
        let address = source(ip);
        let window = Duration::from_secs(settings.window_s);
        let count = self.sources.count(address, what, window, now);
        let limit = match what {
            Offence::Password | Offence::Unknown | Offence::Denied | Offence::Scanner => {
                settings.failures
            }
            Offence::Challenged => settings.unanswered,
            Offence::Junk => settings.junk,
        };
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
        self.settings.spare_identified
            && self
                .identified(snapshot)
                .iter()
                .any(|network| network.contains(ip))
    }

    fn identified(&self, snapshot: &Snapshot) -> Arc<[Network]> {
        let version = (snapshot.version_of(Table::Identifies), self.names.version());
        let mut known = self.identified.lock();
        if known.0 != Some(version) {
            let networks = snapshot.identifies.iter().flat_map(|row| &row.matches);
            // `!` means everything but: nobody is spared by that.
            let networks = networks.filter(|text| !text.contains('!'));
            *known = (
                Some(version),
                networks
                    .flat_map(|text| match Network::parse(text) {
                        Ok(network) => vec![network],
                        Err(_) => {
                            let name = name_in(text).unwrap_or_default();
                            let addresses = self.names.addresses(&name);
                            addresses.into_iter().map(Network::of).collect()
                        }
                    })
                    .collect(),
            );
        }
        Arc::clone(&known.1)
    }

    fn block_at(&self, address: IpAddr, why: Offence, now: Instant) -> bool {
        let settings = &self.settings;
        let mut blocks = self.blocks.write();
        let before = blocks.get(&address).map_or((0, false), |block| {
            let remembered = if block.forget > now { block.times } else { 0 };
            (remembered, block.until > now)
        });
        if before.1 {
            // What was on its way when it was blocked.
            return false;
        }
        if blocks.len() >= BLOCKS_MAX && !blocks.contains_key(&address) {
            let over = blocks
                .iter()
                .take(LOOK)
                .find(|(_, block)| block.until <= now)
                .map(|(address, _)| *address);
            match over {
                Some(over) => {
                    blocks.remove(&over);
                }
                None => {
                    self.refused_full.add(1);
                    return false;
                }
            }
        }
        let times = before.0.saturating_add(1);
        let seconds = settings
            .block_s
            .saturating_mul(1u64.checked_shl(times - 1).unwrap_or(u64::MAX))
            .min(settings.block_max_s.max(settings.block_s));
        let until = now + Duration::from_secs(seconds);
        blocks.insert(
            address,
            Block {
                since: SystemTime::now(),
                until,
                forget: until + Duration::from_secs(settings.block_max_s),
                why,
                times,
                dropped: AtomicU64::new(0),
            },
        );
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
        let now = Instant::now();
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
        let gone = blocks.remove(&source(ip));
        self.records.store(blocks.len(), Ordering::Relaxed);
        gone.is_some_and(|block| block.until > Instant::now())
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
            ("blocks_refused_full", self.refused_full.get()),
            ("sources_forgotten_early", self.sources.forgotten()),
            ("security_log_lines_lost", self.log.lost()),
            ("calls_refused_source", self.calls.refused_source()),
            ("calls_refused_endpoint", self.calls.refused_endpoint()),
        ]
    }
}

#[cfg(test)]
mod tests;
