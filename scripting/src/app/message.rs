//! `MessageSend`: a text to a device, outside of calls.

use strowger_core::call::MessageError;

use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[app!(
    "MessageSend",
    "MessageSend(destination[,from[,to]])",
    "sends the text of MESSAGE(body) to a device",
    send
)];

async fn send(call: Call) -> AppResult {
    let text = call.channel().data().message.clone().unwrap_or_default();
    let sent = call
        .channel()
        .send_message(call.arg(0), call.arg(1), call.arg(2), &text)
        .await;
    let status = match sent {
        Ok(()) => "SUCCESS",
        Err(error) => {
            call.warn(&format!("MessageSend: {error}"));
            match error {
                MessageError::Protocol(_) => "INVALID_PROTOCOL",
                MessageError::Uri(_) => "INVALID_URI",
                MessageError::TooLong | MessageError::TooManyHops | MessageError::Overloaded => {
                    "FAILURE"
                }
            }
        }
    };
    call.set("MESSAGE_SEND_STATUS", status);
    Ok(Next::Continue)
}
