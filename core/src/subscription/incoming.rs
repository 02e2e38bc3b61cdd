//! NOTIFYs that endpoints send of their own accord: how many messages wait at a trunk (`incoming_mwi_mailbox`).

use std::rc::Rc;

use strowger_sip::Message;
use strowger_sip::headers::Event;
use strowger_store::Endpoint;

use crate::shard::Shard;
use crate::voicemail::Counts;

/// Takes a NOTIFY outside of dialogs of an endpoint that has been admitted. The status that answers it.
pub(crate) fn told(
    shard: &Rc<Shard>,
    request: &Message,
    endpoint: &Endpoint,
) -> (u16, &'static str) {
    let event = request.header(&strowger_sip::HeaderName::Event);
    let Some(Ok(event)) = event.map(Event::parse) else {
        return (489, "Bad Event");
    };
    // We subscribe to nothing: what is told of other packages belongs to no subscription (RFC 6665 §4.1.3).
    if event.package != "message-summary" {
        return (489, "Bad Event");
    }
    let mailbox = endpoint.incoming_mwi_mailbox.as_deref();
    let Some(mailbox) = mailbox.filter(|name| !name.is_empty()) else {
        return (481, "Subscription Does Not Exist");
    };
    if !request.has_content("application/simple-message-summary") {
        return (415, "Unsupported Media Type");
    }
    let text = String::from_utf8_lossy(request.body());
    let Some(counts) = counts_in(&text) else {
        return (400, "Bad Message Summary");
    };
    if shard.shared().voicemail.set_external(mailbox, counts) {
        (200, "OK")
    } else {
        (503, "Service Unavailable")
    }
}

/// New and old messages of a body (RFC 3842 §5.2); where it only says whether messages wait, one or none.
fn counts_in(text: &str) -> Option<Counts> {
    let field = |wanted: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
            .next()
    };
    let waiting = field("messages-waiting")?.eq_ignore_ascii_case("yes");
    let Some(counts) = field("voice-message") else {
        return Some(Counts {
            new: usize::from(waiting),
            old: 0,
        });
    };
    let counts = counts.split(['(', ' ']).next()?;
    let (new, old) = counts.split_once('/')?;
    Some(Counts {
        new: new.trim().parse().ok()?,
        old: old.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_a_summary_are_read() {
        for (text, wanted) in [
            (
                "Messages-Waiting: yes\r\nMessage-Account: sip:a@b\r\nVoice-Message: 2/8 (0/2)\r\n",
                Some((2, 8)),
            ),
            ("messages-waiting : no\nvoice-message:0/1", Some((0, 1))),
            ("Messages-Waiting: yes\r\n", Some((1, 0))),
            ("Messages-Waiting: no\r\n", Some((0, 0))),
            ("Voice-Message: 1/1\r\n", None),
            ("Messages-Waiting: yes\r\nVoice-Message: -1/x\r\n", None),
            ("", None),
        ] {
            let counts = counts_in(text).map(|counts| (counts.new, counts.old));
            assert_eq!(counts, wanted, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_summary_panics(text in "\\PC{0,40}(:|/|\n|yes|[0-9]){0,30}") {
            let _ = counts_in(&text);
            let _ = counts_in(&format!("Messages-Waiting: yes\r\nVoice-Message: {text}"));
        }
    }
}
