//! `application/dialog-info+xml` (RFC 4235): an extension as one dialog.

use std::fmt::Write as _;

use super::{PROLOG, escape};
use crate::device::{ExtensionState, RingingCall};

/// What a subscriber is told of.
pub(in crate::subscription) struct DialogInfo<'a> {
    /// The extension's URI.
    pub(in crate::subscription) entity: &'a str,
    pub(in crate::subscription) exten: &'a str,
    /// Host in addresses of callers.
    pub(in crate::subscription) host: &'a str,
    pub(in crate::subscription) state: ExtensionState,
    /// Who calls an extension that rings.
    pub(in crate::subscription) caller: Option<&'a RingingCall>,
    pub(in crate::subscription) version: u32,
    /// `notify_early_inuse_ringing`
    pub(in crate::subscription) early_in_use: bool,
}

/// The state of the dialog.
fn dialog_state(state: ExtensionState, early_in_use: bool) -> &'static str {
    match state {
        ExtensionState::Ringing => "early",
        ExtensionState::RingInUse if early_in_use => "early",
        ExtensionState::RingInUse
        | ExtensionState::InUse
        | ExtensionState::Busy
        | ExtensionState::OnHold => "confirmed",
        ExtensionState::NotInUse | ExtensionState::Unavailable | ExtensionState::Unknown => {
            "terminated"
        }
    }
}

impl DialogInfo<'_> {
    pub(in crate::subscription) fn write(&self) -> String {
        let state = dialog_state(self.state, self.early_in_use);
        let entity = escape(self.entity);
        let mut out = String::with_capacity(640);
        out.push_str(PROLOG);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{}\" state=\"full\" entity=\"{entity}\">\n \
             <dialog id=\"{}\"",
            self.version,
            escape(self.exten),
        );
        if state == "early" {
            out.push_str(" direction=\"recipient\"");
        }
        let _ = write!(out, ">\n  <state>{state}</state>\n");
        if self.state == ExtensionState::OnHold {
            let _ = write!(
                out,
                "  <local>\n   <target uri=\"{entity}\">\n    <param pname=\"+sip.rendering\" pvalue=\"no\"/>\n   \
                 </target>\n  </local>\n"
            );
        }
        if let Some(caller) = self.caller.filter(|_| state == "early") {
            let _ = write!(
                out,
                "  <local>\n   <identity>{entity}</identity>\n   <target uri=\"{entity}\"/>\n  </local>\n"
            );
            let uri = caller.uri(self.host);
            let uri = escape(&uri);
            out.push_str("  <remote>\n   <identity");
            if !caller.name.is_empty() {
                let _ = write!(out, " display=\"{}\"", escape(&caller.name));
            }
            let _ = write!(
                out,
                ">{uri}</identity>\n   <target uri=\"{uri}\"/>\n  </remote>\n"
            );
        }
        out.push_str(" </dialog>\n</dialog-info>\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(state: ExtensionState, early_in_use: bool) -> String {
        DialogInfo {
            entity: "sip:100@pbx",
            exten: "100",
            host: "pbx",
            state,
            caller: Some(&RingingCall {
                number: "101".into(),
                name: "Anna \"<B>\" & C".into(),
            }),
            version: 3,
            early_in_use,
        }
        .write()
    }

    #[test]
    fn a_ringing_extension_says_who_calls() {
        assert_eq!(
            info(ExtensionState::Ringing, false),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"3\" state=\"full\" entity=\"sip:100@pbx\">\n \
             <dialog id=\"100\" direction=\"recipient\">\n  <state>early</state>\n  <local>\n   \
             <identity>sip:100@pbx</identity>\n   <target uri=\"sip:100@pbx\"/>\n  </local>\n  <remote>\n   \
             <identity display=\"Anna &quot;&lt;B&gt;&quot; &amp; C\">sip:101@pbx</identity>\n   \
             <target uri=\"sip:101@pbx\"/>\n  </remote>\n </dialog>\n</dialog-info>\n"
        );
    }

    #[test]
    fn each_state_is_one_of_a_dialog() {
        for (state, early, wanted, rings) in [
            (ExtensionState::NotInUse, false, "terminated", false),
            (ExtensionState::Unavailable, false, "terminated", false),
            (ExtensionState::InUse, false, "confirmed", false),
            (ExtensionState::Busy, false, "confirmed", false),
            (ExtensionState::OnHold, false, "confirmed", false),
            (ExtensionState::RingInUse, false, "confirmed", false),
            (ExtensionState::RingInUse, true, "early", true),
        ] {
            let text = info(state, early);
            assert!(text.contains(&format!("<state>{wanted}</state>")), "{text}");
            assert_eq!(text.contains("<remote>"), rings, "{text}");
            assert_eq!(
                text.contains("+sip.rendering"),
                state == ExtensionState::OnHold
            );
        }
    }
}
