//! `application/simple-message-summary` (RFC 3842): how many messages wait.

use crate::voicemail::Counts;

/// The body; `account` is the URI to call for the messages.
pub(in crate::subscription) fn write(counts: Counts, account: Option<&str>) -> String {
    let waiting = if counts.new > 0 { "yes" } else { "no" };
    let account = account
        .map(|account| format!("Message-Account: {account}\r\n"))
        .unwrap_or_default();
    format!(
        "Messages-Waiting: {waiting}\r\n{account}Voice-Message: {}/{} (0/0)\r\n",
        counts.new, counts.old
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_whether_messages_wait_and_how_many() {
        let counts = |new, old| Counts { new, old };
        assert_eq!(
            write(counts(2, 3), Some("sip:*97@pbx")),
            "Messages-Waiting: yes\r\nMessage-Account: sip:*97@pbx\r\nVoice-Message: 2/3 (0/0)\r\n"
        );
        assert_eq!(
            write(counts(0, 1), None),
            "Messages-Waiting: no\r\nVoice-Message: 0/1 (0/0)\r\n"
        );
    }
}
