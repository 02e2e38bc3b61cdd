//! Names to addresses for outgoing requests (RFC 3263): NAPTR, SRV with priorities and weights, A and AAAA, kept as long
//! as their times allow, failures too. It runs on the control runtime; a signalling thread waits for nothing.

mod order;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use order::{Pointer, Service};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use strowger_sip::{Host, Transport, Uri};

use crate::endpoint::registration::transport_named;
use crate::shared::Shared;

/// Answers kept, of all kinds together.
const CACHE: u64 = 8192;
/// Targets of one question.
const TARGETS_MAX: usize = 16;
/// SRV records of one answer that are looked at.
const SERVICES_MAX: usize = 32;
/// An answer that there is nothing is believed for so long at most.
const NEGATIVE_MAX: Duration = Duration::from_secs(60);
const POSITIVE_MAX: Duration = Duration::from_secs(24 * 3600);
/// One question to one server, which is asked three times.
const TIMEOUT: Duration = Duration::from_secs(1);
/// A question for NAPTR or SRV: who drops these on the way is not to hold up what has an address.
const STEP: Duration = Duration::from_secs(2);
/// All questions for one request.
const LIMIT: Duration = Duration::from_secs(8);

/// A server that says nothing to a question is not asked that again for so long: each call would wait for it anew.
const SILENCE: Duration = Duration::from_secs(10);
/// Questions that nobody answered, remembered at once.
const SILENT_MAX: usize = 1024;
/// How often a resolver that could not be set up is tried anew.
const SETUP: Duration = Duration::from_secs(5);

/// Where a request may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub transport: Transport,
    pub remote: SocketAddr,
    /// The name that led there, whose certificate TLS wants to see; none where the URI has an address.
    pub name: Option<Arc<str>>,
}

/// What is asked.
#[derive(Clone, Debug)]
struct Question {
    host: String,
    port: Option<u16>,
    transport: Option<Transport>,
    secure: bool,
    spoken: Vec<Transport>,
}

/// The resolver of the process.
#[derive(Default)]
pub struct Dns {
    resolver: ArcSwapOption<TokioResolver>,
    /// The servers that were named, and when they or those of the system could not be used.
    servers: Vec<SocketAddr>,
    failed_at: Mutex<Option<Instant>>,
    hosts: Hosts,
    silent: Mutex<FxHashMap<(String, RecordType), Instant>>,
    questions: AtomicU64,
    failures: AtomicU64,
}

