//! Sending on whom a channel talks with: by the keys of an attended transfer, as if they were dialled, or at once.

use strowger_core::call::TransferError;
use strowger_core::channel::Channel;
use strowger_core::dialplan::Reach;

use super::Context;

/// How long each digit counts as dialled.
const DIGIT_MS: u32 = 100;
/// Digits of a number.
const DIGITS_MAX: usize = 40;

/// The channel counts as having dialled these. `None`: there is no such channel.
async fn dial(on: &Context<'_>, name: &str, context: Option<String>, digits: String) -> Option<()> {
    on.with_channel(name, move |channel: &Channel| {
        if let Some(context) = context {
            channel.set_variable("TRANSFER_CONTEXT", &context);
        }
        for digit in digits.chars() {
            channel.receive_digit(digit, DIGIT_MS);
        }
    })
    .await
}

pub(super) async fn attended(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let Some(exten) = on.request.given("Exten") else {
        return on.error("No exten specified");
    };
    let dialled = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#' | 'A'..='D');
    if exten.len() > DIGITS_MAX || !exten.chars().all(dialled) {
        return on.error("Exten is dialled: it may have 40 digits, * and # included");
    }
    // What the channel set by FEATUREMAP counts before features.conf.
    let read = |channel: &Channel| {
        let dialplan = channel.shard().dialplan();
        let code = dialplan.read(channel, "FEATUREMAP(atxfer)", Reach::Call);
        code.unwrap_or_default()
    };
    let Some(code) = on.with_channel(name, read).await else {
        return on.error("Channel specified does not exist");
    };
    if code.is_empty() {
        return on.error("No attended transfer feature code found");
    }
    let context = on.request.given("Context").map(str::to_owned);
    match dial(&on, name, context, format!("{code}{exten}")).await {
        Some(()) => on.success("Atxfer successfully queued"),
        None => on.error("Channel specified does not exist"),
    }
}

pub(super) async fn cancel(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let snapshot = on.manager.shared.snapshot();
    let Some(code) = strowger_scripting::transfer_code(&snapshot, "atxferabort") else {
        return on.error("No disconnect feature code found");
    };
    match dial(&on, name, None, code).await {
        Some(()) => on.success("CancelAtxfer successfully queued"),
        None => on.error("Channel specified does not exist"),
    }
}

pub(super) async fn blind(on: Context<'_>) -> String {
    let Some(name) = on.request.given("Channel") else {
        return on.error("No channel specified");
    };
    let Some(exten) = on.request.given("Exten") else {
        return on.error("No exten specified");
    };
    let exten = exten.to_owned();
    let context = on.request.given("Context").map(str::to_owned);
    let transferred = on
        .with_channel(name, move |channel: &Channel| {
            channel.transfer_peer(context.as_deref(), &exten)
        })
        .await;
    match transferred {
        None => on.error("Channel specified does not exist"),
        Some(Ok(())) => on.success("Transfer succeeded"),
        Some(Err(TransferError::Alone)) => on.error("Transfer invalid"),
        Some(Err(TransferError::NoSuchNumber)) => on.error("Transfer failed"),
    }
}
