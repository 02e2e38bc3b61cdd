//! Bodies of NOTIFYs as text: what phones are told of extensions, mailboxes and lists of them.

pub(super) mod dialog_info;
pub(super) mod list;
pub(super) mod message_summary;
pub(super) mod presence;

use std::borrow::Cow;

use crate::device::ExtensionState;
use crate::shared::Shared;
use dialog_info::DialogInfo;
use presence::Presence;

/// The start of each XML body.
const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A body of this type that tells of an extension by its hint: as `entity`, its URI, to `watcher`. Each is whole by itself.
/// `None`: there is no such type.
pub(crate) fn of_extension(
    shared: &Shared,
    media_type: &str,
    (hint, exten): (&str, &str),
    (entity, watcher): (&str, &str),
    host: &str,
) -> Option<String> {
    let state = shared.hint_state(hint);
    let presence = Presence {
        entity,
        exten,
        watcher,
        state,
    };
    Some(match media_type {
        "application/pidf+xml" | "application/cpim-pidf+xml" => presence.pidf(),
        "application/xpidf+xml" => presence.xpidf(),
        "application/dialog-info+xml" => {
            let rings = matches!(state, ExtensionState::Ringing | ExtensionState::RingInUse);
            let caller = rings.then(|| shared.ringing_call(hint)).flatten();
            let info = DialogInfo {
                entity,
                exten,
                host,
                state,
                caller: caller.as_ref(),
                version: 0,
                early_in_use: false,
            };
            info.write()
        }
        _ => return None,
    })
}

/// A text within XML; what XML cannot hold at all is left out.
fn escape(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !matches!(c, '&' | '<' | '>' | '"' | '\'') && is_xml(c);
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars().filter(|c| is_xml(*c)) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// XML 1.0 §2.2.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No text of a caller breaks out of its element or attribute.
        #[test]
        fn any_text_stays_text(text in any::<String>()) {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            prop_assert!(escaped.chars().all(is_xml));
            let back = escaped
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"")
                .replace("&apos;", "'")
                .replace("&amp;", "&");
            let kept: String = text.chars().filter(|c| is_xml(*c)).collect();
            prop_assert_eq!(back, kept);
        }
    }
}
