//! HTTP: health, readiness, metrics, the addresses that are kept out, and what was said in calls; the product's API; the
//! Manager interface, over TCP and HTTP; and the door of browsers that speak SIP over WebSocket. What lives here turns requests into questions to shards and counters; what never
//! does: call state, or anything that a call waits for. SQL is asked for call records only, by few at a time.

mod blocked;
mod http;
mod keys;
pub mod manager;
mod metrics;
mod product;
mod recordings;
mod risky;
mod server;
mod shards;
mod sip;
mod sounds;
mod trace;
mod v1;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strowger_core::Shared;
use strowger_core::counters::ShardCounters;
use strowger_core::shard::inbox::Inbox;
use strowger_core::transport::tls::Tls;
use strowger_store::Store;
use warp::http::{Response, StatusCode};
use warp::{Filter, Reply};

use keys::Keys;
use product::Product;
use server::Gate;

/// So long an event may take to those who listen.
const TOLD: Duration = Duration::from_millis(50);
/// How often it is looked whether everybody has gone.
const CLOSING_LOOK: Duration = Duration::from_millis(10);

/// Named numbers of one source, for the metrics page.
pub type Numbers = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// One shard as the metrics see it.
pub struct ShardSource {
    pub counters: Arc<ShardCounters>,
    pub inbox: Arc<Inbox>,
    /// Counters of its media thread.
    pub media: Numbers,
    /// Whether its media thread runs.
    pub media_runs: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Where the answers come from.
pub struct Sources {
    pub shared: Arc<Shared>,
    pub shards: Vec<ShardSource>,
    /// Process-wide numbers by prefix: database, spool, writer, dialplan.
    pub process: Vec<(&'static str, Numbers)>,
    /// Set once everything has started; cleared by nothing but a drain.
    pub ready: AtomicBool,
    /// Who shows it may change something.
    pub control_key: String,
}

/// Binds the HTTP port; the error names the key.
pub fn bind(key: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "is in use by another program; stop it or choose another port".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "is no address of this machine".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("{key}: TCP {address} {what}"))
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The APIs for programs, and who comes to them.
pub struct Apis {
    gate: Arc<Gate>,
    keys: Arc<Keys>,
    product: Arc<Product>,
    v1: Arc<v1::V1>,
    manager: Arc<manager::Manager>,
}

impl Apis {
    /// Puts them together; nobody is served yet.
    pub fn new(shared: &Arc<Shared>, manager: &Arc<manager::Manager>, store: Store) -> Self {
        let keys = Arc::new(Keys::new(shared));
        Self {
            gate: Arc::new(Gate::new(&shared.config.http)),
            v1: Arc::new(v1::V1::new(shared, &manager.plans, store.clone(), &keys)),
            product: Arc::new(Product {
                shared: Arc::clone(shared),
                manager: Arc::clone(manager),
                store,
                keys: Arc::clone(&keys),
            }),
            keys,
            manager: Arc::clone(manager),
        }
    }

    /// Ends it: everybody hears that the exchange ends, nobody new is let in, what is being answered is answered, and then each
    /// connection is closed. Takes `limit` at most.
    pub async fn close(&self, limit: Duration) {
        let until = Instant::now() + limit;
        self.manager.tell_end();
        tokio::time::sleep(TOLD.min(limit)).await;
        self.manager.end();
        self.v1.stream.end();
        self.gate.close();
        let is_busy = || self.gate.is_busy() || self.manager.is_busy() || self.v1.stream.is_read();
        while is_busy() {
            if Instant::now() >= until {
                tracing::warn!(
                    "HTTP and Manager: connections are cut off that are not done in time"
                );
                return;
            }
            tokio::time::sleep(CLOSING_LOOK).await;
        }
    }

    /// What is counted, for the metrics page.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.gate.counters();
        all.extend(self.keys.counters());
        all.extend(self.v1.stream.counters());
        all
    }
}

/// Where HTTP is served.
pub struct Listeners {
    pub plain: TcpListener,
    /// With the certificate of the connections.
    pub tls: Option<(TcpListener, Tls)>,
}

/// Serves until the runtime ends.
///
/// # Errors
/// A listener cannot be used.
pub async fn serve(listeners: Listeners, sources: Arc<Sources>, apis: Arc<Apis>) -> io::Result<()> {
    let sip = sip::routes(Arc::clone(&sources.shared));
    let metrics_sources = Arc::clone(&sources);
    let blocked = blocked::routes(Arc::clone(&sources));
    let trace = trace::routes(Arc::clone(&sources));
    let metrics = warp::path!("metrics").and(warp::get()).map(move || {
        Response::builder()
            .header("content-type", "text/plain; version=0.0.4; charset=utf-8")
            .body(metrics::page(&metrics_sources))
            .unwrap_or_default()
    });
    let health = warp::path!("healthz")
        .and(warp::get())
        .map(|| "ok\n".to_owned());
    let ready = warp::path!("readyz").and(warp::get()).map(move || {
        let (status, text) = readiness(&sources);
        warp::reply::with_status(text.to_owned(), status)
    });
    let product = product::routes(Arc::clone(&apis.product));
    let v1 = v1::routes(Arc::clone(&apis.v1));
    let manager = manager::routes(Arc::clone(&apis.manager));
    let all = metrics.or(health).or(ready).or(blocked).or(trace).or(sip);
    let all = all
        .or(product)
        .or(v1)
        .or(manager)
        .map(Reply::into_response)
        .boxed();
    let gate = &apis.gate;
    let plain = tokio::net::TcpListener::from_std(listeners.plain)?;
    let serving = server::listen(Arc::clone(gate), plain, None, all.clone());
    match listeners.tls {
        None => serving.await,
        Some((listener, tls)) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let encrypted = server::listen(Arc::clone(gate), listener, Some(Arc::new(tls)), all);
            tokio::join!(serving, encrypted);
        }
    }
    Ok(())
}

fn readiness(sources: &Sources) -> (StatusCode, &'static str) {
    if sources.shared.draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !sources.shards.iter().all(|shard| (shard.media_runs)()) {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "a media thread has ended; restart the exchange\n",
        )
    } else if sources.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}
