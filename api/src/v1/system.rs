//! The exchange itself: whether it works, which version it is, and its limits.

use serde::Serialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

use super::{On, V1};
use crate::http::{BODY_MAX, json};

/// How the exchange is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, or `draining`: no new calls are taken.
    status: &'static str,
    /// The database answered at the last look.
    database: bool,
    uptime_s: u64,
    channels: usize,
}

/// How the exchange is; without a key.
#[utoipa::path(get, path = "/api/v1/health", tag = "system", responses((status = 200, body = Health), (status = 503, body = Health, description = "It takes no new calls")))]
pub(super) fn health(api: &V1) -> Response {
    let shared = &api.shared;
    let draining = shared.draining();
    let health = Health {
        status: if draining { "draining" } else { "ok" },
        database: shared.realtime.healthy(),
        uptime_s: shared.started_at.elapsed().as_secs(),
        channels: shared.channels(),
    };
    let status = if draining {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    json(status, &health)
}

/// Which version it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    name: &'static str,
    version: &'static str,
    api: &'static str,
}

/// Which version it is.
#[utoipa::path(get, path = "/api/v1/version", tag = "system", responses((status = 200, body = Version)))]
pub(super) fn version(_: &On) -> Response {
    let version = Version {
        name: "Strowger",
        version: env!("CARGO_PKG_VERSION"),
        api: "v1",
    };
    json(StatusCode::OK, &version)
}

/// What there is room for. 0: no limit of its own.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Limits {
    channels: usize,
    calls_per_second: u32,
    requests_per_second: u32,
    connections: usize,
    body_bytes: usize,
    upload_bytes: usize,
    /// Events that are kept for who comes back.
    events_kept: usize,
}

/// What there is room for.
#[utoipa::path(get, path = "/api/v1/limits", tag = "system", responses((status = 200, body = Limits)))]
pub(super) fn limits(on: &On) -> Response {
    let config = &on.shared().config;
    let limits = Limits {
        channels: config.limits.calls,
        calls_per_second: config.limits.calls_per_second,
        requests_per_second: config.http.requests_per_second,
        connections: config.http.connections,
        body_bytes: BODY_MAX,
        upload_bytes: config.http.upload_mib * 1024 * 1024,
        events_kept: super::events::KEPT_MAX,
    };
    json(StatusCode::OK, &limits)
}
