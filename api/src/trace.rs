//! What was said over SIP in calls that are kept, for the command line and whoever holds the key: a list, ladders, and
//! capture files.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use warp::http::{Response, StatusCode};
use warp::{Filter, Rejection, Reply};

use crate::Sources;
use crate::blocked::refused;

/// `GET /trace`, `GET /trace/call?id=NAME&messages=yes`, `GET /trace/pcap?of=NUMBER&last=SECONDS`.
pub(crate) fn routes(
    sources: Arc<Sources>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    warp::path("trace")
        .and(warp::get())
        .and(warp::path::tail())
        .and(warp::query::<HashMap<String, String>>())
        .and(warp::header::optional::<String>("authorization"))
        .then(
            move |tail: warp::path::Tail, query: HashMap<String, String>, key: Option<String>| {
                let sources = Arc::clone(&sources);
                // Thousands of messages are looked through: that is no work for threads that others wait for.
                let answer =
                    tokio::task::spawn_blocking(move || match refused(&sources, key.as_deref()) {
                        Some((status, body)) => Answer::Json(status, body),
                        None => answer(&sources, tail.as_str(), &query),
                    });
                async move {
                    let fault = |_| failed(StatusCode::INTERNAL_SERVER_ERROR, "a fault".to_owned());
                    match answer.await.unwrap_or_else(fault) {
                        Answer::Json(status, body) => Response::builder()
                            .status(status)
                            .header("content-type", "application/json")
                            .body(body.to_string().into_bytes()),
                        Answer::Capture(file, left_out) => Response::builder()
                            .header("content-type", "application/vnd.tcpdump.pcap")
                            .header("x-messages-left-out", left_out)
                            .body(file),
                    }
                    .unwrap_or_default()
                }
            },
        )
}

enum Answer {
    Json(StatusCode, Value),
    Capture(Vec<u8>, usize),
}

fn failed(status: StatusCode, error: String) -> Answer {
    Answer::Json(status, json!({ "error": error }))
}

fn answer(sources: &Sources, what: &str, query: &HashMap<String, String>) -> Answer {
    let tracer = &sources.shared.tracer;
    if !tracer.keeps() {
        let error = "no calls are kept: set `calls` in [trace] of strowger.toml";
        return failed(StatusCode::CONFLICT, error.to_owned());
    }
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    match what {
        "" => {
            let calls = tracer.list();
            let calls = calls.into_iter().map(|call| {
                let began = call.began.duration_since(UNIX_EPOCH).unwrap_or_default();
                json!({
                    "began": began.as_secs(),
                    "call_id": call.call_id,
                    "channel": call.channel,
                    "uniqueid": call.uniqueid,
                    "from": call.from,
                    "to": call.to,
                    "standing": call.standing,
                    "messages": call.messages,
                })
            });
            let calls: Vec<Value> = calls.collect();
            Answer::Json(StatusCode::OK, json!({ "calls": calls }))
        }
        "call" => match tracer.ladder(text("id"), text("messages") == "yes") {
            Some(ladder) => Answer::Json(StatusCode::OK, json!({ "ladder": ladder })),
            None => failed(
                StatusCode::NOT_FOUND,
                format!("no call `{}` is kept", text("id")),
            ),
        },
        "pcap" => {
            let last = match text("last") {
                "" => Ok(u64::from(u32::MAX)),
                seconds => seconds.parse(),
            };
            let Ok(last) = last else {
                let error = format!("last: `{}` is no number of seconds", text("last"));
                return failed(StatusCode::BAD_REQUEST, error);
            };
            let (file, count, left_out) = tracer.capture(text("of"), Duration::from_secs(last));
            if count == 0 {
                let error = "no message of such a call is kept".to_owned();
                return failed(StatusCode::NOT_FOUND, error);
            }
            Answer::Capture(file, left_out)
        }
        other => failed(
            StatusCode::NOT_FOUND,
            format!("/trace/{other}: there are /trace, /trace/call and /trace/pcap"),
        ),
    }
}
