//! How many calls one address and one endpoint may have, and begin in a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::counters::Counter;

/// Records of a kind, above which those without calls are looked through.
const RECORDS_MAX: usize = 16_384;

/// 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallLimits {
    /// Incoming calls of one address at once.
    pub per_source: u32,
    /// Begun in a second.
    pub per_source_second: u32,
    /// Incoming calls of one endpoint at once.
    pub per_endpoint: u32,
    /// Begun in a second.
    pub per_endpoint_second: u32,
}

#[derive(Debug)]
struct Record {
    calls: u32,
    tokens: f64,
    at: Instant,
}

#[derive(Debug)]
struct Kind<K> {
    calls_max: u32,
    rate: f64,
    records: Mutex<HashMap<K, Record>>,
    refused: Counter,
}

impl<K: std::hash::Hash + Eq> Kind<K> {
    fn new(calls_max: u32, rate: u32) -> Self {
        Self {
            calls_max,
            rate: f64::from(rate),
            records: Mutex::default(),
            refused: Counter::default(),
        }
    }

    fn is_limited(&self) -> bool {
        self.calls_max > 0 || self.rate > 0.0
    }

    /// Counts a call in; false (and counted) if there are too many.
    fn enter(&self, key: K, now: Instant) -> bool {
        if !self.is_limited() {
            return true;
        }
        let mut records = self.records.lock();
        if records.len() >= RECORDS_MAX && !records.contains_key(&key) {
            records.retain(|_, record| record.calls > 0);
            // All of them have calls: the limits of the whole exchange hold, and this one is not counted.
            if records.len() >= RECORDS_MAX {
                self.refused.add(1);
                return false;
            }
        }
        let record = records.entry(key).or_insert(Record {
            calls: 0,
            tokens: self.rate,
            at: now,
        });
        let passed = now.saturating_duration_since(record.at).as_secs_f64();
        record.tokens = (record.tokens + passed * self.rate).min(self.rate);
        record.at = now;
        let full = self.calls_max > 0 && record.calls >= self.calls_max;
        let fast = self.rate > 0.0 && record.tokens < 1.0;
        if full || fast {
            self.refused.add(1);
            return false;
        }
        record.calls += 1;
        record.tokens -= 1.0;
        true
    }

    fn leave<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        if !self.is_limited() {
            return;
        }
        let mut records = self.records.lock();
        if let Some(record) = records.get_mut(key) {
            record.calls = record.calls.saturating_sub(1);
            if record.calls == 0 && self.rate == 0.0 {
                records.remove(key);
            }
        }
    }
}

/// The calls that came in, by address and by endpoint.
#[derive(Debug)]
pub struct Calls {
    sources: Kind<IpAddr>,
    endpoints: Kind<String>,
}

impl Calls {
    pub(super) fn new(limits: CallLimits) -> Self {
        Self {
            sources: Kind::new(limits.per_source, limits.per_source_second),
            endpoints: Kind::new(limits.per_endpoint, limits.per_endpoint_second),
        }
    }

    /// Lets a call in, or not. It counts until the permit is dropped.
    pub fn enter(self: &Arc<Self>, ip: IpAddr, endpoint: &str, now: Instant) -> Option<CallPermit> {
        let source = super::source(ip);
        if !self.sources.enter(source, now) {
            return None;
        }
        // Dropped, it counts the source out again.
        let mut permit = CallPermit {
            calls: Arc::clone(self),
            source,
            endpoint: None,
        };
        if !self.endpoints.enter(endpoint.to_owned(), now) {
            return None;
        }
        permit.endpoint = Some(endpoint.to_owned());
        Some(permit)
    }

    pub(super) fn refused_source(&self) -> u64 {
        self.sources.refused.get()
    }

    pub(super) fn refused_endpoint(&self) -> u64 {
        self.endpoints.refused.get()
    }
}

/// The addresses that calls are under way with.
#[derive(Debug, Default)]
pub(super) struct Talking(Mutex<FxHashMap<IpAddr, usize>>);

impl Talking {
    pub(super) fn with(self: &Arc<Self>, ip: IpAddr) -> Talk {
        let source = super::source(ip);
        *self.0.lock().entry(source).or_default() += 1;
        Talk {
            all: Arc::clone(self),
            source,
        }
    }

    pub(super) fn is_with(&self, ip: IpAddr) -> bool {
        self.0.lock().contains_key(&super::source(ip))
    }
}

/// A call is under way with an address for as long as this lives.
#[derive(Debug)]
pub struct Talk {
    all: Arc<Talking>,
    source: IpAddr,
}

impl Drop for Talk {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Some(count) = all.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.source);
            }
        }
    }
}

/// A call that counts.
#[derive(Debug)]
pub struct CallPermit {
    calls: Arc<Calls>,
    source: IpAddr,
    endpoint: Option<String>,
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.calls.sources.leave(&self.source);
        if let Some(endpoint) = &self.endpoint {
            self.calls.endpoints.leave(endpoint.as_str());
        }
    }
}
