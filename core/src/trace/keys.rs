//! Keys of media within descriptions, which TLS protects on the way and no trace should tell: written over, at the same length,
//! so that the rest of the message stays as it was.

use bytes::Bytes;

/// What stands in place of each byte of a key.
const BLANK: u8 = b'*';
/// Before the key of SDES (RFC 4568 §6.1), which ends where its lifetime or the next parameter begins.
const INLINE: &[u8] = b"inline:";
const ENDS: &[u8] = b"|; \t";

/// The message without the keys in lines `a=crypto` (RFC 4568) and `k=` (RFC 4566 §5.12).
pub(super) fn hidden(message: Bytes) -> Bytes {
    // Few messages have such lines; only they are copied.
    if !lines(&message).any(|(from, to)| bears(&message[from..to])) {
        return message;
    }
    let mut copy = message.to_vec();
    for (from, to) in lines(&message) {
        let line = &mut copy[from..to];
        if begins(line, b"k=") {
            // `k=method:key`, `k=prompt`
            let method = line.iter().position(|byte| *byte == b':');
            if let Some(at) = method {
                line[at + 1..].fill(BLANK);
            }
        } else if bears(line) {
            let mut at = 0;
            while let Some(found) = find(&line[at..]) {
                at += found + INLINE.len();
                let key = line[at..].iter().position(|byte| ENDS.contains(byte));
                let end = key.map_or(line.len(), |length| at + length);
                line[at..end].fill(BLANK);
                at = end;
            }
        }
    }
    copy.into()
}

/// Where the next key of this line is announced.
fn find(line: &[u8]) -> Option<usize> {
    line.windows(INLINE.len())
        .position(|window| window.eq_ignore_ascii_case(INLINE))
}

fn begins(line: &[u8], with: &[u8]) -> bool {
    line.get(..with.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(with))
}

fn bears(line: &[u8]) -> bool {
    begins(line, b"k=") || begins(line, b"a=crypto:")
}

/// Begin and end of each line; a description may end its lines with CR or LF alone.
fn lines(message: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = message.get(at..).filter(|rest| !rest.is_empty())?;
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n'))
            .unwrap_or(rest.len());
        let line = (at, at + end);
        at += end + 1;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_key_is_left_and_everything_else_stays() {
        let message = "INVITE sip:101@a SIP/2.0\r\nk: timer\r\nSubject: inline:title\r\n\r\nv=0\r\n\
            k=base64:c2VjcmV0\r\nk=prompt\r\nm=audio 1 RTP/SAVP 8\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJD|2^20|1:4;INLINE:REVG KDR=1\r\n\
            A=CRYPTO:2 AES_CM_128_HMAC_SHA1_32 inline:R0hJ\na=rtcp-mux\r\n";
        let wanted = message
            .replace("c2VjcmV0", "********")
            .replace("QUJD", "****")
            .replace("REVG", "****")
            .replace("R0hJ", "****");
        let hidden = hidden(Bytes::from(message));
        assert_eq!(String::from_utf8_lossy(&hidden), wanted);
    }

    #[test]
    fn a_message_without_keys_is_not_copied() {
        let message = Bytes::from_static(b"OPTIONS sip:a SIP/2.0\r\n\r\n");
        assert_eq!(hidden(message.clone()).as_ptr(), message.as_ptr());
    }

    proptest! {
        #[test]
        fn any_bytes_keep_their_length(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["a=crypto:", "k=", "inline:", ":", "|", ";", " ", "\r", "\n", "key", "\u{fffd}"]),
                0..40,
            )
        ) {
            let text = pieces.concat();
            let hidden = hidden(Bytes::from(text.clone()));
            prop_assert_eq!(hidden.len(), text.len());
        }
    }
}
