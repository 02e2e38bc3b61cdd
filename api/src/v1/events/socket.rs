//! Events over WebSocket (RFC 6455): one JSON text in each message. Nothing is wanted of the other side but signs of life.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use warp::Reply as _;
use warp::http::StatusCode;
use warp::http::header::HeaderValue;

use super::super::problem::Problem;
use super::super::{Answered, On};
use super::{Next, Reader, Wanted, Written, last_of};

/// Bytes of a message of the other side.
const MESSAGE_MAX: usize = 4096;
/// Bytes that may wait to be written.
const WAITING_MAX: usize = 4 * 1024 * 1024;
/// How long a message may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// What happens, over WebSocket; parameters as for the stream.
#[utoipa::path(get, path = "/api/v1/events/socket", tag = "events", params(
    ("events" = Option<String>, Query, description = "Names of events, separated by commas"),
    ("call" = Option<String>, Query, description = "Only of this call: `uniqueid` or `linkedid`"),
    ("channel" = Option<String>, Query, description = "Only of channels whose names begin so"),
    ("context" = Option<String>, Query, description = "Only of this context"),
    ("after" = Option<String>, Query, description = "Go on behind this event")),
    responses((status = 101, description = "Each message is an event"), (status = 400, description = "No WebSocket is asked for", content_type = "application/problem+json"),
        (status = 426, description = "Another version of WebSocket than 13 is asked for", content_type = "application/problem+json"),
        (status = 503, description = "Too many listen", content_type = "application/problem+json")))]
pub(in crate::v1) fn socket(on: &On) -> Answered {
    let asked = &on.asked;
    let is = |name: &str, word: &str| {
        let mut words = asked.header(name).split(',');
        words.any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let key = asked.header("sec-websocket-key");
    let asks = is("upgrade", "websocket") && is("connection", "upgrade") && !key.is_empty();
    let (Some(upgrade), true) = (asked.upgrade.clone(), asks) else {
        return Err(Problem::bad(
            "a WebSocket has to be asked for (RFC 6455), over HTTP/1.1",
        ));
    };
    if asked.header("sec-websocket-version") != "13" {
        let problem = Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "version 13 of WebSocket is spoken",
        );
        return Err(problem.with_header("sec-websocket-version", "13"));
    }
    let reader = on
        .api
        .stream
        .join(&last_of(on), &on.api.keys, Wanted::of(on))?;
    // As long as it is talked with, it is one of the connections that there may be.
    let held = asked.held.clone();
    tokio::spawn(async move {
        talk(upgrade, reader).await;
        drop(held);
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert("sec-websocket-accept", accept);
    }
    Ok(response)
}

fn message(event: &Written) -> Message {
    Message::text(event.json().to_owned())
}

/// Tells a reader what happens, until one of the two has enough.
async fn talk(upgrade: OnUpgrade, mut reader: Reader) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX))
        .max_write_buffer_size(WAITING_MAX);
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    loop {
        let next = tokio::select! {
            next = reader.next() => next,
            said = socket.next() => match said {
                // Pings are answered by the library when it is polled.
                Some(Ok(message)) if !message.is_close() => continue,
                Some(Ok(_)) => {
                    // The library has answered it, which is still to be sent.
                    let _ = tokio::time::timeout(WRITE_MAX, socket.flush()).await;
                    return;
                }
                _ => return,
            },
        };
        let (messages, last) = match next {
            Next::Events(events) => (events.iter().map(|event| message(event)).collect(), false),
            Next::Silence => (vec![Message::Ping(Vec::new().into())], false),
            Next::End(why, event) => {
                let why = CloseFrame {
                    code: match why {
                        "Ending" => CloseCode::Away,
                        _ => CloseCode::Policy,
                    },
                    reason: Utf8Bytes::from_static(why),
                };
                (vec![message(&event), Message::Close(Some(why))], true)
            }
        };
        let write = async {
            for message in messages {
                socket.feed(message).await?;
            }
            socket.flush().await
        };
        if !matches!(tokio::time::timeout(WRITE_MAX, write).await, Ok(Ok(()))) || last {
            return;
        }
    }
}
