//! Addresses that are kept out, for the command line and whoever holds the key: shown, let in again one by one or all.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;
use warp::http::StatusCode;
use warp::{Filter, Rejection, Reply};

use crate::Sources;

/// `GET /blocked`, `DELETE /blocked`, `DELETE /blocked/ADDRESS`.
pub(crate) fn routes(
    sources: Arc<Sources>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    warp::path("blocked")
        .and(warp::method())
        .and(warp::path::tail())
        .and(warp::header::optional::<String>("authorization"))
        .map(
            move |method: warp::http::Method, tail: warp::path::Tail, key: Option<String>| {
                let (status, body) = answer(&sources, &method, tail.as_str(), key.as_deref());
                warp::reply::with_status(warp::reply::json(&body), status)
            },
        )
}

fn answer(
    sources: &Sources,
    method: &warp::http::Method,
    tail: &str,
    key: Option<&str>,
) -> (StatusCode, serde_json::Value) {
    if let Some(refusal) = refused(sources, key) {
        return refusal;
    }
    let protection = &sources.shared.protection;
    match (method.as_str(), tail) {
        ("GET", "") => {
            let list: Vec<_> = protection
                .list()
                .into_iter()
                .map(|blocked| {
                    let since = blocked
                        .since
                        .duration_since(std::time::UNIX_EPOCH)
                        .unwrap_or_default();
                    json!({
                        "address": blocked.address.to_string(),
                        "since": since.as_secs(),
                        "left_s": blocked.left_s,
                        "why": blocked.why.word(),
                        "times": blocked.times,
                        "dropped": blocked.dropped,
                    })
                })
                .collect();
            (StatusCode::OK, json!({ "blocked": list }))
        }
        ("DELETE", "") => {
            let count = protection.unblock_all();
            tracing::info!(count, "all addresses let in again");
            (StatusCode::OK, json!({ "unblocked": count }))
        }
        ("DELETE", address) => match address.parse::<IpAddr>() {
            Ok(ip) => {
                let was = protection.unblock(ip);
                tracing::info!(%ip, was, "address let in again");
                (StatusCode::OK, json!({ "unblocked": usize::from(was) }))
            }
            Err(_) => {
                let error = format!("\"{address}\" is no IP address");
                (StatusCode::BAD_REQUEST, json!({ "error": error }))
            }
        },
        _ => {
            let error = "GET and DELETE are allowed here";
            (StatusCode::METHOD_NOT_ALLOWED, json!({ "error": error }))
        }
    }
}

/// The answer to who does not show the key.
pub(crate) fn refused(
    sources: &Sources,
    key: Option<&str>,
) -> Option<(StatusCode, serde_json::Value)> {
    let given = key.and_then(|key| key.strip_prefix("Bearer "));
    if given.is_some_and(|given| is_key(given, &sources.control_key)) {
        return None;
    }
    let error = "the key in control.key of the data directory is needed";
    Some((StatusCode::UNAUTHORIZED, json!({ "error": error })))
}

/// Compared in a time that does not tell where they differ.
fn is_key(given: &str, key: &str) -> bool {
    let (given, key) = (given.as_bytes(), key.as_bytes());
    !key.is_empty()
        && given.len() == key.len()
        && given.iter().zip(key).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_opens() {
        assert!(is_key("abc", "abc"));
        for (given, key) in [
            ("", ""),
            ("", "abc"),
            ("ab", "abc"),
            ("abd", "abc"),
            ("abcd", "abc"),
        ] {
            assert!(!is_key(given, key), "{given} {key}");
        }
    }
}
