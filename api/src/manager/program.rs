//! The Manager for the other APIs of the same process: they ask in its words and read its answers, so that both tell the same
//! of a call. Who may ask is decided before.

use std::sync::Arc;

use strowger_core::call::originate::{OriginateRequest, Target};

use super::Manager;
use super::actions;
use super::classes::Classes;
use super::request::Request;
use super::settings::User;

/// A block of lines: an answer or an event.
pub(crate) type Block = Vec<(String, String)>;

fn request(headers: &[(&str, &str)]) -> Request {
    let headers = headers.iter();
    Request::new(
        headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

/// The blocks of an answer.
fn blocks(text: &str) -> Vec<Block> {
    text.split("\r\n\r\n")
        .map(|block| {
            let lines = block.split("\r\n").filter(|line| !line.is_empty());
            lines
                .map(|line| {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    (name.to_owned(), value.to_owned())
                })
                .collect()
        })
        .filter(|block: &Block| !block.is_empty())
        .collect()
}

/// Does an action with all rights: the blocks of its answer.
pub(crate) async fn ask(manager: &Arc<Manager>, headers: &[(&str, &str)]) -> Vec<Block> {
    let user = Arc::new(User::program(Classes::ALL));
    blocks(&actions::perform(manager, &user, &request(headers)).await)
}

/// Reads `Originate` of somebody who runs no programs.
///
/// # Errors
/// What the Manager would answer.
pub(crate) fn originate(headers: &[(&str, &str)]) -> Result<OriginateRequest, &'static str> {
    let user = User::program(Classes::ORIGINATE);
    let call =
        actions::read_originate(&request(headers), &user, &strowger_scripting::text_reaches)?;
    // The Manager asks the dialplan for the number of a label; here nobody does.
    match &call.target {
        Target::Extension(place) if place.priority < 1 => Err("Invalid priority"),
        _ => Ok(call),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_blocks_of_lines_whose_values_may_be_empty() {
        let text =
            "Response: Success\r\nMessage: a: b\r\n\r\nEvent: Status\r\nDNID: \r\nX:y\r\n\r\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            blocks(text),
            [
                vec![pair("Response", "Success"), pair("Message", "a: b")],
                vec![pair("Event", "Status"), pair("DNID", ""), pair("X", "y")]
            ]
        );
    }
}
