//! Texts: to the far end of a call, and to devices outside of calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use strowger_core::call::{MESSAGE_BYTES_MAX, MessageError, Parcel, TextMessage};

use super::Context;

pub(super) async fn send_in_call(on: Context<'_>) -> String {
    let (Some(name), Some(text)) = (on.request.given("Channel"), on.request.given("Message"))
    else {
        let missing = if on.request.given("Channel").is_none() {
            "No channel specified"
        } else {
            "No Message specified"
        };
        return on.error(missing);
    };
    let text = text.to_owned();
    match on
        .with_channel(name, move |channel| channel.send_text(&text))
        .await
    {
        None => on.error("No such channel"),
        Some(true) => on.success("Success"),
        Some(false) => on.error("Failure"),
    }
}

/// The text of a request: `Body`, or `Base64Body`.
fn body(on: &Context<'_>) -> Result<String, String> {
    let Some(encoded) = on.request.given("Base64Body") else {
        return Ok(on.request.get("Body").to_owned());
    };
    let bytes = BASE64
        .decode(encoded.trim())
        .map_err(|_| on.error("Base64Body is no Base64"))?;
    String::from_utf8(bytes).map_err(|_| on.error("Base64Body is no text in UTF-8"))
}

pub(super) async fn send(on: Context<'_>) -> String {
    let (destination, to) = (on.request.given("Destination"), on.request.given("To"));
    // What only says To means the destination by it.
    let Some(destination) = destination.or(to) else {
        return on.error("No message destination specified.");
    };
    let shown = if on.request.given("Destination").is_some() {
        to.unwrap_or_default()
    } else {
        ""
    };
    let body = match body(&on) {
        Ok(body) => body,
        Err(text) => return text,
    };
    if body.len() > MESSAGE_BYTES_MAX {
        return on.error(&format!("A text has {MESSAGE_BYTES_MAX} bytes at most."));
    }
    let mut text = TextMessage::default();
    text.body = body;
    for pair in on.request.all("Variable") {
        if let Some((name, value)) = pair.split_once('=')
            && !text.set_data(name.trim(), value)
        {
            return on.error("Too many variables are set");
        }
    }
    let parcel = Parcel {
        to: destination.to_owned(),
        from: on.request.get("From").to_owned(),
        shown: shown.to_owned(),
        text,
    };
    match on.manager.shared.send_message(parcel).await {
        Ok(()) => on.success("Message successfully sent"),
        Err(MessageError::Protocol(_)) => on.error("Message technology not found."),
        Err(error) => {
            tracing::info!(%error, "Manager: MessageSend");
            on.error("Message failed to send.")
        }
    }
}
