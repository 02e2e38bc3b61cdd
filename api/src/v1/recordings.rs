//! Recordings: which calls have one, fetching and deleting them, and how long they are kept.

use serde::{Deserialize, Serialize};
use strowger_core::record::retention::KEEP_DAYS_MAX;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::cdr::{Cursor, go_on, query_of, seconds};
use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::json;
use crate::recordings::{self, Form, aside, files_of, unreadable};
use crate::shards;

/// Call records that one search looks at.
const LOOKED_MAX: u64 = 1000;

/// The recording of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingView {
    /// The unique id of the call.
    id: String,
    /// `wav`, `mp3`: what is on disk. Either can be fetched.
    format: &'static str,
    bytes: u64,
    start: Option<String>,
    src: Option<String>,
    dst: Option<String>,
    /// Seconds.
    duration: Option<String>,
}

/// Recordings, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingPage {
    recordings: Vec<RecordingView>,
    /// Give it back as `cursor` for the next page; null: this is the last.
    next: Option<String>,
}

/// Recordings of calls whose records fit.
#[utoipa::path(get, path = "/api/v1/recordings", tag = "recordings", params(
    ("from" = Option<String>, Query, description = "Calls that began then or later, in the zone of the server"),
    ("until" = Option<String>, Query, description = "Calls that began then or earlier"),
    ("src" = Option<String>, Query), ("dst" = Option<String>, Query), ("dcontext" = Option<String>, Query),
    ("call" = Option<String>, Query, description = "`uniqueid` or `linkedid`"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = RecordingPage), (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or too many search", content_type = "application/problem+json")))]
pub(super) async fn search(on: On) -> Answered {
    let (mut query, cursor) = query_of(&on)?;
    let cursor = go_on(&mut query, cursor)?;
    query.limit = LOOKED_MAX;
    let columns = ["uniqueid", "start", "src", "dst", "duration"];
    let rows = on.api.store.find_cdr(&query, &columns).await;
    let rows = rows.map_err(|error| Problem::from(unreadable(&error)))?;
    // As a cursor has them, whatever the table keeps besides.
    let starts: Vec<&str> = rows
        .iter()
        .map(|row| seconds(row.get(1).and_then(Option::as_deref).unwrap_or_default()))
        .collect();
    let more = rows.len() as u64 == LOOKED_MAX;
    let next = more
        .then(|| Cursor::behind(cursor.as_ref(), &starts))
        .flatten();
    let next = next.map(|next| next.text());
    let monitor = on.shared().monitor().to_owned();
    let found = aside(move || {
        let mut recordings: Vec<RecordingView> = Vec::new();
        for row in rows {
            let [id, start, src, dst, duration] = <[_; 5]>::try_from(row).unwrap_or_default();
            let Some(id) = id.filter(|id| recordings::is_uniqueid(id)) else {
                continue;
            };
            // A call with several records has one recording.
            if recordings.iter().any(|known| known.id == id) {
                continue;
            }
            if let Some(file) = recordings::look(&monitor, &id, Form::Wav) {
                recordings.push(RecordingView {
                    id,
                    format: file.form.extension(),
                    bytes: file.bytes,
                    start,
                    src,
                    dst,
                    duration,
                });
            }
        }
        recordings
    });
    let recordings = found.await?;
    Ok(json(StatusCode::OK, &RecordingPage { recordings, next }))
}

/// The sound of a call.
#[utoipa::path(get, path = "/api/v1/recordings/{id}", tag = "recordings", params(
    ("id" = String, Path, description = "Unique id of the call"),
    ("format" = Option<String>, Query, description = "`wav` or `mp3`; `wav`"),
    ("Range" = Option<String>, Header, description = "One range of bytes")),
    responses((status = 200, description = "All of it", content((String = "audio/wav"), (String = "audio/mpeg"))),
        (status = 206, description = "The range", content((String = "audio/wav"), (String = "audio/mpeg"))),
        (status = 304, description = "It is as `If-None-Match` knows it"),
        (status = 403, description = "A call of another group", content_type = "application/problem+json"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 416, description = "The range lies behind its end"),
        (status = 503, description = "Too many are converted, or the database does not answer", content_type = "application/problem+json")))]
