//! Sounds: which there are, bringing and deleting them.

use std::ops::Bound;
use std::sync::Arc;

use serde::Serialize;
use strowger_core::sounds::Variant;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::problem::Problem;
use super::{Answered, On, done};
use crate::http::json;
use crate::recordings::aside;
use crate::sounds;

/// Sounds of one page.
const PAGE_MAX: u64 = 1000;
/// Lists that are made at a time: each reads all folders.
const LISTS_MAX: usize = 2;

static LISTS: Semaphore = Semaphore::const_new(LISTS_MAX);

/// A sound in one language and form.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VariantView {
    /// Null: for every language that has none of its own.
    language: Option<String>,
    /// `wav`, `ulaw`, `mp3` and the like.
    format: String,
    /// Null where only decoding would tell, as of MP3.
    duration_ms: Option<u64>,
    bytes: Option<u64>,
    /// It comes with the exchange.
    built_in: bool,
}

impl VariantView {
    /// Reads the head of its file.
    fn of(variant: &Variant) -> Self {
        Self {
            language: Some(variant.language.clone()).filter(|language| !language.is_empty()),
            format: variant.format.clone(),
            duration_ms: variant.duration_ms(),
            bytes: variant.bytes(),
            built_in: variant.built_in,
        }
    }
}

/// A sound that can be played.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SoundView {
    /// What `Playback` and `/calls/{id}/play` play it by.
    name: String,
    /// It was brought over an API, and may be deleted.
    uploaded: bool,
    variants: Vec<VariantView>,
}

/// Sounds by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SoundPage {
    sounds: Vec<SoundView>,
    /// Give it back as `cursor` for the next page; null: this is the last.
    next: Option<String>,
}

/// A sound that was brought.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SoundMade {
    name: String,
    /// The file below the folder of sounds.
    file: String,
    duration_ms: u64,
    bytes: u64,
}

/// What a form for a sound holds.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described for the document, read part by part")]
pub(super) struct SoundForm {
    /// A sound of any kind that can be played; its name becomes that of the sound.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
}

/// Sounds that the key may play: those here and built in, and what its group brought.
#[utoipa::path(get, path = "/api/v1/sounds", tag = "sounds", params(
    ("prefix" = Option<String>, Query, description = "How names begin"),
    ("language" = Option<String>, Query, description = "Only those of exactly this language"),
    ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "100 if missing"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = SoundPage), (status = 503, description = "Too many lists are made", content_type = "application/problem+json")))]
pub(super) async fn list(on: On) -> Answered {
    let limit = usize::try_from(on.number("limit", 100, PAGE_MAX)?).unwrap_or(usize::MAX);
    let Ok(turn) = LISTS.try_acquire() else {
        return Err(Problem::busy());
    };
    let given = |name: &str| on.query.given(name).map(str::to_owned);
    let (prefix, language, cursor) = (given("prefix"), given("language"), given("cursor"));
    let shared = Arc::clone(on.shared());
    let caller = on.caller;
    let page = aside(move || {
        let _turn = turn;
        let all = shared.sounds.list();
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = all
            .range((from, Bound::Unbounded))
            .filter(|(name, variants)| {
                prefix
                    .as_ref()
                    .is_none_or(|prefix| name.starts_with(prefix))
                    && language.as_ref().is_none_or(|language| {
                        variants.iter().any(|variant| variant.language == *language)
                    })
                    && !sounds::is_of_others(&shared, &caller, name)
            });
        // One more shows whether there is another page.
        let mut found: Vec<_> = rest.take(limit + 1).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|(name, _)| (*name).clone());
        let found = found.into_iter().map(|(name, variants)| SoundView {
            name: name.clone(),
            uploaded: sounds::owner(&shared, &format!("{name}.wav")).is_some(),
            variants: variants.iter().map(VariantView::of).collect(),
        });
        SoundPage {
            sounds: found.collect(),
            next,
        }
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// Brings a sound: it is decoded, kept as a WAV file of 8000 Hz, and played by the name of the file without its extension.
#[utoipa::path(post, path = "/api/v1/sounds", tag = "sounds", request_body(content = SoundForm, content_type = "multipart/form-data"),
    responses((status = 201, body = SoundMade), (status = 400, description = "It is no sound, or its name cannot be taken", content_type = "application/problem+json"),
        (status = 403, description = "There is such a sound, and another group brought it or nobody did", content_type = "application/problem+json"),
        (status = 415, description = "It is no form, or no kind of sound that is known", content_type = "application/problem+json"),
        (status = 503, description = "A sound of this key is being taken, or too many are", content_type = "application/problem+json")))]
pub(super) async fn bring(on: On) -> Answered {
    let made = sounds::take(&on.api.shared, &on.caller, on.asked).await?;
    let made = SoundMade {
        name: made.name,
        file: made.file,
        duration_ms: made.duration_ms,
        bytes: made.bytes,
    };
    Ok(json(StatusCode::CREATED, &made))
}

/// Deletes a sound that was brought.
#[utoipa::path(delete, path = "/api/v1/sounds/{name}", tag = "sounds", params(
    ("name" = String, Path, description = "Name of the sound")),
    responses((status = 204, description = "It is gone"), (status = 403, description = "Another group brought it, or nobody did", content_type = "application/problem+json"),
        (status = 404, description = "There is none", content_type = "application/problem+json")))]
pub(super) async fn delete(on: On) -> Answered {
    sounds::delete(on.shared(), &on.caller, on.place(0)).await?;
    on.audit("sound deleted");
    Ok(done())
}
