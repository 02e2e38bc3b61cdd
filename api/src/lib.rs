//! HTTP: health, readiness, metrics, the addresses that are kept out, and what was said in calls; and the Manager interface,
//! over TCP and HTTP. What lives here turns requests into questions to shards and counters; what never
//! does: call state, SQL on a request's path, or anything that waits for a call.

mod blocked;
pub mod manager;
mod metrics;
mod trace;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strowger_core::Shared;
use strowger_core::counters::ShardCounters;
use strowger_core::shard::inbox::Inbox;
use warp::Filter;
use warp::http::{Response, StatusCode};

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
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "is in use by another program; stop it or choose another port".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "is no address of this machine".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("http.bind: TCP {address} {what}"))
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the runtime ends.
pub async fn serve(
    listener: TcpListener,
    sources: Arc<Sources>,
    manager: Arc<manager::Manager>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
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
    let manager = manager::routes(manager);
    let all = metrics.or(health).or(ready).or(blocked).or(trace);
    warp::serve(all.or(manager)).incoming(listener).run().await;
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