pub(super) async fn fetch(on: On) -> Answered {
    let form = match on.query.get("format") {
        "" | "wav" => Form::Wav,
        "mp3" => Form::Mp3,
        other => {
            return Err(Problem::bad(format!(
                "format: {other:?}; wav and mp3 are known"
            )));
        }
    };
    let (shared, store) = (on.shared(), &on.api.store);
    let found = recordings::find(shared, store, &on.caller, on.place(0), form).await?;
    Ok(recordings::send(shared, &on.asked, found, form).await?)
}

/// Deletes the files of a call that is over.
#[utoipa::path(delete, path = "/api/v1/recordings/{id}", tag = "recordings", params(
    ("id" = String, Path, description = "Unique id of the call")),
    responses((status = 204, description = "They are gone"), (status = 403, description = "A call of another group", content_type = "application/problem+json"),
        (status = 404, description = "There is none", content_type = "application/problem+json"),
        (status = 409, description = "The call runs", content_type = "application/problem+json")))]
pub(super) async fn delete(on: On) -> Answered {
    let (shared, store, id) = (on.shared(), &on.api.store, on.place(0));
    recordings::find(shared, store, &on.caller, id, Form::Wav).await?;
    if shards::place_of(shared, id).await.is_some() {
        return Err(Problem::new(StatusCode::CONFLICT, "the call runs"));
    }
    let files = files_of(shared.monitor(), id);
    let removed = aside(move || {
        files
            .iter()
            .try_for_each(|file| match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
    });
    removed.await?.map_err(|error| {
        tracing::error!(id, %error, "API: a recording cannot be deleted");
        let why = "the recording cannot be deleted; the log of the exchange says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    on.audit("recording deleted");
    Ok(done())
}

/// How long recordings are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetentionView {
    /// Days after their last change, 0: for ever. This counts.
    keep_days: u64,
    /// What `[recording] keep_days` of `strowger.toml` says.
    configured_days: u64,
    /// It was set here, and counts before `strowger.toml`.
    set: bool,
    /// Files deleted since the start because of their age, and their bytes.
    deleted: u64,
    deleted_bytes: u64,
    /// Files that could not be deleted.
    failed: u64,
    /// When all files were last looked at, in seconds since 1970; null: not yet.
    looked_at: Option<u64>,
}

/// How long recordings are to be kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"keep_days": 90}))]
pub(super) struct RetentionBody {
    /// Days, 0: for ever; null: as `strowger.toml` says.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(minimum = 0, maximum = 36500, required = true)]
    keep_days: Option<u64>,
}

fn retention_view(on: &On) -> RetentionView {
    let (shared, numbers) = (on.shared(), &on.shared().retention);
    RetentionView {
        keep_days: shared.recordings_keep_days(),
        configured_days: shared.config.recording.keep_days,
        set: shared.recordings_keep_days_set().is_some(),
        deleted: numbers.deleted.get(),
        deleted_bytes: numbers.deleted_bytes.get(),
        failed: numbers.failed.get(),
        looked_at: numbers.looked(),
    }
}

/// How long recordings are kept.
#[utoipa::path(get, path = "/api/v1/recordings/retention", tag = "recordings", responses((status = 200, body = RetentionView)))]
pub(super) fn retention(on: &On) -> Answered {
    on.unbound()?;
    Ok(json(StatusCode::OK, &retention_view(on)))
}

/// Sets how long recordings are kept, of all groups. What is older is deleted from now on, a few files at a time.
#[utoipa::path(put, path = "/api/v1/recordings/retention", tag = "recordings", request_body = RetentionBody,
    responses((status = 200, body = RetentionView), (status = 400, description = "What is wrong", content_type = "application/problem+json"),
        (status = 503, description = "It cannot be kept", content_type = "application/problem+json")))]
pub(super) async fn set_retention(mut on: On) -> Answered {
    on.unbound()?;
    let body: RetentionBody = on.body().await?;
    if let Some(days) = body.keep_days.filter(|days| *days > KEEP_DAYS_MAX) {
        return Err(Problem::bad(format!(
            "keep_days: {days} is outside 0 to {KEEP_DAYS_MAX}"
        )));
    }
    on.shared()
        .set_recordings_keep_days(body.keep_days)
        .map_err(|error| {
            tracing::error!(%error, "API: how long recordings are kept");
            let why = "keep_days: it cannot be kept; the log of the exchange says more";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
        })?;
    let days = on.shared().recordings_keep_days();
    on.audit(&format!(
        "recordings are kept for {days} days (0: for ever)"
    ));
    Ok(json(StatusCode::OK, &retention_view(&on)))
}