impl Dns {
    /// Uses these servers, or those of the system where none are named. To be called within the control runtime.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            tracing::warn!(%error, "the hosts file cannot be read");
            Hosts::default()
        });
        let dns = Self {
            servers: servers.to_vec(),
            hosts,
            ..Self::default()
        };
        dns.resolver();
        dns
    }

    /// The resolver. The system may name its servers only after we began.
    fn resolver(&self) -> Option<Arc<TokioResolver>> {
        if let Some(resolver) = self.resolver.load_full() {
            return Some(resolver);
        }
        let mut failed_at = self.failed_at.lock();
        if failed_at.is_some_and(|at| at.elapsed() < SETUP) {
            return None;
        }
        match set_up(&self.servers) {
            Ok(resolver) => {
                let resolver = Arc::new(resolver);
                self.resolver.store(Some(Arc::clone(&resolver)));
                if failed_at.take().is_some() {
                    tracing::info!("DNS: host names can be looked up now");
                }
                Some(resolver)
            }
            Err(error) => {
                if failed_at.replace(crate::clock::now()).is_none() {
                    tracing::error!(error, "DNS: host names cannot be looked up");
                }
                None
            }
        }
    }

    /// Whether nobody answered this question lately.
    fn is_silent(&self, name: &str, kind: RecordType) -> bool {
        let mut silent = self.silent.lock();
        let key = (name.to_ascii_lowercase(), kind);
        match silent.get(&key) {
            Some(at) if at.elapsed() < SILENCE => true,
            Some(_) => {
                silent.remove(&key);
                false
            }
            None => false,
        }
    }

    fn note_silence(&self, name: &str, kind: RecordType) {
        let mut silent = self.silent.lock();
        if silent.len() >= SILENT_MAX {
            silent.retain(|_, at| at.elapsed() < SILENCE);
        }
        if silent.len() < SILENT_MAX {
            silent.insert((name.to_ascii_lowercase(), kind), crate::clock::now());
        }
    }

    /// What it has counted.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("questions", self.questions.load(Ordering::Relaxed)),
            ("failures", self.failures.load(Ordering::Relaxed)),
        ]
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Vec<RData> {
        if self.is_silent(name, kind) {
            return Vec::new();
        }
        let Some(resolver) = self.resolver() else {
            return Vec::new();
        };
        self.questions.fetch_add(1, Ordering::Relaxed);
        let began = crate::clock::now();
        let asked = tokio::time::timeout(STEP, resolver.lookup(absolute(name), kind)).await;
        let Ok(answer) = asked else {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.note_silence(name, kind);
            tracing::warn!(name, %kind, "DNS: no answer, taken for none");
            return Vec::new();
        };
        match answer {
            Ok(found) => found
                .answers()
                .iter()
                .map(|record| record.data.clone())
                .collect(),
            Err(error) => {
                if !error.is_no_records_found() && !error.is_nx_domain() {
                    if began.elapsed() >= TIMEOUT {
                        self.note_silence(name, kind);
                    }
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(name, %kind, %error, "DNS");
                }
                Vec::new()
            }
        }
    }

    /// What the hosts file says of a host.
    fn in_hosts(&self, host: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_utf8(host.to_lowercase()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let query = Query::query(name.clone(), kind);
            let Some(lookup) = self.hosts.lookup_static_host(&query) else {
                continue;
            };
            let answers = lookup.answers().iter();
            found.extend(answers.filter_map(|record| record.data.ip_addr()));
        }
        found.truncate(TARGETS_MAX);
        found
    }

    /// The addresses of a host: those of the hosts file, where it has any, without a question to anybody.
    pub async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let found = self.in_hosts(host);
        if !found.is_empty() {
            return found;
        }
        let Some(resolver) = self.resolver() else {
            return Vec::new();
        };
        self.questions.fetch_add(1, Ordering::Relaxed);
        // A name without a dot may be completed by the system's search list.
        let name = if host.contains('.') {
            absolute(host)
        } else {
            host.to_owned()
        };
        match resolver.lookup_ip(name).await {
            Ok(found) => found.iter().take(TARGETS_MAX).collect(),
            Err(error) => {
                if !error.is_no_records_found() && !error.is_nx_domain() {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(host, %error, "DNS");
                }
                Vec::new()
            }
        }
    }

    async fn services(&self, name: &str) -> Vec<Service> {
        let found = self.lookup(name, RecordType::SRV).await;
        let services = found.into_iter().filter_map(|data| match data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_string(),
            }),
            _ => None,
        });
        let services = services.take(SERVICES_MAX).collect();
        order::drawn(services, |below| crate::random_u64() % below)
    }

    async fn pointers(&self, name: &str) -> Vec<Pointer> {
        let found = self.lookup(name, RecordType::NAPTR).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pointers = found.into_iter().filter_map(|data| match data {
            RData::NAPTR(naptr) => Some(Pointer {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                service: text(&naptr.services),
                replacement: naptr.replacement.to_string(),
            }),
            _ => None,
        });
        pointers.take(SERVICES_MAX).collect()
    }

    async fn by_services(&self, transport: Transport, name: &str, hops: &mut Vec<Hop>, of: &str) {
        let services = self.services(name).await;
        let mut lookups = Vec::new();
        for service in services.iter().take(TARGETS_MAX) {
            lookups.push(self.addresses(service.target.trim_end_matches('.')));
        }
        // All at once: one that nobody answers for does not hold up those after it.
        for (service, found) in services.iter().zip(join_all(lookups).await) {
            add(hops, transport, of, service.port, found);
        }
    }

    /// Fills `hops` as answers come, so that what was found counts even if the rest takes too long.
    async fn locate(&self, question: &Question, hops: &mut Vec<Hop>) {
        let host = question.host.as_str();
        let plain = if question.secure {
            Transport::Tls
        } else {
            Transport::Udp
        };
        // Who stands in the hosts file is meant to be found there.
        let known = self.in_hosts(host);
        if !known.is_empty() {
            let transport = question.transport.unwrap_or(plain);
            let port = question.port.unwrap_or(transport.default_port());
            return add(hops, transport, host, port, known);
        }
        match (question.transport, question.port) {
            (transport, Some(port)) => {
                let found = self.addresses(host).await;
                add(hops, transport.unwrap_or(plain), host, port, found);
            }
            (Some(transport), None) => {
                let name = order::service_name(transport, host);
                self.by_services(transport, &name, hops, host).await;
                if hops.is_empty() {
                    let found = self.addresses(host).await;
                    add(hops, transport, host, transport.default_port(), found);
                }
            }
            (None, None) => {
                let pointers = self.pointers(host).await;
                let pointed = order::pointed(pointers, &question.spoken, question.secure);
                for (transport, name) in pointed {
                    self.by_services(transport, &name, hops, host).await;
                }
                if hops.is_empty() {
                    let tried: &[Transport] = if question.secure {
                        &[Transport::Tls]
                    } else {
                        &[Transport::Udp, Transport::Tcp]
                    };
                    let tried = tried.iter().filter(|t| question.spoken.contains(t));
                    self.by_all_services(tried.copied(), hops, host).await;
                }
                if hops.is_empty() {
                    let found = self.addresses(host).await;
                    add(hops, plain, host, plain.default_port(), found);
                }
            }
        }
    }

    /// The SRV records of a host for each of these transports, asked at once, in this order.
    async fn by_all_services(
        &self,
        transports: impl Iterator<Item = Transport>,
        hops: &mut Vec<Hop>,
        host: &str,
    ) {
        let mut lookups = Vec::new();
        for transport in transports {
            lookups.push(async move {
                let mut hops = Vec::new();
                let name = order::service_name(transport, host);
                self.by_services(transport, &name, &mut hops, host).await;
                hops
            });
        }
        for found in join_all(lookups).await {
            let room = TARGETS_MAX.saturating_sub(hops.len());
            hops.extend(found.into_iter().take(room));
        }
    }

    /// The addresses behind the SRV records of a service (`_agi._tcp.example.com`), in the order in which they are to be
    /// tried, each with the host it belongs to; 16 at most. Empty: there is no such service.
    pub async fn service(&self, name: &str) -> Vec<(String, SocketAddr)> {
        let services = self.services(name).await;
        let hosts = services.iter().take(TARGETS_MAX);
        let lookups = hosts.map(|service| self.addresses(service.target.trim_end_matches('.')));
        let mut all = Vec::new();
        for (service, found) in services.iter().zip(join_all(lookups).await) {
            let host = service.target.trim_end_matches('.');
            for ip in found {
                if all.len() < TARGETS_MAX {
                    all.push((host.to_owned(), SocketAddr::new(ip, service.port)));
                }
            }
        }
        all
    }

    /// The addresses that a peer known by this name may call from: of its SRV targets where that is wanted, and its own.
    pub async fn sources(&self, host: &str, by_services: bool) -> Vec<IpAddr> {
        let mut hops = Vec::new();
        if by_services {
            let tried = [Transport::Udp, Transport::Tcp, Transport::Tls];
            self.by_all_services(tried.into_iter(), &mut hops, host)
                .await;
        }
        let mut found: Vec<IpAddr> = hops.into_iter().map(|hop| hop.remote.ip()).collect();
        found.extend(self.addresses(host).await);
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// A resolver that uses these servers, or those of the system where none are named.
fn set_up(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let mut options = ResolverOpts::default();
    options.cache_size = CACHE;
    options.timeout = TIMEOUT;
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.negative_max_ttl = Some(NEGATIVE_MAX);
    options.positive_max_ttl = Some(POSITIVE_MAX);
    let builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map(|mut builder| {
            let ndots = builder.options_mut().ndots;
            options.ndots = ndots;
            builder
        })
    } else {
        let mut config = ResolverConfig::default();
        config.name_servers = servers
            .iter()
            .map(|server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = server.port();
                }
                NameServerConfig::new(server.ip(), true, connections)
            })
            .collect();
        Ok(TokioResolver::builder_with_config(
            config,
            TokioRuntimeProvider::default(),
        ))
    };
    let built = builder.and_then(|builder| builder.with_options(options).build());
    built.map_err(|error| error.to_string())
}

fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn add(hops: &mut Vec<Hop>, transport: Transport, of: &str, port: u16, found: Vec<IpAddr>) {
    for ip in found {
        let remote = SocketAddr::new(ip, port);
        let known = |hop: &Hop| hop.transport == transport && hop.remote == remote;
        if hops.len() < TARGETS_MAX && !hops.iter().any(known) {
            hops.push(Hop {
                transport,
                remote,
                name: Some(of.into()),
            });
        }
    }
}

/// Where a request for this URI goes, best first; empty when nothing is found, or it asks for what is not spoken here.
/// `named` is the transport that the endpoint or registration names: its protocol counts where the URI says none.
pub(crate) async fn locate(shared: &Arc<Shared>, uri: &Uri, named: Option<&str>) -> Vec<Hop> {
    let secure = uri.scheme == strowger_sip::uri::Scheme::Sips;
    let transport = match uri.wanted_transport() {
        Some(None) => {
            tracing::warn!(%uri, "transport not spoken here");
            return Vec::new();
        }
        Some(Some(transport)) => Some(transport),
        None => named.and_then(|name| {
            let open = shared.transports.protocol_of(name);
            open.or_else(|| transport_named(&shared.snapshot(), name))
        }),
    };
    let Host::Name(host) = &uri.host else {
        let transport = transport.unwrap_or(Transport::Udp);
        let hop = uri.socket_addr(transport).map(|remote| Hop {
            transport,
            remote,
            name: None,
        });
        return hop.into_iter().collect();
    };
    let all = shared.transports.all();
    let question = Question {
        host: host.clone(),
        port: uri.port,
        transport,
        secure,
        spoken: all.iter().map(|active| active.settings.protocol).collect(),
    };
    let asking = Arc::clone(shared);
    let lookup = shared.control.spawn(async move {
        let mut hops = Vec::new();
        let _ = tokio::time::timeout(LIMIT, asking.dns.locate(&question, &mut hops)).await;
        hops
    });
    let hops = lookup.await.unwrap_or_default();
    if hops.is_empty() {
        tracing::warn!(%host, "host name not found");
    }
    hops
}
