//! `/ws`: the handshake of browsers that speak SIP over WebSocket (RFC 7118) on the HTTP port. What is said behind it is for the
//! shard that takes the connection.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use strowger_core::Shared;
use strowger_core::transport::lodger::{self, NotTaken};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::header::{HeaderMap, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply as _};

use crate::http::{Peer, Way};
use crate::server::Held;

const PROTOCOL: &str = "sip";

/// A refusal: its status, and why, for a person.
type Refused = (StatusCode, &'static str);

/// `GET /ws`.
pub(crate) fn routes(
    shared: Arc<Shared>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path!("ws")
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(warp::ext::get::<Way>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::get::<Held>())
        .then(
            move |method: Method, headers: HeaderMap, from: Peer, way: Way, upgrade, held: Held| {
                let shared = Arc::clone(&shared);
                async move {
                    let taken = match method {
                        Method::GET => enter(&shared, &headers, (from, way), upgrade, held).await,
                        _ => Err((StatusCode::METHOD_NOT_ALLOWED, "GET opens a WebSocket")),
                    };
                    taken.unwrap_or_else(refusal)
                }
            },
        )
}

fn refusal((status, why): Refused) -> Response {
    let mut response = warp::reply::with_status(format!("{why}\n"), status).into_response();
    if status == StatusCode::UPGRADE_REQUIRED {
        let version = HeaderValue::from_static("13");
        response
            .headers_mut()
            .insert("sec-websocket-version", version);
    }
    response
}

/// Whether a header has this word among those separated by commas.
fn has(headers: &HeaderMap, name: &str, word: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// What the handshake has to say (RFC 6455 §4.2.1, RFC 7118 §4.1): the answer to its key.
fn check(headers: &HeaderMap) -> Result<HeaderValue, Refused> {
    let key = headers.get("sec-websocket-key");
    let asks = has(headers, "upgrade", "websocket") && has(headers, "connection", "upgrade");
    let (Some(key), true) = (key, asks) else {
        return Err((
            StatusCode::BAD_REQUEST,
            "SIP is spoken here over WebSocket (RFC 7118), which has to be asked for over HTTP/1.1",
        ));
    };
    if !has(headers, "sec-websocket-version", "13") {
        let why = "version 13 of WebSocket is spoken";
        return Err((StatusCode::UPGRADE_REQUIRED, why));
    }
    if !has(headers, "sec-websocket-protocol", PROTOCOL) {
        let why = "the subprotocol sip is needed (RFC 7118)";
        return Err((StatusCode::BAD_REQUEST, why));
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| (StatusCode::BAD_REQUEST, "the key cannot be answered"))
}

async fn enter(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    (Peer(from), way): (Peer, Way),
    upgrade: Option<OnUpgrade>,
    held: Held,
) -> Result<Response, Refused> {
    let accept = check(headers)?;
    let upgrade = upgrade.ok_or((StatusCode::BAD_REQUEST, "HTTP/1.1 is needed"))?;
    let lodging = lodger::admitted(shared, way.secure, way.local, from).await;
    let lodging = lodging.map_err(|not| match not {
        NotTaken::NoTransport => (
            StatusCode::NOT_FOUND,
            "SIP is not spoken here: there is no transport of ws or wss",
        ),
        NotTaken::Blocked => (StatusCode::FORBIDDEN, "the address is blocked"),
        NotTaken::Full => (StatusCode::SERVICE_UNAVAILABLE, "too many connections"),
    })?;
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            lodging.move_in(TokioIo::new(upgraded), held);
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-protocol", PROTOCOL),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("sec-websocket-accept", accept);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(change: &[(&'static str, &'static str)]) -> HeaderMap {
        let all = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat, SIP"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in all.iter().chain(change) {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_handshake_is_answered_by_its_key_or_refused_with_what_is_missing() {
        // The example of RFC 6455 §1.3.
        let accept = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(check(&headers(&[])), Ok(accept));
        for (change, status) in [
            (("upgrade", "h2c"), StatusCode::BAD_REQUEST),
            (("connection", "close"), StatusCode::BAD_REQUEST),
            (("sec-websocket-version", "8"), StatusCode::UPGRADE_REQUIRED),
            (("sec-websocket-protocol", "chat"), StatusCode::BAD_REQUEST),
        ] {
            let refused = check(&headers(&[change])).err().map(|(status, _)| status);
            assert_eq!(refused, Some(status), "{change:?}");
        }
    }
}
