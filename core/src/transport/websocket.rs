//! SIP over WebSocket (RFC 7118): the server's half of the handshake, and one SIP message in each message.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use strowger_sip::Flow;
use strowger_sip::message::MESSAGE_LENGTH_MAX;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::stream::{End, Patience, WRITE};
use crate::shard::Shard;

/// Where browsers find us.
const PATH: &str = "/ws";
const PROTOCOL: &str = "sip";
const HEADER: &str = "Sec-WebSocket-Protocol";

/// How much may come and wait at once.
pub(super) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LENGTH_MAX))
        .max_frame_size(Some(MESSAGE_LENGTH_MAX))
        .write_buffer_size(0)
        .max_write_buffer_size(16 * MESSAGE_LENGTH_MAX)
}

fn refuse(status: StatusCode, why: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("{why}\n")));
    *response.status_mut() = status;
    response
}

/// RFC 7118 §4.1: the client has to offer the subprotocol `sip`, and is told that it is taken.
#[expect(
    clippy::result_large_err,
    reason = "the callback of the library has this shape"
)]
fn check(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path().trim_end_matches('/') != PATH {
        return Err(refuse(StatusCode::NOT_FOUND, "SIP is spoken at /ws"));
    }
    let offered = request.headers().get_all(HEADER).into_iter();
    let speaks_sip = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(PROTOCOL));
    if !speaks_sip {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "the subprotocol sip is needed (RFC 7118)",
        ));
    }
    response
        .headers_mut()
        .insert(HEADER, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// The handshake; `None` if it failed or took too long, which is counted.
pub(super) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    shard: &Shard,
    stream: S,
    remote: SocketAddr,
    deadline: tokio::time::Instant,
) -> Option<WebSocketStream<S>> {
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(limits()));
    match tokio::time::timeout_at(deadline, accepted).await {
        Ok(Ok(socket)) => {
            shard.counters().ws_accepted.add(1);
            Some(socket)
        }
        Ok(Err(error)) => {
            shard.counters().ws_handshakes_failed.add(1);
            tracing::debug!(%remote, %error, "WebSocket handshake");
            None
        }
        Err(_) => {
            shard.counters().handshakes_late.add(1);
            None
        }
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    message: Message,
) -> Result<(), End> {
    match tokio::time::timeout(WRITE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Reset),
        Err(_) => Err(End::Slow),
    }
}

/// Follows a connection to its end: why it ended, and whether a message ever went over it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    shard: &Rc<Shard>,
    mut socket: WebSocketStream<S>,
    flow: Flow,
    mut queue: mpsc::Receiver<Bytes>,
) -> (End, bool) {
    let mut patience = Patience::new(shard, flow.connection, false);
    let end = follow(shard, &mut socket, flow, &mut queue, &mut patience).await;
    let used = patience.used || !queue.is_empty();
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), socket.close(None)).await;
    (end, used)
}

/// What is between messages: line ends, by which some clients keep the connection alive.
fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

async fn follow<S: AsyncRead + AsyncWrite + Unpin>(
    shard: &Rc<Shard>,
    socket: &mut WebSocketStream<S>,
    flow: Flow,
    queue: &mut mpsc::Receiver<Bytes>,
    patience: &mut Patience,
) -> End {
    loop {
        let next = patience.next(shard);
        tokio::select! {
            message = socket.next() => {
                patience.heard();
                let bytes = match message {
                    None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) => return End::Closed,
                    Some(Ok(Message::Text(text))) => Bytes::from(text),
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Ping(_))) => {
                        // The library has put the answer in line; it goes out with the next flush.
                        match tokio::time::timeout(WRITE, socket.flush()).await {
                            Ok(Ok(())) => {}
                            Ok(Err(_)) => return End::Reset,
                            Err(_) => return End::Slow,
                        }
                        shard.counters().pings_answered.add(1);
                        continue;
                    }
                    Some(Ok(Message::Pong(_) | Message::Frame(_))) => continue,
                    Some(Err(
                        Error::Io(_)
                        | Error::AlreadyClosed
                        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                    )) => return End::Reset,
                    Some(Err(_)) => {
                        shard.counters().sip_malformed.add(1);
                        return End::Unreadable;
                    }
                };
                if is_keep_alive(&bytes) {
                    if bytes.len() >= 4 {
                        shard.counters().pings_answered.add(1);
                        if let Err(end) = send(socket, Message::text("\r\n")).await {
                            return end;
                        }
                    }
                    continue;
                }
                patience.used = true;
                shard.receive(flow, bytes);
            }
            bytes = queue.recv() => {
                let Some(bytes) = bytes else { return End::Closed };
                patience.used = true;
                let message = match String::from_utf8(bytes.to_vec()) {
                    Ok(text) => Message::text(text),
                    Err(_) => Message::binary(bytes),
                };
                if let Err(end) = send(socket, message).await {
                    return end;
                }
                patience.said();
            }
            () = tokio::time::sleep_until(next) => {
                if let Some(end) = patience.end(shard).await {
                    return end;
                }
                if patience.is_ping_due(shard) {
                    if let Err(end) = send(socket, Message::Ping(Bytes::new())).await {
                        return end;
                    }
                    shard.counters().pings_sent.add(1);
                    patience.said();
                }
            }
        }
    }
}
