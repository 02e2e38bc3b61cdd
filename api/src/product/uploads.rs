//! `uploads`: a sound of somebody else, made into what playback needs.

use std::sync::Arc;

use serde::Serialize;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::{Product, data};
use crate::http::{Incoming, Parameters, Refused};
use crate::sounds;

/// What the answer says of a sound.
#[derive(Debug, Serialize)]
struct Uploaded {
    /// The file below the folder of sounds.
    file: String,
    /// What `Playback` plays it by.
    name: String,
    /// Milliseconds.
    duration: String,
    /// Bytes of the file.
    size: String,
}

pub(super) async fn upload(product: &Arc<Product>, asked: Incoming) -> Result<Response, Refused> {
    if asked.method != Method::POST {
        let why = "uploads: POST with multipart/form-data is wanted";
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, why));
    }
    let parameters = Parameters::of_query(&asked.query)?;
    let caller = super::admit(product, &asked, &parameters).await?;
    let brought = sounds::take(&product.shared, &caller, asked).await?;
    Ok(data(Uploaded {
        name: brought.name,
        file: brought.file,
        duration: brought.duration_ms.to_string(),
        size: brought.bytes.to_string(),
    }))
}
