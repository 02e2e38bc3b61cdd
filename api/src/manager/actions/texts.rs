//! Texts: to the far end of a call, and to devices outside of calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use strowger_core::call::{MESSAGE_BYTES_MAX, MessageError, TextMessage};
use strowger_core::shard::Shard;

use super::Context;

/// Hops of a text that begins here.
const FORWARDS: u8 = 70;

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
    let mut text = TextMessage {
        body,
        ..TextMessage::default()
    };
    for pair in on.request.all("Variable") {
        if let Some((name, value)) = pair.split_once('=')
            && !text.set_data(name.trim(), value)
        {
            return on.error("Too many variables are set");
        }
    }
    let from = on.request.get("From").to_owned();
    let (destination, shown) = (destination.to_owned(), shown.to_owned());
    let Some(inbox) = on.manager.shared.inboxes().first() else {
        return on.error("Message failed to send.");
    };
    let (tell, told) = tokio::sync::oneshot::channel();
    let errand = super::ShardMessage::Errand(Box::new(move |shard| {
        let shard = std::rc::Rc::clone(shard);
        Shard::spawn(async move {
            let sent = shard.send_message(&destination, &from, &shown, &text, FORWARDS);
            let _ = tell.send(sent.await);
        });
    }));
    if inbox.send(errand).is_err() {
        return on.error("Message failed to send.");
    }
    match tokio::time::timeout(super::SHARD_WAIT, told).await {
        Ok(Ok(Ok(()))) => on.success("Message successfully sent"),
        Ok(Ok(Err(MessageError::Protocol(_)))) => on.error("Message technology not found."),
        _ => on.error("Message failed to send."),
    }
}
